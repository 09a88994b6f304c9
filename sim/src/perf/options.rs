//! The command line of `leveret-sim perf`. Flags are called as in RabbitMQ's PerfTest where it has them.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use leveret_engine::amqp::{FieldTable, FieldValue, ShortStr};
use rustix::process::Pid;

use super::churn::Deed;
use super::ledger::STAMP_LEN;
use super::run::{Exchange, Threads, Workload};
use super::uri::Target;

/// Loads a running broker over real sockets, measures it, and checks every message meanwhile.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(subcommand)]
    pub(super) task: Option<Task>,
    #[command(flatten)]
    pub(super) load: Load,
}

#[derive(Debug, Subcommand)]
pub(super) enum Task {
    /// Runs the same workloads on two brokers in turns, and prints medians and ratios.
    Compare(Box<CompareOptions>),
    /// Makes and unmakes connections, channels or queues, again and again.
    Churn(ChurnOptions),
    /// Holds connections that do nothing, and looks at the broker's memory.
    Idle(IdleOptions),
    /// Times parts of a message's way through the engine, in this process.
    Micro(MicroOptions),
    /// Fills a queue with a long backlog, restarts the broker, and drains it: memory, time and disk.
    Backlog(BacklogOptions),
    /// Lets a million messages expire in queues of different times to live: when they go, and what it costs.
    Expiry(ExpiryOptions),
    /// Stops reading one consumer's socket, and looks at the broker's memory and at another consumer's speed.
    SlowReader(SlowReaderOptions),
}

