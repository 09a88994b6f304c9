//! The node as a whole: how it is, and when it counts as short of something.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::alarm::{Resource, ResourceLevel, ResourceLimits};
use crate::engine::Usage;

/// What is asked of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeRequest {
    /// How it is. Answered by [`super::AdminReply::Status`].
    Status,
    /// Bytes of memory above which publishers are stopped, until a restart (`set_vm_memory_high_watermark`); `None` is any number.
    SetMemoryHighWatermark(Option<u64>),
    /// Bytes of free disk space below which publishers are stopped, until a restart (`set_disk_free_limit`).
    SetDiskFreeLimit(u64),
    /// Puts the node under maintenance, until it is revived or started again: it serves no clients, and others lead where they can
    /// (`drain`). Answered once they do.
    Drain,
    /// Ends the maintenance (`revive`).
    Revive,
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// The version of its engine.
    pub version: &'static str,
    /// How long it has been serving clients.
    pub uptime: Duration,
    /// What is short, so that publishers are stopped.
    pub alarms: Vec<Resource>,
    /// When something counts as short.
    pub limits: ResourceLimits,
    /// What it takes and has left; `None` if that was never measured.
    pub level: Option<ResourceLevel>,
    /// What it holds.
    pub usage: Usage,
    /// Vhosts.
    pub vhosts: u64,
    /// Queues, over all vhosts.
    pub queues: u64,
    /// Exchanges, over all vhosts.
    pub exchanges: u64,
    /// Messages waiting for a consumer, over all queues.
    pub messages_ready: u64,
    /// Messages delivered and not yet acked, over all queues.
    pub messages_unacked: u64,
}
