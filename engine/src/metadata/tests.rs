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
        self.metadata.route(exchange, &keys, &properties, &mut self.scratch, &mut found);
        let name = |key: &QueueKey| self.metadata.queue_by_key(*key).unwrap().name.to_string();
        let mut names: Vec<String> = found.iter().map(name).collect();
        names.sort();
        let distinct: BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "one queue twice");
        names
    }
}

/// AMQP 0-9-1 §3.1.3; RabbitMQ adds some.
#[test]
fn every_vhost_begins_with_the_predeclared_exchanges() {
    let metadata = Metadata::new(1);
    let exchanges = metadata.exchanges();
    let listed: Vec<String> = exchanges
        .iter()
        .map(|(_, exchange)| {
            assert!(exchange.durable && !exchange.auto_delete);
            format!("{} {} {}", exchange.name, exchange.kind, exchange.internal)
        })
        .collect();
    let expected = [
        " direct false",
        "amq.direct direct false",
        "amq.fanout fanout false",
        "amq.headers headers false",
        "amq.match headers false",
        // Only in the first.
        "amq.rabbitmq.event topic true",
        "amq.rabbitmq.trace topic true",
        "amq.topic topic false",
    ];
    assert_eq!(listed, expected);
}

/// Texts as RabbitMQ 3.10.8 gives them, here and below.
#[test]
fn a_queue_declared_again_must_be_the_same() {
    let mut node = Node::new();
    node.queue_with("q", "", FieldTable::new());
    node.queue_with("qd", "d", FieldTable::new().with("x-message-ttl", 5));
    let ttl = |ttl: i64| FieldTable::new().with("x-message-ttl", ttl);
    assert_eq!(node.redeclare("q", "", FieldTable::new()), Ok(Answer::AlreadySo));
    assert_eq!(node.redeclare("q", "", FieldTable::new().with("x-foo", 1)), Ok(Answer::AlreadySo));
    assert_eq!(node.redeclare("q", "", FieldTable::new().with("x-queue-type", "classic")), Ok(Answer::AlreadySo));
    assert_eq!(node.redeclare("qd", "d", ttl(5)), Ok(Answer::AlreadySo));
    let mut refused = |name: &str, flags: &str, arguments, expected: &str| {
        let text = format!("406 inequivalent arg {expected}");
        assert_eq!(node.redeclare(name, flags, arguments), Err(text));
    };
    let none = FieldTable::new;
    refused("q", "d", none(), "'durable' for queue 'q' in vhost '/': received 'true' but current is 'false'");
    refused("q", "a", none(), "'auto_delete' for queue 'q' in vhost '/': received 'true' but current is 'false'");
    refused("qd", "a", none(), "'durable' for queue 'qd' in vhost '/': received 'false' but current is 'true'");
    let text =
        "'x-message-ttl' for queue 'qd' in vhost '/': received none but current is the value '5' of type 'signedint'";
    refused("qd", "d", none(), text);
    refused("qd", "d", ttl(6), "'x-message-ttl' for queue 'qd' in vhost '/': received '6' but current is '5'");
    let text =
        "'x-queue-type' for queue 'q' in vhost '/': received the value 'quorum' of type 'longstr' but current is none";
    refused("q", "", none().with("x-queue-type", "quorum"), text);
}

#[test]
fn an_exclusive_queue_is_for_its_connection() {
    const LOCKED: &str = "405 cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be originally declared on \
                          another connection or the exclusive property value does not match that of the original declaration.";
    let mut node = Node::new();
    let none = FieldTable::new;
    let key = node.queue_with("q", "xd", none());
    assert!(!node.metadata.queue_by_key(key).unwrap().durable);
    let locked = Err(String::from(LOCKED));
    assert_eq!(node.redeclare("q", "x", none()), Ok(Answer::AlreadySo));
    assert_eq!(node.redeclare("q", "xd", none()), Ok(Answer::AlreadySo));
    assert_eq!(node.redeclare("q", "", none()), locked);
    assert_eq!(node.redeclare("q", "y", none()), locked);
    assert!(node.metadata.check_exclusive(key, OWNER).is_ok());
    assert_eq!(node.metadata.check_exclusive(key, OTHER).unwrap_err().code, ReplyCode::ResourceLocked);

    let delete = node.delete_queue_command("q");
    assert_eq!(node.check_by(&delete, OTHER), locked);
    assert_eq!(node.check_by(&bind("amq.direct", "q", "k"), OTHER), locked);
    // What does not exist can be unbound by anybody.
    assert_eq!(node.check_by(&unbind("amq.direct", "q", "k"), OTHER), Ok(Answer::AlreadySo));
    node.apply(bind("amq.direct", "q", "k"));
    assert_eq!(node.check_by(&unbind("amq.direct", "q", "k"), OTHER), locked);
    assert_eq!(node.check_by(&unbind("amq.direct", "q", "k"), OWNER), Ok(Answer::NeedsApply));
    // What is wrong with the exchange is told first.
    let bad = FieldTable::new().with("x-match", "bad");
    assert!(node.check_by(&bind("e", "q", "k"), OTHER).unwrap_err().starts_with("404"));
    assert!(node.check_by(&bind_with("amq.headers", "q", "k", bad), OTHER).unwrap_err().starts_with("406"));
    // The node itself may do anything.
    assert_eq!(node.metadata.check(&delete, None), Ok(Answer::NeedsApply));

    node.queue("open");
    assert!(node.redeclare("open", "x", none()).unwrap_err().starts_with("405"));
}

