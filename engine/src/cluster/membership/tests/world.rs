//! Nodes with logs on disks that forget, and the links between them: everything happens in an order that the seed decides.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

use super::super::{Cluster, Config, Decided, Event, Outputs, Peer, Place};
use crate::cluster::consensus::Settings;
use crate::cluster::link::{Lane, Versions};
use crate::config::LogConfig;
use crate::effect::DiskRequest;
use crate::ids::{LinkId, Lsn, NodeId};
use crate::storage::codec::mix;
use crate::storage::tests::disk::Disk;
use crate::storage::tests::rng::Rng;
use crate::storage::{Log, LogOutcome, Owners, Place as LogPlace, RefState};
use crate::time::Instant;

/// Which of the world's nodes; its name goes with it, its number in the cluster does not.
pub(super) type At = usize;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) disk: Disk,
    /// Changes when the disk is lost.
    generation: u64,
    log: Log,
    /// `None` while it is down, or its log is still being recovered.
    pub(super) cluster: Option<Cluster>,
    pub(super) is_up: bool,
    /// The highest version of the protocol that its program speaks.
    pub(super) spoken: u16,
    out: Outputs,
    /// What was carried out, in order, and how often anybody wrote that down.
    pub(super) done: Vec<u64>,
    /// What was asked for here since the last start and has not come back, by its number.
    asked: BTreeMap<u64, u64>,
    link_downs: Vec<LinkId>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) done: u64,
    pub(super) confirmed: u64,
    pub(super) kept: u64,
    pub(super) states: u64,
    pub(super) crashes: u64,
    pub(super) wiped: u64,
    pub(super) refusals: u64,
    pub(super) elections: u64,
    pub(super) joined: u64,
    pub(super) cleaned: u64,
    pub(super) raised: u64,
}

pub(super) struct World {
    pub(super) rng: Rng,
    seed: u64,
    pub(super) now: Instant,
    pub(super) nodes: Vec<Node>,
    first_nodes: Vec<String>,
    /// Who is linked with whom, the smaller first, with the number that the link has on each side.
    links: BTreeMap<(At, At), (LinkId, LinkId)>,
    next_link: u64,
    under_way: BTreeMap<(At, At), VecDeque<(Lane, Bytes)>>,
    /// Pairs that cannot be linked, and pairs whose bytes do not arrive for now.
    pub(super) cut: BTreeSet<(At, At)>,
    pub(super) stalled: BTreeSet<(At, At)>,
    /// What was carried out anywhere, in order.
    pub(super) truth: Vec<u64>,
    pub(super) confirmed: BTreeSet<u64>,
    /// All clusters that anybody ever belonged to.
    pub(super) clusters: BTreeSet<u64>,
    pub(super) refused: BTreeSet<String>,
    next_command: u64,
    pub(super) seen: Seen,
    pub(super) hash: u64,
}

struct View<'a>(Option<&'a mut Cluster>, &'a mut u64);

impl Owners for View<'_> {
    fn live(&self, owner: u64, seq: u64, lsn: Lsn) -> Option<RefState> {
        self.0.as_ref()?.live(owner, seq, lsn)
    }

    fn moved(&mut self, owner: u64, seq: u64, from: Lsn, to: LogPlace) {
        *self.1 += 1;
        self.0.as_mut().expect("what moves is somebody's").moved(owner, seq, from, to);
    }

    fn snapshot(&self) -> Bytes {
        Bytes::new()
    }
}

fn log_config() -> LogConfig {
    LogConfig { segment_bytes: 8192, slack_bytes: 8 * 1024, append_bytes: 4096, ..LogConfig::default() }
}

pub(super) fn name(at: At) -> String {
    format!("rabbit@{}", char::from(b'a' + at as u8))
}

