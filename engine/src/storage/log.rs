//! The log as its users see it, and how records get their places in it.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

use super::block::{BLOCK_ALIGN, BLOCK_HEADER_BYTES, OpenBlock};
use super::clean::{Cleaner, Dropped, Move, Quiet};
use super::codec::{Reader, VARINT_BYTES, len32};
use super::commit::{ClosedBlock, Commit, Op};
use super::place::{Corrupt, LogOutcome, LogUsage, Owners, Place, Ref, STATE_BYTES_MAX, Until};
use super::ranges::{self, RANGE_BYTES_MAX, SeqRange};
use super::record::{self, Kind, Parsed, RECORD_HEADER_BYTES};
use super::recovery::Recovery;
use super::segment::{FileState, SEGMENT_HEADER_BYTES, Segment, SegmentHeader, Segments, segment_salt};
use super::summary::{Contents, MetadataAt, SummaryRef};
use crate::buggify::{Buggify, Point};
use crate::config::LogConfig;
use crate::effect::{DiskOp, DiskRequest};
use crate::ids::{DiskOpId, Lsn, SegmentId};
use crate::input::{DiskError, DiskOutcome};
use crate::time::Instant;
use crate::timer::TimerKind;

/// Segments are made in multiples of this where a large record asks for one of its own.
const SIZE_STEP_BYTES: u64 = 4096;
/// A summary may be this part of a segment; beyond it the segment is left to be read in full after a restart.
const SUMMARY_PART: u64 = 4;
/// Bytes of a record with a list of ranges, beside the ranges.
// One record for settlements and one for marks may be needed.
const RANGES_HEADER_BYTES: usize = RECORD_HEADER_BYTES + VARINT_BYTES;

/// The node's log.
///
/// Life: [`Log::new`], [`Log::start`], disk answers until [`LogOutcome::Recovered`], [`Log::retain`] for each kept message; then any
/// number of batches of appends and settlements, each ended by [`Log::flush`].
#[derive(Debug)]
pub struct Log {
    pub(super) config: LogConfig,
    pub(super) boot_salt: u64,
    /// Which boot this is, counted from 1; greater than any found on the disk.
    pub(super) incarnation: u64,
    pub(super) phase: Phase,
    pub(super) segments: Segments,
    /// The segment after the active one, made before it is needed.
    pub(super) ahead: Option<Ahead>,
    /// A file that no segment uses any more.
    pub(super) free: Option<SegmentId>,
    /// Segments that left the log and whose files go once that is durable.
    pub(super) dropped: VecDeque<Dropped>,
    /// The block that records are being added to; it lies in the active segment.
    pub(super) open: OpenBlock,
    /// Bytes to be written before the open block: the header of a segment that was just begun.
    pub(super) prefix: Option<Bytes>,
    /// What the active segment holds.
    pub(super) contents: Contents,
    /// Settlements and delivery marks that the open block will hold once it is closed.
    pub(super) settled: Vec<SeqRange>,
    pub(super) delivered: Vec<SeqRange>,
    pub(super) commit: Commit,
    pub(super) base: MetadataBase,
    pub(super) cleaner: Option<Cleaner>,
    /// Records written again, whose owners do not know yet.
    pub(super) moves: VecDeque<Move>,
    /// Bytes that cleaning may still copy: earned by what is appended and by what dies, so that an idle log comes to rest.
    pub(super) credit: u64,
    /// Bytes that it may still read while others use the log.
    pub(super) read_credit: u64,
    /// Bytes of the open block that the log wrote for itself, and that earn nothing: copies, snapshots, summaries.
    pub(super) own_bytes: u64,
    /// Something else was written since the last batch ended.
    pub(super) was_used: bool,
    pub(super) quiet: Quiet,
    pub(super) ops: BTreeMap<DiskOpId, Op>,
    next_op: u64,
    pub(super) buggify: Buggify,
    /// Files on the disk with their sizes.
    pub(super) files: BTreeMap<SegmentId, u64>,
}

/// What the log is doing.
#[derive(Debug)]
pub(super) enum Phase {
    /// It has not begun.
    New,
    /// It looks at what is on the disk.
    Recovering(alloc::boxed::Box<Recovery>),
    /// It takes records.
    Running,
    /// It takes no more disk answers.
    Failed,
}

