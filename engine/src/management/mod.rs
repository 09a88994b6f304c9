//! Administration as values: what an operator may ask of a node, and what it answers. HTTP and command lines only translate.
//!
//! A request that changes what outlives a restart is answered once the change is durable.

mod connections;
mod departures;
mod exchanges;
mod node;
mod queues;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::amqp::{AmqpError, ReplyCode};
use crate::ids::AdminId;

pub use crate::queue::{LeaveReason, LeftTo};
pub use connections::{
    ChannelInfo, ConnectionInfo, ConnectionRequest, ConnectionSelection, ConnectionState, ConsumerInfo,
};
pub use departures::{Departure, DepartureReport, DepartureRequest, LeaveCounts, Way};
pub use exchanges::{BindingInfo, ExchangeInfo, ExchangeRequest};
pub use node::{NodeRequest, NodeStatus};
pub use queues::{PeekedMessage, QueueInfo, QueueName, QueueRequest, QueueState, Selection};

/// What an operator asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminRequest {
    /// Whether the node is there.
    Ping,
    /// Why messages are gone that nobody acked.
    Departures(DepartureRequest),
    /// About the node as a whole.
    Node(NodeRequest),
    /// About queues and what is in them.
    Queue(QueueRequest),
    /// About exchanges and bindings.
    Exchange(ExchangeRequest),
    /// About connections, channels and consumers.
    Connection(ConnectionRequest),
}

impl From<NodeRequest> for AdminRequest {
    fn from(request: NodeRequest) -> Self {
        Self::Node(request)
    }
}

impl From<QueueRequest> for AdminRequest {
    fn from(request: QueueRequest) -> Self {
        Self::Queue(request)
    }
}

impl From<ExchangeRequest> for AdminRequest {
    fn from(request: ExchangeRequest) -> Self {
        Self::Exchange(request)
    }
}

impl From<ConnectionRequest> for AdminRequest {
    fn from(request: ConnectionRequest) -> Self {
        Self::Connection(request)
    }
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq)]
pub enum AdminReply {
    /// It is done.
    Done,
    /// What is remembered of messages that are gone.
    Departures(Box<DepartureReport>),
    /// It is done, to so many.
    Count(u64),
    /// How the node is.
    Status(Box<NodeStatus>),
    /// Queues, ordered by vhost and name.
    Queues(Vec<QueueInfo>),
    /// Messages, in the order in which they would be delivered.
    Messages(Vec<PeekedMessage>),
    /// Exchanges, ordered by vhost and name.
    Exchanges(Vec<ExchangeInfo>),
    /// Bindings, ordered by vhost, source, destination and key.
    Bindings(Vec<BindingInfo>),
    /// Connections, oldest first.
    Connections(Vec<ConnectionInfo>),
    /// Channels, ordered by connection and number.
    Channels(Vec<ChannelInfo>),
    /// Consumers, ordered by vhost and queue, and oldest first within one.
    Consumers(Vec<ConsumerInfo>),
}

/// An answer and the request it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminAnswer {
    /// The number of the request.
    pub id: AdminId,
    /// The answer.
    pub reply: Result<AdminReply, AdminError>,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminError {
    /// What kind of reason.
    pub kind: AdminErrorKind,
    /// The reason in words, for a person.
    pub text: String,
}

/// The kinds of reasons, as front ends tell them apart (HTTP statuses, exit codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminErrorKind {
    /// What it is about does not exist.
    NotFound,
    /// It makes no sense.
    BadRequest,
    /// It contradicts what is there.
    Conflict,
    /// It is not allowed.
    Refused,
}

impl AdminError {
    /// What it is about does not exist.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(AdminErrorKind::NotFound, text)
    }

    /// It makes no sense.
    pub fn bad_request(text: impl Into<String>) -> Self {
        Self::new(AdminErrorKind::BadRequest, text)
    }

    /// It contradicts what is there.
    pub fn conflict(text: impl Into<String>) -> Self {
        Self::new(AdminErrorKind::Conflict, text)
    }

    /// It is not allowed.
    pub fn refused(text: impl Into<String>) -> Self {
        Self::new(AdminErrorKind::Refused, text)
    }

    /// An error of this kind.
    pub fn new(kind: AdminErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

impl From<AmqpError> for AdminError {
    /// What a client would have been told.
    fn from(error: AmqpError) -> Self {
        let kind = match error.code {
            ReplyCode::NotFound => AdminErrorKind::NotFound,
            ReplyCode::PreconditionFailed => AdminErrorKind::Conflict,
            _ => AdminErrorKind::Refused,
        };
        Self::new(kind, error.reply_text().to_string_lossy())
    }
}
