//! A few hundred seeds of all built-in scenarios keep all promises.

use std::collections::BTreeMap;

use leveret_sim::run::{Job, RunOptions, run_jobs};
use leveret_sim::scenario::Scenario;

const SEEDS_EACH: u64 = if cfg!(debug_assertions) { 3 } else { 30 };

#[test]
fn no_promise_is_broken_in_the_built_in_scenarios() {
    let scenarios = Scenario::built_in();
    let regressions = Scenario::regressions();
    let mut jobs: Vec<Job<'_>> =
        scenarios.iter().flat_map(|scenario| (0..SEEDS_EACH).map(move |seed| Job { scenario, seed })).collect();
    jobs.extend(regressions.iter().filter_map(|scenario| Some(Job { scenario, seed: scenario.run.seed? })));
    let mut stories = Vec::new();
    let mut tried = BTreeMap::new();
    run_jobs(&jobs, 2, RunOptions::default(), |report| {
        for (name, count) in report.judged.iter().chain(&report.situations) {
            *tried.entry(*name).or_insert(0) += count;
        }
        let command = format!("leveret-sim run {} --seed {}", report.scenario, report.seed);
        if report.failure.is_some() {
            stories.push(report.story(&command));
        }
        true
    });
    assert!(stories.is_empty(), "{}", stories.join("\n"));
    // An oracle that judged nothing, or a situation that never came up, would make all of that mean less than it says. The few seeds
    // of a slow build may miss some.
    if !cfg!(debug_assertions) {
        let never: Vec<_> = tried.iter().filter(|(_, count)| **count == 0).collect();
        assert!(never.is_empty(), "{never:?}");
    }
}
