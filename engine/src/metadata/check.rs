//! What a command would do, and whether it may.
//!
//! The order of the checks and their texts are RabbitMQ 3.10's. An error's method is for the channel to fill in.

use alloc::format;

use super::arguments::{EXCHANGE_EQUIVALENCE, ExchangeArguments, QUEUE_EQUIVALENCE, QueueArguments};
use super::binding::Binding;
use super::equivalence::{check_arguments, check_property};
use super::name::{Named, check_exchange_name, is_reserved};
use super::{Answer, Command, DestinationName, Metadata, VhostKey};
use crate::amqp::{AmqpError, FieldTable, ReplyCode, ShortStr};
use crate::ids::{ConnectionId, NodeId};
use crate::routing::{Destination, ExchangeKey, ExchangeKind};

impl Metadata {
    /// Looks at a command without carrying it out. `by` is the connection that asks; `None` is the node itself, which may use
    /// exclusive queues.
    ///
    /// A queue's reserved name is [checked by the channel](super::check_queue_name), which knows whether the client or the server
    /// chose it. Permissions are its business too.
    ///
    /// # Errors
    /// Channel errors 403, 404, 405 and 406 as RabbitMQ gives them.
    pub fn check(&self, command: &Command, by: Option<ConnectionId>) -> Result<Answer, AmqpError> {
        let vhost = self.vhost_of(command)?;
        match command {
            Command::Administer(administration) => self
                .check_administration(administration)
                .map_err(|error| AmqpError::connection(ReplyCode::NotAllowed, error.text)),
            Command::DeclareExchange { name, kind, durable, auto_delete, internal, arguments, .. } => {
                self.check_declare_exchange(vhost, name, kind, *durable, *auto_delete, *internal, arguments)
            }
            Command::OpenHold { name, .. } => Ok(match self.expect_exchange(vhost, name.as_bytes())?.1.hold {
                Some(_) => Answer::AlreadySo,
                None => Answer::NeedsApply,
            }),
            Command::DeleteExchange { name, if_unused, .. } => self.check_delete_exchange(vhost, name, *if_unused),
            Command::DeclareQueue { name, home, durable, exclusive, auto_delete, arguments, .. } => {
                self.check_declare_queue(vhost, name, *home, *durable, *exclusive, *auto_delete, arguments, by)
            }
            Command::Found { .. } => Ok(if self.is_founded { Answer::AlreadySo } else { Answer::NeedsApply }),
            Command::Begin { .. } => Ok(Answer::NeedsApply),
            Command::DeleteQueue { name, id, .. } => match self.queue(vhost, name.as_bytes()) {
                Some((key, queue)) if queue.id == *id => {
                    by.map_or(Ok(()), |connection| self.check_exclusive(key, connection))?;
                    Ok(Answer::NeedsApply)
                }
                _ => Ok(Answer::AlreadySo),
            },
            Command::SetMembers { name, id, members, at, .. } => Ok(match self.queue(vhost, name.as_bytes()) {
                Some((_, queue)) if queue.id == *id && queue.would_move_to(members, *at) => Answer::NeedsApply,
                _ => Answer::AlreadySo,
            }),
            Command::SetHome { name, id, home, .. } => Ok(match self.queue(vhost, name.as_bytes()) {
                Some((_, queue)) if queue.id == *id && !queue.is_replicated() && queue.home != *home => {
                    Answer::NeedsApply
                }
                _ => Answer::AlreadySo,
            }),
            Command::Replicate { name, id, node, .. } => Ok(match self.queue(vhost, name.as_bytes()) {
                Some((_, queue)) if queue.id == *id && queue.can_be_replicated() && queue.home == *node => {
                    Answer::NeedsApply
                }
                _ => Answer::AlreadySo,
            }),
            Command::Bind { source, destination, routing_key, arguments, .. } => {
                let (source, binding) = self.find_ends(vhost, source, destination, routing_key, arguments)?;
                let exchange = &self.exchanges[source];
                exchange.arguments.matching.check_binding(binding.destination, routing_key, arguments)?;
                self.check_destination(binding.destination, by)?;
                Ok(if exchange.bindings.contains(&binding) { Answer::AlreadySo } else { Answer::NeedsApply })
            }
            Command::Unbind { source, destination, routing_key, arguments, .. } => {
                check_not_default(source, destination)?;
                // Whatever is missing, there is no binding, and that is what was asked for.
                match self.find_ends(vhost, source, destination, routing_key, arguments) {
                    Ok((source, binding)) if self.exchanges[source].bindings.contains(&binding) => {
                        self.check_destination(binding.destination, by)?;
                        Ok(Answer::NeedsApply)
                    }
                    _ => Ok(Answer::AlreadySo),
                }
            }
        }
    }

