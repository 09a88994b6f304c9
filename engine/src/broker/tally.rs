//! How many connections and channels are open for whom, for the limits of vhosts and users.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use slotmap::SecondaryMap;

use super::Broker;
use crate::amqp::{AmqpError, ReplyCode};
use crate::metadata::VhostKey;

/// What is open.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    by_vhost: SecondaryMap<VhostKey, u32>,
    by_user: BTreeMap<String, Open>,
}

/// What one user has open.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    connections: u32,
    channels: u32,
}

impl Broker {
    /// What clients and people are told the cluster is called: a global parameter, or else the node's name.
    pub(crate) fn cluster_name(&self) -> String {
        let named = self.metadata.global_parameters().find(|(name, _)| *name == "cluster_name");
        named.and_then(|(_, value)| value.as_str()).map_or_else(|| self.config.node_name.clone(), String::from)
    }

    /// Checks that a user may open a vhost, and counts the connection (RabbitMQ docs: Virtual Hosts / Limits, Per-User Limits).
    ///
    /// # Errors
    /// Connection error 530 NOT_ALLOWED in RabbitMQ's words.
    pub(crate) fn admit_connection(&mut self, vhost: VhostKey, vhost_name: &str, user: &str) -> Result<(), AmqpError> {
        let refuse = |text: String| Err(AmqpError::connection(ReplyCode::NotAllowed, text));
        let in_vhost = self.tally.by_vhost.get(vhost).copied().unwrap_or(0);
        let limits = self.metadata.vhost_by_key(vhost).map(|vhost| vhost.limits).unwrap_or_default();
        if let Some(limit) = limits.connections_max.filter(|limit| in_vhost >= *limit) {
            return refuse(format!(
                "access to vhost '{vhost_name}' refused for user '{user}': connection limit ({limit}) is reached"
            ));
        }
        let own = self.tally.by_user.get(user).copied().unwrap_or_default();
        let limits = self.metadata.user(user.as_bytes()).map(|user| user.limits).unwrap_or_default();
        if let Some(limit) = limits.connections_max.filter(|limit| own.connections >= *limit) {
            return refuse(format!("connection refused for user '{user}': user connection limit ({limit}) is reached"));
        }
        if !self.metadata.may_open(user.as_bytes(), vhost_name.as_bytes()) {
            return refuse(format!("access to vhost '{vhost_name}' refused for user '{user}'"));
        }
        self.tally.by_vhost.insert(vhost, in_vhost + 1);
        self.tally.by_user.insert(user.into(), Open { connections: own.connections + 1, ..own });
        Ok(())
    }

    /// A connection that was counted ended.
    pub(crate) fn forget_connection(&mut self, vhost: VhostKey, user: &str) {
        // The vhost may be gone, and with it the number.
        if let Some(count) = self.tally.by_vhost.get_mut(vhost) {
            *count -= 1;
        }
        let Some(open) = self.tally.by_user.get_mut(user) else { return };
        open.connections -= 1;
        if open.connections == 0 {
            self.tally.by_user.remove(user);
        }
    }

    /// Checks that a user may open a further channel, and counts it.
    ///
    /// # Errors
    /// Connection error 530 NOT_ALLOWED in RabbitMQ's words.
    pub(crate) fn admit_channel(&mut self, user: &str) -> Result<(), AmqpError> {
        let Some(open) = self.tally.by_user.get_mut(user) else { return Ok(()) };
        let limits = self.metadata.user(user.as_bytes()).map(|user| user.limits).unwrap_or_default();
        if let Some(limit) = limits.channels_max.filter(|limit| open.channels >= *limit) {
            let text = format!(
                "number of channels opened for user '{user}' has reached the maximum allowed user limit of ({limit})"
            );
            return Err(AmqpError::connection(ReplyCode::NotAllowed, text));
        }
        open.channels += 1;
        Ok(())
    }

    /// So many channels of a user ended.
    pub(crate) fn forget_channels(&mut self, user: &str, count: u16) {
        if let Some(open) = self.tally.by_user.get_mut(user) {
            open.channels -= u32::from(count);
        }
    }
}
