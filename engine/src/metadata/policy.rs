//! Policies: settings for all queues and exchanges whose names match (RabbitMQ docs: Policies).
//!
//! Keys, rules and texts as RabbitMQ has them. Keys of what this broker does not have (mirrored queues, streams, federation) are
//! accepted, so that definitions import and scripts run.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::{Map, Value};

use super::{AdminError, Pattern};
use crate::amqp::ShortStr;

/// A JSON object, as definitions of policies and values of parameters are.
pub type JsonMap = Map<String, Value>;

/// A policy or operator policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name, unique in its vhost among its kind.
    pub name: ShortStr,
    /// Which names it is for.
    pub pattern: Pattern,
    /// Which kinds of objects it is for.
    pub apply_to: ApplyTo,
    /// Of several that match, the one with the greatest number applies; of equal ones the first by name.
    pub priority: i64,
    /// What it sets; checked by [`check_definition`].
    pub definition: JsonMap,
}

/// Who may override whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyKind {
    /// Made by whoever looks after the vhost.
    User,
    /// Made by the operator: limits that the others cannot raise.
    Operator,
}

/// The kinds of objects a policy is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApplyTo {
    /// Queues and exchanges.
    #[default]
    All,
    /// Exchanges.
    Exchanges,
    /// Queues of all types.
    Queues,
    /// Classic queues.
    ClassicQueues,
    /// Quorum queues.
    QuorumQueues,
    /// Streams.
    Streams,
}

/// What a policy is looked up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PolicyTarget {
    Exchange,
    ClassicQueue,
    QuorumQueue,
}

