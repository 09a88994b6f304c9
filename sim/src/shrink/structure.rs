//! Taking things out: faults, clients, what clients do, queues and what leads to them.

use std::mem::discriminant;
use std::ops::Range;

use super::search::Search;
use crate::clock::Micros;
use crate::plan::{
    BindingPlan, Burst, ChurnPlan, ConsumerPlan, FaultKind, GetterPlan, Plan, PublisherPlan, QueuePlan, RoguePlan,
    Role, TopologyOp,
};

/// Ends the phase with faults where the plan fails.
pub(super) fn truncate(search: &mut Search<'_>) {
    let failed_at = search.failed_at;
    search.attempt(|plan| {
        plan.faults.retain(|fault| fault.at_us <= failed_at);
        plan.policies.retain(|policy| policy.at_us <= failed_at);
        plan.operations.retain(|operation| operation.at_us <= failed_at);
        plan.chaos_us = plan.chaos_us.min(failed_at + 1);
    });
}

/// Takes out all faults of a kind at once, then any others.
pub(super) fn faults(search: &mut Search<'_>) {
    search.attempt(|plan| plan.last_restart = None);
    let mut kinds = search.best.faults.iter().map(|fault| discriminant(&fault.kind)).collect::<Vec<_>>();
    kinds.dedup();
    for kind in kinds {
        search.attempt(|plan| plan.faults.retain(|fault| discriminant(&fault.kind) != kind));
    }
    search.thin(|plan| plan.faults.len(), |plan, range| drop(plan.faults.drain(range)));
    for index in 0..search.best.faults.len() {
        let get = |plan: &Plan| match plan.faults[index].kind {
            FaultKind::End { again, .. } => Some(u64::from(again)),
            _ => None,
        };
        search.lower(0, get, |plan, count| {
            if let FaultKind::End { again, .. } = &mut plan.faults[index].kind {
                *again = number(count);
            }
        });
    }
    triggers(search);
}

/// Lets faults that wait for the n-th time of something wait for an earlier one, and happen once.
fn triggers(search: &mut Search<'_>) {
    for index in 0..search.best.faults.len() {
        search.attempt(|plan| {
            if let Some(on) = &mut plan.faults[index].on {
                on.repeats = false;
            }
        });
        let nth = |plan: &Plan| Some(u64::from(plan.faults[index].on.as_ref()?.nth));
        search.lower(1, nth, |plan, count| {
            if let Some(on) = &mut plan.faults[index].on {
                on.nth = number(count);
            }
        });
    }
}

/// Takes out nodes, with their clients and queues and with what happens to them, and the ways between nodes that faults are about.
pub(super) fn nodes(search: &mut Search<'_>) {
    for node in (0..search.best.node_count()).rev() {
        search.attempt(|plan| take_out_node(plan, node));
    }
    for index in 0..search.best.faults.len() {
        let ways = |plan: &Plan| plan.faults.get(index).and_then(|fault| fault.kind.ways()).map_or(0, Vec::len);
        search.thin(ways, |plan, range| {
            if let Some(ways) = plan.faults[index].kind.ways_mut() {
                ways.drain(range);
            }
        });
    }
    search.attempt(|plan| plan.faults.retain(|fault| fault.kind.ways().is_none_or(|ways| !ways.is_empty())));
}

