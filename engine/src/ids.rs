//! Names for things that are counted, so that none can be taken for another.

use core::fmt;

/// Defines a number with a name: ordered, printable, made and read explicitly.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

pub(crate) use id;

id! {
    /// A client connection, numbered by the driver and never reused within one boot.
    ConnectionId(u64)
}
id! {
    /// A channel's number within its connection; 0 is the connection itself (AMQP 0-9-1 §2.3.5).
    ChannelNumber(u16)
}
id! {
    /// One incarnation of a queue. A queue deleted and declared again under the same name has another id, so nothing that was
    /// meant for the older one (an ack, a log record, a late clean-up) can reach the younger.
    QueueId(u64)
}
id! {
    /// A message's place in its queue: given at enqueue, counting up, kept when the message is requeued.
    QueueSeq(u64)
}
id! {
    /// A delivery's number within its channel, from 1 (AMQP 0-9-1 §1.1).
    DeliveryTag(u64)
}
id! {
    /// A publish's number within its channel since `confirm.select`, from 1 (RabbitMQ docs: Publisher Confirms).
    PublishSeqno(u64)
}
id! {
    /// A byte position in the node's log, counted from the log's first byte ever written.
    Lsn(u64)
}
id! {
    /// A segment of the node's log, counted from 1 and never reused, even where its file is recycled.
    SegmentId(u64)
}
id! {
    /// One administrative request, numbered by the driver, answered exactly once.
    AdminId(u64)
}
id! {
    /// One disk operation, answered by exactly one completion.
    DiskOpId(u64)
}
id! {
    /// A node of a cluster, from 1. A node that lost its disk comes back under another number: others count on what it remembered.
    NodeId(u64)
}
id! {
    /// How often a node had been started: a restarted node is not what it was.
    Boot(u64)
}
id! {
    /// A connection to another node, numbered by the driver and never reused within one boot.
    LinkId(u64)
}
id! {
    /// A group of replicas that agree on one sequence of commands.
    GroupId(u64)
}

impl QueueSeq {
    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl ChannelNumber {
    /// The connection itself.
    pub const CONNECTION: Self = Self(0);
}
