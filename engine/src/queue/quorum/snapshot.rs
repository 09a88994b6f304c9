//! All of a quorum queue as bytes, version 1, but for the bodies, which stay in the log.
//!
//! The encoding is canonical: two queues are equal if and only if their bytes are. So the hash of the state is the hash of these bytes,
//! and it stands at their end.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

use super::dead::DeadMessage;
use super::encoding::{flags, put_session, put_settings, read_flags, read_session, read_settings};
use super::ids::{Boot, ConsumerId, DeliveryNumber, LogIndex, NodeId, SessionSeqno};
use super::machine::QuorumQueue;
use super::roster::{NodeState, SessionState};
use super::slot::{BodyPlace, Slot};
use super::taker::{Out, Taker};
use crate::ids::QueueSeq;
use crate::limits::QUORUM_SNAPSHOT_PIECE_BYTES;
use crate::queue::LeaveReason;
use crate::queue::consumers::{ConsumerImage, ConsumerKey, Consumers, Image};
use crate::storage::codec::{Reader, mix, put_varint, unzigzag, zigzag};
use crate::window::Window;

/// The version that is written.
const VERSION: u8 = 1;

/// Bytes that are no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// A later program wrote them.
    UnknownVersion(u8),
    /// They are not what was written.
    Damaged,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVersion(version) => {
                write!(f, "a queue's snapshot is of version {version}, which this program does not know")
            }
            Self::Damaged => f.write_str("a queue's snapshot is damaged"),
        }
    }
}

impl core::error::Error for SnapshotError {}

impl QuorumQueue {
    /// All of it in pieces, none much longer than [`QUORUM_SNAPSHOT_PIECE_BYTES`]: about 20 bytes for a message.
    pub fn snapshot(&self) -> Vec<Bytes> {
        let mut writer = PieceWriter::new(true);
        self.write(&mut writer);
        writer.finish().0
    }

    /// A number that is the same for all members that applied the same entries. It walks all messages.
    pub fn state_hash(&self) -> u64 {
        let mut writer = PieceWriter::new(false);
        self.write(&mut writer);
        writer.finish().1
    }

    /// A queue from all pieces of a snapshot, in order.
    ///
    /// # Errors
    /// If they are not what was written, or a later program wrote them.
    pub fn restore(pieces: &[Bytes]) -> Result<Self, SnapshotError> {
        let mut hash = 0;
        let (last, others) = pieces.split_last().ok_or(SnapshotError::Damaged)?;
        let (end, sum) = last.split_last_chunk::<8>().ok_or(SnapshotError::Damaged)?;
        for piece in others.iter().map(|piece| &piece[..]).chain([end]) {
            hash = fold(hash, piece);
        }
        let all = others.iter().map(|piece| &piece[..]).chain([end]).collect::<Vec<_>>().concat();
        let mut reader = Reader(&all);
        match reader.u8() {
            Some(VERSION) => {}
            Some(version) if version > VERSION => return Err(SnapshotError::UnknownVersion(version)),
            _ => return Err(SnapshotError::Damaged),
        }
        if hash != u64::from_le_bytes(*sum) {
            return Err(SnapshotError::Damaged);
        }
        let queue = read(&mut reader).ok_or(SnapshotError::Damaged)?;
        if reader.is_empty() { Ok(queue) } else { Err(SnapshotError::Damaged) }
    }

    fn write(&self, out: &mut PieceWriter) {
        out.bytes.push(VERSION);
        put_settings(&mut out.bytes, &self.settings);
        out.bytes.push(flags([self.is_configured, self.is_full, self.is_paused, self.is_deleting]));
        for number in [self.now, self.applied.0, self.next_seq.0, self.used_at, self.dead.deaths()] {
            out.number(number);
        }
        self.write_roster(out);
        let image = self.consumers.image();
        write_consumers(out, &image);
        self.write_takers(out, &image);
        let mut slots = SlotCoder::default();
        out.number(self.ready.returned_len() as u64);
        out.number(self.ready.len() as u64);
        for slot in self.ready.iter() {
            slots.put(out, slot);
        }
        out.number(self.delayed.len());
        for (due, slot) in self.delayed.iter() {
            out.number(due);
            slots.put(out, slot);
        }
        out.number(self.dead.len());
        for (number, dead) in self.dead.iter() {
            out.number(number);
            out.bytes.push(dead.reason.code());
            out.number(dead.at);
            slots.put(out, &dead.slot);
        }
    }