    /// Whether carrying out a command changes what outlives a restart, so that it has to be logged first. Look at [`Metadata::check`]
    /// before: a command that changes nothing needs no log either.
    pub fn is_durable(&self, command: &Command) -> bool {
        let Ok(vhost) = self.vhost_of(command) else {
            return false;
        };
        match command {
            Command::Administer(_) | Command::Found { .. } | Command::Begin { .. } => true,
            Command::DeclareExchange { durable, .. } => *durable,
            Command::DeclareQueue { durable, exclusive, .. } => *durable && exclusive.is_none(),
            Command::DeleteExchange { name, .. } | Command::OpenHold { name, .. } => {
                self.is_durable_exchange(vhost, name)
            }
            Command::DeleteQueue { name, .. }
            | Command::SetMembers { name, .. }
            | Command::SetHome { name, .. }
            | Command::Replicate { name, .. } => self.is_durable_queue(vhost, name),
            Command::Bind { source, destination, .. } | Command::Unbind { source, destination, .. } => {
                self.is_durable_exchange(vhost, source)
                    && match destination {
                        DestinationName::Queue(name) => self.is_durable_queue(vhost, name),
                        DestinationName::Exchange(name) => self.is_durable_exchange(vhost, name),
                    }
            }
        }
    }

    /// The vhost a command is about; of no meaning for what administrators ask.
    pub(super) fn vhost_of(&self, command: &Command) -> Result<VhostKey, AmqpError> {
        let Some(name) = command.vhost() else { return Ok(VhostKey::default()) };
        self.vhost(name.as_bytes())
            .ok_or_else(|| AmqpError::connection(ReplyCode::NotAllowed, format!("vhost {name} not found")))
    }

    fn is_durable_exchange(&self, vhost: VhostKey, name: &ShortStr) -> bool {
        self.exchange(vhost, name.as_bytes()).is_some_and(|(_, exchange)| exchange.durable)
    }

    fn is_durable_queue(&self, vhost: VhostKey, name: &ShortStr) -> bool {
        self.queue(vhost, name.as_bytes()).is_some_and(|(_, queue)| queue.durable)
    }

    fn check_declare_exchange(
        &self,
        vhost: VhostKey,
        name: &ShortStr,
        kind: &ShortStr,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: &FieldTable,
    ) -> Result<Answer, AmqpError> {
        let kind = check_exchange_kind(kind)?;
        check_not_default_exchange(name.as_bytes())?;
        let what = Named::exchange(name.as_bytes(), self.vhost_name(vhost));
        let Some((_, current)) = self.exchange(vhost, name.as_bytes()) else {
            check_exchange_name(name.as_bytes())?;
            ExchangeArguments::parse(kind, arguments, &what)?;
            return Ok(Answer::NeedsApply);
        };
        check_property("type", &what, kind, current.kind)?;
        check_property("durable", &what, durable, current.durable)?;
        check_property("auto_delete", &what, auto_delete, current.auto_delete)?;
        check_property("internal", &what, internal, current.internal)?;
        check_arguments(&EXCHANGE_EQUIVALENCE, &what, arguments, &current.raw_arguments)?;
        Ok(Answer::AlreadySo)
    }

    fn check_delete_exchange(&self, vhost: VhostKey, name: &ShortStr, if_unused: bool) -> Result<Answer, AmqpError> {
        let vhost_name = &self.vhosts[vhost].name;
        check_deletable_exchange(name.as_bytes(), vhost_name)?;
        let what = Named::exchange(name.as_bytes(), vhost_name.as_bytes());
        match self.exchange(vhost, name.as_bytes()) {
            None => Ok(Answer::AlreadySo),
            Some((_, exchange)) if if_unused && exchange.is_in_use() => {
                Err(AmqpError::channel(ReplyCode::PreconditionFailed, format!("{what} in use")))
            }
            Some(_) => Ok(Answer::NeedsApply),
        }
    }

