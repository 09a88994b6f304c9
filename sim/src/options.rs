//! From a scenario and a seed to a plan: every choice of a run is made here.
//!
//! Swarm testing: each seed switches kinds of behaviour off altogether, since a run that does a little of everything never fills a
//! queue and never starves a consumer.

use crate::clock::{MILLISECOND, Micros, SECOND};
use crate::cluster;
use crate::nemesis;
use crate::nodes::At;
use crate::operator;
use crate::plan::{
    AnswerPlan, BindingPlan, Burst, BurstExtras, ChurnPlan, ChurnStep, ClientPlan, ConsumerAct, ConsumerDeed,
    ConsumerPlan, DiskPlan, Ending, ExchangePlan, FORMAT, Fault, FaultKind, GetterPlan, HeaderMatch, Knobs, LinkPlan,
    Plan, PublishMode, PublisherPlan, QueuePlan, QueueRules, RogueDeed, RoguePlan, RogueStep, Role, Topology,
    TopologyOp, USUAL_FRAME_MAX, USUAL_RECONNECT,
};
use crate::rng::{Fate, Ratio, Stream};
use crate::scenario::{ClientSpec, Scenario, make};
use crate::story;
use crate::swarm;

/// Makes the plan of one run.
pub(crate) fn generate(scenario: &Scenario, seed: u64) -> Plan {
    if !scenario.run.swarm {
        return generate_all(scenario, seed);
    }
    let mut plan = generate_all(&swarm::narrow(scenario, seed), seed);
    swarm::narrow_clients(&mut plan.clients, seed);
    plan
}

fn generate_all(scenario: &Scenario, seed: u64) -> Plan {
    let mut config = Stream::new(seed, "config", 0);
    let chaos_us = scenario.run.chaos_ms.draw(&mut config) * MILLISECOND;
    let tells_late = scenario.knobs.tells_late && Stream::new(seed, "tells late", 0).chance(1, 2);
    let knobs = Knobs { tells_late, ..knobs(scenario, &mut config) };
    let disk = disk(&mut config);
    let cluster = cluster::draw(scenario, seed);
    let nodes = cluster.as_ref().map_or(1, |cluster| cluster.nodes);
    let chaos_us =
        scenario.phases.chaos.map_or(chaos_us, |chaos| chaos.draw(&mut Stream::new(seed, "phases by hand", 0)));
    let is_story = scenario.is_story();
    let is_by_hand = !scenario.queue.is_empty();
    let mut stream = Stream::new(seed, "story", 0);
    let topology = if is_by_hand {
        make::topology(scenario, nodes)
    } else if is_story {
        story::make::topology(scenario, &mut stream)
    } else {
        let mut whole = topology(scenario, 0, &mut config);
        for node in 1..nodes {
            whole.add(topology(scenario, node, &mut Stream::new(seed, "topology of a node", node as u64)));
        }
        let mut quorum = quorum_queues(scenario, nodes, &mut Stream::new(seed, "quorum queues", 0));
        if scenario.clients.quorum_rules {
            // A transaction does not learn of everything that a full queue refuses.
            give_rules(&mut quorum, &mut Stream::new(seed, "quorum rules", 0));
        }
        whole.queues.extend(quorum);
        whole.queues.extend(remote_queues(scenario, nodes, &mut Stream::new(seed, "remote queues", 0)));
        whole
    };
    let parts: Vec<Topology> = (0..nodes).map(|node| topology.of_node(node, nodes)).collect();
    let shared = topology.shared(nodes);
    let mut maker = Maker {
        scenario,
        whole: &topology,
        parts: &parts,
        shared: &shared,
        node: 0,
        is_sharing: false,
        knobs: &knobs,
        chaos_us,
        clients: Vec::new(),
    };
    if is_by_hand && scenario.clients == ClientSpec::default() {
        // All are written by hand.
    } else if is_story {
        maker.make_story_clients(seed);
    } else {
        maker.make_clients(seed);
    }
    maker.make_declarers(seed);
    maker.make_clients_by_hand(seed);
    let clients = maker.clients;
    let mut faults = faults(scenario, chaos_us, clients.len(), &mut Stream::new(seed, "nemesis", 0));
    cluster::spread(&mut faults, seed, nodes);
    faults.extend(make::faults(scenario, chaos_us, &clients, &topology, nodes, seed));
    let mut others = nemesis::faults(scenario, seed, chaos_us);
    cluster::spread(&mut others, seed, nodes);
    faults.extend(others);
    faults.extend(cluster::faults(scenario, seed, chaos_us, nodes));
    faults.sort_by_key(|fault| fault.at_us);
    let last_restart = match config.range(0, 5) {
        0 => Some(Ending::Kill),
        1 => Some(Ending::PowerLoss),
        2 => Some(Ending::Shutdown),
        _ => None,
    };
    let operations = operator::draw(scenario, seed, chaos_us, &topology, &clients, nodes);
    Plan {
        format: FORMAT,
        seed,
        scenario: scenario.name.clone(),
        cluster,
        knobs,
        disk,
        topology,
        clients,
        faults,
        chaos_us,
        settle_us: scenario.phases.settle_max.map_or(scenario.run.settle_ms * MILLISECOND, |settle| settle.0),
        last_restart,
        operations,
        policies: if is_story { story::make::policies(scenario, chaos_us, &mut stream) } else { Vec::new() },
        is_story,
        beyond_claim: scenario.run.beyond_claim,
        plant: scenario.node.plant.as_ref().map(|plant| plant.as_ref().clone()),
        fails: scenario.expected_failure().map(str::to_owned),
        longest_unavailability_us: scenario.expect.longest_unavailability.map(|longest| longest.0),
    }
}

