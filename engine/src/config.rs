//! What a user may choose. Values only: files and environment variables are read by the driver.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use crate::alarm::ResourceLimits;
use crate::cluster::link::{Secret, Versions};
use crate::limits;
use crate::metadata::LeaderLocator;

/// The engine's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name, such as `leveret@host`: another one for each node of a cluster.
    pub node_name: String,
    /// What clients are told the cluster is called, unless an operator says otherwise. `None`: as its first node.
    pub cluster_name: Option<String>,
    /// The vhost that exists on an empty node.
    pub default_vhost: String,
    /// The one user that exists on an empty node.
    pub default_user: String,
    /// Its password.
    pub default_pass: String,
    /// Its tags.
    pub default_user_tags: Vec<String>,
    /// What it may do in the default vhost: configure, write, read.
    pub default_permissions: [String; 3],
    /// Users who may only connect from this machine, as RabbitMQ's `guest`.
    pub loopback_users: Vec<String>,
    /// The type of durable queues declared without one, in vhosts that name none; `None` is classic.
    pub default_queue_type: Option<String>,
    /// Where queues are that do not say it (`queue_leader_locator`, or else `queue_master_locator`). `None`: where they are declared.
    pub queue_leader_locator: Option<LeaderLocator>,
    /// How many replicas a quorum queue has that does not say it, where there are as many nodes (`quorum_queue.initial_cluster_size`);
    /// 0 is 1.
    pub quorum_initial_group_size: u32,
    /// Whether quorum queues that have fewer replicas than they are to have get more, as soon as there are nodes for them
    /// (`quorum_queue.continuous_membership_reconciliation.enabled`; RabbitMQ docs: Quorum Queues / Continuous Membership Reconciliation).
    pub quorum_reconciliation: bool,
    /// How many those are to have then that do not say it (`quorum_queue.continuous_membership_reconciliation.target_group_size`). `None`:
    /// as many as they have.
    pub quorum_target_group_size: Option<u32>,
    /// Channels per connection offered to clients; 0 is no limit.
    pub channel_max: u16,
    /// Consumers per channel; `None` is no limit.
    pub consumer_max_per_channel: Option<u32>,
    /// Client connections of the node; `None` is no limit.
    pub connection_max: Option<u32>,
    /// Bytes of the largest frame offered to clients; 0 is no limit.
    pub frame_max: u32,
    /// Heartbeat interval offered to clients, in whole seconds; zero is none.
    pub heartbeat: Duration,
    /// How long a delivery may stay unacked before its consumer is cancelled. `None`: for ever.
    pub consumer_timeout: Option<Duration>,
    /// How long messages of a quorum queue stay with a consumer whose node cannot be reached. What the node that leads the queue has.
    pub consumer_disconnected_timeout: Duration,
    /// Time from accept to `connection.open`.
    pub handshake_timeout: Duration,
    /// Bytes of the largest message body.
    pub message_size_max: u64,
    /// Bytes waiting for a client above which queues stop delivering to it.
    pub outbox_high_bytes: usize,
    /// Bytes waiting for a client below which delivery resumes.
    pub outbox_low_bytes: usize,
    /// Bytes of message bodies one queue keeps in memory although they are in the log.
    pub queue_cache_bytes: usize,
    /// Bytes of message bodies in memory above which transient messages go to the disk too.
    pub memory_high_bytes: usize,
    /// Bytes asked of the disk at once when a queue's next messages are not in memory.
    pub read_ahead_bytes: u32,
    /// When memory and disk count as short, so that publishers are stopped.
    pub resources: ResourceLimits,
    /// Whether data that turns out to be damaged is given up even if nobody else has what is in it.
    pub gives_up_damaged_data: bool,
    /// With which nodes it is one broker. `None`: it knows no others, and lets nobody in.
    pub cluster: Option<ClusterConfig>,
    /// What a confirm of a persistent message promises.
    pub durability: Durability,
    /// How the log is laid out.
    pub log: LogConfig,
    /// Whether events that come once per message are reported.
    pub fine_events: bool,
    /// A planted bug, for showing that the simulator finds it.
    #[cfg(feature = "mutants")]
    pub mutant: Option<crate::mutants::Mutant>,
    /// Decides where rarer ways are gone that lead to the same; `None` goes none of them.
    #[cfg(feature = "buggify")]
    pub buggify: Option<u64>,
}