fn take_out_node(plan: &mut Plan, node: usize) {
    let Some(cluster) = plan.cluster.as_mut().filter(|cluster| node < cluster.nodes) else { return };
    cluster.nodes -= 1;
    let renumbered = |it: usize| (it != node).then(|| it - usize::from(it > node));
    let renumber = |it: &mut usize| {
        let is_left = renumbered(*it).is_some();
        *it = renumbered(*it).unwrap_or(*it);
        is_left
    };
    let renumber_both = |one: &mut usize, other: &mut usize| renumber(one) & renumber(other);
    cluster.distances.retain_mut(|(one, other, _)| renumber_both(one, other));
    if node < cluster.clocks_ahead_ms.len() {
        cluster.clocks_ahead_ms.remove(node);
    }
    if cluster.nodes == 1 {
        plan.cluster = None;
    }
    for client in (0..plan.clients.len()).rev() {
        if plan.clients[client].node == node {
            take_out_clients(plan, client..client + 1);
        }
    }
    plan.topology.queues.retain_mut(|queue| renumber(&mut queue.node));
    let gone: Vec<String> =
        plan.topology.exchanges.iter().filter(|it| it.node == node).map(|it| it.name.clone()).collect();
    plan.topology.exchanges.retain_mut(|exchange| renumber(&mut exchange.node));
    let queues = &plan.topology.queues;
    plan.topology.bindings.retain(|it| {
        let is_there = it.to_exchange || queues.iter().any(|queue| queue.name == it.destination);
        is_there && !gone.contains(&it.source) && !(it.to_exchange && gone.contains(&it.destination))
    });
    for client in &mut plan.clients {
        renumber(&mut client.node);
    }
    plan.operations.retain_mut(|operation| renumber(&mut operation.node));
    plan.faults.retain_mut(|fault| {
        let had_ways = fault.kind.ways().is_some();
        if let Some(ways) = fault.kind.ways_mut() {
            ways.retain_mut(|(one, other)| renumber_both(one, other));
        }
        let has_ways = fault.kind.ways().is_some_and(|ways| !ways.is_empty());
        let is_left = renumber(&mut fault.node);
        if !is_left {
            // What is about ways, or whoever leads, is not about this node alone.
            fault.node = 0;
        }
        if had_ways {
            has_ways
        } else {
            is_left || fault.of_leader || fault.of_queue.is_some() || fault.kind.client_mut().is_some()
        }
    });
    agree(plan);
}

/// Takes out clients, with the faults that happen to them.
pub(super) fn clients(search: &mut Search<'_>) {
    search.thin(|plan| plan.clients.len(), take_out_clients);
}

fn take_out_clients(plan: &mut Plan, range: Range<usize>) {
    plan.faults.retain_mut(|fault| match fault.kind.client_mut() {
        Some(client) if range.contains(client) => false,
        Some(client) => {
            if *client >= range.end {
                *client -= range.len();
            }
            true
        }
        None => true,
    });
    plan.clients.drain(range);
}

/// Takes out what each client does.
pub(super) fn operations(search: &mut Search<'_>) {
    search.thin(|plan| plan.policies.len(), |plan, range| drop(plan.policies.drain(range)));
    search.thin(|plan| plan.operations.len(), |plan, range| drop(plan.operations.drain(range)));
    for client in 0..search.best.clients.len() {
        match search.best.clients[client].role {
            Role::Publisher(_) => publishes(search, client),
            Role::Consumer(_) => consumer_acts(search, client),
            Role::Getter(_) => {
                let get = |plan: &Plan| Some(u64::from(getter(plan, client)?.count));
                search.lower(1, get, |plan, count| {
                    if let Role::Getter(getter) = &mut plan.clients[client].role {
                        getter.count = number(count);
                    }
                });
            }
            Role::Churner(_) => churn_steps(search, client),
            Role::Rogue(_) => {
                let len = |plan: &Plan| rogue(plan, client).map_or(0, |rogue| rogue.steps.len());
                search.thin(len, |plan, range| {
                    if let Role::Rogue(rogue) = &mut plan.clients[client].role {
                        take_out_timed(&mut rogue.steps, range, |step| step.wait_us, |step| &mut step.wait_us);
                    }
                });
            }
        }
    }
}

/// The most messages of a publisher that are looked at one by one.
const SINGLES_MAX: u64 = 300;

