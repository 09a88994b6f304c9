//! The trace hash: one number that two runs share only if they were the same to the byte.

use leveret_engine::effect::DiskOp;

/// A rolling 64-bit hash over everything that crossed the engine's boundary. Its function is fixed here for ever, unlike those of
/// hash crates, so that a hash noted today can be compared with a run of next year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceHash(u64);

const MULTIPLIER: u64 = 0x9fb2_1c65_1e98_df25;

impl TraceHash {
    /// The hash of nothing.
    pub(crate) const fn new() -> Self {
        Self(0x2545_f491_4f6c_dd1d)
    }

    /// The value so far.
    pub(crate) const fn value(self) -> u64 {
        self.0
    }

    /// Takes in a number.
    pub(crate) fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(MULTIPLIER);
        self.0 ^= self.0 >> 29;
    }

    /// Takes in bytes and their count.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.0 = (self.0.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(MULTIPLIER);
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last));
        }
    }
}

/// Takes in an operation of a disk.
pub(crate) fn trace_op(trace: &mut TraceHash, op: &DiskOp) {
    match op {
        DiskOp::List => trace.word(1),
        DiskOp::Create { segment, size, recycle } => {
            trace.word(2 << 56 | segment.0);
            trace.word(*size);
            trace.word(recycle.map_or(0, |segment| segment.0));
        }
        DiskOp::Append { segment, offset, data, sync } => {
            trace.word(3 << 56 | u64::from(*sync) << 55 | segment.0);
            trace.word(*offset);
            for bytes in data {
                trace.bytes(bytes);
            }
        }
        DiskOp::Read { segment, offset, len } => {
            trace.word(4 << 56 | segment.0);
            trace.word(*offset);
            trace.word(u64::from(*len));
        }
        DiskOp::Delete { segment } => trace.word(5 << 56 | segment.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(parts: &[&[u8]]) -> u64 {
        let mut hash = TraceHash::new();
        for part in parts {
            hash.bytes(part);
        }
        hash.value()
    }

    #[test]
    fn order_length_and_content_all_count() {
        assert_eq!(hash_of(&[b"ab", b"c"]), hash_of(&[b"ab", b"c"]));
        assert_ne!(hash_of(&[b"ab", b"c"]), hash_of(&[b"a", b"bc"]));
        assert_ne!(hash_of(&[b"ab", b"c"]), hash_of(&[b"c", b"ab"]));
        assert_ne!(hash_of(&[b"12345678\0"]), hash_of(&[b"12345678"]));
    }
}
