//! Everything that is declared or administered: vhosts, exchanges, queues, bindings, users, permissions, policies and parameters, as
//! one deterministic machine.
//!
//! Changes are [`Command`]s. Whoever wants one asks [`Metadata::check`] first, which answers what can be answered at once; logs the
//! command if it [has to outlive a restart](Metadata::is_durable); and gives it to [`Metadata::apply`], which repeats the check,
//! since other commands may have come between, and reports what came and went. Reading is local and needs no log.

mod admin_error;
mod administer;
mod administration;
mod apply;
mod arguments;
mod binding;
mod check;
mod clustered;
mod command;
mod deduplication;
mod encoding;
mod equivalence;
mod exchange;
mod locator;
mod merge;
mod mirroring;
mod name;
mod pattern;
mod policy;
mod policy_apply;
mod queue;
mod route;
mod settings;
mod snapshot;
mod user;
mod vhost;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

use slotmap::SlotMap;

use crate::amqp::{AmqpError, FieldTable, LongStr, ReplyCode, ShortStr};
use crate::collections::IdMap;
use crate::ids::{ConnectionId, NodeId, QueueId};
use crate::routing::{Destination, ExchangeKey, QueueKey};

pub use admin_error::{AdminError, AdminErrorKind};
pub use administration::Administration;
pub(crate) use arguments::EXPIRY_MAX_MS;
pub use arguments::{ExchangeArguments, Overflow, QueueArguments};
pub use binding::BindingView;
pub use check::{check_deletable_exchange, check_exchange_kind, check_not_default_exchange};
pub use command::{Command, DestinationName};
pub use deduplication::Deduplication;
pub use encoding::DecodeError;
pub use exchange::{Exchange, ExchangeSettings};
pub use locator::{LeaderLocator, Locators};
pub use mirroring::Mirroring;
pub use name::{check_queue_name, server_name, stripped};
pub use pattern::Pattern;
pub use policy::{ApplyTo, JsonMap, Policy, PolicyKind, check_definition};
pub use policy_apply::AppliedPolicies;
pub use queue::QueueRecord;
pub use settings::{DeadLetterStrategy, DelayedRetry, QueueSettings, RetryArguments, RetryKind};
pub use user::{Access, Permissions, TopicPermissions, User, UserLimits};
pub use vhost::{EVENT_EXCHANGE, Vhost, VhostKey, VhostLimits, VhostSettings};

use command::is_list_of_members;
use name::Named;

/// The answer to a command that was only looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing would change: what is declared exists as declared, what is deleted does not exist.
    AlreadySo,
    /// The command is legal and would change something.
    NeedsApply,
}

/// What applying a command did, in the order in which it happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What came and went.
    pub list: Vec<Change>,
    /// Commands that have been carried out already and still have to be logged: a durable exchange that was deleted by itself,
    /// because its last binding went (`auto-delete`). Which binding was the last depends on bindings that are never logged, so the
    /// log cannot leave the decision to its reader. See [`Metadata::replay`].
    pub also_log: Vec<Command>,
    /// Names of what came and went that the keys in `list` do not lead to: of what is gone, and of bindings.
    pub told: Vec<Told>,
}

/// Something that came or went, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A queue is gone.
    QueueDeleted {
        /// Its vhost.
        vhost: ShortStr,
        /// Its name.
        name: ShortStr,
    },
    /// An exchange is gone.
    ExchangeDeleted {
        /// Its vhost.
        vhost: ShortStr,
        /// Its name.
        name: ShortStr,
    },
    /// A binding was added.
    Bound(NamedBinding),
    /// A binding was removed by itself, not with one of its ends.
    Unbound(NamedBinding),
    /// An administrator changed something.
    Administered {
        /// The event exchange's routing key for it.
        what: &'static str,
        /// The names of what it is about, by what they name.
        names: Vec<(&'static str, ShortStr)>,
    },
}

