//! Whole nodes with disks that forget and sockets between them: everything happens in an order that the seed decides.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::net::SocketAddr;
use core::time::Duration;

use crate::amqp::Method;
use crate::client::{Client, ClientEvent};
use crate::cluster::link::Secret;
use crate::config::{ClusterConfig, Config, LogConfig};
use crate::effect::{ClientControl, Effects, PeerControl, Stop};
use crate::engine::Engine;
use crate::event::Event;
use crate::ids::{ConnectionId, LinkId};
use crate::input::Input;
use crate::management::AdminAnswer;
use crate::storage::codec::mix;
use crate::storage::tests::disk::Disk;
use crate::storage::tests::rng::Rng;
use crate::tests::world::{CHANNEL, without_heartbeats};
use crate::time::{Instant, Now, Timestamp};

/// Which of the world's nodes.
pub(super) type At = usize;

pub(super) struct Node {
    pub(super) name: String,
    pub(super) engine: Option<Engine>,
    effects: Effects,
    pub(super) disk: Disk,
    boots: u64,
    clients: BTreeMap<ConnectionId, (Client, Vec<ClientEvent>)>,
    /// What operators were told.
    pub(super) answers: Vec<AdminAnswer>,
    /// Whether it was ready at some time since it was started.
    pub(super) is_ready: bool,
    pub(super) stopped: Option<Stop>,
    /// Whether its data was put aside at some time, since it was damaged.
    pub(super) has_given_up: bool,
}

/// A connection between two nodes: its two ends, and what is on its way to each.
struct Socket {
    ends: [(At, LinkId); 2],
    under_way: [VecDeque<Bytes>; 2],
    /// Which ends have been closed by their node.
    is_closed: [bool; 2],
    /// Whether one end is gone with its process.
    is_broken: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) crashes: u64,
    pub(super) wiped: u64,
    pub(super) ready: u64,
    pub(super) links: u64,
    pub(super) downs: u64,
}

pub(super) struct World {
    pub(super) rng: Rng,
    seed: u64,
    pub(super) now: Instant,
    pub(super) nodes: Vec<Node>,
    first_nodes: Vec<String>,
    sockets: Vec<Socket>,
    dials: Vec<(At, String)>,
    next_id: u64,
    /// Pairs that cannot be connected, and pairs whose bytes do not arrive for now.
    pub(super) cut: BTreeSet<(At, At)>,
    pub(super) stalled: BTreeSet<(At, At)>,
    /// Nodes whose disks do nothing for now.
    pub(super) is_stuck: BTreeSet<At>,
    /// What all nodes agreed on after each of the cluster's commands.
    pub(super) states: BTreeMap<u64, Bytes>,
    /// The same of replicas of queues, by queue and entry.
    replica_states: BTreeMap<(u64, u64), u64>,
    pub(super) reasons: BTreeSet<String>,
    pub(super) seen: Seen,
    pub(super) hash: u64,
}

pub(super) fn name(at: At) -> String {
    format!("rabbit@{}", char::from(b'a' + u8::try_from(at).unwrap()))
}

impl World {
    /// So many nodes, of which the first few form the cluster. All of them start.
    pub(super) fn new(seed: u64, nodes: usize, first: usize) -> Self {
        let node = |at| Node {
            name: name(at),
            engine: None,
            effects: Effects::default(),
            disk: Disk::new(),
            boots: 0,
            clients: BTreeMap::new(),
            answers: Vec::new(),
            is_ready: false,
            stopped: None,
            has_given_up: false,
        };
        let mut world = Self {
            rng: Rng(mix(seed)),
            seed,
            now: Instant::from_micros(1),
            nodes: (0..nodes).map(node).collect(),
            first_nodes: (0..first).map(name).collect(),
            sockets: Vec::new(),
            dials: Vec::new(),
            next_id: 1,
            cut: BTreeSet::new(),
            stalled: BTreeSet::new(),
            is_stuck: BTreeSet::new(),
            states: BTreeMap::new(),
            replica_states: BTreeMap::new(),
            reasons: BTreeSet::new(),
            seen: Seen::default(),
            hash: 0,
        };
        for at in 0..nodes {
            world.start(at);
        }
        world
    }

