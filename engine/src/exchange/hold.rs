//! The hold of a delayed exchange: messages that wait for their time, ordered by it.
//!
//! A hold is an owner in the log as a queue is: persistent messages are recovered into it, and bodies beyond a budget are dropped
//! once they are written and read back when they are due. A message leaves when its time has come or somebody takes it back.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::ids::{Lsn, QueueId, QueueSeq};
use crate::message::Message;
use crate::storage::{Place, RefFlags, RefState, payloads};

/// The messages that one delayed exchange holds back.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) id: QueueId,
    /// Whether persistent messages are logged.
    pub(crate) durable: bool,
    next_seq: QueueSeq,
    held: BTreeMap<QueueSeq, Held>,
    /// When each is due, in milliseconds since 1970.
    order: BTreeSet<(u64, QueueSeq)>,
    /// Bodies over the budget that may be dropped once the log has them, in order of arrival.
    droppable: VecDeque<(QueueSeq, Lsn)>,
    /// Bytes of messages in memory.
    body_bytes: usize,
    /// Bytes of bodies, in memory or not.
    message_bytes: u64,
    /// What is being read from the log.
    reading: Option<Reading>,
    /// Recovered messages, whose ids are not known until they are read, in order.
    unread: VecDeque<QueueSeq>,
    /// Whether they are being read for their ids.
    is_searching: bool,
}

/// A read under way.
#[derive(Debug)]
struct Reading {
    wanted: Vec<(QueueSeq, Place)>,
    /// Only for the ids.
    is_search: bool,
}

/// A message that waits.
#[derive(Debug)]
struct Held {
    due_ms: u64,
    /// The message, if it is in memory.
    message: Option<Arc<Message>>,
    /// Its record, if it has one.
    place: Option<Place>,
    flags: RefFlags,
    /// Bytes of its body.
    size: u32,
    /// A digest of its `message-id`, if it is known and there is one.
    message_id: Option<u64>,
}

/// A message that left the hold.
#[derive(Debug)]
pub(crate) struct DueMessage {
    pub(crate) seq: QueueSeq,
    /// `None` if it was taken back without having been read.
    pub(crate) message: Option<Arc<Message>>,
    pub(crate) place: Option<Place>,
    /// Whether the log would recover it.
    pub(crate) recoverable: bool,
}

/// What the hold wants done next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing: it is empty, or a read is under way.
    Idle,
    /// Nothing before the first is due.
    Later,
    /// A message that was due.
    Due(DueMessage),
    /// The next message has to be read: `len` bytes from `first` on.
    Read {
        /// The first record.
        first: Place,
        /// Bytes from its beginning on.
        len: u32,
    },
}

impl Hold {
    /// An empty hold.
    pub(crate) fn new(id: QueueId, durable: bool) -> Self {
        Self {
            id,
            durable,
            next_seq: QueueSeq(1),
            held: BTreeMap::new(),
            order: BTreeSet::new(),
            droppable: VecDeque::new(),
            body_bytes: 0,
            message_bytes: 0,
            reading: None,
            unread: VecDeque::new(),
            is_searching: false,
        }
    }

    /// The number the next message will get.
    pub(crate) fn next_seq(&self) -> QueueSeq {
        self.next_seq
    }

    /// Goes on numbering from at least here, after recovery.
    pub(crate) fn continue_from(&mut self, seq: QueueSeq) {
        self.next_seq = self.next_seq.max(seq);
    }

    /// How many messages wait.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// How many of them survive a restart.
    pub(crate) fn kept_messages(&self) -> u64 {
        let is_kept = |held: &&Held| held.place.is_some() && !held.flags.contains(RefFlags::TRANSIENT);
        self.held.values().filter(is_kept).count() as u64
    }

    /// Bytes of the bodies of all that wait.
    pub(crate) fn message_bytes(&self) -> u64 {
        self.message_bytes
    }

