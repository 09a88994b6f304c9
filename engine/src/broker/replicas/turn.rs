//! A classic queue on this node that a policy comes to mirror: it becomes one with replicas while it is in use.
//!
//! ```text
//!  on one node --> set aside --> brought --> asked for ==> replicated, this node's replica the only one
//!       ^                                       |
//!       +------- the node has stopped ----------+   (until the cluster has decided)
//! ```
//!
//! 1. The queue is set aside. From here on it is used as one with replicas that have no leader: what sessions of this node want waits
//!    there, what those of other nodes say is not heard, and they say it again. What channels of this node had waits again, in its place.
//! 2. A group begins whose only member is this node. It gets all messages, some at a time, and then the sessions of other nodes with
//!    their consumers and what these have. Nothing is taken out of the queue, so that a node that stops has it as it was.
//! 3. When all of that is on the disk the cluster is asked for [`Command::Replicate`](crate::metadata::Command::Replicate). Once that is
//!    carried out the group is the queue: it gets other members as any other does, and what was set aside goes.
//!
//! A node that stops after it has asked may have got what it asked for without having heard. So after a restart a group of a queue on one
//! node is kept, and the queue aside, until all is carried out that was decided before. If that was not among it, it begins again.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use super::super::{Broker, Notice, Wanted};
use crate::cluster::membership::FoundReplica;
use crate::cluster::version;
use crate::effect::DiskRequest;
use crate::event::Event;
use crate::ids::{QueueId, QueueSeq};
use crate::limits;
use crate::metadata::{self, QueueRecord};
use crate::queue::Subscriber;
use crate::queue::quorum::{Brought, Command, EntryWriter, Payload};
use crate::routing::QueueKey;
use crate::time::Instant;

/// Queues of this node that are to become replicated ones.
#[derive(Debug, Default)]
pub(in super::super) struct Turnings {
    /// Those that policies mirror.
    wanted: BTreeSet<QueueKey>,
    under_way: BTreeMap<QueueKey, Turning>,
    /// The version of the cluster when all queues were last looked at; 0 if they never were.
    seen_version: u16,
}

/// One that is under way.
#[derive(Debug)]
struct Turning {
    id: QueueId,
    stage: Stage,
    /// Sessions of other nodes, and whether the queue is paused: the last that the group gets.
    last: Vec<Command>,
    /// What consumers of other nodes have of it: it does not expire.
    held: BTreeSet<QueueSeq>,
    /// When it is to be tried again, after something was refused.
    again_at: Option<Instant>,
}

#[derive(Debug)]
enum Stage {
    /// The node was started, and had got so far before that the cluster may have decided.
    Found,
    /// These are left, and the last entry is this one.
    Bringing { left: VecDeque<QueueSeq>, entry: u64 },
    /// All of it is in the group up to this entry.
    Brought { entry: u64 },
    /// The cluster was asked.
    Asked,
}

impl Broker {
    /// A queue may be one that a policy mirrors.
    pub(in super::super) fn consider_turning(&mut self, key: QueueKey) {
        if self.peers.is_some() && self.metadata.queue_by_key(key).is_some_and(|record| self.is_to_turn(record)) {
            self.turnings.wanted.insert(key);
        }
    }

    fn is_to_turn(&self, record: &QueueRecord) -> bool {
        record.settings.mirroring.is_some() && record.can_be_replicated() && self.metadata.is_here(record)
    }

    /// Whether it is not known what became of a queue that was on its way to having replicas when this node stopped.
    pub(in super::super) fn is_in_doubt(&self, queue: QueueId) -> bool {
        let is_it = |turning: &Turning| turning.id == queue && matches!(turning.stage, Stage::Found);
        self.metadata.is_turning(queue) && self.turnings.under_way.values().any(is_it)
    }

