//! Frames onto a write buffer, without building values first.
//!
//! These are the hot path of every delivery and confirm: each reserves once, and appends fields of fixed size that follow each other
//! at once.

use bytes::{BufMut, BytesMut};

use super::frame::{FRAME_END, FRAME_HEADER_LEN, FRAME_MIN_SIZE, FRAME_OVERHEAD, FRAME_SIZE_CEILING};
use super::method::basic;
use super::wire::{put_counted, put_short};
use super::{FrameKind, Method, ShortStr};

/// Bytes of a heartbeat frame.
pub const HEARTBEAT: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, FRAME_END];

/// The body of a content to be appended.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// Is appended with its frames.
    Whole(&'a [u8]),
    /// Has this many bytes, which the caller appends with [`start_body_frame`] and [`end_frame`].
    Later(usize),
}

impl Body<'_> {
    fn len(self) -> usize {
        match self {
            Self::Whole(body) => body.len(),
            Self::Later(len) => len,
        }
    }
}

/// Bytes of a header frame around the properties.
const CONTENT_HEADER_OVERHEAD: usize = FRAME_OVERHEAD + 12;

/// Appends a heartbeat.
pub fn encode_heartbeat(out: &mut BytesMut) {
    out.put_slice(&HEARTBEAT);
}

/// Appends a method frame.
pub fn encode_method_frame(out: &mut BytesMut, channel: u16, method: &Method) {
    out.put_u8(FrameKind::Method as u8);
    out.put_u16(channel);
    put_counted(out, |out| method.encode(out));
    out.put_u8(FRAME_END);
}

/// Appends the header and body frames of a content of class `basic`.
///
/// A body longer than `frame_max` allows is split; an empty one has no frame. A `frame_max` of 0 sets
/// no limit. The header frame is never split: the protocol has no way to.
pub fn encode_content(out: &mut BytesMut, channel: u16, frame_max: u32, properties: &[u8], body: Body<'_>) {
    out.reserve(content_len(frame_max, properties, body));
    put_content(out, Fields::new(), channel, frame_max, properties, body);
}

/// Appends a `basic.publish` with its content.
pub fn encode_publish(
    out: &mut BytesMut,
    channel: u16,
    frame_max: u32,
    routing: &[u8],
    mandatory: bool,
    properties: &[u8],
    body: Body<'_>,
) {
    let arguments_len = 2 + routing.len() + 1;
    out.reserve(method_len(arguments_len) + content_len(frame_max, properties, body));
    method_head(channel, basic::Publish::METHOD_ID, arguments_len).with([0, 0]).append(out);
    out.put_slice(routing);
    let end = Fields::new().with([u8::from(mandatory), FRAME_END]);
    put_content(out, end, channel, frame_max, properties, body);
}

/// Appends a `basic.deliver` with its content.
pub fn encode_deliver(
    out: &mut BytesMut,
    channel: u16,
    frame_max: u32,
    consumer_tag: &ShortStr,
    delivery_tag: u64,
    redelivered: bool,
    routing: &[u8],
    properties: &[u8],
    body: Body<'_>,
) {
    let arguments_len = 1 + consumer_tag.len() + 8 + 1 + routing.len();
    out.reserve(method_len(arguments_len) + content_len(frame_max, properties, body));
    let tag_len = u8::try_from(consumer_tag.len()).unwrap_or(u8::MAX);
    method_head(channel, basic::Deliver::METHOD_ID, arguments_len).with([tag_len]).append(out);
    out.put_slice(consumer_tag.as_bytes());
    Fields::new().with(delivery_tag.to_be_bytes()).with([u8::from(redelivered)]).append(out);
    out.put_slice(routing);
    put_content(out, Fields::new().with([FRAME_END]), channel, frame_max, properties, body);
}

/// Appends a `basic.get-ok` with its content.
pub fn encode_get_ok(
    out: &mut BytesMut,
    channel: u16,
    frame_max: u32,
    delivery_tag: u64,
    redelivered: bool,
    routing: &[u8],
    message_count: u32,
    properties: &[u8],
    body: Body<'_>,
) {
    let arguments_len = 8 + 1 + routing.len() + 4;
    out.reserve(method_len(arguments_len) + content_len(frame_max, properties, body));
    method_head(channel, basic::GetOk::METHOD_ID, arguments_len)
        .with(delivery_tag.to_be_bytes())
        .with([u8::from(redelivered)])
        .append(out);
    out.put_slice(routing);
    let end = Fields::new().with(message_count.to_be_bytes()).with([FRAME_END]);
    put_content(out, end, channel, frame_max, properties, body);
}

