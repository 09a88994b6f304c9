//! Clients of two nodes at a queue of the third, or of all: in peace, and while the nodes are killed one after the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

use leveret_engine::amqp::FieldTable;
use leveret_engine::client::ClientEvent;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::three::{Three, name};
use super::until;
use crate::harness::client::{TestClient, patiently};

const QUEUE: &str = "of node 2";
/// Publishes under way without a confirm.
const WINDOW: usize = 64;
/// Publishes that the consumer may be behind.
const BEHIND_MAX: u64 = 2000;
/// How soon a message that is published after a node's restart is confirmed and delivered.
pub(super) const SERVICE_BACK: Duration = Duration::from_secs(10);
/// Which queue is used, and whether all nodes have it.
#[derive(Clone, Copy)]
pub(super) struct Used(pub(super) &'static str, pub(super) bool);

const SIZE_MAX: u64 = 200 * 1024;

#[test]
fn messages_of_all_sizes_come_once_and_in_order() {
    const COUNT: u64 = 2000;
    let three = Three::start();
    three.declare(1, QUEUE);
    let publish = async {
        let mut client = login(three.address(0)).await?;
        client.select_confirms().await?;
        let (mut next, mut unconfirmed) = (0, BTreeMap::new());
        while next < COUNT || !unconfirmed.is_empty() {
            while next < COUNT && unconfirmed.len() < WINDOW {
                unconfirmed.insert(client.publish(QUEUE, &body_of_any_size(next))?, next);
                next += 1;
            }
            let event = client.event().await?;
            let Some((acked, true)) = answered(&event, &mut unconfirmed) else { return Err(unexpected(&event)) };
            assert!(!acked.is_empty(), "{event:?} confirms nothing");
        }
        client.close().await
    };
    let consume = async {
        let mut client = login(three.address(2)).await?;
        client.consume(QUEUE, 100).await?;
        for number in 0..COUNT {
            let event = client.event().await?;
            let ClientEvent::Delivery { body, redelivered, delivery_tag, .. } = event else {
                return Err(unexpected(&event));
            };
            assert!(!redelivered, "message {number}");
            assert!(body == body_of_any_size(number), "message {number}: {} bytes of another one", body.len());
            client.ack(delivery_tag, false)?;
        }
        client.close().await
    };
    block_on(patiently(async { tokio::try_join!(publish, consume).map(drop) })).unwrap();
    three.wait_until_empty(1, QUEUE);
}

#[test]
fn killed_nodes_lose_nothing_that_was_confirmed() {
    let mut three = Three::start();
    three.declare(1, QUEUE);
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let (publish_at, consume_at) = (three.address(0), three.address(2));
    let clients = begin(Used(QUEUE, false), (publish_at, consume_at), &ledger);
    let mut slowest = Duration::ZERO;
    await_service(&ledger, SERVICE_BACK);
    for (victim, pause_ms) in kills() {
        three.kill(victim);
        lock(&ledger).crashes += u32::from(victim == 1);
        thread::sleep(Duration::from_millis(pause_ms));
        let begin = Instant::now();
        three.restart(victim);
        let up = begin.elapsed();
        await_service(&ledger, SERVICE_BACK.saturating_sub(up));
        eprintln!("node {}: up after {up:?}, service after {:?}", victim + 1, begin.elapsed());
        slowest = slowest.max(begin.elapsed());
    }
    end(clients, &ledger);
    three.wait_until_empty(1, QUEUE);
    let ledger = lock(&ledger);
    eprintln!("{ledger}, service back within {slowest:?}");
    assert!(ledger.messages > 500 && ledger.redelivered > 0, "too little happened to say anything");
}

/// The node that no client uses, and then whoever leads, again and again.
#[test]
fn killed_leaders_of_a_quorum_queue_lose_nothing_that_was_confirmed() {
    let mut three = Three::start();
    let used = Used("of all nodes", true);
    block_on(async { login(three.address(0)).await?.declare_with(used.0, used.arguments()).await }).unwrap();
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let clients = begin(used, (three.address(0), three.address(2)), &ledger);
    await_service(&ledger, SERVICE_BACK);
    let (mut slowest, more) = (Duration::ZERO, more_kills());
    for number in 0..3 + more {
        let victim = if number == 0 { 1 } else { leader(&three, used.0) };
        let begin = Instant::now();
        three.kill(victim);
        if victim == 1 {
            // Clients of the others only wait for another leader; those of this one would have to wait for it.
            await_service(&ledger, SERVICE_BACK);
            eprintln!("node 2 killed: service after {:?}", begin.elapsed());
            slowest = slowest.max(begin.elapsed());
        } else {
            eprintln!("node {} killed, with a client's connection", victim + 1);
        }
        thread::sleep(Duration::from_millis(mix(number) & 0x7ff));
        three.restart(victim);
        await_service(&ledger, SERVICE_BACK);
    }
    end(clients, &ledger);
    three.wait_until_empty(1, used.0);
    let ledger = lock(&ledger);
    eprintln!("{ledger}, service back within {slowest:?}");
    assert!(ledger.messages > 500, "too little happened to say anything");
}

/// The node that leads a queue, as soon as there is one.
pub(super) fn leader(three: &Three, queue: &str) -> usize {
    let mut leader = None;
    until("a leader", || {
        let output = three.try_control(0, &["quorum_status", queue, "--formatter", "json"]).unwrap_or_default();
        let rows: Vec<Value> = serde_json::from_str(&output).unwrap_or_default();
        let row = rows.iter().find(|row| row["Raft State"] == "leader");
        leader = row.and_then(|row| (0..3).find(|at| row["Node Name"] == *name(*at)));
        leader.is_some()
    });
    leader.expect("it was waited for")
}

/// Lets clients publish at one address and consume at another, until [`end`].
pub(super) fn begin(used: Used, at: (SocketAddr, SocketAddr), ledger: &Arc<Mutex<Ledger>>) -> JoinHandle<()> {
    let ledger = Arc::clone(ledger);
    thread::spawn(move || {
        block_on(async { tokio::join!(publish_on(at.0, used, &ledger), consume_on(at.1, used, &ledger)) });
    })
}

/// Waits until the clients have published and consumed all that they began with. Nothing is missing then.
pub(super) fn end(clients: JoinHandle<()>, ledger: &Mutex<Ledger>) {
    lock(ledger).is_over = true;
    let begin = Instant::now();
    while !clients.is_finished() {
        let ledger = lock(ledger);
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "never confirmed: {:?}, lost: {:?}",
            ledger.unconfirmed,
            ledger.undelivered
        );
        drop(ledger);
        thread::sleep(Duration::from_millis(20));
    }
    clients.join().unwrap();
    assert!(lock(ledger).is_complete(), "the clients ended when all was there");
}

