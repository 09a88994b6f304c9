//! A group's log as `raft` reads it: all terms, and a bounded window of the entries themselves.
//!
//! What is here is not yet durable by that: `raft` is told separately how far it is. Entries that were applied leave the window when
//! it is full; whoever needs them for a member that lags behind is told to wait until they were fetched from the node's log.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::RefCell;
use raft::eraftpb::{self, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

use super::entry::{Base, Entry, EntryId};
use super::groups::Settings;
use super::members::Members;
use crate::ids::NodeId;

/// The log of one group.
#[derive(Debug)]
pub(super) struct Store {
    base: Base,
    /// The first entry of each term, ascending; empty if there is none after the start.
    terms: Vec<EntryId>,
    last: u64,
    /// The youngest entries.
    window: VecDeque<eraftpb::Entry>,
    window_bytes: usize,
    /// What `raft` starts from; not kept up to date after that.
    initial: (HardState, Members),
    /// Asked for while `raft` reads, so behind a cell.
    asked: RefCell<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    /// Entries that left the window, and what `raft` wants them for.
    fetch: Option<(u64, u64, GetEntriesContext)>,
    /// Whether the embedder knows of that.
    is_fetch_told: bool,
    /// Entries that were fetched, until they were read once.
    fetched: Vec<eraftpb::Entry>,
    /// Members that need a snapshot.
    snapshots: Vec<NodeId>,
    /// Snapshots that were made for them.
    offers: Vec<(NodeId, Snapshot)>,
}

impl Store {
    /// A log that holds these entries after its start, in ascending order without a gap. All of them are kept in the window until
    /// they were applied.
    pub(super) fn new(base: Base, hard_state: HardState, entries: &[Entry]) -> Self {
        let last = base.start.index;
        let initial = (hard_state, base.members.clone());
        let mut store = Self {
            base,
            terms: Vec::new(),
            last,
            window: VecDeque::new(),
            window_bytes: 0,
            initial,
            asked: RefCell::default(),
        };
        let entries: Vec<_> = entries.iter().map(Entry::to_raft).collect();
        store.append(&entries);
        store
    }

    /// Where the log begins.
    pub(super) fn base(&self) -> &Base {
        &self.base
    }

    /// The index of the last entry.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The term of the entry at `index`, if the log still knows.
    pub(super) fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.base.start.index {
            return Some(self.base.start.term);
        }
        if index < self.base.start.index || index > self.last {
            return None;
        }
        let run = self.terms.partition_point(|first| first.index <= index);
        run.checked_sub(1).map(|run| self.terms[run].term)
    }

    /// Appends; what was at the place of the first and after it is void.
    pub(super) fn append(&mut self, entries: &[eraftpb::Entry]) {
        let Some(first) = entries.first() else { return };
        self.truncate(first.index);
        for entry in entries {
            assert_eq!(entry.index, self.last + 1, "a log has no gaps");
            if self.terms.last().is_none_or(|run| run.term != entry.term) {
                self.terms.push(EntryId { term: entry.term, index: entry.index });
            }
            self.last = entry.index;
            self.window_bytes += size(entry);
            self.window.push_back(entry.clone());
        }
    }

    fn truncate(&mut self, from: u64) {
        assert!(from > self.base.start.index, "what was compacted is committed");
        while let Some(last) = pop_back_if(&mut self.window, |last| last.index >= from) {
            self.window_bytes -= size(&last);
        }
        self.terms.truncate(self.terms.partition_point(|first| first.index < from));
        self.last = self.last.min(from - 1);
        let asked = self.asked.get_mut();
        asked.fetched.clear();
    }

    /// Everything is replaced by a snapshot.
    pub(super) fn install(&mut self, snapshot: EntryId, members: Members) {
        self.base = Base { snapshot, members, start: snapshot };
        self.terms.clear();
        self.last = snapshot.index;
        self.window.clear();
        self.window_bytes = 0;
        *self.asked.get_mut() = Asked::default();
    }

    /// The snapshot stands for what came before it; entries up to `start` are given up.
    pub(super) fn compact(&mut self, snapshot: EntryId, members: Members, start: u64) {
        let term = self.term_at(start).expect("the log is given up only where it is");
        let run = self.terms.partition_point(|first| first.index <= start + 1);
        if let Some(kept) = run.checked_sub(1) {
            self.terms.drain(..kept);
            self.terms[0].index = start + 1;
        }
        if start == self.last {
            self.terms.clear();
        }
        while let Some(first) = pop_front_if(&mut self.window, |first| first.index <= start) {
            self.window_bytes -= size(&first);
        }
        self.base = Base { snapshot, members, start: EntryId { term, index: start } };
    }

    /// Lets entries go that nobody here needs any more, beyond what others may ask for soon.
    pub(super) fn shrink_window(&mut self, done: u64, settings: &Settings) {
        while (self.window.len() > settings.window_entries || self.window_bytes > settings.window_bytes)
            && let Some(first) = pop_front_if(&mut self.window, |first| first.index <= done)
        {
            self.window_bytes -= size(&first);
        }
    }

    /// Gives back memory that a busy time has left. Entries that are applied go as well: they are in the node's log.
    pub(super) fn rest(&mut self, done: u64) {
        while let Some(first) = pop_front_if(&mut self.window, |first| first.index <= done) {
            self.window_bytes -= size(&first);
        }
        self.window.shrink_to_fit();
        self.terms.shrink_to_fit();
        *self.asked.get_mut() = Asked::default();
    }

    /// Entries that are to be fetched and that nobody was told of: the first and the last.
    pub(super) fn take_fetch(&mut self) -> Option<(u64, u64)> {
        let asked = self.asked.get_mut();
        let (first, last, _) = asked.fetch.as_ref().filter(|_| !asked.is_fetch_told)?;
        asked.is_fetch_told = true;
        Some((*first, *last))
    }

    /// Takes entries that were asked for. Returns what `raft` wants to be told, if they are what it waits for. Otherwise the next
    /// heartbeat makes it ask again.
    pub(super) fn take_fetched(&mut self, entries: &[Entry]) -> Option<GetEntriesContext> {
        let (_, _, context) = self.asked.get_mut().fetch.take()?;
        let first = entries.first()?.id.index;
        let is_known = |entry: &Entry| self.term_at(entry.id.index) == Some(entry.id.term);
        let is_sound = entries.iter().zip(first..).all(|(entry, index)| entry.id.index == index && is_known(entry));
        if !is_sound {
            return None;
        }
        self.asked.get_mut().fetched = entries.iter().map(Entry::to_raft).collect();
        Some(context)
    }

    /// Members that need a snapshot and that nobody was told of.
    pub(super) fn take_wanted_snapshots(&mut self) -> Vec<NodeId> {
        core::mem::take(&mut self.asked.get_mut().snapshots)
    }

    /// A snapshot for a member, for `raft` to take when it asks next.
    pub(super) fn offer(&mut self, to: NodeId, snapshot: Snapshot) {
        let offers = &mut self.asked.get_mut().offers;
        offers.retain(|offer| offer.0 != to);
        offers.push((to, snapshot));
    }

    /// An entry, if it is in memory.
    pub(super) fn entry(&self, index: u64) -> Option<&eraftpb::Entry> {
        let first = self.window.front()?.index;
        self.window.get(usize::try_from(index.checked_sub(first)?).ok()?)
    }

    /// The entries from `low` up to before `high` that are in memory; fewer or none if the first is not.
    fn in_memory(asked: &Asked, window: &VecDeque<eraftpb::Entry>, low: u64, high: u64) -> Vec<eraftpb::Entry> {
        let window_first = window.front().map_or(u64::MAX, |first| first.index);
        if low >= window_first {
            let from = usize::try_from(low - window_first).unwrap_or(usize::MAX);
            let count = usize::try_from(high - low).unwrap_or(usize::MAX);
            return window.iter().skip(from).take(count).cloned().collect();
        }
        asked.fetched.iter().filter(|entry| (low..high).contains(&entry.index)).cloned().collect()
    }
}

