//! When a client is not read, and when consumers wait for its socket.

use super::{Connection, ConnectionCtx};
use crate::amqp::ShortStr;
use crate::amqp::method::connection as class;
use crate::effect::ClientControl;
use crate::ids::ChannelNumber;
use crate::limits;

/// Why a client is not read at the moment, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadPauses(u8);

impl ReadPauses {
    /// A resource alarm stops publishers (RabbitMQ docs: Memory and Disk Alarms).
    pub(crate) const ALARM: Self = Self(1);
    /// The log has not caught up with what was published.
    pub(crate) const LOG: Self = Self(2);
    /// The client takes fewer answers than it asks for.
    pub(crate) const OUTBOX: Self = Self(4);
    /// Commands wait for one that is not done.
    pub(crate) const BACKLOG: Self = Self(8);
    /// Queues of other nodes have not caught up with what was published.
    pub(crate) const QUEUES: Self = Self(16);

    pub(super) fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl Connection {
    /// Adds a reason not to read the client.
    fn pause_reads(&mut self, ctx: &mut ConnectionCtx<'_>, reason: ReadPauses) {
        if self.pauses == ReadPauses::default() {
            ctx.controls.push(ClientControl::PauseReads(self.id));
        }
        self.pauses.0 |= reason.0;
    }

    /// Takes a reason away.
    fn resume_reads(&mut self, ctx: &mut ConnectionCtx<'_>, reason: ReadPauses) {
        if !self.pauses.contains(reason) {
            return;
        }
        self.pauses.0 &= !reason.0;
        if self.pauses == ReadPauses::default() {
            // Silence while nobody listened is no sign of death.
            self.last_received = ctx.now.mono;
            ctx.controls.push(ClientControl::ResumeReads(self.id));
        }
    }

    /// Whether the client's silence says nothing, since it is not read.
    pub(super) fn is_read_paused(&self) -> bool {
        self.pauses != ReadPauses::default()
    }

    /// Ends all pauses: the close has to be read.
    pub(super) fn end_pauses(&mut self, ctx: &mut ConnectionCtx<'_>) {
        if self.is_read_paused() {
            self.pauses = ReadPauses::default();
            ctx.controls.push(ClientControl::ResumeReads(self.id));
        }
    }

    /// The client published: it is stopped if the node cannot take more.
    pub(super) fn on_published(&mut self, ctx: &mut ConnectionCtx<'_>) {
        if let Some(reason) = ctx.broker.alarms.reason()
            && !self.pauses.contains(ReadPauses::ALARM)
        {
            self.pause_reads(ctx, ReadPauses::ALARM);
            ctx.broker.alarm_paused.push(self.id);
            if self.capabilities.connection_blocked && !self.is_told_blocked {
                self.is_told_blocked = true;
                let blocked = class::Blocked { reason: ShortStr::from_static(reason) };
                self.outbox.method(ChannelNumber::CONNECTION, blocked);
            }
        }
        if ctx.broker.log.pending_bytes() > limits::LOG_PENDING_HIGH_BYTES && !self.pauses.contains(ReadPauses::LOG) {
            self.pause_reads(ctx, ReadPauses::LOG);
            ctx.broker.log_paused.push(self.id);
        }
        if ctx.broker.remote.is_congested(self.id) && !self.pauses.contains(ReadPauses::QUEUES) {
            self.pause_reads(ctx, ReadPauses::QUEUES);
            ctx.broker.remote.paused.push(self.id);
        }
    }

    /// Queues of other nodes have caught up.
    pub(crate) fn on_queues_caught_up(&mut self, ctx: &mut ConnectionCtx<'_>) {
        self.resume_reads(ctx, ReadPauses::QUEUES);
    }

    /// The alarm is over.
    pub(crate) fn on_alarm_cleared(&mut self, ctx: &mut ConnectionCtx<'_>) {
        if core::mem::take(&mut self.is_told_blocked) && self.state == super::State::Running {
            self.outbox.method(ChannelNumber::CONNECTION, class::Unblocked {});
        }
        self.resume_reads(ctx, ReadPauses::ALARM);
    }

    /// The log has caught up.
    pub(crate) fn on_log_caught_up(&mut self, ctx: &mut ConnectionCtx<'_>) {
        self.resume_reads(ctx, ReadPauses::LOG);
    }

    /// The client took some of what waited for it: its consumers, and what it asks for, may go on.
    pub(super) fn on_outbox_drained(&mut self, ctx: &mut ConnectionCtx<'_>) {
        if self.outbox.waiting() > ctx.broker.config.outbox_low_bytes {
            return;
        }
        self.resume_reads(ctx, ReadPauses::OUTBOX);
        for (key, consumer) in self.waiting_consumers.drain(..) {
            ctx.broker.resume(key, consumer);
        }
    }

    /// Stops reading a client that asks for more than it takes, or faster than its commands are done.
    pub(crate) fn check_backlogs(&mut self, ctx: &mut ConnectionCtx<'_>) {
        if self.outbox.waiting() > limits::OUTBOX_STOP_BYTES {
            self.pause_reads(ctx, ReadPauses::OUTBOX);
        }
        if self.channels.is_empty() {
            return;
        }
        let longest = self.channels.iter().flatten().map(|channel| channel.backlog_len()).max().unwrap_or(0);
        if longest > limits::CHANNEL_BACKLOG_HIGH {
            self.pause_reads(ctx, ReadPauses::BACKLOG);
        } else if longest == 0 {
            self.resume_reads(ctx, ReadPauses::BACKLOG);
        }
    }
}
