//! The changes that can be asked for, and how they are stored.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};

use super::administration::{Administration, PUT_VHOST};
use super::encoding::{DecodeError, Reader, put_count, put_short};
use crate::amqp::{FieldTable, ShortStr};
use crate::cluster::version;
use crate::ids::{ConnectionId, NodeId, QueueId};

/// A change to the declared state. Names of exchanges and queues are [stripped](super::stripped).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `exchange.declare`.
    DeclareExchange {
        /// In which vhost.
        vhost: ShortStr,
        /// Its name.
        name: ShortStr,
        /// The name of its type.
        kind: ShortStr,
        /// Whether it survives a restart.
        durable: bool,
        /// Whether it goes with its last binding.
        auto_delete: bool,
        /// Whether only other exchanges may send to it.
        internal: bool,
        /// Its arguments.
        arguments: FieldTable,
    },
    /// A delayed exchange gets what it holds messages in.
    OpenHold {
        /// In which vhost.
        vhost: ShortStr,
        /// The exchange's name.
        name: ShortStr,
        /// The hold's id, from the same numbers as those of queues.
        id: QueueId,
    },
    /// `exchange.delete`.
    DeleteExchange {
        /// In which vhost.
        vhost: ShortStr,
        /// Its name.
        name: ShortStr,
        /// Whether it stays if it has bindings.
        if_unused: bool,
    },
    /// `queue.declare`.
    DeclareQueue {
        /// In which vhost.
        vhost: ShortStr,
        /// The id of the queue if the command creates one; see [`super::Metadata::allocate_queue_id`]. 0: who carries the command out
        /// gives it the next one, which is the same on all nodes.
        id: QueueId,
        /// The node on which it is to be; see [`super::QueueRecord::home`].
        home: NodeId,
        /// The nodes on which it is to have replicas, each once; see [`super::QueueRecord::members`]. Empty: it is to be on `home`
        /// alone. A classic queue may have both: it has its members if a policy mirrors it by the time that the command is
        /// carried out, and is on `home` if none does.
        members: Vec<NodeId>,
        /// Its name; see [`super::check_queue_name`] and [`super::server_name`].
        name: ShortStr,
        /// Whether it survives a restart.
        durable: bool,
        /// The only connection that may use it; `None` if everybody may.
        exclusive: Option<ConnectionId>,
        /// Whether it goes with its last consumer.
        auto_delete: bool,
        /// Its arguments.
        arguments: FieldTable,
    },
    /// The end of a queue, whatever the reason. Whether it is used or empty, its owner knows.
    DeleteQueue {
        /// In which vhost.
        vhost: ShortStr,
        /// Its name.
        name: ShortStr,
        /// Its incarnation: a younger queue of the same name stays.
        id: QueueId,
    },
    /// A replicated queue gets replicas on other nodes than before. Nothing if the queue is on one node.
    SetMembers {
        /// In which vhost.
        vhost: ShortStr,
        /// Its name.
        name: ShortStr,
        /// Its incarnation: a younger queue of the same name stays as it is.
        id: QueueId,
        /// All nodes on which it is to have replicas from here on, each once; none is as good as no command.
        members: Vec<NodeId>,
        /// The entry of the queue's group as of which its members are these. What is known as of a later one stays.
        at: u64,
    },
    /// A queue that is on one node is on another one from here on, without what was in it. Nothing if it is replicated.
    SetHome {
        /// In which vhost.
        vhost: ShortStr,
        /// Its name.
        name: ShortStr,
        /// Its incarnation: a younger queue of the same name stays where it is.
        id: QueueId,
        /// The node.
        home: NodeId,
    },
    /// A classic queue that is on one node has replicas from here on, of which that node has the only one for now. Nothing if it has some
    /// already, or is on another node. See [`SetMembers`](Self::SetMembers) for what follows.
    Replicate {
        /// In which vhost.
        vhost: ShortStr,
        /// Its name.
        name: ShortStr,
        /// Its incarnation: a younger queue of the same name stays as it is.
        id: QueueId,
        /// The node, whose replica has all that was in the queue.
        node: NodeId,
    },
    /// `queue.bind` and `exchange.bind`.
    Bind {
        /// In which vhost.
        vhost: ShortStr,
        /// The exchange that messages come from.
        source: ShortStr,
        /// Where they go.
        destination: DestinationName,
        /// The binding key.
        routing_key: ShortStr,
        /// The binding's arguments.
        arguments: FieldTable,
    },
    /// `queue.unbind` and `exchange.unbind`.
    Unbind {
        /// In which vhost.
        vhost: ShortStr,
        /// The exchange that messages come from.
        source: ShortStr,
        /// Where they go.
        destination: DestinationName,
        /// The binding key.
        routing_key: ShortStr,
        /// The binding's arguments.
        arguments: FieldTable,
    },
    /// What an administrator asked for.
    Administer(Box<Administration>),
    /// The cluster begins with what its first node had. Nothing if it has begun.
    Found {
        /// That node's [`super::Metadata::snapshot_all`].
        state: Bytes,
    },
    /// A node was started, so that its queues that do not survive a restart are gone.
    Begin {
        /// Which node.
        node: NodeId,
        /// Whether it is the only one, so that nobody has kept exchanges that do not survive a restart.
        is_alone: bool,
    },
}

