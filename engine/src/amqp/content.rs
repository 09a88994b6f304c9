//! Commands out of the frames of a channel: a method, and the content that belongs to it.

use alloc::format;

use bytes::{Buf, Bytes, BytesMut};

use super::method::basic;
use super::{AmqpError, Frame, FrameKind, Method, RawProperties, ReplyCode};

/// The greatest body of any message, in bytes. RabbitMQ 4 has the same bound in its code; what is
/// configured can only be lower.
pub const BODY_SIZE_CEILING: u64 = 512 * 1024 * 1024;

/// A method, with its content if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The method.
    pub method: Method,
    /// What followed it; `Some` exactly if [`Method::has_content`].
    pub content: Option<Content>,
}

/// What a message carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The properties as they came.
    pub properties: RawProperties,
    /// The body: a slice of the received buffer if it came in one frame.
    pub body: Bytes,
}

/// The payload of a header frame (AMQP 0-9-1 §4.2.6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentHeader {
    /// The class of the method before it.
    pub class_id: u16,
    /// Unused; RabbitMQ insists on 0.
    pub weight: u16,
    /// The length of the body in all frames that follow.
    pub body_size: u64,
    /// The encoded properties, not yet checked.
    pub properties: Bytes,
}

impl ContentHeader {
    /// Reads the payload of a header frame; `None` if it lacks the fixed fields.
    pub fn decode(mut payload: Bytes) -> Option<Self> {
        let (class_id, weight, body_size) = Self::fields(*payload.first_chunk()?);
        payload.advance(12);
        Some(Self { class_id, weight, body_size, properties: payload })
    }

    /// The fixed fields, in their order.
    pub(super) fn fields([c0, c1, w0, w1, body_size @ ..]: [u8; 12]) -> (u16, u16, u64) {
        (u16::from_be_bytes([c0, c1]), u16::from_be_bytes([w0, w1]), u64::from_be_bytes(body_size))
    }
}

/// Puts the frames of one channel together to commands.
///
/// ```text
///            method without content: command
///              ┌──┐
///              ▼  │   method with content          header, body_size > 0
///            Method ───────────────────────▶ Header ────────────────────▶ Body
///              ▲ ▲        header, body_size 0: command │                    │
///              │ └─────────────────────────────────────┘                    │
///              └────────────────────────────────────────────────────────────┘
///                          last body frame: command, unless discarded
/// ```
///
/// The body of a message that is too large is read past, not kept.
#[derive(Debug)]
pub struct ContentAssembler {
    max_message_size: u64,
    state: State,
    /// The method whose content is awaited; kept in place, since it is large to move.
    method: Option<Method>,
    /// Of the content whose body is awaited.
    properties: RawProperties,
    body: Body,
    /// How much body is to come.
    remaining: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Method,
    Header,
    Body,
    Discard,
}

impl ContentAssembler {
    /// An assembler for messages of at most `max_message_size` bytes.
    pub fn new(max_message_size: u64) -> Self {
        Self {
            max_message_size,
            state: State::Method,
            method: None,
            properties: RawProperties::empty(),
            body: Body::default(),
            remaining: 0,
        }
    }

    /// Whether the content of a method is still awaited.
    pub fn is_in_content(&self) -> bool {
        self.state != State::Method
    }

    /// Takes the next frame of the channel; yields the command that it completes.
    ///
    /// # Errors
    /// Of the connection: 505 UNEXPECTED_FRAME for a frame out of turn, 501 FRAME_ERROR for more body
    /// than announced or than any message may have, 502 SYNTAX_ERROR for malformed properties (where
    /// RabbitMQ's channel process dies and it answers 541), and those of [`Method::decode`].
    ///
    /// Of the channel: 406 PRECONDITION_FAILED for a body larger than configured, told as soon as the
    /// header says so. The assembler then reads past that body and stays usable.
    pub fn feed(&mut self, frame: Frame) -> Result<Option<Command>, AmqpError> {
        match self.state {
            State::Method => self.feed_method(frame),
            State::Header => self.feed_header(frame),
            State::Body => {
                self.count_body(&frame)?;
                if self.remaining > 0 {
                    self.body.push(frame.payload, self.remaining);
                    return Ok(None);
                }
                let body = self.body.finish(frame.payload);
                Ok(self.complete(body))
            }
            State::Discard => {
                self.count_body(&frame)?;
                if self.remaining == 0 {
                    self.state = State::Method;
                }
                Ok(None)
            }
        }
    }

