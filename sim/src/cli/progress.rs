//! How far it is, and how fast it goes, in real time.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// Real time, for telling people how fast it went; no run ever sees it.
pub(super) struct Stopwatch(#[expect(clippy::disallowed_types, reason = "not part of any run")] std::time::Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_types, reason = "not part of any run")]
    pub(super) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Milliseconds since its start.
    pub(super) fn millis(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A bar for people at a terminal.
pub(super) fn progress(jobs: usize, is_quiet: bool) -> ProgressBar {
    if is_quiet || jobs < 2 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} runs, {per_sec}, {eta} left");
    ProgressBar::new(jobs as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
