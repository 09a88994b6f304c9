//! One who breaks the rules and expects to be shown out, while nobody else notices.

use leveret_engine::amqp::method::{basic, queue};
use leveret_engine::client::ClientEvent;

use super::Workload;
use super::script::{consume, declare_queue};
use crate::client::{CHANNEL, Scope, Wish, short};
use crate::clock::{MILLISECOND, Micros};
use crate::message::{Extras, MessageInfo};
use crate::plan::{QueuePlan, RogueDeed, RoguePlan, Topology};

/// See the module.
#[derive(Debug)]
pub(super) struct Rogue {
    plan: RoguePlan,
    /// A queue that exists, to contradict.
    queue: QueuePlan,
    step: usize,
    due: Option<Micros>,
    did: bool,
}

impl Rogue {
    pub(super) fn new(plan: RoguePlan, topology: &Topology) -> Self {
        Self { plan, queue: topology.queues[0].clone(), step: 0, due: None, did: false }
    }

    fn act(&mut self, scope: &mut Scope<'_>) {
        if !scope.machine.is_channel_open(CHANNEL) {
            let _ = scope.machine.open_channel(CHANNEL);
            return;
        }
        if self.did {
            // Whatever the answer is: on with a new connection.
            self.did = false;
            scope.wish(Wish::Crash);
            return;
        }
        if scope.is_stopping {
            return;
        }
        let Some(step) = self.plan.steps.get(self.step).copied() else { return };
        let due = *self.due.get_or_insert(scope.now + step.wait_us);
        if scope.now < due {
            scope.wake_after(due - scope.now);
            return;
        }
        self.due = None;
        self.step += 1;
        self.did = true;
        scope.wake_after(30 * MILLISECOND);
        self.offend(scope, step.what);
    }

    fn offend(&self, scope: &mut Scope<'_>, what: RogueDeed) {
        let info = MessageInfo {
            publisher: scope.client,
            sequence: 0,
            attempt: 0,
            size: 10,
            persistent: true,
            extras: Extras::default(),
        };
        match what {
            RogueDeed::Garbage => scope.machine.send_raw(b"GET / HTTP/1.1\r\nHost: rabbit\r\n\r\n"),
            RogueDeed::HugeFrame => scope.machine.send_raw(&[1, 0, 1, 0x7f, 0xff, 0xff, 0xff, 0, 60, 0, 40]),
            RogueDeed::BadFrameEnd => scope.machine.send_raw(&[8, 0, 0, 0, 0, 0, 0, 0xcd]),
            RogueDeed::StrayBody => scope.machine.send_raw(&[3, 0, 1, 0, 0, 0, 2, b'h', b'i', 0xce]),
            RogueDeed::ClosedChannel => scope.machine.send_raw(&[1, 0, 9, 0, 0, 0, 4, 0, 90, 0, 10, 0xce]),
            RogueDeed::HalfPublish => {
                scope.machine.send_raw(&[1, 0, 1, 0, 0, 0, 9, 0, 60, 0, 40, 0, 0, 0, 0, 0, 0xce]);
                scope.machine.send_raw(&[2, 0, 1, 0, 0, 0, 14, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0, 0xce]);
            }
            RogueDeed::NoExchange => {
                scope.publish("x.nowhere", "", false, info);
                scope.publish("", &self.queue.name, false, info);
            }
            RogueDeed::UnknownTag => {
                let _ = scope.machine.ack(CHANNEL, 99, false);
            }
            RogueDeed::Contradict => {
                let contrary = QueuePlan { durable: !self.queue.durable, ..self.queue.clone() };
                let _ = scope.machine.send(CHANNEL, declare_queue(&contrary));
                let purge = queue::Purge { queue: short("nowhere"), no_wait: false };
                let _ = scope.machine.send(CHANNEL, purge);
            }
            RogueDeed::NoQueue => {
                let _ = scope.machine.send(CHANNEL, consume("nowhere", "", false, false, 0));
                let _ = scope.machine.send(CHANNEL, basic::Get { queue: short("nowhere"), no_ack: true });
            }
        }
    }
}

impl Workload for Rogue {
    fn connected(&mut self, scope: &mut Scope<'_>) {
        self.did = false;
        // The machine is ahead of the events: the connection may be over already.
        let _ = scope.machine.open_channel(CHANNEL);
    }

    fn event(&mut self, scope: &mut Scope<'_>, event: ClientEvent) {
        match event {
            ClientEvent::ChannelOpened { .. } => self.act(scope),
            ClientEvent::ChannelClosed { .. } => scope.wake_after(MILLISECOND),
            _ => {}
        }
    }

    fn wake(&mut self, scope: &mut Scope<'_>) {
        self.act(scope);
    }

    fn lost(&mut self, _now: Micros) {
        self.did = false;
    }
}
