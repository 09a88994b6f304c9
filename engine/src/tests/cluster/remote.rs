//! Queues of one node, used by clients of others.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::world::{At, World};
use super::{ask, declare, short};
use crate::amqp::method::{basic, confirm, queue, tx};
use crate::amqp::{FieldValue, Method, Properties, RawProperties, Routing};
use crate::client::ClientEvent;
use crate::engine::Engine;
use crate::ids::ConnectionId;
use crate::limits;
use crate::storage::codec::mix;
use crate::storage::tests::rng::{Rng, seeds};

pub(super) const CHANNEL: u16 = 1;

/// Its number, if the channel is in confirm mode.
pub(super) fn publish(world: &mut World, at: At, client: ConnectionId, queue: &str, body: &str) -> Option<u64> {
    let properties = RawProperties::from(&Properties { delivery_mode: Some(2), ..Properties::default() });
    let routing = Routing::new(&short(""), &short(queue));
    let mut seqno = None;
    world.with_client(at, client, |client| {
        seqno = client.publish(CHANNEL, &routing, true, &properties, body.as_bytes()).unwrap_or_default();
    });
    seqno
}

pub(super) fn consume(queue: &str, tag: &str) -> basic::Consume {
    basic::Consume { queue: short(queue), consumer_tag: short(tag), ..basic::Consume::default() }
}

/// Waits until the client hears something.
pub(super) fn hear(world: &mut World, at: At, client: ConnectionId, what: &str) -> ClientEvent {
    for _ in 0..400_000 {
        let events = world.events(at, client).expect("the client is connected");
        assert!(events.len() < 2, "one at a time: {events:?}");
        if let Some(event) = events.into_iter().next() {
            return event;
        }
        world.step();
    }
    let replicas = world.nodes.iter().map(|node| node.engine.as_ref().map(Engine::replicas));
    panic!("no {what}: {:?}", replicas.collect::<Vec<_>>());
}

/// Steps for a while, and sees to it that the client hears nothing.
fn silence(world: &mut World, at: At, client: ConnectionId) {
    for _ in 0..4000 {
        world.step();
    }
    assert_eq!(world.events(at, client), Some(vec![]));
}

fn three() -> World {
    let mut world = World::new(21, 3, 3);
    world.until("a cluster", World::is_agreed);
    world
}

/// Declares a durable queue on a node, and waits until all know it.
pub(super) fn make(world: &mut World, at: At, declare: queue::Declare) {
    let name = declare.queue.to_string_lossy().into_owned();
    let client = world.client(at).expect("the node lets clients in");
    let answer = ask(world, at, client, declare);
    assert!(matches!(answer, ClientEvent::Method { method: Method::QueueDeclareOk(_), .. }), "{answer:?}");
    world.until("everybody to know", |world| {
        let knows = |engine: &Engine| engine.declared_queues().any(|(other, _)| other == name);
        world.nodes.iter().all(|node| node.engine.as_ref().is_some_and(knows))
    });
}

#[test]
fn a_message_goes_from_a_client_of_one_node_to_a_client_of_another_by_a_queue_of_a_third() {
    let mut world = three();
    make(&mut world, 0, declare("q", true));
    let publisher = world.client(1).unwrap();
    ask(&mut world, 1, publisher, confirm::Select { no_wait: false });
    let consumer = world.client(2).unwrap();
    let answer = ask(&mut world, 2, consumer, consume("q", "c"));
    assert!(matches!(answer, ClientEvent::Method { method: Method::BasicConsumeOk(_), .. }), "{answer:?}");
    for number in 0..5 {
        publish(&mut world, 1, publisher, "q", &format!("{number}"));
        let event = hear(&mut world, 2, consumer, "delivery");
        let ClientEvent::Delivery { body, redelivered: false, delivery_tag, .. } = event else { panic!("{event:?}") };
        assert_eq!((&body[..], delivery_tag), (format!("{number}").as_bytes(), number + 1));
        world.with_client(2, consumer, |client| client.ack(CHANNEL, delivery_tag, false).unwrap());
        let event = hear(&mut world, 1, publisher, "confirm");
        assert!(matches!(event, ClientEvent::Acked { seqno, .. } if seqno == number + 1), "{event:?}");
    }
    world.until("an empty queue", |world| {
        world.nodes[0].engine.as_ref().unwrap().queues().iter().all(|queue| (queue.ready, queue.unacked) == (0, 0))
    });
}

