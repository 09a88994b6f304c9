//! The recorder: what the world shows it as it happens.

use std::collections::BTreeMap;

use leveret_engine::effect::DiskRequest;
use leveret_engine::engine::{QueueStatus, Usage};
use leveret_engine::input::Input;

use super::thin::thin;
pub(crate) use super::wire::Direction;
use super::wire::Wire;
use super::{Band, Cause, EVENTS_MAX, Event, Fate, Kind, Lane, LaneIndex, LaneKind, Look, QueueLook, Recording, words};
use crate::clock::{MILLISECOND, Micros};
use crate::nodes::At;
use crate::plan::{Ending, Fault, FaultKind, Plan, Role};

/// Looks that a recording holds at most; beyond that every second one goes.
const LOOKS_MAX: usize = 1000;
/// Events gathered at most, before the recording is thinned.
const GATHERED_MAX: usize = 400_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(super) recording: Recording,
    /// Lanes of the clients, by their numbers; those that check at the end, one for each node, come last.
    pub(super) clients: Vec<LaneIndex>,
    /// The nodes, and the one that is told of.
    sites: Vec<Site>,
    here: usize,
    pub(super) wires: BTreeMap<u32, Wire>,
    /// Faults that have begun and not ended, by their numbers.
    faults: BTreeMap<u32, Band>,
    /// Names of queues by the engine's numbers, and messages by their places.
    pub(super) ids: BTreeMap<u64, String>,
    pub(super) places: BTreeMap<(u64, u64), u32>,
    /// Where each message was published, and where each channel's life takes place, by connection and channel.
    pub(super) published: BTreeMap<u32, (u32, u16)>,
    pub(super) sessions: BTreeMap<u32, (u32, u16)>,
    look_every: Micros,
    next_look: Micros,
}

/// What is known of one node.
#[derive(Debug)]
pub(super) struct Site {
    /// Its name in sentences.
    name: String,
    node: LaneIndex,
    disk: LaneIndex,
    state: (NodeState, Micros),
    /// Disk work under way, by its number.
    disk_work: BTreeMap<u64, Event>,
    /// Messages by their records' positions in the log, as long as these are not written, and not durable.
    pub(super) unwritten: BTreeMap<u64, Vec<u32>>,
    pub(super) unsynced: BTreeMap<u64, Vec<u32>>,
}

/// What a node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeState {
    /// It is not there.
    Down,
    /// It reads its log.
    Recovering,
    /// Clients are welcome.
    Ready,
    /// It ends in order.
    Stopping,
}

impl NodeState {
    fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Recovering => "recovering",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
        }
    }
}

/// Clients that look at the end what is left: one for each node, and one for the queues that all share.
fn checkers(plan: &Plan) -> usize {
    plan.node_count() + usize::from(plan.node_count() > 1)
}

impl Recorder {
    /// A recorder of a run of this plan.
    pub(crate) fn new(plan: &Plan) -> Self {
        let is_taker = |role: &Role| matches!(role, Role::Consumer(_) | Role::Getter(_));
        let name = |number: usize, role: &Role| Lane {
            kind: LaneKind::Client,
            name: format!("{} {number}", words::variant(role).0.split(' ').next().unwrap_or("client")),
        };
        let (mut lanes, mut clients) = (Vec::new(), vec![0; plan.clients.len() + checkers(plan)]);
        let mut add = |takers: bool, lanes: &mut Vec<Lane>| {
            for (number, client) in plan.clients.iter().enumerate().filter(|(_, it)| is_taker(&it.role) == takers) {
                clients[number] = lanes.len();
                lanes.push(name(number, &client.role));
            }
        };
        add(false, &mut lanes);
        let sites = (0..plan.node_count()).map(|at| {
            let letter = At::new(at).letter();
            let is_alone = plan.node_count() == 1;
            let name = |what: &str| if is_alone { what.to_owned() } else { format!("{what} {letter}") };
            let node = lanes.len();
            lanes.push(Lane { kind: LaneKind::Node, name: name("node") });
            lanes.push(Lane { kind: LaneKind::Disk, name: name("disk") });
            Site {
                name: if is_alone { "the node".to_owned() } else { name("node") },
                node,
                disk: node + 1,
                state: (NodeState::Down, 0),
                disk_work: BTreeMap::new(),
                unwritten: BTreeMap::new(),
                unsynced: BTreeMap::new(),
            }
        });
        let sites = sites.collect();
        add(true, &mut lanes);
        for at in 0..checkers(plan) {
            clients[plan.clients.len() + at] = lanes.len();
            let which = match plan.node_count() {
                1 => String::new(),
                nodes if at == nodes => " of all".to_owned(),
                _ => format!(" {}", At::new(at).letter()),
            };
            lanes.push(Lane { kind: LaneKind::Client, name: format!("checker{which}") });
        }
        Self {
            recording: Recording { lanes, ..Recording::default() },
            clients,
            sites,
            here: 0,
            wires: BTreeMap::new(),
            faults: BTreeMap::new(),
            ids: BTreeMap::new(),
            places: BTreeMap::new(),
            published: BTreeMap::new(),
            sessions: BTreeMap::new(),
            look_every: MILLISECOND,
            next_look: 0,
        }
    }

