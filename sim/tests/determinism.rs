//! The same seed gives the same run to the byte: twice in one process, and in a process of its own.

use std::process::Command;
use std::sync::Mutex;

use leveret_sim::run::{Job, RunOptions, plan, run_jobs, run_plan};
use leveret_sim::scenario::Scenario;

const SEED: u64 = 3;

fn scenario(name: &str) -> Scenario {
    Scenario::built_in().into_iter().find(|scenario| scenario.name == name).expect("a built-in scenario")
}

/// All features and all faults: one seed of every scenario. The second time they run in another order and share threads; the third
/// time in a process with addresses of its own.
#[test]
fn a_seed_gives_the_same_trace_twice_here_and_once_in_a_child_process() {
    let scenarios = [Scenario::built_in(), Scenario::regressions()].concat();
    let traces: Vec<u64> =
        scenarios.iter().map(|scenario| run_plan(plan(scenario, SEED), RunOptions::default()).trace).collect();

    let jobs: Vec<Job<'_>> = scenarios.iter().rev().map(|scenario| Job { scenario, seed: SEED }).collect();
    let again = Mutex::new(Vec::new());
    run_jobs(&jobs, 2, RunOptions::default(), |report| {
        again.lock().unwrap().push((report.scenario, report.trace));
        true
    });
    let again = again.into_inner().unwrap();
    assert_eq!(again.len(), scenarios.len());
    for (scenario, first) in scenarios.iter().zip(&traces) {
        let second = again.iter().find(|(name, _)| *name == scenario.name).map(|(_, trace)| trace);
        assert_eq!(second, Some(first), "{}", scenario.name);
    }

    let child = Command::new(env!("CARGO_BIN_EXE_leveret-sim"))
        .args(["run", "--hash-only", "--seed", &SEED.to_string()])
        .output()
        .unwrap();
    let expected: String = traces.iter().map(|trace| format!("{trace:016x}\n")).collect();
    assert_eq!(String::from_utf8_lossy(&child.stdout), expected);
}

#[test]
fn different_seeds_give_different_runs() {
    let scenario = scenario("everything");
    let trace = |seed| run_plan(plan(&scenario, seed), RunOptions::default()).trace;
    assert_ne!(trace(1), trace(2));
}

/// Of a story too: its plan has rules and policies.
#[test]
fn a_plan_runs_as_well_from_its_file() {
    for name in ["kill-loop", "policies"] {
        let made = plan(&scenario(name), 9);
        let text = serde_json::to_string(&made).unwrap();
        let direct = run_plan(made, RunOptions::default()).trace;
        assert_eq!(run_plan(serde_json::from_str(&text).unwrap(), RunOptions::default()).trace, direct, "{name}");
    }
}
