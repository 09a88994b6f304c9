//! Whether the parts of a scenario fit together. What a type can say is said there; this is the rest.

use std::ops::Range;

use toml::Spanned;

use super::error::{Complaint, hint};
use super::hand::{
    ClientByHand, ClientKind, FaultByHand, HaMode, NemesisSpec, Overflow, QueueSpec, QueueType, Strategy,
};
use super::kinds::{self, Victim};
use super::value::Pair;
use super::{ClientSpec, ExchangeType, Scenario, moment, target};
use crate::clock::{MILLISECOND, Micros};
use crate::nodes::{At, NODES_MAX};
use crate::plan::Durability;
use crate::run::all_planted;

type Checked = Result<(), Complaint>;

/// The first thing that is wrong.
pub(super) fn check(scenario: &Scenario) -> Checked {
    check_nodes(scenario)?;
    check_expectations(scenario)?;
    check_durability(scenario)?;
    scenario.queue.iter().try_for_each(|queue| check_queue(scenario, queue))?;
    check_bindings(scenario)?;
    scenario.client.iter().try_for_each(|client| check_client(scenario, client))?;
    scenario.fault.iter().try_for_each(|fault| check_fault(scenario, fault))?;
    scenario.nemesis.iter().try_for_each(|nemesis| check_nemesis(scenario, nemesis))
}

fn check_nodes(scenario: &Scenario) -> Checked {
    let cluster = &scenario.cluster;
    if let Some(nodes) = &cluster.nodes {
        let Pair(least, most) = *nodes.as_ref();
        if least < 1 || u64::from(most) > NODES_MAX as u64 {
            return Err(Complaint::new(nodes.span(), format!("a scenario has 1 to {NODES_MAX} nodes")));
        }
        if most > 1 && scenario.is_story() {
            let reason = "queues and messages with rules, and [story], are judged on one node: leave [cluster] out";
            return Err(Complaint::new(nodes.span(), reason));
        }
    }
    let most = scenario.nodes_max();
    let least = scenario.cluster.nodes.as_ref().map_or(1, |nodes| nodes.as_ref().0 as usize);
    if let Some(nodes) = &cluster.nodes
        && least == 1
        && (scenario.queue.iter().any(|queue| scenario.is_shared(queue))
            || scenario.clients.quorum_queues.1 + scenario.clients.remote_queues.1 > 0)
    {
        return Err(Complaint::new(nodes.span(), "queues of all nodes take at least two of them in every run"));
    }
    cluster.far.iter().try_for_each(|far| known_node(most, &far.node))?;
    let places = scenario.queue.iter().filter_map(|queue| queue.node.as_ref());
    let mut places = places.chain(scenario.exchange.iter().filter_map(|exchange| exchange.node.as_ref()));
    places.try_for_each(|node| known_node(least, node))
}

fn known_node(nodes: usize, name: &Spanned<String>) -> Checked {
    let names = At::letters(nodes);
    known("node", name, names.iter().map(String::as_str))
}

fn check_expectations(scenario: &Scenario) -> Checked {
    let expect = &scenario.expect;
    if let Some(fails) = &expect.fails {
        known("promise", fails, crate::oracle::names())?;
    }
    for mark in &expect.sometimes {
        known("situation", mark, crate::situation::NAMES.iter().copied())?;
    }
    if let Some(plant) = &scenario.node.plant {
        let names: Vec<String> = all_planted().map(|it| format!("{it:?}")).collect();
        known("planted bug", plant, names.iter().map(String::as_str))?;
    }
    Ok(())
}

