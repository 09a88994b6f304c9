//! One rule at a time.

use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

use super::super::{
    Actions, Answer, Applied, Boot, Checkout, Command, ConsumerId, CreditMode, DeadLetters, DeathNumber, DelayedRetry,
    DeliveryNumber, Enqueue, EntryWriter, LogIndex, Meta, NodeId, Notice, NumberRange, QuorumQueue, ReturnKind, Rules,
    Session, SessionEvent, SessionId, SessionOp, SessionSeqno, Settings, Sync, deaths, decode_entry,
};
use crate::queue::LeaveReason;

const NODE: NodeId = NodeId(1);
const A: SessionId = SessionId { node: NODE, boot: Boot(1), number: 1 };
const B: SessionId = SessionId { node: NodeId(2), boot: Boot(1), number: 1 };

/// A queue and what it said last.
#[derive(Default)]
struct Bench {
    queue: QuorumQueue,
    index: u64,
    now: u64,
    next: alloc::collections::BTreeMap<SessionId, u64>,
    actions: Actions,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let mut bench = Self { now: 10_000, ..Self::default() };
        bench.command(Command::Update(settings.into()));
        bench
    }

    fn command(&mut self, command: Command) -> &Actions {
        self.index += 1;
        self.actions.clear();
        let meta = Meta { index: LogIndex(self.index), wall_ms: self.now };
        self.queue.apply(meta, &[command], &mut self.actions);
        self.queue.check_invariants();
        &self.actions
    }

    fn op(&mut self, session: SessionId, op: SessionOp) -> &Actions {
        let next = self.next.entry(session).or_insert(1);
        let seqno = SessionSeqno(*next);
        *next += 1;
        self.command(Command::Session { session, seqno, op })
    }

    fn publish(&mut self, size: u32) -> &Actions {
        self.op(A, enqueue(size))
    }

    fn publish_many(&mut self, count: u32, size: u32) {
        for _ in 0..count {
            self.publish(size);
        }
    }

    fn consume(&mut self, session: SessionId, tag: u32, prefetch: u32, priority: i64) -> &Actions {
        let credit = CreditMode::Prefetch(prefetch);
        self.op(session, SessionOp::Checkout(Checkout { tag, credit, priority, ..Checkout::default() }))
    }

    fn settle(&mut self, session: SessionId, tag: u32, number: u64) -> &Actions {
        self.op(session, SessionOp::Settle { tag, numbers: one(number) })
    }

    fn give_back(&mut self, session: SessionId, tag: u32, number: u64, how: ReturnKind) -> &Actions {
        self.op(session, SessionOp::Return { tag, numbers: one(number), how })
    }

    /// To whom the last command led messages: consumer, delivery, and with which entry the message came.
    fn delivered(&self) -> Vec<(ConsumerId, u64, u64)> {
        self.actions.deliveries.iter().map(|it| (it.consumer, it.number.0, it.body.index.0)).collect()
    }

    fn left(&self) -> Vec<(u64, LeaveReason, bool)> {
        self.actions.left.iter().map(|it| (it.body.index.0, it.reason, it.is_dead_letter)).collect()
    }

    fn tick(&mut self, ms: u64) -> &Actions {
        self.now += ms;
        self.command(Command::Tick)
    }
}

fn enqueue(size: u32) -> SessionOp {
    SessionOp::Enqueue(Enqueue { size, ..Enqueue::default() })
}

fn one(number: u64) -> super::super::Numbers {
    [NumberRange::one(number)].into_iter().collect()
}

fn limited(length_max: u64, rejects_publish: bool) -> Settings {
    Settings { length_max: Some(length_max), rejects_publish, ..Settings::default() }
}

#[test]
fn a_command_counts_once_and_a_gap_is_answered() {
    let mut bench = Bench::new(Settings::default());
    let send = |seqno| Command::Session { session: A, seqno: SessionSeqno(seqno), op: enqueue(1) };
    assert_eq!(bench.command(send(2)).notices, [Notice::ResendFrom { session: A, seqno: SessionSeqno(1) }]);
    assert_eq!(bench.queue.stat().ready, 0);
    let applied = |up_to| Applied { session: A, up_to: SessionSeqno(up_to), is_full: false };
    assert_eq!(bench.command(send(1)).applied, [applied(1)]);
    assert_eq!(bench.command(send(2)).applied, [applied(2)]);
    assert_eq!(bench.command(send(1)).applied, [applied(2)], "a duplicate is answered with all that is known");
    assert_eq!(bench.command(send(4)).notices, [Notice::ResendFrom { session: A, seqno: SessionSeqno(3) }]);
    assert_eq!(bench.queue.stat().ready, 2);
}

