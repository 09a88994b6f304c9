//! That the ledger sees what is wrong: each test tells it of a run in which one promise is broken, and of the same run without that.

use super::*;
use crate::oracle::Bench;
use crate::run::plan;
use crate::scenario::Scenario;
use crate::story::{Reason, Short};
use crate::tap::Said;

/// The connection of the client that publishes, of the one that consumes, and of the one that changes queues.
const PUBLISHER: u32 = 1;
const CONSUMER: u32 = 2;
const CHURNER: u32 = 3;

/// A ledger, and the first objection of the oracles to what it says.
struct Court {
    ledger: Ledger,
    bench: Bench,
    objection: Option<String>,
}

/// Queues of three nodes: `orders` with these rules, and `late` for its dead letters.
fn court(rules: &str) -> Court {
    court_of(&format!("x-queue-type = \"quorum\"\n{rules}"))
}

/// The same, where `orders` is a classic queue on the third node, and all have links to each other.
fn remote_court(rules: &str) -> Court {
    let mut court = court_of(&format!("remote = true\nnode = \"c\"\n{rules}"));
    court.link();
    court
}

fn court_of(rules: &str) -> Court {
    let text = format!(
        r#"
        name = "court"
        about = "x"
        cluster = {{ nodes = 3 }}
        [[queue]]
        name = "orders"
        {rules}
        [[queue]]
        name = "late"
        x-queue-type = "quorum"
        "#
    );
    let plan = plan(&Scenario::parse(&text).unwrap(), 1);
    let ledger = Ledger::new(&plan, &mut Model::new(3)).unwrap();
    let mut court = Court { ledger, bench: Bench::new(false), objection: None };
    for (connection, node) in [(PUBLISHER, 0), (CONSUMER, 1), (CHURNER, 2)] {
        court.ledger.connected(connection, At::new(node), connection);
        court.asks(connection, Said::ChannelOpen);
    }
    for queue in [&b"orders"[..], b"late"] {
        court.declare(queue);
    }
    court.asks(PUBLISHER, Said::ConfirmSelect);
    court.told(PUBLISHER, Said::Done { class: 85, method: 11 });
    court
}

const AT_LEAST_ONCE: &str = r#"
    x-message-ttl = 100
    x-overflow = "reject-publish"
    x-dead-letter-exchange = ""
    x-dead-letter-routing-key = "late"
    x-dead-letter-strategy = "at-least-once"
"#;

/// The properties of a message that is to be on the disk, and nothing else.
const PERSISTENT: &[u8] = &[0x10, 0, 2];

impl Court {
    /// All nodes say that they have links to all others.
    fn link(&mut self) {
        for node in 0..3 {
            let others: Vec<At> = (0..3).filter(|other| *other != node).map(At::new).collect();
            self.ledger.linked(At::new(node), &others);
        }
    }

    fn asks(&mut self, connection: u32, said: Said<'_>) {
        self.ledger.client_says(connection, 1, said);
        self.judge();
    }

    fn told(&mut self, connection: u32, said: Said<'_>) {
        self.ledger.node_says(connection, 1, said);
        for node in 0..3 {
            self.ledger.end_step(At::new(node), 7);
            self.ledger.has_told(At::new(node));
        }
        self.judge();
    }

    fn judge(&mut self) {
        let mut facts = Vec::new();
        self.ledger.take_facts(&mut facts);
        for fact in facts {
            let objection = self.bench.judge(&fact);
            self.objection = self.objection.take().or_else(|| objection.map(|(name, _)| name.to_owned()));
        }
    }

    fn declare(&mut self, name: &[u8]) {
        let (passive, durable, exclusive, auto_delete) = (false, true, false, false);
        self.asks(CHURNER, Said::QueueDeclare { name, passive, durable, exclusive, auto_delete });
        self.told(CHURNER, Said::QueueDeclareOk { name, messages: 0, consumers: 0 });
    }

