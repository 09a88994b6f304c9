//! A canary: a scenario that has to fail, to see that a failure gets from the run to whoever is to hear of it.

use super::entry::{Entry, Expected};
use crate::scenario::Scenario;

/// Its name.
pub(crate) const NAME: &str = "canary";

/// A bit of the disk turns, and the node is held to all of its promises in spite of it, which none can keep: it stops.
///
/// # Panics
/// Never: `bit-rot` is part of the program.
pub(crate) fn scenario() -> Scenario {
    let mut scenario =
        Scenario::built_in().into_iter().find(|scenario| scenario.name == "bit-rot").expect("part of the program");
    NAME.clone_into(&mut scenario.name);
    "A bit of the disk turns and the node is held to all promises: it has to fail.".clone_into(&mut scenario.about);
    scenario.run.beyond_claim = false;
    scenario
}

/// It as part of a suite, where nothing excuses it.
pub(crate) fn entry() -> Entry {
    Entry { scenario: scenario(), place: NAME.to_owned(), expected: Expected::default(), unavailable: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{RunOptions, plan, run_plan};

    #[test]
    fn the_canary_dies_within_a_few_seeds() {
        let scenario = scenario();
        let failed = (0..10).filter(|&seed| run_plan(plan(&scenario, seed), RunOptions::default()).failure.is_some());
        assert!(failed.count() > 2);
    }
}