#[test]
fn an_exchange_declared_again_must_be_the_same() {
    let mut node = Node::new();
    let alternate = |name: &str| FieldTable::new().with("alternate-exchange", name);
    node.apply(exchange("e", "direct"));
    node.apply(exchange_with("ea", "direct", "", alternate("x")));
    let none = FieldTable::new;
    assert_eq!(node.check(&exchange("e", "direct")), Ok(Answer::AlreadySo));
    assert_eq!(node.check(&exchange_with("e", "direct", "", none().with("a", 1))), Ok(Answer::AlreadySo));
    assert_eq!(node.check(&exchange_with("amq.direct", "direct", "d", none())), Ok(Answer::AlreadySo));
    let refused = |command, expected: &str| {
        assert_eq!(node.check(&command), Err(format!("406 inequivalent arg {expected}")));
    };
    let differs = |flags| exchange_with("e", "direct", flags, none());
    let text = |name: &str| format!("'{name}' for exchange 'e' in vhost '/': received 'true' but current is 'false'");
    refused(exchange("e", "fanout"), "'type' for exchange 'e' in vhost '/': received 'fanout' but current is 'direct'");
    refused(differs("dai"), &text("durable"));
    refused(differs("ai"), &text("auto_delete"));
    refused(differs("i"), &text("internal"));
    refused(
        exchange_with("e", "direct", "", alternate("x")),
        "'alternate-exchange' for exchange 'e' in vhost '/': received the value 'x' of type 'longstr' but current is none",
    );
    refused(
        exchange_with("ea", "direct", "", alternate("y")),
        "'alternate-exchange' for exchange 'ea' in vhost '/': received 'y' but current is 'x'",
    );
    refused(
        exchange("amq.direct", "direct"),
        "'durable' for exchange 'amq.direct' in vhost '/': received 'false' but current is 'true'",
    );
}

#[test]
fn reserved_and_unknown_names_are_refused() {
    let mut node = Node::new();
    node.queue("q");
    let refused = |command: Command, text: &str| assert_eq!(node.check(&command), Err(String::from(text)));
    let on_default = "403 operation not permitted on the default exchange";
    refused(exchange("", "direct"), on_default);
    refused(delete_exchange(""), on_default);
    refused(bind("", "q", ""), on_default);
    refused(unbind("", "q", ""), on_default);
    refused(bind("amq.direct", "", ""), on_default);
    refused(unbind("amq.direct", "", ""), on_default);
    refused(exchange("amq.foo", "direct"), "403 exchange name 'amq.foo' contains reserved prefix 'amq.*'");
    refused(delete_exchange("amq.direct"), "403 deletion of system exchange 'amq.direct' in vhost '/' not allowed");
    refused(delete_exchange("amq.nope"), "403 deletion of system exchange 'amq.nope' in vhost '/' not allowed");
    refused(exchange("e", "bogus"), "406 unknown exchange type 'bogus'");
    refused(exchange("e", "DIRECT"), "406 unknown exchange type 'DIRECT'");
    refused(bind("amq.direct", "nope", ""), "404 no queue 'nope' in vhost '/'");
    refused(bind("enope", "q", ""), "404 no exchange 'enope' in vhost '/'");
    refused(bind("enope", "nope", ""), "404 no exchange 'enope' in vhost '/'");
    refused(bind("amq.direct", "enope", ""), "404 no exchange 'enope' in vhost '/'");
    for command in [
        unbind("amq.direct", "nope", ""),
        unbind("enope", "q", ""),
        unbind("amq.direct", "q", "k"),
        unbind("enope", "enope", ""),
        delete_exchange("enope"),
        Command::DeleteQueue { vhost: slash(), name: short("nope"), id: QueueId(1) },
        Command::DeleteQueue { vhost: slash(), name: short("q"), id: QueueId(99) },
    ] {
        assert_eq!(node.check(&command), Ok(Answer::AlreadySo), "{command:?}");
    }
    let vhost = node.vhost();
    let missing = node.metadata.expect_queue(vhost, b"nope").unwrap_err();
    assert_eq!(missing.reply_text(), "NOT_FOUND - no queue 'nope' in vhost '/'");
    let elsewhere = Command::DeleteExchange { vhost: short("v"), name: short("e"), if_unused: false };
    let error = node.metadata.check(&elsewhere, None).unwrap_err();
    assert_eq!((error.scope, error.code), (Scope::Connection, ReplyCode::NotAllowed));
}

