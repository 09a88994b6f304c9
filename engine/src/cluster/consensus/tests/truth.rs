//! What must be true of all nodes together: the oracle.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use raft::eraftpb::MessageType;

use super::super::wire::Frame;
use super::super::{Applied, Apply, Content, EntryId, MemberChange, Members};
use super::disk::{Image, remembers};
use crate::ids::{GroupId, NodeId};
use crate::storage::codec::mix;

/// A state machine of which every command leaves a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) index: u64,
    pub(super) hash: u64,
}

impl Machine {
    /// The state behind which groups begin.
    pub(super) const FIRST: Self = Self { index: 1, hash: 0 };

    pub(super) fn apply(&mut self, index: u64, content: &Content) {
        assert_eq!(index, self.index + 1, "a machine skips or repeats");
        self.index = index;
        let text = match content {
            Content::Command(bytes) => crc32fast::hash(bytes),
            Content::Members(change) => u32::from(matches!(change, MemberChange::Remove(_))) + change.node().0 as u32,
        };
        self.hash = mix(self.hash ^ mix(index ^ u64::from(text) << 20));
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        [self.index.to_le_bytes(), self.hash.to_le_bytes()].concat()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        Self { index: number(0), hash: number(8) }
    }
}

/// All that has ever been decided in one group.
#[derive(Debug)]
pub(super) struct Truth {
    /// Who led in each term.
    leaders: BTreeMap<u64, NodeId>,
    /// What was applied anywhere, and the state that it led to.
    pub(super) applied: BTreeMap<u64, (EntryId, Content, Machine)>,
    /// The members from each index on.
    members: Vec<(u64, Members)>,
}

impl Truth {
    pub(super) fn new(members: Members) -> Self {
        Self { leaders: BTreeMap::new(), applied: BTreeMap::new(), members: Vec::from([(1, members)]) }
    }

    /// The last index that was applied anywhere.
    pub(super) fn last(&self) -> u64 {
        self.applied.last_key_value().map_or(1, |(index, _)| *index)
    }

    /// From which index on the members are as they are.
    pub(super) fn changed_at(&self) -> u64 {
        self.members.last().unwrap().0
    }

    pub(super) fn first(&self) -> Members {
        self.members[0].1.clone()
    }

    pub(super) fn members(&self) -> &Members {
        &self.members.last().unwrap().1
    }

    /// Election safety (Raft §5.2), and leader completeness (§5.4): what was decided in earlier terms is in the leader's log.
    pub(super) fn check_leader(&mut self, node: NodeId, term: u64, log: &super::super::store::Store) {
        let known = *self.leaders.entry(term).or_insert(node);
        assert_eq!(known, node, "election safety: two leaders in term {term}");
        let earlier = self.applied.range(log.base().start.index..).filter(|(_, (id, ..))| id.term < term);
        for (index, (id, ..)) in earlier {
            assert_eq!(log.term_at(*index), Some(id.term), "leader completeness: term {term} lacks entry {id:?}");
        }
    }

    /// State machine safety (Raft §5.4.3), and that nothing is applied that a majority has not on its disks at that moment.
    pub(super) fn check_applied(
        &mut self,
        node: NodeId,
        applied: &Applied,
        machine: Machine,
        disks: &BTreeMap<NodeId, &Image>,
    ) {
        let id = applied.id;
        match (&applied.what, self.applied.get(&id.index)) {
            (Apply::Entry(content), Some((known, known_content, state))) => {
                assert_eq!((id, content), (*known, known_content), "state machine safety: entry {}", id.index);
                assert_eq!(machine, *state, "the machines differ at the same index");
            }
            (Apply::Snapshot, Some((known, _, state))) => {
                assert_eq!((id, machine), (*known, *state), "a snapshot of something that never was");
            }
            (Apply::Snapshot, None) => assert_eq!((id.index, machine), (1, Machine::FIRST), "a snapshot of nothing"),
            (Apply::Entry(content), None) => {
                assert_eq!(id.index, self.last() + 1, "decided out of order");
                // The leader may have counted before it applied the last change of members.
                let configs = self.members.iter().rev().filter(|(from, _)| *from < id.index).take(2);
                let is_safe = configs.clone().any(|(_, members)| {
                    let voters = members.voters();
                    let having = voters.iter().filter(|voter| disks.get(*voter).is_some_and(|disk| disk.has(id)));
                    2 * having.count() > voters.len()
                });
                assert!(is_safe, "{node} applied {id:?} before a majority of {:?} had it", configs.collect::<Vec<_>>());
                if let Content::Members(change) = content {
                    self.change_members(id.index, *change);
                }
                self.applied.insert(id.index, (id, content.clone(), machine));
            }
        }
    }

    fn change_members(&mut self, index: u64, change: MemberChange) {
        let (mut voters, mut learners) = (self.members().voters().to_vec(), self.members().learners().to_vec());
        let node = change.node();
        voters.retain(|voter| *voter != node);
        learners.retain(|learner| *learner != node);
        match change {
            MemberChange::AddLearner(node) => learners.push(node),
            MemberChange::Promote(node) => voters.push(node),
            MemberChange::Remove(_) => {}
        }
        self.members.push((index, Members::new(voters, learners).expect("changes make sense")));
    }
}

/// What a node says must be what its disk remembers: votes, acknowledged entries, the term it leads in.
pub(super) fn check_sent(from: NodeId, to: NodeId, bytes: &bytes::Bytes, disks: &BTreeMap<GroupId, Image>) {
    let frame = Frame::decode(bytes, from, to).expect("nodes understand each other");
    for letter in &frame.letters {
        let (group, message) = (letter.group, &letter.message);
        let empty = Image::default();
        let disk = disks.get(&group).unwrap_or(&empty);
        let term = message.term;
        match message.get_msg_type() {
            MessageType::MsgRequestVote => {
                assert!(remembers(disk.hard_state, term, from), "{from} campaigns in {term} of {group} unwritten");
            }
            MessageType::MsgRequestVoteResponse if !message.reject => {
                assert!(remembers(disk.hard_state, term, to), "{from} sends a vote in {term} of {group} unwritten");
            }
            MessageType::MsgAppendResponse if !message.reject && disk.hard_state.term == term => {
                let last = disk.last().index.max(disk.base.snapshot.index);
                assert!(message.index <= last, "{from} acknowledges {} of {group}, has {last}", message.index);
            }
            MessageType::MsgAppend => {
                assert!(disk.hard_state.term >= term, "{from} leads {group} in {term}, which it may forget");
            }
            _ => {}
        }
    }
}