#[test]
fn nothing_of_an_ended_session_or_a_former_life_can_come_back() {
    let mut bench = Bench::new(Settings::default());
    let first = |boot, number| {
        let session = SessionId { node: NODE, boot: Boot(boot), number };
        Command::Session { session, seqno: SessionSeqno(1), op: enqueue(1) }
    };
    bench.command(first(2, 7));
    bench.command(Command::Session {
        session: SessionId { node: NODE, boot: Boot(2), number: 7 },
        seqno: SessionSeqno(2),
        op: SessionOp::End,
    });
    for (boot, number) in [(2, 7), (2, 6), (1, 9)] {
        let session = SessionId { node: NODE, boot: Boot(boot), number };
        assert_eq!(bench.command(first(boot, number)).notices, [Notice::Unknown { session }]);
    }
    assert_eq!(bench.queue.stat().ready, 1);
    bench.command(Command::NodeDown { node: NODE, boot: Boot(2) });
    assert_eq!(bench.command(first(2, 8)).applied, []);
    assert_eq!(bench.command(first(3, 1)).applied.len(), 1);
}

/// RabbitMQ 4.3: `basic.reject` and lost connections count, `basic.nack` does not.
#[test]
fn only_failures_count_towards_the_delivery_limit() {
    let mut bench = Bench::new(Settings { delivery_limit: Some(1), ..Settings::default() });
    bench.publish(1);
    bench.consume(B, 1, 1, 0);
    let counts = |actions: &Actions| actions.deliveries.iter().map(|it| (it.failed, it.acquired)).collect::<Vec<_>>();
    assert_eq!(counts(bench.give_back(B, 1, 1, ReturnKind::Requeued)), [(0, 1)]);
    assert_eq!(counts(bench.give_back(B, 1, 2, ReturnKind::Failed)), [(1, 2)]);
    assert_eq!(counts(bench.give_back(B, 1, 3, ReturnKind::Requeued)), [(1, 3)]);
    bench.op(B, SessionOp::End);
    assert_eq!(bench.left(), [(2, LeaveReason::DeliveryLimit, false)]);
    assert_eq!(bench.queue.first_needed(), None);
}

#[test]
fn what_comes_back_is_first_whatever_its_priority() {
    let mut bench = Bench::new(Settings::default());
    for priority in [Some(0), None, Some(5), Some(200)] {
        bench.op(A, SessionOp::Enqueue(Enqueue { priority, ..Enqueue::default() }));
    }
    bench.consume(B, 1, 2, 0);
    assert_eq!(bench.delivered().iter().map(|it| it.2).collect::<Vec<_>>(), [5, 4]);
    bench.op(B, SessionOp::Cancel { tag: 1, seen: DeliveryNumber(0) });
    bench.consume(B, 2, 0, 0);
    assert_eq!(bench.delivered().iter().map(|it| it.2).collect::<Vec<_>>(), [5, 4, 3, 2]);
}

#[test]
fn consumers_take_turns_and_a_higher_priority_takes_all_it_can() {
    let mut bench = Bench::new(Settings::default());
    bench.consume(A, 1, 2, 0);
    bench.consume(B, 1, 2, 0);
    bench.consume(B, 2, 1, 9);
    let mut to = Vec::new();
    for _ in 0..6 {
        bench.publish(1);
        to.extend(bench.delivered().iter().map(|it| it.0));
    }
    let (a, b, high) = (A.consumer(1), B.consumer(1), B.consumer(2));
    assert_eq!(to, [high, a, b, a, b]);
    assert_eq!(bench.settle(B, 2, 1).deliveries[0].consumer, high);
}

#[test]
fn any_number_of_unacked_is_two_thousand() {
    let mut bench = Bench::new(Settings::default());
    bench.consume(B, 1, 0, 0);
    for _ in 0..2001 {
        bench.index += 1;
        let seqno = SessionSeqno(bench.index);
        let session = A;
        let command = Command::Session { session, seqno: SessionSeqno(seqno.0 - 2), op: enqueue(1) };
        bench.queue.apply(Meta { index: LogIndex(bench.index), wall_ms: 1 }, &[command], &mut bench.actions);
    }
    assert_eq!((bench.queue.stat().ready, bench.queue.stat().unacked), (1, 2000));
}

#[test]
fn credit_is_what_the_client_counts() {
    let mut bench = Bench::new(Settings::default());
    bench.publish_many(6, 1);
    bench.op(B, SessionOp::Checkout(Checkout { tag: 1, credit: CreditMode::Granted, ..Checkout::default() }));
    assert!(bench.delivered().is_empty());
    let credit = |credit, delivery_count, is_drain| SessionOp::Credit { tag: 1, credit, delivery_count, is_drain };
    assert_eq!(bench.op(B, credit(3, 0, false)).deliveries.len(), 3);
    assert_eq!(bench.op(B, credit(3, 2, false)).deliveries.len(), 2, "it had seen two of three");
    assert_eq!(bench.op(B, credit(1, 1, false)).deliveries.len(), 0, "that credit is long used");
    bench.op(B, credit(10, 4, true));
    assert_eq!(bench.delivered().len(), 1);
    let consumer = B.consumer(1);
    assert_eq!(bench.actions.notices, [Notice::Drained { consumer, delivery_count: 14 }]);
    assert_eq!(bench.publish(1).deliveries.len(), 0, "the rest has lapsed");
}

