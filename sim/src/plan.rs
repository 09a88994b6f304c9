//! What a run will do, in full: made from a seed, written to a file, replayed and (by hand or machine) cut down.
//!
//! A seed is only the generator of a plan. Execution interprets the plan and draws nothing but stateless fates, so that a failing
//! plan keeps failing after the generator changed, and after parts of it were taken out.

use serde::{Deserialize, Serialize};

use crate::clock::{MILLISECOND, Micros};
use crate::operator::OperationPlan;
use crate::readable::readable;
use crate::rng::Ratio;

/// Version of the plan file format.
pub const FORMAT: u32 = 1;

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// [`FORMAT`] of the program that wrote it.
    pub format: u32,
    /// The seed it was made from; fates are drawn from it.
    pub seed: u64,
    /// The scenario it was made for.
    pub scenario: String,
    /// The node's settings.
    #[serde(default, skip_serializing_if = "is_default")]
    pub knobs: Knobs,
    /// The disk's temper.
    #[serde(default, skip_serializing_if = "is_default")]
    pub disk: DiskPlan,
    /// What is declared before any fault begins.
    pub topology: Topology,
    /// The clients.
    pub clients: Vec<ClientPlan>,
    /// The faults.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// Length of the phase with faults.
    pub chaos_us: Micros,
    /// Time within which everything must come to rest afterwards.
    pub settle_us: Micros,
    /// How the node is restarted once all queues are drained; what was settled must stay away.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_restart: Option<Ending>,
    /// Policies that an operator sets and clears, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyPlan>,
    /// What operators ask besides, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<OperationPlan>,
    /// The run is judged message by message (`story`), not against the exact model: its queues have rules that make messages leave
    /// at times that the model cannot know.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_story: bool,
    /// Faults are allowed that no single node survives. Stopping is then a right answer, a wrong delivery is not.
    #[serde(default, skip_serializing_if = "is_default")]
    pub beyond_claim: bool,
    /// The bug to plant in the engine, by its name. It takes a program with the feature `mutants`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plant: Option<String>,
    /// The promise that is expected to be broken, by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails: Option<String>,
    /// The longest that a publisher with confirms may be without an answer while it has something to say, and the idle consumers of a
    /// queue without a message while it holds some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_unavailability_us: Option<Micros>,
}

/// Settings of the node, small so that what is rare in production is frequent here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Knobs {
    /// See the engine's `LogConfig`.
    pub segment_bytes: u64,
    /// See the engine's `LogConfig`.
    pub slack_bytes: u64,
    /// See the engine's `LogConfig`.
    pub append_bytes: u64,
    /// See the engine's `LogConfig`.
    pub sync_interval_us: Micros,
    /// See the engine's `LogConfig`.
    pub disk_retry_us: Micros,
    /// See the engine's `Config`.
    pub outbox_high_bytes: u64,
    /// See the engine's `Config`.
    pub outbox_low_bytes: u64,
    /// See the engine's `Config`.
    pub queue_cache_bytes: u64,
    /// See the engine's `Config`.
    pub memory_high_bytes: u64,
    /// See the engine's `Config`.
    pub read_ahead_bytes: u32,
    /// See the engine's `Config`.
    pub frame_max: u32,
    /// See the engine's `Config`.
    pub message_size_max: u64,
    /// Inputs that the driver collects before it flushes; 1 flushes after each.
    pub batch_inputs: u32,
    /// The longest that a batch waits for more inputs.
    pub batch_us: Micros,
    /// How late timers may fire.
    pub timer_late_us: Micros,
    /// Whether the engine goes rarer ways here and there that lead to the same.
    #[serde(default)]
    pub buggify: bool,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            segment_bytes: 32 * 1024,
            slack_bytes: 64 * 1024,
            append_bytes: 16 * 1024,
            sync_interval_us: 20 * MILLISECOND,
            disk_retry_us: 50 * MILLISECOND,
            outbox_high_bytes: 64 * 1024,
            outbox_low_bytes: 16 * 1024,
            queue_cache_bytes: 16 * 1024,
            memory_high_bytes: 1024 * 1024,
            read_ahead_bytes: 16 * 1024,
            frame_max: 131_072,
            message_size_max: 1024 * 1024,
            batch_inputs: 1,
            batch_us: 0,
            timer_late_us: 0,
            buggify: false,
        }
    }
}