/// The queue's node syncs them with what else it writes, or after a while.
#[test]
fn acks_of_another_node_are_not_synced_for_their_own_sake() {
    const COUNT: u32 = 20;
    let mut world = three();
    make(&mut world, 0, declare("q", true));
    let client = world.client(1).unwrap();
    ask(&mut world, 1, client, consume("q", "c"));
    let mut tags = vec![];
    for number in 0..COUNT {
        publish(&mut world, 1, client, "q", &format!("{number}"));
        let event = hear(&mut world, 1, client, "delivery");
        let ClientEvent::Delivery { delivery_tag, .. } = event else { panic!("{event:?}") };
        tags.push(delivery_tag);
    }
    silence(&mut world, 1, client);
    let (syncs, begin) = (world.nodes[0].disk.syncs, world.now);
    for tag in tags {
        world.with_client(1, client, |client| client.ack(CHANNEL, tag, false).unwrap());
        for _ in 0..200 {
            world.step();
        }
    }
    let waited = world.now.saturating_since(begin);
    let intervals = u32::try_from(waited.as_micros() / limits::LOG_SYNC_INTERVAL.as_micros()).unwrap();
    let syncs = world.nodes[0].disk.syncs - syncs;
    assert!(intervals + 2 < COUNT && syncs <= u64::from(intervals + 2), "{syncs} syncs in {waited:?}");
}

#[test]
fn a_queue_of_another_node_tells_what_it_holds_and_can_be_got_from_purged_and_deleted() {
    let mut world = three();
    make(&mut world, 0, declare("q", true));
    let client = world.client(1).unwrap();
    let answer = ask(&mut world, 1, client, basic::Get { queue: short("q"), no_ack: false });
    assert!(matches!(answer, ClientEvent::Method { method: Method::BasicGetEmpty(_), .. }), "{answer:?}");
    for body in ["one", "two", "three"] {
        publish(&mut world, 1, client, "q", body);
    }
    let answer = ask(&mut world, 1, client, basic::Get { queue: short("q"), no_ack: false });
    let ClientEvent::GetOk { body, message_count: 2, delivery_tag: 1, .. } = &answer else { panic!("{answer:?}") };
    assert_eq!(&body[..], b"one");
    let passive = queue::Declare { passive: true, ..declare("q", true) };
    let answer = ask(&mut world, 1, client, passive);
    let ClientEvent::Method { method: Method::QueueDeclareOk(ok), .. } = &answer else { panic!("{answer:?}") };
    assert_eq!((ok.message_count, ok.consumer_count), (2, 0));
    let answer = ask(&mut world, 1, client, queue::Delete { queue: short("q"), if_empty: true, ..Default::default() });
    let ClientEvent::ChannelClosed { reason, .. } = &answer else { panic!("{answer:?}") };
    assert_eq!(reason.reply_text.to_string_lossy(), "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty");
    world.until("what the closed channel had", |world| {
        world.nodes[0].engine.as_ref().unwrap().queues().iter().all(|queue| queue.ready == 3)
    });
    let client = world.client(2).unwrap();
    let answer = ask(&mut world, 2, client, queue::Purge { queue: short("q"), no_wait: false });
    let ClientEvent::Method { method: Method::QueuePurgeOk(ok), .. } = &answer else { panic!("{answer:?}") };
    assert_eq!(ok.message_count, 3);
    let consumer = world.client(1).unwrap();
    ask(&mut world, 1, consumer, consume("q", "c"));
    let answer = ask(&mut world, 2, client, queue::Delete { queue: short("q"), if_empty: true, ..Default::default() });
    assert!(matches!(answer, ClientEvent::Method { method: Method::QueueDeleteOk(_), .. }), "{answer:?}");
    let event = hear(&mut world, 1, consumer, "the consumer's end");
    assert!(matches!(event, ClientEvent::ConsumerCancelled { .. }), "{event:?}");
    world.until("everybody to know", |world| {
        world.nodes.iter().all(|node| node.engine.as_ref().unwrap().declared_queues().next().is_none())
    });
}

#[test]
fn exclusive_consumers_keep_others_away_whatever_their_node() {
    let mut world = three();
    make(&mut world, 0, declare("q", true));
    let first = world.client(1).unwrap();
    let exclusive = basic::Consume { exclusive: true, ..consume("q", "c") };
    let answer = ask(&mut world, 1, first, exclusive);
    assert!(matches!(answer, ClientEvent::Method { method: Method::BasicConsumeOk(_), .. }), "{answer:?}");
    for at in [0, 1, 2] {
        let other = world.client(at).unwrap();
        let answer = ask(&mut world, at, other, consume("q", "c"));
        let ClientEvent::ChannelClosed { reason, .. } = &answer else { panic!("{answer:?}") };
        let text = "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use";
        assert_eq!((reason.reply_code, &*reason.reply_text.to_string_lossy()), (403, text));
    }
    // Its place is free when it goes.
    let answer = ask(&mut world, 1, first, basic::Cancel { consumer_tag: short("c"), no_wait: false });
    assert!(matches!(answer, ClientEvent::Method { method: Method::BasicCancelOk(_), .. }), "{answer:?}");
    let other = world.client(2).unwrap();
    let answer = ask(&mut world, 2, other, basic::Consume { exclusive: true, ..consume("q", "c") });
    assert!(matches!(answer, ClientEvent::Method { method: Method::BasicConsumeOk(_), .. }), "{answer:?}");
}

