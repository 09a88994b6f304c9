//! What was acked, dropped or purged stays away, unless a crash came before the log had it.

use crate::history::{Departure, Fact, Presence};
use crate::oracle::Oracle;

/// See the module.
pub(super) struct CameBack;

impl Oracle for CameBack {
    fn name(&self) -> &'static str {
        "settled stays settled"
    }

    fn judge(&mut self, fact: &Fact) -> Option<String> {
        let Fact::Delivered { message: Some(message), queue: Some(queue), before: Presence::Gone(how), .. } = *fact
        else {
            return None;
        };
        match how {
            Departure::Acked | Departure::AutoAcked | Departure::Rejected | Departure::Purged => {
                Some(format!("{message} is delivered from queue {} again although it is {how:?} for good", queue.0))
            }
            Departure::Restarted => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::delivered;

    #[test]
    fn an_acked_message_that_comes_back_is_objected_to() {
        assert!(CameBack.judge(&delivered!(before: Presence::Gone(Departure::Acked))).is_some());
        assert!(CameBack.judge(&delivered!(before: Presence::Maybe)).is_none());
    }
}
