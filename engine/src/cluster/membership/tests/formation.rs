//! How clusters begin, and who gets in.

use super::world::{World, name};
use crate::ids::NodeId;

#[test]
fn a_node_without_others_forms_a_cluster_by_itself() {
    let mut world = World::new(1, 1, 0);
    world.run_until(1000, "formed", |world| world.number(0) == Some(NodeId(1)));
    world.propose(0);
    world.check_live();
    assert_eq!(world.confirmed.len(), 1);
    assert!(world.refused.is_empty());
}

#[test]
fn the_first_by_name_waits_for_a_majority_and_the_others_wait_for_it() {
    let mut world = World::new(2, 3, 3);
    world.cut.extend([(0, 1), (0, 2)]);
    world.run_for(5000);
    assert!(world.clusters.is_empty(), "nobody can be sure yet");
    world.cut.remove(&(0, 2));
    world.run_for(5000);
    assert_eq!(world.number(0), Some(NodeId(1)));
    assert_eq!(world.clusters.len(), 1);
    world.check_live();
}

/// The order in which nodes come in is that of their numbers; a node that was not named comes in as well once it is linked.
#[test]
fn a_node_that_comes_later_joins() {
    let mut world = World::new(3, 3, 2);
    world.check_live();
    let numbers: alloc::collections::BTreeSet<_> = (0..3).map(|at| world.number(at).unwrap().0).collect();
    assert_eq!(numbers, [1, 2, 3].into());
}

#[test]
fn a_node_that_lost_its_disk_comes_back_as_another_one() {
    let mut world = World::new(4, 3, 3);
    world.check_live();
    for _ in 0..40 {
        world.propose(1);
    }
    world.check_live();
    let former = world.number(0).unwrap();
    world.crash(0, true);
    world.wipe(0);
    world.check_live();
    assert_eq!(world.number(0), Some(NodeId(4)));
    let cluster = world.nodes[1].cluster.as_ref().unwrap();
    assert!(cluster.nodes().all(|(id, _)| id != former), "the one that it was is gone");
    assert_eq!(world.clusters.len(), 1);
}

#[test]
fn a_majority_decides_and_a_minority_waits() {
    let mut world = World::new(5, 3, 3);
    world.check_live();
    world.cut.extend([(0, 1), (0, 2)]);
    world.unlink(0, 1);
    world.unlink(0, 2);
    world.run_for(4000);
    let before = world.truth.len();
    world.propose(0);
    world.run_for(4000);
    assert_eq!(world.truth.len(), before, "alone it decides nothing");
    world.propose(1);
    world.run_for(2000);
    assert_eq!(world.truth.len(), before + 1);
    world.check_live();
    assert_eq!(world.truth.len(), before + 2, "what waited is carried out once there is a majority again");
}

#[test]
fn only_a_node_that_is_down_can_be_forgotten_and_it_does_not_come_back() {
    let mut world = World::new(6, 3, 3);
    world.check_live();
    let forget = |world: &mut World, at| world.with(1, |cluster, _, _, _, _| cluster.forget(&name(at))).unwrap();
    assert!(forget(&mut world, 2).unwrap_err().contains("is running"));
    assert!(forget(&mut world, 1).unwrap_err().contains("is running"));
    assert!(forget(&mut world, 9).unwrap_err().contains("is not in the cluster"));
    world.crash(2, false);
    world.run_for(100);
    forget(&mut world, 2).unwrap();
    world.run_until(5000, "two", |world| {
        let status = world.nodes[1].cluster.as_ref().unwrap().status().unwrap();
        status.members.voters().len() == 2
    });
    world.start(2);
    world.run_for(3000);
    assert!(world.refused.iter().any(|text| text.contains("was removed from the cluster")), "{:?}", world.refused);
    let cluster = world.nodes[0].cluster.as_ref().unwrap();
    assert_eq!(cluster.nodes().count(), 2);
    // With an empty disk it is a new node.
    world.crash(2, false);
    world.wipe(2);
    world.check_live();
    assert_eq!(world.number(2), Some(NodeId(4)));
}

#[test]
fn a_running_nodes_name_cannot_be_taken() {
    let mut world = World::new(7, 3, 2);
    world.check_live();
    world.nodes[2].name = name(1);
    world.crash(2, false);
    world.wipe(2);
    world.start(2);
    world.run_for(3000);
    assert!(world.refused.iter().any(|text| text.contains("give each node a name of its own")), "{:?}", world.refused);
    assert_eq!(world.number(2), None);
}

#[test]
fn a_cluster_at_rest_sends_signs_of_life_and_writes_nothing() {
    let mut world = World::new(8, 3, 3);
    world.check_live();
    world.run_for(20_000);
    let appends: usize = world.nodes.iter().map(|node| node.disk.appends as usize).sum();
    world.run_for(20_000);
    let later: usize = world.nodes.iter().map(|node| node.disk.appends as usize).sum();
    assert_eq!(appends, later);
}

/// A node that lags behind takes the leader's state, and has a reason to write its own down meanwhile: what is found after a crash is
/// the one that was taken.
#[test]
fn a_state_that_is_taken_is_not_written_over() {
    let mut world = World::new(9, 3, 3);
    world.check_live();
    world.crash(0, false);
    for _ in 0..40 {
        world.propose(1);
        world.run_for(20);
    }
    world.start(0);
    world
        .run_step_by_step(10_000, |world| world.nodes[0].cluster.as_ref().is_some_and(|node| !node.offered.is_empty()));
    let (states, other) = (world.seen.states, world.number(1).unwrap());
    world.with(0, |cluster, _, _, _, _| cluster.wanting.push(other));
    world.run_step_by_step(10_000, |world| world.seen.states > states);
    world.crash(0, false);
    world.check_live();
}
