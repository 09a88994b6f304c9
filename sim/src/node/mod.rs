//! A node: the real engine, its disk and its clocks, and the driver that carries inputs in and effects out.

mod life;

use std::collections::VecDeque;

use leveret_engine::effect::{ClientControl, ClientSend, DiskOp, DiskRequest, Effects, Stop};
use leveret_engine::engine::{Engine, LogReach, QueueStatus, Usage};
use leveret_engine::event::Event as EngineEvent;
use leveret_engine::ids::{AdminId, ConnectionId, Lsn};
use leveret_engine::input::{DiskOutcome, Input};
use leveret_engine::management::{AdminAnswer, PolicyInfo, PolicyRequest};
use leveret_engine::metadata::PolicyKind;
use leveret_engine::time::Now;

use crate::clock::{Micros, NodeClock};
use crate::disk::{Lane, SimDisk};
use crate::fault::Shortages;
use crate::nodes::At;
use crate::outage::Outage;
use crate::plan::{Durability, Ending, Knobs, Moment, Plan};
use crate::record::{Direction, NodeState};
use crate::report::Failure;
use crate::rng::{Fate, scale};
use crate::situation::Situation;
use crate::trace::trace_op;
use crate::world::{CLOSE_PATIENCE, Event, World};

/// The lengths of a story's queues are looked at once in so many steps.
const STEPS_PER_LOOK: u64 = 8;

/// See [`Node::idle_segments`].
const PARTLY_FILLED_SEGMENTS: u64 = 3;

/// One node over all its boots.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: At,
    /// Its name among nodes.
    pub(crate) name: String,
    /// Its machine has no power.
    pub(crate) is_dark: bool,
    pub(crate) engine: Option<Box<Engine>>,
    pub(crate) disk: SimDisk,
    pub(crate) shortages: Shortages,
    /// What is wrong between it and its clients.
    pub(crate) outage: Outage,
    /// Its own chances.
    fates: Fate,
    pub(crate) boot: u64,
    pub(crate) clock: NodeClock,
    /// Its settings at the moment, and those of its next boot if they are others.
    pub(crate) knobs: Knobs,
    pub(crate) next_knobs: Option<Box<Knobs>>,
    /// What came while the process got no time; `None` while it gets some.
    pub(crate) held: Option<Vec<Event>>,
    effects: Effects,
    /// Inputs since the last flush.
    batch: u32,
    flush_is_due: bool,
    timer: Option<Micros>,
    is_ready: bool,
    pub(crate) is_stopping: bool,
    /// Whether its program speaks the lowest version of the protocol between nodes only.
    is_old: bool,
    /// How often, and how, it is to end again while it recovers.
    pub(crate) again: (u32, Ending),
    /// Failures of the disk until its boot.
    failures: u64,
    steps: u64,
    /// Changes of the cluster that it has carried out, each with where its log ended then, as far as a loss of power may take it.
    pub(crate) carried_out: VecDeque<(u64, u64)>,
    /// The last one since its boot.
    pub(crate) applied: Option<u64>,
    /// Whether its data was damaged at some time and put aside.
    has_given_up: bool,
    /// Whether an operator has it give up what nobody else has.
    gives_up: bool,
}

impl Node {
    /// The node of that number, before its first boot.
    pub(crate) fn new(at: At, plan: &Plan) -> Self {
        // Each has its own fates, and the first those that a single one has.
        let seed = plan.seed ^ ((at.number() as u64) << 56);
        let ahead = plan.cluster.as_ref().and_then(|cluster| cluster.clocks_ahead_ms.get(at.number()));
        let mut clock = NodeClock::new(0, 0);
        clock.jump(ahead.copied().unwrap_or(0));
        Self {
            at,
            name: name_of(at),
            is_dark: false,
            disk: SimDisk::new(seed, plan.disk.clone()),
            shortages: Shortages::default(),
            outage: Outage::default(),
            fates: Fate::new(seed, "world"),
            knobs: plan.knobs.clone(),
            next_knobs: None,
            held: None,
            engine: None,
            boot: 0,
            clock,
            effects: Effects::default(),
            batch: 0,
            flush_is_due: false,
            timer: None,
            is_ready: false,
            is_stopping: false,
            is_old: plan.cluster.as_ref().is_some_and(|cluster| cluster.upgrades),
            again: (0, Ending::Kill),
            failures: 0,
            steps: 0,
            carried_out: VecDeque::new(),
            applied: None,
            has_given_up: false,
            gives_up: false,
        }
    }

