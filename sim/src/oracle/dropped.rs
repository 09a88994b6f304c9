//! A full queue drops its oldest messages, and their dead letters come in that order (RabbitMQ docs: Queue Length Limit).

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};
use crate::story::StoryFact;

/// See the module.
pub(super) struct Dropped;

impl Oracle for Dropped {
    fn name(&self) -> &'static str {
        "oldest dropped first"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Story(StoryFact::Dropped { message, queue, before, is_in_order }) = *fact else {
            return Verdict::NotMine;
        };
        Verdict::broken_if(!is_in_order, || {
            format!("{before} was driven out of queue {} before {message}, which stood in front of it", queue.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::QueueIndex;
    use crate::message::MessageNumber;

    #[test]
    fn another_order_is_objected_to() {
        for is_in_order in [true, false] {
            let (message, before, queue) = (MessageNumber(2), MessageNumber(1), QueueIndex(0));
            let fact = StoryFact::Dropped { message, queue, before, is_in_order };
            assert_eq!(Dropped.judge(&Fact::Story(fact)).is_kept(), is_in_order);
        }
    }
}
