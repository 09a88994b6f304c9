//! Administration of a running broker, through leveretctl.

mod definitions;
mod delayed;
mod listings;
mod tenants;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::client::{TestClient, patiently};
use crate::harness::leveret::{Leveret, ctl};

/// A broker with its tool.
struct Administered {
    broker: Leveret,
    data_dir: PathBuf,
}

impl Administered {
    fn start(directory: &Path) -> Self {
        Self { broker: Leveret::start(directory), data_dir: directory.join("data") }
    }

    /// Runs a command line: exit code, standard output, standard error.
    fn run(&self, line: &[&str]) -> (i32, String, String) {
        run(&self.data_dir, line)
    }

    /// Runs a command line that must succeed, and returns its output without sentences.
    fn ask(&self, line: &[&str]) -> String {
        let (code, output, error) = self.run(&[&["-q"], line].concat());
        assert_eq!(code, 0, "{line:?}: {error}");
        output
    }

    /// Runs a command line that must be refused, and returns what it says.
    fn refuse(&self, code: i32, line: &[&str]) -> String {
        let (actual, _, error) = self.run(&[&["-q"], line].concat());
        assert_eq!(actual, code, "{line:?}: {error}");
        error
    }

    /// The rows of a listing as JSON.
    fn rows(&self, line: &[&str]) -> Value {
        serde_json::from_str(&self.ask(&[line, &["--formatter", "json"]].concat())).unwrap()
    }

    /// A client that has declared the durable queue "q" and published some messages to it.
    fn with_messages(&self, count: usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let declared = runtime.block_on(patiently(async {
            let mut client = TestClient::login(tokio::net::TcpStream::connect(self.broker.address).await?).await?;
            client.declare("q").await?;
            for number in 0..count {
                client.publish("q", format!("message {number}").as_bytes())?;
            }
            client.declare("q").await
        }));
        assert_eq!(declared.unwrap() as usize, count);
    }
}

fn run(data_dir: &Path, line: &[&str]) -> (i32, String, String) {
    let output = Command::new(ctl()).arg("--data-dir").arg(data_dir).args(line).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (code, _, error) = run(directory.path(), &["ping"]);
    assert_eq!(code, 69);
    assert!(error.contains(&directory.path().display().to_string()) && error.contains("--data-dir"), "{error}");
    // What needs no broker works without one.
    assert_eq!(run(directory.path(), &["version"]).0, 0);
    assert_eq!(run(directory.path(), &["list_usrs"]).0, 64);
}

#[test]
fn the_socket_is_private_and_works_however_deep_it_lies() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("a-directory-with-a-long-name/".repeat(6));
    std::fs::create_dir_all(&deep).unwrap();
    let node = Administered::start(&deep);
    let socket = node.data_dir.join("admin.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(node.ask(&["ping"]), "Ping succeeded\n");
    assert!(node.broker.stop().success());
    assert!(!socket.exists(), "it went with the broker");
}

#[test]
fn queues_are_listed_purged_and_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let node = Administered::start(directory.path());
    node.with_messages(5);
    assert_eq!(node.ask(&["list_queues"]), "name\tmessages\nq\t5\n");
    let json: Value =
        serde_json::from_str(&node.ask(&["list_queues", "--formatter", "json", "name", "durable"])).unwrap();
    assert_eq!(json, serde_json::json!([{ "name": "q", "durable": true }]));
    assert!(node.ask(&["list_bindings"]).contains("\texchange\tq\tqueue\tq\t[]"));
    assert!(node.ask(&["list_exchanges"]).contains("amq.topic\ttopic\n"));
    node.ask(&["purge_queue", "q", "--count", "2"]);
    assert_eq!(node.ask(&["list_queues", "-s"]), "q\t3\n");
    let (code, _, error) = node.run(&["delete_queue", "q", "--if-empty"]);
    assert!(code == 69 && error.contains("not empty"), "{code} {error}");
    assert_eq!(node.ask(&["delete_queue", "q"]), "Queue was successfully deleted with 3 ready messages\n");
    assert_eq!(node.run(&["delete_queue", "q"]).0, 64);
    assert_eq!(node.ask(&["list_queues"]), "");
    // It stays so: the answer came when the deletion was durable.
    node.broker.kill();
    let node = Administered::start(directory.path());
    assert_eq!(node.ask(&["list_queues"]), "");
}

