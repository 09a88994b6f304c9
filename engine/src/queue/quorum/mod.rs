//! The replicated queue: a quorum queue (RabbitMQ docs: Quorum Queues), or a classic queue that a policy mirrors, with its own
//! [`Rules`] (RabbitMQ docs: Classic Queue Mirroring).
//!
//! [`QuorumQueue`] is what every member of the queue's Raft group has: a pure function of the group's log. It reads no clock, draws no
//! chance and knows no configuration but what entries say, so members that applied the same entries are equal ([`QuorumQueue::state_hash`]).
//! It keeps no bodies: a message is the place of its bytes in the log, and a few facts.
//!
//! [`Session`] is what the node of a channel keeps of the channel's use of the queue. Between the two lies everything that can go wrong:
//! leaders change, what they were to do is lost or done twice, and commands are lost, come late, or come twice. So:
//!
//! - All that a session wants is numbered: the queue takes each command exactly once and in order, and says from where on it misses
//!   something. The session keeps what was not applied and sends it again.
//! - All that a consumer gets is numbered: the session sees what comes twice and what is missing, and asks for that.
//! - Names are never reused: sessions carry the node and its life, consumers a number within the session. What is old hits nothing.
//!
//! ```text
//!  channel ---> Session ---- commands ----> leader ---- log ----> QuorumQueue of each member
//!     ^            ^                           |
//!     +------------+------ deliveries, applied +  (the leader alone carries out what the machine says)
//! ```

mod absence;
mod action;
mod adopt;
mod carry;
mod command;
mod dead;
mod delayed;
mod deliver;
mod encoding;
mod ids;
mod invariants;
mod live;
mod machine;
mod read;
mod returns;
mod roster;
mod session;
mod settings;
mod slot;
mod snapshot;
mod taker;

pub use action::{Actions, Answer, Applied, DeadLetter, Delivery, Left, Notice, Reply};
pub use command::{
    AdoptedConsumer, AdoptedDelivery, AdoptedSession, Brought, Carried, Checkout, Command, CreditMode, Enqueue,
    NumberRange, Numbers, Payload, ReturnKind, SessionOp, deaths,
};
pub use encoding::{EntryError, EntryWriter, decode_entry, join_entries, only_settles};
pub(crate) use encoding::{put_session, read_session};
pub use ids::{Boot, ConsumerId, DeathNumber, DeliveryNumber, LogIndex, NodeId, SessionId, SessionSeqno};
pub use machine::{Meta, QuorumQueue};
pub use read::{ConsumerSync, Peeked, Stat, Sync, SyncAnswer};
pub use session::{Session, SessionEvent, Unconfirmed};
pub use settings::{DeadLetters, DelayedRetry, Rules, Settings};
pub use slot::BodyPlace;
pub use snapshot::SnapshotError;

#[cfg(test)]
mod tests;
