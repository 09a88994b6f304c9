//! Many seeds of one lab.

use super::{Lab, Outcome};
use crate::report::Report;

/// What came of many runs. Exploring ends with the first failure.
#[derive(Clone, Debug, Default)]
pub struct Exploration {
    /// Runs made, with the one that failed.
    pub runs: u64,
    /// Messages published in all.
    pub messages: u64,
    /// Facts that were judged.
    pub facts: u64,
    /// How often the broker started; once per run if nothing happened to it.
    pub boots: u64,
    /// How often a program's process crashed.
    pub crashes: u64,
    /// The run that failed.
    pub failed: Option<Report>,
}

/// Builds a lab for each seed and runs it, up to the first that fails. The same seed gives the same run, as long as `build` builds the
/// same.
pub fn explore(seeds: impl IntoIterator<Item = u64>, mut build: impl FnMut(u64) -> Lab) -> Exploration {
    let mut exploration = Exploration::default();
    for seed in seeds {
        let Outcome { report, crashes } = build(seed).run();
        exploration.runs += 1;
        exploration.crashes += crashes;
        exploration.messages += report.messages;
        exploration.facts += report.facts;
        exploration.boots += report.boots();
        if report.failure.is_some() {
            exploration.failed = Some(report);
            break;
        }
    }
    exploration
}

impl Exploration {
    /// The failure as a page of text, with the seed that repeats it; `None` if all was well.
    pub fn story(&self) -> Option<String> {
        let report = self.failed.as_ref()?;
        Some(report.story(&format!("explore([{}], …)", report.seed)))
    }

    /// For the end of a test.
    ///
    /// # Panics
    /// With the story, if a run failed, and if there was none.
    #[track_caller]
    pub fn assert_sound(&self) {
        assert!(self.runs > 0, "no seed was explored");
        if let Some(story) = self.story() {
            panic!("run {} failed\n{story}", self.runs);
        }
    }
}