pub(crate) fn knobs(scenario: &Scenario, stream: &mut Stream) -> Knobs {
    let fixed = &scenario.knobs;
    let segment_bytes = 1024 * stream.pick(&[8, 16, 32, 64]);
    let sync_interval_us = MILLISECOND * stream.pick(&[2, 10, 50, 200]);
    let outbox_high_bytes = 1024 * stream.pick(&[8, 32, 128]);
    let batches = stream.chance(1, 3);
    let mut knobs = Knobs {
        segment_bytes,
        slack_bytes: segment_bytes * stream.range(1, 4),
        append_bytes: 1024 * stream.pick(&[1, 4, 16, 64]),
        sync_interval_us,
        disk_retry_us: MILLISECOND * stream.pick(&[5, 50, 300]),
        outbox_high_bytes,
        outbox_low_bytes: outbox_high_bytes / stream.range(2, 8),
        queue_cache_bytes: 1024 * stream.pick(&[0, 4, 16, 256]),
        memory_high_bytes: 1024 * stream.pick(&[16, 64, 1024]),
        read_ahead_bytes: u32::try_from(1024 * stream.range(1, 32)).expect("small"),
        frame_max: *stream.pick(&[4096, 8192, 131_072]),
        message_size_max: 1024 * 1024,
        batch_inputs: if batches { u32::try_from(stream.range(2, 20)).expect("small") } else { 1 },
        batch_us: if batches { stream.range(1, 2000) } else { 0 },
        timer_late_us: *stream.pick(&[0, 0, 1000, 20_000]),
        buggify: fixed.buggify,
        tells_late: false,
        durability: fixed.durability(),
    };
    if let Some(bytes) = fixed.segment_bytes {
        knobs.segment_bytes = bytes;
        knobs.slack_bytes = 2 * bytes;
    }
    knobs.slack_bytes = fixed.slack_bytes.unwrap_or(knobs.slack_bytes);
    knobs.queue_cache_bytes = fixed.queue_cache_bytes.unwrap_or(knobs.queue_cache_bytes);
    knobs.memory_high_bytes = fixed.memory_high_bytes.unwrap_or(knobs.memory_high_bytes);
    if let Some(bytes) = fixed.outbox_high_bytes {
        knobs.outbox_high_bytes = bytes;
        knobs.outbox_low_bytes = bytes / 4;
    }
    if let Some(millis) = fixed.sync_interval_ms {
        knobs.sync_interval_us = millis * MILLISECOND;
    }
    if fixed.plain_links {
        knobs.batch_inputs = 1;
        knobs.batch_us = 0;
        knobs.frame_max = 131_072;
    }
    knobs
}

fn disk(stream: &mut Stream) -> DiskPlan {
    let mut disk = DiskPlan::default();
    match stream.range(0, 2) {
        0 => {}
        1 => disk.sync_us = (1000, 12_000),
        _ => {
            disk.write_us = (200, 3000);
            disk.read_us = (500, 10_000);
        }
    }
    disk
}

