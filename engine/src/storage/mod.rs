//! The node's one log: what is to survive is written here once, and stays here until nobody needs it.
//!
//! The log is the store. A body is written once and read from where it was written; its queue keeps the place (position and
//! length). Settlements are small records further on. Space comes back only at the old end: a segment in which nothing lives is
//! dropped, and when the log is much larger than what lives in it, the oldest segment's live records are written again at the young
//! end. So a settlement never outlives what it kills, and copying is bounded: a queue that is consumed in order is never copied.
//!
//! The log knows no AMQP. Its words are owners (an incarnation of a queue), seqs (a message's number there) and opaque payloads.
//!
//! # Format 2
//!
//! Numbers are little endian; *v* is a number of 1 to 10 bytes, seven bits each, lowest first. A position is a byte's distance from
//! the first byte ever written, over all segments; a segment begins where the one before ends, used or not.
//!
//! ```text
//! segment                              header, twice (at 0 and at 512)      block, at a multiple of 8
//! ┌──────────────────┐ 0               ┌────────────────────────┬──┐        ┌──────────────────────┬──┐
//! │ header           │                 │ "LEVERET\0"            │ 8│        │ "LBLK"               │ 4│
//! ├──────────────────┤ 512             │ version: 2             │ 2│        │ checksum             │ 4│
//! │ header again     │                 │ zero                   │ 2│        │ own position         │ 8│
//! ├──────────────────┤ 584             │ checksum               │ 4│        │ bytes in all         │ 4│
//! │ block            │                 │ segment id             │ 8│        │ records              │ 4│
//! │  summary record  │                 │ size                   │ 8│        │ incarnation          │ 8│
//! │  record …        │                 │ position of byte 0     │ 8│        │ durable position     │ 8│
//! ├──────────────────┤                 │ end of segment before  │ 8│        │ oldest segment       │ 8│
//! │ block            │                 │ incarnation            │ 8│        ├──────────────────────┴──┤
//! │  record …        │                 │ salt                   │ 8│        │ record …                │
//! ├──────────────────┤                 │ oldest segment         │ 8│        ├─────────────────────────┤
//! │ unused           │                 └────────────────────────┴──┘        │ zeros to a multiple of 8│
//! └──────────────────┘ size                                                 └─────────────────────────┘
//!
//! record    bytes in all 4 │ checksum 4 │ kind 1 │ body
//! 1 message   v references, each: v owner, v seq, state; payload
//! 2 settled   v ranges, each: v owner (distance), v first (distance from the last range of this owner), v last (from first)
//! 3 delivered as settled
//! 4 metadata  payload
//! 5 snapshot  payload; metadata records before it are not needed
//! 7 states    as the references of a message: what changed since those were written
//! 8 summary   of the segment before: its references, settlements, marks, states and metadata positions (see `summary.rs`)
//!
//! state     bits 1 (1 redelivered, 2 transient, and what follows: 4 priority 1, 8 why it dies 1, 16 v failed deliveries, 32 v bytes of
//!           the body, 64 v expiry in ms since 1970)
//! ```
//!
//! Format 1, which is still read, had no states beyond the two flags, and summaries of another kind (6), for which the segment itself is
//! read.
//!
//! The header's checksum is a plain CRC-32. The others are seeded with the segment's salt, the position and the length: torn, stale,
//! misdirected and rotten bytes fail them, and nobody outside can make bytes that pass.
//!
//! # What tells a torn end from rot
//!
//! A block is valid if its header and all of its records are, and if its incarnation, the number of the boot that wrote it, is not
//! smaller than the one before. The first block that is not valid ends the log. But each block says up to which position all was
//! durable when it was written. If a later block knows that the bad one was durable, or a later segment was begun, which happens
//! only once the former is synced, then the log is corrupt, and the node says so instead of going on without what it had promised.
//! What can be read all the same is handed over, so that somebody can tell whether others have the rest; nothing is written any more.
//! Only of the last block nothing says that it was durable. If one bit of it makes the difference, that is told, for those to draw a
//! conclusion from it who can (see `doubt.rs`).
//! An orderly shutdown ends with an empty block, so that all before it is covered.
//!
//! A boot takes an incarnation greater than any it sees, also beyond the end. So what a former boot left beyond the end can never
//! follow what this one writes over it. In a recycled file all positions and the salt are others.

mod place;

pub(crate) mod codec;
mod ranges;
mod record;

mod block;
mod segment;
mod summary;

mod log;

mod commit;

mod clean;

mod doubt;
mod recovery;
mod salvage;

mod read;

#[cfg(test)]
pub(crate) mod tests;

pub use log::Log;
pub use place::{
    Corrupt, Damage, LogOutcome, LogUsage, Owners, Place, Recovered, RecoveredOwner, RecoveredRef, Ref, RefFlags,
    RefState, Until,
};
pub(crate) use read::payloads;
