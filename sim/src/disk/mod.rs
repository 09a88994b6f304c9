//! The simulated disk: what an operating system and a drive may do to a log, and nothing worse.
//!
//! A segment has two contents: what reads see (`cache`) and what a power loss leaves (`stable`). Appends change the first, syncs
//! carry it over to the second. A process kill loses only operations that were under way; a power loss decides for every unsynced
//! 512-byte sector by itself whether it was written, so writes are lost, torn and reordered. Files made or removed may revert until
//! the folder was synced. The disk tells no other lies, unless a plan asks for faults beyond the claim.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use leveret_engine::effect::{DiskOp, DiskRequest};
use leveret_engine::ids::{DiskOpId, SegmentId};
use leveret_engine::input::{DiskError, DiskOutcome, Input};

use crate::clock::Micros;
use crate::plan::DiskPlan;
use crate::rng::{Fate, hits, index, scale};
use crate::trouble::Trouble;

/// Bytes that a drive writes entirely or not at all.
const SECTOR: usize = 512;

/// The disk of one node. It outlives the node's boots.
#[derive(Debug)]
pub(crate) struct SimDisk {
    plan: DiskPlan,
    files: BTreeMap<SegmentId, File>,
    /// Removed, and the folder not synced since: a power loss may bring them back.
    removed: Vec<(SegmentId, File)>,
    /// Appends, creations and removals under way, in order.
    lane: VecDeque<Pending>,
    reads: BTreeMap<u64, Pending>,
    lane_due: Micros,
    ordinal: u64,
    fates: Fate,
    trouble: Trouble,
    /// Segments that could not be removed. Making one of them anew replaces it.
    undeleted: BTreeSet<SegmentId>,
    /// Sectors that cannot be read until they are written.
    bad_sectors: BTreeSet<(SegmentId, usize)>,
    /// Log positions up to which the operating system has the log, and up to which it is durable.
    written: u64,
    durable: u64,
    counts: DiskCounts,
    /// Whether a bit has turned, of what is still there.
    has_rotted: bool,
    complaint: Option<String>,
}

/// How much the disk was used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiskCounts {
    /// Operations completed.
    pub(crate) operations: u64,
    /// Synced appends completed.
    pub(crate) syncs: u64,
    /// Operations refused for lack of space.
    pub(crate) refused: u64,
    /// Syncs that failed.
    pub(crate) failed_syncs: u64,
    /// Sectors that a power loss took away.
    pub(crate) lost_sectors: u64,
    /// Failures that are a reason for a node to stop, beside those of syncs.
    pub(crate) failed_others: u64,
    /// Creations refused because of a quota.
    pub(crate) over_quota: u64,
}

impl std::iter::Sum for DiskCounts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |one, other| Self {
            operations: one.operations + other.operations,
            syncs: one.syncs + other.syncs,
            refused: one.refused + other.refused,
            failed_syncs: one.failed_syncs + other.failed_syncs,
            lost_sectors: one.lost_sectors + other.lost_sectors,
            failed_others: one.failed_others + other.failed_others,
            over_quota: one.over_quota + other.over_quota,
        })
    }
}

/// Where a completion will come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// The writer: the oldest operation in it.
    Log,
    /// One read.
    Read(u64),
}

#[derive(Debug)]
struct Pending {
    request: DiskRequest,
    ordinal: u64,
    /// What a read found, if a later operation on its segment was quicker than its answer.
    found: Option<Result<DiskOutcome, DiskError>>,
}

#[derive(Debug, Default)]
struct File {
    stable: Vec<u8>,
    cache: Vec<u8>,
    /// Byte ranges in which the two may differ.
    dirty: Vec<(usize, usize)>,
    /// The log position of its first byte, as it was when its header was written: that may rot.
    first: Option<u64>,
}

impl SimDisk {
    /// An empty disk.
    pub(crate) fn new(seed: u64, plan: DiskPlan) -> Self {
        Self {
            plan,
            files: BTreeMap::new(),
            removed: Vec::new(),
            lane: VecDeque::new(),
            reads: BTreeMap::new(),
            lane_due: 0,
            ordinal: 0,
            fates: Fate::new(seed, "disk"),
            trouble: Trouble::default(),
            undeleted: BTreeSet::new(),
            bad_sectors: BTreeSet::new(),
            written: 0,
            durable: 0,
            counts: DiskCounts::default(),
            has_rotted: false,
            complaint: None,
        }
    }