impl ApplyTo {
    const NAMES: [(Self, &'static str); 6] = [
        (Self::All, "all"),
        (Self::Exchanges, "exchanges"),
        (Self::Queues, "queues"),
        (Self::ClassicQueues, "classic_queues"),
        (Self::QuorumQueues, "quorum_queues"),
        (Self::Streams, "streams"),
    ];

    /// As definitions write it.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }

    /// Reads what definitions write.
    ///
    /// # Errors
    /// If it is no kind of object.
    pub fn from_name(name: &str) -> Result<Self, AdminError> {
        let found = Self::NAMES.iter().find(|(_, known)| *known == name).map(|(apply_to, _)| *apply_to);
        found.ok_or_else(|| {
            let all = "\"queues\", \"classic_queues\", \"quorum_queues\", \"streams\", \"exchanges\" or \"all\"";
            AdminError::bad_request(format!("apply-to '{name}' unrecognised; should be one of: {all}"))
        })
    }

    fn includes(self, target: PolicyTarget) -> bool {
        match self {
            Self::All => true,
            Self::Exchanges => target == PolicyTarget::Exchange,
            Self::Queues => target != PolicyTarget::Exchange,
            Self::ClassicQueues => target == PolicyTarget::ClassicQueue,
            Self::QuorumQueues => target == PolicyTarget::QuorumQueue,
            Self::Streams => false,
        }
    }
}

impl Policy {
    /// Whether it is for this object.
    pub(super) fn is_for(&self, target: PolicyTarget, name: &[u8]) -> bool {
        self.apply_to.includes(target)
            // RabbitMQ passes over a policy with a key that the type of queue does not have.
            && (target == PolicyTarget::Exchange || !self.definition.keys().any(|key| ONLY_STREAMS.contains(&key.as_str())))
            && self.pattern.is_match(name)
    }
}

/// Keys that make RabbitMQ pass over a policy for queues that are not streams.
const ONLY_STREAMS: [&str; 3] = ["max-age", "stream-max-segment-size-bytes", "stream-filter-size-bytes"];

/// The keys that an operator policy may have.
const OPERATOR_KEYS: [&str; 13] = [
    "expires",
    "message-ttl",
    "max-length",
    "max-length-bytes",
    "max-in-memory-length",
    "max-in-memory-bytes",
    "delivery-limit",
    "overflow",
    "queue-version",
    "target-group-size",
    "member-placement-tag",
    "delayed-retry-min",
    "delayed-retry-max",
];

/// What a value has to be.
enum Rule {
    /// An integer not below this.
    AtLeast(i64),
    /// Text.
    Text,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A boolean.
    Bool,
    /// An age such as `7D`.
    Age,
    /// One of these numbers.
    Number(&'static [i64]),
    /// Whatever it is.
    Any,
}

/// All keys, each with its rule and what RabbitMQ calls the value when it is wrong.
const KEYS: [(&str, Rule, &str); 41] = [
    ("alternate-exchange", Rule::Text, "alternate exchange name"),
    ("dead-letter-exchange", Rule::Text, "dead letter exchange name"),
    ("dead-letter-routing-key", Rule::Text, "dead letter routing key"),
    ("dead-letter-strategy", Rule::OneOf(&["at-most-once", "at-least-once"]), "dead letter strategy"),
    ("message-ttl", Rule::AtLeast(0), "message TTL"),
    ("expires", Rule::AtLeast(1), "queue expiry"),
    ("max-length", Rule::AtLeast(0), "maximum length"),
    ("max-length-bytes", Rule::AtLeast(0), "maximum length in bytes"),
    ("max-in-memory-length", Rule::AtLeast(0), "maximum memory in bytes"),
    ("max-in-memory-bytes", Rule::AtLeast(0), "maximum memory in bytes"),
    ("overflow", Rule::OneOf(&["drop-head", "reject-publish", "reject-publish-dlx"]), "overflow value"),
    ("delivery-limit", Rule::AtLeast(-1), "delivery limit"),
    ("queue-mode", Rule::OneOf(&["default", "lazy"]), "queue-mode value"),
    ("queue-version", Rule::Number(&[1, 2]), "queue-version value"),
    (
        "queue-leader-locator",
        Rule::OneOf(&["client-local", "balanced", "random", "least-leaders"]),
        "queue leader locator value",
    ),
    ("queue-master-locator", Rule::OneOf(&["min-masters", "client-local", "random"]), "queue master locator"),
    ("initial-cluster-size", Rule::AtLeast(1), "cluster size"),
    ("target-group-size", Rule::AtLeast(1), "target group size"),
    ("member-placement-tag", Rule::Text, "member placement tag"),
    ("max-age", Rule::Age, "max age"),
    ("stream-max-segment-size-bytes", Rule::AtLeast(0), "segment size"),
    ("stream-filter-size-bytes", Rule::AtLeast(16), "filter size"),
    ("consumer-timeout", Rule::AtLeast(0), "consumer timeout"),
    ("consumer-disconnected-timeout", Rule::AtLeast(0), "consumer disconnected timeout"),
    ("delayed-retry-type", Rule::OneOf(&["disabled", "all", "failed", "returned"]), "delayed retry type"),
    ("delayed-retry-min", Rule::AtLeast(0), "delayed retry minimum"),
    ("delayed-retry-max", Rule::AtLeast(0), "delayed retry maximum"),
    ("federation-upstream", Rule::Text, "federation upstream name"),
    ("federation-upstream-set", Rule::Text, "federation upstream set name"),
    ("federation-upstream-pattern", Rule::Text, "federation upstream pattern"),
    ("selector-fields", Rule::Any, "list of selector fields"),
    ("shards-per-node", Rule::AtLeast(1), "number of shards per node"),
    ("routing-key", Rule::Text, "routing key"),
    ("ha-mode", Rule::OneOf(&["all", "exactly", "nodes"]), "ha-mode value"),
    ("ha-params", Rule::Any, "ha-params"),
    ("ha-sync-mode", Rule::OneOf(&["manual", "automatic"]), "ha-sync-mode"),
    ("ha-sync-batch-size", Rule::AtLeast(1), "ha-sync-batch-size"),
    ("ha-promote-on-shutdown", Rule::OneOf(&["always", "when-synced"]), "ha-promote-on-shutdown"),
    ("ha-promote-on-failure", Rule::OneOf(&["always", "when-synced"]), "ha-promote-on-failure"),
    ("delayed-message", Rule::Bool, "delayed-message value"),
    ("federation", Rule::Any, "federation value"),
];

/// Checks what a policy sets.
///
/// # Errors
/// In RabbitMQ's words for the first key that is not known, not allowed or has a wrong value.
pub fn check_definition(kind: PolicyKind, definition: &JsonMap) -> Result<(), AdminError> {
    if definition.is_empty() {
        return Err(AdminError::bad_request("no policy provided"));
    }
    let is_known: fn(&str) -> bool = match kind {
        PolicyKind::User => |key| KEYS.iter().any(|(known, ..)| *known == key),
        PolicyKind::Operator => is_operator_key,
    };
    let unknown = definition.iter().filter(|(key, _)| !is_known(key));
    let unknown: Vec<_> = unknown.map(|(key, value)| format!("{{<<{key:?}>>,{}}}", shown(value))).collect();
    if !unknown.is_empty() {
        return Err(AdminError::bad_request(format!("[{}] are not recognised policy settings", unknown.join(","))));
    }
    for (key, value) in definition {
        let Some((_, rule, what)) = KEYS.iter().find(|(known, ..)| known == key) else { continue };
        if !rule.allows(value) {
            return Err(AdminError::bad_request(format!("{} is not a valid {what}", shown(value))));
        }
    }
    Ok(())
}

fn is_operator_key(key: &str) -> bool {
    OPERATOR_KEYS.contains(&key) || key == "delayed-retry-type"
}

impl Rule {
    fn allows(&self, value: &Value) -> bool {
        match self {
            Self::AtLeast(least) => value.as_i64().is_some_and(|number| number >= *least),
            Self::Text => value.is_string(),
            Self::OneOf(allowed) => value.as_str().is_some_and(|text| allowed.contains(&text)),
            Self::Bool => value.is_boolean(),
            Self::Age => value.as_str().is_some_and(is_age),
            Self::Number(allowed) => value.as_i64().is_some_and(|number| allowed.contains(&number)),
            Self::Any => true,
        }
    }
}

/// A number and a unit (RabbitMQ docs: Streams / retention).
fn is_age(text: &str) -> bool {
    let digits = text.trim_end_matches(['Y', 'M', 'D', 'h', 'm', 's']);
    digits.len() + 1 == text.len() && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A value as RabbitMQ prints it in such texts.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("<<{text:?}>>"),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(shown).collect();
            format!("[{}]", values.join(","))
        }
        other => other.to_string(),
    }
}

