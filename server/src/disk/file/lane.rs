//! One thread with its queue of disk operations, done in order.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};

use bytes::Bytes;
use leveret_engine::effect::{DiskOp, DiskRequest};
use leveret_engine::ids::SegmentId;
use leveret_engine::input::{DiskError, DiskOutcome};
use tokio::sync::mpsc::UnboundedSender;

use super::page::Tail;
use super::segments::{Segments, SharedFile};
use crate::disk::DiskAnswer;

/// An operation's place in its lane, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

impl Ticket {
    /// Before the first.
    pub(super) const NONE: Self = Self(0);
}

/// How far a lane has come.
#[derive(Debug, Default)]
struct Progress {
    reached: Mutex<Reached>,
    advanced: Condvar,
}

#[derive(Debug, Default)]
struct Reached {
    /// The last operation done.
    done: Ticket,
    /// How many other lanes wait for more. Mostly none do, and to wake nobody is a system call as well.
    waiting: usize,
}

impl Progress {
    fn reached(&self) -> MutexGuard<'_, Reached> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An operation in another lane that has to be done first.
///
/// No two lanes wait for each other: an operation only ever waits for ones that were submitted before it, and a lane is in order.
#[derive(Debug)]
pub(super) struct Wait {
    progress: Arc<Progress>,
    ticket: Ticket,
}

impl Wait {
    fn block(&self) {
        let mut reached = self.progress.reached();
        reached.waiting += 1;
        while reached.done < self.ticket {
            reached = self.progress.advanced.wait(reached).unwrap_or_else(PoisonError::into_inner);
        }
        reached.waiting -= 1;
    }
}

/// Where operations are put in.
#[derive(Debug)]
pub(super) struct Lane {
    jobs: mpsc::Sender<Job>,
    progress: Arc<Progress>,
    last: Ticket,
}

#[derive(Debug)]
struct Job {
    request: DiskRequest,
    ticket: Ticket,
    waits: Vec<Wait>,
}

/// A lane and what works it off. Its queue needs no bound of its own: the engine bounds what it has under way.
pub(super) fn new(segments: Arc<Segments>, answers: UnboundedSender<DiskAnswer>) -> (Lane, Worker) {
    let (jobs, jobs_out) = mpsc::channel();
    let progress = Arc::new(Progress::default());
    let lane = Lane { jobs, progress: Arc::clone(&progress), last: Ticket::NONE };
    let worker = Worker {
        jobs: jobs_out,
        progress,
        segments,
        answers,
        unsynced: Vec::new(),
        tail: Tail::default(),
        is_broken: false,
        is_full: false,
    };
    (lane, worker)
}

impl Lane {
    /// The last operation submitted.
    pub(super) fn last(&self) -> Ticket {
        self.last
    }

    /// The last operation done.
    pub(super) fn done(&self) -> Ticket {
        self.progress.reached().done
    }

    /// Something to wait for until `ticket` is done.
    pub(super) fn wait_for(&self, ticket: Ticket) -> Wait {
        Wait { progress: Arc::clone(&self.progress), ticket }
    }

    /// The place of the operation that is submitted next.
    pub(super) fn next(&self) -> Ticket {
        Ticket(self.last.0 + 1)
    }

