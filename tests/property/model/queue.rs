//! One queue: its messages in order, and who consumes from it.

use std::cmp::Reverse;

use super::super::program::{Lane, Overflow, QueueArgs, QueueType};
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
    pub(super) fn is_quorum(&self) -> bool {
        self.args.queue_type == Some(QueueType::Quorum)
    }

    /// The priority that a message has here: in quorum queues up to 31, and 4 if it names none (RabbitMQ 4.3).
    pub(super) fn priority_of(&self, priority: Option<u8>) -> u8 {
        if self.is_quorum() {
            return priority.unwrap_or(4).min(31);
        }
        self.args.max_priority.map_or(0, |max| priority.unwrap_or(0).min(max))
    }

    /// Whether it counts deliveries that failed.
    pub(super) fn counts_failures(&self) -> bool {
        self.is_quorum() || self.delivery_limit().is_some()
    }

    /// How many deliveries of a message may fail; `None` for any number. Quorum queues allow 20 unless something else is said.
    pub(super) fn delivery_limit(&self) -> Option<u64> {
        match self.args.delivery_limit {
            Some(limit) => u64::try_from(limit).ok(),
            None => self.is_quorum().then_some(20),
        }
    }

    pub(super) fn overflow(&self) -> Overflow {
        match self.args.overflow {
            // Quorum queues accept it, and have only the other two.
            Some(Overflow::RejectPublishDlx) if self.is_quorum() => Overflow::DropHead,
            overflow => overflow.unwrap_or(Overflow::DropHead),
        }
    }

    /// Where among the ready messages the next one is: what came back to a quorum queue, the highest priority, the earliest.
    pub(super) fn head(&self) -> Option<usize> {
        self.heads().first().copied()
    }

    /// Where the first messages are of all that came back to a quorum queue and of each priority.
    pub(super) fn heads(&self) -> Vec<usize> {
        let rank = |entry: &Entry| match entry.returned {
            Some(_) => (0, Reverse(0)),
            None => (1, Reverse(entry.priority)),
        };
        let mut ranks: Vec<_> = self.ready.iter().map(rank).collect();
        ranks.sort_unstable();
        ranks.dedup();
        let first = |wanted| {
            let of_rank = (0..self.ready.len()).filter(|index| rank(&self.ready[*index]) == wanted);
            of_rank.min_by_key(|index| (self.ready[*index].returned, self.ready[*index].position))
        };
        ranks.into_iter().filter_map(first).collect()
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
