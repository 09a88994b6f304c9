//! What all connections of a node share: metadata, queues, the log, and who waits for what.
//!
//! A connection changes the broker directly and learns what that meant for others never: deliveries, cancellations and answers that
//! come later are left in [`Broker::active`], [`Broker::notices`] and the waiting lists, and the engine brings them round once the
//! connection is done.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use slotmap::{KeyData, SecondaryMap};

use crate::amqp::{AmqpError, RawProperties, ShortStr};
use crate::auth::Users;
use crate::collections::IdMap;
use crate::config::Config;
use crate::event::Event;
use crate::ids::{ChannelNumber, ConnectionId, Lsn, PublishSeqno, QueueId, QueueSeq};
use crate::message::Message;
use crate::metadata::{Change, Changes, Command, DestinationName, Metadata};
use crate::mutants::{Mutant, is_planted};
use crate::queue::{ClassicQueue, ConsumerKey, Entry, Next, Subscription, Taken};
use crate::routing::{ExchangeKey, QueueKey, RouteScratch};
use crate::storage::{Log, Owners, Place, Recovered, Ref, RefFlags};
use crate::time::Now;

/// The state that connections share.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) config: Config,
    pub(crate) users: Users,
    pub(crate) metadata: Metadata,
    pub(crate) log: Log,
    pub(crate) queues: Queues,
    /// Queues that may have something to deliver, each once.
    active: VecDeque<QueueKey>,
    is_active: SecondaryMap<QueueKey, ()>,
    /// Queues with bodies to drop once the log has them, each once.
    droppers: Vec<QueueKey>,
    is_dropper: SecondaryMap<QueueKey, ()>,
    /// Who waits for the log to be durable up to where, in order.
    waiters: VecDeque<Waiter>,
    /// Metadata commands in the log that are not durable yet, in order.
    proposals: VecDeque<Proposal>,
    /// Names the proposals are about, each with how many.
    pending_names: BTreeMap<Name, usize>,
    /// Channels that wait for proposals about a name they need.
    pub(crate) blocked_channels: Vec<ChannelRef>,
    /// Whether a proposal was applied since they were looked at.
    pub(crate) have_names_changed: bool,
    /// Queues that go with their connection.
    exclusive: BTreeSet<(ConnectionId, QueueKey)>,
    /// Why publishers are stopped at the moment.
    alarm: Option<&'static str>,
    /// Connections stopped by the alarm.
    pub(crate) alarm_paused: Vec<ConnectionId>,
    /// Connections stopped because the log is behind.
    pub(crate) log_paused: Vec<ConnectionId>,
    /// What other channels have to be told.
    pub(crate) notices: VecDeque<Notice>,
    pub(crate) events: Vec<Event>,
    rng: ChaCha8Rng,
    /// Bytes of message bodies in memory, over all queues.
    body_bytes: usize,
    route_scratch: RouteScratch,
    routed: Vec<QueueKey>,
    refs: Vec<Ref>,
}

/// The queue machines, by key and by incarnation.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    by_key: SecondaryMap<QueueKey, ClassicQueue>,
    keys: IdMap<u64, QueueKey>,
}

impl Queues {
    pub(crate) fn get(&self, key: QueueKey) -> Option<&ClassicQueue> {
        self.by_key.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: QueueKey) -> Option<&mut ClassicQueue> {
        self.by_key.get_mut(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (QueueKey, &ClassicQueue)> {
        self.by_key.iter()
    }

    fn insert(&mut self, key: QueueKey, queue: ClassicQueue) {
        self.keys.insert(queue.id.0, key);
        self.by_key.insert(key, queue);
    }

    fn remove(&mut self, key: QueueKey) -> Option<ClassicQueue> {
        let queue = self.by_key.remove(key)?;
        self.keys.remove(&queue.id.0);
        Some(queue)
    }

    fn by_owner(&self, owner: u64) -> Option<&ClassicQueue> {
        self.by_key.get(*self.keys.get(&owner)?)
    }
}

/// One incarnation of a channel: a number that is used again is another channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChannelRef {
    pub(crate) connection: ConnectionId,
    pub(crate) channel: ChannelNumber,
    pub(crate) epoch: u32,
}

/// Somebody who waits for the log.
#[derive(Debug)]
struct Waiter {
    end: Lsn,
    channel: ChannelRef,
    what: Durable,
}

/// What became durable for a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    /// A publish, which is to be confirmed.
    Publish(PublishSeqno),
    /// A transaction.
    Commit,
}