    /// Goes on with queues that are to become replicated ones. Whether there is more to be done at once.
    pub(in super::super) fn go_on_turning(&mut self) -> bool {
        if !self.is_inside() {
            return false;
        }
        let version = self.peers.as_ref().map_or(0, |peers| peers.cluster().version());
        if version < version::TURN {
            return false;
        }
        if core::mem::replace(&mut self.turnings.seen_version, version) != version {
            let queues = self.metadata.queues();
            let wanted = queues.into_iter().filter(|(_, record)| self.is_to_turn(record)).map(|(key, _)| key);
            let wanted: Vec<QueueKey> = wanted.collect();
            self.turnings.wanted.extend(wanted);
            self.give_up_found();
        }
        self.begin_to_turn() | self.advance_turnings()
    }

    /// When something that was refused is to be tried again.
    pub(in super::super) fn turning_timeout(&self) -> Option<Instant> {
        self.turnings.under_way.values().filter_map(|turning| turning.again_at).min()
    }

    /// Begins with some more. Whether with any.
    fn begin_to_turn(&mut self) -> bool {
        let mut has_begun = false;
        // All that is in it is written once more.
        if self.turnings.wanted.is_empty() || self.is_drained() || self.alarms.raised().next().is_some() {
            return false;
        }
        let wanted: Vec<QueueKey> = self.turnings.wanted.iter().copied().collect();
        for key in wanted {
            if self.turnings.under_way.len() >= limits::TURNINGS_MAX {
                break;
            }
            if !self.metadata.queue_by_key(key).is_some_and(|record| self.is_to_turn(record)) {
                self.turnings.wanted.remove(&key);
            } else if self.can_turn(key) {
                self.turnings.wanted.remove(&key);
                self.set_aside(key);
                has_begun = true;
            }
        }
        has_begun
    }

    /// Whether nothing is under way in a queue that has to come to its end first.
    fn can_turn(&self, key: QueueKey) -> bool {
        self.queues.get(key).is_some_and(|queue| queue.is_quiet())
            && self.guests_of(key).count() <= limits::TURNING_SESSIONS_MAX
    }

    /// A queue is used as one with replicas from here on, of which the first begins.
    fn set_aside(&mut self, key: QueueKey) {
        let mut last = Vec::new();
        if let Some(adopt) = self.take_guests(key) {
            last.push(adopt);
        }
        let Some(mut queue) = self.queues.take_out(key) else { return };
        let id = queue.id;
        self.forget_queue_timers(key, &mut queue);
        self.parked.remove(&key);
        self.stalled.remove(&key);
        for (consumer_key, consumer) in queue.consumers().iter() {
            if let Subscriber::Channel { connection, channel, index } = consumer.who {
                let wanted = Wanted {
                    index,
                    no_ack: consumer.no_ack,
                    exclusive: consumer.exclusive,
                    prefetch: consumer.prefetch,
                    priority: consumer.priority(),
                    is_barred: consumer.is_barred(),
                };
                let moved = Notice::ConsumerMoved { connection, channel, queue: key, key: consumer_key, wanted };
                self.notices.push_back(moved);
            }
        }
        queue.take_all_back();
        if queue.is_paused() {
            last.push(Command::Pause { is_paused: true });
        }
        // What channels have of it keeps its numbers, and others are given to what comes.
        self.remote.number_from(queue.next_seq().0);
        // The first of them that is brought is the first of the group, and so on.
        let all = queue.all_ready();
        let mut held = BTreeSet::new();
        for command in &mut last {
            let Command::Adopt { consumers, .. } = command else { continue };
            for delivery in consumers.iter_mut().flat_map(|consumer| &mut consumer.unacked) {
                held.insert(delivery.seq);
                let at = all.partition_point(|seq| *seq < delivery.seq);
                delivery.seq = QueueSeq(at as u64 + 1);
            }
        }
        let left = all.into();
        self.queues.put_aside(key, queue);
        self.metadata.set_turning(id, true);
        let stage = Stage::Bringing { left, entry: 0 };
        self.turnings.under_way.insert(key, Turning { id, stage, last, held, again_at: None });
        self.open_replica(key).expect("a replica can begin");
        let (vhost, queue) = self.called(key);
        self.events.push(Event::BecomesReplicated { vhost, queue });
    }

