//! Publishing: from a routed message to its queues and the log, and who waits for that.

use alloc::sync::Arc;
use alloc::vec::Vec;

use smallvec::SmallVec;

use super::{Broker, ChannelRef, Durable, Notice, Published, Waiter};
use crate::amqp::{RawProperties, ShortStr};
use crate::buggify::Point;
use crate::config::Durability;
use crate::event::Event;
use crate::ids::{Lsn, PublishSeqno};
use crate::limits;
use crate::message::Message;
use crate::metadata::VhostKey;
use crate::queue::{Arrival, QueueKind};
use crate::routing::{Aside, ExchangeKey, QueueKey};
use crate::storage::{Place, Ref, RefFlags, RefState, Until};

/// Where a publish of a transaction goes. Its queues are named, as they may go and come again before the commit, and the default
/// exchange finds those that came after the publish.
#[derive(Debug, Default)]
pub(crate) struct Routed {
    queues: Vec<ShortStr>,
    /// What is done with it beside.
    aside: Aside,
}

impl Broker {
    /// Finds the queues and holds for a message. Whether there are any; the result is read by [`Broker::take_routed`] or the next [`Broker::enqueue`].
    pub(crate) fn route(
        &mut self,
        exchange: ExchangeKey,
        routing_keys: &[&[u8]],
        properties: &RawProperties<&[u8]>,
    ) -> bool {
        self.metadata.route(exchange, routing_keys, properties, &mut self.route_scratch, &mut self.routed);
        !self.routed.is_empty() || !self.route_scratch.aside.is_empty()
    }

    /// What was found by [`Broker::route`] for this message, to be given to [`Broker::set_routed`] later.
    pub(crate) fn take_routed(&mut self, message: &Message) -> Routed {
        let queues = if message.routing_names().exchange().is_empty() {
            message.routing_keys().into_iter().filter_map(|key| ShortStr::try_from(&key[..]).ok()).collect()
        } else {
            let name = |key: &QueueKey| self.metadata.queue_by_key(*key).map(|record| record.name.clone());
            self.routed.iter().filter_map(name).collect()
        };
        Routed { queues, aside: core::mem::take(&mut self.route_scratch.aside) }
    }

    /// Sets where [`Broker::enqueue`] sends a message.
    pub(crate) fn set_routed(&mut self, vhost: VhostKey, routed: Routed) {
        self.routed.clear();
        for name in &routed.queues {
            if let Some((key, _)) = self.metadata.queue(vhost, name.as_bytes())
                && !self.routed.contains(&key)
            {
                self.routed.push(key);
            }
        }
        self.route_scratch.aside = routed.aside;
    }

    /// Lets [`Broker::enqueue`] send a message to this queue alone.
    pub(super) fn route_to_queue(&mut self, key: QueueKey) {
        self.routed.clear();
        self.routed.push(key);
        self.route_scratch.aside = Aside::default();
    }

    /// Gives a message to all queues found by [`Broker::route`] that still exist, and does what else is to be done with it. `publisher` is `None` for what the
    /// broker publishes.
    pub(crate) fn enqueue(
        &mut self,
        message: &Arc<Message>,
        persistent: bool,
        publisher: Option<ChannelRef>,
        seqno: Option<PublishSeqno>,
    ) -> Published {
        if self.peers.is_some() {
            self.set_remote_aside();
        }
        let published = if self.route_scratch.aside.is_empty() && !self.memories.has_queues() {
            self.enqueue_routed(message, persistent, publisher, seqno)
        } else {
            self.enqueue_with_aside(message, persistent, publisher, seqno)
        };
        if self.remote.routed.is_empty() {
            return published;
        }
        self.enqueue_remote(message, persistent, publisher, seqno, published)
    }

