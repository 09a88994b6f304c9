//! Who the members of a queue's group are, and how that changes: by whoever leads it, one step at a time.
//!
//! The group itself is what counts (Raft thesis §4.1): its leader looks at the members as they are, and does the next step, whoever led
//! when the one before was done. What all nodes know of it, [`QueueRecord::members`](crate::metadata::QueueRecord), follows each step
//! before the next begins; by that a node opens a replica, with nothing in it, or gives its own up.
//!
//! ```text
//!  operator: add C            roster: B is gone, and came back as D
//!      │                          │
//!  learner C ── known ── vote C   learner D ── known ── remove B ── known ── vote D
//!                ↑                                        ↑
//!         C opens its replica                    B's would be given up
//! ```
//!
//! 1. A node that lost its memory comes in first as who it is, and then who it was goes: who it was says for whom it comes.
//! 2. Who is no node of the cluster any more goes.
//! 3. Who has caught up gets a vote.
//! 4. A classic queue gets as many members as its policy wants (`ha-mode`); see [`super::mirrors`].
//! 5. A quorum queue gets as many members as it is to have, if the configuration wants that seen to (`target-group-size`).
//! 6. Then come the wishes of operators. They are the leader's alone; who asked asks the next one.
//!
//! A leader that is to go has another lead first, and so does one whose node is under maintenance.
//!
//! # A member that comes back at once
//!
//! 1. C goes, and comes in again before its node has heard of it. It goes on with the log it has, and gets a vote for that.
//! 2. Its node hears that C is no member, and then that it is one.
//! 3. Had it given the replica up and opened another in between, a member with a vote would have lost its memory.
//!
//! So a replica stays if it knows itself to be a member as of a later entry than the list that says otherwise, also after a restart. One
//! that does not know has said nothing since that the group counts on.

use alloc::vec::Vec;

use super::super::Broker;
use super::mirrors::Step;
use crate::cluster::consensus::{MemberChange, Members, Refused};
use crate::cluster::inquiries::{Refusal, Report, Wish};
use crate::cluster::version;
use crate::ids::{NodeId, QueueId};
use crate::limits;
use crate::metadata::{Command, QueueRecord};
use crate::queue::QueueKind;
use crate::routing::QueueKey;

/// What an operator wants of a queue's members.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wished {
    /// The node that is told, and the number of its question.
    from: NodeId,
    number: u64,
    wish: Wish,
}

/// What became of a wish at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is as wished.
    Done,
    /// It cannot be.
    Refused(Refusal),
    /// A step towards it has begun, or cannot at the moment.
    Wait,
}

impl Broker {
    /// An operator wants something of the members of a queue with a replica here.
    pub(in super::super) fn on_wish(&mut self, from: NodeId, number: u64, queue: QueueId, wish: Wish) {
        let leader = self.replicas.leader(queue).flatten().unwrap_or_default();
        let replica = self.replicas.by_queue.get_mut(&queue);
        match replica.filter(|replica| replica.leads && replica.wishes.len() < limits::REPLICA_WISHES_MAX) {
            Some(replica) => {
                replica.wishes.push_back(Wished { from, number, wish });
                self.see_to_members(queue);
            }
            None => self.report(from, number, Report::NotHere { leader }),
        }
    }

    /// This node does not lead a queue, or not in the same term: who wished for something asks who does.
    pub(super) fn turn_wishes_away(&mut self, queue: QueueId) {
        let Some(replica) = self.replicas.by_queue.get_mut(&queue) else { return };
        let leader = replica.leader.unwrap_or_default();
        for wished in core::mem::take(&mut replica.wishes) {
            self.report(wished.from, wished.number, Report::NotHere { leader });
        }
    }

    /// Nodes may have come or gone.
    pub(in super::super) fn watch_roster(&mut self) {
        let Some(peers) = &self.peers else { return };
        let seen = (peers.cluster().roster_changes(), peers.cluster().leader());
        let (changes, leader) = core::mem::replace(&mut self.replicas.roster_seen, seen);
        if changes != seen.0 {
            self.on_replica_nodes();
        }
        if (changes, leader) != seen {
            self.see_to_queues_of_departed();
        }
    }

    /// A queue may have been declared on a node that left at the same time.
    pub(in super::super) fn look_for_departed(&mut self, queue: QueueKey) {
        let Some(peers) = &self.peers else { return };
        let home = self.metadata.queue_by_key(queue).map(|record| record.home);
        if home.is_some_and(|home| peers.cluster().departed(home).is_some()) {
            self.replicas.roster_seen = Default::default();
        }
    }

