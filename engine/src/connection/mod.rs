//! One client connection: from the protocol header to the close.
//!
//! ```text
//!  Header --> Start --> Tune --> Open --> Running
//!     |         |         |        |         |
//!     |         +---------+--------+---------+---- mistake, shutdown ---> Closing --- close-ok, timeout --+
//!     |                                      |                                                            v
//!     +-- not AMQP 0-9-1 --------------------+-- connection.close, answered ------------------------> Closed
//! ```
//!
//! In `Closed` the driver has been asked to close the socket, and nothing counts but its word that it did.

mod describe;
mod flow;
mod handshake;
mod heartbeat;
mod outbox;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::{Buf, Bytes};
use core::net::SocketAddr;
use core::time::Duration;

use crate::amqp::method::{channel as channel_class, connection as class};
use crate::amqp::{
    AmqpError, Frame, FrameDecoder, FrameKind, Method, ProtocolHeaderDecoder, ReplyCode, Scope, ShortStr, WholePublish,
};
use crate::broker::{Broker, ChannelRef};
use crate::channel::{Channel, ChannelCtx, Outcome};
use crate::effect::ClientControl;
use crate::event::Event;
use crate::ids::{ChannelNumber, ConnectionId};
use crate::limits;
use crate::message::COMPACT_BODY_BYTES;
use crate::metadata::VhostKey;
use crate::queue::{ConsumerKey, Subscriber, Subscription, Taken};
use crate::routing::QueueKey;
use crate::time::{Instant, Now, Timestamp};
use crate::timer::{TimerFor, TimerKind};

use flow::ReadPauses;
use handshake::Capabilities;
pub(crate) use outbox::Outbox;

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    id: ConnectionId,
    peer: SocketAddr,
    /// The address that the client connected to.
    local: SocketAddr,
    connected_at: Timestamp,
    received_bytes: u64,
    state: State,
    header: ProtocolHeaderDecoder,
    decoder: FrameDecoder,
    pub(crate) outbox: Outbox,
    /// By number; channel 0 is the connection itself and never here.
    channels: Vec<Option<Box<Channel>>>,
    /// How many channels are open.
    channel_count: u16,
    /// Whether it counts among the node's connections.
    is_counted: bool,
    /// Counts channels opened, so that a number used again is told apart.
    next_epoch: u32,
    /// How many channels may be open; 0 is any number.
    channel_max: u16,
    /// Zero is none.
    heartbeat: Duration,
    last_received: Instant,
    /// Bytes of the largest frame agreed on.
    frame_max: u32,
    capabilities: Capabilities,
    /// What the client said about itself, encoded without its length: nobody looks at it but operators.
    client_properties: Bytes,
    /// How it logged in; empty before that.
    mechanism: &'static str,
    /// Empty before authentication.
    user: String,
    /// Nothing before `connection.open`.
    vhost: VhostKey,
    vhost_name: ShortStr,
    pauses: ReadPauses,
    /// Whether `connection.blocked` was sent and not taken back.
    is_told_blocked: bool,
    /// Consumers that wait for room in the outbox.
    waiting_consumers: Vec<(QueueKey, ConsumerKey)>,
    /// Channels with confirms to tell.
    news: Vec<ChannelNumber>,
    /// Why the connection ended, for the log.
    end: Option<String>,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The protocol header is awaited.
    Header,
    /// `connection.start-ok` is awaited.
    Start,
    /// `connection.tune-ok` is awaited.
    Tune,
    /// `connection.open` is awaited.
    Open,
    /// Everything is allowed.
    Running,
    /// `connection.close` was sent; only its answer counts.
    Closing,
    /// The socket is being closed.
    Closed,
}

/// What a connection may touch beside itself.
#[derive(Debug)]
pub(crate) struct ConnectionCtx<'a> {
    pub(crate) broker: &'a mut Broker,
    pub(crate) controls: &'a mut Vec<ClientControl>,
    pub(crate) now: Now,
}

