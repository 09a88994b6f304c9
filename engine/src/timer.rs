//! What the engine waits for.

use alloc::collections::BTreeSet;

use crate::ids::{ChannelNumber, ConnectionId};
use crate::routing::{ExchangeKey, QueueKey};
use crate::time::Instant;

/// Why the engine asked to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerKind {
    /// A client took too long to log in.
    Handshake,
    /// A heartbeat is due to a client, or one from it is overdue.
    Heartbeat,
    /// A client took too long to answer `connection.close`.
    Close,
    /// Records that nobody waits for are to be synced.
    LogSync,
    /// The log has been idle for long enough to give space back.
    LogCleaning,
    /// The disk was full; it is asked again.
    DiskRetry,
    /// The message at the head of a queue expires.
    Expiry,
    /// A queue that nobody uses goes.
    QueueExpiry,
    /// A consumer took too long to ack.
    ConsumerTimeout,
    /// A dead letter that no queue took is tried again.
    DeadLetterRetry,
    /// Dead letters go on that were too many for one input.
    DeadLetters,
    /// A delayed message is due.
    Delayed,
    /// Another node is to be dialed, or something is due that nodes have agreed on.
    Peers,
}

/// Whom a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerFor {
    /// A connection.
    Connection(ConnectionId),
    /// A channel of a connection.
    Channel(ConnectionId, ChannelNumber),
    /// A queue.
    Queue(QueueKey),
    /// An exchange.
    Exchange(ExchangeKey),
}

/// The deadlines of machines, earliest first. One that has become pointless stays, and is ignored when it comes up.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    deadlines: BTreeSet<(Instant, TimerKind, TimerFor)>,
}

impl Timers {
    /// Wakes somebody at `at`.
    pub(crate) fn set(&mut self, at: Instant, kind: TimerKind, whom: TimerFor) {
        self.deadlines.insert((at, kind, whom));
    }

    /// Takes back a deadline.
    pub(crate) fn cancel(&mut self, at: Instant, kind: TimerKind, whom: TimerFor) {
        self.deadlines.remove(&(at, kind, whom));
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<(Instant, TimerKind)> {
        self.deadlines.first().map(|(at, kind, _)| (*at, *kind))
    }

    /// Takes out a deadline that has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(TimerKind, TimerFor)> {
        let (at, ..) = self.deadlines.first()?;
        if *at > now {
            return None;
        }
        self.deadlines.pop_first().map(|(_, kind, whom)| (kind, whom))
    }
}