    /// What is wrong with it, for faults to change.
    pub(crate) fn trouble_mut(&mut self) -> &mut Trouble {
        &mut self.trouble
    }

    /// How much it was used.
    pub(crate) fn counts(&self) -> DiskCounts {
        self.counts
    }

    /// Failures that are a reason for a node to stop.
    pub(crate) fn failures(&self) -> u64 {
        self.counts.failed_syncs + self.counts.failed_others
    }

    /// Whether an operation that changes something is under way.
    pub(crate) fn is_busy(&self) -> bool {
        !self.lane.is_empty()
    }

    /// Log position up to which a process kill leaves the log.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Log position up to which a power loss leaves the log.
    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    /// A breach of the disk's contract by the engine, if there was one.
    pub(crate) fn take_complaint(&mut self) -> Option<String> {
        self.complaint.take()
    }

    /// Takes an operation and says when to call [`Self::complete`] for it.
    pub(crate) fn submit(&mut self, time: Micros, request: DiskRequest) -> (Micros, Lane) {
        self.ordinal += 1;
        let ordinal = self.ordinal;
        let pending = Pending { request, ordinal, found: None };
        let due = time + self.latency(&pending);
        if let DiskOp::Read { .. } | DiskOp::List = pending.request.op {
            self.reads.insert(ordinal, pending);
            (due, Lane::Read(ordinal))
        } else {
            self.lane_due = self.lane_due.max(due);
            self.lane.push_back(pending);
            (self.lane_due, Lane::Log)
        }
    }

    /// Ends the operation that is due in `lane`, or says until when it is held up.
    pub(crate) fn complete(&mut self, time: Micros, lane: Lane) -> Result<Option<Input>, Micros> {
        if let Some(until) = self.trouble.halted_until(time) {
            return Err(until);
        }
        let pending = match lane {
            Lane::Log => self.lane.pop_front(),
            Lane::Read(ordinal) if self.is_read_early(ordinal) => return Err(self.lane_due.max(time + 1)),
            Lane::Read(ordinal) => self.reads.remove(&ordinal),
        };
        let Some(Pending { request: DiskRequest { id, op }, ordinal, found }) = pending else { return Ok(None) };
        self.counts.operations += 1;
        if lane == Lane::Log {
            self.read_before(&op, ordinal);
        }
        let result = found.unwrap_or_else(|| self.perform(&op, ordinal));
        if result == Err(DiskError::NoSpace) {
            self.counts.refused += 1;
        }
        Ok(Some(answer(id, result)))
    }

    /// The process dies: operations under way were done, done in part, or not begun, in their order.
    pub(crate) fn kill(&mut self) {
        let fate = self.fates.of(1, self.ordinal);
        self.reads.clear();
        let lane = std::mem::take(&mut self.lane);
        let done = index(fate, lane.len() + 1);
        for (at, pending) in lane.into_iter().enumerate() {
            if at < done {
                self.perform_unsynced(&pending, None);
            } else if at == done {
                self.perform_unsynced(&pending, Some(self.fates.of(2, pending.ordinal)));
            }
        }
        self.lane_due = 0;
        self.trouble.fail_sync = false;
    }

    /// Another disk takes its place, on which nothing is.
    pub(crate) fn wipe(&mut self) {
        self.files.clear();
        self.removed.clear();
        self.undeleted.clear();
        self.bad_sectors.clear();
        (self.written, self.durable) = (0, 0);
    }

