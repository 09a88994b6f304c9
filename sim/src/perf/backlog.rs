//! A long backlog: what it costs in memory, and whether all of it is there after a restart.

use std::path::Path;
use std::time::Duration;

use leveret_engine::amqp::ShortStr;
use rustix::process::Signal;

use super::clock::{Clock, pause};
use super::ledger::Verdict;
use super::link::Session;
use super::options::{BacklogOptions, End};
use super::process::{self, Broker, DataDir, wait_until};
use super::report::{Live, group, say, say_json};
use super::run::{Workload, run};

/// The broker's resident memory must stay below, at any time.
const RESIDENT_MAX_KIB: u64 = 400 * 1024;
const READY_MAX: Duration = Duration::from_secs(10);
const DATA_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// For the data directory to shrink after the drain.
const SHRINK_TIMEOUT: Duration = Duration::from_secs(30);

const QUEUE: &str = "leveret-perf-backlog";

/// What was measured. Memory is the most there ever was in that process.
#[derive(Debug, serde::Serialize)]
struct Findings {
    messages: u64,
    body_bytes: usize,
    fill_rate: u64,
    filled_resident_kib: u64,
    filled_data_bytes: u64,
    ended_by: &'static str,
    end_ms: u128,
    ready_ms: u128,
    found: u32,
    ready_resident_kib: u64,
    drain_rate: u64,
    drained_resident_kib: u64,
    verdict: Verdict,
    drained_data_bytes: u64,
    shrink_ms: u128,
    broken: Vec<String>,
}

pub(super) fn main(options: &BacklogOptions) -> Result<bool, String> {
    let data_dir = DataDir::new(&options.scratch, "leveret-perf-backlog")?;
    let broker = Broker::start(&options.broker, data_dir.path())?;
    let fill = Workload {
        consumers: 0,
        queue: QUEUE.to_owned(),
        body_len: options.size,
        is_persistent: true,
        confirm: Some(4096),
        count: Some(options.messages),
        keeps_queues: true,
        ..Workload::default()
    };
    let memory = |broker: &Broker| process::resident_max_kib(broker.pid()).unwrap_or_default();
    let mut live = Live::new("fill", options.json);
    let filled = run(&broker.target, &fill, |progress| live.show(progress))?;
    drop(live);
    let filled_resident_kib = memory(&broker);
    let filled_data_bytes = process::disk_bytes(data_dir.path());
    let (ended_by, signal) = match options.end {
        End::Kill => ("SIGKILL", Signal::KILL),
        End::Term => ("SIGTERM", Signal::TERM),
    };
    let end_time = broker.end(signal)?;

    let broker = Broker::start(&options.broker, data_dir.path())?;
    let found = count(&broker)?;
    let ready_resident_kib = memory(&broker);
    let drain = Workload {
        producers: 0,
        consumers: 1,
        confirm: None,
        prefetch: 1000,
        ack_every: Some(100),
        expects_backlog: true,
        patience: Duration::from_secs(30),
        keeps_queues: true,
        ..fill
    };
    let mut live = Live::new("drain", options.json);
    let drained = run(&broker.target, &drain, |progress| live.show(progress))?;
    drop(live);
    let clock = Clock::start();
    wait_until(SHRINK_TIMEOUT, || process::disk_bytes(data_dir.path()) < DATA_MAX_BYTES);
    let shrink_ms = Duration::from_nanos(clock.now()).as_millis();
    pause(Duration::from_millis(500));

    let mut result = Findings {
        messages: options.messages,
        body_bytes: options.size,
        fill_rate: filled.confirm_rate,
        filled_resident_kib,
        filled_data_bytes,
        ended_by,
        end_ms: end_time.as_millis(),
        ready_ms: broker.start_time.as_millis(),
        found,
        ready_resident_kib,
        drain_rate: drained.delivery_rate,
        drained_resident_kib: memory(&broker),
        verdict: drained.verdict.unwrap_or_default(),
        drained_data_bytes: process::disk_bytes(data_dir.path()),
        shrink_ms,
        broken: Vec::new(),
    };
    broker.end(Signal::TERM)?;
    result.judge();
    let is_good = result.broken.is_empty();
    if options.json {
        say_json(&result)?;
    } else {
        say(&result.story(data_dir.path()));
    }
    Ok(is_good)
}

/// How many messages are ready in the queue.
fn count(broker: &Broker) -> Result<u32, String> {
    let mut session = Session::open(&broker.target)?;
    let ready = session.declare_queue(&ShortStr::from_static(QUEUE), true, <_>::default())?;
    session.close()?;
    Ok(ready)
}

impl Findings {
    /// Notes the bounds that do not hold.
    fn judge(&mut self) {
        let memory = self.filled_resident_kib.max(self.ready_resident_kib).max(self.drained_resident_kib);
        let checks = [
            (memory < RESIDENT_MAX_KIB, format!("{} MiB resident, not below 400", memory / 1024)),
            (u64::from(self.found) == self.messages, format!("{} messages after the restart", self.found)),
            (self.ready_ms < READY_MAX.as_millis(), format!("ready after {} ms, not below 10,000", self.ready_ms)),
            (self.verdict.is_clean(), format!("{:?}", self.verdict)),
            (
                self.drained_data_bytes < DATA_MAX_BYTES,
                format!("{} MiB on disk at the end, not below 64", self.drained_data_bytes >> 20),
            ),
        ];
        self.broken = checks.into_iter().filter_map(|(holds, text)| (!holds).then_some(text)).collect();
    }

    fn story(&self, data_dir: &Path) -> String {
        let mut text = format!(
            "queued   {} persistent messages of {} B at {} /s confirmed: {} MiB resident, {} MiB in {}\n\
             ended    by {} in {} ms\n\
             ready    after {} ms with {} messages: {} MiB resident\n\
             drained  at {} /s: {} MiB resident, {} lost, {} duplicated, {} redelivered, {} out of order, {} corrupted\n\
             data     {} MiB {} ms after the last message\n",
            group(self.messages),
            self.body_bytes,
            group(self.fill_rate),
            self.filled_resident_kib / 1024,
            self.filled_data_bytes >> 20,
            data_dir.display(),
            self.ended_by,
            self.end_ms,
            self.ready_ms,
            group(self.found.into()),
            self.ready_resident_kib / 1024,
            group(self.drain_rate),
            self.drained_resident_kib / 1024,
            self.verdict.lost,
            self.verdict.duplicated,
            self.verdict.redelivered,
            self.verdict.out_of_order,
            self.verdict.corrupted,
            self.drained_data_bytes >> 20,
            self.shrink_ms,
        );
        match self.broken.as_slice() {
            [] => text.push_str("all bounds hold\n"),
            broken => broken.iter().for_each(|broken| text.push_str(&format!("BROKEN   {broken}\n"))),
        }
        text
    }
}
