//! Client libraries of other languages, each as a script that says `ok NAME` for each thing that works.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::broker::Broker;
use crate::harness::group::Group;

const PATTERNS: [&str; 6] = ["hello", "work queue", "publish/subscribe", "routing", "topics", "rpc"];
/// How long a script may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// pika for Python.
#[test]
fn pika() {
    if is_there(python().args(["-c", "import pika"]), "pika") {
        run("pika", &PATTERNS, |broker| with(python(), "pika/patterns.py", &[broker.uri()]));
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
            run("amqplib", &PATTERNS, |broker| with(node(), "amqplib/patterns.js", &[broker.uri()]));
        }
    }
}

/// kombu for Python, which Celery stands on.
#[test]
fn kombu() {
    if is_there(python().args(["-c", "import kombu"]), "kombu") {
        run("kombu", &["work", "dead letters"], |broker| with(python(), "kombu/smoke.py", &[broker.uri()]));
    }
}

/// Bunny for Ruby.
#[test]
fn bunny() {
    if is_there(Command::new("ruby").args(["-e", "require 'bunny'"]), "Bunny") {
        let works = ["work", "dead letters", "rpc"];
        run("Bunny", &works, |broker| with(Command::new("ruby"), "bunny/smoke.rb", &[broker.uri()]));
    }
}

/// php-amqplib. Debian puts it where PHP looks; elsewhere `PHP_AMQPLIB` names its autoload file.
#[test]
fn php_amqplib() {
    let load = "require_once getenv('PHP_AMQPLIB') ?: 'PhpAmqpLib/autoload.php';";
    if is_there(Command::new("php").args(["-r", load]), "php-amqplib") {
        run("php-amqplib", &["work", "dead letters", "transaction"], |broker| {
            let address = broker.address();
            let place = [address.ip().to_string(), address.port().to_string()];
            with(Command::new("php"), "php-amqplib/smoke.php", &place)
        });
    }
}

/// aio-pika for Python: its robust connection comes back to a broker that was killed, and finds its queues, consumers and messages.
#[test]
fn aio_pika() {
    if !is_there(python().args(["-c", "import aio_pika"]), "aio-pika") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut broker = Broker::start();
    let mut script = Group::start(&with(python(), "aio-pika/smoke.py", &[broker.uri()]), &log, PATIENCE);
    let restarted = script.wait_for("restart").map(|()| broker.restart());
    let said = restarted.and_then(|()| script.finish());
    expect("aio-pika", &["work", "reconnect", "kept"], said, &log);
}

/// Celery for Python: 1,000 tasks with their results, then 1,000 that are acked late, in the middle of which the worker is killed
/// with all its processes (SIGKILL): another one carries out what is left, so that none is lost.
#[test]
fn celery() {
    const TASKS: u32 = 1000;
    if !is_there(python().args(["-c", "import celery"]), "celery") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (log, record) = (directory.path().join("log"), directory.path().join("record"));
    std::fs::write(&record, "").unwrap();
    let broker = Broker::start();
    let celery = |arguments: &[&str]| {
        let mut command = python();
        command.args(arguments).current_dir(folder().join("celery"));
        command.env("LEVERET_URI", broker.uri()).env("LEVERET_RECORD", &record).env("PYTHONDONTWRITEBYTECODE", "1");
        Group::start(&command, &log, PATIENCE)
    };
    let worker = || {
        let options = ["--loglevel=WARNING", "--concurrency=2", "--without-gossip", "--without-mingle"];
        celery(&[&["-m", "celery", "-A", "tasks", "worker"], &options[..]].concat())
    };
    // Lines that are whole; the worker may be writing another.
    let carried_out = || {
        let text = std::fs::read_to_string(&record).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| line.parse().unwrap()).collect::<BTreeSet<u32>>()
    };
    let wait_for = |count: u32| {
        let deadline = Instant::now() + PATIENCE;
        while carried_out().len() < count as usize {
            let read = || std::fs::read_to_string(&log).unwrap();
            assert!(Instant::now() < deadline, "celery: only {} of {count} tasks\n{}", carried_out().len(), read());
            std::thread::sleep(Duration::from_millis(5));
        }
    };

    let first = worker();
    expect("celery", &["results"], celery(&["smoke.py", "results"]).finish(), &log);
    let sending = celery(&["smoke.py", "send"]);
    wait_for(TASKS / 10);
    drop(first);
    let before = carried_out().len();
    assert!(before < TASKS as usize, "the worker was killed too late: {before} tasks were carried out");
    expect("celery", &["sent"], sending.finish(), &log);
    let _second = worker();
    wait_for(TASKS);
    assert_eq!(carried_out(), (0..TASKS).collect());
    eprintln!("celery: {before} tasks were carried out before the kill");
}

/// The interpreter that `LEVERET_PYTHON` names.
pub(crate) fn python() -> Command {
    Command::new(std::env::var("LEVERET_PYTHON").unwrap_or_else(|_| "python3".to_owned()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

pub(crate) fn with(mut interpreter: Command, script: &str, arguments: &[String]) -> Command {
    interpreter.arg(folder().join(script)).args(arguments);
    interpreter
}

/// Whether the library can be loaded. With `LEVERET_REQUIRE_PEERS=1` it has to be.
pub(crate) fn is_there(probe: &mut Command, library: &str) -> bool {
    let there = probe.output().is_ok_and(|output| output.status.success());
    if !there {
        let required = std::env::var("LEVERET_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        assert!(!required, "{library} is not installed, and LEVERET_REQUIRE_PEERS=1");
        eprintln!("SKIPPED: {library} is not installed");
    }
    there
}

/// Runs a script against a broker of its own.
fn run(library: &str, works: &[&str], script: impl FnOnce(&Broker) -> Command) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let broker = Broker::start();
    let said = Group::start(&script(&broker), &log, PATIENCE).finish();
    expect(library, works, said, &log);
}

/// What a script has to say.
pub(crate) fn expect(library: &str, works: &[&str], said: Result<Vec<String>, String>, log: &Path) {
    let log = || std::fs::read_to_string(log).unwrap_or_default();
    let said = said.unwrap_or_else(|error| panic!("{library}: {error}\n{}", log()));
    for work in works {
        assert!(said.contains(&format!("ok {work}")), "{library} left out {work}: {said:?}\n{}", log());
    }
    eprintln!("{library}: {}", said.first().map_or("", String::as_str));
}
