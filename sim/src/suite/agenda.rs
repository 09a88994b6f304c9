//! Which seeds of which scenarios are run, in which order, and the threads that run them.
//!
//! Scenarios take turns, a seed each, so that a suite that is stopped early has been everywhere.

use std::sync::Mutex;

use super::entry::Entry;
use crate::cli::progress::Stopwatch;
use crate::report::Report;
use crate::run::{RunOptions, plan, run_plan};

/// One run to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// Its place in the agenda.
    pub(crate) order: usize,
    /// Which scenario, by its place in the suite.
    pub(crate) entry: usize,
    /// The seed.
    pub(crate) seed: u64,
}

/// What came of one run.
#[derive(Debug)]
pub(crate) struct Done {
    /// Which run.
    pub(crate) item: Item,
    /// Its report.
    pub(crate) report: Report,
    /// Real time that it took.
    pub(crate) wall_us: u64,
}

/// Runs to make, in order.
#[derive(Clone, Debug)]
pub(crate) enum Agenda {
    /// So many seeds of each scenario, from one on; a scenario about one seed is run once, before the others.
    Turns {
        /// Scenarios about one seed, with it.
        fixed: Vec<(usize, u64)>,
        /// The others.
        open: Vec<usize>,
        /// The first seed.
        from: u64,
        /// Seeds of each; `None` goes on until time is up.
        seeds: Option<u64>,
    },
    /// Just these.
    Listed(Vec<(usize, u64)>),
}

impl Agenda {
    /// Seeds of all scenarios, in turn.
    pub(crate) fn turns(entries: &[Entry], from: u64, seeds: Option<u64>) -> Self {
        let (mut fixed, mut open) = (Vec::new(), Vec::new());
        for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.unavailable.is_none()) {
            match entry.scenario.run.seed {
                Some(seed) => fixed.push((at, seed)),
                None => open.push(at),
            }
        }
        Self::Turns { fixed, open, from, seeds }
    }

    /// The run at a place of the agenda, if it has one.
    pub(crate) fn get(&self, order: usize) -> Option<Item> {
        let (entry, seed) = match self {
            Self::Listed(list) => *list.get(order)?,
            Self::Turns { fixed, open, from, seeds } => match order.checked_sub(fixed.len()) {
                None => fixed[order],
                Some(turns) => {
                    let turn = turns.checked_div(open.len())? as u64;
                    if seeds.is_some_and(|seeds| turn >= seeds) {
                        return None;
                    }
                    (open[turns % open.len()], from.checked_add(turn)?)
                }
            },
        };
        Some(Item { order, entry, seed })
    }

    /// How many runs there are; `None` if only time ends them.
    pub(crate) fn len(&self) -> Option<usize> {
        match self {
            Self::Listed(list) => Some(list.len()),
            Self::Turns { fixed, open, seeds, .. } => match seeds {
                Some(seeds) => {
                    let turns = usize::try_from(*seeds).unwrap_or(usize::MAX).saturating_mul(open.len());
                    Some(turns.saturating_add(fixed.len()))
                }
                None if open.is_empty() => Some(fixed.len()),
                None => None,
            },
        }
    }

    /// Makes the runs on so many threads, and hands each to `each` as it ends; begins no more of them when that says so.
    ///
    /// # Panics
    /// If a thread of its own panics, which would be a bug of the simulator.
    pub(crate) fn run(
        &self,
        entries: &[Entry],
        threads: usize,
        options: RunOptions,
        each: impl FnMut(Done) -> bool + Send,
    ) {
        let next = Mutex::new(Some(0));
        let each = Mutex::new(each);
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    while let Some(item) = self.take(&next) {
                        let clock = Stopwatch::start();
                        let report = run_plan(plan(&entries[item.entry].scenario, item.seed), options);
                        let done = Done { item, report, wall_us: clock.micros() };
                        let goes_on = each.lock().expect("nobody panics with it")(done);
                        if !goes_on {
                            *next.lock().expect("nobody panics with it") = None;
                        }
                    }
                });
            }
        });
    }

    fn take(&self, next: &Mutex<Option<usize>>) -> Option<Item> {
        let mut next = next.lock().expect("nobody panics with it");
        let item = self.get((*next)?);
        *next = item.map(|item| item.order + 1);
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::find::built_in;
    use crate::suite::entry::entries;

    fn suite(names: &[&str]) -> Vec<Entry> {
        let all = built_in();
        entries(names.iter().map(|name| all.iter().find(|found| found.place == *name).unwrap().clone()).collect())
            .unwrap()
    }

    #[test]
    fn scenarios_take_turns_after_those_about_one_seed() {
        let entries = suite(&["steady", "slow-then-fast", "tx"]);
        let fixed = entries[1].scenario.run.seed.unwrap();
        let agenda = Agenda::turns(&entries, 5, Some(2));
        assert_eq!(agenda.len(), Some(5));
        let items: Vec<(usize, u64)> =
            (0..).map_while(|order| agenda.get(order)).map(|item| (item.entry, item.seed)).collect();
        assert_eq!(items, [(1, fixed), (0, 5), (2, 5), (0, 6), (2, 6)]);
    }

    #[test]
    fn what_this_program_cannot_run_is_left_out() {
        let mut entries = suite(&["steady", "slow-then-fast", "tx"]);
        entries[0].unavailable = Some("it cannot".to_owned());
        entries[1].unavailable = Some("it cannot".to_owned());
        let agenda = Agenda::turns(&entries, 0, Some(3));
        assert_eq!((agenda.len(), agenda.get(0).map(|item| item.entry)), (Some(3), Some(2)));
    }

    #[test]
    fn without_a_number_of_seeds_only_time_ends_it() {
        let agenda = Agenda::turns(&suite(&["steady"]), 0, None);
        assert_eq!(agenda.len(), None);
        assert_eq!(agenda.get(1_000_000).map(|item| item.seed), Some(1_000_000));
        let agenda = Agenda::turns(&suite(&["slow-then-fast"]), 0, None);
        assert_eq!((agenda.len(), agenda.get(1)), (Some(1), None));
    }

    #[test]
    fn no_run_begins_after_the_word_to_stop() {
        let entries = suite(&["steady"]);
        let mut orders = Vec::new();
        Agenda::turns(&entries, 0, None).run(&entries, 1, RunOptions::default(), |done| {
            orders.push(done.item.order);
            orders.len() < 2
        });
        assert_eq!(orders, [0, 1]);
    }
}
