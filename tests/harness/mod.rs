//! What the tests start beside themselves: brokers, and folders for their data.

pub(crate) mod client;
pub(crate) mod group;
pub(crate) mod leveret;
pub(crate) mod memory_disk;
pub(crate) mod rabbitmq;
