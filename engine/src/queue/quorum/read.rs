//! What a leader tells of the queue without changing it.

use alloc::vec::Vec;
use core::cmp::Reverse;

use super::action::Delivery;
use super::command::{NumberRange, Numbers, push_number};
use super::ids::{ConsumerId, DeliveryNumber, LogIndex, SessionId, SessionSeqno};
use super::machine::QuorumQueue;
use super::settings::Rules;
use super::slot::{BodyPlace, Slot};
use super::taker::delivery;
use crate::queue::ready::Waiting;

/// A session asks how far it has come, after it may have missed something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sync {
    /// Which.
    pub session: SessionId,
    /// Its consumers, with the next delivery that each expects.
    pub consumers: Vec<(u32, DeliveryNumber)>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncAnswer {
    /// Whose.
    pub session: SessionId,
    /// The next command that the queue expects of it; `None` if it does not know the session.
    pub next: Option<SessionSeqno>,
    /// Whether the queue is full.
    pub is_full: bool,
    /// Whether the queue is about to be deleted.
    pub is_gone: bool,
    /// Of its consumers those that it asked about. There may be others by the time that the answer is given.
    pub consumers: Vec<ConsumerSync>,
}

/// What a consumer may have missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSync {
    /// Which.
    pub tag: u32,
    /// Its next delivery; 1 if the queue does not know it.
    pub next: DeliveryNumber,
    /// What it has, from the delivery on that it expects. What is missing there has gone back.
    pub deliveries: Vec<Delivery>,
    /// Of these that it had for too long, and that have gone back: it has to settle them to get anything.
    pub timed_out: Numbers,
}

/// A queue in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Messages that wait for a consumer.
    pub ready: u64,
    /// Bytes of their bodies.
    pub ready_bytes: u64,
    /// Messages that came back and wait for their time.
    pub delayed: u64,
    /// Bytes of their bodies.
    pub delayed_bytes: u64,
    /// Messages that are out.
    pub unacked: u64,
    /// Bytes of their bodies.
    pub unacked_bytes: u64,
    /// Messages that wait to be dead-lettered.
    pub dead: u64,
    /// Of all these, those that were published as persistent.
    pub persistent: u64,
    /// Consumers.
    pub consumers: u64,
    /// The single active one.
    pub active: Option<ConsumerId>,
    /// Whether the queue refuses what comes.
    pub is_full: bool,
    /// Whether it delivers nothing.
    pub is_paused: bool,
    /// Whether it is about to be deleted.
    pub is_deleting: bool,
}

/// A message that waits, as an operator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peeked {
    /// Where it is.
    pub body: BodyPlace,
    /// Its priority.
    pub priority: u8,
    /// How many of its deliveries failed.
    pub failed: u16,
    /// How many came back.
    pub acquired: u16,
    /// When it expires, in milliseconds of the wall clock; `None` if it does not.
    pub expires_at: Option<u64>,
}

impl QuorumQueue {
    /// Tells a session how far it has come, with all that its consumers have and did not see.
    pub fn answer(&self, sync: &Sync) -> SyncAnswer {
        let consumers = sync.consumers.iter().map(|(tag, expected)| {
            let consumer = sync.session.consumer(*tag);
            let Some(taker) = self.takers.get(&consumer) else {
                let (next, deliveries, timed_out) = (DeliveryNumber(1), Vec::new(), Numbers::new());
                return ConsumerSync { tag: *tag, next, deliveries, timed_out };
            };
            let deliveries = taker
                .unacked
                .iter()
                .filter(|(number, _)| *number >= expected.0)
                .map(|(number, out)| delivery(consumer, DeliveryNumber(number), &out.slot))
                .collect();
            let mut timed_out = Numbers::new();
            taker.timed_out.range(expected.0..).for_each(|number| push_number(&mut timed_out, *number));
            ConsumerSync { tag: *tag, next: taker.next, deliveries, timed_out }
        });
        SyncAnswer {
            session: sync.session,
            next: self.roster.sessions.get(&sync.session).map(|state| state.next),
            is_full: self.is_full,
            is_gone: self.is_deleting,
            consumers: consumers.collect(),
        }
    }

    /// The queue in numbers.
    pub fn stat(&self) -> Stat {
        Stat {
            ready: self.ready.len() as u64,
            ready_bytes: self.ready.bytes(),
            delayed: self.delayed.len(),
            delayed_bytes: self.delayed.bytes(),
            unacked: self.unacked,
            unacked_bytes: self.unacked_bytes,
            dead: self.dead.len(),
            persistent: self.persistent,
            consumers: self.consumers.len() as u64,
            active: if self.consumers.is_single_active() { self.consumers.only().map(|it| it.who) } else { None },
            is_full: self.is_full,
            is_paused: self.is_paused,
            is_deleting: self.is_deleting,
        }
    }

    /// The last entry that was applied.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The messages that wait, in the order in which they would be delivered.
    pub fn peek(&self) -> impl Iterator<Item = Peeked> {
        let mut slots: Vec<&Slot> = self.ready.iter().collect();
        if self.settings.rules.is_classic() {
            slots.sort_by_key(|slot| (Reverse(slot.priority()), slot.seq()));
        }
        slots.into_iter().map(|slot| Peeked {
            body: slot.body,
            priority: slot.priority(),
            failed: slot.failed,
            acquired: slot.acquired,
            expires_at: (slot.expires_at != 0).then_some(slot.expires_at),
        })
    }

    /// When the queue has been unused for as long as it may be, in milliseconds of the wall clock. `None`: it is in use, or need not be.
    pub fn ends_at(&self) -> Option<u64> {
        let expires = self.settings.expires_ms?;
        (self.consumers.len() == 0).then(|| self.used_at.saturating_add(expires))
    }

    /// Whether it is to go, as its last consumer has gone.
    pub fn is_abandoned(&self) -> bool {
        let auto_delete = matches!(self.settings.rules, Rules::Classic { auto_delete: true, .. });
        auto_delete && self.consumers.len() == 0 && self.consumers.arrivals() > 0
    }

    /// Whether an entry holds bodies of messages that live: the log has to keep it.
    pub fn needed(&self, index: LogIndex) -> bool {
        self.live.is_needed(index)
    }

    /// The first such entry. Nothing before it is needed once a snapshot of the queue is durable.
    pub fn first_needed(&self) -> Option<LogIndex> {
        self.live.first()
    }

    /// All such entries.
    pub fn needed_ranges(&self) -> Vec<NumberRange> {
        self.live.ranges()
    }
}
