//! The real process, killed while it works: what was confirmed is there afterwards, and nothing else.

mod dead_letters;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use leveret_engine::client::ClientEvent;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::harness::client::{TestClient, patiently};
use crate::harness::leveret::Leveret;

const QUEUE: &str = "crash";
const KILLS: u64 = 20;
/// Publishes under way without a confirm.
const WINDOW: usize = 256;

/// What may be in the queue after the next recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Published, and the broker was killed before it answered: may be there or not, for good.
    Open,
    /// Has to be there.
    Confirmed,
    /// Acked before a kill that may have come before the ack was durable: may be there or not, for good.
    Acked,
}

/// What the broker has promised, by the number in a message's body.
#[derive(Debug, Default)]
struct Promises {
    fates: BTreeMap<u64, Fate>,
    /// The next message's number.
    next: u64,
    confirmed: u64,
}

#[test]
fn a_killed_broker_keeps_every_confirmed_message_and_invents_none() {
    check_kills("");
}

#[test]
fn a_killed_broker_keeps_what_the_operating_system_had() {
    check_kills("durability = os\n");
}

fn check_kills(config: &str) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("leveret.conf");
    std::fs::write(&file, config).unwrap();
    let start = || {
        Leveret::start_with(directory.path(), |command| {
            command.args(["--listen", "127.0.0.1:0", "--log", "info", "--config"]).arg(&file)
        })
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut promises = Promises::default();
    for kill in 0..KILLS {
        let broker = start();
        runtime.block_on(patiently(check(broker.address, &mut promises, kill % 3 != 2))).unwrap();
        // Spread over the states of a broker's life: few messages, full windows, a segment's end.
        let uptime = Duration::from_millis(20 + kill * 37 % 300);
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = sleep(uptime) => {}
                result = publish(broker.address, &mut promises) => panic!("the publisher ended: {result:?}"),
            }
        });
        broker.kill();
    }
    let broker = start();
    runtime.block_on(patiently(check(broker.address, &mut promises, true))).unwrap();
    assert!(broker.stop().success());
    eprintln!("{KILLS} kills, {} messages published, {} confirmed", promises.next, promises.confirmed);
    assert!(promises.confirmed > KILLS * 10, "too little was confirmed to say anything");
}

/// Publishes with confirms, in windows, until the broker is gone.
async fn publish(address: SocketAddr, promises: &mut Promises) -> io::Result<()> {
    let mut client = TestClient::login(TcpStream::connect(address).await?).await?;
    client.declare(QUEUE).await?;
    client.select_confirms().await?;
    let mut unconfirmed = BTreeMap::new();
    loop {
        while unconfirmed.len() < WINDOW {
            let number = promises.next;
            promises.next += 1;
            promises.fates.insert(number, Fate::Open);
            unconfirmed.insert(client.publish(QUEUE, &body(number))?, number);
        }
        match client.event().await? {
            ClientEvent::Acked { seqno, multiple, .. } => {
                let rest = unconfirmed.split_off(&(seqno + 1));
                let (confirmed, waiting): (BTreeMap<_, _>, BTreeMap<_, _>) =
                    unconfirmed.into_iter().partition(|(number, _)| multiple || *number == seqno);
                unconfirmed = waiting;
                unconfirmed.extend(rest);
                for number in confirmed.into_values() {
                    promises.fates.insert(number, Fate::Confirmed);
                    promises.confirmed += 1;
                }
            }
            other => return Err(io::Error::other(format!("unexpected {other:?}"))),
        }
    }
}

/// Reads the whole queue, holds it against the promises, and acks the older half of it.
async fn check(address: SocketAddr, promises: &mut Promises, may_ack: bool) -> io::Result<()> {
    let mut client = TestClient::login(TcpStream::connect(address).await?).await?;
    let count = client.declare(QUEUE).await?;
    client.consume(QUEUE, 0).await?;
    let mut found = Vec::new();
    while found.len() < count as usize {
        match client.event().await? {
            ClientEvent::Delivery { body: bytes, delivery_tag, .. } => {
                let number = bytes.first_chunk().map(|number| u64::from_be_bytes(*number));
                let number = number.expect("a phantom: no message is that short");
                assert_eq!(bytes, body(number), "message {number} is not what was published");
                found.push((number, delivery_tag));
            }
            other => return Err(io::Error::other(format!("unexpected {other:?}"))),
        }
    }
    assert!(found.is_sorted_by(|(a, _), (b, _)| a < b), "out of order, or twice: {found:?}");
    let numbers: BTreeSet<u64> = found.iter().map(|(number, _)| *number).collect();
    for number in &numbers {
        assert!(promises.fates.contains_key(number), "a phantom: {number} was gone, or never published");
    }
    for (number, fate) in &promises.fates {
        assert!(*fate != Fate::Confirmed || numbers.contains(number), "confirmed message {number} is lost");
    }
    // What is there stays, whatever was known of it before; what is not there must not come back.
    promises.fates = numbers.iter().map(|number| (*number, Fate::Confirmed)).collect();
    if may_ack && let Some((_, tag)) = found.get(found.len() / 2) {
        client.ack(*tag, true)?;
        for (number, _) in found.iter().take(found.len() / 2 + 1) {
            promises.fates.insert(*number, Fate::Acked);
        }
    }
    client.close().await
}

/// A message's body: its number, then bytes that only it has, of one of many lengths.
fn body(number: u64) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    let mut state = number;
    for _ in 0..number * 2_654_435_761 % 300 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        body.extend_from_slice(&state.to_be_bytes());
    }
    body
}