/// Queue `q` of node 0 refuses what comes beyond so many messages, and this client of node 1, which gets confirms, has put in the first.
fn full(most: i32) -> (World, ConnectionId) {
    let mut world = three();
    let mut full = declare("q", true);
    full.arguments.push(short("x-max-length"), FieldValue::I32(most));
    full.arguments.push(short("x-overflow"), FieldValue::LongStr("reject-publish".into()));
    make(&mut world, 0, full);
    let client = world.client(1).unwrap();
    ask(&mut world, 1, client, confirm::Select { no_wait: false });
    publish(&mut world, 1, client, "q", "first");
    let event = hear(&mut world, 1, client, "confirm");
    assert!(matches!(event, ClientEvent::Acked { seqno: 1, .. }), "{event:?}");
    (world, client)
}

#[test]
fn a_full_queue_of_another_node_refuses_what_comes() {
    let (mut world, client) = full(1);
    publish(&mut world, 1, client, "q", "second");
    let event = hear(&mut world, 1, client, "answer");
    assert!(matches!(event, ClientEvent::Nacked { seqno: 2, .. }), "{event:?}");
    // In a transaction as well.
    let client = world.client(2).unwrap();
    ask(&mut world, 2, client, tx::Select {});
    publish(&mut world, 2, client, "q", "third");
    let answer = ask(&mut world, 2, client, tx::Commit {});
    let ClientEvent::ChannelClosed { reason, .. } = &answer else { panic!("{answer:?}") };
    assert_eq!(reason.reply_text.to_string_lossy(), "PRECONDITION_FAILED - partial tx completion");
}

/// Whatever is lost with a link: that a message was refused is not taken for a confirm.
#[test]
fn a_refusal_that_is_lost_with_the_link_is_one_all_the_same() {
    for steps in 0..60 {
        let (mut world, client) = full(1);
        publish(&mut world, 1, client, "q", "second");
        let mut heard = Vec::new();
        for _ in 0..steps {
            world.step();
            heard.extend(world.events(1, client).unwrap());
        }
        world.sever(0, 1);
        let event = heard.pop().unwrap_or_else(|| hear(&mut world, 1, client, "answer"));
        assert!(matches!(event, ClientEvent::Nacked { seqno: 2, .. }), "after {steps} steps: {event:?}");
    }
}

/// The queue has seen both and says on the next link how far the first is, which is not on the disk yet; the refusal is lost.
#[test]
fn a_refusal_is_one_also_behind_what_is_not_on_the_disk() {
    for steps in 0..60 {
        let (mut world, client) = full(2);
        publish(&mut world, 1, client, "q", "second");
        publish(&mut world, 1, client, "q", "third");
        let mut answers = Vec::new();
        for step in 0..400_000 {
            answers.extend(world.events(1, client).unwrap());
            let is_last = |event: &ClientEvent| match event {
                ClientEvent::Acked { seqno, .. } | ClientEvent::Nacked { seqno, .. } => *seqno == 3,
                _ => false,
            };
            if answers.iter().any(is_last) {
                break;
            }
            if step == steps {
                world.sever(0, 1);
            }
            world.step();
        }
        let last = answers.last();
        assert!(matches!(last, Some(ClientEvent::Nacked { seqno: 3, .. })), "after {steps} steps: {answers:?}");
    }
}

/// Its subscription may come with another link than the one that it was said over: what the queue gives it at once was not lost with the
/// one before.
#[test]
fn a_consumer_of_another_node_is_given_a_message_once_whenever_the_link_breaks() {
    for steps in 0..60 {
        let mut world = three();
        make(&mut world, 0, declare("q", true));
        let publisher = world.client(0).unwrap();
        ask(&mut world, 0, publisher, confirm::Select { no_wait: false });
        publish(&mut world, 0, publisher, "q", "x");
        hear(&mut world, 0, publisher, "confirm");
        let client = world.client(1).unwrap();
        world.with_client(1, client, |client| {
            client.send(CHANNEL, consume("q", "c")).expect("its channel is open");
        });
        let mut given = 0;
        for step in 0..4000 {
            let events = world.events(1, client).unwrap();
            given += events.iter().filter(|event| matches!(event, ClientEvent::Delivery { .. })).count();
            if step == steps {
                world.sever(0, 1);
            }
            world.step();
        }
        assert_eq!(given, 1, "after {steps} steps");
    }
}

