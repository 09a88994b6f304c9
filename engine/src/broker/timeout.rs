//! What queues and exchanges do when their time has come.

use super::Broker;
use crate::routing::{ExchangeKey, QueueKey};
use crate::timer::TimerKind;

impl Broker {
    /// A queue's deadline has come.
    pub(crate) fn on_queue_timer(&mut self, key: QueueKey, kind: TimerKind) {
        if kind == TimerKind::DeadLetterRetry {
            self.retry_dead_letters(key);
        }
        self.activate(key);
    }

    /// An exchange's deadline has come.
    pub(crate) fn on_exchange_timer(&mut self, key: ExchangeKey, kind: TimerKind) {
        if kind == TimerKind::Delayed {
            self.on_hold_timer(key);
        }
    }
}