    /// Publishes so many messages to `orders`, from this number on, and has them confirmed.
    fn publish(&mut self, first: u32, count: u32) {
        for number in first..first + count {
            let message = Some(MessageNumber(number));
            self.asks(
                PUBLISHER,
                Said::Publish { routing: b"\0\x06orders", mandatory: false, message, properties: PERSISTENT },
            );
        }
        let tag = u64::from(first + count);
        self.told(PUBLISHER, Said::Ack { tag, multiple: true });
    }

    fn consume(&mut self, queue: &[u8]) {
        self.asks(CONSUMER, Said::Consume { queue, tag: queue, no_ack: false, priority: 0 });
        self.told(CONSUMER, Said::Done { class: 60, method: 21 });
    }

    fn deliver(&mut self, consumer: &[u8], tag: u64, number: u32, properties: &[u8]) {
        let message = Some(MessageNumber(number));
        self.told(CONSUMER, Said::Deliver { consumer, tag, redelivered: false, message, properties });
        self.asks(CONSUMER, Said::Ack { tag, multiple: false });
    }

    /// What all oracles say at the end.
    fn outcome(mut self) -> Option<String> {
        self.ledger.drained();
        self.judge();
        self.objection
    }
}

/// The properties of a message that died in `orders`.
fn dead(reason: &str) -> Vec<u8> {
    let text = |name: &str, text: &str| {
        let mut field = vec![u8::try_from(name.len()).unwrap()];
        field.extend(name.as_bytes());
        field.push(b'S');
        field.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        field.extend(text.as_bytes());
        field
    };
    let sized = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let count = [b"\x05countl", &1_i64.to_be_bytes()[..]].concat();
    let death = [text("queue", "orders"), text("reason", reason), count].concat();
    let list = sized(&[&b"F"[..], &sized(&death)].concat());
    let fields = [
        [b"\x07x-deathA", &list[..]].concat(),
        text("x-first-death-queue", "orders"),
        text("x-first-death-reason", reason),
        text("x-last-death-queue", "orders"),
        text("x-last-death-reason", reason),
    ];
    // The flags say that there are headers and nothing else.
    [&0x2000_u16.to_be_bytes()[..], &sized(&fields.concat())].concat()
}

#[test]
fn the_headers_of_these_tests_are_those_of_a_dead_letter() {
    let deaths = crate::story::Deaths::of(&dead("expired"));
    assert_eq!(deaths.entries.len(), 1);
    assert_eq!((deaths.entries[0].reason, deaths.entries[0].count), (Reason::Expired, 1));
    assert!(deaths.first.is_some() && deaths.last.is_some() && !deaths.has_expiration);
}

#[test]
fn a_dead_letter_that_never_arrives_is_lost() {
    for (arrives, expected) in [(true, None), (false, Some("nothing lost"))] {
        let mut court = court(AT_LEAST_ONCE);
        court.publish(0, 1);
        court.consume(b"late");
        court.ledger.at(200 * MILLISECOND);
        if arrives {
            court.deliver(b"late", 1, 0, &dead("expired"));
        }
        assert_eq!(court.outcome().as_deref(), expected);
    }
}

#[test]
fn a_dead_letter_that_died_too_early_or_for_another_reason_is_objected_to() {
    for (time, reason, expected) in
        [(100, "expired", None), (90, "expired", Some("expires in time")), (200, "maxlen", Some("dead-letter headers"))]
    {
        let mut court = court(AT_LEAST_ONCE);
        court.publish(0, 1);
        court.consume(b"late");
        court.ledger.at(time * MILLISECOND);
        court.deliver(b"late", 1, 0, &dead(reason));
        assert_eq!(court.outcome().as_deref(), expected, "{time} {reason}");
    }
}

#[test]
fn what_is_dead_does_not_come_from_its_queue() {
    let mut court = court(AT_LEAST_ONCE);
    court.publish(0, 1);
    court.consume(b"late");
    court.consume(b"orders");
    court.ledger.at(200 * MILLISECOND);
    court.deliver(b"late", 1, 0, &dead("expired"));
    court.deliver(b"orders", 2, 0, &[]);
    assert_eq!(court.outcome().as_deref(), Some("settled stays settled"));
}

