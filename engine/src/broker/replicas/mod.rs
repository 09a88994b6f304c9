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
//! and then a replica takes its state down; once all that lived then is gone, or has a body further on, that state stands for the log
//! before it, and goes to members that lag behind further than that. What stays for too long a leader writes again ([`carry`]).

mod apply;
mod carry;
mod company;
mod dead;
mod deliver;
mod lead;
mod members;
mod mirrors;
mod operate;
mod turn;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use super::Broker;
use super::early::Early;
use crate::cluster::consensus::{EntryId, Mark, Members, Origin, SnapshotNeed};
use crate::cluster::membership::{FoundReplica, OfGroup};
use crate::engine::{ReplicaEntry, ReplicaReach, ReplicaStatus};
use crate::ids::{NodeId, QueueId};
use crate::limits;
use crate::metadata::QueueRecord;
use crate::queue::quorum::{Actions, Command, DeathNumber, LogIndex, QuorumQueue};
use crate::routing::QueueKey;
use crate::time::Instant;

use deliver::Outgoing;
pub(super) use turn::Turnings;

/// All replicas of this node.
#[derive(Debug, Default)]
pub(crate) struct Replicas {
    /// Boxed, since a tree that is filled in order leaves half of each of its nodes free.
    by_queue: BTreeMap<QueueId, Box<Replica>>,
    /// Those that may have something to hand out.
    active: BTreeSet<QueueId>,
    /// Those that had to wait with that: for a link, or for the log to be written.
    waiting: BTreeSet<QueueId>,
    /// Those whose state would stand for the log before it, once the disk has that far.
    late: BTreeSet<QueueId>,
    /// Those that lead, by when time alone changes something in them.
    due: BTreeSet<(Instant, QueueId)>,
    /// Those that lead and keep settlements, by until when.
    companies: BTreeSet<(Instant, QueueId)>,
    actions: Actions,
    commands: Vec<Command>,
    /// How often nodes had come or gone when that was last looked at, and who led the cluster, since which term.
    roster_seen: (u64, (Option<NodeId>, u64)),
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
    early: Early,
    /// Whether it was asked that the queue be deleted, since nobody uses it.
    is_ending: bool,
    /// The last of the kept dead that was handed out, and those of them that arrived.
    dead_sent: DeathNumber,
    arrived: Vec<DeathNumber>,
    /// Those that are under way, and of these the ones that did not arrive, until they are tried again.
    dead_out: BTreeSet<DeathNumber>,
    dead_again: Vec<DeathNumber>,
    dead_again_at: Option<Instant>,
    /// Operators who look into it, by the number of the look, as its leader.
    shows: BTreeMap<u64, operate::Show>,
    last_show: u64,
    /// What operators want of its members, as its leader was told, in order.
    wishes: VecDeque<members::Wished>,
    /// The members that the cluster was told of last, as its leader.
    told_members: Option<Vec<NodeId>>,
    /// The term in which the group was last told what its queue is like, as its leader; see [`QuorumQueue::is_configured`].
    introduced_in: u64,
    /// When something about its members is to be looked at again.
    mend_at: Option<Instant>,
    /// Bodies that are on their way back into the log.
    carrying: Option<carry::Carrying>,
    /// Settlements that a leader keeps for the next command.
    company: Option<company::Company>,
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
            early: Early::default(),
            is_ending: false,
            dead_sent: DeathNumber(0),
            arrived: Vec::new(),
            dead_out: BTreeSet::new(),
            dead_again: Vec::new(),
            dead_again_at: None,
            shows: BTreeMap::new(),
            last_show: 0,
            wishes: VecDeque::new(),
            told_members: None,
            introduced_in: 0,
            mend_at: None,
            carrying: None,
            company: None,
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
        [self.due.first(), self.companies.first()].into_iter().flatten().map(|(at, _)| *at).min()
    }

    /// Whether one of them may have something to hand out.
    pub(super) fn has_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// The queues with a replica here.
    pub(super) fn queues(&self) -> impl Iterator<Item = QueueId> {
        self.by_queue.keys().copied()
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

    /// One of them. One of a queue that is only on its way to having replicas is none yet.
    pub(crate) fn replica_status(&self, queue: QueueId) -> Option<ReplicaStatus> {
        let replica = self.replicas.by_queue.get(&queue).filter(|_| !self.metadata.is_turning(queue))?;
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
        let replicas = self.replicas.by_queue.iter().filter(|(queue, _)| !self.metadata.is_turning(**queue));
        replicas.filter_map(|(queue, replica)| {
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
        let Some(id) = self.metadata.queue_by_key(key).map(|record| record.id) else { return Ok(()) };
        let Some(peers) = &mut self.peers else { return Ok(()) };
        let found = peers.cluster_mut().take_replica(&mut self.log, id)?;
        self.start_replica(key, found)
    }

    /// The same, with what the log had of it.
    fn start_replica(&mut self, key: QueueKey, found: Option<FoundReplica>) -> Result<(), String> {
        let Some(record) = self.metadata.queue_by_key(key) else { return Ok(()) };
        let (id, is_as_declared) = (record.id, record.members_at == 0);
        // One that is on its way to having replicas begins with this one alone.
        let is_turning = self.metadata.is_turning(id);
        let members = if is_turning { Vec::from([self.metadata.own()]) } else { record.members.clone() };
        let Some(voters) = Members::new(members.clone(), Vec::new()) else { return Ok(()) };
        // Who came in later waits until it gets a state: it was no part of what was decided before.
        let origin = if is_as_declared { Origin::First(voters) } else { Origin::Joins };
        let Some(peers) = &mut self.peers else { return Ok(()) };
        let mut replica = Replica::new(key);
        let unreadable = || alloc::format!("the log holds a state of queue {id} that this version cannot read");
        if let Some(found) = &found
            && let Some(state) = &found.state
        {
            let (mark, machine) = apply::decode_state(state).ok_or_else(unreadable)?;
            replica.machine = machine;
            replica.base = Some((mark, state.clone()));
        }
        peers.cluster_mut().start_replica(id, origin, found.map(|found| found.group))?;
        // Of those that begin, the one that is named first asks to lead.
        let is_first = peers.own().is_some_and(|(own, _)| members.first() == Some(&own));
        if is_first {
            peers.cluster_mut().campaign(id);
        }
        self.replicas.by_queue.insert(id, Box::new(replica));
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
        self.open_replicas_that_are_members_again()?;
        self.find_turnings()?;
        if let Some(peers) = &mut self.peers {
            peers.cluster_mut().drop_found_replicas(&mut self.log);
        }
        Ok(())
    }

    /// Replicas of queues that are on this node alone, as far as it has heard: see [`turn`].
    fn find_turnings(&mut self) -> Result<(), String> {
        let queues = self.metadata.queues().into_iter();
        let could_turn = |record: &QueueRecord| record.can_be_replicated() && self.metadata.is_here(record);
        let here = queues.filter(|(_, record)| could_turn(record)).map(|(key, record)| (key, record.id));
        let here: Vec<(QueueKey, QueueId)> = here.collect();
        for (key, id) in here {
            let Some(peers) = &mut self.peers else { return Ok(()) };
            if let Some(found) = peers.cluster_mut().take_replica(&mut self.log, id)? {
                self.keep_found(key, id, found)?;
            }
        }
        Ok(())
    }

    /// Replicas that are none as far as this node has heard, and know better: see [`members`].
    fn open_replicas_that_are_members_again(&mut self) -> Result<(), String> {
        let own = self.metadata.own();
        let others = self.metadata.queues().into_iter();
        let others = others.filter(|(_, record)| record.members_at > 0 && !self.metadata.has_replica_here(record));
        let others: Vec<_> = others.map(|(key, record)| (key, record.id, record.members_at)).collect();
        for (key, id, at) in others {
            let Some(peers) = &mut self.peers else { return Ok(()) };
            let Some(found) = peers.cluster_mut().take_replica(&mut self.log, id)? else { continue };
            let (applied, members) = found.group.decided();
            if applied > at && members.contains(own) {
                self.start_replica(key, Some(found))?;
            } else {
                peers.cluster_mut().stop_replica(&mut self.log, id);
            }
        }
        Ok(())
    }

    /// A queue is gone, or its replica here.
    pub(super) fn close_replica(&mut self, id: QueueId) {
        let Some(replica) = self.replicas.by_queue.remove(&id) else { return };
        self.replicas.active.remove(&id);
        self.replicas.waiting.remove(&id);
        self.replicas.late.remove(&id);
        if let Some(at) = replica.due {
            self.replicas.due.remove(&(at, id));
        }
        if let Some(company) = replica.company {
            self.replicas.companies.remove(&(company.until, id));
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
        let base = replica.base.clone().or_else(|| {
            // Nothing was taken down yet: the log begins with a queue in which there is nothing.
            let mark = peers.cluster().replica_base(queue)?;
            let state = apply::encode_state(&mark, &QuorumQueue::default());
            Some((mark, state))
        });
        if let Some((mark, state)) = base {
            peers.cluster_mut().offer_replica(queue, to, &mark, state);
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
        let is_over = |mark: &Mark| {
            let is_behind = |index: LogIndex| index.0 > mark.id.index;
            // What a leader has yet to hand out may be gone from the queue. That is a walk, so it comes last.
            replica.machine.first_needed().is_none_or(is_behind)
                && replica.outgoing.iter().all(|outgoing| is_behind(outgoing.body().index))
        };
        // A state that is being taken stands in the log already, and the group's word that the log begins there comes behind it. An
        // older one in between would be what is found after a crash.
        let taking = replica.offered.as_ref().map_or(0, |(mark, _)| mark.id.index);
        let is_wanted = |mark: &Mark| mark.id.index > based.max(taking);
        let ready = replica.candidate.take_if(|(mark, _)| is_wanted(mark) && is_over(mark));
        if let Some((mark, state)) = ready {
            if peers.cluster().is_durable(queue, mark.id.index) {
                peers.cluster_mut().keep_replica(&mut self.log, queue, &mark, &state, limits::REPLICA_LOG_KEPT);
                replica.base = Some((mark, state));
            } else {
                // It is ahead of the disk, of which the group gives up nothing.
                replica.candidate = Some((mark, state));
                self.replicas.late.insert(queue);
            }
        }
        self.begin_to_carry(queue, entries);
    }

    /// Does so where the disk was late. Whether there was any.
    pub(super) fn compact_late_replicas(&mut self) -> bool {
        let Some(peers) = &self.peers else { return false };
        let is_late = |queue: &QueueId| {
            let candidate = self.replicas.by_queue.get(queue).and_then(|replica| replica.candidate.as_ref());
            candidate.is_some_and(|(mark, _)| !peers.cluster().is_durable(*queue, mark.id.index))
        };
        let ready: Vec<QueueId> = self.replicas.late.iter().copied().filter(|queue| !is_late(queue)).collect();
        for queue in &ready {
            self.replicas.late.remove(queue);
            self.compact_replica(*queue);
        }
        !ready.is_empty()
    }

    /// Checks what must hold between inputs.
    pub(super) fn check_replica_invariants(&self) {
        self.check_turning_invariants();
        let here = self.metadata.queues().into_iter().filter(|(_, record)| self.metadata.has_replica_here(record));
        for (_, record) in here {
            assert!(self.replicas.has(record.id), "replica {} is open", record.id);
        }
        let keeping = self.replicas.by_queue.values().filter(|replica| replica.company.is_some()).count();
        assert_eq!(keeping, self.replicas.companies.len(), "only what is kept has its time");
        for (id, replica) in &self.replicas.by_queue {
            assert!(self.metadata.queue_by_id(*id).is_some(), "the queue of replica {id} is declared");
            replica.machine.check_invariants();
            if let Some(company) = &replica.company {
                assert!(replica.leads, "only a leader of replica {id} keeps something");
                assert!(
                    self.replicas.companies.contains(&(company.until, *id)),
                    "what replica {id} keeps has its time"
                );
            }
            let is_first = replica.base.as_ref().is_none_or(|(mark, _)| {
                replica.machine.first_needed().is_none_or(|LogIndex(first)| first > mark.id.index)
            });
            // Until it has caught up, a replica may think that something lives of which the entries to come say otherwise.
            assert!(is_first || !replica.leads, "what lives in replica {id} is in its log");
        }
    }
}
