//! Quorum queues of a cluster.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use super::remote::{CHANNEL, consume, hear, held, make, publish};
use super::world::{At, World};
use super::{ask, declare, short};
use crate::amqp::method::{basic, confirm, queue};
use crate::amqp::{FieldValue, Method};
use crate::client::ClientEvent;
use crate::effect::Stop;
use crate::engine::{Engine, ReplicaStatus};
use crate::ids::ConnectionId;
use crate::limits;

pub(super) fn quorum(name: &str, arguments: &[(&str, FieldValue)]) -> queue::Declare {
    let mut declare = declare(name, true);
    declare.arguments.push(short("x-queue-type"), FieldValue::LongStr("quorum".into()));
    for (key, value) in arguments {
        declare.arguments.push(short(key), value.clone());
    }
    declare
}

fn three() -> World {
    let mut world = World::new(31, 3, 3);
    world.until("a cluster", World::is_agreed);
    world
}

pub(super) fn replicas(world: &World, at: At) -> Vec<ReplicaStatus> {
    world.nodes[at].engine.as_ref().map(Engine::replicas).unwrap_or_default()
}

/// The node that leads the only queue there is, once there is one.
pub(super) fn leader(world: &mut World) -> At {
    let leads = |world: &World, at: At| replicas(world, at).iter().any(|replica| replica.leads);
    world.until("a leader", |world| (0..3).any(|at| leads(world, at)));
    (0..3).find(|at| leads(world, *at)).unwrap()
}

/// A client in confirm mode.
pub(super) fn publisher(world: &mut World, at: At) -> ConnectionId {
    let client = world.client(at).unwrap();
    ask(world, at, client, confirm::Select { no_wait: false });
    client
}

pub(super) fn publish_confirmed(world: &mut World, at: At, client: ConnectionId, queue: &str, body: &str) {
    let number = publish(world, at, client, queue, body).expect("the channel confirms");
    let event = hear(world, at, client, "confirm");
    assert!(matches!(event, ClientEvent::Acked { seqno, .. } if seqno == number), "{event:?}");
}

/// The next message, which is acked.
pub(super) fn next(world: &mut World, at: At, client: ConnectionId) -> (Vec<u8>, bool) {
    let event = hear(world, at, client, "delivery");
    let ClientEvent::Delivery { body, redelivered, delivery_tag, .. } = event else { panic!("{event:?}") };
    world.with_client(at, client, |client| client.ack(CHANNEL, delivery_tag, false).unwrap());
    (body.to_vec(), redelivered)
}

#[test]
fn a_quorum_queue_serves_all_nodes_while_its_leader_is_killed_again_and_again() {
    let mut world = three();
    make(&mut world, 1, quorum("q", &[]));
    for round in 0..6 {
        let leader = leader(&mut world);
        let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
        let client = publisher(&mut world, one);
        let consumer = world.client(other).unwrap();
        let answer = ask(&mut world, other, consumer, consume("q", "c"));
        assert!(matches!(answer, ClientEvent::Method { method: Method::BasicConsumeOk(_), .. }), "{answer:?}");
        publish_confirmed(&mut world, one, client, "q", "before");
        assert_eq!(next(&mut world, other, consumer), (b"before".to_vec(), false));
        world.crash(leader, round % 2 == 0);
        // Publisher and consumer notice nothing.
        publish_confirmed(&mut world, one, client, "q", "after");
        assert_eq!(next(&mut world, other, consumer), (b"after".to_vec(), false));
        world.start(leader);
        world.until("the node", |world| world.nodes[leader].is_ready);
        world.with_client(one, client, |client| client.close_channel(CHANNEL).unwrap());
        world.with_client(other, consumer, |client| client.close_channel(CHANNEL).unwrap());
    }
}

/// Neither for an election timeout nor for a heartbeat, on whichever node it is.
#[test]
fn a_declaration_waits_for_no_timer() {
    let mut world = three();
    for at in 0..3 {
        let client = publisher(&mut world, at);
        for (kind, of_kind) in [("classic", declare as fn(&str, bool) -> _), ("quorum", |name, _| quorum(name, &[]))] {
            let begin = world.now;
            for number in 0..20 {
                ask(&mut world, at, client, of_kind(&format!("{kind} {at} {number}"), true));
            }
            let each = world.now.saturating_since(begin) / 20;
            let heartbeats = limits::GROUP_TICK * u32::try_from(limits::GROUP_HEARTBEAT_TICKS).unwrap();
            assert!(each < heartbeats * 3 / 4, "{kind} on {at}: {each:?}");
        }
    }
}

