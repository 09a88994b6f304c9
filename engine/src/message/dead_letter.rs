//! Dead letters: the message that is published in place of one that died in a queue.
//!
//! RabbitMQ 4 keeps the history of deaths beside the message and shows it as headers, so that `x-death` from a client means nothing.
//! Here the history is the headers themselves, and a flag of the message says that the broker wrote them.

use alloc::vec::Vec;
use bytes::Bytes;

use super::{FLAG_DEATHS, Message, selected};
use crate::amqp::{FieldTable, FieldValue, LongStr, RawProperties, Routing, ShortStr};
use crate::mutants::{Mutant, is_planted};
use crate::time::Timestamp;

/// Why a message is dead-lettered (RabbitMQ docs: Dead Letter Exchanges).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DeathReason {
    /// A consumer did not want it.
    Rejected,
    /// Its time to live passed.
    Expired,
    /// The queue was too long.
    MaxLength,
    /// It was delivered in vain too often.
    DeliveryLimit,
}

/// A message's end in a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Death<'a> {
    /// The queue's name.
    pub(crate) queue: &'a ShortStr,
    /// Why.
    pub(crate) reason: DeathReason,
    /// When.
    pub(crate) at: Timestamp,
}

const X_DEATH: ShortStr = ShortStr::from_static("x-death");
const COUNT: ShortStr = ShortStr::from_static("count");
const REASON: ShortStr = ShortStr::from_static("reason");
const QUEUE: ShortStr = ShortStr::from_static("queue");
const TIME: ShortStr = ShortStr::from_static("time");
const EXCHANGE: ShortStr = ShortStr::from_static("exchange");
const ROUTING_KEYS: ShortStr = ShortStr::from_static("routing-keys");
const ORIGINAL_EXPIRATION: ShortStr = ShortStr::from_static("original-expiration");

impl DeathReason {
    /// RabbitMQ's word, as it stands in `x-death`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLength => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

impl Message {
    /// The message to publish to a dead-letter exchange after this one died: the history of its deaths has one more, its `expiration`
    /// is gone, and a routing key of the queue's own replaces all of the message's (RabbitMQ docs: Dead Letter Exchanges).
    pub(crate) fn dead_letter(&self, death: &Death<'_>, exchange: &ShortStr, routing_key: Option<&ShortStr>) -> Self {
        let raw = self.raw_properties();
        let mut properties = raw.decode();
        let expiration = properties.expiration.take();
        let mut headers = properties.headers.take().unwrap_or_default();
        let deaths = if self.has_died() { headers.remove("x-death") } else { None };
        let mut deaths = match deaths {
            Some(FieldValue::Array(deaths)) => deaths,
            _ => Vec::new(),
        };
        let is_first = deaths.is_empty();
        let entry = match deaths.iter().position(|entry| is_about(entry, death.queue.as_bytes(), Some(death.reason))) {
            Some(at) => repeated(deaths.remove(at)),
            None => self.death_entry(death, &raw, expiration, is_first),
        };
        deaths.insert(0, FieldValue::Table(entry));
        headers.set(&X_DEATH, deaths);
        let from = self.routing_names().exchange_str();
        let mut tell = |name: &str, value: FieldValue| headers.set(&ShortStr::truncated(name), value);
        if is_first {
            tell("x-first-death-exchange", from.clone().into());
            tell("x-first-death-queue", death.queue.clone().into());
            tell("x-first-death-reason", death.reason.as_str().into());
        }
        tell("x-last-death-exchange", from.into());
        tell("x-last-death-queue", death.queue.clone().into());
        tell("x-last-death-reason", death.reason.as_str().into());
        let own_key = self.routing_names().routing_key_str();
        let (routing_key, hidden) = match routing_key {
            Some(key) => {
                headers.remove(selected::CC);
                (key, Vec::new())
            }
            None => (&own_key, self.hidden_keys()),
        };
        properties.headers = Some(sorted(headers));
        let routing = Routing::new(exchange, routing_key);
        let properties = RawProperties::from(&properties);
        Self::build(routing.as_bytes(), properties.as_bytes(), self.shared_body().into(), FLAG_DEATHS, &hidden)
    }

