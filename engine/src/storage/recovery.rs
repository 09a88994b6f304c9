//! Recovery: from the files on the disk to what lives, in small steps, any of which a crash may interrupt.
//!
//! 1. List the files and read the header of each. A file without one was never begun and goes.
//! 2. Read the newest segment in full and find the log's end. A block that is not sound ends it, unless a later block tells that it
//!    had been durable: then the log is corrupt, and the node stops rather than lose what it promised.
//!    What else there is is read all the same, as after a metadata record that is not sound: see [`Damage`].
//! 3. From the newest segment to the oldest: take what each held from the summary at the front of the next one, or, where that is
//!    missing, from the segment itself. This way round a settlement is always known before what it kills.
//! 4. Read the last metadata snapshot and what follows it.
//! 5. Sync: what was found may be in no more than the operating system's memory.
//!
//! Nothing is written before the end, and what is deleted was not part of the log, so recovery may be repeated from any point.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::cmp::Reverse;

use super::block::{BLOCK_ALIGN, BLOCK_HEADER_BYTES, BlockHeader, OpenBlock, Step, Walk};
use super::clean::Dropped;
use super::codec::{index, len32};
use super::commit::Op;
use super::doubt::is_one_bit_off;
use super::log::{Log, MetadataBase, Phase};
use super::place::{Damage, LogOutcome, Recovered, RecoveredOwner, RecoveredRef, RefFlags, RefState};
use super::ranges::SeqSet;
use super::record::{self, Kind, Parsed, RECORD_HEADER_BYTES};
use super::salvage::salvage;
use super::segment::{FORMAT_VERSION, FileState, HeaderFound, SEGMENT_HEADER_BYTES, Segment, SegmentHeader};
use super::summary::{Contents, MetadataAt};
use crate::buggify::Point;
use crate::effect::{DiskOp, DiskRequest};
use crate::ids::SegmentId;
use crate::input::DiskOutcome;

/// Reads under way at once.
const READS_MAX: u64 = 8;
/// Bytes read at first where a summary is to be.
const SUMMARY_READ_BYTES: u64 = 64 * 1024;
/// Bytes looked at of a file without a header in a directory without any.
const HEADLESS_READ_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of metadata records read at once.
const METADATA_READ_BYTES: u32 = 1024 * 1024;
/// Bytes between two metadata records that are rather read than skipped.
const METADATA_GAP_BYTES: u32 = 64 * 1024;

/// What a disk operation of recovery brings.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// A segment's header.
    Header(SegmentId),
    /// All of the newest segment.
    Tail(SegmentId),
    /// The summary of a segment, from the front of the next.
    Summary(SegmentId),
    /// All of an older segment.
    Full(SegmentId),
    /// One of the planned reads of metadata.
    Metadata(SegmentId, usize),
    /// The front of a file in a directory without any header.
    Headless(SegmentId),
    /// The last step.
    Sync(SegmentId),
}

impl Wanted {
    pub(super) fn segment(self) -> SegmentId {
        match self {
            Self::Summary(id) => SegmentId(id.0 + 1),
            Self::Header(id)
            | Self::Tail(id)
            | Self::Full(id)
            | Self::Metadata(id, _)
            | Self::Headless(id)
            | Self::Sync(id) => id,
        }
    }
}

/// What recovery knows so far.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    files: Vec<(SegmentId, u64)>,
    /// How many of them were asked for their header, and how many answered.
    headers_asked: usize,
    headers_known: usize,
    /// Files without a header that are still being looked at.
    headless: usize,
    headers: BTreeMap<SegmentId, SegmentHeader>,
    /// The greatest seen anywhere.
    incarnation: u64,
    newest: SegmentId,
    oldest: SegmentId,
    /// The log's end.
    end: u64,
    truncated_bytes: u64,
    /// What the newest segment holds.
    tail: Contents,
    /// The summary of the segment before the newest, if the newest lost its own copy of it.
    lost_summary: Vec<u8>,
    /// The next segment to ask for, and to take, both downwards.
    next_asked: u64,
    next_taken: u64,
    arrived: BTreeMap<u64, Contents>,
    owners: BTreeMap<u64, OwnerFound>,
    /// Where each segment's last metadata record is.
    metadata_last: BTreeMap<u64, u64>,
    /// Needed metadata records, newest first until all are known.
    metadata: Vec<MetadataFound>,
    has_snapshot: bool,
    reads: Vec<MetadataRead>,
    reads_asked: usize,
    reads_known: usize,
    damage: Option<Damage>,
    doubt: Option<String>,
}