#[test]
fn an_exchange_in_use_stays_if_asked_to() {
    let mut node = Node::new();
    node.queue("q");
    node.apply(exchange("e", "direct"));
    let if_unused = Command::DeleteExchange { vhost: slash(), name: short("e"), if_unused: true };
    // A binding to it is no use of it.
    node.apply(bind("amq.direct", "e", "k"));
    assert_eq!(node.check(&if_unused), Ok(Answer::NeedsApply));
    node.apply(bind("e", "q", "k"));
    assert_eq!(node.check(&if_unused), Err(String::from("406 exchange 'e' in vhost '/' in use")));
    assert!(node.metadata.apply(if_unused).is_err());
    node.apply(delete_exchange("e"));
    assert_eq!(node.metadata.bindings().len(), 0);
}

#[test]
fn what_is_declared_twice_is_there_once() {
    let mut node = Node::new();
    node.queue("q");
    let arguments = || FieldTable::new().with("a", 1).with("b", 2);
    let reversed = || FieldTable::new().with("b", 2).with("a", 1);
    node.apply(bind("amq.direct", "q", "k"));
    assert_eq!(node.check(&bind("amq.direct", "q", "k")), Ok(Answer::AlreadySo));
    node.apply(bind_with("amq.direct", "q", "k", arguments()));
    assert_eq!(node.check(&bind_with("amq.direct", "q", "k", reversed())), Ok(Answer::AlreadySo));
    assert_eq!(node.metadata.apply(bind("amq.direct", "q", "k")), Ok(Changes::default()));
    assert_eq!(node.metadata.bindings().len(), 2);
    assert_eq!(node.route("amq.direct", "k"), ["q"]);
    let other_type = FieldTable::new().with("a", true).with("b", 2);
    assert_eq!(node.check(&unbind_with("amq.direct", "q", "k", other_type)), Ok(Answer::AlreadySo));
    node.apply(unbind("amq.direct", "q", "k"));
    assert_eq!(node.route("amq.direct", "k"), ["q"]);
    node.apply(unbind_with("amq.direct", "q", "k", reversed()));
    assert_eq!(node.route("amq.direct", "k"), [""; 0]);
}

#[test]
fn an_auto_delete_exchange_goes_with_its_last_binding() {
    let mut node = Node::new();
    let auto = |name: &str, flags: &str| exchange_with(name, "direct", flags, FieldTable::new());
    node.queue("q");
    node.apply(auto("ea", "a"));
    node.apply(bind("ea", "q", "1"));
    node.apply(bind("ea", "q", "2"));
    node.apply(unbind("ea", "q", "1"));
    assert!(node.has_exchange("ea"));
    node.apply(unbind("ea", "q", "2"));
    assert!(!node.has_exchange("ea"));

    // One that never had a binding stays, and one that is only bound to stays too.
    node.apply(auto("eb", "a"));
    assert_eq!(node.check(&unbind("eb", "q", "1")), Ok(Answer::AlreadySo));
    node.apply(bind("amq.direct", "eb", ""));
    node.apply(unbind("amq.direct", "eb", ""));
    assert!(node.has_exchange("eb"));

    // A queue takes a chain of exchanges with it; the durable one is to be logged.
    node.apply(auto("ec", "ad"));
    node.apply(bind("ec", "eb", ""));
    node.apply(bind("eb", "q", ""));
    let changes = node.delete_queue("q");
    assert!(!node.has_exchange("eb") && !node.has_exchange("ec"));
    assert!(matches!(
        changes.list[..],
        [Change::QueueDeleted(..), Change::ExchangeDeleted(_), Change::ExchangeDeleted(_)]
    ));
    assert_eq!(changes.also_log, [delete_exchange("ec")]);

    // Bindings in a circle, and to oneself.
    node.apply(auto("ea", "a"));
    node.apply(auto("eb", "a"));
    node.apply(bind("ea", "eb", ""));
    node.apply(bind("eb", "ea", ""));
    node.apply(bind("ea", "ea", ""));
    node.apply(delete_exchange("ea"));
    assert!(!node.has_exchange("eb"));
    node.apply(auto("ea", "a"));
    node.apply(bind("ea", "ea", ""));
    node.apply(unbind("ea", "ea", ""));
    assert!(!node.has_exchange("ea"));
}