/// A segment that is not part of the log yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    pub(super) id: SegmentId,
    pub(super) size: u64,
    pub(super) state: FileState,
}

/// From where on metadata records are needed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MetadataBase {
    /// The last snapshot, or 0 while there is none.
    pub(super) lsn: u64,
    /// Bytes of the last snapshot.
    pub(super) snapshot_bytes: u64,
    /// Bytes of the records after it.
    pub(super) tail_bytes: u64,
}

impl Log {
    /// A log that knows nothing yet. `salt` is a random number, another at each boot: checksums are seeded with it, so that no bytes
    /// that a client chose can pass for a record.
    ///
    /// # Panics
    /// If the segments' size is out of bounds.
    pub fn new(config: LogConfig, salt: u64) -> Self {
        assert!(config.segment_bytes > 2 * SEGMENT_HEADER_BYTES as u64, "segments are too small to hold anything");
        assert!(config.segment_bytes < 1 << 31, "positions within a segment are 32 bits wide");
        Self {
            config,
            boot_salt: salt,
            incarnation: 0,
            phase: Phase::New,
            segments: Segments::default(),
            ahead: None,
            free: None,
            dropped: VecDeque::new(),
            open: OpenBlock::new(0, 0),
            prefix: None,
            contents: Contents::default(),
            settled: Vec::new(),
            delivered: Vec::new(),
            commit: Commit::default(),
            base: MetadataBase::default(),
            cleaner: None,
            moves: VecDeque::new(),
            credit: 0,
            read_credit: 0,
            own_bytes: 0,
            was_used: false,
            quiet: Quiet::default(),
            ops: BTreeMap::new(),
            next_op: 0,
            buggify: Buggify::default(),
            files: BTreeMap::new(),
        }
    }

    /// The same, going rarer ways.
    #[must_use]
    pub(crate) fn buggified(mut self, buggify: Buggify) -> Self {
        self.buggify = buggify;
        self
    }

    /// Begins recovery.
    ///
    /// # Panics
    /// If called twice.
    pub fn start(&mut self, out: &mut Vec<DiskRequest>) {
        assert!(matches!(self.phase, Phase::New), "a log starts once");
        self.phase = Phase::Recovering(alloc::boxed::Box::default());
        self.request(Op::List, DiskOp::List, out);
    }

    /// Takes the answer to a disk operation. [`Log::flush`] is to follow at the end of the batch.
    ///
    /// # Panics
    /// If the operation is not under way.
    pub fn handle_done(
        &mut self,
        now: Instant,
        op: DiskOpId,
        outcome: DiskOutcome,
        owners: &mut dyn Owners,
        out: &mut Vec<DiskRequest>,
    ) -> LogOutcome {
        if matches!(self.phase, Phase::Failed) {
            return LogOutcome::Nothing;
        }
        let op = self.ops.remove(&op).expect("every answer has its question");
        let outcome = match &self.phase {
            Phase::Recovering(_) => self.recovery_done(op, outcome, out),
            Phase::New | Phase::Running | Phase::Failed => self.operation_done(now, op, outcome, owners),
        };
        if matches!(outcome, LogOutcome::Damaged(_) | LogOutcome::Fatal(_)) {
            self.phase = Phase::Failed;
        }
        outcome
    }

    /// Takes the failure of a disk operation. Where space is missing the log tries again by itself.
    ///
    /// # Panics
    /// If the operation is not under way.
    pub fn handle_failed(&mut self, now: Instant, op: DiskOpId, error: DiskError) -> LogOutcome {
        if matches!(self.phase, Phase::Failed) {
            return LogOutcome::Nothing;
        }
        let op = self.ops.remove(&op).expect("every answer has its question");
        let outcome = self.operation_failed(now, op, error);
        if matches!(outcome, LogOutcome::Fatal(_)) {
            self.phase = Phase::Failed;
        }
        outcome
    }

    /// Appends one message for all of `refs`; its payload is `head` followed by `body`. A large body is not copied.
    ///
    /// # Panics
    /// If there are no references, or more than 65,535.
    pub fn append_message(&mut self, refs: &[Ref], head: &[u8], body: &Bytes) -> Place {
        let place = self.write_message(refs, head, body);
        self.close_if_large();
        place
    }

