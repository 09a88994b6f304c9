//! The durable part of the declared state as bytes, and back.
//!
//! Everything is ordered by name, so that equal states have equal bytes. Version 1: version; next queue id; count of vhosts; of
//! each its name, count and list of exchanges, of queues, of bindings. Exchanges that every vhost has are left out. Version 2 adds to
//! each vhost, after its name, its settings, limits, policies and parameters, and after the vhosts whether there ever were users, the
//! users and the global parameters.
//! Version 3 is that of clusters, and has also what does not outlive a restart: after the next queue id the number of the last command
//! carried out (8) and whether the cluster has begun (1); of exchanges and queues whether they are durable; of queues their home (8),
//! and the connection (8) they belong to alone, if they do. Version 4 adds to each queue, after its home, the count (4) of its members
//! and those (8 each); it is written once a queue has any, so that nodes of one cluster need not learn it all at once. Version 5 adds
//! the entry (8) as of which they are these, and is written once a queue has others than it was declared with.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};

use super::administration::{
    put_json, put_password, put_permissions, put_policy, put_shorts, put_topic_permissions, put_user_limits,
    put_vhost_limits, put_vhost_settings, read_json, read_password, read_permissions, read_policy, read_shorts,
    read_topic_permissions, read_user_limits, read_vhost_limits, read_vhost_settings,
};
use super::binding::BindingView;
use super::command::{put_destination, put_members, read_destination, read_members};
use super::encoding::{DecodeError, Reader, put_count, put_short};
use super::name::is_reserved;
use super::{Changes, DestinationName, Exchange, Metadata, PolicyKind, QueueRecord, User, Vhost, VhostKey};
use crate::amqp::AmqpError;
use crate::ids::{ConnectionId, NodeId, QueueId};
use crate::routing::{Destination, ExchangeKind};

/// What one node writes for itself.
const VERSION: u8 = 2;
/// What a cluster writes while no queue is replicated.
const VERSION_3: u8 = 3;
/// What a cluster writes while replicated queues have the members that they were declared with.
const VERSION_4: u8 = 4;
/// What a cluster writes otherwise.
const VERSION_5: u8 = 5;

impl Metadata {
    /// What outlives a restart: durable exchanges and queues, and the bindings between them.
    pub fn snapshot(&self) -> Bytes {
        self.encode(VERSION)
    }

    /// Everything: what all nodes of a cluster have in common.
    pub fn snapshot_all(&self) -> Bytes {
        let needed = self.queues.values().map(|queue| match (queue.is_replicated(), queue.members_at) {
            (false, _) => VERSION_3,
            (true, 0) => VERSION_4,
            (true, _) => VERSION_5,
        });
        self.encode(needed.max().unwrap_or(VERSION_3))
    }

