//! Whether a suite is good enough, and the exit code that says so.

use super::determinism;
use super::entry::Entry;
use super::tally::Tally;
use crate::report::FailureKind;

/// What is wrong with a suite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The gravest kind of the promises that were broken.
    pub(crate) worst: Option<FailureKind>,
    /// Runs were not the same twice.
    pub(crate) is_diverged: bool,
    /// What a scenario had to show and did not: its name, and what, in words.
    pub(crate) unmet: Vec<(String, String)>,
    /// Promises never at stake and situations never come to, in the whole suite.
    pub(crate) untried: Vec<&'static str>,
}

/// What has to be reached, beside that no promise is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Nothing.
    Off,
    /// What each scenario asks for.
    Own,
    /// That, and every promise and situation that there is.
    Whole,
}

impl Verdict {
    /// Judges a suite.
    pub(crate) fn of(entries: &[Entry], tally: &Tally, gate: Gate, check: Option<&determinism::Outcome>) -> Self {
        let mut verdict = Self {
            worst: tally.groups.iter().map(|group| group.kind).min_by_key(|kind| kind.exit_code()),
            is_diverged: check.is_some_and(|outcome| outcome.divergence.is_some()),
            ..Self::default()
        };
        if gate == Gate::Off {
            return verdict;
        }
        let available = entries.iter().zip(&tally.scenarios).filter(|(entry, _)| entry.unavailable.is_none());
        for (entry, scenario) in available {
            let mut miss = |text: String| verdict.unmet.push((entry.name().to_owned(), text));
            if let Some(oracle) = &entry.expected.fails
                && scenario.first_as_expected().is_none()
            {
                miss(format!("never broke \"{oracle}\", which it has to, in {} seeds", scenario.cells.len()));
            }
            for name in &entry.expected.sometimes {
                match scenario.mark(name) {
                    Some(mark) if mark.hits > 0 => {}
                    Some(_) => miss(format!("never came to \"{name}\" in {} seeds", scenario.cells.len())),
                    None if scenario.cells.is_empty() => miss(format!("was not run, and has to come to \"{name}\"")),
                    None => miss(format!("has to come to \"{name}\", and nothing is called so")),
                }
            }
        }
        if gate == Gate::Whole {
            let marks = [tally.promises(entries), tally.situations(entries)].concat();
            verdict.untried = marks.iter().filter(|mark| mark.hits == 0).map(|mark| mark.name).collect();
        }
        verdict
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_good(&self) -> bool {
        self.exit_code() == 0
    }

    /// The exit code of the program.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.worst {
            Some(kind) => kind.exit_code(),
            None if self.is_diverged => 6,
            None if !self.unmet.is_empty() || !self.untried.is_empty() => 5,
            None => 0,
        }
    }

    /// It in a few words.
    pub(crate) fn text(&self) -> &'static str {
        match self.exit_code() {
            0 => "all promises kept",
            2 => "a promise was broken",
            3 => "something never happened that had to",
            4 => "the engine panicked",
            6 => "a seed did not give the same run twice",
            _ => "something was never tried",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Failure;
    use crate::suite::tally::tests::{Sample, lost};

    fn judge(sample: &Sample, gate: Gate) -> Verdict {
        Verdict::of(&sample.entries, &sample.tally, gate, None)
    }

    #[test]
    fn each_kind_of_failure_has_its_exit_code_and_the_gravest_counts() {
        let mut sample = Sample::new();
        sample.add(0, 0, 0, None);
        assert_eq!(judge(&sample, Gate::Own).exit_code(), 0);
        sample.add(1, 0, 1, Some(Failure::crash("no".to_owned())));
        assert_eq!(judge(&sample, Gate::Own).exit_code(), 4);
        sample.add(2, 0, 2, Some(Failure::liveness("never")));
        assert_eq!(judge(&sample, Gate::Own).exit_code(), 3);
        sample.add(3, 0, 3, Some(lost(1)));
        assert_eq!(judge(&sample, Gate::Own).exit_code(), 2);
        assert_eq!(judge(&sample, Gate::Off).exit_code(), 2);
    }

    /// One seed of a quiet scenario does not see everything.
    #[test]
    fn the_whole_gate_names_what_was_never_tried() {
        let mut sample = Sample::new();
        sample.add(0, 0, 0, None);
        let verdict = judge(&sample, Gate::Whole);
        assert_eq!(verdict.exit_code(), 5);
        assert!(verdict.untried.contains(&"power failures"), "{:?}", verdict.untried);
        assert!(judge(&sample, Gate::Own).is_good());
    }

    #[test]
    fn a_negative_scenario_passes_only_if_just_its_promise_breaks() {
        let mut sample = Sample::new();
        sample.entries[1].expected.fails = Some("lost".to_owned());
        sample.add(0, 1, 0, None);
        let verdict = judge(&sample, Gate::Own);
        assert_eq!(verdict.exit_code(), 5);
        assert!(verdict.unmet[0].1.contains("never broke \"lost\""), "{:?}", verdict.unmet);
        sample.add(1, 1, 1, Some(lost(3)));
        assert!(judge(&sample, Gate::Own).is_good());
        sample.add(2, 1, 2, Some(Failure::liveness("never")));
        assert_eq!(judge(&sample, Gate::Own).exit_code(), 3);
    }

    #[test]
    fn nothing_is_asked_of_a_scenario_that_cannot_be_run() {
        let mut sample = Sample::new();
        sample.entries[1].expected.fails = Some("lost".to_owned());
        sample.entries[1].unavailable = Some("it cannot".to_owned());
        sample.add(0, 0, 0, None);
        assert!(judge(&sample, Gate::Own).is_good());
    }

    #[test]
    fn a_scenario_has_to_come_to_what_it_asks_for() {
        let mut sample = Sample::new();
        sample.add(0, 0, 0, None);
        let reached = sample.tally.promises(&sample.entries).iter().find(|mark| mark.hits > 0).unwrap().name;
        sample.entries[0].expected.sometimes = vec![reached.to_owned()];
        assert!(judge(&sample, Gate::Own).is_good());
        for (name, complaint) in [("power failures", "never came to"), ("rain", "nothing is called so")] {
            sample.entries[0].expected.sometimes = vec![name.to_owned()];
            let verdict = judge(&sample, Gate::Own);
            assert_eq!(verdict.exit_code(), 5);
            assert!(verdict.unmet[0].1.contains(complaint), "{:?}", verdict.unmet);
            assert!(judge(&sample, Gate::Off).is_good());
        }
    }
}
