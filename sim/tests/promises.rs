//! A few hundred seeds of all built-in scenarios keep all promises.

use leveret_sim::run::{Job, RunOptions, run_jobs};
use leveret_sim::scenario::Scenario;

const SEEDS_EACH: u64 = if cfg!(debug_assertions) { 3 } else { 30 };

#[test]
fn no_promise_is_broken_in_the_built_in_scenarios() {
    let scenarios = Scenario::built_in();
    let jobs: Vec<Job<'_>> =
        scenarios.iter().flat_map(|scenario| (0..SEEDS_EACH).map(move |seed| Job { scenario, seed })).collect();
    let mut stories = Vec::new();
    run_jobs(&jobs, 2, RunOptions::default(), |report| {
        let command = format!("leveret-sim run {} --seed {}", report.scenario, report.seed);
        if report.failure.is_some() {
            stories.push(report.story(&command));
        }
        true
    });
    assert!(stories.is_empty(), "{}", stories.join("\n"));
}
