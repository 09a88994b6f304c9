//! A persistent message in a durable queue is confirmed only when the log has it for good, or as safely as `durability` asks for.

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct Durable;

impl Oracle for Durable {
    fn name(&self) -> &'static str {
        "confirmed means durable"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Answered { message: Some(message), must_be_durable: true, lsn, safe, .. } = *fact else {
            return Verdict::NotMine;
        };
        match lsn {
            None => Verdict::Broken(format!("{message} is confirmed and was never given to the log")),
            Some(lsn) if lsn >= safe => Verdict::Broken(format!(
                "{message} is confirmed; its record is at {lsn} and the log is safe only up to {safe}"
            )),
            Some(_) => Verdict::Kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::answered;

    #[test]
    fn a_confirm_ahead_of_the_disk_is_objected_to() {
        for (at, is_right) in [(Some(19), true), (Some(20), false), (None, false)] {
            let mut fact = answered();
            if let Fact::Answered { lsn, .. } = &mut fact {
                *lsn = at;
            }
            assert_eq!(Durable.judge(&fact).is_kept(), is_right, "{at:?}");
        }
    }
}