    /// A number for how long it takes to come back.
    pub(crate) fn chance_of_return(&self, boot: u64) -> u64 {
        self.fates.of(7, boot)
    }

    /// Whether clients can connect.
    pub(crate) fn is_accepting(&self) -> bool {
        self.is_ready && !self.is_stopping && self.engine.is_some()
    }

    /// It ended: of the changes that it had carried out, it remembers those that are in its log up to `kept`.
    fn forget_changes(&mut self, kept: u64) {
        self.carried_out.retain(|(_, end)| *end <= kept);
        self.applied = None;
    }

    /// What it holds; nothing while it is away.
    pub(crate) fn usage(&self) -> Usage {
        self.engine.as_ref().map(|engine| engine.usage()).unwrap_or_default()
    }

    /// Segments of its log, without those that the cluster's part of it may take: what is live twice, the slack, and some that are not
    /// full, since the next record would not have fitted.
    pub(crate) fn idle_segments(&self) -> u64 {
        let Usage { log_segments, log_live_bytes, .. } = self.usage();
        let is_alone = self.engine.as_ref().is_none_or(|engine| engine.shared_applied().is_none());
        let of_cluster = 2 * log_live_bytes + self.knobs.slack_bytes;
        let of_cluster = of_cluster.div_ceil(self.knobs.segment_bytes) + PARTLY_FILLED_SEGMENTS;
        log_segments.saturating_sub(if is_alone { 0 } else { of_cluster })
    }

    /// The queues that are on it; none while it is away.
    pub(crate) fn queues(&self) -> Vec<QueueStatus> {
        self.engine.as_ref().map(|engine| engine.queues()).unwrap_or_default()
    }

    /// Whether it is up and has recovered.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready
    }
}

