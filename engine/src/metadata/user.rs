//! Users: who they are, what they may do where (RabbitMQ docs: Access Control).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Metadata, Pattern, VhostKey};
use crate::amqp::ShortStr;
use crate::auth::PasswordHash;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Their name.
    pub name: ShortStr,
    /// What proves that it is them.
    pub password: PasswordHash,
    /// What they may do beside AMQP: `administrator`, `monitoring`, `policymaker`, `management`, `impersonator`, and any others.
    pub tags: Vec<ShortStr>,
    /// How much of the node they may use.
    pub limits: UserLimits,
    pub(super) permissions: BTreeMap<ShortStr, Permissions>,
    pub(super) topic_permissions: BTreeMap<(ShortStr, ShortStr), TopicPermissions>,
}

/// How much one user may use (RabbitMQ docs: Per-User Limits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserLimits {
    /// Open connections; `None` is any number.
    pub connections_max: Option<u32>,
    /// Open channels over all connections; `None` is any number.
    pub channels_max: Option<u32>,
}

/// What a user may do in one vhost, by the names of queues and exchanges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Which they may create and delete.
    pub configure: Pattern,
    /// Which they may put messages into.
    pub write: Pattern,
    /// Which they may take messages out of.
    pub read: Pattern,
}

/// Which routing keys a user may use with one topic exchange (RabbitMQ docs: Topic Authorisation). Variables are filled in before the
/// expression is read, so it is kept as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPermissions {
    /// For publishing.
    pub write: String,
    /// For binding.
    pub read: String,
}

/// What somebody wants to do with a queue or exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Create or delete it.
    Configure,
    /// Put messages into it.
    Write,
    /// Take messages out of it.
    Read,
}

impl User {
    pub(super) fn new(name: ShortStr, password: PasswordHash, tags: Vec<ShortStr>) -> Self {
        Self {
            name,
            password,
            tags,
            limits: UserLimits::default(),
            permissions: BTreeMap::new(),
            topic_permissions: BTreeMap::new(),
        }
    }

    /// Whether they have this tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }

    /// What they may do in each vhost, by its name.
    pub fn permissions(&self) -> impl Iterator<Item = (&ShortStr, &Permissions)> {
        self.permissions.iter()
    }

    /// Their topic permissions: vhost, exchange, what they may do.
    pub fn topic_permissions(&self) -> impl Iterator<Item = (&ShortStr, &ShortStr, &TopicPermissions)> {
        self.topic_permissions.iter().map(|((vhost, exchange), permissions)| (vhost, exchange, permissions))
    }
}

impl Permissions {
    fn pattern(&self, access: Access) -> &Pattern {
        match access {
            Access::Configure => &self.configure,
            Access::Write => &self.write,
            Access::Read => &self.read,
        }
    }
}

impl Metadata {
    /// The user of this name.
    pub fn user(&self, name: &[u8]) -> Option<&User> {
        self.users.get(name)
    }

    /// All users, ordered by name.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// Grows with every change that can change what somebody may do.
    pub fn access_version(&self) -> u64 {
        self.access_version
    }

    /// Whether a user may open a vhost: they may do so where they have permissions, even if these allow nothing.
    pub fn may_open(&self, user: &[u8], vhost: &[u8]) -> bool {
        self.users.get(user).is_some_and(|user| user.permissions.contains_key(vhost))
    }

    /// Whether a user may do something with the queue or exchange of this name. The default exchange's is `amq.default`.
    pub fn may(&self, user: &[u8], vhost: VhostKey, access: Access, name: &[u8]) -> bool {
        let name: &[u8] = if name.is_empty() { b"amq.default" } else { name };
        let permissions = self.users.get(user).and_then(|user| user.permissions.get(self.vhost_name(vhost)));
        permissions.is_some_and(|permissions| permissions.pattern(access).is_match(name))
    }

    /// Whether a user has topic permissions for an exchange.
    pub fn has_topic_permissions(&self, user: &[u8], vhost: &ShortStr, exchange: &[u8]) -> bool {
        self.users.get(user).is_some_and(|user| {
            user.topic_permissions()
                .any(|(of_vhost, of_exchange, _)| of_vhost == vhost && of_exchange.as_bytes() == exchange)
        })
    }

    /// Whether a user's topic permissions allow a routing key with an exchange; without any for it they do.
    ///
    /// `client_id` is that of MQTT; elsewhere the variable stays as it is written, as in RabbitMQ.
    pub fn may_use_key(
        &self,
        user: &[u8],
        vhost: VhostKey,
        exchange: &[u8],
        access: Access,
        routing_key: &[u8],
    ) -> bool {
        let Some(user) = self.users.get(user) else { return false };
        if user.topic_permissions.is_empty() {
            return true;
        }
        let vhost = self.vhost_name(vhost);
        let found = user
            .topic_permissions
            .iter()
            .find(|((of_vhost, of_exchange), _)| of_vhost.as_bytes() == vhost && of_exchange.as_bytes() == exchange);
        let Some((_, permissions)) = found else { return true };
        let text = match access {
            Access::Write => &permissions.write,
            Access::Read | Access::Configure => &permissions.read,
        };
        let expanded = text
            .replace("{username}", &user.name.to_string_lossy())
            .replace("{vhost}", &String::from_utf8_lossy(vhost));
        Pattern::of_permission(&expanded).is_ok_and(|pattern| pattern.is_match(routing_key))
    }
}
