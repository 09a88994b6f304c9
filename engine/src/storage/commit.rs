//! Group commit: at most one append is under way, and what comes meanwhile goes out with the next.
//!
//! Records that nobody waits for are held back until there are enough of them or their time has come; records that somebody waits
//! for go out as soon as the disk is free, with a sync unless it is enough that the operating system has them. Appends take effect in
//! order, and the last one to a segment is synced before the first one to the next is issued: what is durable is always a prefix of the
//! log.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;

use super::clean::Dropped;
use super::log::{Ahead, Log, Phase};
use super::place::{LogOutcome, Owners};
use super::recovery::Wanted;
use super::segment::FileState;
use crate::buggify::Point;
use crate::effect::{DiskOp, DiskRequest};
use crate::ids::SegmentId;
use crate::input::{DiskError, DiskOutcome};
use crate::mutants::{Mutant, is_planted};
use crate::time::Instant;
use crate::timer::TimerKind;

/// Bytes of records that nobody waits for, from which on they are written all the same.
const LAZY_BYTES: usize = 256 * 1024;

/// A block that is complete and waits to be written.
#[derive(Debug)]
pub(super) struct ClosedBlock {
    pub(super) segment: SegmentId,
    /// Where it is written, the segment's header included if it is the first.
    pub(super) offset: u64,
    /// The position after it.
    pub(super) end: u64,
    pub(super) parts: Vec<Bytes>,
}

impl ClosedBlock {
    fn bytes(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }
}

/// The append that is under way.
#[derive(Debug)]
struct InFlight {
    blocks: Vec<ClosedBlock>,
    /// Whether all up to its end is durable afterwards.
    sync: bool,
    /// When it was issued.
    at: Instant,
}

/// Where the log stands with its disk.
#[derive(Debug, Default)]
pub(super) struct Commit {
    closed: VecDeque<ClosedBlock>,
    in_flight: Option<InFlight>,
    /// The position after the last closed block.
    pub(super) closed_end: u64,
    pub(super) written: u64,
    pub(super) durable: u64,
    /// The position up to which somebody waits for durability.
    pub(super) sync_to: u64,
    /// The position up to which somebody waits for it to be written.
    pub(super) write_to: u64,
    /// The segment last written to.
    pub(super) last_written: SegmentId,
    /// Bytes of closed blocks, the ones under way included.
    pub(super) pending_bytes: usize,
    /// Since when there is something that is not durable.
    unsynced_since: Option<Instant>,
    /// No space for a further segment.
    pub(super) create_full: bool,
    /// No space for an append.
    pub(super) append_full: bool,
    /// No attempt before these times, where the disk was full.
    pub(super) create_retry_at: Option<Instant>,
    append_retry_at: Option<Instant>,
    pub(super) delete_retry_at: Option<Instant>,
    /// A shutdown was asked for.
    pub(super) closing: bool,
    /// And its last block was closed.
    pub(super) closed_for_good: bool,
}

/// What a disk operation is for.
#[derive(Debug)]
pub(super) enum Op {
    List,
    Recover(Wanted),
    Create { segment: SegmentId, size: u64, recycled: Option<SegmentId> },
    Append,
    Read { segment: SegmentId, start: u64, len: u32, token: u64 },
    Clean { segment: SegmentId, start: u64, len: u32 },
    Delete(Dropped),
}

impl Op {
    /// Whether it reads the segment.
    pub(super) fn reads(&self, id: SegmentId) -> bool {
        match self {
            Self::Read { segment, .. } | Self::Clean { segment, .. } => *segment == id,
            Self::List | Self::Recover(_) | Self::Create { .. } | Self::Append | Self::Delete(_) => false,
        }
    }
}

impl Commit {
    pub(super) fn push(&mut self, block: ClosedBlock) {
        self.closed_end = block.end;
        self.pending_bytes += block.bytes();
        self.closed.push_back(block);
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.durable <= self.written, "durable before it was written");
        assert!(self.written <= self.closed_end, "written before it was closed");
        let in_flight = self.in_flight.iter().flat_map(|append| &append.blocks);
        let pending = in_flight.chain(&self.closed).map(ClosedBlock::bytes).sum::<usize>();
        assert_eq!(pending, self.pending_bytes, "pending bytes miscounted");
    }
}

