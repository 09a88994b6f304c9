//! Several nodes, and what is between them.

use serde::{Deserialize, Serialize};

use super::is_default;
use crate::clock::Micros;
use crate::rng::Ratio;

/// The nodes of a run, which are one broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterPlan {
    /// How many there are.
    pub nodes: usize,
    /// How the connections between them behave.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wire: WirePlan,
    /// Pairs of nodes that are further from each other than the others, and by how much.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distances: Vec<(usize, usize, Micros)>,
    /// By how many milliseconds the wall clock of each node is ahead; 0 for those that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clocks_ahead_ms: Vec<i64>,
    /// See the engine's `ClusterConfig`.
    pub log_entries: u64,
    /// See the engine's `ClusterConfig`.
    pub log_kept: u64,
    /// All nodes begin with a program that speaks the lowest version only, and have the newest once they were stopped in order.
    #[serde(default, skip_serializing_if = "is_default")]
    pub upgrades: bool,
}

/// A connection between two nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WirePlan {
    /// Time in each direction, shortest and longest.
    pub latency_us: (Micros, Micros),
    /// The most bytes that arrive at once; 0 is any number.
    pub segment_bytes: u32,
    /// Share of arrivals that are cut at a random place.
    pub cut: Ratio,
    /// Bytes that the systems between two nodes hold in each direction.
    pub window_bytes: u32,
}

/// A wire of no habits, as within a data centre.
impl Default for WirePlan {
    fn default() -> Self {
        Self { latency_us: (150, 150), segment_bytes: 0, cut: Ratio::NEVER, window_bytes: 256 * 1024 }
    }
}
