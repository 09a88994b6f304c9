//! The lives of a node: how the engine begins, and how a life ends.

use std::time::Duration;

use leveret_engine::alarm::ResourceLimits;
use leveret_engine::cluster::link::{Secret, Versions};
use leveret_engine::config::{ClusterConfig, Config, Durability, LogConfig};
use leveret_engine::effect::Effects;
use leveret_engine::engine::Engine;

use crate::fault::RESOURCE_LIMIT;
use crate::model::Survival;
use crate::nodes::At;
use crate::plan::{self, ClusterPlan, Ending, Knobs, Moment};
use crate::record::{Direction, NodeState};
use crate::report::Failure;
use crate::rng::{key, scale};
use crate::run::RunOptions;
use crate::situation::Situation;
use crate::world::{Event, World};

impl World {
    /// Starts the engine.
    pub(crate) fn boot(&mut self, at: At) {
        if self.nodes[at].engine.is_some() {
            return;
        }
        let time = self.scheduler.time();
        let boot = self.nodes[at].boot;
        let origin = self.nodes[at].fates.of(1, boot) >> 20;
        self.nodes[at].clock.boot(time, origin);
        if let Some(knobs) = self.nodes[at].next_knobs.take() {
            self.nodes[at].knobs = *knobs;
            self.situations.saw(Situation::Reconfigured);
        }
        self.nodes[at].failures = self.nodes[at].disk.failures();
        self.counts.boots += 1;
        self.light_up(at);
        self.trigger(Moment::Boot, None, 0);
        self.trace.word(boot);
        if let Some(recorder) = &mut self.recorder {
            recorder.about(at);
            recorder.node_is(time, NodeState::Recovering);
        }
        let config = Config {
            cluster: self.cluster_config(at),
            gives_up_damaged_data: self.nodes[at].gives_up,
            node_name: self.node_name(at),
            buggify: self.nodes[at].knobs.buggify.then(|| self.nodes[at].fates.of(8, boot)),
            ..config(&self.nodes[at].knobs, self.options)
        };
        #[cfg(feature = "mutants")]
        let config = Config { mutant: config.mutant.or_else(|| crate::run::planted(&self.plan)), ..config };
        let engine = Engine::new(config, key(self.plan.seed, "engine", ((at.number() as u64) << 32) | boot));
        self.nodes[at].engine = Some(Box::new(engine));
        self.nodes[at].effects = Effects::default();
        self.flush(at, self.nodes[at].clock.now(time));
        if self.nodes[at].again.0 > 0 {
            let random = self.nodes[at].fates.of(2, boot);
            let delay = scale(random, 0, if random & 1 == 0 { 500 } else { 20_000 });
            self.scheduler.after(delay, Event::EndAgain(at, boot));
        }
    }

