//! A queue's consumers as plain values, for a snapshot: all that decides who is next.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{Consumer, ConsumerKey, Consumers, Ring, Single};

/// All consumers of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image<W> {
    /// In the order in which they came.
    pub(crate) consumers: Vec<ConsumerImage<W>>,
    /// By falling priority: who stands in which order, as positions among the consumers.
    pub(crate) rings: Vec<(i64, Vec<usize>)>,
    /// Where a single one is active at a time: which, and whether somebody waits for it to settle what it has.
    pub(crate) single: Option<(Option<usize>, bool)>,
    /// How many ever came.
    pub(crate) arrivals: u64,
}

/// One of them. It does not ack by itself, and its connection takes all it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConsumerImage<W> {
    pub(crate) who: W,
    pub(crate) prefetch: u32,
    pub(crate) credit: Option<u32>,
    pub(crate) priority: i64,
    pub(crate) unacked: u32,
    pub(crate) is_exclusive: bool,
    pub(crate) is_barred: bool,
    pub(crate) is_suspected: bool,
    pub(crate) arrival: u64,
}

impl<W: Copy> Consumers<W> {
    /// All of it as values.
    pub(crate) fn image(&self) -> Image<W> {
        let mut keys: Vec<(u64, ConsumerKey)> = self.by_key.iter().map(|(key, it)| (it.arrival, key)).collect();
        keys.sort_unstable();
        let position = |key: ConsumerKey| keys.iter().position(|(_, other)| *other == key);
        let consumers = keys.iter().filter_map(|(_, key)| self.by_key.get(*key)).map(|consumer| ConsumerImage {
            who: consumer.who,
            prefetch: consumer.prefetch,
            credit: consumer.credit,
            priority: consumer.priority,
            unacked: consumer.unacked,
            is_exclusive: consumer.exclusive,
            is_barred: consumer.barred,
            is_suspected: consumer.suspected,
            arrival: consumer.arrival,
        });
        let ring = |ring: &Ring| (ring.priority, ring.keys.iter().copied().filter_map(position).collect());
        Image {
            consumers: consumers.collect(),
            rings: self.rings.iter().map(ring).collect(),
            single: self.single.as_ref().map(|single| (single.active.and_then(position), single.is_leaving)),
            arrivals: self.arrivals,
        }
    }

    /// Consumers from values, with their keys in the order of the image; `None` if the values contradict each other. Whether a higher
    /// priority makes one of them the single active one is not among the values.
    pub(crate) fn from_image(image: &Image<W>, heeds_priority: bool) -> Option<(Self, Vec<ConsumerKey>)> {
        let mut consumers = Self { arrivals: image.arrivals, ..Self::default() };
        let mut keys = Vec::new();
        let mut arrived = None;
        for it in &image.consumers {
            if arrived.is_some_and(|before| before >= it.arrival) || it.arrival >= image.arrivals {
                return None;
            }
            arrived = Some(it.arrival);
            let consumer = Consumer::new(it.who, false, it.is_exclusive, it.prefetch).with_priority(it.priority);
            keys.push(consumers.by_key.insert(Consumer {
                credit: it.credit,
                unacked: it.unacked,
                barred: it.is_barred,
                suspected: it.is_suspected,
                arrival: it.arrival,
                ..consumer
            }));
        }
        for (priority, members) in &image.rings {
            if consumers.rings.last().is_some_and(|ring| ring.priority <= *priority) {
                return None;
            }
            let mut ring = Ring { priority: *priority, keys: VecDeque::new() };
            for at in members {
                let consumer = consumers.by_key.get_mut(*keys.get(*at)?)?;
                if consumer.in_ring || consumer.priority != *priority {
                    return None;
                }
                consumer.in_ring = true;
                ring.keys.push_back(keys[*at]);
            }
            consumers.rings.push(ring);
        }
        if consumers.by_key.values().any(|consumer| consumers.ring_at(consumer.priority).is_err()) {
            return None;
        }
        if let Some((active, is_leaving)) = image.single {
            let active = match active {
                Some(at) => Some(*keys.get(at)?),
                None => None,
            };
            consumers.single = Some(Single { active, is_leaving, heeds_priority });
        }
        Some((consumers, keys))
    }
}
