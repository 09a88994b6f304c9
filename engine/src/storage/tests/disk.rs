//! A disk in memory that loses what was not synced, sector by sector, and can be full.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

use super::rng::Rng;
use crate::effect::{DiskOp, DiskRequest};
use crate::ids::{DiskOpId, SegmentId};
use crate::input::{DiskError, DiskOutcome};

const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    /// What a reader sees.
    pub(crate) data: Vec<u8>,
    /// What a loss of power leaves; sectors that differ from `data` are not synced.
    durable: Vec<u8>,
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) files: BTreeMap<SegmentId, File>,
    /// Deleted, but the folder was not synced since: a loss of power may bring them back.
    undead: BTreeMap<SegmentId, File>,
    pub(crate) queue: VecDeque<DiskRequest>,
    /// Bytes of all files at most.
    pub(crate) capacity: usize,
    /// One in so many appends finds no space; 0 is none.
    pub(crate) append_no_space: u64,
    pub(crate) syncs: u64,
    pub(crate) appends: u64,
    pub(crate) read_bytes: u64,
    /// The next append fails.
    pub(crate) append_io: bool,
}

pub(crate) type Answer = (DiskOpId, Result<DiskOutcome, DiskError>);

impl Disk {
    pub(crate) fn new() -> Self {
        Self { capacity: usize::MAX, ..Self::default() }
    }