#[test]
fn one_message_is_given_to_who_asks_for_one() {
    let mut bench = Bench::new(Settings::default());
    let consumer = B.consumer(1);
    assert_eq!(bench.op(B, SessionOp::Get { tag: 1 }).notices, [Notice::GetEmpty { consumer }]);
    bench.publish(1);
    bench.publish(1);
    bench.op(B, SessionOp::Get { tag: 2 });
    assert_eq!(bench.delivered(), [(B.consumer(2), 1, 3)]);
    bench.settle(B, 2, 1);
    assert_eq!((bench.queue.stat().ready, bench.queue.stat().unacked), (1, 0));
    bench.command(Command::Pause { is_paused: true });
    assert_eq!(bench.op(B, SessionOp::Get { tag: 3 }).notices.len(), 1);
}

#[test]
fn one_consumer_is_active_and_a_higher_priority_follows_when_all_is_settled() {
    let mut bench = Bench::new(Settings { single_active_consumer: true, ..Settings::default() });
    bench.consume(A, 1, 5, 0);
    bench.consume(B, 1, 5, 0);
    bench.publish(1);
    assert_eq!(bench.delivered(), [(A.consumer(1), 1, 4)]);
    bench.consume(B, 2, 5, 1);
    bench.publish(1);
    assert!(bench.delivered().is_empty(), "the order is kept until the active one has settled");
    bench.settle(A, 1, 1);
    assert_eq!(bench.delivered(), [(B.consumer(2), 1, 6)]);
    bench.op(B, SessionOp::End);
    assert_eq!(bench.delivered(), [(A.consumer(1), 2, 6)]);
    assert_eq!(bench.queue.stat().active, Some(A.consumer(1)));
}

/// A queue whose consumers had all been too slow once delivered nothing any more in RabbitMQ 4.3.0.
#[test]
fn consumers_that_were_too_slow_get_messages_once_they_settled() {
    let mut bench = Bench::new(Settings { single_active_consumer: true, ..Settings::default() });
    let checkout = |tag| SessionOp::Checkout(Checkout { tag, timeout_ms: Some(100), ..Checkout::default() });
    bench.op(B, checkout(1));
    bench.op(B, checkout(2));
    bench.publish(1);
    assert_eq!(bench.queue.next_due(), Some(10_100));
    assert!(bench.tick(99).notices.is_empty());
    bench.tick(1);
    assert_eq!(bench.actions.notices, [Notice::TimedOut { consumer: B.consumer(1) }]);
    assert_eq!(bench.delivered(), [(B.consumer(2), 1, 4)]);
    assert_eq!((bench.actions.deliveries[0].failed, bench.actions.deliveries[0].acquired), (0, 1));
    bench.tick(100);
    assert_eq!(bench.queue.stat().active, None);
    assert_eq!(bench.queue.next_due(), None);
    bench.settle(B, 1, 1);
    assert_eq!(bench.delivered(), [(B.consumer(1), 2, 4)]);
}

#[test]
fn what_a_lost_node_has_stays_its_own_for_a_time() {
    let mut bench = Bench::new(Settings { disconnected_timeout_ms: 60_000, ..Settings::default() });
    bench.publish(1);
    bench.publish(1);
    bench.consume(B, 1, 1, 0);
    bench.command(Command::NodeSuspected { node: B.node });
    bench.consume(A, 1, 5, 0);
    assert_eq!(bench.delivered(), [(A.consumer(1), 1, 3)]);
    assert_eq!(bench.queue.next_due(), Some(70_000));
    assert!(bench.tick(59_999).deliveries.is_empty());
    bench.tick(1);
    assert_eq!(bench.delivered(), [(A.consumer(1), 2, 2)]);
    assert_eq!((bench.actions.deliveries[0].failed, bench.queue.next_due()), (0, None));
    bench.publish(1);
    bench.command(Command::NodeUp { node: B.node, boot: B.boot });
    bench.publish_many(4, 1);
    assert_eq!(bench.queue.stat().unacked, 6, "both consumers get messages again");
}

#[test]
fn a_suspected_active_consumer_gives_way_when_it_has_nothing() {
    let mut bench = Bench::new(Settings { single_active_consumer: true, ..Settings::default() });
    bench.consume(B, 1, 1, 0);
    bench.consume(A, 1, 1, 0);
    bench.publish(1);
    bench.publish(1);
    bench.command(Command::NodeSuspected { node: B.node });
    assert_eq!((bench.delivered(), bench.queue.stat().active), (vec![], Some(B.consumer(1))));
    bench.settle(B, 1, 1);
    assert_eq!(bench.delivered(), [(A.consumer(1), 1, 5)]);
}

