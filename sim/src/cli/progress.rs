//! How far it is, and how fast it goes, in real time.

#![expect(clippy::disallowed_types, reason = "real time is what this file is about; it is part of no run")]

use std::io::IsTerminal;

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

/// A bar for people at a terminal.
pub(super) fn progress(jobs: usize, is_quiet: bool) -> ProgressBar {
    let template = "{bar:40} {pos}/{len} runs{msg}, {per_sec}, {eta} left";
    bar(ProgressBar::new(jobs as u64), template, is_quiet || jobs < 2)
}

/// The same where nobody knows how many runs there will be.
pub(super) fn progress_without_end(is_quiet: bool) -> ProgressBar {
    bar(ProgressBar::no_length(), "{spinner} {pos} runs{msg}, {per_sec}, for {elapsed}", is_quiet)
}

fn bar(bar: ProgressBar, template: &str, is_quiet: bool) -> ProgressBar {
    if is_quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}
