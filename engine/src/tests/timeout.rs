//! Consumers that take too long (RabbitMQ docs: Consumers / Acknowledgement Timeout).

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::QUEUE;
use super::world::{CHANNEL, World, without_heartbeats};
use crate::amqp::FieldTable;
use crate::amqp::method::basic;
use crate::client::{ClientConfig, ClientEvent};
use crate::config::Config;
use crate::ids::ConnectionId;

const MINUTE: Duration = Duration::from_secs(60);

fn world(single_active: bool) -> (World, ConnectionId) {
    let mut world = World::new(Config { consumer_timeout: Some(10 * MINUTE), ..Config::default() });
    let client = world.client();
    world.declare(client, "q", false, FieldTable::new().with("x-single-active-consumer", single_active));
    world.events(client);
    (world, client)
}

/// Who was told that its consumer is cancelled.
fn cancelled(world: &mut World, client: ConnectionId) -> Vec<String> {
    let events = world.events(client).into_iter();
    let tags = events.filter_map(|event| match event {
        ClientEvent::ConsumerCancelled { consumer_tag, .. } => Some(consumer_tag.to_string_lossy().into_owned()),
        _ => None,
    });
    tags.collect()
}

#[test]
fn a_late_consumer_is_cancelled_and_its_messages_go_to_others() {
    let (mut world, publisher) = world(false);
    let late = world.client();
    world.prefetch(late, 2);
    world.consume(late, "q", "late", FieldTable::new());
    world.publish(publisher, "q", "1", false);
    world.pass(5 * MINUTE);
    world.publish(publisher, "q", "2", false);
    assert_eq!(world.deliveries(late), ["late 1 1", "late 2 2"]);
    world.pass(5 * MINUTE - Duration::from_millis(1));
    assert!(cancelled(&mut world, late).is_empty(), "not a moment too early");
    let other = world.client();
    world.consume(other, "q", "other", FieldTable::new());
    world.events(other);
    world.pass(Duration::from_millis(1));
    assert_eq!(cancelled(&mut world, late), ["late"]);
    assert_eq!(world.deliveries(other), ["other 1 1!", "other 2 2!"], "all it has, not only what is late");
    // What was taken back may still be settled, to no effect, but not twice.
    world.ack(late, 1);
    assert_eq!(world.counts("q"), (0, 2, 1));
    assert!(world.events(late).is_empty());
    world.ack(late, 1);
    assert!(matches!(world.events(late)[..], [ClientEvent::ChannelClosed { .. }]));
}

#[test]
fn whoever_acks_in_time_is_left_alone() {
    let (mut world, publisher) = world(false);
    let client = world.client();
    world.consume(client, "q", "c", FieldTable::new());
    for tag in 1..=50 {
        world.publish(publisher, "q", "body", false);
        world.pass(9 * MINUTE);
        world.ack(client, tag);
    }
    assert_eq!(world.deliveries(client).len(), 50);
    assert_eq!(world.counts("q"), (0, 0, 1));
    assert_eq!(world.engine.next_timeout().map(|(_, kind)| kind), Some(crate::timer::TimerKind::ConsumerTimeout));
    world.pass(10 * MINUTE);
    assert_eq!(world.engine.next_timeout(), None, "nothing is unacked, so nothing is watched");
    world.reset(client);
}

#[test]
fn a_client_that_cannot_be_told_has_its_channel_closed() {
    let (mut world, publisher) = world(false);
    let late = world.connect(ClientConfig { client_properties: FieldTable::new(), ..without_heartbeats() });
    world.with(late, |client| client.open_channel(CHANNEL).unwrap());
    world.consume(late, "q", "late", FieldTable::new());
    world.publish(publisher, "q", "1", false);
    world.events(late);
    world.pass(10 * MINUTE);
    let events = world.events(late);
    let [ClientEvent::ChannelClosed { reason, .. }] = &events[..] else { panic!("{events:?}") };
    let text = "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 600000 ms. This \
                timeout value can be configured, see consumers doc guide to learn more";
    assert_eq!((reason.reply_code, &*reason.reply_text.to_string_lossy()), (406, text));
    assert_eq!(world.counts("q"), (1, 0, 0));
}

