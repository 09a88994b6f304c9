//! A value in the node's log of which only the last counts.

use bytes::Bytes;

use crate::ids::Lsn;
use crate::storage::{Log, Place, RecoveredOwner, Ref, RefState};

/// Where it is.
#[derive(Debug)]
pub(super) struct Single {
    owner: u64,
    next_seq: u64,
    kept: Option<(u64, Place)>,
}

impl Single {
    /// Not written yet.
    pub(super) fn new(owner: u64) -> Self {
        Self { owner, next_seq: 0, kept: None }
    }

    /// Not written since an earlier one of the owner was removed, of which the log may still void the values before this number.
    pub(super) fn after(owner: u64, next_seq: u64) -> Self {
        Self { next_seq, ..Self::new(owner) }
    }

    /// Goes on after a restart with the last of what was found. Earlier values that a crash has left are given up.
    pub(super) fn recover(owner: u64, log: &mut Log, found: &RecoveredOwner) -> Self {
        let mut single = Self { next_seq: found.next_seq, ..Self::new(owner) };
        for reference in &found.refs {
            log.retain(reference.place());
            single.replace(log, reference.seq, reference.place());
        }
        single
    }

    /// Writes another value. It is durable once the log is, up to the position returned.
    pub(super) fn write(&mut self, log: &mut Log, value: &Bytes) -> Lsn {
        let seq = self.next_seq;
        self.next_seq += 1;
        let place = log.append_message(&[Ref { owner: self.owner, seq, state: RefState::default() }], &[], value);
        self.replace(log, seq, place);
        log.request_sync();
        log.end()
    }

    fn replace(&mut self, log: &mut Log, seq: u64, place: Place) {
        if let Some((old, at)) = self.kept.replace((seq, place)) {
            log.settle(self.owner, old, at);
        }
    }

    /// The value counts no more. Returns the number that the next would have had.
    pub(super) fn remove(self, log: &mut Log) -> u64 {
        if let Some((seq, at)) = self.kept {
            log.settle(self.owner, seq, at);
        }
        self.next_seq
    }

    /// Whether the value is the record at this position.
    pub(super) fn live(&self, seq: u64, lsn: Lsn) -> Option<RefState> {
        self.kept.filter(|(kept, place)| *kept == seq && place.lsn == lsn).map(|_| RefState::default())
    }

    /// The record was written again elsewhere.
    pub(super) fn moved(&mut self, seq: u64, to: Place) {
        let kept = self.kept.as_mut().filter(|(kept, _)| *kept == seq);
        kept.expect("only what lives is moved").1 = to;
    }
}