impl World {
    /// Gives the engine an input, and flushes if the batch is full.
    pub(crate) fn input(&mut self, at: At, input: Input) {
        let time = self.scheduler.time();
        if self.nodes[at].engine.is_none() {
            return;
        }
        self.counts.inputs += 1;
        self.model.input(at);
        if let Some(recorder) = &mut self.recorder {
            recorder.about(at);
        }
        if let (Some(recorder), Input::Shutdown) = (&mut self.recorder, &input) {
            recorder.node_is(time, NodeState::Stopping);
        }
        self.trace.word(time);
        if self.plan.cluster.is_some() {
            self.trace.word(at.number() as u64);
        }
        match &input {
            Input::ClientOpened { connection, .. } => {
                self.trace.word(1 << 56 | connection.0);
            }
            Input::ClientReceived { connection, bytes } => {
                self.trace.word(2 << 56 | connection.0);
                self.trace.bytes(bytes);
            }
            Input::ClientWritten { connection, bytes } => {
                self.trace.word(3 << 56 | connection.0);
                self.trace.word(*bytes as u64);
            }
            Input::ClientClosed { connection } => self.trace.word(4 << 56 | connection.0),
            Input::DiskDone { op, outcome } => {
                self.trace.word(5 << 56 | op.0);
                match outcome {
                    DiskOutcome::Segments(segments) => self.trace.word(segments.len() as u64),
                    DiskOutcome::Done => {}
                    DiskOutcome::Data(bytes) => self.trace.bytes(bytes),
                }
            }
            Input::DiskFailed { op, .. } => self.trace.word(6 << 56 | op.0),
            Input::Admin { id, request } => {
                self.trace.word(9 << 56 | id.0);
                self.trace.bytes(format!("{request:?}").as_bytes());
            }
            Input::PeerOpened { link, .. } => self.trace.word(12 << 56 | link.0),
            Input::PeerUnreachable { name } => self.trace.bytes(name.as_bytes()),
            Input::PeerReceived { link, bytes } => {
                self.trace.word(13 << 56 | link.0);
                self.trace.bytes(bytes);
            }
            Input::PeerWritten { link, bytes } => {
                self.trace.word(14 << 56 | link.0);
                self.trace.word(*bytes as u64);
            }
            Input::PeerClosed { link } => self.trace.word(15 << 56 | link.0),
            Input::Timeout => self.trace.word(7 << 56),
            Input::Shutdown => self.trace.word(8 << 56),
            Input::ResourceLevel(level) => {
                self.trace.word(9 << 56);
                self.trace.word(level.memory_bytes);
                self.trace.word(level.disk_free_bytes);
            }
        }
        let node = &mut self.nodes[at];
        let Some(engine) = &mut node.engine else { return };
        let now = node.clock.now(time);
        engine.handle(now, input, &mut node.effects);
        node.batch += 1;
        if node.batch >= node.knobs.batch_inputs {
            self.flush(at, now);
        } else if !node.flush_is_due {
            node.flush_is_due = true;
            self.scheduler.after(node.knobs.batch_us, Event::Flush(at, node.boot));
        }
    }

    pub(crate) fn flush_due(&mut self, at: At, boot: u64) {
        if boot == self.nodes[at].boot && self.nodes[at].engine.is_some() {
            self.nodes[at].flush_is_due = false;
            if self.nodes[at].batch > 0 {
                self.flush(at, self.nodes[at].clock.now(self.scheduler.time()));
            }
        }
    }

