//! Who consumes from a queue, and whose turn it is.

mod image;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cmp::Reverse;
use slotmap::{SlotMap, new_key_type};

use crate::ids::{ChannelNumber, ConnectionId};
use crate::mutants::{Mutant, is_planted};
use crate::queue::quorum::ConsumerId;

pub(crate) use image::{ConsumerImage, Image};

new_key_type! {
    /// A consumer of one queue. A key of a consumer that has gone never finds another one.
    pub(crate) struct ConsumerKey;
}

/// Whose a consumer of a classic queue is, or who asked it for one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subscriber {
    /// That of a channel of this node.
    Channel {
        /// On which connection.
        connection: ConnectionId,
        /// On which of its channels.
        channel: ChannelNumber,
        /// Which of the channel's consumers it is: the channel's own index, handed back with each delivery. Means nothing for who asked
        /// for one message.
        index: u32,
    },
    /// That of a session of another node.
    Guest(ConsumerId),
}

impl Subscriber {
    /// A channel of this node that asks for one message.
    pub(crate) fn asker(connection: ConnectionId, channel: ChannelNumber) -> Self {
        Self::Channel { connection, channel, index: 0 }
    }
}

/// One consumer of a queue.
#[derive(Debug)]
pub(crate) struct Consumer<W = Subscriber> {
    /// Whose it is.
    pub(crate) who: W,
    /// Whether deliveries count as acked once sent.
    pub(crate) no_ack: bool,
    /// Whether nobody else may consume beside it.
    pub(crate) exclusive: bool,
    /// How many deliveries may be unacked; 0 is any number. Meaningless with `no_ack`.
    pub(crate) prefetch: u32,
    /// How many more deliveries it has been granted, whatever is unacked; `None` if nobody grants them one by one.
    credit: Option<u32>,
    /// Whoever has a higher one gets all messages it is willing to take (RabbitMQ docs: Consumer Priorities).
    priority: i64,
    /// How many deliveries are unacked.
    unacked: u32,
    /// Whether its channel or connection cannot take more at the moment.
    paused: bool,
    /// Whether it stands in the ring.
    in_ring: bool,
    /// Whether it first has to settle what it had for too long.
    barred: bool,
    /// Whether nobody can tell if it is still there.
    suspected: bool,
    /// When it came, among the queue's consumers.
    arrival: u64,
}

impl<W> Consumer<W> {
    /// A consumer with nothing delivered yet.
    pub(crate) fn new(who: W, no_ack: bool, exclusive: bool, prefetch: u32) -> Self {
        Self {
            who,
            no_ack,
            exclusive,
            prefetch,
            credit: None,
            priority: 0,
            unacked: 0,
            paused: false,
            in_ring: false,
            barred: false,
            suspected: false,
            arrival: 0,
        }
    }

    /// The same with a priority other than 0.
    pub(crate) fn with_priority(self, priority: i64) -> Self {
        Self { priority, ..self }
    }

    /// The same, but it gets only so many deliveries as it is granted.
    pub(crate) fn with_credit(self, credit: u32) -> Self {
        Self { credit: Some(credit), ..self }
    }

    /// How many more deliveries it has been granted; `None` if nobody grants them one by one.
    pub(crate) fn credit(&self) -> Option<u32> {
        self.credit
    }

    /// Whoever has a higher one gets all messages it is willing to take.
    pub(crate) fn priority(&self) -> i64 {
        self.priority
    }

    /// How many deliveries are unacked.
    pub(crate) fn unacked(&self) -> u32 {
        self.unacked
    }

    /// Whether nobody can tell if it is still there.
    pub(crate) fn is_suspected(&self) -> bool {
        self.suspected
    }

    /// Whether it first has to settle what it had for too long.
    pub(crate) fn is_barred(&self) -> bool {
        self.barred
    }

    /// The same, but it gets nothing before [`Consumers::admit`].
    pub(crate) fn barred(self) -> Self {
        Self { barred: true, ..self }
    }

    /// Whether it may get a message.
    fn is_willing(&self) -> bool {
        let has_room = match self.credit {
            Some(credit) => credit > 0,
            None => self.no_ack || self.prefetch == 0 || self.unacked < self.prefetch,
        };
        has_room && !self.paused && self.is_electable()
    }

    /// Whether it may be the single active one.
    fn is_electable(&self) -> bool {
        !self.barred && !self.suspected
    }

