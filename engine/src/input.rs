//! Everything the world can tell the engine.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::net::SocketAddr;

use crate::alarm::ResourceLevel;
use crate::ids::{AdminId, ConnectionId, DiskOpId, LinkId, SegmentId};
use crate::management::AdminRequest;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A client's socket was accepted. The driver chooses the id and never uses it again.
    ClientOpened {
        /// The new connection.
        connection: ConnectionId,
        /// The client's address; decides whether it counts as loopback.
        peer: SocketAddr,
        /// The address it connected to.
        local: SocketAddr,
    },
    /// Bytes arrived from a client.
    ClientReceived {
        /// From whom.
        connection: ConnectionId,
        /// Any split of the byte stream.
        bytes: Bytes,
    },
    /// The operating system took bytes that the engine had sent. Until it is told, the engine counts them as waiting. It may be told late
    /// of less than [`OUTBOX_LOW_BYTES`](crate::limits::OUTBOX_LOW_BYTES), but before the next [`Input::Timeout`].
    ClientWritten {
        /// Which connection.
        connection: ConnectionId,
        /// How many bytes.
        bytes: usize,
    },
    /// A client's socket is gone: it closed, reset, or the driver finished closing it. Nothing follows for this id.
    ClientClosed {
        /// Which connection.
        connection: ConnectionId,
    },
    /// There is a connection to another node, or to what says it is one. The driver chooses the id and never uses it again.
    PeerOpened {
        /// The new connection.
        link: LinkId,
        /// The node that was dialed, as [`PeerControl::Dial`](crate::effect::PeerControl::Dial) named it; `None` if it was accepted.
        dialed: Option<String>,
    },
    /// A node could not be dialed: its address is unknown, or nobody answers there.
    PeerUnreachable {
        /// As [`PeerControl::Dial`](crate::effect::PeerControl::Dial) named it.
        name: String,
    },
    /// Bytes arrived from another node.
    PeerReceived {
        /// Over which link.
        link: LinkId,
        /// Any split of the byte stream.
        bytes: Bytes,
    },
    /// The operating system took bytes that were for another node. It may be told late of less than
    /// [`LINK_WINDOW_BYTES`](crate::limits::LINK_WINDOW_BYTES), but before the next [`Input::Timeout`].
    PeerWritten {
        /// Over which link.
        link: LinkId,
        /// How many bytes.
        bytes: usize,
    },
    /// A connection to another node is gone. Nothing follows for this id.
    PeerClosed {
        /// Which one.
        link: LinkId,
    },
    /// A disk operation ended well.
    DiskDone {
        /// Which operation.
        op: DiskOpId,
        /// What it brought.
        outcome: DiskOutcome,
    },
    /// A disk operation failed.
    DiskFailed {
        /// Which operation.
        op: DiskOpId,
        /// Why.
        error: DiskError,
    },
    /// What the node has left of memory and disk was measured; `Engine::resource_sample_interval` says when to do it again.
    ResourceLevel(ResourceLevel),
    /// An operator wants to know or to change something. Answered by exactly one [`crate::management::AdminAnswer`], unless the node ends first.
    Admin {
        /// The driver's number for it.
        id: AdminId,
        /// What is asked.
        request: Box<AdminRequest>,
    },
    /// The time asked for by `Engine::next_timeout` has come (or any other wake-up: being early does no harm).
    Timeout,
    /// The operator asks the node to stop: clients are told, the log is synced, then [`crate::effect::Stop`] follows.
    Shutdown,
}

/// What a successful disk operation brings, by the kind of operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOutcome {
    /// All segments present, in ascending order of id, each with its size in bytes.
    Segments(Vec<(SegmentId, u64)>),
    /// The operation left nothing to tell: created, appended (and synced if asked), deleted.
    Done,
    /// The bytes read; shorter than asked only where the segment ends.
    Data(Bytes),
}

/// Why a disk operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// No space left (ENOSPC, EDQUOT). Nothing of the operation may be taken as written; it may be tried again.
    NoSpace,
    /// Anything else. After a failed append or sync the file's unsynced content is unknown, so it is never tried again.
    Io,
}