impl World {
    /// So many nodes, of which the first few form the cluster. All of them start.
    pub(super) fn new(seed: u64, nodes: usize, first: usize) -> Self {
        let node = |at| Node {
            name: name(at),
            disk: Disk::new(),
            generation: 1,
            log: Log::new(log_config(), 0),
            cluster: None,
            is_up: false,
            spoken: Versions::SPOKEN.highest,
            out: Outputs::default(),
            done: Vec::new(),
            asked: BTreeMap::new(),
            link_downs: Vec::new(),
        };
        let mut world = Self {
            rng: Rng(mix(seed)),
            seed,
            now: Instant::from_micros(1),
            nodes: (0..nodes).map(node).collect(),
            first_nodes: (0..first).map(name).collect(),
            links: BTreeMap::new(),
            next_link: 1,
            under_way: BTreeMap::new(),
            cut: BTreeSet::new(),
            stalled: BTreeSet::new(),
            truth: Vec::new(),
            confirmed: BTreeSet::new(),
            clusters: BTreeSet::new(),
            refused: BTreeSet::new(),
            next_command: 1,
            seen: Seen::default(),
            hash: 0,
        };
        for at in 0..nodes {
            world.start(at);
        }
        world
    }

    pub(super) fn start(&mut self, at: At) {
        let salt = self.rng.next();
        let node = &mut self.nodes[at];
        assert!(!node.is_up);
        node.is_up = true;
        node.log = Log::new(log_config(), salt);
        node.out = Outputs::default();
        node.done.clear();
        node.asked.clear();
        let mut disk = Vec::new();
        node.log.start(&mut disk);
        node.disk.submit(&mut disk);
    }

    pub(super) fn crash(&mut self, at: At, power: bool) {
        if !self.nodes[at].is_up {
            return;
        }
        self.seen.crashes += 1;
        let node = &mut self.nodes[at];
        node.is_up = false;
        node.cluster = None;
        if power {
            node.disk.lose_power(&mut self.rng);
        } else {
            node.disk.kill(&mut self.rng);
        }
        for other in 0..self.nodes.len() {
            self.unlink(at, other);
        }
    }

    /// The disk of a node that is down is replaced by an empty one.
    pub(super) fn wipe(&mut self, at: At) {
        let node = &mut self.nodes[at];
        assert!(!node.is_up);
        node.disk = Disk::new();
        node.generation += 1;
        self.seen.wiped += 1;
    }

    pub(super) fn unlink(&mut self, one: At, other: At) {
        let pair = (one.min(other), one.max(other));
        let Some((first, second)) = self.links.remove(&pair) else { return };
        self.under_way.remove(&(one, other));
        self.under_way.remove(&(other, one));
        // Each side hears of it in its own time.
        self.nodes[pair.0].link_downs.push(first);
        self.nodes[pair.1].link_downs.push(second);
    }

    /// Makes one of the links that are wanted.
    fn link(&mut self, one: At, other: At) {
        let pair = (one.min(other), one.max(other));
        if one == other || self.links.contains_key(&pair) || self.cut.contains(&pair) {
            return;
        }
        let wants = |from: At, to: At| {
            let cluster = self.nodes[from].cluster.as_ref();
            cluster.is_some_and(|cluster| cluster.wanted_links().contains(&self.nodes[to].name))
        };
        let versions = |at: At| Some(self.nodes[at].cluster.as_ref()?.versions());
        let version = versions(one).zip(versions(other)).and_then(|(one, other)| one.common(other));
        let peer = |at: At| {
            let node = &self.nodes[at];
            let (disk, _, place) = node.cluster.as_ref()?.hello()?;
            Some(Peer { name: node.name.clone(), disk, place, version: version? })
        };
        if !wants(one, other) && !wants(other, one) {
            return;
        }
        let (Some(first), Some(second)) = (peer(pair.0), peer(pair.1)) else { return };
        let (of_first, of_second) = (LinkId(self.next_link), LinkId(self.next_link + 1));
        self.next_link += 2;
        self.links.insert(pair, (of_first, of_second));
        self.with(pair.0, |cluster, _, _, _, out| cluster.link_up(of_first, second, out));
        self.with(pair.1, |cluster, _, _, _, out| cluster.link_up(of_second, first, out));
    }

