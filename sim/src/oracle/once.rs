//! Each stay of a message in a queue has one first delivery, and what was settled or refused does not come, unless a crash made the
//! node forget.

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};
use crate::story::StoryFact;

/// See the module.
pub(super) struct Once;

impl Oracle for Once {
    fn name(&self) -> &'static str {
        "once and no more"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
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
            return Verdict::NotMine;
        };
        if was_refused {
            return Verdict::Broken(format!("{message} was refused and is delivered from queue {}", queue.0));
        }
        if crashed_since {
            return Verdict::NotMine;
        }
        if was_settled {
            return Verdict::Broken(format!(
                "{message} is delivered from queue {} again although it is settled",
                queue.0
            ));
        }
        Verdict::broken_if(fresh > 0 && !redelivered, || {
            format!("{message} is delivered from queue {} for a first time, again", queue.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::given;

    #[test]
    fn a_second_copy_is_objected_to() {
        assert!(Once.judge(&given!(fresh: 0)).is_kept());
        assert!(Once.judge(&given!(fresh: 1)).is_broken());
        assert!(Once.judge(&given!(fresh: 1, redelivered: true)).is_kept());
        assert_eq!(Once.judge(&given!(fresh: 1, crashed_since: true)), Verdict::NotMine);
    }

    #[test]
    fn what_was_settled_or_refused_is_objected_to() {
        assert!(Once.judge(&given!(was_settled: true, redelivered: true)).is_broken());
        assert!(Once.judge(&given!(was_refused: true, crashed_since: true)).is_broken());
    }
}
