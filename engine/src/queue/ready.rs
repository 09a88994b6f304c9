//! What waits for a consumer, in the order in which it is given out.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::entry::Entry;
use crate::ids::QueueSeq;
use crate::mutants::{Mutant, is_planted};

/// What a message tells of itself while it waits.
pub(super) trait Waiting {
    /// Its place in the queue.
    fn seq(&self) -> QueueSeq;
    /// Its priority in this queue.
    fn priority(&self) -> u8;
    /// Bytes of its body.
    fn size(&self) -> u32;
    /// Whether a consumer may have seen it before.
    fn is_redelivered(&self) -> bool;
    /// Bytes of memory that its body takes.
    fn memory_bytes(&self) -> usize;
}

/// Messages that wait: the highest priority first, within one priority the oldest.
///
/// Those never delivered stand in one list per priority, of which most queues have one. Those that came back stand apart, since they
/// belong somewhere in front.
#[derive(Debug)]
pub(super) struct Ready<E = Entry> {
    /// What was never delivered, by priority, in order of arrival; up to the highest priority that there was so far.
    levels: Vec<VecDeque<E>>,
    priority_max: u8,
    /// Which of these hold anything, a bit each.
    occupied: [u64; 4],
    returned: BTreeMap<ReturnKey, E>,
    place: ReturnPlace,
    /// How many came back so far.
    returns: u64,
    len: usize,
    /// Bytes of their bodies.
    bytes: u64,
}

/// Where a message goes that comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReturnPlace {
    /// To the place it had (RabbitMQ docs: Consumer Acknowledgements / Negative Acknowledgement and Requeuing).
    Own,
    /// Before all that was never delivered, whatever its priority, behind what came back before it (RabbitMQ docs: Quorum Queues).
    Front,
}

/// How far from the highest priority, and which place within it.
type ReturnKey = (u8, u64);

/// One that could be next: the first of all, or the first of its priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    Returned(ReturnKey),
    Level(usize),
}

impl<E: Waiting> Ready<E> {
    /// Nothing, for priorities from 0 to `priority_max`.
    pub(super) fn new(priority_max: u8, place: ReturnPlace) -> Self {
        let (levels, returned) = (Vec::new(), BTreeMap::new());
        Self { levels, priority_max, occupied: [0; 4], returned, place, returns: 0, len: 0, bytes: 0 }
    }

    /// The highest priority there can be.
    pub(super) fn priority_max(&self) -> u8 {
        self.priority_max
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the bodies of those that wait.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds one behind all others of its priority.
    pub(super) fn push(&mut self, entry: E) {
        let level = usize::from(entry.priority().min(self.priority_max));
        self.len += 1;
        self.bytes += u64::from(entry.size());
        self.occupied[level / 64] |= 1 << (level % 64);
        if level >= self.levels.len() {
            self.levels.resize_with(level + 1, VecDeque::new);
        }
        self.levels[level].push_back(entry);
    }

    /// Puts one back.
    pub(super) fn give_back(&mut self, entry: E) {
        self.len += 1;
        self.bytes += u64::from(entry.size());
        self.returns += 1;
        let key = match self.place {
            ReturnPlace::Own => own_key(entry.priority(), entry.seq()),
            ReturnPlace::Front => (0, self.returns),
        };
        let old = self.returned.insert(key, entry);
        assert!(old.is_none(), "message {key:?} was returned twice");
    }

    /// Which one is next.
    pub(super) fn head(&self) -> Option<Head> {
        let level = self.highest();
        let Some((&key, _)) = self.returned.first_key_value() else { return level.map(Head::Level) };
        let Some(level) = level else { return Some(Head::Returned(key)) };
        if is_planted(Mutant::RequeueAtTail) {
            return Some(Head::Level(level));
        }
        Some(self.sooner(key, level))
    }

    /// The first of each priority. Those behind it cannot be reached before it.
    pub(super) fn heads(&self) -> impl Iterator<Item = Head> {
        let in_front = (self.place == ReturnPlace::Front)
            .then(|| self.returned.first_key_value().map(|(key, _)| Head::Returned(*key)))
            .flatten();
        let levels = (0..=usize::from(self.priority_max)).rev().filter_map(|level| {
            let front = self.occupied[level / 64] & 1 << (level % 64) != 0;
            let returned = match self.place {
                ReturnPlace::Own if !self.returned.is_empty() => {
                    let (first, last) =
                        (own_key(priority(level), QueueSeq(0)), own_key(priority(level), QueueSeq(u64::MAX)));
                    self.returned.range(first..=last).next().map(|(key, _)| *key)
                }
                ReturnPlace::Own | ReturnPlace::Front => None,
            };
            match (returned, front) {
                (Some(key), true) => Some(self.sooner(key, level)),
                (Some(key), false) => Some(Head::Returned(key)),
                (None, true) => Some(Head::Level(level)),
                (None, false) => None,
            }
        });
        in_front.into_iter().chain(levels)
    }

    /// A head's message.
    pub(super) fn get(&self, head: Head) -> Option<&E> {
        match head {
            Head::Returned(key) => self.returned.get(&key),
            Head::Level(level) => self.levels.get(level)?.front(),
        }
    }

    /// The messages from a head on, in order.
    pub(super) fn from(&self, head: Head) -> impl Iterator<Item = &E> {
        let (returned, level) = match head {
            Head::Returned(key) => (Some(self.returned.range(key..).map(|(_, entry)| entry)), None),
            Head::Level(level) => (None, self.levels.get(level).map(VecDeque::iter)),
        };
        returned.into_iter().flatten().chain(level.into_iter().flatten())
    }

    /// Takes out a head.
    pub(super) fn pop(&mut self, head: Head) -> Option<E> {
        let entry = match head {
            Head::Returned(key) => self.returned.remove(&key)?,
            Head::Level(level) => {
                let list = self.levels.get_mut(level)?;
                let entry = list.pop_front()?;
                if list.is_empty() {
                    self.occupied[level / 64] &= !(1 << (level % 64));
                }
                entry
            }
        };
        self.len -= 1;
        self.bytes -= u64::from(entry.size());
        Some(entry)
    }

    /// All that wait: first what came back, then the rest, each in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &E> {
        self.returned.values().chain(self.levels.iter().rev().flatten())
    }

