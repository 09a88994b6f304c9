//! The oracles see: each planted bug is found within 200 seeds. And what they see fits on a page: what found it shrinks to a few
//! operations.
#![cfg(feature = "mutants")]

use std::sync::{Mutex, PoisonError};

use leveret_engine::mutants::Mutant;
use leveret_sim::mutants::{hunt, of_cluster, options};
use leveret_sim::plan::Plan;
use leveret_sim::run::{RunOptions, collect_panics, run_plan};

/// Runs that each search may make, so that a slow machine gives the same result.
const RUNS_MAX: u64 = 6000;

/// Engines of one process share the planted bug: one after the other.
static PLANTING: Mutex<()> = Mutex::new(());

#[test]
fn each_planted_bug_is_found_within_200_seeds_and_shrinks_to_a_few_operations() {
    let _alone = PLANTING.lock().unwrap_or_else(PoisonError::into_inner);
    collect_panics();
    let mut operations = Vec::new();
    for mutant in Mutant::ALL {
        let hunt = hunt(mutant, 200, None);
        let caught = hunt.caught.as_ref().and_then(|report| report.failure.as_ref());
        let Some(failure) = caught else { panic!("{mutant:?} is not found in {} runs", hunt.runs) };
        let shrunk = hunt.shrink(&mut |progress| progress.runs < RUNS_MAX).expect("it was caught");
        let size = shrunk.before.until(&shrunk.after);
        assert!(shrunk.after.faults <= 3 && shrunk.after.operations <= 12, "{mutant:?}: {size}");
        operations.push(shrunk.after.operations);
        // The very same failure, also from the plan's file, and none at all without the bug.
        let found = shrunk.report.failure.as_ref().expect("a shrunk plan fails");
        assert_eq!((found.oracle, found.signature()), (failure.oracle, failure.signature()), "{mutant:?}");
        let read: Plan = serde_json::from_str(&shrunk.plan.to_text()).expect("it was just written");
        let again = run_plan(read.clone(), options(mutant));
        assert_eq!(again.trace, shrunk.report.trace, "{mutant:?}");
        let sound = run_plan(read, RunOptions::default());
        assert_eq!(sound.failure, None, "{mutant:?}: the plan fails without the bug: {size}");
    }
    operations.sort_unstable();
    assert!(operations[operations.len() / 2] <= 6, "{operations:?}");
}

/// Those that take several nodes are found as well, in the scenarios of clusters; what finds them is not shrunk here, which would take
/// long.
#[test]
fn each_planted_bug_of_a_cluster_is_found_within_500_seeds() {
    let _alone = PLANTING.lock().unwrap_or_else(PoisonError::into_inner);
    collect_panics();
    for mutant in of_cluster() {
        let hunt = hunt(mutant, 500, None);
        assert!(hunt.caught.is_some(), "{mutant:?} is not found in {} runs", hunt.runs);
    }
}
