//! What holds for a queue or an exchange: its arguments, with what policies add to them.

use super::Mirroring;
use super::arguments::{EXPIRY_MAX_MS, Overflow, QueueArguments};
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
    /// On how many nodes a policy wants a classic queue. `None`: on one. It takes effect on queues with replicas alone.
    pub mirroring: Option<Mirroring>,
    /// How many replicas a quorum queue is to have once there are nodes for them. `None`: as many as the configuration says of the node that
    /// leads it.
    pub target_group_size: Option<u32>,
    /// How long messages of a quorum queue stay with a consumer whose node cannot be reached, in milliseconds. `None`: as long as the
    /// configuration of the node says that leads the queue.
    pub disconnected_timeout_ms: Option<u64>,
    /// What comes back to a quorum queue and waits before it is delivered again.
    pub delayed_retry: DelayedRetry,
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
            mirroring: None,
            target_group_size: arguments.target_group_size,
            disconnected_timeout_ms: arguments.disconnected_timeout_ms,
            delayed_retry: arguments.delayed_retry.settle(),
        }
    }
}

/// Messages that come back wait for `min(min_ms × deliveries failed, max_ms)` (RabbitMQ 4.3: `x-delayed-retry-type`, `-min`, `-max`). One
/// that comes back without a failure so far waits for `min_ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DelayedRetry {
    /// Whether those wait whose delivery failed.
    pub failed: bool,
    /// Whether those wait that came back for another reason.
    pub returned: bool,
    /// Milliseconds per failure.
    pub min_ms: u64,
    /// Milliseconds at most.
    pub max_ms: u64,
}

impl DelayedRetry {
    /// How long a message that came back waits, in milliseconds; `None` if it does not. `failed` of its deliveries did fail.
    pub fn delay_ms(&self, is_failure: bool, failed: u16) -> Option<u64> {
        let delay = self.min_ms.saturating_mul(u64::from(failed.max(1))).min(self.max_ms);
        let waits = if is_failure { self.failed } else { self.returned };
        (waits && delay > 0).then_some(delay)
    }
}

/// What arguments, or arguments and policies together, say of delayed retry (RabbitMQ docs: Quorum Queues / Delayed Retry).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryArguments {
    /// Which messages wait. `None`: none does.
    pub kind: Option<RetryKind>,
    /// Milliseconds per failure. `None`: nothing waits.
    pub min_ms: Option<u64>,
    /// Milliseconds at most. `None`: any number, up to ten years.
    pub max_ms: Option<u64>,
}

/// Which messages that come back wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryKind {
    /// None.
    Disabled,
    /// All.
    All,
    /// Those whose delivery failed.
    Failed,
    /// The others.
    Returned,
}

impl RetryKind {
    /// The one of this name.
    pub(super) fn parse(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"disabled" => Self::Disabled,
            b"all" => Self::All,
            b"failed" => Self::Failed,
            b"returned" => Self::Returned,
            _ => return None,
        })
    }
}

impl RetryArguments {
    /// What comes of them.
    pub(super) fn settle(self) -> DelayedRetry {
        let kind = self.kind.unwrap_or(RetryKind::Disabled);
        DelayedRetry {
            failed: matches!(kind, RetryKind::All | RetryKind::Failed),
            returned: matches!(kind, RetryKind::All | RetryKind::Returned),
            min_ms: self.min_ms.unwrap_or(0),
            max_ms: self.max_ms.map_or(LONGEST_MS, |max| max.min(LONGEST_MS)),
        }
    }
}

/// Nothing waits for longer.
const LONGEST_MS: u64 = EXPIRY_MAX_MS.cast_unsigned();

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_makes_the_wait_longer_up_to_the_limit() {
        let retry = RetryArguments { kind: Some(RetryKind::Failed), min_ms: Some(100), max_ms: Some(250) };
        let delays = [1, 2, 3, u16::MAX].map(|failed| retry.settle().delay_ms(true, failed));
        assert_eq!(delays, [Some(100), Some(200), Some(250), Some(250)]);
        assert_eq!(retry.settle().delay_ms(false, 2), None);
        let unlimited = RetryArguments { max_ms: None, ..retry };
        assert_eq!(unlimited.settle().delay_ms(true, 1000), Some(100_000));
        let all = RetryArguments { kind: Some(RetryKind::All), ..retry };
        assert_eq!((all.settle().delay_ms(false, 0), all.settle().delay_ms(true, 2)), (Some(100), Some(200)));
        let returned = RetryArguments { kind: Some(RetryKind::Returned), ..retry };
        assert_eq!((returned.settle().delay_ms(false, 2), returned.settle().delay_ms(true, 2)), (Some(200), None));
    }
}
