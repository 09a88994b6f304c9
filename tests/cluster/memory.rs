//! What crosses nodes does not stay in their memory, however much it is and however slowly it is read.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use leveret_engine::client::ClientEvent;
use tokio::time::sleep;

use super::kills::{answered, block_on, bytes, login, unexpected};
use super::three::Three;
use crate::harness::client::patiently;

const QUEUE: &str = "large";
const MIB: u64 = 1024 * 1024;
/// Bytes of memory that a node may take beyond what it had when it was idle.
const GROWTH_MAX: u64 = 48 * MIB;

/// How many messages, and of how many bytes. `LEVERET_BACKLOG=50000x1024` asks for others.
fn backlog() -> (u64, usize) {
    let wanted = std::env::var("LEVERET_BACKLOG").unwrap_or_else(|_| "6000x16384".to_owned());
    let (count, size) = wanted.split_once('x').expect("LEVERET_BACKLOG is a number, x and a number");
    (count.parse().expect("a number of messages"), size.parse().expect("a number of bytes"))
}

#[test]
fn a_backlog_and_a_consumer_that_does_not_read_do_not_fill_memory() {
    let (count, size) = backlog();
    let three = Three::start();
    three.declare(1, QUEUE);
    let idle = [0, 1, 2].map(|at| three.resident_bytes(at));
    let mut growth = BTreeMap::new();
    let mut note = |what: &'static str| {
        for (at, idle) in idle.iter().enumerate() {
            let most: &mut u64 = growth.entry((what, at)).or_default();
            *most = (*most).max(three.resident_bytes(at).saturating_sub(*idle));
        }
    };
    block_on(patiently(async {
        publish(three.address(0), count, size, || note("published")).await?;
        // As large as the queue: no credit holds the messages back.
        let mut consumer = login(three.address(2)).await?;
        consumer.consume(QUEUE, 0).await?;
        for _ in 0..40 {
            sleep(Duration::from_millis(50)).await;
            note("not read");
        }
        for number in 0..count {
            let event = consumer.event().await?;
            let ClientEvent::Delivery { body, redelivered: false, delivery_tag, .. } = event else {
                return Err(unexpected(&event));
            };
            assert!(body == bytes(number, size), "message {number}: {} bytes of another one", body.len());
            if number % 100 == 99 || number + 1 == count {
                consumer.ack(delivery_tag, true)?;
                note("drained");
            }
        }
        consumer.close().await
    }))
    .unwrap();
    three.wait_until_empty(1, QUEUE);
    for ((what, at), bytes) in &growth {
        eprintln!("{what}: node {} has taken {} KiB more", at + 1, bytes / 1024);
    }
    let worst = growth.values().max().unwrap();
    assert!(*worst < GROWTH_MAX, "of {} MiB: {growth:?}", count * size as u64 / MIB);
}

async fn publish(address: SocketAddr, count: u64, size: usize, mut note: impl FnMut()) -> io::Result<()> {
    let mut client = login(address).await?;
    client.select_confirms().await?;
    let (mut next, mut unconfirmed) = (0, BTreeMap::new());
    while next < count || !unconfirmed.is_empty() {
        while next < count && unconfirmed.len() < 1000 {
            unconfirmed.insert(client.publish(QUEUE, &bytes(next, size))?, next);
            next += 1;
        }
        let event = client.event().await?;
        let Some((_, true)) = answered(&event, &mut unconfirmed) else { return Err(unexpected(&event)) };
        note();
    }
    client.close().await
}
