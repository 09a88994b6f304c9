//! One measurement: producers and consumers on their threads, and what came of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leveret_engine::amqp::method::{exchange, queue};
use leveret_engine::amqp::{FieldTable, Routing, ShortStr};

use super::clock::{Clock, nanos, pause};
use super::consumer::{Consumed, Consumer, Consuming};
use super::counters::{Counters, Counts};
use super::histogram::Histogram;
use super::ledger::{Ledger, Verdict};
use super::link::Session;
use super::process;
use super::producer::{Producer, Published, Publishing, Schedule};
use super::uri::Target;
use super::worker::{Peer, Waiting, drive};

/// How often the counts are looked at.
const LOOK: Duration = Duration::from_millis(10);
/// From the start of the threads to the first publish: consumers are accepted meanwhile.
const LEAD_NS: u64 = 50_000_000;

/// What to measure.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    pub(super) producers: u16,
    pub(super) consumers: u16,
    /// Producers and consumers are spread over them in turn.
    pub(super) queues: u16,
    /// The queue's name; of several, what their names begin with.
    pub(super) queue: String,
    pub(super) queue_arguments: FieldTable,
    /// Where producers publish; `None` for the default exchange, where each has one queue.
    pub(super) exchange: Option<Exchange>,
    pub(super) body_len: usize,
    /// Messages per second of each producer; 0 for as many as possible.
    pub(super) rate: u64,
    /// Unconfirmed messages of each producer; `None` without confirms.
    pub(super) confirm: Option<u64>,
    pub(super) prefetch: u16,
    pub(super) is_persistent: bool,
    pub(super) is_mandatory: bool,
    /// `None` without acknowledgements.
    pub(super) ack_every: Option<u64>,
    /// How long to publish, without the warm-up.
    pub(super) duration: Option<Duration>,
    /// How many messages each producer publishes; they are awaited by the consumers also where there are no producers.
    pub(super) count: Option<u64>,
    /// Not counted at the beginning.
    pub(super) warm_up: Duration,
    /// For how long consumers may get nothing before the rest is given up.
    pub(super) patience: Duration,
    /// What stands in the queue belongs to this run.
    pub(super) expects_backlog: bool,
    /// The queues stay.
    pub(super) keeps_queues: bool,
    /// Empties queues that are not empty at the beginning.
    pub(super) purges: bool,
    pub(super) threads: Threads,
    /// While it is set, consumers do not read their sockets.
    pub(super) is_paused: Arc<AtomicBool>,
}

/// Who does the work.
#[derive(Clone, Copy, Debug)]
pub(super) enum Threads {
    /// Threads that sleep while there is nothing to do, for producers and for consumers.
    Sleeping { producers: usize, consumers: usize },
    /// One thread for all, which never sleeps.
    Busy,
}

/// What one thread drives.
#[derive(Debug, Default)]
struct Crew {
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
}

impl Crew {
    /// Spreads them over threads.
    fn spread(mut producers: Vec<Producer>, mut consumers: Vec<Consumer>, threads: Threads) -> (Vec<Self>, Waiting) {
        let (publishing, consuming) = match threads {
            Threads::Busy => return (vec![Self { producers, consumers }], Waiting::Spin),
            Threads::Sleeping { producers, consumers } => (producers.max(1), consumers.max(1)),
        };
        let mut crews = Vec::new();
        let share = consumers.len().div_ceil(consuming);
        while !consumers.is_empty() {
            let part = consumers.drain(..share.min(consumers.len())).collect();
            crews.push(Self { consumers: part, ..Self::default() });
        }
        let share = producers.len().div_ceil(publishing);
        while !producers.is_empty() {
            let part = producers.drain(..share.min(producers.len())).collect();
            crews.push(Self { producers: part, ..Self::default() });
        }
        (crews, Waiting::Sleep)
    }

    /// Works until `stop` is set.
    fn work(
        mut self,
        clock: Clock,
        waiting: Waiting,
        stop: &AtomicBool,
    ) -> Result<(Vec<Published>, Vec<Consumed>), String> {
        let mut peers: Vec<&mut dyn Peer> = Vec::new();
        peers.extend(self.producers.iter_mut().map(|producer| producer as &mut dyn Peer));
        peers.extend(self.consumers.iter_mut().map(|consumer| consumer as &mut dyn Peer));
        drive(&mut peers, clock, waiting, stop)?;
        let published = self.producers.into_iter().map(Producer::finish).collect();
        Ok((published, self.consumers.into_iter().map(Consumer::finish).collect()))
    }
}

/// An exchange to which all queues are bound, so that each of them gets every message.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) name: ShortStr,
    pub(super) kind: ShortStr,
    /// What messages are published with, and queues are bound with.
    pub(super) routing_key: ShortStr,
    /// Bindings of each queue that no message takes.
    pub(super) other_bindings: u32,
}