    /// The power goes: whatever was not synced is decided sector by sector.
    pub(crate) fn power_loss(&mut self) {
        self.reads.clear();
        let lane = std::mem::take(&mut self.lane);
        // File systems keep the order in which files come and go: up to some point all of it happened.
        let is_folder_op = |op: &DiskOp| matches!(op, DiskOp::Create { .. } | DiskOp::Delete { .. });
        let folder_ops = lane.iter().filter(|pending| is_folder_op(&pending.request.op)).count();
        let removed = std::mem::take(&mut self.removed);
        let happened = index(self.fates.of(5, self.ordinal), removed.len() + folder_ops + 1);
        let mut left = happened.saturating_sub(removed.len());
        for (id, file) in removed.into_iter().skip(happened) {
            self.files.entry(id).or_insert(file);
        }
        for pending in lane {
            let part = self.fates.of(4, pending.ordinal);
            let part = (part & 2 == 0).then_some(part);
            if is_folder_op(&pending.request.op) {
                if left > 0 {
                    left -= 1;
                    self.perform_unsynced(&pending, if left == 0 { part } else { None });
                }
            } else if self.fates.of(3, pending.ordinal) & 1 == 0 {
                self.perform_unsynced(&pending, part);
            }
        }
        self.removed.clear();
        let fates = self.fates;
        let ordinal = self.ordinal;
        for (id, file) in &mut self.files {
            self.counts.lost_sectors += file.tear(|sector| fates.of(id.0 ^ (ordinal << 20), sector as u64) & 1 == 0);
        }
        self.written = self.durable;
        self.lane_due = 0;
        self.trouble.fail_sync = false;
    }

    /// Beyond the claim: turns one bit of what was durable.
    pub(crate) fn rot(&mut self, random: u64) {
        let Some((segment, at)) = self.somewhere(random, "rot") else { return };
        let file = self.files.get_mut(&segment).expect("just found");
        let bit = 1_u8 << index(Fate::new(random, "rot").of(0, 2), 8);
        file.cache[at] ^= bit;
        file.stable[at] ^= bit;
        self.has_rotted = true;
    }

    /// Whether a bit has turned, of what is still there.
    pub(crate) fn has_rotted(&self) -> bool {
        self.has_rotted
    }

    /// All files go where the node does not see them. Nothing is under way.
    pub(crate) fn put_aside(&mut self) {
        self.files.clear();
        self.removed.clear();
        self.undeleted.clear();
        self.bad_sectors.clear();
        (self.written, self.durable) = (0, 0);
        self.has_rotted = false;
    }

    /// Whether a read came before an older operation on its segment was done: operations on one segment keep their order.
    fn is_read_early(&self, ordinal: u64) -> bool {
        let Some(Pending { request: DiskRequest { op: DiskOp::Read { segment, .. }, .. }, .. }) =
            self.reads.get(&ordinal)
        else {
            return false;
        };
        self.lane.iter().any(|older| older.ordinal < ordinal && touches(&older.request.op, *segment))
    }

    /// Takes the reads under way of what `op` is about to change; those that came after it wait for it.
    fn read_before(&mut self, op: &DiskOp, ordinal: u64) {
        let early: Vec<(u64, DiskOp)> = self
            .reads
            .range(..ordinal)
            .filter(|(_, read)| {
                matches!(&read.request.op, DiskOp::Read { segment, .. } if read.found.is_none() && touches(op, *segment))
            })
            .map(|(&ordinal, read)| (ordinal, read.request.op.clone()))
            .collect();
        for (ordinal, op) in early {
            let found = self.perform(&op, ordinal);
            if let Some(read) = self.reads.get_mut(&ordinal) {
                read.found = Some(found);
            }
        }
    }

    fn latency(&self, pending: &Pending) -> Micros {
        let random = self.fates.of(6, pending.ordinal);
        let (low, high) = match &pending.request.op {
            DiskOp::Append { sync: true, .. } | DiskOp::Create { .. } => self.plan.sync_us,
            DiskOp::Append { .. } | DiskOp::Delete { .. } => self.plan.write_us,
            DiskOp::Read { .. } | DiskOp::List => self.plan.read_us,
        };
        let mut latency = scale(random, low, high);
        if hits(self.fates.of(7, pending.ordinal), self.plan.tail) {
            latency += self.plan.tail_us;
        }
        latency * u64::from(self.trouble.slow.max(1))
    }

