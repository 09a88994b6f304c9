//! The declared state as that of a cluster: the same on all nodes after the same commands.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use bytes::Bytes;

use super::apply::AutoDelete;
use super::name::is_reserved;
use super::{BindingView, Change, Changes, DecodeError, DestinationName, Exchange, Metadata, QueueRecord, VhostKey};
use crate::amqp::{FieldTable, ShortStr};
use crate::ids::{NodeId, QueueId};
use crate::routing::{Destination, ExchangeKey, QueueKey};

/// A binding by names, to find out which are in one state and not in another.
type Bound = (ShortStr, bool, ShortStr, ShortStr, Vec<u8>);

impl Metadata {
    /// Which node of a cluster this is; 0 while it is in none.
    pub fn own(&self) -> NodeId {
        self.own
    }

    /// The node is in a cluster. What it had before is now this node's.
    pub(crate) fn enter_cluster(&mut self, own: NodeId) {
        self.own = own;
        for queue in self.queues.values_mut() {
            if queue.home == NodeId(0) && !queue.is_replicated() {
                queue.home = own;
            }
        }
    }

    /// Whether the cluster has begun with what its first node had.
    pub(crate) fn is_founded(&self) -> bool {
        self.is_founded
    }

    /// The cluster's command up to which all are carried out.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// One more command is carried out, or need not be.
    pub(crate) fn set_applied(&mut self, index: u64) {
        self.applied = index;
    }

    /// Whether a queue is on this node, and on no other, and is to stay.
    pub(crate) fn is_here(&self, queue: &QueueRecord) -> bool {
        queue.home == self.own && !queue.is_replicated() && !self.is_turning(queue.id)
    }

    /// Whether a queue of this node is on its way to having replicas: it is used as if it had, and they had no leader.
    pub(crate) fn is_turning(&self, queue: QueueId) -> bool {
        self.turning.contains(&queue)
    }

    /// A queue of this node is on its way to having replicas, or not any more. No other node knows of that.
    pub(crate) fn set_turning(&mut self, queue: QueueId, is_turning: bool) {
        if is_turning {
            self.turning.insert(queue);
        } else {
            self.turning.remove(&queue);
        }
    }

    /// Whether a queue is used as one that has replicas, of which one leads.
    pub(crate) fn is_led(&self, queue: &QueueRecord) -> bool {
        queue.is_replicated() || self.is_turning(queue.id)
    }

    /// Whether one of a queue's replicas is on this node.
    pub fn has_replica_here(&self, queue: &QueueRecord) -> bool {
        queue.members.contains(&self.own)
    }

    /// How many replicas each node has, and of how many queues it is the first member or the only node. Nodes without any are left out.
    pub(crate) fn replica_loads(&self) -> BTreeMap<NodeId, (u64, u64)> {
        let mut loads: BTreeMap<NodeId, (u64, u64)> = BTreeMap::new();
        for queue in self.queues.values() {
            if !queue.is_replicated() {
                loads.entry(queue.home).or_default().1 += 1;
            }
            for (at, node) in queue.members.iter().enumerate() {
                let (replicas, leads) = loads.entry(*node).or_default();
                *replicas += 1;
                *leads += u64::from(at == 0);
            }
        }
        loads
    }

    /// The next id.
    pub(super) fn next_id(&mut self) -> QueueId {
        let id = self.next_queue_id;
        self.next_queue_id = QueueId(id.0 + 1);
        id
    }

    /// A node was started: what was on it and does not survive a restart is gone.
    pub(super) fn begin_node(&mut self, node: NodeId, is_alone: bool, changes: &mut Changes) {
        let gone = |queue: &QueueRecord| queue.home == node && !queue.durable;
        let queues: Vec<QueueKey> =
            self.queues().into_iter().filter(|(_, queue)| gone(queue)).map(|(key, _)| key).collect();
        for key in queues {
            self.remove_queue(key, AutoDelete::Here, changes);
        }
        if is_alone {
            let gone = |exchange: &Exchange| !exchange.durable && !is_reserved(exchange.name.as_bytes());
            let exchanges: Vec<ExchangeKey> =
                self.exchanges().into_iter().filter(|(_, exchange)| gone(exchange)).map(|(key, _)| key).collect();
            self.remove_exchanges(exchanges, AutoDelete::InLog, changes);
        }
    }

