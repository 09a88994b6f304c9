//! `basic.consume`, `cancel`, `get` and `qos`.

use alloc::format;
use core::time::Duration;

use super::direct_reply::REPLY_TO;
use super::{Channel, ChannelConsumer, ChannelCtx, Flow, Outcome, Reply, State, Wait, timeout};
use crate::amqp::method::basic;
use crate::amqp::{AmqpError, FieldValue, ReplyCode, ShortStr};
use crate::broker::{Broker, Wanted};
use crate::metadata::{Access, server_name};
use crate::mutants::{Mutant, is_planted};
use crate::queue::{Consumer, ConsumerKey, Get, QueueKind, Subscriber};
use crate::routing::QueueKey;

impl Channel {
    pub(super) fn consume(&mut self, ctx: &mut ChannelCtx<'_>, consume: &basic::Consume) -> Result<Flow, AmqpError> {
        if consume.queue == REPLY_TO {
            return self.consume_replies(ctx, consume);
        }
        // Before the queue, as RabbitMQ does: a client that mixes up its tags loses the connection whatever it asked for.
        if self.consumers_by_tag.contains_key(&consume.consumer_tag) {
            let text = format!("attempt to reuse consumer tag '{}'", consume.consumer_tag);
            return Err(AmqpError::connection(ReplyCode::NotAllowed, text));
        }
        self.check_consumer_limit(ctx)?;
        ctx.check_queue(Access::Read, self.bound_queue(&consume.queue)?.as_bytes())?;
        let key = self.find_queue(ctx, &consume.queue)?;
        let tag = if consume.consumer_tag.is_empty() {
            server_name("amq.ctag-", ctx.broker.random_bytes())
        } else {
            consume.consumer_tag.detached()
        };
        let index = self.consumers.iter().position(Option::is_none).unwrap_or(self.consumers.len());
        let index = u32::try_from(index).expect("consumers of a channel are fewer than 2^32");
        let mut prefetch = u32::from(self.prefetch);
        if prefetch > 0 && is_planted(Mutant::PrefetchOffByOne) {
            prefetch += 1;
        }
        // RabbitMQ docs: Quorum Queues / Feature Matrix: exclusive consumers are not known there; the flag means nothing.
        let is_quorum =
            ctx.broker.metadata.queue_by_key(key).is_some_and(|queue| queue.arguments.kind == QueueKind::Quorum);
        let exclusive = consume.exclusive && !is_quorum;
        check_no_offset(ctx, consume, is_quorum)?;
        let priority = priority(ctx, consume)?;
        let own_timeout = own_timeout(ctx, consume)?;
        let timeout = timeout::timeout(ctx.broker, key, own_timeout);
        let is_barred = self.is_barred(&tag);
        let arguments = consume.arguments.detached();
        if ctx.broker.is_remote(key) {
            let wanted = Wanted { index, no_ack: consume.no_ack, exclusive, prefetch, priority, is_barred };
            let consumer_key = ctx.broker.consume_remote(self.reference(ctx.connection), key, wanted)?;
            self.keep_consumer(
                index,
                ChannelConsumer { tag, queue: key, key: consumer_key, arguments, timeout, own_timeout },
            );
            return Ok(Flow::Wait(Wait::Consume { index, key: consumer_key, no_wait: consume.no_wait }));
        }
        let who = Subscriber::Channel { connection: ctx.connection, channel: self.number, index };
        let mut consumer = Consumer::new(who, consume.no_ack, exclusive, prefetch).with_priority(priority);
        if is_barred {
            consumer = consumer.barred();
        }
        let queue = ctx.broker.queues.get_mut(key).expect("a record has a machine");
        let others = queue.consumers();
        let is_shared = others.len() > 0 || others.is_single_active();
        if others.has_exclusive() || (exclusive && is_shared) {
            let name = ctx.broker.metadata.queue_by_key(key).map(|record| record.name.clone()).unwrap_or_default();
            let text = format!("queue '{name}' in vhost '{}' in exclusive use", ctx.vhost_name);
            return Err(AmqpError::channel(ReplyCode::AccessRefused, text));
        }
        let consumer_key = queue.subscribe(consumer);
        let slot = ChannelConsumer { tag: tag.clone(), queue: key, key: consumer_key, arguments, timeout, own_timeout };
        self.keep_consumer(index, slot);
        if !consume.no_wait {
            ctx.outbox.method(self.number, basic::ConsumeOk { consumer_tag: tag });
        }
        ctx.broker.activate(key);
        Ok(Flow::Done)
    }

