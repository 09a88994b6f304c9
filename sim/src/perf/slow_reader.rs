//! A consumer that stops reading its socket: what it costs the broker in memory, and others in speed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use super::clock::pause;
use super::compare::{median, ratio};
use super::ledger::Verdict;
use super::options::SlowReaderOptions;
use super::process::{self, Broker, DataDir};
use super::report::{Live, group, say, say_json};
use super::run::{Outcome, Workload, run};
use super::uri::Target;

/// Resident memory of the broker must stay below: 256 MiB of messages that wait before they go to the disk, half as much again for
/// what the allocator needs around them, and what 1 GiB of messages of 1 KiB costs at 64 bytes each.
const RESIDENT_MAX_KIB: u64 = (256 + 128 + 64) * 1024;
/// Of its speed beside a consumer that reads, another consumer keeps at least this share beside one that does not.
const SPEED_MIN: f64 = 0.8;
const BODY_LEN: usize = 1024;
/// For the slow consumer to read what it has left lying.
const PATIENCE: Duration = Duration::from_secs(60);

/// For the broker to come to rest.
const REST: Duration = Duration::from_secs(2);

/// What was measured.
#[derive(Debug, serde::Serialize)]
struct Findings {
    volume_mib: u64,
    /// The other consumer, with nobody else on the broker.
    alone_rate: u64,
    /// The other consumer, while the first one reads what is published to it.
    beside_reading_rate: u64,
    /// The other consumer, while the first one does not read.
    beside_stopped_rate: u64,
    /// Milliseconds since the publishing began, and the broker's resident memory then, with a consumer that does not read.
    resident_kib: Vec<(u128, u64)>,
    resident_max_kib: u64,
    /// When nothing is left in any queue.
    resident_rest_kib: u64,
    /// What became of the messages that were not read at once.
    verdict: Verdict,
    broken: Vec<String>,
}

pub(super) fn main(options: &SlowReaderOptions) -> Result<bool, String> {
    let data_dir = DataDir::new(&options.scratch, "leveret-perf-slow-reader")?;
    let broker = Broker::start(&options.broker, data_dir.path())?;
    let target = &broker.target;
    let messages = (options.volume << 20) / u64::try_from(BODY_LEN).map_err(|error| error.to_string())?;
    let volume_time = Duration::from_secs(messages / options.rate.max(1));
    // It measures while the volume is published, and is over before that is.
    let fast = Workload {
        queue: "leveret-perf-fast".to_owned(),
        confirm: Some(512),
        warm_up: Duration::from_secs(1),
        duration: Some(volume_time.saturating_sub(Duration::from_secs(2)).max(Duration::from_secs(1))),
        ..Workload::default()
    };
    let slow = Workload {
        queue: "leveret-perf-slow".to_owned(),
        body_len: BODY_LEN,
        rate: options.rate,
        count: Some(messages),
        patience: PATIENCE,
        ..Workload::default()
    };
    let mut resident_kib = Vec::new();
    let mut measure = |name: &str, is_paused: Option<Arc<AtomicBool>>| {
        let mut live = Live::new(name, options.json);
        let is_stopped = is_paused.is_some();
        both(target, &fast, &slow, is_paused, |progress| {
            live.show(progress);
            if is_stopped {
                let resident = process::resident_kib(broker.pid()).unwrap_or_default();
                resident_kib.push((progress.elapsed.as_millis(), resident));
            }
        })
    };
    let mut reading = Vec::new();
    let mut stopped = Vec::new();
    let mut verdict = Verdict::default();
    // In turns, since others may use the machine too.
    for round in 1..=options.rounds.max(1) {
        let (other, _) = measure(&format!("{round}/{} beside a reader", options.rounds), None)?;
        reading.push(other.delivery_rate);
        let is_stopped = Some(Arc::new(AtomicBool::new(true)));
        let (other, read_late) = measure(&format!("{round}/{} beside a stopped reader", options.rounds), is_stopped)?;
        stopped.push(other.delivery_rate);
        verdict.add(read_late.verdict.unwrap_or_default());
    }
    let mut live = Live::new("alone", options.json);
    let short = Workload { duration: Some(Duration::from_secs(5)), ..fast.clone() };
    let alone = run(target, &short, |progress| live.show(progress))?;
    drop(live);
    pause(REST);

    let mut findings = Findings {
        volume_mib: options.volume,
        alone_rate: alone.delivery_rate,
        beside_reading_rate: median(reading.into_iter()),
        beside_stopped_rate: median(stopped.into_iter()),
        resident_kib,
        resident_max_kib: process::resident_max_kib(broker.pid()).unwrap_or_default(),
        resident_rest_kib: process::resident_kib(broker.pid()).unwrap_or_default(),
        verdict,
        broken: Vec::new(),
    };
    broker.end(Signal::TERM)?;
    findings.judge();
    if options.json {
        say_json(&findings)?;
    } else {
        say(&findings.story());
    }
    Ok(findings.broken.is_empty())
}

