//! The queue machine alone, without a broker around it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

use super::{Arrival, ClassicQueue, Get, GivenBack, Next, QueueKind, Return, Subscription};
use super::{Consumer, ConsumerKey, Subscriber};
use crate::amqp::{RawProperties, Routing, ShortStr};
use crate::ids::{ChannelNumber, ConnectionId, Lsn, QueueId, QueueSeq};
use crate::message::Message;
use crate::metadata::{DelayedRetry, Overflow, QueueSettings};
use crate::storage::{Place, RefFlags};
use crate::time::{Instant, Now, Timestamp};

const CONNECTION: ConnectionId = ConnectionId(1);
const CHANNEL: ChannelNumber = ChannelNumber(1);
const WHO: Subscriber = Subscriber::Channel { connection: CONNECTION, channel: CHANNEL, index: 0 };
const NOW: Now = Now { mono: Instant::from_micros(1000), wall: Timestamp::from_millis(1_700_000_000_000) };
/// Bytes of bodies kept in memory by the tests that are not about that.
const PLENTY: usize = 1024 * 1024;
const READ_AHEAD: u32 = 1000;

fn message(body: &'static str) -> Arc<Message> {
    let routing = Routing::new(&ShortStr::new(), &ShortStr::from_static("q"));
    Arc::new(Message::new(&routing, &RawProperties::default(), Bytes::from_static(body.as_bytes())))
}

fn arrival(body: &'static str, place: Option<Place>) -> Arrival {
    Arrival { message: message(body), place, flags: RefFlags::NONE, priority: 0, expires_at: None }
}

