//! Blocks: what one group commit writes. A block stands or falls as a whole when the log's end is looked for.

use alloc::vec::Vec;
use bytes::Bytes;

use super::codec::{Reader, hasher, len32};
use super::record::{self, Kind, Parsed, RECORD_HEADER_BYTES};

/// Bytes of a block's header.
pub(super) const BLOCK_HEADER_BYTES: usize = 48;
/// Blocks begin at multiples of this, so that a search for them need not look at every byte.
pub(super) const BLOCK_ALIGN: usize = 8;
/// A body from this size on is handed to the disk as it is instead of being copied beside its header.
const LARGE_BODY_BYTES: usize = 32 * 1024;
/// Bytes of one piece of a block; the copies that a growing piece costs end here.
const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes a piece has room for, so that the record that completes it fits.
const CHUNK_CAPACITY: usize = CHUNK_BYTES + 2 * LARGE_BODY_BYTES;
/// Pieces kept to be filled again: memory fresh from the system costs more than what is done with it here.
const SPARE_CHUNKS_MAX: usize = 8;
/// Bytes a piece has room for at least.
const CHUNK_CAPACITY_MIN: usize = 1024;

const MAGIC: u32 = u32::from_le_bytes(*b"LBLK");

/// The head of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    /// Its own position.
    pub(super) lsn: u64,
    /// All of its bytes, with header and padding.
    pub(super) len: u32,
    /// Its records.
    pub(super) records: u32,
    /// The boot that wrote it, counted from 1.
    pub(super) incarnation: u64,
    /// The position up to which everything was durable when it was written.
    pub(super) synced: u64,
    /// The oldest segment that still belonged to the log.
    pub(super) oldest: u64,
}

impl BlockHeader {
    pub(super) fn encode(&self, salt: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(BLOCK_HEADER_BYTES);
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.lsn.to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
        out.extend_from_slice(&self.records.to_le_bytes());
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(&self.synced.to_le_bytes());
        out.extend_from_slice(&self.oldest.to_le_bytes());
        let mut crc = hasher(salt, self.lsn, 0);
        crc.update(&out[8..]);
        out[4..8].copy_from_slice(&crc.finalize().to_le_bytes());
        out
    }

    /// What a header at the front of `bytes` says was durable, if there seems to be one.
    pub(super) fn synced_unchecked(bytes: &[u8]) -> Option<u64> {
        let mut reader = Reader(bytes.get(..BLOCK_HEADER_BYTES)?);
        if reader.u32()? != MAGIC {
            return None;
        }
        let (_checksum, _lsn, _len, _records) = (reader.u32()?, reader.u64()?, reader.u32()?, reader.u32()?);
        let _incarnation = reader.u64()?;
        reader.u64()
    }

    /// The header at the front of `bytes`, if there is a sound one of this position.
    pub(super) fn decode(bytes: &[u8], salt: u64, lsn: u64) -> Option<Self> {
        let mut reader = Reader(bytes.get(..BLOCK_HEADER_BYTES)?);
        if reader.u32()? != MAGIC {
            return None;
        }
        let expected = reader.u32()?;
        let mut crc = hasher(salt, lsn, 0);
        crc.update(reader.0);
        if crc.finalize() != expected {
            return None;
        }
        let header = Self {
            lsn: reader.u64()?,
            len: reader.u32()?,
            records: reader.u32()?,
            incarnation: reader.u64()?,
            synced: reader.u64()?,
            oldest: reader.u64()?,
        };
        let sound = header.lsn == lsn
            && usize::try_from(header.len).ok()? >= BLOCK_HEADER_BYTES
            && header.len.is_multiple_of(8);
        sound.then_some(header)
    }
}

/// Walks over the blocks and records of a segment, given its bytes piece by piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    salt: u64,
    /// The position of what comes next.
    pub(super) position: u64,
    /// The incarnation of the last block: none smaller may follow.
    pub(super) incarnation: u64,
    /// End and records left of the block that the walk is in.
    block: Option<(u64, u32)>,
}

/// One step of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A block begins.
    Block(BlockHeader),
    /// A sound record; `at` is its index in the bytes given.
    Record { lsn: u64, kind: Kind, at: usize, len: usize },
    /// The block is complete.
    BlockEnd,
    /// So many bytes from the walk's position are needed.
    Short(usize),
    /// What is here is neither block nor record.
    Bad,
}

impl Walk {
    pub(super) fn new(salt: u64, position: u64, incarnation: u64) -> Self {
        Self { salt, position, incarnation, block: None }
    }

