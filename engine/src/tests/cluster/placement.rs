//! Where the replicas of a queue are to be, as a node of a cluster sees it.

use alloc::vec::Vec;

use super::world::{At, World};
use crate::amqp::FieldTable;
use crate::broker::Broker;
use crate::config::Config;
use crate::ids::NodeId;

const GROUP_SIZE: &str = "x-quorum-initial-group-size";

fn quorum() -> FieldTable {
    FieldTable::new().with("x-queue-type", "quorum")
}

fn broker(world: &World, at: At) -> &Broker {
    &world.nodes[at].engine.as_ref().expect("the node runs").broker
}

fn own(world: &World, at: At) -> NodeId {
    broker(world, at).metadata.own()
}

/// Four nodes that are one broker, of which the first has links to all.
fn four(seed: u64) -> World {
    let mut world = World::new(seed, 4, 4);
    world.until("a cluster", World::is_agreed);
    until_linked(&mut world, 3);
    world
}

fn until_linked(world: &mut World, others: usize) {
    let linked = |world: &World| broker(world, 0).peers.iter().flat_map(|peers| peers.linked()).count();
    world.until("links", |world| linked(world) == others);
}

#[test]
fn a_quorum_queue_gets_three_members_and_another_queue_none() {
    let mut world = four(31);
    let mut expected: Vec<NodeId> = (1..4).map(|at| own(&world, at)).collect();
    expected.sort_unstable();
    expected.insert(0, own(&world, 0));
    let members = |world: &World, arguments: &FieldTable| broker(world, 0).members_for(arguments);
    assert_eq!(members(&world, &quorum()), expected[..3]);
    assert_eq!(members(&world, &quorum().with(GROUP_SIZE, 1)), expected[..1]);
    assert_eq!(members(&world, &quorum().with(GROUP_SIZE, 9)), expected);
    world.nodes[0].engine.as_mut().unwrap().broker.config.quorum_initial_group_size = 2;
    assert_eq!(members(&world, &quorum()), expected[..2]);
    // What is wrong with arguments is told elsewhere.
    assert_eq!(members(&world, &quorum().with(GROUP_SIZE, 0)), expected[..0]);
    assert_eq!(members(&world, &FieldTable::new()), expected[..0]);
}

#[test]
fn a_node_that_is_down_is_chosen_only_if_there_are_too_few_others() {
    let mut world = four(32);
    let (first, down) = (own(&world, 0), own(&world, 1));
    let mut expected: Vec<NodeId> = [2, 3].map(|at| own(&world, at)).into();
    expected.sort_unstable();
    expected.insert(0, first);
    expected.push(down);
    world.crash(1, false);
    until_linked(&mut world, 2);
    assert_eq!(broker(&world, 0).members_for(&quorum()), expected[..3]);
    assert_eq!(broker(&world, 0).members_for(&quorum().with(GROUP_SIZE, 4)), expected);
}

#[test]
fn a_node_in_no_cluster_gives_a_queue_no_members() {
    let mut world = World::new(33, 1, 0);
    world.crash(0, false);
    world.wipe(0);
    world.start_as(0, Config::default());
    world.until("the node", |world| world.nodes[0].is_ready);
    assert!(broker(&world, 0).members_for(&quorum()).is_empty());
}
