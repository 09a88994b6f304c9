//! One who changes the topology under everybody's feet.

use leveret_engine::amqp::Method;
use leveret_engine::amqp::method::{exchange, queue};
use leveret_engine::client::ClientEvent;

use super::Workload;
use super::script::{bind, declare_exchange, declare_queue, unbind};
use crate::client::{CHANNEL, Scope, short};
use crate::clock::{MILLISECOND, Micros};
use crate::message::{Extras, MessageInfo};
use crate::plan::{Burst, ChurnPlan, TopologyOp};
use crate::rng::scale;

/// See the module.
#[derive(Debug)]
pub(super) struct Churner {
    plan: ChurnPlan,
    step: usize,
    /// When the next step is due.
    due: Option<Micros>,
    is_waiting: bool,
    is_open: bool,
    sequence: u32,
}

impl Churner {
    pub(super) fn new(plan: ChurnPlan) -> Self {
        Self { plan, step: 0, due: None, is_waiting: false, is_open: false, sequence: 0 }
    }

    fn advance(&mut self, scope: &mut Scope<'_>) {
        if self.is_waiting || !self.is_open || scope.is_stopping || !scope.machine.is_channel_open(CHANNEL) {
            return;
        }
        let Some(step) = self.plan.steps.get(self.step) else { return };
        let due = *self.due.get_or_insert(scope.now + step.wait_us);
        if scope.now < due {
            scope.wake_after(due - scope.now);
            return;
        }
        self.due = None;
        self.step += 1;
        let request: Method = match &step.op {
            TopologyOp::DeclareQueue(plan) => declare_queue(plan),
            TopologyOp::PassiveQueue(name) => {
                queue::Declare { queue: short(name), passive: true, ..queue::Declare::default() }.into()
            }
            TopologyOp::DeleteQueue { queue, if_unused, if_empty } => {
                queue::Delete { queue: short(queue), if_unused: *if_unused, if_empty: *if_empty, no_wait: false }.into()
            }
            TopologyOp::Purge(name) => queue::Purge { queue: short(name), no_wait: false }.into(),
            TopologyOp::DeclareExchange(plan) => declare_exchange(plan),
            TopologyOp::DeleteExchange(name) => {
                exchange::Delete { exchange: short(name), if_unused: false, no_wait: false }.into()
            }
            TopologyOp::Bind(plan) => bind(plan, &plan.destination),
            TopologyOp::Unbind(plan) => unbind(plan),
            TopologyOp::Publish(burst) => {
                let burst = burst.clone();
                self.publish(scope, &burst);
                scope.wake_after(1);
                return;
            }
        };
        self.is_waiting = scope.machine.send(CHANNEL, request).is_ok();
    }

    fn publish(&mut self, scope: &mut Scope<'_>, burst: &Burst) {
        for _ in 0..burst.count {
            self.sequence += 1;
            let random = scope.fates.of(20, u64::from(self.sequence));
            let size = scale(random, u64::from(burst.size.0), u64::from(burst.size.1));
            let info = MessageInfo {
                publisher: scope.client,
                sequence: self.sequence,
                attempt: 0,
                size: u32::try_from(size).expect("between two 32-bit numbers"),
                persistent: burst.persistent,
                extras: Extras::draw(&burst.extras, scope.fates, u64::from(self.sequence)),
            };
            scope.publish(&burst.exchange, &burst.key, burst.mandatory, info);
        }
    }
}

impl Workload for Churner {
    fn connected(&mut self, scope: &mut Scope<'_>) {
        // The machine is ahead of the events: the connection may be over already.
        let _ = scope.machine.open_channel(CHANNEL);
    }

    fn event(&mut self, scope: &mut Scope<'_>, event: ClientEvent) {
        match event {
            ClientEvent::ChannelOpened { .. } => self.is_open = true,
            ClientEvent::Method { .. } => self.is_waiting = false,
            ClientEvent::ChannelClosed { .. } => {
                self.lost(scope.now);
                scope.wake_after(5 * MILLISECOND);
                return;
            }
            _ => {}
        }
        self.advance(scope);
    }

    fn wake(&mut self, scope: &mut Scope<'_>) {
        if !scope.machine.is_channel_open(CHANNEL) {
            let _ = scope.machine.open_channel(CHANNEL);
            return;
        }
        self.advance(scope);
    }

    fn lost(&mut self, _now: Micros) {
        self.is_waiting = false;
        self.is_open = false;
    }
}
