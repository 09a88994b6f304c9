//! A queue gives out its oldest message first; what was put back is as old as before (RabbitMQ docs: Queues / message ordering).

use std::collections::BTreeMap;

use crate::history::{Fact, QueueIndex, Session};
use crate::oracle::{Oracle, Verdict};

/// See the module. Keeps, for each channel and queue, the place of the last first delivery; where a queue is all nodes', for each
/// consumer and each channel that publishes.
#[derive(Default)]
pub(super) struct Order {
    last: BTreeMap<Stream, u64>,
}

/// The channel, the queue and, of a queue of all nodes, the consumer and the channel that publishes.
type Stream = (Session, QueueIndex, Option<(u32, Session)>);

impl Oracle for Order {
    fn name(&self) -> &'static str {
        "order"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        match *fact {
            Fact::Skipped { queue, message, delivered, was_requeued } => {
                let what = if was_requeued { "put back" } else { "never delivered" };
                Verdict::Broken(format!("queue {} gives {delivered} while the older {message}, {what}, waits", queue.0))
            }
            Fact::MissedByGet { queue, message } => {
                Verdict::Broken(format!("a get finds queue {} empty while {message} waits in it", queue.0))
            }
            Fact::Delivered {
                session,
                queue: Some(queue),
                message: Some(message),
                redelivered: false,
                deliveries: 0,
                position,
                of,
                ..
            } if position > 0 => {
                let last = self.last.insert((session, queue, of), position).unwrap_or(0);
                Verdict::broken_if(position <= last, || {
                    format!(
                        "queue {} gives {message}, published at {position}, after what was published at {last}",
                        queue.0
                    )
                })
            }
            _ => Verdict::NotMine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageNumber;
    use crate::oracle::tests::delivered;

    #[test]
    fn passing_over_an_older_message_is_objected_to() {
        let (message, delivered) = (MessageNumber(1), MessageNumber(2));
        let fact = Fact::Skipped { queue: QueueIndex(0), message, delivered, was_requeued: true };
        assert!(Order::default().judge(&fact).is_broken());
    }

    #[test]
    fn first_deliveries_out_of_order_are_objected_to_and_others_are_not() {
        let mut order = Order::default();
        assert!(order.judge(&delivered!(position: 5)).is_kept());
        assert_eq!(order.judge(&delivered!(position: 4, redelivered: true, deliveries: 1)), Verdict::NotMine);
        assert!(order.judge(&delivered!(position: 4)).is_broken());
    }
}
