//! What the clients saw of one step, to be taken piece by piece by whoever expected it.

use leveret_engine::amqp::{Method, Properties};
use leveret_engine::client::ClientEvent;

use super::super::node::Node;
use super::super::program::{CONNECTIONS, Lane};
use super::message;

/// The events of one step: for each connection in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Seen {
    connections: Vec<Vec<Item>>,
}

#[derive(Debug)]
struct Item {
    event: ClientEvent,
    is_taken: bool,
}

/// A message that came to a consumer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivered {
    pub(super) delivery_tag: u64,
    /// Its place among the connection's events.
    pub(super) place: usize,
}

/// What is to come to a consumer or to who asked for a message.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) redelivered: bool,
    pub(super) exchange: &'a str,
    pub(super) key: &'a str,
    pub(super) properties: &'a Properties,
    pub(super) body: &'a str,
}

impl Seen {
    pub(super) fn take_from(node: &mut Node) -> Self {
        let item = |event| Item { event, is_taken: false };
        let connections =
            (0..CONNECTIONS).map(|index| node.take_events(index).into_iter().map(item).collect()).collect();
        Self { connections }
    }

    /// Takes an answer, which must be the next one on the channel; its place.
    pub(super) fn take_reply(&mut self, lane: Lane, method: impl Into<Method>) -> Result<usize, String> {
        let method = method.into();
        let expected = ClientEvent::Method { channel: lane.channel(), method };
        let is_reply =
            |event: &ClientEvent| matches!(event, ClientEvent::Method { channel, .. } if *channel == lane.channel());
        let place =
            self.find(lane.connection(), is_reply).ok_or_else(|| format!("no answer came; {expected:?} was due"))?;
        let item = &mut self.connections[lane.connection()][place];
        item.is_taken = true;
        if item.event == expected { Ok(place) } else { Err(format!("{:?} came instead of {expected:?}", item.event)) }
    }

    /// Takes the close of a channel for this reason.
    pub(super) fn take_channel_close(&mut self, lane: Lane, code: u16) -> Result<(), String> {
        let is_close = |event: &ClientEvent| match event {
            ClientEvent::ChannelClosed { channel, reason, .. } => {
                *channel == lane.channel() && reason.reply_code == code
            }
            _ => false,
        };
        let place = self.find(lane.connection(), is_close);
        self.take(lane.connection(), place, || format!("channel {lane:?} was to be closed with {code}")).map(drop)
    }

    /// Takes the close of a connection for this reason.
    pub(super) fn take_connection_close(&mut self, connection: usize, code: u16) -> Result<(), String> {
        let is_close = |event: &ClientEvent| match event {
            ClientEvent::ConnectionClosed { reason, .. } => reason.reply_code == code,
            _ => false,
        };
        let place = self.find(connection, is_close);
        self.take(connection, place, || format!("connection {connection} was to be closed with {code}")).map(drop)
    }

    /// Takes the notice that a consumer was cancelled.
    pub(super) fn take_cancel(&mut self, lane: Lane, tag: &str) -> Result<(), String> {
        let is_cancel = |event: &ClientEvent| match event {
            ClientEvent::ConsumerCancelled { channel, consumer_tag } => {
                *channel == lane.channel() && consumer_tag == tag
            }
            _ => false,
        };
        let place = self.find(lane.connection(), is_cancel);
        self.take(lane.connection(), place, || format!("consumer {tag} on {lane:?} was to be told of its end"))
            .map(drop)
    }

    /// Takes a returned message; its place.
    pub(super) fn take_return(&mut self, lane: Lane, expected: &Expected<'_>) -> Result<usize, String> {
        let is_it = |event: &ClientEvent| match event {
            ClientEvent::Returned { channel, reply_code: 312, routing, properties, body, .. } => {
                *channel == lane.channel()
                    && expected.is_content(routing.exchange(), routing.routing_key(), &properties.decode(), body)
            }
            _ => false,
        };
        let place = self.find(lane.connection(), is_it);
        self.take(lane.connection(), place, || format!("no return of {expected:?} on {lane:?}"))
    }

