//! A delayed message is not delivered before its time.

use crate::clock::MILLISECOND;
use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};
use crate::story::StoryFact;

/// See the module.
pub(super) struct Delayed;

impl Oracle for Delayed {
    fn name(&self) -> &'static str {
        "held back in full"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Story(StoryFact::Delayed { message, due, seen, .. }) = *fact else { return Verdict::NotMine };
        Verdict::broken_if(seen + MILLISECOND < due, || {
            format!("{message} was to be held back until {due} µs and is delivered at {seen} µs")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageNumber;

    #[test]
    fn a_delivery_before_its_time_is_objected_to() {
        for (seen, is_right) in [(8000, true), (7999, false)] {
            let fact =
                Fact::Story(StoryFact::Delayed { message: MessageNumber(1), due: 9000, seen, crashed_since: false });
            assert_eq!(Delayed.judge(&fact).is_kept(), is_right, "{seen}");
        }
    }
}
