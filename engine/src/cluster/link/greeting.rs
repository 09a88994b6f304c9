//! What is said before anybody has proven anything: small pieces, each with a mark that tells a node from a stranger.

use alloc::vec::Vec;
use bytes::{BufMut, Bytes, BytesMut};

use super::error::{Stranger, Why};
use crate::limits;

/// What every greeting begins with.
pub(super) const MAGIC: &[u8; 6] = b"lvlink";
/// Bytes in front of its content.
pub(super) const HEADER_BYTES: usize = MAGIC.len() + 3;

/// What a greeting is. Any other number is out of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Hello = 1,
    Proof = 2,
    Refusal = 3,
}

/// One greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// `None` if it is of no known kind.
    pub(super) kind: Option<Kind>,
    pub(super) content: Bytes,
}

/// Appends a greeting.
pub(super) fn put(out: &mut BytesMut, kind: Kind, content: &[u8]) {
    assert!(content.len() <= limits::LINK_GREETING_BYTES_MAX, "a greeting of {} bytes", content.len());
    out.put_slice(MAGIC);
    out.put_u8(kind as u8);
    out.put_u16_le(u16::try_from(content.len()).expect("checked above"));
    out.put_slice(content);
}

/// Cuts greetings out of an incoming stream. Keeps a single unfinished one, of bounded length.
#[derive(Debug, Default)]
pub(super) struct Greetings {
    partial: Vec<u8>,
}

impl Greetings {
    /// Takes the next greeting off the front of `input`, or keeps the beginning of it. What follows it stays in `input`.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Greeting>, Why> {
        let is_complete = self.fill(input, HEADER_BYTES);
        let marked = self.partial.len().min(MAGIC.len());
        if self.partial[..marked] != MAGIC[..marked] {
            return Err(Why::Stranger(Stranger::of(&self.partial)));
        }
        if !is_complete {
            return Ok(None);
        }
        let length = usize::from(u16::from_le_bytes([self.partial[MAGIC.len() + 1], self.partial[MAGIC.len() + 2]]));
        if length > limits::LINK_GREETING_BYTES_MAX {
            return Err(Why::Oversize { bytes: length });
        }
        if !self.fill(input, HEADER_BYTES + length) {
            return Ok(None);
        }
        let kind = match self.partial[MAGIC.len()] {
            1 => Some(Kind::Hello),
            2 => Some(Kind::Proof),
            3 => Some(Kind::Refusal),
            _ => None,
        };
        let content = Bytes::copy_from_slice(&self.partial[HEADER_BYTES..]);
        self.partial = Vec::new();
        Ok(Some(Greeting { kind, content }))
    }

    /// Bytes that are kept.
    pub(super) fn buffered_len(&self) -> usize {
        self.partial.len()
    }

    /// Moves bytes from the input until `len` are here; false if they do not suffice.
    fn fill(&mut self, input: &mut Bytes, len: usize) -> bool {
        let missing = len.saturating_sub(self.partial.len());
        let taken = input.split_to(missing.min(input.len()));
        self.partial.extend_from_slice(&taken);
        taken.len() == missing
    }
}
