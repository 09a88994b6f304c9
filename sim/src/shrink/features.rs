//! Making what stays plain: no rules that do not matter, settings as they are by default, times and bodies of one size.

use super::search::Search;
use super::structure::{agree, bursts_mut, consumer, consumer_mut, publisher, publisher_mut};
use crate::plan::{
    AnswerPlan, Burst, BurstExtras, ConsumerPlan, DiskPlan, Knobs, LinkPlan, Plan, PublishMode, QueueRules, Role,
    USUAL_FRAME_MAX, USUAL_RECONNECT,
};
use crate::rng::Ratio;

/// Switches off what queues are asked for, and lowers the limits that have to stay.
pub(super) fn rules(search: &mut Search<'_>) {
    for queue in 0..search.best.topology.queues.len() {
        let simplify = |search: &mut Search<'_>, edit: &dyn Fn(&mut QueueRules)| {
            search.attempt(|plan| {
                edit(&mut plan.topology.queues[queue].rules);
                agree(plan);
            });
        };
        simplify(search, &|rules| *rules = QueueRules::default());
        for edit in RULES_OFF {
            simplify(search, &edit);
        }
        for (get, steps) in LIMITS {
            for &step in *steps {
                let mut rules = search.best.topology.queues[queue].rules.clone();
                let is_lower = get(&mut rules).is_some_and(|limit| step < limit);
                if is_lower {
                    simplify(search, &|rules| *get(rules) = Some(step));
                }
            }
        }
    }
    search.attempt(|plan| {
        plan.topology
            .queues
            .iter_mut()
            .for_each(|queue| queue.rules.priority_max = queue.rules.priority_max.map(|_| 1));
        agree(plan);
    });
    for policy in 0..search.best.policies.len() {
        for limit in [1, 2, 5] {
            search.attempt(|plan| {
                let own = &mut plan.policies[policy].length_max;
                *own = own.map(|own| own.min(limit));
            });
        }
    }
}

/// What can be left out of a queue's rules.
const RULES_OFF: [fn(&mut QueueRules); 16] = [
    |rules| {
        (rules.dead_letter_exchange, rules.dead_letter_key) = (None, None);
        rules.at_least_once = false;
    },
    |rules| rules.at_least_once = false,
    |rules| (rules.length_max, rules.rejects_publish, rules.at_least_once) = (None, false, false),
    |rules| rules.length_max = None,
    |rules| rules.rejects_publish = false,
    |rules| rules.message_ttl_ms = None,
    |rules| rules.expires_ms = None,
    |rules| rules.priority_max = None,
    |rules| rules.single_active = false,
    |rules| rules.delivery_limit = None,
    |rules| rules.consumer_timeout_ms = None,
    |rules| rules.retry_ms = None,
    |rules| (rules.is_quorum, rules.retry_ms) = (false, None),
    |rules| rules.mirrors = None,
    |rules| (rules.is_remote, rules.mirrored_later) = (false, None),
    |rules| rules.mirrored_later = None,
];