    /// Whoever leads the cluster sees to it that queues go whose only node is none of it any more (RabbitMQ: `forget_cluster_node`). If it
    /// came back without its data, it gets those again that are to survive a restart; what was in them is lost.
    fn see_to_queues_of_departed(&mut self) {
        let Some(peers) = &self.peers else { return };
        let leads = peers.own().is_some_and(|(own, _)| peers.cluster().leader().0 == Some(own));
        if !leads || !self.is_known_to_all(version::SET_HOME) {
            return;
        }
        let fate = |record: &QueueRecord| {
            let successor = peers.cluster().departed(record.home)?;
            Some(successor.filter(|_| record.durable && record.exclusive.is_none()))
        };
        let queues = self.metadata.queues().into_iter().filter(|(_, record)| !record.is_replicated());
        let departed: Vec<_> = queues.filter_map(|(key, record)| Some((key, fate(record)?))).collect();
        for (key, successor) in departed {
            match successor {
                Some(home) => self.propose_home(key, home),
                None => self.propose_delete_queue(key),
            }
        }
    }

    fn propose_home(&mut self, key: QueueKey, home: NodeId) {
        let Some(record) = self.metadata.queue_by_key(key) else { return };
        let command =
            Command::SetHome { vhost: self.vhost_name(record.vhost), name: record.name.clone(), id: record.id, home };
        // If too much is waiting, whoever leads next sees to it.
        let _ = self.ask_cluster(command, None);
    }

    /// A queue that is on one node is on another one: here, or here no more.
    pub(in super::super) fn on_queue_moved(&mut self, key: QueueKey) {
        let Some(record) = self.metadata.queue_by_key(key) else { return };
        let (id, is_here) = (record.id, self.metadata.is_here(record));
        self.on_home_moved(key);
        match (is_here, self.queues.get(key).is_some()) {
            (true, false) => self.add_queue(key, id),
            (false, true) => self.drop_queue(key, id),
            (true, true) | (false, false) => {}
        }
        self.on_queue_known(id);
    }

    /// A queue has other members, as all nodes know.
    pub(in super::super) fn on_queue_members(&mut self, key: QueueKey) {
        let Some(record) = self.metadata.queue_by_key(key) else { return };
        let id = record.id;
        self.end_turning(key);
        self.follow_to_replicas(key);
        let Some(record) = self.metadata.queue_by_key(key) else { return };
        match (self.metadata.has_replica_here(record), self.replicas.has(id)) {
            (true, false) => self.add_replica(key, id),
            (false, true) if !self.is_member_again(id, record.members_at) => self.close_replica(id),
            (false | true, true) | (false, false) => {}
        }
        self.on_queue_known(id);
        self.see_to_members(id);
        self.look_at_errands();
    }

    /// Whether the replica of a queue knows that it is a member as of a later entry.
    fn is_member_again(&self, queue: QueueId, at: u64) -> bool {
        let Some(peers) = &self.peers else { return false };
        let Some((own, _)) = peers.own() else { return false };
        let status = peers.cluster().replica_status(queue);
        status.is_some_and(|status| status.applied_index > at && status.members.contains(own))
    }

    /// Does the next step for the members of a queue, if this node leads it; then sees to everything else about it.
    pub(in super::super) fn see_to_members(&mut self, queue: QueueId) {
        let leads = self.replicas.by_queue.get(&queue).is_some_and(|replica| replica.leads);
        if !leads || self.metadata.is_turning(queue) {
            return;
        }
        let is_mending = self.mend_members(queue);
        if let Some(replica) = self.replicas.by_queue.get_mut(&queue) {
            replica.mend_at = is_mending.then(|| self.now.mono + limits::REPLICA_RETRY);
        }
        self.see_to(queue);
    }

    /// Whether it is to be tried again before long.
    fn mend_members(&mut self, queue: QueueId) -> bool {
        let Some(replica) = self.replicas.by_queue.get(&queue) else { return false };
        let key = replica.key;
        let Some(peers) = &self.peers else { return false };
        let (Some((own, _)), Some(mark)) = (peers.own(), peers.cluster().replica_mark(queue)) else { return false };
        if self.is_drained()
            && let Some(heir) = self.heir(own, &mark.members)
        {
            self.hand_over(queue, heir);
            return true;
        }
        let Some(peers) = &self.peers else { return false };
        let Some(record) = self.metadata.queue_by_key(key) else { return false };
        let told = self.replicas.by_queue.get(&queue).and_then(|replica| replica.told_members.as_ref());
        if let Some(list) = listed(&record.members, &mark.members) {
            if told != Some(&list) {
                return self.tell_members(key, queue, list, mark.id.index);
            }
            return false;
        }
        // What cannot be done keeps nothing else from being done.
        if let Some(change) = mended(&mark.members, own, |node| peers.cluster().departed(node))
            && self.change(queue, change) != Err(Refused::Impossible)
        {
            return true;
        }
        let step = self.metadata.queue_by_key(key).and_then(|record| match record.arguments.kind {
            QueueKind::Classic => self.next_mirror(record, &mark.members, own),
            QueueKind::Quorum => self.next_member(record, &mark.members),
        });
        if step.is_some_and(|step| self.take_step(queue, step)) {
            return true;
        }
        let learners = mark.members.learners().to_vec();
        let mut is_behind = false;
        for learner in learners {
            match self.change(queue, MemberChange::Promote(learner)) {
                // Who cannot be reached does not catch up; when it can be, this is called.
                Err(_) => is_behind |= self.is_linked(learner),
                Ok(()) => return true,
            }
        }
        self.fulfil(queue, own, &mark.members) || is_behind
    }