/// Which node is killed, and for how many milliseconds. `LEVERET_KILLS` asks for so many more.
fn kills() -> impl Iterator<Item = (usize, u64)> {
    let other = |at: u64| (usize::try_from(mix(at) % 3).unwrap(), mix(at) >> 32 & 0x7ff);
    // The node of the queue is away once for less time than its clients are kept waiting for it, and once for more.
    [(0, 300), (1, 300), (2, 300), (1, 6000)].into_iter().chain((0..more_kills()).map(other))
}

pub(super) fn more_kills() -> u64 {
    std::env::var("LEVERET_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(0)
}

impl Used {
    pub(super) fn arguments(self) -> FieldTable {
        if self.1 { FieldTable::new().with("x-queue-type", "quorum") } else { FieldTable::new() }
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (messages, again) = (self.messages, self.copies.len() as u64 - self.messages);
        let Self { nacked, redelivered, .. } = self;
        write!(f, "{messages} messages, {again} published again, {nacked} nacked, {redelivered} redelivered")
    }
}

/// What was published and what came of it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// How many messages there are.
    messages: u64,
    /// Those of which no publish was confirmed, and those of which none was delivered.
    unconfirmed: BTreeSet<u64>,
    undelivered: BTreeSet<u64>,
    /// Each publish of a message, by its serial number.
    copies: BTreeMap<u64, Copy>,
    /// Messages to be published, before there are others.
    waiting: VecDeque<u64>,
    /// The last publish that was confirmed, and the last that was delivered.
    last_confirmed: u64,
    last_delivered: u64,
    nacked: u64,
    redelivered: u64,
    /// How often the queue's node was killed.
    crashes: u32,
    /// No other messages are wanted.
    is_over: bool,
}