/// Limits of a queue's rules, each with the values that are tried.
type Limit = (fn(&mut QueueRules) -> &mut Option<u32>, &'static [u32]);

const LIMITS: &[Limit] = &[
    (|rules| &mut rules.length_max, &[1, 2, 3, 5]),
    (|rules| &mut rules.delivery_limit, &[1, 2, 3]),
    (|rules| &mut rules.message_ttl_ms, &[10, 100, 500, 1000]),
    (|rules| &mut rules.expires_ms, &[10, 100, 500, 1000]),
    (|rules| &mut rules.consumer_timeout_ms, &[10, 100]),
    (|rules| &mut rules.retry_ms, &[10, 100]),
];

/// Makes what clients do plain.
pub(super) fn clients(search: &mut Search<'_>) {
    search.attempt(|plan| plan.clients.iter_mut().for_each(|client| client.link = LinkPlan::default()));
    for client in 0..search.best.clients.len() {
        search.attempt(|plan| plan.clients[client].link = LinkPlan::default());
        search.attempt(|plan| plan.clients[client].heartbeat_s = 0);
        search.attempt(|plan| plan.clients[client].frame_max = USUAL_FRAME_MAX);
        search.attempt(|plan| plan.clients[client].reconnect_us = USUAL_RECONNECT);
        match &search.best.clients[client].role {
            Role::Publisher(_) => plain_publisher(search, client),
            Role::Consumer(_) => plain_consumer(search, client),
            Role::Getter(_) => {
                search.attempt(|plan| {
                    if let Role::Getter(getter) = &mut plan.clients[client].role {
                        getter.answer = AnswerPlan::default();
                    }
                });
            }
            Role::Churner(_) | Role::Rogue(_) => {}
        }
    }
}

fn plain_publisher(search: &mut Search<'_>, client: usize) {
    let mode = search.best.clients[client].role.clone();
    let Role::Publisher(plan) = mode else { return };
    for mode in [PublishMode::Plain, PublishMode::Confirm { window: 1 }, PublishMode::Confirm { window: 10 }] {
        if rank(mode) < rank(plan.mode) {
            search.attempt(|plan| {
                if let Some(publisher) = publisher_mut(plan, client)
                    && rank(mode) < rank(publisher.mode)
                {
                    publisher.mode = mode;
                }
            });
        }
    }
    search.attempt(|plan| {
        if let Some(publisher) = publisher_mut(plan, client) {
            publisher.republish = false;
        }
    });
    for index in 0..publisher(&search.best, client).map_or(0, |publisher| publisher.bursts.len()) {
        for edit in PLAIN_BURST {
            search.attempt(|plan| edit(&mut bursts_mut(plan, client)[index]));
        }
        for millis in [1, 10, 100, 500, 1000, 2000] {
            search.attempt(|plan| {
                let extras = &mut bursts_mut(plan, client)[index].extras;
                extras.expiration_ms =
                    extras.expiration_ms.map(|(_, longest)| (millis.min(longest), millis.min(longest)));
            });
            search.attempt(|plan| {
                let extras = &mut bursts_mut(plan, client)[index].extras;
                extras.delay_ms = extras.delay_ms.map(|(_, longest)| (millis.min(longest), millis.min(longest)));
            });
        }
        for size in [0, 1, 100, 1000] {
            search.attempt(|plan| {
                let burst = &mut bursts_mut(plan, client)[index];
                burst.size = (burst.size.0.min(size), burst.size.1.min(size));
            });
        }
        search.attempt(|plan| {
            let burst = &mut bursts_mut(plan, client)[index];
            burst.size.0 = burst.size.1;
        });
    }
}

/// How much there is to know of a mode: none is simpler than one that waits for answers, and few of those than many.
fn rank(mode: PublishMode) -> (u8, u32) {
    match mode {
        PublishMode::Plain => (0, 0),
        PublishMode::Confirm { window } => (1, window),
        PublishMode::Tx { batch, .. } => (2, batch),
    }
}

const PLAIN_BURST: [fn(&mut Burst); 6] = [
    |burst| burst.extras = BurstExtras::default(),
    |burst| burst.extras.expiration_ms = None,
    |burst| burst.extras.priority = None,
    |burst| burst.extras.hostile_bodies = false,
    |burst| burst.mandatory = false,
    |burst| burst.persistent = true,
];

fn plain_consumer(search: &mut Search<'_>, client: usize) {
    let prefetch = |plan: &Plan| Some(u64::from(consumer(plan, client)?.prefetch));
    search.lower(1, prefetch, |plan, count| {
        if let Some(consumer) = consumer_mut(plan, client) {
            consumer.prefetch = u16::try_from(count).expect("smaller than one of 16 bits");
        }
    });
    for edit in PLAIN_CONSUMER {
        search.attempt(|plan| {
            if let Some(consumer) = consumer_mut(plan, client) {
                edit(consumer);
            }
        });
    }
}

const PLAIN_CONSUMER: [fn(&mut ConsumerPlan); 15] = [
    |consumer| consumer.answer = AnswerPlan::default(),
    |consumer| consumer.bindings.clear(),
    |consumer| consumer.prefetch = 0,
    |consumer| consumer.global = false,
    |consumer| consumer.no_ack = false,
    |consumer| consumer.exclusive = false,
    |consumer| consumer.priority = 0,
    |consumer| consumer.answer.think_us = (0, 0),
    |consumer| consumer.answer.requeue = Ratio::NEVER,
    |consumer| consumer.answer.drop = Ratio::NEVER,
    |consumer| consumer.answer.requeue = always(consumer.answer.requeue),
    |consumer| consumer.answer.drop = always(consumer.answer.drop),
    |consumer| consumer.answer.multiple = 1,
    |consumer| consumer.answer.nack = false,
    |consumer| {
        let longest = consumer.answer.think_us.1;
        consumer.answer.think_us = (longest, longest);
    },
];

/// Not now and then, but always, if at all.
fn always(share: Ratio) -> Ratio {
    if share.is_possible() { Ratio(1, 1) } else { share }
}

/// Sets the node's settings to what they are by default, and makes the disk take the same time for everything of a kind.
pub(super) fn settings(search: &mut Search<'_>) {
    search.attempt(|plan| plan.knobs = Knobs::default());
    for edit in KNOBS {
        search.attempt(|plan| edit(&mut plan.knobs, Knobs::default()));
    }
    let even =
        DiskPlan { write_us: (50, 50), sync_us: (500, 500), read_us: (100, 100), tail: Ratio::NEVER, tail_us: 0 };
    if !search.attempt(|plan| plan.disk = even.clone()) && search.best.disk != even {
        search.attempt(|plan| plan.disk = DiskPlan::default());
        search.attempt(|plan| (plan.disk.tail, plan.disk.tail_us) = (Ratio::NEVER, 0));
    }
}

const KNOBS: [fn(&mut Knobs, Knobs); 15] = [
    |knobs, usual| (knobs.segment_bytes, knobs.slack_bytes) = (usual.segment_bytes, usual.slack_bytes),
    |knobs, usual| knobs.append_bytes = usual.append_bytes,
    |knobs, usual| knobs.sync_interval_us = usual.sync_interval_us,
    |knobs, usual| knobs.disk_retry_us = usual.disk_retry_us,
    |knobs, usual| {
        (knobs.outbox_high_bytes, knobs.outbox_low_bytes) = (usual.outbox_high_bytes, usual.outbox_low_bytes);
    },
    |knobs, usual| knobs.queue_cache_bytes = usual.queue_cache_bytes,
    |knobs, usual| knobs.memory_high_bytes = usual.memory_high_bytes,
    |knobs, usual| knobs.read_ahead_bytes = usual.read_ahead_bytes,
    |knobs, usual| knobs.frame_max = usual.frame_max,
    |knobs, usual| knobs.message_size_max = usual.message_size_max,
    |knobs, _| (knobs.batch_inputs, knobs.batch_us) = (1, 0),
    |knobs, usual| knobs.batch_us = usual.batch_us,
    |knobs, usual| knobs.timer_late_us = usual.timer_late_us,
    |knobs, usual| knobs.tells_late = usual.tells_late,
    |knobs, usual| knobs.durability = usual.durability,
];