#[test]
fn dead_letters_come_once_as_long_as_nothing_goes_wrong() {
    for (goes_wrong, expected) in [(true, None), (false, Some("settled stays settled"))] {
        let mut court = court(AT_LEAST_ONCE);
        court.publish(0, 1);
        court.consume(b"late");
        court.ledger.at(200 * MILLISECOND);
        if goes_wrong {
            court.ledger.breaks(At::FIRST);
        }
        court.deliver(b"late", 1, 0, &dead("expired"));
        court.deliver(b"late", 2, 0, &dead("expired"));
        assert_eq!(court.outcome().as_deref(), expected);
    }
}

/// Of four messages the last two have room.
#[test]
fn a_queue_that_is_too_long_or_drops_too_much_is_objected_to() {
    for (found, come, expected) in
        [(2, 2..4, None), (3, 2..4, Some("within its length")), (2, 3..4, Some("nothing lost")), (2, 1..4, None)]
    {
        let mut court = court("x-max-length = 2");
        (0..4).for_each(|number| court.publish(number, 1));
        court.ledger.count([("orders", found)]);
        court.consume(b"orders");
        come.for_each(|number| court.deliver(b"orders", u64::from(number), number, &[]));
        assert_eq!(court.outcome().as_deref(), expected);
    }
}

/// Two that were driven out come in the order in which they were there.
#[test]
fn what_was_dropped_last_does_not_come_first() {
    for (order, expected) in [([0, 1], None), ([1, 0], Some("order"))] {
        let mut court = court("x-max-length = 2\nx-dead-letter-exchange = \"\"\nx-dead-letter-routing-key = \"late\"");
        (0..4).for_each(|number| court.publish(number, 1));
        court.consume(b"late");
        order.into_iter().zip(1..).for_each(|(number, tag)| court.deliver(b"late", tag, number, &dead("maxlen")));
        court.consume(b"orders");
        (2..4).for_each(|number| court.deliver(b"orders", number.into(), number, &[]));
        assert_eq!(court.outcome().as_deref(), expected);
    }
}

#[test]
fn a_refused_message_does_not_come() {
    let mut court = court("x-max-length = 2\nx-overflow = \"reject-publish\"");
    let message = Some(MessageNumber(0));
    court.asks(PUBLISHER, Said::Publish { routing: b"\0\x06orders", mandatory: false, message, properties: &[] });
    court.told(PUBLISHER, Said::Nack { tag: 1, multiple: false, requeue: false });
    court.consume(b"orders");
    assert_eq!(court.objection, None);
    court.deliver(b"orders", 1, 0, &[]);
    assert_eq!(court.outcome().as_deref(), Some("settled stays settled"));
}

/// Whoever was there before may have had it on its way; whoever comes later gets nothing of the queue that was.
#[test]
fn a_queue_that_was_declared_again_has_nothing_of_the_one_before() {
    for (is_there_before, expected) in [(true, None), (false, Some("settled stays settled"))] {
        let mut court = court("");
        court.publish(0, 1);
        if is_there_before {
            court.consume(b"orders");
        }
        court.asks(CHURNER, Said::QueueDelete { queue: b"orders" });
        court.told(CHURNER, Said::QueueDeleteOk { messages: 1 });
        court.declare(b"orders");
        if !is_there_before {
            court.consume(b"orders");
        }
        court.deliver(b"orders", 1, 0, &[]);
        assert_eq!(court.outcome().as_deref(), expected);
    }
}

/// A node may look for the queue, hear that it is gone, and then say that it has found it.
#[test]
fn a_declaration_that_began_before_a_deletion_ended_says_nothing_of_what_is_there_after_it() {
    for (is_early, expected) in [(true, None), (false, Some("nothing lost"))] {
        let mut court = court("");
        let declare = || {
            let (passive, durable, exclusive, auto_delete) = (false, true, false, false);
            Said::QueueDeclare { name: b"orders", passive, durable, exclusive, auto_delete }
        };
        court.asks(CHURNER, Said::QueueDelete { queue: b"orders" });
        if is_early {
            court.asks(PUBLISHER, declare());
        }
        court.told(CHURNER, Said::QueueDeleteOk { messages: 0 });
        if !is_early {
            court.asks(PUBLISHER, declare());
        }
        court.told(PUBLISHER, Said::QueueDeclareOk { name: b"orders", messages: 0, consumers: 0 });
        court.publish(0, 1);
        court.consume(b"orders");
        assert_eq!(court.outcome().as_deref(), expected, "{is_early}");
    }
}

