//! Shrinking: from a plan that fails to the smallest one that fails in the same way.
//!
//! A plan is made smaller and run again, over and over; what still fails with the same [`Failure::signature`] is kept. Faults and
//! clients are taken out first, since that makes all further runs fast, then what clients do, then rules and settings are made plain
//! and times round, until nothing of that helps any more. Nothing here knows what the failure is about.

mod features;
mod search;
mod size;
mod sound;
mod structure;
mod times;

pub use self::search::Progress;
use self::search::Search;
pub use self::size::Size;
use crate::clock::{Micros, SECOND};
use crate::plan::Plan;
use crate::report::{Failure, Report};
use crate::run::{RunOptions, run_plan};

/// What became of a plan.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest plan found that fails in the same way.
    pub plan: Plan,
    /// What its run says.
    pub report: Report,
    /// The size before.
    pub before: Size,
    /// The size after.
    pub after: Size,
    /// Runs made on the way.
    pub runs: u64,
    /// Nothing is left to be tried; otherwise it was stopped before.
    pub is_finished: bool,
}

/// Makes a failing plan as small as possible. `watch` is told before each run how it goes, and ends the search by saying false: a run
/// never looks at a clock, so how much time there is is the caller's affair.
///
/// The same plan, told to go on for the same number of runs, always gives the same result.
pub fn shrink(plan: &Plan, failure: &Failure, options: RunOptions, watch: &mut dyn FnMut(&Progress) -> bool) -> Shrunk {
    let signature = failure.signature();
    let mut fails = |candidate: &Plan| {
        let report = run_plan(candidate.clone(), options);
        let is_same = report.failure.as_ref().is_some_and(|failure| failure.signature() == signature);
        is_same.then_some(report.time)
    };
    // What never comes to rest is not waited for as patiently while there is a search; what is found has to fail with all patience.
    let hasty = Plan { settle_us: plan.settle_us.min(HASTE), ..plan.clone() };
    let quick = minimise(&hasty, &mut fails, watch)
        .map(|found| Found { plan: Plan { settle_us: plan.settle_us, ..found.plan }, ..found });
    let found = quick.filter(|found| fails(&found.plan).is_some()).or_else(|| minimise(plan, &mut fails, watch));
    let Found { plan: smallest, runs, is_finished } =
        found.unwrap_or_else(|| Found { plan: plan.clone(), runs: 0, is_finished: true });
    let report = run_plan(smallest.clone(), options);
    let (before, after) = (Size::of(plan), Size::of(&smallest));
    Shrunk { plan: smallest, report, before, after, runs, is_finished }
}

/// How long a run may take to come to rest during a search: several times as long as anything that is held back on purpose.
const HASTE: Micros = 30 * SECOND;

/// Other fates that are tried for a smaller plan: none while the plan is large and runs are long, later a few, and many in the end.
const FEW_ROLLS: u64 = 4;
const MANY_ROLLS: u64 = 40;

/// The end of a search.
struct Found {
    /// The smallest plan that fails.
    plan: Plan,
    /// Runs made.
    runs: u64,
    /// Nothing is left to be tried.
    is_finished: bool,
}

/// Searches for the smallest plan that fails; `None` if the given one does not. `fails` says when a plan does, if it does.
fn minimise(
    plan: &Plan,
    fails: &mut dyn FnMut(&Plan) -> Option<Micros>,
    watch: &mut dyn FnMut(&Progress) -> bool,
) -> Option<Found> {
    let failed_at = fails(plan)?;
    let mut search = Search::new(plan.clone(), failed_at, fails, watch);
    // Less comes before plainer: as long as chance still has a hand in it, other fates make a difference. And what fails under way has
    // to do so at first; else the clients it takes are taken out, and what counts in the end asks for far more than they did.
    for rolls in [0, FEW_ROLLS] {
        search.rolls = rolls;
        until_nothing_helps(&mut search, less);
    }
    search.allow_late();
    until_nothing_helps(&mut search, |search| {
        search.rolls = MANY_ROLLS;
        less(search);
        search.rolls = FEW_ROLLS;
        plainer(search);
    });
    Some(Found { plan: search.best, runs: search.progress.runs, is_finished: !search.is_over })
}

fn until_nothing_helps(search: &mut Search<'_>, pass: impl Fn(&mut Search<'_>)) {
    let mut before = None;
    while !search.is_over && before != Some(search.found) {
        before = Some(search.found);
        pass(search);
    }
}

/// Takes things out.
fn less(search: &mut Search<'_>) {
    structure::truncate(search);
    structure::faults(search);
    structure::clients(search);
    structure::nodes(search);
    structure::topology(search);
    features::rules(search);
    structure::operations(search);
}

/// Makes plain what is left.
fn plainer(search: &mut Search<'_>) {
    features::clients(search);
    features::settings(search);
    times::halve(search);
    times::round(search);
}

#[cfg(test)]
mod tests;
