//! A node whose files have rotted: it gets what it had from the others, or says what to do.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use leveret_engine::amqp::FieldTable;
use leveret_engine::client::ClientEvent;
use tokio::net::TcpStream;

use super::members::members;
use super::three::Three;
use super::until;
use crate::harness::client::{TestClient, patiently};

const ORDERS: usize = 20;

#[test]
fn a_node_whose_files_rotted_comes_back_by_itself_unless_something_is_only_there() {
    let mut three = Three::start();
    publish(three.address(0), "orders", "quorum", ORDERS);
    until("all to have a vote", || is_whole(&three));
    // The others have everything.
    three.kill(1);
    flip_a_byte(&three.data_dir(1), b"orders 10");
    three.restart(1);
    until("its replica to be back", || is_whole(&three));
    assert!(fs::read_dir(three.data_dir(1).join("damaged-1")).unwrap().count() > 0, "what it was is kept");
    let log = three.logged(1);
    assert!(log.contains("is corrupt") && log.contains("have all that this one had"), "{log}");
    // What is on one node only is not given up without being asked for.
    publish(three.address(2), "precious", "classic", 3);
    three.kill(2);
    flip_a_byte(&three.data_dir(2), b"orders 10");
    assert_eq!(three.run_to_the_end(2).code(), Some(3));
    let log = three.logged(2);
    assert!(log.contains("Up to 3 messages of classic queues are on this node only"), "{log}");
    assert!(log.contains("--give-up-damaged-data") && !three.data_dir(2).join("damaged-1").exists(), "{log}");
    three.restart_with(2, &["--give-up-damaged-data"]);
    until("its replica to be back", || is_whole(&three));
    super::declare(three.address(2), "precious", true).unwrap();
    // Each of the two that lost it has everything again.
    three.kill(0);
    consume(three.address(1), "orders", ORDERS);
}

fn is_whole(three: &Three) -> bool {
    let members = members(three, 0, "orders");
    members.len() == 3 && members.iter().all(|(_, state, membership)| state != "noproc" && membership == "voter")
}

/// Declares a queue and publishes to it; all of that is confirmed.
fn publish(address: SocketAddr, queue: &'static str, kind: &'static str, count: usize) {
    block_on(async {
        let mut client = TestClient::login(TcpStream::connect(address).await?).await?;
        client.declare_with(queue, FieldTable::new().with("x-queue-type", kind)).await?;
        client.select_confirms().await?;
        for number in 0..count {
            client.publish(queue, format!("{queue} {number}").as_bytes())?;
            let event = client.event().await?;
            assert!(matches!(event, ClientEvent::Acked { .. }), "{event:?}");
        }
        client.close().await
    });
}

fn consume(address: SocketAddr, queue: &'static str, count: usize) {
    block_on(async {
        let mut client = TestClient::login(TcpStream::connect(address).await?).await?;
        client.consume(queue, 1).await?;
        for number in 0..count {
            let event = client.event().await?;
            let ClientEvent::Delivery { body, delivery_tag, .. } = event else { panic!("{event:?}") };
            assert_eq!(body, format!("{queue} {number}"));
            client.ack(delivery_tag, false)?;
        }
        client.close().await
    });
}

fn block_on(future: impl Future<Output = io::Result<()>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(patiently(future)).unwrap();
}

/// Turns a bit of these bytes, wherever in its log a node has them.
fn flip_a_byte(data_dir: &Path, wanted: &[u8]) {
    let mut flipped = 0;
    for entry in fs::read_dir(data_dir).unwrap() {
        let path = entry.unwrap().path();
        if !path.file_name().unwrap().to_str().unwrap().starts_with("log-") {
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(wanted.len()).position(|window| window == wanted) {
            bytes[at] ^= 0x10;
            fs::write(&path, bytes).unwrap();
            flipped += 1;
        }
    }
    assert_eq!(flipped, 1, "{} has it once", data_dir.display());
}