    /// Who comes in next, if a quorum queue has fewer members than it is to have. Nobody goes because there are more (RabbitMQ docs: Quorum
    /// Queues / Continuous Membership Reconciliation).
    fn next_member(&self, record: &QueueRecord, members: &Members) -> Option<Step> {
        let target = record.settings.target_group_size.or(self.config.quorum_target_group_size);
        let target = target.filter(|_| self.config.quorum_reconciliation)?;
        let is_missing = usize::try_from(target).is_ok_and(|target| members.voters().len() < target);
        // One at a time: who came last is to catch up first. All queues are looked at to choose, so not unless there is somebody.
        let is_there = || self.running().iter().any(|node| !members.contains(*node));
        if !is_missing || !members.learners().is_empty() || !is_there() {
            return None;
        }
        let candidates = self.candidates().into_iter().filter(|it| it.is_up && !members.contains(it.node));
        let first = candidates.min_by_key(|it| (it.replicas, it.node))?;
        Some(Step::Change(MemberChange::AddLearner(first.node)))
    }

    /// Goes on with what operators wish. Whether anything is left.
    fn fulfil(&mut self, queue: QueueId, own: NodeId, members: &Members) -> bool {
        while let Some(replica) = self.replicas.by_queue.get_mut(&queue)
            && let Some(&Wished { from, number, wish }) = replica.wishes.front()
        {
            let report = match self.try_to(queue, own, members, wish) {
                Fate::Done => Report::Done,
                Fate::Refused(refusal) => Report::Refused(refusal),
                Fate::Wait => return true,
            };
            if let Some(replica) = self.replicas.by_queue.get_mut(&queue) {
                replica.wishes.pop_front();
            }
            self.report(from, number, report);
        }
        false
    }

    fn try_to(&mut self, queue: QueueId, own: NodeId, members: &Members, wish: Wish) -> Fate {
        let is_voter = |node: NodeId| members.voters().contains(&node);
        match wish {
            Wish::Add(node) if members.contains(node) => Fate::Done,
            Wish::Add(node) => match self.change(queue, MemberChange::AddLearner(node)) {
                Err(Refused::Impossible) => Fate::Refused(Refusal::TooMany),
                Ok(()) | Err(_) => Fate::Wait,
            },
            Wish::Remove(node) if !members.contains(node) => Fate::Done,
            Wish::Remove(node) if is_voter(node) && members.voters().len() == 1 => Fate::Refused(Refusal::LastMember),
            Wish::Remove(node) if node == own => {
                let anybody = || members.voters().iter().copied().find(|node| *node != own && self.is_linked(*node));
                if let Some(heir) = self.heir(own, members).or_else(anybody) {
                    self.hand_over(queue, heir);
                }
                Fate::Wait
            }
            Wish::Remove(node) => match self.change(queue, MemberChange::Remove(node)) {
                Err(Refused::Impossible) => Fate::Refused(Refusal::LastMember),
                Ok(()) | Err(_) => Fate::Wait,
            },
            Wish::Lead(node) if node == own => Fate::Done,
            Wish::Lead(node) if !is_voter(node) => Fate::Refused(Refusal::NoMember),
            Wish::Lead(node) => {
                self.hand_over(queue, node);
                Fate::Wait
            }
        }
    }

    pub(super) fn change(&mut self, queue: QueueId, change: MemberChange) -> Result<(), Refused> {
        let peers = self.peers.as_mut().ok_or(Refused::Unknown)?;
        peers.cluster_mut().change_replicas(queue, change).map(drop)
    }

    /// Who could lead in the place of this node.
    fn heir(&self, own: NodeId, members: &Members) -> Option<NodeId> {
        let mut others = members.voters().iter().copied().filter(|voter| *voter != own);
        others.find(|voter| self.is_linked(*voter) && !self.is_node_drained(*voter))
    }

