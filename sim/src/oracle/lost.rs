//! Nothing that the node took responsibility for is lost: what was confirmed through any crash, and what it merely took as long as
//! it lived.

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct Lost;

impl Oracle for Lost {
    fn name(&self) -> &'static str {
        "nothing lost"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        match *fact {
            Fact::NeverCame { queue, message, was_confirmed } => {
                let confirmed = if was_confirmed { "confirmed" } else { "taken, and the node lived on" };
                Verdict::Broken(format!(
                    "{message} is lost from queue {}: it was {confirmed}, and nothing took it out",
                    queue.0
                ))
            }
            Fact::Emptied { .. } => Verdict::Kept,
            _ => Verdict::NotMine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::QueueIndex;
    use crate::message::MessageNumber;

    #[test]
    fn a_message_that_never_came_is_objected_to() {
        let fact = Fact::NeverCame { queue: QueueIndex(0), message: MessageNumber(1), was_confirmed: true };
        assert!(Lost.judge(&fact).is_broken());
    }
}
