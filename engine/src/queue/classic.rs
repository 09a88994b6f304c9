//! The classic queue: messages in order of arrival, each to one consumer.
//!
//! Where a message may be:
//!
//! ```text
//!            enqueue            next                    settle
//!  publisher -------> ready -------------> unacked -------------> gone
//!                       ^  (no_ack: gone)     |
//!                       +---- returned <------+ give_back
//! ```
//!
//! What leaves in any other way and has a dead-letter exchange to go to is `dying` until it is there. A message with a record in the
//! log needs no memory for its body: bodies beyond a budget are dropped once they are written, and read back when they are next.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;

use super::consumers::{Consumer, ConsumerKey, Consumers, Subscriber};
use super::dying::{Dead, Dying};
use super::entry::Entry;
use super::reading::Reading;
use super::ready::{Ready, ReturnPlace};
use super::reason::LeaveReason;
use super::retries::Retries;
use crate::ids::{ConnectionId, Lsn, QueueId, QueueSeq};
use crate::message::Message;
use crate::metadata::QueueSettings;
use crate::mutants::{Mutant, is_planted};
use crate::storage::{Place, Ref, RefFlags, RefState};
use crate::time::{Instant, Now, Timestamp};
use crate::window::Window;

/// A classic queue.
#[derive(Debug)]
pub(crate) struct ClassicQueue {
    pub(crate) id: QueueId,
    /// Whether persistent messages are logged.
    pub(crate) durable: bool,
    /// The only connection that may use it; `None` if everybody may.
    pub(crate) owner: Option<ConnectionId>,
    /// Of which type it is.
    pub(crate) kind: QueueKind,
    /// What its arguments and policies say.
    pub(super) settings: QueueSettings,
    next_seq: QueueSeq,
    pub(super) ready: Ready,
    unacked: Window<Unacked>,
    /// When those messages expire that do, whether they are ready or unacked.
    pub(super) expiries: Window<Instant>,
    /// The deadline that the node's timers know for the first of them.
    pub(super) expiry_timer: Option<Instant>,
    /// Messages before this one had their chance to be delivered.
    pub(super) offered_before: QueueSeq,
    /// How often deliveries of a message came back, where that ever happened and the queue counts it.
    returned: BTreeMap<QueueSeq, Returned>,
    /// What came back and waits. A restart ends the wait.
    pub(super) retries: Retries,
    /// What died here and is still to be dead-lettered.
    pub(super) dying: Dying,
    /// What is being read from the log for those.
    pub(super) reading_dying: Option<Reading>,
    /// When somebody last made use of the queue.
    pub(super) used_at: Instant,
    /// The deadline that the node's timers know for its end.
    pub(super) end_timer: Option<Instant>,
    consumers: Consumers,
    /// `basic.get`s whose message is being read.
    gets: VecDeque<Get>,
    /// Bodies over the budget that may be dropped once the log has them, in order of arrival.
    droppable: VecDeque<(QueueSeq, Lsn)>,
    /// Bytes of bodies in memory.
    pub(super) body_bytes: usize,
    /// What is being read from the log.
    pub(super) reading: Option<Reading>,
    /// Whether an operator keeps it from delivering.
    is_paused: bool,
    /// Whether the broker has it in its list of queues that may have something to deliver.
    pub(crate) is_active: bool,
    /// Whether the broker has it in its list of queues with bodies to drop.
    pub(crate) is_dropper: bool,
}

/// The types of queues that this machine is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueKind {
    /// RabbitMQ docs: Classic Queues.
    #[default]
    Classic,
    /// RabbitMQ docs: Quorum Queues. All messages are persistent; what comes back is counted and comes first.
    Quorum,
}

impl QueueKind {
    /// Its name, as in `x-queue-type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
        }
    }
}

/// The highest priority of a quorum queue (RabbitMQ 4.3); one beyond it counts as this.
pub(super) const QUORUM_PRIORITY_MAX: u8 = 31;
/// The priority of messages in a quorum queue that name none.
pub(super) const QUORUM_PRIORITY_DEFAULT: u8 = 4;

/// A message that comes, as this queue will hold it.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) message: Arc<Message>,
    /// Its record, if it has one.
    pub(crate) place: Option<Place>,
    pub(crate) flags: RefFlags,
    pub(crate) priority: u8,
    /// When it expires, if it does.
    pub(crate) expires_at: Option<Instant>,
}