    pub(super) fn enqueue_routed(
        &mut self,
        message: &Arc<Message>,
        persistent: bool,
        publisher: Option<ChannelRef>,
        seqno: Option<PublishSeqno>,
    ) -> Published {
        self.refs.clear();
        let is_rare = self.buggify.fires(Point::PageOut);
        let pages_out = (is_rare || self.body_bytes > self.config.memory_high_bytes) && !self.log.is_full();
        let mut is_kept_by_log = false;
        let mut is_durable = self.config.durability == Durability::Fsync;
        let size = u32::try_from(message.body().len()).unwrap_or(u32::MAX);
        let is_plain = self.routed.iter().all(|key| self.queues.get(*key).is_some_and(|queue| !queue.refuses(size)));
        let is_refused = !is_plain && self.drop_refusing(message, size);
        if self.routed.is_empty() && !is_refused {
            return Published::Unroutable;
        }
        let expiration_ms = message.expiration_ms();
        for key in &self.routed {
            let Some(queue) = self.queues.get(*key) else { continue };
            let is_logged = queue.durable && (persistent || queue.kind == QueueKind::Quorum);
            is_kept_by_log |= is_logged;
            is_durable |= is_logged && queue.kind == QueueKind::Quorum;
            if is_logged || (pages_out && (is_rare || queue.body_bytes() > self.config.queue_cache_bytes)) {
                let flags = if is_logged { RefFlags::NONE } else { RefFlags::TRANSIENT };
                let expires_at = queue.expiry_of(expiration_ms, self.now.mono);
                let expires_at = expires_at.map_or(0, |at| self.now.wall_of(at).as_millis());
                let priority = queue.priority_of(message);
                let state = RefState { flags, size, priority, expires_at, ..RefState::default() };
                self.refs.push(Ref { owner: queue.id.0, seq: queue.next_seq().0, state });
            }
        }
        let mut places: SmallVec<[Place; 1]> = SmallVec::new();
        if !self.refs.is_empty() {
            let (head, body) = message.payload();
            for refs in self.refs.chunks(limits::RECORD_SHARES_MAX) {
                places.push(self.log.append_message(refs, head, body));
            }
        }
        let cache_bytes = self.cache_bytes();
        let mut refs_given = 0;
        let mut is_untidy = false;
        for index in 0..self.routed.len() {
            let key = self.routed[index];
            let Some(queue) = self.queues.get_mut(key) else { continue };
            let own = self.refs.get(refs_given).filter(|own| own.owner == queue.id.0);
            let place = own.and_then(|_| places.get(refs_given / limits::RECORD_SHARES_MAX).copied());
            refs_given += usize::from(own.is_some());
            let before = queue.body_bytes();
            let seq = queue.next_seq();
            let arrival = Arrival {
                message: Arc::clone(message),
                place,
                flags: own.map_or(RefFlags::NONE, |own| own.state.flags),
                priority: queue.priority_of(message),
                expires_at: queue.expiry_of(expiration_ms, self.now.mono),
            };
            let expires_at = arrival.expires_at;
            queue.enqueue(arrival, cache_bytes);
            is_untidy |= queue.is_untidy(expires_at, self.now.mono);
            self.body_bytes += queue.body_bytes() - before;
            if queue.has_droppable() && !queue.is_dropper {
                queue.is_dropper = true;
                self.droppers.push(key);
            }
            if !queue.is_active {
                queue.is_active = true;
                self.active.push_back(key);
            }
            if self.config.fine_events {
                self.events.push(Event::Enqueued {
                    queue: queue.id,
                    seq,
                    lsn: place.map(|place| place.lsn),
                    publisher: publisher.map(|publisher| (publisher.connection, publisher.channel)),
                    seqno,
                });
            }
        }
        if is_untidy {
            self.tidy_routed();
        }
        match places.last() {
            _ if is_refused => Published::Refused,
            Some(place) if is_kept_by_log => Published::KeptAt(Until { end: place.end(), is_durable }),
            _ => Published::Kept,
        }
    }

    /// Brings the queues in order that just got a message and have nobody to take it. What comes later in the same input, a `basic.get`
    /// say, must not find what is too much or expired, as if publisher and consumer had been in step.
    fn tidy_routed(&mut self) {
        let routed = core::mem::take(&mut self.routed);
        for key in &routed {
            if self.queues.get(*key).is_some_and(|queue| !queue.has_takers()) {
                self.tidy(*key);
            }
        }
        self.routed = routed;
    }

    /// Leaves out the queues that have gone, and those that are full and refuse what comes. Whether there are any of these.
    fn drop_refusing(&mut self, message: &Arc<Message>, size: u32) -> bool {
        let queues = &self.queues;
        self.routed.retain(|key| queues.get(*key).is_some());
        let refuses = |key: &QueueKey| queues.get(*key).is_some_and(|queue| queue.refuses(size));
        let refusing: Vec<_> = self.routed.iter().copied().filter(refuses).collect();
        if refusing.is_empty() {
            return false;
        }
        self.routed.retain(|key| !refusing.contains(key));
        for key in refusing {
            self.refuse(key, message);
        }
        true
    }

    /// When what lies there in the log is as safe as what is not in a quorum queue is to be.
    pub(crate) fn safe_at(&self, end: Lsn) -> Until {
        Until { end, is_durable: self.config.durability == Durability::Fsync }
    }

    /// Whether what this queue has for a client is safe only once it survives a loss of power.
    pub(super) fn needs_sync(&self, key: QueueKey) -> bool {
        let is_quorum = self.queues.get(key).is_some_and(|queue| queue.kind == QueueKind::Quorum);
        is_quorum || self.config.durability == Durability::Fsync
    }

    /// Tells the channel once the log is so far.
    pub(crate) fn wait_for_log(&mut self, until: Until, channel: ChannelRef, what: Durable) {
        if self.log.has(until) {
            return self.on_durable(channel, what);
        }
        let waiters = if until.is_durable {
            self.log.request_sync();
            &mut self.sync_waiters
        } else {
            self.log.request_write();
            &mut self.write_waiters
        };
        // A settlement lies somewhere in a block that publishes may have filled already, whose end they wait for.
        let end = waiters.back().map_or(until.end, |last| last.end.max(until.end));
        waiters.push_back(Waiter { end, channel, what });
    }

    /// The log is as far as somebody waited for.
    pub(super) fn on_durable(&mut self, channel: ChannelRef, what: Durable) {
        match what {
            Durable::Publish(_) | Durable::Commit => self.notices.push_back(Notice::Durable { channel, what }),
            Durable::DeadLetter { queue, number } => self.dead_letter_done(queue, number, false),
            Durable::Part(token) => self.part_done(token, false),
        }
    }
}
