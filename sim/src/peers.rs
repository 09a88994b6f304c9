//! The simulated network between nodes: connections that are dialed, carry bytes in order, are slow, break and vanish.
//!
//! A [`Wire`] is one connection. As in `network`, each direction keeps its bytes in order by a queue of its own, and an event only says
//! that its front is due. What is wrong between two nodes is a matter of one direction each ([`Way`]): TCP repairs what is lost for a
//! while, so nothing that is cut off is ever missing in the middle. It comes when the way is open again, or never, since one of the ends
//! has lost patience. Of two connections between the same nodes, the older one's bytes may come after the newer one has opened.

use std::collections::VecDeque;

use bytes::Bytes;
use leveret_engine::effect::{PeerControl, PeerSend};
use leveret_engine::ids::LinkId;
use leveret_engine::input::Input;
use leveret_engine::limits;

use crate::clock::{MILLISECOND, Micros};
use crate::nodes::At;
use crate::plan::{ClusterPlan, Ending, FaultKind, WirePlan};
use crate::rng::{Fate, ThingFate, hits, scale};
use crate::situation::Situation;
use crate::trouble::Stutter;
use crate::world::{Event, World};

/// All that is between the nodes.
#[derive(Debug)]
pub(crate) struct Peers {
    plan: WirePlan,
    distances: Vec<(usize, usize, Micros)>,
    wires: Vec<Wire>,
    dials: Vec<Dial>,
    /// From each node to each.
    ways: Vec<Vec<Way>>,
    /// Connections so far from each node to each, for their fates.
    made: Vec<Vec<u64>>,
    fates: Fate,
}

/// One connection.
#[derive(Debug)]
struct Wire {
    /// Who dialed, and who was dialed.
    ends: [End; 2],
    /// What is on its way to each of them.
    under_way: [Direction; 2],
}

/// One node's end of a connection.
#[derive(Clone, Copy, Debug)]
struct End {
    at: At,
    state: EndState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndState {
    /// Dialed, and the answer is on its way.
    Opening,
    Open,
    /// The node has said all that it had to say and drops what comes.
    Closing,
    /// The node has no such connection any more.
    Gone,
    /// The same, but its machine has no power, so that nobody is told.
    Dark,
}

#[derive(Debug)]
struct Direction {
    parts: VecDeque<Bytes>,
    len: usize,
    /// Whoever sends has ended: nothing more comes.
    is_ended: bool,
    /// An arrival is scheduled.
    is_due: bool,
    /// The sender is about to be told how much was written.
    is_telling: bool,
    /// Bytes ever sent, taken, and told of as written.
    sent: u64,
    taken: u64,
    told: u64,
    ordinal: u64,
    fates: ThingFate,
}

/// An attempt to connect.
#[derive(Debug)]
struct Dial {
    from: At,
    /// The boot of who dials: whatever the next one dials is another attempt.
    boot: u64,
    to: At,
    is_over: bool,
}

/// What is wrong on the way from one node to another; counted, since faults overlap.
#[derive(Debug, Default)]
struct Way {
    /// Nothing passes.
    cuts: u32,
    /// Extra time of each fault, and rates in bytes per millisecond.
    slow: Vec<(Micros, u32)>,
    /// It passes nothing for a while, again and again.
    stutters: Vec<Stutter>,
    /// What waits for the end of a cut.
    held: Vec<Event>,
}

/// How often a machine that nobody answers is tried.
const DIAL_RETRY: Micros = 300 * MILLISECOND;
/// How long a node's driver waits for the other side to end a connection as well.
const CLOSE_PATIENCE: Micros = 3000 * MILLISECOND;

impl Peers {
    /// Nothing is connected yet.
    pub(crate) fn new(seed: u64, nodes: usize, plan: Option<&ClusterPlan>) -> Self {
        let table = || (0..nodes).map(|_| (0..nodes).map(|_| Way::default()).collect()).collect();
        Self {
            plan: plan.map(|plan| plan.wire.clone()).unwrap_or_default(),
            distances: plan.map(|plan| plan.distances.clone()).unwrap_or_default(),
            wires: Vec::new(),
            dials: Vec::new(),
            ways: table(),
            made: vec![vec![0; nodes]; nodes],
            fates: Fate::new(seed, "peers"),
        }
    }

    fn way_mut(&mut self, from: At, to: At) -> &mut Way {
        &mut self.ways[from.number()][to.number()]
    }

