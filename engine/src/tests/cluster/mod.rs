//! Nodes that are one broker.

mod administration;
mod damage;
mod members;
mod mirrored;
mod operators;
mod placement;
mod quorum;
mod remote;
mod returns;
mod service;
mod turning;
mod upgrade;
mod world;

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::amqp::method::{exchange, queue};
use crate::amqp::{FieldTable, Method, ShortStr};
use crate::client::ClientEvent;
use crate::config::Config;
use crate::effect::Stop;
use crate::engine::Engine;
use crate::ids::ConnectionId;
use crate::storage::codec::mix;
use crate::storage::tests::rng::{Rng, seeds};
use world::{At, World, name};

fn short(text: &str) -> ShortStr {
    ShortStr::truncated(text)
}

fn declare(name: &str, durable: bool) -> queue::Declare {
    queue::Declare { queue: short(name), durable, ..queue::Declare::default() }
}

/// Declares as this client, and waits for the answer.
fn ask(world: &mut World, at: At, client: ConnectionId, method: impl Into<Method>) -> ClientEvent {
    world.events(at, client);
    assert!(world.send(at, client, method));
    for _ in 0..400_000 {
        if let Some(event) = world.events(at, client).expect("the client is connected").into_iter().next() {
            return event;
        }
        world.step();
    }
    panic!("no answer");
}

/// How many nodes have a vote, as far as the first knows.
fn voters(world: &World) -> usize {
    let engine = world.nodes[0].engine.as_ref();
    let status = engine.and_then(|engine| engine.broker.peers.as_ref()?.cluster().status());
    status.map_or(0, |status| status.members.voters().len())
}

fn queue_names(engine: &Engine) -> BTreeSet<String> {
    engine.declared_queues().map(|(name, _)| name).collect()
}

#[test]
fn three_nodes_form_a_cluster_and_what_one_declares_all_know() {
    let mut world = World::new(1, 3, 3);
    world.until("a cluster", World::is_agreed);
    let client = world.client(2).expect("the node lets clients in");
    let answer = ask(&mut world, 2, client, declare("q", true));
    assert!(matches!(answer, ClientEvent::Method { method: Method::QueueDeclareOk(_), .. }), "{answer:?}");
    world.until("everybody to know", |world| {
        world.nodes.iter().all(|node| queue_names(node.engine.as_ref().unwrap()).contains("q"))
    });
    // In the order in which they came.
    let mut nodes: Vec<String> = world.nodes[0].engine.as_ref().unwrap().cluster_nodes();
    nodes.sort_unstable();
    assert_eq!(nodes, [name(0), name(1), name(2)]);
}

#[test]
fn a_node_alone_keeps_what_it_had_before_it_was_told_of_a_cluster() {
    let mut world = World::new(2, 1, 0);
    world.crash(0, false);
    world.wipe(0);
    world.start_as(0, Config::default());
    world.until("the node", |world| world.nodes[0].is_ready);
    let client = world.client(0).unwrap();
    ask(&mut world, 0, client, declare("kept", true));
    ask(&mut world, 0, client, declare("lost", false));
    world.crash(0, false);
    world.start(0);
    world.until("the node in its cluster", |world| world.nodes[0].is_ready);
    let engine = world.nodes[0].engine.as_ref().unwrap();
    assert_eq!(queue_names(engine), ["kept".into()].into());
    assert_eq!(engine.queues().len(), 1, "the queue is on this node");
}

#[test]
fn a_node_with_things_of_its_own_does_not_join() {
    let mut world = World::new(3, 2, 1);
    world.crash(1, false);
    world.wipe(1);
    world.start_as(1, Config::default());
    world.until("the other node", |world| world.nodes[1].is_ready);
    let client = world.client(1).unwrap();
    ask(&mut world, 1, client, declare("q", true));
    world.crash(1, false);
    world.start(1);
    world.until("its end", |world| world.nodes[1].stopped.is_some());
    let Some(Stop::Fatal(text)) = &world.nodes[1].stopped else { panic!("it stopped in order") };
    assert!(text.starts_with("this node holds users"), "{text}");
}