/// A binding by the names of its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedBinding {
    /// The vhost of both.
    pub vhost: ShortStr,
    /// The exchange that messages come from.
    pub source: ShortStr,
    /// Where they go.
    pub destination: DestinationName,
    /// The binding key.
    pub routing_key: ShortStr,
    /// Its arguments.
    pub arguments: FieldTable,
}

/// One thing that came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An exchange exists from here on.
    ExchangeCreated(ExchangeKey),
    /// An exchange is gone, with all its bindings.
    ExchangeDeleted(ExchangeKey),
    /// A queue exists from here on.
    QueueCreated(QueueKey, QueueId),
    /// A queue is gone, with all its bindings.
    QueueDeleted(QueueKey, QueueId),
    /// A queue's settings are others: a policy came, went or changed.
    QueueSettings(QueueKey),
    /// A replicated queue has other members.
    QueueMembers(QueueKey),
    /// A queue that is on one node is on another one from here on.
    QueueMoved(QueueKey),
    /// A vhost is gone; what was in it went before.
    VhostDeleted(VhostKey),
    /// A user is gone.
    UserDeleted(ShortStr),
    /// A binding was added, from an exchange to where.
    Bound(ExchangeKey, Destination),
    /// A binding was removed by itself, not with one of its ends.
    Unbound,
}

/// The declared state of a node.
#[derive(Clone, Debug)]
pub struct Metadata {
    vhosts: SlotMap<VhostKey, Vhost>,
    vhost_names: BTreeMap<ShortStr, VhostKey>,
    exchanges: SlotMap<ExchangeKey, Exchange>,
    queues: SlotMap<QueueKey, QueueRecord>,
    queue_ids: IdMap<QueueId, QueueKey>,
    /// Greater than every id seen or given out.
    next_queue_id: QueueId,
    version: u64,
    hash_seed: u64,
    users: BTreeMap<ShortStr, User>,
    /// Whether there ever was a user: a node without any gets its first only once.
    has_had_users: bool,
    global_parameters: BTreeMap<ShortStr, serde_json::Value>,
    access_version: u64,
    /// Which node of a cluster this is; 0 while it is in none.
    own: NodeId,
    /// Queues of this node that are on their way to having replicas. Nobody else knows.
    turning: BTreeSet<QueueId>,
    /// Whether the cluster has begun with what its first node had.
    is_founded: bool,
    /// The cluster's command up to which all are carried out.
    applied: u64,
}

impl Metadata {
    /// The vhost `/` with the exchanges that exist from the start. `hash_seed` should not be known to clients.
    pub fn new(hash_seed: u64) -> Self {
        let mut metadata = Self::empty(hash_seed);
        metadata.add_vhost(ShortStr::from_static("/"));
        metadata
    }

    fn empty(hash_seed: u64) -> Self {
        Self {
            vhosts: SlotMap::with_key(),
            vhost_names: BTreeMap::new(),
            exchanges: SlotMap::with_key(),
            queues: SlotMap::with_key(),
            queue_ids: IdMap::new(),
            next_queue_id: QueueId(1),
            version: 0,
            hash_seed,
            users: BTreeMap::new(),
            has_had_users: false,
            global_parameters: BTreeMap::new(),
            access_version: 0,
            own: NodeId(0),
            turning: BTreeSet::new(),
            is_founded: false,
            applied: 0,
        }
    }

    /// Grows with every change that can change a route. A route found at one version is right as long as the version stays.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether there ever was a user.
    pub fn has_had_users(&self) -> bool {
        self.has_had_users
    }

    /// An id for a queue about to be declared, greater than all seen so far. In a cluster it is 0: others may declare queues meanwhile,
    /// so the id is given when the command is carried out.
    pub fn allocate_queue_id(&mut self) -> QueueId {
        if self.own != NodeId(0) {
            return QueueId(0);
        }
        let id = self.next_queue_id;
        self.next_queue_id = QueueId(id.0 + 1);
        id
    }

