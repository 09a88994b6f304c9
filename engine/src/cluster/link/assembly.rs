//! Chunks back into messages.

use alloc::vec::Vec;
use bytes::Bytes;

use super::chunk::{self, BadChunk, Header, LONG_HEADER_BYTES, Part, Target};
use super::lane::{self, Lane};
use crate::limits;

/// Puts messages together, one at a time in each lane.
///
/// A message that is whole in one chunk, in one piece of input, is a slice of that piece. All others are copied once, as they arrive.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// A header that has come in part.
    header: [u8; LONG_HEADER_BYTES],
    header_len: usize,
    /// A chunk that has come in part.
    chunk: Option<Chunk>,
    lanes: [Partial; lane::COUNT],
    refusal: Partial,
}

#[derive(Debug)]
struct Chunk {
    header: Header,
    /// Bytes of its content that have not come.
    missing: usize,
}

/// A message that has come in part; nothing between messages.
#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
    /// How many it will be; 0 between messages.
    total: usize,
}

/// What has come in full.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    Message(Lane, Bytes),
    Refusal(Bytes),
}

impl Assembly {
    /// The next message. `None` when all of `input` is taken. After an error nothing that follows can be told apart.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Arrived>, BadChunk> {
        loop {
            let Some(mut chunk) = self.chunk.take() else {
                let Some(header) = self.next_header(input)? else { return Ok(None) };
                if let Some(whole) = self.begin(header, input)? {
                    return Ok(Some(whole));
                }
                continue;
            };
            let content = input.split_to(chunk.missing.min(input.len()));
            chunk.missing -= content.len();
            chunk.header.see(&content);
            self.partial(chunk.header.target).take(&content);
            if chunk.missing > 0 {
                self.chunk = Some(chunk);
                return Ok(None);
            }
            if let Some(whole) = self.end(chunk.header)? {
                return Ok(Some(whole));
            }
        }
    }

    /// Bytes of messages that have come in part.
    pub(super) fn buffered_len(&self) -> usize {
        self.lanes.iter().map(|partial| partial.bytes.len()).sum()
    }

    /// Bytes of memory that they take.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.lanes.iter().map(|partial| partial.bytes.capacity()).sum()
    }

    fn next_header(&mut self, input: &mut Bytes) -> Result<Option<Header>, BadChunk> {
        let Some(&first) = self.header[..self.header_len].first().or_else(|| input.first()) else { return Ok(None) };
        let whole = chunk::header_len(first);
        let taken = input.split_to((whole - self.header_len).min(input.len()));
        self.header[self.header_len..][..taken.len()].copy_from_slice(&taken);
        self.header_len += taken.len();
        if self.header_len < whole {
            return Ok(None);
        }
        self.header_len = 0;
        Header::decode(&self.header[..whole]).map(Some)
    }

    /// A chunk begins. If all of it is here, and it is a whole message, that is it.
    fn begin(&mut self, mut header: Header, input: &mut Bytes) -> Result<Option<Arrived>, BadChunk> {
        let (target, length) = (header.target, header.length);
        let partial = self.partial(target);
        match header.part {
            Part::Whole | Part::Beginning(_) if partial.total > 0 => return Err(BadChunk::Order),
            Part::Whole if input.len() >= length => {
                let content = input.split_to(length);
                header.see(&content);
                return header.check().map(|()| Some(arrived(target, content)));
            }
            Part::Whole => partial.begin(length),
            Part::Beginning(total) => partial.begin(total),
            Part::More if partial.total == 0 => return Err(BadChunk::Order),
            Part::More if partial.total - partial.bytes.len() < length => return Err(BadChunk::Length),
            Part::More => {}
        }
        self.chunk = Some(Chunk { header, missing: length });
        Ok(None)
    }

    /// A chunk has come in full, and with it maybe its message.
    fn end(&mut self, header: Header) -> Result<Option<Arrived>, BadChunk> {
        let target = header.target;
        header.check()?;
        let partial = self.partial(target);
        if partial.bytes.len() < partial.total {
            return Ok(None);
        }
        Ok(Some(arrived(target, Bytes::from(core::mem::take(partial).bytes))))
    }

    fn partial(&mut self, target: Target) -> &mut Partial {
        match target {
            Target::Lane(lane) => &mut self.lanes[lane.index()],
            Target::Refusal => &mut self.refusal,
        }
    }

    /// Checks what must hold between calls.
    pub(super) fn check_invariants(&self) {
        assert!(self.buffered_len() <= limits::LINK_REASSEMBLED_BYTES_MAX, "{} bytes", self.buffered_len());
        for (partial, lane) in self.lanes.iter().zip(Lane::ALL) {
            assert!(partial.bytes.len() <= partial.total, "{lane}");
            assert!(partial.total <= lane.message_bytes_max(), "{lane}: {} bytes", partial.total);
        }
    }
}

impl Partial {
    fn begin(&mut self, total: usize) {
        self.total = total;
        self.bytes = Vec::with_capacity(total.min(limits::LINK_RESERVE_BYTES));
    }

    /// Grows twofold, so that what is announced and does not come costs little, but never beyond what is announced.
    fn take(&mut self, content: &[u8]) {
        if self.bytes.capacity() - self.bytes.len() < content.len() {
            let missing = self.total - self.bytes.len();
            self.bytes.reserve_exact(self.bytes.len().max(content.len()).min(missing));
        }
        self.bytes.extend_from_slice(content);
    }
}

fn arrived(target: Target, content: Bytes) -> Arrived {
    match target {
        Target::Lane(lane) => Arrived::Message(lane, content),
        Target::Refusal => Arrived::Refusal(content),
    }
}
