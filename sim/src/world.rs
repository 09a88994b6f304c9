//! The world: everything that is not the engine, driven by one queue of events.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use leveret_engine::ids::ConnectionId;
use leveret_engine::input::Input;

use crate::agreement::Agreement;
use crate::availability::Waiting;
use crate::client::{Actor, Surroundings, Wish};
use crate::clock::{MILLISECOND, Micros, SECOND};
use crate::disk::Lane;
use crate::history::{Fact, History};
use crate::lab;
use crate::ledger::Ledger;
use crate::message::Messages;
use crate::mirrors::Mirrors;
use crate::model::Model;
use crate::network::{Link, Telling};
use crate::node::Node;
use crate::nodes::{At, Nodes};
use crate::operator::Operators;
use crate::oracle::Bench;
use crate::peers::Peers;
use crate::plan::{Plan, Role, Topology};
use crate::quiesce::Phase;
use crate::record::{Direction, Recorder};
use crate::replicas::Replicas;
use crate::report::{Failure, Report};
use crate::rng::Fate;
use crate::run::RunOptions;
use crate::scheduler::Scheduler;
use crate::situation::Situations;
use crate::story::Story;
use crate::tap::Tap;
use crate::trace::TraceHash;
use crate::trigger::Triggers;
use crate::workload::Workload;

/// One run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Arc<Plan>,
    pub(crate) topology: Arc<Topology>,
    /// What the clients of each node use of it.
    pub(crate) parts: Vec<Arc<Topology>>,
    /// What clients of all nodes share of it.
    pub(crate) shared: Arc<Topology>,
    pub(crate) scheduler: Scheduler<Event>,
    pub(crate) nodes: Nodes,
    /// What is between the nodes.
    pub(crate) peers: Peers,
    /// What the nodes came to.
    pub(crate) agreement: Agreement,
    /// What their replicas came to.
    pub(crate) replicas: Replicas,
    /// All nodes have come into the cluster.
    pub(crate) is_formed: bool,
    /// The policies by which queues are on several nodes.
    pub(crate) mirrors: Mirrors,
    /// Which node leads the cluster as far as any has said, and since which term.
    pub(crate) leader: Option<(At, u64)>,
    /// The nodes that faults happen to which are meant for the leader.
    pub(crate) victims: BTreeMap<u32, At>,
    /// Faults that wait for something to happen.
    pub(crate) triggers: Triggers,
    /// How long clients have been without what they wait for, where that matters.
    pub(crate) waiting: Waiting,
    pub(crate) operators: Operators,
    pub(crate) links: Vec<Link>,
    pub(crate) taps: Vec<Taps>,
    pub(crate) actors: Vec<Actor>,
    pub(crate) messages: Messages,
    pub(crate) model: Model,
    /// What listens to clients of queues that all nodes share, if there are such.
    pub(crate) ledger: Option<Ledger>,
    /// What judges the run instead of the model, if its queues have rules.
    pub(crate) story: Option<Story>,
    pub(crate) bench: Bench,
    pub(crate) history: History,
    pub(crate) situations: Situations,
    pub(crate) facts: Vec<Fact>,
    pub(crate) trace: TraceHash,
    pub(crate) fates: Fate,
    pub(crate) phase: Phase,
    pub(crate) phase_since: Micros,
    /// Segments of all logs when this was last looked at, and since when there are so many.
    pub(crate) segments: (u64, Micros),
    pub(crate) counts: Counts,
    pub(crate) failure: Option<Failure>,
    /// Where what is drained in the end goes, if somebody wants it: then queues are left by their consumers only when they are empty.
    pub(crate) left: Option<LeftOver>,
    /// What happened, line by line, if that is asked for.
    pub(crate) steps: Option<Vec<String>>,
    pub(crate) options: RunOptions,
    /// Listens, if the run is recorded.
    pub(crate) recorder: Option<Box<Recorder>>,
}

/// Messages that were left in queues at the end, with the queue's name.
pub(crate) type LeftOver = Rc<RefCell<Vec<(String, lab::Message)>>>;

