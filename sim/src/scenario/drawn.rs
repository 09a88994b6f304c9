//! The parts of a scenario that a seed chooses from. Counts are pairs, the least and the most; what is left out is none.

use serde::Deserialize;
use toml::Spanned;

use crate::plan::Durability;
use crate::rng::Stream;

/// The least and the most of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Span(pub u64, pub u64);

impl Span {
    /// A number in the span; draws nothing where there is no choice.
    pub(crate) fn draw(self, stream: &mut Stream) -> u64 {
        if self.0 >= self.1 { self.0 } else { stream.range(self.0, self.1) }
    }
}

/// What queues with rules may be asked for; each queue of each seed gets some of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct StorySpec {
    /// What may be drawn. Nothing makes no story.
    pub features: Vec<Feature>,
}

/// One thing that a queue, or its messages, may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// `x-message-ttl`.
    MessageTtl,
    /// `expiration` of messages.
    Expiration,
    /// `x-max-length`, dropping the oldest.
    MaxLength,
    /// `x-max-length`, refusing the newest.
    RejectPublish,
    /// A dead-letter exchange, at most once.
    DeadLetter,
    /// A dead-letter exchange, at least once.
    AtLeastOnce,
    /// Dead letters come back after a while.
    Loop,
    /// Consumers reject some.
    Reject,
    /// `x-max-priority`.
    Priority,
    /// `x-single-active-consumer`.
    SingleActive,
    /// `x-delivery-limit`.
    DeliveryLimit,
    /// `x-consumer-timeout`, with consumers that are slower.
    ConsumerTimeout,
    /// `x-queue-type` quorum.
    Quorum,
    /// An exchange that holds messages back.
    Delayed,
    /// Consumers come and go all the time.
    Churn,
    /// Consumers have priorities.
    ConsumerPriority,
    /// A policy limits the queues' length, and no longer does.
    Policy,
}

/// Lengths of a run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RunSpec {
    /// Milliseconds of the phase with faults.
    pub chaos_ms: Span,
    /// Milliseconds within which everything must come to rest.
    pub settle_ms: u64,
    /// Whether faults go beyond what one node can survive.
    pub beyond_claim: bool,
    /// The one seed it is about; without it, any.
    pub seed: Option<u64>,
    /// Whether each seed goes without half of the families of faults, kinds of clients and features of queues.
    pub swarm: bool,
}

impl Default for RunSpec {
    fn default() -> Self {
        Self { chaos_ms: Span(1500, 4000), settle_ms: 240_000, beyond_claim: false, seed: None, swarm: false }
    }
}

/// Who takes part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ClientSpec {
    /// Publishers with confirms.
    pub confirming: Span,
    /// Publishers without.
    pub plain: Span,
    /// Publishers with transactions.
    pub transacting: Span,
    /// Consumers of the shared queues.
    pub consumers: Span,
    /// Consumers with queues of their own: exclusive, auto-delete, transient.
    pub private: Span,
    /// Pollers.
    pub getters: Span,
    /// Those who change the topology.
    pub churners: Span,
    /// Those who break the rules.
    pub rogues: Span,
    /// Operators, who look at what there is, let queues rest and close connections.
    pub operators: Span,
    /// Whether there is a consistent hash exchange, from which those who change the topology bind and unbind.
    pub consistent_hash: bool,
    /// Shared queues.
    pub queues: Span,
    /// Quorum queues, which clients of all nodes share.
    pub quorum_queues: Span,
    /// Whether those may have limits, times to live and queues for their dead letters.
    pub quorum_rules: bool,
    /// Classic queues of one node each, which clients of all nodes share.
    pub remote_queues: Span,
    /// Messages per publisher.
    pub messages: Span,
    /// Bytes of the largest body; 0 leaves it to the seed.
    pub body_max: u64,
    /// Bodies look like the log's own bytes.
    pub hostile_bodies: bool,
    /// Consumers start so many milliseconds late.
    pub consumers_late_ms: Span,
}

