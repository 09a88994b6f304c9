//! The whole engine, where machines meet.

use core::time::Duration;

mod cluster;
mod delayed;
mod durability;
mod limits;
mod single_active;
mod timeout;
mod world;

use crate::amqp::method::{basic, queue};
use crate::amqp::{FieldTable, Method, Properties, RawProperties, Routing, ShortStr};
use crate::client::ClientEvent;
use crate::config::Config;
use world::{CHANNEL, World};

const QUEUE: ShortStr = ShortStr::from_static("q");

/// A world whose queues keep no body in memory that the log has.
fn forgetful_world() -> World {
    World::new(Config { queue_cache_bytes: 0, ..Config::default() })
}

#[test]
fn a_get_whose_message_is_purged_meanwhile_finds_the_queue_empty() {
    let mut world = forgetful_world();
    let (getter, purger) = (world.client(), world.client());
    world.declare(getter, "q", true, FieldTable::new());
    world.publish(getter, "q", "one", true);
    world.pass(Duration::from_secs(1));
    world.events(getter);
    world.is_disk_held = true;
    world.send(getter, basic::Get { queue: QUEUE, no_ack: false });
    assert_eq!(world.events(getter), [], "the message is being read");
    world.send(purger, queue::Purge { queue: QUEUE, no_wait: false });
    let empty = ClientEvent::Method { channel: CHANNEL, method: Method::BasicGetEmpty(basic::GetEmpty {}) };
    assert_eq!(world.events(getter), [empty]);
    world.release_disk();
    assert_eq!(world.counts("q"), (0, 0, 0));
}

#[test]
fn acks_that_wait_behind_a_declaration_count_when_the_connection_closes() {
    let mut world = World::new(Config::default());
    let consumer = world.client();
    world.declare(consumer, "q", false, FieldTable::new());
    for body in ["one", "two", "three"] {
        world.publish(consumer, "q", body, false);
    }
    world.consume(consumer, "q", "c", FieldTable::new());
    assert_eq!(world.deliveries(consumer), ["c 1 one", "c 2 two", "c 3 three"]);
    world.is_disk_held = true;
    world.declare(consumer, "other", true, FieldTable::new());
    world.ack(consumer, 1);
    world.nack(consumer, 2, false);
    world.with(consumer, crate::client::Client::close);
    assert_eq!(world.counts("q"), (1, 0, 0), "only what was not answered comes back");
    world.release_disk();
}

/// Much of what one read of the socket brings is carried out before anything is delivered; nobody is to see a difference.
#[test]
fn what_is_too_much_or_expired_is_gone_before_the_next_method_of_the_same_input() {
    let mut world = World::new(Config::default());
    let client = world.client();
    world.declare(client, "q", false, FieldTable::new().with("x-max-length", 1));
    world.declare(client, "at once", false, FieldTable::new().with("x-message-ttl", 0));
    world.events(client);
    let properties = RawProperties::from(&Properties::default());
    world.with(client, |client| {
        for (queue, body) in [("q", "one"), ("q", "two"), ("at once", "three")] {
            let routing = Routing::new(&ShortStr::new(), &ShortStr::truncated(queue));
            client.publish(CHANNEL, &routing, false, &properties, body.as_bytes()).unwrap();
        }
        for queue in [QUEUE, ShortStr::from_static("at once")] {
            client.send(CHANNEL, basic::Get { queue, no_ack: true }).unwrap();
        }
    });
    let events = world.events(client);
    let [ClientEvent::GetOk { body, message_count: 0, .. }, ClientEvent::Method { method, .. }] = &events[..] else {
        panic!("one message and none: {events:?}")
    };
    assert_eq!((&body[..], method), (&b"two"[..], &Method::BasicGetEmpty(basic::GetEmpty {})));
}

/// What a client says in one long breath is delivered in between, all of it and in order.
#[test]
fn a_long_input_is_delivered_slice_by_slice() {
    const COUNT: usize = 4 * crate::limits::INPUT_SLICE_BYTES / 1024;
    let mut world = World::new(Config::default());
    let client = world.client();
    world.declare(client, "q", false, FieldTable::new());
    world.declare(client, "other", false, FieldTable::new());
    world.consume(client, "q", "c", FieldTable::new());
    world.events(client);
    let properties = RawProperties::from(&Properties::default());
    let routing = Routing::new(&ShortStr::new(), &QUEUE);
    world.with(client, |client| {
        for number in 0..COUNT {
            let body = alloc::format!("{number:0>1024}");
            client.publish(CHANNEL, &routing, false, &properties, body.as_bytes()).unwrap();
        }
        client.send(CHANNEL, basic::Get { queue: ShortStr::from_static("other"), no_ack: true }).unwrap();
    });
    let events = world.events(client);
    let empty = ClientEvent::Method { channel: CHANNEL, method: Method::BasicGetEmpty(basic::GetEmpty {}) };
    let answered_at = events.iter().position(|event| *event == empty).unwrap();
    assert!((COUNT / 2..COUNT).contains(&answered_at), "{answered_at} of {COUNT} were delivered before the last slice");
    let bodies = events.iter().filter_map(|event| match event {
        ClientEvent::Delivery { body, .. } => Some(core::str::from_utf8(body).unwrap().parse::<usize>().unwrap()),
        _ => None,
    });
    assert!(bodies.eq(0..COUNT));
}
