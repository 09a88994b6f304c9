//! Two brokers, the same workloads, in turns: what is left is the ratio.

mod sample;
mod workloads;

use std::time::Duration;

use self::sample::{Measure, Sample};
use self::workloads::{Named, workloads};
use super::options::{CompareOptions, Wanted, duration};
use super::process::Stopped;
use super::report::{Live, group, say, say_json};

/// How often a run is made again at most from which the machine's host took too much.
const REPEATS: usize = 2;

/// What came of one part of a workload.
#[derive(Debug, serde::Serialize)]
struct Row {
    workload: &'static str,
    about: &'static str,
    measure: Measure,
    /// The runs of both brokers, in the order they were made.
    outcomes: [Vec<Sample>; 2],
    /// Those that were made again, since the machine's host took too much from them.
    discarded: [Vec<Sample>; 2],
    /// What is compared, the median of each broker.
    median: [Vec<u64>; 2],
    /// How many times as much of it the first broker has.
    ratios: Vec<f64>,
    /// What each of these is to be, at least or at most.
    goal: Option<f64>,
    /// Whether it is.
    is_met: bool,
}

pub(super) fn main(options: &CompareOptions) -> Result<bool, String> {
    let mut rows = Vec::new();
    let chosen = chosen(&options.workloads)?;
    let is_about_rates = |(named, _): &(Named, Option<f64>)| named.is_about_rates();
    if options.p99_at_most.is_some() && chosen.iter().all(is_about_rates) {
        return Err("--p99-at-most is about workloads with a rate, such as quorum-1k-paced".to_owned());
    }
    if options.at_least.is_some() && !chosen.iter().any(is_about_rates) {
        return Err("--at-least is about workloads without a rate, such as quorum-1k".to_owned());
    }
    for (named, goal) in chosen {
        for row in measure(options, &named, goal)? {
            if !options.json {
                say(&story(&row, &options.names));
            }
            rows.push(row);
        }
    }
    if options.json {
        say_json(&rows)?;
    }
    let is_good = |row: &Row| {
        row.is_met
            && row.outcomes[0].iter().all(Sample::is_clean)
            && match row.measure {
                Measure::Rate => options.at_least.is_none_or(|least| row.measure.keeps(&row.ratios, least)),
                Measure::ConfirmLatency | Measure::EndToEndLatency => options
                    .p99_at_most
                    .is_none_or(|most| row.ratios.last().is_some_and(|p99| row.measure.keeps(&[*p99], most))),
                Measure::Memory => true,
            }
    };
    Ok(rows.iter().all(is_good))
}

/// What is asked for, in the order there is, with its goals.
fn chosen(wanted: &[Wanted]) -> Result<Vec<(Named, Option<f64>)>, String> {
    let all = workloads();
    let is_all = wanted.iter().any(|wanted| wanted.name == "all");
    let known: Vec<&str> = all.iter().map(|named| named.name).collect();
    if let Some(unknown) = wanted.iter().find(|wanted| wanted.name != "all" && !known.contains(&wanted.name.as_str())) {
        return Err(format!("no workload is called {}; there are {}", unknown.name, known.join(", ")));
    }
    let choose = |named: Named| {
        let wanted = wanted.iter().find(|wanted| wanted.name == named.name);
        (is_all || wanted.is_some()).then(|| (named, wanted.and_then(|wanted| wanted.goal)))
    };
    Ok(all.into_iter().filter_map(choose).collect())
}

/// Runs a workload on both brokers in turns; a row of each of its parts.
fn measure(options: &CompareOptions, named: &Named, goal: Option<f64>) -> Result<Vec<Row>, String> {
    let (time, rest) = (duration(options.time)?, duration(options.rest)?);
    let mut rows: Vec<Row> =
        named.parts.iter().map(|&(name, measure)| Row::new(name, named.about, measure, goal)).collect();
    for round in 1..=options.rounds.max(1) {
        for (at, target) in [&options.uri, &options.other].into_iter().enumerate() {
            let name = &options.names[at];
            let mut discarded = Vec::new();
            let samples = undisturbed(options.stolen_at_most, &mut discarded, || {
                let idle = options.alone.get(1 - at).map(|pids| Stopped::new(&pids.0)).transpose()?;
                let mut live = Live::new(&format!("{} {round}/{} {name}", named.name, options.rounds), options.json);
                let samples = named
                    .run(target, time, |progress| live.show(progress))
                    .map_err(|error| format!("{} on {name}: {error}", named.name))?;
                drop(idle);
                super::clock::pause(rest);
                Ok(samples)
            })?;
            for (row, sample) in rows.iter_mut().zip(samples) {
                row.outcomes[at].push(sample);
            }
            for samples in discarded {
                for (row, sample) in rows.iter_mut().zip(samples) {
                    row.discarded[at].push(sample);
                }
            }
        }
    }
    rows.iter_mut().for_each(Row::judge);
    Ok(rows)
}

