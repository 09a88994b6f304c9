//! The clocks of one node.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use leveret_engine::time::{Instant, Now, Timestamp};

/// Both clocks of a node.
pub trait Clock: Send + 'static {
    /// What they show. The monotonic one never goes backwards and runs as fast as the runtime's timers.
    fn now(&self) -> Now;
}

/// The monotonic clock of the tokio runtime, counted from when this was made, and a wall clock.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeClock {
    origin: tokio::time::Instant,
    wall: fn() -> Duration,
}

impl RuntimeClock {
    /// A clock whose wall time comes from `wall`: the time since 1970-01-01 00:00 UTC.
    pub fn new(wall: fn() -> Duration) -> Self {
        Self { origin: tokio::time::Instant::now(), wall }
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Now {
        let mono = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        let wall = u64::try_from((self.wall)().as_millis()).unwrap_or(u64::MAX);
        Now { mono: Instant::from_micros(mono), wall: Timestamp::from_millis(wall) }
    }
}

/// The system's wall clock, for [`RuntimeClock::new`]. A clock set before 1970 reads as 1970.
pub fn system_wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
