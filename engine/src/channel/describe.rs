//! What an operator is told about a channel and its consumers.

use alloc::string::String;
use alloc::vec::Vec;

use super::Channel;
use crate::amqp::ShortStr;
use crate::broker::Broker;
use crate::ids::ConnectionId;
use crate::management::{ChannelInfo, ConsumerInfo};
use crate::queue::{ClassicQueue, Consumers};

impl Channel {
    /// The channel as it is.
    pub(crate) fn info(
        &self,
        node: &str,
        connection: ConnectionId,
        connection_name: String,
        user: &str,
        vhost: &ShortStr,
    ) -> ChannelInfo {
        let (messages_uncommitted, acks_uncommitted) = self.tx.as_ref().map_or((0, 0), |tx| tx.counts());
        ChannelInfo {
            node: String::from(node),
            connection,
            number: self.number,
            connection_name,
            user: String::from(user),
            vhost: vhost.clone(),
            consumers: self.consumers_by_tag.len() as u64,
            messages_unacked: self.unacked.len() as u64,
            messages_unconfirmed: self.confirms.as_ref().map_or(0, |confirms| confirms.unconfirmed()),
            messages_uncommitted,
            acks_uncommitted,
            is_confirming: self.confirms.is_some(),
            is_transactional: self.tx.is_some(),
            prefetch: self.prefetch,
            prefetch_global: self.prefetch_global,
        }
    }

    /// Its consumers as they are, in the order of their slots.
    pub(crate) fn consumer_infos(
        &self,
        broker: &Broker,
        connection: ConnectionId,
        vhost: &ShortStr,
    ) -> Vec<ConsumerInfo> {
        let of = |slot: &super::ChannelConsumer| {
            let here = broker.queues.get(slot.queue).map(ClassicQueue::consumers);
            let (no_ack, exclusive, prefetch) = match here {
                Some(consumers) => {
                    let consumer = consumers.get(slot.key)?;
                    (consumer.no_ack, consumer.exclusive, consumer.prefetch)
                }
                None => broker.remote_consumer(slot.key)?,
            };
            // Of a queue of another node that node alone knows which of its consumers is active.
            let active = here.is_none_or(|consumers| consumers.is_active(slot.key));
            Some(ConsumerInfo {
                node: broker.config.node_name.clone(),
                vhost: vhost.clone(),
                queue: broker.metadata.queue_by_key(slot.queue)?.name.clone(),
                connection,
                channel: self.number,
                tag: slot.tag.clone(),
                ack_required: !no_ack,
                exclusive,
                prefetch,
                active,
                single_active: active && here.is_some_and(Consumers::is_single_active),
                arguments: slot.arguments.clone(),
            })
        };
        self.consumers.iter().flatten().filter_map(of).collect()
    }
}
