//! The queue of what will happen, in an order that the seed decides where time does not.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::Micros;
use crate::rng::Fate;

/// Future events by (time, tie, insertion). `tie` is random: events of the same microsecond happen in an order that differs by
/// seed. What must stay in order (bytes of one stream, completions of one log) keeps a queue of its own, and an event here only
/// says that its front is due.
#[derive(Debug)]
pub(crate) struct Scheduler<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    time: Micros,
    inserted: u64,
    ties: Fate,
}

#[derive(Debug)]
struct Entry<E> {
    time: Micros,
    tie: u32,
    order: u64,
    event: E,
}

impl<E: Copy> Scheduler<E> {
    /// An empty future.
    pub(crate) fn new(seed: u64) -> Self {
        Self { heap: BinaryHeap::new(), time: 0, inserted: 0, ties: Fate::new(seed, "sched") }
    }

    /// The time of the event taken last.
    pub(crate) fn time(&self) -> Micros {
        self.time
    }

    /// Lets `event` happen at `time`, or at once if that has passed.
    pub(crate) fn at(&mut self, time: Micros, event: E) {
        self.inserted += 1;
        let tie = (self.ties.of(0, self.inserted) >> 32) as u32;
        self.heap.push(Reverse(Entry { time: time.max(self.time), tie, order: self.inserted, event }));
    }

    /// Lets `event` happen after `delay`.
    pub(crate) fn after(&mut self, delay: Micros, event: E) {
        self.at(self.time.saturating_add(delay), event);
    }

    /// Takes the next event, unless it lies beyond `until`.
    pub(crate) fn next(&mut self, until: Micros) -> Option<E> {
        if self.heap.peek()?.0.time > until {
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        self.time = entry.time;
        Some(entry.event)
    }
}

impl<E> Entry<E> {
    fn key(&self) -> (Micros, u32, u64) {
        (self.time, self.tie, self.order)
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_decides_and_the_seed_breaks_ties() {
        let order = |seed| {
            let mut scheduler = Scheduler::new(seed);
            for event in 0..8 {
                scheduler.at(if event == 7 { 1 } else { 5 }, event);
            }
            std::iter::from_fn(|| scheduler.next(10)).collect::<Vec<u32>>()
        };
        assert_eq!(order(1)[0], 7);
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }

    #[test]
    fn nothing_happens_beyond_the_horizon() {
        let mut scheduler = Scheduler::new(1);
        scheduler.at(11, ());
        assert_eq!(scheduler.next(10), None);
        assert_eq!(scheduler.next(11), Some(()));
    }
}