/// Taps on both directions of a connection.
#[derive(Debug)]
pub(crate) struct Taps {
    pub(crate) up: Tap,
    pub(crate) down: Tap,
}

/// How much happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Inputs given to the engine.
    pub(crate) inputs: u64,
    /// Effects that it wanted.
    pub(crate) effects: u64,
    /// Events of the world.
    pub(crate) events: u64,
    /// Boots of the node.
    pub(crate) boots: u64,
    /// Inputs of the same moment that were timeouts, for noticing a clock that does not tick.
    pub(crate) timeouts_here: u32,
}

/// Something that will happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Bytes arrive at the node.
    Up(u32),
    /// Bytes arrive at a client.
    Down(u32),
    /// The node's system took bytes.
    Written(u32),
    /// The node learns that a connection is over.
    PeerGone(u32),
    /// A client learns that its connection is over.
    ClientGone(u32),
    /// The node's driver waits no longer for a client to read.
    GiveUp(u32),
    /// A client wants to be woken.
    Wake(u32),
    /// A disk operation is due, if the node has not ended since.
    Disk(At, u64, Lane),
    /// The engine wants to be woken, if the node has not ended since.
    Timer(At, u64),
    /// A batch of inputs has waited long enough.
    Flush(At, u64),
    /// A node starts.
    Boot(At),
    /// The node may end again, if it is still in its recovery.
    EndAgain(At, u64),
    /// An operator changes the policy.
    Policy(u32),
    /// An operator asks for something.
    Operate(u32),
    /// An operator sets a policy by which a queue that is in use is on several nodes.
    Mirror(u32),
    /// A fault begins.
    Begin(u32),
    /// A fault ends.
    Finish(u32),
    /// Connections that are silent are looked for.
    IdleLook(u32),
    /// The end of the run is looked at.
    Poll,
    /// An attempt of a node to connect to another one arrives.
    Dialed(u32),
    /// Bytes of one node arrive at another: at one end of a connection.
    Inflow(u32, u8),
    /// A node's system took bytes for another node.
    Outflow(u32, u8),
    /// A node's driver waits no longer for the other end to close.
    Forsake(u32, u8),
    /// It is looked at whether publishers get answers and consumers messages.
    Watch,
}

/// Events of the world without progress of time that mean it stands still.
const EVENTS_AT_ONCE_MAX: u32 = 200_000;

impl World {
    /// The world of a plan, at its beginning.
    pub(crate) fn new(plan: Plan, options: RunOptions) -> Self {
        Self::with_workloads(plan, options, BTreeMap::new(), None)
    }

