//! Metadata commands on their way through the log, and what they mean for the queue machines.

use alloc::vec::Vec;
use bytes::BytesMut;
use slotmap::KeyData;

use super::{Broker, Name, Notice, Proposal, Requester};
use crate::amqp::{AmqpError, LongStr};
use crate::event::Event;
use crate::ids::{ConnectionId, Lsn, QueueId};
use crate::metadata::{Change, Changes, Command, DestinationName, QueueRecord, VhostKey};
use crate::mutants::{Mutant, is_planted};
use crate::queue::{ClassicQueue, QueueKind, Subscriber};
use crate::routing::QueueKey;
use crate::time::Now;

impl Broker {
    /// The type of durable queues declared without one: the vhost's, or the node's.
    pub(crate) fn default_queue_type(&self, vhost: VhostKey) -> Option<LongStr> {
        let of_node = || self.config.default_queue_type.as_ref().map(|kind| LongStr::from(kind.as_bytes().to_vec()));
        self.metadata.default_queue_type(vhost).or_else(of_node)
    }

    /// Whether any command is on its way.
    pub(crate) fn has_pending_names(&self) -> bool {
        !self.pending_names.is_empty()
    }

    /// Whether a command about this name is on its way, so that whoever needs to know how the name stands has to wait.
    pub(crate) fn is_pending(&self, name: &Name) -> bool {
        self.pending_names.contains_key(name)
    }

    /// Carries out a checked command that changes something: at once, or, if it has to survive a restart, once it is durable.
    ///
    /// If `true` is returned, the requester is told of the result when there is one.
    ///
    /// # Errors
    /// As [`crate::metadata::Metadata::apply`].
    pub(crate) fn propose(&mut self, command: Command, requester: Option<Requester>) -> Result<bool, AmqpError> {
        if self.peers.is_some() {
            self.ask_cluster(command, requester)?;
            return Ok(true);
        }
        if !self.metadata.is_durable(&command) {
            let changes = self.metadata.apply(command)?;
            self.on_changes(&changes);
            return Ok(false);
        }
        self.put_on_its_way(command, true, requester);
        Ok(true)
    }

    /// Logs a command, if it is to be, and applies it once everything logged so far is durable.
    pub(super) fn put_on_its_way(&mut self, command: Command, is_logged: bool, requester: Option<Requester>) {
        if self.peers.is_some() {
            let asked = requester.as_ref().map(Requester::again);
            if let Err(error) = self.ask_cluster(command, requester) {
                self.tell(asked, Err(error));
            }
            return;
        }
        let names = Name::all_of(&command);
        for name in &names {
            *self.pending_names.entry(name.clone()).or_default() += 1;
        }
        let end = if is_logged { self.log_command(&command) } else { self.log.end() };
        self.log.request_sync();
        self.proposals.push_back(Proposal { end, command, is_logged, names, requester });
    }

    pub(super) fn log_command(&mut self, command: &Command) -> Lsn {
        let mut encoded = BytesMut::new();
        command.encode(&mut encoded);
        self.log.append_metadata(&encoded)
    }

    /// Deletes a queue on the broker's own account.
    pub(crate) fn propose_delete_queue(&mut self, key: QueueKey) {
        let Some(record) = self.metadata.queue_by_key(key) else { return };
        let Some(vhost) = self.metadata.vhost_by_key(record.vhost) else { return };
        let command = Command::DeleteQueue { vhost: vhost.name.clone(), name: record.name.clone(), id: record.id };
        if self.peers.is_some() {
            return self.ask_to_delete(command);
        }
        // A queue that is there can be deleted; one that is not needs no deletion.
        let _ = self.propose(command, None);
    }

