//! Which other nodes can be reached, and what that means for sessions on both sides.

use alloc::format;
use alloc::vec::Vec;

use super::super::Broker;
use super::{QueueNames, RemoteSession};
use crate::amqp::{AmqpError, ReplyCode};
use crate::cluster::queues::Frame;
use crate::ids::{Boot, LinkId, NodeId};
use crate::limits;
use crate::metadata::Overflow;
use crate::mutants::{Mutant, is_planted};
use crate::routing::QueueKey;
use crate::time::Instant;

/// What is known of another node.
#[derive(Debug)]
pub(in super::super) struct NodeLink {
    /// The life in which it was when there was a link last; 0 if there never was one.
    boot: Boot,
    link: Option<LinkId>,
    /// While there is no link: until when it is waited for.
    until: Instant,
    /// Whether that is over: what was on its way is given up.
    is_lost: bool,
    /// All own sessions up to this number are given up, of which the node is to hear.
    forgotten: u64,
}

impl NodeLink {
    /// The life that it is in, as far as is known.
    pub(super) fn boot(&self) -> Boot {
        self.boot
    }

    /// Whether there is a link.
    pub(super) fn is_up(&self) -> bool {
        self.link.is_some()
    }
}

impl Broker {
    /// Compares what links there are with what was known.
    pub(in super::super) fn watch_links(&mut self) {
        let Some(peers) = &self.peers else { return };
        let nodes = &self.remote.nodes;
        let linked: Vec<_> = peers.linked().collect();
        let has_link = |node: NodeId, link: LinkId| linked.iter().any(|(other, its, _)| (*other, *its) == (node, link));
        // A link that another one has replaced is gone as well, whatever was said over it.
        let gone = nodes.iter().filter(|(node, known)| known.link.is_some_and(|link| !has_link(**node, link)));
        let gone: Vec<NodeId> = gone.map(|(node, _)| *node).collect();
        for node in gone {
            self.on_node_down(node);
        }
        for (node, link, boot) in linked {
            let known = self.remote.nodes.get(&node);
            if known.is_none_or(|known| known.link != Some(link)) {
                self.on_node_up(node, link, boot);
            }
        }
    }

    fn on_node_down(&mut self, node: NodeId) {
        if let Some(known) = self.remote.nodes.get_mut(&node) {
            known.link = None;
            known.until = self.now.mono + limits::REMOTE_GRACE;
        }
        self.forget_health(node);
        self.on_guests_cut_off(node);
        self.on_replica_nodes();
    }

    fn on_node_up(&mut self, node: NodeId, link: LinkId, boot: Boot) {
        let until = self.now.mono;
        let new = NodeLink { boot, link: None, until, is_lost: false, forgotten: 0 };
        let known = self.remote.nodes.entry(node).or_insert(new);
        // What waited for a node that had never been seen waits for this life of it.
        let is_other_life = known.boot != boot && known.boot != Boot(0);
        known.boot = boot;
        if is_other_life {
            self.lose_node(node);
        }
        if let Some(known) = self.remote.nodes.get_mut(&node) {
            (known.link, known.is_lost) = (Some(link), false);
            if known.forgotten > 0
                && let Some(peers) = &mut self.peers
            {
                let forget = Frame::Forget { up_to: known.forgotten };
                peers.send_to_queues(self.now.mono, node, forget.encode());
            }
        }
        self.greet_with_health(node);
        self.on_guests_reached(node, boot);
        self.ask_again(node);
        // Of each message such a queue says whether it refused it. Replicated ones refuse before they are asked.
        let metadata = &self.metadata;
        let may_refuse_each = |session: &RemoteSession| {
            let record = metadata.queue_by_key(session.queue).filter(|_| !session.is_replicated);
            record.is_some_and(|record| record.settings.overflow != Overflow::DropHead)
        };
        let sessions = self.remote.sessions.iter_mut().filter(|(_, session)| session.home == node);
        for (number, session) in sessions {
            if may_refuse_each(session) && !is_planted(Mutant::RemoteRefusalForgotten) {
                session.session.distrust();
            }
            session.session.on_leader();
            (session.taken_bytes, session.told_bytes) = (0, 0);
            self.remote.dirty.insert(*number);
        }
        self.look_at_leaders();
        self.on_replica_nodes();
    }