    fn feed_method(&mut self, frame: Frame) -> Result<Option<Command>, AmqpError> {
        if frame.kind != FrameKind::Method {
            let text = "expected method frame, got non method frame instead";
            return Err(AmqpError::connection(ReplyCode::UnexpectedFrame, text));
        }
        let method = Method::decode(frame.payload)?;
        if method.has_content() {
            self.method = Some(method);
            self.state = State::Header;
            return Ok(None);
        }
        Ok(Some(Command { method, content: None }))
    }

    fn feed_header(&mut self, frame: Frame) -> Result<Option<Command>, AmqpError> {
        // Only class `basic` has methods with content.
        const CLASS_ID: u16 = basic::Publish::CLASS_ID;
        let header = match frame.kind {
            FrameKind::Header => ContentHeader::decode(frame.payload),
            FrameKind::Method | FrameKind::Body | FrameKind::Heartbeat => None,
        };
        // A weight other than zero makes it no header at all in RabbitMQ's eyes.
        let Some(header) = header.filter(|header| header.weight == 0) else {
            let text = format!("expected content header for class {CLASS_ID}, got non content header frame instead");
            return Err(self.blame(AmqpError::connection(ReplyCode::UnexpectedFrame, text)));
        };
        let ContentHeader { class_id, body_size, .. } = header;
        if class_id != CLASS_ID {
            let text = format!("expected content header for class {CLASS_ID}, got one for class {class_id} instead");
            return Err(self.blame(AmqpError::connection(ReplyCode::UnexpectedFrame, text)));
        }
        if body_size > BODY_SIZE_CEILING {
            // RabbitMQ 4's words; 3.10 would collect it.
            let text = format!("content body size {body_size} exceeds maximum allowed size {BODY_SIZE_CEILING}");
            return Err(self.blame(AmqpError::connection(ReplyCode::FrameError, text)));
        }
        self.remaining = body_size;
        if body_size > self.max_message_size {
            self.state = State::Discard;
            let max = self.max_message_size;
            let text = format!("message size {body_size} is larger than configured max size {max}");
            return Err(self.blame(AmqpError::channel(ReplyCode::PreconditionFailed, text)));
        }
        self.properties = RawProperties::parse(header.properties)
            .map_err(|error| self.blame(AmqpError::connection(ReplyCode::SyntaxError, format!("{error}"))))?;
        if body_size == 0 {
            return Ok(self.complete(Bytes::new()));
        }
        self.state = State::Body;
        Ok(None)
    }

    /// Takes a body frame off what is to come.
    fn count_body(&mut self, frame: &Frame) -> Result<(), AmqpError> {
        if frame.kind != FrameKind::Body {
            let text = "expected content body, got non content body frame instead";
            return Err(self.blame(AmqpError::connection(ReplyCode::UnexpectedFrame, text)));
        }
        let len = u64::try_from(frame.payload.len()).unwrap_or(u64::MAX);
        self.remaining = self.remaining.checked_sub(len).ok_or_else(|| {
            // RabbitMQ 4's words; 3.10 waits forever.
            let text = "content body frame exceeds remaining content size";
            self.blame(AmqpError::connection(ReplyCode::FrameError, text))
        })?;
        Ok(())
    }

    fn complete(&mut self, body: Bytes) -> Option<Command> {
        self.state = State::Method;
        let content = Content { properties: core::mem::take(&mut self.properties), body };
        Some(Command { method: self.method.take()?, content: Some(content) })
    }

    fn blame(&self, error: AmqpError) -> AmqpError {
        match &self.method {
            Some(method) => error.blamed_on(method),
            None => error,
        }
    }
}

/// A body as it arrives: the first frame's slice, and a buffer only if there are more.
#[derive(Debug, Default)]
struct Body {
    first: Bytes,
    joined: BytesMut,
}

