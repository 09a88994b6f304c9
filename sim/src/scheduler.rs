//! The queue of what will happen, in an order that the seed decides where time does not.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::clock::Micros;
use crate::rng::{Fate, ThingFate};

/// Future events by (time, tie, insertion). `tie` is random: events of the same microsecond happen in an order that differs by
/// seed. What must stay in order (bytes of one stream, completions of one log) keeps a queue of its own, and an event here only
/// says that its front is due.
///
/// Nearly all that comes is due before nearly all that waits (a link's next bytes before a heartbeat), so the next few are kept sorted,
/// the soonest last, where it is put in and taken out by moving next to nothing. What is due after them waits in a heap.
#[derive(Debug)]
pub(crate) struct Scheduler<E> {
    near: Vec<Entry<E>>,
    /// Nothing in it is due before anything in `near`.
    far: BinaryHeap<Entry<E>>,
    time: Micros,
    /// The greatest key of the events taken: one that is put into its own microsecond may be taken after events of greater keys.
    furthest: u128,
    /// A run has far fewer events than this can count.
    inserted: u32,
    ties: ThingFate,
}

#[derive(Debug)]
struct Entry<E> {
    /// Time, tie and insertion as one number, the first in the highest bits.
    key: u128,
    event: E,
}

/// A place in the order of events, for one that may turn out not to be needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u128);

/// Entries kept sorted at most; when there are more, half of them go to the heap. As many come from it at once.
const NEAR_MAX: usize = 64;

/// Where the tie is in the lower half of a key; below it is the number of the insertion.
const TIE: u64 = 0xffff_ffff_0000_0000;

impl<E: Copy> Scheduler<E> {
    /// An empty future.
    pub(crate) fn new(seed: u64) -> Self {
        let near = Vec::with_capacity(NEAR_MAX + 1);
        Self {
            near,
            far: BinaryHeap::new(),
            time: 0,
            furthest: 0,
            inserted: 0,
            ties: Fate::new(seed, "sched").thing(0),
        }
    }

    /// The time of the event taken last.
    pub(crate) fn time(&self) -> Micros {
        self.time
    }

    /// Lets `event` happen at `time`, or at once if that has passed.
    pub(crate) fn at(&mut self, time: Micros, event: E) {
        let place = self.place(time);
        self.fill(place, event);
    }

    /// Keeps a place after `delay`: all is as if an event without consequences came there, unless another is put there.
    pub(crate) fn keep_place(&mut self, delay: Micros) -> Place {
        self.place(self.time.saturating_add(delay))
    }

    /// Whether an event at a place would have happened.
    pub(crate) fn is_past(&self, place: Place) -> bool {
        place.0 <= self.furthest
    }

    /// Lets `event` happen at a place, which is not past.
    pub(crate) fn fill(&mut self, place: Place, event: E) {
        let Place(key) = place;
        let entry = Entry { key, event };
        let place = self.near.iter().rposition(|other| key < other.key);
        if place.is_none() && !self.far.is_empty() {
            self.far.push(entry);
            return;
        }
        self.near.insert(place.map_or(0, |later| later + 1), entry);
        if self.near.len() > NEAR_MAX {
            self.far.extend(self.near.drain(..NEAR_MAX / 2));
        }
    }

    fn place(&mut self, time: Micros) -> Place {
        self.inserted += 1;
        let tie = self.ties.of(u64::from(self.inserted)) & TIE;
        Place(u128::from(time.max(self.time)) << 64 | u128::from(tie | u64::from(self.inserted)))
    }

    /// Lets `event` happen after `delay`.
    pub(crate) fn after(&mut self, delay: Micros, event: E) {
        self.at(self.time.saturating_add(delay), event);
    }

    /// Takes the next event, unless it lies beyond `until`.
    pub(crate) fn next(&mut self, until: Micros) -> Option<E> {
        if self.near.is_empty() {
            self.near.extend(std::iter::from_fn(|| self.far.pop()).take(NEAR_MAX / 2));
            self.near.reverse();
        }
        let time = self.near.last()?.time();
        if time > until {
            return None;
        }
        let entry = self.near.pop()?;
        (self.time, self.furthest) = (time, self.furthest.max(entry.key));
        Some(entry.event)
    }
}

impl<E> Entry<E> {
    fn time(&self) -> Micros {
        (self.key >> 64) as Micros
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    /// The sooner is the greater, since a heap gives out its greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(&self.key)
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
    fn all_come_in_the_order_of_their_times_whenever_they_were_put_in() {
        let mut scheduler = Scheduler::new(3);
        let fates = Fate::new(3, "test");
        let (mut waiting, mut ordinal) = (Vec::new(), 0);
        // Some before others are taken out, some between, some soon, some late; many more than are kept near.
        for round in 0..400 {
            for _ in 0..if round < 200 { 3 } else { 1 } {
                ordinal += 1;
                let random = fates.of(1, ordinal);
                let time = scheduler.time() + random % if random & 1 << 40 == 0 { 5 } else { 3000 };
                scheduler.at(time, time);
                waiting.push(time);
            }
            for _ in 0..2 {
                waiting.sort_unstable_by(|one, other| other.cmp(one));
                assert_eq!(scheduler.next(u64::MAX), waiting.pop());
            }
        }
    }

    #[test]
    fn a_place_that_is_kept_is_as_good_as_an_event_there() {
        let run = |fill_first: bool| {
            let (mut scheduler, mut seen, mut kept) = (Scheduler::new(5), Vec::new(), None);
            for event in 0..8 {
                if event == 4 {
                    let place = scheduler.keep_place(9);
                    kept = Some(place);
                    if fill_first {
                        scheduler.fill(place, event);
                    }
                } else {
                    scheduler.at(9, event);
                }
            }
            scheduler.at(1, 9);
            seen.extend(scheduler.next(10));
            let kept = kept.expect("one was kept");
            assert!(!scheduler.is_past(kept));
            if !fill_first {
                scheduler.fill(kept, 4);
            }
            while let Some(event) = scheduler.next(10) {
                seen.push(event);
                assert_eq!(scheduler.is_past(kept), seen.contains(&4));
            }
            seen
        };
        assert_eq!(run(true), run(false));
        assert_eq!(run(true).len(), 9);
    }

    #[test]
    fn a_place_is_past_when_an_event_there_would_have_happened() {
        for seed in 0..64 {
            let (mut keeping, mut telling) = (Scheduler::new(seed), Scheduler::new(seed));
            let place = keeping.keep_place(2);
            telling.after(2, 0);
            let mut has_happened = false;
            // Each event puts the next one into its own microsecond, before the place or behind it.
            for event in 1..8 {
                for scheduler in [&mut keeping, &mut telling] {
                    scheduler.at(2, event);
                }
                assert_eq!(keeping.next(2), Some(event));
                let mut happens = telling.next(2);
                if happens == Some(0) {
                    has_happened = true;
                    happens = telling.next(2);
                }
                assert_eq!(happens, Some(event));
                assert_eq!(keeping.is_past(place), has_happened, "seed {seed}, event {event}");
            }
        }
    }

    #[test]
    fn nothing_happens_beyond_the_horizon() {
        let mut scheduler = Scheduler::new(1);
        scheduler.at(11, ());
        assert_eq!(scheduler.next(10), None);
        assert_eq!(scheduler.next(11), Some(()));
    }
}
