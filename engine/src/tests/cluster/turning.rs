//! Classic queues that a policy comes to mirror while they are in use.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::administration;
use super::members::{holders, in_order, one_by_one, own, settle};
use super::mirrored::{ALL, policy, set};
use super::operators::listed;
use super::quorum::{next, publish_confirmed, publisher, replicas};
use super::remote::{CHANNEL, consume, hear, make, publish};
use super::upgrade::{old, upgrade, versions};
use super::world::{At, World};
use super::{ask, declare, queue_names, short, voters};
use crate::alarm::ResourceLevel;
use crate::amqp::FieldValue;
use crate::amqp::method::{Method, basic, queue};
use crate::client::ClientEvent;
use crate::cluster::link::Versions;
use crate::ids::{AdminId, ConnectionId};
use crate::input::Input;
use crate::limits;
use crate::management::{AdminReply, AdminRequest, NodeRequest};
use crate::storage::codec::mix;
use crate::storage::tests::rng::{Rng, seeds};

fn three(seed: u64) -> World {
    let mut world = World::new(seed, 3, 3);
    world.until("a cluster", |world| world.is_agreed() && versions(world) == [Versions::SPOKEN.highest].into());
    world
}

fn bodies(count: u32) -> Vec<String> {
    (0..count).map(|number| format!("{number}")).collect()
}

