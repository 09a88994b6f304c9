//! Carrying out commands.

use alloc::vec::Vec;

use super::arguments::{ExchangeArguments, QueueArguments};
use super::binding::Inbound;
use super::name::Named;
use super::policy::PolicyTarget;
use super::settings::QueueSettings;
use super::{Answer, Change, Changes, Command, Exchange, Metadata, NamedBinding, QueueRecord, Told, VhostKey};
use crate::amqp::{AmqpError, FieldTable, ShortStr};
use crate::ids::{ConnectionId, NodeId, QueueId};
use crate::routing::{Destination, ExchangeKey, ExchangeKind, QueueKey, Table};

/// Who decides that an auto-delete exchange goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AutoDelete {
    /// This machine, when the last binding goes.
    Here,
    /// The log, with a command of its own.
    InLog,
}

impl Metadata {
    /// Carries out a command, or finds that nothing changes.
    ///
    /// # Errors
    /// As [`Metadata::check`], if the state has changed since; then nothing has happened.
    pub fn apply(&mut self, command: Command) -> Result<Changes, AmqpError> {
        self.carry_out(command, AutoDelete::Here)
    }

    /// Carries out a command read from the log, in the order of the log.
    ///
    /// The log lacks what need not outlive a restart, so an exchange may seem to have lost its last binding although it had others
    /// then. Auto-delete therefore waits for its own command; see [`Changes::also_log`].
    ///
    /// # Errors
    /// If the command's objects are not there. The log may begin after they were deleted again, so this need not mean damage.
    pub fn replay(&mut self, command: Command) -> Result<Changes, AmqpError> {
        self.carry_out(command, AutoDelete::InLog)
    }

    fn carry_out(&mut self, command: Command, auto_delete: AutoDelete) -> Result<Changes, AmqpError> {
        let mut changes = Changes::default();
        if let Command::DeclareQueue { id, .. } | Command::OpenHold { id, .. } = &command {
            self.skip_queue_ids(*id);
        }
        if let Command::Found { state } = &command {
            if !self.is_founded {
                self.become_state(state.clone(), &mut changes);
                self.is_founded = true;
            }
            return Ok(changes);
        }
        if self.check(&command, None)? == Answer::AlreadySo {
            return Ok(changes);
        }
        let vhost = self.vhost_of(&command)?;
        match command {
            Command::DeclareExchange { name, kind, durable, auto_delete, internal, arguments, .. } => {
                let kind = ExchangeKind::from_name(kind.as_bytes()).expect("the check has found the type");
                let mut exchange = self.new_exchange(vhost, &name, kind, &arguments)?;
                if exchange.arguments.is_delayed && self.is_founded {
                    exchange.hold = Some(self.next_id());
                }
                (exchange.durable, exchange.auto_delete, exchange.internal) = (durable, auto_delete, internal);
                changes.list.push(Change::ExchangeCreated(self.insert_exchange(exchange)));
            }
            Command::OpenHold { name, id, .. } => {
                let (key, _) = self.exchange(vhost, name.as_bytes()).expect("the check has found the exchange");
                self.exchanges[key].hold = Some(id);
            }
            Command::DeleteExchange { name, .. } => {
                let (key, _) = self.exchange(vhost, name.as_bytes()).expect("the check has found the exchange");
                self.remove_exchanges([key].into(), auto_delete, &mut changes);
            }
            Command::DeclareQueue { id, home, members, name, durable, exclusive, auto_delete, arguments, .. } => {
                let durable = durable && exclusive.is_none();
                let mut queue = self.new_queue(vhost, id, &name, durable, exclusive, auto_delete, &arguments)?;
                if id == QueueId(0) {
                    queue.id = self.next_id();
                }
                (queue.home, queue.members) = (home, members);
                let id = queue.id;
                let key = self.insert_queue(queue);
                self.queues[key].choose_place();
                changes.list.push(Change::QueueCreated(key, id));
            }
            Command::DeleteQueue { name, .. } => {
                let (key, _) = self.queue(vhost, name.as_bytes()).expect("the check has found the queue");
                self.remove_queue(key, auto_delete, &mut changes);
            }
            Command::SetMembers { name, members, at, .. } => {
                let (key, _) = self.queue(vhost, name.as_bytes()).expect("the check has found the queue");
                (self.queues[key].members, self.queues[key].members_at) = (members, at);
                changes.list.push(Change::QueueMembers(key));
            }
            Command::SetHome { name, home, .. } => {
                let (key, _) = self.queue(vhost, name.as_bytes()).expect("the check has found the queue");
                self.queues[key].home = home;
                changes.list.push(Change::QueueMoved(key));
            }
            Command::Replicate { name, node, .. } => {
                let (key, _) = self.queue(vhost, name.as_bytes()).expect("the check has found the queue");
                self.queues[key].members.push(node);
                self.queues[key].home = NodeId(0);
                changes.list.push(Change::QueueMembers(key));
            }
            Command::Bind { vhost: name, source, destination, routing_key, arguments } => {
                let (key, binding) = self.find_ends(vhost, &source, &destination, &routing_key, &arguments)?;
                let to = binding.destination;
                self.add_binding(key, binding);
                changes.list.push(Change::Bound(key, to));
                let binding = NamedBinding { vhost: name, source, destination, routing_key, arguments };
                changes.told.push(Told::Bound(binding));
            }
            Command::Unbind { vhost: name, source, destination, routing_key, arguments } => {
                let (key, binding) = self.find_ends(vhost, &source, &destination, &routing_key, &arguments)?;
                self.remove_binding(key, &binding);
                changes.list.push(Change::Unbound);
                let binding = NamedBinding { vhost: name, source, destination, routing_key, arguments };
                changes.told.push(Told::Unbound(binding));
                self.remove_unused([key].into(), auto_delete, &mut changes);
            }
            Command::Administer(administration) => self.administer(*administration, &mut changes),
            Command::Begin { node, is_alone } => self.begin_node(node, is_alone, &mut changes),
            Command::Found { .. } => {}
        }
        Ok(changes)
    }

