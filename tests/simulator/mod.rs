//! What the simulator leaves behind, in the programs in which people look at it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use leveret_sim::capsule;
use leveret_sim::plan::Plan;
use leveret_sim::run::{RunOptions, plan, run_plan};
use leveret_sim::scenario::Scenario;

use crate::harness::group::Group;

/// How long a browser may take to open one page.
const PATIENCE: Duration = Duration::from_secs(60);

/// The page of a failure unpacks itself, draws, and has nothing to complain of; no error, and nothing that it was not allowed to load.
#[test]
fn the_page_of_a_failure_opens_from_disk() {
    let Some(browser) = browser() else { return };
    let directory = tempfile::tempdir().unwrap();
    let plan = failing();
    let capsule = capsule::write(directory.path(), &plan, Some(&plan), RunOptions::default()).unwrap();
    for window in ["--window-size=1400,1000", "--window-size=500,900"] {
        let (document, console) = open(&browser, &capsule.join("report.html"), window);
        assert!(document.contains("data-state=\"shown\""), "the page did not come up: {console}");
        assert!(!console.contains("CONSOLE"), "{console}");
        // Written by the script alone: the buttons that switch between the runs, and the events around the failure.
        assert!(document.contains("as found ("), "{document}");
        assert!(document.contains("<tr class=\"now broken\">"), "{document}");
    }
}

/// A plan that fails: a bit turns on the disk, and nobody says that this may happen.
fn failing() -> Plan {
    let scenario = Scenario::built_in().into_iter().find(|scenario| scenario.name == "bit-rot").unwrap();
    let mut plans = (0..40).map(|seed| Plan { beyond_claim: false, ..plan(&scenario, seed) });
    let fails = |plan: &Plan| run_plan(plan.clone(), RunOptions::default()).failure.is_some();
    plans.find(fails).expect("one of many turned bits is noticed")
}

/// A page after its script ran, and what the browser's console said.
fn open(browser: &str, page: &Path, window: &str) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    let log = profile.path().join("log");
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.args(["--virtual-time-budget=10000", "--enable-logging=stderr", "--dump-dom", window]);
    command.arg(format!("--user-data-dir={}", profile.path().join("profile").display()));
    command.arg(format!("file://{}", page.display()));
    let said = Group::start(&command, &log, PATIENCE).finish();
    let console = std::fs::read_to_string(&log).unwrap_or_default();
    let document = said.unwrap_or_else(|error| panic!("{browser}: {error}\n{console}"));
    (document.join("\n"), console)
}

/// A Chromium. With `LEVERET_REQUIRE_PEERS=1` there has to be one.
fn browser() -> Option<String> {
    let is_there =
        |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(is_there);
    if found.is_none() {
        let required = std::env::var("LEVERET_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        assert!(!required, "Chromium is not installed, and LEVERET_REQUIRE_PEERS=1");
        eprintln!("SKIPPED: Chromium is not installed");
    }
    found.map(str::to_owned)
}