/// What a binding leads to, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DestinationName {
    /// A queue.
    Queue(ShortStr),
    /// An exchange.
    Exchange(ShortStr),
}

/// The version of the encoding, its first byte.
const VERSION: u8 = 1;
/// The version of what administrators ask for, which programs before it did not know.
const VERSION_2: u8 = 2;
/// The version of what only clusters ask for.
const VERSION_3: u8 = 3;
/// The version of declarations of replicated queues, which have members.
const VERSION_4: u8 = 4;
/// The version of changes of members.
const VERSION_5: u8 = 5;

const DECLARE_EXCHANGE: u8 = 1;
const DELETE_EXCHANGE: u8 = 2;
const DECLARE_QUEUE: u8 = 3;
const DELETE_QUEUE: u8 = 4;
const BIND: u8 = 5;
const UNBIND: u8 = 6;
const OPEN_HOLD: u8 = 7;
const FOUND: u8 = 8;
const BEGIN: u8 = 9;
const SET_MEMBERS: u8 = 10;
const SET_HOME: u8 = 11;
const REPLICATE: u8 = 12;

const TO_QUEUE: u8 = 0;
const TO_EXCHANGE: u8 = 1;

impl Command {
    /// Appends the command as it is stored: version, kind, vhost, fields.
    ///
    /// # Panics
    /// If a replicated queue is to have two replicas on one node, or one on no node.
    pub fn encode(&self, out: &mut BytesMut) {
        let version = self.version();
        out.put_u8(version);
        match self {
            Self::DeclareExchange { vhost, name, kind, durable, auto_delete, internal, arguments } => {
                out.put_u8(DECLARE_EXCHANGE);
                put_short(out, vhost);
                put_short(out, name);
                put_short(out, kind);
                out.put_u8(u8::from(*durable) | u8::from(*auto_delete) << 1 | u8::from(*internal) << 2);
                arguments.encode(out);
            }
            Self::OpenHold { vhost, name, id } => {
                out.put_u8(OPEN_HOLD);
                put_short(out, vhost);
                put_short(out, name);
                out.put_u64(id.0);
            }
            Self::DeleteExchange { vhost, name, if_unused } => {
                out.put_u8(DELETE_EXCHANGE);
                put_short(out, vhost);
                put_short(out, name);
                out.put_u8(u8::from(*if_unused));
            }
            Self::DeclareQueue { vhost, id, home, members, name, durable, exclusive, auto_delete, arguments } => {
                out.put_u8(DECLARE_QUEUE);
                put_short(out, vhost);
                out.put_u64(id.0);
                if version >= VERSION_3 {
                    out.put_u64(home.0);
                }
                if version >= VERSION_4 {
                    put_members(out, members);
                }
                put_short(out, name);
                out.put_u8(u8::from(*durable) | u8::from(*auto_delete) << 1 | u8::from(exclusive.is_some()) << 2);
                if let Some(connection) = exclusive {
                    out.put_u64(connection.0);
                }
                arguments.encode(out);
            }
            Self::DeleteQueue { vhost, name, id } => {
                out.put_u8(DELETE_QUEUE);
                put_short(out, vhost);
                put_short(out, name);
                out.put_u64(id.0);
            }
            Self::SetMembers { vhost, name, id, members, at } => {
                out.put_u8(SET_MEMBERS);
                put_short(out, vhost);
                put_short(out, name);
                out.put_u64(id.0);
                put_members(out, members);
                out.put_u64(*at);
            }
            Self::SetHome { vhost, name, id, home } => {
                out.put_u8(SET_HOME);
                put_short(out, vhost);
                put_short(out, name);
                out.put_u64(id.0);
                out.put_u64(home.0);
            }
            Self::Replicate { vhost, name, id, node } => {
                out.put_u8(REPLICATE);
                put_short(out, vhost);
                put_short(out, name);
                out.put_u64(id.0);
                out.put_u64(node.0);
            }
            Self::Bind { vhost, source, destination, routing_key, arguments } => {
                out.put_u8(BIND);
                put_binding(out, vhost, source, destination, routing_key, arguments);
            }
            Self::Unbind { vhost, source, destination, routing_key, arguments } => {
                out.put_u8(UNBIND);
                put_binding(out, vhost, source, destination, routing_key, arguments);
            }
            Self::Administer(administration) => administration.encode(out),
            Self::Found { state } => {
                out.put_u8(FOUND);
                out.put_slice(state);
            }
            Self::Begin { node, is_alone } => {
                out.put_u8(BEGIN);
                out.put_u64(node.0);
                out.put_u8(u8::from(*is_alone));
            }
        }
    }

