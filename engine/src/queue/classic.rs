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
//! What leaves in any other way and has a dead-letter exchange to go to is `dying` until it is there.
//!
//! `ready` holds what was never delivered, in order of `seq`; `returned` what came back, so that it is delivered again in its
//! original place (RabbitMQ docs: Consumer Acknowledgements / Negative Acknowledgement and Requeuing). A message with a record in
//! the log needs no memory for its body: bodies beyond a budget are dropped once they are written, and read back when they are next.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

use super::consumers::{Consumer, ConsumerKey, Consumers};
use super::dying::{Dead, Dying};
use super::entry::Entry;
use super::reason::LeaveReason;
use crate::ids::{ChannelNumber, ConnectionId, Lsn, QueueId, QueueSeq};
use crate::message::Message;
use crate::metadata::{Overflow, QueueSettings};
use crate::mutants::{Mutant, is_planted};
use crate::storage::{Place, Ref, RefFlags, RefState};
use crate::time::Timestamp;
use crate::window::Window;

/// A classic queue.
#[derive(Debug)]
pub(crate) struct ClassicQueue {
    pub(crate) id: QueueId,
    /// Whether persistent messages are logged.
    pub(crate) durable: bool,
    /// The only connection that may use it; `None` if everybody may.
    pub(crate) owner: Option<ConnectionId>,
    next_seq: QueueSeq,
    ready: VecDeque<Entry>,
    returned: BTreeMap<QueueSeq, Entry>,
    unacked: Window<Unacked>,
    consumers: Consumers,
    /// `basic.get`s whose message is being read.
    gets: VecDeque<Get>,
    /// Bodies over the budget that may be dropped once the log has them, in order of arrival.
    droppable: VecDeque<(QueueSeq, Lsn)>,
    /// Bytes of bodies in memory.
    body_bytes: usize,
    /// What is being read from the log.
    reading: Option<Reading>,
    /// What died here and is still to be dead-lettered.
    dying: Dying,
    /// What is being read from the log for those.
    reading_dying: Option<Reading>,
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
    pub(crate) connection: ConnectionId,
    /// On which channel.
    pub(crate) channel: ChannelNumber,
    /// Whether the message counts as acked once sent.
    pub(crate) no_ack: bool,
}

/// A read under way: which messages it is for.
#[derive(Debug)]
struct Reading {
    wanted: Vec<(QueueSeq, Place)>,
}

impl Reading {
    /// Plans a read of the first message, whose body is only in the log, and of those next to it that lie behind it in the log. Where
    /// the read begins and how long it is.
    fn plan<'a>(mut entries: impl Iterator<Item = &'a Entry>, read_ahead_bytes: u32) -> (Self, Place, u32) {
        let head = entries.next().expect("there is a next message");
        let first = head.place().expect("a body that is not in memory is in the log");
        let mut wanted = alloc::vec![(head.seq(), first)];
        let limit = first.lsn.0 + u64::from(read_ahead_bytes);
        let mut end = first.end();
        for entry in entries {
            if entry.message.is_some() {
                continue;
            }
            let Some(place) = entry.place().filter(|place| place.lsn >= end && place.end().0 <= limit) else { break };
            wanted.push((entry.seq(), place));
            end = place.end();
        }
        let len = u32::try_from(end.0 - first.lsn.0).expect("a read is bounded by the read-ahead or one record");
        (Self { wanted }, first, len)
    }
}

/// Who a message goes to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subscription {
    /// A consumer whose turn it is.
    Consumer {
        /// In the queue.
        key: ConsumerKey,
        /// Whose.
        connection: ConnectionId,
        /// On which channel.
        channel: ChannelNumber,
        /// Which of the channel's consumers.
        index: u32,
        /// Whether the message counts as acked once sent.
        no_ack: bool,
    },
    /// Somebody who asked for one message.
    Get(Get),
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
    /// Its record.
    pub(crate) place: Option<Place>,
    /// Whether the log has to keep it and would recover it.
    pub(crate) recoverable: bool,
    /// Messages that stay ready.
    pub(crate) ready_left: usize,
}

impl ClassicQueue {
    /// An empty queue.
    pub(crate) fn new(id: QueueId, durable: bool, owner: Option<ConnectionId>) -> Self {
        Self {
            id,
            durable,
            owner,
            next_seq: QueueSeq(1),
            ready: VecDeque::new(),
            returned: BTreeMap::new(),
            unacked: Window::default(),
            consumers: Consumers::default(),
            gets: VecDeque::new(),
            droppable: VecDeque::new(),
            body_bytes: 0,
            reading: None,
            dying: Dying::default(),
            reading_dying: None,
        }
    }

