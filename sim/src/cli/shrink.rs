//! `leveret-sim shrink`: from a failing run to the smallest one that fails in the same way.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::find::find;
use super::how::HowArgs;
use super::progress::Stopwatch;
use super::say;
use crate::capsule::{self, Capsule, open};
use crate::plan::Plan;
use crate::run::{plan, run_plan};
use crate::shrink::{self, Progress, Shrunk};

/// Options of `leveret-sim shrink`.
#[derive(Debug, Args)]
#[command(after_help = "\
A run that fails is repeated with ever fewer faults, clients and operations, plainer settings and rounder times, as long as it fails \
with the same promise and the same words. Printed is what is left of it, as of any failing run.\n\n\
Examples:\n  \
leveret-sim shrink out/FAILURE            a capsule; from then on the small run is what `replay` and its page show\n  \
leveret-sim shrink plan.json              a plan\n  \
leveret-sim shrink power-loss --seed 7    a scenario and the seed that failed")]
pub(crate) struct ShrinkArgs {
    /// A failing run: a capsule's folder, a plan, or, with --seed, a scenario's name or file.
    failing: PathBuf,
    /// The seed, of a scenario.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the small plan goes [default: into the capsule, else beside the plan or here, ending in .shrunk.json].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Stops after so many seconds, with what has been found by then.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    budget: u64,
    /// Shrinks it although it comes from another build.
    #[arg(long)]
    anyway: bool,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    how: HowArgs,
}

/// Shrinks, writes the plan and says what came of it.
pub(super) fn shrink(args: &ShrinkArgs) -> Result<ExitCode, String> {
    let (capsule, name) = failing(args)?;
    let mutant = args.how.mutant();
    let options = capsule.options(args.how.check_every, None, mutant)?;
    let Some(failure) = run_plan(capsule.plan.clone(), options).failure else {
        return Err("all promises are kept in this run: there is nothing to shrink".to_owned());
    };
    let watch = Watch::start(args.budget, args.json);
    let shrunk = shrink::shrink(&capsule.plan, &failure, options, &mut |progress| watch.goes_on(progress));
    let millis = watch.stop();
    let is_capsule = args.out.is_none() && args.failing.is_dir();
    let out = if is_capsule {
        let folder = args.failing.parent().filter(|folder| !folder.as_os_str().is_empty());
        capsule::write(folder.unwrap_or_else(|| Path::new(".")), &capsule.plan, Some(&shrunk.plan), options)?
    } else {
        let out = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.shrunk.json")));
        write_plan(&out, &shrunk.plan)?;
        out
    };
    let mut command = format!("leveret-sim replay {}", out.display());
    if let Some(mutant) = mutant {
        command += &format!(" --mutant {mutant}");
    }
    if args.json {
        say(&format!("{}\n", json(&shrunk, millis, &out, &command)));
    } else {
        let end = if shrunk.is_finished { "nothing more can be left out" } else { "the time was up" };
        say(&format!(
            "shrunk: {}; {} runs in {}.{} s, {end}\n",
            shrunk.before.until(&shrunk.after),
            shrunk.runs,
            millis / 1000,
            millis % 1000 / 100
        ));
        say(&shrunk.report.story(&command));
    }
    Ok(shrunk.report.failure.map_or(ExitCode::SUCCESS, |failure| ExitCode::from(failure.kind.exit_code())))
}

/// The plan to shrink, with what is known of its build, and the name that the small one's file begins with.
fn failing(args: &ShrinkArgs) -> Result<(Capsule, String), String> {
    let path = &args.failing;
    let what = path.display();
    if let Some(seed) = args.seed {
        let name = path.to_str().ok_or_else(|| format!("{what} is no name of a scenario"))?;
        let scenarios = find(name)?;
        let [found] = &scenarios[..] else {
            return Err(format!("{what} holds {} scenarios: name one of them", scenarios.len()));
        };
        let capsule = Capsule { plan: plan(&found.scenario, seed), shrunk: None, environment: None };
        return Ok((capsule, format!("{}-{seed}", found.scenario.name)));
    }
    if !path.exists() || path.extension().is_some_and(|it| it == "toml") {
        return Err(format!("{what} is no capsule and no plan; of a scenario, give the seed that failed: --seed N"));
    }
    Ok((open(path, args.anyway)?, path.with_extension("").to_string_lossy().into_owned()))
}

/// Writes a plan so that people can read it.
pub(crate) fn write_plan(path: &Path, plan: &Plan) -> Result<(), String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(path, plan.to_text())).map_err(|error| format!("{}: {error}", path.display()))
}

fn json(shrunk: &Shrunk, millis: u64, out: &Path, command: &str) -> serde_json::Value {
    let size = |size: shrink::Size| {
        serde_json::json!({
            "faults": size.faults,
            "operations": size.operations,
            "clients": size.clients,
            "queues": size.queues,
            "chaos_us": size.chaos_us,
        })
    };
    serde_json::json!({
        "before": size(shrunk.before),
        "after": size(shrunk.after),
        "runs": shrunk.runs,
        "millis": millis,
        "is_finished": shrunk.is_finished,
        "plan": out,
        "report": shrunk.report.json(command),
    })
}

/// How long a search takes, shown and limited.
pub(crate) struct Watch {
    clock: Stopwatch,
    budget_ms: u64,
    bar: ProgressBar,
}

impl Watch {
    /// Begins to count.
    pub(crate) fn start(budget_s: u64, is_quiet: bool) -> Self {
        let budget_ms = budget_s.saturating_mul(1000);
        let bar = if is_quiet || !std::io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            let style = ProgressStyle::with_template("{bar:40} {elapsed} of {prefix} s: {msg}");
            ProgressBar::new(budget_ms)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                .with_prefix(budget_s.to_string())
        };
        Self { clock: Stopwatch::start(), budget_ms, bar }
    }

    /// Whether there is time left.
    pub(crate) fn goes_on(&self, progress: &Progress) -> bool {
        let millis = self.clock.millis();
        self.bar.set_position(millis.min(self.budget_ms));
        if progress.runs.is_multiple_of(16) {
            self.bar.set_message(format!("{}, {} runs", progress.size, progress.runs));
        }
        millis < self.budget_ms
    }

    /// Takes the bar away; how long it took, in milliseconds.
    pub(crate) fn stop(self) -> u64 {
        self.bar.finish_and_clear();
        self.clock.millis()
    }
}