    /// Ends the batch and carries out what the engine wants.
    fn flush(&mut self, at: At, now: Now) {
        let time = self.scheduler.time();
        let node = &mut self.nodes[at];
        let Some(engine) = &mut node.engine else { return };
        if let Some(recorder) = &mut self.recorder {
            recorder.about(at);
        }
        engine.flush(now, &mut node.effects);
        let mut is_newly_ready = false;
        node.batch = 0;
        node.steps += 1;
        if node.steps.is_multiple_of(self.options.check_every) {
            engine.check_invariants();
        }
        if !node.is_ready && engine.is_ready() {
            node.is_ready = true;
            node.again.0 = 0;
            self.model.ready(at);
            if let Some(recorder) = &mut self.recorder {
                recorder.node_is(time, NodeState::Ready);
            }
            is_newly_ready = true;
            if self.triggers.is_armed() {
                let queues = engine.queues();
                self.triggers.know(queues.iter().map(|queue| (queue.id.0, &*queue.name)));
                self.triggers.note(&mut self.scheduler, Moment::Ready, None, 0);
            }
        }
        let Effects { sends, controls, disk, events, .. } = &node.effects;
        self.counts.effects += (sends.len() + controls.len() + disk.len() + events.len()) as u64;
        let reach = match self.plan.cluster {
            None => engine.log_reach(),
            // What it has asked for is carried out by no position of its log: either something is still under way, or nothing is.
            Some(_) if engine.has_asked_cluster() => LogReach { end: Lsn(1), durable: Lsn(0) },
            Some(_) => LogReach { end: Lsn(0), durable: Lsn(u64::MAX) },
        };
        let durable = node.disk.durable();
        let safe = match node.knobs.durability {
            Durability::Fsync => durable,
            Durability::Os => node.disk.written(),
        };
        self.heed_all(at);
        if self.plan.cluster.is_some() {
            self.compare(at);
            self.compare_replicas(at);
        }
        if !self.nodes[at].effects.sends.is_empty() {
            let mut sends = std::mem::take(&mut self.nodes[at].effects.sends);
            sends.drain(..).for_each(|send| self.send(at, send, safe));
            self.nodes[at].effects.sends = sends;
        }
        if !self.nodes[at].effects.controls.is_empty() {
            let mut controls = std::mem::take(&mut self.nodes[at].effects.controls);
            controls.drain(..).for_each(|control| self.control(control));
            self.nodes[at].effects.controls = controls;
        }
        let Effects { peers, peer_controls, .. } = &mut self.nodes[at].effects;
        if !(peers.is_empty() && peer_controls.is_empty()) {
            let (peers, peer_controls) = (std::mem::take(peers), std::mem::take(peer_controls));
            self.deal_with_peers(at, peers, peer_controls);
        }
        if !self.nodes[at].effects.disk.is_empty() {
            let mut disk = std::mem::take(&mut self.nodes[at].effects.disk);
            disk.drain(..).for_each(|request| self.submit(at, request));
            self.nodes[at].effects.disk = disk;
        }
        if !self.nodes[at].effects.admin.is_empty() {
            let answers = std::mem::take(&mut self.nodes[at].effects.admin);
            answers.iter().for_each(|answer| self.administered(answer));
        }
        self.model.end_step(at, durable, reach);
        self.end_ledger_step(at);
        self.end_story_step(at);
        self.record_look(false);
        match self.nodes[at].effects.stop.take() {
            Some(Stop::Clean) => {
                self.end_node(at, Ending::Shutdown, false);
                self.scheduler.after(self.nodes[at].fates.of(3, self.nodes[at].boot) % 100_000, Event::Boot(at));
            }
            Some(Stop::Damaged(_)) => self.gave_up(at),
            Some(Stop::Fatal(text)) => self.stopped_by_itself(at, &text),
            None => self.schedule_timer(at),
        }
        if is_newly_ready && let (Some(story), Some(engine)) = (&mut self.story, &self.nodes[at].engine) {
            for queue in engine.queues() {
                story.queue_is(queue.id.0, &queue.name);
            }
            self.measure(at);
        } else if is_newly_ready && self.ledger.is_some() && self.nodes[at].shortages.is_any() {
            self.measure(at);
        }
    }

    /// Tells the story that a step is over; now and then it looks at how long the queues are.
    fn end_story_step(&mut self, at: At) {
        let (Some(story), Some(engine)) = (&mut self.story, &self.nodes[at].engine) else { return };
        story.at(self.nodes[at].clock.node_time(self.scheduler.time()));
        story.end_step();
        if self.nodes[at].is_ready && self.nodes[at].steps.is_multiple_of(STEPS_PER_LOOK) {
            let queues = engine.queues();
            story.look(queues.iter().map(|queue| (&*queue.name, queue.ready, queue.consumers)));
        }
    }

    /// Shows the recorder what all nodes hold, if it is time or `is_due`.
    pub(crate) fn record_look(&mut self, is_due: bool) {
        let time = self.scheduler.time();
        let Some(recorder) = self.recorder.as_mut().filter(|recorder| is_due || recorder.wants_look(time)) else {
            return;
        };
        let ready: Vec<&Node> = self.nodes.iter().filter(|node| node.is_ready && node.engine.is_some()).collect();
        if ready.is_empty() {
            return recorder.look_at_nothing(time);
        }
        let queues: Vec<QueueStatus> = ready.iter().flat_map(|node| node.queues()).collect();
        let usage = ready.iter().map(|node| node.usage()).fold(Usage::default(), |one, other| Usage {
            connections: one.connections + other.connections,
            channels: one.channels + other.channels,
            body_bytes: one.body_bytes + other.body_bytes,
            outbox_bytes: one.outbox_bytes + other.outbox_bytes,
            log_segments: one.log_segments + other.log_segments,
            log_bytes: one.log_bytes + other.log_bytes,
            log_live_bytes: one.log_live_bytes + other.log_live_bytes,
        });
        recorder.look(time, &queues, usage);
    }

