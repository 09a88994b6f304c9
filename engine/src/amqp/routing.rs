//! Exchange and routing key of a message, as the one slice they are on the wire.

use alloc::string::String;
use core::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::ShortStr;

/// The exchange name and the routing key of a message.
///
/// In `basic.publish`, `basic.deliver`, `basic.get-ok` and `basic.return` the two short strings stand
/// next to each other, so one slice of a publish serves every later delivery.
///
/// They are held by a `Bytes`, or only looked at where they lie, by a slice.
///
/// Invariant: exactly two well-formed short strings. They need not be UTF-8 (RabbitMQ does not check
/// the strings of methods with content).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Routing<B = Bytes>(B);

impl Routing {
    /// Encodes the two strings.
    pub fn new(exchange: &ShortStr, routing_key: &ShortStr) -> Self {
        let mut encoded = BytesMut::with_capacity(2 + exchange.len() + routing_key.len());
        super::wire::put_short(&mut encoded, exchange.as_bytes());
        super::wire::put_short(&mut encoded, routing_key.as_bytes());
        Self(encoded.freeze())
    }

    /// Both strings in their encoding, without a copy.
    pub fn encoded(&self) -> &Bytes {
        &self.0
    }

    /// The exchange's name as a string of its own, sharing the memory.
    pub fn exchange_str(&self) -> ShortStr {
        let len = self.exchange().len();
        ShortStr::from_counted(self.0.slice(1..1 + len))
    }

    /// The routing key as a string of its own, sharing the memory.
    pub fn routing_key_str(&self) -> ShortStr {
        let start = self.0.len() - self.routing_key().len();
        ShortStr::from_counted(self.0.slice(start..))
    }

    /// A copy with memory of its own, for what is kept longer than the buffer it came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// The length of the two short strings that `bytes` begins with.
    pub(super) fn encoded_len(bytes: &[u8]) -> Option<usize> {
        let exchange_len = usize::from(*bytes.first()?);
        let routing_key_len = usize::from(*bytes.get(1 + exchange_len)?);
        let len = 2 + exchange_len + routing_key_len;
        (len <= bytes.len()).then_some(len)
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        out.put_slice(&self.0);
    }
}

impl<B: AsRef<[u8]>> Routing<B> {
    /// Takes exactly two encoded short strings, as [`Routing::as_bytes`] gave them.
    pub fn from_encoded(bytes: B) -> Option<Self> {
        (Routing::encoded_len(bytes.as_ref())? == bytes.as_ref().len()).then_some(Self(bytes))
    }

    /// The same, to be looked at.
    pub fn borrowed(&self) -> Routing<&[u8]> {
        Routing(self.as_bytes())
    }

    /// The exchange's name; empty for the default exchange.
    pub fn exchange(&self) -> &[u8] {
        self.halves().0
    }

    /// The routing key.
    pub fn routing_key(&self) -> &[u8] {
        self.halves().1
    }

    /// Both strings in their encoding.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    fn halves(&self) -> (&[u8], &[u8]) {
        let split = || {
            let (&len, rest) = self.as_bytes().split_first()?;
            let (exchange, rest) = rest.split_at_checked(usize::from(len))?;
            let (_, routing_key) = rest.split_first()?;
            Some((exchange, routing_key))
        };
        // The invariant makes the default unreachable; it spares this module a panic.
        split().unwrap_or_default()
    }
}

impl Default for Routing {
    fn default() -> Self {
        Self(Bytes::from_static(&[0, 0]))
    }
}

impl<B: AsRef<[u8]>> fmt::Debug for Routing<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (exchange, routing_key) = self.halves();
        f.debug_struct("Routing")
            .field("exchange", &String::from_utf8_lossy(exchange))
            .field("routing_key", &String::from_utf8_lossy(routing_key))
            .finish()
    }
}

#[cfg(any(test, feature = "arbitrary"))]
impl<'a> arbitrary::Arbitrary<'a> for Routing {
    fn arbitrary(u: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        let exchange = u.arbitrary::<ShortStr>()?;
        Ok(Self::new(&exchange, &u.arbitrary()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_strings_come_back_out() {
        let routing = Routing::new(&ShortStr::from_static("logs"), &ShortStr::from_static("a.b"));
        assert_eq!(routing.as_bytes(), b"\x04logs\x03a.b");
        assert_eq!((routing.exchange(), routing.routing_key()), (&b"logs"[..], &b"a.b"[..]));
        assert_eq!(routing.exchange_str(), "logs");
        assert_eq!(routing.routing_key_str(), "a.b");
        assert_eq!(Routing::default().routing_key_str(), "");
    }

    #[test]
    fn a_truncated_encoding_is_refused() {
        for encoded in [&b""[..], b"\x01", b"\x01a", b"\x01a\x02b", b"\x00\x00x"] {
            assert_eq!(Routing::from_encoded(Bytes::copy_from_slice(encoded)), None);
        }
        assert!(Routing::from_encoded(Bytes::from_static(b"\x00\x00")).is_some());
    }
}