/// Takes what comes next, without an ack.
fn keep(world: &mut World, at: At, client: ConnectionId) -> (Vec<u8>, u64) {
    match hear(world, at, client, "delivery") {
        ClientEvent::Delivery { body, delivery_tag, .. } => (body.to_vec(), delivery_tag),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_queue_becomes_mirrored_with_what_is_in_it() {
    let mut world = three(201);
    make(&mut world, 0, declare("q", true));
    let client = publisher(&mut world, 2);
    let bodies = bodies(40);
    bodies[..30].iter().for_each(|body| publish_confirmed(&mut world, 2, client, "q", body));
    let members = in_order(&world);
    set(&mut world, 1, ALL);
    settle(&mut world, &members);
    let here = world.nodes[0].engine.as_ref().unwrap().queues().len();
    assert_eq!(here, 0, "nothing is left where it was");
    bodies[30..].iter().for_each(|body| publish_confirmed(&mut world, 2, client, "q", body));
    world.crash(0, true);
    let consumer = one_by_one(&mut world, 1);
    for body in &bodies {
        assert_eq!(next(&mut world, 1, consumer), (body.clone().into_bytes(), false));
    }
}

/// The consumers are one at the queue's node and one elsewhere, and neither hears of it.
#[test]
fn consumers_go_on_and_what_those_of_its_node_have_comes_again() {
    for seed in 211..215 {
        let mut world = three(seed);
        make(&mut world, 0, declare("q", true));
        let client = publisher(&mut world, 1);
        for body in bodies(6) {
            publish_confirmed(&mut world, 1, client, "q", &body);
        }
        let at = if seed % 2 == 0 { 0 } else { 2 };
        let consumer = one_by_one(&mut world, at);
        let (body, tag) = keep(&mut world, at, consumer);
        assert_eq!(body, b"0");
        let members = in_order(&world);
        set(&mut world, 1, ALL);
        if at == 0 {
            // The same once more, and of the first one the ack is late.
            let event = hear(&mut world, at, consumer, "delivery");
            let ClientEvent::Delivery { body, redelivered, delivery_tag, .. } = event else { panic!("{event:?}") };
            assert_eq!((&body[..], redelivered), (&b"0"[..], true), "seed {seed}");
            world.with_client(at, consumer, |client| client.ack(CHANNEL, tag, false).unwrap());
            world.with_client(at, consumer, |client| client.ack(CHANNEL, delivery_tag, false).unwrap());
        } else {
            settle(&mut world, &members);
            world.with_client(at, consumer, |client| client.ack(CHANNEL, tag, false).unwrap());
        }
        publish_confirmed(&mut world, 1, client, "q", "6");
        for number in 1..7 {
            assert_eq!(next(&mut world, at, consumer), (format!("{number}").into_bytes(), false), "seed {seed}");
        }
        settle(&mut world, &members);
        world
            .until("nothing", |world| (0..3).all(|at| replicas(world, at).iter().all(|it| it.ready + it.unacked == 0)));
        assert_eq!(listed(&mut world, 1)[0].consumers, 1);
    }
}

/// One who asked for a message before he became a consumer, in a queue that is as full as it may be.
#[test]
fn what_others_have_is_theirs_in_whatever_order_they_came() {
    for seed in 251..255 {
        let mut world = three(seed);
        let mut full = declare("q", true);
        full.arguments.push(short("x-max-length"), FieldValue::I32(3));
        make(&mut world, 0, full);
        let client = publisher(&mut world, 1);
        for body in bodies(3) {
            publish_confirmed(&mut world, 1, client, "q", &body);
        }
        let taker = world.client(2).unwrap();
        let answer = ask(&mut world, 2, taker, basic::Get { queue: short("q"), no_ack: false });
        let ClientEvent::GetOk { delivery_tag, .. } = answer else { panic!("{answer:?}") };
        ask(&mut world, 2, taker, basic::Qos { prefetch_count: 2, ..basic::Qos::default() });
        world.send(2, taker, basic::Consume { no_wait: true, ..consume("q", "c") });
        let mut tags = vec![delivery_tag];
        while tags.len() < 3 {
            for event in world.events(2, taker).unwrap() {
                let ClientEvent::Delivery { delivery_tag, .. } = event else { panic!("seed {seed}: {event:?}") };
                tags.push(delivery_tag);
            }
            world.step();
        }
        for body in ["3", "4", "5"] {
            publish_confirmed(&mut world, 1, client, "q", body);
        }
        let members = in_order(&world);
        set(&mut world, 1, ALL);
        settle(&mut world, &members);
        let has = |world: &World, ready: u64, unacked: u64| {
            (0..3).all(|at| replicas(world, at).iter().all(|it| (it.ready, it.unacked) == (ready, unacked)))
        };
        world.until("what was there", |world| has(world, 3, 3));
        tags.iter().for_each(|tag| world.with_client(2, taker, |client| client.ack(CHANNEL, *tag, false).unwrap()));
        world.until("two more given", |world| has(world, 1, 2));
    }
}

#[test]
fn publishers_do_not_notice_it() {
    for seed in 221..225 {
        let mut world = three(seed);
        make(&mut world, 0, declare("q", true));
        let clients: Vec<(At, ConnectionId)> = (0..3).map(|at| (at, publisher(&mut world, at))).collect();
        let request = alloc::boxed::Box::new(policy(ALL).into());
        world.input(1, Input::Admin { id: AdminId(7), request });
        let mut waiting = BTreeSet::new();
        for round in 0..60 {
            for (at, client) in &clients {
                waiting.extend(
                    publish(&mut world, *at, *client, "q", &format!("{at}.{round:02}")).map(|seqno| (*at, seqno)),
                );
            }
            for _ in 0..20 {
                world.step();
            }
        }
        for (at, client) in &clients {
            while waiting.iter().any(|(other, _)| other == at) {
                for event in world.events(*at, *client).expect("it is connected") {
                    let ClientEvent::Acked { seqno, multiple, .. } = event else { panic!("seed {seed}: {event:?}") };
                    waiting.retain(|(other, number)| other != at || *number > seqno || (!multiple && *number != seqno));
                }
                world.step();
            }
        }
        let members = in_order(&world);
        settle(&mut world, &members);
        let consumer = one_by_one(&mut world, 2);
        let mut came: Vec<Vec<String>> = vec![Vec::new(); 3];
        for _ in 0..180 {
            let (body, _) = next(&mut world, 2, consumer);
            let body = String::from_utf8(body).unwrap();
            came[usize::from(body.as_bytes()[0] - b'0')].push(body);
        }
        for (at, came) in came.iter().enumerate() {
            assert!(
                came.iter().eq(&(0..60).map(|round| format!("{at}.{round:02}")).collect::<Vec<_>>()),
                "{seed}: {came:?}"
            );
        }
        assert!(holders(&world).len() == 3);
    }
}

/// The node of the queue stops at any moment, by itself or with its power.
#[test]
fn whenever_its_node_stops_a_queue_has_all_that_it_confirmed() {
    for seed in 0..seeds(40) {
        let mut rng = Rng(mix(seed ^ 77));
        let mut world = three(seed);
        make(&mut world, 0, declare("q", true));
        let client = publisher(&mut world, At::try_from(rng.below(3)).unwrap());
        let at = (0..3).find(|at| world.has_client(*at, client)).unwrap();
        let bodies = bodies(30);
        bodies.iter().for_each(|body| publish_confirmed(&mut world, at, client, "q", body));
        let consumer = world.client(2).unwrap();
        ask(&mut world, 2, consumer, basic::Qos { prefetch_count: 3, ..basic::Qos::default() });
        world.send(2, consumer, basic::Consume { no_wait: true, ..consume("q", "c") });
        (0..rng.below(100)).for_each(|_| world.step());
        let members = in_order(&world);
        let request = alloc::boxed::Box::new(policy(ALL).into());
        world.input(1, Input::Admin { id: AdminId(7), request });
        for _ in 0..rng.below(4) + 1 {
            for _ in 0..rng.below(120) {
                world.step();
            }
            world.crash(0, rng.below(2) == 0);
            for _ in 0..rng.below(200) {
                world.step();
            }
            world.start(0);
            if rng.below(2) == 0 {
                world.until("the node", |world| world.nodes[0].is_ready);
            }
        }
        world.hang_up(2, consumer);
        world.until("the node", |world| world.nodes[0].is_ready);
        settle(&mut world, &members);
        let is_back = |world: &World| (0..3).all(|at| replicas(world, at).iter().all(|it| it.unacked == 0));
        world.until("what the consumer had", is_back);
        let consumer = one_by_one(&mut world, 1);
        for body in &bodies {
            assert_eq!(next(&mut world, 1, consumer).0, body.clone().into_bytes(), "seed {seed}");
        }
        let nothing_left =
            |world: &World| (0..3).all(|at| replicas(world, at).iter().all(|it| it.ready + it.unacked == 0));
        world.until("nothing", nothing_left);
    }
}

/// The node stops with publishes under way, and comes back as one that the publisher's cannot reach until the queue has replicas. These
/// know nothing of the publishes.
#[test]
fn who_published_to_a_former_life_of_its_node_hears_what_became_of_it() {
    let mut heard = 0;
    for seed in 241..249 {
        let mut world = three(seed);
        world.until("all with a vote", |world| voters(world) == 3);
        make(&mut world, 0, declare("q", true));
        let client = publisher(&mut world, 2);
        if seed % 2 == 0 {
            publish_confirmed(&mut world, 2, client, "q", "before");
        }
        world.crash(0, false);
        let under_way = |number| publish(&mut world, 2, client, "q", &format!("{number}")).unwrap();
        let mut waiting: BTreeSet<u64> = (0..3).map(under_way).collect();
        while administration::ask(&mut world, 1, policy(ALL)).is_err() {}
        let leader = world.nodes[1].engine.as_ref().unwrap().broker.peers.as_ref().unwrap().cluster().leader().0;
        // Who cannot reach the cluster's leader does not come back.
        if leader != Some(own(&world, 1)) {
            continue;
        }
        heard += 1;
        world.start(0);
        let is_known = |world: &World| {
            let engine = world.nodes[2].engine.as_ref().unwrap();
            engine.broker.metadata.queues().iter().all(|(_, record)| record.is_replicated())
        };
        let mut steps = 0;
        while !is_known(&world) {
            if steps % 6 == 0 {
                world.sever(0, 2);
            }
            world.step();
            steps += 1;
            assert!(steps < 200_000, "seed {seed}: it gets no replicas");
        }
        for _ in 0..400_000 {
            for event in world.events(2, client).expect("it is connected") {
                let (ClientEvent::Acked { seqno, multiple, .. } | ClientEvent::Nacked { seqno, multiple, .. }) = event
                else {
                    panic!("seed {seed}: {event:?}")
                };
                assert!(waiting.contains(&seqno), "seed {seed}: {seqno} was answered before");
                waiting.retain(|number| if multiple { *number > seqno } else { *number != seqno });
            }
            if waiting.is_empty() {
                break;
            }
            world.step();
        }
        assert!(waiting.is_empty(), "seed {seed}: no answer to {waiting:?}");
        let members = in_order(&world);
        settle(&mut world, &members);
        publish_confirmed(&mut world, 2, client, "q", "after");
    }
    assert!(heard > 1, "it was hardly tried");
}

/// Of such queues one would go at once that has no consumer for a moment.
#[test]
fn a_queue_that_goes_with_its_last_consumer_stays_on_its_node() {
    let mut world = three(261);
    make(&mut world, 0, queue::Declare { auto_delete: true, ..declare("q", true) });
    let consumer = one_by_one(&mut world, 2);
    let client = publisher(&mut world, 1);
    set(&mut world, 1, ALL);
    publish_confirmed(&mut world, 1, client, "q", "after");
    assert_eq!(next(&mut world, 2, consumer), (b"after".to_vec(), false));
    assert!(holders(&world).is_empty());
    world.hang_up(2, consumer);
    world.until("the queue to go", |world| {
        world.nodes.iter().all(|node| queue_names(node.engine.as_ref().unwrap()).is_empty())
    });
}

/// At any moment, by clients of nodes that have nothing else to do with it.
#[test]
fn who_asks_about_a_queue_that_becomes_mirrored_is_answered() {
    for seed in 271..291 {
        let mut world = three(seed);
        make(&mut world, 0, declare("q", true));
        let client = publisher(&mut world, 1);
        for body in bodies(5) {
            publish_confirmed(&mut world, 1, client, "q", &body);
        }
        let asking = world.client(2).unwrap();
        let mut rng = Rng(mix(seed));
        let members = in_order(&world);
        let request = alloc::boxed::Box::new(policy(ALL).into());
        world.input(1, Input::Admin { id: AdminId(7), request });
        (0..rng.below(120)).for_each(|_| world.step());
        let answer = ask(&mut world, 2, asking, queue::Declare { passive: true, ..declare("q", true) });
        let ClientEvent::Method { method: Method::QueueDeclareOk(ok), .. } = &answer else {
            panic!("seed {seed}: {answer:?}")
        };
        assert_eq!(ok.message_count, 5, "seed {seed}");
        let answer = ask(&mut world, 2, asking, queue::Purge { queue: short("q"), ..queue::Purge::default() });
        let ClientEvent::Method { method: Method::QueuePurgeOk(ok), .. } = &answer else {
            panic!("seed {seed}: {answer:?}")
        };
        assert_eq!(ok.message_count, 5, "seed {seed}");
        settle(&mut world, &members);
    }
}

/// More than a queue with replicas gives to one consumer at a time (RabbitMQ docs: Quorum Queues / Consumer Prefetch).
#[test]
fn a_consumer_that_has_more_than_it_would_be_given_goes_on() {
    let most = limits::QUORUM_PREFETCH_MAX;
    let mut world = three(292);
    make(&mut world, 0, declare("q", true));
    let client = publisher(&mut world, 0);
    let count = most + 50;
    bodies(count).iter().for_each(|body| assert!(publish(&mut world, 0, client, "q", body).is_some()));
    let taker = world.client(2).unwrap();
    world.send(2, taker, basic::Consume { no_wait: true, ..consume("q", "c") });
    let mut last = 0;
    while last < u64::from(count) {
        world.step();
        for event in world.events(2, taker).unwrap() {
            if let ClientEvent::Delivery { delivery_tag, .. } = event {
                last = delivery_tag;
            }
        }
    }
    let members = in_order(&world);
    set(&mut world, 1, ALL);
    settle(&mut world, &members);
    let client = publisher(&mut world, 0);
    publish_confirmed(&mut world, 0, client, "q", "one more");
    let has = |world: &World, ready: u64, unacked: u64| {
        (0..3).all(|at| replicas(world, at).iter().all(|it| (it.ready, it.unacked) == (ready, unacked)))
    };
    world.until("what it has", |world| has(world, 1, u64::from(count)));
    world.with_client(2, taker, |client| client.ack(CHANNEL, last, true).unwrap());
    let (body, tag) = keep(&mut world, 2, taker);
    assert_eq!((&body[..], tag), (&b"one more"[..], last + 1));
    world.with_client(2, taker, |client| client.ack(CHANNEL, tag, false).unwrap());
    world.until("nothing", |world| has(world, 0, 0));
}

#[test]
fn a_queue_stays_on_its_node_while_that_is_short_of_something() {
    let mut world = three(293);
    make(&mut world, 0, declare("q", true));
    let limit = AdminRequest::Node(NodeRequest::SetMemoryHighWatermark(Some(1000)));
    assert_eq!(administration::ask(&mut world, 0, limit), Ok(AdminReply::Done));
    let uses = |world: &mut World, memory_bytes| {
        world.input(0, Input::ResourceLevel(ResourceLevel { memory_bytes, disk_free_bytes: u64::MAX }));
        world.flush(0);
    };
    uses(&mut world, 1001);
    set(&mut world, 1, ALL);
    (0..5_000).for_each(|_| world.step());
    assert!(holders(&world).is_empty());
    uses(&mut world, 1000);
    let members = in_order(&world);
    settle(&mut world, &members);
}

#[test]
fn a_queue_becomes_mirrored_once_all_nodes_know_how() {
    let mut world = old(231, 3, 3);
    world.until("a cluster", |world| world.is_agreed() && voters(world) == 3);
    make(&mut world, 0, declare("q", true));
    let client = publisher(&mut world, 0);
    publish_confirmed(&mut world, 0, client, "q", "before");
    set(&mut world, 1, ALL);
    assert!(holders(&world).is_empty());
    (0..3).for_each(|at| upgrade(&mut world, at));
    let members = in_order(&world);
    settle(&mut world, &members);
    let consumer = one_by_one(&mut world, 2);
    assert_eq!(next(&mut world, 2, consumer).0, b"before");
}
