//! The world's time and the node's clocks, which are derived from it and not the same.

use leveret_engine::time::{Instant, Now, Timestamp};

/// Microseconds of virtual time since the run began.
pub type Micros = u64;

/// One second of virtual time.
pub const SECOND: Micros = 1_000_000;
/// One millisecond of virtual time.
pub const MILLISECOND: Micros = 1_000;

/// The wall-clock time at which every run begins: 2026-01-01 00:00 UTC, in milliseconds.
const EPOCH_MILLIS: u64 = 1_767_225_600_000;

/// The clocks of one node during one boot.
#[derive(Clone, Copy, Debug)]
pub struct NodeClock {
    booted: Micros,
    mono_origin: Micros,
}

impl NodeClock {
    /// A clock started at world time `booted` that counts from `mono_origin`, since a machine's monotonic clock has any origin.
    pub fn new(booted: Micros, mono_origin: Micros) -> Self {
        Self { booted, mono_origin }
    }

    /// Both clocks at world time `time`.
    pub fn now(self, time: Micros) -> Now {
        Now {
            mono: Instant::from_micros(self.mono_origin + (time - self.booted)),
            wall: Timestamp::from_millis(EPOCH_MILLIS + time / MILLISECOND),
        }
    }

    /// The world time of an instant on the monotonic clock; the boot for what lies before it.
    pub fn world_time(self, instant: Instant) -> Micros {
        self.booted.saturating_add(instant.as_micros().saturating_sub(self.mono_origin))
    }
}
