//! What the connection's user may do (RabbitMQ docs: Access Control). The checks, their order and their texts are RabbitMQ's.

use alloc::format;
use smallvec::SmallVec;

use super::ChannelCtx;
use crate::amqp::{AmqpError, LongStr, ReplyCode, ShortStr};
use crate::metadata::{Access, Metadata};
use crate::routing::{ExchangeKey, ExchangeKind};

/// Exchanges that the channel's user may write to, so that a publish need not search for permissions.
#[derive(Debug, Default)]
pub(super) struct Writable {
    /// As of which state of all permissions.
    version: u64,
    /// Each with whether its routing keys have to be looked at.
    exchanges: SmallVec<[(ExchangeKey, bool); 2]>,
}

/// Exchanges kept by one channel; RabbitMQ's number.
const WRITABLE_MAX: usize = 12;

impl Writable {
    /// Whether the routing keys for an exchange have to be looked at; `None` if nothing is known about it.
    fn find(&self, metadata: &Metadata, exchange: ExchangeKey) -> Option<bool> {
        if self.version != metadata.access_version() {
            return None;
        }
        self.exchanges.iter().find(|(known, _)| *known == exchange).map(|(_, checks_keys)| *checks_keys)
    }

    fn insert(&mut self, metadata: &Metadata, exchange: ExchangeKey, checks_keys: bool) {
        if self.version != metadata.access_version() || self.exchanges.len() >= WRITABLE_MAX {
            self.version = metadata.access_version();
            self.exchanges.clear();
        }
        self.exchanges.push((exchange, checks_keys));
    }

    /// Checks that the user may write to an exchange, and finds it. Whether the routing keys have to be looked at too.
    ///
    /// # Errors
    /// Channel errors 403 ACCESS_REFUSED and then 404 NOT_FOUND.
    pub(super) fn check(&mut self, ctx: &ChannelCtx<'_>, name: &[u8]) -> Result<(ExchangeKey, bool), AmqpError> {
        let metadata = &ctx.broker.metadata;
        let found = metadata.exchange(ctx.vhost, name);
        if let Some((key, _)) = found
            && let Some(checks_keys) = self.find(metadata, key)
        {
            return Ok((key, checks_keys));
        }
        ctx.check_exchange(Access::Write, name)?;
        let (key, exchange) = metadata.expect_exchange(ctx.vhost, name)?;
        let checks_keys = exchange.kind == ExchangeKind::Topic
            && metadata.has_topic_permissions(ctx.user.as_bytes(), ctx.vhost_name, name);
        self.insert(metadata, key, checks_keys);
        Ok((key, checks_keys))
    }
}

impl ChannelCtx<'_> {
    /// Checks that the user may do this with a queue, whether or not there is one of this name.
    ///
    /// # Errors
    /// Channel error 403 ACCESS_REFUSED.
    pub(super) fn check_queue(&self, access: Access, name: &[u8]) -> Result<(), AmqpError> {
        self.check_access(access, "queue", name)
    }

    /// Checks that the user may do this with an exchange, whether or not there is one of this name.
    ///
    /// # Errors
    /// Channel error 403 ACCESS_REFUSED.
    pub(super) fn check_exchange(&self, access: Access, name: &[u8]) -> Result<(), AmqpError> {
        self.check_access(access, "exchange", name)
    }

    fn check_access(&self, access: Access, kind: &str, name: &[u8]) -> Result<(), AmqpError> {
        if self.broker.metadata.may(self.user.as_bytes(), self.vhost, access, name) {
            return Ok(());
        }
        let name = if name.is_empty() && kind == "exchange" { b"amq.default" } else { name };
        let name = alloc::string::String::from_utf8_lossy(name);
        let text = format!("access to {kind} '{name}' in vhost '{}' refused for user '{}'", self.vhost_name, self.user);
        Err(AmqpError::channel(ReplyCode::AccessRefused, text))
    }

    /// Checks a routing key against the user's topic permissions, if the exchange is a topic exchange (RabbitMQ docs: Topic
    /// Authorisation).
    ///
    /// # Errors
    /// Channel error 403 ACCESS_REFUSED.
    pub(super) fn check_key(&self, access: Access, exchange: &[u8], routing_key: &[u8]) -> Result<(), AmqpError> {
        let metadata = &self.broker.metadata;
        let is_topic =
            metadata.exchange(self.vhost, exchange).is_some_and(|(_, found)| found.kind == ExchangeKind::Topic);
        if !is_topic || metadata.may_use_key(self.user.as_bytes(), self.vhost, exchange, access, routing_key) {
            return Ok(());
        }
        let (exchange, key) = (ShortStr::try_from(exchange), ShortStr::try_from(routing_key));
        let text = format!(
            "access to topic '{}' in exchange '{}' in vhost '{}' refused for user '{}'",
            key.unwrap_or_default(),
            exchange.unwrap_or_default(),
            self.vhost_name,
            self.user
        );
        Err(AmqpError::channel(ReplyCode::AccessRefused, text))
    }

    /// Checks what it takes to name another exchange in the arguments of what is about to be made: a dead-letter exchange for a queue,
    /// an alternate exchange for an exchange. Whoever could not read it nor write there could move messages all the same.
    ///
    /// # Errors
    /// Channel error 403 ACCESS_REFUSED.
    pub(super) fn check_forwarding(&self, kind: &str, name: &[u8], to: Option<&LongStr>) -> Result<(), AmqpError> {
        let Some(to) = to else { return Ok(()) };
        self.check_access(Access::Read, kind, name)?;
        self.check_exchange(Access::Write, to.as_bytes())
    }
}