    fn perform(&mut self, op: &DiskOp, ordinal: u64) -> Result<DiskOutcome, DiskError> {
        if let Some(error) = self.trouble.meets(op) {
            self.counts.failed_others += u64::from(error == DiskError::Io);
            if let DiskOp::Append { segment, offset, data, .. } = op
                && !self.trouble.read_only
            {
                self.append(*segment, *offset, data, Some(self.fates.of(8, ordinal)));
            }
            if let DiskOp::Delete { segment } = op {
                self.undeleted.insert(*segment);
            }
            return Err(error);
        }
        match op {
            DiskOp::List => Ok(DiskOutcome::Segments(self.list())),
            DiskOp::Create { segment, size, recycle } => {
                if self.trouble.full_create {
                    return Err(DiskError::NoSpace);
                }
                if recycle.is_none() && self.trouble.quota.is_some_and(|quota| self.used() + *size > quota) {
                    self.counts.over_quota += 1;
                    return Err(DiskError::NoSpace);
                }
                self.create(*segment, *size, *recycle, None);
                self.removed.clear();
                if let Some(file) = self.files.get_mut(segment) {
                    file.stable.resize(file.cache.len(), 0);
                }
                Ok(DiskOutcome::Done)
            }
            DiskOp::Append { segment, offset, data, sync } => {
                if self.trouble.full_append && data.iter().any(|bytes| !bytes.is_empty()) {
                    self.append(*segment, *offset, data, Some(self.fates.of(8, ordinal)));
                    return Err(DiskError::NoSpace);
                }
                let random = self.trouble.misdirected_write.take_if(|_| data.iter().any(|bytes| !bytes.is_empty()));
                let end = match random {
                    Some(random) => self.append_elsewhere(*segment, *offset, data, random),
                    None => self.append(*segment, *offset, data, None),
                };
                if *sync && std::mem::take(&mut self.trouble.fail_sync) {
                    let fates = self.fates;
                    if let Some(file) = self.files.get_mut(segment) {
                        file.tear(|sector| fates.of(ordinal, sector as u64) & 1 == 0);
                    }
                    self.written = self.durable;
                    self.counts.failed_syncs += 1;
                    return Err(DiskError::Io);
                }
                let position = self.position(*segment, end);
                self.written = self.written.max(position);
                if *sync && !self.trouble.lies {
                    self.counts.syncs += 1;
                    if let Some(file) = self.files.get_mut(segment) {
                        file.sync();
                    }
                    self.durable = self.durable.max(position);
                }
                Ok(DiskOutcome::Done)
            }
            DiskOp::Read { segment, offset, len } => {
                if hits(self.fates.of(9, ordinal), self.trouble.fail_reads) {
                    return Err(DiskError::Io);
                }
                if self.has_bad_sector(*segment, *offset, *len) {
                    return Err(DiskError::Io);
                }
                let offset = match self.trouble.misdirected_read.take() {
                    Some(random) => self.elsewhere(*segment, u64::from(*len), random),
                    None => *offset,
                };
                self.read(*segment, offset, *len).ok_or(DiskError::Io)
            }
            DiskOp::Delete { segment } => {
                self.delete(*segment);
                Ok(DiskOutcome::Done)
            }
        }
    }

    /// Does what reached the operating system of an operation that will never be answered; with `part`, only a part of it.
    fn perform_unsynced(&mut self, pending: &Pending, part: Option<u64>) {
        match &pending.request.op {
            DiskOp::Create { segment, size, recycle } => self.create(*segment, *size, *recycle, part),
            // A file that never came cannot be written to.
            DiskOp::Append { segment, .. } if !self.files.contains_key(segment) => {}
            DiskOp::Append { segment, offset, data, .. } => {
                let end = self.append(*segment, *offset, data, part);
                if part.is_none() {
                    self.written = self.written.max(self.position(*segment, end));
                }
            }
            DiskOp::Delete { segment } => {
                if part.is_none_or(|part| part & 4 == 0) {
                    self.delete(*segment);
                }
            }
            DiskOp::Read { .. } | DiskOp::List => {}
        }
    }

    fn list(&self) -> Vec<(SegmentId, u64)> {
        self.files.iter().map(|(&id, file)| (id, file.cache.len() as u64)).collect()
    }