    /// All that wait, to change what is not their size, number or priority.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut E> {
        self.returned.values_mut().chain(self.levels.iter_mut().rev().flatten())
    }

    /// How many of them came back and stand in front of the rest.
    pub(super) fn returned_len(&self) -> usize {
        self.returned.len()
    }

    /// The message with this number.
    pub(super) fn find(&self, seq: QueueSeq) -> Option<&E> {
        match self.locate(seq)? {
            Location::Level(level, at) => self.levels[level].get(at),
            Location::Returned(key) => self.returned.get(&key),
        }
    }

    /// The same, to change it. Its size, number and priority stay.
    pub(super) fn find_mut(&mut self, seq: QueueSeq) -> Option<&mut E> {
        match self.locate(seq)? {
            Location::Level(level, at) => self.levels[level].get_mut(at),
            Location::Returned(key) => self.returned.get_mut(&key),
        }
    }

    /// Takes out the message with this number, wherever it stands. Those behind it in its list move up: O(their number).
    pub(super) fn remove(&mut self, seq: QueueSeq) -> Option<E> {
        let entry = match self.locate(seq)? {
            Location::Level(level, 0) => return self.pop(Head::Level(level)),
            Location::Level(level, at) => self.levels[level].remove(at)?,
            Location::Returned(key) => return self.pop(Head::Returned(key)),
        };
        self.len -= 1;
        self.bytes -= u64::from(entry.size());
        Some(entry)
    }

    fn highest(&self) -> Option<usize> {
        if is_planted(Mutant::PriorityOrder) {
            return self.levels.iter().position(|level| !level.is_empty());
        }
        if let [only] = &self.levels[..] {
            return (!only.is_empty()).then_some(0);
        }
        let word = self.occupied.iter().rposition(|word| *word != 0)?;
        Some(word * 64 + 63 - self.occupied[word].leading_zeros() as usize)
    }

    /// Which of two comes first: one that came back, or the first of a list.
    fn sooner(&self, key: ReturnKey, level: usize) -> Head {
        let front = self.levels[level].front().map(|entry| own_key(priority(level), entry.seq()));
        let is_returned_first = self.place == ReturnPlace::Front || front.is_none_or(|front| key < front);
        if is_returned_first { Head::Returned(key) } else { Head::Level(level) }
    }

    fn locate(&self, seq: QueueSeq) -> Option<Location> {
        for (level, list) in self.levels.iter().enumerate() {
            if let Some(at) = position(list, seq) {
                return Some(Location::Level(level, at));
            }
        }
        match self.place {
            ReturnPlace::Own => (0..=self.priority_max)
                .map(|priority| own_key(priority, seq))
                .find(|key| self.returned.contains_key(key))
                .map(Location::Returned),
            ReturnPlace::Front => {
                self.returned.iter().find(|(_, entry)| entry.seq() == seq).map(|(key, _)| Location::Returned(*key))
            }
        }
    }

    /// Checks that what is counted is there and in order. The bytes of memory that all of it takes.
    ///
    /// # Panics
    /// If it is not.
    pub(super) fn check_invariants(&self) -> usize {
        let (mut count, mut bytes, mut memory_bytes) = (0, 0, 0);
        let mut add = |entry: &E| {
            count += 1;
            bytes += u64::from(entry.size());
            memory_bytes += entry.memory_bytes();
        };
        for (level, list) in self.levels.iter().enumerate() {
            let is_occupied = self.occupied[level / 64] & 1 << (level % 64) != 0;
            assert_eq!(is_occupied, !list.is_empty(), "level {level} is marked");
            // Once over all of them, slice by slice: backlogs are long, and the simulator looks often.
            let mut last = QueueSeq(0);
            let (older, newer) = list.as_slices();
            for slice in [older, newer] {
                for entry in slice {
                    assert!(entry.seq() >= last, "ready messages are in order");
                    last = entry.seq();
                    add(entry);
                }
            }
        }
        for entry in self.returned.values() {
            assert!(entry.is_redelivered(), "a returned message was delivered");
            add(entry);
        }
        assert_eq!(count, self.len, "ready messages are counted");
        assert_eq!(bytes, self.bytes, "their bytes are counted");
        memory_bytes
    }
}

