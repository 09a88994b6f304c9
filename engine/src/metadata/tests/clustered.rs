//! The declared state of a cluster: one node becomes what another one is.

use alloc::boxed::Box;
use bytes::Bytes;

use super::*;
use crate::storage::codec::mix;
use crate::storage::tests::rng::{Rng, seeds};

/// A node of a cluster after so many random commands.
fn random(seed: u64, commands: u64, own: u64) -> Metadata {
    let mut rng = Rng(mix(seed));
    let mut metadata = Metadata::new(own);
    metadata.enter_cluster(NodeId(own));
    let state = metadata.snapshot_all();
    metadata.apply(Command::Found { state }).unwrap();
    go_on(&mut metadata, &mut rng, commands);
    metadata
}

/// Some of the nodes 1 to 4, at least one, in any order.
fn some_members(rng: &mut Rng) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = (1..=4).map(NodeId).collect();
    while rng.one_in(2) && nodes.len() > 1 {
        nodes.remove(usize::try_from(rng.below(nodes.len() as u64)).unwrap());
    }
    let by = rng.below(nodes.len() as u64);
    nodes.rotate_left(usize::try_from(by).unwrap());
    nodes
}

/// So many random commands, as the cluster's log brings them.
fn go_on(metadata: &mut Metadata, rng: &mut Rng, commands: u64) {
    let before = metadata.applied();
    for index in before + 1..=before + commands {
        metadata.set_applied(index);
        let name = |rng: &mut Rng, of: &str| format!("{of}{}", rng.below(5));
        let command = match rng.below(15) {
            0..3 => {
                let (home, exclusive) = (NodeId(1 + rng.below(3)), rng.one_in(4).then_some(OWNER));
                let (durable, name) = (rng.one_in(2), short(&name(rng, "q")));
                let (vhost, id, arguments) = (slash(), QueueId(0), FieldTable::new());
                let (auto_delete, members) = (false, Vec::new());
                Command::DeclareQueue { vhost, id, home, members, name, durable, exclusive, auto_delete, arguments }
            }
            12 => replicated(&name(rng, "q"), some_members(rng)),
            13 => {
                let queue = metadata.queue(metadata.vhost(b"/").unwrap(), name(rng, "q").as_bytes());
                let Some((_, queue)) = queue else { continue };
                let id = if rng.one_in(8) { QueueId(queue.id.0 + 1) } else { queue.id };
                let at = queue.members_at + rng.below(4);
                Command::SetMembers { vhost: slash(), name: queue.name.clone(), id, members: some_members(rng), at }
            }
            14 => {
                let queue = metadata.queue(metadata.vhost(b"/").unwrap(), name(rng, "q").as_bytes());
                let Some((_, queue)) = queue else { continue };
                let id = if rng.one_in(8) { QueueId(queue.id.0 + 1) } else { queue.id };
                let (vhost, name, node) = (slash(), queue.name.clone(), NodeId(1 + rng.below(3)));
                if rng.one_in(2) {
                    Command::SetHome { vhost, name, id, home: node }
                } else {
                    Command::Replicate { vhost, name, id, node }
                }
            }
            3 => {
                let queue = metadata.queue(metadata.vhost(b"/").unwrap(), name(rng, "q").as_bytes());
                let Some((_, queue)) = queue else { continue };
                Command::DeleteQueue { vhost: slash(), name: queue.name.clone(), id: queue.id }
            }
            4 | 5 => {
                let flags = ["d", "da", "a", "di"][usize::try_from(rng.below(4)).unwrap()];
                let kind = ["topic", "fanout", "x-delayed-message"][usize::try_from(rng.below(3)).unwrap()];
                let arguments = match kind {
                    "x-delayed-message" => FieldTable::new().with("x-delayed-type", "direct"),
                    _ => FieldTable::new(),
                };
                exchange_with(&name(rng, "e"), kind, flags, arguments)
            }
            6 => delete_exchange(&name(rng, "e")),
            7 => Command::Administer(Box::new(Administration::PutVhost {
                name: short(&name(rng, "v")),
                settings: VhostSettings { description: name(rng, "text"), ..VhostSettings::default() },
            })),
            8 => Command::Begin { node: NodeId(1 + rng.below(3)), is_alone: rng.one_in(8) },
            _ => {
                let of = ["q", "e"][usize::try_from(rng.below(2)).unwrap()];
                let (source, to) = (name(rng, "e"), name(rng, of));
                bind_with(&source, &to, &name(rng, "k"), FieldTable::new().with("n", rng.one_in(2)))
            }
        };
        let mut encoded = bytes::BytesMut::new();
        command.encode(&mut encoded);
        assert_eq!(Command::decode(encoded.freeze()).unwrap(), command);
        let _ = metadata.apply(command);
    }
}

