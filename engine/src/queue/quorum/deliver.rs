//! After each command: who gets what, and what is too old or too much.

use super::action::{Actions, Notice};
use super::ids::ConsumerId;
use super::machine::QuorumQueue;
use super::slot::Slot;
use crate::ids::QueueSeq;
use crate::queue::LeaveReason;
use crate::queue::ready::{Head, Waiting};

impl QuorumQueue {
    /// Brings the queue in order after a command: what can be delivered is, and what has to go goes. Messages before `came_before` were
    /// there when the command came.
    pub(super) fn settle_down(&mut self, came_before: QueueSeq, actions: &mut Actions) {
        self.release_delayed();
        self.deliver(came_before, actions);
        self.expire(self.next_seq, actions);
        self.trim(actions);
        self.note_full(actions);
    }

    /// Delivers what can be delivered.
    pub(super) fn deliver(&mut self, came_before: QueueSeq, actions: &mut Actions) {
        if self.is_paused {
            return;
        }
        loop {
            self.expire(came_before, actions);
            if self.ready.len() == 0 {
                return;
            }
            let Some((_, consumer)) = self.consumers.front() else { return };
            let consumer = consumer.who;
            let slot = self.pop_ready().expect("a message is ready");
            self.consumers.rotate();
            self.hand_out(consumer, slot, actions);
        }
    }

    /// Gives a message to a taker.
    pub(super) fn hand_out(&mut self, consumer: ConsumerId, slot: Slot, actions: &mut Actions) {
        self.unacked += 1;
        self.unacked_bytes += u64::from(slot.size);
        let taker = self.takers.get_mut(&consumer).expect("who gets messages has its deliveries");
        actions.deliveries.push(taker.take(consumer, slot, self.now));
    }

    /// Drops messages in front whose time has passed: the first of each priority, as those behind cannot be reached before it
    /// (RabbitMQ docs: Time-To-Live / Caveats). One whose time is just up may still be delivered if it came with this command, which is
    /// what a time to live of 0 means: only those before `came_before` go then.
    pub(super) fn expire(&mut self, came_before: QueueSeq, actions: &mut Actions) {
        while self.expiring > 0 {
            let is_over = |head: &Head| {
                let Some(slot) = self.ready.get(*head) else { return false };
                let at = slot.expires_at;
                at != 0 && (at < self.now || at == self.now && slot.seq() < came_before)
            };
            let Some(head) = self.ready.heads().find(is_over) else { return };
            let slot = self.ready.pop(head).expect("a head is there");
            self.expiring -= 1;
            self.bury(slot, LeaveReason::Expired, actions);
        }
    }

    /// Drops the first messages if there are more than the queue is to hold. Only what waits counts (RabbitMQ docs: Queue Length
    /// Limit).
    fn trim(&mut self, actions: &mut Actions) {
        if self.settings.rejects_publish {
            return;
        }
        while self.settings.is_over(self.ready.len() as u64, self.ready.bytes()) {
            let Some(slot) = self.pop_ready() else { return };
            self.bury(slot, LeaveReason::MaxLength, actions);
            // What stood behind it may have waited there for its end.
            self.expire(self.next_seq, actions);
        }
    }

    /// Tells publishers when the queue has become full, or takes messages again. What they sent before they heard of it is taken: the
    /// limit is soft (RabbitMQ docs: Quorum Queues). What waits to be dead-lettered counts, or nothing would bound that.
    fn note_full(&mut self, actions: &mut Actions) {
        if !self.settings.rejects_publish && !self.is_full {
            return;
        }
        let len = self.ready.len() as u64 + self.dead.len() + self.delayed.len();
        let bytes = self.ready.bytes() + self.dead.bytes() + self.delayed.bytes();
        let is_full = match (self.settings.rejects_publish, self.is_full) {
            (false, _) => false,
            (true, false) => self.settings.is_filled_by(len, bytes),
            (true, true) => !self.settings.has_room_beside(len, bytes),
        };
        if is_full == self.is_full {
            return;
        }
        self.is_full = is_full;
        for session in self.roster.sessions.keys() {
            actions.notify(Notice::Full { session, is_full });
        }
    }

    /// Messages whose wait is over come back.
    fn release_delayed(&mut self) {
        while let Some(slot) = self.delayed.pop_due(self.now) {
            self.expiring += u64::from(slot.expires_at != 0);
            self.ready.give_back(slot);
        }
    }
}
