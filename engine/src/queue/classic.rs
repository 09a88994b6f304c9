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
//! `ready` holds what was never delivered, in order of `seq`; `returned` what came back, so that it is delivered again in its
//! original place (RabbitMQ docs: Consumer Acknowledgements / Negative Acknowledgement and Requeuing). A message with a record in
//! the log needs no memory for its body: bodies beyond a budget are dropped once they are written, and read back when they are next.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

use super::consumers::{Consumer, ConsumerKey, Consumers};
use super::entry::Entry;
use crate::ids::{ChannelNumber, ConnectionId, Lsn, QueueId, QueueSeq};
use crate::message::Message;
use crate::mutants::{Mutant, is_planted};
use crate::storage::{Place, RefFlags, RefState};
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
        }
    }

    /// Puts back a message that the log had kept. They come in order of `seq`.
    pub(crate) fn recover(&mut self, seq: QueueSeq, place: Place, state: RefState) {
        assert!(seq >= self.next_seq, "recovered messages come in order: {seq} after {}", self.next_seq);
        self.ready.push_back(Entry::new(seq, state.priority, state.size, None, Some(place), state.flags));
        self.next_seq = seq.next();
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
        let (_, Unacked { entry, .. }) = self.unacked.pop_up_to(u64::MAX)?;
        self.body_bytes -= entry.memory_bytes();
        Some(entry)
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
        let Some(Reading { wanted }) = self.reading.take() else { return Ok(()) };
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
        let state = RefState { priority: entry.priority(), size: entry.size(), ..RefState::from_flags(entry.flags()) };
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
        let head = self.head().expect("there is a next message");
        let first = head.place().expect("a body that is not in memory is in the log");
        let mut wanted = alloc::vec![(head.seq(), first)];
        let limit = first.lsn.0 + u64::from(read_ahead_bytes);
        let mut end = first.end();
        let head_seq = head.seq();
        let is_returned = self.returned.contains_key(&head_seq);
        let mut extend = |entry: &Entry| {
            let Some(place) = entry.place() else { return entry.message.is_some() };
            if entry.message.is_some() {
                return true;
            }
            if place.lsn < end || place.end().0 > limit {
                return false;
            }
            wanted.push((entry.seq(), place));
            end = place.end();
            true
        };
        if is_returned {
            for entry in self.returned.values().skip(1) {
                if !extend(entry) {
                    break;
                }
            }
        } else {
            for entry in self.ready.iter().skip(1) {
                if !extend(entry) {
                    break;
                }
            }
        }
        let len = u32::try_from(end.0 - first.lsn.0).expect("a read is bounded by the read-ahead or one record");
        self.reading = Some(Reading { wanted });
        Next::Read { first, len }
    }

    fn find(&self, seq: QueueSeq) -> Option<&Entry> {
        if let Some(at) = self.position(seq) {
            return Some(&self.ready[at]);
        }
        self.unacked.get(seq.0).map(|unacked| &unacked.entry).or_else(|| self.returned.get(&seq))
    }

    fn find_mut(&mut self, seq: QueueSeq) -> Option<&mut Entry> {
        if let Some(at) = self.position(seq) {
            return Some(&mut self.ready[at]);
        }
        if let Some(unacked) = self.unacked.get_mut(seq.0) {
            return Some(&mut unacked.entry);
        }
        self.returned.get_mut(&seq)
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
        assert_eq!(bytes, self.body_bytes, "bytes in memory are counted");
    }
}
