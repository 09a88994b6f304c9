//! What an operator is told about a connection, its channels and its consumers.

use alloc::string::String;
use alloc::vec::Vec;

use super::flow::ReadPauses;
use super::{Connection, ConnectionCtx, State};
use crate::amqp::{AmqpError, FieldTable, ReplyCode};
use crate::broker::Broker;
use crate::ids::ConnectionId;
use crate::management::{ChannelInfo, ConnectionInfo, ConnectionState, ConsumerInfo};
use crate::metadata::VhostKey;

impl Connection {
    /// Its number.
    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// Whose it is; empty before authentication.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// What it has opened.
    pub(crate) fn vhost(&self) -> VhostKey {
        self.vhost
    }

    /// Where it comes from and leads, as RabbitMQ names connections.
    pub(crate) fn name(&self) -> String {
        alloc::format!("{} -> {}", self.peer, self.local)
    }

    /// The connection as it is.
    pub(crate) fn info(&self, broker: &Broker) -> ConnectionInfo {
        ConnectionInfo {
            node: broker.config.node_name.clone(),
            id: self.id,
            peer: self.peer,
            local: self.local,
            user: self.user.clone(),
            vhost: self.vhost_name.clone(),
            state: self.operators_state(broker),
            channels: u64::from(self.channel_count),
            channel_max: self.channel_max,
            frame_max: self.frame_max,
            heartbeat_s: self.heartbeat.as_secs(),
            mechanism: String::from(self.mechanism),
            // They were decoded when they came.
            client_properties: FieldTable::decode_entries(self.client_properties.clone()).unwrap_or_default(),
            connected_at: self.connected_at,
            received_bytes: self.received_bytes,
            waiting_bytes: self.outbox.waiting() as u64,
        }
    }

    /// What it does, in RabbitMQ's words.
    fn operators_state(&self, broker: &Broker) -> ConnectionState {
        match self.state {
            State::Header | State::Start | State::Tune | State::Open => ConnectionState::Starting,
            State::Closing | State::Closed => ConnectionState::Closing,
            State::Running if self.pauses.contains(ReadPauses::ALARM) => ConnectionState::Blocked,
            State::Running if broker.alarms.reason().is_some() => ConnectionState::Blocking,
            State::Running if self.is_read_paused() => ConnectionState::Flow,
            State::Running => ConnectionState::Running,
        }
    }

    /// Its channels as they are, ordered by number.
    pub(crate) fn channel_infos(&self, broker: &Broker) -> Vec<ChannelInfo> {
        let (node, name) = (&broker.config.node_name, self.name());
        let channels = self.channels.iter().flatten();
        channels.map(|channel| channel.info(node, self.id, name.clone(), &self.user, &self.vhost_name)).collect()
    }

    /// Its consumers as they are, ordered by channel.
    pub(crate) fn consumer_infos(&self, broker: &Broker) -> Vec<ConsumerInfo> {
        self.channels
            .iter()
            .flatten()
            .flat_map(|channel| channel.consumer_infos(broker, self.id, &self.vhost_name))
            .collect()
    }

    /// An operator wants it closed, and its client to know why.
    pub(crate) fn close_for_operator(&mut self, ctx: &mut ConnectionCtx<'_>, reason: &str) {
        match self.state {
            State::Running => self.fail(ctx, &AmqpError::connection(ReplyCode::ConnectionForced, String::from(reason))),
            State::Header | State::Start | State::Tune | State::Open => {
                self.end = Some(String::from(reason));
                self.close_socket(ctx);
            }
            State::Closing | State::Closed => {}
        }
    }
}
