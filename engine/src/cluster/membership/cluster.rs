//! One node's part in its cluster.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use super::boot::Reading;
use super::command::{Command, What};
use super::group::Fetching;
use super::identity::{Identity, Place};
use super::replicas::{self, OfGroup, Start};
use super::roster::{Node, Roster};
use super::single::Single;
use super::state::State;
use crate::cluster::consensus::{self, EntryId, Found, Groups, Journal};
use crate::cluster::link::{Lane, Versions};
use crate::effect::DiskRequest;
use crate::ids::{GroupId, LinkId, Lsn, NodeId, QueueId};
use crate::limits;
use crate::mutants::{Mutant, is_planted};
use crate::storage::{Log, LogOutcome, Place as LogPlace, RecoveredOwner, RefState};
use crate::time::Instant;

/// Owners of records in the log from here on are no queues.
pub(crate) const OWNERS_START: u64 = 1 << 62;
const IDENTITY_OWNER: u64 = OWNERS_START;
const STATE_OWNER: u64 = OWNERS_START + 1;
/// The owner of the records of the group to which all nodes belong.
pub(super) const ROOT_OWNER: u64 = OWNERS_START + 2;
/// Tokens of reads in the log are greater than all owners.
const TOKENS_START: u64 = 1 << 63;
/// The group to which all nodes belong.
pub(super) const ROOT: GroupId = GroupId(1);

/// What a node is told about its cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's own name.
    pub name: String,
    /// The names of the nodes that form the cluster, the same on each of them. Empty: the node forms one by itself, at once.
    pub first_nodes: Vec<String>,
    /// Decides what is left to chance.
    pub seed: u64,
    /// Commands after which the state is written down and the log before it goes.
    pub log_entries: u64,
    /// Commands that are kept all the same.
    pub log_kept: u64,
    /// How long the group waits, and how much it keeps.
    pub groups: consensus::Settings,
    /// What the node speaks.
    pub versions: Versions,
}

impl Config {
    /// A node that is to have this name.
    #[must_use]
    pub fn new(name: String, first_nodes: Vec<String>, seed: u64) -> Self {
        Self {
            name,
            first_nodes,
            seed,
            log_entries: limits::CLUSTER_LOG_ENTRIES,
            log_kept: limits::CLUSTER_LOG_KEPT,
            groups: consensus::Settings::default(),
            versions: Versions::SPOKEN,
        }
    }
}

/// Who is at the other end of a link, as it has said; the link has made sure that it knows the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// The number of its disk.
    pub disk: u64,
    /// `None` while it belongs to no cluster.
    pub place: Option<Place>,
    /// The highest version of the protocol that both speak.
    pub version: u16,
}

/// Bytes for another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// Over which link.
    pub link: LinkId,
    /// On which lane.
    pub lane: Lane,
    /// What [`Cluster::receive`] takes there.
    pub bytes: Bytes,
}

/// What the embedder's state machine is to do. In order, on all nodes the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It carries out a command.
    Command {
        /// The entry that holds it.
        index: u64,
        /// What [`Cluster::propose`] returned, if that was here, and since the last start.
        own: Option<u64>,
        /// The command.
        bytes: Bytes,
    },
    /// It becomes this.
    State {
        /// The last entry that is in it.
        index: u64,
        /// Up to which number what was asked for here, since the last start, is in it.
        own: Option<u64>,
        /// The state; empty where there never was any.
        bytes: Bytes,
    },
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The node belongs to a cluster, from now on or again.
    Belongs(Place),
    /// Nodes came or went.
    RosterChanged,
    /// All nodes speak this version of the protocol.
    Speaks {
        /// The version.
        version: u16,
    },
    /// Who leads is another.
    LeaderChanged {
        /// `None` while nobody does, or it is not known.
        leader: Option<NodeId>,
        /// Since which term.
        term: u64,
    },
}