#[test]
fn what_was_purged_does_not_come_and_what_came_after_that_does() {
    for (comes, expected) in [(0, Some("settled stays settled")), (1, None), (2, Some("nothing lost"))] {
        let mut court = court("");
        court.publish(0, 1);
        court.asks(CHURNER, Said::QueuePurge { queue: b"orders" });
        court.told(CHURNER, Said::QueuePurgeOk { messages: 1 });
        court.publish(1, 1);
        court.consume(b"orders");
        if comes < 2 {
            court.deliver(b"orders", 1, comes, &[]);
        }
        assert_eq!(court.outcome().as_deref(), expected, "{comes}");
    }
}

/// A node that waits for a get's answer passes on later what was said behind the get, if it lives so long.
#[test]
fn what_is_acked_behind_a_get_may_be_lost_with_the_node() {
    for (is_answered, expected) in [(false, None), (true, Some("queues and counts"))] {
        let mut court = court("");
        court.publish(0, 1);
        court.consume(b"orders");
        let (message, properties) = (Some(MessageNumber(0)), &[][..]);
        court.told(CONSUMER, Said::Deliver { consumer: b"orders", tag: 1, redelivered: false, message, properties });
        court.asks(CONSUMER, Said::Get { queue: b"late", no_ack: true });
        court.asks(CONSUMER, Said::Ack { tag: 1, multiple: false });
        court.ledger.has_told(At::new(1));
        if is_answered {
            court.told(CONSUMER, Said::GetEmpty);
        }
        court.ledger.ended(At::new(1));
        court.ledger.count([("orders", 1)]);
        assert_eq!(court.outcome().as_deref(), expected);
    }
}

/// What is delivered while a recover is under way may be taken back by it, and is not the consumer's to settle.
#[test]
fn who_settles_what_was_taken_back_is_closed_for_a_reason() {
    for (recovers, expected) in [(true, None), (false, Some("served without a break"))] {
        let mut court = court("");
        court.publish(0, 1);
        court.consume(b"orders");
        if recovers {
            court.asks(CONSUMER, Said::Recover);
        }
        court.deliver(b"orders", 1, 0, &[]);
        court.told(CONSUMER, Said::ChannelClose { code: 406, class: 60, method: 80 });
        assert_eq!(court.objection.as_deref(), expected);
    }
}

#[test]
fn publishers_wait_until_no_node_is_short() {
    for (node, is_disturbed, expected) in
        [(0, false, Some("blocked while short")), (2, false, Some("blocked while short")), (2, true, None)]
    {
        let mut court = court("");
        let short = Short { memory: true, disk: false };
        court.ledger.shortages(At::new(node), short);
        court.told(PUBLISHER, Said::Blocked);
        court.ledger.at(5000 * MILLISECOND);
        if is_disturbed {
            court.ledger.breaks(At::new(node));
        }
        court.told(PUBLISHER, Said::Unblocked);
        assert_eq!(court.outcome().as_deref(), expected, "{node} {is_disturbed}");
    }
    let mut court = court("");
    court.ledger.at(5000 * MILLISECOND);
    court.told(PUBLISHER, Said::Blocked);
    assert_eq!(court.outcome().as_deref(), Some("blocked while short"), "nothing is short");
}

