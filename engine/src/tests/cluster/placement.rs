//! Where the replicas of a queue are to be, as a node of a cluster sees it.

use alloc::format;
use alloc::vec::Vec;

use super::mirrored::set;
use super::quorum::next;
use super::remote::{consume, hear, make, publish};
use super::upgrade::versions;
use super::world::{At, World};
use super::{administration, ask, declare, short};
use crate::amqp::FieldTable;
use crate::amqp::method::{basic, confirm, queue};
use crate::broker::Broker;
use crate::client::ClientEvent;
use crate::cluster::link::Versions;
use crate::config::Config;
use crate::ids::{NodeId, QueueId};
use crate::management::DefinitionsRequest;
use crate::metadata::{Command, LeaderLocator};

const GROUP_SIZE: &str = "x-quorum-initial-group-size";

fn quorum() -> FieldTable {
    FieldTable::new().with("x-queue-type", "quorum")
}

/// Where a queue that is declared on a node is to be: its members, or the one node.
fn placed(world: &mut World, at: At, durable: bool, arguments: &FieldTable) -> Vec<NodeId> {
    let command = Command::DeclareQueue {
        vhost: short("/"),
        id: QueueId(0),
        home: own(world, at),
        members: Vec::new(),
        name: short("q"),
        durable,
        exclusive: None,
        auto_delete: false,
        arguments: arguments.clone(),
    };
    match world.nodes[at].engine.as_mut().expect("the node runs").broker.with_members(command) {
        Command::DeclareQueue { members, home, .. } if members.is_empty() => [home].into(),
        Command::DeclareQueue { members, .. } => members,
        other => panic!("{other:?}"),
    }
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
    let members = |world: &mut World, arguments: &FieldTable| placed(world, 0, true, arguments);
    assert_eq!(members(&mut world, &quorum()), expected[..3]);
    assert_eq!(members(&mut world, &quorum().with(GROUP_SIZE, 1)), expected[..1]);
    assert_eq!(members(&mut world, &quorum().with(GROUP_SIZE, 9)), expected);
    world.nodes[0].engine.as_mut().unwrap().broker.config.quorum_initial_group_size = 2;
    assert_eq!(members(&mut world, &quorum()), expected[..2]);
    // What is wrong with arguments is told elsewhere.
    assert_eq!(members(&mut world, &quorum().with(GROUP_SIZE, 0)), expected[..1]);
    assert_eq!(members(&mut world, &FieldTable::new()), expected[..1]);
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
    assert_eq!(placed(&mut world, 0, true, &quorum()), expected[..3]);
    assert_eq!(placed(&mut world, 0, true, &quorum().with(GROUP_SIZE, 4)), expected);
}

#[test]
fn a_node_in_no_cluster_gives_a_queue_no_members() {
    let mut world = World::new(33, 1, 0);
    world.crash(0, false);
    world.wipe(0);
    world.start_as(0, Config::default());
    world.until("the node", |world| world.nodes[0].is_ready);
    assert_eq!(placed(&mut world, 0, true, &quorum()), [NodeId(0)]);
}

/// Node 0 has two queues, 1 one, and 2 none.
fn uneven(seed: u64) -> World {
    let mut world = World::new(seed, 3, 3);
    world.until("a cluster", |world| world.is_agreed() && versions(world) == [Versions::SPOKEN.highest].into());
    until_linked(&mut world, 2);
    for (at, name) in [(0, "a"), (0, "b"), (1, "c")] {
        make(&mut world, at, declare(name, true));
    }
    world
}

