//! One record: length, checksum, kind and what it says.
//!
//! The checksum covers kind and body and is seeded with the segment's salt, the record's position and its length, so that torn,
//! stale, misdirected and rotten bytes all fail it.

use alloc::vec::Vec;

use super::codec::{Reader, hasher, put_varint};
use super::place::{Ref, RefState};
use crate::mutants::{Mutant, is_planted};

/// Bytes before a record's body: length, checksum, kind.
pub(super) const RECORD_HEADER_BYTES: usize = 9;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A message and who it is for.
    Message = 1,
    /// Messages that are gone.
    Settled = 2,
    /// Messages that a consumer may have seen.
    Delivered = 3,
    /// A change of the metadata.
    Metadata = 4,
    /// All metadata.
    Snapshot = 5,
    /// What the segment before this one holds, as version 1 of the format wrote it. Left unread: the segment itself tells the same.
    OldSummary = 6,
    /// States of messages that changed since their records were written.
    States = 7,
    /// What the segment before this one holds.
    Summary = 8,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Message,
            2 => Self::Settled,
            3 => Self::Delivered,
            4 => Self::Metadata,
            5 => Self::Snapshot,
            6 => Self::OldSummary,
            7 => Self::States,
            8 => Self::Summary,
            _ => return None,
        })
    }
}

/// What the bytes at a position are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A sound record of so many bytes.
    Record { kind: Kind, len: usize },
    /// So many bytes are needed to tell.
    Short(usize),
    /// Not a record.
    Bad,
}

/// Looks at the record that begins with `bytes` and is to lie at `lsn`.
pub(super) fn parse(salt: u64, lsn: u64, bytes: &[u8]) -> Parsed {
    let Some(header) = bytes.first_chunk::<RECORD_HEADER_BYTES>() else { return Parsed::Short(RECORD_HEADER_BYTES) };
    let [l0, l1, l2, l3, c0, c1, c2, c3, kind] = *header;
    let len32 = u32::from_le_bytes([l0, l1, l2, l3]);
    let Ok(len) = usize::try_from(len32) else { return Parsed::Bad };
    let Some(kind) = Kind::from_byte(kind) else { return Parsed::Bad };
    if len < RECORD_HEADER_BYTES {
        return Parsed::Bad;
    }
    let Some(covered) = bytes.get(8..len) else { return Parsed::Short(len) };
    let mut crc = hasher(salt, lsn, len32);
    crc.update(covered);
    let is_sound = crc.finalize() == u32::from_le_bytes([c0, c1, c2, c3]);
    if is_sound || is_planted(Mutant::TornBodyAccepted) { Parsed::Record { kind, len } } else { Parsed::Bad }
}

/// Appends a message's references.
pub(super) fn encode_refs(refs: &[Ref], out: &mut Vec<u8>) {
    put_varint(out, refs.len() as u64);
    for reference in refs {
        put_varint(out, reference.owner);
        put_varint(out, reference.seq);
        reference.state.encode(out);
    }
}

/// A message record's references, and leaves the reader at its payload.
pub(super) fn decode_refs(reader: &mut Reader<'_>) -> Option<Vec<Ref>> {
    let count = usize::from(u16::try_from(reader.varint()?).ok()?);
    let mut refs = Vec::with_capacity(count.min(reader.0.len() / 3 + 1));
    for _ in 0..count {
        let owner = reader.varint()?;
        let seq = reader.varint()?;
        let state = RefState::decode(reader)?;
        refs.push(Ref { owner, seq, state });
    }
    Some(refs)
}

/// Leaves the reader at a message record's payload.
pub(super) fn skip_refs(reader: &mut Reader<'_>) -> Option<()> {
    for _ in 0..reader.varint()? {
        reader.varint()?;
        reader.varint()?;
        RefState::decode(reader)?;
    }
    Some(())
}
