//! Several nodes as one broker: who belongs to them, how they talk, and how they agree.

pub mod consensus;
pub(crate) mod inquiries;
pub mod link;
mod listings;
pub mod membership;
pub(crate) mod peers;
pub(crate) mod queues;
pub mod version;
