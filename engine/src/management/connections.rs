//! Connections, channels and consumers: listing them, and closing connections.

use alloc::string::String;
use core::net::SocketAddr;

use crate::amqp::{FieldTable, ShortStr};
use crate::ids::{ChannelNumber, ConnectionId};
use crate::time::Timestamp;

/// What is asked about connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionRequest {
    /// All connections. Answered by [`super::AdminReply::Connections`].
    List,
    /// All channels. Answered by [`super::AdminReply::Channels`].
    ListChannels,
    /// All consumers, of one vhost or of all. Answered by [`super::AdminReply::Consumers`].
    ListConsumers {
        /// The vhost; `None` is all.
        vhost: Option<ShortStr>,
    },
    /// Closes connections with reply code 320. Answered by [`super::AdminReply::Count`].
    Close {
        /// Which.
        which: ConnectionSelection,
        /// What their clients are told.
        reason: String,
    },
}

/// Which connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionSelection {
    /// This one. It is an error if it is not there.
    One {
        /// The name of the node that it is on; empty is the node that is asked.
        node: String,
        /// Its number there.
        id: ConnectionId,
    },
    /// The one with this name, as [`ConnectionInfo::name`] has it. It is an error if it is not there.
    Named(String),
    /// Those that have opened this vhost.
    OfVhost(ShortStr),
    /// Those of this user.
    OfUser(ShortStr),
    /// All.
    All,
}

impl ConnectionSelection {
    /// Whether it is one connection or none.
    pub(crate) fn is_of_one(&self) -> bool {
        match self {
            Self::One { .. } | Self::Named(_) => true,
            Self::OfVhost(_) | Self::OfUser(_) | Self::All => false,
        }
    }
}

/// One connection as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionInfo {
    /// The name of the node that it is on.
    pub node: String,
    /// Its number there.
    pub id: ConnectionId,
    /// The client's address.
    pub peer: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// Whose it is; empty before authentication.
    pub user: String,
    /// What it has opened; empty before that.
    pub vhost: ShortStr,
    /// What it does.
    pub state: ConnectionState,
    /// Open channels.
    pub channels: u64,
    /// Channels it may open; 0 is any number.
    pub channel_max: u16,
    /// Bytes of the largest frame.
    pub frame_max: u32,
    /// The heartbeat agreed on, in seconds; 0 is none.
    pub heartbeat_s: u64,
    /// How it logged in; empty before that.
    pub mechanism: String,
    /// What its client said about itself.
    pub client_properties: FieldTable,
    /// When it was accepted.
    pub connected_at: Timestamp,
    /// Bytes received from it.
    pub received_bytes: u64,
    /// Bytes that wait for its socket.
    pub waiting_bytes: u64,
}

impl ConnectionInfo {
    /// The name that RabbitMQ gives it: where it comes from and where it leads.
    pub fn name(&self) -> String {
        alloc::format!("{} -> {}", self.peer, self.local)
    }
}

/// What a connection does, as RabbitMQ names it (RabbitMQ docs: Connections, Flow Control).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// It logs in.
    Starting,
    /// It may do everything.
    Running,
    /// It is not read for a moment, until what it asked for is done.
    Flow,
    /// Something is short; it is stopped at its next publish.
    Blocking,
    /// Something is short, and it has published: it is not read.
    Blocked,
    /// It was told to close.
    Closing,
}

impl ConnectionState {
    /// Its name in listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Flow => "flow",
            Self::Blocking => "blocking",
            Self::Blocked => "blocked",
            Self::Closing => "closing",
        }
    }
}

/// One channel as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelInfo {
    /// The name of the node that it is on.
    pub node: String,
    /// Whose it is.
    pub connection: ConnectionId,
    /// Which of that connection's.
    pub number: ChannelNumber,
    /// Where its connection comes from and leads; see [`ConnectionInfo::name`].
    pub connection_name: String,
    /// The connection's user.
    pub user: String,
    /// The connection's vhost.
    pub vhost: ShortStr,
    /// Consumers.
    pub consumers: u64,
    /// Deliveries that are not acked.
    pub messages_unacked: u64,
    /// Publishes that are not confirmed.
    pub messages_unconfirmed: u64,
    /// Publishes in the open transaction.
    pub messages_uncommitted: u64,
    /// Acks in the open transaction.
    pub acks_uncommitted: u64,
    /// Whether publishes are confirmed.
    pub is_confirming: bool,
    /// Whether it is in transactions.
    pub is_transactional: bool,
    /// How many deliveries each further consumer may have unacked; 0 is any number.
    pub prefetch: u16,
    /// How many deliveries all its consumers together may have unacked; 0 is any number.
    pub prefetch_global: u16,
}

/// One consumer as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerInfo {
    /// The name of the node that its connection is on.
    pub node: String,
    /// The vhost.
    pub vhost: ShortStr,
    /// The queue.
    pub queue: ShortStr,
    /// Whose it is.
    pub connection: ConnectionId,
    /// On which of its channels.
    pub channel: ChannelNumber,
    /// Its tag.
    pub tag: ShortStr,
    /// Whether deliveries have to be acked.
    pub ack_required: bool,
    /// Whether nobody else may consume from the queue.
    pub exclusive: bool,
    /// How many deliveries may be unacked; 0 is any number.
    pub prefetch: u32,
    /// Whether it gets messages: all do, unless the queue has a single active consumer that is another.
    pub active: bool,
    /// Whether it is the one that gets messages of a queue that has a single active consumer.
    pub single_active: bool,
    /// Its arguments.
    pub arguments: FieldTable,
}