#[test]
fn messages_expire_at_the_head_of_their_priority() {
    let mut bench = Bench::new(Settings::default());
    let with_ttl = |priority, ttl_ms| SessionOp::Enqueue(Enqueue { priority, ttl_ms, ..Enqueue::default() });
    bench.op(A, with_ttl(None, Some(500)));
    bench.op(A, with_ttl(None, Some(10)));
    bench.op(A, with_ttl(Some(9), Some(20)));
    assert_eq!(bench.queue.next_due(), Some(10_020));
    assert!(bench.tick(19).left.is_empty(), "the short one stands behind a long one");
    bench.tick(1);
    assert_eq!(bench.left(), [(4, LeaveReason::Expired, false)]);
    bench.tick(480);
    assert_eq!(bench.left(), [(2, LeaveReason::Expired, false), (3, LeaveReason::Expired, false)]);
    bench.op(A, with_ttl(None, Some(0)));
    assert_eq!(bench.left().len(), 1, "nobody wants it");
    bench.consume(B, 1, 5, 0);
    bench.op(A, with_ttl(None, Some(0)));
    assert_eq!(bench.delivered().len(), 1);
}

#[test]
fn the_clock_of_a_queue_does_not_go_back() {
    let mut bench = Bench::new(Settings { message_ttl_ms: Some(100), ..Settings::default() });
    bench.now = 20_000;
    bench.publish(1);
    bench.now = 15_000;
    bench.publish(1);
    assert_eq!(bench.queue.peek().map(|it| it.expires_at).collect::<Vec<_>>(), [Some(20_100), Some(20_100)]);
}

#[test]
fn a_full_queue_drops_what_is_first_or_tells_publishers() {
    let mut bench = Bench::new(limited(2, false));
    bench.publish(1);
    bench.publish(1);
    assert!(bench.left().is_empty());
    bench.publish(1);
    assert_eq!(bench.left(), [(2, LeaveReason::MaxLength, false)]);

    let mut bench = Bench::new(limited(5, true));
    bench.publish_many(4, 1);
    let full = |is_full| Notice::Full { session: A, is_full };
    assert_eq!(bench.publish(1).notices, [full(true)]);
    assert!(bench.actions.applied[0].is_full);
    assert!(bench.publish(1).notices.is_empty(), "what was under way is taken");
    bench.op(A, SessionOp::Get { tag: 1 });
    assert!(bench.actions.notices.is_empty());
    bench.op(A, SessionOp::Get { tag: 2 });
    assert_eq!(bench.actions.notices, [full(false)], "at four fifths");
}

#[test]
fn dead_letters_are_kept_until_they_arrived_and_count_towards_the_limit() {
    let settings = Settings { dead_letters: DeadLetters::AtLeastOnce, ..limited(3, true) };
    let mut bench = Bench::new(settings.clone());
    bench.publish_many(2, 4);
    bench.consume(B, 1, 5, 0);
    bench.op(B, SessionOp::Discard { tag: 1, numbers: [NumberRange { first: 1, last: 2 }].into_iter().collect() });
    assert_eq!((bench.left(), bench.actions.notices.clone()), (vec![], vec![Notice::DeadLettersWait]));
    let dead: Vec<_> = bench.queue.dead_letters(DeathNumber(0)).map(|it| (it.number.0, it.body.index.0)).collect();
    assert_eq!(dead, [(1, 2), (2, 3)]);
    assert!(bench.queue.needed(LogIndex(2)));
    bench.op(B, SessionOp::Cancel { tag: 1, seen: DeliveryNumber(2) });
    bench.publish(1);
    assert!(bench.queue.stat().is_full);
    bench.command(Command::DeadLettered { deaths: deaths([DeathNumber(1)]) });
    assert_eq!((bench.queue.needed(LogIndex(2)), bench.queue.stat().is_full), (false, false));
    bench.command(Command::DeadLettered { deaths: deaths([DeathNumber(1)]) });
    assert_eq!(bench.queue.dead_letters(DeathNumber(1)).count(), 1);
    bench.command(Command::Update(Settings { dead_letters: DeadLetters::AtMostOnce, ..settings }.into()));
    assert_eq!(bench.left(), [(3, LeaveReason::Rejected, false)]);
}

