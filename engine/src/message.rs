//! A message as queues, the log and consumers share it.

use alloc::vec::Vec;
use bytes::{Buf, Bytes};

use crate::amqp::{RawProperties, Routing};

/// Bodies up to this many bytes are copied into an allocation of their own with the rest of the message. Larger ones stay slices of
/// the buffer they arrived in: what such a slice pins beyond itself is at most a few times its size.
const COMPACT_BODY_BYTES: usize = 16 * 1024;

/// Bytes a message takes in memory beside its parts: the counts of what is shared, the allocator's own, and its entry in a queue, whose
/// list may be twice as long as it is full.
const OVERHEAD_BYTES: usize = 112;

/// Bytes of a payload before its variable parts: version, flags, routing length, properties length.
const PAYLOAD_HEADER_BYTES: usize = 8;
/// The version of the payload's encoding.
const PAYLOAD_VERSION: u8 = 1;

/// The second part of a payload that has none.
static NO_BODY: Bytes = Bytes::new();

/// One published message: where it was sent, its properties and its body, all as they came.
///
/// The parts lie one behind the other as the log stores them, so that a message read back from the log is a slice of what was read:
///
/// ```text
/// +---------+-------+-------------+----------------+---------+------------+------+
/// | version | flags | routing len | properties len | routing | properties | body |
/// |   u8    |  u8   |     u16     |      u32       |         |            |      |
/// +---------+-------+-------------+----------------+---------+------------+------+
/// ```
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The header and the parts, up to where the body begins or, for a compact message, to its end.
    head: Bytes,
    /// The body.
    body: Body,
    /// Where the properties begin in `head`.
    properties_at: u32,
    /// Where the properties end, and a compact body begins, in `head`.
    properties_end: u32,
}

/// Where a message's body is.
#[derive(Clone, Debug)]
enum Body {
    /// Behind the properties.
    Compact,
    /// In a buffer of its own.
    Apart(Bytes),
}

impl Message {
    /// A message as it was published.
    pub(crate) fn new(routing: &Routing, properties: &RawProperties, body: Bytes) -> Self {
        let routing = routing.as_bytes();
        let properties = properties.as_bytes();
        let is_compact = body.len() <= COMPACT_BODY_BYTES;
        let mut head = Vec::with_capacity(
            PAYLOAD_HEADER_BYTES + routing.len() + properties.len() + if is_compact { body.len() } else { 0 },
        );
        head.push(PAYLOAD_VERSION);
        head.push(0);
        // Two short strings are at most 512 bytes, and properties fit a frame, whose size is a u32.
        head.extend_from_slice(&u16::try_from(routing.len()).unwrap_or(u16::MAX).to_le_bytes());
        head.extend_from_slice(&u32::try_from(properties.len()).unwrap_or(u32::MAX).to_le_bytes());
        head.extend_from_slice(routing);
        let properties_at = head.len();
        head.extend_from_slice(properties);
        let properties_end = head.len();
        let body = if is_compact {
            head.extend_from_slice(&body);
            Body::Compact
        } else {
            Body::Apart(body)
        };
        let offset = |at: usize| u32::try_from(at).expect("a method frame and a header frame fit u32 together");
        Self { head: head.into(), body, properties_at: offset(properties_at), properties_end: offset(properties_end) }
    }

    /// The message that [`Message::payload`] was stored as; `None` if it is not one.
    pub(crate) fn from_payload(payload: Bytes) -> Option<Self> {
        let mut header = payload.get(..PAYLOAD_HEADER_BYTES)?;
        if header.get_u8() != PAYLOAD_VERSION {
            return None;
        }
        header.advance(1);
        let routing_len = usize::from(header.get_u16_le());
        let properties_len = usize::try_from(header.get_u32_le()).ok()?;
        let properties_at = PAYLOAD_HEADER_BYTES + routing_len;
        let properties_end = properties_at.checked_add(properties_len)?;
        Routing::from_encoded(payload.slice(PAYLOAD_HEADER_BYTES..properties_at.min(payload.len())))?;
        if properties_end > payload.len() {
            return None;
        }
        Some(Self {
            head: payload,
            body: Body::Compact,
            properties_at: u32::try_from(properties_at).ok()?,
            properties_end: u32::try_from(properties_end).ok()?,
        })
    }

    /// What the log stores, in two parts that follow each other; the second may be empty.
    pub(crate) fn payload(&self) -> (&[u8], &Bytes) {
        match &self.body {
            Body::Compact => (&self.head, &NO_BODY),
            Body::Apart(body) => (&self.head, body),
        }
    }

    /// The exchange and routing key it was published with, encoded as two short strings.
    pub(crate) fn routing(&self) -> &[u8] {
        &self.head[PAYLOAD_HEADER_BYTES..self.properties_at as usize]
    }

    /// The encoded properties: flags and property list (AMQP 0-9-1 §4.2.6.1).
    pub(crate) fn properties(&self) -> &[u8] {
        &self.head[self.properties_at as usize..self.properties_end as usize]
    }

    /// The body.
    pub(crate) fn body(&self) -> &[u8] {
        match &self.body {
            Body::Compact => &self.head[self.properties_end as usize..],
            Body::Apart(body) => body,
        }
    }

    /// The body as a buffer of its own, if it is too large to be copied once more.
    pub(crate) fn large_body(&self) -> Option<&Bytes> {
        match &self.body {
            Body::Compact => None,
            Body::Apart(body) => Some(body),
        }
    }

    /// Bytes it holds in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let apart = match &self.body {
            Body::Compact => 0,
            Body::Apart(body) => body.len(),
        };
        OVERHEAD_BYTES + size_of::<Self>() + self.head.len() + apart
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::ShortStr;

    fn check(body_len: usize) {
        let routing = Routing::new(&ShortStr::from_static("logs"), &ShortStr::from_static("a.b"));
        let properties = RawProperties::default();
        let body = Bytes::from(alloc::vec![7_u8; body_len]);
        let message = Message::new(&routing, &properties, body.clone());
        let (head, rest) = message.payload();
        let payload = Bytes::from([head, &rest[..]].concat());
        let stored = Message::from_payload(payload).unwrap();
        for message in [&message, &stored] {
            assert_eq!(message.routing(), routing.as_bytes());
            assert_eq!(message.properties(), properties.as_bytes());
            assert_eq!(message.body(), &body[..]);
        }
    }

    #[test]
    fn a_message_comes_back_from_its_payload_as_it_was() {
        check(0);
        check(1);
        check(COMPACT_BODY_BYTES);
        check(COMPACT_BODY_BYTES + 1);
    }

    #[test]
    fn any_other_payload_is_refused() {
        assert!(Message::from_payload(Bytes::new()).is_none());
        assert!(Message::from_payload(Bytes::from_static(&[2, 0, 2, 0, 0, 0, 0, 0, 0, 0])).is_none());
        assert!(Message::from_payload(Bytes::from_static(&[1, 0, 255, 0, 0, 0, 0, 0, 0, 0])).is_none());
        assert!(Message::from_payload(Bytes::from_static(&[1, 0, 2, 0, 9, 0, 0, 0, 0, 0])).is_none());
    }
}
