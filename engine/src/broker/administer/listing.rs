//! Queues, exchanges and bindings as operators see them.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Broker;
use super::errands::{Answer, Next, To};
use super::replicas::Task;
use crate::amqp::{FieldTable, ShortStr};
use crate::cluster::inquiries::{Counts, Inquiry, Report};
use crate::cluster::version;
use crate::exchange::Hold;
use crate::ids::{AdminId, NodeId, QueueId};
use crate::management::{AdminError, BindingInfo, ExchangeInfo, OnlyConsumer, QueueInfo, QueueState};
use crate::metadata::{QueueRecord, VhostKey};
use crate::queue::quorum::QuorumQueue;
use crate::queue::{QueueKind, Subscriber};
use crate::routing::{Destination, QueueKey};

impl Broker {
    /// Begins to list queues: all nodes that can be reached have a part in it.
    pub(super) fn list_queues(&mut self, id: AdminId, vhost: Option<&ShortStr>) {
        let next = match self.only_vhost(vhost) {
            Ok(only) => {
                let own = self.metadata.own();
                let others = self.running().into_iter().filter(|node| *node != own);
                Next::Ask(Task::List(only), others.map(|node| (To::Node(node), Inquiry::Queues)).collect())
            }
            Err(error) => Next::Answer(Err(error)),
        };
        self.go_on_with(id, next);
    }

    /// The queues, with what their nodes say of them.
    pub(super) fn listed(&self, only: Option<VhostKey>, answers: &[(To, Answer)]) -> Vec<QueueInfo> {
        let own = self.metadata.own();
        let mut said: BTreeMap<QueueId, (NodeId, Counts)> = BTreeMap::new();
        for (_, answer) in answers {
            if let Answer::Said(node, Report::Queues(queues)) = answer {
                said.extend(queues.iter().map(|counts| (counts.queue, (*node, counts.clone()))));
            }
        }
        // What this node knows of its own is younger.
        said.extend(self.counts_of_queues().into_iter().map(|counts| (counts.queue, (own, counts))));
        let running = self.running();
        let queues =
            self.metadata.queues().into_iter().filter(|(_, record)| only.is_none_or(|only| record.vhost == only));
        queues.map(|(key, record)| self.queue_info(key, record, said.get(&record.id), &running)).collect()
    }

    /// A queue, with what the node where it is, or is led, has said of it. Of a queue of which nobody has said anything a replica here may
    /// know something.
    fn queue_info(
        &self,
        key: QueueKey,
        record: &QueueRecord,
        said: Option<&(NodeId, Counts)>,
        running: &[NodeId],
    ) -> QueueInfo {
        let has_members = record.is_replicated() || record.arguments.kind == QueueKind::Quorum;
        let nodes = if record.is_replicated() { record.members.clone() } else { Vec::from([record.home]) };
        let online: Vec<NodeId> = nodes.iter().copied().filter(|node| running.contains(node)).collect();
        let state = match said {
            Some((_, counts)) if counts.is_paused => QueueState::Paused,
            Some(_) => QueueState::Running,
            None if !record.is_replicated() => QueueState::Down,
            None if online.len() > nodes.len() / 2 => QueueState::Running,
            None => QueueState::Minority,
        };
        let replica = || self.replicas.machine(record.id).map(|machine| self.counts_of(record.id, machine));
        let counts = said.map(|(_, counts)| counts.clone()).or_else(replica).unwrap_or_default();
        let synchronised: Vec<NodeId> = online.iter().copied().filter(|node| !counts.learners.contains(node)).collect();
        let names = |nodes: &[NodeId]| nodes.iter().map(|node| self.node_name(*node)).collect::<Vec<_>>();
        QueueInfo {
            id: record.id,
            node: self.node_name(said.map_or(record.home, |(node, _)| *node)),
            vhost: self.vhost_name(record.vhost),
            name: record.name.clone(),
            kind: record.arguments.kind.name(),
            durable: record.durable,
            auto_delete: record.auto_delete,
            owner: record.exclusive,
            arguments: record.raw_arguments.clone(),
            state,
            messages_ready: counts.ready,
            messages_unacked: counts.unacked,
            ready_bytes: counts.ready_bytes,
            unacked_bytes: counts.unacked_bytes,
            messages_delayed: counts.delayed,
            delayed_bytes: counts.delayed_bytes,
            memory_bytes: counts.memory_bytes,
            consumers: counts.consumers,
            only_consumer: self.queues.get(key).and_then(|queue| {
                let consumer = queue.consumers().only()?;
                match consumer.who {
                    Subscriber::Channel { connection, channel, .. } => {
                        Some(OnlyConsumer { connection, channel, exclusive: consumer.exclusive })
                    }
                    Subscriber::Guest(_) => None,
                }
            }),
            leader: said.filter(|_| has_members).map(|(node, _)| self.node_name(*node)),
            members: if has_members { names(&nodes) } else { Vec::new() },
            online: if has_members { names(&online) } else { Vec::new() },
            synchronised: if has_members { names(&synchronised) } else { Vec::new() },
            is_local: nodes.contains(&self.metadata.own()),
            policies: record.policies.clone(),
            settings: Box::new(record.settings.clone()),
        }
    }

