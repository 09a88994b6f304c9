//! The one way out of a queue for messages that were not acked: to a dead-letter exchange, or away.
//!
//! A message that is dead-lettered leaves its queue only when the log has its dead letter: the log is read up to where it was torn,
//! so what says that the message is gone stands behind what is there in its place, and no crash comes between them. That is all that
//! at-least-once dead lettering takes on one node, beside keeping what nobody takes (RabbitMQ docs: Quorum Queues / Dead Lettering,
//! which has it for quorum queues only).

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Broker;
use crate::amqp::{LongStr, ShortStr};
use crate::effect::DiskRequest;
use crate::event::Event;
use crate::ids::{Lsn, QueueId};
use crate::limits;
use crate::message::{Death, DeathReason, Message};
use crate::queue::{Entry, LeaveReason, LeftTo};
use crate::routing::QueueKey;
use crate::timer::{TimerFor, TimerKind};

impl Broker {
    /// A message has left its queue without having been acked. It is dead-lettered soon if that is what is to become of it. From where
    /// on the log knows that it is gone; 0 if it never knew the message, or if it is still to be dead-lettered.
    pub(crate) fn bury(&mut self, key: QueueKey, entry: Entry, reason: LeaveReason) -> Lsn {
        let is_dead_lettered = reason.is_dead_lettered()
            && self.metadata.queue_by_key(key).is_some_and(|record| record.settings.dead_letter_exchange.is_some());
        if !is_dead_lettered {
            return self.leave(key, &entry, reason, LeftTo::Nowhere);
        }
        let now = self.now.wall;
        let Some(queue) = self.queues.get_mut(key) else { return Lsn(0) };
        let before = queue.body_bytes();
        queue.kill(entry, reason, now);
        self.body_bytes += queue.body_bytes() - before;
        self.activate(key);
        Lsn(0)
    }

    /// A queue that is full has refused a message.
    pub(crate) fn refuse(&mut self, _key: QueueKey, _message: &Arc<Message>) {}

    /// Dead-letters what died in a queue and is in memory. From where on the log knows.
    ///
    /// Nothing is called back from here: what this causes in other queues waits for their turn, so that messages that go round in a
    /// circle need no stack.
    pub(crate) fn dead_letter(&mut self, key: QueueKey) -> Lsn {
        let mut end = Lsn(0);
        while let Some(queue) = self.queues.get_mut(key)
            && let Some(dead) = queue.dying().next()
        {
            let is_stalled = self.log.pending_bytes() > limits::LOG_PENDING_HIGH_BYTES;
            if is_stalled || dead.entry.message.is_none() {
                if is_stalled {
                    self.stalled.insert(key);
                }
                // It waits for the log; a restart meanwhile is not to make it alive again.
                end = end.max(self.note_dead(key));
                break;
            }
            end = end.max(self.dead_letter_next(key));
        }
        end
    }

    /// Begins to read what died in a queue and is not in memory.
    pub(crate) fn read_dead(&mut self, key: QueueKey, out: &mut Vec<DiskRequest>) {
        if self.stalled.contains(&key) {
            return;
        }
        let Some(queue) = self.queues.get_mut(key) else { return };
        let token = queue.id.0;
        if let Some((first, len)) = queue.read_dying(self.config.read_ahead_bytes) {
            self.log.read(first.lsn, len, token, out);
        }
    }

    /// The log has written much of what it was given: queues whose dead waited for that go on.
    pub(super) fn resume_dead_letters(&mut self) {
        if self.stalled.is_empty() || self.log.pending_bytes() > limits::LOG_PENDING_LOW_BYTES {
            return;
        }
        for key in core::mem::take(&mut self.stalled) {
            self.activate(key);
        }
    }

