//! Space comes back at the old end of the log, and only there: a settlement never outlives what it kills.
//!
//! A segment in which nothing lives is dropped: it leaves the list, a block that says so becomes durable, its file goes. When the
//! log is much larger than what lives in it, the oldest segment is cleaned: its live records are written again at the end, which
//! makes it dead. The copies become durable before the block that drops it, being older.

use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

use super::block::{Step, Walk};
use super::codec::{Reader, index, len32};
use super::commit::Op;
use super::log::Log;
use super::place::{LogOutcome, Owners, Place};
use super::record::{self, Kind, RECORD_HEADER_BYTES};
use super::segment::SEGMENT_HEADER_BYTES;
use crate::buggify::Point;
use crate::effect::{DiskOp, DiskRequest};
use crate::ids::{Lsn, SegmentId};
use crate::time::Instant;
use crate::timer::TimerKind;

/// Bytes read at once from a segment that is being cleaned, at most and, while others use the log, at least.
const CLEAN_READ_BYTES: u64 = 1024 * 1024;
const CLEAN_READ_LEAST: u64 = 128 * 1024;
/// Bytes that are read for each one that others write: what is to be confirmed waits behind a few small reads, and not behind those of a
/// whole segment, and a segment is cleaned long before another one is full.
const CLEAN_READS_PER_BYTE: u64 = 4;
/// How often so much is read, however little others write: 2 MiB a second, so that space comes back.
const CLEAN_READ_EVERY: Duration = Duration::from_micros(62_500);
/// Copies that wait to be written, above which no more is read.
const MOVES_MAX: usize = 16 * 1024;
/// Bytes pending above which no more is read.
const CLEAN_PENDING_BYTES: usize = 4 * 1024 * 1024;
/// Without use for so long, the log cleans what it could not pay for.
const CLEAN_WHEN_IDLE_FOR: Duration = Duration::from_secs(1);

/// A segment that left the log and whose file is still there.
#[derive(Debug)]
pub(super) struct Dropped {
    pub(super) id: SegmentId,
    first: u64,
    size: u64,
    pub(super) salt: u64,
    /// Reads under way: its file goes after them.
    pub(super) reads: u32,
    /// The position from which on recovery knows. `None` until a block that says so is closed.
    pub(super) gone_at: Option<u64>,
}

impl Dropped {
    /// A file that recovery found to belong to no log.
    pub(super) fn leftover(id: SegmentId) -> Self {
        Self { id, first: 0, size: 0, salt: 0, reads: 0, gone_at: Some(0) }
    }

    /// Whether a position lies in it.
    pub(super) fn holds(&self, lsn: u64) -> bool {
        (self.first..self.first + self.size).contains(&lsn)
    }
}

/// Work on the oldest segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cleaner {
    segment: SegmentId,
    walk: Walk,
    /// Bytes needed from the walk's position.
    need: usize,
    is_reading: bool,
    /// When it reads on, unless others write enough before.
    reads_at: Option<Instant>,
    read_last: Instant,
}

/// One share of a record that was written again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    owner: u64,
    seq: u64,
    from: Place,
    to: Place,
}

/// Since when nobody but the log itself has written to it, and the newest segment of then.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quiet {
    since: Instant,
    newest: SegmentId,
}

impl Log {
    /// Drops old segments in which nothing lives.
    pub(super) fn drop_dead(&mut self, owners: &dyn Owners) {
        let is_long = self.base.tail_bytes > 2 * self.base.snapshot_bytes + self.config.segment_bytes / 8;
        if is_long || (self.base.tail_bytes > 0 && self.buggify.fires(Point::EarlySnapshot)) {
            self.append_snapshot(owners);
        }
        loop {
            let oldest = self.segments.oldest();
            let is_active = self.segments.len() == 1;
            if is_active || oldest.live_refs > 0 || oldest.used_end > self.commit.durable {
                return;
            }
            if oldest.metadata_last.is_some_and(|last| last >= self.base.lsn) {
                self.append_snapshot(owners);
            }
            let Some(oldest) = self.segments.pop_oldest() else { return };
            if self.cleaner.as_ref().is_some_and(|cleaner| cleaner.segment == oldest.id) {
                self.cleaner = None;
            }
            self.dropped.push_back(Dropped {
                id: oldest.id,
                first: oldest.first,
                size: oldest.size,
                salt: oldest.salt,
                reads: oldest.reads,
                gone_at: None,
            });
        }
    }