/// A routing key that leads to no queue.
pub(crate) const NOWHERE: &str = "nowhere";
/// The consistent hash exchange.
const RING: &str = "x.ring";
const KINDS: [&str; 4] = ["direct", "fanout", "topic", "headers"];
const TOPICS: [&str; 6] = ["a.b", "a.c", "a.b.c", "b", "c.a", ""];
const PATTERNS: [&str; 6] = ["a.*", "#", "*.b.#", "b", "#.c", "a.#"];
const KEYS: [&str; 3] = ["red", "green", "blue"];

/// What the names of a node's own things end with.
fn suffix(node: usize) -> String {
    if node == 0 { String::new() } else { format!(".{}", At::new(node).letter()) }
}

/// What the clients of one node declare and use.
fn topology(scenario: &Scenario, node: usize, stream: &mut Stream) -> Topology {
    let mut topology = Topology::default();
    let suffix = suffix(node);
    let count = scenario.clients.queues.draw(stream).max(1);
    for index in 0..count {
        let durable = index == 0 || stream.chance(4, 5);
        topology.queues.push(QueuePlan {
            name: format!("q{index}{suffix}"),
            durable,
            auto_delete: false,
            exclusive: false,
            rules: QueueRules::default(),
            node,
        });
    }
    for kind in KINDS {
        if stream.chance(1, 2) {
            let durable = stream.chance(4, 5);
            let (name, kind) = (format!("x.{kind}{suffix}"), kind.to_owned());
            topology.exchanges.push(ExchangePlan { name, kind, durable, node });
        }
    }
    if scenario.clients.consistent_hash {
        let durable = stream.chance(4, 5);
        let (name, kind) = (format!("{RING}{suffix}"), "x-consistent-hash".to_owned());
        topology.exchanges.push(ExchangePlan { name, kind, durable, node });
    }
    for exchange in topology.exchanges.clone() {
        for queue in topology.queues.clone() {
            if stream.chance(2, 3) {
                for _ in 0..stream.range(1, 2) {
                    let binding = binding(&exchange, &queue.name, false, stream);
                    if !topology.bindings.contains(&binding) {
                        topology.bindings.push(binding);
                    }
                }
            }
        }
        if stream.chance(1, 6) {
            let other = stream.pick(&topology.exchanges).name.clone();
            let binding = binding(&exchange, &other, true, stream);
            topology.bindings.push(binding);
        }
    }
    topology
}

/// Queues with replicas, which clients of all nodes use.
fn quorum_queues(scenario: &Scenario, nodes: usize, stream: &mut Stream) -> Vec<QueuePlan> {
    let count = scenario.clients.quorum_queues.draw(stream);
    let queue = |index: u64| QueuePlan {
        name: format!("r{index}"),
        durable: true,
        auto_delete: false,
        exclusive: false,
        rules: QueueRules {
            single_active: stream.chance(1, 3),
            delivery_limit: *stream.pick(&[None, None, Some(2), Some(5)]),
            is_quorum: true,
            ..QueueRules::default()
        },
        node: stream.index(nodes),
    };
    (0..count).map(queue).collect()
}

/// Classic queues of one node each, which clients of all nodes use.
fn remote_queues(scenario: &Scenario, nodes: usize, stream: &mut Stream) -> Vec<QueuePlan> {
    let count = scenario.clients.remote_queues.draw(stream);
    let queue = |index: u64| {
        let length_max = *stream.pick(&[None, None, None, Some(3), Some(30)]);
        QueuePlan {
            name: format!("h{index}"),
            durable: true,
            auto_delete: false,
            exclusive: false,
            rules: QueueRules {
                length_max,
                rejects_publish: length_max.is_some() && stream.chance(2, 3),
                is_remote: true,
                ..QueueRules::default()
            },
            node: stream.index(nodes),
        }
    };
    (0..count).map(queue).collect()
}

