//! `leveret-sim suite`: many seeds of many scenarios, for people and for CI.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::find::{find_all, read};
use super::progress::{Progress, Stopwatch};
use super::say;
use super::shrink::Watch;
use crate::capsule::{self, Environment};
use crate::run::{RunOptions, plan, run_plan};
use crate::shrink::shrink;
use crate::suite::agenda::Agenda;
use crate::suite::determinism::{self, Twin};
use crate::suite::entry::{Entry, entries};
use crate::suite::page::Page;
use crate::suite::tally::Tally;
use crate::suite::verdict::{Gate, Verdict};
use crate::suite::{canary, corpus, json, junit, summary, table};

/// Seeds of each scenario, unless a number or a time is asked for.
const SEEDS: u64 = 50;

const HELP: &str = "Exit codes: 0 all is well, 1 wrong usage, 2 a promise broken (safety), 3 something never happened (liveness), \
4 the engine panicked, 5 something was never tried (--cover, or what a scenario expects), 6 a seed did not give the same run twice \
(--check-determinism). With several failures the lowest of 2 to 4 counts.\n\n\
Examples:\n  \
leveret-sim suite                                      all built-in scenarios, 50 seeds each\n  \
leveret-sim suite my-scenarios --time-budget 5m        a folder of your own, for five minutes\n  \
leveret-sim suite scenarios/fast --seeds 200 --cover --junit junit.xml --html out\n  \
leveret-sim suite --check-determinism=20               one in 20 runs is made again in another process\n  \
leveret-sim suite --corpus corpus.txt                  keeps the runs that came first to each situation,\n  \
leveret-sim suite --only-corpus corpus.txt --cover     which show in seconds that all of it is still tried\n  \
leveret-sim suite --canary                             has to fail: shows that failures get through to you";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct SuiteArgs {
    /// Built-in scenarios' names, scenario files and folders of them, with what is in their folders; all built-in scenarios if left out.
    what: Vec<String>,
    /// Seeds of each scenario; 50, or as many as there is time for. A scenario about one seed is run once.
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    from: u64,
    /// Threads; each run uses one. As many as there are cores, if left out.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Begins no run after this time, such as 90s, 5m or 1h.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    time_budget: Option<u64>,
    /// Fails if some promise was never at stake in any scenario, or some situation never came up.
    #[arg(long, conflicts_with = "no_cover")]
    cover: bool,
    /// Does not even fail if a scenario never comes to what it says it has to.
    #[arg(long)]
    no_cover: bool,
    /// Makes every K-th run again, in a process of its own with another number of threads: the trace hashes have to be equal.
    #[arg(long, value_name = "K", num_args = 0..=1, require_equals = true, default_missing_value = "1",
          value_parser = clap::value_parser!(u64).range(1..))]
    check_determinism: Option<u64>,
    /// The other process is this program, which may be built in another way.
    #[arg(long, value_name = "PROGRAM", requires = "check_determinism")]
    against: Option<PathBuf>,
    /// Writes a JUnit report.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Runs in one test case of the JUnit report.
    #[arg(long, value_name = "SEEDS", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Writes index.html into this folder, and what --save saves into its folder failures.
    #[arg(long, value_name = "DIR")]
    html: Option<PathBuf>,
    /// Adds a summary in Markdown to the end of this file, such as "$GITHUB_STEP_SUMMARY".
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Keeps the failure that comes soonest, of each kind in each scenario, in a folder of its own in this one.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Makes what is kept of each kind of failure smaller first, for so many seconds at most; 0 keeps it as it is.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    shrink: u64,
    /// Writes the runs that came first to each promise and situation.
    #[arg(long, value_name = "FILE")]
    corpus: Option<PathBuf>,
    /// Makes just the runs of a corpus.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seeds", "from", "canary"])]
    only_corpus: Option<PathBuf>,
    /// Adds a scenario that has to fail, to see that a failure gets through.
    #[arg(long)]
    canary: bool,
    /// Prints one JSON object at the end, and nothing else.
    #[arg(long)]
    json: bool,
    /// Disturbs the runs of the other process, for testing --check-determinism.
    #[arg(long, hide = true, value_name = "EVENT")]
    wrinkle: Option<u64>,
}

