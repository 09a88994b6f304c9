//! One group on one node: `raft`, and what stands between it and the world.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;
use raft::eraftpb::{self, Message, MessageType};
use raft::{RawNode, StateRole};

use super::entropy;
use super::entry::{Base, Content, Entry, EntryId, HardState, Mark};
use super::groups::{Refused, Settings, Status};
use super::guard;
use super::members::{MemberChange, Members};
use super::output::{Record, SnapshotNeed, Ticket, Write};
use super::peers::Peers;
use super::ready::Unpersisted;
use super::recovered::Recovered;
use super::store::Store;
use super::wire::{Beat, snapshot};
use crate::ids::{GroupId, NodeId};
use crate::limits;
use crate::mutants::{Mutant, is_planted};
use crate::time::Instant;

pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) incarnation: u64,
    pub(super) seed: u64,
    pub(super) raw: RawNode<Store>,
    pub(super) members: Members,
    /// A first state that is to be written.
    pub(super) birth: Option<Base>,
    /// Whether it was asked to campaign, and could not yet.
    is_called: bool,
    /// Learners that are to have votes, and the entry that was the last committed one when that was first asked for, in which term.
    catching_up: Vec<(NodeId, u64, u64)>,
    pub(super) unpersisted: VecDeque<Unpersisted>,
    /// Messages that others count on, until what they say is durable.
    pub(super) waiting: VecDeque<(Ticket, Message)>,
    /// The vote as it was last written.
    pub(super) written: HardState,
    /// The term that is safe.
    pub(super) durable_term: u64,
    /// Up to where the state machine is.
    pub(super) applied: u64,
    /// Up to where `raft` has said itself that it may be: not beyond what is durable here.
    pub(super) handed: u64,
    /// Whether it leads ahead of its own disk: see [`Group::apply_ahead`].
    pub(super) leads_ahead: bool,
    /// A snapshot that is being written; the state machine gets it then.
    pub(super) installing: Option<EntryId>,
    /// A snapshot that a leader offers, while the embedder gets it.
    pub(super) offered: Option<Box<Message>>,
    /// To whom snapshots are under way, and for how many ticks.
    pub(super) snapshots_out: Vec<(NodeId, u32)>,
    /// Term and leader as last told.
    pub(super) told: (u64, u64),
    pub(super) idle_ticks: u32,
    pub(super) is_awake: bool,
    /// Whether it is on the list of those that have something to flush.
    pub(super) is_dirty: bool,
}

/// What the groups of a node share.
pub(super) struct Shared<'a> {
    pub(super) settings: &'a Settings,
    pub(super) peers: &'a mut Peers,
    pub(super) now: Instant,
}

impl core::fmt::Debug for Group {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let raft = &self.raw.raft;
        f.debug_struct("Group")
            .field("id", &self.id)
            .field("term", &raft.term)
            .field("role", &raft.state)
            .field("last", &raft.raft_log.last_index())
            .field("committed", &raft.raft_log.committed)
            .field("persisted", &raft.raft_log.persisted)
            .field("applied", &self.applied)
            .field("is_awake", &self.is_awake)
            .finish_non_exhaustive()
    }
}

impl Group {
    /// A member in a state that is sound. `is_new` states are written with the first flush.
    pub(super) fn new(
        (id, incarnation): (GroupId, u64),
        (node, seed): (NodeId, u64),
        settings: &Settings,
        logger: &slog::Logger,
        state: Recovered,
        is_new: bool,
    ) -> Self {
        let last = state.entries.last().map_or(state.base.start.index, |entry| entry.id.index);
        let commit = state.hard_state.commit.clamp(state.base.snapshot.index, last);
        let applied = state.base.snapshot.index;
        let hard_state = eraftpb::HardState {
            term: state.hard_state.term,
            vote: state.hard_state.vote.map_or(0, |vote| vote.0),
            commit,
            ..Default::default()
        };
        let config = raft::Config {
            id: node.0,
            election_tick: settings.election_ticks,
            heartbeat_tick: settings.heartbeat_ticks,
            applied,
            max_size_per_msg: settings.append_bytes,
            max_inflight_msgs: limits::GROUP_APPENDS_IN_FLIGHT,
            check_quorum: true,
            pre_vote: true,
            skip_bcast_commit: true,
            batch_append: true,
            max_uncommitted_size: limits::GROUP_UNCOMMITTED_BYTES,
            max_committed_size_per_ready: limits::GROUP_APPLY_BYTES,
            ..Default::default()
        };
        let members = state.base.members.clone();
        let birth = (is_new && applied > 0).then(|| state.base.clone());
        let mut store = Store::new(state.base, hard_state, &state.entries);
        store.shrink_window(applied, settings);
        let raw = RawNode::new(&config, store, logger).expect("the configuration and the state are sound");
        let (written, durable_term) =
            if is_new { (HardState::default(), 0) } else { (state.hard_state, state.hard_state.term) };
        let mut group = Self {
            id,
            incarnation,
            seed: entropy::member_seed(seed, node.0, id.0 ^ incarnation.rotate_left(32)),
            raw,
            members,
            birth,
            is_called: false,
            catching_up: Vec::new(),
            unpersisted: VecDeque::new(),
            waiting: VecDeque::new(),
            written,
            durable_term,
            applied,
            handed: applied,
            leads_ahead: false,
            installing: None,
            offered: None,
            snapshots_out: Vec::new(),
            told: (0, 0),
            idle_ticks: 0,
            is_awake: true,
            is_dirty: false,
        };
        group.tame();
        group
    }

