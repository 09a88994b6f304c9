//! One connection: set up with the engine's client, then read and written as fast as the socket allows.

#![expect(clippy::disallowed_types, reason = "perf measures the real world")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use leveret_engine::amqp::frame::{FRAME_END, FRAME_HEADER_LEN};
use leveret_engine::amqp::method::{connection, queue};
use leveret_engine::amqp::{FieldTable, Method, ShortStr, encode};
use leveret_engine::client::{Client, ClientConfig, ClientEvent, CloseReason, Limits};
use leveret_engine::time::Instant;

use super::uri::Target;

/// The one channel of a connection.
pub(super) const CHANNEL: u16 = 1;
/// A broker that is silent for so long will not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How much is read at once.
const READ_BYTES: usize = 256 * 1024;

/// A connection while it is set up: every call waits for its answer.
#[derive(Debug)]
pub(super) struct Session {
    stream: TcpStream,
    client: Client,
    name: String,
}

impl Session {
    /// Connects and opens [`CHANNEL`].
    pub(super) fn open(target: &Target) -> Result<Self, String> {
        let name = format!("{}:{}", target.host, target.port);
        let stream = TcpStream::connect((target.host.as_str(), target.port))
            .map_err(|error| format!("cannot connect to {name}: {error}"))?;
        let timeout = Some(ANSWER_TIMEOUT);
        let options = [stream.set_nodelay(true), stream.set_read_timeout(timeout), stream.set_write_timeout(timeout)];
        options.into_iter().collect::<Result<(), _>>().map_err(|error| format!("{name}: {error}"))?;
        // A measurement must not stop for a heartbeat, and a reader that stops must not be thrown out.
        let limits = Limits { heartbeat_s: 0, ..Limits::default() };
        let client = Client::new(ClientConfig {
            user: target.user.clone(),
            password: target.password.clone(),
            virtual_host: target.virtual_host.clone(),
            limits,
            ..ClientConfig::default()
        });
        let mut session = Self { stream, client, name };
        session.wait(|event| matches!(event, ClientEvent::Connected { .. }).then_some(()))?;
        session.client.open_channel(CHANNEL).map_err(|error| error.to_string())?;
        session.wait(|event| matches!(event, ClientEvent::ChannelOpened { .. }).then_some(()))?;
        Ok(session)
    }

    /// Sends a method and waits for its answer.
    pub(super) fn call(&mut self, method: impl Into<Method>) -> Result<Method, String> {
        self.client.send(CHANNEL, method).map_err(|error| error.to_string())?;
        self.wait(|event| match event {
            ClientEvent::Method { method, .. } => Some(method),
            _ => None,
        })
    }

    /// Declares a queue; returns how many messages are ready in it.
    pub(super) fn declare_queue(
        &mut self,
        name: &ShortStr,
        is_durable: bool,
        arguments: FieldTable,
    ) -> Result<u32, String> {
        let declare =
            queue::Declare { queue: name.clone(), durable: is_durable, arguments, ..queue::Declare::default() };
        match self.call(declare)? {
            Method::QueueDeclareOk(ok) => Ok(ok.message_count),
            other => Err(format!("{}: {} in answer to queue.declare", self.name, other.name())),
        }
    }

    /// Deletes a queue, if it is there.
    pub(super) fn delete_queue(&mut self, name: &ShortStr) -> Result<(), String> {
        self.call(queue::Delete { queue: name.clone(), ..queue::Delete::default() }).map(drop)
    }

    /// Opens a further channel and closes it.
    pub(super) fn churn_channel(&mut self) -> Result<(), String> {
        const OTHER: u16 = CHANNEL + 1;
        self.client.open_channel(OTHER).map_err(|error| error.to_string())?;
        self.wait(|event| matches!(event, ClientEvent::ChannelOpened { .. }).then_some(()))?;
        self.client.close_channel(OTHER).map_err(|error| error.to_string())?;
        self.wait(|event| matches!(event, ClientEvent::ChannelClosed { .. }).then_some(()))
    }

    /// Gives the connection over to the fast path, with the first bytes it is to send.
    pub(super) fn into_link(mut self, first: Option<Method>) -> Result<Link, String> {
        if let Some(method) = first {
            self.client.send(CHANNEL, method).map_err(|error| error.to_string())?;
            self.flush()?;
        }
        self.stream.set_nonblocking(true).map_err(|error| format!("{}: {error}", self.name))?;
        let frame_max = self.client.limits().frame_max;
        let largest = usize::try_from(frame_max).unwrap_or(usize::MAX).saturating_add(FRAME_HEADER_LEN + 1);
        Ok(Link {
            stream: self.stream,
            name: self.name,
            frame_max,
            input: vec![0; READ_BYTES.saturating_add(largest)],
            start: 0,
            end: 0,
        })
    }

    /// Ends the connection as the protocol asks.
    pub(super) fn close(mut self) -> Result<(), String> {
        self.client.close();
        self.wait(|event| matches!(event, ClientEvent::ConnectionClosed { .. }).then_some(()))
    }

    fn flush(&mut self) -> Result<(), String> {
        let output = self.client.take_output();
        self.stream.write_all(&output).map_err(|error| format!("{}: {error}", self.name))
    }