    /// The recording, when the run is over.
    pub(crate) fn finish(mut self, time: Micros) -> Recording {
        let mut late = Vec::new();
        for wire in self.wires.values_mut() {
            wire.cut(time, Direction::Up, Fate::Underway, &mut late);
            wire.cut(time, Direction::Down, Fate::Underway, &mut late);
        }
        late.extend(self.sites.iter_mut().flat_map(|site| std::mem::take(&mut site.disk_work).into_values()));
        for mut event in late {
            (event.at, event.fate) = (time, Fate::Underway);
            // What breaks comes last.
            let place = self.recording.events.iter().rposition(|it| it.kind != Kind::Broken).map_or(0, |at| at + 1);
            self.recording.events.insert(place, event);
        }
        self.mended(time);
        for here in 0..self.sites.len() {
            self.here = here;
            self.enter(time, NodeState::Down, None);
        }
        let Self { mut recording, sites, .. } = self;
        recording.end = time;
        recording.left_out += thin(&mut recording.events, recording.cause.as_ref(), EVENTS_MAX);
        let most = sites.len() + usize::from(sites.len() > 1);
        for _ in 0..most {
            let checker = recording.lanes.len() - 1;
            if !recording.events.iter().any(|event| event.lane == checker || event.to == Some(checker)) {
                recording.lanes.pop();
            }
        }
        recording
    }

    /// What is told next is about this node.
    pub(crate) fn about(&mut self, at: At) {
        self.here = at.number();
    }

    pub(super) fn site_mut(&mut self) -> &mut Site {
        &mut self.sites[self.here]
    }

    /// The lane of the node that is told of.
    pub(super) fn node(&self) -> LaneIndex {
        self.sites[self.here].node
    }

    pub(super) fn push(&mut self, event: Event) {
        if self.recording.events.len() == GATHERED_MAX {
            self.recording.left_out += thin(&mut self.recording.events, None, GATHERED_MAX / 2);
        }
        self.recording.events.push(event);
    }

    pub(super) fn push_here(&mut self, at: Micros, kind: Kind, text: String) {
        self.push(Event { at, kind, lane: self.node(), text, ..Event::default() });
    }

    // --- connections

    /// A client connects.
    pub(crate) fn opened(&mut self, at: Micros, client: u32, connection: u32) {
        let lane = self.clients[client as usize];
        self.wires.insert(connection, Wire::new(connection, lane, self.node()));
        let text = format!("{} connects", self.recording.lanes[lane].name);
        let channel = Some((connection, 0));
        self.push(Event { at, kind: Kind::Connected, lane, channel, text, ..Event::default() });
    }

    /// Bytes set out.
    pub(crate) fn sent(&mut self, time: Micros, connection: u32, direction: Direction, bytes: &[u8]) {
        let mut lost = Vec::new();
        if let Some(wire) = self.wires.get_mut(&connection) {
            wire.sent(time, direction, bytes, &self.recording.lanes, &mut lost);
        }
        lost.into_iter().for_each(|event| self.push(event));
    }

    /// Bytes arrived.
    pub(crate) fn arrived(&mut self, time: Micros, connection: u32, direction: Direction, bytes: &[u8]) {
        let mut events = Vec::new();
        if let Some(wire) = self.wires.get_mut(&connection) {
            wire.arrived(time, direction, bytes, &mut events);
        }
        for event in events {
            if let (Kind::Publish, Some(channel)) = (event.kind, event.channel) {
                self.published.extend(event.messages.iter().map(|message| (*message, channel)));
            }
            self.push(event);
        }
    }

