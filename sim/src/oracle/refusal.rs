//! A publish is refused only by a queue that may, and gets one answer (RabbitMQ docs: Queue Length Limit / overflow behaviour).

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};
use crate::story::StoryFact;

/// See the module.
pub(super) struct Refusal;

impl Oracle for Refusal {
    fn name(&self) -> &'static str {
        "one right answer"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        match *fact {
            Fact::Story(StoryFact::Outcome { message: None, .. }) => {
                Verdict::Broken("an answer to no publish".to_owned())
            }
            Fact::Story(StoryFact::Outcome { message: Some(message), is_ack: false, may_refuse: false }) => {
                Verdict::Broken(format!("{message} is refused although its queue refuses nothing"))
            }
            Fact::Story(StoryFact::Shut { connection, channel, code }) => Verdict::Broken(format!(
                "channel {connection}/{channel} is closed with {code}, and nobody broke a rule"
            )),
            Fact::Story(StoryFact::Outcome { .. }) => Verdict::Kept,
            _ => Verdict::NotMine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageNumber;

    #[test]
    fn refusals_without_a_rule_are_objected_to() {
        let outcome = |message, is_ack, may_refuse| {
            Refusal.judge(&Fact::Story(StoryFact::Outcome { message, is_ack, may_refuse })).is_kept()
        };
        let message = Some(MessageNumber(1));
        assert!(outcome(message, true, false) && outcome(message, false, true));
        assert!(!outcome(message, false, false) && !outcome(None, true, true));
        let shut = StoryFact::Shut { connection: 1, channel: 1, code: 406 };
        assert!(Refusal.judge(&Fact::Story(shut)).is_broken());
    }
}