/// Takes the first, if it is of this kind.
pub(super) fn pop_front_if<T>(queue: &mut VecDeque<T>, is: impl FnOnce(&T) -> bool) -> Option<T> {
    queue.front().is_some_and(is).then(|| queue.pop_front())?
}

fn pop_back_if<T>(queue: &mut VecDeque<T>, is: impl FnOnce(&T) -> bool) -> Option<T> {
    queue.back().is_some_and(is).then(|| queue.pop_back())?
}

fn size(entry: &eraftpb::Entry) -> usize {
    entry.data.len() + entry.context.len()
}

impl Storage for Store {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.initial.0.clone(), self.initial.1.to_raft()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<eraftpb::Entry>> {
        if low <= self.base.start.index {
            return Err(Error::Store(StorageError::Compacted));
        }
        let mut asked = self.asked.borrow_mut();
        let mut entries = Self::in_memory(&asked, &self.window, low, high);
        if entries.first().is_some_and(|first| first.index == low) {
            asked.fetched.clear();
            raft::util::limit_size(&mut entries, max_size.into());
            return Ok(entries);
        }
        assert!(context.can_async(), "entries stay in memory until they are applied");
        if asked.fetch.is_none() {
            asked.is_fetch_told = false;
            asked.fetch = Some((low, high - 1, context));
        }
        Err(Error::Store(StorageError::LogTemporarilyUnavailable))
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let missing = if index < self.base.start.index { StorageError::Compacted } else { StorageError::Unavailable };
        self.term_at(index).ok_or(Error::Store(missing))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.start.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last)
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let mut asked = self.asked.borrow_mut();
        let to = NodeId(to);
        // One that was made for an earlier need may end before the log begins, and would not help.
        let least = request_index.max(self.base.start.index);
        if let Some(at) = asked.offers.iter().position(|offer| offer.0 == to) {
            let (_, snapshot) = asked.offers.swap_remove(at);
            if snapshot.get_metadata().index >= least {
                return Ok(snapshot);
            }
        }
        if !asked.snapshots.contains(&to) {
            asked.snapshots.push(to);
        }
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}
