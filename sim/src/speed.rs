//! `leveret-sim speed`: how fast simulated time passes, against a bound.

use std::process::ExitCode;

use clap::Args;
use rustix::time::{ClockId, clock_gettime};

use crate::cli::say;
use crate::run::{RunOptions, plan, run_plan};
use crate::scenario::Scenario;

/// Measures how fast runs are: one node at 200 messages per second, with one publisher and one consumer, all assertions and oracles on.
///
/// Counted is the processor time of the one thread that runs. What else the machine does (another thread on the same core, a slower
/// clock) can only add to it, and a run of a seed is the same each time, so each is made several times and its fastest round is judged;
/// the median and the mean of the rounds are shown besides. A build with the profile `sim` is what the bounds are for.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 fast enough, 1 wrong usage, 2 a run failed, 7 too slow.")]
pub(crate) struct SpeedArgs {
    /// Runs, of a minute of simulated time each.
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// How often each run is made; its fastest round counts.
    #[arg(long, default_value_t = 10)]
    rounds: u64,
    /// Engine events (inputs and effects) that a second of processor time is to bring at least.
    #[arg(long, value_name = "EVENTS", default_value_t = 1_000_000)]
    events_min: u64,
    /// Simulated seconds that a second of processor time is to bring at least.
    #[arg(long, value_name = "SECONDS", default_value_t = 1_000)]
    seconds_min: u64,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

const SCENARIO: &str = include_str!("../../scenarios/slow/steady-200.toml");

/// Not as fast as asked for.
const TOO_SLOW: u8 = 7;

/// What was done in how much processor time.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    engine_events: u64,
    messages: u64,
    simulated_us: u64,
    cpu_us: u64,
}

impl Measured {
    fn events_per_s(self) -> u64 {
        self.engine_events * 1_000_000 / self.cpu_us.max(1)
    }

    fn seconds_per_s(self) -> u64 {
        self.simulated_us / self.cpu_us.max(1)
    }
}

/// What the runs of one round did, and the processor time that each took in each round.
#[derive(Clone, Debug, Default)]
struct Runs {
    done: Measured,
    cpu_us: Vec<Vec<u64>>,
}

impl Runs {
    /// One figure: if each run took as long as its fastest round did, if each took as long as its median one, and on average.
    fn figures(&self, figure: impl Fn(Measured) -> u64) -> Figures {
        let took = |cpu_us: u64| figure(Measured { cpu_us, ..self.done });
        let mut sorted = self.cpu_us.clone();
        sorted.iter_mut().for_each(|rounds| rounds.sort_unstable());
        let sum_at =
            |place: fn(usize) -> usize| sorted.iter().filter_map(|rounds| rounds.get(place(rounds.len()))).sum();
        let rounds = sorted.first().map_or(1, Vec::len) as u64;
        Figures {
            fastest: took(sum_at(|_| 0)),
            median: took(sum_at(|rounds| rounds / 2)),
            mean: took(self.total_cpu_us() / rounds),
        }
    }

    fn total_cpu_us(&self) -> u64 {
        self.cpu_us.iter().flatten().sum()
    }
}

/// How much of something runs brought in a second of processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Figures {
    fastest: u64,
    median: u64,
    mean: u64,
}