    pub(crate) fn submit(&mut self, requests: &mut Vec<DiskRequest>) {
        self.queue.extend(requests.drain(..));
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn used(&self) -> usize {
        self.files.values().map(|file| file.data.len()).sum()
    }

    /// Carries out one waiting operation; those on one segment stay in order.
    pub(crate) fn step(&mut self, rng: &mut Rng) -> Option<Answer> {
        if self.queue.is_empty() {
            return None;
        }
        let mut at = rng.below(self.queue.len() as u64) as usize;
        let segments = segments_of(&self.queue[at].op);
        if let Some(earlier) =
            self.queue.iter().position(|other| segments_of(&other.op).iter().any(|segment| segments.contains(segment)))
        {
            at = at.min(earlier);
        }
        let request = self.queue.remove(at)?;
        let result = self.perform(rng, request.op);
        Some((request.id, result))
    }

    fn perform(&mut self, rng: &mut Rng, op: DiskOp) -> Result<DiskOutcome, DiskError> {
        match op {
            DiskOp::List => {
                let list = self.files.iter().map(|(&id, file)| (id, file.data.len() as u64)).collect();
                return Ok(DiskOutcome::Segments(list));
            }
            DiskOp::Create { segment, size, recycle } => {
                let size = bytes(size);
                if let Some(recycle) = recycle {
                    // A full disk may not even have room for a name.
                    if self.append_no_space > 0 && rng.below(self.append_no_space) == 0 {
                        return Err(DiskError::NoSpace);
                    }
                    let file = self.files.remove(&recycle).expect("a recycled file exists");
                    assert_eq!(file.data.len(), size);
                    self.files.insert(segment, File { durable: file.data.clone(), data: file.data });
                } else {
                    if self.used() + size > self.capacity {
                        return Err(DiskError::NoSpace);
                    }
                    self.files.insert(segment, File { data: vec![0; size], durable: vec![0; size] });
                }
                self.undead.clear();
            }
            DiskOp::Append { segment, offset, data, sync } => {
                self.appends += 1;
                if self.append_io {
                    return Err(DiskError::Io);
                }
                let file = self.files.get_mut(&segment).expect("appends go to files that exist");
                let written: Vec<u8> = data.iter().flat_map(|part| part.iter().copied()).collect();
                let at = bytes(offset);
                assert!(at + written.len() <= file.data.len(), "append beyond the segment");
                if !written.is_empty() && self.append_no_space > 0 && rng.below(self.append_no_space) == 0 {
                    let part = rng.below(written.len() as u64 + 1) as usize;
                    file.data[at..at + part].copy_from_slice(&written[..part]);
                    return Err(DiskError::NoSpace);
                }
                file.data[at..at + written.len()].copy_from_slice(&written);
                if sync {
                    self.syncs += 1;
                    file.durable.clone_from(&file.data);
                }
            }
            DiskOp::Read { segment, offset, len } => {
                let file = self.files.get(&segment).expect("reads go to files that exist");
                self.read_bytes += u64::from(len);
                let from = bytes(offset).min(file.data.len());
                let to = (from + len as usize).min(file.data.len());
                return Ok(DiskOutcome::Data(Bytes::copy_from_slice(&file.data[from..to])));
            }
            DiskOp::Delete { segment } => {
                let file = self.files.remove(&segment).expect("what is deleted exists");
                self.undead.insert(segment, file);
            }
        }
        Ok(DiskOutcome::Done)
    }

    /// The process ends; operations under way may or may not have happened.
    pub(crate) fn kill(&mut self, rng: &mut Rng) {
        for request in core::mem::take(&mut self.queue) {
            match request.op {
                DiskOp::Create { segment, size, recycle: None } if rng.one_in(2) => {
                    // Made, but perhaps not to its full size.
                    let size = bytes(size);
                    let size = if rng.one_in(2) { size } else { rng.below(size as u64) as usize };
                    self.files.insert(segment, File { data: vec![0; size], durable: vec![0; size] });
                }
                DiskOp::Append { segment, offset, data, .. } => {
                    let written: Vec<u8> = data.iter().flat_map(|part| part.iter().copied()).collect();
                    let part = rng.below(written.len() as u64 + 1) as usize;
                    if let Some(file) = self.files.get_mut(&segment) {
                        let at = bytes(offset);
                        file.data[at..at + part].copy_from_slice(&written[..part]);
                    }
                }
                DiskOp::List | DiskOp::Read { .. } => {}
                op @ (DiskOp::Create { recycle: Some(_), .. } | DiskOp::Delete { .. }) => {
                    if rng.one_in(2) {
                        let _ = self.perform(rng, op);
                    }
                }
                DiskOp::Create { .. } => {}
            }
        }
    }

    /// And the machine with it: every sector that was not synced is lost, kept or torn.
    pub(crate) fn lose_power(&mut self, rng: &mut Rng) {
        self.kill(rng);
        let mood = rng.below(3);
        for file in self.files.values_mut() {
            for at in (0..file.data.len()).step_by(SECTOR) {
                let end = (at + SECTOR).min(file.data.len());
                if file.data[at..end] == file.durable[at..end] {
                    continue;
                }
                let fate = if mood == 2 { rng.below(3) } else { mood };
                match fate {
                    0 => {}
                    1 => file.durable[at..end].copy_from_slice(&file.data[at..end]),
                    _ => {
                        let middle = at + rng.below((end - at) as u64) as usize;
                        file.durable[at..middle].copy_from_slice(&file.data[at..middle]);
                    }
                }
            }
            file.data.clone_from(&file.durable);
        }
        for (id, file) in core::mem::take(&mut self.undead) {
            if rng.one_in(2) {
                self.files.entry(id).or_insert(file);
            }
        }
    }

    /// Flips one bit.
    pub(crate) fn rot(&mut self, segment: SegmentId, bit: usize) {
        let file = self.files.get_mut(&segment).unwrap();
        for content in [&mut file.data, &mut file.durable] {
            content[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

fn bytes(count: u64) -> usize {
    usize::try_from(count).expect("test files are small")
}

fn segments_of(op: &DiskOp) -> Vec<SegmentId> {
    match op {
        DiskOp::List => Vec::new(),
        DiskOp::Create { segment, recycle, .. } => core::iter::once(*segment).chain(*recycle).collect(),
        DiskOp::Append { segment, .. } | DiskOp::Read { segment, .. } | DiskOp::Delete { segment } => vec![*segment],
    }
}
