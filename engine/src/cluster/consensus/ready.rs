//! From `raft` to the world: what is written, what is sent when that is durable, what is applied.

use raft::StateRole;
use raft::eraftpb::{self, EntryType, Message, MessageType};

use super::entry::{Content, Entry, EntryId, HardState};
use super::group::{Group, Shared};
use super::members::{MemberChange, Members};
use super::output::{Applied, Apply, Fetch, LeaderChange, Outputs, ReadReady, Record, SnapshotNeed, Ticket, Write};
use super::store::pop_front_if;
use crate::ids::NodeId;
use crate::limits;
use crate::mutants::{Mutant, is_planted};

/// How often one group is asked for more within one flush.
const READIES_AT_ONCE: u32 = 8;

/// A write that is not known to be durable.
#[derive(Debug)]
pub(super) struct Unpersisted {
    pub(super) ticket: Ticket,
    /// What `raft` calls this write, and all that came since without one.
    pub(super) number: u64,
    /// The term of the vote in it.
    pub(super) term: Option<u64>,
    /// Whether entries or a snapshot are in it.
    pub(super) has_log: bool,
    /// Whether it replaces entries.
    pub(super) replaces: bool,
}

impl Group {
    /// All writes up to this ticket are durable.
    pub(super) fn on_persisted(&mut self, ticket: Ticket, shared: &mut Shared<'_>) {
        let mut number = None;
        while let Some(write) = pop_front_if(&mut self.unpersisted, |write| write.ticket <= ticket) {
            number = number.max(Some(write.number));
            self.durable_term = self.durable_term.max(write.term.unwrap_or(0));
        }
        // 1. An entry is written, and before that is durable another leader replaces it, and a third one brings it back.
        // 2. The first write is durable: this index and term are, but the log on the disk is about to change twice.
        // 3. `raft` would take the entry for durable. A crash between the other two writes loses it.
        // So a write counts only when none is under way that replaces anything.
        let is_replaced = self.unpersisted.iter().any(|write| write.replaces);
        if is_planted(Mutant::StaleWriteCompletion) {
            let replacing = self.unpersisted.iter().rev().find(|write| write.replaces);
            number = number.max(replacing.map(|write| write.number));
        }
        if let Some(number) = number
            && (!is_replaced || is_planted(Mutant::StaleWriteCompletion))
        {
            self.raw.on_persist_ready(number);
            self.tame();
        }
        if is_planted(Mutant::CommitBeforeMajority) && self.is_leader() {
            let persisted = self.raw.raft.raft_log.persisted;
            self.raw.raft.raft_log.commit_to(persisted);
        }
        while let Some((_, message)) = pop_front_if(&mut self.waiting, |(awaited, _)| *awaited <= ticket) {
            shared.peers.post(self.id, self.incarnation, message, shared.now);
        }
        self.campaign_if_called();
    }

    /// Hands out what there is. Returns whether there is more.
    pub(super) fn flush(&mut self, ticket: Ticket, out: &mut Outputs, shared: &mut Shared<'_>) -> bool {
        self.write_birth(ticket, out);
        self.finish_install(out);
        for _ in 0..READIES_AT_ONCE {
            if !self.raw.has_ready() {
                break;
            }
            self.handle_ready(ticket, out, shared);
        }
        let is_more_decided = self.apply_ahead(ticket, out, shared);
        self.tame();
        self.tell_leader(out);
        let group = self.id;
        if let Some((first, last)) = self.raw.mut_store().take_fetch() {
            out.fetches.push(Fetch { group, first, last });
        }
        for to in self.raw.mut_store().take_wanted_snapshots() {
            out.snapshots.push(SnapshotNeed::Make { group, to });
        }
        self.raw.has_ready() || is_more_decided
    }