    /// Tries some of those again that could not be dead-lettered: after a while, or because exchanges, queues or bindings have changed.
    pub(crate) fn retry_dead_letters(&mut self, key: QueueKey) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        queue.retry_dying(limits::DEAD_LETTER_WINDOW);
        if queue.dying().has_parked() || queue.dying().next().is_some() {
            let at = self.now.mono + limits::DEAD_LETTER_RETRY;
            self.timers.set(at, TimerKind::DeadLetterRetry, TimerFor::Queue(key));
            self.activate(key);
        } else {
            self.parked.remove(&key);
        }
    }

    /// Exchanges, queues or bindings have changed: whoever could not get rid of its dead may have better luck.
    pub(super) fn on_topology_changed(&mut self) {
        let keys: Vec<QueueKey> = self.parked.iter().copied().collect();
        for key in keys {
            if let Some(queue) = self.queues.get_mut(key) {
                queue.retry_dying(limits::DEAD_LETTER_WINDOW);
                self.activate(key);
            }
        }
    }

    /// Sends the next of a queue's dead on its way, or keeps it if it must not be lost. From where on the log knows.
    fn dead_letter_next(&mut self, key: QueueKey) -> Lsn {
        let Some(record) = self.metadata.queue_by_key(key) else { return Lsn(0) };
        let Some(dead) = self.queues.get(key).and_then(|queue| queue.dying().next()) else { return Lsn(0) };
        let reason = dead.reason;
        let keeps = record.settings.keeps_dead_letters();
        let (Some(exchange), Some(death_reason), Some(message)) =
            (&record.settings.dead_letter_exchange, death_reason(reason), &dead.entry.message)
        else {
            return self.take_dead(key, LeftTo::Nowhere);
        };
        let exchange = short(exchange);
        let routing_key = record.settings.dead_letter_routing_key.as_ref().map(short);
        let death = Death { queue: &record.name, reason: death_reason, at: dead.at };
        let letter = Arc::new(message.dead_letter(&death, &exchange, routing_key.as_ref()));
        let taken_by = dead.taken_by.clone();
        let mut to = self.route_dead_letter(key, &exchange, &letter, death_reason);
        let mut is_taken_by_all = true;
        let mut taken_now = Vec::new();
        if keeps {
            is_taken_by_all = matches!(to, LeftTo::Queues(_));
            let queues = &self.queues;
            self.routed.retain(|target| {
                let Some(queue) = queues.get(*target) else { return false };
                if taken_by.contains(&queue.id) {
                    return false;
                }
                if queue.refuses(letter.size()) {
                    is_taken_by_all = false;
                    return false;
                }
                taken_now.push(queue.id);
                true
            });
        }
        if !self.routed.is_empty() {
            let persistent = letter.raw_properties().is_persistent();
            self.enqueue(&letter, persistent, None, None);
        }
        if is_taken_by_all {
            if let LeftTo::Queues(count) = &mut to {
                *count = (*count).max(u32::try_from(taken_by.len() + taken_now.len()).unwrap_or(u32::MAX));
            }
            return self.take_dead(key, to);
        }
        self.park_dead(key, &taken_now)
    }

    /// Finds the queues for a dead letter, without those it must not come to again.
    fn route_dead_letter(
        &mut self,
        key: QueueKey,
        exchange: &ShortStr,
        letter: &Message,
        reason: DeathReason,
    ) -> LeftTo {
        self.routed.clear();
        let vhost = self.metadata.queue_by_key(key).map(|record| record.vhost);
        let Some((exchange, _)) = vhost.and_then(|vhost| self.metadata.exchange(vhost, exchange.as_bytes())) else {
            return LeftTo::MissingExchange;
        };
        let keys = letter.routing_keys();
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        self.metadata.route(exchange, &keys, &letter.raw_properties(), &mut self.route_scratch, &mut self.routed);
        if self.routed.is_empty() {
            return LeftTo::NoRoute;
        }
        if reason != DeathReason::Rejected {
            let (deaths, metadata) = (letter.deaths(), &self.metadata);
            self.routed.retain(|target| {
                let name = metadata.queue_by_key(*target).map(|record| record.name.as_bytes());
                !name.is_some_and(|name| Message::is_death_cycle(&deaths, name, reason))
            });
        }
        if self.routed.is_empty() {
            return LeftTo::Cycle;
        }
        LeftTo::Queues(u32::try_from(self.routed.len()).unwrap_or(u32::MAX))
    }

    /// The next of a queue's dead is where it was to go.
    fn take_dead(&mut self, key: QueueKey, to: LeftTo) -> Lsn {
        let Some(queue) = self.queues.get_mut(key) else { return Lsn(0) };
        let before = queue.body_bytes();
        let Some(dead) = queue.take_dying() else { return Lsn(0) };
        self.body_bytes -= before - queue.body_bytes();
        if dead.was_parked {
            // What kept it may have kept others too.
            queue.retry_dying(limits::DEAD_LETTER_WINDOW);
        }
        self.leave(key, &dead.entry, dead.reason, to)
    }

    /// The next of a queue's dead has to stay for the time being.
    fn park_dead(&mut self, key: QueueKey, taken_by: &[QueueId]) -> Lsn {
        let end = self.note_dead(key);
        let Some(queue) = self.queues.get_mut(key) else { return end };
        let before = queue.body_bytes();
        queue.park_dying(taken_by, self.log.written());
        self.body_bytes -= before - queue.body_bytes();
        if self.parked.insert(key) {
            let at = self.now.mono + limits::DEAD_LETTER_RETRY;
            self.timers.set(at, TimerKind::DeadLetterRetry, TimerFor::Queue(key));
        }
        end
    }

    /// Tells the log that the next of a queue's dead is dead. From where on it knows.
    fn note_dead(&mut self, key: QueueKey) -> Lsn {
        let now = self.now;
        let Some(noted) = self.queues.get_mut(key).and_then(|queue| queue.note_dying(now)) else { return Lsn(0) };
        self.log.note_state(noted);
        self.log.end()
    }

    /// A message is gone from its queue: the log may forget it, and why is recorded. From where on the log knows.
    fn leave(&mut self, key: QueueKey, entry: &Entry, reason: LeaveReason, to: LeftTo) -> Lsn {
        let Some(queue) = self.queues.get(key) else { return Lsn(0) };
        let id = queue.id;
        self.departures.on_left(key, self.now.wall, (reason, to), entry.message.as_deref(), entry.size());
        if self.config.fine_events {
            self.events.push(Event::Left { queue: id, seq: entry.seq(), reason, to });
        }
        self.forget_entry(id, entry)
    }
}

/// The reason as messages know it; `None` if such messages are not dead-lettered.
const fn death_reason(reason: LeaveReason) -> Option<DeathReason> {
    match reason {
        LeaveReason::Expired => Some(DeathReason::Expired),
        LeaveReason::Rejected => Some(DeathReason::Rejected),
        LeaveReason::MaxLength => Some(DeathReason::MaxLength),
        LeaveReason::DeliveryLimit => Some(DeathReason::DeliveryLimit),
        LeaveReason::Purged | LeaveReason::Deleted | LeaveReason::Removed => None,
    }
}

/// An argument as a name. Nothing has a name that is longer than names can be.
fn short(text: &LongStr) -> ShortStr {
    let bytes = text.as_bytes();
    ShortStr::try_from(&bytes[..bytes.len().min(ShortStr::MAX_LEN)]).unwrap_or_default()
}
