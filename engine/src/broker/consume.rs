//! Consuming: what queues give out, and what comes back of it.

use alloc::vec::Vec;

use super::remote::Fate;
use super::{Broker, ChannelRef, Notice};
use crate::buggify::Point;
use crate::effect::DiskRequest;
use crate::event::Event;
use crate::ids::{ChannelNumber, ConnectionId, Lsn, QueueId, QueueSeq};
use crate::mutants::{Mutant, is_planted};
use crate::queue::{
    ClassicQueue, ConsumerKey, Entry, GivenBack, LeaveReason, Next, Return, Subscriber, Subscription, Taken,
};
use crate::routing::QueueKey;
use crate::storage::{Place, Ref};

impl Broker {
    /// Notes that a queue may have something to deliver.
    pub(crate) fn activate(&mut self, key: QueueKey) {
        if let Some(queue) = self.queues.get_mut(key).filter(|queue| !queue.is_active) {
            queue.is_active = true;
            self.active.push_back(key);
        }
    }

    /// A queue that may have something to deliver.
    pub(crate) fn next_active(&mut self) -> Option<QueueKey> {
        let key = self.active.pop_front()?;
        if let Some(queue) = self.queues.get_mut(key) {
            queue.is_active = false;
        }
        Some(key)
    }

    /// What a queue wants done next; reads are begun here.
    pub(crate) fn next_offer(&mut self, key: QueueKey, out: &mut Vec<DiskRequest>) -> Option<Subscription> {
        if self.queues.is_aside(key) {
            self.bring(key, out);
            return None;
        }
        let queue = self.queues.get(key)?;
        let (is_timed, has_dead) = (queue.is_timed(), queue.dying().next().is_some());
        if is_timed {
            self.expire(key, false);
        }
        if is_timed || has_dead {
            self.dead_letter(key);
            self.read_dead(key, out);
        }
        let read_ahead_bytes = self.read_ahead_bytes();
        loop {
            let queue = self.queues.get_mut(key)?;
            match queue.next(read_ahead_bytes) {
                Next::Idle => return None,
                Next::GetEmpty(get) => self.tell_get_gone(get.who),
                Next::Offer(subscription) => return Some(subscription),
                Next::Read { first, len } => {
                    let token = queue.id.0;
                    self.log.read(first.lsn, len, token, out);
                    return None;
                }
            }
        }
    }

    /// Bytes of bodies that a queue keeps although the log has them.
    pub(super) fn cache_bytes(&mut self) -> usize {
        if self.buggify.fires(Point::CacheMiss) { 0 } else { self.config.queue_cache_bytes }
    }

    /// Bytes to read at once.
    pub(super) fn read_ahead_bytes(&mut self) -> u32 {
        if self.buggify.fires(Point::ShortRead) { 0 } else { self.config.read_ahead_bytes }
    }

    /// Takes the next message out of a queue for the subscription it offered.
    pub(crate) fn take(&mut self, key: QueueKey, subscription: &Subscription) -> Taken {
        let cache_bytes = self.cache_bytes();
        let queue = self.queues.get_mut(key).expect("the queue made an offer");
        let before = queue.body_bytes();
        let mut taken = queue.take(subscription, self.log.written(), cache_bytes);
        self.body_bytes -= before - queue.body_bytes();
        let id = queue.id;
        if queue.has_droppable() && !queue.is_dropper {
            queue.is_dropper = true;
            self.droppers.push(key);
        }
        let no_ack = match subscription {
            Subscription::Consumer { no_ack, .. } => *no_ack,
            Subscription::Get(get) => {
                // What is over behind it is not left.
                self.expire(key, true);
                taken.ready_left = self.queues.get(key).map_or(0, ClassicQueue::ready_len);
                get.no_ack
            }
        };
        if no_ack {
            self.forget(id, taken.seq, taken.place, taken.recoverable);
        } else if taken.recoverable && !taken.redelivered {
            self.log.mark_delivered(id.0, taken.seq.0);
        }
        taken
    }

    /// What a `basic.get` waited for has gone.
    pub(super) fn tell_get_gone(&mut self, who: Subscriber) {
        match who {
            Subscriber::Channel { connection, channel, .. } => {
                self.notices.push_back(Notice::GetGone { connection, channel });
            }
            Subscriber::Guest(guest) => self.on_guest_get_gone(guest),
        }
    }

    /// A delivered message is done with. From where on the log knows; 0 if it never knew the message.
    pub(crate) fn settle(&mut self, channel: ChannelRef, key: QueueKey, seq: QueueSeq) -> Lsn {
        match self.queues.get(key) {
            Some(_) => self.settle_here(key, seq),
            None => self.decide_remote(channel, key, seq, Fate::Settled),
        }
    }

    /// A delivered message is not wanted. From where on the log knows; 0 if it never knew the message.
    pub(crate) fn discard(&mut self, channel: ChannelRef, key: QueueKey, seq: QueueSeq) -> Lsn {
        match self.queues.get(key) {
            Some(_) => self.discard_here(key, seq),
            None => self.decide_remote(channel, key, seq, Fate::Discarded),
        }
    }

    /// A delivered message comes back, or leaves because that happened too often. From where on the log knows; 0 if it need not.
    pub(crate) fn give_back(&mut self, channel: ChannelRef, key: QueueKey, seq: QueueSeq, how: Return) -> Lsn {
        match self.queues.get(key) {
            Some(_) => self.give_back_here(key, seq, how),
            None => self.decide_remote(channel, key, seq, Fate::Returned(how)),
        }
    }