impl Row {
    fn new(workload: &'static str, about: &'static str, measure: Measure, goal: Option<f64>) -> Self {
        let outcomes = [Vec::new(), Vec::new()];
        let discarded = [Vec::new(), Vec::new()];
        let median = [Vec::new(), Vec::new()];
        Self { workload, about, measure, outcomes, discarded, median, ratios: Vec::new(), goal, is_met: false }
    }

    /// Works out what follows from the runs.
    fn judge(&mut self) {
        let places = 0..self.measure.labels().len();
        self.median = self
            .outcomes
            .each_ref()
            .map(|samples| places.clone().map(|place| median(figures(samples, self.measure, place))).collect());
        self.ratios = places.map(|place| ratio(self.median[0][place], self.median[1][place])).collect();
        self.is_met = self.goal.is_none_or(|goal| self.measure.keeps(&self.ratios, goal));
    }
}

/// One of the figures of several runs.
fn figures(samples: &[Sample], measure: Measure, place: usize) -> impl Iterator<Item = u64> {
    samples.iter().filter_map(move |sample| sample.figures(measure).get(place).copied())
}

/// A run from which the machine's host took no more than this share of a core. If there is none, the one that lost least. A run that
/// harmed messages stands in any case.
fn undisturbed(
    at_most: f64,
    discarded: &mut Vec<Vec<Sample>>,
    mut measure: impl FnMut() -> Result<Vec<Sample>, String>,
) -> Result<Vec<Sample>, String> {
    let stolen = |run: &[Sample]| run.iter().filter_map(Sample::stolen_share).fold(0.0, f64::max);
    let is_clean = |run: &[Sample]| run.iter().all(Sample::is_clean);
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
    let Row { workload, about, measure, outcomes, discarded, median, ratios, goal, is_met } = row;
    let mut text = format!("{workload} ({about})\n");
    for (((samples, discarded), name), median) in outcomes.iter().zip(discarded).zip(names).zip(median) {
        text.push_str(&format!("  {name:<16}"));
        for (place, (label, median)) in measure.labels().iter().zip(median).enumerate() {
            let (mut least, mut most) = (u64::MAX, 0);
            for figure in figures(samples, *measure, place) {
                (least, most) = (least.min(figure), most.max(figure));
            }
            text.push_str(&format!("{:>10} {label}  ({} to {})", group(*median), group(least), group(most)));
        }
        for other in Sample::others(samples, *measure) {
            text.push_str(&format!("  {other}"));
        }
        let stolen = samples.iter().filter_map(Sample::stolen_share).fold(0.0, f64::max);
        if stolen > 0.0 {
            text.push_str(&format!("  {:.1} % of a core stolen at most", stolen * 100.0));
        }
        if !discarded.is_empty() {
            text.push_str(&format!(" ({} made again)", discarded.len()));
        }
        match samples.iter().filter(|sample| !sample.is_clean()).count() {
            0 => text.push('\n'),
            count => text.push_str(&format!("  {count} runs lost, doubled or disordered messages\n")),
        }
    }
    let ratios: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    text.push_str(&format!("  ratio {}", ratios.join(", ")));
    if let Some(goal) = goal {
        let side = if *measure == Measure::Rate { "least" } else { "most" };
        text.push_str(&format!(" of at {side} {goal}: {}", if *is_met { "met" } else { "MISSED" }));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
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
            let mut runs = runs.iter().map(|&(stolen, lost)| Ok(vec![Sample::of_load(stolen, lost)]));
            let mut discarded = Vec::new();
            let samples = undisturbed(0.01, &mut discarded, || runs.next().unwrap()).unwrap();
            assert_eq!((samples[0].stolen_share().unwrap(), discarded.len()), expect);
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
        let names = |names: &[&str]| {
            let wanted: Vec<Wanted> = names.iter().map(|name| name.parse().unwrap()).collect();
            chosen(&wanted).map(|chosen| chosen.into_iter().map(|(named, goal)| (named.name, goal)).collect::<Vec<_>>())
        };
        assert_eq!(names(&["durable-1k"]), Ok(vec![("durable-1k", None)]));
        assert_eq!(names(&["durable-1k=10", "all"]).unwrap().len(), workloads().len());
        assert!(names(&["all", "durable-1k=10"]).unwrap().contains(&("durable-1k", Some(10.0))));
        assert!(names(&["fast"]).unwrap_err().contains("no workload is called fast"));
    }

    #[test]
    fn a_goal_is_the_least_for_a_rate_and_the_most_for_a_latency() {
        let check = |measure: Measure, ratios: &[f64], goal, expect| assert_eq!(measure.keeps(ratios, goal), expect);
        check(Measure::Rate, &[3.1], 3.0, true);
        check(Measure::Rate, &[2.9], 3.0, false);
        check(Measure::ConfirmLatency, &[0.3, 0.2], 0.33, true);
        check(Measure::EndToEndLatency, &[0.3, 0.4], 0.33, false);
        check(Measure::Memory, &[0.1], 0.06, false);
    }
}