#[derive(Debug)]
struct Copy {
    /// The message's number.
    number: u64,
    /// How often it came without the redelivered flag.
    fresh: u32,
    /// How often the queue's node had been killed when it was published.
    crashes: u32,
}

impl Ledger {
    /// The serial number of the next publish. `None` if there is none.
    fn next(&mut self) -> Option<u64> {
        let number = match self.waiting.pop_front() {
            Some(number) => number,
            None if self.is_over => return None,
            None => {
                self.messages += 1;
                self.unconfirmed.insert(self.messages);
                self.undelivered.insert(self.messages);
                self.messages
            }
        };
        let serial = self.copies.len() as u64;
        self.copies.insert(serial, Copy { number, fresh: 0, crashes: self.crashes });
        Some(serial)
    }

    /// Whether more was published than is good for a test that is to end soon.
    fn is_far_ahead(&self) -> bool {
        !self.is_over && self.copies.len() as u64 > self.last_delivered + BEHIND_MAX
    }

    fn confirm(&mut self, serial: u64) {
        self.unconfirmed.remove(&self.copies[&serial].number);
        self.last_confirmed = self.last_confirmed.max(serial);
    }

    fn refuse(&mut self, serials: &[u64]) {
        self.nacked += serials.len() as u64;
        self.waiting.extend(serials.iter().map(|serial| self.copies[serial].number));
    }

    fn deliver(&mut self, body: &[u8], redelivered: bool) -> u64 {
        let serial = body.first_chunk().map(|serial| u64::from_be_bytes(*serial));
        let serial = serial.expect("a phantom: no message is that short");
        let copy = self.copies.get_mut(&serial).expect("a phantom: this was not published");
        assert!(body == numbered_body(serial), "publish {serial} is not what it was");
        copy.fresh += u32::from(!redelivered);
        // A queue's node forgets in a crash what it has delivered.
        let excused = self.crashes - copy.crashes;
        assert!(copy.fresh <= 1 + excused, "publish {serial} came {} times as if it were new", copy.fresh);
        self.undelivered.remove(&copy.number);
        self.last_delivered = self.last_delivered.max(serial);
        self.redelivered += u64::from(redelivered);
        serial
    }

    /// Whether nothing was lost, and nothing is under way.
    fn is_complete(&self) -> bool {
        self.unconfirmed.is_empty() && self.undelivered.is_empty()
    }
}

