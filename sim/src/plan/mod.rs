//! What a run will do, in full: made from a seed, written to a file, replayed and (by hand or machine) cut down.
//!
//! A seed is only the generator of a plan. Execution interprets the plan and draws nothing but stateless fates, so that a failing
//! plan keeps failing after the generator changed, and after parts of it were taken out.

mod client;
mod cluster;
mod fault;

use serde::{Deserialize, Serialize};

use crate::clock::{MILLISECOND, Micros};
use crate::operator::OperationPlan;
use crate::readable::readable;
use crate::rng::Ratio;

pub use client::{
    AnswerPlan, Burst, BurstExtras, ChurnPlan, ChurnStep, ClientPlan, ConsumerAct, ConsumerDeed, ConsumerPlan,
    GetterPlan, LinkPlan, PublishMode, PublisherPlan, RogueDeed, RoguePlan, RogueStep, Role, TopologyOp,
};
pub(crate) use client::{USUAL_FRAME_MAX, USUAL_RECONNECT};
pub use cluster::{ClusterPlan, WirePlan};
pub use fault::{DiskWork, Ending, Fault, FaultKind, Moment, Trigger};

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
    /// The nodes, if they are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterPlan>,
    /// The settings of each node.
    #[serde(default, skip_serializing_if = "is_default")]
    pub knobs: Knobs,
    /// The temper of each node's disk.
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
    /// Whether the driver tells what was written as late as it may: of little, and while nothing waits, only with the next timeout.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tells_late: bool,
    /// See the engine's `Config`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub durability: Durability,
}

/// See the engine's `Durability`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// A confirm survives a loss of power.
    #[default]
    Fsync,
    /// A confirm survives the end of the process.
    Os,
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
            tells_late: false,
            durability: Durability::Fsync,
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
    /// The node whose clients declare and use it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node: usize,
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
    /// The node that it is on: only clients of that node declare and use it, unless it is one of all nodes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node: usize,
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
    /// `x-delayed-retry-min`: all that comes back waits, for thrice that at most.
    #[serde(skip_serializing_if = "is_default")]
    pub retry_ms: Option<u32>,
    /// `x-queue-type` is "quorum".
    #[serde(skip_serializing_if = "is_default")]
    pub is_quorum: bool,
    /// `x-quorum-initial-group-size`.
    #[serde(skip_serializing_if = "is_default")]
    pub group_size: Option<u32>,
    /// `x-quorum-target-group-size`.
    #[serde(skip_serializing_if = "is_default")]
    pub target_size: Option<u8>,
    /// `ha-mode` of a policy that is there before it: it is on so many nodes, 0 is on all.
    #[serde(skip_serializing_if = "is_default")]
    pub mirrors: Option<u32>,
    /// Clients of all nodes use it, though it is on one.
    #[serde(skip_serializing_if = "is_default")]
    pub is_remote: bool,
    /// `ha-mode` of a policy that is set when it is in use: after how many ms, and on
    /// how many nodes it is from then on, 0 is on all.
    #[serde(skip_serializing_if = "is_default")]
    pub mirrored_later: Option<(u32, u32)>,
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

impl QueuePlan {
    /// Whether it is a queue of all nodes, of which there are so many, and not of one.
    pub(crate) fn is_shared(&self, nodes: usize) -> bool {
        nodes > 1 && (self.rules.is_quorum || self.rules.mirrors.is_some() || self.rules.is_remote)
    }

    /// Whether clients of so many nodes use it although it is on one.
    pub(crate) fn is_remote(&self, nodes: usize) -> bool {
        self.is_shared(nodes) && !(self.rules.is_quorum || self.rules.mirrors.is_some())
    }
}

impl Topology {
    /// What clients of all nodes share, if there are so many nodes.
    pub(crate) fn shared(&self, nodes: usize) -> Self {
        let queues = self.queues.iter().filter(|queue| queue.is_shared(nodes)).cloned().collect();
        // Messages of replicated queues say how often their delivery failed.
        Self { queues, rewrites: true, ..Self::default() }
    }

    /// What the clients of one node, of so many, declare and use alone.
    pub(crate) fn of_node(&self, node: usize, nodes: usize) -> Self {
        let source_of = |name: &str| self.exchanges.iter().find(|exchange| exchange.name == name).map(|it| it.node);
        let target_of = |name: &str| self.queues.iter().find(|queue| queue.name == name).map(|it| it.node);
        let is_its = |binding: &&BindingPlan| {
            source_of(&binding.source).or_else(|| target_of(&binding.destination)).unwrap_or_default() == node
        };
        Self {
            exchanges: self.exchanges.iter().filter(|exchange| exchange.node == node).cloned().collect(),
            queues: self.queues.iter().filter(|queue| queue.node == node && !queue.is_shared(nodes)).cloned().collect(),
            bindings: self.bindings.iter().filter(is_its).cloned().collect(),
            rewrites: self.rewrites,
        }
    }

    /// Adds what the clients of another node declare.
    pub(crate) fn add(&mut self, other: Self) {
        self.exchanges.extend(other.exchanges);
        self.queues.extend(other.queues);
        self.bindings.extend(other.bindings);
    }
}

impl Plan {
    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.cluster.as_ref().map_or(1, |cluster| cluster.nodes)
    }

    /// The plan as its file has it: JSON, laid out for people.
    ///
    /// # Panics
    /// Never: nothing in a plan cannot be written.
    pub fn to_text(&self) -> String {
        readable(&serde_json::to_string(self).expect("a plan can always be written"))
    }
}

/// Whether a field says no more than its absence would, so that a small plan is a short file.
pub(crate) fn is_default<T: Default + PartialEq>(field: &T) -> bool {
    *field == T::default()
}
