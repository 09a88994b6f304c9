//! The parts of a scenario that are written by hand: queues, clients, a timeline of faults, and what is expected.
//!
//! They stand beside the drawn parts or instead of them. A seed still decides how links and disks behave, when repeated faults come
//! and what each client happens to answer.

use serde::Deserialize;
use toml::Spanned;

use super::value::{Pair, Rate, Share, Time};
use crate::nodes::At;

/// The node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct NodeSpec {
    /// A bug to plant in the engine, by its name (`leveret-sim mutants` lists them). The scenario is skipped by a program that was
    /// built without the feature `mutants`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub plant: Option<Spanned<String>>,
}

/// The nodes, and what is between them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ClusterSpec {
    /// How many nodes there are, from 1 to 9; 1 if left out. They are called a, b, c and so on. More than one form a cluster.
    #[cfg_attr(test, schemars(with = "Option<Pair<u32>>"))]
    pub nodes: Option<Spanned<Pair<u32>>>,
    /// How long something takes from one node to another; 100 to 400 us if left out.
    pub latency: Option<Pair<Time>>,
    /// Nodes that are further from all others, and how much longer everything takes to and from them.
    #[cfg_attr(test, schemars(with = "Vec<FarSpec>"))]
    pub far: Vec<FarSpec>,
    /// By how much the wall clocks of the nodes differ at most; not at all if left out.
    pub clocks_apart: Option<Time>,
    /// Changes of what is declared after which a node writes its state down and forgets them; a small number drawn by the seed if
    /// left out.
    pub log_entries: Option<u32>,
    /// All nodes begin with a program of an older version, and each has the newest once it was stopped in order and started again.
    pub upgrades: bool,
}

/// A node that is far from the others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FarSpec {
    /// Which.
    #[cfg_attr(test, schemars(with = "String"))]
    pub node: Spanned<String>,
    /// So much longer.
    pub extra: Time,
}

/// A queue, or several that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct QueueSpec {
    /// Its name.
    #[cfg_attr(test, schemars(with = "String"))]
    pub name: Spanned<String>,
    /// So many of them: NAME.0, NAME.1 and so on. NAME then stands for all.
    pub count: Option<u32>,
    /// Whether it survives a restart; true if left out.
    #[serde(default = "yes")]
    pub durable: bool,
    /// The node that it is on, by its letter. If left out, it is the first one, or, of several alike, each in turn.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub node: Option<Spanned<String>>,
    /// Milliseconds that a message lives.
    #[serde(rename = "x-message-ttl")]
    pub message_ttl: Option<u32>,
    /// Messages it holds at most.
    #[serde(rename = "x-max-length")]
    pub max_length: Option<u32>,
    /// What happens to the message too many.
    #[serde(rename = "x-overflow", default)]
    pub overflow: Overflow,
    /// Where dead letters go; "" is the default exchange.
    #[serde(rename = "x-dead-letter-exchange")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub dead_letter_exchange: Option<Spanned<String>>,
    /// Their routing key; the message's own if left out.
    #[serde(rename = "x-dead-letter-routing-key")]
    pub dead_letter_routing_key: Option<String>,
    /// How sure it is that they get there.
    #[serde(rename = "x-dead-letter-strategy", default)]
    pub dead_letter_strategy: Strategy,
    /// The highest priority.
    #[serde(rename = "x-max-priority")]
    pub max_priority: Option<u8>,
    /// Whether one consumer at a time gets messages.
    #[serde(rename = "x-single-active-consumer", default)]
    pub single_active_consumer: bool,
    /// How often a message may come back.
    #[serde(rename = "x-delivery-limit")]
    pub delivery_limit: Option<u32>,
    /// Milliseconds that a consumer may keep a message.
    #[serde(rename = "x-consumer-timeout")]
    pub consumer_timeout: Option<u32>,
    /// Milliseconds for which whatever comes back waits, of each failure, up to three: only with `x-queue-type`.
    #[serde(rename = "x-delayed-retry-min")]
    pub retry: Option<u32>,
    /// Its type.
    #[serde(rename = "x-queue-type", default)]
    pub queue_type: QueueType,
    /// How many nodes have a replica of it, of so many as there are; all if left out.
    #[serde(rename = "x-quorum-initial-group-size")]
    pub group_size: Option<u32>,
    /// How many replicas it gets in the end, if there are as many nodes.
    #[serde(rename = "x-quorum-target-group-size")]
    pub target_size: Option<u8>,
    /// Whether clients of all nodes use it, though it is a classic one and on one node.
    #[serde(default)]
    pub remote: bool,
    /// What a policy wants that is there before the queue: replicas of a classic queue on several nodes.
    #[serde(rename = "ha-mode")]
    pub ha_mode: Option<HaMode>,
    /// On how many, if not on all.
    #[serde(rename = "ha-params")]
    pub ha_params: Option<u32>,
    /// When that policy is set, if it comes later: only with `remote`.
    #[serde(rename = "ha-after")]
    pub ha_after: Option<Time>,
}

