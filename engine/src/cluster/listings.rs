//! How what is asked and told about connections is written for another node: [`super::inquiries`], from [`super::version::LISTINGS`] on.
//!
//! The fields in their order. Numbers take seven bits a byte, flags one; texts and tables have their length before them.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};
use core::net::SocketAddr;

use super::inquiries::{put_bytes, read_bytes, read_flag};
use crate::amqp::{FieldTable, ShortStr};
use crate::ids::{ChannelNumber, ConnectionId};
use crate::management::{
    ChannelInfo, ConnectionInfo, ConnectionRequest, ConnectionSelection, ConnectionState, ConsumerInfo,
};
use crate::storage::codec::{Reader, put_varint};
use crate::time::Timestamp;

const LIST: u8 = 1;
const LIST_CHANNELS: u8 = 2;
const LIST_CONSUMERS: u8 = 3;
const CLOSE: u8 = 4;

const ONE: u8 = 1;
const NAMED: u8 = 2;
const OF_VHOST: u8 = 3;
const OF_USER: u8 = 4;
const ALL: u8 = 5;

const STATES: [ConnectionState; 6] = [
    ConnectionState::Starting,
    ConnectionState::Running,
    ConnectionState::Flow,
    ConnectionState::Blocking,
    ConnectionState::Blocked,
    ConnectionState::Closing,
];

pub(super) fn put_request(out: &mut Vec<u8>, request: &ConnectionRequest) {
    match request {
        ConnectionRequest::List => out.push(LIST),
        ConnectionRequest::ListChannels => out.push(LIST_CHANNELS),
        ConnectionRequest::ListConsumers { vhost } => {
            out.extend([LIST_CONSUMERS, vhost.is_some().into()]);
            if let Some(vhost) = vhost {
                put_bytes(out, vhost.as_bytes());
            }
        }
        ConnectionRequest::Close { which, reason } => {
            out.push(CLOSE);
            match which {
                ConnectionSelection::One { node, id } => {
                    out.push(ONE);
                    put_bytes(out, node.as_bytes());
                    put_varint(out, id.0);
                }
                ConnectionSelection::Named(name) => {
                    out.push(NAMED);
                    put_bytes(out, name.as_bytes());
                }
                ConnectionSelection::OfVhost(vhost) => {
                    out.push(OF_VHOST);
                    put_bytes(out, vhost.as_bytes());
                }
                ConnectionSelection::OfUser(user) => {
                    out.push(OF_USER);
                    put_bytes(out, user.as_bytes());
                }
                ConnectionSelection::All => out.push(ALL),
            }
            put_bytes(out, reason.as_bytes());
        }
    }
}

pub(super) fn read_request(reader: &mut Reader<'_>) -> Option<ConnectionRequest> {
    Some(match reader.u8()? {
        LIST => ConnectionRequest::List,
        LIST_CHANNELS => ConnectionRequest::ListChannels,
        LIST_CONSUMERS => {
            let vhost = if read_flag(reader)? { Some(read_name(reader)?) } else { None };
            ConnectionRequest::ListConsumers { vhost }
        }
        CLOSE => {
            let which = match reader.u8()? {
                ONE => ConnectionSelection::One { node: read_text(reader)?, id: ConnectionId(reader.varint()?) },
                NAMED => ConnectionSelection::Named(read_text(reader)?),
                OF_VHOST => ConnectionSelection::OfVhost(read_name(reader)?),
                OF_USER => ConnectionSelection::OfUser(read_name(reader)?),
                ALL => ConnectionSelection::All,
                _ => return None,
            };
            ConnectionRequest::Close { which, reason: read_text(reader)? }
        }
        _ => return None,
    })
}

/// A list, with its length before it.
pub(super) fn put_list<T>(out: &mut Vec<u8>, list: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    put_varint(out, list.len() as u64);
    list.iter().for_each(|item| put(out, item));
}

pub(super) fn read_list<T>(reader: &mut Reader<'_>, read: impl Fn(&mut Reader<'_>) -> Option<T>) -> Option<Vec<T>> {
    // Each takes a byte at least.
    let count = usize::try_from(reader.varint()?).ok().filter(|count| *count <= reader.0.len())?;
    (0..count).map(|_| read(reader)).collect()
}