/// A metadata command on its way.
#[derive(Debug)]
struct Proposal {
    end: Lsn,
    command: Command,
    names: Vec<Name>,
    requester: Option<ChannelRef>,
}

/// The name of something a metadata command is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// An exchange, by vhost and name.
    Exchange(ShortStr, ShortStr),
    /// A queue, by vhost and name.
    Queue(ShortStr, ShortStr),
}

/// Something another channel has to be told.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A consumer's queue has gone.
    ConsumerGone { connection: ConnectionId, channel: ChannelNumber, index: u32, key: ConsumerKey },
    /// The queue a `basic.get` waited for has gone.
    GetGone { connection: ConnectionId, channel: ChannelNumber },
    /// A metadata command was applied, or failed.
    Applied { channel: ChannelRef, result: Result<(), AmqpError> },
    /// The log is durable up to where somebody waited for.
    Durable { channel: ChannelRef, what: Durable },
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// No queue took it.
    Unroutable,
    /// Every queue that took it has it for as long as it promised to.
    Kept,
    /// It is kept once the log is durable up to here.
    KeptAt(Lsn),
}

impl Broker {
    /// A broker before recovery.
    pub(crate) fn new(config: Config, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let users = Users::new(&config, rng.next_u32().to_le_bytes());
        Self {
            users,
            metadata: Metadata::new(rng.next_u64()),
            log: Log::new(config.log.clone(), rng.next_u64()),
            config,
            queues: Queues::default(),
            active: VecDeque::new(),
            is_active: SecondaryMap::new(),
            droppers: Vec::new(),
            is_dropper: SecondaryMap::new(),
            waiters: VecDeque::new(),
            proposals: VecDeque::new(),
            pending_names: BTreeMap::new(),
            blocked_channels: Vec::new(),
            have_names_changed: false,
            exclusive: BTreeSet::new(),
            alarm: None,
            alarm_paused: Vec::new(),
            log_paused: Vec::new(),
            notices: VecDeque::new(),
            events: Vec::new(),
            rng,
            body_bytes: 0,
            route_scratch: RouteScratch::default(),
            routed: Vec::new(),
            refs: Vec::new(),
        }
    }

