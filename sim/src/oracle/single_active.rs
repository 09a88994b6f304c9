//! Of the consumers of a queue with a single active one, no second gets messages while the first is there, unless a higher priority has
//! come and the first has answered all that it got; and it gets nothing more in between (RabbitMQ docs: Consumers / single active
//! consumer; Quorum Queues / consumer priorities).

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
        match *fact {
            Fact::Story(StoryFact::Activated { queue, before, after, is_before_there, gave_way }) => {
                Verdict::broken_if(is_before_there && !gave_way, || {
                    format!(
                        "queue {} delivers to connection {after} while the active consumer on {before} is there",
                        queue.0
                    )
                })
            }
            Fact::Story(StoryFact::ActiveGiven { queue, connection, priority, highest }) => {
                Verdict::broken_if(highest > priority, || {
                    format!(
                        "queue {} delivers to connection {connection} of priority {priority} while one of {highest} is there",
                        queue.0
                    )
                })
            }
            _ => Verdict::NotMine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::QueueIndex;

    const QUEUE: QueueIndex = QueueIndex(0);

    #[test]
    fn a_second_active_consumer_is_objected_to() {
        for (is_before_there, gave_way, is_right) in
            [(false, false, true), (true, false, false), (true, true, true), (false, true, true)]
        {
            let fact = StoryFact::Activated { queue: QUEUE, before: 1, after: 2, is_before_there, gave_way };
            assert_eq!(SingleActive.judge(&Fact::Story(fact)).is_kept(), is_right);
        }
    }

    #[test]
    fn deliveries_to_one_who_has_to_give_way_are_objected_to() {
        for (highest, is_right) in [(0, true), (1, false)] {
            let fact = StoryFact::ActiveGiven { queue: QUEUE, connection: 1, priority: 0, highest };
            assert_eq!(SingleActive.judge(&Fact::Story(fact)).is_kept(), is_right);
        }
    }
}
