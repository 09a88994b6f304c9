//! `basic.publish`: checks, routing, and when to confirm.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use super::direct_reply::REPLY_TO;
use super::tx::TxPublish;
use super::{Channel, ChannelCtx, Flow};
use crate::amqp::{AmqpError, PublishHead, RawProperties, ReplyCode};
use crate::broker::{Durable, Published};
use crate::event::Event;
use crate::ids::PublishSeqno;
use crate::message::{BodySource, Message, SelectedKeys, UnacceptableType};
use crate::metadata::{Access, EXPIRY_MAX_MS};
use crate::mutants::{Mutant, is_planted};

/// `delivery-mode` of a message that is to survive a restart (AMQP 0-9-1 §1.8.2).
const PERSISTENT: u8 = 2;

impl Channel {
    /// Takes a message. The order of checks is RabbitMQ's, since it decides which error a client sees.
    pub(super) fn publish(
        &mut self,
        ctx: &mut ChannelCtx<'_>,
        head: PublishHead<'_>,
        body: BodySource<'_>,
    ) -> Result<Flow, AmqpError> {
        ctx.has_published = true;
        let PublishHead { routing, mandatory, immediate, properties } = head;
        if immediate {
            return Err(AmqpError::connection(ReplyCode::NotImplemented, "immediate=true"));
        }
        let (exchange, checks_keys) = self.writable.check(ctx, routing.exchange())?;
        if ctx.broker.metadata.exchange_by_key(exchange).is_some_and(|record| record.internal) {
            let text = format!(
                "cannot publish to internal exchange '{}' in vhost '{}'",
                String::from_utf8_lossy(routing.exchange()),
                ctx.vhost_name
            );
            return Err(AmqpError::channel(ReplyCode::AccessRefused, text));
        }
        let own;
        let properties = match properties.reply_to() {
            Some(name) if name == REPLY_TO.as_bytes() => {
                own = self.with_reply_name(&properties)?;
                own.borrowed()
            }
            _ => properties,
        };
        self.check_properties(ctx, &properties)?;
        let persistent = properties.delivery_mode() == Some(PERSISTENT);
        let own_key = routing.routing_key();
        if checks_keys {
            ctx.check_key(Access::Write, routing.exchange(), own_key)?;
        }
        let (is_routed, message) = match SelectedKeys::find(&properties).map_err(|error| unacceptable(&error))? {
            None => {
                let is_routed = ctx.broker.route(exchange, &[own_key], &properties);
                (is_routed, Message::new(&routing, &properties, body))
            }
            Some(selected) => {
                if checks_keys {
                    for key in selected.with_own(own_key) {
                        ctx.check_key(Access::Write, routing.exchange(), key)?;
                    }
                }
                let properties = selected.stripped.as_ref().map_or(properties, RawProperties::borrowed);
                let is_routed = ctx.broker.route(exchange, &selected.with_own(own_key), &properties);
                (is_routed, Message::with_hidden_keys(&routing, &properties, &selected.bcc, body))
            }
        };
        let message = Arc::new(message);
        if ctx.broker.is_traced(ctx.vhost) {
            let witness = ctx.witness(self.number);
            ctx.broker.trace_publish(&witness, &message);
        }
        if let Some(tx) = &mut self.tx {
            let routed = ctx.broker.take_routed(&message);
            tx.publish(TxPublish { message, persistent, mandatory, routed })?;
            return Ok(Flow::Done);
        }
        let seqno = self.confirms.as_mut().map(super::Confirms::number);
        let published = if is_routed {
            ctx.broker.enqueue(&message, persistent, Some(self.reference(ctx.connection)), seqno)
        } else {
            Published::Unroutable
        };
        let is_replied = ctx.broker.send_reply(&message);
        if published == Published::Unroutable && !is_replied {
            ctx.broker.note_unroutable(exchange, &message, mandatory);
            if mandatory {
                self.give_back_unroutable(ctx, &message);
            }
        }
        if let Some(seqno) = seqno {
            match published {
                Published::KeptAt(until) => {
                    let channel = self.reference(ctx.connection);
                    ctx.broker.wait_for_log(until, channel, Durable::Publish(seqno));
                }
                Published::Kept | Published::Unroutable => self.on_safe(ctx, seqno),
                Published::Refused => self.on_refused(ctx, seqno),
                Published::Awaited => {}
            }
        }
        Ok(Flow::Done)
    }

