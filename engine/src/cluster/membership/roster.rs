//! The nodes of a cluster, and what each of them has asked for: the part of the replicated state that is the cluster's own.
//!
//! # Format 1
//!
//! *v* is a number of 1 to 10 bytes, seven bits each, lowest first.
//!
//! ```text
//! roster      version 1 (1), next node v, count v of nodes, nodes, count v of askers, askers
//! node        node v, disk v, name: length v and bytes
//! asker       node v, boot v, last v
//! ```
//!
//! # Format 2
//!
//! Written once a node has come back with another disk: after the askers, count v of successions, each the node that went v and the
//! one that came v.
//!
//! # Format 3
//!
//! Written once the cluster has a higher version than the first: after the successions, of which there may be none, version v.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::cluster::version;
use crate::ids::NodeId;
use crate::limits;
use crate::mutants::{Mutant, is_planted};
use crate::storage::codec::{Reader, put_varint};

const VERSION: u8 = 1;
const VERSION_2: u8 = 2;
const VERSION_3: u8 = 3;

/// One node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name, as `rabbit@host`.
    pub name: String,
    /// The number of its disk.
    pub disk: u64,
}

/// A change of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A node comes in. If there is one of the same name with another disk, that one has lost its memory and goes.
    Admit(Node),
    /// A node goes.
    Forget(NodeId),
    /// All nodes speak this version of the protocol. Nothing if another one has come in since that was seen.
    Raise {
        /// The version.
        to: u16,
        /// [`Roster::next`] when that was seen.
        next: u64,
    },
}

/// The nodes of a cluster. The same on all of them after the same commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Roster {
    next: u64,
    nodes: BTreeMap<NodeId, Node>,
    /// Up to which number the commands of each node's boot were carried out.
    askers: BTreeMap<NodeId, (u64, u64)>,
    /// Who came back for nodes that had lost their memory, until too many have.
    successors: BTreeMap<NodeId, NodeId>,
    /// See [`version`].
    version: u16,
}

impl Default for Roster {
    fn default() -> Self {
        let (nodes, askers, successors) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { next: 1, nodes, askers, successors, version: version::FIRST }
    }
}

impl Roster {
    /// All nodes, in the order of their numbers.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().map(|(id, node)| (*id, node))
    }

    /// The number of the node that comes next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// What all nodes understand: see [`version`].
    pub(super) fn version(&self) -> u16 {
        self.version
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// Whether the node was one of them and is no more.
    pub(super) fn is_gone(&self, id: NodeId) -> bool {
        id.0 < self.next && !self.nodes.contains_key(&id)
    }

    /// The node of the same name that came for one that is gone; `None` if none did, or it is gone as well.
    pub(super) fn successor(&self, gone: NodeId) -> Option<NodeId> {
        // They come later, so this ends.
        let mut node = *self.successors.get(&gone)?;
        while let Some(next) = self.successors.get(&node) {
            node = *next;
        }
        self.nodes.contains_key(&node).then_some(node)
    }

    /// The number of a node with this name and disk.
    pub(super) fn find(&self, name: &str, disk: u64) -> Option<NodeId> {
        let is_same = |of_node: u64| of_node == disk || is_planted(Mutant::ClusterDiskForgotten);
        self.nodes().find(|(_, node)| node.name == name && is_same(node.disk)).map(|(id, _)| id)
    }

    /// The number of the node with this name.
    pub(super) fn named(&self, name: &str) -> Option<NodeId> {
        self.nodes().find(|(_, node)| node.name == name).map(|(id, _)| id)
    }

    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Admit(node) => {
                if self.find(&node.name, node.disk).is_some() {
                    return;
                }
                if let Some(old) = self.named(&node.name) {
                    self.remove(old);
                    self.successors.insert(old, NodeId(self.next));
                    while self.successors.len() > limits::NODE_SUCCESSORS_MAX {
                        self.successors.pop_first();
                    }
                }
                self.nodes.insert(NodeId(self.next), node);
                self.next += 1;
            }
            Change::Forget(id) => self.remove(id),
            Change::Raise { to, next } => {
                if next == self.next {
                    self.version = self.version.max(to);
                }
            }
        }
    }

    fn remove(&mut self, id: NodeId) {
        self.nodes.remove(&id);
        self.askers.remove(&id);
    }

    /// Whether a command of a node is the next that it asked for in this life of it; then it is noted.
    pub(super) fn is_next(&mut self, node: NodeId, boot: u64, number: u64) -> bool {
        if self.is_gone(node) {
            return false;
        }
        let (of_boot, last) = self.askers.get(&node).copied().unwrap_or_default();
        let is_next = if boot == of_boot { number == last + 1 } else { boot > of_boot && number == 1 };
        let is_next = is_next || is_planted(Mutant::ClusterCommandTwice);
        if is_next {
            self.askers.insert(node, (boot, number));
        }
        is_next
    }

    /// The last command of a node's boot that was carried out.
    pub(super) fn last_of(&self, node: NodeId, boot: u64) -> Option<u64> {
        self.askers.get(&node).filter(|(of_boot, _)| *of_boot == boot).map(|(_, last)| *last)
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let format = match (self.version > version::FIRST, self.successors.is_empty()) {
            (true, _) => VERSION_3,
            (false, false) => VERSION_2,
            (false, true) => VERSION,
        };
        out.push(format);
        put_varint(out, self.next);
        put_varint(out, self.nodes.len() as u64);
        for (id, node) in &self.nodes {
            put_varint(out, id.0);
            node.encode(out);
        }
        put_varint(out, self.askers.len() as u64);
        for (id, (boot, last)) in &self.askers {
            for number in [id.0, *boot, *last] {
                put_varint(out, number);
            }
        }
        if format >= VERSION_2 {
            put_varint(out, self.successors.len() as u64);
            for (gone, successor) in &self.successors {
                put_varint(out, gone.0);
                put_varint(out, successor.0);
            }
        }
        if format >= VERSION_3 {
            put_varint(out, self.version.into());
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let format = reader.u8()?;
        if !matches!(format, VERSION | VERSION_2 | VERSION_3) {
            return None;
        }
        let mut roster = Self { next: reader.varint()?, ..Self::default() };
        for _ in 0..reader.varint()? {
            let id = NodeId(reader.varint()?);
            roster.nodes.insert(id, Node::decode(reader)?);
        }
        for _ in 0..reader.varint()? {
            let id = NodeId(reader.varint()?);
            roster.askers.insert(id, (reader.varint()?, reader.varint()?));
        }
        if format >= VERSION_2 {
            for _ in 0..reader.varint()? {
                let gone = NodeId(reader.varint()?);
                roster.successors.insert(gone, NodeId(reader.varint()?));
            }
        }
        if format >= VERSION_3 {
            roster.version = u16::try_from(reader.varint()?).ok()?;
        }
        let is_sound = roster.nodes.keys().all(|id| id.0 > 0 && id.0 < roster.next)
            && roster.successors.iter().all(|(gone, successor)| gone < successor && successor.0 < roster.next);
        is_sound.then_some(roster)
    }
}

impl Node {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.disk);
        put_varint(out, self.name.len() as u64);
        out.extend_from_slice(self.name.as_bytes());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let disk = reader.varint()?;
        let len = usize::try_from(reader.varint()?).ok().filter(|len| *len <= limits::NODE_NAME_BYTES_MAX)?;
        let name = core::str::from_utf8(reader.take(len)?).ok()?;
        Some(Self { name: name.into(), disk })
    }
}