/// What a delivered message comes back for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Return {
    /// The consumer asked for it, or was too slow; that is nobody's failure.
    Requeued,
    /// The delivery failed: the consumer rejected the message, or is gone.
    Failed,
}

/// How often deliveries of a message came back.
#[derive(Clone, Copy, Debug, Default)]
struct Returned {
    /// As failures. The log knows them.
    failed: u16,
    /// For whatever reason. Only quorum queues count that, and a restart forgets what were no failures.
    acquired: u16,
}

/// A message that is out with a consumer.
#[derive(Debug)]
struct Unacked {
    entry: Entry,
    /// `None` if it was fetched by `basic.get`.
    consumer: Option<ConsumerKey>,
}

/// A `basic.get` that waits for its message's body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Get {
    /// Whose.
    pub(crate) who: Subscriber,
    /// Whether the message counts as acked once sent.
    pub(crate) no_ack: bool,
}

/// Who a message goes to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subscription {
    /// A consumer whose turn it is.
    Consumer {
        /// In the queue.
        key: ConsumerKey,
        /// Whose.
        who: Subscriber,
        /// Whether the message counts as acked once sent.
        no_ack: bool,
    },
    /// Somebody who asked for one message.
    Get(Get),
}

impl Subscription {
    /// Whose it is.
    pub(crate) fn who(&self) -> Subscriber {
        match self {
            Self::Consumer { who, .. } => *who,
            Self::Get(get) => get.who,
        }
    }

    /// The consumer, if it is one.
    pub(crate) fn consumer(&self) -> Option<ConsumerKey> {
        match self {
            Self::Consumer { key, .. } => Some(*key),
            Self::Get(_) => None,
        }
    }
}

/// What the queue wants done next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing: no message, nobody to take it, or a read is under way.
    Idle,
    /// What this `basic.get` waited for has gone, and nothing is left for it.
    GetEmpty(Get),
    /// The next message can go to this one: ask whether it takes it, then call [`ClassicQueue::take`] or [`ClassicQueue::pause`].
    Offer(Subscription),
    /// The next message has to be read: `len` bytes from `first` on.
    Read {
        /// The first record.
        first: Place,
        /// Bytes from its beginning on.
        len: u32,
    },
}

/// A message taken out for a consumer.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) seq: QueueSeq,
    pub(crate) message: Arc<Message>,
    pub(crate) redelivered: bool,
    /// How many of its deliveries failed before, where the queue counts that.
    pub(crate) deliveries: u16,
    /// How many came back before, for whatever reason; 0 where the queue does not count that.
    pub(crate) acquired: u16,
    /// Its record.
    pub(crate) place: Option<Place>,
    /// Whether the log has to keep it and would recover it.
    pub(crate) recoverable: bool,
    /// Messages that stay ready.
    pub(crate) ready_left: usize,
}

/// What became of a message that came back.
#[derive(Debug)]
pub(crate) enum GivenBack {
    /// It was not out.
    NotOut,
    /// It waits again, for a consumer or for its time. If its state has changed, where its record is.
    Ready {
        /// `None` if there is nothing that the log would have to know.
        changed: Option<Place>,
    },
    /// Too many of its deliveries failed: it left.
    OverLimit(Entry),
}

impl ClassicQueue {
    /// An empty queue. `priority_max` is the highest priority of a classic queue.
    pub(crate) fn new(
        id: QueueId,
        durable: bool,
        owner: Option<ConnectionId>,
        kind: QueueKind,
        priority_max: u8,
        now: Now,
    ) -> Self {
        let ready = match kind {
            QueueKind::Classic => Ready::new(priority_max, ReturnPlace::Own),
            QueueKind::Quorum => Ready::new(QUORUM_PRIORITY_MAX, ReturnPlace::Front),
        };
        Self {
            id,
            durable,
            owner,
            kind,
            settings: QueueSettings::default(),
            next_seq: QueueSeq(1),
            ready,
            unacked: Window::default(),
            expiries: Window::default(),
            expiry_timer: None,
            offered_before: QueueSeq(0),
            returned: BTreeMap::new(),
            retries: Retries::default(),
            dying: Dying::default(),
            reading_dying: None,
            used_at: now.mono,
            end_timer: None,
            consumers: Consumers::default(),
            gets: VecDeque::new(),
            droppable: VecDeque::new(),
            body_bytes: 0,
            reading: None,
            is_paused: false,
            is_active: false,
            is_dropper: false,
        }
    }

