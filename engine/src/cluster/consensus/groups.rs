//! All groups of one node.

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

use super::entry::{Base, Content, Entry, EntryId, HardState, Mark};
use super::group::{Group, Shared};
use super::members::{MemberChange, Members};
use super::output::{Outputs, SnapshotNeed, Ticket, Write};
use super::peers::{News, Peers};
use super::recovered::{Recovered, Unsound};
use super::store::pop_front_if;
use super::wire::{Frame, Malformed};
use crate::collections::IdMap;
use crate::ids::{GroupId, NodeId};
use crate::limits;
use crate::time::Instant;

/// Who a node is, and what makes its choices repeatable.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The node; not 0.
    pub node: NodeId,
    /// A number that is another at each boot of this node, and not 0.
    pub boot: u64,
    /// Decides election timeouts. It may be the same on all nodes, and should be secret to nobody.
    pub seed: u64,
}

/// How long groups wait, and how much they keep.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Ticks without a word from the leader after which a member may campaign, at the earliest; at the latest after twice as many.
    pub election_ticks: usize,
    /// Ticks between two heartbeats of a leader; fewer than the above.
    pub heartbeat_ticks: usize,
    /// Ticks without work after which a group hibernates.
    pub sleep_ticks: u32,
    /// Ticks after which a snapshot that nobody has answered is offered again.
    pub snapshot_ticks: u32,
    /// Bytes of entries that a group keeps in memory for its other members.
    pub window_bytes: usize,
    /// Entries that a group keeps in memory for its other members.
    pub window_entries: usize,
    /// Bytes of entries in one append.
    pub append_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            election_ticks: limits::GROUP_ELECTION_TICKS,
            heartbeat_ticks: limits::GROUP_HEARTBEAT_TICKS,
            sleep_ticks: limits::GROUP_SLEEP_TICKS,
            snapshot_ticks: limits::GROUP_SNAPSHOT_TICKS,
            window_bytes: limits::GROUP_WINDOW_BYTES,
            window_entries: limits::GROUP_WINDOW_ENTRIES,
            append_bytes: limits::GROUP_APPEND_BYTES,
        }
    }
}

/// How a member of a group comes into being.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The group begins, with these members. Each of them is told the same.
    First(Members),
    /// It knows nothing and waits for the leader of a group that takes it in.
    Joins,
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This node does not know the group.
    Unknown,
    /// Only the leader can.
    NotLeader {
        /// Who it is, if that is known.
        leader: Option<NodeId>,
    },
    /// Not at the moment: too much is under way, leadership is being handed over, or a change of members is not complete.
    Busy,
    /// The learner has not caught up.
    Behind,
    /// It makes no sense: not a member, already one, or the last one.
    Impossible,
}

/// What a group looks like from this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The latest term it has seen.
    pub term: u64,
    /// The leader, if it is known.
    pub leader: Option<NodeId>,
    /// Whether that is this node.
    pub is_leader: bool,
    /// Whether it ticks.
    pub is_awake: bool,
    /// The last entry of the log.
    pub last_index: u64,
    /// Up to where all is known to be committed.
    pub commit_index: u64,
    /// Up to where all was handed to the state machine.
    pub applied_index: u64,
    /// The first entry that the log still has.
    pub first_index: u64,
    /// The last entry that is known to be durable here.
    pub persisted_index: u64,
    /// The last entry that is in the snapshot in front of the log.
    pub snapshot_index: u64,
    /// The members, as of what was applied.
    pub members: Members,
}

/// What was not acted on, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages for groups, or incarnations of groups, that are not here.
    pub strays: u64,
    /// Messages that contradict what this node knows: one of the two has lost its memory.
    pub contradictions: u64,
}

/// All groups of one node.
///
/// Calls only collect; [`Groups::flush`] hands out what came of them. One flush for a batch of calls makes one ticket and one frame
/// per node of it.
#[derive(Debug)]
pub struct Groups {
    identity: Identity,
    settings: Settings,
    logger: slog::Logger,
    slots: Vec<Option<Box<Group>>>,
    free: Vec<usize>,
    by_id: IdMap<GroupId, usize>,
    /// Those that tick.
    awake: BTreeSet<usize>,
    /// Those that have something to flush, each once.
    dirty: Vec<usize>,
    peers: Peers,
    now: Instant,
    /// When the next tick is, while anyone is awake.
    tick_at: Instant,
    next_ticket: Ticket,
    /// Which groups wait for which ticket.
    awaited: VecDeque<(Ticket, Vec<(GroupId, u64)>)>,
    /// Those that have written under the next ticket.
    writers: Vec<(GroupId, u64)>,
    /// Collected before the flush.
    writes: Vec<Write>,
    snapshots: Vec<SnapshotNeed>,
    counters: Counters,
}

