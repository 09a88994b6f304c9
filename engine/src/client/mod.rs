//! An AMQP 0-9-1 client as a state machine without I/O.
//!
//! Workloads of the simulator and load tools speak real bytes through it; later shovel and federation
//! do. The caller moves bytes: what the socket brought goes into [`Client::handle_bytes`], what
//! [`Client::take_output`] gives goes to the socket, and [`Client::handle_timeout`] is due at
//! [`Client::next_timeout`]. Everything the server says comes back as [`ClientEvent`]s, in order.
//!
//! The machine keeps no messages and no window: the caller counts what is unconfirmed and
//! unacknowledged, and looks at [`Client::output_len`] before it publishes more.

mod channel;
mod config;
mod event;

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use self::channel::{Channel, ChannelState};
pub use self::config::{ClientConfig, Limits};
pub use self::event::{ClientError, ClientEvent, CloseReason};
use crate::amqp::method::{basic, channel as channel_class, connection};
use crate::amqp::{
    AmqpError, Command, Frame, FrameDecoder, FrameKind, Method, ProtocolHeader, RawProperties, ReplyCode, Routing,
    encode,
};
use crate::time::Instant;

/// The client's end of one connection.
///
/// ```text
/// Start ──start──▶ Tune ──tune──▶ Open ──open-ok──▶ Running ──close()──▶ Closing ──close-ok──▶ Closed
///   └─────────────── connection.close from the server, from any state ──────────────────────────▲
/// ```
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    state: State,
    limits: Limits,
    decoder: FrameDecoder,
    output: BytesMut,
    /// By channel number; the first place stays empty.
    channels: Vec<Option<Box<Channel>>>,
    heartbeat: Heartbeat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Tune,
    Open,
    Running,
    Closing,
    Closed,
}

/// Sends and expects signs of life, by looking twice per interval at what happened since the last look.
#[derive(Debug, Default)]
struct Heartbeat {
    /// When to look next; `None` without heartbeats.
    next_look: Option<Instant>,
    has_sent: bool,
    has_received: bool,
    /// Looks since anything was received. Four make two intervals, after which the server is gone.
    silent_looks: u32,
}

const SILENT_LOOKS_MAX: u32 = 4;

impl Client {
    /// A client at the beginning of a connection; its protocol header waits in the output.
    pub fn new(config: ClientConfig) -> Self {
        let limits = config.limits;
        Self {
            config,
            state: State::Start,
            limits,
            decoder: FrameDecoder::new(limits.frame_max),
            output: BytesMut::from(&ProtocolHeader::AMQP_0_9_1[..]),
            channels: Vec::new(),
            heartbeat: Heartbeat::default(),
        }
    }

    /// Takes what the server sent, however it was cut, and appends what it means to `events`.
    ///
    /// # Errors
    /// The server broke the protocol or speaks another one; the connection is of no more use.
    pub fn handle_bytes(
        &mut self,
        now: Instant,
        data: Bytes,
        events: &mut Vec<ClientEvent>,
    ) -> Result<(), ClientError> {
        self.heartbeat.has_received = true;
        if self.state == State::Start && self.decoder.buffered_len() == 0 && data.first() == Some(&b'A') {
            // A server that does not speak our version answers with the header of its own.
            self.state = State::Closed;
            return Err(ClientError::VersionMismatch);
        }
        self.decoder.feed(data);
        while let Some(frame) = self.decoder.next_frame()? {
            self.handle_frame(now, frame, events)?;
        }
        Ok(())
    }

