//! Reading bodies back that were dropped from memory once the log had them.

use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

use super::classic::{ClassicQueue, Next};
use super::entry::Entry;
use crate::ids::{Lsn, QueueSeq};
use crate::message::Message;
use crate::storage::{Place, payloads};

/// A read under way: which messages it is for.
#[derive(Debug)]
pub(super) struct Reading {
    wanted: Vec<(QueueSeq, Place)>,
}

impl Reading {
    /// Plans a read of the first message, whose body is only in the log, and of those next to it that lie behind it in the log. Where
    /// the read begins and how long it is.
    fn plan<'a>(mut entries: impl Iterator<Item = &'a Entry>, read_ahead_bytes: u32) -> (Self, Place, u32) {
        let head = entries.next().expect("there is a next message");
        let first = head.place().expect("a body that is not in memory is in the log");
        let mut wanted = alloc::vec![(head.seq(), first)];
        let limit = first.lsn.0 + u64::from(read_ahead_bytes);
        let mut end = first.end();
        for entry in entries {
            if entry.message.is_some() {
                continue;
            }
            let Some(place) = entry.place().filter(|place| place.lsn >= end && place.end().0 <= limit) else { break };
            wanted.push((entry.seq(), place));
            end = place.end();
        }
        let len = u32::try_from(end.0 - first.lsn.0).expect("a read is bounded by the read-ahead or one record");
        (Self { wanted }, first, len)
    }
}

impl ClassicQueue {
    /// Plans a read of the next messages that lie behind each other in the log, beginning with the next one.
    pub(super) fn start_reading(&mut self, read_ahead_bytes: u32) -> Next {
        let head = self.ready.head().expect("there is a next message");
        let (reading, first, len) = Reading::plan(self.ready.from(head), read_ahead_bytes);
        self.reading = Some(reading);
        Next::Read { first, len }
    }

    /// Whether bodies are being read for consumers.
    pub(crate) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// The read that the first of these messages needs, which wait for a consumer and whose bodies are only in the log; `None` while
    /// others are read.
    pub(crate) fn read_ready(
        &mut self,
        seqs: impl Iterator<Item = QueueSeq>,
        read_ahead_bytes: u32,
    ) -> Option<(Place, u32)> {
        if self.reading.is_some() {
            return None;
        }
        let (reading, first, len) = Reading::plan(seqs.filter_map(|seq| self.ready.find(seq)), read_ahead_bytes);
        self.reading = Some(reading);
        Some((first, len))
    }

    /// The read that the next message to be dead-lettered needs; `None` if its body is in memory or being read.
    pub(crate) fn read_dying(&mut self, read_ahead_bytes: u32) -> Option<(Place, u32)> {
        let next = self.dying.next()?;
        if next.entry.message.is_some() || self.reading_dying.is_some() {
            return None;
        }
        let (reading, first, len) = Reading::plan(self.dying.waiting(), read_ahead_bytes);
        self.reading_dying = Some(reading);
        Some((first, len))
    }

    /// The bytes that [`Next::Read`] asked for, beginning at `start`.
    ///
    /// # Errors
    /// A text for the operator if a record is not what it should be.
    pub(crate) fn on_read(
        &mut self,
        start: Lsn,
        data: &Bytes,
        open_record: impl Fn(Lsn, &Bytes) -> Option<Bytes>,
    ) -> Result<(), &'static str> {
        let is_for = |reading: &mut Reading| reading.wanted.first().is_some_and(|(_, place)| place.lsn == start);
        let reading = self.reading_dying.take_if(is_for).or_else(|| self.reading.take());
        let Some(Reading { wanted }) = reading else { return Ok(()) };
        for read in payloads(wanted, start, data, open_record) {
            let (seq, payload) = read?;
            let Some(entry) = self.find_mut(seq) else { continue };
            if entry.message.is_none() && entry.place().is_some() {
                let message = Message::from_payload(payload).ok_or("a record does not hold a message")?;
                let bytes = message.memory_bytes();
                entry.message = Some(Arc::new(message));
                self.body_bytes += bytes;
            }
        }
        Ok(())
    }
}
