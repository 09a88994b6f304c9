//! Frames out of an incoming byte stream, and the protocol header before them.

use alloc::format;

use bytes::{Buf, Bytes, BytesMut};

use super::error::ErlangText;
use super::{AmqpError, ReplyCode};

/// Bytes of a frame around its payload: type, channel, size, and the end octet.
pub const FRAME_OVERHEAD: usize = 8;
/// Bytes of a frame before its payload.
pub const FRAME_HEADER_LEN: usize = 7;
/// The octet that ends a frame (AMQP 0-9-1 §4.2.3).
pub const FRAME_END: u8 = 0xce;
/// The least `frame_max` that peers must accept (§1.2), and the limit until tuning is over.
pub const FRAME_MIN_SIZE: u32 = 4096;
/// The greatest payload taken when the peers agreed on no limit (`frame_max` 0), in bytes.
///
/// RabbitMQ has no bound here. This one is far above any configured message size and keeps one
/// unfinished frame from growing forever; memory is taken only as bytes arrive.
pub const FRAME_SIZE_CEILING: u32 = 128 * 1024 * 1024;

/// What a frame carries (§4.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// A method with its arguments.
    Method = 1,
    /// The header of a content.
    Header = 2,
    /// A piece of a content's body.
    Body = 3,
    /// A sign of life, on channel 0, without payload.
    Heartbeat = 8,
}

impl FrameKind {
    const fn from_octet(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(Self::Method),
            2 => Some(Self::Header),
            3 => Some(Self::Body),
            8 => Some(Self::Heartbeat),
            _ => None,
        }
    }

    /// The shortest payload that has the fixed fields of its kind, and whether a longer one is right.
    const fn accepts(self, payload_len: usize) -> bool {
        match self {
            Self::Method => payload_len >= 4,
            Self::Header => payload_len >= 12,
            Self::Body => true,
            Self::Heartbeat => payload_len == 0,
        }
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is.
    pub kind: FrameKind,
    /// The channel, 0 for the connection itself.
    pub channel: u16,
    /// What stands between the size and the end octet.
    pub payload: Bytes,
}

impl Frame {
    /// The error for a frame that may not come on this channel or in this state of the connection.
    pub fn unexpected(&self) -> AmqpError {
        // RabbitMQ: "UNEXPECTED_FRAME - type 8, all octets = <<>>", class 0, method 0.
        let text = describe(self.kind as u8, &self.payload);
        AmqpError::connection(ReplyCode::UnexpectedFrame, text)
    }
}

/// Cuts an incoming byte stream into frames, however it was split on its way.
///
/// A frame that lies wholly in one fed piece is a slice of it. Only an unfinished frame at the end of
/// a piece is copied, and of the next piece no more than completes it. The copy is bounded by
/// `frame_max` + 8 bytes and grows as bytes arrive, whatever length the frame announces.
///
/// Sizes are checked before the payload is awaited. After an error the stream has lost its sync:
/// the decoder forgets what it holds and yields nothing more.
#[derive(Debug)]
pub struct FrameDecoder {
    /// 0 for no agreed limit.
    frame_max: u32,
    payload_max: usize,
    /// The fed bytes that no frame has taken yet.
    input: Bytes,
    /// The beginning of a frame whose end has not come; empty between frames.
    partial: BytesMut,
    is_failed: bool,
}

impl FrameDecoder {
    /// A decoder for frames of at most `frame_max` bytes; 0 sets no limit but a very high one.
    pub fn new(frame_max: u32) -> Self {
        let mut decoder =
            Self { frame_max, payload_max: 0, input: Bytes::new(), partial: BytesMut::new(), is_failed: false };
        decoder.set_frame_max(frame_max);
        decoder
    }

    /// Changes the limit for the frames to come, as `connection.tune-ok` does.
    pub fn set_frame_max(&mut self, frame_max: u32) {
        self.frame_max = frame_max;
        self.payload_max = usize::try_from(limit(frame_max)).unwrap_or(usize::MAX);
    }

    /// Takes the next piece of the stream.
    ///
    /// Call [`next_frame`](Self::next_frame) until it yields nothing before feeding again; a piece fed
    /// earlier is appended to the rest of the one before, at the price of a copy.
    pub fn feed(&mut self, data: Bytes) {
        if self.is_failed {
            return;
        }
        if self.input.is_empty() {
            self.input = data;
        } else {
            let mut joined = BytesMut::with_capacity(self.input.len() + data.len());
            joined.extend_from_slice(&self.input);
            joined.extend_from_slice(&data);
            self.input = joined.freeze();
        }
    }

