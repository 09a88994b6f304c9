//! What holds for a queue or an exchange: its arguments, with what policies add to them.

use super::arguments::{Overflow, QueueArguments};
use crate::amqp::LongStr;
use crate::queue::QueueKind;

/// The settings of a queue that a policy may give too (RabbitMQ docs: Policies). They may change while the queue exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueSettings {
    /// How long messages live, in milliseconds. `None`: for ever; 0: they go at once, unless they can be delivered.
    pub message_ttl_ms: Option<u64>,
    /// How long the queue stays unused before it goes, in milliseconds. `None`: for ever.
    pub expires_ms: Option<u64>,
    /// How many ready messages there may be. `None`: no limit.
    pub length_max: Option<u64>,
    /// How many bytes the bodies of ready messages may have. `None`: no limit.
    pub length_max_bytes: Option<u64>,
    /// What happens at a limit.
    pub overflow: Overflow,
    /// Where dead messages go. `None`: nowhere.
    pub dead_letter_exchange: Option<LongStr>,
    /// With which routing key. `None`: their own.
    pub dead_letter_routing_key: Option<LongStr>,
    /// How hard the queue tries to get rid of them.
    pub dead_letter_strategy: DeadLetterStrategy,
    /// How many deliveries of a message may fail. `None`: any number.
    pub delivery_limit: Option<u16>,
    /// How long a delivery may stay unacked, in milliseconds. `None`: as long as the node's configuration says.
    pub consumer_timeout_ms: Option<u64>,
    /// How long messages of a quorum queue stay with a consumer whose node cannot be reached, in milliseconds. `None`: as long as the
    /// configuration of the node says that leads the queue.
    pub disconnected_timeout_ms: Option<u64>,
}

/// What a queue does to get a dead message to other queues (RabbitMQ docs: Dead Letter Exchanges / Safety).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeadLetterStrategy {
    /// It is published once; whoever does not take it does not get it.
    #[default]
    AtMostOnce,
    /// It stays until every queue that it is routed to has it.
    AtLeastOnce,
}

impl QueueSettings {
    /// Whether dead messages stay until somebody takes them: for that the queue must not make room at its head for new ones, or it
    /// would grow without end. RabbitMQ, too, goes back to at-most-once then.
    pub fn keeps_dead_letters(&self) -> bool {
        self.dead_letter_strategy == DeadLetterStrategy::AtLeastOnce && self.overflow != Overflow::DropHead
    }

    /// What the arguments alone say.
    pub(super) fn from_arguments(arguments: &QueueArguments) -> Self {
        Self {
            message_ttl_ms: arguments.message_ttl_ms,
            expires_ms: arguments.expires_ms,
            length_max: arguments.length_max,
            length_max_bytes: arguments.length_max_bytes,
            overflow: arguments.overflow,
            dead_letter_exchange: arguments.dead_letter_exchange.clone(),
            dead_letter_routing_key: arguments.dead_letter_routing_key.clone(),
            dead_letter_strategy: arguments.dead_letter_strategy,
            delivery_limit: delivery_limit(arguments.kind, arguments.delivery_limit),
            consumer_timeout_ms: arguments.consumer_timeout_ms,
            disconnected_timeout_ms: arguments.disconnected_timeout_ms,
        }
    }
}

/// How many deliveries of a message may fail in quorum queues unless something else is said, as since RabbitMQ 4.0.
const QUORUM_DELIVERY_LIMIT: u16 = 20;

/// The limit that a queue of this type has, given the argument or a policy's value; -1 stands for none.
pub(super) fn delivery_limit(kind: QueueKind, given: Option<i64>) -> Option<u16> {
    match (given, kind) {
        (Some(limit), _) => (limit >= 0).then(|| u16::try_from(limit).unwrap_or(u16::MAX)),
        (None, QueueKind::Quorum) => Some(QUORUM_DELIVERY_LIMIT),
        (None, QueueKind::Classic) => None,
    }
}
