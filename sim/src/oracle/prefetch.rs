//! No consumer and no channel holds more than it asked for (RabbitMQ docs: Consumer Prefetch).

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct Prefetch;

impl Oracle for Prefetch {
    fn name(&self) -> &'static str {
        "prefetch"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Delivered { session, unacked, prefetch, channel_unacked, channel_prefetch, is_get: false, .. } =
            *fact
        else {
            return Verdict::NotMine;
        };
        if prefetch == 0 && channel_prefetch == 0 {
            return Verdict::NotMine;
        }
        if prefetch > 0 && unacked > prefetch {
            return Verdict::Broken(format!(
                "a consumer on s{} has {unacked} unacked and asked for {prefetch}",
                session.0
            ));
        }
        Verdict::broken_if(channel_prefetch > 0 && channel_unacked > channel_prefetch, || {
            format!("s{} has {channel_unacked} unacked and asked for {channel_prefetch}", session.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::delivered;

    #[test]
    fn one_too_many_is_objected_to() {
        assert!(Prefetch.judge(&delivered!(unacked: 3, prefetch: 2, channel_prefetch: 0)).is_broken());
        assert!(Prefetch.judge(&delivered!(channel_unacked: 3, channel_prefetch: 2)).is_broken());
        assert_eq!(Prefetch.judge(&delivered!(unacked: 3, prefetch: 0, channel_prefetch: 0)), Verdict::NotMine);
        assert_eq!(
            Prefetch.judge(&delivered!(unacked: 3, prefetch: 2, channel_prefetch: 0, is_get: true)),
            Verdict::NotMine
        );
    }
}