pub(super) fn put_connection(out: &mut Vec<u8>, info: &ConnectionInfo) {
    let ConnectionInfo {
        node,
        id,
        peer,
        local,
        user,
        vhost,
        state,
        channels,
        channel_max,
        frame_max,
        heartbeat_s,
        mechanism,
        client_properties,
        connected_at,
        received_bytes,
        waiting_bytes,
    } = info;
    put_bytes(out, node.as_bytes());
    put_varint(out, id.0);
    put_bytes(out, peer.to_string().as_bytes());
    put_bytes(out, local.to_string().as_bytes());
    put_bytes(out, user.as_bytes());
    put_bytes(out, vhost.as_bytes());
    put_varint(out, STATES.iter().position(|other| other == state).unwrap_or_default() as u64);
    for number in [*channels, (*channel_max).into(), (*frame_max).into(), *heartbeat_s] {
        put_varint(out, number);
    }
    put_bytes(out, mechanism.as_bytes());
    put_table(out, client_properties);
    for number in [connected_at.as_millis(), *received_bytes, *waiting_bytes] {
        put_varint(out, number);
    }
}

pub(super) fn read_connection(reader: &mut Reader<'_>) -> Option<ConnectionInfo> {
    Some(ConnectionInfo {
        node: read_text(reader)?,
        id: ConnectionId(reader.varint()?),
        peer: read_address(reader)?,
        local: read_address(reader)?,
        user: read_text(reader)?,
        vhost: read_name(reader)?,
        state: *STATES.get(usize::try_from(reader.varint()?).ok()?)?,
        channels: reader.varint()?,
        channel_max: read_number(reader)?,
        frame_max: read_number(reader)?,
        heartbeat_s: reader.varint()?,
        mechanism: read_text(reader)?,
        client_properties: read_table(reader)?,
        connected_at: Timestamp::from_millis(reader.varint()?),
        received_bytes: reader.varint()?,
        waiting_bytes: reader.varint()?,
    })
}

pub(super) fn put_channel(out: &mut Vec<u8>, info: &ChannelInfo) {
    let ChannelInfo {
        node,
        connection,
        number,
        connection_name,
        user,
        vhost,
        consumers,
        messages_unacked,
        messages_unconfirmed,
        messages_uncommitted,
        acks_uncommitted,
        is_confirming,
        is_transactional,
        prefetch,
        prefetch_global,
    } = info;
    put_bytes(out, node.as_bytes());
    put_varint(out, connection.0);
    put_varint(out, number.0.into());
    put_bytes(out, connection_name.as_bytes());
    put_bytes(out, user.as_bytes());
    put_bytes(out, vhost.as_bytes());
    for number in [consumers, messages_unacked, messages_unconfirmed, messages_uncommitted, acks_uncommitted] {
        put_varint(out, *number);
    }
    out.extend([u8::from(*is_confirming), u8::from(*is_transactional)]);
    put_varint(out, (*prefetch).into());
    put_varint(out, (*prefetch_global).into());
}

pub(super) fn read_channel(reader: &mut Reader<'_>) -> Option<ChannelInfo> {
    Some(ChannelInfo {
        node: read_text(reader)?,
        connection: ConnectionId(reader.varint()?),
        number: ChannelNumber(read_number(reader)?),
        connection_name: read_text(reader)?,
        user: read_text(reader)?,
        vhost: read_name(reader)?,
        consumers: reader.varint()?,
        messages_unacked: reader.varint()?,
        messages_unconfirmed: reader.varint()?,
        messages_uncommitted: reader.varint()?,
        acks_uncommitted: reader.varint()?,
        is_confirming: read_flag(reader)?,
        is_transactional: read_flag(reader)?,
        prefetch: read_number(reader)?,
        prefetch_global: read_number(reader)?,
    })
}

pub(super) fn put_consumer(out: &mut Vec<u8>, info: &ConsumerInfo) {
    let ConsumerInfo {
        node,
        vhost,
        queue,
        connection,
        channel,
        tag,
        ack_required,
        exclusive,
        prefetch,
        active,
        single_active,
        arguments,
    } = info;
    put_bytes(out, node.as_bytes());
    put_bytes(out, vhost.as_bytes());
    put_bytes(out, queue.as_bytes());
    put_varint(out, connection.0);
    put_varint(out, channel.0.into());
    put_bytes(out, tag.as_bytes());
    out.extend([*ack_required, *exclusive, *active, *single_active].map(u8::from));
    put_varint(out, (*prefetch).into());
    put_table(out, arguments);
}

