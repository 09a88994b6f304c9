//! Randomness, split by purpose, in integers only.
//!
//! Two kinds. A [`Stream`] is drawn from in sequence and exists once per purpose, so that a further draw for one purpose moves no
//! other. A [`Fate`] has no state: what becomes of the n-th event of a kind is a hash of seed, kind and n, so that leaving one
//! event out (as shrinking does) changes no other event's fate.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// A share of cases, as a fraction: no float takes part in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ratio(pub u32, pub u32);

impl Ratio {
    /// Never.
    pub const NEVER: Self = Self(0, 1);

    /// Whether this can happen at all.
    pub(crate) fn is_possible(self) -> bool {
        self.0 > 0
    }
}

/// One named sequence of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    inner: ChaCha8Rng,
}

impl Stream {
    /// The stream for one purpose (`label`) and one thing of that kind (`index`) in the run of `seed`.
    pub(crate) fn new(seed: u64, label: &str, index: u64) -> Self {
        Self { inner: ChaCha8Rng::from_seed(key(seed, label, index)) }
    }

    /// Any number.
    pub(crate) fn draw(&mut self) -> u64 {
        self.inner.next_u64()
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn range(&mut self, low: u64, high: u64) -> u64 {
        scale(self.draw(), low, high)
    }

    /// An index below `len`.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        index(self.draw(), len)
    }

    /// True in `num` of `den` cases.
    pub(crate) fn chance(&mut self, num: u32, den: u32) -> bool {
        self.range(1, u64::from(den)) <= u64::from(num)
    }

    /// True in the given share of cases; draws nothing if that is never.
    pub(crate) fn hits(&mut self, ratio: Ratio) -> bool {
        ratio.is_possible() && self.chance(ratio.0, ratio.1)
    }

    /// One of `items`.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let at = self.index(items.len());
        &items[at]
    }
}

/// 32 bytes of entropy for one purpose.
pub(crate) fn key(seed: u64, label: &str, index: u64) -> [u8; 32] {
    let fate = Fate::new(seed, label);
    let mut out = [0; 32];
    for (part, chunk) in out.chunks_exact_mut(8).enumerate() {
        chunk.copy_from_slice(&fate.of(index, part as u64).to_le_bytes());
    }
    out
}

/// What becomes of each event of one kind, as a function without state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    base: u64,
}

impl Fate {
    /// The fates of the events called `label` in the run of `seed`.
    pub(crate) fn new(seed: u64, label: &str) -> Self {
        let mut base = mix(seed ^ 0x9e37_79b9_7f4a_7c15);
        for byte in label.bytes() {
            base = mix(base ^ u64::from(byte)).wrapping_add(0x632b_e59b_d9b4_e019);
        }
        Self { base }
    }

    /// The fate of the event number `ordinal` of thing number `entity`.
    pub(crate) fn of(self, entity: u64, ordinal: u64) -> u64 {
        self.thing(entity).of(ordinal)
    }

    /// The fates of the events of thing number `entity`, for those who ask often.
    pub(crate) fn thing(self, entity: u64) -> ThingFate {
        ThingFate { base: mix(self.base ^ entity.wrapping_mul(0xa076_1d64_78bd_642f)) }
    }
}

/// What becomes of each event of one kind and one thing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThingFate {
    base: u64,
}

impl ThingFate {
    /// The fate of the event number `ordinal`.
    pub(crate) fn of(self, ordinal: u64) -> u64 {
        mix(self.base ^ ordinal.wrapping_mul(0xe703_7ed1_a0b4_28db))
    }
}

/// Brings a random number into `low..=high`.
pub(crate) fn scale(random: u64, low: u64, high: u64) -> u64 {
    assert!(low <= high, "an empty range {low}..={high}");
    let width = u128::from(high - low) + 1;
    let offset = (u128::from(random) * width) >> 64;
    low + u64::try_from(offset).expect("the product of two 64-bit numbers, shifted by 64")
}

/// Brings a random number below `len`.
pub(crate) fn index(random: u64, len: usize) -> usize {
    let last = u64::try_from(len).expect("lengths fit 64 bits").checked_sub(1).expect("something to choose from");
    usize::try_from(scale(random, 0, last)).expect("below a length")
}

/// Whether a random number falls into the given share of cases.
pub(crate) fn hits(random: u64, ratio: Ratio) -> bool {
    ratio.is_possible() && scale(random, 1, u64::from(ratio.1)) <= u64::from(ratio.0)
}

/// A fixed bijection of 64 bits that leaves no trace of its argument (the finaliser of `SplitMix64`).
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_different_purposes_do_not_move_each_other() {
        let mut disk = Stream::new(7, "disk", 0);
        let mut net = Stream::new(7, "net", 0);
        let alone: Vec<u64> = (0..4).map(|_| disk.draw()).collect();
        let mut again = Stream::new(7, "disk", 0);
        let beside: Vec<u64> = (0..4)
            .map(|_| {
                net.draw();
                again.draw()
            })
            .collect();
        assert_eq!(alone, beside);
        assert_ne!(alone[0], Stream::new(7, "net", 0).draw());
        assert_ne!(alone[0], Stream::new(8, "disk", 0).draw());
    }

    #[test]
    fn ranges_include_both_ends_and_nothing_else() {
        let mut stream = Stream::new(1, "test", 0);
        let mut seen = [0_u32; 4];
        for _ in 0..1000 {
            let drawn = usize::try_from(stream.range(3, 6)).unwrap();
            seen[drawn - 3] += 1;
        }
        assert!(seen.iter().all(|&count| count > 150), "{seen:?}");
    }

    #[test]
    fn the_numbers_of_a_seed_are_the_same_for_ever() {
        assert_eq!(
            (Fate::new(42, "net").of(3, 9), Stream::new(42, "net", 0).draw()),
            (6_248_906_332_843_048_409, 8_481_106_979_933_380_754)
        );
    }
}