/// `x-overflow`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// The oldest message goes.
    #[default]
    DropHead,
    /// The newest is refused.
    RejectPublish,
}

/// `x-dead-letter-strategy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// A crash or a full target may lose them.
    #[default]
    AtMostOnce,
    /// They stay until their target has them.
    AtLeastOnce,
}

/// `ha-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum HaMode {
    /// On all nodes.
    All,
    /// On so many.
    Exactly,
}

/// `x-queue-type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum QueueType {
    /// Classic.
    #[default]
    Classic,
    /// Quorum.
    Quorum,
}

/// An exchange.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ExchangeSpec {
    /// Its name.
    #[cfg_attr(test, schemars(with = "String"))]
    pub name: Spanned<String>,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ExchangeType,
    /// Whether it survives a restart; true if left out.
    #[serde(default = "yes")]
    pub durable: bool,
    /// The node whose clients use it, by its letter; the first one if left out.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub node: Option<Spanned<String>>,
}

/// The types of exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ExchangeType {
    /// By the routing key.
    Direct,
    /// To all.
    Fanout,
    /// By patterns of words.
    Topic,
    /// A share of the keys to each; the binding key is a weight.
    #[serde(rename = "x-consistent-hash")]
    ConsistentHash,
    /// A direct one that holds messages back.
    #[serde(rename = "x-delayed-message")]
    Delayed,
}

impl ExchangeType {
    /// As AMQP has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::ConsistentHash => "x-consistent-hash",
            Self::Delayed => "x-delayed-message",
        }
    }
}

/// A binding of one queue or exchange, or of all queues that a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BindingSpec {
    /// The exchange.
    #[cfg_attr(test, schemars(with = "String"))]
    pub exchange: Spanned<String>,
    /// The queue that gets the messages.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub queue: Option<Spanned<String>>,
    /// Or the exchange that does.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub to_exchange: Option<Spanned<String>>,
    /// The binding key.
    #[serde(default)]
    pub key: String,
}

