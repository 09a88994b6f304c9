//! The node's one log: what is to survive is written here once, and stays here until nobody needs it.

mod place;

mod codec;
mod ranges;
mod record;

mod block;
mod segment;
mod summary;

mod log;

mod commit;

mod clean;

mod recovery;

#[cfg(test)]
mod tests;

pub use log::Log;
pub use place::{Corrupt, LogOutcome, LogUsage, Owners, Place, Recovered, RecoveredOwner, RecoveredRef, Ref, RefFlags};
