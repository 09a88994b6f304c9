//! The node: one input to one machine, each machine's answers to their next stop.

use alloc::string::String;
use alloc::vec::Vec;

use crate::config::Config;
use crate::effect::Effects;
use crate::ids::QueueId;
use crate::input::Input;
use crate::time::{Instant, Now};
use crate::timer::TimerKind;

/// One broker node.
///
/// The driver's loop: give inputs to [`Engine::handle`], one or many; call [`Engine::flush`]; carry out the [`Effects`]; sleep until
/// [`Engine::next_timeout`] or the next input. The inputs between two flushes form one batch: one write per socket, one append to
/// the log.
#[derive(Debug)]
pub struct Engine {}

impl Engine {
    /// A node that is about to recover from its disk. The first effect is a disk operation; clients may be let in after
    /// [`Engine::is_ready`].
    pub fn new(_config: Config, _seed: [u8; 32], _now: Now) -> Self {
        Self {}
    }

    /// Advances the node by one input.
    pub fn handle(&mut self, _now: Now, _input: Input, _effects: &mut Effects) {}

    /// Ends a batch of inputs: appends to `effects` all that is to be done because of them.
    pub fn flush(&mut self, _now: Now, _effects: &mut Effects) {}

    /// When the engine next wants [`Input::Timeout`], and what for. `None` while it only waits for others.
    pub fn next_timeout(&self) -> Option<(Instant, TimerKind)> {
        None
    }

    /// Whether recovery is over and clients may be let in.
    pub fn is_ready(&self) -> bool {
        false
    }

    /// All queues as they are, ordered by vhost and name.
    pub fn queues(&self) -> Vec<QueueStatus> {
        Vec::new()
    }

    /// What the node holds, for limits, metrics and the simulator.
    pub fn usage(&self) -> Usage {
        Usage::default()
    }

    /// Checks all invariants, within machines and across them.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check_invariants(&self) {}
}

/// One queue, as an observer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueStatus {
    /// Its incarnation.
    pub id: QueueId,
    /// Its vhost.
    pub vhost: String,
    /// Its name.
    pub name: String,
    /// Messages waiting for a consumer.
    pub ready: u64,
    /// Messages delivered and not yet acked.
    pub unacked: u64,
    /// Consumers.
    pub consumers: u64,
}

/// What a node holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Open client connections.
    pub connections: u64,
    /// Open channels.
    pub channels: u64,
    /// Bytes of message bodies in memory.
    pub body_bytes: u64,
    /// Bytes waiting for clients' sockets.
    pub outbox_bytes: u64,
    /// Segments of the log.
    pub log_segments: u64,
    /// Bytes of the log's segments on disk.
    pub log_bytes: u64,
    /// Bytes of the log that are still needed.
    pub log_live_bytes: u64,
}
