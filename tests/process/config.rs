//! `leveret --config`: what it takes, what it refuses, and what wins over it.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::client::{TestClient, patiently};
use crate::harness::leveret::{Leveret, binary};

/// Runs a broker that is expected not to start: its exit code and what it says.
fn refused(directory: &Path, text: &str) -> (Option<i32>, String) {
    let config = directory.join("broken.conf");
    fs::write(&config, text).unwrap();
    let Output { status, stdout, stderr } = Command::new(binary())
        .arg("--config")
        .arg(config)
        .arg("--data-dir")
        .arg(directory.join("data"))
        .output()
        .unwrap();
    assert!(stdout.is_empty(), "it started");
    (status.code(), String::from_utf8(stderr).unwrap())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// What leveretctl prints for a command line that must succeed.
fn ask(broker: &Leveret, line: &[&str]) -> String {
    let (is_done, output, error) = broker.control(&words(line));
    assert!(is_done, "{line:?}: {error}");
    output
}

#[test]
fn mistakes_are_named_with_file_line_and_what_was_meant() {
    let directory = tempfile::tempdir().unwrap();
    let (code, said) = refused(
        directory.path(),
        "# a comment\nhartbeat = 30\nframe_max = many\nvm_memory_high_watermark.relative = 40%\n\n\
         disk_free_limit.absolute = 2XB\ndefault_queue_type = stack\nlisteners.tcp.default = here\nno_such_thing_at_all = 1\n",
    );
    assert_eq!(code, Some(1));
    for expected in [
        "broken.conf:2: there is no setting hartbeat; did you mean heartbeat?",
        "broken.conf:3: frame_max: \"many\" is no number",
        "broken.conf:4: vm_memory_high_watermark.relative: \"40%\" is no fraction",
        "broken.conf:6: disk_free_limit.absolute: \"2XB\" is no size",
        "broken.conf:7: default_queue_type: \"stack\" is no type of queue: expected classic or quorum",
        "broken.conf:8: listeners.tcp.default: \"here\" is neither a port nor an IP address",
        "broken.conf:9: there is no setting no_such_thing_at_all",
    ] {
        assert!(said.contains(expected), "nothing says {expected:?}:\n{said}");
    }
    assert!(!said.contains(":9: there is no setting no_such_thing_at_all; did"), "nothing is near it:\n{said}");
    assert!(!directory.path().join("data").exists(), "nothing was made before the configuration was understood");

    let (code, said) = refused(directory.path(), "heartbeat 30\n");
    assert_eq!(code, Some(1));
    assert!(said.contains("broken.conf:1: \"heartbeat 30\" is no setting: expected KEY = VALUE"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.conf");
    let output = Command::new(binary()).arg("--config").arg(&missing).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("cannot read {}", missing.display())), "{said}");
}

#[test]
fn an_option_wins_over_the_environment_and_that_over_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("leveret.conf");
    let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [by_file, by_environment] = taken.each_ref().map(|listener| listener.local_addr().unwrap().to_string());
    // Nobody can listen where others do, which is told with the address.
    fs::write(&config, format!("listeners.tcp.default = {by_file}\nlog.console.level = error\n")).unwrap();
    let start = |environment: &[(&str, &str)]| {
        let mut command = Command::new(binary());
        command.arg("--config").arg(&config).arg("--data-dir").arg(directory.path().join("other"));
        let output = command.envs(environment.iter().copied()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(start(&[]).contains(&by_file), "the file's address is used");
    assert!(start(&[("LEVERET_LISTEN", &by_environment)]).contains(&by_environment), "the environment wins");

    let broker = Leveret::start_with(directory.path(), |command| {
        command.arg("--config").arg(&config).env("LEVERET_LISTEN", &by_environment).args(["--listen", "127.0.0.1:0"])
    });
    let address = broker.address.to_string();
    assert!(address != by_file && address != by_environment, "the option wins: {address}");
    // The file's level holds, for nothing names another.
    assert!(broker.stop().success());
    let log = fs::read_to_string(directory.path().join("log.txt")).unwrap();
    assert!(!log.contains("INFO"), "{log}");
}

#[test]
fn settings_and_definitions_take_effect() {
    let directory = tempfile::tempdir().unwrap();
    let (config, definitions) = (directory.path().join("leveret.conf"), directory.path().join("definitions.json"));
    fs::write(
        &config,
        format!(
            "listeners.tcp.default = 127.0.0.1:0\nload_definitions = {}\ndefault_queue_type = quorum\ncluster_name = east\n\
             vm_memory_high_watermark.absolute = 3GB\ndisk_free_limit.absolute = 0\nmanagement.tcp.port = 15672\n",
            definitions.display()
        ),
    )
    .unwrap();
    fs::write(
        &definitions,
        r#"{"vhosts": [{"name": "/"}], "queues": [{"name": "imported", "vhost": "/", "durable": true, "arguments": {}}],
            "policies": [{"vhost": "/", "name": "p", "pattern": "^imp", "definition": {"max-length": 9}}]}"#,
    )
    .unwrap();
    let start = || {
        Leveret::start_with(directory.path(), |command| {
            command.arg("--config").arg(&config).args(["--node-name", "here@localhost"])
        })
    };
    let broker = start();
    let status: Value = serde_json::from_str(&ask(&broker, &["status", "--formatter", "json"])).unwrap();
    assert_eq!(
        (&status["node"], &status["vm_memory_high_watermark_limit"]),
        (&"here@localhost".into(), &3_000_000_000_u64.into())
    );
    let cluster: Value = serde_json::from_str(&ask(&broker, &["cluster_status", "--formatter", "json"])).unwrap();
    assert_eq!(cluster["cluster_name"], "east");
    assert_eq!(status["disk_free_limit"], 0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let declared = runtime.block_on(patiently(async {
        let mut client = TestClient::login(tokio::net::TcpStream::connect(broker.address).await?).await?;
        client.declare("declared").await
    }));
    assert_eq!(declared.unwrap(), 0);
    let queues = ask(&broker, &["list_queues", "name", "type", "policy"]);
    assert_eq!(queues, "declared\tquorum\t\nimported\tclassic\tp\n");
    assert!(broker.stop().success());
    let log = fs::read_to_string(directory.path().join("log.txt")).unwrap();
    assert!(log.contains("leveret.conf:7: management.tcp.port has no effect on this broker"), "{log}");

    // At every start, what is there already stays.
    let broker = start();
    assert_eq!(ask(&broker, &["list_queues", "name", "type", "policy"]), queues);
    drop(broker);

    fs::write(&definitions, r#"{"queues": [{"name": "q", "vhost": "nowhere"}]}"#).unwrap();
    let output = Command::new(binary())
        .arg("--config")
        .arg(&config)
        .arg("--data-dir")
        .arg(directory.path().join("data"))
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("queues[0] (q)") && said.contains("nowhere"), "{said}");
}
