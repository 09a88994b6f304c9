//! Nodes, the network between them, and a clock: everything happens in an order that the seed decides.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

use super::super::{
    Apply, Content, Groups, Identity, Members, Origin, Outputs, Refused, Settings, SnapshotNeed, Ticket,
};
use super::disk::{Disk, Image, Item};
use super::rng::Rng;
use super::truth::{Machine, Truth, check_sent};
use crate::ids::{GroupId, NodeId};
use crate::storage::codec::mix;
use crate::time::Instant;

/// The groups' only incarnation.
pub(super) const INCARNATION: u64 = 7;

#[derive(Debug, Default)]
pub(super) struct Node {
    /// `None` while it is down.
    pub(super) groups: Option<Groups>,
    boot: u64,
    pub(super) disk: Disk,
    /// Groups that it is told to be in; metadata, which is not what is tested here.
    joined: BTreeSet<GroupId>,
    machines: BTreeMap<GroupId, Machine>,
    /// Milliseconds that a sync takes at most.
    pub(super) sync_ms: u64,
    /// Records that were written and frames that were sent, since somebody looked.
    pub(super) writes: u64,
    pub(super) frames: u64,
}

/// Something that will happen.
#[derive(Debug)]
enum Event {
    Frame { from: NodeId, to: NodeId, bytes: Bytes },
    Snapshot { node: NodeId, boot: u64, group: GroupId, machine: Machine },
    Fetched { node: NodeId, boot: u64, group: GroupId, first: u64, last: u64 },
}

pub(super) struct World {
    pub(super) rng: Rng,
    seed: u64,
    settings: Settings,
    pub(super) now: Instant,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) truths: BTreeMap<GroupId, Truth>,
    events: BTreeMap<(Instant, u64), Event>,
    next_event: u64,
    /// Directions in which nothing arrives.
    pub(super) cut: BTreeSet<(NodeId, NodeId)>,
    /// One frame in so many is lost, doubled, or late; 0 is none.
    pub(super) loss: u64,
    pub(super) double: u64,
    pub(super) late: u64,
    /// Everything that was sent and applied.
    pub(super) hash: u64,
    /// Reads under way, and where they may not be before.
    reads: BTreeMap<u64, (GroupId, u64)>,
    next_read: u64,
    pub(super) seen: Seen,
    out: Outputs,
}

/// What has happened, so that a test can tell that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) applied: u64,
    /// Of these, how often by a leader whose own disk was late.
    pub(super) ahead: u64,
    pub(super) elections: u64,
    pub(super) snapshots: u64,
    pub(super) compactions: u64,
    pub(super) fetches: u64,
    pub(super) crashes: u64,
    pub(super) changes: u64,
    pub(super) transfers: u64,
    pub(super) reads: u64,
    pub(super) lost_writes: u64,
    pub(super) slept: u64,
}

impl Seen {
    pub(super) fn add(&mut self, other: Self) {
        self.applied += other.applied;
        self.ahead += other.ahead;
        self.elections += other.elections;
        self.snapshots += other.snapshots;
        self.compactions += other.compactions;
        self.fetches += other.fetches;
        self.crashes += other.crashes;
        self.changes += other.changes;
        self.transfers += other.transfers;
        self.reads += other.reads;
        self.lost_writes += other.lost_writes;
        self.slept += other.slept;
    }

    /// Nothing that the world can do has gone untried.
    pub(super) fn check_variety(&self) {
        let Self {
            applied,
            ahead,
            elections,
            snapshots,
            compactions,
            fetches,
            crashes,
            changes,
            transfers,
            reads,
            lost_writes,
            slept,
        } = *self;
        for (count, least) in [
            (applied, 1000),
            (ahead, 20),
            (elections, 100),
            (snapshots, 20),
            (compactions, 50),
            (fetches, 10),
            (crashes, 50),
            (changes, 50),
            (transfers, 10),
            (reads, 50),
            (lost_writes, 10),
            (slept, 50),
        ] {
            assert!(count >= least, "hardly tested: {self:?}");
        }
    }
}

pub(super) fn small_settings() -> Settings {
    Settings {
        sleep_ticks: 12,
        snapshot_ticks: 20,
        window_bytes: 400,
        window_entries: 6,
        append_bytes: 200,
        ..Settings::default()
    }
}

/// Every other group leads ahead.
fn lead_ahead(seed: u64, group: GroupId, groups: &mut Groups) {
    if (seed ^ group.0).is_multiple_of(2) {
        groups.lead_ahead(group);
    }
}