    /// Takes the settings that hold from here on.
    pub(crate) fn configure(&mut self, settings: &QueueSettings) {
        self.settings.clone_from(settings);
    }

    /// Its settings.
    pub(crate) fn settings(&self) -> &QueueSettings {
        &self.settings
    }

    /// Puts back a message that the log had kept. They come in order of `seq`. Of what waits to be dead-lettered the log has not kept
    /// since when; it counts as having died `now`.
    pub(crate) fn recover(&mut self, seq: QueueSeq, place: Place, state: RefState, now: Now) {
        assert!(seq >= self.next_seq, "recovered messages come in order: {seq} after {}", self.next_seq);
        let entry = Entry::new(seq, state.priority, state.size, None, Some(place), state.flags);
        self.next_seq = seq.next();
        self.offered_before = self.next_seq;
        if state.deliveries > 0 {
            self.returned.insert(seq, Returned { failed: state.deliveries, acquired: state.deliveries });
        }
        if let Some(reason) = LeaveReason::from_code(state.dying) {
            self.dying.add(Dead::new(entry, reason, now.wall, true));
            return;
        }
        if state.expires_at != 0 && !is_planted(Mutant::TtlLostAtRestart) {
            self.expiries.insert(seq.0, now.mono_of(Timestamp::from_millis(state.expires_at)));
        }
        // Of a quorum queue's messages, those that failed before are served first again.
        if state.deliveries > 0 && self.kind == QueueKind::Quorum {
            self.ready.give_back(entry);
        } else {
            self.ready.push(entry);
        }
    }

    /// Goes on numbering from at least here, after recovery.
    pub(crate) fn continue_from(&mut self, seq: QueueSeq) {
        self.next_seq = self.next_seq.max(seq);
    }

    /// A `basic.get` that waits, to be told that the queue is gone.
    pub(crate) fn take_get(&mut self) -> Option<Get> {
        self.gets.pop_front()
    }

    /// The place the next message will get.
    pub(crate) fn next_seq(&self) -> QueueSeq {
        self.next_seq
    }

    /// Messages waiting for a consumer.
    pub(crate) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// Messages out with consumers.
    pub(crate) fn unacked_len(&self) -> usize {
        self.unacked.len()
    }

    /// Whether a message is out with a consumer.
    pub(crate) fn is_unacked(&self, seq: QueueSeq) -> bool {
        self.unacked.get(seq.0).is_some()
    }

    /// Bytes of the bodies of messages waiting for a consumer.
    pub(crate) fn ready_bytes(&self) -> u64 {
        self.ready.bytes()
    }

    /// Bytes of the bodies of messages out with consumers. Nothing but listings asks, so they are added up then.
    pub(crate) fn unacked_bytes(&self) -> u64 {
        self.unacked.iter().map(|(_, unacked)| u64::from(unacked.entry.size())).sum()
    }

    /// Bytes of bodies in memory.
    pub(crate) fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// Its consumers.
    pub(crate) fn consumers(&self) -> &Consumers {
        &self.consumers
    }

    /// The priority that a message has here.
    pub(crate) fn priority_of(&self, message: &Message) -> u8 {
        match self.kind {
            QueueKind::Classic if self.ready.priority_max() == 0 => 0,
            QueueKind::Classic => message.priority().unwrap_or(0).min(self.ready.priority_max()),
            QueueKind::Quorum => message.priority().unwrap_or(QUORUM_PRIORITY_DEFAULT).min(QUORUM_PRIORITY_MAX),
        }
    }

    /// Adds a message at the end of its priority.
    pub(crate) fn enqueue(&mut self, arrival: Arrival, cache_bytes: usize) {
        let Arrival { message, place, flags, priority, expires_at } = arrival;
        let seq = self.next_seq;
        self.next_seq = seq.next();
        self.body_bytes += message.memory_bytes();
        if let Some(place) = place
            && self.body_bytes > cache_bytes
        {
            self.droppable.push_back((seq, place.lsn));
        }
        if let Some(at) = expires_at {
            self.expiries.insert(seq.0, at);
        }
        let size = u32::try_from(message.body().len()).unwrap_or(u32::MAX);
        self.ready.push(Entry::new(seq, priority, size, Some(message), place, flags));
    }

