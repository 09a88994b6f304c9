//! This node's replicas of quorum queues: each a member of its queue's Raft group, of which one leads.
//!
//! All replicas apply the same entries to the same machine ([`QuorumQueue`]); the one that leads carries out what comes of them. Sessions
//! of channels, wherever they are, talk to it as they do to classic queues of other nodes ([`super::remote`]).
//!
//! ```text
//!  sessions == commands ==> leader --- entries ---> group --- applied ---> machine of each replica
//!      ^                                                                        |
//!      +======= applied, deliveries (bodies from the log), notices ============ + (the leader's alone)
//! ```
//!
//! # What of the log is kept
//!
//! The bodies of messages are in the group's entries, so the log is kept from the first entry on that holds a message that lives. Now
//! and then a replica takes its state down; once all that lived then is gone, that state stands for the log before it, and goes to
//! members that lag behind further than that.

mod apply;
mod deliver;
mod lead;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use super::Broker;
use crate::cluster::consensus::{EntryId, Mark, Members, SnapshotNeed};
use crate::cluster::membership::OfGroup;
use crate::cluster::queues::Frame;
use crate::engine::{ReplicaEntry, ReplicaReach, ReplicaStatus};
use crate::ids::{NodeId, QueueId};
use crate::limits;
use crate::queue::quorum::{Actions, Command, DeathNumber, LogIndex, QuorumQueue};
use crate::routing::QueueKey;
use crate::time::Instant;

use deliver::Outgoing;

/// All replicas of this node.
#[derive(Debug, Default)]
pub(crate) struct Replicas {
    by_queue: BTreeMap<QueueId, Replica>,
    /// Those that may have something to hand out.
    active: BTreeSet<QueueId>,
    /// Those that had to wait with that: for a link, or for the log to be written.
    waiting: BTreeSet<QueueId>,
    /// Those that lead, by when time alone changes something in them.
    due: BTreeSet<(Instant, QueueId)>,
    actions: Actions,
    commands: Vec<Command>,
}

/// A member of a queue's group.
#[derive(Debug)]
pub(super) struct Replica {
    key: QueueKey,
    machine: QuorumQueue,
    leader: Option<NodeId>,
    term: u64,
    /// Whether it leads, and has applied all that was committed before.
    leads: bool,
    /// The youngest entries with their bodies.
    recent: VecDeque<(u64, Bytes)>,
    recent_bytes: usize,
    /// What a leader has to hand out and could not yet, in order.
    outgoing: VecDeque<Outgoing>,
    /// The entry that is being read for the first of these.
    reading: Option<u64>,
    /// Operators and channels who wait for an answer to a command, by where that stands.
    asked: BTreeMap<u64, lead::Asker>,
    /// The state that stands for the log before it.
    base: Option<(Mark, Bytes)>,
    /// A state that will, once nothing is needed of what came before.
    candidate: Option<(Mark, Bytes)>,
    /// A state that the leader has offered, and that the group has not taken yet.
    offered: Option<(Mark, Bytes)>,
    /// When it is in the list of those that time changes.
    due: Option<Instant>,
    /// The entry with what the leader itself had to say last.
    own_proposal: u64,
    /// What came for it between its election and the moment when it had applied all that was decided before.
    early: Vec<(NodeId, Frame)>,
    /// Whether it was asked that the queue be deleted, since nobody uses it.
    is_ending: bool,
    /// The last of the kept dead that was handed out, and those of them that arrived.
    dead_sent: DeathNumber,
    arrived: Vec<DeathNumber>,
}

impl Replica {
    fn new(key: QueueKey) -> Self {
        Self {
            key,
            machine: QuorumQueue::default(),
            leader: None,
            term: 0,
            leads: false,
            recent: VecDeque::new(),
            recent_bytes: 0,
            outgoing: VecDeque::new(),
            reading: None,
            asked: BTreeMap::new(),
            base: None,
            candidate: None,
            offered: None,
            due: None,
            own_proposal: 0,
            early: Vec::new(),
            is_ending: false,
            dead_sent: DeathNumber(0),
            arrived: Vec::new(),
        }
    }

    /// The last entry that is applied.
    fn applied(&self) -> u64 {
        self.machine.applied().0
    }
}

impl Replicas {
    /// Who leads a queue, as far as its replica here knows; `None` if there is none here.
    pub(super) fn leader(&self, queue: QueueId) -> Option<Option<NodeId>> {
        Some(self.by_queue.get(&queue)?.leader)
    }

