//! A suite as one JSON object, for programs.

use serde_json::{Value, json};

use super::determinism;
use super::entry::Entry;
use super::tally::{Mark, Tally};
use super::verdict::Verdict;

/// All of it.
pub(crate) fn suite(
    entries: &[Entry],
    tally: &Tally,
    verdict: &Verdict,
    check: Option<&determinism::Outcome>,
    build: &str,
    wall_ms: u64,
) -> Value {
    let scenarios = entries.iter().zip(&tally.scenarios).map(|(entry, scenario)| {
        json!({
            "name": entry.name(),
            "place": entry.place,
            "expects": entry.expected.fails,
            "skipped": entry.unavailable,
            "runs": scenario.cells.len(),
            "failures": scenario.failures(),
            "messages": scenario.messages,
            "virtual_us": scenario.virtual_us,
            "wall_us": scenario.wall_us(),
            "slowest": scenario.slowest().map(|cell| json!({ "seed": cell.item.seed, "wall_us": cell.wall_us })),
        })
    });
    let failures = tally.ranked().into_iter().map(|group| {
        let examples = group.soonest.iter().map(|(&entry, example)| {
            json!({
                "scenario": entries[entry].name(),
                "seed": example.item.seed,
                "text": example.text,
                "repeat": entries[entry].repeat_command(example.item.seed),
                "saved": example.saved,
            })
        });
        json!({
            "oracle": group.oracle,
            "kind": group.kind.name(),
            "signature": group.signature,
            "count": group.count,
            "soonest": examples.collect::<Vec<_>>(),
            "story": group.example().story,
        })
    });
    let marks = |marks: Vec<Mark>| {
        let mark = |mark: &Mark| {
            let first = mark.first.map(|item| json!({ "scenario": entries[item.entry].name(), "seed": item.seed }));
            json!({ "name": mark.name, "hits": mark.hits, "first": first })
        };
        marks.iter().map(mark).collect::<Vec<_>>()
    };
    let check = check.map(|outcome| {
        let divergence = outcome.divergence.as_ref().map(|divergence| {
            json!({
                "scenario": divergence.scenario,
                "seed": divergence.seed,
                "here": format!("{:016x}", divergence.here),
                "there": format!("{:016x}", divergence.there),
                "event": divergence.step.as_ref().map(|step| step.number),
                "story": divergence.story(),
            })
        });
        json!({
            "compared": outcome.compared,
            "left": outcome.left,
            "differed": outcome.differed,
            "divergence": divergence,
        })
    });
    json!({
        "build": build,
        "exit_code": verdict.exit_code(),
        "verdict": verdict.text(),
        "runs": tally.runs,
        "failed_runs": tally.failures(),
        "engine_events": tally.engine_events,
        "wall_ms": wall_ms,
        "scenarios": scenarios.collect::<Vec<_>>(),
        "failures": failures.collect::<Vec<_>>(),
        "promises": marks(tally.promises(entries)),
        "situations": marks(tally.situations(entries)),
        "never": verdict.untried,
        "unmet": verdict.unmet.iter().map(|(scenario, text)| json!({ "scenario": scenario, "text": text })).collect::<Vec<_>>(),
        "determinism": check,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::tally::tests::{Sample, lost};
    use crate::suite::verdict::Gate;

    #[test]
    fn programs_get_all_that_people_get() {
        let mut sample = Sample::new();
        sample.add(0, 0, 0, None);
        sample.add(1, 1, 0, Some(lost(1)));
        let verdict = Verdict::of(&sample.entries, &sample.tally, Gate::Whole, None);
        let value = suite(&sample.entries, &sample.tally, &verdict, None, "here", 5);
        assert_eq!(value["exit_code"], 2);
        assert_eq!(value["failures"][0]["oracle"], "lost");
        assert_eq!(value["failures"][0]["soonest"][0]["repeat"], "leveret-sim run tx --seed 0");
        assert_eq!(value["scenarios"][1]["failures"], 1);
        assert!(value["never"].as_array().unwrap().iter().any(|name| name == "power failures"));
        let reached = value["promises"].as_array().unwrap().iter().find(|mark| mark["hits"] != 0).unwrap();
        assert_eq!(reached["first"]["scenario"], "steady");
    }
}