    /// The same with clients, by their number, that do not do what the plan says. What they leave in their queues goes to `left`.
    pub(crate) fn with_workloads(
        plan: Plan,
        options: RunOptions,
        mut workloads: BTreeMap<usize, Box<dyn Workload>>,
        left: Option<LeftOver>,
    ) -> Self {
        let plan = Arc::new(plan);
        let topology = Arc::new(plan.topology.clone());
        let nodes = plan.node_count();
        let parts: Vec<_> = (0..nodes).map(|node| Arc::new(topology.of_node(node, nodes))).collect();
        let shared = Arc::new(topology.shared(nodes));
        let mut model = Model::new(nodes);
        let seed = plan.seed;
        let mut actors = Vec::new();
        for (at, client) in plan.clients.iter().enumerate() {
            let index = u32::try_from(at).expect("few clients");
            let is_sharing = Ledger::is_for(&plan, client);
            let topology = if is_sharing { &shared } else { &parts[client.node] };
            let mut actor = match workloads.remove(&at) {
                Some(workload) => Actor::with_workload(seed, index, client.clone(), workload),
                None => Actor::new(seed, index, client.clone(), topology),
            };
            actor.is_sharing = is_sharing;
            actors.push(actor);
        }
        let mut world = Self {
            nodes: Nodes::new((0..plan.node_count()).map(|at| Node::new(At::new(at), &plan)).collect()),
            peers: Peers::new(seed, plan.node_count(), plan.cluster.as_ref()),
            options,
            agreement: Agreement::default(),
            replicas: Replicas::default(),
            is_formed: false,
            mirrors: Mirrors::new(&plan),
            leader: None,
            victims: BTreeMap::new(),
            triggers: Triggers::new(&plan),
            waiting: Waiting::default(),
            operators: Operators::default(),
            scheduler: Scheduler::new(seed),
            links: Vec::new(),
            taps: Vec::new(),
            actors,
            messages: Messages::default(),
            ledger: Ledger::new(&plan, &mut model),
            model,
            story: plan.is_story.then(|| Story::new(&plan)),
            bench: Bench::new(plan.beyond_claim),
            history: History::new(),
            situations: Situations::new(),
            facts: Vec::new(),
            trace: TraceHash::new(),
            fates: Fate::new(seed, "world"),
            phase: Phase::Chaos,
            phase_since: 0,
            segments: (0, 0),
            counts: Counts::default(),
            failure: None,
            left,
            steps: None,
            recorder: None,
            parts,
            shared,
            topology,
            plan,
        };
        for at in world.nodes.all() {
            world.scheduler.at(0, Event::Boot(at));
        }
        for client in 0..world.actors.len() {
            world.schedule_wake(u32::try_from(client).expect("few clients"));
        }
        for (index, fault) in world.plan.faults.iter().enumerate() {
            if fault.on.is_none() {
                world.scheduler.at(fault.at_us, Event::Begin(u32::try_from(index).expect("few faults")));
            }
        }
        for (index, policy) in world.plan.policies.iter().enumerate() {
            world.scheduler.at(policy.at_us, Event::Policy(u32::try_from(index).expect("few policies")));
        }
        for (index, operation) in world.plan.operations.iter().enumerate() {
            world.scheduler.at(operation.at_us, Event::Operate(u32::try_from(index).expect("few operations")));
        }
        let later = world.plan.topology.queues.iter().filter_map(|queue| queue.rules.mirrored_later);
        for (index, (after_ms, _)) in (0..).zip(later) {
            world.scheduler.at(Micros::from(after_ms) * MILLISECOND, Event::Mirror(index));
        }
        world.scheduler.at(world.plan.chaos_us, Event::Poll);
        if world.plan.longest_unavailability_us.is_some() {
            world.scheduler.at(0, Event::Watch);
        }
        world
    }

    /// Runs to the end: until all is checked, or a promise is broken.
    pub(crate) fn run(&mut self) {
        let horizon = self.plan.chaos_us + 4 * self.plan.settle_us + 600 * SECOND;
        let mut here = 0;
        let mut last_time = 0;
        while self.failure.is_none() && self.phase != Phase::Done {
            let Some(event) = self.scheduler.next(horizon) else {
                self.fail(Failure::liveness("nothing is left to happen and the run is not over"));
                break;
            };
            let time = self.scheduler.time();
            here = if time == last_time { here + 1 } else { 0 };
            if time != last_time {
                self.counts.timeouts_here = 0;
            }
            last_time = time;
            if here > EVENTS_AT_ONCE_MAX {
                self.fail(Failure::liveness("time stands still"));
                break;
            }
            self.counts.events += 1;
            let facts = self.history.total();
            if let Some(ledger) = &mut self.ledger {
                ledger.at(time);
            }
            self.happen(event);
            if self.options.wrinkle.is_some() {
                self.disturb();
            }
            self.judge();
            if self.steps.is_some() {
                self.note_step(time, event, facts);
            }
        }
    }

    /// What came of it.
    pub(crate) fn report(&mut self) -> Report {
        Report {
            scenario: self.plan.scenario.clone(),
            seed: self.plan.seed,
            failure: self.failure.take(),
            expected: self.plan.fails.clone(),
            time: self.scheduler.time(),
            trace: self.trace.value(),
            counts: self.counts,
            disk: self.nodes.iter().map(|node| node.disk.counts()).sum(),
            messages: self.messages.len() as u64,
            facts: self.history.total(),
            judged: self.bench.judged().collect(),
            situations: self.situations.iter().collect(),
        }
    }