#[test]
fn a_classic_queue_is_where_its_locator_says() {
    let mut world = uneven(34);
    let [first, last] = [0, 2].map(|at| own(&world, at));
    let (none, quorum) = (FieldTable::new(), quorum());
    let check = |world: &mut World, arguments: &FieldTable, expected: NodeId| {
        assert_eq!(placed(world, 0, true, arguments)[0], expected, "{arguments:?}");
        if arguments.get("x-queue-type").is_none() {
            assert_eq!(placed(world, 0, false, arguments), [first], "it would not survive a start");
        }
    };
    check(&mut world, &none, first);
    for (name, locator) in [
        ("x-queue-leader-locator", "balanced"),
        ("x-queue-master-locator", "min-masters"),
        ("x-queue-master-locator", "random"),
    ] {
        check(&mut world, &none.clone().with(name, locator), last);
    }
    let local = none.clone().with("x-queue-leader-locator", "client-local");
    world.nodes[0].engine.as_mut().unwrap().broker.config.queue_leader_locator = Some(LeaderLocator::Balanced);
    check(&mut world, &none, last);
    check(&mut world, &quorum, last);
    check(&mut world, &local, first);
    // A policy counts more than an argument does, and the former name less than any other.
    set(&mut world, 0, r#"{"queue-master-locator":"min-masters"}"#);
    check(&mut world, &local, first);
    check(&mut world, &none.clone().with("x-queue-master-locator", "client-local"), last);
    set(&mut world, 0, r#"{"queue-leader-locator":"client-local"}"#);
    check(&mut world, &none.with("x-queue-leader-locator", "balanced"), first);
    check(&mut world, &quorum, last);
}

#[test]
fn a_queue_of_another_node_is_used_in_the_same_breath() {
    let mut world = uneven(35);
    let balanced = |name: &str| {
        let mut declare = declare(name, true);
        declare.arguments.push(short("x-queue-leader-locator"), "balanced");
        declare
    };
    let client = world.client(0).unwrap();
    ask(&mut world, 0, client, confirm::Select::default());
    world.send(0, client, queue::Declare { no_wait: true, ..balanced("q") });
    assert!(publish(&mut world, 0, client, "q", "at once").is_some());
    let event = hear(&mut world, 0, client, "the confirm");
    assert!(matches!(event, ClientEvent::Acked { .. }), "{event:?}");
    let other = world.client(1).unwrap();
    world.events(1, other);
    world.send(1, other, basic::Consume { no_wait: true, ..consume("q", "c") });
    assert_eq!(next(&mut world, 1, other).0, b"at once");
    // One connection's queue stays with it.
    ask(&mut world, 0, client, queue::Declare { exclusive: true, ..balanced("mine") });
    let home = |world: &World, name: &str| {
        let queues = broker(world, 0).metadata.queues();
        queues.into_iter().find(|(_, record)| record.name == short(name)).map(|(_, record)| record.home).unwrap()
    };
    assert_eq!((home(&world, "q"), home(&world, "mine")), (own(&world, 2), own(&world, 0)));
}

#[test]
fn queues_that_are_declared_at_a_time_are_spread() {
    let mut world = uneven(36);
    let client = world.client(0).unwrap();
    world.events(0, client);
    for (number, kind) in ["classic", "classic", "quorum", "quorum", "classic"].into_iter().enumerate() {
        let mut declare = declare(&format!("many {number}"), true);
        declare.arguments.push(short("x-queue-type"), kind);
        declare.arguments.push(short("x-queue-leader-locator"), "balanced");
        world.send(0, client, queue::Declare { no_wait: true, ..declare });
    }
    let count = |world: &World| broker(world, 0).metadata.queues().len();
    world.until("all of them", |world| count(world) == 8);
    let loads = broker(&world, 0).metadata.replica_loads();
    let mut leads: Vec<u64> = (0..3).map(|at| loads[&own(&world, at)].1).collect();
    leads.sort_unstable();
    assert_eq!(leads, [2, 3, 3]);
}

#[test]
fn definitions_say_where_their_queues_are() {
    let mut world = uneven(37);
    let json = r#"{"policies": [{"vhost": "/", "name": "spread", "pattern": "^many", "definition": {"queue-leader-locator": "balanced"}}],
        "queues": [{"vhost": "/", "name": "many 1", "durable": true}, {"vhost": "/", "name": "many 2", "durable": true},
            {"vhost": "/", "name": "many 3", "durable": true}, {"vhost": "/", "name": "other", "durable": true}]}"#;
    let request = DefinitionsRequest::Import { json: json.into(), vhost: None };
    let imported = administration::ask(&mut world, 0, request);
    assert!(imported.is_ok(), "{imported:?}");
    world.until("all to know", |world| (0..3).all(|at| broker(world, at).metadata.queues().len() == 7));
    let loads = broker(&world, 0).metadata.replica_loads();
    let leads: Vec<u64> = (0..3).map(|at| loads[&own(&world, at)].1).collect();
    assert_eq!(leads, [3, 2, 2]);
}
