//! What came of a suite's runs: per scenario, per situation, per failure.
//!
//! Runs end in any order; all that is told of them is put in the order of the agenda, so that two suites of the same seeds say the same.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::agenda::{Done, Item};
use super::entry::Entry;
use crate::report::{Failure, FailureKind};

/// Failures whose story is kept in full; beyond that only their first lines are, so that a suite in which all fails ends too.
const STORIES_MAX: usize = 2000;

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By the scenario's place in the suite.
    pub(crate) scenarios: Vec<ScenarioTally>,
    /// Failures, those of the same signature together, in the order in which they came; [`Self::ranked`] has a better one.
    pub(crate) groups: Vec<Group>,
    /// Runs that came to an end.
    pub(crate) runs: u64,
    /// Inputs and effects of all engines.
    pub(crate) engine_events: u64,
}

/// What came of one scenario.
#[derive(Debug, Default)]
pub(crate) struct ScenarioTally {
    /// Its runs, by seed once all is over.
    pub(crate) cells: Vec<Cell>,
    /// Messages published.
    pub(crate) messages: u64,
    /// Simulated time.
    pub(crate) virtual_us: u64,
    /// Promises that could have been broken in it.
    pub(crate) promises: Vec<Mark>,
    /// Situations that it came to.
    pub(crate) situations: Vec<Mark>,
}

/// One run of a scenario.
#[derive(Debug)]
pub(crate) struct Cell {
    /// Which run.
    pub(crate) item: Item,
    /// Real time that it took.
    pub(crate) wall_us: u64,
    /// Its trace hash.
    pub(crate) trace: u64,
    /// How it ended.
    pub(crate) ending: Ending,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// All promises were kept.
    Kept,
    /// The promise broke that has to break in this scenario.
    AsExpected,
    /// One was broken.
    Failed {
        /// By its place in [`Tally::groups`].
        group: usize,
        /// What happened, in a page of text.
        story: String,
    },
}

/// Failures with the same signature.
#[derive(Debug)]
pub(crate) struct Group {
    /// The promise.
    pub(crate) oracle: &'static str,
    /// The kind.
    pub(crate) kind: FailureKind,
    /// What they share.
    pub(crate) signature: String,
    /// How many there are.
    pub(crate) count: u64,
    /// The place in the agenda of the first of them.
    pub(crate) first: usize,
    /// Of each scenario that has it, the failure that comes soonest.
    pub(crate) soonest: BTreeMap<usize, Example>,
}

/// One failure that stands for all of its kind.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    /// Its run.
    pub(crate) item: Item,
    /// How much happened until then, in inputs and effects of the engine.
    pub(crate) events: u64,
    /// The sentence.
    pub(crate) text: String,
    /// What happened, in a page of text.
    pub(crate) story: String,
    /// The folder or file that it was saved to.
    pub(crate) saved: Option<PathBuf>,
}

/// A promise that can be at stake, or a situation that can be come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Its name.
    pub(crate) name: &'static str,
    /// How often it was.
    pub(crate) hits: u64,
    /// The first run of the agenda in which it was.
    pub(crate) first: Option<Item>,
}

impl Tally {
    /// Nothing yet, of so many scenarios.
    pub(crate) fn new(scenarios: usize) -> Self {
        Self { scenarios: std::iter::repeat_with(ScenarioTally::default).take(scenarios).collect(), ..Self::default() }
    }

    /// Adds one run.
    pub(crate) fn add(&mut self, entries: &[Entry], done: Done) {
        let Done { item, report, wall_us } = done;
        let entry = &entries[item.entry];
        let events = report.counts.inputs + report.counts.effects;
        self.runs += 1;
        self.engine_events += events;
        let story = report.story(&entry.repeat_command(item.seed));
        let scenario = &mut self.scenarios[item.entry];
        scenario.messages += report.messages;
        scenario.virtual_us += report.time;
        note(&mut scenario.promises, &report.judged, item);
        note(&mut scenario.situations, &report.situations, item);
        let ending = match report.failure {
            None => Ending::Kept,
            Some(failure) if entry.expected.fails.as_deref() == Some(failure.oracle) => Ending::AsExpected,
            Some(failure) => {
                let story = if self.failures() < STORIES_MAX as u64 { story } else { format!("{}\n", failure.text) };
                Ending::Failed { group: self.group(failure, item, events, &story), story }
            }
        };
        self.scenarios[item.entry].cells.push(Cell { item, wall_us, trace: report.trace, ending });
    }

