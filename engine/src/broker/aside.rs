//! What exchanges and queues do with a message beside passing it on: hold it back, keep it for later bindings, or know it already.
//!
//! Exchanges and queues without these arguments pay one branch for it.

use alloc::sync::Arc;

use slotmap::SecondaryMap;
use smallvec::SmallVec;

use super::{Broker, ChannelRef, Published};
use crate::exchange::{Deduper, History, MessageIdentity};
use crate::ids::PublishSeqno;
use crate::message::Message;
use crate::routing::{Aside, Destination, ExchangeKey, QueueKey};

/// What exchanges and queues remember of messages.
#[derive(Debug, Default)]
pub(crate) struct Memories {
    /// Exchanges that drop duplicates.
    exchanges: SecondaryMap<ExchangeKey, Deduper>,
    /// Queues that drop duplicates.
    queues: SecondaryMap<QueueKey, Deduper>,
    /// Exchanges that keep their last messages.
    histories: SecondaryMap<ExchangeKey, History>,
}

impl Memories {
    /// Whether any queue drops duplicates.
    pub(super) fn has_queues(&self) -> bool {
        !self.queues.is_empty()
    }
}

impl Broker {
    /// Gives an exchange that exists from here on what it remembers with.
    pub(super) fn remember_for_exchange(&mut self, key: ExchangeKey) {
        let Some(exchange) = self.metadata.exchange_by_key(key) else { return };
        if let Some(deduplication) = &exchange.arguments.deduplication {
            self.memories.exchanges.insert(key, Deduper::new((**deduplication).clone()));
        }
        if exchange.arguments.history_length > 0 {
            self.memories.histories.insert(key, History::new(exchange.arguments.history_length));
        }
    }

    /// Forgets what an exchange remembered.
    pub(super) fn forget_for_exchange(&mut self, key: ExchangeKey) {
        self.memories.exchanges.remove(key);
        self.memories.histories.remove(key);
    }

    /// Gives a queue that exists from here on what it remembers with.
    pub(super) fn remember_for_queue(&mut self, key: QueueKey) {
        let record = self.metadata.queue_by_key(key);
        if let Some(deduplication) = record.and_then(|record| record.arguments.deduplication.as_ref()) {
            self.memories.queues.insert(key, Deduper::new((**deduplication).clone()));
        }
    }

    /// Forgets what a queue remembered.
    pub(super) fn forget_for_queue(&mut self, key: QueueKey) {
        self.memories.queues.remove(key);
    }

    /// [`Broker::enqueue`] where somebody on the way does more than pass the message on.
    ///
    /// What a publisher sent before is as good as kept. What the broker publishes itself, dead letters above all, is no duplicate even
    /// if it comes by again.
    pub(super) fn enqueue_with_aside(
        &mut self,
        message: &Arc<Message>,
        persistent: bool,
        publisher: Option<ChannelRef>,
        seqno: Option<PublishSeqno>,
    ) -> Published {
        let now = self.now.mono;
        let Aside { holds, histories, deduper } = core::mem::take(&mut self.route_scratch.aside);
        let properties = message.raw_properties();
        let identify = |deduper: &Deduper| publisher.and_then(|_| deduper.identify(&properties));
        let own = deduper.and_then(|key| {
            let deduper = self.memories.exchanges.get(key)?;
            let identity = identify(deduper)?;
            Some((key, identity, deduper.has_seen(identity, now)))
        });
        if own.is_some_and(|(_, _, has_seen)| has_seen) {
            self.remote.routed.clear();
            return Published::Kept;
        }
        let routed = self.routed.len();
        let mut identities: SmallVec<[(QueueKey, MessageIdentity); 2]> = SmallVec::new();
        let queues = &self.memories.queues;
        self.routed.retain(|key| {
            let Some(deduper) = queues.get(*key) else { return true };
            let Some(identity) = identify(deduper) else { return true };
            identities.push((*key, identity));
            !deduper.has_seen(identity, now)
        });
        let has_dropped = self.routed.len() < routed;
        for key in histories {
            if let Some(history) = self.memories.histories.get_mut(key) {
                history.keep(message);
            }
        }
        let held = self.hold_back(&holds, message, persistent);
        let mut published = self.enqueue_routed(message, persistent, publisher, seqno);
        if published == Published::Unroutable && has_dropped {
            published = Published::Kept;
        }
        published = published.and(held);
        // What was refused or lost may come again.
        for (key, identity) in identities {
            if self.routed.contains(&key)
                && let Some(deduper) = self.memories.queues.get_mut(key)
            {
                deduper.remember(identity, now);
            }
        }
        if let Some((key, identity, _)) = own
            && (matches!(published, Published::Kept | Published::KeptAt(_)) || !self.remote.routed.is_empty())
            && let Some(deduper) = self.memories.exchanges.get_mut(key)
        {
            deduper.remember(identity, now);
        }
        published
    }

    /// Gives a new binding what its source kept.
    pub(super) fn replay_history(&mut self, source: ExchangeKey, destination: Destination) {
        let Some(history) = self.memories.histories.get(source) else { return };
        let messages: SmallVec<[Arc<Message>; 20]> = history.messages().map(Arc::clone).collect();
        for message in messages {
            let properties = message.raw_properties();
            match destination {
                Destination::Queue(key) => self.route_to_queue(key),
                Destination::Exchange(key) => {
                    let keys = message.routing_keys();
                    let keys: SmallVec<[&[u8]; 4]> = keys.iter().map(|key| &key[..]).collect();
                    self.route(key, &keys, &properties);
                }
            }
            self.enqueue(&message, properties.is_persistent(), None, None);
        }
    }
}
