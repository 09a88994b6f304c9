//! Why messages are gone that nobody acked, as operators ask for it.

use alloc::vec::Vec;

use crate::amqp::ShortStr;
use crate::queue::{LeaveReason, LeftTo};
use crate::time::Timestamp;

/// Where messages have gone from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DepartureRequest {
    /// A queue that they left without having been acked.
    Queue {
        /// Its vhost.
        vhost: ShortStr,
        /// Its name.
        name: ShortStr,
    },
    /// An exchange that found no queue for them.
    Exchange {
        /// Its vhost.
        vhost: ShortStr,
        /// Its name; empty for the default exchange.
        name: ShortStr,
    },
    /// All queues that ever were; only counts.
    AllQueues,
}

/// What a queue or an exchange remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DepartureReport {
    /// How many messages left, by reason; of an exchange all are 0.
    pub left: LeaveCounts,
    /// How many messages a full queue has refused; of an exchange 0.
    pub refused: u64,
    /// How many messages no queue took; of a queue 0.
    pub unroutable_dropped: u64,
    /// How many messages went back to their publishers because no queue took them; of a queue 0.
    pub unroutable_returned: u64,
    /// The last few, oldest first.
    pub last: Vec<Departure>,
}

/// How many messages left in which way without having been acked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaveCounts {
    by_reason: [u64; LeaveReason::ALL.len()],
    dead_lettered: u64,
}

/// How a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It left a queue without having been acked.
    Left(LeaveReason, LeftTo),
    /// A queue was full and refused it; others may have it.
    Refused,
    /// No queue took it.
    Dropped,
    /// No queue took it, so it went back to its publisher, who had asked for that.
    Returned,
}

/// One message that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// When it went.
    pub at: Timestamp,
    /// How.
    pub way: Way,
    /// Bytes of its body.
    pub size: u32,
    /// Its exchange and routing key as two short strings, then its `message-id`; empty if only the log had it.
    pub(crate) text: Vec<u8>,
    /// Where in `text` the `message-id` begins; 0 if it had none.
    pub(crate) id_at: u16,
}

impl LeaveCounts {
    /// How many messages left for this reason.
    pub fn of(&self, reason: LeaveReason) -> u64 {
        LeaveReason::ALL.iter().zip(self.by_reason).find(|(other, _)| **other == reason).map_or(0, |(_, count)| count)
    }

    /// How many of all that left came to other queues by dead-lettering.
    pub fn dead_lettered(&self) -> u64 {
        self.dead_lettered
    }

    /// Counts some more.
    pub(crate) fn add(&mut self, reason: LeaveReason, to: LeftTo, count: u64) {
        for (other, sum) in LeaveReason::ALL.iter().zip(&mut self.by_reason) {
            if *other == reason {
                *sum += count;
            }
        }
        if matches!(to, LeftTo::Queues(_)) {
            self.dead_lettered += count;
        }
    }
}

impl Departure {
    /// The exchange it was published to; `None` if only the log had the message.
    pub fn exchange(&self) -> Option<&[u8]> {
        let len = usize::from(*self.text.first()?);
        self.text.get(1..=len)
    }

    /// Its routing key; `None` if only the log had the message.
    pub fn routing_key(&self) -> Option<&[u8]> {
        let at = 1 + usize::from(*self.text.first()?);
        let len = usize::from(*self.text.get(at)?);
        self.text.get(at + 1..=at + len)
    }

    /// Its `message-id`; `None` if it had none, or if only the log had the message.
    pub fn message_id(&self) -> Option<&[u8]> {
        if self.id_at == 0 { None } else { self.text.get(usize::from(self.id_at)..) }
    }
}