    /// Puts a failure to those of its signature.
    fn group(&mut self, failure: Failure, item: Item, events: u64, story: &str) -> usize {
        let signature = failure.signature();
        let known = self.groups.iter().position(|group| group.signature == signature);
        let at = known.unwrap_or_else(|| {
            let (oracle, kind) = (failure.oracle, failure.kind);
            self.groups.push(Group { oracle, kind, signature, count: 0, first: item.order, soonest: BTreeMap::new() });
            self.groups.len() - 1
        });
        let group = &mut self.groups[at];
        group.count += 1;
        group.first = group.first.min(item.order);
        let is_sooner = |other: &Example| (events, item.order) < (other.events, other.item.order);
        if group.soonest.get(&item.entry).is_none_or(is_sooner) {
            let example = Example { item, events, text: failure.text, story: story.to_owned(), saved: None };
            group.soonest.insert(item.entry, example);
        }
        at
    }

    /// Puts everything in the order of the agenda, once all runs have ended.
    pub(crate) fn finish(&mut self) {
        for scenario in &mut self.scenarios {
            scenario.cells.sort_by_key(|cell| cell.item.seed);
        }
    }

    /// Groups of failures: the gravest kind first, and then in the order of the agenda.
    pub(crate) fn ranked(&self) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.groups.iter().collect();
        groups.sort_by_key(|group| (group.kind.exit_code(), group.first));
        groups
    }

    /// Runs in which a promise broke that should not have.
    pub(crate) fn failures(&self) -> u64 {
        self.groups.iter().map(|group| group.count).sum()
    }

    /// Promises with their hits in all scenarios that are to keep them.
    pub(crate) fn promises(&self, entries: &[Entry]) -> Vec<Mark> {
        self.sum(entries, |scenario| &scenario.promises)
    }

    /// Situations with their hits in all scenarios that are to keep all promises.
    pub(crate) fn situations(&self, entries: &[Entry]) -> Vec<Mark> {
        self.sum(entries, |scenario| &scenario.situations)
    }

    fn sum(&self, entries: &[Entry], marks: impl Fn(&ScenarioTally) -> &Vec<Mark>) -> Vec<Mark> {
        let mut sums: Vec<Mark> = Vec::new();
        for (scenario, entry) in self.scenarios.iter().zip(entries) {
            if entry.expected.fails.is_none() {
                marks(scenario).iter().for_each(|mark| merge(&mut sums, mark));
            }
        }
        sums
    }
}

impl ScenarioTally {
    /// Runs in which a promise broke that should not have.
    pub(crate) fn failures(&self) -> usize {
        self.cells.iter().filter(|cell| matches!(cell.ending, Ending::Failed { .. })).count()
    }

    /// The first seed in which the promise broke that has to.
    pub(crate) fn first_as_expected(&self) -> Option<u64> {
        self.cells.iter().filter(|cell| matches!(cell.ending, Ending::AsExpected)).map(|cell| cell.item.seed).min()
    }

    /// The run that took longest.
    pub(crate) fn slowest(&self) -> Option<&Cell> {
        self.cells.iter().max_by_key(|cell| cell.wall_us)
    }

    /// Real time of all its runs, one after the other.
    pub(crate) fn wall_us(&self) -> u64 {
        self.cells.iter().map(|cell| cell.wall_us).sum()
    }

    /// A mark of either kind by its name.
    pub(crate) fn mark(&self, name: &str) -> Option<&Mark> {
        self.promises.iter().chain(&self.situations).find(|mark| mark.name == name)
    }
}

impl Group {
    /// Of all its failures the one that comes soonest.
    ///
    /// # Panics
    /// Never: a group is made for a failure.
    pub(crate) fn example(&self) -> &Example {
        let soonest = self.soonest.values().min_by_key(|example| (example.events, example.item.order));
        soonest.expect("a group is made for a failure")
    }
}