/// What a classic queue has confirmed is on the disk of its node, unless it did not have to be.
#[test]
fn what_was_confirmed_outlives_the_node_of_its_queue() {
    for (properties, comes, expected) in
        [(PERSISTENT, true, None), (PERSISTENT, false, Some("nothing lost")), (&[], false, None)]
    {
        let mut court = remote_court("");
        let message = Some(MessageNumber(0));
        court.asks(PUBLISHER, Said::Publish { routing: b"\0\x06orders", mandatory: false, message, properties });
        court.told(PUBLISHER, Said::Ack { tag: 1, multiple: false });
        court.ledger.ended(At::new(2));
        court.link();
        court.consume(b"orders");
        if comes {
            court.deliver(b"orders", 1, 0, &[]);
        }
        assert_eq!(court.outcome().as_deref(), expected, "{properties:?} {comes}");
    }
}

#[test]
fn what_is_in_memory_does_not_come_after_the_node_of_its_queue_ended_to_who_consumes_since() {
    for (is_there_before, expected) in [(true, None), (false, Some("no phantom"))] {
        let mut court = remote_court("");
        let message = Some(MessageNumber(0));
        court.asks(PUBLISHER, Said::Publish { routing: b"\0\x06orders", mandatory: false, message, properties: &[] });
        court.told(PUBLISHER, Said::Ack { tag: 1, multiple: false });
        if is_there_before {
            court.consume(b"orders");
        }
        court.ledger.ended(At::new(2));
        if !is_there_before {
            court.consume(b"orders");
        }
        court.deliver(b"orders", 1, 0, &[]);
        assert_eq!(court.outcome().as_deref(), expected);
    }
}

/// A link that is soon there again changes nothing.
#[test]
fn a_queue_of_another_node_refuses_only_when_it_is_away() {
    for (away_ms, ends, expected) in [
        (0, false, Some("one answer per publish")),
        (1000, false, Some("one answer per publish")),
        (4000, false, None),
        (0, true, None),
    ] {
        let mut court = remote_court("");
        let message = Some(MessageNumber(0));
        court.asks(
            PUBLISHER,
            Said::Publish { routing: b"\0\x06orders", mandatory: false, message, properties: PERSISTENT },
        );
        if away_ms > 0 {
            court.ledger.parted(At::FIRST, At::new(2));
        }
        if ends {
            court.ledger.ended(At::new(2));
        }
        court.ledger.at(away_ms * MILLISECOND);
        court.link();
        court.told(PUBLISHER, Said::Nack { tag: 1, multiple: false, requeue: false });
        assert_eq!(court.objection.as_deref(), expected, "{away_ms} {ends}");
    }
}

#[test]
fn a_queue_of_another_node_lets_consumers_go_only_when_it_is_away() {
    for (parts, away_ms, expected) in [
        (None, 0, Some("served without a break")),
        (Some(1), 4000, None),
        (Some(0), 4000, Some("served without a break")),
    ] {
        let mut court = remote_court("");
        court.consume(b"orders");
        if let Some(node) = parts {
            court.ledger.parted(At::new(node), At::new(2));
        }
        court.ledger.at(away_ms * MILLISECOND);
        court.told(CONSUMER, Said::Cancel { tag: b"orders" });
        assert_eq!(court.objection.as_deref(), expected, "{parts:?}");
        let mut court = remote_court("");
        if let Some(node) = parts {
            court.ledger.parted(At::new(node), At::new(2));
        }
        court.ledger.at(away_ms * MILLISECOND);
        court.told(CONSUMER, Said::ChannelClose { code: 404, class: 60, method: 20 });
        assert_eq!(court.objection.as_deref(), expected, "{parts:?}");
    }
}

