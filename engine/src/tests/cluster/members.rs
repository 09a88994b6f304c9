//! Members of quorum queues that come and go.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::quorum::{next, publish_confirmed, publisher, quorum, replicas};
use super::remote::{CHANNEL, consume, make, publish};
use super::world::{At, World, name};
use super::{administration, ask, declare, short, voters};
use crate::amqp::FieldValue;
use crate::amqp::method::{basic, confirm};
use crate::client::ClientEvent;
use crate::cluster::consensus::{Members, Status};
use crate::ids::{AdminId, ConnectionId, NodeId};
use crate::input::Input;
use crate::limits;
use crate::management::{
    AdminError, AdminReply, ClusterRequest, MemberStatus, PolicyInfo, PolicyRequest, QueueName, QueuePatterns,
    ReplicaChange, ReplicaRequest,
};
use crate::metadata::PolicyKind;
use crate::storage::codec::mix;
use crate::storage::tests::rng::{Rng, seeds};

pub(super) fn named(queue: &str) -> QueueName {
    QueueName { vhost: short("/"), name: short(queue) }
}

fn add(queue: &str, node: At) -> ReplicaRequest {
    ReplicaRequest::Add { queue: named(queue), node: name(node) }
}

fn remove(queue: &str, node: At) -> ReplicaRequest {
    ReplicaRequest::Remove { queue: named(queue), node: name(node) }
}

fn done(world: &mut World, at: At, request: ReplicaRequest) {
    let what = format!("{request:?}");
    assert_eq!(administration::ask(world, at, request), Ok(AdminReply::Done), "{what}");
}

pub(super) fn changes(world: &mut World, at: At, request: ReplicaRequest) -> Vec<ReplicaChange> {
    match administration::ask(world, at, request) {
        Ok(AdminReply::ReplicaChanges(changes)) => changes,
        other => panic!("{other:?}"),
    }
}

fn status(world: &mut World, at: At, queue: &str) -> Vec<MemberStatus> {
    match administration::ask(world, at, ReplicaRequest::Status(named(queue))) {
        Ok(AdminReply::Members(members)) => members,
        other => panic!("{other:?}"),
    }
}

/// Nodes with a replica of the only queue there is.
pub(super) fn holders(world: &World) -> BTreeSet<At> {
    (0..world.nodes.len()).filter(|at| !replicas(world, *at).is_empty()).collect()
}

/// The group of the only queue there is, as one of its members sees it.
fn status_of(world: &World, at: At) -> Option<Status> {
    let queue = replicas(world, at).first()?.queue;
    let peers = world.nodes[at].engine.as_ref()?.broker.peers.as_ref()?;
    peers.cluster().replica_status(queue)
}

fn members(world: &World, at: At) -> Option<Members> {
    Some(status_of(world, at)?.members)
}

/// So many nodes, all of which are one broker and have a vote in it.
pub(super) fn nodes(seed: u64, count: usize) -> World {
    let mut world = World::new(seed, count, count);
    world.until("a cluster", |world| world.is_agreed() && voters(world) == count);
    world
}

pub(super) fn own(world: &World, at: At) -> NodeId {
    world.nodes[at].engine.as_ref().expect("the node runs").broker.metadata.own()
}

/// All nodes, in the order in which they get replicas of the first queue that the first node declares.
pub(super) fn in_order(world: &World) -> Vec<At> {
    let mut order: Vec<At> = (0..world.nodes.len()).collect();
    order[1..].sort_by_key(|at| own(world, *at));
    order
}

/// Waits until these are the members, all with a vote, and have the same.
pub(super) fn settle(world: &mut World, expected: &[At]) {
    let wanted = Members::new(expected.iter().map(|at| own(world, *at)).collect(), vec![]);
    let is_so = |world: &World| {
        let applied = |at: &At| replicas(world, *at).first().map(|replica| replica.applied);
        holders(world) == expected.iter().copied().collect()
            && expected.iter().all(|at| members(world, *at) == wanted && applied(at) == applied(&expected[0]))
    };
    for _ in 0..400_000 {
        if is_so(world) {
            return;
        }
        world.step();
    }
    let of = |at| (replicas(world, at), status_of(world, at));
    panic!("{wanted:?} do not come: {:#?}", (0..world.nodes.len()).map(of).collect::<Vec<_>>());
}