/// Gives some of them limits and times to live, and others for their dead letters.
fn give_rules(queues: &mut Vec<QueuePlan>, stream: &mut Stream) {
    for at in 0..queues.len() {
        let rules = &mut queues[at].rules;
        rules.message_ttl_ms = *stream.pick(&[None, None, Some(20), Some(500)]);
        rules.length_max = *stream.pick(&[None, None, Some(3), Some(30)]);
        rules.rejects_publish = rules.length_max.is_some() && stream.chance(1, 2);
        if stream.chance(1, 2) {
            let name = format!("{}.dead", queues[at].name);
            let rules = &mut queues[at].rules;
            rules.dead_letter_exchange = Some(String::new());
            rules.dead_letter_key = Some(name.clone());
            // The broker dead-letters at least once only where nothing has to be dropped.
            rules.at_least_once = stream.chance(1, 2);
            rules.rejects_publish |= rules.at_least_once;
            let rules = QueueRules { is_quorum: true, ..QueueRules::default() };
            let dead = QueuePlan { name, rules, ..queues[at].clone() };
            queues.push(dead);
        }
    }
}

fn binding(exchange: &ExchangePlan, destination: &str, to_exchange: bool, stream: &mut Stream) -> BindingPlan {
    let key = match &*exchange.kind {
        "topic" => *stream.pick(&PATTERNS),
        "direct" => *stream.pick(&KEYS),
        // A weight. All are the same.
        "x-consistent-hash" => "1",
        _ => "",
    };
    let headers = (exchange.kind == "headers").then(|| HeaderMatch {
        any: stream.chance(1, 2),
        shape: small(stream.range(0, 1)),
        colour: small(stream.range(0, 2)),
    });
    BindingPlan {
        source: exchange.name.clone(),
        destination: destination.to_owned(),
        to_exchange,
        key: key.to_owned(),
        headers,
    }
}

pub(crate) struct Maker<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) whole: &'a Topology,
    /// What the clients of each node use of it.
    parts: &'a [Topology],
    /// What clients of all nodes share.
    shared: &'a Topology,
    /// The node of the client that is being made, and whether it is one of those.
    node: usize,
    is_sharing: bool,
    knobs: &'a Knobs,
    pub(crate) chaos_us: Micros,
    pub(crate) clients: Vec<ClientPlan>,
}

