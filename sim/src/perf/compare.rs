//! Two brokers, the same workloads, in turns: what is left is the ratio.

use std::time::Duration;

use leveret_engine::amqp::{FieldTable, ShortStr};

use super::options::{CompareOptions, duration};
use super::process::Stopped;
use super::report::{Live, group, micros, say, say_json};
use super::run::{Exchange, Outcome, Workload, run};

/// Not counted at the beginning of each run.
const WARM_UP: Duration = Duration::from_secs(2);
/// How often a run is made again at most from which the machine's host took too much.
const REPEATS: usize = 2;

/// A workload with a name.
#[derive(Debug)]
struct Named {
    name: &'static str,
    about: &'static str,
    workload: Workload,
}

/// The workloads there are. The first two show where a broker stands; the names of the others say how they differ.
fn workloads() -> Vec<Named> {
    let transient = |body_len| Workload { body_len, ..Workload::default() };
    let durable = || Workload {
        is_persistent: true,
        confirm: Some(256),
        prefetch: 256,
        ack_every: Some(1),
        ..Workload::default()
    };
    let quorum = || Workload {
        queue: "leveret-perf-quorum".to_owned(),
        queue_arguments: FieldTable::new().with("x-queue-type", "quorum"),
        ..durable()
    };
    let four = |workload| Workload { producers: 4, consumers: 4, queues: 4, ..workload };
    let exchange = |name, kind, other_bindings| {
        let [name, kind, routing_key] = [name, kind, "perf.message.key"].map(ShortStr::from_static);
        Some(Exchange { name, kind, routing_key, other_bindings })
    };
    let named = |name, about, workload| Named { name, about, workload };
    vec![
        named("transient-1k", "1 KiB, transient, auto-ack", transient(1024)),
        named("durable-1k", "1 KiB, persistent, durable queue, confirms 256, manual ack, prefetch 256", durable()),
        named("transient-16", "16 B, transient, auto-ack", transient(16)),
        named("transient-1k-4x4", "4 producers, 4 consumers, 4 queues, 1 KiB, auto-ack", four(transient(1024))),
        named("durable-1k-4x4", "4 producers, 4 consumers, 4 queues, persistent, confirms 256", four(durable())),
        named(
            "one-at-a-time",
            "window 1, persistent, confirmed and acknowledged",
            Workload { confirm: Some(1), prefetch: 1, ..durable() },
        ),
        named("fanout-10", "1 KiB, auto-ack, fanout to 10 queues with a consumer each", {
            let exchange = exchange("leveret-perf-fanout", "fanout", 0);
            Workload { queues: 10, consumers: 10, exchange, ..transient(1024) }
        }),
        named("topic-1000", "1 KiB, auto-ack, topic exchange with 1,000 bindings", {
            Workload { exchange: exchange("leveret-perf-topic", "topic", 999), ..transient(1024) }
        }),
        named("quorum-1k", "1 KiB, quorum queue, confirms 256, manual ack, prefetch 256", quorum()),
        named("quorum-1k-paced", "the same with 1,000 messages per second", Workload { rate: 1000, ..quorum() }),
    ]
}

/// What came of one workload.
#[derive(Debug, serde::Serialize)]
struct Row {
    workload: &'static str,
    about: &'static str,
    /// The runs of both brokers, in the order they were made.
    outcomes: [Vec<Outcome>; 2],
    /// Those that were made again, since the machine's host took too much from them.
    discarded: [Vec<Outcome>; 2],
    /// Deliveries per second, the median of each broker.
    median: [u64; 2],
    /// How many times as much the first broker delivers.
    ratio: f64,
    /// Whether it has a rate, so that both deliver the same.
    is_paced: bool,
    /// Then: how many times as long the slowest of a hundred confirms takes, by the
    /// medians.
    p99_ratio: Option<f64>,
}