    /// When time alone changes something in one of them.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Whether one of them may have something to hand out.
    pub(super) fn has_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// Whether a queue has a replica here.
    pub(super) fn has(&self, queue: QueueId) -> bool {
        self.by_queue.contains_key(&queue)
    }

    /// The machine of a queue's replica here.
    pub(super) fn machine(&self, queue: QueueId) -> Option<&QuorumQueue> {
        Some(&self.by_queue.get(&queue)?.machine)
    }
}

impl Broker {
    /// All replicas of this node as an observer sees them, ordered by queue.
    pub(crate) fn replica_statuses(&self) -> impl Iterator<Item = ReplicaStatus> {
        self.replicas.by_queue.keys().filter_map(|queue| self.replica_status(*queue))
    }

    /// One of them.
    pub(crate) fn replica_status(&self, queue: QueueId) -> Option<ReplicaStatus> {
        let replica = self.replicas.by_queue.get(&queue)?;
        let stat = replica.machine.stat();
        let record = self.metadata.queue_by_key(replica.key);
        Some(ReplicaStatus {
            queue,
            name: record.map(|record| record.name.to_string_lossy().into_owned()).unwrap_or_default(),
            term: replica.term,
            applied: replica.applied(),
            state_hash: replica.machine.state_hash(),
            leads: replica.leads,
            ready: stat.ready,
            unacked: stat.unacked,
            consumers: stat.consumers,
        })
    }

    /// How far each of them is.
    pub(crate) fn replica_reaches(&self) -> impl Iterator<Item = ReplicaReach> {
        self.replicas.by_queue.iter().filter_map(|(queue, replica)| {
            let cluster = self.peers.as_ref()?.cluster();
            let (applied, last) = (cluster.replica_mark(*queue)?, cluster.replica_last(*queue)?);
            Some(ReplicaReach {
                queue: *queue,
                term: replica.term,
                leads: replica.leads,
                applied: applied.id.index,
                applied_term: applied.id.term,
                voters: applied.members.voters().len() as u64,
                last: last.index,
                last_term: last.term,
            })
        })
    }

    /// What one of them has written behind an entry.
    pub(crate) fn replica_entries(&self, queue: QueueId, index: u64) -> impl Iterator<Item = ReplicaEntry> {
        let entries = self.peers.iter().flat_map(move |peers| peers.cluster().replica_entries(queue, index));
        entries.map(|(EntryId { term, index }, end)| ReplicaEntry { index, term, end })
    }

    /// A queue has a replica here: it begins, or goes on as the log has it.
    ///
    /// # Errors
    /// A text for the operator if the log holds what no replica can have written.
    pub(super) fn open_replica(&mut self, key: QueueKey) -> Result<(), String> {
        let Some(record) = self.metadata.queue_by_key(key) else { return Ok(()) };
        let (id, members) = (record.id, record.members.clone());
        let Some(voters) = Members::new(members.clone(), Vec::new()) else { return Ok(()) };
        let Some(peers) = &mut self.peers else { return Ok(()) };
        let mut replica = Replica::new(key);
        let found = peers.cluster_mut().take_replica(&mut self.log, id)?;
        let unreadable = || alloc::format!("the log holds a state of queue {id} that this version cannot read");
        if let Some(found) = &found
            && let Some(state) = &found.state
        {
            let (mark, machine) = apply::decode_state(state).ok_or_else(unreadable)?;
            replica.machine = machine;
            replica.base = Some((mark, state.clone()));
        }
        peers.cluster_mut().start_replica(id, &voters, found.map(|found| found.group))?;
        // Of those that begin, the one that is named first asks to lead.
        let is_first = peers.own().is_some_and(|(own, _)| members.first() == Some(&own));
        if is_first {
            peers.cluster_mut().campaign(id);
        }
        self.replicas.by_queue.insert(id, replica);
        Ok(())
    }

    /// After a restart: all replicas that are declared here go on, and what the log has of others goes.
    ///
    /// # Errors
    /// As [`Broker::open_replica`].
    pub(super) fn open_replicas(&mut self) -> Result<(), String> {
        let here = self.metadata.queues().into_iter().filter(|(_, record)| self.metadata.has_replica_here(record));
        let here: Vec<QueueKey> = here.map(|(key, _)| key).collect();
        for key in here {
            self.open_replica(key)?;
        }
        if let Some(peers) = &mut self.peers {
            peers.cluster_mut().drop_found_replicas(&mut self.log);
        }
        Ok(())
    }