pub(super) fn members(voters: impl IntoIterator<Item = u64>) -> Members {
    Members::new(voters.into_iter().map(NodeId).collect(), Vec::new()).unwrap()
}

impl World {
    /// Nodes 1 to `nodes`, and groups with their first members.
    pub(super) fn new(seed: u64, nodes: u64, groups: &[Members]) -> Self {
        let mut world = Self {
            rng: Rng(mix(seed)),
            seed,
            settings: small_settings(),
            now: Instant::from_micros(1),
            nodes: (1..=nodes).map(|node| (NodeId(node), Node { sync_ms: 3, ..Node::default() })).collect(),
            truths: BTreeMap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            cut: BTreeSet::new(),
            loss: 0,
            double: 0,
            late: 0,
            hash: 0,
            reads: BTreeMap::new(),
            next_read: 0,
            seen: Seen::default(),
            out: Outputs::default(),
        };
        for node in 1..=nodes {
            world.start(NodeId(node));
        }
        for (members, group) in groups.iter().zip(1..) {
            let group = GroupId(group);
            world.truths.insert(group, Truth::new(members.clone()));
            for node in members.iter() {
                let origin = Origin::First(members.clone());
                let node = world.nodes.get_mut(&node).unwrap();
                node.joined.insert(group);
                node.machines.insert(group, Machine::FIRST);
                node.disk.write(Item::Machine(group, Machine::FIRST));
                let groups = node.groups.as_mut().unwrap();
                assert!(groups.create(group, INCARNATION, origin));
                lead_ahead(seed, group, groups);
            }
        }
        world.drain_all();
        world
    }

    pub(super) fn node_ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    pub(super) fn is_up(&self, node: NodeId) -> bool {
        self.nodes[&node].groups.is_some()
    }

    /// Starts a node from what its disk remembers.
    pub(super) fn start(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        assert!(node.groups.is_none());
        node.boot += 1;
        let identity = Identity { node: id, boot: node.boot, seed: self.seed };
        let mut groups = Groups::new(identity, self.settings, self.now);
        node.machines.clear();
        for group in node.joined.clone() {
            match node.disk.written.get(&group) {
                Some(image) if image.hard_state.term > 0 || image.base.snapshot.index > 0 => {
                    let machine = image.machines.get(&image.base.snapshot.index).copied().unwrap_or_default();
                    assert_eq!(machine.index, image.base.snapshot.index, "{group}: a log without its machine");
                    node.machines.insert(group, machine);
                    groups.recover(group, INCARNATION, image.recovered()).expect("the disk is sound");
                }
                // It had not even written that it exists.
                Some(_) | None => {
                    let first = &self.truths.get(&group).map(Truth::first);
                    let origin = match first {
                        Some(members) if members.contains(id) && !node.disk.left.contains(&group) => {
                            node.machines.insert(group, Machine::FIRST);
                            node.disk.write(Item::Machine(group, Machine::FIRST));
                            Origin::First(members.clone())
                        }
                        Some(_) | None => {
                            node.machines.insert(group, Machine::default());
                            Origin::Joins
                        }
                    };
                    groups.create(group, INCARNATION, origin);
                }
            }
            lead_ahead(self.seed, group, &mut groups);
        }
        node.groups = Some(groups);
        self.drain(id);
    }

    /// Takes a node down. What was not synced is lost, in part or whole.
    pub(super) fn crash(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        if node.groups.take().is_none() {
            return;
        }
        self.seen.crashes += 1;
        let rng = &mut self.rng;
        let mut lost = 0;
        node.disk.crash(|unsynced| {
            let kept = match rng.below(3) {
                0 => 0,
                1 => unsynced,
                _ => rng.below(unsynced as u64 + 1) as usize,
            };
            lost = unsynced - kept;
            kept
        });
        self.seen.lost_writes += lost as u64;
    }

    /// A node becomes a member, or will: its log comes from the leader.
    pub(super) fn join(&mut self, id: NodeId, group: GroupId) {
        let node = self.nodes.get_mut(&id).unwrap();
        if !node.joined.insert(group) {
            return;
        }
        let Some(groups) = &mut node.groups else { return };
        node.machines.insert(group, Machine::default());
        match node.disk.written.get(&group) {
            // It was a member before, and what it promised then still binds it.
            Some(image) if image.hard_state.term > 0 => {
                assert_eq!(image.base.snapshot.index, 0);
                groups.recover(group, INCARNATION, image.recovered()).expect("the disk is sound");
            }
            Some(_) | None => {
                groups.create(group, INCARNATION, Origin::Joins);
            }
        }
        lead_ahead(self.seed, group, groups);
        self.drain(id);
    }

