//! What nodes send each other: all groups' messages of one flush in one frame.
//!
//! # Format 1
//!
//! *v* is a number of 1 to 10 bytes, seven bits each, lowest first; *bytes* are a *v* with their length and themselves.
//!
//! ```text
//! frame      version 1 (1), boot v, beats, answers, sleeps, count v of messages, messages
//! beats      count v, each: group v (distance from the one before), incarnation v, term v, commit v
//! answers    as beats: what answers those
//! sleeps     as beats: the sender hibernates, everything up to commit being everywhere
//! message    kind 1, flags 1 (1 reject, 2 transfer, 4 context), group v, incarnation v, term v, index v, log term v, commit v,
//!            commit term v, hint v, context v if flagged; then
//!   append     count v, each entry: kind 1, term v, bytes
//!   snapshot   members, bytes
//! members    voters: count v, each v; learners: the same
//! ```
//!
//! A frame without anything is a sign of life. Decoding is strict: nothing is left over, and each kind has only the fields it uses.
//! Sender and receiver are those of the connection.

use alloc::vec::Vec;
use bytes::Bytes;
use raft::eraftpb::{Message, MessageType, Snapshot, SnapshotMetadata};

use super::entry::{Content, Entry, EntryId, NUMBER_END};
use super::members::Members;
use crate::ids::{GroupId, NodeId};
use crate::storage::codec::{Reader, put_varint};

const VERSION: u8 = 1;
const REJECT: u8 = 1;
const TRANSFER: u8 = 2;
const CONTEXT: u8 = 4;
const FLAGS: u8 = 7;
/// What `raft` calls a campaign without asking first.
const TRANSFER_CONTEXT: &[u8] = raft::CAMPAIGN_TRANSFER;

/// Bytes that no node of this version would send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They are of a version that this node does not know.
    Version(u8),
    /// They make no sense.
    Content,
}

/// A heartbeat, the answer to one, or the news that its sender hibernates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Beat {
    pub(super) group: GroupId,
    pub(super) incarnation: u64,
    pub(super) term: u64,
    pub(super) commit: u64,
}

/// A message about one group.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Letter {
    pub(super) group: GroupId,
    pub(super) incarnation: u64,
    pub(super) message: Message,
}

/// All that one node tells another at a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Frame {
    /// The sender's boot: another one means that it has forgotten what it led.
    pub(super) boot: u64,
    pub(super) beats: Vec<Beat>,
    pub(super) answers: Vec<Beat>,
    pub(super) sleeps: Vec<Beat>,
    pub(super) letters: Vec<Letter>,
}

impl Frame {
    /// Adds a message of `raft`. Plain heartbeats and their answers become beats.
    pub(super) fn push(&mut self, group: GroupId, incarnation: u64, message: Message) {
        let beat = Beat { group, incarnation, term: message.term, commit: message.commit };
        match message.get_msg_type() {
            MessageType::MsgHeartbeat if message.context.is_empty() => self.beats.push(beat),
            MessageType::MsgHeartbeatResponse if message.context.is_empty() => self.answers.push(beat),
            _ => self.letters.push(Letter { group, incarnation, message }),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.beats.is_empty() && self.answers.is_empty() && self.sleeps.is_empty() && self.letters.is_empty()
    }

    /// Empties it into bytes.
    pub(super) fn take_bytes(&mut self) -> Bytes {
        let mut out = Vec::new();
        out.push(VERSION);
        put_varint(&mut out, self.boot);
        for beats in [&mut self.beats, &mut self.answers, &mut self.sleeps] {
            beats.sort_unstable();
            put_varint(&mut out, beats.len() as u64);
            let mut group = 0;
            for beat in beats.drain(..) {
                put_varint(&mut out, beat.group.0 - group);
                group = beat.group.0;
                put_varint(&mut out, beat.incarnation);
                put_varint(&mut out, beat.term);
                put_varint(&mut out, beat.commit);
            }
        }
        put_varint(&mut out, self.letters.len() as u64);
        for letter in self.letters.drain(..) {
            letter.encode(&mut out);
        }
        Bytes::from(out)
    }

    /// Reads a frame. The messages in it are from `from` to `to`.
    pub(super) fn decode(bytes: &Bytes, from: NodeId, to: NodeId) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        match reader.u8() {
            Some(VERSION) => {}
            Some(version) => return Err(Malformed::Version(version)),
            None => return Err(Malformed::Content),
        }
        Self::decode_rest(&mut reader, bytes, from, to).filter(|_| reader.is_empty()).ok_or(Malformed::Content)
    }

