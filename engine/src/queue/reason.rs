//! Why a message leaves a queue without having been acked.

use core::fmt;

/// Why a message left a queue, or is about to, without having been acked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeaveReason {
    /// It was there for longer than it was to live.
    Expired,
    /// A consumer rejected it without requeueing it.
    Rejected,
    /// The queue was full.
    MaxLength,
    /// Too many of its deliveries failed.
    DeliveryLimit,
    /// The queue was purged.
    Purged,
    /// The queue was deleted.
    Deleted,
    /// An operator removed it or moved it elsewhere.
    Removed,
}

impl LeaveReason {
    /// All reasons there are.
    pub const ALL: [Self; 7] = [
        Self::Expired,
        Self::Rejected,
        Self::MaxLength,
        Self::DeliveryLimit,
        Self::Purged,
        Self::Deleted,
        Self::Removed,
    ];

    /// The reason's name; those of dead letters are the `reason` in `x-death` (RabbitMQ docs: Dead Letter Exchanges).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::MaxLength => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
            Self::Purged => "purged",
            Self::Deleted => "deleted",
            Self::Removed => "removed",
        }
    }

    /// Whether a queue with a dead-letter exchange sends such messages there.
    pub const fn is_dead_lettered(self) -> bool {
        match self {
            Self::Expired | Self::Rejected | Self::MaxLength | Self::DeliveryLimit => true,
            Self::Purged | Self::Deleted | Self::Removed => false,
        }
    }

    /// The reason as the log keeps it, not 0.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Expired => 1,
            Self::Rejected => 2,
            Self::MaxLength => 3,
            Self::DeliveryLimit => 4,
            Self::Purged => 5,
            Self::Deleted => 6,
            Self::Removed => 7,
        }
    }

    /// The reason with this code.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

/// What became of a message that left its queue without having been acked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftTo {
    /// It is gone: its queue has no dead-letter exchange, or the reason is none to dead-letter it.
    Nowhere,
    /// It is gone: the dead-letter exchange does not exist.
    MissingExchange,
    /// It is gone: the dead-letter exchange knows no queue for it.
    NoRoute,
    /// It is gone: it would have come to a queue again that it had died in, without a consumer having rejected it.
    Cycle,
    /// It is gone: all queues that it was for were full and refused it.
    Refused,
    /// It is in so many other queues, or held back for them by a delayed exchange.
    Queues(u32),
}

impl fmt::Display for LeaveReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
