//! What waits to be written to one client.

use alloc::vec::Vec;
use bytes::{BufMut, Bytes, BytesMut};

use crate::amqp::encode::{self, Body};
use crate::amqp::{Method, ReplyCode, ShortStr};
use crate::effect::ClientSend;
use crate::ids::{ChannelNumber, ConnectionId, DeliveryTag};
use crate::message::Message;

/// Bytes left of a buffer that are not worth keeping: what was sent from it is held as long as they are.
const LEFT_MIN_BYTES: usize = 1024;

/// Frames for one client, encoded as they come up, handed to the driver batch by batch.
///
/// Bytes count as waiting from when they are encoded until the driver says that the operating system took them.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Frames being collected.
    buffer: BytesMut,
    /// What was collected before, in parts, because a large body stands between.
    parts: Vec<Bytes>,
    /// Bytes of the largest frame the client takes.
    frame_max: u32,
    /// Bytes waiting.
    waiting: usize,
    /// Bytes handed to the driver since the last look, for heartbeats.
    has_sent: bool,
}

impl Outbox {
    /// An empty one.
    pub(crate) fn new(frame_max: u32) -> Self {
        Self { buffer: BytesMut::new(), parts: Vec::new(), frame_max, waiting: 0, has_sent: false }
    }

    /// Sets the largest frame after tuning.
    pub(crate) fn set_frame_max(&mut self, frame_max: u32) {
        self.frame_max = frame_max;
    }

    /// Bytes waiting.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether there is something to hand to the driver.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.buffer.is_empty() || !self.parts.is_empty()
    }

    /// The operating system took this many bytes.
    pub(crate) fn on_written(&mut self, bytes: usize) {
        assert!(bytes <= self.waiting, "{bytes} bytes written of {} that wait", self.waiting);
        self.waiting -= bytes;
    }

    /// Whether anything was sent since this was last asked.
    pub(crate) fn take_has_sent(&mut self) -> bool {
        core::mem::take(&mut self.has_sent)
    }

    /// Bytes that are not frames: the protocol header.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
        self.waiting += bytes.len();
    }

    /// A heartbeat.
    pub(crate) fn heartbeat(&mut self) {
        self.append(encode::encode_heartbeat);
    }

    /// A method without content.
    pub(crate) fn method(&mut self, channel: ChannelNumber, method: impl Into<Method>) {
        let method = method.into();
        self.append(|buffer| encode::encode_method_frame(buffer, channel.0, &method));
    }

    /// `basic.ack` to a publisher.
    pub(crate) fn confirm(&mut self, channel: ChannelNumber, tag: u64, multiple: bool) {
        self.append(|buffer| encode::encode_ack(buffer, channel.0, tag, multiple));
    }

    /// `basic.deliver` with its content.
    pub(crate) fn deliver(
        &mut self,
        channel: ChannelNumber,
        consumer_tag: &ShortStr,
        tag: DeliveryTag,
        redelivered: bool,
        message: &Message,
    ) {
        let (routing, properties, frame_max) = (message.routing(), message.properties(), self.frame_max);
        self.content(channel, message, |out, body| {
            encode::encode_deliver(
                out,
                channel.0,
                frame_max,
                consumer_tag,
                tag.0,
                redelivered,
                routing,
                properties,
                body,
            );
        });
    }

    /// `basic.get-ok` with its content.
    pub(crate) fn get_ok(
        &mut self,
        channel: ChannelNumber,
        tag: DeliveryTag,
        redelivered: bool,
        ready_left: usize,
        message: &Message,
    ) {
        let count = u32::try_from(ready_left).unwrap_or(u32::MAX);
        let (routing, properties, frame_max) = (message.routing(), message.properties(), self.frame_max);
        self.content(channel, message, |out, body| {
            encode::encode_get_ok(out, channel.0, frame_max, tag.0, redelivered, routing, count, properties, body);
        });
    }

    /// `basic.return` with its content.
    pub(crate) fn give_back(&mut self, channel: ChannelNumber, code: ReplyCode, message: &Message) {
        let text = ShortStr::from_static(code.name());
        let (routing, properties, frame_max) = (message.routing(), message.properties(), self.frame_max);
        self.content(channel, message, |out, body| {
            encode::encode_return(out, channel.0, frame_max, code.number(), &text, routing, properties, body);
        });
    }

    /// Hands what was collected to the driver.
    pub(crate) fn flush(&mut self, connection: ConnectionId, sends: &mut Vec<ClientSend>) {
        if !self.is_dirty() {
            return;
        }
        self.has_sent = true;
        sends.extend(self.parts.drain(..).map(|bytes| ClientSend { connection, bytes }));
        if !self.buffer.is_empty() {
            sends.push(ClientSend { connection, bytes: self.buffer.split().freeze() });
            if self.buffer.capacity() < LEFT_MIN_BYTES {
                self.buffer = BytesMut::new();
            }
        }
    }

    /// A method with its content. A large body is not copied: the payloads of its frames are slices of it.
    fn content(&mut self, channel: ChannelNumber, message: &Message, encode: impl FnOnce(&mut BytesMut, Body<'_>)) {
        let Some(body) = message.large_body() else {
            return self.append(|out| encode(out, Body::Whole(message.body())));
        };
        self.append(|out| encode(out, Body::Later(body.len())));
        let mut rest = body.clone();
        while !rest.is_empty() {
            let payload = rest.split_to(rest.len().min(encode::body_frame_max(self.frame_max)));
            self.append(|out| encode::start_body_frame(out, channel.0, payload.len()));
            self.waiting += payload.len();
            self.parts.push(self.buffer.split().freeze());
            self.parts.push(payload);
            self.append(encode::end_frame);
        }
    }

    /// Appends to the buffer and counts what was appended.
    fn append(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        let before = self.buffer.len();
        encode(&mut self.buffer);
        self.waiting += self.buffer.len() - before;
    }
}
