//! What the clients of a run will do.

use serde::{Deserialize, Serialize};

use super::{BindingPlan, ExchangePlan, QueuePlan, is_default};
use crate::clock::{MILLISECOND, Micros};
use crate::rng::Ratio;

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
    /// The node it connects to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node: usize,
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
