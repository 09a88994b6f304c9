//! Each stay of a message in a queue has one first delivery, and what was settled or refused does not come, unless a crash made the
//! node forget.

use crate::history::Fact;
use crate::oracle::Oracle;
use crate::story::StoryFact;

/// See the module.
pub(super) struct Once;

impl Oracle for Once {
    fn name(&self) -> &'static str {
        "once and no more"
    }

    fn judge(&mut self, fact: &Fact) -> Option<String> {
        let Fact::Story(StoryFact::Given {
            message,
            queue,
            redelivered,
            fresh,
            was_settled,
            was_refused,
            crashed_since,
            ..
        }) = *fact
        else {
            return None;
        };
        if was_refused {
            return Some(format!("{message} was refused and is delivered from queue {}", queue.0));
        }
        if crashed_since {
            return None;
        }
        if was_settled {
            return Some(format!("{message} is delivered from queue {} again although it is settled", queue.0));
        }
        (fresh > 0 && !redelivered)
            .then(|| format!("{message} is delivered from queue {} for a first time, again", queue.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::given;

    #[test]
    fn a_second_copy_is_objected_to() {
        assert!(Once.judge(&given!(fresh: 0)).is_none());
        assert!(Once.judge(&given!(fresh: 1)).is_some());
        assert!(Once.judge(&given!(fresh: 1, redelivered: true)).is_none());
        assert!(Once.judge(&given!(fresh: 1, crashed_since: true)).is_none());
    }

    #[test]
    fn what_was_settled_or_refused_is_objected_to() {
        assert!(Once.judge(&given!(was_settled: true, redelivered: true)).is_some());
        assert!(Once.judge(&given!(was_refused: true, crashed_since: true)).is_some());
    }
}