    /// Whether bodies wait to be dropped until the log has them.
    pub(crate) fn has_droppable(&self) -> bool {
        !self.droppable.is_empty()
    }

    /// Drops the bodies over the budget that the log has, up to `written`.
    pub(crate) fn drop_written_bodies(&mut self, written: Lsn) {
        while let Some(&(seq, lsn)) = self.droppable.front() {
            let Some(entry) = self.find_mut(seq) else {
                self.droppable.pop_front();
                continue;
            };
            // A record that moved since is written where it was first, at least.
            let end = entry.place().map_or(lsn, |place| if place.lsn == lsn { place.end() } else { lsn });
            if end > written {
                break;
            }
            let freed = entry.message.take().map_or(0, |message| message.memory_bytes());
            self.body_bytes -= freed;
            self.droppable.pop_front();
        }
    }

    /// Gives everything to one consumer at a time.
    pub(crate) fn make_single_active(&mut self) {
        // RabbitMQ docs: Consumers / single active consumer: priorities count in quorum queues only.
        self.consumers.make_single_active(self.kind == QueueKind::Quorum);
    }

    /// Delivers to a consumer that was barred from its start.
    pub(crate) fn admit(&mut self, key: ConsumerKey) {
        self.consumers.admit(key);
    }

    /// Adds a consumer.
    pub(crate) fn subscribe(&mut self, consumer: Consumer) -> ConsumerKey {
        self.consumers.add(consumer)
    }

    /// Removes a consumer; what it has not acked stays with its channel.
    pub(crate) fn unsubscribe(&mut self, key: ConsumerKey) {
        self.consumers.remove(key);
    }

    /// Delivers nothing to a consumer until [`ClassicQueue::resume`].
    pub(crate) fn pause(&mut self, key: ConsumerKey) {
        self.consumers.pause(key);
    }

    /// Delivers to a consumer again.
    pub(crate) fn resume(&mut self, key: ConsumerKey) {
        self.consumers.resume(key);
    }

    /// Asks for one message. The answer comes through [`ClassicQueue::next`] if there is one, else this is `false`.
    pub(crate) fn get(&mut self, get: Get) -> bool {
        if self.is_paused || self.ready_len() <= self.gets.len() {
            return false;
        }
        self.gets.push_back(get);
        true
    }

    /// Whether anybody takes the next message: a `basic.get` that waits for its turn, or a consumer.
    pub(crate) fn has_takers(&self) -> bool {
        !self.gets.is_empty() || self.consumers.credit() > 0
    }

    /// A `basic.get` that waits for a message that is not there any more: it expired, or was purged.
    pub(crate) fn take_idle_get(&mut self) -> Option<Get> {
        if self.gets.len() > self.ready.len() { self.gets.pop_back() } else { None }
    }

    /// Forgets the `basic.get`s of somebody who has gone.
    pub(crate) fn forget_gets(&mut self, of: Subscriber) {
        self.gets.retain(|get| get.who != of);
    }

    /// Delivers nothing from here on, or everything again.
    pub(crate) fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// Whether an operator keeps it from delivering.
    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// The messages waiting for a consumer, in the order in which they would be delivered.
    pub(crate) fn ready_seqs(&self) -> Vec<QueueSeq> {
        let mut all: Vec<&Entry> = self.ready.iter().collect();
        if self.kind == QueueKind::Classic {
            all.sort_by_key(|entry| (Reverse(entry.priority()), entry.seq()));
        }
        all.into_iter().map(Entry::seq).collect()
    }

    /// Whether nothing is under way in it but what consumers have: nobody waits for the answer to a `basic.get`, and nothing waits for
    /// its time or to be dead-lettered.
    pub(crate) fn is_quiet(&self) -> bool {
        let has_dead = self.dying.iter().next().is_some();
        self.gets.is_empty() && self.retries.len() == 0 && !has_dead && self.reading_dying.is_none()
    }

    /// All that is unacked waits again, in its place.
    pub(crate) fn take_all_back(&mut self) {
        while let Some((_, Unacked { entry, .. })) = self.unacked.pop_up_to(u64::MAX) {
            self.ready.give_back(entry);
        }
    }

    /// The messages waiting for a consumer, in the order in which they came.
    pub(crate) fn all_ready(&self) -> Vec<QueueSeq> {
        let mut all: Vec<QueueSeq> = self.ready.iter().map(Entry::seq).collect();
        all.sort_unstable();
        all
    }

