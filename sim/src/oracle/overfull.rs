//! A queue holds no more ready messages than its limit (RabbitMQ docs: Queue Length Limit).

use crate::history::Fact;
use crate::oracle::Oracle;
use crate::story::StoryFact;

/// See the module.
pub(super) struct Overfull;

impl Oracle for Overfull {
    fn name(&self) -> &'static str {
        "within its length"
    }

    fn judge(&mut self, fact: &Fact) -> Option<String> {
        let Fact::Story(StoryFact::Overfull { queue, ready, limit }) = *fact else { return None };
        Some(format!("queue {} has {ready} messages ready and a limit of {limit}", queue.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::QueueIndex;

    #[test]
    fn more_than_the_limit_is_objected_to() {
        let fact = StoryFact::Overfull { queue: QueueIndex(0), ready: 6, limit: 5 };
        assert!(Overfull.judge(&Fact::Story(fact)).is_some());
    }
}
