//! Queues: what is waiting, who gets it next, and what is out with whom.
//!
//! A queue is addressed by values, not called back: its owner enqueues, subscribes, settles and returns, asks [`ClassicQueue::next`]
//! what it wants done, and does it. Publisher and consumer need not know where the queue is.

mod classic;
mod consumers;
mod dying;
mod entry;
mod expiry;
pub mod quorum;
mod reading;
mod ready;
mod reason;
mod retries;

#[cfg(test)]
mod tests;

pub use classic::QueueKind;
pub(crate) use classic::{Arrival, ClassicQueue, Get, GivenBack, Next, Return, Subscription, Taken};
pub(crate) use consumers::{Consumer, ConsumerKey, Consumers, Subscriber};
pub(crate) use dying::Dead;
pub(crate) use entry::Entry;
pub use reason::{LeaveReason, LeftTo};
