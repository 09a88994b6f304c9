//! From what is written by hand to a plan.

use super::hand::{ClientByHand, ClientKind, Deed, FaultByHand, NemesisSpec, Overflow, QueueSpec, QueueType, Strategy};
use super::kinds::{self, Details, Victim};
use super::target::Target;
use super::value::{Pair, Share, Time};
use super::{Scenario, moment, target};
use crate::clock::{MILLISECOND, Micros};
use crate::nodes::At;
use crate::options::Maker;
use crate::plan::{
    AnswerPlan, BindingPlan, Burst, BurstExtras, ChurnPlan, ChurnStep, ClientPlan, ConsumerAct, ConsumerDeed,
    ConsumerPlan, ExchangePlan, Fault, FaultKind, GetterPlan, PublishMode, PublisherPlan, QueuePlan, QueueRules, Role,
    Topology, TopologyOp,
};
use crate::rng::{Ratio, Stream};

/// Acts that a consumer repeats at most so often.
const ACTS_MAX: u32 = 40;

/// What a client does where its file says nothing.
const MESSAGES: u32 = 200;
const CONFIRMS: u32 = 50;
const BODY_BYTES: u32 = 100;
const PREFETCH: u16 = 10;

/// What is declared.
pub(crate) fn topology(scenario: &Scenario, nodes: usize) -> Topology {
    let exchanges = scenario.exchange.iter().map(|exchange| ExchangePlan {
        name: exchange.name.as_ref().clone(),
        kind: exchange.kind.name().to_owned(),
        durable: exchange.durable,
        node: exchange.home(),
    });
    let queues = scenario.queue.iter().flat_map(|queue| {
        let plan = |(number, name)| QueuePlan {
            name,
            durable: queue.durable,
            auto_delete: false,
            exclusive: false,
            rules: rules(queue),
            node: queue.home(number, nodes),
        };
        (0..).zip(queue.names()).map(plan).collect::<Vec<_>>()
    });
    let bindings = scenario.binding.iter().flat_map(|binding| {
        let (to_exchange, destinations) = match (&binding.queue, &binding.to_exchange) {
            (Some(queue), _) => (false, names(scenario, queue.as_ref())),
            (None, Some(exchange)) => (true, vec![exchange.as_ref().clone()]),
            (None, None) => (false, Vec::new()),
        };
        destinations.into_iter().map(move |destination| BindingPlan {
            source: binding.exchange.as_ref().clone(),
            destination,
            to_exchange,
            key: binding.key.clone(),
            headers: None,
        })
    });
    Topology {
        exchanges: exchanges.collect(),
        queues: queues.collect(),
        bindings: bindings.collect(),
        rewrites: scenario.is_story(),
    }
}

fn rules(queue: &QueueSpec) -> QueueRules {
    QueueRules {
        message_ttl_ms: queue.message_ttl,
        expires_ms: None,
        length_max: queue.max_length,
        rejects_publish: queue.overflow == Overflow::RejectPublish,
        dead_letter_exchange: queue.dead_letter_exchange.as_ref().map(|it| it.as_ref().clone()),
        dead_letter_key: queue.dead_letter_routing_key.clone(),
        at_least_once: queue.dead_letter_strategy == Strategy::AtLeastOnce,
        priority_max: queue.max_priority,
        single_active: queue.single_active_consumer,
        delivery_limit: queue.delivery_limit,
        consumer_timeout_ms: queue.consumer_timeout,
        retry_ms: queue.retry,
        is_quorum: queue.queue_type == QueueType::Quorum,
        group_size: queue.group_size,
        target_size: queue.target_size,
        mirrors: queue.ha_mode.filter(|_| queue.ha_after.is_none()).map(|_| queue.ha_params.unwrap_or(0)),
        is_remote: queue.remote,
        mirrored_later: queue.ha_after.map(|after| {
            let after_ms = u32::try_from(after.0 / MILLISECOND).unwrap_or(u32::MAX);
            (after_ms, queue.ha_params.unwrap_or(0))
        }),
    }
}

/// The queues that a name stands for; a name that is not declared is that of a drawn queue.
fn names(scenario: &Scenario, name: &str) -> Vec<String> {
    let queue = scenario.queue.iter().find(|queue| queue.name.as_ref() == name);
    queue.map_or_else(|| vec![name.to_owned()], QueueSpec::names)
}