/// What was settled while the queue's node could be reached stays away, also if it cannot be later; what was settled in between may
/// come back.
#[test]
fn what_was_settled_in_a_queue_of_another_node_comes_back_only_if_that_was_away() {
    for (away_ms, is_before, expected) in [
        (0, true, Some("settled stays settled")),
        (1000, false, Some("settled stays settled")),
        (4000, false, None),
        (4000, true, Some("settled stays settled")),
    ] {
        let mut court = remote_court("");
        court.publish(0, 1);
        court.consume(b"orders");
        let (message, redelivered) = (Some(MessageNumber(0)), false);
        court.told(
            CONSUMER,
            Said::Deliver { consumer: b"orders", tag: 1, redelivered, message, properties: PERSISTENT },
        );
        let ack = Said::Ack { tag: 1, multiple: false };
        if is_before {
            court.asks(CONSUMER, ack);
            court.ledger.has_told(At::new(1));
            court.ledger.written(At::new(2), 1, 1);
        }
        court.ledger.parted(At::new(1), At::new(2));
        court.ledger.at(away_ms * MILLISECOND);
        if !is_before {
            court.asks(CONSUMER, ack);
        }
        court.link();
        let (tag, redelivered) = (2, true);
        court.told(CONSUMER, Said::Deliver { consumer: b"orders", tag, redelivered, message, properties: PERSISTENT });
        assert_eq!(court.objection.as_deref(), expected, "{away_ms} {is_before}");
    }
}

/// A client's node may know that it was carried out before it is on the disk: when a session ends.
#[test]
fn what_was_settled_in_a_queue_of_another_node_is_settled_once_it_is_on_its_disk() {
    for (durable, expected) in [(4, Some("settled stays settled")), (3, None)] {
        let mut court = remote_court("");
        court.publish(0, 1);
        court.consume(b"orders");
        let (message, redelivered) = (Some(MessageNumber(0)), false);
        court.told(
            CONSUMER,
            Said::Deliver { consumer: b"orders", tag: 1, redelivered, message, properties: PERSISTENT },
        );
        court.ledger.written(At::new(2), 4, 3);
        court.asks(CONSUMER, Said::Ack { tag: 1, multiple: false });
        court.ledger.has_told(At::new(1));
        court.ledger.written(At::new(2), 4, durable);
        court.ledger.ended(At::new(2));
        court.link();
        court.consume(b"orders");
        let (tag, redelivered) = (2, true);
        court.told(CONSUMER, Said::Deliver { consumer: b"orders", tag, redelivered, message, properties: PERSISTENT });
        assert_eq!(court.objection.as_deref(), expected, "{durable}");
    }
}

#[test]
fn what_a_client_of_another_node_has_goes_to_no_other_unless_its_node_was_away() {
    for (away_ms, expected) in
        [(0, Some("one consumer at a time")), (1000, Some("one consumer at a time")), (4000, None)]
    {
        let mut court = remote_court("");
        court.publish(0, 1);
        court.consume(b"orders");
        let (message, redelivered) = (Some(MessageNumber(0)), false);
        let given = |tag| Said::Deliver { consumer: b"orders", tag, redelivered, message, properties: PERSISTENT };
        court.told(CONSUMER, given(1));
        court.asks(CHURNER, Said::Consume { queue: b"orders", tag: b"orders", no_ack: false, priority: 0 });
        court.told(CHURNER, Said::Done { class: 60, method: 21 });
        court.ledger.parted(At::new(2), At::new(1));
        court.ledger.at(away_ms * MILLISECOND);
        let (tag, redelivered) = (1, true);
        court.told(CHURNER, Said::Deliver { consumer: b"orders", tag, redelivered, message, properties: PERSISTENT });
        assert_eq!(court.objection.as_deref(), expected, "{away_ms}");
    }
}

/// Whether it was refused, or taken and the word of that lost with the link, nobody can tell.
#[test]
fn what_was_refused_by_a_queue_of_another_node_may_come_if_the_link_broke() {
    for (breaks, expected) in [(true, None), (false, Some("settled stays settled"))] {
        let mut court = remote_court("x-max-length = 2\nx-overflow = \"reject-publish\"");
        court.ledger.at(1);
        let message = Some(MessageNumber(0));
        court.asks(
            PUBLISHER,
            Said::Publish { routing: b"\0\x06orders", mandatory: false, message, properties: PERSISTENT },
        );
        if breaks {
            court.ledger.parted(At::FIRST, At::new(2));
            court.link();
        }
        court.told(PUBLISHER, Said::Nack { tag: 1, multiple: false, requeue: false });
        court.consume(b"orders");
        court.deliver(b"orders", 1, 0, &[]);
        assert_eq!(court.outcome().as_deref(), expected);
    }
}
