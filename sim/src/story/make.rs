//! From a scenario and a seed to queues with rules and their clients.
//!
//! Each of a story's queues (`w0`, `w1`…) is published to; behind those with a dead-letter exchange is a second one (`d0`, `d1`…)
//! that holds the dead letters, or sends them back after a while. All are durable, so that a confirm is a promise through any crash.

use crate::clock::{MILLISECOND, Micros};
use crate::options::Maker;
use crate::plan::{
    AnswerPlan, BindingPlan, Burst, BurstExtras, ClientPlan, ConsumerAct, ConsumerDeed, ConsumerPlan, ExchangePlan,
    PolicyPlan, PublishMode, PublisherPlan, QueuePlan, QueueRules, Role, Topology,
};
use crate::rng::{Ratio, Stream};
use crate::scenario::{Feature, Scenario};

/// The exchange that dead letters go through, where it is not the default one.
const DEAD: &str = "dead";
/// The exchange that holds messages back.
const HOLD: &str = "hold";

/// Queues with rules.
pub(crate) fn topology(scenario: &Scenario, stream: &mut Stream) -> Topology {
    let mut topology = Topology { rewrites: true, ..Topology::default() };
    let listed = |feature| scenario.story.features.contains(&feature);
    if listed(Feature::Delayed) {
        topology.exchanges.push(exchange(HOLD, "x-delayed-message"));
    }
    topology.exchanges.push(exchange(DEAD, "direct"));
    let count = scenario.clients.queues.draw(stream).max(1);
    for index in 0..count {
        let (front, behind) = (format!("w{index}"), format!("d{index}"));
        let mut has = |feature| listed(feature) && stream.chance(3, 4);
        let has_dead_letters = has(Feature::DeadLetter);
        let at_least_once = has(Feature::AtLeastOnce);
        let rejects_publish = has(Feature::RejectPublish);
        let has_limit = rejects_publish || has(Feature::MaxLength);
        let (has_ttl, has_priority) = (has(Feature::MessageTtl), has(Feature::Priority));
        let (is_single, has_delivery_limit) = (has(Feature::SingleActive), has(Feature::DeliveryLimit));
        let (has_timeout, is_quorum, is_loop) =
            (has(Feature::ConsumerTimeout), has(Feature::Quorum), has(Feature::Loop));
        let mut rules = QueueRules {
            message_ttl_ms: has_ttl.then(|| *stream.pick(&[10, 100, 400, 1500])),
            length_max: has_limit.then(|| *stream.pick(&[1, 5, 30])),
            // The broker dead-letters at least once only where nothing has to be dropped.
            rejects_publish: rejects_publish || at_least_once,
            at_least_once,
            priority_max: (has_priority && !is_quorum).then(|| *stream.pick(&[1, 5, 10, 255])),
            single_active: is_single,
            delivery_limit: has_delivery_limit.then(|| *stream.pick(&[1, 2, 5])),
            consumer_timeout_ms: has_timeout.then(|| *stream.pick(&[100, 300])),
            is_quorum,
            ..QueueRules::default()
        };
        let mut dead_rules = QueueRules::default();
        if has_dead_letters || at_least_once || is_loop {
            if stream.chance(1, 2) {
                rules.dead_letter_exchange = Some(String::new());
                rules.dead_letter_key = Some(behind.clone());
            } else {
                rules.dead_letter_exchange = Some(DEAD.to_owned());
                topology.bindings.push(bind(DEAD, &behind, &front));
            }
            if is_loop {
                if at_least_once {
                    // What dies by itself would go round in a circle, and at least once it would then stay for ever (RabbitMQ keeps
                    // it, too): here it goes round by rejects.
                    rules.message_ttl_ms = None;
                    rules.delivery_limit = None;
                    rules.at_least_once = !listed(Feature::Expiration) && !is_quorum;
                }
                dead_rules.message_ttl_ms = Some(*stream.pick(&[10, 50, 300]));
                dead_rules.dead_letter_exchange = Some(String::new());
                dead_rules.dead_letter_key = Some(front.clone());
            } else if at_least_once && stream.chance(1, 3) {
                // The target is full now and then; the source has to wait.
                dead_rules.length_max = Some(*stream.pick(&[1, 10]));
                dead_rules.rejects_publish = true;
            }
        }
        let has_target = rules.dead_letter_exchange.is_some();
        if listed(Feature::Delayed) {
            topology.bindings.push(bind(HOLD, &front, &front));
        }
        topology.queues.push(queue(front, rules));
        if has_target {
            topology.queues.push(queue(behind, dead_rules));
        }
    }
    topology
}

/// What an operator does to the queues' policy.
pub(crate) fn policies(scenario: &Scenario, chaos_us: Micros, stream: &mut Stream) -> Vec<PolicyPlan> {
    if !scenario.story.features.contains(&Feature::Policy) {
        return Vec::new();
    }
    let mut policies: Vec<PolicyPlan> = (0..stream.range(1, 5))
        .map(|_| PolicyPlan {
            at_us: stream.range(chaos_us / 10, chaos_us),
            length_max: stream.chance(3, 4).then(|| *stream.pick(&[1, 5, 20])),
        })
        .collect();
    policies.sort_by_key(|policy| policy.at_us);
    policies
}

fn exchange(name: &str, kind: &str) -> ExchangePlan {
    ExchangePlan { name: name.to_owned(), kind: kind.to_owned(), durable: true, node: 0 }
}

fn queue(name: String, rules: QueueRules) -> QueuePlan {
    QueuePlan { name, durable: true, auto_delete: false, exclusive: false, rules, node: 0 }
}