/// What is not on the disk for good is lost with the power, and when a write fails. Which messages those are is known of queues of one node
/// without rules.
fn check_durability(scenario: &Scenario) -> Checked {
    let Some(durability) = &scenario.knobs.durability else { return Ok(()) };
    let is_remote = scenario.clients.remote_queues.1 > 0 || scenario.queue.iter().any(|queue| queue.remote);
    if *durability.as_ref() == Durability::Fsync || !(scenario.is_story() || is_remote) {
        return Ok(());
    }
    let faults = &scenario.faults;
    let drawn = [
        faults.power_loss,
        faults.all_power_loss,
        faults.clock_reset,
        faults.crash_loop,
        faults.fsync_error,
        faults.io_error,
    ];
    let by_hand = scenario.fault.iter().map(|fault| &fault.kind);
    let mut by_hand = by_hand.chain(scenario.nemesis.iter().map(|nemesis| &nemesis.kind));
    if drawn.iter().any(|span| span.1 > 0)
        || by_hand.any(|kind| ["power_loss", "fsync_error", "io_error"].contains(&kind.as_ref().as_str()))
    {
        let reason = "durability = \"os\" together with losses of power or failing writes is judged only for queues without rules \
                      of one node: leave those faults out";
        return Err(Complaint::new(durability.span(), reason));
    }
    Ok(())
}

fn check_queue(scenario: &Scenario, queue: &QueueSpec) -> Checked {
    let refuse = |reason: &str| Err(Complaint::new(queue.name.span(), reason));
    if !scenario.story.features.is_empty() {
        return refuse("[story] draws its queues: take either [story] or [[queue]]");
    }
    if scenario.is_story() && scenario.clients != ClientSpec::default() {
        return refuse("[clients] are drawn only for queues without x-arguments: write [[client]]s for this one");
    }
    if scenario.is_shared(queue) {
        check_shared_queue(scenario, queue)?;
    }
    let name = queue.name.as_ref();
    if name.is_empty() || name.len() > 200 {
        return refuse("a queue's name has 1 to 200 bytes");
    }
    if scenario.queue.iter().filter(|other| other.name.as_ref() == name).count() > 1 {
        return refuse("there are two queues of this name");
    }
    if !(1..=1000).contains(&queue.count.unwrap_or(1)) {
        return refuse("count is 1 to 1000");
    }
    if scenario.is_story() && !queue.durable {
        return refuse("queues of a scenario with x-arguments, expirations, priorities or delays have to be durable");
    }
    if queue.overflow == Overflow::RejectPublish && queue.max_length.is_none() && !is_at_least_once(queue) {
        return refuse("x-overflow without x-max-length does nothing");
    }
    if is_at_least_once(queue) && (queue.overflow != Overflow::RejectPublish || queue.dead_letter_exchange.is_none()) {
        return refuse(
            "x-dead-letter-strategy = \"at-least-once\" takes x-overflow = \"reject-publish\" and an x-dead-letter-exchange",
        );
    }
    if queue.queue_type == QueueType::Quorum && queue.max_priority.is_some() {
        return refuse("quorum queues have priorities without x-max-priority");
    }
    if queue.remote && !scenario.is_shared(queue) {
        return refuse("`remote` takes several nodes: `[cluster] nodes = 3`");
    }
    if queue.ha_mode.is_some() && (queue.queue_type == QueueType::Quorum || !scenario.is_shared(queue)) {
        return refuse("ha-mode is for classic queues of several nodes");
    }
    if queue.ha_after.is_some() && (queue.ha_mode.is_none() || !queue.remote) {
        return refuse("ha-after is for ha-mode of a `remote` queue");
    }
    if queue.ha_mode.is_some() && queue.max_priority.is_some() {
        return refuse("priorities are not followed where ha-mode is");
    }
    if (queue.ha_mode == Some(HaMode::Exactly)) != queue.ha_params.is_some() || queue.ha_params == Some(0) {
        return refuse("ha-params says on how many nodes a queue of ha-mode = \"exactly\" is, at least 1");
    }
    if let Some(exchange) = queue.dead_letter_exchange.as_ref().filter(|it| !it.as_ref().is_empty()) {
        known("exchange", exchange, exchanges(scenario))?;
        let declared = scenario.exchange.iter().find(|it| it.name.as_ref() == exchange.as_ref());
        if declared.is_none_or(|it| it.kind != ExchangeType::Direct) {
            return Err(Complaint::new(
                exchange.span(),
                "dead letters can be judged through \"\" or an [[exchange]] of type direct",
            ));
        }
    }
    // The end of a run waits for whatever may still expire: see `Story::patience`.
    let settle = scenario.phases.settle_max.map_or(scenario.run.settle_ms * MILLISECOND, |settle| settle.0);
    if queue.message_ttl.is_some_and(|ttl| 5 * u64::from(ttl) * MILLISECOND > settle) {
        return refuse(
            "x-message-ttl is at most a fifth of `settle_max` (240 s if left out), since all has to end within it",
        );
    }
    Ok(())
}

