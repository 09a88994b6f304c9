use std::sync::LazyLock;

use tempfile::tempdir;

use super::*;
use crate::explain::LINES_MAX;
use crate::html::tests::data_of;
use crate::run::{plan, run_plan};
use crate::scenario::Scenario;

/// A plan that fails with the engine as it is: a bit turns on the disk, and nobody says that this may happen.
static FAILING: LazyLock<Plan> = LazyLock::new(|| {
    let scenario = Scenario::built_in().into_iter().find(|scenario| scenario.name == "bit-rot").unwrap();
    let mut plans = (0..40).map(|seed| Plan { beyond_claim: false, ..plan(&scenario, seed) });
    let fails = |plan: &Plan| run_plan(plan.clone(), RunOptions::default()).failure.is_some();
    plans.find(fails).expect("one of many turned bits is noticed")
});

#[test]
fn a_capsule_has_all_its_files_and_repeats_the_failure() {
    let folder = tempdir().unwrap();
    let plan = FAILING.clone();
    let before = run_plan(plan.clone(), RunOptions::default());
    // How plans are shrunk is another matter; here any other failing plan will do.
    let shrunk = Plan { policies: Vec::new(), ..plan.clone() };
    let capsule = write(folder.path(), &plan, Some(&shrunk), RunOptions::default()).unwrap();
    let failure = before.failure.unwrap();
    let expected = name(failure.oracle, "bit-rot", plan.seed);
    assert_eq!(capsule.file_name().unwrap().to_str(), Some(&*expected));

    let text = |name: &str| read(&capsule.join(name)).unwrap();
    let events: Vec<serde_json::Value> =
        text("trace.ndjson").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.last().unwrap()["kind"], "broken");
    let environment: Environment = serde_json::from_str(&text("environment.json")).unwrap();
    assert_eq!(environment, Environment::of(&RunOptions::default()));
    let summary = text("summary.md");
    assert!(summary.starts_with(&format!("### {}: ", failure.oracle)), "{summary}");
    assert!(summary.contains("leveret-sim replay") && summary.contains("shrunk: "), "{summary}");
    let page = text("report.html");
    assert!(page.starts_with("<!doctype html>"));
    let data = data_of(&page);
    assert_eq!(data["runs"].as_array().unwrap().len(), 2);
    assert_eq!(data["runs"][0]["label"], "shrunk");
    assert_eq!(data["runs"][1]["recording"]["events"].as_array().unwrap().len(), events.len());

    let opened = open(&capsule, false).unwrap();
    assert!(opened.shrunk.is_some());
    let again = run_plan(opened.plan.clone(), opened.options(None, None, None).unwrap());
    assert_eq!((again.trace, again.failure.unwrap().signature()), (before.trace, failure.signature()));
}

#[test]
fn the_capsule_of_another_build_is_refused_with_the_reason() {
    let folder = tempdir().unwrap();
    let capsule = write(folder.path(), &FAILING, None, RunOptions::default()).unwrap();
    let here = Environment::of(&RunOptions::default());
    let other = Environment { sources: "0123456789abcdef".to_owned(), ..here };
    std::fs::write(capsule.join("environment.json"), serde_json::to_string(&other).unwrap()).unwrap();
    for path in [capsule.clone(), capsule.join("plan.json")] {
        let refusal = open(&path, false).unwrap_err();
        for part in ["another build", "0123456789abcdef", "--anyway"] {
            assert!(refusal.contains(part), "{refusal}");
        }
        assert!(open(&path, true).is_ok());
    }
}

#[test]
fn what_is_no_capsule_is_refused() {
    let folder = tempdir().unwrap();
    let refusal = |path: &Path| open(path, false).unwrap_err();
    assert!(refusal(folder.path()).contains("holds no plan.json"));
    let file = folder.path().join("plan.json");
    for (text, expect) in [("{", "is no plan"), ("{}", "names no format"), ("{\"format\": 99}", "has format 99")] {
        std::fs::write(&file, text).unwrap();
        assert!(refusal(&file).contains(expect), "{text}: {}", refusal(&file));
    }
    let scenario = Scenario::built_in().into_iter().find(|scenario| scenario.name == "steady").unwrap();
    let fine = plan(&scenario, 0);
    assert!(write(folder.path(), &fine, None, RunOptions::default()).unwrap_err().contains("does not fail"));
}

#[test]
fn failures_of_one_kind_are_kept_once_and_counted() {
    let folder = tempdir().unwrap();
    let plan = FAILING.clone();
    let report = run_plan(plan.clone(), RunOptions::default());
    let mut collection = Collection::default();
    for _ in 0..3 {
        collection.add(folder.path(), &report, &plan, RunOptions::default()).unwrap();
    }
    let text = collection.text();
    assert!(text.contains("seen 2 more times"), "{text}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Each planted bug is told in ten lines; where it is about a message, that one is named.
#[cfg(feature = "mutants")]
#[test]
fn planted_bugs_are_explained_in_ten_lines() {
    for (mutant, scenario, seed, message) in [
        ("ConfirmBeforeFsync", "power-loss", 0, true),
        ("AckedBackAfterRestart", "power-loss", 0, true),
        ("RequeueAtTail", "power-loss", 0, true),
        ("SacNoneActive", "takeover", 0, false),
    ] {
        let scenario = Scenario::built_in().into_iter().find(|it| it.name == scenario).unwrap();
        let options = RunOptions { check_every: u64::MAX, ..RunOptions::default() }.with_mutant(mutant).unwrap();
        let explanation = Recorded::of(&plan(&scenario, seed), options, "again").explanation.expect(mutant);
        assert!((2..=LINES_MAX).contains(&explanation.lines.len()), "{mutant}");
        assert_eq!(!explanation.messages.is_empty(), message, "{mutant}");
        let text = explanation.text();
        for number in &explanation.messages {
            assert!(text.contains(&format!("#{number}")), "{mutant}: {text}");
        }
        assert!(text.ends_with("repeat:   again\n") && text.contains("expected: "), "{text}");
        assert!(explanation.lines.last().unwrap().is_break);
    }
}

#[test]
fn an_explanation_has_ten_lines_at_most_and_ends_where_it_breaks() {
    let recorded = Recorded::of(&FAILING, RunOptions::default(), "leveret-sim again");
    let explanation = recorded.explanation.unwrap();
    assert!((2..=LINES_MAX).contains(&explanation.lines.len()));
    let last = explanation.lines.last().unwrap();
    assert!(last.is_break && last.text == explanation.happened);
    assert!(explanation.text().ends_with("repeat:   leveret-sim again\n"));
}
