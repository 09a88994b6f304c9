//! The nodes that are one broker.

use alloc::string::String;
use alloc::vec::Vec;

use crate::alarm::Resource;

/// What is asked about the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterRequest {
    /// Who belongs to it, and who is there. Answered by [`super::AdminReply::Cluster`], also before clients are let in.
    Status,
    /// Removes a node that does not run and will not come back (`forget_cluster_node`).
    Forget(String),
}

/// The cluster as one of its nodes sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatus {
    /// The node that was asked.
    pub node: String,
    /// The version of its engine.
    pub version: &'static str,
    /// What all nodes of the cluster understand of each other: see [`crate::cluster::version`]. `None` in no cluster.
    pub protocol: Option<u16>,
    /// What is short, and on which node.
    pub alarms: Vec<(String, Resource)>,
    /// What the cluster is called.
    pub name: String,
    /// The nodes, in the order in which they came. Of a node in no cluster, that one.
    pub nodes: Vec<ClusterNode>,
    /// The nodes that are to form the cluster and do not belong to it, ordered by name.
    pub missing: Vec<String>,
    /// Who leads; `None` while nobody is known to.
    pub leader: Option<String>,
}

/// One node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterNode {
    /// Its name.
    pub name: String,
    /// Whether it is linked with the node that was asked, or is that.
    pub is_running: bool,
    /// Whether it counts for a majority. One that has just come in does not until it knows what the others do.
    pub has_vote: bool,
    /// Whether it is known to be under maintenance.
    pub is_drained: bool,
}