    /// Counts a delivery to it.
    fn on_delivered(&mut self) {
        if !self.no_ack {
            self.unacked += 1;
        }
        self.credit = self.credit.map(|credit| credit.saturating_sub(1));
    }
}

/// All consumers of a queue. Those that may get a message stand in the ring of their priority; the one in front of the highest ring
/// is next and then goes to the back (round robin, RabbitMQ docs: Consumers).
///
/// Where a single one is to be active, nobody else is next (RabbitMQ docs: Single Active Consumer). As RabbitMQ's quorum queues have
/// it, that is the one with the highest priority, and among those the oldest; one with a higher priority that comes later takes over
/// once all that the active one has is settled, and until then nobody gets anything, so that the order is kept. RabbitMQ's classic
/// queues choose by chance and ignore priorities.
#[derive(Debug)]
pub(crate) struct Consumers<W = Subscriber> {
    by_key: SlotMap<ConsumerKey, Consumer<W>>,
    /// Highest priority first. Nearly always one.
    rings: Vec<Ring>,
    /// `None` if all may be active.
    single: Option<Single>,
    /// How many consumers have come.
    arrivals: u64,
}

/// Who is active where only one may be.
#[derive(Debug, Default)]
struct Single {
    /// `None` if nobody is there who may.
    active: Option<ConsumerKey>,
    /// Whether somebody else waits for the active one to settle what it has.
    is_leaving: bool,
    /// Whether a higher priority makes a consumer the active one.
    heeds_priority: bool,
}

/// The willing consumers of one priority.
#[derive(Debug)]
struct Ring {
    priority: i64,
    /// May hold keys of consumers that are not willing any more; they are dropped when they come to the front.
    keys: VecDeque<ConsumerKey>,
}

impl<W> Default for Consumers<W> {
    fn default() -> Self {
        Self { by_key: SlotMap::default(), rings: Vec::new(), single: None, arrivals: 0 }
    }
}