fn replicated(name: &str, members: Vec<NodeId>) -> Command {
    Command::DeclareQueue {
        vhost: slash(),
        id: QueueId(0),
        home: NodeId(1),
        members,
        name: short(name),
        durable: true,
        exclusive: None,
        auto_delete: false,
        arguments: FieldTable::new().with("x-queue-type", "quorum"),
    }
}

/// The ids and members of all queues.
/// Where each queue is: on one node, or on these.
fn members(metadata: &Metadata) -> BTreeMap<QueueId, (NodeId, Vec<NodeId>)> {
    metadata.queues().into_iter().map(|(_, queue)| (queue.id, (queue.home, queue.members.clone()))).collect()
}

#[test]
fn a_node_becomes_what_another_one_is_whatever_both_had() {
    for seed in 0..seeds(300) {
        let (mut ours, mut theirs) = (random(seed, 40, 1), random(seed ^ 0xff, 40 + seed % 60, 2));
        theirs.set_applied(1000);
        let state = theirs.snapshot_all();
        let before: BTreeSet<QueueId> = ours.queues().iter().map(|(_, queue)| queue.id).collect();
        let changes = ours.become_other(state.clone()).unwrap().expect("the other is further");
        assert_eq!(ours.snapshot_all(), state, "seed {seed}");
        ours.check_invariants();
        let mut counted = before;
        for change in &changes.list {
            match change {
                Change::QueueCreated(_, id) => assert!(counted.insert(*id), "what is told to come was not there"),
                Change::QueueDeleted(_, id) => assert!(counted.remove(id), "what is told to go was there"),
                _ => {}
            }
        }
        assert_eq!(
            counted,
            ours.queues().iter().map(|(_, queue)| queue.id).collect(),
            "all that came and went is told"
        );
        assert_eq!(ours.become_other(state).unwrap(), None, "who is as far need not do it again");
    }
}

#[test]
fn a_node_that_was_away_is_told_which_queues_have_other_members() {
    let mut told = 0;
    for seed in 0..seeds(300) {
        let mut ours = random(seed, 40, 1);
        let mut theirs = ours.clone();
        go_on(&mut theirs, &mut Rng(mix(seed ^ 0xff)), 1 + seed % 40);
        let (before, after) = (members(&ours), members(&theirs));
        let changes = ours.become_other(theirs.snapshot_all()).unwrap().expect("the other is further");
        ours.check_invariants();
        assert_eq!(members(&ours), after, "seed {seed}");
        let mut moved: Vec<QueueId> = Vec::new();
        for change in &changes.list {
            match change {
                Change::QueueMembers(key) | Change::QueueMoved(key) => {
                    moved.push(ours.queue_by_key(*key).unwrap().id);
                }
                Change::QueueCreated(_, id) => assert!(!before.contains_key(id), "the queue is the same"),
                Change::QueueDeleted(_, id) => assert!(!after.contains_key(id), "the queue is the same"),
                _ => {}
            }
        }
        moved.sort();
        let others = before.iter().filter(|(id, members)| after.get(id).is_some_and(|after| after != *members));
        assert_eq!(moved, others.map(|(id, _)| *id).collect::<Vec<_>>(), "seed {seed}");
        told += moved.len();
    }
    assert!(told > 0, "it happened");
}

