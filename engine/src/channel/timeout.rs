//! Consumers that take too long to ack (RabbitMQ docs: Consumers / Acknowledgement Timeout).
//!
//! RabbitMQ 4.3's rule for quorum queues, here for all: what such a consumer has goes back to its queue, without counting as a failed
//! delivery, and the consumer is cancelled; a client that cannot be told of that has its channel closed instead, which is what all
//! versions before did. A consumer of the same tag gets nothing before the client has settled what was taken from the one before: it
//! is still at it. That settling, however late, is no mistake of the client's, which cannot know what it crossed; it has no effect.
//!
//! Each delivery carries when it is due, so that nothing is looked at before the first is.

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::ack::Settlement;
use super::{Channel, ChannelCtx, Outcome};
use crate::amqp::{AmqpError, ReplyCode, ShortStr};
use crate::broker::Broker;
use crate::event::Event;
use crate::ids::ConnectionId;
use crate::limits;
use crate::queue::ConsumerKey;
use crate::routing::QueueKey;
use crate::time::Instant;
use crate::timer::{TimerFor, TimerKind};

/// When a delivery without a timeout is due.
pub(super) const NEVER: Instant = Instant::from_micros(u64::MAX);

/// How long a consumer may take: what it asked for, else what its queue says, else the node. `None` is any time.
pub(super) fn timeout(broker: &Broker, queue: QueueKey, own: Option<Duration>) -> Option<Duration> {
    let of_queue = || broker.metadata.queue_by_key(queue)?.settings.consumer_timeout_ms.map(Duration::from_millis);
    own.or_else(of_queue).or(broker.config.consumer_timeout)
}

impl Channel {
    /// Sees to it that the channel is woken when a delivery is due.
    pub(super) fn watch(&mut self, broker: &mut Broker, connection: ConnectionId, due: Instant) {
        if due >= self.watched {
            return;
        }
        self.unwatch(broker, connection);
        self.watched = due;
        broker.timers.set(due, TimerKind::ConsumerTimeout, TimerFor::Channel(connection, self.number));
    }

    /// Takes that back.
    pub(super) fn unwatch(&mut self, broker: &mut Broker, connection: ConnectionId) {
        if self.watched != NEVER {
            broker.timers.cancel(self.watched, TimerKind::ConsumerTimeout, TimerFor::Channel(connection, self.number));
            self.watched = NEVER;
        }
    }

    /// A delivery may be due.
    pub(crate) fn on_consumer_timeout(&mut self, ctx: &mut ChannelCtx<'_>) -> Outcome {
        let now = ctx.broker.now.mono;
        if self.watched > now {
            return Outcome::Open;
        }
        self.watched = NEVER;
        let mut late: Vec<(QueueKey, ConsumerKey)> = Vec::new();
        let mut is_any_late = false;
        for (_, delivered) in self.unacked.iter().filter(|(_, delivered)| delivered.due <= now) {
            is_any_late = true;
            let consumer = delivered.consumer.map(|key| (delivered.queue, key));
            let here = consumer.filter(|consumer| self.index_of(*consumer).is_some());
            late.extend(here.filter(|consumer| !late.contains(consumer)));
        }
        if is_any_late && !ctx.takes_cancel_notify {
            return self.fail_late(ctx, late.first().copied());
        }
        for consumer in late {
            self.end_late_consumer(ctx, consumer);
        }
        // What was got, or came by a consumer that is gone, has nobody to be told.
        self.take_back(ctx, None, &ShortStr::new(), |due| due <= now);
        let due = self.unacked.iter().map(|(_, delivered)| delivered.due).min().unwrap_or(NEVER);
        if due != NEVER {
            self.watch(ctx.broker, ctx.connection, due.max(now + limits::CONSUMER_TIMEOUT_TICK));
        }
        Outcome::Open
    }

    /// What holds for a queue has changed, and with it how long its consumers may take for what they get from here on.
    pub(crate) fn on_queue_settings(&mut self, ctx: &ChannelCtx<'_>, index: u32, key: ConsumerKey) {
        if let Some(Some(consumer)) = self.consumers.get_mut(index as usize)
            && consumer.key == key
        {
            consumer.timeout = timeout(ctx.broker, consumer.queue, consumer.own_timeout);
        }
    }

