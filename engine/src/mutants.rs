//! Planted bugs, one at a time, to show that the simulator's oracles see. Without the feature `mutants` none can be switched on, and
//! the places that ask cost nothing.

/// A bug that can be switched on in [`crate::config::Config`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// Publishes are confirmed when their record is on its way to the disk, not when it is durable, or written where that is enough.
    ConfirmBeforeFsync,
    /// The log is not told of acks, so that recovery brings the messages back.
    AckedBackAfterRestart,
    /// A requeued message goes to the end of its queue.
    RequeueAtTail,
    /// A consumer gets one message more than its prefetch allows.
    PrefetchOffByOne,
    /// Checksums of records are not looked at, so that a torn write brings a body that nobody published.
    TornBodyAccepted,
    /// Publishers go on when one of two resources is no longer short.
    AlarmClearedByHalf,
    /// A message that dies in a queue again, for the same reason, counts one death.
    XDeathCount,
    /// Dead letters go round without end, although nobody rejects them.
    CycleRule,
    /// When the single active consumer has gone, no other becomes it.
    SacNoneActive,
    /// Messages expire when half of their time is over.
    TtlEarly,
    /// What the log kept lives for ever.
    TtlLostAtRestart,
    /// A publisher is not told that a full queue refused its message.
    RejectPublishWithoutNack,
    /// The lowest priority goes first.
    PriorityOrder,
    /// What was held back is released twice.
    DelayedTwice,
    /// A queue that exists does not heed that its policy has changed.
    PolicyNotReapplied,
    /// A full queue drops its newest message.
    NewestDropped,
    /// A single active consumer that has to give way to a higher priority gets no successor as long as it is there.
    TakeoverForgotten,
    /// A paused queue goes on delivering what came back to it.
    PauseHalfHeeded,
    /// A consistent hash exchange goes on choosing what is no longer bound.
    HashKeepsGone,
    /// An ack of several settles one delivery more than it names.
    MultipleAckTooFar,
    /// `basic.recover` loses the oldest of what it was to give back.
    RecoverLosesOldest,
    /// The log is not told of what was purged, so that recovery brings the messages back.
    PurgedBackAfterRestart,
    /// What a channel had not acked when it ended stays out for ever.
    UnackedOfTheGoneStay,
    /// After a failed sync the next one counts for both, although the system has dropped what the first one was for.
    FsyncRetried,
    /// What comes back does not say that it was delivered before.
    RedeliveredForgotten,
    /// A `#` at the end of a topic needs one word at least.
    HashNeedsWord,
    /// A confirm of several covers one publish more than is durable.
    ConfirmTooFar,
    /// What a quorum queue was not sent, or its leader lost, is never sent again.
    QuorumLostResend,
    /// Asked to send again what a quorum queue misses, a session begins one command too late.
    QuorumGapStall,
    /// A single active consumer of a quorum queue that was too slow never gets its turn again.
    QuorumSacNoneActive,
    /// A session takes what a quorum queue delivers twice, after its leader changed, for another message.
    QuorumDeliveredTwice,
    /// What a consumer of a quorum queue had not settled when it was cancelled stays out when its session ends.
    QuorumUnackedOrphaned,
    /// A quorum queue takes what is left over from a node's former life for what it says today.
    QuorumBootIgnored,
    /// A vote is sent and not written.
    VoteNotPersisted,
    /// The end of a write of entries counts for those that have replaced them since.
    StaleWriteCompletion,
    /// A leader takes for committed what it alone has.
    CommitBeforeMajority,
    /// A compacted log forgets what came after the snapshot.
    SnapshotWithoutSuffix,
    /// A change of members begins before the one before is complete.
    TwoMembershipChanges,
    /// What a node has sent to two leaders is carried out twice.
    ClusterCommandTwice,
    /// A node forms a cluster without asking who else is there.
    ClusterWithoutMajority,
    /// A node whose disk was lost gets the number back that it had.
    ClusterDiskForgotten,
    /// A node takes each of its lives for the same.
    ClusterBootTwice,
    /// A cluster takes for known to all what those of its nodes know that happen to be there.
    ClusterRaisedTooEarly,
    /// The log is given up in front of a state that was not written.
    ClusterStateNotKept,
    /// A node deletes a queue only if one of its own clients asked for that.
    ClusterDeletionHalf,
    /// A client is told that a queue is deleted, and no node has done it.
    ClusterDeletionInVain,
    /// A node carries out what the cluster decides, and does not write it down.
    ClusterChangeNotLogged,
    /// What was on its way to a queue of another node when the link broke counts as safe, although that may have refused it.
    RemoteRefusalForgotten,
    /// A queue takes again what a session of another node sends again after a break.
    RemotePublishTwice,
    /// A session of another node is told that a message is safe before it is on the disk.
    RemoteConfirmBeforeFsync,
}

