//! Publishers wait while anything is short, and go on only when nothing is (RabbitMQ docs: Memory and Disk Alarms).

use crate::history::Fact;
use crate::oracle::Oracle;
use crate::story::StoryFact;

/// See the module.
pub(super) struct Blocked;

impl Oracle for Blocked {
    fn name(&self) -> &'static str {
        "blocked while short"
    }

    fn judge(&mut self, fact: &Fact) -> Option<String> {
        match *fact {
            Fact::Story(StoryFact::Blocked { connection, is_blocked, is_memory_short, is_disk_short, maybe_full }) => {
                let is_short = is_memory_short || is_disk_short;
                if !is_blocked && is_short {
                    let what = if is_memory_short { "memory" } else { "the disk" };
                    return Some(format!("connection {connection} is told to go on while {what} is short"));
                }
                (is_blocked && !is_short && !maybe_full)
                    .then(|| format!("connection {connection} is told to wait and nothing is short"))
            }
            Fact::Story(StoryFact::TakenWhileBlocked { connection, message }) => {
                Some(format!("{message} is taken from connection {connection}, which was told to wait"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageNumber;

    #[test]
    fn going_on_while_one_of_two_is_short_is_objected_to() {
        for (is_blocked, is_memory_short, is_disk_short, is_right) in [
            (true, true, false, true),
            (false, false, true, false),
            (false, false, false, true),
            (true, false, false, false),
        ] {
            let maybe_full = false;
            let fact = StoryFact::Blocked { connection: 1, is_blocked, is_memory_short, is_disk_short, maybe_full };
            assert_eq!(Blocked.judge(&Fact::Story(fact)).is_none(), is_right, "{is_blocked}");
        }
    }

    #[test]
    fn reading_one_who_was_told_to_wait_is_objected_to() {
        let fact = StoryFact::TakenWhileBlocked { connection: 1, message: MessageNumber(1) };
        assert!(Blocked.judge(&Fact::Story(fact)).is_some());
    }
}
