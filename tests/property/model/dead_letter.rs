//! Dead letters: why messages leave, what is written on them, and where they go (RabbitMQ docs: Dead Letter Exchanges).

use std::rc::Rc;

use leveret_engine::amqp::{FieldTable, FieldValue, ShortStr};

use super::super::node::EPOCH_MS;
use super::super::program::{EXCHANGES, KEYS};
use super::Model;
use super::message::{Entry, Message};

/// Why a message leaves a queue without having been acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Rejected,
    Expired,
    MaxLength,
    DeliveryLimit,
}

/// A message that left a queue with a dead-letter exchange and is to be published there.
#[derive(Debug)]
pub(super) struct Dead {
    message: Message,
    reason: Reason,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLength => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

impl Model {
    /// A message leaves a queue without having been acknowledged.
    pub(super) fn bury(&mut self, id: u64, entry: &Entry, reason: Reason) {
        let wall_s = (EPOCH_MS + self.now) / 1000;
        let Some(queue) = self.queue_by_id(id) else { return };
        let Some(exchange) = queue.args.dead_letter_exchange else { return };
        let mut message = (*entry.message).clone();
        let headers = message.properties.headers.get_or_insert_default();
        write_death(headers, &entry.message, &queue.name, reason, wall_s);
        if let Some(key) = queue.args.dead_letter_key {
            message.keys = vec![KEYS[usize::from(key)].to_owned()];
            message.hidden_keys.clear();
            headers.remove("CC");
        }
        message.properties.expiration = None;
        EXCHANGES[usize::from(exchange)].clone_into(&mut message.exchange);
        self.dead.push(Dead { message, reason });
    }

    pub(super) fn publish_dead(&mut self, dead: Dead) -> Result<(), String> {
        let Dead { message, reason } = dead;
        let mut queues = self.topology.route(&message.exchange, &message.all_keys(), &message);
        if reason != Reason::Rejected {
            queues.retain(|queue| !is_cycle(&message, queue));
        }
        let ids: Vec<u64> = queues.iter().filter_map(|name| self.queue(name)).map(|queue| queue.id).collect();
        let message = Rc::new(message);
        for id in ids {
            self.enqueue(id, &message)?;
        }
        Ok(())
    }
}

/// Adds a death to what the headers tell: one entry for each queue and reason, the latest first, with the details of the first time
/// and a count.
fn write_death(headers: &mut FieldTable, message: &Message, queue: &str, reason: Reason, wall_s: u64) {
    let text = |text: &str| FieldValue::text(text);
    let mut deaths: Vec<FieldValue> =
        headers.get("x-death").and_then(FieldValue::as_array).unwrap_or_default().to_vec();
    let is_it =
        |death: &FieldValue| field(death, "queue") == Some(queue) && field(death, "reason") == Some(reason.name());
    let mut entry = match deaths.iter().position(is_it).map(|index| deaths.remove(index)) {
        Some(FieldValue::Table(table)) => table,
        _ => {
            let keys = message.keys.iter().map(|key| text(key)).collect();
            let mut table = FieldTable::new()
                .with("count", FieldValue::I64(0))
                .with("reason", text(reason.name()))
                .with("queue", text(queue))
                .with("time", FieldValue::Timestamp(wall_s))
                .with("exchange", text(&message.exchange))
                .with("routing-keys", FieldValue::Array(keys));
            if let Some(expiration) = &message.properties.expiration {
                table = table.with("original-expiration", text(&expiration.to_string_lossy()));
            }
            table
        }
    };
    let count = entry.get("count").and_then(FieldValue::as_integer).unwrap_or(0);
    entry.set(&ShortStr::from_static("count"), FieldValue::I64(count + 1));
    deaths.insert(0, FieldValue::Table(entry));
    headers.set(&ShortStr::from_static("x-death"), FieldValue::Array(deaths));
    let details = [("queue", queue), ("reason", reason.name()), ("exchange", message.exchange.as_str())];
    for (detail, value) in details {
        let first = format!("x-first-death-{detail}");
        if headers.get(&first).is_none() {
            headers.push(ShortStr::truncated(&first), text(value));
        }
        headers.set(&ShortStr::truncated(&format!("x-last-death-{detail}")), text(value));
    }
}

/// Whether a message has come back to a queue where it died before without anybody having rejected it since: then it is dropped.
fn is_cycle(message: &Message, queue: &str) -> bool {
    let deaths = message.header("x-death").and_then(FieldValue::as_array).unwrap_or_default();
    let Some(last) = deaths.iter().position(|death| field(death, "queue") == Some(queue)) else { return false };
    deaths[..=last].iter().all(|death| field(death, "reason") != Some("rejected"))
}

fn field<'a>(death: &'a FieldValue, name: &str) -> Option<&'a str> {
    death.as_table()?.get(name)?.as_str()
}
