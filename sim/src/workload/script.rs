//! Requests sent one after the other, each when the one before was answered; and the requests themselves.

use std::collections::VecDeque;

use leveret_engine::amqp::method::{basic, confirm, exchange, queue, tx};
use leveret_engine::amqp::{FieldTable, Method};

use crate::client::{CHANNEL, Scope, short};
use crate::plan::{BindingPlan, ExchangePlan, QueuePlan, QueueRules, Topology};

/// What is still to be asked for.
#[derive(Debug, Default)]
pub(crate) struct Script {
    rest: VecDeque<Method>,
    is_waiting: bool,
}

impl Script {
    /// Begins anew.
    pub(crate) fn start(&mut self, scope: &mut Scope<'_>, requests: impl IntoIterator<Item = Method>) {
        self.rest = requests.into_iter().collect();
        self.is_waiting = false;
        self.next(scope);
    }

    /// The connection or channel is gone.
    pub(crate) fn clear(&mut self) {
        self.rest.clear();
        self.is_waiting = false;
    }

    /// Whether all was asked and answered.
    pub(crate) fn is_done(&self) -> bool {
        !self.is_waiting && self.rest.is_empty()
    }

    /// An answer came: asks for the next. True when there is nothing more.
    pub(crate) fn next(&mut self, scope: &mut Scope<'_>) -> bool {
        self.is_waiting = match self.rest.pop_front() {
            Some(request) => scope.machine.send(CHANNEL, request).is_ok(),
            None => false,
        };
        self.is_done()
    }
}

/// All that a topology consists of, in an order that works.
pub(crate) fn declare_all(topology: &Topology) -> Vec<Method> {
    let exchanges = topology.exchanges.iter().map(declare_exchange);
    let queues = topology.queues.iter().map(declare_queue);
    let bindings = topology.bindings.iter().map(|binding| bind(binding, &binding.destination));
    exchanges.chain(queues).chain(bindings).collect()
}

pub(crate) fn declare_exchange(plan: &ExchangePlan) -> Method {
    exchange::Declare {
        exchange: short(&plan.name),
        exchange_type: short(&plan.kind),
        durable: plan.durable,
        arguments: if plan.kind == DELAYED {
            FieldTable::new().with("x-delayed-type", "direct")
        } else {
            FieldTable::new()
        },
        ..exchange::Declare::default()
    }
    .into()
}

pub(crate) fn declare_queue(plan: &QueuePlan) -> Method {
    queue::Declare {
        queue: short(&plan.name),
        durable: plan.durable,
        exclusive: plan.exclusive,
        auto_delete: plan.auto_delete,
        arguments: queue_arguments(&plan.rules),
        ..queue::Declare::default()
    }
    .into()
}

pub(crate) fn bind(plan: &BindingPlan, destination: &str) -> Method {
    let (destination, source, routing_key) = (short(destination), short(&plan.source), short(&plan.key));
    let arguments = arguments(plan);
    if plan.to_exchange {
        exchange::Bind { destination, source, routing_key, no_wait: false, arguments }.into()
    } else {
        queue::Bind { queue: destination, exchange: source, routing_key, no_wait: false, arguments }.into()
    }
}

pub(crate) fn unbind(plan: &BindingPlan) -> Method {
    let (destination, source, routing_key) = (short(&plan.destination), short(&plan.source), short(&plan.key));
    let arguments = arguments(plan);
    if plan.to_exchange {
        exchange::Unbind { destination, source, routing_key, no_wait: false, arguments }.into()
    } else {
        queue::Unbind { queue: destination, exchange: source, routing_key, arguments }.into()
    }
}

pub(crate) fn confirm_select() -> Method {
    confirm::Select { no_wait: false }.into()
}

pub(crate) fn tx_select() -> Method {
    tx::Select {}.into()
}

pub(crate) fn qos(count: u16, global: bool) -> Method {
    basic::Qos { prefetch_size: 0, prefetch_count: count, global }.into()
}

pub(crate) fn consume(queue: &str, tag: &str, no_ack: bool, exclusive: bool, priority: i32) -> Method {
    let arguments =
        if priority == 0 { FieldTable::new() } else { FieldTable::new().with("x-priority", i64::from(priority)) };
    let (queue, consumer_tag) = (short(queue), short(tag));
    basic::Consume { queue, consumer_tag, no_ack, exclusive, arguments, ..basic::Consume::default() }.into()
}

/// The type of an exchange that holds messages back (RabbitMQ: plugin rabbitmq_delayed_message_exchange).
const DELAYED: &str = "x-delayed-message";

/// RabbitMQ docs: Queues / optional arguments.
fn queue_arguments(rules: &QueueRules) -> FieldTable {
    let QueueRules {
        message_ttl_ms,
        expires_ms,
        length_max,
        rejects_publish,
        dead_letter_exchange,
        dead_letter_key,
        at_least_once,
        priority_max,
        single_active,
        delivery_limit,
        consumer_timeout_ms,
        retry_ms,
        is_quorum,
        group_size,
        target_size,
        // An operator has said it.
        mirrors: _,
        // That is about its clients.
        is_remote: _,
        mirrored_later: _,
    } = rules;
    let mut table = FieldTable::new();
    for (name, number) in [
        ("x-message-ttl", *message_ttl_ms),
        ("x-expires", *expires_ms),
        ("x-max-length", *length_max),
        ("x-max-priority", priority_max.map(u32::from)),
        ("x-delivery-limit", *delivery_limit),
        ("x-consumer-timeout", *consumer_timeout_ms),
        ("x-delayed-retry-min", *retry_ms),
        ("x-delayed-retry-max", retry_ms.map(|ms| 3 * ms)),
        ("x-quorum-initial-group-size", *group_size),
        ("x-quorum-target-group-size", target_size.map(u32::from)),
    ] {
        if let Some(number) = number {
            table = table.with(name, i64::from(number));
        }
    }
    for (name, text) in
        [("x-dead-letter-exchange", dead_letter_exchange), ("x-dead-letter-routing-key", dead_letter_key)]
    {
        if let Some(text) = text {
            table = table.with(name, &**text);
        }
    }
    for (name, text, is_on) in [
        ("x-overflow", "reject-publish", *rejects_publish),
        ("x-dead-letter-strategy", "at-least-once", *at_least_once),
        ("x-queue-type", "quorum", *is_quorum),
        ("x-delayed-retry-type", "all", retry_ms.is_some()),
    ] {
        if is_on {
            table = table.with(name, text);
        }
    }
    if *single_active { table.with("x-single-active-consumer", true) } else { table }
}

fn arguments(plan: &BindingPlan) -> FieldTable {
    match plan.headers {
        Some(wanted) => FieldTable::new()
            .with("x-match", if wanted.any { "any" } else { "all" })
            .with("shape", i32::from(wanted.shape))
            .with("colour", i32::from(wanted.colour)),
        None => FieldTable::new(),
    }
}