/// What the ledger of queues of all nodes cannot follow.
fn check_shared_queue(scenario: &Scenario, queue: &QueueSpec) -> Checked {
    let refuse = |reason: &str| Err(Complaint::new(queue.name.span(), reason));
    if !queue.durable {
        return refuse("queues that clients of all nodes use are durable");
    }
    if queue.remote && scenario.is_replicated(queue) {
        return refuse("`remote` is for classic queues of one node: one with replicas is used from all nodes anyway");
    }
    if queue.remote
        && (queue.single_active_consumer || queue.consumer_timeout.is_some() || queue.max_priority.is_some())
    {
        return refuse("a `remote` queue is not judged by who consumes, how slowly, or priorities");
    }
    if queue.dead_letter_exchange.as_ref().is_some_and(|exchange| !exchange.as_ref().is_empty()) {
        return refuse(
            "dead letters of a queue of all nodes can be judged through \"\" with an x-dead-letter-routing-key",
        );
    }
    if queue.dead_letter_exchange.is_some() {
        let mut at = queue;
        for _ in 0..scenario.queue.len() {
            let key = at.dead_letter_routing_key.as_deref().filter(|_| at.dead_letter_exchange.is_some());
            let target = scenario.queue.iter().find(|it| Some(it.name.as_ref().as_str()) == key && it.count.is_none());
            match target {
                Some(target) if !scenario.is_shared(target) => {
                    return refuse("dead letters of a queue of all nodes go to another one");
                }
                Some(target) => at = target,
                None if at.dead_letter_exchange.is_some() => {
                    return refuse("x-dead-letter-routing-key names another queue of all nodes");
                }
                None => return Ok(()),
            }
        }
        return refuse("dead letters of queues of all nodes that go round in a circle are not judged");
    }
    Ok(())
}

fn is_at_least_once(queue: &QueueSpec) -> bool {
    queue.dead_letter_strategy == Strategy::AtLeastOnce
}

fn check_bindings(scenario: &Scenario) -> Checked {
    for binding in &scenario.binding {
        known("exchange", &binding.exchange, exchanges(scenario))?;
        match (&binding.queue, &binding.to_exchange) {
            (Some(queue), None) => known("queue", queue, queues(scenario))?,
            (None, Some(exchange)) => known("exchange", exchange, exchanges(scenario))?,
            _ => return Err(Complaint::new(binding.exchange.span(), "a binding has either `queue` or `to_exchange`")),
        }
    }
    Ok(())
}

fn check_client(scenario: &Scenario, spanned: &Spanned<ClientByHand>) -> Checked {
    let client = spanned.as_ref();
    let refuse = |reason: String| Err(Complaint::new(spanned.span(), reason));
    if let Some((key, kind)) = misplaced(client) {
        return refuse(format!("`{key}` is for a {kind}"));
    }
    if let Some(queue) = &client.queue {
        known("queue", queue, queues(scenario))?;
    }
    if let Some(exchange) = &client.exchange {
        known("exchange", exchange, exchanges(scenario))?;
    }
    if let Some(key) = client.keys.iter().find(|key| key.as_ref().len() > 255) {
        return Err(Complaint::new(key.span(), "a routing key has at most 255 bytes"));
    }
    check_place(scenario, client, &spanned.span())?;
    match (client.kind, client.queue.is_some(), client.exchange.is_some()) {
        (ClientKind::Publisher, true, true) => {
            return refuse("a publisher has either `queue` or `exchange` with `keys`".to_owned());
        }
        (ClientKind::Publisher, false, true) if client.keys.is_empty() => {
            return refuse(
                "`keys` is missing: the routing keys; [\"\"] where the exchange does not look at them".to_owned(),
            );
        }
        (ClientKind::Publisher, false, false) => {
            return refuse("`queue`, or `exchange` with `keys`, is missing".to_owned());
        }
        (ClientKind::Consumer | ClientKind::Getter | ClientKind::Churner, false, _) => {
            return refuse("`queue` is missing".to_owned());
        }
        _ => {}
    }
    if client.kind == ClientKind::Churner && client.does.is_empty() {
        return refuse("`does` is missing: some of \"declare\", \"purge\" and \"delete\"".to_owned());
    }
    if let (ClientKind::Publisher, Some(priority)) = (client.kind, client.priority)
        && !(0..=255).contains(&priority.0.min(priority.1))
    {
        return refuse("a message's priority is 0 to 255".to_owned());
    }
    if client.gap.is_some() && client.rate.is_some() {
        return refuse("take either `gap` or `rate`".to_owned());
    }
    if scenario.is_story() { check_story_client(scenario, client, &spanned.span()) } else { Ok(()) }
}