/// A client program, or several that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ClientByHand {
    /// What it does.
    pub kind: ClientKind,
    /// So many of them; 1 if left out.
    pub count: Option<u32>,
    /// The queue it publishes to through the default exchange, consumes or polls.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub queue: Option<Spanned<String>>,
    /// The node that it connects to, by its letter, if its queue is one of all nodes; of several clients each takes the next node in
    /// turn if left out.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub node: Option<Spanned<String>>,
    /// When it first connects.
    pub start: Option<Pair<Time>>,
    /// How long it waits before it connects again.
    pub reconnect: Option<Pair<Time>>,
    /// Seconds between heartbeats; none if left out.
    pub heartbeat: Option<u16>,
    /// It vanishes so often, with what it has not answered.
    pub crash_every: Option<Pair<Time>>,

    /// Publishers: the exchange.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub exchange: Option<Spanned<String>>,
    /// Publishers: routing keys, used in turn.
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    #[serde(default)]
    pub keys: Vec<Spanned<String>>,
    /// Publishers: messages; getters: polls; churners: deeds. 200 if left out.
    pub messages: Option<u32>,
    /// Publishers, getters and churners: the pause after each; by default they fill the phase with faults.
    pub gap: Option<Time>,
    /// The same: or how many a second.
    pub rate: Option<Rate>,
    /// Publishers: so many at once, then a pause.
    pub burst: Option<u32>,
    /// Publishers: the pause.
    pub pause: Option<Time>,
    /// Publishers: the most that wait for their confirms; 0 publishes without confirms. 50 if left out.
    pub confirms: Option<u32>,
    /// Publishers: so many in a transaction, instead of confirms.
    pub tx: Option<u32>,
    /// Publishers: the share of transactions that are rolled back.
    pub rollback: Option<Share>,
    /// Publishers: whether what has no answer when the connection ends is published again; true if left out.
    pub republish: Option<bool>,
    /// Publishers: delivery mode 2; true if left out.
    pub persistent: Option<bool>,
    /// Publishers: what reaches no queue comes back.
    #[serde(default)]
    pub mandatory: bool,
    /// Publishers: bytes of a body; 100 if left out.
    pub size: Option<Pair<u32>>,
    /// Publishers: the property of that name, in milliseconds.
    pub expiration: Option<Pair<u32>>,
    /// Publishers: the property of that name, a number from 0 to 255. Consumers: `x-priority`.
    pub priority: Option<Pair<i32>>,
    /// Publishers: the header `x-delay`, in milliseconds.
    pub delay: Option<Pair<u32>>,
    /// Publishers: bodies look like what a log may hold between its records.
    #[serde(default)]
    pub hostile_bodies: bool,

    /// Consumers: unacked messages at most; 0 is no limit. 10 if left out.
    pub prefetch: Option<u16>,
    /// Consumers: whether the limit is the channel's.
    #[serde(default)]
    pub global: bool,
    /// Consumers: so many on one channel; 1 if left out.
    pub tags: Option<u16>,
    /// Consumers: it wants the queue for itself.
    #[serde(default)]
    pub exclusive: bool,
    /// Consumers and getters: what is sent counts as acked.
    #[serde(default)]
    pub no_ack: bool,
    /// Consumers and getters: the time it thinks about each message.
    pub think: Option<Pair<Time>>,
    /// The same: it sleeps so long with each message.
    pub sleep: Option<Pair<Time>>,
    /// Consumers and getters: the share put back.
    pub requeue: Option<Share>,
    /// Consumers and getters: the share rejected, which makes dead letters of it where a queue has them.
    pub reject: Option<Share>,
    /// Consumers and getters: the share never answered.
    pub forget: Option<Share>,
    /// Consumers and getters: whether that is said with `basic.nack` rather than `basic.reject`.
    #[serde(default)]
    pub nack: bool,
    /// Consumers and getters: so many acks at once; 1 if left out.
    pub multiple: Option<u32>,
    /// Consumers: cancels and consumes again after so many deliveries, 40 times at most.
    pub cancel_every: Option<u32>,
    /// Consumers: asks for all it has not answered (`basic.recover`) after so many deliveries, 40 times at most.
    pub recover_every: Option<u32>,

    /// Churners: what they do to the queue, in turn.
    #[serde(default)]
    pub does: Vec<Deed>,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ClientKind {
    /// It publishes.
    Publisher,
    /// It consumes one queue.
    Consumer,
    /// It polls one queue with `basic.get`.
    Getter,
    /// It declares, empties or deletes one queue under everybody's feet.
    Churner,
}

/// What is done to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// It is declared as it was.
    Declare,
    /// It is emptied.
    Purge,
    /// It is deleted.
    Delete,
}

