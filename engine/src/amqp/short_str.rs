//! Short strings: up to 255 bytes with a length octet (AMQP 0-9-1 §4.2.5.3).

use alloc::borrow::Cow;
use alloc::string::String;
use core::borrow::Borrow;
use core::fmt;

use bytes::Bytes;

/// A string of at most 255 bytes.
///
/// The bytes need not be UTF-8: names in methods are checked when they are decoded, but routing keys,
/// property values and table keys are passed on as they came, as RabbitMQ does. A decoded string is
/// a slice of the received buffer and keeps it alive; see [`ShortStr::detached`].
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortStr(Bytes);

/// The error of making a [`ShortStr`] from more than 255 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortStrTooLong {
    /// How long it was, in bytes.
    pub len: usize,
}

impl ShortStr {
    /// The greatest length, in bytes.
    pub const MAX_LEN: usize = 255;

    /// The empty string.
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// A string from a literal, without allocation.
    ///
    /// # Panics
    /// If the literal is longer than 255 bytes.
    pub const fn from_static(text: &'static str) -> Self {
        assert!(text.len() <= Self::MAX_LEN, "a short string literal is too long");
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// As much of `text` as fits, cut before a character.
    pub fn truncated(text: &str) -> Self {
        let cut = prefix(text, Self::MAX_LEN);
        Self(Bytes::copy_from_slice(cut.as_bytes()))
    }

    /// Wraps bytes whose length came from a length octet.
    pub(super) fn from_counted(bytes: Bytes) -> Self {
        assert!(bytes.len() <= Self::MAX_LEN, "a length octet counts to 255");
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        core::str::from_utf8(&self.0).ok()
    }

    /// The text, with replacement characters for what is not UTF-8.
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The bytes, without a copy.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A copy with memory of its own, for what is kept longer than the buffer it came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

/// The longest prefix of whole characters within `max_len` bytes.
pub(super) fn prefix(text: &str, max_len: usize) -> &str {
    let mut end = max_len.min(text.len());
    loop {
        match text.get(..end) {
            Some(prefix) => return prefix,
            None => end -= 1,
        }
    }
}

impl TryFrom<Bytes> for ShortStr {
    type Error = ShortStrTooLong;

    fn try_from(bytes: Bytes) -> Result<Self, ShortStrTooLong> {
        if bytes.len() <= Self::MAX_LEN { Ok(Self(bytes)) } else { Err(ShortStrTooLong { len: bytes.len() }) }
    }
}

impl TryFrom<&[u8]> for ShortStr {
    type Error = ShortStrTooLong;

    fn try_from(bytes: &[u8]) -> Result<Self, ShortStrTooLong> {
        if bytes.len() <= Self::MAX_LEN {
            Ok(Self(Bytes::copy_from_slice(bytes)))
        } else {
            Err(ShortStrTooLong { len: bytes.len() })
        }
    }
}

impl TryFrom<&str> for ShortStr {
    type Error = ShortStrTooLong;

    fn try_from(text: &str) -> Result<Self, ShortStrTooLong> {
        Self::try_from(text.as_bytes())
    }
}

impl TryFrom<String> for ShortStr {
    type Error = ShortStrTooLong;

    fn try_from(text: String) -> Result<Self, ShortStrTooLong> {
        Self::try_from(Bytes::from(text))
    }
}

impl Borrow<[u8]> for ShortStr {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for ShortStr {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<str> for ShortStr {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for ShortStr {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Display for ShortStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_string_lossy())
    }
}

impl fmt::Debug for ShortStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for ShortStrTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a string of {} bytes is longer than 255", self.len)
    }
}

impl core::error::Error for ShortStrTooLong {}

/// Generates UTF-8 text, so that every generated method can be decoded again.
#[cfg(any(test, feature = "arbitrary"))]
impl<'a> arbitrary::Arbitrary<'a> for ShortStr {
    fn arbitrary(u: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        let text: &str = u.arbitrary()?;
        Ok(Self::truncated(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_255_bytes_fit() {
        let longest = "x".repeat(255);
        assert_eq!(ShortStr::try_from(longest.as_str()).unwrap().len(), 255);
        let too_long = "x".repeat(256);
        assert_eq!(ShortStr::try_from(too_long.as_str()), Err(ShortStrTooLong { len: 256 }));
        assert_eq!(ShortStr::truncated(&too_long).len(), 255);
        assert_eq!(ShortStr::truncated(&"é".repeat(200)).len(), 254);
    }

    #[test]
    fn bytes_that_are_not_text_are_kept_and_shown_lossily() {
        let raw = ShortStr::try_from(&[0xff, b'a'][..]).unwrap();
        assert_eq!(raw.as_str(), None);
        assert_eq!(alloc::format!("{raw}"), "\u{fffd}a");
        assert_eq!(raw.detached().as_bytes(), [0xff, b'a']);
    }
}