    /// An operator changes the policy.
    pub(crate) fn change_policy(&mut self, index: u32) {
        let at = At::FIRST;
        if !self.nodes[at].is_accepting() {
            return;
        }
        let length_max = self.plan.policies[index as usize].length_max;
        if let Some(story) = &mut self.story {
            story.policy_asked();
        }
        let (kind, vhost, name) = (PolicyKind::User, "/".to_owned(), "limit".to_owned());
        let request = match length_max {
            None => PolicyRequest::Clear { kind, vhost, name },
            Some(limit) => {
                let definition = [("max-length".to_owned(), limit.into())].into_iter().collect();
                let (pattern, apply_to) = ("^w".to_owned(), "queues".to_owned());
                PolicyRequest::Set {
                    kind,
                    policy: PolicyInfo { vhost, name, pattern, apply_to, definition, priority: 0 },
                }
            }
        };
        self.input(at, Input::Admin { id: AdminId(u64::from(index)), request: Box::new(request.into()) });
    }

    /// What the operator was answered.
    fn administered(&mut self, answer: &AdminAnswer) {
        if self.mirrors_told(answer) || self.operator_told(answer) {
            return;
        }
        let index = usize::try_from(answer.id.0).expect("few policies");
        // Clearing what is not there is an error, and not there is what it then is.
        let is_clear = self.plan.policies.get(index).is_some_and(|policy| policy.length_max.is_none());
        if let (Some(story), Some(policy)) = (&mut self.story, self.plan.policies.get(index))
            && (answer.reply.is_ok() || is_clear)
        {
            story.policy_is(policy.length_max);
        }
    }

    /// Heeds what the engine says that it did.
    fn heed_all(&mut self, at: At) {
        if self.nodes[at].effects.events.is_empty() {
            return;
        }
        let mut events = std::mem::take(&mut self.nodes[at].effects.events);
        let mut settled = None;
        for event in events.drain(..) {
            if let EngineEvent::Settled { lsn, .. } = &event {
                settled = settled.max(*lsn);
            }
            self.heed(at, &event);
            if self.triggers.is_armed() {
                self.trigger_by_event(&event);
            }
        }
        self.nodes[at].effects.events = events;
        if let Some(lsn) = settled {
            self.model.settled(at, lsn.0);
        }
    }

