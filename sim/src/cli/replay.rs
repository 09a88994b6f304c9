//! `leveret-sim replay`: the plan of a capsule, or any plan, again.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::how::HowArgs;
use super::progress::Stopwatch;
use super::total::Total;
use super::{options, say};
use crate::capsule::{Capsule, Environment, Recorded, html, open};
use crate::run::{RunOptions, run_plan};
use crate::shrink::Size;

/// Options of `leveret-sim replay`.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// A capsule's folder as `--save` wrote it, or a plan. Of a capsule, the shrunk plan is run if there is one.
    capsule: PathBuf,
    /// Runs the plan as it was found, although there is a shrunk one.
    #[arg(long)]
    full: bool,
    /// Runs it although it comes from another build.
    #[arg(long)]
    anyway: bool,
    /// Writes the failure as a page that opens from disk.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    how: HowArgs,
    /// Tells so many of the last facts before a failure, instead of those that matter to it.
    #[arg(long, value_name = "FACTS")]
    last: Option<usize>,
}

/// Runs the plan of a capsule again.
pub(super) fn replay(args: &ReplayArgs) -> Result<ExitCode, String> {
    let capsule = open(&args.capsule, args.anyway)?;
    let mutant = args.how.mutant();
    let options = capsule.options(args.how.check_every, args.last, mutant)?;
    let is_small = capsule.shrunk.is_some() && !args.full;
    let plan = capsule.shrunk.as_ref().filter(|_| is_small).unwrap_or(&capsule.plan);
    let full = if is_small { "" } else { " --full" };
    let full = if capsule.shrunk.is_some() { full } else { "" };
    let command = format!("leveret-sim replay {}{full}", args.capsule.display());
    let clock = Stopwatch::start();
    let report = run_plan(plan.clone(), options);
    let mut total = Total::default();
    total.add(&report);
    if args.json {
        say(&format!("{}\n", report.json(&command)));
    } else {
        say(&report.story(&command));
        say(&total.summary(&clock, Some(report.trace)));
    }
    if let Some(path) = args.html.as_ref().filter(|_| report.failure.is_some()) {
        let full = Recorded::of(&capsule.plan, options, &command);
        let small = capsule.shrunk.as_ref().map(|plan| Recorded::of(plan, options, &command));
        let shrinking = capsule.shrunk.as_ref().map(|shrunk| (Size::of(&capsule.plan), Size::of(shrunk)));
        let text = html(&full, small.as_ref(), &Environment::of(&options), shrinking)?;
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(total.exit_code())
}

impl Capsule {
    /// How to run its plans: as they were, as far as the caller does not say otherwise.
    ///
    /// # Errors
    /// If a bug is to be planted that is not known, or that this program cannot plant.
    pub(crate) fn options(
        &self,
        check_every: Option<u64>,
        last: Option<usize>,
        mutant: Option<&str>,
    ) -> Result<RunOptions, String> {
        let its = self.environment.as_ref();
        let mutant = mutant.or_else(|| its?.mutant.as_deref());
        options(check_every.or_else(|| Some(its?.check_every)), last, mutant)
    }
}
