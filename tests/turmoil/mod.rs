//! Tier 2: the unmodified server on simulated sockets and a simulated disk, with time that only passes when nothing else happens.
//!
//! What the engine's own simulation cannot see: frames across arbitrary reads, the tasks' lives, back-pressure through channels, the
//! hand-over to the disk and back, restarts.

mod cluster;
mod disk;
mod net;

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use leveret_engine::client::ClientEvent;
use leveret_engine::config::{Config, LogConfig};
use leveret_server::admin::AdminCalls;
use leveret_server::clock::RuntimeClock;
use leveret_server::node::{Env, serve};
use leveret_server::peers::PeerAddresses;
use leveret_server::{admin, gauge};
use tokio::time::{sleep, timeout};
use turmoil::net::TcpStream;

use self::disk::{Medium, SimDisk};
use self::net::{Chance, SimNet};
use crate::harness::client::TestClient;

const PORT: u16 = 5672;
const QUEUE: &str = "tier-two";
const MESSAGES: u64 = 500;
const WINDOW: usize = 8;
/// A session that takes longer is given up: turmoil does not retransmit, and neither does it tell of a host that is down.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the clients saw, in the order in which they saw it.
#[derive(Debug, Default)]
struct History {
    text: String,
    confirmed: BTreeSet<u64>,
    delivered: BTreeSet<u64>,
    resets: u64,
}

impl History {
    /// Notes what a host saw.
    fn note(&mut self, what: fmt::Arguments<'_>) {
        self.write(turmoil::sim_elapsed().unwrap_or_default(), what);
    }

    fn write(&mut self, elapsed: Duration, what: fmt::Arguments<'_>) {
        writeln!(self.text, "{:>6} {what}", elapsed.as_millis()).expect("strings take everything");
    }
}

type Shared<T> = Arc<Mutex<T>>;

fn note(history: &Shared<History>, what: fmt::Arguments<'_>) {
    history.lock().unwrap().note(what);
}

#[test]
fn the_server_keeps_its_promises_on_a_bad_network_and_repeats_itself() {
    for seed in 0..20 {
        let first = run(seed);
        let second = run(seed);
        if first != second {
            let same = first.lines().zip(second.lines()).take_while(|(a, b)| a == b).count();
            let at = |text: &str| text.lines().skip(same.saturating_sub(3)).take(6).collect::<Vec<_>>().join("\n");
            panic!("seed {seed} does not repeat:\n{}\n--- and then\n{}", at(&first), at(&second));
        }
    }
}

/// One simulation; returns its history.
fn run(seed: u64) -> String {
    let mut chance = Chance::new(seed);
    let mut sim = world(seed);
    let history: Shared<History> = Arc::default();
    let medium: Shared<Medium> = Arc::default();

    let boots = Mutex::new(Chance::new(chance.next()));
    let disk = Arc::clone(&medium);
    sim.host("server", move || node(boots.lock().unwrap().next(), Arc::clone(&disk)));
    sim.client("publisher", publisher(Arc::clone(&history), chance.between(50, MESSAGES)));
    sim.client("consumer", consumer(Arc::clone(&history), chance.between(20, MESSAGES)));

    // When, in ms of simulated time, and for how long.
    let holds = [("publisher", chance.between(50, 400)), ("consumer", chance.between(50, 400))];
    let hold_time = chance.between(20, 2000);
    let crash = chance.between(100, 400);
    let mut crashed_at = None;
    for step in 0.. {
        for (host, start) in holds {
            if step == start {
                sim.hold(host, "server");
            }
            if step == start + hold_time {
                sim.release(host, "server");
            }
        }
        // The worst moment is while the disk is at work.
        if crashed_at.is_none() && step >= crash && medium.lock().unwrap().has_unsynced() {
            crashed_at = Some(step);
            // Streams that a crash drops say goodbye, in an order that depends on the numbers which the runtime gives to tasks in the
            // whole process. A link that is held draws no latency for it, so that the order does not show.
            let open = holds.map(|(host, start)| (host, !(start..start + hold_time).contains(&step)));
            for (host, _) in open.iter().filter(|(_, is_open)| *is_open) {
                sim.hold(*host, "server");
            }
            sim.crash("server");
            for (host, _) in open.iter().filter(|(_, is_open)| *is_open) {
                sim.release(*host, "server");
            }
            let lost = medium.lock().unwrap().lose_power(&mut chance);
            history.lock().unwrap().write(sim.elapsed(), format_args!("power lost, and {lost} writes with it"));
        }
        if crashed_at.is_some_and(|crashed_at| step == crashed_at + 50) {
            sim.bounce("server");
        }
        if sim.step().unwrap() {
            break;
        }
    }

    let mut history = history.lock().unwrap();
    assert_eq!(history.confirmed.len() as u64, MESSAGES, "seed {seed}");
    assert_eq!(history.delivered, history.confirmed, "seed {seed}: {}", history.text);
    assert!(history.resets >= 2, "seed {seed}: the connections were to be reset");
    assert!(history.text.contains("power lost"), "seed {seed}: it was over before the power failed");
    std::mem::take(&mut history.text)
}

/// A network without hosts.
fn world(seed: u64) -> turmoil::Sim<'static> {
    turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
        .simulation_duration(Duration::from_secs(300))
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(5))
        .tcp_capacity(4096)
        .enable_random_order()
        .build()
}