#[test]
fn a_transaction_is_over_when_all_nodes_have_their_part() {
    let mut world = three();
    make(&mut world, 0, declare("q0", true));
    make(&mut world, 1, declare("q1", true));
    let client = world.client(1).unwrap();
    ask(&mut world, 1, client, tx::Select {});
    for name in ["q0", "q1"] {
        publish(&mut world, 1, client, name, "x");
    }
    let answer = ask(&mut world, 1, client, tx::Commit {});
    assert!(matches!(answer, ClientEvent::Method { method: Method::TxCommitOk(_), .. }), "{answer:?}");
    let ready = |world: &World, at: At| -> Vec<u64> {
        world.nodes[at].engine.as_ref().unwrap().queues().iter().map(|queue| queue.ready).collect()
    };
    assert_eq!([ready(&world, 0), ready(&world, 1)], [[1], [1]]);
    // Without anything for others it is as on one node.
    publish(&mut world, 1, client, "q1", "x");
    let answer = ask(&mut world, 1, client, tx::Commit {});
    assert!(matches!(answer, ClientEvent::Method { method: Method::TxCommitOk(_), .. }), "{answer:?}");
}

#[test]
fn when_a_queues_node_is_gone_clients_are_told_as_rabbitmq_does_it() {
    let mut world = three();
    make(&mut world, 0, declare("q", true));
    let consumer = world.client(1).unwrap();
    ask(&mut world, 1, consumer, consume("q", "c"));
    let publisher = world.client(2).unwrap();
    ask(&mut world, 2, publisher, confirm::Select { no_wait: false });
    world.crash(0, false);
    publish(&mut world, 2, publisher, "q", "x");
    let event = hear(&mut world, 2, publisher, "answer");
    assert!(matches!(event, ClientEvent::Nacked { seqno: 1, .. }), "{event:?}");
    let event = hear(&mut world, 1, consumer, "the consumer's end");
    assert!(matches!(event, ClientEvent::ConsumerCancelled { .. }), "{event:?}");
    let text = "NOT_FOUND - home node 'rabbit@a' of durable queue 'q' in vhost '/' is down or inaccessible";
    let methods: [Method; 6] = [
        consume("q", "c").into(),
        basic::Get { queue: short("q"), no_ack: true }.into(),
        queue::Declare { passive: true, ..declare("q", true) }.into(),
        declare("q", true).into(),
        queue::Purge { queue: short("q"), no_wait: false }.into(),
        queue::Delete { queue: short("q"), ..queue::Delete::default() }.into(),
    ];
    for method in methods {
        let client = world.client(1).unwrap();
        let answer = ask(&mut world, 1, client, method.clone());
        let ClientEvent::ChannelClosed { reason, .. } = &answer else { panic!("{method:?}: {answer:?}") };
        assert_eq!((reason.reply_code, &*reason.reply_text.to_string_lossy()), (404, text), "{method:?}");
    }
    world.start(0);
    world.until("the node", |world| world.nodes[0].is_ready);
    // As soon as there is a link again.
    let again = (0..50).any(|_| {
        publish(&mut world, 2, publisher, "q", "y");
        let event = hear(&mut world, 2, publisher, "answer");
        (0..200).for_each(|_| world.step());
        matches!(event, ClientEvent::Acked { .. })
    });
    assert!(again, "the queue takes messages again");
}