impl Maker<'_> {
    fn make_clients(&mut self, seed: u64) {
        let spec = self.scenario.clients.clone();
        let mut counts = Stream::new(seed, "clients", 0);
        let mut confirming = spec.confirming.draw(&mut counts);
        let plain = spec.plain.draw(&mut counts);
        let transacting = spec.transacting.draw(&mut counts);
        if confirming + plain + transacting == 0 {
            confirming = 1;
        }
        for (kind, count) in [
            (Kind::Confirming, confirming),
            (Kind::Plain, plain),
            (Kind::Transacting, transacting),
            (Kind::Consumer, spec.consumers.draw(&mut counts)),
            (Kind::Private, spec.private.draw(&mut counts)),
            (Kind::Getter, spec.getters.draw(&mut counts)),
            (Kind::Churner, spec.churners.draw(&mut counts)),
            (Kind::Rogue, spec.rogues.draw(&mut counts)),
        ] {
            for index in 0..count {
                let mut stream = Stream::new(seed, "workload", self.clients.len() as u64);
                self.node = self.node_of(index, seed);
                let may_share = match kind {
                    Kind::Confirming | Kind::Plain | Kind::Transacting | Kind::Consumer => true,
                    Kind::Getter => self.shared.queues.iter().any(may_be_polled),
                    Kind::Private | Kind::Churner | Kind::Rogue => false,
                };
                self.is_sharing = may_share && !self.shared.queues.is_empty() && stream.chance(1, 2);
                let client = self.client(kind, &mut stream);
                self.clients.push(client);
            }
        }
        self.is_sharing = false;
    }

    /// For each queue that clients of all nodes use though it is on one, a client of that node that declares it: whoever is first has
    /// it on its own.
    fn make_declarers(&mut self, seed: u64) {
        let nodes = self.nodes();
        for (number, queue) in (0..).zip(self.whole.queues.iter().filter(|queue| queue.is_remote(nodes))) {
            let link = self.link(&mut Stream::new(seed, "declarer", number));
            let step = |wait_us| ChurnStep { wait_us, op: TopologyOp::DeclareQueue(queue.clone()) };
            self.clients.push(ClientPlan {
                start_us: 0,
                heartbeat_s: 0,
                frame_max: USUAL_FRAME_MAX,
                link,
                reconnect_us: USUAL_RECONNECT,
                node: queue.node,
                // More than once, in case that its connection breaks.
                role: Role::Churner(ChurnPlan { steps: [0, SECOND, SECOND].map(step).to_vec() }),
            });
        }
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> usize {
        self.parts.len()
    }

    /// What the client that is being made may use.
    pub(crate) fn topology(&self) -> &Topology {
        if self.is_sharing { self.shared } else { &self.parts[self.node] }
    }

    /// The node of a client: those of one kind take turns, and each seed begins elsewhere.
    fn node_of(&self, index: u64, seed: u64) -> usize {
        let nodes = self.parts.len() as u64;
        let first = Fate::new(seed, "first node").of(0, 0) % nodes;
        usize::try_from((first + index) % nodes).expect("few nodes")
    }

    fn client(&self, kind: Kind, stream: &mut Stream) -> ClientPlan {
        let link = self.link(stream);
        let mut start_us = stream.range(0, 50 * MILLISECOND);
        if matches!(kind, Kind::Consumer | Kind::Private | Kind::Getter) {
            start_us += self.scenario.clients.consumers_late_ms.draw(stream) * MILLISECOND;
        }
        let heartbeat_s = self.scenario.knobs.heartbeat_s.unwrap_or_else(|| *stream.pick(&[0, 1, 2, 60]));
        let frame_max = if self.scenario.knobs.plain_links { 131_072 } else { *stream.pick(&[4096, 16_384, 131_072]) };
        let reconnect_us = (MILLISECOND, stream.range(2, 300) * MILLISECOND);
        let role = match kind {
            Kind::Confirming => {
                let window = *stream.pick(&[1, 10, 50, 200]);
                self.publisher(PublishMode::Confirm { window }, stream)
            }
            Kind::Plain => self.publisher(PublishMode::Plain, stream),
            Kind::Transacting => {
                let batch = *stream.pick(&[1, 3, 20]);
                let rollback = *stream.pick(&[Ratio::NEVER, Ratio(1, 4)]);
                self.publisher(PublishMode::Tx { batch, rollback }, stream)
            }
            Kind::Consumer => self.consumer(false, stream),
            Kind::Private => self.consumer(true, stream),
            Kind::Getter => self.getter(stream),
            Kind::Churner => self.churner(stream),
            Kind::Rogue => self.rogue(stream),
        };
        ClientPlan { start_us, heartbeat_s, frame_max, link, reconnect_us, node: self.node, role }
    }

    pub(crate) fn link(&self, stream: &mut Stream) -> LinkPlan {
        if self.scenario.knobs.plain_links {
            return LinkPlan { latency_us: (100, 400), segment_bytes: 0, cut: Ratio::NEVER, window_bytes: 256 * 1024 };
        }
        let slow = stream.range(1, 2000);
        LinkPlan {
            latency_us: (stream.range(1, 50), 50 + slow),
            segment_bytes: *stream.pick(&[0, 0, 0, 1460, 97]),
            cut: *stream.pick(&[Ratio::NEVER, Ratio(1, 10), Ratio(1, 2)]),
            window_bytes: 1024 * *stream.pick(&[4, 64, 256]),
        }
    }

    fn publisher(&self, mode: PublishMode, stream: &mut Stream) -> Role {
        let total = self.scenario.clients.messages.draw(stream);
        let persistent_share = *stream.pick(&[Ratio(1, 1), Ratio(4, 5), Ratio(1, 2)]);
        let mandatory_share = *stream.pick(&[Ratio::NEVER, Ratio(1, 3)]);
        let mut bursts = Vec::new();
        let mut left = total;
        let average_gap = self.chaos_us / total.max(1);
        while left > 0 {
            let count = stream.range(1, 60).min(left);
            left -= count;
            let (exchange, key) = self.target(stream);
            let gap_us = *stream.pick(&[0, 0, average_gap / 2]);
            let wait_us = (average_gap * count).saturating_sub(gap_us * count);
            bursts.push(Burst {
                wait_us,
                gap_us,
                count: u32::try_from(count).expect("small"),
                exchange,
                key,
                persistent: stream.hits(persistent_share),
                mandatory: stream.hits(mandatory_share),
                size: self.size(stream),
                extras: BurstExtras { hostile_bodies: self.scenario.clients.hostile_bodies, ..BurstExtras::default() },
            });
        }
        Role::Publisher(PublisherPlan { mode, republish: stream.chance(4, 5), bursts })
    }

    pub(crate) fn size(&self, stream: &mut Stream) -> (u32, u32) {
        let most = match self.scenario.clients.body_max {
            0 => 40_000,
            most => u32::try_from(most).expect("bodies are small"),
        };
        let pair = *stream.pick(&[
            (0, 0),
            (0, 64),
            (10, 300),
            (10, 300),
            (500, 2000),
            (500, 2000),
            (4000, 9000),
            (8192, 40_000),
        ]);
        (most.min(pair.0), most.min(pair.1))
    }

    /// An exchange and a routing key for some messages.
    fn target(&self, stream: &mut Stream) -> (String, String) {
        if self.topology().exchanges.is_empty() || stream.chance(1, 2) {
            let unroutable = stream.chance(1, 30);
            let queue = if unroutable { NOWHERE.to_owned() } else { stream.pick(&self.topology().queues).name.clone() };
            return (String::new(), queue);
        }
        let exchange = stream.pick(&self.topology().exchanges);
        let key = match &*exchange.kind {
            "topic" => (*stream.pick(&TOPICS)).to_owned(),
            "direct" => (*stream.pick(&KEYS)).to_owned(),
            "x-consistent-hash" => format!("key {}", stream.range(0, 99)),
            _ => "any".to_owned(),
        };
        (exchange.name.clone(), key)
    }

    fn answer(&self, stream: &mut Stream) -> AnswerPlan {
        let think_us = *stream.pick(&[(0, 0), (0, 0), (0, 1000), (500, 20_000)]);
        AnswerPlan {
            think_us,
            forget: *stream.pick(&[Ratio::NEVER, Ratio::NEVER, Ratio(1, 200)]),
            requeue: *stream.pick(&[Ratio::NEVER, Ratio(1, 20), Ratio(1, 4)]),
            drop: *stream.pick(&[Ratio::NEVER, Ratio::NEVER, Ratio(1, 20)]),
            nack: stream.chance(1, 2),
            multiple: *stream.pick(&[1, 1, 1, 5, 30]),
        }
    }

    fn consumer(&self, private: bool, stream: &mut Stream) -> Role {
        let mut bindings = Vec::new();
        let queue = if private {
            let kind = stream.range(0, 3);
            let name = match kind {
                0 => String::new(),
                _ => format!("own{}", self.clients.len()),
            };
            let exchange = if self.topology().exchanges.is_empty() {
                let (name, kind) = ("amq.fanout".to_owned(), "fanout".to_owned());
                ExchangePlan { name, kind, durable: true, node: self.node }
            } else {
                stream.pick(&self.topology().exchanges).clone()
            };
            for _ in 0..stream.range(1, 2) {
                bindings.push(binding(&exchange, "", false, stream));
            }
            QueuePlan {
                name,
                durable: stream.chance(1, 2),
                auto_delete: kind >= 2,
                exclusive: kind <= 1,
                rules: QueueRules::default(),
                node: self.node,
            }
        } else {
            stream.pick(&self.topology().queues).clone()
        };
        let no_ack = stream.chance(1, 8);
        let mut acts = Vec::new();
        for _ in 0..*stream.pick(&[0, 0, 1, 3]) {
            let after = u32::try_from(stream.range(1, 150)).expect("small");
            let what = *stream.pick(&[
                ConsumerDeed::Cancel,
                ConsumerDeed::Recover,
                ConsumerDeed::CloseChannel,
                ConsumerDeed::CloseConnection,
                ConsumerDeed::Crash,
            ]);
            acts.push(ConsumerAct { after, what });
        }
        acts.sort_by_key(|act| act.after);
        Role::Consumer(ConsumerPlan {
            queue,
            bindings,
            consumers: *stream.pick(&[1, 1, 1, 2, 3]),
            prefetch: *stream.pick(&[0, 1, 2, 10, 100]),
            // RabbitMQ has neither for quorum queues, or cannot be judged by it.
            global: stream.chance(1, 4) && !self.is_sharing,
            no_ack,
            exclusive: stream.chance(1, 20) && !self.is_sharing,
            priority: 0,
            answer: self.answer(stream),
            acts,
        })
    }

    fn getter(&self, stream: &mut Stream) -> Role {
        let every_us = stream.range(500, 30_000);
        Role::Getter(GetterPlan {
            queue: {
                let queues: Vec<&QueuePlan> = self.topology().queues.iter().filter(|it| may_be_polled(it)).collect();
                stream.pick(&queues).name.clone()
            },
            every_us,
            count: u32::try_from((self.chaos_us / every_us).min(2000)).expect("small"),
            no_ack: stream.chance(1, 4),
            answer: self.answer(stream),
        })
    }

    fn churner(&self, stream: &mut Stream) -> Role {
        let count = stream.range(20, 150);
        let wait_most = 2 * self.chaos_us / count;
        let suffix = suffix(self.node);
        let mut names = vec![format!("c0{suffix}"), format!("c1{suffix}")];
        names.truncate(usize::try_from(stream.range(1, 2)).expect("small"));
        let durable = stream.chance(3, 4);
        let queue = |name: &String| QueuePlan {
            name: name.clone(),
            durable,
            auto_delete: false,
            exclusive: false,
            rules: QueueRules::default(),
            node: self.node,
        };
        let purges_shared = stream.chance(1, 4);
        let ring = self.topology().exchanges.iter().find(|exchange| exchange.name.starts_with(RING));
        // Each kind of operation is off in half of the runs, except declaring.
        let enabled: Vec<bool> = (0..8).map(|kind| kind == 0 || stream.chance(1, 2)).collect();
        let mut steps = Vec::new();
        for _ in 0..count {
            let name = stream.pick(&names).clone();
            let kind = stream.index(enabled.len());
            let (exchange, kind_of_it) = (format!("c.x{suffix}"), "fanout".to_owned());
            let exchange = ExchangePlan { name: exchange, kind: kind_of_it, durable, node: self.node };
            let ring = ring.filter(|_| stream.chance(1, 2));
            let bound = |stream: &mut Stream| match ring {
                Some(ring) if stream.chance(1, 2) => binding(ring, &exchange.name, true, stream),
                Some(ring) => binding(ring, &name, false, stream),
                None => binding(&exchange, &name, false, stream),
            };
            let op = match if enabled[kind] { kind } else { 0 } {
                1 => TopologyOp::DeleteQueue {
                    queue: name,
                    if_unused: stream.chance(1, 4),
                    if_empty: stream.chance(1, 4),
                },
                2 if purges_shared && stream.chance(1, 4) => {
                    TopologyOp::Purge(stream.pick(&self.topology().queues).name.clone())
                }
                2 => TopologyOp::Purge(name),
                3 => TopologyOp::Bind(bound(stream)),
                4 => TopologyOp::Unbind(bound(stream)),
                5 if stream.chance(1, 3) => TopologyOp::DeleteExchange(exchange.name),
                5 => TopologyOp::DeclareExchange(exchange),
                6 => TopologyOp::PassiveQueue(name),
                7 => {
                    let (exchange, key) =
                        if stream.chance(1, 3) { (exchange.name, String::new()) } else { (String::new(), name) };
                    let count = u32::try_from(stream.range(1, 10)).expect("small");
                    let (persistent, size) = (stream.chance(1, 2), (10, 300));
                    TopologyOp::Publish(Burst {
                        wait_us: 0,
                        gap_us: 0,
                        count,
                        exchange,
                        key,
                        persistent,
                        mandatory: false,
                        size,
                        extras: BurstExtras::default(),
                    })
                }
                _ => TopologyOp::DeclareQueue(queue(&name)),
            };
            steps.push(ChurnStep { wait_us: stream.range(0, wait_most), op });
        }
        Role::Churner(ChurnPlan { steps })
    }

    fn rogue(&self, stream: &mut Stream) -> Role {
        let count = stream.range(3, 15);
        let wait_most = 2 * self.chaos_us / count;
        let steps = (0..count)
            .map(|_| RogueStep {
                wait_us: stream.range(0, wait_most),
                what: *stream.pick(&[
                    RogueDeed::Garbage,
                    RogueDeed::HugeFrame,
                    RogueDeed::BadFrameEnd,
                    RogueDeed::StrayBody,
                    RogueDeed::ClosedChannel,
                    RogueDeed::NoExchange,
                    RogueDeed::UnknownTag,
                    RogueDeed::Contradict,
                    RogueDeed::NoQueue,
                    RogueDeed::HalfPublish,
                ]),
            })
            .collect();
        let _ = self.knobs;
        Role::Rogue(RoguePlan { steps })
    }
}