fn queue(bodies: &[&'static str]) -> ClassicQueue {
    let mut queue = ClassicQueue::new(QueueId(1), true, None, QueueKind::Classic, 0, NOW);
    for body in bodies {
        queue.enqueue(arrival(body, None), PLENTY);
    }
    queue
}

fn subscribe(queue: &mut ClassicQueue, prefetch: u32) -> ConsumerKey {
    queue.subscribe(Consumer::new(WHO, false, false, prefetch))
}

fn subscribe_with_priority(queue: &mut ClassicQueue, prefetch: u32, priority: i64) -> ConsumerKey {
    queue.subscribe(Consumer::new(WHO, false, false, prefetch).with_priority(priority))
}

/// Delivers all it can: to whom, what, and whether as redelivered.
fn deliver(queue: &mut ClassicQueue) -> Vec<(Option<ConsumerKey>, QueueSeq, bool)> {
    let mut delivered = Vec::new();
    while let Next::Offer(subscription) = queue.next(READ_AHEAD) {
        let taken = queue.take(&subscription, Lsn(0), PLENTY);
        let consumer = match subscription {
            Subscription::Consumer { key, .. } => Some(key),
            Subscription::Get(_) => None,
        };
        delivered.push((consumer, taken.seq, taken.redelivered));
        queue.check_invariants();
    }
    delivered
}

fn seqs(delivered: &[(Option<ConsumerKey>, QueueSeq, bool)]) -> Vec<u64> {
    delivered.iter().map(|(_, seq, _)| seq.0).collect()
}

fn give_back(queue: &mut ClassicQueue, seq: u64) {
    assert!(matches!(queue.give_back(QueueSeq(seq), Return::Requeued, NOW.mono), GivenBack::Ready { changed: None }));
}

#[test]
fn consumers_take_turns() {
    let mut queue = queue(&["a", "b", "c", "d", "e"]);
    let (first, second) = (subscribe(&mut queue, 0), subscribe(&mut queue, 0));
    let to: Vec<_> = deliver(&mut queue).into_iter().filter_map(|(consumer, ..)| consumer).collect();
    assert_eq!(to, [first, second, first, second, first]);
}

#[test]
fn a_consumer_at_its_prefetch_is_passed_over_until_it_acks() {
    let mut queue = queue(&["a", "b", "c", "d", "e"]);
    let (first, second) = (subscribe(&mut queue, 1), subscribe(&mut queue, 2));
    let delivered = deliver(&mut queue);
    assert_eq!(seqs(&delivered), [1, 2, 3]);
    assert_eq!(delivered.iter().filter(|(consumer, ..)| *consumer == Some(first)).count(), 1);
    assert!(queue.settle(QueueSeq(1)).is_some());
    assert_eq!(deliver(&mut queue), [(Some(first), QueueSeq(4), false)]);
    assert!(queue.settle(QueueSeq(2)).is_some());
    assert_eq!(deliver(&mut queue), [(Some(second), QueueSeq(5), false)]);
    assert!(queue.settle(QueueSeq(2)).is_none(), "a message is settled once");
}

// RabbitMQ docs: Consumer Acknowledgements / Negative Acknowledgement and Requeuing.
#[test]
fn what_is_given_back_comes_again_in_its_place_and_as_redelivered() {
    let mut queue = queue(&["a", "b", "c", "d"]);
    subscribe(&mut queue, 3);
    assert_eq!(seqs(&deliver(&mut queue)), [1, 2, 3]);
    assert!(queue.settle(QueueSeq(2)).is_some());
    give_back(&mut queue, 3);
    give_back(&mut queue, 1);
    let delivered: Vec<_> = deliver(&mut queue).into_iter().map(|(_, seq, redelivered)| (seq.0, redelivered)).collect();
    assert_eq!(delivered, [(1, true), (3, true), (4, false)]);
    let again = queue.give_back(QueueSeq(2), Return::Requeued, NOW.mono);
    assert!(matches!(again, GivenBack::NotOut), "what is settled does not come back");
}

#[test]
fn a_paused_consumer_gets_nothing_until_it_is_resumed() {
    let mut queue = queue(&["a", "b"]);
    let consumer = subscribe(&mut queue, 0);
    queue.pause(consumer);
    assert!(deliver(&mut queue).is_empty());
    queue.resume(consumer);
    queue.resume(consumer);
    assert_eq!(seqs(&deliver(&mut queue)), [1, 2]);
}

#[test]
fn a_consumer_that_left_keeps_what_it_has_and_gets_no_more() {
    let mut queue = queue(&["a", "b"]);
    let consumer = subscribe(&mut queue, 1);
    assert_eq!(seqs(&deliver(&mut queue)), [1]);
    queue.unsubscribe(consumer);
    assert_eq!((queue.ready_len(), queue.unacked_len()), (1, 1));
    assert!(queue.settle(QueueSeq(1)).is_some());
    assert!(deliver(&mut queue).is_empty());
}

#[test]
fn a_get_comes_before_consumers_and_is_refused_when_there_is_nothing() {
    let mut queue = queue(&["a"]);
    let get = Get { who: WHO, no_ack: true };
    assert!(queue.get(get));
    assert!(!queue.get(get), "one message is not promised twice");
    subscribe(&mut queue, 0);
    assert_eq!(deliver(&mut queue), [(None, QueueSeq(1), false)]);
    assert_eq!((queue.ready_len(), queue.unacked_len()), (0, 0));
}

#[test]
fn purging_leaves_what_is_delivered() {
    let mut queue = queue(&["a", "b", "c"]);
    subscribe(&mut queue, 1);
    deliver(&mut queue);
    assert!(queue.pop_ready().is_some());
    assert!(queue.pop_ready().is_some());
    assert!(queue.pop_ready().is_none());
    assert_eq!((queue.ready_len(), queue.unacked_len()), (0, 1));
    assert!(queue.drain_one().is_some());
    assert_eq!(queue.body_bytes(), 0);
}

/// A place for the record of the `index`th message; each record has 100 bytes.
fn place(index: u64) -> Place {
    Place { lsn: Lsn(index * 100), len: 100, shares: 1 }
}

#[test]
fn bodies_over_the_budget_go_once_they_are_written_and_are_read_back_in_one_stretch() {
    let mut queue = ClassicQueue::new(QueueId(1), true, None, QueueKind::Classic, 0, NOW);
    for index in 0..20 {
        queue.enqueue(arrival("body", Some(place(index))), 0);
    }
    assert!(queue.has_droppable());
    queue.drop_written_bodies(Lsn(1050));
    let one = message("body").memory_bytes();
    assert_eq!(queue.body_bytes(), 10 * one, "what is not written whole stays");
    queue.drop_written_bodies(Lsn(2000));
    assert_eq!(queue.body_bytes(), 0);
    assert!(!queue.has_droppable());
    subscribe(&mut queue, 0);
    let Next::Read { first, len } = queue.next(READ_AHEAD) else { panic!("there is nothing in memory") };
    assert_eq!((first, len), (place(0), 1000));
    assert!(matches!(queue.next(READ_AHEAD), Next::Idle), "one read at a time");
    let payload = {
        let message = message("body");
        Bytes::copy_from_slice(message.payload().0)
    };
    let data = Bytes::from(alloc::vec![0; 1000]);
    queue.on_read(Lsn(0), &data, |_, record| (record.len() == 100).then(|| payload.clone())).unwrap();
    assert_eq!(seqs(&deliver(&mut queue)), (1..=10).collect::<Vec<_>>());
}

/// RabbitMQ docs: Consumer Priorities.
#[test]
fn lower_priorities_get_what_higher_ones_cannot_take() {
    let mut queue = queue(&["a", "b", "c", "d", "e"]);
    let low = subscribe_with_priority(&mut queue, 0, -1);
    let high = subscribe_with_priority(&mut queue, 1, 5);
    let middle = subscribe(&mut queue, 2);
    let to: Vec<_> = deliver(&mut queue).into_iter().filter_map(|(consumer, ..)| consumer).collect();
    assert_eq!(to, [high, middle, middle, low, low]);
    queue.unsubscribe(middle);
    queue.unsubscribe(high);
    queue.check_invariants();
}

#[test]
fn a_damaged_record_is_not_delivered() {
    let mut queue = ClassicQueue::new(QueueId(1), true, None, QueueKind::Classic, 0, NOW);
    queue.enqueue(arrival("body", Some(place(0))), 0);
    queue.drop_written_bodies(Lsn(100));
    subscribe(&mut queue, 0);
    assert!(matches!(queue.next(READ_AHEAD), Next::Read { .. }));
    assert!(queue.on_read(Lsn(0), &Bytes::from(alloc::vec![0; 100]), |_, _| None).is_err());
    assert!(deliver(&mut queue).is_empty());
}

fn at(micros: u64) -> Instant {
    Instant::from_micros(micros)
}

fn configured(settings: &QueueSettings) -> ClassicQueue {
    let mut queue = queue(&[]);
    queue.configure(settings);
    queue
}

/// RabbitMQ docs: Time-To-Live / Caveats: only the first message can expire.
#[test]
fn a_message_expires_when_it_is_first_and_its_time_is_over() {
    let mut queue = queue(&[]);
    for expires_at in [None, Some(at(50)), Some(at(20))] {
        queue.enqueue(Arrival { expires_at, ..arrival("a", None) }, PLENTY);
    }
    assert_eq!(queue.next_due(), None, "the first one stays for ever");
    assert!(queue.pop_expired(at(100), true).is_none());
    queue.pop_ready();
    assert_eq!(queue.next_due(), Some(at(50)));
    assert!(queue.pop_expired(at(50), false).is_none(), "it may still be delivered");
    assert_eq!(queue.pop_expired(at(50), true).map(|entry| entry.seq()), Some(QueueSeq(2)));
    assert_eq!(queue.pop_expired(at(50), false).map(|entry| entry.seq()), Some(QueueSeq(3)));
    queue.check_invariants();
    assert!(!queue.is_timed());
}

/// RabbitMQ docs: Time-To-Live: with 0, a message is delivered at once or never, also one that stood behind another.
#[test]
fn a_message_that_had_its_chance_expires_when_its_time_is_up() {
    let mut queue = queue(&[]);
    for expires_at in [None, Some(at(0))] {
        queue.enqueue(Arrival { expires_at, ..arrival("a", None) }, PLENTY);
    }
    queue.note_offered();
    queue.enqueue(Arrival { expires_at: Some(at(0)), ..arrival("a", None) }, PLENTY);
    queue.pop_ready();
    assert_eq!(queue.pop_expired(at(0), false).map(|entry| entry.seq()), Some(QueueSeq(2)));
    assert!(queue.pop_expired(at(0), false).is_none(), "the third has just come");
}

#[test]
fn a_message_that_comes_back_expires_when_it_would_have() {
    let mut queue = queue(&[]);
    subscribe(&mut queue, 1);
    queue.enqueue(Arrival { expires_at: Some(at(50)), ..arrival("a", None) }, PLENTY);
    assert_eq!(seqs(&deliver(&mut queue)), [1]);
    assert!(queue.pop_expired(at(99), true).is_none(), "what is delivered does not expire");
    give_back(&mut queue, 1);
    assert!(queue.pop_expired(at(99), true).is_some());
    queue.check_invariants();
}

#[test]
fn limits_count_what_waits_and_drop_the_oldest() {
    let mut queue =
        configured(&QueueSettings { length_max: Some(2), length_max_bytes: Some(5), ..QueueSettings::default() });
    subscribe(&mut queue, 1);
    for body in ["1", "2", "3"] {
        queue.enqueue(arrival(body, None), PLENTY);
    }
    deliver(&mut queue);
    assert!(queue.pop_excess().is_none(), "what is unacked does not count");
    queue.enqueue(arrival("4", None), PLENTY);
    assert_eq!(queue.pop_excess().map(|entry| entry.seq()), Some(QueueSeq(2)));
    queue.enqueue(arrival("55555", None), PLENTY);
    assert_eq!(queue.pop_excess().map(|entry| entry.seq()), Some(QueueSeq(3)));
    assert_eq!(queue.pop_excess().map(|entry| entry.seq()), Some(QueueSeq(4)));
    assert!(queue.pop_excess().is_none());
}

#[test]
fn a_full_queue_refuses_whoever_waits() {
    let overflow = Overflow::RejectPublish;
    let mut queue = configured(&QueueSettings { length_max: Some(1), overflow, ..QueueSettings::default() });
    assert!(!queue.refuses(1));
    queue.enqueue(arrival("1", None), PLENTY);
    assert!(queue.refuses(1));
    assert!(queue.pop_excess().is_none());
    subscribe(&mut queue, 2);
    assert!(!queue.refuses(1), "one is on its way to the consumer");
    queue.enqueue(arrival("2", None), PLENTY);
    assert!(!queue.refuses(1), "both are, so that one may wait");
    queue.enqueue(arrival("3", None), PLENTY);
    assert!(queue.refuses(1));
}

/// RabbitMQ docs: Quorum Queues / Poison Message Handling.
#[test]
fn a_message_whose_deliveries_fail_too_often_leaves() {
    let mut queue = configured(&QueueSettings { delivery_limit: Some(1), ..QueueSettings::default() });
    subscribe(&mut queue, 1);
    queue.enqueue(arrival("1", Some(place(0))), PLENTY);
    deliver(&mut queue);
    let given = queue.give_back(QueueSeq(1), Return::Requeued, NOW.mono);
    assert!(matches!(given, GivenBack::Ready { changed: None }), "that was nobody's failure");
    deliver(&mut queue);
    let given = queue.give_back(QueueSeq(1), Return::Failed, NOW.mono);
    assert!(matches!(given, GivenBack::Ready { changed: Some(_) }), "the log has to know");
    assert_eq!(queue.state_at(QueueSeq(1), Lsn(0), NOW).map(|state| state.deliveries), Some(1));
    deliver(&mut queue);
    assert!(matches!(queue.give_back(QueueSeq(1), Return::Failed, NOW.mono), GivenBack::OverLimit(_)));
    queue.check_invariants();
    assert_eq!(queue.body_bytes(), 0);
}

#[test]
fn a_queue_that_nobody_uses_has_an_end() {
    let mut queue = configured(&QueueSettings { expires_ms: Some(2), ..QueueSettings::default() });
    assert_eq!(queue.end_at(), Some(at(3000)));
    queue.touch(at(2500));
    assert_eq!(queue.end_at(), Some(at(4500)));
    let consumer = subscribe(&mut queue, 1);
    assert_eq!(queue.end_at(), None);
    queue.unsubscribe(consumer);
    assert!(queue.end_at().is_some());
}

#[test]
fn what_came_back_waits_neither_ready_nor_out() {
    let mut queue = ClassicQueue::new(QueueId(1), true, None, QueueKind::Quorum, 0, NOW);
    let delayed_retry = DelayedRetry { failed: true, returned: false, min_ms: 100, max_ms: 150 };
    queue.configure(&QueueSettings { delayed_retry, ..QueueSettings::default() });
    queue.enqueue(arrival("one", None), usize::MAX);
    queue.enqueue(arrival("two", None), usize::MAX);
    let (first, second) = (QueueSeq(1), QueueSeq(2));
    subscribe(&mut queue, 0);
    assert_eq!(seqs(&deliver(&mut queue)), [1, 2]);
    queue.give_back(first, Return::Failed, NOW.mono);
    assert_eq!((queue.ready_len(), queue.delayed()), (0, (1, 3)));
    queue.give_back(second, Return::Requeued, NOW.mono);
    assert_eq!(seqs(&deliver(&mut queue)), [2], "that was no failure");
    let due = NOW.mono + Duration::from_millis(100);
    assert_eq!(queue.next_due(), Some(due));
    queue.check_invariants();
    queue.release_delayed(NOW.mono);
    assert_eq!(queue.ready_len(), 0);
    queue.release_delayed(due);
    assert_eq!((queue.ready_len(), queue.next_due()), (1, None));
    assert_eq!(seqs(&deliver(&mut queue)), [1]);
    queue.give_back(first, Return::Failed, due);
    assert_eq!(queue.next_due(), Some(due + Duration::from_millis(150)), "no longer than that");
    assert!(queue.entry(first).is_some());
    queue.check_invariants();
    assert!(queue.pop_delayed().is_some());
    queue.check_invariants();
}
