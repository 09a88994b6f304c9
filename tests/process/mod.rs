//! The `leveret` process as its users and their scripts see it.

mod config;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::client::{TestClient, patiently};
use crate::harness::leveret::{Leveret, binary};

#[test]
fn a_first_start_takes_no_time() {
    let fastest = (0..5)
        .map(|_| {
            let directory = tempfile::tempdir().unwrap();
            let broker = Leveret::start(directory.path());
            let time = broker.start_time;
            assert!(broker.stop().success());
            time
        })
        .min()
        .unwrap();
    eprintln!("ready after {fastest:?}");
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}

#[test]
fn a_data_directory_serves_one_broker_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let first = Leveret::start(directory.path());
    let second = Command::new(binary())
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(directory.path().join("data"))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(second.stdout.is_empty());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("data is in use by another broker") && said.contains("--data-dir"), "{said}");
    assert!(first.stop().success());
    // And the next one is welcome, whatever became of the last.
    Leveret::start(directory.path()).kill();
    assert!(Leveret::start(directory.path()).stop().success());
}

#[test]
fn a_port_in_use_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(binary())
        .args(["--listen", &address, "--data-dir"])
        .arg(directory.path().join("data"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
}

#[test]
fn a_stop_does_not_wait_for_clients_that_do_not_answer() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Leveret::start(directory.path());
    let address = broker.address;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let silent = TcpStream::connect(address).unwrap();
    let deaf = runtime.block_on(patiently(async {
        let mut client = TestClient::login(tokio::net::TcpStream::connect(address).await?).await?;
        client.declare("unread").await?;
        client.publish("unread", b"kept")?;
        client.declare("unread").await?;
        Ok(client)
    }));
    let begin = Instant::now();
    assert!(broker.stop().success());
    assert!(begin.elapsed() < Duration::from_secs(9), "{:?}", begin.elapsed());
    drop((silent, deaf));
    let broker = Leveret::start(directory.path());
    let count = runtime.block_on(patiently(async {
        let mut client = TestClient::login(tokio::net::TcpStream::connect(broker.address).await?).await?;
        client.declare("unread").await
    }));
    assert_eq!(count.unwrap(), 1);
}

#[test]
fn a_client_that_ends_its_stream_behind_a_request_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Leveret::start(directory.path());
    let mut client = TcpStream::connect(broker.address).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"AMQP\x00\x00\x09\x01");
}

#[test]
fn options_come_from_the_environment_too() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(binary())
        .env("LEVERET_LISTEN", "nonsense")
        .env("LEVERET_DATA_DIR", directory.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("127.0.0.1:5672"));
}

#[test]
fn help_teaches() {
    let output = Command::new(binary()).arg("--help").output().unwrap();
    assert!(output.status.success());
    let help = String::from_utf8_lossy(&output.stdout);
    for word in ["--listen", "--data-dir", "--log", "LEVERET_DATA_DIR", "guest", "SIGTERM", "Exit codes", "Examples"] {
        assert!(help.contains(word), "nothing about {word}:\n{help}");
    }
}
