//! The groups of replicated queues, beside the one to which all nodes belong.
//!
//! All groups of a node share its links, its log and the heartbeats between nodes. What a queue's group is about is the embedder's: it
//! says when a replica begins and ends, applies what comes out, and decides which of its states stands for the log before it.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use super::cluster::{Cluster, OWNERS_START, ROOT, ROOT_OWNER};
use super::group::not_there;
use super::single::Single;
use crate::cluster::consensus::{
    Apply, Content, Entry, EntryId, Mark, MemberChange, Origin, Recovered, Refused, SnapshotNeed, Status, decode_entry,
};
use crate::effect::DiskRequest;
use crate::ids::{GroupId, Lsn, NodeId, QueueId};
use crate::storage::Log;

/// Owners of what queues' groups write. Each queue has two.
const REPLICAS_START: u64 = OWNERS_START + 16;

/// What belongs to an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The records of the group.
    Journal,
    /// The state that stands for the log before it.
    State,
}

/// What came of a queue's group.
#[derive(Clone, Debug)]
pub(crate) enum OfGroup {
    /// The replica is to apply something.
    Applied {
        /// Up to which entry it is, after that.
        id: EntryId,
        /// What.
        what: Apply,
    },
    /// Who leads is another.
    Leader {
        /// `None` while nobody does, or it is not known.
        leader: Option<NodeId>,
        /// Since which term.
        term: u64,
    },
    /// A snapshot is to be made or taken.
    Needs(SnapshotNeed),
}

/// How a replica comes into being.
#[derive(Debug)]
pub(super) enum Start {
    /// It has nothing yet: its group begins, or takes it in.
    Anew(Origin),
    /// It goes on.
    Found(Recovered),
}

/// What a restart has found of a queue's replica.
#[derive(Debug)]
pub(crate) struct FoundReplica {
    /// The state that was written last; `None` if none was.
    pub(crate) state: Option<Bytes>,
    /// The group.
    pub(crate) group: Recovered,
}

/// The group of a queue.
pub(super) const fn group_of(queue: QueueId) -> GroupId {
    GroupId(queue.0 + ROOT.0)
}

/// The queue of a group; `None` for the one to which all nodes belong.
pub(super) fn queue_of(group: GroupId) -> Option<QueueId> {
    (group != ROOT).then(|| QueueId(group.0 - ROOT.0))
}

/// Whose records in the log a group's are.
pub(super) fn owner_of(group: GroupId) -> u64 {
    queue_of(group).map_or(ROOT_OWNER, journal_owner)
}

pub(super) fn journal_owner(queue: QueueId) -> u64 {
    REPLICAS_START + 2 * queue.0
}

fn state_owner(queue: QueueId) -> u64 {
    journal_owner(queue) + 1
}

/// The queue to which an owner belongs.
pub(super) fn of_owner(owner: u64) -> Option<(QueueId, Kind)> {
    let at = owner.checked_sub(REPLICAS_START)?;
    Some((QueueId(at / 2), if at % 2 == 0 { Kind::Journal } else { Kind::State }))
}

impl Cluster {
    /// What the log had of a queue's replica, once; `None` if it had nothing.
    ///
    /// # Errors
    /// A text for the operator if it is none that a replica can have written.
    pub(crate) fn take_replica(&mut self, log: &mut Log, queue: QueueId) -> Result<Option<FoundReplica>, String> {
        let Some(reading) = &mut self.found_replicas else { return Ok(None) };
        let (found, payloads) = reading.found(journal_owner(queue));
        let (found_states, states) = reading.found(state_owner(queue));
        if found.refs.is_empty() {
            self.retire(journal_owner(queue), found.next_seq);
            self.retire(state_owner(queue), found_states.next_seq);
            return Ok(None);
        }
        let unsound = |_| alloc::format!("the log holds what no replica of queue {queue} can have written");
        let group = self.journal.recover(log, journal_owner(queue), &found, &payloads).map_err(unsound)?.state;
        if found_states.refs.is_empty() {
            self.retire(state_owner(queue), found_states.next_seq);
        } else {
            let single = Single::recover(state_owner(queue), log, &found_states);
            self.replica_states.insert(queue, single);
        }
        Ok(Some(FoundReplica { state: states.into_iter().next_back(), group }))
    }

    /// Gives up what the log had of replicas that were not asked for: their queues are gone.
    pub(crate) fn drop_found_replicas(&mut self, log: &mut Log) {
        let Some(mut reading) = self.found_replicas.take() else { return };
        let owners: Vec<u64> = reading.owners().filter(|owner| of_owner(*owner).is_some()).collect();
        for owner in owners {
            let (found, _) = reading.found(owner);
            for reference in found.refs {
                log.retain(reference.place());
                log.settle(owner, reference.seq, reference.place());
            }
            self.retire(owner, found.next_seq);
        }
    }

