//! Programs of several versions in one cluster.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;

use super::quorum::{next, publish_confirmed, publisher, quorum, replicas};
use super::remote::{CHANNEL, consume, hear, make};
use super::returns::get;
use super::world::{At, World};
use super::{ask, voters};
use crate::amqp::method::basic;
use crate::client::ClientEvent;
use crate::cluster::link::Versions;
use crate::cluster::version;
use crate::config::{ClusterConfig, Config};
use crate::effect::Stop;
use crate::limits;

const OLD: Versions = Versions { lowest: 1, highest: 1 };

/// A cluster of the first nodes, all of which speak the oldest version.
pub(super) fn old(seed: u64, nodes: usize, first: usize) -> World {
    let mut world = World::new(seed, nodes, first);
    for at in 0..nodes {
        world.crash(at, false);
    }
    for at in 0..first {
        start_old(&mut world, at);
    }
    world
}

pub(super) fn start_old(world: &mut World, at: At) {
    let config = world.config(at);
    let cluster = config.cluster.clone().map(|cluster| ClusterConfig { versions: OLD, ..cluster });
    world.start_as(at, Config { cluster, ..config });
}

/// What the running nodes take for the version of their cluster.
pub(super) fn versions(world: &World) -> BTreeSet<u16> {
    let engines = world.nodes.iter().filter_map(|node| node.engine.as_ref());
    engines.filter_map(|engine| Some(engine.broker.peers.as_ref()?.cluster().version())).collect()
}

/// Exchanges a node's program for this one.
pub(super) fn upgrade(world: &mut World, at: At) {
    world.crash(at, false);
    world.start(at);
    world.until("agreement", |world| world.is_agreed() && voters(world) == world.nodes.len());
}

#[test]
fn what_is_new_is_used_once_all_nodes_know_it() {
    let mut world = old(71, 3, 3);
    world.until("a cluster", |world| world.is_agreed() && voters(world) == 3);
    make(&mut world, 0, quorum("q", &[]));
    let client = publisher(&mut world, 0);
    let consumer = world.client(0).unwrap();
    ask(&mut world, 0, consumer, consume("q", "c"));
    publish_confirmed(&mut world, 0, client, "q", "stays");
    let event = hear(&mut world, 0, consumer, "delivery");
    assert!(matches!(&event, ClientEvent::Delivery { body, .. } if body == "stays"), "{event:?}");
    let (count, body) = (2 * limits::REPLICA_LOG_KEPT, "x".repeat(2000));
    let pass = |world: &mut World| {
        for number in 0..count {
            publish_confirmed(world, 0, client, "q", &format!("{number} {body}"));
            next(world, 0, consumer);
        }
    };
    let live = |world: &World| -> Vec<u64> {
        world.nodes.iter().map(|node| node.engine.as_ref().unwrap().usage().log_live_bytes).collect()
    };
    let size = count * body.len() as u64;
    for at in [1, 2] {
        pass(&mut world);
        assert_eq!(versions(&world), [version::FIRST].into());
        assert!(
            live(&world).iter().all(|live| *live > size),
            "the log is kept for the sake of what stays: {:?}",
            live(&world)
        );
        upgrade(&mut world, at);
    }
    upgrade(&mut world, 0);
    world.until("the newer version", |world| versions(world) == [Versions::SPOKEN.highest].into());
    let (client, consumer) = (publisher(&mut world, 1), world.client(1).unwrap());
    ask(&mut world, 1, consumer, basic::Qos { prefetch_count: 1, ..basic::Qos::default() });
    world.send(1, consumer, basic::Consume { no_wait: true, ..consume("q", "c") });
    assert_eq!(next(&mut world, 1, consumer), (b"stays".to_vec(), true));
    for number in 0..2 * limits::REPLICA_LOG_KEPT {
        publish_confirmed(&mut world, 1, client, "q", &format!("{number} {body}"));
        next(&mut world, 1, consumer);
    }
    assert!(live(&world).iter().all(|live| *live < size / 2), "{:?}", live(&world));
}

#[test]
fn a_program_that_is_too_old_says_so_and_stops() {
    let mut world = World::new(72, 3, 3);
    world.until("a cluster", |world| world.is_agreed() && voters(world) == 3);
    world.until("the newer version", |world| versions(world) == [Versions::SPOKEN.highest].into());
    world.crash(0, false);
    start_old(&mut world, 0);
    world.until("its end", |world| world.nodes[0].stopped.is_some());
    let stopped = format!("{:?}", world.nodes[0].stopped);
    let its = Versions::SPOKEN.highest;
    let expected = format!("this node speaks link version 1, its cluster speaks {its} by now: start a newer program");
    assert!(stopped.contains(&expected), "{stopped}");
    assert!(matches!(world.nodes[0].stopped, Some(Stop::Fatal(_))));
    // Its data are as they were.
    world.crash(0, false);
    upgrade(&mut world, 0);
}

#[test]
fn a_program_that_is_too_old_does_not_join() {
    let mut world = old(73, 3, 2);
    world.until("a cluster of two", |world| world.nodes[..2].iter().all(|node| node.is_ready));
    for at in [0, 1] {
        world.crash(at, false);
        world.start(at);
    }
    world.until("the newer version", |world| versions(world) == [Versions::SPOKEN.highest].into());
    start_old(&mut world, 2);
    let is_told = |world: &World| world.reasons.iter().any(|reason| reason.contains("link version 1"));
    world.until("the refusal", is_told);
    assert!(!world.nodes[2].is_ready);
    // One that is as new as they are comes in.
    upgrade(&mut world, 2);
}

#[test]
fn how_often_a_message_came_back_is_told_once_all_nodes_understand_it() {
    let mut world = old(74, 3, 3);
    world.until("a cluster", |world| world.is_agreed() && voters(world) == 3);
    make(&mut world, 0, quorum("q", &[]));
    let client = publisher(&mut world, 1);
    publish_confirmed(&mut world, 1, client, "q", "one");
    for expected in [(None, None), (Some(0), Some(1)), (Some(0), Some(1))] {
        let (counts, tag) = get(&mut world, 1, client);
        assert_eq!(counts, expected);
        world.with_client(1, client, |client| client.nack(CHANNEL, tag, false, true).unwrap());
    }
    world.until("its return", |world| (0..3).all(|at| replicas(world, at).iter().all(|replica| replica.ready == 1)));
    (0..3).for_each(|at| upgrade(&mut world, at));
    world.until("the newer version", |world| versions(world) == [Versions::SPOKEN.highest].into());
    let client = publisher(&mut world, 1);
    assert_eq!(get(&mut world, 1, client).0, (Some(0), Some(3)));
}
