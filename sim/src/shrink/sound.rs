//! Which plans may be tried: those that could have been made.
//!
//! What judges a run relies on some things that every plan keeps to. A plan that breaks one would "fail" through no fault of the
//! broker, perhaps with the very same words, and a shrinker looks for such a way out more patiently than anybody.

use crate::plan::{Burst, Plan, QueuePlan, Role};

/// Whether a world can be made of this plan at all.
pub(super) fn is_whole(plan: &Plan) -> bool {
    let clients = plan.clients.len();
    let targets_exist =
        plan.faults.iter().all(|fault| fault.kind.clone().client_mut().is_none_or(|client| *client < clients));
    // One who breaks the rules contradicts the first queue.
    let has_victim =
        !plan.topology.queues.is_empty() || !plan.clients.iter().any(|client| matches!(client.role, Role::Rogue(_)));
    targets_exist && has_victim && plan.knobs.outbox_low_bytes < plan.knobs.outbox_high_bytes
}

/// Whether a failure of this plan would mean anything.
pub(super) fn is_sound(plan: &Plan) -> bool {
    is_whole(plan) && (!plan.is_story || is_sound_story(plan))
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