    fn is_cut(&self, from: At, to: At) -> bool {
        self.ways[from.number()][to.number()].cuts > 0
    }

    /// How much longer everything takes between two nodes than between the others.
    fn distance(&self, one: At, other: At) -> Micros {
        let (one, other) = (one.number(), other.number());
        let is_it =
            |pair: &&(usize, usize, Micros)| (pair.0, pair.1) == (one, other) || (pair.1, pair.0) == (one, other);
        self.distances.iter().filter(is_it).map(|(.., extra)| extra).sum()
    }

    /// How long the next thing takes from one end of a connection to the other.
    fn latency(&mut self, wire: usize, to: usize) -> Micros {
        let [one, other] = [1 - to, to].map(|end| self.wires[wire].ends[end].at);
        let (least, most) = self.plan.latency_us;
        let drawn = scale(self.wires[wire].under_way[to].draw(), least, most);
        self.distance(one, other) + self.ways[one.number()][other.number()].extra() + drawn
    }

    fn next_wire(&mut self, from: At, to: At) -> usize {
        let made = &mut self.made[from.number()][to.number()];
        let thing = ((from.number() as u64) << 40) | ((to.number() as u64) << 32) | (*made << 1);
        *made += 1;
        let fates = self.fates;
        let direction = |number: u64| Direction::new(fates.thing(thing | number));
        let ends = [End { at: from, state: EndState::Opening }, End { at: to, state: EndState::Open }];
        self.wires.push(Wire { ends, under_way: [direction(0), direction(1)] });
        self.wires.len() - 1
    }

    /// Which nodes an event has to pass between, if it is one of these: from, to.
    fn way_of(&self, event: Event) -> Option<(At, At)> {
        let between = |wire: u32, to: u8| {
            let ends = &self.wires[wire as usize].ends;
            (ends[1 - usize::from(to)].at, ends[usize::from(to)].at)
        };
        match event {
            // What was written is known from what the other system says.
            Event::Inflow(wire, end) | Event::Outflow(wire, end) => Some(between(wire, end)),
            _ => None,
        }
    }

    /// The node that an event is for, if it is one of these.
    pub(crate) fn process_of(&self, event: Event) -> Option<At> {
        match event {
            Event::Inflow(wire, end) | Event::Outflow(wire, end) | Event::Forsake(wire, end) => {
                Some(self.wires[wire as usize].ends[usize::from(end)].at)
            }
            Event::Dialed(dial) => Some(self.dials[dial as usize].to),
            _ => None,
        }
    }
}

impl Direction {
    fn new(fates: ThingFate) -> Self {
        Self {
            parts: VecDeque::new(),
            len: 0,
            is_ended: false,
            is_due: false,
            is_telling: false,
            sent: 0,
            taken: 0,
            told: 0,
            ordinal: 0,
            fates,
        }
    }

    fn draw(&mut self) -> u64 {
        self.ordinal += 1;
        self.fates.of(self.ordinal)
    }

    fn push(&mut self, bytes: Bytes) {
        self.sent += bytes.len() as u64;
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.parts.push_back(bytes);
        }
    }

    /// Takes what arrives next.
    fn take(&mut self, plan: &WirePlan, rate: Option<u32>) -> Bytes {
        let random = self.draw();
        let mut most = u64::from(plan.window_bytes).max(1);
        if plan.segment_bytes > 0 {
            most = most.min(u64::from(plan.segment_bytes));
        }
        if let Some(rate) = rate {
            most = most.min(u64::from(rate).max(64));
        }
        if hits(random, plan.cut) {
            let bits = scale(random.rotate_left(17), 0, 16);
            most = most.min(scale(random.rotate_left(40), 1, 1 << bits));
        }
        let most = usize::try_from(most).expect("32 bits fit");
        let Some(front) = self.parts.front_mut() else { return Bytes::new() };
        let bytes =
            if front.len() <= most { self.parts.pop_front().expect("just looked at") } else { front.split_to(most) };
        self.len -= bytes.len();
        self.taken += bytes.len() as u64;
        bytes
    }

    fn clear(&mut self) {
        self.parts.clear();
        self.len = 0;
    }