#[test]
fn a_younger_queue_of_the_same_name_is_another() {
    let mut node = Node::new();
    let old = node.queue("q");
    let delete_old = node.delete_queue_command("q");
    node.apply(delete_old.clone());
    let young = node.queue("q");
    assert_ne!(old, young);
    assert!(node.metadata.queue_by_key(old).is_none());
    assert_eq!(node.metadata.apply(delete_old), Ok(Changes::default()));
    assert!(node.metadata.queue_by_key(young).is_some());
    // Two declares under way at once: the second finds the first's queue.
    let first = queue_with(&mut node.metadata, "race", "", FieldTable::new());
    let second = queue_with(&mut node.metadata, "race", "", FieldTable::new());
    node.apply(first);
    assert_eq!(node.metadata.apply(second), Ok(Changes::default()));
}

#[test]
fn the_default_exchange_knows_every_queue_by_name() {
    let mut node = Node::new();
    node.queue("q");
    node.queue("other");
    assert_eq!(node.route("", "q"), ["q"]);
    assert_eq!(node.route("", "nope"), [""; 0]);
    assert_eq!(node.route_with("", &["q", "other", "q", "nope"], &FieldTable::new()), ["other", "q"]);
    node.delete_queue("q");
    assert_eq!(node.route("", "q"), [""; 0]);
}

/// RabbitMQ docs: Exchange to Exchange Bindings.
#[test]
fn one_copy_per_queue_however_many_ways_lead_there() {
    let mut node = Node::new();
    node.queue("q");
    node.queue("r");
    for name in ["ea", "eb"] {
        node.apply(exchange(name, "direct"));
        node.apply(bind(name, "q", "k"));
    }
    node.apply(bind("ea", "eb", "k"));
    node.apply(bind("eb", "ea", "k"));
    node.apply(bind("ea", "ea", "k"));
    node.apply(bind("eb", "r", "k"));
    assert_eq!(node.route("ea", "k"), ["q", "r"]);
    for key in ["*.b", "a.*", "#", "a.b"] {
        node.apply(bind("amq.topic", "q", key));
    }
    assert_eq!(node.route("amq.topic", "a.b"), ["q"]);
}

/// RabbitMQ docs: Alternate Exchanges.
#[test]
fn what_matches_nothing_goes_to_the_alternate_exchange() {
    let mut node = Node::new();
    node.queue("q");
    node.queue("r");
    let alternate = |name: &str| FieldTable::new().with("alternate-exchange", name);
    node.apply(exchange("ef", "fanout"));
    node.apply(bind("ef", "r", ""));
    node.apply(exchange_with("ea", "direct", "", alternate("ef")));
    node.apply(bind("ea", "q", "k"));
    assert_eq!(node.route("ea", "k"), ["q"]);
    assert_eq!(node.route("ea", "x"), ["r"]);
    // One key that matches is enough.
    assert_eq!(node.route_with("ea", &["x", "k"], &FieldTable::new()), ["q"]);
    // So is an exchange that leads nowhere.
    node.apply(exchange("en", "direct"));
    node.apply(bind("ea", "en", "n"));
    assert_eq!(node.route("ea", "n"), [""; 0]);
    // A missing one, a circle, and the default exchange.
    node.apply(exchange_with("e1", "direct", "", alternate("nope")));
    node.apply(exchange_with("e2", "direct", "", alternate("e3")));
    node.apply(exchange_with("e3", "direct", "", alternate("e2")));
    node.apply(exchange_with("e4", "direct", "", alternate("")));
    for name in ["e1", "e2", "e3", "e4"] {
        assert_eq!(node.route(name, "q"), [""; 0]);
    }
}

#[test]
fn the_version_grows_when_routes_change_and_only_then() {
    let mut node = Node::new();
    node.queue("q");
    let version = node.metadata.version();
    assert_eq!(node.metadata.apply(unbind("amq.direct", "q", "k")), Ok(Changes::default()));
    assert!(node.metadata.apply(bind("amq.direct", "nope", "k")).is_err());
    assert_eq!(node.metadata.version(), version);
    node.apply(bind("amq.direct", "q", "k"));
    let bound = node.metadata.version();
    assert!(bound > version);
    node.delete_queue("q");
    assert!(node.metadata.version() > bound);
}

#[test]
fn listings_are_ordered_by_name() {
    let mut node = Node::new();
    for name in ["z", "b", "a"] {
        node.queue(name);
    }
    node.apply(exchange("e", "fanout"));
    for destination in ["z", "amq.topic", "b"] {
        node.apply(bind("e", destination, "k"));
    }
    node.apply(bind("amq.direct", "b", "k"));
    let queues: Vec<_> = node.metadata.queues().iter().map(|(_, queue)| queue.name.to_string()).collect();
    assert_eq!(queues, ["a", "b", "z"]);
    let show = |bindings: Vec<BindingView<'_>>| -> Vec<String> {
        bindings.iter().map(|binding| format!("{} {}", binding.source.name, binding.destination_name)).collect()
    };
    assert_eq!(show(node.metadata.bindings()), ["amq.direct b", "e b", "e z", "e amq.topic"]);
    let (b, _) = node.metadata.queue(node.vhost(), b"b").unwrap();
    assert_eq!(show(node.metadata.bindings_to_queue(b)), ["amq.direct b", "e b"]);
    let (topic, _) = node.metadata.exchange(node.vhost(), b"amq.topic").unwrap();
    assert_eq!(show(node.metadata.bindings_to_exchange(topic)), ["e amq.topic"]);
}

