//! How the nodes of a cluster are, as each tells the others: what is short on it, and whether it is under maintenance.
//!
//! Each says so when there is a link and when it changes. What a node has said holds until its link is gone; a node that nobody can reach
//! stops no publishers.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::Broker;
use crate::alarm::Shortage;
use crate::cluster::queues::Frame;
use crate::ids::NodeId;

/// What was said.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// What the others know of this node.
    told: (Shortage, bool),
    /// Whether this node is under maintenance.
    is_drained: bool,
    /// Other nodes that are.
    drained: BTreeSet<NodeId>,
    /// Whether publishers may go on that could not before.
    is_over: bool,
}

impl Broker {
    /// Tells all nodes how this one is, if that has changed.
    pub(super) fn tell_health(&mut self) {
        let health = (self.alarms.shortage(), self.health.is_drained);
        if self.peers.is_none() || core::mem::replace(&mut self.health.told, health) == health {
            return;
        }
        let linked: Vec<NodeId> = self.peers.iter().flat_map(|peers| peers.linked()).map(|(node, ..)| node).collect();
        for node in linked {
            self.tell_health_to(node);
        }
    }

    /// Tells a node to which there is another link how this one is, unless that is as it will think by itself.
    pub(super) fn greet_with_health(&mut self, node: NodeId) {
        if self.health.told != Default::default() {
            self.tell_health_to(node);
        }
    }

    fn tell_health_to(&mut self, node: NodeId) {
        let (shortage, is_drained) = self.health.told;
        self.say(node, &Frame::Health { shortage, is_drained });
    }

    /// A node has said how it is.
    pub(super) fn on_health(&mut self, node: NodeId, shortage: Shortage, is_drained: bool) {
        self.alarms.set_elsewhere(node, shortage);
        self.health.is_over |= self.alarms.check(&mut self.events);
        if is_drained {
            self.health.drained.insert(node);
        } else {
            self.health.drained.remove(&node);
        }
    }

    /// There is no link to a node any more: how it is nobody knows.
    pub(super) fn forget_health(&mut self, node: NodeId) {
        self.on_health(node, Shortage::default(), false);
    }

    /// Whether this node is under maintenance.
    pub(crate) fn is_drained(&self) -> bool {
        self.health.is_drained
    }

    /// Begins or ends maintenance. While it lasts others lead, where they can.
    pub(crate) fn set_drained(&mut self, is_drained: bool) {
        self.health.is_drained = is_drained;
        self.tell_health();
        if is_drained && let Some(peers) = &mut self.peers {
            let drained = &self.health.drained;
            peers.cluster_mut().hand_over(|node| !drained.contains(&node));
        }
        self.on_replica_nodes();
    }

    /// Whether a node is known to be under maintenance.
    pub(crate) fn is_node_drained(&self, node: NodeId) -> bool {
        self.health.drained.contains(&node) || (self.health.is_drained && node == self.metadata.own())
    }

    /// Whether a majority of the cluster's nodes can be reached, this one included.
    pub(crate) fn reaches_majority(&self) -> bool {
        let Some(peers) = &self.peers else { return true };
        let all = peers.cluster().nodes().count();
        2 * self.running().len() > all
    }

    /// Whether publishers may go on, because of other nodes.
    pub(crate) fn take_alarms_over(&mut self) -> bool {
        core::mem::take(&mut self.health.is_over)
    }

    pub(super) fn are_alarms_over(&self) -> bool {
        self.health.is_over
    }
}
