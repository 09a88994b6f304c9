//! Who leads the quorum queues that are used from here.

use alloc::vec::Vec;

use super::super::Broker;
use super::{NodeLink, RemoteSession};
use crate::ids::{NodeId, QueueId};
use crate::limits;
use crate::routing::QueueKey;
use crate::time::Instant;

impl Broker {
    /// Whether something can be said to the queues and sessions of a node.
    pub(super) fn can_reach(&self, node: NodeId) -> bool {
        self.is_own(node) || self.remote.nodes.get(&node).is_some_and(NodeLink::is_up)
    }

    fn is_own(&self, node: NodeId) -> bool {
        self.peers.as_ref().and_then(|peers| peers.own()).is_some_and(|(own, _)| own == node)
    }

    /// Whether a node should not be told more for now.
    pub(super) fn is_congested_to(&self, node: NodeId) -> bool {
        !self.is_own(node) && self.peers.as_ref().is_none_or(|peers| peers.is_congested(node))
    }

    /// Who leads a queue, or who may know; not the one that has just failed. 0 if there is nobody to ask.
    pub(in super::super) fn guess_leader(&self, queue: QueueKey, failed: NodeId) -> NodeId {
        let Some(record) = self.metadata.queue_by_key(queue) else { return NodeId(0) };
        if self.metadata.is_turning(record.id) {
            return NodeId(0);
        }
        match self.replicas.leader(record.id) {
            Some(leader) => leader.unwrap_or_default(),
            None => {
                let members = &record.members;
                let after = members.iter().position(|member| *member == failed).map_or(0, |at| at + 1);
                let in_turn = members.iter().cycle().skip(after).take(members.len());
                in_turn.copied().find(|member| self.can_reach(*member)).unwrap_or_default()
            }
        }
    }

    /// A queue that was on one node has replicas: sessions with it go on with whoever leads these, who has adopted them.
    pub(in super::super) fn follow_to_replicas(&mut self, queue: QueueKey) {
        let nodes = &self.remote.nodes;
        let sessions = self.remote.sessions.values_mut().filter(|it| it.queue == queue && !it.is_replicated);
        let follow = |session: &mut RemoteSession| {
            let boot = nodes.get(&session.home).map(NodeLink::boot).unwrap_or_default();
            (session.is_replicated, session.follows) = (true, Some((session.home, boot)));
        };
        let followers = sessions.map(follow).count();
        let is_asked = self.ask_replicas(queue);
        let leader = self.guess_leader(queue, NodeId(0));
        if followers > 0 || is_asked || self.has_forsaken(queue) {
            self.look_at_leaders_later();
        }
        if followers == 0 && !is_asked {
            return;
        }
        for (number, session) in self.remote.sessions.iter_mut().filter(|(_, session)| session.queue == queue) {
            session.home = leader;
            session.session.on_leader();
            self.remote.dirty.insert(*number);
        }
        if let Some(id) = self.metadata.queue_by_key(queue).map(|record| record.id) {
            self.ask_leader(id, leader);
        }
    }

    /// A queue of this node does not get replicas after all: what waited for their leader is for the queue.
    pub(in super::super) fn return_sessions(&mut self, queue: QueueKey) {
        self.drop_asks_about(queue);
        let sessions = self.remote.sessions.iter().filter(|(_, session)| session.queue == queue);
        let sessions: Vec<u64> = sessions.map(|(number, _)| *number).collect();
        for number in sessions {
            self.lose_session(number);
        }
    }

    /// A queue has a leader, as its replica here knows.
    pub(in super::super) fn on_queue_leader(&mut self, queue: QueueId, leader: NodeId) {
        let sessions = self.remote.sessions.iter_mut().filter(|(_, session)| session.id == queue);
        for (number, session) in sessions.filter(|(_, session)| session.home != leader) {
            session.home = leader;
            session.session.on_leader();
            self.remote.dirty.insert(*number);
        }
        self.ask_leader(queue, leader);
    }

    /// A node does not lead a queue, or says that it leads it from now on.
    pub(super) fn on_elsewhere(&mut self, from: NodeId, queue: QueueId, leader: NodeId) {
        if leader == from {
            // It may have led before, and be no news as a leader; what it gave out in between is.
            for session in self.remote.sessions.values_mut().filter(|session| session.id == queue) {
                session.home = NodeId(0);
            }
            return self.on_queue_leader(queue, leader);
        }
        let asked = self.remote.sessions.values().any(|session| session.id == queue && session.home == from);
        let is_asked = asked || self.asked_replicas().iter().any(|(_, id, home)| *id == queue && *home == from);
        // Whoever has a replica knows better, and who leads nobody is found at the next look.
        if is_asked && leader != NodeId(0) && leader != from && self.replicas.leader(queue).is_none() {
            self.on_queue_leader(queue, leader);
        }
    }

    /// Sees to it that sessions that wait for a leader are looked at.
    pub(super) fn look_at_leaders_later(&mut self) {
        let at = self.now.mono + limits::REPLICA_RETRY;
        self.remote.look_at = Some(self.remote.look_at.map_or(at, |other| other.min(at)));
    }

    /// Sessions that wait and have not come on since the last look ask again, elsewhere if need be.
    pub(super) fn look_at_leaders(&mut self) {
        self.remote.look_at = None;
        let replicated = self.remote.sessions.iter_mut().filter(|(_, session)| session.is_replicated);
        let mut stuck: Vec<(u64, QueueKey, NodeId)> = Vec::new();
        let mut are_any = false;
        for (number, session) in replicated {
            let waits = session.session.is_waiting() || session.follows.is_some();
            let progress = waits.then(|| session.session.progress());
            are_any |= progress.is_some();
            let was = core::mem::replace(&mut session.seen_at_look, progress);
            if progress.is_some() && was == progress {
                stuck.push((*number, session.queue, session.home));
            }
        }
        for (number, queue, home) in stuck {
            let leader = self.guess_leader(queue, home);
            if let Some(session) = self.remote.sessions.get_mut(&number) {
                session.home = leader;
                session.session.on_leader();
                self.remote.dirty.insert(number);
            }
        }
        let asked = self.asked_replicas();
        for (queue, id, home) in &asked {
            let leader = self.guess_leader(*queue, *home);
            self.ask_leader(*id, leader);
        }
        are_any |= self.ask_for_forsaken();
        if are_any || !asked.is_empty() {
            self.look_at_leaders_later();
        }
    }

    /// When time alone changes something in a queue that this node leads.
    pub(super) fn next_replica_due(&self) -> Option<Instant> {
        self.replicas.next_due()
    }
}