#[test]
fn a_node_that_was_in_a_cluster_does_not_start_without_it() {
    let mut world = World::new(4, 1, 0);
    world.until("the node", |world| world.nodes[0].is_ready);
    world.crash(0, false);
    world.start_as(0, Config::default());
    world.until("its end", |world| world.nodes[0].stopped.is_some());
    let Some(Stop::Fatal(text)) = &world.nodes[0].stopped else { panic!("it stopped in order") };
    assert!(text.contains("belongs to a cluster"), "{text}");
}

#[test]
fn what_does_not_survive_a_restart_goes_with_its_node_alone() {
    let mut world = World::new(5, 3, 3);
    world.until("a cluster", World::is_agreed);
    for at in [0, 1] {
        let client = world.client(at).unwrap();
        for (durable, kind) in [(true, "durable"), (false, "transient")] {
            ask(&mut world, at, client, declare(&format!("{kind} on {at}"), durable));
        }
        let exclusive = queue::Declare { exclusive: true, ..declare(&format!("exclusive on {at}"), true) };
        ask(&mut world, at, client, exclusive);
    }
    world.until("the third node to know", |world| {
        queue_names(world.nodes[2].engine.as_ref().unwrap()).contains("exclusive on 1")
    });
    let other = world.client(2).unwrap();
    let answer = ask(&mut world, 2, other, queue::Declare { passive: true, ..declare("exclusive on 1", true) });
    assert!(matches!(&answer, ClientEvent::ChannelClosed { reason, .. } if reason.reply_code == 405), "{answer:?}");
    world.crash(1, false);
    world.start(1);
    world.until("agreement", World::is_agreed);
    let all = ["durable on 0", "durable on 1", "exclusive on 0", "transient on 0"];
    for node in &world.nodes {
        assert_eq!(queue_names(node.engine.as_ref().unwrap()), all.map(String::from).into());
    }
}

/// The declaration takes longer than the connection lasts, and nobody is left whose end could take the queue with it.
#[test]
fn an_exclusive_queue_goes_although_its_connection_ended_before_it_was_there() {
    let mut world = World::new(7, 3, 3);
    world.until("a cluster", World::is_agreed);
    let client = world.client(2).expect("the node lets clients in");
    assert!(world.send(2, client, queue::Declare { exclusive: true, ..declare("q", false) }));
    world.hang_up(2, client);
    let before = world.nodes[2].engine.as_ref().unwrap().shared_applied();
    world.until("the declaration and the deletion", |world| {
        let engine = world.nodes[2].engine.as_ref().unwrap();
        !engine.has_asked_cluster() && engine.shared_applied() >= before.map(|before| before + 2)
    });
    assert!(queue_names(world.nodes[2].engine.as_ref().unwrap()).is_empty());
}

#[test]
fn without_a_majority_a_declaration_is_refused_in_the_end() {
    let mut world = World::new(6, 3, 3);
    world.until("a cluster", |world| voters(world) == 3);
    let client = world.client(0).unwrap();
    ask(&mut world, 0, client, declare("before", true));
    world.crash(1, false);
    world.crash(2, false);
    let answer = ask(&mut world, 0, client, declare("after", true));
    let ClientEvent::ConnectionClosed { reason, .. } = &answer else { panic!("{answer:?}") };
    let text = "INTERNAL_ERROR - Could not declare queue 'after' in vhost '/' on node 'rabbit@a' because the metadata store \
                operation timed out";
    assert_eq!((reason.reply_code, &*reason.reply_text.to_string_lossy()), (541, text));
    assert!(queue_names(world.nodes[0].engine.as_ref().unwrap()).contains("before"));
}