/// Measures and compares.
pub(crate) fn main(args: &SpeedArgs) -> Result<ExitCode, String> {
    let scenario = Scenario::parse(SCENARIO)?;
    let mut runs = Runs::default();
    runs.cpu_us.resize(usize::try_from(args.seeds.max(1)).map_err(|_| "so many runs cannot be made")?, Vec::new());
    // The first run finds caches and memory cold, and is not counted.
    if let Err(code) = measure(&scenario, 0)? {
        return Ok(code);
    }
    // Round by round, so that what disturbs for a while disturbs no run in all its rounds.
    for round in 0..args.rounds.max(1) {
        for (rounds, seed) in runs.cpu_us.iter_mut().zip(1..) {
            let run = match measure(&scenario, seed)? {
                Ok(run) => run,
                Err(code) => return Ok(code),
            };
            rounds.push(run.cpu_us);
            if round == 0 {
                runs.done.engine_events += run.engine_events;
                runs.done.messages += run.messages;
                runs.done.simulated_us += run.simulated_us;
            }
        }
    }
    let (events, seconds) = (runs.figures(Measured::events_per_s), runs.figures(Measured::seconds_per_s));
    let is_fast = events.fastest >= args.events_min && seconds.fastest >= args.seconds_min;
    let (done, cpu_us) = (runs.done, runs.total_cpu_us());
    if args.json {
        let json = serde_json::json!({
            "engine_events_per_cpu_s": events.fastest,
            "engine_events_per_cpu_s_median": events.median,
            "engine_events_per_cpu_s_mean": events.mean,
            "engine_events_per_cpu_s_min": args.events_min,
            "simulated_s_per_cpu_s": seconds.fastest,
            "simulated_s_per_cpu_s_median": seconds.median,
            "simulated_s_per_cpu_s_mean": seconds.mean,
            "simulated_s_per_cpu_s_min": args.seconds_min,
            "judged": "the fastest round of each run",
            "runs": runs.cpu_us.len(),
            "rounds": args.rounds.max(1),
            "engine_events": done.engine_events,
            "messages": done.messages,
            "simulated_us": done.simulated_us,
            "cpu_us_of_all_rounds": cpu_us,
            "is_fast": is_fast,
        });
        say(&format!("{json}\n"));
    } else {
        say(&format!(
            "{} runs: {} s simulated, {} messages, {} engine events; {} rounds of each in {} ms of processor time\n",
            runs.cpu_us.len(),
            done.simulated_us / 1_000_000,
            done.messages,
            done.engine_events,
            args.rounds.max(1),
            cpu_us / 1000,
        ));
        say(&line("engine events per second", events, args.events_min));
        say(&line("simulated seconds per second", seconds, args.seconds_min));
    }
    Ok(if is_fast { ExitCode::SUCCESS } else { ExitCode::from(TOO_SLOW) })
}

fn line(what: &str, found: Figures, least: u64) -> String {
    let Figures { fastest, median, mean } = found;
    let verdict = if fastest >= least { "ok" } else { "too slow" };
    format!("{what:30} {fastest:>10}   at least {least:>9}   {verdict:8}   (median {median}, mean {mean})\n")
}

/// Makes one run. If it fails, that is told, and with what code to end.
fn measure(scenario: &Scenario, seed: u64) -> Result<Result<Measured, ExitCode>, String> {
    let plan = plan(scenario, seed);
    let begin = cpu_us()?;
    let report = run_plan(plan, RunOptions::default());
    let cpu_us = cpu_us()? - begin;
    if report.failure.is_some() {
        say(&report.story(&format!("leveret-sim run steady-200 --seed {seed}")));
        return Ok(Err(ExitCode::from(2)));
    }
    let engine_events = report.counts.inputs + report.counts.effects;
    Ok(Ok(Measured { engine_events, messages: report.messages, simulated_us: report.time, cpu_us }))
}

/// Processor time of this thread so far. No run sees it.
fn cpu_us() -> Result<u64, String> {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let micros = time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000);
    u64::try_from(micros).map_err(|_| "the processor time of this thread cannot be read".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_per_second_of_processor_time() {
        let measured = Measured { engine_events: 3_000, messages: 9, simulated_us: 40_000_000, cpu_us: 2_000 };
        assert_eq!((measured.events_per_s(), measured.seconds_per_s()), (1_500_000, 20_000));
        assert_eq!(Measured::default().events_per_s(), 0);
    }

    /// What disturbs one round moves neither what is judged nor the median, only what all rounds took mean.
    #[test]
    fn the_fastest_round_of_each_run_is_judged() {
        let done = Measured { engine_events: 1_000, messages: 9, simulated_us: 120_000_000, cpu_us: 0 };
        let figures = |first: [u64; 3], second: [u64; 3]| {
            let cpu_us = vec![first.to_vec(), second.to_vec()];
            Runs { done, cpu_us }.figures(Measured::seconds_per_s)
        };
        let calm = figures([60_000, 40_000, 50_000], [60_000, 80_000, 70_000]);
        assert_eq!(calm, Figures { fastest: 1_200, median: 1_000, mean: 1_000 });
        let disturbed = figures([600_000, 40_000, 50_000], [60_000, 80_000, 70_000]);
        assert_eq!(disturbed, Figures { fastest: 1_200, median: 1_000, mean: 400 });
        assert!(line("seconds", calm, 1_200).contains("ok"));
        assert!(line("seconds", calm, 1_201).contains("too slow"));
    }

    /// It is what the bounds speak of: one of each, 200 messages a second.
    #[test]
    fn the_load_is_as_named() {
        let scenario = Scenario::parse(SCENARIO).unwrap();
        let plan = plan(&scenario, 1);
        assert_eq!((plan.clients.len(), plan.topology.queues.len()), (2, 1));
        let messages = scenario.clients.messages;
        assert_eq!(messages.0 * 1_000_000 / plan.chaos_us, 200);
        assert!(plan.faults.is_empty());
    }
}
