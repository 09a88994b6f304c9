//! The one way out of a queue for messages that were not acked: to a dead-letter exchange, or away.
//!
//! A message that is dead-lettered leaves its queue only when the log has its dead letter: the log is read up to where it was torn,
//! so what says that the message is gone stands behind what is there in its place, and no crash comes between them. That is all that
//! at-least-once dead lettering takes on one node, beside keeping what nobody takes (RabbitMQ docs: Quorum Queues / Dead Lettering,
//! which has it for quorum queues only).

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Broker, Published};
use crate::amqp::{LongStr, ShortStr};
use crate::effect::DiskRequest;
use crate::event::Event;
use crate::ids::{Lsn, QueueId, QueueSeq};
use crate::limits;
use crate::message::{Death, DeathReason, Message};
use crate::metadata::Overflow;
use crate::mutants::{Mutant, is_planted};
use crate::queue::{Dead, Entry, LeaveReason, LeftTo};
use crate::routing::QueueKey;
use crate::time::Timestamp;
use crate::timer::{TimerFor, TimerKind};

/// Stands among the queues that have a dead letter for the delayed exchanges that hold it back.
const HELD: QueueId = QueueId(u64::MAX);

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

    /// The same for a message whose consumer wants to know that it is settled: if its dead letter has to wait, the log is told that it is
    /// dead. From where on the log knows one or the other.
    pub(crate) fn bury_now(&mut self, key: QueueKey, entry: Entry, reason: LeaveReason) -> Lsn {
        let seq = entry.seq();
        let end = self.bury(key, entry, reason).max(self.dead_letter(key));
        end.max(self.note_dead(key, seq))
    }

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
            let is_enough = self.dead_letters_left == 0;
            if is_stalled || is_enough || dead.entry.message.is_none() {
                if is_stalled {
                    self.stalled.insert(key);
                } else if is_enough && self.stalled.insert(key) {
                    let at = self.now.mono + limits::DEAD_LETTER_PAUSE;
                    self.timers.set(at, TimerKind::DeadLetters, TimerFor::Queue(key));
                }
                // It waits; a restart meanwhile is not to make it alive again.
                let seq = dead.entry.seq();
                end = end.max(self.note_dead(key, seq));
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
        let read_ahead_bytes = self.read_ahead_bytes();
        let Some(queue) = self.queues.get_mut(key) else { return };
        let token = queue.id.0;
        if let Some((first, len)) = queue.read_dying(read_ahead_bytes) {
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

    /// An input has had its share of dead letters, and others theirs: it goes on.
    pub(super) fn go_on_with_dead_letters(&mut self, key: QueueKey) {
        if self.stalled.remove(&key) {
            self.activate(key);
        }
    }

    /// Tries some of those again that could not be dead-lettered: after a while, or because exchanges, queues or bindings have changed.
    pub(crate) fn retry_dead_letters(&mut self, key: QueueKey) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        queue.retry_dying(limits::DEAD_LETTER_WINDOW, false);
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
                queue.retry_dying(limits::DEAD_LETTER_WINDOW, true);
                self.activate(key);
            }
        }
    }

    /// Sends the next of a queue's dead on its way, or keeps it if it must not be lost. From where on the log knows.
    fn dead_letter_next(&mut self, key: QueueKey) -> Lsn {
        // It is not counted where it was while its targets are looked at, or a full queue that dead-letters to itself never could.
        let Some(queue) = self.queues.get_mut(key) else { return Lsn(0) };
        let before = queue.body_bytes();
        let Some(mut dead) = queue.take_dying() else { return Lsn(0) };
        self.body_bytes -= before - queue.body_bytes();
        let message = dead.entry.message.clone();
        let Some((letter, reason)) =
            message.and_then(|message| self.dead_letter_of(key, &message, dead.reason, dead.at))
        else {
            return self.leave(key, &dead.entry, dead.reason, LeftTo::Nowhere);
        };
        let cost = 1 + letter.properties().len() / limits::DEAD_LETTER_STEP_BYTES;
        self.dead_letters_left = self.dead_letters_left.saturating_sub(u32::try_from(cost).unwrap_or(u32::MAX));
        let mut to = self.route_dead_letter(key, &letter, reason);
        let keeps = self.metadata.queue_by_key(key).is_some_and(|record| record.settings.keeps_dead_letters());
        if !keeps {
            self.send_reply(&letter);
        }
        let is_taken_by_all = !keeps || self.leave_out_refusing(&to, &letter, &mut dead.taken_by);
        if !self.routed.is_empty() || !self.route_scratch.aside.holds.is_empty() {
            self.enqueue_dead_letter(&letter, &mut to);
        }
        if is_taken_by_all {
            if dead.was_parked
                && let Some(queue) = self.queues.get_mut(key)
            {
                queue.retry_dying(limits::DEAD_LETTER_WINDOW, true);
            }
            return self.leave(key, &dead.entry, dead.reason, to);
        }
        self.park_dead(key, dead)
    }

    /// A queue that is full has refused a message, which it may want dead-lettered instead.
    pub(crate) fn refuse(&mut self, key: QueueKey, message: &Arc<Message>) {
        let size = u32::try_from(message.body().len()).unwrap_or(u32::MAX);
        self.departures.on_refused(key, self.now.wall, message, size);
        let Some(record) = self.metadata.queue_by_key(key) else { return };
        let settings = &record.settings;
        if settings.overflow == Overflow::RejectPublishDlx && settings.dead_letter_exchange.is_some() {
            self.refused.push_back((key, Arc::clone(message)));
        }
    }

    /// Dead-letters a message that a full queue has refused. Whether there was one.
    pub(super) fn dead_letter_next_refused(&mut self) -> bool {
        let Some((key, message)) = self.refused.pop_front() else { return false };
        let at = self.now.wall;
        if let Some((letter, reason)) = self.dead_letter_of(key, &message, LeaveReason::MaxLength, at) {
            let mut to = self.route_dead_letter(key, &letter, reason);
            self.send_reply(&letter);
            if matches!(to, LeftTo::Queues(_)) {
                self.enqueue_dead_letter(&letter, &mut to);
            }
        }
        true
    }

    /// What is to be published in place of a message that died; `None` if nothing is.
    pub(super) fn dead_letter_of(
        &self,
        key: QueueKey,
        message: &Message,
        reason: LeaveReason,
        at: Timestamp,
    ) -> Option<(Arc<Message>, DeathReason)> {
        let record = self.metadata.queue_by_key(key)?;
        let exchange = short(record.settings.dead_letter_exchange.as_ref()?);
        let routing_key = record.settings.dead_letter_routing_key.as_ref().map(short);
        let reason = death_reason(reason)?;
        let death = Death { queue: &record.name, reason, at };
        Some((Arc::new(message.dead_letter(&death, &exchange, routing_key.as_ref())), reason))
    }

    /// Takes the queues out of those just found that have a dead letter already, or refuse it. Whether all have it after this.
    fn leave_out_refusing(&mut self, to: &LeftTo, letter: &Message, taken_by: &mut Vec<QueueId>) -> bool {
        let mut is_taken_by_all = matches!(to, LeftTo::Queues(_));
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
            taken_by.push(queue.id);
            true
        });
        if taken_by.contains(&HELD) {
            self.route_scratch.aside.holds.clear();
        } else if !self.route_scratch.aside.holds.is_empty() {
            taken_by.push(HELD);
        }
        is_taken_by_all
    }

    /// Publishes a dead letter to what was found for it.
    fn enqueue_dead_letter(&mut self, letter: &Arc<Message>, to: &mut LeftTo) {
        let persistent = letter.raw_properties().is_persistent();
        if self.enqueue(letter, persistent, None, None) == Published::Refused
            && let LeftTo::Queues(count) = to
        {
            *count = u32::try_from(self.routed.len()).unwrap_or(u32::MAX);
            if *count == 0 {
                *to = LeftTo::Refused;
            }
        }
    }

    /// Finds the queues for a dead letter, without those it must not come to again.
    pub(super) fn route_dead_letter(&mut self, key: QueueKey, letter: &Message, reason: DeathReason) -> LeftTo {
        self.routed.clear();
        self.route_scratch.aside.holds.clear();
        let vhost = self.metadata.queue_by_key(key).map(|record| record.vhost);
        let names = letter.routing_names();
        let Some((exchange, _)) = vhost.and_then(|vhost| self.metadata.exchange(vhost, names.exchange())) else {
            return LeftTo::MissingExchange;
        };
        let keys = letter.routing_keys();
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        self.metadata.route(exchange, &keys, &letter.raw_properties(), &mut self.route_scratch, &mut self.routed);
        let holds = self.route_scratch.aside.holds.len();
        if self.routed.is_empty() && holds == 0 {
            return LeftTo::NoRoute;
        }
        if reason != DeathReason::Rejected {
            let (deaths, metadata) = (letter.deaths(), &self.metadata);
            self.routed.retain(|target| {
                let name = metadata.queue_by_key(*target).map(|record| record.name.as_bytes());
                !name.is_some_and(|name| Message::is_death_cycle(&deaths, name, reason))
            });
        }
        if self.routed.is_empty() && holds == 0 {
            return LeftTo::Cycle;
        }
        LeftTo::Queues(u32::try_from(self.routed.len() + holds).unwrap_or(u32::MAX))
    }

    /// One of a queue's dead, just taken out, has to stay for the time being.
    fn park_dead(&mut self, key: QueueKey, dead: Dead) -> Lsn {
        let seq = dead.entry.seq();
        let Some(queue) = self.queues.get_mut(key) else { return Lsn(0) };
        let before = queue.body_bytes();
        queue.park_dying(dead, self.log.written());
        self.body_bytes += queue.body_bytes() - before;
        if self.parked.insert(key) {
            let at = self.now.mono + limits::DEAD_LETTER_RETRY;
            self.timers.set(at, TimerKind::DeadLetterRetry, TimerFor::Queue(key));
        }
        self.note_dead(key, seq)
    }

    /// Tells the log that one of a queue's dead is dead. From where on it knows.
    fn note_dead(&mut self, key: QueueKey, seq: QueueSeq) -> Lsn {
        let now = self.now;
        let Some(noted) = self.queues.get_mut(key).and_then(|queue| queue.note_dying(seq, now)) else { return Lsn(0) };
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
        if reason == LeaveReason::Purged && is_planted(Mutant::PurgedBackAfterRestart) {
            return self.forget_quietly(id, entry);
        }
        self.forget_entry(id, entry)
    }

    /// A planted bug: says that the log knows, and has not told it.
    fn forget_quietly(&mut self, queue: QueueId, entry: &Entry) -> Lsn {
        if let Some(place) = entry.place() {
            self.log.release(place);
        }
        let end = self.log.end();
        self.events.push(Event::Settled { queue, seq: entry.seq(), lsn: Some(end) });
        end
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
