//! A sorted map whose entries are mostly put in at the end and taken out at the beginning: what waits for an answer, and in what order.

use std::collections::VecDeque;

/// Entries in the order of their keys, next to each other in memory.
///
/// At the ends it costs a look, elsewhere a search and a move of the entries on the shorter side.
#[derive(Clone, Debug)]
pub(crate) struct Sorted<K, V = ()> {
    entries: VecDeque<(K, V)>,
}

impl<K: Copy + Ord, V> Sorted<K, V> {
    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts in an entry; one of the same key is replaced.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.entries.back().is_none_or(|(last, _)| *last < key) {
            self.entries.push_back((key, value));
            return;
        }
        match self.position(key) {
            Ok(at) => self.entries[at].1 = value,
            Err(at) => self.entries.insert(at, (key, value)),
        }
    }

    /// Takes out an entry.
    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let at = self.position(key).ok()?;
        self.entries.remove(at).map(|(_, value)| value)
    }

    /// The first key.
    pub(crate) fn first(&self) -> Option<K> {
        self.entries.front().map(|(key, _)| *key)
    }

    /// Takes out the first entry.
    pub(crate) fn pop_first(&mut self) -> Option<(K, V)> {
        self.entries.pop_front()
    }

    /// Keeps what `is_kept` says.
    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(K) -> bool) {
        self.entries.retain(|(key, _)| is_kept(*key));
    }

    /// Takes out all.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// All keys, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = K> {
        self.entries.iter().map(|(key, _)| *key)
    }

    /// All values, in the order of their keys.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// All values, in the order of their keys.
    pub(crate) fn into_values(self) -> impl Iterator<Item = V> {
        self.entries.into_iter().map(|(_, value)| value)
    }

    fn position(&self, key: K) -> Result<usize, usize> {
        match self.entries.front() {
            Some((first, _)) if *first < key => self.entries.binary_search_by_key(&key, |(key, _)| *key),
            Some((first, _)) if *first == key => Ok(0),
            Some(_) | None => Err(0),
        }
    }
}

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Self { entries: VecDeque::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rng::Stream;

    #[test]
    fn it_does_what_a_tree_does() {
        let (mut tree, mut sorted) = (BTreeMap::new(), Sorted::default());
        let mut stream = Stream::new(1, "sorted", 0);
        for step in 0..5_000_u64 {
            let key = stream.range(step / 2, step / 2 + 40);
            match stream.range(0, 6) {
                0..=2 => {
                    tree.insert(key, step);
                    sorted.insert(key, step);
                }
                3 | 4 => assert_eq!(sorted.remove(key), tree.remove(&key)),
                5 => assert_eq!(sorted.pop_first(), tree.pop_first()),
                _ => {
                    tree.retain(|key, _| key % 7 != step % 7);
                    sorted.retain(|key| key % 7 != step % 7);
                }
            }
            assert_eq!((sorted.len(), sorted.first()), (tree.len(), tree.keys().next().copied()));
            assert!(sorted.keys().eq(tree.keys().copied()) && sorted.values().eq(tree.values()));
        }
        assert!(!sorted.is_empty());
        assert!(sorted.clone().into_values().eq(tree.into_values()));
        sorted.clear();
        assert!(sorted.is_empty());
    }
}
