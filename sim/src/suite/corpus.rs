//! A corpus: the few runs of a suite that came first to each promise and situation. They show in seconds that all is still tried.
//!
//! One run a line, in a format that is to stay: `scenario seed: mark; mark`. What follows a `#` at the beginning of a line is a
//! comment.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::agenda::{Agenda, Item};
use super::entry::Entry;
use super::tally::Tally;
use crate::report::Report;

/// One run of a corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The scenario's name.
    pub(crate) scenario: String,
    /// The seed.
    pub(crate) seed: u64,
    /// What it came to first.
    pub(crate) marks: Vec<String>,
}

/// The first runs of a suite to reach each mark: those that count for all of it, and those that a scenario asks for.
pub(crate) fn collect(entries: &[Entry], tally: &Tally) -> Vec<Line> {
    let mut firsts: BTreeMap<usize, (Item, Vec<String>)> = BTreeMap::new();
    let mut keep = |item: Item, mark: String| {
        let (_, marks) = firsts.entry(item.order).or_insert((item, Vec::new()));
        if !marks.contains(&mark) {
            marks.push(mark);
        }
    };
    for mark in [tally.promises(entries), tally.situations(entries)].concat() {
        if let Some(item) = mark.first {
            keep(item, mark.name.to_owned());
        }
    }
    for (entry, scenario) in entries.iter().zip(&tally.scenarios) {
        for mark in entry.expected.sometimes.iter().filter_map(|name| scenario.mark(name)) {
            if let Some(item) = mark.first {
                keep(item, mark.name.to_owned());
            }
        }
        if let (Some(oracle), Some(seed)) = (&entry.expected.fails, scenario.first_as_expected())
            && let Some(cell) = scenario.cells.iter().find(|cell| cell.item.seed == seed)
        {
            keep(cell.item, breaks(oracle));
        }
    }
    let line = |(item, marks): (Item, Vec<String>)| Line {
        scenario: entries[item.entry].name().to_owned(),
        seed: item.seed,
        marks,
    };
    firsts.into_values().map(line).collect()
}

/// A negative scenario's mark.
fn breaks(oracle: &str) -> String {
    format!("breaks {oracle}")
}

/// The text of a corpus file.
pub(crate) fn write(lines: &[Line]) -> String {
    let mut out = String::from(
        "# The first run of a suite to put each promise at stake, and to come to each situation: scenario seed: mark; mark\n\
         # Run them with `leveret-sim suite --only-corpus FILE`; write them again with `leveret-sim suite --corpus FILE`.\n",
    );
    for Line { scenario, seed, marks } in lines {
        let _ = writeln!(out, "{scenario} {seed}: {}", marks.join("; "));
    }
    out
}

/// Reads a corpus file's text.
///
/// # Errors
/// With the number of the first line that is none.
pub(crate) fn parse(text: &str) -> Result<Vec<Line>, String> {
    let numbered = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let lines = numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(number, line)| parse_line(line).ok_or_else(|| complaint(number, line))).collect()
}

fn parse_line(line: &str) -> Option<Line> {
    let (run, marks) = line.split_once(": ")?;
    let (scenario, seed) = run.rsplit_once(' ')?;
    let marks = marks.split(';').map(|mark| mark.trim().to_owned()).collect();
    Some(Line { scenario: scenario.trim().to_owned(), seed: seed.parse().ok()?, marks })
}

fn complaint(number: usize, line: &str) -> String {
    format!("line {number} is not `scenario seed: mark; mark`: {line}")
}

/// The runs of a corpus, without those of `lines` that this program cannot make.
///
/// # Errors
/// If a scenario is not in the suite.
pub(crate) fn agenda(lines: &mut Vec<Line>, entries: &[Entry]) -> Result<Agenda, String> {
    lines.retain(|line| {
        let entry = entries.iter().find(|entry| entry.name() == line.scenario);
        entry.is_none_or(|entry| entry.unavailable.is_none())
    });
    let find = |line: &Line| {
        let entry = entries.iter().position(|entry| entry.name() == line.scenario);
        let entry = entry.ok_or_else(|| {
            format!("the corpus has a run of {}, and no scenario of the suite is called so", line.scenario)
        })?;
        Ok((entry, line.seed))
    };
    Ok(Agenda::Listed(lines.iter().map(find).collect::<Result<_, String>>()?))
}

/// What a run of the corpus was kept for and no longer comes to.
pub(crate) fn missing(line: &Line, report: &Report) -> Vec<String> {
    let is_reached = |mark: &&String| match &report.failure {
        Some(failure) if **mark == breaks(failure.oracle) => true,
        _ => report.judged.iter().chain(&report.situations).any(|(name, hits)| name == mark && *hits > 0),
    };
    line.marks.iter().filter(|mark| !is_reached(mark)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::tally::tests::{Sample, lost};

    #[test]
    fn a_corpus_has_the_first_run_for_each_mark_and_its_runs_still_come_to_it() {
        let mut sample = Sample::new();
        sample.entries[1].expected.fails = Some("lost".to_owned());
        sample.add(4, 0, 2, None);
        sample.add(2, 0, 0, None);
        sample.add(3, 1, 1, Some(lost(1)));
        sample.tally.finish();
        let lines = collect(&sample.entries, &sample.tally);
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].scenario.as_str(), lines[0].seed), ("steady", 0));
        assert_eq!((lines[1].seed, lines[1].marks.as_slice()), (1, &["breaks lost".to_owned()][..]));
        assert_eq!(parse(&write(&lines)), Ok(lines.clone()));

        let report = &sample.report;
        assert!(lines[0].marks.len() > 3, "{lines:?}");
        assert_eq!(missing(&lines[0], report), Vec::<String>::new());
        assert_eq!(missing(&lines[1], report), ["breaks lost"]);
    }

    #[test]
    fn only_those_runs_are_made() {
        let sample = Sample::new();
        let mut lines = parse("# two\n\ntx 7: a; b\nsteady 3: c\n").unwrap();
        let agenda = agenda(&mut lines, &sample.entries).unwrap();
        let runs: Vec<_> = (0..).map_while(|order| agenda.get(order)).map(|item| (item.entry, item.seed)).collect();
        let place = |name: &str| sample.entries.iter().position(|entry| entry.name() == name).unwrap();
        assert_eq!(runs, [(place("tx"), 7), (place("steady"), 3)]);
    }

    #[test]
    fn what_is_no_corpus_is_refused_with_its_line() {
        assert!(parse("# ok\nsteady x: a\n").unwrap_err().starts_with("line 2 "));
        let mut lines = parse("rain 1: a").unwrap();
        assert!(agenda(&mut lines, &Sample::new().entries).unwrap_err().contains("rain"));
    }
}