impl Exchange {
    /// The keys of all bindings of a queue.
    fn binding_keys(&self) -> impl Iterator<Item = String> {
        // None matches what has another word in the second place. The key of messages is to have one that is no number there.
        let other = |number: u32| match number % 2 {
            0 => format!("perf.{number}.*"),
            _ => format!("*.{number}.#"),
        };
        std::iter::once(self.routing_key.to_string_lossy().into_owned()).chain((0..self.other_bindings).map(other))
    }
}

impl Workload {
    /// How many of the queues that are consumed from a message reaches.
    fn copies(&self) -> u64 {
        if self.exchange.is_some() { self.queues.max(1).min(self.consumers).max(1).into() } else { 1 }
    }
}

impl Default for Workload {
    /// One producer, one consumer, one queue, as fast as possible for ten seconds.
    fn default() -> Self {
        Self {
            producers: 1,
            consumers: 1,
            queues: 1,
            queue: "leveret-perf".to_owned(),
            queue_arguments: FieldTable::new(),
            exchange: None,
            body_len: 1024,
            rate: 0,
            confirm: None,
            prefetch: 0,
            is_persistent: false,
            is_mandatory: false,
            ack_every: None,
            duration: None,
            count: None,
            warm_up: Duration::ZERO,
            patience: Duration::from_secs(10),
            expects_backlog: false,
            keeps_queues: false,
            purges: false,
            threads: Threads::Sleeping { producers: 1, consumers: 1 },
            is_paused: Arc::default(),
        }
    }
}

/// What was measured.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(super) struct Outcome {
    pub(super) seconds: f64,
    pub(super) published: u64,
    pub(super) confirmed: u64,
    pub(super) nacked: u64,
    pub(super) delivered: u64,
    /// How often the broker blocked a producer's connection.
    pub(super) blocked: u64,
    /// Messages per second, within the measured time.
    pub(super) publish_rate: u64,
    pub(super) confirm_rate: u64,
    pub(super) delivery_rate: u64,
    pub(super) confirm_latency: Option<Latency>,
    pub(super) end_to_end_latency: Option<Latency>,
    /// All confirm latencies, if there were any.
    #[serde(skip)]
    pub(super) confirm_times: Option<Histogram>,
    #[serde(skip)]
    pub(super) end_to_end_times: Option<Histogram>,
    /// The broker's processor time per message within the measured time, where its process can be looked at.
    pub(super) broker_cpu_ns_per_message: Option<u64>,
    /// How much of a core the machine's host took from it within the measured time, where the kernel tells.
    pub(super) stolen_share: Option<f64>,
    /// The broker's resident memory at the end of the measured time.
    pub(super) broker_resident_kib: Option<u64>,
    /// Without consumers nobody knows.
    pub(super) verdict: Option<Verdict>,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(super) struct Latency {
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    pub(super) p999_us: u64,
    pub(super) max_us: u64,
}

impl Latency {
    pub(super) fn of(histogram: &Histogram) -> Option<Self> {
        let at = |of_ten_thousand| histogram.quantile(of_ten_thousand).map(|nanos| nanos / 1000);
        Some(Self { p50_us: at(5000)?, p99_us: at(9900)?, p999_us: at(9990)?, max_us: histogram.max()? / 1000 })
    }
}

/// A look at a run, for whoever watches it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) elapsed: Duration,
    pub(super) counts: Counts,
    /// The publishing is over.
    pub(super) is_draining: bool,
}

/// Counts at one moment, for rates between two of them.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: u64,
    counts: Counts,
}

/// What the measured time costs, as the kernel counts it. To ask it takes longer than to look at the counts, and a core.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) cpu_us: Option<u64>,
    pub(super) stolen_us: Option<u64>,
    pub(super) resident_kib: Option<u64>,
}

impl Spent {
    pub(super) fn now(broker: Option<u32>) -> Self {
        Self {
            cpu_us: broker.and_then(process::cpu_us),
            stolen_us: process::stolen_us(),
            resident_kib: broker.and_then(process::resident_kib),
        }
    }
}