    /// Does something with a node and takes what comes of it.
    pub(super) fn with<R>(
        &mut self,
        at: At,
        act: impl FnOnce(&mut Cluster, &mut Log, Instant, &mut Vec<DiskRequest>, &mut Outputs) -> R,
    ) -> Option<R> {
        let now = self.now;
        let node = &mut self.nodes[at];
        let cluster = node.cluster.as_mut()?;
        let mut disk = Vec::new();
        let result = act(cluster, &mut node.log, now, &mut disk, &mut node.out);
        node.disk.submit(&mut disk);
        self.flush(at);
        Some(result)
    }

    fn flush(&mut self, at: At) {
        let now = self.now;
        let node = &mut self.nodes[at];
        let Some(cluster) = &mut node.cluster else { return };
        if cluster.is_reading() {
            return;
        }
        let mut disk = Vec::new();
        cluster.on_log_progress(now, &node.log, &mut node.out).expect("the log holds what was written");
        cluster.flush(now, &mut node.log, &mut disk, &mut node.out);
        cluster.check_invariants();
        let out = core::mem::take(&mut node.out);
        assert_eq!(out.fatal, None);
        for decided in out.decided {
            match decided {
                Decided::Command { own, bytes, .. } => {
                    let command = u64::from_le_bytes((*bytes).try_into().unwrap());
                    node.done.push(command);
                    self.seen.done += 1;
                    if let Some(own) = own {
                        assert_eq!(node.asked.remove(&own), Some(command), "its own command comes back to who asked");
                        self.confirmed.insert(command);
                        self.seen.confirmed += 1;
                    }
                }
                Decided::State { own, bytes, .. } => {
                    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
                    node.done = bytes.chunks(8).map(number).collect();
                    self.seen.states += 1;
                    let waiting = node.asked.split_off(&(own.unwrap_or_default() + 1));
                    for command in core::mem::replace(&mut node.asked, waiting).into_values() {
                        assert!(node.done.contains(&command), "what is said to be in the state is in it");
                        self.confirmed.insert(command);
                    }
                }
            }
            let common = node.done.len().min(self.truth.len());
            assert_eq!(node.done[..common], self.truth[..common], "{} went another way", node.name);
            self.truth.extend_from_slice(&node.done[common..]);
        }
        if out.is_state_wanted {
            let state: Vec<u8> = node.done.iter().flat_map(|command| command.to_le_bytes()).collect();
            cluster.keep_state(&mut node.log, &state);
            self.seen.kept += 1;
        }
        let mut moved = 0;
        node.log.flush(now, &View(Some(cluster), &mut moved), &mut disk);
        node.log.check_invariants();
        node.disk.submit(&mut disk);
        let mut raised = None;
        for event in out.events {
            match event {
                Event::Belongs(Place { cluster, .. }) => {
                    self.clusters.insert(cluster);
                    self.seen.joined += 1;
                }
                Event::LeaderChanged { leader: Some(_), .. } => self.seen.elections += 1,
                Event::LeaderChanged { .. } | Event::RosterChanged => {}
                Event::Speaks { version } => {
                    let names = cluster.nodes().map(|(_, node)| node.name.clone());
                    raised = Some((version, names.collect::<Vec<String>>()));
                    self.seen.raised += 1;
                }
            }
        }
        if let Some((version, names)) = raised {
            // Programs are only exchanged for newer ones here.
            let mut members = self.nodes.iter().filter(|node| names.contains(&node.name));
            assert!(members.all(|node| node.spoken >= version), "some of {names:?} do not speak {version}");
        }
        for send in out.sends {
            self.hash = mix(self.hash ^ u64::from(crc32fast::hash(&send.bytes)) ^ send.link.0);
            // What goes over a link that is gone is lost.
            if let Some(to) = self.other_side(at, send.link) {
                self.under_way.entry((at, to)).or_default().push_back((send.lane, send.bytes));
            }
        }
        for (link, text) in out.refusals {
            self.seen.refusals += 1;
            self.refused.insert(text);
            if let Some(to) = self.other_side(at, link) {
                self.unlink(at, to);
            }
        }
    }