    /// Becomes what another node has written down, and tells what came and went; `None` if this one is as far already.
    ///
    /// # Errors
    /// If it is of a later version or damaged; then nothing has happened.
    pub(crate) fn become_other(&mut self, state: Bytes) -> Result<Option<Changes>, DecodeError> {
        let target = Self::restore(state, self.hash_seed)?;
        if target.applied <= self.applied {
            return Ok(None);
        }
        let mut changes = Changes::default();
        self.turn_into(&target, &mut changes);
        Ok(Some(changes))
    }

    /// As [`Metadata::become_other`], for a state that is in a command: who proposed it had made it.
    pub(super) fn become_state(&mut self, state: Bytes, changes: &mut Changes) {
        let target = Self::restore(state, self.hash_seed).expect("the first node has written down what can be read");
        let (applied, is_founded) = (self.applied, self.is_founded);
        self.turn_into(&target, changes);
        (self.applied, self.is_founded) = (applied, is_founded);
    }

    fn turn_into(&mut self, target: &Self, changes: &mut Changes) {
        self.leave_out(target, changes);
        self.take_over(target, changes);
        self.users.clone_from(&target.users);
        self.global_parameters.clone_from(&target.global_parameters);
        self.has_had_users = target.has_had_users;
        self.next_queue_id = target.next_queue_id;
        (self.applied, self.is_founded) = (target.applied, target.is_founded);
        self.access_version += 1;
        self.version += 1;
    }

    /// Removes what the target has not, or has otherwise.
    fn leave_out(&mut self, target: &Self, changes: &mut Changes) {
        for name in self.users.keys().filter(|name| !target.users.contains_key(*name)) {
            changes.list.push(Change::UserDeleted(name.clone()));
        }
        let vhosts: Vec<_> = self.vhost_names.keys().cloned().collect();
        for name in vhosts.iter().filter(|name| target.vhost(name.as_bytes()).is_none()) {
            self.remove_vhost(name, changes);
        }
        let is_gone = |queue: &QueueRecord| {
            let same = target.queue_by_id(queue.id).map(|(_, other)| other);
            let is_in_same = |other: &&QueueRecord| target.vhost_name(other.vhost) == self.vhost_name(queue.vhost);
            !same.filter(is_in_same).is_some_and(|other| is_same_queue(queue, other))
        };
        let queues = self.queues().into_iter().filter(|(_, queue)| is_gone(queue));
        let queues: Vec<_> = queues.map(|(key, _)| key).collect();
        for key in queues {
            self.remove_queue(key, AutoDelete::InLog, changes);
        }
        let is_other = |exchange: &Exchange| {
            let vhost = target.vhost(self.vhost_name(exchange.vhost));
            let same = vhost.and_then(|vhost| target.exchange(vhost, exchange.name.as_bytes()));
            !same.is_some_and(|(_, other)| is_same(exchange, other))
        };
        let exchanges = self.exchanges().into_iter().filter(|(_, exchange)| is_other(exchange));
        let exchanges: Vec<_> = exchanges.map(|(key, _)| key).collect();
        self.remove_exchanges(exchanges, AutoDelete::InLog, changes);
    }

