//! No consumer and no channel holds more than it asked for (RabbitMQ docs: Consumer Prefetch).

use crate::history::Fact;
use crate::oracle::Oracle;

/// See the module.
pub(super) struct Prefetch;

impl Oracle for Prefetch {
    fn name(&self) -> &'static str {
        "prefetch"
    }

    fn judge(&mut self, fact: &Fact) -> Option<String> {
        let Fact::Delivered { session, unacked, prefetch, channel_unacked, channel_prefetch, is_get: false, .. } =
            *fact
        else {
            return None;
        };
        if prefetch > 0 && unacked > prefetch {
            return Some(format!("a consumer on s{} has {unacked} unacked and asked for {prefetch}", session.0));
        }
        (channel_prefetch > 0 && channel_unacked > channel_prefetch)
            .then(|| format!("s{} has {channel_unacked} unacked and asked for {channel_prefetch}", session.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::delivered;

    #[test]
    fn one_too_many_is_objected_to() {
        assert!(Prefetch.judge(&delivered!(unacked: 3, prefetch: 2, channel_prefetch: 0)).is_some());
        assert!(Prefetch.judge(&delivered!(channel_unacked: 3, channel_prefetch: 2)).is_some());
        assert!(Prefetch.judge(&delivered!(unacked: 3, prefetch: 0, channel_prefetch: 0)).is_none());
        assert!(Prefetch.judge(&delivered!(unacked: 3, prefetch: 2, channel_prefetch: 0, is_get: true)).is_none());
    }
}
