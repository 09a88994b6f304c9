//! Limits on connections, channels and consumers.

use alloc::string::{String, ToString};

use super::world::{World, without_heartbeats};
use crate::amqp::FieldTable;
use crate::client::ClientEvent;
use crate::config::Config;
use crate::ids::ConnectionId;

/// With which words the server closed a connection.
fn refusal(world: &mut World, client: ConnectionId) -> Option<String> {
    world.events(client).into_iter().find_map(|event| match event {
        ClientEvent::ConnectionClosed { reason, .. } => Some(reason.reply_text.to_string_lossy().to_string()),
        _ => None,
    })
}

#[test]
fn one_connection_more_than_the_node_may_have_is_refused() {
    let mut world = World::new(Config { connection_max: Some(2), ..Config::default() });
    let first = world.client();
    let second = world.client();
    let third = world.connect(without_heartbeats());
    let text = "NOT_ALLOWED - connection refused: node connection limit (2) is reached";
    assert_eq!(refusal(&mut world, third).as_deref(), Some(text));
    world.reset(first);
    world.with(second, |client| client.close());
    world.client();
    world.client();
}

#[test]
fn one_consumer_more_than_a_channel_may_have_ends_the_connection() {
    let mut world = World::new(Config { consumer_max_per_channel: Some(2), ..Config::default() });
    let client = world.client();
    world.declare(client, "q", false, FieldTable::new());
    for tag in ["a", "b"] {
        world.consume(client, "q", tag, FieldTable::new());
    }
    world.cancel(client, "a");
    world.consume(client, "q", "c", FieldTable::new());
    assert_eq!(world.counts("q"), (0, 0, 2));
    world.consume(client, "q", "d", FieldTable::new());
    let text = "NOT_ALLOWED - reached maximum (2) of consumers per channel";
    assert_eq!(refusal(&mut world, client).as_deref(), Some(text));
}
