//! Replicas of quorum queues: who has them and who leads (RabbitMQ docs: Quorum Queues / Managing Replicas; rabbitmq-queues(8)).

use alloc::string::String;

use super::queues::QueueName;
use crate::amqp::ShortStr;
use crate::metadata::Pattern;

/// What is asked about replicas. Nodes are meant by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaRequest {
    /// A queue gets a replica on a node (`add_member`). Answered by [`super::AdminReply::Done`] once the node belongs to the queue's
    /// group, also where it did already; it may still have to catch up.
    Add {
        /// Which queue.
        queue: QueueName,
        /// On which node.
        node: String,
    },
    /// A queue's replica on a node goes (`delete_member`). Answered by [`super::AdminReply::Done`].
    Remove {
        /// Which queue.
        queue: QueueName,
        /// On which node.
        node: String,
    },
    /// Another replica is to lead (`transfer_leadership`). Answered by [`super::AdminReply::Done`].
    Lead {
        /// Which queue.
        queue: QueueName,
        /// On which node.
        node: String,
    },
    /// Queues get a replica on a node (`grow`). Answered by [`super::AdminReply::ReplicaChanges`].
    Grow {
        /// On which node.
        node: String,
        /// Only queues with an even number of replicas.
        only_even: bool,
        /// Only these.
        queues: QueuePatterns,
    },
    /// All queues lose their replica on a node (`shrink`). Answered by [`super::AdminReply::ReplicaChanges`].
    Shrink {
        /// On which node.
        node: String,
    },
    /// Nodes that lead many queues hand some of them over to others (`rebalance`). Answered by [`super::AdminReply::Leaders`].
    Rebalance {
        /// Only these.
        queues: QueuePatterns,
    },
    /// How the replicas of a queue are (`quorum_status`). Answered by [`super::AdminReply::Members`].
    Status(QueueName),
    /// Which queues have no majority of their replicas without this node (`check_if_node_is_quorum_critical`). Answered by
    /// [`super::AdminReply::QueueNames`].
    Critical,
}

/// Queues by regular expressions over their names and those of their vhosts. By default all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePatterns {
    /// For the vhost.
    pub vhost: String,
    /// For the queue.
    pub queue: String,
}

impl Default for QueuePatterns {
    fn default() -> Self {
        Self { vhost: String::from(".*"), queue: String::from(".*") }
    }
}

/// The same, ready for use; by default all.
#[derive(Debug, Default)]
pub(crate) struct QueueFilter(Option<(Pattern, Pattern)>);

impl QueuePatterns {
    /// # Errors
    /// Why one is none, in words.
    pub(crate) fn read(&self) -> Result<QueueFilter, String> {
        Ok(QueueFilter(Some((Pattern::new(&self.vhost)?, Pattern::new(&self.queue)?))))
    }
}

impl QueueFilter {
    pub(crate) fn is_match(&self, vhost: &ShortStr, queue: &ShortStr) -> bool {
        let is_match = |(of_vhost, of_queue): &(Pattern, Pattern)| {
            of_vhost.is_match(vhost.as_bytes()) && of_queue.is_match(queue.as_bytes())
        };
        self.0.as_ref().is_none_or(is_match)
    }
}

/// What became of one queue's replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaChange {
    /// Which queue.
    pub queue: QueueName,
    /// How many it has; `None` if that is not known for sure.
    pub size: Option<u64>,
    /// Whether it was done, or why not.
    pub result: Result<(), String>,
}

/// One member of a queue's group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its node.
    pub node: String,
    /// What its node says of it; `None` if that cannot be asked, or has none.
    pub state: Option<MemberState>,
}

/// A replica as its node sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberState {
    /// Whether it leads.
    pub leads: bool,
    /// Whether it counts for a majority. Who came in last does not until it has caught up.
    pub has_vote: bool,
    /// The last entry of its log.
    pub last_index: u64,
    /// The last that it has on its disk.
    pub written_index: u64,
    /// The last that it has applied.
    pub applied_index: u64,
    /// The last that it knows to be decided.
    pub commit_index: u64,
    /// The last in the snapshot in front of its log.
    pub snapshot_index: u64,
    /// The latest term that it has seen.
    pub term: u64,
}

/// How many queues a node leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderCount {
    /// The node.
    pub node: String,
    /// How many.
    pub queues: u64,
}
