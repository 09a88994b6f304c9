//! Clients that use a queue of all nodes notice nothing of what happens to a minority of them: nobody closes their channels or cancels
//! their consumers without a reason.

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct Dismissed;

impl Oracle for Dismissed {
    fn name(&self) -> &'static str {
        "served without a break"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Dismissed { connection, channel, code, has_reason } = *fact else { return Verdict::NotMine };
        Verdict::broken_if(!has_reason, || match code {
            0 => format!("a consumer on channel {connection}/{channel} is cancelled for no reason"),
            _ => format!("channel {connection}/{channel} is closed with {code} for no reason"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_consumer_is_objected_to() {
        for (code, has_reason) in [(541, true), (404, false), (0, false)] {
            let fact = Fact::Dismissed { connection: 1, channel: 1, code, has_reason };
            assert_eq!(Dismissed.judge(&fact).is_kept(), has_reason, "{code}");
        }
    }
}