    /// How many bytes wait for the rest of their frame or for the next call.
    pub fn buffered_len(&self) -> usize {
        self.input.len() + self.partial.len()
    }

    /// The greatest payload taken, in bytes.
    pub(crate) fn payload_max(&self) -> usize {
        self.payload_max
    }

    /// Lends what has come and is no frame yet, until it is given back; nothing while an unfinished frame is to be ended first.
    pub(crate) fn lend_input(&mut self) -> Bytes {
        if self.partial.is_empty() { core::mem::take(&mut self.input) } else { Bytes::new() }
    }

    /// Takes the rest back, without the frames that were read out of it.
    pub(crate) fn take_back(&mut self, rest: Bytes) {
        if !rest.is_empty() {
            assert!(self.input.is_empty() && self.partial.is_empty(), "nothing is fed while it is lent");
            self.input = rest;
        }
    }

    /// The next frame, or nothing until more is fed.
    ///
    /// # Errors
    /// 501 FRAME_ERROR, which closes the connection: a frame larger than the limit, of an unknown type,
    /// too short for its kind, or without its end octet.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, AmqpError> {
        if !self.partial.is_empty() {
            return self.next_joined();
        }
        let Some(header) = self.input.first_chunk::<FRAME_HEADER_LEN>() else {
            self.keep_rest();
            return Ok(None);
        };
        let header = FrameHeader::new(*header);
        if header.payload_len > self.payload_max {
            return Err(self.fail(header.too_large(self.frame_max)));
        }
        // The payload is followed by one octet; a limit of at most u32::MAX keeps the sum in range.
        let end_at = FRAME_HEADER_LEN.saturating_add(header.payload_len);
        let Some(&end) = self.input.get(end_at) else {
            self.keep_rest();
            return Ok(None);
        };
        let Some(kind) = header.kind_if_ended_by(end) else {
            let payload = self.input.slice(FRAME_HEADER_LEN..end_at);
            return Err(self.fail(header.malformed(&payload, end)));
        };
        // Of the last frame this is the piece itself, not a share of it.
        let mut payload = self.input.split_to(end_at + 1);
        payload.truncate(end_at);
        payload.advance(FRAME_HEADER_LEN);
        Ok(Some(Frame { kind, channel: header.channel, payload }))
    }

    fn next_joined(&mut self) -> Result<Option<Frame>, AmqpError> {
        if !self.fill_partial(FRAME_HEADER_LEN) {
            return Ok(None);
        }
        let Some(header) = self.partial.first_chunk::<FRAME_HEADER_LEN>() else {
            return Ok(None);
        };
        let header = FrameHeader::new(*header);
        if header.payload_len > self.payload_max {
            return Err(self.fail(header.too_large(self.frame_max)));
        }
        let end_at = FRAME_HEADER_LEN.saturating_add(header.payload_len);
        if !self.fill_partial(end_at.saturating_add(1)) {
            return Ok(None);
        }
        let mut payload = core::mem::take(&mut self.partial).freeze();
        let end = payload.last().copied().unwrap_or_default();
        payload.truncate(end_at);
        payload.advance(FRAME_HEADER_LEN);
        match header.kind_if_ended_by(end) {
            Some(kind) => Ok(Some(Frame { kind, channel: header.channel, payload })),
            None => Err(self.fail(header.malformed(&payload, end))),
        }
    }

    /// The stream has lost its sync: nothing that is held or comes is of use.
    #[cold]
    fn fail(&mut self, error: AmqpError) -> AmqpError {
        self.is_failed = true;
        self.input = Bytes::new();
        self.partial = BytesMut::new();
        error
    }

    fn keep_rest(&mut self) {
        if self.input.is_empty() {
            return;
        }
        self.partial.extend_from_slice(&self.input);
        self.input = Bytes::new();
    }

    /// Moves bytes from the input until the unfinished frame has `len`; false if they do not suffice.
    fn fill_partial(&mut self, len: usize) -> bool {
        let missing = len.saturating_sub(self.partial.len());
        let taken = self.input.split_to(missing.min(self.input.len()));
        self.partial.extend_from_slice(&taken);
        taken.len() == missing
    }
}

