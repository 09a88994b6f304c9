//! Administrative requests that are about the node as a whole and its connections; the broker has the rest.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::alarm::{Resource, ResourceLimits};
use crate::connection::Connection;
use crate::effect::Effects;
use crate::engine::Engine;
use crate::ids::{AdminId, ConnectionId, NodeId};
use crate::limits;
use crate::management::{
    AdminError, AdminReply, AdminRequest, ClusterNode, ClusterRequest, ClusterStatus, ConnectionRequest,
    ConnectionSelection, InTurn, NodeRequest, NodeStatus,
};
use crate::time::{Instant, Now};

/// An operator who waits for a node to be removed from the cluster.
#[derive(Debug)]
pub(crate) struct Forgetting {
    id: AdminId,
    name: String,
    node: NodeId,
    /// When it takes too long.
    until: Instant,
}

impl Engine {
    /// Carries out an operator's request, or begins to.
    pub(crate) fn administer(&mut self, now: Now, effects: &mut Effects, id: AdminId, request: AdminRequest) {
        // What keeps clients out may be that nodes are missing, which is to be seen.
        let is_served = self.is_ready() || (self.is_joining() && matches!(request, AdminRequest::Cluster(_)));
        if !is_served {
            return self.broker.answer(id, Err(AdminError::refused("the broker is not serving clients")));
        }
        match request {
            AdminRequest::Ping => self.broker.answer(id, Ok(AdminReply::Done)),
            AdminRequest::Node(request) => {
                if let Some(reply) = self.administer_node(now, effects, id, request) {
                    self.broker.answer(id, Ok(reply));
                }
            }
            AdminRequest::Cluster(ClusterRequest::Status) => {
                let status = self.cluster_status();
                self.broker.answer(id, Ok(AdminReply::Cluster(Box::new(status))));
            }
            AdminRequest::Cluster(ClusterRequest::Forget(name)) => {
                if let Err(error) = self.forget_node(now, id, name) {
                    self.broker.answer(id, Err(error));
                }
            }
            AdminRequest::Departures(request) => {
                let reply = self.broker.departures(&request).map(|report| AdminReply::Departures(Box::new(report)));
                self.broker.answer(id, reply);
            }
            AdminRequest::Vhost(request) => self.broker.administer_in_turn(id, InTurn::Vhost(request)),
            AdminRequest::User(request) => self.broker.administer_in_turn(id, InTurn::User(request)),
            AdminRequest::Permission(request) => self.broker.administer_in_turn(id, InTurn::Permission(request)),
            AdminRequest::Policy(request) => self.broker.administer_in_turn(id, InTurn::Policy(request)),
            AdminRequest::Parameter(request) => self.broker.administer_in_turn(id, InTurn::Parameter(request)),
            AdminRequest::Limit(request) => self.broker.administer_in_turn(id, InTurn::Limit(request)),
            AdminRequest::Definitions(request) => self.broker.administer_in_turn(id, InTurn::Definitions(request)),
            AdminRequest::Queue(request) => self.broker.administer_queues(id, request),
            AdminRequest::Replicas(request) => self.broker.administer_replicas(id, &request),
            AdminRequest::Exchange(request) => self.broker.administer_exchanges(id, &request),
            AdminRequest::Connection(request) => {
                let own = self.administer_connections(now, effects, &request);
                self.broker.ask_others_for_connections(id, &request, own);
            }
        }
    }

    /// The answer, unless it has to wait.
    fn administer_node(
        &mut self,
        now: Now,
        effects: &mut Effects,
        id: AdminId,
        request: NodeRequest,
    ) -> Option<AdminReply> {
        let limits = self.broker.alarms.limits();
        let limits = match request {
            NodeRequest::Status => return Some(AdminReply::Status(Box::new(self.status(now)))),
            NodeRequest::Drain => {
                self.drain(now, effects, id);
                return None;
            }
            NodeRequest::Revive => {
                self.revive();
                return Some(AdminReply::Done);
            }
            NodeRequest::SetMemoryHighWatermark(memory_high_bytes) => ResourceLimits { memory_high_bytes, ..limits },
            NodeRequest::SetDiskFreeLimit(disk_free_bytes) => ResourceLimits { disk_free_bytes, ..limits },
        };
        self.broker.alarms.set_limits(limits);
        self.check_alarms(now, effects);
        Some(AdminReply::Done)
    }

