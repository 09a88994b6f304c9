//! Where a queue that is declared is to be (RabbitMQ docs: Quorum Queues / Initial Replication Factor, Leader Placement; Classic Queues /
//! Queue Leader Location).
//!
//! Who declares the queue chooses, by what its node sees at that moment. The choice is in the command, so that all nodes make the same of
//! it.

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::Broker;
use crate::amqp::ShortStr;
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
    /// Of how many queues it is the first member, or the only node.
    pub(super) leads: u64,
}

/// How many replicas nodes have, and how many queues they lead, those included that the cluster was asked for. Counted once for as long as
/// nothing is decided, so that many declarations at a time do not look at all queues each.
#[derive(Debug, Default)]
pub(super) struct Loads {
    /// The last command that they count.
    as_of: u64,
    by_node: BTreeMap<NodeId, (u64, u64)>,
}

impl Loads {
    pub(super) fn add(&mut self, command: &Command) {
        let Command::DeclareQueue { members, home, .. } = command else { return };
        for node in members {
            self.by_node.entry(*node).or_default().0 += 1;
        }
        self.by_node.entry(members.first().copied().unwrap_or(*home)).or_default().1 += 1;
    }
}

impl Broker {
    /// The same command; the declaration of a queue that is not one connection's says where it is to be from here on.
    pub(crate) fn with_members(&mut self, mut command: Command) -> Command {
        // What is wrong with arguments is for `Metadata::check` to tell.
        if let Command::DeclareQueue { vhost, name, durable, exclusive: None, members, home, arguments, .. } =
            &mut command
            && members.is_empty()
            && let Some(arguments) = QueueArguments::read(arguments)
        {
            let locator = self.locator_for(vhost, name, &arguments);
            if locator == LeaderLocator::Balanced || arguments.kind == QueueKind::Quorum {
                self.count_loads();
            }
            match arguments.kind {
                QueueKind::Quorum => {
                    *members = self.members_for(&arguments, locator);
                    if !members.is_empty() {
                        *home = NodeId(0);
                    }
                }
                QueueKind::Classic => {
                    // A node that has just started still loses what was on it and does not survive that.
                    *home = self.home_for(if *durable { locator } else { LeaderLocator::ClientLocal });
                    // What a queue remembers of messages that are gone is its node's alone.
                    if *durable && arguments.deduplication.is_none() && self.is_known_to_all(version::MIRRORS) {
                        // What policies say is known when the command is carried out.
                        let mirrors = self.mirrors_for(vhost, name, locator);
                        *members = if mirrors.is_empty() { Vec::from([*home]) } else { mirrors };
                    }
                }
            }
        }
        command
    }

    /// What holds for a queue with these arguments: a policy counts more than an argument does, as in RabbitMQ.
    fn locator_for(&self, vhost: &ShortStr, name: &ShortStr, arguments: &QueueArguments) -> LeaderLocator {
        let locators = self.metadata.locators_of(vhost, name, arguments.kind);
        locators.over(arguments.locators).or(self.config.queue_leader_locator).unwrap_or_default()
    }

    /// The members of a quorum queue that is to be declared here, first who is to lead; none if this node is in no cluster.
    ///
    /// Looks at all queues, so it is to be asked for queues only that are not there yet.
    fn members_for(&self, arguments: &QueueArguments, locator: LeaderLocator) -> Vec<NodeId> {
        let size = arguments.initial_group_size.unwrap_or(self.config.quorum_initial_group_size);
        choose(self.metadata.own(), self.candidates(), size, locator)
    }

    /// The node of a classic queue that is to be declared here.
    fn home_for(&self, locator: LeaderLocator) -> NodeId {
        let own = self.metadata.own();
        match locator {
            LeaderLocator::ClientLocal => own,
            LeaderLocator::Balanced => {
                choose(own, self.candidates(), u32::MAX, locator).first().copied().unwrap_or(own)
            }
        }
    }

    /// The members of a classic queue that is to be declared here; none if no policy is known that mirrors it, or none of the nodes is there
    /// that it names.
    fn mirrors_for(&self, vhost: &ShortStr, name: &ShortStr, locator: LeaderLocator) -> Vec<NodeId> {
        let Some(mirroring) = self.metadata.mirroring_of(vhost, name) else { return Vec::new() };
        let mut candidates = self.candidates();
        candidates.retain(|candidate| mirroring.is_about(&self.node_name(candidate.node)));
        choose(self.metadata.own(), candidates, mirroring.size(), locator)
    }

    /// Counts what nodes have, unless it is counted.
    fn count_loads(&mut self) {
        let as_of = self.metadata.applied();
        if self.loads.as_of != as_of || as_of == 0 {
            self.loads = Loads { as_of, by_node: self.metadata.replica_loads() };
            self.asked.iter().for_each(|asked| self.loads.add(asked.command()));
        }
    }

    /// All nodes, as those that may get a replica; none if this one is in no cluster.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let own = self.metadata.own();
        let Some(peers) = self.peers.as_ref().filter(|_| own != NodeId(0)) else { return Vec::new() };
        let linked = peers.linked().map(|(node, ..)| node);
        let up: BTreeSet<NodeId> = linked.filter(|node| !self.is_node_drained(*node)).collect();
        let counted = Some(&self.loads).filter(|loads| loads.as_of == self.metadata.applied());
        let loads =
            counted.map_or_else(|| Cow::Owned(self.metadata.replica_loads()), |loads| Cow::Borrowed(&loads.by_node));
        let candidate = |node| {
            let (replicas, leads) = loads.get(&node).copied().unwrap_or_default();
            let is_up = if node == own { !self.is_drained() } else { up.contains(&node) };
            Candidate { node, is_up, replicas, leads }
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
