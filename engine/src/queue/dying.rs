//! Messages that died and are still to be dead-lettered: their bodies have to be read first, or nobody took them yet.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::entry::Entry;
use super::reason::LeaveReason;
use crate::ids::{QueueId, QueueSeq};
use crate::time::Timestamp;

/// A message that died.
#[derive(Debug)]
pub(crate) struct Dead {
    /// The message.
    pub(crate) entry: Entry,
    /// Why it died.
    pub(crate) reason: LeaveReason,
    /// When it did.
    pub(crate) at: Timestamp,
    /// Whether recovery would find it dead too.
    pub(crate) is_noted: bool,
    /// Whether it was tried in vain before.
    pub(crate) was_parked: bool,
    /// The queues that have it already, while others still refuse it.
    pub(crate) taken_by: Vec<QueueId>,
    /// Which death in this queue it was.
    number: u64,
}

impl Dead {
    /// A message that has just died.
    pub(super) fn new(entry: Entry, reason: LeaveReason, at: Timestamp, is_noted: bool) -> Self {
        Self { entry, reason, at, is_noted, was_parked: false, taken_by: Vec::new(), number: 0 }
    }
}

/// The dead of one queue. They are neither ready nor unacked.
///
/// ```text
///  add           take_next             everybody took it
///  ----> waiting ---------> (is tried) -----------------> gone
///          ^                    |
///          | retry              | park
///          +------ parked <-----+
/// ```
#[derive(Debug, Default)]
pub(crate) struct Dying {
    by_seq: BTreeMap<QueueSeq, Dead>,
    /// Those that are to be tried, by the number of their death.
    waiting: BTreeMap<u64, QueueSeq>,
    /// Those that were tried in vain, likewise.
    parked: BTreeMap<u64, QueueSeq>,
    /// Deaths so far.
    deaths: u64,
    /// Those that were tried in vain are tried again from this one on.
    retry_from: u64,
    /// Bytes of all bodies, in memory or not.
    size_bytes: u64,
}