pub(super) fn main(options: &CompareOptions) -> Result<bool, String> {
    let mut rows = Vec::new();
    let chosen = chosen(&options.workloads)?;
    let is_paced = |named: &Named| named.workload.rate > 0;
    if options.p99_at_most.is_some() && !chosen.iter().any(is_paced) {
        return Err("--p99-at-most is about workloads with a rate, such as quorum-1k-paced".to_owned());
    }
    if options.at_least.is_some() && chosen.iter().all(is_paced) {
        return Err("--at-least is about workloads without a rate, such as quorum-1k".to_owned());
    }
    for named in chosen {
        rows.push(measure(options, &named)?);
    }
    if options.json {
        say_json(&rows)?;
    } else {
        for row in &rows {
            say(&story(row, &options.names));
        }
    }
    let is_fast = |row: &Row| match row.is_paced {
        true => options.p99_at_most.is_none_or(|most| row.p99_ratio.is_some_and(|ratio| ratio <= most)),
        false => options.at_least.is_none_or(|least| row.ratio >= least),
    };
    Ok(rows.iter().all(|row| is_fast(row) && row.outcomes[0].iter().all(is_clean)))
}

fn is_clean(outcome: &Outcome) -> bool {
    outcome.verdict.is_some_and(|verdict| verdict.is_clean())
}

fn chosen(names: &[String]) -> Result<Vec<Named>, String> {
    let mut all = workloads();
    if names.iter().any(|name| name == "all") {
        return Ok(all);
    }
    let known: Vec<&str> = all.iter().map(|named| named.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("no workload is called {unknown}; there are {}", known.join(", ")));
    }
    all.retain(|named| names.iter().any(|name| name == named.name));
    Ok(all)
}

fn measure(options: &CompareOptions, named: &Named) -> Result<Row, String> {
    let workload =
        Workload { warm_up: WARM_UP, duration: Some(duration(options.time)?), purges: true, ..named.workload.clone() };
    let rest = duration(options.rest)?;
    let mut outcomes = [Vec::new(), Vec::new()];
    let mut discarded = [Vec::new(), Vec::new()];
    for round in 1..=options.rounds.max(1) {
        for (at, (target, outcomes)) in [&options.uri, &options.other].into_iter().zip(&mut outcomes).enumerate() {
            let name = &options.names[at];
            let measure = || {
                let idle = options.alone.get(1 - at).map(|pids| Stopped::new(&pids.0)).transpose()?;
                let mut live = Live::new(&format!("{} {round}/{} {name}", named.name, options.rounds), options.json);
                let outcome = run(target, &workload, |progress| live.show(progress))
                    .map_err(|error| format!("{} on {name}: {error}", named.name))?;
                drop(idle);
                super::clock::pause(rest);
                Ok(outcome)
            };
            outcomes.push(undisturbed(options.stolen_at_most, &mut discarded[at], measure)?);
        }
    }
    let median = outcomes.each_ref().map(|outcomes| median(outcomes.iter().map(|outcome| outcome.delivery_rate)));
    let [first, other] = median;
    let p99 = outcomes.each_ref().map(|outcomes| {
        let all: Vec<u64> = outcomes.iter().filter_map(|it| it.confirm_latency.map(|latency| latency.p99_us)).collect();
        (!all.is_empty()).then(|| self::median(all.into_iter()))
    });
    let is_paced = workload.rate > 0;
    let p99_ratio = match p99 {
        [Some(first), Some(other)] if is_paced => Some(ratio(first, other)),
        _ => None,
    };
    let ratio = ratio(first, other);
    Ok(Row { workload: named.name, about: named.about, outcomes, discarded, median, ratio, is_paced, p99_ratio })
}

/// A run from which the machine's host took no more than this share of a core. If there is none, the one that lost least. A run that
/// harmed messages stands in any case.
fn undisturbed(
    at_most: f64,
    discarded: &mut Vec<Outcome>,
    mut measure: impl FnMut() -> Result<Outcome, String>,
) -> Result<Outcome, String> {
    let stolen = |outcome: &Outcome| outcome.stolen_share.unwrap_or_default();
    let mut best = measure()?;
    for _ in 0..REPEATS {
        if stolen(&best) <= at_most || !is_clean(&best) {
            break;
        }
        let mut next = measure()?;
        if stolen(&next) < stolen(&best) || !is_clean(&next) {
            core::mem::swap(&mut best, &mut next);
        }
        discarded.push(next);
    }
    Ok(best)
}

/// The middle value; of an even number, the upper of the two.
pub(super) fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