/// Only the single active consumer of a quorum queue may have what is in it (RabbitMQ docs: Single Active Consumer).
fn may_be_polled(queue: &QueuePlan) -> bool {
    !(queue.rules.is_quorum && queue.rules.single_active)
}

#[derive(Clone, Copy)]
enum Kind {
    Confirming,
    Plain,
    Transacting,
    Consumer,
    Private,
    Getter,
    Churner,
    Rogue,
}

fn faults(scenario: &Scenario, chaos_us: Micros, clients: usize, stream: &mut Stream) -> Vec<Fault> {
    let spec = &scenario.faults;
    let mut faults = Vec::new();
    let mut add = |stream: &mut Stream, count: u64, longest: Micros, kind: &mut dyn FnMut(&mut Stream) -> FaultKind| {
        for _ in 0..count {
            let at_us = stream.range(chaos_us / 20, chaos_us);
            let for_us = stream.range(MILLISECOND, longest);
            faults.push(Fault {
                at_us,
                for_us,
                kind: kind(stream),
                node: 0,
                of_leader: false,
                of_queue: None,
                on: None,
            });
        }
    };
    for (span, how) in
        [(spec.kill, Ending::Kill), (spec.power_loss, Ending::PowerLoss), (spec.shutdown, Ending::Shutdown)]
    {
        let count = span.draw(stream);
        add(stream, count, 300 * MILLISECOND, &mut |stream| {
            let again = u32::try_from(spec.again.draw(stream)).expect("small");
            FaultKind::End { how, busy: stream.chance(9, 10), again }
        });
    }
    let count = spec.disk_full.draw(stream);
    add(stream, count, SECOND, &mut |stream| FaultKind::DiskFull { append: stream.chance(1, 2) });
    let count = spec.fsync_error.draw(stream);
    add(stream, count, 200 * MILLISECOND, &mut |_| FaultKind::FsyncError);
    let count = spec.disk_stall.draw(stream);
    add(stream, count, SECOND, &mut |_| FaultKind::DiskStall);
    let count = spec.disk_slow.draw(stream);
    add(stream, count, SECOND, &mut |stream| FaultKind::DiskSlow {
        factor: u32::try_from(stream.range(2, 50)).expect("small"),
    });
    let count = spec.reset.draw(stream);
    add(stream, count, MILLISECOND, &mut |stream| FaultKind::Reset { client: stream.index(clients) });
    let count = spec.fin.draw(stream);
    add(stream, count, MILLISECOND, &mut |stream| FaultKind::Fin { client: stream.index(clients) });
    let count = spec.half_open.draw(stream);
    add(stream, count, MILLISECOND, &mut |stream| FaultKind::HalfOpen { client: stream.index(clients) });
    let count = spec.stop_reading.draw(stream);
    add(stream, count, SECOND, &mut |stream| FaultKind::StopReading { client: stream.index(clients) });
    let count = spec.slow_link.draw(stream);
    add(stream, count, SECOND, &mut |stream| FaultKind::SlowLink {
        client: stream.index(clients),
        bytes_per_ms: u32::try_from(stream.range(20, 2000)).expect("small"),
    });
    let count = spec.memory_high.draw(stream);
    add(stream, count, 2 * SECOND, &mut |_| FaultKind::MemoryHigh);
    let count = spec.disk_low.draw(stream);
    add(stream, count, 2 * SECOND, &mut |_| FaultKind::DiskLow);
    let count = spec.read_errors.draw(stream);
    add(stream, count, SECOND, &mut |_| FaultKind::ReadErrors);
    let count = spec.rot.draw(stream);
    add(stream, count, MILLISECOND, &mut |_| FaultKind::Rot);
    faults
}

fn small(number: u64) -> u8 {
    u8::try_from(number).expect("a small number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_one_plan_and_a_plan_survives_its_file() {
        for scenario in Scenario::built_in() {
            let plan = generate(&scenario, 7);
            let text = serde_json::to_string(&plan).unwrap();
            assert_eq!(text, serde_json::to_string(&generate(&scenario, 7)).unwrap());
            let back: Plan = serde_json::from_str(&text).unwrap();
            assert_eq!(text, serde_json::to_string(&back).unwrap());
            assert!(!plan.clients.is_empty(), "{}", plan.scenario);
        }
    }
}
