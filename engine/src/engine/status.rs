//! What a node shows of itself: to operators, to metrics, and to the simulator, which judges it by this.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use super::{Engine, Phase};
use crate::amqp::ShortStr;
use crate::ids::{Lsn, QueueId};
use crate::routing::{Destination, QueueKey};

/// One queue, as an observer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueStatus {
    /// Its incarnation.
    pub id: QueueId,
    /// Its vhost.
    pub vhost: String,
    /// Its name.
    pub name: String,
    /// Messages waiting for a consumer.
    pub ready: u64,
    /// Messages delivered and not yet acked.
    pub unacked: u64,
    /// Messages that died here and are still to be dead-lettered.
    pub dying: u64,
    /// Consumers.
    pub consumers: u64,
}

/// A replica of a queue, as an observer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The queue.
    pub queue: QueueId,
    /// Its name.
    pub name: String,
    /// The term of its group, as far as this replica knows.
    pub term: u64,
    /// The last entry of the queue's group that it has applied.
    pub applied: u64,
    /// The same for all replicas that have applied the same.
    pub state_hash: u64,
    /// Whether it leads.
    pub leads: bool,
    /// Messages waiting for a consumer.
    pub ready: u64,
    /// Messages out with consumers.
    pub unacked: u64,
    /// Consumers.
    pub consumers: u64,
}

/// How far a replica of a queue is, as an observer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaReach {
    /// The queue.
    pub queue: QueueId,
    /// The term of its group, as far as this replica knows.
    pub term: u64,
    /// Whether it leads.
    pub leads: bool,
    /// The last entry of the group that it has applied, and its term.
    pub applied: u64,
    /// See `applied`.
    pub applied_term: u64,
    /// The replicas of which a majority decides.
    pub voters: u64,
    /// The last entry that it has written or is writing, and its term.
    pub last: u64,
    /// See `last`.
    pub last_term: u64,
}

/// An entry in the log of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaEntry {
    /// Its place.
    pub index: u64,
    /// The term that it was made in.
    pub term: u64,
    /// It is durable once the node's log is up to here.
    pub end: Lsn,
}

/// See [`Engine::log_reach`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogReach {
    /// The end of what was appended.
    pub end: Lsn,
    /// The end of what was carried out because it is durable.
    pub durable: Lsn,
}

/// What a node holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Open client connections.
    pub connections: u64,
    /// Open channels.
    pub channels: u64,
    /// Bytes of message bodies in memory.
    pub body_bytes: u64,
    /// Bytes waiting for clients' sockets.
    pub outbox_bytes: u64,
    /// Segments of the log.
    pub log_segments: u64,
    /// Bytes of the log's segments on disk.
    pub log_bytes: u64,
    /// Bytes of the log that are still needed.
    pub log_live_bytes: u64,
}

impl Engine {
    /// All queues as they are, ordered by vhost and name.
    pub fn queues(&self) -> Vec<QueueStatus> {
        let status = |key: QueueKey| {
            let record = self.broker.metadata.queue_by_key(key)?;
            let queue = self.broker.queues.get(key)?;
            Some(QueueStatus {
                id: record.id,
                vhost: self.broker.metadata.vhost_by_key(record.vhost)?.name.to_string_lossy().into_owned(),
                name: record.name.to_string_lossy().into_owned(),
                ready: queue.ready_len() as u64,
                unacked: queue.unacked_len() as u64,
                dying: queue.dying().len() as u64,
                consumers: queue.consumers().len() as u64,
            })
        };
        self.broker.metadata.queues().into_iter().filter_map(|(key, _)| status(key)).collect()
    }

    /// What all nodes of a cluster have in common: up to which of its commands this one has carried them out, and what came of it. Two
    /// nodes with the same number have the same bytes. `None` while the node is in no cluster.
    pub fn shared_state(&self) -> Option<(u64, Bytes)> {
        let metadata = &self.broker.metadata;
        let is_in = self.broker.peers.is_some() && metadata.is_founded();
        is_in.then(|| (metadata.applied(), metadata.snapshot_all()))
    }

    /// The number that [`Engine::shared_state`] begins with, which costs nothing.
    pub fn shared_applied(&self) -> Option<u64> {
        let metadata = &self.broker.metadata;
        (self.broker.peers.is_some() && metadata.is_founded()).then(|| metadata.applied())
    }

    /// Whether something that was asked of the cluster here is not carried out yet, as far as this node knows; for the simulator.
    pub fn has_asked_cluster(&self) -> bool {
        self.broker.has_asked_cluster()
    }

    /// Whether something that channels of this node said to queues of other nodes, or to replicated ones, is not known to be carried out;
    /// for the simulator.
    pub fn has_outstanding(&self) -> bool {
        self.broker.has_outstanding()
    }

