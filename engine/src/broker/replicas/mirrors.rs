//! Classic queues with replicas: as many members as the policy wants that mirrors them (`ha-mode`).
//!
//! Whoever leads such a queue looks at what the policy wants and does the next step towards it. Who is missing comes in before anybody
//! goes, and nobody goes without whom those that stay would have no majority in reach. A queue that no policy mirrors any more stays with
//! whoever leads it.
//!
//! Of the nodes of `exactly` none is exchanged because it is out of reach, only when it is none of the cluster any more: it has what it
//! has, and another would have to get all of it.

use alloc::vec::Vec;

use super::super::Broker;
use super::super::placement::Candidate;
use crate::cluster::consensus::{MemberChange, Members, Refused};
use crate::ids::{NodeId, QueueId};
use crate::metadata::{Mirroring, QueueRecord};

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The members change.
    Change(MemberChange),
    /// Another one leads, as this one is to go.
    Lead(NodeId),
}

impl Broker {
    /// The next step towards the members that its policy wants of a classic queue that this node leads.
    pub(super) fn next_mirror(&self, record: &QueueRecord, members: &Members, own: NodeId) -> Option<Step> {
        let mirroring = record.settings.mirroring.as_ref();
        let mut nodes = self.candidates();
        let is_about = |node: NodeId| mirroring.is_none_or(|mirroring| mirroring.is_about(&self.node_name(node)));
        nodes.sort_by_key(|it| (!is_about(it.node), it.node != own, !members.contains(it.node), it.replicas, it.node));
        let named = nodes.iter().filter(|it| is_about(it.node)).count();
        if named == 0 {
            return None;
        }
        nodes.truncate(named.max(1));
        step(members, own, &nodes, mirroring.map_or(1, Mirroring::size), |node| self.is_in_reach(node))
    }

    fn is_in_reach(&self, node: NodeId) -> bool {
        self.running().contains(&node)
    }

    /// Does it. Whether it is to be looked at again before long.
    pub(super) fn take_step(&mut self, queue: QueueId, step: Step) -> bool {
        match step {
            Step::Change(change) => self.change(queue, change) != Err(Refused::Impossible),
            Step::Lead(node) => {
                self.hand_over(queue, node);
                true
            }
        }
    }
}