    /// A node that is no member any more forgets the group.
    pub(super) fn leave(&mut self, id: NodeId, group: GroupId) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(groups) = &mut node.groups else { return };
        if node.joined.remove(&group) {
            groups.destroy(group);
            node.machines.remove(&group);
            node.disk.left.insert(group);
            node.disk.write(Item::Left(group));
        }
    }

    /// Does something with a node's groups, and takes what comes of it.
    pub(super) fn with<R>(&mut self, id: NodeId, act: impl FnOnce(&mut Groups) -> R) -> Option<R> {
        let groups = self.nodes.get_mut(&id)?.groups.as_mut()?;
        let was_awake = groups.len().1;
        let result = act(groups);
        self.seen.slept += was_awake.saturating_sub(groups.len().1) as u64;
        self.drain(id);
        Some(result)
    }

    /// Who leads, in its own opinion, with the highest term.
    pub(super) fn leader(&self, group: GroupId) -> Option<NodeId> {
        let statuses = self.nodes.iter().filter_map(|(id, node)| {
            let status = node.groups.as_ref()?.status(group)?;
            status.is_leader.then_some((status.term, *id))
        });
        statuses.max().map(|(_, id)| id)
    }

    pub(super) fn read(&mut self, id: NodeId, group: GroupId) {
        let token = self.next_read;
        self.next_read += 1;
        let least = self.truths[&group].last();
        self.reads.insert(token, (group, least));
        if self.with(id, |groups| groups.read_index(group, token)) != Some(Ok(())) {
            self.reads.remove(&token);
        }
    }

    /// The node's state machine is made safe, and the log before it goes.
    pub(super) fn compact(&mut self, id: NodeId, group: GroupId, keep: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(groups) = &mut node.groups else { return };
        let Some(machine) = node.machines.get(&group).copied() else { return };
        node.disk.write(Item::Machine(group, machine));
        if groups.compact(group, keep) {
            self.seen.compactions += 1;
        }
        self.drain(id);
    }

    fn drain_all(&mut self) {
        for id in self.node_ids() {
            self.drain(id);
        }
    }

    /// Carries out what a node's groups want done.
    fn drain(&mut self, id: NodeId) {
        let mut out = core::mem::take(&mut self.out);
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(groups) = &mut node.groups else { return };
        groups.flush(self.now, &mut out);
        groups.check_invariants();
        let mut ticket = None;
        for write in out.writes.drain(..) {
            assert!(ticket.is_none_or(|ticket| ticket == write.ticket), "one ticket per flush");
            ticket = Some(write.ticket);
            node.writes += 1;
            let group = write.group;
            let entry_commit = match &write.record {
                super::super::Record::Entry { commit, .. } => Some(*commit),
                _ => None,
            };
            node.disk.write(Item::Record(write));
            if let Some(commit) = entry_commit {
                let open = node.disk.written[&group].open_changes(commit);
                assert!(
                    open <= 1,
                    "{id}: {open} changes of members at once in {group}: {:?}",
                    node.disk.written[&group]
                );
            }
        }
        if let Some(ticket) = ticket {
            let took = Duration::from_micros(self.rng.below(node.sync_ms * 1000) + 50);
            let at = node.disk.next_done().map_or(self.now, |at| at.max(self.now)) + took;
            node.disk.sync(ticket, at);
        }
        self.take_messages(id, &mut out);
        self.take_applied(id, &mut out);
        self.take_needs(id, &mut out);
        self.out = out;
    }

    fn take_messages(&mut self, id: NodeId, out: &mut Outputs) {
        for message in out.messages.drain(..) {
            let node = self.nodes.get_mut(&id).unwrap();
            node.frames += 1;
            self.hash =
                mix(self.hash ^ u64::from(crc32fast::hash(&message.bytes)) ^ (id.0 << 40) ^ (message.to.0 << 50));
            check_sent(id, message.to, &message.bytes, &node.disk.durable);
            if self.loss > 0 && self.rng.one_in(self.loss) {
                continue;
            }
            let copies = if self.double > 0 && self.rng.one_in(self.double) { 2 } else { 1 };
            for _ in 0..copies {
                let late = self.late > 0 && self.rng.one_in(self.late);
                let micros = if late { self.rng.below(1_500_000) } else { 200 + self.rng.below(5000) };
                let bytes = message.bytes.clone();
                self.at(Duration::from_micros(micros), Event::Frame { from: id, to: message.to, bytes });
            }
        }
    }

    fn take_applied(&mut self, id: NodeId, out: &mut Outputs) {
        for change in out.leaders.drain(..) {
            if change.leader == Some(id) {
                self.seen.elections += 1;
                let groups = self.nodes[&id].groups.as_ref().unwrap();
                let store = groups.group(change.group).unwrap().store();
                self.truths.get_mut(&change.group).unwrap().check_leader(id, change.term, store);
            }
        }
        for applied in out.applied.drain(..) {
            self.seen.applied += 1;
            let group = applied.group;
            let node = self.nodes.get_mut(&id).unwrap();
            let machine = node.machines.get_mut(&group).unwrap();
            match &applied.what {
                Apply::Entry(content) => machine.apply(applied.id.index, content),
                Apply::Snapshot => {
                    self.seen.snapshots += 1;
                    *machine = node.disk.written[&group].machines[&applied.id.index];
                }
            }
            self.seen.changes += u64::from(matches!(applied.what, Apply::Entry(Content::Members(_))));
            self.hash = mix(self.hash ^ machine.hash ^ (id.0 << 56) ^ applied.id.index);
            let machine = *machine;
            let is_durable = node.disk.durable.get(&group).is_some_and(|image| image.has(applied.id));
            let leads = node.groups.as_ref().and_then(|groups| groups.status(group)).is_some_and(|it| it.is_leader);
            let may_lead_ahead = (self.seed ^ group.0).is_multiple_of(2) && leads;
            assert!(is_durable || may_lead_ahead, "{id} applied {:?}, which is not durable there", applied.id);
            self.seen.ahead += u64::from(!is_durable);
            let images = self.nodes.iter().filter_map(|(id, node)| Some((*id, node.disk.durable.get(&group)?)));
            let disks: BTreeMap<NodeId, &Image> = images.collect();
            self.truths.get_mut(&group).unwrap().check_applied(id, &applied, machine, &disks);
        }
        for read in out.reads.drain(..) {
            let Some((group, least)) = self.reads.remove(&read.token) else { panic!("{read:?} was not asked") };
            assert_eq!(group, read.group);
            assert!(read.index >= least, "a stale read: {read:?}, {least} was decided before");
            self.seen.reads += 1;
        }
    }

    fn take_needs(&mut self, id: NodeId, out: &mut Outputs) {
        let boot = self.nodes[&id].boot;
        for need in out.snapshots.drain(..) {
            match need {
                SnapshotNeed::Make { group, to } => {
                    let node = self.nodes.get_mut(&id).unwrap();
                    let bytes = Bytes::from(node.machines[&group].to_bytes());
                    node.groups.as_mut().unwrap().offer_snapshot(group, to, bytes);
                }
                SnapshotNeed::Take { group, id: of, data, .. } => {
                    let machine = Machine::from_bytes(&data);
                    assert_eq!(machine.index, of.index);
                    let took = Duration::from_micros(self.rng.below(100_000));
                    self.at(took, Event::Snapshot { node: id, boot, group, machine });
                }
            }
        }
        for fetch in out.fetches.drain(..) {
            let took = Duration::from_micros(self.rng.below(20_000));
            let event = Event::Fetched { node: id, boot, group: fetch.group, first: fetch.first, last: fetch.last };
            self.at(took, event);
        }
    }

    fn at(&mut self, after: Duration, event: Event) {
        self.events.insert((self.now + after, self.next_event), event);
        self.next_event += 1;
    }

    /// When something happens next, and where, if it is not an event.
    fn next(&self) -> Option<(Instant, Option<(NodeId, bool)>)> {
        let event = self.events.first_key_value().map(|((at, _), _)| (*at, None));
        let nodes = self.nodes.iter().filter_map(|(id, node)| {
            let groups = node.groups.as_ref()?;
            let timeout = groups.next_timeout().map(|at| (at, Some((*id, false))));
            let sync = node.disk.next_done().map(|at| (at, Some((*id, true))));
            [timeout, sync].into_iter().flatten().min()
        });
        nodes.chain(event).min()
    }

    /// Lets time pass until `end`.
    pub(super) fn run_until(&mut self, end: Instant) {
        while let Some((at, who)) = self.next().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            match who {
                Some((id, true)) => {
                    let node = self.nodes.get_mut(&id).unwrap();
                    let ticket: Ticket = node.disk.complete().unwrap();
                    node.groups.as_mut().unwrap().persisted(ticket);
                    self.drain(id);
                }
                Some((id, false)) => {
                    let now = self.now;
                    self.with(id, |groups| groups.handle_timeout(now));
                }
                None => {
                    let (_, event) = self.events.pop_first().unwrap();
                    self.happen(event);
                }
            }
        }
        self.now = end;
    }

    pub(super) fn run_for(&mut self, millis: u64) {
        self.run_until(self.now + Duration::from_millis(millis));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Frame { from, to, bytes } => {
                if !self.cut.contains(&(from, to)) {
                    let now = self.now;
                    self.with(to, |groups| groups.receive(now, from, &bytes).expect("frames are sound"));
                }
            }
            Event::Snapshot { node: id, boot, group, machine } => {
                let node = self.nodes.get_mut(&id).unwrap();
                if node.boot == boot && node.groups.is_some() && node.joined.contains(&group) {
                    // What is accepted has to be durable by itself.
                    node.disk.write(Item::Machine(group, machine));
                    node.disk.write_through(group, machine);
                    self.with(id, |groups| groups.accept_snapshot(group, machine.index));
                }
            }
            Event::Fetched { node: id, boot, group, first, last } => {
                let node = &self.nodes[&id];
                if node.boot == boot && node.groups.is_some() {
                    self.seen.fetches += 1;
                    let log = node.disk.written.get(&group);
                    let last = last.min(first + 3);
                    let found = log.filter(|log| first <= last && log.entries.contains_key(&first));
                    let entries: Vec<_> = found
                        .into_iter()
                        .flat_map(|log| log.entries.range(first..=last).map(|(_, entry)| entry.clone()))
                        .collect();
                    self.with(id, |groups| groups.fetched(group, &entries));
                }
            }
        }
    }

    /// Everything works again: the network, the disks, the nodes.
    pub(super) fn heal(&mut self) {
        self.cut.clear();
        (self.loss, self.double, self.late) = (0, 0, 0);
        for id in self.node_ids() {
            self.nodes.get_mut(&id).unwrap().sync_ms = 3;
            if !self.is_up(id) {
                self.start(id);
            }
        }
    }

    /// After everything works again, each group decides something, and all its members have it.
    pub(super) fn check_live(&mut self) {
        self.heal();
        let groups: Vec<_> = self.truths.keys().copied().collect();
        let mut wanted = BTreeMap::new();
        for _ in 0..40 {
            self.run_for(500);
            for group in &groups {
                for node in self.truths[group].members().clone().iter() {
                    self.join(node, *group);
                }
            }
            for group in groups.iter().copied().filter(|group| !wanted.contains_key(group)).collect::<Vec<_>>() {
                let Some(leader) = self.leader(group) else { continue };
                let proposed = self.with(leader, |groups| groups.propose(group, Bytes::from_static(b"at the end")));
                if let Some(Ok(id)) = proposed {
                    wanted.insert(group, id);
                }
            }
            wanted.retain(|group, id| {
                let decided = self.truths[group].applied.get(&id.index);
                decided.is_none_or(|(decided, ..)| decided == id)
            });
            if groups.iter().all(|group| wanted.get(group).is_some_and(|id| self.is_everywhere(*group, id.index))) {
                return;
            }
        }
        let is_done = |group: &GroupId| wanted.get(group).is_some_and(|id| self.is_everywhere(*group, id.index));
        let group = groups.iter().copied().find(|group| !is_done(group)).unwrap();
        let states: Vec<_> = self
            .nodes
            .iter()
            .map(|(id, node)| (id, node.groups.as_ref().and_then(|groups| groups.group(group))))
            .collect();
        let members = self.truths[&group].members();
        panic!("seed {}: {group} of {members:?} is not live, wants {:?}: {states:?}", self.seed, wanted.get(&group));
    }

    /// Whether all members have applied the last change of members, and will know after a crash.
    pub(super) fn do_members_know(&self, group: GroupId) -> bool {
        let truth = &self.truths[&group];
        truth.members().iter().all(|node| {
            let image = self.nodes[&node].disk.durable.get(&group);
            image.is_some_and(|image| image.commit.max(image.base.snapshot.index) >= truth.changed_at())
        })
    }

    fn is_everywhere(&self, group: GroupId, index: u64) -> bool {
        let machine = |node: NodeId| self.nodes[&node].machines.get(&group).copied();
        let members = self.truths[&group].members();
        members.iter().all(|node| machine(node).is_some_and(|machine| machine.index >= index))
    }

    /// Lets the leader decide on a command, if there is one.
    pub(super) fn propose(&mut self, node: NodeId, group: GroupId, len: usize) -> Option<Result<(), Refused>> {
        let number = self.rng.next().to_le_bytes();
        let bytes: Vec<u8> = number.iter().copied().cycle().take(len).collect();
        Some(self.with(node, |groups| groups.propose(group, Bytes::from(bytes)))?.map(|_| ()))
    }
}