    fn keep_consumer(&mut self, index: u32, consumer: ChannelConsumer) {
        self.consumers_by_tag.insert(consumer.tag.clone(), index);
        let slot = Some(consumer);
        match self.consumers.get_mut(index as usize) {
            Some(free) => *free = slot,
            None => self.consumers.push(slot),
        }
    }

    /// A queue of another node has taken a consumer, or not.
    pub(crate) fn on_subscribed(
        &mut self,
        ctx: &mut ChannelCtx<'_>,
        key: ConsumerKey,
        result: Result<(), AmqpError>,
    ) -> Outcome {
        let awaited = match self.state {
            State::Waiting(Wait::Consume { index, key: awaited, no_wait }) if awaited == key => Some((index, no_wait)),
            _ => None,
        };
        let Some((index, no_wait)) = awaited else {
            // It was moved, and another one has come before it that is to be the only one.
            let of_key = |slot: &Option<ChannelConsumer>| slot.as_ref().is_some_and(|consumer| consumer.key == key);
            if result.is_err()
                && let Some(at) = self.consumers.iter().position(of_key)
            {
                self.on_consumer_gone(ctx, u32::try_from(at).unwrap_or(u32::MAX), key);
            }
            return Outcome::Open;
        };
        self.state = State::Open;
        if let Err(error) = result {
            return self.fail(ctx, error.blamed_on(&basic::Consume::default().into()));
        }
        let consumer = self.consumers.get(index as usize).and_then(Option::as_ref);
        if let Some(consumer) = consumer.filter(|_| !no_wait) {
            let consumer_tag = consumer.tag.clone();
            ctx.outbox.method(self.number, basic::ConsumeOk { consumer_tag });
        }
        self.resume(ctx)
    }

    /// Whether the channel may have one more consumer.
    ///
    /// # Errors
    /// 530 NOT_ALLOWED on the connection, if `consumer_max_per_channel` is reached.
    fn check_consumer_limit(&self, ctx: &ChannelCtx<'_>) -> Result<(), AmqpError> {
        match ctx.broker.config.consumer_max_per_channel {
            Some(limit) if self.consumers_by_tag.len() >= limit as usize => {
                let text = format!("reached maximum ({limit}) of consumers per channel");
                Err(AmqpError::connection(ReplyCode::NotAllowed, text))
            }
            _ => Ok(()),
        }
    }

    /// Ends a consumer. What it has not acked stays unacked; a tag that is not there is no mistake.
    pub(super) fn cancel(&mut self, ctx: &mut ChannelCtx<'_>, cancel: basic::Cancel) -> Result<Flow, AmqpError> {
        if let Some(index) = self.consumers_by_tag.remove(&cancel.consumer_tag)
            && let Some(consumer) = self.consumers.get_mut(index as usize).and_then(Option::take)
        {
            if ctx.broker.is_remote(consumer.queue) && ctx.broker.await_cancel(consumer.key) {
                let cancel_ok = basic::CancelOk { consumer_tag: cancel.consumer_tag };
                let reply = if cancel.no_wait { Reply::None } else { Reply::Method(cancel_ok.into()) };
                return Ok(Flow::Wait(Wait::Cancel(reply)));
            }
            ctx.broker.unsubscribe(consumer.queue, consumer.key);
        }
        self.cancel_replies(ctx, &cancel.consumer_tag);
        if !cancel.no_wait {
            ctx.outbox.method(self.number, basic::CancelOk { consumer_tag: cancel.consumer_tag });
        }
        Ok(Flow::Done)
    }

    /// A queue of another node has let a consumer go, or is gone itself.
    pub(crate) fn on_cancelled(&mut self, ctx: &mut ChannelCtx<'_>) -> Outcome {
        if !matches!(self.state, State::Waiting(Wait::Cancel(_))) {
            return Outcome::Open;
        }
        let State::Waiting(Wait::Cancel(reply)) = core::mem::replace(&mut self.state, State::Open) else {
            unreachable!("it was looked at");
        };
        if let Reply::Method(method) = reply {
            ctx.outbox.method(self.number, method);
        }
        self.resume(ctx)
    }

