//! The redelivered flag: set on every further delivery, unless a crash made the node forget; not set on the first one, unless the
//! node may rightly think that it was not the first (AMQP 0-9-1 §1.8.3.14; RabbitMQ docs: Consumers / redelivered).

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct Redelivered;

impl Oracle for Redelivered {
    fn name(&self) -> &'static str {
        "redelivered flag"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Delivered { message: Some(message), redelivered, deliveries, maybe_unseen, crashed_since, .. } =
            *fact
        else {
            return Verdict::NotMine;
        };
        if deliveries > 0 && !redelivered && !crashed_since {
            return Verdict::Broken(format!("{message} was delivered before and is not marked as redelivered"));
        }
        Verdict::broken_if(deliveries == 0 && redelivered && !maybe_unseen, || {
            format!("{message} is marked as redelivered and was never delivered before")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::delivered;

    #[test]
    fn a_wrong_flag_is_objected_to() {
        assert!(Redelivered.judge(&delivered!(redelivered: true)).is_broken());
        assert!(Redelivered.judge(&delivered!(deliveries: 1)).is_broken());
        assert!(Redelivered.judge(&delivered!(deliveries: 1, crashed_since: true)).is_kept());
        assert!(Redelivered.judge(&delivered!(redelivered: true, maybe_unseen: true)).is_kept());
    }
}
