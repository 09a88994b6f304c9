//! A disk in memory that outlives its host and forgets what was not synced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use leveret_engine::effect::{DiskOp, DiskRequest};
use leveret_engine::ids::SegmentId;
use leveret_engine::input::{DiskError, DiskOutcome};
use leveret_server::disk::{Disk, DiskAnswer, DiskAnswers};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::net::Chance;

/// The medium: what a host finds after a restart.
#[derive(Debug, Default)]
pub(super) struct Medium {
    segments: BTreeMap<SegmentId, Vec<u8>>,
    /// What was overwritten since the last sync, in order: segment, offset, the bytes before.
    unsynced: Vec<(SegmentId, usize, Vec<u8>)>,
}

impl Medium {
    /// Whether a power failure would lose something.
    pub(super) fn has_unsynced(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// The power fails: unsynced writes are undone from some point on, chosen by chance. Returns how many.
    pub(super) fn lose_power(&mut self, chance: &mut Chance) -> usize {
        let unsynced = self.unsynced.len();
        let keep = usize::try_from(chance.between(0, self.unsynced.len() as u64 + 1)).expect("it is a length");
        while self.unsynced.len() > keep {
            let (segment, offset, before) = self.unsynced.pop().expect("it is longer than that");
            if let Some(bytes) = self.segments.get_mut(&segment) {
                bytes[offset..offset + before.len()].copy_from_slice(&before);
            }
        }
        self.unsynced.clear();
        unsynced - keep
    }

    /// Does everything but sync.
    fn perform(&mut self, op: DiskOp) -> Result<DiskOutcome, DiskError> {
        match op {
            DiskOp::List => {
                let list = self.segments.iter().map(|(segment, bytes)| (*segment, bytes.len() as u64)).collect();
                return Ok(DiskOutcome::Segments(list));
            }
            DiskOp::Create { segment, size, recycle } => {
                let mut bytes = match recycle {
                    Some(old) => self.segments.remove(&old).ok_or(DiskError::Io)?,
                    None => Vec::new(),
                };
                bytes.resize(usize::try_from(size).map_err(|_| DiskError::NoSpace)?, 0);
                self.segments.insert(segment, bytes);
            }
            DiskOp::Append { segment, offset, data, sync: _ } => {
                let bytes = self.segments.get_mut(&segment).ok_or(DiskError::Io)?;
                let mut offset = usize::try_from(offset).map_err(|_| DiskError::Io)?;
                for part in data {
                    let place = bytes.get_mut(offset..offset + part.len()).ok_or(DiskError::Io)?;
                    self.unsynced.push((segment, offset, place.to_vec()));
                    place.copy_from_slice(&part);
                    offset += part.len();
                }
            }
            DiskOp::Read { segment, offset, len } => {
                let bytes = self.segments.get(&segment).ok_or(DiskError::Io)?;
                let start = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
                let end = bytes.len().min(start + len as usize);
                return Ok(DiskOutcome::Data(Bytes::copy_from_slice(&bytes[start..end])));
            }
            DiskOp::Delete { segment } => {
                self.segments.remove(&segment);
            }
        }
        Ok(DiskOutcome::Done)
    }
}

/// One boot's access to the medium: operations one after the other, each after some time.
#[derive(Debug)]
pub(super) struct SimDisk {
    requests: mpsc::UnboundedSender<DiskRequest>,
}

impl SimDisk {
    /// Has to be called on the host.
    pub(super) fn start(medium: Arc<Mutex<Medium>>, mut chance: Chance) -> (Self, DiskAnswers) {
        let (requests, mut todo) = mpsc::unbounded_channel::<DiskRequest>();
        let (answers, answers_out) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(DiskRequest { id, op }) = todo.recv().await {
                let sync = matches!(op, DiskOp::Append { sync: true, .. });
                let result = medium.lock().expect("nobody panics with it").perform(op);
                // The power may fail here, when it is written and not synced.
                sleep(Duration::from_millis(chance.between(0, 8))).await;
                if sync {
                    medium.lock().expect("nobody panics with it").unsynced.clear();
                }
                if answers.send(DiskAnswer { op: id, result }).is_err() {
                    return;
                }
            }
        });
        (Self { requests }, answers_out)
    }
}

impl Disk for SimDisk {
    fn submit(&mut self, request: DiskRequest) {
        let _ = self.requests.send(request);
    }
}
