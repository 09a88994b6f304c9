//! Failure capsules: a folder with all that is needed to repeat a failure, and to understand it.
//!
//! | file | what |
//! | --- | --- |
//! | `plan.json` | the plan of the run that failed |
//! | `shrunk.json` | the smallest plan known to fail in the same way, if one was looked for |
//! | `trace.ndjson` | what happened, one JSON object per line; of the shrunk plan if there is one |
//! | `report.html` | the same as a picture; opens from disk |
//! | `summary.md` | the story, for a step summary or a bug report |
//! | `environment.json` | the build it comes from |

mod environment;
mod summary;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use self::environment::Environment;
use crate::explain::{Explanation, explain};
use crate::html::{Page, Run, page};
use crate::plan::{FORMAT, Plan};
use crate::record::Recording;
use crate::report::Report;
use crate::run::{RunOptions, record};
use crate::shrink::Size;

/// A capsule, read from its folder, or a plan from its file.
#[derive(Clone, Debug)]
pub struct Capsule {
    /// The plan of the run that failed.
    pub plan: Plan,
    /// The smallest plan known to fail in the same way.
    pub shrunk: Option<Plan>,
    /// The build it comes from; `None` for a plan that stands alone.
    pub environment: Option<Environment>,
}

/// One recorded run with its explanation.
#[derive(Debug)]
pub struct Recorded {
    /// What came of it.
    pub report: Report,
    /// What happened.
    pub recording: Recording,
    /// Why it failed; `None` if it did not.
    pub explanation: Option<Explanation>,
}

impl Recorded {
    /// Runs a plan and records it.
    pub fn of(plan: &Plan, options: RunOptions, repeat: &str) -> Self {
        let (report, recording) = record(plan.clone(), options);
        let explanation = explain(&report, &recording, repeat);
        Self { report, recording, explanation }
    }
}