    /// Whether this node leads a queue that another could lead.
    pub(crate) fn leads_for_others(&self) -> bool {
        let Some(peers) = &self.peers else { return false };
        let Some((own, _)) = peers.own() else { return false };
        let has_heir = |queue: &QueueId| {
            let members = peers.cluster().replica_status(*queue).map(|status| status.members);
            members.is_some_and(|members| self.heir(own, &members).is_some())
        };
        let led = self.replicas.by_queue.iter().filter(|(_, replica)| replica.leader == Some(own));
        led.map(|(queue, _)| queue).any(has_heir)
    }

    /// Has another lead. If that comes to nothing, it is tried again.
    pub(super) fn hand_over(&mut self, queue: QueueId, to: NodeId) {
        if let Some(peers) = &mut self.peers {
            let _ = peers.cluster_mut().transfer_replica(queue, to);
        }
    }

    fn is_linked(&self, node: NodeId) -> bool {
        self.peers.as_ref().is_some_and(|peers| peers.cluster().is_linked(node))
    }

    /// Has all nodes know the members of a queue, as they are as of an entry of its group. Whether it is to be tried again.
    fn tell_members(&mut self, key: QueueKey, queue: QueueId, members: Vec<NodeId>, at: u64) -> bool {
        let Some(record) = self.metadata.queue_by_key(key) else { return false };
        let (name, id) = (record.name.clone(), record.id);
        let command =
            Command::SetMembers { vhost: self.vhost_name(record.vhost), name, id, members: members.clone(), at };
        if self.ask_cluster(command, None).is_err() {
            return true;
        }
        if let Some(replica) = self.replicas.by_queue.get_mut(&queue) {
            replica.told_members = Some(members);
        }
        false
    }
}

/// The members in the order of those that are known, with who came in behind; `None` if they are known.
fn listed(known: &[NodeId], members: &Members) -> Option<Vec<NodeId>> {
    let mut list: Vec<NodeId> = known.iter().copied().filter(|node| members.contains(*node)).collect();
    list.extend(members.iter().filter(|member| !known.contains(member)));
    (list != known).then_some(list)
}

/// The next step for members that are no nodes of the cluster any more. `departed` tells of a node whether it was one and is not, and
/// who came for it.
fn mended(members: &Members, own: NodeId, departed: impl Fn(NodeId) -> Option<Option<NodeId>>) -> Option<MemberChange> {
    let (gone, successor) = members.iter().find_map(|member| Some((member, departed(member)?)))?;
    if gone == own {
        return None;
    }
    Some(match successor.filter(|successor| !members.contains(*successor)) {
        Some(successor) => MemberChange::AddLearner(successor),
        None => MemberChange::Remove(gone),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn nodes(numbers: &[u64]) -> Vec<NodeId> {
        numbers.iter().copied().map(NodeId).collect()
    }

    fn members(voters: &[u64], learners: &[u64]) -> Members {
        Members::new(nodes(voters), nodes(learners)).unwrap()
    }

    #[test]
    fn what_is_known_keeps_its_order() {
        let check = |known: &[u64], is: Members, expected: Option<&[u64]>| {
            assert_eq!(listed(&nodes(known), &is), expected.map(nodes), "{known:?} and {is:?}");
        };
        check(&[3, 1, 2], members(&[1, 2, 3], &[]), None);
        check(&[3, 1, 2], members(&[1, 2, 3], &[4]), Some(&[3, 1, 2, 4]));
        check(&[3, 1, 2], members(&[1, 2], &[]), Some(&[1, 2]));
        check(&[3, 1, 2, 4], members(&[1, 2, 3, 4], &[]), None);
    }

    /// Node 2 came back as 4, and that as 5; node 3 is gone for good.
    #[test]
    fn who_comes_for_a_lost_node_comes_in_before_that_goes() {
        let departed = |node: NodeId| match node.0 {
            2 | 4 => Some(Some(NodeId(5))),
            3 => Some(None),
            _ => None,
        };
        let mut is = members(&[1, 2, 3], &[]);
        let mut steps = vec![];
        while let Some(change) = mended(&is, NodeId(1), departed) {
            let keep = |nodes: &[NodeId]| nodes.iter().copied().filter(|node| *node != change.node()).collect();
            let (voters, mut learners): (Vec<_>, Vec<_>) = (keep(is.voters()), keep(is.learners()));
            if matches!(change, MemberChange::AddLearner(_)) {
                learners.push(change.node());
            }
            steps.push(change);
            is = Members::new(voters, learners).unwrap();
        }
        let expected =
            [MemberChange::AddLearner(NodeId(5)), MemberChange::Remove(NodeId(2)), MemberChange::Remove(NodeId(3))];
        assert_eq!(steps, expected);
        assert_eq!(is, members(&[1], &[5]));
        assert_eq!(mended(&members(&[1, 6], &[4]), NodeId(1), departed), Some(MemberChange::AddLearner(NodeId(5))));
    }
}
