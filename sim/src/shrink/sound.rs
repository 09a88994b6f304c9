//! Which plans may be tried: those that could have been made.
//!
//! What judges a run relies on some things that every plan keeps to. A plan that breaks one would "fail" through no fault of the
//! broker, perhaps with the very same words, and a shrinker looks for such a way out more patiently than anybody.

use crate::options::NOWHERE;
use crate::plan::{BindingPlan, Burst, ChurnStep, ClientPlan, Fault, Plan, QueuePlan, Role, TopologyOp};

/// Whether a world can be made of this plan at all.
pub(super) fn is_whole(plan: &Plan) -> bool {
    let clients = plan.clients.len();
    let targets_exist =
        plan.faults.iter().all(|fault| fault.kind.clone().client_mut().is_none_or(|client| *client < clients));
    // One who breaks the rules contradicts the first queue of its node.
    let has_victim = |client: &ClientPlan| {
        !matches!(client.role, Role::Rogue(_)) || plan.topology.queues.iter().any(|queue| queue.node == client.node)
    };
    let nodes = plan.node_count();
    let is_there = |fault: &Fault| {
        let are_there = |ways: &Vec<(usize, usize)>| ways.iter().all(|(from, to)| *from.max(to) < nodes && from != to);
        fault.node < nodes && fault.kind.ways().is_none_or(are_there)
    };
    let nodes_exist = plan.clients.iter().all(|client| client.node < nodes)
        && plan.topology.queues.iter().all(|queue| queue.node < nodes)
        && plan.topology.exchanges.iter().all(|exchange| exchange.node < nodes)
        && plan.operations.iter().all(|operation| operation.node < nodes)
        && plan.faults.iter().all(is_there);
    targets_exist
        && nodes_exist
        && plan.clients.iter().all(has_victim)
        && plan.knobs.outbox_low_bytes < plan.knobs.outbox_high_bytes
}

/// Whether a failure of this plan would mean anything.
pub(super) fn is_sound(plan: &Plan) -> bool {
    is_whole(plan) && (!plan.is_story || is_sound_story(plan)) && stays_at_home(plan) && shares_soundly(plan)
}

/// Whether queues of all nodes are there, and their clients use nothing else.
fn shares_soundly(plan: &Plan) -> bool {
    let nodes = plan.node_count();
    let is_shared = |name: &str| plan.topology.queues.iter().any(|it| it.name == name && it.is_shared(nodes));
    // Without other nodes it would be a queue with rules.
    let is_alone = |queue: &QueuePlan| {
        let rules = &queue.rules;
        !(rules.is_quorum || rules.mirrors.is_some() || rules.is_remote)
    };
    // Who declares it first has it on its node.
    let has_declarer = |queue: &QueuePlan| {
        let declares = |step: &ChurnStep| matches!(&step.op, TopologyOp::DeclareQueue(it) if it.name == queue.name);
        let is_it = |client: &ClientPlan| match &client.role {
            Role::Churner(churner) => client.node == queue.node && churner.steps.iter().any(declares),
            Role::Publisher(_) | Role::Consumer(_) | Role::Getter(_) | Role::Rogue(_) => false,
        };
        !queue.is_remote(nodes) || plan.clients.iter().any(is_it)
    };
    let has_place = |queue: &QueuePlan| plan.is_story || is_alone(queue) || is_shared(&queue.name);
    let is_sound = |client: &ClientPlan| match &client.role {
        Role::Publisher(publisher) => {
            let shares = |burst: &Burst| burst.exchange.is_empty() && is_shared(&burst.key);
            !publisher.bursts.iter().any(shares)
                || publisher.bursts.iter().all(|burst| shares(burst) || burst.key == NOWHERE)
        }
        Role::Consumer(consumer) => has_place(&consumer.queue),
        Role::Getter(_) | Role::Churner(_) | Role::Rogue(_) => true,
    };
    plan.topology.queues.iter().all(|queue| has_place(queue) && has_declarer(queue))
        && plan.clients.iter().all(is_sound)
}

/// Whether clients use what is on their own node and nothing else.
fn stays_at_home(plan: &Plan) -> bool {
    let nodes = plan.node_count();
    let home_of = |name: &str| {
        let mut queues = plan.topology.queues.iter().filter(|queue| !queue.is_shared(nodes));
        queues.find(|queue| queue.name == name).map(|queue| queue.node)
    };
    let place_of = |name: &str| plan.topology.exchanges.iter().find(|it| it.name == name).map(|it| it.node);
    let is_bound_at_home = |it: &BindingPlan| {
        let to = if it.to_exchange { place_of(&it.destination) } else { home_of(&it.destination) };
        place_of(&it.source).zip(to).is_none_or(|(from, to)| from == to)
    };
    let is_at_home = |client: &ClientPlan| {
        let is_here = |place: Option<usize>| place.is_none_or(|place| place == client.node);
        let is_burst_here = |burst: &Burst| {
            if burst.exchange.is_empty() { is_here(home_of(&burst.key)) } else { is_here(place_of(&burst.exchange)) }
        };
        match &client.role {
            Role::Publisher(publisher) => publisher.bursts.iter().all(is_burst_here),
            Role::Consumer(consumer) => is_here(home_of(&consumer.queue.name)),
            Role::Getter(getter) => is_here(home_of(&getter.queue)),
            Role::Churner(_) | Role::Rogue(_) => true,
        }
    };
    plan.cluster.is_none()
        || (plan.topology.bindings.iter().all(is_bound_at_home) && plan.clients.iter().all(is_at_home))
}

/// A story takes the queue that a message is for from its routing key, and where dead letters go from the topology at the start.
fn is_sound_story(plan: &Plan) -> bool {
    let queue = |name: &str| plan.topology.queues.iter().find(|queue| queue.name == name);
    let is_bound = |exchange: &str, key: &str| {
        let exists = plan.topology.exchanges.iter().any(|it| it.name == exchange);
        exists && plan.topology.bindings.iter().any(|it| it.source == exchange && it.key == key)
    };
    let reaches_its_queue = |burst: &Burst| {
        let is_held = !burst.exchange.is_empty();
        queue(&burst.key).is_some()
            && (!is_held || is_bound(&burst.exchange, &burst.key))
            && (is_held || burst.extras.delay_ms.is_none())
    };
    // At least once means that the source waits for its target; without one, or where it may drop messages itself, it cannot.
    let target_is_there = |it: &QueuePlan| match it.rules.dead_letter_exchange.as_deref() {
        None => !it.rules.at_least_once,
        Some(exchange) => {
            let key = it.rules.dead_letter_key.as_deref().unwrap_or(&it.name);
            let is_there = if exchange.is_empty() { queue(key).is_some() } else { is_bound(exchange, key) };
            !it.rules.at_least_once || (is_there && it.rules.rejects_publish)
        }
    };
    let role_fits = |role: &Role| match role {
        Role::Publisher(publisher) => publisher.bursts.iter().all(reaches_its_queue),
        Role::Consumer(consumer) => queue(&consumer.queue.name) == Some(&consumer.queue),
        Role::Getter(getter) => queue(&getter.queue).is_some(),
        Role::Churner(_) | Role::Rogue(_) => true,
    };
    plan.topology.queues.iter().all(target_is_there) && plan.clients.iter().all(|client| role_fits(&client.role))
}