    fn happen(&mut self, event: Event) {
        if self.is_held(event) || self.is_on_its_way(event) || self.is_cut_off(event) {
            return;
        }
        match event {
            Event::Up(link) => self.arrive_up(link),
            Event::Down(link) => self.arrive_down(link),
            Event::Written(link) => self.tell_written(link),
            Event::PeerGone(link) => self.peer_gone(link),
            Event::ClientGone(link) => self.client_gone(link),
            Event::GiveUp(link) => self.peer_gone(link),
            Event::Wake(client) => self.wake(client),
            Event::Disk(at, boot, lane) => self.disk_due(at, boot, lane),
            Event::Timer(at, boot) => self.timer_due(at, boot),
            Event::Flush(at, boot) => self.flush_due(at, boot),
            Event::Boot(at) => self.boot(at),
            Event::EndAgain(at, boot) => self.end_again(at, boot),
            Event::Policy(index) => self.change_policy(index),
            Event::Operate(index) => self.operate(index),
            Event::Mirror(index) => self.mirror_later(index),
            Event::Begin(fault) => self.begin_fault(fault),
            Event::Finish(fault) => self.finish_fault(fault),
            Event::IdleLook(fault) => self.look_for_idle(fault),
            Event::Poll => self.poll(),
            Event::Dialed(dial) => self.dialed(dial),
            Event::Inflow(wire, end) => self.inflow(wire, end),
            Event::Outflow(wire, end) => self.outflow(wire, end),
            Event::Forsake(wire, end) => self.forsake(wire, end),
            Event::Watch => self.watch(),
        }
    }

    /// Shows new facts to the oracles.
    fn judge(&mut self) {
        self.model.take_facts(&mut self.facts);
        if let Some(ledger) = &mut self.ledger {
            ledger.take_facts(&mut self.facts);
        }
        if let Some(story) = &mut self.story {
            story.take_facts(&mut self.facts);
        }
        if self.facts.is_empty() {
            return;
        }
        let time = self.scheduler.time();
        let mut facts = std::mem::take(&mut self.facts);
        for fact in &facts {
            self.history.push(time, fact);
            self.situations.note(fact);
            if self.triggers.is_armed() {
                self.trigger_by_fact(fact);
            }
            let (model, story) = (&self.model, &self.story);
            let name = |queue| story.as_ref().map_or_else(|| model.queue_name(queue), |story| story.queue_name(queue));
            if let Some(recorder) = &mut self.recorder {
                recorder.fact(time, fact, name);
            }
            if self.failure.is_none()
                && let Some((oracle, text)) = self.bench.judge(fact)
            {
                if let Some(recorder) = &mut self.recorder {
                    recorder.objection(time, fact, oracle, &text, name);
                }
                let lines = match self.options.last_facts {
                    Some(count) => self.history.last(count),
                    None => self.history.relevant(fact, 20),
                };
                let mut failure = Failure::safety(oracle, text, &lines);
                let names = self.story.as_ref().map_or_else(|| self.model.queue_names(), Story::queue_names);
                failure.lines.push(format!("queues: {names}"));
                if let Fact::Known { .. } = fact {
                    failure.lines.extend(self.agreement.difference.iter().cloned());
                }
                self.failure = Some(failure);
            }
        }
        facts.clear();
        self.facts = facts;
    }

    pub(crate) fn fail(&mut self, failure: Failure) {
        if self.failure.is_none() {
            if let Some(recorder) = &mut self.recorder {
                recorder.failed(self.scheduler.time(), &failure);
            }
            let lines = self.history.last(self.options.last_facts.unwrap_or(20));
            self.failure = Some(failure.with_lines(&lines));
        }
    }

    // --- the network

