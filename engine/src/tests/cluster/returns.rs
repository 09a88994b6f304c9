//! Messages of quorum queues that come back: what is counted, and when they are given out again.

use super::quorum::{publish_confirmed, publisher, quorum, replicas};
use super::remote::{CHANNEL, consume, hear, make};
use super::world::{At, World};
use super::{ask, short};
use crate::amqp::method::basic;
use crate::amqp::{FieldValue, RawProperties};
use crate::client::ClientEvent;
use crate::ids::ConnectionId;
use crate::limits;
use crate::time::Instant;

fn three() -> World {
    let mut world = World::new(91, 3, 3);
    world.until("a cluster", World::is_agreed);
    world
}

/// What a message says of its deliveries: how many failed, and how many came back.
fn counts(properties: &RawProperties) -> (Option<i64>, Option<i64>) {
    let headers = properties.decode().headers.unwrap_or_default();
    let count = |name| match headers.get(name) {
        Some(FieldValue::I64(count)) => Some(*count),
        _ => None,
    };
    (count("x-delivery-count"), count("x-acquired-count"))
}

/// Gets the only message there is, once it is there.
pub(super) fn get(world: &mut World, at: At, client: ConnectionId) -> ((Option<i64>, Option<i64>), u64) {
    loop {
        let answer = ask(world, at, client, basic::Get { queue: short("q"), no_ack: false });
        if let ClientEvent::GetOk { properties, delivery_tag, redelivered, .. } = answer {
            let counts = counts(&properties);
            assert_eq!(redelivered, counts.1.is_some(), "{counts:?}");
            return (counts, delivery_tag);
        }
    }
}

/// RabbitMQ docs: Quorum Queues / Poison Message Handling, its table of what is counted.
#[test]
fn what_came_back_says_how_often_and_how_often_it_failed() {
    let mut world = three();
    make(&mut world, 0, quorum("q", &[]));
    let client = publisher(&mut world, 1);
    publish_confirmed(&mut world, 1, client, "q", "one");
    let (counts, tag) = get(&mut world, 1, client);
    assert_eq!(counts, (None, None), "it never came back");
    world.with_client(1, client, |client| client.nack(CHANNEL, tag, false, true).unwrap());
    let (counts, tag) = get(&mut world, 1, client);
    assert_eq!(counts, (Some(0), Some(1)), "a nack is no failure");
    world.send(1, client, basic::Reject { delivery_tag: tag, requeue: true });
    let (counts, _) = get(&mut world, 1, client);
    assert_eq!(counts, (Some(1), Some(2)), "a reject is");
    world.hang_up(1, client);
    let client = world.client(2).unwrap();
    let (counts, _) = get(&mut world, 2, client);
    assert_eq!(counts, (Some(2), Some(3)), "and so is the end of a connection");
    world.with_client(2, client, |client| client.nack(CHANNEL, 1, false, true).unwrap());
    // Whoever leads knows.
    (0..3).for_each(|at| world.crash(at, true));
    (0..3).for_each(|at| world.start(at));
    world.until("agreement", World::is_agreed);
    let client = world.client(2).unwrap();
    let (counts, _) = get(&mut world, 2, client);
    assert!(matches!(counts, (Some(2 | 3), Some(4))), "{counts:?}");
}

/// Somebody on node 1 has a message, and somebody on node 2 would like it.
fn held(arguments: &[(&str, FieldValue)]) -> (World, ConnectionId) {
    let mut world = three();
    make(&mut world, 0, quorum("q", arguments));
    let lost = world.client(1).unwrap();
    ask(&mut world, 1, lost, consume("q", "c"));
    let publisher = publisher(&mut world, 0);
    publish_confirmed(&mut world, 0, publisher, "q", "x");
    hear(&mut world, 1, lost, "delivery");
    let other = world.client(2).unwrap();
    ask(&mut world, 2, other, consume("q", "c"));
    (world, other)
}

/// When that one gets it.
fn comes_back(world: &mut World, other: ConnectionId) -> Instant {
    let event = hear(world, 2, other, "the message of the node that is away");
    let ClientEvent::Delivery { properties, redelivered: true, .. } = event else { panic!("{event:?}") };
    assert_eq!(counts(&properties), (Some(0), Some(1)), "that is nobody's failure");
    world.now
}

