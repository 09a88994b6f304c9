//! Several nodes that are one broker.

pub mod consensus;
