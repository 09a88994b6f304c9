//! The link between two nodes: one connection, on which each knows who the other is and what it sends stays whole and in order.
//!
//! A [`Link`] is a machine without I/O. Its embedder gives it bytes from the socket, messages for its lanes and the time; it takes
//! [`Event`]s and bytes to write. Nothing here decides whether a node is welcome: the embedder does, by what [`Peer`] says, and may
//! [`Link::refuse`] it. [`keeps()`] says which of two links between the same nodes stays, [`Dialer`] when the next
//! one is tried.
//!
//! # States
//!
//! ```text
//!   dialer     hello → ............... hello, proof? ─ proof → Open
//!   acceptor           hello? ─ hello, proof → ........ proof? ─ Open
//!                 │                  │                           │
//!                 └── mistake, timeout, refusal, socket closed ──┴──→ Over: what is to be written still goes out
//! ```
//!
//! # Who proves what to whom
//!
//! Both know the cluster's secret. Each proves it by a MAC over both hellos, which hold a random number each, and over its own side:
//! what was said in another handshake, or by the other side, proves nothing. Since the MAC covers the hellos as they were received,
//! nobody in between can talk two nodes into an older version. The dialer proves itself last, to somebody who has proven himself.
//!
//! What follows is neither secret nor protected from somebody in between: that is for TLS below. A secret that can be guessed can be
//! guessed offline by everybody who may connect, since the acceptor proves itself to whoever says hello; it should be drawn at random.
//!
//! # Format 1
//!
//! Numbers are little endian; behind each name stands how many bytes it has.
//!
//! ```text
//! greeting   "lvlink" 6, kind 1, length 2, content: all there is before both proofs hold
//!   hello      kind 1: lowest version 2, highest version 2, length of the name 1, name, flags 1 (1 cluster, 2 node), cluster 8, node 8,
//!              disk 8, boot 8, nonce 32, then what later versions append
//!   proof      kind 2: 32
//!   refusal    kind 3: reason 1, text
//!
//! chunk      kind and lane 1, length of the content 3, CRC-32 4, total 4 if it begins a message, content
//!   kind       high half: 0 a whole message, 1 the beginning of one of `total` bytes, 2 more of it
//!   lane       low half: 0 control, 1 consensus, 2 queues, 3 bulk, 15 refusal: content as above, and the last chunk
//!
//! proof      HMAC-SHA256 of: "leveret link", version 2, side 1 (1 dialer, 2 acceptor), then length 2 and content of the dialer's hello
//!            and of the acceptor's
//! ```
//!
//! Greetings keep their format in all versions, so that nodes of any age can tell each other why they do not understand each other.
//! The version in use is the highest that both speak.
//!
//! # Why a checksum
//!
//! TCP's has 16 bits, and lets through what the memory of a card or of something in between damaged before it was computed (Stone and
//! Partridge, "When the CRC and TCP checksum disagree", SIGCOMM 2000: one packet in 16 million to 10 billion). A bit that flips in an
//! entry on its way would be logged by its receiver, under a good checksum of the log, and replicas would differ for good. A CRC-32
//! costs a few microseconds for a chunk at most. It covers kind, lane, lengths and content.

mod who;

mod greeting;
mod hello;
mod proof;

mod error;
mod handshake;
mod refusal;

mod chunk;
mod lane;

mod assembly;
mod outbox;

mod machine;

mod dialer;
mod keeps;

#[cfg(test)]
mod tests;

pub use chunk::BadChunk;
pub use dialer::{Attempt, Dialer};
pub use error::{Error, Stranger, Why};
pub use keeps::keeps;
pub use lane::Lane;
pub use machine::{Event, Link, Setup};
pub use outbox::Unsent;
pub use proof::{Secret, Side};
pub use refusal::{Reason, Refusal};
pub use who::{Peer, Versions, Who, is_node_name};
