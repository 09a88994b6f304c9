//! A disk in memory for an engine in this process.

use std::collections::BTreeMap;

use bytes::Bytes;
use leveret_engine::effect::DiskOp;
use leveret_engine::ids::SegmentId;
use leveret_engine::input::DiskOutcome;

/// The files of a disk that never fails.
#[derive(Debug, Default)]
pub(crate) struct MemoryDisk {
    files: BTreeMap<SegmentId, Vec<u8>>,
}

impl MemoryDisk {
    /// Does what the engine asks for; the answer is there at once, and everything is durable.
    pub(crate) fn perform(&mut self, op: DiskOp) -> DiskOutcome {
        let size = |bytes: u64| usize::try_from(bytes).expect("the disk is in memory");
        match op {
            DiskOp::List => {
                DiskOutcome::Segments(self.files.iter().map(|(id, bytes)| (*id, bytes.len() as u64)).collect())
            }
            DiskOp::Create { segment, size: bytes, recycle } => {
                let mut file = recycle.and_then(|old| self.files.remove(&old)).unwrap_or_default();
                file.resize(size(bytes), 0);
                self.files.insert(segment, file);
                DiskOutcome::Done
            }
            DiskOp::Append { segment, offset, data, sync: _ } => {
                let file = self.files.get_mut(&segment).expect("it was created");
                let mut at = size(offset);
                for part in data {
                    file[at..at + part.len()].copy_from_slice(&part);
                    at += part.len();
                }
                DiskOutcome::Done
            }
            DiskOp::Read { segment, offset, len } => {
                let file = self.files.get(&segment).expect("it was created");
                let start = size(offset).min(file.len());
                let end = (start + len as usize).min(file.len());
                DiskOutcome::Data(Bytes::copy_from_slice(&file[start..end]))
            }
            DiskOp::Delete { segment } => {
                self.files.remove(&segment);
                DiskOutcome::Done
            }
        }
    }
}
