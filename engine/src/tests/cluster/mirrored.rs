//! Classic queues that a policy mirrors.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::members::{holders, in_order, nodes, own, settle};
use super::operators::listed;
use super::quorum::{check_power_loss_of_all, leader, next, publish_confirmed, publisher, replicas};
use super::remote::{CHANNEL, consume, hear, held, make, publish};
use super::upgrade::{old, upgrade, versions};
use super::world::{At, World, name};
use super::{administration, ask, declare, short, voters};
use crate::amqp::method::{basic, confirm, queue};
use crate::amqp::{FieldValue, Method};
use crate::client::ClientEvent;
use crate::cluster::link::Versions;
use crate::engine::Engine;
use crate::ids::ConnectionId;
use crate::input::Input;
use crate::management::{AdminReply, ClusterRequest, PolicyInfo, PolicyRequest, ReplicaRequest};
use crate::metadata::PolicyKind;

pub(super) fn policy(definition: &str) -> PolicyRequest {
    let policy = PolicyInfo {
        vhost: "/".into(),
        name: "ha".into(),
        pattern: "^q".into(),
        apply_to: "classic_queues".into(),
        definition: serde_json::from_str(definition).unwrap(),
        priority: 0,
    };
    PolicyRequest::Set { kind: PolicyKind::User, policy }
}

pub(super) fn set(world: &mut World, at: At, definition: &str) {
    assert_eq!(administration::ask(world, at, policy(definition)), Ok(AdminReply::Done), "{definition}");
}

fn clear(world: &mut World, at: At) {
    let request = PolicyRequest::Clear { kind: PolicyKind::User, vhost: "/".into(), name: "ha".into() };
    assert_eq!(administration::ask(world, at, request), Ok(AdminReply::Done));
}