    /// Greater than every id seen or given out.
    pub fn next_queue_id(&self) -> QueueId {
        self.next_queue_id
    }

    /// Sees to it that all ids given out from here on are greater than `id`. For ids that the log knows and this machine may not:
    /// those of queues that did not outlive a restart.
    pub fn skip_queue_ids(&mut self, id: QueueId) {
        self.next_queue_id = self.next_queue_id.max(QueueId(id.0 + 1));
    }

    /// The vhost with this name.
    pub fn vhost(&self, name: &[u8]) -> Option<VhostKey> {
        self.vhost_names.get(name).copied()
    }

    /// The type of durable queues declared without one; `None` if nobody chose.
    pub fn default_queue_type(&self, vhost: VhostKey) -> Option<LongStr> {
        let kind = self.vhosts.get(vhost)?.settings.default_queue_type.as_ref()?;
        Some(LongStr::from(kind.as_bytes().to_vec()))
    }

    /// A vhost's record, as long as it exists.
    pub fn vhost_by_key(&self, key: VhostKey) -> Option<&Vhost> {
        self.vhosts.get(key)
    }

    /// The exchange with this name; the default exchange's is empty.
    pub fn exchange(&self, vhost: VhostKey, name: &[u8]) -> Option<(ExchangeKey, &Exchange)> {
        let key = self.vhosts.get(vhost)?.exchange(name)?;
        Some((key, &self.exchanges[key]))
    }

    /// An exchange's record, as long as it exists.
    pub fn exchange_by_key(&self, key: ExchangeKey) -> Option<&Exchange> {
        self.exchanges.get(key)
    }

    /// The exchange with this name.
    ///
    /// # Errors
    /// Channel error 404 NOT_FOUND, for a passive declare and for a publish.
    pub fn expect_exchange(&self, vhost: VhostKey, name: &[u8]) -> Result<(ExchangeKey, &Exchange), AmqpError> {
        self.exchange(vhost, name).ok_or_else(|| not_found(&Named::exchange(name, self.vhost_name(vhost))))
    }

    /// The queue with this name.
    pub fn queue(&self, vhost: VhostKey, name: &[u8]) -> Option<(QueueKey, &QueueRecord)> {
        let key = self.vhosts.get(vhost)?.queue(name)?;
        Some((key, &self.queues[key]))
    }

    /// A queue's record, as long as it exists.
    pub fn queue_by_key(&self, key: QueueKey) -> Option<&QueueRecord> {
        self.queues.get(key)
    }

    /// The queue with this id, as long as it exists.
    pub fn queue_by_id(&self, id: QueueId) -> Option<(QueueKey, &QueueRecord)> {
        let key = *self.queue_ids.get(&id)?;
        Some((key, &self.queues[key]))
    }

    /// The queue with this name.
    ///
    /// # Errors
    /// Channel error 404 NOT_FOUND.
    pub fn expect_queue(&self, vhost: VhostKey, name: &[u8]) -> Result<(QueueKey, &QueueRecord), AmqpError> {
        self.queue(vhost, name).ok_or_else(|| not_found(&Named::queue(name, self.vhost_name(vhost))))
    }

    /// Whether `connection` may use a queue: everybody may, unless the queue is exclusive to another connection.
    ///
    /// # Errors
    /// Channel error 405 RESOURCE_LOCKED.
    pub fn check_exclusive(&self, queue: QueueKey, connection: ConnectionId) -> Result<(), AmqpError> {
        match self.queues.get(queue) {
            Some(queue) if queue.exclusive.is_some_and(|owner| owner != connection || queue.home != self.own) => {
                Err(self.locked(queue))
            }
            _ => Ok(()),
        }
    }

    /// All vhosts, ordered by name.
    pub fn vhosts(&self) -> impl Iterator<Item = (VhostKey, &Vhost)> {
        self.vhost_names.values().map(|&key| (key, &self.vhosts[key]))
    }