    fn write_roster(&self, out: &mut PieceWriter) {
        out.number(self.roster.nodes.len() as u64);
        for (node, NodeState { boot, highest, suspected_at }) in &self.roster.nodes {
            out.number(node.0);
            out.number(boot.0);
            out.number(*highest);
            out.option(*suspected_at);
        }
        out.number(self.roster.sessions.len() as u64);
        for (session, SessionState { next, next_tag }) in self.roster.sessions.iter() {
            put_session(&mut out.bytes, session);
            out.number(next.0);
            out.number((*next_tag).into());
            out.cut();
        }
    }

    fn write_takers(&self, out: &mut PieceWriter, image: &Image<ConsumerId>) {
        let positions: BTreeMap<ConsumerId, u64> =
            image.consumers.iter().map(|consumer| consumer.who).zip(1..).collect();
        let mut slots = SlotCoder::default();
        out.number(self.takers.len() as u64);
        for (id, taker) in self.takers.iter() {
            put_consumer(out, id);
            // A cancelled consumer has no position.
            out.number(taker.key.and_then(|_| positions.get(&id).copied()).unwrap_or(0));
            out.number(taker.next.0);
            out.option(taker.timeout_ms);
            out.number(taker.delivery_count.into());
            out.number(taker.timed_out.len() as u64);
            taker.timed_out.iter().for_each(|number| out.number(*number));
            out.number(taker.unacked.len() as u64);
            for (number, Out { slot, at }) in taker.unacked.iter() {
                out.number(number);
                out.number(*at);
                slots.put(out, slot);
            }
        }
    }
}

fn read(reader: &mut Reader<'_>) -> Option<QuorumQueue> {
    let settings = read_settings(reader)?;
    let (rules, ready) = (settings.rules, settings.rules.ready());
    let mut queue = QuorumQueue { settings, ready, ..QuorumQueue::default() };
    [queue.is_configured, queue.is_full, queue.is_paused, queue.is_deleting] = read_flags(reader)?;
    queue.now = reader.varint()?;
    queue.applied = LogIndex(reader.varint()?);
    queue.next_seq = QueueSeq(reader.varint()?);
    queue.used_at = reader.varint()?;
    queue.dead.continue_after(reader.varint()?);
    read_roster(reader, &mut queue)?;
    let (consumers, keys) = Consumers::from_image(&read_consumers(reader)?, !rules.is_classic())?;
    queue.consumers = consumers;
    let mut lives = Vec::new();
    read_takers(reader, &mut queue, &keys, &mut lives)?;
    let mut slots = SlotCoder { priority_max: queue.ready.priority_max(), ..SlotCoder::default() };
    let (returned, ready) = (reader.varint()?, reader.varint()?);
    for at in 0..ready {
        let slot = slots.read(reader, &mut lives)?;
        queue.expiring += u64::from(slot.expires_at != 0);
        if at < returned { queue.ready.give_back(slot) } else { queue.ready.push(slot) }
    }
    for _ in 0..reader.varint()? {
        let due = reader.varint()?;
        queue.delayed.push(due, slots.read(reader, &mut lives)?);
    }
    let mut before = 0;
    for _ in 0..reader.varint()? {
        let number = reader.varint().filter(|number| *number > before)?;
        let (reason, at) = (LeaveReason::from_code(reader.u8()?)?, reader.varint()?);
        queue.dead.restore(number, DeadMessage { slot: slots.read(reader, &mut lives)?, reason, at });
        before = number;
    }
    queue.persistent += slots.persistent;
    lives.sort_unstable();
    for lives in lives.chunk_by(|left, right| left.0 == right.0) {
        queue.live.restore(lives[0].0, lives.iter().map(|(_, count)| count).sum());
    }
    Some(queue)
}

fn read_roster(reader: &mut Reader<'_>, queue: &mut QuorumQueue) -> Option<()> {
    for _ in 0..reader.varint()? {
        let (node, boot) = (NodeId(reader.varint()?), Boot(reader.varint()?));
        let state = NodeState { boot, highest: reader.varint()?, suspected_at: read_option(reader)? };
        queue.roster.nodes.insert(node, state);
    }
    for _ in 0..reader.varint()? {
        let session = read_session(reader)?;
        let state = SessionState { next: SessionSeqno(reader.varint()?), next_tag: reader.varint_u32()? };
        queue.roster.sessions.insert(session, state);
    }
    Some(())
}