    fn other_side(&self, at: At, link: LinkId) -> Option<At> {
        self.links.iter().find_map(|((first, second), (of_first, of_second))| {
            let is_first = *first == at && *of_first == link;
            let is_second = *second == at && *of_second == link;
            if is_first { Some(*second) } else { is_second.then_some(*first) }
        })
    }

    fn deliver(&mut self, from: At, to: At) {
        let Some((lane, bytes)) = self.under_way.get_mut(&(from, to)).and_then(VecDeque::pop_front) else { return };
        let pair = (from.min(to), from.max(to));
        let (first, second) = self.links[&pair];
        let link = if to == pair.0 { first } else { second };
        let result = self.with(to, |cluster, log, now, _, out| cluster.receive(now, log, link, lane, &bytes, out));
        assert!(matches!(result, None | Some(Ok(()))), "{result:?}");
    }

    fn disk_step(&mut self, at: At) {
        let now = self.now;
        let node = &mut self.nodes[at];
        let Some((id, result)) = node.disk.step(&mut self.rng) else { return };
        let mut disk = Vec::new();
        let mut view = View(node.cluster.as_mut(), &mut self.seen.cleaned);
        let outcome = node.log.handle_done(now, id, result.unwrap(), &mut view, &mut disk);
        match outcome {
            LogOutcome::Nothing => {}
            LogOutcome::Recovered(mut recovered) => {
                let mut config = Config::new(node.name.clone(), self.first_nodes.clone(), self.seed);
                (config.log_entries, config.log_kept) = (12, 4);
                config.versions.highest = node.spoken;
                config.groups =
                    Settings { window_bytes: 400, window_entries: 6, append_bytes: 200, ..Settings::default() };
                let number = mix(self.seed ^ mix(at as u64 ^ (node.generation << 20)));
                let mut cluster = Cluster::new(config, number, &mut recovered.owners, &mut node.log, now, &mut disk);
                cluster.go_on(&mut node.log, &mut disk).expect("the log holds what was written");
                assert!(recovered.owners.is_empty(), "nobody else writes here");
                node.cluster = Some(cluster);
            }
            outcome @ LogOutcome::Read { .. } => {
                let cluster = node.cluster.as_mut().unwrap();
                let was_its = cluster.on_read(&mut node.log, &outcome, &mut disk);
                assert_eq!(was_its, Ok(true));
                cluster.go_on(&mut node.log, &mut disk).expect("the log holds what was written");
            }
            LogOutcome::Damaged(text) | LogOutcome::Fatal(text) => panic!("{text}"),
        }
        node.disk.submit(&mut disk);
        self.flush(at);
    }

    pub(super) fn propose(&mut self, at: At) {
        let command = self.next_command;
        let bytes = Bytes::copy_from_slice(&command.to_le_bytes());
        if let Some(Ok(number)) = self.with(at, |cluster, _, _, _, _| cluster.propose(bytes)) {
            self.next_command += 1;
            // A node alone has it back at once.
            if !self.nodes[at].done.contains(&command) {
                self.nodes[at].asked.insert(number, command);
            }
        }
    }

    /// One small thing happens.
    pub(super) fn step(&mut self) {
        let count = self.nodes.len() as u64;
        match self.rng.below(10) {
            0..4 => {
                let ways = self.under_way.iter().filter(|((from, to), queue)| {
                    !queue.is_empty() && !self.stalled.contains(&(*from.min(to), *from.max(to)))
                });
                let ways: Vec<_> = ways.map(|(way, _)| *way).collect();
                if !ways.is_empty() {
                    let (from, to) = ways[self.rng.below(ways.len() as u64) as usize];
                    self.deliver(from, to);
                }
            }
            4..8 => {
                let at = self.rng.below(count) as usize;
                self.disk_step(at);
            }
            8 => {
                self.now = self.now + Duration::from_micros(self.rng.below(8000));
                for at in 0..self.nodes.len() {
                    self.time_passes(at);
                }
            }
            _ => {
                let (one, other) = (self.rng.below(count) as usize, self.rng.below(count) as usize);
                self.hear_of_links(one);
                self.link(one, other);
            }
        }
    }

