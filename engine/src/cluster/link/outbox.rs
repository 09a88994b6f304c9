//! What waits to be written to the other node, and what of it goes next.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::{BufMut, Bytes, BytesMut};
use core::fmt;

use super::chunk::{self, Part, Target};
use super::lane::{self, Lane};
use crate::limits;

/// Messages of all lanes, in chunks as the driver has room for them.
///
/// The most urgent lane that has something goes first. A lane that has been passed over for [`limits::LINK_SHARE_BYTES`] gets a chunk in
/// between, but never two of those stand in a row: what is urgent waits for one chunk that is not.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Greetings, headers and small contents that are being collected.
    buffer: BytesMut,
    lanes: [Queue; lane::COUNT],
    /// Whether the last chunk was of a lane that had been passed over.
    was_share: bool,
    /// Bytes that the driver took and the operating system has not.
    unwritten: usize,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Bytes>,
    /// Whether some of the first message is on its way. Then that is not here any more.
    is_begun: bool,
    /// Bytes of all messages, as far as they are here.
    bytes: usize,
    /// Bytes of other lanes that went while something waited here.
    passed_over: usize,
    is_congested: bool,
}

/// Why a message was not taken. What becomes of it is for its sender to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// The other side has not proven itself, or the link is over.
    NotOpen,
    /// The message is larger than its lane allows, and always will be.
    TooLarge,
    /// Too many bytes wait in its lane.
    Full,
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOpen => "the link is not open",
            Self::TooLarge => "the message is larger than a link takes",
            Self::Full => "the link is full",
        })
    }
}

impl core::error::Error for Unsent {}

impl Outbox {
    /// Where greetings go, in front of everything else.
    pub(super) fn greetings(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Appends the last chunk.
    pub(super) fn put_refusal(&mut self, content: &[u8]) {
        chunk::put_header(&mut self.buffer, Target::Refusal, Part::Whole, content);
        self.buffer.put_slice(content);
    }

    pub(super) fn send(&mut self, lane: Lane, message: Bytes) -> Result<(), Unsent> {
        let queue = &mut self.lanes[lane.index()];
        if message.len() > lane.message_bytes_max() {
            return Err(Unsent::TooLarge);
        }
        // A lane of which nothing waits takes one message however large.
        if !queue.messages.is_empty() && queue.bytes + message.len() > limits::LINK_LANE_BYTES_MAX {
            return Err(Unsent::Full);
        }
        queue.bytes += message.len();
        queue.is_congested |= queue.bytes >= limits::LINK_LANE_HIGH_BYTES;
        queue.messages.push_back(message);
        Ok(())
    }

    /// Hands out chunks until the driver has `window` bytes unwritten, the last one of which may reach beyond that.
    pub(super) fn take_output(&mut self, window: usize, out: &mut Vec<Bytes>) {
        // Greetings and refusals do not wait: they are few, and collected before any chunk.
        self.unwritten += self.buffer.len();
        while self.unwritten < window
            && let Some(lane) = self.next_lane()
        {
            self.unwritten += self.take_chunk(lane, out);
        }
        if !self.buffer.is_empty() {
            out.push(self.buffer.split().freeze());
        }
    }

    /// Whether there is something to hand out.
    pub(super) fn has_output(&self) -> bool {
        !self.buffer.is_empty() || self.lanes.iter().any(|queue| !queue.messages.is_empty())
    }

    pub(super) fn on_written(&mut self, bytes: usize) {
        assert!(bytes <= self.unwritten, "{bytes} bytes written of {} that were taken", self.unwritten);
        self.unwritten -= bytes;
    }

    pub(super) fn is_congested(&self, lane: Lane) -> bool {
        self.lanes[lane.index()].is_congested
    }

    /// Bytes that wait in one lane.
    pub(super) fn lane_bytes(&self, lane: Lane) -> usize {
        self.lanes[lane.index()].bytes
    }

    /// Bytes of messages that wait, and of what the driver has not written.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.lanes.iter().map(|queue| queue.bytes).sum::<usize>() + self.buffer.len() + self.unwritten
    }

    /// Forgets all messages.
    pub(super) fn drop_messages(&mut self) {
        self.lanes = Default::default();
    }

    /// The lane whose turn it is.
    fn next_lane(&mut self) -> Option<Lane> {
        let waits = |lane: &Lane| !self.lanes[lane.index()].messages.is_empty();
        let urgent = Lane::ALL.into_iter().find(waits)?;
        let passed_over = |lane: &Lane| self.lanes[lane.index()].passed_over;
        // Of several, the one that was passed over for most.
        let due =
            Lane::ALL.into_iter().filter(|lane| passed_over(lane) >= limits::LINK_SHARE_BYTES).max_by_key(passed_over);
        self.was_share = due.is_some() && !self.was_share;
        Some(due.filter(|_| self.was_share).unwrap_or(urgent))
    }

    /// Takes a chunk out of a lane that has one. Returns its length on the wire.
    fn take_chunk(&mut self, lane: Lane, out: &mut Vec<Bytes>) -> usize {
        let queue = &mut self.lanes[lane.index()];
        let message = queue.messages.front_mut().expect("the lane was chosen for it");
        let total = message.len();
        let content = message.split_to(total.min(limits::LINK_CHUNK_BYTES));
        let is_last = message.is_empty();
        let part = match (queue.is_begun, is_last) {
            (true, _) => Part::More,
            (false, true) => Part::Whole,
            (false, false) => Part::Beginning(total),
        };
        queue.is_begun = !is_last;
        queue.bytes -= content.len();
        queue.passed_over = 0;
        queue.is_congested &= queue.bytes > limits::LINK_LANE_LOW_BYTES;
        if is_last {
            queue.messages.pop_front();
        }
        let before = self.buffer.len();
        chunk::put_header(&mut self.buffer, Target::Lane(lane), part, &content);
        let length = self.buffer.len() - before + content.len();
        let others = self.lanes.iter_mut().enumerate().filter(|(at, _)| *at != lane.index()).map(|(_, queue)| queue);
        for other in others.filter(|queue| !queue.messages.is_empty()) {
            other.passed_over += length;
        }
        if content.len() <= limits::LINK_COPY_BYTES_MAX {
            self.buffer.put_slice(&content);
        } else {
            out.push(self.buffer.split().freeze());
            out.push(content);
        }
        length
    }

    /// Checks what must hold between calls.
    pub(super) fn check_invariants(&self) {
        for (queue, lane) in self.lanes.iter().zip(Lane::ALL) {
            assert_eq!(queue.bytes, queue.messages.iter().map(Bytes::len).sum::<usize>(), "{lane}");
            assert!(!queue.is_begun || !queue.messages.is_empty(), "{lane}");
            assert!(queue.passed_over == 0 || !queue.messages.is_empty(), "{lane}");
            assert!(queue.bytes <= limits::LINK_LANE_BYTES_MAX || queue.messages.len() == 1, "{lane}: {}", queue.bytes);
            assert!(queue.is_congested || queue.bytes < limits::LINK_LANE_HIGH_BYTES, "{lane}: {}", queue.bytes);
            assert!(!queue.is_congested || queue.bytes > limits::LINK_LANE_LOW_BYTES, "{lane}: {}", queue.bytes);
        }
    }
}