/// The server, from boot to crash.
async fn node(seed: u64, medium: Shared<Medium>) -> turmoil::Result {
    serve_one(seed, medium, Config::default(), None, admin::link().1).await
}

async fn serve_one(
    seed: u64,
    medium: Shared<Medium>,
    config: Config,
    peers: Option<PeerAddresses>,
    admin: AdminCalls,
) -> turmoil::Result {
    let mut chance = Chance::new(seed);
    let mut entropy = [0; 32];
    entropy.fill_with(|| chance.next().to_le_bytes()[0]);
    let (disk, answers) = SimDisk::start(medium, Chance::new(chance.next()));
    let clock = RuntimeClock::new(|| turmoil::since_epoch().unwrap_or_default());
    let env = Env {
        net: SimNet::new(seed),
        disk,
        answers,
        clock,
        peers,
        gauge: gauge::none(),
        admin,
        definitions: None,
        entropy,
    };
    let config = Config {
        // Every client is a host of its own here.
        loopback_users: Vec::new(),
        // So that the log turns over within a test.
        log: LogConfig {
            segment_bytes: 32 * 1024,
            slack_bytes: 64 * 1024,
            append_bytes: 8 * 1024,
            ..LogConfig::default()
        },
        ..config
    };
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    serve(env, config, &[address], |_| {}, std::future::pending()).await?;
    Ok(())
}

/// Publishes every message until each is confirmed; leaves once in the middle of a frame.
async fn publisher(history: Shared<History>, reset_after: u64) -> turmoil::Result {
    let mut leave = Some(reset_after);
    loop {
        match timeout(PATIENCE, publish(&history, &mut leave)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => note(&history, format_args!("publisher: {error}")),
            Err(_) => note(&history, format_args!("publisher: no answer")),
        }
        sleep(Duration::from_millis(30)).await;
    }
}

async fn publish(history: &Shared<History>, leave: &mut Option<u64>) -> io::Result<()> {
    let mut client = TestClient::login(TcpStream::connect(("server", PORT)).await?).await?;
    client.declare(QUEUE).await?;
    client.select_confirms().await?;
    let confirmed = history.lock().unwrap().confirmed.clone();
    let mut todo = (0..MESSAGES).filter(|number| !confirmed.contains(number)).peekable();
    let mut waiting = std::collections::BTreeMap::new();
    while todo.peek().is_some() || !waiting.is_empty() {
        while waiting.len() < WINDOW
            && let Some(number) = todo.next()
        {
            waiting.insert(client.publish(QUEUE, &body(number))?, number);
            if leave.is_some_and(|leave| number >= leave) {
                *leave = None;
                client.leave_within_a_frame().await?;
                history.lock().unwrap().resets += 1;
                return Err(io::Error::other("left"));
            }
        }
        match client.event().await? {
            ClientEvent::Acked { seqno, multiple, .. } => {
                let mut history = history.lock().unwrap();
                let done: Vec<u64> = waiting.range(..=seqno).map(|(other, _)| *other).collect();
                for other in done.into_iter().filter(|other| multiple || *other == seqno) {
                    let number = waiting.remove(&other).expect("it was just there");
                    history.note(format_args!("confirmed {number}"));
                    history.confirmed.insert(number);
                }
            }
            other => return Err(io::Error::other(format!("unexpected {other:?}"))),
        }
    }
    client.close().await
}

/// Consumes until every confirmed message has come; resets its connection once.
async fn consumer(history: Shared<History>, reset_after: u64) -> turmoil::Result {
    let mut leave = Some(reset_after);
    loop {
        match timeout(PATIENCE, consume(&history, &mut leave)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => note(&history, format_args!("consumer: {error}")),
            Err(_) => note(&history, format_args!("consumer: no answer")),
        }
        sleep(Duration::from_millis(30)).await;
    }
}

async fn consume(history: &Shared<History>, leave: &mut Option<u64>) -> io::Result<()> {
    let mut client = TestClient::login(TcpStream::connect(("server", PORT)).await?).await?;
    client.declare(QUEUE).await?;
    client.consume(QUEUE, 10).await?;
    while history.lock().unwrap().delivered.len() < usize::try_from(MESSAGES).expect("it is small") {
        match client.event().await? {
            ClientEvent::Delivery { body: bytes, delivery_tag, redelivered, .. } => {
                let number = bytes.first_chunk().map_or(u64::MAX, |number| u64::from_be_bytes(*number));
                assert!(number < MESSAGES, "a phantom");
                assert_eq!(bytes, body(number), "message {number} is not what was published");
                let mut history = history.lock().unwrap();
                history.note(format_args!("delivered {number}{}", if redelivered { " again" } else { "" }));
                history.delivered.insert(number);
                if leave.is_some_and(|leave| number >= leave) {
                    // More is on its way and stays unread, so that the drop resets the connection.
                    *leave = None;
                    history.resets += 1;
                    return Err(io::Error::other("left"));
                }
                drop(history);
                client.ack(delivery_tag, false)?;
            }
            other => return Err(io::Error::other(format!("unexpected {other:?}"))),
        }
    }
    client.close().await
}

/// A message's body: its number and bytes that follow from it.
fn body(number: u64) -> Vec<u8> {
    let mut chance = Chance::new(number);
    let mut body = number.to_be_bytes().to_vec();
    for _ in 0..chance.between(0, 100) {
        body.extend_from_slice(&chance.next().to_be_bytes());
    }
    body
}
