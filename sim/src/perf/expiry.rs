//! Messages that expire: whether each queue's go within their time, and what it costs when nobody looks.

use std::time::Duration;

use leveret_engine::amqp::{FieldTable, FieldValue, ShortStr};
use rustix::process::Signal;

use super::clock::{Clock, nanos, pause};
use super::link::Session;
use super::options::ExpiryOptions;
use super::process::{self, Broker, DataDir};
use super::report::{Live, group, say, say_json};
use super::run::{Workload, run};

/// Queues, each with its own time to live.
const QUEUES: u64 = 50;
/// By how much of its time to live a message may be late: one part in this many.
const LATE_MAX_PARTS: u64 = 100;
/// The broker's processor time from the first expiry to the last.
const CPU_MAX: Duration = Duration::from_secs(2);
/// Processor time that is spent before the first expiry is not counted, so all have to be there before that.
const FIRST_TTL: Duration = Duration::from_secs(60);
/// Between one queue's time to live and the next one's.
const TTL_STEP: Duration = Duration::from_millis(500);

/// What was measured.
#[derive(Debug, serde::Serialize)]
struct Findings {
    messages: u64,
    queues: u64,
    fill_ms: u128,
    cpu_ms: u64,
    /// Queues of which messages were gone before their time.
    early: u64,
    /// Queues of which messages were there too long after their time.
    late: u64,
    broken: Vec<String>,
}

/// One queue, and when its messages are due.
struct Filled {
    name: ShortStr,
    arguments: FieldTable,
    messages: u64,
    /// Up to here all have to be there.
    none_before_ns: u64,
    /// From here on none may be there.
    all_by_ns: u64,
}

pub(super) fn main(options: &ExpiryOptions) -> Result<bool, String> {
    let data_dir = DataDir::new(&options.scratch, "leveret-perf-expiry")?;
    let broker = Broker::start(&options.broker, data_dir.path())?;
    let clock = Clock::start();
    let mut live = Live::new("fill", options.json);
    let mut queues = Vec::new();
    for index in 0..QUEUES {
        let ttl = FIRST_TTL + TTL_STEP * u32::try_from(index).map_err(|error| error.to_string())?;
        let millis = i64::try_from(ttl.as_millis()).map_err(|error| error.to_string())?;
        let queue = format!("leveret-perf-expiry-{index}");
        let arguments = FieldTable::new().with("x-message-ttl", FieldValue::I64(millis));
        let fill = Workload {
            consumers: 0,
            queue: queue.clone(),
            queue_arguments: arguments.clone(),
            body_len: 16,
            confirm: Some(4096),
            count: Some(options.messages / QUEUES),
            keeps_queues: true,
            ..Workload::default()
        };
        let begin = clock.now();
        run(&broker.target, &fill, |progress| live.show(progress))?;
        queues.push(Filled {
            name: ShortStr::truncated(&queue),
            arguments,
            messages: options.messages / QUEUES,
            none_before_ns: begin + nanos(ttl),
            all_by_ns: clock.now() + nanos(ttl) + nanos(ttl) / LATE_MAX_PARTS,
        });
    }
    drop(live);
    let fill_ms = Duration::from_nanos(clock.now()).as_millis();
    let first = queues.iter().map(|queue| queue.none_before_ns).min().unwrap_or_default();
    if clock.now() >= first {
        return Err("the first messages expired before the last were published; use fewer".to_owned());
    }
    let cpu = || process::cpu_us(broker.pid()).ok_or("the broker's processor time is unknown");
    let cpu_before = cpu()?;
    let (early, late) = watch(&broker, clock, &queues)?;
    let cpu_ms = (cpu()? - cpu_before) / 1000;
    broker.end(Signal::TERM)?;
    let checks = [
        (early == 0, format!("messages of {early} queues were gone before their time")),
        (late == 0, format!("messages of {late} queues were late by more than 1 %")),
        (u128::from(cpu_ms) <= CPU_MAX.as_millis(), format!("{cpu_ms} ms of processor time, not at most 2,000")),
    ];
    let broken: Vec<String> = checks.into_iter().filter_map(|(holds, text)| (!holds).then_some(text)).collect();
    let findings = Findings { messages: options.messages, queues: QUEUES, fill_ms, cpu_ms, early, late, broken };
    if options.json {
        say_json(&findings)?;
    } else {
        say(&findings.story());
    }
    Ok(findings.broken.is_empty())
}

/// Looks at each queue shortly before its messages are due and once all have to be gone; how many queues were early, and late.
fn watch(broker: &Broker, clock: Clock, queues: &[Filled]) -> Result<(u64, u64), String> {
    const BEFORE_NS: u64 = 100_000_000;
    let mut looks: Vec<(u64, &Filled, u64)> = queues
        .iter()
        .flat_map(|queue| [(queue.none_before_ns - BEFORE_NS, queue, queue.messages), (queue.all_by_ns, queue, 0)])
        .collect();
    looks.sort_by_key(|(at, ..)| *at);
    let mut session = Session::open(&broker.target)?;
    let (mut early, mut late) = (0, 0);
    for (at, queue, expected) in looks {
        pause(Duration::from_nanos(at.saturating_sub(clock.now())));
        let ready = session.declare_queue(&queue.name, false, queue.arguments.clone())?;
        let is_in_time = clock.now() < queue.none_before_ns;
        if expected == 0 {
            late += u64::from(ready > 0);
        } else if is_in_time {
            // Whoever looks too late cannot say.
            early += u64::from(u64::from(ready) < expected);
        }
    }
    session.close()?;
    Ok((early, late))
}

impl Findings {
    fn story(&self) -> String {
        let mut text = format!(
            "filled   {} messages into {} queues of different times to live in {} ms\n\
             expired  with {} ms of processor time; {} queues early, {} late\n",
            group(self.messages),
            self.queues,
            self.fill_ms,
            self.cpu_ms,
            self.early,
            self.late,
        );
        match self.broken.as_slice() {
            [] => text.push_str("all bounds hold\n"),
            broken => broken.iter().for_each(|broken| text.push_str(&format!("BROKEN   {broken}\n"))),
        }
        text
    }
}