#[test]
fn messages_that_come_back_wait_before_they_are_delivered_again() {
    let delayed_retry = DelayedRetry { failed: true, returned: false, min_ms: 100, max_ms: 150 };
    let mut bench = Bench::new(Settings { delayed_retry, ..Settings::default() });
    bench.publish(1);
    bench.consume(B, 1, 5, 0);
    assert_eq!(bench.give_back(B, 1, 1, ReturnKind::Requeued).deliveries.len(), 1);
    assert_eq!(bench.give_back(B, 1, 2, ReturnKind::Failed).deliveries.len(), 0);
    assert_eq!((bench.queue.next_due(), bench.queue.stat().delayed), (Some(10_100), 1));
    assert_eq!(bench.tick(100).deliveries.len(), 1);
    bench.give_back(B, 1, 3, ReturnKind::Failed);
    assert_eq!(bench.queue.next_due(), Some(10_250));
}

#[test]
fn a_queue_is_deleted_only_if_it_may_and_takes_nothing_then() {
    let mut bench = Bench::new(Settings { expires_ms: Some(100), ..Settings::default() });
    let prepare = |if_unused, if_empty| Command::DeletePrepare { if_unused, if_empty };
    let answer = |actions: &Actions| actions.replies[0].answer;
    bench.publish(1);
    assert_eq!(answer(bench.command(prepare(true, true))), Answer::NotEmpty);
    bench.consume(B, 1, 1, 0);
    bench.publish(1);
    assert_eq!((answer(bench.command(prepare(true, false))), bench.queue.ends_at()), (Answer::InUse, None));
    assert_eq!(answer(bench.command(Command::Purge)), Answer::Purged(1));
    assert_eq!(bench.queue.stat().unacked, 1, "what is out stays");
    bench.now += 7;
    bench.op(B, SessionOp::End);
    assert_eq!(bench.queue.ends_at(), Some(10_107));
    assert_eq!(answer(bench.command(prepare(true, false))), Answer::DeletePrepared(1));
    assert_eq!(bench.actions.notices, [Notice::Gone { session: A }]);
    assert_eq!(bench.publish(1).notices, [Notice::Gone { session: A }]);
    assert_eq!(bench.queue.stat().ready, 1);
}

#[test]
fn the_log_keeps_what_lives() {
    let mut bench = Bench::new(Settings::default());
    bench.publish_many(4, 1);
    bench.consume(B, 1, 9, 0);
    bench.settle(B, 1, 2);
    bench.settle(B, 1, 1);
    assert_eq!(bench.queue.needed_ranges(), [NumberRange { first: 4, last: 5 }]);
    assert_eq!((bench.queue.first_needed(), bench.queue.needed(LogIndex(3))), (Some(LogIndex(4)), false));
}

/// A session on a wire that a test can cut.
struct Wire {
    bench: Bench,
    session: Session,
    events: Vec<SessionEvent>,
}

impl Wire {
    fn new() -> Self {
        Self { bench: Bench::new(Settings::default()), session: Session::new(B), events: Vec::new() }
    }

    /// The bytes that the session has to send.
    fn written(&mut self) -> Vec<Command> {
        let (mut writer, mut commands) = (EntryWriter::default(), Vec::new());
        if self.session.write(&mut writer, usize::MAX) {
            decode_entry(&writer.take(), &mut commands).unwrap();
        }
        commands
    }

    fn arrive(&mut self, commands: Vec<Command>) -> Actions {
        let mut all = Actions::default();
        for command in commands {
            self.bench.command(command);
            all.applied.append(&mut self.bench.actions.applied);
            all.deliveries.append(&mut self.bench.actions.deliveries);
            all.notices.append(&mut self.bench.actions.notices);
        }
        all
    }

    fn hear(&mut self, actions: &Actions) {
        actions.deliveries.iter().for_each(|it| self.session.on_delivery(it, &mut self.events));
        actions.applied.iter().for_each(|it| self.session.on_applied(it, &mut self.events));
        actions.notices.iter().for_each(|it| self.session.on_notice(it, &mut self.events));
    }

    fn exchange(&mut self) {
        let commands = self.written();
        let actions = self.arrive(commands);
        self.hear(&actions);
        if let Some(sync) = self.session.take_sync() {
            let answer = self.bench.queue.answer(&sync);
            self.session.on_sync(&answer, &mut self.events);
        }
    }

    fn publish(&mut self, token: u64) {
        self.session.enqueue(
            Enqueue { size: 1, ..Enqueue::default() },
            Bytes::from_static(b"x"),
            token,
            &mut self.events,
        );
    }

    fn delivered(&mut self) -> Vec<u64> {
        let number = |event: SessionEvent| match event {
            SessionEvent::Delivered(delivery) => Some(delivery.number.0),
            _ => None,
        };
        self.events.drain(..).filter_map(number).collect()
    }
}