    /// A body is not needed in memory, if the log has it.
    pub(crate) fn drop_body(&mut self, seq: QueueSeq, written: Lsn) {
        let Some(entry) = self.ready.find_mut(seq) else { return };
        if entry.place().is_some_and(|place| place.end() <= written) {
            self.body_bytes -= entry.memory_bytes();
            entry.message = None;
        }
    }

    /// A message waiting for a consumer.
    pub(crate) fn ready_entry(&self, seq: QueueSeq) -> Option<&Entry> {
        self.ready.find(seq)
    }

    /// Takes out a message waiting for a consumer.
    pub(crate) fn take_ready(&mut self, seq: QueueSeq) -> Option<Entry> {
        let entry = self.ready.remove(seq)?;
        self.body_bytes -= entry.memory_bytes();
        self.forget_details(seq);
        Some(entry)
    }

    /// What is to be done next.
    pub(crate) fn next(&mut self, read_ahead_bytes: u32) -> Next {
        let head = self.ready.head().and_then(|head| self.ready.get(head));
        let rests = |head: &Entry| self.is_paused && !(is_planted(Mutant::PauseHalfHeeded) && head.is_redelivered());
        let Some(head) = head.filter(|head| !rests(head)) else {
            return self.gets.pop_front().map_or(Next::Idle, Next::GetEmpty);
        };
        let has_body = head.message.is_some();
        let subscription = if let Some(get) = self.gets.front() {
            Subscription::Get(*get)
        } else if let Some((key, consumer)) = self.consumers.front() {
            Subscription::Consumer { key, who: consumer.who, no_ack: consumer.no_ack }
        } else {
            return Next::Idle;
        };
        if has_body {
            return Next::Offer(subscription);
        }
        if self.reading.is_some() {
            return Next::Idle;
        }
        self.start_reading(read_ahead_bytes)
    }

    /// Takes out the next message for the subscription just offered.
    ///
    /// # Panics
    /// If nothing was offered.
    pub(crate) fn take(&mut self, subscription: &Subscription, written: Lsn, cache_bytes: usize) -> Taken {
        let head = self.ready.head().expect("a message was offered");
        let mut entry = self.ready.pop(head).expect("a message was offered");
        let message = entry.message.clone().expect("an offered message is in memory");
        let redelivered = entry.is_redelivered() && !is_planted(Mutant::RedeliveredForgotten);
        let place = entry.place();
        let recoverable = !entry.is_transient();
        let seq = entry.seq();
        let (no_ack, consumer) = match subscription {
            Subscription::Consumer { key, no_ack, .. } => {
                self.consumers.rotate();
                (*no_ack, Some(*key))
            }
            Subscription::Get(get) => {
                self.gets.pop_front();
                (get.no_ack, None)
            }
        };
        let Returned { failed, acquired } = self.returned(seq);
        let counts_all = self.kind == QueueKind::Quorum;
        let acquired = if counts_all { acquired.max(entry.is_redelivered().into()) } else { 0 };
        if no_ack {
            self.body_bytes -= message.memory_bytes();
            self.forget_details(seq);
        } else {
            entry.set_redelivered();
            if let Some(place) = place
                && self.body_bytes > cache_bytes
            {
                if place.end() <= written {
                    self.body_bytes -= entry.memory_bytes();
                    entry.message = None;
                } else {
                    self.droppable.push_back((seq, place.lsn));
                }
            }
            self.unacked.insert(seq.0, Unacked { entry, consumer });
        }
        let ready_left = self.ready_len();
        Taken { seq, message, redelivered, deliveries: failed, acquired, place, recoverable, ready_left }
    }

    /// A delivered message is done with: it leaves the queue. `None` if it is not out.
    pub(crate) fn settle(&mut self, seq: QueueSeq) -> Option<Entry> {
        let Unacked { entry, consumer } = self.unacked.remove(seq.0)?;
        if let Some(consumer) = consumer {
            self.consumers.on_settled(consumer);
        }
        self.body_bytes -= entry.memory_bytes();
        self.forget_details(seq);
        Some(entry)
    }