/// Whether a client may choose its node, and what it may do there.
fn check_place(scenario: &Scenario, client: &ClientByHand, place: &Range<usize>) -> Checked {
    let refuse = |reason: &str| Err(Complaint::new(place.clone(), reason));
    let name = client.queue.as_ref().map(Spanned::as_ref);
    let is_sharing = scenario.queue.iter().any(|queue| Some(queue.name.as_ref()) == name && scenario.is_shared(queue));
    match &client.node {
        Some(node) if is_sharing => known_node(scenario.nodes_max(), node)?,
        Some(_) => return refuse("`node` is for clients of queues of all nodes: others are where their queue is"),
        None => {}
    }
    let is_single = scenario.queue.iter().any(|it| Some(it.name.as_ref()) == name && it.single_active_consumer);
    if is_sharing && is_single && client.kind == ClientKind::Getter {
        return refuse("a quorum queue with a single active consumer cannot be polled");
    }
    if is_sharing && (client.global || client.exclusive) {
        return refuse(
            "queues of all nodes are not judged by a `global` prefetch, which quorum queues do not have, or `exclusive` consumers",
        );
    }
    let is_remote = scenario.queue.iter().any(|it| Some(it.name.as_ref()) == name && it.remote);
    if is_sharing && is_remote && client.kind == ClientKind::Churner {
        return refuse("nobody changes a `remote` queue: the ledger would not know what it held");
    }
    Ok(())
}

/// What the judge of messages with rules cannot follow.
fn check_story_client(scenario: &Scenario, client: &ClientByHand, place: &Range<usize>) -> Checked {
    let refuse = |what: &str| {
        let why = "where queues have x-arguments, or messages expirations, priorities or delays";
        Err(Complaint::new(place.clone(), format!("{what} {why}")))
    };
    if client.kind == ClientKind::Churner {
        return refuse("a churner cannot be judged");
    }
    if client.no_ack || client.tx.is_some() || client.forget.is_some() {
        return refuse("`no_ack`, `tx` and `forget` cannot be judged");
    }
    if let Some(exchange) = &client.exchange {
        let is_held = scenario
            .exchange
            .iter()
            .any(|it| it.name.as_ref() == exchange.as_ref() && it.kind == ExchangeType::Delayed);
        let names: Vec<String> = scenario.queue.iter().flat_map(QueueSpec::names).collect();
        if !is_held || !client.keys.iter().all(|key| names.contains(key.as_ref())) {
            return refuse(
                "a publisher names its `queue`, or an x-delayed-message exchange and queues' names as keys,",
            );
        }
    }
    Ok(())
}