    /// The next step; `bytes` begin at position `start`, which is not after the walk's.
    pub(super) fn step(&mut self, bytes: &[u8], start: u64) -> Step {
        let at = super::codec::index(self.position - start);
        let rest = bytes.get(at..).unwrap_or_default();
        let Some((end, left)) = self.block else { return self.block_step(rest) };
        if left == 0 {
            // What is left is padding, shorter than a block's alignment.
            if end.checked_sub(self.position).is_none_or(|padding| padding >= BLOCK_ALIGN as u64) {
                return Step::Bad;
            }
            self.position = end;
            self.block = None;
            return Step::BlockEnd;
        }
        let lsn = self.position;
        match record::parse(self.salt, lsn, rest) {
            Parsed::Record { kind, len } if lsn + len as u64 <= end => {
                self.position = lsn + len as u64;
                self.block = Some((end, left - 1));
                Step::Record { lsn, kind, at, len }
            }
            Parsed::Short(len) if lsn + len as u64 <= end => Step::Short(len),
            Parsed::Record { .. } | Parsed::Short(_) | Parsed::Bad => Step::Bad,
        }
    }

    fn block_step(&mut self, rest: &[u8]) -> Step {
        if rest.len() < BLOCK_HEADER_BYTES {
            return Step::Short(BLOCK_HEADER_BYTES);
        }
        let Some(header) = BlockHeader::decode(rest, self.salt, self.position) else { return Step::Bad };
        if header.incarnation < self.incarnation {
            return Step::Bad;
        }
        self.incarnation = header.incarnation;
        self.block = Some((self.position + u64::from(header.len), header.records));
        self.position += BLOCK_HEADER_BYTES as u64;
        Step::Block(header)
    }
}

/// Emptied pieces of blocks.
#[derive(Debug, Default)]
pub(super) struct SpareChunks(Vec<Vec<u8>>);

impl SpareChunks {
    /// Takes the pieces of a block that was written, as far as nobody else holds them.
    pub(super) fn reclaim(&mut self, parts: Vec<Bytes>) {
        for part in parts {
            if self.0.len() < SPARE_CHUNKS_MAX
                && let Ok(mut part) = part.try_into_mut()
                && part.capacity() >= CHUNK_CAPACITY_MIN
            {
                part.clear();
                let chunk = Vec::from(part);
                // A body may look like a piece; its memory is as good.
                if (CHUNK_CAPACITY_MIN..2 * CHUNK_CAPACITY).contains(&chunk.capacity()) {
                    self.0.push(chunk);
                }
            }
        }
    }
}

/// The block that records are being added to.
#[derive(Debug)]
pub(super) struct OpenBlock {
    /// Its position.
    pub(super) start: u64,
    /// Its bytes so far, with its header.
    pub(super) len: usize,
    /// Its records so far.
    pub(super) records: u32,
    parts: Vec<Bytes>,
    chunk: Vec<u8>,
    record_at: usize,
    capacity: usize,
    spare: SpareChunks,
}

impl OpenBlock {
    /// An empty block; `expected` bytes are likely to come.
    pub(super) fn new(start: u64, expected: usize) -> Self {
        Self {
            start,
            len: BLOCK_HEADER_BYTES,
            records: 0,
            parts: Vec::new(),
            chunk: Vec::new(),
            record_at: 0,
            capacity: if expected >= CHUNK_BYTES / 2 { CHUNK_CAPACITY } else { expected.max(CHUNK_CAPACITY_MIN) },
            spare: SpareChunks::default(),
        }
    }

    /// Pieces to be filled again.
    pub(super) fn spare_mut(&mut self) -> &mut SpareChunks {
        &mut self.spare
    }