/// Makes the runs and writes all that was asked for.
pub(super) fn suite(args: &SuiteArgs) -> Result<ExitCode, String> {
    let mut entries = entries(find_all(&args.what)?)?;
    let mut lines = match &args.only_corpus {
        Some(path) => corpus::parse(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))?,
        None => Vec::new(),
    };
    if args.only_corpus.is_some() {
        // Of the others nothing is asked.
        entries.retain(|entry| lines.iter().any(|line| line.scenario == entry.name()));
    }
    if args.canary {
        entries.push(canary::entry());
    }
    let agenda = match args.only_corpus {
        Some(_) => corpus::agenda(&mut lines, &entries)?,
        None => {
            let seeds = args.seeds.or_else(|| args.time_budget.is_none().then_some(SEEDS));
            Agenda::turns(&entries, args.from, seeds)
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.map_or(cores, usize::from);
    let clock = Stopwatch::start();

    // What is made again needs its time, too.
    let budget = args.time_budget.map(|millis| match args.check_determinism {
        Some(every) => millis / (every + 1) * every,
        None => millis,
    });
    let mut bar = Progress::new(agenda.len(), args.json);
    let mut tally = Tally::new(entries.len());
    let mut stale = Vec::new();
    agenda.run(&entries, jobs, RunOptions::default(), |done| {
        if let Some(line) = lines.get(done.item.order) {
            let missing = corpus::missing(line, &done.report);
            stale.extend(missing.into_iter().map(|mark| (line.scenario.clone(), line.seed, mark)));
        }
        tally.add(&entries, done);
        bar.step(tally.failures());
        budget.is_none_or(|budget| clock.millis() < budget)
    });
    bar.finish();
    tally.finish();

    let check = check(args, &entries, &tally, jobs, clock)?;
    let gate = match (args.cover, args.no_cover) {
        (true, _) => Gate::Whole,
        (false, true) => Gate::Off,
        (false, false) => Gate::Own,
    };
    let verdict = Verdict::of(&entries, &tally, gate, check.as_ref());
    let wall_ms = clock.millis();
    save(args, &entries, &mut tally, RunOptions::default())?;
    let suite = Outcome { entries, tally, verdict, gate, check, stale, wall_ms, build: build() };
    suite.write(args)?;
    say(&if args.json { suite.json() } else { suite.text() });
    Ok(ExitCode::from(suite.verdict.exit_code()))
}

/// All that came of a suite.
struct Outcome {
    entries: Vec<Entry>,
    tally: Tally,
    verdict: Verdict,
    gate: Gate,
    check: Option<determinism::Outcome>,
    /// What runs of the corpus no longer come to.
    stale: Vec<(String, u64, String)>,
    wall_ms: u64,
    build: String,
}

impl Outcome {
    /// Writes the files that were asked for.
    fn write(&self, args: &SuiteArgs) -> Result<(), String> {
        let Self { entries, tally, verdict, gate, build, wall_ms, .. } = self;
        let check = self.check.as_ref();
        if let Some(path) = &args.junit {
            let batch = usize::from(args.batch);
            write(path, &junit::document(entries, tally, verdict, *gate, check, build, batch))?;
        }
        if let Some(folder) = &args.html {
            let page = Page { entries, tally, verdict, check, build, wall_ms: *wall_ms, folder };
            write(&folder.join("index.html"), &page.html())?;
        }
        if let Some(path) = &args.summary {
            let before = if path.exists() { read(path)? } else { String::new() };
            write(path, &(before + &summary::page(entries, tally, verdict, check, build, *wall_ms)))?;
        }
        if let Some(path) = &args.corpus {
            write(path, &corpus::write(&corpus::collect(entries, tally)))?;
        }
        Ok(())
    }

    /// It for programs.
    fn json(&self) -> String {
        let Self { entries, tally, verdict, check, build, wall_ms, .. } = self;
        format!("{}\n", json::suite(entries, tally, verdict, check.as_ref(), build, *wall_ms))
    }

    /// It for people.
    fn text(&self) -> String {
        let Self { entries, tally, verdict, .. } = self;
        let mut out = table::scenarios(entries, tally);
        out += &table::marks("how often each promise was at stake", entries, &tally.promises(entries));
        out += &table::marks("how often it came to", entries, &tally.situations(entries));
        out += &table::failures(entries, tally);
        for (scenario, seed, mark) in &self.stale {
            out += &format!("the corpus is old: {scenario} {seed} no longer comes to: {mark}\n");
        }
        for (scenario, text) in &verdict.unmet {
            out += &format!("{scenario} {text}\n");
        }
        for name in &verdict.untried {
            out += &format!("never: {name}\n");
        }
        if let Some(outcome) = &self.check {
            out += &checked(outcome);
        }
        let millis = self.wall_ms.max(1);
        out += &format!(
            "{}: {} runs, {} failed; {}, {} runs/s, {} engine events/s\n",
            verdict.text(),
            tally.runs,
            tally.failures(),
            table::duration(millis.saturating_mul(1000)),
            tally.runs * 1000 / millis,
            tally.engine_events * 1000 / millis,
        );
        out
    }
}

/// Has runs made again by another process, if that is asked for.
fn check(
    args: &SuiteArgs,
    entries: &[Entry],
    tally: &Tally,
    jobs: usize,
    clock: Stopwatch,
) -> Result<Option<determinism::Outcome>, String> {
    let Some(every) = args.check_determinism else { return Ok(None) };
    let program = match &args.against {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(|error| format!("this program's own file: {error}"))?,
    };
    // The canary has no name of its own among what was asked for.
    let built_in = if args.canary && args.what.is_empty() { find_all(&[])? } else { Vec::new() };
    let canary = args.canary.then(|| canary::NAME.to_owned());
    let what = args.what.iter().cloned().chain(built_in.into_iter().map(|found| found.place)).chain(canary).collect();
    let twin = Twin { program, what, jobs: jobs + 1, wrinkle: args.wrinkle };
    let every = usize::try_from(every).unwrap_or(usize::MAX);
    let again = usize::try_from(tally.runs).unwrap_or(usize::MAX).div_ceil(every);
    let mut bar = Progress::new(Some(again), args.json);
    let outcome = determinism::check(&twin, entries, tally, every, || {
        bar.step(0);
        args.time_budget.is_none_or(|budget| clock.millis() < budget)
    })?;
    bar.finish();
    Ok(Some(outcome))
}

fn checked(outcome: &determinism::Outcome) -> String {
    let left = match outcome.left {
        0 => String::new(),
        left => format!(" (there was no time for {left} more)"),
    };
    let sum =
        format!("made again in another process: {} runs, {} differed{left}\n", outcome.compared, outcome.differed);
    outcome.divergence.as_ref().map(determinism::Divergence::story).unwrap_or_default() + &sum
}

/// Keeps the failures that stand for the others, each in a capsule. Of each kind the one that comes soonest is made smaller.
fn save(args: &SuiteArgs, entries: &[Entry], tally: &mut Tally, options: RunOptions) -> Result<(), String> {
    let folder = args.save.clone().or_else(|| args.html.as_ref().map(|html| html.join("failures")));
    let Some(folder) = folder else { return Ok(()) };
    for group in &mut tally.groups {
        let simplest = group.example().item;
        for (&entry, example) in &mut group.soonest {
            let plan = plan(&entries[entry].scenario, example.item.seed);
            let is_simplest = example.item.order == simplest.order && args.shrink > 0;
            let failure = if is_simplest { run_plan(plan.clone(), options).failure } else { None };
            let shrunk = failure.map(|failure| {
                let watch = Watch::start(args.shrink, args.json);
                let shrunk = shrink(&plan, &failure, options, &mut |progress| watch.goes_on(progress));
                watch.stop();
                shrunk.plan
            });
            example.saved = Some(capsule::write(&folder, &plan, shrunk.as_ref(), options)?);
        }
    }
    Ok(())
}

/// What program this is.
fn build() -> String {
    format!("leveret-sim {}", Environment::of(&RunOptions::default()).build())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(path, text)).map_err(|error| format!("{}: {error}", path.display()))
}

/// A time in milliseconds.
fn parse_time(text: &str) -> Result<u64, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a time is a number with its unit: 500ms, 90s, 5m or 1h".to_owned()),
    };
    let number: u64 = text[..digits].parse().map_err(|_| "a time begins with a number: 90s, 5m or 1h".to_owned())?;
    number.checked_mul(millis).ok_or_else(|| "that is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        for (text, millis) in [("500ms", 500), ("90s", 90_000), ("5m", 300_000), ("5min", 300_000), ("1h", 3_600_000)] {
            assert_eq!(parse_time(text), Ok(millis), "{text}");
        }
        for text in ["", "5", "m", "5 m", "1d", "99999999999999999999s", "99999999999999999h"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
