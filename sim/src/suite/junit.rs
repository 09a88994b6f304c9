//! A suite as JUnit XML, which Jenkins, GitLab and GitHub's report actions read.
//!
//! A test suite for each scenario with a test case for each batch of seeds, one for the coverage gate with a case for each mark, and one
//! for determinism. A case's time is that of its runs one after the other, whatever the number of threads.

use std::fmt::Write;

use super::determinism;
use super::entry::Entry;
use super::escape::Escaped;
use super::tally::{Cell, Ending, ScenarioTally, Tally};
use super::verdict::{Gate, Verdict};

/// Stories in the body of one failed case; the others are counted.
const STORIES_PER_CASE: usize = 5;

/// One test suite.
struct Suite {
    name: String,
    properties: Vec<(&'static str, String)>,
    cases: Vec<Case>,
}

/// One test case.
struct Case {
    name: String,
    wall_us: u64,
    /// Kind, headline and body of its failure.
    failure: Option<(&'static str, String, String)>,
    /// Why it was not made.
    skipped: Option<String>,
}

impl Case {
    fn new(name: String, wall_us: u64, failure: Option<(&'static str, String, String)>) -> Self {
        Self { name, wall_us, failure, skipped: None }
    }
}

/// The whole document.
pub(crate) fn document(
    entries: &[Entry],
    tally: &Tally,
    verdict: &Verdict,
    gate: Gate,
    check: Option<&determinism::Outcome>,
    build: &str,
    batch: usize,
) -> String {
    let mut suites = Vec::new();
    for (entry, scenario) in entries.iter().zip(&tally.scenarios) {
        let seeds = scenario.cells.first().zip(scenario.cells.last());
        let seeds = seeds.map_or_else(String::new, |(first, last)| seeds_text(first.item.seed, last.item.seed));
        let properties = vec![("build", build.to_owned()), ("seeds", seeds), ("scenario", entry.place.clone())];
        let cases = scenario.cells.chunks(batch.max(1)).map(|cells| batch_case(cells, tally));
        let cases = cases.chain(own_cases(entry, scenario, verdict, gate)).collect();
        suites.push(Suite { name: entry.name().to_owned(), properties, cases });
    }
    if gate == Gate::Whole {
        let properties = vec![("build", build.to_owned())];
        let cases = coverage_cases(entries, tally, verdict);
        suites.push(Suite { name: "coverage".to_owned(), properties, cases });
    }
    if let Some(outcome) = check {
        let failure = outcome.divergence.as_ref().map(|divergence| {
            let headline = format!("{} of {} runs differed", outcome.differed, outcome.compared);
            ("determinism", headline, divergence.story())
        });
        let name = format!("{} runs again in another process", outcome.compared);
        let case = Case::new(name, 0, failure);
        let properties = vec![("build", build.to_owned())];
        suites.push(Suite { name: "determinism".to_owned(), properties, cases: vec![case] });
    }
    write(&suites)
}

fn seeds_text(first: u64, last: u64) -> String {
    if first == last { format!("seed {first}") } else { format!("seeds {first} to {last}") }
}

/// Runs of one scenario.
fn batch_case(cells: &[Cell], tally: &Tally) -> Case {
    let mut body = String::new();
    let mut failed = Vec::new();
    let mut groups = Vec::new();
    for cell in cells {
        if let Ending::Failed { group, story } = &cell.ending {
            failed.push(cell.item.seed.to_string());
            groups.push(*group);
            if failed.len() <= STORIES_PER_CASE {
                body.push_str(story);
                body.push('\n');
            }
        }
    }
    if failed.len() > STORIES_PER_CASE {
        let _ =
            writeln!(body, "and {} more; all seeds that failed: {}", failed.len() - STORIES_PER_CASE, failed.join(" "));
    }
    let gravest = groups.iter().map(|&group| &tally.groups[group]).min_by_key(|group| group.kind.exit_code());
    let failure = gravest.map(|group| {
        let headline = format!("{} of {} seeds: {}", failed.len(), cells.len(), group.signature);
        (group.kind.name(), headline, body)
    });
    let (first, last) = (cells[0].item.seed, cells[cells.len() - 1].item.seed);
    Case::new(seeds_text(first, last), cells.iter().map(|cell| cell.wall_us).sum(), failure)
}

/// What one scenario has to show.
fn own_cases(entry: &Entry, scenario: &ScenarioTally, verdict: &Verdict, gate: Gate) -> Vec<Case> {
    let expected = &entry.expected;
    if let Some(reason) = &entry.unavailable {
        return vec![Case { skipped: Some(reason.clone()), ..Case::new("not run".to_owned(), 0, None) }];
    }
    if gate == Gate::Off || (expected.fails.is_none() && expected.sometimes.is_empty()) {
        return Vec::new();
    }
    let unmet: Vec<&str> =
        verdict.unmet.iter().filter(|(name, _)| name == entry.name()).map(|(_, text)| text.as_str()).collect();
    let name = match (&expected.fails, scenario.first_as_expected()) {
        (Some(oracle), Some(seed)) => format!("breaks {oracle}, first with seed {seed}"),
        (Some(oracle), None) => format!("breaks {oracle}"),
        (None, _) => "comes to what it is for".to_owned(),
    };
    let failure = unmet.first().map(|text| ("coverage", (*text).to_owned(), unmet.join("\n")));
    vec![Case::new(name, 0, failure)]
}

/// All that has to be tried.
fn coverage_cases(entries: &[Entry], tally: &Tally, verdict: &Verdict) -> Vec<Case> {
    let marks = [("at stake", tally.promises(entries)), ("situation", tally.situations(entries))];
    let cases = marks.iter().flat_map(|(kind, marks)| {
        marks.iter().map(move |mark| {
            let failure = verdict.untried.contains(&mark.name).then(|| {
                let headline = format!("never in {} runs", tally.runs);
                ("coverage", headline.clone(), headline)
            });
            Case::new(format!("{kind}: {}", mark.name), 0, failure)
        })
    });
    cases.collect()
}

fn write(suites: &[Suite]) -> String {
    let all = || suites.iter().flat_map(|suite| &suite.cases);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(out, "<testsuites name=\"leveret-sim\" {}>", sums(all()));
    for Suite { name, properties, cases } in suites {
        let name = Escaped(name);
        let _ = writeln!(out, "  <testsuite name=\"{name}\" {}>\n    <properties>", sums(cases.iter()));
        for (key, value) in properties {
            let _ = writeln!(out, "      <property name=\"{key}\" value=\"{}\"/>", Escaped(value));
        }
        out.push_str("    </properties>\n");
        for case in cases {
            let (title, time) = (Escaped(&case.name), time(case.wall_us));
            let _ = write!(out, "    <testcase classname=\"leveret-sim.{name}\" name=\"{title}\" time=\"{time}\"");
            match (&case.failure, &case.skipped) {
                (None, None) => out.push_str("/>\n"),
                (None, Some(reason)) => {
                    let _ = writeln!(out, ">\n      <skipped message=\"{}\"/>\n    </testcase>", Escaped(reason));
                }
                (Some((kind, headline, body)), _) => {
                    let (headline, body) = (Escaped(headline), Escaped(body));
                    let _ = writeln!(
                        out,
                        ">\n      <failure type=\"{kind}\" message=\"{headline}\">{body}</failure>\n    </testcase>"
                    );
                }
            }
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn sums<'a>(cases: impl Iterator<Item = &'a Case>) -> String {
    let (mut tests, mut failures, mut skipped, mut wall_us) = (0, 0, 0, 0);
    for case in cases {
        tests += 1;
        failures += u32::from(case.failure.is_some());
        skipped += u32::from(case.skipped.is_some());
        wall_us += case.wall_us;
    }
    format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"{}\"", time(wall_us))
}

/// Seconds.
fn time(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::tally::tests::{Sample, lost};

    #[test]
    fn a_batch_of_seeds_is_a_case_and_its_failures_are_its_body() {
        let mut sample = Sample::new();
        for seed in 0..5 {
            sample.add(seed, 0, seed, None);
            sample.add(10 + seed, 1, seed, (seed == 3).then(|| lost(9)));
        }
        sample.tally.finish();
        let verdict = Verdict::of(&sample.entries, &sample.tally, Gate::Whole, None);
        let text = document(&sample.entries, &sample.tally, &verdict, Gate::Whole, None, "0.1 <x>", 2);
        let document = roxmltree::Document::parse(&text).unwrap();
        let suite = |name: &str| {
            let mut suites = document.descendants().filter(|node| node.has_tag_name("testsuite"));
            suites.find(|node| node.attribute("name") == Some(name)).unwrap()
        };
        let tx = suite("tx");
        assert_eq!((tx.attribute("tests"), tx.attribute("failures")), (Some("3"), Some("1")));
        let names: Vec<_> = tx
            .children()
            .filter(|node| node.has_tag_name("testcase"))
            .map(|case| case.attribute("name").unwrap())
            .collect();
        assert_eq!(names, ["seeds 0 to 1", "seeds 2 to 3", "seed 4"]);
        let failure = tx.descendants().find(|node| node.has_tag_name("failure")).unwrap();
        assert_eq!(failure.attribute("type"), Some("safety"));
        assert_eq!(failure.attribute("message"), Some("1 of 2 seeds: lost: message # <was> & is \"gone\""));
        assert!(failure.text().unwrap().contains("repeat: leveret-sim run tx --seed 3"), "{:?}", failure.text());
        let property = suite("steady").descendants().find(|node| node.attribute("name") == Some("build")).unwrap();
        assert_eq!(property.attribute("value"), Some("0.1 <x>"));
        let never: u32 = suite("coverage").attribute("failures").unwrap().parse().unwrap();
        assert_eq!(never as usize, verdict.untried.len());
        let root = document.root_element();
        assert_eq!(root.attribute("failures"), Some((never + 1).to_string().as_str()));
    }

    #[test]
    fn what_cannot_be_run_is_skipped() {
        let mut sample = Sample::new();
        sample.entries[1].unavailable = Some("it plants <a> bug".to_owned());
        sample.add(0, 0, 0, None);
        let verdict = Verdict::of(&sample.entries, &sample.tally, Gate::Own, None);
        let text = document(&sample.entries, &sample.tally, &verdict, Gate::Own, None, "", 50);
        let document = roxmltree::Document::parse(&text).unwrap();
        assert_eq!(document.root_element().attribute("skipped"), Some("1"));
        let skipped = document.descendants().find(|node| node.has_tag_name("skipped")).unwrap();
        assert_eq!(skipped.attribute("message"), Some("it plants <a> bug"));
    }

    #[test]
    fn a_negative_scenario_that_breaks_nothing_is_a_failed_case() {
        let mut sample = Sample::new();
        sample.entries[1].expected.fails = Some("lost".to_owned());
        sample.add(0, 1, 0, None);
        let verdict = Verdict::of(&sample.entries, &sample.tally, Gate::Own, None);
        let text = document(&sample.entries, &sample.tally, &verdict, Gate::Own, None, "", 50);
        assert!(text.contains("name=\"breaks lost\" time=\"0.000000\">\n      <failure type=\"coverage\""), "{text}");
    }
}
