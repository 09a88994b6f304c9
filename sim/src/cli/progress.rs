//! How far it is, and how fast it goes, in real time.

#![expect(clippy::disallowed_types, reason = "real time is what this file is about; it is part of no run")]

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

/// Real time, for telling people how fast it went; no run ever sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(std::time::Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Milliseconds since its start.
    pub(crate) fn millis(&self) -> u64 {
        self.micros() / 1000
    }

    /// Microseconds since its start.
    pub(crate) fn micros(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Between two lines of progress where there is no terminal, in milliseconds.
const LINE_EVERY_MS: u64 = 30_000;

/// How far a suite is: a bar at a terminal, a line now and then where there is none, such as in the log of a CI system.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    is_quiet: bool,
    clock: Stopwatch,
    last_line_ms: u64,
}

impl Progress {
    /// Nothing is done yet, of so many runs, if anybody knows how many.
    pub(super) fn new(runs: Option<usize>, is_quiet: bool) -> Self {
        let bar = match runs {
            Some(runs) => progress(runs, is_quiet),
            None => bar(ProgressBar::no_length(), "{spinner} {pos} runs{msg}, {per_sec}, for {elapsed}", is_quiet),
        };
        let is_quiet = is_quiet || std::io::stderr().is_terminal();
        if let (true, Some(runs)) = (bar.is_hidden(), runs) {
            bar.set_length(runs as u64);
        }
        Self { bar, is_quiet, clock: Stopwatch::start(), last_line_ms: 0 }
    }

    /// A run is over; so many have failed.
    pub(super) fn step(&mut self, failures: u64) {
        self.bar.inc(1);
        if failures > 0 {
            self.bar.set_message(format!(", {failures} failed"));
        }
        let millis = self.clock.millis();
        if !self.is_quiet && millis >= self.last_line_ms + LINE_EVERY_MS {
            self.last_line_ms = millis;
            let _ = writeln!(std::io::stderr(), "{}", line(self.bar.position(), self.bar.length(), failures, millis));
        }
    }

    /// All is done.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn line(runs: u64, of: Option<u64>, failures: u64, millis: u64) -> String {
    let rate = runs * 1000 / millis.max(1);
    let ends =
        of.map(|of| (format!(" of {of}"), format!(", {} s left", (of - runs.min(of)) * millis / 1000 / runs.max(1))));
    let (of, left) = ends.unwrap_or_default();
    format!("{runs}{of} runs, {failures} failed, {rate} runs/s{left}")
}

/// A bar for people at a terminal.
pub(super) fn progress(jobs: usize, is_quiet: bool) -> ProgressBar {
    let template = "{bar:40} {pos}/{len} runs{msg}, {per_sec}, {eta} left";
    bar(ProgressBar::new(jobs as u64), template, is_quiet || jobs < 2)
}

fn bar(bar: ProgressBar, template: &str, is_quiet: bool) -> ProgressBar {
    if is_quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_far_it_is_and_how_long_it_takes() {
        assert_eq!(line(100, Some(400), 2, 50_000), "100 of 400 runs, 2 failed, 2 runs/s, 150 s left");
        assert_eq!(line(0, None, 0, 0), "0 runs, 0 failed, 0 runs/s");
    }
}
