//! Groups without work cost nothing, and wake when there is a reason.

use super::world::{World, members};
use crate::ids::{GroupId, NodeId};

const GROUPS: u64 = 8;

fn asleep() -> World {
    let groups: alloc::vec::Vec<_> = (0..GROUPS).map(|_| members(1..=3)).collect();
    let mut world = World::new(5, 3, &groups);
    world.run_for(3000);
    for group in 1..=GROUPS {
        let leader = world.leader(GroupId(group)).unwrap();
        assert_eq!(world.propose(leader, GroupId(group), 20), Some(Ok(())));
    }
    world.run_for(10_000);
    assert_all_asleep(&world);
    world
}

fn assert_all_asleep(world: &World) {
    for node in world.nodes.values() {
        assert_eq!(node.groups.as_ref().unwrap().len(), (GROUPS as usize, 0), "all there, none awake");
    }
}

#[test]
fn an_idle_cluster_writes_nothing_and_sends_only_signs_of_life() {
    let mut world = asleep();
    for node in world.nodes.values_mut() {
        (node.writes, node.frames) = (0, 0);
    }
    world.run_for(60_000);
    assert_all_asleep(&world);
    for node in world.nodes.values() {
        assert_eq!(node.writes, 0);
        // Two a second to each of two others, whatever the number of groups.
        assert!((200..=240).contains(&node.frames), "{} frames in a minute", node.frames);
    }
}

#[test]
fn a_proposal_wakes_a_group_and_nobody_else() {
    let mut world = asleep();
    let leader = world.leader(GroupId(3)).unwrap();
    assert_eq!(world.propose(leader, GroupId(3), 20), Some(Ok(())));
    assert_eq!(world.nodes[&leader].groups.as_ref().unwrap().len().1, 1);
    world.run_for(100);
    let last = world.truths[&GroupId(3)].last();
    assert_eq!(world.nodes[&leader].groups.as_ref().unwrap().status(GroupId(3)).unwrap().applied_index, last);
    world.run_for(10_000);
    assert_all_asleep(&world);
}

#[test]
fn groups_of_a_dead_node_find_another_leader_and_rest_again() {
    let mut world = asleep();
    let dead = world.leader(GroupId(1)).unwrap();
    world.crash(dead);
    // Two seconds until it is suspected, and then an election without its full wait.
    world.run_for(4500);
    for group in 1..=GROUPS {
        let leader = world.leader(GroupId(group)).expect("somebody leads");
        assert_ne!(leader, dead);
        assert_eq!(world.propose(leader, GroupId(group), 20), Some(Ok(())));
    }
    world.run_for(10_000);
    let survivors = || world.nodes.iter().filter(|(id, _)| **id != dead);
    for (_, node) in survivors() {
        assert_eq!(node.groups.as_ref().unwrap().len().1, 0, "they sleep although one is missing");
    }
    // When it is back it is brought up to date, and then all sleep.
    world.check_live();
    world.run_for(12_000);
    assert_all_asleep(&world);
}

#[test]
fn a_leader_that_restarts_at_once_is_not_waited_for_in_vain() {
    let mut world = asleep();
    let restarted = world.leader(GroupId(1)).unwrap();
    world.crash(restarted);
    world.start(restarted);
    world.run_for(3500);
    for group in 1..=GROUPS {
        assert!(world.leader(GroupId(group)).is_some(), "group {group} has no leader");
    }
}

#[test]
fn a_suspicion_from_outside_needs_no_silence() {
    let mut world = asleep();
    let dead = world.leader(GroupId(1)).unwrap();
    world.crash(dead);
    for node in [1, 2, 3].map(NodeId) {
        world.with(node, |groups| groups.node_suspected(dead));
    }
    // Less than the silence would take, even if the first election is a draw.
    world.run_for(3500);
    assert!(world.leader(GroupId(1)).is_some_and(|leader| leader != dead));
}
