//! `leveret-sim perf`: a load generator and latency meter over real sockets.
//!
//! Unlike everything else in this crate it lives in the real world, with its clock, threads and sockets. It measures any broker
//! that speaks AMQP 0-9-1, and keeps an account of every message meanwhile. To cost little, publishes are prepared once and
//! stamped in place, many are written at once, and deliveries are read where they lie.

mod backlog;
mod churn;
mod clock;
mod compare;
mod consumer;
mod counters;
mod expiry;
mod histogram;
mod ledger;
mod link;
mod micro;
mod options;
mod page;
mod plot;
mod process;
mod producer;
mod report;
mod run;
mod slow_reader;
mod uri;
mod worker;

use std::process::ExitCode;

use clap::{Args as _, FromArgMatches as _};

pub use self::options::Options;
use self::options::{Load, Task};
use self::report::{Live, say, say_json, table};

/// A message was lost, duplicated, out of order or corrupted, or a bound did not hold.
const NOT_AS_PROMISED: u8 = 2;

/// Carries out what the command line asks for.
///
/// # Errors
/// What kept it from measuring, in words.
pub fn main(options: &Options) -> Result<ExitCode, String> {
    let is_good = match &options.task {
        None => load(&options.load)?,
        Some(Task::Compare(options)) => compare::main(options)?,
        Some(Task::Churn(options)) => churn::main(options)?,
        Some(Task::Idle(options)) => churn::idle_main(options)?,
        Some(Task::Micro(options)) => micro::main(options)?,
        Some(Task::Backlog(options)) => backlog::main(options)?,
        Some(Task::Expiry(options)) => expiry::main(options)?,
        Some(Task::SlowReader(options)) => slow_reader::main(options)?,
    };
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(NOT_AS_PROMISED) })
}

/// Carries out what these words of a command line ask for, the first of which is a name that is not looked at.
///
/// # Errors
/// What is wrong with the command line, or what kept it from measuring, in words.
pub fn main_with(args: &[&str]) -> Result<ExitCode, String> {
    let matches = Options::augment_args(clap::Command::new("perf")).try_get_matches_from(args);
    let options = matches.and_then(|matches| Options::from_arg_matches(&matches));
    main(&options.map_err(|error| error.to_string())?)
}

fn load(options: &Load) -> Result<bool, String> {
    let workload = options.workload()?;
    let mut live = Live::new("", options.json);
    let mut course = Vec::new();
    let outcome = run::run(&options.uri, &workload, |progress| {
        course.push(progress);
        live.show(progress);
    })?;
    drop(live);
    if let Some(file) = &options.html {
        std::fs::write(file, page::page(&page::command(std::env::args()), &outcome, &course))
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    if options.json {
        say_json(&outcome)?;
    } else {
        say(&table(&outcome));
    }
    Ok(outcome.verdict.is_none_or(|verdict| verdict.is_clean()))
}