    /// The names of the nodes of the cluster, in the order in which they came; empty while the node is in none.
    pub fn cluster_nodes(&self) -> Vec<String> {
        let peers = self.broker.peers.iter();
        peers.flat_map(|peers| peers.cluster().nodes()).map(|(_, node)| node.name.clone()).collect()
    }

    /// The names of the nodes of the cluster to which there is a link, each with which of its lives it leads to; for the simulator.
    pub fn cluster_links(&self) -> impl Iterator<Item = (String, u64)> {
        let linked = self.broker.peers.iter().flat_map(|peers| peers.linked().map(move |link| (peers, link)));
        linked.filter_map(|(peers, (node, _, boot))| Some((String::from(peers.cluster().name_of(node)?), boot.0)))
    }

    /// Which of its lives in the cluster this node is in; for the simulator. `None` while it is in no cluster.
    pub fn cluster_life(&self) -> Option<u64> {
        self.broker.peers.as_ref()?.own().map(|(_, boot)| boot)
    }

    /// Which version of the protocol between nodes all nodes of the cluster speak, as far as this one knows; 0 while it is in none.
    pub fn cluster_version(&self) -> u16 {
        self.broker.peers.as_ref().map_or(0, |peers| peers.cluster().version())
    }

    /// The names of all queues of all nodes, each with whether it is on this one, ordered by vhost and name.
    pub fn declared_queues(&self) -> impl Iterator<Item = (String, bool)> {
        let metadata = &self.broker.metadata;
        let queues = metadata.queues().into_iter();
        queues.map(|(_, record)| (record.name.to_string_lossy().into_owned(), metadata.is_here(record)))
    }

    /// The replicas of quorum queues that are on this node, ordered by queue. Walks all their messages.
    pub fn replicas(&self) -> Vec<ReplicaStatus> {
        self.broker.replica_statuses().collect()
    }

    /// How far each of these is, which costs little.
    pub fn replica_reaches(&self) -> impl Iterator<Item = ReplicaReach> {
        self.broker.replica_reaches()
    }

    /// The entries of a replica behind an index, the last one first; if the log begins behind that, with what stands for the rest.
    pub fn replica_entries(&self, queue: QueueId, index: u64) -> impl Iterator<Item = ReplicaEntry> {
        self.broker.replica_entries(queue, index)
    }

    /// One of these replicas as [`Engine::replicas`] has it.
    pub fn replica(&self, queue: QueueId) -> Option<ReplicaStatus> {
        self.broker.replica_status(queue)
    }

    /// The names of all exchanges but the default one and those that are the broker's own, ordered by vhost and name.
    pub fn declared_exchanges(&self) -> impl Iterator<Item = String> {
        let exchanges = self.broker.metadata.exchanges().into_iter();
        exchanges.map(|(_, exchange)| exchange.name.to_string_lossy().into_owned()).filter(|name| !name.is_empty())
    }

    /// All bindings: the source, "queue" or "exchange", the destination and the key.
    pub fn declared_bindings(&self) -> impl Iterator<Item = [String; 4]> {
        self.broker.metadata.bindings().into_iter().map(|binding| {
            let kind = if let Destination::Exchange(_) = binding.destination { "exchange" } else { "queue" };
            let text = |name: &ShortStr| name.to_string_lossy().into_owned();
            let (source, destination) = (text(&binding.source.name), text(binding.destination_name));
            [source, String::from(kind), destination, text(binding.routing_key)]
        })
    }

    /// What the node holds, for limits, metrics and the simulator.
    pub fn usage(&self) -> Usage {
        let log = self.broker.log.usage();
        let slots = || self.connections.ids.iter().filter_map(|id| self.connections.by_id.get(id));
        Usage {
            connections: self.connections.ids.len() as u64,
            channels: slots().map(|slot| u64::from(slot.connection.channel_count())).sum(),
            body_bytes: self.broker.body_bytes() as u64,
            outbox_bytes: slots().map(|slot| slot.connection.outbox.waiting() as u64).sum(),
            log_segments: log.segments,
            log_bytes: log.bytes,
            log_live_bytes: log.live_bytes,
        }
    }

    /// How far the log goes, and up to where it is durable as far as this node knows; for the simulator.
    pub fn log_reach(&self) -> LogReach {
        LogReach { end: self.broker.log.end(), durable: self.broker.log.durable() }
    }

    /// Checks all invariants, within machines and across them. Walks everything the node holds.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check_invariants(&self) {
        if !matches!(self.phase, Phase::Joining | Phase::Running | Phase::Stopping) {
            return;
        }
        self.broker.check_invariants();
        for id in &self.connections.ids {
            let slot = self.connections.by_id.get(id).expect("ids and connections agree");
            slot.connection.check_invariants();
        }
    }
}
