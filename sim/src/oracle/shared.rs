//! A message is with one consumer at a time.

use crate::history::{Fact, Presence};
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct Shared;

impl Oracle for Shared {
    fn name(&self) -> &'static str {
        "one consumer at a time"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Delivered { message: Some(message), before, session, .. } = *fact else { return Verdict::NotMine };
        match before {
            Presence::Unacked(holder) => Verdict::Broken(format!(
                "{message} is delivered on s{} while it is unacked on s{}",
                session.0, holder.0
            )),
            _ => Verdict::Kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Session;
    use crate::oracle::tests::delivered;

    #[test]
    fn a_message_with_two_consumers_is_objected_to() {
        assert!(Shared.judge(&delivered!(before: Presence::Unacked(Session(9)))).is_broken());
    }
}