#[test]
fn limits_set_at_run_time_raise_and_clear_alarms() {
    let directory = tempfile::tempdir().unwrap();
    let node = Administered::start(directory.path());
    let alarms = || {
        let status: Value = serde_json::from_str(&node.ask(&["status", "--formatter", "json"])).unwrap();
        status["alarms"].clone()
    };
    assert_eq!(alarms(), serde_json::json!([]));
    node.ask(&["set_vm_memory_high_watermark", "absolute", "1MB"]);
    assert_eq!(alarms(), serde_json::json!(["memory"]));
    node.ask(&["set_disk_free_limit", "1000TB"]);
    assert_eq!(alarms(), serde_json::json!(["memory", "disk"]));
    node.ask(&["set_vm_memory_high_watermark", "0.9"]);
    assert_eq!(alarms(), serde_json::json!(["disk"]), "one of two is still short");
    node.ask(&["set_disk_free_limit", "0"]);
    assert_eq!(alarms(), serde_json::json!([]));
    assert_eq!(node.run(&["set_disk_free_limit", "banana"]).0, 65);
    assert_eq!(node.run(&["set_vm_memory_high_watermark", "absolute"]).0, 64);
}

#[test]
fn messages_are_looked_at_moved_and_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let node = Administered::start(directory.path());
    node.with_messages(6);
    let peek = |queue: &str, count: &str| -> Vec<(String, bool)> {
        let line = ["peek_queue", queue, "--count", count, "--formatter", "json"];
        let rows: Value = serde_json::from_str(&node.ask(&line)).unwrap();
        let rows = rows.as_array().unwrap();
        let row = |row: &Value| (row["payload"].as_str().unwrap().to_owned(), row["redelivered"].as_bool().unwrap());
        rows.iter().map(row).collect()
    };
    let message = |number: usize| (format!("message {number}"), false);
    assert_eq!(peek("q", "2"), [message(0), message(1)]);
    assert_eq!(peek("q", "9"), (0..6).map(message).collect::<Vec<_>>(), "looking changes nothing");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let declared = runtime.block_on(patiently(async {
        let mut client = TestClient::login(tokio::net::TcpStream::connect(node.broker.address).await?).await?;
        client.declare("other").await
    }));
    assert_eq!(declared.unwrap(), 0);
    assert_eq!(node.ask(&["move_messages", "q", "other", "--offset", "1", "--count", "2"]), "Moved 2 messages\n");
    assert_eq!(peek("other", "9"), [message(1), message(2)]);
    assert_eq!(node.ask(&["delete_messages", "q", "--count", "1"]), "Deleted 1 messages\n");
    assert_eq!(peek("q", "9"), [message(3), message(4), message(5)]);
    assert_eq!(node.run(&["move_messages", "q", "q"]).0, 65);
    assert_eq!(node.run(&["peek_queue", "nope"]).0, 69);
    let why: Value = serde_json::from_str(&node.ask(&["why", "q", "--formatter", "json"])).unwrap();
    assert_eq!(why["left"]["removed"], 3, "{why}");
    // After a kill the bodies are in the log alone.
    node.broker.kill();
    let node = Administered::start(directory.path());
    let rows: Value =
        serde_json::from_str(&node.ask(&["peek_queue", "q", "--count", "9", "--formatter", "json"])).unwrap();
    let bodies: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["payload"].as_str().unwrap()).collect();
    assert_eq!(bodies, ["message 3", "message 4", "message 5"]);
    assert_eq!(node.ask(&["move_messages", "q", "other"]), "Moved 3 messages\n");
    assert_eq!(node.ask(&["-s", "list_queues"]), "other\t5\nq\t0\n");
}

#[test]
fn a_paused_queue_keeps_its_messages() {
    let directory = tempfile::tempdir().unwrap();
    let node = Administered::start(directory.path());
    node.with_messages(3);
    node.ask(&["pause_queue", "q"]);
    assert_eq!(node.ask(&["-s", "list_queues", "name", "state", "messages_ready"]), "q\tpaused\t3\n");
    node.ask(&["resume_queue", "q"]);
    assert_eq!(node.ask(&["-s", "list_queues", "name", "state"]), "q\trunning\n");
}