/// How long the disk takes; pairs are the shortest and the longest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskPlan {
    /// A write without a sync.
    pub write_us: (Micros, Micros),
    /// A write with a sync, or a new file.
    pub sync_us: (Micros, Micros),
    /// A read.
    pub read_us: (Micros, Micros),
    /// Share of operations that take [`Self::tail_us`] longer.
    pub tail: Ratio,
    /// See [`Self::tail`].
    pub tail_us: Micros,
}

impl Default for DiskPlan {
    fn default() -> Self {
        Self {
            write_us: (5, 60),
            sync_us: (50, 900),
            read_us: (10, 200),
            tail: Ratio(1, 200),
            tail_us: 20 * MILLISECOND,
        }
    }
}

/// What exists at the start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Topology {
    /// Exchanges beside the predeclared ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exchanges: Vec<ExchangePlan>,
    /// Queues.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<QueuePlan>,
    /// Bindings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<BindingPlan>,
    /// Messages change on their way: dead letters get headers and lose their expiration.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rewrites: bool,
}

/// A change of the one policy of a run, which is for all queues that are published to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyPlan {
    /// When.
    pub at_us: Micros,
    /// Its `max-length`; `None` clears the policy.
    #[serde(default, skip_serializing_if = "is_default")]
    pub length_max: Option<u32>,
}

/// One exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangePlan {
    /// Its name.
    pub name: String,
    /// "direct", "fanout", "topic", "headers" or "x-delayed-message", which is a direct one behind the delay.
    pub kind: String,
    /// Whether it survives a restart.
    pub durable: bool,
}

/// One queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePlan {
    /// Its name; empty asks the server for one.
    pub name: String,
    /// Whether it survives a restart.
    #[serde(default, skip_serializing_if = "is_default")]
    pub durable: bool,
    /// Whether it goes with its last consumer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub auto_delete: bool,
    /// Whether it belongs to one connection.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exclusive: bool,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rules: QueueRules,
}

/// Arguments of a queue; those that are `None` or false are not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueRules {
    /// `x-message-ttl`.
    #[serde(skip_serializing_if = "is_default")]
    pub message_ttl_ms: Option<u32>,
    /// `x-expires`.
    #[serde(skip_serializing_if = "is_default")]
    pub expires_ms: Option<u32>,
    /// `x-max-length`.
    #[serde(skip_serializing_if = "is_default")]
    pub length_max: Option<u32>,
    /// `x-overflow` is "reject-publish".
    #[serde(skip_serializing_if = "is_default")]
    pub rejects_publish: bool,
    /// `x-dead-letter-exchange`.
    #[serde(skip_serializing_if = "is_default")]
    pub dead_letter_exchange: Option<String>,
    /// `x-dead-letter-routing-key`.
    #[serde(skip_serializing_if = "is_default")]
    pub dead_letter_key: Option<String>,
    /// `x-dead-letter-strategy` is "at-least-once".
    #[serde(skip_serializing_if = "is_default")]
    pub at_least_once: bool,
    /// `x-max-priority`.
    #[serde(skip_serializing_if = "is_default")]
    pub priority_max: Option<u8>,
    /// `x-single-active-consumer`.
    #[serde(skip_serializing_if = "is_default")]
    pub single_active: bool,
    /// `x-delivery-limit`.
    #[serde(skip_serializing_if = "is_default")]
    pub delivery_limit: Option<u32>,
    /// `x-consumer-timeout`.
    #[serde(skip_serializing_if = "is_default")]
    pub consumer_timeout_ms: Option<u32>,
    /// `x-queue-type` is "quorum".
    #[serde(skip_serializing_if = "is_default")]
    pub is_quorum: bool,
}

/// One binding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingPlan {
    /// The exchange messages come from.
    pub source: String,
    /// Where they go.
    pub destination: String,
    /// Whether the destination is an exchange.
    #[serde(default, skip_serializing_if = "is_default")]
    pub to_exchange: bool,
    /// The binding key.
    #[serde(default, skip_serializing_if = "is_default")]
    pub key: String,
    /// For headers exchanges.
    #[serde(default, skip_serializing_if = "is_default")]
    pub headers: Option<HeaderMatch>,
}

