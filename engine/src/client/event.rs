//! What the client tells its caller.

use core::fmt;

use bytes::Bytes;

use super::Limits;
use crate::amqp::method::{channel, connection};
use crate::amqp::{AmqpError, Content, Method, RawProperties, ReplyCode, Routing, ShortStr};

/// Something the server did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// The handshake is over; channels can be opened.
    Connected {
        /// The agreed limits.
        limits: Limits,
    },
    /// The channel can be used.
    ChannelOpened {
        /// Which channel.
        channel: u16,
    },
    /// An answer that has no event of its own, such as `queue.declare-ok` or `basic.get-empty`.
    Method {
        /// Which channel; 0 for the connection.
        channel: u16,
        /// The answer.
        method: Method,
    },
    /// A message came to a consumer.
    Delivery {
        /// Which channel.
        channel: u16,
        /// Which consumer.
        consumer_tag: ShortStr,
        /// The number to acknowledge it by.
        delivery_tag: u64,
        /// It may have been delivered before.
        redelivered: bool,
        /// Exchange and routing key of the publish.
        routing: Routing,
        /// The properties.
        properties: RawProperties,
        /// The body.
        body: Bytes,
    },
    /// A mandatory message came back.
    Returned {
        /// Which channel.
        channel: u16,
        /// Why, as a number: 312.
        reply_code: u16,
        /// Why, in words.
        reply_text: ShortStr,
        /// Exchange and routing key of the publish.
        routing: Routing,
        /// The properties.
        properties: RawProperties,
        /// The body.
        body: Bytes,
    },
    /// A message came in answer to a get.
    GetOk {
        /// Which channel.
        channel: u16,
        /// The number to acknowledge it by.
        delivery_tag: u64,
        /// It may have been delivered before.
        redelivered: bool,
        /// Exchange and routing key of the publish.
        routing: Routing,
        /// Ready messages that are left.
        message_count: u32,
        /// The properties.
        properties: RawProperties,
        /// The body.
        body: Bytes,
    },
    /// Publishes were confirmed.
    Acked {
        /// Which channel.
        channel: u16,
        /// The number of the publish.
        seqno: u64,
        /// And all before it that were not answered yet.
        multiple: bool,
    },
    /// Publishes were refused.
    Nacked {
        /// Which channel.
        channel: u16,
        /// The number of the publish.
        seqno: u64,
        /// And all before it that were not answered yet.
        multiple: bool,
    },
    /// The server ended a consumer, because its queue is gone.
    ConsumerCancelled {
        /// Which channel.
        channel: u16,
        /// Which consumer.
        consumer_tag: ShortStr,
    },
    /// The server asks to stop or to resume publishing on a channel; it has been told yes.
    Flow {
        /// Which channel.
        channel: u16,
        /// Whether publishing may go on.
        is_active: bool,
    },
    /// The channel is over; its number is free again.
    ChannelClosed {
        /// Which channel.
        channel: u16,
        /// Why.
        reason: CloseReason,
        /// The server closed it, rather than agreed.
        is_by_server: bool,
    },
    /// The connection is over; what waits in the output should still be sent.
    ConnectionClosed {
        /// Why.
        reason: CloseReason,
        /// The server closed it, rather than agreed.
        is_by_server: bool,
    },
    /// The server reads no more publishes for now.
    Blocked {
        /// Why, such as `low on disk`.
        reason: ShortStr,
    },
    /// The server reads publishes again.
    Unblocked,
}

impl ClientEvent {
    pub(super) fn of_command(channel: u16, method: Method, content: Option<Content>) -> Self {
        match (method, content) {
            (Method::BasicDeliver(deliver), Some(Content { properties, body })) => Self::Delivery {
                channel,
                consumer_tag: deliver.consumer_tag,
                delivery_tag: deliver.delivery_tag,
                redelivered: deliver.redelivered,
                routing: deliver.routing,
                properties,
                body,
            },
            (Method::BasicReturn(returned), Some(Content { properties, body })) => Self::Returned {
                channel,
                reply_code: returned.reply_code,
                reply_text: returned.reply_text,
                routing: returned.routing,
                properties,
                body,
            },
            (Method::BasicGetOk(get_ok), Some(Content { properties, body })) => Self::GetOk {
                channel,
                delivery_tag: get_ok.delivery_tag,
                redelivered: get_ok.redelivered,
                routing: get_ok.routing,
                message_count: get_ok.message_count,
                properties,
                body,
            },
            (Method::BasicAck(ack), _) => Self::Acked { channel, seqno: ack.delivery_tag, multiple: ack.multiple },
            (Method::BasicNack(nack), _) => Self::Nacked { channel, seqno: nack.delivery_tag, multiple: nack.multiple },
            (method, _) => Self::Method { channel, method },
        }
    }
}

/// Why a channel or a connection was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason {
    /// The number; 200 for an ordinary end.
    pub reply_code: u16,
    /// The words.
    pub reply_text: ShortStr,
    /// Class of the method that failed, or 0.
    pub class_id: u16,
    /// The method that failed, or 0.
    pub method_id: u16,
}

impl CloseReason {
    /// Nothing is wrong.
    pub fn normal() -> Self {
        Self {
            reply_code: ReplyCode::Success.number(),
            reply_text: ShortStr::from_static("Goodbye"),
            class_id: 0,
            method_id: 0,
        }
    }
}

impl From<connection::Close> for CloseReason {
    fn from(close: connection::Close) -> Self {
        let connection::Close { reply_code, reply_text, class_id, method_id } = close;
        Self { reply_code, reply_text, class_id, method_id }
    }
}

impl From<channel::Close> for CloseReason {
    fn from(close: channel::Close) -> Self {
        let channel::Close { reply_code, reply_text, class_id, method_id } = close;
        Self { reply_code, reply_text, class_id, method_id }
    }
}

/// Why the client cannot go on, or cannot do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// The server sent what it may not send.
    Protocol(AmqpError),
    /// The server does not speak AMQP 0-9-1.
    VersionMismatch,
    /// The server was silent for two heartbeat intervals.
    HeartbeatsMissed,
    /// The connection is not open.
    NotOpen,
    /// The channel is not open.
    ChannelNotOpen(u16),
    /// The channel is in use, or its number is not allowed.
    ChannelInUse(u16),
    /// A method that brings a content was given without one.
    NeedsContent,
}

impl From<AmqpError> for ClientError {
    fn from(error: AmqpError) -> Self {
        Self::Protocol(error)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(error) => write!(f, "the server broke the protocol: {error}"),
            Self::VersionMismatch => f.write_str("the server does not speak AMQP 0-9-1"),
            Self::HeartbeatsMissed => f.write_str("the server was silent for two heartbeat intervals"),
            Self::NotOpen => f.write_str("the connection is not open"),
            Self::ChannelNotOpen(channel) => write!(f, "channel {channel} is not open"),
            Self::ChannelInUse(channel) => write!(f, "channel {channel} cannot be opened"),
            Self::NeedsContent => f.write_str("this method cannot be sent without a content"),
        }
    }
}

impl core::error::Error for ClientError {}
