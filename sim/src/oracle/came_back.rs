//! What was acked, dropped, purged or refused stays away, and so does what went with its queue, or died and is seen elsewhere as a dead
//! letter; unless a crash came before the log had it.

use crate::history::{Departure, Fact, Presence};
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct CameBack;

impl Oracle for CameBack {
    fn name(&self) -> &'static str {
        "settled stays settled"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Delivered { message: Some(message), queue: Some(queue), before, .. } = *fact else {
            return Verdict::NotMine;
        };
        match before {
            Presence::Gone(
                how @ (Departure::Acked
                | Departure::AutoAcked
                | Departure::Rejected
                | Departure::Purged
                | Departure::Deleted
                | Departure::Died
                | Departure::Refused),
            ) => Verdict::Broken(format!(
                "{message} is delivered from queue {} again although it is {how:?} for good",
                queue.0
            )),
            _ => Verdict::Kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::delivered;

    #[test]
    fn an_acked_message_that_comes_back_is_objected_to() {
        for how in [Departure::Acked, Departure::Deleted, Departure::Died, Departure::Refused] {
            assert!(CameBack.judge(&delivered!(before: Presence::Gone(how))).is_broken(), "{how:?}");
        }
        assert!(CameBack.judge(&delivered!(before: Presence::Maybe)).is_kept());
    }
}
