//! What exchanges do when their time has come.

use super::Broker;
use crate::routing::ExchangeKey;
use crate::timer::TimerKind;

impl Broker {
    /// An exchange's deadline has come.
    pub(crate) fn on_exchange_timer(&mut self, key: ExchangeKey, kind: TimerKind) {
        if kind == TimerKind::Delayed {
            self.on_hold_timer(key);
        }
    }
}
