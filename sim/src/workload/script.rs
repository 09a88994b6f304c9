//! Requests sent one after the other, each when the one before was answered; and the requests themselves.

use std::collections::VecDeque;

use leveret_engine::amqp::method::{basic, confirm, exchange, queue, tx};
use leveret_engine::amqp::{FieldTable, Method};

use crate::client::{CHANNEL, Scope, short};
use crate::plan::{BindingPlan, ExchangePlan, QueuePlan, Topology};

/// What is still to be asked for.
#[derive(Debug, Default)]
pub(super) struct Script {
    rest: VecDeque<Method>,
    is_waiting: bool,
}

impl Script {
    /// Begins anew.
    pub(super) fn start(&mut self, scope: &mut Scope<'_>, requests: impl IntoIterator<Item = Method>) {
        self.rest = requests.into_iter().collect();
        self.is_waiting = false;
        self.next(scope);
    }

    /// The connection or channel is gone.
    pub(super) fn clear(&mut self) {
        self.rest.clear();
        self.is_waiting = false;
    }

    /// Whether all was asked and answered.
    pub(super) fn is_done(&self) -> bool {
        !self.is_waiting && self.rest.is_empty()
    }

    /// An answer came: asks for the next. True when there is nothing more.
    pub(super) fn next(&mut self, scope: &mut Scope<'_>) -> bool {
        self.is_waiting = match self.rest.pop_front() {
            Some(request) => scope.machine.send(CHANNEL, request).is_ok(),
            None => false,
        };
        self.is_done()
    }
}

/// All that a topology consists of, in an order that works.
pub(super) fn declare_all(topology: &Topology) -> Vec<Method> {
    let exchanges = topology.exchanges.iter().map(declare_exchange);
    let queues = topology.queues.iter().map(declare_queue);
    let bindings = topology.bindings.iter().map(|binding| bind(binding, &binding.destination));
    exchanges.chain(queues).chain(bindings).collect()
}

pub(super) fn declare_exchange(plan: &ExchangePlan) -> Method {
    exchange::Declare {
        exchange: short(&plan.name),
        exchange_type: short(&plan.kind),
        durable: plan.durable,
        ..exchange::Declare::default()
    }
    .into()
}

pub(super) fn declare_queue(plan: &QueuePlan) -> Method {
    queue::Declare {
        queue: short(&plan.name),
        durable: plan.durable,
        exclusive: plan.exclusive,
        auto_delete: plan.auto_delete,
        ..queue::Declare::default()
    }
    .into()
}

pub(super) fn bind(plan: &BindingPlan, destination: &str) -> Method {
    let (destination, source, routing_key) = (short(destination), short(&plan.source), short(&plan.key));
    let arguments = arguments(plan);
    if plan.to_exchange {
        exchange::Bind { destination, source, routing_key, no_wait: false, arguments }.into()
    } else {
        queue::Bind { queue: destination, exchange: source, routing_key, no_wait: false, arguments }.into()
    }
}

pub(super) fn unbind(plan: &BindingPlan) -> Method {
    let (destination, source, routing_key) = (short(&plan.destination), short(&plan.source), short(&plan.key));
    let arguments = arguments(plan);
    if plan.to_exchange {
        exchange::Unbind { destination, source, routing_key, no_wait: false, arguments }.into()
    } else {
        queue::Unbind { queue: destination, exchange: source, routing_key, arguments }.into()
    }
}

pub(super) fn confirm_select() -> Method {
    confirm::Select { no_wait: false }.into()
}

pub(super) fn tx_select() -> Method {
    tx::Select {}.into()
}

pub(super) fn qos(count: u16, global: bool) -> Method {
    basic::Qos { prefetch_size: 0, prefetch_count: count, global }.into()
}

pub(super) fn consume(queue: &str, tag: &str, no_ack: bool, exclusive: bool) -> Method {
    basic::Consume { queue: short(queue), consumer_tag: short(tag), no_ack, exclusive, ..basic::Consume::default() }
        .into()
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