/// Arguments of a binding to a headers exchange. Every message carries a `shape` and a `colour`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HeaderMatch {
    /// `x-match` is "any" rather than "all".
    pub any: bool,
    /// The value of `shape`.
    pub shape: u8,
    /// The value of `colour`.
    pub colour: u8,
}

/// One client program. It reconnects when it loses its connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientPlan {
    /// When it first connects.
    #[serde(default, skip_serializing_if = "is_default")]
    pub start_us: Micros,
    /// The heartbeat it asks for, in seconds; 0 is none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub heartbeat_s: u16,
    /// The largest frame it asks for.
    #[serde(default = "usual_frame_max", skip_serializing_if = "is_usual_frame_max")]
    pub frame_max: u32,
    /// How its connection behaves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub link: LinkPlan,
    /// How long it waits before it connects again.
    #[serde(default = "usual_reconnect", skip_serializing_if = "is_usual_reconnect")]
    pub reconnect_us: (Micros, Micros),
    /// What it does.
    pub role: Role,
}

/// One client's connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkPlan {
    /// Time in each direction, shortest and longest.
    pub latency_us: (Micros, Micros),
    /// The most bytes that arrive at once; 0 is any number.
    pub segment_bytes: u32,
    /// Share of arrivals that are cut at a random place.
    pub cut: Ratio,
    /// Bytes that the systems between client and node hold in each direction.
    pub window_bytes: u32,
}

/// A link of no habits: each byte arrives a tenth of a millisecond after it was sent.
impl Default for LinkPlan {
    fn default() -> Self {
        Self { latency_us: (100, 100), segment_bytes: 0, cut: Ratio::NEVER, window_bytes: 256 * 1024 }
    }
}

/// What a client does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Role {
    /// Publishes.
    Publisher(PublisherPlan),
    /// Consumes one queue.
    Consumer(ConsumerPlan),
    /// Polls one queue with `basic.get`.
    Getter(GetterPlan),
    /// Declares, deletes, binds, unbinds and purges.
    Churner(ChurnPlan),
    /// Breaks the rules.
    Rogue(RoguePlan),
}

/// A publisher.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PublisherPlan {
    /// How it learns what became of its messages.
    pub mode: PublishMode,
    /// Whether messages of unknown outcome are published again, under the same message id.
    #[serde(default, skip_serializing_if = "is_default")]
    pub republish: bool,
    /// What it publishes, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bursts: Vec<Burst>,
}

/// How a publisher learns what became of its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PublishMode {
    /// Not at all.
    Plain,
    /// By confirms, with so many publishes outstanding.
    Confirm {
        /// Publishes outstanding at most.
        window: u32,
    },
    /// By transactions of so many publishes.
    Tx {
        /// Publishes per transaction.
        batch: u32,
        /// Share of transactions that are rolled back.
        rollback: Ratio,
    },
}

/// Messages of one kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Burst {
    /// Pause before it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wait_us: Micros,
    /// Pause between two messages.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gap_us: Micros,
    /// Messages.
    pub count: u32,
    /// The exchange.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exchange: String,
    /// The routing key.
    pub key: String,
    /// Delivery mode 2.
    #[serde(default, skip_serializing_if = "is_default")]
    pub persistent: bool,
    /// Whether unroutable messages are to be returned.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mandatory: bool,
    /// Bytes of the body, smallest and largest.
    #[serde(default, skip_serializing_if = "is_default")]
    pub size: (u32, u32),
    /// What else its messages say.
    #[serde(default, skip_serializing_if = "is_default")]
    pub extras: BurstExtras,
}

/// Optional properties and headers of a burst's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BurstExtras {
    /// `expiration`, shortest and longest, in milliseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub expiration_ms: Option<(u32, u32)>,
    /// `priority`, lowest and highest.
    #[serde(skip_serializing_if = "is_default")]
    pub priority: Option<(u8, u8)>,
    /// Header `x-delay`, shortest and longest, in milliseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub delay_ms: Option<(u32, u32)>,
    /// Their bodies look like what a log may hold between its records.
    #[serde(skip_serializing_if = "is_default")]
    pub hostile_bodies: bool,
}