#[test]
fn what_was_confirmed_survives_that_all_nodes_lose_power_at_once() {
    let mut world = three();
    make(&mut world, 0, quorum("q", &[]));
    check_power_loss_of_all(&mut world, 30);
}

/// Queue `q` gets so many messages, all nodes lose power, and it has them all.
pub(super) fn check_power_loss_of_all(world: &mut World, messages: u32) {
    let client = publisher(world, 2);
    for number in 0..messages {
        publish_confirmed(world, 2, client, "q", &format!("{number}"));
    }
    (0..3).for_each(|at| world.crash(at, true));
    (0..3).for_each(|at| world.start(at));
    world.until("agreement", World::is_agreed);
    let consumer = world.client(1).unwrap();
    ask(world, 1, consumer, basic::Qos { prefetch_count: 1, ..basic::Qos::default() });
    world.send(1, consumer, basic::Consume { no_wait: true, ..consume("q", "c") });
    for number in 0..messages {
        assert_eq!(next(world, 1, consumer), (format!("{number}").into_bytes(), false));
    }
    world.until("an empty queue", |world| (0..3).all(|at| held(world.nodes[at].engine.as_ref().unwrap()) == 0));
}

#[test]
fn a_member_that_was_away_for_long_gets_a_state_and_leads_in_its_turn() {
    let mut world = three();
    make(&mut world, 0, quorum("q", &[]));
    let client = publisher(&mut world, 0);
    let consumer = world.client(1).unwrap();
    ask(&mut world, 1, consumer, consume("q", "c"));
    publish_confirmed(&mut world, 0, client, "q", "first");
    next(&mut world, 1, consumer);
    world.crash(2, false);
    let count = 2 * limits::REPLICA_LOG_KEPT;
    for number in 0..count {
        publish_confirmed(&mut world, 0, client, "q", &format!("{number}"));
        assert_eq!(next(&mut world, 1, consumer).0, format!("{number}").into_bytes());
    }
    publish_confirmed(&mut world, 0, client, "q", "last");
    world.start(2);
    world.until("the third to have caught up", |world| {
        let applied = |at| replicas(world, at).first().map(|replica| replica.applied);
        applied(2).is_some() && applied(2) == applied(0) && applied(2) == applied(1)
    });
    // Without the others but for one, it is asked for what it has.
    world.crash(0, false);
    let (body, _) = next(&mut world, 1, consumer);
    assert_eq!(body, b"last");
}

/// Who declares a queue and consumes from it in one breath is there before its group has a leader that knows what was decided.
#[test]
fn a_new_queue_is_what_it_is_to_be_for_its_first_consumers() {
    let mut world = three();
    let client = world.client(1).unwrap();
    let single = [("x-single-active-consumer", FieldValue::Bool(true))];
    ask(&mut world, 1, client, basic::Qos { prefetch_count: 1, ..basic::Qos::default() });
    world.send(1, client, queue::Declare { no_wait: true, ..quorum("q", &single) });
    for tag in ["one", "other"] {
        world.send(1, client, basic::Consume { no_wait: true, ..consume("q", tag) });
    }
    for number in 0..3 {
        publish(&mut world, 1, client, "q", &format!("{number}"));
    }
    let mut heard = vec![];
    while heard.len() < 3 {
        let event = hear(&mut world, 1, client, "delivery");
        if let ClientEvent::Delivery { consumer_tag, delivery_tag, .. } = event {
            heard.push(consumer_tag);
            world.send(1, client, basic::Ack { delivery_tag, multiple: false });
        }
    }
    assert_eq!(heard, [short("one"), short("one"), short("one")]);
}

/// All that came after it is gone, and no node keeps it for its sake.
#[test]
fn a_message_that_stays_does_not_keep_the_log() {
    let mut world = three();
    make(&mut world, 0, quorum("q", &[]));
    let client = publisher(&mut world, 0);
    let consumer = world.client(1).unwrap();
    ask(&mut world, 1, consumer, consume("q", "c"));
    publish_confirmed(&mut world, 0, client, "q", "stays");
    let event = hear(&mut world, 1, consumer, "delivery");
    assert!(matches!(&event, ClientEvent::Delivery { body, .. } if body == "stays"), "{event:?}");
    let (count, body) = (2 * limits::REPLICA_LOG_KEPT, "x".repeat(2000));
    for number in 0..count {
        publish_confirmed(&mut world, 0, client, "q", &format!("{number} {body}"));
        next(&mut world, 1, consumer);
    }
    for at in 0..3 {
        let live = world.nodes[at].engine.as_ref().unwrap().usage().log_live_bytes;
        assert!(live < count * body.len() as u64 / 2, "node {at}: {live}");
    }
    (0..3).for_each(|at| world.crash(at, true));
    (0..3).for_each(|at| world.start(at));
    world.until("agreement", World::is_agreed);
    let consumer = world.client(2).unwrap();
    ask(&mut world, 2, consumer, basic::Qos { prefetch_count: 1, ..basic::Qos::default() });
    world.send(2, consumer, basic::Consume { no_wait: true, ..consume("q", "c") });
    assert_eq!(next(&mut world, 2, consumer), (b"stays".to_vec(), true));
}

