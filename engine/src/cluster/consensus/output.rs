//! What the groups ask of their node, and tell it.

use alloc::vec::Vec;
use bytes::Bytes;

use super::entry::{Base, Content, Entry, EntryId, HardState};
use crate::ids::{GroupId, NodeId};

/// One batch of writes; batches complete in ascending order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What is to be done and what has happened, collected over one or more calls and drained by the embedder.
///
/// Each vector is in order. `writes` come first: what is in `messages` and `applied` may be acted on before those are durable.
#[derive(Debug, Default)]
pub struct Outputs {
    /// What has to survive. When all writes of a ticket are durable, the embedder calls `Groups::persisted` with it.
    pub writes: Vec<Write>,
    /// Bytes for other nodes, at most one message each per flush.
    pub messages: Vec<PeerMessage>,
    /// What the state machines have to apply. Everything here is committed, and durable on this node unless that [leads
    /// ahead](super::Groups::lead_ahead).
    pub applied: Vec<Applied>,
    /// Who leads, where that has changed.
    pub leaders: Vec<LeaderChange>,
    /// Entries that are needed from the node's log.
    pub fetches: Vec<Fetch>,
    /// Snapshots that are to be made or taken.
    pub snapshots: Vec<SnapshotNeed>,
    /// Reads that may be answered.
    pub reads: Vec<ReadReady>,
}

impl Outputs {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let Self { writes, messages, applied, leaders, fetches, snapshots, reads } = self;
        writes.is_empty()
            && messages.is_empty()
            && applied.is_empty()
            && leaders.is_empty()
            && fetches.is_empty()
            && snapshots.is_empty()
            && reads.is_empty()
    }
}

/// One write of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The batch that it belongs to.
    pub ticket: Ticket,
    /// Whose.
    pub group: GroupId,
    /// What.
    pub record: Record,
}

/// What a group writes. Read back in the order in which they were written, and cut off anywhere, records give the state that was
/// promised by the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An entry. What the log had at its index and after that is void.
    Entry {
        /// The entry.
        entry: Entry,
        /// Up to which index all was known to be committed. After a restart the members are at least those of then.
        commit: u64,
    },
    /// The latest vote; earlier ones are void. What is committed only grows.
    HardState(HardState),
    /// The log begins somewhere else. Entries up to the start of it are void, unless the state machine still needs something of them.
    Compacted(Base),
    /// The log is replaced: all entries are void.
    Installed(Base),
}

/// Bytes for another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerMessage {
    /// To whom.
    pub to: NodeId,
    /// What `Groups::receive` takes there.
    pub bytes: Bytes,
}

/// One thing for a state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Whose.
    pub group: GroupId,
    /// Up to which entry the state machine is, after this.
    pub id: EntryId,
    /// What.
    pub what: Apply,
}

/// What a state machine does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Apply {
    /// It applies an entry. A change of members has taken effect in the group already.
    Entry(Content),
    /// It becomes what the snapshot says that `Groups::accept_snapshot` was called for.
    Snapshot,
}

/// Who leads a group, as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderChange {
    /// Which group.
    pub group: GroupId,
    /// Since which term.
    pub term: u64,
    /// `None` while there is none, or it is not known.
    pub leader: Option<NodeId>,
}

/// Entries that left the memory and are needed for a member that lags behind. Answered by `Groups::fetched`, with as many of them as
/// the embedder likes, but from the first on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Which group.
    pub group: GroupId,
    /// The index of the first.
    pub first: u64,
    /// The index of the last that is of use.
    pub last: u64,
}

/// Something about snapshots that the embedder has to see to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotNeed {
    /// A member lags behind further than the log reaches: `Groups::offer_snapshot` is to be called. Repeated until that helps.
    Make {
        /// Which group.
        group: GroupId,
        /// For whom.
        to: NodeId,
    },
    /// The leader offers one. When all of it is here, and durable, `Groups::accept_snapshot` is to be called; then
    /// [`Apply::Snapshot`] follows, unless it is of no use any more. A later offer replaces an earlier one.
    Take {
        /// Which group.
        group: GroupId,
        /// The leader.
        from: NodeId,
        /// What it includes.
        id: EntryId,
        /// What the leader's embedder gave along: all of it, or where to get it.
        data: Bytes,
    },
}

/// A read may be answered once everything up to an index is applied (Raft thesis §6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadReady {
    /// Which group.
    pub group: GroupId,
    /// The embedder's number for the read.
    pub token: u64,
    /// The index that must be applied first.
    pub index: u64,
}