impl Dying {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_seq.len()
    }

    /// Bytes of their bodies, in memory or not.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Whether any of them was tried in vain.
    pub(crate) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// The next to be tried.
    pub(crate) fn next(&self) -> Option<&Dead> {
        let (_, seq) = self.waiting.first_key_value()?;
        self.by_seq.get(seq)
    }

    /// Adds one that has just died.
    pub(super) fn add(&mut self, dead: Dead) {
        let seq = dead.entry.seq();
        self.deaths += 1;
        self.size_bytes += u64::from(dead.entry.size());
        self.waiting.insert(self.deaths, seq);
        let old = self.by_seq.insert(seq, Dead { number: self.deaths, ..dead });
        assert!(old.is_none(), "message {seq} died twice");
    }

    /// Takes out the next to be tried.
    pub(super) fn take_next(&mut self) -> Option<Dead> {
        let (_, seq) = self.waiting.pop_first()?;
        let dead = self.by_seq.remove(&seq)?;
        self.size_bytes -= u64::from(dead.entry.size());
        Some(dead)
    }

    /// Not everybody took the one just tried: it waits for [`Dying::retry`].
    pub(super) fn park(&mut self, dead: Dead) {
        let (seq, number) = (dead.entry.seq(), dead.number);
        self.size_bytes += u64::from(dead.entry.size());
        self.parked.insert(number, seq);
        self.by_seq.insert(seq, Dead { was_parked: true, ..dead });
    }

    /// What kept one of them back may have kept others too: they are tried again from the first on.
    pub(super) fn restart(&mut self) {
        self.retry_from = 0;
    }

    /// Some of those that were tried in vain are to be tried again: the next `limit`, round and round.
    pub(super) fn retry(&mut self, limit: usize) {
        if self.parked.range(self.retry_from..).next().is_none() {
            self.retry_from = 0;
        }
        for _ in 0..limit {
            let Some((&number, &seq)) = self.parked.range(self.retry_from..).next() else { break };
            self.parked.remove(&number);
            self.waiting.insert(number, seq);
            self.retry_from = number + 1;
        }
    }

    /// Takes out any of them.
    pub(super) fn take_any(&mut self) -> Option<Dead> {
        self.waiting.append(&mut self.parked);
        self.take_next()
    }

    /// Those that wait to be tried, in order.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Entry> {
        self.waiting.values().filter_map(|seq| self.by_seq.get(seq)).map(|dead| &dead.entry)
    }

    /// All of them, in order of their places in the queue.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Dead> {
        self.by_seq.values()
    }

    /// One of them.
    pub(super) fn get(&self, seq: QueueSeq) -> Option<&Dead> {
        self.by_seq.get(&seq)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, seq: QueueSeq) -> Option<&mut Dead> {
        self.by_seq.get_mut(&seq)
    }

    /// Checks that each of them waits or is parked.
    ///
    /// # Panics
    /// If not.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.waiting.len() + self.parked.len(), self.by_seq.len(), "the dead wait or are parked");
        for (number, seq) in self.waiting.iter().chain(&self.parked) {
            let dead = self.by_seq.get(seq).expect("who waits is among the dead");
            assert_eq!(dead.number, *number, "message {seq} is listed by its death");
        }
        let bytes: u64 = self.iter().map(|dead| u64::from(dead.entry.size())).sum();
        assert_eq!(bytes, self.size_bytes, "bytes of the dead are counted");
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::amqp::{RawProperties, Routing};
    use crate::message::Message;
    use crate::storage::RefFlags;

    fn dead(seq: u64) -> Dead {
        let message = Message::new(&Routing::default(), &RawProperties::empty(), Bytes::from_static(b"x"));
        let entry = Entry::new(QueueSeq(seq), 0, 1, Some(message.into()), None, RefFlags::NONE);
        Dead::new(entry, LeaveReason::Expired, Timestamp::default(), false)
    }

    fn dying(seqs: &[u64]) -> Dying {
        let mut dying = Dying::default();
        seqs.iter().for_each(|seq| dying.add(dead(*seq)));
        dying.check_invariants();
        dying
    }

    fn tried(dying: &mut Dying) -> Vec<u64> {
        let mut seqs = Vec::new();
        while let Some(next) = dying.next() {
            seqs.push(next.entry.seq().0);
            let dead = dying.take_next().unwrap();
            dying.park(dead);
        }
        dying.check_invariants();
        seqs
    }

    #[test]
    fn they_are_tried_in_the_order_of_their_deaths() {
        let mut dying = dying(&[3, 1, 2]);
        assert_eq!(dying.size_bytes(), 3);
        assert_eq!(tried(&mut dying), [3, 1, 2]);
        assert_eq!((dying.len(), dying.has_parked()), (3, true));
    }

    #[test]
    fn those_tried_in_vain_are_tried_again_round_and_round() {
        let mut dying = dying(&[5, 4, 3]);
        tried(&mut dying);
        let mut round = |limit| {
            dying.retry(limit);
            tried(&mut dying)
        };
        assert_eq!(round(2), [5, 4]);
        assert_eq!(round(2), [3]);
        assert_eq!(round(2), [5, 4]);
        assert_eq!(round(9), [3]);
        assert_eq!(round(9), [5, 4, 3]);
    }

    #[test]
    fn when_one_is_taken_all_are_tried_again_in_order() {
        let mut dying = dying(&[1, 2, 3]);
        tried(&mut dying);
        dying.retry(1);
        assert_eq!(tried(&mut dying), [1]);
        dying.retry(1);
        assert_eq!(dying.take_next().map(|dead| dead.entry.seq().0), Some(2));
        dying.restart();
        dying.retry(9);
        assert_eq!(tried(&mut dying), [1, 3]);
        assert_eq!(dying.size_bytes(), 2);
    }
}
