//! What operators ask of a cluster.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::world::{At, World, name};
use crate::config::Config;
use crate::ids::AdminId;
use crate::input::Input;
use crate::management::{AdminError, AdminErrorKind, AdminReply, AdminRequest, ClusterRequest, ClusterStatus};

/// Asks this node, and waits for the answer.
pub(super) fn ask(world: &mut World, at: At, request: impl Into<AdminRequest>) -> Result<AdminReply, AdminError> {
    world.nodes[at].answers.clear();
    world.input(at, Input::Admin { id: AdminId(1), request: Box::new(request.into()) });
    world.flush(at);
    for _ in 0..400_000 {
        if let Some(answer) = world.nodes[at].answers.pop() {
            return answer.reply;
        }
        world.step();
    }
    panic!("no answer");
}

fn status(world: &mut World, at: At) -> ClusterStatus {
    match ask(world, at, ClusterRequest::Status) {
        Ok(AdminReply::Cluster(status)) => *status,
        other => panic!("unexpected {other:?}"),
    }
}

/// Each node with whether it runs and has a vote.
fn nodes(status: &ClusterStatus) -> Vec<(&str, bool, bool)> {
    status.nodes.iter().map(|node| (node.name.as_str(), node.is_running, node.has_vote)).collect()
}

/// How many nodes have a vote, as far as this one knows.
fn voters(world: &World, at: At) -> usize {
    let peers = world.nodes[at].engine.as_ref().and_then(|engine| engine.broker.peers.as_ref());
    peers.and_then(|peers| peers.cluster().status()).map_or(0, |status| status.members.voters().len())
}

fn forget(world: &mut World, at: At, name: &str) -> Result<AdminReply, AdminError> {
    ask(world, at, ClusterRequest::Forget(String::from(name)))
}

#[test]
fn the_status_names_the_nodes_and_who_is_there() {
    let mut world = World::new(11, 3, 3);
    world.until("a cluster", |world| world.is_agreed() && (0..3).all(|at| voters(world, at) == 3));
    for at in 0..3 {
        let status = status(&mut world, at);
        assert_eq!(status.node, name(at));
        assert_eq!(status.name, "rabbit@a", "all nodes call it the same");
        assert_eq!(status.leader.as_deref(), Some("rabbit@a"));
        assert_eq!(nodes(&status), ["rabbit@a", "rabbit@b", "rabbit@c"].map(|name| (name, true, true)));
        assert!(status.missing.is_empty(), "{status:?}");
    }
    world.crash(1, false);
    world.until("the others to see it", |world| {
        [0, 2].iter().all(|at| {
            let engine = world.nodes[*at].engine.as_ref().unwrap();
            let cluster = engine.broker.peers.as_ref().unwrap().cluster();
            cluster.nodes().filter(|(id, _)| cluster.is_linked(*id)).count() == 1
        })
    });
    let status = status(&mut world, 2);
    assert_eq!(nodes(&status)[1], ("rabbit@b", false, true));
}

#[test]
fn what_is_missing_is_seen_before_clients_are_let_in() {
    let mut world = World::new(12, 3, 3);
    for at in [1, 2] {
        world.crash(at, false);
    }
    for _ in 0..50_000 {
        world.step();
    }
    assert!(!world.nodes[0].is_ready, "one of three is no majority");
    let status = status(&mut world, 0);
    assert_eq!(nodes(&status), []);
    assert_eq!((status.missing, status.leader), ([0, 1, 2].map(name).to_vec(), None));
    assert_eq!(ask(&mut world, 0, AdminRequest::Ping).unwrap_err().kind, AdminErrorKind::Refused);
    assert_eq!(forget(&mut world, 0, "rabbit@b").unwrap_err().text, "rabbit@b is not in the cluster");
}

#[test]
fn a_node_in_no_cluster_has_itself() {
    let mut world = World::new(13, 1, 0);
    world.crash(0, false);
    world.wipe(0);
    world.start_as(0, Config { cluster_name: Some(String::from("east")), ..Config::default() });
    world.until("the node", |world| world.nodes[0].is_ready);
    let status = status(&mut world, 0);
    assert_eq!(nodes(&status), [("leveret@localhost", true, true)]);
    assert_eq!((status.name.as_str(), status.leader.as_deref()), ("east", Some("leveret@localhost")));
    assert_eq!(forget(&mut world, 0, "rabbit@b").unwrap_err().kind, AdminErrorKind::BadRequest);
}

#[test]
fn a_node_that_does_not_run_can_be_removed() {
    let mut world = World::new(14, 3, 3);
    world.until("a cluster", |world| super::voters(world) == 3 && world.is_agreed());
    let running = forget(&mut world, 0, "rabbit@c").unwrap_err();
    assert!(running.text.contains("is running"), "{running:?}");
    world.crash(2, false);
    world.until("the others to see it", |world| {
        let cluster = world.nodes[1].engine.as_ref().unwrap().broker.peers.as_ref().unwrap().cluster();
        cluster.nodes().filter(|(id, _)| cluster.is_linked(*id)).count() == 1
    });
    assert_eq!(forget(&mut world, 1, "rabbit@c"), Ok(AdminReply::Done));
    world.until("two members", |world| voters(world, 1) == 2);
    let status = status(&mut world, 1);
    assert_eq!(nodes(&status), [("rabbit@a", true, true), ("rabbit@b", true, true)]);
    assert_eq!(status.missing, ["rabbit@c"]);
}

#[test]
fn without_a_majority_no_node_is_removed() {
    let mut world = World::new(15, 3, 3);
    world.until("a cluster", |world| super::voters(world) == 3 && world.is_agreed());
    world.crash(1, false);
    world.crash(2, false);
    world.until("the end of the links", |world| {
        let cluster = world.nodes[0].engine.as_ref().unwrap().broker.peers.as_ref().unwrap().cluster();
        cluster.nodes().all(|(id, _)| !cluster.is_linked(id))
    });
    let late = forget(&mut world, 0, "rabbit@c").unwrap_err();
    assert!(late.text.contains("no majority"), "{late:?}");
}