impl Groups {
    /// No groups.
    ///
    /// # Panics
    /// If the node or the boot is 0, or heartbeats are not more frequent than elections.
    pub fn new(identity: Identity, settings: Settings, now: Instant) -> Self {
        assert!(identity.node.0 != 0 && identity.boot != 0, "nodes and boots are counted from 1");
        assert!(settings.election_ticks > settings.heartbeat_ticks && settings.heartbeat_ticks > 0);
        Self {
            identity,
            settings,
            logger: slog::Logger::root(slog::Discard, slog::o!()),
            slots: Vec::new(),
            free: Vec::new(),
            by_id: IdMap::new(),
            awake: BTreeSet::new(),
            dirty: Vec::new(),
            peers: Peers::new(identity.node, identity.boot),
            now,
            tick_at: now,
            next_ticket: Ticket(1),
            awaited: VecDeque::new(),
            writers: Vec::new(),
            writes: Vec::new(),
            snapshots: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// This node becomes a member of a group. `incarnation` tells it from all others that have had or will have this id; members of a
    /// group agree on it. Returns whether the group was not there before.
    pub fn create(&mut self, group: GroupId, incarnation: u64, origin: Origin) -> bool {
        let state = match origin {
            // The members stand behind a snapshot, so that a log that begins at its first entry never passes for one with members.
            Origin::First(members) => {
                let first = EntryId { term: 1, index: 1 };
                Recovered {
                    hard_state: HardState { term: 1, vote: None, commit: 1 },
                    base: Base { snapshot: first, members, start: first },
                    entries: Vec::new(),
                }
            }
            Origin::Joins => Recovered::default(),
        };
        self.insert(group, incarnation, state, true)
    }

    /// This node is still a member of a group, after a restart. The state machine is as of the base's snapshot; what is committed
    /// after that comes again. Returns whether the group was not there before.
    ///
    /// # Errors
    /// If the state is none that a member can have written.
    pub fn recover(&mut self, group: GroupId, incarnation: u64, state: Recovered) -> Result<bool, Unsound> {
        if !state.is_sound() {
            return Err(Unsound);
        }
        Ok(self.insert(group, incarnation, state, false))
    }

    fn insert(&mut self, id: GroupId, incarnation: u64, state: Recovered, is_new: bool) -> bool {
        if self.by_id.contains_key(&id) {
            return false;
        }
        let identity = (self.identity.node, self.identity.seed);
        let group = Group::new((id, incarnation), identity, &self.settings, &self.logger, state, is_new);
        self.peers.change_members(&Members::default(), group.members(), self.now);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(Box::new(group));
        self.by_id.insert(id, slot);
        self.touched(slot);
        true
    }

    /// This node is no member any more. Nothing of the group is heard after that; its records are the embedder's to remove. Returns
    /// whether it was there.
    pub fn destroy(&mut self, group: GroupId) -> bool {
        let Some(slot) = self.by_id.remove(&group) else { return false };
        if let Some(group) = self.slots[slot].take() {
            self.peers.change_members(group.members(), &Members::default(), self.now);
            self.dirty.retain(|dirty| *dirty != slot);
        }
        self.awake.remove(&slot);
        self.writes.retain(|write| write.group != group);
        self.free.push(slot);
        true
    }

    /// What a group looks like.
    pub fn status(&self, group: GroupId) -> Option<Status> {
        Some(self.group(group)?.status())
    }

    /// What was not acted on.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How many groups there are, and how many of them tick.
    pub fn len(&self) -> (usize, usize) {
        (self.by_id.len(), self.awake.len())
    }

    /// Whether there are no groups.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Appends a command to a group that this node leads. It is committed once it comes back in [`Outputs::applied`] under the same
    /// term and index; if another term comes there, it never will be.
    ///
    /// # Errors
    /// If this node does not lead, or too much is under way.
    pub fn propose(&mut self, group: GroupId, command: Bytes) -> Result<EntryId, Refused> {
        self.with(group, |group| group.propose(Content::Command(command)))
    }

    /// Begins to change the members of a group that this node leads. Done when it comes back in [`Outputs::applied`].
    ///
    /// # Errors
    /// If this node does not lead, another change is under way, the learner is behind, or it makes no sense.
    pub fn change_members(&mut self, group: GroupId, change: MemberChange) -> Result<EntryId, Refused> {
        self.with(group, |group| group.change_members(change))
    }

    /// Asks another voter to lead. Proposals are refused until it does or an election timeout has passed.
    ///
    /// # Errors
    /// If this node does not lead, or the other one may not.
    pub fn transfer_leadership(&mut self, group: GroupId, to: NodeId) -> Result<(), Refused> {
        self.with(group, |group| group.transfer_leadership(to))
    }

    /// Asks up to where the state machine must be for a linearizable read. Answered in [`Outputs::reads`], unless the leadership
    /// ends before that.
    ///
    /// # Errors
    /// If this node does not lead, or has not committed anything in its term.
    pub fn read_index(&mut self, group: GroupId, token: u64) -> Result<(), Refused> {
        self.with(group, |group| group.read_index(token))
    }

    /// Begins an election at once, where this node may win one: for the node that creates a group.
    pub fn campaign(&mut self, group: GroupId) {
        let _ = self.with(group, |group| {
            group.campaign();
            Ok(())
        });
    }

    /// Members of this group are told at once what is decided while this node leads, not with the next append or heartbeat: for groups
    /// whose every member answers for what was decided.
    pub fn tell_commits(&mut self, group: GroupId) {
        let _ = self.with(group, |group| {
            group.tell_commits();
            Ok(())
        });
    }

    /// While this node leads the group it carries out what the others have, although its own disk is late. What comes in
    /// [`Outputs::applied`] is then not always durable here.
    pub fn lead_ahead(&mut self, group: GroupId) {
        let _ = self.with(group, |group| {
            group.leads_ahead = true;
            Ok(())
        });
    }

    /// Up to which entry all is durable and carried out here, so that a snapshot may stand for it. `None` if the group is not here.
    pub fn durable_index(&self, group: GroupId) -> Option<u64> {
        let log = &self.group(group)?.raw.raft.raft_log;
        Some(log.persisted.min(log.applied))
    }

    /// A snapshot of the state machine as it is after all that was handed out. `data` is all of it, or says where to get it.
    pub fn offer_snapshot(&mut self, group: GroupId, to: NodeId, data: Bytes) {
        let _ = self.with(group, |group| {
            group.offer_snapshot(to, data);
            Ok(())
        });
    }

    /// As [`Groups::offer_snapshot`], of the state machine as it was at a mark.
    pub fn offer_marked(&mut self, group: GroupId, to: NodeId, mark: &Mark, data: Bytes) {
        let _ = self.with(group, |group| {
            group.offer_marked(to, mark, data);
            Ok(())
        });
    }

    /// Where the state machine is, after all that was handed out. `None` if the group is not here, or knows nothing yet.
    pub fn mark(&self, group: GroupId) -> Option<Mark> {
        self.group(group)?.mark()
    }

    /// Where the group's log begins: the snapshot that stands for all before. `None` if the group is not here, or knows nothing yet.
    pub fn base(&self, group: GroupId) -> Option<Mark> {
        self.group(group)?.base()
    }

    /// The term of an entry, if the group is here and its log still knows.
    pub fn term_at(&self, group: GroupId, index: u64) -> Option<u64> {
        self.group(group)?.term_at(index)
    }

    /// The content of the snapshot offered at this index is here, and durable.
    pub fn accept_snapshot(&mut self, group: GroupId, index: u64) {
        let _ = self.with(group, |group| {
            group.accept_snapshot(index);
            Ok(())
        });
    }

    /// The content of the offered snapshot cannot be had. The leader will offer another.
    pub fn refuse_snapshot(&mut self, group: GroupId) {
        let _ = self.with(group, |group| {
            group.refuse_snapshot();
            Ok(())
        });
    }

    /// The state machine, as it is after all that was handed out, is durable by itself: the log before it may go, except for `keep`
    /// entries for members that lag behind. Returns whether anything goes.
    pub fn compact(&mut self, group: GroupId, keep: u64) -> bool {
        self.mark(group).is_some_and(|mark| self.compact_to(group, &mark, keep))
    }

    /// As [`Groups::compact`], if it is the state machine as it was at a mark that is durable by itself.
    pub fn compact_to(&mut self, group: GroupId, mark: &Mark, keep: u64) -> bool {
        let (ticket, mut writes) = (self.next_ticket, core::mem::take(&mut self.writes));
        let compacted =
            self.with(group, |group| Ok((group.compact_to(mark, keep, ticket, &mut writes), group.incarnation())));
        self.writes = writes;
        let Ok((true, incarnation)) = compacted else { return false };
        self.writers.push((group, incarnation));
        true
    }

    /// Entries that were asked for. An empty list says that they cannot be had at the moment.
    pub fn fetched(&mut self, group: GroupId, entries: &[Entry]) {
        let _ = self.with(group, |group| {
            group.fetched(entries);
            Ok(())
        });
    }

    /// Takes a frame that another node sent. Who that is is the embedder's to know for sure.
    ///
    /// # Errors
    /// If the bytes are none that a node of a known version sends. Nothing of them was acted on.
    pub fn receive(&mut self, now: Instant, from: NodeId, bytes: &Bytes) -> Result<(), Malformed> {
        self.now = self.now.max(now);
        let frame = Frame::decode(bytes, from, self.identity.node)?;
        match self.peers.heard(from, frame.boot, self.now) {
            News::Nothing => {}
            News::Back => self.wake_led_with(from),
            News::Restarted => {
                self.wake_led_by(from);
                self.wake_led_with(from);
            }
        }
        for (beats, is_answer) in [(&frame.beats, false), (&frame.answers, true)] {
            for beat in beats {
                self.deliver(beat.group, beat.incarnation, |group, _| group.on_beat(from, *beat, is_answer));
            }
        }
        for sleep in &frame.sleeps {
            self.deliver(sleep.group, sleep.incarnation, |group, _| {
                group.on_sleep(from, *sleep);
                true
            });
        }
        for letter in frame.letters {
            let message = letter.message;
            self.deliver(letter.group, letter.incarnation, |group, needs| group.on_message(message, needs));
        }
        Ok(())
    }

    fn deliver(
        &mut self,
        id: GroupId,
        incarnation: u64,
        take: impl FnOnce(&mut Group, &mut Vec<SnapshotNeed>) -> bool,
    ) {
        let slot = self.by_id.get(&id).copied();
        let group = slot.and_then(|slot| self.slots[slot].as_mut()).filter(|group| group.incarnation() == incarnation);
        match (slot, group) {
            (Some(slot), Some(group)) => {
                if !take(group, &mut self.snapshots) {
                    self.counters.contradictions += 1;
                }
                self.touched(slot);
            }
            (_, _) => self.counters.strays += 1,
        }
    }

    /// All writes up to this ticket are durable.
    pub fn persisted(&mut self, ticket: Ticket) {
        while let Some((_, writers)) = pop_front_if(&mut self.awaited, |(awaited, _)| *awaited <= ticket) {
            for (id, incarnation) in writers {
                let Some(&slot) = self.by_id.get(&id) else { continue };
                let group = self.slots[slot].as_mut().filter(|group| group.incarnation() == incarnation);
                let Some(group) = group else { continue };
                group.on_persisted(
                    ticket,
                    &mut Shared { settings: &self.settings, peers: &mut self.peers, now: self.now },
                );
                self.touched(slot);
            }
        }
    }

    /// A node is taken for dead, for example since its connection broke. Groups that it leads look for another leader.
    pub fn node_suspected(&mut self, node: NodeId) {
        if self.peers.set_suspected(node, true, self.now) {
            self.wake_led_by(node);
        }
    }

    /// A node lives. Groups that this node leads see to members there.
    pub fn node_alive(&mut self, node: NodeId) {
        if self.peers.set_suspected(node, false, self.now) {
            self.wake_led_with(node);
        }
    }

    fn wake_led_by(&mut self, node: NodeId) {
        for slot in 0..self.slots.len() {
            let Some(group) = &mut self.slots[slot] else { continue };
            if group.leader() == Some(node) {
                group.wake_without_leader();
                self.touched(slot);
            }
        }
    }

    fn wake_led_with(&mut self, node: NodeId) {
        for slot in 0..self.slots.len() {
            let Some(group) = &mut self.slots[slot] else { continue };
            if group.is_leader() && group.members().contains(node) {
                group.wake();
                self.touched(slot);
            }
        }
    }

    /// The time asked for by [`Groups::next_timeout`] has come. Being early or late does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        let mut ticks = 0;
        while !self.awake.is_empty() && self.tick_at <= self.now {
            self.tick_at = self.tick_at + limits::GROUP_TICK;
            ticks += 1;
            if ticks == limits::GROUP_TICKS_AT_ONCE {
                self.tick_at = self.tick_at.max(self.now + limits::GROUP_TICK);
            }
            self.tick();
        }
        for node in self.peers.take_silent(self.now) {
            self.wake_led_by(node);
        }
    }

    fn tick(&mut self) {
        let awake: Vec<_> = self.awake.iter().copied().collect();
        for slot in awake {
            let Some(group) = &mut self.slots[slot] else { continue };
            group.tick(&mut Shared { settings: &self.settings, peers: &mut self.peers, now: self.now });
            self.touched(slot);
        }
    }

    /// When [`Groups::handle_timeout`] and a flush are next wanted. `None` if there is nothing to wait for.
    pub fn next_timeout(&self) -> Option<Instant> {
        if !self.dirty.is_empty() || !self.writes.is_empty() {
            return Some(self.now);
        }
        let tick = (!self.awake.is_empty()).then_some(self.tick_at);
        [tick, self.peers.next_timeout()].into_iter().flatten().min()
    }

    /// Ends a batch of calls: hands out all that came of them.
    pub fn flush(&mut self, now: Instant, out: &mut Outputs) {
        self.now = self.now.max(now);
        let ticket = self.next_ticket;
        out.writes.append(&mut self.writes);
        out.snapshots.append(&mut self.snapshots);
        for slot in core::mem::take(&mut self.dirty) {
            let Some(group) = &mut self.slots[slot] else { continue };
            group.is_dirty = false;
            let before = out.writes.len();
            let has_more = group.flush(
                ticket,
                out,
                &mut Shared { settings: &self.settings, peers: &mut self.peers, now: self.now },
            );
            if out.writes.len() > before {
                self.writers.push((group.id(), group.incarnation()));
            }
            if has_more {
                group.is_dirty = true;
                self.dirty.push(slot);
            }
            if !group.is_awake {
                self.awake.remove(&slot);
            }
        }
        self.peers.flush(self.now, &mut out.messages);
        if !self.writers.is_empty() {
            self.awaited.push_back((ticket, core::mem::take(&mut self.writers)));
            self.next_ticket = Ticket(ticket.0 + 1);
        }
    }

    /// Something was done with this group.
    fn touched(&mut self, slot: usize) {
        let Some(group) = &mut self.slots[slot] else { return };
        if !group.is_dirty {
            group.is_dirty = true;
            self.dirty.push(slot);
        }
        if group.is_awake {
            if self.awake.is_empty() {
                self.tick_at = self.tick_at.max(self.now + limits::GROUP_TICK);
            }
            self.awake.insert(slot);
        } else {
            self.awake.remove(&slot);
        }
    }

    fn with<R>(&mut self, group: GroupId, act: impl FnOnce(&mut Group) -> Result<R, Refused>) -> Result<R, Refused> {
        let slot = *self.by_id.get(&group).ok_or(Refused::Unknown)?;
        let result = act(self.slots[slot].as_mut().ok_or(Refused::Unknown)?);
        self.touched(slot);
        result
    }

    pub(super) fn group(&self, group: GroupId) -> Option<&Group> {
        self.slots[*self.by_id.get(&group)?].as_deref()
    }

    /// Checks what must hold between calls.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_invariants(&self) {
        for (slot, group) in self.slots.iter().enumerate() {
            let Some(group) = group else { continue };
            group.check_invariants();
            assert_eq!(group.is_dirty, self.dirty.contains(&slot), "{group:?}");
            assert_eq!(group.is_awake, self.awake.contains(&slot), "{group:?}");
        }
    }
}
