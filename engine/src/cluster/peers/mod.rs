//! All that a node has to do with other nodes: whom it dials, the links that come of that, and its part in the cluster that talks over
//! them.
//!
//! [`Peers`] joins three machines that know nothing of each other. [`Dialer`] says when a node is tried,
//! [`Link`](super::link::Link) makes messages of bytes, and [`Cluster`] decides. What of it is to be done by the world goes to
//! [`Effects`]; what the broker is to carry out comes back from [`Peers::flush`].

mod wires;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::link::{Attempt, Dialer, Secret, Who};
use super::membership::{Cluster, Config, Decided, Event as ClusterEvent, NotTaken, OfGroup, Outputs};
use crate::config::ClusterConfig;
use crate::effect::{DiskRequest, Effects, PeerControl, PeerSend};
use crate::event::Event;
use crate::ids::{LinkId, Lsn, NodeId, QueueId};
use crate::limits;
use crate::storage::codec::mix;
use crate::storage::{Log, LogOutcome, Place, RecoveredOwner, RefState};
use crate::time::Instant;

use wires::Wire;

/// A node's dealings with the others.
#[derive(Debug)]
pub(crate) struct Peers {
    name: String,
    secret: Secret,
    /// For numbers that nobody can foretell.
    rng: ChaCha8Rng,
    cluster: Cluster,
    links: BTreeMap<LinkId, Wire>,
    /// For each node to which there should be a link.
    dialers: BTreeMap<String, Dialer>,
    /// Whether the nodes to which there should be links may be others.
    are_dialers_due: bool,
    /// When links were last looked at for signs of life.
    looked_at: Instant,
    out: Outputs,
    /// What came for queues and their sessions, with the node that says it.
    for_queues: VecDeque<(NodeId, Bytes)>,
    controls: Vec<PeerControl>,
    events: Vec<Event>,
    scratch: Vec<Bytes>,
}

/// What the broker is to carry out, after [`Peers::flush`].
#[derive(Debug, Default)]
pub(crate) struct Decisions {
    pub(crate) decided: Vec<Decided>,
    /// What came of the groups of replicated queues.
    pub(crate) of_groups: Vec<(QueueId, OfGroup)>,
    /// Once they are carried out, [`Peers::keep_state`] is to be called, before the log's flush.
    pub(crate) is_state_wanted: bool,
    /// The node cannot go on; a person reads this.
    pub(crate) fatal: Option<String>,
}