impl Log {
    /// Issues what may be issued.
    pub(super) fn commit_batch(&mut self, now: Instant, out: &mut Vec<DiskRequest>) {
        if self.commit.unsynced_since.is_none() && (self.commit.durable < self.end().0 || self.has_marker_to_write()) {
            self.commit.unsynced_since = Some(now);
        }
        let commit = &mut self.commit;
        for retry_at in [&mut commit.create_retry_at, &mut commit.append_retry_at, &mut commit.delete_retry_at] {
            retry_at.take_if(|at| *at <= now);
        }
        self.create_next(out);
        if self.commit.in_flight.is_none() && self.commit.append_retry_at.is_none() {
            self.append_next(now, out);
        }
    }

    pub(super) fn commit_timeout(&self) -> Option<(Instant, TimerKind)> {
        let commit = &self.commit;
        let retries = [commit.create_retry_at, commit.append_retry_at, commit.delete_retry_at];
        let retry = retries.into_iter().flatten().min().map(|at| (at, TimerKind::DiskRetry));
        // While an append is under way its completion is what the log waits for.
        let sync = commit.unsynced_since.filter(|_| commit.in_flight.is_none() && !self.is_waiting_for_space());
        let sync = sync.map(|since| (since + self.config.sync_interval, TimerKind::LogSync));
        [retry, sync].into_iter().flatten().min()
    }

    /// Whether the next append cannot go out before a file exists or space returns.
    fn is_waiting_for_space(&self) -> bool {
        let next = self.commit.closed.front().map_or_else(|| self.segments.active().id, |block| block.segment);
        let ready = self.segments.iter().any(|segment| segment.id == next && segment.state == FileState::Ready);
        self.commit.append_full || !ready
    }

    /// Whether a segment was dropped and the disk does not know.
    fn has_marker_to_write(&self) -> bool {
        self.dropped.back().is_some_and(|dropped| dropped.gone_at.is_none())
    }

    /// Asks for the next file: of a segment that is already written to in memory, or of the one after it.
    pub(super) fn create_next(&mut self, out: &mut Vec<DiskRequest>) {
        if self.commit.create_retry_at.is_some() {
            return;
        }
        let missing = match self.segments.first_without_file() {
            Some(segment) if segment.state == FileState::Creating => return,
            Some(segment) => {
                segment.state = FileState::Creating;
                Some((segment.id, segment.size))
            }
            None => None,
        };
        let active = self.segments.active();
        let wants_ahead = !self.commit.closing && self.commit.written > active.first;
        let (segment, size) = match (missing, self.ahead) {
            (Some(missing), _) => missing,
            (None, Some(Ahead { state: FileState::Planned, id, size })) => (id, size),
            (None, None) if wants_ahead => (SegmentId(active.id.0 + 1), self.config.segment_bytes),
            (None, Some(_) | None) => return,
        };
        if missing.is_none() {
            self.ahead = Some(Ahead { id: segment, size, state: FileState::Creating });
        }
        let recycle = if size == self.config.segment_bytes { self.free.take() } else { None };
        // 1. Recovery finds a file that an earlier boot made ahead and never began, and asks for its removal.
        // 2. The removal fails for lack of space and is to be tried again.
        // 3. The log makes a segment of that name, which replaces the file: a removal would hit that.
        self.dropped.retain(|dropped| dropped.id != segment);
        let op = Op::Create { segment, size, recycled: recycle };
        self.request(op, DiskOp::Create { segment, size, recycle }, out);
    }

