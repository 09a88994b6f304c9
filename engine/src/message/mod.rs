//! A message as queues, the log and consumers share it.

mod dead_letter;
mod delayed;
mod selected;

use alloc::vec::Vec;
use bytes::{Buf, BufMut, Bytes};

use crate::amqp::{FieldValue, LongStr, Properties, RawProperties, Routing, ShortStr};

pub(crate) use dead_letter::{Death, DeathReason};
pub(crate) use delayed::delay_ms;
pub(crate) use selected::{SelectedKeys, UnacceptableType};

/// Bodies up to this many bytes are copied into an allocation of their own with the rest of the message. Larger ones stay slices of
/// the buffer they arrived in, of which such a slice pins at most eight times its size.
pub(crate) const COMPACT_BODY_BYTES: usize = 32 * 1024;

/// Bytes a message takes in memory beside its parts: the counts of what is shared, the allocator's own, and its entry in a queue, whose
/// list may be twice as long as it is full.
const OVERHEAD_BYTES: usize = 112;

/// Bytes of a payload before its variable parts: version, flags, routing length, properties length.
const PAYLOAD_HEADER_BYTES: usize = 8;
/// The version of the encoding of a payload without flags. Whoever knew no other skipped the flags.
const PAYLOAD_VERSION: u8 = 1;
/// The version of the encoding of a payload with flags.
const PAYLOAD_VERSION_FLAGS: u8 = 2;

/// The `x-death` among the headers is the broker's own, not a client's.
const FLAG_DEATHS: u8 = 1;
/// Routing keys that nobody is to see stand between the properties and the body.
const FLAG_HIDDEN_KEYS: u8 = 2;

/// The second part of a payload that has none.
static NO_BODY: Bytes = Bytes::new();

/// The flag of the property `priority`.
const PRIORITY_FLAG: u16 = 1 << 11;
/// The flag of the property `expiration`.
const EXPIRATION_FLAG: u16 = 1 << 8;

/// One published message: where it was sent, its properties and its body, all as they came.
///
/// The parts lie one behind the other as the log stores them, so that a message read back from the log is a slice of what was read:
///
/// ```text
/// +---------+-------+-------------+----------------+---------+------------+-------------+------+
/// | version | flags | routing len | properties len | routing | properties | hidden keys | body |
/// |   u8    |  u8   |     u16     |      u32       |         |            |             |      |
/// +---------+-------+-------------+----------------+---------+------------+-------------+------+
/// ```
///
/// The version is 1 if there are no flags, else 2. Hidden keys are there only with their flag: their length in bytes (u32), then each
/// with its length (u32).
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The header and the parts, up to where the body begins or, for a compact message, to its end.
    head: Bytes,
    /// The body.
    body: Body,
    /// Where the properties end in `head`.
    properties_end: u32,
    /// Where a compact body begins in `head`.
    body_at: u32,
}

/// Where a message's body is.
#[derive(Clone, Debug)]
enum Body {
    /// Behind the rest.
    Compact,
    /// In a buffer of its own.
    Apart(Bytes),
}

/// The body of a message that is made.
#[derive(Clone, Debug)]
pub(crate) enum BodySource<'a> {
    /// It is copied.
    Lent(&'a [u8]),
    /// It is shared, unless it is so small that it is copied.
    Shared(Bytes),
}

impl BodySource<'_> {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Lent(bytes) => Bytes::copy_from_slice(bytes),
            Self::Shared(bytes) => bytes,
        }
    }
}

impl From<Bytes> for BodySource<'_> {
    fn from(bytes: Bytes) -> Self {
        Self::Shared(bytes)
    }
}

