//! The verdict, for people and for machines.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::finding::{Cause, Finding};
use super::lab::shown;
use super::weakness::{self, Weakness, find};
use super::{Tally, Verdict};

/// Of so many findings of one kind each is told; of more only the first.
const STORIES_OF_A_KIND: usize = 3;
/// Columns that text is broken at.
const WIDTH: usize = 110;

/// For people.
pub(super) fn text(path: &Path, verdict: &Verdict) {
    say(&render(path, verdict));
}

/// For machines: one object.
pub(super) fn json(path: &Path, verdict: &Verdict) {
    let Verdict { findings, ignored, notes, subjects, tally } = verdict;
    let vhosts: Vec<_> = subjects
        .iter()
        .map(|subject| {
            json!({
                "name": subject.vhost,
                "queues": subject.queues.len(),
                "exchanges": subject.exchanges.len(),
                "bindings": subject.bindings.len(),
            })
        })
        .collect();
    let object = json!({
        "format": 1, "definitions": path.display().to_string(), "vhosts": vhosts, "sound": findings.is_empty(),
        "findings": findings, "ignored": ignored, "notes": notes, "tally": tally,
    });
    say(&format!("{object}\n"));
}

/// More about one weakness, or all.
///
/// # Errors
/// If there is none of this name.
pub(super) fn explain(name: &str) -> Result<(), String> {
    let all: Vec<&Weakness> = if name == "all" { weakness::ALL.to_vec() } else { vec![find(name)?] };
    for weakness in all {
        let Weakness { name, severity, about, why, hint } = weakness;
        say(&format!(
            "{name} ({})\n{}{}{}\n",
            severity.name(),
            wrapped(about, "  "),
            wrapped(why, "  "),
            wrapped(&format!("To mend it: {hint}."), "  ")
        ));
    }
    Ok(())
}

/// The verdict as text.
pub(super) fn render(path: &Path, verdict: &Verdict) -> String {
    let Verdict { findings, ignored, notes, subjects, tally } = verdict;
    let is_one = subjects.len() == 1;
    let mut out = String::new();
    let mut number = 1;
    for group in findings.chunk_by(|a, b| (a.weakness.name, &a.vhost) == (b.weakness.name, &b.vhost)) {
        let told = if group.len() > STORIES_OF_A_KIND { 1 } else { group.len() };
        for finding in &group[..told] {
            out.push_str(&one(number, finding, is_one));
            number += 1;
        }
        if let Some(others) = group.get(told..).filter(|others| !others.is_empty()) {
            number += others.len();
            out.push_str(&also(others));
        }
    }
    for note in notes {
        out.push_str(&wrapped(&format!("Note: {note}."), ""));
    }
    let queues: usize = subjects.iter().map(|subject| subject.queues.len()).sum();
    let vhosts = if is_one { String::new() } else { format!(" in {} vhosts", subjects.len()) };
    let Tally { experiments, published, acked, in_queues, returned, refused, lost } = tally;
    out.push_str(&format!(
        "{}: {queues} queues{vhosts}, {experiments} experiments, {published} messages: {acked} acked, {in_queues} still in a queue, \
         {returned} returned, {refused} refused, {lost} lost.\n",
        path.display()
    ));
    let kept = if *ignored > 0 { format!(" ({ignored} ignored)") } else { String::new() };
    out.push_str(&match findings.len() {
        0 => format!("Sound: no message was lost without its publisher or consumer being told{kept}.\n"),
        count => {
            let by_design = findings.iter().filter(|finding| finding.cause == Cause::Design).count();
            let weaknesses = if count == 1 { "weakness" } else { "weaknesses" };
            format!(
                "{count} {weaknesses}{kept}: {by_design} by design of the topology, {} by a fault. \
                 `leveret-sim topology --explain NAME` says more.\n",
                count - by_design
            )
        }
    });
    out
}

fn one(number: usize, finding: &Finding, is_one_vhost: bool) -> String {
    let Finding { weakness, vhost, cause, story, .. } = finding;
    let vhost = if is_one_vhost { String::new() } else { format!(" in vhost '{vhost}'") };
    let mut out =
        format!("{number}. {} · {} · {}{vhost}\n", weakness.name, weakness.severity.name(), finding.place_in_words());
    let cause = match cause {
        Cause::Design => "By design of your topology.".to_owned(),
        Cause::Fault(fault) => format!("By a fault: {fault}."),
    };
    out.push_str(&wrapped(&format!("{cause} {}", weakness.about), "   "));
    for (index, line) in story.iter().enumerate() {
        let lead = format!("     {}. {:>8}  ", index + 1, shown(line.at_us));
        out.push_str(&hanging(&lead, &line.text));
    }
    out.push_str(&wrapped(&format!("Mend it: {}.", weakness.hint), "   "));
    out.push('\n');
    out
}

/// Where else the weakness is that was just told of.
fn also(others: &[Finding]) -> String {
    let places: Vec<String> = others.iter().map(Finding::place_in_words).collect();
    let text =
        format!("The same in {} other places: {}. --json and --html tell each story.", others.len(), places.join(", "));
    format!("{}\n", wrapped(&text, "   "))
}

fn wrapped(text: &str, indent: &str) -> String {
    hanging(indent, text)
}

/// Text broken into lines, of which the first begins with `lead` and the others stand under it.
fn hanging(lead: &str, text: &str) -> String {
    let indent = lead.chars().count();
    let mut out = lead.to_owned();
    let mut column = indent;
    for (index, word) in text.split_whitespace().enumerate() {
        let length = word.chars().count();
        if index > 0 && column + 1 + length > WIDTH {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if index > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
    out
}

fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