    /// Sends a mandatory message back that no queue took. It goes out before the confirm (RabbitMQ docs: Publisher Confirms).
    pub(super) fn give_back_unroutable(&self, ctx: &mut ChannelCtx<'_>, message: &Message) {
        ctx.outbox.give_back(self.number, ReplyCode::NoRoute, message);
    }

    /// A publish is as safe as it will be.
    pub(super) fn on_safe(&mut self, ctx: &mut ChannelCtx<'_>, seqno: PublishSeqno) {
        let Some(confirms) = &mut self.confirms else { return };
        confirms.on_safe(seqno);
        if !self.has_news {
            self.has_news = true;
            ctx.has_confirms = true;
        }
    }

    /// A publish was refused by a queue (RabbitMQ docs: Queue Length Limit / reject-publish).
    pub(super) fn on_refused(&mut self, ctx: &mut ChannelCtx<'_>, seqno: PublishSeqno) {
        let Some(confirms) = &mut self.confirms else { return };
        if is_planted(Mutant::RejectPublishWithoutNack) {
            return;
        }
        confirms.on_refused(seqno);
        if !self.has_news {
            self.has_news = true;
            ctx.has_confirms = true;
        }
    }

    /// Confirms what became safe since the last time.
    pub(crate) fn tell_confirms(&mut self, ctx: &mut ChannelCtx<'_>) {
        self.has_news = false;
        let Some(confirms) = &mut self.confirms else { return };
        if !ctx.broker.config.fine_events {
            confirms.tell(self.number, ctx.outbox, |_| {});
            return;
        }
        let (connection, channel, events) = (ctx.connection, self.number, &mut ctx.broker.events);
        confirms.tell(channel, ctx.outbox, |seqno| events.push(Event::Confirmed { connection, channel, seqno }));
    }

    /// Checks the properties that say something about the publisher or the queue (RabbitMQ docs: Validated User-ID, TTL).
    fn check_properties(&self, ctx: &ChannelCtx<'_>, properties: &RawProperties<&[u8]>) -> Result<(), AmqpError> {
        if let Some(expiration) = properties.expiration() {
            check_expiration(expiration)?;
        }
        if let Some(user_id) = properties.user_id()
            && user_id != ctx.user.as_bytes()
            && !ctx.broker.metadata.user(ctx.user.as_bytes()).is_some_and(|user| user.has_tag("impersonator"))
        {
            let text = {
                let user_id = String::from_utf8_lossy(user_id);
                format!("user_id property set to '{user_id}' but authenticated user was '{}'", ctx.user)
            };
            return Err(AmqpError::channel(ReplyCode::PreconditionFailed, text));
        }
        Ok(())
    }
}

/// RabbitMQ's words for a `CC` or `BCC` header that is no array.
fn unacceptable(error: &UnacceptableType) -> AmqpError {
    let UnacceptableType { header, type_name } = error;
    let text = format!("invalid message: {{unacceptable_type_in_header,\"{header}\",{type_name}}}");
    AmqpError::channel(ReplyCode::PreconditionFailed, text)
}

/// An expiration is a number of milliseconds in decimal digits, up to ten years (RabbitMQ docs: Time-To-Live). The reasons are
/// RabbitMQ's.
fn check_expiration(expiration: &[u8]) -> Result<(), AmqpError> {
    let invalid = |reason: &str| {
        let shown = String::from_utf8_lossy(expiration);
        AmqpError::channel(ReplyCode::PreconditionFailed, format!("invalid expiration '{shown}': {reason}"))
    };
    let text = core::str::from_utf8(expiration).map_err(|_| invalid("no_integer"))?;
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_negative = text.starts_with('-');
    let end = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = unsigned.split_at(end);
    if digits.is_empty() {
        return Err(invalid("no_integer"));
    }
    if !rest.is_empty() {
        return Err(invalid(&format!("{{leftover_string,\"{rest}\"}}")));
    }
    let significant = digits.trim_start_matches('0');
    if is_negative && !significant.is_empty() {
        return Err(invalid(&format!("{{value_negative,-{significant}}}")));
    }
    if !significant.is_empty() && !significant.parse().is_ok_and(|millis: i64| millis <= EXPIRY_MAX_MS) {
        return Err(invalid(&format!("{{value_too_large,{significant}}}")));
    }
    Ok(())
}