fn publishes(search: &mut Search<'_>, client: usize) {
    let len = |plan: &Plan| publisher(plan, client).map_or(0, |publisher| publisher.bursts.len());
    let duration = |burst: &Burst| burst.wait_us + burst.gap_us * Micros::from(burst.count);
    // What stays keeps its time, or else follows at once.
    search.thin(len, |plan, range| {
        take_out_timed(bursts_mut(plan, client), range, duration, |burst| &mut burst.wait_us);
    });
    search.thin(len, |plan, range| drop(bursts_mut(plan, client).drain(range)));
    for index in 0..len(&search.best) {
        let get = |plan: &Plan| Some(u64::from(publisher(plan, client)?.bursts[index].count));
        search.lower(1, get, |plan, count| bursts_mut(plan, client)[index].count = number(count));
    }
    // A burst whose last message matters: each message on its own, and then together again what is left.
    let bursts = publisher(&search.best, client).map_or(&[][..], |publisher| &publisher.bursts);
    let messages: u64 = bursts.iter().map(|burst| u64::from(burst.count)).sum();
    if messages > bursts.len() as u64 && messages <= SINGLES_MAX {
        let whole = search.best.clone();
        if search.attempt(|plan| split(bursts_mut(plan, client))) {
            let all = len(&search.best);
            search.thin(len, |plan, range| drop(bursts_mut(plan, client).drain(range)));
            if len(&search.best) == all {
                search.best = whole;
            } else {
                search.attempt(|plan| join(bursts_mut(plan, client)));
            }
        }
    }
}

/// Makes a burst of each message.
fn split(bursts: &mut Vec<Burst>) {
    let single = |burst: Burst| {
        let rest = Burst { wait_us: burst.gap_us, count: 1, gap_us: 0, ..burst.clone() };
        let count = burst.count as usize;
        let first = Burst { count: 1, gap_us: 0, ..burst };
        [first].into_iter().chain(std::iter::repeat_n(rest, count - 1))
    };
    *bursts = std::mem::take(bursts).into_iter().flat_map(single).collect();
}

/// Makes one burst of those that follow each other and are alike.
fn join(bursts: &mut Vec<Burst>) {
    bursts.dedup_by(|next, burst| {
        let is_alike = (next.wait_us, next.gap_us, burst.gap_us) == (0, 0, 0)
            && (&next.exchange, &next.key, next.size) == (&burst.exchange, &burst.key, burst.size)
            && (next.persistent, next.mandatory, next.extras) == (burst.persistent, burst.mandatory, burst.extras);
        if is_alike {
            burst.count += next.count;
        }
        is_alike
    });
}

fn consumer_acts(search: &mut Search<'_>, client: usize) {
    let get = |plan: &Plan| Some(u64::from(consumer(plan, client)?.consumers));
    search.lower(1, get, |plan, count| {
        if let Some(consumer) = consumer_mut(plan, client) {
            consumer.consumers = u16::try_from(count).expect("smaller than one of 16 bits");
        }
    });
    let len = |plan: &Plan| consumer(plan, client).map_or(0, |consumer| consumer.acts.len());
    search.thin(len, |plan, range| {
        if let Some(consumer) = consumer_mut(plan, client) {
            consumer.acts.drain(range);
        }
    });
    for index in 0..len(&search.best) {
        let get = |plan: &Plan| Some(u64::from(consumer(plan, client)?.acts[index].after));
        search.lower(1, get, |plan, count| {
            if let Some(consumer) = consumer_mut(plan, client) {
                consumer.acts[index].after = number(count);
            }
        });
    }
}

fn churn_steps(search: &mut Search<'_>, client: usize) {
    let len = |plan: &Plan| churner(plan, client).map_or(0, |churner| churner.steps.len());
    search.thin(len, |plan, range| {
        if let Some(churner) = churner_mut(plan, client) {
            take_out_timed(&mut churner.steps, range, |step| step.wait_us, |step| &mut step.wait_us);
        }
    });
    for index in 0..len(&search.best) {
        let get = |plan: &Plan| match &churner(plan, client)?.steps[index].op {
            TopologyOp::Publish(burst) => Some(u64::from(burst.count)),
            _ => None,
        };
        search.lower(1, get, |plan, count| {
            let churner = churner_mut(plan, client);
            if let Some(TopologyOp::Publish(burst)) = churner.map(|churner| &mut churner.steps[index].op) {
                burst.count = number(count);
            }
        });
    }
}