/// What is to be done, collected over one or more calls and drained by the embedder.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Bytes for other nodes.
    pub sends: Vec<Send>,
    /// Links that are to be refused, each with a text for the operators of both nodes.
    pub refusals: Vec<(LinkId, String)>,
    /// For the state machine.
    pub decided: Vec<Decided>,
    /// For the state machines of replicated queues.
    pub(crate) of_groups: Vec<(QueueId, OfGroup)>,
    /// Facts.
    pub events: Vec<Event>,
    /// Once all of `decided` is carried out, [`Cluster::keep_state`] is to be called, before the next flush.
    pub is_state_wanted: bool,
    /// The node cannot go on; a person reads this.
    pub fatal: Option<String>,
}

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The node belongs to no cluster yet.
    Outside,
    /// Too many are waiting.
    Full,
}

/// One node's part in its cluster.
///
/// Life: [`Cluster::new`] once the log is recovered; reads until [`Cluster::is_reading`] is over; then any number of calls, each batch
/// of them ended by [`Cluster::flush`] before the log's own.
#[derive(Debug)]
pub struct Cluster {
    pub(super) config: Config,
    pub(super) phase: Phase,
    pub(super) identity: Identity,
    identity_record: Single,
    /// Up to where the log has to be durable for the identity that was written last.
    identity_until: Option<Lsn>,
    state_record: Single,
    pub(super) journal: Journal,
    /// What the log had of the group, until it is opened.
    found: Option<Found>,
    /// `None` while the node belongs to no cluster.
    pub(super) groups: Option<Groups>,
    pub(super) roster: Roster,
    /// How often that has changed since the start.
    pub(super) roster_changes: u64,
    /// The entry up to which everything is carried out.
    pub(super) applied: EntryId,
    /// The same when the state was written down last.
    pub(super) kept: u64,
    /// What was decided by what was read at the start.
    pub(super) decided_at_boot: Option<Decided>,
    pub(super) leader: (Option<NodeId>, u64),
    pub(super) links: BTreeMap<LinkId, Peer>,
    /// The link to each node of the cluster that has one.
    pub(super) link_to: BTreeMap<NodeId, LinkId>,
    /// Commands that were asked for here and are not carried out; their numbers follow each other.
    pub(super) commands: VecDeque<Command>,
    next_number: u64,
    /// How many of them were sent, and in which leadership.
    pub(super) sent: usize,
    pub(super) sent_to: (Option<NodeId>, u64),
    /// The front number at the last look.
    pub(super) seen_at_look: u64,
    pub(super) look_at: Instant,
    /// States that leaders have offered, by their index.
    pub(super) offered: BTreeMap<u64, State>,
    /// Nodes that need the state.
    pub(super) wanting: Vec<NodeId>,
    pub(super) fetching: BTreeMap<GroupId, Fetching>,
    /// What was found of queues' groups and was not asked for yet.
    pub(super) found_replicas: Option<Reading>,
    /// Entries that are being read for their bodies, by token, and those that were.
    pub(super) entry_reads: BTreeMap<u64, (QueueId, u64, LogPlace)>,
    pub(super) entries_read: Vec<(QueueId, u64, Option<Bytes>)>,
    /// The written states of queues' replicas.
    pub(super) replica_states: BTreeMap<QueueId, Single>,
    /// Of owners that had something in the log and have nothing, the number of what they write next: queues may get replicas here again.
    pub(super) retired: BTreeMap<u64, u64>,
    /// Replicas that are to start once the node may say something.
    pub(super) to_start: Vec<(QueueId, Start)>,
    next_token: u64,
    pub(super) scratch: consensus::Outputs,
}

/// Where a node is in its life.
#[derive(Debug)]
pub(super) enum Phase {
    /// The log is being read.
    Reading(Reading),
    /// It says nothing before who it is is durable.
    Silent,
    /// It takes part.
    Up,
}

