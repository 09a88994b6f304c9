//! A queue with priorities gives the highest first (RabbitMQ docs: Classic Queues Support Priorities).

use crate::history::Fact;
use crate::oracle::Oracle;
use crate::story::StoryFact;

/// See the module.
pub(super) struct Priority;

impl Oracle for Priority {
    fn name(&self) -> &'static str {
        "highest priority first"
    }

    fn judge(&mut self, fact: &Fact) -> Option<String> {
        let Fact::Story(StoryFact::Overtaken { queue, message, priority, by, by_priority }) = *fact else {
            return None;
        };
        Some(format!(
            "queue {} gives {by} of priority {by_priority} while {message} of priority {priority} waits",
            queue.0
        ))
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
        let fact = StoryFact::Overtaken { queue: QueueIndex(0), message, priority: 3, by, by_priority: 1 };
        assert!(Priority.judge(&Fact::Story(fact)).is_some());
    }
}
