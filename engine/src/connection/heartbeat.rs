//! Heartbeats: what we owe the client and what we expect (AMQP 0-9-1 §4.2.7, RabbitMQ docs: Heartbeats).

use alloc::string::String;

use super::{Connection, ConnectionCtx, State};
use crate::timer::{TimerFor, TimerKind};

impl Connection {
    /// Begins to watch the connection, if a heartbeat was agreed on.
    pub(super) fn start_heartbeats(&self, ctx: &mut ConnectionCtx<'_>) {
        if !self.heartbeat.is_zero() {
            ctx.broker.timers.set(
                ctx.now.mono + self.heartbeat / 2,
                TimerKind::Heartbeat,
                TimerFor::Connection(self.id),
            );
        }
    }

    /// Every half interval: sends a heartbeat if nothing else was sent, and gives up on a client not heard of for two intervals.
    pub(super) fn on_heartbeat_timer(&mut self, ctx: &mut ConnectionCtx<'_>) {
        if !matches!(self.state, State::Running | State::Open | State::Closing) {
            return;
        }
        let silence = ctx.now.mono.saturating_since(self.last_received);
        if silence >= self.heartbeat * 2 && !self.is_read_paused() {
            self.end = Some(String::from("missed heartbeats from the client"));
            return self.close_socket(ctx);
        }
        // What still waits for the socket does a heartbeat's work once it gets through.
        if !self.outbox.take_has_sent() && self.outbox.waiting() == 0 {
            self.outbox.heartbeat();
        }
        self.start_heartbeats(ctx);
    }
}
