//! A producer: prepared frames, stamped in place and written many at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use leveret_engine::amqp::method::{basic, confirm, connection};
use leveret_engine::amqp::{FrameKind, Method, Properties, RawProperties, Routing, encode, properties};

use super::counters::Counters;
use super::histogram::Histogram;
use super::ledger::{STAMP_LEN, Stamp};
use super::link::{Link, RawFrame, Session, objection};
use super::worker::{Peer, Wish};

/// About how many bytes are written at once.
const BATCH_BYTES: usize = 256 * 1024;

/// What a producer publishes.
#[derive(Clone, Debug)]
pub(super) struct Publishing {
    pub(super) routing: Routing,
    pub(super) body_len: usize,
    pub(super) is_persistent: bool,
    pub(super) is_mandatory: bool,
    /// How many may be unconfirmed; `None` without confirms.
    pub(super) window: Option<u64>,
    /// Nanoseconds between two messages; `None` for as fast as possible.
    pub(super) interval: Option<u64>,
    /// How many in all; `None` for as many as there is time for.
    pub(super) count: Option<u64>,
}

/// When a producer works, on the measurement's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    pub(super) start_at: u64,
    /// Latencies of messages sent before do not count.
    pub(super) measure_from: u64,
    /// No publish after it.
    pub(super) end_at: u64,
}

#[derive(Debug)]
pub(super) struct Producer {
    link: Link,
    book: Book,
    publishing: Publishing,
    schedule: Schedule,
    number: u16,
    /// As many copies of the publish as are written at once.
    batch: Vec<u8>,
    publish_len: usize,
    /// Where in a publish the stamp is.
    stamp_at: usize,
    /// The part of the batch that is still to be written.
    position: usize,
    filled: usize,
    /// The number of the batch's first message.
    batch_first: u64,
    next_seq: u64,
}

/// What a producer knows of its confirms.
#[derive(Debug)]
struct Book {
    counters: Arc<Counters>,
    measure_from: u64,
    /// When each unconfirmed message was sent, beginning with number `first`.
    sent_at: VecDeque<u64>,
    first: u64,
    nacked: u64,
    is_blocked: bool,
    latency: Histogram,
}

/// In place of the time of a message that is confirmed before an earlier one.
const CONFIRMED: u64 = u64::MAX;

/// What is left of a producer.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) count: u64,
    pub(super) nacked: u64,
    pub(super) confirm_latency: Histogram,
}

impl Producer {
    /// Makes a producer of a connection that is set up.
    pub(super) fn start(
        mut session: Session,
        number: u16,
        publishing: Publishing,
        schedule: Schedule,
        counters: Arc<Counters>,
    ) -> Result<Self, String> {
        if publishing.window.is_some() {
            session.call(confirm::Select::default())?;
        }
        let link = session.into_link(None)?;
        let mut publish = BytesMut::new();
        let delivery_mode = publishing.is_persistent.then_some(properties::PERSISTENT);
        let properties = RawProperties::from(&Properties { delivery_mode, ..Properties::default() });
        let body = filler(publishing.body_len);
        encode::encode_publish(
            &mut publish,
            super::link::CHANNEL,
            link.frame_max(),
            publishing.routing.as_bytes(),
            publishing.is_mandatory,
            properties.as_bytes(),
            encode::Body::Whole(&body),
        );
        let stamp_at = publish
            .windows(STAMP_LEN)
            .position(|window| window == &body[..STAMP_LEN])
            .expect("the body is part of the publish");
        let publish_len = publish.len();
        let batch = publish.repeat((BATCH_BYTES / publish_len).max(1));
        let book = Book {
            counters,
            measure_from: schedule.measure_from,
            sent_at: VecDeque::new(),
            first: 1,
            nacked: 0,
            is_blocked: false,
            latency: Histogram::new(),
        };
        Ok(Self {
            link,
            book,
            publishing,
            schedule,
            number,
            batch,
            publish_len,
            stamp_at,
            position: 0,
            filled: 0,
            batch_first: 0,
            next_seq: 0,
        })
    }

    /// How many messages have been handed to the socket.
    fn written(&self) -> u64 {
        self.batch_first + as_u64(self.position / self.publish_len)
    }

    /// How many messages may be sent at this moment.
    fn allowance(&self, now: u64) -> u64 {
        let Publishing { window, interval, count, .. } = &self.publishing;
        if now < self.schedule.start_at || now >= self.schedule.end_at || self.book.is_blocked {
            return 0;
        }
        let mut allowance = as_u64(self.batch.len() / self.publish_len);
        if let Some(window) = window {
            allowance = allowance.min(window.saturating_sub(as_u64(self.book.sent_at.len())));
        }
        if let Some(interval) = interval {
            let due = (now - self.schedule.start_at) / interval + 1;
            allowance = allowance.min(due.saturating_sub(self.next_seq));
        }
        if let Some(count) = count {
            allowance = allowance.min(count - self.next_seq);
        }
        allowance
    }

    /// When the next message is due, if a rate is to be kept.
    fn next_due(&self) -> Option<u64> {
        Some(self.schedule.start_at + self.next_seq * self.publishing.interval?)
    }