    pub(super) fn id(&self) -> GroupId {
        self.id
    }

    pub(super) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    pub(super) fn members(&self) -> &Members {
        &self.members
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        Some(NodeId(self.raw.raft.leader_id)).filter(|leader| leader.0 != 0)
    }

    pub(super) fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    pub(super) fn status(&self) -> Status {
        let log = &self.raw.raft.raft_log;
        Status {
            term: self.raw.raft.term,
            leader: self.leader(),
            is_leader: self.is_leader(),
            is_awake: self.is_awake,
            last_index: log.last_index(),
            commit_index: log.committed,
            applied_index: self.applied,
            first_index: log.first_index(),
            persisted_index: log.persisted,
            snapshot_index: self.raw.store().base().snapshot.index,
            members: self.members.clone(),
        }
    }

    /// Replaces the election timeout that `raft` may have drawn by one that only depends on who this is and on the term. Called after
    /// everything that lets `raft` draw; nothing looks at the drawn value before.
    pub(super) fn tame(&mut self) {
        let raft = &mut self.raw.raft;
        let base = raft.election_timeout();
        let extra = entropy::choose(self.seed, raft.term, base as u64);
        raft.set_randomized_election_timeout(base + usize::try_from(extra).expect("less than the base"));
    }

    /// Whether an election may begin: `raft` takes the log for durable when it wins one.
    pub(super) fn can_campaign(&self) -> bool {
        let log = &self.raw.raft.raft_log;
        log.persisted == log.last_index()
            && self.installing.is_none()
            && self.birth.is_none()
            && self.unpersisted.iter().all(|write| !write.has_log)
    }

    /// Whether it knows what it is a member of.
    pub(super) fn is_initialized(&self) -> bool {
        self.raw.store().base().snapshot.index > 0
    }

    /// Takes a beat, or the answer to one. An answer wakes nobody.
    pub(super) fn on_beat(&mut self, from: NodeId, beat: Beat, is_answer: bool) -> bool {
        let kind = if is_answer { MessageType::MsgHeartbeatResponse } else { MessageType::MsgHeartbeat };
        if !is_answer {
            self.is_awake = true;
        }
        self.step(beat_message(kind, from, NodeId(self.raw.raft.id), beat))
    }

    /// Takes a message that is more than a beat. Returns whether it was acceptable.
    pub(super) fn on_message(&mut self, message: Message, needs: &mut Vec<SnapshotNeed>) -> bool {
        self.wake();
        match message.get_msg_type() {
            MessageType::MsgTimeoutNow if !self.can_campaign() => true,
            // 1. A member leaves and forgets the log. Another one is cut off and does not learn of that.
            // 2. The first is taken in again, and has nothing yet.
            // 3. The other asks for its vote, and an empty log finds everybody up to date.
            // So nobody votes before it has got what was decided until it was taken in.
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote if !self.is_initialized() => true,
            MessageType::MsgSnapshot => {
                self.on_snapshot(message, needs);
                true
            }
            MessageType::MsgAppendResponse if message.reject => {
                self.on_reject(&message);
                self.step(message)
            }
            _ => self.step(message),
        }
    }

    pub(super) fn step(&mut self, message: Message) -> bool {
        if !guard::is_acceptable(&message, &self.raw.raft) {
            return false;
        }
        // What it refuses is from nodes that are no members, or too late.
        let _ = self.raw.step(message);
        self.tame();
        true
    }

    /// A learner has less than it said it has.
    ///
    /// 1. A member leaves and forgets its log. What it has said before is still on its way.
    /// 2. It is taken in again as a learner, and its former words arrive: it seems to have what it has not.
    /// 3. `raft` never goes back behind what a member has, and would try to append there for ever.
    ///
    /// On a learner nobody counts, so it may be asked anew.
    fn on_reject(&mut self, message: &Message) {
        let raft = &mut self.raw.raft;
        let node = message.from;
        if message.term != raft.term
            || raft.state != StateRole::Leader
            || !self.members.learners().contains(&NodeId(node))
        {
            return;
        }
        if let Some(progress) = raft.mut_prs().get_mut(node)
            && progress.matched > message.reject_hint
            && message.index == progress.next_idx - 1
        {
            progress.matched = 0;
        }
    }