    fn arrive_up(&mut self, number: u32) {
        let link = &mut self.links[number as usize];
        let at = link.node;
        link.up.is_due = false;
        if !link.is_open_at_node || link.up.is_stopped || link.is_cut {
            return;
        }
        link.active_at = self.scheduler.time();
        let bytes = link.arrive_up();
        let client = link.client;
        let has_room = link.has_room_up();
        if !link.up.is_empty() {
            let pause = link.pause_after(bytes.len());
            link.up.is_due = true;
            self.scheduler.after(pause, Event::Up(number));
        } else if link.fin_after_up {
            self.scheduler.after(1, Event::PeerGone(number));
        }
        if !bytes.is_empty() {
            if let Some(recorder) = &mut self.recorder {
                recorder.arrived(self.scheduler.time(), number, Direction::Up, &bytes);
            }
            let (model, messages) = (&mut self.model, &self.messages);
            let (story, time) = (&mut self.story, self.nodes[at].clock.node_time(self.scheduler.time()));
            let ledger = self.ledger.as_mut().filter(|_| self.actors[client as usize].is_sharing);
            let mut ledger = ledger;
            self.taps[number as usize].up.hear(&bytes, |channel, said| match (&mut ledger, story.as_mut()) {
                (Some(ledger), _) => ledger.client_says(number, channel, said),
                (None, Some(story)) => {
                    story.at(time);
                    story.client_says(number, channel, said, messages);
                }
                (None, None) => model.client_says(number, channel, said, messages),
            });
            self.input(at, Input::ClientReceived { connection: connection(number), bytes });
        }
        if has_room && self.actors[client as usize].link == Some(number) {
            self.actors[client as usize].has_room(self.scheduler.time());
            self.schedule_wake(client);
        }
    }

    fn arrive_down(&mut self, number: u32) {
        let link = &mut self.links[number as usize];
        link.down.is_due = false;
        if link.down.is_stopped || link.is_cut || !link.is_open_at_client {
            return;
        }
        link.active_at = self.scheduler.time();
        let bytes = link.arrive_down();
        let (client, at) = (link.client, link.node);
        let has_room = link.has_room_up();
        if !link.down.is_empty() {
            let pause = link.pause_after(bytes.len());
            link.down.is_due = true;
            self.scheduler.after(pause, Event::Down(number));
        } else if link.close_after_down && link.is_open_at_node {
            self.scheduler.after(1, Event::PeerGone(number));
        }
        self.schedule_written(number);
        if bytes.is_empty() {
            return;
        }
        let now = self.scheduler.time();
        if let Some(recorder) = &mut self.recorder {
            recorder.arrived(now, number, Direction::Down, &bytes);
        }
        let surroundings = Surroundings {
            messages: &mut self.messages,
            facts: &mut self.facts,
            topology: if self.actors[client as usize].is_sharing { &self.shared } else { &self.parts[at.number()] },
            has_room,
        };
        let wish = self.actors[client as usize].receive(now, bytes, surroundings);
        self.after_client(client, wish);
    }

    pub(crate) fn schedule_written(&mut self, number: u32) {
        let link = &mut self.links[number as usize];
        let node = &self.nodes[link.node];
        if !link.is_open_at_node || link.telling == Telling::Due {
            return;
        }
        if node.knobs.tells_late && link.is_little_untold(node.knobs.outbox_low_bytes) {
            return;
        }
        let place = match link.telling {
            Telling::Kept(place) if !self.scheduler.is_past(place) => place,
            Telling::No | Telling::Kept(_) | Telling::Due => self.scheduler.keep_place(2),
        };
        // What is held back on its way counts, whether or not it tells something.
        if link.has_newly_written() || node.held.is_some() || node.outage.is_cut_up() {
            link.telling = Telling::Due;
            self.scheduler.fill(place, Event::Written(number));
        } else {
            link.telling = Telling::Kept(place);
        }
    }

    /// From here on events may be held back on their way to a node: those that would tell nothing become events too.
    pub(crate) fn schedule_kept(&mut self, at: At) {
        for (number, link) in self.links.iter_mut().enumerate() {
            if link.node == at
                && let Telling::Kept(place) = link.telling
                && !self.scheduler.is_past(place)
            {
                link.telling = Telling::Due;
                self.scheduler.fill(place, Event::Written(u32::try_from(number).expect("few connections")));
            }
        }
    }