    /// Removes the files of dropped segments, or keeps one to be used again.
    pub(super) fn remove_dropped(&mut self, out: &mut Vec<DiskRequest>) {
        if self.dropped.is_empty() || self.commit.delete_retry_at.is_some() {
            return;
        }
        let durable = self.commit.durable;
        while let Some(at) = self
            .dropped
            .iter()
            .position(|dropped| dropped.reads == 0 && dropped.gone_at.is_some_and(|gone_at| gone_at <= durable))
        {
            let Some(dropped) = self.dropped.remove(at) else { return };
            if dropped.size == self.config.segment_bytes && self.free.is_none() && !self.commit.closing {
                self.free = Some(dropped.id);
                // With a file at hand a full disk is no reason to wait.
                self.commit.create_retry_at = None;
                self.create_next(out);
            } else {
                let segment = dropped.id;
                self.request(Op::Delete(dropped), DiskOp::Delete { segment }, out);
            }
        }
    }

    /// Whether a segment of the log, or the one after it, has this name.
    pub(super) fn is_in_use(&self, id: SegmentId) -> bool {
        self.segments.iter().any(|segment| segment.id == id) || self.ahead.is_some_and(|ahead| ahead.id == id)
    }

    /// Goes on with cleaning, or begins it.
    pub(super) fn clean(&mut self, now: Instant, out: &mut Vec<DiskRequest>) {
        self.credit = self.credit.min(2 * self.segments.size_bytes);
        if core::mem::take(&mut self.was_used) {
            self.quiet = Quiet { since: now, newest: self.segments.active().id };
        }
        let is_due = self.can_pay() || self.cleaning_due().is_some_and(|due| due <= now);
        if self.cleaner.is_none() && is_due && self.is_worth_cleaning() {
            let oldest = self.segments.oldest();
            let walk = Walk::new(oldest.salt, oldest.first + SEGMENT_HEADER_BYTES as u64, 0);
            let cleaner =
                Cleaner { segment: oldest.id, walk, need: 0, is_reading: false, reads_at: None, read_last: now };
            (self.cleaner, self.read_credit) = (Some(cleaner), 0);
        }
        let pending = self.pending_bytes();
        let most = if self.buggify.is_active(Point::ShortCleaning) { 512 } else { CLEAN_READ_BYTES };
        let is_hurried = self.quiet.since + CLEAN_WHEN_IDLE_FOR <= now || self.is_full();
        let Some(cleaner) = &mut self.cleaner else { return };
        let Some(segment) = self.segments.by_id_mut(cleaner.segment) else { return };
        let start = cleaner.walk.position;
        cleaner.reads_at = None;
        if cleaner.is_reading
            || start >= segment.used_end
            || self.moves.len() >= MOVES_MAX
            || pending >= CLEAN_PENDING_BYTES
        {
            return;
        }
        let rest = segment.used_end - start;
        let least = CLEAN_READ_LEAST.min(most).min(rest);
        let reads_at = cleaner.read_last + CLEAN_READ_EVERY;
        if !is_hurried && self.read_credit < least && now < reads_at {
            cleaner.reads_at = Some(reads_at);
            return;
        }
        let len = if is_hurried { most } else { self.read_credit.clamp(least, most) };
        let len = len.max(cleaner.need as u64).min(rest);
        self.read_credit = self.read_credit.saturating_sub(len);
        let len = len32(index(len));
        (cleaner.is_reading, cleaner.read_last) = (true, now);
        segment.reads += 1;
        let (segment, offset) = (segment.id, start - segment.first);
        self.request(Op::Clean { segment, start, len }, DiskOp::Read { segment, offset, len }, out);
    }

    /// Whether the copies of the oldest segment's records are earned.
    fn can_pay(&self) -> bool {
        self.credit >= self.segments.oldest().live_bytes
    }

    /// When nobody has used the log for so long that copies need not be earned: of each segment once, so that an idle log comes to rest.
    fn cleaning_due(&self) -> Option<Instant> {
        let is_before = self.segments.oldest().id < self.quiet.newest;
        is_before.then(|| self.quiet.since + CLEAN_WHEN_IDLE_FOR)
    }

    /// Others have written so much.
    pub(super) fn earn(&mut self, bytes: u64) {
        self.credit += bytes;
        self.read_credit = (self.read_credit + CLEAN_READS_PER_BYTE * bytes).min(CLEAN_READ_BYTES);
        self.was_used |= bytes > 0;
    }