impl Cluster {
    /// Begins with what the log has found: takes out what is the cluster's. `disk` becomes the disk's number if it has none.
    pub fn new(
        config: Config,
        disk: u64,
        owners: &mut BTreeMap<u64, RecoveredOwner>,
        log: &mut Log,
        now: Instant,
        out: &mut Vec<DiskRequest>,
    ) -> Self {
        let mut next_token = TOKENS_START;
        let mut reading = Reading::new(owners.split_off(&OWNERS_START));
        reading.go_on(log, &mut next_token, out);
        Self {
            config,
            phase: Phase::Reading(reading),
            identity: Identity { disk, boot: 0, place: None, is_founder: false },
            identity_record: Single::new(IDENTITY_OWNER),
            identity_until: None,
            state_record: Single::new(STATE_OWNER),
            journal: Journal::new(),
            found: None,
            groups: None,
            roster: Roster::default(),
            roster_changes: 0,
            applied: EntryId::default(),
            kept: 0,
            decided_at_boot: None,
            leader: (None, 0),
            links: BTreeMap::new(),
            link_to: BTreeMap::new(),
            commands: VecDeque::new(),
            next_number: 1,
            sent: 0,
            sent_to: (None, 0),
            seen_at_look: 0,
            look_at: now,
            offered: BTreeMap::new(),
            wanting: Vec::new(),
            fetching: BTreeMap::new(),
            found_replicas: None,
            entry_reads: BTreeMap::new(),
            entries_read: Vec::new(),
            replica_states: BTreeMap::new(),
            retired: BTreeMap::new(),
            to_start: Vec::new(),
            next_token,
            scratch: consensus::Outputs::default(),
        }
    }

    /// Whether what the log holds is still being read. Until that is over the log is not to be flushed.
    pub fn is_reading(&self) -> bool {
        matches!(self.phase, Phase::Reading(_))
    }

    /// Goes on with reading, if that is what is to be done; to be called after each [`Cluster::on_read`], and once at the beginning.
    ///
    /// # Errors
    /// A text for the operator if the log holds what no node has written.
    pub fn go_on(&mut self, log: &mut Log, out: &mut Vec<DiskRequest>) -> Result<(), String> {
        let Phase::Reading(reading) = &mut self.phase else { return Ok(()) };
        reading.go_on(log, &mut self.next_token, out);
        if reading.is_over() {
            let Phase::Reading(reading) = core::mem::replace(&mut self.phase, Phase::Silent) else { return Ok(()) };
            self.begin(reading, log).ok_or("the log holds a record of the cluster that this version cannot read")?;
            self.check_version()?;
        }
        Ok(())
    }

    /// All is read: takes it in, and writes down that this is another life of the node.
    fn begin(&mut self, mut reading: Reading, log: &mut Log) -> Option<()> {
        let (found, payloads) = reading.found(IDENTITY_OWNER);
        if let Some(last) = payloads.last() {
            self.identity = Identity::decode(last)?;
        }
        self.identity_record = Single::recover(IDENTITY_OWNER, log, &found);
        let (found, payloads) = reading.found(STATE_OWNER);
        if let Some(last) = payloads.last() {
            let State { id, roster, other } = State::decode(last)?;
            self.roster = roster;
            self.applied = id;
            self.kept = id.index;
            self.decided_at_boot = Some(Decided::State { index: id.index, own: None, bytes: other });
        }
        self.state_record = Single::recover(STATE_OWNER, log, &found);
        let (found, payloads) = reading.found(ROOT_OWNER);
        let found = self.journal.recover(log, ROOT_OWNER, &found, &payloads).ok()?;
        // The group begins with a state of its own, at the first entry, in which there is nothing.
        if found.state.base.snapshot.index > self.applied.index.max(1) {
            return None;
        }
        self.found = Some(found);
        self.found_replicas = Some(reading);
        if self.identity.boot == 0 || !is_planted(Mutant::ClusterBootTwice) {
            self.identity.boot += 1;
        }
        self.write_identity(log);
        Some(())
    }

