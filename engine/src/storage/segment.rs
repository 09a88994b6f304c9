//! Segments: the files the log is cut into, and what the log knows of each.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::codec::{Reader, mix};
use super::place::Place;
use crate::ids::SegmentId;

/// The format that this code writes, and the newest it reads.
pub(super) const FORMAT_VERSION: u16 = 2;
/// Bytes of a segment's header.
const HEADER_BYTES: usize = 72;
/// Where the header's second copy is: in another sector, so that one bad sector does not hide a segment.
const SECOND_COPY: usize = 512;
/// Bytes at the front of a segment that hold no blocks.
pub(super) const SEGMENT_HEADER_BYTES: usize = SECOND_COPY + HEADER_BYTES;

const MAGIC: &[u8; 8] = b"LEVERET\0";

/// The head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Its number; a recycled file still shows its former one until it is begun.
    pub(super) id: u64,
    /// Its bytes.
    pub(super) size: u64,
    /// The position of its first byte.
    pub(super) first: u64,
    /// Where the last block of the segment before it ends.
    pub(super) previous_end: u64,
    /// The boot that began it.
    pub(super) incarnation: u64,
    /// The seed of all checksums in it.
    pub(super) salt: u64,
    /// The oldest segment that belonged to the log when it was begun.
    pub(super) oldest: u64,
}

/// What the front of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFound {
    /// A sound header.
    Sound(SegmentHeader),
    /// Written by a later version of the format.
    Newer(u16),
    /// No header: the file was never begun.
    Nothing,
}

impl SegmentHeader {
    /// The segment's first bytes, both copies.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        copy.extend_from_slice(MAGIC);
        copy.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        copy.extend_from_slice(&[0; 6]);
        for number in [self.id, self.size, self.first, self.previous_end, self.incarnation, self.salt, self.oldest] {
            copy.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(&copy);
        copy[12..16].copy_from_slice(&crc.to_le_bytes());
        let second = copy.clone();
        copy.resize(SECOND_COPY, 0);
        copy.extend_from_slice(&second);
        copy
    }

    /// Looks at the first [`SEGMENT_HEADER_BYTES`] of a file that is to be segment `id`. Copies that tell of another segment are
    /// left over from the file's former life.
    pub(super) fn decode(bytes: &[u8], id: SegmentId) -> HeaderFound {
        let copies = [bytes, bytes.get(SECOND_COPY..).unwrap_or_default()].map(Self::decode_copy);
        for copy in copies {
            if let HeaderFound::Sound(header) = copy
                && header.id == id.0
            {
                return copy;
            }
        }
        copies.into_iter().find(|copy| matches!(copy, HeaderFound::Newer(_))).unwrap_or(HeaderFound::Nothing)
    }

    fn decode_copy(bytes: &[u8]) -> HeaderFound {
        Self::try_decode(bytes).unwrap_or(HeaderFound::Nothing)
    }

    fn try_decode(bytes: &[u8]) -> Option<HeaderFound> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let mut reader = Reader(bytes);
        if reader.take(8)? != MAGIC {
            return None;
        }
        // A later version may protect its header in another way, so its number is believed first.
        let version = reader.u16()?;
        if version > FORMAT_VERSION {
            return Some(HeaderFound::Newer(version));
        }
        let flags = reader.u16()?;
        let expected = reader.u32()?;
        let mut unsealed: [u8; HEADER_BYTES] = bytes.try_into().ok()?;
        unsealed[12..16].fill(0);
        if version == 0 || flags != 0 || crc32fast::hash(&unsealed) != expected {
            return None;
        }
        Some(HeaderFound::Sound(Self {
            id: reader.u64()?,
            size: reader.u64()?,
            first: reader.u64()?,
            previous_end: reader.u64()?,
            incarnation: reader.u64()?,
            salt: reader.u64()?,
            oldest: reader.u64()?,
        }))
    }
}

/// The seed of a segment's checksums.
pub(super) fn segment_salt(boot_salt: u64, incarnation: u64, id: SegmentId) -> u64 {
    mix(boot_salt ^ mix(incarnation ^ mix(id.0)))
}

/// How far a segment's file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileState {
    /// Not asked for.
    Planned,
    /// Asked for.
    Creating,
    /// Ready to be written.
    Ready,
}

/// A segment of the log.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) id: SegmentId,
    /// The position of its first byte.
    pub(super) first: u64,
    /// Its bytes.
    pub(super) size: u64,
    /// Where its last complete block ends.
    pub(super) used_end: u64,
    pub(super) salt: u64,
    /// Shares of messages in it that live.
    pub(super) live_refs: u64,
    /// Their bytes.
    pub(super) live_bytes: u64,
    /// The position of its last metadata record.
    pub(super) metadata_last: Option<u64>,
    /// Reads under way.
    pub(super) reads: u32,
    pub(super) state: FileState,
}

impl Segment {
    /// The position after its last byte.
    pub(super) fn limit(&self) -> u64 {
        self.first + self.size
    }
}

/// The segments of the log, from the oldest to the one that is written. Never empty once the log runs.
#[derive(Debug, Default)]
pub(super) struct Segments {
    list: VecDeque<Segment>,
    /// Bytes of all of them.
    pub(super) size_bytes: u64,
    /// Bytes of the messages in them that live.
    pub(super) live_bytes: u64,
}

impl Segments {
    pub(super) fn push(&mut self, segment: Segment) {
        self.size_bytes += segment.size;
        self.live_bytes += segment.live_bytes;
        self.list.push_back(segment);
    }

