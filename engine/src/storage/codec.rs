//! Numbers as bytes: little endian where the width is fixed, seven bits a byte where most are small.

use alloc::vec::Vec;

/// Bytes of the longest variable-length number.
pub(crate) const VARINT_BYTES: usize = 10;

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// A signed difference as an unsigned number that is small when the difference is.
pub(crate) fn zigzag(from: u64, to: u64) -> u64 {
    if to >= from { (to - from).wrapping_shl(1) } else { (from - to).wrapping_shl(1) | 1 }
}

/// The number that [`zigzag`] led to.
pub(crate) fn unzigzag(from: u64, difference: u64) -> Option<u64> {
    let distance = difference >> 1;
    if difference & 1 == 0 { from.checked_add(distance) } else { from.checked_sub(distance) }
}

/// Whether a difference survives [`zigzag`]: the numbers lie less than 2^63 apart.
pub(crate) fn fits_zigzag(from: u64, to: u64) -> bool {
    from.abs_diff(to) >> 63 == 0
}

/// Takes numbers off the front of a byte string; `None` where it ends or makes no sense.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        let (&first, tail) = self.0.split_first()?;
        self.0 = tail;
        Some(first)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn varint_u32(&mut self) -> Option<u32> {
        u32::try_from(self.varint()?).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A distance within one segment as an index into its bytes.
pub(crate) fn index(distance: u64) -> usize {
    usize::try_from(distance).expect("a segment's bytes fit in memory")
}

/// A length within one segment; segments are smaller than 4 GiB.
pub(crate) fn len32(len: usize) -> u32 {
    u32::try_from(len).expect("records and blocks are smaller than 4 GiB")
}

/// Spreads every bit of `value` over all bits of the result (the finaliser of SplitMix64).
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A CRC-32 that also depends on a secret and on the place and length of what it covers.
pub(crate) fn hasher(salt: u64, lsn: u64, len: u32) -> crc32fast::Hasher {
    let seed = mix(salt ^ mix(lsn ^ (u64::from(len) << 40)));
    let folded = (seed ^ (seed >> 32)) & 0xffff_ffff;
    crc32fast::Hasher::new_with_initial(u32::try_from(folded).expect("masked to 32 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), 1 << 63, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert!(out.len() <= VARINT_BYTES);
            let mut reader = Reader(&out);
            assert_eq!(reader.varint(), Some(value));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn endless_varints_are_refused() {
        assert_eq!(Reader(&[0xff; 11]).varint(), None);
        assert_eq!(Reader(&[0x80]).varint(), None);
        let mut too_large = [0xff; 10];
        too_large[9] = 2;
        assert_eq!(Reader(&too_large).varint(), None);
    }

    #[test]
    fn differences_come_back() {
        for (from, to) in [(0, 0), (5, 9), (9, 5), (1 << 62, 0), (0, (1 << 63) - 1)] {
            assert!(fits_zigzag(from, to));
            assert_eq!(unzigzag(from, zigzag(from, to)), Some(to));
        }
        assert!(!fits_zigzag(0, 1 << 63));
    }
}