/// What is known of one owner. Segments come newest first, so what is settled here applies to all that comes later.
#[derive(Debug, Default)]
struct OwnerFound {
    next_seq: u64,
    settled: SeqSet,
    delivered: SeqSet,
    /// The last states noted, by message.
    states: BTreeMap<u64, RefState>,
    refs: Vec<RecoveredRef>,
}

#[derive(Clone, Copy, Debug)]
struct MetadataFound {
    segment: SegmentId,
    at: MetadataAt,
}

/// Neighbouring metadata records that are read at once.
#[derive(Debug)]
struct MetadataRead {
    segment: SegmentId,
    offset: u32,
    len: u32,
    records: Vec<MetadataAt>,
    /// `None` for those that are not sound.
    payloads: Vec<Option<Bytes>>,
}

/// Where the log ends.
struct End {
    contents: Contents,
    end: u64,
    oldest: u64,
    incarnation: u64,
    truncated_bytes: u64,
    damage: Option<Damage>,
    doubt: Option<String>,
}

/// Why recovery does not go on.
enum Trouble {
    /// What is on the disk is not what was written there, and nothing can be said of the rest.
    Damaged(String),
    /// A later version wrote it.
    Newer(String),
}

impl Log {
    /// Takes one answer.
    pub(super) fn recovery_done(&mut self, op: Op, outcome: DiskOutcome, out: &mut Vec<DiskRequest>) -> LogOutcome {
        let Phase::Recovering(mut recovery) = core::mem::replace(&mut self.phase, Phase::New) else {
            unreachable!("only a recovering log recovers");
        };
        match self.recover(&mut recovery, op, outcome, out) {
            Ok(None) => {
                self.phase = Phase::Recovering(recovery);
                LogOutcome::Nothing
            }
            Ok(Some(recovered)) => LogOutcome::Recovered(recovered),
            Err(Trouble::Damaged(text)) => LogOutcome::Damaged(text),
            Err(Trouble::Newer(text)) => LogOutcome::Fatal(text),
        }
    }

    fn recover(
        &mut self,
        recovery: &mut Recovery,
        op: Op,
        outcome: DiskOutcome,
        out: &mut Vec<DiskRequest>,
    ) -> Result<Option<Recovered>, Trouble> {
        match (op, outcome) {
            (Op::List, DiskOutcome::Segments(files)) => {
                self.files = files.iter().copied().collect();
                recovery.files = files;
                if recovery.files.is_empty() {
                    return Ok(Some(self.begin_fresh(recovery, out)));
                }
                self.ask_headers(recovery, out);
            }
            (Op::Recover(Wanted::Header(id)), DiskOutcome::Data(data)) => {
                recovery.take_header(id, &data)?;
                self.ask_headers(recovery, out);
                if recovery.headers_known == recovery.files.len() {
                    let Some((&newest, header)) = recovery.headers.last_key_value() else {
                        recovery.check_never_begun()?;
                        if self.ask_headless(recovery, out) {
                            return Ok(None);
                        }
                        return Ok(Some(self.begin_fresh(recovery, out)));
                    };
                    let len = header.size;
                    self.recovery_read(Wanted::Tail(newest), 0, len, out);
                }
            }
            (Op::Recover(Wanted::Headless(id)), DiskOutcome::Data(data)) => {
                if was_synced(&data) {
                    return Err(Trouble::Damaged(format!(
                        "the log is corrupt: segment {id} has no readable header, but holds what was durable once"
                    )));
                }
                recovery.headless -= 1;
                if recovery.headless == 0 {
                    return Ok(Some(self.begin_fresh(recovery, out)));
                }
            }
            (Op::Recover(Wanted::Tail(id)), DiskOutcome::Data(data)) => {
                recovery.take_tail(id, &data)?;
                self.ask_summaries(recovery, out);
            }
            (Op::Recover(Wanted::Summary(id)), DiskOutcome::Data(data)) => {
                let next = &recovery.headers[&SegmentId(id.0 + 1)];
                match find_summary(next, &data) {
                    Found::Summary(contents) => recovery.take_contents(id, contents),
                    Found::Longer(len) => {
                        self.recovery_read(Wanted::Summary(id), SEGMENT_HEADER_BYTES as u64, len, out);
                    }
                    Found::Nothing => {
                        let len = recovery.headers[&id].size;
                        self.recovery_read(Wanted::Full(id), 0, len, out);
                    }
                }
                self.ask_summaries(recovery, out);
            }
            (Op::Recover(Wanted::Full(id)), DiskOutcome::Data(data)) => {
                let end = recovery.headers[&SegmentId(id.0 + 1)].previous_end;
                let contents = scan_sealed(&recovery.headers[&id], end, &data)?;
                recovery.take_contents(id, contents);
                self.ask_summaries(recovery, out);
            }
            (Op::Recover(Wanted::Metadata(_, at)), DiskOutcome::Data(data)) => {
                recovery.take_metadata(at, &data);
                self.ask_metadata(recovery, out);
            }
            (Op::Recover(Wanted::Sync(_)), DiskOutcome::Done) => return Ok(Some(self.finish(recovery, out))),
            (op, outcome) => unreachable!("{outcome:?} does not answer {op:?}"),
        }
        Ok(None)
    }