/// A client that goes on after its consumer was cancelled may still say something of what it got before: that is about nothing.
#[test]
fn what_is_said_of_a_delivery_from_an_earlier_life_of_its_queue_is_about_no_later_one() {
    let mut world = three();
    make(&mut world, 0, declare("q", true));
    let client = world.client(1).unwrap();
    ask(&mut world, 1, client, confirm::Select { no_wait: false });
    publish(&mut world, 1, client, "q", "x");
    hear(&mut world, 1, client, "confirm");
    let given = |world: &mut World| {
        assert!(world.send(1, client, consume("q", "c")));
        for _ in 0..400_000 {
            let events = world.events(1, client).expect("the client is connected");
            let tag_of = |event: &ClientEvent| {
                if let ClientEvent::Delivery { delivery_tag, .. } = event { Some(*delivery_tag) } else { None }
            };
            if let Some(tag) = events.iter().find_map(tag_of) {
                return tag;
            }
            world.step();
        }
        panic!("no delivery");
    };
    let early = given(&mut world);
    world.crash(0, false);
    world.start(0);
    let event = hear(&mut world, 1, client, "the consumer's end");
    assert!(matches!(event, ClientEvent::ConsumerCancelled { .. }), "{event:?}");
    world.until("the node", |world| world.nodes[0].is_ready && world.is_agreed());
    let late = given(&mut world);
    let unacked = |world: &World| world.nodes[0].engine.as_ref().unwrap().queues()[0].unacked;
    world.with_client(1, client, |client| client.ack(CHANNEL, early, false).unwrap());
    silence(&mut world, 1, client);
    assert_eq!(unacked(&world), 1, "it is the client's once more");
    world.with_client(1, client, |client| client.ack(CHANNEL, late, false).unwrap());
    world.until("its ack", |world| unacked(world) == 0);
}

#[test]
fn a_link_that_breaks_for_a_moment_is_nothing_that_clients_notice() {
    let mut world = three();
    make(&mut world, 0, declare("q", true));
    let consumer = world.client(1).unwrap();
    ask(&mut world, 1, consumer, basic::Qos { prefetch_count: 2, ..basic::Qos::default() });
    ask(&mut world, 1, consumer, consume("q", "c"));
    let publisher = world.client(0).unwrap();
    for body in ["one", "two"] {
        publish(&mut world, 0, publisher, "q", body);
    }
    let mut heard = Vec::new();
    while heard.len() < 2 {
        world.step();
        heard.extend(world.events(1, consumer).unwrap());
    }
    world.cut.insert((0, 1));
    silence(&mut world, 1, consumer);
    // What is acked without a link is acked.
    world.with_client(1, consumer, |client| client.ack(CHANNEL, 2, true).unwrap());
    publish(&mut world, 0, publisher, "q", "three");
    world.cut.clear();
    let event = hear(&mut world, 1, consumer, "delivery");
    let ClientEvent::Delivery { body, redelivered: false, delivery_tag: 3, .. } = &event else { panic!("{event:?}") };
    assert_eq!(&body[..], b"three");
    world.with_client(1, consumer, |client| client.ack(CHANNEL, 3, false).unwrap());
    world.until("an empty queue", |world| {
        world.nodes[0].engine.as_ref().unwrap().queues().iter().all(|queue| (queue.ready, queue.unacked) == (0, 0))
    });
}

/// As when the queue's process hangs: the system at the other end takes what is sent, and nobody answers.
#[test]
fn a_link_over_which_nothing_comes_is_given_up() {
    let mut world = three();
    make(&mut world, 0, declare("q", true));
    let consumer = world.client(1).unwrap();
    ask(&mut world, 1, consumer, consume("q", "c"));
    let publisher = world.client(2).unwrap();
    ask(&mut world, 2, publisher, confirm::Select { no_wait: false });
    world.stalled.extend([(0, 1), (0, 2)]);
    publish(&mut world, 2, publisher, "q", "x");
    let event = hear(&mut world, 2, publisher, "answer");
    assert!(matches!(event, ClientEvent::Nacked { seqno: 1, .. }), "{event:?}");
    let event = hear(&mut world, 1, consumer, "the consumer's end");
    assert!(matches!(event, ClientEvent::ConsumerCancelled { .. }), "{event:?}");
}

#[test]
fn what_a_node_had_that_does_not_come_back_goes_to_others() {
    let mut world = three();
    make(&mut world, 0, declare("q", true));
    let lost = world.client(1).unwrap();
    ask(&mut world, 1, lost, consume("q", "c"));
    let publisher = world.client(0).unwrap();
    publish(&mut world, 0, publisher, "q", "x");
    let event = hear(&mut world, 1, lost, "delivery");
    assert!(matches!(event, ClientEvent::Delivery { redelivered: false, .. }), "{event:?}");
    let other = world.client(2).unwrap();
    ask(&mut world, 2, other, consume("q", "c"));
    world.crash(1, false);
    let event = hear(&mut world, 2, other, "the message of the node that is gone");
    assert!(matches!(event, ClientEvent::Delivery { redelivered: true, .. }), "{event:?}");
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Unknown,
    Confirmed,
    Refused,
}

/// A client that publishes.
struct Publisher {
    at: At,
    client: ConnectionId,
    /// By seqno: which message.
    sent: BTreeMap<u64, u64>,
}

/// A client that consumes.
struct Consumer {
    at: At,
    client: ConnectionId,
    queue: usize,
    /// Delivery tags to be settled.
    held: Vec<u64>,
    last: BTreeMap<ConnectionId, u64>,
}

