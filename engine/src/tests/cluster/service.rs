//! When nodes serve clients, and which clients may publish.

use alloc::vec;

use super::quorum::{publisher, quorum, replicas};
use super::remote::{hear, make, publish};
use super::world::{At, World, name};
use super::{administration, declare, voters};
use crate::alarm::ResourceLevel;
use crate::client::ClientEvent;
use crate::config::{ClusterConfig, Config};
use crate::engine::Engine;
use crate::input::Input;
use crate::management::{AdminReply, AdminRequest, ClusterRequest, NodeRequest};

fn three(seed: u64) -> World {
    let mut world = World::new(seed, 3, 3);
    world.until("a cluster", |world| world.is_agreed() && voters(world) == 3);
    world
}

fn engine(world: &World, at: At) -> &Engine {
    world.nodes[at].engine.as_ref().expect("the node runs")
}

fn has_memory(world: &mut World, at: At, memory_bytes: u64) {
    world.input(at, Input::ResourceLevel(ResourceLevel { memory_bytes, disk_free_bytes: u64::MAX }));
    world.flush(at);
}

fn is_blocked(world: &World, at: At) -> bool {
    engine(world, at).broker.alarms.reason().is_some()
}

#[test]
fn what_is_short_on_one_node_stops_the_publishers_of_all() {
    let mut world = three(61);
    make(&mut world, 1, declare("q", true));
    let limit = AdminRequest::Node(NodeRequest::SetMemoryHighWatermark(Some(1000)));
    assert_eq!(administration::ask(&mut world, 0, limit), Ok(AdminReply::Done));
    let client = publisher(&mut world, 2);
    has_memory(&mut world, 0, 1001);
    world.until("the others to know", |world| (0..3).all(|at| is_blocked(world, at)));
    let Ok(AdminReply::Cluster(status)) = administration::ask(&mut world, 2, ClusterRequest::Status) else {
        panic!("it has a status")
    };
    assert_eq!(status.alarms, [(name(0), crate::alarm::Resource::Memory)]);
    publish(&mut world, 2, client, "q", "stopped");
    let event = hear(&mut world, 2, client, "blocked");
    assert!(matches!(event, ClientEvent::Blocked { .. }), "{event:?}");
    has_memory(&mut world, 0, 1000);
    let mut heard = vec![];
    while heard.len() < 2 {
        world.step();
        heard.extend(world.events(2, client).expect("the client is connected"));
    }
    assert!(heard.iter().any(|event| matches!(event, ClientEvent::Unblocked)), "{heard:?}");
    assert!(heard.iter().any(|event| matches!(event, ClientEvent::Acked { .. })), "{heard:?}");
    // A node that is gone stops nobody.
    has_memory(&mut world, 0, 1001);
    world.until("the others to know", |world| (0..3).all(|at| is_blocked(world, at)));
    world.crash(0, false);
    world.until("the others to go on", |world| (1..3).all(|at| !is_blocked(world, at)));
}

#[test]
fn a_node_with_a_minority_serves_nobody_until_it_is_back() {
    let mut world = three(62);
    for at in 0..3 {
        world.crash(at, false);
        let config = world.config(at);
        let cluster = config.cluster.clone().map(|cluster| ClusterConfig { pause_minority: true, ..cluster });
        world.start_as(at, Config { cluster, ..config });
    }
    world.until("agreement", World::is_agreed);
    world.until("all links", |world| (0..3).all(|at| engine(world, at).broker.running().len() == 3));
    let client = world.client(0).expect("it lets clients in");
    let other = publisher(&mut world, 1);
    world.cut.extend([(0, 1), (0, 2)]);
    world.until("the pause", |world| !engine(world, 0).is_serving());
    world.until("the end of its clients", |world| !world.has_client(0, client));
    assert!(world.client(0).is_none_or(|late| {
        (0..200).for_each(|_| world.step());
        !world.has_client(0, late)
    }));
    assert!((1..3).all(|at| engine(&world, at).is_serving()));
    make_one(&mut world, 1);
    assert!(world.events(1, other).is_some(), "the majority notices nothing");
    world.cut.clear();
    world.until("its return", |world| engine(world, 0).is_serving());
    assert!(world.client(0).is_some());
}

/// A queue that two of three know.
fn make_one(world: &mut World, at: At) {
    let client = world.client(at).expect("it lets clients in");
    let answer = super::ask(world, at, client, declare("q", true));
    assert!(matches!(answer, ClientEvent::Method { .. }), "{answer:?}");
}

#[test]
fn a_node_under_maintenance_serves_nobody_and_leads_nothing() {
    let mut world = three(63);
    make(&mut world, 0, quorum("q", &[]));
    let leads = |world: &World, at: At| replicas(world, at).iter().any(|replica| replica.leads);
    world.until("a leader", |world| (0..3).any(|at| leads(world, at)));
    let at = (0..3).find(|at| leads(&world, *at)).unwrap();
    let client = publisher(&mut world, at);
    let drained = |world: &World| (0..3).all(|other| engine(world, other).broker.is_node_drained(own(world, at)));
    let ask = |world: &mut World, request| administration::ask(world, at, AdminRequest::Node(request));
    assert_eq!(ask(&mut world, NodeRequest::Drain), Ok(AdminReply::Done));
    assert!(!leads(&world, at));
    world.until("the others to know", drained);
    world.until("the end of its clients", |world| !world.has_client(at, client));
    world.until("another leader", |world| (0..3).any(|other| other != at && leads(world, other)));
    // It comes to lead only while nobody else can.
    let other = (at + 1) % 3;
    world.crash(other, false);
    world.until("the third to lead", |world| leads(world, (at + 2) % 3));
    world.start(other);
    world.until("agreement", |world| world.nodes[other].is_ready);
    assert!(!engine(&world, at).is_serving());
    assert_eq!(ask(&mut world, NodeRequest::Revive), Ok(AdminReply::Done));
    world.until("the others to know", |world| !drained(world));
    assert!(world.client(at).is_some());
}

fn own(world: &World, at: At) -> crate::ids::NodeId {
    engine(world, at).broker.metadata.own()
}
