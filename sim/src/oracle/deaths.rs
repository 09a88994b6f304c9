//! The headers of dead letters tell what happened (RabbitMQ docs: Dead Letter Exchanges / effects on messages).

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};
use crate::story::StoryFact;

/// See the module.
pub(super) struct Deaths;

impl Oracle for Deaths {
    fn name(&self) -> &'static str {
        "dead-letter headers"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        match *fact {
            Fact::Story(StoryFact::Died { message, queue, reason, is_possible: false, .. }) => {
                let queue = queue.map_or(-1, |queue| i64::from(queue.0));
                Verdict::Broken(format!(
                    "{message} says that it died in queue {queue} as {reason:?}, which cannot happen there"
                ))
            }
            Fact::Story(StoryFact::Died { message, reason, count, least, most, .. })
                if !(least..=most).contains(&count) =>
            {
                Verdict::Broken(format!(
                    "{message} says that it died {count} times as {reason:?}; it was {least} to {most} times"
                ))
            }
            Fact::Story(StoryFact::Marked { message, last_agrees, first_agrees, is_tidy, .. })
                if !(last_agrees && first_agrees && is_tidy) =>
            {
                Verdict::Broken(format!(
                    "{message} contradicts itself: last death right {last_agrees}, first {first_agrees}, rest {is_tidy}"
                ))
            }
            Fact::Story(StoryFact::Marked { message, front, behind, is_on_its_way: false, .. }) => {
                Verdict::Broken(format!(
                    "{message} says that it died {front} times in front and {behind} times behind, which is not its way"
                ))
            }
            Fact::Story(StoryFact::Died { .. } | StoryFact::Marked { .. }) => Verdict::Kept,
            _ => Verdict::NotMine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageNumber;
    use crate::story::Reason;

    const MESSAGE: MessageNumber = MessageNumber(1);

    #[test]
    fn a_count_that_nothing_accounts_for_is_objected_to() {
        for (count, is_possible, is_right) in [(2, true, true), (1, true, false), (3, true, false), (2, false, false)] {
            let (queue, reason) = (None, Reason::Rejected);
            let fact = StoryFact::Died { message: MESSAGE, queue, reason, count, least: 2, most: 2, is_possible };
            assert_eq!(Deaths.judge(&Fact::Story(fact)).is_kept(), is_right, "{count} {is_possible}");
        }
    }

    #[test]
    fn headers_that_contradict_each_other_are_objected_to() {
        let marked = |last_agrees, is_on_its_way| {
            let fact = StoryFact::Marked {
                message: MESSAGE,
                last_agrees,
                first_agrees: true,
                is_tidy: true,
                front: 2,
                behind: 1,
                is_on_its_way,
            };
            Deaths.judge(&Fact::Story(fact)).is_kept()
        };
        assert!(marked(true, true));
        assert!(!marked(false, true));
        assert!(!marked(true, false));
    }
}
