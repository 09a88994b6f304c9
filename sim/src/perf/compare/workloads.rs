//! The workloads that brokers are compared by.

use std::time::Duration;

use leveret_engine::amqp::{FieldTable, ShortStr};

use super::sample::{Details, Measure, Sample};
use crate::perf::churn::{Churn, Deed, churn, idle};
use crate::perf::run::{Exchange, Progress, Threads, Workload, run};
use crate::perf::uri::Target;

/// Not counted at the beginning of each run that has a time.
const WARM_UP: Duration = Duration::from_secs(2);

/// A workload with a name.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    task: Task,
    /// What is compared of each of its parts, and what these are called.
    pub(super) parts: Vec<(&'static str, Measure)>,
}

/// What is done to a broker.
#[derive(Debug)]
enum Task {
    Load(Workload),
    /// A queue is filled with so many messages, and drained.
    Backlog(Workload, u64),
    Churn(Churn),
    Idle(u64),
}

impl Named {
    /// Does it once; a sample of each part.
    pub(super) fn run(
        &self,
        target: &Target,
        time: Duration,
        mut watch: impl FnMut(Progress),
    ) -> Result<Vec<Sample>, String> {
        Ok(match &self.task {
            Task::Load(workload) => {
                let timed = Workload { warm_up: WARM_UP, duration: Some(time), purges: true, ..workload.clone() };
                vec![Sample::new(Details::Load(run(target, &timed, watch)?))]
            }
            Task::Backlog(workload, messages) => {
                let fill = Workload {
                    consumers: 0,
                    confirm: Some(4096),
                    count: Some(*messages),
                    purges: true,
                    keeps_queues: true,
                    ..workload.clone()
                };
                let filled = run(target, &fill, &mut watch)?;
                let drain = Workload {
                    producers: 0,
                    confirm: None,
                    count: Some(*messages),
                    expects_backlog: true,
                    patience: Duration::from_secs(60),
                    ..workload.clone()
                };
                let drained = run(target, &drain, watch)?;
                [filled, drained].map(|outcome| Sample::new(Details::Load(outcome))).into()
            }
            Task::Churn(what) => vec![Sample::new(Details::Churn(churn(target, what)?))],
            Task::Idle(connections) => vec![Sample::new(Details::Idle(idle(target, *connections)?))],
        })
    }

    /// Whether all of its parts are about rates that are to be high.
    pub(super) fn is_about_rates(&self) -> bool {
        self.parts.iter().all(|(_, measure)| *measure == Measure::Rate)
    }
}

