//! Nothing is delivered from a queue that was not published to it, while that queue exists.

use crate::history::{Departure, Fact, Presence};
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct Phantom;

impl Oracle for Phantom {
    fn name(&self) -> &'static str {
        "no phantom"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Delivered { message, queue, before, .. } = *fact else { return Verdict::NotMine };
        let (Some(message), Some(queue)) = (message, queue) else {
            return Verdict::Broken("a delivery of an unknown message, or to an unknown consumer".to_owned());
        };
        match before {
            Presence::Never => {
                Verdict::Broken(format!("{message} comes out of queue {} and never went into it", queue.0))
            }
            Presence::Gone(Departure::Restarted) => {
                Verdict::Broken(format!("{message} comes out of queue {} after a restart; it was transient", queue.0))
            }
            _ => Verdict::Kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::delivered;

    #[test]
    fn a_message_from_nowhere_is_objected_to() {
        assert!(Phantom.judge(&delivered!(before: Presence::Never)).is_broken());
        assert!(Phantom.judge(&delivered!(message: None)).is_broken());
        assert!(Phantom.judge(&delivered!(before: Presence::Gone(Departure::Restarted))).is_broken());
    }
}
