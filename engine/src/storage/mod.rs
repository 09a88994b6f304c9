//! The node's one log: what is to survive is written here once, and stays here until nobody needs it.

mod log;
mod place;

pub use log::Log;
pub use place::{Corrupt, LogOutcome, LogUsage, Owners, Place, Recovered, RecoveredOwner, RecoveredRef, Ref, RefFlags};
