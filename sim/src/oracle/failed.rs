//! A message says no more failed deliveries than there were, and goes when they are too many (RabbitMQ docs: Quorum Queues / poison
//! message handling).

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct Failed;

impl Oracle for Failed {
    fn name(&self) -> &'static str {
        "failed deliveries are counted"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Failed { queue, message, count, most } = *fact else { return Verdict::NotMine };
        Verdict::broken_if(count > most, || {
            format!("{message} of queue {} says that {count} deliveries failed; it was {most} at most", queue.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::QueueIndex;
    use crate::message::MessageNumber;

    #[test]
    fn a_failure_too_many_is_objected_to() {
        for (count, is_right) in [(0, true), (2, true), (3, false)] {
            let fact = Fact::Failed { queue: QueueIndex(0), message: MessageNumber(1), count, most: 2 };
            assert_eq!(Failed.judge(&fact).is_kept(), is_right, "{count}");
        }
    }
}