    /// What is in the queues that are on this node, or led by it.
    pub(super) fn counts_of_queues(&self) -> Vec<Counts> {
        let tells_delayed = self.peers.is_none() || self.is_known_to_all(version::COUNTS);
        let tells_votes = self.is_known_to_all(version::VOTES);
        let counts = |(key, record): (QueueKey, &QueueRecord)| {
            if let Some(queue) = self.queues.wherever(key) {
                let (delayed, delayed_bytes) = if tells_delayed { queue.delayed() } else { (0, 0) };
                return Some(Counts {
                    delayed,
                    delayed_bytes,
                    queue: record.id,
                    is_paused: queue.is_paused(),
                    ready: queue.ready_len() as u64,
                    unacked: queue.unacked_len() as u64,
                    ready_bytes: queue.ready_bytes(),
                    unacked_bytes: queue.unacked_bytes(),
                    memory_bytes: queue.body_bytes() as u64,
                    consumers: queue.consumers().len() as u64,
                    learners: Vec::new(),
                });
            }
            let is_led = self.replicas.leader(record.id).flatten() == Some(self.metadata.own());
            let counts = self.counts_of(record.id, self.replicas.machine(record.id).filter(|_| is_led)?);
            Some(if tells_votes { counts } else { Counts { learners: Vec::new(), ..counts } })
        };
        self.metadata.queues().into_iter().filter_map(counts).collect()
    }

    pub(super) fn list_exchanges(&self, vhost: Option<&ShortStr>) -> Result<Vec<ExchangeInfo>, AdminError> {
        let only = self.only_vhost(vhost)?;
        let exchanges = self
            .metadata
            .exchanges()
            .into_iter()
            .filter(|(_, exchange)| only.is_none_or(|only| exchange.vhost == only));
        Ok(exchanges
            .map(|(key, exchange)| ExchangeInfo {
                messages_delayed: self.holds.get(key).map_or(0, |hold| hold.len() as u64),
                bytes_delayed: self.holds.get(key).map_or(0, Hold::message_bytes),
                vhost: self.vhost_name(exchange.vhost),
                name: exchange.name.clone(),
                kind: exchange.kind.name(),
                durable: exchange.durable,
                auto_delete: exchange.auto_delete,
                internal: exchange.internal,
                arguments: exchange.raw_arguments.clone(),
                policy: exchange.policies.as_ref().and_then(|policies| policies.policy.clone()),
                alternate_exchange: exchange.settings.alternate_exchange.clone(),
            })
            .collect())
    }

    pub(super) fn list_bindings(&self, vhost: Option<&ShortStr>) -> Result<Vec<BindingInfo>, AdminError> {
        let only = self.only_vhost(vhost)?;
        let bindings = self.metadata.bindings();
        let declared = bindings.into_iter().filter(|binding| only.is_none_or(|only| binding.source.vhost == only)).map(
            |binding| BindingInfo {
                vhost: self.vhost_name(binding.source.vhost),
                source: binding.source.name.clone(),
                destination: binding.destination_name.clone(),
                leads_to_queue: matches!(binding.destination, Destination::Queue(_)),
                routing_key: binding.routing_key.clone(),
                arguments: binding.arguments,
            },
        );
        // Every queue is bound to the default exchange by its name (AMQP 0-9-1 §3.1.3.1).
        let queues =
            self.metadata.queues().into_iter().filter(|(_, record)| only.is_none_or(|only| record.vhost == only));
        let implied = queues.map(|(_, record)| BindingInfo {
            vhost: self.vhost_name(record.vhost),
            source: ShortStr::new(),
            destination: record.name.clone(),
            leads_to_queue: true,
            routing_key: record.name.clone(),
            arguments: FieldTable::new(),
        });
        let mut all: Vec<_> = declared.chain(implied).collect();
        all.sort_by(|a, b| {
            let key = |info: &BindingInfo| (info.vhost.clone(), info.source.clone(), info.destination.clone());
            key(a).cmp(&key(b)).then_with(|| a.routing_key.cmp(&b.routing_key))
        });
        Ok(all)
    }

    /// The vhost that a listing is limited to.
    pub(super) fn only_vhost(&self, vhost: Option<&ShortStr>) -> Result<Option<VhostKey>, AdminError> {
        vhost.map(|name| self.expect_vhost(name)).transpose()
    }

    /// The vhost with this name, or RabbitMQ's words for that there is none.
    pub(crate) fn expect_vhost(&self, name: &ShortStr) -> Result<VhostKey, AdminError> {
        self.metadata
            .vhost(name.as_bytes())
            .ok_or_else(|| AdminError::not_found(alloc::format!("Virtual host '{name}' does not exist")))
    }

    pub(crate) fn vhost_name(&self, key: VhostKey) -> ShortStr {
        self.metadata.vhost_by_key(key).map(|vhost| vhost.name.clone()).unwrap_or_default()
    }

    /// What is in a queue with replicas, as the one of this node has it.
    fn counts_of(&self, queue: QueueId, machine: &QuorumQueue) -> Counts {
        let stat = machine.stat();
        let status = self.peers.as_ref().and_then(|peers| peers.cluster().replica_status(queue));
        Counts {
            queue,
            is_paused: stat.is_paused,
            ready: stat.ready,
            unacked: stat.unacked,
            ready_bytes: stat.ready_bytes,
            unacked_bytes: stat.unacked_bytes,
            delayed: stat.delayed,
            delayed_bytes: stat.delayed_bytes,
            memory_bytes: 0,
            consumers: stat.consumers,
            learners: status.map(|status| status.members.learners().to_vec()).unwrap_or_default(),
        }
    }
}
