//! Several nodes as one broker: who belongs to them, and how they agree.

pub mod consensus;
pub mod membership;
