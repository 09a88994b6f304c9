//! Who takes replies without a queue (RabbitMQ docs: Direct Reply-To).

use alloc::sync::Arc;

use super::{Broker, ChannelRef, Notice};
use crate::amqp::ShortStr;
use crate::message::Message;
use crate::metadata::server_name;

/// What the names of all consumers of replies begin with.
const PREFIX: &str = "amq.rabbitmq.reply-to.";

/// Whether a routing key is the name of a consumer of replies, there or not. No queue can have such a name.
pub(crate) fn is_reply_name(routing_key: &[u8]) -> bool {
    routing_key.starts_with(PREFIX.as_bytes())
}

impl Broker {
    /// Lets a channel take replies. The name that leads to it, which nobody can guess.
    pub(crate) fn add_reply_consumer(&mut self, channel: ChannelRef) -> ShortStr {
        let name = server_name(PREFIX, self.random_bytes());
        self.reply_consumers.insert(name.clone(), channel);
        name
    }

    /// The channel takes no more replies under this name.
    pub(crate) fn remove_reply_consumer(&mut self, name: &ShortStr) {
        self.reply_consumers.remove(name.as_bytes());
    }

    /// Whether somebody takes replies under this name.
    pub(crate) fn has_reply_consumer(&self, name: &[u8]) -> bool {
        self.reply_consumers.get(name).is_some()
    }

    /// Sends a message that was published to the default exchange to the consumers of replies that its keys name. Whether there was one.
    pub(crate) fn send_reply(&mut self, message: &Arc<Message>) -> bool {
        // The exchange and the key are two counted strings; the default exchange's is empty.
        let [0, _, routing_key @ ..] = message.routing() else { return false };
        let mut is_sent = self.send_reply_to(routing_key, message);
        if !self.reply_consumers.is_empty() && message.raw_properties().has_headers() {
            for key in message.routing_keys().iter().skip(1) {
                is_sent |= self.send_reply_to(key, message);
            }
        }
        is_sent
    }

    /// Sends a message to the consumer of replies of this name. Whether there is one.
    fn send_reply_to(&mut self, routing_key: &[u8], message: &Arc<Message>) -> bool {
        if !is_reply_name(routing_key) {
            return false;
        }
        let Some(&channel) = self.reply_consumers.get(routing_key) else { return false };
        let name = ShortStr::try_from(routing_key).expect("a routing key is a short string");
        self.notices.push_back(Notice::Reply { channel, name, message: Arc::clone(message) });
        true
    }
}