    fn retire(&mut self, owner: u64, next_seq: u64) {
        if next_seq > 0 {
            self.retired.insert(owner, next_seq);
        }
    }

    /// A replica of a queue begins, or goes on as it was found.
    ///
    /// # Errors
    /// A text for the operator if what was found is nothing that a replica can have been in.
    pub(crate) fn start_replica(
        &mut self,
        queue: QueueId,
        origin: Origin,
        found: Option<Recovered>,
    ) -> Result<(), String> {
        if found.is_none()
            && let Some(next_seq) = self.retired.remove(&journal_owner(queue))
        {
            self.journal.begin(journal_owner(queue), next_seq);
        }
        let start = found.map_or(Start::Anew(origin), Start::Found);
        if self.groups.is_none() {
            // Nothing is said before this life of the node is written down.
            self.to_start.push((queue, start));
            return Ok(());
        }
        self.start_group(queue, start)
    }

    pub(super) fn start_group(&mut self, queue: QueueId, start: Start) -> Result<(), String> {
        let Some(groups) = &mut self.groups else { return Ok(()) };
        match start {
            Start::Anew(origin) => {
                groups.create(group_of(queue), queue.0, origin);
            }
            Start::Found(state) => {
                let unsound =
                    |_| alloc::format!("the log holds a state in which no replica of queue {queue} can have been");
                groups.recover(group_of(queue), queue.0, state).map_err(unsound)?;
            }
        }
        // What clients wait for is then as fast as most of the disks, not as the one of the leader.
        groups.lead_ahead(group_of(queue));
        Ok(())
    }

    /// A replica is over, and all that was written of it. The queue may get one here again, unless [`Cluster::forget_queue`] follows.
    pub(crate) fn stop_replica(&mut self, log: &mut Log, queue: QueueId) {
        if let Some(groups) = &mut self.groups {
            groups.destroy(group_of(queue));
        }
        self.fetching.remove(&group_of(queue));
        self.to_start.retain(|(other, _)| *other != queue);
        let next_seq = self.journal.remove(log, journal_owner(queue));
        self.retire(journal_owner(queue), next_seq);
        if let Some(state) = self.replica_states.remove(&queue) {
            let next_seq = state.remove(log);
            self.retire(state_owner(queue), next_seq);
        }
    }

    /// A queue is gone for good.
    pub(crate) fn forget_queue(&mut self, queue: QueueId) {
        self.retired.remove(&journal_owner(queue));
        self.retired.remove(&state_owner(queue));
    }

    /// What a replica writes down of its state.
    fn written_state(&mut self, queue: QueueId) -> &mut Single {
        let owner = state_owner(queue);
        let retired = self.retired.remove(&owner).unwrap_or(0);
        self.replica_states.entry(queue).or_insert_with(|| Single::after(owner, retired))
    }

    /// Lets this node's replica ask to lead, where it may.
    pub(crate) fn campaign(&mut self, queue: QueueId) {
        if let Some(groups) = &mut self.groups {
            groups.campaign(group_of(queue));
        }
    }

    /// Appends to the log of a queue that this node leads.
    ///
    /// # Errors
    /// If it does not, or too much is under way.
    pub(crate) fn propose_to(&mut self, queue: QueueId, command: Bytes) -> Result<EntryId, Refused> {
        self.groups.as_mut().ok_or(Refused::Unknown)?.propose(group_of(queue), command)
    }

    /// Changes the members of the group of a queue that this node leads.
    ///
    /// # Errors
    /// If it does not, another change is under way, the learner is behind, or it makes no sense.
    pub(crate) fn change_replicas(&mut self, queue: QueueId, change: MemberChange) -> Result<EntryId, Refused> {
        self.groups.as_mut().ok_or(Refused::Unknown)?.change_members(group_of(queue), change)
    }

    /// Asks another replica of a queue to lead in the place of this node.
    ///
    /// # Errors
    /// If this node does not lead, or the other may not.
    pub(crate) fn transfer_replica(&mut self, queue: QueueId, to: NodeId) -> Result<(), Refused> {
        self.groups.as_mut().ok_or(Refused::Unknown)?.transfer_leadership(group_of(queue), to)
    }

    /// What the group of a queue with a replica here looks like.
    pub(crate) fn replica_status(&self, queue: QueueId) -> Option<Status> {
        self.groups.as_ref()?.status(group_of(queue))
    }

    /// Where the log of a queue's replica begins.
    pub(crate) fn replica_base(&self, queue: QueueId) -> Option<Mark> {
        self.groups.as_ref()?.base(group_of(queue))
    }