/// Adds what one run came to.
fn note(marks: &mut Vec<Mark>, counts: &[(&'static str, u64)], item: Item) {
    for &(name, hits) in counts {
        merge(marks, &Mark { name, hits, first: (hits > 0).then_some(item) });
    }
}

/// Adds a mark to those of its name.
fn merge(marks: &mut Vec<Mark>, mark: &Mark) {
    match marks.iter_mut().find(|known| known.name == mark.name) {
        None => marks.push(mark.clone()),
        Some(known) => {
            known.hits += mark.hits;
            let firsts = [known.first, mark.first];
            known.first = firsts.into_iter().flatten().min_by_key(|item| item.order);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::OnceLock;

    use super::*;
    use crate::cli::find::built_in;
    use crate::report::Report;
    use crate::run::{RunOptions, plan, run_plan};
    use crate::suite::entry::entries;

    /// A suite of two scenarios that the outputs are tested with: one kept, one with failures; nothing was run for it but one seed.
    pub(crate) struct Sample {
        pub(crate) entries: Vec<Entry>,
        pub(crate) tally: Tally,
        /// Of the first seed of the first scenario.
        pub(crate) report: Report,
    }

    impl Sample {
        pub(crate) fn new() -> Self {
            let names = ["steady", "tx"];
            let found = built_in().into_iter().filter(|found| names.contains(&found.place.as_str())).collect();
            let entries = entries(found).unwrap();
            static STEADY: OnceLock<Report> = OnceLock::new();
            let run = || run_plan(plan(&entries[0].scenario, 0), RunOptions::default());
            let report = STEADY.get_or_init(run).clone();
            assert_eq!((report.failure.as_ref(), entries[0].name()), (None, "steady"));
            Self { tally: Tally::new(entries.len()), entries, report }
        }

        /// Adds a run that ended so.
        pub(crate) fn add(&mut self, order: u64, entry: usize, seed: u64, failure: Option<Failure>) {
            let mut report = self.report.clone();
            report.scenario = self.entries[entry].name().to_owned();
            report.seed = seed;
            report.counts.inputs = 1_000_000 - order;
            report.failure = failure;
            let order = usize::try_from(order).unwrap();
            let done = Done { item: Item { order, entry, seed }, report, wall_us: 1000 + 10 * seed };
            self.tally.add(&self.entries, done);
        }
    }

    pub(crate) fn lost(number: u64) -> Failure {
        Failure::safety("lost", format!("message {number} <was> & is \"gone\""), &[])
    }

    #[test]
    fn failures_of_one_signature_are_one_and_the_soonest_stands_for_it() {
        let mut sample = Sample::new();
        sample.add(3, 1, 1, Some(lost(17)));
        sample.add(0, 0, 0, None);
        sample.add(5, 1, 2, Some(lost(4)));
        sample.add(4, 0, 2, Some(Failure::liveness("time stands still")));
        sample.tally.finish();
        let tally = &sample.tally;
        assert_eq!((tally.runs, tally.failures(), tally.groups.len()), (4, 3, 2));
        let example = tally.groups[0].example();
        assert_eq!(
            (tally.groups[0].count, example.item.seed, example.text.as_str()),
            (2, 2, "message 4 <was> & is \"gone\"")
        );
        assert!(example.story.contains("repeat: leveret-sim run tx --seed 2"), "{}", example.story);
        assert_eq!((tally.scenarios[0].failures(), tally.scenarios[1].failures()), (1, 2));
        assert_eq!(tally.scenarios[1].slowest().unwrap().item.seed, 2);
    }

    /// Whatever the order in which the runs end.
    #[test]
    fn the_first_of_the_agenda_reached_a_mark_first() {
        let mut sample = Sample::new();
        for (order, entry, seed) in [(2, 0, 1), (1, 1, 0), (3, 1, 1)] {
            sample.add(order, entry, seed, None);
        }
        let marks = sample.tally.promises(&sample.entries);
        let reached = marks.iter().find(|mark| mark.hits > 0).unwrap();
        assert_eq!(reached.first, Some(Item { order: 1, entry: 1, seed: 0 }));
        let of_one = sample.tally.scenarios[0].mark(reached.name).unwrap();
        assert_eq!((of_one.first.map(|item| item.seed), of_one.hits * 3), (Some(1), reached.hits));
    }

    #[test]
    fn what_has_to_break_is_no_failure_and_reaches_no_mark() {
        let mut sample = Sample::new();
        sample.entries[1].expected.fails = Some("lost".to_owned());
        sample.add(0, 1, 5, Some(lost(1)));
        sample.add(1, 1, 3, Some(lost(1)));
        sample.add(2, 1, 4, Some(Failure::liveness("time stands still")));
        assert_eq!(sample.tally.failures(), 1);
        assert_eq!(sample.tally.scenarios[1].first_as_expected(), Some(3));
        assert!(sample.tally.promises(&sample.entries).is_empty());
    }
}