/// A consumer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConsumerPlan {
    /// The queue, declared anew on every connection.
    pub queue: QueuePlan,
    /// Bindings of that queue, made anew on every connection; an empty destination is the queue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<BindingPlan>,
    /// Consumers on the one channel.
    pub consumers: u16,
    /// `basic.qos` count; 0 is no limit and not sent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prefetch: u16,
    /// Whether the count is shared by the channel.
    #[serde(default, skip_serializing_if = "is_default")]
    pub global: bool,
    /// Whether deliveries count as acked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_ack: bool,
    /// Whether it wants the queue for itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exclusive: bool,
    /// `x-priority`; 0 is not sent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
    /// How it answers deliveries.
    #[serde(default, skip_serializing_if = "is_default")]
    pub answer: AnswerPlan,
    /// What else it does, by number of deliveries since it connected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acts: Vec<ConsumerAct>,
}

/// How a consumer answers deliveries. Shares are tried in the order of the fields; what remains is acked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnswerPlan {
    /// Time it thinks about each.
    pub think_us: (Micros, Micros),
    /// Share never answered.
    pub forget: Ratio,
    /// Share put back.
    pub requeue: Ratio,
    /// Share dropped.
    pub drop: Ratio,
    /// Whether the negative answer is `basic.nack` rather than `basic.reject`.
    pub nack: bool,
    /// Acks are sent for so many deliveries at once, with `multiple`.
    pub multiple: u32,
}

/// At once, one by one, and always with an ack.
impl Default for AnswerPlan {
    fn default() -> Self {
        Self {
            think_us: (0, 0),
            forget: Ratio::NEVER,
            requeue: Ratio::NEVER,
            drop: Ratio::NEVER,
            nack: false,
            multiple: 1,
        }
    }
}

/// Something a consumer does besides.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ConsumerAct {
    /// Deliveries since it connected.
    pub after: u32,
    /// What it does.
    pub what: ConsumerDeed,
}

/// See [`ConsumerAct`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConsumerDeed {
    /// Cancels its consumers and starts them again.
    Cancel,
    /// Asks for all that it has not answered.
    Recover,
    /// Closes the channel with what it has not answered, and opens it again.
    CloseChannel,
    /// Closes the connection in order.
    CloseConnection,
    /// Vanishes.
    Crash,
}

/// A poller.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GetterPlan {
    /// The queue.
    pub queue: String,
    /// Pause between two polls.
    pub every_us: Micros,
    /// Polls in all.
    pub count: u32,
    /// Whether what it gets counts as acked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_ack: bool,
    /// How it answers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub answer: AnswerPlan,
}

/// One who changes the topology.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChurnPlan {
    /// What it does, in order, each after the answer to the one before.
    pub steps: Vec<ChurnStep>,
}

/// One step of a [`ChurnPlan`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChurnStep {
    /// Pause before it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wait_us: Micros,
    /// What to do.
    pub op: TopologyOp,
}

/// A change of the topology.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum TopologyOp {
    /// Declares a queue.
    DeclareQueue(QueuePlan),
    /// Asks whether a queue exists.
    PassiveQueue(String),
    /// Deletes a queue.
    DeleteQueue {
        /// Which.
        queue: String,
        /// Only without consumers.
        #[serde(default, skip_serializing_if = "is_default")]
        if_unused: bool,
        /// Only without messages.
        #[serde(default, skip_serializing_if = "is_default")]
        if_empty: bool,
    },
    /// Empties a queue.
    Purge(String),
    /// Declares an exchange.
    DeclareExchange(ExchangePlan),
    /// Deletes an exchange.
    DeleteExchange(String),
    /// Binds.
    Bind(BindingPlan),
    /// Unbinds.
    Unbind(BindingPlan),
    /// Publishes a few messages, unconfirmed.
    Publish(Burst),
}

/// One who breaks the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RoguePlan {
    /// What it does, in order.
    pub steps: Vec<RogueStep>,
}

/// One step of a [`RoguePlan`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RogueStep {
    /// Pause before it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wait_us: Micros,
    /// What to do.
    pub what: RogueDeed,
}

/// A breach of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RogueDeed {
    /// Bytes that are no frame.
    Garbage,
    /// A frame larger than was agreed.
    HugeFrame,
    /// A frame with the wrong last octet.
    BadFrameEnd,
    /// A body frame out of place.
    StrayBody,
    /// A method on a channel that is not open.
    ClosedChannel,
    /// A publish to an exchange that does not exist.
    NoExchange,
    /// An ack of what was never delivered.
    UnknownTag,
    /// A declaration that contradicts an earlier one.
    Contradict,
    /// A consumer on a queue that does not exist.
    NoQueue,
    /// Half a publish, then nothing.
    HalfPublish,
}