    /// The position of the next record.
    pub(super) fn end(&self) -> u64 {
        self.start + self.len as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Begins a record; its body is appended to the buffer returned, then [`OpenBlock::finish_record`] is called.
    pub(super) fn begin_record(&mut self, kind: Kind) -> &mut Vec<u8> {
        if self.chunk.capacity() == 0 {
            self.chunk = self.spare.0.pop().unwrap_or_else(|| Vec::with_capacity(self.capacity));
        }
        self.record_at = self.chunk.len();
        let mut header = [0; RECORD_HEADER_BYTES];
        header[8] = kind as u8;
        self.chunk.extend_from_slice(&header);
        &mut self.chunk
    }

    /// Ends the record with `tail` and returns its length.
    pub(super) fn finish_record(&mut self, salt: u64, tail: &Bytes) -> u32 {
        let large = tail.len() >= LARGE_BODY_BYTES;
        if !large {
            self.chunk.extend_from_slice(tail);
        }
        let written = self.chunk.len() - self.record_at;
        let len = len32(written + if large { tail.len() } else { 0 });
        let mut crc = hasher(salt, self.end(), len);
        crc.update(&self.chunk[self.record_at + 8..]);
        if large {
            crc.update(tail);
        }
        let header = &mut self.chunk[self.record_at..];
        header[..4].copy_from_slice(&len.to_le_bytes());
        header[4..8].copy_from_slice(&crc.finalize().to_le_bytes());
        self.len += super::codec::index(u64::from(len));
        self.records += 1;
        if large {
            self.freeze();
            self.parts.push(tail.clone());
        } else if self.chunk.len() >= CHUNK_BYTES {
            self.freeze();
        }
        len
    }

    fn freeze(&mut self) {
        if !self.chunk.is_empty() {
            self.parts.push(Bytes::from(core::mem::take(&mut self.chunk)));
            self.capacity = CHUNK_CAPACITY;
        }
    }

    /// Ends the block: pads it, and returns its length and its bytes.
    pub(super) fn close(mut self, salt: u64, incarnation: u64, synced: u64, oldest: u64) -> (u32, Vec<Bytes>) {
        let padding = self.len.next_multiple_of(BLOCK_ALIGN) - self.len;
        self.chunk.extend_from_slice(&[0; BLOCK_ALIGN][..padding]);
        self.len += padding;
        self.freeze();
        let len = len32(self.len);
        let header = BlockHeader { lsn: self.start, len, records: self.records, incarnation, synced, oldest };
        let mut parts = Vec::with_capacity(self.parts.len() + 2);
        parts.push(Bytes::from(header.encode(salt)));
        parts.append(&mut self.parts);
        (len, parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(parts: &[Bytes]) -> Vec<u8> {
        parts.iter().flat_map(|part| part.iter().copied()).collect()
    }

    #[test]
    fn a_walk_finds_what_was_written() {
        let mut block = OpenBlock::new(1000, 0);
        block.begin_record(Kind::Metadata).extend_from_slice(b"abc");
        block.finish_record(7, &Bytes::new());
        let large = Bytes::from(alloc::vec![9; LARGE_BODY_BYTES]);
        let second = block.end();
        block.begin_record(Kind::Message);
        block.finish_record(7, &large);
        let (len, parts) = block.close(7, 3, 800, 1);
        let bytes = flat(&parts);
        assert_eq!(bytes.len(), usize::try_from(len).unwrap());

        let mut walk = Walk::new(7, 1000, 1);
        assert!(matches!(walk.step(&bytes, 1000), Step::Block(BlockHeader { records: 2, synced: 800, .. })));
        assert!(matches!(walk.step(&bytes, 1000), Step::Record { kind: Kind::Metadata, len: 12, .. }));
        assert!(matches!(walk.step(&bytes[..100], 1000), Step::Short(_)));
        let Step::Record { lsn, at, len, .. } = walk.step(&bytes, 1000) else { panic!("no record") };
        assert_eq!(lsn, second);
        assert_eq!(&bytes[at + RECORD_HEADER_BYTES..at + len], &large[..]);
        assert_eq!(walk.step(&bytes, 1000), Step::BlockEnd);
        assert_eq!(walk.position, 1000 + bytes.len() as u64);
    }

    #[test]
    fn other_salt_other_place_and_older_boots_are_refused() {
        let (_, parts) = OpenBlock::new(64, 0).close(7, 3, 0, 1);
        let bytes = flat(&parts);
        assert!(matches!(Walk::new(7, 64, 3).step(&bytes, 64), Step::Block(_)));
        assert_eq!(Walk::new(8, 64, 3).step(&bytes, 64), Step::Bad);
        assert_eq!(Walk::new(7, 72, 3).step(&bytes, 72), Step::Bad);
        assert_eq!(Walk::new(7, 64, 4).step(&bytes, 64), Step::Bad);
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let mut block = OpenBlock::new(64, 0);
        block.begin_record(Kind::Metadata).extend_from_slice(b"some metadata");
        block.finish_record(7, &Bytes::new());
        let (_, parts) = block.close(7, 3, 0, 1);
        let bytes = flat(&parts);
        let end = BLOCK_HEADER_BYTES + RECORD_HEADER_BYTES + b"some metadata".len();
        for bit in 0..end * 8 {
            let mut rotten = bytes.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            let mut walk = Walk::new(7, 64, 0);
            let bad = loop {
                match walk.step(&rotten, 64) {
                    Step::Bad | Step::Short(_) => break true,
                    Step::BlockEnd => break false,
                    Step::Block(_) | Step::Record { .. } => {}
                }
            };
            assert!(bad, "bit {bit}");
        }
    }
}
