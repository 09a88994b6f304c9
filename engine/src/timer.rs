//! What the engine waits for.

use alloc::collections::BTreeSet;

use crate::ids::ConnectionId;
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
    /// The disk was full; it is asked again.
    DiskRetry,
}

/// The deadlines of connections, earliest first. One that has become pointless stays, and is ignored when it comes up.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    deadlines: BTreeSet<(Instant, TimerKind, ConnectionId)>,
}

impl Timers {
    /// Wakes `connection` at `at`.
    pub(crate) fn set(&mut self, at: Instant, kind: TimerKind, connection: ConnectionId) {
        self.deadlines.insert((at, kind, connection));
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<(Instant, TimerKind)> {
        self.deadlines.first().map(|(at, kind, _)| (*at, *kind))
    }

    /// Takes out a deadline that has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(TimerKind, ConnectionId)> {
        let (at, ..) = self.deadlines.first()?;
        if *at > now {
            return None;
        }
        self.deadlines.pop_first().map(|(_, kind, connection)| (kind, connection))
    }
}
