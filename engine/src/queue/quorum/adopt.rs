//! A classic queue that gets replicas while it is in use: what it had comes into the group's log.

use super::action::Actions;
use super::command::{AdoptedConsumer, AdoptedSession, Brought};
use super::ids::SessionSeqno;
use super::machine::QuorumQueue;
use super::slot::{BodyPlace, Slot};
use super::taker::{Out, Taker};

impl QuorumQueue {
    /// Messages come that the queue had before.
    pub(super) fn bring(&mut self, messages: &[Brought]) {
        for brought in messages {
            let Brought { size, priority, expires_at, failed, is_redelivered, is_persistent, payload } = *brought;
            let slot = Slot {
                body: BodyPlace { index: self.applied, at: payload.at, len: payload.len },
                seq: self.next_seq,
                expires_at,
                size,
                failed,
                acquired: failed.max(is_redelivered.into()),
                priority: self.settings.rules.priority(Some(priority)),
                is_persistent,
            };
            self.keep(slot);
        }
    }

    /// Sessions go on that the queue had before, with what their consumers have of what was brought.
    pub(super) fn adopt(&mut self, sessions: &[AdoptedSession], consumers: &[AdoptedConsumer], actions: &mut Actions) {
        for AdoptedSession { session, next } in sessions {
            self.roster.adopt(*session, *next);
        }
        for consumer in consumers {
            self.adopt_consumer(consumer, actions);
        }
        for AdoptedSession { session, next } in sessions {
            self.tell_applied(*session, SessionSeqno(next.0 - 1), actions);
        }
    }

    fn adopt_consumer(&mut self, consumer: &AdoptedConsumer, actions: &mut Actions) {
        let AdoptedConsumer { session, checkout, is_over, next, unacked } = consumer;
        let id = session.consumer(checkout.tag);
        // They come in whatever order the queue had them.
        let Some(state) = self.roster.sessions.get_mut(session) else { return };
        let next_tag = core::mem::replace(&mut state.next_tag, checkout.tag);
        if !is_over {
            self.checkout(*session, checkout, actions);
        } else if self.claim_tag(*session, checkout.tag) {
            self.takers.insert(id, Taker::new(None, None));
        }
        if let Some(state) = self.roster.sessions.get_mut(session) {
            state.next_tag = state.next_tag.max(next_tag);
        }
        let Some(taker) = self.takers.get_mut(&id) else { return };
        taker.next = *next;
        for delivery in unacked {
            // What was not brought cannot be had.
            let Some(slot) = self.ready.remove(delivery.seq) else { continue };
            self.expiring -= u64::from(slot.expires_at != 0);
            self.unacked += 1;
            self.unacked_bytes += u64::from(slot.size);
            if let Some(key) = taker.key {
                self.consumers.on_had(key);
            }
            let slot = Slot { expires_at: delivery.expires_at, ..slot };
            taker.unacked.insert(delivery.number.0, Out { slot, at: self.now });
        }
        if taker.is_over() {
            self.takers.remove(&id);
        }
    }
}