    fn append_next(&mut self, now: Instant, out: &mut Vec<DiskRequest>) {
        let overdue = self.commit.unsynced_since.is_some_and(|since| since + self.config.sync_interval <= now);
        let awaited = self.commit.sync_to > self.commit.durable;
        let pressed = self.is_full() && !self.dropped.is_empty() && self.commit.unsynced_since.is_some();
        let mut sync = overdue || awaited || pressed || self.commit.closing || self.buggify.fires(Point::ExtraSync);
        let has_content = !self.open.is_empty() || self.end().0 > self.commit.closed_end || self.has_marker_to_write();
        let wanted = self.commit.write_to > self.commit.written;
        if has_content && (sync || wanted || self.pending_bytes() >= LAZY_BYTES.min(self.config.append_bytes)) {
            self.close_block();
        } else if self.commit.closing
            && !self.commit.closed_for_good
            && !has_content
            && self.commit.durable == self.commit.closed_end
        {
            // An empty block whose header says that all before it was durable: no rotten byte there passes for a torn end.
            self.commit.closed_for_good = true;
            self.close_block();
        }
        let behind = self.commit.written > self.commit.durable;
        let next = self.commit.closed.front().map(|block| block.segment);
        let ready = next
            .is_some_and(|id| self.segments.by_id_mut(id).expect("unwritten segments stay").state == FileState::Ready);
        let changes = next.is_some_and(|id| id != self.commit.last_written);
        if !ready || (changes && behind) {
            if behind && (sync || changes) {
                self.sync_only(now, out);
            }
            return;
        }
        let Some(id) = next else { return };
        let mut blocks = Vec::new();
        let mut bytes = 0;
        let takes_one = self.buggify.fires(Point::OneBlock);
        while let Some(block) = self.commit.closed.front()
            && block.segment == id
            && (blocks.is_empty() || (!takes_one && bytes + block.bytes() <= self.config.append_bytes))
            && let Some(block) = self.commit.closed.pop_front()
        {
            bytes += block.bytes();
            blocks.push(block);
        }
        let sealed = id != self.segments.active().id;
        let last_of_segment = sealed && self.commit.closed.front().is_none_or(|block| block.segment != id);
        sync |= last_of_segment;
        let offset = blocks.first().map_or(0, |block| block.offset);
        let data = blocks.iter().flat_map(|block| block.parts.iter().cloned()).collect();
        self.commit.last_written = id;
        self.commit.in_flight = Some(InFlight { blocks, sync, at: now });
        self.request(Op::Append, DiskOp::Append { segment: id, offset, data, sync }, out);
    }

    /// Syncs what was written without.
    fn sync_only(&mut self, now: Instant, out: &mut Vec<DiskRequest>) {
        let id = self.commit.last_written;
        let written = self.commit.written;
        let segment = self.segments.by_id_mut(id).expect("a segment that is not durable stays");
        let offset = written - segment.first;
        self.commit.in_flight = Some(InFlight { blocks: Vec::new(), sync: true, at: now });
        self.request(Op::Append, DiskOp::Append { segment: id, offset, data: Vec::new(), sync: true }, out);
    }

    pub(super) fn operation_done(
        &mut self,
        now: Instant,
        op: Op,
        outcome: DiskOutcome,
        owners: &mut dyn Owners,
    ) -> LogOutcome {
        match op {
            Op::Append => self.append_done(now, owners),
            Op::Create { segment, size, recycled } => self.create_done(segment, size, recycled),
            Op::Delete(dropped) => {
                self.files.remove(&dropped.id);
                // There is space again.
                self.commit.create_retry_at = None;
            }
            Op::Read { segment, start, len, token } => {
                self.read_ended(segment);
                return match outcome {
                    DiskOutcome::Data(data) if data.len() == super::codec::index(u64::from(len)) => {
                        LogOutcome::Read { token, start: crate::ids::Lsn(start), data }
                    }
                    DiskOutcome::Data(_) | DiskOutcome::Done | DiskOutcome::Segments(_) => LogOutcome::Damaged(
                        format!("segment {segment} of the log is shorter than what was written to it"),
                    ),
                };
            }
            Op::Clean { segment, start, len } => {
                self.read_ended(segment);
                let DiskOutcome::Data(data) = outcome else { unreachable!("a read brings data") };
                return self.clean_read(segment, start, len, &data, owners);
            }
            Op::List | Op::Recover(_) => unreachable!("recovery is over"),
        }
        LogOutcome::Nothing
    }

    fn append_done(&mut self, now: Instant, owners: &mut dyn Owners) {
        self.end_append(now);
        self.announce_moves(owners);
    }

    /// What was under way is written, and durable if it was to be.
    fn end_append(&mut self, now: Instant) {
        let append = self.commit.in_flight.take().expect("an append that ends was under way");
        assert!(append.at <= now, "time went backwards: {now} after {}", append.at);
        for block in append.blocks {
            self.commit.pending_bytes -= block.bytes();
            self.commit.written = block.end;
            self.open.spare_mut().reclaim(block.parts);
        }
        self.commit.append_full = false;
        if append.sync {
            self.commit.durable = self.commit.written;
            let clean = self.commit.durable >= self.end().0 && !self.has_marker_to_write();
            self.commit.unsynced_since = if clean { None } else { Some(append.at) };
        }
    }