/// A flipped bit in a body that is not in memory: the leader stops and says so, and another one, whose disk is sound, gives it out.
#[test]
fn a_leader_that_cannot_read_a_body_stops_and_another_gives_it_out() {
    let mut world = three();
    make(&mut world, 0, quorum("q", &[]));
    let leader = leader(&mut world);
    let client = publisher(&mut world, leader);
    let filler = "x".repeat(20_000);
    publish_confirmed(&mut world, leader, client, "q", "the body that rots");
    for _ in 0..=limits::REPLICA_RECENT_BYTES / filler.len() {
        publish_confirmed(&mut world, leader, client, "q", &filler);
    }
    let disk = &mut world.nodes[leader].disk;
    let wanted = b"the body that rots";
    let find = |data: &[u8]| data.windows(wanted.len()).position(|window| window == wanted);
    let found = disk.files.iter().find_map(|(id, file)| Some((*id, find(&file.data)?)));
    let (segment, at) = found.expect("it is on the disk");
    disk.rot(segment, at * 8);
    let other = (leader + 1) % 3;
    let consumer = world.client(other).unwrap();
    ask(&mut world, other, consumer, basic::Qos { prefetch_count: 1, ..basic::Qos::default() });
    world.send(other, consumer, basic::Consume { no_wait: true, ..consume("q", "c") });
    assert_eq!(next(&mut world, other, consumer).0, wanted);
    assert!(matches!(&world.nodes[leader].stopped, Some(Stop::Damaged(text)) if text.contains("cannot be read")));
}

/// With `x-dead-letter-strategy` at-least-once: neither a target that is not there yet, nor one whose node is down, loses a dead letter.
#[test]
fn a_dead_letter_waits_until_all_its_queues_have_it() {
    let mut world = three();
    let text = |text: &str| FieldValue::LongStr(text.into());
    let arguments = [
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text("dead")),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
        ("x-message-ttl", FieldValue::I32(10)),
    ];
    make(&mut world, 0, quorum("q", &arguments));
    let client = publisher(&mut world, 0);
    publish_confirmed(&mut world, 0, client, "q", "too early");
    world.until("its death", |world| (0..3).all(|at| replicas(world, at).iter().all(|replica| replica.ready == 0)));
    let home = (leader(&mut world) + 1) % 3;
    make(&mut world, home, declare("dead", true));
    let held = |world: &World, count| {
        let engine = world.nodes[home].engine.as_ref();
        engine.is_some_and(|engine| engine.queues().iter().any(|queue| queue.name == "dead" && queue.ready == count))
    };
    world.until("the dead letter", |world| held(world, 1));
    world.crash(home, true);
    let at = leader(&mut world);
    let client = publisher(&mut world, at);
    for number in 0..2 * limits::DEAD_LETTER_WINDOW {
        publish_confirmed(&mut world, at, client, "q", &format!("{number}"));
    }
    let now = world.now;
    world.until("the node to be given up", |world| world.now > now + limits::REMOTE_GRACE * 2);
    world.start(home);
    world.until("all dead letters", |world| held(world, 1 + 2 * limits::DEAD_LETTER_WINDOW as u64));
}

