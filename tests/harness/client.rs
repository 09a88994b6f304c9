//! A small asynchronous client for tests: the engine's client machine on any stream, real or simulated.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use leveret_engine::amqp::method::{basic, confirm, queue};
use leveret_engine::amqp::{FieldTable, FieldValue, Method, Properties, RawProperties, Routing, ShortStr};
use leveret_engine::client::{Client, ClientConfig, ClientEvent};
use leveret_engine::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The one channel that these tests need.
const CHANNEL: u16 = 1;

/// A connection with one open channel.
#[derive(Debug)]
pub(crate) struct TestClient<S> {
    stream: S,
    machine: Client,
    events: VecDeque<ClientEvent>,
    scratch: Vec<ClientEvent>,
    buffer: BytesMut,
    origin: tokio::time::Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TestClient<S> {
    /// Logs in over `stream` as guest and opens a channel.
    ///
    /// # Errors
    /// If the connection ends.
    pub(crate) async fn login(stream: S) -> io::Result<Self> {
        let mut config = ClientConfig::default();
        config.limits.heartbeat_s = 0;
        let mut client = Self {
            stream,
            machine: Client::new(config),
            events: VecDeque::new(),
            scratch: Vec::new(),
            buffer: BytesMut::new(),
            origin: tokio::time::Instant::now(),
        };
        client.expect(|event| matches!(event, ClientEvent::Connected { .. })).await?;
        client.machine.open_channel(CHANNEL).map_err(io::Error::other)?;
        client.expect(|event| matches!(event, ClientEvent::ChannelOpened { .. })).await?;
        Ok(client)
    }

    /// Sends what waits, then waits for the next event.
    ///
    /// # Errors
    /// If the connection ends.
    pub(crate) async fn event(&mut self) -> io::Result<ClientEvent> {
        loop {
            self.flush().await?;
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            self.buffer.reserve(64 * 1024);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let micros = u64::try_from(self.origin.elapsed().as_micros()).map_err(io::Error::other)?;
            let bytes = self.buffer.split().freeze();
            let now = Instant::from_micros(micros);
            self.machine.handle_bytes(now, bytes, &mut self.scratch).map_err(io::Error::other)?;
            self.events.extend(self.scratch.drain(..));
        }
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// If the connection ends.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        let output = self.machine.take_output();
        if output.is_empty() { Ok(()) } else { self.stream.write_all(&output).await }
    }

    /// The next event, which has to be the one that is waited for.
    async fn expect(&mut self, is_it: impl Fn(&ClientEvent) -> bool) -> io::Result<ClientEvent> {
        let event = self.event().await?;
        if is_it(&event) { Ok(event) } else { Err(io::Error::other(format!("unexpected {event:?}"))) }
    }

    /// Calls a method; deliveries and confirms that come before the answer are kept for [`Self::event`].
    ///
    /// # Errors
    /// If the connection ends or the server refuses.
    pub(crate) async fn call(&mut self, method: impl Into<Method>) -> io::Result<Method> {
        self.machine.send(CHANNEL, method).map_err(io::Error::other)?;
        let mut before = VecDeque::new();
        loop {
            match self.event().await? {
                ClientEvent::Method { method, .. } => {
                    before.append(&mut self.events);
                    self.events = before;
                    return Ok(method);
                }
                closed @ (ClientEvent::ChannelClosed { .. } | ClientEvent::ConnectionClosed { .. }) => {
                    return Err(io::Error::other(format!("{closed:?}")));
                }
                other => before.push_back(other),
            }
        }
    }

    /// Declares a durable queue and tells how many messages are ready in it.
    ///
    /// # Errors
    /// If the connection ends or the server refuses.
    pub(crate) async fn declare(&mut self, queue: &'static str) -> io::Result<u32> {
        self.declare_with(queue, FieldTable::new()).await
    }

    /// The same, with arguments.
    ///
    /// # Errors
    /// If the connection ends or the server refuses.
    pub(crate) async fn declare_with(&mut self, queue: &'static str, arguments: FieldTable) -> io::Result<u32> {
        let queue = ShortStr::from_static(queue);
        let declare = queue::Declare { queue, durable: true, arguments, ..queue::Declare::default() };
        match self.call(declare).await? {
            Method::QueueDeclareOk(ok) => Ok(ok.message_count),
            other => Err(io::Error::other(format!("unexpected {other:?}"))),
        }
    }

    /// Turns on confirms.
    ///
    /// # Errors
    /// If the connection ends or the server refuses.
    pub(crate) async fn select_confirms(&mut self) -> io::Result<()> {
        self.call(confirm::Select::default()).await.map(drop)
    }

    /// Consumes with acks.
    ///
    /// # Errors
    /// If the connection ends or the server refuses.
    pub(crate) async fn consume(&mut self, queue: &'static str, prefetch: u16) -> io::Result<()> {
        self.call(basic::Qos { prefetch_count: prefetch, ..basic::Qos::default() }).await?;
        let queue = ShortStr::from_static(queue);
        self.call(basic::Consume { queue, ..basic::Consume::default() }).await.map(drop)
    }

    /// Queues a persistent message for sending; returns its publish seqno, 0 without confirms.
    ///
    /// # Errors
    /// If the channel is closed.
    pub(crate) fn publish(&mut self, queue: &'static str, body: &[u8]) -> io::Result<u64> {
        let routing = Routing::new(&ShortStr::new(), &ShortStr::from_static(queue));
        let seqno = self.machine.publish(CHANNEL, &routing, false, &persistent(), body);
        Ok(seqno.map_err(io::Error::other)?.unwrap_or(0))
    }

    /// Queues a persistent message for a delayed exchange for sending.
    ///
    /// # Errors
    /// If the channel is closed.
    pub(crate) fn publish_delayed(
        &mut self,
        exchange: &'static str,
        message_id: &'static str,
        delay_ms: i32,
        body: &[u8],
    ) -> io::Result<()> {
        let routing = Routing::new(&ShortStr::from_static(exchange), &ShortStr::new());
        let mut headers = FieldTable::new();
        headers.push(ShortStr::from_static("x-delay"), FieldValue::I32(delay_ms));
        let message_id = Some(ShortStr::from_static(message_id));
        let delivery_mode = Some(leveret_engine::amqp::properties::PERSISTENT);
        let properties = Properties { headers: Some(headers), message_id, delivery_mode, ..Properties::default() };
        self.machine.publish(CHANNEL, &routing, false, &encoded(&properties), body).map_err(io::Error::other).map(drop)
    }

    /// Queues an ack for sending.
    ///
    /// # Errors
    /// If the channel is closed.
    pub(crate) fn ack(&mut self, delivery_tag: u64, multiple: bool) -> io::Result<()> {
        self.machine.ack(CHANNEL, delivery_tag, multiple).map_err(io::Error::other)
    }

    /// Sends half of what waits, as a client does that ends in the middle of it. Drop it afterwards.
    ///
    /// # Errors
    /// If the connection ends.
    pub(crate) async fn leave_within_a_frame(&mut self) -> io::Result<()> {
        let output = self.machine.take_output();
        self.stream.write_all(&output[..output.len() / 2]).await
    }

    /// Closes the connection in good order.
    ///
    /// # Errors
    /// If it ends otherwise.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        self.machine.close();
        while !matches!(self.event().await?, ClientEvent::ConnectionClosed { .. }) {}
        self.stream.shutdown().await
    }
}

/// Waits for `future`, for as long as a busy machine may need.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] after that.
pub(crate) async fn patiently<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(Duration::from_secs(60), future).await.map_err(io::Error::from)?
}

fn persistent() -> RawProperties {
    let delivery_mode = Some(leveret_engine::amqp::properties::PERSISTENT);
    encoded(&Properties { delivery_mode, ..Properties::default() })
}

fn encoded(properties: &Properties) -> RawProperties {
    let mut encoded = BytesMut::new();
    properties.encode(&mut encoded);
    RawProperties::parse(encoded.freeze()).expect("we encoded them")
}