/// Carries a workload out.
pub(super) fn run(target: &Target, workload: &Workload, mut watch: impl FnMut(Progress)) -> Result<Outcome, String> {
    let broker = process::listener(target.port);
    let queues = prepare_queues(target, workload)?;
    let clock = Clock::start();
    let stop = AtomicBool::new(false);
    let mut counters = Vec::new();
    let mut count_one = || {
        let one = Arc::new(Counters::default());
        counters.push(Arc::clone(&one));
        one
    };
    // The connections are made before the clock counts.
    let mut consumer_sessions = Vec::new();
    for _ in 0..workload.consumers {
        consumer_sessions.push((Session::open(target)?, count_one()));
    }
    let mut producer_sessions = Vec::new();
    for _ in 0..workload.producers {
        producer_sessions.push((Session::open(target)?, count_one()));
    }
    let start_at = clock.now() + LEAD_NS;
    let measure_from = start_at + nanos(workload.warm_up);
    let end_at = workload.duration.map_or(u64::MAX, |duration| measure_from + nanos(duration));
    let schedule = Schedule { start_at, measure_from, end_at };

    let mut consumers = Vec::new();
    for (at, (session, counters)) in consumer_sessions.into_iter().enumerate() {
        let consuming = Consuming {
            queue: queues[at % queues.len()].clone(),
            body_len: workload.body_len,
            producers: workload.producers.max(1),
            prefetch: workload.prefetch,
            ack_every: workload.ack_every,
            measure_from,
        };
        consumers.push(Consumer::start(session, &consuming, Arc::clone(&workload.is_paused), counters)?);
    }
    let mut producers = Vec::new();
    let mut producing = Vec::new();
    for (number, (session, counters)) in (0..).zip(producer_sessions) {
        producing.push(Arc::clone(&counters));
        let publishing = Publishing {
            routing: match &workload.exchange {
                Some(exchange) => Routing::new(&exchange.name, &exchange.routing_key),
                None => Routing::new(&ShortStr::new(), &queues[usize::from(number) % queues.len()]),
            },
            body_len: workload.body_len,
            is_persistent: workload.is_persistent,
            is_mandatory: workload.is_mandatory,
            window: workload.confirm,
            interval: 1_000_000_000_u64.checked_div(workload.rate),
            count: workload.count,
        };
        producers.push(Producer::start(session, number, publishing, schedule, counters)?);
    }
    let look = || {
        let counts = Counts::sum(counters.iter().map(|counters| &**counters));
        Mark { at: clock.now(), counts }
    };
    let started = (look(), Spent::now(broker));
    std::thread::scope(|scope| {
        let stop = &stop;
        let (crews, waiting) = Crew::spread(producers, consumers, workload.threads);
        let threads: Vec<_> =
            crews.into_iter().map(|crew| scope.spawn(move || crew.work(clock, waiting, stop))).collect();
        let has_failed = || threads.iter().any(|thread| thread.is_finished());
        let mut first = None;
        let mut last = None;
        let mut next_watch = start_at;
        let mut last_delivery = started.0;
        loop {
            let mark = look();
            if mark.at >= measure_from && first.is_none() {
                first = Some((mark, Spent::now(broker)));
            }
            if mark.at >= end_at && last.is_none() {
                last = Some((mark, Spent::now(broker)));
            }
            if mark.counts.delivered != last_delivery.counts.delivered {
                last_delivery = mark;
            }
            let is_draining = producing.iter().all(|counters| counters.is_done());
            if mark.at >= next_watch {
                next_watch += 250_000_000;
                let elapsed = Duration::from_nanos(mark.at.saturating_sub(start_at));
                watch(Progress { elapsed, counts: mark.counts, is_draining });
            }
            let expected = match workload.producers {
                0 => workload.count.unwrap_or(u64::MAX),
                _ => mark.counts.published * workload.copies(),
            };
            let is_drained = workload.consumers == 0 || mark.counts.delivered >= expected;
            let is_over = is_draining && is_drained && (end_at == u64::MAX || last.is_some());
            if workload.is_paused.load(Ordering::Relaxed) {
                last_delivery.at = mark.at;
            }
            let silence = mark.at.saturating_sub(last_delivery.at.max(start_at));
            let is_given_up = is_draining && !is_drained && silence > nanos(workload.patience);
            if is_over || is_given_up || has_failed() {
                // Of a run with a fixed count, the waiting in vain is no part, and what that cost is not known apart.
                let end = if is_given_up { last_delivery } else { mark };
                let spent = || if is_given_up { Spent::default() } else { Spent::now(broker) };
                last.get_or_insert_with(|| (end, spent()));
                break;
            }
            pause(LOOK);
        }
        stop.store(true, Ordering::Relaxed);
        let mut published: Vec<Published> = Vec::new();
        let mut consumed: Vec<Consumed> = Vec::new();
        for thread in threads {
            let (publishing, consuming) = thread.join().expect("a crew does not panic")?;
            published.extend(publishing);
            consumed.extend(consuming);
        }
        let last = last.expect("the loop set it");
        let first = first.unwrap_or(started);
        Ok(outcome(workload, first, last, look().counts, &published, &consumed))
    })
    .and_then(|outcome| {
        if !workload.keeps_queues {
            let mut session = Session::open(target)?;
            for queue in &queues {
                session.delete_queue(queue)?;
            }
            if let Some(Exchange { name, .. }) = &workload.exchange {
                session.call(exchange::Delete { exchange: name.clone(), ..exchange::Delete::default() })?;
            }
            session.close()?;
        }
        Ok(outcome)
    })
}

