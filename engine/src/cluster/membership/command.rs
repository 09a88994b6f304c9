//! What the entries of the cluster's group say, and what nodes say to each other about the cluster.
//!
//! # Format 1
//!
//! ```text
//! command     version 1 (1), kind 1, node v, boot v, number v; then
//!   1 admit     a node, as in the roster
//!   2 forget    node v
//!   3 other     the embedder's bytes, up to the end
//!   4 raise     to v, next v: nobody proposes it before all nodes know it
//! word        version 1 (1), kind 1; then
//!   1 join      nothing: the sender's link has said who it is
//!   2 admitted  cluster v, node v: what the receiver is now
//!   3 here      cluster v, node v: what the sender is now
//!   4 ask       a command, up to the end: for the leader
//!   5 not now   the sender does not lead, or too much is under way
//! ```

use alloc::vec::Vec;
use bytes::Bytes;

use super::identity::Place;
use super::roster::{Change, Node};
use crate::ids::NodeId;
use crate::storage::codec::{Reader, put_varint};

const VERSION: u8 = 1;
const ADMIT: u8 = 1;
const FORGET: u8 = 2;
const OTHER: u8 = 3;
const RAISE: u8 = 4;

/// One command, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) node: NodeId,
    /// In which of its lives.
    pub(super) boot: u64,
    /// Its number there, from 1.
    pub(super) number: u64,
    pub(super) what: What,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// It changes who belongs to the cluster.
    Roster(Change),
    /// It is the embedder's.
    Other(Bytes),
}

impl Command {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Vec::from([VERSION]);
        out.push(match &self.what {
            What::Roster(Change::Admit(_)) => ADMIT,
            What::Roster(Change::Forget(_)) => FORGET,
            What::Roster(Change::Raise { .. }) => RAISE,
            What::Other(_) => OTHER,
        });
        for number in [self.node.0, self.boot, self.number] {
            put_varint(&mut out, number);
        }
        match &self.what {
            What::Roster(Change::Admit(node)) => node.encode(&mut out),
            What::Roster(Change::Forget(node)) => put_varint(&mut out, node.0),
            What::Roster(Change::Raise { to, next }) => {
                put_varint(&mut out, (*to).into());
                put_varint(&mut out, *next);
            }
            What::Other(bytes) => out.extend_from_slice(bytes),
        }
        Bytes::from(out)
    }

    pub(super) fn decode(bytes: &Bytes) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.u8()? != VERSION {
            return None;
        }
        let kind = reader.u8()?;
        let (node, boot, number) = (NodeId(reader.varint()?), reader.varint()?, reader.varint()?);
        let what = match kind {
            ADMIT => What::Roster(Change::Admit(Node::decode(&mut reader)?)),
            FORGET => What::Roster(Change::Forget(NodeId(reader.varint()?))),
            RAISE => {
                let to = u16::try_from(reader.varint()?).ok()?;
                What::Roster(Change::Raise { to, next: reader.varint()? })
            }
            OTHER => return Some(Self { node, boot, number, what: What::Other(bytes.slice_ref(reader.0)) }),
            _ => return None,
        };
        reader.is_empty().then_some(Self { node, boot, number, what })
    }
}

const JOIN: u8 = 1;
const ADMITTED: u8 = 2;
const HERE: u8 = 3;
const ASK: u8 = 4;
const NOT_NOW: u8 = 5;
const ALIVE: u8 = 6;

/// What one node says to another about the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Join,
    Admitted(Place),
    Here(Place),
    Ask(Bytes),
    NotNow,
    /// A sign of life.
    Alive,
}

impl Word {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Vec::from([VERSION]);
        match self {
            Self::Join => out.push(JOIN),
            Self::Admitted(place) => put_place(ADMITTED, *place, &mut out),
            Self::Here(place) => put_place(HERE, *place, &mut out),
            Self::Ask(command) => {
                out.push(ASK);
                out.extend_from_slice(command);
            }
            Self::NotNow => out.push(NOT_NOW),
            Self::Alive => out.push(ALIVE),
        }
        Bytes::from(out)
    }

    pub(super) fn decode(bytes: &Bytes) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.u8()? != VERSION {
            return None;
        }
        let word = match reader.u8()? {
            JOIN => Self::Join,
            ADMITTED => Self::Admitted(read_place(&mut reader)?),
            HERE => Self::Here(read_place(&mut reader)?),
            ASK => return Some(Self::Ask(bytes.slice_ref(reader.0))),
            NOT_NOW => Self::NotNow,
            ALIVE => Self::Alive,
            _ => return None,
        };
        reader.is_empty().then_some(word)
    }
}

fn put_place(kind: u8, place: Place, out: &mut Vec<u8>) {
    out.push(kind);
    put_varint(out, place.cluster);
    put_varint(out, place.node.0);
}

fn read_place(reader: &mut Reader<'_>) -> Option<Place> {
    let place = Place { cluster: reader.varint()?, node: NodeId(reader.varint()?) };
    (place.cluster != 0 && place.node.0 != 0).then_some(place)
}
