//! The node's log as files in a directory, one per segment, worked on by threads of its own.
//!
//! Three lanes, each a thread with its queue, so that what is slow does not hold up what others wait for: one appends and syncs, one
//! makes and removes segments, one reads. Lanes are in order; between lanes, an operation waits for what was submitted before it on
//! the same segment (appends and reads: only if they touch the same bytes).

mod lane;
mod page;
mod segments;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use leveret_engine::effect::{DiskOp, DiskRequest};
use leveret_engine::ids::SegmentId;
use tokio::sync::mpsc;

use self::lane::{Lane, Ticket};
pub(crate) use self::segments::PREFIX;
use self::segments::Segments;
use super::{Disk, DiskAnswers};

/// The lanes, as indices.
const APPEND: usize = 0;
const SPACE: usize = 1;
const READ: usize = 2;
const LANES: usize = 3;

/// A directory of log segments. Dropping it lets the lanes finish what was submitted, and end.
#[derive(Debug)]
pub struct FileDisk {
    lanes: [Lane; LANES],
    /// What was submitted for each segment.
    submitted: BTreeMap<SegmentId, Submitted>,
}

/// The latest operations on one segment.
#[derive(Debug, Default)]
struct Submitted {
    /// The last ticket in each lane.
    last: [Ticket; LANES],
    /// Appends that may be unfinished.
    appends: Ranges,
    /// Reads that may be unfinished.
    reads: Ranges,
}

/// Operations in one lane with the bytes they touch, in order.
#[derive(Debug, Default)]
struct Ranges(VecDeque<(Ticket, Range<u64>)>);

impl Ranges {
    /// Forgets those up to `done`.
    fn prune(&mut self, done: Ticket) {
        while self.0.front().is_some_and(|(ticket, _)| *ticket <= done) {
            self.0.pop_front();
        }
    }

    /// The last one that touches any of `bytes`.
    fn last_on(&self, bytes: &Range<u64>) -> Ticket {
        let touches = |other: &Range<u64>| bytes.start < other.end && other.start < bytes.end;
        self.0.iter().rev().find(|(_, other)| touches(other)).map_or(Ticket::NONE, |(ticket, _)| *ticket)
    }
}

impl FileDisk {
    /// Opens `directory`, which exists, and starts the lanes. Join the threads after the disk is dropped, to know that all is done.
    ///
    /// # Errors
    /// If the directory cannot be opened or a thread not be started.
    pub fn start(directory: &Path) -> io::Result<(Self, DiskAnswers, Vec<JoinHandle<()>>)> {
        let (answers, answers_out) = mpsc::unbounded_channel();
        let segments = Arc::new(Segments::at(directory)?);
        let mut threads = Vec::with_capacity(LANES);
        let mut start = |name: &str| -> io::Result<Lane> {
            let (lane, worker) = lane::new(Arc::clone(&segments), answers.clone());
            threads.push(thread::Builder::new().name(name.to_owned()).spawn(|| worker.run())?);
            Ok(lane)
        };
        let lanes = [start("log-append")?, start("log-space")?, start("log-read")?];
        Ok((Self { lanes, submitted: BTreeMap::new() }, answers_out, threads))
    }

    /// The tickets that an operation has to wait for before it may start.
    fn predecessors(&self, op: &DiskOp) -> [Ticket; LANES] {
        let last_on = |segment| self.submitted.get(segment).map_or([Ticket::NONE; LANES], |submitted| submitted.last);
        match op {
            DiskOp::List => std::array::from_fn(|lane| self.lanes[lane].last()),
            DiskOp::Create { segment, recycle, .. } => {
                let (made, recycled) = (last_on(segment), recycle.as_ref().map(last_on));
                std::array::from_fn(|lane| made[lane].max(recycled.map_or(Ticket::NONE, |recycled| recycled[lane])))
            }
            DiskOp::Delete { segment } => last_on(segment),
            DiskOp::Append { segment, offset, data, .. } => {
                let mut after = last_on(segment);
                after[READ] = self
                    .submitted
                    .get(segment)
                    .map_or(Ticket::NONE, |submitted| submitted.reads.last_on(&(*offset..offset + len_of(data))));
                after
            }
            DiskOp::Read { segment, offset, len } => {
                let mut after = last_on(segment);
                after[APPEND] = self
                    .submitted
                    .get(segment)
                    .map_or(Ticket::NONE, |submitted| submitted.appends.last_on(&(*offset..offset + u64::from(*len))));
                after
            }
        }
    }

    /// Notes an operation for those that follow it.
    fn remember(&mut self, op: &DiskOp, lane: usize, ticket: Ticket) {
        let segment = match op {
            DiskOp::List => return,
            DiskOp::Delete { segment } => {
                self.submitted.remove(segment);
                return;
            }
            DiskOp::Create { segment, recycle, .. } => {
                if let Some(recycled) = recycle {
                    self.submitted.remove(recycled);
                }
                segment
            }
            DiskOp::Append { segment, .. } | DiskOp::Read { segment, .. } => segment,
        };
        let submitted = self.submitted.entry(*segment).or_default();
        submitted.last[lane] = ticket;
        match op {
            DiskOp::Append { offset, data, .. } => {
                submitted.appends.prune(self.lanes[APPEND].done());
                submitted.appends.0.push_back((ticket, *offset..offset + len_of(data)));
            }
            DiskOp::Read { offset, len, .. } => {
                submitted.reads.prune(self.lanes[READ].done());
                submitted.reads.0.push_back((ticket, *offset..offset + u64::from(*len)));
            }
            DiskOp::List | DiskOp::Create { .. } | DiskOp::Delete { .. } => {}
        }
    }
}

impl Disk for FileDisk {
    fn submit(&mut self, request: DiskRequest) {
        let lane = match &request.op {
            DiskOp::Append { .. } => APPEND,
            DiskOp::Create { .. } | DiskOp::Delete { .. } => SPACE,
            DiskOp::List | DiskOp::Read { .. } => READ,
        };
        let mut after = self.predecessors(&request.op);
        // The lane is in order by itself.
        after[lane] = Ticket::NONE;
        let waits = [APPEND, SPACE, READ]
            .into_iter()
            .filter(|&other| after[other] > self.lanes[other].done())
            .map(|other| self.lanes[other].wait_for(after[other]))
            .collect();
        let ticket = self.lanes[lane].next();
        self.remember(&request.op, lane, ticket);
        self.lanes[lane].submit(request, waits);
    }
}

fn len_of(data: &[Bytes]) -> u64 {
    data.iter().map(|part| part.len() as u64).sum()
}

#[cfg(test)]
mod tests;
