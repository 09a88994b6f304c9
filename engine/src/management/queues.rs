//! Queues: listing them, looking into them, and changing what is in them.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::amqp::{FieldTable, ShortStr};
use crate::ids::{ChannelNumber, ConnectionId, QueueId, QueueSeq};
use crate::metadata::{AppliedPolicies, QueueSettings};

/// What is asked about queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueRequest {
    /// All queues of the cluster, of one vhost or of all. Answered by [`super::AdminReply::Queues`].
    List {
        /// The vhost; `None` is all.
        vhost: Option<ShortStr>,
    },
    /// Deletes a queue, for all that use it. Answered by [`super::AdminReply::Count`]: the ready messages that went with it.
    Delete {
        /// Which.
        queue: QueueName,
        /// Only if it holds no ready messages.
        if_empty: bool,
        /// Only if it has no consumers.
        if_unused: bool,
    },
    /// Removes messages that wait for a consumer. Answered by [`super::AdminReply::Count`].
    Purge {
        /// Which queue.
        queue: QueueName,
        /// At most so many, the oldest; `None` is all.
        count: Option<u64>,
    },
    /// Shows messages that wait for a consumer and changes nothing: not their order, nor their redelivered flag. Answered by
    /// [`super::AdminReply::Messages`].
    Peek {
        /// Which queue.
        queue: QueueName,
        /// Which messages.
        selection: Selection,
    },
    /// Delivers nothing until [`QueueRequest::Resume`] or a restart of the node; publishers go on.
    Pause(QueueName),
    /// Ends a pause.
    Resume(QueueName),
    /// Moves messages that wait for a consumer to the end of another queue of the vhost. A crash in between leaves a message in both
    /// rather than in neither. Answered by [`super::AdminReply::Count`].
    Move {
        /// From where.
        queue: QueueName,
        /// The name of the queue they go to.
        destination: ShortStr,
        /// Which messages.
        selection: Selection,
    },
    /// Removes selected messages that wait for a consumer. Answered by [`super::AdminReply::Count`].
    DeleteMessages {
        /// From where.
        queue: QueueName,
        /// Which messages.
        selection: Selection,
    },
}

/// A queue by its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueName {
    /// Its vhost.
    pub vhost: ShortStr,
    /// Its own.
    pub name: ShortStr,
}

/// Which of the messages that wait for a consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Leave out so many from the head.
    pub offset: u64,
    /// At most so many, after that; `None` is all.
    pub count: Option<u64>,
    /// Only those with this `message-id` property. It is looked at before `offset` and `count` are.
    pub message_id: Option<ShortStr>,
}

/// One queue as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueInfo {
    /// Its incarnation.
    pub id: QueueId,
    /// The name of the node that it is on, or that leads it.
    pub node: String,
    /// Its vhost.
    pub vhost: ShortStr,
    /// Its name.
    pub name: ShortStr,
    /// Its type, as in `x-queue-type`.
    pub kind: &'static str,
    /// Whether it survives a restart.
    pub durable: bool,
    /// Whether it goes with its last consumer.
    pub auto_delete: bool,
    /// The only connection that may use it.
    pub owner: Option<ConnectionId>,
    /// Its arguments, as they were declared.
    pub arguments: FieldTable,
    /// What it does.
    pub state: QueueState,
    /// Messages waiting for a consumer.
    pub messages_ready: u64,
    /// Messages delivered and not yet acked.
    pub messages_unacked: u64,
    /// Bytes of the bodies of those that wait.
    pub ready_bytes: u64,
    /// Bytes of the bodies of those not yet acked.
    pub unacked_bytes: u64,
    /// Messages that came back and wait for their time.
    pub messages_delayed: u64,
    /// Bytes of the bodies of those.
    pub delayed_bytes: u64,
    /// Bytes of the bodies that it holds in memory.
    pub memory_bytes: u64,
    /// Consumers.
    pub consumers: u64,
    /// The only consumer that gets messages: because it is exclusive, or because the queue has a single active consumer.
    pub only_consumer: Option<OnlyConsumer>,
    /// The node that leads it; `None` for types without a leader, and while nobody does.
    pub leader: Option<String>,
    /// The nodes with its replicas; none for types without.
    pub members: Vec<String>,
    /// Those of them that can be reached.
    pub online: Vec<String>,
    /// Those of them that have caught up and have a vote: one of them can lead when the leader goes.
    pub synchronised: Vec<String>,
    /// Whether it, or a replica of it, is on the node that was asked.
    pub is_local: bool,
    /// The policies that apply to it; `None` if none does.
    pub policies: Option<Box<AppliedPolicies>>,
    /// What its arguments and its policies come to: what the queue really does.
    pub settings: Box<QueueSettings>,
}

/// The consumer of a queue that serves one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnlyConsumer {
    /// Whose it is.
    pub connection: ConnectionId,
    /// On which of its channels.
    pub channel: ChannelNumber,
    /// Whether it asked for the queue alone. Otherwise it is the active one of several.
    pub exclusive: bool,
}

/// What a queue does, as RabbitMQ and LavinMQ name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueState {
    /// Messages move, or wait for consumers.
    Running,
    /// It delivers nothing until an operator resumes it.
    Paused,
    /// The node on which it is cannot be reached, so what is in it is not known.
    Down,
    /// Most of its replicas cannot be reached, so nobody leads it.
    Minority,
}

impl QueueState {
    /// Its name in listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Down => "down",
            Self::Minority => "minority",
        }
    }
}

/// A message as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeekedMessage {
    /// Its place in the queue, which it keeps.
    pub seq: QueueSeq,
    /// Whether a consumer may have seen it.
    pub redelivered: bool,
    /// The exchange it was published to.
    pub exchange: ShortStr,
    /// The routing key it was published with.
    pub routing_key: ShortStr,
    /// Its properties.
    pub properties: Arc<crate::amqp::Properties>,
    /// Its body.
    pub body: Bytes,
}

impl QueueName {
    /// How messages for operators name it, in RabbitMQ's form.
    pub(crate) fn quoted(&self) -> String {
        alloc::format!("queue '{}' in vhost '{}'", self.name, self.vhost)
    }
}
