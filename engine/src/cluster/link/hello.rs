//! The first thing that a node says.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use super::who::{Versions, Who, is_node_name};
use crate::ids::NodeId;
use crate::storage::codec::Reader;

/// Bytes of the random number that makes a handshake unlike all others.
pub(super) const NONCE_BYTES: usize = 32;
const CLUSTER: u8 = 1;
const NODE: u8 = 2;
const FLAGS: u8 = 3;

/// Who a node is, and what it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) versions: Versions,
    pub(super) who: Who,
    pub(super) nonce: [u8; NONCE_BYTES],
}

impl Hello {
    /// # Panics
    /// If the name is none, the number of the node is 0, or the versions are in the wrong order: nobody would understand it.
    pub(super) fn encode(&self) -> Bytes {
        let Self { versions, who, nonce } = self;
        assert!(is_node_name(&who.name), "{:?} is no name for a node", who.name);
        assert!(who.node != Some(NodeId(0)), "nodes are counted from 1");
        assert!(versions.lowest <= versions.highest, "{versions:?}");
        let mut out = Vec::new();
        out.extend_from_slice(&versions.lowest.to_le_bytes());
        out.extend_from_slice(&versions.highest.to_le_bytes());
        out.push(u8::try_from(who.name.len()).expect("names have at most 255 bytes"));
        out.extend_from_slice(who.name.as_bytes());
        let flag = |flag, is_set| if is_set { flag } else { 0 };
        out.push(flag(CLUSTER, who.cluster.is_some()) | flag(NODE, who.node.is_some()));
        let node = who.node.map_or(0, |node| node.0);
        for number in [who.cluster.unwrap_or(0), node, who.disk, who.boot] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(nonce);
        Bytes::from(out)
    }

    /// Reads one of any version. What later versions append is left alone; the proofs cover it all the same.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let versions = Versions { lowest: reader.u16()?, highest: reader.u16()? };
        let length = usize::from(reader.u8()?);
        let name = core::str::from_utf8(reader.take(length)?).ok().filter(|name| is_node_name(name))?;
        let flags = reader.u8().filter(|flags| flags & !FLAGS == 0)?;
        // What a flag leaves out is 0, and what it lets in is a number that there is.
        let cluster = optional(reader.u64()?, flags & CLUSTER != 0)?;
        let node = optional(reader.u64()?, flags & NODE != 0)?.map(NodeId);
        let (disk, boot) = (reader.u64()?, reader.u64()?);
        let nonce = reader.take(NONCE_BYTES)?.try_into().ok()?;
        let is_sound = versions.lowest <= versions.highest && node != Some(NodeId(0));
        let who = Who { name: String::from(name), cluster, node, disk, boot };
        is_sound.then_some(Self { versions, who, nonce })
    }
}

fn optional(number: u64, is_there: bool) -> Option<Option<u64>> {
    match (is_there, number) {
        (true, number) => Some(Some(number)),
        (false, 0) => Some(None),
        (false, _) => None,
    }
}
