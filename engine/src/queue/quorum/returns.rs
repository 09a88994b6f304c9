//! Messages that come back, and those that consumers do not want.

use alloc::vec::Vec;

use super::action::Actions;
use super::command::{Numbers, ReturnKind};
use super::ids::{ConsumerId, DeliveryNumber};
use super::machine::QuorumQueue;
use super::slot::Slot;
use crate::mutants::Mutant;
use crate::queue::LeaveReason;

impl QuorumQueue {
    /// Deliveries come back.
    pub(super) fn give_back(
        &mut self,
        consumer: ConsumerId,
        numbers: &Numbers,
        how: ReturnKind,
        actions: &mut Actions,
    ) {
        let mut settled = 0;
        for number in numbers.iter().flat_map(|range| range.iter()) {
            if let Some(slot) = self.take_out(consumer, number) {
                settled += 1;
                self.come_back(slot, how, actions);
            }
        }
        self.on_settled(consumer, settled);
    }

    /// Deliveries are rejected.
    pub(super) fn discard(&mut self, consumer: ConsumerId, numbers: &Numbers, actions: &mut Actions) {
        let mut settled = 0;
        for number in numbers.iter().flat_map(|range| range.iter()) {
            if let Some(slot) = self.take_out(consumer, number) {
                settled += 1;
                self.bury(slot, LeaveReason::Rejected, actions);
            }
        }
        self.on_settled(consumer, settled);
    }

    /// All that a taker has beyond a delivery comes back.
    pub(super) fn take_back_after(
        &mut self,
        consumer: ConsumerId,
        seen: DeliveryNumber,
        how: ReturnKind,
        actions: &mut Actions,
    ) {
        let Some(taker) = self.takers.get(&consumer) else { return };
        let numbers: Vec<u64> = taker.unacked.iter().map(|(number, _)| number).filter(|it| *it > seen.0).collect();
        let mut settled = 0;
        for number in numbers {
            if let Some(slot) = self.take_out(consumer, number) {
                settled += 1;
                self.come_back(slot, how, actions);
            }
        }
        self.on_settled(consumer, settled);
    }

    /// Takes a message from its taker. One that went back before counts as settled then.
    pub(super) fn take_out(&mut self, consumer: ConsumerId, number: u64) -> Option<Slot> {
        let taker = self.takers.get_mut(&consumer)?;
        let Some(out) = taker.unacked.remove(number) else {
            taker.timed_out.remove(&number);
            return None;
        };
        self.unacked -= 1;
        self.unacked_bytes -= u64::from(out.slot.size);
        Some(out.slot)
    }

    /// So many deliveries of a taker are unacked no more.
    pub(super) fn on_settled(&mut self, consumer: ConsumerId, count: u64) {
        let Some(taker) = self.takers.get(&consumer) else { return };
        let Some(key) = taker.key else {
            if taker.is_over() {
                self.takers.remove(&consumer);
            }
            return;
        };
        for _ in 0..count {
            self.consumers.on_settled(key);
        }
        if !taker.timed_out.is_empty() || self.consumers.get(key).is_none_or(|consumer| !consumer.is_barred()) {
            return;
        }
        if self.consumers.is_single_active() && self.is_planted(Mutant::QuorumSacNoneActive) {
            return;
        }
        self.consumers.admit(key);
    }

    /// A message comes back: to be delivered again before all that never was, after a wait, or never (RabbitMQ docs: Quorum Queues /
    /// Poison Message Handling).
    pub(super) fn come_back(&mut self, mut slot: Slot, how: ReturnKind, actions: &mut Actions) {
        let is_failure = how == ReturnKind::Failed && self.settings.counts_failures();
        slot.on_returned(is_failure);
        if self.settings.delivery_limit.is_some_and(|limit| slot.failed > limit) {
            return self.bury(slot, LeaveReason::DeliveryLimit, actions);
        }
        if let Some(delay) = self.settings.delayed_retry.delay_ms(is_failure, slot.failed) {
            return self.delayed.push(self.now.saturating_add(delay), slot);
        }
        self.expiring += u64::from(slot.expires_at != 0);
        self.ready.give_back(slot);
    }
}