    /// A consumer's queue is used as one with replicas from here on: the consumer goes on there.
    pub(crate) fn on_consumer_moved(&mut self, ctx: &mut ChannelCtx<'_>, key: ConsumerKey, wanted: Wanted) {
        let index = wanted.index;
        let Some(Some(consumer)) = self.consumers.get(index as usize) else { return };
        if consumer.key != key {
            return;
        }
        let queue = consumer.queue;
        self.waiting_consumers.retain(|waiting| *waiting != (queue, key));
        let Ok(next) = ctx.broker.consume_remote(self.reference(ctx.connection), queue, wanted) else {
            return self.on_consumer_gone(ctx, index, key);
        };
        if let Some(Some(consumer)) = self.consumers.get_mut(index as usize) {
            consumer.key = next;
        }
    }

    /// A consumer's queue has gone (RabbitMQ docs: Consumer Cancellation Notification).
    pub(crate) fn on_consumer_gone(&mut self, ctx: &mut ChannelCtx<'_>, index: u32, key: ConsumerKey) {
        let Some(slot) = self.consumers.get_mut(index as usize) else { return };
        if slot.as_ref().is_none_or(|consumer| consumer.key != key) {
            return;
        }
        let Some(consumer) = slot.take() else { return };
        self.consumers_by_tag.remove(&consumer.tag);
        if ctx.takes_cancel_notify {
            ctx.outbox.method(self.number, basic::Cancel { consumer_tag: consumer.tag, no_wait: true });
        }
    }

    pub(super) fn get(&self, ctx: &mut ChannelCtx<'_>, get: &basic::Get) -> Result<Flow, AmqpError> {
        ctx.check_queue(Access::Read, self.bound_queue(&get.queue)?.as_bytes())?;
        let key = self.find_queue(ctx, &get.queue)?;
        let record = ctx.broker.metadata.queue_by_key(key);
        if record.is_some_and(|record| record.arguments.single_active_consumer) {
            return Err(single_active_get(ctx, key));
        }
        if ctx.broker.is_remote(key) {
            ctx.broker.get_remote(self.reference(ctx.connection), key, get.no_ack)?;
            return Ok(Flow::Wait(Wait::Get));
        }
        let get = Get { who: Subscriber::asker(ctx.connection, self.number), no_ack: get.no_ack };
        ctx.broker.touch(key);
        ctx.broker.expire(key, true);
        let queue = ctx.broker.queues.get_mut(key).expect("the queue is still there");
        if queue.get(get) {
            ctx.broker.activate(key);
            return Ok(Flow::Wait(Wait::Get));
        }
        ctx.outbox.method(self.number, basic::GetEmpty {});
        Ok(Flow::Done)
    }

    /// Sets how much may be unacked (RabbitMQ docs: Consumer Prefetch: per consumer unless global, which means per channel).
    pub(super) fn qos(&mut self, ctx: &mut ChannelCtx<'_>, qos: &basic::Qos) -> Result<Flow, AmqpError> {
        if qos.prefetch_size != 0 {
            let text = format!("prefetch_size!=0 ({})", qos.prefetch_size);
            return Err(AmqpError::connection(ReplyCode::NotImplemented, text));
        }
        if qos.global {
            self.prefetch_global = qos.prefetch_count;
            self.resume_waiting_consumers(ctx.broker);
        } else {
            self.prefetch = qos.prefetch_count;
        }
        ctx.outbox.method(self.number, basic::QosOk {});
        Ok(Flow::Done)
    }

    /// Whether the shared prefetch leaves room for one more delivery to a consumer.
    pub(crate) fn has_room(&self) -> bool {
        self.prefetch_global == 0 || self.unacked_by_consumers < u32::from(self.prefetch_global)
    }

    /// Keeps a consumer that was paused for want of room, to resume it.
    pub(crate) fn keep_waiting_consumer(&mut self, queue: QueueKey, consumer: ConsumerKey) {
        self.waiting_consumers.push((queue, consumer));
    }

    pub(super) fn resume_waiting_consumers(&mut self, broker: &mut Broker) {
        if self.waiting_consumers.is_empty() || !self.has_room() {
            return;
        }
        for (key, consumer) in self.waiting_consumers.drain(..) {
            broker.resume(key, consumer);
        }
    }

    /// The name an empty queue name stands for.
    pub(super) fn queue_name_or_last(&self, name: &ShortStr) -> ShortStr {
        if name.is_empty() { self.last_queue.clone().unwrap_or_default() } else { name.clone() }
    }