    /// Of what is on its way the first part may still arrive, cut anywhere.
    fn cut_short(&mut self) {
        let random = self.draw();
        let front = self.parts.pop_front().filter(|_| random & 1 == 0);
        self.clear();
        if let Some(mut front) = front {
            front.truncate(crate::rng::index(random.rotate_left(31), front.len()));
            self.len = front.len();
            self.parts.extend(Some(front).filter(|front| !front.is_empty()));
        }
    }

    /// Bytes that the sender's system has taken and the sender was not told of.
    fn untold(&self, window: u32) -> u64 {
        self.sent.min(self.taken + u64::from(window)).saturating_sub(self.told)
    }

    /// Whether the sender's system has taken everything, and so little of that was not told that the sender need not know yet.
    fn is_little_untold(&self, window: u32) -> bool {
        let untold = self.untold(window);
        untold == self.sent - self.told && untold < limits::LINK_WINDOW_BYTES as u64
    }
}

impl Way {
    fn extra(&self) -> Micros {
        self.slow.iter().map(|(extra, _)| extra).sum()
    }

    /// How long nothing passes from now on.
    fn halt(&self, now: Micros) -> Micros {
        let rest = |stutter: &Stutter| {
            let since = now.saturating_sub(stutter.since) % stutter.every.max(1);
            stutter.length.saturating_sub(since)
        };
        self.stutters.iter().map(rest).max().unwrap_or_default()
    }

    fn rate(&self) -> Option<u32> {
        self.slow.iter().map(|(_, rate)| *rate).filter(|rate| *rate > 0).min()
    }
}

/// The engine's name of one end of a connection.
fn link(wire: usize, end: usize) -> LinkId {
    LinkId((wire * 2 + end + 1) as u64)
}

/// Which end of which connection that is.
fn end_of(link: LinkId) -> (usize, usize) {
    let number = usize::try_from(link.0 - 1).expect("numbered by the world");
    (number / 2, number % 2)
}

fn short(number: usize) -> u32 {
    u32::try_from(number).expect("few connections")
}

fn side(end: usize) -> u8 {
    u8::from(end == 1)
}

impl World {
    /// Carries out what a node wants of others.
    pub(crate) fn deal_with_peers(&mut self, at: At, sends: Vec<PeerSend>, controls: Vec<PeerControl>) {
        for PeerSend { link, bytes } in sends {
            self.trace.word(16 << 56 | link.0);
            self.trace.bytes(&bytes);
            let (wire, end) = end_of(link);
            let Wire { ends, under_way } = &mut self.peers.wires[wire];
            // What is written to a connection that is broken goes nowhere.
            if ends[end].state == EndState::Open && !under_way[1 - end].is_ended {
                under_way[1 - end].push(bytes);
                self.schedule_inflow(wire, 1 - end);
                self.schedule_outflow(wire, end);
            }
        }
        for control in controls {
            match control {
                PeerControl::Dial(name) => self.dial(at, &name),
                PeerControl::Abandon(name) => {
                    let to = self.nodes.iter().find(|node| node.name == name).map(|node| node.at);
                    for dial in self.peers.dials.iter_mut().filter(|dial| dial.from == at && Some(dial.to) == to) {
                        dial.is_over = true;
                    }
                    self.forget_answers(at, to);
                }
                PeerControl::Close(link) => {
                    let (wire, end) = end_of(link);
                    let ends = &mut self.peers.wires[wire].ends;
                    if ends[end].state == EndState::Open {
                        ends[end].state = EndState::Closing;
                        self.end_direction(wire, 1 - end);
                        self.scheduler.after(CLOSE_PATIENCE, Event::Forsake(short(wire), side(end)));
                    }
                }
            }
        }
    }

    /// Closes what was dialed and has not opened.
    fn forget_answers(&mut self, from: At, to: Option<At>) {
        for wire in 0..self.peers.wires.len() {
            let [dialer, other] = &mut self.peers.wires[wire].ends;
            if dialer.at == from && Some(other.at) == to && dialer.state == EndState::Opening {
                dialer.state = EndState::Gone;
                self.end_direction(wire, 1);
            }
        }
    }

    fn dial(&mut self, from: At, name: &str) {
        let Some(to) = self.nodes.iter().find(|node| node.name == name).map(|node| node.at) else {
            return self.input(from, Input::PeerUnreachable { name: name.to_owned() });
        };
        let number = short(self.peers.dials.len());
        let boot = self.nodes[from].boot;
        self.peers.dials.push(Dial { from, boot, to, is_over: false });
        let (least, most) = self.peers.plan.latency_us;
        let drawn = scale(self.peers.fates.of(u64::from(number), u64::MAX), least, most);
        let way = &self.peers.ways[from.number()][to.number()];
        let latency = drawn + self.peers.distance(from, to) + way.extra();
        self.scheduler.after(latency, Event::Dialed(number));
    }

