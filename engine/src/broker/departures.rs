//! Why messages are gone: counts, and the last few of each queue and exchange.
//!
//! "Where did my message go?" is what operators ask most; RabbitMQ answers with counters only. What is kept here is bounded, lives in
//! memory only, and costs nothing for messages that are acked.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use slotmap::SecondaryMap;

use super::Broker;
use crate::limits;
use crate::management::{AdminError, AdminErrorKind, Departure, DepartureReport, DepartureRequest, LeaveCounts, Way};
use crate::message::Message;
use crate::queue::{LeaveReason, LeftTo};
use crate::routing::{ExchangeKey, QueueKey};
use crate::time::Timestamp;

/// What all queues and exchanges of a node remember of messages that are gone.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    queues: SecondaryMap<QueueKey, QueueDepartures>,
    exchanges: SecondaryMap<ExchangeKey, ExchangeDepartures>,
    /// How many departures are kept in all.
    kept: usize,
    /// How many messages left in which way, over all queues that ever were.
    totals: LeaveCounts,
}

/// What one queue remembers.
#[derive(Debug, Default)]
struct QueueDepartures {
    counts: LeaveCounts,
    refused: u64,
    last: VecDeque<Departure>,
}

/// What one exchange remembers of messages that no queue took.
#[derive(Debug, Default)]
struct ExchangeDepartures {
    dropped: u64,
    returned: u64,
    last: VecDeque<Departure>,
}

impl Departures {
    /// A message left a queue. `message` is `None` if only the log has it.
    pub(super) fn on_left(
        &mut self,
        key: QueueKey,
        at: Timestamp,
        (reason, to): (LeaveReason, LeftTo),
        message: Option<&Message>,
        size: u32,
    ) {
        self.totals.add(reason, to, 1);
        let Some(entry) = self.queues.entry(key) else { return };
        let queue = entry.or_default();
        queue.counts.add(reason, to, 1);
        keep(&mut queue.last, &mut self.kept, at, Way::Left(reason, to), message, size);
    }

    /// A queue that was full did not take a message.
    pub(super) fn on_refused(&mut self, key: QueueKey, at: Timestamp, message: &Message, size: u32) {
        let Some(entry) = self.queues.entry(key) else { return };
        let queue = entry.or_default();
        queue.refused += 1;
        keep(&mut queue.last, &mut self.kept, at, Way::Refused, Some(message), size);
    }

    /// No queue took a message that was published to an exchange.
    fn on_unroutable(&mut self, key: ExchangeKey, at: Timestamp, message: &Message, is_returned: bool) {
        let Some(entry) = self.exchanges.entry(key) else { return };
        let exchange = entry.or_default();
        let way = if is_returned {
            exchange.returned += 1;
            Way::Returned
        } else {
            exchange.dropped += 1;
            Way::Dropped
        };
        let size = u32::try_from(message.body().len()).unwrap_or(u32::MAX);
        keep(&mut exchange.last, &mut self.kept, at, way, Some(message), size);
    }

    /// A queue is gone, with so many messages.
    pub(super) fn on_queue_deleted(&mut self, key: QueueKey, messages: u64) {
        self.totals.add(LeaveReason::Deleted, LeftTo::Nowhere, messages);
        if let Some(queue) = self.queues.remove(key) {
            self.kept -= queue.last.len();
        }
    }

    /// An exchange is gone.
    pub(super) fn on_exchange_deleted(&mut self, key: ExchangeKey) {
        if let Some(exchange) = self.exchanges.remove(key) {
            self.kept -= exchange.last.len();
        }
    }

    fn of_queue(&self, key: QueueKey) -> DepartureReport {
        let Some(queue) = self.queues.get(key) else { return DepartureReport::default() };
        DepartureReport {
            left: queue.counts,
            refused: queue.refused,
            last: queue.last.iter().cloned().collect(),
            ..DepartureReport::default()
        }
    }

    fn of_exchange(&self, key: ExchangeKey) -> DepartureReport {
        let Some(exchange) = self.exchanges.get(key) else { return DepartureReport::default() };
        DepartureReport {
            unroutable_dropped: exchange.dropped,
            unroutable_returned: exchange.returned,
            last: exchange.last.iter().cloned().collect(),
            ..DepartureReport::default()
        }
    }
}