pub(super) fn read_consumer(reader: &mut Reader<'_>) -> Option<ConsumerInfo> {
    let (node, vhost, queue) = (read_text(reader)?, read_name(reader)?, read_name(reader)?);
    let (connection, channel) = (ConnectionId(reader.varint()?), ChannelNumber(read_number(reader)?));
    let tag = read_name(reader)?;
    let mut flag = || read_flag(reader);
    let (ack_required, exclusive, active, single_active) = (flag()?, flag()?, flag()?, flag()?);
    let (prefetch, arguments) = (read_number(reader)?, read_table(reader)?);
    Some(ConsumerInfo {
        node,
        vhost,
        queue,
        connection,
        channel,
        tag,
        ack_required,
        exclusive,
        prefetch,
        active,
        single_active,
        arguments,
    })
}

fn put_table(out: &mut Vec<u8>, table: &FieldTable) {
    let mut encoded = BytesMut::new();
    table.encode_entries(&mut encoded);
    put_bytes(out, &encoded);
}

fn read_table(reader: &mut Reader<'_>) -> Option<FieldTable> {
    FieldTable::decode_entries(Bytes::copy_from_slice(read_bytes(reader)?)).ok()
}

fn read_number<T: TryFrom<u64>>(reader: &mut Reader<'_>) -> Option<T> {
    T::try_from(reader.varint()?).ok()
}

fn read_name(reader: &mut Reader<'_>) -> Option<ShortStr> {
    ShortStr::try_from(read_bytes(reader)?).ok()
}

fn read_address(reader: &mut Reader<'_>) -> Option<SocketAddr> {
    core::str::from_utf8(read_bytes(reader)?).ok()?.parse().ok()
}

pub(super) fn read_text(reader: &mut Reader<'_>) -> Option<String> {
    core::str::from_utf8(read_bytes(reader)?).ok().map(String::from)
}

#[cfg(test)]
pub(super) fn samples() -> (Vec<ConnectionRequest>, Vec<super::inquiries::Report>) {
    use super::inquiries::Report;

    let (node, user) = (String::from("a@b"), String::from("guest"));
    let (connection, number) = (ConnectionId(300), ChannelNumber(1));
    let vhost = ShortStr::from_static("v");
    let selections = [
        ConnectionSelection::One { node: node.clone(), id: connection },
        ConnectionSelection::Named(String::from("name")),
        ConnectionSelection::OfVhost(vhost.clone()),
        ConnectionSelection::OfUser(ShortStr::from_static("user")),
        ConnectionSelection::All,
    ];
    let close = |which| ConnectionRequest::Close { which, reason: String::from("why") };
    let lists = [
        ConnectionRequest::List,
        ConnectionRequest::ListChannels,
        ConnectionRequest::ListConsumers { vhost: None },
        ConnectionRequest::ListConsumers { vhost: Some(vhost.clone()) },
    ];
    let of_connection = |state| ConnectionInfo {
        node: node.clone(),
        id: connection,
        peer: SocketAddr::from(([127, 0, 0, 1], 40_000)),
        local: SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 5672)),
        user: user.clone(),
        vhost: vhost.clone(),
        state,
        channels: 1,
        channel_max: 2047,
        frame_max: 131_072,
        heartbeat_s: 60,
        mechanism: String::from("PLAIN"),
        client_properties: FieldTable::new().with("product", "x"),
        connected_at: Timestamp::from_millis(1_700_000_000_000),
        received_bytes: 200,
        waiting_bytes: 0,
    };
    let of_channel = ChannelInfo {
        node: node.clone(),
        connection,
        number,
        connection_name: String::from("x -> y"),
        user: user.clone(),
        vhost: vhost.clone(),
        consumers: 1,
        messages_unacked: 2,
        messages_unconfirmed: 3,
        messages_uncommitted: 4,
        acks_uncommitted: 5,
        is_confirming: true,
        is_transactional: false,
        prefetch: 256,
        prefetch_global: 0,
    };
    let of_consumer = ConsumerInfo {
        node: node.clone(),
        vhost: vhost.clone(),
        queue: ShortStr::from_static("q"),
        connection,
        channel: number,
        tag: ShortStr::from_static("tag"),
        ack_required: true,
        exclusive: false,
        prefetch: 256,
        active: true,
        single_active: false,
        arguments: FieldTable::new().with("x-priority", 3),
    };
    let reports = [
        Report::Connections(STATES.map(of_connection).into()),
        Report::Channels([of_channel.clone(), of_channel].into()),
        Report::Consumers([of_consumer].into()),
    ];
    (lists.into_iter().chain(selections.map(close)).collect(), reports.into())
}
