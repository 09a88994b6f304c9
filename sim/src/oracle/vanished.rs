//! What was confirmed is acked, or dead by a rule, or still there: never just gone.

use crate::history::Fact;
use crate::oracle::Oracle;
use crate::story::StoryFact;

/// See the module.
pub(super) struct Vanished;

impl Oracle for Vanished {
    fn name(&self) -> &'static str {
        "nothing vanishes"
    }

    fn judge(&mut self, fact: &Fact) -> Option<String> {
        match *fact {
            Fact::Story(StoryFact::Vanished { message, queue }) => Some(format!(
                "{message} was confirmed and published to queue {}; no consumer acked it and no rule takes it away",
                queue.0
            )),
            Fact::Story(StoryFact::LeftOver { queue, count }) => {
                Some(format!("queue {} has {count} messages although all were settled before the restart", queue.0))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::QueueIndex;
    use crate::message::MessageNumber;

    #[test]
    fn losses_and_ghosts_are_objected_to() {
        let queue = QueueIndex(0);
        assert!(Vanished.judge(&Fact::Story(StoryFact::Vanished { message: MessageNumber(1), queue })).is_some());
        assert!(Vanished.judge(&Fact::Story(StoryFact::LeftOver { queue, count: 1 })).is_some());
    }
}
