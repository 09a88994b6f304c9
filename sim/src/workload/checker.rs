//! The last client: it takes everything that is left out of every queue.

use leveret_engine::amqp::Method;
use leveret_engine::client::ClientEvent;

use super::Workload;
use super::script::{Script, consume, qos};
use crate::client::{CHANNEL, Scope};
use crate::clock::Micros;

/// See the module.
#[derive(Debug)]
pub(crate) struct Checker {
    queues: Vec<String>,
    script: Script,
    deliveries: u64,
}

impl Checker {
    /// Drains these queues.
    pub(crate) fn new(queues: Vec<String>) -> Self {
        Self { queues, script: Script::default(), deliveries: 0 }
    }
}

impl Workload for Checker {
    fn connected(&mut self, scope: &mut Scope<'_>) {
        scope.machine.open_channel(CHANNEL).expect("the connection is open");
    }

    fn event(&mut self, scope: &mut Scope<'_>, event: ClientEvent) {
        match event {
            ClientEvent::ChannelOpened { .. } => {
                let consumers = self.queues.iter().map(|queue| consume(queue, &format!("check-{queue}"), false, false));
                let requests: Vec<Method> = std::iter::once(qos(50, false)).chain(consumers).collect();
                self.script.start(scope, requests);
            }
            ClientEvent::Method { .. } => {
                self.script.next(scope);
            }
            ClientEvent::Delivery { delivery_tag, properties, body, .. } => {
                scope.verify(&properties, &body);
                self.deliveries += 1;
                let _ = scope.machine.ack(CHANNEL, delivery_tag, self.deliveries.is_multiple_of(3));
            }
            _ => {}
        }
    }

    fn wake(&mut self, _scope: &mut Scope<'_>) {}

    fn lost(&mut self, _now: Micros) {
        self.script.clear();
    }
}
