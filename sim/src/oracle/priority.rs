//! A queue with priorities gives the highest first (RabbitMQ docs: Classic Queues Support Priorities).

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};
use crate::story::StoryFact;

/// See the module.
pub(super) struct Priority;

impl Oracle for Priority {
    fn name(&self) -> &'static str {
        "highest priority first"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Story(StoryFact::Chosen { queue, message, priority, by, by_priority }) = *fact else {
            return Verdict::NotMine;
        };
        Verdict::broken_if(priority > by_priority, || {
            format!(
                "queue {} gives {by} of priority {by_priority} while {message} of priority {priority} waits",
                queue.0
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::QueueIndex;
    use crate::message::MessageNumber;

    #[test]
    fn overtaking_is_objected_to() {
        let (message, by) = (MessageNumber(1), MessageNumber(2));
        for (by_priority, is_right) in [(2, false), (3, true)] {
            let fact = StoryFact::Chosen { queue: QueueIndex(0), message, priority: 3, by, by_priority };
            assert_eq!(Priority.judge(&Fact::Story(fact)).is_kept(), is_right, "{by_priority}");
        }
    }
}