    fn heed(&mut self, at: At, event: &EngineEvent) {
        if let Some(recorder) = &mut self.recorder {
            recorder.engine_says(self.scheduler.time(), event);
        }
        if let Some(story) = &mut self.story {
            match event {
                EngineEvent::Enqueued {
                    queue,
                    seq,
                    publisher: Some((connection, channel)),
                    seqno: Some(seqno),
                    ..
                } => story.enqueued((number(*connection), channel.0), seqno.0, (queue.0, seq.0)),
                EngineEvent::Enqueued { queue, seq, .. } => story.occupied((queue.0, seq.0)),
                EngineEvent::QueueCreated { queue, name, .. } => story.queue_is(queue.0, name),
                EngineEvent::Left { queue, seq, reason, .. } => story.left((queue.0, seq.0), (*reason).into()),
                EngineEvent::Settled { queue, seq, .. } => story.settled((queue.0, seq.0)),
                _ => {}
            }
        }
        match event {
            // What comes from another node has no number here, nor the world's connection.
            EngineEvent::Enqueued {
                lsn: Some(lsn),
                publisher: Some((connection, channel)),
                seqno: Some(seqno),
                ..
            } => {
                self.model.logged(number(*connection), channel.0, Some(seqno.0), lsn.0);
            }
            EngineEvent::ClusterLeader { leader: Some(leader), term } => self.leads(leader, *term),
            EngineEvent::PeerDown { name: Some(name), .. } => self.part(at, name),
            EngineEvent::BecomesReplicated { queue, .. } => {
                if let Some(ledger) = &mut self.ledger {
                    ledger.becomes_replicated(at, queue);
                }
            }
            EngineEvent::IsReplicated { queue, .. } => {
                self.situations.saw(Situation::Mirrored);
                if let Some(ledger) = &mut self.ledger {
                    ledger.is_replicated(queue);
                }
            }
            EngineEvent::ClusterVersion { .. } if self.has_upgrades() => self.situations.saw(Situation::Upgraded),
            EngineEvent::Ready { .. }
            | EngineEvent::ConnectionOpened { .. }
            | EngineEvent::ConnectionClosed { .. }
            | EngineEvent::ChannelFailed { .. }
            | EngineEvent::ConsumerTimedOut { .. }
            | EngineEvent::AlarmRaised { .. }
            | EngineEvent::AlarmCleared { .. }
            | EngineEvent::ServesClients
            | EngineEvent::ServesNoClients { .. }
            | EngineEvent::PeerUp { .. }
            | EngineEvent::PeerDown { name: None, .. }
            | EngineEvent::ClusterEntered { .. }
            | EngineEvent::ClusterNodes { .. }
            | EngineEvent::ClusterVersion { .. }
            | EngineEvent::ClusterLeader { leader: None, .. }
            | EngineEvent::StaysOnOneNode { .. }
            | EngineEvent::QueueCreated { .. }
            | EngineEvent::QueueDeleted { .. }
            | EngineEvent::Enqueued { .. }
            | EngineEvent::Left { .. }
            | EngineEvent::Settled { .. }
            | EngineEvent::Confirmed { .. } => {}
        }
    }

    fn send(&mut self, at: At, send: ClientSend, safe: u64) {
        let ClientSend { connection, bytes } = send;
        self.trace.word(10 << 56 | connection.0);
        self.trace.bytes(&bytes);
        let number = number(connection);
        let link = &mut self.links[number as usize];
        if !link.is_open_at_node {
            return;
        }
        let time = self.nodes[at].clock.node_time(self.scheduler.time());
        let (model, story) = (&mut self.model, &mut self.story);
        let mut ledger = self.ledger.as_mut().filter(|_| self.actors[link.client as usize].is_sharing);
        self.taps[number as usize].down.hear(&bytes, |channel, said| match (&mut ledger, story.as_mut()) {
            (Some(ledger), _) => ledger.node_says(number, channel, said),
            (None, Some(story)) => {
                story.at(time);
                story.node_says(number, channel, said);
            }
            (None, None) => model.node_says(number, channel, said, safe),
        });
        if let Some(recorder) = &mut self.recorder {
            recorder.sent(time, number, Direction::Down, &bytes);
        }
        link.send_down(bytes);
        if !link.down.is_due && !link.down.is_stopped && link.is_open_at_client {
            link.down.is_due = true;
            let latency = link.latency();
            self.scheduler.after(latency, Event::Down(number));
        }
        self.schedule_written(number);
    }

    /// Gives the disk an operation.
    fn submit(&mut self, at: At, request: DiskRequest) {
        let time = self.scheduler.time();
        self.trace.word(9 << 56 | request.id.0);
        trace_op(&mut self.trace, &request.op);
        if let Some(recorder) = &mut self.recorder {
            recorder.disk_begins(time, &request);
        }
        let is_synced = if let DiskOp::Append { sync, .. } = request.op { Some(sync) } else { None };
        let (due, lane) = self.nodes[at].disk.submit(time, request);
        if let Some(is_synced) = is_synced {
            self.trigger(Moment::Write, None, 0);
            if is_synced {
                self.trigger(Moment::Unsynced, None, (due - time) / 2);
            }
        }
        self.scheduler.at(due, Event::Disk(at, self.nodes[at].boot, lane));
    }

