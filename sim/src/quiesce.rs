//! The end of a run: faults cease, everything must come to rest, and what is left is compared with what should be.

use leveret_engine::engine::{QueueStatus, ReplicaStatus};
use leveret_engine::input::Input;

use crate::client::Actor;
use crate::clock::{MILLISECOND, Micros, SECOND};
use crate::history::Fact;
use crate::ledger::Ledger;
use crate::node::Node;
use crate::nodes::At;
use crate::plan::{ClientPlan, Ending, LinkPlan, PublishMode, PublisherPlan, Role};
use crate::report::Failure;
use crate::rng::Ratio;
use crate::workload::Checker;
use crate::world::{Event, World};

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Faults and clients.
    Chaos,
    /// No more faults, nothing new is begun, what was begun comes to an end.
    Finishing,
    /// The clients leave.
    Leaving,
    /// The log settles, then queues are counted.
    Counting,
    /// The checker drains all queues.
    Draining,
    /// The checker leaves; memory and disk come back.
    Resting,
    /// The node ends once more, and what was settled stays settled.
    Restarting,
    /// All is checked.
    Done,
}

/// How often the world looks whether a phase is over.
const LOOK: Micros = 2 * MILLISECOND;

impl World {
    pub(crate) fn poll(&mut self) {
        if self.phase == Phase::Resting {
            let segments = self.nodes.iter().map(|node| node.usage().log_segments).sum();
            if self.segments.0 != segments {
                self.segments = (segments, self.scheduler.time());
            }
        }
        if self.phase == Phase::Chaos {
            self.heal();
            self.resume_queues();
            let now = self.scheduler.time();
            for client in 0..self.actors.len() {
                self.actors[client].stop(now);
                self.schedule_wake(u32::try_from(client).expect("few clients"));
            }
            self.enter(Phase::Finishing);
        } else if let Some(reason) = self.pending() {
            if self.scheduler.time() - self.phase_since > self.plan.settle_us {
                self.fail(Failure::liveness(&format!("{:?}: {reason}", self.phase)));
                return;
            }
        } else {
            self.next_phase();
        }
        if self.phase != Phase::Done {
            self.scheduler.after(LOOK, Event::Poll);
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.phase_since = self.scheduler.time();
    }

    fn in_phase_for(&self, time: Micros) -> bool {
        self.scheduler.time() - self.phase_since >= time
    }

    /// What the phase still waits for.
    fn pending(&self) -> Option<String> {
        let interval = self.nodes.iter().map(|node| node.knobs.sync_interval_us).max().unwrap_or_default();
        let settle = interval + 100 * MILLISECOND;
        if let Some(node) = self.nodes.iter().find(|node| node.is_stopping) {
            return Some(format!("{} to stop", self.nodes.name_of(node.at)));
        }
        if let Some(node) = self.nodes.iter().find(|node| !node.is_ready()) {
            return Some(format!("{} to become ready{}", self.nodes.name_of(node.at), self.leadership()));
        }
        if self.phase != Phase::Finishing
            && let Some(reason) = self.disagreement().or_else(|| self.replicas_at_odds())
        {
            return Some(reason);
        }
        match self.phase {
            Phase::Chaos | Phase::Done => None,
            Phase::Finishing => {
                if !self.in_phase_for(100 * MILLISECOND) {
                    return Some("a moment".to_owned());
                }
                let waiting = self.actors.iter().filter(|actor| actor.is_awaited()).find_map(Actor::waiting_for);
                if waiting.is_some() || (self.story.is_none() && self.left.is_none()) {
                    return waiting;
                }
                // Whoever still consumes acks by now, so that nothing stays where a consumer is.
                let queues = self.queues();
                let left = queues
                    .into_iter()
                    .find(|queue| queue.consumers > 0 && (queue.ready > 0 || self.left.is_some() && queue.unacked > 0));
                left.map(|queue| {
                    let QueueStatus { name, ready, unacked, consumers, .. } = queue;
                    format!("queue {name} to be emptied by {consumers} consumers: {ready} ready, {unacked} unacked")
                })
            }
            Phase::Leaving => {
                let open = self.links.iter().position(|link| link.is_open_at_node);
                open.map(|link| format!("connection {link} of client {} to end", self.links[link].client))
            }
            Phase::Counting => {
                let patience = self.ledger.as_ref().map_or(0, Ledger::patience);
                (!self.in_phase_for(settle + patience)).then(|| "a moment".to_owned())
            }
            Phase::Draining => {
                if let Some(story) = &self.story
                    && !self.in_phase_for(story.patience())
                {
                    return Some("messages that are held back".to_owned());
                }
                // What does not come by then is the oracle's affair.
                let missing = self.ledger.as_ref().and_then(Ledger::missing_dead);
                if let Some((_, name)) = missing.filter(|(patience, _)| !self.in_phase_for(*patience)) {
                    return Some(format!("dead letters of queue {name}"));
                }
                let mut queues = self.queues();
                queues.extend(self.led_queues());
                let left = queues.into_iter().find(|queue| queue.ready + queue.unacked + queue.dying > 0);
                left.map(|queue| {
                    let QueueStatus { name, ready, unacked, dying, consumers, .. } = queue;
                    format!(
                        "queue {name} to be drained: {ready} ready, {unacked} unacked, {dying} dying, {consumers} consumers"
                    )
                })
            }
            Phase::Resting => {
                if self.links.iter().any(|link| link.is_open_at_node) {
                    return Some("the checker to leave".to_owned());
                }
                let is_at_rest = self.nodes.iter().all(|node| {
                    let usage = node.usage();
                    node.idle_segments() <= 3 && usage.body_bytes == 0 && usage.outbox_bytes == 0
                });
                // What does not come back in time is the oracle's affair. A log is cleaned segment by segment, each behind the sync of
                // what was moved.
                let is_stuck = self.in_phase_for(10 * SECOND) && self.scheduler.time() - self.segments.1 >= 10 * SECOND;
                (!self.in_phase_for(settle) || (!is_at_rest && !is_stuck))
                    .then(|| "memory and disk to come back".to_owned())
            }
            Phase::Restarting => (!self.in_phase_for(settle)).then(|| "a moment".to_owned()),
        }
    }

    /// Which node lags behind the others, or waits for the cluster to carry something out.
    fn disagreement(&self) -> Option<String> {
        self.plan.cluster.as_ref()?;
        let applied = |node: &Node| Some((node.at, node.engine.as_ref()?.shared_applied()?));
        let most = self.nodes.iter().filter_map(applied).max_by_key(|(_, applied)| *applied);
        self.nodes.iter().find_map(|node| {
            let name = self.nodes.name_of(node.at);
            let (first, most) = most?;
            let own = applied(node).map_or(0, |(_, own)| own);
            if own < most {
                let first = self.nodes.name_of(first);
                return Some(format!("{name}, which has come to change {own}, to catch up with {first} at {most}"));
            }
            let waits = node.engine.as_ref().is_some_and(|engine| engine.has_asked_cluster());
            waits.then(|| format!("{name} to learn what became of its changes{}", self.leadership()))
        })
    }

    /// Who leads the cluster, as an aside.
    fn leadership(&self) -> String {
        match self.leader {
            _ if self.plan.cluster.is_none() => String::new(),
            None => "; no node leads".to_owned(),
            Some((at, term)) => format!("; {} leads since term {term}", self.nodes.name_of(at)),
        }
    }

    fn next_phase(&mut self) {
        let now = self.scheduler.time();
        match self.phase {
            Phase::Chaos | Phase::Done => {}
            Phase::Finishing => {
                for client in 0..self.actors.len() {
                    self.actors[client].leave(now);
                    self.schedule_wake(u32::try_from(client).expect("few clients"));
                }
                self.enter(Phase::Leaving);
            }
            Phase::Leaving => self.enter(Phase::Counting),
            Phase::Counting => {
                self.count();
                for at in self.nodes.all() {
                    self.bring_checker(at);
                }
                self.bring_shared_checker();
                self.enter(Phase::Draining);
            }
            Phase::Draining => {
                for client in 0..self.actors.len() {
                    self.actors[client].leave(now);
                    self.schedule_wake(u32::try_from(client).expect("few clients"));
                }
                self.enter(Phase::Resting);
            }
            Phase::Resting => {
                self.model.drained();
                if let Some(story) = &mut self.story {
                    story.drained();
                }
                if let Some(ledger) = &mut self.ledger {
                    ledger.drained();
                }
                self.count();
                self.facts.extend(self.operators.outcome());
                for node in self.nodes.iter() {
                    let usage = node.usage();
                    self.facts.push(Fact::Rest {
                        body_bytes: usage.body_bytes,
                        outbox_bytes: usage.outbox_bytes,
                        connections: usage.connections,
                        segments: node.idle_segments(),
                    });
                }
                let Some(how) = self.plan.last_restart else {
                    self.enter(Phase::Done);
                    return;
                };
                self.enter(Phase::Restarting);
                for at in self.nodes.all() {
                    if how == Ending::Shutdown {
                        self.nodes[at].is_stopping = true;
                        self.input(at, Input::Shutdown);
                    } else {
                        self.end_node(at, how, false);
                        self.scheduler.after(MILLISECOND, Event::Boot(at));
                    }
                }
            }
            Phase::Restarting => {
                self.count();
                self.enter(Phase::Done);
            }
        }
    }

    /// The queues that are each for clients of its own node.
    fn queues(&self) -> Vec<QueueStatus> {
        self.nodes.iter().flat_map(Node::queues).filter(|queue| !self.is_remote(&queue.name)).collect()
    }

    /// Whether a queue is on one node, and for clients of all.
    fn is_remote(&self, name: &str) -> bool {
        let nodes = self.plan.node_count();
        self.plan.topology.queues.iter().any(|queue| queue.name == name && queue.is_remote(nodes))
    }

    /// The queues that all nodes share, as those who lead them see them, or the nodes that they are on.
    fn led_queues(&self) -> Vec<QueueStatus> {
        let engines = self.nodes.iter().filter_map(|node| node.engine.as_ref());
        let led = engines.flat_map(|engine| engine.replicas()).filter(|replica| replica.leads);
        let status = |replica: ReplicaStatus| {
            let ReplicaStatus { queue: id, name, ready, unacked, consumers, .. } = replica;
            QueueStatus { id, vhost: String::new(), name, ready, unacked, dying: 0, consumers }
        };
        let remote = self.nodes.iter().flat_map(Node::queues).filter(|queue| self.is_remote(&queue.name));
        led.map(status).chain(remote).collect()
    }

    /// Which queue that all nodes share has no leader, or a replica that lags behind.
    fn replicas_at_odds(&self) -> Option<String> {
        let ledger = self.ledger.as_ref()?;
        // Or a queue of another node counts as away.
        let has_remote = self.plan.topology.queues.iter().any(|queue| self.is_remote(&queue.name));
        let lacks_links = |node: &&Node| {
            let links = node.engine.as_ref().map_or(0, |engine| engine.cluster_links().count());
            has_remote && links + 1 < self.plan.node_count()
        };
        if let Some(node) = self.nodes.iter().find(lacks_links) {
            return Some(format!("{} to have links to all others", self.nodes.name_of(node.at)));
        }
        let has_outstanding = |node: &&Node| node.engine.as_ref().is_some_and(|engine| engine.has_outstanding());
        if let Some(node) = self.nodes.iter().find(has_outstanding) {
            return Some(format!("{} to pass on what it was told", self.nodes.name_of(node.at)));
        }
        let engines = self.nodes.iter().filter_map(|node| Some((node.at, node.engine.as_ref()?)));
        let replicas: Vec<(At, ReplicaStatus)> =
            engines.flat_map(|(at, engine)| engine.replicas().into_iter().map(move |replica| (at, replica))).collect();
        ledger.declared().filter(|name| !self.is_remote(name)).find_map(|name| {
            let its = || replicas.iter().filter(|(_, replica)| replica.name == name);
            let leaders = its().filter(|(_, replica)| replica.leads).count();
            // One that nobody uses need not have one.
            if leaders > 1 || (leaders == 0 && self.phase == Phase::Draining) {
                return Some(format!("queue {name} to have one leader, not {leaders}"));
            }
            let rules = self.plan.topology.queues.iter().find(|queue| queue.name == name).map(|queue| &queue.rules);
            let target = rules.and_then(|rules| rules.target_size).map(usize::from);
            let target = target.map_or(0, |size| size.min(self.plan.node_count()));
            if its().count() < target {
                return Some(format!("queue {name} to have {target} replicas, not {}", its().count()));
            }
            let most = its().map(|(_, replica)| replica.applied).max()?;
            let (at, behind) = its().find(|(_, replica)| replica.applied < most)?;
            let name_of = self.nodes.name_of(*at);
            Some(format!("{name_of}, which has come to entry {} of queue {name}, to come to {most}", behind.applied))
        })
    }

    fn count(&mut self) {
        let queues = self.queues();
        let led = self.led_queues();
        if let Some(ledger) = &mut self.ledger {
            ledger.count(led.iter().map(|queue| (&*queue.name, queue.ready + queue.unacked)));
        }
        if let Some(story) = &mut self.story {
            if self.phase == Phase::Restarting {
                story.restarted(queues.iter().map(|queue| (&*queue.name, queue.ready + queue.unacked + queue.dying)));
            }
            return;
        }
        self.compare_declared();
        self.model.count(queues.iter().map(|queue| (&*queue.name, queue.ready, queue.unacked)));
    }

    /// What all nodes share is drained by a client of one of them.
    fn bring_shared_checker(&mut self) {
        let Some(ledger) = &self.ledger else { return };
        let queues = ledger.possible().map(str::to_owned).collect();
        let nodes = self.nodes.all().count() as u64;
        let at = At::new(usize::try_from(self.plan.seed % nodes).expect("few nodes"));
        self.bring(at, queues, None, true);
    }

    fn bring_checker(&mut self, at: At) {
        let names = self.nodes[at].queues().into_iter().map(|queue| queue.name);
        let queues: Vec<String> = names.filter(|name| !self.is_remote(name)).collect();
        let probe = self.plan.cluster.is_some().then(|| format!("declared by {}", at.letter()));
        self.bring(at, queues, probe, false);
    }

    fn bring(&mut self, at: At, queues: Vec<String>, probe: Option<String>, is_sharing: bool) {
        let index = u32::try_from(self.actors.len()).expect("few clients");
        let idle = PublisherPlan { mode: PublishMode::Plain, republish: false, bursts: Vec::new() };
        let plan = ClientPlan {
            start_us: self.scheduler.time(),
            heartbeat_s: 0,
            frame_max: 131_072,
            link: LinkPlan { latency_us: (10, 100), segment_bytes: 0, cut: Ratio::NEVER, window_bytes: 256 * 1024 },
            reconnect_us: (MILLISECOND, MILLISECOND),
            node: at.number(),
            role: Role::Publisher(idle),
        };
        let checker = Box::new(Checker::new(queues, probe, self.left.clone()));
        let mut actor = Actor::with_workload(self.plan.seed, index, plan, checker);
        actor.is_sharing = is_sharing;
        self.actors.push(actor);
        self.schedule_wake(index);
    }
}
