//! Bytes from outside: strict where they make no sense, and no panic whatever they say.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;
use proptest::prelude::*;
use raft::eraftpb::{Message, MessageType};

use super::super::wire::{Beat, Frame, Malformed, snapshot};
use super::super::{Content, Entry, EntryId, Groups, Identity, MemberChange, Origin, Outputs, Settings, SnapshotNeed};
use super::rng::Rng;
use super::world::members;
use crate::ids::{GroupId, NodeId};
use crate::limits;
use crate::time::Instant;

fn message(kind: MessageType) -> Message {
    let mut message = Message { from: 1, to: 2, term: 7, ..Default::default() };
    message.set_msg_type(kind);
    message
}

/// One of everything.
fn everything() -> Frame {
    let mut frame = Frame { boot: 300, ..Frame::default() };
    let mut push = |message| frame.push(GroupId(5), 9, message);
    let entry = |index, content| Entry { id: EntryId { term: 6, index }, content }.to_raft();
    let entries = [
        entry(4, Content::Command(Bytes::from_static(b"abc"))),
        entry(5, Content::Members(MemberChange::Promote(NodeId(3)))),
    ];
    let append = message(MessageType::MsgAppend);
    push(Message { index: 3, log_term: 5, commit: 2, entries: Vec::from(entries).into(), ..append });
    push(Message { index: 5, commit: 4, ..message(MessageType::MsgAppendResponse) });
    let reject = message(MessageType::MsgAppendResponse);
    push(Message { index: 5, log_term: 4, reject: true, reject_hint: 3, ..reject });
    let vote = message(MessageType::MsgRequestVote);
    let context = Bytes::from_static(raft::CAMPAIGN_TRANSFER);
    push(Message { index: 5, log_term: 6, commit: 4, commit_term: 6, context, ..vote });
    push(Message { reject: true, commit: 4, commit_term: 6, ..message(MessageType::MsgRequestVoteResponse) });
    push(Message { index: 5, log_term: 6, ..message(MessageType::MsgRequestPreVote) });
    push(message(MessageType::MsgRequestPreVoteResponse));
    let mut install = message(MessageType::MsgSnapshot);
    install.set_snapshot(snapshot(EntryId { term: 6, index: 5 }, &members(1..=3), Bytes::from_static(b"state")));
    push(install);
    let token = Bytes::copy_from_slice(&77u64.to_le_bytes());
    push(Message { commit: 4, context: token.clone(), ..message(MessageType::MsgHeartbeat) });
    push(Message { commit: 4, context: token, ..message(MessageType::MsgHeartbeatResponse) });
    push(message(MessageType::MsgTimeoutNow));
    push(Message { commit: 4, ..message(MessageType::MsgHeartbeat) });
    push(Message { commit: 4, ..message(MessageType::MsgHeartbeatResponse) });
    frame.beats.push(Beat { group: GroupId(500), incarnation: 1, term: 2, commit: 3 });
    frame.sleeps.push(Beat { group: GroupId(6), incarnation: 1, term: 2, commit: 3 });
    frame
}

/// Format 1 as it was first written: other nodes of this version have to read it, and later ones as well.
const FORMAT_1: &str = include_str!("format_1.txt");

fn decode(bytes: &[u8]) -> Result<Frame, Malformed> {
    Frame::decode(&Bytes::copy_from_slice(bytes), NodeId(1), NodeId(2))
}

#[test]
fn format_1_stays_what_it_is() {
    let bytes = everything().take_bytes();
    let hex: alloc::string::String = bytes.iter().map(|byte| alloc::format!("{byte:02x}")).collect();
    assert_eq!(hex, FORMAT_1.trim());
    assert_eq!(decode(&bytes), Ok(everything()));
}

#[test]
fn what_is_cut_off_lengthened_or_newer_is_refused() {
    let bytes = everything().take_bytes();
    for len in 0..bytes.len() {
        assert_eq!(decode(&bytes[..len]), Err(Malformed::Content), "{len} bytes");
    }
    assert_eq!(decode(&[&bytes[..], &[0]].concat()), Err(Malformed::Content));
    assert_eq!(decode(&[&[2], &bytes[1..]].concat()), Err(Malformed::Version(2)));
}

