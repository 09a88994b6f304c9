//! The story of a failure as Markdown.

use std::fmt::Write;

use super::{Environment, Recorded};
use crate::report::seconds;
use crate::shrink::Size;

/// A page for a step summary or a bug report.
pub(super) fn summary(recorded: &Recorded, environment: &Environment, shrinking: Option<(Size, Size)>) -> String {
    let Some(explanation) = &recorded.explanation else { return String::new() };
    let mut out = String::new();
    let _ = writeln!(out, "### {}: {}\n", explanation.oracle, escape(&explanation.happened));
    let _ = writeln!(out, "**Promised:** {}\n", explanation.promised);
    let _ = writeln!(out, "| | time | the story of {} |\n| ---: | ---: | --- |", escape(&explanation.subject));
    for (number, line) in (1..).zip(&explanation.lines) {
        let mark = if line.is_break { "**" } else { "" };
        let _ = writeln!(out, "| {number} | {} | {mark}{}{mark} |", seconds(line.at).trim_start(), escape(&line.text));
    }
    let _ = writeln!(out, "\n- expected: {}\n- actual: {}", escape(&explanation.expected), escape(&explanation.actual));
    let _ = writeln!(
        out,
        "- scenario `{}`, seed {}, trace `{:016x}`, build {}",
        explanation.scenario,
        explanation.seed,
        recorded.report.trace,
        environment.build()
    );
    if let Some((before, after)) = shrinking {
        let _ = writeln!(out, "- shrunk: {}", before.until(&after));
    }
    if let Some(mutant) = &environment.mutant {
        let _ = writeln!(out, "- planted bug: `{mutant}`");
    }
    let _ = writeln!(out, "\n```sh\n{}\n```", explanation.repeat);
    out
}

/// Text of a run in a Markdown table.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}
