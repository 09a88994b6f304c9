//! The page that shows a failure: one file that opens from disk and loads nothing.
//!
//! What it shows is in it as compressed JSON, put together from the recording by this module; how it looks and behaves is in
//! `report.html`, `report.css` and `report.js` beside it.

#[cfg(test)]
pub(crate) mod tests;

use std::fmt::Write as _;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use crate::explain::Explanation;
use crate::record::Recording;
use crate::report::{Report, seconds};
use crate::shrink::Size;

/// Lines of the text that is shown where scripts are off.
const TEXT_LINES: usize = 200;

/// What a page shows.
#[derive(Debug)]
pub struct Page<'a> {
    /// The runs, the one to look at first; with a shrunk one, two.
    pub runs: Vec<Run<'a>>,
    /// The build, in a few words.
    pub build: String,
    /// The compiler.
    pub rustc: &'a str,
    /// What shrinking did.
    pub shrinking: Option<(Size, Size)>,
}

/// One run of a page.
#[derive(Debug)]
pub struct Run<'a> {
    /// Its name on the page.
    pub label: &'static str,
    /// What came of it.
    pub report: &'a Report,
    /// What happened.
    pub recording: &'a Recording,
    /// Why it failed.
    pub explanation: &'a Explanation,
}

/// What the page's script reads.
#[derive(Serialize)]
struct Data<'a> {
    runs: Vec<RunData<'a>>,
}

#[derive(Serialize)]
struct RunData<'a> {
    label: &'a str,
    trace: String,
    explanation: &'a Explanation,
    recording: &'a Recording,
    judged: &'a [(&'static str, u64)],
    situations: &'a [(&'static str, u64)],
}

/// Makes the page.
///
/// # Panics
/// If there is no run to show.
pub fn page(page: &Page<'_>) -> String {
    let first = page.runs.first().expect("a page shows a run");
    let explanation = first.explanation;
    let story: String = explanation
        .lines
        .iter()
        .map(|line| {
            let class = if line.is_break { " class=\"break\"" } else { "" };
            format!(
                "<li{class} data-at=\"{}\"><time>{}</time> {}</li>\n",
                line.at,
                seconds(line.at).trim(),
                escape(&line.text)
            )
        })
        .collect();
    let shrinking = page.shrinking.map_or_else(String::new, |(before, after)| {
        format!("<p class=\"shrunk\">shrunk: {}</p>", escape(&before.until(&after).replace("->", "→")))
    });
    let fields = [
        ("{{title}}", escape(&format!("{}: {} seed {}", explanation.oracle, explanation.scenario, explanation.seed))),
        ("{{oracle}}", escape(&explanation.oracle)),
        ("{{kind}}", explanation.kind.to_owned()),
        ("{{promised}}", escape(&explanation.promised)),
        ("{{happened}}", escape(&explanation.happened)),
        ("{{subject}}", escape(&explanation.subject)),
        ("{{scenario}}", escape(&explanation.scenario)),
        ("{{seed}}", explanation.seed.to_string()),
        ("{{time}}", seconds(first.report.time).trim().to_owned()),
        ("{{trace}}", format!("{:016x}", first.report.trace)),
        ("{{build}}", escape(&page.build)),
        ("{{rustc}}", escape(page.rustc)),
        ("{{repeat}}", escape(&explanation.repeat)),
        ("{{shrinking}}", shrinking),
        ("{{story}}", story),
        ("{{expected}}", escape(&explanation.expected)),
        ("{{actual}}", escape(&explanation.actual)),
        ("{{text}}", escape(&text(first.recording))),
        ("{{style}}", include_str!("report.css").to_owned()),
        ("{{script}}", include_str!("report.js").to_owned()),
        ("{{data}}", STANDARD.encode(compressed(page))),
    ];
    fill(include_str!("report.html"), &fields)
}

/// Puts the fields into their places, once each and without looking into what was put in.
fn fill(template: &str, fields: &[(&str, String)]) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find("{{") {
        out += &rest[..at];
        rest = &rest[at..];
        match fields.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                out += value;
                rest = &rest[name.len()..];
            }
            None => {
                out += "{{";
                rest = &rest[2..];
            }
        }
    }
    out + rest
}

fn compressed(page: &Page<'_>) -> Vec<u8> {
    let runs = page.runs.iter().map(|run| RunData {
        label: run.label,
        trace: format!("{:016x}", run.report.trace),
        explanation: run.explanation,
        recording: run.recording,
        judged: &run.report.judged,
        situations: &run.report.situations,
    });
    let json = serde_json::to_vec(&Data { runs: runs.collect() }).expect("recordings are plain data");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&json).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

/// The last that happened, as text.
fn text(recording: &Recording) -> String {
    let events = &recording.events;
    let mut out = String::new();
    for event in &events[events.len().saturating_sub(TEXT_LINES)..] {
        let _ = writeln!(out, "{}  {:12} {}", seconds(event.at), recording.lanes[event.lane].name, event.text);
    }
    out
}

/// Text in HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
