//! RabbitMQ's answers to declarations and deletions, one by one.

use super::*;

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
