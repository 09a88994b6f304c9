//! Who belongs to a group, and how that changes: one member at a time, first as a learner (Raft thesis §4.1, §4.2.1).

use alloc::vec::Vec;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};

use crate::ids::NodeId;
use crate::limits;
use crate::storage::codec::{Reader, put_varint};

/// The members of a group, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    voters: Vec<NodeId>,
    learners: Vec<NodeId>,
}

/// One step from one set of members to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// A node gets the log and has no vote yet.
    AddLearner(NodeId),
    /// A learner that has caught up gets a vote.
    Promote(NodeId),
    /// A node leaves.
    Remove(NodeId),
}

impl Members {
    /// These voters and learners. `None` if there is no voter, a node is named twice or is 0, or there are too many.
    #[must_use]
    pub fn new(mut voters: Vec<NodeId>, mut learners: Vec<NodeId>) -> Option<Self> {
        voters.sort_unstable();
        learners.sort_unstable();
        let is_ascending = |nodes: &[NodeId]| nodes.is_sorted_by(|a, b| a < b);
        let is_sound = !voters.is_empty()
            && voters.len() + learners.len() <= limits::GROUP_MEMBERS_MAX
            && is_ascending(&voters)
            && is_ascending(&learners)
            && voters.iter().chain(&learners).all(|node| node.0 != 0)
            && learners.iter().all(|node| voters.binary_search(node).is_err());
        is_sound.then_some(Self { voters, learners })
    }

    /// Those who vote and count for a majority.
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// Those who only get the log.
    pub fn learners(&self) -> &[NodeId] {
        &self.learners
    }

    /// All of them; voters first.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.iter().chain(&self.learners).copied()
    }

    /// Whether the node is one of them.
    pub fn contains(&self, node: NodeId) -> bool {
        self.iter().any(|member| member == node)
    }

    /// The same and this node as a learner, if it is none of them.
    pub(super) fn with_learner(&self, node: NodeId) -> Self {
        if self.contains(node) { self.clone() } else { self.after(MemberChange::AddLearner(node)) }
    }

    /// What a change makes of them; nothing where it makes no sense.
    pub(super) fn after(&self, change: MemberChange) -> Self {
        let others = |nodes: &[NodeId]| nodes.iter().copied().filter(|node| *node != change.node()).collect::<Vec<_>>();
        let (mut voters, mut learners) = (others(&self.voters), others(&self.learners));
        match change {
            MemberChange::AddLearner(node) => learners.push(node),
            MemberChange::Promote(node) => voters.push(node),
            MemberChange::Remove(_) => {}
        }
        Self::new(voters, learners).unwrap_or_else(|| self.clone())
    }

    pub(super) fn to_raft(&self) -> ConfState {
        let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
        ConfState::from((ids(&self.voters), ids(&self.learners)))
    }

    /// Back from `raft`, which keeps them in no order.
    pub(super) fn from_raft(state: &ConfState) -> Self {
        let ids = |nodes: &[u64]| {
            let mut nodes: Vec<_> = nodes.iter().copied().map(NodeId).collect();
            nodes.sort_unstable();
            nodes
        };
        Self { voters: ids(&state.voters), learners: ids(&state.learners) }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for nodes in [&self.voters, &self.learners] {
            put_varint(out, nodes.len() as u64);
            for node in nodes {
                put_varint(out, node.0);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let mut nodes = || {
            let count = usize::try_from(reader.varint()?).ok().filter(|count| *count <= limits::GROUP_MEMBERS_MAX)?;
            (0..count).map(|_| reader.varint().map(NodeId)).collect::<Option<Vec<_>>>()
        };
        let (voters, learners) = (nodes()?, nodes()?);
        Self::new(voters, learners)
    }
}

const ADD_LEARNER: u8 = 1;
const PROMOTE: u8 = 2;
const REMOVE: u8 = 3;

impl MemberChange {
    /// Whom it concerns.
    pub fn node(self) -> NodeId {
        match self {
            Self::AddLearner(node) | Self::Promote(node) | Self::Remove(node) => node,
        }
    }

    pub(super) fn to_raft(self) -> ConfChangeV2 {
        let kind = match self {
            Self::AddLearner(_) => ConfChangeType::AddLearnerNode,
            Self::Promote(_) => ConfChangeType::AddNode,
            Self::Remove(_) => ConfChangeType::RemoveNode,
        };
        let mut single = ConfChangeSingle { node_id: self.node().0, ..Default::default() };
        single.set_change_type(kind);
        let mut change = ConfChangeV2::default();
        change.mut_changes().push(single);
        change
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::AddLearner(_) => ADD_LEARNER,
            Self::Promote(_) => PROMOTE,
            Self::Remove(_) => REMOVE,
        });
        put_varint(out, self.node().0);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let kind = reader.u8()?;
        let node = NodeId(reader.varint().filter(|node| *node != 0)?);
        match kind {
            ADD_LEARNER => Some(Self::AddLearner(node)),
            PROMOTE => Some(Self::Promote(node)),
            REMOVE => Some(Self::Remove(node)),
            _ => None,
        }
    }
}