    pub(super) fn config(&self, at: At) -> Config {
        let secret = Secret::new("a secret").unwrap();
        let has_given_up = self.nodes.get(at).is_some_and(|node| node.has_given_up);
        let cluster = ClusterConfig::new(self.first_nodes.clone(), secret);
        let cluster = ClusterConfig { log_entries: 12, log_kept: 4, has_given_up, ..cluster };
        let log =
            LogConfig { segment_bytes: 16 * 1024, slack_bytes: 16 * 1024, append_bytes: 4096, ..LogConfig::default() };
        Config { node_name: name(at), cluster: Some(cluster), log, ..Config::default() }
    }

    pub(super) fn start(&mut self, at: At) {
        let config = self.config(at);
        self.start_as(at, config);
    }

    pub(super) fn start_as(&mut self, at: At, config: Config) {
        let node = &mut self.nodes[at];
        assert!(node.engine.is_none());
        node.boots += 1;
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&mix(self.seed ^ mix(at as u64 ^ (node.boots << 20))).to_le_bytes());
        node.engine = Some(Engine::new(config, seed));
        (node.is_ready, node.stopped) = (false, None);
        self.flush(at);
    }

    pub(super) fn crash(&mut self, at: At, power: bool) {
        let node = &mut self.nodes[at];
        if node.engine.take().is_none() {
            return;
        }
        self.seen.crashes += 1;
        node.effects = Effects::default();
        node.clients.clear();
        node.is_ready = false;
        if power {
            node.disk.lose_power(&mut self.rng);
        } else {
            node.disk.kill(&mut self.rng);
        }
        self.leave(at);
    }

    fn leave(&mut self, at: At) {
        self.dials.retain(|(from, _)| *from != at);
        for socket in &mut self.sockets {
            if socket.ends.iter().any(|(end, _)| *end == at) {
                socket.is_broken = true;
            }
        }
    }

    /// The connections between two nodes break, with all that is on its way.
    pub(super) fn sever(&mut self, one: At, other: At) {
        for socket in &mut self.sockets {
            let ends = socket.ends.map(|(at, _)| at);
            socket.is_broken |= ends == [one, other] || ends == [other, one];
        }
    }

    /// The disk of a node that is down is replaced by an empty one.
    pub(super) fn wipe(&mut self, at: At) {
        assert!(self.nodes[at].engine.is_none());
        self.nodes[at].disk = Disk::new();
        self.seen.wiped += 1;
    }

    /// What the driver does when a node gives its data up: the disk is empty, and the node starts.
    pub(super) fn start_without_data(&mut self, at: At) {
        let stop = self.nodes[at].stopped.take();
        assert!(matches!(stop, Some(Stop::Damaged(_))), "{stop:?}");
        self.wipe(at);
        self.nodes[at].has_given_up = true;
        self.start(at);
    }

    /// A client with an open channel. `None` if the node lets nobody in.
    pub(super) fn client(&mut self, at: At) -> Option<ConnectionId> {
        let engine = self.nodes[at].engine.as_ref()?;
        if !engine.is_ready() {
            return None;
        }
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        self.nodes[at].clients.insert(id, (Client::new(without_heartbeats()), Vec::new()));
        let peer = SocketAddr::from(([127, 0, 0, 1], 40_000));
        let local = SocketAddr::from(([127, 0, 0, 1], 5672));
        self.input(at, Input::ClientOpened { connection: id, peer, local });
        self.talk(at);
        self.nodes[at].clients.get_mut(&id)?.0.open_channel(CHANNEL).unwrap();
        self.talk(at);
        Some(id)
    }

    /// Whether a client is connected.
    pub(super) fn has_client(&self, at: At, id: ConnectionId) -> bool {
        self.nodes[at].clients.contains_key(&id)
    }

    /// Lets a client do something, if it is there.
    pub(super) fn with_client(&mut self, at: At, id: ConnectionId, act: impl FnOnce(&mut Client)) {
        if let Some((client, _)) = self.nodes[at].clients.get_mut(&id) {
            act(client);
            self.talk(at);
        }
    }

    /// A client's connection ends without a word.
    pub(super) fn hang_up(&mut self, at: At, id: ConnectionId) {
        self.nodes[at].clients.remove(&id);
        self.input(at, Input::ClientClosed { connection: id });
    }

    /// Says something for a client, unless its channel is closed.
    pub(super) fn send(&mut self, at: At, id: ConnectionId, method: impl Into<Method>) -> bool {
        let Some((client, _)) = self.nodes[at].clients.get_mut(&id) else { return false };
        if !client.is_channel_open(CHANNEL) {
            return false;
        }
        client.send(CHANNEL, method).unwrap();
        self.talk(at);
        true
    }

    /// What a client has heard since the last look. `None` if it is gone.
    pub(super) fn events(&mut self, at: At, id: ConnectionId) -> Option<Vec<ClientEvent>> {
        Some(core::mem::take(&mut self.nodes[at].clients.get_mut(&id)?.1))
    }

    fn talk(&mut self, at: At) {
        loop {
            self.flush(at);
            let clients = self.nodes[at].clients.iter_mut();
            let mut said = Vec::new();
            for (id, (client, _)) in clients {
                if client.output_len() > 0 {
                    said.push((*id, client.take_output()));
                }
            }
            if said.is_empty() {
                return;
            }
            for (connection, bytes) in said {
                self.input(at, Input::ClientReceived { connection, bytes });
            }
        }
    }

    pub(super) fn input(&mut self, at: At, input: Input) {
        let now = self.clock();
        let node = &mut self.nodes[at];
        let Some(engine) = &mut node.engine else { return };
        engine.handle(now, input, &mut node.effects);
        // Some inputs share a batch.
        if !self.rng.one_in(4) {
            self.flush(at);
        }
    }

    fn clock(&self) -> Now {
        Now { mono: self.now, wall: Timestamp::from_millis(1_700_000_000_000 + self.now.as_micros() / 1000) }
    }

    pub(super) fn flush(&mut self, at: At) {
        let now = self.clock();
        let node = &mut self.nodes[at];
        let Some(engine) = &mut node.engine else { return };
        engine.flush(now, &mut node.effects);
        engine.check_invariants();
        if let Some((applied, state)) = engine.shared_state() {
            let known = self.states.entry(applied).or_insert_with(|| state.clone());
            assert!(*known == state, "{} differs after command {applied}", node.name);
        }
        for replica in engine.replicas() {
            let known = self.replica_states.entry((replica.queue.0, replica.applied)).or_insert(replica.state_hash);
            assert_eq!(*known, replica.state_hash, "{}: {replica:?} is not what others are", node.name);
        }
        if engine.is_ready() && !node.is_ready {
            node.is_ready = true;
            self.seen.ready += 1;
        }
        let Effects { sends, controls, peers, peer_controls, mut disk, events, mut admin, stop } =
            core::mem::take(&mut node.effects);
        node.disk.submit(&mut disk);
        node.answers.append(&mut admin);
        let mut inputs = Vec::new();
        for send in sends {
            inputs.push(Input::ClientWritten { connection: send.connection, bytes: send.bytes.len() });
            if let Some((client, events)) = node.clients.get_mut(&send.connection) {
                client.handle_bytes(now.mono, send.bytes, events).expect("the engine speaks AMQP");
            }
        }
        for control in controls {
            if let ClientControl::Close(connection) = control {
                node.clients.remove(&connection);
                inputs.push(Input::ClientClosed { connection });
            }
        }
        for event in events {
            match event {
                Event::PeerUp { .. } => self.seen.links += 1,
                Event::PeerDown { reason, .. } => {
                    self.seen.downs += 1;
                    self.reasons.insert(reason);
                }
                _ => {}
            }
        }
        if stop.is_some() {
            node.stopped = stop;
            node.engine = None;
            node.clients.clear();
            self.leave(at);
            return;
        }
        for send in peers {
            self.hash = mix(self.hash ^ u64::from(crc32fast::hash(&send.bytes)) ^ send.link.0);
            if let Some((index, end)) = self.find(at, send.link) {
                self.sockets[index].under_way[1 - end].push_back(send.bytes);
            }
        }
        for control in peer_controls {
            match control {
                PeerControl::Dial(name) => self.dials.push((at, name)),
                PeerControl::Abandon(name) => self.dials.retain(|dial| *dial != (at, name.clone())),
                PeerControl::Close(link) => match self.find(at, link) {
                    Some((index, end)) => self.sockets[index].is_closed[end] = true,
                    None => inputs.push(Input::PeerClosed { link }),
                },
            }
        }
        for input in inputs {
            self.input(at, input);
        }
    }

    fn find(&self, at: At, link: LinkId) -> Option<(usize, usize)> {
        self.sockets
            .iter()
            .enumerate()
            .find_map(|(index, socket)| socket.ends.iter().position(|end| *end == (at, link)).map(|end| (index, end)))
    }

    fn is_stalled(&self, socket: &Socket) -> bool {
        let [(one, _), (other, _)] = socket.ends;
        self.stalled.contains(&(one.min(other), one.max(other)))
    }

    /// One small thing happens.
    pub(super) fn step(&mut self) {
        let count = self.nodes.len() as u64;
        match self.rng.below(10) {
            0..5 => self.step_socket(),
            5..8 => {
                let at = usize::try_from(self.rng.below(count)).unwrap();
                let node = &mut self.nodes[at];
                if !self.is_stuck.contains(&at)
                    && let Some((op, result)) = node.disk.step(&mut self.rng)
                {
                    let outcome = result.expect("the disk of this test has room");
                    self.input(at, Input::DiskDone { op, outcome });
                }
            }
            8 => {
                self.now = self.now + Duration::from_micros(self.rng.below(8000));
                for at in 0..self.nodes.len() {
                    self.flush(at);
                    let due = self.nodes[at].engine.as_ref().and_then(Engine::next_timeout);
                    if due.is_some_and(|(due, _)| due <= self.now) {
                        self.input(at, Input::Timeout);
                    }
                }
            }
            _ => self.step_dial(),
        }
    }

    fn step_dial(&mut self) {
        if self.dials.is_empty() {
            return;
        }
        let index = usize::try_from(self.rng.below(self.dials.len() as u64)).unwrap();
        let (from, name) = self.dials[index].clone();
        let to = self.nodes.iter().position(|node| node.name == name).expect("nodes know each other by name");
        let pair = (from.min(to), from.max(to));
        if self.stalled.contains(&pair) {
            return;
        }
        self.dials.remove(index);
        if self.cut.contains(&pair) || self.nodes[to].engine.is_none() {
            return self.input(from, Input::PeerUnreachable { name });
        }
        let ends = [(from, LinkId(self.next_id)), (to, LinkId(self.next_id + 1))];
        self.next_id += 2;
        self.sockets.push(Socket { ends, under_way: Default::default(), is_closed: [false; 2], is_broken: false });
        self.input(from, Input::PeerOpened { link: ends[0].1, dialed: Some(name) });
        self.input(to, Input::PeerOpened { link: ends[1].1, dialed: None });
    }

    fn step_socket(&mut self) {
        if self.sockets.is_empty() {
            return;
        }
        let index = usize::try_from(self.rng.below(self.sockets.len() as u64)).unwrap();
        if self.is_stalled(&self.sockets[index]) {
            return;
        }
        let to = usize::try_from(self.rng.below(2)).unwrap();
        let socket = &mut self.sockets[index];
        let ends = socket.ends;
        let is_cut = self.cut.contains(&(ends[0].0.min(ends[1].0), ends[0].0.max(ends[1].0)));
        let are_done = socket.is_closed.iter().any(|closed| *closed) && socket.under_way.iter().all(VecDeque::is_empty);
        if socket.is_broken || is_cut || are_done {
            self.sockets.remove(index);
            for (at, link) in ends {
                self.input(at, Input::PeerClosed { link });
            }
            return;
        }
        let Some(mut bytes) = socket.under_way[to].pop_front() else { return };
        if bytes.len() > 1 && self.rng.one_in(4) {
            let at = 1 + usize::try_from(self.rng.below(bytes.len() as u64 - 1)).unwrap();
            socket.under_way[to].push_front(bytes.split_off(at));
        }
        let written = bytes.len();
        // A node that has closed its end drops what comes.
        let is_read = !socket.is_closed[to];
        self.input(ends[1 - to].0, Input::PeerWritten { link: ends[1 - to].1, bytes: written });
        if is_read {
            self.input(ends[to].0, Input::PeerReceived { link: ends[to].1, bytes });
        }
    }

    /// Steps until it is so.
    pub(super) fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..400_000 {
            if is_so(self) {
                return;
            }
            self.step();
        }
        let states = self.nodes.iter().map(|node| {
            let shared = node.engine.as_ref().map(|engine| engine.shared_state().map(|(applied, _)| applied));
            format!("{}: {shared:?}, stopped {:?}; ", node.name, node.stopped)
        });
        panic!("seed {}: {what} does not come: {}", self.seed, states.collect::<String>());
    }

    /// Whether all nodes are in and have the same.
    pub(super) fn is_agreed(&self) -> bool {
        let applied = |node: &Node| node.engine.as_ref().filter(|engine| engine.is_ready())?.shared_state();
        let first = applied(&self.nodes[0]).map(|(applied, _)| applied);
        first.is_some() && self.nodes.iter().all(|node| applied(node).map(|(applied, _)| applied) == first)
    }
}