/// Takes a part out of a list of things that each wait before they begin: what follows begins when it did before.
fn take_out_timed<T>(
    list: &mut Vec<T>,
    range: Range<usize>,
    duration: impl Fn(&T) -> Micros,
    wait: impl Fn(&mut T) -> &mut Micros,
) {
    let start = range.start;
    let time: Micros = list.drain(range).map(|taken| duration(&taken)).sum();
    if let Some(next) = list.get_mut(start) {
        *wait(next) += time;
    }
}

/// Takes out queues, exchanges and bindings.
pub(super) fn topology(search: &mut Search<'_>) {
    search.thin(|plan| plan.topology.bindings.len(), |plan, range| drop(plan.topology.bindings.drain(range)));
    straight(search);
    search.thin(
        |plan| plan.topology.exchanges.len(),
        |plan, range| {
            for exchange in plan.topology.exchanges.drain(range) {
                let is_its = |name: &str| name == exchange.name;
                let is_cut = |it: &BindingPlan| is_its(&it.source) || it.to_exchange && is_its(&it.destination);
                plan.topology.bindings.retain(|it| !is_cut(it));
            }
        },
    );
    for other in 0..search.best.topology.queues.len() {
        merge_queues(search, other);
    }
    search.thin(|plan| plan.topology.queues.len(), take_out_queues);
}

/// Publishes to a queue instead of to an exchange.
fn straight(search: &mut Search<'_>) {
    for client in 0..search.best.clients.len() {
        let names: Vec<String> = search.best.topology.queues.iter().map(|queue| queue.name.clone()).collect();
        for index in 0..publisher(&search.best, client).map_or(0, |publisher| publisher.bursts.len()) {
            for name in &names {
                search.attempt(|plan| {
                    let burst = &mut bursts_mut(plan, client)[index];
                    if !burst.exchange.is_empty() {
                        burst.exchange.clear();
                        burst.key.clone_from(name);
                        burst.extras.delay_ms = None;
                    }
                });
            }
        }
    }
}

/// Lets all clients use another queue instead of this one.
fn merge_queues(search: &mut Search<'_>, other: usize) {
    for into in 0..search.best.topology.queues.len() {
        let queues = &search.best.topology.queues;
        let (Some(from), Some(into)) = (queues.get(other).cloned(), queues.get(into).cloned()) else { return };
        if from.name == into.name {
            continue;
        }
        search.attempt(|plan| {
            for client in &mut plan.clients {
                match &mut client.role {
                    Role::Publisher(publisher) => {
                        let direct = publisher.bursts.iter_mut().filter(|it| it.exchange.is_empty());
                        for burst in direct.filter(|it| it.key == from.name) {
                            burst.key.clone_from(&into.name);
                        }
                    }
                    Role::Consumer(consumer) if consumer.queue.name == from.name => consumer.queue = into.clone(),
                    Role::Getter(getter) if getter.queue == from.name => getter.queue.clone_from(&into.name),
                    _ => {}
                }
            }
            take_out_queues(plan, other..other + 1);
        });
    }
}

