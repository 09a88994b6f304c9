//! Messages of a queue as operators look at them, move them and delete them, one by one.
//!
//! A scan begins with the numbers of the messages that are ready and looks at each as long as it still is. Bodies that are only in the
//! log are read for it and not given to the queue, so that looking changes nothing.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

use super::{Asker, Broker, shown};
use crate::broker::Published;
use crate::cluster::inquiries::{Outcome, Shown};
use crate::collections::IdMap;
use crate::effect::DiskRequest;
use crate::ids::{Lsn, QueueSeq};
use crate::limits;
use crate::management::{AdminError, QueueName, Selection};
use crate::message::Message;
use crate::queue::LeaveReason;
use crate::routing::QueueKey;
use crate::storage::Place;

/// Set in the token of a read for a scan; the numbers of queues do not come that far.
const SCAN_TOKEN: u64 = 1 << 61;

/// All scans under way.
#[derive(Debug, Default)]
pub(crate) struct Scans {
    by_number: IdMap<u64, Scan>,
    last_number: u64,
    /// Those that can go on.
    runnable: VecDeque<u64>,
}

/// One operator's look at a queue.
#[derive(Debug)]
struct Scan {
    asker: Asker,
    queue: QueueKey,
    name: QueueName,
    /// Those not looked at yet, next first.
    wanted: VecDeque<QueueSeq>,
    selection: Selection,
    purpose: Purpose,
    /// How many were dealt with.
    count: u64,
    found: Vec<Shown>,
    found_bytes: usize,
    /// The body of the next message, and where it was read from.
    reading: Option<Place>,
    read: Option<Arc<Message>>,
}

/// What the selected messages are for.
#[derive(Debug)]
enum Purpose {
    Peek,
    Move(QueueKey),
    Delete,
}

/// What a scan did with the next message.
#[derive(Debug)]
enum Step {
    Done,
    Finished,
    Failed(AdminError),
    Read(Place),
}

impl Broker {
    /// Begins to show messages.
    pub(super) fn peek(&mut self, asker: Asker, name: &QueueName, selection: Selection) -> Result<(), AdminError> {
        let selection = Selection { count: Some(selection.count.unwrap_or(limits::PEEK_COUNT_MAX)), ..selection };
        self.start_scan(asker, name, selection, Purpose::Peek)
    }

    /// Begins to move messages.
    pub(super) fn move_messages(
        &mut self,
        asker: Asker,
        name: &QueueName,
        destination: &QueueName,
        selection: Selection,
    ) -> Result<(), AdminError> {
        let destination_key = self.expect_queue_here(destination)?;
        if self.expect_queue_here(name)? == destination_key {
            return Err(AdminError::bad_request("messages move from a queue to another, and these are the same"));
        }
        self.start_scan(asker, name, selection, Purpose::Move(destination_key))
    }

    /// Begins to delete messages.
    pub(super) fn delete_messages(
        &mut self,
        asker: Asker,
        name: &QueueName,
        selection: Selection,
    ) -> Result<(), AdminError> {
        self.start_scan(asker, name, selection, Purpose::Delete)
    }

    fn start_scan(
        &mut self,
        asker: Asker,
        name: &QueueName,
        selection: Selection,
        purpose: Purpose,
    ) -> Result<(), AdminError> {
        let key = self.expect_queue_here(name)?;
        if self.scans.by_number.len() >= limits::SCANS_MAX {
            return Err(AdminError::refused("too many operators look into queues at the moment; try again later"));
        }
        let wanted = self.queues.get(key).expect("the queue is here").ready_seqs().into();
        let scan = Scan {
            asker,
            queue: key,
            name: name.clone(),
            wanted,
            selection,
            purpose,
            count: 0,
            found: Vec::new(),
            found_bytes: 0,
            reading: None,
            read: None,
        };
        self.scans.last_number += 1;
        let number = self.scans.last_number;
        self.scans.by_number.insert(number, scan);
        self.scans.runnable.push_back(number);
        Ok(())
    }

    /// Goes on with one scan. Whether there was one that could.
    pub(crate) fn scan_next(&mut self, out: &mut Vec<DiskRequest>) -> bool {
        let Some(number) = self.scans.runnable.pop_front() else { return false };
        let Some(mut scan) = self.scans.by_number.remove(&number) else { return true };
        loop {
            match self.step(&mut scan) {
                Step::Done => {}
                Step::Read(place) => {
                    scan.reading = Some(place);
                    let len = self.log.read(place.lsn, place.len, SCAN_TOKEN | number, out);
                    if len == place.len {
                        self.scans.by_number.insert(number, scan);
                        return true;
                    }
                    // Its record is gone: the message is about to be.
                    scan.reading = None;
                    scan.wanted.pop_front();
                }
                Step::Finished => {
                    match scan.purpose {
                        Purpose::Peek => self.tell_asker(scan.asker, Ok(Outcome::Messages(scan.found))),
                        Purpose::Move(_) | Purpose::Delete => {
                            self.answer_when_durable(scan.asker, Outcome::Count(scan.count));
                        }
                    }
                    return true;
                }
                Step::Failed(error) => {
                    self.tell_asker(scan.asker, Err(error));
                    return true;
                }
            }
        }
    }