    /// A leader offers a snapshot: `raft` gets it when its content is here.
    fn on_snapshot(&mut self, message: Message, needs: &mut Vec<SnapshotNeed>) {
        let metadata = message.get_snapshot().get_metadata();
        let id = EntryId { term: metadata.term, index: metadata.index };
        let raft = &self.raw.raft;
        if message.term < raft.term || id.index <= raft.raft_log.committed {
            self.step(message);
            return;
        }
        // The same leader's earlier offer does as well, if it is already being fetched.
        if self.offered.as_ref().is_some_and(|held| held.from == message.from && held.term == message.term) {
            return;
        }
        let data = message.get_snapshot().data.clone();
        needs.push(SnapshotNeed::Take { group: self.id, from: NodeId(message.from), id, data });
        self.offered = Some(Box::new(message));
    }

    /// The content of the offered snapshot is here.
    pub(super) fn accept_snapshot(&mut self, index: u64) {
        self.wake();
        let Some(message) = self.offered.take_if(|held| held.get_snapshot().get_metadata().index == index) else {
            return;
        };
        self.step(*message);
    }

    /// Drops the offered snapshot: its content cannot be had.
    pub(super) fn refuse_snapshot(&mut self) {
        self.offered = None;
    }

    /// A snapshot of the state machine as it is, for a member.
    pub(super) fn offer_snapshot(&mut self, to: NodeId, data: Bytes) {
        if let Some(mark) = self.mark() {
            self.offer_marked(to, &mark, data);
        }
    }

    /// A snapshot of the state machine as it was at a mark, for a member.
    ///
    /// It may have come in after that, and `raft` takes no snapshot of a group to which it does not belong. To be a learner there is
    /// as good as to be nobody, and what it became comes with the entries.
    pub(super) fn offer_marked(&mut self, to: NodeId, mark: &Mark, data: Bytes) {
        let offer = snapshot(mark.id, &mark.members.with_learner(to), data);
        self.raw.mut_store().offer(to, offer);
    }

    /// Where the log begins.
    pub(super) fn base(&self) -> Option<Mark> {
        let base = self.raw.store().base();
        self.is_initialized().then(|| Mark { id: base.snapshot, members: base.members.clone() })
    }

    /// Where the state machine is, after all that was handed out.
    pub(super) fn term_at(&self, index: u64) -> Option<u64> {
        self.raw.store().term_at(index)
    }

    pub(super) fn mark(&self) -> Option<Mark> {
        let term = self.raw.store().term_at(self.applied)?;
        Some(Mark { id: EntryId { term, index: self.applied }, members: self.members.clone() })
    }

    /// Writes down that a snapshot of the state machine as it was at a mark stands for all before. `keep` entries before it stay for
    /// members that lag.
    pub(super) fn compact_to(&mut self, mark: &Mark, keep: u64, ticket: Ticket, out: &mut Vec<Write>) -> bool {
        let log = &self.raw.raft.raft_log;
        let done = self.applied.min(log.persisted).min(log.applied);
        let index = mark.id.index;
        let start = index.saturating_sub(keep).max(self.raw.store().base().start.index);
        if done < index || self.installing.is_some() || index <= self.raw.store().base().snapshot.index {
            return false;
        }
        self.raw.mut_store().compact(mark.id, mark.members.clone(), start);
        let base = self.raw.store().base().clone();
        let record = if is_planted(Mutant::SnapshotWithoutSuffix) {
            Record::Installed(Base { start: base.snapshot, ..base })
        } else {
            Record::Compacted(base)
        };
        out.push(Write { ticket, group: self.id, record });
        self.unpersisted.push_back(Unpersisted { ticket, number: 0, term: None, has_log: false, replaces: false });
        true
    }

    /// Begins an election without waiting for the timeout, if that is possible.
    pub(super) fn campaign(&mut self) {
        self.wake();
        self.is_called = true;
        self.campaign_if_called();
    }

    /// Sends what was decided without waiting for something to send it with.
    pub(super) fn tell_commits(&mut self) {
        self.raw.skip_bcast_commit(false);
    }

    /// Begins the election that it was asked for, once its own log is durable.
    pub(super) fn campaign_if_called(&mut self) {
        if self.is_called && self.can_campaign() {
            self.is_called = false;
            if self.raw.raft.promotable() && self.leader().is_none() {
                // It only fails if the group is gone.
                let _ = self.raw.campaign();
                self.tame();
            }
        }
    }