    /// Sends a heartbeat if one is due.
    ///
    /// # Errors
    /// [`ClientError::HeartbeatsMissed`] if the server was silent for two intervals.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ClientError> {
        let Some(due) = self.heartbeat.next_look.filter(|due| *due <= now) else {
            return Ok(());
        };
        let heartbeat = &mut self.heartbeat;
        heartbeat.silent_looks = if heartbeat.has_received { 0 } else { heartbeat.silent_looks + 1 };
        let is_idle = !heartbeat.has_sent;
        heartbeat.has_received = false;
        heartbeat.has_sent = false;
        if heartbeat.silent_looks >= SILENT_LOOKS_MAX {
            self.heartbeat.next_look = None;
            self.state = State::Closed;
            return Err(ClientError::HeartbeatsMissed);
        }
        heartbeat.next_look = Some(due.max(now) + self.limits.heartbeat() / 2);
        if is_idle {
            encode::encode_heartbeat(&mut self.output);
        }
        Ok(())
    }

    /// When [`Client::handle_timeout`] is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.heartbeat.next_look
    }

    /// The bytes to send, and forgets them.
    pub fn take_output(&mut self) -> Bytes {
        if self.output.is_empty() {
            return Bytes::new();
        }
        self.output.split().freeze()
    }

    /// How many bytes wait to be sent.
    pub fn output_len(&self) -> usize {
        self.output.len()
    }

    /// Whether the handshake is over and nobody has begun to close.
    pub fn is_open(&self) -> bool {
        self.state == State::Running
    }

    /// Whether the connection is over; nothing more will be sent or understood.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// The limits: those wished for before the handshake, the agreed ones after it.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether the server has opened this channel and nobody has begun to close it.
    pub fn is_channel_open(&self, channel: u16) -> bool {
        self.channel(channel).is_some_and(|channel| channel.state == ChannelState::Open)
    }

    /// How many messages were published on this channel since confirms were turned on; the number of
    /// the last one. `None` without confirms.
    pub fn last_seqno(&self, channel: u16) -> Option<u64> {
        self.channel(channel)?.last_seqno
    }

    /// Asks for a channel; [`ClientEvent::ChannelOpened`] tells when it is there.
    ///
    /// # Errors
    /// The connection is not open, the number is 0 or above the limit, or the channel is in use.
    pub fn open_channel(&mut self, number: u16) -> Result<(), ClientError> {
        self.require_running()?;
        let is_allowed = number != 0 && (self.limits.channel_max == 0 || number <= self.limits.channel_max);
        if !is_allowed || self.channel(number).is_some() {
            return Err(ClientError::ChannelInUse(number));
        }
        let index = usize::from(number);
        if self.channels.len() <= index {
            self.channels.resize_with(index + 1, || None);
        }
        self.channels[index] = Some(Box::new(Channel::new()));
        self.put_method(number, &channel_class::Open::default().into());
        Ok(())
    }

    /// Sends a method without content on an open channel.
    ///
    /// `confirm.select` turns on the numbering of publishes, `channel.close` begins the close.
    ///
    /// # Errors
    /// The channel is not open, or the method has a content.
    pub fn send(&mut self, number: u16, method: impl Into<Method>) -> Result<(), ClientError> {
        let method = method.into();
        if method.has_content() {
            return Err(ClientError::NeedsContent);
        }
        if number == 0 {
            self.require_running()?;
        } else {
            let channel = self.open_channel_mut(number)?;
            match &method {
                Method::ConfirmSelect(_) => {
                    channel.last_seqno.get_or_insert(0);
                }
                Method::ChannelClose(_) => channel.state = ChannelState::Closing,
                _ => {}
            }
        }
        self.put_method(number, &method);
        Ok(())
    }

    /// Publishes a message; returns its number if the channel is in confirm mode.
    ///
    /// # Errors
    /// The channel is not open.
    pub fn publish(
        &mut self,
        number: u16,
        routing: &Routing,
        mandatory: bool,
        properties: &RawProperties,
        body: &[u8],
    ) -> Result<Option<u64>, ClientError> {
        self.publish_encoded(number, routing.as_bytes(), mandatory, properties.as_bytes(), body)
    }

    /// The same for a routing (two short strings) and properties as they are on the wire, which are sent as they are: for those who
    /// keep them so, and for tests of what a server does with a client that errs.
    ///
    /// # Errors
    /// The channel is not open.
    pub fn publish_encoded(
        &mut self,
        number: u16,
        routing: &[u8],
        mandatory: bool,
        properties: &[u8],
        body: &[u8],
    ) -> Result<Option<u64>, ClientError> {
        let channel = self.open_channel_mut(number)?;
        if let Some(seqno) = &mut channel.last_seqno {
            *seqno += 1;
        }
        let seqno = channel.last_seqno;
        let frame_max = self.limits.frame_max;
        encode::encode_publish(
            &mut self.output,
            number,
            frame_max,
            routing,
            mandatory,
            properties,
            encode::Body::Whole(body),
        );
        self.heartbeat.has_sent = true;
        Ok(seqno)
    }

    /// Acknowledges deliveries.
    ///
    /// # Errors
    /// The channel is not open.
    pub fn ack(&mut self, number: u16, delivery_tag: u64, multiple: bool) -> Result<(), ClientError> {
        self.open_channel_mut(number)?;
        encode::encode_ack(&mut self.output, number, delivery_tag, multiple);
        self.heartbeat.has_sent = true;
        Ok(())
    }

    /// Refuses deliveries.
    ///
    /// # Errors
    /// The channel is not open.
    pub fn nack(&mut self, number: u16, delivery_tag: u64, multiple: bool, requeue: bool) -> Result<(), ClientError> {
        self.open_channel_mut(number)?;
        encode::encode_nack(&mut self.output, number, delivery_tag, multiple, requeue);
        self.heartbeat.has_sent = true;
        Ok(())
    }

    /// Sends bytes as they are, for tests of what a server does with a client that errs.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
        self.heartbeat.has_sent = true;
    }

    /// Begins to close a channel; [`ClientEvent::ChannelClosed`] tells when it is over.
    ///
    /// # Errors
    /// The channel is not open.
    pub fn close_channel(&mut self, number: u16) -> Result<(), ClientError> {
        let reason = CloseReason::normal();
        let close = channel_class::Close {
            reply_code: reason.reply_code,
            reply_text: reason.reply_text,
            class_id: 0,
            method_id: 0,
        };
        self.send(number, close)
    }

    /// Begins to close the connection; [`ClientEvent::ConnectionClosed`] tells when it is over, and
    /// whatever comes before is dropped.
    pub fn close(&mut self) {
        match self.state {
            State::Running | State::Open => {
                let reason = CloseReason::normal();
                let close = connection::Close {
                    reply_code: reason.reply_code,
                    reply_text: reason.reply_text,
                    class_id: 0,
                    method_id: 0,
                };
                self.put_method(0, &close.into());
                self.state = State::Closing;
            }
            State::Start | State::Tune => self.state = State::Closed,
            State::Closing | State::Closed => {}
        }
    }

    fn handle_frame(&mut self, now: Instant, frame: Frame, events: &mut Vec<ClientEvent>) -> Result<(), ClientError> {
        if self.state == State::Closed {
            return Ok(());
        }
        match frame.kind {
            FrameKind::Heartbeat if frame.channel == 0 => Ok(()),
            FrameKind::Method if frame.channel == 0 => {
                let method = Method::decode(frame.payload)?;
                self.handle_connection_method(now, method, events)
            }
            FrameKind::Method | FrameKind::Header | FrameKind::Body if frame.channel != 0 => {
                self.handle_channel_frame(frame, events)
            }
            FrameKind::Method | FrameKind::Header | FrameKind::Body | FrameKind::Heartbeat => {
                Err(frame.unexpected().into())
            }
        }
    }

    fn handle_connection_method(
        &mut self,
        now: Instant,
        method: Method,
        events: &mut Vec<ClientEvent>,
    ) -> Result<(), ClientError> {
        match (self.state, method) {
            (_, Method::ConnectionClose(close)) => {
                self.put_method(0, &connection::CloseOk::default().into());
                self.end(CloseReason::from(close), true, events);
            }
            (State::Closing, Method::ConnectionCloseOk(_)) => self.end(CloseReason::normal(), false, events),
            (State::Closing, _) => {}
            (State::Start, Method::ConnectionStart(start)) => {
                if (start.version_major, start.version_minor) != (0, 9) {
                    self.state = State::Closed;
                    return Err(ClientError::VersionMismatch);
                }
                let start_ok = self.config.start_ok();
                self.put_method(0, &start_ok.into());
                self.state = State::Tune;
            }
            (State::Tune, Method::ConnectionTune(tune)) => {
                self.limits = self.limits.tuned(&tune);
                self.decoder.set_frame_max(self.limits.frame_max);
                let tune_ok = connection::TuneOk {
                    channel_max: self.limits.channel_max,
                    frame_max: self.limits.frame_max,
                    heartbeat: self.limits.heartbeat_s,
                };
                self.put_method(0, &tune_ok.into());
                let open = connection::Open { virtual_host: self.config.virtual_host.clone() };
                self.put_method(0, &open.into());
                self.state = State::Open;
                if self.limits.heartbeat_s > 0 {
                    self.heartbeat.next_look = Some(now + self.limits.heartbeat() / 2);
                }
            }
            (State::Open, Method::ConnectionOpenOk(_)) => {
                self.state = State::Running;
                events.push(ClientEvent::Connected { limits: self.limits });
            }
            (State::Running, Method::ConnectionBlocked(blocked)) => {
                events.push(ClientEvent::Blocked { reason: blocked.reason });
            }
            (State::Running, Method::ConnectionUnblocked(_)) => events.push(ClientEvent::Unblocked),
            (State::Running, method @ Method::ConnectionUpdateSecretOk(_)) => {
                events.push(ClientEvent::Method { channel: 0, method });
            }
            (_, method) => return Err(unexpected(&method)),
        }
        Ok(())
    }

    fn handle_channel_frame(&mut self, frame: Frame, events: &mut Vec<ClientEvent>) -> Result<(), ClientError> {
        if self.state == State::Closing {
            return Ok(());
        }
        let number = frame.channel;
        let Some(channel) = self.channels.get_mut(usize::from(number)).and_then(Option::as_mut) else {
            return Err(frame.unexpected().into());
        };
        let state = channel.state;
        let Some(command) = channel.assembler.feed(frame)? else {
            return Ok(());
        };
        let Command { method, content } = command;
        match (state, method) {
            (_, Method::ChannelClose(close)) => {
                self.put_method(number, &channel_class::CloseOk::default().into());
                if state == ChannelState::Closing {
                    // The two closes have crossed: the answer to ours is still to come.
                    self.set_channel_state(number, ChannelState::ClosingAfterTold);
                } else {
                    self.forget_channel(number);
                }
                let reason = CloseReason::from(close);
                events.push(ClientEvent::ChannelClosed { channel: number, reason, is_by_server: true });
            }
            (ChannelState::Closing, Method::ChannelCloseOk(_)) => {
                self.forget_channel(number);
                let reason = CloseReason::normal();
                events.push(ClientEvent::ChannelClosed { channel: number, reason, is_by_server: false });
            }
            (ChannelState::ClosingAfterTold, Method::ChannelCloseOk(_)) => self.forget_channel(number),
            (ChannelState::Closing | ChannelState::ClosingAfterTold, _) => {}
            (ChannelState::Opening, Method::ChannelOpenOk(_)) => {
                self.set_channel_state(number, ChannelState::Open);
                events.push(ClientEvent::ChannelOpened { channel: number });
            }
            (ChannelState::Open, Method::ChannelFlow(flow)) => {
                self.put_method(number, &channel_class::FlowOk { active: flow.active }.into());
                events.push(ClientEvent::Flow { channel: number, is_active: flow.active });
            }
            (ChannelState::Open, Method::BasicCancel(cancel)) => {
                // RabbitMQ's cancel notification asks for no answer.
                if !cancel.no_wait {
                    let cancel_ok = basic::CancelOk { consumer_tag: cancel.consumer_tag.clone() };
                    self.put_method(number, &cancel_ok.into());
                }
                events.push(ClientEvent::ConsumerCancelled { channel: number, consumer_tag: cancel.consumer_tag });
            }
            (ChannelState::Open, method) => {
                events.push(ClientEvent::of_command(number, method, content));
            }
            (ChannelState::Opening, method) => return Err(unexpected(&method)),
        }
        Ok(())
    }

    fn end(&mut self, reason: CloseReason, is_by_server: bool, events: &mut Vec<ClientEvent>) {
        self.state = State::Closed;
        self.channels.clear();
        self.heartbeat.next_look = None;
        events.push(ClientEvent::ConnectionClosed { reason, is_by_server });
    }

    fn put_method(&mut self, channel: u16, method: &Method) {
        encode::encode_method_frame(&mut self.output, channel, method);
        self.heartbeat.has_sent = true;
    }

    fn require_running(&self) -> Result<(), ClientError> {
        if self.is_open() { Ok(()) } else { Err(ClientError::NotOpen) }
    }

    fn channel(&self, number: u16) -> Option<&Channel> {
        self.channels.get(usize::from(number))?.as_deref()
    }

    fn open_channel_mut(&mut self, number: u16) -> Result<&mut Channel, ClientError> {
        self.require_running()?;
        self.channels
            .get_mut(usize::from(number))
            .and_then(Option::as_deref_mut)
            .filter(|channel| channel.state == ChannelState::Open)
            .ok_or(ClientError::ChannelNotOpen(number))
    }

    fn set_channel_state(&mut self, number: u16, state: ChannelState) {
        if let Some(channel) = self.channels.get_mut(usize::from(number)).and_then(Option::as_mut) {
            channel.state = state;
        }
    }

    fn forget_channel(&mut self, number: u16) {
        if let Some(channel) = self.channels.get_mut(usize::from(number)) {
            *channel = None;
        }
    }
}

fn unexpected(method: &Method) -> ClientError {
    AmqpError::connection(ReplyCode::CommandInvalid, method.name()).blamed_on(method).into()
}

#[cfg(test)]
mod tests;
