//! Client libraries of other languages, with nodes that are killed.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use super::kills::{SERVICE_BACK, leader, more_kills};
use super::three::Three;
use crate::clients::scripts::{expect, is_there, python, with};
use crate::harness::group::Group;

const PATIENCE: Duration = Duration::from_secs(60);

/// pika for Python: publishes with confirms on one node and consumes on another, while that of the queue is killed and started again.
#[test]
fn pika() {
    if !is_there(python().args(["-c", "import pika"]), "pika") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut three = Three::start();
    three.declare(1, "pika.cluster");
    let uris = [0, 2].map(|at| format!("amqp://guest:guest@{}/%2f", three.address(at)));
    let script: Command = with(python(), "pika/cluster.py", &uris);
    let mut script = Group::start(&script, &log, PATIENCE);
    let killed = script.wait_for("kill").map(|()| {
        three.kill(1);
        thread::sleep(Duration::from_secs(1));
        three.restart(1);
    });
    let said = killed.and_then(|()| script.finish());
    expect("pika", &["confirmed", "consumed"], said, &log);
    three.wait_until_empty(1, "pika.cluster");
}

/// The same at a quorum queue: the node that none of the two uses is killed, and then whoever leads, again and again. Both clients go to
/// another node when theirs is gone. `LEVERET_KILLS` asks for so many kills more.
#[test]
fn pika_at_a_quorum_queue_whose_leaders_are_killed() {
    const QUEUE: &str = "pika.kills";
    if !is_there(python().args(["-c", "import pika"]), "pika") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (folder, log) = (directory.path(), directory.path().join("log"));
    let kills = 3 + more_kills();
    let mut three = Three::start();
    let uris = |order: [usize; 3]| order.map(|at| format!("amqp://guest:guest@{}/%2f", three.address(at))).join(",");
    let arguments = [folder.display().to_string(), uris([0, 1, 2]), uris([2, 1, 0])];
    let patience = PATIENCE + 3 * SERVICE_BACK * u32::try_from(kills).unwrap();
    let script = Group::start(&with(python(), "pika/kills.py", &arguments), &log, patience);
    await_service(folder, &log);
    let mut slowest = Duration::ZERO;
    for number in 0..kills {
        let victim = if number == 0 { 1 } else { leader(&three, QUEUE) };
        three.kill(victim);
        let took = await_service(folder, &log);
        eprintln!("node {} killed: service after {took:?}", victim + 1);
        slowest = slowest.max(took);
        // Some come back soon, and some when the others have gone on without them.
        thread::sleep(Duration::from_millis(number * 397 % 1500));
        three.restart(victim);
        await_service(folder, &log);
    }
    fs::write(folder.join("over"), "").unwrap();
    expect("pika", &["nothing lost", "in order"], script.finish(), &log);
    three.wait_until_empty(1, QUEUE);
    eprintln!("pika: {kills} kills, service back within {slowest:?}");
}

/// Waits until a message that is published from now on is confirmed, and one consumed. How long that took.
fn await_service(folder: &Path, log: &Path) -> Duration {
    let status = || {
        let text = fs::read_to_string(folder.join("status")).unwrap_or_default();
        let numbers: Vec<u64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
        <[u64; 3]>::try_from(numbers).unwrap_or_default()
    };
    let (begin, [published, ..]) = (Instant::now(), status());
    loop {
        let [_, confirmed, consumed] = status();
        if confirmed.min(consumed) > published + 1 {
            return begin.elapsed();
        }
        let log = || fs::read_to_string(log).unwrap_or_default();
        assert!(begin.elapsed() < SERVICE_BACK, "pika: {confirmed} confirmed, {consumed} consumed\n{}", log());
        thread::sleep(Duration::from_millis(5));
    }
}