    /// When cleaning is to begin, or to go on, although it is not earned.
    pub(super) fn clean_timeout(&self) -> Option<(Instant, TimerKind)> {
        if let Some(reads_at) = self.cleaner.as_ref().and_then(|cleaner| cleaner.reads_at) {
            return Some((reads_at, TimerKind::LogCleaning));
        }
        let due = self.cleaning_due().filter(|_| self.cleaner.is_none() && !self.can_pay() && self.is_worth_cleaning());
        due.map(|due| (due, TimerKind::LogCleaning))
    }

    fn is_worth_cleaning(&self) -> bool {
        let oldest = self.segments.oldest();
        let is_large = self.segments.size_bytes > 2 * self.live_bytes() + self.config.slack_bytes;
        // On a full disk the copies must fit what is left.
        let active = self.segments.active();
        let has_room = !self.is_full() || oldest.live_bytes * 2 < active.limit().saturating_sub(self.open.end());
        let is_settled = self.segments.len() > 1 && oldest.used_end <= self.commit.written;
        is_settled && is_large && has_room
    }

    /// Takes a piece of the segment that is being cleaned.
    pub(super) fn clean_read(
        &mut self,
        segment: SegmentId,
        start: u64,
        len: u32,
        data: &Bytes,
        owners: &dyn Owners,
    ) -> LogOutcome {
        let Some(Cleaner { mut walk, read_last, .. }) = self.cleaner.filter(|cleaner| cleaner.segment == segment)
        else {
            return LogOutcome::Nothing;
        };
        let (first, end) = {
            let segment = self.segments.by_id_mut(segment).expect("a segment that is being cleaned is not dropped");
            (segment.first, segment.used_end)
        };
        let mut sound = data.len() == index(u64::from(len));
        let mut wanted = 0;
        while sound && walk.position < end {
            match walk.step(data, start) {
                Step::Block(_) | Step::BlockEnd => {}
                Step::Record { lsn, kind: Kind::Message, at, len } => {
                    sound = self.copy_record(lsn, &data.slice(at..at + len), owners).is_some();
                }
                Step::Record { .. } => {}
                Step::Short(need) => {
                    wanted = need;
                    sound = walk.position + need as u64 <= end;
                    break;
                }
                Step::Bad => sound = false,
            }
        }
        if !sound {
            let offset = walk.position - first;
            return LogOutcome::Damaged(format!("the log is corrupt: segment {segment}, offset {offset}"));
        }
        self.cleaner = Some(Cleaner { segment, walk, need: wanted, is_reading: false, reads_at: None, read_last });
        self.check_cleaned();
        LogOutcome::Nothing
    }

    /// Writes a record again for those of its references that live. `None` if its body makes no sense.
    fn copy_record(&mut self, lsn: u64, record: &Bytes, owners: &dyn Owners) -> Option<()> {
        let mut reader = Reader(record.get(RECORD_HEADER_BYTES..)?);
        let mut refs = record::decode_refs(&mut reader)?;
        let from = Place { lsn: Lsn(lsn), len: len32(record.len()), shares: u16::try_from(refs.len()).ok()? };
        refs.retain_mut(|reference| match owners.live(reference.owner, reference.seq, from.lsn) {
            Some(state) => {
                reference.state = state;
                true
            }
            None => false,
        });
        if refs.is_empty() {
            return Some(());
        }
        let payload = record.slice(record.len() - reader.0.len()..);
        let to = self.write_message(&refs, &[], &payload);
        self.credit = self.credit.saturating_sub(u64::from(to.len));
        self.own_bytes += u64::from(to.len);
        self.close_if_large();
        for reference in refs {
            self.moves.push_back(Move { owner: reference.owner, seq: reference.seq, from, to });
        }
        Some(())
    }

    /// Tells the owners of copies that can be read.
    pub(super) fn announce_moves(&mut self, owners: &mut dyn Owners) {
        while let Some(next) = self.moves.front()
            && next.to.end().0 <= self.commit.written
            && let Some(Move { owner, seq, from, to }) = self.moves.pop_front()
        {
            // Whoever settled or released the message meanwhile did so at its former place.
            if owners.live(owner, seq, from.lsn).is_some() {
                owners.moved(owner, seq, from.lsn, to);
                self.segments.remove_share(from);
            } else {
                self.segments.remove_share(to);
            }
        }
        self.check_cleaned();
    }

    /// A segment that was cleaned to its end holds nothing that lives.
    fn check_cleaned(&mut self) {
        if !self.moves.is_empty() {
            return;
        }
        let Some(cleaner) = &self.cleaner else { return };
        let Some(segment) = self.segments.by_id_mut(cleaner.segment) else { return };
        if cleaner.walk.position >= segment.used_end {
            assert_eq!(segment.live_refs, 0, "references that nobody answers for in {segment:?}");
        }
    }
}