    /// A node is about to be told that its time has come: before that it hears of all that was written.
    pub(crate) fn tell_what_is_late(&mut self, at: At) {
        if !self.nodes[at].knobs.tells_late {
            return;
        }
        for number in 0..self.links.len() {
            if self.links[number].node == at && self.links[number].telling != Telling::Due {
                self.tell_written(u32::try_from(number).expect("few connections"));
            }
        }
        self.tell_what_is_late_of_peers(at);
    }

    fn tell_written(&mut self, number: u32) {
        let link = &mut self.links[number as usize];
        let at = link.node;
        link.telling = Telling::No;
        if !link.is_open_at_node {
            return;
        }
        let bytes = link.newly_written();
        if bytes > 0 {
            self.input(at, Input::ClientWritten { connection: connection(number), bytes });
        }
    }

    /// The node learns that a connection is over.
    pub(crate) fn peer_gone(&mut self, number: u32) {
        let link = &mut self.links[number as usize];
        let at = link.node;
        if !link.is_open_at_node {
            return;
        }
        link.is_open_at_node = false;
        if link.is_open_at_client {
            let latency = link.latency();
            self.scheduler.after(latency, Event::ClientGone(number));
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.closed(self.scheduler.time(), number, Direction::Up);
        }
        self.model.disconnected(number);
        if let Some(ledger) = &mut self.ledger {
            ledger.disconnected(number);
        }
        if let Some(story) = &mut self.story {
            story.disconnected(number);
        }
        self.input(at, Input::ClientClosed { connection: connection(number) });
    }

    fn client_gone(&mut self, number: u32) {
        let link = &mut self.links[number as usize];
        if !link.is_open_at_client {
            return;
        }
        link.is_open_at_client = false;
        let client = link.client;
        self.lose_client(client, number);
    }

    fn lose_client(&mut self, client: u32, number: u32) {
        if let Some(recorder) = &mut self.recorder {
            recorder.closed(self.scheduler.time(), number, Direction::Down);
        }
        let actor = &mut self.actors[client as usize];
        if actor.link == Some(number) {
            actor.lost(self.scheduler.time());
            self.schedule_wake(client);
        }
    }

    /// Ends a client's connection from its side: in order, or at once with what is under way.
    pub(crate) fn hang_up(&mut self, client: u32, in_order: bool) {
        let Some(number) = self.actors[client as usize].link else { return };
        let link = &mut self.links[number as usize];
        link.is_open_at_client = false;
        if in_order {
            link.fin_after_up = true;
            if !link.up.is_due && !link.up.is_stopped {
                link.up.is_due = true;
                let latency = link.latency();
                self.scheduler.after(latency, Event::Up(number));
            }
        } else {
            // Some of it may still arrive, cut anywhere.
            let latency = link.latency();
            let bytes = link.arrive_up();
            link.up.clear();
            if latency & 1 == 0 {
                link.up.push(bytes);
            }
            self.scheduler.after(latency + 25, Event::PeerGone(number));
        }
        self.lose_client(client, number);
    }

    // --- clients

    fn wake(&mut self, client: u32) {
        let now = self.scheduler.time();
        let actor = &mut self.actors[client as usize];
        if actor.scheduled != Some(now) {
            return;
        }
        actor.scheduled = None;
        if let Some(number) = actor.link {
            let surroundings = Surroundings {
                messages: &mut self.messages,
                facts: &mut self.facts,
                topology: if actor.is_sharing { &self.shared } else { &self.parts[actor.plan.node] },
                has_room: self.links[number as usize].has_room_up(),
            };
            let wish = actor.wake(now, surroundings);
            self.after_client(client, wish);
        } else if actor.wants_connection(now) {
            self.connect(client);
        } else if actor.next_wake().is_some_and(|wake| wake > now) {
            // What it was to wake for went with its connection.
            self.schedule_wake(client);
        }
    }

