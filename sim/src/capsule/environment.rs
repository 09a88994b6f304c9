//! Which build a capsule comes from.

use serde::{Deserialize, Serialize};

use crate::plan::FORMAT;
use crate::run::RunOptions;

/// A build of the simulator, and how it ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Version of the simulator.
    pub simulator: String,
    /// The commit, if the build was told: by `LEVERET_COMMIT` or, in GitHub Actions, `GITHUB_SHA`.
    pub commit: Option<String>,
    /// Hash of the sources of engine and simulator.
    pub sources: String,
    /// Hash of `Cargo.lock`.
    pub lock: String,
    /// The compiler.
    pub rustc: String,
    /// Features of the build.
    pub features: Vec<String>,
    /// Format of the plans.
    pub plan_format: u32,
    /// The engine's invariants were checked once in this many steps.
    pub check_every: u64,
    /// The bug that was planted in the engine.
    pub mutant: Option<String>,
}

impl Environment {
    /// This build, with the options of a run.
    pub fn of(options: &RunOptions) -> Self {
        Self {
            simulator: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("LEVERET_COMMIT").or(option_env!("GITHUB_SHA")).map(str::to_owned),
            sources: env!("LEVERET_SOURCES").to_owned(),
            lock: env!("LEVERET_LOCK").to_owned(),
            rustc: env!("LEVERET_RUSTC").to_owned(),
            features: if cfg!(feature = "mutants") { vec!["mutants".to_owned()] } else { Vec::new() },
            plan_format: FORMAT,
            check_every: options.check_every,
            mutant: options.mutant_name(),
        }
    }

    /// In what this build differs from that one so that a plan may run differently; empty if it may not.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let name = |commit: &Option<String>| commit.clone().unwrap_or_else(|| "not known".to_owned());
        let is_known = self.commit.is_some() && other.commit.is_some();
        let pairs = [
            ("commit", name(&self.commit), name(&other.commit), is_known),
            ("sources of engine and simulator", self.sources.clone(), other.sources.clone(), true),
            ("Cargo.lock", self.lock.clone(), other.lock.clone(), true),
            ("format of plans", self.plan_format.to_string(), other.plan_format.to_string(), true),
        ];
        pairs
            .into_iter()
            .filter(|(_, mine, its, counts)| *counts && mine != its)
            .map(|(what, mine, its, _)| format!("{what}: {its} there, {mine} here"))
            .collect()
    }

    /// The build in a few words.
    pub fn build(&self) -> String {
        match &self.commit {
            Some(commit) => format!("{} at {}", self.simulator, &commit[..commit.len().min(12)]),
            None => format!("{} of sources {}", self.simulator, &self.sources[..self.sources.len().min(8)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_change_a_run_counts_as_another_build() {
        let here = Environment::of(&RunOptions::default());
        assert_eq!(here.differences(&here.clone()), Vec::<String>::new());
        let there = Environment { rustc: "another".to_owned(), features: vec!["other".to_owned()], ..here.clone() };
        assert!(here.differences(&there).is_empty(), "a run does not depend on it");
        let there = Environment { sources: "0".to_owned(), lock: "1".to_owned(), ..here.clone() };
        let differences = here.differences(&there);
        assert_eq!(differences.len(), 2);
        assert!(differences[0].contains("sources") && differences[1].contains("Cargo.lock"), "{differences:?}");
    }

    #[test]
    fn commits_count_only_if_both_are_known() {
        let here = Environment { commit: None, ..Environment::of(&RunOptions::default()) };
        let there = Environment { commit: Some("abc".to_owned()), ..here.clone() };
        assert!(here.differences(&there).is_empty());
        let here = Environment { commit: Some("def".to_owned()), ..here };
        assert_eq!(here.differences(&there), ["commit: abc there, def here"]);
    }
}