    fn decode_rest(reader: &mut Reader<'_>, bytes: &Bytes, from: NodeId, to: NodeId) -> Option<Self> {
        let boot = reader.varint()?;
        let [beats, answers, sleeps] = [decode_beats(reader)?, decode_beats(reader)?, decode_beats(reader)?];
        let count = reader.varint()?;
        let mut letters = Vec::new();
        for _ in 0..count {
            letters.push(Letter::decode(reader, bytes, from, to)?);
        }
        Some(Self { boot, beats, answers, sleeps, letters })
    }
}

fn decode_beats(reader: &mut Reader<'_>) -> Option<Vec<Beat>> {
    let count = reader.varint()?;
    let mut beats = Vec::new();
    let mut group = 0u64;
    for _ in 0..count {
        group = group.checked_add(reader.varint()?)?;
        let incarnation = reader.varint()?;
        let (term, commit) = (term(reader)?, number(reader)?);
        beats.push(Beat { group: GroupId(group), incarnation, term, commit });
    }
    Some(beats)
}

/// An index, or a term that may be missing.
fn number(reader: &mut Reader<'_>) -> Option<u64> {
    reader.varint().filter(|number| *number < NUMBER_END)
}

/// Term 0 is what `raft` calls its own thoughts: never from outside.
fn term(reader: &mut Reader<'_>) -> Option<u64> {
    number(reader).filter(|term| *term > 0)
}

fn bytes_of(reader: &mut Reader<'_>, whole: &Bytes) -> Option<Bytes> {
    let len = usize::try_from(reader.varint()?).ok()?;
    let taken = reader.take(len)?;
    Some(whole.slice_ref(taken))
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

const KINDS: [(u8, MessageType); 10] = [
    (1, MessageType::MsgAppend),
    (2, MessageType::MsgAppendResponse),
    (3, MessageType::MsgRequestVote),
    (4, MessageType::MsgRequestVoteResponse),
    (5, MessageType::MsgRequestPreVote),
    (6, MessageType::MsgRequestPreVoteResponse),
    (7, MessageType::MsgSnapshot),
    (8, MessageType::MsgHeartbeat),
    (9, MessageType::MsgHeartbeatResponse),
    (10, MessageType::MsgTimeoutNow),
];

/// Which of the optional fields a kind of message may have.
struct Fields {
    index: bool,
    commit: bool,
    commit_term: bool,
    reject: bool,
    context: bool,
}

fn fields(kind: MessageType) -> Fields {
    let none = Fields { index: false, commit: false, commit_term: false, reject: false, context: false };
    match kind {
        MessageType::MsgAppend => Fields { index: true, commit: true, ..none },
        MessageType::MsgAppendResponse => Fields { index: true, commit: true, reject: true, ..none },
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
            Fields { index: true, commit: true, commit_term: true, ..none }
        }
        MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse => {
            Fields { commit: true, commit_term: true, reject: true, ..none }
        }
        MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse => Fields { commit: true, context: true, ..none },
        _ => none,
    }
}

impl Letter {
    fn encode(&self, out: &mut Vec<u8>) {
        let message = &self.message;
        let kind = message.get_msg_type();
        let code = KINDS.iter().find(|(_, known)| *known == kind).expect("the groups send nothing else").0;
        out.push(code);
        let is_transfer = message.context == TRANSFER_CONTEXT;
        let context = <[u8; 8]>::try_from(&message.context[..]).ok().filter(|_| !is_transfer);
        let flag = |flag, is_set| if is_set { flag } else { 0 };
        out.push(flag(REJECT, message.reject) | flag(TRANSFER, is_transfer) | flag(CONTEXT, context.is_some()));
        put_varint(out, self.group.0);
        put_varint(out, self.incarnation);
        // A snapshot's place is in the fields that other messages have for theirs.
        let snapshot = message.get_snapshot().get_metadata();
        let place = if kind == MessageType::MsgSnapshot {
            (snapshot.index, snapshot.term)
        } else {
            (message.index, message.log_term)
        };
        for number in [message.term, place.0, place.1, message.commit, message.commit_term, message.reject_hint] {
            put_varint(out, number);
        }
        if let Some(context) = context {
            put_varint(out, u64::from_le_bytes(context));
        }
        match kind {
            MessageType::MsgAppend => {
                put_varint(out, message.entries.len() as u64);
                for (entry, index) in message.entries.iter().zip(message.index + 1..) {
                    assert_eq!(entry.index, index, "entries follow each other");
                    let entry = Entry::from_raft(entry);
                    let (kind, content) = entry.content.encode_kind();
                    out.push(kind);
                    put_varint(out, entry.id.term);
                    put_bytes(out, &content);
                }
            }
            MessageType::MsgSnapshot => {
                Members::from_raft(snapshot.get_conf_state()).encode(out);
                put_bytes(out, &message.get_snapshot().data);
            }
            _ => {}
        }
    }