/// The frame that the input begins with, if it is whole, of this kind, and right: its channel, its payload, and what follows it.
#[inline]
pub(super) fn split(kind: FrameKind, input: &[u8], payload_max: usize) -> Option<(u16, &[u8], &[u8])> {
    let (header, rest) = input.split_first_chunk::<FRAME_HEADER_LEN>()?;
    let header = FrameHeader::new(*header);
    if header.octet != kind as u8 || header.payload_len > payload_max {
        return None;
    }
    let (payload, rest) = rest.split_at_checked(header.payload_len)?;
    let (end, rest) = rest.split_first()?;
    (*end == FRAME_END && kind.accepts(header.payload_len)).then_some((header.channel, payload, rest))
}

/// The fixed fields of a frame.
#[derive(Clone, Copy)]
struct FrameHeader {
    octet: u8,
    channel: u16,
    /// As announced, not yet checked; saturated where a `usize` has fewer bits.
    payload_len: usize,
    size: u32,
}

impl FrameHeader {
    #[inline]
    fn new([octet, c0, c1, s0, s1, s2, s3]: [u8; FRAME_HEADER_LEN]) -> Self {
        let size = u32::from_be_bytes([s0, s1, s2, s3]);
        let payload_len = usize::try_from(size).unwrap_or(usize::MAX);
        Self { octet, channel: u16::from_be_bytes([c0, c1]), payload_len, size }
    }

    /// What the frame is, if it is a whole one with this last octet.
    #[inline]
    fn kind_if_ended_by(self, end: u8) -> Option<FrameKind> {
        FrameKind::from_octet(self.octet).filter(|kind| end == FRAME_END && kind.accepts(self.payload_len))
    }

    /// What is wrong with a frame that is none.
    #[cold]
    fn malformed(self, payload: &[u8], end: u8) -> AmqpError {
        if end == FRAME_END { unknown_frame(self.octet, payload) } else { wrong_end(self.octet, payload, end) }
    }

    /// RabbitMQ names the specification's limit, not its own: "FRAME_ERROR - type 3, all octets = <<>>:
    /// {frame_too_large,131073,131064}", class 0, method 0.
    #[cold]
    fn too_large(self, frame_max: u32) -> AmqpError {
        let announced = limit(frame_max).saturating_sub(8);
        frame_error(self.octet, &[], &format!("{{frame_too_large,{},{announced}}}", self.size))
    }
}

/// The greatest payload in bytes. RabbitMQ takes as much as `frame_max` itself, 8 bytes more than the
/// specification does.
const fn limit(frame_max: u32) -> u32 {
    if frame_max == 0 { FRAME_SIZE_CEILING } else { frame_max }
}

/// RabbitMQ: "FRAME_ERROR - type 1, all octets = <<0,20,0,10,0>>: {invalid_frame_end_marker,207}".
fn wrong_end(octet: u8, payload: &[u8], end: u8) -> AmqpError {
    frame_error(octet, payload, &format!("{{invalid_frame_end_marker,{end}}}"))
}

/// RabbitMQ: "FRAME_ERROR - type 4, all octets = <<"abc">>: unknown_frame". It says the same of a method
/// or header too short for its fixed fields and of a heartbeat with a payload.
fn unknown_frame(octet: u8, payload: &[u8]) -> AmqpError {
    frame_error(octet, payload, "unknown_frame")
}

fn frame_error(octet: u8, payload: &[u8], reason: &str) -> AmqpError {
    AmqpError::connection(ReplyCode::FrameError, format!("{}: {reason}", describe(octet, payload)))
}

/// RabbitMQ's description of a frame in error texts, with no more than 16 bytes of the payload.
fn describe(octet: u8, payload: &[u8]) -> alloc::string::String {
    match payload.split_at_checked(16) {
        Some((first, rest)) if !rest.is_empty() => {
            format!("type {octet}, first 16 octets = {}", ErlangText(first))
        }
        _ => format!("type {octet}, all octets = {}", ErlangText(payload)),
    }
}

/// What a client opened the connection with (§2.2.4, §4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolHeader {
    /// AMQP 0-9-1, or 0-9 which RabbitMQ serves alike.
    Amqp091,
    /// Anything else: answer with [`ProtocolHeader::AMQP_0_9_1`] and close (RabbitMQ does so for other
    /// versions of AMQP and for other protocols, once eight bytes are there).
    Mismatch([u8; 8]),
}