/// Something bad.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// When it begins.
    pub at_us: Micros,
    /// How long it lasts; for an ending of the node, how long it stays away.
    #[serde(default, skip_serializing_if = "is_default")]
    pub for_us: Micros,
    /// What it is.
    pub kind: FaultKind,
    /// What it waits for instead of a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Trigger>,
}

/// What a fault waits for: the n-th time that something happens, and then a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// What has to happen.
    pub moment: Moment,
    /// The queues that it has to happen to, by name; none means any.
    #[serde(default)]
    pub queues: Vec<String>,
    /// How often it has to happen, counted over the whole run.
    pub nth: u32,
    /// Whether it counts anew after that.
    #[serde(default)]
    pub repeats: bool,
    /// How long after that the fault begins.
    #[serde(default)]
    pub after_us: Micros,
}

/// Something that a fault can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moment {
    /// A publish was confirmed.
    Confirm,
    /// A publish was refused.
    Refusal,
    /// A publish went into a queue.
    Publish,
    /// A message went out to a consumer, or as the answer to a get.
    Delivery,
    /// A message left a queue for good.
    Settlement,
    /// A message left a queue without an ack: it expired, was dropped or was rejected.
    Death,
    /// A client's connection was accepted.
    Connection,
    /// Publishers are stopped, since memory or disk is short.
    Alarm,
    /// A consumer was cancelled for its slowness.
    ConsumerTimeout,
    /// The node starts; what follows is its recovery.
    Boot,
    /// The node has recovered.
    Ready,
    /// The node hands the disk something to write.
    Write,
    /// A write with a sync is under way: half of its time is over.
    Unsynced,
    /// A write with a sync is done, and the node is about to learn of it.
    Fsync,
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The process is killed.
    Kill,
    /// The machine loses power.
    PowerLoss,
    /// It is asked to stop and does.
    Shutdown,
}

/// The kinds of faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    /// The node ends.
    End {
        /// How.
        how: Ending,
        /// Whether to wait for a moment when the disk is at work.
        #[serde(default, skip_serializing_if = "is_default")]
        busy: bool,
        /// How often it ends again while it recovers.
        #[serde(default, skip_serializing_if = "is_default")]
        again: u32,
    },
    /// No space on the disk.
    DiskFull {
        /// For appends too, not only for new segments.
        #[serde(default, skip_serializing_if = "is_default")]
        append: bool,
    },
    /// One sync fails.
    FsyncError,
    /// The disk does nothing.
    DiskStall,
    /// The disk is slow.
    DiskSlow {
        /// So many times.
        factor: u32,
    },
    /// A client's connection is reset, wherever in a frame its bytes are.
    Reset {
        /// Which client.
        client: usize,
    },
    /// A client closes its socket without a word.
    Fin {
        /// Which client.
        client: usize,
    },
    /// A client's machine vanishes: nothing arrives any more, in neither direction, and nobody is told.
    HalfOpen {
        /// Which client.
        client: usize,
    },
    /// A client does not read.
    StopReading {
        /// Which client.
        client: usize,
    },
    /// A client's link is slow.
    SlowLink {
        /// Which client.
        client: usize,
        /// Its rate.
        bytes_per_ms: u32,
    },
    /// The process takes too much memory, or seems to.
    MemoryHigh,
    /// The disk has too little free space, or seems to.
    DiskLow,
    /// Reads fail now and then; beyond the claim.
    ReadErrors,
    /// One durable bit turns; beyond the claim.
    Rot,
    /// The process gets no time: its sockets stay open, its timers pass, and then everything comes at once.
    Pause,
    /// The node's wall clock jumps, for good.
    WallJump {
        /// Milliseconds; negative is back.
        millis: i64,
    },
    /// Both of the node's clocks run fast or slow.
    ClockDrift {
        /// Millionths by which they are too fast; negative is too slow.
        ppm: i32,
    },
    /// The machine loses power, and its wall clock starts in the year 2000. The network tells it the right time later.
    ClockReset {
        /// How long after the start.
        corrected_after_us: Micros,
    },
    /// The disk has no space for one kind of work.
    NoSpace {
        /// Which.
        work: DiskWork,
    },
    /// The next piece of work of one kind fails for no reason that the node learns (EIO).
    IoError {
        /// Which.
        work: DiskWork,
    },
    /// All files together may not be larger than this.
    DiskQuota {
        /// Bytes.
        bytes: u64,
    },
    /// The disk does nothing for a while, again and again.
    DiskStutter {
        /// From one halt to the next.
        every_us: Micros,
        /// Length of each.
        stall_us: Micros,
    },
    /// The file system takes no change: whoever tries gets an error.
    ReadOnly,
    /// The next write goes to another place of its file; beyond the claim.
    MisdirectedWrite,
    /// The next read comes from another place of its file; beyond the claim.
    MisdirectedRead,
    /// Syncs succeed and do nothing, so that a power loss takes what was promised; beyond the claim.
    LyingSync,
    /// A sector cannot be read until it is written again; beyond the claim.
    BadSector,
    /// What clients send, or what they are sent, or both, stays on its way. Nobody is told.
    NetworkCut {
        /// Bytes towards the node.
        up: bool,
        /// Bytes towards the clients.
        down: bool,
    },
    /// All connections are reset at once.
    ResetAll,
    /// The node's machine accepts no connections.
    NoAccept {
        /// Attempts are not even refused.
        silent: bool,
    },
    /// Everything takes longer on its way.
    LatencySpike {
        /// By so much.
        extra_us: Micros,
    },
    /// Something between clients and node ends connections that are silent for too long.
    IdleKill {
        /// Too long.
        after_us: Micros,
    },
    /// The node is stopped in order and starts with other settings, as a new version would.
    Reconfigure {
        /// The settings.
        knobs: Box<Knobs>,
    },
}

