//! The engine's only hash maps: point look-ups with a fixed hasher, and no way to iterate.
//!
//! What is never walked cannot let hash order reach an effect. Whoever needs an order keeps a `BTreeMap` or a `Vec`, or collects
//! and sorts.

use alloc::collections::BTreeSet;
use core::borrow::Borrow;
use core::fmt;
use core::hash::Hash;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

/// A map keyed by bytes that clients choose. Its hasher is seeded, so that nobody can choose names that collide.
#[derive(Clone)]
pub struct NameMap<K, V>(HashMap<K, V, FixedState>);

impl<K: Borrow<[u8]> + Eq + Hash, V> NameMap<K, V> {
    /// An empty map. It allocates with the first entry.
    pub fn new(seed: u64) -> Self {
        Self(HashMap::with_hasher(FixedState::with_seed(seed)))
    }

    /// The value under this name.
    pub fn get(&self, name: &[u8]) -> Option<&V> {
        self.0.get(name)
    }

    /// The value under this name, to change it.
    pub fn get_mut(&mut self, name: &[u8]) -> Option<&mut V> {
        self.0.get_mut(name)
    }

    /// Puts a value and returns the one it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.0.insert(key, value)
    }

    /// Takes a value out.
    pub fn remove(&mut self, name: &[u8]) -> Option<V> {
        self.0.remove(name)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K, V> fmt::Debug for NameMap<K, V> {
    /// Only the size: the entries have no order.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameMap({} entries)", self.0.len())
    }
}

/// A map keyed by numbers that the engine gives out itself.
#[derive(Clone)]
pub struct IdMap<K, V>(HashMap<K, V, FxBuildHasher>);

impl<K: Eq + Hash, V> IdMap<K, V> {
    /// An empty map. It allocates with the first entry.
    pub fn new() -> Self {
        Self(HashMap::with_hasher(FxBuildHasher))
    }

    /// The value under this key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)
    }

    /// The value under this key, to change it.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key)
    }

    /// The value under this key, put there if it is not yet.
    pub fn get_or_insert_with(&mut self, key: K, value: impl FnOnce() -> V) -> &mut V {
        self.0.entry(key).or_insert_with(value)
    }

    /// Whether the key has a value.
    pub fn contains_key(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    /// Puts a value and returns the one it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.0.insert(key, value)
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.0.remove(key)
    }

    /// Forgets all entries and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Eq + Hash, V> Default for IdMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> fmt::Debug for IdMap<K, V> {
    /// Only the size: the entries have no order.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdMap({} entries)", self.0.len())
    }
}

/// A map that is looked up by hash and walked in the order of its keys.
#[derive(Clone)]
pub struct Directory<K, V> {
    by_key: IdMap<K, V>,
    keys: BTreeSet<K>,
}

impl<K: Copy + Eq + Hash + Ord, V> Directory<K, V> {
    /// The value under this key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.by_key.get(key)
    }

    /// The value under this key, to change it.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.by_key.get_mut(key)
    }

    /// Whether the key has a value.
    pub fn contains_key(&self, key: &K) -> bool {
        self.by_key.contains_key(key)
    }

    /// Puts a value and returns the one it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.keys.insert(key);
        self.by_key.insert(key, value)
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.keys.remove(key);
        self.by_key.remove(key)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// All keys in order.
    pub fn keys(&self) -> impl Iterator<Item = K> {
        self.keys.iter().copied()
    }

    /// The keys from the first to the last of these, both included, in order.
    pub fn keys_within(&self, first: K, last: K) -> impl Iterator<Item = K> {
        self.keys.range(first..=last).copied()
    }

    /// All entries in order of their keys.
    ///
    /// # Panics
    /// Never: each key has its value.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.keys.iter().map(|key| (*key, self.by_key.get(key).expect("each key has its value")))
    }
}

impl<K: Eq + Hash, V> Default for Directory<K, V> {
    fn default() -> Self {
        Self { by_key: IdMap::new(), keys: BTreeSet::new() }
    }
}

impl<K: Copy + Eq + Hash + Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for Directory<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
