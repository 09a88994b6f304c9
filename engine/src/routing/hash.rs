//! Hashes that are the same on every machine and in every version, since where messages go depends on them, and the chance that
//! exchanges take from the engine's seed.

/// FNV-1a over the bytes, then spread over all 64 bits: the high ones choose.
pub(super) fn stable_hash(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    spread(bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME)))
}

/// The finalizer of SplitMix64: a permutation in which every bit of the input moves half the bits of the output.
pub(super) fn spread(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A stream of even 64-bit numbers: SplitMix64. Nobody's secrets depend on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        spread(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change here would send every key of every consistent hash exchange elsewhere.
    #[test]
    fn hashes_stay_what_they_are() {
        assert_eq!(stable_hash(b""), 0xf52a_15e9_a9b5_e89b);
        assert_eq!(stable_hash(b"a"), 0x02c0_bdbf_4814_20f8);
        assert_eq!(Random::new(0).next(), 0xe220_a839_7b1d_cdaf);
    }
}