/// What is known of a message.
struct Known {
    by: ConnectionId,
    queue: usize,
    fate: Fate,
    seen: u32,
}

/// Messages that a node's queues hold, and the replicas of which it is the leader.
pub(super) fn held(engine: &Engine) -> u64 {
    let classic: u64 = engine.queues().iter().map(|queue| queue.ready + queue.unacked).sum();
    let led = engine.replicas().into_iter().filter(|replica| replica.leads);
    classic + led.map(|replica| replica.ready + replica.unacked).sum::<u64>()
}

struct Life {
    seed: u64,
    is_quorum: bool,
    rng: Rng,
    world: World,
    publishers: Vec<Publisher>,
    consumers: Vec<Consumer>,
    messages: BTreeMap<u64, Known>,
    /// Home and name of each queue.
    queues: Vec<(At, String)>,
    answered: [u64; 2],
    redelivered: u64,
    fresh_twice: BTreeSet<u64>,
    /// Nodes that were ever killed.
    killed: BTreeSet<At>,
}

impl Life {
    fn new(seed: u64, is_quorum: bool) -> Self {
        let mut rng = Rng(mix(seed ^ 0x2e_a07e));
        let nodes = 2 + usize::try_from(rng.below(3)).unwrap();
        let mut world = World::new(seed, nodes, nodes);
        world.until("a cluster", World::is_agreed);
        let mut queues = Vec::new();
        for number in 0..1 + rng.below(3) {
            let at = usize::try_from(rng.below(nodes as u64)).unwrap();
            let name = format!("q{number}");
            let mut made = declare(&name, true);
            if is_quorum {
                made.arguments.push(short("x-queue-type"), FieldValue::LongStr("quorum".into()));
            }
            make(&mut world, at, made);
            queues.push((at, name));
        }
        Self {
            seed,
            is_quorum,
            rng,
            world,
            publishers: Vec::new(),
            consumers: Vec::new(),
            messages: BTreeMap::new(),
            queues,
            answered: [0; 2],
            redelivered: 0,
            fresh_twice: BTreeSet::new(),
            killed: BTreeSet::new(),
        }
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.rng.below(count as u64)).unwrap()
    }

    fn run(&mut self, with_faults: bool) {
        for _ in 0..80 {
            let pause = if self.rng.one_in(2) { 30 } else { 300 };
            for _ in 0..self.rng.below(pause) {
                self.world.step();
            }
            self.listen();
            self.act(with_faults);
        }
        self.end();
    }

    fn act(&mut self, with_faults: bool) {
        let nodes = self.world.nodes.len();
        let (at, other) = (self.below(nodes), self.below(nodes));
        let pair = (at.min(other), at.max(other));
        let faults = if with_faults { 8 } else { 0 };
        match self.rng.below(48) {
            die if die < faults => match die {
                0 | 1 => {
                    if self.world.nodes[at].engine.is_some() {
                        self.killed.insert(at);
                        let power = self.rng.one_in(2);
                        self.world.crash(at, power);
                    }
                }
                2 | 3 if at != other => drop(self.world.cut.insert(pair)),
                4 if at != other => drop(self.world.stalled.insert(pair)),
                5 => self.world.stalled.clear(),
                _ => self.world.cut.clear(),
            },
            8..11 if self.world.nodes[at].engine.is_none() => self.world.start(at),
            8..13 if self.publishers.len() < 3 => {
                if let Some(client) = self.world.client(at) {
                    self.world.send(at, client, confirm::Select { no_wait: false });
                    self.publishers.push(Publisher { at, client, sent: BTreeMap::new() });
                }
            }
            13..18 if self.consumers.len() < 4 => {
                if let Some(client) = self.world.client(at) {
                    let queue = self.below(self.queues.len());
                    let prefetch_count = u16::try_from(self.rng.below(4)).unwrap();
                    self.world.send(at, client, basic::Qos { prefetch_count, ..basic::Qos::default() });
                    let name = self.queues[queue].1.clone();
                    self.world.send(at, client, consume(&name, "c"));
                    self.consumers.push(Consumer { at, client, queue, held: Vec::new(), last: BTreeMap::new() });
                }
            }
            18..28 => self.publish(),
            28 if !self.consumers.is_empty() => {
                let gone = self.below(self.consumers.len());
                let Consumer { at, client, .. } = self.consumers.swap_remove(gone);
                self.world.with_client(at, client, |client| drop(client.close_channel(CHANNEL)));
            }
            40.. if with_faults && at != other => self.world.sever(at, other),
            _ => self.settle(),
        }
    }

    fn publish(&mut self) {
        if self.publishers.is_empty() {
            return;
        }
        let which = self.below(self.publishers.len());
        for _ in 0..1 + self.rng.below(4) {
            let queue = self.below(self.queues.len());
            let name = self.queues[queue].1.clone();
            let number = self.messages.len() as u64;
            let size = if self.rng.one_in(6) { 30_000 } else { 1 };
            let Publisher { at, client, .. } = self.publishers[which];
            let seqno = publish(&mut self.world, at, client, &name, &format!("{number:>size$}"));
            self.messages.insert(number, Known { by: client, queue, fate: Fate::Unknown, seen: 0 });
            if let Some(seqno) = seqno {
                self.publishers[which].sent.insert(seqno, number);
            }
        }
    }

    fn settle(&mut self) {
        if self.consumers.is_empty() {
            return;
        }
        let which = self.below(self.consumers.len());
        let Consumer { at, client, held, .. } = &mut self.consumers[which];
        let (at, client) = (*at, *client);
        if held.is_empty() {
            return;
        }
        let tag = held.remove(usize::try_from(self.rng.below(held.len() as u64)).unwrap());
        let requeue = self.rng.one_in(6);
        self.world.with_client(at, client, |client| {
            let _ = if requeue { client.nack(CHANNEL, tag, false, true) } else { client.ack(CHANNEL, tag, false) };
        });
    }

    fn listen(&mut self) {
        let mut publishers = core::mem::take(&mut self.publishers);
        publishers.retain_mut(|publisher| {
            let Some(events) = self.world.events(publisher.at, publisher.client) else { return false };
            events.into_iter().all(|event| self.on_publisher(publisher, event))
        });
        self.publishers = publishers;
        let mut consumers = core::mem::take(&mut self.consumers);
        consumers.retain_mut(|consumer| {
            let Some(events) = self.world.events(consumer.at, consumer.client) else { return false };
            events.into_iter().all(|event| self.on_consumer(consumer, event))
        });
        self.consumers = consumers;
    }

    /// Whether the client goes on.
    fn on_publisher(&mut self, publisher: &mut Publisher, event: ClientEvent) -> bool {
        let (seqno, multiple, fate) = match event {
            ClientEvent::Acked { seqno, multiple, .. } => (seqno, multiple, Fate::Confirmed),
            ClientEvent::Nacked { seqno, multiple, .. } => (seqno, multiple, Fate::Refused),
            ClientEvent::Connected { .. } | ClientEvent::ChannelOpened { .. } | ClientEvent::Method { .. } => {
                return true;
            }
            ClientEvent::ConnectionClosed { .. } => return false,
            other => panic!("seed {}: {other:?}", self.seed),
        };
        let first = if multiple { 0 } else { seqno };
        let answered: Vec<u64> = publisher.sent.range(first..=seqno).map(|(seqno, _)| *seqno).collect();
        assert!(!answered.is_empty(), "seed {}: {seqno} is answered twice, or was never sent", self.seed);
        for seqno in answered {
            let number = publisher.sent.remove(&seqno).unwrap();
            let known = self.messages.get_mut(&number).unwrap();
            assert_eq!(known.fate, Fate::Unknown, "seed {}", self.seed);
            known.fate = fate;
            self.answered[usize::from(fate == Fate::Refused)] += 1;
        }
        true
    }

    fn on_consumer(&mut self, consumer: &mut Consumer, event: ClientEvent) -> bool {
        let seed = self.seed;
        match event {
            ClientEvent::Delivery { body, redelivered, delivery_tag, .. } => {
                let number: u64 = core::str::from_utf8(&body).unwrap().trim().parse().unwrap();
                let known =
                    self.messages.get_mut(&number).unwrap_or_else(|| panic!("seed {seed}: {number} is a phantom"));
                assert_eq!(known.queue, consumer.queue, "seed {seed}: {number} came by the wrong queue");
                known.seen += 1;
                if redelivered {
                    self.redelivered += 1;
                } else {
                    if known.seen > 1 {
                        self.fresh_twice.insert(number);
                    }
                    let last = consumer.last.insert(known.by, number);
                    assert!(last < Some(number), "seed {seed}: {number} after {last:?}");
                }
                consumer.held.push(delivery_tag);
                true
            }
            ClientEvent::ConsumerCancelled { .. } => {
                // As if the client came again.
                false
            }
            ClientEvent::Connected { .. } | ClientEvent::ChannelOpened { .. } | ClientEvent::Method { .. } => true,
            ClientEvent::ConnectionClosed { .. } | ClientEvent::ChannelClosed { .. } => false,
            other => panic!("seed {seed}: {other:?}"),
        }
    }

    fn end(&mut self) {
        self.world.cut.clear();
        self.world.stalled.clear();
        for at in 0..self.world.nodes.len() {
            if self.world.nodes[at].engine.is_none() {
                self.world.start(at);
            }
        }
        self.world.until("agreement at the end", World::is_agreed);
        // Some stay, so that what was lost on the way to them has to come back all the same.
        for consumer in core::mem::take(&mut self.consumers) {
            if self.rng.one_in(2) {
                self.world.with_client(consumer.at, consumer.client, |client| drop(client.close_channel(CHANNEL)));
            } else {
                self.consumers.push(consumer);
            }
        }
        for round in 0..2000 {
            for _ in 0..100 {
                self.world.step();
            }
            self.listen();
            for queue in 0..self.queues.len() {
                let consumer = self.consumers.iter().find(|consumer| consumer.queue == queue);
                if consumer.is_none() {
                    let at = self.below(self.world.nodes.len());
                    let client = self.world.client(at).unwrap();
                    let name = self.queues[queue].1.clone();
                    self.world.send(at, client, consume(&name, "last"));
                    self.consumers.push(Consumer { at, client, queue, held: Vec::new(), last: BTreeMap::new() });
                }
            }
            for consumer in &mut self.consumers {
                for tag in consumer.held.drain(..) {
                    let (at, client) = (consumer.at, consumer.client);
                    self.world.with_client(at, client, |client| drop(client.ack(CHANNEL, tag, false)));
                }
            }
            let engines = || self.world.nodes.iter().map(|node| node.engine.as_ref().unwrap());
            let led: usize = engines().map(|engine| engine.replicas().iter().filter(|it| it.leads).count()).sum();
            let is_empty = engines().all(|engine| held(engine) == 0) && (!self.is_quorum || led == self.queues.len());
            if is_empty && self.publishers.iter().all(|publisher| publisher.sent.is_empty()) && round > 20 {
                break;
            }
        }
        let seed = self.seed;
        for publisher in &self.publishers {
            assert!(publisher.sent.is_empty(), "seed {seed}: never answered: {:?}", publisher.sent);
        }
        for node in &self.world.nodes {
            let held = held(node.engine.as_ref().unwrap());
            assert_eq!(held, 0, "seed {seed}: queues of {} are not empty", node.name);
        }
        for (number, known) in &self.messages {
            let is_kept = known.fate != Fate::Confirmed || known.seen > 0;
            assert!(is_kept, "seed {seed}: {number} was confirmed and is lost");
            let home = self.queues[known.queue].0;
            if self.is_quorum || !self.killed.contains(&home) {
                assert!(!self.fresh_twice.contains(number), "seed {seed}: {number} came twice as if it were new");
            }
        }
    }
}

