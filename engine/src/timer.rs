//! What the engine waits for.

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