    pub(super) fn write_message(&mut self, refs: &[Ref], head: &[u8], body: &Bytes) -> Place {
        assert!(!refs.is_empty(), "a record needs somebody who will settle it");
        let shares = u16::try_from(refs.len()).expect("a record has at most 65,535 references");
        let most = RECORD_HEADER_BYTES
            + VARINT_BYTES
            + refs.len() * (2 * VARINT_BYTES + STATE_BYTES_MAX)
            + head.len()
            + body.len();
        self.make_room(most);
        let buffer = self.open.begin_record(Kind::Message);
        record::encode_refs(refs, buffer);
        buffer.extend_from_slice(head);
        let (lsn, len) = self.finish_record(body);
        let place = Place { lsn: Lsn(lsn), len, shares };
        let offset = self.offset(lsn);
        self.contents.refs.extend(refs.iter().map(|reference| SummaryRef {
            owner: reference.owner,
            seq: reference.seq,
            offset,
            len,
            shares,
            state: reference.state,
        }));
        self.segments.add_shares(place, u64::from(shares));
        place
    }

    /// Appends one change of the metadata. It is durable once [`Log::durable`] is at least the position returned.
    pub fn append_metadata(&mut self, payload: &[u8]) -> Lsn {
        let (_, len) = self.write_metadata(Kind::Metadata, payload);
        self.base.tail_bytes += u64::from(len);
        self.end()
    }

    /// Makes a snapshot the new base of the metadata: older metadata records are needed no more.
    pub(super) fn append_snapshot(&mut self, owners: &dyn Owners) {
        let snapshot = owners.snapshot();
        let (lsn, len) = self.write_metadata(Kind::Snapshot, &snapshot);
        self.own_bytes += u64::from(len);
        self.base = MetadataBase { lsn, snapshot_bytes: u64::from(len), tail_bytes: 0 };
    }

    fn write_metadata(&mut self, kind: Kind, payload: &[u8]) -> (u64, u32) {
        self.make_room(RECORD_HEADER_BYTES + payload.len());
        self.open.begin_record(kind).extend_from_slice(payload);
        let (lsn, len) = self.finish_record(&Bytes::new());
        let offset = self.offset(lsn);
        self.contents.metadata.push(MetadataAt { offset, len, is_snapshot: kind == Kind::Snapshot });
        self.segments.active_mut().metadata_last = Some(lsn);
        (lsn, len)
    }

    /// The message is gone for good, and recovery must know. It is durable once [`Log::durable`] is at least the position returned.
    /// For transient messages [`Log::release`] is enough.
    pub fn settle(&mut self, owner: u64, seq: u64, place: Place) -> Lsn {
        self.make_room(2 * RANGES_HEADER_BYTES + RANGE_BYTES_MAX);
        ranges::push(&mut self.settled, owner, seq);
        self.release(place);
        Lsn(self.open.start + 1)
    }

    /// A consumer may see the message from here on; written when there is an occasion.
    pub fn mark_delivered(&mut self, owner: u64, seq: u64) {
        self.make_room(2 * RANGES_HEADER_BYTES + RANGE_BYTES_MAX);
        ranges::push(&mut self.delivered, owner, seq);
    }

    /// The message is in another state than recovery would find: its delivery failed, or it waits to be dead-lettered.
    pub fn note_state(&mut self, changed: Ref) {
        self.make_room(RECORD_HEADER_BYTES + 3 * VARINT_BYTES + STATE_BYTES_MAX);
        record::encode_refs(&[changed], self.open.begin_record(Kind::States));
        self.finish_record(&Bytes::new());
        self.contents.states.push(changed);
    }

    /// The message is gone, and recovery need not know: it was transient, or its owner is gone from the metadata.
    pub fn release(&mut self, place: Place) {
        self.credit += self.segments.remove_share(place) * 2;
    }

    /// After recovery: the message is kept.
    pub fn retain(&mut self, place: Place) {
        self.segments.add_shares(place, 1);
    }

    /// Somebody waits for all that was appended so far to be durable.
    pub fn request_sync(&mut self) {
        self.commit.sync_to = self.end().0;
    }

    /// Somebody waits for all that was appended so far to be written.
    pub fn request_write(&mut self) {
        self.commit.write_to = self.end().0;
    }