    fn recovery_read(&mut self, wanted: Wanted, offset: u64, len: u64, out: &mut Vec<DiskRequest>) {
        let segment = wanted.segment();
        let len = len32(index(len));
        self.request(Op::Recover(wanted), DiskOp::Read { segment, offset, len }, out);
    }

    /// Looks into the files of a log that seems never to have begun. Whether there is anything to look at.
    fn ask_headless(&mut self, recovery: &mut Recovery, out: &mut Vec<DiskRequest>) -> bool {
        for &(id, size) in recovery.files.iter().filter(|(_, size)| *size > SEGMENT_HEADER_BYTES as u64) {
            recovery.headless += 1;
            self.recovery_read(Wanted::Headless(id), 0, size.min(HEADLESS_READ_BYTES), out);
        }
        recovery.headless > 0
    }

    fn ask_headers(&mut self, recovery: &mut Recovery, out: &mut Vec<DiskRequest>) {
        while recovery.headers_asked < recovery.files.len()
            && ((recovery.headers_asked - recovery.headers_known) as u64) < self.reads_max()
        {
            let (id, size) = recovery.files[recovery.headers_asked];
            recovery.headers_asked += 1;
            self.recovery_read(Wanted::Header(id), 0, size.min(SEGMENT_HEADER_BYTES as u64), out);
        }
    }

    fn ask_summaries(&mut self, recovery: &mut Recovery, out: &mut Vec<DiskRequest>) {
        while let Some(contents) = recovery.arrived.remove(&recovery.next_taken) {
            recovery.absorb(SegmentId(recovery.next_taken), &contents);
            recovery.next_taken -= 1;
        }
        while recovery.next_asked >= recovery.oldest.0 && recovery.next_taken - recovery.next_asked < self.reads_max() {
            let id = SegmentId(recovery.next_asked);
            recovery.next_asked -= 1;
            let holder = &recovery.headers[&SegmentId(id.0 + 1)];
            let is_short = self.buggify.is_active(Point::ShortSummary);
            let most = if is_short { (BLOCK_HEADER_BYTES + RECORD_HEADER_BYTES) as u64 } else { SUMMARY_READ_BYTES };
            let len = most.min(holder.size - SEGMENT_HEADER_BYTES as u64);
            self.recovery_read(Wanted::Summary(id), SEGMENT_HEADER_BYTES as u64, len, out);
        }
        if recovery.next_taken < recovery.oldest.0 {
            recovery.plan_metadata_reads();
            self.ask_metadata(recovery, out);
        }
    }

    fn ask_metadata(&mut self, recovery: &mut Recovery, out: &mut Vec<DiskRequest>) {
        while recovery.reads_asked < recovery.reads.len()
            && ((recovery.reads_asked - recovery.reads_known) as u64) < self.reads_max()
        {
            let at = recovery.reads_asked;
            recovery.reads_asked += 1;
            let read = &recovery.reads[at];
            let wanted = Wanted::Metadata(read.segment, at);
            let (offset, len) = (u64::from(read.offset), u64::from(read.len));
            self.recovery_read(wanted, offset, len, out);
        }
        if recovery.reads_known == recovery.reads.len() {
            let segment = recovery.newest;
            let offset = recovery.end - recovery.headers[&segment].first;
            let op = Op::Recover(Wanted::Sync(segment));
            self.request(op, DiskOp::Append { segment, offset, data: Vec::new(), sync: true }, out);
        }
    }