/// What both versions of a snapshot hold of the same state: vhosts up to their names, and what is in them.
const SNAPSHOT_START: &str = "0000000000000003 00000001 012f";
const SNAPSHOT_DECLARED: &str = concat!(
    "00000001",
    "016505746f7069630300000007016b4900000001",
    "00000001",
    "017100000000000000010100000000",
    "00000002",
    "0a616d712e66616e6f75740109616d712e746f7069630000000000",
    "01650001710 3612e2300000007016b4900000001",
);

fn declared_for_snapshots() -> Node {
    let mut node = Node::new();
    node.apply(exchange_with("e", "topic", "dai", FieldTable::new().with("k", 1)));
    node.queue_with("q", "da", FieldTable::new());
    node.queue("transient");
    node.apply(bind_with("e", "q", "a.#", FieldTable::new().with("k", 1)));
    node.apply(bind("e", "transient", "k"));
    node.apply(bind("amq.fanout", "amq.topic", ""));
    node
}

fn from_hex(hex: &str) -> bytes::Bytes {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// A snapshot of version 1, which must stay readable for ever.
#[test]
fn a_snapshot_of_version_1_is_read() {
    let old = from_hex(&format!("01{SNAPSHOT_START}{SNAPSHOT_DECLARED}"));
    let restored = Metadata::restore(old.clone(), 2).unwrap();
    restored.check_invariants();
    assert_eq!(restored.snapshot(), declared_for_snapshots().metadata.snapshot());
    assert!(!restored.has_had_users(), "the node gets its first user at the next start");
    for len in 0..old.len() {
        assert!(matches!(Metadata::restore(old.slice(..len), 2), Err(DecodeError::Malformed(_))), "{len} bytes");
    }
}

/// A snapshot of version 2, which must stay readable for ever.
#[test]
fn a_snapshot_of_version_2_is_read_and_written() {
    let mut node = declared_for_snapshots();
    for command in administration_tests::one_of_each() {
        node.metadata.apply(command).unwrap();
    }
    node.metadata.check_invariants();
    let snapshot = node.metadata.snapshot();
    let vhost = concat!(
        "0000000161 00000001 0174 01 0671756f72756d 03", // description, tags, default type, flags
        "0000000000000005 ffffffffffffffff",             // limits
        "00000002",
        "00 0170 000000025e71 00000006717565756573 ffffffffffffffff 00000010 7b226d61782d6c656e677468223a357d",
        "01 016f 00000000 00000003616c6c 0000000000000002 00000010 7b226d61782d6c656e677468223a337d",
        "00000001 0163 016e 00000007 7b2276223a317d", // parameters
    );
    let users = concat!(
        "01 00000001",
        "0175 01 00000004 01020304 00000001 0d61646d696e6973747261746f72 0000000000000007 0000000000000000",
        "00000001 012f 0000000161 00000000 0000000162",
        "00000001 012f 0165 0000000163 0000000164",
        "00000001 0c636c75737465725f6e616d65 00000003 226e22",
    );
    assert_eq!(snapshot, from_hex(&format!("02{SNAPSHOT_START}{vhost}{SNAPSHOT_DECLARED}{users}")));
    let restored = Metadata::restore(snapshot.clone(), 2).unwrap();
    restored.check_invariants();
    assert_eq!(restored.snapshot(), snapshot);
    assert_eq!(restored.queue_by_id(QueueId(1)).unwrap().1.settings.length_max, Some(3));
    for len in 0..snapshot.len() {
        assert!(matches!(Metadata::restore(snapshot.slice(..len), 2), Err(DecodeError::Malformed(_))), "{len} bytes");
    }
    let mut later = snapshot.to_vec();
    later[0] = 3;
    assert_eq!(Metadata::restore(later.into(), 2).unwrap_err(), DecodeError::UnknownVersion(3));
}

/// What a history does, in the plainest terms.
#[derive(Clone, Debug, Default)]
struct Model {
    /// Type, auto-delete, durable.
    exchanges: BTreeMap<String, (ExchangeKind, bool, bool)>,
    /// Durable.
    queues: BTreeMap<String, bool>,
    /// Source, destination, key, which of `ARGUMENTS`.
    bindings: BTreeSet<(String, String, &'static str, usize)>,
}

#[derive(Clone, Debug)]
enum Op {
    Exchange {
        name: usize,
        kind: usize,
        auto_delete: bool,
        durable: bool,
    },
    DeleteExchange(usize),
    Queue {
        name: usize,
        durable: bool,
    },
    DeleteQueue(usize),
    Bind {
        source: usize,
        destination: usize,
        key: usize,
        arguments: usize,
    },
    Unbind {
        source: usize,
        destination: usize,
        key: usize,
        arguments: usize,
    },
    /// One of those that exist; a random one hardly ever does.
    UnbindExisting(usize),
}

const EXCHANGES: [&str; 5] = ["e0", "e1", "e2", "amq.topic", "amq.match"];
/// The types that have an answer for each binding.
const EVERY_MATCH: [ExchangeKind; 5] = [
    ExchangeKind::Direct,
    ExchangeKind::Fanout,
    ExchangeKind::Topic,
    ExchangeKind::Headers,
    ExchangeKind::RecentHistory,
];
const QUEUES: [&str; 3] = ["q0", "q1", "q2"];
const KEYS: [&str; 6] = ["a", "a.b", "*", "#", "a.#", "#.b.#"];

fn arguments(index: usize) -> FieldTable {
    match index {
        0 => FieldTable::new(),
        1 => FieldTable::new().with("h", 1),
        2 => FieldTable::new().with("x-match", "any").with("h", 2).with("i", FieldValue::Void),
        _ => FieldTable::new().with("h", 1).with("x-h", 2),
    }
}

impl Model {
    fn new() -> Self {
        let mut model = Self::default();
        model.exchanges.insert("amq.topic".into(), (ExchangeKind::Topic, false, true));
        model.exchanges.insert("amq.match".into(), (ExchangeKind::Headers, false, true));
        model
    }

    fn exists(&self, name: &str) -> bool {
        self.exchanges.contains_key(name) || self.queues.contains_key(name)
    }

    /// Removes bindings, and what goes with them.
    fn remove(&mut self, is_gone: impl Fn(&(String, String, &'static str, usize)) -> bool) {
        let gone: Vec<_> = self.bindings.iter().filter(|binding| is_gone(binding)).cloned().collect();
        for binding in &gone {
            self.bindings.remove(binding);
        }
        for (source, ..) in gone {
            let is_auto_delete = self.exchanges.get(&source).is_some_and(|exchange| exchange.1);
            if is_auto_delete && !self.bindings.iter().any(|binding| binding.0 == source) {
                self.delete_exchange(&source);
            }
        }
    }

    fn delete_exchange(&mut self, name: &str) {
        self.exchanges.remove(name);
        self.remove(|(source, destination, ..)| source == name || destination == name);
    }

    fn route(&self, exchange: &str, key: &str, headers: &FieldTable) -> Vec<String> {
        let (mut seen, mut work) = (BTreeSet::from([exchange.to_owned()]), vec![exchange.to_owned()]);
        while let Some(source) = work.pop() {
            let Some((kind, ..)) = self.exchanges.get(&source) else { continue };
            for (from, to, binding_key, index) in &self.bindings {
                let matches = match kind {
                    ExchangeKind::Direct => *binding_key == key,
                    ExchangeKind::Fanout | ExchangeKind::RecentHistory => true,
                    ExchangeKind::Topic => topic_matches(binding_key, key),
                    ExchangeKind::Headers => headers_match(*index, headers),
                    _ => unreachable!("the others choose one binding"),
                };
                if *from == source && matches && seen.insert(to.clone()) {
                    work.push(to.clone());
                }
            }
        }
        seen.into_iter().filter(|name| self.queues.contains_key(name)).collect()
    }
}

/// Only for the keys that occur here.
fn topic_matches(pattern: &str, key: &str) -> bool {
    let words: Vec<&str> = key.split('.').collect();
    match pattern {
        "*" => words.len() == 1,
        "#" => true,
        "a.#" => words[0] == "a",
        "#.b.#" => words.contains(&"b"),
        literal => literal == key,
    }
}

fn headers_match(index: usize, headers: &FieldTable) -> bool {
    match index {
        0 => true,
        2 => headers.get("h") == Some(&2.into()) || headers.get("i").is_some(),
        _ => headers.get("h") == Some(&1.into()),
    }
}

fn op() -> impl Strategy<Value = Op> {
    let ends = || (0..5_usize, 0..8_usize, 0..KEYS.len(), 0..4_usize);
    prop_oneof![
        3 => (0..3_usize, 0..EVERY_MATCH.len(), any::<bool>(), any::<bool>())
            .prop_map(|(name, kind, auto_delete, durable)| Op::Exchange { name, kind, auto_delete, durable }),
        1 => (0..3_usize).prop_map(Op::DeleteExchange),
        3 => (0..3_usize, any::<bool>()).prop_map(|(name, durable)| Op::Queue { name, durable }),
        1 => (0..3_usize).prop_map(Op::DeleteQueue),
        8 => ends().prop_map(|(source, destination, key, arguments)| Op::Bind { source, destination, key, arguments }),
        4 => any::<usize>().prop_map(Op::UnbindExisting),
        1 => ends().prop_map(|(source, destination, key, arguments)| Op::Unbind { source, destination, key, arguments }),
    ]
}

fn end(index: usize) -> &'static str {
    EXCHANGES.get(index).copied().unwrap_or_else(|| QUEUES[index - EXCHANGES.len()])
}

/// What a running node has, and what it wrote to its log.
struct Logged {
    node: Node,
    log: Vec<bytes::Bytes>,
}

impl Logged {
    fn run(&mut self, command: Command) {
        let mut write = |command: &Command| {
            let mut encoded = bytes::BytesMut::new();
            command.encode(&mut encoded);
            self.log.push(encoded.freeze());
        };
        let Ok(answer) = self.node.metadata.check(&command, None) else {
            assert!(self.node.metadata.apply(command).is_err());
            return;
        };
        if answer == Answer::NeedsApply && self.node.metadata.is_durable(&command) {
            write(&command);
        }
        let changes = self.node.metadata.apply(command).unwrap();
        assert_eq!(changes.list.is_empty(), answer == Answer::AlreadySo);
        changes.also_log.iter().for_each(write);
    }
}

fn run(op: &Op, logged: &mut Logged, model: &mut Model) {
    match *op {
        Op::Exchange { name, kind, auto_delete, durable } => {
            let kind = EVERY_MATCH[kind];
            let flags = format!("{}{}", if auto_delete { "a" } else { "" }, if durable { "d" } else { "" });
            logged.run(exchange_with(EXCHANGES[name], kind.name(), &flags, FieldTable::new()));
            model.exchanges.entry(EXCHANGES[name].into()).or_insert((kind, auto_delete, durable));
        }
        Op::DeleteExchange(name) => {
            logged.run(delete_exchange(EXCHANGES[name]));
            model.delete_exchange(EXCHANGES[name]);
        }
        Op::Queue { name, durable } => {
            let flags = if durable { "d" } else { "" };
            let command = queue_with(&mut logged.node.metadata, QUEUES[name], flags, FieldTable::new());
            logged.run(command);
            model.queues.entry(QUEUES[name].into()).or_insert(durable);
        }
        Op::DeleteQueue(name) => {
            if model.queues.remove(QUEUES[name]).is_some() {
                let command = logged.node.delete_queue_command(QUEUES[name]);
                logged.run(command);
                model.remove(|(_, destination, ..)| destination == QUEUES[name]);
            }
        }
        Op::Bind { source, destination, key, arguments: index } => {
            let (source, destination, key) = (EXCHANGES[source], end(destination), KEYS[key]);
            logged.run(bind_with(source, destination, key, arguments(index)));
            if model.exists(source) && model.exists(destination) {
                model.bindings.insert((source.into(), destination.into(), key, index));
            }
        }
        Op::Unbind { source, destination, key, arguments: index } => {
            let (source, destination, key) = (EXCHANGES[source], end(destination), KEYS[key]);
            logged.run(unbind_with(source, destination, key, arguments(index)));
            let gone = (source.to_owned(), destination.to_owned(), key, index);
            model.remove(|binding| *binding == gone);
        }
        Op::UnbindExisting(nth) => {
            let Some(nth) = nth.checked_rem(model.bindings.len()) else { return };
            let gone = model.bindings.iter().nth(nth).unwrap().clone();
            logged.run(unbind_with(&gone.0, &gone.1, gone.2, arguments(gone.3)));
            model.remove(|binding| *binding == gone);
        }
    }
}

proptest! {
    #[test]
    fn random_histories_agree_with_the_model(ops in proptest::collection::vec(op(), 1..60)) {
        let mut logged = Logged { node: Node::new(), log: Vec::new() };
        let mut model = Model::new();
        for op in &ops {
            run(op, &mut logged, &mut model);
            logged.node.metadata.check_invariants();
        }

        // The same things exist.
        let node = &mut logged.node;
        let names: Vec<_> = node.metadata.queues().iter().map(|(_, queue)| queue.name.to_string()).collect();
        prop_assert_eq!(names, model.queues.keys().cloned().collect::<Vec<_>>());
        for name in EXCHANGES {
            prop_assert_eq!(node.has_exchange(name), model.exchanges.contains_key(name), "exchange {}", name);
        }
        let mut bindings: Vec<_> = node.metadata.bindings().iter()
            .map(|view| (view.source.name.to_string(), view.destination_name.to_string(), view.routing_key.to_string()))
            .collect();
        bindings.sort();
        let expected: Vec<_> = model.bindings.iter().map(|(s, d, k, _)| (s.clone(), d.clone(), k.to_string())).collect();
        prop_assert_eq!(bindings, expected);

        // Messages take the same ways.
        for exchange in model.exchanges.keys() {
            for key in ["a", "b", "a.b", "b.a.c"] {
                for headers in [FieldTable::new(), FieldTable::new().with("h", 1), FieldTable::new().with("h", 2), FieldTable::new().with("i", 5)] {
                    let expected = model.route(exchange, key, &headers);
                    prop_assert_eq!(node.route_with(exchange, &[key], &headers), expected, "{} {} {:?}", exchange, key, headers);
                }
            }
        }

        // The snapshot holds what is durable, and so does the log.
        let snapshot = node.metadata.snapshot();
        let restored = Metadata::restore(snapshot.clone(), 99).unwrap();
        restored.check_invariants();
        prop_assert_eq!(&restored.snapshot(), &snapshot);
        let mut replayed = Metadata::new(99);
        for command in logged.log {
            replayed.replay(Command::decode(command).unwrap()).unwrap();
        }
        replayed.check_invariants();
        let last_id = node.metadata.allocate_queue_id();
        replayed.skip_queue_ids(QueueId(last_id.0 - 1));
        prop_assert_eq!(replayed.snapshot(), snapshot);
    }
}

#[test]
fn exchanges_that_choose_refuse_what_they_cannot_use() {
    let mut node = Node::new();
    node.apply(exchange("e", "x-consistent-hash"));
    node.apply(exchange("e1", "x-local-random"));
    node.queue("q");
    let refusal = |node: &Node, command: &Command| node.check(command).unwrap_err();
    assert_eq!(refusal(&node, &bind("e", "q", "a")), "406 The binding key must be an integer: <<\"a\">>");
    assert_eq!(refusal(&node, &bind("e", "q", "0")), "406 The binding key must be greater than 0");
    assert_eq!(refusal(&node, &bind("e1", "q", "a")), "406 Non empty binding 'a' key not permitted");
    assert_eq!(refusal(&node, &bind("e1", "e", "")), "406 Destination not found");
    let bad = exchange_with("e2", "x-consistent-hash", "", FieldTable::new().with("hash-property", "app_id"));
    assert_eq!(refusal(&node, &bad), "406 Unsupported property: app_id");
    let bad = exchange_with("e2", "x-recent-history", "", FieldTable::new().with("x-recent-history-length", 0));
    assert_eq!(refusal(&node, &bad), "406 Invalid argument 0, 'x-recent-history-length' must be a positive integer");
}

proptest! {
    /// Issue 17255: what is deleted leaves no share behind that would swallow messages, however it goes; and a restart sends every key
    /// where it went before.
    #[test]
    fn one_binding_gets_each_message_as_long_as_there_is_one(
        kind in prop::sample::select(vec!["x-consistent-hash", "x-modulus-hash", "x-random"]),
        ops in proptest::collection::vec((0..4_usize, 0..6_usize, 1..4_u8), 1..60),
    ) {
        let mut node = Node::new();
        node.apply(exchange_with("e", kind, "d", FieldTable::new()));
        let mut there = BTreeSet::new();
        let mut bound = BTreeSet::new();
        for (what, index, weight) in ops {
            let (name, key) = (["q0", "q1", "q2", "q3", "e0", "e1"][index], weight.to_string());
            match what {
                0 if there.insert(name) => match name.strip_prefix('e') {
                    Some(_) => {
                        node.apply(exchange_with(name, "fanout", "d", FieldTable::new()));
                        // Where its messages are seen.
                        node.queue_with(&format!("q{name}"), "d", FieldTable::new());
                        node.apply(bind(name, &format!("q{name}"), ""));
                    }
                    None => drop(node.queue_with(name, "d", FieldTable::new())),
                },
                1 if there.contains(name) && bound.insert((name, key.clone())) => drop(node.apply(bind("e", name, &key))),
                2 if bound.remove(&(name, key.clone())) => drop(node.apply(unbind("e", name, &key))),
                3 if there.remove(name) => {
                    bound.retain(|(other, _)| *other != name);
                    if name.starts_with('e') {
                        node.apply(delete_exchange(name));
                        node.delete_queue(&format!("q{name}"));
                    } else {
                        node.delete_queue(name);
                    }
                }
                _ => {}
            }
            let expected: BTreeSet<_> =
                bound.iter().map(|(name, _)| if name.starts_with('e') { format!("q{name}") } else { (*name).to_owned() }).collect();
            let mut restarted =
                Node { metadata: Metadata::restore(node.metadata.snapshot(), 2).unwrap(), scratch: RouteScratch::default() };
            for key in ["a", "b", "c", "d"] {
                let found = node.route("e", key);
                prop_assert_eq!(found.len(), usize::from(!expected.is_empty()));
                prop_assert!(found.iter().all(|name| expected.contains(name)), "{:?} of {:?}", found, expected);
                if kind != "x-random" {
                    prop_assert_eq!(restarted.route("e", key), found);
                }
            }
        }
    }
}