/// The next step for these members, if `count` of the nodes are to be members, of two rather the one that comes first.
fn step(
    members: &Members,
    own: NodeId,
    nodes: &[Candidate],
    count: u32,
    is_in_reach: impl Fn(NodeId) -> bool,
) -> Option<Step> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let present: Vec<NodeId> = nodes.iter().map(|it| it.node).filter(|node| members.contains(*node)).collect();
    // Of too many members those stay that can be reached.
    let (near, far): (Vec<NodeId>, Vec<NodeId>) = present.into_iter().partition(|node| is_in_reach(*node));
    let mut wanted: Vec<NodeId> = near.into_iter().chain(far).take(count).collect();
    let new = nodes.iter().find(|it| it.is_up && !members.contains(it.node)).map(|it| it.node);
    if let Some(new) = new.filter(|_| wanted.len() < count) {
        // One at a time: who came last is to catch up first.
        let is_free = members.learners().iter().all(|learner| !wanted.contains(learner));
        return is_free.then_some(Step::Change(MemberChange::AddLearner(new)));
    }
    if wanted.is_empty() {
        return None;
    }
    if wanted.iter().any(|node| members.learners().contains(node)) {
        // Until it has caught up, all others are needed.
        wanted.extend(members.voters());
    }
    let gone = members.iter().filter(|node| !wanted.contains(node)).min_by_key(|node| (*node == own, *node))?;
    let stay: Vec<NodeId> = members.voters().iter().copied().filter(|voter| *voter != gone).collect();
    let near = stay.iter().filter(|node| is_in_reach(**node));
    if stay.is_empty() || near.clone().count() <= stay.len() / 2 {
        return None;
    }
    if gone != own {
        return Some(Step::Change(MemberChange::Remove(gone)));
    }
    near.copied().find(|node| wanted.contains(node)).map(Step::Lead)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[u64]) -> Vec<NodeId> {
        numbers.iter().copied().map(NodeId).collect()
    }

    fn members(voters: &[u64], learners: &[u64]) -> Members {
        Members::new(ids(voters), ids(learners)).unwrap()
    }

    /// Node 1 leads; `nodes` are those that may be members, `down` those that nobody reaches.
    fn check(is: &Members, nodes: &[u64], down: &[u64], count: u32, expected: Option<Step>) {
        let is_up = |node: &u64| !down.contains(node);
        let nodes: Vec<Candidate> = nodes
            .iter()
            .map(|node| Candidate { node: NodeId(*node), is_up: is_up(node), replicas: 0, leads: 0 })
            .collect();
        assert_eq!(step(is, NodeId(1), &nodes, count, |node| is_up(&node.0)), expected, "{is:?} of {nodes:?}");
    }

    const ALL: u32 = u32::MAX;

    fn add(node: u64) -> Option<Step> {
        Some(Step::Change(MemberChange::AddLearner(NodeId(node))))
    }

    fn remove(node: u64) -> Option<Step> {
        Some(Step::Change(MemberChange::Remove(NodeId(node))))
    }

    #[test]
    fn who_is_missing_comes_in_one_after_the_other() {
        check(&members(&[1], &[]), &[1, 2, 3], &[], ALL, add(2));
        check(&members(&[1], &[2]), &[1, 2, 3], &[], ALL, None);
        check(&members(&[1, 2], &[]), &[1, 2, 3], &[], ALL, add(3));
        check(&members(&[1, 2, 3], &[]), &[1, 2, 3], &[], ALL, None);
        check(&members(&[1, 2], &[]), &[1, 2, 3, 4], &[3], 3, add(4));
        check(&members(&[1, 2], &[]), &[1, 2, 3], &[3], 3, None);
    }

    #[test]
    fn a_member_out_of_reach_is_not_exchanged() {
        check(&members(&[1, 2, 3], &[]), &[1, 2, 3, 4], &[3], 3, None);
        check(&members(&[1, 2], &[3]), &[1, 2, 3, 4], &[3], 3, None);
    }

    #[test]
    fn who_is_too_much_goes_and_of_these_first_who_is_out_of_reach() {
        check(&members(&[1, 2, 3], &[]), &[1, 2, 3], &[], 2, remove(3));
        check(&members(&[1, 2, 3], &[]), &[1, 2, 3], &[2], 2, remove(2));
        check(&members(&[1, 2], &[3]), &[1, 2, 3], &[], 2, remove(3));
        check(&members(&[1, 2, 3], &[]), &[1, 2, 3], &[], 1, remove(2));
        // Without the others it has no majority, and nothing is decided.
        check(&members(&[1, 2, 3], &[]), &[1], &[], 1, remove(2));
    }

    #[test]
    fn others_come_before_who_is_not_wanted_goes() {
        let to_others = [2, 3];
        check(&members(&[1], &[]), &to_others, &[], ALL, add(2));
        check(&members(&[1], &[2]), &to_others, &[], ALL, None);
        check(&members(&[1, 2], &[]), &to_others, &[], ALL, add(3));
        check(&members(&[1, 2], &[3]), &to_others, &[], ALL, None);
        check(&members(&[1, 2, 3], &[]), &to_others, &[], ALL, Some(Step::Lead(NodeId(2))));
        // Nobody who is wanted is there.
        check(&members(&[1], &[]), &to_others, &[2, 3], ALL, None);
    }

    #[test]
    fn nobody_goes_without_whom_there_is_no_majority_in_reach() {
        check(&members(&[1, 2, 3], &[]), &[2, 3], &[2, 3], ALL, None);
        check(&members(&[1, 2, 4], &[]), &[1, 2], &[2], ALL, None);
        check(&members(&[1, 2, 4], &[]), &[1, 2], &[], ALL, remove(4));
    }
}