/// Declares the queues, which must be empty unless the run is to find something in them.
fn prepare_queues(target: &Target, workload: &Workload) -> Result<Vec<ShortStr>, String> {
    let mut session = Session::open(target)?;
    let mut queues = Vec::new();
    if let Some(Exchange { name, kind, .. }) = &workload.exchange {
        let (exchange, kind) = (name.clone(), kind.clone());
        let durable = workload.is_persistent;
        session.call(exchange::Declare { exchange, exchange_type: kind, durable, ..exchange::Declare::default() })?;
    }
    for number in 1..=workload.queues.max(1) {
        let name = if workload.queues > 1 { format!("{}-{number}", workload.queue) } else { workload.queue.clone() };
        let name = ShortStr::try_from(name).map_err(|error| error.to_string())?;
        let ready = session.declare_queue(&name, workload.is_persistent, workload.queue_arguments.clone())?;
        if ready > 0 && workload.purges {
            session.call(queue::Purge { queue: name.clone(), ..queue::Purge::default() })?;
        } else if ready > 0 && !workload.expects_backlog {
            return Err(format!("queue {name} holds {ready} messages; --purge drops them"));
        }
        if let Some(exchange) = &workload.exchange {
            for key in exchange.binding_keys() {
                let routing_key = ShortStr::try_from(key).map_err(|error| error.to_string())?;
                let (queue, exchange) = (name.clone(), exchange.name.clone());
                session.call(queue::Bind { queue, exchange, routing_key, ..queue::Bind::default() })?;
            }
        }
        queues.push(name);
    }
    session.close()?;
    Ok(queues)
}

fn outcome(
    workload: &Workload,
    (first, before): (Mark, Spent),
    (last, after): (Mark, Spent),
    total: Counts,
    published: &[Published],
    consumed: &[Consumed],
) -> Outcome {
    let elapsed = last.at.saturating_sub(first.at).max(1);
    let rate = |from: u64, to: u64| {
        let per_second = u128::from(to.saturating_sub(from)) * 1_000_000_000 / u128::from(elapsed);
        u64::try_from(per_second).unwrap_or(u64::MAX)
    };
    let mut confirm = Histogram::new();
    for producer in published {
        confirm.merge(&producer.confirm_latency);
    }
    let mut latency = Histogram::new();
    // Of those who get a part of the messages together: all of them, or those of each queue that gets all.
    let mut ledgers = vec![Ledger::new(workload.producers.max(1)); usize::try_from(workload.copies()).unwrap_or(1)];
    let accounts = ledgers.len();
    for (at, consumer) in consumed.iter().enumerate() {
        latency.merge(&consumer.latency);
        ledgers[at % accounts].merge(&consumer.ledger);
    }
    let counts: Vec<u64> = match workload.producers {
        0 => vec![workload.count.unwrap_or_default()],
        _ => published.iter().map(|producer| producer.count).collect(),
    };
    let messages = match workload.consumers {
        0 => last.counts.published.saturating_sub(first.counts.published),
        _ => last.counts.delivered.saturating_sub(first.counts.delivered),
    };
    let spent_ns = |(last, first): (u64, u64)| last.saturating_sub(first) * 1000;
    let cpu_ns = after.cpu_us.zip(before.cpu_us).map(spent_ns);
    let stolen_ns = after.stolen_us.zip(before.stolen_us).map(spent_ns);
    let seconds = |nanos| Duration::from_nanos(nanos).as_secs_f64();
    // What waited in the queue before the run began was stamped by another clock.
    let latency = Some(latency).filter(|times| times.max().is_some() && !workload.expects_backlog);
    let confirm = Some(confirm).filter(|times| times.max().is_some());
    Outcome {
        seconds: seconds(elapsed),
        published: published.iter().map(|producer| producer.count).sum(),
        confirmed: total.confirmed,
        nacked: published.iter().map(|producer| producer.nacked).sum(),
        delivered: ledgers.iter().map(Ledger::received).sum(),
        blocked: total.blocked,
        publish_rate: rate(first.counts.published, last.counts.published),
        confirm_rate: rate(first.counts.confirmed, last.counts.confirmed),
        delivery_rate: rate(first.counts.delivered, last.counts.delivered),
        confirm_latency: confirm.as_ref().and_then(Latency::of),
        end_to_end_latency: latency.as_ref().and_then(Latency::of),
        confirm_times: confirm,
        end_to_end_times: latency,
        broker_cpu_ns_per_message: cpu_ns.and_then(|cpu| cpu.checked_div(messages)),
        stolen_share: stolen_ns.map(|stolen| seconds(stolen) / seconds(elapsed)),
        broker_resident_kib: after.resident_kib,
        verdict: (workload.consumers > 0).then(|| ledgers.iter().map(|ledger| ledger.verdict(&counts)).sum()),
    }
}