    fn status(&self, now: Now) -> NodeStatus {
        let Self { broker, .. } = self;
        let queues = || broker.queues.iter().map(|(_, queue)| queue);
        NodeStatus {
            name: broker.config.node_name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime: now.mono.saturating_since(self.ready_at),
            alarms: self.alarms(),
            limits: broker.alarms.limits(),
            level: broker.alarms.level(),
            usage: self.usage(),
            vhosts: broker.metadata.vhosts().count() as u64,
            queues: broker.metadata.queues().len() as u64,
            exchanges: broker.metadata.exchanges().len() as u64,
            messages_ready: queues().map(|queue| queue.ready_len() as u64).sum(),
            messages_unacked: queues().map(|queue| queue.unacked_len() as u64).sum(),
        }
    }

    fn cluster_status(&self) -> ClusterStatus {
        let broker = &self.broker;
        let own = &broker.config.node_name;
        let mut status = ClusterStatus {
            node: own.clone(),
            version: env!("CARGO_PKG_VERSION"),
            protocol: broker.peers.as_ref().map(|peers| peers.cluster().version()),
            alarms: self.all_alarms(),
            name: broker.cluster_name(),
            nodes: Vec::new(),
            missing: Vec::new(),
            leader: None,
        };
        let Some(peers) = &broker.peers else {
            status.nodes = vec![ClusterNode {
                name: own.clone(),
                is_running: true,
                has_vote: true,
                is_drained: broker.is_drained(),
            }];
            status.leader = Some(own.clone());
            return status;
        };
        let cluster = peers.cluster();
        let members = cluster.status().map(|status| status.members);
        let node = |id: NodeId, name: &String| ClusterNode {
            name: name.clone(),
            is_running: name == own || cluster.is_linked(id),
            has_vote: members.as_ref().is_some_and(|members| members.voters().contains(&id)),
            is_drained: broker.is_node_drained(id),
        };
        status.nodes = cluster.nodes().map(|(id, of_roster)| node(id, &of_roster.name)).collect();
        let known: BTreeSet<&String> = cluster.nodes().map(|(_, node)| &node.name).collect();
        let first = broker.config.cluster.iter().flat_map(|cluster| &cluster.first_nodes).collect::<BTreeSet<_>>();
        status.missing = first.difference(&known).map(|name| (*name).clone()).collect();
        status.leader = cluster.leader().0.and_then(|leader| cluster.name_of(leader)).map(ToOwned::to_owned);
        status
    }

    /// What is short on this node and on those that can be reached.
    fn all_alarms(&self) -> Vec<(String, Resource)> {
        let broker = &self.broker;
        let own = self.alarms().into_iter().map(|resource| (broker.config.node_name.clone(), resource));
        let name = |node| broker.peers.as_ref().and_then(|peers| peers.cluster().name_of(node)).unwrap_or_default();
        let others = broker.alarms.elsewhere().map(|(node, resource)| (name(node).to_owned(), resource));
        own.chain(others).collect()
    }

    /// Begins to remove a node from the cluster. It is answered when that is carried out.
    fn forget_node(&mut self, now: Now, id: AdminId, name: String) -> Result<(), AdminError> {
        let alone = || AdminError::bad_request("this node belongs to no cluster that another could be removed from");
        let peers = self.broker.peers.as_mut().ok_or_else(alone)?;
        let node = peers.cluster().nodes().find(|(_, node)| node.name == name).map(|(node, _)| node);
        let node = node.ok_or_else(|| AdminError::not_found(format!("{name} is not in the cluster")))?;
        peers.forget(&name).map_err(AdminError::refused)?;
        self.forgetting.push(Forgetting { id, name, node, until: now.mono + limits::METADATA_TIMEOUT });
        Ok(())
    }