    /// Whether dead-lettering this message, which has just died for `reason`, to this queue closes a circle that no consumer is part
    /// of: it died in that queue before, and was not rejected there or since (RabbitMQ docs: Dead Letter Exchanges, "automatic
    /// cycles"). It is to be dropped then.
    pub(crate) fn is_death_cycle(deaths: &[FieldValue], queue: &[u8], reason: DeathReason) -> bool {
        if reason == DeathReason::Rejected || is_planted(Mutant::CycleRule) {
            return false;
        }
        let Some(before) = deaths.iter().position(|entry| is_about(entry, queue, None)) else { return false };
        !deaths[..=before].iter().any(|entry| reason_of(entry) == Some(DeathReason::Rejected.as_str().as_bytes()))
    }

    /// The broker's own history of its deaths, latest first; empty if it never died.
    pub(crate) fn deaths(&self) -> Vec<FieldValue> {
        if !self.has_died() {
            return Vec::new();
        }
        match self.raw_properties().header("x-death") {
            Some(FieldValue::Array(deaths)) => deaths,
            _ => Vec::new(),
        }
    }

    /// Whether the broker dead-lettered it before.
    fn has_died(&self) -> bool {
        self.flags() & FLAG_DEATHS != 0
    }

    /// The entry of a queue and a reason that have none yet.
    fn death_entry(
        &self,
        death: &Death<'_>,
        properties: &RawProperties<&[u8]>,
        expiration: Option<ShortStr>,
        is_first: bool,
    ) -> FieldTable {
        let keys = self.visible_keys(properties).into_iter().map(|key: Bytes| FieldValue::LongStr(LongStr::from(key)));
        let mut entry = FieldTable::new();
        entry.push(COUNT, 1_i64);
        entry.push(REASON, death.reason.as_str());
        entry.push(QUEUE, death.queue.clone());
        entry.push(TIME, FieldValue::Timestamp(death.at.as_millis() / 1000));
        entry.push(EXCHANGE, self.routing_names().exchange_str());
        entry.push(ROUTING_KEYS, keys.collect::<Vec<_>>());
        if let Some(expiration) = expiration {
            entry.push(ORIGINAL_EXPIRATION, expiration);
        }
        // RabbitMQ 3.10 puts the fields of the very first death in this order, and sorts those of all others.
        if is_first { entry } else { sorted(entry) }
    }
}

/// The entry of a queue and a reason that come once more: all is as it was the first time, but the count.
fn repeated(entry: FieldValue) -> FieldTable {
    let FieldValue::Table(mut entry) = entry else { return FieldTable::new() };
    let count = entry.get("count").and_then(FieldValue::as_integer).unwrap_or(0);
    entry.set(&COUNT, count.saturating_add(i64::from(!is_planted(Mutant::XDeathCount))));
    sorted(entry)
}

fn is_about(entry: &FieldValue, queue: &[u8], reason: Option<DeathReason>) -> bool {
    let text = |name| entry.as_table().and_then(|entry| entry.get(name)).and_then(FieldValue::as_bytes);
    text("queue") == Some(queue) && reason.is_none_or(|reason| text("reason") == Some(reason.as_str().as_bytes()))
}

fn reason_of(entry: &FieldValue) -> Option<&[u8]> {
    entry.as_table()?.get("reason")?.as_bytes()
}

/// A table in the order of its names, as RabbitMQ sends those it made itself.
fn sorted(table: FieldTable) -> FieldTable {
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_by(|(left, _), (right, _)| left.cmp(right));
    entries.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;

    use super::*;
    use crate::amqp::Properties;

    const SECOND: u64 = 1_700_000_000;

    fn published(exchange: &'static str, key: &'static str, properties: &Properties) -> Message {
        let routing = Routing::new(&ShortStr::from_static(exchange), &ShortStr::from_static(key));
        Message::new(&routing, &RawProperties::from(properties), Bytes::from_static(b"body"))
    }

    fn with_headers(headers: FieldTable) -> Properties {
        Properties { headers: Some(headers), ..Properties::default() }
    }

    fn keys(keys: &[&str]) -> FieldValue {
        FieldValue::Array(keys.iter().map(|key| FieldValue::text(key)).collect())
    }

    /// The message after it died in `queue`, some seconds after the start.
    fn died(
        message: &Message,
        queue: &'static str,
        reason: DeathReason,
        after: u64,
        key: Option<&'static str>,
    ) -> Message {
        let queue = ShortStr::from_static(queue);
        let at = Timestamp::from_millis((SECOND + after) * 1000 + 999);
        let key = key.map(ShortStr::from_static);
        message.dead_letter(&Death { queue: &queue, reason, at }, &ShortStr::from_static("dlx"), key.as_ref())
    }

    fn headers(message: &Message) -> FieldTable {
        message.raw_properties().headers().unwrap()
    }

    /// One line per death: queue, reason, count, time since the start.
    fn history(message: &Message) -> Vec<String> {
        let line = |entry: &FieldValue| {
            let entry = entry.as_table().unwrap();
            let text = |name| entry.get(name).and_then(FieldValue::as_str).unwrap();
            let Some(FieldValue::Timestamp(time)) = entry.get("time") else { panic!("{entry:?}") };
            let count = entry.get("count").and_then(FieldValue::as_integer).unwrap();
            format!("{} {} {count} +{}", text("queue"), text("reason"), time - SECOND)
        };
        message.deaths().iter().map(line).collect()
    }

    #[test]
    fn the_first_death_is_told_as_rabbitmq_tells_it() {
        let properties = Properties {
            expiration: Some(ShortStr::from_static("10")),
            message_id: Some(ShortStr::from_static("m")),
            ..with_headers(FieldTable::new().with("a", 1_i32).with("CC", keys(&["c"])))
        };
        let message = published("ex", "k", &properties);
        let dead = died(&message, "q", DeathReason::Expired, 0, None);
        let entry = FieldTable::new()
            .with("count", 1_i64)
            .with("reason", "expired")
            .with("queue", "q")
            .with("time", FieldValue::Timestamp(SECOND))
            .with("exchange", "ex")
            .with("routing-keys", keys(&["k", "c"]))
            .with("original-expiration", "10");
        let expected = FieldTable::new()
            .with("CC", keys(&["c"]))
            .with("a", 1_i32)
            .with("x-death", FieldValue::Array(alloc::vec![FieldValue::Table(entry)]))
            .with("x-first-death-exchange", "ex")
            .with("x-first-death-queue", "q")
            .with("x-first-death-reason", "expired")
            .with("x-last-death-exchange", "ex")
            .with("x-last-death-queue", "q")
            .with("x-last-death-reason", "expired");
        let properties = dead.raw_properties().decode();
        assert_eq!(properties, Properties { message_id: properties.message_id.clone(), ..with_headers(expected) });
        assert_eq!(dead.routing(), b"\x03dlx\x01k");
        assert_eq!(dead.routing_keys(), [&b"k"[..], b"c"]);
        assert_eq!(dead.body(), b"body");
    }

    #[test]
    fn each_queue_and_reason_is_counted_once_and_the_latest_stands_first() {
        let message = published("", "a", &Properties::default());
        let dead = died(&message, "a", DeathReason::Rejected, 1, None);
        let dead = died(&dead, "b", DeathReason::Expired, 2, None);
        assert_eq!(history(&dead), ["b expired 1 +2", "a rejected 1 +1"]);
        let dead = died(&dead, "a", DeathReason::Expired, 3, None);
        let dead = died(&dead, "a", DeathReason::Rejected, 4, None);
        assert_eq!(history(&dead), ["a rejected 2 +1", "a expired 1 +3", "b expired 1 +2"]);
        let headers = headers(&dead);
        let text = |name| headers.get(name).and_then(FieldValue::as_str);
        assert_eq!((text("x-first-death-queue"), text("x-first-death-exchange")), (Some("a"), Some("")));
        assert_eq!((text("x-last-death-queue"), text("x-last-death-exchange")), (Some("a"), Some("dlx")));
    }

    #[test]
    fn a_key_of_the_queue_replaces_all_keys_of_the_message() {
        let routing = Routing::new(&ShortStr::new(), &ShortStr::from_static("k"));
        let properties = RawProperties::from(&with_headers(FieldTable::new().with("CC", keys(&["c"]))));
        let message = Message::with_hidden_keys(&routing, &properties, &[LongStr::from("b")], Bytes::new());
        assert_eq!(died(&message, "q", DeathReason::MaxLength, 0, None).routing_keys(), [&b"k"[..], b"c", b"b"]);
        let dead = died(&message, "q", DeathReason::MaxLength, 0, Some("new"));
        assert_eq!(dead.routing_keys(), [&b"new"[..]]);
        assert_eq!(headers(&dead).get("CC"), None);
        let entry = dead.deaths().remove(0);
        assert_eq!(
            entry.as_table().unwrap().get("routing-keys"),
            Some(&keys(&["k", "c"])),
            "the hidden one is not told"
        );
    }

    /// RabbitMQ 4 release notes: `x-death` of a client is not interpreted.
    #[test]
    fn the_history_that_a_client_sends_means_nothing() {
        let message = published("", "a", &Properties::default());
        let dead = died(&message, "a", DeathReason::Expired, 0, None);
        let again = Message::new(&dead.routing_names(), &dead.raw_properties(), Bytes::new());
        assert!(again.deaths().is_empty());
        assert_eq!(history(&died(&again, "a", DeathReason::Expired, 5, None)), ["a expired 1 +5"]);
        let junk = published("", "a", &with_headers(FieldTable::new().with("x-death", "junk")));
        assert_eq!(history(&died(&junk, "b", DeathReason::Rejected, 5, None)), ["b rejected 1 +5"]);
    }

    #[test]
    fn the_history_survives_the_log() {
        let dead = died(&published("", "a", &Properties::default()), "a", DeathReason::Expired, 0, None);
        let stored = Message::from_payload(Bytes::copy_from_slice(dead.payload().0)).unwrap();
        assert_eq!(history(&stored), history(&dead));
    }

    #[test]
    fn a_circle_without_a_rejection_is_a_cycle() {
        use DeathReason::{DeliveryLimit, Expired, MaxLength, Rejected};
        let message = published("", "a", &Properties::default());
        let is_cycle = |message: &Message, queue: &str, reason| {
            Message::is_death_cycle(&message.deaths(), queue.as_bytes(), reason)
        };
        let expired = died(&message, "a", Expired, 0, None);
        assert!(is_cycle(&expired, "a", Expired));
        assert!(!is_cycle(&expired, "b", Expired));
        let twice = died(&expired, "b", MaxLength, 0, None);
        assert!(is_cycle(&twice, "a", MaxLength));
        assert!(is_cycle(&twice, "b", MaxLength));
        let rejected = died(&expired, "b", Rejected, 0, None);
        assert!(!is_cycle(&rejected, "a", Rejected), "a rejection itself never closes a cycle");
        let later = died(&rejected, "c", Expired, 0, None);
        assert!(!is_cycle(&later, "a", Expired), "there was a rejection since");
        assert!(!is_cycle(&later, "b", Expired), "it was rejected there");
        assert!(is_cycle(&later, "c", DeliveryLimit));
    }
}