    pub(super) fn write_identity(&mut self, log: &mut Log) {
        self.identity_until = Some(self.identity_record.write(log, &self.identity.encode()));
    }

    /// What [`LogOutcome::Read`] brought. Whether it was for the cluster.
    ///
    /// # Errors
    /// A text for the operator if it is damaged.
    pub fn on_read(&mut self, log: &mut Log, outcome: &LogOutcome, out: &mut Vec<DiskRequest>) -> Result<bool, String> {
        let LogOutcome::Read { token, data, .. } = outcome else { return Ok(false) };
        if *token < TOKENS_START {
            return Ok(false);
        }
        match &mut self.phase {
            Phase::Reading(reading) => {
                let is_one = reading.take(log, *token, data).map_err(|corrupt| alloc::format!("{corrupt}"))?;
                self.go_on(log, out)?;
                Ok(is_one)
            }
            Phase::Silent | Phase::Up => {
                if !self.on_entry_read(log, *token, data)? {
                    self.on_fetched(log, *token, data, out);
                }
                Ok(true)
            }
        }
    }

    /// Whether this node speaks what the cluster does.
    ///
    /// # Errors
    /// A text for the operator if it does not.
    pub(super) fn check_version(&self) -> Result<(), String> {
        let (needed, versions) = (self.roster.version(), self.config.versions);
        if needed <= versions.highest {
            return Ok(());
        }
        Err(alloc::format!("this node speaks {versions}, its cluster speaks {needed} by now: start a newer program"))
    }

    /// What all nodes of the cluster understand: see [`crate::cluster::version`].
    pub fn version(&self) -> u16 {
        self.roster.version()
    }

    /// What this node speaks with others: no less than its cluster does.
    pub(crate) fn versions(&self) -> Versions {
        let Versions { lowest, highest } = self.config.versions;
        Versions { lowest: lowest.max(self.roster.version()), highest }
    }

    /// The highest version that this node speaks.
    pub(crate) fn spoken(&self) -> u16 {
        self.config.versions.highest
    }

