//! How many connections and channels there are, and whose, for the limits on them (RabbitMQ docs: Virtual Hosts / Limits, Access
//! Control / User Limits, Connections).

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use super::Broker;
use crate::amqp::{AmqpError, ReplyCode};
use crate::metadata::VhostKey;

/// The connections that have opened a vhost, and their channels, counted.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    connections: u64,
    by_vhost: BTreeMap<VhostKey, u64>,
    by_user: BTreeMap<String, OfUser>,
}

#[derive(Debug, Default)]
struct OfUser {
    connections: u64,
    channels: u64,
}

/// How many connections there may be; `None` is any number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ConnectionLimits {
    /// On the node.
    pub(crate) node: Option<u32>,
    /// To the vhost.
    pub(crate) vhost: Option<u32>,
    /// Of the user.
    pub(crate) user: Option<u32>,
}

impl Broker {
    /// What clients and people are told the cluster is called: a global parameter, or else what is configured, or else the name of the
    /// node that has been in it for longest.
    pub(crate) fn cluster_name(&self) -> String {
        let set = self.metadata.global_parameters().find(|(name, _)| *name == "cluster_name");
        let set = set.and_then(|(_, value)| value.as_str());
        let first = || Some(self.peers.as_ref()?.cluster().nodes().next()?.1.name.as_str());
        let name = set.or(self.config.cluster_name.as_deref()).or_else(first).unwrap_or(&self.config.node_name);
        String::from(name)
    }
}

impl Sessions {
    /// Counts one more connection, if there may be one more.
    ///
    /// # Errors
    /// 530 NOT_ALLOWED on the connection if a limit is reached. Order and texts are RabbitMQ's.
    pub(crate) fn open(
        &mut self,
        vhost: VhostKey,
        vhost_name: &str,
        user: &str,
        limits: ConnectionLimits,
    ) -> Result<(), AmqpError> {
        let refuse = |text: String| Err(AmqpError::connection(ReplyCode::NotAllowed, text));
        let is_reached = |count: u64, limit: &u32| count >= u64::from(*limit);
        if let Some(limit) = limits.node.filter(|limit| is_reached(self.connections, limit)) {
            return refuse(format!("connection refused: node connection limit ({limit}) is reached"));
        }
        let of_vhost = self.by_vhost.get(&vhost).copied().unwrap_or_default();
        if let Some(limit) = limits.vhost.filter(|limit| is_reached(of_vhost, limit)) {
            return refuse(format!(
                "access to vhost '{vhost_name}' refused for user '{user}': connection limit ({limit}) is reached"
            ));
        }
        let of_user = self.by_user.get(user).map_or(0, |of_user| of_user.connections);
        if let Some(limit) = limits.user.filter(|limit| is_reached(of_user, limit)) {
            return refuse(format!("connection refused for user '{user}': user connection limit ({limit}) is reached"));
        }
        self.connections += 1;
        *self.by_vhost.entry(vhost).or_default() += 1;
        self.by_user.entry(user.to_owned()).or_default().connections += 1;
        Ok(())
    }

    /// Counts one connection less, which had so many channels.
    pub(crate) fn close(&mut self, vhost: VhostKey, user: &str, channels: u16) {
        self.connections -= 1;
        if let Some(count) = self.by_vhost.get_mut(&vhost) {
            *count -= 1;
            if *count == 0 {
                self.by_vhost.remove(&vhost);
            }
        }
        if let Some(of_user) = self.by_user.get_mut(user) {
            of_user.connections -= 1;
            of_user.channels -= u64::from(channels);
            if of_user.connections == 0 {
                self.by_user.remove(user);
            }
        }
    }

    /// Counts one more channel, if the user may have one more.
    ///
    /// # Errors
    /// 530 NOT_ALLOWED on the connection if the limit is reached.
    pub(crate) fn open_channel(&mut self, user: &str, limit: Option<u32>) -> Result<(), AmqpError> {
        let Some(of_user) = self.by_user.get_mut(user) else { return Ok(()) };
        if let Some(limit) = limit.filter(|limit| of_user.channels >= u64::from(*limit)) {
            let text = format!(
                "number of channels opened for user '{user}' has reached the maximum allowed user limit of ({limit})"
            );
            return Err(AmqpError::connection(ReplyCode::NotAllowed, text));
        }
        of_user.channels += 1;
        Ok(())
    }

    /// Counts one channel less.
    pub(crate) fn close_channel(&mut self, user: &str) {
        if let Some(of_user) = self.by_user.get_mut(user) {
            of_user.channels -= 1;
        }
    }
}