    /// One end of a connection is gone: what is on its way there is lost.
    pub(crate) fn closed(&mut self, at: Micros, connection: u32, towards: Direction) {
        let mut events = Vec::new();
        let Some(wire) = self.wires.get_mut(&connection) else { return };
        wire.cut(at, towards, Fate::Lost, &mut events);
        let (lane, who) = (wire.client(), &self.recording.lanes[wire.client()].name);
        let (lane, text) = match towards {
            Direction::Down => (lane, format!("the connection of {who} is over for {who}")),
            Direction::Up => {
                wire.is_blocked = false;
                (wire.node(), format!("the connection of {who} is over for the node"))
            }
        };
        events.push(Event { at, kind: Kind::Closed, lane, channel: Some((connection, 0)), text, ..Event::default() });
        events.into_iter().for_each(|event| self.push(event));
    }

    // --- the node

    /// The node does something else from here on.
    pub(crate) fn node_is(&mut self, at: Micros, state: NodeState) {
        let what = match state {
            NodeState::Down => "is down",
            NodeState::Recovering => "starts and reads its log",
            NodeState::Ready => "is ready",
            NodeState::Stopping => "is asked to stop",
        };
        let text = format!("{} {what}", self.site_mut().name);
        self.enter(at, state, Some(text));
    }

    /// The node ended. Of the log, so much is left, in bytes.
    pub(crate) fn node_ended(&mut self, at: Micros, how: Ending, by_itself: bool, kept: u64) {
        let text = words::ending(how, by_itself).replacen("the node", &self.site_mut().name, 1);
        self.enter(at, NodeState::Down, Some(text));
        let site = self.site_mut();
        let lost = once_each(site.unsynced.split_off(&kept));
        site.unwritten.clear();
        let (disk, work) = (site.disk, std::mem::take(&mut site.disk_work));
        for mut event in work.into_values() {
            (event.at, event.fate) = (at, Fate::Lost);
            self.push(event);
        }
        if !lost.is_empty() {
            let text = format!("the log has lost what was written of {}", words::numbers(&lost));
            self.push(Event { at, kind: Kind::LogLost, lane: disk, messages: lost, text, ..Event::default() });
        }
    }

    fn enter(&mut self, at: Micros, state: NodeState, text: Option<String>) {
        let (before, from) = std::mem::replace(&mut self.site_mut().state, (state, at));
        if matches!(before, NodeState::Down | NodeState::Recovering) && from < at {
            let text = before.name().to_owned();
            let lane = self.node();
            self.recording.bands.push(Band { from, to: at, lane, is_fault: false, text });
        }
        self.next_look = at;
        if let Some(text) = text {
            self.push_here(at, Kind::Node, text);
        }
    }

    /// Whether it is time to show what the node holds.
    pub(crate) fn wants_look(&self, time: Micros) -> bool {
        time >= self.next_look
    }

    /// What the node holds.
    pub(crate) fn look(&mut self, at: Micros, queues: &[QueueStatus], usage: Usage) {
        self.next_look = at + self.look_every;
        for queue in queues {
            self.ids.insert(queue.id.0, queue.name.clone());
        }
        let look = Look {
            at,
            node: self.states(),
            queues: queues.iter().map(queue_look).collect(),
            connections: usage.connections,
            body_bytes: usage.body_bytes,
            outbox_bytes: usage.outbox_bytes,
            segments: usage.log_segments,
            live_bytes: usage.log_live_bytes,
            blocked: self.wires.values().filter(|wire| wire.is_blocked).map(Wire::client).collect(),
        };
        self.push_look(look);
    }

    /// There is no node to look at.
    pub(crate) fn look_at_nothing(&mut self, at: Micros) {
        self.push_look(Look { at, node: self.states(), ..Look::default() });
    }

    /// What the nodes are doing.
    fn states(&self) -> String {
        if let [site] = &*self.sites {
            return site.state.0.name().to_owned();
        }
        let states = self.sites.iter().map(|site| format!("{} {}", site.name, site.state.0.name()));
        states.collect::<Vec<_>>().join(", ")
    }

    fn push_look(&mut self, look: Look) {
        let looks = &mut self.recording.looks;
        if looks.last().is_some_and(|last| Look { at: look.at, ..last.clone() } == look) {
            return;
        }
        looks.push(look);
        if looks.len() > LOOKS_MAX {
            let mut at = 0;
            looks.retain(|_| {
                at += 1;
                at % 2 == 1
            });
            self.look_every *= 2;
        }
    }