    /// Sees which can go on. Whether any can.
    fn advance_turnings(&mut self) -> bool {
        let now = self.now.mono;
        let mut are_any = false;
        let under_way: Vec<(QueueKey, QueueId)> =
            self.turnings.under_way.iter().map(|(key, turning)| (*key, turning.id)).collect();
        for (key, id) in under_way {
            let Some(turning) = self.turnings.under_way.get_mut(&key) else { continue };
            if turning.again_at.is_some_and(|at| at > now) {
                continue;
            }
            turning.again_at = None;
            match turning.stage {
                Stage::Found | Stage::Asked => {}
                Stage::Bringing { entry, .. } => {
                    let replica = self.replicas.by_queue.get(&id);
                    let is_ready = replica.is_some_and(|replica| replica.leads && replica.applied() >= entry);
                    if is_ready && !self.queues.is_aside_reading(key) && !self.active.contains(&key) {
                        self.active.push_back(key);
                        are_any = true;
                    }
                }
                Stage::Brought { entry } => {
                    let is_applied = self.replicas.by_queue.get(&id).is_some_and(|replica| replica.applied() >= entry);
                    let peers = self.peers.as_ref();
                    if is_applied && peers.is_some_and(|peers| peers.cluster().is_durable(id, entry)) {
                        self.ask_to_replicate(key, id);
                        are_any = true;
                    }
                }
            }
        }
        are_any
    }

    fn ask_to_replicate(&mut self, key: QueueKey, id: QueueId) {
        let Some(record) = self.metadata.queue_by_key(key) else { return };
        let (vhost, name, node) = (self.vhost_name(record.vhost), record.name.clone(), self.metadata.own());
        let asked = self.ask_cluster(metadata::Command::Replicate { vhost, name, id, node }, None);
        let again_at = self.now.mono + limits::REPLICA_RETRY;
        let Some(turning) = self.turnings.under_way.get_mut(&key) else { return };
        match asked {
            Ok(()) => turning.stage = Stage::Asked,
            Err(_) => turning.again_at = Some(again_at),
        }
    }

    /// Gives a group the next messages of its queue; reads are begun here.
    pub(in super::super) fn bring(&mut self, key: QueueKey, out: &mut Vec<DiskRequest>) {
        let now = self.now;
        let read_ahead_bytes = self.read_ahead_bytes();
        let Some(queue) = self.queues.aside_mut(key) else { return };
        let Some(turning) = self.turnings.under_way.get_mut(&key) else { return };
        let Stage::Bringing { left, entry } = &mut turning.stage else { return };
        let id = turning.id;
        if self.replicas.by_queue.get(&id).is_none_or(|replica| !replica.leads || replica.applied() < *entry) {
            return;
        }
        let (mut messages, mut payloads) = (Vec::new(), Vec::new());
        for seq in left.iter().take(limits::TURNING_MESSAGES) {
            let Some(waiting) = queue.ready_entry(*seq) else { continue };
            let Some(message) = waiting.message.as_ref().filter(|_| payloads.len() < limits::TURNING_BYTES) else {
                break;
            };
            let (head, body) = message.payload();
            payloads.extend_from_slice(head);
            payloads.extend_from_slice(body);
            let state = queue.state_of(waiting, now);
            let len = u32::try_from(head.len() + body.len()).expect("a message fits a record");
            messages.push(Brought {
                size: waiting.size(),
                priority: waiting.priority(),
                expires_at: if turning.held.contains(seq) { 0 } else { state.expires_at },
                failed: state.deliveries,
                is_redelivered: waiting.is_redelivered(),
                is_persistent: !waiting.is_transient() && waiting.place().is_some(),
                payload: Payload { at: 0, len },
            });
        }
        if messages.is_empty() && !left.is_empty() {
            if let Some((first, len)) = queue.read_ready(left.iter().copied(), read_ahead_bytes) {
                self.log.read(first.lsn, len, id.0, out);
            }
            return;
        }
        let mut writer = EntryWriter::default();
        let count = messages.len();
        if count > 0 {
            writer.push(&Command::Bring { messages }, &payloads);
        }
        let is_last = count == left.len();
        if is_last {
            turning.last.iter().for_each(|command| writer.push(command, &[]));
            if writer.is_empty() {
                writer.push(&Command::Tick, &[]);
            }
        }
        let proposed = self.propose_to(id, &writer.take());
        let again_at = self.now.mono + limits::REPLICA_RETRY;
        let written = self.log.written();
        let Some(queue) = self.queues.aside_mut(key) else { return };
        let Some(turning) = self.turnings.under_way.get_mut(&key) else { return };
        let (Stage::Bringing { left, entry }, Some(proposed)) = (&mut turning.stage, proposed) else {
            turning.again_at = Some(again_at);
            return;
        };
        *entry = proposed.index;
        let before = queue.body_bytes();
        left.drain(..count).for_each(|seq| queue.drop_body(seq, written));
        self.body_bytes -= before - queue.body_bytes();
        if is_last {
            turning.stage = Stage::Brought { entry: proposed.index };
        }
    }

