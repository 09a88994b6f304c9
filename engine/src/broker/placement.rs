//! On which nodes a replicated queue is to have its replicas (RabbitMQ docs: Quorum Queues / Initial Replication Factor, Leader
//! Placement).
//!
//! Who declares the queue chooses, by what its node sees at that moment. The choice is in the command, so that all nodes make the same of
//! it.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::Broker;
use crate::amqp::{FieldTable, ShortStr};
use crate::cluster::version;
use crate::ids::NodeId;
use crate::metadata::{Command, LeaderLocator, QueueArguments};
use crate::queue::QueueKind;

/// A node that may get a replica.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) node: NodeId,
    /// Whether it can be reached, and takes replicas.
    pub(super) is_up: bool,
    /// How many replicas it has.
    pub(super) replicas: u64,
    /// Of how many queues it is the first member.
    pub(super) leads: u64,
}

impl Broker {
    /// The same command; a declaration of a queue that is to have replicas names its members from here on.
    pub(super) fn with_members(&self, mut command: Command) -> Command {
        if let Command::DeclareQueue { vhost, name, durable, exclusive, members, home, arguments, .. } = &mut command
            && members.is_empty()
        {
            *members = self.members_for(arguments);
            // What policies say is known when the command is carried out.
            if members.is_empty() && *durable && exclusive.is_none() && self.is_known_to_all(version::MIRRORS) {
                *members = self.mirrors_for(vhost, name, arguments);
                *home = self.metadata.own();
                return command;
            }
            if !members.is_empty() {
                *home = NodeId(0);
            }
        }
        command
    }

    /// The members of a queue that is to be declared here with these arguments, first who is to lead; none if it is to be on one node.
    ///
    /// Looks at all queues, so it is to be asked for queues only that are not there yet. What is wrong with arguments is for
    /// [`crate::metadata::Metadata::check`] to tell.
    pub(crate) fn members_for(&self, arguments: &FieldTable) -> Vec<NodeId> {
        let arguments = QueueArguments::read(arguments).filter(|arguments| arguments.kind == QueueKind::Quorum);
        let Some(arguments) = arguments else { return Vec::new() };
        let size = arguments.initial_group_size.unwrap_or(self.config.quorum_initial_group_size);
        choose(self.metadata.own(), self.candidates(), size, arguments.leader_locator)
    }

    /// The members of a durable queue that is to be declared here, should it be a classic one that a policy mirrors; none if it is to be on
    /// one node in any case. If no policy is known that mirrors it, or none of the nodes is there that it names, this one alone.
    fn mirrors_for(&self, vhost: &ShortStr, name: &ShortStr, arguments: &FieldTable) -> Vec<NodeId> {
        // What a queue remembers of messages that are gone is its node's alone.
        let arguments = QueueArguments::read(arguments).filter(|arguments| arguments.deduplication.is_none());
        let Some(arguments) = arguments.filter(|arguments| arguments.kind == QueueKind::Classic) else {
            return Vec::new();
        };
        let own = self.metadata.own();
        let alone = Vec::from([own]);
        let Some(mirroring) = self.metadata.mirroring_of(vhost, name) else { return alone };
        let mut candidates = self.candidates();
        candidates.retain(|candidate| mirroring.is_about(&self.node_name(candidate.node)));
        if candidates.is_empty() {
            return alone;
        }
        choose(own, candidates, mirroring.size(), arguments.leader_locator)
    }

    /// All nodes, as those that may get a replica; none if this one is in no cluster.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let own = self.metadata.own();
        let Some(peers) = self.peers.as_ref().filter(|_| own != NodeId(0)) else { return Vec::new() };
        let linked = peers.linked().map(|(node, ..)| node);
        let up: BTreeSet<NodeId> = linked.filter(|node| !self.is_node_drained(*node)).collect();
        let loads = self.metadata.replica_loads();
        let candidate = |node| {
            let (replicas, leads) = loads.get(&node).copied().unwrap_or_default();
            Candidate { node, is_up: node == own || up.contains(&node), replicas, leads }
        };
        peers.cluster().nodes().map(|(node, _)| candidate(node)).collect()
    }
}