    fn reads_max(&self) -> u64 {
        if self.buggify.is_active(Point::OneRead) { 1 } else { READS_MAX }
    }

    /// There was no log.
    fn begin_fresh(&mut self, recovery: &Recovery, out: &mut Vec<DiskRequest>) -> Recovered {
        self.incarnation = recovery.incarnation + 1;
        self.delete_files(&recovery.files, out);
        self.begin_segment(SegmentId(1), 0, 0, self.config.segment_bytes, FileState::Planned);
        self.begin_running(0);
        Recovered::default()
    }

    fn delete_files(&mut self, files: &[(SegmentId, u64)], out: &mut Vec<DiskRequest>) {
        for &(segment, _) in files {
            self.request(Op::Delete(Dropped::leftover(segment)), DiskOp::Delete { segment }, out);
        }
    }

    /// All is known: the log goes on where it ended.
    fn finish(&mut self, recovery: &mut Recovery, out: &mut Vec<DiskRequest>) -> Recovered {
        self.incarnation = recovery.incarnation + 1;
        if recovery.damage.is_none() {
            let in_log = |id: SegmentId| (recovery.oldest..=recovery.newest).contains(&id);
            recovery.files.retain(|&(id, _)| !in_log(id));
            self.delete_files(&recovery.files, out);
        }
        for (&id, header) in recovery.headers.range(recovery.oldest..=recovery.newest) {
            let next = recovery.headers.get(&SegmentId(id.0 + 1));
            let used_end = if id == recovery.newest { recovery.end } else { next.map_or(0, |next| next.previous_end) };
            self.segments.push(Segment {
                id,
                first: header.first,
                size: header.size,
                used_end,
                salt: header.salt,
                live_refs: 0,
                live_bytes: 0,
                metadata_last: recovery.metadata_last.get(&id.0).copied(),
                reads: 0,
                state: FileState::Ready,
            });
        }
        self.credit = self.segments.size_bytes;
        self.open = OpenBlock::new(recovery.end, 0);
        self.contents = core::mem::take(&mut recovery.tail);
        self.begin_running(recovery.end);
        let newest = &recovery.headers[&recovery.newest];
        if recovery.end == newest.first + SEGMENT_HEADER_BYTES as u64 {
            // The crash may have taken one copy of the header and the summary with it.
            self.prefix = Some(Bytes::from(newest.encode()));
            let summary = core::mem::take(&mut recovery.lost_summary);
            if !summary.is_empty() && summary.len() as u64 <= newest.size / 4 {
                self.write_summary(&summary);
            }
        }
        self.hand_over(recovery)
    }

    fn hand_over(&mut self, recovery: &mut Recovery) -> Recovered {
        let (truncated_bytes, damage) = (recovery.truncated_bytes, recovery.damage.take());
        let doubt = recovery.doubt.take();
        let mut recovered = Recovered { truncated_bytes, damage, doubt, ..Recovered::default() };
        for read in recovery.reads.drain(..) {
            let first = recovery.headers[&read.segment].first;
            for (record, payload) in read.records.iter().zip(read.payloads) {
                let Some(payload) = payload else { continue };
                if record.is_snapshot {
                    let lsn = first + u64::from(record.offset);
                    self.base = MetadataBase { lsn, snapshot_bytes: u64::from(record.len), tail_bytes: 0 };
                    recovered.snapshot = Some(payload);
                } else {
                    self.base.tail_bytes += u64::from(record.len);
                    recovered.metadata.push(payload);
                }
            }
        }
        for (owner, mut found) in core::mem::take(&mut recovery.owners) {
            // A record may be there twice, if a crash came between its copy and the end of the original.
            found.refs.sort_unstable_by_key(|reference| (reference.seq, Reverse(reference.lsn)));
            found.refs.dedup_by_key(|reference| reference.seq);
            recovered.owners.insert(owner, RecoveredOwner { next_seq: found.next_seq, refs: found.refs });
        }
        recovered
    }
}

