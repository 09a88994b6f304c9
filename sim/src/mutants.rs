//! Planted bugs: how many seeds it takes to find each. The evidence that the oracles see.

use std::process::ExitCode;

use clap::Args;
use leveret_engine::mutants::Mutant;

use crate::cli::say;
use crate::report::Report;
use crate::run::{RunOptions, plan, run_plan};
use crate::scenario::Scenario;

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

/// Runs the built-in scenarios in turn until the bug is found. The engine's own checks of its invariants are off: the oracles are to
/// see it from outside.
pub fn hunt(mutant: Mutant, seeds: u64, only: Option<&str>) -> Hunt {
    let scenarios: Vec<Scenario> = Scenario::built_in()
        .into_iter()
        .filter(|scenario| !scenario.run.beyond_claim && scenario.name != "steady")
        .filter(|scenario| only.is_none_or(|only| only == scenario.name))
        .collect();
    let options = RunOptions { mutant: Some(mutant), check_every: u64::MAX, ..RunOptions::default() };
    let mut runs = 0;
    for (at, scenario) in (0..seeds).zip(scenarios.iter().cycle()) {
        runs += 1;
        let report = run_plan(plan(scenario, at / scenarios.len() as u64), options);
        if report.failure.is_some() {
            return Hunt { mutant, runs, caught: Some(report) };
        }
    }
    Hunt { mutant, runs, caught: None }
}

/// Hunts all of them and prints a table.
pub(crate) fn main(args: &MutantArgs) -> Result<ExitCode, String> {
    let mut all_caught = true;
    say(&format!("{:24} {:>6}  {:24} {}\n", "planted bug", "seeds", "found by", "in"));
    for mutant in Mutant::ALL {
        let name = format!("{mutant:?}");
        if args.only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let Hunt { runs, caught, .. } = hunt(mutant, args.seeds, args.scenario.as_deref());
        match caught {
            Some(Report { scenario, seed, failure: Some(failure), .. }) => {
                say(&format!("{name:24} {runs:>6}  {:24} {scenario} --seed {seed}\n", failure.oracle));
                if args.only.is_some() {
                    say(&format!("  {}\n", failure.text));
                    failure.lines.iter().for_each(|line| say(&format!("  {line}\n")));
                }
            }
            _ => {
                all_caught = false;
                say(&format!("{name:24} {runs:>6}  not found\n"));
            }
        }
    }
    Ok(if all_caught { ExitCode::SUCCESS } else { ExitCode::from(2) })
}
