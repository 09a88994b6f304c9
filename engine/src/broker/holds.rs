//! Delayed exchanges: what they hold back, and what happens when its time has come (RabbitMQ's plugin `x-delayed-message`).
//!
//! A message whose `x-delay` asks for it goes into the exchange's hold instead of its queues. It is confirmed once it is as durable
//! there as it would be in a durable queue. When it is due it is routed by the bindings of that moment, its record is settled in the
//! hold after its records for the queues were appended, and mostly in the same block, which stands or falls as a whole.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use slotmap::SecondaryMap;
use smallvec::SmallVec;

use super::{Broker, Published};
use crate::amqp::ShortStr;
use crate::buggify::Point;
use crate::collections::IdMap;
use crate::effect::DiskRequest;
use crate::exchange::{DueMessage, Hold, Next};
use crate::ids::{AdminId, Lsn, QueueSeq};
use crate::limits;
use crate::management::{AdminAnswer, AdminError, AdminReply, DelayedMessage};
use crate::message::{Message, delay_ms};
use crate::metadata::Command;
use crate::mutants::{Mutant, is_planted};
use crate::routing::ExchangeKey;
use crate::storage::{Ref, RefFlags, RefState};
use crate::time::{Instant, Timestamp};
use crate::timer::{TimerFor, TimerKind};

/// The holds of all delayed exchanges, by exchange and by incarnation.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    by_key: SecondaryMap<ExchangeKey, Hold>,
    keys: IdMap<u64, ExchangeKey>,
    /// For when each has set its timer.
    armed: SecondaryMap<ExchangeKey, Instant>,
    /// Those with bodies to drop once the log has them, each once.
    droppers: Vec<ExchangeKey>,
    /// Those with something to release, each once.
    due: Vec<ExchangeKey>,
    /// Operators who wait for messages to be found by their id, to take them back.
    cancels: Vec<(ExchangeKey, AdminId, ShortStr)>,
}

impl Holds {
    pub(crate) fn get(&self, key: ExchangeKey) -> Option<&Hold> {
        self.by_key.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ExchangeKey, &Hold)> {
        self.by_key.iter()
    }

    pub(super) fn by_owner(&self, owner: u64) -> Option<&Hold> {
        self.by_key.get(*self.keys.get(&owner)?)
    }

    pub(super) fn by_owner_mut(&mut self, owner: u64) -> Option<&mut Hold> {
        self.by_key.get_mut(*self.keys.get(&owner)?)
    }

    pub(super) fn key_of(&self, owner: u64) -> Option<ExchangeKey> {
        self.keys.get(&owner).copied()
    }

    pub(super) fn insert(&mut self, key: ExchangeKey, hold: Hold) {
        self.keys.insert(hold.id.0, key);
        self.by_key.insert(key, hold);
    }

    fn remove(&mut self, key: ExchangeKey) -> Option<Hold> {
        let hold = self.by_key.remove(key)?;
        self.keys.remove(&hold.id.0);
        self.droppers.retain(|other| *other != key);
        self.due.retain(|other| *other != key);
        Some(hold)
    }
}

impl Broker {
    /// Gives a delayed exchange that was just declared its hold. That the hold is logged apart from the exchange lets any exchange
    /// get one later; whatever is held lies behind it in the log.
    pub(super) fn open_hold(&mut self, key: ExchangeKey) {
        let Some(exchange) = self.metadata.exchange_by_key(key) else { return };
        if !exchange.arguments.is_delayed {
            return;
        }
        if let Some(id) = exchange.hold {
            // In a cluster the exchange has it from the start.
            self.holds.insert(key, Hold::new(id, exchange.durable));
            return;
        }
        let (name, durable) = (exchange.name.clone(), exchange.durable);
        let Some(vhost) = self.metadata.vhost_by_key(exchange.vhost) else { return };
        let vhost = vhost.name.clone();
        let id = self.metadata.allocate_queue_id();
        let command = Command::OpenHold { vhost, name, id };
        if durable {
            self.log_command(&command);
        }
        self.metadata.apply(command).expect("an exchange that is there and has no hold can get one");
        self.holds.insert(key, Hold::new(id, durable));
    }

    /// Forgets what a deleted exchange held back.
    pub(super) fn drop_hold(&mut self, key: ExchangeKey) {
        let Some(mut hold) = self.holds.remove(key) else { return };
        if let Some(at) = self.holds.armed.remove(key) {
            self.timers.cancel(at, TimerKind::Delayed, TimerFor::Exchange(key));
        }
        for (_, id, _) in self.holds.cancels.extract_if(.., |(of, ..)| *of == key) {
            self.answers.push(AdminAnswer { id, reply: Ok(AdminReply::Count(0)) });
        }
        self.body_bytes -= hold.body_bytes();
        while let Some(held) = hold.take_first() {
            // Its owner is gone from the metadata, so the log needs no word about each message.
            if let Some(place) = held.place {
                self.log.release(place);
            }
        }
    }