    /// Waits for the event that is asked for; others are of no interest, unless they end the connection.
    fn wait<T>(&mut self, mut wanted: impl FnMut(ClientEvent) -> Option<T>) -> Result<T, String> {
        let mut events = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            self.flush()?;
            let read = self.stream.read(&mut buffer).map_err(|error| format!("{}: {error}", self.name))?;
            if read == 0 {
                return Err(format!("{}: the broker closed the connection", self.name));
            }
            let data = Bytes::copy_from_slice(&buffer[..read]);
            self.client
                .handle_bytes(Instant::ZERO, data, &mut events)
                .map_err(|error| format!("{}: {error}", self.name))?;
            for event in events.drain(..) {
                let closed = match &event {
                    ClientEvent::ChannelClosed { reason, is_by_server: true, .. }
                    | ClientEvent::ConnectionClosed { reason, is_by_server: true } => Some(complaint(reason)),
                    _ => None,
                };
                if let Some(found) = wanted(event) {
                    return Ok(found);
                }
                if let Some(closed) = closed {
                    return Err(format!("{}: {closed}", self.name));
                }
            }
        }
    }
}

fn complaint(reason: &CloseReason) -> String {
    format!("the broker closed: {} {}", reason.reply_code, reason.reply_text)
}

/// A connection on the fast path: it never waits, and frames are read where they lie.
#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    name: String,
    frame_max: u32,
    input: Vec<u8>,
    /// The unread part of the input.
    start: usize,
    end: usize,
}

/// A frame where it lies in the input.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawFrame<'a> {
    pub(super) kind: u8,
    pub(super) payload: &'a [u8],
}

impl Link {
    pub(super) fn frame_max(&self) -> u32 {
        self.frame_max
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Reads what has come, once; call [`Link::next_frame`] until it yields nothing before.
    pub(super) fn read(&mut self) -> Result<(), String> {
        self.input.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        // A whole frame and more fits, so there is room.
        let room = self.input.len().min(self.end + READ_BYTES);
        match self.stream.read(&mut self.input[self.end..room]) {
            Ok(0) => Err(format!("{}: the broker closed the connection", self.name)),
            Ok(read) => {
                self.end += read;
                Ok(())
            }
            Err(error) if is_later(error.kind()) => Ok(()),
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }

    /// The next frame, or nothing until more is read.
    pub(super) fn next_frame(&mut self) -> Result<Option<RawFrame<'_>>, String> {
        let data = &self.input[self.start..self.end];
        let Some(&[kind, _, _, s0, s1, s2, s3]) = data.first_chunk::<FRAME_HEADER_LEN>() else {
            return Ok(None);
        };
        let size = u32::from_be_bytes([s0, s1, s2, s3]);
        if size > self.frame_max {
            return Err(format!("{}: a frame of {size} bytes", self.name));
        }
        let len = usize::try_from(size).unwrap_or(usize::MAX);
        let Some(end) = data.get(FRAME_HEADER_LEN + len) else {
            return Ok(None);
        };
        if *end != FRAME_END {
            return Err(format!("{}: a frame without its end", self.name));
        }
        self.start += FRAME_HEADER_LEN + len + 1;
        Ok(Some(RawFrame { kind, payload: &data[FRAME_HEADER_LEN..FRAME_HEADER_LEN + len] }))
    }

    /// Writes what the socket takes; returns how much that was.
    pub(super) fn write(&mut self, data: &[u8]) -> Result<usize, String> {
        match self.stream.write(data) {
            Ok(written) => Ok(written),
            Err(error) if is_later(error.kind()) => Ok(0),
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }

    /// Sends a last piece and says goodbye.
    pub(super) fn close(mut self, last: &[u8]) {
        let goodbye = CloseReason::normal();
        let close = connection::Close {
            reply_code: goodbye.reply_code,
            reply_text: goodbye.reply_text,
            class_id: 0,
            method_id: 0,
        };
        let mut out = BytesMut::from(last);
        encode::encode_method_frame(&mut out, 0, &close.into());
        let timeout = Some(Duration::from_secs(2));
        let prepared = self.stream.set_nonblocking(false).and_then(|()| self.stream.set_read_timeout(timeout));
        if prepared.and_then(|()| self.stream.write_all(&out)).is_err() {
            return;
        }
        // The answer, and what was under way before it, so that the broker does not see a reset.
        loop {
            match self.stream.read(&mut self.input) {
                Ok(read) if read > 0 => {}
                _ => return,
            }
        }
    }
}

fn is_later(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Why a method that is not part of the fast path ends the run; `None` for one that does not.
pub(super) fn objection(payload: &[u8]) -> Option<String> {
    match Method::decode(Bytes::copy_from_slice(payload)) {
        Ok(Method::ConnectionClose(close)) => Some(complaint(&close.into())),
        Ok(Method::ChannelClose(close)) => Some(complaint(&close.into())),
        Ok(Method::BasicCancel(_)) => Some("the broker cancelled the consumer".to_owned()),
        Ok(Method::BasicReturn(returned)) => {
            Some(format!("a message came back: {} {}", returned.reply_code, returned.reply_text))
        }
        Ok(_) => None,
        Err(error) => Some(format!("the broker sent {error}")),
    }
}
