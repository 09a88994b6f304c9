//! A vhost: the space in which names of exchanges and queues are unique.

use slotmap::new_key_type;

use super::Metadata;
use super::exchange::Exchange;
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
    pub(super) exchanges: NameMap<ShortStr, ExchangeKey>,
    pub(super) queues: NameMap<ShortStr, QueueKey>,
}

impl Vhost {
    fn new(name: ShortStr, hash_seed: u64) -> Self {
        Self { name, exchanges: NameMap::new(hash_seed), queues: NameMap::new(hash_seed) }
    }

    pub(super) fn exchange(&self, name: &[u8]) -> Option<ExchangeKey> {
        self.exchanges.get(name).copied()
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

impl Metadata {
    /// Adds a vhost with its exchanges.
    pub(super) fn add_vhost(&mut self, name: ShortStr) -> VhostKey {
        let key = self.vhosts.insert(Vhost::new(name.clone(), self.hash_seed));
        let replaced = self.vhost_names.insert(name, key);
        assert!(replaced.is_none(), "the vhost exists");
        for (name, kind, internal) in PREDECLARED {
            let exchange = Exchange::predeclared(key, ShortStr::from_static(name), kind, internal, self.hash_seed);
            self.insert_exchange(exchange);
        }
        key
    }
}