#[test]
fn a_quorum_queue_answers_as_a_queue_does() {
    let mut world = three();
    make(&mut world, 0, quorum("q", &[]));
    let client = publisher(&mut world, 1);
    let get = basic::Get { queue: short("q"), no_ack: false };
    let answer = ask(&mut world, 1, client, get.clone());
    assert!(matches!(answer, ClientEvent::Method { method: Method::BasicGetEmpty(_), .. }), "{answer:?}");
    for body in ["one", "two", "three"] {
        publish_confirmed(&mut world, 1, client, "q", body);
    }
    let answer = ask(&mut world, 1, client, get);
    let ClientEvent::GetOk { body, message_count: 2, delivery_tag: 1, redelivered: false, .. } = &answer else {
        panic!("{answer:?}")
    };
    assert_eq!(&body[..], b"one");
    let passive = queue::Declare { passive: true, ..declare("q", true) };
    let answer = ask(&mut world, 1, client, passive);
    let ClientEvent::Method { method: Method::QueueDeclareOk(ok), .. } = &answer else { panic!("{answer:?}") };
    assert_eq!((ok.message_count, ok.consumer_count), (2, 0));
    // What is rejected comes back in front, as a failure.
    world.with_client(1, client, |client| client.nack(CHANNEL, 1, false, true).unwrap());
    let answer = ask(&mut world, 1, client, basic::Get { queue: short("q"), no_ack: true });
    let ClientEvent::GetOk { body, redelivered: true, .. } = &answer else { panic!("{answer:?}") };
    assert_eq!(&body[..], b"one");
}

#[test]
fn messages_expire_and_are_dead_lettered_by_whoever_leads() {
    let mut world = three();
    make(&mut world, 1, declare("dead", true));
    let arguments = [
        ("x-message-ttl", FieldValue::I32(50)),
        ("x-dead-letter-exchange", FieldValue::LongStr("".into())),
        ("x-dead-letter-routing-key", FieldValue::LongStr("dead".into())),
    ];
    make(&mut world, 0, quorum("q", &arguments));
    let client = publisher(&mut world, 2);
    let consumer = world.client(2).unwrap();
    ask(&mut world, 2, consumer, consume("dead", "c"));
    for number in 0..5 {
        publish_confirmed(&mut world, 2, client, "q", &format!("{number}"));
    }
    let mut bodies = Vec::new();
    while bodies.len() < 5 {
        world.step();
        bodies.extend(world.events(2, consumer).unwrap().into_iter().map(|event| match event {
            ClientEvent::Delivery { body, .. } => body.to_vec(),
            other => panic!("{other:?}"),
        }));
    }
    bodies.sort();
    assert_eq!(bodies, (0..5).map(|number| format!("{number}").into_bytes()).collect::<Vec<_>>());
    world.until("an empty queue", |world| {
        (0..3).all(|at| replicas(world, at).iter().all(|replica| (replica.ready, replica.unacked) == (0, 0)))
    });
}

#[test]
fn a_deleted_quorum_queue_leaves_nothing_behind() {
    let mut world = three();
    make(&mut world, 0, quorum("q", &[]));
    let client = publisher(&mut world, 1);
    publish_confirmed(&mut world, 1, client, "q", "x");
    let answer = ask(&mut world, 1, client, queue::Purge { queue: short("q"), no_wait: false });
    assert!(
        matches!(&answer, ClientEvent::Method { method: Method::QueuePurgeOk(ok), .. } if ok.message_count == 1),
        "{answer:?}"
    );
    publish_confirmed(&mut world, 1, client, "q", "y");
    let answer = ask(&mut world, 1, client, queue::Delete { queue: short("q"), ..queue::Delete::default() });
    assert!(
        matches!(&answer, ClientEvent::Method { method: Method::QueueDeleteOk(ok), .. } if ok.message_count == 1),
        "{answer:?}"
    );
    world.until("all replicas to be gone", |world| (0..3).all(|at| replicas(world, at) == vec![]));
    // One of the same name is another queue, also after a restart.
    make(&mut world, 2, quorum("q", &[]));
    (0..3).for_each(|at| world.crash(at, false));
    (0..3).for_each(|at| world.start(at));
    world.until("agreement", World::is_agreed);
    leader(&mut world);
    assert!((0..3).all(|at| held(world.nodes[at].engine.as_ref().unwrap()) == 0));
}

#[test]
fn a_quorum_queue_that_nobody_uses_goes() {
    let mut world = three();
    make(&mut world, 0, quorum("q", &[("x-expires", FieldValue::I32(5000))]));
    let consumer = world.client(1).unwrap();
    ask(&mut world, 1, consumer, consume("q", "c"));
    for _ in 0..20_000 {
        world.step();
    }
    assert!((0..3).all(|at| replicas(&world, at).len() == 1), "somebody uses it");
    ask(&mut world, 1, consumer, basic::Cancel { consumer_tag: short("c"), no_wait: false });
    world.until("its end", |world| (0..3).all(|at| replicas(world, at).is_empty()));
}

