//! The replicated state as one value: in the node's log, and on its way to a node that was away for too long.
//!
//! # Format 1
//!
//! ```text
//! version 1 (1), term v, index v, roster, the embedder's state up to the end
//! ```

use alloc::vec::Vec;
use bytes::Bytes;

use super::roster::Roster;
use crate::cluster::consensus::EntryId;
use crate::storage::codec::{Reader, put_varint};

const VERSION: u8 = 1;

/// The state as it is after an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) id: EntryId,
    pub(super) roster: Roster,
    /// What the embedder keeps.
    pub(super) other: Bytes,
}

impl State {
    pub(super) fn encode(id: EntryId, roster: &Roster, other: &[u8]) -> Bytes {
        let mut out = Vec::from([VERSION]);
        put_varint(&mut out, id.term);
        put_varint(&mut out, id.index);
        roster.encode(&mut out);
        out.extend_from_slice(other);
        Bytes::from(out)
    }

    pub(super) fn decode(bytes: &Bytes) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.u8()? != VERSION {
            return None;
        }
        let id = EntryId { term: reader.varint()?, index: reader.varint()? };
        let roster = Roster::decode(&mut reader)?;
        Some(Self { id, roster, other: bytes.slice_ref(reader.0) })
    }
}