    /// Appends an operation, which starts after `waits`.
    pub(super) fn submit(&mut self, request: DiskRequest, waits: Vec<Wait>) {
        self.last = self.next();
        // The worker ends only after this sender, or by a panic, which ends the process.
        let _ = self.jobs.send(Job { request, ticket: self.last, waits });
    }
}

/// A lane's other end.
pub(super) struct Worker {
    jobs: mpsc::Receiver<Job>,
    progress: Arc<Progress>,
    segments: Arc<Segments>,
    answers: UnboundedSender<DiskAnswer>,
    /// Segments written since their last sync.
    unsynced: Vec<(SegmentId, SharedFile)>,
    tail: Tail,
    /// Whether a write or sync has failed. The kernel reports a lost page once and then calls the file clean, so nothing that is
    /// written later may be promised either.
    is_broken: bool,
    /// Whether the last operation that takes space found none. The engine asks again and again; the log says it once.
    is_full: bool,
}

impl Worker {
    /// Works until the lane's other end is gone.
    pub(super) fn run(mut self) {
        while let Ok(Job { request, ticket, waits }) = self.jobs.recv() {
            waits.iter().for_each(Wait::block);
            let DiskRequest { id, op } = request;
            let takes_space = matches!(op, DiskOp::Create { .. } | DiskOp::Append { .. });
            let result = self.perform(op);
            if takes_space {
                self.is_full = result == Err(DiskError::NoSpace);
            }
            let mut reached = self.progress.reached();
            reached.done = ticket;
            let is_awaited = reached.waiting > 0;
            drop(reached);
            if is_awaited {
                self.progress.advanced.notify_all();
            }
            // The node may have ended without waiting for the last answers.
            let _ = self.answers.send(DiskAnswer { op: id, result });
        }
    }

    fn perform(&mut self, op: DiskOp) -> Result<DiskOutcome, DiskError> {
        match op {
            DiskOp::List => {
                let found =
                    self.segments.list().map_err(|error| self.report(&error, "list the log's segments", None))?;
                Ok(DiskOutcome::Segments(found))
            }
            DiskOp::Create { segment, size, recycle } => {
                let made = self.segments.create(segment, size, recycle);
                made.map_err(|error| self.report(&error, "make a segment", Some(segment)))?;
                Ok(DiskOutcome::Done)
            }
            DiskOp::Append { segment, offset, data, sync } => {
                self.append(segment, offset, data, sync)?;
                Ok(DiskOutcome::Done)
            }
            DiskOp::Read { segment, offset, len } => {
                let read = self.segments.open(segment).and_then(|file| file.read(offset, len));
                let data = read.map_err(|error| self.report(&error, "read a segment", Some(segment)))?;
                Ok(DiskOutcome::Data(Bytes::from(data)))
            }
            DiskOp::Delete { segment } => {
                let deleted = self.segments.delete(segment);
                deleted.map_err(|error| self.report(&error, "delete a segment", Some(segment)))?;
                Ok(DiskOutcome::Done)
            }
        }
    }

    fn append(&mut self, segment: SegmentId, offset: u64, mut data: Vec<Bytes>, sync: bool) -> Result<(), DiskError> {
        if self.is_broken {
            return Err(DiskError::Io);
        }
        let file = self.segments.open(segment).map_err(|error| self.report(&error, "open a segment", Some(segment)))?;
        let len = data.iter().map(|piece| piece.len() as u64).sum();
        data.push(Bytes::from_static(self.tail.padding(segment, file.size(), offset, len)));
        if let Err(error) = file.write(offset, &data) {
            let error = self.report(&error, "append to a segment", Some(segment));
            self.is_broken = error == DiskError::Io;
            return Err(error);
        }
        if self.unsynced.last().is_none_or(|(last, _)| *last != segment) {
            self.unsynced.push((segment, file));
        }
        if sync {
            for (segment, file) in self.unsynced.drain(..) {
                if let Err(error) = file.sync() {
                    self.is_broken = true;
                    tracing::error!(%segment, %error, "cannot sync a segment");
                    return Err(DiskError::Io);
                }
            }
        }
        Ok(())
    }

    /// Logs what the engine is not told, and reduces it to what the engine is told.
    fn report(&self, error: &io::Error, what: &str, segment: Option<SegmentId>) -> DiskError {
        let segment = segment.map(tracing::field::display);
        if !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            tracing::error!(segment, %error, "cannot {what}");
            return DiskError::Io;
        }
        if self.is_full {
            tracing::debug!(segment, %error, "still no space to {what}");
        } else {
            tracing::warn!(segment, %error, "no space to {what}");
        }
        DiskError::NoSpace
    }
}