/// As many of the candidates as wanted, at least one: this node, then those that can be reached, then those with few replicas.
fn choose(own: NodeId, mut candidates: Vec<Candidate>, size: u32, locator: LeaderLocator) -> Vec<NodeId> {
    candidates.sort_by_key(|candidate| {
        let Candidate { node, is_up, replicas, .. } = *candidate;
        (node != own, !is_up, replicas, node)
    });
    candidates.truncate(usize::try_from(size.max(1)).unwrap_or(usize::MAX));
    match locator {
        LeaderLocator::ClientLocal => {}
        LeaderLocator::Balanced => {
            // Of several the first, which is this node if it is one of them.
            let least = candidates.iter().enumerate().min_by_key(|(_, candidate)| (!candidate.is_up, candidate.leads));
            if let Some(at) = least.map(|(at, _)| at) {
                candidates[..=at].rotate_right(1);
            }
        }
    }
    candidates.into_iter().map(|candidate| candidate.node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes 1, 2, ... by whether they are up, their replicas and what they lead; node 2 declares.
    fn check(nodes: &[(bool, u64, u64)], size: u32, locator: LeaderLocator, expected: &[u64]) {
        let candidate = |(node, &(is_up, replicas, leads))| Candidate { node: NodeId(node), is_up, replicas, leads };
        let candidates = (1..).zip(nodes).map(candidate).collect();
        let expected: Vec<NodeId> = expected.iter().copied().map(NodeId).collect();
        assert_eq!(choose(NodeId(2), candidates, size, locator), expected, "{nodes:?}");
    }

    #[test]
    fn the_declaring_node_comes_first_and_then_those_with_the_fewest_replicas() {
        let local = LeaderLocator::ClientLocal;
        check(&[(true, 0, 0); 5], 3, local, &[2, 1, 3]);
        check(&[(true, 2, 0), (true, 9, 9), (true, 1, 0), (true, 0, 0), (true, 1, 0)], 3, local, &[2, 4, 3]);
        check(&[(true, 2, 0), (true, 9, 9), (true, 1, 0), (true, 0, 0), (true, 1, 0)], 4, local, &[2, 4, 3, 5]);
    }

    #[test]
    fn a_node_out_of_reach_is_chosen_only_if_there_are_too_few_others() {
        let nodes = [(false, 0, 0), (true, 5, 0), (true, 7, 0), (true, 8, 0)];
        check(&nodes, 3, LeaderLocator::ClientLocal, &[2, 3, 4]);
        check(&nodes, 4, LeaderLocator::ClientLocal, &[2, 3, 4, 1]);
    }

    #[test]
    fn there_are_as_many_members_as_wanted_and_as_there_are_nodes() {
        for (size, expected) in [(0, &[2][..]), (1, &[2]), (2, &[2, 1]), (3, &[2, 1, 3]), (4, &[2, 1, 3])] {
            check(&[(true, 0, 0); 3], size, LeaderLocator::ClientLocal, expected);
        }
        check(&[(true, 0, 0); 3], u32::MAX, LeaderLocator::ClientLocal, &[2, 1, 3]);
    }

    #[test]
    fn balanced_lets_the_member_lead_that_leads_least() {
        let balanced = LeaderLocator::Balanced;
        check(&[(true, 3, 1), (true, 3, 1), (true, 3, 1)], 3, balanced, &[2, 1, 3]);
        check(&[(true, 3, 1), (true, 3, 2), (true, 3, 0)], 3, balanced, &[3, 2, 1]);
        // Only members, and none that cannot be reached.
        check(&[(true, 3, 1), (true, 3, 2), (true, 9, 0)], 2, balanced, &[1, 2]);
        check(&[(false, 3, 0), (true, 3, 2), (true, 3, 2)], 3, balanced, &[2, 3, 1]);
    }
}