/// Remembers a departure, in the place of the oldest one if there is no room for more.
fn keep(
    last: &mut VecDeque<Departure>,
    kept: &mut usize,
    at: Timestamp,
    way: Way,
    message: Option<&Message>,
    size: u32,
) {
    let room = if *kept < limits::DEPARTURES_MAX { limits::DEPARTURES_EACH } else { 1 };
    let oldest = if last.len() >= room { last.pop_front() } else { None };
    if oldest.is_none() {
        *kept += 1;
    }
    // The text's memory is used again: a queue of a million messages that expire allocates for the first few.
    let mut text = oldest.map_or_else(Vec::new, |oldest| oldest.text);
    text.clear();
    let mut id_at = 0;
    if let Some(message) = message {
        text.extend_from_slice(message.routing());
        if let Some(id) = message.message_id() {
            id_at = u16::try_from(text.len()).expect("two short strings are shorter");
            text.extend_from_slice(id);
        }
    }
    last.push_back(Departure { at, way, size, text, id_at });
}

impl Broker {
    /// No queue took a message.
    pub(crate) fn note_unroutable(&mut self, exchange: ExchangeKey, message: &Message, is_returned: bool) {
        self.departures.on_unroutable(exchange, self.now.wall, message, is_returned);
    }

    /// What is remembered of messages that are gone.
    ///
    /// # Errors
    /// [`AdminErrorKind::NotFound`] if there is no such queue or exchange.
    pub(crate) fn departures(&self, request: &DepartureRequest) -> Result<DepartureReport, AdminError> {
        let (DepartureRequest::Queue { vhost, name } | DepartureRequest::Exchange { vhost, name }) = request else {
            return Ok(DepartureReport { left: self.departures.totals, ..DepartureReport::default() });
        };
        let report = self.metadata.vhost(vhost.as_bytes()).and_then(|vhost| match request {
            DepartureRequest::Exchange { .. } => {
                let (key, _) = self.metadata.exchange(vhost, name.as_bytes())?;
                Some(self.departures.of_exchange(key))
            }
            _ => {
                let (key, _) = self.metadata.queue(vhost, name.as_bytes())?;
                Some(self.departures.of_queue(key))
            }
        });
        let not_found = || {
            let text = alloc::format!("there is no '{name}' in vhost '{vhost}'");
            AdminError::new(AdminErrorKind::NotFound, text)
        };
        report.ok_or_else(not_found)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use slotmap::SlotMap;

    use super::*;
    use crate::amqp::{Properties, RawProperties, Routing, ShortStr};

    fn message(id: &str) -> Message {
        let properties = Properties { message_id: Some(ShortStr::try_from(id).unwrap()), ..Properties::default() };
        let routing = Routing::new(&ShortStr::from_static("logs"), &ShortStr::from_static("a.b"));
        Message::new(&routing, &RawProperties::from(&properties), Bytes::from_static(b"body"))
    }

    fn key() -> QueueKey {
        SlotMap::<QueueKey, ()>::with_key().insert(())
    }

    #[test]
    fn a_queue_remembers_the_last_few_and_counts_all() {
        let mut departures = Departures::default();
        let (key, at) = (key(), Timestamp::from_millis(7));
        let count = limits::DEPARTURES_EACH + 3;
        for number in 0..count {
            let message = message(&alloc::format!("{number}"));
            departures.on_left(key, at, (LeaveReason::Expired, LeftTo::Queues(2)), Some(&message), 4);
        }
        departures.on_left(key, at, (LeaveReason::Purged, LeftTo::Nowhere), None, 9);
        let report = departures.of_queue(key);
        assert_eq!(report.left.of(LeaveReason::Expired), count as u64);
        assert_eq!((report.left.of(LeaveReason::Purged), report.left.dead_lettered()), (1, count as u64));
        assert_eq!(report.last.len(), limits::DEPARTURES_EACH);
        let (first, last) = (report.last.first().unwrap(), report.last.last().unwrap());
        assert_eq!(first.message_id(), Some(&b"4"[..]));
        assert_eq!((first.exchange(), first.routing_key()), (Some(&b"logs"[..]), Some(&b"a.b"[..])));
        assert_eq!((last.way, last.size), (Way::Left(LeaveReason::Purged, LeftTo::Nowhere), 9));
        assert_eq!((last.exchange(), last.routing_key(), last.message_id()), (None, None, None));
    }

    #[test]
    fn what_a_deleted_queue_remembered_is_given_back() {
        let mut departures = Departures::default();
        let key = key();
        departures.on_left(key, Timestamp::default(), (LeaveReason::Rejected, LeftTo::NoRoute), Some(&message("m")), 4);
        assert_eq!(departures.kept, 1);
        departures.on_queue_deleted(key, 5);
        assert_eq!(departures.kept, 0);
        assert_eq!(departures.totals.of(LeaveReason::Deleted), 5);
        assert_eq!(departures.of_queue(key), DepartureReport::default());
    }
}