fn read_takers(
    reader: &mut Reader<'_>,
    queue: &mut QuorumQueue,
    keys: &[ConsumerKey],
    lives: &mut Vec<(LogIndex, u32)>,
) -> Option<()> {
    let mut slots = SlotCoder { priority_max: queue.ready.priority_max(), ..SlotCoder::default() };
    for _ in 0..reader.varint()? {
        let id = read_consumer(reader)?;
        let key = match reader.varint()? {
            0 => None,
            position => Some(*keys.get(usize::try_from(position - 1).ok()?)?),
        };
        let next = DeliveryNumber(reader.varint()?);
        let timeout_ms = read_option(reader)?;
        let delivery_count = reader.varint_u32()?;
        let mut timed_out = BTreeSet::new();
        for _ in 0..reader.varint()? {
            timed_out.insert(reader.varint()?);
        }
        let (mut unacked, mut before) = (Window::default(), 0);
        for _ in 0..reader.varint()? {
            let number = reader.varint().filter(|number| *number > before && *number < next.0)?;
            before = number;
            let at = reader.varint()?;
            let slot = slots.read(reader, lives)?;
            queue.unacked += 1;
            queue.unacked_bytes += u64::from(slot.size);
            unacked.insert(number, Out { slot, at });
        }
        queue.takers.insert(id, Taker { key, next, unacked, timed_out, timeout_ms, delivery_count });
    }
    queue.persistent += slots.persistent;
    Some(())
}

fn write_consumers(out: &mut PieceWriter, image: &Image<ConsumerId>) {
    out.number(image.arrivals);
    out.number(image.consumers.len() as u64);
    for consumer in &image.consumers {
        let ConsumerImage { who, prefetch, credit, priority, unacked, is_exclusive, is_barred, is_suspected, arrival } =
            consumer;
        put_consumer(out, *who);
        out.number((*prefetch).into());
        out.option(credit.map(u64::from));
        out.bytes.extend(priority.to_le_bytes());
        out.number((*unacked).into());
        out.bytes.push(flags([*is_barred, *is_suspected, *is_exclusive]));
        out.number(*arrival);
        out.cut();
    }
    out.number(image.rings.len() as u64);
    for (priority, members) in &image.rings {
        out.bytes.extend(priority.to_le_bytes());
        out.number(members.len() as u64);
        members.iter().for_each(|at| out.number(*at as u64));
    }
    let (active, is_leaving) = image.single.unwrap_or_default();
    out.bytes.push(flags([image.single.is_some(), is_leaving]));
    out.option(active.map(|at| at as u64));
}

fn read_consumers(reader: &mut Reader<'_>) -> Option<Image<ConsumerId>> {
    let arrivals = reader.varint()?;
    let (mut consumers, mut rings) = (Vec::new(), Vec::new());
    for _ in 0..reader.varint()? {
        let who = read_consumer(reader)?;
        let prefetch = reader.varint_u32()?;
        let credit = match read_option(reader)? {
            Some(credit) => Some(u32::try_from(credit).ok()?),
            None => None,
        };
        let priority = read_i64(reader)?;
        let unacked = reader.varint_u32()?;
        let [is_barred, is_suspected, is_exclusive] = read_flags(reader)?;
        let arrival = reader.varint()?;
        consumers.push(ConsumerImage {
            who,
            prefetch,
            credit,
            priority,
            unacked,
            is_exclusive,
            is_barred,
            is_suspected,
            arrival,
        });
    }
    for _ in 0..reader.varint()? {
        let priority = read_i64(reader)?;
        let mut members = Vec::new();
        for _ in 0..reader.varint()? {
            members.push(usize::try_from(reader.varint()?).ok()?);
        }
        rings.push((priority, members));
    }
    let [is_single, is_leaving] = read_flags(reader)?;
    let active = match read_option(reader)? {
        Some(at) => Some(usize::try_from(at).ok()?),
        None => None,
    };
    Some(Image { consumers, rings, single: is_single.then_some((active, is_leaving)), arrivals })
}

/// Messages as differences to the one before, which is mostly their neighbour in the log.
#[derive(Default)]
struct SlotCoder {
    index: u64,
    seq: u64,
    persistent: u64,
    /// The highest priority that is read.
    priority_max: u8,
}

