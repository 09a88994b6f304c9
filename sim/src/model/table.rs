//! A map of a few entries by number: connections, channels. They are looked up with every word that is said.

/// Entries in the order of their numbers, next to each other in memory.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    entries: Vec<(K, V)>,
}

impl<K: Copy + Ord, V> Table<K, V> {
    /// The entry of this number.
    pub(crate) fn get(&self, key: K) -> Option<&V> {
        let at = self.position(key).ok()?;
        Some(&self.entries[at].1)
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let at = self.position(key).ok()?;
        Some(&mut self.entries[at].1)
    }

    /// Whether there is one.
    pub(crate) fn contains(&self, key: K) -> bool {
        self.position(key).is_ok()
    }

    /// Puts in an entry; one of the same number is replaced.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        match self.position(key) {
            Ok(at) => self.entries[at].1 = value,
            Err(at) => self.entries.insert(at, (key, value)),
        }
    }

    /// Takes out an entry.
    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let at = self.position(key).ok()?;
        Some(self.entries.remove(at).1)
    }

    /// All entries, in order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// All entries with their numbers, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.entries.iter().map(|(key, value)| (*key, value))
    }

    /// All numbers, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = K> {
        self.entries.iter().map(|(key, _)| *key)
    }

    fn position(&self, key: K) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&key, |(key, _)| *key)
    }
}

impl<K, V> IntoIterator for Table<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_in_order_whatever_order_they_come_in() {
        let mut table = Table::default();
        for key in [5, 1, 9, 3, 5] {
            table.insert(key, key * 10);
        }
        *table.get_mut(9).unwrap() += 1;
        assert_eq!(table.remove(1), Some(10));
        assert_eq!(table.remove(1), None);
        assert_eq!((table.get(1), table.get(3), table.contains(3)), (None, Some(&30), true));
        assert_eq!(table.keys().collect::<Vec<u32>>(), [3, 5, 9]);
        assert_eq!(table.values().copied().collect::<Vec<_>>(), [30, 50, 91]);
        assert_eq!(table.into_iter().next(), Some((3, 30)));
    }
}
