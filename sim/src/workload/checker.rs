//! The last client: it takes everything that is left out of every queue.

use leveret_engine::amqp::method::queue;
use leveret_engine::client::ClientEvent;

use super::Workload;
use super::script::{consume, qos};
use crate::client::{CHANNEL, Scope, Wish, short};
use crate::clock::Micros;
use crate::lab::Message;
use crate::world::LeftOver;

/// What its consumer tags begin with; the queue's name follows.
const TAG: &str = "check-";

/// See the module.
#[derive(Debug)]
pub(crate) struct Checker {
    queues: Vec<String>,
    /// A queue that it declares before it looks at others, to see that something can be declared.
    probe: Option<String>,
    /// How many of them it has asked for on this channel.
    asked: usize,
    deliveries: u64,
    /// Where what it gets goes, if anywhere.
    left: Option<LeftOver>,
}

impl Checker {
    /// Drains these queues.
    pub(crate) fn new(queues: Vec<String>, probe: Option<String>, left: Option<LeftOver>) -> Self {
        Self { queues, probe, asked: 0, deliveries: 0, left }
    }
}

impl Workload for Checker {
    fn connected(&mut self, scope: &mut Scope<'_>) {
        self.asked = 0;
        // The machine is ahead of the events: the connection may be over already.
        let _ = scope.machine.open_channel(CHANNEL);
    }

    fn event(&mut self, scope: &mut Scope<'_>, event: ClientEvent) {
        match event {
            ClientEvent::ChannelOpened { .. } => {
                self.asked = 0;
                let _ = scope.machine.send(CHANNEL, qos(50, false));
            }
            ClientEvent::Method { .. } => {
                if let Some(name) = self.probe.take() {
                    let queue = short(&name);
                    let declare = queue::Declare { queue, exclusive: true, ..queue::Declare::default() };
                    let _ = scope.machine.send(CHANNEL, declare);
                } else if let Some(queue) = self.queues.get(self.asked) {
                    self.asked += 1;
                    let _ = scope.machine.send(CHANNEL, consume(queue, &format!("{TAG}{queue}"), false, false, 0));
                }
            }
            ClientEvent::ChannelClosed { .. } => {
                // The queue was about to go when the queues were listed.
                if self.asked > 0 {
                    self.queues.remove(self.asked - 1);
                }
                if scope.machine.open_channel(CHANNEL).is_err() {
                    scope.wish(Wish::Crash);
                }
            }
            ClientEvent::Delivery { consumer_tag, delivery_tag, properties, body, .. } => {
                scope.verify(&properties, &body);
                if let Some(left) = &self.left {
                    let tag = consumer_tag.to_string_lossy();
                    let queue = tag.strip_prefix(TAG).unwrap_or_default().to_owned();
                    left.borrow_mut().push((queue, Message::read(&properties, body)));
                }
                self.deliveries += 1;
                let _ = scope.machine.ack(CHANNEL, delivery_tag, self.deliveries.is_multiple_of(3));
            }
            _ => {}
        }
    }

    fn wake(&mut self, _scope: &mut Scope<'_>) {}

    fn lost(&mut self, _now: Micros) {}
}
