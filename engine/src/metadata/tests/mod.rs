//! Commands against the whole machine: RabbitMQ's answers one by one, then random histories against a plain model.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::amqp::{FieldTable, FieldValue, Properties, RawProperties, Scope};
use crate::routing::{ExchangeKind, RouteScratch};

mod clustered;
mod declare;
mod histories;
mod routes;
mod snapshots;

const OWNER: ConnectionId = ConnectionId(1);
const OTHER: ConnectionId = ConnectionId(2);

fn short(text: &str) -> ShortStr {
    ShortStr::try_from(text).unwrap()
}

fn slash() -> ShortStr {
    short("/")
}

fn exchange(name: &str, kind: &str) -> Command {
    exchange_with(name, kind, "", FieldTable::new())
}

/// Flags: `d`urable, `a`uto-delete, `i`nternal.
fn exchange_with(name: &str, kind: &str, flags: &str, arguments: FieldTable) -> Command {
    let (durable, auto_delete, internal) = (flags.contains('d'), flags.contains('a'), flags.contains('i'));
    Command::DeclareExchange {
        vhost: slash(),
        name: short(name),
        kind: short(kind),
        durable,
        auto_delete,
        internal,
        arguments,
    }
}

fn delete_exchange(name: &str) -> Command {
    Command::DeleteExchange { vhost: slash(), name: short(name), if_unused: false }
}

/// Flags: `d`urable, `a`uto-delete, `x` for exclusive to `OWNER`, `y` for exclusive to `OTHER`.
fn queue_with(metadata: &mut Metadata, name: &str, flags: &str, arguments: FieldTable) -> Command {
    let exclusive = if flags.contains('x') {
        Some(OWNER)
    } else if flags.contains('y') {
        Some(OTHER)
    } else {
        None
    };
    Command::DeclareQueue {
        vhost: slash(),
        id: metadata.allocate_queue_id(),
        home: NodeId(0),
        members: Vec::new(),
        name: short(name),
        durable: flags.contains('d'),
        exclusive,
        auto_delete: flags.contains('a'),
        arguments,
    }
}

fn bind(source: &str, destination: &str, key: &str) -> Command {
    bind_with(source, destination, key, FieldTable::new())
}

/// Exchanges begin with `e` or `amq.`, queues with anything else.
fn destination_name(name: &str) -> DestinationName {
    if name.is_empty() || name.starts_with('e') || name.starts_with("amq.") {
        DestinationName::Exchange(short(name))
    } else {
        DestinationName::Queue(short(name))
    }
}

fn bind_with(source: &str, destination: &str, key: &str, arguments: FieldTable) -> Command {
    let destination = destination_name(destination);
    Command::Bind { vhost: slash(), source: short(source), destination, routing_key: short(key), arguments }
}

fn unbind(source: &str, destination: &str, key: &str) -> Command {
    unbind_with(source, destination, key, FieldTable::new())
}

fn unbind_with(source: &str, destination: &str, key: &str, arguments: FieldTable) -> Command {
    let destination = destination_name(destination);
    Command::Unbind { vhost: slash(), source: short(source), destination, routing_key: short(key), arguments }
}

struct Node {
    metadata: Metadata,
    scratch: RouteScratch,
}

impl Node {
    fn new() -> Self {
        Self { metadata: Metadata::new(1), scratch: RouteScratch::default() }
    }

    #[track_caller]
    fn apply(&mut self, command: Command) -> Changes {
        assert_eq!(self.metadata.check(&command, None), Ok(Answer::NeedsApply), "{command:?}");
        let changes = self.metadata.apply(command).unwrap();
        self.metadata.check_invariants();
        changes
    }

    #[track_caller]
    fn queue(&mut self, name: &str) -> QueueKey {
        self.queue_with(name, "", FieldTable::new())
    }

    #[track_caller]
    fn queue_with(&mut self, name: &str, flags: &str, arguments: FieldTable) -> QueueKey {
        let command = queue_with(&mut self.metadata, name, flags, arguments);
        let changes = self.apply(command);
        let [Change::QueueCreated(key, _)] = changes.list[..] else { panic!("{changes:?}") };
        key
    }

    fn delete_queue(&mut self, name: &str) -> Changes {
        let command = self.delete_queue_command(name);
        self.apply(command)
    }

    fn delete_queue_command(&self, name: &str) -> Command {
        let id = self.metadata.queue(self.vhost(), name.as_bytes()).unwrap().1.id;
        Command::DeleteQueue { vhost: slash(), name: short(name), id }
    }

    fn redeclare(&mut self, name: &str, flags: &str, arguments: FieldTable) -> Result<Answer, String> {
        let command = queue_with(&mut self.metadata, name, flags, arguments);
        self.check(&command)
    }

    fn check(&self, command: &Command) -> Result<Answer, String> {
        self.check_by(command, OWNER)
    }

    fn check_by(&self, command: &Command, by: ConnectionId) -> Result<Answer, String> {
        self.metadata.check(command, Some(by)).map_err(|error| {
            assert_eq!(error.scope, Scope::Channel);
            format!("{} {}", error.code.number(), error.text)
        })
    }

    fn vhost(&self) -> VhostKey {
        self.metadata.vhost(b"/").unwrap()
    }

    fn has_exchange(&self, name: &str) -> bool {
        self.metadata.exchange(self.vhost(), name.as_bytes()).is_some()
    }

    fn route(&mut self, exchange: &str, key: &str) -> Vec<String> {
        self.route_with(exchange, &[key], &FieldTable::new())
    }

    /// Names of the queues, sorted. Each must be there once.
    fn route_with(&mut self, exchange: &str, keys: &[&str], headers: &FieldTable) -> Vec<String> {
        let properties = RawProperties::from(&Properties { headers: Some(headers.clone()), ..Properties::default() });
        let (exchange, _) = self.metadata.exchange(self.vhost(), exchange.as_bytes()).unwrap();
        let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
        let mut found = vec![QueueKey::default()];
        self.metadata.route(exchange, &keys, &properties.borrowed(), &mut self.scratch, &mut found);
        let name = |key: &QueueKey| self.metadata.queue_by_key(*key).unwrap().name.to_string();
        let mut names: Vec<String> = found.iter().map(name).collect();
        names.sort();
        let distinct: BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "one queue twice");
        names
    }
}
