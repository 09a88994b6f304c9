//! Numbers from a seed.

use super::super::codec::mix;

#[derive(Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0 ^ mix(self.0 >> 7))
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.next() % limit }
    }

    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// How many seeds a test of many lives goes through.
pub(crate) fn seeds(default: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a test may be told to go on for longer")]
    std::env::var("LEVERET_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(default)
}