/// What a confirm of a persistent message in a durable classic queue promises, and the answer to a `tx.commit`. Replicated queues and the
/// metadata are always synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It is on the disk: it survives a loss of power.
    #[default]
    Fsync,
    /// The operating system has it: it survives the broker's end, also by SIGKILL. Of a loss of power it survives what is older than
    /// [`LogConfig::sync_interval`]. RabbitMQ 4 promises this much (RabbitMQ docs: Publishers / Publisher Confirms).
    Os,
}

/// What a node is told about its cluster.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The names of the nodes that form the cluster, the same on each of them (`cluster_formation.classic_config.nodes`). Empty: the node
    /// forms one by itself, which others may join.
    pub first_nodes: Vec<String>,
    /// What all its nodes know and nobody else does; RabbitMQ's Erlang cookie.
    pub secret: Secret,
    /// Commands after which the state is written down and the log before it goes.
    pub log_entries: u64,
    /// Commands that are kept all the same, for nodes that were away for a moment.
    pub log_kept: u64,
    /// Whether a node that cannot reach a majority serves no clients (`cluster_partition_handling = pause_minority`).
    pub pause_minority: bool,
    /// Whether the node has given its data up at some time, see [`crate::effect::Stop::Damaged`]. Then it never forms a cluster: it waits
    /// for those who have what it had.
    pub has_given_up: bool,
    /// What the node speaks with others: less than this program does where a test has it stand for an older one.
    pub versions: Versions,
}

impl ClusterConfig {
    /// The usual settings.
    #[must_use]
    pub fn new(first_nodes: Vec<String>, secret: Secret) -> Self {
        let (log_entries, log_kept) = (limits::CLUSTER_LOG_ENTRIES, limits::CLUSTER_LOG_KEPT);
        let (versions, pause_minority, has_given_up) = (Versions::SPOKEN, false, false);
        Self { first_nodes, secret, log_entries, log_kept, pause_minority, has_given_up, versions }
    }
}

/// Settings of the node's log. Tests make them small so that what is rare becomes frequent.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Bytes of one segment. The largest record has to fit.
    pub segment_bytes: u64,
    /// Bytes the log may use beyond twice its live bytes before its oldest segment is cleaned.
    pub slack_bytes: u64,
    /// Bytes of one append.
    pub append_bytes: usize,
    /// How long records that nobody waits for may stay unsynced.
    pub sync_interval: Duration,
    /// How long to wait before trying again when the disk was full.
    pub disk_retry: Duration,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: limits::SEGMENT_BYTES,
            slack_bytes: limits::LOG_SLACK_BYTES,
            append_bytes: limits::LOG_APPEND_BYTES,
            sync_interval: limits::LOG_SYNC_INTERVAL,
            disk_retry: limits::DISK_RETRY,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_name: "leveret@localhost".to_owned(),
            cluster_name: None,
            default_vhost: "/".to_owned(),
            default_user: "guest".to_owned(),
            default_pass: "guest".to_owned(),
            default_user_tags: vec!["administrator".to_owned()],
            default_permissions: [".*".to_owned(), ".*".to_owned(), ".*".to_owned()],
            loopback_users: vec!["guest".to_owned()],
            default_queue_type: None,
            quorum_initial_group_size: limits::QUORUM_INITIAL_GROUP_SIZE,
            queue_leader_locator: None,
            quorum_reconciliation: false,
            quorum_target_group_size: None,
            channel_max: limits::CHANNEL_MAX,
            consumer_max_per_channel: None,
            connection_max: None,
            frame_max: limits::FRAME_MAX,
            heartbeat: limits::HEARTBEAT,
            consumer_timeout: Some(limits::CONSUMER_TIMEOUT),
            consumer_disconnected_timeout: limits::CONSUMER_DISCONNECTED_TIMEOUT,
            handshake_timeout: limits::HANDSHAKE_TIMEOUT,
            message_size_max: limits::MESSAGE_SIZE_MAX,
            outbox_high_bytes: limits::OUTBOX_HIGH_BYTES,
            outbox_low_bytes: limits::OUTBOX_LOW_BYTES,
            queue_cache_bytes: limits::QUEUE_CACHE_BYTES,
            memory_high_bytes: limits::MEMORY_HIGH_BYTES,
            read_ahead_bytes: limits::READ_AHEAD_BYTES,
            resources: ResourceLimits::default(),
            gives_up_damaged_data: false,
            cluster: None,
            durability: Durability::default(),
            log: LogConfig::default(),
            fine_events: false,
            #[cfg(feature = "mutants")]
            mutant: None,
            #[cfg(feature = "buggify")]
            buggify: None,
        }
    }
}