#[test]
fn what_was_lost_on_the_way_is_sent_again_and_confirmed_once() {
    let mut wire = Wire::new();
    wire.publish(10);
    drop(wire.written());
    wire.publish(11);
    wire.exchange();
    assert_eq!((wire.events.len(), wire.session.outstanding_len()), (0, 2), "the queue misses the first");
    wire.exchange();
    assert_eq!(wire.events, [SessionEvent::Confirmed(10), SessionEvent::Confirmed(11)]);
    wire.events.clear();
    wire.publish(12);
    let commands = wire.written();
    drop(wire.arrive(commands));
    wire.session.on_leader();
    wire.exchange();
    assert_eq!(wire.events, [SessionEvent::Confirmed(12)]);
    assert_eq!((wire.bench.queue.stat().ready, wire.session.is_waiting()), (3, false));
}

/// Whether it was taken nobody can tell: its owner is to say so to whoever published it.
#[test]
fn what_a_queue_has_not_answered_when_it_gives_a_session_up_is_left_to_its_owner() {
    let mut wire = Wire::new();
    wire.publish(10);
    wire.exchange();
    wire.events.clear();
    wire.publish(11);
    drop(wire.written());
    wire.publish(12);
    wire.session.on_notice(&Notice::Unknown { session: B }, &mut wire.events);
    assert_eq!(wire.events, [SessionEvent::Fenced]);
    let left: Vec<(u64, bool)> = wire.session.take_messages().into_iter().map(|it| (it.token, it.was_sent)).collect();
    assert_eq!(left, [(11, true), (12, false)]);
}

#[test]
fn a_lost_delivery_is_noticed_by_the_next_and_a_doubled_one_dropped() {
    let mut wire = Wire::new();
    let tag = wire.session.consume(Checkout::default(), false);
    wire.exchange();
    let mut said = Vec::new();
    for _ in 0..3 {
        wire.bench.publish(1);
        said.push(core::mem::take(&mut wire.bench.actions));
    }
    wire.hear(&said[0]);
    wire.hear(&said[2]);
    assert_eq!(wire.delivered(), [1], "the third comes with the second");
    wire.exchange();
    assert_eq!(wire.delivered(), [2, 3]);
    said.iter().for_each(|said| wire.hear(said));
    assert!(wire.delivered().is_empty());
    wire.session.settle(tag, &[NumberRange { first: 1, last: 2 }]);
    wire.session.settle(tag, &[NumberRange::one(3)]);
    assert_eq!(wire.session.outstanding_len(), 1, "what was not sent is joined");
    wire.exchange();
    assert_eq!(wire.bench.queue.stat().unacked, 0);
}

#[test]
fn the_last_delivery_of_a_lost_leader_is_found_by_asking() {
    let mut wire = Wire::new();
    wire.bench.publish(1);
    wire.session.consume(Checkout::default(), true);
    let commands = wire.written();
    drop(wire.arrive(commands));
    wire.session.on_leader();
    wire.exchange();
    assert_eq!(wire.delivered(), [1]);
    wire.exchange();
    assert_eq!(wire.bench.queue.stat().unacked, 0, "it is acked as it comes");
}

#[test]
fn what_a_cancelled_consumer_did_not_see_comes_back() {
    let mut wire = Wire::new();
    let tag = wire.session.consume(Checkout::default(), false);
    wire.exchange();
    wire.bench.publish(1);
    let said = core::mem::take(&mut wire.bench.actions);
    wire.hear(&said);
    wire.bench.publish(1);
    wire.session.cancel(tag);
    wire.exchange();
    assert_eq!((wire.bench.queue.stat().ready, wire.bench.queue.stat().unacked), (1, 1));
    wire.events.clear();
    let get = wire.session.get(false);
    wire.exchange();
    assert_eq!(wire.delivered(), [1]);
    let empty = wire.session.get(false);
    wire.exchange();
    assert_eq!(wire.events, [SessionEvent::GetEmpty { tag: empty }]);
    assert!(get < empty);
}

/// The question may be older than who asks for one message, and the answer younger.
#[test]
fn an_answer_says_nothing_of_who_was_not_asked_about() {
    let mut wire = Wire::new();
    wire.bench.publish(1);
    wire.session.on_leader();
    let question = wire.session.take_sync().unwrap();
    let tag = wire.session.get(false);
    let commands = wire.written();
    let said = wire.arrive(commands);
    wire.session.on_sync(&wire.bench.queue.answer(&question), &mut wire.events);
    assert_eq!(wire.events, []);
    wire.hear(&said);
    assert_eq!(wire.delivered(), [1]);
    wire.session.settle(tag, &[NumberRange::one(1)]);
    wire.exchange();
    assert_eq!(wire.bench.queue.stat().unacked, 0);
}