    fn check_declare_queue(
        &self,
        vhost: VhostKey,
        name: &ShortStr,
        home: NodeId,
        durable: bool,
        exclusive: Option<ConnectionId>,
        auto_delete: bool,
        arguments: &FieldTable,
        by: Option<ConnectionId>,
    ) -> Result<Answer, AmqpError> {
        let what = Named::queue(name.as_bytes(), self.vhost_name(vhost));
        let Some((_, current)) = self.queue(vhost, name.as_bytes()) else {
            self.check_queue_limit(vhost, name, by)?;
            let parsed = QueueArguments::parse(arguments, &what)?;
            if by.is_some() {
                parsed.check_later(arguments, &what)?;
            }
            parsed.check_properties(durable, exclusive.is_some(), auto_delete, &what)?;
            return Ok(Answer::NeedsApply);
        };
        if exclusive != current.exclusive || (exclusive.is_some() && home != current.home) {
            return Err(self.locked(current));
        }
        check_property("durable", &what, durable && exclusive.is_none(), current.durable)?;
        check_property("auto_delete", &what, auto_delete, current.auto_delete)?;
        check_arguments(&QUEUE_EQUIVALENCE, &what, arguments, &current.raw_arguments)?;
        Ok(Answer::AlreadySo)
    }

    /// The limit holds for clients only: what the log has, had its place.
    fn check_queue_limit(&self, vhost: VhostKey, name: &ShortStr, by: Option<ConnectionId>) -> Result<(), AmqpError> {
        let vhost = &self.vhosts[vhost];
        match vhost.limits.queues_max {
            Some(limit) if by.is_some() && vhost.queues.len() as u64 >= u64::from(limit) => {
                let text = format!(
                    "cannot declare queue '{name}': queue limit in vhost '{}' ({limit}) is reached",
                    vhost.name
                );
                Err(AmqpError::channel(ReplyCode::PreconditionFailed, text))
            }
            _ => Ok(()),
        }
    }

    /// The two ends of a binding, the source first, as RabbitMQ looks for them.
    pub(super) fn find_ends(
        &self,
        vhost: VhostKey,
        source: &ShortStr,
        destination: &DestinationName,
        routing_key: &ShortStr,
        arguments: &FieldTable,
    ) -> Result<(ExchangeKey, Binding), AmqpError> {
        check_not_default(source, destination)?;
        let (source, _) = self.expect_exchange(vhost, source.as_bytes())?;
        let destination = match destination {
            DestinationName::Queue(name) => Destination::Queue(self.expect_queue(vhost, name.as_bytes())?.0),
            DestinationName::Exchange(name) => Destination::Exchange(self.expect_exchange(vhost, name.as_bytes())?.0),
        };
        Ok((source, Binding::new(destination, routing_key, arguments)))
    }

    fn check_destination(&self, destination: Destination, by: Option<ConnectionId>) -> Result<(), AmqpError> {
        match (destination, by) {
            (Destination::Queue(queue), Some(connection)) => self.check_exclusive(queue, connection),
            _ => Ok(()),
        }
    }
}

/// Checks that a client does not mean the default exchange, which cannot be declared (not even passively), deleted, bound or unbound.
///
/// # Errors
/// Channel error 403 ACCESS_REFUSED.
pub fn check_not_default_exchange(name: &[u8]) -> Result<(), AmqpError> {
    if !name.is_empty() {
        return Ok(());
    }
    Err(AmqpError::channel(ReplyCode::AccessRefused, "operation not permitted on the default exchange"))
}

/// Checks that a client does not mean to delete an exchange that every vhost has.
///
/// # Errors
/// Channel error 403 ACCESS_REFUSED.
pub fn check_deletable_exchange(name: &[u8], vhost: &ShortStr) -> Result<(), AmqpError> {
    check_not_default_exchange(name)?;
    if !is_reserved(name) {
        return Ok(());
    }
    let text = format!("deletion of system {} not allowed", Named::exchange(name, vhost.as_bytes()));
    Err(AmqpError::channel(ReplyCode::AccessRefused, text))
}

fn check_not_default(source: &ShortStr, destination: &DestinationName) -> Result<(), AmqpError> {
    if let DestinationName::Exchange(name) = destination {
        check_not_default_exchange(name.as_bytes())?;
    }
    check_not_default_exchange(source.as_bytes())
}

/// The type of an exchange.
///
/// RabbitMQ 3.10 closes the connection with 503 COMMAND_INVALID and this text, RabbitMQ 4 the channel.
///
/// # Errors
/// Channel error 406 PRECONDITION_FAILED for a type that is not known.
pub fn check_exchange_kind(name: &ShortStr) -> Result<ExchangeKind, AmqpError> {
    ExchangeKind::from_name(name.as_bytes())
        .ok_or_else(|| AmqpError::channel(ReplyCode::PreconditionFailed, format!("unknown exchange type '{name}'")))
}
