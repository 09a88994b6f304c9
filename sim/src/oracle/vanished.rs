//! What was confirmed is acked, or dead by a rule, or still there: never just gone.

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};
use crate::story::StoryFact;

/// See the module.
pub(super) struct Vanished;

impl Oracle for Vanished {
    fn name(&self) -> &'static str {
        "nothing vanishes"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        match *fact {
            Fact::Story(StoryFact::Accounted { message, queue, is_missing }) => Verdict::broken_if(is_missing, || {
                format!(
                    "{message} was confirmed and published to queue {}; no consumer acked it and no rule took it",
                    queue.0
                )
            }),
            Fact::Story(StoryFact::LeftOver { queue, count }) => Verdict::broken_if(count > 0, || {
                format!("queue {} has {count} messages although all were settled before the restart", queue.0)
            }),
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
    fn losses_and_ghosts_are_objected_to() {
        let queue = QueueIndex(0);
        for is_missing in [false, true] {
            let fact = StoryFact::Accounted { message: MessageNumber(1), queue, is_missing };
            assert_eq!(Vanished.judge(&Fact::Story(fact)).is_broken(), is_missing);
        }
        for (count, is_right) in [(0, true), (1, false)] {
            assert_eq!(Vanished.judge(&Fact::Story(StoryFact::LeftOver { queue, count })).is_kept(), is_right);
        }
    }
}
