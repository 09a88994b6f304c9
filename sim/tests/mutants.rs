//! The oracles see: each planted bug is found within 200 seeds.
#![cfg(feature = "mutants")]

use leveret_engine::mutants::Mutant;
use leveret_sim::mutants::hunt;
use leveret_sim::run::collect_panics;

/// One after the other: engines of one process share the planted bug.
#[test]
fn each_planted_bug_is_found_within_200_seeds() {
    collect_panics();
    for mutant in Mutant::ALL {
        let hunt = hunt(mutant, 200, None);
        assert!(hunt.caught.is_some(), "{mutant:?} is not found in {} runs", hunt.runs);
    }
}