    /// Adds what only the target has, and makes the rest as it is there.
    fn take_over(&mut self, target: &Self, changes: &mut Changes) {
        for (theirs, vhost) in target.vhosts() {
            let key = self.vhost(vhost.name.as_bytes()).unwrap_or_else(|| self.add_vhost(vhost.name.clone()));
            let ours = &mut self.vhosts[key];
            ours.settings.clone_from(&vhost.settings);
            ours.limits = vhost.limits;
            ours.policies.clone_from(&vhost.policies);
            ours.parameters.clone_from(&vhost.parameters);
            self.apply_policies(key, changes);
            for (_, exchange) in target.exchanges().into_iter().filter(|(_, exchange)| exchange.vhost == theirs) {
                if self.exchange(key, exchange.name.as_bytes()).is_none() {
                    let made = self.new_exchange(key, &exchange.name, exchange.kind, &exchange.raw_arguments);
                    let mut made = made.expect("what was declared there can be declared here");
                    (made.durable, made.auto_delete) = (exchange.durable, exchange.auto_delete);
                    (made.internal, made.hold) = (exchange.internal, exchange.hold);
                    changes.list.push(Change::ExchangeCreated(self.insert_exchange(made)));
                }
            }
            for (_, queue) in target.queues().into_iter().filter(|(_, queue)| queue.vhost == theirs) {
                if let Some((key, ours)) = self.queue_by_id(queue.id) {
                    let (has_other_members, is_moved) = (ours.members != queue.members, ours.home != queue.home);
                    let ours = &mut self.queues[key];
                    (ours.members_at, ours.home) = (queue.members_at, queue.home);
                    if has_other_members {
                        ours.members.clone_from(&queue.members);
                        changes.list.push(Change::QueueMembers(key));
                    }
                    if is_moved && !queue.is_replicated() {
                        changes.list.push(Change::QueueMoved(key));
                    }
                    continue;
                }
                let QueueRecord { id, name, durable, exclusive, auto_delete, raw_arguments, .. } = queue;
                let made = self.new_queue(key, *id, name, *durable, *exclusive, *auto_delete, raw_arguments);
                let mut made = made.expect("what was declared there can be declared here");
                made.home = queue.home;
                made.members.clone_from(&queue.members);
                made.members_at = queue.members_at;
                changes.list.push(Change::QueueCreated(self.insert_queue(made), *id));
            }
            self.take_over_bindings(key, target, theirs, changes);
        }
    }

    fn take_over_bindings(&mut self, key: VhostKey, target: &Self, theirs: VhostKey, changes: &mut Changes) {
        let of = |metadata: &Self, vhost| -> BTreeSet<Bound> {
            let bindings = metadata.bindings().into_iter();
            bindings.filter(|binding| binding.source.vhost == vhost).map(|binding| bound(&binding)).collect()
        };
        let (ours, wanted) = (of(self, key), of(target, theirs));
        for (gone, is_wanted) in ours
            .difference(&wanted)
            .map(|bound| (bound, false))
            .chain(wanted.difference(&ours).map(|bound| (bound, true)))
        {
            let (source, is_exchange, name, routing_key, arguments) = gone;
            let name = name.clone();
            let to = if *is_exchange { DestinationName::Exchange(name) } else { DestinationName::Queue(name) };
            let arguments = FieldTable::decode(arguments.clone().into()).expect("it was encoded just now");
            let ends = self.find_ends(key, source, &to, routing_key, &arguments);
            let (source, binding) = ends.expect("both ends are there by now");
            if is_wanted {
                let to = binding.destination;
                self.add_binding(source, binding);
                changes.list.push(Change::Bound(source, to));
            } else {
                self.remove_binding(source, &binding);
                changes.list.push(Change::Unbound);
            }
        }
    }
}

/// Whether two exchanges of the same name were declared alike, by the same declaration.
fn is_same(one: &Exchange, other: &Exchange) -> bool {
    one.kind == other.kind
        && one.durable == other.durable
        && one.auto_delete == other.auto_delete
        && one.internal == other.internal
        && one.hold == other.hold
        && one.raw_arguments == other.raw_arguments
}

/// Whether two queues with the same id are the same: always, unless the two nodes have different pasts. A replicated queue stays the same
/// when its members become others, and a classic queue on one node when it gets some.
fn is_same_queue(one: &QueueRecord, other: &QueueRecord) -> bool {
    one.name == other.name
        && (one.is_replicated() == other.is_replicated() || one.can_be_replicated())
        && one.durable == other.durable
        && one.exclusive == other.exclusive
        && one.auto_delete == other.auto_delete
        && one.raw_arguments == other.raw_arguments
}

fn bound(binding: &BindingView<'_>) -> Bound {
    let mut arguments = bytes::BytesMut::new();
    binding.arguments.encode(&mut arguments);
    let is_exchange = matches!(binding.destination, Destination::Exchange(_));
    let (source, name) = (binding.source.name.clone(), binding.destination_name.clone());
    (source, is_exchange, name, binding.routing_key.clone(), arguments.to_vec())
}