fn exactly(count: u32) -> String {
    format!(r#"{{"ha-mode":"exactly","ha-params":{count}}}"#)
}

fn on_nodes(names: &[At]) -> String {
    let names: Vec<String> = names.iter().map(|at| format!("\"{}\"", name(*at))).collect();
    format!(r#"{{"ha-mode":"nodes","ha-params":[{}]}}"#, names.join(","))
}

pub(super) const ALL: &str = r#"{"ha-mode":"all"}"#;

fn three() -> World {
    let mut world = World::new(81, 3, 3);
    world.until("a cluster", |world| world.is_agreed() && versions(world) == [Versions::SPOKEN.highest].into());
    set(&mut world, 0, ALL);
    world
}

fn with(declare: queue::Declare, arguments: &[(&str, FieldValue)]) -> queue::Declare {
    let mut declare = declare;
    arguments.iter().for_each(|(key, value)| declare.arguments.push(short(key), value.clone()));
    declare
}

fn is_gone(world: &World) -> bool {
    (0..3).all(|at| world.nodes[at].engine.as_ref().unwrap().declared_queues().next().is_none())
}

#[test]
fn a_mirrored_queue_serves_all_nodes_while_its_leader_is_killed_again_and_again() {
    let mut world = three();
    make(&mut world, 1, declare("q", true));
    let members = in_order(&world);
    for round in 0..4 {
        settle(&mut world, &members);
        let leader = leader(&mut world);
        let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
        let client = publisher(&mut world, one);
        let consumer = world.client(other).unwrap();
        ask(&mut world, other, consumer, consume("q", "c"));
        publish_confirmed(&mut world, one, client, "q", "before");
        assert_eq!(next(&mut world, other, consumer), (b"before".to_vec(), false));
        world.crash(leader, round % 2 == 0);
        publish_confirmed(&mut world, one, client, "q", "after");
        assert_eq!(next(&mut world, other, consumer), (b"after".to_vec(), false));
        world.start(leader);
        world.until("the node", |world| world.nodes[leader].is_ready);
        world.with_client(one, client, |client| client.close_channel(CHANNEL).unwrap());
        world.with_client(other, consumer, |client| client.close_channel(CHANNEL).unwrap());
    }
    let info = &listed(&mut world, 0)[0];
    assert_eq!((info.kind, info.members.len(), info.online.len()), ("classic", 3, 3));
    assert!(info.leader.is_some());
}

#[test]
fn what_a_mirrored_queue_confirmed_survives_that_all_nodes_lose_power_at_once() {
    let mut world = three();
    make(&mut world, 0, declare("q", true));
    check_power_loss_of_all(&mut world, 10);
}

/// RabbitMQ docs: Classic Queue Mirroring: queues of one connection are not mirrored; neither are those here that do not survive a restart.
#[test]
fn queues_of_one_connection_and_transient_ones_are_on_one_node() {
    let mut world = three();
    let client = world.client(1).unwrap();
    ask(&mut world, 1, client, queue::Declare { exclusive: true, ..declare("q1", true) });
    ask(&mut world, 1, client, declare("q2", false));
    ask(&mut world, 1, client, declare("other", true));
    ask(&mut world, 1, client, with(declare("q3", true), &[("x-message-deduplication", FieldValue::Bool(true))]));
    ask(&mut world, 1, client, declare("q", true));
    world.until("the members", |world| holders(world).len() == 3);
    assert!((0..3).all(|at| replicas(&world, at).iter().map(|it| it.name.as_str()).eq(["q"])));
}

#[test]
fn members_follow_the_policy() {
    let mut world = nodes(82, 4);
    world.until("the version", |world| versions(world) == [Versions::SPOKEN.highest].into());
    let [a, b, c, d] = in_order(&world)[..] else { panic!("there are four") };
    set(&mut world, 0, &exactly(2));
    make(&mut world, 0, declare("q", true));
    settle(&mut world, &[a, b]);
    let client = publisher(&mut world, 3);
    for number in 0..20 {
        publish_confirmed(&mut world, 3, client, "q", &format!("{number}"));
    }
    set(&mut world, 2, ALL);
    settle(&mut world, &[a, b, c, d]);
    set(&mut world, 1, &on_nodes(&[c, d]));
    settle(&mut world, &[c, d]);
    // No other node is of that name, so it stays where it is.
    set(&mut world, 1, r#"{"ha-mode":"nodes","ha-params":["rabbit@nowhere"]}"#);
    settle(&mut world, &[c, d]);
    set(&mut world, 1, &exactly(3));
    world.until("three", |world| holders(world).len() == 3);
    clear(&mut world, 0);
    world.until("one", |world| holders(world).len() == 1);
    let last = holders(&world).into_iter().next().unwrap();
    let consumer = super::members::one_by_one(&mut world, (last + 1) % 4);
    for number in 0..20 {
        assert_eq!(next(&mut world, (last + 1) % 4, consumer).0, format!("{number}").into_bytes());
    }
}

#[test]
fn for_a_forgotten_node_another_one_comes() {
    let mut world = nodes(83, 4);
    world.until("the version", |world| versions(world) == [Versions::SPOKEN.highest].into());
    let [a, b, c, d] = in_order(&world)[..] else { panic!("there are four") };
    set(&mut world, 0, &exactly(3));
    make(&mut world, 0, declare("q", true));
    settle(&mut world, &[a, b, c]);
    world.crash(c, true);
    world.until("the others to see it", |world| {
        let cluster = world.nodes[a].engine.as_ref().unwrap().broker.peers.as_ref().unwrap().cluster();
        cluster.nodes().filter(|(id, _)| cluster.is_linked(*id)).count() == 2
    });
    assert_eq!(administration::ask(&mut world, a, ClusterRequest::Forget(name(c))), Ok(AdminReply::Done));
    settle(&mut world, &[a, b, d]);
}

#[test]
fn a_queue_on_all_nodes_grows_with_the_cluster() {
    let mut world = World::new(84, 3, 2);
    world.crash(2, false);
    let is_two = |world: &World| world.nodes[..2].iter().all(|node| node.is_ready) && voters(world) == 2;
    world.until("a cluster of two", is_two);
    world.until("the version", |world| versions(world) == [Versions::SPOKEN.highest].into());
    set(&mut world, 0, ALL);
    let client = world.client(0).unwrap();
    ask(&mut world, 0, client, declare("q", true));
    settle(&mut world, &[0, 1]);
    world.start(2);
    world.until("the third", |world| world.nodes[2].is_ready);
    settle(&mut world, &[0, 1, 2]);
}

/// Operators look at this before they stop the node of its leader.
#[test]
fn who_has_no_vote_yet_is_not_synchronised() {
    let mut world = three();
    set(&mut world, 0, &exactly(2));
    make(&mut world, 0, declare("q", true));
    world.until("two", |world| holders(world).len() == 2);
    set(&mut world, 0, ALL);
    for at in 0..3 {
        let mut seen = BTreeSet::new();
        while !seen.contains(&(3, 3)) {
            let queue = listed(&mut world, at).remove(0);
            assert_eq!(queue.online, queue.members);
            seen.insert((queue.members.len(), queue.synchronised.len()));
            world.step();
        }
        assert!(at > 0 || seen.contains(&(3, 2)), "{seen:?}");
    }
}

/// As after an import of definitions, whose commands go out in one breath.
#[test]
fn a_queue_may_be_declared_in_one_breath_with_its_policy() {
    let mut world = World::new(85, 3, 3);
    world.until("a cluster", |world| world.is_agreed() && versions(world) == [Versions::SPOKEN.highest].into());
    let client = world.client(1).unwrap();
    let request = alloc::boxed::Box::new(policy(ALL).into());
    world.input(1, Input::Admin { id: crate::ids::AdminId(7), request });
    world.send(1, client, declare("q", true));
    world.until("the members", |world| holders(world).len() == 3);
}

#[test]
fn a_queue_that_drops_duplicates_stays_where_it_is() {
    let mut world = World::new(86, 3, 3);
    world.until("a cluster", |world| world.is_agreed() && versions(world) == [Versions::SPOKEN.highest].into());
    make(&mut world, 0, with(declare("q", true), &[("x-message-deduplication", FieldValue::Bool(true))]));
    set(&mut world, 1, ALL);
    let client = publisher(&mut world, 2);
    publish_confirmed(&mut world, 2, client, "q", "here");
    assert!(holders(&world).is_empty());
    assert_eq!(held(world.nodes[0].engine.as_ref().unwrap()), 1);
}

#[test]
fn an_exclusive_consumer_of_a_mirrored_queue_keeps_others_away_whatever_their_node() {
    let mut world = three();
    make(&mut world, 0, declare("q", true));
    let first = world.client(1).unwrap();
    ask(&mut world, 1, first, basic::Consume { exclusive: true, ..consume("q", "first") });
    for at in 0..3 {
        let other = world.client(at).unwrap();
        let answer = ask(&mut world, at, other, consume("q", "other"));
        let ClientEvent::ChannelClosed { reason, .. } = &answer else { panic!("{answer:?}") };
        let text = "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use";
        assert_eq!((reason.reply_code, &*reason.reply_text.to_string_lossy()), (403, text));
    }
    ask(&mut world, 1, first, basic::Cancel { consumer_tag: short("first"), no_wait: false });
    let other = world.client(2).unwrap();
    let answer = ask(&mut world, 2, other, consume("q", "other"));
    assert!(matches!(answer, ClientEvent::Method { method: Method::BasicConsumeOk(_), .. }), "{answer:?}");
}

#[test]
fn a_mirrored_queue_may_go_with_its_last_consumer() {
    let mut world = three();
    make(&mut world, 0, queue::Declare { auto_delete: true, ..declare("q", true) });
    let clients: Vec<(At, ConnectionId)> = [1, 2].map(|at| (at, world.client(at).unwrap())).into();
    for &(at, client) in &clients {
        ask(&mut world, at, client, consume("q", "c"));
    }
    ask(&mut world, 1, clients[0].1, basic::Cancel { consumer_tag: short("c"), no_wait: false });
    let knows = |engine: &Engine| engine.declared_queues().next().is_some();
    assert!((0..3).all(|at| knows(world.nodes[at].engine.as_ref().unwrap())));
    world.with_client(2, clients[1].1, |client| client.close_channel(CHANNEL).unwrap());
    world.until("its end", is_gone);
}

#[test]
fn what_a_full_mirrored_queue_refuses_is_dead_lettered_if_wanted() {
    let mut world = three();
    let arguments = [
        ("x-max-length", FieldValue::I32(2)),
        ("x-overflow", FieldValue::LongStr("reject-publish-dlx".into())),
        ("x-dead-letter-exchange", FieldValue::LongStr("".into())),
        ("x-dead-letter-routing-key", FieldValue::LongStr("graves".into())),
    ];
    make(&mut world, 0, with(declare("q", true), &arguments));
    make(&mut world, 0, declare("graves", true));
    let client = publisher(&mut world, 1);
    for body in ["one", "two"] {
        publish_confirmed(&mut world, 1, client, "q", body);
    }
    publish(&mut world, 1, client, "q", "three");
    let event = hear(&mut world, 1, client, "refusal");
    assert!(matches!(event, ClientEvent::Nacked { seqno: 3, .. }), "{event:?}");
    let consumer = world.client(2).unwrap();
    ask(&mut world, 2, consumer, basic::Qos { prefetch_count: 1, ..basic::Qos::default() });
    world.send(2, consumer, basic::Consume { no_wait: true, ..consume("graves", "c") });
    assert_eq!(next(&mut world, 2, consumer), (b"three".to_vec(), false));
    ask(&mut world, 2, consumer, queue::Purge { queue: short("q"), no_wait: false });
    publish_confirmed(&mut world, 1, client, "q", "four");
}

/// RabbitMQ docs: Priority Queue Support: what comes back takes the place that it had.
#[test]
fn a_mirrored_queue_heeds_priorities_and_gives_back_in_order() {
    let mut world = three();
    make(&mut world, 0, with(declare("q", true), &[("x-max-priority", FieldValue::I32(5))]));
    let client = publisher(&mut world, 1);
    for body in ["one", "two", "three"] {
        publish_confirmed(&mut world, 1, client, "q", body);
    }
    let get = |world: &mut World, at: At, client: ConnectionId| {
        let answer = ask(world, at, client, basic::Get { queue: short("q"), no_ack: false });
        let ClientEvent::GetOk { body, redelivered, delivery_tag, properties, .. } = answer else {
            panic!("{answer:?}")
        };
        let headers = format!("{properties:?}");
        assert!(!headers.contains("x-delivery-count"), "{headers}");
        (String::from_utf8(body.to_vec()).unwrap(), redelivered, delivery_tag)
    };
    let consumer = world.client(2).unwrap();
    let (_, _, first) = get(&mut world, 2, consumer);
    let (_, _, second) = get(&mut world, 2, consumer);
    for delivery_tag in [second, first] {
        world.send(2, consumer, basic::Reject { delivery_tag, requeue: true });
    }
    for expected in [("one", true), ("two", true), ("three", false)] {
        let (body, redelivered, _) = get(&mut world, 2, consumer);
        assert_eq!((body.as_str(), redelivered), expected);
    }
}

#[test]
fn how_many_replicas_a_mirrored_queue_has_is_not_for_rabbitmq_queues_to_say() {
    let mut world = nodes(87, 4);
    world.until("the version", |world| versions(world) == [Versions::SPOKEN.highest].into());
    set(&mut world, 0, &exactly(2));
    make(&mut world, 0, declare("q", true));
    let [a, b, c, _] = in_order(&world)[..] else { panic!("there are four") };
    settle(&mut world, &[a, b]);
    let add = ReplicaRequest::Add { queue: super::members::named("q"), node: name(c) };
    let refused = administration::ask(&mut world, 0, add).unwrap_err();
    assert_eq!(refused.text, "Cannot add members to a classic queue");
    let grow = ReplicaRequest::Grow { node: name(c), only_even: false, queues: Default::default() };
    assert_eq!(super::members::changes(&mut world, 0, grow), vec![]);
    assert_eq!(super::members::changes(&mut world, 0, ReplicaRequest::Shrink { node: name(b) }), vec![]);
    assert_ne!(own(&world, a), own(&world, b));
}

#[test]
fn while_there_are_older_nodes_queues_are_declared_on_one() {
    let mut world = old(88, 3, 3);
    world.until("a cluster", |world| world.is_agreed() && voters(world) == 3);
    set(&mut world, 0, ALL);
    make(&mut world, 0, declare("q1", true));
    assert!(holders(&world).is_empty());
    (0..3).for_each(|at| upgrade(&mut world, at));
    world.until("the newer version", |world| versions(world) == [Versions::SPOKEN.highest].into());
    make(&mut world, 0, declare("q2", true));
    world.until("the members", |world| holders(world).len() == 3);
    let client = world.client(0).unwrap();
    ask(&mut world, 0, client, confirm::Select { no_wait: false });
    publish_confirmed(&mut world, 0, client, "q1", "as before");
}
