//! Of the consumers of a queue with a single active one, no second gets messages while the first is there (RabbitMQ docs: Consumers /
//! single active consumer).

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};
use crate::story::StoryFact;

/// See the module.
pub(super) struct SingleActive;

impl Oracle for SingleActive {
    fn name(&self) -> &'static str {
        "single active consumer"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Story(StoryFact::Activated { queue, before, after, is_before_there }) = *fact else {
            return Verdict::NotMine;
        };
        Verdict::broken_if(is_before_there, || {
            format!("queue {} delivers to connection {after} while the active consumer on {before} is there", queue.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::QueueIndex;

    #[test]
    fn a_second_active_consumer_is_objected_to() {
        for (is_before_there, is_right) in [(false, true), (true, false)] {
            let fact = StoryFact::Activated { queue: QueueIndex(0), before: 1, after: 2, is_before_there };
            assert_eq!(SingleActive.judge(&Fact::Story(fact)).is_kept(), is_right);
        }
    }
}