    /// Whether it is so far.
    pub fn has(&self, until: Until) -> bool {
        until.end <= if until.is_durable { self.durable() } else { self.written() }
    }

    /// Ends a batch: lets out as much disk work as the rules of group commit allow.
    pub fn flush(&mut self, now: Instant, owners: &dyn Owners, out: &mut Vec<DiskRequest>) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        if !self.commit.closing {
            self.drop_dead(owners);
            self.clean(now, out);
        }
        self.commit_batch(now, out);
        self.remove_dropped(out);
    }

    /// The time asked for by [`Log::next_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant, owners: &dyn Owners, out: &mut Vec<DiskRequest>) {
        self.flush(now, owners, out);
    }

    /// When the log next wants [`Log::handle_timeout`].
    pub fn next_timeout(&self) -> Option<(Instant, TimerKind)> {
        if !matches!(self.phase, Phase::Running) {
            return None;
        }
        let clean = if self.commit.closing { None } else { self.clean_timeout() };
        [self.commit_timeout(), clean].into_iter().flatten().min()
    }

    /// The position after the last record appended.
    pub fn end(&self) -> Lsn {
        let pending = self.open.len.max(BLOCK_HEADER_BYTES + 1) as u64;
        let idle = self.open.is_empty() && self.settled.is_empty() && self.delivered.is_empty();
        Lsn(if idle { self.commit.closed_end } else { self.open.start + pending })
    }

    /// The position up to which the disk took all; what lies before it can be read.
    pub fn written(&self) -> Lsn {
        Lsn(self.commit.written)
    }

    /// The position up to which all survives a loss of power.
    pub fn durable(&self) -> Lsn {
        Lsn(self.commit.durable)
    }

    /// Bytes appended and not yet written.
    pub fn pending_bytes(&self) -> usize {
        self.commit.pending_bytes + self.open.len - BLOCK_HEADER_BYTES
    }

    /// Whether the disk has no space for the log to grow. Publishers are to wait; settlements are still welcome.
    pub fn is_full(&self) -> bool {
        self.commit.create_full || self.commit.append_full
    }

    /// Asks for `len` bytes from `start`, the position of a record; clipped to what is written and to the segment. Returns how many
    /// bytes will come as [`LogOutcome::Read`]; at zero nothing is asked.
    pub fn read(&mut self, start: Lsn, len: u32, token: u64, out: &mut Vec<DiskRequest>) -> u32 {
        let written = self.commit.written;
        let Some(segment) = self.segments.at_mut(start.0) else { return 0 };
        let end = (start.0 + u64::from(len)).min(segment.used_end).min(written);
        let Some(len) = end.checked_sub(start.0).and_then(|len| u32::try_from(len).ok()) else { return 0 };
        if len > 0 {
            segment.reads += 1;
            let (segment, offset) = (segment.id, start.0 - segment.first);
            self.request(Op::Read { segment, start: start.0, len, token }, DiskOp::Read { segment, offset, len }, out);
        }
        len
    }

    /// The payload of the message record at `lsn`, whose whole record is `record`.
    ///
    /// # Errors
    /// If the bytes are not what was written there.
    pub fn open_record(&self, lsn: Lsn, record: &Bytes) -> Result<Bytes, Corrupt> {
        let corrupt = Corrupt { lsn };
        let salt = match self.segments.at(lsn.0) {
            Some(segment) => segment.salt,
            None => self.dropped.iter().find(|dropped| dropped.holds(lsn.0)).ok_or(corrupt)?.salt,
        };
        match record::parse(salt, lsn.0, record) {
            Parsed::Record { kind: Kind::Message, len } if len == record.len() => {}
            Parsed::Record { .. } | Parsed::Short(_) | Parsed::Bad => return Err(corrupt),
        }
        let mut reader = Reader(record.get(RECORD_HEADER_BYTES..).unwrap_or_default());
        record::skip_refs(&mut reader).ok_or(corrupt)?;
        Ok(record.slice(record.len() - reader.0.len()..))
    }

    /// How large the log is.
    pub fn usage(&self) -> LogUsage {
        LogUsage { segments: self.files.len() as u64, bytes: self.files.values().sum(), live_bytes: self.live_bytes() }
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.segments.live_bytes + self.base.snapshot_bytes + self.base.tail_bytes
    }

    /// Makes everything appended durable and stops cleaning; complete when [`Log::is_idle`].
    pub fn shutdown(&mut self) {
        self.commit.closing = true;
        self.request_sync();
    }

    /// Whether everything appended is durable and no disk operation is under way.
    pub fn is_idle(&self) -> bool {
        let settled = self.commit.durable >= self.end().0 && self.ops.is_empty();
        let rested = self.commit.closing || (self.dropped.is_empty() && self.moves.is_empty());
        match self.phase {
            Phase::New | Phase::Failed => true,
            Phase::Recovering(_) => false,
            Phase::Running => settled && rested && (self.commit.closed_for_good || !self.commit.closing),
        }
    }

    /// Checks the log's own accounts.
    ///
    /// # Panics
    /// If they are wrong.
    pub fn check_invariants(&self) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        self.segments.check_invariants();
        self.commit.check_invariants();
        assert!(self.commit.closed_end <= self.open.start, "blocks overlap");
        let is_empty = self.open.is_empty() && self.settled.is_empty() && self.delivered.is_empty();
        assert!(
            is_empty || self.reserved_end() <= self.segments.active().limit(),
            "the open block does not fit its segment"
        );
        for segment in self.segments.iter() {
            let reads = self.ops.values().filter(|op| op.reads(segment.id)).count();
            assert_eq!(reads as u64, u64::from(segment.reads), "reads miscounted in {segment:?}");
        }
    }

    /// Makes sure that a record of `need` bytes fits the open block's segment, or begins the next segment.
    pub(super) fn make_room(&mut self, need: usize) {
        // What is reserved for settlements is far more than they take, so they are written before a segment is given up.
        let fits = |log: &Self| log.reserved_end() + need as u64 <= log.segments.active().limit();
        let is_early = fits(self);
        // Not while the log is cleaned: copies that get segments of their own would leave it as large as it was.
        let rotates_early = self.cleaner.is_none() && self.buggify.fires(Point::EarlySegment);
        if is_early && !rotates_early {
            return;
        }
        self.write_ranges();
        if is_early {
            self.rotate(need);
        }
        while !fits(self) {
            self.rotate(need);
        }
    }

    /// Where the open block would end if it were closed, at most.
    fn reserved_end(&self) -> u64 {
        let ranges = self.settled.len() + self.delivered.len();
        let reserve = if ranges == 0 { 0 } else { 2 * RANGES_HEADER_BYTES + ranges * RANGE_BYTES_MAX };
        self.open.end() + (reserve + BLOCK_ALIGN) as u64
    }

    /// Turns the settlements and marks that are waiting into records of the open block.
    fn write_ranges(&mut self) {
        let mut settled = core::mem::take(&mut self.settled);
        let mut delivered = core::mem::take(&mut self.delivered);
        ranges::normalize(&mut settled);
        ranges::normalize(&mut delivered);
        let marks = ranges::subtract(&delivered, &settled);
        for (kind, list) in [(Kind::Settled, &settled), (Kind::Delivered, &marks)] {
            if !list.is_empty() {
                ranges::encode(list, self.open.begin_record(kind));
                self.finish_record(&Bytes::new());
            }
        }
        self.contents.settled.extend_from_slice(&settled);
        self.contents.delivered.extend_from_slice(&marks);
        settled.clear();
        delivered.clear();
        self.settled = settled;
        self.delivered = delivered;
    }

    fn finish_record(&mut self, tail: &Bytes) -> (u64, u32) {
        let lsn = self.open.end();
        let len = self.open.finish_record(self.segments.active().salt, tail);
        (lsn, len)
    }

    fn offset(&self, lsn: u64) -> u32 {
        len32(super::codec::index(lsn - self.segments.active().first))
    }

    pub(super) fn close_if_large(&mut self) {
        if self.open.len >= self.config.append_bytes || self.buggify.fires(Point::ShortBlock) {
            self.close_block();
        }
    }

    /// Closes the open block, even an empty one, and opens the next.
    pub(super) fn close_block(&mut self) {
        if self.reserved_end() > self.segments.active().limit() {
            // Not even an empty block fits.
            self.rotate(0);
        }
        self.write_ranges();
        let oldest = self.segments.oldest().id.0;
        let segment = self.segments.active_mut();
        let start = self.open.start;
        let next = OpenBlock::new(0, self.open.len);
        let mut block = core::mem::replace(&mut self.open, next);
        core::mem::swap(self.open.spare_mut(), block.spare_mut());
        let is_empty = block.is_empty();
        let (len, mut parts) = block.close(segment.salt, self.incarnation, self.commit.durable, oldest);
        let end = start + u64::from(len);
        let mut from = start;
        if let Some(prefix) = self.prefix.take() {
            from -= prefix.len() as u64;
            parts.insert(0, prefix);
        }
        segment.used_end = end;
        let earned = match core::mem::take(&mut self.own_bytes) {
            // Only to say how far all is durable.
            0 if is_empty => 0,
            0 => u64::from(len),
            own => u64::from(len).saturating_sub(own + (BLOCK_HEADER_BYTES + BLOCK_ALIGN) as u64),
        };
        self.commit.push(ClosedBlock { segment: segment.id, offset: from - segment.first, end, parts });
        self.open.start = end;
        self.earn(earned);
        for dropped in self.dropped.iter_mut().rev().take_while(|dropped| dropped.gone_at.is_none()) {
            dropped.gone_at = Some(end);
        }
    }

    /// Leaves the active segment and begins the next one, where `need` bytes should fit.
    fn rotate(&mut self, need: usize) {
        // A segment's header goes out with its first block, even if that stays empty.
        if !self.open.is_empty() || self.prefix.is_some() {
            self.close_block();
        }
        let sealed = self.segments.active();
        let (id, first, previous_end) = (SegmentId(sealed.id.0 + 1), sealed.limit(), sealed.used_end);
        self.contents.drop_settled();
        let mut summary = Vec::new();
        self.contents.encode(&mut summary);
        self.contents.clear();
        if summary.len() as u64 > self.config.segment_bytes / SUMMARY_PART {
            summary.clear();
        }
        let overhead =
            SEGMENT_HEADER_BYTES + BLOCK_HEADER_BYTES + RECORD_HEADER_BYTES + summary.len() + 2 * BLOCK_ALIGN;
        let required = (overhead + need) as u64;
        let (size, state) = match self.ahead.take() {
            Some(ahead) => {
                assert_eq!(ahead.id, id, "the segment made ahead is the next one");
                (ahead.size, ahead.state)
            }
            None if required > self.config.segment_bytes => {
                (required.next_multiple_of(SIZE_STEP_BYTES), FileState::Planned)
            }
            None => (self.config.segment_bytes, FileState::Planned),
        };
        self.begin_segment(id, first, previous_end, size, state);
        if !summary.is_empty() {
            self.write_summary(&summary);
        }
    }

    pub(super) fn write_summary(&mut self, summary: &[u8]) {
        self.open.begin_record(Kind::Summary).extend_from_slice(summary);
        let (_, len) = self.finish_record(&Bytes::new());
        self.own_bytes += u64::from(len);
    }

    /// Adds a segment to the log; its header goes out with its first block.
    pub(super) fn begin_segment(&mut self, id: SegmentId, first: u64, previous_end: u64, size: u64, state: FileState) {
        let salt = segment_salt(self.boot_salt, self.incarnation, id);
        let oldest = if self.segments.len() == 0 { id } else { self.segments.oldest().id };
        let incarnation = self.incarnation;
        let header = SegmentHeader { id: id.0, size, first, previous_end, incarnation, salt, oldest: oldest.0 };
        self.prefix = Some(Bytes::from(header.encode()));
        let start = first + SEGMENT_HEADER_BYTES as u64;
        self.segments.push(Segment {
            id,
            first,
            size,
            used_end: start,
            salt,
            live_refs: 0,
            live_bytes: 0,
            metadata_last: None,
            reads: 0,
            state,
        });
        self.open.start = start;
    }

    pub(super) fn request(&mut self, op: Op, request: DiskOp, out: &mut Vec<DiskRequest>) {
        self.next_op += 1;
        let id = DiskOpId(self.next_op);
        self.ops.insert(id, op);
        out.push(DiskRequest { id, op: request });
    }
}
