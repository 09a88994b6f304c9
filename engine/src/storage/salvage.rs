//! What can still be read behind something in the log that rotted.
//!
//! Nothing goes on with it. It is there to tell what is lost with the log, if the log is given up: so what is said to be settled there is
//! not believed, and what cannot be read is counted. A record that is one flipped bit away from what it was is one that is lost; those
//! around it are found again, since no bytes but those of a record pass for one.

use super::block::{BLOCK_ALIGN, BLOCK_HEADER_BYTES, BlockHeader};
use super::codec::index;
use super::record::{self, Kind, Parsed, RECORD_HEADER_BYTES};
use super::recovery::add_record;
use super::segment::SegmentHeader;
use super::summary::Contents;

/// Bytes that may be looked at for each byte there is, while records are searched for; beyond that what is left counts as lost.
const EFFORT: usize = 64;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Salvaged {
    /// Records that cannot be read: none, one, or more than one, which then may be any number.
    pub(super) records_lost: u64,
    /// Where the last block ends.
    pub(super) end: u64,
    /// The oldest segment that still belonged to the log.
    pub(super) oldest: u64,
}

/// Adds to `contents` the references and the metadata of all records from position `from` on that are sound. `incarnation` is that of the
/// block before.
pub(super) fn salvage(
    header: &SegmentHeader,
    data: &[u8],
    from: u64,
    incarnation: u64,
    contents: &mut Contents,
) -> Salvaged {
    let mut salvaged = Salvaged { records_lost: 0, end: from, oldest: 0 };
    // What a crash has torn was promised to nobody.
    let synced = synced(header, data, from, incarnation);
    let mut incarnation = incarnation;
    let mut search = Search { header, data, effort: data.len().saturating_mul(EFFORT), found: Contents::default() };
    while let Some((at, block)) = next_block(header, data, index(salvaged.end - header.first), incarnation) {
        // A block in between has lost its header.
        let gap = index(salvaged.end - header.first) + BLOCK_HEADER_BYTES;
        if gap < at {
            let counted = search.records(gap, at);
            salvaged.records_lost += if salvaged.end < synced { counted.gaps } else { 0 };
        }
        let end = (at + index(u64::from(block.len))).min(data.len());
        let counted = search.records(at + BLOCK_HEADER_BYTES, end);
        let lost = u64::from(block.records).saturating_sub(counted.records);
        salvaged.records_lost += if block.lsn < synced { lost } else { 0 };
        salvaged.end = header.first + end as u64;
        salvaged.oldest = block.oldest;
        incarnation = block.incarnation;
    }
    // What is settled is left out, so that who is alive is counted rather too high than too low.
    contents.refs.append(&mut search.found.refs);
    contents.metadata.append(&mut search.found.metadata);
    salvaged
}

/// Up to where all was durable, by what the blocks say that are left.
fn synced(header: &SegmentHeader, data: &[u8], from: u64, incarnation: u64) -> u64 {
    let (mut at, mut incarnation, mut synced) = (index(from - header.first), incarnation, 0);
    while let Some((next, block)) = next_block(header, data, at, incarnation) {
        at = next + index(u64::from(block.len));
        incarnation = block.incarnation;
        synced = synced.max(block.synced);
    }
    synced
}

/// The next block from `at` on with a sound header, in a boot that is not before that of the one before: what an earlier boot left beyond
/// its end is no part of the log.
fn next_block(header: &SegmentHeader, data: &[u8], at: usize, incarnation: u64) -> Option<(usize, BlockHeader)> {
    let blocks = (at..data.len()).step_by(BLOCK_ALIGN);
    let mut sound = blocks.filter_map(|at| {
        let lsn = header.first + at as u64;
        BlockHeader::decode(&data[at..], header.salt, lsn).map(|block| (at, block))
    });
    sound.find(|(_, block)| block.incarnation >= incarnation)
}

/// A search for records in the bytes of a segment.
struct Search<'a> {
    header: &'a SegmentHeader,
    data: &'a [u8],
    effort: usize,
    found: Contents,
}

/// What a part of them holds.
struct Counted {
    records: u64,
    /// Stretches in which there is no record and that are long enough for one.
    gaps: u64,
}

impl Search<'_> {
    fn records(&mut self, from: usize, to: usize) -> Counted {
        let mut counted = Counted { records: 0, gaps: 0 };
        let (mut at, mut gap) = (from, from);
        while at + RECORD_HEADER_BYTES <= to {
            let lsn = self.header.first + at as u64;
            let bytes = &self.data[at..to];
            self.effort = self.effort.saturating_sub(effort_of(bytes));
            if self.effort == 0 {
                counted.gaps += 2;
                break;
            }
            match record::parse(self.header.salt, lsn, bytes) {
                Parsed::Record { kind, len } => {
                    let is_noted = self.note(lsn, kind, at, len).is_some();
                    counted.gaps += u64::from(at > gap) + u64::from(!is_noted);
                    counted.records += u64::from(is_noted);
                    at += len;
                    gap = at;
                }
                Parsed::Short(_) | Parsed::Bad => at += 1,
            }
        }
        // Behind the last record there is padding, too short for one.
        counted.gaps += u64::from(to.saturating_sub(gap) >= RECORD_HEADER_BYTES);
        counted
    }

    fn note(&mut self, lsn: u64, kind: Kind, at: usize, len: usize) -> Option<()> {
        add_record(&mut self.found, self.header, lsn, kind, &self.data[at..at + len])
    }
}

/// Bytes that are looked at to tell whether a record begins with these.
fn effort_of(bytes: &[u8]) -> usize {
    let len = bytes.first_chunk().map_or(0, |len| u32::from_le_bytes(*len));
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len <= bytes.len() { 1 + len } else { 1 }
}
