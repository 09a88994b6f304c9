//! The command line of `leveret-sim`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::plan::{FORMAT, Plan};
use crate::report::{FailureKind, Report};
use crate::run::{Job, RunOptions, collect_panics, plan, run_jobs, run_plan};
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
3 something never happened (liveness), 4 the engine panicked, 5 something was never tried (--cover).\n\n\
Examples:\n  \
leveret-sim run                        all built-in scenarios, 20 seeds each\n  \
leveret-sim run --seeds 2000           more of them\n  \
leveret-sim run power-loss --seed 7    one run again\n  \
leveret-sim run my.toml --save out     a scenario of your own; failing plans go to out/\n  \
leveret-sim replay out/plan.json       a saved plan again";

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs seeds of one scenario, or of all built-in ones.
    Run(RunArgs),
    /// Runs a saved plan.
    Replay(ReplayArgs),
    /// Lists the built-in scenarios.
    List,
    /// Runs planted bugs until each is caught. Needs a program built with `--features mutants`.
    #[cfg(feature = "mutants")]
    Mutants(crate::mutants::MutantArgs),
    /// Loads a running broker over real sockets, measures it, and checks every message meanwhile.
    Perf(Box<crate::perf::Options>),
}

#[derive(Debug, Args)]
struct RunArgs {
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
    /// Writes the plan of each failure into this folder.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Prints one JSON object per run.
    #[arg(long)]
    json: bool,
    /// Prints nothing but the trace hash of each run.
    #[arg(long)]
    hash_only: bool,
    /// Checks the engine's invariants once in this many steps.
    #[arg(long, value_name = "STEPS")]
    check_every: Option<u64>,
    /// Tells so many of the last facts before a failure, instead of those that matter to it.
    #[arg(long, value_name = "FACTS")]
    last: Option<usize>,
}

#[derive(Debug, Args)]
struct ReplayArgs {
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
        Command::Run(args) => run(&args),
        Command::Replay(args) => replay(&args),
        Command::List => {
            for scenario in [Scenario::built_in(), Scenario::regressions()].concat() {
                say(&format!("{:32} {}\n", scenario.name, scenario.about));
            }
            Ok(ExitCode::SUCCESS)
        }
        #[cfg(feature = "mutants")]
        Command::Mutants(args) => crate::mutants::main(&args),
        Command::Perf(options) => crate::perf::main(&options),
    };
    result.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "leveret-sim: {error}");
        ExitCode::from(1)
    })
}