#[test]
fn without_faults_every_message_comes_once() {
    for seed in 0..seeds(20) {
        let mut life = Life::new(seed, seed % 2 == 1);
        life.run(false);
        assert!(life.messages.values().all(|known| known.fate != Fate::Refused), "seed {seed}");
        let unanswered = life.messages.values().filter(|known| known.fate == Fate::Unknown).count();
        assert_eq!(unanswered, 0, "seed {seed}");
    }
}

#[test]
fn whatever_happens_to_nodes_and_links_nothing_confirmed_is_lost() {
    lives(60, false);
}

#[test]
fn whatever_happens_to_a_minority_of_replicas_nothing_confirmed_is_lost() {
    lives(60, true);
}

/// Entries that were decided while nobody led are applied before the next leader knows that it leads. If it had led before, sessions
/// heard of no change, and missed what those entries gave out.
#[test]
fn what_is_given_out_while_nobody_leads_comes_from_who_leads_next() {
    Life::new(530, true).run(true);
}

fn lives(count: u64, is_quorum: bool) {
    let (mut answered, mut redelivered) = ([0; 2], 0);
    for seed in 0..seeds(count) {
        let mut life = Life::new(seed, is_quorum);
        life.run(true);
        answered.iter_mut().zip(life.answered).for_each(|(sum, one)| *sum += one);
        redelivered += life.redelivered;
        if seed % 16 == 0 {
            let mut again = Life::new(seed, is_quorum);
            again.run(true);
            assert_eq!(again.world.hash, life.world.hash, "seed {seed} is not the same twice");
        }
    }
    assert!(answered[0] > 200 && redelivered > 20, "{answered:?} {redelivered}");
    // A quorum queue refuses nothing because of a node.
    assert_eq!(is_quorum, answered[1] == 0, "{answered:?}");
}
