//! What administrators ask for, against the whole machine.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use super::*;
use crate::amqp::{FieldTable, FieldValue};
use crate::auth::{HashingAlgorithm, PasswordHash};

fn short(text: &str) -> ShortStr {
    ShortStr::try_from(text).unwrap()
}

fn json(text: &str) -> JsonMap {
    serde_json::from_str(text).unwrap()
}

fn pattern(text: &str) -> Pattern {
    Pattern::of_permission(text).unwrap()
}

fn command(administration: Administration) -> Command {
    Command::Administer(Box::new(administration))
}

fn put_user(name: &str) -> Administration {
    let password = PasswordHash { algorithm: HashingAlgorithm::Sha512, bytes: Bytes::from_static(&[1, 2, 3, 4]) };
    Administration::PutUser { name: short(name), password, tags: vec![short("administrator")] }
}

fn set_permissions(user: &str, vhost: &str, configure: &str, write: &str, read: &str) -> Administration {
    let permissions = Permissions { configure: pattern(configure), write: pattern(write), read: pattern(read) };
    Administration::SetPermissions { user: short(user), vhost: short(vhost), permissions: Box::new(permissions) }
}

fn put_policy(
    kind: PolicyKind,
    name: &str,
    expression: &str,
    apply_to: &str,
    priority: i64,
    set: &str,
) -> Administration {
    let policy = Policy {
        name: short(name),
        pattern: Pattern::new(expression).unwrap(),
        apply_to: ApplyTo::from_name(apply_to).unwrap(),
        priority,
        definition: json(set),
    };
    Administration::PutPolicy { vhost: short("/"), kind, policy }
}

