//! `leveret-sim explain`: why a run fails, in ten lines.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::find::find;
use super::how::HowArgs;
use super::say;
use crate::capsule::{Capsule, Recorded, open};
use crate::run::plan;

/// Options of `leveret-sim explain`.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// A capsule's folder, a plan, or, with --seed, a scenario's name or file.
    what: PathBuf,
    /// The seed, of a scenario.
    #[arg(long)]
    seed: Option<u64>,
    /// Explains the plan as it was found, although the capsule has a shrunk one.
    #[arg(long)]
    full: bool,
    /// Explains it although it comes from another build.
    #[arg(long)]
    anyway: bool,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    how: HowArgs,
}

/// Runs a plan once more and tells why it fails.
pub(super) fn explain(args: &ExplainArgs) -> Result<ExitCode, String> {
    let what = args.what.display();
    let (capsule, mut repeat) = match args.seed {
        Some(seed) => {
            let name = args.what.to_str().ok_or_else(|| format!("{what} is no name of a scenario"))?;
            let scenarios = find(name)?;
            let [found] = &scenarios[..] else {
                return Err(format!("{what} holds {} scenarios: name one of them", scenarios.len()));
            };
            let capsule = Capsule { plan: plan(&found.scenario, seed), shrunk: None, environment: None };
            (capsule, format!("leveret-sim run {what} --seed {seed}"))
        }
        None if Path::new(&args.what).exists() && args.what.extension().is_none_or(|it| it != "toml") => {
            (open(&args.what, args.anyway)?, format!("leveret-sim replay {what}"))
        }
        None => return Err(format!("{what} is no capsule and no plan; a scenario needs a --seed")),
    };
    let mutant = args.how.mutant();
    if let Some(mutant) = mutant {
        repeat += &format!(" --mutant {mutant}");
    }
    if args.full && capsule.shrunk.is_some() {
        repeat += " --full";
    }
    let options = capsule.options(args.how.check_every, None, mutant)?;
    let plan = capsule.shrunk.as_ref().filter(|_| !args.full).unwrap_or(&capsule.plan);
    let recorded = Recorded::of(plan, options, &repeat);
    let Some(explanation) = &recorded.explanation else {
        if args.json {
            say("null\n");
        } else {
            say(&format!("ok: {} with seed {} keeps all promises\n", plan.scenario, plan.seed));
        }
        return Ok(ExitCode::SUCCESS);
    };
    if args.json {
        say(&format!("{}\n", serde_json::to_string(explanation).map_err(|error| error.to_string())?));
    } else {
        say(&explanation.text());
    }
    let failure = recorded.report.failure.as_ref();
    Ok(failure.map_or(ExitCode::SUCCESS, |failure| ExitCode::from(failure.kind.exit_code())))
}