impl Message {
    /// A message as it was published.
    pub(crate) fn new<'a>(
        routing: &Routing<impl AsRef<[u8]>>,
        properties: &RawProperties<impl AsRef<[u8]>>,
        body: impl Into<BodySource<'a>>,
    ) -> Self {
        Self::build(routing.as_bytes(), properties.as_bytes(), body.into(), 0, &[])
    }

    /// A message as it was published, which also went by routing keys that nobody is to see.
    pub(crate) fn with_hidden_keys<'a>(
        routing: &Routing<impl AsRef<[u8]>>,
        properties: &RawProperties<impl AsRef<[u8]>>,
        hidden: &[LongStr],
        body: impl Into<BodySource<'a>>,
    ) -> Self {
        Self::build(routing.as_bytes(), properties.as_bytes(), body.into(), 0, hidden)
    }

    /// The same message with other properties.
    fn with_properties(&self, properties: &Properties, flags: u8) -> Self {
        let properties = RawProperties::from(properties);
        let body = BodySource::Shared(self.shared_body());
        Self::build(self.routing(), properties.as_bytes(), body, flags, &self.hidden_keys())
    }

    fn build(routing: &[u8], properties: &[u8], body: BodySource<'_>, flags: u8, hidden: &[LongStr]) -> Self {
        let body_len = body.as_bytes().len();
        let is_compact = body_len <= COMPACT_BODY_BYTES;
        let hidden_bytes: usize = hidden.iter().map(|key| 4 + key.as_bytes().len()).sum();
        let flags = flags | if hidden.is_empty() { 0 } else { FLAG_HIDDEN_KEYS };
        let mut head = Vec::with_capacity(
            PAYLOAD_HEADER_BYTES
                + routing.len()
                + properties.len()
                + if hidden.is_empty() { 0 } else { 4 + hidden_bytes }
                + if is_compact { body_len } else { 0 },
        );
        head.push(if flags == 0 { PAYLOAD_VERSION } else { PAYLOAD_VERSION_FLAGS });
        head.push(flags);
        // Two short strings are at most 512 bytes, and properties fit a frame, whose size is a u32.
        head.extend_from_slice(&u16::try_from(routing.len()).unwrap_or(u16::MAX).to_le_bytes());
        head.extend_from_slice(&u32::try_from(properties.len()).unwrap_or(u32::MAX).to_le_bytes());
        head.extend_from_slice(routing);
        head.extend_from_slice(properties);
        let offset = |at: usize| u32::try_from(at).expect("a method frame and two header frames fit u32 together");
        let properties_end = offset(head.len());
        if !hidden.is_empty() {
            head.put_u32_le(offset(hidden_bytes));
            for key in hidden {
                head.put_u32_le(offset(key.as_bytes().len()));
                head.extend_from_slice(key.as_bytes());
            }
        }
        let body_at = offset(head.len());
        let body = if is_compact {
            head.extend_from_slice(body.as_bytes());
            Body::Compact
        } else {
            Body::Apart(body.into_bytes())
        };
        Self { head: head.into(), body, properties_end, body_at }
    }

    /// The message that [`Message::payload`] was stored as; `None` if it is not one.
    pub(crate) fn from_payload(payload: Bytes) -> Option<Self> {
        let mut header = payload.get(..PAYLOAD_HEADER_BYTES)?;
        let version = header.get_u8();
        let flags = header.get_u8();
        let is_known = match version {
            PAYLOAD_VERSION => flags == 0,
            PAYLOAD_VERSION_FLAGS => flags & !(FLAG_DEATHS | FLAG_HIDDEN_KEYS) == 0,
            _ => false,
        };
        if !is_known {
            return None;
        }
        let routing_len = usize::from(header.get_u16_le());
        let properties_len = usize::try_from(header.get_u32_le()).ok()?;
        let properties_at = PAYLOAD_HEADER_BYTES + routing_len;
        let properties_end = properties_at.checked_add(properties_len)?;
        Routing::from_encoded(payload.slice(PAYLOAD_HEADER_BYTES..properties_at.min(payload.len())))?;
        let mut rest = payload.get(properties_end..)?;
        let mut body_at = properties_end;
        if flags & FLAG_HIDDEN_KEYS != 0 {
            let hidden_len = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
            if hidden_len > rest.len() {
                return None;
            }
            body_at += 4 + hidden_len;
        }
        Some(Self {
            head: payload,
            body: Body::Compact,
            properties_end: u32::try_from(properties_end).ok()?,
            body_at: u32::try_from(body_at).ok()?,
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
        &self.head[PAYLOAD_HEADER_BYTES..self.properties_at()]
    }

    /// The same as names of their own, sharing the memory.
    pub(crate) fn routing_names(&self) -> Routing {
        let encoded = self.head.slice(PAYLOAD_HEADER_BYTES..self.properties_at());
        // Both ways of making a message saw that these are two short strings.
        Routing::from_encoded(encoded).unwrap_or_default()
    }

    /// The encoded properties: flags and property list (AMQP 0-9-1 §4.2.6.1).
    pub(crate) fn properties(&self) -> &[u8] {
        &self.head[self.properties_at()..self.properties_end as usize]
    }

    /// The properties to look things up in.
    pub(crate) fn raw_properties(&self) -> RawProperties<&[u8]> {
        // They were checked when they came, and the log's checksums were when they were read back.
        RawProperties::from_checked(self.properties())
    }

    /// The same with headers that tell how many of its deliveries failed, and how many came back for whatever reason if that is counted
    /// (RabbitMQ docs: Quorum Queues / Poison Message Handling).
    pub(crate) fn with_counts(&self, failed: u16, acquired: u16) -> Self {
        let mut properties = self.raw_properties().decode();
        let mut headers = properties.headers.take().unwrap_or_default();
        headers.set(&ShortStr::from_static("x-delivery-count"), FieldValue::I64(failed.into()));
        if acquired > 0 {
            headers.set(&ShortStr::from_static("x-acquired-count"), FieldValue::I64(acquired.into()));
        }
        properties.headers = Some(headers);
        self.with_properties(&properties, self.flags())
    }

    /// Bytes of its body.
    pub(crate) fn size(&self) -> u32 {
        u32::try_from(self.body().len()).expect("a message fits its limit")
    }

    /// Its `priority`, if it has one.
    pub(crate) fn priority(&self) -> Option<u8> {
        self.has_any_property(PRIORITY_FLAG).then(|| self.raw_properties().priority()).flatten()
    }

    /// Its `message-id`, if it has one.
    pub(crate) fn message_id(&self) -> Option<&[u8]> {
        RawProperties::message_id_in(self.properties())
    }

    /// Its own time to live: `expiration` in milliseconds, if there is one. It was checked when the message was published; one beyond
    /// any clock is as good as the largest.
    pub(crate) fn expiration_ms(&self) -> Option<u64> {
        if !self.has_any_property(EXPIRATION_FLAG) {
            return None;
        }
        let properties = self.raw_properties();
        let digits = core::str::from_utf8(properties.expiration()?).ok()?;
        let is_zero = digits.bytes().all(|digit| matches!(digit, b'+' | b'-' | b'0'));
        Some(if is_zero { 0 } else { digits.trim_start_matches('+').parse().unwrap_or(u64::MAX) })
    }

    /// Whether any property of these flags is there (AMQP 0-9-1 §4.2.6.1).
    fn has_any_property(&self, flags: u16) -> bool {
        self.properties().first_chunk().is_some_and(|word| u16::from_be_bytes(*word) & flags != 0)
    }

    /// The body.
    pub(crate) fn body(&self) -> &[u8] {
        match &self.body {
            Body::Compact => &self.head[self.body_at as usize..],
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

    /// All routing keys it went by: its own, those of its `CC` header, and those of its `BCC` header, which is not there any more
    /// (RabbitMQ docs: Sender-Selected Distribution).
    pub(crate) fn routing_keys(&self) -> Vec<Bytes> {
        let mut keys = self.visible_keys(&self.raw_properties());
        keys.extend(self.hidden_keys().into_iter().map(LongStr::into_bytes));
        keys
    }

    /// Its own routing key and those of its `CC` header.
    fn visible_keys(&self, properties: &RawProperties<&[u8]>) -> Vec<Bytes> {
        let mut keys = alloc::vec![self.routing_names().routing_key_str().into_bytes()];
        keys.extend(selected::keys_of(properties, selected::CC).into_iter().map(LongStr::into_bytes));
        keys
    }

    /// The routing keys that nobody is to see.
    fn hidden_keys(&self) -> Vec<LongStr> {
        let mut keys = Vec::new();
        if self.flags() & FLAG_HIDDEN_KEYS == 0 {
            return keys;
        }
        let mut rest = self.head.slice(self.properties_end as usize + 4..self.body_at as usize);
        while let Ok(len) = rest.try_get_u32_le() {
            let len = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
            keys.push(rest.split_to(len).into());
        }
        keys
    }

    /// Bytes it holds in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let apart = match &self.body {
            Body::Compact => 0,
            Body::Apart(body) => body.len(),
        };
        OVERHEAD_BYTES + size_of::<Self>() + self.head.len() + apart
    }

    fn flags(&self) -> u8 {
        self.head[1]
    }

    /// Where the properties begin in `head`.
    fn properties_at(&self) -> usize {
        PAYLOAD_HEADER_BYTES + usize::from(u16::from_le_bytes([self.head[2], self.head[3]]))
    }

    /// The body, to be part of another message.
    pub(crate) fn shared_body(&self) -> Bytes {
        match &self.body {
            Body::Compact => self.head.slice(self.body_at as usize..),
            Body::Apart(body) => body.clone(),
        }
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
        assert!(Message::from_payload(Bytes::from_static(&[3, 0, 2, 0, 0, 0, 0, 0, 0, 0])).is_none());
        assert!(Message::from_payload(Bytes::from_static(&[1, 1, 2, 0, 0, 0, 0, 0, 0, 0])).is_none());
        assert!(Message::from_payload(Bytes::from_static(&[2, 4, 2, 0, 0, 0, 0, 0, 0, 0])).is_none());
        assert!(Message::from_payload(Bytes::from_static(&[2, 2, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0])).is_none());
        assert!(Message::from_payload(Bytes::from_static(&[1, 0, 255, 0, 0, 0, 0, 0, 0, 0])).is_none());
        assert!(Message::from_payload(Bytes::from_static(&[1, 0, 2, 0, 9, 0, 0, 0, 0, 0])).is_none());
    }

    #[test]
    fn hidden_keys_stay_with_the_message_and_out_of_its_body() {
        let routing = Routing::new(&ShortStr::new(), &ShortStr::from_static("own"));
        let hidden = [LongStr::from("one"), LongStr::from("")];
        for len in [3, COMPACT_BODY_BYTES + 1] {
            let body = Bytes::from(alloc::vec![7_u8; len]);
            let message = Message::with_hidden_keys(&routing, &RawProperties::default(), &hidden, body.clone());
            let (head, rest) = message.payload();
            let stored = Message::from_payload(Bytes::from([head, &rest[..]].concat())).unwrap();
            for message in [&message, &stored] {
                assert_eq!(message.hidden_keys(), hidden);
                assert_eq!(message.routing_keys(), [&b"own"[..], b"one", b""]);
                assert_eq!(message.properties(), [0, 0]);
                assert_eq!(message.body(), &body[..]);
            }
        }
    }

    /// The bytes of each version, as they are in logs out there.
    #[test]
    fn both_versions_are_as_they_were() {
        let routing = Routing::new(&ShortStr::from_static("e"), &ShortStr::from_static("k"));
        let body = Bytes::from_static(b"body");
        let plain = Message::new(&routing, &RawProperties::default(), body.clone());
        assert_eq!(plain.payload().0, b"\x01\0\x04\0\x02\0\0\0\x01e\x01k\0\0body");
        let hidden = Message::with_hidden_keys(&routing, &RawProperties::default(), &[LongStr::from("h")], body);
        let expected = b"\x02\x02\x04\0\x02\0\0\0\x01e\x01k\0\0\x05\0\0\0\x01\0\0\0hbody";
        assert_eq!(hidden.payload().0, expected);
    }
}
