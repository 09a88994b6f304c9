//! What leaves a queue by itself: messages whose time has passed or that are too many, and queues that nobody uses.
//!
//! Only the first message of a priority can expire, as in RabbitMQ: one with a long life keeps those behind it (RabbitMQ docs:
//! Time-To-Live / Caveats). So a queue needs one deadline, and one without such messages none.

use core::time::Duration;

use super::classic::{ClassicQueue, QueueKind};
use super::entry::Entry;
use super::ready::Head;
use crate::metadata::Overflow;
use crate::mutants::{Mutant, is_planted};
use crate::time::Instant;

impl ClassicQueue {
    /// When a message that comes would expire: by its own time to live, `own_ms`, or the queue's, whichever is shorter.
    pub(crate) fn expiry_of(&self, own_ms: Option<u64>, now: Instant) -> Option<Instant> {
        let ttl = match (own_ms, self.settings.message_ttl_ms) {
            (Some(own), Some(queue)) => own.min(queue),
            (one, other) => one.or(other)?,
        };
        let ttl = if is_planted(Mutant::TtlEarly) { ttl / 2 } else { ttl };
        Some(now + Duration::from_millis(ttl))
    }

    /// Whether any message here has a time to live, or waits for its time.
    pub(crate) fn is_timed(&self) -> bool {
        self.expiries.len() > 0 || self.retries.len() > 0
    }

    /// Messages that came back and whose wait is over can be delivered again.
    pub(crate) fn release_delayed(&mut self, now: Instant) {
        while let Some(entry) = self.retries.pop_due(now) {
            self.ready.give_back(entry);
        }
    }

    /// Takes out a message whose time has passed. One that has just come and whose time is just up may still be delivered if somebody
    /// wants it (`is_offered` tells that nobody does): that is what a time to live of 0 means.
    pub(crate) fn pop_expired(&mut self, now: Instant, is_offered: bool) -> Option<Entry> {
        if self.expiries.len() == 0 {
            return None;
        }
        let is_over = |head: &Head| {
            let Some(seq) = self.ready.get(*head).map(Entry::seq) else { return false };
            let is_offered = is_offered || seq < self.offered_before;
            self.expiries.get(seq.0).is_some_and(|at| *at < now || is_offered && *at == now)
        };
        let head = self.ready.heads().find(is_over)?;
        self.pop_head(head)
    }

    /// Everything that is here could have been delivered, and was not.
    pub(crate) fn note_offered(&mut self) {
        self.offered_before = self.next_seq();
    }

    /// When the next message expires, or has waited for long enough.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let retry = self.retries.next_due();
        if self.expiries.len() == 0 {
            return retry;
        }
        self.ready.heads().filter_map(|head| self.expiry_at(head)).chain(retry).min()
    }

    /// Takes out the next message if there are more than the queue is to hold. Only what waits counts (RabbitMQ docs: Queue Length
    /// Limit).
    pub(crate) fn pop_excess(&mut self) -> Option<Entry> {
        if self.settings.overflow != Overflow::DropHead || !self.is_too_long(0, 0) {
            return None;
        }
        if is_planted(Mutant::NewestDropped) {
            let newest = self.ready.iter().last()?.seq();
            return self.take_ready(newest);
        }
        self.pop_ready()
    }

    /// Whether the queue looks at its limits once it got back what comes now, before it delivers anything: RabbitMQ's classic queues do
    /// (its quorum queues deliver first). What could be delivered already would have been by now.
    pub(crate) fn heeds_limits_first(&self) -> bool {
        let has_limit = self.settings.length_max.is_some() || self.settings.length_max_bytes.is_some();
        has_limit && self.kind == QueueKind::Classic && (self.ready.len() == 0 || !self.has_takers())
    }

    /// Whether something is to leave at once that just came, or for it: nobody takes anything, and the queue is over its limit or a time
    /// to live is 0. With takers that is found out when they had their turn.
    pub(crate) fn is_untidy(&self, expires_at: Option<Instant>, now: Instant) -> bool {
        let is_too_long = self.settings.overflow == Overflow::DropHead && self.is_too_long(0, 0);
        (is_too_long || expires_at.is_some_and(|at| at <= now)) && !self.has_takers()
    }

    /// Whether the queue refuses one more message of `size` bytes, whoever waits for one (RabbitMQ docs: Queue Length Limit).
    pub(crate) fn refuses(&self, size: u32) -> bool {
        // What it has to keep for others counts too, or nothing would bound that.
        let (kept, kept_bytes) = (self.dying.len() as u64, self.dying.size_bytes());
        let (delayed, delayed_bytes) = self.delayed();
        let (more, more_bytes) = (1 + kept + delayed, u64::from(size) + kept_bytes + delayed_bytes);
        if self.settings.overflow == Overflow::DropHead || !self.is_too_long(more, more_bytes) {
            return false;
        }
        if self.kind == QueueKind::Quorum {
            return true;
        }
        // Deliveries come at the end of an input; what consumers will have taken by then does not wait.
        let mut waiting = self.ready.iter().skip(usize::try_from(self.consumers().credit()).unwrap_or(usize::MAX));
        let (mut len, mut bytes) = (more, more_bytes);
        waiting.any(|entry| {
            len += 1;
            bytes += u64::from(entry.size());
            self.is_over(len, bytes)
        }) || self.is_over(more, more_bytes)
    }

    /// How long it is until nobody has used the queue for as long as it may be unused. `None`: it is in use, or need not be.
    pub(crate) fn end_at(&self) -> Option<Instant> {
        let expires = self.settings.expires_ms?;
        (self.consumers().len() == 0).then(|| self.used_at + Duration::from_millis(expires))
    }

    /// Somebody made use of the queue (RabbitMQ docs: Time-To-Live / Queue TTL).
    pub(crate) fn touch(&mut self, now: Instant) {
        self.used_at = now;
    }

    /// Exchanges the deadline that the node's timers know for the first expiry. The former one, if it is another.
    pub(crate) fn swap_expiry_timer(&mut self, at: Option<Instant>) -> Option<Option<Instant>> {
        (self.expiry_timer != at).then(|| core::mem::replace(&mut self.expiry_timer, at))
    }

    /// The same for the queue's own end.
    pub(crate) fn swap_end_timer(&mut self, at: Option<Instant>) -> Option<Option<Instant>> {
        (self.end_timer != at).then(|| core::mem::replace(&mut self.end_timer, at))
    }

    pub(super) fn pop_head(&mut self, head: Head) -> Option<Entry> {
        let entry = self.ready.pop(head)?;
        self.body_bytes -= entry.memory_bytes();
        self.forget_details(entry.seq());
        Some(entry)
    }

    fn is_too_long(&self, more: u64, more_bytes: u64) -> bool {
        self.is_over(self.ready.len() as u64 + more, self.ready.bytes() + more_bytes)
    }

    fn is_over(&self, len: u64, bytes: u64) -> bool {
        self.settings.length_max.is_some_and(|max| len > max)
            || self.settings.length_max_bytes.is_some_and(|max| bytes > max)
    }

    fn expiry_at(&self, head: Head) -> Option<Instant> {
        let seq = self.ready.get(head)?.seq();
        self.expiries.get(seq.0).copied()
    }
}