    /// Puts back a message that the log had kept. They come in order of `seq`. Of what waits to be dead-lettered the log has not kept
    /// since when; it counts as having died `now`.
    pub(crate) fn recover(&mut self, seq: QueueSeq, place: Place, state: RefState, now: Timestamp) {
        assert!(seq >= self.next_seq, "recovered messages come in order: {seq} after {}", self.next_seq);
        self.next_seq = seq.next();
        let entry = Entry::new(seq, state.priority, state.size, None, Some(place), state.flags);
        if let Some(reason) = LeaveReason::from_code(state.dying) {
            self.dying.add(Dead::new(entry, reason, now, true));
            return;
        }
        self.ready.push_back(entry);
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
        self.ready.len() + self.returned.len()
    }

    /// Messages out with consumers.
    pub(crate) fn unacked_len(&self) -> usize {
        self.unacked.len()
    }

    /// Bytes of bodies in memory.
    pub(crate) fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// Its consumers.
    pub(crate) fn consumers(&self) -> &Consumers {
        &self.consumers
    }

    /// Adds a message at the end.
    pub(crate) fn enqueue(&mut self, message: Arc<Message>, place: Option<Place>, flags: RefFlags, cache_bytes: usize) {
        let seq = self.next_seq;
        self.next_seq = seq.next();
        self.body_bytes += message.memory_bytes();
        if let Some(place) = place
            && self.body_bytes > cache_bytes
        {
            self.droppable.push_back((seq, place.lsn));
        }
        let size = u32::try_from(message.body().len()).unwrap_or(u32::MAX);
        self.ready.push_back(Entry::new(seq, 0, size, Some(message), place, flags));
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
        self.consumers.make_single_active();
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
        if self.ready_len() <= self.gets.len() {
            return false;
        }
        self.gets.push_back(get);
        true
    }

    /// Forgets the `basic.get`s of a channel that has gone.
    pub(crate) fn forget_gets(&mut self, connection: ConnectionId, channel: ChannelNumber) {
        self.gets.retain(|get| (get.connection, get.channel) != (connection, channel));
    }

