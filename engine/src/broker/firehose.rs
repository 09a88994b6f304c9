//! The firehose: copies of what is published and delivered in a vhost, for whoever binds to `amq.rabbitmq.trace` (RabbitMQ docs:
//! Firehose Tracer).
//!
//! Off, it costs one look at the vhost per message. On, each copy is a publish like others, later than what it is about. What went
//! through the firehose's own exchange is not told of again.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::net::SocketAddr;

use super::{Broker, Internal};
use crate::amqp::{FieldTable, FieldValue, LongStr, Properties, RawProperties, Routing, ShortStr};
use crate::ids::ChannelNumber;
use crate::message::Message;
use crate::metadata::VhostKey;
use crate::routing::QueueKey;

/// Where copies go.
const TRACE_EXCHANGE: ShortStr = ShortStr::from_static("amq.rabbitmq.trace");

/// Who published or got a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Witness<'a> {
    /// In which vhost.
    pub(crate) vhost: VhostKey,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// The address it connected to.
    pub(crate) local: SocketAddr,
    /// On which channel.
    pub(crate) channel: ChannelNumber,
    /// As whom.
    pub(crate) user: &'a str,
}

impl Broker {
    /// Whether the firehose of a vhost is on.
    pub(crate) fn is_traced(&self, vhost: VhostKey) -> bool {
        self.metadata.vhost_by_key(vhost).is_some_and(|vhost| vhost.settings.tracing)
    }

    /// Tells of a publish; the queues are those that [`Broker::route`] has just found.
    pub(crate) fn trace_publish(&mut self, witness: &Witness<'_>, message: &Message) {
        let name = |key: &QueueKey| self.metadata.queue_by_key(*key).map(|record| record.name.clone().into());
        let queues: Vec<FieldValue> = self.routed.iter().filter_map(name).collect();
        let exchange = message.routing_names().exchange_str();
        self.trace(witness, b"publish.", exchange.as_bytes(), message, None, Some(queues));
    }

    /// Tells of a delivery.
    pub(crate) fn trace_delivery(
        &mut self,
        witness: &Witness<'_>,
        queue: QueueKey,
        redelivered: bool,
        message: &Message,
    ) {
        let Some(name) = self.metadata.queue_by_key(queue).map(|record| record.name.clone()) else { return };
        self.trace(witness, b"deliver.", name.as_bytes(), message, Some(redelivered), None);
    }

    fn trace(
        &mut self,
        witness: &Witness<'_>,
        what: &[u8],
        whose: &[u8],
        message: &Message,
        redelivered: Option<bool>,
        routed_queues: Option<Vec<FieldValue>>,
    ) {
        let exchange = message.routing_names().exchange_str();
        if exchange == TRACE_EXCHANGE {
            return;
        }
        let text = |text: String| FieldValue::LongStr(LongStr::from(text.into_bytes()));
        let vhost = self.metadata.vhost_by_key(witness.vhost).map(|vhost| vhost.name.clone()).unwrap_or_default();
        let keys = message.routing_keys().into_iter().map(|key: Bytes| FieldValue::LongStr(key.into()));
        let mut headers = FieldTable::new()
            .with("exchange_name", exchange)
            .with("routing_keys", keys.collect::<Vec<_>>())
            .with("properties", as_table(message.raw_properties().decode()))
            .with("node", text(self.config.node_name.clone()));
        if let Some(redelivered) = redelivered {
            headers = headers.with("redelivered", i32::from(redelivered));
        }
        headers = headers
            .with("vhost", vhost)
            .with("connection", text(format!("{} -> {}", witness.peer, witness.local)))
            .with("channel", i32::from(witness.channel.0))
            .with("user", text(String::from(witness.user)));
        if let Some(queues) = routed_queues {
            headers = headers.with("routed_queues", queues);
        }
        // A name of 255 bytes leaves no room for the word before it; the end is cut off.
        let mut key = Vec::from(what);
        key.extend_from_slice(whose);
        key.truncate(ShortStr::MAX_LEN);
        let key = ShortStr::try_from(&key[..]).expect("it was cut to fit");
        let properties = RawProperties::from(&Properties { headers: Some(headers), ..Properties::default() });
        let copy = Message::new(&Routing::new(&TRACE_EXCHANGE, &key), &properties, message.shared_body());
        self.publish_internally(Internal {
            vhost: witness.vhost,
            exchange: TRACE_EXCHANGE,
            routing_keys: alloc::vec![key],
            message: Arc::new(copy),
            persistent: false,
        });
    }
}

/// The properties as RabbitMQ puts them into a table: those that are there, last first, numbers as `signedint`. A timestamp that does
/// not fit goes as `long`, where RabbitMQ sends its lower half.
fn as_table(properties: Properties) -> FieldTable {
    let Properties {
        content_type,
        content_encoding,
        headers,
        delivery_mode,
        priority,
        correlation_id,
        reply_to,
        expiration,
        message_id,
        timestamp,
        message_type,
        user_id,
        app_id,
        cluster_id,
    } = properties;
    let text = |text: Option<ShortStr>| text.map(FieldValue::from);
    let octet = |number: Option<u8>| number.map(|number| FieldValue::I32(i32::from(number)));
    let seconds = |seconds: u64| match i32::try_from(seconds) {
        Ok(seconds) => FieldValue::I32(seconds),
        Err(_) => FieldValue::I64(i64::try_from(seconds).unwrap_or(i64::MAX)),
    };
    [
        ("cluster_id", text(cluster_id)),
        ("app_id", text(app_id)),
        ("user_id", text(user_id)),
        ("type", text(message_type)),
        ("timestamp", timestamp.map(seconds)),
        ("message_id", text(message_id)),
        ("expiration", text(expiration)),
        ("reply_to", text(reply_to)),
        ("correlation_id", text(correlation_id)),
        ("priority", octet(priority)),
        ("delivery_mode", octet(delivery_mode)),
        ("headers", headers.map(FieldValue::Table)),
        ("content_encoding", text(content_encoding)),
        ("content_type", text(content_type)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((ShortStr::from_static(name), value?)))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RabbitMQ 3.10.8 tells it.
    #[test]
    fn properties_stand_last_first_and_numbers_are_signed() {
        let properties = Properties {
            content_type: Some(ShortStr::from_static("text/plain")),
            headers: Some(FieldTable::new().with("h", 1_i32)),
            delivery_mode: Some(2),
            timestamp: Some(5),
            ..Properties::default()
        };
        let expected = FieldTable::new()
            .with("timestamp", 5_i32)
            .with("delivery_mode", 2_i32)
            .with("headers", FieldTable::new().with("h", 1_i32))
            .with("content_type", "text/plain");
        assert_eq!(as_table(properties), expected);
    }
}
