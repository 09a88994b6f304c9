//! The node: the real engine, its clock, and the driver that carries inputs in and effects out.

use std::time::Duration;

use leveret_engine::alarm::ResourceLimits;
use leveret_engine::config::{Config, LogConfig};
use leveret_engine::effect::{ClientControl, ClientSend, DiskOp, DiskRequest, Effects, Stop};
use leveret_engine::engine::Engine;
use leveret_engine::event::Event as EngineEvent;
use leveret_engine::ids::{AdminId, ConnectionId};
use leveret_engine::input::{DiskOutcome, Input};
use leveret_engine::management::{AdminAnswer, PolicyInfo, PolicyRequest};
use leveret_engine::metadata::PolicyKind;
use leveret_engine::time::Now;

use crate::clock::{Micros, NodeClock};
use crate::disk::Lane;
use crate::fault::RESOURCE_LIMIT;
use crate::plan::{Ending, Knobs, Moment};
use crate::record::{Direction, NodeState};
use crate::report::Failure;
use crate::rng::{key, scale};
use crate::run::RunOptions;
use crate::situation::Situation;
use crate::world::{CLOSE_PATIENCE, Event, World};

/// The lengths of a story's queues are looked at once in so many steps.
const STEPS_PER_LOOK: u64 = 8;

/// One node over all its boots.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) engine: Option<Box<Engine>>,
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
    /// How often, and how, it is to end again while it recovers.
    pub(crate) again: (u32, Ending),
    /// Failures of the disk until its boot.
    failures: u64,
    pub(crate) options: RunOptions,
    steps: u64,
}

impl Node {
    pub(crate) fn new(knobs: Knobs, options: RunOptions) -> Self {
        Self {
            knobs,
            next_knobs: None,
            held: None,
            engine: None,
            boot: 0,
            clock: NodeClock::new(0, 0),
            effects: Effects::default(),
            batch: 0,
            flush_is_due: false,
            timer: None,
            is_ready: false,
            is_stopping: false,
            again: (0, Ending::Kill),
            failures: 0,
            options,
            steps: 0,
        }
    }

    /// Whether clients can connect.
    pub(crate) fn is_accepting(&self) -> bool {
        self.is_ready && !self.is_stopping && self.engine.is_some()
    }

    /// Whether it is up and has recovered.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready
    }
}

impl World {
    /// Starts the engine.
    pub(crate) fn boot(&mut self) {
        if self.node.engine.is_some() {
            return;
        }
        let time = self.scheduler.time();
        let boot = self.node.boot;
        let origin = self.fates.of(1, boot) >> 20;
        self.node.clock.boot(time, origin);
        if let Some(knobs) = self.node.next_knobs.take() {
            self.node.knobs = *knobs;
            self.situations.saw(Situation::Reconfigured);
        }
        self.node.failures = self.disk.failures();
        self.counts.boots += 1;
        self.trigger(Moment::Boot, None, 0);
        self.trace.word(boot);
        if let Some(recorder) = &mut self.recorder {
            recorder.node_is(time, NodeState::Recovering);
        }
        let config = Config {
            buggify: self.node.knobs.buggify.then(|| self.fates.of(8, boot)),
            ..config(&self.node.knobs, self.node.options)
        };
        #[cfg(feature = "mutants")]
        let config = Config { mutant: config.mutant.or_else(|| crate::run::planted(&self.plan)), ..config };
        let engine = Engine::new(config, key(self.plan.seed, "engine", boot));
        self.node.engine = Some(Box::new(engine));
        self.node.effects = Effects::default();
        self.flush(self.node.clock.now(time));
        if self.node.again.0 > 0 {
            let random = self.fates.of(2, boot);
            let delay = scale(random, 0, if random & 1 == 0 { 500 } else { 20_000 });
            self.scheduler.after(delay, Event::EndAgain(boot));
        }
    }

    /// Gives the engine an input, and flushes if the batch is full.
    pub(crate) fn input(&mut self, input: Input) {
        let time = self.scheduler.time();
        let Some(engine) = &mut self.node.engine else { return };
        self.counts.inputs += 1;
        self.model.input();
        if let (Some(recorder), Input::Shutdown) = (&mut self.recorder, &input) {
            recorder.node_is(time, NodeState::Stopping);
        }
        self.trace.word(time);
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
        let now = self.node.clock.now(time);
        engine.handle(now, input, &mut self.node.effects);
        self.node.batch += 1;
        let knobs = &self.node.knobs;
        if self.node.batch >= knobs.batch_inputs {
            self.flush(now);
        } else if !self.node.flush_is_due {
            self.node.flush_is_due = true;
            self.scheduler.after(knobs.batch_us, Event::Flush(self.node.boot));
        }
    }