    fn hear_of_links(&mut self, at: At) {
        for link in core::mem::take(&mut self.nodes[at].link_downs) {
            self.with(at, |cluster, _, _, _, _| cluster.link_down(link));
        }
    }

    fn time_passes(&mut self, at: At) {
        let now = self.now;
        let node = &mut self.nodes[at];
        let Some(cluster) = node.cluster.as_mut().filter(|cluster| !cluster.is_reading()) else { return };
        let is_due = cluster.next_timeout().is_some_and(|due| due <= now);
        let is_log_due = node.log.next_timeout().is_some_and(|(due, _)| due <= now);
        if is_log_due {
            let mut disk = Vec::new();
            let mut moved = 0;
            node.log.handle_timeout(now, &View(Some(cluster), &mut moved), &mut disk);
            node.disk.submit(&mut disk);
        }
        if is_due || is_log_due {
            self.with(at, |cluster, log, now, _, out| cluster.handle_timeout(now, log, out));
        }
    }

    pub(super) fn run_for(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            self.step();
        }
    }

    /// Everything is mended and everybody is there; then all must agree, and nothing that was confirmed may be missing.
    pub(super) fn check_live(&mut self) {
        self.cut.clear();
        self.stalled.clear();
        for at in 0..self.nodes.len() {
            if !self.nodes[at].is_up {
                self.start(at);
            }
        }
        self.run_until(60_000, "to agree", |world| world.why_not_agreed().is_none());
        self.run_until(60_000, "to speak one version", |world| {
            let version = |node: &Node| node.cluster.as_ref().map(Cluster::version);
            let all = world.nodes.iter().map(|node| node.spoken).min();
            world.nodes.iter().all(|node| version(node) == all)
        });
        assert_eq!(self.clusters.len(), 1, "there is one cluster: {:?}", self.clusters);
        for command in &self.confirmed {
            assert!(self.truth.contains(command), "{command} was confirmed and is lost");
        }
        let distinct: BTreeSet<_> = self.truth.iter().collect();
        assert_eq!(distinct.len(), self.truth.len(), "each command is carried out once");
    }

    pub(super) fn run_until(&mut self, millis: u64, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = self.now + Duration::from_millis(millis);
        while !is_so(self) {
            for _ in 0..50 {
                self.step();
            }
            assert!(self.now < end, "not {what}: {:?}\n{:?}", self.why_not_agreed(), self.refused);
        }
    }

    /// Stops at the very step after which it is so.
    pub(super) fn run_step_by_step(&mut self, millis: u64, is_so: impl Fn(&Self) -> bool) {
        let end = self.now + Duration::from_millis(millis);
        while !is_so(self) {
            self.step();
            assert!(self.now < end, "{:?}", self.why_not_agreed());
        }
    }

    pub(super) fn why_not_agreed(&self) -> Option<String> {
        let count = self.nodes.len();
        for node in &self.nodes {
            let why = |what: &str| Some(format!("{}: {what}", node.name));
            let Some(cluster) = &node.cluster else { return why("not started") };
            let Some(status) = cluster.status() else { return why("outside") };
            let names: Vec<_> = cluster.nodes().map(|(_, node)| node.name.clone()).collect();
            let expected: BTreeSet<_> = (0..count).map(name).collect();
            if names.len() != count || names.iter().cloned().collect::<BTreeSet<_>>() != expected {
                return why(&format!("knows {names:?}"));
            }
            if status.members.voters().len() != count || !status.members.learners().is_empty() {
                return why(&format!("has members {:?}", status.members));
            }
            if !node.asked.is_empty() {
                return why(&format!("waits for {:?}", node.asked));
            }
            if node.done != self.truth {
                return why(&format!("has done {} of {}", node.done.len(), self.truth.len()));
            }
        }
        None
    }

    /// The node's number in its cluster.
    pub(super) fn number(&self, at: At) -> Option<NodeId> {
        Some(self.nodes[at].cluster.as_ref()?.hello()?.2?.node)
    }
}
