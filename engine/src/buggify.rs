//! Places where the engine may go a rarer of two right ways: what a client sees is the same, what happens inside is not.
//!
//! A simulator that only turns settings meets the rare way where a setting is extreme everywhere at once. Here one way in four is
//! rare, for a quarter of the places in each boot (FoundationDB's BUGGIFY). Without the feature `buggify` none of it exists; with the
//! feature and without a seed in [`crate::config::Config`] each place costs one comparison and nothing is different.

/// A place with a rarer way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// A block of the log is closed after one record.
    ShortBlock,
    /// A segment of the log is left before it is full.
    EarlySegment,
    /// An append is synced although nobody waits for that.
    ExtraSync,
    /// An append takes one block although more are ready.
    OneBlock,
    /// The metadata is written anew although its changes are few.
    EarlySnapshot,
    /// A segment is cleaned in small pieces.
    ShortCleaning,
    /// Recovery has one read under way at a time.
    OneRead,
    /// Recovery reads too little of a summary at first.
    ShortSummary,
    /// A queue keeps no body in memory that the log has.
    CacheMiss,
    /// A transient message goes to the disk although there is memory.
    PageOut,
    /// One record is read at a time for a queue.
    ShortRead,
    /// One dead letter is made per input.
    OneDeadLetter,
    /// One delayed message is released at a time.
    OneRelease,
    /// The node is woken although nothing is due.
    SpuriousTimeout,
}

pub(crate) use self::choice::Buggify;

#[cfg(not(feature = "buggify"))]
mod choice {
    use super::Point;

    /// Always the common way.
    #[derive(Clone, Copy, Debug, Default)]
    pub(crate) struct Buggify {}

    #[expect(clippy::unused_self, reason = "with the feature there is something to look at")]
    impl Buggify {
        pub(crate) const fn of(_config: &crate::config::Config, _whose: u64) -> Self {
            Self {}
        }

        pub(crate) const fn is_active(self, _point: Point) -> bool {
            false
        }

        #[expect(clippy::needless_pass_by_ref_mut, reason = "the other build counts")]
        pub(crate) const fn fires(&mut self, _point: Point) -> bool {
            false
        }
    }
}

#[cfg(feature = "buggify")]
mod choice {
    use super::Point;

    const POINTS: usize = Point::SpuriousTimeout as usize + 1;

    /// Which way is gone where: decided by seed, place, and how often this machine was there.
    #[derive(Clone, Copy, Debug, Default)]
    pub(crate) struct Buggify {
        /// `None` goes the common way everywhere.
        seed: Option<u64>,
        asked: [u32; POINTS],
    }

    impl Buggify {
        /// The choices of one machine of an engine; each machine has a number of its own.
        pub(crate) fn of(config: &crate::config::Config, whose: u64) -> Self {
            Self { seed: config.buggify.map(|seed| mix(seed ^ whose)), asked: [0; POINTS] }
        }

        /// Whether a place is one of those where the rare way is possible in this boot.
        pub(crate) fn is_active(self, point: Point) -> bool {
            self.seed.is_some_and(|seed| mix(seed ^ (1 + point as u64) << 40) & 3 == 0)
        }

        /// Whether the rare way is gone this time.
        pub(crate) fn fires(&mut self, point: Point) -> bool {
            let Some(seed) = self.seed else { return false };
            if !self.is_active(point) {
                return false;
            }
            let asked = &mut self.asked[point as usize];
            *asked = asked.wrapping_add(1);
            mix(seed ^ (1 + point as u64) << 48 ^ u64::from(*asked)).is_multiple_of(one_in(point))
        }
    }

    /// How seldom the rare way is gone where it is possible. What costs a segment each time is kept rarer, or the log would be all
    /// segments.
    const fn one_in(point: Point) -> u64 {
        match point {
            Point::EarlySegment | Point::EarlySnapshot => 64,
            _ => 4,
        }
    }

    /// A fixed bijection of 64 bits (the finaliser of `SplitMix64`).
    const fn mix(mut x: u64) -> u64 {
        x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    #[cfg(test)]
    mod tests {
        use alloc::vec::Vec;

        use super::*;
        use crate::config::Config;

        fn of(seed: Option<u64>) -> Buggify {
            Buggify::of(&Config { buggify: seed, ..Config::default() }, 0)
        }

        #[test]
        fn a_quarter_of_the_boots_goes_the_rare_way_a_quarter_of_the_time() {
            let (mut active, mut fired) = (0, 0);
            for seed in 0..1000 {
                let mut buggify = of(Some(seed));
                active += u32::from(buggify.is_active(Point::ExtraSync));
                fired += (0..100).filter(|_| buggify.fires(Point::ExtraSync)).count();
            }
            assert!((200..300).contains(&active), "{active}");
            assert!((5000..7500).contains(&fired), "{fired}");
        }

        #[test]
        fn without_a_seed_nothing_is_different_and_a_seed_decides_all() {
            assert!((0..1000).all(|_| !of(None).fires(Point::ExtraSync)));
            let choices = |seed| {
                let mut buggify = of(Some(seed));
                (0..100).map(|_| (buggify.fires(Point::CacheMiss), buggify.fires(Point::ExtraSync))).collect::<Vec<_>>()
            };
            let same = (0..50).filter(|seed| choices(*seed) == choices(*seed + 1)).count();
            assert!((0..50).all(|seed| choices(seed) == choices(seed)));
            assert!(same < 50);
        }
    }
}
