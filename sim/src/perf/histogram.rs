//! How long things took: counts by duration, in steps of three per cent.

/// Steps within one power of two.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Enough for every `u64`.
const LEN: usize = 1920;

/// Counts of durations in nanoseconds. A value read back is at most 1.6 % off.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Box<[u64]>,
    total: u64,
    max: u64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { counts: vec![0; LEN].into_boxed_slice(), total: 0, max: 0 }
    }

    pub(super) fn record(&mut self, nanos: u64) {
        self.counts[place(nanos)] += 1;
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// The duration that so many of ten thousand did not exceed; nothing if nothing was recorded.
    pub(super) fn quantile(&self, of_ten_thousand: u64) -> Option<u64> {
        let rank = u128::from(self.total) * u128::from(of_ten_thousand);
        let rank = u64::try_from(rank.div_ceil(10_000)).unwrap_or(u64::MAX).max(1);
        let mut seen = 0;
        let at = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(middle(at).min(self.max))
    }

    /// Durations in ascending order, each with the share of all that took less: the slowest of a hundred stands at 0.99.
    pub(super) fn shares(&self) -> impl Iterator<Item = (u64, f64)> {
        let mut below = 0;
        self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(move |(at, count)| {
            let share = below as f64 / self.total as f64;
            below += count;
            (middle(at).min(self.max), share)
        })
    }

    pub(super) fn max(&self) -> Option<u64> {
        (self.total > 0).then_some(self.max)
    }
}

/// Where a duration is counted.
fn place(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(STEP_BITS + 1);
    let at = u64::from(shift) * STEPS + (nanos >> shift);
    usize::try_from(at).expect("it is below 1920")
}

/// The middle of the durations that are counted at a place.
fn middle(at: usize) -> u64 {
    let at = u64::try_from(at).expect("it is below 1920");
    if at < 2 * STEPS {
        return at;
    }
    let shift = at / STEPS - 1;
    ((at % STEPS + STEPS) << shift) + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_has_a_place_near_itself() {
        assert_eq!((place(0), place(63), place(64), place(u64::MAX)), (0, 63, 64, LEN - 1));
        for nanos in [1, 63, 64, 65, 999, 1_000_000, 123_456_789, 1 << 40] {
            let back = middle(place(nanos));
            assert!(back.abs_diff(nanos) * 60 <= nanos, "{nanos} came back as {back}");
        }
    }

    #[test]
    fn quantiles_are_ranks() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(5000), None);
        for nanos in 1..=50 {
            histogram.record(nanos);
        }
        let mut other = Histogram::new();
        other.record(1000);
        histogram.merge(&other);
        assert_eq!(histogram.quantile(5000), Some(26));
        assert_eq!(histogram.quantile(9800), Some(50));
        assert_eq!(histogram.quantile(9999), Some(1000));
        assert_eq!(histogram.max(), Some(1000));
        assert_eq!(histogram.shares().next(), Some((1, 0.0)));
        assert_eq!(histogram.shares().last(), Some((1000, 50.0 / 51.0)));
    }
}
