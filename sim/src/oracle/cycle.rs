//! A message that comes round to a queue where it died before goes on only if somebody rejected it on the way (RabbitMQ docs: Dead
//! Letter Exchanges / cycles).

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};
use crate::story::StoryFact;

/// See the module.
pub(super) struct Cycle;

impl Oracle for Cycle {
    fn name(&self) -> &'static str {
        "cycles end"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Story(StoryFact::Given { message, queue, has_died_here: true, has_rejected, .. }) = *fact else {
            return Verdict::NotMine;
        };
        Verdict::broken_if(!has_rejected, || {
            format!("{message} is in queue {} again, and nobody rejected it on its way round", queue.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::given;

    #[test]
    fn going_round_unrejected_is_objected_to() {
        assert!(Cycle.judge(&given!(has_died_here: true)).is_broken());
        assert!(Cycle.judge(&given!(has_died_here: true, has_rejected: true)).is_kept());
    }
}
