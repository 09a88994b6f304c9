//! A consumer: reads deliveries where they lie, checks every body, and acknowledges many at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;
use leveret_engine::amqp::method::basic;
use leveret_engine::amqp::{FrameKind, ShortStr, encode};

use super::counters::Counters;
use super::histogram::Histogram;
use super::ledger::{Ledger, STAMP_LEN, Stamp};
use super::link::{CHANNEL, Link, RawFrame, Session, objection};
use super::producer::filler;
use super::worker::{Peer, Wish};

/// What a consumer consumes, and how.
#[derive(Clone, Debug)]
pub(super) struct Consuming {
    pub(super) queue: ShortStr,
    pub(super) body_len: usize,
    pub(super) producers: u16,
    /// 0 for no limit.
    pub(super) prefetch: u16,
    /// Acknowledge so many at once; `None` if messages count as acknowledged when they are sent.
    pub(super) ack_every: Option<u64>,
    /// Latencies of messages sent before do not count.
    pub(super) measure_from: u64,
}

#[derive(Debug)]
pub(super) struct Consumer {
    link: Link,
    intake: Intake,
    /// While it is set nothing is read from the socket.
    is_paused: Arc<AtomicBool>,
}

/// What a consumer knows of the message that is coming in, and of those before.
#[derive(Debug)]
struct Intake {
    counters: Arc<Counters>,
    ledger: Ledger,
    latency: Histogram,
    measure_from: u64,
    /// What a body looks like behind its stamp.
    body: Vec<u8>,
    expect: Expect,
    delivery_tag: u64,
    is_redelivered: bool,
    stamp: [u8; STAMP_LEN],
    is_corrupted: bool,
    ack_every: Option<u64>,
    unacked: u64,
    acks: BytesMut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Method,
    Header,
    /// So much of the body has come.
    Body(usize),
}

/// What is left of a consumer.
#[derive(Debug)]
pub(super) struct Consumed {
    pub(super) ledger: Ledger,
    pub(super) latency: Histogram,
}

impl Consumer {
    /// Makes a consumer of a connection that is set up.
    pub(super) fn start(
        mut session: Session,
        consuming: &Consuming,
        is_paused: Arc<AtomicBool>,
        counters: Arc<Counters>,
    ) -> Result<Self, String> {
        if consuming.prefetch > 0 {
            session.call(basic::Qos { prefetch_count: consuming.prefetch, ..basic::Qos::default() })?;
        }
        let consume = basic::Consume {
            queue: consuming.queue.clone(),
            no_ack: consuming.ack_every.is_none(),
            ..basic::Consume::default()
        };
        // Deliveries may come right behind the answer.
        let link = session.into_link(Some(consume.into()))?;
        let intake = Intake {
            counters,
            ledger: Ledger::new(consuming.producers),
            latency: Histogram::new(),
            measure_from: consuming.measure_from,
            body: filler(consuming.body_len),
            expect: Expect::Method,
            delivery_tag: 0,
            is_redelivered: false,
            stamp: [0; STAMP_LEN],
            is_corrupted: false,
            ack_every: consuming.ack_every,
            unacked: 0,
            acks: BytesMut::new(),
        };
        Ok(Self { link, intake, is_paused })
    }

    /// Acknowledges the rest and ends the connection.
    pub(super) fn finish(mut self) -> Consumed {
        self.intake.ack_rest();
        self.link.close(&self.intake.acks);
        Consumed { ledger: self.intake.ledger, latency: self.intake.latency }
    }
}

impl Peer for Consumer {
    fn link(&self) -> &Link {
        &self.link
    }

    fn advance(&mut self, _now: u64) -> Result<Wish, String> {
        let acks = &mut self.intake.acks;
        if !acks.is_empty() {
            let written = self.link.write(acks)?;
            if written == acks.len() {
                acks.clear();
            } else {
                let _ = acks.split_to(written);
            }
        }
        let reads = !self.is_paused.load(Ordering::Relaxed);
        Ok(Wish { reads, writes: !acks.is_empty(), due: None })
    }

