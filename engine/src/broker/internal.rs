//! Messages that the broker itself publishes: dead letters, delayed messages, traces, events.
//!
//! They wait in a queue of their own until the machine that caused them is done, so that a message that causes another, which causes
//! another, needs no stack.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Broker, Published};
use crate::amqp::ShortStr;
use crate::message::Message;
use crate::metadata::VhostKey;

/// A message to be published by the broker.
#[derive(Debug)]
pub(crate) struct Internal {
    pub(crate) vhost: VhostKey,
    pub(crate) exchange: ShortStr,
    pub(crate) routing_keys: Vec<ShortStr>,
    pub(crate) message: Arc<Message>,
    pub(crate) persistent: bool,
}

impl Broker {
    /// Publishes a message on the broker's own account, once what is being done is done. An exchange that is not there takes nothing.
    pub(crate) fn publish_internally(&mut self, internal: Internal) {
        self.internal.push_back(internal);
    }

    /// Publishes one message that waits. Whether there was one.
    pub(crate) fn publish_next_internal(&mut self) -> bool {
        let Some(internal) = self.internal.pop_front() else { return self.dead_letter_next_refused() };
        self.publish_now(&internal);
        true
    }

    /// Routes a message to its queues.
    pub(crate) fn publish_now(&mut self, internal: &Internal) -> Published {
        let Internal { vhost, exchange, routing_keys, message, persistent } = internal;
        let Some((exchange, _)) = self.metadata.exchange(*vhost, exchange.as_bytes()) else {
            return Published::Unroutable;
        };
        let keys: smallvec::SmallVec<[&[u8]; 4]> = routing_keys.iter().map(ShortStr::as_bytes).collect();
        let properties = message.raw_properties();
        self.metadata.route(exchange, &keys, &properties, &mut self.route_scratch, &mut self.routed);
        self.enqueue(message, *persistent, None, None)
    }
}
