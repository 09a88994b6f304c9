//! The disk, as far as the server needs it: requests go in, answers come out of a channel.

pub mod file;

use leveret_engine::effect::DiskRequest;
use leveret_engine::ids::DiskOpId;
use leveret_engine::input::{DiskError, DiskOutcome};
use tokio::sync::mpsc;

/// Carries out the engine's disk operations.
///
/// Operations on one segment take effect in the order of their submission. Every one is answered exactly once, through the channel
/// that the implementation was made with.
pub trait Disk: Send + 'static {
    /// Takes an operation over. It does not wait.
    fn submit(&mut self, request: DiskRequest);
}

/// How one operation ended.
#[derive(Debug)]
pub struct DiskAnswer {
    /// Which one.
    pub op: DiskOpId,
    /// What it brought.
    pub result: Result<DiskOutcome, DiskError>,
}

/// Where answers come in. It needs no bound of its own: there are as many as the engine has operations under way.
pub type DiskAnswers = mpsc::UnboundedReceiver<DiskAnswer>;
