//! Queues, exchanges and bindings as operators see them.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::Broker;
use crate::amqp::{FieldTable, ShortStr};
use crate::cluster::inquiries::Counts;
use crate::exchange::Hold;
use crate::management::{AdminError, BindingInfo, ExchangeInfo, OnlyConsumer, QueueInfo, QueueState};
use crate::metadata::{QueueRecord, VhostKey};
use crate::queue::{QueueKind, Subscriber};
use crate::routing::{Destination, QueueKey};

impl Broker {
    pub(super) fn list_queues(&self, vhost: Option<&ShortStr>) -> Result<Vec<QueueInfo>, AdminError> {
        let only = self.only_vhost(vhost)?;
        let queues =
            self.metadata.queues().into_iter().filter(|(_, record)| only.is_none_or(|only| record.vhost == only));
        Ok(queues.filter_map(|(key, record)| self.queue_info(key, record)).collect())
    }

    fn queue_info(&self, key: QueueKey, record: &QueueRecord) -> Option<QueueInfo> {
        let Some(queue) = self.queues.get(key) else { return self.replica_info(record) };
        Some(QueueInfo {
            id: record.id,
            vhost: self.vhost_name(record.vhost),
            name: record.name.clone(),
            kind: queue.kind.name(),
            durable: record.durable,
            auto_delete: record.auto_delete,
            owner: record.exclusive,
            arguments: record.raw_arguments.clone(),
            state: if queue.is_paused() { QueueState::Paused } else { QueueState::Running },
            messages_ready: queue.ready_len() as u64,
            messages_unacked: queue.unacked_len() as u64,
            ready_bytes: queue.ready_bytes(),
            unacked_bytes: queue.unacked_bytes(),
            memory_bytes: queue.body_bytes() as u64,
            consumers: queue.consumers().len() as u64,
            only_consumer: queue.consumers().only().and_then(|consumer| match consumer.who {
                Subscriber::Channel { connection, channel, .. } => {
                    Some(OnlyConsumer { connection, channel, exclusive: consumer.exclusive })
                }
                Subscriber::Guest(_) => None,
            }),
            leader: (queue.kind == QueueKind::Quorum).then(|| self.config.node_name.clone()),
            policies: record.policies.clone(),
            settings: Box::new(record.settings.clone()),
        })
    }

    /// A queue of which there is a replica here, as that has it. What other nodes alone have is listed there.
    fn replica_info(&self, record: &QueueRecord) -> Option<QueueInfo> {
        let stat = self.replicas.machine(record.id)?.stat();
        let leader = self.replicas.leader(record.id).flatten();
        let leader = leader.and_then(|leader| self.peers.as_ref()?.cluster().name_of(leader));
        Some(QueueInfo {
            id: record.id,
            vhost: self.vhost_name(record.vhost),
            name: record.name.clone(),
            kind: record.arguments.kind.name(),
            durable: record.durable,
            auto_delete: record.auto_delete,
            owner: record.exclusive,
            arguments: record.raw_arguments.clone(),
            state: if stat.is_paused { QueueState::Paused } else { QueueState::Running },
            messages_ready: stat.ready,
            messages_unacked: stat.unacked,
            ready_bytes: stat.ready_bytes,
            unacked_bytes: stat.unacked_bytes,
            memory_bytes: 0,
            consumers: stat.consumers,
            only_consumer: None,
            leader: leader.map(String::from),
            policies: record.policies.clone(),
            settings: Box::new(record.settings.clone()),
        })
    }

    /// What is in the queues that are on this node, or led by it.
    pub(super) fn counts_of_queues(&self) -> Vec<Counts> {
        let counts = |(key, record): (QueueKey, &QueueRecord)| {
            if let Some(queue) = self.queues.get(key) {
                return Some(Counts {
                    queue: record.id,
                    is_paused: queue.is_paused(),
                    ready: queue.ready_len() as u64,
                    unacked: queue.unacked_len() as u64,
                    ready_bytes: queue.ready_bytes(),
                    unacked_bytes: queue.unacked_bytes(),
                    memory_bytes: queue.body_bytes() as u64,
                    consumers: queue.consumers().len() as u64,
                });
            }
            let is_led = self.replicas.leader(record.id).flatten() == Some(self.metadata.own());
            let stat = self.replicas.machine(record.id).filter(|_| is_led)?.stat();
            Some(Counts {
                queue: record.id,
                is_paused: stat.is_paused,
                ready: stat.ready,
                unacked: stat.unacked,
                ready_bytes: stat.ready_bytes,
                unacked_bytes: stat.unacked_bytes,
                memory_bytes: 0,
                consumers: stat.consumers,
            })
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
}
