//! Whether the end of the log is torn, or may have rotted.
//!
//! The last block that was durable has no later one that says so: if it is not sound, a crash may have torn it while it was written. But
//! a tear leaves whole sectors as they were before, and what was there before has other checksums. So a bit counts as turned only in a
//! sector that is known to have been written with the block, since a checksum of the block stands in it: the one that fits but for that
//! bit, or that of another record. In a sector with nothing but bytes of a body there may have been nearly the same body before, and
//! whether it is torn nobody can tell.
//!
//! Where files are used again, of torn records of 2 KiB that are alone in their block, one in 260,000 looks so by chance. That is too
//! often to call it damage, and rare enough for a node that others can spare.

use core::ops::Range;

use super::block::{BLOCK_ALIGN, BLOCK_HEADER_BYTES, BlockHeader};
use super::codec::{hasher, index};
use super::record::{self, Parsed, RECORD_HEADER_BYTES};
use super::segment::SegmentHeader;

/// Bytes of the longest record of which it is asked. The longer it is, the more bits there are of which one may happen to fit.
const RECORD_BYTES_MAX: usize = 2 * 1024;
/// Bytes that disks write or do not write as a whole.
const SECTOR_BYTES: usize = 512;
/// Where in its header a block has its checksum, and where a record has it.
const BLOCK_CHECKSUM_AT: usize = 4;
const RECORD_CHECKSUM_AT: usize = 4;
/// The polynomial of CRC-32, lowest bit first.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// Whether the block at `at` would be sound if one bit of it were another.
pub(super) fn is_one_bit_off(header: &SegmentHeader, data: &[u8], at: usize, incarnation: u64) -> bool {
    let Some(bytes) = data.get(at..at + BLOCK_HEADER_BYTES) else { return false };
    let lsn = header.first + at as u64;
    let sound = BlockHeader::decode(bytes, header.salt, lsn);
    let mut is_mended = sound.is_none();
    let Some(block) = sound.or_else(|| mended_header(bytes, header.salt, lsn)) else { return false };
    let Some(bytes) = data.get(at..at + index(u64::from(block.len))) else { return false };
    if has_unwritten_sector(bytes, at) {
        return false;
    }
    // Where checksums stand, and which byte has another bit.
    let (mut checksums, mut turned) = (alloc::vec![at + BLOCK_CHECKSUM_AT], None);
    let mut from = BLOCK_HEADER_BYTES;
    for _ in 0..block.records {
        let (rest, lsn) = (&bytes[from..], lsn + from as u64);
        checksums.push(at + from + RECORD_CHECKSUM_AT);
        from += match record::parse(header.salt, lsn, rest) {
            Parsed::Record { len, .. } => len,
            Parsed::Short(_) | Parsed::Bad => {
                let Some((len, byte)) = mended_record(header.salt, lsn, rest).filter(|_| !is_mended) else {
                    return false;
                };
                is_mended = true;
                turned = Some(at + from + byte);
                len
            }
        };
    }
    let is_written = |byte: usize| checksums.iter().any(|checksum| is_one_sector(byte, *checksum..*checksum + 4));
    is_mended && turned.is_none_or(is_written) && block.incarnation >= incarnation && bytes.len() - from < BLOCK_ALIGN
}

/// Whether a byte and these stand in one sector.
fn is_one_sector(byte: usize, others: Range<usize>) -> bool {
    byte / SECTOR_BYTES == others.start / SECTOR_BYTES && byte / SECTOR_BYTES == (others.end - 1) / SECTOR_BYTES
}

/// Whether a part of the block at `at` is as new files are: a crash has come before it was written. In the last sector there may be so
/// little that it is one bit away from that.
fn has_unwritten_sector(block: &[u8], at: usize) -> bool {
    let first = (SECTOR_BYTES - at % SECTOR_BYTES).min(block.len());
    let (head, rest) = block.split_at(first);
    core::iter::once(head).chain(rest.chunks(SECTOR_BYTES)).any(|part| part.iter().all(|byte| *byte == 0))
}

/// The header that there would be with one bit another.
fn mended_header(bytes: &[u8], salt: u64, lsn: u64) -> Option<BlockHeader> {
    let mut mended: [u8; BLOCK_HEADER_BYTES] = bytes.try_into().ok()?;
    (0..BLOCK_HEADER_BYTES * 8).find_map(|bit| {
        mended[bit / 8] ^= 1 << (bit % 8);
        let block = BlockHeader::decode(&mended, salt, lsn);
        mended[bit / 8] ^= 1 << (bit % 8);
        block
    })
}

/// The length of the record that there would be with one bit another, and the byte in which that is.
fn mended_record(salt: u64, lsn: u64, bytes: &[u8]) -> Option<(usize, usize)> {
    let head = bytes.first_chunk::<RECORD_HEADER_BYTES>()?;
    let [l0, l1, l2, l3, c0, c1, c2, c3, _] = *head;
    let (said, stored) = (u32::from_le_bytes([l0, l1, l2, l3]), u32::from_le_bytes([c0, c1, c2, c3]));
    // Which bits of the checksum are not as they should be, for a record of this length.
    let difference = |len32: u32| {
        let len = index(u64::from(len32));
        let covered = bytes.get(8..len).filter(|_| (RECORD_HEADER_BYTES..=RECORD_BYTES_MAX).contains(&len))?;
        let mut crc = hasher(salt, lsn, len32);
        crc.update(covered);
        Some((len, crc.finalize() ^ stored))
    };
    let turned = |(len, difference): (usize, u32)| {
        if difference.is_power_of_two() {
            return Some((len, RECORD_CHECKSUM_AT));
        }
        turned_bit(difference, (len - 8) * 8).map(|from_last| (len, len - 1 - from_last / 8))
    };
    let of_len = |bit: usize| {
        let (len, difference) = difference(said ^ 1 << bit)?;
        (difference == 0).then_some((len, bit / 8))
    };
    difference(said).and_then(turned).or_else(|| (0..32).find_map(of_len))
}

/// Which of the last `bits` bits that a checksum covers, counted from the last one, makes this difference to it by being another.
fn turned_bit(difference: u32, bits: usize) -> Option<usize> {
    let mut of_bit = 1u32;
    (0..bits).find(|_| {
        of_bit = of_bit >> 1 ^ if of_bit & 1 == 1 { POLYNOMIAL } else { 0 };
        of_bit == difference
    })
}