impl Recovery {
    fn take_header(&mut self, id: SegmentId, data: &[u8]) -> Result<(), Trouble> {
        self.headers_known += 1;
        match SegmentHeader::decode(data, id) {
            HeaderFound::Sound(header) => {
                let size = self.files.iter().find(|file| file.0 == id).map_or(0, |file| file.1);
                if size < header.size {
                    let text = format!("the log is corrupt: segment {id} has {size} of {} bytes", header.size);
                    return Err(Trouble::Damaged(text));
                }
                self.incarnation = self.incarnation.max(header.incarnation);
                self.headers.insert(id, header);
            }
            HeaderFound::Newer(version) => {
                return Err(Trouble::Newer(format!(
                    "the data directory was written by a newer version of Leveret: log format {version}, this version reads \
                     up to {FORMAT_VERSION}"
                )));
            }
            HeaderFound::Nothing => {}
        }
        Ok(())
    }

    /// Without any header there may only be what the very first start leaves when it is interrupted.
    fn check_never_begun(&self) -> Result<(), Trouble> {
        match self.files.last() {
            Some((id, _)) if id.0 > 2 => {
                Err(Trouble::Damaged("the log is corrupt: no segment has a readable header".to_owned()))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn take_tail(&mut self, id: SegmentId, data: &[u8]) -> Result<(), Trouble> {
        let header = &self.headers[&id];
        let found = find_end(header, data)?;
        self.newest = id;
        self.oldest = SegmentId(found.oldest);
        self.end = found.end;
        self.incarnation = self.incarnation.max(found.incarnation);
        self.truncated_bytes = found.truncated_bytes;
        (self.damage, self.doubt) = (found.damage, found.doubt);
        let mut expected = None;
        for number in found.oldest..=id.0 {
            let Some(header) = self.headers.get(&SegmentId(number)) else {
                let is_there = self.files.iter().any(|file| file.0.0 == number);
                let what = if is_there { "has no readable header" } else { "is missing" };
                return Err(Trouble::Damaged(format!("the log is corrupt: segment {number} {what}")));
            };
            if expected.is_some_and(|expected| expected != header.first) {
                let text = format!("the log is corrupt: segment {number} does not follow the one before");
                return Err(Trouble::Damaged(text));
            }
            expected = Some(header.first + header.size);
        }
        self.next_asked = id.0 - 1;
        self.next_taken = id.0;
        let mut contents = found.contents;
        contents.drop_settled();
        self.tail = contents.clone();
        self.arrived.insert(id.0, contents);
        Ok(())
    }

    fn take_contents(&mut self, id: SegmentId, contents: Contents) {
        if id.0 + 1 == self.newest.0 && self.tail == Contents::default() {
            contents.encode(&mut self.lost_summary);
        }
        self.arrived.insert(id.0, contents);
    }

    /// Adds what a segment holds, all newer ones being known.
    fn absorb(&mut self, id: SegmentId, contents: &Contents) {
        let first = self.headers[&id].first;
        for range in &contents.delivered {
            let owner = self.owners.entry(range.owner).or_default();
            owner.next_seq = owner.next_seq.max(range.last.saturating_add(1));
            owner.delivered.insert(range.first, range.last);
        }
        for noted in contents.states.iter().rev() {
            let owner = self.owners.entry(noted.owner).or_default();
            owner.next_seq = owner.next_seq.max(noted.seq.saturating_add(1));
            owner.states.entry(noted.seq).or_insert(noted.state);
        }
        for reference in contents.refs.iter().rev() {
            let owner = self.owners.entry(reference.owner).or_default();
            owner.next_seq = owner.next_seq.max(reference.seq.saturating_add(1));
            if reference.state.flags.contains(RefFlags::TRANSIENT) || owner.settled.contains(reference.seq) {
                continue;
            }
            let is_delivered = owner.delivered.contains(reference.seq);
            let mut state = reference.state;
            if let Some(noted) = owner.states.get(&reference.seq) {
                // A noted state is never older than the one that its message was last written with.
                state = RefState { flags: state.flags.with(noted.flags), ..*noted };
            }
            if is_delivered {
                state.flags = state.flags.with(RefFlags::REDELIVERED);
            }
            let place = reference.place(first);
            let (lsn, len, shares) = (place.lsn, place.len, place.shares);
            owner.refs.push(RecoveredRef { seq: reference.seq, lsn, len, shares, state });
        }
        for range in &contents.settled {
            let owner = self.owners.entry(range.owner).or_default();
            owner.next_seq = owner.next_seq.max(range.last.saturating_add(1));
            owner.settled.insert(range.first, range.last);
        }
        if let Some(last) = contents.metadata.last() {
            self.metadata_last.insert(id.0, first + u64::from(last.offset));
        }
        for &at in contents.metadata.iter().rev() {
            if !self.has_snapshot {
                self.metadata.push(MetadataFound { segment: id, at });
                self.has_snapshot = at.is_snapshot;
            }
        }
    }

    fn plan_metadata_reads(&mut self) {
        for found in self.metadata.drain(..).rev() {
            let end = found.at.offset.saturating_add(found.at.len);
            if let Some(read) = self.reads.last_mut()
                && read.segment == found.segment
                && found.at.offset.saturating_sub(read.offset + read.len) <= METADATA_GAP_BYTES
                && end - read.offset <= METADATA_READ_BYTES
            {
                read.len = end - read.offset;
                read.records.push(found.at);
                continue;
            }
            self.reads.push(MetadataRead {
                segment: found.segment,
                offset: found.at.offset,
                len: found.at.len,
                records: Vec::from([found.at]),
                payloads: Vec::new(),
            });
        }
    }

    fn take_metadata(&mut self, at: usize, data: &Bytes) {
        self.reads_known += 1;
        let read = &mut self.reads[at];
        let header = &self.headers[&read.segment];
        for record in &read.records {
            let from = index(u64::from(record.offset - read.offset));
            let to = from + index(u64::from(record.len));
            let lsn = header.first + u64::from(record.offset);
            let kind = if record.is_snapshot { Kind::Snapshot } else { Kind::Metadata };
            let sound = data
                .get(from..to)
                .is_some_and(|bytes| record::parse(header.salt, lsn, bytes) == Parsed::Record { kind, len: to - from });
            if !sound {
                let text = || corrupt_text(header, lsn);
                let damage =
                    self.damage.get_or_insert_with(|| Damage { text: text(), records_lost: 0, is_of_metadata: true });
                damage.is_of_metadata = true;
            }
            read.payloads.push(sound.then(|| data.slice(from + RECORD_HEADER_BYTES..to)));
        }
    }
}

fn corrupt(header: &SegmentHeader, lsn: u64) -> Trouble {
    Trouble::Damaged(corrupt_text(header, lsn))
}

fn corrupt_text(header: &SegmentHeader, lsn: u64) -> String {
    format!("the log is corrupt: segment {}, offset {}", header.id, lsn - header.first)
}

/// What the front of a segment says about the one before.
enum Found {
    Summary(Contents),
    /// So many bytes are needed to tell.
    Longer(u64),
    Nothing,
}

fn find_summary(holder: &SegmentHeader, data: &[u8]) -> Found {
    let first = holder.first + SEGMENT_HEADER_BYTES as u64;
    let Some(block) = BlockHeader::decode(data, holder.salt, first) else { return Found::Nothing };
    let bytes = data.get(BLOCK_HEADER_BYTES..).unwrap_or_default();
    match record::parse(holder.salt, first + BLOCK_HEADER_BYTES as u64, bytes) {
        Parsed::Record { kind: Kind::Summary, len } => {
            Contents::decode(&bytes[RECORD_HEADER_BYTES..len]).map_or(Found::Nothing, Found::Summary)
        }
        Parsed::Short(len) => {
            let len = (BLOCK_HEADER_BYTES + len) as u64;
            let fits = len <= u64::from(block.len) && len <= holder.size - SEGMENT_HEADER_BYTES as u64;
            if fits && len > data.len() as u64 { Found::Longer(len) } else { Found::Nothing }
        }
        Parsed::Record { .. } | Parsed::Bad => Found::Nothing,
    }
}

/// Reads a segment that is complete up to `end`.
fn scan_sealed(header: &SegmentHeader, end: u64, data: &[u8]) -> Result<Contents, Trouble> {
    let mut contents = Contents::default();
    let mut walk = Walk::new(header.salt, header.first + SEGMENT_HEADER_BYTES as u64, 0);
    while walk.position < end {
        match walk.step(data, header.first) {
            Step::Block(_) | Step::BlockEnd => {}
            Step::Record { lsn, kind, at, len } => {
                add_record(&mut contents, header, lsn, kind, &data[at..at + len])
                    .ok_or_else(|| corrupt(header, lsn))?;
            }
            Step::Short(_) | Step::Bad => return Err(corrupt(header, walk.position)),
        }
    }
    contents.drop_settled();
    Ok(contents)
}

/// Notes a sound record. `None` if its body makes no sense.
pub(super) fn add_record(
    contents: &mut Contents,
    header: &SegmentHeader,
    lsn: u64,
    kind: Kind,
    record: &[u8],
) -> Option<()> {
    let offset = u32::try_from(lsn - header.first).ok()?;
    let is_snapshot = kind == Kind::Snapshot;
    let place = MetadataAt { offset, len: len32(record.len()), is_snapshot };
    contents.add_record(kind, place, record.get(RECORD_HEADER_BYTES..)?)
}

/// Whether some block in the front of a segment says that what is in front of it was durable: then so was the header, and its loss
/// is no sign of a first start that was interrupted. The salt is lost with the header, so no checksum can tell more.
fn was_synced(data: &[u8]) -> bool {
    let blocks = data.get(SEGMENT_HEADER_BYTES..).unwrap_or_default().chunks(BLOCK_ALIGN);
    let heads = (SEGMENT_HEADER_BYTES..).step_by(BLOCK_ALIGN).zip(blocks);
    let mut synced = heads.filter_map(|(at, _)| BlockHeader::synced_unchecked(&data[at..]));
    synced.any(|synced| synced > SEGMENT_HEADER_BYTES as u64)
}

/// Reads the newest segment up to the first block that is not sound; beyond it, if that one had been durable.
fn find_end(header: &SegmentHeader, data: &[u8]) -> Result<End, Trouble> {
    let mut found = End {
        contents: Contents::default(),
        end: header.first + SEGMENT_HEADER_BYTES as u64,
        oldest: header.oldest,
        incarnation: header.incarnation,
        truncated_bytes: 0,
        damage: None,
        doubt: None,
    };
    let mut walk = Walk::new(header.salt, found.end, header.incarnation);
    let mut mark = found.contents.mark();
    let mut oldest = found.oldest;
    loop {
        match walk.step(data, header.first) {
            Step::Block(block) => oldest = block.oldest,
            Step::BlockEnd => {
                found.end = walk.position;
                found.oldest = found.oldest.max(oldest);
                mark = found.contents.mark();
            }
            Step::Record { lsn, kind, at, len } => {
                if add_record(&mut found.contents, header, lsn, kind, &data[at..at + len]).is_none() {
                    return Err(corrupt(header, lsn));
                }
            }
            Step::Short(_) | Step::Bad => break,
        }
    }
    found.contents.rewind(mark);
    // What lies beyond tells whether the end is torn or rotten. The incarnation keeps blocks of this boot apart from those.
    let mut at = index(found.end - header.first);
    while at + BLOCK_HEADER_BYTES <= data.len() {
        let lsn = header.first + at as u64;
        if let Some(block) = BlockHeader::decode(&data[at..], header.salt, lsn) {
            if block.synced > found.end {
                let (corrupt, synced) = (corrupt_text(header, found.end), block.synced - header.first);
                let salvaged = salvage(header, data, found.end, walk.incarnation, &mut found.contents);
                found.damage = Some(Damage {
                    text: format!("{corrupt}: it had been durable up to offset {synced}"),
                    records_lost: salvaged.records_lost,
                    is_of_metadata: false,
                });
                (found.end, found.oldest) = (salvaged.end, found.oldest.max(salvaged.oldest));
                return Ok(found);
            }
            found.incarnation = found.incarnation.max(block.incarnation);
            found.truncated_bytes = found.truncated_bytes.max(lsn + u64::from(block.len) - found.end);
        }
        at += BLOCK_ALIGN;
    }
    if is_one_bit_off(header, data, index(found.end - header.first), walk.incarnation) {
        found.doubt =
            Some(format!("{}: one bit of the log's end seems to have turned", corrupt_text(header, found.end)));
    }
    found.incarnation = found.incarnation.max(walk.incarnation);
    Ok(found)
}
