//! `leveret-sim run`: seeds of one scenario, or of all.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::find::{built_in, find};
use super::how::HowArgs;
use super::progress::{Stopwatch, progress};
use super::total::Total;
use super::{options, say, warn};
use crate::capsule::Collection;
use crate::expect::Expectations;
use crate::run::{Job, plan, run_jobs};
use crate::scenario::Scenario;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// A built-in scenario's name, a scenario file or a folder of them; all built-in scenarios in turn if left out.
    scenario: Option<String>,
    /// Runs just this seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Runs so many seeds in all, shared among the scenarios; those that are about one seed are run once, besides.
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads; each run uses one.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Goes on after a failure and counts them.
    #[arg(long)]
    keep_going: bool,
    /// Fails if some promise could never have been broken, or some situation never came up.
    #[arg(long)]
    cover: bool,
    /// Keeps each kind of failure in a folder of its own in this one: plan, trace, story, and a page that shows it.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Prints one JSON object per run.
    #[arg(long)]
    json: bool,
    /// Prints nothing but the trace hash of each run.
    #[arg(long)]
    hash_only: bool,
    #[command(flatten)]
    how: HowArgs,
    /// Tells so many of the last facts before a failure, instead of those that matter to it.
    #[arg(long, value_name = "FACTS")]
    last: Option<usize>,
}

/// Makes the runs.
pub(super) fn run(args: &RunArgs) -> Result<ExitCode, String> {
    let mut found = args.scenario.as_deref().map_or_else(|| Ok(built_in()), find)?;
    if let [only] = &found[..]
        && let Some(reason) = only.scenario.unavailable()
    {
        return Err(format!("{}: {reason}", only.place));
    }
    found.retain(|found| {
        let reason = found.scenario.unavailable();
        if let Some(reason) = &reason {
            warn(&format!("skipped {}: {reason}", found.place));
        }
        reason.is_none()
    });
    let mut expectations = Expectations::of(found.iter().map(|found| &found.scenario));
    let mut jobs = Vec::new();
    match args.seed {
        Some(seed) => jobs.extend(found.iter().map(|found| Job { scenario: &found.scenario, seed })),
        None => {
            let scenarios = found.iter().map(|found| &found.scenario);
            let (fixed, open): (Vec<&Scenario>, Vec<&Scenario>) = scenarios.partition(|it| it.run.seed.is_some());
            jobs.extend(fixed.iter().filter_map(|&scenario| Some(Job { scenario, seed: scenario.run.seed? })));
            let turns = args.from..args.from + args.seeds.div_ceil((open.len() as u64).max(1));
            let open_jobs = turns.flat_map(|seed| open.iter().map(move |&scenario| Job { scenario, seed }));
            jobs.extend(open_jobs.take(usize::try_from(args.seeds).map_err(|error| error.to_string())?));
        }
    }
    let mutant = args.how.mutant();
    let options = options(args.how.check_every, args.last, mutant)?;
    let mut saved = Collection::default();
    let progress = progress(jobs.len(), args.json || args.hash_only);
    let clock = Stopwatch::start();
    let mut total = Total::default();
    let mut problem = None;
    run_jobs(&jobs, args.jobs, options, |report| {
        progress.inc(1);
        let this = found.iter().find(|found| found.scenario.name == report.scenario).expect("it was run");
        let command = repeat_command(args, &this.place, report.seed);
        if args.hash_only {
            say(&format!("{:016x}\n", report.trace));
        } else if args.json {
            say(&format!("{}\n", report.json(&command)));
        } else if report.unexpected().is_some() || (report.failure.is_some() && jobs.len() == 1) {
            progress.suspend(|| say(&format!("{}\n", report.story(&command))));
        }
        if let (Some(folder), Some(_)) = (&args.save, report.unexpected()) {
            let plan = plan(&this.scenario, report.seed);
            if let Err(error) = saved.add(folder, &report, &plan, options) {
                problem.get_or_insert(error);
            }
        }
        let failed = report.unexpected().is_some();
        total.add(&report);
        expectations.add(&report);
        !failed || args.keep_going
    });
    progress.finish_and_clear();
    if let Some(problem) = problem {
        return Err(problem);
    }
    if !args.json && !args.hash_only {
        if jobs.len() > 1 {
            say(&total.judged.table("how often each promise could have been broken"));
            say(&total.situations.table("how often it came to"));
        }
        say(&total.summary(&clock, (args.seed.is_some() && jobs.len() == 1).then_some(total.trace)));
    }
    if !args.json && !args.hash_only {
        say(&saved.text());
    }
    if total.worst.is_some() {
        return Ok(total.exit_code());
    }
    let unmet = expectations.unmet();
    for sentence in &unmet {
        say(&format!("{sentence}\n"));
    }
    let untried = if args.cover { total.untried() } else { Vec::new() };
    for name in &untried {
        say(&format!("never: {name}\n"));
    }
    Ok(if unmet.is_empty() && untried.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(5) })
}

fn repeat_command(args: &RunArgs, place: &str, seed: u64) -> String {
    format!("leveret-sim run {place} --seed {seed}{}", args.how.repeated())
}
