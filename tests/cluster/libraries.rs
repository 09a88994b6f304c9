//! Client libraries of other languages, with nodes that are killed.

use std::process::Command;
use std::thread;
use std::time::Duration;

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