#[test]
fn what_raft_could_not_bear_is_refused() {
    let refused = |message: Message| {
        let mut frame = Frame::default();
        frame.push(GroupId(1), 1, message);
        assert_eq!(decode(&frame.take_bytes()), Err(Malformed::Content));
    };
    refused(Message { term: 0, ..message(MessageType::MsgTimeoutNow) });
    refused(Message { term: 1 << 62, ..message(MessageType::MsgTimeoutNow) });
    // Term 0 in front of the entries passes for what is beyond the end of the log.
    refused(Message { index: 3, log_term: 0, ..message(MessageType::MsgAppend) });
    refused(Message { index: 0, log_term: 3, ..message(MessageType::MsgAppend) });
    refused(Message { index: 3, log_term: 8, ..message(MessageType::MsgAppend) });
    refused(Message { commit: 3, ..message(MessageType::MsgTimeoutNow) });
    let mut install = message(MessageType::MsgSnapshot);
    install.set_snapshot(snapshot(EntryId { term: 6, index: 0 }, &members(1..=3), Bytes::new()));
    refused(install);
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn what_is_decoded_is_what_is_sent(seed in any::<u64>()) {
        let mut bytes = everything().take_bytes().to_vec();
        garble(&mut bytes, &mut Rng(seed));
        if let Ok(mut frame) = decode(&bytes) {
            let again = decode(&frame.clone().take_bytes());
            for beats in [&mut frame.beats, &mut frame.answers, &mut frame.sleeps] {
                beats.sort_unstable();
            }
            prop_assert_eq!(again, Ok(frame));
        }
    }
}

fn garble(bytes: &mut [u8], rng: &mut Rng) {
    for _ in 0..1 + rng.below(3) {
        let at = rng.below(bytes.len() as u64) as usize;
        // Mostly small numbers, since those are what makes sense.
        bytes[at] = if rng.one_in(3) { rng.next() as u8 } else { rng.below(12) as u8 };
    }
}

/// Three nodes whose frames are garbled, repeated and reordered, so that all kinds of nonsense arrives in all kinds of states. Nobody
/// can agree under such conditions; nobody may panic either.
fn babel(seed: u64) -> u64 {
    let mut rng = Rng(seed << 20);
    let group = GroupId(1);
    let mut now = Instant::ZERO;
    let mut nodes: Vec<_> = (1..=3)
        .map(|node| {
            let identity = Identity { node: NodeId(node), boot: 1, seed };
            let mut groups = Groups::new(identity, Settings { sleep_ticks: 8, ..Settings::default() }, now);
            groups.create(group, 1, Origin::First(members(1..=3)));
            groups
        })
        .collect();
    let mut frames: VecDeque<(u64, u64, Bytes)> = VecDeque::new();
    let mut garbled = 0;
    for _ in 0..400 {
        let at = rng.below(3);
        let groups = &mut nodes[at as usize];
        match rng.below(12) {
            0..6 => {
                now = now + limits::GROUP_TICK;
                groups.handle_timeout(now);
            }
            6..8 => drop(groups.propose(group, Bytes::from_static(b"command"))),
            8 => drop(groups.change_members(group, MemberChange::Remove(NodeId(1 + rng.below(3))))),
            9 => drop(groups.read_index(group, rng.next())),
            10 => drop(groups.compact(group, rng.below(3))),
            _ => drop(groups.transfer_leadership(group, NodeId(1 + rng.below(3)))),
        }
        for (at, groups) in nodes.iter_mut().enumerate() {
            for _ in 0..rng.below(3) {
                let mut out = Outputs::default();
                groups.flush(now, &mut out);
                groups.check_invariants();
                frames.extend(out.messages.iter().map(|sent| (at as u64 + 1, sent.to.0, sent.bytes.clone())));
                for need in out.snapshots {
                    match need {
                        SnapshotNeed::Make { group, to } => groups.offer_snapshot(group, to, Bytes::new()),
                        SnapshotNeed::Take { group, id, .. } => groups.accept_snapshot(group, id.index),
                    }
                }
                for fetch in out.fetches {
                    groups.fetched(fetch.group, &[]);
                }
                if let Some(write) = out.writes.last().filter(|_| rng.one_in(2)) {
                    groups.persisted(write.ticket);
                }
            }
        }
        for _ in 0..rng.below(6) {
            let Some((from, to, bytes)) = frames.pop_front() else { break };
            let Some(groups) = nodes.get_mut(to as usize - 1) else { continue };
            if !rng.one_in(4) {
                groups.receive(now, NodeId(from), &bytes).unwrap();
            }
            if rng.one_in(2) {
                let mut bytes = bytes.to_vec();
                garble(&mut bytes, &mut rng);
                garbled += u64::from(groups.receive(now, NodeId(from), &Bytes::from(bytes)).is_ok());
            }
        }
    }
    garbled
}

#[test]
fn nonsense_makes_nobody_panic() {
    let garbled: u64 = (0..crate::storage::tests::rng::seeds(100)).map(babel).sum();
    assert!(garbled > 1000, "hardly anything was taken: {garbled}");
}
