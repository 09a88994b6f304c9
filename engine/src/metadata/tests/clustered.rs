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
    for index in 1..=commands {
        let name = |rng: &mut Rng, of: &str| format!("{of}{}", rng.below(5));
        let command = match rng.below(12) {
            0..3 => {
                let (home, exclusive) = (NodeId(1 + rng.below(3)), rng.one_in(4).then_some(OWNER));
                let (durable, name) = (rng.one_in(2), short(&name(&mut rng, "q")));
                let (vhost, id, arguments) = (slash(), QueueId(0), FieldTable::new());
                Command::DeclareQueue { vhost, id, home, name, durable, exclusive, auto_delete: false, arguments }
            }
            3 => {
                let queue = metadata.queue(metadata.vhost(b"/").unwrap(), name(&mut rng, "q").as_bytes());
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
                exchange_with(&name(&mut rng, "e"), kind, flags, arguments)
            }
            6 => delete_exchange(&name(&mut rng, "e")),
            7 => Command::Administer(Box::new(Administration::PutVhost {
                name: short(&name(&mut rng, "v")),
                settings: VhostSettings { description: name(&mut rng, "text"), ..VhostSettings::default() },
            })),
            8 => Command::Begin { node: NodeId(1 + rng.below(3)), is_alone: rng.one_in(8) },
            _ => {
                let of = ["q", "e"][usize::try_from(rng.below(2)).unwrap()];
                let (source, to) = (name(&mut rng, "e"), name(&mut rng, of));
                bind_with(&source, &to, &name(&mut rng, "k"), FieldTable::new().with("n", rng.one_in(2)))
            }
        };
        metadata.set_applied(index);
        let _ = metadata.apply(command);
    }
    metadata
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
