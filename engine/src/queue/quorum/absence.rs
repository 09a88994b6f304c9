//! Consumers that are too slow, and nodes that cannot be reached.

use alloc::vec::Vec;

use super::action::{Actions, Notice};
use super::command::ReturnKind;
use super::ids::{Boot, ConsumerId, DeliveryNumber, NodeId, SessionId};
use super::machine::QuorumQueue;
use super::roster::NodeState;
use crate::queue::consumers::ConsumerKey;

impl QuorumQueue {
    /// When time alone changes something: the leader is to propose a `Tick` then, and not before. In milliseconds of the wall clock.
    pub fn next_due(&self) -> Option<u64> {
        let expiry = if self.expiring > 0 {
            let at = |head| self.ready.get(head).map(|slot| slot.expires_at).filter(|at| *at != 0);
            self.ready.heads().filter_map(at).min()
        } else {
            None
        };
        let retry = self.delayed.next_due();
        let slow = self.takers.iter().filter_map(|(_, taker)| taker.times_out_at()).min();
        let gone = self.roster.nodes.iter().filter_map(|(node, state)| {
            let at = state.suspected_at?.saturating_add(self.settings.disconnected_timeout_ms);
            self.takers_of(*node).any(|consumer| self.has_unacked(consumer)).then_some(at)
        });
        [expiry, retry, slow, gone.min()].into_iter().flatten().min()
    }

    /// The nodes that the queue takes for unreachable: a leader that can reach one says so.
    pub fn suspected_nodes(&self) -> impl Iterator<Item = NodeId> {
        self.roster.nodes.iter().filter(|(_, state)| state.suspected_at.is_some()).map(|(node, _)| *node)
    }

    /// The nodes that the queue knows, each with whether it takes it for unreachable, and the last of its lives that may have sessions.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, bool, Boot)> {
        self.roster.nodes.iter().map(|(node, state)| {
            // Of a life that has ended no session can begin.
            let is_over = state.highest == u64::MAX;
            (*node, state.suspected_at.is_some(), Boot(state.boot.0 + u64::from(is_over)))
        })
    }

    /// Takes messages back from those who had them for too long. That is nobody's failure (RabbitMQ 4.3: consumer timeout and consumer
    /// disconnected timeout do not count).
    pub(super) fn time_out(&mut self, actions: &mut Actions) {
        let is_late = |at: Option<u64>| at.is_some_and(|at| at <= self.now);
        let late: Vec<ConsumerId> =
            self.takers.iter().filter(|(_, taker)| is_late(taker.times_out_at())).map(|(id, _)| id).collect();
        for consumer in late {
            self.time_out_consumer(consumer, actions);
        }
        let timeout = self.settings.disconnected_timeout_ms;
        let is_over = |state: &NodeState| state.suspected_at.is_some_and(|at| at.saturating_add(timeout) <= self.now);
        let lost: Vec<NodeId> =
            self.roster.nodes.iter().filter(|(_, state)| is_over(state)).map(|(node, _)| *node).collect();
        for node in lost {
            let takers: Vec<ConsumerId> = self.takers_of(node).collect();
            for consumer in takers {
                self.take_back_after(consumer, DeliveryNumber(0), ReturnKind::Requeued, actions);
            }
        }
    }

    /// Takes back what a consumer had for too long. It gets nothing before it has settled that.
    fn time_out_consumer(&mut self, consumer: ConsumerId, actions: &mut Actions) {
        let mut settled = 0;
        while let Some(taker) = self.takers.get_mut(&consumer)
            && taker.times_out_at().is_some_and(|at| at <= self.now)
            && let Some((number, _)) = taker.unacked.first()
        {
            taker.timed_out.insert(number);
            let slot = self.take_out(consumer, number).expect("the first that is out is out");
            settled += 1;
            self.come_back(slot, ReturnKind::Requeued, actions);
        }
        let key = self.takers.get(&consumer).and_then(|taker| taker.key);
        if let Some(key) = key.filter(|_| settled > 0) {
            self.consumers.bar(key);
            self.on_settled(consumer, settled);
            actions.notify(Notice::TimedOut { consumer });
        }
    }

    /// Nobody can reach a node: its consumers keep what they have for a time and get nothing.
    pub(super) fn suspect(&mut self, node: NodeId) {
        let Some(state) = self.roster.nodes.get_mut(&node) else { return };
        if state.suspected_at.is_none() {
            state.suspected_at = Some(self.now);
            self.set_suspected(node, true);
        }
    }

    /// A node can be reached. What its former lives left is over.
    pub(super) fn node_up(&mut self, node: NodeId, boot: Boot, actions: &mut Actions) {
        if boot.0 > 0 {
            self.end_life(node, Boot(boot.0 - 1), actions);
        }
        if self.roster.is_suspected(node) {
            self.trust(node);
            self.set_suspected(node, false);
        }
    }

    /// A life of a node has ended. RabbitMQ does not count what comes back with a node either.
    pub(super) fn node_down(&mut self, node: NodeId, boot: Boot, actions: &mut Actions) {
        self.end_life(node, boot, actions);
    }

    /// Ends the sessions of a node's life, and of all before it; none of them can begin any more.
    fn end_life(&mut self, node: NodeId, boot: Boot, actions: &mut Actions) {
        for session in self.roster.of_node(node, boot) {
            self.end_session(session, ReturnKind::Requeued, actions);
        }
        let suspected_at = self.roster.nodes.get(&node).and_then(|state| state.suspected_at);
        if self.roster.nodes.get(&node).is_none_or(|state| state.boot <= boot) {
            self.roster.nodes.insert(node, NodeState { boot, highest: u64::MAX, suspected_at });
        }
    }

    fn set_suspected(&mut self, node: NodeId, is_suspected: bool) {
        let keys: Vec<ConsumerKey> =
            self.takers_of(node).filter_map(|consumer| self.takers.get(&consumer)?.key).collect();
        self.consumers.set_suspected(&keys, is_suspected);
    }

    fn takers_of(&self, node: NodeId) -> impl Iterator<Item = ConsumerId> {
        let first = SessionId { node, boot: Boot(0), number: 0 }.consumers().0;
        let last = SessionId { node, boot: Boot(u64::MAX), number: u64::MAX }.consumers().1;
        self.takers.keys_within(first, last)
    }

    fn has_unacked(&self, consumer: ConsumerId) -> bool {
        self.takers.get(&consumer).is_some_and(|taker| taker.unacked.len() > 0)
    }
}
