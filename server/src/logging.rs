//! What the engine reports, as log lines.

use leveret_engine::event::Event;

/// Writes one fact to the log. What comes once per message is for tracing only.
pub(crate) fn report(event: &Event) {
    match event {
        Event::Ready { messages, queues, truncated_bytes: 0 } => tracing::info!(messages, queues, "recovered"),
        Event::Ready { messages, queues, truncated_bytes } => {
            tracing::warn!(messages, queues, truncated_bytes, "recovered; cut off an unfinished end of the log");
        }
        Event::ConnectionOpened { connection, peer, user } => {
            tracing::info!(%connection, %peer, user, "connection opened");
        }
        Event::ConnectionClosed { connection, reason } => tracing::info!(%connection, reason, "connection closed"),
        Event::ChannelFailed { connection, channel, text } => {
            tracing::warn!(%connection, %channel, text, "channel closed for an error");
        }
        Event::ConsumerTimedOut { connection, channel, consumer_tag } => {
            tracing::warn!(%connection, %channel, consumer_tag, "consumer cancelled: it took too long to ack");
        }
        Event::AlarmRaised { resource } => tracing::warn!(resource, "alarm raised: publishers are stopped"),
        Event::AlarmCleared { resource } => tracing::info!(resource, "alarm cleared: publishers go on"),
        Event::ServesClients => tracing::info!("clients are let in again"),
        Event::ServesNoClients { why } => tracing::warn!(why, "clients are turned away"),
        Event::PeerUp { name } => tracing::info!(name, "linked with a node"),
        Event::PeerDown { name, reason } => {
            let name = name.as_deref().unwrap_or("unknown");
            tracing::warn!(name, reason, "no link with a node");
        }
        Event::ClusterEntered { cluster, node } => tracing::info!(cluster, %node, "belongs to a cluster"),
        Event::ClusterNodes { names } => tracing::info!(?names, "the nodes of the cluster"),
        Event::ClusterVersion { version } => tracing::info!(version, "all nodes of the cluster speak this version"),
        Event::ClusterLeader { leader, term } => {
            let leader = leader.as_deref().unwrap_or("none");
            tracing::info!(leader, term, "who leads the cluster");
        }
        Event::StaysOnOneNode { vhost, queue } => {
            tracing::warn!(vhost, queue, "a policy mirrors this queue, which drops duplicates and stays on this node");
        }
        Event::BecomesReplicated { vhost, queue } => tracing::info!(vhost, queue, "a policy mirrors this queue"),
        Event::IsReplicated { vhost, queue } => tracing::info!(vhost, queue, "this queue is replicated"),
        Event::QueueCreated { queue, name, durable } => tracing::debug!(%queue, name, durable, "queue created"),
        Event::QueueDeleted { queue } => tracing::debug!(%queue, "queue deleted"),
        Event::Enqueued { .. } | Event::Left { .. } | Event::Settled { .. } | Event::Confirmed { .. } => {
            tracing::trace!(?event);
        }
    }
}
