//! What a group's log consists of.

use alloc::vec::Vec;
use bytes::Bytes;
use raft::eraftpb;

use super::members::{MemberChange, Members};
use crate::ids::NodeId;
use crate::storage::codec::Reader;

/// Terms and indexes are smaller than this, so that adding to them cannot overflow.
pub(super) const NUMBER_END: u64 = 1 << 62;

/// Which entry: index and term together name one entry of a group for ever (Raft §5.3, log matching).
///
/// The order is that of Raft §5.4.1: what is greater is more up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    /// The leadership during which it was proposed, from 1.
    pub term: u64,
    /// Its place in the log, from 1. 0 is in front of all.
    pub index: u64,
}

/// One entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub id: EntryId,
    /// What it says.
    pub content: Content,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A command for the state machine, in its own words. Empty for the entry with which each leader begins.
    Command(Bytes),
    /// The group's members change, here, when it is applied (Raft thesis §4.1).
    Members(MemberChange),
}

/// What a member must never forget: of elections (Raft §5.1, §5.2), and of changes of members that it has acted on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term it has seen.
    pub term: u64,
    /// Whom it voted for in that term; `None` is nobody yet.
    pub vote: Option<NodeId>,
    /// Up to which index all was known to be committed when this was written. It need not be the latest, but a member that has acted
    /// on a change of members may not fall back behind that: others may be gone by then.
    pub commit: u64,
}

/// Where a member's log begins, and what stands for all before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// The state machine's snapshot includes everything up to here. 0 for a member that knows nothing yet.
    pub snapshot: EntryId,
    /// The members as of then.
    pub members: Members,
    /// The last entry that is not kept; not after the snapshot.
    pub start: EntryId,
}

/// A state machine's place in its group's log: a snapshot taken there stands for all before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The last entry that it has applied.
    pub id: EntryId,
    /// The members as of then.
    pub members: Members,
}

const COMMAND: u8 = 0;
const MEMBERS: u8 = 1;

impl Content {
    /// A byte that says which, and the rest.
    pub(super) fn encode_kind(&self) -> (u8, Bytes) {
        match self {
            Self::Command(bytes) => (COMMAND, bytes.clone()),
            Self::Members(change) => {
                let mut out = Vec::new();
                change.encode(&mut out);
                (MEMBERS, Bytes::from(out))
            }
        }
    }

    pub(super) fn decode_kind(kind: u8, bytes: Bytes) -> Option<Self> {
        match kind {
            COMMAND => Some(Self::Command(bytes)),
            MEMBERS => {
                let mut reader = Reader(&bytes);
                let change = MemberChange::decode(&mut reader)?;
                reader.is_empty().then_some(Self::Members(change))
            }
            _ => None,
        }
    }
}

impl Entry {
    /// As `raft` knows it. A change of members travels in the context, which `raft` does not look into, in our own encoding.
    pub(super) fn to_raft(&self) -> eraftpb::Entry {
        let mut entry = eraftpb::Entry { term: self.id.term, index: self.id.index, ..Default::default() };
        let (kind, bytes) = self.content.encode_kind();
        if kind == MEMBERS {
            entry.set_entry_type(eraftpb::EntryType::EntryConfChange);
            entry.context = bytes;
        } else {
            entry.data = bytes;
        }
        entry
    }

    /// Back from `raft`.
    ///
    /// # Panics
    /// If it is none of ours: only checked entries are given to `raft`.
    pub(super) fn from_raft(entry: &eraftpb::Entry) -> Self {
        let id = EntryId { term: entry.term, index: entry.index };
        let (kind, bytes) = match entry.get_entry_type() {
            eraftpb::EntryType::EntryNormal => (COMMAND, entry.data.clone()),
            eraftpb::EntryType::EntryConfChange => (MEMBERS, entry.context.clone()),
            eraftpb::EntryType::EntryConfChangeV2 => unreachable!("changes of members are of the simple kind"),
        };
        Self { id, content: Content::decode_kind(kind, bytes).expect("entries are checked before they get in") }
    }
}