    /// A queue has replicas, as the cluster has decided: what was set aside of it goes, if anything was.
    pub(super) fn end_turning(&mut self, key: QueueKey) {
        let Some(turning) = self.turnings.under_way.get(&key) else { return };
        let id = turning.id;
        self.forget_turning(key, id);
        if let Some(leader) = self.replicas.leader(id).flatten() {
            self.on_queue_leader(id, leader);
        }
        let (vhost, queue) = self.called(key);
        self.events.push(Event::IsReplicated { vhost, queue });
    }

    /// A queue's vhost and name, for events.
    fn called(&self, key: QueueKey) -> (String, String) {
        let Some(record) = self.metadata.queue_by_key(key) else { return Default::default() };
        let vhost = self.vhost_name(record.vhost).to_string_lossy().into_owned();
        (vhost, record.name.to_string_lossy().into_owned())
    }

    /// A queue has replicas, or is gone.
    pub(in super::super) fn forget_turning(&mut self, key: QueueKey, id: QueueId) {
        self.turnings.wanted.remove(&key);
        if self.turnings.under_way.remove(&key).is_none() {
            return;
        }
        self.metadata.set_turning(id, false);
        let Some(mut queue) = self.queues.take_aside(key) else { return };
        self.body_bytes -= queue.body_bytes();
        while let Some(entry) = queue.drain_one() {
            // By the metadata it is no owner any more, so the log needs no word about each message.
            if let Some(place) = entry.place() {
                self.log.release(place);
            }
        }
    }

    /// After a restart: a queue on this node whose group had begun waits until it is known what became of that.
    pub(super) fn keep_found(&mut self, key: QueueKey, id: QueueId, found: FoundReplica) -> Result<(), String> {
        let Some(mut queue) = self.queues.take_out(key) else { return Ok(()) };
        self.forget_queue_timers(key, &mut queue);
        self.queues.put_aside(key, queue);
        self.metadata.set_turning(id, true);
        let turning = Turning { id, stage: Stage::Found, last: Vec::new(), held: BTreeSet::new(), again_at: None };
        self.turnings.under_way.insert(key, turning);
        self.start_replica(key, Some(found))
    }

    /// All is carried out that was decided before the restart: what has not become replicated did not.
    fn give_up_found(&mut self) {
        let found = self.turnings.under_way.iter().filter(|(_, turning)| matches!(turning.stage, Stage::Found));
        let found: Vec<(QueueKey, QueueId)> = found.map(|(key, turning)| (*key, turning.id)).collect();
        for (key, id) in found {
            self.turnings.under_way.remove(&key);
            self.metadata.set_turning(id, false);
            self.close_replica(id);
            if let Some(queue) = self.queues.take_aside(key) {
                self.queues.insert(key, queue);
            }
            self.activate(key);
            self.return_sessions(key);
            self.on_queue_known(id);
            self.consider_turning(key);
        }
    }

    /// Checks what must hold between inputs.
    pub(super) fn check_turning_invariants(&self) {
        assert_eq!(self.turnings.under_way.len(), self.queues.aside_len(), "what is set aside is under way");
        for (key, turning) in &self.turnings.under_way {
            assert!(self.metadata.is_turning(turning.id), "the metadata knows that queue {} is turning", turning.id);
            assert!(self.metadata.queue_by_key(*key).is_some(), "queue {} is there", turning.id);
            assert!(self.replicas.has(turning.id), "queue {} has a replica", turning.id);
        }
    }
}
