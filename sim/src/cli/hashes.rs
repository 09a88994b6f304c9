//! `leveret-sim hashes`: the other process of `suite --check-determinism`. See [`crate::suite::determinism`] for what it is told and
//! answers.

use std::process::ExitCode;

use clap::Args;

use super::find::find_all;
use super::say;
use crate::run::{RunOptions, plan};
use crate::steps::run_steps;
use crate::suite::agenda::Agenda;
use crate::suite::entry::{Entry, entries};

#[derive(Debug, Args)]
pub(super) struct HashesArgs {
    /// Scenarios, as `suite` takes them.
    what: Vec<String>,
    /// Threads; each run uses one.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Prints each step of the runs instead of their hashes.
    #[arg(long)]
    steps: bool,
    /// Disturbs each run at this event.
    #[arg(long, value_name = "EVENT")]
    wrinkle: Option<u64>,
}

/// Makes the runs that standard input names.
pub(super) fn hashes(args: &HashesArgs) -> Result<ExitCode, String> {
    let entries = entries(find_all(&args.what)?)?;
    let input = std::io::read_to_string(std::io::stdin()).map_err(|error| format!("standard input: {error}"))?;
    let runs = input.lines().map(|line| run_of(line, &entries)).collect::<Result<Vec<_>, _>>()?;
    let options = RunOptions { wrinkle: args.wrinkle, ..RunOptions::default() };
    if args.steps {
        for (entry, seed) in runs {
            let steps = run_steps(plan(&entries[entry].scenario, seed), options);
            steps.iter().for_each(|step| say(&format!("{step}\n")));
        }
        return Ok(ExitCode::SUCCESS);
    }
    Agenda::Listed(runs).run(&entries, args.jobs, options, |done| {
        say(&format!("{:016x} {} {}\n", done.report.trace, done.item.seed, done.report.scenario));
        true
    });
    Ok(ExitCode::SUCCESS)
}

fn run_of(line: &str, entries: &[Entry]) -> Result<(usize, u64), String> {
    let run = line.split_once(' ').and_then(|(seed, name)| {
        let entry = entries.iter().position(|entry| entry.name() == name)?;
        Some((entry, seed.parse().ok()?))
    });
    run.ok_or_else(|| format!("standard input: not a seed and a scenario: {line}"))
}
