//! Messages live as long as was asked, and no longer (RabbitMQ docs: Time-To-Live and Expiration).

use crate::clock::{MILLISECOND, Micros};
use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};
use crate::story::StoryFact;

/// See the module.
pub(super) struct Expiry;

/// Expiry is kept in whole milliseconds.
const GRAIN: Micros = MILLISECOND;

impl Oracle for Expiry {
    fn name(&self) -> &'static str {
        "expires in time"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Story(StoryFact::Timed { message, queue, is_alive, due, seen, .. }) = *fact else {
            return Verdict::NotMine;
        };
        if is_alive && seen > due {
            return Verdict::Broken(format!(
                "{message} is delivered from queue {} at {seen} µs although its time, with all patience, was over at {due} µs",
                queue.0
            ));
        }
        Verdict::broken_if(!is_alive && seen + GRAIN < due, || {
            format!("{message} of queue {} is dead as expired at {seen} µs and had time until {due} µs", queue.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::QueueIndex;
    use crate::message::MessageNumber;

    #[test]
    fn too_early_and_too_late_are_objected_to() {
        for (is_alive, seen, is_right) in
            [(true, 9000, true), (true, 9001, false), (false, 8000, true), (false, 7999, false)]
        {
            let (message, queue) = (MessageNumber(1), QueueIndex(0));
            let fact =
                Fact::Story(StoryFact::Timed { message, queue, is_alive, due: 9000, seen, crashed_since: false });
            assert_eq!(Expiry.judge(&fact).is_kept(), is_right, "{is_alive} {seen}");
        }
    }
}