    pub(crate) fn flush_due(&mut self, boot: u64) {
        if boot == self.node.boot && self.node.engine.is_some() {
            self.node.flush_is_due = false;
            if self.node.batch > 0 {
                self.flush(self.node.clock.now(self.scheduler.time()));
            }
        }
    }

    /// Ends the batch and carries out what the engine wants.
    fn flush(&mut self, now: Now) {
        let time = self.scheduler.time();
        let Some(engine) = &mut self.node.engine else { return };
        engine.flush(now, &mut self.node.effects);
        let mut is_newly_ready = false;
        self.node.batch = 0;
        self.node.steps += 1;
        if self.node.steps.is_multiple_of(self.node.options.check_every) {
            engine.check_invariants();
        }
        if !self.node.is_ready && engine.is_ready() {
            self.node.is_ready = true;
            self.node.again.0 = 0;
            self.model.ready();
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
        let Effects { sends, controls, disk, events, .. } = &self.node.effects;
        self.counts.effects += (sends.len() + controls.len() + disk.len() + events.len()) as u64;
        let reach = engine.log_reach();
        let durable = self.disk.durable();
        self.heed_all();
        if !self.node.effects.sends.is_empty() {
            let mut sends = std::mem::take(&mut self.node.effects.sends);
            sends.drain(..).for_each(|send| self.send(send, durable));
            self.node.effects.sends = sends;
        }
        if !self.node.effects.controls.is_empty() {
            let mut controls = std::mem::take(&mut self.node.effects.controls);
            controls.drain(..).for_each(|control| self.control(control));
            self.node.effects.controls = controls;
        }
        if !self.node.effects.disk.is_empty() {
            let mut disk = std::mem::take(&mut self.node.effects.disk);
            disk.drain(..).for_each(|request| self.submit(request));
            self.node.effects.disk = disk;
        }
        if !self.node.effects.admin.is_empty() {
            let answers = std::mem::take(&mut self.node.effects.admin);
            answers.iter().for_each(|answer| self.administered(answer));
        }
        self.model.end_step(durable, reach);
        self.end_story_step();
        self.record_look(false);
        match self.node.effects.stop.take() {
            Some(Stop::Clean) => {
                self.end_node(Ending::Shutdown, false);
                self.scheduler.after(self.fates.of(3, self.node.boot) % 100_000, Event::Boot);
            }
            Some(Stop::Fatal(text)) => self.stopped_by_itself(&text),
            None => self.schedule_timer(),
        }
        if is_newly_ready && let (Some(story), Some(engine)) = (&mut self.story, &self.node.engine) {
            for queue in engine.queues() {
                story.queue_is(queue.id.0, &queue.name);
            }
            self.measure();
        }
    }

    /// Tells the story that a step is over; now and then it looks at how long the queues are.
    fn end_story_step(&mut self) {
        let (Some(story), Some(engine)) = (&mut self.story, &self.node.engine) else { return };
        story.at(self.node.clock.node_time(self.scheduler.time()));
        story.end_step();
        if self.node.is_ready && self.node.steps.is_multiple_of(STEPS_PER_LOOK) {
            let queues = engine.queues();
            story.look(queues.iter().map(|queue| (&*queue.name, queue.ready, queue.consumers)));
        }
    }

    /// Shows the recorder what the node holds, if it is time or `is_due`.
    pub(crate) fn record_look(&mut self, is_due: bool) {
        let (time, engine) = (self.scheduler.time(), self.node.engine.as_deref());
        if let Some(recorder) = self.recorder.as_mut().filter(|recorder| is_due || recorder.wants_look(time)) {
            match engine.filter(|_| self.node.is_ready) {
                Some(engine) => recorder.look(time, &engine.queues(), engine.usage()),
                None => recorder.look_at_nothing(time),
            }
        }
    }

    /// An operator changes the policy.
    pub(crate) fn change_policy(&mut self, index: u32) {
        if !self.node.is_accepting() {
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
        self.input(Input::Admin { id: AdminId(u64::from(index)), request: Box::new(request.into()) });
    }

    /// What the operator was answered.
    fn administered(&mut self, answer: &AdminAnswer) {
        if self.operator_told(answer) {
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
    fn heed_all(&mut self) {
        if self.node.effects.events.is_empty() {
            return;
        }
        let mut events = std::mem::take(&mut self.node.effects.events);
        let mut settled = None;
        for event in events.drain(..) {
            if let EngineEvent::Settled { lsn, .. } = &event {
                settled = settled.max(*lsn);
            }
            self.heed(&event);
            if self.triggers.is_armed() {
                self.trigger_by_event(&event);
            }
        }
        self.node.effects.events = events;
        if let Some(lsn) = settled {
            self.model.settled(lsn.0);
        }
    }

    fn heed(&mut self, event: &EngineEvent) {
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
            EngineEvent::Enqueued { lsn: Some(lsn), publisher: Some((connection, channel)), seqno, .. } => {
                self.model.logged(number(*connection), channel.0, seqno.map(|seqno| seqno.0), lsn.0);
            }
            EngineEvent::Ready { .. }
            | EngineEvent::ConnectionOpened { .. }
            | EngineEvent::ConnectionClosed { .. }
            | EngineEvent::ChannelFailed { .. }
            | EngineEvent::ConsumerTimedOut { .. }
            | EngineEvent::AlarmRaised { .. }
            | EngineEvent::AlarmCleared { .. }
            | EngineEvent::PeerUp { .. }
            | EngineEvent::PeerDown { .. }
            | EngineEvent::ClusterEntered { .. }
            | EngineEvent::ClusterNodes { .. }
            | EngineEvent::ClusterLeader { .. }
            | EngineEvent::QueueCreated { .. }
            | EngineEvent::QueueDeleted { .. }
            | EngineEvent::Enqueued { .. }
            | EngineEvent::Left { .. }
            | EngineEvent::Settled { .. }
            | EngineEvent::Confirmed { .. } => {}
        }
    }

    fn send(&mut self, send: ClientSend, durable: u64) {
        let ClientSend { connection, bytes } = send;
        self.trace.word(10 << 56 | connection.0);
        self.trace.bytes(&bytes);
        let number = number(connection);
        let link = &mut self.links[number as usize];
        if !link.is_open_at_node {
            return;
        }
        let time = self.node.clock.node_time(self.scheduler.time());
        let (model, story) = (&mut self.model, &mut self.story);
        self.taps[number as usize].down.hear(&bytes, |channel, said| match story {
            Some(story) => {
                story.at(time);
                story.node_says(number, channel, said);
            }
            None => model.node_says(number, channel, said, durable),
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
    fn submit(&mut self, request: DiskRequest) {
        let time = self.scheduler.time();
        self.trace.word(9 << 56 | request.id.0);
        trace_op(&mut self.trace, &request.op);
        if let Some(recorder) = &mut self.recorder {
            recorder.disk_begins(time, &request);
        }
        let is_synced = if let DiskOp::Append { sync, .. } = request.op { Some(sync) } else { None };
        let (due, lane) = self.disk.submit(time, request);
        if let Some(is_synced) = is_synced {
            self.trigger(Moment::Write, None, 0);
            if is_synced {
                self.trigger(Moment::Unsynced, None, (due - time) / 2);
            }
        }
        self.scheduler.at(due, Event::Disk(self.node.boot, lane));
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

    pub(crate) fn schedule_timer(&mut self) {
        let Some(engine) = &self.node.engine else { return };
        let Some((instant, _)) = engine.next_timeout() else { return };
        let time = self.scheduler.time();
        let late = self.node.knobs.timer_late_us;
        let due = self.node.clock.world_time(instant).max(time);
        if self.node.timer.is_none_or(|timer| due < timer) {
            self.node.timer = Some(due);
            let late = if late == 0 { 0 } else { scale(self.fates.of(4, due), 0, late) };
            self.scheduler.at(due + late, Event::Timer(self.node.boot));
        }
    }

    pub(crate) fn timer_due(&mut self, boot: u64) {
        if boot != self.node.boot || self.node.engine.is_none() {
            return;
        }
        let time = self.scheduler.time();
        match self.node.timer {
            Some(due) if due <= time => {
                self.node.timer = None;
                self.counts.timeouts_here += 1;
                if self.counts.timeouts_here > 1000 {
                    self.fail(Failure::liveness("the engine asks to be woken at once, for ever"));
                    return;
                }
                self.input(Input::Timeout);
            }
            Some(_) | None => {}
        }
    }

    pub(crate) fn disk_due(&mut self, boot: u64, lane: Lane) {
        if boot != self.node.boot || self.node.engine.is_none() {
            return;
        }
        let syncs = self.disk.counts().syncs;
        let completed = self.disk.complete(self.scheduler.time(), lane);
        if self.disk.counts().syncs > syncs {
            self.trigger(Moment::Fsync, None, 0);
        }
        match completed {
            Err(until) => self.scheduler.at(until, Event::Disk(boot, lane)),
            Ok(Some(input)) => {
                if let Some(recorder) = &mut self.recorder {
                    let (written, durable) = (self.disk.written(), self.disk.durable());
                    recorder.disk_ends(self.scheduler.time(), &input, written, durable);
                }
                self.input(input);
            }
            Ok(None) => {}
        }
        if let Some(complaint) = self.disk.take_complaint() {
            self.fail(Failure::safety("the disk's contract", complaint, &[]));
        }
    }

    /// The node ends in the given way; who starts it again is the caller's affair.
    pub(crate) fn end_node(&mut self, how: Ending, by_itself: bool) {
        if self.node.engine.take().is_none() {
            return;
        }
        self.resume();
        self.trace.word(14 << 56);
        self.node.boot += 1;
        self.node.batch = 0;
        self.node.flush_is_due = false;
        self.node.timer = None;
        self.node.is_ready = false;
        self.node.is_stopping = false;
        match how {
            Ending::PowerLoss => self.disk.power_loss(),
            Ending::Kill | Ending::Shutdown => self.disk.kill(),
        }
        let kept = if how == Ending::PowerLoss { self.disk.durable() } else { self.disk.written() };
        self.model.ended(how, by_itself, kept, self.disk.durable());
        self.operators.ended();
        if let Some(recorder) = &mut self.recorder {
            recorder.node_ended(self.scheduler.time(), how, by_itself, kept);
        }
        self.record_look(true);
        if let Some(story) = &mut self.story {
            story.ended(how, by_itself);
        }
        for number in 0..self.links.len() {
            let link = &mut self.links[number];
            if let Some(recorder) = self.recorder.as_mut().filter(|_| link.is_open_at_node) {
                let connection = u32::try_from(number).expect("few connections");
                recorder.closed(self.scheduler.time(), connection, Direction::Up);
            }
            link.is_open_at_node = false;
            if link.is_open_at_client {
                let latency = link.latency();
                self.scheduler.after(latency, Event::ClientGone(u32::try_from(number).expect("few connections")));
            }
        }
    }

    fn stopped_by_itself(&mut self, text: &str) {
        let has_reason = self.disk.failures() > self.node.failures;
        self.end_node(Ending::Kill, true);
        if self.plan.beyond_claim {
            // To stop is a right answer there, and the end of the story.
            if !has_reason {
                self.phase = crate::quiesce::Phase::Done;
                return;
            }
        } else if !has_reason {
            self.fail(Failure::safety("keeps running", format!("the node stops without a reason: {text}"), &[]));
            return;
        }
        self.scheduler.after(self.fates.of(5, self.node.boot) % 100_000, Event::Boot);
    }
}

/// The world's number of a connection.
fn number(connection: ConnectionId) -> u32 {
    u32::try_from(connection.0 - 1).expect("numbered by the world")
}

fn config(knobs: &Knobs, options: RunOptions) -> Config {
    let RunOptions {
        check_every: _,
        last_facts: _,
        wrinkle: _,
        #[cfg(feature = "mutants")]
        mutant,
    } = options;
    let size = |bytes: u64| usize::try_from(bytes).expect("knobs are small");
    Config {
        frame_max: knobs.frame_max,
        message_size_max: knobs.message_size_max,
        outbox_high_bytes: size(knobs.outbox_high_bytes),
        outbox_low_bytes: size(knobs.outbox_low_bytes),
        queue_cache_bytes: size(knobs.queue_cache_bytes),
        memory_high_bytes: size(knobs.memory_high_bytes),
        read_ahead_bytes: knobs.read_ahead_bytes,
        log: LogConfig {
            segment_bytes: knobs.segment_bytes,
            slack_bytes: knobs.slack_bytes,
            append_bytes: size(knobs.append_bytes),
            sync_interval: Duration::from_micros(knobs.sync_interval_us),
            disk_retry: Duration::from_micros(knobs.disk_retry_us),
        },
        fine_events: true,
        resources: ResourceLimits { memory_high_bytes: Some(RESOURCE_LIMIT), disk_free_bytes: RESOURCE_LIMIT },
        #[cfg(feature = "mutants")]
        mutant,
        ..Config::default()
    }
}

fn trace_op(trace: &mut crate::trace::TraceHash, op: &DiskOp) {
    match op {
        DiskOp::List => trace.word(1),
        DiskOp::Create { segment, size, recycle } => {
            trace.word(2 << 56 | segment.0);
            trace.word(*size);
            trace.word(recycle.map_or(0, |segment| segment.0));
        }
        DiskOp::Append { segment, offset, data, sync } => {
            trace.word(3 << 56 | u64::from(*sync) << 55 | segment.0);
            trace.word(*offset);
            for bytes in data {
                trace.bytes(bytes);
            }
        }
        DiskOp::Read { segment, offset, len } => {
            trace.word(4 << 56 | segment.0);
            trace.word(*offset);
            trace.word(u64::from(*len));
        }
        DiskOp::Delete { segment } => trace.word(5 << 56 | segment.0),
    }
}