    fn on_readable(&mut self, now: u64) -> Result<(), String> {
        self.link.read()?;
        while let Some(frame) = self.link.next_frame()? {
            self.intake.on_frame(frame, now)?;
        }
        self.intake.counters.set_delivered(self.intake.ledger.received());
        Ok(())
    }
}

impl Intake {
    fn on_frame(&mut self, frame: RawFrame<'_>, now: u64) -> Result<(), String> {
        const METHOD: u8 = FrameKind::Method as u8;
        const HEADER: u8 = FrameKind::Header as u8;
        const BODY: u8 = FrameKind::Body as u8;
        match (self.expect, frame.kind) {
            (Expect::Method, METHOD) => self.on_method(frame.payload),
            (Expect::Header, HEADER) => self.on_header(frame.payload),
            (Expect::Body(at), BODY) => {
                self.on_body(at, frame.payload, now);
                Ok(())
            }
            (Expect::Method, kind) if kind == FrameKind::Heartbeat as u8 => Ok(()),
            (expect, kind) => Err(format!("the broker sent a frame of type {kind} instead of {expect:?}")),
        }
    }

    fn on_method(&mut self, payload: &[u8]) -> Result<(), String> {
        let Some((&[c0, c1, m0, m1, tag_len], rest)) = payload.split_first_chunk() else {
            return objection(payload).map_or(Ok(()), Err);
        };
        let ids = (u16::from_be_bytes([c0, c1]), u16::from_be_bytes([m0, m1]));
        if ids != (basic::Deliver::CLASS_ID, basic::Deliver::METHOD_ID) {
            return objection(payload).map_or(Ok(()), Err);
        }
        let delivery = rest.get(usize::from(tag_len)..).and_then(|rest| rest.split_first_chunk::<9>());
        let Some((&[t0, t1, t2, t3, t4, t5, t6, t7, redelivered], _)) = delivery else {
            return Err("the broker sent a delivery that is too short".to_owned());
        };
        let delivery_tag = u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
        if delivery_tag != self.delivery_tag + 1 {
            return Err(format!("delivery tag {delivery_tag} came after {}", self.delivery_tag));
        }
        self.delivery_tag = delivery_tag;
        self.is_redelivered = redelivered & 1 != 0;
        self.is_corrupted = false;
        self.expect = Expect::Header;
        Ok(())
    }

    fn on_header(&mut self, payload: &[u8]) -> Result<(), String> {
        let Some((size, _)) = payload.get(4..).and_then(<[u8]>::split_first_chunk) else {
            return Err("the broker sent a content header that is too short".to_owned());
        };
        let size = u64::from_be_bytes(*size);
        if u64::try_from(self.body.len()) != Ok(size) {
            return Err(format!("a message has {size} bytes instead of {}", self.body.len()));
        }
        self.expect = Expect::Body(0);
        Ok(())
    }

    fn on_body(&mut self, at: usize, payload: &[u8], now: u64) {
        let end = at + payload.len();
        let mut payload = payload;
        let mut expected = self.body.get(at..end).unwrap_or_default();
        if at < STAMP_LEN {
            let part = payload.len().min(STAMP_LEN - at);
            self.stamp[at..at + part].copy_from_slice(&payload[..part]);
            payload = &payload[part..];
            expected = expected.get(part..).unwrap_or_default();
        }
        self.is_corrupted |= payload != expected;
        if end < self.body.len() {
            self.expect = Expect::Body(end);
            return;
        }
        self.expect = Expect::Method;
        if self.is_corrupted {
            self.ledger.note_corrupted();
        } else {
            let stamp = Stamp::from_bytes(self.stamp);
            self.ledger.note(stamp, self.is_redelivered);
            if stamp.sent_at >= self.measure_from {
                self.latency.record(now.saturating_sub(stamp.sent_at));
            }
        }
        if let Some(every) = self.ack_every {
            self.unacked += 1;
            if self.unacked >= every {
                self.ack_rest();
            }
        }
    }

    /// Acknowledges what is not acknowledged.
    fn ack_rest(&mut self) {
        if self.unacked > 0 {
            encode::encode_ack(&mut self.acks, CHANNEL, self.delivery_tag, self.unacked > 1);
            self.unacked = 0;
        }
    }
}
