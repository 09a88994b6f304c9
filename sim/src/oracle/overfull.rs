//! A queue holds no more ready messages than its limit (RabbitMQ docs: Queue Length Limit).

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};
use crate::story::StoryFact;

/// See the module.
pub(super) struct Overfull;

impl Oracle for Overfull {
    fn name(&self) -> &'static str {
        "within its length"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Story(StoryFact::Length { queue, ready, limit, .. }) = *fact else { return Verdict::NotMine };
        Verdict::broken_if(ready > limit, || {
            format!("queue {} has {ready} messages ready and a limit of {limit}", queue.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::QueueIndex;

    #[test]
    fn more_than_the_limit_is_objected_to() {
        for (ready, is_right) in [(5, true), (6, false)] {
            let fact = StoryFact::Length { queue: QueueIndex(0), ready, limit: 5, is_by_policy: false };
            assert_eq!(Overfull.judge(&Fact::Story(fact)).is_kept(), is_right, "{ready}");
        }
    }
}
