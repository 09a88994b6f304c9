//! `basic.ack`, `nack`, `reject` and `recover`: what becomes of what was delivered.

use alloc::format;

use super::{Channel, ChannelCtx, Delivered, Flow};
use crate::amqp::method::basic;
use crate::amqp::{AmqpError, Method, ReplyCode};
use crate::ids::Lsn;
use crate::mutants::{Mutant, is_planted};
use crate::queue::Return;

/// What a consumer decides about a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settlement {
    /// Done with.
    Ack,
    /// To be delivered again.
    Requeue,
    /// To be delivered again, though this delivery failed: `basic.reject` counts, `basic.nack` does not (RabbitMQ 4.3).
    RequeueFailed,
    /// Not wanted.
    Discard,
}

impl Channel {
    pub(super) fn ack(&mut self, ctx: &mut ChannelCtx<'_>, ack: &basic::Ack) -> Result<Flow, AmqpError> {
        self.settle(ctx, ack.delivery_tag, ack.multiple, Settlement::Ack)
    }

    pub(super) fn nack(&mut self, ctx: &mut ChannelCtx<'_>, nack: &basic::Nack) -> Result<Flow, AmqpError> {
        let settlement = if nack.requeue { Settlement::Requeue } else { Settlement::Discard };
        self.settle(ctx, nack.delivery_tag, nack.multiple, settlement)
    }

    pub(super) fn reject(&mut self, ctx: &mut ChannelCtx<'_>, reject: &basic::Reject) -> Result<Flow, AmqpError> {
        let settlement = if reject.requeue { Settlement::RequeueFailed } else { Settlement::Discard };
        self.settle(ctx, reject.delivery_tag, false, settlement)
    }

    /// Requeues everything that is unacked on the channel.
    pub(super) fn recover(&mut self, ctx: &mut ChannelCtx<'_>, requeue: bool) -> Result<Flow, AmqpError> {
        if !requeue {
            return Err(AmqpError::connection(ReplyCode::NotImplemented, "requeue=false"));
        }
        if is_planted(Mutant::RecoverLosesOldest) {
            self.lose_oldest_unacked();
        }
        while let Some((_, delivered)) = self.unacked.pop_up_to(u64::MAX) {
            self.apply_settlement(ctx, delivered, Settlement::Requeue);
        }
        ctx.broker.trim_returned();
        self.settle_timed_out(ctx, 0, true);
        Ok(Flow::Done)
    }

    /// The connection ends: what the client decided about deliveries came before that, even if it waits behind another command.
    pub(crate) fn settle_backlog(&mut self, ctx: &mut ChannelCtx<'_>) {
        for command in core::mem::take(&mut self.backlog).into_iter().map_while(Result::ok) {
            // A mistake among them would end the channel, which ends anyway.
            let settled = match &command.method {
                Method::BasicAck(ack) => self.ack(ctx, ack),
                Method::BasicNack(nack) => self.nack(ctx, nack),
                Method::BasicReject(reject) => self.reject(ctx, reject),
                Method::ChannelClose(_) => break,
                _ => continue,
            };
            if settled.is_err() {
                break;
            }
        }
    }

    /// Carries out a settlement. Where the log will know of it.
    pub(super) fn apply_settlement(
        &mut self,
        ctx: &mut ChannelCtx<'_>,
        delivered: Delivered,
        settlement: Settlement,
    ) -> Lsn {
        if delivered.consumer.is_some() {
            self.unacked_by_consumers -= 1;
            self.resume_waiting_consumers(ctx.broker);
        }
        let channel = self.reference(ctx.connection);
        let Delivered { queue, seq, .. } = delivered;
        match settlement {
            Settlement::Ack => ctx.broker.settle(channel, queue, seq),
            Settlement::Discard => ctx.broker.discard(channel, queue, seq),
            Settlement::Requeue => ctx.broker.give_back(channel, queue, seq, Return::Requeued),
            Settlement::RequeueFailed => ctx.broker.give_back(channel, queue, seq, Return::Failed),
        }
    }

    fn settle(
        &mut self,
        ctx: &mut ChannelCtx<'_>,
        tag: u64,
        multiple: bool,
        settlement: Settlement,
    ) -> Result<Flow, AmqpError> {
        // Tag 0 with `multiple` means all there are, which may be none (AMQP 0-9-1 §1.8.3.13).
        let is_all = multiple && tag == 0;
        let was_timed_out = self.settle_timed_out(ctx, tag, multiple);
        if was_timed_out && !multiple {
            return Ok(Flow::Done);
        }
        if !is_all && !was_timed_out && self.unacked.get(tag).is_none() {
            return Err(AmqpError::channel(ReplyCode::PreconditionFailed, format!("unknown delivery tag {tag}")));
        }
        if !multiple {
            let delivered = self.unacked.remove(tag).expect("it was looked at");
            self.settle_one(ctx, tag, delivered, settlement);
            ctx.broker.trim_returned();
            return Ok(Flow::Done);
        }
        let is_too_far = settlement == Settlement::Ack && is_planted(Mutant::MultipleAckTooFar);
        let up_to = if is_all { u64::MAX } else { tag + u64::from(is_too_far) };
        while let Some((tag, delivered)) = self.unacked.pop_up_to(up_to) {
            self.settle_one(ctx, tag, delivered, settlement);
        }
        ctx.broker.trim_returned();
        Ok(Flow::Done)
    }

    /// A planted bug: the queue goes on believing that a consumer has it.
    fn lose_oldest_unacked(&mut self) {
        if let Some((_, delivered)) = self.unacked.pop_up_to(u64::MAX)
            && delivered.consumer.is_some()
        {
            self.unacked_by_consumers -= 1;
        }
    }

    fn settle_one(&mut self, ctx: &mut ChannelCtx<'_>, tag: u64, delivered: Delivered, settlement: Settlement) {
        match &mut self.tx {
            Some(tx) => tx.settle(tag, delivered, settlement),
            None => {
                self.apply_settlement(ctx, delivered, settlement);
            }
        }
    }
}
