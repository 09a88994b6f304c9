//! The log as its users see it.

use alloc::vec::Vec;
use bytes::Bytes;

use super::place::{Corrupt, LogOutcome, LogUsage, Owners, Place, Ref};
use crate::config::LogConfig;
use crate::effect::DiskRequest;
use crate::ids::{DiskOpId, Lsn};
use crate::input::{DiskError, DiskOutcome};
use crate::time::Instant;
use crate::timer::TimerKind;

/// The node's log.
///
/// Life: [`Log::new`], [`Log::start`], disk answers until [`LogOutcome::Recovered`], [`Log::retain`] for each kept message; then any
/// number of batches of appends and settlements, each ended by [`Log::flush`].
#[derive(Debug)]
pub struct Log {}

#[expect(clippy::needless_pass_by_ref_mut, reason = "the signatures land before the bodies")]
impl Log {
    /// A log that knows nothing yet. `salt` is a random number, another at each boot: checksums are seeded with it, so that no bytes
    /// that a client chose can pass for a record.
    pub fn new(_config: LogConfig, _salt: u64) -> Self {
        Self {}
    }

    /// Begins recovery.
    pub fn start(&mut self, _out: &mut Vec<DiskRequest>) {}

    /// Takes the answer to a disk operation. [`Log::flush`] is to follow at the end of the batch.
    pub fn handle_done(
        &mut self,
        _now: Instant,
        _op: DiskOpId,
        _outcome: DiskOutcome,
        _owners: &mut dyn Owners,
        _out: &mut Vec<DiskRequest>,
    ) -> LogOutcome {
        LogOutcome::Nothing
    }

    /// Takes the failure of a disk operation. Where space is missing the log tries again by itself.
    pub fn handle_failed(&mut self, _now: Instant, _op: DiskOpId, _error: DiskError) -> LogOutcome {
        LogOutcome::Nothing
    }

    /// Appends one message for all of `refs`; its payload is `head` followed by `body`. A large body is not copied.
    pub fn append_message(&mut self, _refs: &[Ref], _head: &[u8], _body: &Bytes) -> Place {
        Place { lsn: Lsn(0), len: 0, shares: 1 }
    }

    /// Appends one change of the metadata. It is durable once [`Log::durable`] is at least the position returned.
    pub fn append_metadata(&mut self, _payload: &[u8]) -> Lsn {
        Lsn(0)
    }

    /// The message is gone for good, and recovery must know. It is durable once [`Log::durable`] is at least the position returned.
    /// For transient messages [`Log::release`] is enough.
    pub fn settle(&mut self, _owner: u64, _seq: u64, _place: Place) -> Lsn {
        Lsn(0)
    }

    /// A consumer may see the message from here on; written when there is an occasion.
    pub fn mark_delivered(&mut self, _owner: u64, _seq: u64, _place: Place) {}

    /// The message is gone, and recovery need not know: it was transient, or its owner is gone from the metadata.
    pub fn release(&mut self, _place: Place) {}

    /// After recovery: the message is kept.
    pub fn retain(&mut self, _place: Place) {}

    /// Somebody waits for all that was appended so far to be durable.
    pub fn request_sync(&mut self) {}

    /// Ends a batch: lets out as much disk work as the rules of group commit allow.
    pub fn flush(&mut self, _now: Instant, _owners: &mut dyn Owners, _out: &mut Vec<DiskRequest>) {}

    /// The time asked for by [`Log::next_timeout`] has come.
    pub fn handle_timeout(&mut self, _now: Instant, _owners: &mut dyn Owners, _out: &mut Vec<DiskRequest>) {}

    /// When the log next wants [`Log::handle_timeout`].
    pub fn next_timeout(&self) -> Option<(Instant, TimerKind)> {
        None
    }

    /// The position after the last record appended.
    pub fn end(&self) -> Lsn {
        Lsn(0)
    }

    /// The position up to which the disk took all; what lies before it can be read.
    pub fn written(&self) -> Lsn {
        Lsn(0)
    }

    /// The position up to which all survives a loss of power.
    pub fn durable(&self) -> Lsn {
        Lsn(0)
    }

    /// Bytes appended and not yet written.
    pub fn pending_bytes(&self) -> usize {
        0
    }

    /// Whether the disk has no space for the log to grow. Publishers are to wait; settlements are still welcome.
    pub fn is_full(&self) -> bool {
        false
    }

    /// Asks for `len` bytes from `start`, the position of a record; clipped to what is written and to the segment. Returns how many
    /// bytes will come as [`LogOutcome::Read`]; at zero nothing is asked.
    pub fn read(&mut self, _start: Lsn, _len: u32, _token: u64, _out: &mut Vec<DiskRequest>) -> u32 {
        0
    }

    /// The payload of the message record at `lsn`, whose whole record is `record`.
    ///
    /// # Errors
    /// If the bytes are not what was written there.
    pub fn open_record(&self, lsn: Lsn, _record: &Bytes) -> Result<Bytes, Corrupt> {
        Err(Corrupt { lsn })
    }

    /// How large the log is.
    pub fn usage(&self) -> LogUsage {
        LogUsage::default()
    }

    /// Makes everything appended durable and stops cleaning; complete when [`Log::is_idle`].
    pub fn shutdown(&mut self) {}

    /// Whether everything appended is durable and no disk operation is under way.
    pub fn is_idle(&self) -> bool {
        true
    }

    /// Checks the log's own accounts.
    ///
    /// # Panics
    /// If they are wrong.
    pub fn check_invariants(&self) {}
}
