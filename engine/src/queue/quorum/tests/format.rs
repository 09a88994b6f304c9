//! The bytes of entries and snapshots.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

use super::super::{
    Actions, AdoptedConsumer, AdoptedDelivery, AdoptedSession, BodyPlace, Boot, Brought, Carried, Checkout, Command,
    CreditMode, DeadLetters, DelayedRetry, DeliveryNumber, Enqueue, EntryError, EntryWriter, LogIndex, Meta, NodeId,
    NumberRange, Numbers, Payload, QuorumQueue, ReturnKind, Rules, SessionId, SessionOp, SessionSeqno, Settings,
    SnapshotError, decode_entry, join_entries, only_settles,
};
use super::Rng;
use crate::ids::QueueSeq;
use crate::limits::QUORUM_NUMBERS_MAX;

const SESSION: SessionId = SessionId { node: NodeId(2), boot: Boot(300), number: 5 };

fn session(seqno: u64, op: SessionOp) -> Command {
    Command::Session { session: SESSION, seqno: SessionSeqno(seqno), op }
}

fn numbers(ranges: &[(u64, u64)]) -> Numbers {
    ranges.iter().map(|&(first, last)| NumberRange { first, last }).collect()
}

/// One of each, with the bytes of its message.
fn all_commands() -> Vec<(Command, &'static [u8])> {
    let full = Settings {
        length_max: Some(1000),
        length_max_bytes: Some(1 << 40),
        rejects_publish: true,
        message_ttl_ms: Some(60_000),
        delivery_limit: Some(20),
        dead_letters: DeadLetters::AtLeastOnce,
        single_active_consumer: true,
        expires_ms: Some(1),
        disconnected_timeout_ms: 60_000,
        delayed_retry: DelayedRetry { failed: true, returned: false, min_ms: 5, max_ms: 500 },
        rules: Rules::Quorum,
    };
    let plain = Enqueue { size: 3, ..Enqueue::default() };
    let rich = Enqueue { size: 2, priority: Some(9), ttl_ms: Some(0), is_persistent: true, ..Enqueue::default() };
    let granted = Checkout { tag: 2, credit: CreditMode::Granted, priority: -1, ..Checkout::default() };
    let prefetching = Checkout {
        tag: 1,
        credit: CreditMode::Prefetch(300),
        priority: 7,
        timeout_ms: Some(1_800_000),
        is_exclusive: false,
    };
    let node = NodeId(3);
    vec![
        (Command::Update(full.into()), b""),
        (Command::Update(Settings::default().into()), b""),
        (session(1, SessionOp::Enqueue(plain)), b"abcdef"),
        (session(2, SessionOp::Enqueue(rich)), b"xy"),
        (session(3, SessionOp::Checkout(prefetching)), b""),
        (session(4, SessionOp::Checkout(granted)), b""),
        (session(6, SessionOp::Get { tag: 3 }), b""),
        (session(7, SessionOp::Credit { tag: 2, credit: 10, delivery_count: u32::MAX, is_drain: true }), b""),
        (session(8, SessionOp::Settle { tag: 1, numbers: numbers(&[(1, 1), (3, 200)]) }), b""),
        (session(9, SessionOp::Return { tag: 1, numbers: numbers(&[(2, 2)]), how: ReturnKind::Failed }), b""),
        (session(10, SessionOp::Return { tag: 1, numbers: numbers(&[(7, 9)]), how: ReturnKind::Requeued }), b""),
        (session(11, SessionOp::Discard { tag: 1, numbers: numbers(&[]) }), b""),
        (Command::Tick, b""),
        (session(12, SessionOp::Cancel { tag: 1, seen: DeliveryNumber(200) }), b""),
        (session(13, SessionOp::End), b""),
        (Command::NodeSuspected { node }, b""),
        (Command::NodeUp { node, boot: Boot(4) }, b""),
        (Command::NodeDown { node, boot: Boot(u32::MAX.into()) }, b""),
        (Command::DeadLettered { deaths: numbers(&[(0, 0), (2, 1000)]) }, b""),
        (Command::Purge, b""),
        (Command::Pause { is_paused: true }, b""),
        (Command::DeletePrepare { if_unused: true, if_empty: false }, b""),
        (Command::Carry { bodies: vec![carried(1, 2, 3), carried(1, 5, 2)] }, b"abcxy"),
        (Command::Bring { messages: vec![brought(0, 3), brought(1 << 40, 2)] }, b"abcxy"),
        (
            Command::Adopt {
                sessions: vec![AdoptedSession { session: SESSION, next: SessionSeqno(700) }],
                consumers: vec![AdoptedConsumer {
                    session: SESSION,
                    checkout: Checkout { tag: 3, priority: -1, is_exclusive: true, ..Checkout::default() },
                    is_over: true,
                    next: DeliveryNumber(12),
                    unacked: vec![AdoptedDelivery {
                        number: DeliveryNumber(9),
                        seq: QueueSeq(300),
                        expires_at: 1 << 40,
                    }],
                }],
            },
            b"",
        ),
        (Command::Forsake { session: SESSION }, b""),
    ]
}