    pub(super) fn pop_oldest(&mut self) -> Option<Segment> {
        let segment = self.list.pop_front()?;
        self.size_bytes -= segment.size;
        self.live_bytes -= segment.live_bytes;
        Some(segment)
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Segment> {
        self.list.iter()
    }

    /// The oldest segment whose file is not there yet; those are all at the young end.
    pub(super) fn first_without_file(&mut self) -> Option<&mut Segment> {
        if self.list.back()?.state == FileState::Ready {
            return None;
        }
        let at = self.list.partition_point(|segment| segment.state == FileState::Ready);
        self.list.get_mut(at)
    }

    pub(super) fn oldest(&self) -> &Segment {
        self.list.front().expect("a running log has a segment")
    }

    pub(super) fn active(&self) -> &Segment {
        self.list.back().expect("a running log has a segment")
    }

    pub(super) fn active_mut(&mut self) -> &mut Segment {
        self.list.back_mut().expect("a running log has a segment")
    }

    /// Ids are consecutive.
    pub(super) fn by_id_mut(&mut self, id: SegmentId) -> Option<&mut Segment> {
        let at = id.0.checked_sub(self.list.front()?.id.0)?;
        self.list.get_mut(usize::try_from(at).ok()?)
    }

    /// The segment that holds a position. All but a few are of one size, so the first guess is nearly always right.
    pub(super) fn index_of(&self, lsn: u64) -> Option<usize> {
        let front = self.list.front()?;
        let guess = usize::try_from(lsn.checked_sub(front.first)? / front.size).ok()?;
        if let Some(segment) = self.list.get(guess)
            && segment.first <= lsn
            && lsn < segment.limit()
        {
            return Some(guess);
        }
        let at = self.list.partition_point(|segment| segment.limit() <= lsn);
        (at < self.list.len()).then_some(at)
    }

    pub(super) fn at(&self, lsn: u64) -> Option<&Segment> {
        self.list.get(self.index_of(lsn)?)
    }

    pub(super) fn at_mut(&mut self, lsn: u64) -> Option<&mut Segment> {
        let at = self.index_of(lsn)?;
        self.list.get_mut(at)
    }

    /// Counts `count` shares of a record as live.
    pub(super) fn add_shares(&mut self, place: Place, count: u64) {
        let bytes = place.share_bytes() * count;
        self.live_bytes += bytes;
        let segment = self.at_mut(place.lsn.0).expect("a place that is kept lies in the log");
        segment.live_refs += count;
        segment.live_bytes += bytes;
    }

    /// Counts one share of a record as dead and returns its bytes.
    pub(super) fn remove_share(&mut self, place: Place) -> u64 {
        let bytes = place.share_bytes();
        let segment = self.at_mut(place.lsn.0).expect("a place that lives lies in the log");
        assert!(segment.live_refs > 0, "share given up twice: {place:?} in {segment:?}");
        segment.live_refs -= 1;
        segment.live_bytes -= bytes;
        self.live_bytes -= bytes;
        bytes
    }

    pub(super) fn check_invariants(&self) {
        let mut previous: Option<&Segment> = None;
        for segment in &self.list {
            if let Some(previous) = previous {
                assert_eq!(previous.id.0 + 1, segment.id.0, "segment numbers leave a gap");
                assert_eq!(previous.limit(), segment.first, "segments leave a gap");
            }
            assert!(segment.used_end <= segment.limit(), "{segment:?} is overfull");
            assert!(segment.live_bytes <= segment.size, "{segment:?} holds more than its size");
            assert!(segment.live_refs > 0 || segment.live_bytes == 0, "{segment:?} counts dead bytes");
            previous = Some(segment);
        }
        assert_eq!(self.size_bytes, self.list.iter().map(|segment| segment.size).sum::<u64>(), "bytes miscounted");
        let live = self.list.iter().map(|segment| segment.live_bytes).sum::<u64>();
        assert_eq!(self.live_bytes, live, "live bytes miscounted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader { id: 3, size: 4096, first: 8192, previous_end: 8100, incarnation: 2, salt: 99, oldest: 1 }
    }

    #[test]
    fn one_bad_copy_is_survived() {
        let bytes = header().encode();
        assert_eq!(bytes.len(), SEGMENT_HEADER_BYTES);
        for bit in 0..HEADER_BYTES * 8 {
            // The version's bits are believed on sight, see the last test.
            let byte = bit / 8;
            for at in [byte, SECOND_COPY + byte] {
                let mut rotten = bytes.clone();
                rotten[at] ^= 1 << (bit % 8);
                assert_eq!(SegmentHeader::decode(&rotten, SegmentId(3)), HeaderFound::Sound(header()));
            }
        }
    }

    #[test]
    fn a_recycled_file_was_never_begun() {
        assert_eq!(SegmentHeader::decode(&header().encode(), SegmentId(4)), HeaderFound::Nothing);
        assert_eq!(SegmentHeader::decode(&[0; SEGMENT_HEADER_BYTES], SegmentId(4)), HeaderFound::Nothing);
        assert_eq!(SegmentHeader::decode(&[], SegmentId(4)), HeaderFound::Nothing);
    }

    #[test]
    fn a_newer_version_is_told_apart() {
        let mut bytes = header().encode();
        for at in [8, SECOND_COPY + 8] {
            bytes[at] = 3;
        }
        assert_eq!(SegmentHeader::decode(&bytes, SegmentId(3)), HeaderFound::Newer(3));
    }
}
