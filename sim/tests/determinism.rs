//! The same seed gives the same run to the byte: twice in one process, and in a process of its own.

use std::process::Command;

use leveret_sim::run::{RunOptions, plan, run_plan};
use leveret_sim::scenario::Scenario;

fn scenario(name: &str) -> Scenario {
    Scenario::built_in().into_iter().find(|scenario| scenario.name == name).expect("a built-in scenario")
}

#[test]
fn a_seed_gives_the_same_trace_twice_here_and_once_in_a_child_process() {
    for (name, seed) in
        [("everything", 3), ("power-loss", 1), ("churn", 2), ("big-backlog", 5), ("connection-resets", 4)]
    {
        let scenario = scenario(name);
        let first = run_plan(plan(&scenario, seed), RunOptions::default()).trace;
        let second = run_plan(plan(&scenario, seed), RunOptions::default()).trace;
        assert_eq!(first, second, "{name} {seed}");
        let child = Command::new(env!("CARGO_BIN_EXE_leveret-sim"))
            .args(["run", name, "--hash-only", "--seed", &seed.to_string()])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&child.stdout), format!("{first:016x}\n"), "{name} {seed}");
    }
}

#[test]
fn different_seeds_give_different_runs() {
    let scenario = scenario("everything");
    let trace = |seed| run_plan(plan(&scenario, seed), RunOptions::default()).trace;
    assert_ne!(trace(1), trace(2));
}

#[test]
fn a_plan_runs_as_well_from_its_file() {
    let scenario = scenario("kill-loop");
    let made = plan(&scenario, 9);
    let text = serde_json::to_string(&made).unwrap();
    let direct = run_plan(made, RunOptions::default()).trace;
    assert_eq!(run_plan(serde_json::from_str(&text).unwrap(), RunOptions::default()).trace, direct);
}