/// Takes out queues with all that is about nothing else.
fn take_out_queues(plan: &mut Plan, range: Range<usize>) {
    for queue in plan.topology.queues.drain(range).collect::<Vec<_>>() {
        let name = &queue.name;
        let is_its = |binding: &mut BindingPlan| !binding.to_exchange && binding.destination == *name;
        let cut: Vec<BindingPlan> = plan.topology.bindings.extract_if(.., is_its).collect();
        for other in &mut plan.topology.queues {
            let (exchange, key) = (&other.rules.dead_letter_exchange, &other.rules.dead_letter_key);
            let key = key.as_ref().unwrap_or(&other.name);
            if key == name || cut.iter().any(|it| exchange.as_ref() == Some(&it.source) && *key == it.key) {
                other.rules.dead_letter_exchange = None;
                other.rules.dead_letter_key = None;
                other.rules.at_least_once = false;
            }
        }
        for client in (0..plan.clients.len()).rev() {
            let is_about_it = match &mut plan.clients[client].role {
                Role::Publisher(publisher) => {
                    publisher.bursts.retain(|burst| !burst.exchange.is_empty() || burst.key != *name);
                    false
                }
                Role::Consumer(consumer) => consumer.queue.name == *name,
                Role::Getter(getter) => getter.queue == *name,
                Role::Churner(_) | Role::Rogue(_) => false,
            };
            if is_about_it {
                take_out_clients(plan, client..client + 1);
            }
        }
    }
    agree(plan);
}

/// Consumers declare their queue anew: as it is in the topology.
pub(super) fn agree(plan: &mut Plan) {
    let queues = &plan.topology.queues;
    let renew = |old: &mut QueuePlan| {
        if let Some(queue) = queues.iter().find(|queue| queue.name == old.name) {
            old.clone_from(queue);
        }
    };
    for client in &mut plan.clients {
        match &mut client.role {
            Role::Consumer(consumer) => renew(&mut consumer.queue),
            Role::Churner(churner) => {
                for step in &mut churner.steps {
                    if let TopologyOp::DeclareQueue(queue) = &mut step.op {
                        renew(queue);
                    }
                }
            }
            Role::Publisher(_) | Role::Getter(_) | Role::Rogue(_) => {}
        }
    }
}

pub(super) fn publisher(plan: &Plan, client: usize) -> Option<&PublisherPlan> {
    if let Role::Publisher(publisher) = &plan.clients[client].role { Some(publisher) } else { None }
}

pub(super) fn publisher_mut(plan: &mut Plan, client: usize) -> Option<&mut PublisherPlan> {
    if let Role::Publisher(publisher) = &mut plan.clients[client].role { Some(publisher) } else { None }
}

/// # Panics
/// If the client does not publish.
pub(super) fn bursts_mut(plan: &mut Plan, client: usize) -> &mut Vec<Burst> {
    &mut publisher_mut(plan, client).expect("only asked of publishers").bursts
}

pub(super) fn consumer(plan: &Plan, client: usize) -> Option<&ConsumerPlan> {
    if let Role::Consumer(consumer) = &plan.clients[client].role { Some(consumer) } else { None }
}

pub(super) fn consumer_mut(plan: &mut Plan, client: usize) -> Option<&mut ConsumerPlan> {
    if let Role::Consumer(consumer) = &mut plan.clients[client].role { Some(consumer) } else { None }
}

fn getter(plan: &Plan, client: usize) -> Option<&GetterPlan> {
    if let Role::Getter(getter) = &plan.clients[client].role { Some(getter) } else { None }
}

fn churner(plan: &Plan, client: usize) -> Option<&ChurnPlan> {
    if let Role::Churner(churner) = &plan.clients[client].role { Some(churner) } else { None }
}

fn churner_mut(plan: &mut Plan, client: usize) -> Option<&mut ChurnPlan> {
    if let Role::Churner(churner) = &mut plan.clients[client].role { Some(churner) } else { None }
}

fn rogue(plan: &Plan, client: usize) -> Option<&RoguePlan> {
    if let Role::Rogue(rogue) = &plan.clients[client].role { Some(rogue) } else { None }
}

/// A count that is smaller than one of 32 bits.
fn number(count: u64) -> u32 {
    u32::try_from(count).expect("smaller than one of 32 bits")
}