#[test]
fn a_replicated_queue_is_on_no_node_alone() {
    let mut metadata = random(1, 0, 2);
    let nodes = |nodes: &[u64]| nodes.iter().copied().map(NodeId).collect::<Vec<_>>();
    let changes = metadata.apply(replicated("q", nodes(&[3, 2]))).unwrap();
    let [Change::QueueCreated(key, id)] = changes.list[..] else { panic!("{changes:?}") };
    let record = |metadata: &Metadata| metadata.queue_by_key(key).unwrap().clone();
    let queue = record(&metadata);
    assert_eq!((queue.home, queue.is_replicated()), (NodeId(0), true));
    assert!(!metadata.is_here(&queue));
    assert!(metadata.has_replica_here(&queue));
    assert_eq!(metadata.queues_here().count(), 0);

    let set_at = |id, members, at| Command::SetMembers { vhost: slash(), name: short("q"), id, members, at };
    let set = |id, members| set_at(id, members, 8);
    let check = |metadata: &Metadata, command, expected| {
        assert_eq!(metadata.check(&command, None), Ok(expected));
        assert!(metadata.is_durable(&command));
    };
    check(&metadata, set(id, nodes(&[3, 2])), Answer::AlreadySo);
    check(&metadata, set(id, Vec::new()), Answer::AlreadySo);
    check(&metadata, set(QueueId(id.0 + 1), nodes(&[3])), Answer::AlreadySo);
    // The first leads at first, so another order is another list.
    check(&metadata, set(id, nodes(&[2, 3])), Answer::NeedsApply);
    let changes = metadata.apply(set(id, nodes(&[1, 3]))).unwrap();
    assert_eq!(changes.list, [Change::QueueMembers(key)]);
    assert_eq!((record(&metadata).members, record(&metadata).members_at), (nodes(&[1, 3]), 8));
    // What was so before is no news.
    check(&metadata, set_at(id, nodes(&[1]), 8), Answer::AlreadySo);
    check(&metadata, set_at(id, nodes(&[1]), 9), Answer::NeedsApply);
    assert!(!metadata.has_replica_here(&record(&metadata)));
    assert_eq!(metadata.check(&replicated("q", nodes(&[4])), None), Ok(Answer::AlreadySo), "declared again it stays");

    metadata.enter_cluster(NodeId(2));
    metadata.apply(Command::Begin { node: NodeId(1), is_alone: false }).unwrap();
    assert_eq!(record(&metadata).home, NodeId(0));
    let gone = metadata.apply(Command::DeleteQueue { vhost: slash(), name: short("q"), id }).unwrap();
    assert_eq!(gone.list, [Change::QueueDeleted(key, id)]);
    metadata.check_invariants();
}

#[test]
fn replicas_are_counted_by_node() {
    let mut metadata = random(1, 0, 1);
    for (name, members) in [("q1", &[1, 2, 3][..]), ("q2", &[1, 3]), ("q3", &[3])] {
        metadata.apply(replicated(name, members.iter().copied().map(NodeId).collect())).unwrap();
    }
    let mut command = queue_with(&mut metadata, "on one", "d", FieldTable::new());
    if let Command::DeclareQueue { home, .. } = &mut command {
        *home = NodeId(2);
    }
    metadata.apply(command).unwrap();
    let loads = [(NodeId(1), (2, 2)), (NodeId(2), (1, 1)), (NodeId(3), (3, 1))];
    assert_eq!(metadata.replica_loads(), loads.into());
}

#[test]
fn a_queue_on_one_node_gets_no_members() {
    let mut metadata = random(1, 0, 2);
    let (name, id) = (short("q"), QueueId(1));
    let command = queue_with(&mut metadata, "q", "d", FieldTable::new().with("x-queue-type", "quorum"));
    metadata.apply(command).unwrap();
    let command = Command::SetMembers { vhost: slash(), name, id, members: [NodeId(2)].into(), at: 2 };
    assert_eq!(metadata.apply(command).unwrap(), Changes::default());
}

#[test]
fn a_cluster_begins_once() {
    let mut metadata = random(1, 0, 1);
    let before = metadata.snapshot_all();
    let other = random(2, 30, 2).snapshot_all();
    assert_eq!(metadata.apply(Command::Found { state: other }).unwrap(), Changes::default());
    assert_eq!(metadata.snapshot_all(), before);
}