impl Maker<'_> {
    /// The clients that are written by hand.
    pub(crate) fn make_clients_by_hand(&mut self, seed: u64) {
        let scenario = self.scenario;
        let mut number = 0;
        for spec in scenario.client.iter().map(|client| client.as_ref()) {
            for index in 0..spec.count.unwrap_or(1) {
                let mut stream = Stream::new(seed, "client by hand", number);
                let client = self.client_by_hand(spec, index as usize, &mut stream);
                self.clients.push(client);
                number += 1;
            }
        }
    }

    fn client_by_hand(&self, spec: &ClientByHand, index: usize, stream: &mut Stream) -> ClientPlan {
        let link = self.link(stream);
        let soon = Pair(Time(0), Time(50 * MILLISECOND));
        let role = match spec.kind {
            ClientKind::Publisher => self.publisher_by_hand(spec, index),
            ClientKind::Consumer => self.consumer_by_hand(spec, index),
            ClientKind::Getter => self.getter_by_hand(spec, index),
            ClientKind::Churner => self.churner_by_hand(spec, index),
        };
        ClientPlan {
            start_us: spec.start.unwrap_or(soon).draw(stream),
            heartbeat_s: spec.heartbeat.unwrap_or(0),
            frame_max: *stream.pick(&[4096, 131_072]),
            link,
            reconnect_us: spec.reconnect.unwrap_or(Pair(Time(MILLISECOND), Time(100 * MILLISECOND))).micros(),
            node: self.home_of(spec, index),
            role,
        }
    }

    /// The node of the client of that number: where its queue is, or its exchange.
    fn home_of(&self, spec: &ClientByHand, index: usize) -> usize {
        match (&spec.queue, &spec.exchange) {
            (Some(_), _) if self.is_sharing(spec) => {
                let node = spec.node.as_ref().and_then(|node| At::of_letter(node.as_ref()));
                node.map_or_else(|| index % self.nodes(), At::number)
            }
            (Some(_), _) => self.home_of_queue(&self.queue_name(spec, index)),
            (None, Some(exchange)) => {
                let place = self.whole.exchanges.iter().find(|it| it.name == *exchange.as_ref());
                place.map_or(0, |exchange| exchange.node)
            }
            (None, None) => 0,
        }
    }

    /// Whether its queue is one of all nodes.
    fn is_sharing(&self, spec: &ClientByHand) -> bool {
        let name = spec.queue.as_ref().map(|name| name.as_ref());
        self.scenario.queue.iter().any(|queue| Some(queue.name.as_ref()) == name && self.scenario.is_shared(queue))
    }

    fn home_of_queue(&self, name: &str) -> usize {
        self.whole.queues.iter().find(|queue| queue.name == name).map_or(0, |queue| queue.node)
    }

    fn publisher_by_hand(&self, spec: &ClientByHand, index: usize) -> Role {
        let keys: Vec<String> = match &spec.queue {
            Some(queue) => {
                let home = self.home_of(spec, index);
                let all = names(self.scenario, queue.as_ref()).into_iter();
                all.filter(|name| self.is_sharing(spec) || self.home_of_queue(name) == home).collect()
            }
            None => spec.keys.iter().map(|key| key.as_ref().clone()).collect(),
        };
        let total = spec.messages.unwrap_or(MESSAGES);
        // All keys come up several times, if there are messages enough.
        let turns = u32::try_from(8 * keys.len()).expect("few keys");
        let several = if keys.len() > 1 { (total / turns).max(1) } else { total.max(1) };
        let at_once = spec.burst.unwrap_or(several).max(1);
        let fill = |count: u32| self.chaos_us / u64::from(count.max(1));
        let gap = spec.gap.map(|gap| gap.0).or_else(|| spec.rate.map(super::value::Rate::gap_us));
        let (gap_us, wait_us) = if spec.burst.is_some() {
            (gap.unwrap_or(0), spec.pause.map_or_else(|| fill(total / at_once), |pause| pause.0))
        } else {
            let gap = gap.unwrap_or_else(|| fill(total));
            (gap, gap)
        };
        let small = |span: Pair<i32>| {
            let end = |it: i32| u8::try_from(it).expect("checked when it was read");
            (end(span.0), end(span.1))
        };
        let burst = |number: u32| Burst {
            wait_us: if number == 0 { 0 } else { wait_us },
            gap_us,
            count: at_once.min(total - number * at_once),
            exchange: spec.exchange.as_ref().map_or_else(String::new, |exchange| exchange.as_ref().clone()),
            key: keys[number as usize % keys.len()].clone(),
            persistent: spec.persistent.unwrap_or(true),
            mandatory: spec.mandatory,
            size: spec.size.map_or((BODY_BYTES, BODY_BYTES), |size| (size.0, size.1)),
            extras: BurstExtras {
                expiration_ms: spec.expiration.map(|span| (span.0, span.1)),
                priority: spec.priority.map(small),
                delay_ms: spec.delay.map(|span| (span.0, span.1)),
                hostile_bodies: spec.hostile_bodies,
            },
        };
        let mode = match (spec.tx, spec.confirms.unwrap_or(CONFIRMS)) {
            (Some(batch), _) => PublishMode::Tx { batch, rollback: share(spec.rollback) },
            (None, 0) => PublishMode::Plain,
            (None, window) => PublishMode::Confirm { window },
        };
        let bursts = (0..total.div_ceil(at_once)).map(burst).collect();
        // Copies of a message with rules could not be told from it.
        let republish = spec.republish.unwrap_or(true) && !self.scenario.is_story();
        Role::Publisher(PublisherPlan { mode, republish, bursts })
    }

    fn consumer_by_hand(&self, spec: &ClientByHand, index: usize) -> Role {
        let name = self.queue_name(spec, index);
        let queue = self.whole.queues.iter().find(|queue| queue.name == name).expect("it is declared").clone();
        let acts = [(spec.cancel_every, ConsumerDeed::Cancel), (spec.recover_every, ConsumerDeed::Recover)];
        let acts = acts.into_iter().filter_map(|(every, what)| Some((every?, what)));
        let mut acts: Vec<ConsumerAct> = acts
            .flat_map(|(every, what)| (1..=ACTS_MAX).map(move |turn| ConsumerAct { after: turn * every, what }))
            .collect();
        acts.sort_by_key(|act| act.after);
        Role::Consumer(ConsumerPlan {
            queue,
            bindings: Vec::new(),
            consumers: spec.tags.unwrap_or(1),
            prefetch: spec.prefetch.unwrap_or(PREFETCH),
            global: spec.global,
            no_ack: spec.no_ack,
            exclusive: spec.exclusive,
            priority: spec.priority.map_or(0, |priority| priority.0),
            answer: answer(spec),
            acts,
        })
    }

    fn getter_by_hand(&self, spec: &ClientByHand, index: usize) -> Role {
        let count = spec.messages.unwrap_or(MESSAGES);
        let gap = spec.gap.map(|gap| gap.0).or_else(|| spec.rate.map(super::value::Rate::gap_us));
        Role::Getter(GetterPlan {
            queue: self.queue_name(spec, index),
            every_us: gap.unwrap_or_else(|| self.chaos_us / u64::from(count.max(1))),
            count,
            no_ack: spec.no_ack,
            answer: answer(spec),
        })
    }

    fn churner_by_hand(&self, spec: &ClientByHand, index: usize) -> Role {
        let name = self.queue_name(spec, index);
        let queue = self.whole.queues.iter().find(|queue| queue.name == name).expect("it is declared");
        let count = spec.messages.unwrap_or(MESSAGES);
        let gap = spec.gap.map(|gap| gap.0).or_else(|| spec.rate.map(super::value::Rate::gap_us));
        let wait_us = gap.unwrap_or_else(|| self.chaos_us / u64::from(count.max(1)));
        let op = |deed: &Deed| match deed {
            Deed::Declare => TopologyOp::DeclareQueue(queue.clone()),
            Deed::Purge => TopologyOp::Purge(name.clone()),
            Deed::Delete => TopologyOp::DeleteQueue { queue: name.clone(), if_unused: false, if_empty: false },
        };
        let deeds = spec.does.iter().cycle().take(count as usize);
        Role::Churner(ChurnPlan { steps: deeds.map(|deed| ChurnStep { wait_us, op: op(deed) }).collect() })
    }

    /// The queue of the client of that number: of several of one name each client takes another.
    fn queue_name(&self, spec: &ClientByHand, index: usize) -> String {
        let name = spec.queue.as_ref().expect("checked when it was read");
        let names = names(self.scenario, name.as_ref());
        names[index % names.len()].clone()
    }
}