    /// A number for a read in the log.
    pub(super) fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token - 1
    }

    /// What the node is called, for the hello of its links: its disk, which of its lives this is, and where it belongs. `None` before
    /// it may say anything.
    pub fn hello(&self) -> Option<(u64, u64, Option<Place>)> {
        // What is not durable yet is not said, so that nobody counts on what might be forgotten.
        let place = self.identity.place.filter(|_| self.groups.is_some());
        matches!(self.phase, Phase::Up).then_some((self.identity.disk, self.identity.boot, place))
    }

    /// Where the node belongs, as far as its log says so.
    pub fn place(&self) -> Option<Place> {
        self.identity.place
    }

    /// The nodes of the cluster, in the order of their numbers.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.roster.nodes()
    }

    /// The nodes of the cluster to which there is a link, with that.
    pub(crate) fn linked(&self) -> impl Iterator<Item = (NodeId, LinkId)> {
        self.link_to.iter().map(|(node, link)| (*node, *link))
    }

    /// The link to a node of the cluster.
    pub(crate) fn link_to(&self, node: NodeId) -> Option<LinkId> {
        self.link_to.get(&node).copied()
    }

    /// The node of the cluster to which a link leads.
    pub(crate) fn node_at(&self, link: LinkId) -> Option<NodeId> {
        self.linked().find(|(_, other)| *other == link).map(|(node, _)| node)
    }

    /// What a node of the cluster is called. Before this one knows the roster, by what that node says of itself.
    pub fn name_of(&self, node: NodeId) -> Option<&str> {
        if self.own() == Some(node) {
            return Some(&self.config.name);
        }
        let linked = || self.links.get(self.link_to.get(&node)?).map(|peer| peer.name.as_str());
        self.roster.get(node).map(|node| node.name.as_str()).or_else(linked)
    }

    /// The nodes to which there should be a link: those of the cluster, or those that are to form one; without this one.
    pub fn wanted_links(&self) -> Vec<String> {
        let known = self.roster.nodes().map(|(_, node)| &node.name);
        let mut names: Vec<String> = known.chain(&self.config.first_nodes).cloned().collect();
        names.sort();
        names.dedup();
        names.retain(|name| *name != self.config.name);
        names
    }

    /// How often nodes have come or gone since the start.
    pub(crate) fn roster_changes(&self) -> u64 {
        self.roster_changes
    }

    /// Whether the node was one of the cluster and is no more; then who came for it under its name, if somebody did.
    pub(crate) fn departed(&self, node: NodeId) -> Option<Option<NodeId>> {
        self.roster.is_gone(node).then(|| self.roster.successor(node))
    }

    /// The number of the node with this name.
    pub(crate) fn node_named(&self, name: &str) -> Option<NodeId> {
        self.roster.named(name)
    }

    /// Whether there is a link to a node of the cluster.
    pub fn is_linked(&self, node: NodeId) -> bool {
        self.link_to.contains_key(&node)
    }

    /// Which node of its cluster this is.
    pub(super) fn own(&self) -> Option<NodeId> {
        self.groups.as_ref()?;
        Some(self.identity.place?.node)
    }

    /// Who leads, as far as this node knows, and since which term.
    pub fn leader(&self) -> (Option<NodeId>, u64) {
        self.leader
    }

    pub(super) fn is_leader(&self) -> bool {
        self.leader.0.is_some() && self.leader.0 == self.own()
    }

    /// What the group looks like.
    pub fn status(&self) -> Option<consensus::Status> {
        self.groups.as_ref()?.status(ROOT)
    }

    /// Asks for a command. It comes back in [`Outputs::decided`] with the number that is returned, unless the node ends before that;
    /// then it may or may not be carried out.
    ///
    /// # Errors
    /// If the node belongs to no cluster yet, or too many are waiting.
    pub fn propose(&mut self, bytes: Bytes) -> Result<u64, NotTaken> {
        self.ask(What::Other(bytes))
    }

    pub(super) fn ask(&mut self, what: What) -> Result<u64, NotTaken> {
        let node = self.own().ok_or(NotTaken::Outside)?;
        if self.commands.len() >= limits::CLUSTER_COMMANDS_MAX {
            return Err(NotTaken::Full);
        }
        let number = self.next_number;
        self.next_number += 1;
        self.commands.push_back(Command { node, boot: self.identity.boot, number, what });
        Ok(number)
    }

    /// Takes note of how far the log is durable.
    ///
    /// # Errors
    /// A text for the operator if what the log holds of the group is none that a member can have written.
    pub fn on_log_progress(&mut self, now: Instant, log: &Log, out: &mut Outputs) -> Result<(), String> {
        if self.identity_until.is_some_and(|until| until <= log.durable()) {
            self.identity_until = None;
            self.phase = Phase::Up;
            out.decided.extend(self.decided_at_boot.take());
            if let Some(place) = self.identity.place.filter(|_| self.groups.is_none()) {
                self.open_group(now, place)?;
                out.events.push(Event::Belongs(place));
                self.tell_place(place, out);
            }
        }
        if let (Some(ticket), Some(groups)) = (self.journal.take_durable(log.durable()), &mut self.groups) {
            groups.persisted(ticket);
        }
        Ok(())
    }

    fn open_group(&mut self, now: Instant, place: Place) -> Result<(), String> {
        let identity = consensus::Identity { node: place.node, boot: self.identity.boot, seed: self.config.seed };
        let mut groups = Groups::new(identity, self.config.groups, now);
        let state = self.found.take().unwrap_or_default().state;
        if state == consensus::Recovered::default() {
            groups.create(ROOT, place.cluster, self.origin(place));
        } else {
            let found = groups.recover(ROOT, place.cluster, state);
            found.map_err(|_| String::from("the log holds a state of the cluster in which no node can have been"))?;
        }
        // Every node answers its own clients once it knows that what they asked for was decided.
        groups.tell_commits(ROOT);
        let is_alone = groups.status(ROOT).is_some_and(|status| status.members.voters() == [place.node]);
        if is_alone {
            groups.campaign(ROOT);
        }
        for node in self.link_to.keys() {
            groups.node_alive(*node);
        }
        self.groups = Some(groups);
        for (queue, start) in core::mem::take(&mut self.to_start) {
            self.start_group(queue, start)?;
        }
        Ok(())
    }

    /// This node belongs to a cluster from here on. It acts on that once it is durable.
    pub(super) fn enter(&mut self, log: &mut Log, place: Place, is_founder: bool) {
        self.identity = Identity { place: Some(place), is_founder, ..self.identity };
        self.write_identity(log);
    }

    /// The state of the embedder, after it has carried out all that was decided: it is written down and given to those who need it.
    pub fn keep_state(&mut self, log: &mut Log, other: &[u8]) {
        let Some(groups) = &mut self.groups else { return };
        let state = State::encode(self.applied, &self.roster, other);
        if !is_planted(Mutant::ClusterStateNotKept) {
            self.state_record.write(log, &state);
        }
        self.kept = self.applied.index;
        // The group's word that the log begins here stands behind the state in the log, and so is never durable without it.
        groups.compact(ROOT, self.config.log_kept);
        for node in core::mem::take(&mut self.wanting) {
            groups.offer_snapshot(ROOT, node, state.clone());
        }
    }

    pub(super) fn write_offered(&mut self, log: &mut Log, state: &Bytes) {
        self.state_record.write(log, state);
    }

    /// When [`Cluster::handle_timeout`] is next wanted. `None` if there is nothing to wait for.
    pub fn next_timeout(&self) -> Option<Instant> {
        if !matches!(self.phase, Phase::Up) {
            return None;
        }
        let groups = self.groups.as_ref().and_then(Groups::next_timeout);
        let look = self.has_to_look().then_some(self.look_at);
        [groups, look].into_iter().flatten().min()
    }

    /// Whether a record of the cluster lives at this position: what [`crate::storage::Owners::live`] asks. `None` also for owners that
    /// are not the cluster's.
    #[must_use]
    pub fn live(&self, owner: u64, seq: u64, lsn: Lsn) -> Option<RefState> {
        match owner {
            IDENTITY_OWNER => self.identity_record.live(seq, lsn),
            STATE_OWNER => self.state_record.live(seq, lsn),
            ROOT_OWNER => self.journal.live(owner, seq, lsn),
            _ => match replicas::of_owner(owner)? {
                (_, replicas::Kind::Journal) => self.journal.live(owner, seq, lsn),
                (queue, replicas::Kind::State) => self.replica_states.get(&queue)?.live(seq, lsn),
            },
        }
    }

    /// A record was written again elsewhere: what [`crate::storage::Owners::moved`] tells.
    ///
    /// # Panics
    /// If it does not live at `from`.
    pub fn moved(&mut self, owner: u64, seq: u64, from: Lsn, to: LogPlace) {
        match owner {
            IDENTITY_OWNER => self.identity_record.moved(seq, to),
            STATE_OWNER => self.state_record.moved(seq, to),
            _ if let Some((queue, replicas::Kind::State)) = replicas::of_owner(owner) => {
                let state = self.replica_states.get_mut(&queue);
                state.expect("only what lives is moved").moved(seq, to);
            }
            _ => self.journal.moved(owner, seq, from, to),
        }
    }

    /// Checks what must hold between calls.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_invariants(&self) {
        if let Some(groups) = &self.groups {
            groups.check_invariants();
        }
        assert!(self.sent <= self.commands.len(), "no more was sent than there is");
        for (node, link) in &self.link_to {
            let peer = self.links.get(link).expect("a node's link is one of the links");
            assert_eq!(peer.place.map(|place| place.node), Some(*node), "a link leads to its node");
        }
        assert!(self.kept <= self.applied.index, "only what is carried out is in the state");
    }
}