    /// A node is needed to which there is no link: from now on it is waited for.
    pub(super) fn watch_node(&mut self, node: NodeId) {
        let until = self.now.mono + limits::REMOTE_GRACE;
        let new = NodeLink { boot: Boot(0), link: None, until, is_lost: false, forgotten: 0 };
        self.remote.nodes.entry(node).or_insert(new);
    }

    /// Gives up what was on its way to a node: it is in another life, or was out of reach for too long.
    fn lose_node(&mut self, node: NodeId) {
        let last = self.remote.last_number;
        if let Some(known) = self.remote.nodes.get_mut(&node) {
            (known.is_lost, known.forgotten) = (true, last);
        }
        self.drop_asks(node);
        // What a quorum queue has it keeps.
        let sessions =
            self.remote.sessions.iter().filter(|(_, session)| session.home == node && !session.is_replicated);
        let sessions: Vec<u64> = sessions.map(|(number, _)| *number).collect();
        for number in sessions {
            self.lose_session(number);
        }
    }

    /// A queue is on another node than before: gives up what was on its way to that one, which is gone.
    pub(in super::super) fn on_home_moved(&mut self, queue: QueueKey) {
        self.drop_asks_about(queue);
        let sessions = self.remote.sessions.iter().filter(|(_, session)| session.queue == queue);
        let sessions: Vec<u64> = sessions.map(|(number, _)| *number).collect();
        for number in sessions {
            self.lose_session(number);
        }
    }

    /// Gives up what was waited for long enough.
    pub(in super::super) fn on_remote_timeout(&mut self) {
        let now = self.now.mono;
        let late = self.remote.nodes.iter().filter(|(_, known)| !known.is_up() && !known.is_lost && known.until <= now);
        let late: Vec<NodeId> = late.map(|(node, _)| *node).collect();
        for node in late {
            self.lose_node(node);
            self.on_guests_lost(node);
        }
        if self.remote.look_at.is_some_and(|at| at <= now) {
            self.look_at_leaders();
        }
        self.on_replica_timeout();
        self.on_errand_timeout();
    }

    /// When [`Broker::on_remote_timeout`] is next wanted.
    pub(in super::super) fn remote_timeout(&self) -> Option<Instant> {
        let waiting = self.remote.nodes.values().filter(|known| !known.is_up() && !known.is_lost);
        let nodes = waiting.map(|known| known.until).min();
        [nodes, self.remote.look_at, self.next_replica_due(), self.errand_timeout(), self.turning_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether a queue can be used: it is here, or its node is not given up.
    ///
    /// # Errors
    /// 404 NOT_FOUND on the channel, as RabbitMQ has it for classic queues.
    pub(crate) fn check_home(&mut self, key: QueueKey) -> Result<(), AmqpError> {
        if !self.is_remote(key) {
            return Ok(());
        }
        let Some(record) = self.metadata.queue_by_key(key) else { return Ok(()) };
        if self.metadata.is_led(record) {
            return Ok(());
        }
        let home = record.home;
        self.watch_node(home);
        if self.remote.nodes.get(&home).is_some_and(|known| known.is_lost) {
            return Err(self.home_down(key, &self.queue_names(key)));
        }
        Ok(())
    }

    /// A queue's vhost and name.
    pub(super) fn queue_names(&self, key: QueueKey) -> QueueNames {
        let Some(record) = self.metadata.queue_by_key(key) else { return QueueNames::default() };
        let vhost = self.metadata.vhost_by_key(record.vhost).map(|vhost| vhost.name.clone()).unwrap_or_default();
        QueueNames { vhost, name: record.name.clone() }
    }

    /// A queue's node cannot be reached, or the queue is gone.
    pub(super) fn home_down(&self, key: QueueKey, names: &QueueNames) -> AmqpError {
        let QueueNames { vhost, name } = names;
        let text = match self.metadata.queue_by_key(key).filter(|record| record.durable) {
            Some(record) => {
                let home =
                    self.peers.as_ref().and_then(|peers| peers.cluster().name_of(record.home)).unwrap_or_default();
                format!("home node '{home}' of durable queue '{name}' in vhost '{vhost}' is down or inaccessible")
            }
            None => format!("no queue '{name}' in vhost '{vhost}'"),
        };
        AmqpError::channel(ReplyCode::NotFound, text)
    }
}