    /// Holds a message back in the exchanges that delay it.
    pub(super) fn hold_back(
        &mut self,
        exchanges: &[ExchangeKey],
        message: &Arc<Message>,
        persistent: bool,
    ) -> Published {
        let mut published = Published::Unroutable;
        if exchanges.is_empty() {
            return published;
        }
        let delay_ms = delay_ms(&message.raw_properties()).unwrap_or_default();
        let due_ms = self.now.wall.as_millis().saturating_add(delay_ms);
        let pages_out = self.body_bytes > self.config.memory_high_bytes && !self.log.is_full();
        let size = u32::try_from(message.body().len()).unwrap_or(u32::MAX);
        for &key in exchanges {
            let Some(hold) = self.holds.by_key.get_mut(key) else { continue };
            let is_logged = hold.durable && persistent;
            let flags = if is_logged { RefFlags::NONE } else { RefFlags::TRANSIENT };
            let place = (is_logged || (pages_out && hold.body_bytes() > self.config.queue_cache_bytes)).then(|| {
                let state = RefState { size, expires_at: due_ms, ..RefState::from_flags(flags) };
                let (head, body) = message.payload();
                self.log.append_message(&[Ref { owner: hold.id.0, seq: hold.next_seq().0, state }], head, body)
            });
            let before = hold.body_bytes();
            hold.hold(due_ms, Arc::clone(message), place, flags, self.config.queue_cache_bytes);
            self.body_bytes += hold.body_bytes() - before;
            if hold.has_droppable() && !self.holds.droppers.contains(&key) {
                self.holds.droppers.push(key);
            }
            published = published.and(match place {
                Some(place) if is_logged => Published::KeptAt(self.safe_at(place.end())),
                _ => Published::Kept,
            });
            self.arm_hold(key);
        }
        published
    }

    /// Sees to it that the hold is looked at when its first message is due, or earlier: a message waits for a time on the wall clock,
    /// which may be set meanwhile (a machine that starts without knowing the time would else hold it back for decades).
    pub(super) fn arm_hold(&mut self, key: ExchangeKey) {
        let Some(due_ms) = self.holds.get(key).and_then(Hold::next_due_ms) else { return };
        let ahead = due_ms.saturating_sub(self.now.wall.as_millis());
        self.arm_hold_at(key, self.now.mono + Duration::from_millis(ahead).min(limits::HOLD_LOOK));
    }

    fn arm_hold_at(&mut self, key: ExchangeKey, at: Instant) {
        if let Some(armed) = self.holds.armed.get(key).copied() {
            if armed <= at {
                return;
            }
            self.timers.cancel(armed, TimerKind::Delayed, TimerFor::Exchange(key));
        }
        self.holds.armed.insert(key, at);
        self.timers.set(at, TimerKind::Delayed, TimerFor::Exchange(key));
    }

    /// The time of a hold's first message has come, or it is to be looked at again.
    pub(super) fn on_hold_timer(&mut self, key: ExchangeKey) {
        self.holds.armed.remove(key);
        self.mark_due(key);
    }

    fn mark_due(&mut self, key: ExchangeKey) {
        if self.holds.by_key.contains_key(key) && !self.holds.due.contains(&key) {
            self.holds.due.push(key);
        }
    }

    /// Releases what is due from one hold. Whether there was one to look at.
    pub(crate) fn release_next_hold(&mut self, out: &mut Vec<DiskRequest>) -> bool {
        let Some(key) = self.holds.due.pop() else { return false };
        let batch = if self.buggify.fires(Point::OneRelease) { 1 } else { limits::RELEASE_BATCH };
        for _ in 0..batch {
            // The disk is behind or full: what waits is safe where it is.
            if self.log.is_full() || self.log.pending_bytes() >= limits::LOG_PENDING_HIGH_BYTES {
                let pause = if self.log.is_full() { limits::DISK_RETRY } else { limits::RELEASE_PAUSE };
                self.arm_hold_at(key, self.now.mono + pause);
                return true;
            }
            let Some(hold) = self.holds.by_key.get_mut(key) else { return true };
            let before = hold.body_bytes();
            let next = hold.next(self.now.wall.as_millis(), self.config.read_ahead_bytes);
            self.body_bytes -= before - hold.body_bytes();
            let id = hold.id.0;
            match next {
                Next::Idle => {
                    self.finish_cancels(key);
                    return true;
                }
                Next::Later => {
                    self.finish_cancels(key);
                    self.arm_hold(key);
                    return true;
                }
                Next::Read { first, len } => {
                    self.log.read(first.lsn, len, id, out);
                    return true;
                }
                Next::Due(due) => self.release(key, id, &due),
            }
        }
        // Others have their turn before the rest.
        self.arm_hold_at(key, self.now.mono + limits::RELEASE_PAUSE);
        true
    }

