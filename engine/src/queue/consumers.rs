//! Who consumes from a queue, and whose turn it is.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cmp::Reverse;
use slotmap::{SlotMap, new_key_type};

use crate::ids::{ChannelNumber, ConnectionId};
use crate::mutants::{Mutant, is_planted};

new_key_type! {
    /// A consumer of one queue. A key of a consumer that has gone never finds another one.
    pub(crate) struct ConsumerKey;
}

/// One consumer of a queue.
#[derive(Debug)]
pub(crate) struct Consumer {
    /// Whose it is.
    pub(crate) connection: ConnectionId,
    /// On which of its channels.
    pub(crate) channel: ChannelNumber,
    /// Which of the channel's consumers it is: the channel's own index, handed back with each delivery.
    pub(crate) index: u32,
    /// Whether deliveries count as acked once sent.
    pub(crate) no_ack: bool,
    /// Whether nobody else may consume beside it.
    pub(crate) exclusive: bool,
    /// How many deliveries may be unacked; 0 is any number. Meaningless with `no_ack`.
    pub(crate) prefetch: u32,
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
    /// When it came, among the queue's consumers.
    arrival: u64,
}

impl Consumer {
    /// A consumer with nothing delivered yet.
    pub(crate) fn new(
        connection: ConnectionId,
        channel: ChannelNumber,
        index: u32,
        no_ack: bool,
        exclusive: bool,
        prefetch: u32,
    ) -> Self {
        Self {
            connection,
            channel,
            index,
            no_ack,
            exclusive,
            prefetch,
            priority: 0,
            unacked: 0,
            paused: false,
            in_ring: false,
            barred: false,
            arrival: 0,
        }
    }

    /// The same with a priority other than 0.
    pub(crate) fn with_priority(self, priority: i64) -> Self {
        Self { priority, ..self }
    }

    /// The same, but it gets nothing before [`Consumers::admit`].
    pub(crate) fn barred(self) -> Self {
        Self { barred: true, ..self }
    }

    /// Whether it may get a message.
    fn is_willing(&self) -> bool {
        !self.paused && !self.barred && (self.no_ack || self.prefetch == 0 || self.unacked < self.prefetch)
    }
}

/// All consumers of a queue. Those that may get a message stand in the ring of their priority; the one in front of the highest ring
/// is next and then goes to the back (round robin, RabbitMQ docs: Consumers).
///
/// Where a single one is to be active, nobody else is next (RabbitMQ docs: Single Active Consumer). As RabbitMQ's quorum queues have
/// it, that is the one with the highest priority, and among those the oldest; one with a higher priority that comes later takes over
/// once all that the active one has is settled, and until then nobody gets anything, so that the order is kept. RabbitMQ's classic
/// queues choose by chance and ignore priorities.
#[derive(Debug, Default)]
pub(crate) struct Consumers {
    by_key: SlotMap<ConsumerKey, Consumer>,
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

impl Consumers {
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
    pub(crate) fn only(&self) -> Option<&Consumer> {
        match &self.single {
            Some(single) => single.active.and_then(|key| self.by_key.get(key)),
            None => self.by_key.values().find(|consumer| consumer.exclusive),
        }
    }

    /// How many messages they would take together at the moment.
    pub(crate) fn credit(&self) -> u64 {
        let credit = |consumer: &Consumer| match consumer.prefetch {
            _ if !consumer.is_willing() => 0,
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

    /// One of them.
    pub(crate) fn get(&self, key: ConsumerKey) -> Option<&Consumer> {
        self.by_key.get(key)
    }

    /// All of them, oldest slot first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConsumerKey, &Consumer)> {
        self.by_key.iter()
    }

    /// Adds one at the back of its ring.
    pub(crate) fn add(&mut self, mut consumer: Consumer) -> ConsumerKey {
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
    pub(crate) fn remove(&mut self, key: ConsumerKey) -> Option<Consumer> {
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
    pub(crate) fn front(&mut self) -> Option<(ConsumerKey, &Consumer)> {
        if let Some(single) = &self.single {
            let key = single.active.filter(|_| !single.is_leaving)?;
            let consumer = self.by_key.get(key).filter(|consumer| consumer.is_willing())?;
            return Some((key, consumer));
        }
        for ring in &mut self.rings {
            while let Some(&key) = ring.keys.front() {
                if self.by_key.get(key).is_some_and(Consumer::is_willing) {
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
            if let Some(consumer) = single.active.and_then(|key| self.by_key.get_mut(key))
                && !consumer.no_ack
            {
                consumer.unacked += 1;
            }
            return;
        }
        let Some(key) = self.rings.iter_mut().find_map(|ring| ring.keys.pop_front()) else { return };
        let Some(consumer) = self.by_key.get_mut(key) else { return };
        consumer.in_ring = false;
        if !consumer.no_ack {
            consumer.unacked += 1;
        }
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
        let rank = |consumer: &Consumer| if heeds_priority { consumer.priority } else { 0 };
        let candidates = self.by_key.iter().filter(|(_, consumer)| !consumer.barred);
        let best = candidates.max_by_key(|(_, consumer)| (rank(consumer), Reverse(consumer.arrival)));
        let active = single.active.and_then(|key| self.by_key.get(key));
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
            let may = |consumer: &Consumer| !consumer.barred;
            assert_eq!(active.is_some(), self.by_key.values().any(may), "one consumer is active if any may be");
            assert!(active.is_none_or(may), "a barred consumer is not active");
            let rank = |consumer: &Consumer| if single.heeds_priority { consumer.priority } else { 0 };
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
                consumer.no_ack || consumer.prefetch == 0 || consumer.unacked <= consumer.prefetch,
                "consumer {key:?} has {} unacked of {}",
                consumer.unacked,
                consumer.prefetch
            );
        }
    }
}
