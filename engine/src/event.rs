//! Facts about what the engine did, for logs, metrics and the simulator's oracles.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::ids::{ChannelNumber, ConnectionId, Lsn, NodeId, PublishSeqno, QueueId, QueueSeq};
pub use crate::queue::{LeaveReason, LeftTo};

/// One fact. Those marked *fine* are reported only where [`crate::config::Config::fine_events`] is set: they come once per message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Recovery is over and clients are welcome.
    Ready {
        /// Messages found.
        messages: u64,
        /// Queues found.
        queues: u64,
        /// Bytes of the log's unfinished end that were cut off, because a crash had left them torn.
        truncated_bytes: u64,
    },
    /// A client passed authentication and opened a vhost.
    ConnectionOpened {
        /// Which connection.
        connection: ConnectionId,
        /// From where.
        peer: SocketAddr,
        /// As whom.
        user: String,
    },
    /// A connection ended.
    ConnectionClosed {
        /// Which connection.
        connection: ConnectionId,
        /// In words, for the log.
        reason: String,
    },
    /// A channel was closed because of a client's mistake.
    ChannelFailed {
        /// Whose.
        connection: ConnectionId,
        /// Which channel.
        channel: ChannelNumber,
        /// The full reply text sent.
        text: String,
    },
    /// A consumer took too long to ack: it was cancelled, and what it had went back to its queue.
    ConsumerTimedOut {
        /// Whose.
        connection: ConnectionId,
        /// On which channel.
        channel: ChannelNumber,
        /// The consumer's tag.
        consumer_tag: String,
    },
    /// Clients are let in again.
    ServesClients,
    /// No clients are let in until [`Event::ServesClients`], and those that were there are turned away.
    ServesNoClients {
        /// In words.
        why: &'static str,
    },
    /// Publishers are stopped until [`Event::AlarmCleared`].
    AlarmRaised {
        /// "disk" or "memory".
        resource: &'static str,
    },
    /// Publishers go on.
    AlarmCleared {
        /// "disk" or "memory".
        resource: &'static str,
    },
    /// There is a link to another node.
    PeerUp {
        /// Its name.
        name: String,
    },
    /// A link to another node is gone, or did not come about.
    PeerDown {
        /// Its name; `None` if it never said one.
        name: Option<String>,
        /// Why, and what to do about it.
        reason: String,
    },
    /// The node belongs to a cluster, from here on or again.
    ClusterEntered {
        /// The cluster's number.
        cluster: u64,
        /// The node's number in it.
        node: NodeId,
    },
    /// Nodes came into the cluster or left it.
    ClusterNodes {
        /// The names of those that are in it.
        names: Vec<String>,
    },
    /// All nodes of the cluster speak this version of the protocol between them: what it brought is used from here on.
    ClusterVersion {
        /// The version.
        version: u16,
    },
    /// Another node leads the cluster.
    ClusterLeader {
        /// Its name; `None` while nobody does, or it is not known.
        leader: Option<String>,
        /// Since which term.
        term: u64,
    },
    /// A policy has come to mirror a queue of this node: it is about to get replicas. Until it has, nobody is given anything of it.
    BecomesReplicated {
        /// Its vhost.
        vhost: String,
        /// Its name.
        queue: String,
    },
    /// It has.
    IsReplicated {
        /// Its vhost.
        vhost: String,
        /// Its name.
        queue: String,
    },
    /// A policy would mirror a queue that cannot have replicas: it stays on this node alone.
    StaysOnOneNode {
        /// Its vhost.
        vhost: String,
        /// Its name.
        queue: String,
    },
    /// A queue exists from here on.
    QueueCreated {
        /// Its incarnation.
        queue: QueueId,
        /// Its name.
        name: String,
        /// Whether it survives a restart.
        durable: bool,
    },
    /// A queue is gone with all its messages.
    QueueDeleted {
        /// Its incarnation.
        queue: QueueId,
    },
    /// *Fine.* A message entered a queue.
    Enqueued {
        /// The queue.
        queue: QueueId,
        /// Its place there.
        seq: QueueSeq,
        /// The record's position if it went to the log.
        lsn: Option<Lsn>,
        /// Who published it, on which channel; `None` for what the broker itself publishes.
        publisher: Option<(ConnectionId, ChannelNumber)>,
        /// The number of the publish, if the channel is in confirm mode.
        seqno: Option<PublishSeqno>,
    },
    /// *Fine.* A message left a queue for good: acked, dropped or purged.
    Settled {
        /// The queue.
        queue: QueueId,
        /// Its place there.
        seq: QueueSeq,
        /// Position from which on the log knows; the settlement is durable once the log is, up to and including it. `None` for
        /// messages the log never knew.
        lsn: Option<Lsn>,
    },
    /// *Fine.* A message left a queue without having been acked. [`Event::Settled`] follows.
    Left {
        /// The queue.
        queue: QueueId,
        /// Its place there.
        seq: QueueSeq,
        /// Why.
        reason: LeaveReason,
        /// What became of it.
        to: LeftTo,
    },
    /// *Fine.* A publish was confirmed positively to its publisher.
    Confirmed {
        /// Whose.
        connection: ConnectionId,
        /// Which channel.
        channel: ChannelNumber,
        /// Which publish.
        seqno: PublishSeqno,
    },
}
