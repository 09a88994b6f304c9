//! Transactions: publishes and acks that take effect together at `tx.commit` (RabbitMQ docs: Broker Semantics / tx).

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::ack::Settlement;
use super::{Channel, ChannelCtx, Delivered, Flow, Wait};
use crate::amqp::method::tx as tx_class;
use crate::amqp::{AmqpError, ReplyCode};
use crate::broker::{Durable, Published, Routed};
use crate::ids::Lsn;
use crate::limits;
use crate::message::Message;

/// What a transaction has collected.
#[derive(Debug, Default)]
pub(crate) struct Tx {
    publishes: Vec<TxPublish>,
    settlements: Vec<(u64, Delivered, Settlement)>,
    bytes: usize,
}

/// A publish that waits for its transaction. It was routed when it came.
#[derive(Debug)]
pub(crate) struct TxPublish {
    pub(crate) message: Arc<Message>,
    pub(crate) persistent: bool,
    pub(crate) mandatory: bool,
    pub(crate) routed: Routed,
}

impl Tx {
    /// Keeps a publish.
    ///
    /// # Errors
    /// 506 RESOURCE_ERROR on the connection if the transaction grows beyond [`limits::TX_BYTES_MAX`].
    pub(crate) fn publish(&mut self, publish: TxPublish) -> Result<(), AmqpError> {
        self.bytes += publish.message.memory_bytes();
        if self.bytes > limits::TX_BYTES_MAX {
            let text = alloc::format!("a transaction may hold {} bytes of messages", limits::TX_BYTES_MAX);
            return Err(AmqpError::connection(ReplyCode::ResourceError, text));
        }
        self.publishes.push(publish);
        Ok(())
    }

    /// Keeps what is to happen to a delivery, which is not among the unacked ones meanwhile.
    pub(crate) fn settle(&mut self, tag: u64, delivered: Delivered, settlement: Settlement) {
        self.settlements.push((tag, delivered, settlement));
    }

    /// How many publishes and how many acks it holds.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.publishes.len() as u64, self.settlements.len() as u64)
    }

    /// The deliveries whose settlement waits.
    pub(super) fn deliveries(&self) -> impl Iterator<Item = &Delivered> {
        self.settlements.iter().map(|(_, delivered, _)| delivered)
    }
}

impl Channel {
    pub(super) fn select_tx(&mut self, ctx: &mut ChannelCtx<'_>) -> Result<Flow, AmqpError> {
        if self.confirms.is_some() {
            return Err(AmqpError::channel(ReplyCode::PreconditionFailed, "cannot switch from confirm to tx mode"));
        }
        if self.tx.is_none() {
            self.tx = Some(Tx::default());
        }
        ctx.outbox.method(self.number, tx_class::SelectOk {});
        Ok(Flow::Done)
    }

    /// Publishes first, then acks; the answer comes once all of it is durable.
    pub(super) fn commit(&mut self, ctx: &mut ChannelCtx<'_>) -> Result<Flow, AmqpError> {
        let Some(tx) = &mut self.tx else { return Err(not_transactional()) };
        let Tx { publishes, settlements, .. } = core::mem::take(tx);
        let mut until = ctx.broker.safe_at(Lsn(0));
        let mut is_refused = false;
        ctx.broker.begin_commit(self.reference(ctx.connection));
        for TxPublish { message, persistent, mandatory, routed } in publishes {
            ctx.broker.set_routed(ctx.vhost, routed);
            let is_replied = ctx.broker.send_reply(&message);
            match ctx.broker.enqueue(&message, persistent, Some(self.reference(ctx.connection)), None) {
                Published::Unroutable if !is_replied => {
                    let names = message.routing_names();
                    if let Some((exchange, _)) = ctx.broker.metadata.exchange(ctx.vhost, names.exchange()) {
                        ctx.broker.note_unroutable(exchange, &message, mandatory);
                    }
                    if mandatory {
                        self.give_back_unroutable(ctx, &message);
                    }
                }
                Published::Unroutable | Published::Kept | Published::Awaited => {}
                Published::KeptAt(kept) => until = until.and(kept),
                Published::Refused => is_refused = true,
            }
        }
        for (_, delivered, settlement) in settlements {
            until.end = until.end.max(self.apply_settlement(ctx, delivered, settlement));
        }
        ctx.broker.trim_returned();
        if is_refused {
            return Err(partial_completion());
        }
        if ctx.broker.end_commit(until) {
            return Ok(Flow::Wait(Wait::Commit));
        }
        if until.end > Lsn(0) {
            let channel = self.reference(ctx.connection);
            ctx.broker.wait_for_log(until, channel, Durable::Commit);
            return Ok(Flow::Wait(Wait::Commit));
        }
        self.finish_commit(ctx);
        Ok(Flow::Done)
    }

    pub(super) fn finish_commit(&self, ctx: &mut ChannelCtx<'_>) {
        ctx.outbox.method(self.number, tx_class::CommitOk {});
    }

    /// Drops the publishes; deliveries whose acks are dropped are unacked as before.
    pub(super) fn rollback(&mut self, ctx: &mut ChannelCtx<'_>) -> Result<Flow, AmqpError> {
        let Some(tx) = &mut self.tx else { return Err(not_transactional()) };
        for (tag, delivered, _) in core::mem::take(tx).settlements {
            self.unacked.insert(tag, delivered);
        }
        ctx.outbox.method(self.number, tx_class::RollbackOk {});
        Ok(Flow::Done)
    }
}

/// A queue has refused a publish of a transaction; others may have theirs.
pub(super) fn partial_completion() -> AmqpError {
    AmqpError::channel(ReplyCode::PreconditionFailed, "partial tx completion")
}

fn not_transactional() -> AmqpError {
    AmqpError::channel(ReplyCode::PreconditionFailed, "channel is not transactional")
}