    fn decode(reader: &mut Reader<'_>, whole: &Bytes, from: NodeId, to: NodeId) -> Option<Self> {
        let code = reader.u8()?;
        let kind = KINDS.iter().find(|(known, _)| *known == code)?.1;
        let flags = reader.u8().filter(|flags| flags & !FLAGS == 0)?;
        let group = GroupId(reader.varint()?);
        let incarnation = reader.varint()?;
        let mut message = Message { from: from.0, to: to.0, term: term(reader)?, ..Default::default() };
        message.set_msg_type(kind);
        let place = EntryId { index: number(reader)?, term: number(reader)? };
        message.commit = number(reader)?;
        message.commit_term = number(reader)?;
        message.reject_hint = number(reader)?;
        message.reject = flags & REJECT != 0;
        if flags & TRANSFER != 0 {
            message.context = Bytes::from_static(TRANSFER_CONTEXT);
        }
        if flags & CONTEXT != 0 {
            message.context = Bytes::copy_from_slice(&reader.varint()?.to_le_bytes());
        }
        let allowed = fields(kind);
        let is_transfer_allowed = kind == MessageType::MsgRequestVote;
        let is_sound = (allowed.commit || message.commit == 0)
            && (allowed.commit_term || message.commit_term == 0)
            && (allowed.reject || !message.reject)
            && (message.reject || message.reject_hint == 0)
            && (allowed.context || flags & CONTEXT == 0)
            && (is_transfer_allowed || flags & TRANSFER == 0);
        if !is_sound {
            return None;
        }
        if kind == MessageType::MsgSnapshot {
            message.set_snapshot(decode_snapshot(reader, whole, place, message.term)?);
        } else if allowed.index {
            message.index = place.index;
            message.log_term = place.term;
        } else if place != EntryId::default() {
            return None;
        }
        if kind == MessageType::MsgAppend {
            decode_entries(reader, whole, &mut message)?;
        }
        Some(Self { group, incarnation, message })
    }
}

fn decode_snapshot(reader: &mut Reader<'_>, whole: &Bytes, place: EntryId, term: u64) -> Option<Snapshot> {
    if place.index == 0 || place.term == 0 || place.term > term {
        return None;
    }
    let members = Members::decode(reader)?;
    Some(snapshot(place, &members, bytes_of(reader, whole)?))
}

/// As `raft` knows it.
pub(super) fn snapshot(id: EntryId, members: &Members, data: Bytes) -> Snapshot {
    let mut metadata = SnapshotMetadata { index: id.index, term: id.term, ..Default::default() };
    metadata.set_conf_state(members.to_raft());
    let mut snapshot = Snapshot { data, ..Default::default() };
    snapshot.set_metadata(metadata);
    snapshot
}

/// Entries follow each other, and their terms only go up to that of the message. The entry in front of them exists: a leader's log
/// begins with a snapshot.
fn decode_entries(reader: &mut Reader<'_>, whole: &Bytes, message: &mut Message) -> Option<()> {
    if message.index == 0 || message.log_term == 0 || message.log_term > message.term {
        return None;
    }
    let count = reader.varint()?;
    let mut id = EntryId { term: message.log_term, index: message.index };
    let mut entries = Vec::new();
    for _ in 0..count {
        let kind = reader.u8()?;
        let term = term(reader)?;
        if term < id.term || term > message.term {
            return None;
        }
        id = EntryId { term, index: id.index + 1 };
        let content = Content::decode_kind(kind, bytes_of(reader, whole)?)?;
        entries.push(Entry { id, content }.to_raft());
    }
    message.set_entries(entries.into());
    Some(())
}
