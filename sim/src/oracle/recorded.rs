//! Every message that leaves a queue without an answer from a consumer has a recorded reason, and what has one left by that way.

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};
use crate::story::{Reason, StoryFact};

/// See the module.
pub(super) struct Recorded;

impl Oracle for Recorded {
    fn name(&self) -> &'static str {
        "every leave has a reason"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        match *fact {
            Fact::Story(StoryFact::Left { message, queue, reason: None, was_answered: false }) => {
                Verdict::Broken(format!("{message} left queue {} without an ack, and nothing says why", queue.0))
            }
            Fact::Story(StoryFact::Left {
                message,
                queue,
                reason: Some(reason @ (Reason::Rejected | Reason::Removed)),
                was_answered: false,
            }) => Verdict::Broken(format!("{message} left queue {} as {reason:?}, and nobody asked for that", queue.0)),
            Fact::Story(StoryFact::Left { .. }) => Verdict::Kept,
            _ => Verdict::NotMine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::QueueIndex;
    use crate::message::MessageNumber;

    #[test]
    fn leaves_without_a_reason_are_objected_to() {
        for (reason, was_answered, is_right) in [
            (None, true, true),
            (None, false, false),
            (Some(Reason::Expired), false, true),
            (Some(Reason::Rejected), false, false),
        ] {
            let fact = StoryFact::Left { message: MessageNumber(1), queue: QueueIndex(0), reason, was_answered };
            assert_eq!(Recorded.judge(&Fact::Story(fact)).is_kept(), is_right, "{reason:?}");
        }
    }
}
