//! `leveret-sim speed`: how fast simulated time passes, against a bound.

use std::process::ExitCode;

use clap::Args;
use rustix::time::{ClockId, clock_gettime};

use crate::cli::say;
use crate::run::{RunOptions, plan, run_plan};
use crate::scenario::Scenario;

/// Measures how fast runs are: one node at 200 messages per second, with one publisher and one consumer, all assertions and oracles on.
///
/// Counted is the processor time of the one thread that runs, so that a busy machine matters little. A build with the profile `sim` is
/// what the bounds are for.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 fast enough, 1 wrong usage, 2 a run failed, 7 too slow.")]
pub(crate) struct SpeedArgs {
    /// Runs, of a minute of simulated time each.
    #[arg(long, default_value_t = 10)]
    seeds: u64,
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

/// Measures and compares.
pub(crate) fn main(args: &SpeedArgs) -> Result<ExitCode, String> {
    let scenario = Scenario::parse(SCENARIO)?;
    let mut measured = Measured::default();
    // The first run finds caches and memory cold, and is not counted.
    for seed in 0..=args.seeds.max(1) {
        let plan = plan(&scenario, seed);
        let begin = cpu_us()?;
        let report = run_plan(plan, RunOptions::default());
        let cpu_us = cpu_us()? - begin;
        if report.failure.is_some() {
            say(&report.story(&format!("leveret-sim run steady-200 --seed {seed}")));
            return Ok(ExitCode::from(2));
        }
        if seed > 0 {
            measured.engine_events += report.counts.inputs + report.counts.effects;
            measured.messages += report.messages;
            measured.simulated_us += report.time;
            measured.cpu_us += cpu_us;
        }
    }
    let (events, seconds) = (measured.events_per_s(), measured.seconds_per_s());
    let is_fast = events >= args.events_min && seconds >= args.seconds_min;
    if args.json {
        let json = serde_json::json!({
            "engine_events_per_cpu_s": events,
            "engine_events_per_cpu_s_min": args.events_min,
            "simulated_s_per_cpu_s": seconds,
            "simulated_s_per_cpu_s_min": args.seconds_min,
            "engine_events": measured.engine_events,
            "messages": measured.messages,
            "simulated_us": measured.simulated_us,
            "cpu_us": measured.cpu_us,
            "is_fast": is_fast,
        });
        say(&format!("{json}\n"));
    } else {
        say(&format!(
            "{} s simulated, {} messages, {} engine events in {} ms of processor time\n",
            measured.simulated_us / 1_000_000,
            measured.messages,
            measured.engine_events,
            measured.cpu_us / 1000,
        ));
        say(&line("engine events per second", events, args.events_min));
        say(&line("simulated seconds per second", seconds, args.seconds_min));
    }
    Ok(if is_fast { ExitCode::SUCCESS } else { ExitCode::from(TOO_SLOW) })
}

fn line(what: &str, found: u64, least: u64) -> String {
    let verdict = if found >= least { "ok" } else { "too slow" };
    format!("{what:30} {found:>10}   at least {least:>9}   {verdict}\n")
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
