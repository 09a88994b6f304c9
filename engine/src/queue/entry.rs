//! One message in one queue.

use alloc::sync::Arc;

use super::ready::Waiting;
use crate::ids::{Lsn, QueueSeq};
use crate::message::Message;
use crate::storage::{Place, RefFlags};

/// One message in one queue: 32 bytes, whether its body is in memory or not. A backlog of millions is made of these.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its place in the queue (48 bits), its priority (8) and its flags (8).
    head: u64,
    /// Where its record is (56 bits) and with how many queues that is shared (8); 0 if there is no record.
    record: u64,
    /// The message, if it is in memory.
    pub(crate) message: Option<Arc<Message>>,
    /// Bytes of the record.
    len: u32,
    /// Bytes of the body.
    size: u32,
}

impl Waiting for Entry {
    fn seq(&self) -> QueueSeq {
        self.seq()
    }

    fn priority(&self) -> u8 {
        self.priority()
    }

    fn size(&self) -> u32 {
        self.size()
    }

    fn is_redelivered(&self) -> bool {
        self.is_redelivered()
    }

    fn memory_bytes(&self) -> usize {
        self.memory_bytes()
    }
}

/// A message's place in its queue fits so many bits: at a million messages a second that lasts nine years.
const SEQ_BITS: u32 = 48;
/// A position in the log fits so many bits: at a gigabyte a second that lasts two years.
const LSN_BITS: u32 = 56;

impl Entry {
    /// A message that just came, with its record, if it has one. `size` is the bytes of its body.
    pub(crate) fn new(
        seq: QueueSeq,
        priority: u8,
        size: u32,
        message: Option<Arc<Message>>,
        place: Option<Place>,
        flags: RefFlags,
    ) -> Self {
        assert!(message.is_some() || place.is_some(), "a message is in memory, in the log, or both");
        assert!(seq.0 < 1 << SEQ_BITS, "a queue takes fewer than 2^48 messages");
        let head = seq.0 << 16 | u64::from(priority) << 8 | u64::from(flags.to_byte());
        let mut entry = Self { head, record: 0, message, len: 0, size };
        if let Some(place) = place {
            entry.set_place(place);
        }
        entry
    }

    /// Its place in the queue.
    pub(crate) fn seq(&self) -> QueueSeq {
        QueueSeq(self.head >> 16)
    }

    /// Its priority in this queue.
    pub(crate) fn priority(&self) -> u8 {
        self.head.to_le_bytes()[1]
    }

    /// What is known about its past.
    pub(crate) fn flags(&self) -> RefFlags {
        RefFlags::from_byte(self.head.to_le_bytes()[0])
    }

    /// Notes that a consumer may have seen it.
    pub(crate) fn set_redelivered(&mut self) {
        self.head |= u64::from(RefFlags::REDELIVERED.to_byte());
    }

    /// Bytes of its body.
    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// Where its record is, if it has one.
    pub(crate) fn place(&self) -> Option<Place> {
        let shares = u16::from(self.record.to_le_bytes()[0]);
        (shares > 0).then_some(Place { lsn: Lsn(self.record >> 8), len: self.len, shares })
    }

    /// Notes that its record is somewhere else, or that it has one.
    pub(crate) fn set_place(&mut self, place: Place) {
        let shares = u8::try_from(place.shares).expect("a record is shared by at most 255 queues");
        assert!(shares > 0, "a record is shared by one queue at least");
        assert!(place.lsn.0 < 1 << LSN_BITS, "a log takes fewer than 2^56 bytes");
        (self.record, self.len) = (place.lsn.0 << 8 | u64::from(shares), place.len);
    }

    /// Whether a consumer may have seen it before.
    pub(crate) fn is_redelivered(&self) -> bool {
        self.flags().contains(RefFlags::REDELIVERED)
    }

    /// Whether recovery would not bring it back.
    pub(crate) fn is_transient(&self) -> bool {
        self.place().is_none() || self.flags().contains(RefFlags::TRANSIENT)
    }

    /// Bytes of memory its message takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.memory_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_costs_32_bytes_a_message() {
        assert_eq!(size_of::<Entry>(), 32);
    }

    #[test]
    fn what_is_packed_comes_back() {
        let place = Place { lsn: Lsn((1 << 56) - 1), len: 7, shares: 255 };
        let mut entry = Entry::new(QueueSeq((1 << 48) - 1), 255, 9, None, Some(place), RefFlags::TRANSIENT);
        entry.set_redelivered();
        assert_eq!((entry.seq().0, entry.priority(), entry.size()), ((1 << 48) - 1, 255, 9));
        assert_eq!(entry.place(), Some(place));
        assert!(entry.is_redelivered() && entry.is_transient());
        entry.set_place(Place { lsn: Lsn(0), len: 8, shares: 1 });
        assert_eq!(entry.place(), Some(Place { lsn: Lsn(0), len: 8, shares: 1 }));
        assert_eq!(entry.seq().0, (1 << 48) - 1);
    }
}