    fn release(&mut self, key: ExchangeKey, id: u64, due: &DueMessage) {
        let Some(message) = &due.message else { return };
        let message = Arc::new(message.after_delay());
        let properties = message.raw_properties();
        let keys = message.routing_keys();
        let keys: SmallVec<[&[u8]; 4]> = keys.iter().map(|key| &key[..]).collect();
        if self.route(key, &keys, &properties) {
            self.enqueue(&message, properties.is_persistent(), None, None);
            if is_planted(Mutant::DelayedTwice) && self.route(key, &keys, &properties) {
                self.enqueue(&message, properties.is_persistent(), None, None);
            }
        }
        self.forget_held(id, due);
    }

    /// What one exchange holds back, first due first, at most so many.
    ///
    /// # Errors
    /// If there is no such exchange, or it delays nothing.
    pub(super) fn list_delayed(&self, key: ExchangeKey, count: usize) -> Result<Vec<DelayedMessage>, AdminError> {
        let hold = self.holds.get(key).ok_or_else(not_delayed)?;
        let message = |(seq, due_ms, size, message): (QueueSeq, u64, u32, Option<&Arc<Message>>)| DelayedMessage {
            sequence: seq.0,
            due: Timestamp::from_millis(due_ms),
            bytes: size,
            routing_key: message.map(|message| message.routing_names().routing_key_str().detached()),
            message_id: message.and_then(|message| ShortStr::try_from(message.raw_properties().message_id()?).ok()),
        };
        Ok(hold.iter().take(count).map(message).collect())
    }

    /// Takes one message back before its time. Whether it was there.
    ///
    /// # Errors
    /// If the exchange delays nothing.
    pub(super) fn cancel_delayed(&mut self, key: ExchangeKey, sequence: u64) -> Result<u64, AdminError> {
        let hold = self.holds.by_key.get_mut(key).ok_or_else(not_delayed)?;
        let (id, before) = (hold.id.0, hold.body_bytes());
        let taken = hold.take(QueueSeq(sequence));
        self.body_bytes -= before - hold.body_bytes();
        if let Some(taken) = &taken {
            self.forget_held(id, taken);
        }
        Ok(u64::from(taken.is_some()))
    }

    /// Takes all messages with this `message-id` back before their time, once all ids are known; then the request is answered.
    ///
    /// # Errors
    /// If the exchange delays nothing.
    pub(super) fn cancel_delayed_by_id(
        &mut self,
        id: AdminId,
        key: ExchangeKey,
        message_id: &ShortStr,
    ) -> Result<(), AdminError> {
        let hold = self.holds.by_key.get_mut(key).ok_or_else(not_delayed)?;
        hold.search();
        self.holds.cancels.push((key, id, message_id.clone()));
        self.mark_due(key);
        Ok(())
    }

    /// Answers who waits for ids of one exchange, if all are known.
    fn finish_cancels(&mut self, key: ExchangeKey) {
        if self.holds.cancels.is_empty() || self.holds.by_key.get_mut(key).is_none_or(Hold::search) {
            return;
        }
        let waiting: Vec<_> = self.holds.cancels.extract_if(.., |(of, ..)| *of == key).collect();
        for (_, id, message_id) in waiting {
            let found = self.holds.get(key).map(|hold| hold.find(message_id.as_bytes())).unwrap_or_default();
            let taken = found.into_iter().map(|seq| self.cancel_delayed(key, seq.0).unwrap_or_default()).sum();
            self.answers.push(AdminAnswer { id, reply: Ok(AdminReply::Count(taken)) });
        }
    }

    /// A message is in its hold no more.
    pub(super) fn forget_held(&mut self, id: u64, held: &DueMessage) {
        let Some(place) = held.place else { return };
        if held.recoverable {
            self.log.settle(id, held.seq.0, place);
        } else {
            self.log.release(place);
        }
    }

    /// The log has more: bodies may go.
    pub(super) fn drop_held_bodies(&mut self) {
        let written = self.log.written();
        let Holds { by_key, droppers, .. } = &mut self.holds;
        droppers.retain(|key| {
            let Some(hold) = by_key.get_mut(*key) else { return false };
            let before = hold.body_bytes();
            hold.drop_written_bodies(written);
            self.body_bytes -= before - hold.body_bytes();
            hold.has_droppable()
        });
    }

    /// What was read for the hold with this id.
    ///
    /// # Errors
    /// A text for the operator if it is damaged.
    pub(super) fn on_hold_read(&mut self, owner: u64, start: Lsn, data: &Bytes) -> Result<(), &'static str> {
        let Some(key) = self.holds.key_of(owner) else { return Ok(()) };
        let Some(hold) = self.holds.by_key.get_mut(key) else { return Ok(()) };
        let before = hold.body_bytes();
        let log = &self.log;
        hold.on_read(start, data, |lsn, record| log.open_record(lsn, record).ok())?;
        self.body_bytes += hold.body_bytes() - before;
        self.mark_due(key);
        Ok(())
    }
}

fn not_delayed() -> AdminError {
    AdminError::bad_request("the exchange delays no messages")
}
