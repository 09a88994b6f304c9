//! Values by ascending number of which the living ones mostly lie close together: unacked deliveries, unconfirmed publishes.

use alloc::collections::{BTreeMap, VecDeque};

/// A gap of numbers larger than this is not filled with empty slots.
const GAP_MAX: u64 = 1024;
/// Slots below which sparseness does not matter.
const SPARSE_MIN: usize = 64;

/// A map from ascending `u64` numbers that costs an index, not a search, as long as old entries do not outstay their neighbours.
///
/// Those that do (one delivery that is never acked while a million later ones are) move to a tree, so that memory stays proportional
/// to what is held, whatever the order of removal. All numbers in the tree are smaller than all in the slots.
#[derive(Debug)]
pub(crate) struct Window<T> {
    /// The number of the first slot.
    first: u64,
    slots: VecDeque<Option<T>>,
    /// How many slots are taken.
    taken: usize,
    stragglers: BTreeMap<u64, T>,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { first: 0, slots: VecDeque::new(), taken: 0, stragglers: BTreeMap::new() }
    }
}

impl<T> Window<T> {
    /// How many values it holds.
    pub(crate) fn len(&self) -> usize {
        self.taken + self.stragglers.len()
    }

    /// Puts a value at a number that is not taken.
    ///
    /// # Panics
    /// If the number is taken.
    pub(crate) fn insert(&mut self, number: u64, value: T) {
        if self.slots.is_empty() && self.stragglers.last_key_value().is_none_or(|(last, _)| *last < number) {
            self.first = number;
        }
        if number < self.first {
            let old = self.stragglers.insert(number, value);
            assert!(old.is_none(), "number {number} is taken");
            return;
        }
        if number - self.first > self.slots.len() as u64 + GAP_MAX {
            self.evict_slots(self.slots.len());
            self.first = number;
        }
        let at = usize::try_from(number - self.first).expect("the window is bounded by its slots and a gap");
        self.taken += 1;
        if at == self.slots.len() {
            self.slots.push_back(Some(value));
            return;
        }
        if at > self.slots.len() {
            self.slots.resize_with(at + 1, || None);
        }
        let slot = &mut self.slots[at];
        assert!(slot.is_none(), "number {number} is taken");
        *slot = Some(value);
    }

    /// The value at a number.
    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        match number.checked_sub(self.first) {
            None => self.stragglers.get(&number),
            Some(at) => self.slots.get(usize::try_from(at).ok()?)?.as_ref(),
        }
    }

    /// The value at a number, to change it.
    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        match number.checked_sub(self.first) {
            None => self.stragglers.get_mut(&number),
            Some(at) => self.slots.get_mut(usize::try_from(at).ok()?)?.as_mut(),
        }
    }

    /// Takes out the value at a number.
    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        let Some(at) = number.checked_sub(self.first) else {
            return self.stragglers.remove(&number);
        };
        let value = self.slots.get_mut(usize::try_from(at).ok()?)?.take()?;
        self.taken -= 1;
        self.trim();
        Some(value)
    }

    /// Takes out the value with the smallest number, if that is at most `up_to`.
    pub(crate) fn pop_up_to(&mut self, up_to: u64) -> Option<(u64, T)> {
        self.trim();
        if let Some(entry) = self.stragglers.first_entry() {
            return (*entry.key() <= up_to).then(|| entry.remove_entry());
        }
        if self.slots.is_empty() || self.first > up_to {
            return None;
        }
        let value = self.slots.pop_front().flatten().expect("trimmed: the first slot is taken");
        let number = self.first;
        self.first += 1;
        self.taken -= 1;
        self.trim();
        Some((number, value))
    }

    /// All values in ascending order of number, to change them.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.stragglers.values_mut().chain(self.slots.iter_mut().flatten())
    }

    /// The value with the smallest number.
    pub(crate) fn first(&self) -> Option<(u64, &T)> {
        self.iter().next()
    }

    /// All values in ascending order of number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let slots = self.slots.iter().zip(self.first..).filter_map(|(slot, number)| Some((number, slot.as_ref()?)));
        self.stragglers.iter().map(|(number, value)| (*number, value)).chain(slots)
    }

    /// Drops empty slots in front, and, where few slots are taken, moves the older half to the tree.
    fn trim(&mut self) {
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
        if self.slots.len() > SPARSE_MIN && self.taken * 8 < self.slots.len() {
            self.evict_slots(self.slots.len() / 2);
            self.trim();
        }
        if self.slots.is_empty() && self.slots.capacity() > SPARSE_MIN * 16 {
            self.slots.shrink_to(SPARSE_MIN);
        }
    }

    /// Moves what the first `count` slots hold to the tree.
    fn evict_slots(&mut self, count: usize) {
        for slot in self.slots.drain(..count) {
            if let Some(value) = slot {
                self.stragglers.insert(self.first, value);
                self.taken -= 1;
            }
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn one_that_stays_does_not_hold_the_room_of_those_that_left() {
        let mut window = Window::default();
        window.insert(1, ());
        for number in 2..100_000 {
            window.insert(number, ());
            window.remove(number).unwrap();
        }
        assert_eq!(window.len(), 1);
        assert!(window.slots.capacity() < 4096, "{} slots", window.slots.capacity());
        assert_eq!(window.pop_up_to(u64::MAX), Some((1, ())));
        assert_eq!(window.len(), 0);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_tree(ops in prop::collection::vec((0_u8..5, 0_u64..3000), 1..400)) {
            let mut window = Window::default();
            let mut tree = BTreeMap::new();
            for (op, number) in ops {
                match op {
                    0 | 1 => {
                        tree.entry(number).or_insert_with(|| {
                            window.insert(number, number);
                            number
                        });
                    }
                    2 => prop_assert_eq!(window.remove(number), tree.remove(&number)),
                    3 => {
                        let expected = tree.first_key_value().filter(|(first, _)| **first <= number).map(|(k, v)| (*k, *v));
                        expected.map(|(k, _)| tree.remove(&k));
                        prop_assert_eq!(window.pop_up_to(number), expected);
                    }
                    _ => {
                        prop_assert_eq!(window.get(number), tree.get(&number));
                        prop_assert_eq!(window.get_mut(number), tree.get_mut(&number));
                    }
                }
                prop_assert_eq!(window.len(), tree.len());
                prop_assert_eq!(window.iter().map(|(k, v)| (k, *v)).collect::<Vec<_>>(), tree.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>());
            }
        }
    }
}