    /// As [`Broker::settle`], in a queue of this node.
    pub(super) fn settle_here(&mut self, key: QueueKey, seq: QueueSeq) -> Lsn {
        let Some(queue) = self.queues.get_mut(key) else { return Lsn(0) };
        let before = queue.body_bytes();
        let Some(entry) = queue.settle(seq) else { return Lsn(0) };
        self.body_bytes -= before - queue.body_bytes();
        let id = queue.id;
        let end = self.forget_entry(id, &entry);
        self.activate(key);
        end
    }

    /// As [`Broker::discard`], in a queue of this node.
    pub(super) fn discard_here(&mut self, key: QueueKey, seq: QueueSeq) -> Lsn {
        let Some(queue) = self.queues.get_mut(key) else { return Lsn(0) };
        let before = queue.body_bytes();
        let Some(entry) = queue.settle(seq) else { return Lsn(0) };
        self.body_bytes -= before - queue.body_bytes();
        let end = self.bury_now(key, entry, LeaveReason::Rejected);
        self.activate(key);
        end
    }

    /// As [`Broker::give_back`], in a queue of this node.
    pub(super) fn give_back_here(&mut self, key: QueueKey, seq: QueueSeq, how: Return) -> Lsn {
        let Some(queue) = self.queues.get_mut(key) else { return Lsn(0) };
        if queue.heeds_limits_first() && !self.returned.contains(&key) {
            self.returned.push(key);
        }
        let before = queue.body_bytes();
        let given = queue.give_back(seq, how, self.now.mono);
        self.body_bytes -= before - queue.body_bytes();
        let end = match given {
            GivenBack::NotOut => return Lsn(0),
            GivenBack::Ready { changed: None } => Lsn(0),
            GivenBack::Ready { changed: Some(_) } => {
                let owner = queue.id.0;
                if let Some(state) = queue.entry(seq).map(|entry| queue.state_of(entry, self.now)) {
                    self.log.note_state(Ref { owner, seq: seq.0, state });
                }
                self.log.end()
            }
            GivenBack::OverLimit(entry) => self.bury_now(key, entry, LeaveReason::DeliveryLimit),
        };
        self.activate(key);
        end
    }

    /// Removes all messages that wait for a consumer. How many there were.
    pub(crate) fn purge(&mut self, key: QueueKey) -> usize {
        let mut count = 0;
        while self.purge_one(key) {
            count += 1;
        }
        // A basic.get may have waited for one of them.
        self.activate(key);
        count
    }

    /// Removes the message that would be delivered next. Whether there was one.
    pub(super) fn purge_one(&mut self, key: QueueKey) -> bool {
        let Some(queue) = self.queues.get_mut(key) else { return false };
        let before = queue.body_bytes();
        let Some(entry) = queue.pop_ready().or_else(|| queue.pop_delayed()) else { return false };
        self.body_bytes -= before - queue.body_bytes();
        self.bury(key, entry, LeaveReason::Purged);
        true
    }

    /// Removes a consumer from its queue; an auto-delete queue goes with its last one.
    pub(crate) fn unsubscribe(&mut self, key: QueueKey, consumer: ConsumerKey) {
        let Some(queue) = self.queues.get_mut(key) else { return self.cancel_remote(consumer) };
        queue.unsubscribe(consumer);
        queue.touch(self.now.mono);
        let is_unused = queue.consumers().len() == 0;
        self.activate(key);
        let is_auto_delete = self.metadata.queue_by_key(key).is_some_and(|record| record.auto_delete);
        if is_unused && is_auto_delete {
            self.propose_delete_queue(key);
        }
    }

    pub(super) fn forget_entry(&mut self, queue: QueueId, entry: &Entry) -> Lsn {
        self.forget(queue, entry.seq(), entry.place(), !entry.is_transient())
    }

    /// A message left its queue for good: the log may forget it too. From where on it knows.
    fn forget(&mut self, queue: QueueId, seq: QueueSeq, place: Option<Place>, recoverable: bool) -> Lsn {
        let mut end = None;
        if let Some(place) = place {
            if recoverable && is_planted(Mutant::AckedBackAfterRestart) {
                self.log.release(place);
                end = Some(self.log.end());
            } else if recoverable {
                end = Some(self.log.settle(queue.0, seq.0, place));
            } else {
                self.log.release(place);
            }
        }
        if self.config.fine_events {
            self.events.push(Event::Settled { queue, seq, lsn: end });
        }
        end.unwrap_or_default()
    }

    /// A consumer takes messages again: its channel or connection has room.
    pub(crate) fn resume(&mut self, key: QueueKey, consumer: ConsumerKey) {
        match self.queues.get_mut(key) {
            Some(queue) => queue.resume(consumer),
            None => self.resume_remote(consumer),
        }
        self.activate(key);
    }

    /// A consumer has settled what one of its tag had for too long.
    pub(crate) fn admit(&mut self, key: QueueKey, consumer: ConsumerKey) {
        match self.queues.get_mut(key) {
            Some(queue) => queue.admit(consumer),
            None => self.admit_remote(consumer),
        }
        self.activate(key);
    }

    /// Forgets the `basic.get`s of a channel that has gone.
    pub(crate) fn forget_gets(&mut self, connection: ConnectionId, channel: ChannelNumber) {
        for queue in self.queues.by_key.values_mut() {
            queue.forget_gets(Subscriber::asker(connection, channel));
        }
    }
}
