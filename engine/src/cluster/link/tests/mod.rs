//! Two nodes, and everything that can stand between them.

#![expect(clippy::cast_possible_truncation, reason = "the numbers are small")]

mod pair;

mod bytes;
mod dialing;
mod handshake;
mod lanes;
mod machine;
