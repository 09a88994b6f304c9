//! The world's time and the node's clocks, which are derived from it and not the same.

use leveret_engine::time::{Instant, Now, Timestamp};

/// Microseconds of virtual time since the run began.
pub type Micros = u64;

/// One second of virtual time.
pub const SECOND: Micros = 1_000_000;
/// One millisecond of virtual time.
pub const MILLISECOND: Micros = 1_000;

/// The wall-clock time at which every run begins: 2026-01-01 00:00 UTC, in milliseconds.
const EPOCH_MILLIS: i64 = 1_767_225_600_000;
/// What the wall clock of a machine shows that has forgotten the time: 2000-01-01 00:00 UTC, in milliseconds.
const FORGOTTEN_MILLIS: i64 = 946_684_800_000;
const MILLION: i64 = 1_000_000;

/// The clocks of one node over all its boots.
///
/// Both follow one oscillator, the node's own time, which runs as the world's does unless it drifts. The monotonic clock starts anew
/// with each boot, from any origin; the wall clock jumps besides.
#[derive(Clone, Copy, Debug)]
pub struct NodeClock {
    /// World time and the node's own time when the rate was changed last.
    since: Micros,
    base: Micros,
    /// Microseconds of the node's own time in a second.
    rate: u64,
    /// The node's own time at the boot, and what the monotonic clock showed then.
    booted: Micros,
    mono_origin: Micros,
    /// Milliseconds by which the wall clock is ahead.
    wall_ahead: i64,
    /// The furthest that it was ever ahead.
    wall_most: i64,
    /// What it was ahead before the machine forgot the time.
    wall_before: Option<i64>,
    error: ClockError,
}

/// By how much a wall clock has ever been set, all jumps in one direction together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockError {
    /// Forward.
    pub forward: Micros,
    /// Back.
    pub back: Micros,
    /// How far it is behind the furthest it was ever ahead: so much longer waits what was promised for a time on it.
    pub behind: Micros,
}

impl NodeClock {
    /// A clock started at world time `booted` that counts from `mono_origin`, since a machine's monotonic clock has any origin.
    pub fn new(booted: Micros, mono_origin: Micros) -> Self {
        Self {
            since: booted,
            base: booted,
            rate: SECOND,
            booted,
            mono_origin,
            wall_ahead: 0,
            wall_most: 0,
            wall_before: None,
            error: ClockError::default(),
        }
    }

    /// The node starts again: its monotonic clock counts from `mono_origin`.
    pub fn boot(&mut self, time: Micros, mono_origin: Micros) {
        self.booted = self.node_time(time);
        self.mono_origin = mono_origin;
    }

    /// From world time `time` on the clocks are this many millionths too fast.
    ///
    /// # Panics
    /// If they would stand still.
    pub fn drift(&mut self, time: Micros, ppm: i32) {
        let rate = u64::try_from(MILLION + i64::from(ppm)).unwrap_or(0);
        assert!(rate > 0, "a clock runs forward");
        (self.base, self.since, self.rate) = (self.node_time(time), time, rate);
    }

    /// Whether they run at another rate than the world.
    pub fn is_drifting(&self) -> bool {
        self.rate != SECOND
    }

    /// The wall clock jumps.
    pub fn jump(&mut self, millis: i64) {
        self.wall_ahead = self.wall_ahead.saturating_add(millis);
        let micros = millis.unsigned_abs().saturating_mul(MILLISECOND);
        let total = if millis < 0 { &mut self.error.back } else { &mut self.error.forward };
        *total = total.saturating_add(micros);
        self.wall_most = self.wall_most.max(self.wall_ahead);
        self.error.behind = self.wall_most.abs_diff(self.wall_ahead).saturating_mul(MILLISECOND);
    }

    /// The machine forgets what time it is.
    pub fn forget(&mut self, time: Micros) {
        self.wall_before.get_or_insert(self.wall_ahead);
        self.jump(FORGOTTEN_MILLIS - self.wall(time));
    }

    /// And is told. Whether it had forgotten.
    pub fn correct(&mut self) -> bool {
        let before = self.wall_before.take();
        if let Some(before) = before {
            self.jump(before - self.wall_ahead);
        }
        before.is_some()
    }

    /// How far the wall clock was ever off.
    pub fn error(&self) -> ClockError {
        self.error
    }

    /// The node's own time at world time `time`: what its clocks measure, through all of its boots.
    pub fn node_time(&self, time: Micros) -> Micros {
        let passed = time.saturating_sub(self.since);
        if self.rate == SECOND {
            return self.base + passed;
        }
        let passed = u128::from(passed) * u128::from(self.rate) / u128::from(SECOND);
        self.base.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// Both clocks at world time `time`.
    pub fn now(&self, time: Micros) -> Now {
        let wall = u64::try_from(self.wall(time)).unwrap_or(0);
        Now {
            mono: Instant::from_micros(self.mono_origin + (self.node_time(time) - self.booted)),
            wall: Timestamp::from_millis(wall),
        }
    }

    /// The world time of an instant on the monotonic clock; the last change of the clock's rate for what lies before that.
    pub fn world_time(&self, instant: Instant) -> Micros {
        let node_time = self.booted.saturating_add(instant.as_micros().saturating_sub(self.mono_origin));
        let ahead = node_time.saturating_sub(self.base);
        if self.rate == SECOND {
            return self.since.saturating_add(ahead);
        }
        let ahead = u128::from(ahead) * u128::from(SECOND);
        self.since.saturating_add(u64::try_from(ahead.div_ceil(u128::from(self.rate))).unwrap_or(u64::MAX))
    }

    fn wall(&self, time: Micros) -> i64 {
        let millis = i64::try_from(self.node_time(time) / MILLISECOND).unwrap_or(i64::MAX);
        EPOCH_MILLIS.saturating_add(millis).saturating_add(self.wall_ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_clock_is_early_and_its_timers_are_too() {
        let mut clock = NodeClock::new(SECOND, 77);
        clock.drift(2 * SECOND, 100_000);
        let now = clock.now(3 * SECOND);
        assert_eq!(now.mono, Instant::from_micros(77 + SECOND + 1_100_000));
        assert_eq!(clock.world_time(now.mono), 3 * SECOND);
        // Rounded up: no timer fires before its time.
        for micros in 0..50 {
            let instant = Instant::from_micros(now.mono.as_micros() + micros);
            assert!(clock.now(clock.world_time(instant)).mono >= instant, "{micros}");
        }
    }

    #[test]
    fn a_jump_moves_the_wall_clock_alone() {
        let mut clock = NodeClock::new(0, 0);
        let before = clock.now(SECOND);
        clock.jump(-3_600_000);
        let after = clock.now(SECOND);
        assert_eq!(before.mono, after.mono);
        assert_eq!(before.wall.as_millis() - after.wall.as_millis(), 3_600_000);
        assert_eq!(clock.error(), ClockError { forward: 0, back: 3600 * SECOND, behind: 3600 * SECOND });
    }

    #[test]
    fn a_machine_without_a_clock_is_in_the_year_2000_until_it_is_told() {
        let mut clock = NodeClock::new(0, 0);
        let before = clock.now(SECOND);
        clock.forget(SECOND);
        clock.boot(SECOND, 5);
        assert_eq!(clock.now(SECOND).wall, Timestamp::from_millis(946_684_800_000));
        assert_eq!(clock.now(SECOND).mono, Instant::from_micros(5));
        assert!(clock.correct());
        assert!(!clock.correct());
        assert_eq!(clock.now(SECOND).wall, before.wall);
        assert_eq!(clock.error().behind, 0);
    }
}
