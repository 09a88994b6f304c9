//! `leveret-sim replay`: a saved plan again.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::find::read;
use super::progress::Stopwatch;
use super::total::Total;
use super::{options, say};
use crate::plan::{FORMAT, Plan};
use crate::run::run_plan;

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// A plan as `--save` wrote it.
    plan: PathBuf,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    /// Checks the engine's invariants once in this many steps.
    #[arg(long, value_name = "STEPS")]
    check_every: Option<u64>,
    /// Tells so many of the last facts before a failure, instead of those that matter to it.
    #[arg(long, value_name = "FACTS")]
    last: Option<usize>,
}

/// Carries out the plan.
pub(super) fn replay(args: &ReplayArgs) -> Result<ExitCode, String> {
    let text = read(&args.plan)?;
    let plan: Plan = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", args.plan.display()))?;
    if plan.format != FORMAT {
        return Err(format!("{} has format {}, this program reads {FORMAT}", args.plan.display(), plan.format));
    }
    let clock = Stopwatch::start();
    let report = run_plan(plan, options(args.check_every, args.last));
    let command = format!("leveret-sim replay {}", args.plan.display());
    let mut total = Total::default();
    total.add(&report);
    if args.json {
        say(&format!("{}\n", report.json(&command)));
    } else {
        say(&report.story(&command));
        say(&total.summary(&clock, Some(report.trace)));
    }
    Ok(total.worst.map_or(ExitCode::SUCCESS, |kind| ExitCode::from(kind.exit_code())))
}