/// Appends a `basic.return` with its content.
pub fn encode_return(
    out: &mut BytesMut,
    channel: u16,
    frame_max: u32,
    reply_code: u16,
    reply_text: &ShortStr,
    routing: &[u8],
    properties: &[u8],
    body: Body<'_>,
) {
    let arguments_len = 2 + 1 + reply_text.len() + routing.len();
    out.reserve(method_len(arguments_len) + content_len(frame_max, properties, body));
    method_head(channel, basic::Return::METHOD_ID, arguments_len).with(reply_code.to_be_bytes()).append(out);
    put_short(out, reply_text.as_bytes());
    out.put_slice(routing);
    put_content(out, Fields::new().with([FRAME_END]), channel, frame_max, properties, body);
}

/// Appends a `basic.ack`: a confirm from a broker, an acknowledgement from a client.
pub fn encode_ack(out: &mut BytesMut, channel: u16, delivery_tag: u64, multiple: bool) {
    method_head(channel, basic::Ack::METHOD_ID, 9)
        .with(delivery_tag.to_be_bytes())
        .with([u8::from(multiple), FRAME_END])
        .append(out);
}

/// Appends a `basic.nack`; `requeue` means nothing when a broker sends it.
pub fn encode_nack(out: &mut BytesMut, channel: u16, delivery_tag: u64, multiple: bool, requeue: bool) {
    method_head(channel, basic::Nack::METHOD_ID, 9)
        .with(delivery_tag.to_be_bytes())
        .with([u8::from(multiple) | u8::from(requeue) << 1, FRAME_END])
        .append(out);
}

/// How many bytes [`encode_content`] appends.
pub fn content_len(frame_max: u32, properties: &[u8], body: Body<'_>) -> usize {
    let header_len = CONTENT_HEADER_OVERHEAD + properties.len();
    match body {
        Body::Whole(body) => header_len + body.len() + body.len().div_ceil(body_frame_max(frame_max)) * FRAME_OVERHEAD,
        Body::Later(_) => header_len,
    }
}

/// Bytes of a method frame whose arguments take so many.
fn method_len(arguments_len: usize) -> usize {
    FRAME_OVERHEAD + 4 + arguments_len
}

/// The beginning of a method frame of class `basic`, up to its arguments.
fn method_head(channel: u16, method_id: u16, arguments_len: usize) -> Fields {
    Fields::new()
        .with(frame_header(FrameKind::Method, channel, 4 + arguments_len))
        .with(basic::Publish::CLASS_ID.to_be_bytes())
        .with(method_id.to_be_bytes())
}

/// Appends `before`, which is what the frame before still lacks, and then the content.
fn put_content(out: &mut BytesMut, before: Fields, channel: u16, frame_max: u32, properties: &[u8], body: Body<'_>) {
    let body_len = u64::try_from(body.len()).unwrap_or(u64::MAX);
    before
        .with(frame_header(FrameKind::Header, channel, 12 + properties.len()))
        .with(basic::Publish::CLASS_ID.to_be_bytes())
        .with([0, 0])
        .with(body_len.to_be_bytes())
        .append(out);
    out.put_slice(properties);
    if let Body::Whole(body) = body {
        for piece in body.chunks(body_frame_max(frame_max)) {
            Fields::new().with([FRAME_END]).with(frame_header(FrameKind::Body, channel, piece.len())).append(out);
            out.put_slice(piece);
        }
    }
    out.put_u8(FRAME_END);
}

/// Fields of fixed size that follow each other.
struct Fields {
    bytes: [u8; FIELDS_MAX],
    len: usize,
}

/// Bytes of the fields that are gathered at most.
const FIELDS_MAX: usize = 32;

impl Fields {
    #[inline]
    fn new() -> Self {
        Self { bytes: [0; FIELDS_MAX], len: 0 }
    }

    /// Adds a field.
    #[inline]
    fn with<const N: usize>(mut self, field: [u8; N]) -> Self {
        let place = self.bytes.get_mut(self.len..).and_then(<[u8]>::first_chunk_mut);
        debug_assert!(place.is_some(), "FIELDS_MAX is too small");
        if let Some(place) = place {
            *place = field;
            self.len += N;
        }
        self
    }

    #[inline]
    fn append(self, out: &mut BytesMut) {
        out.put_slice(self.bytes.get(..self.len).unwrap_or_default());
    }
}

/// Appends the beginning of a body frame; its payload and [`end_frame`] follow.
pub fn start_body_frame(out: &mut BytesMut, channel: u16, payload_len: usize) {
    out.put_slice(&frame_header(FrameKind::Body, channel, payload_len));
}

/// Appends the end of a frame.
pub fn end_frame(out: &mut BytesMut) {
    out.put_u8(FRAME_END);
}