    /// A queue is gone, or its replica here.
    pub(super) fn close_replica(&mut self, id: QueueId) {
        let Some(replica) = self.replicas.by_queue.remove(&id) else { return };
        self.replicas.active.remove(&id);
        self.replicas.waiting.remove(&id);
        if let Some(at) = replica.due {
            self.replicas.due.remove(&(at, id));
        }
        if let Some(peers) = &mut self.peers {
            peers.cluster_mut().stop_replica(&mut self.log, id);
        }
        for asker in replica.asked.into_values() {
            self.answer_gone(asker);
        }
    }

    /// Something came of a queue's group.
    ///
    /// # Errors
    /// A text for the operator if the node cannot go on.
    pub(super) fn on_group(&mut self, queue: QueueId, what: OfGroup) -> Result<(), String> {
        match what {
            OfGroup::Applied { id, what } => self.apply_entry(queue, id, what),
            OfGroup::Leader { leader, term } => {
                self.on_leader(queue, leader, term);
                Ok(())
            }
            OfGroup::Needs(SnapshotNeed::Make { to, .. }) => {
                self.offer_state(queue, to);
                Ok(())
            }
            OfGroup::Needs(SnapshotNeed::Take { id, data, .. }) => {
                self.accept_state(queue, id, &data);
                Ok(())
            }
        }
    }

    /// Gives a member that lags behind a state that will do.
    fn offer_state(&mut self, queue: QueueId, to: NodeId) {
        let Some(replica) = self.replicas.by_queue.get(&queue) else { return };
        let Some(peers) = &mut self.peers else { return };
        // Nothing that lives is in front of it, so whoever has it needs nothing else.
        if let Some((mark, state)) = &replica.base {
            peers.cluster_mut().offer_replica(queue, to, mark, state.clone());
        }
    }

    fn accept_state(&mut self, queue: QueueId, id: EntryId, data: &Bytes) {
        let Some(peers) = &mut self.peers else { return };
        let readable = apply::decode_state(data).filter(|(mark, _)| mark.id == id);
        let state = readable.is_some().then_some(data);
        if let Some(replica) = self.replicas.by_queue.get_mut(&queue)
            && let Some((mark, _)) = readable
        {
            replica.offered = Some((mark, data.clone()));
        }
        peers.cluster_mut().accept_replica(&mut self.log, queue, id.index, state);
    }

    /// Takes a state down now and then, and lets the log before it go once nothing in there is needed.
    fn compact_replica(&mut self, queue: QueueId) {
        let Some(replica) = self.replicas.by_queue.get_mut(&queue) else { return };
        let Some(peers) = &mut self.peers else { return };
        let based = replica.base.as_ref().map_or(0, |(mark, _)| mark.id.index);
        let entries = self.config.cluster.as_ref().map_or(limits::CLUSTER_LOG_ENTRIES, |cluster| cluster.log_entries);
        if replica.candidate.is_none() && replica.applied() - based.min(replica.applied()) >= entries {
            let mark = peers.cluster().replica_mark(queue).filter(|mark| mark.id.index == replica.applied());
            replica.candidate = mark.map(|mark| {
                let state = apply::encode_state(&mark, &replica.machine);
                (mark, state)
            });
        }
        let is_over = |mark: &Mark| replica.machine.first_needed().is_none_or(|LogIndex(first)| first > mark.id.index);
        if replica.candidate.as_ref().is_some_and(|(mark, _)| mark.id.index > based && is_over(mark))
            && let Some((mark, state)) = replica.candidate.take()
        {
            peers.cluster_mut().keep_replica(&mut self.log, queue, &mark, &state, limits::REPLICA_LOG_KEPT);
            replica.base = Some((mark, state));
        }
    }

    /// Checks what must hold between inputs.
    pub(super) fn check_replica_invariants(&self) {
        let here = self.metadata.queues().into_iter().filter(|(_, record)| self.metadata.has_replica_here(record));
        let here: Vec<QueueId> = here.map(|(_, record)| record.id).collect();
        for (id, replica) in &self.replicas.by_queue {
            assert!(here.contains(id), "replica {id} is declared");
            replica.machine.check_invariants();
            let is_first = replica.base.as_ref().is_none_or(|(mark, _)| {
                replica.machine.first_needed().is_none_or(|LogIndex(first)| first > mark.id.index)
            });
            // Until it has caught up, a replica may think that something lives of which the entries to come say otherwise.
            assert!(is_first || !replica.leads, "what lives in replica {id} is in its log");
        }
    }
}
