//! A declared queue: what it is, not what is in it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::arguments::QueueArguments;
use super::binding::Inbound;
use super::settings::QueueSettings;
use super::{AppliedPolicies, VhostKey};
use crate::amqp::{FieldTable, ShortStr};
use crate::ids::{ConnectionId, NodeId, QueueId};
use crate::queue::QueueKind;

/// The record of a queue.
#[derive(Clone, Debug)]
pub struct QueueRecord {
    /// Its incarnation.
    pub id: QueueId,
    /// Its vhost.
    pub vhost: VhostKey,
    /// Its name.
    pub name: ShortStr,
    /// Whether it and its persistent messages survive a restart. Never so for an exclusive queue, whatever its declaration said.
    pub durable: bool,
    /// The node on which it is; 0 where there is but one, which has no number, and for a replicated queue.
    pub home: NodeId,
    /// The nodes on which a replicated queue has its replicas, each once, first who is to lead them at first. Empty: the queue is on one
    /// node, which is `home`.
    pub members: Vec<NodeId>,
    /// The entry of the queue's group as of which its members are these; 0: they are those with which it was declared.
    pub members_at: u64,
    /// The only connection, one of that node's, that may use it, with whose end it goes; `None` if everybody may.
    pub exclusive: Option<ConnectionId>,
    /// Whether it goes with its last consumer.
    pub auto_delete: bool,
    /// The arguments that the broker knows.
    pub arguments: QueueArguments,
    /// The arguments that a policy may give too, merged with those that one gives.
    pub settings: QueueSettings,
    /// The policies that apply to it; `None` if none does.
    pub policies: Option<Box<AppliedPolicies>>,
    /// All arguments, as they were declared.
    pub raw_arguments: FieldTable,
    /// Exchanges with bindings to it.
    pub(super) inbound: Inbound,
}

impl QueueRecord {
    /// Whether it has replicas that agree on what is in it, rather than being on one node.
    pub fn is_replicated(&self) -> bool {
        !self.members.is_empty()
    }

    /// It was just declared. A classic queue has its members only if a policy mirrors it, and is else on its node.
    pub(super) fn choose_place(&mut self) {
        if self.arguments.kind == QueueKind::Classic && self.settings.mirroring.is_none() {
            self.members.clear();
        }
        if self.is_replicated() {
            self.home = NodeId(0);
        }
    }

    /// Whether it is a queue on one node that could have replicas: what a queue remembers of messages that are gone is its node's alone.
    pub(crate) fn can_be_replicated(&self) -> bool {
        let is_lasting = self.durable && self.exclusive.is_none() && !self.auto_delete;
        let is_plain = self.arguments.kind == QueueKind::Classic && self.arguments.deduplication.is_none();
        !self.is_replicated() && is_lasting && is_plain
    }

    /// Whether its replicas would be on other nodes with these members, as of an entry of its group. A queue that is on one node stays
    /// there.
    pub(super) fn would_move_to(&self, members: &[NodeId], at: u64) -> bool {
        self.is_replicated() && !members.is_empty() && at > self.members_at && self.members != members
    }
}
