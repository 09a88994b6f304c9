//! Frames onto a write buffer, without building values first.
//!
//! These are the hot path of every delivery and confirm: each makes room once for all that it writes.

use bytes::{BufMut, BytesMut};

use super::frame::{FRAME_END, FRAME_HEADER_LEN, FRAME_MIN_SIZE, FRAME_OVERHEAD, FRAME_SIZE_CEILING};
use super::method::basic;
use super::wire::put_counted;
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

/// Bytes of a body that is written with what comes before it, at most. The room for that is filled with zeros first, which costs less
/// than a further look for room, up to nearly 2,000 bytes; from there on, measured, it takes longer than all the rest.
const SMALL_BODY_BYTES: usize = 1536;

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
    put_frames(out, channel, frame_max, 0, properties, body, |_| {});
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
    put_command(out, channel, frame_max, basic::Publish::METHOD_ID, arguments_len, properties, body, |head| {
        head.put([0, 0]);
        head.put_slice(routing);
        head.put([u8::from(mandatory)]);
    });
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
    put_command(out, channel, frame_max, basic::Deliver::METHOD_ID, arguments_len, properties, body, |head| {
        head.put_short(consumer_tag);
        head.put(delivery_tag.to_be_bytes());
        head.put([u8::from(redelivered)]);
        head.put_slice(routing);
    });
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
    put_command(out, channel, frame_max, basic::GetOk::METHOD_ID, arguments_len, properties, body, |head| {
        head.put(delivery_tag.to_be_bytes());
        head.put([u8::from(redelivered)]);
        head.put_slice(routing);
        head.put(message_count.to_be_bytes());
    });
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
    put_command(out, channel, frame_max, basic::Return::METHOD_ID, arguments_len, properties, body, |head| {
        head.put(reply_code.to_be_bytes());
        head.put_short(reply_text);
        head.put_slice(routing);
    });
}

/// Appends a `basic.ack`: a confirm from a broker, an acknowledgement from a client.
pub fn encode_ack(out: &mut BytesMut, channel: u16, delivery_tag: u64, multiple: bool) {
    put_head(out, method_len(9), |head| {
        head.put_method(channel, basic::Ack::METHOD_ID, 9);
        head.put(delivery_tag.to_be_bytes());
        head.put([u8::from(multiple), FRAME_END]);
    });
}

/// Appends a `basic.nack`; `requeue` means nothing when a broker sends it.
pub fn encode_nack(out: &mut BytesMut, channel: u16, delivery_tag: u64, multiple: bool, requeue: bool) {
    put_head(out, method_len(9), |head| {
        head.put_method(channel, basic::Nack::METHOD_ID, 9);
        head.put(delivery_tag.to_be_bytes());
        head.put([u8::from(multiple) | u8::from(requeue) << 1, FRAME_END]);
    });
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

/// Appends a method of class `basic` with its content. `arguments` writes the method's arguments, of so many bytes.
#[inline]
fn put_command(
    out: &mut BytesMut,
    channel: u16,
    frame_max: u32,
    method_id: u16,
    arguments_len: usize,
    properties: &[u8],
    body: Body<'_>,
    arguments: impl FnOnce(&mut Head<'_>),
) {
    put_frames(out, channel, frame_max, method_len(arguments_len), properties, body, |head| {
        head.put_method(channel, method_id, arguments_len);
        arguments(head);
        head.put([FRAME_END]);
    });
}

/// Appends the frames of a content behind what `before` writes, of so many bytes.
#[inline]
fn put_frames(
    out: &mut BytesMut,
    channel: u16,
    frame_max: u32,
    before_len: usize,
    properties: &[u8],
    body: Body<'_>,
    before: impl FnOnce(&mut Head<'_>),
) {
    let (body_len, piece_max) = (u64::try_from(body.len()).unwrap_or(u64::MAX), body_frame_max(frame_max));
    let (small, large): (&[u8], &[u8]) = match body {
        Body::Whole(body) if body.len() <= SMALL_BODY_BYTES => (body, &[]),
        Body::Whole(body) => (&[], body),
        Body::Later(_) => (&[], &[]),
    };
    if !large.is_empty() {
        out.reserve(before_len + content_len(frame_max, properties, body));
    }
    put_head(out, before_len + content_len(frame_max, properties, Body::Whole(small)), |head| {
        before(head);
        head.put(frame_header(FrameKind::Header, channel, 12 + properties.len()));
        head.put(basic::Publish::CLASS_ID.to_be_bytes());
        head.put([0, 0]);
        head.put(body_len.to_be_bytes());
        head.put_slice(properties);
        head.put([FRAME_END]);
        for piece in small.chunks(piece_max) {
            head.put(frame_header(FrameKind::Body, channel, piece.len()));
            head.put_slice(piece);
            head.put([FRAME_END]);
        }
    });
    for piece in large.chunks(piece_max) {
        start_body_frame(out, channel, piece.len());
        out.extend_from_slice(piece);
        end_frame(out);
    }
}

/// Appends `len` bytes, which `write` fills.
#[inline]
fn put_head(out: &mut BytesMut, len: usize, write: impl FnOnce(&mut Head<'_>)) {
    let start = out.len();
    out.put_bytes(0, len);
    let mut head = Head(out.get_mut(start..).unwrap_or_default());
    write(&mut head);
    assert!(head.0.is_empty(), "{} bytes of {len} are not written", head.0.len());
}

/// The part of a buffer that is still to be written.
struct Head<'a>(&'a mut [u8]);

impl Head<'_> {
    /// Writes a field of fixed size.
    #[inline]
    fn put<const N: usize>(&mut self, field: [u8; N]) {
        let here = core::mem::take(&mut self.0).split_first_chunk_mut();
        assert!(here.is_some(), "there is no room for {field:?}");
        if let Some((place, rest)) = here {
            *place = field;
            self.0 = rest;
        }
    }

    /// Writes bytes.
    #[inline]
    fn put_slice(&mut self, bytes: &[u8]) {
        let here = core::mem::take(&mut self.0).split_at_mut_checked(bytes.len());
        assert!(here.is_some(), "there is no room for {bytes:?}");
        if let Some((place, rest)) = here {
            place.copy_from_slice(bytes);
            self.0 = rest;
        }
    }

    /// Writes a short string.
    #[inline]
    fn put_short(&mut self, text: &ShortStr) {
        self.put([u8::try_from(text.len()).unwrap_or(u8::MAX)]);
        self.put_slice(text.as_bytes());
    }

    /// Writes the beginning of a method frame of class `basic`, up to its arguments.
    #[inline]
    fn put_method(&mut self, channel: u16, method_id: u16, arguments_len: usize) {
        self.put(frame_header(FrameKind::Method, channel, 4 + arguments_len));
        self.put(basic::Publish::CLASS_ID.to_be_bytes());
        self.put(method_id.to_be_bytes());
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
        for len in [0, 1, 1536, 1537, 4088, 4089, 8176, 40_000] {
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
