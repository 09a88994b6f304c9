//! Each planted bug is found, so that the world can be trusted where it finds nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::chaos::run;
use crate::mutants::{Mutant, plant};

/// Seeds within which each has to be found.
const SEEDS: u64 = 500;

#[test]
#[ignore = "planted bugs are shared by all tests of a process: run it alone"]
fn each_planted_bug_of_the_membership_is_found() {
    for mutant in Mutant::MEMBERSHIP {
        plant(Some(mutant));
        let found = (0..SEEDS).find_map(|seed| catch_unwind(AssertUnwindSafe(|| run(seed))).err().map(|_| seed));
        plant(None);
        assert!(found.is_some(), "{mutant:?} is not found in {SEEDS} seeds");
    }
}
