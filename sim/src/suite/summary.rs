//! A suite as Markdown, for a page that a CI system shows beside the change.

use std::fmt::Write;

use super::determinism;
use super::entry::Entry;
use super::table::{duration, first, times};
use super::tally::Tally;
use super::verdict::Verdict;

/// Groups of failures that are told in full.
const GROUPS_TOLD: usize = 10;

/// The page.
pub(crate) fn page(
    entries: &[Entry],
    tally: &Tally,
    verdict: &Verdict,
    check: Option<&determinism::Outcome>,
    build: &str,
    wall_ms: u64,
) -> String {
    let sign = if verdict.is_good() { "✅" } else { "❌" };
    let mut out = format!("## {sign} Simulation: {}\n\n", verdict.text());
    let _ = writeln!(
        out,
        "{} runs of {} scenarios in {}, {} failed. Built as {build}.\n",
        tally.runs,
        tally.scenarios.iter().filter(|scenario| !scenario.cells.is_empty()).count(),
        duration(wall_ms.saturating_mul(1000)),
        tally.failures(),
    );
    for group in tally.ranked().into_iter().take(GROUPS_TOLD) {
        let example = group.example();
        let _ = writeln!(out, "### {} ({}), {}\n", group.oracle, group.kind.name(), times(group.count));
        // Four spaces make a block that no character ends.
        example.story.lines().for_each(|line| out.push_str(&format!("    {line}\n")));
        out.push('\n');
    }
    if tally.groups.len() > GROUPS_TOLD {
        let _ = writeln!(out, "And {} other failures.\n", tally.groups.len() - GROUPS_TOLD);
    }
    for (scenario, text) in &verdict.unmet {
        let _ = writeln!(out, "- `{scenario}` {text}");
    }
    for name in &verdict.untried {
        let _ = writeln!(out, "- never: {name}");
    }
    if let Some(outcome) = check {
        let _ = writeln!(
            out,
            "\n{} runs were made again in another process, {} differed.",
            outcome.compared, outcome.differed
        );
        if let Some(divergence) = &outcome.divergence {
            out.push('\n');
            divergence.story().lines().for_each(|line| out.push_str(&format!("    {line}\n")));
        }
    }
    out.push_str("\n<details><summary>Scenarios</summary>\n\n");
    out.push_str("| scenario | runs | messages | simulated | failures | wall time | slowest seed |\n");
    out.push_str("| --- | --: | --: | --: | --: | --: | --: |\n");
    for (entry, scenario) in entries.iter().zip(&tally.scenarios) {
        let slowest = scenario.slowest().map_or_else(String::new, |cell| cell.item.seed.to_string());
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} s | {} | {} | {slowest} |",
            entry.name(),
            scenario.cells.len(),
            scenario.messages,
            scenario.virtual_us / 1_000_000,
            scenario.failures(),
            duration(scenario.wall_us()),
        );
    }
    out.push_str("\n</details>\n\n<details><summary>Promises at stake and situations</summary>\n\n");
    out.push_str("| what | hits | first |\n| --- | --: | --- |\n");
    for mark in [tally.promises(entries), tally.situations(entries)].concat() {
        let _ = writeln!(out, "| {} | {} | {} |", mark.name, mark.hits, first(entries, &mark));
    }
    out.push_str("\n</details>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::tally::tests::{Sample, lost};
    use crate::suite::verdict::Gate;

    #[test]
    fn a_failure_stands_at_the_top_with_its_repeat_command() {
        let mut sample = Sample::new();
        sample.add(0, 0, 0, None);
        let good = Verdict::of(&sample.entries, &sample.tally, Gate::Own, None);
        let text = page(&sample.entries, &sample.tally, &good, None, "here", 1);
        assert!(text.starts_with("## ✅ Simulation: all promises kept\n"), "{text}");
        sample.add(1, 1, 0, Some(lost(1)));
        let bad = Verdict::of(&sample.entries, &sample.tally, Gate::Own, None);
        let text = page(&sample.entries, &sample.tally, &bad, None, "here", 1);
        assert!(text.starts_with("## ❌ Simulation: a promise was broken\n"), "{text}");
        assert!(text.contains("### lost (safety), once\n\n    FAIL lost (safety)  tx  seed=0"), "{text}");
        assert!(text.contains("    repeat: leveret-sim run tx --seed 0\n"), "{text}");
    }
}
