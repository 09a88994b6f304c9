//! The real clock, which only measurements may read.

#![expect(clippy::disallowed_types, reason = "perf measures the real world")]

use std::time::{Duration, Instant};

/// Nanoseconds since the measurement began, the same for all its threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> u64 {
        nanos(self.0.elapsed())
    }
}

/// Nanoseconds of a duration; the greatest number for more than five centuries.
pub(super) fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

/// Sleeps.
#[expect(clippy::disallowed_methods, reason = "perf lives in real time")]
pub(super) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
