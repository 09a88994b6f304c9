//! Situations that a suite of runs has to have been in: what never happened was never tested.

use crate::history::{Change, Fact};
use crate::plan::Ending;
use crate::story::{Reason, Short, StoryFact};

/// Declares the situations with what people read of them.
macro_rules! situations {
    ($($(#[$doc:meta])* $situation:ident => $name:literal,)+) => {
        /// One situation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Situation {
            $($(#[$doc])* $situation,)+
        }

        /// What people read of each.
        pub(crate) const NAMES: &[&str] = &[$($name,)+];
    };
}

situations! {
    /// A dead letter was read that a consumer had not wanted.
    DeadRejected => "dead letters: rejected",
    /// One whose time was over.
    DeadExpired => "dead letters: expired",
    /// One that a full queue dropped or refused.
    DeadMaxLength => "dead letters: maxlen",
    /// One that had come back too often.
    DeadDeliveryLimit => "dead letters: delivery_limit",
    /// One that died in a queue was in it again.
    WentRound => "dead letters that came back",
    /// A queue refused a publish.
    Refused => "publishes refused",
    /// A message was dead at the end of its time.
    Expired => "messages expired",
    /// The same, with a crash between.
    ExpiredAfterCrash => "messages expired, a crash between",
    /// A message came that had been held back.
    Delayed => "delayed messages delivered",
    /// The same, with a crash between.
    DelayedAfterCrash => "delayed messages delivered, a crash between",
    /// A message of a story came after a crash.
    AfterCrash => "deliveries after a crash",
    /// Another consumer became the single active one.
    TakenOver => "single active consumers followed by another",
    /// A higher priority did so while the one before was there.
    GaveWay => "single active consumers that give way",
    /// The node cancelled a consumer for its slowness.
    Dismissed => "consumers timed out",
    /// A message came although others waited that were published before and less urgent.
    WentFirst => "messages that went before less urgent ones",
    /// A policy's limit was the one that counted.
    LimitedByPolicy => "looks at queues that a policy limits",
    /// An operator let a queue rest.
    QueuePaused => "queues that operators let rest",
    /// One looked at a message.
    Peeked => "messages that operators looked at",
    /// Publishers were told to wait.
    Blocked => "publishers blocked",
    /// They were told to go on.
    Unblocked => "publishers unblocked",
    /// Both resources were short and one recovered while publishers waited.
    HalfRecovered => "one of two shortages ends",
    /// A message came back into its queue.
    PutBack => "messages put back",
    /// A message came again.
    Redelivered => "redeliveries",
    /// A mandatory message came back to its publisher.
    Returned => "mandatory messages returned",
    /// A queue was gone.
    QueueGone => "queues gone",
    /// The process was killed.
    Killed => "nodes killed",
    /// The power failed.
    PowerFailed => "power failures",
    /// The node was stopped in order.
    ShutDown => "nodes stopped in order",
    /// The node stopped because it could not go on.
    StoppedByItself => "nodes that stopped by themselves",
    /// A node's data was damaged, and it went on as one that has none.
    DataGivenUp => "nodes that gave their data up",
    /// The process got no time for a while, and clients went on.
    Paused => "pauses with clients waiting",
    /// The network was cut while something was under way.
    CutHealed => "network cuts with bytes under way",
    /// A node had to go on with an empty disk.
    Wiped => "disks replaced by empty ones",
    /// Another node became the leader of the cluster.
    LeaderChanged => "changes of the cluster's leader",
    /// A change was refused because no majority of the nodes could be asked.
    NoMajority => "changes refused for want of a majority",
    /// Two nodes could not hear each other while something was under way between them.
    PartitionHealed => "partitions with bytes under way",
    /// All of several connections were reset at once.
    AllReset => "reset storms",
    /// A silent connection was ended by something between the ends.
    IdleKilled => "connections killed for their silence",
    /// The node had to go on with other settings.
    Reconfigured => "restarts with other settings",
    /// What a newer program brought is used, since all nodes have it by now.
    Upgraded => "clusters of which all nodes were upgraded",
    /// A queue that was on one node had replicas from then on.
    Mirrored => "queues mirrored while in use",
    /// The disk had no space for a further segment because of its quota.
    OverQuota => "segments refused by a quota",
    /// The node's wall clock was not what it should be.
    WallOff => "nodes whose wall clock is off",
}

impl Situation {
    /// The situation that a fact shows, if it is one of these.
    fn of(fact: &Fact) -> Option<Self> {
        Some(match *fact {
            Fact::Story(fact) => return Self::of_story(fact),
            Fact::Requeued { .. } => Self::PutBack,
            Fact::Delivered { redelivered: true, .. } => Self::Redelivered,
            Fact::Returned { .. } => Self::Returned,
            Fact::Paused { .. } => Self::QueuePaused,
            Fact::Peeked { .. } => Self::Peeked,
            Fact::Changed { what: Change::Gone, .. } => Self::QueueGone,
            Fact::Closed { code: 541, .. } => Self::NoMajority,
            Fact::Ended { by_itself: true, .. } => Self::StoppedByItself,
            Fact::Ended { how: Ending::Kill, .. } => Self::Killed,
            Fact::Ended { how: Ending::PowerLoss, .. } => Self::PowerFailed,
            Fact::Ended { how: Ending::Shutdown, .. } => Self::ShutDown,
            _ => return None,
        })
    }

    fn of_story(fact: StoryFact) -> Option<Self> {
        Some(match fact {
            StoryFact::Died { reason: Reason::Rejected, .. } => Self::DeadRejected,
            StoryFact::Died { reason: Reason::Expired, .. } => Self::DeadExpired,
            StoryFact::Died { reason: Reason::MaxLength, .. } => Self::DeadMaxLength,
            StoryFact::Died { reason: Reason::DeliveryLimit, .. } => Self::DeadDeliveryLimit,
            StoryFact::Given { has_died_here: true, .. } => Self::WentRound,
            StoryFact::Given { crashed_since: true, .. } => Self::AfterCrash,
            StoryFact::Outcome { message: Some(_), is_ack: false, .. } => Self::Refused,
            StoryFact::Timed { is_alive: false, crashed_since: false, .. } => Self::Expired,
            StoryFact::Timed { is_alive: false, crashed_since: true, .. } => Self::ExpiredAfterCrash,
            StoryFact::Delayed { crashed_since: false, .. } => Self::Delayed,
            StoryFact::Delayed { crashed_since: true, .. } => Self::DelayedAfterCrash,
            StoryFact::Activated { is_before_there: true, gave_way: true, .. } => Self::GaveWay,
            StoryFact::Activated { .. } => Self::TakenOver,
            StoryFact::Dismissed { .. } => Self::Dismissed,
            StoryFact::Chosen { priority, by_priority, message, by, .. } if priority < by_priority && message < by => {
                Self::WentFirst
            }
            StoryFact::Length { is_by_policy: true, .. } => Self::LimitedByPolicy,
            StoryFact::Blocked { is_blocked: true, .. } => Self::Blocked,
            StoryFact::Blocked { is_blocked: false, .. } => Self::Unblocked,
            StoryFact::Measured { before: Short { memory: true, disk: true }, short, blocked }
                if short.memory != short.disk && blocked > 0 =>
            {
                Self::HalfRecovered
            }
            _ => return None,
        })
    }
}

/// How often each situation was there.
#[derive(Clone, Debug)]
pub(crate) struct Situations {
    counts: [u64; NAMES.len()],
}

impl Situations {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { counts: [0; NAMES.len()] }
    }

    /// Looks at the next fact.
    pub(crate) fn note(&mut self, fact: &Fact) {
        if let Some(situation) = Situation::of(fact) {
            self.counts[situation as usize] += 1;
        }
    }

    /// The world was in this situation.
    pub(crate) fn saw(&mut self, situation: Situation) {
        self.counts[situation as usize] += 1;
    }

    /// All of them with their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.iter().copied().zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_situation_is_counted_under_its_name() {
        let mut situations = Situations::new();
        situations.note(&Fact::Ended { node: None, how: Ending::PowerLoss, by_itself: false });
        situations.note(&Fact::Ready { node: None });
        let there: Vec<_> = situations.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(there, [("power failures", 1)]);
    }
}