/// Runs two workloads at once. The second one's consumer does not read while `is_paused` is set, which it is until the first is over.
fn both(
    target: &Target,
    fast: &Workload,
    slow: &Workload,
    is_paused: Option<Arc<AtomicBool>>,
    watch: impl FnMut(super::run::Progress),
) -> Result<(Outcome, Outcome), String> {
    let is_paused = is_paused.unwrap_or_default();
    let slow = Workload { is_paused: Arc::clone(&is_paused), ..slow.clone() };
    std::thread::scope(|scope| {
        let slow = scope.spawn(move || run(target, &slow, |_| {}));
        let fast = run(target, fast, watch);
        is_paused.store(false, Ordering::Relaxed);
        let slow = slow.join().expect("a run does not panic");
        Ok((fast?, slow?))
    })
}

impl Findings {
    fn speed_kept(&self) -> f64 {
        ratio(self.beside_stopped_rate, self.beside_reading_rate)
    }

    /// Notes the bounds that do not hold.
    fn judge(&mut self) {
        let memory = self.resident_max_kib;
        let checks = [
            (memory < RESIDENT_MAX_KIB, format!("{} MiB resident, not below 448", memory / 1024)),
            (self.speed_kept() >= SPEED_MIN, format!("the other consumer kept {:.2} of its speed", self.speed_kept())),
            (self.verdict.is_clean(), format!("{:?}", self.verdict)),
        ];
        self.broken = checks.into_iter().filter_map(|(holds, text)| (!holds).then_some(text)).collect();
    }

    fn story(&self) -> String {
        let mut text = format!(
            "published {} MiB each time to a consumer that does not read\n\
             another consumer, alone                     {:>10} /s\n\
             another consumer, beside one that reads     {:>10} /s\n\
             another consumer, beside one that does not  {:>10} /s ({:.2} of it)\n\
             resident memory of the broker, MiB by second:",
            self.volume_mib,
            group(self.alone_rate),
            group(self.beside_reading_rate),
            group(self.beside_stopped_rate),
            self.speed_kept(),
        );
        let mut next = 0;
        for (millis, kib) in &self.resident_kib {
            if *millis >= next {
                text.push_str(&format!(" {}", kib / 1024));
                next = millis + 1000;
            }
            // The next round begins.
            if *millis + 1000 < next {
                next = 0;
                text.push_str(" |");
            }
        }
        text.push_str(&format!(
            "\nthe most there ever was: {} MiB; at rest, with empty queues: {} MiB\n",
            self.resident_max_kib / 1024,
            self.resident_rest_kib / 1024
        ));
        match self.broken.as_slice() {
            [] => text.push_str("read late, every message came once, in order and unharmed; all bounds hold\n"),
            broken => broken.iter().for_each(|broken| text.push_str(&format!("BROKEN {broken}\n"))),
        }
        text
    }
}