impl Body {
    /// Keeps a piece that is not the last.
    fn push(&mut self, payload: Bytes, remaining: u64) {
        if self.joined.is_empty() && self.first.is_empty() {
            self.first = payload;
            return;
        }
        if self.joined.is_empty() {
            self.reserve(self.first.len() + payload.len(), remaining);
            self.joined.extend_from_slice(&self.first);
            self.first = Bytes::new();
        } else {
            self.reserve(payload.len(), remaining);
        }
        self.joined.extend_from_slice(&payload);
    }

    /// Adds the last piece and gives the whole away.
    fn finish(&mut self, payload: Bytes) -> Bytes {
        if self.joined.is_empty() && self.first.is_empty() {
            return payload;
        }
        self.push(payload, 0);
        if self.joined.is_empty() {
            core::mem::take(&mut self.first)
        } else {
            core::mem::take(&mut self.joined).freeze()
        }
    }

    /// Makes room for what has arrived, and for as much again if that much is still to come: the
    /// announced size alone reserves nothing.
    fn reserve(&mut self, arrived: usize, remaining: u64) {
        if self.joined.capacity() - self.joined.len() < arrived {
            let ahead = self.joined.len() + arrived;
            let ahead = usize::try_from(remaining).map_or(ahead, |remaining| remaining.min(ahead));
            self.joined.reserve(arrived + ahead);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::super::method::queue;
    use super::super::{Properties, Routing, ShortStr};
    use super::*;

    const MAX: u64 = 1000;

    fn frame(kind: FrameKind, payload: impl Into<Bytes>) -> Frame {
        Frame { kind, channel: 1, payload: payload.into() }
    }

    fn method(method: impl Into<Method>) -> Frame {
        let mut out = BytesMut::new();
        method.into().encode(&mut out);
        frame(FrameKind::Method, out)
    }

    fn publish() -> basic::Publish {
        let key = ShortStr::from_static("key");
        basic::Publish { routing: Routing::new(&ShortStr::new(), &key), ..Default::default() }
    }

    fn header(class_id: u16, weight: u16, body_size: u64, properties: &[u8]) -> Frame {
        let mut payload = Vec::new();
        payload.extend(class_id.to_be_bytes());
        payload.extend(weight.to_be_bytes());
        payload.extend(body_size.to_be_bytes());
        payload.extend(properties);
        frame(FrameKind::Header, payload)
    }

    fn body(bytes: &'static [u8]) -> Frame {
        frame(FrameKind::Body, Bytes::from_static(bytes))
    }

    /// Feeds all frames; yields what the last one gave, and nothing may come before.
    fn feed(frames: impl IntoIterator<Item = Frame>) -> Result<Option<Command>, AmqpError> {
        let mut assembler = ContentAssembler::new(MAX);
        let mut last = Ok(None);
        for frame in frames {
            assert_eq!(last, Ok(None));
            last = assembler.feed(frame);
        }
        last
    }

    fn body_of(command: Result<Option<Command>, AmqpError>) -> Bytes {
        command.unwrap().unwrap().content.unwrap().body
    }

    #[test]
    fn a_body_in_one_frame_is_not_copied() {
        let bytes = Bytes::from_static(b"hello");
        let frames = [method(publish()), header(60, 0, 5, &[0, 0]), frame(FrameKind::Body, bytes.clone())];
        let command = feed(frames).unwrap().unwrap();
        assert_eq!(command.method, publish().into());
        let content = command.content.unwrap();
        assert_eq!(content.properties.decode(), Properties::default());
        assert_eq!(content.body.as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn a_body_in_pieces_is_joined_whatever_the_pieces() {
        let start = || [method(publish()), header(60, 0, 6, &[0, 0])];
        let pieces = [body(b"a"), body(b""), body(b"bcd"), body(b"ef")];
        assert_eq!(body_of(feed(start().into_iter().chain(pieces))), "abcdef");
        let pieces = [body(b""), body(b"abcdef")];
        assert_eq!(body_of(feed(start().into_iter().chain(pieces))), "abcdef");
        assert_eq!(body_of(feed([method(publish()), header(60, 0, 0, &[0, 0])])), "");
    }

    #[test]
    fn an_announced_size_reserves_nothing() {
        let mut assembler = ContentAssembler::new(BODY_SIZE_CEILING);
        for frame in [method(publish()), header(60, 0, BODY_SIZE_CEILING, &[0, 0]), body(b"a"), body(b"b")] {
            assert_eq!(assembler.feed(frame), Ok(None));
        }
        let capacity = assembler.body.joined.capacity();
        assert!((2..=64).contains(&capacity), "{capacity}");
    }

    #[test]
    fn methods_without_content_are_commands_at_once() {
        let get = basic::Get { queue: ShortStr::from_static("q"), no_ack: true };
        let command = feed([method(get.clone())]).unwrap().unwrap();
        assert_eq!(command, Command { method: get.into(), content: None });
    }

    // Texts, codes and ids are those of RabbitMQ 3.10.8.
    #[test]
    fn frames_out_of_turn_close_the_connection() {
        let declare = || method(queue::Declare::default());
        let none = "expected method frame, got non method frame instead";
        let no_header = "expected content header for class 60, got non content header frame instead";
        let no_body = "expected content body, got non content body frame instead";
        let other = "expected content header for class 60, got one for class 50 instead";
        let start = |size| Vec::from([method(publish()), header(60, 0, size, &[0, 0])]);
        for (frames, text, method_id) in [
            (Vec::from([body(b"abc")]), none, 0),
            (Vec::from([header(60, 0, 1, &[0, 0])]), none, 0),
            (Vec::from([method(publish()), declare()]), no_header, 40),
            (Vec::from([method(publish()), body(b"abc")]), no_header, 40),
            (Vec::from([method(publish()), header(60, 1, 5, &[0, 0])]), no_header, 40),
            (Vec::from([method(publish()), header(50, 0, 5, &[0, 0])]), other, 40),
            ([start(5), Vec::from([declare()])].concat(), no_body, 40),
            ([start(5), start(5)].concat(), no_body, 40),
        ] {
            let error = feed(frames.into_iter().take(3)).unwrap_err();
            assert_eq!(&*error.text, text);
            assert_eq!((error.code, error.method_id), (ReplyCode::UnexpectedFrame, method_id));
        }
    }

    #[test]
    fn more_body_than_announced_closes_the_connection() {
        let error = feed([method(publish()), header(60, 0, 2, &[0, 0]), body(b"abc")]).unwrap_err();
        assert_eq!(error.to_string(), "501 FRAME_ERROR - content body frame exceeds remaining content size");
        let error = feed([method(publish()), header(60, 0, u64::MAX, &[0, 0])]).unwrap_err();
        assert_eq!(error.code, ReplyCode::FrameError);
    }

    #[test]
    fn a_message_too_large_closes_the_channel_and_is_read_past() {
        let mut assembler = ContentAssembler::new(4);
        assert_eq!(assembler.feed(method(publish())), Ok(None));
        let error = assembler.feed(header(60, 0, 5, &[0, 0])).unwrap_err();
        assert_eq!(error.to_string(), "406 PRECONDITION_FAILED - message size 5 is larger than configured max size 4");
        assert_eq!((error.class_id, error.method_id), (60, 40));
        assert_eq!(assembler.feed(body(b"abc")), Ok(None));
        assert!(assembler.is_in_content());
        assert_eq!(assembler.feed(body(b"de")), Ok(None));
        assert!(!assembler.is_in_content());
        assert_eq!(assembler.feed(method(publish())), Ok(None));
        assert_eq!(assembler.feed(header(60, 0, 4, &[0, 0])), Ok(None), "exactly the limit");
        assert_eq!(body_of(assembler.feed(body(b"abcd"))), "abcd");
    }

    #[test]
    fn malformed_properties_close_the_connection() {
        let error = feed([method(publish()), header(60, 0, 1, &[0x80, 0, 5])]).unwrap_err();
        assert_eq!((error.code, error.method_id), (ReplyCode::SyntaxError, 40));
    }
}
