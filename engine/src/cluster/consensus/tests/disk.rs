//! What a node has written: an ordered journal of which a crash keeps any prefix that is at least what was synced.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::{Base, Content, Entry, EntryId, HardState, Record, Recovered, Ticket, Write};
use super::truth::Machine;
use crate::ids::{GroupId, NodeId};
use crate::time::Instant;

/// What a journal says of one group.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) hard_state: HardState,
    pub(super) base: Base,
    /// By index, without a gap after the base's start.
    pub(super) entries: BTreeMap<u64, Entry>,
    pub(super) commit: u64,
    /// Snapshots of the state machine, by index.
    pub(super) machines: BTreeMap<u64, Machine>,
}

/// One thing in the journal.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Record(Write),
    /// The state machine is safe as of this index.
    Machine(GroupId, Machine),
    /// The member left: all goes but its votes, which hold as long as the group lives.
    Left(GroupId),
}

#[derive(Debug, Default)]
pub(super) struct Disk {
    /// What survives.
    pub(super) durable: BTreeMap<GroupId, Image>,
    /// What is there as long as the power is on.
    pub(super) written: BTreeMap<GroupId, Image>,
    /// Written and not synced.
    unsynced: VecDeque<Item>,
    /// Syncs under way: when each ends, how many items it makes durable, and the ticket that is done then.
    syncs: VecDeque<(Instant, usize, Ticket)>,
    /// Items that no sync covers yet.
    uncovered: usize,
    /// Groups that this node has been in and left.
    pub(super) left: BTreeSet<GroupId>,
}

impl Image {
    fn perform(&mut self, record: &Record) {
        match record {
            Record::Entry { entry, commit } => {
                assert!(entry.id.index > self.base.start.index, "an entry before the log's beginning");
                self.entries.split_off(&entry.id.index);
                let last = self.last();
                assert_eq!(entry.id.index, last.index + 1, "a gap in the log");
                assert!(entry.id.term >= last.term, "terms go down");
                self.entries.insert(entry.id.index, entry.clone());
                self.commit = self.commit.max(*commit);
            }
            Record::HardState(state) => {
                assert!(state.term >= self.hard_state.term, "a term goes back");
                if state.term == self.hard_state.term && self.hard_state.vote.is_some() {
                    assert_eq!(state.vote, self.hard_state.vote, "a vote is changed");
                }
                self.commit = self.commit.max(state.commit);
                self.hard_state = *state;
            }
            Record::Compacted(base) => {
                self.entries = self.entries.split_off(&(base.start.index + 1));
                self.base = base.clone();
            }
            Record::Installed(base) => {
                self.entries.clear();
                self.base = base.clone();
            }
        }
    }

    pub(super) fn last(&self) -> EntryId {
        self.entries.last_key_value().map_or(self.base.start, |(_, entry)| entry.id)
    }

    /// Whether this entry, or a snapshot that includes it, is here.
    pub(super) fn has(&self, id: EntryId) -> bool {
        self.base.snapshot.index >= id.index || self.entries.get(&id.index).is_some_and(|entry| entry.id == id)
    }

    /// Changes of members that are not known to be committed.
    pub(super) fn open_changes(&self, commit: u64) -> usize {
        let open = self.entries.range(commit + 1..);
        open.filter(|(_, entry)| matches!(entry.content, Content::Members(_))).count()
    }

    pub(super) fn recovered(&self) -> Recovered {
        Recovered {
            hard_state: HardState { commit: self.commit, ..self.hard_state },
            base: self.base.clone(),
            entries: self.entries.values().cloned().collect(),
        }
    }
}

fn perform(images: &mut BTreeMap<GroupId, Image>, item: &Item) {
    match item {
        Item::Record(write) => images.entry(write.group).or_default().perform(&write.record),
        Item::Machine(group, machine) => {
            images.entry(*group).or_default().machines.insert(machine.index, *machine);
        }
        Item::Left(group) => {
            let image = images.entry(*group).or_default();
            *image = Image { hard_state: image.hard_state, ..Image::default() };
        }
    }
}

impl Disk {
    pub(super) fn write(&mut self, item: Item) {
        perform(&mut self.written, &item);
        self.unsynced.push_back(item);
        self.uncovered += 1;
    }

    /// Makes a machine safe at once, by a sync that is not modelled.
    pub(super) fn write_through(&mut self, group: GroupId, machine: Machine) {
        perform(&mut self.durable, &Item::Machine(group, machine));
    }

    /// Begins to sync all that was written; complete at `at`.
    pub(super) fn sync(&mut self, ticket: Ticket, at: Instant) {
        self.syncs.push_back((at, core::mem::take(&mut self.uncovered), ticket));
    }

    pub(super) fn next_done(&self) -> Option<Instant> {
        self.syncs.front().map(|sync| sync.0)
    }

    /// Completes the next sync.
    pub(super) fn complete(&mut self) -> Option<Ticket> {
        let (_, count, ticket) = self.syncs.pop_front()?;
        self.harden(count);
        Some(ticket)
    }

    fn harden(&mut self, count: usize) {
        for item in self.unsynced.drain(..count) {
            perform(&mut self.durable, &item);
        }
    }

    /// The power fails: `keep` says how many items that were not synced are there all the same.
    pub(super) fn crash(&mut self, keep: impl FnOnce(usize) -> usize) {
        self.harden(keep(self.unsynced.len()));
        self.unsynced.clear();
        self.syncs.clear();
        self.uncovered = 0;
        self.written = self.durable.clone();
    }
}

/// Whether a vote for `node` in `term` is remembered, or a later term is.
pub(super) fn remembers(state: HardState, term: u64, node: NodeId) -> bool {
    state.term > term || (state.term == term && state.vote == Some(node))
}
