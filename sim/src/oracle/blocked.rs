//! Publishers wait while anything is short, and go on only when nothing is (RabbitMQ docs: Memory and Disk Alarms).

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};
use crate::story::StoryFact;

/// See the module.
pub(super) struct Blocked;

impl Oracle for Blocked {
    fn name(&self) -> &'static str {
        "blocked while short"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        match *fact {
            Fact::Story(StoryFact::Blocked { connection, is_blocked, short, was_short, was_enough, maybe_full }) => {
                if !is_blocked && !was_enough {
                    let what = if short.memory { "memory" } else { "the disk" };
                    return Verdict::Broken(format!("connection {connection} is told to go on while {what} is short"));
                }
                Verdict::broken_if(is_blocked && !was_short && !maybe_full, || {
                    format!("connection {connection} is told to wait and nothing is short")
                })
            }
            Fact::Story(StoryFact::TakenWhileBlocked { connection, message }) => {
                Verdict::Broken(format!("{message} is taken from connection {connection}, which was told to wait"))
            }
            _ => Verdict::NotMine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageNumber;
    use crate::story::Short;

    #[test]
    fn going_on_while_one_of_two_is_short_is_objected_to() {
        let short = |memory, disk| Short { memory, disk };
        for (is_blocked, short, is_right) in [
            (true, short(true, false), true),
            (false, short(false, true), false),
            (false, short(false, false), true),
            (true, short(false, false), false),
        ] {
            let (was_short, was_enough) = (short.is_any(), !short.is_any());
            let fact =
                StoryFact::Blocked { connection: 1, is_blocked, short, was_short, was_enough, maybe_full: false };
            assert_eq!(Blocked.judge(&Fact::Story(fact)).is_kept(), is_right, "{is_blocked} {short:?}");
        }
    }

    #[test]
    fn reading_one_who_was_told_to_wait_is_objected_to() {
        let fact = StoryFact::TakenWhileBlocked { connection: 1, message: MessageNumber(1) };
        assert!(Blocked.judge(&Fact::Story(fact)).is_broken());
    }
}
