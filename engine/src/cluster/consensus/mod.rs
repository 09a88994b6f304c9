//! Consensus: many groups, each of which agrees with its other members on one sequence of commands (Raft).
//!
//! The engine underneath is the `raft` crate (TiKV's raft-rs 0.7), which is itself without I/O. This module is all that knows it, and
//! owns what it asks of its embedder: persisting before sending, timeouts from a seed, one frame for all that goes to a node, groups
//! that hibernate, our own versioned encodings, and checks that nothing from outside can reach one of its panics.
//!
//! It moves opaque bytes. Its words are groups, members, entries. Its embedder gives it proposals, bytes from other nodes, the time,
//! and the news that writes are durable; it drains [`Outputs`] after each [`Groups::flush`].
//!
//! # What is awaited before what
//!
//! ```text
//!             propose / receive / handle_timeout
//!                            │ flush
//!            ┌───────────────┴──────────────┐
//!     writes, one ticket          messages of leaders (Raft thesis §10.2.1)
//!            │ durable
//!        persisted(ticket)
//!            │ flush
//!            ├── votes, answers to appends: what others count on
//!            └── applied: committed by a majority, and durable here, unless a leader leads ahead
//! ```
//!
//! A leader sends its entries while it writes them itself, and counts itself only when that is done. Where the others are a majority
//! without it, it need not wait for its own disk to carry out what they have ([`Groups::lead_ahead`]). It sends nothing at all before
//! its vote for itself is durable: with a single voter the election needs no answers, and a leader that forgot its term would use it
//! a second time.
//!
//! # States of a group on a node
//!
//! ```text
//!            quiet for a while, all caught up: the leader says so
//!   awake ───────────────────────────────────────────────────────→ hibernating
//!     ↑                                                                 │
//!     └── a message, a proposal, or the node of the leader is suspected ┘
//! ```
//!
//! Awake groups tick; hibernating ones cost memory and nothing else. Whether nodes live is found out once per pair of nodes.

mod entropy;

mod entry;
mod members;
mod output;
mod store;
mod wire;

mod guard;
mod peers;
mod recovered;

mod group;
mod ready;
mod sleep;

mod groups;

mod journal;

#[cfg(test)]
mod tests;

pub use entry::{Base, Content, Entry, EntryId, HardState, Mark};
pub use groups::{Counters, Groups, Identity, Origin, Refused, Settings, Status};
pub use journal::{Found, Journal, decode_entry, what_is_left};
pub use members::{MemberChange, Members};
pub use output::{
    Applied, Apply, Fetch, LeaderChange, Outputs, PeerMessage, ReadReady, Record, SnapshotNeed, Ticket, Write,
};
pub use recovered::{Recovered, Unsound};
pub use wire::Malformed;
