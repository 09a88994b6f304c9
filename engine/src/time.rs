//! Time as the engine knows it: an input, never a clock that is read.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// Both clocks of one node at the moment of an input.
///
/// They are separate because they fail separately: the monotonic clock only stops or drifts, the wall clock also jumps. Intervals
/// (heartbeats, timeouts) use [`Now::mono`]; what users see or compare across restarts (timestamps, expiry) uses [`Now::wall`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock.
    pub mono: Instant,
    /// The wall clock.
    pub wall: Timestamp,
}

impl Now {
    /// When the wall clock will show `at`, or did, as far as one can tell today; not before today.
    pub fn mono_of(self, at: Timestamp) -> Instant {
        let ahead = at.as_millis().saturating_sub(self.wall.as_millis());
        self.mono + Duration::from_millis(ahead)
    }

    /// What the wall clock will show at `at`, or did, as far as one can tell today. Rounded up, so that nothing comes too early.
    pub fn wall_of(self, at: Instant) -> Timestamp {
        let ahead = at.saturating_since(self.mono).as_micros().div_ceil(1000);
        let behind = self.mono.saturating_since(at).as_millis();
        let ahead = u64::try_from(ahead).unwrap_or(u64::MAX);
        let behind = u64::try_from(behind).unwrap_or(u64::MAX);
        Timestamp::from_millis(self.wall.as_millis().saturating_add(ahead).saturating_sub(behind))
    }
}

/// A point on a node's monotonic clock, in microseconds since an arbitrary origin. It never goes backwards within one boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The origin of the clock.
    pub const ZERO: Self = Self(0);

    /// The instant `micros` microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        let micros = u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        let micros = u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(micros))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// A point on the wall clock, in milliseconds since 1970-01-01 00:00 UTC. It may jump in either direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The timestamp `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}