#[derive(Debug, Args)]
pub(super) struct Load {
    /// The broker; any that speaks AMQP 0-9-1.
    #[arg(long, default_value = "amqp://guest:guest@127.0.0.1:5672")]
    pub(super) uri: Target,
    /// Producers, each on a connection of its own.
    #[arg(short = 'x', long, default_value_t = 1)]
    producers: u16,
    /// Consumers, each on a connection of its own.
    #[arg(short = 'y', long, default_value_t = 1)]
    consumers: u16,
    /// The queue's name; of several, what their names begin with.
    #[arg(short = 'u', long, default_value = "leveret-perf")]
    queue: String,
    /// Queues; producers and consumers are spread over them in turn.
    #[arg(long, default_value_t = 1)]
    queues: u16,
    /// An argument of the queues, such as x-max-length=1000.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = argument)]
    queue_args: Vec<(ShortStr, FieldValue)>,
    /// An exchange to publish to; all queues are bound to it, so each of them gets every message. Otherwise each producer has one queue.
    #[arg(short = 'e', long, value_parser = short)]
    exchange: Option<ShortStr>,
    /// The exchange's type.
    #[arg(short = 't', long = "type", default_value = "direct", value_name = "TYPE", value_parser = short)]
    exchange_type: ShortStr,
    /// What messages are published with, and queues are bound with.
    #[arg(short = 'k', long, default_value = "perf.message.key", value_name = "KEY", value_parser = short)]
    routing_key: ShortStr,
    /// Other bindings of each queue to the exchange, such as perf.7.*, which no message takes.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    other_bindings: u32,
    /// Bytes of a body, at least 16.
    #[arg(short = 's', long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(i64::try_from(STAMP_LEN).unwrap_or(0)..))]
    size: u32,
    /// Messages per second of each producer; 0 for as many as possible. Latency counts from when a message was due.
    #[arg(short = 'r', long, default_value_t = 0)]
    rate: u64,
    /// Turns confirms on; so many may be outstanding per producer.
    #[arg(short = 'c', long, value_name = "WINDOW", value_parser = clap::value_parser!(u64).range(1..))]
    confirm: Option<u64>,
    /// Unacknowledged messages per consumer; 0 for no limit.
    #[arg(short = 'q', long, default_value_t = 0)]
    qos: u16,
    /// Properties of what is published. Persistent messages go to durable queues.
    #[arg(short = 'f', long = "flag", value_delimiter = ',')]
    flags: Vec<Flag>,
    /// Messages count as acknowledged when they are sent.
    #[arg(short = 'a', long)]
    autoack: bool,
    /// Acknowledges so many messages at once.
    #[arg(long, default_value_t = 1, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    multi_ack_every: u64,
    /// Seconds to publish; ten, unless a number of messages is given.
    #[arg(short = 'z', long, value_name = "SECONDS")]
    time: Option<f64>,
    /// Messages that each producer publishes; without producers, messages to wait for.
    #[arg(short = 'C', long, value_name = "MESSAGES")]
    pmessages: Option<u64>,
    /// Seconds at the beginning that do not count.
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS")]
    warm_up: f64,
    /// Seconds without a delivery after which the rest counts as lost.
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    patience: f64,
    /// Drops what is in the queues at the beginning.
    #[arg(long)]
    purge: bool,
    /// Leaves the queues in place. Otherwise they are deleted, with what is in them.
    #[arg(long)]
    keep: bool,
    /// Threads for the producers.
    #[arg(long, default_value_t = 1)]
    producer_threads: usize,
    /// Threads for the consumers.
    #[arg(long, default_value_t = 1)]
    consumer_threads: usize,
    /// One thread for all, which never sleeps: latencies without its own wake-ups, which can take longer than a broker does. It keeps
    /// a core busy.
    #[arg(long, conflicts_with_all = ["producer_threads", "consumer_threads"])]
    busy_poll: bool,
    /// Prints the result as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
    /// Writes a page with the result, the rates over time and the latencies of all messages.
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Flag {
    /// Survives a restart of the broker.
    Persistent,
    /// Comes back if it reaches no queue, which ends the run.
    Mandatory,
}

impl Load {
    pub(super) fn workload(&self) -> Result<Workload, String> {
        let mut queue_arguments = FieldTable::new();
        for (name, value) in &self.queue_args {
            queue_arguments.push(name.clone(), value.clone());
        }
        let seconds = self.time.or_else(|| self.pmessages.is_none().then_some(10.0));
        let is_waited_for = self.producers == 0;
        if is_waited_for && self.pmessages.is_none() {
            return Err("without producers, -C says how many messages to wait for".to_owned());
        }
        Ok(Workload {
            producers: self.producers,
            consumers: self.consumers,
            queues: self.queues,
            queue: self.queue.clone(),
            queue_arguments,
            exchange: self.exchange.clone().map(|name| Exchange {
                name,
                kind: self.exchange_type.clone(),
                routing_key: self.routing_key.clone(),
                other_bindings: self.other_bindings,
            }),
            body_len: usize::try_from(self.size).map_err(|error| error.to_string())?,
            rate: self.rate,
            confirm: self.confirm,
            prefetch: self.qos,
            is_persistent: self.flags.contains(&Flag::Persistent),
            is_mandatory: self.flags.contains(&Flag::Mandatory),
            ack_every: (!self.autoack).then_some(self.multi_ack_every),
            duration: seconds.map(duration).transpose()?,
            count: self.pmessages,
            warm_up: duration(self.warm_up)?,
            patience: duration(self.patience)?,
            expects_backlog: is_waited_for,
            keeps_queues: self.keep || self.consumers == 0,
            purges: self.purge,
            threads: if self.busy_poll {
                Threads::Busy
            } else {
                Threads::Sleeping { producers: self.producer_threads, consumers: self.consumer_threads }
            },
            is_paused: Arc::default(),
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct CompareOptions {
    /// The broker that is measured.
    pub(super) uri: Target,
    /// The broker it is compared with.
    pub(super) other: Target,
    /// Their names in the table.
    #[arg(long, default_values = ["leveret", "other"], num_args = 2, value_name = "NAME")]
    pub(super) names: Vec<String>,
    /// Only these workloads; `all` for every one there is. With a goal, exits with code 2 unless the ratio of what is compared is at
    /// least that (rates) or at most that (latencies, memory): durable-1k=10, transient-1k-paced=0.33.
    #[arg(long = "workload", value_name = "NAME[=GOAL]", default_values = ["transient-1k", "durable-1k"])]
    pub(super) workloads: Vec<Wanted>,
    /// How often each broker runs each workload.
    #[arg(long, default_value_t = 3)]
    pub(super) rounds: usize,
    /// Seconds of one run, after two seconds that do not count.
    #[arg(short = 'z', long, default_value_t = 8.0)]
    pub(super) time: f64,
    /// Seconds between two runs, so that a broker is done with the one before. What is written late costs the other one otherwise.
    #[arg(long, default_value_t = 0.5, value_name = "SECONDS")]
    pub(super) rest: f64,
    /// The processes of each broker, such as 70,71 72: those of the one that is not measured are stopped meanwhile, and go on in the
    /// rest. A broker that has nothing to do still wakes up, starts programs and takes a core from the one that is measured. Who ends
    /// this early has to let them go on: kill -CONT.
    #[arg(long, value_name = "PIDS", num_args = 2)]
    pub(super) alone: Vec<Pids>,
    /// Makes a run again, twice at most, while the machine's host took more than this share of a core from it. A virtual machine that
    /// stands still for a hundredth of the time makes up the slowest of a hundred confirms by itself.
    #[arg(long, default_value_t = 0.005, value_name = "SHARE")]
    pub(super) stolen_at_most: f64,
    /// Exits with code 2 unless the first broker delivers at least so many times as much in every workload that has no rate.
    #[arg(long, value_name = "RATIO")]
    pub(super) at_least: Option<f64>,
    /// Exits with code 2 unless the slowest of a hundred confirms takes at most so many times as long, in every workload with a rate.
    #[arg(long, value_name = "RATIO")]
    pub(super) p99_at_most: Option<f64>,
    /// Prints every run and the medians as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// A workload by its name, and what its ratio is to be.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) goal: Option<f64>,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, goal) = match text.split_once('=') {
            Some((name, goal)) => {
                let number = goal.parse().ok().filter(|goal: &f64| goal.is_finite() && *goal > 0.0);
                (name, Some(number.ok_or_else(|| format!("{goal:?} is no ratio"))?))
            }
            None => (text, None),
        };
        Ok(Self { name: name.to_owned(), goal })
    }
}

/// Process ids, with commas between them.
#[derive(Clone, Debug)]
pub(super) struct Pids(pub(super) Vec<Pid>);

impl FromStr for Pids {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pid = |word: &str| {
            let pid = word.parse().ok().filter(|&pid| pid > 0).and_then(Pid::from_raw);
            pid.ok_or_else(|| format!("{word:?} is no process id; give all of a broker's with commas between them"))
        };
        text.split(',').map(pid).collect::<Result<_, _>>().map(Self)
    }
}

#[derive(Debug, Args)]
pub(super) struct ChurnOptions {
    /// What is made and unmade.
    pub(super) deed: Deed,
    /// The broker; any that speaks AMQP 0-9-1.
    #[arg(long, default_value = "amqp://guest:guest@127.0.0.1:5672")]
    pub(super) uri: Target,
    /// Clients that do it at the same time, each on a connection of its own.
    #[arg(short = 'x', long, default_value_t = 1)]
    pub(super) clients: u16,
    /// How often they do it, all together.
    #[arg(short = 'C', long, default_value_t = 1000)]
    pub(super) count: u64,
    /// Prints the result as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct IdleOptions {
    /// The broker, on this machine; any that speaks AMQP 0-9-1.
    #[arg(long, default_value = "amqp://guest:guest@127.0.0.1:5672")]
    pub(super) uri: Target,
    /// Connections, with a channel each. They count as open files, here and there.
    #[arg(short = 'C', long, default_value_t = 1000)]
    pub(super) connections: u64,
    /// Prints the result as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct MicroOptions {
    /// Which parts; all, unless some are named.
    #[arg(value_name = "CASE")]
    pub(super) cases: Vec<String>,
    /// Messages of each, at least.
    #[arg(short = 'C', long, default_value_t = 1_000_000)]
    pub(super) count: u64,
    /// Prints the result as one JSON array.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct BacklogOptions {
    /// The broker's program, which is started on a free port.
    #[arg(long, value_name = "PATH")]
    pub(super) broker: PathBuf,
    /// Where a folder for the broker's data is made, and removed at the end.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub(super) scratch: PathBuf,
    /// Persistent messages to queue.
    #[arg(short = 'C', long, default_value_t = 5_000_000)]
    pub(super) messages: u64,
    /// Bytes of a body.
    #[arg(short = 's', long, default_value_t = 1024)]
    pub(super) size: usize,
    /// How the broker is ended before the restart.
    #[arg(long, default_value = "kill")]
    pub(super) end: End,
    /// Prints the result as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum End {
    /// SIGKILL: as in a crash.
    Kill,
    /// SIGTERM: as asked.
    Term,
}

#[derive(Debug, Args)]
pub(super) struct ExpiryOptions {
    /// The broker's program, which is started on a free port.
    #[arg(long, value_name = "PATH")]
    pub(super) broker: PathBuf,
    /// Where a folder for the broker's data is made, and removed at the end.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub(super) scratch: PathBuf,
    /// Messages, spread evenly over the queues.
    #[arg(short = 'C', long, default_value_t = 1_000_000)]
    pub(super) messages: u64,
    /// Prints the result as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct SlowReaderOptions {
    /// The broker's program, which is started on a free port.
    #[arg(long, value_name = "PATH")]
    pub(super) broker: PathBuf,
    /// Where a folder for the broker's data is made, and removed at the end.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub(super) scratch: PathBuf,
    /// MiB published to the slow consumer's queue.
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    pub(super) volume: u64,
    /// Messages of 1 KiB per second published to the slow consumer's queue.
    #[arg(short = 'r', long, default_value_t = 50_000)]
    pub(super) rate: u64,
    /// How often to measure beside each kind of consumer.
    #[arg(long, default_value_t = 3)]
    pub(super) rounds: usize,
    /// Prints the result as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// Seconds of the command line.
pub(super) fn duration(seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("{seconds} is no number of seconds"))
}

fn short(text: &str) -> Result<ShortStr, String> {
    ShortStr::try_from(text.to_owned()).map_err(|error| error.to_string())
}

/// `key=value`, where whole numbers and truth values are such.
fn argument(text: &str) -> Result<(ShortStr, FieldValue), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text} is not like key=value"))?;
    let name = ShortStr::try_from(name).map_err(|error| error.to_string())?;
    let value = match (value.parse::<i64>(), value.parse::<bool>()) {
        (Ok(number), _) => FieldValue::from(number),
        (_, Ok(truth)) => FieldValue::from(truth),
        _ => FieldValue::from(value),
    };
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches as _};

    use super::*;

    fn parse(args: &str) -> Result<Options, clap::Error> {
        let matches = Options::augment_args(Command::new("perf")).try_get_matches_from(args.split(' '))?;
        Options::from_arg_matches(&matches)
    }

    #[test]
    fn the_definition_is_consistent() {
        Options::augment_args(Command::new("perf")).debug_assert();
    }

    #[test]
    fn perf_tests_flags_mean_the_same() {
        let options =
            parse("perf -x 2 -y 3 -u q -s 16 -r 100 -c 256 -q 10 -f persistent --multi-ack-every 5 -z 1.5").unwrap();
        let workload = options.load.workload().unwrap();
        assert_eq!((workload.producers, workload.consumers, workload.body_len), (2, 3, 16));
        assert_eq!((workload.rate, workload.confirm, workload.prefetch), (100, Some(256), 10));
        assert_eq!((workload.is_persistent, workload.ack_every), (true, Some(5)));
        assert_eq!(workload.duration, Some(Duration::from_millis(1500)));
        let counted = parse("perf -a -C 7").unwrap().load.workload().unwrap();
        assert_eq!((counted.ack_every, counted.duration, counted.count), (None, None, Some(7)));
    }

    #[test]
    fn queue_arguments_have_types() {
        let options = parse("perf --queue-args x-max-length=10,x-queue-type=classic,a=true").unwrap();
        let table = options.load.workload().unwrap().queue_arguments;
        let expected = FieldTable::new().with("x-max-length", 10_i64).with("x-queue-type", "classic").with("a", true);
        assert_eq!(table, expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(parse("perf -s 15").is_err());
        assert!(parse("perf -c 0").is_err());
        assert!(parse("perf -x 0").unwrap().load.workload().is_err());
        assert!(parse("perf -x 1 backlog --broker b").is_err());
    }
}