    /// A body that a scan asked for. Whether the token is a scan's.
    ///
    /// # Errors
    /// A text for the operator if it is damaged.
    pub(crate) fn on_scan_read(&mut self, token: u64, data: &Bytes) -> Result<bool, &'static str> {
        if token & SCAN_TOKEN == 0 {
            return Ok(false);
        }
        let number = token & !SCAN_TOKEN;
        let Some(scan) = self.scans.by_number.get_mut(&number) else { return Ok(true) };
        let Some(place) = scan.reading.take() else { return Ok(true) };
        let payload = self.log.open_record(place.lsn, data).map_err(|_| "a record is damaged")?;
        scan.read = Some(Arc::new(Message::from_payload(payload).ok_or("a record does not hold a message")?));
        self.scans.runnable.push_back(number);
        Ok(true)
    }

    /// Deals with the next message of a scan.
    fn step(&mut self, scan: &mut Scan) -> Step {
        if scan.selection.count == Some(0) {
            return Step::Finished;
        }
        let Some(&seq) = scan.wanted.front() else { return Step::Finished };
        let Some(queue) = self.queues.get(scan.queue) else {
            return Step::Failed(AdminError::not_found(alloc::format!("there is no {} any more", scan.name.quoted())));
        };
        let Some(entry) = queue.ready_entry(seq) else {
            // A consumer was quicker.
            scan.wanted.pop_front();
            scan.read = None;
            return Step::Done;
        };
        let needs_body = !matches!(scan.purpose, Purpose::Delete) || scan.selection.message_id.is_some();
        let message = entry.message.clone().or_else(|| scan.read.take());
        let redelivered = entry.is_redelivered();
        if needs_body
            && message.is_none()
            && let Some(place) = entry.place()
        {
            return Step::Read(place);
        }
        scan.wanted.pop_front();
        if let Some(wanted) = &scan.selection.message_id
            && message.as_ref().and_then(|message| message.raw_properties().message_id().map(<[u8]>::to_vec)).as_deref()
                != Some(wanted.as_bytes())
        {
            return Step::Done;
        }
        if scan.selection.offset > 0 {
            scan.selection.offset -= 1;
            return Step::Done;
        }
        if let Err(error) = self.deal_with(scan, seq, message.as_ref(), redelivered) {
            return Step::Failed(error);
        }
        scan.count += 1;
        if let Some(count) = &mut scan.selection.count {
            *count -= 1;
        }
        if scan.found_bytes > limits::PEEK_BYTES_MAX { Step::Finished } else { Step::Done }
    }

    /// Does with a selected message what the scan is for.
    fn deal_with(
        &mut self,
        scan: &mut Scan,
        seq: QueueSeq,
        message: Option<&Arc<Message>>,
        redelivered: bool,
    ) -> Result<(), AdminError> {
        match (&scan.purpose, message) {
            (Purpose::Peek, Some(message)) => {
                scan.found_bytes += message.memory_bytes();
                scan.found.push(shown(seq.0, redelivered, message));
            }
            (Purpose::Move(destination), Some(message)) => {
                self.route_to_queue(*destination);
                match self.enqueue_routed(message, message.raw_properties().is_persistent(), None, None) {
                    Published::Kept | Published::KeptAt(_) | Published::Awaited => {}
                    Published::Unroutable => {
                        let text = alloc::format!("moved {}, then the destination was deleted", scan.count);
                        return Err(AdminError::not_found(text));
                    }
                    Published::Refused => {
                        let text = alloc::format!("moved {}, then the destination was full", scan.count);
                        return Err(AdminError::refused(text));
                    }
                }
                // It is in the log behind its copy, so that a crash leaves both rather than none.
                self.remove_ready(scan.queue, seq);
            }
            (Purpose::Delete, _) => self.remove_ready(scan.queue, seq),
            (Purpose::Peek | Purpose::Move(_), None) => {}
        }
        Ok(())
    }

    /// Takes a ready message out of its queue for good.
    fn remove_ready(&mut self, key: QueueKey, seq: QueueSeq) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        let before = queue.body_bytes();
        let Some(entry) = queue.take_ready(seq) else { return };
        self.body_bytes -= before - queue.body_bytes();
        let _: Lsn = self.bury(key, entry, LeaveReason::Removed);
        // A basic.get may have waited for it.
        self.activate(key);
    }
}