/// Runs a failing plan, and the shrunk one if there is one, and writes a capsule into a folder of its own under `folder`. Returns
/// that folder.
///
/// # Errors
/// If a plan does not fail, or a file cannot be written.
pub fn write(folder: &Path, plan: &Plan, shrunk: Option<&Plan>, options: RunOptions) -> Result<PathBuf, String> {
    let full = Recorded::of(plan, options, "");
    let Some(failure) = &full.report.failure else {
        return Err(format!(
            "the plan of {} with seed {} does not fail: there is nothing to keep",
            plan.scenario, plan.seed
        ));
    };
    let into = folder.join(name(failure.oracle, &plan.scenario, plan.seed));
    let repeat = format!("leveret-sim replay {}", into.display());
    let small = shrunk.map(|shrunk| Recorded::of(shrunk, options, &repeat));
    let full = Recorded { explanation: explain(&full.report, &full.recording, &repeat), ..full };
    if small.as_ref().is_some_and(|small| small.explanation.is_none()) {
        return Err(format!("the shrunk plan of {} with seed {} does not fail", plan.scenario, plan.seed));
    }
    let environment = Environment::of(&options);
    let shrinking = shrunk.map(|shrunk| (Size::of(plan), Size::of(shrunk)));
    let files = files(&full, small.as_ref(), &environment, shrinking)?;
    std::fs::create_dir_all(&into).map_err(|error| format!("{}: {error}", into.display()))?;
    let plans = [("plan.json", Some(plan.to_text())), ("shrunk.json", shrunk.map(Plan::to_text))];
    let plans = plans.into_iter().filter_map(|(name, text)| Some((name, text?)));
    for (name, text) in plans.chain(files) {
        let path = into.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(into)
}

/// The files that tell what happened.
fn files(
    full: &Recorded,
    small: Option<&Recorded>,
    environment: &Environment,
    shrinking: Option<(Size, Size)>,
) -> Result<Vec<(&'static str, String)>, String> {
    let best = small.unwrap_or(full);
    let environment_text = serde_json::to_string_pretty(environment).map_err(|error| error.to_string())?;
    Ok(vec![
        ("trace.ndjson", best.recording.ndjson()),
        ("report.html", html(full, small, environment, shrinking)?),
        ("summary.md", summary::summary(best, environment, shrinking)),
        ("environment.json", environment_text),
    ])
}

/// The page that shows a run and, if there is one, the shrunk run beside it.
///
/// # Errors
/// If the run has no failure to show.
pub fn html(
    full: &Recorded,
    small: Option<&Recorded>,
    environment: &Environment,
    shrinking: Option<(Size, Size)>,
) -> Result<String, String> {
    let runs = [small.map(|small| ("shrunk", small)), Some((if small.is_some() { "as found" } else { "run" }, full))];
    let mut shown = Vec::new();
    for (label, recorded) in runs.into_iter().flatten() {
        let Some(explanation) = &recorded.explanation else {
            return Err("the run did not fail: there is nothing to show".to_owned());
        };
        shown.push(Run { label, report: &recorded.report, recording: &recorded.recording, explanation });
    }
    Ok(page(&Page { runs: shown, build: environment.build(), rustc: &environment.rustc, shrinking }))
}

/// The folder of a capsule: what is wrong, where, and the seed.
fn name(oracle: &str, scenario: &str, seed: u64) -> String {
    let plain = |text: &str| {
        let text: String =
            text.chars().map(|it| if it.is_ascii_alphanumeric() { it.to_ascii_lowercase() } else { '-' }).collect();
        text.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
    };
    format!("{}-{}-{seed}", plain(oracle), plain(scenario))
}

/// Reads a capsule's folder, or a plan.
///
/// # Errors
/// If there is none, or it cannot be read; or, unless `anyway`, if it comes from another build.
pub fn open(path: &Path, anyway: bool) -> Result<Capsule, String> {
    let is_folder = path.is_dir();
    let folder = if is_folder { Some(path) } else { path.parent() };
    let beside = |name: &str| folder.map(|folder| folder.join(name)).filter(|file| file.is_file());
    if is_folder && beside("plan.json").is_none() {
        return Err(format!("{} is no capsule: it holds no plan.json", path.display()));
    }
    let plan = read_plan(&if is_folder { path.join("plan.json") } else { path.to_owned() })?;
    let shrunk = beside("shrunk.json").filter(|_| is_folder).map(|file| read_plan(&file)).transpose()?;
    let environment = match beside("environment.json") {
        Some(file) => {
            let read: Environment =
                serde_json::from_str(&read(&file)?).map_err(|error| format!("{}: {error}", file.display()))?;
            let differences = Environment::of(&RunOptions::default()).differences(&read);
            if !differences.is_empty() && !anyway {
                return Err(format!(
                    "{} comes from another build, in which it may run differently:\n  {}\nbuild that one to repeat the \
                     failure, or give --anyway to see what the plan does in this one",
                    path.display(),
                    differences.join("\n  ")
                ));
            }
            Some(read)
        }
        None => None,
    };
    Ok(Capsule { plan, shrunk, environment })
}

fn read_plan(path: &Path) -> Result<Plan, String> {
    let value: serde_json::Value =
        serde_json::from_str(&read(path)?).map_err(|error| format!("{} is no plan: {error}", path.display()))?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(format) if format == u64::from(FORMAT) => {}
        Some(format) => {
            return Err(format!("{} has format {format}, this program reads {FORMAT}", path.display()));
        }
        None => return Err(format!("{} is no plan: it names no format", path.display())),
    }
    serde_json::from_value(value).map_err(|error| format!("{} is no plan: {error}", path.display()))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Keeps one capsule of each kind of failure, the first.
#[derive(Debug, Default)]
pub struct Collection {
    /// Failures by promise and signature: the capsule's folder, and how often it was seen.
    kinds: BTreeMap<String, (PathBuf, u64)>,
}

impl Collection {
    /// Writes the capsule of a failure, unless one of its kind is there.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, folder: &Path, report: &Report, plan: &Plan, options: RunOptions) -> Result<(), String> {
        let Some(failure) = &report.failure else { return Ok(()) };
        let signature = failure.signature();
        if let Some((_, count)) = self.kinds.get_mut(&signature) {
            *count += 1;
            return Ok(());
        }
        let written = write(folder, plan, None, options)?;
        self.kinds.insert(signature, (written, 1));
        Ok(())
    }

    /// What was kept, one line each; empty if nothing was.
    pub fn text(&self) -> String {
        let line = |(folder, count): &(PathBuf, u64)| match count {
            1 => format!("saved {}\n", folder.display()),
            count => format!("saved {}, and seen {} more times\n", folder.display(), count - 1),
        };
        self.kinds.values().map(line).collect()
    }
}