impl<W> Consumers<W> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Lets a single one be active at a time: the oldest, or, where priorities count for that, the oldest of the highest.
    pub(crate) fn make_single_active(&mut self, heeds_priority: bool) {
        self.single = Some(Single { heeds_priority, ..Single::default() });
    }

    /// Whether a single one is active at a time.
    pub(crate) fn is_single_active(&self) -> bool {
        self.single.is_some()
    }

    /// Whether a consumer may be given messages: always, unless another one is the single active one.
    pub(crate) fn is_active(&self, key: ConsumerKey) -> bool {
        self.single.as_ref().is_none_or(|single| single.active == Some(key))
    }

    /// Whether one of them is exclusive.
    pub(crate) fn has_exclusive(&self) -> bool {
        self.by_key.values().any(|consumer| consumer.exclusive)
    }

    /// The only one that gets messages, if it is exclusive or the single active one.
    pub(crate) fn only(&self) -> Option<&Consumer<W>> {
        match &self.single {
            Some(single) => single.active.and_then(|key| self.by_key.get(key)),
            None => self.by_key.values().find(|consumer| consumer.exclusive),
        }
    }

    /// How many messages they would take together at the moment.
    pub(crate) fn credit(&self) -> u64 {
        let credit = |consumer: &Consumer<W>| match consumer.prefetch {
            _ if !consumer.is_willing() => 0,
            _ if consumer.credit.is_some() => u64::from(consumer.credit.unwrap_or(0)),
            0 => u64::MAX,
            _ if consumer.no_ack => u64::MAX,
            prefetch => u64::from(prefetch - consumer.unacked),
        };
        if let Some(single) = &self.single {
            let active = single.active.filter(|_| !single.is_leaving);
            return active.and_then(|key| self.by_key.get(key)).map_or(0, credit);
        }
        self.by_key.values().map(credit).fold(0, u64::saturating_add)
    }

    /// How many ever came.
    pub(crate) fn arrivals(&self) -> u64 {
        self.arrivals
    }

    /// One of them.
    pub(crate) fn get(&self, key: ConsumerKey) -> Option<&Consumer<W>> {
        self.by_key.get(key)
    }

    /// All of them, oldest slot first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConsumerKey, &Consumer<W>)> {
        self.by_key.iter()
    }

    /// Adds one at the back of its ring.
    pub(crate) fn add(&mut self, mut consumer: Consumer<W>) -> ConsumerKey {
        let priority = consumer.priority;
        consumer.arrival = self.arrivals;
        self.arrivals += 1;
        if let Err(at) = self.ring_at(priority) {
            self.rings.insert(at, Ring { priority, keys: VecDeque::new() });
        }
        let key = self.by_key.insert(consumer);
        self.enter_ring(key);
        self.elect();
        key
    }

    /// Removes one. What was delivered to it stays unacked.
    pub(crate) fn remove(&mut self, key: ConsumerKey) -> Option<Consumer<W>> {
        let consumer = self.by_key.remove(key)?;
        if let Ok(at) = self.ring_at(consumer.priority) {
            self.rings[at].keys.retain(|other| *other != key);
            if !self.by_key.values().any(|other| other.priority == consumer.priority) {
                self.rings.remove(at);
            }
        }
        self.elect();
        Some(consumer)
    }

    /// The one whose turn it is.
    pub(crate) fn front(&mut self) -> Option<(ConsumerKey, &Consumer<W>)> {
        if let Some(single) = &self.single {
            let key = single.active.filter(|_| !single.is_leaving)?;
            let consumer = self.by_key.get(key).filter(|consumer| consumer.is_willing())?;
            return Some((key, consumer));
        }
        for ring in &mut self.rings {
            while let Some(&key) = ring.keys.front() {
                if self.by_key.get(key).is_some_and(Consumer::<W>::is_willing) {
                    return Some((key, &self.by_key[key]));
                }
                ring.keys.pop_front();
                if let Some(consumer) = self.by_key.get_mut(key) {
                    consumer.in_ring = false;
                }
            }
        }
        None
    }

    /// Counts a delivery to the one that [`Consumers::front`] named, and gives the turn to the next.
    pub(crate) fn rotate(&mut self) {
        if let Some(single) = &self.single {
            if let Some(consumer) = single.active.and_then(|key| self.by_key.get_mut(key)) {
                consumer.on_delivered();
            }
            return;
        }
        let Some(key) = self.rings.iter_mut().find_map(|ring| ring.keys.pop_front()) else { return };
        let Some(consumer) = self.by_key.get_mut(key) else { return };
        consumer.in_ring = false;
        consumer.on_delivered();
        self.enter_ring(key);
    }

    /// Takes one out of the ring until [`Consumers::resume`].
    pub(crate) fn pause(&mut self, key: ConsumerKey) {
        if let Some(consumer) = self.by_key.get_mut(key) {
            consumer.paused = true;
        }
    }

    /// Ends a pause.
    pub(crate) fn resume(&mut self, key: ConsumerKey) {
        if let Some(consumer) = self.by_key.get_mut(key) {
            consumer.paused = false;
            self.enter_ring(key);
        }
    }

    /// Delivers to a consumer that was barred.
    pub(crate) fn admit(&mut self, key: ConsumerKey) {
        if let Some(consumer) = self.by_key.get_mut(key) {
            consumer.barred = false;
            self.enter_ring(key);
            self.elect();
        }
    }

    /// Delivers nothing to a consumer until [`Consumers::admit`].
    pub(crate) fn bar(&mut self, key: ConsumerKey) {
        if let Some(consumer) = self.by_key.get_mut(key) {
            consumer.barred = true;
            self.elect();
        }
    }

    /// Nobody can tell whether these consumers are still there, or somebody can again. What they have stays their own.
    pub(crate) fn set_suspected(&mut self, keys: &[ConsumerKey], is_suspected: bool) {
        for &key in keys {
            if let Some(consumer) = self.by_key.get_mut(key) {
                consumer.suspected = is_suspected;
                self.enter_ring(key);
            }
        }
        self.elect();
    }

    /// Grants a consumer so many more deliveries, whatever it had been granted before.
    pub(crate) fn set_credit(&mut self, key: ConsumerKey, credit: u32) {
        if let Some(consumer) = self.by_key.get_mut(key) {
            consumer.credit = Some(credit);
            self.enter_ring(key);
        }
    }

    /// Counts a delivery that a consumer had before it came.
    pub(crate) fn on_had(&mut self, key: ConsumerKey) {
        if let Some(consumer) = self.by_key.get_mut(key) {
            consumer.on_delivered();
            // It may have more than a consumer gets here.
            if consumer.prefetch > 0 {
                consumer.prefetch = consumer.prefetch.max(consumer.unacked);
            }
        }
    }

    /// A delivery to this consumer is unacked no more.
    pub(crate) fn on_settled(&mut self, key: ConsumerKey) {
        if let Some(consumer) = self.by_key.get_mut(key) {
            assert!(consumer.unacked > 0, "a settled delivery was counted");
            consumer.unacked -= 1;
            self.enter_ring(key);
            if self.single.as_ref().is_some_and(|single| single.is_leaving) {
                self.elect();
            }
        }
    }

    /// Finds out who is to be the single active one.
    fn elect(&mut self) {
        let Some(single) = &mut self.single else { return };
        let heeds_priority = single.heeds_priority;
        let rank = |consumer: &Consumer<W>| if heeds_priority { consumer.priority } else { 0 };
        let candidates = self.by_key.iter().filter(|(_, consumer)| consumer.is_electable());
        let best = candidates.max_by_key(|(_, consumer)| (rank(consumer), Reverse(consumer.arrival)));
        let active = single.active.and_then(|key| self.by_key.get(key)).filter(|active| !active.barred);
        // What one has that may still be there would be done by two.
        if active.is_some_and(|active| active.suspected && active.unacked > 0) {
            single.is_leaving = true;
            return;
        }
        let active = active.filter(|active| !active.suspected);
        let Some((key, best)) = best else {
            *single = Single { heeds_priority, ..Single::default() };
            return;
        };
        if active.is_none() && self.arrivals > 1 && is_planted(Mutant::SacNoneActive) {
            single.active = None;
            return;
        }
        if is_planted(Mutant::TakeoverForgotten) && active.is_some_and(|active| rank(best) > rank(active)) {
            single.is_leaving = true;
            return;
        }
        single.is_leaving = active.is_some_and(|active| rank(best) > rank(active) && active.unacked > 0);
        if active.is_none_or(|active| rank(best) > rank(active) && active.unacked == 0) {
            single.active = Some(key);
        }
    }

    /// Lets a willing consumer stand at the back of its ring, once.
    fn enter_ring(&mut self, key: ConsumerKey) {
        if self.single.is_some() {
            return;
        }
        let consumer = &mut self.by_key[key];
        if consumer.is_willing() && !consumer.in_ring {
            consumer.in_ring = true;
            let priority = consumer.priority;
            let at = self.ring_at(priority).expect("each consumer's priority has a ring");
            self.rings[at].keys.push_back(key);
        }
    }

    /// Where the ring of a priority is, or where it would have to be.
    fn ring_at(&self, priority: i64) -> Result<usize, usize> {
        self.rings.binary_search_by(|ring| priority.cmp(&ring.priority))
    }

    /// Checks that all the willing stand in the rings of their priorities, or that one is active if only one may be.
    ///
    /// # Panics
    /// If not.
    pub(crate) fn check_invariants(&self) {
        if let Some(single) = &self.single {
            let active = single.active.map(|key| self.by_key.get(key).expect("the active consumer is there"));
            if let Some(active) = active.filter(|active| active.suspected) {
                assert!(active.unacked > 0 && single.is_leaving, "a suspected consumer is active for what it has");
                return;
            }
            let may = Consumer::<W>::is_electable;
            assert_eq!(active.is_some(), self.by_key.values().any(may), "one consumer is active if any may be");
            assert!(active.is_none_or(may), "a barred consumer is not active");
            let rank = |consumer: &Consumer<W>| if single.heeds_priority { consumer.priority } else { 0 };
            let highest = self.by_key.values().filter(|consumer| may(consumer)).map(rank).max();
            let is_highest = active.is_none_or(|active| Some(rank(active)) == highest);
            assert_eq!(is_highest, !single.is_leaving, "the active consumer gives way to a higher priority");
            assert!(active.is_none_or(|active| is_highest || active.unacked > 0), "it gives way once all is settled");
        }
        for (key, consumer) in &self.by_key {
            let ring = self.ring_at(consumer.priority).expect("each consumer's priority has a ring");
            let standing = self.rings[ring].keys.iter().filter(|other| **other == key).count();
            assert_eq!(standing, usize::from(consumer.in_ring), "the ring and consumer {key:?} agree");
            let must_stand = consumer.is_willing() && self.single.is_none();
            assert!(!must_stand || consumer.in_ring, "willing consumer {key:?} stands in the ring");
            assert!(
                consumer.no_ack
                    || consumer.credit.is_some()
                    || consumer.prefetch == 0
                    || consumer.unacked <= consumer.prefetch,
                "consumer {key:?} has {} unacked of {}",
                consumer.unacked,
                consumer.prefetch
            );
        }
    }
}
