//! A suite as tables for a terminal.

use std::fmt::Write;

use super::entry::Entry;
use super::tally::{Mark, Tally};

/// A line for each scenario.
pub(crate) fn scenarios(entries: &[Entry], tally: &Tally) -> String {
    let width = entries.iter().map(|entry| entry.name().len()).max().unwrap_or(0).max("scenario".len());
    let mut out = format!(
        "{:width$} {:>7} {:>9} {:>10} {:>8} {:>9}  slowest seed\n",
        "scenario", "runs", "messages", "simulated", "failures", "wall time"
    );
    for (entry, scenario) in entries.iter().zip(&tally.scenarios) {
        if let Some(reason) = &entry.unavailable {
            let _ = writeln!(out, "{:width$} skipped: {reason}", entry.name());
            continue;
        }
        let failures = match (scenario.failures(), &entry.expected.fails) {
            (0, Some(_)) if scenario.first_as_expected().is_some() => "as due".to_owned(),
            (0, _) => "-".to_owned(),
            (failures, _) => failures.to_string(),
        };
        let slowest = scenario
            .slowest()
            .map_or_else(String::new, |cell| format!("{} ({})", cell.item.seed, duration(cell.wall_us)));
        let _ = writeln!(
            out,
            "{:width$} {:>7} {:>9} {:>9}s {failures:>8} {:>9}  {slowest}",
            entry.name(),
            scenario.cells.len(),
            scenario.messages,
            scenario.virtual_us / 1_000_000,
            duration(scenario.wall_us()),
        );
    }
    out
}

/// A line for each mark, with the first run that reached it.
pub(crate) fn marks(title: &str, entries: &[Entry], marks: &[Mark]) -> String {
    let mut out = format!("{title}:\n");
    for mark in marks {
        let _ = writeln!(out, "{:>12}  {:50} {}", mark.hits, mark.name, first(entries, mark));
    }
    out
}

/// The first run that reached a mark, in words.
pub(crate) fn first(entries: &[Entry], mark: &Mark) -> String {
    mark.first.map_or_else(|| "never".to_owned(), |item| format!("{} seed {}", entries[item.entry].name(), item.seed))
}

/// Failures, each signature once.
pub(crate) fn failures(entries: &[Entry], tally: &Tally) -> String {
    let mut out = String::new();
    for group in tally.ranked() {
        let example = group.example();
        let _ = writeln!(out, "{}x {} ({})", group.count, group.signature, group.kind.name());
        for (&entry, example) in &group.soonest {
            let saved = example.saved.as_ref().map(|path| format!("  {}", path.display())).unwrap_or_default();
            let _ = writeln!(out, "    {}{saved}", entries[entry].repeat_command(example.item.seed));
        }
        out.push_str(&example.story.lines().fold(String::new(), |story, line| story + "  | " + line + "\n"));
    }
    out
}

/// How often.
pub(crate) fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// Real time in the unit that fits.
pub(crate) fn duration(micros: u64) -> String {
    match micros {
        0..1000 => format!("{micros} us"),
        1000..10_000_000 => format!("{} ms", micros / 1000),
        10_000_000..600_000_000 => format!("{} s", micros / 1_000_000),
        _ => format!("{} min", micros / 60_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::tally::tests::{Sample, lost};

    #[test]
    fn a_failure_is_told_once_with_the_commands_that_repeat_it() {
        let mut sample = Sample::new();
        sample.add(0, 0, 0, None);
        sample.add(1, 1, 0, Some(lost(1)));
        sample.add(2, 0, 1, Some(lost(2)));
        sample.tally.finish();
        let text = failures(&sample.entries, &sample.tally);
        assert_eq!(text.matches("2x lost: message # <was> & is \"gone\" (safety)").count(), 1, "{text}");
        assert_eq!(text.matches("\n    leveret-sim run ").count(), 2, "{text}");
        assert_eq!(text.matches("FAIL lost").count(), 1, "{text}");
        let table = scenarios(&sample.entries, &sample.tally);
        assert_eq!(table.lines().count(), 3);
        assert!(table.contains("1 (1 ms)"), "{table}");
        let marks = marks("at stake", &sample.entries, &sample.tally.situations(&sample.entries));
        assert!(marks.contains("power failures") && marks.contains("never"), "{marks}");
    }
}