    /// An attempt to connect arrives.
    pub(crate) fn dialed(&mut self, number: u32) {
        let Dial { from, boot, to, is_over } = self.peers.dials[number as usize];
        if is_over || self.nodes[from].boot != boot || self.nodes[from].engine.is_none() {
            return;
        }
        if self.nodes[to].is_dark || self.peers.is_cut(from, to) || self.peers.is_cut(to, from) {
            self.scheduler.after(DIAL_RETRY, Event::Dialed(number));
            return;
        }
        self.peers.dials[number as usize].is_over = true;
        if self.nodes[to].engine.is_none() {
            let name = self.nodes[to].name.clone();
            return self.input(from, Input::PeerUnreachable { name });
        }
        let wire = self.peers.next_wire(from, to);
        self.schedule_inflow(wire, 0);
        self.input(to, Input::PeerOpened { link: link(wire, 1), dialed: None });
    }

    fn schedule_inflow(&mut self, wire: usize, to: usize) {
        if !self.peers.wires[wire].under_way[to].is_due {
            self.peers.wires[wire].under_way[to].is_due = true;
            let latency = self.peers.latency(wire, to);
            self.scheduler.after(latency, Event::Inflow(short(wire), side(to)));
        }
    }

    fn schedule_outflow(&mut self, wire: usize, end: usize) {
        let window = self.peers.plan.window_bytes;
        let Wire { ends, under_way } = &mut self.peers.wires[wire];
        let direction = &mut under_way[1 - end];
        let is_late = self.nodes[ends[end].at].knobs.tells_late && direction.is_little_untold(window);
        if !is_late && !direction.is_telling && direction.untold(window) > 0 {
            direction.is_telling = true;
            self.scheduler.after(2, Event::Outflow(short(wire), side(end)));
        }
    }

    /// Nothing more is sent towards that end.
    fn end_direction(&mut self, wire: usize, to: usize) {
        self.peers.wires[wire].under_way[to].is_ended = true;
        self.schedule_inflow(wire, to);
    }

    /// Something arrives at one end of a connection.
    pub(crate) fn inflow(&mut self, wire: u32, to: u8) {
        let (number, end) = (wire as usize, usize::from(to));
        let Wire { ends, under_way } = &mut self.peers.wires[number];
        let (End { at, state }, from) = (ends[end], ends[1 - end].at);
        let direction = &mut under_way[end];
        direction.is_due = false;
        if state == EndState::Dark {
            return;
        }
        if state == EndState::Opening {
            ends[end].state = EndState::Open;
            let dialed = Some(self.nodes[from].name.clone());
            if direction.len > 0 || direction.is_ended {
                self.schedule_inflow(number, end);
            }
            return self.input(at, Input::PeerOpened { link: link(number, end), dialed });
        }
        let rate = self.peers.ways[from.number()][at.number()].rate();
        let bytes = direction.take(&self.peers.plan, rate);
        let is_over = direction.len == 0 && direction.is_ended;
        if direction.len > 0 {
            direction.is_due = true;
            let time = rate.map_or(0, |rate| bytes.len() as u64 * 1000 / u64::from(rate));
            let pause = scale(direction.draw(), 0, 20) + time;
            self.scheduler.after(pause, Event::Inflow(wire, to));
        }
        self.schedule_outflow(number, 1 - end);
        match state {
            EndState::Opening => unreachable!("it has just opened"),
            EndState::Open => {
                if !bytes.is_empty() {
                    self.input(at, Input::PeerReceived { link: link(number, end), bytes });
                }
                if is_over {
                    self.lose_end(number, end);
                }
            }
            EndState::Closing if is_over => self.lose_end(number, end),
            EndState::Closing | EndState::Gone | EndState::Dark => {}
        }
    }

