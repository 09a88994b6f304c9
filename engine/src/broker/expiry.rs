//! What leaves queues by itself: expired messages, messages too many, queues that nobody uses.

use super::Broker;
use crate::queue::{ClassicQueue, LeaveReason};
use crate::routing::QueueKey;
use crate::time::Instant;
use crate::timer::{TimerFor, TimerKind};

impl Broker {
    /// Takes the messages out of a queue whose time has passed, and lets go on those that have waited for theirs. `is_offered` tells that nobody wants those whose time is just up.
    pub(crate) fn expire(&mut self, key: QueueKey, is_offered: bool) {
        if let Some(queue) = self.queues.get_mut(key) {
            queue.release_delayed(self.now.mono);
        }
        while let Some(queue) = self.queues.get_mut(key) {
            let before = queue.body_bytes();
            let Some(entry) = queue.pop_expired(self.now.mono, is_offered) else { break };
            self.body_bytes -= before - queue.body_bytes();
            self.bury(key, entry, LeaveReason::Expired);
        }
    }

    /// Brings a queue in order that has nothing more to deliver at the moment: drops what is over its limits, and sees to it that it
    /// is heard of again when something expires.
    pub(crate) fn tidy(&mut self, key: QueueKey) {
        self.expire(key, true);
        while let Some(queue) = self.queues.get_mut(key) {
            let before = queue.body_bytes();
            let Some(entry) = queue.pop_excess() else { break };
            self.body_bytes -= before - queue.body_bytes();
            self.bury(key, entry, LeaveReason::MaxLength);
            // What stood behind it may have waited there for its end.
            self.expire(key, true);
        }
        let Some(queue) = self.queues.get_mut(key) else { return };
        queue.note_offered();
        while let Some(get) = self.queues.get_mut(key).and_then(ClassicQueue::take_idle_get) {
            self.tell_get_gone(get.who);
        }
        let Some(queue) = self.queues.get_mut(key) else { return };
        let (expiry, end) = (queue.next_due(), queue.end_at());
        let (former_expiry, former_end) = (queue.swap_expiry_timer(expiry), queue.swap_end_timer(end));
        if let Some(former) = former_expiry {
            self.move_timer(former, expiry, TimerKind::Expiry, TimerFor::Queue(key));
        }
        if let Some(former) = former_end {
            self.move_timer(former, end, TimerKind::QueueExpiry, TimerFor::Queue(key));
        }
    }

    /// Queues got messages back that they have no room for: all that one command gave back counts before anything is dropped.
    pub(crate) fn trim_returned(&mut self) {
        while let Some(key) = self.returned.pop() {
            while let Some(queue) = self.queues.get_mut(key) {
                let before = queue.body_bytes();
                let Some(entry) = queue.pop_excess() else { break };
                self.body_bytes -= before - queue.body_bytes();
                self.bury(key, entry, LeaveReason::MaxLength);
            }
        }
    }

    /// Somebody makes use of a queue, so that it does not go yet.
    pub(crate) fn touch(&mut self, key: QueueKey) {
        if let Some(queue) = self.queues.get_mut(key)
            && queue.settings().expires_ms.is_some()
        {
            queue.touch(self.now.mono);
            self.activate(key);
        }
    }

    /// A queue's deadline has come.
    pub(crate) fn on_queue_timer(&mut self, key: QueueKey, kind: TimerKind) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        match kind {
            TimerKind::DeadLetterRetry => return self.retry_dead_letters(key),
            TimerKind::DeadLetters => return self.go_on_with_dead_letters(key),
            _ => {}
        }
        if kind == TimerKind::QueueExpiry && queue.end_at().is_some_and(|at| at <= self.now.mono) {
            return self.propose_delete_queue(key);
        }
        // The timer is gone; whoever tidies sets it again.
        if kind == TimerKind::Expiry {
            queue.swap_expiry_timer(None);
        } else if kind == TimerKind::QueueExpiry {
            queue.swap_end_timer(None);
        }
        self.activate(key);
    }

    /// A queue that has gone has no deadlines.
    pub(super) fn forget_queue_timers(&mut self, key: QueueKey, queue: &mut ClassicQueue) {
        if let Some(former) = queue.swap_expiry_timer(None) {
            self.move_timer(former, None, TimerKind::Expiry, TimerFor::Queue(key));
        }
        if let Some(former) = queue.swap_end_timer(None) {
            self.move_timer(former, None, TimerKind::QueueExpiry, TimerFor::Queue(key));
        }
    }

    fn move_timer(&mut self, from: Option<Instant>, to: Option<Instant>, kind: TimerKind, whom: TimerFor) {
        if let Some(from) = from {
            self.timers.cancel(from, kind, whom);
        }
        if let Some(to) = to {
            self.timers.set(to, kind, whom);
        }
    }
}
