//! Messages that came back and wait for their time (RabbitMQ 4.3: delayed retry).

use alloc::collections::BTreeMap;

use super::slot::Slot;

/// They are neither ready nor out.
#[derive(Debug, Default)]
pub(super) struct Delayed {
    /// By the time for which they wait, in milliseconds of the wall clock, and then in the order in which they came back.
    by_due: BTreeMap<(u64, u64), Slot>,
    /// How many ever waited.
    delays: u64,
    /// Bytes of their bodies.
    bytes: u64,
}

impl Delayed {
    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.by_due.len() as u64
    }

    /// Bytes of their bodies.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Until when the first waits.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.by_due.first_key_value().map(|((due, _), _)| *due)
    }

    /// One more waits.
    pub(super) fn push(&mut self, due: u64, slot: Slot) {
        self.delays += 1;
        self.bytes += u64::from(slot.size);
        self.by_due.insert((due, self.delays), slot);
    }

    /// Takes out the next whose wait ends by `now`.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<Slot> {
        let first = self.by_due.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        let slot = first.remove();
        self.bytes -= u64::from(slot.size);
        Some(slot)
    }

    /// All of them, to change where their bodies are.
    pub(super) fn slots_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.by_due.values_mut()
    }

    /// All of them in order, each with its time. Those of the same time come in the order in which they were pushed.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Slot)> {
        self.by_due.iter().map(|((due, _), slot)| (*due, slot))
    }
}
