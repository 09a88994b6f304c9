//! Churn: what clients make and unmake again and again, and what it costs a broker to hold much of it.

use std::time::Duration;

use clap::ValueEnum;
use leveret_engine::amqp::method::queue;
use leveret_engine::amqp::{FieldTable, ShortStr};

use super::clock::{Clock, pause};
use super::histogram::Histogram;
use super::link::Session;
use super::options::{ChurnOptions, IdleOptions};
use super::process;
use super::report::{group, latencies, micros, say, say_json};
use super::run::{Latency, Spent};
use super::uri::Target;

/// For how long a broker that holds much is left alone before its memory is looked at, and for how long its processor time is.
const REST: Duration = Duration::from_secs(2);

/// What is done again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Deed {
    /// A connection with a channel is opened and closed.
    Connections,
    /// A channel is opened and closed.
    Channels,
    /// A durable queue is declared and deleted.
    Queues,
    /// Durable queues are declared; they are deleted afterwards, which does not count.
    Declarations,
}

/// What to do, and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Churn {
    pub(super) deed: Deed,
    /// Clients that do it at the same time, each on a connection of its own.
    pub(super) clients: u16,
    /// How often they do it, all together.
    pub(super) count: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(super) struct Churned {
    pub(super) deed: Deed,
    pub(super) clients: u16,
    pub(super) count: u64,
    pub(super) seconds: f64,
    /// So many a second.
    pub(super) rate: u64,
    pub(super) latency: Option<Latency>,
    /// Where the broker's process can be looked at.
    pub(super) broker_cpu_ns_each: Option<u64>,
    /// How much of a core the machine's host took, where the kernel tells.
    pub(super) stolen_share: Option<f64>,
    pub(super) broker_resident_kib: Option<u64>,
}

/// Does it.
///
/// # Errors
/// What a broker objected to, in words.
pub(super) fn churn(target: &Target, churn: &Churn) -> Result<Churned, String> {
    let broker = process::listener(target.port);
    let clients = churn.clients.max(1);
    let mut sessions = Vec::new();
    for _ in 0..clients {
        sessions.push(Session::open(target)?);
    }
    let share = churn.count / u64::from(clients);
    let clock = Clock::start();
    let before = Spent::now(broker);
    let begin = clock.now();
    let done = std::thread::scope(|scope| {
        let work = |(client, mut session): (usize, Session)| {
            let mut latency = Histogram::new();
            for number in 0..share {
                let at = clock.now();
                act(target, &mut session, churn.deed, client, number)?;
                latency.record(clock.now() - at);
            }
            Ok::<_, String>((session, latency))
        };
        let threads: Vec<_> =
            sessions.into_iter().enumerate().map(|client| scope.spawn(move || work(client))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("a client does not panic"));
        joined.collect::<Result<Vec<_>, _>>()
    })?;
    let elapsed = Duration::from_nanos((clock.now() - begin).max(1));
    let after = Spent::now(broker);
    let mut latency = Histogram::new();
    for (client, (mut session, its)) in done.into_iter().enumerate() {
        latency.merge(&its);
        if churn.deed == Deed::Declarations {
            for number in 0..share {
                session.delete_queue(&name(client, number)?)?;
            }
        }
        session.close()?;
    }
    let count = share * u64::from(clients);
    let spent = |pair: Option<(u64, u64)>| pair.map(|(after, before)| after.saturating_sub(before) * 1000);
    let stolen = spent(after.stolen_us.zip(before.stolen_us)).map(Duration::from_nanos);
    Ok(Churned {
        deed: churn.deed,
        clients,
        count,
        seconds: elapsed.as_secs_f64(),
        rate: u64::try_from(u128::from(count) * 1_000_000_000 / elapsed.as_nanos()).unwrap_or(u64::MAX),
        latency: Latency::of(&latency),
        broker_cpu_ns_each: spent(after.cpu_us.zip(before.cpu_us)).and_then(|cpu| cpu.checked_div(count)),
        stolen_share: stolen.map(|stolen| stolen.as_secs_f64() / elapsed.as_secs_f64()),
        broker_resident_kib: after.resident_kib,
    })
}