    /// The node ends in the given way; who starts it again is the caller's affair.
    pub(crate) fn end_node(&mut self, at: At, how: Ending, by_itself: bool) {
        if self.nodes[at].engine.take().is_none() {
            return;
        }
        self.resume(at);
        self.trace.word(14 << 56);
        self.nodes[at].boot += 1;
        self.nodes[at].batch = 0;
        self.nodes[at].flush_is_due = false;
        self.nodes[at].timer = None;
        self.nodes[at].is_ready = false;
        self.nodes[at].is_stopping = false;
        self.nodes[at].is_old &= how != Ending::Shutdown;
        match how {
            Ending::PowerLoss => self.nodes[at].disk.power_loss(),
            Ending::Kill | Ending::Shutdown => self.nodes[at].disk.kill(),
        }
        let kept = if how == Ending::PowerLoss { self.nodes[at].disk.durable() } else { self.nodes[at].disk.written() };
        self.nodes[at].forget_changes(kept);
        self.replicas.ended(at, kept);
        let promised = match self.nodes[at].knobs.durability {
            plan::Durability::Fsync => u64::MAX,
            plan::Durability::Os => kept,
        };
        let survival = Survival { kept, promised, durable: self.nodes[at].disk.durable() };
        self.model.ended(at, how, by_itself, survival);
        if let Some(ledger) = &mut self.ledger {
            ledger.ended(at);
        }
        self.operators.ended(at);
        self.lose_peers(at, how);
        if let Some(recorder) = &mut self.recorder {
            recorder.about(at);
            recorder.node_ended(self.scheduler.time(), how, by_itself, kept);
        }
        self.record_look(true);
        if let Some(story) = &mut self.story {
            story.ended(how, by_itself);
        }
        for number in 0..self.links.len() {
            let link = &mut self.links[number];
            if link.node != at {
                continue;
            }
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

    /// Its data was damaged: it goes on as a node that never had any.
    pub(super) fn gave_up(&mut self, at: At) {
        let has_reason = self.nodes[at].disk.has_rotted();
        self.end_node(at, Ending::Kill, true);
        if !has_reason {
            let text = "a node gives its data up although nothing is wrong with it".to_owned();
            return self.fail(Failure::safety("keeps running", text, &[]));
        }
        self.situations.saw(Situation::DataGivenUp);
        let node = &mut self.nodes[at];
        node.disk.put_aside();
        node.forget_changes(0);
        (node.has_given_up, node.gives_up) = (true, false);
        self.replicas.ended(at, 0);
        self.scheduler.after(self.nodes[at].fates.of(5, self.nodes[at].boot) % 100_000, Event::Boot(at));
    }

    pub(super) fn stopped_by_itself(&mut self, at: At, text: &str) {
        let has_reason = self.nodes[at].disk.failures() > self.nodes[at].failures;
        self.end_node(at, Ending::Kill, true);
        if self.nodes[at].disk.has_rotted() && !self.plan.beyond_claim {
            // What a node does not dare an operator does: only replicated queues are used where the claim covers rot.
            self.nodes[at].gives_up = true;
        } else if self.plan.beyond_claim {
            // To stop is a right answer there, and the end of the story.
            if !has_reason {
                self.phase = crate::quiesce::Phase::Done;
                return;
            }
        } else if !has_reason {
            self.fail(Failure::safety("keeps running", format!("the node stops without a reason: {text}"), &[]));
            return;
        }
        self.scheduler.after(self.nodes[at].fates.of(5, self.nodes[at].boot) % 100_000, Event::Boot(at));
    }

    /// What the nodes are told of each other.
    fn cluster_config(&self, at: At) -> Option<ClusterConfig> {
        let cluster = self.plan.cluster.as_ref()?;
        let names = self.nodes.iter().map(|node| node.name.clone()).collect();
        let secret = Secret::new("a secret of the simulated nodes").expect("it is neither empty nor long");
        let ClusterPlan { log_entries, log_kept, .. } = *cluster;
        let has_given_up = self.nodes[at].has_given_up;
        let Versions { lowest, highest } = Versions::SPOKEN;
        let versions = Versions { lowest, highest: if self.nodes[at].is_old { lowest } else { highest } };
        Some(ClusterConfig { log_entries, log_kept, versions, has_given_up, ..ClusterConfig::new(names, secret) })
    }

    /// Whether nodes begin with an older program.
    pub(super) fn has_upgrades(&self) -> bool {
        self.plan.cluster.as_ref().is_some_and(|cluster| cluster.upgrades)
    }

    fn node_name(&self, at: At) -> String {
        let is_alone = self.plan.cluster.is_none();
        if is_alone { Config::default().node_name } else { self.nodes[at].name.clone() }
    }
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
        durability: match knobs.durability {
            plan::Durability::Fsync => Durability::Fsync,
            plan::Durability::Os => Durability::Os,
        },
        fine_events: true,
        // It is about queues alone that say how many members they are to have.
        quorum_reconciliation: true,
        resources: ResourceLimits { memory_high_bytes: Some(RESOURCE_LIMIT), disk_free_bytes: RESOURCE_LIMIT },
        #[cfg(feature = "mutants")]
        mutant,
        ..Config::default()
    }
}
