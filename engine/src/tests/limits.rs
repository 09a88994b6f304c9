//! Limits on connections, channels and consumers.

use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

use super::world::{CHANNEL, World, without_heartbeats};
use crate::amqp::method::{basic, tx};
use crate::amqp::{FieldTable, Method};
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

/// A message that dies in one queue after the other gets on in steps, with room for others in between.
#[test]
fn dead_letters_do_not_keep_others_waiting() {
    const HOPS: usize = 600;
    let mut world = World::new(Config::default());
    let client = world.client();
    for hop in 0..HOPS {
        let next = format!("q{}", hop + 1);
        let arguments = FieldTable::new()
            .with("x-max-length", 0_i64)
            .with("x-dead-letter-exchange", "")
            .with("x-dead-letter-routing-key", next.as_str());
        world.declare(client, &format!("q{hop}"), true, arguments);
    }
    let last = format!("q{HOPS}");
    world.declare(client, &last, true, FieldTable::new());
    world.pass(Duration::from_secs(1));
    world.publish(client, "q0", "m", true);
    assert_eq!(world.counts(&last).0, 0, "the input is over before the message is there");
    world.pass(Duration::from_millis(1));
    assert_eq!(world.counts(&last).0, 0);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.counts(&last).0, 1);
}

/// What a commit rejects is settled when it is answered, also where more than one input's share of dead letters is to be made.
#[test]
fn a_commit_of_many_rejects_survives_a_crash_at_once() {
    const MESSAGES: u64 = 300;
    let mut world = World::new(Config::default());
    let client = world.client();
    let arguments = FieldTable::new().with("x-dead-letter-exchange", "").with("x-dead-letter-routing-key", "dead");
    world.declare(client, "q", true, arguments);
    world.declare(client, "dead", true, FieldTable::new());
    for _ in 0..MESSAGES {
        world.publish(client, "q", "m", true);
    }
    world.consume(client, "q", "c", FieldTable::new());
    world.send(client, tx::Select {});
    world.events(client);
    world.send(client, basic::Nack { delivery_tag: 0, multiple: true, requeue: false });
    world.send(client, tx::Commit {});
    let ok = ClientEvent::Method { channel: CHANNEL, method: Method::TxCommitOk(tx::CommitOk {}) };
    assert_eq!(world.events(client), [ok]);
    world.restart(Config::default());
    world.pass(Duration::from_secs(1));
    assert_eq!((world.counts("q").0, world.counts("dead").0), (0, MESSAGES));
}
