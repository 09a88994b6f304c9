//! What the leader does for a quorum queue once a command is applied. Followers compute the same and drop it. It may be done twice, or
//! never, when the leader changes; who it is for copes with both.

use alloc::vec::Vec;

use super::ids::{ConsumerId, DeathNumber, DeliveryNumber, SessionId, SessionSeqno};
use super::slot::BodyPlace;
use crate::queue::LeaveReason;

/// What is to be done, in lists that are reused. Bodies have to be read before the log drops what [`needed`] no longer names.
///
/// [`needed`]: super::QuorumQueue::needed
#[derive(Debug, Default)]
pub struct Actions {
    /// Sessions whose commands are applied.
    pub applied: Vec<Applied>,
    /// Messages for consumers.
    pub deliveries: Vec<Delivery>,
    /// Messages that died or were dropped.
    pub left: Vec<Left>,
    /// What else sessions are told.
    pub notices: Vec<Notice>,
    /// Answers to those who proposed a command.
    pub replies: Vec<Reply>,
}

/// Commands of a session are applied: what it published is durable and in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Which session.
    pub session: SessionId,
    /// All up to this one.
    pub up_to: SessionSeqno,
    /// Whether the queue is full and refuses what comes.
    pub is_full: bool,
}

/// A message for a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Whom for.
    pub consumer: ConsumerId,
    /// Which of its deliveries.
    pub number: DeliveryNumber,
    /// Where the message is.
    pub body: BodyPlace,
    /// How many of its deliveries failed before: `x-delivery-count`.
    pub failed: u16,
    /// How many came back before, for whatever reason: `x-acquired-count`. It is redelivered if any did.
    pub acquired: u16,
}

/// A message that left the queue without having been settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Where it is.
    pub body: BodyPlace,
    /// Why it left.
    pub reason: LeaveReason,
    /// How many of its deliveries failed.
    pub failed: u16,
    /// Whether it is to be published to the dead-letter exchange.
    pub is_dead_letter: bool,
}

/// A message that waits for its arrival elsewhere, of [`dead_letters`](super::QuorumQueue::dead_letters).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Which death. `DeadLettered` names it.
    pub number: DeathNumber,
    /// Where the message is.
    pub body: BodyPlace,
    /// Why it died.
    pub reason: LeaveReason,
    /// How many of its deliveries failed.
    pub failed: u16,
    /// When it died, in milliseconds of the wall clock.
    pub at_ms: u64,
}

/// What sessions are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A command came too early. All from this one on have to be sent again.
    ResendFrom {
        /// To whom.
        session: SessionId,
        /// The first.
        seqno: SessionSeqno,
    },
    /// The queue does not know the session, and never will.
    Unknown {
        /// Which.
        session: SessionId,
    },
    /// A classic queue that is on one node has refused a message: it is to be said before the command is told to be applied. Replicated queues say when they
    /// are full instead, and take what comes all the same.
    Refused {
        /// Whose.
        session: SessionId,
        /// The command that brought it.
        seqno: SessionSeqno,
    },
    /// A classic queue does not take a consumer, because of one that is to be the only one: it is to be said before the command is told
    /// to be applied.
    InUse {
        /// Which.
        consumer: ConsumerId,
    },
    /// The queue refuses what comes from here on, or takes it again.
    Full {
        /// To whom.
        session: SessionId,
        /// Whether it refuses.
        is_full: bool,
    },
    /// The queue is about to be deleted.
    Gone {
        /// To whom.
        session: SessionId,
    },
    /// Nothing waits for whoever asked for one message.
    GetEmpty {
        /// Who asked.
        consumer: ConsumerId,
    },
    /// A consumer took too long to settle what it had; that went back.
    TimedOut {
        /// Which.
        consumer: ConsumerId,
    },
    /// A consumer was asked to use its credit or to give it up, and has used all that it could.
    Drained {
        /// Which.
        consumer: ConsumerId,
        /// Deliveries it had so far; the credit that lapsed counts as delivered (AMQP 1.0 §2.6.7).
        delivery_count: u32,
    },
    /// Dead letters wait.
    DeadLettersWait,
}

impl Notice {
    /// Whom it is for; `None` if it is for no session.
    pub(crate) fn session(&self) -> Option<SessionId> {
        match *self {
            Self::ResendFrom { session, .. }
            | Self::Unknown { session }
            | Self::Refused { session, .. }
            | Self::Full { session, .. }
            | Self::Gone { session } => Some(session),
            Self::InUse { consumer }
            | Self::GetEmpty { consumer }
            | Self::TimedOut { consumer }
            | Self::Drained { consumer, .. } => Some(consumer.session),
            Self::DeadLettersWait => None,
        }
    }
}

/// An answer to whoever proposed an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Which command of the entry it is for.
    pub command: usize,
    /// What.
    pub answer: Answer,
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// So many messages went.
    Purged(u64),
    /// The queue takes nothing more and can be deleted. It holds so many ready messages.
    DeletePrepared(u64),
    /// It has consumers.
    InUse,
    /// It has messages.
    NotEmpty,
}

impl Actions {
    /// Forgets all of it and keeps the memory.
    pub fn clear(&mut self) {
        self.applied.clear();
        self.deliveries.clear();
        self.left.clear();
        self.notices.clear();
        self.replies.clear();
    }

    /// Tells a session how far it has come: once for commands in a row.
    pub(super) fn apply(&mut self, applied: Applied) {
        match self.applied.last_mut() {
            Some(last) if last.session == applied.session && last.up_to <= applied.up_to => *last = applied,
            _ => self.applied.push(applied),
        }
    }

    /// Tells something, but not the same twice in a row.
    pub(super) fn notify(&mut self, notice: Notice) {
        if self.notices.last() != Some(&notice) {
            self.notices.push(notice);
        }
    }
}
