//! One message in a quorum queue: where its body is, and the few facts the machine needs. The body stays in the log.

use super::ids::LogIndex;
use crate::ids::QueueSeq;
use crate::queue::ready::Waiting;

/// Where a message's encoded bytes are: in which entry of the log, from which byte of it on, and how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyPlace {
    /// The entry.
    pub index: LogIndex,
    /// Bytes before it in the entry.
    pub at: u32,
    /// Bytes of it.
    pub len: u32,
}

/// One message: 48 bytes. With the 8 that its entry costs while any of its messages lives, a message costs 56.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) body: BodyPlace,
    /// Its place in the queue.
    pub(super) seq: QueueSeq,
    /// When it expires, in milliseconds of the wall clock; 0 if it does not.
    pub(super) expires_at: u64,
    /// Bytes of its body, without properties: what length limits count.
    pub(super) size: u32,
    /// How many of its deliveries failed: `x-delivery-count`.
    pub(super) failed: u16,
    /// How many of its deliveries came back, for whatever reason: `x-acquired-count`.
    pub(super) acquired: u16,
    pub(super) priority: u8,
    /// Whether it was published as persistent. The queue keeps it either way; it counts them.
    pub(super) is_persistent: bool,
}

impl Slot {
    /// Counts a delivery that came back.
    pub(super) fn on_returned(&mut self, is_failure: bool) {
        self.acquired = self.acquired.saturating_add(1);
        if is_failure {
            self.failed = self.failed.saturating_add(1);
        }
    }
}

impl Waiting for Slot {
    fn seq(&self) -> QueueSeq {
        self.seq
    }

    fn priority(&self) -> u8 {
        self.priority
    }

    fn size(&self) -> u32 {
        self.size
    }

    fn is_redelivered(&self) -> bool {
        self.acquired > 0
    }

    fn memory_bytes(&self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_costs_48_bytes() {
        assert_eq!(size_of::<Slot>(), 48);
    }
}