    /// Reads what [`Command::encode`] wrote. Strings are slices of `encoded`.
    ///
    /// # Errors
    /// If it is of a later version or no command at all.
    pub fn decode(encoded: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(encoded);
        let version = reader.version(VERSION_5)?;
        let kind = reader.u8()?;
        if version == VERSION_2 {
            if kind < PUT_VHOST {
                return Err(DecodeError::Malformed(format!("command of kind {kind}")));
            }
            let administration = Administration::decode(kind, &mut reader)?;
            reader.finish()?;
            return Ok(Self::Administer(Box::new(administration)));
        }
        match (version, kind) {
            (VERSION_3, FOUND) => return Ok(Self::Found { state: reader.rest() }),
            (VERSION_3, BEGIN) => {
                let node = NodeId(reader.u64()?);
                let [is_alone] = reader.flags()?;
                reader.finish()?;
                return Ok(Self::Begin { node, is_alone });
            }
            (VERSION_3 | VERSION_4, DECLARE_QUEUE) | (VERSION_5, SET_MEMBERS | SET_HOME | REPLICATE) => {}
            (VERSION_3 | VERSION_4 | VERSION_5, other) | (VERSION, other @ (SET_MEMBERS | SET_HOME | REPLICATE)) => {
                return Err(DecodeError::Malformed(format!("command of kind {other}")));
            }
            _ => {}
        }
        let vhost = reader.short()?;
        let command = match kind {
            DECLARE_EXCHANGE => {
                let (name, kind) = (reader.short()?, reader.short()?);
                let [durable, auto_delete, internal] = reader.flags()?;
                let arguments = reader.table()?;
                Self::DeclareExchange { vhost, name, kind, durable, auto_delete, internal, arguments }
            }
            OPEN_HOLD => Self::OpenHold { vhost, name: reader.short()?, id: QueueId(reader.u64()?) },
            DELETE_EXCHANGE => {
                let name = reader.short()?;
                let [if_unused] = reader.flags()?;
                Self::DeleteExchange { vhost, name, if_unused }
            }
            DECLARE_QUEUE => {
                let id = QueueId(reader.u64()?);
                let home = NodeId(if version >= VERSION_3 { reader.u64()? } else { 0 });
                let members = if version >= VERSION_4 { read_members(&mut reader)? } else { Vec::new() };
                let name = reader.short()?;
                let [durable, auto_delete, is_exclusive] = reader.flags()?;
                let exclusive = if is_exclusive { Some(ConnectionId(reader.u64()?)) } else { None };
                let arguments = reader.table()?;
                Self::DeclareQueue { vhost, id, home, members, name, durable, exclusive, auto_delete, arguments }
            }
            DELETE_QUEUE => Self::DeleteQueue { vhost, name: reader.short()?, id: QueueId(reader.u64()?) },
            SET_MEMBERS => {
                let (name, id) = (reader.short()?, QueueId(reader.u64()?));
                let members = read_members(&mut reader)?;
                Self::SetMembers { vhost, name, id, members, at: reader.u64()? }
            }
            SET_HOME => {
                let (name, id) = (reader.short()?, QueueId(reader.u64()?));
                Self::SetHome { vhost, name, id, home: NodeId(reader.u64()?) }
            }
            REPLICATE => {
                let (name, id) = (reader.short()?, QueueId(reader.u64()?));
                Self::Replicate { vhost, name, id, node: NodeId(reader.u64()?) }
            }
            BIND | UNBIND => {
                let source = reader.short()?;
                let destination = read_destination(&mut reader)?;
                let (routing_key, arguments) = (reader.short()?, reader.table()?);
                if kind == BIND {
                    Self::Bind { vhost, source, destination, routing_key, arguments }
                } else {
                    Self::Unbind { vhost, source, destination, routing_key, arguments }
                }
            }
            other => return Err(DecodeError::Malformed(format!("command of kind {other}"))),
        };
        reader.finish()?;
        Ok(command)
    }

