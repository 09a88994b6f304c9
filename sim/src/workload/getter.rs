//! A poller: `basic.get`, again and again.

use leveret_engine::amqp::Method;
use leveret_engine::amqp::method::basic;
use leveret_engine::client::ClientEvent;

use super::Workload;
use super::consumer::Answers;
use super::script::{Script, declare_queue};
use crate::client::{CHANNEL, Scope, short};
use crate::clock::{MILLISECOND, Micros};
use crate::plan::{GetterPlan, QueuePlan, QueueRules, Topology};

/// See the module.
#[derive(Debug)]
pub(super) struct Getter {
    plan: GetterPlan,
    queue: QueuePlan,
    script: Script,
    answers: Answers,
    is_set_up: bool,
    is_asking: bool,
    asked: u32,
    next_ask: Micros,
}

impl Getter {
    pub(super) fn new(plan: GetterPlan, topology: &Topology) -> Self {
        let queue = topology.queues.iter().find(|queue| queue.name == plan.queue).cloned();
        let queue = queue.unwrap_or_else(|| QueuePlan {
            name: plan.queue.clone(),
            durable: true,
            auto_delete: false,
            exclusive: false,
            rules: QueueRules::default(),
            node: 0,
        });
        Self {
            answers: Answers::new(plan.answer),
            plan,
            queue,
            script: Script::default(),
            is_set_up: false,
            is_asking: false,
            asked: 0,
            next_ask: 0,
        }
    }

    fn ask(&mut self, scope: &mut Scope<'_>) {
        if !self.is_set_up || self.is_asking || scope.is_stopping || self.asked >= self.plan.count {
            return;
        }
        if scope.now < self.next_ask {
            scope.wake_after(self.next_ask - scope.now);
            return;
        }
        self.next_ask = scope.now + self.plan.every_us;
        self.asked += 1;
        let get = basic::Get { queue: short(&self.queue.name), no_ack: self.plan.no_ack };
        self.is_asking = scope.machine.send(CHANNEL, get).is_ok();
    }
}

impl Workload for Getter {
    fn connected(&mut self, scope: &mut Scope<'_>) {
        // The machine is ahead of the events: the connection may be over already.
        let _ = scope.machine.open_channel(CHANNEL);
    }

    fn event(&mut self, scope: &mut Scope<'_>, event: ClientEvent) {
        match event {
            ClientEvent::ChannelOpened { .. } => {
                let request = declare_queue(&self.queue);
                self.script.start(scope, [request]);
            }
            ClientEvent::Method { method: Method::BasicGetEmpty(_), .. } => self.is_asking = false,
            ClientEvent::Method { .. } if !self.is_set_up => self.is_set_up = self.script.next(scope),
            ClientEvent::GetOk { delivery_tag, properties, body, .. } => {
                self.is_asking = false;
                scope.verify(&properties, &body);
                if !self.plan.no_ack {
                    self.answers.add(scope, delivery_tag);
                }
            }
            ClientEvent::ChannelClosed { .. } => {
                self.lost(scope.now);
                scope.wake_after(20 * MILLISECOND);
                return;
            }
            _ => {}
        }
        self.ask(scope);
    }

    fn wake(&mut self, scope: &mut Scope<'_>) {
        if !scope.machine.is_channel_open(CHANNEL) {
            let _ = scope.machine.open_channel(CHANNEL);
            return;
        }
        self.answers.wake(scope);
        self.ask(scope);
    }

    fn lost(&mut self, _now: Micros) {
        self.script.clear();
        self.answers.clear();
        self.is_set_up = false;
        self.is_asking = false;
    }
}