    fn write_birth(&mut self, ticket: Ticket, out: &mut Outputs) {
        let Some(base) = self.birth.take() else { return };
        let term = base.snapshot.term;
        self.written = HardState { term, vote: None, commit: base.snapshot.index };
        let records = [Record::HardState(self.written), Record::Installed(base)];
        out.writes.extend(records.map(|record| Write { ticket, group: self.id, record }));
        let write = Unpersisted { ticket, number: 0, term: Some(term), has_log: true, replaces: false };
        self.unpersisted.push_back(write);
    }

    /// A snapshot that is durable goes to the state machine.
    fn finish_install(&mut self, out: &mut Outputs) {
        let persisted = self.raw.raft.raft_log.persisted;
        if let Some(id) = self.installing.take_if(|id| persisted >= id.index) {
            (self.applied, self.handed) = (id.index, id.index);
            out.applied.push(Applied { group: self.id, id, what: Apply::Snapshot });
            self.advance_apply();
        }
    }

    fn advance_apply(&mut self) {
        let log = &self.raw.raft.raft_log;
        let to = self.applied.min(log.persisted);
        if to > log.applied {
            self.raw.advance_apply_to(to);
        }
    }

    fn handle_ready(&mut self, ticket: Ticket, out: &mut Outputs, shared: &mut Shared<'_>) {
        let mut ready = self.raw.ready();
        let number = ready.number();
        let mut write = Unpersisted { ticket, number, term: None, has_log: false, replaces: false };
        let mut record = |record| out.writes.push(Write { ticket, group: self.id, record });
        if let Some(state) = ready.hs() {
            let vote = Some(NodeId(state.vote)).filter(|vote| vote.0 != 0);
            let is_written = (state.term, vote) == (self.written.term, self.written.vote);
            let state = HardState { term: state.term, vote, commit: state.commit };
            if !is_written && !is_planted(Mutant::VoteNotPersisted) {
                self.written = state;
                write.term = Some(state.term);
                record(Record::HardState(state));
            } else if is_planted(Mutant::VoteNotPersisted) {
                self.durable_term = state.term;
            }
        }
        let metadata = ready.snapshot().get_metadata();
        if metadata.index > 0 {
            let id = EntryId { term: metadata.term, index: metadata.index };
            let members = Members::from_raft(metadata.get_conf_state());
            shared.peers.change_members(&self.members, &members, shared.now);
            self.members = members.clone();
            self.raw.mut_store().install(id, members);
            self.installing = Some(id);
            write.has_log = true;
            write.replaces = true;
            record(Record::Installed(self.raw.store().base().clone()));
        }
        let entries = ready.take_entries();
        if let Some(first) = entries.first() {
            write.has_log = true;
            write.replaces |= first.index <= self.raw.store().last();
            self.raw.mut_store().append(&entries);
            let commit = self.raw.raft.raft_log.committed;
            for entry in &entries {
                record(Record::Entry { entry: Entry::from_raft(entry), commit });
            }
        }
        let at_once = ready.take_messages();
        let when_durable = ready.take_persisted_messages();
        let committed = ready.take_committed_entries();
        let reads = ready.take_read_states();
        self.raw.advance_append_async(ready);
        if write.has_log || write.term.is_some() {
            self.unpersisted.push_back(write);
        } else if let Some(last) = self.unpersisted.back_mut() {
            last.number = number;
        } else {
            self.raw.on_persist_ready(number);
        }
        // A leader may not wait for its entries, but for its vote: see the module.
        let may_lead = self.durable_term >= self.raw.raft.term;
        for message in at_once {
            self.send(message, may_lead, shared);
        }
        for message in when_durable {
            self.send(message, false, shared);
        }
        for entry in committed {
            self.handed = entry.index;
            if entry.index > self.applied {
                self.apply(&entry, ticket, out, shared);
            }
        }
        self.advance_apply();
        let handed = self.handed;
        self.raw.mut_store().shrink_window(handed, shared.settings);
        for read in reads {
            if let Ok(token) = <[u8; 8]>::try_from(&read.request_ctx[..]) {
                let token = u64::from_le_bytes(token);
                out.reads.push(ReadReady { group: self.id, token, index: read.index });
            }
        }
    }

