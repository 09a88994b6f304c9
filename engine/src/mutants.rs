//! Planted bugs, one at a time, to show that the simulator's oracles catch them. Compiled only with the feature `mutants`.

/// A bug that can be switched on in [`crate::config::Config::mutant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// Publishes are confirmed when their record is written, not when it is durable.
    ConfirmBeforeFsync,
    /// Recovery forgets which messages were acked.
    AckedBackAfterRestart,
    /// A requeued message goes to the end of its queue.
    RequeueAtTail,
    /// A consumer gets one message more than its prefetch allows.
    PrefetchOffByOne,
    /// A record's checksum is not looked at, so that a torn write brings a body that nobody published.
    TornBodyAccepted,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::ConfirmBeforeFsync,
        Self::AckedBackAfterRestart,
        Self::RequeueAtTail,
        Self::PrefetchOffByOne,
        Self::TornBodyAccepted,
    ];
}