    /// Appends to the log of a leader.
    pub(super) fn propose(&mut self, content: Content) -> Result<EntryId, Refused> {
        self.check_leader()?;
        self.wake();
        let mut message = Message { from: self.raw.raft.id, ..Default::default() };
        message.set_msg_type(MessageType::MsgPropose);
        message.set_entries(alloc::vec![Entry { id: EntryId::default(), content }.to_raft()].into());
        self.raw.step(message).map_err(|_| Refused::Busy)?;
        self.tame();
        let raft = &self.raw.raft;
        Ok(EntryId { term: raft.term, index: raft.raft_log.last_index() })
    }

    fn check_leader(&self) -> Result<(), Refused> {
        if self.is_leader() { Ok(()) } else { Err(Refused::NotLeader { leader: self.leader() }) }
    }

    /// Proposes a change of members, one at a time (Raft thesis §4.1).
    pub(super) fn change_members(&mut self, change: MemberChange) -> Result<EntryId, Refused> {
        self.check_leader()?;
        let raft = &mut self.raw.raft;
        let is_one_under_way = if is_planted(Mutant::TwoMembershipChanges) {
            raft.pending_conf_index = 0;
            false
        } else {
            // Also until an entry of its own term is committed: before that, others may know of a change that this one does not.
            raft.has_pending_conf() || !raft.commit_to_current_term()
        };
        if is_one_under_way {
            return Err(Refused::Busy);
        }
        let node = change.node();
        let (is_voter, is_learner) = (self.members.voters().contains(&node), self.members.learners().contains(&node));
        let is_possible = match change {
            MemberChange::AddLearner(_) => {
                !is_voter && !is_learner && self.members.iter().count() < limits::GROUP_MEMBERS_MAX && node.0 != 0
            }
            MemberChange::Promote(_) => {
                let (committed, term) = (raft.raft_log.committed, raft.term);
                let matched = raft.prs().get(node.0).map_or(0, |progress| progress.matched);
                // Where something is committed all the time nobody has all of it. Who got in the time from one try to the next what was
                // committed before it is as close as can be (Raft thesis §4.2.1).
                self.catching_up.retain(|(_, _, since)| *since == term);
                let begun = self.catching_up.iter().position(|(learner, ..)| *learner == node);
                let wanted = begun.map_or(committed, |at| self.catching_up[at].1);
                if is_learner && matched < wanted {
                    if begun.is_none() {
                        self.catching_up.push((node, committed, term));
                    }
                    return Err(Refused::Behind);
                }
                if let Some(at) = begun {
                    self.catching_up.swap_remove(at);
                }
                is_learner
            }
            MemberChange::Remove(_) => is_learner || (is_voter && self.members.voters().len() > 1),
        };
        if !is_possible {
            return Err(Refused::Impossible);
        }
        self.propose(Content::Members(change))
    }

    /// Asks another member to lead (Raft thesis §3.10).
    pub(super) fn transfer_leadership(&mut self, to: NodeId) -> Result<(), Refused> {
        self.check_leader()?;
        if to.0 == self.raw.raft.id || !self.members.voters().contains(&to) {
            return Err(Refused::Impossible);
        }
        self.wake();
        self.raw.transfer_leader(to.0);
        self.tame();
        Ok(())
    }

    /// Asks the others whether this is still the leader (Raft thesis §6.4).
    pub(super) fn read_index(&mut self, token: u64) -> Result<(), Refused> {
        self.check_leader()?;
        let raft = &self.raw.raft;
        if !raft.commit_to_current_term() || raft.pending_read_count() >= limits::GROUP_READS_MAX {
            return Err(Refused::Busy);
        }
        self.wake();
        self.raw.read_index(Vec::from(token.to_le_bytes()));
        self.tame();
        Ok(())
    }

    /// Entries that were asked for are here.
    pub(super) fn fetched(&mut self, entries: &[Entry]) {
        if let Some(context) = self.raw.mut_store().take_fetched(entries) {
            self.raw.on_entries_fetched(context);
        }
    }

    /// Checks what must hold between calls.
    pub(super) fn check_invariants(&self) {
        let log = &self.raw.raft.raft_log;
        assert!(log.applied <= log.committed.min(log.persisted), "applied what is not committed: {self:?}");
        assert!(log.applied <= self.applied, "{self:?}");
        assert!(self.handed <= self.applied && self.applied <= log.committed, "applied out of turn: {self:?}");
        assert!(self.unpersisted.iter().is_sorted_by_key(|write| write.ticket), "tickets out of order: {self:?}");
        assert!(self.waiting.is_empty() || !self.unpersisted.is_empty(), "messages wait for nothing: {self:?}");
    }

    #[cfg(test)]
    pub(super) fn store(&self) -> &Store {
        self.raw.store()
    }
}

pub(super) fn beat_message(kind: MessageType, from: NodeId, to: NodeId, beat: Beat) -> Message {
    let mut message = Message { from: from.0, to: to.0, term: beat.term, commit: beat.commit, ..Default::default() };
    message.set_msg_type(kind);
    message
}