fn answer(spec: &ClientByHand) -> AnswerPlan {
    let think = spec.sleep.or(spec.think).unwrap_or_default();
    AnswerPlan {
        think_us: think.micros(),
        forget: share(spec.forget),
        requeue: share(spec.requeue),
        drop: share(spec.reject),
        nack: spec.nack,
        multiple: spec.multiple.unwrap_or(1),
    }
}

fn share(share: Option<Share>) -> Ratio {
    share.map_or(Ratio::NEVER, |share| share.0)
}

/// The faults that are written by hand, with the crashes of clients.
pub(crate) fn faults(
    scenario: &Scenario,
    chaos_us: Micros,
    clients: &[ClientPlan],
    topology: &Topology,
    nodes: usize,
    seed: u64,
) -> Vec<Fault> {
    let place = Place { scenario, clients, topology, nodes };
    let mut faults = Vec::new();
    for (number, fault) in (0..).zip(&scenario.fault) {
        let mut stream = Stream::new(seed, "fault by hand", number);
        faults.extend(one(&place, fault, &mut stream));
    }
    for (number, nemesis) in (0..).zip(&scenario.nemesis) {
        let mut stream = Stream::new(seed, "nemesis by hand", number);
        faults.extend(repeated(&place, nemesis, chaos_us, &mut stream));
    }
    let counts = scenario.client.iter().map(|client| client.as_ref());
    let by_hand = counts.flat_map(|spec| (0..spec.count.unwrap_or(1)).map(move |_| spec.crash_every));
    let first = clients.len() - by_hand.clone().count();
    for (client, every) in (first..).zip(by_hand) {
        let Some(every) = every else { continue };
        let mut stream = Stream::new(seed, "crashes by hand", client as u64);
        let mut at_us = every.draw(&mut stream);
        while at_us < chaos_us {
            faults.push(Fault {
                at_us,
                for_us: MILLISECOND,
                kind: FaultKind::Reset { client },
                node: 0,
                of_leader: false,
                of_queue: None,
                on: None,
            });
            at_us += every.draw(&mut stream).max(MILLISECOND);
        }
    }
    faults
}

