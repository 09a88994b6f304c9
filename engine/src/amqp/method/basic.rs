//! Class `basic` (AMQP 0-9-1 §1.8) with RabbitMQ's nack.

use bytes::{Buf, Bytes};

use crate::amqp::{FieldTable, Routing, ShortStr};

class! { 60;
    /// Limits how many messages may be unacknowledged.
    Qos = 10 "basic.qos" {
        /// A limit in bytes, which RabbitMQ does not implement; 0 for none.
        prefetch_size: u32,
        /// The limit in messages; 0 for none.
        prefetch_count: u16,
        /// For the whole channel, instead of for each consumer that follows (RabbitMQ's meaning).
        global: bool,
    }
    /// The limit is in force.
    QosOk = 11 "basic.qos-ok" {}
    /// Starts a consumer.
    Consume = 20 "basic.consume" {
        [u16]
        /// The queue's name; empty for the last declared on this channel.
        queue: ShortStr,
        /// The consumer's name on this channel; empty to have one made.
        consumer_tag: ShortStr,
        /// No messages of this connection itself; RabbitMQ ignores it.
        no_local: bool,
        /// Messages count as acknowledged when they are sent.
        no_ack: bool,
        /// No other consumer on the queue.
        exclusive: bool,
        /// No answer is wanted.
        no_wait: bool,
        /// Priority and the like.
        arguments: FieldTable,
    }
    /// The consumer is there.
    ConsumeOk = 21 "basic.consume-ok" {
        /// Its name on this channel.
        consumer_tag: ShortStr,
    }
    /// Ends a consumer; from the server: it has ended (RabbitMQ docs: Consumer Cancel Notification).
    Cancel = 30 "basic.cancel" {
        /// Its name on this channel.
        consumer_tag: ShortStr,
        /// No answer is wanted.
        no_wait: bool,
    }
    /// The consumer is gone.
    CancelOk = 31 "basic.cancel-ok" {
        /// Its name on this channel.
        consumer_tag: ShortStr,
    }
    /// Publishes the content that follows.
    Publish = 40 "basic.publish" content {
        [u16]
        /// Exchange and routing key.
        routing: Routing,
        /// Return the message if it reaches no queue.
        mandatory: bool,
        /// Return the message if no consumer takes it at once; RabbitMQ refuses it.
        immediate: bool,
    }
    /// Gives back a message that could not be routed.
    Return = 50 "basic.return" content {
        /// 312 NO_ROUTE.
        reply_code: u16,
        /// `NO_ROUTE`.
        reply_text: ShortStr,
        /// Exchange and routing key of the publish.
        routing: Routing,
    }
    /// Brings a message to a consumer.
    Deliver = 60 "basic.deliver" content {
        /// Which consumer.
        consumer_tag: ShortStr,
        /// The number to acknowledge it by, on this channel.
        delivery_tag: u64,
        /// It may have been delivered before.
        redelivered: bool,
        /// Exchange and routing key of the publish.
        routing: Routing,
    }
    /// Asks for one message.
    Get = 70 "basic.get" {
        [u16]
        /// The queue's name; empty for the last declared on this channel.
        queue: ShortStr,
        /// It counts as acknowledged when it is sent.
        no_ack: bool,
    }
    /// Brings the message asked for.
    GetOk = 71 "basic.get-ok" content {
        /// The number to acknowledge it by, on this channel.
        delivery_tag: u64,
        /// It may have been delivered before.
        redelivered: bool,
        /// Exchange and routing key of the publish.
        routing: Routing,
        /// Ready messages that are left.
        message_count: u32,
    }
    /// There is no message.
    GetEmpty = 72 "basic.get-empty" {
        (ShortStr)
    }
    /// Acknowledges messages; from the server: confirms publishes (RabbitMQ docs: Publisher Confirms).
    Ack = 80 "basic.ack" {
        /// Which one; with `multiple`, 0 means all.
        delivery_tag: u64,
        /// All up to this one.
        multiple: bool,
    }
    /// Refuses one message.
    Reject = 90 "basic.reject" {
        /// Which one.
        delivery_tag: u64,
        /// Back to the queue, instead of dropped or dead-lettered.
        requeue: bool,
    }
    /// Asks for unacknowledged messages again, without an answer. Deprecated.
    RecoverAsync = 100 "basic.recover-async" {
        /// To any consumer; RabbitMQ does not implement the other.
        requeue: bool,
    }
    /// Asks for unacknowledged messages again.
    Recover = 110 "basic.recover" {
        /// To any consumer; RabbitMQ does not implement the other.
        requeue: bool,
    }
    /// The messages are back in their queues.
    RecoverOk = 111 "basic.recover-ok" {}
    /// Refuses messages; from the server: publishes that failed (RabbitMQ docs: Negative
    /// Acknowledgements).
    Nack = 120 "basic.nack" {
        /// Which one; with `multiple`, 0 means all.
        delivery_tag: u64,
        /// All up to this one.
        multiple: bool,
        /// Back to the queue, instead of dropped or dead-lettered.
        requeue: bool,
    }
}

/// Bytes of a reserved argument before the others.
const TICKET_LEN: usize = 2;

impl Publish {
    /// Reads the arguments by narrowing the payload to the routing, which spares the commonest method
    /// of all a reference count. `None` if they are malformed; the payload is untouched then.
    pub(super) fn take_from(payload: &mut Bytes) -> Option<Self> {
        let (_, mandatory, immediate) = Self::parts(payload)?;
        let mut routing = core::mem::take(payload);
        routing.truncate(routing.len() - 1);
        routing.advance(TICKET_LEN);
        Some(Self { routing: Routing::from_encoded(routing)?, mandatory, immediate })
    }

    /// Where it goes, `mandatory` and `immediate`, out of the encoded arguments. `None` if they are malformed.
    pub(in crate::amqp) fn parts(arguments: &[u8]) -> Option<(Routing<&[u8]>, bool, bool)> {
        let (&bits, routing) = arguments.get(TICKET_LEN..)?.split_last()?;
        Some((Routing::from_encoded(routing)?, bits & 1 != 0, bits & 2 != 0))
    }
}

impl Deliver {
    /// The same for what a client is sent most.
    pub(super) fn take_from(payload: &mut Bytes) -> Option<Self> {
        let (&tag_len, rest) = payload.split_first()?;
        let tag_end = 1 + usize::from(tag_len);
        let (consumer_tag, rest) = rest.split_at_checked(usize::from(tag_len))?;
        let (&delivery_tag, rest) = rest.split_first_chunk()?;
        let (&bits, routing) = rest.split_first()?;
        if Routing::encoded_len(routing)? != routing.len() || core::str::from_utf8(consumer_tag).is_err() {
            return None;
        }
        let routing_at = payload.len() - routing.len();
        let mut routing = core::mem::take(payload);
        let consumer_tag = ShortStr::from_counted(routing.slice(1..tag_end));
        routing.advance(routing_at);
        Some(Self {
            consumer_tag,
            delivery_tag: u64::from_be_bytes(delivery_tag),
            redelivered: bits & 1 != 0,
            routing: Routing::from_encoded(routing)?,
        })
    }
}