/// RabbitMQ docs: Quorum Queues / Continuous Membership Reconciliation.
#[test]
fn a_quorum_queue_gets_as_many_members_as_it_is_to_have() {
    let mut world = nodes(47, 5);
    make(&mut world, 0, quorum("q", &[]));
    let order = in_order(&world);
    let client = publisher(&mut world, 4);
    publish_confirmed(&mut world, 4, client, "q", "before");
    let target = |world: &mut World, size: u32| {
        let policy = PolicyInfo {
            vhost: "/".into(),
            name: "size".into(),
            pattern: "^q".into(),
            apply_to: "quorum_queues".into(),
            definition: serde_json::from_str(&format!(r#"{{"target-group-size":{size}}}"#)).unwrap(),
            priority: 0,
        };
        let request = PolicyRequest::Set { kind: PolicyKind::User, policy };
        assert_eq!(administration::ask(world, 1, request), Ok(AdminReply::Done));
        (0..3_000).for_each(|_| world.step());
    };
    // Nobody sees to it unless the configuration says so.
    target(&mut world, 5);
    settle(&mut world, &order[..3]);
    target(&mut world, 3);
    for node in &mut world.nodes {
        node.engine.as_mut().unwrap().broker.config.quorum_reconciliation = true;
    }
    target(&mut world, 4);
    settle(&mut world, &order[..4]);
    // Who is out of reach comes when it is there.
    world.crash(order[4], false);
    target(&mut world, 9);
    settle(&mut world, &order[..4]);
    world.start(order[4]);
    world.until("the fifth", |world| world.nodes[order[4]].is_ready);
    settle(&mut world, &order);
    target(&mut world, 2);
    settle(&mut world, &order);
    let consumer = one_by_one(&mut world, 3);
    assert_eq!(next(&mut world, 3, consumer).0, b"before");
}

#[test]
fn a_quorum_queue_may_say_itself_how_many_members_it_is_to_have() {
    let mut world = nodes(48, 5);
    for node in &mut world.nodes {
        let config = &mut node.engine.as_mut().unwrap().broker.config;
        (config.quorum_reconciliation, config.quorum_target_group_size) = (true, Some(3));
    }
    let order = in_order(&world);
    make(&mut world, 0, quorum("q", &[("x-quorum-target-group-size", 4.into())]));
    settle(&mut world, &order[..4]);
    let client = world.client(1).unwrap();
    let wrong = quorum("r", &[("x-quorum-target-group-size", 0.into())]);
    let ClientEvent::ChannelClosed { reason, .. } = ask(&mut world, 1, client, wrong) else { panic!("it is refused") };
    let text = reason.reply_text.to_string_lossy().into_owned();
    assert!(text.starts_with("PRECONDITION_FAILED - invalid arg 'x-quorum-target-group-size' for queue 'r'"), "{text}");
}

#[test]
fn a_member_comes_in_with_all_that_waits_and_leads_when_the_others_are_gone() {
    let mut world = nodes(41, 4);
    let [a, b, c, d] = in_order(&world)[..] else { panic!("there are four") };
    make(&mut world, 0, quorum("q", &[]));
    let client = publisher(&mut world, 3);
    for number in 0..20 {
        publish_confirmed(&mut world, 3, client, "q", &format!("{number}"));
    }
    done(&mut world, 2, add("q", d));
    settle(&mut world, &[a, b, c, d]);
    done(&mut world, 1, add("q", d));
    for gone in [a, b] {
        done(&mut world, 3, remove("q", gone));
    }
    settle(&mut world, &[c, d]);
    done(&mut world, 0, remove("q", c));
    settle(&mut world, &[d]);
    let refused = administration::ask(&mut world, 1, remove("q", d)).unwrap_err();
    assert_eq!(refused.text, "the last node cannot be removed");
    world.crash(c, true);
    let consumer = one_by_one(&mut world, 0);
    for number in 0..20 {
        assert_eq!(next(&mut world, 0, consumer).0, format!("{number}").into_bytes());
    }
}

/// A consumer of the queue that gets a message at a time.
pub(super) fn one_by_one(world: &mut World, at: At) -> ConnectionId {
    one_by_one_of(world, at, "q")
}

pub(super) fn one_by_one_of(world: &mut World, at: At, queue: &str) -> ConnectionId {
    let consumer = world.client(at).unwrap();
    ask(world, at, consumer, basic::Qos { prefetch_count: 1, ..basic::Qos::default() });
    world.send(at, consumer, basic::Consume { no_wait: true, ..consume(queue, "c") });
    consumer
}

/// The log is given up in front of what waits, so the member gets a state first, which is of a time when it was none.
#[test]
fn a_member_comes_in_although_the_log_does_not_reach_back() {
    let mut world = nodes(42, 4);
    let [a, b, c, d] = in_order(&world)[..] else { panic!("there are four") };
    make(&mut world, 0, quorum("q", &[]));
    let client = publisher(&mut world, 0);
    let consumer = one_by_one(&mut world, 1);
    for number in 0..limits::REPLICA_LOG_KEPT + 50 {
        publish_confirmed(&mut world, 0, client, "q", &format!("{number}"));
        next(&mut world, 1, consumer);
    }
    for body in ["first", "last"] {
        publish_confirmed(&mut world, 0, client, "q", body);
    }
    done(&mut world, 0, add("q", d));
    settle(&mut world, &[a, b, c, d]);
    done(&mut world, 0, remove("q", a));
    done(&mut world, 0, remove("q", c));
    settle(&mut world, &[b, d]);
    // It goes and comes back, and takes nothing of its former life for what it has.
    done(&mut world, 0, remove("q", d));
    settle(&mut world, &[b]);
    done(&mut world, 0, add("q", d));
    settle(&mut world, &[b, d]);
    assert!(d > 1, "with this seed no client is there");
    world.crash(d, true);
    world.start(d);
    world.until("the node", |world| world.nodes[d].is_ready);
    settle(&mut world, &[b, d]);
    done(&mut world, 0, remove("q", b));
    settle(&mut world, &[d]);
    for body in ["first", "last"] {
        assert_eq!(next(&mut world, 1, consumer).0, body.as_bytes());
    }
}

/// Whoever is always a little behind, since something is published all the time, gets a vote all the same.
#[test]
fn a_member_of_a_busy_queue_gets_its_vote_back() {
    let mut world = nodes(44, 3);
    let [a, b, c] = in_order(&world)[..] else { panic!("there are three") };
    make(&mut world, a, quorum("q", &[]));
    settle(&mut world, &[a, b, c]);
    let at = (0..3).find(|at| replicas(&world, *at).iter().any(|replica| replica.leads)).unwrap();
    let client = publisher(&mut world, at);
    let lost = (at + 1) % 3;
    world.crash(lost, true);
    world.wipe(lost);
    world.start(lost);
    let before = world.now;
    let has_votes = |world: &World| members(world, at).is_some_and(|members| members.voters().len() == 3);
    while !world.nodes[lost].is_ready || !has_votes(&world) || holders(&world).len() < 3 {
        publish_confirmed(&mut world, at, client, "q", "in the meantime");
        assert!(world.now < before + 20 * limits::REPLICA_RETRY, "it has no vote: {:?}", members(&world, at));
    }
}

#[test]
fn a_node_that_lost_its_disk_gets_its_queues_again_and_one_that_is_forgotten_loses_them() {
    let mut world = nodes(43, 4);
    let [a, b, c, d] = in_order(&world)[..] else { panic!("there are four") };
    make(&mut world, 0, quorum("q", &[]));
    settle(&mut world, &[a, b, c]);
    let client = publisher(&mut world, d);
    publish_confirmed(&mut world, d, client, "q", "kept");
    make(&mut world, b, declare("of b", false));
    make(&mut world, c, declare("of c", true));
    make(&mut world, b, declare("of b for good", true));
    publish_confirmed(&mut world, d, client, "of b for good", "lost");
    let before = own(&world, b);
    world.crash(b, false);
    world.wipe(b);
    world.start(b);
    world.until("the node that forgot", |world| world.nodes[b].is_ready);
    settle(&mut world, &[a, b, c]);
    assert_ne!(own(&world, b), before);
    let is_known = |world: &World, name: &str| {
        let engine = world.nodes[0].engine.as_ref().unwrap();
        engine.declared_queues().any(|(other, _)| other == name)
    };
    // What it alone had and did not survive a restart is no more.
    world.until("the queue to go", |world| !is_known(world, "of b"));
    assert!(is_known(&world, "of c"));
    // What was to survive one is on it again, and empty.
    world.until("the queue to be there", |world| {
        let engine = world.nodes[b].engine.as_ref().unwrap();
        engine.queues().iter().any(|queue| (&*queue.name, queue.ready) == ("of b for good", 0))
    });
    world.until("all to know", World::is_agreed);
    publish_confirmed(&mut world, d, client, "of b for good", "not lost");
    world.crash(b, true);
    world.start(b);
    world.until("the node", |world| world.nodes[b].is_ready);
    settle(&mut world, &[a, b, c]);
    let consumer = one_by_one_of(&mut world, d, "of b for good");
    assert_eq!(next(&mut world, d, consumer).0, b"not lost");
    world.with_client(d, consumer, |client| client.close_channel(CHANNEL).unwrap());
    world.crash(c, false);
    let forget = |name| ClusterRequest::Forget(name);
    world.until("the others to see it", |world| {
        let cluster = world.nodes[0].engine.as_ref().unwrap().broker.peers.as_ref().unwrap().cluster();
        cluster.nodes().filter(|(id, _)| cluster.is_linked(*id)).count() == 2
    });
    assert_eq!(administration::ask(&mut world, 0, forget(name(c))), Ok(AdminReply::Done));
    world.until("two members", |world| {
        members(world, 0).is_some_and(|members| members.voters().len() == 2 && members.learners().is_empty())
    });
    world.until("the queue to go", |world| !is_known(world, "of c"));
    // Under its name it is a node like any other.
    world.wipe(c);
    world.start(c);
    world.until("the node that was forgotten", |world| world.nodes[c].is_ready);
    settle(&mut world, &[a, b]);
    assert_eq!(changes(&mut world, c, grow(c, true)), [change("q", 3)]);
    settle(&mut world, &[a, b, c]);
    world.crash(a, true);
    let consumer = one_by_one(&mut world, d);
    assert_eq!(next(&mut world, d, consumer).0, b"kept");
}

fn grow(node: At, only_even: bool) -> ReplicaRequest {
    ReplicaRequest::Grow { node: name(node), only_even, queues: QueuePatterns::default() }
}

fn change(queue: &str, size: u64) -> ReplicaChange {
    ReplicaChange { queue: named(queue), size: Some(size), result: Ok(()) }
}

#[test]
fn operators_move_replicas_and_leaders_from_any_node() {
    let mut world = nodes(44, 4);
    for queue in ["a", "b", "c"] {
        make(&mut world, 0, quorum(queue, &[("x-quorum-initial-group-size", FieldValue::I32(1))]));
    }
    let kinds = |only: &str| QueuePatterns { queue: String::from(only), ..QueuePatterns::default() };
    let grow_some = ReplicaRequest::Grow { node: name(1), only_even: false, queues: kinds("^[ab]$") };
    assert_eq!(changes(&mut world, 3, grow_some), [change("a", 2), change("b", 2)]);
    assert_eq!(changes(&mut world, 3, grow(2, true)), [change("a", 3), change("b", 3)]);
    let state = |members: &[MemberStatus]| -> Vec<(String, Option<(bool, bool)>)> {
        let state = |member: &MemberStatus| member.state.map(|state| (state.leads, state.has_vote));
        members.iter().map(|member| (member.node.clone(), state(member))).collect()
    };
    let all = |leader: At| -> Vec<_> { (0..3).map(|at| (name(at), Some((at == leader, true)))).collect() };
    for _ in 0..400 {
        if state(&status(&mut world, 3, "a")) == all(0) {
            break;
        }
        (0..100).for_each(|_| world.step());
    }
    assert_eq!(state(&status(&mut world, 3, "a")), all(0));
    let leaders = |world: &mut World| match administration::ask(
        world,
        3,
        ReplicaRequest::Rebalance { queues: QueuePatterns::default() },
    ) {
        Ok(AdminReply::Leaders(leaders)) => leaders.into_iter().map(|it| (it.node, it.queues)).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(leaders(&mut world), [(name(0), 1), (name(1), 1), (name(2), 1), (name(3), 0)]);
    let lead = |node| ReplicaRequest::Lead { queue: named("a"), node: name(node) };
    let led = state(&status(&mut world, 2, "a")).iter().position(|(_, state)| *state == Some((true, true))).unwrap();
    let other = (led + 1) % 3;
    done(&mut world, 3, lead(other));
    assert_eq!(state(&status(&mut world, 2, "a")), all(other));
    let refused: Vec<AdminError> = [lead(other), lead(3), add("x", 1), remove("a", 9)]
        .into_iter()
        .map(|request| administration::ask(&mut world, other, request).unwrap_err())
        .collect();
    let texts: Vec<&str> = refused.iter().map(|error| error.text.as_str()).collect();
    let expected = [
        "The target node is already the leader of this queue",
        "the node has no replica of this queue that could lead it",
        "queue 'x' in vhost '/' not found",
        "rabbit@j is not in the cluster",
    ];
    assert_eq!(texts, expected);
    let last =
        ReplicaChange { size: Some(1), result: Err(String::from("the last node cannot be removed")), ..change("c", 1) };
    let shrink = ReplicaRequest::Shrink { node: name(0) };
    assert_eq!(changes(&mut world, 1, shrink), [change("a", 2), change("b", 2), last]);
    let critical = |world: &mut World, at| match administration::ask(world, at, ReplicaRequest::Critical) {
        Ok(AdminReply::QueueNames(names)) => names,
        other => panic!("{other:?}"),
    };
    assert_eq!(critical(&mut world, 1), [named("a"), named("b")]);
    assert_eq!(critical(&mut world, 3), []);
}

/// Lives of a few nodes with everything that can happen to them, while the members of a queue change.
#[test]
fn what_was_confirmed_is_there_whoever_the_members_were() {
    let mut seen = Seen::default();
    for seed in 0..seeds(24) {
        let (world, of) = live(seed);
        seen = Seen { changes: seen.changes + of.changes, lost: seen.lost + of.lost, kills: seen.kills + of.kills };
        if seed % 8 == 0 {
            assert_eq!(live(seed).0.hash, world.hash, "seed {seed} is not the same twice");
        }
    }
    assert!(seen.changes > 20 && seen.lost > 2 && seen.kills > 10, "{seen:?}");
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Changes of members that operators were told of.
    changes: u64,
    /// Nodes that lost their disk.
    lost: u64,
    kills: u64,
}

fn live(seed: u64) -> (World, Seen) {
    let mut rng = Rng(mix(seed ^ 0x3e3b));
    let count = 3 + usize::try_from(rng.below(3)).unwrap();
    let mut world = nodes(seed, count);
    make(&mut world, 0, quorum("q", &[]));
    let mut seen = Seen::default();
    let (mut confirmed, mut sent, mut operators) = (BTreeSet::new(), 0, 0);
    let mut publishers: BTreeMap<At, (ConnectionId, BTreeMap<u64, String>)> = BTreeMap::new();
    for _ in 0..40 {
        for _ in 0..rng.below(500) {
            world.step();
        }
        let at = usize::try_from(rng.below(count as u64)).unwrap();
        let other = usize::try_from(rng.below(count as u64)).unwrap();
        let pair = (at.min(other), at.max(other));
        match rng.below(20) {
            0 if world.nodes[at].engine.is_some() => {
                world.crash(at, rng.one_in(2));
                publishers.remove(&at);
                seen.kills += 1;
            }
            1 if is_whole(&world) => {
                world.cut.clear();
                // Who loses its disk may be one too many if others are about to be taken out: nobody is asking for that any more then.
                let until = world.now + 2 * limits::INQUIRY_TIMEOUT;
                while world.now < until {
                    world.step();
                }
                if !is_whole(&world) || voters(&world) != count || holders(&world).len() < 3 {
                    continue;
                }
                world.crash(at, false);
                world.wipe(at);
                world.start(at);
                publishers.remove(&at);
                seen.lost += 1;
                world.until("the node that forgot", |world| world.nodes[at].is_ready);
            }
            0..4 if world.nodes[at].engine.is_none() => world.start(at),
            4 if at != other => drop(world.cut.insert(pair)),
            5 => world.cut.clear(),
            6..11 => {
                let request = match rng.below(4) {
                    0 => ReplicaRequest::Lead { queue: named("q"), node: name(other) },
                    1 => remove("q", other),
                    _ => add("q", other),
                };
                operators += 1;
                let request = Box::new(request.into());
                world.input(at, Input::Admin { id: AdminId(operators), request });
            }
            _ => {
                if let Some(client) = publishers.get(&at).map(|(client, _)| *client).or_else(|| {
                    let client = world.client(at)?;
                    world.send(at, client, confirm::Select { no_wait: false });
                    publishers.insert(at, (client, BTreeMap::new()));
                    None
                }) && let Some(number) = publish(&mut world, at, client, "q", &format!("{sent}"))
                {
                    publishers.get_mut(&at).unwrap().1.insert(number, format!("{sent}"));
                    sent += 1;
                }
            }
        }
        for node in &mut world.nodes {
            seen.changes += node.answers.drain(..).filter(|answer| answer.reply.is_ok()).count() as u64;
        }
        for (at, (client, waiting)) in &mut publishers {
            for event in world.events(*at, *client).unwrap_or_default() {
                if let ClientEvent::Acked { seqno, multiple, .. } = event {
                    let acked: Vec<u64> =
                        waiting.keys().copied().filter(|at| *at == seqno || (multiple && *at < seqno)).collect();
                    confirmed.extend(acked.iter().filter_map(|at| waiting.remove(at)));
                }
            }
        }
    }
    world.cut.clear();
    for at in 0..count {
        if world.nodes[at].engine.is_none() {
            world.start(at);
        }
    }
    world.until("agreement at the end", World::is_agreed);
    until_whole(&mut world, seed);
    let consumer = one_by_one(&mut world, 0);
    while !confirmed.is_empty() {
        let (body, _) = next(&mut world, 0, consumer);
        confirmed.remove(core::str::from_utf8(&body).unwrap());
    }
    (world, seen)
}

fn until_whole(world: &mut World, seed: u64) {
    for _ in 0..400_000 {
        if is_whole(world) {
            return;
        }
        world.step();
    }
    let known = |at: At| {
        let broker = &world.nodes[at].engine.as_ref().expect("the node runs").broker;
        let queues = broker.metadata.queues().into_iter();
        queues.map(|(_, record)| (record.members.clone(), record.members_at)).collect::<Vec<_>>()
    };
    let of = |at| (own(world, at), known(at), replicas(world, at), status_of(world, at));
    panic!("seed {seed}: {:#?}", (0..world.nodes.len()).map(of).collect::<Vec<_>>());
}

/// Whether all nodes run and agree who the members of the queue are, and those have the same and all have a vote.
pub(super) fn is_whole(world: &World) -> bool {
    let known = |at: At| {
        let metadata = &world.nodes[at].engine.as_ref()?.broker.metadata;
        let (_, record) = metadata.queues().into_iter().next()?;
        Members::new(record.members.clone(), vec![])
    };
    let applied = |at: At| replicas(world, at).first().map(|replica| replica.applied);
    let holders = holders(world);
    let Some(first) = holders.first().copied() else { return false };
    world.nodes.iter().all(|node| node.is_ready && node.engine.is_some())
        && (0..world.nodes.len()).all(|at| known(at).is_some() && known(at) == known(first))
        && holders.iter().all(|at| members(world, *at) == known(first) && applied(*at) == applied(first))
        && known(first).is_some_and(|members| members.voters().len() == holders.len())
        && holders.iter().any(|at| replicas(world, *at)[0].leads)
}
