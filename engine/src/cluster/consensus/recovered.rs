//! What a restart brings of a group, and whether a member can have written it.

use alloc::vec::Vec;

use super::entry::{Base, Content, Entry, HardState};
use super::members::Members;

/// What is known of a group after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Its last vote, and the largest index that any record said to be committed; beyond the last entry it means that one.
    pub hard_state: HardState,
    /// Where its log begins.
    pub base: Base,
    /// The entries after that, in ascending order without a gap.
    pub entries: Vec<Entry>,
}

/// A recovered state that no member can have written: the log was damaged, or belongs to something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsound;

impl Recovered {
    /// Up to which entry all is known to be committed, and the members as of then.
    #[must_use]
    pub fn decided(&self) -> (u64, Members) {
        let commit = self.hard_state.commit.max(self.base.snapshot.index);
        (commit, self.members_at(commit))
    }

    /// The members once all its entries are committed.
    #[must_use]
    pub fn last_members(&self) -> Members {
        self.members_at(u64::MAX)
    }

    fn members_at(&self, index: u64) -> Members {
        let decided = self.entries.iter().filter(|entry| entry.id.index <= index);
        let later = decided.filter(|entry| entry.id.index > self.base.snapshot.index);
        later.fold(self.base.members.clone(), |members, entry| match &entry.content {
            Content::Members(change) => members.after(*change),
            Content::Command(_) => members,
        })
    }

    /// Whether a member can have been in this state.
    pub(super) fn is_sound(&self) -> bool {
        let (start, snapshot) = (self.base.start, self.base.snapshot);
        let mut before = start;
        let are_in_order = self.entries.iter().all(|entry| {
            let follows = entry.id.index == before.index + 1 && entry.id.term >= before.term.max(1);
            before = entry.id;
            follows
        });
        let has_members = self.base.members.voters().is_empty() == (snapshot.index == 0);
        let term_of_snapshot = self.entries.iter().find(|entry| entry.id.index == snapshot.index);
        are_in_order
            && has_members
            && start.index <= snapshot.index
            && snapshot.index <= before.index
            && term_of_snapshot.map_or(start, |entry| entry.id) == snapshot
            && before.term <= self.hard_state.term
    }
}