/// The greatest payload of a body frame; a limit below what peers must accept counts as that.
pub fn body_frame_max(frame_max: u32) -> usize {
    let frame_max = match frame_max {
        0 => FRAME_SIZE_CEILING,
        limit => limit.max(FRAME_MIN_SIZE),
    };
    usize::try_from(frame_max).unwrap_or(usize::MAX) - FRAME_OVERHEAD
}

fn frame_header(kind: FrameKind, channel: u16, payload_len: usize) -> [u8; FRAME_HEADER_LEN] {
    let [c0, c1] = channel.to_be_bytes();
    let [s0, s1, s2, s3] = u32::try_from(payload_len).unwrap_or(u32::MAX).to_be_bytes();
    [kind as u8, c0, c1, s0, s1, s2, s3]
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{Command, ContentAssembler, FrameDecoder, Properties, RawProperties, Routing};
    use super::*;

    fn decode(bytes: BytesMut, frame_max: u32) -> Command {
        let mut decoder = FrameDecoder::new(frame_max);
        let mut assembler = ContentAssembler::new(u64::MAX);
        decoder.feed(bytes.freeze());
        let mut command = None;
        while let Some(frame) = decoder.next_frame().unwrap() {
            assert_eq!(frame.channel, 7);
            assert!(frame.payload.len() <= 4096 - FRAME_OVERHEAD);
            assert_eq!(command, None);
            command = assembler.feed(frame).unwrap();
        }
        command.unwrap()
    }

    fn check(encode: impl Fn(&mut BytesMut, &[u8], Body<'_>), method: impl Into<Method>) {
        let properties = RawProperties::from(&Properties { priority: Some(3), ..Properties::default() });
        let method = method.into();
        let body: Bytes = (0..10_000_u32).flat_map(u32::to_be_bytes).collect();
        for len in [0, 1, 4088, 4089, 8176, 40_000] {
            let body = body.slice(..len);
            let mut out = BytesMut::new();
            encode(&mut out, properties.as_bytes(), Body::Whole(&body));
            let method_len = {
                let mut out = BytesMut::new();
                encode_method_frame(&mut out, 7, &method);
                out.len()
            };
            assert_eq!(out.len(), method_len + content_len(4096, properties.as_bytes(), Body::Whole(&body)));
            let command = decode(out, 4096);
            assert_eq!(command.method, method);
            let content = command.content.unwrap();
            assert_eq!((content.properties, content.body), (properties.clone(), body));
        }
    }

    #[test]
    fn contents_are_framed_as_their_methods_say() {
        let tag = ShortStr::from_static("tag");
        let text = ShortStr::from_static("NO_ROUTE");
        let routing = Routing::new(&ShortStr::from_static("x"), &ShortStr::from_static("key"));
        check(
            |out, properties, body| encode_publish(out, 7, 4096, routing.as_bytes(), true, properties, body),
            basic::Publish { routing: routing.clone(), mandatory: true, immediate: false },
        );
        check(
            |out, properties, body| {
                encode_deliver(out, 7, 4096, &tag, 99, true, routing.as_bytes(), properties, body);
            },
            basic::Deliver { consumer_tag: tag.clone(), delivery_tag: 99, redelivered: true, routing: routing.clone() },
        );
        check(
            |out, properties, body| {
                encode_get_ok(out, 7, 4096, 99, false, routing.as_bytes(), 5, properties, body);
            },
            basic::GetOk { delivery_tag: 99, redelivered: false, routing: routing.clone(), message_count: 5 },
        );
        check(
            |out, properties, body| {
                encode_return(out, 7, 4096, 312, &text, routing.as_bytes(), properties, body);
            },
            basic::Return { reply_code: 312, reply_text: text.clone(), routing: routing.clone() },
        );
    }

    #[test]
    fn short_frames_equal_their_method_values() {
        let framed = |method: Method| {
            let mut out = BytesMut::new();
            encode_method_frame(&mut out, 7, &method);
            out
        };
        for multiple in [false, true] {
            let mut out = BytesMut::new();
            encode_ack(&mut out, 7, 5, multiple);
            assert_eq!(out, framed(basic::Ack { delivery_tag: 5, multiple }.into()));
            for requeue in [false, true] {
                let mut out = BytesMut::new();
                encode_nack(&mut out, 7, 5, multiple, requeue);
                assert_eq!(out, framed(basic::Nack { delivery_tag: 5, multiple, requeue }.into()));
            }
        }
        let mut out = BytesMut::new();
        encode_heartbeat(&mut out);
        assert_eq!(out, &b"\x08\0\0\0\0\0\0\xce"[..]);
    }
}