/// Where faults happen.
struct Place<'a> {
    scenario: &'a Scenario,
    clients: &'a [ClientPlan],
    topology: &'a Topology,
    nodes: usize,
}

/// Whom a fault happens to.
#[derive(Clone)]
struct Whom {
    client: usize,
    node: usize,
    of_leader: bool,
    of_queue: Option<String>,
}

fn one(place: &Place<'_>, fault: &FaultByHand, stream: &mut Stream) -> Vec<Fault> {
    let kind = kinds::find(fault.kind.as_ref()).expect("checked when it was read");
    let at_us = fault.at.as_ref().map_or(0, |at| at.as_ref().draw(stream));
    let after_us = fault.after.map_or(0, |after| after.draw(stream));
    let for_us = fault.lasts.map_or(kind.default_us, |lasts| lasts.draw(stream));
    let on = fault.on.as_ref().map(|on| {
        let mut trigger = moment::parse(on.as_ref()).expect("checked when it was read");
        trigger.queues = trigger.queues.iter().flat_map(|queue| names(place.scenario, queue)).collect();
        trigger.after_us = after_us;
        trigger
    });
    let at_us = if on.is_some() { 0 } else { at_us + after_us };
    let mut details = details(fault.again, fault.factor, fault.bytes_per_ms, fault.append);
    let aim = fault.target.as_ref().map(|it| &**it.as_ref());
    details.ways =
        if fault.parts.is_empty() { place.ways(aim) } else { between(&fault.parts, fault.one_way, place.nodes) };
    details.extra = fault.extra.map_or(details.extra, |extra| extra.0);
    let mut whom = place.victims(kind, aim);
    if is_any_node(kind, aim) && whom.len() > 1 {
        whom = vec![stream.pick(&whom).clone()];
    }
    whom.into_iter()
        .map(|Whom { client, node, of_leader, of_queue }| {
            let kind = (kind.make)(&details, client);
            Fault { at_us, for_us, kind, node, of_leader, of_queue, on: on.clone() }
        })
        .collect()
}

