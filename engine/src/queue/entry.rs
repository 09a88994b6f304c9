//! One message in one queue.

use alloc::sync::Arc;

use crate::ids::{Lsn, QueueSeq};
use crate::message::Message;
use crate::storage::{Place, RefFlags};

/// One message in one queue: 32 bytes, whether its body is in memory or not. A backlog of millions is made of these.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its place in the queue.
    pub(crate) seq: QueueSeq,
    /// Where its record is, if `shares` is not 0.
    lsn: Lsn,
    /// The message, if it is in memory.
    pub(crate) message: Option<Arc<Message>>,
    /// Bytes of the record.
    len: u32,
    /// With how many queues the record is shared; 0 if there is no record.
    shares: u16,
    /// What is known about its past.
    pub(crate) flags: RefFlags,
}

impl Entry {
    /// A message that just came, with its record, if it has one.
    pub(crate) fn new(seq: QueueSeq, message: Option<Arc<Message>>, place: Option<Place>, flags: RefFlags) -> Self {
        assert!(message.is_some() || place.is_some(), "a message is in memory, in the log, or both");
        let (lsn, len, shares) = place.map_or((Lsn(0), 0, 0), |place| (place.lsn, place.len, place.shares));
        Self { seq, lsn, message, len, shares, flags }
    }

    /// Where its record is, if it has one.
    pub(crate) fn place(&self) -> Option<Place> {
        (self.shares > 0).then_some(Place { lsn: self.lsn, len: self.len, shares: self.shares })
    }

    /// Notes that its record is somewhere else, or that it has one.
    pub(crate) fn set_place(&mut self, place: Place) {
        assert!(place.shares > 0, "a record is shared by one queue at least");
        (self.lsn, self.len, self.shares) = (place.lsn, place.len, place.shares);
    }

    /// Whether a consumer may have seen it before.
    pub(crate) fn is_redelivered(&self) -> bool {
        self.flags.contains(RefFlags::REDELIVERED)
    }

    /// Bytes of memory its message takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.memory_bytes())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_backlog_costs_32_bytes_a_message() {
        assert_eq!(size_of::<super::Entry>(), 32);
    }
}