    fn create(&mut self, segment: SegmentId, size: u64, recycle: Option<SegmentId>, part: Option<u64>) {
        if self.files.contains_key(&segment) && !self.undeleted.contains(&segment) {
            self.complain(format!("segment {segment} is created although it exists"));
            return;
        }
        let size = usize::try_from(size).expect("simulated segments are small");
        let file = match recycle {
            Some(old) => {
                if part.is_some_and(|part| part & 4 == 0) {
                    return;
                }
                let Some(mut file) = self.files.remove(&old) else {
                    self.complain(format!("segment {old} is recycled although it does not exist"));
                    return;
                };
                if file.cache.len() != size {
                    self.complain(format!("segment {old} has {} bytes and is recycled for {size}", file.cache.len()));
                }
                file.first = None;
                self.move_bad_sectors(old, segment);
                file
            }
            None => {
                let size = match part {
                    Some(part) if part & 4 == 0 => return,
                    Some(part) => index(part, size + 1) / SECTOR * SECTOR,
                    None => size,
                };
                File { stable: vec![0; size], cache: vec![0; size], ..File::default() }
            }
        };
        self.undeleted.remove(&segment);
        self.files.insert(segment, file);
    }

    /// Writes and returns the offset of the end; with `part`, only a prefix of that length's share. An operating system takes a write
    /// page by page, and whoever is killed meanwhile leaves no page half copied: the prefix ends where a sector does.
    fn append(&mut self, segment: SegmentId, offset: u64, data: &[Bytes], part: Option<u64>) -> u64 {
        let length: usize = data.iter().map(Bytes::len).sum();
        let end = offset + length as u64;
        let Some(file) = self.files.get_mut(&segment) else {
            self.complain(format!("an append to segment {segment}, which does not exist"));
            return end;
        };
        if end > file.cache.len() as u64 {
            let size = file.cache.len();
            self.complain(format!(
                "an append to segment {segment} at {offset} of {length} bytes passes its end at {size}"
            ));
            return end;
        }
        let start = usize::try_from(offset).expect("below the size of a segment");
        let mut left = match part.map(|part| index(part, length + 1)) {
            Some(share) if share < length => ((start + share) / SECTOR * SECTOR).saturating_sub(start),
            Some(_) | None => length,
        };
        let mut at = start;
        for bytes in data {
            let len = bytes.len().min(left);
            file.cache[at..at + len].copy_from_slice(&bytes[..len]);
            at += len;
            left -= len;
        }
        file.touch(start, at);
        if start == 0 {
            file.first = first_lsn(segment, &file.cache);
        }
        if start < at {
            let written = start / SECTOR..at.div_ceil(SECTOR);
            self.bad_sectors.retain(|(its, sector)| *its != segment || !written.contains(sector));
        }
        end
    }

    /// Bytes of all files.
    pub(crate) fn used(&self) -> u64 {
        self.files.values().map(|file| file.cache.len() as u64).sum()
    }

    /// Beyond the claim: writes to a place that nobody asked for. Returns the offset where the end should have been.
    fn append_elsewhere(&mut self, segment: SegmentId, offset: u64, data: &[Bytes], random: u64) -> u64 {
        let length: u64 = data.iter().map(|bytes| bytes.len() as u64).sum();
        let place = self.elsewhere(segment, length, random);
        self.append(segment, place, data, None);
        offset + length
    }

    /// Some sector of a segment from which `length` bytes fit.
    fn elsewhere(&self, segment: SegmentId, length: u64, random: u64) -> u64 {
        let size = self.files.get(&segment).map_or(0, |file| file.cache.len() as u64);
        scale(random, 0, size.saturating_sub(length) / SECTOR as u64) * SECTOR as u64
    }

    /// Beyond the claim: a sector that was durable cannot be read any more.
    pub(crate) fn spoil(&mut self, random: u64) {
        let Some((segment, at)) = self.somewhere(random, "spoil") else { return };
        self.bad_sectors.insert((segment, at / SECTOR));
    }

    fn has_bad_sector(&self, segment: SegmentId, offset: u64, len: u32) -> bool {
        let sector = |at: u64| usize::try_from(at / SECTOR as u64).expect("simulated segments are small");
        let (first, last) = (sector(offset), sector(offset + u64::from(len.max(1)) - 1));
        self.bad_sectors.range((segment, first)..=(segment, last)).next().is_some()
    }

    /// A file has another name, and the same sectors.
    fn move_bad_sectors(&mut self, from: SegmentId, to: SegmentId) {
        let sectors = std::mem::take(&mut self.bad_sectors);
        self.bad_sectors = sectors.into_iter().map(|(its, at)| (if its == from { to } else { its }, at)).collect();
    }

