//! What an `Update` tells the machine of the queue's arguments and policies.

use super::slot::Slot;
pub use crate::metadata::DelayedRetry;
use crate::metadata::{DeadLetterStrategy, Overflow, QueueRecord, QueueSettings};
use crate::queue::QueueKind;
use crate::queue::classic::{QUORUM_PRIORITY_DEFAULT, QUORUM_PRIORITY_MAX};
use crate::queue::ready::{Ready, ReturnPlace};

/// Everything that is configured of a replicated queue and that its machine heeds. It comes from the log, never from a node's own
/// configuration, so all replicas have the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How many messages may wait. `None`: no limit.
    pub length_max: Option<u64>,
    /// How many bytes the bodies of those may have. `None`: no limit.
    pub length_max_bytes: Option<u64>,
    /// Whether the queue, when full, refuses what comes instead of dropping what is first.
    pub rejects_publish: bool,
    /// How long messages live, in milliseconds. `None`: for ever. What a message was given when it came stays.
    pub message_ttl_ms: Option<u64>,
    /// How many deliveries of a message may fail. `None`: any number.
    pub delivery_limit: Option<u16>,
    /// What becomes of the dead.
    pub dead_letters: DeadLetters,
    /// Whether one consumer at a time gets everything. It is the queue's argument: the first update says it for good.
    pub single_active_consumer: bool,
    /// After how long without use the queue goes, in milliseconds. `None`: never.
    pub expires_ms: Option<u64>,
    /// How long messages of a consumer whose node is suspected stay its own, in milliseconds.
    pub disconnected_timeout_ms: u64,
    /// What comes back and waits before it is delivered again.
    pub delayed_retry: DelayedRetry,
    /// The rules of which type of queue hold. The first update says it for good.
    pub rules: Rules,
}

/// In what the types of queues differ for their clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rules {
    /// RabbitMQ docs: Quorum Queues.
    #[default]
    Quorum,
    /// RabbitMQ docs: Classic Queues. What comes back takes the place that it had; a consumer may want to be the only one; priorities are
    /// as declared, and do not make a consumer the single active one; failures count only if there is a limit.
    Classic {
        /// The highest priority that a message can have.
        priority_max: u8,
        /// Whether the queue goes with its last consumer.
        auto_delete: bool,
    },
}

impl Rules {
    /// The rules of a declared queue.
    pub fn of(record: &QueueRecord) -> Self {
        match record.arguments.kind {
            QueueKind::Quorum => Self::Quorum,
            QueueKind::Classic => Self::Classic {
                priority_max: record.arguments.priority_max.unwrap_or(0),
                auto_delete: record.auto_delete,
            },
        }
    }

    /// Whether they are those of classic queues.
    pub(super) fn is_classic(self) -> bool {
        self != Self::Quorum
    }

    /// What waits in a queue, at first nothing.
    pub(super) fn ready(self) -> Ready<Slot> {
        match self {
            Self::Quorum => Ready::new(QUORUM_PRIORITY_MAX, ReturnPlace::Front),
            Self::Classic { priority_max, .. } => Ready::new(priority_max, ReturnPlace::Own),
        }
    }

    /// The priority of a message that names this one.
    pub(super) fn priority(self, own: Option<u8>) -> u8 {
        match self {
            Self::Quorum => own.unwrap_or(QUORUM_PRIORITY_DEFAULT).min(QUORUM_PRIORITY_MAX),
            Self::Classic { priority_max, .. } => own.unwrap_or(0).min(priority_max),
        }
    }
}

/// What becomes of messages that die.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeadLetters {
    /// They are dropped.
    #[default]
    Drop,
    /// The leader publishes them once; whatever happens to that, they are gone.
    AtMostOnce,
    /// They are kept until somebody says that they arrived.
    AtLeastOnce,
}

impl Settings {
    /// The settings of a queue, from what arguments and policies say of it.
    ///
    /// `disconnected_timeout_ms` is what they are to say if they say nothing of that.
    pub fn new(settings: &QueueSettings, single_active_consumer: bool, disconnected_timeout_ms: u64) -> Self {
        let dead_letters = match (&settings.dead_letter_exchange, settings.dead_letter_strategy) {
            (None, _) => DeadLetters::Drop,
            (Some(_), DeadLetterStrategy::AtLeastOnce) if settings.keeps_dead_letters() => DeadLetters::AtLeastOnce,
            (Some(_), DeadLetterStrategy::AtLeastOnce | DeadLetterStrategy::AtMostOnce) => DeadLetters::AtMostOnce,
        };
        Self {
            length_max: settings.length_max,
            length_max_bytes: settings.length_max_bytes,
            rejects_publish: settings.overflow != Overflow::DropHead,
            message_ttl_ms: settings.message_ttl_ms,
            delivery_limit: settings.delivery_limit,
            dead_letters,
            single_active_consumer,
            expires_ms: settings.expires_ms,
            disconnected_timeout_ms: settings.disconnected_timeout_ms.unwrap_or(disconnected_timeout_ms),
            delayed_retry: settings.delayed_retry,
            rules: Rules::Quorum,
        }
    }

    /// The settings of a declared queue.
    pub fn of(record: &QueueRecord, disconnected_timeout_ms: u64) -> Self {
        let single_active_consumer = record.arguments.single_active_consumer;
        let settings = Self::new(&record.settings, single_active_consumer, disconnected_timeout_ms);
        Self { rules: Rules::of(record), ..settings }
    }

    /// Whether deliveries that fail are counted.
    pub(super) fn counts_failures(&self) -> bool {
        !self.rules.is_classic() || self.delivery_limit.is_some()
    }

    /// Whether so many messages with so many bytes are more than the queue is to hold.
    pub(super) fn is_over(&self, len: u64, bytes: u64) -> bool {
        self.length_max.is_some_and(|max| len > max) || self.length_max_bytes.is_some_and(|max| bytes > max)
    }

    /// Whether nothing more fits beside them.
    pub(super) fn is_filled_by(&self, len: u64, bytes: u64) -> bool {
        self.length_max.is_some_and(|max| len >= max) || self.length_max_bytes.is_some_and(|max| bytes >= max)
    }

    /// Whether a queue that was full takes messages again: at four fifths of its limits, so that publishers are not stopped and let
    /// go for every message (RabbitMQ docs: Quorum Queues / length limits are soft). A classic queue does as soon as there is room.
    pub(super) fn has_room_beside(&self, len: u64, bytes: u64) -> bool {
        if self.rules.is_classic() {
            return !self.is_filled_by(len, bytes);
        }
        let has_room = |max: Option<u64>, held: u64| max.is_none_or(|max| held <= max / 5 * 4 + max % 5 * 4 / 5);
        has_room(self.length_max, len) && has_room(self.length_max_bytes, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_takes_messages_again_at_four_fifths() {
        let settings = |max| Settings { length_max: Some(max), ..Settings::default() };
        for max in [0, 1, 4, 5, 7, 10, 99, 1000, u64::MAX] {
            let fits = u64::try_from(u128::from(max) * 4 / 5).unwrap();
            assert!(settings(max).has_room_beside(fits, u64::MAX), "{max}");
            assert!(!settings(max).has_room_beside(fits + 1, 0), "{max}");
        }
    }
}
