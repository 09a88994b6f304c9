//! Messages in pieces, between which others may go.

use bytes::{BufMut, BytesMut};
use core::fmt;
use crc32fast::Hasher;

use super::lane::Lane;
use crate::limits;

/// Bytes of a header without the total.
pub(super) const HEADER_BYTES: usize = 8;
/// Bytes of a header with it.
pub(super) const LONG_HEADER_BYTES: usize = HEADER_BYTES + 4;
const REFUSAL: u8 = 15;

/// Where a chunk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Lane(Lane),
    /// To nobody in particular: nothing follows.
    Refusal,
}

/// Which part of its message a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// The beginning of one of so many bytes.
    Beginning(usize),
    /// What follows.
    More,
}

/// What stands before the content of a chunk.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) target: Target,
    pub(super) part: Part,
    /// Bytes of the content.
    pub(super) length: usize,
    /// What the checksum has to be in the end.
    crc: u32,
    /// The checksum of what was seen.
    seen: Hasher,
}

/// Why what arrived is no chunk that a node of this version sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadChunk {
    /// It is of a kind, or for a lane, that there is not.
    Kind,
    /// Its length makes no sense.
    Length,
    /// It belongs to a message larger than its lane allows.
    TooLarge {
        /// The lane.
        lane: Lane,
        /// Bytes of the message.
        bytes: usize,
    },
    /// It does not follow on what came before in its lane.
    Order,
    /// It was damaged on its way.
    Checksum,
}

impl fmt::Display for BadChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind => f.write_str("a chunk of an unknown kind; check that both are of compatible releases"),
            Self::Length => {
                f.write_str("a chunk of a length that makes no sense; check that both are of compatible releases")
            }
            Self::TooLarge { lane, bytes } => {
                write!(f, "a message of {bytes} bytes for {lane}, where {} are allowed", lane.message_bytes_max())
            }
            Self::Order => {
                f.write_str("a chunk that belongs to no message; check that both are of compatible releases")
            }
            Self::Checksum => {
                f.write_str("a chunk damaged on its way; if it happens again, check network cards and memory")
            }
        }
    }
}

/// Appends the header of a chunk with this content, which has to follow.
pub(super) fn put_header(out: &mut BytesMut, target: Target, part: Part, content: &[u8]) {
    let place = match target {
        Target::Lane(lane) => lane as u8,
        Target::Refusal => REFUSAL,
    };
    let kind = match part {
        Part::Whole => 0,
        Part::Beginning(_) => 1,
        Part::More => 2,
    };
    let length = u32::try_from(content.len()).expect("chunks are small").to_le_bytes();
    let start = [kind << 4 | place, length[0], length[1], length[2]];
    let total = match part {
        Part::Beginning(total) => Some(u32::try_from(total).expect("messages are smaller than 4 GiB").to_le_bytes()),
        Part::Whole | Part::More => None,
    };
    let mut crc = Hasher::new();
    crc.update(&start);
    crc.update(total.as_ref().map_or(&[], |total| &total[..]));
    crc.update(content);
    out.put_slice(&start);
    out.put_u32_le(crc.finalize());
    out.put_slice(total.as_ref().map_or(&[], |total| &total[..]));
}

/// Bytes of the header that begins with these.
pub(super) fn header_len(first: u8) -> usize {
    if first >> 4 == 1 { LONG_HEADER_BYTES } else { HEADER_BYTES }
}

impl Header {
    /// Reads a header of [`header_len`] bytes.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadChunk> {
        let (start, rest) = bytes.split_first_chunk::<4>().ok_or(BadChunk::Length)?;
        let (crc, total) = rest.split_first_chunk::<4>().ok_or(BadChunk::Length)?;
        let target = match start[0] & 15 {
            REFUSAL => Target::Refusal,
            place => Target::Lane(*Lane::ALL.get(usize::from(place)).ok_or(BadChunk::Kind)?),
        };
        let part = match (start[0] >> 4, total.first_chunk::<4>()) {
            (0, None) => Part::Whole,
            (1, Some(total)) => Part::Beginning(size(u32::from_le_bytes(*total))),
            (2, None) => Part::More,
            _ => return Err(BadChunk::Kind),
        };
        let length = size(u32::from_le_bytes([start[1], start[2], start[3], 0]));
        let mut seen = Hasher::new();
        seen.update(start);
        seen.update(total);
        let header = Self { target, part, length, crc: u32::from_le_bytes(*crc), seen };
        header.check_length().map(|()| header)
    }

    fn check_length(&self) -> Result<(), BadChunk> {
        let is_sound = match (self.target, self.part) {
            (Target::Refusal, Part::Whole) => self.length <= limits::LINK_REFUSAL_BYTES_MAX + 1,
            (Target::Refusal, _) => return Err(BadChunk::Kind),
            (Target::Lane(_), Part::Whole) => self.length <= limits::LINK_CHUNK_BYTES,
            (Target::Lane(lane), Part::Beginning(bytes)) if bytes > lane.message_bytes_max() => {
                return Err(BadChunk::TooLarge { lane, bytes });
            }
            // One without content would say nothing, and could be sent for ever.
            (Target::Lane(_), Part::Beginning(total)) => {
                (1..=limits::LINK_CHUNK_BYTES).contains(&self.length) && self.length < total
            }
            (Target::Lane(_), Part::More) => (1..=limits::LINK_CHUNK_BYTES).contains(&self.length),
        };
        is_sound.then_some(()).ok_or(BadChunk::Length)
    }

    /// More of the content was seen.
    pub(super) fn see(&mut self, content: &[u8]) {
        self.seen.update(content);
    }

    /// All of the content was seen.
    pub(super) fn check(self) -> Result<(), BadChunk> {
        if self.seen.finalize() == self.crc { Ok(()) } else { Err(BadChunk::Checksum) }
    }
}

fn size(number: u32) -> usize {
    usize::try_from(number).expect("an address has 32 bits at least")
}
