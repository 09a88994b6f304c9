//! The command line of `leveret-sim`.

mod explain;
pub(crate) mod find;
mod hashes;
mod how;
pub(crate) mod progress;
mod replay;
mod run;
pub(crate) mod shrink;
mod suite;
mod total;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::run::{RunOptions, collect_panics};
use crate::scenario::Scenario;

/// Runs Leveret's real engine in simulated worlds of clients, a disk and their faults, and looks for broken promises.
///
/// A seed decides everything: the same seed gives the same run to the byte, shown by its trace hash.
#[derive(Debug, Parser)]
#[command(name = "leveret-sim", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 all promises kept, 1 wrong usage, 2 a promise broken (safety), \
3 something never happened (liveness), 4 the engine panicked, 5 something that was expected, or with --cover anything, never happened, \
6 a seed did not give the same run twice (--check-determinism), 7 too slow (speed).\n\n\
Examples:\n  \
leveret-sim run                        all built-in scenarios, 20 seeds each\n  \
leveret-sim run --seeds 2000           more of them\n  \
leveret-sim run power-loss --seed 7    one run again\n  \
leveret-sim run my.toml --save out     a scenario of your own; failures go to out/\n  \
leveret-sim suite --seeds 200 --html out --cover    all of them, with a page about it\n  \
leveret-sim explain out/FAILURE        why, in ten lines; out/FAILURE/report.html is the picture\n  \
leveret-sim replay out/FAILURE         the same run again\n  \
leveret-sim shrink out/FAILURE         the smallest run that fails like it";

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs seeds of one scenario, or of all built-in ones.
    Run(run::RunArgs),
    /// Runs many seeds of many scenarios, as a gate for a merge: with JUnit, an HTML page and checks of coverage and determinism.
    Suite(suite::SuiteArgs),
    /// Runs the plan of a failure capsule, or any plan, again.
    Replay(replay::ReplayArgs),
    /// Cuts a failing run down to the few faults and operations that it takes.
    Shrink(shrink::ShrinkArgs),
    /// Tells in ten lines why a run fails: what was promised, what happened, what should have been.
    Explain(explain::ExplainArgs),
    /// Makes the runs that standard input names and prints their trace hashes, for `suite --check-determinism`.
    #[command(hide = true)]
    Hashes(hashes::HashesArgs),
    /// Lists the built-in scenarios, or the kinds of faults.
    List {
        /// Lists the kinds of faults: which of them one node's claim covers, and what is expected of a node that meets them.
        #[arg(long)]
        faults: bool,
    },
    /// Runs planted bugs until each is caught. Needs a program built with `--features mutants`.
    #[cfg(feature = "mutants")]
    Mutants(crate::mutants::MutantArgs),
    Speed(crate::speed::SpeedArgs),
    /// Loads a running broker over real sockets, measures it, and checks every message meanwhile.
    Perf(Box<crate::perf::Options>),
    /// Says whether a topology exported from RabbitMQ can lose messages, and how.
    Topology(Box<crate::topology::TopologyArgs>),
}

/// The whole program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(1) } else { ExitCode::SUCCESS };
        }
    };
    collect_panics();
    let result = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Suite(args) => suite::suite(&args),
        Command::Hashes(args) => hashes::hashes(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Shrink(args) => shrink::shrink(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::List { faults: true } => {
            say(&crate::atlas::table());
            Ok(ExitCode::SUCCESS)
        }
        Command::List { faults: false } => {
            for (folder, scenario) in Scenario::all() {
                say(&format!("{folder:12} {:32} {}\n", scenario.name, scenario.about));
            }
            Ok(ExitCode::SUCCESS)
        }
        #[cfg(feature = "mutants")]
        Command::Mutants(args) => crate::mutants::main(&args),
        Command::Speed(args) => crate::speed::main(&args),
        Command::Perf(options) => crate::perf::main(&options),
        Command::Topology(args) => crate::topology::main(&args),
    };
    result.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "leveret-sim: {error}");
        ExitCode::from(1)
    })
}

/// How runs are made, as far as flags say. With a planted bug the engine's own checks are off, unless they are asked for: the oracles
/// are to see it from outside.
fn options(check_every: Option<u64>, last_facts: Option<usize>, mutant: Option<&str>) -> Result<RunOptions, String> {
    let mut options = RunOptions { last_facts, ..RunOptions::default() };
    if let Some(name) = mutant {
        options = options.with_mutant(name)?;
        options.check_every = u64::MAX;
    }
    options.check_every = check_every.unwrap_or(options.check_every).max(1);
    Ok(options)
}

/// Writes to standard error, beside what the program is asked for.
pub(crate) fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "leveret-sim: {text}");
}

/// Writes to standard output; whoever closed it does not want to hear more.
pub(crate) fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
