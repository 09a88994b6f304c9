//! The one way out of a queue for messages that were not acked.

use super::Broker;
use crate::ids::Lsn;
use crate::queue::{Entry, LeaveReason};
use crate::routing::QueueKey;

impl Broker {
    /// A message has left its queue without having been acked. From where on the log knows; 0 if it never knew the message.
    pub(crate) fn bury(&mut self, key: QueueKey, entry: &Entry, _reason: LeaveReason) -> Lsn {
        let Some(queue) = self.queues.get(key) else { return Lsn(0) };
        let id = queue.id;
        self.forget_entry(id, entry)
    }
}
