//! Messages that died: dropped, published once by the leader, or kept until they arrived elsewhere.

use super::action::{Actions, DeadLetter, Left, Notice};
use super::command::NumberRange;
use super::ids::DeathNumber;
use super::machine::QuorumQueue;
use super::settings::DeadLetters;
use super::slot::Slot;
use crate::queue::LeaveReason;
use crate::window::Window;

/// The dead that wait for their arrival elsewhere, in the order of their deaths.
#[derive(Debug, Default)]
pub(super) struct Dead {
    waiting: Window<DeadMessage>,
    /// How many ever waited.
    deaths: u64,
    /// Bytes of their bodies.
    bytes: u64,
}

/// One of them.
#[derive(Debug)]
pub(super) struct DeadMessage {
    pub(super) slot: Slot,
    pub(super) reason: LeaveReason,
    /// When it died, in milliseconds of the wall clock.
    pub(super) at: u64,
}

impl Dead {
    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Bytes of their bodies.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many ever waited.
    pub(super) fn deaths(&self) -> u64 {
        self.deaths
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &DeadMessage)> {
        self.waiting.iter()
    }

    /// All of them, to change where their bodies are.
    pub(super) fn slots_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.waiting.values_mut().map(|dead| &mut dead.slot)
    }

    /// Puts one back from a snapshot. They come in order.
    pub(super) fn restore(&mut self, number: u64, dead: DeadMessage) {
        self.bytes += u64::from(dead.slot.size);
        self.waiting.insert(number, dead);
    }

    /// Goes on numbering behind so many.
    pub(super) fn continue_after(&mut self, deaths: u64) {
        self.deaths = deaths;
    }

    fn push(&mut self, dead: DeadMessage) {
        self.deaths += 1;
        self.restore(self.deaths, dead);
    }

    fn remove(&mut self, number: u64) -> Option<DeadMessage> {
        let dead = self.waiting.remove(number)?;
        self.bytes -= u64::from(dead.slot.size);
        Some(dead)
    }
}

impl QuorumQueue {
    /// Dead letters that wait for their arrival, from the one after `after` on, in order. A leader publishes some at a time and reports
    /// with `DeadLettered` which arrived; a new leader begins anew.
    pub fn dead_letters(&self, after: DeathNumber) -> impl Iterator<Item = DeadLetter> {
        self.dead.iter().skip_while(move |(number, _)| *number <= after.0).map(|(number, dead)| DeadLetter {
            number: DeathNumber(number),
            body: dead.slot.body,
            reason: dead.reason,
            failed: dead.slot.failed,
            at_ms: dead.at,
        })
    }

    /// A message died.
    pub(super) fn bury(&mut self, slot: Slot, reason: LeaveReason, actions: &mut Actions) {
        assert!(reason.is_dead_lettered(), "{reason} is no death");
        if self.settings.dead_letters == DeadLetters::AtLeastOnce {
            self.dead.push(DeadMessage { slot, reason, at: self.now });
            return actions.notify(Notice::DeadLettersWait);
        }
        let is_dead_letter = self.settings.dead_letters == DeadLetters::AtMostOnce;
        self.part_with(&slot, reason, is_dead_letter, actions);
    }

    /// Dead letters arrived.
    pub(super) fn dead_lettered(&mut self, deaths: &[NumberRange]) {
        for number in deaths.iter().flat_map(|range| range.iter()) {
            if let Some(dead) = self.dead.remove(number) {
                self.forget(&dead.slot);
            }
        }
    }

    /// Dead letters are kept no more if the settings have changed (RabbitMQ docs: Dead Letter Exchanges / Safety).
    pub(super) fn drop_unkept_dead(&mut self, actions: &mut Actions) {
        if self.settings.dead_letters == DeadLetters::AtLeastOnce {
            return;
        }
        while let Some((number, _)) = self.dead.waiting.first() {
            let dead = self.dead.remove(number).expect("the first is there");
            self.part_with(&dead.slot, dead.reason, false, actions);
        }
    }

    fn part_with(&mut self, slot: &Slot, reason: LeaveReason, is_dead_letter: bool, actions: &mut Actions) {
        actions.left.push(Left { body: slot.body, reason, failed: slot.failed, is_dead_letter });
        self.forget(slot);
    }
}