    /// In which vhost; `None` if it is none about queues, exchanges and bindings.
    pub fn vhost(&self) -> Option<&ShortStr> {
        Some(match self {
            Self::DeclareExchange { vhost, .. }
            | Self::DeleteExchange { vhost, .. }
            | Self::OpenHold { vhost, .. }
            | Self::DeclareQueue { vhost, .. }
            | Self::DeleteQueue { vhost, .. }
            | Self::SetMembers { vhost, .. }
            | Self::SetHome { vhost, .. }
            | Self::Replicate { vhost, .. }
            | Self::Bind { vhost, .. }
            | Self::Unbind { vhost, .. } => vhost,
            Self::Administer(_) | Self::Found { .. } | Self::Begin { .. } => return None,
        })
    }

    /// From which [`version`] of their cluster on nodes know it.
    pub(crate) fn since(&self) -> u16 {
        match self {
            Self::SetHome { .. } => version::SET_HOME,
            Self::Replicate { .. } => version::TURN,
            _ => version::FIRST,
        }
    }

    /// The first version that knows the command: what a single node logs stays readable for programs that know no clusters.
    fn version(&self) -> u8 {
        match self {
            Self::Administer(_) => VERSION_2,
            Self::Found { .. } | Self::Begin { .. } => VERSION_3,
            Self::DeclareQueue { members, .. } if !members.is_empty() => VERSION_4,
            Self::SetMembers { .. } | Self::SetHome { .. } | Self::Replicate { .. } => VERSION_5,
            Self::DeclareQueue { home, .. } if *home != NodeId(0) => VERSION_3,
            _ => VERSION,
        }
    }
}

impl DestinationName {
    /// The name alone.
    pub fn name(&self) -> &ShortStr {
        match self {
            Self::Queue(name) | Self::Exchange(name) => name,
        }
    }
}

fn put_binding(
    out: &mut BytesMut,
    vhost: &ShortStr,
    source: &ShortStr,
    destination: &DestinationName,
    routing_key: &ShortStr,
    arguments: &FieldTable,
) {
    put_short(out, vhost);
    put_short(out, source);
    put_destination(out, destination);
    put_short(out, routing_key);
    arguments.encode(out);
}

pub(super) fn put_destination(out: &mut BytesMut, destination: &DestinationName) {
    out.put_u8(match destination {
        DestinationName::Queue(_) => TO_QUEUE,
        DestinationName::Exchange(_) => TO_EXCHANGE,
    });
    put_short(out, destination.name());
}

pub(super) fn read_destination(reader: &mut Reader) -> Result<DestinationName, DecodeError> {
    match reader.u8()? {
        TO_QUEUE => Ok(DestinationName::Queue(reader.short()?)),
        TO_EXCHANGE => Ok(DestinationName::Exchange(reader.short()?)),
        other => Err(DecodeError::Malformed(format!("destination of kind {other}"))),
    }
}