    fn create_done(&mut self, id: SegmentId, size: u64, recycled: Option<SegmentId>) {
        if let Some(recycled) = recycled {
            self.files.remove(&recycled);
        }
        self.files.insert(id, size);
        self.commit.create_full = false;
        self.set_file_state(id, FileState::Ready);
    }

    fn set_file_state(&mut self, id: SegmentId, state: FileState) {
        match &mut self.ahead {
            Some(ahead) if ahead.id == id => ahead.state = state,
            Some(_) | None => {
                self.segments.by_id_mut(id).expect("a segment without a file is not dropped").state = state;
            }
        }
    }

    fn read_ended(&mut self, id: SegmentId) {
        if let Some(segment) = self.segments.by_id_mut(id) {
            segment.reads -= 1;
        } else if let Some(dropped) = self.dropped.iter_mut().find(|dropped| dropped.id == id) {
            dropped.reads -= 1;
        }
    }

    pub(super) fn operation_failed(&mut self, now: Instant, op: Op, error: DiskError) -> LogOutcome {
        let retry_at = Some(now + self.config.disk_retry);
        match (op, error) {
            (Op::Create { segment, recycled, .. }, DiskError::NoSpace) => {
                match recycled {
                    // Another file became free while this one was asked for; one is enough.
                    Some(id) if self.free.is_some() => self.dropped.push_back(Dropped::leftover(id)),
                    Some(id) => self.free = Some(id),
                    None => {}
                }
                self.set_file_state(segment, FileState::Planned);
                self.commit.create_full = true;
                self.commit.create_retry_at = retry_at;
            }
            (Op::Append, DiskError::NoSpace) => {
                let append = self.commit.in_flight.take().expect("an append that fails was under way");
                if append.blocks.is_empty() {
                    return LogOutcome::Fatal(format!("segment {} of the log: sync failed", self.commit.last_written));
                }
                for block in append.blocks.into_iter().rev() {
                    self.commit.closed.push_front(block);
                }
                self.commit.append_full = true;
                self.commit.append_retry_at = retry_at;
            }
            (Op::Append, DiskError::Io) if is_planted(Mutant::FsyncRetried) => {
                if let Some(append) = &mut self.commit.in_flight {
                    append.sync = false;
                }
                self.end_append(now);
            }
            (Op::Append, DiskError::Io) => {
                return LogOutcome::Fatal(format!(
                    "segment {} of the log: write or sync failed, so what of it is on the disk is unknown; restart to recover",
                    self.commit.last_written
                ));
            }
            (Op::Create { segment, .. }, DiskError::Io) => {
                return LogOutcome::Fatal(format!("segment {segment} of the log cannot be made"));
            }
            // A file that was made ahead by an earlier boot has the name that the log needs next, and is replaced then.
            (Op::Delete(dropped), DiskError::NoSpace) if self.is_in_use(dropped.id) => {}
            (Op::Delete(dropped), DiskError::NoSpace) => {
                self.commit.delete_retry_at = retry_at;
                self.dropped.push_front(dropped);
            }
            // The file is of no use to anybody, and the next start tries again.
            (Op::Delete(dropped), DiskError::Io) => {
                self.files.remove(&dropped.id);
            }
            (Op::Read { segment, .. } | Op::Clean { segment, .. }, DiskError::NoSpace | DiskError::Io) => {
                return LogOutcome::Fatal(format!("segment {segment} of the log cannot be read"));
            }
            (Op::List, DiskError::NoSpace | DiskError::Io) => {
                return LogOutcome::Fatal("the data directory cannot be listed".into());
            }
            (Op::Recover(wanted), DiskError::NoSpace | DiskError::Io) => {
                return LogOutcome::Fatal(format!("segment {} of the log cannot be read", wanted.segment()));
            }
        }
        LogOutcome::Nothing
    }

    /// The log runs from `end` on, all before it being durable.
    pub(super) fn begin_running(&mut self, end: u64) {
        self.commit.closed_end = end;
        self.commit.written = end;
        self.commit.durable = end;
        self.commit.sync_to = end;
        self.commit.write_to = end;
        self.commit.last_written = self.segments.active().id;
        self.phase = Phase::Running;
    }
}