#[test]
fn a_full_queue_makes_its_publishers_refuse() {
    let mut wire = Wire::new();
    wire.bench.command(Command::Update(limited(1, true).into()));
    wire.publish(1);
    wire.exchange();
    wire.publish(2);
    assert_eq!(wire.events, [SessionEvent::Confirmed(1), SessionEvent::Rejected(2)]);
    wire.bench.command(Command::Purge);
    wire.events.clear();
    // That it has room again was never heard; asking tells.
    wire.session.on_timeout();
    wire.exchange();
    wire.publish(3);
    wire.exchange();
    assert_eq!(wire.events, [SessionEvent::Confirmed(3)]);
}

#[test]
fn a_session_overtaken_by_a_later_one_gets_another_number() {
    let mut wire = Wire::new();
    let later = SessionId { number: 2, ..B };
    wire.bench.op(later, enqueue(1));
    wire.publish(1);
    wire.exchange();
    assert_eq!(wire.events, [SessionEvent::NeedsNumber]);
    wire.events.clear();
    wire.session.restart(SessionId { number: 3, ..B });
    wire.exchange();
    assert_eq!(wire.events, [SessionEvent::Confirmed(1)]);
    wire.events.clear();
    wire.publish(2);
    wire.session.end(&mut wire.events);
    let commands = wire.written();
    drop(wire.arrive(commands));
    wire.session.on_leader();
    wire.exchange();
    assert_eq!(wire.events, [SessionEvent::Ended], "the queue knows it no more: its end was applied");
    assert_eq!(wire.bench.queue.stat().ready, 3);
}

#[test]
fn a_late_answer_of_a_former_leader_changes_nothing() {
    let mut wire = Wire::new();
    let tag = wire.session.consume(Checkout::default(), false);
    wire.exchange();
    let early = wire.bench.queue.answer(&Sync { session: B, consumers: vec![(tag, DeliveryNumber(1))] });
    wire.bench.publish(1);
    let said = core::mem::take(&mut wire.bench.actions);
    wire.hear(&said);
    wire.session.settle(tag, &[NumberRange::one(1)]);
    wire.exchange();
    wire.events.clear();
    wire.session.on_sync(&early, &mut wire.events);
    wire.exchange();
    assert_eq!(wire.events, []);
    wire.bench.publish(1);
    let said = core::mem::take(&mut wire.bench.actions);
    wire.hear(&said);
    assert_eq!(wire.delivered(), [2]);
}

#[test]
fn a_message_is_where_its_bytes_are_in_the_entry() {
    let (mut writer, mut commands) = (EntryWriter::default(), Vec::new());
    for body in [&b"first"[..], b"second"] {
        let seqno = SessionSeqno(commands.len() as u64 + 1);
        writer.session(A, seqno, &enqueue(1), body);
        commands.push(());
    }
    let (entry, mut commands) = (writer.take(), Vec::new());
    decode_entry(&entry, &mut commands).unwrap();
    let mut queue = QuorumQueue::default();
    queue.apply(Meta { index: LogIndex(9), wall_ms: 0 }, &commands, &mut Actions::default());
    let bodies: Vec<&[u8]> = queue.peek().map(|it| &entry[it.body.at as usize..][..it.body.len as usize]).collect();
    assert_eq!(bodies, [&b"first"[..], b"second"]);
    assert_eq!(queue.first_needed(), Some(LogIndex(9)));
}

fn classic(priority_max: u8, auto_delete: bool) -> Settings {
    Settings { rules: Rules::Classic { priority_max, auto_delete }, ..Settings::default() }
}

fn alone(tag: u32) -> SessionOp {
    let credit = CreditMode::Prefetch(5);
    SessionOp::Checkout(Checkout { tag, credit, is_exclusive: true, ..Checkout::default() })
}

/// RabbitMQ docs: Consumer Acknowledgements / Negative Acknowledgement and Requeuing; Classic Queues know no delivery limit.
#[test]
fn what_comes_back_to_a_classic_queue_takes_its_own_place_and_is_not_counted() {
    let mut bench = Bench::new(classic(0, false));
    bench.publish_many(3, 1);
    bench.consume(B, 1, 2, 0);
    assert_eq!(bench.delivered(), [(B.consumer(1), 1, 2), (B.consumer(1), 2, 3)]);
    bench.give_back(B, 1, 2, ReturnKind::Failed);
    assert_eq!(bench.delivered(), [(B.consumer(1), 3, 3)]);
    let [again] = bench.actions.deliveries[..] else { panic!("one is delivered") };
    assert_eq!((again.failed, again.acquired), (0, 1));
    let Settings { rules, .. } = classic(0, false);
    let mut bench = Bench::new(Settings { rules, delivery_limit: Some(1), ..Settings::default() });
    bench.publish(1);
    bench.consume(B, 1, 1, 0);
    bench.give_back(B, 1, 1, ReturnKind::Failed);
    bench.give_back(B, 1, 2, ReturnKind::Failed);
    assert_eq!(bench.left(), [(2, LeaveReason::DeliveryLimit, false)]);
}