fn act(target: &Target, session: &mut Session, deed: Deed, client: usize, number: u64) -> Result<(), String> {
    match deed {
        Deed::Connections => Session::open(target)?.close(),
        Deed::Channels => session.churn_channel(),
        Deed::Queues => {
            let name = name(client, 0)?;
            session.declare_queue(&name, true, FieldTable::new())?;
            session.call(queue::Delete { queue: name, ..queue::Delete::default() }).map(drop)
        }
        Deed::Declarations => session.declare_queue(&name(client, number)?, true, FieldTable::new()).map(drop),
    }
}

fn name(client: usize, number: u64) -> Result<ShortStr, String> {
    ShortStr::try_from(format!("leveret-perf-churn-{client}-{number}")).map_err(|error| error.to_string())
}

/// What connections that do nothing cost.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(super) struct Idle {
    pub(super) connections: u64,
    /// Resident memory of the broker without them.
    pub(super) before_kib: u64,
    /// With them.
    pub(super) with_kib: u64,
    /// Bytes for each of them.
    pub(super) bytes_each: u64,
    /// How much of a core the broker takes while all are idle.
    pub(super) cpu_share: f64,
}

/// Opens connections with a channel each, lets them be, and closes them.
///
/// # Errors
/// If the broker's process cannot be looked at, or it objects to a connection.
pub(super) fn idle(target: &Target, connections: u64) -> Result<Idle, String> {
    let hidden = || format!("the process that listens on port {} cannot be looked at", target.port);
    let broker = process::listener(target.port).ok_or_else(hidden)?;
    let resident = || process::resident_kib(broker).ok_or_else(hidden);
    let cpu = || process::cpu_us(broker).ok_or_else(hidden);
    pause(REST);
    let before_kib = resident()?;
    let mut sessions = Vec::new();
    for _ in 0..connections {
        sessions.push(Session::open(target)?);
    }
    pause(REST);
    let (clock, cpu_before) = (Clock::start(), cpu()?);
    pause(REST);
    let busy = Duration::from_micros(cpu()?.saturating_sub(cpu_before));
    let cpu_share = busy.as_secs_f64() / Duration::from_nanos(clock.now()).as_secs_f64();
    let with_kib = resident()?;
    for session in sessions {
        session.close()?;
    }
    let bytes_each = (with_kib.saturating_sub(before_kib) * 1024).checked_div(connections).unwrap_or_default();
    Ok(Idle { connections, before_kib, with_kib, bytes_each, cpu_share })
}

pub(super) fn main(options: &ChurnOptions) -> Result<bool, String> {
    let what = Churn { deed: options.deed, clients: options.clients, count: options.count };
    let churned = churn(&options.uri, &what)?;
    if options.json {
        say_json(&churned)?;
    } else {
        say(&churned.story());
    }
    Ok(true)
}

pub(super) fn idle_main(options: &IdleOptions) -> Result<bool, String> {
    let idle = idle(&options.uri, options.connections)?;
    if options.json {
        say_json(&idle)?;
    } else {
        say(&idle.story());
    }
    Ok(true)
}

impl Churned {
    fn story(&self) -> String {
        let mut text = format!(
            "{} in {:.2} s by {} clients: {} /s\n",
            group(self.count),
            self.seconds,
            self.clients,
            group(self.rate)
        );
        if let Some(latency) = self.latency {
            text.push_str(&format!("each took {}\n", latencies(latency)));
        }
        if let Some(cpu) = self.broker_cpu_ns_each {
            text.push_str(&format!("{:.2} µs of the broker's processor for each\n", micros(cpu)));
        }
        if let Some(resident) = self.broker_resident_kib {
            text.push_str(&format!("{} MiB of the broker's memory at the end\n", resident / 1024));
        }
        text
    }
}

impl Idle {
    fn story(&self) -> String {
        format!(
            "{} connections: {} bytes each ({} KiB without them, {} KiB with them), {:.2} % of a core while idle\n",
            group(self.connections),
            group(self.bytes_each),
            group(self.before_kib),
            group(self.with_kib),
            self.cpu_share * 100.0
        )
    }
}