/// Those there are. The first two show where a broker stands; the names of the others say how they differ.
pub(super) fn workloads() -> Vec<Named> {
    let transient = |body_len| Workload { body_len, ..Workload::default() };
    let durable = || Workload {
        is_persistent: true,
        confirm: Some(256),
        prefetch: 256,
        ack_every: Some(1),
        ..Workload::default()
    };
    let quorum = || Workload {
        queue: "leveret-perf-quorum".to_owned(),
        queue_arguments: FieldTable::new().with("x-queue-type", "quorum"),
        ..durable()
    };
    let busy = |workload| Workload { threads: Threads::Busy, ..workload };
    let four = |workload| Workload { producers: 4, consumers: 4, queues: 4, ..workload };
    let exchange = |name, kind, other_bindings| {
        let [name, kind, routing_key] = [name, kind, "perf.message.key"].map(ShortStr::from_static);
        Some(Exchange { name, kind, routing_key, other_bindings })
    };
    let fast =
        |name, about, workload| Named { name, about, task: Task::Load(workload), parts: vec![(name, Measure::Rate)] };
    let paced = |name, about, rate, workload, measure| {
        let task = Task::Load(Workload { rate, ..workload });
        Named { name, about, task, parts: vec![(name, measure)] }
    };
    let churn = |name, about, deed, clients, count| {
        let task = Task::Churn(Churn { deed, clients, count });
        Named { name, about, task, parts: vec![(name, Measure::Rate)] }
    };
    let idle = |name, about, connections| {
        let task = Task::Idle(connections);
        Named { name, about, task, parts: vec![(name, Measure::Memory)] }
    };
    vec![
        fast("transient-1k", "1 KiB, transient, auto-ack", transient(1024)),
        fast("durable-1k", "1 KiB, persistent, durable queue, confirms 256, manual ack, prefetch 256", durable()),
        fast("transient-16", "16 B, transient, auto-ack", transient(16)),
        fast("transient-1k-4x4", "4 producers, 4 consumers, 4 queues, 1 KiB, auto-ack", four(transient(1024))),
        fast("durable-1k-4x4", "4 producers, 4 consumers, 4 queues, persistent, confirms 256", four(durable())),
        fast(
            "one-at-a-time",
            "window 1, persistent, confirmed and acknowledged",
            Workload { confirm: Some(1), prefetch: 1, ..durable() },
        ),
        fast("fanout-10", "1 KiB, auto-ack, fanout to 10 queues with a consumer each", {
            let exchange = exchange("leveret-perf-fanout", "fanout", 0);
            Workload { queues: 10, consumers: 10, exchange, ..transient(1024) }
        }),
        fast("topic-1000", "1 KiB, auto-ack, topic exchange with 1,000 bindings", {
            Workload { exchange: exchange("leveret-perf-topic", "topic", 999), ..transient(1024) }
        }),
        fast("quorum-1k", "1 KiB, quorum queue, confirms 256, manual ack, prefetch 256", quorum()),
        paced("quorum-1k-paced", "the same with 1,000 messages per second", 1000, quorum(), Measure::ConfirmLatency),
        paced(
            "transient-1k-paced",
            "1 KiB, transient, auto-ack, 1,000 messages per second",
            1000,
            transient(1024),
            Measure::EndToEndLatency,
        ),
        paced(
            "transient-1k-paced-10k",
            "the same with 10,000 messages per second",
            10_000,
            transient(1024),
            Measure::EndToEndLatency,
        ),
        paced(
            "durable-1k-paced",
            "1 KiB, persistent, durable queue, confirms 256, manual ack, 1,000 messages per second",
            1000,
            durable(),
            Measure::EndToEndLatency,
        ),
        paced(
            "durable-1k-paced-10k",
            "the same with 10,000 messages per second",
            10_000,
            durable(),
            Measure::EndToEndLatency,
        ),
        paced(
            "transient-1k-paced-busy",
            "1,000 transient messages per second, without the meter's own wake-ups",
            1000,
            busy(transient(1024)),
            Measure::EndToEndLatency,
        ),
        paced(
            "transient-1k-paced-10k-busy",
            "10,000 transient messages per second, without the meter's own wake-ups",
            10_000,
            busy(transient(1024)),
            Measure::EndToEndLatency,
        ),
        paced(
            "durable-1k-paced-busy",
            "1,000 persistent messages per second, without the meter's own wake-ups",
            1000,
            busy(durable()),
            Measure::EndToEndLatency,
        ),
        paced(
            "durable-1k-paced-10k-busy",
            "10,000 persistent messages per second, without the meter's own wake-ups",
            10_000,
            busy(durable()),
            Measure::EndToEndLatency,
        ),
        Named {
            name: "backlog",
            about: "1,000,000 persistent messages of 1 KiB queued with confirms, then drained",
            task: Task::Backlog(
                Workload {
                    queue: "leveret-perf-backlog".to_owned(),
                    prefetch: 1000,
                    ack_every: Some(100),
                    ..durable()
                },
                1_000_000,
            ),
            parts: vec![("backlog-fill", Measure::Rate), ("backlog-drain", Measure::Rate)],
        },
        churn("declarations", "10,000 durable queues declared, by one client", Deed::Declarations, 1, 10_000),
        churn("declarations-16", "the same, by 16 clients at once", Deed::Declarations, 16, 10_000),
        churn("declarations-64", "the same, by 64 clients at once", Deed::Declarations, 64, 10_000),
        churn("queue-churn", "a durable queue declared and deleted, by one client", Deed::Queues, 1, 1000),
        churn(
            "connection-churn",
            "a connection with a channel opened and closed, by one client",
            Deed::Connections,
            1,
            1000,
        ),
        churn("channel-churn", "a channel opened and closed, by one client", Deed::Channels, 1, 5000),
        idle("idle-connections-1k", "1,000 idle connections with a channel each, bytes for each", 1000),
        idle("idle-connections-10k", "10,000 idle connections with a channel each, bytes for each", 10_000),
    ]
}
