//! What an `Update` tells the machine of the queue's arguments and policies.

pub use crate::metadata::DelayedRetry;
use crate::metadata::{DeadLetterStrategy, Overflow, QueueSettings};

/// Everything that is configured of a quorum queue and that its machine heeds. It comes from the log, never from a node's own
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
        }
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
    /// go for every message (RabbitMQ docs: Quorum Queues / length limits are soft).
    pub(super) fn has_room_beside(&self, len: u64, bytes: u64) -> bool {
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