/// What goes wrong: how often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct FaultSpec {
    /// The process is killed.
    pub kill: Span,
    /// The machine loses power.
    pub power_loss: Span,
    /// The node is stopped in order.
    pub shutdown: Span,
    /// Times that each of these repeats during the recovery after it.
    pub again: Span,
    /// No space for new segments, or for anything.
    pub disk_full: Span,
    /// A sync fails.
    pub fsync_error: Span,
    /// The disk does nothing for a while.
    pub disk_stall: Span,
    /// The disk is slow for a while.
    pub disk_slow: Span,
    /// A connection is reset.
    pub reset: Span,
    /// A socket is closed without a word.
    pub fin: Span,
    /// A client's machine vanishes.
    pub half_open: Span,
    /// A client stops reading for a while.
    pub stop_reading: Span,
    /// A client's link is slow for a while.
    pub slow_link: Span,
    /// Memory is short for a while.
    pub memory_high: Span,
    /// Free disk space is short for a while.
    pub disk_low: Span,
    /// Reads fail; beyond the claim.
    pub read_errors: Span,
    /// A durable bit turns; beyond the claim.
    pub rot: Span,
    /// The process gets no time for 10 ms to 60 s; what waits comes at once.
    pub pause: Span,
    /// The process ends again and again, a moment after each start.
    pub crash_loop: Span,
    /// The node's wall clock jumps, forward or back.
    pub wall_jump: Span,
    /// The node's clocks run fast or slow for a while.
    pub clock_drift: Span,
    /// The power fails, and the wall clock begins in the year 2000 until it is corrected.
    pub clock_reset: Span,
    /// No space for making, writing or removing segments, one of these at a time.
    pub no_space: Span,
    /// One creation, write, read or removal of a segment fails.
    pub io_error: Span,
    /// All files together may only be so large for a while.
    pub disk_quota: Span,
    /// The disk halts and goes on, again and again.
    pub disk_stutter: Span,
    /// The file system is read-only for a while.
    pub read_only: Span,
    /// A write lands at another place of its file; beyond the claim.
    pub misdirected_write: Span,
    /// A read comes from another place of its file; beyond the claim.
    pub misdirected_read: Span,
    /// Syncs do nothing for a while and say that they did; beyond the claim.
    pub lying_sync: Span,
    /// A sector cannot be read until it is written again; beyond the claim.
    pub bad_sector: Span,
    /// Nothing passes between clients and node for up to a second.
    pub network_cut: Span,
    /// The same for longer than two heartbeats.
    pub network_stall: Span,
    /// Nothing passes in one direction for a while.
    pub one_way_cut: Span,
    /// All connections are reset, several times in a row.
    pub reset_storm: Span,
    /// New connections are refused for a while.
    pub accept_refused: Span,
    /// New connections get no answer for a while.
    pub accept_silent: Span,
    /// Everything takes longer on its way for a while.
    pub latency_spike: Span,
    /// Something in between ends silent connections.
    pub idle_kill: Span,
    /// The node is stopped in order and starts with other settings.
    pub reconfigure: Span,
    /// The nodes fall into parts that do not hear each other, or one is cut off, or they form a ring or a bridge.
    pub partition: Span,
    /// A node hears the others and is not heard, or the other way round.
    pub one_way_partition: Span,
    /// Between some nodes everything takes longer.
    pub slow_peers: Span,
    /// Between some nodes so much is lost that everything halts, again and again.
    pub lossy_peers: Span,
    /// Connections between some nodes break.
    pub reset_peers: Span,
    /// All machines lose power at once.
    pub all_power_loss: Span,
    /// All nodes are stopped in order, one after the other.
    pub rolling_restart: Span,
}

/// Settings that a scenario fixes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct KnobSpec {
    /// See [`crate::plan::Knobs`].
    pub segment_bytes: Option<u64>,
    /// See [`crate::plan::Knobs`].
    pub slack_bytes: Option<u64>,
    /// See [`crate::plan::Knobs`].
    pub queue_cache_bytes: Option<u64>,
    /// See [`crate::plan::Knobs`].
    pub memory_high_bytes: Option<u64>,
    /// See [`crate::plan::Knobs`].
    pub outbox_high_bytes: Option<u64>,
    /// Milliseconds; see [`crate::plan::Knobs`].
    pub sync_interval_ms: Option<u64>,
    /// Seconds between heartbeats of every client.
    pub heartbeat_s: Option<u16>,
    /// Whether every client has a link of moderate habits, and inputs are not batched: for measuring speed.
    pub plain_links: bool,
    /// Whether the engine goes rarer ways here and there that lead to the same.
    pub buggify: bool,
    /// Whether the driver of every other seed tells the engine what was written as late as it may.
    pub tells_late: bool,
    /// What confirms promise (`durability`).
    #[cfg_attr(test, schemars(with = "Option<Durability>"))]
    pub durability: Option<Spanned<Durability>>,
}

impl KnobSpec {
    pub(crate) fn durability(&self) -> Durability {
        self.durability.as_ref().map(|durability| *durability.as_ref()).unwrap_or_default()
    }
}