impl SlotCoder {
    fn put(&mut self, out: &mut PieceWriter, slot: &Slot) {
        let Slot {
            body: BodyPlace { index, at, len },
            seq,
            expires_at,
            size,
            failed,
            acquired,
            priority,
            is_persistent,
        } = slot;
        let came_back = *acquired > 0 || *failed > 0;
        out.bytes.push(flags([*is_persistent, *expires_at != 0, came_back]));
        out.bytes.push(*priority);
        out.number(zigzag(self.index, index.0));
        out.number(zigzag(self.seq, seq.0));
        (self.index, self.seq) = (index.0, seq.0);
        for number in [*at, *len, *size] {
            out.number(number.into());
        }
        if *expires_at != 0 {
            out.number(*expires_at);
        }
        if came_back {
            out.number((*failed).into());
            out.number((*acquired).into());
        }
        out.cut();
    }

    fn read(&mut self, reader: &mut Reader<'_>, lives: &mut Vec<(LogIndex, u32)>) -> Option<Slot> {
        let [is_persistent, expires, came_back] = read_flags(reader)?;
        let priority = reader.u8().filter(|priority| *priority <= self.priority_max)?;
        self.index = unzigzag(self.index, reader.varint()?)?;
        self.seq = unzigzag(self.seq, reader.varint()?)?;
        let body = BodyPlace { index: LogIndex(self.index), at: reader.varint_u32()?, len: reader.varint_u32()? };
        let size = reader.varint_u32()?;
        let expires_at = if expires { reader.varint().filter(|at| *at != 0)? } else { 0 };
        let (mut failed, mut acquired) = (0, 0);
        if came_back {
            failed = u16::try_from(reader.varint()?).ok()?;
            acquired = u16::try_from(reader.varint()?).ok()?;
        }
        self.persistent += u64::from(is_persistent);
        match lives.last_mut() {
            Some((index, count)) if *index == body.index => *count += 1,
            _ => lives.push((body.index, 1)),
        }
        Some(Slot { body, seq: QueueSeq(self.seq), expires_at, size, failed, acquired, priority, is_persistent })
    }
}

/// Gathers bytes into pieces, or only their hash.
struct PieceWriter {
    bytes: Vec<u8>,
    pieces: Vec<Bytes>,
    hash: u64,
    keeps: bool,
}

impl PieceWriter {
    fn new(keeps: bool) -> Self {
        Self { bytes: Vec::new(), pieces: Vec::new(), hash: 0, keeps }
    }

    fn number(&mut self, number: u64) {
        put_varint(&mut self.bytes, number);
    }

    fn option(&mut self, number: Option<u64>) {
        self.bytes.push(number.is_some().into());
        if let Some(number) = number {
            self.number(number);
        }
    }

    /// A piece may end here.
    fn cut(&mut self) {
        if self.bytes.len() >= QUORUM_SNAPSHOT_PIECE_BYTES {
            self.hash = fold(self.hash, &self.bytes);
            if self.keeps {
                self.pieces.push(Bytes::from(core::mem::take(&mut self.bytes)));
            }
            self.bytes.clear();
        }
    }

    fn finish(mut self) -> (Vec<Bytes>, u64) {
        let hash = fold(self.hash, &self.bytes);
        self.bytes.extend(hash.to_le_bytes());
        self.pieces.push(Bytes::from(self.bytes));
        (self.pieces, hash)
    }
}

/// A hash of all before, and these bytes.
fn fold(mut hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = mix(hash ^ u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(mix(hash ^ u64::from_le_bytes(last)) ^ bytes.len() as u64)
}

fn put_consumer(out: &mut PieceWriter, consumer: ConsumerId) {
    put_session(&mut out.bytes, consumer.session);
    out.number(consumer.tag.into());
}

fn read_consumer(reader: &mut Reader<'_>) -> Option<ConsumerId> {
    Some(read_session(reader)?.consumer(reader.varint_u32()?))
}

fn read_option(reader: &mut Reader<'_>) -> Option<Option<u64>> {
    let [is_given] = read_flags(reader)?;
    if is_given { reader.varint().map(Some) } else { Some(None) }
}

fn read_i64(reader: &mut Reader<'_>) -> Option<i64> {
    Some(i64::from_le_bytes(reader.take(8)?.try_into().ok()?))
}