    /// What is to be done next.
    pub(crate) fn next(&mut self, read_ahead_bytes: u32) -> Next {
        let Some(head) = self.head() else {
            return self.gets.pop_front().map_or(Next::Idle, Next::GetEmpty);
        };
        let has_body = head.message.is_some();
        let subscription = if let Some(get) = self.gets.front() {
            Subscription::Get(*get)
        } else if let Some((key, consumer)) = self.consumers.front() {
            Subscription::Consumer {
                key,
                connection: consumer.connection,
                channel: consumer.channel,
                index: consumer.index,
                no_ack: consumer.no_ack,
            }
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
        let mut entry = self.pop_head().expect("a message was offered");
        let message = entry.message.clone().expect("an offered message is in memory");
        let redelivered = entry.is_redelivered();
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
        if no_ack {
            self.body_bytes -= message.memory_bytes();
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
        Taken { seq, message, redelivered, place, recoverable, ready_left: self.ready_len() }
    }

    /// A delivered message is done with: it leaves the queue. `None` if it is not out.
    pub(crate) fn settle(&mut self, seq: QueueSeq) -> Option<Entry> {
        let Unacked { entry, consumer } = self.unacked.remove(seq.0)?;
        if let Some(consumer) = consumer {
            self.consumers.on_settled(consumer);
        }
        self.body_bytes -= entry.memory_bytes();
        Some(entry)
    }

    /// A delivered message comes back to its place. Whether it was out.
    pub(crate) fn give_back(&mut self, seq: QueueSeq) -> bool {
        let Some(Unacked { entry, consumer }) = self.unacked.remove(seq.0) else { return false };
        if let Some(consumer) = consumer {
            self.consumers.on_settled(consumer);
        }
        let old = self.returned.insert(seq, entry);
        assert!(old.is_none(), "message {seq} was returned twice");
        true
    }

    /// Takes out one waiting message, whether its body is in memory or not; for purging.
    pub(crate) fn purge_one(&mut self) -> Option<Entry> {
        let entry = self.pop_head()?;
        self.body_bytes -= entry.memory_bytes();
        Some(entry)
    }

    /// Takes out any message that is left, delivered or not; for deleting the queue.
    pub(crate) fn drain_one(&mut self) -> Option<Entry> {
        if let Some(entry) = self.purge_one() {
            return Some(entry);
        }
        let entry = match self.unacked.pop_up_to(u64::MAX) {
            Some((_, Unacked { entry, .. })) => entry,
            None => self.dying.take_any()?.entry,
        };
        self.body_bytes -= entry.memory_bytes();
        Some(entry)
    }

    /// A message that was taken out died: it waits to be dead-lettered.
    pub(crate) fn kill(&mut self, entry: Entry, reason: LeaveReason, at: Timestamp) {
        self.body_bytes += entry.memory_bytes();
        self.dying.add(Dead::new(entry, reason, at, false));
    }

    /// Whether it takes no message at the moment.
    pub(crate) fn refuses(&self, settings: &QueueSettings) -> bool {
        settings.overflow != Overflow::DropHead
            && (settings.length_max.is_some_and(|max| (self.ready_len() + self.dying.len()) as u64 >= max)
                || settings.length_max_bytes.is_some_and(|max| self.dying.size_bytes() >= max))
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

    /// The next message to be dead-lettered cannot be for the time being; `taken_by` have it. If the log has its body, memory need not.
    pub(crate) fn park_dying(&mut self, taken_by: &[QueueId], written: Lsn) {
        let Some(dead) = self.dying.park_next(taken_by) else { return };
        if dead.entry.place().is_some_and(|place| place.end() <= written) {
            self.body_bytes -= dead.entry.memory_bytes();
            dead.entry.message = None;
        }
    }

    /// Up to `limit` messages that could not be dead-lettered are tried again.
    pub(crate) fn retry_dying(&mut self, limit: usize) {
        self.dying.retry(limit);
    }

    /// What the log is to be told about the next message to be dead-lettered, so that it stays dead; `None` if it knows, or does not
    /// know the message.
    pub(crate) fn note_dying(&mut self) -> Option<Ref> {
        let owner = self.id.0;
        let dead = self.dying.next_mut().filter(|dead| !dead.is_noted && !dead.entry.is_transient())?;
        dead.is_noted = true;
        let seq = dead.entry.seq();
        let place = dead.entry.place()?;
        Some(Ref { owner, seq: seq.0, state: self.state_at(seq, place.lsn)? })
    }

    /// The read that the next message to be dead-lettered needs; `None` if its body is in memory or being read.
    pub(crate) fn read_dying(&mut self, read_ahead_bytes: u32) -> Option<(Place, u32)> {
        let next = self.dying.next()?;
        if next.entry.message.is_some() || self.reading_dying.is_some() {
            return None;
        }
        let (reading, first, len) = Reading::plan(self.dying.waiting(), read_ahead_bytes);
        self.reading_dying = Some(reading);
        Some((first, len))
    }

    /// The bytes that [`Next::Read`] asked for, beginning at `start`.
    ///
    /// # Errors
    /// A text for the operator if a record is not what it should be.
    pub(crate) fn on_read(
        &mut self,
        start: Lsn,
        data: &Bytes,
        open_record: impl Fn(Lsn, &Bytes) -> Option<Bytes>,
    ) -> Result<(), &'static str> {
        let is_for = |reading: &mut Reading| reading.wanted.first().is_some_and(|(_, place)| place.lsn == start);
        let reading = self.reading_dying.take_if(is_for).or_else(|| self.reading.take());
        let Some(Reading { wanted }) = reading else { return Ok(()) };
        for (index, (seq, place)) in wanted.into_iter().enumerate() {
            let Some(at) = place.lsn.0.checked_sub(start.0).and_then(|at| usize::try_from(at).ok()) else { continue };
            let end = at + place.len as usize;
            if end > data.len() {
                // Without its first record a read would be asked for again without end.
                if index == 0 {
                    return Err("a record is cut short");
                }
                continue;
            }
            let payload = open_record(place.lsn, &data.slice(at..end)).ok_or("a record is damaged")?;
            let Some(entry) = self.find_mut(seq) else { continue };
            if entry.message.is_none() && entry.place().is_some() {
                let message = Message::from_payload(payload).ok_or("a record does not hold a message")?;
                let bytes = message.memory_bytes();
                entry.message = Some(Arc::new(message));
                self.body_bytes += bytes;
            }
        }
        Ok(())
    }

    /// The state of a message if its record is at `lsn`.
    pub(crate) fn state_at(&self, seq: QueueSeq, lsn: Lsn) -> Option<RefState> {
        let entry = self.find(seq)?;
        let dying = self.dying.get(seq).map_or(0, |dead| dead.reason.code());
        let state =
            RefState { priority: entry.priority(), size: entry.size(), dying, ..RefState::from_flags(entry.flags()) };
        (entry.place()?.lsn == lsn).then_some(state)
    }

    /// A message's record moved.
    pub(crate) fn on_moved(&mut self, seq: QueueSeq, from: Lsn, to: Place) {
        if let Some(entry) = self.find_mut(seq)
            && entry.place().is_some_and(|place| place.lsn == from)
        {
            entry.set_place(to);
        }
    }

    /// The message that is next.
    fn head(&self) -> Option<&Entry> {
        match (self.returned.first_key_value(), self.ready.front()) {
            (Some(_), Some(ready)) if is_planted(Mutant::RequeueAtTail) => Some(ready),
            (Some((seq, returned)), Some(ready)) => Some(if *seq < ready.seq() { returned } else { ready }),
            (Some((_, entry)), None) | (None, Some(entry)) => Some(entry),
            (None, None) => None,
        }
    }

    fn pop_head(&mut self) -> Option<Entry> {
        let seq = self.head()?.seq();
        match self.ready.front() {
            Some(ready) if ready.seq() == seq => self.ready.pop_front(),
            _ => self.returned.remove(&seq),
        }
    }

    /// Plans a read of the next messages that lie behind each other in the log, beginning with the next one.
    fn start_reading(&mut self, read_ahead_bytes: u32) -> Next {
        let head = self.head().expect("there is a next message").seq();
        let (reading, first, len) = if self.returned.contains_key(&head) {
            Reading::plan(self.returned.values(), read_ahead_bytes)
        } else {
            Reading::plan(self.ready.iter(), read_ahead_bytes)
        };
        self.reading = Some(reading);
        Next::Read { first, len }
    }

    fn find(&self, seq: QueueSeq) -> Option<&Entry> {
        if let Some(at) = self.position(seq) {
            return Some(&self.ready[at]);
        }
        let unacked = self.unacked.get(seq.0).map(|unacked| &unacked.entry);
        unacked.or_else(|| self.returned.get(&seq)).or_else(|| self.dying.get(seq).map(|dead| &dead.entry))
    }

    fn find_mut(&mut self, seq: QueueSeq) -> Option<&mut Entry> {
        if let Some(at) = self.position(seq) {
            return Some(&mut self.ready[at]);
        }
        if let Some(unacked) = self.unacked.get_mut(seq.0) {
            return Some(&mut unacked.entry);
        }
        if let Some(entry) = self.returned.get_mut(&seq) {
            return Some(entry);
        }
        self.dying.get_mut(seq).map(|dead| &mut dead.entry)
    }

    /// Where in `ready` a message is. Without gaps (recovery leaves some) that is a subtraction.
    fn position(&self, seq: QueueSeq) -> Option<usize> {
        let first = self.ready.front()?.seq();
        let guess = usize::try_from(seq.0.checked_sub(first.0)?).ok()?;
        if self.ready.get(guess).is_some_and(|entry| entry.seq() == seq) {
            return Some(guess);
        }
        self.ready.binary_search_by_key(&seq, |entry| entry.seq()).ok()
    }

    /// Checks the queue's invariants; walks all of its messages.
    ///
    /// # Panics
    /// If one is broken.
    pub(crate) fn check_invariants(&self) {
        self.consumers.check_invariants();
        let mut bytes = 0;
        let mut last = None;
        for entry in &self.ready {
            assert!(last.is_none_or(|last| last < entry.seq()), "ready messages are in order");
            last = Some(entry.seq());
            bytes += entry.memory_bytes();
        }
        for (seq, entry) in &self.returned {
            assert_eq!(*seq, entry.seq(), "a returned message is kept under its number");
            assert!(entry.is_redelivered(), "a returned message was delivered");
            bytes += entry.memory_bytes();
        }
        for (seq, unacked) in self.unacked.iter() {
            assert_eq!(seq, unacked.entry.seq().0, "an unacked message is kept under its number");
            bytes += unacked.entry.memory_bytes();
        }
        self.dying.check_invariants();
        bytes += self.dying.iter().map(|dead| dead.entry.memory_bytes()).sum::<usize>();
        assert_eq!(bytes, self.body_bytes, "bytes in memory are counted");
    }
}
