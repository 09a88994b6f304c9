//! The search itself: the smallest failing plan so far, and the trial of a smaller one.

use std::collections::BTreeSet;
use std::ops::Range;

use super::Size;
use super::sound::{is_sound, is_whole};
use crate::clock::Micros;
use crate::plan::Plan;
use crate::rng::Fate;
use crate::trace::TraceHash;

/// How far a search has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Runs made.
    pub runs: u64,
    /// The size of the smallest failing plan so far.
    pub size: Size,
}

/// The smallest failing plan so far, with all that it takes to try another one.
pub(super) struct Search<'a> {
    pub(super) best: Plan,
    /// When the best one fails.
    pub(super) failed_at: Micros,
    pub(super) progress: Progress,
    /// Smaller plans found.
    pub(super) found: u64,
    /// Somebody said that it has been long enough.
    pub(super) is_over: bool,
    /// Other fates that are tried where a smaller plan does not fail with its own.
    pub(super) rolls: u64,
    /// A plan has to fail while its clients are at work, not only when all is counted afterwards.
    pub(super) is_early: bool,
    /// What may be tried: sound plans, or, if somebody wrote one that is not, whatever makes a world.
    may_be: fn(&Plan) -> bool,
    /// Other fates are drawn from these.
    seeds: Fate,
    /// Hashes of the plans that were tried, so that going over everything once more costs little.
    tried: BTreeSet<u64>,
    /// When a plan fails in the same way; `None` if it does not.
    fails: &'a mut dyn FnMut(&Plan) -> Option<Micros>,
    /// Is told before each run how it goes, and says whether to go on.
    watch: &'a mut dyn FnMut(&Progress) -> bool,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        plan: Plan,
        failed_at: Micros,
        fails: &'a mut dyn FnMut(&Plan) -> Option<Micros>,
        watch: &'a mut dyn FnMut(&Progress) -> bool,
    ) -> Self {
        let progress = Progress { runs: 0, size: Size::of(&plan) };
        let tried = BTreeSet::from([hash(&plan)]);
        let seeds = Fate::new(plan.seed, "shrink");
        let may_be: fn(&Plan) -> bool = if is_sound(&plan) { is_sound } else { is_whole };
        let is_early = failed_at <= plan.chaos_us;
        Self {
            best: plan,
            failed_at,
            progress,
            found: 0,
            is_over: false,
            rolls: 0,
            is_early,
            may_be,
            seeds,
            tried,
            fails,
            watch,
        }
    }

    /// Makes the best plan smaller or plainer, if it then still fails, be it with other fates. Says whether it does.
    ///
    /// A fate is a hash of the seed and a thing's number. When something is taken out, what comes after it gets other numbers, and a
    /// fault that was bad enough may be harmless then; with another seed it may be bad again.
    pub(super) fn attempt(&mut self, edit: impl FnOnce(&mut Plan)) -> bool {
        let mut candidate = self.best.clone();
        edit(&mut candidate);
        if self.is_over || hash(&candidate) == hash(&self.best) || !(self.may_be)(&candidate) {
            return false;
        }
        let others = (1..=self.rolls).map(|roll| self.seeds.of(0, roll)).collect::<Vec<_>>();
        let seeds = [candidate.seed].into_iter().chain(others);
        seeds.into_iter().any(|seed| self.try_plan(Plan { seed, ..candidate.clone() }))
    }

    /// From now on a plan may also fail when its clients have done their work.
    pub(super) fn allow_late(&mut self) {
        self.is_early = false;
        self.tried.clear();
    }

    /// Takes out as much as possible of a list: halves first, then ever smaller parts, from its end (delta debugging, Zeller and
    /// Hildebrandt, without the trials of subsets alone).
    pub(super) fn thin(&mut self, len: impl Fn(&Plan) -> usize, take_out: impl Fn(&mut Plan, Range<usize>)) {
        let mut part = len(&self.best);
        while part > 0 {
            let mut end = len(&self.best);
            while end > 0 && !self.is_over {
                let start = end.saturating_sub(part);
                self.attempt(|plan| take_out(plan, start..end));
                end = start;
            }
            part /= 2;
        }
    }

    /// Lowers a count as far as it goes, to `floor` at once or else by halves.
    pub(super) fn lower(&mut self, floor: u64, get: impl Fn(&Plan) -> Option<u64>, set: impl Fn(&mut Plan, u64)) {
        let Some(value) = get(&self.best).filter(|value| *value > floor) else { return };
        if self.attempt(|plan| set(plan, floor)) {
            return;
        }
        let (mut low, mut high) = (floor, value);
        while high - low > 1 && !self.is_over {
            let middle = low + (high - low) / 2;
            if self.attempt(|plan| set(plan, middle)) {
                high = middle;
            } else {
                low = middle;
            }
        }
    }

    /// Sets a time to the smallest round one that will do.
    pub(super) fn round(&mut self, least: Micros, get: impl Fn(&Plan) -> Option<Micros>, set: impl Fn(&mut Plan, u64)) {
        let Some(value) = get(&self.best) else { return };
        let smaller = [least].into_iter().chain(ROUND.into_iter().filter(|time| *time > least));
        for time in smaller.take_while(|time| *time < value) {
            if self.is_over || self.attempt(|plan| set(plan, time)) {
                return;
            }
        }
        for unit in [100_000, 10_000, 1000, 100] {
            let down = value / unit * unit;
            if value == down || (down >= least && self.attempt(|plan| set(plan, down))) {
                return;
            }
        }
    }

    fn try_plan(&mut self, candidate: Plan) -> bool {
        if self.is_over || !self.tried.insert(hash(&candidate)) {
            return false;
        }
        if !(self.watch)(&self.progress) {
            self.is_over = true;
            return false;
        }
        self.progress.runs += 1;
        let failed_at = (self.fails)(&candidate).filter(|time| !self.is_early || *time <= candidate.chaos_us);
        let Some(failed_at) = failed_at else { return false };
        self.failed_at = failed_at;
        self.progress.size = Size::of(&candidate);
        self.best = candidate;
        self.found += 1;
        true
    }
}

/// Times that are easy to read, in microseconds.
const ROUND: [Micros; 16] = [
    0, 1, 10, 100, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000,
];

/// What two plans share only if they are the same.
fn hash(plan: &Plan) -> u64 {
    let mut hash = TraceHash::new();
    hash.bytes(&serde_json::to_vec(plan).expect("a plan can always be written"));
    hash.value()
}
