//! What an exchange or a queue has seen, so that it can drop duplicates (LavinMQ docs: Message Deduplication).
//!
//! It is bounded, and in memory only: a restart forgets it.

use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

use bytes::BytesMut;
use sha2::{Digest, Sha256};

use crate::amqp::{FieldValue, RawProperties};
use crate::metadata::Deduplication;
use crate::time::Instant;

/// Which message it is: a digest of what its publisher calls it, so that long names cost no more than short ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MessageIdentity {
    digest: [u8; 16],
    /// How long to remember it, in milliseconds, if the message says so itself (`x-cache-ttl`).
    ttl_ms: Option<u64>,
}

/// The messages of late.
#[derive(Debug)]
pub(crate) struct Deduper {
    settings: Deduplication,
    /// Until when each counts; `None` is until it is pushed out.
    seen: BTreeMap<[u8; 16], Option<Instant>>,
    /// The same, oldest first.
    order: VecDeque<[u8; 16]>,
}

impl Deduper {
    pub(crate) fn new(settings: Deduplication) -> Self {
        Self { settings, seen: BTreeMap::new(), order: VecDeque::new() }
    }

    /// Which message this is. `None` if it does not say.
    pub(crate) fn identify(&self, properties: &RawProperties<&[u8]>) -> Option<MessageIdentity> {
        let value = properties.header(self.settings.header.as_str()?)?;
        if value == FieldValue::Void {
            return None;
        }
        let mut encoded = BytesMut::new();
        value.encode(&mut encoded);
        let mut digest = [0; 16];
        digest.copy_from_slice(&Sha256::digest(&encoded)[..16]);
        let ttl_ms = properties.header("x-cache-ttl").and_then(|ttl| u64::try_from(ttl.as_integer()?).ok());
        Some(MessageIdentity { digest, ttl_ms })
    }

    /// Whether it was here before.
    pub(crate) fn has_seen(&self, identity: MessageIdentity, now: Instant) -> bool {
        self.seen.get(&identity.digest).is_some_and(|until| until.is_none_or(|until| now < until))
    }

    /// It was here. The oldest is forgotten for it if there are too many.
    pub(crate) fn remember(&mut self, identity: MessageIdentity, now: Instant) {
        let ttl_ms = identity.ttl_ms.or(self.settings.ttl_ms);
        let until = ttl_ms.map(|ttl_ms| now + Duration::from_millis(ttl_ms));
        if self.seen.insert(identity.digest, until).is_none() {
            self.order.push_back(identity.digest);
        }
        while self.order.len() > self.settings.size as usize {
            if let Some(oldest) = self.order.pop_front() {
                self.seen.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::{FieldTable, Properties};

    fn deduper(size: u32, ttl_ms: Option<u64>) -> Deduper {
        Deduper::new(Deduplication { size, ttl_ms, header: "id".into() })
    }

    fn properties(headers: FieldTable) -> RawProperties {
        RawProperties::from(&Properties { headers: Some(headers), ..Properties::default() })
    }

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    /// Whether a message is new; if so it is remembered.
    fn is_new(deduper: &mut Deduper, id: i32, now: Instant) -> bool {
        let identity = deduper.identify(&properties(FieldTable::new().with("id", id)).borrowed()).unwrap();
        let is_new = !deduper.has_seen(identity, now);
        deduper.remember(identity, now);
        is_new
    }

    #[test]
    fn duplicates_are_known_until_newer_ones_push_them_out() {
        let mut deduper = deduper(2, None);
        assert!(is_new(&mut deduper, 1, at(0)));
        assert!(!is_new(&mut deduper, 1, at(1_000_000)));
        assert!(is_new(&mut deduper, 2, at(0)));
        assert!(is_new(&mut deduper, 3, at(0)));
        assert!(is_new(&mut deduper, 1, at(0)));
        assert_eq!((deduper.seen.len(), deduper.order.len()), (2, 2));
    }

    #[test]
    fn time_forgets_too() {
        let mut one = deduper(10, Some(100));
        assert!(is_new(&mut one, 1, at(0)));
        assert!(!is_new(&mut one, 1, at(99)));
        assert!(is_new(&mut one, 1, at(199)));
        // A message may have a time of its own.
        let own = properties(FieldTable::new().with("id", 2).with("x-cache-ttl", 500));
        let identity = one.identify(&own.borrowed()).unwrap();
        one.remember(identity, at(0));
        assert!(one.has_seen(identity, at(499)));
        assert!(!one.has_seen(identity, at(500)));
    }

    #[test]
    fn who_does_not_say_is_always_new() {
        let deduper = deduper(10, None);
        assert_eq!(deduper.identify(&RawProperties::empty().borrowed()), None);
        assert_eq!(deduper.identify(&properties(FieldTable::new().with("id", FieldValue::Void)).borrowed()), None);
        let text = deduper.identify(&properties(FieldTable::new().with("id", "1")).borrowed());
        assert_ne!(text, deduper.identify(&properties(FieldTable::new().with("id", 1)).borrowed()));
    }

    #[test]
    fn a_size_of_zero_remembers_nothing() {
        let mut deduper = deduper(0, None);
        assert!(is_new(&mut deduper, 1, at(0)));
        assert!(is_new(&mut deduper, 1, at(0)));
    }
}