/// The policy among `policies` that is for an object.
pub(super) fn best<'a>(
    policies: impl Iterator<Item = &'a Policy>,
    target: PolicyTarget,
    name: &[u8],
) -> Option<&'a Policy> {
    let matching = policies.filter(|policy| policy.is_for(target, name));
    // The names come in order, so that of equal priorities the first wins.
    matching.reduce(|best, other| if other.priority > best.priority { other } else { best })
}

/// What a policy and an operator policy set together (RabbitMQ docs: Operator Policies).
pub(super) fn merged(policy: Option<&JsonMap>, operator: Option<&JsonMap>) -> JsonMap {
    let mut definition = policy.cloned().unwrap_or_default();
    for (key, theirs) in operator.into_iter().flatten() {
        let value = match (definition.get(key), key.as_str()) {
            (None, _) | (_, "overflow" | "queue-version" | "delayed-retry-type" | "member-placement-tag") => {
                theirs.clone()
            }
            (Some(own), "target-group-size" | "delayed-retry-min") => pick(own, theirs, i64::max),
            // -1 is no limit.
            (Some(own), "delivery-limit") => pick(own, theirs, stricter),
            (Some(own), _) => pick(own, theirs, i64::min),
        };
        definition.insert(key.clone(), value);
    }
    definition
}

fn pick(own: &Value, theirs: &Value, choose: fn(i64, i64) -> i64) -> Value {
    match (own.as_i64(), theirs.as_i64()) {
        (Some(own), Some(theirs)) => Value::from(choose(own, theirs)),
        _ => theirs.clone(),
    }
}