    /// Sixteen bytes that nobody can guess, for names the server makes.
    pub(crate) fn random_bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// Bytes of message bodies in memory.
    pub(crate) fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// Why publishers are stopped, in RabbitMQ's words, if they are.
    pub(crate) fn alarm_reason(&self) -> Option<&'static str> {
        self.alarm
    }

    /// Looks whether the disk is full. Whether that is over since the last look.
    pub(crate) fn check_alarm(&mut self) -> bool {
        match (self.alarm, self.log.is_full()) {
            (None, true) => {
                self.alarm = Some("low on disk");
                self.events.push(Event::AlarmRaised { resource: "disk" });
                false
            }
            (Some(_), false) => {
                self.alarm = None;
                self.events.push(Event::AlarmCleared { resource: "disk" });
                true
            }
            _ => false,
        }
    }

    // Publishing.

    /// Finds the queues for a message; the result is read by [`Broker::take_routed`] or the next [`Broker::enqueue`].
    pub(crate) fn route(&mut self, exchange: ExchangeKey, routing_key: &[u8], properties: &RawProperties) -> bool {
        self.metadata.route(exchange, &[routing_key], properties, &mut self.route_scratch, &mut self.routed);
        !self.routed.is_empty()
    }

    /// The queues found by [`Broker::route`], to be given to [`Broker::set_routed`] later.
    pub(crate) fn take_routed(&mut self) -> Vec<QueueKey> {
        core::mem::take(&mut self.routed)
    }

    /// Sets the queues that [`Broker::enqueue`] is about.
    pub(crate) fn set_routed(&mut self, routed: Vec<QueueKey>) {
        self.routed = routed;
    }

    /// Gives a message to all queues found by [`Broker::route`] that still exist.
    pub(crate) fn enqueue(
        &mut self,
        message: &Arc<Message>,
        persistent: bool,
        publisher: ChannelRef,
        seqno: Option<PublishSeqno>,
    ) -> Published {
        self.refs.clear();
        let pages_out = self.body_bytes > self.config.memory_high_bytes && !self.log.is_full();
        let mut is_kept_by_log = false;
        self.routed.retain(|key| self.queues.get(*key).is_some());
        if self.routed.is_empty() {
            return Published::Unroutable;
        }
        for key in &self.routed {
            let Some(queue) = self.queues.get(*key) else { continue };
            let is_logged = queue.durable && persistent;
            is_kept_by_log |= is_logged;
            if is_logged || (pages_out && queue.body_bytes() > self.config.queue_cache_bytes) {
                let flags = if is_logged { RefFlags::NONE } else { RefFlags::TRANSIENT };
                self.refs.push(Ref { owner: queue.id.0, seq: queue.next_seq().0, flags });
            }
        }
        let place = if self.refs.is_empty() {
            None
        } else {
            let (head, body) = message.payload();
            Some(self.log.append_message(&self.refs, head, body))
        };
        let mut refs = self.refs.iter().peekable();
        for index in 0..self.routed.len() {
            let key = self.routed[index];
            let Some(queue) = self.queues.get_mut(key) else { continue };
            let own = refs.next_if(|own| own.owner == queue.id.0);
            let before = queue.body_bytes();
            let seq = queue.next_seq();
            queue.enqueue(
                Arc::clone(message),
                own.and(place),
                own.map_or(RefFlags::NONE, |own| own.flags),
                self.config.queue_cache_bytes,
            );
            self.body_bytes += queue.body_bytes() - before;
            let has_droppable = queue.has_droppable();
            if self.config.fine_events {
                self.events.push(Event::Enqueued {
                    queue: queue.id,
                    seq,
                    lsn: own.and(place).map(|place| place.lsn),
                    connection: publisher.connection,
                    channel: publisher.channel,
                    seqno,
                });
            }
            if has_droppable && self.is_dropper.insert(key, ()).is_none() {
                self.droppers.push(key);
            }
            if self.is_active.insert(key, ()).is_none() {
                self.active.push_back(key);
            }
        }
        match place {
            Some(place) if is_kept_by_log => Published::KeptAt(place.end()),
            _ => Published::Kept,
        }
    }

    /// Tells the channel once the log is durable up to `end`.
    pub(crate) fn wait_for_log(&mut self, end: Lsn, channel: ChannelRef, what: Durable) {
        if end <= self.log.durable() {
            self.notices.push_back(Notice::Durable { channel, what });
            return;
        }
        self.log.request_sync();
        // A settlement lies somewhere in a block that publishes may have filled already, whose end they wait for.
        let end = self.waiters.back().map_or(end, |last| last.end.max(end));
        self.waiters.push_back(Waiter { end, channel, what });
    }

    // Consuming.

    /// Notes that a queue may have something to deliver.
    pub(crate) fn activate(&mut self, key: QueueKey) {
        if self.queues.get(key).is_some() && self.is_active.insert(key, ()).is_none() {
            self.active.push_back(key);
        }
    }

    /// A queue that may have something to deliver.
    pub(crate) fn next_active(&mut self) -> Option<QueueKey> {
        let key = self.active.pop_front()?;
        self.is_active.remove(key);
        Some(key)
    }

    /// What a queue wants done next; reads are begun here.
    pub(crate) fn next_offer(
        &mut self,
        key: QueueKey,
        out: &mut Vec<crate::effect::DiskRequest>,
    ) -> Option<Subscription> {
        let queue = self.queues.get_mut(key)?;
        match queue.next(self.config.read_ahead_bytes) {
            Next::Idle => None,
            Next::Offer(subscription) => Some(subscription),
            Next::Read { first, len } => {
                let token = queue.id.0;
                self.log.read(first.lsn, len, token, out);
                None
            }
        }
    }

    /// Takes the next message out of a queue for the subscription it offered.
    pub(crate) fn take(&mut self, key: QueueKey, subscription: &Subscription) -> Taken {
        let queue = self.queues.get_mut(key).expect("the queue made an offer");
        let before = queue.body_bytes();
        let taken = queue.take(subscription, self.log.written(), self.config.queue_cache_bytes);
        self.body_bytes -= before - queue.body_bytes();
        let (id, has_droppable) = (queue.id, queue.has_droppable());
        if has_droppable && self.is_dropper.insert(key, ()).is_none() {
            self.droppers.push(key);
        }
        let no_ack = match subscription {
            Subscription::Consumer { no_ack, .. } => *no_ack,
            Subscription::Get(get) => get.no_ack,
        };
        if no_ack {
            self.forget(id, taken.seq, taken.place, taken.recoverable);
        } else if taken.recoverable && !taken.redelivered {
            self.log.mark_delivered(id.0, taken.seq.0);
        }
        taken
    }

    /// A delivered message is done with. From where on the log knows; 0 if it never knew the message.
    pub(crate) fn settle(&mut self, key: QueueKey, seq: QueueSeq) -> Lsn {
        let Some(queue) = self.queues.get_mut(key) else { return Lsn(0) };
        let before = queue.body_bytes();
        let Some(entry) = queue.settle(seq) else { return Lsn(0) };
        self.body_bytes -= before - queue.body_bytes();
        let id = queue.id;
        let end = self.forget_entry(id, &entry);
        self.activate(key);
        end
    }

    /// A delivered message goes back to its place.
    pub(crate) fn give_back(&mut self, key: QueueKey, seq: QueueSeq) {
        if let Some(queue) = self.queues.get_mut(key)
            && queue.give_back(seq)
        {
            self.activate(key);
        }
    }

    /// Removes all messages that wait for a consumer. How many there were.
    pub(crate) fn purge(&mut self, key: QueueKey) -> usize {
        let mut count = 0;
        while let Some(queue) = self.queues.get_mut(key) {
            let before = queue.body_bytes();
            let Some(entry) = queue.purge_one() else { break };
            self.body_bytes -= before - queue.body_bytes();
            let id = queue.id;
            self.forget_entry(id, &entry);
            count += 1;
        }
        count
    }

    /// Removes a consumer from its queue; an auto-delete queue goes with its last one.
    pub(crate) fn unsubscribe(&mut self, key: QueueKey, consumer: ConsumerKey) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        queue.unsubscribe(consumer);
        let is_unused = queue.consumers().len() == 0;
        self.activate(key);
        let is_auto_delete = self.metadata.queue_by_key(key).is_some_and(|record| record.auto_delete);
        if is_unused && is_auto_delete {
            self.propose_delete_queue(key);
        }
    }

    fn forget_entry(&mut self, queue: QueueId, entry: &Entry) -> Lsn {
        let recoverable = !entry.flags.contains(RefFlags::TRANSIENT);
        self.forget(queue, entry.seq, entry.place(), recoverable)
    }

    /// A message left its queue for good: the log may forget it too. From where on it knows.
    fn forget(&mut self, queue: QueueId, seq: QueueSeq, place: Option<Place>, recoverable: bool) -> Lsn {
        let mut end = None;
        if let Some(place) = place {
            if recoverable && is_planted(Mutant::AckedBackAfterRestart) {
                self.log.release(place);
                end = Some(self.log.end());
            } else if recoverable {
                end = Some(self.log.settle(queue.0, seq.0, place));
            } else {
                self.log.release(place);
            }
        }
        if self.config.fine_events {
            self.events.push(Event::Settled { queue, seq, lsn: end });
        }
        end.unwrap_or_default()
    }

    /// Forgets the `basic.get`s of a channel that has gone.
    pub(crate) fn forget_gets(&mut self, connection: ConnectionId, channel: ChannelNumber) {
        for queue in self.queues.by_key.values_mut() {
            queue.forget_gets(connection, channel);
        }
    }

    // Metadata.

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
    /// The result comes as [`Notice::Applied`] if `true` is returned.
    ///
    /// # Errors
    /// As [`Metadata::apply`].
    pub(crate) fn propose(&mut self, command: Command, requester: Option<ChannelRef>) -> Result<bool, AmqpError> {
        if !self.metadata.is_durable(&command) {
            let changes = self.metadata.apply(command)?;
            self.on_changes(&changes);
            return Ok(false);
        }
        let names = Name::all_of(&command);
        for name in &names {
            *self.pending_names.entry(name.clone()).or_default() += 1;
        }
        let end = self.log_command(&command);
        self.log.request_sync();
        self.proposals.push_back(Proposal { end, command, names, requester });
        Ok(true)
    }

    fn log_command(&mut self, command: &Command) -> Lsn {
        let mut encoded = BytesMut::new();
        command.encode(&mut encoded);
        self.log.append_metadata(&encoded)
    }

    /// Deletes a queue on the broker's own account.
    pub(crate) fn propose_delete_queue(&mut self, key: QueueKey) {
        let Some(record) = self.metadata.queue_by_key(key) else { return };
        let Some(vhost) = self.metadata.vhost_by_key(record.vhost) else { return };
        let command = Command::DeleteQueue { vhost: vhost.name.clone(), name: record.name.clone(), id: record.id };
        // A queue that is there can be deleted; one that is not needs no deletion.
        let _ = self.propose(command, None);
    }

    /// Applies the changes of a metadata command to the machines.
    fn on_changes(&mut self, changes: &Changes) {
        for command in &changes.also_log {
            self.log_command(command);
        }
        for change in &changes.list {
            match *change {
                Change::QueueDeleted(key, id) => self.drop_queue(key, id),
                Change::QueueCreated(key, id) => self.add_queue(key, id),
                Change::ExchangeCreated(_) | Change::ExchangeDeleted(_) | Change::Bound | Change::Unbound => {}
            }
        }
    }

    fn add_queue(&mut self, key: QueueKey, id: QueueId) {
        let record = self.metadata.queue_by_key(key).expect("the queue was just created");
        let durable = record.durable && record.exclusive.is_none();
        if self.config.fine_events {
            let name = record.name.to_string_lossy().into_owned();
            self.events.push(Event::QueueCreated { queue: id, name, durable });
        }
        if let Some(connection) = record.exclusive {
            self.exclusive.insert((connection, key));
        }
        self.queues.insert(key, ClassicQueue::new(id, durable, record.exclusive));
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
    }

    fn drop_queue(&mut self, key: QueueKey, id: QueueId) {
        let Some(mut queue) = self.queues.remove(key) else { return };
        if let Some(owner) = queue.owner {
            self.exclusive.remove(&(owner, key));
        }
        self.is_active.remove(key);
        for (consumer_key, consumer) in queue.consumers().iter() {
            self.notices.push_back(Notice::ConsumerGone {
                connection: consumer.connection,
                channel: consumer.channel,
                index: consumer.index,
                key: consumer_key,
            });
        }
        while let Some(get) = queue.take_get() {
            self.notices.push_back(Notice::GetGone { connection: get.connection, channel: get.channel });
        }
        self.body_bytes -= queue.body_bytes();
        while let Some(entry) = queue.drain_one() {
            // Its owner is gone from the metadata, so the log needs no word about each message.
            if let Some(place) = entry.place() {
                self.log.release(place);
            }
        }
        if self.config.fine_events {
            self.events.push(Event::QueueDeleted { queue: id });
        }
    }

    // The log.

    /// Brings round what the log's progress means: bodies that may go, commands to apply, publishers to tell.
    pub(crate) fn on_log_progress(&mut self) {
        let (written, mut durable) = (self.log.written(), self.log.durable());
        if is_planted(Mutant::ConfirmBeforeFsync) {
            durable = self.log.end();
        }
        let mut index = 0;
        while let Some(&key) = self.droppers.get(index) {
            let still = self.queues.get_mut(key).is_some_and(|queue| {
                let before = queue.body_bytes();
                queue.drop_written_bodies(written);
                self.body_bytes -= before - queue.body_bytes();
                queue.has_droppable()
            });
            if still {
                index += 1;
            } else {
                self.droppers.swap_remove(index);
                self.is_dropper.remove(key);
            }
        }
        while self.proposals.front().is_some_and(|proposal| proposal.end <= durable) {
            let Some(Proposal { command, names, requester, .. }) = self.proposals.pop_front() else { break };
            for name in names {
                if let Some(count) = self.pending_names.get_mut(&name) {
                    *count -= 1;
                    if *count == 0 {
                        self.pending_names.remove(&name);
                    }
                }
            }
            self.have_names_changed = true;
            let result = self.metadata.apply(command).map(|changes| self.on_changes(&changes));
            if let Some(channel) = requester {
                self.notices.push_back(Notice::Applied { channel, result });
            }
        }
        while self.waiters.front().is_some_and(|waiter| waiter.end <= durable) {
            let Some(Waiter { channel, what, .. }) = self.waiters.pop_front() else { break };
            self.notices.push_back(Notice::Durable { channel, what });
        }
    }

    /// Rebuilds everything from what the log had kept. The number of messages and queues.
    ///
    /// # Errors
    /// A text for the operator if the log holds something that cannot be.
    pub(crate) fn recover(&mut self, recovered: Recovered) -> Result<(u64, u64), String> {
        let hash_seed = self.rng.next_u64();
        let Recovered { snapshot, metadata, owners, .. } = recovered;
        let unreadable = |what: &str| alloc::format!("the log holds {what} that this version cannot read");
        if let Some(snapshot) = snapshot {
            let (base, pending) = decode_base(&snapshot).ok_or_else(|| unreadable("a metadata snapshot"))?;
            self.metadata = Metadata::restore(base, hash_seed).map_err(|_| unreadable("a metadata snapshot"))?;
            for command in pending {
                self.replay(command).ok_or_else(|| unreadable("a metadata command"))?;
            }
        }
        for command in metadata {
            self.replay(command).ok_or_else(|| unreadable("a metadata command"))?;
        }
        let keys: Vec<_> = self.metadata.queues().into_iter().map(|(key, record)| (key, record.id)).collect();
        let mut owners = owners;
        if let Some((last, _)) = owners.last_key_value() {
            self.metadata.skip_queue_ids(QueueId(*last));
        }
        let mut messages = 0;
        for (key, id) in &keys {
            let mut queue = ClassicQueue::new(*id, true, None);
            let owner = owners.remove(&id.0).unwrap_or_default();
            for kept in owner.refs {
                self.log.retain(kept.place());
                queue.recover(QueueSeq(kept.seq), kept.place(), kept.flags);
                messages += 1;
            }
            queue.continue_from(QueueSeq(owner.next_seq));
            self.queues.insert(*key, queue);
        }
        Ok((messages, keys.len() as u64))
    }

    fn replay(&mut self, command: Bytes) -> Option<()> {
        let command = Command::decode(command).ok()?;
        // A command about what was deleted again later may find nothing; see `Metadata::replay`.
        let _ = self.metadata.replay(command);
        Some(())
    }

    /// Lets the log do its work at the end of a batch.
    pub(crate) fn flush_log(&mut self, now: Now, out: &mut Vec<crate::effect::DiskRequest>) {
        let (log, owners) = self.log_and_owners();
        log.flush(now.mono, &owners, out);
    }

    /// Splits the broker into the log and the view it needs of everything else.
    pub(crate) fn log_and_owners(&mut self) -> (&mut Log, LogOwners<'_>) {
        let owners = LogOwners { queues: &mut self.queues, metadata: &self.metadata, proposals: &self.proposals };
        (&mut self.log, owners)
    }

    /// What was read for a queue.
    ///
    /// # Errors
    /// A text for the operator if it is damaged.
    pub(crate) fn on_read(&mut self, token: u64, start: Lsn, data: &Bytes) -> Result<(), &'static str> {
        let Some(&key) = self.queues.keys.get(&token) else { return Ok(()) };
        let Some(queue) = self.queues.get_mut(key) else { return Ok(()) };
        let before = queue.body_bytes();
        let log = &self.log;
        queue.on_read(start, data, |lsn, record| log.open_record(lsn, record).ok())?;
        self.body_bytes += queue.body_bytes() - before;
        self.activate(key);
        Ok(())
    }

    /// Checks the broker's invariants.
    ///
    /// # Panics
    /// If one is broken.
    pub(crate) fn check_invariants(&self) {
        let mut bytes = 0;
        for (key, queue) in self.queues.iter() {
            queue.check_invariants();
            bytes += queue.body_bytes();
            assert_eq!(
                self.metadata.queue_by_key(key).map(|record| record.id),
                Some(queue.id),
                "a machine has a record"
            );
        }
        assert_eq!(bytes, self.body_bytes, "bytes in memory are counted over all queues");
        assert_eq!(self.metadata.queues().len(), self.queues.iter().count(), "a record has a machine");
        self.log.check_invariants();
    }
}