/// Every kind of change that leaves something behind.
pub(super) fn one_of_each() -> Vec<Command> {
    let settings = VhostSettings {
        description: "a".into(),
        tags: vec![short("t")],
        default_queue_type: Some(short("quorum")),
        protected_from_deletion: true,
        tracing: true,
    };
    let topic = TopicPermissions { write: "c".into(), read: "d".into() };
    let all = vec![
        Administration::PutVhost { name: short("/"), settings },
        Administration::SetVhostLimits {
            vhost: short("/"),
            limits: VhostLimits { connections_max: Some(5), queues_max: None },
        },
        put_user("u"),
        Administration::SetUserLimits {
            user: short("u"),
            limits: UserLimits { connections_max: Some(7), channels_max: Some(0) },
        },
        set_permissions("u", "/", "a", "", "b"),
        Administration::SetTopicPermissions {
            user: short("u"),
            vhost: short("/"),
            exchange: short("e"),
            permissions: topic,
        },
        put_policy(PolicyKind::User, "p", "^q", "queues", -1, r#"{"max-length":5}"#),
        put_policy(PolicyKind::Operator, "o", "", "all", 2, r#"{"max-length":3}"#),
        Administration::PutParameter {
            vhost: short("/"),
            component: short("c"),
            name: short("n"),
            value: serde_json::Value::Object(json(r#"{"v":1}"#)),
        },
        Administration::PutGlobalParameter { name: short("cluster_name"), value: "n".into() },
    ];
    all.into_iter().map(command).collect()
}

/// Every kind of change that takes something away, in an order in which each finds it.
fn one_of_each_away() -> Vec<Command> {
    let all = vec![
        Administration::DeleteGlobalParameter { name: short("cluster_name") },
        Administration::DeleteParameter { vhost: short("/"), component: short("c"), name: short("n") },
        Administration::DeletePolicy { vhost: short("/"), kind: PolicyKind::Operator, name: short("o") },
        Administration::ClearTopicPermissions { user: short("u"), vhost: short("/"), exchange: Some(short("e")) },
        Administration::ClearTopicPermissions { user: short("u"), vhost: short("/"), exchange: None },
        Administration::ClearPermissions { user: short("u"), vhost: short("/") },
        Administration::DeleteUser { name: short("u") },
        Administration::PutVhost { name: short("/"), settings: VhostSettings::default() },
        Administration::DeleteVhost { name: short("/") },
    ];
    all.into_iter().map(command).collect()
}

#[test]
fn commands_come_back_as_they_were_stored_and_damage_is_noticed() {
    for command in one_of_each().into_iter().chain(one_of_each_away()) {
        let mut encoded = BytesMut::new();
        command.encode(&mut encoded);
        let encoded = encoded.freeze();
        assert_eq!(encoded[0], 2, "programs that know version 1 do not know these");
        assert_eq!(Command::decode(encoded.clone()).unwrap(), command);
        for len in 0..encoded.len() {
            assert!(matches!(Command::decode(encoded.slice(..len)), Err(DecodeError::Malformed(_))), "{command:?}");
        }
    }
    let not_for_version_2 = Bytes::from_static(&[2, 1, 0]);
    assert!(matches!(Command::decode(not_for_version_2), Err(DecodeError::Malformed(_))));
}

#[test]
fn doing_it_twice_is_doing_nothing() {
    let mut metadata = Metadata::new(1);
    for command in one_of_each() {
        assert_eq!(metadata.check(&command, None), Ok(Answer::NeedsApply), "{command:?}");
        metadata.apply(command.clone()).unwrap();
        assert_eq!(metadata.check(&command, None), Ok(Answer::AlreadySo), "{command:?}");
        metadata.check_invariants();
    }
    for command in one_of_each_away() {
        let _ = metadata.apply(command);
        metadata.check_invariants();
    }
    assert_eq!(metadata.vhosts().count(), 0);
    assert_eq!(metadata.exchanges().len(), 0);
}

fn declare_queue(metadata: &mut Metadata, vhost: &str, name: &str, arguments: FieldTable) -> QueueKey {
    let id = metadata.allocate_queue_id();
    let command = Command::DeclareQueue {
        home: NodeId(0),
        members: Vec::new(),
        vhost: short(vhost),
        id,
        name: short(name),
        durable: true,
        exclusive: None,
        auto_delete: false,
        arguments,
    };
    metadata.apply(command).unwrap();
    metadata.queue_by_id(id).unwrap().0
}

#[test]
fn a_vhost_goes_with_everything_in_it() {
    let mut metadata = Metadata::new(1);
    let mut apply = |administration| metadata.apply(command(administration)).unwrap();
    apply(Administration::PutVhost { name: short("v"), settings: VhostSettings::default() });
    apply(put_user("u"));
    apply(set_permissions("u", "v", ".*", ".*", ".*"));
    apply(set_permissions("u", "/", ".*", ".*", ".*"));
    let stays = declare_queue(&mut metadata, "/", "q", FieldTable::new());
    let goes = declare_queue(&mut metadata, "v", "q", FieldTable::new());
    let vhost = metadata.vhost(b"v").unwrap();
    let changes = metadata.apply(command(Administration::DeleteVhost { name: short("v") })).unwrap();
    assert!(changes.list.contains(&Change::QueueDeleted(goes, QueueId(2))));
    assert_eq!(changes.list.last(), Some(&Change::VhostDeleted(vhost)));
    assert!(metadata.queue_by_key(stays).is_some());
    assert!(!metadata.may_open(b"u", b"v"));
    assert!(metadata.may_open(b"u", b"/"));
    metadata.check_invariants();

    let protected = VhostSettings { protected_from_deletion: true, ..VhostSettings::default() };
    metadata.apply(command(Administration::PutVhost { name: short("/"), settings: protected })).unwrap();
    let refusal = metadata.check_administration(&Administration::DeleteVhost { name: short("/") }).unwrap_err();
    assert_eq!(refusal.kind, AdminErrorKind::Refused);
}

#[test]
fn permissions_are_searched_by_name() {
    let mut metadata = Metadata::new(1);
    let vhost = metadata.vhost(b"/").unwrap();
    metadata.apply(command(put_user("u"))).unwrap();
    assert!(!metadata.may_open(b"u", b"/"));
    let version = metadata.access_version();
    metadata.apply(command(set_permissions("u", "/", "^own", "^amq\\.default$", ""))).unwrap();
    assert!(metadata.access_version() > version);
    assert!(metadata.may_open(b"u", b"/"));
    assert!(metadata.may(b"u", vhost, Access::Configure, b"own.q"));
    assert!(!metadata.may(b"u", vhost, Access::Configure, b"q"));
    assert!(metadata.may(b"u", vhost, Access::Write, b""));
    assert!(!metadata.may(b"u", vhost, Access::Read, b"own.q"));
    assert!(!metadata.may(b"nobody", vhost, Access::Read, b"own.q"));
}

/// RabbitMQ docs: Topic Authorisation.
#[test]
fn topic_permissions_fill_in_variables() {
    let mut metadata = Metadata::new(1);
    let vhost = metadata.vhost(b"/").unwrap();
    metadata.apply(command(put_user("u"))).unwrap();
    let may = |metadata: &Metadata, access, key: &[u8]| metadata.may_use_key(b"u", vhost, b"amq.topic", access, key);
    assert!(may(&metadata, Access::Write, b"anything"), "without any, everything is allowed");
    let permissions = TopicPermissions { write: "^{username}\\..*".into(), read: "^{vhost}x$".into() };
    let set = Administration::SetTopicPermissions {
        user: short("u"),
        vhost: short("/"),
        exchange: short("amq.topic"),
        permissions,
    };
    metadata.apply(command(set)).unwrap();
    assert!(may(&metadata, Access::Write, b"u.a"));
    assert!(!may(&metadata, Access::Write, b"x.u.a"));
    assert!(may(&metadata, Access::Read, b"/x"));
    assert!(!may(&metadata, Access::Read, b"u.a"));
    assert!(metadata.may_use_key(b"u", vhost, b"other", Access::Write, b"x.u.a"));
}

#[test]
fn of_a_quorum_queues_times_the_shorter_holds() {
    let mut metadata = Metadata::new(1);
    let arguments = |ms: i64| {
        FieldTable::new().with("x-queue-type", "quorum").with("x-consumer-disconnected-timeout", FieldValue::I64(ms))
    };
    let [short, long] =
        [("q1", 5), ("q2", 50)].map(|(name, ms)| declare_queue(&mut metadata, "/", name, arguments(ms)));
    let set = r#"{"consumer-disconnected-timeout":10}"#;
    metadata.apply(command(put_policy(PolicyKind::User, "p", "^q", "queues", 0, set))).unwrap();
    let timeouts = [short, long].map(|key| metadata.queue_by_key(key).unwrap().settings.disconnected_timeout_ms);
    assert_eq!(timeouts, [Some(5), Some(10)]);
}

#[test]
fn only_what_comes_back_to_a_quorum_queue_waits() {
    let mut metadata = Metadata::new(1);
    let quorum = FieldTable::new().with("x-queue-type", "quorum").with("x-delayed-retry-min", 500);
    let queues = [("q1", quorum), ("q2", FieldTable::new())];
    let [quorum, classic] = queues.map(|(name, arguments)| declare_queue(&mut metadata, "/", name, arguments));
    let set = r#"{"delayed-retry-type":"all","delayed-retry-min":100,"delayed-retry-max":900}"#;
    metadata.apply(command(put_policy(PolicyKind::User, "p", "^q", "queues", 0, set))).unwrap();
    let delay = |key| metadata.queue_by_key(key).unwrap().settings.delayed_retry.delay_ms(false, 2);
    assert_eq!(
        (delay(quorum), delay(classic)),
        (Some(900), None),
        "the longer of the shortest waits, twice, and no longer"
    );
}

#[test]
fn policies_apply_to_what_exists_and_to_what_comes() {
    let mut metadata = Metadata::new(1);
    let before = declare_queue(&mut metadata, "/", "q1", FieldTable::new().with("x-max-length", 4));
    let other = declare_queue(&mut metadata, "/", "other", FieldTable::new());
    let set = r#"{"max-length":10,"message-ttl":7,"dead-letter-exchange":"dlx"}"#;
    let changes = metadata.apply(command(put_policy(PolicyKind::User, "p", "^q", "queues", 0, set))).unwrap();
    assert_eq!(changes.list, [Change::QueueSettings(before)]);
    let settings = |metadata: &Metadata, key| {
        let settings = &metadata.queue_by_key(key).unwrap().settings;
        (settings.length_max, settings.message_ttl_ms, settings.dead_letter_exchange.is_some())
    };
    assert_eq!(settings(&metadata, before), (Some(4), Some(7), true), "the stricter limit holds");
    assert_eq!(settings(&metadata, other), (None, None, false));
    let after = declare_queue(&mut metadata, "/", "q2", FieldTable::new().with("x-dead-letter-exchange", "own"));
    assert_eq!(settings(&metadata, after), (Some(10), Some(7), true));
    let own = metadata.queue_by_key(after).unwrap().settings.dead_letter_exchange.clone();
    assert_eq!(own.unwrap().as_bytes(), b"own", "an argument wins over a policy");

    let operator = put_policy(PolicyKind::Operator, "o", "", "queues", 0, r#"{"max-length":2,"message-ttl":100}"#);
    metadata.apply(command(operator)).unwrap();
    assert_eq!(settings(&metadata, after), (Some(2), Some(7), true));
    assert_eq!(settings(&metadata, other), (Some(2), Some(100), false));
    let applied = metadata.queue_by_key(after).unwrap().policies.clone().unwrap();
    assert_eq!((applied.policy, applied.operator_policy), (Some(short("p")), Some(short("o"))));
    assert_eq!(applied.definition, json(r#"{"max-length":2,"message-ttl":7,"dead-letter-exchange":"dlx"}"#));

    let gone = Administration::DeletePolicy { vhost: short("/"), kind: PolicyKind::User, name: short("p") };
    metadata.apply(command(gone)).unwrap();
    assert_eq!(settings(&metadata, before), (Some(2), Some(100), false));
    metadata.check_invariants();
}

#[test]
fn an_alternate_exchange_can_come_from_a_policy() {
    let mut metadata = Metadata::new(1);
    let set = r#"{"alternate-exchange":"amq.fanout"}"#;
    metadata.apply(command(put_policy(PolicyKind::User, "ae", "^amq.direct$", "exchanges", 0, set))).unwrap();
    let vhost = metadata.vhost(b"/").unwrap();
    let alternate = |metadata: &Metadata, name: &[u8]| {
        let (_, exchange) = metadata.exchange(vhost, name).unwrap();
        exchange.settings.alternate_exchange.as_ref().map(|name| name.to_string_lossy().into_owned())
    };
    assert_eq!(alternate(&metadata, b"amq.direct").as_deref(), Some("amq.fanout"));
    assert_eq!(alternate(&metadata, b"amq.topic"), None);
    metadata.check_invariants();
}
