//! Definitions on their way to a real RabbitMQ and back.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Administered;
use crate::harness::leveret::Leveret;
use crate::harness::rabbitmq;

/// The vhost of everything here: the RabbitMQ is shared with other tests, whose definitions are none of ours.
const VHOST: &str = "definitions";
/// Its user.
const USER: &str = "definer";

/// Something of everything.
fn document() -> Value {
    json!({
        "rabbit_version": "3.10.8",
        "users": [{
            "name": USER, "tags": ["monitoring", "policymaker"], "limits": { "max-connections": 7 },
            "password_hash": "0c7b9Z5UO6as/BWnOZomT8dtT2xpZm7iidPwRSB4rsl6etwa",
            "hashing_algorithm": "rabbit_password_hashing_sha256",
        }],
        "vhosts": [{ "name": VHOST, "limits": [], "metadata": { "description": "for a test", "tags": ["a", "b"] } }],
        "permissions": [{ "user": USER, "vhost": VHOST, "configure": "^d", "write": ".*", "read": "" }],
        "topic_permissions": [{ "user": USER, "vhost": VHOST, "exchange": "amq.topic", "write": "^a", "read": ".*" }],
        "parameters": [
            { "vhost": VHOST, "component": "vhost-limits", "name": "limits", "value": { "max-queues": 50 } },
            {
                "vhost": VHOST, "component": "operator_policy", "name": "cap",
                "value": { "pattern": "^w", "apply-to": "queues", "definition": { "max-length": 10 }, "priority": 1 },
            },
        ],
        "policies": [{
            "vhost": VHOST, "name": "p", "pattern": "^w", "apply-to": "queues", "priority": 2,
            "definition": { "dead-letter-exchange": "dead", "message-ttl": 1000 },
        }],
        "queues": [
            {
                "vhost": VHOST, "name": "work", "type": "classic", "durable": true, "auto_delete": false,
                "arguments": { "x-max-priority": 5, "x-overflow": "reject-publish" },
            },
            {
                "vhost": VHOST, "name": "wide work", "type": "quorum", "durable": true, "auto_delete": false,
                "arguments": { "x-queue-type": "quorum", "x-delivery-limit": 3 },
            },
        ],
        "exchanges": [
            {
                "vhost": VHOST, "name": "dead", "type": "topic", "durable": true, "auto_delete": false, "internal": false,
                "arguments": { "alternate-exchange": "amq.fanout" },
            },
            {
                "vhost": VHOST, "name": "in", "type": "headers", "durable": true, "auto_delete": false, "internal": false,
                "arguments": {},
            },
        ],
        "bindings": [
            {
                "vhost": VHOST, "source": "in", "destination": "work", "destination_type": "queue", "routing_key": "",
                "arguments": { "x-match": "all", "size": 5, "big": true },
            },
            {
                "vhost": VHOST, "source": "amq.topic", "destination": "dead", "destination_type": "exchange",
                "routing_key": "a.#", "arguments": {},
            },
        ],
    })
}

/// What of a document is ours, sorted. RabbitMQ repeats a vhost's limits beside the parameter that they are, and need not
/// say that an exchange is not internal.
fn ours(document: &Value) -> Value {
    let is_ours =
        |item: &Value| item["vhost"] == VHOST || item["user"] == USER || item["name"] == VHOST || item["name"] == USER;
    let section = |name: &str| {
        let mut items: Vec<Value> =
            document[name].as_array().unwrap().iter().filter(|item| is_ours(item)).cloned().collect();
        if name == "vhosts" {
            items.iter_mut().for_each(|vhost| vhost["limits"] = json!([]));
        }
        if name == "exchanges" {
            let exchanges = items.iter_mut().filter_map(Value::as_object_mut);
            exchanges.for_each(|exchange| exchange.retain(|key, value| key != "internal" || *value != false));
        }
        items.sort_by_key(Value::to_string);
        (name.to_owned(), Value::Array(items))
    };
    let sections = [
        "users",
        "vhosts",
        "permissions",
        "topic_permissions",
        "parameters",
        "policies",
        "queues",
        "exchanges",
        "bindings",
    ];
    sections.into_iter().map(section).collect()
}

#[test]
fn what_we_export_is_what_rabbitmq_exports() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("first.json"), document().to_string()).unwrap();
    let node = Administered::start(directory.path());
    node.ask(&["import_definitions", path("first.json").to_str().unwrap()]);
    node.ask(&["export_definitions", path("ours.json").to_str().unwrap()]);
    let read = |name: &str| serde_json::from_str::<Value>(&fs::read_to_string(path(name)).unwrap()).unwrap();
    let exported = ours(&read("ours.json"));
    assert_eq!(exported, ours(&document()));

    let Some(rabbitmq) = rabbitmq::shared() else { return };
    let control = |line: &[&str]| rabbitmq.control(&line.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
    // Only what is ours, so that nothing changes under the other tests.
    fs::write(path("for_rabbitmq.json"), exported.to_string()).unwrap();
    control(&["import_definitions", path("for_rabbitmq.json").to_str().unwrap()]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let listed = |line: &[&str]| {
        let mut rows = control(line).unwrap_or_default();
        rows.sort();
        rows
    };
    let queues = ["list_queues", "-p", VHOST, "name", "policy", "durable"];
    while listed(&queues).len() < 2 {
        assert!(Instant::now() < deadline, "RabbitMQ does not have our queues: {:?}", control(&queues));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(listed(&queues), ["wide work\tp\ttrue", "work\tp\ttrue"]);
    control(&["export_definitions", path("theirs.json").to_str().unwrap()]).unwrap();
    let theirs = ours(&read("theirs.json"));
    control(&["delete_vhost", VHOST]).unwrap();
    control(&["delete_user", USER]).unwrap();
    assert_eq!(theirs, exported);

    // And a broker that starts with RabbitMQ's file has the same.
    fs::write(path("from_rabbitmq.json"), theirs.to_string()).unwrap();
    let other = tempfile::tempdir().unwrap();
    let broker = Leveret::start_with(other.path(), |command| {
        command.args(["--listen", "127.0.0.1:0", "--definitions"]).arg(path("from_rabbitmq.json"))
    });
    let node = Administered { broker, data_dir: other.path().join("data") };
    node.ask(&["export_definitions", path("again.json").to_str().unwrap()]);
    assert_eq!(ours(&read("again.json")), exported);
    assert_eq!(
        node.ask(&["-s", "-p", VHOST, "list_queues", "name", "policy", "operator_policy"]),
        "wide work\tp\tcap\nwork\tp\tcap\n"
    );
}

#[test]
fn a_document_that_makes_no_sense_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let node = Administered::start(directory.path());
    let file = directory.path().join("broken.json");
    let import = |text: &str| {
        fs::write(&file, text).unwrap();
        node.refuse(65, &["import_definitions", file.to_str().unwrap()])
    };
    assert!(import("nonsense").contains("not JSON"));
    let error = import(r#"{"vhosts": [{"name": "v"}], "queues": [{"name": "q", "vhost": "w"}]}"#);
    assert!(error.contains("queues[0] (q)") && error.contains("'w'"), "{error}");
    assert_eq!(node.ask(&["-s", "list_vhosts"]), "/\n", "not even the vhost before it was made");
    assert!(node.refuse(65, &["import_definitions", "/no/such/file"]).contains("/no/such/file"));
}