fn carried(index: u64, at: u32, len: u32) -> Carried {
    Carried { from: BodyPlace { index: LogIndex(index), at, len }, to: Payload::default() }
}

fn brought(expires_at: u64, len: u32) -> Brought {
    let payload = Payload { at: 0, len };
    Brought { size: 1, priority: 9, expires_at, failed: 300, is_redelivered: len == 2, is_persistent: true, payload }
}

fn write(commands: &[(Command, &[u8])]) -> Vec<u8> {
    let mut writer = EntryWriter::default();
    commands.iter().for_each(|(command, payload)| writer.push(command, payload));
    writer.take()
}

fn read(entry: &[u8]) -> Result<Vec<Command>, EntryError> {
    let mut commands = Vec::new();
    decode_entry(entry, &mut commands)?;
    Ok(commands)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    pairs.iter().map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn what_is_written_is_read() {
    let written = all_commands();
    let entry = write(&written);
    let read = read(&entry).unwrap();
    assert_eq!(read.len(), written.len());
    for (mut read, (command, payload)) in read.into_iter().zip(written) {
        if let Command::Session { op: SessionOp::Enqueue(enqueue), .. } = &mut read {
            let Payload { at, len } = core::mem::take(&mut enqueue.payload);
            assert_eq!(&entry[at as usize..][..len as usize], payload);
        }
        if let Command::Carry { bodies } = &mut read {
            let places = bodies.iter_mut().map(|carried| core::mem::take(&mut carried.to));
            let found: Vec<u8> =
                places.flat_map(|Payload { at, len }| &entry[at as usize..][..len as usize]).copied().collect();
            assert_eq!(found, payload);
        }
        if let Command::Bring { messages } = &mut read {
            let places = messages.iter_mut().map(|brought| core::mem::take(&mut brought.payload.at) as usize);
            assert!(places.zip([&b"abc"[..], b"xy"]).all(|(at, body)| entry[at..].starts_with(body)));
        }
        assert_eq!(read, command);
    }
}

/// What version 1 wrote can be read for ever.
#[test]
fn entries_of_version_1_stay_readable() {
    assert_eq!(hex(&write(&all_commands())), ENTRY_V1);
    assert_eq!(read(&unhex(ENTRY_V1)).unwrap().len(), all_commands().len());
}

#[test]
fn joined_entries_say_what_they_said() {
    let all = all_commands();
    for at in 0..=all.len() {
        let (before, after) = all.split_at(at);
        // An entry begins with its version, also if that is all.
        let (mut joined, second) = ([&[1], &write(before)[..]].concat(), write(after));
        joined.drain(..usize::from(!before.is_empty()));
        let joins = join_entries(&mut joined, &second);
        assert_eq!(joins, !after.is_empty());
        let commands = read(&joined).unwrap();
        assert_eq!(commands.len(), all.len());
        for (command, (expected, payload)) in commands.iter().zip(&all) {
            if let Command::Session { op: SessionOp::Enqueue(enqueue), .. } = command {
                let Payload { at, len } = enqueue.payload;
                assert_eq!(&joined[at as usize..][..len as usize], *payload);
            } else if !matches!(command, Command::Carry { .. } | Command::Bring { .. }) {
                assert_eq!(command, expected);
            }
        }
    }
    let mut entry = write(&[(Command::Tick, b"")]);
    assert!(!join_entries(&mut entry, &[2, 35]), "another version");
    assert!(!join_entries(&mut Vec::from([2, 35]), &entry), "another version");
}

#[test]
fn what_only_settles_is_told_from_what_does_more() {
    let settle = |seqno| (session(seqno, SessionOp::Settle { tag: 1, numbers: numbers(&[(1, 3)]) }), &b""[..]);
    assert!(only_settles(&write(&[settle(1)])));
    assert!(only_settles(&write(&[settle(1), settle(2), settle(9)])));
    for (command, payload) in all_commands() {
        let is_settlement = matches!(command, Command::Session { op: SessionOp::Settle { .. }, .. });
        assert_eq!(only_settles(&write(&[(command.clone(), payload)])), is_settlement, "{command:?}");
        assert_eq!(only_settles(&write(&[settle(1), (command.clone(), payload)])), is_settlement, "{command:?}");
    }
    let entry = write(&[settle(1)]);
    assert!((0..entry.len()).all(|len| !only_settles(&entry[..len])), "what is cut");
}

#[test]
fn a_batch_of_one_publisher_names_it_once() {
    let one = |seqno| (session(seqno, SessionOp::Enqueue(Enqueue { size: 1, ..Enqueue::default() })), &b"x"[..]);
    let (first, both) = (write(&[one(1)]), write(&[one(1), one(2)]));
    assert_eq!(both.len() - first.len(), 5, "kind, flags, size, length, byte");
}

#[test]
fn what_is_no_entry_is_refused() {
    assert_eq!(read(b""), Err(EntryError::Malformed));
    assert_eq!(read(&[0]), Err(EntryError::Malformed));
    assert_eq!(read(&[2]), Err(EntryError::UnknownVersion(2)));
    assert_eq!(read(&[1]), Ok(vec![]));
    let malformed: [(&str, &[u8]); 7] = [
        ("an unknown kind", &[1, 10]),
        ("an unknown flag", &[1, 39, 2]),
        ("a successor without a predecessor", &[1, 0x89]),
        ("a command number 0", &[1, 9, 1, 1, 1, 0]),
        ("a successor that is none of a session", &[1, 0x80 | 35]),
        ("ranges that touch", &[1, 37, 2, 1, 0, 1, 0]),
        ("a body that is carried twice", &[1, 41, 2, 1, 1, 1, 7, 1, 1, 1, 7]),
    ];
    for (what, bytes) in malformed {
        assert_eq!(read(bytes), Err(EntryError::Malformed), "{what}");
    }
    let whole = write(&all_commands());
    let boundaries: Vec<usize> =
        (0..=all_commands().len()).map(|count| write(&all_commands()[..count]).len()).collect();
    for len in 1..whole.len() {
        assert_eq!(read(&whole[..len]).is_ok(), len == 1 || boundaries.contains(&len), "cut at {len}");
    }
}

#[test]
fn one_command_names_no_more_deliveries_than_it_may() {
    let settle = |first, last| (session(1, SessionOp::Settle { tag: 1, numbers: numbers(&[(first, last)]) }), &b""[..]);
    assert!(read(&write(&[settle(1, QUORUM_NUMBERS_MAX)])).is_ok());
    assert_eq!(read(&write(&[settle(0, QUORUM_NUMBERS_MAX)])), Err(EntryError::Malformed));
    let all = [NumberRange { first: 1, last: 5 }, NumberRange { first: 7, last: QUORUM_NUMBERS_MAX * 2 }];
    let parts: Vec<Numbers> = super::super::command::split_numbers(&all).collect();
    let max = QUORUM_NUMBERS_MAX;
    assert_eq!(parts[0], numbers(&[(1, 5), (7, max + 1)]));
    assert_eq!(parts[1..], [numbers(&[(max + 2, max * 2)])]);
}

/// Whatever the bytes, reading them ends, and what they say can be applied.
#[test]
fn no_bytes_are_too_much() {
    let whole = write(&all_commands());
    let mut rng = Rng::new(1);
    let mut queue = QuorumQueue::default();
    let mut index = 0;
    let mut readable = 0;
    for round in 0..20_000 {
        let mut bytes = if round % 2 == 0 {
            let mut bytes: Vec<u8> = (0..rng.below(60)).map(|_| rng.next().to_le_bytes()[0]).collect();
            bytes.insert(0, 1);
            bytes
        } else {
            whole.clone()
        };
        for _ in 0..rng.below(4) {
            if let Some(at) = rng.index(bytes.len()) {
                bytes[at] = rng.next().to_le_bytes()[0];
            }
        }
        let Ok(mut commands) = read(&bytes) else { continue };
        commands.retain(|command| !matches!(command, Command::DeletePrepare { .. }) || round % 100 == 0);
        readable += 1;
        index += 1;
        let mut actions = Actions::default();
        queue.apply(Meta { index: LogIndex(index), wall_ms: rng.below(1 << 20) }, &commands, &mut actions);
        queue.check_invariants();
        if round % 500 == 0 {
            queue = QuorumQueue::restore(&queue.snapshot()).unwrap();
        }
        if queue.stat().is_deleting || queue.stat().ready > 200 {
            (queue, index) = (QuorumQueue::default(), 0);
        }
    }
    assert!(readable > 1000, "{readable} of the entries could be read");
}

/// A queue that has some of everything.
fn full_queue() -> QuorumQueue {
    let mut queue = QuorumQueue::default();
    let settings = Settings {
        dead_letters: DeadLetters::AtLeastOnce,
        rejects_publish: true,
        disconnected_timeout_ms: 1000,
        delayed_retry: DelayedRetry { failed: true, returned: false, min_ms: 500, max_ms: 900 },
        ..Settings::default()
    };
    let enqueue = |priority, ttl_ms| {
        SessionOp::Enqueue(Enqueue {
            size: 7,
            priority,
            ttl_ms,
            is_persistent: ttl_ms.is_none(),
            is_internal: ttl_ms == Some(1),
            payload: Payload { at: 4, len: 9 },
        })
    };
    let checkout = |tag, priority| {
        let credit = CreditMode::Prefetch(2);
        SessionOp::Checkout(Checkout {
            tag,
            credit,
            priority,
            timeout_ms: (tag == 2).then_some(100),
            is_exclusive: tag == 3,
        })
    };
    let one = |number| numbers(&[(number, number)]);
    let mut ops = vec![checkout(1, 0), checkout(2, 5), checkout(3, 0)];
    ops.extend([enqueue(None, None), enqueue(Some(9), Some(5000)), enqueue(None, Some(1)), enqueue(Some(0), None)]);
    ops.extend((0..8).map(|priority| enqueue(Some(priority), None)));
    ops.push(SessionOp::Return { tag: 1, numbers: one(1), how: ReturnKind::Requeued });
    ops.push(SessionOp::Return { tag: 1, numbers: one(2), how: ReturnKind::Failed });
    ops.push(SessionOp::Discard { tag: 2, numbers: one(1) });
    ops.push(SessionOp::Cancel { tag: 3, seen: DeliveryNumber(1) });
    let mut commands = vec![Command::Update(settings.into())];
    commands.extend(ops.into_iter().zip(1..).map(|(op, seqno)| session(seqno, op)));
    for (at, command) in commands.iter().enumerate() {
        let index = LogIndex(at as u64 + 1);
        queue.apply(Meta { index, wall_ms: 1_000_000 }, core::slice::from_ref(command), &mut Actions::default());
    }
    let late = Meta { index: LogIndex(100), wall_ms: 1_000_150 };
    queue.apply(late, &[Command::NodeSuspected { node: NodeId(2) }, Command::Tick], &mut Actions::default());
    queue.check_invariants();
    queue
}

#[test]
fn a_restored_queue_is_equal_and_goes_on_equally() {
    let mut queue = full_queue();
    let stat = queue.stat();
    assert!(stat.ready > 0 && stat.unacked > 0 && stat.dead > 0 && stat.delayed > 0, "{stat:?}");
    let mut restored = QuorumQueue::restore(&queue.snapshot()).unwrap();
    restored.check_invariants();
    assert_eq!(restored.stat(), stat);
    assert_eq!(restored.state_hash(), queue.state_hash());
    for index in 101..140 {
        let meta = Meta { index: LogIndex(index), wall_ms: 1_000_000 + index * 20 };
        let commands =
            [if index == 110 { Command::NodeUp { node: NodeId(2), boot: Boot(300) } } else { Command::Tick }];
        let (mut left, mut right) = (Actions::default(), Actions::default());
        queue.apply(meta, &commands, &mut left);
        restored.apply(meta, &commands, &mut right);
        assert_eq!(format!("{left:?}"), format!("{right:?}"));
        assert_eq!(restored.state_hash(), queue.state_hash(), "after {index}");
    }
}

/// What version 1 wrote can be read for ever.
#[test]
fn snapshots_of_version_1_stay_readable() {
    let [piece] = &full_queue().snapshot()[..] else { panic!("a small queue is one piece") };
    assert_eq!(hex(piece), SNAPSHOT_V1);
    let restored = QuorumQueue::restore(&[Bytes::from(unhex(SNAPSHOT_V1))]).unwrap();
    assert_eq!(restored.stat(), full_queue().stat());
}

#[test]
fn pieces_are_bounded_and_none_may_be_missing() {
    let mut queue = QuorumQueue::default();
    let enqueue = SessionOp::Enqueue(Enqueue { size: 1, ..Enqueue::default() });
    for seqno in 1..=20_000 {
        let meta = Meta { index: LogIndex(seqno * 3), wall_ms: 1 };
        queue.apply(meta, &[session(seqno, enqueue.clone())], &mut Actions::default());
    }
    let pieces = queue.snapshot();
    assert!(pieces.len() >= 2 && pieces.iter().all(|piece| piece.len() < 65 * 1024), "{} pieces", pieces.len());
    assert_eq!(QuorumQueue::restore(&pieces).unwrap().state_hash(), queue.state_hash());
    assert_eq!(QuorumQueue::restore(&pieces[1..]).unwrap_err(), SnapshotError::Damaged);
    assert_eq!(QuorumQueue::restore(&pieces[..1]).unwrap_err(), SnapshotError::Damaged);
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let snapshot = full_queue().snapshot();
    assert!(QuorumQueue::restore(&[]).is_err());
    let mut rng = Rng::new(2);
    for _ in 0..2000 {
        let mut bytes = snapshot[0].to_vec();
        let at = rng.index(bytes.len()).unwrap();
        if rng.percent(50) {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << rng.below(8);
        }
        assert!(QuorumQueue::restore(&[Bytes::from(bytes)]).is_err(), "damaged at {at}");
    }
    let mut later = snapshot[0].to_vec();
    later[0] = 2;
    assert_eq!(QuorumQueue::restore(&[Bytes::from(later)]).unwrap_err(), SnapshotError::UnknownVersion(2));
}

const ENTRY_V1: &str = "01241f0702e807808080808020e0d4031401e0d40305f403240000000000000102ac020501000306616263646566810702090002787982\
    0102ac020700000000000000c0ee6d820201ffffffffffffffff0302ac0205060384020affffffff0f01850102010002c5018601010200\
    01860101070200870100238801c8018920032103042203ffffffff0f2502000002e607262701280129020102036162630105027879\
    2a0202010900ac0203616263030109808080808020ac020278792b0102ac0205bc050102ac0205030400ffffffffffffffff010c0109ac02808080808020\
    2c02ac0205";
const SNAPSHOT_V1: &str = "01000502e807f403840701d6853d640dc0843d010102ac020501d6853d0102ac02051404030202ac020501020000000000000000000202\
    0002ac020502020005000000000000000003010205000000000000000000000000000000000000000302ac02050101050004000203c084\
    3d06040e06040907c1843d000104c0843d0107121204090702ac02050202040164030202030002ac02050300030002000101c0843d0100\
    111104090703070501140c040907000106090909040907c8ab3d0001050612120409070001010503030409070104030304090701030303\
    0409070102030304090701b4883d050005050409070101010102c0843d01040909040907e86d544be83919fa";