impl Connection {
    /// A connection just accepted.
    pub(crate) fn new(ctx: &mut ConnectionCtx<'_>, id: ConnectionId, peer: SocketAddr, local: SocketAddr) -> Self {
        let mono = ctx.now.mono;
        ctx.broker.timers.set(
            mono + ctx.broker.config.handshake_timeout,
            TimerKind::Handshake,
            TimerFor::Connection(id),
        );
        Self {
            id,
            peer,
            local,
            connected_at: ctx.now.wall,
            received_bytes: 0,
            state: State::Header,
            header: ProtocolHeaderDecoder::new(),
            decoder: FrameDecoder::new(limits::INITIAL_FRAME_MAX),
            outbox: Outbox::new(limits::INITIAL_FRAME_MAX),
            channels: Vec::new(),
            channel_count: 0,
            next_epoch: 0,
            channel_max: 0,
            heartbeat: Duration::ZERO,
            last_received: mono,
            frame_max: limits::INITIAL_FRAME_MAX,
            capabilities: Capabilities::default(),
            client_properties: Bytes::new(),
            mechanism: "",
            user: String::new(),
            vhost: VhostKey::default(),
            vhost_name: ShortStr::new(),
            pauses: ReadPauses::default(),
            is_told_blocked: false,
            is_counted: false,
            waiting_consumers: Vec::new(),
            news: Vec::new(),
            end: None,
        }
    }

    /// How many channels are open.
    pub(crate) fn channel_count(&self) -> u16 {
        self.channel_count
    }

    /// Why the connection ended, if it did, and whether it had been open.
    pub(crate) fn take_end(&mut self) -> Option<String> {
        self.end.take()
    }

    /// Bytes arrived. Whether some of them are left for [`Connection::go_on`].
    pub(crate) fn on_bytes(&mut self, ctx: &mut ConnectionCtx<'_>, mut bytes: Bytes) -> bool {
        self.last_received = ctx.now.mono;
        self.received_bytes += bytes.len() as u64;
        if self.state == State::Header {
            self.on_header_bytes(ctx, &mut bytes);
        }
        if matches!(self.state, State::Header | State::Closed) {
            return false;
        }
        self.decoder.feed(bytes);
        self.go_on(ctx)
    }