#[test]
fn ids_are_given_where_commands_are_carried_out() {
    let mut metadata = random(1, 0, 1);
    assert_eq!(metadata.allocate_queue_id(), QueueId(0), "who asks does not know");
    for (name, id) in [("q1", 1), ("q2", 2)] {
        let command = queue_with(&mut metadata, name, "d", FieldTable::new());
        let changes = metadata.apply(command).unwrap();
        assert!(matches!(changes.list[..], [Change::QueueCreated(_, QueueId(given))] if given == id), "{changes:?}");
    }
}

/// What other nodes and later versions have to be able to read.
#[test]
fn version_3_is_read_and_written() {
    let mut metadata = random(1, 0, 1);
    metadata.set_applied(7);
    let queue = |name: &'static str, durable, exclusive| Command::DeclareQueue {
        vhost: slash(),
        id: QueueId(0),
        home: NodeId(2),
        members: Vec::new(),
        name: short(name),
        durable,
        exclusive,
        auto_delete: false,
        arguments: FieldTable::new(),
    };
    for (command, bytes) in [
        (queue("q", true, None), "0303012f000000000000000000000000000000020171010000 0000"),
        (
            queue("x", false, Some(ConnectionId(9))),
            "0303012f0000000000000000000000000000000201780400000000000000090000 0000",
        ),
        (Command::Begin { node: NodeId(2), is_alone: true }, "0309000000000000000201"),
        (Command::Found { state: Bytes::from_static(b"state") }, "03087374617465"),
    ] {
        let mut encoded = bytes::BytesMut::new();
        command.encode(&mut encoded);
        let hex: String = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, bytes.replace(' ', ""), "{command:?}");
        assert_eq!(Command::decode(encoded.freeze()).unwrap(), command);
        let _ = metadata.apply(command);
    }
    // The version, the next id, what is applied, and whether the cluster has begun.
    assert_eq!(metadata.snapshot_all()[..18], [3, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 7, 1]);
    let restored = Metadata::restore(metadata.snapshot_all(), 5).unwrap();
    assert_eq!(restored.snapshot_all(), metadata.snapshot_all());
}

/// What other nodes and later versions have to be able to read.
#[test]
fn version_4_is_read_and_written() {
    let mut metadata = random(1, 0, 1);
    metadata.set_applied(7);
    let bytes = concat!(
        "0403 012f 0000000000000000 0000000000000001 00000002 0000000000000002 0000000000000001 0171 01",
        "00000018 0c782d71756575652d74797065 5300000006 71756f72756d",
    );
    apply_written(&mut metadata, replicated("q", [NodeId(2), NodeId(1)].into()), bytes);
    let on_one = queue_with(&mut metadata, "r", "", FieldTable::new());
    let Command::DeclareQueue { vhost, id, name, durable, exclusive, auto_delete, arguments, members, .. } = on_one
    else {
        panic!("it is a declaration")
    };
    let home = NodeId(2);
    let on_one = Command::DeclareQueue { vhost, id, home, members, name, durable, exclusive, auto_delete, arguments };
    metadata.apply(on_one).unwrap();
    let state = concat!(
        "04 0000000000000003 0000000000000007 01", // version, next id, what is applied, whether the cluster has begun
        "00000001 012f 00000000 00000000 00 00 ffffffffffffffff ffffffffffffffff 00000000 00000000",
        "00000000 00000002", // no exchanges, two queues
        "0171 0000000000000001 00 0000000000000000 00000002 0000000000000002 0000000000000001",
        "00000018 0c782d71756575652d74797065 5300000006 71756f72756d",
        "0172 0000000000000002 02 0000000000000002 00000000 00000000",
        "00000000",             // no bindings
        "00 00000000 00000000", // no users, no global parameters
    );
    let snapshot = metadata.snapshot_all();
    let hex: String = snapshot.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, state.replace(' ', ""));
    let restored = Metadata::restore(snapshot.clone(), 5).unwrap();
    restored.check_invariants();
    assert_eq!(restored.snapshot_all(), snapshot);
    for len in 0..snapshot.len() {
        assert!(matches!(Metadata::restore(snapshot.slice(..len), 5), Err(DecodeError::Malformed(_))), "{len} bytes");
    }
    let at_home = snapshot.iter().position(|byte| *byte == b'q').unwrap() + 17;
    let mut on_one = snapshot.to_vec();
    on_one[at_home] = 3;
    assert!(matches!(Metadata::restore(on_one.into(), 5), Err(DecodeError::Malformed(_))), "it has members and a home");
}