#[test]
fn a_consumer_may_ask_for_a_time_of_its_own() {
    let (mut world, publisher) = world(false);
    let (patient, hasty) = (world.client(), world.client());
    for (client, tag, timeout_ms) in [(patient, "patient", 3_600_000_i64), (hasty, "hasty", 60_000)] {
        world.prefetch(client, 1);
        world.consume(client, "q", tag, FieldTable::new().with("x-consumer-timeout", timeout_ms));
        world.publish(publisher, "q", tag, false);
    }
    world.events(patient);
    world.events(hasty);
    world.pass(MINUTE);
    assert_eq!(cancelled(&mut world, hasty), ["hasty"]);
    world.pass(58 * MINUTE);
    assert!(cancelled(&mut world, patient).is_empty());
    world.pass(MINUTE);
    assert_eq!(cancelled(&mut world, patient), ["patient"]);
    world.consume(patient, "q", "none", FieldTable::new().with("x-consumer-timeout", 0_i64));
    assert!(matches!(world.events(patient)[..], [ClientEvent::ChannelClosed { .. }]));
}

#[test]
fn a_consumer_of_the_same_tag_waits_until_what_was_taken_back_is_settled() {
    let (mut world, publisher) = world(false);
    let client = world.client();
    world.prefetch(client, 2);
    world.consume(client, "q", "c", FieldTable::new());
    world.publish(publisher, "q", "1", false);
    world.publish(publisher, "q", "2", false);
    world.pass(10 * MINUTE);
    world.events(client);
    world.consume(client, "q", "c", FieldTable::new());
    assert!(world.deliveries(client).is_empty(), "it is still at it");
    world.ack(client, 1);
    assert!(world.deliveries(client).is_empty());
    world.nack(client, 2, true);
    assert_eq!(world.deliveries(client), ["c 3 1!", "c 4 2!"]);
    world.with(client, |client| client.ack(CHANNEL, 4, true).unwrap());
    assert_eq!(world.counts("q"), (0, 0, 1));
}

#[test]
fn what_was_got_goes_back_without_a_word() {
    let (mut world, publisher) = world(false);
    world.publish(publisher, "q", "1", false);
    let client = world.client();
    world.send(client, basic::Get { queue: QUEUE, no_ack: false });
    world.events(client);
    world.pass(10 * MINUTE);
    assert_eq!(world.counts("q"), (1, 0, 0));
    world.ack(client, 1);
    assert!(world.events(client).is_empty());
}

/// RabbitMQ #17317: the queue stopped for ever once each of its consumers had timed out.
#[test]
fn a_single_active_queue_goes_on_when_all_its_consumers_have_timed_out() {
    let (mut world, publisher) = world(true);
    let clients: Vec<ConnectionId> = (0..3).map(|_| world.client()).collect();
    for client in &clients {
        world.prefetch(*client, 1);
        world.consume(*client, "q", "c", FieldTable::new());
    }
    for body in ["1", "2", "3", "4"] {
        world.publish(publisher, "q", body, false);
    }
    for client in &clients {
        world.pass(10 * MINUTE);
        assert_eq!(cancelled(&mut world, *client), ["c"]);
    }
    assert_eq!(world.counts("q"), (4, 0, 0));
    for client in &clients {
        world.consume(*client, "q", "c", FieldTable::new());
        assert!(world.deliveries(*client).is_empty(), "each still has what it had");
    }
    // Whoever is done first is the active one.
    world.ack(clients[1], 1);
    assert_eq!(world.deliveries(clients[1]), ["c 2 1!"]);
    world.ack(clients[0], 1);
    assert!(world.deliveries(clients[0]).is_empty());
    world.ack(clients[1], 2);
    assert_eq!(world.deliveries(clients[1]), ["c 3 2"]);
}

#[test]
fn a_closed_connection_leaves_no_timer() {
    let (mut world, publisher) = world(false);
    for _ in 0..10 {
        let client = world.client();
        world.consume(client, "q", "c", FieldTable::new());
        world.publish(publisher, "q", "1", false);
        world.reset(client);
    }
    world.pass(MINUTE);
    assert_eq!(world.engine.next_timeout(), None);
}

/// Keys of consumers are unique within their queue only.
#[test]
fn a_late_consumer_does_not_end_its_neighbour_at_another_queue() {
    let (mut world, publisher) = world(false);
    world.declare(publisher, "other", false, FieldTable::new());
    world.events(publisher);
    let client = world.client();
    world.consume(client, "q", "in time", FieldTable::new());
    world.consume(client, "other", "late", FieldTable::new());
    world.publish(publisher, "other", "late", false);
    world.pass(5 * MINUTE);
    world.publish(publisher, "q", "in time", false);
    world.events(client);
    world.pass(5 * MINUTE);
    assert_eq!(cancelled(&mut world, client), ["late"]);
    assert_eq!((world.counts("q"), world.counts("other")), ((0, 1, 1), (1, 0, 0)));
}