impl Mutant {
    /// Those of the quorum queue's replicated machine. Its own tests find them, and simulated clusters most of them.
    pub const QUORUM: [Self; 6] = [
        Self::QuorumLostResend,
        Self::QuorumGapStall,
        Self::QuorumSacNoneActive,
        Self::QuorumDeliveredTwice,
        Self::QuorumUnackedOrphaned,
        Self::QuorumBootIgnored,
    ];

    /// All others: those that a simulated broker shows.
    pub const ALL: [Self; 27] = [
        Self::ConfirmBeforeFsync,
        Self::AckedBackAfterRestart,
        Self::RequeueAtTail,
        Self::PrefetchOffByOne,
        Self::TornBodyAccepted,
        Self::AlarmClearedByHalf,
        Self::XDeathCount,
        Self::CycleRule,
        Self::SacNoneActive,
        Self::TtlEarly,
        Self::TtlLostAtRestart,
        Self::RejectPublishWithoutNack,
        Self::PriorityOrder,
        Self::DelayedTwice,
        Self::PolicyNotReapplied,
        Self::NewestDropped,
        Self::TakeoverForgotten,
        Self::PauseHalfHeeded,
        Self::HashKeepsGone,
        Self::MultipleAckTooFar,
        Self::RecoverLosesOldest,
        Self::PurgedBackAfterRestart,
        Self::UnackedOfTheGoneStay,
        Self::FsyncRetried,
        Self::RedeliveredForgotten,
        Self::HashNeedsWord,
        Self::ConfirmTooFar,
    ];

    /// Those of the consensus module, likewise.
    pub const CONSENSUS: [Self; 5] = [
        Self::VoteNotPersisted,
        Self::StaleWriteCompletion,
        Self::CommitBeforeMajority,
        Self::SnapshotWithoutSuffix,
        Self::TwoMembershipChanges,
    ];

    /// Those of what all nodes know, which simulated clusters show.
    pub const SHARED: [Self; 3] =
        [Self::ClusterDeletionHalf, Self::ClusterDeletionInVain, Self::ClusterChangeNotLogged];

    /// Those of queues that are used from other nodes, which simulated clusters show.
    pub const REMOTE: [Self; 3] =
        [Self::RemoteRefusalForgotten, Self::RemotePublishTwice, Self::RemoteConfirmBeforeFsync];

    /// Those of the cluster's membership, as those of the consensus module.
    pub const MEMBERSHIP: [Self; 6] = [
        Self::ClusterCommandTwice,
        Self::ClusterWithoutMajority,
        Self::ClusterDiskForgotten,
        Self::ClusterBootTwice,
        Self::ClusterRaisedTooEarly,
        Self::ClusterStateNotKept,
    ];
}

/// Whether this bug is switched on.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn is_planted(_mutant: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub(crate) use self::planted::{is_planted, plant};

/// The one place of the engine with a state outside of the machines: a planted bug is found in the deepest functions, which nobody
/// hands a configuration. Engines that run at the same time share it.
#[cfg(feature = "mutants")]
mod planted {
    use core::sync::atomic::{AtomicU8, Ordering};

    use super::Mutant;

    static PLANTED: AtomicU8 = AtomicU8::new(u8::MAX);

    /// Switches on this bug, and all others off.
    pub(crate) fn plant(mutant: Option<Mutant>) {
        PLANTED.store(mutant.map_or(u8::MAX, |mutant| mutant as u8), Ordering::Relaxed);
    }

    /// Whether this bug is switched on.
    pub(crate) fn is_planted(mutant: Mutant) -> bool {
        PLANTED.load(Ordering::Relaxed) == mutant as u8
    }
}