impl Peers {
    /// Begins with what the log has found, and takes out what is the cluster's.
    pub(crate) fn new(
        name: &str,
        config: &ClusterConfig,
        seed: [u8; 32],
        owners: &mut BTreeMap<u64, RecoveredOwner>,
        log: &mut Log,
        now: Instant,
        disk: &mut Vec<DiskRequest>,
    ) -> Self {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let mut of_cluster = Config::new(String::from(name), config.first_nodes.clone(), rng.next_u64());
        (of_cluster.log_entries, of_cluster.log_kept) = (config.log_entries, config.log_kept);
        of_cluster.versions = config.versions;
        let number = rng.next_u64();
        Self {
            name: String::from(name),
            secret: config.secret.clone(),
            cluster: Cluster::new(of_cluster, number, owners, log, now, disk),
            rng,
            links: BTreeMap::new(),
            dialers: BTreeMap::new(),
            are_dialers_due: true,
            looked_at: now,
            out: Outputs::default(),
            for_queues: VecDeque::new(),
            controls: Vec::new(),
            events: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Whether what the log holds is still being read. Until that is over the log is not to be flushed.
    pub(crate) fn is_reading(&self) -> bool {
        self.cluster.is_reading()
    }

    /// See [`Cluster::go_on`].
    ///
    /// # Errors
    /// A text for the operator if the log holds what no node has written.
    pub(crate) fn go_on(&mut self, log: &mut Log, disk: &mut Vec<DiskRequest>) -> Result<(), String> {
        self.cluster.go_on(log, disk)
    }

    /// See [`Cluster::on_read`].
    ///
    /// # Errors
    /// A text for the operator if it is damaged.
    pub(crate) fn on_read(
        &mut self,
        log: &mut Log,
        outcome: &LogOutcome,
        disk: &mut Vec<DiskRequest>,
    ) -> Result<bool, String> {
        self.cluster.on_read(log, outcome, disk)
    }

    /// Takes note of how far the log is durable.
    ///
    /// # Errors
    /// A text for the operator if what the log holds is none that a member can have written.
    pub(crate) fn on_log_progress(&mut self, now: Instant, log: &Log) -> Result<(), String> {
        self.cluster.on_log_progress(now, log, &mut self.out)
    }

    /// Asks for a command; see [`Cluster::propose`].
    ///
    /// # Errors
    /// If the node belongs to no cluster yet, or too many are waiting.
    pub(crate) fn propose(&mut self, command: Bytes) -> Result<u64, NotTaken> {
        self.cluster.propose(command)
    }

    /// Writes the state down, which is what all commands carried out so far have made of it.
    pub(crate) fn keep_state(&mut self, log: &mut Log, state: &[u8]) {
        self.cluster.keep_state(log, state);
    }

    /// Which node of its cluster this is, and which of its lives.
    pub(crate) fn own(&self) -> Option<(NodeId, u64)> {
        let (_, boot, place) = self.cluster.hello()?;
        Some((place?.node, boot))
    }

    /// Asks for a node to be removed; see [`Cluster::forget`].
    ///
    /// # Errors
    /// A text for the operator if there is no such node, or it is running.
    pub(crate) fn forget(&mut self, name: &str) -> Result<u64, String> {
        self.cluster.forget(name)
    }

    /// The cluster, for the replicas of queues.
    pub(crate) fn cluster_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    /// The cluster as this node sees it.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// When [`Peers::on_timeout`] is next wanted.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let dialers = self.dialers.values().filter_map(Dialer::next_timeout);
        let links = self.links.values().filter_map(|wire| wire.link.next_timeout());
        let signs = self.links.values().filter_map(Wire::next_sign);
        dialers.chain(links).chain(signs).chain(self.cluster.next_timeout()).min()
    }

    /// The time asked for has come. Being early or late does no harm.
    pub(crate) fn on_timeout(&mut self, now: Instant, log: &mut Log) {
        self.cluster.handle_timeout(now, log, &mut self.out);
        self.check_signs(now);
        for (name, dialer) in &mut self.dialers {
            match dialer.on_timeout(now) {
                Some(Attempt::Begin) => self.controls.push(PeerControl::Dial(name.clone())),
                Some(Attempt::Abandon) => self.controls.push(PeerControl::Abandon(name.clone())),
                None => {}
            }
        }
        let ids: Vec<_> = self.links.keys().copied().collect();
        for id in ids {
            if let Some(wire) = self.links.get_mut(&id) {
                wire.link.on_timeout(now);
            }
            self.take_events(now, log, id);
        }
    }

    /// Ends a batch: hands out what is to be done. The log's own flush is to follow, after the decisions are carried out.
    pub(crate) fn flush(&mut self, now: Instant, log: &mut Log, effects: &mut Effects) -> Decisions {
        self.cluster.flush(now, log, &mut effects.disk, &mut self.out);
        for event in core::mem::take(&mut self.out.events) {
            self.on_cluster_event(&event);
        }
        for send in core::mem::take(&mut self.out.sends) {
            if let Some(wire) = self.links.get_mut(&send.link) {
                // What does not fit is lost, as on a link that breaks: groups and commands are sent again.
                let _ = wire.link.send(send.lane, send.bytes);
            }
        }
        for (link, text) in core::mem::take(&mut self.out.refusals) {
            self.refuse(now, link, &text);
        }
        if core::mem::take(&mut self.are_dialers_due) {
            self.are_dialers_due = !self.choose_dialers(now);
        }
        self.write_out(effects);
        effects.peer_controls.append(&mut self.controls);
        effects.events.append(&mut self.events);
        Decisions {
            decided: core::mem::take(&mut self.out.decided),
            of_groups: core::mem::take(&mut self.out.of_groups),
            is_state_wanted: core::mem::take(&mut self.out.is_state_wanted),
            fatal: self.out.fatal.take(),
        }
    }

    fn on_cluster_event(&mut self, event: &ClusterEvent) {
        match *event {
            ClusterEvent::Belongs(place) => {
                self.are_dialers_due = true;
                self.events.push(Event::ClusterEntered { cluster: place.cluster, node: place.node });
            }
            ClusterEvent::RosterChanged => {
                self.are_dialers_due = true;
                let names = self.cluster.nodes().map(|(_, node)| node.name.clone()).collect();
                self.events.push(Event::ClusterNodes { names });
            }
            ClusterEvent::Speaks { version } => self.events.push(Event::ClusterVersion { version }),
            ClusterEvent::LeaderChanged { leader, term } => {
                let leader = leader.and_then(|leader| self.cluster.name_of(leader)).map(String::from);
                self.events.push(Event::ClusterLeader { leader, term });
            }
        }
    }

    /// Sees to it that exactly the nodes to which there should be links are dialed. False before this one may say anything.
    fn choose_dialers(&mut self, now: Instant) -> bool {
        if self.cluster.hello().is_none() {
            return false;
        }
        let names = self.cluster.wanted_links();
        for name in self.dialers.keys().filter(|name| !names.contains(name)) {
            self.controls.push(PeerControl::Abandon(name.clone()));
        }
        self.dialers.retain(|name, _| names.contains(name));
        for name in names {
            if !self.dialers.contains_key(&name) {
                let seed = mix(self.rng.next_u64());
                let mut dialer = Dialer::new(seed, now);
                if self.links.values().any(|wire| wire.leads_to(&name)) {
                    dialer.on_linked(now);
                }
                self.dialers.insert(name, dialer);
            }
        }
        true
    }

    /// Bytes for the sockets that have room, and the end of links that are over.
    fn write_out(&mut self, effects: &mut Effects) {
        for (id, wire) in &mut self.links {
            wire.link.take_output(limits::LINK_WINDOW_BYTES, &mut self.scratch);
            effects.peers.extend(self.scratch.drain(..).map(|bytes| PeerSend { link: *id, bytes }));
            if wire.link.is_finished() && !wire.is_closing {
                wire.is_closing = true;
                self.controls.push(PeerControl::Close(*id));
            }
        }
    }

    /// What this node says of itself. `None` before it may say anything.
    fn who(&self) -> Option<Who> {
        let (disk, boot, place) = self.cluster.hello()?;
        let (cluster, node) = (place.map(|place| place.cluster), place.map(|place| place.node));
        Some(Who { name: self.name.clone(), cluster, node, disk, boot })
    }

    /// See [`Cluster::live`].
    pub(crate) fn live(&self, owner: u64, seq: u64, lsn: Lsn) -> Option<RefState> {
        self.cluster.live(owner, seq, lsn)
    }

    /// See [`Cluster::moved`].
    pub(crate) fn moved(&mut self, owner: u64, seq: u64, from: Lsn, to: Place) {
        self.cluster.moved(owner, seq, from, to);
    }

    /// Checks what must hold between inputs.
    ///
    /// # Panics
    /// If it does not.
    pub(crate) fn check_invariants(&self) {
        self.cluster.check_invariants();
        for wire in self.links.values() {
            wire.link.check_invariants();
        }
    }
}

/// Whether a record in the log is the cluster's, whatever it is.
pub(crate) fn is_of_cluster(owner: u64) -> bool {
    owner >= super::membership::OWNERS_START
}