fn run(args: &RunArgs) -> Result<ExitCode, String> {
    let scenarios = match &args.scenario {
        Some(name) => find(name)?,
        None => [Scenario::built_in(), Scenario::regressions()].concat(),
    };
    let mut jobs = Vec::new();
    match args.seed {
        Some(seed) => jobs.extend(scenarios.iter().map(|scenario| Job { scenario, seed })),
        None => {
            let (fixed, open): (Vec<&Scenario>, _) = scenarios.iter().partition(|it| it.run.seed.is_some());
            jobs.extend(fixed.iter().filter_map(|&scenario| Some(Job { scenario, seed: scenario.run.seed? })));
            let turns = args.from..args.from + args.seeds.div_ceil((open.len() as u64).max(1));
            let open_jobs = turns.flat_map(|seed| open.iter().map(move |&scenario| Job { scenario, seed }));
            jobs.extend(open_jobs.take(usize::try_from(args.seeds).map_err(|error| error.to_string())?));
        }
    }
    let options = options(args.check_every, args.last);
    let progress = progress(jobs.len(), args.json || args.hash_only);
    let clock = Stopwatch::start();
    let mut total = Total::default();
    let mut problem = None;
    run_jobs(&jobs, args.jobs, options, |report| {
        progress.inc(1);
        let command = repeat_command(args, &report);
        if args.hash_only {
            say(&format!("{:016x}\n", report.trace));
        } else if args.json {
            say(&format!("{}\n", report.json(&command)));
        } else if report.failure.is_some() {
            progress.suspend(|| say(&format!("{}\n", report.story(&command))));
        }
        if let (Some(folder), Some(_)) = (&args.save, &report.failure) {
            let scenario = scenarios.iter().find(|scenario| scenario.name == report.scenario);
            if let Err(error) = save(folder, &report, scenario.expect("it was run")) {
                problem.get_or_insert(error);
            }
        }
        let failed = report.failure.is_some();
        total.add(&report);
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
    if let Some(kind) = total.worst {
        return Ok(ExitCode::from(kind.exit_code()));
    }
    let untried = if args.cover { total.untried() } else { Vec::new() };
    for name in &untried {
        say(&format!("never: {name}\n"));
    }
    Ok(if untried.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(5) })
}

fn replay(args: &ReplayArgs) -> Result<ExitCode, String> {
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

/// Sums over runs.
#[derive(Debug, Default)]
struct Total {
    runs: u64,
    failures: u64,
    worst: Option<FailureKind>,
    engine_events: u64,
    boots: u64,
    messages: u64,
    facts: u64,
    virtual_us: u64,
    trace: u64,
    judged: Sums,
    situations: Sums,
}

/// Counts by name, in the order of their first appearance.
#[derive(Clone, Debug, Default)]
struct Sums(Vec<(&'static str, u64)>);

impl Sums {
    fn add(&mut self, counts: &[(&'static str, u64)]) {
        for &(name, count) in counts {
            match self.0.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += count,
                None => self.0.push((name, count)),
            }
        }
    }

    fn table(&self, title: &str) -> String {
        let lines = self.0.iter().map(|(name, count)| format!("{count:>12}  {name}\n"));
        format!("{title}:\n{}", lines.collect::<String>())
    }
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.engine_events += report.counts.inputs + report.counts.effects;
        self.boots += report.counts.boots;
        self.messages += report.messages;
        self.facts += report.facts;
        self.virtual_us += report.time;
        self.trace = report.trace;
        self.judged.add(&report.judged);
        self.situations.add(&report.situations);
        if let Some(failure) = &report.failure {
            self.failures += 1;
            let code = self.worst.map_or(u8::MAX, FailureKind::exit_code);
            if failure.kind.exit_code() < code {
                self.worst = Some(failure.kind);
            }
        }
    }

    /// What should have been tried and was not.
    fn untried(&self) -> Vec<&'static str> {
        let all = self.judged.0.iter().chain(&self.situations.0);
        all.filter(|(_, count)| *count == 0).map(|(name, _)| *name).collect()
    }

    fn summary(&self, clock: &Stopwatch, trace: Option<u64>) -> String {
        let millis = clock.millis().max(1);
        let verdict = if self.failures == 0 { "ok".to_owned() } else { format!("{} failures", self.failures) };
        let hash = trace.map(|trace| format!(", trace {trace:016x}")).unwrap_or_default();
        format!(
            "{verdict}: {} runs, {} boots, {} messages, {} facts judged, {} s simulated; {} runs/s, {} engine events/s{hash}\n",
            self.runs,
            self.boots,
            self.messages,
            self.facts,
            self.virtual_us / 1_000_000,
            self.runs * 1000 / millis,
            self.engine_events * 1000 / millis,
        )
    }
}

/// Real time, for telling people how fast it went; no run ever sees it.
struct Stopwatch(#[expect(clippy::disallowed_types, reason = "not part of any run")] std::time::Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_types, reason = "not part of any run")]
    fn start() -> Self {
        Self(std::time::Instant::now())
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn options(check_every: Option<u64>, last_facts: Option<usize>) -> RunOptions {
    let mut options = RunOptions { last_facts, ..RunOptions::default() };
    options.check_every = check_every.unwrap_or(options.check_every).max(1);
    options
}

/// A built-in scenario, one from a file, or all of a folder by their names.
fn find(name: &str) -> Result<Vec<Scenario>, String> {
    let all = [Scenario::built_in(), Scenario::regressions()].concat();
    if let Some(scenario) = all.into_iter().find(|scenario| scenario.name == name) {
        return Ok(vec![scenario]);
    }
    let path = Path::new(name);
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| format!("{name}: {error}"))?;
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
        files.sort();
        return match &files[..] {
            [] => Err(format!("{name} holds no scenario: no file in it ends in .toml")),
            _ => files.iter().map(|file| parse(file)).collect(),
        };
    }
    if !path.exists() {
        return Err(format!(
            "no scenario is called {name}, and no file is; `leveret-sim list` shows the built-in ones"
        ));
    }
    Ok(vec![parse(path)?])
}

fn parse(path: &Path) -> Result<Scenario, String> {
    Scenario::parse(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

fn repeat_command(args: &RunArgs, report: &Report) -> String {
    let scenario = match args.scenario.as_deref() {
        // Of a folder, the file has the scenario's name, as a rule.
        Some(folder) if Path::new(folder).is_dir() => format!("{folder}/{}.toml", report.scenario),
        Some(scenario) => scenario.to_owned(),
        None => report.scenario.clone(),
    };
    let check = args.check_every.map(|every| format!(" --check-every {every}")).unwrap_or_default();
    format!("leveret-sim run {scenario} --seed {}{check}", report.seed)
}

fn save(folder: &Path, report: &Report, scenario: &Scenario) -> Result<(), String> {
    let path = folder.join(format!("{}-{}.json", report.scenario, report.seed));
    let text = serde_json::to_string(&plan(scenario, report.seed)).map_err(|error| error.to_string())?;
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn progress(jobs: usize, is_quiet: bool) -> ProgressBar {
    if is_quiet || jobs < 2 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} runs, {per_sec}, {eta} left");
    ProgressBar::new(jobs as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Writes to standard output; whoever closed it does not want to hear more.
pub(crate) fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
