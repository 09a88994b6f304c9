//! What confirms wait for.

use super::world::{CHANNEL, World};
use crate::amqp::method::{confirm, tx};
use crate::amqp::{FieldTable, Method};
use crate::client::ClientEvent;
use crate::config::{Config, Durability};
use crate::ids::ConnectionId;

/// A node with a classic queue "classic" and a quorum queue "quorum", all on the disk, whose disk is about to sync nothing; and a client.
fn world(durability: Durability) -> (World, ConnectionId) {
    let mut world = World::new(Config { durability, ..Config::default() });
    let client = world.client();
    world.declare(client, "classic", true, FieldTable::new());
    world.declare(client, "quorum", true, FieldTable::new().with("x-queue-type", "quorum"));
    world.pass(crate::limits::LOG_SYNC_INTERVAL * 2);
    (world, client)
}

/// How many publishes were confirmed since the last look.
fn confirmed(world: &mut World, client: ConnectionId) -> usize {
    world.events(client).iter().filter(|event| matches!(event, ClientEvent::Acked { .. })).count()
}

/// Whether a persistent message to the queue is confirmed before, and after, the disk has synced it.
fn confirms(durability: Durability, queue: &str) -> (usize, usize) {
    let (mut world, client) = world(durability);
    world.send(client, confirm::Select::default());
    world.events(client);
    world.are_syncs_held = true;
    world.publish(client, queue, "one", true);
    let before = confirmed(&mut world, client);
    world.release_disk();
    (before, confirmed(&mut world, client))
}

#[test]
fn a_confirm_waits_for_as_much_as_was_asked_for() {
    assert_eq!(confirms(Durability::Fsync, "classic"), (0, 1));
    assert_eq!(confirms(Durability::Os, "classic"), (1, 0));
}

#[test]
fn a_quorum_queue_confirms_what_is_synced_in_any_case() {
    assert_eq!(confirms(Durability::Fsync, "quorum"), (0, 1));
    assert_eq!(confirms(Durability::Os, "quorum"), (0, 1));
}

#[test]
fn a_confirm_waits_for_the_disk_to_take_the_write() {
    let (mut world, client) = world(Durability::Os);
    world.send(client, confirm::Select::default());
    world.events(client);
    world.is_disk_held = true;
    world.publish(client, "classic", "one", true);
    assert_eq!(confirmed(&mut world, client), 0);
    world.release_disk();
    assert_eq!(confirmed(&mut world, client), 1);
}

#[test]
fn what_is_only_written_is_synced_a_moment_later() {
    let (mut world, client) = world(Durability::Os);
    world.publish(client, "classic", "one", true);
    let reach = world.engine.log_reach();
    assert!(reach.durable < reach.end, "{reach:?}");
    world.pass(crate::limits::LOG_SYNC_INTERVAL * 2);
    let reach = world.engine.log_reach();
    assert_eq!(reach.durable, reach.end);
}

#[test]
fn a_transaction_waits_for_as_much_as_was_asked_for() {
    for (durability, queue, expected) in
        [(Durability::Fsync, "classic", false), (Durability::Os, "classic", true), (Durability::Os, "quorum", false)]
    {
        let (mut world, client) = world(durability);
        world.send(client, tx::Select {});
        world.events(client);
        world.are_syncs_held = true;
        world.publish(client, queue, "one", true);
        world.send(client, tx::Commit {});
        let committed = ClientEvent::Method { channel: CHANNEL, method: Method::TxCommitOk(tx::CommitOk {}) };
        assert_eq!(world.events(client).contains(&committed), expected, "{durability:?} {queue}");
        world.release_disk();
    }
}
