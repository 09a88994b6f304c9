//! Administration as values: what an operator may ask of a node, and what it answers. HTTP and command lines only translate.
//!
//! A request that changes what outlives a restart is answered once the change is durable.

mod base64;
mod cluster;
mod connections;
mod definitions;
mod departures;
mod exchanges;
mod limits;
mod node;
mod parameters;
mod permissions;
mod plan;
mod policies;
mod queues;
mod replicas;
mod users;
mod vhosts;

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::ids::AdminId;

pub use definitions::DefinitionsRequest;
pub use limits::{LimitInfo, LimitRequest};
pub use parameters::{GlobalParameterInfo, ParameterInfo, ParameterRequest};
pub use permissions::{PermissionInfo, PermissionRequest, TopicPermissionInfo};
pub(crate) use plan::Plan;
pub use policies::{PolicyInfo, PolicyRequest};
pub use serde_json::Value as Json;
pub use users::{Secret, UserInfo, UserRequest, password_hash};
pub use vhosts::{VhostChange, VhostInfo, VhostRequest};

pub use crate::metadata::{AdminError, AdminErrorKind};

pub use crate::queue::{LeaveReason, LeftTo};
pub use cluster::{ClusterNode, ClusterRequest, ClusterStatus};
pub use connections::{
    ChannelInfo, ConnectionInfo, ConnectionRequest, ConnectionSelection, ConnectionState, ConsumerInfo,
};
pub use departures::{Departure, DepartureReport, DepartureRequest, LeaveCounts, Way};
pub use exchanges::{BindingInfo, DelayedMessage, ExchangeInfo, ExchangeRequest};
pub use node::{NodeRequest, NodeStatus};
pub use queues::{OnlyConsumer, PeekedMessage, QueueInfo, QueueName, QueueRequest, QueueState, Selection};
pub(crate) use replicas::QueueFilter;
pub use replicas::{LeaderCount, MemberState, MemberStatus, QueuePatterns, ReplicaChange, ReplicaRequest};

/// What an operator asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminRequest {
    /// Whether the node is there.
    Ping,
    /// Why messages are gone that nobody acked.
    Departures(DepartureRequest),
    /// About vhosts.
    Vhost(VhostRequest),
    /// About users.
    User(UserRequest),
    /// About permissions.
    Permission(PermissionRequest),
    /// About policies.
    Policy(PolicyRequest),
    /// About parameters.
    Parameter(ParameterRequest),
    /// About limits of vhosts and users.
    Limit(LimitRequest),
    /// About everything at once.
    Definitions(DefinitionsRequest),
    /// About the node as a whole.
    Node(NodeRequest),
    /// About the nodes that are one broker.
    Cluster(ClusterRequest),
    /// About queues and what is in them.
    Queue(QueueRequest),
    /// About replicas of quorum queues.
    Replicas(ReplicaRequest),
    /// About exchanges and bindings.
    Exchange(ExchangeRequest),
    /// About connections, channels and consumers.
    Connection(ConnectionRequest),
}

impl From<NodeRequest> for AdminRequest {
    fn from(request: NodeRequest) -> Self {
        Self::Node(request)
    }
}

impl From<ClusterRequest> for AdminRequest {
    fn from(request: ClusterRequest) -> Self {
        Self::Cluster(request)
    }
}

impl From<QueueRequest> for AdminRequest {
    fn from(request: QueueRequest) -> Self {
        Self::Queue(request)
    }
}

impl From<ReplicaRequest> for AdminRequest {
    fn from(request: ReplicaRequest) -> Self {
        Self::Replicas(request)
    }
}

impl From<ExchangeRequest> for AdminRequest {
    fn from(request: ExchangeRequest) -> Self {
        Self::Exchange(request)
    }
}

impl From<ConnectionRequest> for AdminRequest {
    fn from(request: ConnectionRequest) -> Self {
        Self::Connection(request)
    }
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq)]
pub enum AdminReply {
    /// It is done.
    Done,
    /// What is remembered of messages that are gone.
    Departures(Box<DepartureReport>),
    /// It is done, to so many.
    Count(u64),
    /// How the node is.
    Status(Box<NodeStatus>),
    /// Who belongs to the cluster.
    Cluster(Box<ClusterStatus>),
    /// Queues, ordered by vhost and name.
    Queues(Vec<QueueInfo>),
    /// What became of replicas, in the order in which it was tried.
    ReplicaChanges(Vec<ReplicaChange>),
    /// The members of a queue's group, in the order in which they are known.
    Members(Vec<MemberStatus>),
    /// Running nodes with the queues that they lead, ordered by name.
    Leaders(Vec<LeaderCount>),
    /// Queues by their names.
    QueueNames(Vec<QueueName>),
    /// Messages, in the order in which they would be delivered.
    Messages(Vec<PeekedMessage>),
    /// Exchanges, ordered by vhost and name.
    Exchanges(Vec<ExchangeInfo>),
    /// Messages that a delayed exchange holds back.
    Delayed(Vec<DelayedMessage>),
    /// Bindings, ordered by vhost, source, destination and key.
    Bindings(Vec<BindingInfo>),
    /// Connections, oldest first.
    Connections(Vec<ConnectionInfo>),
    /// Channels, ordered by connection and number.
    Channels(Vec<ChannelInfo>),
    /// Consumers, ordered by vhost and queue, and oldest first within one.
    Consumers(Vec<ConsumerInfo>),
    /// Vhosts, ordered by name.
    Vhosts(Vec<VhostInfo>),
    /// Users, ordered by name.
    Users(Vec<UserInfo>),
    /// Permissions, ordered by user and vhost.
    Permissions(Vec<PermissionInfo>),
    /// Topic permissions, ordered by user, vhost and exchange.
    TopicPermissions(Vec<TopicPermissionInfo>),
    /// Policies, ordered by vhost and name.
    Policies(Vec<PolicyInfo>),
    /// Parameters, ordered by vhost, component and name.
    Parameters(Vec<ParameterInfo>),
    /// Global parameters, ordered by name.
    GlobalParameters(Vec<GlobalParameterInfo>),
    /// Limits, ordered by name.
    Limits(Vec<LimitInfo>),
    /// Definitions.
    Definitions(Json),
}

/// An answer and the request it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminAnswer {
    /// The number of the request.
    pub id: AdminId,
    /// The answer.
    pub reply: Result<AdminReply, AdminError>,
}

/// What requests about what is declared and administered come to.
pub(crate) mod plans {
    pub(crate) use super::definitions::plan as definitions;
    pub(crate) use super::limits::plan as limit;
    pub(crate) use super::parameters::plan as parameter;
    pub(crate) use super::permissions::plan as permission;
    pub(crate) use super::policies::plan as policy;
    pub(crate) use super::users::plan as user;
    pub(crate) use super::vhosts::plan as vhost;
}

/// Requests that are carried out one after the other, each when what the one before changed is durable.
#[derive(Debug)]
pub(crate) enum InTurn {
    Vhost(VhostRequest),
    User(UserRequest),
    Permission(PermissionRequest),
    Policy(PolicyRequest),
    Parameter(ParameterRequest),
    Limit(LimitRequest),
    Definitions(DefinitionsRequest),
}