    fn encode(&self, version: u8) -> Bytes {
        let is_whole = version >= VERSION_3;
        // Room for that of a small node.
        let mut out = BytesMut::with_capacity(1024);
        out.put_u8(version);
        out.put_u64(self.next_queue_id.0);
        if is_whole {
            out.put_u64(self.applied);
            out.put_u8(u8::from(self.is_founded));
        }
        put_count(&mut out, self.vhosts.len());
        let exchanges = self.exchanges_that(|exchange| {
            let is_made = !exchange.is_default() && !is_reserved(exchange.name.as_bytes());
            is_made && (exchange.durable || is_whole)
        });
        let (queues, bindings) = (self.queues(), self.bindings());
        for (key, vhost) in self.vhosts() {
            put_short(&mut out, &vhost.name);
            put_vhost(&mut out, vhost);
            let stored = exchanges.iter().map(|(_, exchange)| *exchange);
            let stored: Vec<_> = stored.filter(|exchange| exchange.vhost == key).collect();
            put_count(&mut out, stored.len());
            stored.into_iter().for_each(|exchange| put_exchange(&mut out, exchange, version));

            let stored = queues.iter().map(|(_, queue)| *queue);
            let stored: Vec<_> = stored.filter(|queue| queue.vhost == key && (queue.durable || is_whole)).collect();
            put_count(&mut out, stored.len());
            stored.into_iter().for_each(|queue| put_queue(&mut out, queue, version));

            let is_stored = |binding: &&BindingView<'_>| {
                binding.source.vhost == key && (is_whole || self.is_durable_binding(binding))
            };
            let stored = bindings.iter().filter(is_stored);
            let stored: Vec<_> = stored.collect();
            put_count(&mut out, stored.len());
            stored.into_iter().for_each(|binding| put_binding(&mut out, binding));
        }
        out.put_u8(u8::from(self.has_had_users));
        put_count(&mut out, self.users.len());
        self.users.values().for_each(|user| put_user(&mut out, user));
        put_count(&mut out, self.global_parameters.len());
        for (name, value) in &self.global_parameters {
            put_short(&mut out, name);
            put_json(&mut out, value);
        }
        out.freeze()
    }

    /// The state that a snapshot holds.
    ///
    /// # Errors
    /// If the snapshot is of a later version or damaged.
    pub fn restore(snapshot: Bytes, hash_seed: u64) -> Result<Self, DecodeError> {
        let mut metadata = Self::empty(hash_seed);
        let mut reader = Reader::new(snapshot);
        let version = reader.version(VERSION_5)?;
        metadata.next_queue_id = QueueId(reader.u64()?);
        if version >= VERSION_3 {
            metadata.applied = reader.u64()?;
            [metadata.is_founded] = reader.flags()?;
        }
        for _ in 0..reader.u32()? {
            let name = reader.short()?.detached();
            if metadata.vhost(name.as_bytes()).is_some() {
                return Err(DecodeError::Malformed(format!("vhost {name} is there twice")));
            }
            let vhost = metadata.add_vhost(name);
            if version >= 2 {
                metadata.restore_vhost(vhost, &mut reader)?;
            }
            for _ in 0..reader.u32()? {
                metadata.restore_exchange(vhost, version, &mut reader)?;
            }
            for _ in 0..reader.u32()? {
                metadata.restore_queue(vhost, version, &mut reader)?;
            }
            for _ in 0..reader.u32()? {
                metadata.restore_binding(vhost, &mut reader)?;
            }
        }
        if version >= 2 {
            metadata.restore_users(&mut reader)?;
        }
        reader.finish()?;
        Ok(metadata)
    }

    fn restore_vhost(&mut self, key: VhostKey, reader: &mut Reader) -> Result<(), DecodeError> {
        let vhost = &mut self.vhosts[key];
        vhost.settings = read_vhost_settings(reader)?;
        vhost.limits = read_vhost_limits(reader)?;
        for _ in 0..reader.u32()? {
            let kind = PolicyKind::from_code(reader.u8()?)?;
            let policy = read_policy(reader)?;
            vhost.policies.insert((kind, policy.name.clone()), policy);
        }
        for _ in 0..reader.u32()? {
            let (component, name) = (reader.short()?.detached(), reader.short()?.detached());
            vhost.parameters.insert((component, name), read_json(reader)?);
        }
        // Exchanges that every vhost has are there already.
        self.apply_policies(key, &mut Changes::default());
        Ok(())
    }

    fn restore_users(&mut self, reader: &mut Reader) -> Result<(), DecodeError> {
        [self.has_had_users] = reader.flags()?;
        for _ in 0..reader.u32()? {
            let name = reader.short()?.detached();
            let password = read_password(reader)?;
            let mut user = User::new(name.clone(), password, read_shorts(reader)?);
            user.limits = read_user_limits(reader)?;
            for _ in 0..reader.u32()? {
                let vhost = reader.short()?.detached();
                user.permissions.insert(vhost, read_permissions(reader)?);
            }
            for _ in 0..reader.u32()? {
                let (vhost, exchange) = (reader.short()?.detached(), reader.short()?.detached());
                user.topic_permissions.insert((vhost, exchange), read_topic_permissions(reader)?);
            }
            self.users.insert(name, user);
        }
        for _ in 0..reader.u32()? {
            let name = reader.short()?.detached();
            self.global_parameters.insert(name, read_json(reader)?);
        }
        Ok(())
    }

    fn restore_exchange(&mut self, vhost: VhostKey, version: u8, reader: &mut Reader) -> Result<(), DecodeError> {
        let (name, kind) = (reader.short()?, reader.short()?);
        let [auto_delete, internal, has_hold, is_transient] = reader.flags()?;
        if is_transient && version < VERSION_3 {
            return Err(DecodeError::Malformed(format!("exchange {name} is not durable")));
        }
        let hold = if has_hold { Some(QueueId(reader.u64()?)) } else { None };
        let arguments = reader.table()?;
        let kind = ExchangeKind::from_name(kind.as_bytes())
            .ok_or_else(|| DecodeError::Malformed(format!("exchange type {kind}")))?;
        if self.exchange(vhost, name.as_bytes()).is_some() {
            return Err(DecodeError::Malformed(format!("exchange {name} is there twice")));
        }
        let mut exchange = self.new_exchange(vhost, &name, kind, &arguments).map_err(refused)?;
        (exchange.durable, exchange.auto_delete, exchange.internal) = (!is_transient, auto_delete, internal);
        exchange.hold = hold;
        self.insert_exchange(exchange);
        Ok(())
    }

    fn restore_queue(&mut self, vhost: VhostKey, version: u8, reader: &mut Reader) -> Result<(), DecodeError> {
        let (name, id) = (reader.short()?, QueueId(reader.u64()?));
        let [auto_delete, is_transient, is_exclusive] = reader.flags()?;
        if (is_transient || is_exclusive) && version < VERSION_3 {
            return Err(DecodeError::Malformed(format!("queue {name} is not durable")));
        }
        let home = NodeId(if version >= VERSION_3 { reader.u64()? } else { 0 });
        let members = if version >= VERSION_4 { read_members(reader)? } else { Vec::new() };
        let members_at = if version >= VERSION_5 { reader.u64()? } else { 0 };
        if !members.is_empty() && home != NodeId(0) {
            return Err(DecodeError::Malformed(format!("queue {name} has members and is on node {home}")));
        }
        let exclusive = if is_exclusive { Some(ConnectionId(reader.u64()?)) } else { None };
        let arguments = reader.table()?;
        if self.queue(vhost, name.as_bytes()).is_some() || self.queue_by_id(id).is_some() {
            return Err(DecodeError::Malformed(format!("queue {name} or its id {id} is there twice")));
        }
        let durable = !is_transient;
        let mut queue =
            self.new_queue(vhost, id, &name, durable, exclusive, auto_delete, &arguments).map_err(refused)?;
        (queue.home, queue.members, queue.members_at) = (home, members, members_at);
        self.insert_queue(queue);
        Ok(())
    }

    fn restore_binding(&mut self, vhost: VhostKey, reader: &mut Reader) -> Result<(), DecodeError> {
        let (source, destination) = (reader.short()?, read_destination(reader)?);
        let (routing_key, arguments) = (reader.short()?, reader.table()?);
        let ends = self.find_ends(vhost, &source, &destination, &routing_key, &arguments);
        let (source, binding) = ends.map_err(refused)?;
        if self.exchanges[source].bindings.contains(&binding) {
            return Err(DecodeError::Malformed(String::from("a binding is there twice")));
        }
        self.add_binding(source, binding);
        Ok(())
    }

    fn is_durable_binding(&self, binding: &BindingView<'_>) -> bool {
        binding.source.durable
            && match binding.destination {
                Destination::Queue(key) => self.queues[key].durable,
                Destination::Exchange(key) => self.exchanges[key].durable,
            }
    }
}