/// RabbitMQ docs: Quorum Queues / Disconnected Consumer Node Timeout.
#[test]
fn what_a_node_has_that_is_away_stays_its_own_for_a_time() {
    let (mut world, other) = held(&[("x-consumer-disconnected-timeout", FieldValue::I32(3000))]);
    let left = world.now;
    world.crash(1, false);
    let away = comes_back(&mut world, other).saturating_since(left);
    assert!((3000..8000).contains(&away.as_millis()), "{away:?}");
}

/// Whoever leads meanwhile.
#[test]
fn a_new_leader_knows_since_when_a_node_is_away() {
    let (mut world, other) = held(&[("x-consumer-disconnected-timeout", FieldValue::I32(30_000))]);
    let left = world.now;
    world.crash(1, false);
    while world.now.saturating_since(left).as_millis() < 20_000 {
        world.step();
    }
    world.crash(0, true);
    world.start(0);
    let away = comes_back(&mut world, other).saturating_since(left);
    assert!((30_000..35_000).contains(&away.as_millis()), "{away:?}");
}

#[test]
fn what_a_node_had_comes_back_with_the_node() {
    let (mut world, other) = held(&[]);
    let left = world.now;
    world.crash(1, false);
    world.start(1);
    let away = comes_back(&mut world, other).saturating_since(left);
    assert!(away < limits::CONSUMER_DISCONNECTED_TIMEOUT / 4, "{away:?}");
}

fn retry(kind: &str, min_ms: i32, max_ms: i32) -> [(&'static str, FieldValue); 3] {
    [
        ("x-delayed-retry-type", FieldValue::LongStr(kind.into())),
        ("x-delayed-retry-min", FieldValue::I32(min_ms)),
        ("x-delayed-retry-max", FieldValue::I32(max_ms)),
    ]
}

/// RabbitMQ docs: Quorum Queues / Delayed Retry.
#[test]
fn what_failed_waits_for_longer_each_time() {
    let mut world = three();
    make(&mut world, 0, quorum("q", &retry("failed", 1000, 2500)));
    let client = publisher(&mut world, 1);
    publish_confirmed(&mut world, 1, client, "q", "one");
    let mut tag = get(&mut world, 1, client).1;
    for expected in [1000, 2000, 2500, 2500] {
        let rejected = world.now;
        world.send(1, client, basic::Reject { delivery_tag: tag, requeue: true });
        tag = get(&mut world, 1, client).1;
        let waited = world.now.saturating_since(rejected).as_millis();
        assert!((expected..expected + 500).contains(&waited), "{waited} instead of {expected} ms");
    }
    let returned = world.now;
    world.with_client(1, client, |client| client.nack(CHANNEL, tag, false, true).unwrap());
    get(&mut world, 1, client);
    assert!(world.now.saturating_since(returned).as_millis() < 500, "only failures wait");
}

/// Leaders come and go, and all nodes lose power.
#[test]
fn what_waits_is_known_to_whoever_leads() {
    let mut world = three();
    make(&mut world, 0, quorum("q", &retry("returned", 20_000, 20_000)));
    let client = publisher(&mut world, 2);
    publish_confirmed(&mut world, 2, client, "q", "one");
    let tag = get(&mut world, 2, client).1;
    let returned = world.now;
    world.with_client(2, client, |client| client.nack(CHANNEL, tag, false, true).unwrap());
    let waits = |world: &World| {
        (0..3).all(|at| replicas(world, at).iter().all(|replica| replica.ready == 0 && replica.unacked == 0))
    };
    world.until("its wait", waits);
    world.crash(0, true);
    world.start(0);
    while world.now.saturating_since(returned).as_millis() < 10_000 {
        world.step();
    }
    (0..3).for_each(|at| world.crash(at, true));
    (0..3).for_each(|at| world.start(at));
    world.until("agreement", World::is_agreed);
    let client = world.client(2).unwrap();
    get(&mut world, 2, client);
    let waited = world.now.saturating_since(returned).as_millis();
    assert!((20_000..25_000).contains(&waited), "{waited} ms");
}