    /// A delivered message comes back.
    pub(crate) fn give_back(&mut self, seq: QueueSeq, how: Return, now: Instant) -> GivenBack {
        let Some(Unacked { entry, consumer }) = self.unacked.remove(seq.0) else { return GivenBack::NotOut };
        if let Some(consumer) = consumer {
            self.consumers.on_settled(consumer);
        }
        let is_failure = how == Return::Failed;
        let counts_all = self.kind == QueueKind::Quorum;
        let mut changed = None;
        if counts_all || is_failure && self.settings.delivery_limit.is_some() {
            let mut returned = self.returned(seq);
            returned.acquired = returned.acquired.saturating_add(1);
            if is_failure {
                returned.failed = returned.failed.saturating_add(1);
                if self.settings.delivery_limit.is_some_and(|limit| returned.failed > limit) {
                    self.body_bytes -= entry.memory_bytes();
                    self.forget_details(seq);
                    return GivenBack::OverLimit(entry);
                }
                changed = (!entry.is_transient()).then(|| entry.place()).flatten();
            }
            self.returned.insert(seq, returned);
            let delay = self.settings.delayed_retry.delay_ms(is_failure, returned.failed).filter(|_| counts_all);
            if let Some(delay) = delay {
                self.retries.push(now + Duration::from_millis(delay), entry);
                return GivenBack::Ready { changed };
            }
        }
        self.ready.give_back(entry);
        GivenBack::Ready { changed }
    }

    /// How often deliveries of a message came back, as far as that is counted.
    fn returned(&self, seq: QueueSeq) -> Returned {
        if self.returned.is_empty() {
            Returned::default()
        } else {
            self.returned.get(&seq).copied().unwrap_or_default()
        }
    }

    /// Forgets what is only known of some messages.
    pub(super) fn forget_details(&mut self, seq: QueueSeq) {
        if self.expiries.len() > 0 {
            self.expiries.remove(seq.0);
        }
        if !self.returned.is_empty() {
            self.returned.remove(&seq);
        }
    }

    /// Takes out the next waiting message, whether its body is in memory or not.
    pub(crate) fn pop_ready(&mut self) -> Option<Entry> {
        let head = self.ready.head()?;
        self.pop_head(head)
    }

    /// How many messages came back and wait for their time, and bytes of their bodies.
    pub(crate) fn delayed(&self) -> (u64, u64) {
        (self.retries.len() as u64, self.retries.bytes())
    }

    /// Takes out a message that came back and waits.
    pub(crate) fn pop_delayed(&mut self) -> Option<Entry> {
        let entry = self.retries.pop()?;
        self.body_bytes -= entry.memory_bytes();
        self.forget_details(entry.seq());
        Some(entry)
    }

    /// Takes out any message that is left, delivered or not; for deleting the queue.
    pub(crate) fn drain_one(&mut self) -> Option<Entry> {
        if let Some(entry) = self.pop_ready() {
            return Some(entry);
        }
        if let Some(entry) = self.pop_delayed() {
            return Some(entry);
        }
        let entry = match self.unacked.pop_up_to(u64::MAX) {
            Some((_, Unacked { entry, .. })) => entry,
            None => self.dying.take_any()?.entry,
        };
        self.body_bytes -= entry.memory_bytes();
        self.forget_details(entry.seq());
        Some(entry)
    }

    /// A message that was taken out died: it waits to be dead-lettered.
    pub(crate) fn kill(&mut self, entry: Entry, reason: LeaveReason, at: Timestamp) {
        self.body_bytes += entry.memory_bytes();
        self.dying.add(Dead::new(entry, reason, at, false));
    }

    /// What died here and is still to be dead-lettered.
    pub(crate) fn dying(&self) -> &Dying {
        &self.dying
    }

    /// Takes out the next message to be dead-lettered.
    pub(crate) fn take_dying(&mut self) -> Option<Dead> {
        let dead = self.dying.take_next()?;
        self.body_bytes -= dead.entry.memory_bytes();
        Some(dead)
    }

    /// A message just taken out cannot be dead-lettered for the time being. If the log has its body, memory need not.
    pub(crate) fn park_dying(&mut self, mut dead: Dead, written: Lsn) {
        if dead.entry.place().is_some_and(|place| place.end() <= written) {
            dead.entry.message = None;
        }
        self.body_bytes += dead.entry.memory_bytes();
        self.dying.park(dead);
    }

    /// Up to `limit` messages that could not be dead-lettered are tried again, from the first on if one of them could.
    pub(crate) fn retry_dying(&mut self, limit: usize, could_one: bool) {
        if could_one {
            self.dying.restart();
        }
        self.dying.retry(limit);
    }

