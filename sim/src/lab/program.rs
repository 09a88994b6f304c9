//! What somebody's own client program is to the simulator: a state machine that is told what happened and says what to do.

use std::time::Duration;

use bytes::Bytes;
use leveret_engine::amqp::{FieldTable, FieldValue, Properties, RawProperties, ShortStr};

use super::session::Session;
use crate::message::{Extras, MessageInfo, MessageNumber, Own, message_id};

/// A client program without input or output of its own: what it wants goes into its [`Session`], what happens comes as an [`Event`].
///
/// It has one connection with one channel in confirm mode. When that is lost the simulator brings another one. When the process
/// crashes (see [`Lab::crashes`](super::Lab::crashes)) the value is dropped and the next one is made as the first one was; only what
/// is in a [`Store`](super::Store) is kept.
///
/// An assertion in a program that fails ends the run, and is reported with its seed.
pub trait Program {
    /// Something happened.
    fn on_event(&mut self, session: &mut Session, event: Event);

    /// The connection is gone, though the process is not: what was delivered and not acked is going to be delivered again, and nobody
    /// knows what became of publishes without a confirm. [`Event::Connected`] comes when there is another one.
    fn on_lost(&mut self) {}

    /// What it still has to do before the run may end, in words; `None` if it may end. Once the faults are over (see
    /// [`Event::Stopping`]) a program that waits for something in vain is a failed run.
    fn waiting_for(&self) -> Option<String> {
        None
    }
}

/// What can happen to a program.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// There is a connection, the lab's exchanges, queues and bindings are declared, and publishes are confirmed. It comes again after
    /// each loss, and consumers have to be started again.
    Connected,
    /// A message came to a consumer.
    Delivered(Delivery),
    /// A publish is safe, by the number that [`Session::publish`] gave.
    Confirmed(u64),
    /// A publish was refused: the message is in none of its queues.
    Refused(u64),
    /// A mandatory message came back, since it reached no queue. Its confirm comes besides.
    Returned(Message),
    /// The time asked for with [`Session::wake_after`] has come.
    Woken,
    /// The server ended a consumer, by its queue's name.
    Cancelled(String),
    /// The server closed the channel, with this code and text. Another one is opened at once, and then [`Event::Connected`] comes.
    ChannelClosed(u16, String),
    /// The server reads no publishes for now (`true`), or does again.
    Blocked(bool),
    /// There are no more faults: nothing is to be begun any more, and what was begun is to come to its end.
    Stopping,
}

/// A message that was delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// What to ack it by, on this connection.
    pub tag: u64,
    /// The queue it came from.
    pub queue: String,
    /// It may have been delivered before.
    pub is_redelivered: bool,
    /// The message. Of the built-in publishers it has neither headers nor a body that means anything.
    pub message: Message,
}

/// A message as a program publishes and gets it. `message-id` belongs to the simulator, which tells messages apart by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The body.
    pub body: Bytes,
    /// Headers that are texts.
    pub headers: Vec<(String, String)>,
    /// Delivery mode 2; on by default.
    pub is_persistent: bool,
    /// `correlation-id`.
    pub correlation_id: Option<String>,
    /// `priority`.
    pub priority: Option<u8>,
    /// `expiration`.
    pub expiration: Option<Duration>,
}

impl Message {
    /// A persistent message.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            headers: Vec::new(),
            is_persistent: true,
            correlation_id: None,
            priority: None,
            expiration: None,
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The body as text; what is no UTF-8 in it is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What is known of it besides its content.
    pub(crate) fn info(&self, publisher: u32) -> MessageInfo {
        MessageInfo {
            publisher,
            sequence: 0,
            attempt: 0,
            size: u32::try_from(self.body.len()).expect("bodies are small"),
            persistent: self.is_persistent,
            extras: Extras { expiration_ms: self.expiration_ms(), priority: self.priority, ..Extras::default() },
        }
    }

    /// Its content under a number.
    ///
    /// # Panics
    /// If a name is longer than 255 bytes.
    pub(crate) fn content(&self, number: MessageNumber) -> Own {
        let text =
            |text: &str| ShortStr::try_from(text).expect("names of headers and short texts have at most 255 bytes");
        let id = String::from_utf8_lossy(&message_id(number)).into_owned();
        let mut headers = FieldTable::new();
        for (name, value) in &self.headers {
            headers.push(text(name), FieldValue::text(value));
        }
        let properties = Properties {
            headers: (!headers.is_empty()).then_some(headers),
            delivery_mode: Some(if self.is_persistent { 2 } else { 1 }),
            priority: self.priority,
            correlation_id: self.correlation_id.as_deref().map(text),
            expiration: self.expiration_ms().map(|millis| text(&millis.to_string())),
            message_id: Some(text(&id)),
            ..Properties::default()
        };
        Own { properties: RawProperties::from(&properties).encoded().clone(), body: self.body.clone() }
    }

    fn expiration_ms(&self) -> Option<u32> {
        self.expiration.map(|after| u32::try_from(after.as_millis()).unwrap_or(u32::MAX))
    }

    /// Reads what came. What a program has no field for is left out.
    pub(crate) fn read(properties: &RawProperties, body: Bytes) -> Self {
        let properties = properties.decode();
        let text = |text: ShortStr| text.to_string_lossy().into_owned();
        let mut headers = Vec::new();
        for (name, value) in properties.headers.iter().flat_map(FieldTable::iter) {
            if let Some(value) = value.as_str() {
                headers.push((name.to_string_lossy().into_owned(), value.to_owned()));
            }
        }
        Self {
            body,
            headers,
            is_persistent: properties.delivery_mode == Some(2),
            correlation_id: properties.correlation_id.map(text),
            priority: properties.priority,
            expiration: properties.expiration.and_then(|it| text(it).parse().ok()).map(Duration::from_millis),
        }
    }
}