/// Carries out a command that is written as these bytes, and read from them.
fn apply_written(metadata: &mut Metadata, command: Command, bytes: &str) {
    let mut encoded = bytes::BytesMut::new();
    command.encode(&mut encoded);
    let hex: String = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, bytes.replace(' ', ""), "{command:?}");
    let encoded = encoded.freeze();
    assert_eq!(Command::decode(encoded.clone()).unwrap(), command);
    for len in 0..encoded.len() {
        assert!(matches!(Command::decode(encoded.slice(..len)), Err(DecodeError::Malformed(_))), "{len} bytes");
    }
    metadata.apply(command).unwrap();
}

/// What other nodes and later versions have to be able to read.
#[test]
fn version_5_is_read_and_written() {
    let mut metadata = random(1, 0, 1);
    metadata.set_applied(7);
    metadata.apply(replicated("q", [NodeId(3)].into())).unwrap();
    assert_eq!(metadata.snapshot_all()[0], 4, "it is as it was declared");
    let (vhost, name, members) = (slash(), short("q"), [NodeId(2), NodeId(1)].into());
    let command = Command::SetMembers { vhost, name, id: QueueId(1), members, at: 300 };
    let bytes = "050a 012f 0171 0000000000000001 00000002 0000000000000002 0000000000000001 000000000000012c";
    apply_written(&mut metadata, command, bytes);
    let command = Command::SetHome { vhost: slash(), name: short("q"), id: QueueId(1), home: NodeId(2) };
    assert_eq!(metadata.check(&command, None), Ok(Answer::AlreadySo), "it is replicated");
    apply_written(&mut metadata, command, "050b 012f 0171 0000000000000001 0000000000000002");
    let command = Command::Replicate { vhost: slash(), name: short("q"), id: QueueId(1), node: NodeId(2) };
    assert_eq!(metadata.check(&command, None), Ok(Answer::AlreadySo), "it is replicated");
    apply_written(&mut metadata, command, "050c 012f 0171 0000000000000001 0000000000000002");
    let state = concat!(
        "05 0000000000000002 0000000000000007 01", // version, next id, what is applied, whether the cluster has begun
        "00000001 012f 00000000 00000000 00 00 ffffffffffffffff ffffffffffffffff 00000000 00000000",
        "00000000 00000001", // no exchanges, a queue
        "0171 0000000000000001 00 0000000000000000 00000002 0000000000000002 0000000000000001 000000000000012c",
        "00000018 0c782d71756575652d74797065 5300000006 71756f72756d",
        "00000000",             // no bindings
        "00 00000000 00000000", // no users, no global parameters
    );
    let snapshot = metadata.snapshot_all();
    let hex: String = snapshot.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, state.replace(' ', ""));
    let restored = Metadata::restore(snapshot.clone(), 5).unwrap();
    assert_eq!(restored.snapshot_all(), snapshot);
    for len in 0..snapshot.len() {
        assert!(matches!(Metadata::restore(snapshot.slice(..len), 5), Err(DecodeError::Malformed(_))), "{len} bytes");
    }
}

#[test]
fn members_that_cannot_be_are_refused() {
    let encoded = |members: &str| {
        let hex = format!("050a 012f 0171 0000000000000001 {members} 0000000000000009").replace(' ', "");
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        Bytes::from((0..hex.len()).step_by(2).map(byte).collect::<Vec<u8>>())
    };
    let check = |members| {
        let decoded = Command::decode(encoded(members));
        assert!(matches!(decoded, Err(DecodeError::Malformed(_))), "{decoded:?}");
    };
    check("00000001 0000000000000000");
    check("00000002 0000000000000003 0000000000000003");
    check("ffffffff 0000000000000003");
    assert!(Command::decode(encoded("00000000")).is_ok(), "it changes nothing");
    let mut older = encoded("00000000").to_vec();
    for version in [1, 3, 4] {
        older[0] = version;
        assert!(matches!(Command::decode(older.clone().into()), Err(DecodeError::Malformed(_))), "version {version}");
    }
}