impl Name {
    /// The names a command is about.
    fn all_of(command: &Command) -> Vec<Self> {
        let vhost = command.vhost();
        match command {
            Command::DeclareExchange { name, .. } | Command::DeleteExchange { name, .. } => {
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

/// The metadata as the log keeps it: a snapshot of what is applied, and the commands before it in the log that are not.
fn encode_base(metadata: &Metadata, proposals: &VecDeque<Proposal>) -> Bytes {
    let snapshot = metadata.snapshot();
    let mut base = BytesMut::with_capacity(snapshot.len() + 8);
    put_part(&mut base, &snapshot);
    for proposal in proposals {
        let mut command = BytesMut::new();
        proposal.command.encode(&mut command);
        put_part(&mut base, &command);
    }
    base.freeze()
}

fn put_part(base: &mut BytesMut, part: &[u8]) {
    base.put_u32_le(u32::try_from(part.len()).expect("metadata fits 4 GiB"));
    base.put_slice(part);
}

/// The parts of [`encode_base`]: the snapshot and the commands.
fn decode_base(base: &Bytes) -> Option<(Bytes, Vec<Bytes>)> {
    let mut rest = base.clone();
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let len = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
        if len > rest.len() {
            return None;
        }
        parts.push(rest.split_to(len));
    }
    let mut parts = parts.into_iter();
    Some((parts.next()?, parts.collect()))
}

/// Who answers for what is in the log.
#[derive(Debug)]
pub(crate) struct LogOwners<'a> {
    queues: &'a mut Queues,
    metadata: &'a Metadata,
    proposals: &'a VecDeque<Proposal>,
}

impl Owners for LogOwners<'_> {
    fn live(&self, owner: u64, seq: u64, lsn: Lsn) -> Option<RefFlags> {
        self.queues.by_owner(owner)?.flags_at(QueueSeq(seq), lsn)
    }

    fn moved(&mut self, owner: u64, seq: u64, from: Lsn, to: Place) {
        let Some(&key) = self.queues.keys.get(&owner) else { return };
        if let Some(queue) = self.queues.by_key.get_mut(key) {
            queue.on_moved(QueueSeq(seq), from, to);
        }
    }

    fn snapshot(&self) -> Bytes {
        encode_base(self.metadata, self.proposals)
    }
}