    /// Lets the state machine of a leader have what was decided without it: a majority of the others has it on their disks, and its own
    /// is late (Raft thesis §10.2.1). `raft` itself hands out nothing before it is durable here.
    ///
    /// A change of members is not for this: `raft` has to count it in its turn. Returns whether there is more.
    fn apply_ahead(&mut self, ticket: Ticket, out: &mut Outputs, shared: &mut Shared<'_>) -> bool {
        if !self.leads_ahead || !self.is_leader() {
            return false;
        }
        let mut room = usize::try_from(limits::GROUP_APPLY_BYTES).unwrap_or(usize::MAX);
        while self.applied < self.raw.raft.raft_log.committed
            && let Some(entry) = self.raw.store().entry(self.applied + 1)
            && entry.get_entry_type() == EntryType::EntryNormal
        {
            if room == 0 {
                return true;
            }
            room = room.saturating_sub(entry.data.len());
            let entry = entry.clone();
            self.apply(&entry, ticket, out, shared);
        }
        false
    }

    /// Sends at once, or when all that was written so far is durable.
    fn send(&mut self, mut message: Message, at_once: bool, shared: &mut Shared<'_>) {
        if message.get_msg_type() == MessageType::MsgSnapshot {
            self.snapshots_out.push((NodeId(message.to), 0));
        }
        if message.get_msg_type() == MessageType::MsgAppend && !self.mend_append(&mut message) {
            return;
        }
        match self.unpersisted.back() {
            Some(last) if !at_once => self.waiting.push_back((last.ticket, message)),
            Some(_) | None => shared.peers.post(self.id, self.incarnation, message, shared.now),
        }
    }

    /// Makes an append begin where its entries do. Batching puts entries also into an empty append that is on its way to the same
    /// member, and does not look whether they follow it: they do not if the member was found to lag meanwhile. Returns whether the
    /// log still reaches back to there; if not, the next heartbeat leads to a snapshot.
    fn mend_append(&self, message: &mut Message) -> bool {
        let Some(first) = message.entries.first() else { return true };
        let before = first.index - 1;
        if message.index == before {
            return true;
        }
        let Some(term) = self.raw.store().term_at(before) else { return false };
        message.index = before;
        message.log_term = term;
        true
    }

    fn apply(&mut self, entry: &eraftpb::Entry, ticket: Ticket, out: &mut Outputs, shared: &mut Shared<'_>) {
        let entry = Entry::from_raft(entry);
        assert_eq!(entry.id.index, self.applied + 1, "entries are applied in order");
        self.applied = entry.id.index;
        if let Content::Members(change) = entry.content {
            self.apply_members(change, ticket, out, shared);
        }
        out.applied.push(Applied { group: self.id, id: entry.id, what: Apply::Entry(entry.content) });
    }

    fn apply_members(&mut self, change: MemberChange, ticket: Ticket, out: &mut Outputs, shared: &mut Shared<'_>) {
        // Where it makes no sense it does nothing, on every member alike.
        let Ok(state) = self.raw.apply_conf_change(&change.to_raft()) else { return };
        let members = Members::from_raft(&state);
        shared.peers.change_members(&self.members, &members, shared.now);
        self.members = members;
        self.written.commit = self.applied;
        let record = Record::HardState(self.written);
        out.writes.push(Write { ticket, group: self.id, record });
        // A leader that has left would go on, and `raft` would look for its own progress in vain.
        let raft = &mut self.raw.raft;
        if raft.state == StateRole::Leader && !self.members.voters().contains(&NodeId(raft.id)) {
            raft.become_follower(raft.term, raft::INVALID_ID);
        }
    }

    fn tell_leader(&mut self, out: &mut Outputs) {
        let raft = &self.raw.raft;
        let (term, leader) = (raft.term, raft.leader_id);
        if self.told != (term, leader) && (leader != 0 || self.told.1 != 0) {
            out.leaders.push(LeaderChange { group: self.id, term, leader: self.leader() });
        }
        self.told = (term, leader);
    }
}