    fn control(&mut self, control: ClientControl) {
        match control {
            ClientControl::PauseReads(connection) => {
                self.trace.word(11 << 56 | connection.0);
                self.links[number(connection) as usize].up.is_stopped = true;
            }
            ClientControl::ResumeReads(connection) => {
                self.trace.word(12 << 56 | connection.0);
                let number = number(connection);
                let link = &mut self.links[number as usize];
                link.up.is_stopped = false;
                if !link.up.is_due && (!link.up.is_empty() || link.fin_after_up) {
                    link.up.is_due = true;
                    self.scheduler.after(1, Event::Up(number));
                }
            }
            ClientControl::Close(connection) => {
                self.trace.word(13 << 56 | connection.0);
                let number = number(connection);
                self.model.closing(number);
                if let Some(ledger) = &mut self.ledger {
                    ledger.disconnected(number);
                }
                let link = &mut self.links[number as usize];
                link.close_after_down = true;
                if link.down.is_empty() || (!link.is_open_at_client && !link.is_cut) {
                    self.scheduler.after(1, Event::PeerGone(number));
                } else {
                    self.scheduler.after(CLOSE_PATIENCE, Event::GiveUp(number));
                }
            }
        }
    }

    pub(crate) fn schedule_timer(&mut self, at: At) {
        let Some(engine) = &self.nodes[at].engine else { return };
        let Some((instant, _)) = engine.next_timeout() else { return };
        let time = self.scheduler.time();
        let late = self.nodes[at].knobs.timer_late_us;
        let due = self.nodes[at].clock.world_time(instant).max(time);
        if self.nodes[at].timer.is_none_or(|timer| due < timer) {
            self.nodes[at].timer = Some(due);
            let late = if late == 0 { 0 } else { scale(self.nodes[at].fates.of(4, due), 0, late) };
            self.scheduler.at(due + late, Event::Timer(at, self.nodes[at].boot));
        }
    }

    pub(crate) fn timer_due(&mut self, at: At, boot: u64) {
        if boot != self.nodes[at].boot || self.nodes[at].engine.is_none() {
            return;
        }
        let time = self.scheduler.time();
        match self.nodes[at].timer {
            Some(due) if due <= time => {
                self.nodes[at].timer = None;
                self.counts.timeouts_here += 1;
                if self.counts.timeouts_here > 1000 {
                    self.fail(Failure::liveness("the engine asks to be woken at once, for ever"));
                    return;
                }
                self.tell_what_is_late(at);
                self.input(at, Input::Timeout);
            }
            Some(_) | None => {}
        }
    }

    pub(crate) fn disk_due(&mut self, at: At, boot: u64, lane: Lane) {
        if boot != self.nodes[at].boot || self.nodes[at].engine.is_none() {
            return;
        }
        let syncs = self.nodes[at].disk.counts().syncs;
        let completed = self.nodes[at].disk.complete(self.scheduler.time(), lane);
        if self.nodes[at].disk.counts().syncs > syncs {
            self.trigger(Moment::Fsync, None, 0);
        }
        match completed {
            Err(until) => self.scheduler.at(until, Event::Disk(at, boot, lane)),
            Ok(Some(input)) => {
                if let Some(recorder) = &mut self.recorder {
                    recorder.about(at);
                    let (written, durable) = (self.nodes[at].disk.written(), self.nodes[at].disk.durable());
                    recorder.disk_ends(self.scheduler.time(), &input, written, durable);
                }
                self.input(at, input);
            }
            Ok(None) => {}
        }
        if let Some(complaint) = self.nodes[at].disk.take_complaint() {
            self.fail(Failure::safety("the disk's contract", complaint, &[]));
        }
    }
}

/// A node's name among nodes.
fn name_of(at: At) -> String {
    format!("rabbit@{}", at.letter())
}

/// The world's number of a connection.
fn number(connection: ConnectionId) -> u32 {
    u32::try_from(connection.0 - 1).expect("numbered by the world")
}
