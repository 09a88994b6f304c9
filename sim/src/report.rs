//! What came of a run, for people and for programs.

use std::fmt::Write;

use crate::clock::Micros;
use crate::disk::DiskCounts;
use crate::history::Fact;
use crate::world::Counts;

/// The result of one run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// What went wrong.
    pub failure: Option<Failure>,
    /// The promise that was expected to be broken, by its name.
    pub expected: Option<String>,
    /// Virtual time at the end.
    pub time: Micros,
    /// The trace hash.
    pub trace: u64,
    /// How much happened at the engine's boundary.
    pub(crate) counts: Counts,
    /// How much happened on the disk.
    pub(crate) disk: DiskCounts,
    /// Messages published.
    pub messages: u64,
    /// Facts judged.
    pub facts: u64,
    /// How often each promise could have been broken, by its name.
    pub judged: Vec<(&'static str, u64)>,
    /// How often each situation was there that a suite should have been in, by its name.
    pub situations: Vec<(&'static str, u64)>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Of which kind it is.
    pub kind: FailureKind,
    /// The promise that was broken.
    pub oracle: &'static str,
    /// How, in a sentence.
    pub text: String,
    /// The last that happened to what it is about.
    pub lines: Vec<String>,
}

/// The kinds of failures; each has its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// A promise was broken.
    Safety,
    /// Something that had to happen did not.
    Liveness,
    /// The engine panicked.
    Crash,
}

impl Failure {
    /// A promise was broken.
    pub(crate) fn safety(oracle: &'static str, text: String, lines: &[(Micros, Fact)]) -> Self {
        Self { kind: FailureKind::Safety, oracle, text, lines: Vec::new() }.with_lines(lines)
    }

    /// Something that had to happen did not.
    pub(crate) fn liveness(text: &str) -> Self {
        Self { kind: FailureKind::Liveness, oracle: "comes to rest", text: text.to_owned(), lines: Vec::new() }
    }

    /// A publisher got no answer for too long.
    pub(crate) fn unavailable(text: String) -> Self {
        Self { kind: FailureKind::Liveness, oracle: "available", text, lines: Vec::new() }
    }

    /// The engine panicked.
    pub(crate) fn crash(text: String) -> Self {
        Self { kind: FailureKind::Crash, oracle: "no panic", text, lines: Vec::new() }
    }

    /// What two failures share if they are the same one: the promise, and the sentence without its numbers.
    pub fn signature(&self) -> String {
        let mut out = format!("{}: ", self.oracle);
        let mut was_digit = false;
        for character in self.text.chars() {
            let is_digit = character.is_ascii_digit();
            if !is_digit {
                out.push(character);
            } else if !was_digit {
                out.push('#');
            }
            was_digit = is_digit;
        }
        out
    }

    /// The same with its story.
    #[must_use]
    pub(crate) fn with_lines(mut self, lines: &[(Micros, Fact)]) -> Self {
        self.lines = lines.iter().map(|(time, fact)| format!("{} {fact}", seconds(*time))).collect();
        self
    }
}

impl FailureKind {
    /// The exit code of a program that found it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Safety => 2,
            Self::Liveness => 3,
            Self::Crash => 4,
        }
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Safety => "safety",
            Self::Liveness => "liveness",
            Self::Crash => "crash",
        }
    }
}

impl Report {
    /// What went wrong and was not expected to.
    pub fn unexpected(&self) -> Option<&Failure> {
        self.failure.as_ref().filter(|failure| self.expected.as_deref() != Some(failure.oracle))
    }

    /// The failure as a page of text, with the command that repeats it. Empty if all is well.
    pub fn story(&self, command: &str) -> String {
        let Some(failure) = &self.failure else { return String::new() };
        let mut out = String::new();
        let _ = writeln!(
            out,
            "FAIL {} ({})  {}  seed={}  t={}  trace={:016x}",
            failure.oracle,
            failure.kind.name(),
            self.scenario,
            self.seed,
            seconds(self.time),
            self.trace
        );
        let _ = writeln!(out, "  {}", failure.text);
        for line in &failure.lines {
            let _ = writeln!(out, "  {line}");
        }
        if self.unexpected().is_none() {
            let _ = writeln!(out, "this is what the scenario expects");
        }
        let _ = writeln!(out, "repeat: {command}");
        out
    }

    /// How often the node started.
    pub fn boots(&self) -> u64 {
        self.counts.boots
    }

    /// The report as one JSON object.
    pub fn json(&self, command: &str) -> serde_json::Value {
        let failure = self.failure.as_ref().map(|failure| {
            serde_json::json!({
                "kind": failure.kind.name(),
                "oracle": failure.oracle,
                "text": failure.text,
                "lines": failure.lines,
                "repeat": command,
                "expected": self.unexpected().is_none(),
            })
        });
        serde_json::json!({
            "scenario": self.scenario,
            "seed": self.seed,
            "trace": format!("{:016x}", self.trace),
            "virtual_us": self.time,
            "inputs": self.counts.inputs,
            "effects": self.counts.effects,
            "boots": self.counts.boots,
            "messages": self.messages,
            "facts": self.facts,
            "syncs": self.disk.syncs,
            "lost_sectors": self.disk.lost_sectors,
            "failure": failure,
        })
    }
}

/// Virtual time as seconds.
pub fn seconds(time: Micros) -> String {
    format!("{:3}.{:06}s", time / 1_000_000, time % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_has_no_numbers() {
        let one = Failure::crash("engine/src/queue.rs:123:9: 17 is not 4".to_owned());
        let other = Failure::crash("engine/src/queue.rs:99:10: 3 is not 1000".to_owned());
        assert_eq!(one.signature(), "no panic: engine/src/queue.rs:#:#: # is not #");
        assert_eq!(one.signature(), other.signature());
        assert_ne!(one.signature(), Failure::liveness("time stands still").signature());
    }
}