    /// Bytes of messages in memory.
    pub(crate) fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// When the first is due, in milliseconds since 1970.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        self.order.first().map(|(due_ms, _)| *due_ms)
    }

    /// Holds a message back.
    pub(crate) fn hold(
        &mut self,
        due_ms: u64,
        message: Arc<Message>,
        place: Option<Place>,
        flags: RefFlags,
        cache_bytes: usize,
    ) {
        let seq = self.next_seq;
        self.body_bytes += message.memory_bytes();
        if let Some(place) = place
            && self.body_bytes > cache_bytes
        {
            self.droppable.push_back((seq, place.lsn));
        }
        let size = u32::try_from(message.body().len()).unwrap_or(u32::MAX);
        let message_id = message.raw_properties().message_id().map(digest);
        self.insert(seq, Held { due_ms, message: Some(message), place, flags, size, message_id });
    }

    /// Puts back a message that the log had kept.
    pub(crate) fn recover(&mut self, seq: QueueSeq, place: Place, state: RefState) {
        assert!(seq >= self.next_seq, "recovered messages come in order: {seq} after {}", self.next_seq);
        let RefState { flags, size, expires_at, .. } = state;
        self.insert(seq, Held { due_ms: expires_at, message: None, place: Some(place), flags, size, message_id: None });
        self.unread.push_back(seq);
    }

    fn insert(&mut self, seq: QueueSeq, held: Held) {
        self.next_seq = seq.next();
        self.message_bytes += u64::from(held.size);
        self.order.insert((held.due_ms, seq));
        self.held.insert(seq, held);
    }

    /// What is to be done at a time on the wall clock.
    pub(crate) fn next(&mut self, wall_ms: u64, read_ahead_bytes: u32) -> Next {
        let Some(&(due_ms, seq)) = self.order.first() else { return Next::Idle };
        if due_ms > wall_ms {
            return match &self.reading {
                Some(_) => Next::Later,
                None if self.is_searching => self.search_on(read_ahead_bytes).unwrap_or(Next::Later),
                None => Next::Later,
            };
        }
        if self.held[&seq].message.is_none() {
            return match &self.reading {
                Some(_) => Next::Idle,
                None => self.start_reading(false, read_ahead_bytes).expect("what is not in memory is in the log"),
            };
        }
        self.take(seq).map_or(Next::Idle, Next::Due)
    }

    /// Takes a message out, due or not.
    pub(crate) fn take(&mut self, seq: QueueSeq) -> Option<DueMessage> {
        let Held { due_ms, message, place, flags, size, .. } = self.held.remove(&seq)?;
        self.order.remove(&(due_ms, seq));
        self.message_bytes -= u64::from(size);
        self.body_bytes -= message.as_ref().map_or(0, |message| message.memory_bytes());
        let recoverable = place.is_some() && !flags.contains(RefFlags::TRANSIENT);
        Some(DueMessage { seq, message, place, recoverable })
    }

    /// Takes the message out that would be due first, for deleting the exchange.
    pub(crate) fn take_first(&mut self) -> Option<DueMessage> {
        let (_, seq) = *self.order.first()?;
        self.take(seq)
    }

    /// The messages that wait, first due first: number, time in milliseconds since 1970, bytes of the body, and the message if it is
    /// in memory.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (QueueSeq, u64, u32, Option<&Arc<Message>>)> {
        self.order.iter().map(|(due_ms, seq)| {
            let held = &self.held[seq];
            (*seq, *due_ms, held.size, held.message.as_ref())
        })
    }

    /// Whether bodies wait to be dropped until the log has them.
    pub(crate) fn has_droppable(&self) -> bool {
        !self.droppable.is_empty()
    }

    /// Drops the bodies over the budget that the log has, up to `written`.
    pub(crate) fn drop_written_bodies(&mut self, written: Lsn) {
        while let Some(&(seq, lsn)) = self.droppable.front() {
            if let Some(held) = self.held.get_mut(&seq) {
                // A record that moved since is written where it was first, at least.
                let end = held.place.map_or(lsn, |place| if place.lsn == lsn { place.end() } else { lsn });
                if end > written {
                    break;
                }
                self.body_bytes -= held.message.take().map_or(0, |message| message.memory_bytes());
            }
            self.droppable.pop_front();
        }
    }

    /// Looks into all messages whose ids are not known, which those recovered are, before [`Hold::find`] can answer. Whether it has to.
    pub(crate) fn search(&mut self) -> bool {
        while let Some(seq) = self.unread.front() {
            if self.held.get(seq).is_some_and(|held| held.message.is_none()) {
                break;
            }
            self.unread.pop_front();
        }
        self.is_searching = !self.unread.is_empty();
        self.is_searching
    }

    /// The messages with this `message-id`, as far as ids are known; see [`Hold::search`].
    pub(crate) fn find(&self, message_id: &[u8]) -> Vec<QueueSeq> {
        let digest = Some(digest(message_id));
        self.held.iter().filter(|(_, held)| held.message_id == digest).map(|(seq, _)| *seq).collect()
    }

    /// Plans a read of messages that lie behind each other in the log, beginning with the first.
    fn start_reading(&mut self, is_search: bool, read_ahead_bytes: u32) -> Option<Next> {
        let mut wanted: Vec<(QueueSeq, Place)> = Vec::new();
        let mut want = |seq: &QueueSeq| {
            let held = self.held.get(seq)?;
            let place = held.place.filter(|_| held.message.is_none())?;
            if let [(_, first), .., (_, last)] | [(_, first @ last)] = &wanted[..]
                && (place.lsn < last.end() || place.end().0 > first.lsn.0 + u64::from(read_ahead_bytes))
            {
                return None;
            }
            wanted.push((*seq, place));
            Some(())
        };
        if is_search {
            self.unread.iter().try_for_each(&mut want);
        } else {
            self.order.iter().try_for_each(|(_, seq)| want(seq));
        }
        let (&(_, first), &(_, last)) = (wanted.first()?, wanted.last()?);
        let len = u32::try_from(last.end().0 - first.lsn.0).expect("a read is bounded by the read-ahead or one record");
        self.reading = Some(Reading { wanted, is_search });
        Some(Next::Read { first, len })
    }

    /// Reads on for [`Hold::search`]; `None` once there is nothing left to look into.
    fn search_on(&mut self, read_ahead_bytes: u32) -> Option<Next> {
        if self.search() { self.start_reading(true, read_ahead_bytes) } else { None }
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
        let Some(Reading { wanted, is_search }) = self.reading.take() else { return Ok(()) };
        for read in payloads(wanted, start, data, open_record) {
            let (seq, payload) = read?;
            let Some(held) = self.held.get_mut(&seq) else { continue };
            if held.message.is_none() {
                let message = Message::from_payload(payload).ok_or("a record does not hold a message")?;
                held.message_id = message.raw_properties().message_id().map(digest);
                if !is_search {
                    self.body_bytes += message.memory_bytes();
                    held.message = Some(Arc::new(message));
                }
            }
            if is_search {
                self.unread.pop_front();
            }
        }
        Ok(())
    }

    /// The state of a message if its record is at `lsn`.
    pub(crate) fn state_at(&self, seq: QueueSeq, lsn: Lsn) -> Option<RefState> {
        let held = self.held.get(&seq)?;
        let state = RefState { size: held.size, expires_at: held.due_ms, ..RefState::from_flags(held.flags) };
        (held.place?.lsn == lsn).then_some(state)
    }

    /// A message's record moved.
    pub(crate) fn on_moved(&mut self, seq: QueueSeq, from: Lsn, to: Place) {
        if let Some(held) = self.held.get_mut(&seq)
            && held.place.is_some_and(|place| place.lsn == from)
        {
            held.place = Some(to);
        }
    }

    /// Checks the hold's invariants; walks all of its messages.
    ///
    /// # Panics
    /// If one is broken.
    pub(crate) fn check_invariants(&self) {
        assert_eq!(self.held.len(), self.order.len(), "each message waits once");
        let (mut memory, mut bytes) = (0, 0);
        for (seq, held) in &self.held {
            assert!(self.order.contains(&(held.due_ms, *seq)), "message {seq} has no turn");
            assert!(held.message.is_some() || held.place.is_some(), "message {seq} is in memory, in the log, or both");
            assert!(*seq < self.next_seq, "message {seq} comes later");
            memory += held.message.as_ref().map_or(0, |message| message.memory_bytes());
            bytes += u64::from(held.size);
        }
        assert_eq!(memory, self.body_bytes, "bytes in memory are counted");
        assert_eq!(bytes, self.message_bytes, "bytes of bodies are counted");
    }
}