/// A key that says nothing for this kind of client, and the kind it is for.
fn misplaced(client: &ClientByHand) -> Option<(&'static str, &'static str)> {
    let publisher = [
        ("exchange", client.exchange.is_some()),
        ("keys", !client.keys.is_empty()),
        ("burst", client.burst.is_some()),
        ("pause", client.pause.is_some()),
        ("confirms", client.confirms.is_some()),
        ("tx", client.tx.is_some()),
        ("rollback", client.rollback.is_some()),
        ("republish", client.republish.is_some()),
        ("persistent", client.persistent.is_some()),
        ("mandatory", client.mandatory),
        ("size", client.size.is_some()),
        ("expiration", client.expiration.is_some()),
        ("delay", client.delay.is_some()),
        ("hostile_bodies", client.hostile_bodies),
    ];
    let reader = [
        ("no_ack", client.no_ack),
        ("think", client.think.is_some()),
        ("sleep", client.sleep.is_some()),
        ("requeue", client.requeue.is_some()),
        ("reject", client.reject.is_some()),
        ("forget", client.forget.is_some()),
        ("nack", client.nack),
        ("multiple", client.multiple.is_some()),
    ];
    let consumer = [
        ("prefetch", client.prefetch.is_some()),
        ("global", client.global),
        ("tags", client.tags.is_some()),
        ("exclusive", client.exclusive),
        ("cancel_every", client.cancel_every.is_some()),
        ("recover_every", client.recover_every.is_some()),
    ];
    let timed =
        [("messages", client.messages.is_some()), ("gap", client.gap.is_some()), ("rate", client.rate.is_some())];
    let (is_publisher, is_consumer) = (client.kind == ClientKind::Publisher, client.kind == ClientKind::Consumer);
    let is_churner = client.kind == ClientKind::Churner;
    let of = |keys: &[(&'static str, bool)], kind| keys.iter().find(|(_, is_set)| *is_set).map(|(key, _)| (*key, kind));
    None.or_else(|| if is_publisher { None } else { of(&publisher, "publisher") })
        .or_else(|| if is_publisher || is_churner { of(&reader, "consumer or getter") } else { None })
        .or_else(|| if is_churner { None } else { of(&[("does", !client.does.is_empty())], "churner") })
        .or_else(|| if is_consumer { None } else { of(&consumer, "consumer") })
        .or_else(|| if is_consumer { of(&timed, "publisher or getter") } else { None })
}

fn check_fault(scenario: &Scenario, fault: &FaultByHand) -> Checked {
    check_kind(scenario, &fault.kind, fault.target.as_ref())?;
    let letters = At::letters(scenario.nodes_max());
    if fault.kind.as_ref() == "partition"
        && (fault.parts.len() < 2 || !fault.parts.iter().flatten().all(|it| letters.contains(it)))
    {
        let reason = "a partition has `parts`, two or more of them, of nodes that there are: [[\"a\"], [\"b\", \"c\"]]";
        return Err(Complaint::new(fault.kind.span(), reason));
    }
    match (&fault.at, &fault.on) {
        (Some(at), None) => {
            let longest = longest_chaos(scenario);
            if at.as_ref().1.0 >= longest {
                let reason = format!(
                    "the phase with faults ends after {} ms at the latest: see `[phases] chaos`",
                    longest / MILLISECOND
                );
                return Err(Complaint::new(at.span(), reason));
            }
        }
        (None, Some(on)) => {
            let trigger = moment::parse(on.as_ref()).map_err(|reason| Complaint::new(on.span(), reason))?;
            for queue in &trigger.queues {
                known_queue(scenario, queue, &on.span())?;
            }
        }
        _ => return Err(Complaint::new(fault.kind.span(), "a fault has either `at` or `on`")),
    }
    Ok(())
}

fn check_nemesis(scenario: &Scenario, nemesis: &NemesisSpec) -> Checked {
    check_kind(scenario, &nemesis.kind, nemesis.target.as_ref())?;
    if nemesis.every.as_ref().0.0 < MILLISECOND {
        return Err(Complaint::new(nemesis.every.span(), "not more often than every millisecond"));
    }
    Ok(())
}

fn check_kind(scenario: &Scenario, name: &Spanned<String>, aim: Option<&Spanned<String>>) -> Checked {
    known("kind of faults", name, kinds::KINDS.iter().map(|kind| kind.name))?;
    let kind = kinds::find(name.as_ref()).expect("just looked up");
    let is_claimed = !kind.is_beyond || is_rot_of_a_minority(scenario, kind, aim);
    if !is_claimed && !scenario.run.beyond_claim && scenario.expect.fails.is_none() {
        let reason = "no single node survives this: say `[run] beyond_claim = true`, or what `[expect] fails`";
        return Err(Complaint::new(name.span(), reason));
    }
    let is_between = kind.victim == Victim::Ways || kind.name.starts_with("isolate");
    if is_between && scenario.nodes_max() < 2 {
        return Err(Complaint::new(name.span(), format!("{} takes several nodes: `[cluster] nodes = 3`", kind.name)));
    }
    let is_shared_alone =
        !scenario.queue.is_empty() && scenario.queue.iter().all(|queue| scenario.is_replicated(queue));
    if kind.name == "wipe" && !is_shared_alone {
        return Err(Complaint::new(
            name.span(),
            "wipe takes what is on one node alone: have quorum queues of several nodes",
        ));
    }
    let Some(aim) = aim else { return Ok(()) };
    let parsed = target::parse(aim.as_ref()).map_err(|reason| Complaint::new(aim.span(), reason))?;
    if let Some(queue) = parsed.queue() {
        known_queue(scenario, queue, &aim.span())?;
    }
    if let target::Target::One(at) = parsed
        && at.number() >= scenario.nodes_max()
    {
        return Err(Complaint::new(aim.span(), format!("there is no node {}", at.letter())));
    }
    if kind.victim == Victim::Node && !parsed.may_be_node() {
        return Err(Complaint::new(aim.span(), format!("{} happens to the node: `node`", kind.name)));
    }
    if kind.victim == Victim::Client && parsed.may_be_node() && parsed != target::Target::All {
        return Err(Complaint::new(aim.span(), format!("{} happens to clients: `publishers`, `client 0`…", kind.name)));
    }
    let count: usize = scenario.client.iter().map(|client| client.as_ref().count.unwrap_or(1) as usize).sum();
    if let target::Target::Client(number) = parsed
        && scenario.clients == ClientSpec::default()
        && number >= count
    {
        return Err(Complaint::new(
            aim.span(),
            format!("there is no client {number}: the last is {}", count.saturating_sub(1)),
        ));
    }
    Ok(())
}

/// Whether it befalls a node that two others can do without, always the same one.
fn is_rot_of_a_minority(scenario: &Scenario, kind: &kinds::Kind, aim: Option<&Spanned<String>>) -> bool {
    let target = aim.and_then(|aim| target::parse(aim.as_ref()).ok());
    kind.name == "rot" && scenario.nodes_min() > 2 && matches!(target, Some(target::Target::One(_)))
}

/// The longest that the phase with faults can be.
fn longest_chaos(scenario: &Scenario) -> Micros {
    let drawn = scenario.run.chaos_ms.0.max(scenario.run.chaos_ms.1) * MILLISECOND;
    scenario.phases.chaos.map_or(drawn, |chaos| chaos.1.0)
}

fn known<'a>(what: &str, name: &Spanned<String>, names: impl IntoIterator<Item = &'a str>) -> Checked {
    let names: Vec<&str> = names.into_iter().collect();
    if names.contains(&&**name.as_ref()) {
        return Ok(());
    }
    Err(Complaint::new(name.span(), format!("no {what} is called `{}`{}", name.as_ref(), hint(name.as_ref(), names))))
}

fn known_queue(scenario: &Scenario, queue: &str, place: &Range<usize>) -> Checked {
    // Those that are drawn are called q0, q1 and so on, replicated ones r0, those of a story w0 and d0.
    let is_drawn = queue.strip_prefix(['q', 'r', 'w', 'd']).is_some_and(|rest| rest.parse::<u8>().is_ok());
    if (scenario.queue.is_empty() && is_drawn) || queues(scenario).any(|it| it == queue) {
        return Ok(());
    }
    Err(Complaint::new(place.clone(), format!("no queue is called `{queue}`{}", hint(queue, queues(scenario)))))
}

fn queues(scenario: &Scenario) -> impl Iterator<Item = &str> {
    scenario.queue.iter().map(|queue| &**queue.name.as_ref())
}

fn exchanges(scenario: &Scenario) -> impl Iterator<Item = &str> {
    let own = scenario.exchange.iter().map(|exchange| &**exchange.name.as_ref());
    own.chain(["amq.direct", "amq.fanout", "amq.topic"])
}