    /// Takes a delivery to a consumer, if there is one.
    pub(super) fn take_delivery(&mut self, lane: Lane, tag: &str, expected: &Expected<'_>) -> Option<Delivered> {
        let is_it = |event: &ClientEvent| match event {
            ClientEvent::Delivery { channel, consumer_tag, redelivered, routing, properties, body, .. } => {
                *channel == lane.channel()
                    && consumer_tag == tag
                    && *redelivered == expected.redelivered
                    && expected.is_content(routing.exchange(), routing.routing_key(), &properties.decode(), body)
            }
            _ => false,
        };
        let place = self.find(lane.connection(), is_it)?;
        let item = &mut self.connections[lane.connection()][place];
        item.is_taken = true;
        match item.event {
            ClientEvent::Delivery { delivery_tag, .. } => Some(Delivered { delivery_tag, place }),
            _ => None,
        }
    }

    /// Takes the message that answers a get.
    pub(super) fn take_got(&mut self, lane: Lane, expected: &Expected<'_>, left: u32) -> Result<Delivered, String> {
        let is_it = |event: &ClientEvent| match event {
            ClientEvent::GetOk { channel, redelivered, routing, message_count, properties, body, .. } => {
                *channel == lane.channel()
                    && *redelivered == expected.redelivered
                    && *message_count == left
                    && expected.is_content(routing.exchange(), routing.routing_key(), &properties.decode(), body)
            }
            _ => false,
        };
        let place = self.find(lane.connection(), is_it);
        let place =
            self.take(lane.connection(), place, || format!("get was to bring {expected:?} and leave {left}"))?;
        match self.connections[lane.connection()][place].event {
            ClientEvent::GetOk { delivery_tag, .. } => Ok(Delivered { delivery_tag, place }),
            _ => Err("get-ok is a get-ok".to_owned()),
        }
    }

    /// Takes all confirms on a channel: place, number, whether of several, whether good.
    pub(super) fn take_confirms(&mut self, lane: Lane) -> Vec<(usize, u64, bool, bool)> {
        let mut confirms = Vec::new();
        for (place, item) in self.connections[lane.connection()].iter_mut().enumerate() {
            let (channel, seqno, multiple, is_good) = match item.event {
                ClientEvent::Acked { channel, seqno, multiple } => (channel, seqno, multiple, true),
                ClientEvent::Nacked { channel, seqno, multiple } => (channel, seqno, multiple, false),
                _ => continue,
            };
            if channel == lane.channel() {
                item.is_taken = true;
                confirms.push((place, seqno, multiple, is_good));
            }
        }
        confirms
    }

    /// The delivery tags that came on a channel, in their order.
    pub(super) fn delivery_tags(&self, lane: Lane) -> Vec<u64> {
        let tag = |item: &Item| match item.event {
            ClientEvent::Delivery { channel, delivery_tag, .. } | ClientEvent::GetOk { channel, delivery_tag, .. } => {
                (channel == lane.channel()).then_some(delivery_tag)
            }
            _ => None,
        };
        self.connections[lane.connection()].iter().filter_map(tag).collect()
    }

    /// That everything was expected.
    pub(super) fn check_nothing_left(&self) -> Result<(), String> {
        for (connection, items) in self.connections.iter().enumerate() {
            if let Some(item) = items.iter().find(|item| !item.is_taken) {
                return Err(format!("nobody expected this on connection {connection}: {:?}", item.event));
            }
        }
        Ok(())
    }

    fn find(&self, connection: usize, is_it: impl Fn(&ClientEvent) -> bool) -> Option<usize> {
        self.connections[connection].iter().position(|item| !item.is_taken && is_it(&item.event))
    }

    fn take(
        &mut self,
        connection: usize,
        place: Option<usize>,
        what: impl FnOnce() -> String,
    ) -> Result<usize, String> {
        let Some(place) = place else {
            let rest: Vec<_> =
                self.connections[connection].iter().filter(|item| !item.is_taken).map(|item| &item.event).collect();
            return Err(format!("{}; there is {rest:?}", what()));
        };
        self.connections[connection][place].is_taken = true;
        Ok(place)
    }
}

impl Expected<'_> {
    fn is_content(&self, exchange: &[u8], key: &[u8], properties: &Properties, body: &[u8]) -> bool {
        self.exchange.as_bytes() == exchange
            && self.key.as_bytes() == key
            && self.body.as_bytes() == body
            && message::is_same(self.properties, properties)
    }
}