fn bind(source: &str, destination: &str, key: &str) -> BindingPlan {
    BindingPlan {
        source: source.to_owned(),
        destination: destination.to_owned(),
        to_exchange: false,
        key: key.to_owned(),
        headers: None,
    }
}

impl Maker<'_> {
    /// The publishers and consumers of a story.
    pub(crate) fn make_story_clients(&mut self, seed: u64) {
        let mut counts = Stream::new(seed, "story clients", 0);
        let publishers = self.scenario.clients.confirming.draw(&mut counts).max(1);
        let consumers = self.scenario.clients.consumers.draw(&mut counts);
        for index in 0..publishers + consumers {
            let mut stream = Stream::new(seed, "story workload", index);
            let stream = &mut stream;
            let mut start_us = stream.range(0, 50 * MILLISECOND);
            let role = if index < publishers {
                self.story_publisher(stream)
            } else {
                start_us += self.scenario.clients.consumers_late_ms.draw(stream) * MILLISECOND;
                self.story_consumer(stream)
            };
            let client = ClientPlan {
                start_us,
                heartbeat_s: *stream.pick(&[0, 0, 2]),
                frame_max: *stream.pick(&[4096, 131_072]),
                link: self.link(stream),
                reconnect_us: (MILLISECOND, stream.range(2, 300) * MILLISECOND),
                node: 0,
                role,
            };
            self.clients.push(client);
        }
    }

    fn has(&self, feature: Feature) -> bool {
        self.scenario.story.features.contains(&feature)
    }

    fn story_publisher(&self, stream: &mut Stream) -> Role {
        let total = self.scenario.clients.messages.draw(stream);
        let average_gap = self.chaos_us / total.max(1);
        let fronts: Vec<&QueuePlan> = self.topology().queues.iter().filter(|it| it.name.starts_with('w')).collect();
        let mut bursts = Vec::new();
        let mut left = total;
        while left > 0 {
            let count = stream.range(1, 60).min(left);
            left -= count;
            let is_held = self.has(Feature::Delayed) && stream.chance(2, 3);
            let extras = BurstExtras {
                expiration_ms: (self.has(Feature::Expiration) && stream.chance(1, 2))
                    .then(|| *stream.pick(&[(0, 0), (1, 50), (100, 500), (500, 2000)])),
                priority: (self.has(Feature::Priority) && stream.chance(5, 6)).then_some((0, 12)),
                delay_ms: is_held.then(|| *stream.pick(&[(0, 0), (1, 50), (100, 1000)])),
                hostile_bodies: false,
            };
            let gap_us = *stream.pick(&[0, 0, average_gap / 2]);
            bursts.push(Burst {
                wait_us: (average_gap * count).saturating_sub(gap_us * count),
                gap_us,
                count: u32::try_from(count).expect("small"),
                exchange: if is_held { HOLD.to_owned() } else { String::new() },
                key: stream.pick(&fronts).name.clone(),
                persistent: stream.chance(5, 6),
                mandatory: false,
                size: self.size(stream),
                extras,
            });
        }
        let mode = PublishMode::Confirm { window: *stream.pick(&[1, 10, 100]) };
        Role::Publisher(PublisherPlan { mode, republish: false, bursts })
    }

    fn story_consumer(&self, stream: &mut Stream) -> Role {
        // Nobody takes from a queue that only sends back.
        let open = |it: &&QueuePlan| it.name.starts_with('w') || it.rules.dead_letter_exchange.is_none();
        let queues: Vec<&QueuePlan> = self.topology().queues.iter().filter(open).collect();
        let queue = (*stream.pick(&queues)).clone();
        let is_front = queue.name.starts_with('w');
        let slow: (Micros, Micros) = (50 * MILLISECOND, 600 * MILLISECOND);
        let is_slow = queue.rules.consumer_timeout_ms.is_some() && stream.chance(2, 3);
        let think_us = if is_slow { slow } else { *stream.pick(&[(0, 0), (0, 1000), (500, 20_000)]) };
        let answer = AnswerPlan {
            think_us,
            forget: Ratio::NEVER,
            requeue: if is_front && self.has(Feature::DeliveryLimit) {
                *stream.pick(&[Ratio(1, 20), Ratio(1, 2), Ratio(4, 5)])
            } else {
                *stream.pick(&[Ratio::NEVER, Ratio(1, 20), Ratio(1, 3)])
            },
            drop: if is_front && self.has(Feature::Reject) {
                *stream.pick(&[Ratio(1, 10), Ratio(1, 2), Ratio(4, 5)])
            } else {
                Ratio::NEVER
            },
            nack: stream.chance(1, 2),
            multiple: *stream.pick(&[1, 1, 5]),
        };
        let most = if self.has(Feature::Churn) { 40 } else { 3 };
        let mut acts: Vec<ConsumerAct> = (0..stream.range(0, most))
            .map(|_| ConsumerAct {
                after: u32::try_from(stream.range(1, 40)).expect("small"),
                what: *stream.pick(&[
                    ConsumerDeed::Cancel,
                    ConsumerDeed::Cancel,
                    ConsumerDeed::CloseChannel,
                    ConsumerDeed::CloseConnection,
                    ConsumerDeed::Crash,
                ]),
            })
            .collect();
        acts.sort_by_key(|act| act.after);
        Role::Consumer(ConsumerPlan {
            queue,
            bindings: Vec::new(),
            consumers: *stream.pick(&[1, 1, 2, 3]),
            prefetch: *stream.pick(&[1, 2, 10, 100]),
            global: false,
            // What counts as acked when it is sent may be lost on its way.
            no_ack: false,
            exclusive: false,
            priority: if self.has(Feature::ConsumerPriority) { *stream.pick(&[-1, 0, 0, 5]) } else { 0 },
            answer,
            acts,
        })
    }
}