    pub(super) fn new_exchange(
        &self,
        vhost: VhostKey,
        name: &ShortStr,
        kind: ExchangeKind,
        arguments: &FieldTable,
    ) -> Result<Exchange, AmqpError> {
        let mut exchange = Exchange::new(vhost, name.detached(), kind, self.hash_seed);
        exchange.raw_arguments = arguments.detached();
        let what = Named::exchange(name.as_bytes(), self.vhost_name(vhost));
        exchange.arguments = ExchangeArguments::parse(kind, &exchange.raw_arguments, &what)?;
        exchange.table = Table::new(exchange.arguments.matching, self.hash_seed, &exchange.arguments.hash_on);
        Ok(exchange)
    }

    pub(super) fn new_queue(
        &self,
        vhost: VhostKey,
        id: QueueId,
        name: &ShortStr,
        durable: bool,
        exclusive: Option<ConnectionId>,
        auto_delete: bool,
        arguments: &FieldTable,
    ) -> Result<QueueRecord, AmqpError> {
        let raw_arguments = arguments.detached();
        let what = Named::queue(name.as_bytes(), self.vhost_name(vhost));
        let arguments = QueueArguments::parse(&raw_arguments, &what)?;
        let (name, inbound) = (name.detached(), Inbound::default());
        let settings = QueueSettings::from_arguments(&arguments);
        Ok(QueueRecord {
            id,
            vhost,
            name,
            durable,
            home: NodeId(0),
            members: Vec::new(),
            members_at: 0,
            exclusive,
            auto_delete,
            arguments,
            settings,
            policies: None,
            raw_arguments,
            inbound,
        })
    }

