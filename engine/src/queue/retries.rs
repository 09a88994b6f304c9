//! Messages of a quorum queue without replicas that came back and wait for their time (RabbitMQ 4.3: delayed retry).

use alloc::collections::BTreeMap;

use super::entry::Entry;
use crate::ids::QueueSeq;
use crate::time::Instant;

/// They are neither ready nor out.
#[derive(Debug, Default)]
pub(super) struct Retries {
    /// By the time for which they wait, and then in the order in which they came back.
    by_due: BTreeMap<(Instant, u64), Entry>,
    /// Where each stands there.
    due_of: BTreeMap<QueueSeq, (Instant, u64)>,
    /// How many ever waited.
    count: u64,
    /// Bytes of their bodies.
    bytes: u64,
}

impl Retries {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_due.len()
    }

    /// Bytes of their bodies.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Until when the first waits.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.by_due.first_key_value().map(|((due, _), _)| *due)
    }

    /// One more waits.
    pub(super) fn push(&mut self, due: Instant, entry: Entry) {
        self.count += 1;
        self.bytes += u64::from(entry.size());
        self.due_of.insert(entry.seq(), (due, self.count));
        self.by_due.insert((due, self.count), entry);
    }

    /// Takes out the first, if its wait ends by `now`.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Entry> {
        if self.next_due()? > now { None } else { self.pop() }
    }

    /// Takes out the first.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let (_, entry) = self.by_due.pop_first()?;
        self.due_of.remove(&entry.seq());
        self.bytes -= u64::from(entry.size());
        Some(entry)
    }

    /// The one with this number.
    pub(super) fn get(&self, seq: QueueSeq) -> Option<&Entry> {
        if self.due_of.is_empty() { None } else { self.by_due.get(self.due_of.get(&seq)?) }
    }

    /// The same, to change it.
    pub(super) fn get_mut(&mut self, seq: QueueSeq) -> Option<&mut Entry> {
        if self.due_of.is_empty() { None } else { self.by_due.get_mut(self.due_of.get(&seq)?) }
    }

    /// All of them in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.by_due.values()
    }

    /// Checks its invariants. Bytes of memory that the messages take.
    pub(super) fn check_invariants(&self) -> usize {
        assert_eq!(self.by_due.len(), self.due_of.len(), "each waits in one place");
        let bytes: u64 = self.iter().map(|entry| u64::from(entry.size())).sum();
        assert_eq!(bytes, self.bytes, "bytes that wait are counted");
        self.iter().map(Entry::memory_bytes).sum()
    }
}