    /// A byte that the log uses, in any file that has some.
    fn somewhere(&self, random: u64, purpose: &str) -> Option<(SegmentId, usize)> {
        let used: Vec<SegmentId> =
            self.files.iter().filter(|(_, file)| !file.cache.is_empty()).map(|(&id, _)| id).collect();
        if used.is_empty() {
            return None;
        }
        let fates = Fate::new(random, purpose);
        let segment = used[index(fates.of(0, 0), used.len())];
        let live = self.files[&segment].cache.iter().rposition(|&byte| byte != 0).map_or(1, |last| last + 1);
        Some((segment, index(fates.of(0, 1), live)))
    }

    fn read(&self, segment: SegmentId, offset: u64, len: u32) -> Option<DiskOutcome> {
        let file = self.files.get(&segment)?;
        let size = file.cache.len();
        let start = usize::try_from(offset).ok()?.min(size);
        let end = start.saturating_add(usize::try_from(len).ok()?).min(size);
        Some(DiskOutcome::Data(Bytes::copy_from_slice(&file.cache[start..end])))
    }

    fn delete(&mut self, segment: SegmentId) {
        self.bad_sectors.retain(|(its, _)| *its != segment);
        self.undeleted.remove(&segment);
        match self.files.remove(&segment) {
            Some(file) => self.removed.push((segment, file)),
            None => self.complain(format!("segment {segment} is deleted although it does not exist")),
        }
    }

    /// The log position of an offset in a segment.
    fn position(&self, segment: SegmentId, offset: u64) -> u64 {
        let first = self.files.get(&segment).and_then(|file| file.first);
        first.map_or(0, |first| first + offset)
    }

    fn complain(&mut self, text: String) {
        self.complaint.get_or_insert(text);
    }
}

impl File {
    fn touch(&mut self, start: usize, end: usize) {
        if start == end {
            return;
        }
        match self.dirty.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => self.dirty.push((start, end)),
        }
    }

    fn sync(&mut self) {
        for (start, end) in self.dirty.drain(..) {
            self.stable[start..end].copy_from_slice(&self.cache[start..end]);
        }
    }

    /// Settles every unsynced sector: kept where `is_kept`, else as it was. Returns how many were lost.
    fn tear(&mut self, is_kept: impl Fn(usize) -> bool) -> u64 {
        let mut lost = 0;
        self.stable.resize(self.cache.len(), 0);
        for (start, end) in std::mem::take(&mut self.dirty) {
            for sector in start / SECTOR..end.div_ceil(SECTOR) {
                let range = sector * SECTOR..((sector + 1) * SECTOR).min(self.cache.len());
                if is_kept(sector) {
                    self.stable[range.clone()].copy_from_slice(&self.cache[range]);
                } else {
                    self.cache[range.clone()].copy_from_slice(&self.stable[range]);
                    lost += 1;
                }
            }
        }
        lost
    }
}

/// Whether an operation changes a segment.
fn touches(op: &DiskOp, segment: SegmentId) -> bool {
    match op {
        DiskOp::Create { segment: made, recycle, .. } => *made == segment || *recycle == Some(segment),
        DiskOp::Append { segment: changed, .. } | DiskOp::Delete { segment: changed } => *changed == segment,
        DiskOp::Read { .. } | DiskOp::List => false,
    }
}

fn answer(op: DiskOpId, result: Result<DiskOutcome, DiskError>) -> Input {
    match result {
        Ok(outcome) => Input::DiskDone { op, outcome },
        Err(error) => Input::DiskFailed { op, error },
    }
}

/// Reads the position of a segment's first byte from its header; `None` while a recycled file still shows its former one. This is
/// the one thing that the simulator knows about the log's format: it needs to tell, without asking the engine, which records are
/// durable.
fn first_lsn(id: SegmentId, segment: &[u8]) -> Option<u64> {
    // There are two copies, and a torn write may have taken one of them.
    [0, SECTOR].into_iter().find_map(|at| {
        let header = segment.get(at..at + HEADER_BYTES)?;
        let number = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        (header.starts_with(b"LEVERET\0") && number(16) == id.0).then(|| number(32))
    })
}

/// Bytes of a segment header that [`first_lsn`] looks at.
const HEADER_BYTES: usize = 40;

#[cfg(test)]
mod tests;