    /// A node is told how much of what it sent was written.
    pub(crate) fn outflow(&mut self, wire: u32, end: u8) {
        let (number, end) = (wire as usize, usize::from(end));
        let window = self.peers.plan.window_bytes;
        let Wire { ends, under_way } = &mut self.peers.wires[number];
        let direction = &mut under_way[1 - end];
        direction.is_telling = false;
        let untold = direction.untold(window);
        direction.told += untold;
        let End { at, state } = ends[end];
        if untold > 0 && matches!(state, EndState::Open | EndState::Closing) {
            let bytes = usize::try_from(untold).expect("what is in memory fits");
            self.input(at, Input::PeerWritten { link: link(number, end), bytes });
        }
    }

    /// The same of all that a node was not told of yet, and not about to be.
    pub(crate) fn tell_what_is_late_of_peers(&mut self, at: At) {
        for wire in 0..self.peers.wires.len() {
            for end in 0..2 {
                let Wire { ends, under_way } = &self.peers.wires[wire];
                if ends[end].at == at && !under_way[1 - end].is_telling {
                    self.outflow(short(wire), side(end));
                }
            }
        }
    }

    /// A node that has closed its end waits no longer for the other one.
    pub(crate) fn forsake(&mut self, wire: u32, end: u8) {
        let (number, end) = (wire as usize, usize::from(end));
        if self.peers.wires[number].ends[end].state == EndState::Closing {
            self.lose_end(number, end);
        }
    }

    /// A node learns that a connection is over; its system ends the other direction as well.
    fn lose_end(&mut self, wire: usize, end: usize) {
        let End { at, state } = &mut self.peers.wires[wire].ends[end];
        let at = *at;
        if matches!(state, EndState::Gone | EndState::Dark) {
            return;
        }
        *state = EndState::Gone;
        self.end_direction(wire, 1 - end);
        self.input(at, Input::PeerClosed { link: link(wire, end) });
    }

    /// A node is gone, and its connections with it. Of what it had just said some may be lost.
    pub(crate) fn lose_peers(&mut self, at: At, how: Ending) {
        for wire in 0..self.peers.wires.len() {
            for end in 0..2 {
                let Wire { ends, under_way } = &mut self.peers.wires[wire];
                if ends[end].at != at || matches!(ends[end].state, EndState::Gone | EndState::Dark) {
                    continue;
                }
                under_way[end].clear();
                if how == Ending::PowerLoss {
                    ends[end].state = EndState::Dark;
                    continue;
                }
                ends[end].state = EndState::Gone;
                if under_way[1 - end].draw() & 1 == 0 {
                    under_way[1 - end].clear();
                }
                self.end_direction(wire, 1 - end);
            }
        }
        self.nodes[at].is_dark = how == Ending::PowerLoss;
    }

    /// A machine has power again: it knows nothing of its connections, and says so to whoever sends.
    pub(crate) fn light_up(&mut self, at: At) {
        if !std::mem::take(&mut self.nodes[at].is_dark) {
            return;
        }
        for wire in 0..self.peers.wires.len() {
            for end in 0..2 {
                let Wire { ends, under_way } = &mut self.peers.wires[wire];
                if ends[end].at == at && ends[end].state == EndState::Dark {
                    ends[end].state = EndState::Gone;
                    under_way[1 - end].clear();
                    self.end_direction(wire, 1 - end);
                }
            }
        }
    }

    // --- faults

    /// Something goes wrong between nodes.
    pub(crate) fn begin_between(&mut self, at: At, kind: &FaultKind) {
        match *kind {
            FaultKind::Partition { ref ways } => self.cut_ways(ways),
            FaultKind::Isolate { inbound, outbound } => self.cut_ways(&self.ways_of(at, inbound, outbound)),
            FaultKind::SlowPeers { ref ways, extra_us, bytes_per_ms } => {
                self.slow_ways(ways, extra_us, bytes_per_ms, true);
            }
            FaultKind::LossyPeers { ref ways, every_us, stall_us } => {
                let stutter = Stutter { since: self.scheduler.time(), every: every_us, length: stall_us };
                self.stall_ways(ways, Some(stutter));
            }
            FaultKind::ResetPeers { ref ways } => self.break_wires(ways),
            _ => unreachable!("{kind:?} is no fault between nodes"),
        }
    }

    /// It is over.
    pub(crate) fn finish_between(&mut self, at: At, kind: &FaultKind) {
        match *kind {
            FaultKind::Partition { ref ways } => self.open_ways(ways),
            FaultKind::Isolate { inbound, outbound } => self.open_ways(&self.ways_of(at, inbound, outbound)),
            FaultKind::SlowPeers { ref ways, extra_us, bytes_per_ms } => {
                self.slow_ways(ways, extra_us, bytes_per_ms, false);
            }
            FaultKind::LossyPeers { ref ways, .. } => self.stall_ways(ways, None),
            _ => {}
        }
    }

