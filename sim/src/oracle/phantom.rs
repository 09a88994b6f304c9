//! Nothing is delivered from a queue that was not published to it, while that queue exists.

use crate::history::{Departure, Fact, Presence};
use crate::oracle::Oracle;

/// See the module.
pub(super) struct Phantom;

impl Oracle for Phantom {
    fn name(&self) -> &'static str {
        "no phantom"
    }

    fn judge(&mut self, fact: &Fact) -> Option<String> {
        let Fact::Delivered { message, queue, before, .. } = *fact else { return None };
        let (Some(message), Some(queue)) = (message, queue) else {
            return Some("a delivery of an unknown message, or to an unknown consumer".to_owned());
        };
        match before {
            Presence::Never => Some(format!("{message} comes out of queue {} and never went into it", queue.0)),
            Presence::Gone(Departure::Restarted) => {
                Some(format!("{message} comes out of queue {} after a restart; it was transient", queue.0))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::delivered;

    #[test]
    fn a_message_from_nowhere_is_objected_to() {
        assert!(Phantom.judge(&delivered!(before: Presence::Never)).is_some());
        assert!(Phantom.judge(&delivered!(message: None)).is_some());
        assert!(Phantom.judge(&delivered!(before: Presence::Gone(Departure::Restarted))).is_some());
    }
}
