//! The measuring tool on the real broker, in small: that it measures at all, and that it finds no message missing.

use std::process::ExitCode;

use leveret_sim::perf;

use crate::harness::leveret::{Leveret, binary};

/// Runs `leveret-sim perf` with these arguments; fails if a message was lost, doubled, out of order or harmed, or a bound broken.
fn check(args: &[&str]) {
    let args = [&["perf"], args].concat();
    assert_eq!(perf::main_with(&args), Ok(ExitCode::SUCCESS), "{}", args.join(" "));
}

#[test]
fn every_message_of_a_measurement_is_accounted_for() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Leveret::start(directory.path());
    let uri = format!("amqp://{}", broker.address);
    let loads: [&[&str]; 7] = [
        &["-a", "-C", "5000"],
        &["-f", "persistent,mandatory", "-c", "64", "-q", "32", "--multi-ack-every", "5", "-C", "2000"],
        &["-x", "2", "-y", "3", "--queues", "2", "-s", "300000", "-a", "-C", "20"],
        &["-r", "200", "-z", "0.5", "-c", "10", "-s", "16"],
        &["-r", "2000", "-z", "0.5", "-c", "10", "--busy-poll"],
        &["-e", "perf", "-t", "topic", "--other-bindings", "20", "--queues", "3", "-y", "6", "-a", "-C", "500"],
        &["-e", "perf", "-t", "fanout", "-f", "persistent", "-c", "64", "--queues", "3", "-y", "2", "-C", "500"],
    ];
    for load in loads {
        check(&[&["--json", "--uri", &uri], load].concat());
    }
    let page = directory.path().join("page.html");
    check(&["--json", "--uri", &uri, "--html", page.to_str().unwrap(), "-c", "10", "-z", "0.6", "-r", "500"]);
    let page = std::fs::read_to_string(page).unwrap();
    assert_eq!(page.matches("<polyline").count(), 5, "three rates and two latencies");
    assert!(broker.stop().success());
}

#[test]
fn what_comes_and_goes_is_measured() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Leveret::start(directory.path());
    let uri = format!("amqp://{}", broker.address);
    for deed in ["connections", "channels", "queues", "declarations"] {
        check(&["churn", deed, "--json", "--uri", &uri, "-x", "2", "-C", "10"]);
    }
    check(&["idle", "--json", "--uri", &uri, "-C", "10"]);
    assert!(broker.stop().success());
}

#[test]
fn parts_of_the_way_are_timed() {
    check(&["micro", "--json", "-C", "2000"]);
    let unknown = perf::main_with(&["perf", "micro", "nothing"]).unwrap_err();
    assert!(unknown.contains("there are decode, route, topic"), "{unknown}");
}

#[test]
fn brokers_are_compared_by_what_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Leveret::start(directory.path());
    let uri = format!("amqp://{}", broker.address);
    let compare = |workload: &str| {
        let rounds = ["--rounds", "1", "-z", "0.2", "--rest", "0", "--workload", workload];
        perf::main_with(&[&["perf", "compare", "--json", &uri, &uri], &rounds[..]].concat())
    };
    // It is as fast as itself, more or less.
    assert_eq!(compare("channel-churn=0.001"), Ok(ExitCode::SUCCESS));
    assert_eq!(compare("channel-churn=1000"), Ok(ExitCode::from(2)));
    assert_eq!(compare("transient-1k-paced=1000"), Ok(ExitCode::SUCCESS));
    assert_eq!(compare("transient-1k-paced=0.0001"), Ok(ExitCode::from(2)));
    assert!(compare("channel-churn=fast").is_err());
    assert!(broker.stop().success());
}

#[test]
fn a_backlog_is_measured_across_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (binary, scratch) = (binary().to_str().unwrap(), directory.path().to_str().unwrap());
    check(&["backlog", "--json", "--broker", binary, "--scratch", scratch, "-C", "5000"]);
}

#[test]
fn a_slow_reader_is_measured() {
    let directory = tempfile::tempdir().unwrap();
    let (binary, scratch) = (binary().to_str().unwrap(), directory.path().to_str().unwrap());
    let small = ["--volume", "8", "-r", "4000", "--rounds", "1"];
    let args = [&["perf", "slow-reader", "--json", "--broker", binary, "--scratch", scratch], &small[..]].concat();
    // Two seconds on a busy machine say nothing about speed, so the verdict on it does not count here.
    perf::main_with(&args).unwrap();
}

#[test]
fn what_keeps_it_from_measuring_is_said() {
    let error = perf::main_with(&["perf", "--uri", "amqp://127.0.0.1:1"]).unwrap_err();
    assert!(error.starts_with("cannot connect to 127.0.0.1:1"), "{error}");
    assert!(perf::main_with(&["perf", "--uri", "http://127.0.0.1"]).is_err());
}