    /// What the log is to be told about a message to be dead-lettered, so that it stays dead; `None` if it knows, or does not know the
    /// message.
    pub(crate) fn note_dying(&mut self, seq: QueueSeq, now: Now) -> Option<Ref> {
        let owner = self.id.0;
        let dead = self.dying.get_mut(seq).filter(|dead| !dead.is_noted && !dead.entry.is_transient())?;
        dead.is_noted = true;
        let place = dead.entry.place()?;
        Some(Ref { owner, seq: seq.0, state: self.state_at(seq, place.lsn, now)? })
    }

    /// The state of a message if its record is at `lsn`.
    pub(crate) fn state_at(&self, seq: QueueSeq, lsn: Lsn, now: Now) -> Option<RefState> {
        let entry = self.find(seq)?;
        (entry.place()?.lsn == lsn).then(|| self.state_of(entry, now))
    }

    /// A message's state as the log keeps it.
    pub(crate) fn state_of(&self, entry: &Entry, now: Now) -> RefState {
        let seq = entry.seq();
        RefState {
            flags: entry.flags(),
            priority: entry.priority(),
            dying: self.dying.get(seq).map_or(0, |dead| dead.reason.code()),
            deliveries: self.returned(seq).failed,
            size: entry.size(),
            expires_at: self.expiries.get(seq.0).map_or(0, |at| now.wall_of(*at).as_millis()),
        }
    }

    /// How many messages survive a restart.
    pub(crate) fn kept_messages(&self) -> u64 {
        let unacked = self.unacked.iter().map(|(_, unacked)| &unacked.entry);
        let all = self
            .ready
            .iter()
            .chain(unacked)
            .chain(self.retries.iter())
            .chain(self.dying.iter().map(|dead| &dead.entry));
        let kept = all.filter(|entry| entry.place().is_some() && !entry.flags().contains(RefFlags::TRANSIENT));
        kept.count() as u64
    }

    /// The message with this number, wherever it is.
    pub(crate) fn entry(&self, seq: QueueSeq) -> Option<&Entry> {
        self.find(seq)
    }

    /// A message's record moved.
    pub(crate) fn on_moved(&mut self, seq: QueueSeq, from: Lsn, to: Place) {
        if let Some(entry) = self.find_mut(seq)
            && entry.place().is_some_and(|place| place.lsn == from)
        {
            entry.set_place(to);
        }
    }

    fn find(&self, seq: QueueSeq) -> Option<&Entry> {
        let unacked = || self.unacked.get(seq.0).map(|unacked| &unacked.entry);
        let dying = || self.dying.get(seq).map(|dead| &dead.entry);
        self.ready.find(seq).or_else(unacked).or_else(|| self.retries.get(seq)).or_else(dying)
    }

    pub(super) fn find_mut(&mut self, seq: QueueSeq) -> Option<&mut Entry> {
        if self.unacked.get(seq.0).is_some() {
            return self.unacked.get_mut(seq.0).map(|unacked| &mut unacked.entry);
        }
        if self.retries.get(seq).is_some() {
            return self.retries.get_mut(seq);
        }
        match self.ready.find_mut(seq) {
            Some(entry) => Some(entry),
            None => self.dying.get_mut(seq).map(|dead| &mut dead.entry),
        }
    }

    /// Checks the queue's invariants; walks all of its messages.
    ///
    /// # Panics
    /// If one is broken.
    pub(crate) fn check_invariants(&self) {
        self.consumers.check_invariants();
        let mut bytes = self.ready.check_invariants();
        for (seq, unacked) in self.unacked.iter() {
            assert_eq!(seq, unacked.entry.seq().0, "an unacked message is kept under its number");
            bytes += unacked.entry.memory_bytes();
        }
        bytes += self.retries.check_invariants();
        self.dying.check_invariants();
        bytes += self.dying.iter().map(|dead| dead.entry.memory_bytes()).sum::<usize>();
        assert_eq!(bytes, self.body_bytes, "bytes in memory are counted");
        for seq in self.expiries.iter().map(|(seq, _)| QueueSeq(seq)).chain(self.returned.keys().copied()) {
            assert!(self.find(seq).is_some(), "what is known of message {seq} outlived it");
        }
    }
}
