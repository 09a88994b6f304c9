//! Everything the engine can ask of the world.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::event::Event;
use crate::ids::{ConnectionId, DiskOpId, LinkId, SegmentId};
use crate::management::AdminAnswer;

/// What is to be done, collected over one or more inputs and drained by the driver.
///
/// The driver owns it and reuses it, so that a step allocates nothing here. Each vector is in order; between vectors there is no
/// order except: a connection's `sends` come before its `controls`, and so for other nodes. Drivers take it apart without `..`, so that a further kind of
/// effect does not compile until each of them performs it.
#[derive(Debug, Default)]
pub struct Effects {
    /// Bytes for clients' sockets.
    pub sends: Vec<ClientSend>,
    /// Other orders about clients' sockets.
    pub controls: Vec<ClientControl>,
    /// Bytes for other nodes.
    pub peers: Vec<PeerSend>,
    /// Other orders about other nodes.
    pub peer_controls: Vec<PeerControl>,
    /// Work for the disk. Operations on one segment take effect in this order; every one is answered by exactly one input.
    pub disk: Vec<DiskRequest>,
    /// What happened, for logs, metrics and the simulator's oracles.
    pub events: Vec<Event>,
    /// Answers to [`crate::input::Input::Admin`].
    pub admin: Vec<AdminAnswer>,
    /// The node is to end. No input is accepted after it.
    pub stop: Option<Stop>,
}

impl Effects {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let Self { sends, controls, peers, peer_controls, disk, events, admin, stop } = self;
        sends.is_empty()
            && controls.is_empty()
            && peers.is_empty()
            && peer_controls.is_empty()
            && disk.is_empty()
            && events.is_empty()
            && admin.is_empty()
            && stop.is_none()
    }
}

/// Bytes to write to one client, after all that were sent to it before.
#[derive(Clone, Debug)]
pub struct ClientSend {
    /// To whom.
    pub connection: ConnectionId,
    /// Whole frames; several of these for one connection may go out in one write.
    pub bytes: Bytes,
}

/// An order about a client's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientControl {
    /// Stop reading from it, so that the client's own writes come to a halt.
    PauseReads(ConnectionId),
    /// Read from it again.
    ResumeReads(ConnectionId),
    /// Write out what was sent, then close. `Input::ClientClosed` follows. The driver gives up on a client that does not read
    /// after a few seconds and closes all the same.
    Close(ConnectionId),
}

/// Bytes to write to one node, after all that were sent over that link before. [`crate::input::Input::PeerWritten`] tells when they are.
#[derive(Clone, Debug)]
pub struct PeerSend {
    /// Over which link.
    pub link: LinkId,
    /// Several of these for one link may go out in one write.
    pub bytes: Bytes,
}

/// An order about another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerControl {
    /// Connect to the node of this name. `Input::PeerOpened` or `Input::PeerUnreachable` follows, unless it is abandoned.
    Dial(String),
    /// Give up connecting to it, if that is still under way.
    Abandon(String),
    /// Write out what was sent, end that direction, read on and drop what comes until the other side ends its own too or a few seconds
    /// have gone; then close. `Input::PeerClosed` follows.
    Close(LinkId),
}

/// One disk operation with its number.
#[derive(Clone, Debug)]
pub struct DiskRequest {
    /// Its number, for the answer.
    pub id: DiskOpId,
    /// What to do.
    pub op: DiskOp,
}

/// Work on the files of the node's log. All paths are the driver's affair; the engine only knows segments.
#[derive(Clone, Debug)]
pub enum DiskOp {
    /// Lists all segments. Answer: `DiskOutcome::Segments`.
    List,
    /// Makes a segment of `size` bytes and syncs it and its folder. All of its space is allocated, so that appends within it do
    /// not run out of space. Its bytes are zero, or, if `recycle` names a segment, that segment's old bytes: the file is renamed
    /// and nothing is zeroed. A file of that name is replaced: there is one if it could not be removed before. Answer:
    /// `DiskOutcome::Done`.
    Create {
        /// The segment to make.
        segment: SegmentId,
        /// Its size in bytes.
        size: u64,
        /// A segment that ends here and whose file may be used.
        recycle: Option<SegmentId>,
    },
    /// Writes `data` at `offset` and, if `sync`, makes it and all earlier appends durable (fdatasync). Answer: `DiskOutcome::Done`.
    Append {
        /// Where.
        segment: SegmentId,
        /// Byte offset in the segment.
        offset: u64,
        /// What; the parts follow each other.
        data: Vec<Bytes>,
        /// Whether the answer may come only when it is durable.
        sync: bool,
    },
    /// Reads `len` bytes at `offset`. Answer: `DiskOutcome::Data`.
    Read {
        /// Where.
        segment: SegmentId,
        /// Byte offset in the segment.
        offset: u64,
        /// How many bytes.
        len: u32,
    },
    /// Removes a segment. Answer: `DiskOutcome::Done`.
    Delete {
        /// Which.
        segment: SegmentId,
    },
}

/// Why the node ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A shutdown was asked for and is complete: everything written is durable.
    Clean,
    /// The disk does not hold what was written to it, and what this node remembers is to be given up: others have it, or the
    /// configuration says so. The driver puts all segments aside and starts the node again, with an empty disk and, if it is in a
    /// cluster, [`crate::config::ClusterConfig::has_given_up`]. A person reads this.
    Damaged(String),
    /// The node cannot go on without breaking a promise; a person reads this.
    Fatal(String),
}