    /// The ways between a node and all others, in one direction or both.
    fn ways_of(&self, at: At, inbound: bool, outbound: bool) -> Vec<(usize, usize)> {
        let others = self.nodes.all().filter(|other| *other != at).map(At::number);
        let at = at.number();
        let towards = others.clone().filter(|_| inbound).map(|other| (other, at));
        towards.chain(others.filter(|_| outbound).map(|other| (at, other))).collect()
    }

    /// Nothing passes on these ways.
    fn cut_ways(&mut self, ways: &[(usize, usize)]) {
        for &(from, to) in ways {
            self.peers.way_mut(At::new(from), At::new(to)).cuts += 1;
        }
    }

    /// One reason less why nothing passes.
    fn open_ways(&mut self, ways: &[(usize, usize)]) {
        for &(from, to) in ways {
            let way = self.peers.way_mut(At::new(from), At::new(to));
            way.cuts = way.cuts.saturating_sub(1);
            if way.cuts == 0 {
                self.release_way(from, to);
            }
        }
    }

    fn release_way(&mut self, from: usize, to: usize) {
        let held = std::mem::take(&mut self.peers.ways[from][to].held);
        if held.iter().any(|event| matches!(event, Event::Inflow(..))) {
            self.situations.saw(Situation::PartitionHealed);
        }
        for event in held {
            // What was lost on the way is sent again before long.
            let delay = scale(self.peers.fates.of(1 << 50, self.scheduler.time()), 1, 200 * MILLISECOND);
            self.scheduler.after(delay, event);
        }
    }

    /// These ways are slow, from here on or no longer.
    fn slow_ways(&mut self, ways: &[(usize, usize)], extra_us: Micros, bytes_per_ms: u32, begins: bool) {
        for &(from, to) in ways {
            let slow = &mut self.peers.way_mut(At::new(from), At::new(to)).slow;
            if begins {
                slow.push((extra_us, bytes_per_ms));
            } else if let Some(place) = slow.iter().position(|it| *it == (extra_us, bytes_per_ms)) {
                slow.swap_remove(place);
            }
        }
    }

    /// These ways lose so much that nothing comes for a while, again and again; `None`: no longer.
    fn stall_ways(&mut self, ways: &[(usize, usize)], stutter: Option<Stutter>) {
        for &(from, to) in ways {
            let stutters = &mut self.peers.way_mut(At::new(from), At::new(to)).stutters;
            match stutter {
                Some(stutter) => stutters.push(stutter),
                None => drop(stutters.pop()),
            }
        }
    }

    /// The connections on these ways break, with what is on them.
    fn break_wires(&mut self, ways: &[(usize, usize)]) {
        for wire in 0..self.peers.wires.len() {
            let Wire { ends, under_way } = &mut self.peers.wires[wire];
            let [one, other] = ends.map(|end| end.at.number());
            let is_up = ends.iter().all(|end| matches!(end.state, EndState::Open | EndState::Opening));
            if is_up && (ways.contains(&(one, other)) || ways.contains(&(other, one))) {
                under_way.iter_mut().for_each(Direction::cut_short);
                for end in 0..2 {
                    self.end_direction(wire, end);
                }
            }
        }
    }

    /// The network between the nodes is as it should be.
    pub(crate) fn mend_peers(&mut self) {
        let count = self.peers.ways.len();
        for from in 0..count {
            for to in 0..count {
                let way = &mut self.peers.ways[from][to];
                way.cuts = 0;
                way.slow.clear();
                way.stutters.clear();
                if !way.held.is_empty() {
                    self.release_way(from, to);
                }
            }
        }
    }

    /// Whether an event waits for its way to be open.
    pub(crate) fn is_cut_off(&mut self, event: Event) -> bool {
        let Some((from, to)) = self.peers.way_of(event) else { return false };
        let way = self.peers.way_mut(from, to);
        if way.cuts > 0 {
            way.held.push(event);
            return true;
        }
        let halt = way.halt(self.scheduler.time());
        if halt > 0 {
            self.scheduler.after(halt, event);
        }
        halt > 0
    }
}