    /// Answers those who wait for nodes to be removed, as far as that is done or takes too long.
    pub(crate) fn answer_forgetting(&mut self, now: Instant) {
        let Self { broker, forgetting, .. } = self;
        forgetting.retain(|Forgetting { id, name, node, until }| {
            let is_there = broker.peers.iter().any(|peers| peers.cluster().nodes().any(|(other, _)| other == *node));
            if is_there && now < *until {
                return true;
            }
            let late = || {
                let text =
                    format!("{name} is still in the cluster: no majority of its nodes has agreed in time, and may yet");
                AdminError::refused(text)
            };
            broker.answer(*id, if is_there { Err(late()) } else { Ok(AdminReply::Done) });
            false
        });
    }

    /// When [`Engine::answer_forgetting`] is next wanted.
    pub(crate) fn forgetting_timeout(&self) -> Option<Instant> {
        self.forgetting.iter().map(|forgetting| forgetting.until).min()
    }

    /// What is asked of this node's own connections.
    pub(crate) fn administer_connections(
        &mut self,
        now: Now,
        effects: &mut Effects,
        request: &ConnectionRequest,
    ) -> Result<AdminReply, AdminError> {
        Ok(match request {
            ConnectionRequest::List => AdminReply::Connections(
                self.all_connections().map(|connection| connection.info(&self.broker)).collect(),
            ),
            ConnectionRequest::ListChannels => {
                let of = |connection: &Connection| connection.channel_infos(&self.broker);
                AdminReply::Channels(self.all_connections().flat_map(of).collect())
            }
            ConnectionRequest::ListConsumers { vhost } => {
                let only = vhost.as_ref().map(|name| self.broker.expect_vhost(name)).transpose()?;
                let consumers = self
                    .all_connections()
                    .filter(|connection| only.is_none_or(|only| connection.vhost() == only))
                    .flat_map(|connection| connection.consumer_infos(&self.broker))
                    .collect();
                AdminReply::Consumers(consumers)
            }
            ConnectionRequest::Close { which, reason } => {
                let ids = self.selected(which)?;
                for id in &ids {
                    self.with_connection(now, effects, *id, |connection, ctx| {
                        connection.close_for_operator(ctx, reason);
                    });
                }
                AdminReply::Count(ids.len() as u64)
            }
        })
    }

    fn selected(&self, which: &ConnectionSelection) -> Result<Vec<ConnectionId>, AdminError> {
        let missing = || AdminError::not_found("there is no such connection");
        let those = |matches: &dyn Fn(&Connection) -> bool| {
            self.all_connections().filter(|connection| matches(connection)).map(Connection::id).collect::<Vec<_>>()
        };
        match which {
            ConnectionSelection::One { node, .. } if !node.is_empty() && *node != self.broker.config.node_name => {
                Err(missing())
            }
            ConnectionSelection::One { id, .. } => match those(&|connection| connection.id() == *id) {
                none if none.is_empty() => Err(missing()),
                one => Ok(one),
            },
            ConnectionSelection::Named(name) => match those(&|connection| connection.name() == *name) {
                none if none.is_empty() => Err(missing()),
                one => Ok(one),
            },
            ConnectionSelection::OfVhost(name) => {
                let vhost = self.broker.expect_vhost(name)?;
                Ok(those(&|connection| connection.vhost() == vhost))
            }
            ConnectionSelection::OfUser(name) => {
                Ok(those(&|connection| connection.user().as_bytes() == name.as_bytes()))
            }
            ConnectionSelection::All => Ok(those(&|_| true)),
        }
    }
}
