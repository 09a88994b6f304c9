//! What many runs come to.

use std::process::ExitCode;

use super::progress::Stopwatch;
use crate::report::{FailureKind, Report};

/// Sums over runs.
#[derive(Debug, Default)]
pub(super) struct Total {
    runs: u64,
    failures: u64,
    pub(super) worst: Option<FailureKind>,
    engine_events: u64,
    boots: u64,
    messages: u64,
    facts: u64,
    virtual_us: u64,
    pub(super) trace: u64,
    pub(super) judged: Sums,
    pub(super) situations: Sums,
}

/// Counts by name, in the order of their first appearance.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums(Vec<(&'static str, u64)>);

impl Sums {
    /// Adds counts to those of the same name.
    pub(super) fn add(&mut self, counts: &[(&'static str, u64)]) {
        for &(name, count) in counts {
            match self.0.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += count,
                None => self.0.push((name, count)),
            }
        }
    }

    /// A table for people, without what never was, which is only counted.
    pub(super) fn table(&self, title: &str) -> String {
        let (never, some): (Vec<_>, Vec<_>) = self.0.iter().partition(|(_, count)| *count == 0);
        let lines: String = some.iter().map(|(name, count)| format!("{count:>12}  {name}\n")).collect();
        let rest = if never.is_empty() { String::new() } else { format!("{:>12}  {} others\n", "never", never.len()) };
        format!("{title}:\n{lines}{rest}")
    }
}

impl Total {
    /// Adds one run.
    pub(super) fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.engine_events += report.counts.inputs + report.counts.effects;
        self.boots += report.counts.boots;
        self.messages += report.messages;
        self.facts += report.facts;
        self.virtual_us += report.time;
        self.trace = report.trace;
        self.judged.add(&report.judged);
        self.situations.add(&report.situations);
        if let Some(failure) = report.unexpected() {
            self.failures += 1;
            let code = self.worst.map_or(u8::MAX, FailureKind::exit_code);
            if failure.kind.exit_code() < code {
                self.worst = Some(failure.kind);
            }
        }
    }

    /// The exit code of a program with these runs.
    pub(super) fn exit_code(&self) -> ExitCode {
        self.worst.map_or(ExitCode::SUCCESS, |kind| ExitCode::from(kind.exit_code()))
    }

    /// What should have been tried and was not.
    pub(super) fn untried(&self) -> Vec<&'static str> {
        let all = self.judged.0.iter().chain(&self.situations.0);
        all.filter(|(_, count)| *count == 0).map(|(name, _)| *name).collect()
    }

    /// One line about all of it.
    pub(super) fn summary(&self, clock: &Stopwatch, trace: Option<u64>) -> String {
        let millis = clock.millis().max(1);
        let verdict = if self.failures == 0 { "ok".to_owned() } else { format!("{} failures", self.failures) };
        let hash = trace.map(|trace| format!(", trace {trace:016x}")).unwrap_or_default();
        format!(
            "{verdict}: {} runs, {} boots, {} messages, {} facts judged, {} s simulated; {} runs/s, {} engine events/s{hash}\n",
            self.runs,
            self.boots,
            self.messages,
            self.facts,
            self.virtual_us / 1_000_000,
            self.runs * 1000 / millis,
            self.engine_events * 1000 / millis,
        )
    }
}