fn repeated(place: &Place<'_>, nemesis: &NemesisSpec, chaos_us: Micros, stream: &mut Stream) -> Vec<Fault> {
    let kind = kinds::find(nemesis.kind.as_ref()).expect("checked when it was read");
    let mut details = details(nemesis.again, nemesis.factor, nemesis.bytes_per_ms, nemesis.append);
    let aim = nemesis.target.as_ref().map(|it| &**it.as_ref());
    details.ways = place.ways(aim);
    let victims = place.victims(kind, aim);
    let mut faults = Vec::new();
    let mut at_us = nemesis.every.as_ref().draw(stream);
    while at_us < chaos_us && !victims.is_empty() {
        let Whom { client, node, of_leader, of_queue } = stream.pick(&victims).clone();
        let for_us = nemesis.lasts.map_or(kind.default_us, |lasts| lasts.draw(stream));
        let kind = (kind.make)(&details, client);
        faults.push(Fault { at_us, for_us, kind, node, of_leader, of_queue, on: None });
        at_us += nemesis.every.as_ref().draw(stream);
    }
    faults
}

impl Place<'_> {
    /// All that are meant; one entry that means nothing where it is what is between nodes.
    fn victims(&self, kind: &kinds::Kind, aim: Option<&str>) -> Vec<Whom> {
        let first = Whom { client: 0, node: 0, of_leader: false, of_queue: None };
        let aim = parse(aim);
        let queues = aim.queue().map(|queue| names(self.scenario, queue)).unwrap_or_default();
        match kind.victim {
            Victim::Ways => vec![first],
            Victim::Client => {
                aim.clients(self.clients, &queues).into_iter().map(|client| Whom { client, ..first.clone() }).collect()
            }
            Victim::Node => match aim {
                Target::One(at) => vec![Whom { node: at.number(), ..first }],
                Target::ClusterLeader => vec![Whom { of_leader: true, ..first }],
                Target::Leader(_) => {
                    let homes = self.topology.queues.iter().filter(|queue| queues.contains(&queue.name));
                    let home = |queue: &QueuePlan| match queue.is_shared(self.nodes) && !queue.is_remote(self.nodes) {
                        true => (0, Some(queue.name.clone())),
                        false => (queue.node, None),
                    };
                    let mut homes: Vec<(usize, Option<String>)> = homes.map(home).collect();
                    homes.dedup();
                    homes.into_iter().map(|(node, of_queue)| Whom { node, of_queue, ..first.clone() }).collect()
                }
                Target::All | Target::Node | Target::Client(_) | Target::Clients(..) => {
                    (0..self.nodes).map(|node| Whom { node, ..first.clone() }).collect()
                }
            },
        }
    }

    /// The ways between nodes that are meant: those of one node, or all.
    fn ways(&self, aim: Option<&str>) -> Vec<(usize, usize)> {
        let of = if let Target::One(at) = parse(aim) { Some(at.number()) } else { None };
        all_ways(self.nodes).filter(|(from, to)| of.is_none_or(|of| of == *from || of == *to)).collect()
    }
}

fn all_ways(nodes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..nodes).flat_map(move |from| (0..nodes).map(move |to| (from, to))).filter(|(from, to)| from != to)
}

/// The ways between nodes that have no part in common; `one_way`: only those out of the first part.
fn between(parts: &[Vec<String>], one_way: bool, nodes: usize) -> Vec<(usize, usize)> {
    let is_in = |part: &Vec<String>, node: usize| part.contains(&At::new(node).letter().to_string());
    let is_cut = |(from, to): &(usize, usize)| {
        let is_placed = |node| parts.iter().any(|part| is_in(part, node));
        let share_a_part = parts.iter().any(|part| is_in(part, *from) && is_in(part, *to));
        is_placed(*from) && is_placed(*to) && !share_a_part && (!one_way || is_in(&parts[0], *from))
    };
    all_ways(nodes).filter(is_cut).collect()
}

fn parse(aim: Option<&str>) -> Target {
    aim.map_or(Target::All, |aim| target::parse(aim).expect("checked when it was read"))
}

/// Whether a fault happens to one node of all, whichever.
fn is_any_node(kind: &kinds::Kind, aim: Option<&str>) -> bool {
    kind.victim == Victim::Node && (aim.is_none() || parse(aim) == Target::Node)
}

fn details(again: u32, factor: Option<u32>, rate: Option<u32>, append: Option<bool>) -> Details {
    Details {
        again,
        factor: factor.unwrap_or(10),
        rate: rate.unwrap_or(100),
        append: append.unwrap_or(true),
        ways: Vec::new(),
        extra: 50 * MILLISECOND,
    }
}
