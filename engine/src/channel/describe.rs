//! What an operator is told about a channel and its consumers.

use alloc::string::String;
use alloc::vec::Vec;

use super::Channel;
use crate::amqp::ShortStr;
use crate::broker::Broker;
use crate::ids::ConnectionId;
use crate::management::{ChannelInfo, ConsumerInfo};

impl Channel {
    /// The channel as it is.
    pub(crate) fn info(
        &self,
        connection: ConnectionId,
        connection_name: String,
        user: &str,
        vhost: &ShortStr,
    ) -> ChannelInfo {
        let (messages_uncommitted, acks_uncommitted) = self.tx.as_ref().map_or((0, 0), |tx| tx.counts());
        ChannelInfo {
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
            let consumers = broker.queues.get(slot.queue)?.consumers();
            let consumer = consumers.get(slot.key)?;
            Some(ConsumerInfo {
                vhost: vhost.clone(),
                queue: broker.metadata.queue_by_key(slot.queue)?.name.clone(),
                connection,
                channel: self.number,
                tag: slot.tag.clone(),
                ack_required: !consumer.no_ack,
                exclusive: consumer.exclusive,
                prefetch: consumer.prefetch,
                active: consumers.is_active(slot.key),
                single_active: consumers.is_single_active() && consumers.is_active(slot.key),
                arguments: slot.arguments.clone(),
            })
        };
        self.consumers.iter().flatten().filter_map(of).collect()
    }
}