enum Location {
    Level(usize, usize),
    Returned(ReturnKey),
}

fn priority(level: usize) -> u8 {
    u8::try_from(level).expect("there are at most 256 priorities")
}

/// The order of messages that keep their place.
fn own_key(priority: u8, seq: QueueSeq) -> ReturnKey {
    (u8::MAX - priority, seq.0)
}

/// Where in a list a message is. Without gaps (recovery and priorities leave some) that is a subtraction.
fn position<E: Waiting>(list: &VecDeque<E>, seq: QueueSeq) -> Option<usize> {
    let first = list.front()?.seq();
    let guess = usize::try_from(seq.0.checked_sub(first.0)?).ok()?;
    if list.get(guess).is_some_and(|entry| entry.seq() == seq) {
        return Some(guess);
    }
    list.binary_search_by_key(&seq, E::seq).ok()
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::ids::Lsn;
    use crate::storage::{Place, RefFlags};

    fn entry(seq: u64, priority: u8) -> Entry {
        let place = Place { lsn: Lsn(seq), len: 1, shares: 1 };
        Entry::new(QueueSeq(seq), priority, 10, None, Some(place), RefFlags::REDELIVERED)
    }

    fn order(ready: &mut Ready) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some(head) = ready.head() {
            ready.check_invariants();
            order.push(ready.pop(head).unwrap().seq().0);
        }
        assert_eq!((ready.len(), ready.bytes()), (0, 0));
        order
    }

    #[test]
    fn the_highest_priority_is_first_and_a_returned_message_in_its_place() {
        let mut ready = Ready::new(255, ReturnPlace::Own);
        for (seq, priority) in [(1, 0), (2, 255), (4, 64), (5, 64), (6, 255), (7, 63)] {
            ready.push(entry(seq, priority));
        }
        ready.give_back(entry(3, 64));
        ready.give_back(entry(8, 255));
        assert!(
            ready.find(QueueSeq(3)).is_some() && ready.find(QueueSeq(5)).is_some() && ready.find(QueueSeq(9)).is_none()
        );
        let heads: Vec<_> = ready.heads().map(|head| ready.get(head).unwrap().seq().0).collect();
        assert_eq!(heads, [2, 3, 7, 1]);
        assert_eq!(order(&mut ready), [2, 6, 8, 3, 4, 5, 7, 1]);
    }

    #[test]
    fn quorum_queues_give_what_came_back_before_all_else() {
        let mut ready = Ready::new(31, ReturnPlace::Front);
        for (seq, priority) in [(1, 4), (4, 31)] {
            ready.push(entry(seq, priority));
        }
        ready.give_back(entry(3, 0));
        ready.give_back(entry(2, 31));
        let heads: Vec<_> = ready.heads().map(|head| ready.get(head).unwrap().seq().0).collect();
        assert_eq!(heads, [3, 4, 1]);
        assert_eq!(order(&mut ready), [3, 2, 4, 1]);
    }

    #[test]
    fn what_comes_back_is_found_where_nothing_else_ever_had_its_priority() {
        let mut ready = Ready::new(9, ReturnPlace::Own);
        assert_eq!(ready.priority_max(), 9);
        ready.give_back(entry(1, 9));
        ready.push(entry(2, 3));
        assert_eq!(ready.find(QueueSeq(1)).map(Entry::priority), Some(9));
        let heads: Vec<_> = ready.heads().map(|head| ready.get(head).unwrap().seq().0).collect();
        assert_eq!(heads, [1, 2]);
        ready.push(entry(3, 200));
        assert_eq!(order(&mut ready), [1, 3, 2]);
    }

    #[test]
    fn any_message_can_be_taken_out() {
        let mut ready = Ready::new(0, ReturnPlace::Own);
        (1..=5).for_each(|seq| ready.push(entry(seq, 0)));
        ready.give_back(entry(0, 0));
        assert_eq!(ready.remove(QueueSeq(3)).map(|entry| entry.seq().0), Some(3));
        assert_eq!(ready.remove(QueueSeq(0)).map(|entry| entry.seq().0), Some(0));
        assert!(ready.remove(QueueSeq(3)).is_none());
        assert_eq!(order(&mut ready), [1, 2, 4, 5]);
    }
}
