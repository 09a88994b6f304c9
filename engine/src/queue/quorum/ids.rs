//! Names for what a quorum queue's log speaks of. None of them is ever given out twice.

use core::fmt;

use crate::ids::id;
pub use crate::ids::{Boot, NodeId};

id! {
    /// The place of an entry in the log of the queue's Raft group, from 1.
    LogIndex(u64)
}
id! {
    /// A command's number within its session, from 1, without gaps.
    SessionSeqno(u64)
}
id! {
    /// A delivery's number within its consumer, from 1, without gaps.
    DeliveryNumber(u64)
}
id! {
    /// The number of a death of a message in this queue, from 1, without gaps. Only deaths that wait to be dead-lettered are numbered.
    DeathNumber(u64)
}

/// One channel's use of one queue, as publisher and consumer.
///
/// It names the node and which of its lives it belongs to, so that nothing old can be taken for it, and no session of a node that
/// was restarted can come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    /// Whose.
    pub node: NodeId,
    /// In which of the node's lives.
    pub boot: Boot,
    /// Which of the sessions that this life of the node had with this queue: counting up from 1 as they begin.
    pub number: u64,
}

/// A consumer: which session's, and which of its consumers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerId {
    /// Whose.
    pub session: SessionId,
    /// Counting up from 1 within the session and never reused, whatever tags the client gives.
    pub tag: u32,
}

impl SessionId {
    /// A consumer of this session.
    #[must_use]
    pub const fn consumer(self, tag: u32) -> ConsumerId {
        ConsumerId { session: self, tag }
    }

    /// The smallest and the largest name that its consumers can have.
    pub(super) const fn consumers(self) -> (ConsumerId, ConsumerId) {
        (self.consumer(0), self.consumer(u32::MAX))
    }
}

impl SessionSeqno {
    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl DeliveryNumber {
    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.node, self.boot, self.number)
    }
}

impl fmt::Display for ConsumerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.session, self.tag)
    }
}