    // --- the disk

    /// The disk is asked for something.
    pub(crate) fn disk_begins(&mut self, time: Micros, request: &DiskRequest) {
        let (lane, text) = (self.site_mut().disk, words::disk_op(&request.op));
        let event = Event { from: Some(time), kind: Kind::Disk, lane, text, ..Event::default() };
        self.site_mut().disk_work.insert(request.id.0, event);
    }

    /// The disk answers; it has the log up to these positions, in its system and for good.
    pub(crate) fn disk_ends(&mut self, at: Micros, answer: &Input, written: u64, durable: u64) {
        let (op, fate) = match answer {
            Input::DiskDone { op, .. } => (op, Fate::Done),
            Input::DiskFailed { op, .. } => (op, Fate::Lost),
            _ => return,
        };
        if let Some(mut event) = self.site_mut().disk_work.remove(&op.0) {
            (event.at, event.fate) = (at, fate);
            if fate == Fate::Lost {
                event.text += ", which fails";
            }
            self.push(event);
        }
        for (kind, upto) in [(Kind::Written, written), (Kind::Synced, durable)] {
            let site = self.site_mut();
            let lane = site.disk;
            let held = if kind == Kind::Written { &mut site.unwritten } else { &mut site.unsynced };
            let rest = held.split_off(&upto);
            let messages = once_each(std::mem::replace(held, rest));
            if !messages.is_empty() {
                let how = if kind == Kind::Written { "is written" } else { "is on the disk for good" };
                let text = format!("the record of {} {how}", words::numbers(&messages));
                self.push(Event { at, kind, lane, messages, text, ..Event::default() });
            }
        }
    }

    // --- faults

    /// A fault begins.
    pub(crate) fn fault_begins(&mut self, at: Micros, number: u32, fault: &Fault) {
        let (text, client) = words::variant(&fault.kind);
        let words: Vec<&str> = text.split(' ').collect();
        let is_of_disk = words.iter().any(|word| ["disk", "fsync", "read", "rot", "sector", "write"].contains(word));
        let lane = match client.and_then(|client| self.clients.get(client)) {
            Some(&lane) => lane,
            None if is_of_disk => self.site_mut().disk,
            None => self.node(),
        };
        self.push(Event { at, kind: Kind::FaultBegins, lane, text: format!("fault: {text}"), ..Event::default() });
        // How long an end of the node lasts, the node's own bands show.
        if !matches!(fault.kind, FaultKind::End { .. }) {
            self.faults.insert(number, Band { from: at, to: at, lane, is_fault: true, text });
        }
    }

    /// A fault ends.
    pub(crate) fn fault_ends(&mut self, at: Micros, number: u32) {
        let Some(mut band) = self.faults.remove(&number) else { return };
        band.to = at;
        let text = format!("fault over: {}", band.text);
        self.push(Event { at, kind: Kind::FaultEnds, lane: band.lane, text, ..Event::default() });
        self.recording.bands.push(band);
    }

    /// All faults end.
    pub(crate) fn mended(&mut self, at: Micros) {
        for (_, mut band) in std::mem::take(&mut self.faults) {
            band.to = at;
            self.recording.bands.push(band);
        }
    }

    /// What the run is about to fail with.
    pub(super) fn breaks(&mut self, cause: Cause) {
        if self.recording.cause.is_some() {
            return;
        }
        let Cause { at, ref text, ref messages, ref queue, channel, .. } = cause;
        let lane = self.node();
        self.push(Event {
            at,
            kind: Kind::Broken,
            lane,
            messages: messages.clone(),
            queue: queue.clone(),
            channel,
            text: text.clone(),
            ..Event::default()
        });
        self.recording.cause = Some(cause);
    }
}

/// Messages by their records, which may be in several queues.
fn once_each(records: BTreeMap<u64, Vec<u32>>) -> Vec<u32> {
    let mut messages: Vec<u32> = records.into_values().flatten().collect();
    messages.dedup();
    messages
}

fn queue_look(queue: &QueueStatus) -> QueueLook {
    let QueueStatus { name, ready, unacked, consumers, .. } = queue;
    QueueLook { name: name.clone(), ready: *ready, unacked: *unacked, consumers: *consumers }
}
