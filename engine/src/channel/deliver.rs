//! Deliveries: a message a queue gave out becomes `basic.deliver` or `basic.get-ok`.

use super::{Channel, ChannelCtx, Delivered, Outcome, State, Wait, timeout};
use crate::amqp::AmqpError;
use crate::amqp::method::basic;
use crate::ids::DeliveryTag;
use crate::queue::{Subscriber, Subscription, Taken};
use crate::routing::QueueKey;

impl Channel {
    /// Sends a message to the consumer or the `basic.get` it was taken for.
    pub(crate) fn deliver(
        &mut self,
        ctx: &mut ChannelCtx<'_>,
        queue: QueueKey,
        subscription: &Subscription,
        taken: &Taken,
    ) -> Outcome {
        // Only what comes again says how often it came in vain.
        let came_back = taken.deliveries > 0 || taken.acquired > 0;
        let counted = came_back.then(|| taken.message.with_counts(taken.deliveries, taken.acquired));
        let message = counted.as_ref().unwrap_or(&taken.message);
        let tag = self.next_tag;
        self.next_tag = DeliveryTag(tag.0 + 1);
        if ctx.broker.is_traced(ctx.vhost) {
            let witness = ctx.witness(self.number);
            ctx.broker.trace_delivery(&witness, queue, taken.redelivered, &taken.message);
        }
        match subscription {
            Subscription::Consumer { who: Subscriber::Guest(_), .. } => {
                unreachable!("a session's deliveries go to its node")
            }
            Subscription::Consumer { who: Subscriber::Channel { index, .. }, no_ack, .. } => {
                let consumer = self
                    .consumers
                    .get(*index as usize)
                    .and_then(Option::as_ref)
                    .expect("a consumer that leaves is taken out of its queue at once");
                ctx.outbox.deliver(self.number, &consumer.tag, tag, taken.redelivered, message);
                if !no_ack {
                    let due = consumer.timeout.map_or(timeout::NEVER, |timeout| ctx.broker.now.mono + timeout);
                    let consumer = Some(consumer.key);
                    self.unacked.insert(tag.0, Delivered { queue, seq: taken.seq, consumer, due });
                    self.unacked_by_consumers += 1;
                    self.watch(ctx.broker, ctx.connection, due);
                }
                Outcome::Open
            }
            Subscription::Get(get) => {
                assert!(matches!(self.state, State::Waiting(Wait::Get)), "a channel waits for its basic.get");
                ctx.outbox.get_ok(self.number, tag, taken.redelivered, taken.ready_left, message);
                if !get.no_ack {
                    let timeout = timeout::timeout(ctx.broker, queue, None);
                    let due = timeout.map_or(timeout::NEVER, |timeout| ctx.broker.now.mono + timeout);
                    self.unacked.insert(tag.0, Delivered { queue, seq: taken.seq, consumer: None, due });
                    self.watch(ctx.broker, ctx.connection, due);
                }
                self.state = State::Open;
                self.resume(ctx)
            }
        }
    }

    /// The node of the queue that a `basic.get` asked is lost.
    pub(crate) fn on_get_failed(&mut self, ctx: &mut ChannelCtx<'_>, error: AmqpError) -> Outcome {
        if !matches!(self.state, State::Waiting(Wait::Get)) {
            return Outcome::Open;
        }
        self.state = State::Open;
        self.fail(ctx, error.blamed_on(&basic::Get::default().into()))
    }

    /// What a `basic.get` waited for has gone, or its queue.
    pub(crate) fn on_get_gone(&mut self, ctx: &mut ChannelCtx<'_>) -> Outcome {
        if !matches!(self.state, State::Waiting(Wait::Get)) {
            return Outcome::Open;
        }
        ctx.outbox.method(self.number, basic::GetEmpty {});
        self.state = State::Open;
        self.resume(ctx)
    }
}