    fn connect(&mut self, client: u32) {
        let now = self.scheduler.time();
        let at = self.actors[client as usize].node();
        let comes_too_early = self.actors[client as usize].is_sharing
            && !(self.has_all_nodes(at) && self.has_mirrors(at) && self.has_homes(at, client));
        if !self.nodes[at].is_accepting() || self.nodes[at].outage.is_refusing() || comes_too_early {
            self.actors[client as usize].refused(now);
            self.schedule_wake(client);
            return;
        }
        if self.is_unanswered(at, client) {
            return;
        }
        let number = u32::try_from(self.links.len()).expect("few connections");
        let plan = self.actors[client as usize].plan.link.clone();
        let mut link = Link::new(self.plan.seed, client, at, number, plan);
        (link.active_at, link.extra) = (now, self.nodes[at].outage.extra());
        self.links.push(link);
        self.taps.push(Taps { up: Tap::of_client(), down: Tap::of_node() });
        self.actors[client as usize].connected(number);
        match self.ledger.as_mut().filter(|_| self.actors[client as usize].is_sharing) {
            Some(ledger) => ledger.connected(client, at, number),
            None => self.model.connected(client, at, number),
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.about(at);
            recorder.opened(now, client, number);
        }
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 40_000));
        let local = std::net::SocketAddr::from(([127, 0, 0, 1], 5672));
        self.input(at, Input::ClientOpened { connection: connection(number), peer, local });
        self.after_client(client, Wish::Stay);
    }

    /// Whether all nodes are in the cluster, as a node knows it. A queue has its replicas on those that are when it is declared.
    fn has_all_nodes(&mut self, at: At) -> bool {
        if !self.is_formed {
            let engine = self.nodes[at].engine.as_ref();
            self.is_formed = engine.is_some_and(|engine| engine.cluster_nodes().len() == self.plan.node_count());
        }
        self.is_formed
    }

    /// Whether a node knows all classic queues that clients of all nodes use, each of which a client of its node declares.
    fn has_homes(&self, at: At, client: u32) -> bool {
        if let Role::Churner(_) = self.actors[client as usize].plan.role {
            return true;
        }
        let nodes = self.plan.node_count();
        let mut remote = self.plan.topology.queues.iter().filter(|queue| queue.is_remote(nodes)).peekable();
        if remote.peek().is_none() {
            return true;
        }
        let engine = self.nodes[at].engine.as_ref();
        let known: Vec<String> = engine.iter().flat_map(|it| it.declared_queues()).map(|(name, _)| name).collect();
        remote.all(|queue| known.contains(&queue.name))
    }

    /// Carries out what a client said and wished.
    fn after_client(&mut self, client: u32, wish: Wish) {
        let actor = &mut self.actors[client as usize];
        if let Some(number) = actor.link {
            let bytes = actor.take_output();
            let link = &mut self.links[number as usize];
            if !bytes.is_empty() {
                if let Some(recorder) = &mut self.recorder {
                    recorder.sent(self.scheduler.time(), number, Direction::Up, &bytes);
                }
                link.up.push(bytes);
                if !link.up.is_due && !link.up.is_stopped {
                    link.up.is_due = true;
                    let latency = link.latency();
                    self.scheduler.after(latency, Event::Up(number));
                }
            }
        }
        match wish {
            Wish::Stay => self.schedule_wake(client),
            Wish::Close => self.hang_up(client, true),
            Wish::Crash => self.hang_up(client, false),
        }
    }

    pub(crate) fn schedule_wake(&mut self, client: u32) {
        let now = self.scheduler.time();
        let actor = &mut self.actors[client as usize];
        if let Some(wake) = actor.next_wake() {
            let wake = wake.max(now);
            if actor.scheduled.is_none_or(|scheduled| wake < scheduled || scheduled < now) {
                actor.scheduled = Some(wake);
                self.scheduler.at(wake, Event::Wake(client));
            }
        }
    }
}

/// The engine's name of a connection.
pub(crate) fn connection(number: u32) -> ConnectionId {
    ConnectionId(u64::from(number) + 1)
}

/// How long the node's driver waits for a client to take its last bytes.
pub(crate) const CLOSE_PATIENCE: Micros = 3000 * MILLISECOND;
