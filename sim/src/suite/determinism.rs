//! Whether a seed gives the same run twice: here, and in a process of its own with another number of threads.
//!
//! The child is this program's hidden verb `hashes`. It is told runs on its standard input, one a line as `seed scenario`, and answers
//! with `hash seed scenario`, in any order. Asked for steps, it answers with those of one run, one a line.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::entry::Entry;
use super::tally::{Cell, Tally};
use crate::run::{RunOptions, plan};
use crate::steps::run_steps;

/// Steps shown before the first that differs.
const CONTEXT: usize = 20;

/// What the check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Runs made twice.
    pub(crate) compared: usize,
    /// Runs that were to be made twice and were not, for want of time.
    pub(crate) left: usize,
    /// How many of them differed.
    pub(crate) differed: usize,
    /// The first of these.
    pub(crate) divergence: Option<Divergence>,
}

/// A run that was not the same twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Divergence {
    /// The scenario's name.
    pub(crate) scenario: String,
    /// The seed.
    pub(crate) seed: u64,
    /// The trace hash in this process.
    pub(crate) here: u64,
    /// The trace hash in the other.
    pub(crate) there: u64,
    /// Where it begins, if it differed when it was looked at again.
    pub(crate) step: Option<FirstStep>,
}

/// The first step in which two runs differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FirstStep {
    /// Its number, the first being 1.
    pub(crate) number: usize,
    /// The steps before it.
    pub(crate) before: Vec<String>,
    /// What happened in this process; `None` if it was over.
    pub(crate) here: Option<String>,
    /// What happened in the other.
    pub(crate) there: Option<String>,
}

/// The other process.
#[derive(Clone, Debug)]
pub(crate) struct Twin {
    /// The program; as a rule this one.
    pub(crate) program: PathBuf,
    /// The scenarios, as the suite was given them.
    pub(crate) what: Vec<String>,
    /// Its threads.
    pub(crate) jobs: usize,
    /// Disturbs its runs, for a test.
    pub(crate) wrinkle: Option<u64>,
}

/// Has one in `every` runs of a suite made again by the other process and compares. `each` hears of every run compared and says whether
/// there is time for more.
///
/// # Errors
/// If the other process cannot be started, or does not do what it should.
pub(crate) fn check(
    twin: &Twin,
    entries: &[Entry],
    tally: &Tally,
    every: usize,
    mut each: impl FnMut() -> bool,
) -> Result<Outcome, String> {
    let mut cells: Vec<&Cell> = tally.scenarios.iter().flat_map(|scenario| &scenario.cells).collect();
    cells.sort_by_key(|cell| cell.item.order);
    let cells: Vec<&Cell> = cells.into_iter().step_by(every.max(1)).collect();
    let mut left: BTreeMap<(String, u64), &Cell> =
        cells.iter().map(|&cell| ((entries[cell.item.entry].name().to_owned(), cell.item.seed), cell)).collect();
    let mut differing = Vec::new();
    let runs = cells.iter().map(|cell| (entries[cell.item.entry].name(), cell.item.seed)).collect::<Vec<_>>();
    twin.ask(&runs, false, |line| {
        let (hash, seed, scenario) = parse_answer(line).ok_or_else(|| unexpected(line))?;
        let cell = left.remove(&(scenario.to_owned(), seed)).ok_or_else(|| unexpected(line))?;
        if hash != cell.trace {
            differing.push((cell, hash));
        }
        Ok(each())
    })?;
    let left = left.len();
    let first = differing.iter().min_by_key(|(cell, _)| cell.item.order);
    let divergence = first.map(|&(cell, there)| twin.look_closer(entries, cell, there)).transpose()?;
    Ok(Outcome { compared: cells.len() - left, left, differed: differing.len(), divergence })
}

