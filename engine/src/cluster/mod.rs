//! Several nodes that are one broker.

pub mod consensus;
pub mod link;