    /// Handles a slice of the bytes that arrived. Whether there are more.
    pub(crate) fn go_on(&mut self, ctx: &mut ConnectionCtx<'_>) -> bool {
        let end = self.decoder.buffered_len().saturating_sub(limits::INPUT_SLICE_BYTES);
        let mut is_more = false;
        while self.state != State::Closed {
            if self.decoder.buffered_len() < end {
                is_more = true;
                break;
            }
            self.take_publishes(ctx, end);
            let frame = match self.decoder.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                // What follows cannot be told apart any more.
                Err(_) if self.state == State::Closing => {
                    self.close_socket(ctx);
                    break;
                }
                // The client's answer will not be understood, so its socket is closed once it has had time to read ours.
                Err(error) => {
                    self.fail(ctx, &error);
                    if self.state == State::Closing {
                        ctx.broker.timers.set(
                            ctx.now.mono + limits::BROKEN_STREAM_CLOSE_DELAY,
                            TimerKind::Close,
                            TimerFor::Connection(self.id),
                        );
                    }
                    break;
                }
            };
            if let Err(error) = self.on_frame(ctx, frame) {
                self.fail(ctx, &error);
            }
        }
        if self.state != State::Closed {
            self.check_backlogs(ctx);
        }
        is_more
    }

    /// The operating system took bytes.
    pub(crate) fn on_written(&mut self, ctx: &mut ConnectionCtx<'_>, bytes: usize) {
        self.outbox.on_written(bytes);
        self.on_outbox_drained(ctx);
    }

    /// The socket is gone.
    pub(crate) fn on_closed(&mut self, ctx: &mut ConnectionCtx<'_>) {
        if self.end.is_none() && self.state != State::Closed {
            self.end = Some(String::from("the client closed the socket without a close"));
        }
        self.leave(ctx);
        self.state = State::Closed;
    }

    /// The node is about to stop.
    pub(crate) fn shut_down(&mut self, ctx: &mut ConnectionCtx<'_>) {
        match self.state {
            State::Running => {
                let text = "broker forced connection closure with reason 'shutdown'";
                self.fail(ctx, &AmqpError::connection(ReplyCode::ConnectionForced, text));
                ctx.broker.timers.set(
                    ctx.now.mono + limits::SHUTDOWN_CLOSE_TIMEOUT,
                    TimerKind::Close,
                    TimerFor::Connection(self.id),
                );
            }
            State::Closing => ctx.broker.timers.set(
                ctx.now.mono + limits::SHUTDOWN_CLOSE_TIMEOUT,
                TimerKind::Close,
                TimerFor::Connection(self.id),
            ),
            State::Closed => {}
            State::Header | State::Start | State::Tune | State::Open => self.close_socket(ctx),
        }
    }

    /// A vhost was deleted (RabbitMQ docs: Virtual Hosts).
    pub(crate) fn on_vhost_gone(&mut self, ctx: &mut ConnectionCtx<'_>, vhost: VhostKey) {
        if self.state == State::Running && self.vhost == vhost {
            let text = alloc::format!("vhost '{}' is deleted", self.vhost_name);
            self.fail(ctx, &AmqpError::connection(ReplyCode::ConnectionForced, text));
        }
    }

    /// A user was deleted.
    pub(crate) fn on_user_gone(&mut self, ctx: &mut ConnectionCtx<'_>, user: &ShortStr) {
        if self.user.as_bytes() != user.as_bytes() {
            return;
        }
        match self.state {
            State::Running => {
                let text = alloc::format!("user '{user}' is deleted");
                self.fail(ctx, &AmqpError::connection(ReplyCode::ConnectionForced, text));
            }
            State::Tune | State::Open => self.close_socket(ctx),
            State::Header | State::Start | State::Closing | State::Closed => {}
        }
    }

    /// A timer of this connection fired.
    pub(crate) fn on_timer(&mut self, ctx: &mut ConnectionCtx<'_>, kind: TimerKind) {
        match kind {
            TimerKind::Handshake => {
                if matches!(self.state, State::Header | State::Start | State::Tune | State::Open) {
                    self.end = Some(String::from("the handshake took too long"));
                    self.close_socket(ctx);
                }
            }
            TimerKind::Heartbeat => self.on_heartbeat_timer(ctx),
            TimerKind::Close => {
                if self.state == State::Closing {
                    self.close_socket(ctx);
                }
            }
            TimerKind::LogSync
            | TimerKind::LogCleaning
            | TimerKind::DiskRetry
            | TimerKind::Expiry
            | TimerKind::QueueExpiry
            | TimerKind::ConsumerTimeout
            | TimerKind::DeadLetterRetry
            | TimerKind::DeadLetters
            | TimerKind::Delayed
            | TimerKind::Peers => {}
        }
    }

    /// A consumer is known by another key from here on, and is not paused.
    pub(crate) fn forget_waiting(&mut self, queue: QueueKey, consumer: ConsumerKey) {
        self.waiting_consumers.retain(|waiting| *waiting != (queue, consumer));
    }

    /// Whether a consumer of this channel may get a message: if not, it is kept and resumed once there is room.
    pub(crate) fn accepts(&mut self, ctx: &ConnectionCtx<'_>, queue: QueueKey, subscription: &Subscription) -> bool {
        let Subscription::Consumer { key, who: Subscriber::Channel { channel, .. }, .. } = subscription else {
            return true;
        };
        if self.outbox.waiting() >= ctx.broker.config.outbox_high_bytes {
            self.waiting_consumers.push((queue, *key));
            return false;
        }
        let Some(channel) = self.channel_mut(*channel) else { return false };
        if !channel.has_room() {
            channel.keep_waiting_consumer(queue, *key);
            return false;
        }
        true
    }

    /// Sends a message that a queue gave out.
    pub(crate) fn deliver(
        &mut self,
        ctx: &mut ConnectionCtx<'_>,
        queue: QueueKey,
        subscription: &Subscription,
        taken: &Taken,
    ) {
        let Subscriber::Channel { channel: number, .. } = subscription.who() else { return };
        self.with_channel(ctx, number, |channel, ctx| channel.deliver(ctx, queue, subscription, taken));
    }

    /// Does something with an open channel, if it is still the same one.
    pub(crate) fn with_same_channel(
        &mut self,
        ctx: &mut ConnectionCtx<'_>,
        reference: ChannelRef,
        act: impl FnOnce(&mut Channel, &mut ChannelCtx<'_>) -> Outcome,
    ) {
        let id = self.id;
        if self.channel_mut(reference.channel).is_some_and(|channel| channel.reference(id) == reference) {
            self.with_channel(ctx, reference.channel, act);
        }
    }

    /// Does something with a channel, and draws the consequences.
    pub(crate) fn with_channel(
        &mut self,
        ctx: &mut ConnectionCtx<'_>,
        number: ChannelNumber,
        act: impl FnOnce(&mut Channel, &mut ChannelCtx<'_>) -> Outcome,
    ) {
        let Some(Some(channel)) = self.channels.get_mut(usize::from(number.0)) else { return };
        let mut channel_ctx = ChannelCtx {
            broker: ctx.broker,
            outbox: &mut self.outbox,
            connection: self.id,
            vhost: self.vhost,
            vhost_name: &self.vhost_name,
            user: &self.user,
            peer: self.peer,
            local: self.local,
            takes_cancel_notify: self.capabilities.consumer_cancel_notify,
            has_confirms: false,
            has_published: false,
        };
        let outcome = act(channel, &mut channel_ctx);
        let ChannelCtx { has_confirms, has_published, .. } = channel_ctx;
        if has_confirms {
            self.news.push(number);
        }
        if has_published {
            self.on_published(ctx);
        }
        match outcome {
            Outcome::Open => {}
            Outcome::Gone => self.forget_channel(ctx, number),
            Outcome::Failed(error) => {
                let text = error.reply_text().to_string_lossy().into_owned();
                ctx.broker.events.push(Event::ChannelFailed { connection: self.id, channel: number, text });
            }
            Outcome::ConnectionError(error) => self.fail(ctx, &error),
        }
    }

    /// Confirms what became safe on the channels since the last flush.
    pub(crate) fn tell_confirms(&mut self, ctx: &mut ConnectionCtx<'_>) {
        while let Some(number) = self.news.pop() {
            self.with_channel(ctx, number, |channel, ctx| {
                channel.tell_confirms(ctx);
                Outcome::Open
            });
        }
    }

    /// Whether there is something to flush.
    pub(crate) fn is_dirty(&self) -> bool {
        self.outbox.is_dirty() || !self.news.is_empty()
    }

    /// Takes the publishes that the input begins with, as long as more than `end` bytes are left and nothing is out of the ordinary.
    fn take_publishes(&mut self, ctx: &mut ConnectionCtx<'_>, end: usize) {
        if self.state != State::Running {
            return;
        }
        let payload_max = self.decoder.payload_max();
        let size_max = usize::try_from(ctx.broker.config.message_size_max).unwrap_or(usize::MAX);
        let body_max = size_max.min(COMPACT_BODY_BYTES);
        let mut input = self.decoder.lend_input();
        let mut taken = 0;
        while self.state == State::Running
            && input.len() - taken >= end
            && let Some(publish) = WholePublish::first_of(&input[taken..], payload_max, body_max)
        {
            let number = ChannelNumber(publish.channel);
            if !self.channel_mut(number).is_some_and(|channel| channel.takes_publishes()) {
                break;
            }
            taken += publish.len;
            self.with_channel(ctx, number, |channel, ctx| channel.publish_whole(ctx, &publish));
        }
        input.advance(taken);
        self.decoder.take_back(input);
    }

    fn on_frame(&mut self, ctx: &mut ConnectionCtx<'_>, frame: Frame) -> Result<(), AmqpError> {
        if self.state == State::Closing {
            return self.on_frame_while_closing(ctx, frame);
        }
        if frame.kind == FrameKind::Heartbeat {
            return if frame.channel == 0 { Ok(()) } else { Err(frame.unexpected()) };
        }
        let number = ChannelNumber(frame.channel);
        if number == ChannelNumber::CONNECTION {
            if frame.kind != FrameKind::Method {
                return Err(frame.unexpected());
            }
            let method = Method::decode(frame.payload)?;
            let (class_id, method_id) = (method.class_id(), method.method_id());
            return self.on_method(ctx, method).map_err(|error| match error.class_id {
                0 => error.with_method(class_id, method_id),
                _ => error,
            });
        }
        if self.state != State::Running {
            return Err(frame.unexpected());
        }
        let Some(channel) = self.channel_mut(number) else { return self.open_channel(ctx, number, frame) };
        if channel.is_closing() {
            if frame.kind == FrameKind::Method {
                let method = Method::decode(frame.payload)?;
                self.with_channel(ctx, number, |channel, ctx| channel.on_method_while_closing(ctx, &method));
            }
            return Ok(());
        }
        match channel.assembler.feed(frame) {
            Ok(None) => {}
            Ok(Some(command)) => self.with_channel(ctx, number, |channel, ctx| channel.handle(ctx, command)),
            Err(error) if error.scope == Scope::Connection => return Err(error),
            Err(error) => self.with_channel(ctx, number, |channel, ctx| channel.on_content_error(ctx, error)),
        }
        Ok(())
    }

    /// After a mistake only `connection.close-ok` counts, and the client's own close, which may have crossed ours.
    fn on_frame_while_closing(&mut self, ctx: &mut ConnectionCtx<'_>, frame: Frame) -> Result<(), AmqpError> {
        if frame.kind != FrameKind::Method || frame.channel != 0 {
            return Ok(());
        }
        match Method::decode(frame.payload) {
            Ok(Method::ConnectionCloseOk(_)) => self.close_socket(ctx),
            Ok(Method::ConnectionClose(_)) => self.outbox.method(ChannelNumber::CONNECTION, class::CloseOk {}),
            _ => {}
        }
        Ok(())
    }

    fn on_method(&mut self, ctx: &mut ConnectionCtx<'_>, method: Method) -> Result<(), AmqpError> {
        match (self.state, method) {
            (State::Start, Method::ConnectionStartOk(start_ok)) => self.on_start_ok(ctx, &start_ok),
            (State::Tune, Method::ConnectionTuneOk(tune_ok)) => self.on_tune_ok(ctx, &tune_ok),
            (State::Open, Method::ConnectionOpen(open)) => self.on_open(ctx, &open),
            (State::Running, Method::ConnectionUpdateSecret(_)) => {
                self.outbox.method(ChannelNumber::CONNECTION, class::UpdateSecretOk {});
                Ok(())
            }
            (State::Running | State::Open | State::Tune, Method::ConnectionClose(close)) => {
                self.leave(ctx);
                self.outbox.method(ChannelNumber::CONNECTION, class::CloseOk {});
                self.end = Some(alloc::format!("closed by the client: {} {}", close.reply_code, close.reply_text));
                self.close_socket(ctx);
                Ok(())
            }
            (state, other) => Err(unexpected_method(state, &other)),
        }
    }

    fn open_channel(
        &mut self,
        ctx: &mut ConnectionCtx<'_>,
        number: ChannelNumber,
        frame: Frame,
    ) -> Result<(), AmqpError> {
        let is_method = frame.kind == FrameKind::Method;
        let method = if is_method { Some(Method::decode(frame.payload)?) } else { None };
        let Some(Method::ChannelOpen(_)) = &method else {
            // A close that crossed the client's own is answered already.
            if let Some(Method::ChannelCloseOk(_)) = method {
                return Ok(());
            }
            return Err(match &method {
                Some(method) => {
                    AmqpError::connection(ReplyCode::ChannelError, "expected 'channel.open'").blamed_on(method)
                }
                None => {
                    let text = "expected method frame, got non method frame instead";
                    AmqpError::connection(ReplyCode::UnexpectedFrame, text)
                }
            });
        };
        if self.channel_max != 0 && self.channel_count >= self.channel_max {
            let text = alloc::format!(
                "number of channels opened ({}) has reached the negotiated channel_max ({})",
                self.channel_count,
                self.channel_max
            );
            return Err(AmqpError::connection(ReplyCode::NotAllowed, text));
        }
        let user = ctx.broker.metadata.user(self.user.as_bytes());
        let limit = user.and_then(|user| user.limits.channels_max);
        ctx.broker.sessions.open_channel(&self.user, limit)?;
        let at = usize::from(number.0);
        if at >= self.channels.len() {
            self.channels.resize_with(at + 1, || None);
        }
        self.channels[at] = Some(Box::new(Channel::new(number, self.next_epoch, ctx.broker.config.message_size_max)));
        self.next_epoch = self.next_epoch.wrapping_add(1);
        self.channel_count += 1;
        self.outbox.method(number, channel_class::OpenOk {});
        Ok(())
    }

    fn channel_mut(&mut self, number: ChannelNumber) -> Option<&mut Channel> {
        self.channels.get_mut(usize::from(number.0))?.as_deref_mut()
    }

    fn forget_channel(&mut self, ctx: &mut ConnectionCtx<'_>, number: ChannelNumber) {
        if let Some(slot) = self.channels.get_mut(usize::from(number.0))
            && slot.take().is_some()
        {
            self.channel_count -= 1;
            ctx.broker.sessions.close_channel(&self.user);
        }
    }

    /// Tells the client of a mistake that ends the connection, or of a shutdown.
    fn fail(&mut self, ctx: &mut ConnectionCtx<'_>, error: &AmqpError) {
        let text = error.reply_text();
        self.end = Some(text.to_string_lossy().into_owned());
        if self.state == State::Header {
            return self.close_socket(ctx);
        }
        // What became safe is said while it still can be.
        self.tell_confirms(ctx);
        self.leave(ctx);
        self.outbox.method(ChannelNumber::CONNECTION, error.to_connection_close());
        self.state = State::Closing;
        ctx.broker.timers.set(ctx.now.mono + limits::CLOSE_TIMEOUT, TimerKind::Close, TimerFor::Connection(self.id));
    }

    /// Asks the driver to close the socket once everything is written.
    fn close_socket(&mut self, ctx: &mut ConnectionCtx<'_>) {
        self.leave(ctx);
        self.state = State::Closed;
        ctx.controls.push(ClientControl::Close(self.id));
    }

    /// Ends all channels and deletes the queues that were this connection's alone. That happens before the close is answered, as
    /// RabbitMQ does, because people rely on it.
    fn leave(&mut self, ctx: &mut ConnectionCtx<'_>) {
        self.news.clear();
        self.waiting_consumers.clear();
        for mut channel in core::mem::take(&mut self.channels).into_iter().flatten() {
            let mut channel_ctx = ChannelCtx {
                broker: ctx.broker,
                outbox: &mut self.outbox,
                connection: self.id,
                vhost: self.vhost,
                vhost_name: &self.vhost_name,
                user: &self.user,
                peer: self.peer,
                local: self.local,
                takes_cancel_notify: self.capabilities.consumer_cancel_notify,
                has_confirms: false,
                has_published: false,
            };
            channel.settle_backlog(&mut channel_ctx);
            channel.close(ctx.broker, self.id);
        }
        if core::mem::take(&mut self.is_counted) {
            ctx.broker.sessions.close(self.vhost, &self.user, self.channel_count);
        }
        self.channel_count = 0;
        ctx.broker.delete_exclusive_queues(self.id);
        self.end_pauses(ctx);
    }

    /// Checks the connection's invariants.
    ///
    /// # Panics
    /// If one is broken.
    pub(crate) fn check_invariants(&self) {
        let open = self.channels.iter().flatten().count();
        assert_eq!(open, usize::from(self.channel_count), "open channels are counted");
        self.channels.iter().flatten().for_each(|channel| channel.check_invariants());
    }
}

/// RabbitMQ's error for a method of the connection out of its order, and for any other class on channel 0.
fn unexpected_method(state: State, method: &Method) -> AmqpError {
    let state = match state {
        State::Header | State::Start => "starting",
        State::Tune => "tuning",
        State::Open => "opening",
        State::Running => "running",
        State::Closing | State::Closed => "closing",
    };
    let text = alloc::format!("unexpected method in connection state {state}");
    AmqpError::connection(ReplyCode::ChannelError, text).blamed_on(method)
}