/// How many entries a queue's group has on the node that leads it.
fn last_entry(world: &World, at: At) -> u64 {
    world.nodes[at].engine.as_ref().and_then(|engine| engine.replica_reaches().next()).map_or(0, |reach| reach.last)
}

fn delivery(world: &mut World, at: At, client: ConnectionId) -> u64 {
    match hear(world, at, client, "delivery") {
        ClientEvent::Delivery { delivery_tag, .. } => delivery_tag,
        event => panic!("{event:?}"),
    }
}

#[test]
fn an_ack_goes_to_the_group_with_the_next_publish_or_after_a_moment() {
    let mut world = three();
    make(&mut world, 0, quorum("q", &[]));
    let at = leader(&mut world);
    let client = publisher(&mut world, at);
    let consumer = world.client(at).unwrap();
    ask(&mut world, at, consumer, consume("q", "c"));
    publish_confirmed(&mut world, at, client, "q", "first");
    let mut tag = delivery(&mut world, at, consumer);
    let before = last_entry(&world, at);
    for number in 0..10 {
        world.with_client(at, consumer, |consumer| consumer.ack(CHANNEL, tag, false).unwrap());
        assert_eq!(last_entry(&world, at), before + number, "an ack alone is no entry yet");
        publish_confirmed(&mut world, at, client, "q", "next");
        tag = delivery(&mut world, at, consumer);
        assert_eq!(last_entry(&world, at), before + number + 1);
    }
    world.with_client(at, consumer, |consumer| consumer.ack(CHANNEL, tag, false).unwrap());
    let due = world.nodes[at].engine.as_ref().and_then(Engine::next_timeout).map(|(due, _)| due);
    assert!(due.is_some_and(|due| due <= world.now + limits::REPLICA_COMPANY_WAIT), "{due:?}");
    let is_over = |world: &World| (0..3).all(|at| replicas(world, at).iter().all(|replica| replica.unacked == 0));
    world.until("the last ack everywhere", is_over);
    assert_eq!(last_entry(&world, at), before + 11);
}

#[test]
fn an_ack_that_a_delivery_waits_for_goes_to_the_group_at_once() {
    let mut world = three();
    make(&mut world, 0, quorum("q", &[]));
    let at = leader(&mut world);
    let client = publisher(&mut world, at);
    let consumer = world.client(at).unwrap();
    ask(&mut world, at, consumer, basic::Qos { prefetch_count: 1, ..basic::Qos::default() });
    ask(&mut world, at, consumer, consume("q", "c"));
    publish_confirmed(&mut world, at, client, "q", "first");
    let tag = delivery(&mut world, at, consumer);
    publish_confirmed(&mut world, at, client, "q", "second");
    let before = last_entry(&world, at);
    world.with_client(at, consumer, |consumer| consumer.ack(CHANNEL, tag, false).unwrap());
    assert_eq!(last_entry(&world, at), before + 1);
    let tag = delivery(&mut world, at, consumer);

    // What comes only after the ack may find that it is what it has to wait for.
    publish(&mut world, at, client, "q", "third");
    let before = last_entry(&world, at);
    world.with_client(at, consumer, |consumer| consumer.ack(CHANNEL, tag, false).unwrap());
    assert_eq!(last_entry(&world, at), before);
    let is_applied = |world: &World| replicas(world, at).iter().any(|replica| replica.applied >= before);
    world.until("the third", is_applied);
    assert_eq!(last_entry(&world, at), before + 1, "at the same moment");
    assert_eq!(delivery(&mut world, at, consumer), tag + 1);
}

/// The node that leads need not have written itself what the others have.
#[test]
fn a_leader_with_a_slow_disk_confirms_what_the_others_have() {
    let mut world = three();
    make(&mut world, 0, quorum("q", &[]));
    let at = leader(&mut world);
    let client = publisher(&mut world, at);
    world.is_stuck.insert(at);
    for number in 0..20 {
        publish_confirmed(&mut world, at, client, "q", &format!("{number}"));
    }
    // It forgets all of that, and the others do not.
    world.crash(at, true);
    world.is_stuck.clear();
    world.start(at);
    let other = (at + 1) % 3;
    let consumer = world.client(other).unwrap();
    ask(&mut world, other, consumer, basic::Qos { prefetch_count: 1, ..basic::Qos::default() });
    // What comes at once with an answer would be taken for it.
    world.send(other, consumer, basic::Consume { no_wait: true, ..consume("q", "c") });
    for number in 0..20 {
        assert_eq!(next(&mut world, other, consumer), (format!("{number}").into_bytes(), false));
    }
    world.until("agreement", World::is_agreed);
}
