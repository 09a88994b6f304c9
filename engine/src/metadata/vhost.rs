//! A vhost: the space in which names of exchanges and queues are unique.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde_json::Value;
use slotmap::new_key_type;

use super::exchange::Exchange;
use super::{Metadata, Policy, PolicyKind};
use crate::amqp::ShortStr;
use crate::collections::NameMap;
use crate::routing::{ExchangeKey, ExchangeKind, QueueKey};

new_key_type! {
    /// A vhost, as long as it exists.
    pub struct VhostKey;
}

/// A vhost and the names in it.
#[derive(Clone, Debug)]
pub struct Vhost {
    /// Its name.
    pub name: ShortStr,
    /// What somebody said about it.
    pub settings: VhostSettings,
    /// How much of the node it may use.
    pub limits: VhostLimits,
    pub(super) exchanges: NameMap<ShortStr, ExchangeKey>,
    /// The exchange without a name, to which most messages go; nobody can delete it.
    pub(super) default_exchange: Option<ExchangeKey>,
    pub(super) queues: NameMap<ShortStr, QueueKey>,
    pub(super) policies: BTreeMap<(PolicyKind, ShortStr), Policy>,
    /// By component and name.
    pub(super) parameters: BTreeMap<(ShortStr, ShortStr), Value>,
}

/// What can be said about a vhost (RabbitMQ docs: Virtual Hosts).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VhostSettings {
    /// For people.
    pub description: String,
    /// For people.
    pub tags: Vec<ShortStr>,
    /// The type of durable queues declared without one; `None` is classic.
    pub default_queue_type: Option<ShortStr>,
    /// Whether it cannot be deleted.
    pub protected_from_deletion: bool,
    /// Whether what is published and delivered is copied to `amq.rabbitmq.trace` (RabbitMQ docs: Firehose).
    pub tracing: bool,
}

/// How much one vhost may use (RabbitMQ docs: Virtual Hosts / Limits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VhostLimits {
    /// Open connections; `None` is any number.
    pub connections_max: Option<u32>,
    /// Queues; `None` is any number.
    pub queues_max: Option<u32>,
}

impl Vhost {
    fn new(name: ShortStr, hash_seed: u64) -> Self {
        Self {
            name,
            settings: VhostSettings::default(),
            limits: VhostLimits::default(),
            exchanges: NameMap::new(hash_seed),
            default_exchange: None,
            queues: NameMap::new(hash_seed),
            policies: BTreeMap::new(),
            parameters: BTreeMap::new(),
        }
    }

    /// How many queues it has.
    pub fn queue_count(&self) -> usize {
        self.queues.len()
    }

    /// Its policies of one kind, ordered by name.
    pub fn policies(&self, kind: PolicyKind) -> impl Iterator<Item = &Policy> {
        self.policies.iter().filter(move |((of_kind, _), _)| *of_kind == kind).map(|(_, policy)| policy)
    }

    /// Its runtime parameters, ordered by component and name: component, name, value.
    pub fn parameters(&self) -> impl Iterator<Item = (&ShortStr, &ShortStr, &Value)> {
        self.parameters.iter().map(|((component, name), value)| (component, name, value))
    }

    pub(super) fn exchange(&self, name: &[u8]) -> Option<ExchangeKey> {
        // To compare two names of no bytes at their made-up addresses takes as long as the rest of the way of a small message: it is a
        // masked load of a page that is not there, whose fault the processor has to suppress.
        if name.is_empty() { self.default_exchange } else { self.exchanges.get(name).copied() }
    }

    pub(super) fn queue(&self, name: &[u8]) -> Option<QueueKey> {
        self.queues.get(name).copied()
    }
}

/// The exchanges of every vhost (AMQP 0-9-1 §3.1.3; RabbitMQ adds `amq.headers` and the firehose's `amq.rabbitmq.trace`): name,
/// type, and whether clients are kept from publishing to it.
const PREDECLARED: [(&str, ExchangeKind, bool); 7] = [
    ("", ExchangeKind::Direct, false),
    ("amq.direct", ExchangeKind::Direct, false),
    ("amq.fanout", ExchangeKind::Fanout, false),
    ("amq.headers", ExchangeKind::Headers, false),
    ("amq.match", ExchangeKind::Headers, false),
    ("amq.rabbitmq.trace", ExchangeKind::Topic, true),
    ("amq.topic", ExchangeKind::Topic, false),
];

/// Where the node tells what happens on it, in the vhost `/` only (RabbitMQ docs: Event Exchange).
pub const EVENT_EXCHANGE: &str = "amq.rabbitmq.event";

impl Metadata {
    /// Adds a vhost with its exchanges.
    pub(super) fn add_vhost(&mut self, name: ShortStr) -> VhostKey {
        let key = self.vhosts.insert(Vhost::new(name.clone(), self.hash_seed));
        let is_first = name == "/";
        let replaced = self.vhost_names.insert(name, key);
        assert!(replaced.is_none(), "the vhost exists");
        for (name, kind, internal) in PREDECLARED {
            let exchange = Exchange::predeclared(key, ShortStr::from_static(name), kind, internal, self.hash_seed);
            self.insert_exchange(exchange);
        }
        if is_first {
            let (name, kind) = (ShortStr::from_static(EVENT_EXCHANGE), ExchangeKind::Topic);
            self.insert_exchange(Exchange::predeclared(key, name, kind, true, self.hash_seed));
        }
        key
    }
}
