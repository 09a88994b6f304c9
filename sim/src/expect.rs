//! What scenarios expect of their runs as a whole: that a promise is broken in some, that situations come up in some.

use std::collections::BTreeSet;

use crate::report::Report;
use crate::scenario::Scenario;

/// Fewer runs of a scenario than this say nothing about what never happened.
const RUNS_ENOUGH: u64 = 50;

/// What became of the expectations so far.
#[derive(Debug)]
pub struct Expectations<'a> {
    scenarios: Vec<Expected<'a>>,
}

#[derive(Debug)]
struct Expected<'a> {
    scenario: &'a Scenario,
    runs: u64,
    failures: u64,
    seen: BTreeSet<&'static str>,
}

impl<'a> Expectations<'a> {
    /// Those of some scenarios.
    pub fn of(scenarios: impl IntoIterator<Item = &'a Scenario>) -> Self {
        let expected = |scenario| Expected { scenario, runs: 0, failures: 0, seen: BTreeSet::new() };
        Self { scenarios: scenarios.into_iter().map(expected).collect() }
    }

    /// Looks at one run.
    pub fn add(&mut self, report: &Report) {
        let Some(expected) = self.scenarios.iter_mut().find(|it| it.scenario.name == report.scenario) else { return };
        expected.runs += 1;
        expected.failures += u64::from(report.failure.is_some() && report.unexpected().is_none());
        expected.seen.extend(report.situations.iter().filter(|(_, count)| *count > 0).map(|(name, _)| *name));
    }

    /// What was expected of scenarios that were run often enough and did not happen, in sentences.
    pub fn unmet(&self) -> Vec<String> {
        let mut unmet = Vec::new();
        for Expected { scenario, runs, failures, seen } in self.scenarios.iter().filter(|it| it.runs >= RUNS_ENOUGH) {
            let name = &scenario.name;
            if let Some(oracle) = scenario.expected_failure().filter(|_| *failures == 0) {
                unmet.push(format!("{name} is expected to break \"{oracle}\" and did not in {runs} runs"));
            }
            for mark in scenario.required_marks().filter(|mark| !seen.contains(mark)) {
                unmet.push(format!("{name} is expected to come to \"{mark}\" and did not in {runs} runs"));
            }
        }
        unmet
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Failure;
    use crate::run::{RunOptions, plan, run_plan};

    const NEGATIVE: &str = "name = \"x\"\nabout = \"X.\"\n[phases]\nchaos = \"10ms\"\n[[queue]]\nname = \"orders\"\n\
                            [expect]\nfails = \"nothing lost\"\nsometimes = [\"nodes killed\"]\n";

    #[test]
    fn only_the_promise_named_may_be_broken_and_it_has_to_be() {
        let scenario = Scenario::parse(NEGATIVE).unwrap();
        let mut report = run_plan(plan(&scenario, 0), RunOptions::default());
        assert_eq!(report.unexpected(), None);
        let mut expectations = Expectations::of([&scenario]);
        for _ in 0..RUNS_ENOUGH - 1 {
            expectations.add(&report);
        }
        assert!(expectations.unmet().is_empty(), "too few runs to tell");
        expectations.add(&report);
        let unmet = expectations.unmet();
        assert!(unmet[0].contains("nothing lost") && unmet[1].contains("nodes killed"), "{unmet:?}");

        report.failure = Some(Failure { oracle: "nothing lost", ..Failure::liveness("") });
        report.situations = vec![("nodes killed", 1)];
        expectations.add(&report);
        assert!(expectations.unmet().is_empty());
        assert_eq!(report.unexpected(), None);
        report.failure = Some(Failure::liveness(""));
        assert!(report.unexpected().is_some());
    }
}