    /// The queue of this name, if this connection may use it.
    ///
    /// # Errors
    /// 404 NOT_FOUND, 405 RESOURCE_LOCKED, on the channel.
    pub(super) fn find_queue(&self, ctx: &ChannelCtx<'_>, name: &ShortStr) -> Result<QueueKey, AmqpError> {
        let name = match (name.is_empty(), &self.last_queue) {
            (false, _) => name,
            (true, Some(last)) => last,
            (true, None) => return Err(AmqpError::channel(ReplyCode::NotFound, "no previously declared queue")),
        };
        let (key, _) = ctx.broker.metadata.expect_queue(ctx.vhost, name.as_bytes())?;
        ctx.broker.metadata.check_exclusive(key, ctx.connection)?;
        Ok(key)
    }
}

/// Only the single active consumer may have what is in such a queue (RabbitMQ docs: Single Active Consumer). RabbitMQ refuses this on
/// quorum queues only.
fn single_active_get(ctx: &ChannelCtx<'_>, key: QueueKey) -> AmqpError {
    let record = ctx.broker.metadata.queue_by_key(key);
    let name = record.map(|record| record.name.clone()).unwrap_or_default();
    let kind = record.and_then(|record| record.raw_arguments.get("x-queue-type")).and_then(FieldValue::as_str);
    let kind = kind.unwrap_or("classic");
    let text = format!(
        "cannot obtain access to locked queue '{name}' in vhost '{}'. basic.get operations are not supported by {kind} \
         queues with single active consumer",
        ctx.vhost_name
    );
    AmqpError::channel(ReplyCode::ResourceLocked, text)
}

/// The consumer's priority: any integer, 0 if none is given (RabbitMQ docs: Consumer Priorities).
fn priority(ctx: &ChannelCtx<'_>, consume: &basic::Consume) -> Result<i64, AmqpError> {
    Ok(integer(ctx, consume, "x-priority")?.unwrap_or(0))
}

/// How long the consumer wants to take to ack, if it says so: any number of milliseconds but 0 (RabbitMQ docs: Consumers).
fn own_timeout(ctx: &ChannelCtx<'_>, consume: &basic::Consume) -> Result<Option<Duration>, AmqpError> {
    const KEY: &str = "x-consumer-timeout";
    match integer(ctx, consume, KEY)? {
        None => Ok(None),
        Some(0) => Err(invalid(ctx, consume, KEY, "{value_zero,0}")),
        Some(number) => {
            let negative = || invalid(ctx, consume, KEY, &format!("{{value_negative,{number}}}"));
            Ok(Some(Duration::from_millis(u64::try_from(number).map_err(|_| negative())?)))
        }
    }
}

/// Whoever asks for an offset believes to read a stream, where reading takes nothing away.
///
/// # Errors
/// Channel error 406 PRECONDITION_FAILED, as RabbitMQ has it.
fn check_no_offset(ctx: &ChannelCtx<'_>, consume: &basic::Consume, is_quorum: bool) -> Result<(), AmqpError> {
    if consume.arguments.get("x-stream-offset").is_none() {
        return Ok(());
    }
    let kind = if is_quorum { "rabbit_quorum_queue" } else { "rabbit_classic_queue" };
    let (queue, vhost) = (&consume.queue, ctx.vhost_name);
    let text = format!("invalid arg 'x-stream-offset' for queue '{queue}' in vhost '{vhost}' of queue type {kind}");
    Err(AmqpError::channel(ReplyCode::PreconditionFailed, text))
}

fn integer(ctx: &ChannelCtx<'_>, consume: &basic::Consume, key: &str) -> Result<Option<i64>, AmqpError> {
    let Some(value) = consume.arguments.get(key) else { return Ok(None) };
    let wrong_type = || invalid(ctx, consume, key, &format!("\"expected integer, got {}\"", value.type_name()));
    value.as_integer().map(Some).ok_or_else(wrong_type)
}

fn invalid(ctx: &ChannelCtx<'_>, consume: &basic::Consume, key: &str, reason: &str) -> AmqpError {
    let (queue, vhost) = (&consume.queue, ctx.vhost_name);
    let text = format!("invalid arg '{key}' for queue '{queue}' in vhost '{vhost}': {reason}");
    AmqpError::channel(ReplyCode::PreconditionFailed, text)
}
