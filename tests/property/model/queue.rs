//! One queue: its messages in order, and who consumes from it.

use std::cmp::Reverse;

use super::super::program::{Lane, Overflow, QueueArgs};
use super::message::Entry;

/// A queue between its declaration and its end. One that is declared again under the same name has another id.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) durable: bool,
    /// The connection it belongs to; `None` if it is open to all.
    pub(super) owner: Option<usize>,
    pub(super) auto_delete: bool,
    pub(super) args: QueueArgs,
    /// Ready messages, in no order; see [`Queue::head`].
    pub(super) ready: Vec<Entry>,
    pub(super) consumers: Vec<Consumer>,
    /// With a single active consumer, that one.
    pub(super) active: Option<u64>,
    /// When it was last used, for `x-expires`.
    pub(super) used_at: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Consumer {
    pub(super) id: u64,
    pub(super) lane: Lane,
    pub(super) tag: String,
    pub(super) no_ack: bool,
    pub(super) exclusive: bool,
    pub(super) priority: i32,
    /// Messages it may have unacknowledged; 0 for any number.
    pub(super) prefetch: usize,
    /// The place of the answer to its consume, if that came in this step; otherwise 0.
    pub(super) answered_at: usize,
}

impl Queue {
    /// How many deliveries of a message may fail; `None` for any number.
    pub(super) fn delivery_limit(&self) -> Option<u64> {
        self.args.delivery_limit.and_then(|limit| u64::try_from(limit).ok())
    }

    pub(super) fn overflow(&self) -> Overflow {
        self.args.overflow.unwrap_or(Overflow::DropHead)
    }

    /// Where among the ready messages the next one is: the highest priority, then the earliest.
    pub(super) fn head(&self) -> Option<usize> {
        let order = |index: &usize| {
            let entry = &self.ready[*index];
            (Reverse(entry.priority), entry.position)
        };
        (0..self.ready.len()).min_by_key(order)
    }

    /// Where the first messages of all priorities are, from the highest on.
    pub(super) fn heads(&self) -> Vec<usize> {
        let mut priorities: Vec<u8> = self.ready.iter().map(|entry| entry.priority).collect();
        priorities.sort_unstable_by_key(|priority| Reverse(*priority));
        priorities.dedup();
        let first = |priority: u8| {
            let of_priority = (0..self.ready.len()).filter(|index| self.ready[*index].priority == priority);
            of_priority.min_by_key(|index| self.ready[*index].position)
        };
        priorities.into_iter().filter_map(first).collect()
    }

    pub(super) fn ready_bytes(&self) -> usize {
        self.ready.iter().map(|entry| entry.message.body.len()).sum()
    }

    /// Whether so many messages of so many bytes are too many.
    pub(super) fn is_too_long(&self, count: usize, bytes: usize) -> bool {
        self.args.max_length.is_some_and(|max| count > usize::from(max))
            || self.args.max_length_bytes.is_some_and(|max| bytes > usize::from(max))
    }

    pub(super) fn is_sac(&self) -> bool {
        self.args.single_active_consumer == Some(true)
    }

    /// When it goes because nobody uses it.
    pub(super) fn expires_at(&self) -> Option<u64> {
        let expires = self.args.expires?;
        self.consumers.is_empty().then(|| self.used_at + u64::from(expires))
    }
}
