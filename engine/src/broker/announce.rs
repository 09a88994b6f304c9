//! The event exchange: what happens on the node, as messages (RabbitMQ docs: Event Exchange).
//!
//! The routing key says what it is, the headers have the details, as far as they mean something outside of Erlang. Nothing is put
//! together as long as nobody is bound.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Broker, Internal};
use crate::amqp::{ErlangText, FieldTable, FieldValue, LongStr, Properties, RawProperties, Routing, ShortStr};
use crate::message::Message;
use crate::metadata::{DestinationName, EVENT_EXCHANGE, NamedBinding, Told, VhostKey};
use crate::routing::{ErlangTerm, ExchangeKey, QueueKey};

impl Broker {
    /// Publishes what happened if anybody is bound to the event exchange; only then `headers` is asked for.
    pub(crate) fn announce(&mut self, what: &'static str, headers: impl FnOnce(&Self) -> Option<FieldTable>) {
        let Some(vhost) = self.metadata.vhost(b"/") else { return };
        let Some((_, exchange)) = self.metadata.exchange(vhost, EVENT_EXCHANGE.as_bytes()) else { return };
        if !exchange.is_in_use() {
            return;
        }
        let Some(mut headers) = headers(self) else { return };
        let millis = self.now.wall.as_millis();
        headers
            .push(ShortStr::from_static("timestamp_in_ms"), FieldValue::I64(i64::try_from(millis).unwrap_or(i64::MAX)));
        let (exchange, key) = (ShortStr::from_static(EVENT_EXCHANGE), ShortStr::from_static(what));
        let properties = Properties {
            headers: Some(headers),
            // Persistent.
            delivery_mode: Some(2),
            timestamp: Some(millis / 1000),
            ..Properties::default()
        };
        let routing = Routing::new(&exchange, &key);
        let message = Arc::new(Message::new(&routing, &RawProperties::from(&properties), Bytes::new()));
        self.publish_internally(Internal { vhost, exchange, routing_keys: vec![key], message, persistent: true });
    }

    pub(super) fn announce_queue_created(&mut self, key: QueueKey) {
        self.announce("queue.created", |broker| {
            let queue = broker.metadata.queue_by_key(key)?;
            Some(
                FieldTable::new()
                    .with("name", text(&queue.name))
                    .with("vhost", broker.vhost_text(queue.vhost))
                    .with("durable", queue.durable)
                    .with("auto_delete", queue.auto_delete)
                    .with("exclusive", queue.exclusive.is_some())
                    .with("arguments", arguments(&queue.raw_arguments)),
            )
        });
    }

    pub(super) fn announce_exchange_created(&mut self, key: ExchangeKey) {
        self.announce("exchange.created", |broker| {
            let exchange = broker.metadata.exchange_by_key(key)?;
            Some(
                FieldTable::new()
                    .with("name", text(&exchange.name))
                    .with("vhost", broker.vhost_text(exchange.vhost))
                    .with("type", exchange.kind.name())
                    .with("durable", exchange.durable)
                    .with("auto_delete", exchange.auto_delete)
                    .with("internal", exchange.internal)
                    .with("arguments", arguments(&exchange.raw_arguments)),
            )
        });
    }

    pub(super) fn announce_told(&mut self, told: &Told) {
        let named = |vhost: &ShortStr, name: &ShortStr| {
            Some(FieldTable::new().with("name", text(name)).with("vhost", text(vhost)))
        };
        match told {
            Told::QueueDeleted { vhost, name } => self.announce("queue.deleted", |_| named(vhost, name)),
            Told::ExchangeDeleted { vhost, name } => self.announce("exchange.deleted", |_| named(vhost, name)),
            Told::Bound(binding) => self.announce("binding.created", |_| Some(binding_headers(binding))),
            Told::Unbound(binding) => self.announce("binding.deleted", |_| Some(binding_headers(binding))),
            Told::Administered { what, names } => self.announce(what, |_| {
                Some(names.iter().fold(FieldTable::new(), |headers, (what, name)| headers.with(what, text(name))))
            }),
        }
    }

    fn vhost_text(&self, key: VhostKey) -> FieldValue {
        self.metadata.vhost_by_key(key).map_or(FieldValue::Void, |vhost| text(&vhost.name))
    }
}

fn binding_headers(binding: &NamedBinding) -> FieldTable {
    let kind = match binding.destination {
        DestinationName::Queue(_) => "queue",
        DestinationName::Exchange(_) => "exchange",
    };
    FieldTable::new()
        .with("source_name", text(&binding.source))
        .with("source_kind", "exchange")
        .with("destination_name", text(binding.destination.name()))
        .with("destination_kind", kind)
        .with("routing_key", text(&binding.routing_key))
        .with("arguments", arguments(&binding.arguments))
        .with("vhost", text(&binding.vhost))
}

/// A name as a header's value.
pub(crate) fn text(text: &ShortStr) -> FieldValue {
    FieldValue::LongStr(LongStr::from(text.clone().into_bytes()))
}

/// Arguments as the plugin shows them: an array of Erlang's terms in text.
fn arguments(table: &FieldTable) -> FieldValue {
    let shown = |(name, value): &(ShortStr, FieldValue)| {
        let term: String =
            alloc::format!("{{{},{},{}}}", ErlangText(name.as_bytes()), value.type_name(), ErlangTerm(value));
        FieldValue::text(&term)
    };
    FieldValue::Array(table.iter().map(shown).collect::<Vec<_>>())
}