#[test]
fn a_classic_queue_has_the_priorities_that_it_was_declared_with() {
    let mut bench = Bench::new(classic(5, false));
    for priority in [None, Some(200), Some(5), Some(1)] {
        bench.op(A, SessionOp::Enqueue(Enqueue { size: 1, priority, ..Enqueue::default() }));
    }
    assert_eq!(
        bench.queue.peek().map(|it| (it.priority, it.body.index.0)).collect::<Vec<_>>(),
        [(5, 3), (5, 4), (1, 5), (0, 2)]
    );
    bench.consume(B, 1, 0, 0);
    assert_eq!(bench.delivered().iter().map(|(.., entry)| *entry).collect::<Vec<_>>(), [3, 4, 5, 2]);
    // What the first update says holds for good.
    bench.command(Command::Update(Settings::default().into()));
    assert!(bench.queue.has_settings(&classic(9, true)));
}

#[test]
fn a_classic_queue_takes_one_consumer_that_wants_to_be_the_only_one() {
    let mut bench = Bench::new(classic(0, false));
    assert_eq!(bench.op(B, alone(1)).notices, []);
    let in_use = |session: SessionId, tag| [Notice::InUse { consumer: session.consumer(tag) }];
    assert_eq!(bench.op(A, alone(1)).notices, in_use(A, 1));
    assert_eq!(bench.consume(A, 2, 1, 0).notices, in_use(A, 2));
    // Sent again, it is answered again.
    let seqno = SessionSeqno(1);
    assert_eq!(bench.command(Command::Session { session: A, seqno, op: alone(1) }).notices, in_use(A, 1));
    let sync = Sync { session: A, consumers: vec![(2, DeliveryNumber(1)), (3, DeliveryNumber(1))] };
    assert_eq!(bench.queue.turned_away(&sync).collect::<Vec<_>>(), [A.consumer(2)]);
    let restored = QuorumQueue::restore(&bench.queue.snapshot()).unwrap();
    assert_eq!(restored.state_hash(), bench.queue.state_hash());
    bench.queue = restored;
    assert_eq!(bench.consume(A, 3, 1, 0).notices, in_use(A, 3));
    bench.op(B, SessionOp::Cancel { tag: 1, seen: DeliveryNumber(0) });
    assert_eq!(bench.consume(A, 4, 1, 0).notices, []);
    assert_eq!(bench.op(B, alone(2)).notices, in_use(B, 2));
}

#[test]
fn a_classic_queue_may_go_with_its_last_consumer() {
    let mut bench = Bench::new(classic(0, true));
    bench.publish(1);
    assert!(!bench.queue.is_abandoned());
    bench.consume(A, 1, 1, 0);
    bench.consume(B, 1, 1, 0);
    bench.op(A, SessionOp::Cancel { tag: 1, seen: DeliveryNumber(1) });
    assert!(!bench.queue.is_abandoned());
    bench.op(B, SessionOp::End);
    assert!(bench.queue.is_abandoned());
    assert!(QuorumQueue::restore(&bench.queue.snapshot()).unwrap().is_abandoned());
}

/// RabbitMQ docs: Single Active Consumer: priorities count in quorum queues only.
#[test]
fn the_single_active_consumer_of_a_classic_queue_is_the_oldest() {
    let mut bench = Bench::new(Settings { single_active_consumer: true, ..classic(0, false) });
    bench.consume(A, 1, 1, 0);
    bench.consume(B, 1, 1, 9);
    bench.queue = QuorumQueue::restore(&bench.queue.snapshot()).unwrap();
    bench.publish(1);
    assert_eq!(bench.delivered(), [(A.consumer(1), 1, 4)]);
    bench.settle(A, 1, 1);
    bench.publish(1);
    assert_eq!(bench.delivered(), [(A.consumer(1), 2, 6)]);
}

#[test]
fn a_full_classic_queue_takes_messages_again_as_soon_as_there_is_room() {
    let Settings { rules, .. } = classic(0, false);
    let mut bench = Bench::new(Settings { rules, ..limited(3, true) });
    bench.publish_many(3, 1);
    assert!(bench.queue.stat().is_full);
    bench.consume(B, 1, 1, 0);
    assert!(!bench.queue.stat().is_full);
}

/// What is written of classic queues; of quorum queues nothing is different.
#[test]
fn the_rules_of_a_classic_queue_are_read_as_they_were_written() {
    for settings in [classic(0, false), classic(255, true), Settings { length_max: Some(300), ..classic(9, false) }] {
        let mut writer = EntryWriter::default();
        let update = Command::Update(settings.into());
        writer.push(&update, &[]);
        let mut commands = vec![];
        decode_entry(&Bytes::from(writer.take()), &mut commands).unwrap();
        assert_eq!(update.since(), crate::cluster::version::MIRRORS);
        assert_eq!(commands, [update]);
    }
}
