//! `leveret-sim suite` as CI uses it: the files that it writes, its exit codes, and that it notices what it is there for.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// An empty folder for one test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("suite-{name}"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder for the test");
    folder
}

fn leveret_sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leveret-sim")).args(arguments).output().expect("it starts")
}

/// Runs a suite in JSON.
fn suite(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = leveret_sim(&[&["suite", "--json"], arguments].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    let value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), value)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a name in ASCII")
}

#[test]
fn all_files_are_written_and_the_corpus_can_be_run_alone() {
    let folder = folder("files");
    let [junit, html, summary, corpus] =
        ["junit.xml", "html", "summary.md", "corpus.txt"].map(|name| folder.join(name));
    std::fs::write(&summary, "before\n").unwrap();
    let outputs =
        ["--junit", path(&junit), "--html", path(&html), "--summary", path(&summary), "--corpus", path(&corpus)];
    let (code, value) = suite(&[&["alarms", "slow-then-fast", "--seeds", "2", "--jobs", "2"][..], &outputs].concat());
    assert_eq!((code, value["runs"].as_u64()), (Some(0), Some(3)), "{value}");
    assert!(read(&junit).contains("<testcase classname=\"leveret-sim.alarms\" name=\"seeds 0 to 1\""));
    assert!(read(&html.join("index.html")).contains("all promises kept"));
    assert!(!html.join("failures").exists());
    assert!(read(&summary).starts_with("before\n## "));

    let lines = read(&corpus).lines().filter(|line| !line.starts_with('#')).count();
    assert!((1..=3).contains(&lines), "{}", read(&corpus));
    let (code, again) = suite(&["--only-corpus", path(&corpus)]);
    assert_eq!((code, again["runs"].as_u64()), (Some(0), Some(lines as u64)), "{again}");
    let reached = |value: &Value, kind: &str| {
        let marks = value[kind].as_array().unwrap().iter();
        marks.filter(|mark| mark["hits"] != 0).map(|mark| mark["name"].to_string()).collect::<Vec<_>>()
    };
    for kind in ["promises", "situations"] {
        assert_eq!(reached(&again, kind), reached(&value, kind));
    }
}

/// What a merge waits for: a failure gets through to the exit code, the report and the folder, and what was saved fails again.
#[test]
fn the_canary_gets_through() {
    let folder = folder("canary");
    let (junit, html) = (folder.join("junit.xml"), folder.join("html"));
    let (code, value) = suite(&[
        "slow-then-fast",
        "--canary",
        "--seeds",
        "12",
        "--shrink",
        "20",
        "--junit",
        path(&junit),
        "--html",
        path(&html),
    ]);
    assert!(matches!(code, Some(2..=4)), "{code:?} {value}");
    let groups = value["failures"].as_array().unwrap();
    let counts = groups.iter().map(|group| group["count"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(value["failed_runs"].as_u64(), Some(counts));
    let soonest = &groups[0]["soonest"][0];
    assert_eq!(soonest["scenario"], "canary");
    assert!(read(&junit).contains("<failure type="));
    let index = read(&html.join("index.html"));
    assert!(index.contains("<header class=\"bad\">") && index.contains("<a class=\"f\" href=\"failures/"), "{index}");

    let saved = soonest["saved"].as_str().unwrap();
    let (whole, shrunk) = (Path::new(saved).join("plan.json"), Path::new(saved).join("shrunk.json"));
    assert!(read(&shrunk).len() < read(&whole).len(), "the failure that comes soonest is kept small");
    assert_eq!(leveret_sim(&["replay", saved]).status.code(), code);
    let repeat = soonest["repeat"].as_str().unwrap().split(' ').skip(1).collect::<Vec<_>>();
    assert_eq!(leveret_sim(&repeat).status.code(), code, "{repeat:?}");
}

/// It is good just because its promise breaks, and what it comes to is no evidence for the coverage gate.
#[test]
fn a_negative_scenario_has_to_fail() {
    let (code, value) = suite(&["away-for-too-long", "--seeds", "3"]);
    let scenario = &value["scenarios"][0];
    assert_eq!(
        (code, scenario["failures"].as_u64(), value["promises"].as_array().map(Vec::len)),
        (Some(0), Some(0), Some(0))
    );
    assert_eq!(scenario["expects"], "available");
}

#[test]
fn a_process_in_which_something_is_different_is_noticed() {
    let runs = ["slow-then-fast", "alarms", "--seeds", "2", "--jobs", "1", "--check-determinism"];
    let (code, value) = suite(&runs);
    assert_eq!(code, Some(0), "{value}");
    assert_eq!(
        (value["determinism"]["compared"].as_u64(), value["determinism"]["differed"].as_u64()),
        (Some(3), Some(0))
    );

    let (code, value) = suite(&[&runs[..], &["--wrinkle", "300"]].concat());
    assert_eq!(code, Some(6), "{value}");
    assert_eq!(value["determinism"]["differed"].as_u64(), Some(3));
    let divergence = &value["determinism"]["divergence"];
    assert_eq!((&divergence["scenario"], divergence["event"].as_u64()), (&Value::from("slow-then-fast"), Some(300)));
    assert_ne!(divergence["here"], divergence["there"]);
    let story = divergence["story"].as_str().unwrap();
    assert!(story.contains("\n        280  ") && story.contains("\n        299  "), "{story}");
    assert!(story.contains("\n       here  ") && story.contains("\n      there  "), "{story}");
}

#[test]
fn what_is_never_tried_fails_the_gate() {
    let output = leveret_sim(&["suite", "slow-then-fast", "--cover"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(
        text.contains("\nnever: publishers blocked\n") && text.contains("something was never tried: 1 runs"),
        "{text}"
    );
}

#[test]
fn folders_in_folders_are_searched_and_wrong_usage_is_explained() {
    let folder = folder("nested");
    let file = "name = \"mine\"\nabout = \"Mine.\"\n[run]\nchaos_ms = [10, 20]\n[clients]\n";
    std::fs::create_dir_all(folder.join("a/b")).unwrap();
    std::fs::write(folder.join("a/b/mine.toml"), file).unwrap();
    let (code, value) = suite(&[path(&folder), "--seeds", "1", "--time-budget", "1h"]);
    assert_eq!((code, &value["scenarios"][0]["name"]), (Some(0), &Value::from("mine")), "{value}");

    std::fs::write(folder.join("twin.toml"), file).unwrap();
    for (arguments, word) in [
        (vec![path(&folder)], "two scenarios are called mine"),
        (vec!["no-such-scenario"], "no scenario is called no-such-scenario"),
        (vec!["alarms", "--time-budget", "5"], "a time is a number with its unit"),
        (vec!["alarms", "--only-corpus", "no-such-file"], "no-such-file"),
        (vec!["alarms", "--against", "x"], "--check-determinism"),
        (vec!["alarms", "--seeds", "1", "--check-determinism", "--against", "no-such-program"], "no-such-program"),
    ] {
        let output = leveret_sim(&[&["suite"], &arguments[..]].concat());
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?} {text}");
        assert!(text.contains(word), "{arguments:?} {text}");
    }
}