    /// Applies the changes of a metadata command to the machines.
    pub(super) fn on_changes(&mut self, changes: &Changes) {
        if self.peers.is_none() {
            for command in &changes.also_log {
                self.log_command(command);
            }
        }
        if !self.parked.is_empty() {
            self.on_topology_changed();
        }
        for change in &changes.list {
            match *change {
                Change::QueueDeleted(key, id) => {
                    self.drop_queue(key, id);
                    self.on_queue_known(id);
                }
                Change::QueueCreated(key, id) => {
                    self.add_queue(key, id);
                    self.look_for_departed(key);
                    self.announce_queue_created(key);
                }
                Change::QueueSettings(key) => {
                    self.configure_queue(key);
                    self.tell_replica_settings(key);
                }
                Change::ExchangeCreated(key) => {
                    self.open_hold(key);
                    self.remember_for_exchange(key);
                    self.announce_exchange_created(key);
                }
                Change::ExchangeDeleted(key) => {
                    self.drop_hold(key);
                    self.forget_for_exchange(key);
                    self.departures.on_exchange_deleted(key);
                }
                Change::Bound(source, destination) => self.replay_history(source, destination),
                Change::Unbound => {}
                Change::QueueMembers(key) => self.on_queue_members(key),
                Change::QueueMoved(key) => self.on_queue_moved(key),
                Change::VhostDeleted(key) => self.notices.push_back(Notice::VhostGone(key)),
                Change::UserDeleted(ref name) => self.notices.push_back(Notice::UserGone(name.clone())),
            }
        }
        changes.told.iter().for_each(|told| self.announce_told(told));
    }

    pub(super) fn add_queue(&mut self, key: QueueKey, id: QueueId) {
        let record = self.metadata.queue_by_key(key).expect("the queue was just created");
        if !self.metadata.is_here(record) {
            return self.add_replica(key, id);
        }
        self.remember_for_queue(key);
        let record = self.metadata.queue_by_key(key).expect("the queue was just created");
        let durable = record.durable && record.exclusive.is_none();
        if self.config.fine_events {
            let name = record.name.to_string_lossy().into_owned();
            self.events.push(Event::QueueCreated { queue: id, name, durable });
        }
        if let Some(connection) = record.exclusive {
            self.exclusive.insert((connection, key));
        }
        let queue = new_queue(record, durable, self.now);
        assert_eq!(queue.id, id, "the record is that of the change");
        self.queues.insert(key, queue);
        self.activate(key);
        self.on_queue_known(id);
        self.consider_turning(key);
    }

    /// Whoever leads a queue tells its replicas what holds from here on, and sees to it that there are as many as are to be.
    fn tell_replica_settings(&mut self, key: QueueKey) {
        if let Some(id) = self.metadata.queue_by_key(key).map(|record| record.id) {
            self.see_to_members(id);
        }
    }

    /// A queue that is not on this node alone may have a replica here.
    pub(super) fn add_replica(&mut self, key: QueueKey, id: QueueId) {
        let record = self.metadata.queue_by_key(key).filter(|record| self.metadata.has_replica_here(record));
        if record.is_some() {
            // Of a queue that was just declared, or that had none here, the log holds nothing.
            self.open_replica(key).expect("a replica can begin");
            self.on_queue_known(id);
        }
    }

    /// Declaring a queue again renews its lease, but not that of a quorum queue (RabbitMQ docs: Time-To-Live / Queue TTL).
    pub(crate) fn renew_lease(&mut self, key: QueueKey, is_declare: bool) {
        if is_declare && self.queues.get(key).is_some_and(|queue| queue.kind == QueueKind::Classic) {
            self.touch(key);
        }
    }

    /// Tells a queue its settings.
    pub(super) fn configure_queue(&mut self, key: QueueKey) {
        if let Some(record) = self.metadata.queue_by_key(key)
            && let Some(queue) = self.queues.get_mut(key)
        {
            if is_planted(Mutant::PolicyNotReapplied) {
                return;
            }
            let is_to_be_mirrored = record.settings.mirroring.is_some() && queue.settings().mirroring.is_none();
            let stays = is_to_be_mirrored && !record.can_be_replicated();
            if stays && queue.durable && self.peers.is_some() {
                let vhost =
                    self.metadata.vhost_by_key(record.vhost).map(|vhost| vhost.name.to_string_lossy().into_owned());
                let queue = record.name.to_string_lossy().into_owned();
                self.events.push(Event::StaysOnOneNode { vhost: vhost.unwrap_or_default(), queue });
            }
            queue.configure(&record.settings);
            for (consumer_key, consumer) in queue.consumers().iter() {
                if let Subscriber::Channel { connection, channel, index } = consumer.who {
                    self.notices.push_back(Notice::QueueSettings { connection, channel, index, key: consumer_key });
                }
            }
            self.activate(key);
        }
        self.consider_turning(key);
    }

