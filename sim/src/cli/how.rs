//! Flags about how runs are made, for all verbs that make some.

use clap::Args;

#[derive(Debug, Args)]
pub(super) struct HowArgs {
    /// Checks the engine's invariants once in this many steps; as the capsule did, if there is one.
    #[arg(long, value_name = "STEPS")]
    pub(super) check_every: Option<u64>,
    /// Plants this bug in the engine, whose own checks are then off, so that the oracles see it from outside. A capsule's own bug is
    /// planted without that.
    #[cfg(feature = "mutants")]
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
}

impl HowArgs {
    /// The bug to be planted.
    #[cfg(feature = "mutants")]
    pub(super) fn mutant(&self) -> Option<&str> {
        self.mutant.as_deref()
    }

    /// The bug to be planted: this build has none.
    #[cfg(not(feature = "mutants"))]
    #[expect(clippy::unused_self, reason = "the other build looks at its flag")]
    pub(super) fn mutant(&self) -> Option<&str> {
        None
    }

    /// The same flags, for a command that repeats the run.
    pub(super) fn repeated(&self) -> String {
        let check = self.check_every.map(|every| format!(" --check-every {every}")).unwrap_or_default();
        check + &self.mutant().map(|name| format!(" --mutant {name}")).unwrap_or_default()
    }
}