impl ProtocolHeader {
    /// The header of the one version that is served.
    pub const AMQP_0_9_1: [u8; 8] = *b"AMQP\x00\x00\x09\x01";
    /// AMQP 0-9's header, which some old clients send.
    const AMQP_0_9: [u8; 8] = *b"AMQP\x01\x01\x00\x09";

    /// Tells what these eight bytes are.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        if bytes == Self::AMQP_0_9_1 || bytes == Self::AMQP_0_9 { Self::Amqp091 } else { Self::Mismatch(bytes) }
    }
}

/// Collects the eight bytes of the protocol header.
#[derive(Debug, Default)]
pub struct ProtocolHeaderDecoder {
    bytes: [u8; 8],
    len: usize,
}

impl ProtocolHeaderDecoder {
    /// A decoder at the beginning of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what it needs from the front of `data`; yields the header once it is complete.
    pub fn feed(&mut self, data: &mut Bytes) -> Option<ProtocolHeader> {
        if let Some(missing) = self.bytes.get_mut(self.len..) {
            let taken = data.split_to(missing.len().min(data.len()));
            for (slot, byte) in missing.iter_mut().zip(&taken) {
                *slot = *byte;
            }
            self.len += taken.len();
        }
        (self.len == self.bytes.len()).then(|| ProtocolHeader::from_bytes(self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;

    fn raw(octet: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::from([octet]);
        bytes.extend(channel.to_be_bytes());
        bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend(payload);
        bytes.push(FRAME_END);
        bytes
    }

    fn drain(decoder: &mut FrameDecoder) -> Result<Vec<Frame>, AmqpError> {
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame);
        }
        Ok(frames)
    }

    fn error_of(bytes: &[u8], frame_max: u32) -> AmqpError {
        let mut decoder = FrameDecoder::new(frame_max);
        decoder.feed(Bytes::copy_from_slice(bytes));
        drain(&mut decoder).unwrap_err()
    }

    fn three_frames() -> (Vec<u8>, Vec<Frame>) {
        let frame =
            |kind, channel, payload: &'static [u8]| Frame { kind, channel, payload: Bytes::from_static(payload) };
        let frames = Vec::from([
            frame(FrameKind::Method, 1, b"\0\x14\0\x0a\0"),
            frame(FrameKind::Heartbeat, 0, b""),
            frame(FrameKind::Body, 65_535, b"some body"),
        ]);
        let bytes = frames.iter().flat_map(|f| raw(f.kind as u8, f.channel, &f.payload)).collect();
        (bytes, frames)
    }

    #[test]
    fn whole_frames_are_slices_of_what_was_fed() {
        let (bytes, frames) = three_frames();
        let bytes = Bytes::from(bytes);
        let mut decoder = FrameDecoder::new(4096);
        decoder.feed(bytes.clone());
        let decoded = drain(&mut decoder).unwrap();
        assert_eq!(decoded, frames);
        assert!(bytes.as_ptr_range().contains(&decoded[2].payload.as_ptr()), "no copy was made");
        assert_eq!(decoder.buffered_len(), 0);
    }

    #[test]
    fn any_two_splits_give_the_same_frames() {
        let (bytes, frames) = three_frames();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut decoder = FrameDecoder::new(4096);
                let mut decoded = Vec::new();
                for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    decoder.feed(Bytes::copy_from_slice(piece));
                    decoded.extend(drain(&mut decoder).unwrap());
                }
                assert_eq!(decoded, frames, "split at {first} and {second}");
            }
        }
    }

    #[test]
    fn only_the_unfinished_frame_is_copied() {
        let (bytes, _) = three_frames();
        let first_len = 13;
        let mut decoder = FrameDecoder::new(4096);
        decoder.feed(Bytes::copy_from_slice(&bytes[..5]));
        assert_eq!(decoder.next_frame().unwrap(), None);
        let rest = Bytes::copy_from_slice(&bytes[5..]);
        decoder.feed(rest.clone());
        assert!(decoder.next_frame().unwrap().is_some());
        assert_eq!(decoder.buffered_len(), bytes.len() - first_len);
        decoder.next_frame().unwrap();
        let last = decoder.next_frame().unwrap().unwrap();
        assert!(rest.as_ptr_range().contains(&last.payload.as_ptr()));
    }

    #[test]
    fn feeding_twice_without_draining_loses_nothing() {
        let (bytes, frames) = three_frames();
        let mut decoder = FrameDecoder::new(4096);
        for byte in bytes {
            decoder.feed(Bytes::copy_from_slice(&[byte]));
        }
        assert_eq!(drain(&mut decoder).unwrap(), frames);
    }

    // The texts are those of RabbitMQ 3.10.8.
    #[test]
    fn a_frame_too_large_is_refused_before_its_payload_comes() {
        let header = [3, 0, 1, 0, 2, 0, 1];
        let error = error_of(&header, 131_072);
        assert_eq!(error.to_string(), "501 FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,131073,131064}");
        let mut decoder = FrameDecoder::new(131_072);
        decoder.feed(Bytes::from_static(&[3, 0, 1, 0, 2, 0, 0]));
        assert_eq!(decoder.next_frame(), Ok(None), "exactly frame_max is tolerated");
        let mut unlimited = FrameDecoder::new(0);
        unlimited.feed(Bytes::from_static(&[3, 0, 1, 0, 2, 0, 1]));
        assert_eq!(unlimited.next_frame(), Ok(None));
        assert!(error_of(&[3, 0, 1, 255, 255, 255, 255], 0).text.contains("frame_too_large"));
    }

    #[test]
    fn a_wrong_end_octet_is_refused() {
        let mut bytes = raw(1, 1, &[0, 20, 0, 10, 0]);
        *bytes.last_mut().unwrap() = 207;
        assert_eq!(
            error_of(&bytes, 4096).to_string(),
            "501 FRAME_ERROR - type 1, all octets = <<0,20,0,10,0>>: {invalid_frame_end_marker,207}"
        );
        let mut bytes = raw(3, 1, b"hello world this is long");
        *bytes.last_mut().unwrap() = 0;
        assert_eq!(
            error_of(&bytes, 4096).to_string(),
            "501 FRAME_ERROR - type 3, first 16 octets = <<\"hello world this\">>: {invalid_frame_end_marker,0}"
        );
    }

    #[test]
    fn frames_without_their_fixed_fields_are_unknown() {
        for (octet, payload, text) in [
            (4, &b"abc"[..], "type 4, all octets = <<\"abc\">>: unknown_frame"),
            (0, b"", "type 0, all octets = <<>>: unknown_frame"),
            (9, b"\x00\xffab", "type 9, all octets = <<0,255,97,98>>: unknown_frame"),
            (1, b"\x00\x32\x00", "type 1, all octets = <<0,50,0>>: unknown_frame"),
            (2, b"\x00\x3c", "type 2, all octets = <<0,60>>: unknown_frame"),
            (8, b"x", "type 8, all octets = <<\"x\">>: unknown_frame"),
        ] {
            let error = error_of(&raw(octet, 1, payload), 4096);
            assert_eq!((error.code, &*error.text), (ReplyCode::FrameError, text));
        }
    }

    #[test]
    fn nothing_comes_after_an_error() {
        let mut decoder = FrameDecoder::new(4096);
        decoder.feed(Bytes::from(raw(4, 1, b"")));
        assert!(decoder.next_frame().is_err());
        decoder.feed(Bytes::from(raw(8, 0, b"")));
        assert_eq!(decoder.next_frame(), Ok(None));
        assert_eq!(decoder.buffered_len(), 0);
    }

    #[test]
    fn the_protocol_header_is_recognized_in_any_pieces() {
        let mut decoder = ProtocolHeaderDecoder::new();
        let mut first = Bytes::from_static(b"AMQP\0");
        assert_eq!(decoder.feed(&mut first), None);
        let mut second = Bytes::from_static(b"\0\x09\x01rest");
        assert_eq!(decoder.feed(&mut second), Some(ProtocolHeader::Amqp091));
        assert_eq!(second, "rest", "what follows is left");
        for other in [*b"AMQP\x00\x00\x08\x00", *b"GET / HT", *b"AMQP\x00\x01\x00\x00"] {
            assert_eq!(ProtocolHeader::from_bytes(other), ProtocolHeader::Mismatch(other));
        }
    }
}