/// The stricter of two limits of which a negative one is none (RabbitMQ 4.0.4).
pub(super) fn stricter(left: i64, right: i64) -> i64 {
    if left < 0 || right < 0 { left.max(right) } else { left.min(right) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(json: &str) -> JsonMap {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn known_keys_with_good_values_are_taken() {
        let all = r#"{"alternate-exchange":"ae","dead-letter-exchange":"dlx","dead-letter-routing-key":"k",
            "dead-letter-strategy":"at-least-once","message-ttl":0,"expires":1,"max-length":0,"max-length-bytes":7,
            "overflow":"reject-publish","delivery-limit":-1,"queue-mode":"lazy","queue-version":2,"max-age":"7D",
            "queue-leader-locator":"balanced","consumer-timeout":5,"ha-mode":"exactly","ha-params":2,
            "ha-sync-mode":"automatic","federation-upstream-set":"all"}"#;
        assert_eq!(check_definition(PolicyKind::User, &map(all)), Ok(()));
        let operator = r#"{"expires":1,"message-ttl":1,"max-length":1,"max-length-bytes":1,"overflow":"drop-head"}"#;
        assert_eq!(check_definition(PolicyKind::Operator, &map(operator)), Ok(()));
    }

    /// Texts as RabbitMQ 3.10.8 gives them.
    #[test]
    fn unknown_keys_and_bad_values_are_refused() {
        let check = |kind, json: &str, text: &str| {
            assert_eq!(check_definition(kind, &map(json)).unwrap_err().text, text);
        };
        check(PolicyKind::User, "{}", "no policy provided");
        check(PolicyKind::User, r#"{"foo":1}"#, "[{<<\"foo\">>,1}] are not recognised policy settings");
        check(PolicyKind::User, r#"{"message-ttl":-1}"#, "-1 is not a valid message TTL");
        check(PolicyKind::User, r#"{"message-ttl":"5"}"#, "<<\"5\">> is not a valid message TTL");
        check(PolicyKind::User, r#"{"expires":0}"#, "0 is not a valid queue expiry");
        check(PolicyKind::User, r#"{"overflow":"x"}"#, "<<\"x\">> is not a valid overflow value");
        check(PolicyKind::User, r#"{"max-age":"D"}"#, "<<\"D\">> is not a valid max age");
        check(
            PolicyKind::Operator,
            r#"{"dead-letter-exchange":"x"}"#,
            "[{<<\"dead-letter-exchange\">>,<<\"x\">>}] are not recognised policy settings",
        );
    }

    #[test]
    fn an_operator_can_only_tighten() {
        let policy = map(r#"{"max-length":10,"message-ttl":5,"overflow":"drop-head","target-group-size":3}"#);
        let operator =
            map(r#"{"max-length":20,"message-ttl":1,"overflow":"reject-publish","target-group-size":5,"expires":9}"#);
        let expected =
            map(r#"{"max-length":10,"message-ttl":1,"overflow":"reject-publish","target-group-size":5,"expires":9}"#);
        assert_eq!(merged(Some(&policy), Some(&operator)), expected);
        assert_eq!(merged(None, Some(&operator)), operator);
        assert_eq!(merged(Some(&policy), None), policy);
        assert_eq!((stricter(-1, 5), stricter(3, 5), stricter(-1, -1)), (5, 3, -1));
    }

    #[test]
    fn the_highest_priority_wins_and_then_the_first_name() {
        let policy = |name: &'static str, pattern: &str, priority, apply_to| Policy {
            name: ShortStr::from_static(name),
            pattern: Pattern::new(pattern).unwrap(),
            apply_to,
            priority,
            definition: map(r#"{"max-length":1}"#),
        };
        let policies = [
            policy("a", "^q", 0, ApplyTo::Queues),
            policy("b", "^q", 1, ApplyTo::ClassicQueues),
            policy("c", "", 1, ApplyTo::All),
            policy("d", "", 9, ApplyTo::Streams),
        ];
        let found = |target, name: &str| {
            best(policies.iter(), target, name.as_bytes()).map(|policy| policy.name.to_string_lossy().into_owned())
        };
        assert_eq!(found(PolicyTarget::ClassicQueue, "q1").as_deref(), Some("b"));
        assert_eq!(found(PolicyTarget::QuorumQueue, "q1").as_deref(), Some("c"));
        assert_eq!(found(PolicyTarget::Exchange, "q1").as_deref(), Some("c"));
        assert_eq!(found(PolicyTarget::ClassicQueue, "x").as_deref(), Some("c"));
    }
}