impl Twin {
    /// Asks for runs. `each` gets the answers, and says whether it wants more.
    fn ask(
        &self,
        runs: &[(&str, u64)],
        steps: bool,
        mut each: impl FnMut(&str) -> Result<bool, String>,
    ) -> Result<(), String> {
        let mut command = Command::new(&self.program);
        command.arg("hashes").arg("--jobs").arg(self.jobs.to_string());
        if let Some(event) = self.wrinkle {
            command.arg("--wrinkle").arg(event.to_string());
        }
        if steps {
            command.arg("--steps");
        }
        command.arg("--").args(&self.what).stdin(Stdio::piped()).stdout(Stdio::piped());
        let problem = |error: std::io::Error| format!("{}: {error}", self.program.display());
        let mut child = Running(command.spawn().map_err(problem)?);
        let list: String = runs.iter().map(|(scenario, seed)| format!("{seed} {scenario}\n")).collect();
        // It reads all of them before it answers the first, so that neither waits for the other for ever.
        child.0.stdin.take().expect("it is piped").write_all(list.as_bytes()).map_err(problem)?;
        let answers = BufReader::new(child.0.stdout.take().expect("it is piped"));
        for answer in answers.lines() {
            if !each(&answer.map_err(problem)?)? {
                return Ok(());
            }
        }
        let status = child.0.wait().map_err(problem)?;
        if status.success() { Ok(()) } else { Err(format!("{} hashes: {status}", self.program.display())) }
    }

    /// Makes both runs again, step by step.
    fn look_closer(&self, entries: &[Entry], cell: &Cell, there: u64) -> Result<Divergence, String> {
        let entry = &entries[cell.item.entry];
        let seed = cell.item.seed;
        let here = run_steps(plan(&entry.scenario, seed), RunOptions::default());
        let mut number = 0;
        let mut step = None;
        self.ask(&[(entry.name(), seed)], true, |line| {
            number += 1;
            if here.get(number - 1).map(String::as_str) != Some(line) {
                step = Some(first_step(&here, number, Some(line.to_owned())));
            }
            Ok(step.is_none())
        })?;
        if step.is_none() && number < here.len() {
            step = Some(first_step(&here, number + 1, None));
        }
        Ok(Divergence { scenario: entry.name().to_owned(), seed, here: cell.trace, there, step })
    }
}

fn first_step(here: &[String], number: usize, there: Option<String>) -> FirstStep {
    let end = (number - 1).min(here.len());
    let before = here[end.saturating_sub(CONTEXT)..end].to_vec();
    FirstStep { number, before, here: here.get(number - 1).cloned(), there }
}

fn parse_answer(line: &str) -> Option<(u64, u64, &str)> {
    let (hash, rest) = line.split_once(' ')?;
    let (seed, scenario) = rest.split_once(' ')?;
    Some((u64::from_str_radix(hash, 16).ok()?, seed.parse().ok()?, scenario))
}

fn unexpected(line: &str) -> String {
    format!("the other process answered what it was not asked: {line}")
}

/// A child that does not outlive its use.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Divergence {
    /// It for people.
    pub(crate) fn story(&self) -> String {
        let Self { scenario, seed, here, there, step } = self;
        let mut out = format!(
            "DIVERGED {scenario}  seed={seed}\n  trace {here:016x} in this process, {there:016x} in the other\n"
        );
        let Some(FirstStep { number, before, here, there }) = step else {
            out.push_str("  it was the same both times when it was looked at again: it differs by chance\n");
            return out;
        };
        out.push_str(&format!("  event {number} is the first that differs:\n"));
        for (at, line) in before.iter().enumerate() {
            out.push_str(&format!("  {:>9}  {line}\n", number - before.len() + at));
        }
        for (where_, line) in [("here", here), ("there", there)] {
            out.push_str(&format!("  {where_:>9}  {}\n", line.as_deref().unwrap_or("the run is over")));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_comes_with_those_before_it() {
        let here: Vec<String> = (1..=30).map(|number| format!("step {number}")).collect();
        let step = first_step(&here, 25, Some("another".to_owned()));
        assert_eq!((step.before.len(), step.before[0].as_str()), (20, "step 5"));
        assert_eq!((step.here.as_deref(), step.there.as_deref()), (Some("step 25"), Some("another")));
        let over = first_step(&here, 31, Some("more".to_owned()));
        assert_eq!((over.here, over.before.last().map(String::as_str)), (None, Some("step 30")));
        let divergence = Divergence { scenario: "x".to_owned(), seed: 3, here: 1, there: 2, step: Some(step) };
        let story = divergence.story();
        assert!(story.contains("event 25 is the first") && story.contains("        5  step 5\n"), "{story}");
        assert!(story.ends_with("     here  step 25\n      there  another\n"), "{story}");
    }

    #[test]
    fn an_answer_is_a_hash_a_seed_and_a_name() {
        assert_eq!(parse_answer("00000000000000ff 7 my own"), Some((255, 7, "my own")));
        assert_eq!(parse_answer("leveret-sim: no"), None);
    }
}