/// Waits until something that is published from now on is confirmed and delivered.
pub(super) fn await_service(ledger: &Mutex<Ledger>, patience: Duration) {
    let (begin, from) = (Instant::now(), lock(ledger).copies.len() as u64);
    loop {
        let (confirmed, delivered) = {
            let ledger = lock(ledger);
            (ledger.last_confirmed > from, ledger.last_delivered > from)
        };
        if confirmed && delivered {
            return;
        }
        assert!(begin.elapsed() < patience, "no service: confirms {confirmed}, deliveries {delivered}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Publishes until it is told that there is enough and all is confirmed, over as many connections as it takes.
async fn publish_on(address: SocketAddr, used: Used, ledger: &Mutex<Ledger>) {
    let mut sent = BTreeMap::new();
    while publish_over_one_connection(address, used, ledger, &mut sent).await.is_err() {
        let lost = std::mem::take(&mut sent).into_values().map(|serial: u64| lock(ledger).copies[&serial].number);
        let mut waiting: VecDeque<u64> = lost.collect();
        waiting.append(&mut lock(ledger).waiting);
        lock(ledger).waiting = waiting;
        sleep(Duration::from_millis(50)).await;
    }
}

async fn publish_over_one_connection(
    address: SocketAddr,
    used: Used,
    ledger: &Mutex<Ledger>,
    sent: &mut BTreeMap<u64, u64>,
) -> io::Result<()> {
    let mut client = login(address).await?;
    client.declare_with(used.0, used.arguments()).await?;
    client.select_confirms().await?;
    loop {
        while sent.len() < WINDOW
            && !lock(ledger).is_far_ahead()
            && let Some(serial) = lock(ledger).next()
        {
            sent.insert(client.publish(used.0, &numbered_body(serial))?, serial);
        }
        if sent.is_empty() {
            if lock(ledger).is_over {
                return client.close().await;
            }
            sleep(Duration::from_millis(2)).await;
            continue;
        }
        let event = client.event().await?;
        match answered(&event, sent) {
            Some((serials, true)) => serials.into_iter().for_each(|serial| lock(ledger).confirm(serial)),
            Some((serials, false)) => {
                lock(ledger).refuse(&serials);
                sleep(Duration::from_millis(2)).await;
            }
            None => return Err(unexpected(&event)),
        }
        // Fast enough to be in the middle of something whenever a node is killed.
        sleep(Duration::from_millis(1)).await;
    }
}

/// Consumes until all was delivered, over as many connections as it takes.
async fn consume_on(address: SocketAddr, used: Used, ledger: &Mutex<Ledger>) {
    while consume_over_one_connection(address, used, ledger).await.is_err() {
        sleep(Duration::from_millis(50)).await;
    }
}

async fn consume_over_one_connection(address: SocketAddr, used: Used, ledger: &Mutex<Ledger>) -> io::Result<()> {
    let mut client = login(address).await?;
    client.declare_with(used.0, used.arguments()).await?;
    client.consume(used.0, 50).await?;
    let mut last = None;
    loop {
        let is_over = {
            let ledger = lock(ledger);
            ledger.is_over && ledger.is_complete()
        };
        if is_over {
            return client.close().await;
        }
        let Ok(event) = tokio::time::timeout(Duration::from_secs(1), client.event()).await else { continue };
        let event = event?;
        let ClientEvent::Delivery { body, redelivered, delivery_tag, .. } = event else {
            return Err(unexpected(&event));
        };
        let serial = lock(ledger).deliver(&body, redelivered);
        if !redelivered {
            assert!(last < Some(serial), "publish {serial} came after {last:?}");
            last = Some(serial);
        }
        client.ack(delivery_tag, false)?;
    }
}

/// What an answer of the broker answers, and whether it is a confirm. `None` if it is something else.
pub(super) fn answered(event: &ClientEvent, sent: &mut BTreeMap<u64, u64>) -> Option<(Vec<u64>, bool)> {
    let (seqno, multiple, is_confirm) = match event {
        ClientEvent::Acked { seqno, multiple, .. } => (*seqno, *multiple, true),
        ClientEvent::Nacked { seqno, multiple, .. } => (*seqno, *multiple, false),
        _ => return None,
    };
    let first = if multiple { 0 } else { seqno };
    let seqnos: Vec<u64> = sent.range(first..=seqno).map(|(seqno, _)| *seqno).collect();
    Some((seqnos.iter().filter_map(|seqno| sent.remove(seqno)).collect(), is_confirm))
}

pub(super) async fn login(address: SocketAddr) -> io::Result<TestClient<TcpStream>> {
    TestClient::login(TcpStream::connect(address).await?).await
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub(super) fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().expect("the clients have found nothing wrong")
}

pub(super) fn unexpected(event: &ClientEvent) -> io::Error {
    io::Error::other(format!("unexpected {event:?}"))
}

/// From 1 B to 200 KiB, small ones as often as large ones, and the ends among them.
fn body_of_any_size(number: u64) -> Vec<u8> {
    let size = match number {
        0 => 1,
        1 => SIZE_MAX,
        _ => 1 + (mix(number) >> 32) % (SIZE_MAX >> (mix(number) % 18)).max(1),
    };
    bytes(number, usize::try_from(size).unwrap())
}

/// A number, and then bytes that only its message has, of one of many lengths.
fn numbered_body(serial: u64) -> Vec<u8> {
    let mut body = serial.to_be_bytes().to_vec();
    body.extend(bytes(serial, usize::try_from(mix(serial) % 3000).unwrap()));
    body
}

pub(super) fn bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..=size as u64 / 8).flat_map(|at| mix(seed << 20 ^ at).to_le_bytes()).collect();
    bytes.truncate(size);
    bytes
}

fn mix(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) ^ (mixed >> 31)
}