    /// Where a queue's replica is, after all that was handed out.
    pub(crate) fn replica_mark(&self, queue: QueueId) -> Option<Mark> {
        self.groups.as_ref()?.mark(group_of(queue))
    }

    /// Whether an entry of a queue's group, and all before it, is durable and carried out here.
    pub(crate) fn is_durable(&self, queue: QueueId, index: u64) -> bool {
        let durable = self.groups.as_ref().and_then(|groups| groups.durable_index(group_of(queue)));
        durable.is_some_and(|durable| durable >= index)
    }

    /// The last entry of a queue's group that is written here, or being written, or what stands for all; `None` if the group is not here.
    pub(crate) fn replica_last(&self, queue: QueueId) -> Option<EntryId> {
        let (groups, group) = (self.groups.as_ref()?, group_of(queue));
        let index = groups.status(group)?.last_index;
        Some(EntryId { term: groups.term_at(group, index)?, index })
    }

    /// The entries of a queue's group behind an index, and what stands for all before, each with where the log ended behind it.
    pub(crate) fn replica_entries(&self, queue: QueueId, index: u64) -> impl Iterator<Item = (EntryId, Lsn)> {
        let (groups, group, owner) = (self.groups.as_ref(), group_of(queue), journal_owner(queue));
        let status = groups.and_then(|groups| groups.status(group));
        let base = status.map(|status| status.first_index - 1).filter(|base| *base > index);
        let base = base.zip(self.journal.base(owner));
        self.journal.entries_after(owner, index).chain(base).filter_map(move |(index, place)| {
            let term = groups?.term_at(group, index)?;
            Some((EntryId { term, index }, place.end()))
        })
    }

    /// A replica's state at a mark stands for the log before that, of which `keep` entries stay. It is written down in front of what
    /// says so.
    pub(crate) fn keep_replica(&mut self, log: &mut Log, queue: QueueId, mark: &Mark, state: &Bytes, keep: u64) {
        self.written_state(queue).write(log, state);
        if let Some(groups) = &mut self.groups {
            groups.compact_to(group_of(queue), mark, keep);
        }
    }

    /// A state of a replica for a member that lags behind.
    pub(crate) fn offer_replica(&mut self, queue: QueueId, to: NodeId, mark: &Mark, state: Bytes) {
        if let Some(groups) = &mut self.groups {
            groups.offer_marked(group_of(queue), to, mark, state);
        }
    }

    /// Takes the state that was offered at this index, or nothing if it cannot be read.
    pub(crate) fn accept_replica(&mut self, log: &mut Log, queue: QueueId, index: u64, state: Option<&Bytes>) {
        let Some(groups) = &mut self.groups else { return };
        let Some(state) = state else { return groups.refuse_snapshot(group_of(queue)) };
        groups.accept_snapshot(group_of(queue), index);
        self.written_state(queue).write(log, state);
    }

    /// Begins to read an entry of a queue's group for the bodies in it. Whether the log has it.
    pub(crate) fn read_entry(
        &mut self,
        log: &mut Log,
        queue: QueueId,
        index: u64,
        disk: &mut Vec<DiskRequest>,
    ) -> bool {
        let place = self.journal.place(journal_owner(queue), index).filter(|place| place.end() <= log.written());
        let Some(place) = place else { return false };
        let token = self.token();
        if log.read(place.lsn, place.len, token, disk) != place.len {
            return false;
        }
        self.entry_reads.insert(token, (queue, index, place));
        true
    }

    /// Whether it was such an entry that was read.
    ///
    /// # Errors
    /// A text for the operator if the log does not have there what was written.
    pub(super) fn on_entry_read(&mut self, log: &Log, token: u64, data: &Bytes) -> Result<bool, String> {
        let Some((queue, index, place)) = self.entry_reads.remove(&token) else { return Ok(false) };
        let entry = log.open_record(place.lsn, data).ok().as_ref().and_then(decode_entry);
        // It may have been given up or moved while it was read; then there is nothing there that would pass for it.
        if entry.is_none() && self.journal.place(journal_owner(queue), index) == Some(place) {
            return Err(not_there(place));
        }
        let command = entry.and_then(|entry| match entry {
            Entry { id, content: Content::Command(bytes) } => (id.index == index).then_some(bytes),
            Entry { content: Content::Members(_), .. } => None,
        });
        self.entries_read.push((queue, index, command));
        Ok(true)
    }

    /// The commands of entries that were read.
    pub(crate) fn take_entries(&mut self) -> Vec<(QueueId, u64, Option<Bytes>)> {
        core::mem::take(&mut self.entries_read)
    }
}