    /// Deletes the queues that were one connection's alone.
    pub(crate) fn delete_exclusive_queues(&mut self, connection: ConnectionId) {
        // The default key is the null key, which is greater than all others.
        let least = KeyData::from_ffi(0).into();
        let own = self.exclusive.range((connection, least)..).take_while(|(owner, _)| *owner == connection);
        let own: Vec<_> = own.map(|(_, key)| *key).collect();
        for key in own {
            self.exclusive.remove(&(connection, key));
            self.propose_delete_queue(key);
        }
        self.forsake(connection);
    }

    pub(super) fn drop_queue(&mut self, key: QueueKey, id: QueueId) {
        self.forget_for_queue(key);
        self.forget_turning(key, id);
        let Some(mut queue) = self.queues.remove(key) else {
            self.close_replica(id);
            if let Some(peers) = &mut self.peers {
                peers.cluster_mut().forget_queue(id);
            }
            return self.drop_remote(key);
        };
        self.on_guests_queue_gone(key);
        if let Some(owner) = queue.owner {
            self.exclusive.remove(&(owner, key));
        }
        self.parked.remove(&key);
        self.stalled.remove(&key);
        self.forget_queue_timers(key, &mut queue);
        for (consumer_key, consumer) in queue.consumers().iter() {
            if let Subscriber::Channel { connection, channel, index } = consumer.who {
                self.notices.push_back(Notice::ConsumerGone { connection, channel, index, key: consumer_key });
            }
        }
        while let Some(get) = queue.take_get() {
            self.tell_get_gone(get.who);
        }
        self.body_bytes -= queue.body_bytes();
        let mut messages = 0;
        while let Some(entry) = queue.drain_one() {
            messages += 1;
            // Its owner is gone from the metadata, so the log needs no word about each message.
            if let Some(place) = entry.place() {
                self.log.release(place);
            }
        }
        self.departures.on_queue_deleted(key, messages);
        if self.config.fine_events {
            self.events.push(Event::QueueDeleted { queue: id });
        }
    }
}

/// The machine of a declared queue.
pub(super) fn new_queue(record: &QueueRecord, durable: bool, now: Now) -> ClassicQueue {
    let (kind, priority_max) = (record.arguments.kind, record.arguments.priority_max.unwrap_or(0));
    let mut queue = ClassicQueue::new(record.id, durable, record.exclusive, kind, priority_max, now);
    if record.arguments.single_active_consumer {
        queue.make_single_active();
    }
    queue.configure(&record.settings);
    queue
}

impl Name {
    /// The names a command is about.
    pub(super) fn all_of(command: &Command) -> Vec<Self> {
        // What administrators ask for waits for its turn elsewhere.
        let Some(vhost) = command.vhost() else { return Vec::new() };
        match command {
            Command::Administer(_) | Command::Found { .. } | Command::Begin { .. } => Vec::new(),
            // Where a queue is does not change how its name stands.
            Command::SetMembers { .. } | Command::SetHome { .. } | Command::Replicate { .. } => Vec::new(),
            Command::DeclareExchange { name, .. }
            | Command::DeleteExchange { name, .. }
            | Command::OpenHold { name, .. } => {
                alloc::vec![Self::Exchange(vhost.clone(), name.clone())]
            }
            Command::DeclareQueue { name, .. } | Command::DeleteQueue { name, .. } => {
                alloc::vec![Self::Queue(vhost.clone(), name.clone())]
            }
            Command::Bind { source, destination, .. } | Command::Unbind { source, destination, .. } => {
                let destination = match destination {
                    DestinationName::Queue(name) => Self::Queue(vhost.clone(), name.clone()),
                    DestinationName::Exchange(name) => Self::Exchange(vhost.clone(), name.clone()),
                };
                alloc::vec![Self::Exchange(vhost.clone(), source.clone()), destination]
            }
        }
    }
}
