//! Planted bugs: how many seeds it takes to find each. The evidence that the oracles see.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use leveret_engine::mutants::Mutant;

use crate::cli::say;
use crate::cli::shrink::{Watch, write_plan};
use crate::report::Report;
use crate::run::{RunOptions, plan, run_plan};
use crate::scenario::Scenario;
use crate::shrink::{Progress, Shrunk, Size, shrink};

/// Options of `leveret-sim mutants`.
#[derive(Debug, Args)]
pub struct MutantArgs {
    /// The most seeds tried for each.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Hunts only the one of this name.
    #[arg(long)]
    only: Option<String>,
    /// Hunts only in the scenario of this name.
    #[arg(long)]
    scenario: Option<String>,
    /// Shrinks the run that found each.
    #[arg(long)]
    shrink: bool,
    /// Shrinks each for so many seconds at most.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    budget: u64,
    /// Writes the small plans into this folder.
    #[arg(long, value_name = "DIR", requires = "shrink")]
    save: Option<PathBuf>,
}

/// What became of one planted bug.
#[derive(Debug)]
pub struct Hunt {
    /// The bug.
    pub mutant: Mutant,
    /// Runs made, with the one that found it.
    pub runs: u64,
    /// The run that found it.
    pub caught: Option<Report>,
}

/// The planted bugs that take several nodes and that a few hundred runs show. Some take what no scenario does (members that change, a
/// disk that is lost) or what hardly ever comes together; those are found by the tests of the machines that they are planted in.
pub fn of_cluster() -> impl Iterator<Item = Mutant> {
    let groups = Mutant::QUORUM.into_iter().chain(Mutant::CONSENSUS);
    let all = groups.chain(Mutant::MEMBERSHIP).chain(Mutant::SHARED).chain(Mutant::REMOTE);
    all.filter(|mutant| {
        !matches!(
            mutant,
            Mutant::TwoMembershipChanges
                | Mutant::ClusterDiskForgotten
                | Mutant::QuorumSacNoneActive
                | Mutant::QuorumBootIgnored
                | Mutant::StaleWriteCompletion
        )
    })
}

/// Runs the built-in scenarios in turn until the bug is found: those of one node, or of several if it takes them.
pub fn hunt(mutant: Mutant, seeds: u64, only: Option<&str>) -> Hunt {
    let is_of_cluster = !Mutant::ALL.contains(&mutant);
    let scenarios: Vec<Scenario> = Scenario::built_in()
        .into_iter()
        .filter(|scenario| !scenario.run.beyond_claim && scenario.name != "steady")
        // Those written by hand are about one thing each; a seed of them says less.
        .filter(|scenario| scenario.queue.is_empty() || is_of_cluster)
        .filter(|scenario| (scenario.nodes_max() > 1) == is_of_cluster)
        .filter(|scenario| only.is_none_or(|only| only == scenario.name))
        .collect();
    let mut runs = 0;
    for (at, scenario) in (0..seeds).zip(scenarios.iter().cycle()) {
        runs += 1;
        let report = run_plan(plan(scenario, at / scenarios.len() as u64), options(mutant));
        if report.failure.is_some() {
            return Hunt { mutant, runs, caught: Some(report) };
        }
    }
    Hunt { mutant, runs, caught: None }
}

impl Hunt {
    /// Shrinks the run that found the bug; `None` if none did.
    ///
    /// # Panics
    /// Never: what was found was found in a built-in scenario.
    pub fn shrink(&self, watch: &mut dyn FnMut(&Progress) -> bool) -> Option<Shrunk> {
        let report = self.caught.as_ref()?;
        let failure = report.failure.as_ref()?;
        let scenario = Scenario::built_in().into_iter().find(|scenario| scenario.name == report.scenario);
        let plan = plan(&scenario.expect("only built-in scenarios are hunted in"), report.seed);
        Some(shrink(&plan, failure, options(self.mutant), watch))
    }
}

/// How runs with a planted bug are made: the engine's own checks of its invariants are off, since the oracles are to see the bug from
/// outside.
pub fn options(mutant: Mutant) -> RunOptions {
    RunOptions { mutant: Some(mutant), check_every: u64::MAX, ..RunOptions::default() }
}

/// Hunts all of them and prints a table.
pub(crate) fn main(args: &MutantArgs) -> Result<ExitCode, String> {
    let mut all_caught = true;
    let mut shrunk_all = Vec::new();
    let columns = if args.shrink { "faults  operations  seconds  " } else { "" };
    say(&format!("{:24} {:>6}  {:24} {columns}{}\n", "planted bug", "seeds", "found by", "in"));
    for mutant in Mutant::ALL.into_iter().chain(of_cluster()) {
        let name = format!("{mutant:?}");
        if args.only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let hunt = hunt(mutant, args.seeds, args.scenario.as_deref());
        let runs = hunt.runs;
        let Some(Report { scenario, seed, failure: Some(failure), .. }) = &hunt.caught else {
            all_caught = false;
            say(&format!("{name:24} {runs:>6}  not found\n"));
            continue;
        };
        let mut columns = String::new();
        let mut story = format!("  {}\n", failure.text);
        story.extend(failure.lines.iter().map(|line| format!("  {line}\n")));
        if args.shrink {
            let watch = Watch::start(args.budget, false);
            let shrunk = hunt.shrink(&mut |progress| watch.goes_on(progress)).expect("it was caught");
            let millis = watch.stop();
            let [before, after] = [shrunk.before, shrunk.after];
            let faults = format!("{} -> {}", before.faults, after.faults);
            let operations = format!("{} -> {}", before.operations, after.operations);
            let seconds = format!("{}.{}", millis / 1000, millis % 1000 / 100);
            columns = format!("{faults:>7} {operations:>11} {seconds:>8}  ");
            let mut command = String::from("run it with --save DIR to keep the plan");
            if let Some(folder) = &args.save {
                let path = folder.join(format!("{name}.json"));
                write_plan(&path, &shrunk.plan)?;
                command = format!("leveret-sim replay {} --mutant {name}", path.display());
            }
            story = shrunk.report.story(&command);
            shrunk_all.push((after, millis));
        }
        say(&format!("{name:24} {runs:>6}  {:24} {columns}{scenario} --seed {seed}\n", failure.oracle));
        if args.only.is_some() {
            say(&story);
        }
    }
    if let Some(medians) = medians(&shrunk_all) {
        say(&medians);
    }
    Ok(if all_caught { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// The last line of a table with shrunk runs.
fn medians(shrunk: &[(Size, u64)]) -> Option<String> {
    let median_and_most = |number: &dyn Fn(&(Size, u64)) -> u64| {
        let mut numbers: Vec<u64> = shrunk.iter().map(number).collect();
        numbers.sort_unstable();
        Some((*numbers.get(numbers.len() / 2)?, *numbers.last()?))
    };
    let faults = median_and_most(&|(size, _)| size.faults)?;
    let operations = median_and_most(&|(size, _)| size.operations)?;
    let millis = median_and_most(&|(_, millis)| *millis)?;
    Some(format!(
        "median of {}: {} faults, {} operations, {}.{} s; most: {} faults, {} operations, {}.{} s\n",
        shrunk.len(),
        faults.0,
        operations.0,
        millis.0 / 1000,
        millis.0 % 1000 / 100,
        faults.1,
        operations.1,
        millis.1 / 1000,
        millis.1 % 1000 / 100,
    ))
}