pub(super) fn ratio(one: u64, other: u64) -> f64 {
    let float = |number: u64| Duration::from_nanos(number).as_secs_f64();
    if other == 0 { f64::INFINITY } else { float(one) / float(other) }
}

fn story(row: &Row, names: &[String]) -> String {
    let mut text = format!("{} ({})\n", row.workload, row.about);
    for (((outcomes, discarded), name), rate) in row.outcomes.iter().zip(&row.discarded).zip(names).zip(row.median) {
        let of = |value: fn(&Outcome) -> Option<u64>| {
            let values: Vec<u64> = outcomes.iter().filter_map(value).collect();
            (!values.is_empty()).then(|| median(values.into_iter()))
        };
        let rates = outcomes.iter().map(|outcome| outcome.delivery_rate);
        let (least, most) = (rates.clone().min().unwrap_or_default(), rates.max().unwrap_or_default());
        text.push_str(&format!("  {name:<16}{:>10} /s  ({} to {})", group(rate), group(least), group(most)));
        if let Some(cpu) = of(|outcome| outcome.broker_cpu_ns_per_message) {
            text.push_str(&format!("  {:.2} µs processor", micros(cpu)));
        }
        if let Some(p50) = of(|outcome| outcome.confirm_latency.map(|latency| latency.p50_us)) {
            let p99 = of(|outcome| outcome.confirm_latency.map(|latency| latency.p99_us)).unwrap_or_default();
            text.push_str(&format!("  confirm p50 {} p99 {} µs", group(p50), group(p99)));
        }
        if let Some(resident) = of(|outcome| outcome.broker_resident_kib) {
            text.push_str(&format!("  {} MiB", resident / 1024));
        }
        let stolen = outcomes.iter().filter_map(|outcome| outcome.stolen_share).fold(0.0, f64::max);
        if stolen > 0.0 {
            text.push_str(&format!("  {:.1} % of a core stolen at most", stolen * 100.0));
        }
        if !discarded.is_empty() {
            text.push_str(&format!(" ({} made again)", discarded.len()));
        }
        let harmed = outcomes.iter().filter(|outcome| !is_clean(outcome));
        match harmed.count() {
            0 => text.push('\n'),
            count => text.push_str(&format!("  {count} runs lost, doubled or disordered messages\n")),
        }
    }
    match row.p99_ratio {
        Some(ratio) => text.push_str(&format!("  ratio of p99 {ratio:.2}\n")),
        None => text.push_str(&format!("  ratio {:.2}\n", row.ratio)),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Verdict;
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let check = |values: &[u64], expect| assert_eq!(median(values.iter().copied()), expect);
        check(&[], 0);
        check(&[7], 7);
        check(&[9, 1, 5], 5);
    }

    #[test]
    fn a_run_is_made_again_when_the_host_took_too_much() {
        let check = |runs: &[(f64, u64)], expect| {
            let mut runs = runs.iter().map(|&(stolen, lost)| {
                let verdict = Some(Verdict { lost, ..Verdict::default() });
                Ok(Outcome { stolen_share: Some(stolen), verdict, ..Outcome::default() })
            });
            let mut discarded = Vec::new();
            let outcome = undisturbed(0.01, &mut discarded, || runs.next().unwrap()).unwrap();
            assert_eq!((outcome.stolen_share.unwrap(), discarded.len()), expect);
        };
        check(&[(0.01, 0)], (0.01, 0));
        check(&[(0.02, 0), (0.0, 0)], (0.0, 1));
        check(&[(0.3, 0), (0.2, 0), (0.0, 0)], (0.0, 2));
        check(&[(0.3, 0), (0.2, 0), (0.4, 0)], (0.2, 2));
        // What it did to messages is not the host's doing.
        check(&[(0.3, 1)], (0.3, 0));
        check(&[(0.3, 0), (0.5, 1)], (0.5, 1));
    }

    #[test]
    fn workloads_are_chosen_by_name() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(chosen(&names(&["durable-1k"])).unwrap().len(), 1);
        assert_eq!(chosen(&names(&["all"])).unwrap().len(), workloads().len());
        assert!(chosen(&names(&["fast"])).is_err());
    }
}
