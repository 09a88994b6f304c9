//! What shares a link without waiting for each other.

use core::fmt;

use crate::limits;

/// What a message belongs to. Messages of one lane stay in order; those of different lanes overtake each other, the more urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Membership: few, small, and wanted at once.
    Control = 0,
    /// What groups send each other, the signs of life included.
    Consensus = 1,
    /// Commands for queues, and deliveries.
    Queues = 2,
    /// Snapshots.
    Bulk = 3,
}

/// How many there are.
pub(super) const COUNT: usize = Lane::ALL.len();

impl Lane {
    /// All, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Control, Self::Consensus, Self::Queues, Self::Bulk];

    /// Bytes of the largest message.
    pub const fn message_bytes_max(self) -> usize {
        match self {
            Self::Control => limits::LINK_CONTROL_BYTES_MAX,
            Self::Consensus | Self::Queues => limits::LINK_MESSAGE_BYTES_MAX,
            Self::Bulk => limits::LINK_BULK_BYTES_MAX,
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control => "control",
            Self::Consensus => "consensus",
            Self::Queues => "queues",
            Self::Bulk => "bulk",
        })
    }
}