    /// Adds an exchange whose name is free.
    pub(super) fn insert_exchange(&mut self, mut exchange: Exchange) -> ExchangeKey {
        exchange.policies = self.vhosts[exchange.vhost].policies_for(PolicyTarget::Exchange, exchange.name.as_bytes());
        exchange.merge_settings();
        let (vhost, name) = (exchange.vhost, exchange.name.clone());
        let key = self.exchanges.insert(exchange);
        if name.is_empty() {
            self.vhosts[vhost].default_exchange = Some(key);
        }
        let replaced = self.vhosts[vhost].exchanges.insert(name, key);
        assert!(replaced.is_none(), "the name of an exchange was taken");
        self.version += 1;
        key
    }

    /// Adds a queue whose name and id are free.
    pub(super) fn insert_queue(&mut self, mut queue: QueueRecord) -> QueueKey {
        queue.policies = self.vhosts[queue.vhost].policies_for(queue.policy_target(), queue.name.as_bytes());
        queue.merge_settings();
        let (vhost, name, id) = (queue.vhost, queue.name.clone(), queue.id);
        self.skip_queue_ids(id);
        let key = self.queues.insert(queue);
        let replaced = self.vhosts[vhost].queues.insert(name, key);
        assert!(replaced.is_none(), "the name of a queue was taken");
        let replaced = self.queue_ids.insert(id, key);
        assert!(replaced.is_none(), "queue id {id} was given out twice");
        self.version += 1;
        key
    }

    pub(super) fn remove_queue(&mut self, key: QueueKey, auto_delete: AutoDelete, changes: &mut Changes) {
        let queue = self.queues.remove(key).expect("the queue exists");
        self.vhosts[queue.vhost].queues.remove(queue.name.as_bytes());
        self.queue_ids.remove(&queue.id);
        self.version += 1;
        changes.list.push(Change::QueueDeleted(key, queue.id));
        let vhost = self.vhosts[queue.vhost].name.clone();
        changes.told.push(Told::QueueDeleted { vhost, name: queue.name.clone() });
        for source in queue.inbound.sources() {
            self.remove_bindings_to(source, Destination::Queue(key));
        }
        self.remove_unused(queue.inbound.sources().collect(), auto_delete, changes);
    }

    /// Removes those exchanges among `sources`, which have just lost bindings, that were to go with the last.
    fn remove_unused(&mut self, sources: Vec<ExchangeKey>, auto_delete: AutoDelete, changes: &mut Changes) {
        if auto_delete == AutoDelete::InLog {
            return;
        }
        let mut unused = sources;
        unused.retain(|&source| self.is_to_go(source));
        for &key in &unused {
            self.log_auto_delete(key, changes);
        }
        self.remove_exchanges(unused, auto_delete, changes);
    }

    /// Removes exchanges, and then those that go because of it.
    pub(super) fn remove_exchanges(
        &mut self,
        mut work: Vec<ExchangeKey>,
        auto_delete: AutoDelete,
        changes: &mut Changes,
    ) {
        while let Some(key) = work.pop() {
            let exchange = self.exchanges.remove(key).expect("each exchange is put on the list once");
            self.vhosts[exchange.vhost].exchanges.remove(exchange.name.as_bytes());
            changes.list.push(Change::ExchangeDeleted(key));
            let vhost = self.vhosts[exchange.vhost].name.clone();
            changes.told.push(Told::ExchangeDeleted { vhost, name: exchange.name.clone() });
            self.forget_source(key, &exchange);
            for source in exchange.inbound.sources().filter(|&source| source != key) {
                self.remove_bindings_to(source, Destination::Exchange(key));
                if auto_delete == AutoDelete::Here && self.is_to_go(source) && !work.contains(&source) {
                    self.log_auto_delete(source, changes);
                    work.push(source);
                }
            }
        }
    }

    fn is_to_go(&self, source: ExchangeKey) -> bool {
        self.exchanges.get(source).is_some_and(|exchange| exchange.auto_delete && !exchange.is_in_use())
    }

    fn log_auto_delete(&self, key: ExchangeKey, changes: &mut Changes) {
        let exchange = &self.exchanges[key];
        if exchange.durable {
            let vhost = self.vhosts[exchange.vhost].name.clone();
            changes.also_log.push(Command::DeleteExchange { vhost, name: exchange.name.clone(), if_unused: false });
        }
    }
}