    /// Fills the batch, whose last content has been written.
    fn fill(&mut self, now: u64) {
        let messages = usize::try_from(self.allowance(now)).expect("no more than fit into the batch");
        self.batch_first = self.next_seq;
        self.position = 0;
        self.filled = messages * self.publish_len;
        for publish in self.batch[..self.filled].chunks_exact_mut(self.publish_len) {
            // With a rate to keep, a message that is sent late has waited since it was due.
            let sent_at = match self.publishing.interval {
                Some(interval) => self.schedule.start_at + self.next_seq * interval,
                None => now,
            };
            let stamp = Stamp { producer: self.number, seq: self.next_seq, sent_at };
            publish[self.stamp_at..self.stamp_at + STAMP_LEN].copy_from_slice(&stamp.to_bytes());
            if self.publishing.window.is_some() {
                self.book.sent_at.push_back(sent_at);
            }
            self.next_seq += 1;
        }
    }

    fn has_published_all(&self, now: u64) -> bool {
        let is_complete = self.publishing.count.is_some_and(|count| self.next_seq >= count);
        self.position == self.filled && (is_complete || now >= self.schedule.end_at)
    }

    /// Ends the connection.
    pub(super) fn finish(self) -> Published {
        self.link.close(&[]);
        Published { count: self.next_seq, nacked: self.book.nacked, confirm_latency: self.book.latency }
    }
}

impl Peer for Producer {
    fn link(&self) -> &Link {
        &self.link
    }

    fn advance(&mut self, now: u64) -> Result<Wish, String> {
        if self.position == self.filled {
            self.fill(now);
        }
        if self.position < self.filled {
            let written = self.link.write(&self.batch[self.position..self.filled])?;
            self.position += written;
            self.book.counters.set_published(self.written());
            if self.position == self.filled {
                self.fill(now);
            }
        }
        if self.has_published_all(now) && self.book.sent_at.is_empty() {
            self.book.counters.set_done();
        }
        // Time and rate wake a producer; the window and an alarm open by what is read.
        let due = match self.next_due() {
            _ if now < self.schedule.start_at => Some(self.schedule.start_at),
            Some(due) if due > now => Some(due.min(self.schedule.end_at)),
            _ => Some(self.schedule.end_at),
        };
        Ok(Wish { reads: true, writes: self.position < self.filled, due: due.filter(|due| *due > now) })
    }

    fn on_readable(&mut self, now: u64) -> Result<(), String> {
        self.link.read()?;
        while let Some(frame) = self.link.next_frame()? {
            self.book.on_frame(frame, now)?;
        }
        Ok(())
    }
}

impl Book {
    fn on_frame(&mut self, frame: RawFrame<'_>, now: u64) -> Result<(), String> {
        if frame.kind != FrameKind::Method as u8 {
            return Ok(());
        }
        let Some((&[c0, c1, m0, m1], arguments)) = frame.payload.split_first_chunk() else {
            return Err("the broker sent a method without its number".to_owned());
        };
        let (class_id, method_id) = (u16::from_be_bytes([c0, c1]), u16::from_be_bytes([m0, m1]));
        if class_id == basic::Ack::CLASS_ID
            && (method_id == basic::Ack::METHOD_ID || method_id == basic::Nack::METHOD_ID)
        {
            let Some((seqno, flags)) = arguments.split_first_chunk() else {
                return Err("the broker sent a confirm without its number".to_owned());
            };
            let is_multiple = flags.first().is_some_and(|flags| flags & 1 != 0);
            return self.confirm(u64::from_be_bytes(*seqno), is_multiple, method_id == basic::Nack::METHOD_ID, now);
        }
        if class_id == connection::Blocked::CLASS_ID {
            match Method::decode(bytes::Bytes::copy_from_slice(frame.payload)) {
                Ok(Method::ConnectionBlocked(_)) => {
                    self.is_blocked = true;
                    self.counters.count_blocked();
                }
                Ok(Method::ConnectionUnblocked(_)) => self.is_blocked = false,
                _ => {}
            }
        }
        objection(frame.payload).map_or(Ok(()), Err)
    }

    fn confirm(&mut self, seqno: u64, is_multiple: bool, is_nack: bool, now: u64) -> Result<(), String> {
        let unexpected = || format!("the broker confirmed message {seqno}, which was not awaited");
        let at = seqno.checked_sub(self.first).and_then(|at| usize::try_from(at).ok()).ok_or_else(unexpected)?;
        if at >= self.sent_at.len() {
            return Err(unexpected());
        }
        let from = if is_multiple { 0 } else { at };
        let mut confirmed = 0;
        for sent_at in self.sent_at.range_mut(from..=at) {
            let sent_at = std::mem::replace(sent_at, CONFIRMED);
            if sent_at == CONFIRMED {
                if is_multiple {
                    continue;
                }
                return Err(unexpected());
            }
            confirmed += 1;
            if sent_at >= self.measure_from {
                self.latency.record(now.saturating_sub(sent_at));
            }
        }
        while self.sent_at.front() == Some(&CONFIRMED) {
            self.sent_at.pop_front();
            self.first += 1;
        }
        if is_nack {
            self.nacked += confirmed;
        }
        self.counters.add_confirmed(confirmed);
        Ok(())
    }
}

/// The body that every message has, but for its stamp.
pub(super) fn filler(len: usize) -> Vec<u8> {
    // A period that is no power of two shows when a part is missing or moved.
    (0..len.max(STAMP_LEN)).map(|at| u8::try_from(at % 251).expect("it is below 251")).collect()
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).expect("a usize has at most 64 bits")
}