/// Appends the nodes with replicas of a queue.
///
/// # Panics
/// If one has no number or is there twice: nobody could read that.
pub(super) fn put_members(out: &mut BytesMut, members: &[NodeId]) {
    assert!(is_list_of_members(members), "{members:?} are no nodes for replicas");
    put_count(out, members.len());
    members.iter().for_each(|node| out.put_u64(node.0));
}

pub(super) fn read_members(reader: &mut Reader) -> Result<Vec<NodeId>, DecodeError> {
    let mut members = Vec::new();
    for _ in 0..reader.u32()? {
        members.push(NodeId(reader.u64()?));
    }
    if is_list_of_members(&members) { Ok(members) } else { Err(DecodeError::Malformed(format!("members {members:?}"))) }
}

/// Whether all of them are nodes of a cluster, each there once.
pub(super) fn is_list_of_members(members: &[NodeId]) -> bool {
    members.iter().enumerate().all(|(at, node)| *node != NodeId(0) && !members[..at].contains(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> ShortStr {
        ShortStr::from_static(text)
    }

    fn hex(bytes: &[u8]) -> alloc::string::String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Each kind with its bytes in version 1. These must stay readable for ever.
    fn fixtures() -> [(Command, &'static str); 9] {
        let arguments = FieldTable::new().with("k", 1);
        let bind_to_queue = Command::Bind {
            vhost: text("/"),
            source: text("e"),
            destination: DestinationName::Queue(text("q")),
            routing_key: text("a.#"),
            arguments: arguments.clone(),
        };
        let unbind_exchange = Command::Unbind {
            vhost: text("/"),
            source: text("e"),
            destination: DestinationName::Exchange(text("f")),
            routing_key: text(""),
            arguments: FieldTable::new(),
        };
        let declare_exchange = Command::DeclareExchange {
            vhost: text("/"),
            name: text("e"),
            kind: text("topic"),
            durable: true,
            auto_delete: false,
            internal: true,
            arguments,
        };
        let declare_queue = |exclusive| Command::DeclareQueue {
            vhost: text("/"),
            id: QueueId(0x0102),
            home: NodeId(0),
            members: Vec::new(),
            name: text("q"),
            durable: true,
            exclusive,
            auto_delete: true,
            arguments: FieldTable::new(),
        };
        [
            (declare_exchange, "0101012f016505746f70696305000000070 16b4900000001"),
            (Command::DeleteExchange { vhost: text("/"), name: text("e"), if_unused: false }, "0102012f016500"),
            (Command::DeleteExchange { vhost: text("/"), name: text("e"), if_unused: true }, "0102012f016501"),
            (declare_queue(None), "0103012f000000000000010201710300000000"),
            (declare_queue(Some(ConnectionId(7))), "0103012f0000000000000102017107000000000000000700000000"),
            (
                Command::DeleteQueue { vhost: text("/"), name: text("q"), id: QueueId(9) },
                "0104012f01710000000000000009",
            ),
            (Command::OpenHold { vhost: text("/"), name: text("e"), id: QueueId(9) }, "0107012f01650000000000000009"),
            (bind_to_queue, "0105012f0165000171 03612e23 00000007016b4900000001"),
            (unbind_exchange, "0106012f01650101660000000000"),
        ]
    }

    #[test]
    fn version_1_is_read_and_written() {
        for (command, bytes) in fixtures() {
            let mut encoded = BytesMut::new();
            command.encode(&mut encoded);
            assert_eq!(hex(&encoded), bytes.replace(' ', ""), "{command:?}");
            assert_eq!(Command::decode(encoded.freeze()).unwrap(), command);
        }
    }

    #[test]
    fn damaged_commands_are_refused_at_every_length() {
        for (command, _) in fixtures() {
            let mut encoded = BytesMut::new();
            command.encode(&mut encoded);
            let encoded = encoded.freeze();
            for len in 0..encoded.len() {
                assert!(matches!(Command::decode(encoded.slice(..len)), Err(DecodeError::Malformed(_))));
            }
            let longer: Vec<u8> = encoded.iter().copied().chain([0]).collect();
            assert!(matches!(Command::decode(longer.into()), Err(DecodeError::Malformed(_))));
            let mut later = encoded.to_vec();
            later[0] = 6;
            assert_eq!(Command::decode(later.into()), Err(DecodeError::UnknownVersion(6)));
        }
    }
}