/// Ids are compared by a digest, which costs the same however long they are; nobody can make two with the same one.
fn digest(message_id: &[u8]) -> u64 {
    let digest = Sha256::digest(message_id);
    u64::from_be_bytes(*digest.first_chunk().expect("a digest has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::amqp::{RawProperties, Routing};

    fn message(body: &[u8]) -> Arc<Message> {
        Arc::new(Message::new(&Routing::default(), &RawProperties::empty(), Bytes::copy_from_slice(body)))
    }

    fn place(lsn: u64) -> Place {
        Place { lsn: Lsn(lsn), len: 100, shares: 1 }
    }

    fn body(next: Next) -> Vec<u8> {
        match next {
            Next::Due(DueMessage { message: Some(message), .. }) => message.body().to_vec(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_leave_by_time_and_those_of_one_time_in_order() {
        let mut hold = Hold::new(QueueId(1), true);
        for (due_ms, text) in [(30, b"c"), (10, b"a"), (10, b"b")] {
            hold.hold(due_ms, message(text), None, RefFlags::NONE, 1000);
        }
        assert!(matches!(hold.next(9, 1000), Next::Later));
        assert_eq!(body(hold.next(10, 1000)), b"a");
        assert_eq!(body(hold.next(10, 1000)), b"b");
        assert!(matches!(hold.next(29, 1000), Next::Later));
        assert_eq!(body(hold.next(31, 1000)), b"c");
        assert!(matches!(hold.next(31, 1000), Next::Idle));
        hold.check_invariants();
    }

    #[test]
    fn bodies_over_the_budget_are_dropped_and_read_back_together() {
        let mut hold = Hold::new(QueueId(1), true);
        for index in 0..3_u8 {
            hold.hold(5, message(&[index]), Some(place(100 * u64::from(index))), RefFlags::NONE, 0);
        }
        hold.drop_written_bodies(Lsn(200));
        hold.check_invariants();
        assert!(hold.has_droppable());
        let Next::Read { first, len } = hold.next(5, 1000) else { panic!() };
        assert_eq!((first, len), (place(0), 200));
        assert!(matches!(hold.next(5, 1000), Next::Idle));
        let payload = |lsn: Lsn| Bytes::copy_from_slice(message(&[u8::try_from(lsn.0 / 100).unwrap()]).payload().0);
        hold.on_read(Lsn(0), &Bytes::from_static(&[0; 200]), |lsn, _| Some(payload(lsn))).unwrap();
        hold.check_invariants();
        for index in 0..3_u8 {
            assert_eq!(body(hold.next(5, 1000)), [index]);
        }
    }

    #[test]
    fn recovered_messages_keep_time_and_number() {
        let mut hold = Hold::new(QueueId(1), true);
        let state = RefState { expires_at: 77, size: 3, ..RefState::default() };
        hold.recover(QueueSeq(4), place(0), state);
        hold.continue_from(QueueSeq(9));
        assert_eq!((hold.next_seq(), hold.next_due_ms(), hold.len()), (QueueSeq(9), Some(77), 1));
        assert_eq!(hold.state_at(QueueSeq(4), Lsn(0)), Some(state));
        assert_eq!(hold.state_at(QueueSeq(4), Lsn(1)), None);
        hold.on_moved(QueueSeq(4), Lsn(0), place(500));
        assert_eq!(hold.state_at(QueueSeq(4), Lsn(500)), Some(state));
        let taken = hold.take(QueueSeq(4)).unwrap();
        assert!(taken.recoverable && taken.message.is_none());
        assert!(hold.take(QueueSeq(4)).is_none());
        hold.check_invariants();
    }

    #[test]
    fn ids_of_recovered_messages_are_read_when_somebody_asks() {
        let named = |id: &'static str| {
            let message_id = Some(crate::amqp::ShortStr::from_static(id));
            let properties = crate::amqp::Properties { message_id, ..crate::amqp::Properties::default() };
            Message::new(&Routing::default(), &RawProperties::from(&properties), Bytes::new())
        };
        let mut hold = Hold::new(QueueId(1), true);
        let state = RefState { expires_at: 77, ..RefState::default() };
        hold.recover(QueueSeq(1), place(0), state);
        hold.recover(QueueSeq(2), place(100), state);
        hold.hold(99, Arc::new(named("b")), None, RefFlags::NONE, 1000);
        assert_eq!(hold.find(b"b"), [QueueSeq(3)]);
        assert!(hold.search());
        let Next::Read { first, len } = hold.next(5, 1000) else { panic!() };
        assert_eq!((first, len), (place(0), 200));
        let payload = |lsn: Lsn| Bytes::copy_from_slice(named(if lsn.0 == 0 { "a" } else { "b" }).payload().0);
        hold.on_read(Lsn(0), &Bytes::from_static(&[0; 200]), |lsn, _| Some(payload(lsn))).unwrap();
        assert!(matches!(hold.next(5, 1000), Next::Later));
        assert!(!hold.search());
        assert_eq!((hold.find(b"a"), hold.find(b"b")), (vec![QueueSeq(1)], vec![QueueSeq(2), QueueSeq(3)]));
        hold.check_invariants();
    }

    proptest! {
        /// Against a sorted list: nothing early, nothing twice, nothing lost.
        #[test]
        fn a_hold_is_a_list_sorted_by_time(steps in proptest::collection::vec((0..3_u8, 0..20_u64), 1..80)) {
            let mut hold = Hold::new(QueueId(1), true);
            let mut model: Vec<(u64, u64)> = Vec::new();
            let mut wall_ms = 0;
            for (what, number) in steps {
                match what {
                    0 | 1 => {
                        let due_ms = wall_ms + number;
                        let seq = hold.next_seq().0;
                        model.push((due_ms, seq));
                        hold.hold(due_ms, message(&seq.to_be_bytes()), None, RefFlags::NONE, 100);
                    }
                    _ => wall_ms += number,
                }
                model.sort_unstable();
                while let Next::Due(due) = hold.next(wall_ms, 1000) {
                    let (due_ms, seq) = model.remove(0);
                    prop_assert!(due_ms <= wall_ms);
                    prop_assert_eq!(due.seq.0, seq);
                }
                prop_assert!(model.first().is_none_or(|(due_ms, _)| *due_ms > wall_ms));
                prop_assert_eq!(hold.len(), model.len());
                hold.check_invariants();
            }
        }
    }
}
