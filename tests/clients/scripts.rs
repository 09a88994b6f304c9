//! Client libraries of other languages, each as a script that runs the six patterns and says `ok NAME` for each.

use std::path::Path;
use std::process::Command;

use super::broker::Broker;

const PATTERNS: [&str; 6] = ["hello", "work queue", "publish/subscribe", "routing", "topics", "rpc"];

/// pika for Python. `LEVERET_PYTHON` names an interpreter that has it.
#[test]
fn pika() {
    let python = std::env::var("LEVERET_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if is_there(Command::new(&python).args(["-c", "import pika"]), "pika") {
        run(Command::new(&python).arg(script("pika/patterns.py")), "pika");
    }
}

/// amqplib for Node.js. `LEVERET_AMQPLIB` names the `node_modules` folders to find it in, separated by colons: one run for each.
#[test]
fn amqplib() {
    let folders = std::env::var("LEVERET_AMQPLIB").unwrap_or_default();
    for folder in folders.split(':') {
        let node = || {
            let mut node = Command::new("node");
            if !folder.is_empty() {
                node.env("NODE_PATH", folder);
            }
            node
        };
        if is_there(node().args(["-e", "require('amqplib')"]), "amqplib") {
            run(node().arg(script("amqplib/patterns.js")), "amqplib");
        }
    }
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

/// Whether the library can be loaded. With `LEVERET_REQUIRE_PEERS=1` it has to be.
fn is_there(probe: &mut Command, library: &str) -> bool {
    let there = probe.output().is_ok_and(|output| output.status.success());
    if !there {
        let required = std::env::var("LEVERET_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        assert!(!required, "{library} is not installed, and LEVERET_REQUIRE_PEERS=1");
        eprintln!("SKIPPED: {library} is not installed");
    }
    there
}

fn run(script: &mut Command, library: &str) {
    let broker = Broker::start();
    let output = script.arg(broker.uri()).output().expect("its interpreter is there");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{library} failed:\n{stdout}\n{stderr}");
    for pattern in PATTERNS {
        assert!(stdout.lines().any(|line| line == format!("ok {pattern}")), "{library} left out {pattern}:\n{stdout}");
    }
    eprint!("{library}: {}", stdout.lines().next().unwrap_or_default());
    eprintln!();
}