    /// All exchanges, ordered by vhost and name. Sorts them: for listings and snapshots.
    pub fn exchanges(&self) -> Vec<(ExchangeKey, &Exchange)> {
        self.exchanges_that(|_| true)
    }

    /// The same, of some.
    pub(crate) fn exchanges_that(&self, are_wanted: impl Fn(&Exchange) -> bool) -> Vec<(ExchangeKey, &Exchange)> {
        let mut wanted: Vec<_> = self.exchanges.iter().filter(|(_, exchange)| are_wanted(exchange)).collect();
        wanted.sort_by_key(|(_, exchange)| (self.vhost_name(exchange.vhost), exchange.name.as_bytes()));
        wanted
    }

    /// All queues, ordered by vhost and name. Sorts them: for listings and snapshots.
    pub fn queues(&self) -> Vec<(QueueKey, &QueueRecord)> {
        let mut all: Vec<_> = self.queues.iter().collect();
        all.sort_by_key(|(_, queue)| (self.vhost_name(queue.vhost), queue.name.as_bytes()));
        all
    }

    /// The queues on this node, in no order.
    pub(crate) fn queues_here(&self) -> impl Iterator<Item = &QueueRecord> {
        self.queues.values().filter(|queue| self.is_here(queue))
    }

    /// Checks that the indexes agree with each other.
    ///
    /// # Panics
    /// If they do not.
    pub fn check_invariants(&self) {
        for (key, queue) in &self.queues {
            assert_eq!(self.queue_ids.get(&queue.id), Some(&key), "the index of ids misses queue {}", queue.name);
            assert_eq!(
                self.vhosts[queue.vhost].queue(queue.name.as_bytes()),
                Some(key),
                "queue {} has no name",
                queue.name
            );
            assert!(queue.id < self.next_queue_id, "queue id {} would be given out again", queue.id);
            assert!(is_list_of_members(&queue.members), "queue {} has members {:?}", queue.name, queue.members);
            if queue.is_replicated() {
                assert_eq!(queue.home, NodeId(0), "replicated queue {} is on one node", queue.name);
                assert!(queue.durable, "replicated queue {} does not survive a restart", queue.name);
                assert!(queue.exclusive.is_none(), "replicated queue {} is of one connection", queue.name);
            }
        }
        assert_eq!(self.queue_ids.len(), self.queues.len(), "the index of ids has more queues than there are");
        for (key, exchange) in &self.exchanges {
            let named = self.vhosts[exchange.vhost].exchange(exchange.name.as_bytes());
            assert_eq!(named, Some(key), "exchange {} has no name", exchange.name);
        }
        for (name, user) in &self.users {
            assert_eq!(*name, user.name, "a user is found by its name");
            for vhost in user.permissions.keys().chain(user.topic_permissions.keys().map(|(vhost, _)| vhost)) {
                assert!(self.vhost(vhost.as_bytes()).is_some(), "permissions of {name} outlive vhost {vhost}");
            }
        }
        self.check_policy_invariants();
        self.check_binding_invariants();
    }

    fn vhost_name(&self, key: VhostKey) -> &[u8] {
        self.vhosts.get(key).map_or(&[], |vhost| vhost.name.as_bytes())
    }

    fn locked(&self, queue: &QueueRecord) -> AmqpError {
        let what = Named::queue(queue.name.as_bytes(), self.vhost_name(queue.vhost));
        AmqpError::channel(
            ReplyCode::ResourceLocked,
            format!(
                "cannot obtain exclusive access to locked {what}. It could be originally declared on another connection or \
                 the exclusive property value does not match that of the original declaration."
            ),
        )
    }
}

fn not_found(what: &Named<'_>) -> AmqpError {
    AmqpError::channel(ReplyCode::NotFound, format!("no {what}"))
}

#[cfg(test)]
mod administration_tests;
#[cfg(test)]
mod tests;