    /// Whether a consumer of this tag still has to settle what was taken back from it.
    pub(super) fn is_barred(&self, tag: &ShortStr) -> bool {
        self.timed_out.values().any(|other| other == tag)
    }

    /// The client settles what was taken back, which is nobody's loss. Whether there was such a delivery.
    pub(super) fn settle_timed_out(&mut self, ctx: &mut ChannelCtx<'_>, tag: u64, multiple: bool) -> bool {
        if self.timed_out.is_empty() {
            return false;
        }
        let rest = match (multiple, tag) {
            (true, 0) => alloc::collections::BTreeMap::new(),
            (true, _) => self.timed_out.split_off(&(tag + 1)),
            (false, _) => {
                let Some(consumer_tag) = self.timed_out.remove(&tag) else { return false };
                self.admit(ctx, &consumer_tag);
                return true;
            }
        };
        let settled = core::mem::replace(&mut self.timed_out, rest);
        let is_known = settled.contains_key(&tag);
        let mut tags: Vec<ShortStr> = settled.into_values().collect();
        tags.dedup();
        for consumer_tag in tags {
            self.admit(ctx, &consumer_tag);
        }
        is_known
    }

    /// Lets a consumer have messages again, if it has settled all.
    fn admit(&self, ctx: &mut ChannelCtx<'_>, tag: &ShortStr) {
        if self.is_barred(tag) {
            return;
        }
        let Some(index) = self.consumers_by_tag.get(tag) else { return };
        let Some(Some(consumer)) = self.consumers.get(*index as usize) else { return };
        ctx.broker.admit(consumer.queue, consumer.key);
    }

    /// Where a consumer is. Its key alone may be that of another one at another queue.
    fn index_of(&self, (queue, key): (QueueKey, ConsumerKey)) -> Option<u32> {
        let index = self
            .consumers
            .iter()
            .position(|slot| slot.as_ref().is_some_and(|consumer| (consumer.queue, consumer.key) == (queue, key)))?;
        u32::try_from(index).ok()
    }

    fn end_late_consumer(&mut self, ctx: &mut ChannelCtx<'_>, late: (QueueKey, ConsumerKey)) {
        let Some(index) = self.index_of(late) else { return };
        let (queue, key) = late;
        let Some(Some(consumer)) = self.consumers.get(index as usize) else { return };
        let tag = consumer.tag.clone();
        ctx.broker.events.push(Event::ConsumerTimedOut {
            connection: ctx.connection,
            channel: self.number,
            consumer_tag: tag.to_string_lossy().into_owned(),
        });
        self.on_consumer_gone(ctx, index, key);
        ctx.broker.unsubscribe(queue, key);
        self.take_back(ctx, Some(late), &tag, |_| true);
    }

    /// Returns deliveries to their queues: those of one consumer, or of none that is here, and due as wished.
    fn take_back(
        &mut self,
        ctx: &mut ChannelCtx<'_>,
        consumer: Option<(QueueKey, ConsumerKey)>,
        tag: &ShortStr,
        is_wanted: impl Fn(Instant) -> bool,
    ) {
        let wanted = self.unacked.iter().filter(|(_, delivered)| {
            is_wanted(delivered.due)
                && consumer.is_none_or(|(queue, key)| (delivered.queue, delivered.consumer) == (queue, Some(key)))
        });
        let wanted: Vec<u64> = wanted.map(|(number, _)| number).collect();
        for number in wanted {
            let delivered = self.unacked.remove(number).expect("it was looked at");
            self.timed_out.insert(number, tag.clone());
            self.apply_settlement(ctx, delivered, Settlement::Requeue);
        }
        ctx.broker.trim_returned();
    }

    /// The words are RabbitMQ's.
    fn fail_late(&mut self, ctx: &mut ChannelCtx<'_>, consumer: Option<(QueueKey, ConsumerKey)>) -> Outcome {
        let index = consumer.and_then(|late| self.index_of(late));
        let slot = index.and_then(|index| self.consumers.get(index as usize)?.as_ref());
        let used = slot.map_or(ctx.broker.config.consumer_timeout, |consumer| consumer.timeout).unwrap_or_default();
        let text = format!(
            "delivery acknowledgement on channel {} timed out. Timeout value used: {} ms. This timeout value can be configured, see \
             consumers doc guide to learn more",
            self.number.0,
            used.as_millis()
        );
        self.fail(ctx, AmqpError::channel(ReplyCode::PreconditionFailed, text))
    }
}