/// Kinds of work for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskWork {
    /// Making a segment.
    Create,
    /// Writing.
    Append,
    /// Reading.
    Read,
    /// Removing a segment.
    Delete,
}

impl Plan {
    /// The plan as its file has it: JSON, laid out for people.
    ///
    /// # Panics
    /// Never: nothing in a plan cannot be written.
    pub fn to_text(&self) -> String {
        readable(&serde_json::to_string(self).expect("a plan can always be written"))
    }
}

impl FaultKind {
    /// The client that it happens to; `None` where it is the node's or the disk's.
    pub(crate) fn client_mut(&mut self) -> Option<&mut usize> {
        match self {
            Self::Reset { client }
            | Self::Fin { client }
            | Self::HalfOpen { client }
            | Self::StopReading { client }
            | Self::SlowLink { client, .. } => Some(client),
            Self::End { .. }
            | Self::DiskFull { .. }
            | Self::FsyncError
            | Self::DiskStall
            | Self::DiskSlow { .. }
            | Self::MemoryHigh
            | Self::DiskLow
            | Self::ReadErrors
            | Self::Rot
            | Self::Pause
            | Self::WallJump { .. }
            | Self::ClockDrift { .. }
            | Self::ClockReset { .. }
            | Self::NoSpace { .. }
            | Self::IoError { .. }
            | Self::DiskQuota { .. }
            | Self::DiskStutter { .. }
            | Self::ReadOnly
            | Self::MisdirectedWrite
            | Self::MisdirectedRead
            | Self::LyingSync
            | Self::BadSector
            | Self::NetworkCut { .. }
            | Self::ResetAll
            | Self::NoAccept { .. }
            | Self::LatencySpike { .. }
            | Self::IdleKill { .. }
            | Self::Reconfigure { .. } => None,
        }
    }
}

/// Whether a field says no more than its absence would, so that a small plan is a short file.
fn is_default<T: Default + PartialEq>(field: &T) -> bool {
    *field == T::default()
}

/// The largest frame that most clients ask for.
pub(crate) const USUAL_FRAME_MAX: u32 = 131_072;
/// How long a client waits before it connects again, if there is nothing special about it.
pub(crate) const USUAL_RECONNECT: (Micros, Micros) = (10 * MILLISECOND, 10 * MILLISECOND);

fn usual_frame_max() -> u32 {
    USUAL_FRAME_MAX
}

fn is_usual_frame_max(bytes: &u32) -> bool {
    *bytes == USUAL_FRAME_MAX
}

fn usual_reconnect() -> (Micros, Micros) {
    USUAL_RECONNECT
}

fn is_usual_reconnect(pause: &(Micros, Micros)) -> bool {
    *pause == USUAL_RECONNECT
}