/// A fault at a time, or when something happens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FaultByHand {
    /// What it is.
    #[cfg_attr(test, schemars(with = "String"))]
    pub kind: Spanned<String>,
    /// When it begins.
    #[cfg_attr(test, schemars(with = "Option<Pair<Time>>"))]
    pub at: Option<Spanned<Pair<Time>>>,
    /// Or what it waits for: "3rd confirm", "10th publish to orders", "between write and fsync", "boot".
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub on: Option<Spanned<String>>,
    /// How long after that it begins; none if left out.
    pub after: Option<Pair<Time>>,
    /// How long it lasts; for an ending of the node, how long it stays away.
    #[serde(rename = "for")]
    pub lasts: Option<Pair<Time>>,
    /// What it is aimed at; all there is if left out.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub target: Option<Spanned<String>>,
    /// Endings: how often it ends again during the recovery.
    #[serde(default)]
    pub again: u32,
    /// disk_slow: so many times slower; 10 if left out.
    pub factor: Option<u32>,
    /// slow_link: bytes per millisecond; 100 if left out.
    pub bytes_per_ms: Option<u32>,
    /// disk_full: whether the segments that are there are full, too; true if left out.
    pub append: Option<bool>,
    /// partition: the parts that do not hear each other, as `[["a"], ["b", "c"]]`; a node in several of them hears all.
    #[serde(default)]
    pub parts: Vec<Vec<String>>,
    /// partition: whether only the first part is not heard by the others, which it hears.
    #[serde(default)]
    pub one_way: bool,
    /// slow_peers: so much longer; 50 ms if left out.
    pub extra: Option<Time>,
}

/// A fault that comes again and again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NemesisSpec {
    /// What it is.
    #[cfg_attr(test, schemars(with = "String"))]
    pub kind: Spanned<String>,
    /// From one to the next.
    #[cfg_attr(test, schemars(with = "Pair<Time>"))]
    pub every: Spanned<Pair<Time>>,
    /// How long it lasts; for an ending of the node, how long it stays away.
    #[serde(rename = "for")]
    pub lasts: Option<Pair<Time>>,
    /// What it is aimed at: one of those each time, chosen by the seed.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub target: Option<Spanned<String>>,
    /// Endings: how often it ends again during the recovery.
    #[serde(default)]
    pub again: u32,
    /// disk_slow: so many times slower; 10 if left out.
    pub factor: Option<u32>,
    /// slow_link: bytes per millisecond; 100 if left out.
    pub bytes_per_ms: Option<u32>,
    /// disk_full: whether the segments that are there are full, too; true if left out.
    pub append: Option<bool>,
}

/// The phases of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct PhaseSpec {
    /// Length of the one with clients and faults.
    pub chaos: Option<Pair<Time>>,
    /// The longest that each later one may take to come to rest.
    pub settle_max: Option<Time>,
}

/// What is expected of the runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ExpectSpec {
    /// A negative scenario: some runs break exactly this promise, and none breaks another.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub fails: Option<Spanned<String>>,
    /// Situations that have to come up in some run, by their names in the table that `run` prints.
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub sometimes: Vec<Spanned<String>>,
    /// The longest that a publisher with confirms may be without an answer while it has something to say, and the idle consumers of a
    /// queue without a message while it holds some.
    pub longest_unavailability: Option<Time>,
}

fn yes() -> bool {
    true
}

impl QueueSpec {
    /// The names of the queues it stands for.
    pub(super) fn names(&self) -> Vec<String> {
        let name = self.name.as_ref();
        match self.count {
            None => vec![name.clone()],
            Some(count) => (0..count).map(|number| format!("{name}.{number}")).collect(),
        }
    }

    /// The node of the queue of that number among those it stands for.
    pub(super) fn home(&self, number: usize, nodes: usize) -> usize {
        let turn = if self.count.is_some() { number % nodes } else { 0 };
        self.node.as_ref().and_then(|node| At::of_letter(node.as_ref())).map_or(turn, At::number)
    }

    /// Whether it can drop, hold back or move messages by itself.
    pub(super) fn has_rules(&self) -> bool {
        let numbers = [self.message_ttl, self.max_length, self.delivery_limit, self.consumer_timeout, self.retry];
        numbers.iter().any(Option::is_some)
            || self.max_priority.is_some()
            || self.dead_letter_exchange.is_some()
            || self.single_active_consumer
            || self.queue_type == QueueType::Quorum
            || self.ha_mode.is_some()
    }
}

impl ExchangeSpec {
    /// The node whose clients use it.
    pub(super) fn home(&self) -> usize {
        self.node.as_ref().and_then(|node| At::of_letter(node.as_ref())).map_or(0, At::number)
    }
}

impl ClientByHand {
    /// Whether its messages have rules of their own.
    pub(super) fn has_rules(&self) -> bool {
        self.kind == ClientKind::Publisher
            && (self.expiration.is_some() || self.priority.is_some() || self.delay.is_some())
    }
}
