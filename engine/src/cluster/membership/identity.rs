//! Who a node is: what its disk remembers of that.
//!
//! # Format 1
//!
//! ```text
//! version 1 (1), disk v, boot v, cluster v, node v (0: belongs to none), is founder 1
//! ```

use alloc::vec::Vec;
use bytes::Bytes;

use crate::ids::NodeId;
use crate::storage::codec::{Reader, put_varint};

const VERSION: u8 = 1;

/// To which cluster a node belongs, and as which of its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The cluster's number: drawn when it was formed, so that no two are taken for one. Not 0.
    pub cluster: u64,
    /// The node's number in it.
    pub node: NodeId,
}

/// Who a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Drawn when its disk was first used: a node whose disk was lost is another one.
    pub(super) disk: u64,
    /// How often it was started, this time included. Written before it says anything, so that none is ever used twice.
    pub(super) boot: u64,
    /// `None` while it belongs to no cluster.
    pub(super) place: Option<Place>,
    /// Whether it formed the cluster: then the first members of the group are itself.
    pub(super) is_founder: bool,
}

impl Identity {
    pub(super) fn encode(&self) -> Bytes {
        let (cluster, node) = self.place.map_or((0, 0), |place| (place.cluster, place.node.0));
        let mut out = Vec::from([VERSION]);
        for number in [self.disk, self.boot, cluster, node] {
            put_varint(&mut out, number);
        }
        out.push(u8::from(self.is_founder));
        Bytes::from(out)
    }

    pub(super) fn decode(bytes: &Bytes) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.u8()? != VERSION {
            return None;
        }
        let (disk, boot) = (reader.varint()?, reader.varint()?);
        let (cluster, node) = (reader.varint()?, NodeId(reader.varint()?));
        let is_founder = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let place = (node.0 != 0).then_some(Place { cluster, node });
        let is_sound = reader.is_empty() && (cluster == 0) == place.is_none() && boot > 0;
        is_sound.then_some(Self { disk, boot, place, is_founder })
    }
}
