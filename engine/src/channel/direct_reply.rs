//! Direct reply-to: answers to a request go straight to the channel that asked, without a queue (RabbitMQ docs: Direct Reply-To).
//!
//! The requester consumes [`REPLY_TO`] and publishes with that name in `reply-to`. The broker puts a name nobody can guess in its
//! place, and what is published to the default exchange with that name as its key goes to the requester, at most once: nothing is
//! kept for one that is gone.

use super::{Channel, ChannelCtx, Flow};
use crate::amqp::method::{basic, queue};
use crate::amqp::{AmqpError, RawProperties, ReplyCode, ShortStr};
use crate::broker::{Broker, is_reply_name};
use crate::ids::DeliveryTag;
use crate::limits;
use crate::message::Message;
use crate::metadata::server_name;

/// What a requester consumes, and gives in `reply-to`.
pub(crate) const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// A channel's consumer of replies. It has at most one.
#[derive(Debug)]
pub(super) struct ReplyConsumer {
    tag: ShortStr,
    /// What the others see in `reply-to`.
    name: ShortStr,
}

impl Channel {
    /// Begins to take replies. The order of checks is RabbitMQ's.
    ///
    /// # Errors
    /// 530 NOT_ALLOWED on the connection for a tag that is in use, 406 PRECONDITION_FAILED on the channel for a consumer that wants
    /// to ack or that is the second.
    pub(super) fn consume_replies(
        &mut self,
        ctx: &mut ChannelCtx<'_>,
        consume: &basic::Consume,
    ) -> Result<Flow, AmqpError> {
        if self.consumers_by_tag.contains_key(&consume.consumer_tag) {
            let text = alloc::format!("attempt to reuse consumer tag '{}'", consume.consumer_tag);
            return Err(AmqpError::connection(ReplyCode::NotAllowed, text));
        }
        if !consume.no_ack {
            return Err(AmqpError::channel(ReplyCode::PreconditionFailed, "reply consumer cannot acknowledge"));
        }
        if self.reply_consumer.is_some() {
            return Err(AmqpError::channel(ReplyCode::PreconditionFailed, "reply consumer already set"));
        }
        let tag = if consume.consumer_tag.is_empty() {
            server_name("amq.ctag-", ctx.broker.random_bytes())
        } else {
            consume.consumer_tag.detached()
        };
        let name = ctx.broker.add_reply_consumer(self.reference(ctx.connection));
        self.reply_consumer = Some(ReplyConsumer { tag: tag.clone(), name });
        if !consume.no_wait {
            ctx.outbox.method(self.number, basic::ConsumeOk { consumer_tag: tag });
        }
        Ok(Flow::Done)
    }

    /// Takes no more replies if this is the tag of the consumer of replies.
    pub(super) fn cancel_replies(&mut self, ctx: &mut ChannelCtx<'_>, tag: &ShortStr) {
        if let Some(consumer) = self.reply_consumer.take_if(|consumer| consumer.tag == *tag) {
            ctx.broker.remove_reply_consumer(&consumer.name);
        }
    }

    /// Takes no more replies, because the channel ends.
    pub(super) fn leave_replies(&mut self, broker: &mut Broker) {
        if let Some(consumer) = self.reply_consumer.take() {
            broker.remove_reply_consumer(&consumer.name);
        }
    }

    /// Puts the name that leads back here into a request's properties.
    ///
    /// # Errors
    /// 406 PRECONDITION_FAILED on the channel if it takes no replies.
    pub(super) fn with_reply_name(&self, properties: &RawProperties<&[u8]>) -> Result<RawProperties, AmqpError> {
        let Some(consumer) = &self.reply_consumer else {
            let text = "fast reply consumer does not exist";
            return Err(AmqpError::channel(ReplyCode::PreconditionFailed, text));
        };
        let mut properties = properties.decode();
        properties.reply_to = Some(consumer.name.clone());
        Ok(RawProperties::from(&properties))
    }

    /// Somebody published to `name`, which was this channel's when it was.
    pub(crate) fn on_reply(&mut self, ctx: &mut ChannelCtx<'_>, name: &ShortStr, message: &Message) {
        let Some(consumer) = self.reply_consumer.as_ref().filter(|consumer| consumer.name == *name) else { return };
        // There is no queue in which a reply could wait for a slow reader, and at most once is all that is promised.
        if ctx.outbox.waiting() > limits::REPLY_OUTBOX_BYTES_MAX {
            return;
        }
        let tag = self.next_tag;
        self.next_tag = DeliveryTag(tag.0 + 1);
        ctx.outbox.deliver(self.number, &consumer.tag, tag, false, message);
    }

    /// Answers `queue.declare` of a reply name, passive or not, which tells a responder whether the requester is still there.
    /// `None` if the name is an ordinary one.
    ///
    /// # Errors
    /// 404 NOT_FOUND on the channel if it is not.
    pub(super) fn declare_reply_name(
        &mut self,
        ctx: &mut ChannelCtx<'_>,
        name: &ShortStr,
        no_wait: bool,
    ) -> Option<Result<Flow, AmqpError>> {
        if *name != REPLY_TO && !is_reply_name(name.as_bytes()) {
            return None;
        }
        if *name != REPLY_TO && !ctx.broker.has_reply_consumer(name.as_bytes()) {
            let text = alloc::format!("no queue '{name}' in vhost '{}'", ctx.vhost_name);
            return Some(Err(AmqpError::channel(ReplyCode::NotFound, text)));
        }
        self.last_queue = Some(name.detached());
        if !no_wait {
            let queue = name.detached();
            ctx.outbox.method(self.number, queue::DeclareOk { queue, message_count: 0, consumer_count: 1 });
        }
        Some(Ok(Flow::Done))
    }
}
