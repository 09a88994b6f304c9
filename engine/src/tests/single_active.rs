//! One consumer at a time (RabbitMQ docs: Single Active Consumer; brokers.md §3.1 item 14).

use super::QUEUE;
use super::world::{CHANNEL, World};
use crate::amqp::FieldTable;
use crate::amqp::method::basic;
use crate::client::ClientEvent;
use crate::config::Config;
use crate::ids::ConnectionId;

/// A world with a single-active-consumer queue, and a client that declared it.
fn world() -> (World, ConnectionId) {
    world_of(false, FieldTable::new())
}

/// The same with a quorum queue, in which the priorities of consumers count.
fn world_of_quorum() -> (World, ConnectionId) {
    world_of(true, FieldTable::new().with("x-queue-type", "quorum"))
}

fn world_of(durable: bool, arguments: FieldTable) -> (World, ConnectionId) {
    let mut world = World::new(Config::default());
    let client = world.client();
    world.declare(client, "q", durable, arguments.with("x-single-active-consumer", true));
    world.events(client);
    (world, client)
}

fn priority(priority: i64) -> FieldTable {
    FieldTable::new().with("x-priority", priority)
}

fn consumer(world: &mut World, tag: &str, prefetch: u16, arguments: FieldTable) -> ConnectionId {
    let client = world.client();
    world.prefetch(client, prefetch);
    world.consume(client, "q", tag, arguments);
    assert_eq!(world.events(client).len(), 2);
    client
}

#[test]
fn the_oldest_consumer_gets_everything_and_the_next_takes_over() {
    let (mut world, publisher) = world();
    let first = consumer(&mut world, "first", 0, FieldTable::new());
    let second = consumer(&mut world, "second", 0, FieldTable::new());
    let third = consumer(&mut world, "third", 0, FieldTable::new());
    for body in ["1", "2"] {
        world.publish(publisher, "q", body, false);
    }
    assert_eq!(world.deliveries(first), ["first 1 1", "first 2 2"]);
    world.cancel(first, "first");
    world.publish(publisher, "q", "3", false);
    assert_eq!(world.deliveries(second), ["second 1 3"]);
    // What the first one still has comes back and goes to whoever is active.
    world.reset(first);
    assert_eq!(world.deliveries(second), ["second 2 1!", "second 3 2!"]);
    world.reset(second);
    assert_eq!(world.deliveries(third), ["third 1 1!", "third 2 2!", "third 3 3!"]);
    world.cancel(third, "third");
    world.publish(publisher, "q", "4", false);
    let late = world.client();
    world.consume(late, "q", "late", FieldTable::new());
    assert_eq!(world.deliveries(late), ["late 1 4"]);
}

#[test]
fn a_consumer_at_its_prefetch_stays_the_active_one() {
    let (mut world, publisher) = world();
    let first = consumer(&mut world, "first", 1, FieldTable::new());
    let second = consumer(&mut world, "second", 1, FieldTable::new());
    for body in ["1", "2", "3"] {
        world.publish(publisher, "q", body, false);
    }
    assert_eq!(world.deliveries(first), ["first 1 1"]);
    world.ack(first, 1);
    assert_eq!(world.deliveries(first), ["first 2 2"]);
    world.nack(first, 2, true);
    assert_eq!(world.deliveries(first), ["first 3 2!"]);
    assert!(world.deliveries(second).is_empty());
}

#[test]
fn priorities_do_not_count_in_a_classic_queue() {
    let (mut world, publisher) = world();
    let low = consumer(&mut world, "low", 1, FieldTable::new());
    let high = consumer(&mut world, "high", 1, priority(10));
    for body in ["1", "2"] {
        world.publish(publisher, "q", body, false);
    }
    world.ack(low, 1);
    assert_eq!(world.deliveries(low), ["low 1 1", "low 2 2"]);
    assert_eq!(world.deliveries(high), [""; 0]);
}

#[test]
fn a_higher_priority_takes_over_once_the_active_one_has_settled_all() {
    let (mut world, publisher) = world_of_quorum();
    let low = consumer(&mut world, "low", 2, FieldTable::new());
    for body in ["1", "2", "3", "4"] {
        world.publish(publisher, "q", body, false);
    }
    assert_eq!(world.deliveries(low), ["low 1 1", "low 2 2"]);
    let high = consumer(&mut world, "high", 2, priority(10));
    let middle = consumer(&mut world, "middle", 2, priority(5));
    world.ack(low, 1);
    assert!(world.deliveries(low).is_empty(), "it gets nothing more");
    assert!(world.deliveries(high).is_empty(), "it waits for the last one");
    world.ack(low, 2);
    assert_eq!(world.deliveries(high), ["high 1 3", "high 2 4"]);
    world.reset(high);
    assert_eq!(world.deliveries(middle), ["middle 1 3!", "middle 2 4!"]);
    assert!(world.deliveries(low).is_empty());
}

/// RabbitMQ #14149: the one that waits was never activated when the last message came back instead of being acked.
#[test]
fn a_higher_priority_takes_over_when_the_last_message_is_returned() {
    let (mut world, publisher) = world_of_quorum();
    let low = consumer(&mut world, "low", 1, FieldTable::new());
    world.publish(publisher, "q", "1", false);
    let high = consumer(&mut world, "high", 1, priority(1));
    world.nack(low, 1, true);
    assert_eq!(world.deliveries(high), ["high 1 1!"]);
    world.nack(high, 1, false);
    world.publish(publisher, "q", "2", false);
    assert_eq!(world.deliveries(high), ["high 2 2"]);
    assert_eq!(world.deliveries(low), ["low 1 1"]);
}

/// RabbitMQ #15733: two were active after the one that was giving way, or the one that waited, left.
#[test]
fn the_active_one_goes_on_when_the_one_it_gave_way_to_leaves() {
    let (mut world, publisher) = world_of_quorum();
    let low = consumer(&mut world, "low", 1, FieldTable::new());
    world.publish(publisher, "q", "1", false);
    world.publish(publisher, "q", "2", false);
    let high = consumer(&mut world, "high", 1, priority(1));
    world.reset(high);
    world.ack(low, 1);
    assert_eq!(world.deliveries(low), ["low 1 1", "low 2 2"]);
    let high = consumer(&mut world, "high", 1, priority(1));
    world.cancel(low, "low");
    world.publish(publisher, "q", "3", false);
    assert_eq!(world.deliveries(high), ["high 1 3"]);
    world.ack(low, 2);
    world.consume(low, "q", "low", FieldTable::new());
    world.publish(publisher, "q", "4", false);
    assert!(world.deliveries(low).is_empty());
}

#[test]
fn neither_exclusive_consumers_nor_gets_are_let_in() {
    let (mut world, client) = world();
    world.send(client, basic::Consume { queue: QUEUE, exclusive: true, ..basic::Consume::default() });
    let closed = |world: &mut World, client| match &world.events(client)[..] {
        [ClientEvent::ChannelClosed { reason, .. }] => {
            (reason.reply_code, reason.reply_text.to_string_lossy().into_owned())
        }
        events => panic!("{events:?}"),
    };
    let (code, text) = closed(&mut world, client);
    assert_eq!((code, &*text), (403, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use"));
    world.with(client, |client| client.open_channel(CHANNEL).unwrap());
    world.events(client);
    world.send(client, basic::Get { queue: QUEUE, no_ack: false });
    let (code, text) = closed(&mut world, client);
    let expected = "RESOURCE_LOCKED - cannot obtain access to locked queue 'q' in vhost '/'. basic.get operations are not \
                    supported by classic queues with single active consumer";
    assert_eq!((code, &*text), (405, expected));
}