fn put_vhost(out: &mut BytesMut, vhost: &Vhost) {
    put_vhost_settings(out, &vhost.settings);
    put_vhost_limits(out, vhost.limits);
    put_count(out, vhost.policies.len());
    for ((kind, _), policy) in &vhost.policies {
        out.put_u8(kind.code());
        put_policy(out, policy);
    }
    put_count(out, vhost.parameters.len());
    for ((component, name), value) in &vhost.parameters {
        put_short(out, component);
        put_short(out, name);
        put_json(out, value);
    }
}

fn put_user(out: &mut BytesMut, user: &User) {
    let User { name, password, tags, limits, permissions, topic_permissions } = user;
    put_short(out, name);
    put_password(out, password);
    put_shorts(out, tags);
    put_user_limits(out, *limits);
    put_count(out, permissions.len());
    for (vhost, permissions) in permissions {
        put_short(out, vhost);
        put_permissions(out, permissions);
    }
    put_count(out, topic_permissions.len());
    for ((vhost, exchange), permissions) in topic_permissions {
        put_short(out, vhost);
        put_short(out, exchange);
        put_topic_permissions(out, permissions);
    }
}

fn put_exchange(out: &mut BytesMut, exchange: &Exchange, version: u8) {
    put_short(out, &exchange.name);
    let kind = exchange.kind.name().as_bytes();
    put_short(out, &kind.try_into().expect("the names of types are short"));
    let is_transient = version >= VERSION_3 && !exchange.durable;
    out.put_u8(
        u8::from(exchange.auto_delete)
            | u8::from(exchange.internal) << 1
            | u8::from(exchange.hold.is_some()) << 2
            | u8::from(is_transient) << 3,
    );
    if let Some(id) = exchange.hold {
        out.put_u64(id.0);
    }
    exchange.raw_arguments.encode(out);
}

fn put_queue(out: &mut BytesMut, queue: &QueueRecord, version: u8) {
    put_short(out, &queue.name);
    out.put_u64(queue.id.0);
    if version >= VERSION_3 {
        let exclusive = queue.exclusive.map_or(0, |_| 1 << 2);
        out.put_u8(u8::from(queue.auto_delete) | u8::from(!queue.durable) << 1 | exclusive);
        out.put_u64(queue.home.0);
        if version >= VERSION_4 {
            put_members(out, &queue.members);
        }
        if version >= VERSION_5 {
            out.put_u64(queue.members_at);
        }
        if let Some(connection) = queue.exclusive {
            out.put_u64(connection.0);
        }
    } else {
        out.put_u8(u8::from(queue.auto_delete));
    }
    queue.raw_arguments.encode(out);
}

fn put_binding(out: &mut BytesMut, binding: &BindingView<'_>) {
    put_short(out, &binding.source.name);
    let name = binding.destination_name.clone();
    let destination = match binding.destination {
        Destination::Queue(_) => DestinationName::Queue(name),
        Destination::Exchange(_) => DestinationName::Exchange(name),
    };
    put_destination(out, &destination);
    put_short(out, binding.routing_key);
    binding.arguments.encode(out);
}

fn refused(error: AmqpError) -> DecodeError {
    DecodeError::Malformed(String::from(error.text))
}