/// Lives of a few nodes with everything that can happen to them, while clients declare, bind and delete.
#[test]
fn all_nodes_come_to_the_same_whatever_happens() {
    let mut seen = world::Seen::default();
    for seed in 0..seeds(60) {
        let world = live(seed);
        let of = world.seen;
        for (sum, one) in [
            (&mut seen.crashes, of.crashes),
            (&mut seen.wiped, of.wiped),
            (&mut seen.ready, of.ready),
            (&mut seen.links, of.links),
            (&mut seen.downs, of.downs),
        ] {
            *sum += one;
        }
        if seed % 16 == 0 {
            assert_eq!(live(seed).hash, world.hash, "seed {seed} is not the same twice");
        }
    }
    assert!(seen.crashes > 20 && seen.wiped > 3 && seen.links > 200 && seen.downs > 100, "{seen:?}");
}

fn live(seed: u64) -> World {
    let mut rng = Rng(mix(seed ^ 0x5eed));
    let nodes = 1 + usize::try_from(rng.below(5)).unwrap();
    let first = usize::try_from(rng.below(nodes as u64 + 1)).unwrap().max(usize::from(nodes > 1));
    let mut world = World::new(seed, nodes, first);
    world.until("a first agreement", World::is_agreed);
    let mut clients: Vec<(At, ConnectionId, Vec<String>)> = Vec::new();
    let (mut made, mut next) = (BTreeSet::new(), 0);
    for _ in 0..30 {
        for _ in 0..rng.below(400) {
            world.step();
        }
        let at = usize::try_from(rng.below(nodes as u64)).unwrap();
        let other = usize::try_from(rng.below(nodes as u64)).unwrap();
        let pair = (at.min(other), at.max(other));
        match rng.below(24) {
            0 if world.nodes[at].engine.is_some() => world.crash(at, rng.one_in(2)),
            1 if at > 0 && voters(&world) > 2 && world.nodes.iter().all(|node| node.is_ready) => {
                // Of what a majority remembers, one node may forget its part.
                world.cut.clear();
                world.stalled.clear();
                world.crash(at, false);
                world.wipe(at);
                world.start(at);
                world.until("the node that forgot", |world| world.nodes[at].is_ready);
            }
            0..4 if world.nodes[at].engine.is_none() => world.start(at),
            4 if at != other => drop(world.cut.insert(pair)),
            5 if at != other => drop(world.stalled.insert(pair)),
            6 => world.cut.clear(),
            7 => world.stalled.clear(),
            _ => {
                if let Some(client) = world.client(at) {
                    let method = match rng.below(5) {
                        0 | 1 => Method::from(declare(&format!("q{next}"), rng.one_in(2))),
                        2 => Method::from(queue::Declare { exclusive: true, ..declare(&format!("q{next}"), false) }),
                        3 => Method::from(exchange::Declare {
                            exchange: short(&format!("e{next}")),
                            exchange_type: short("topic"),
                            durable: rng.one_in(2),
                            auto_delete: rng.one_in(2),
                            ..exchange::Declare::default()
                        }),
                        _ => Method::from(queue::Bind {
                            queue: short(&format!("q{}", rng.below(next + 1))),
                            exchange: short("amq.direct"),
                            routing_key: short("key"),
                            no_wait: false,
                            arguments: FieldTable::new(),
                        }),
                    };
                    if let Method::QueueDeclare(declare) = &method
                        && declare.durable
                    {
                        clients.push((at, client, Vec::from([format!("q{next}")])));
                    }
                    next += 1;
                    world.send(at, client, method);
                }
            }
        }
        for (at, client, names) in &mut clients {
            let heard = world.events(*at, *client).unwrap_or_default();
            if heard.iter().any(|event| matches!(event, ClientEvent::Method { method: Method::QueueDeclareOk(_), .. }))
            {
                made.extend(names.drain(..));
            }
        }
    }
    world.cut.clear();
    world.stalled.clear();
    for at in 0..nodes {
        if world.nodes[at].engine.is_none() {
            world.start(at);
        }
    }
    world.until("agreement at the end", World::is_agreed);
    for node in &world.nodes {
        let known = queue_names(node.engine.as_ref().unwrap());
        let missing: Vec<_> = made.difference(&known).collect();
        assert!(missing.is_empty(), "seed {seed}: {} does not know {missing:?}", node.name);
    }
    world
}
