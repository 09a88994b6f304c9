//! Arguments of queues and exchanges: from a field table to what the broker knows of it.
//!
//! Rules and texts as RabbitMQ 3.10 has them. Unknown names are accepted and stored; names that only another type of queue knows are
//! refused, but for a few that mean the same on every type here.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use super::deduplication::Deduplication;
use super::locator::{LeaderLocator, Locators};
use super::name::Named;
use super::settings::{DeadLetterStrategy, RetryArguments, RetryKind};
use crate::amqp::{AmqpError, FieldTable, FieldValue, LongStr, ReplyCode};
use crate::queue::QueueKind;
use crate::routing::{ErlangTerm, ExchangeKind, HashOn};

/// What the broker knows of a queue's arguments (RabbitMQ docs: Queues / Optional Arguments).
///
/// Accepted without effect: `x-queue-mode` and `x-queue-version` on classic queues; `x-max-in-memory-length` and
/// `x-max-in-memory-bytes` on quorum queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueArguments {
    /// `x-queue-type`.
    pub kind: QueueKind,
    /// `x-message-ttl`, in milliseconds. `None`: messages do not expire; 0: at once, unless they can be delivered.
    pub message_ttl_ms: Option<u64>,
    /// `x-expires`, in milliseconds, not 0: how long the queue stays unused before it goes. `None`: for ever.
    pub expires_ms: Option<u64>,
    /// `x-max-length`, in ready messages. `None`: no limit.
    pub length_max: Option<u64>,
    /// `x-max-length-bytes`, in bytes of bodies of ready messages. `None`: no limit.
    pub length_max_bytes: Option<u64>,
    /// `x-overflow`: what happens at a limit.
    pub overflow: Overflow,
    /// `x-max-priority`. `None`: priorities mean nothing.
    pub priority_max: Option<u8>,
    /// `x-dead-letter-exchange`. `None`: dead messages are dropped.
    pub dead_letter_exchange: Option<LongStr>,
    /// `x-dead-letter-routing-key`. `None`: the message's own keys.
    pub dead_letter_routing_key: Option<LongStr>,
    /// `x-dead-letter-strategy`. RabbitMQ has it for quorum queues only; here every queue may.
    pub dead_letter_strategy: DeadLetterStrategy,
    /// `x-single-active-consumer`: whether only one consumer at a time gets messages.
    pub single_active_consumer: bool,
    /// `x-delivery-limit`: how many deliveries of a message may fail; -1 is any number. `None`: what is usual for the type.
    pub delivery_limit: Option<i64>,
    /// `x-consumer-timeout`, in milliseconds: how long a delivery may stay unacked. `None`: as configured.
    pub consumer_timeout_ms: Option<u64>,
    /// `x-consumer-disconnected-timeout` of a quorum queue, in milliseconds: how long messages stay with a consumer whose node cannot be
    /// reached. `None`: as configured.
    pub disconnected_timeout_ms: Option<u64>,
    /// `x-delayed-retry-type`, `-min` and `-max` of a quorum queue: how long what comes back waits.
    pub delayed_retry: RetryArguments,
    /// `x-quorum-initial-group-size`, not 0: how many replicas there are to be, if there are as many nodes. `None`: as configured.
    pub initial_group_size: Option<u32>,
    /// `x-quorum-target-group-size`: how many replicas a quorum queue gets once there are nodes for them. `None`: what the policy says, or
    /// else the configuration.
    pub target_group_size: Option<u32>,
    /// `x-queue-leader-locator`, and `x-queue-master-locator` of a classic queue.
    pub locators: Locators,
    /// `x-message-deduplication` and what belongs to it. `None`: duplicates are messages as all others.
    pub deduplication: Option<Box<Deduplication>>,
}

/// What a queue does with a message too many (RabbitMQ docs: Queue Length Limit).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest ready messages are dropped or dead-lettered.
    #[default]
    DropHead,
    /// The publish is refused, with a nack if the publisher wants confirms.
    RejectPublish,
    /// The publish is refused and the message is dead-lettered.
    RejectPublishDlx,
}

impl Overflow {
    /// What a quorum queue makes of it: RabbitMQ accepts `reject-publish-dlx` there, warns and drops the oldest.
    pub(super) fn of_quorum_queue(self) -> Self {
        if self == Self::RejectPublishDlx { Self::DropHead } else { self }
    }
}

/// What the broker knows of an exchange's arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeArguments {
    /// `alternate-exchange`: who gets messages that no binding matches (RabbitMQ docs: Alternate Exchanges).
    pub alternate_exchange: Option<LongStr>,
    /// `hash-header`, `hash-property`: what a consistent hash exchange hashes.
    pub hash_on: HashOn,
    /// `x-message-deduplication` and what belongs to it. `None`: duplicates are messages as all others.
    pub deduplication: Option<Box<Deduplication>>,
    /// Whether any of these asks for more than passing messages on: a delay, a history, deduplication.
    pub has_aside: bool,
    /// How messages are compared with bindings: the type, or what a delayed exchange has in `x-delayed-type`.
    pub matching: ExchangeKind,
    /// Whether messages may ask to be held back: the type `x-delayed-message`, or LavinMQ's argument `x-delayed-exchange`.
    pub is_delayed: bool,
    /// `x-recent-history-length`: how many messages a recent history exchange keeps.
    pub history_length: u32,
}

/// Arguments that have to be the same when a queue is declared again, in RabbitMQ's order.
pub(super) const QUEUE_EQUIVALENCE: [&str; 20] = [
    "x-expires",
    "x-message-ttl",
    DEAD_LETTER_EXCHANGE,
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-mode",
    "x-queue-version",
    "x-single-active-consumer",
    QUEUE_TYPE,
    "x-queue-master-locator",
    "x-delivery-limit",
    "x-consumer-timeout",
    DISCONNECTED_TIMEOUT,
    RETRY_TYPE,
    RETRY_MIN,
    RETRY_MAX,
];

/// Arguments that have to be the same when an exchange is declared again.
pub(super) const EXCHANGE_EQUIVALENCE: [&str; 1] = [ALTERNATE_EXCHANGE];

/// What a value has to be: `Err` says why it is not, as RabbitMQ does.
type Check = fn(&FieldValue) -> Result<(), String>;

/// Arguments of quorum queues that did not mean anything in the first version, each with its rule.
const LATER: [(&str, Check); 5] = [
    (DISCONNECTED_TIMEOUT, check_not_negative),
    (RETRY_TYPE, check_retry_kind),
    (RETRY_MIN, check_not_negative),
    (RETRY_MAX, check_not_negative),
    (TARGET_SIZE, check_positive),
];

/// Arguments that a classic queue must not have, since only other types know them.
const NOT_CLASSIC: [&str; 6] = [
    "x-initial-cluster-size",
    "x-max-age",
    "x-max-in-memory-bytes",
    "x-max-in-memory-length",
    "x-quorum-initial-group-size",
    "x-stream-max-segment-size-bytes",
];

/// Arguments that a quorum queue must not have.
const NOT_QUORUM: [&str; 7] = [
    "x-initial-cluster-size",
    "x-max-age",
    "x-max-priority",
    "x-queue-master-locator",
    "x-queue-mode",
    "x-queue-version",
    "x-stream-max-segment-size-bytes",
];

pub(super) const QUEUE_TYPE: &str = "x-queue-type";
const TARGET_SIZE: &str = "x-quorum-target-group-size";
const DEAD_LETTER_EXCHANGE: &str = "x-dead-letter-exchange";
const DISCONNECTED_TIMEOUT: &str = "x-consumer-disconnected-timeout";
const RETRY_TYPE: &str = "x-delayed-retry-type";
const RETRY_MIN: &str = "x-delayed-retry-min";
const RETRY_MAX: &str = "x-delayed-retry-max";
const ALTERNATE_EXCHANGE: &str = "alternate-exchange";

/// The longest time to live, in milliseconds: ten years.
pub(crate) const EXPIRY_MAX_MS: i64 = 315_360_000_000;

impl QueueArguments {
    /// Reads the arguments of the queue `what`, which is about to be created.
    pub(super) fn parse(arguments: &FieldTable, what: &Named<'_>) -> Result<Self, AmqpError> {
        check_is_text(arguments, DEAD_LETTER_EXCHANGE, what)?;
        let argument = |name, check: Check| match arguments.get(name) {
            None => Ok(None),
            Some(value) => match check(value) {
                Ok(()) => Ok(Some(value)),
                Err(reason) => Err(refused(format!("invalid arg '{name}' for {what}: {reason}"))),
            },
        };
        argument(QUEUE_TYPE, check_queue_type)?;
        let expires = argument("x-expires", check_expires)?;
        let message_ttl = argument("x-message-ttl", check_message_ttl)?;
        let dead_letter_exchange = arguments.get(DEAD_LETTER_EXCHANGE);
        let dead_letter_routing_key = argument("x-dead-letter-routing-key", check_text)?;
        if dead_letter_routing_key.is_some() && dead_letter_exchange.is_none() {
            let text = format!("invalid arg 'x-dead-letter-routing-key' for {what}: routing_key_but_no_dlx_defined");
            return Err(refused(text));
        }
        let dead_letter_strategy = argument("x-dead-letter-strategy", check_dead_letter_strategy)?;
        let length_max = argument("x-max-length", check_not_negative)?;
        let length_max_bytes = argument("x-max-length-bytes", check_not_negative)?;
        let priority_max = argument("x-max-priority", check_max_priority)?;
        let overflow = argument("x-overflow", check_overflow)?;
        argument("x-queue-mode", check_queue_mode)?;
        argument("x-queue-version", check_queue_version)?;
        let single_active_consumer = argument("x-single-active-consumer", check_bool)?;
        let master_locator = argument("x-queue-master-locator", check_master_locator)?;
        let delivery_limit = argument("x-delivery-limit", check_delivery_limit)?;
        let consumer_timeout = argument("x-consumer-timeout", check_positive)?;
        for name in ["x-max-in-memory-length", "x-max-in-memory-bytes"] {
            argument(name, check_not_negative)?;
        }
        let kind = arguments.get(QUEUE_TYPE).and_then(parse_queue_type).unwrap_or_default();
        let later = |name: &str, check: Check| {
            arguments.get(name).filter(|value| kind == QueueKind::Quorum && check(value).is_ok())
        };
        let initial_group_size = argument("x-quorum-initial-group-size", check_positive)?;
        let leader_locator = argument("x-queue-leader-locator", check_leader_locator)?;
        let (others, module) = match kind {
            QueueKind::Classic => (&NOT_CLASSIC[..], "rabbit_classic_queue"),
            QueueKind::Quorum => (&NOT_QUORUM[..], "rabbit_quorum_queue"),
        };
        if let Some((name, _)) = arguments.iter().find(|(name, _)| others.iter().any(|other| name == other)) {
            return Err(refused(format!("invalid arg '{name}' for {what} of queue type {module}")));
        }
        let overflow = overflow.and_then(parse_overflow).unwrap_or_default();
        let overflow = if kind == QueueKind::Quorum { overflow.of_quorum_queue() } else { overflow };
        Ok(Self {
            kind,
            message_ttl_ms: message_ttl.and_then(to_unsigned),
            expires_ms: expires.and_then(to_unsigned),
            length_max: length_max.and_then(to_unsigned),
            length_max_bytes: length_max_bytes.and_then(to_unsigned),
            overflow,
            priority_max: priority_max.and_then(to_unsigned).and_then(|priority| u8::try_from(priority).ok()),
            dead_letter_exchange: dead_letter_exchange.and_then(to_text),
            dead_letter_routing_key: dead_letter_routing_key.and_then(to_text),
            dead_letter_strategy: dead_letter_strategy.and_then(parse_dead_letter_strategy).unwrap_or_default(),
            single_active_consumer: single_active_consumer.and_then(FieldValue::as_bool).unwrap_or_default(),
            delivery_limit: delivery_limit.and_then(FieldValue::as_integer),
            consumer_timeout_ms: consumer_timeout.and_then(to_unsigned),
            delayed_retry: RetryArguments {
                kind: later(RETRY_TYPE, check_retry_kind).and_then(parse_retry_kind),
                min_ms: later(RETRY_MIN, check_not_negative).and_then(to_unsigned),
                max_ms: later(RETRY_MAX, check_not_negative).and_then(to_unsigned),
            },
            disconnected_timeout_ms: later(DISCONNECTED_TIMEOUT, check_not_negative).and_then(to_unsigned),
            initial_group_size: initial_group_size.and_then(to_size),
            target_group_size: later(TARGET_SIZE, check_positive).and_then(to_size),
            locators: Locators {
                leader: leader_locator.and_then(parse_locator),
                master: master_locator.and_then(parse_locator),
            },
            deduplication: Deduplication::parse(arguments)?,
        })
    }

    /// Checks the arguments that former versions took as they took any that they did not know. A client is told what is wrong with them;
    /// in queues that are there, or that a node with such a version has declared, what is wrong means nothing.
    ///
    /// # Errors
    /// Channel error 406 PRECONDITION_FAILED.
    pub(super) fn check_later(&self, arguments: &FieldTable, what: &Named<'_>) -> Result<(), AmqpError> {
        for (name, check) in LATER {
            let Some(value) = arguments.get(name) else { continue };
            if self.kind == QueueKind::Classic {
                return Err(refused(format!("invalid arg '{name}' for {what} of queue type rabbit_classic_queue")));
            }
            check(value).map_err(|reason| refused(format!("invalid arg '{name}' for {what}: {reason}")))?;
        }
        Ok(())
    }

    /// Reads arguments where nobody is to be told what is wrong with them. `None` if anything is.
    pub(crate) fn read(arguments: &FieldTable) -> Option<Self> {
        Self::parse(arguments, &Named::queue(b"", b"")).ok()
    }

    /// Checks the properties that the type does not allow (RabbitMQ docs: Quorum Queues / Feature Matrix).
    pub(super) fn check_properties(
        &self,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
        what: &Named<'_>,
    ) -> Result<(), AmqpError> {
        if self.kind == QueueKind::Classic {
            return Ok(());
        }
        let wrong = match (durable, auto_delete, exclusive) {
            (_, true, _) => "auto-delete",
            (_, _, true) => "exclusive-owner",
            (false, ..) => "non-durable",
            (true, false, false) => return Ok(()),
        };
        Err(refused(format!("invalid property '{wrong}' for {what}")))
    }
}

impl ExchangeArguments {
    /// Those of an exchange of a type that has been declared without any.
    pub(super) fn of_kind(kind: ExchangeKind) -> Self {
        let (alternate_exchange, hash_on) = (None, HashOn::default());
        Self {
            alternate_exchange,
            hash_on,
            deduplication: None,
            has_aside: false,
            matching: kind,
            is_delayed: false,
            history_length: 0,
        }
    }

    /// Reads the arguments of the exchange `what`, which is about to be created.
    pub(super) fn parse(kind: ExchangeKind, arguments: &FieldTable, what: &Named<'_>) -> Result<Self, AmqpError> {
        check_is_text(arguments, ALTERNATE_EXCHANGE, what)?;
        let matching = if kind == ExchangeKind::Delayed { delayed_type(arguments)? } else { kind };
        let is_hash = matching == ExchangeKind::ConsistentHash;
        let asks_for_delay = arguments.get("x-delayed-exchange").and_then(FieldValue::as_bool);
        let is_delayed = kind == ExchangeKind::Delayed || asks_for_delay == Some(true);
        let deduplication = Deduplication::parse(arguments)?;
        let history_length = if matching == ExchangeKind::RecentHistory { history_length(arguments)? } else { 0 };
        Ok(Self {
            alternate_exchange: arguments.get(ALTERNATE_EXCHANGE).and_then(to_text),
            hash_on: if is_hash { HashOn::parse(arguments)? } else { HashOn::default() },
            has_aside: is_delayed || deduplication.is_some() || history_length > 0,
            deduplication,
            matching,
            is_delayed,
            history_length,
        })
    }
}

/// The type that a delayed exchange has once the delay is over. Texts as RabbitMQ's plugin has them.
fn delayed_type(arguments: &FieldTable) -> Result<ExchangeKind, AmqpError> {
    match arguments.get("x-delayed-type") {
        Some(FieldValue::LongStr(name)) => match ExchangeKind::from_name(name.as_bytes()) {
            Some(ExchangeKind::Delayed) => {
                Err(refused("Invalid argument, 'x-delayed-message' can't be used for 'x-delayed-type'".into()))
            }
            Some(kind) => Ok(kind),
            None => Err(refused(format!("unknown exchange type '{}'", name.to_string_lossy()))),
        },
        _ => Err(refused("Invalid argument, 'x-delayed-type' must be an existing exchange type".into())),
    }
}

/// How many messages a recent history exchange keeps: RabbitMQ's plugin says 20 unless told otherwise.
fn history_length(arguments: &FieldTable) -> Result<u32, AmqpError> {
    const KEY: &str = "x-recent-history-length";
    let Some(value) = arguments.get(KEY) else { return Ok(20) };
    match value.as_integer() {
        Some(length) if length > 0 => Ok(u32::try_from(length).unwrap_or(u32::MAX)),
        _ => Err(refused(format!("Invalid argument {}, '{KEY}' must be a positive integer", ErlangTerm(value)))),
    }
}

/// The names of other exchanges are checked before all else, with a text of their own.
fn check_is_text(arguments: &FieldTable, name: &str, what: &Named<'_>) -> Result<(), AmqpError> {
    match arguments.get(name) {
        None | Some(FieldValue::LongStr(_)) => Ok(()),
        Some(other) => Err(refused(format!("invalid type '{}' for arg '{name}' in {what}", other.type_name()))),
    }
}

fn refused(text: String) -> AmqpError {
    AmqpError::channel(ReplyCode::PreconditionFailed, text)
}

fn to_unsigned(value: &FieldValue) -> Option<u64> {
    u64::try_from(value.as_integer()?).ok()
}

fn to_text(value: &FieldValue) -> Option<LongStr> {
    match value {
        FieldValue::LongStr(text) => Some(text.clone()),
        _ => None,
    }
}

fn check_integer(value: &FieldValue) -> Result<i64, String> {
    value.as_integer().ok_or_else(|| format!("\"expected integer, got {}\"", value.type_name()))
}

fn check_not_negative(value: &FieldValue) -> Result<(), String> {
    let number = check_integer(value)?;
    if number >= 0 { Ok(()) } else { Err(format!("{{value_negative,{number}}}")) }
}

fn check_positive(value: &FieldValue) -> Result<(), String> {
    match check_integer(value)? {
        0 => Err(String::from("{value_zero,0}")),
        number if number > 0 => Ok(()),
        number => Err(format!("{{value_negative,{number}}}")),
    }
}

/// RabbitMQ 4.0.4 and later take -1 for no limit.
fn check_delivery_limit(value: &FieldValue) -> Result<(), String> {
    if check_integer(value)? == -1 { Ok(()) } else { check_not_negative(value) }
}

/// More than there can be nodes are all nodes.
fn to_size(value: &FieldValue) -> Option<u32> {
    to_unsigned(value).map(|size| u32::try_from(size).unwrap_or(u32::MAX))
}

fn check_leader_locator(value: &FieldValue) -> Result<(), String> {
    check_text(value)?;
    let is_known = [&b"balanced"[..], b"client-local", b"least-leaders", b"random"]
        .contains(&value.as_bytes().unwrap_or_default());
    if is_known { Ok(()) } else { Err(String::from("invalid_queue_locator_arg")) }
}

fn parse_locator(value: &FieldValue) -> Option<LeaderLocator> {
    LeaderLocator::named(value.as_bytes()?)
}

fn check_message_ttl(value: &FieldValue) -> Result<(), String> {
    check_not_negative(value)?;
    let number = check_integer(value)?;
    if number <= EXPIRY_MAX_MS { Ok(()) } else { Err(format!("{{value_too_large,{number}}}")) }
}

fn check_expires(value: &FieldValue) -> Result<(), String> {
    if check_integer(value)? == 0 {
        return Err(String::from("{value_zero,0}"));
    }
    check_message_ttl(value)
}

fn check_max_priority(value: &FieldValue) -> Result<(), String> {
    check_not_negative(value)?;
    let number = check_integer(value)?;
    if number <= 255 { Ok(()) } else { Err(format!("{{max_value_exceeded,{number}}}")) }
}

fn check_queue_version(value: &FieldValue) -> Result<(), String> {
    check_not_negative(value)?;
    match check_integer(value)? {
        1 | 2 => Ok(()),
        other => Err(format!("\"unsupported queue version '{other}'\"")),
    }
}

fn unacceptable_type(value: &FieldValue) -> String {
    format!("{{unacceptable_type,{}}}", value.type_name())
}

fn check_text(value: &FieldValue) -> Result<(), String> {
    match value {
        FieldValue::LongStr(_) => Ok(()),
        other => Err(unacceptable_type(other)),
    }
}

fn check_bool(value: &FieldValue) -> Result<(), String> {
    match value {
        FieldValue::Bool(_) => Ok(()),
        other => Err(unacceptable_type(other)),
    }
}

fn check_overflow(value: &FieldValue) -> Result<(), String> {
    check_text(value)?;
    if parse_overflow(value).is_some() { Ok(()) } else { Err(String::from("invalid_overflow")) }
}

fn parse_overflow(value: &FieldValue) -> Option<Overflow> {
    match value.as_bytes()? {
        b"drop-head" => Some(Overflow::DropHead),
        b"reject-publish" => Some(Overflow::RejectPublish),
        b"reject-publish-dlx" => Some(Overflow::RejectPublishDlx),
        _ => None,
    }
}

fn check_retry_kind(value: &FieldValue) -> Result<(), String> {
    check_text(value)?;
    if parse_retry_kind(value).is_some() { Ok(()) } else { Err(String::from("invalid_delayed_retry_type")) }
}

fn parse_retry_kind(value: &FieldValue) -> Option<RetryKind> {
    RetryKind::parse(value.as_bytes()?)
}

fn check_dead_letter_strategy(value: &FieldValue) -> Result<(), String> {
    check_text(value)?;
    if parse_dead_letter_strategy(value).is_some() { Ok(()) } else { Err(String::from("invalid_dlx_strategy")) }
}

fn parse_dead_letter_strategy(value: &FieldValue) -> Option<DeadLetterStrategy> {
    match value.as_bytes()? {
        b"at-most-once" => Some(DeadLetterStrategy::AtMostOnce),
        b"at-least-once" => Some(DeadLetterStrategy::AtLeastOnce),
        _ => None,
    }
}

fn check_queue_mode(value: &FieldValue) -> Result<(), String> {
    check_one_of(value, &["default", "lazy"], "queue mode")
}

/// RabbitMQ refuses unknown types with this text; streams are among them until they are there.
fn check_queue_type(value: &FieldValue) -> Result<(), String> {
    check_one_of(value, &["classic", "quorum"], "queue type")
}

fn parse_queue_type(value: &FieldValue) -> Option<QueueKind> {
    match value.as_bytes()? {
        b"quorum" => Some(QueueKind::Quorum),
        _ => Some(QueueKind::Classic),
    }
}

/// RabbitMQ 3.10 fails with an internal error over an unknown locator.
fn check_master_locator(value: &FieldValue) -> Result<(), String> {
    check_one_of(value, &["client-local", "min-masters", "random"], "queue master locator")
}

fn check_one_of(value: &FieldValue, known: &[&str], what: &str) -> Result<(), String> {
    check_text(value)?;
    let is_known = known.iter().any(|known| value.as_bytes() == Some(known.as_bytes()));
    if is_known { Ok(()) } else { Err(format!("\"unsupported {what} '{}'\"", Plain(value))) }
}

/// A value as Erlang's `~s` prints text and `~p` the rest.
pub(super) struct Plain<'a>(pub(super) &'a FieldValue);

impl core::fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            FieldValue::LongStr(text) | FieldValue::Bytes(text) => f.write_str(&text.to_string_lossy()),
            other => ErlangTerm(other).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &'static str, value: impl Into<FieldValue>) -> Result<QueueArguments, AmqpError> {
        QueueArguments::parse(&FieldTable::new().with(name, value), &Named::queue(b"q", b"/"))
    }

    fn refusal(name: &'static str, value: impl Into<FieldValue>) -> String {
        String::from(parse(name, value).unwrap_err().text)
    }

    #[test]
    fn known_arguments_are_read() {
        let all = FieldTable::new()
            .with("x-message-ttl", 0)
            .with("x-expires", FieldValue::I64(315_360_000_000))
            .with("x-max-length", FieldValue::U8(5))
            .with("x-max-length-bytes", 6)
            .with("x-overflow", "reject-publish-dlx")
            .with("x-max-priority", 255)
            .with("x-dead-letter-exchange", "dlx")
            .with("x-dead-letter-routing-key", "dead")
            .with("x-single-active-consumer", true)
            .with("x-queue-type", "classic")
            .with("x-queue-mode", "lazy")
            .with("x-queue-version", 2)
            .with("x-queue-master-locator", "min-masters")
            .with("x-anything", "else");
        let parsed = QueueArguments::parse(&all, &Named::queue(b"q", b"/")).unwrap();
        let expected = QueueArguments {
            kind: QueueKind::Classic,
            message_ttl_ms: Some(0),
            expires_ms: Some(315_360_000_000),
            length_max: Some(5),
            length_max_bytes: Some(6),
            overflow: Overflow::RejectPublishDlx,
            priority_max: Some(255),
            dead_letter_exchange: Some("dlx".into()),
            dead_letter_routing_key: Some("dead".into()),
            delivery_limit: None,
            consumer_timeout_ms: None,
            disconnected_timeout_ms: None,
            delayed_retry: RetryArguments::default(),
            dead_letter_strategy: DeadLetterStrategy::AtMostOnce,
            single_active_consumer: true,
            initial_group_size: None,
            target_group_size: None,
            locators: Locators { leader: None, master: Some(LeaderLocator::Balanced) },
            deduplication: None,
        };
        assert_eq!(parsed, expected);
        assert_eq!(parse("x-ha-policy", "all").unwrap(), QueueArguments::default());
    }

    /// Texts as RabbitMQ 3.10.8 gives them.
    #[test]
    fn bad_arguments_are_refused() {
        let check = |name: &'static str, value: FieldValue, reason: &str| {
            assert_eq!(refusal(name, value), format!("invalid arg '{name}' for queue 'q' in vhost '/': {reason}"));
        };
        check("x-expires", 0.into(), "{value_zero,0}");
        check("x-expires", (-1).into(), "{value_negative,-1}");
        check("x-expires", "a".into(), "\"expected integer, got longstr\"");
        check("x-expires", FieldValue::I64(315_360_000_001), "{value_too_large,315360000001}");
        check("x-expires", true.into(), "\"expected integer, got bool\"");
        check("x-message-ttl", (-1).into(), "{value_negative,-1}");
        check("x-message-ttl", "5".into(), "\"expected integer, got longstr\"");
        check("x-max-length", (-1).into(), "{value_negative,-1}");
        check("x-max-length-bytes", "a".into(), "\"expected integer, got longstr\"");
        check("x-max-priority", 256.into(), "{max_value_exceeded,256}");
        check("x-max-priority", (-1).into(), "{value_negative,-1}");
        check("x-overflow", "foo".into(), "invalid_overflow");
        check("x-overflow", 5.into(), "{unacceptable_type,signedint}");
        check("x-queue-mode", "foo".into(), "\"unsupported queue mode 'foo'\"");
        check("x-queue-mode", 5.into(), "{unacceptable_type,signedint}");
        check("x-queue-version", 3.into(), "\"unsupported queue version '3'\"");
        check("x-queue-version", "a".into(), "\"expected integer, got longstr\"");
        check("x-single-active-consumer", 1.into(), "{unacceptable_type,signedint}");
        check("x-queue-type", "foo".into(), "\"unsupported queue type 'foo'\"");
        check("x-queue-type", 5.into(), "{unacceptable_type,signedint}");
        check("x-dead-letter-routing-key", "x".into(), "routing_key_but_no_dlx_defined");
        check("x-dead-letter-routing-key", 5.into(), "{unacceptable_type,signedint}");
        assert_eq!(
            refusal("x-dead-letter-exchange", 5),
            "invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' in vhost '/'"
        );
        assert_eq!(
            refusal("x-max-in-memory-length", 5),
            "invalid arg 'x-max-in-memory-length' for queue 'q' in vhost '/' of queue type rabbit_classic_queue"
        );
    }

    #[test]
    fn later_arguments_are_checked_for_clients_only() {
        let what = Named::queue(b"q", b"/");
        let quorum = |name: &'static str, value: FieldValue| {
            let arguments = FieldTable::new().with(QUEUE_TYPE, "quorum").with(name, value);
            let parsed = QueueArguments::parse(&arguments, &what).unwrap();
            (parsed.check_later(&arguments, &what).map_err(|error| error.text), parsed)
        };
        let (checked, parsed) = quorum(DISCONNECTED_TIMEOUT, 5.into());
        assert_eq!((checked, parsed.disconnected_timeout_ms), (Ok(()), Some(5)));
        let (checked, parsed) = quorum(DISCONNECTED_TIMEOUT, (-1).into());
        let text = "invalid arg 'x-consumer-disconnected-timeout' for queue 'q' in vhost '/': {value_negative,-1}";
        assert_eq!((checked.unwrap_err().as_ref(), parsed.disconnected_timeout_ms), (text, None));
        let (checked, parsed) = quorum(RETRY_TYPE, "often".into());
        let text = "invalid arg 'x-delayed-retry-type' for queue 'q' in vhost '/': invalid_delayed_retry_type";
        assert_eq!((checked.unwrap_err().as_ref(), parsed.delayed_retry), (text, RetryArguments::default()));
        let (checked, parsed) = quorum(RETRY_TYPE, "failed".into());
        assert_eq!((checked, parsed.delayed_retry.kind), (Ok(()), Some(RetryKind::Failed)));
        let classic = FieldTable::new().with(DISCONNECTED_TIMEOUT, 5);
        let parsed = QueueArguments::parse(&classic, &what).unwrap();
        let text = "invalid arg 'x-consumer-disconnected-timeout' for queue 'q' in vhost '/' of queue type rabbit_classic_queue";
        assert_eq!(parsed.check_later(&classic, &what).unwrap_err().text, text);
        assert_eq!(parsed, QueueArguments::default());
    }

    #[test]
    fn limits_are_met_exactly() {
        assert_eq!(parse("x-max-priority", 0).unwrap().priority_max, Some(0));
        assert_eq!(parse("x-max-priority", FieldValue::U8(255)).unwrap().priority_max, Some(255));
        assert_eq!(
            parse("x-message-ttl", FieldValue::I64(EXPIRY_MAX_MS)).unwrap().message_ttl_ms,
            Some(315_360_000_000)
        );
        assert_eq!(parse("x-expires", 1).unwrap().expires_ms, Some(1));
    }

    #[test]
    fn a_quorum_queue_may_say_how_many_replicas_it_wants_and_who_leads_them() {
        let parse = |name, value: FieldValue| {
            let arguments = FieldTable::new().with("x-queue-type", "quorum").with(name, value);
            QueueArguments::parse(&arguments, &Named::queue(b"q", b"/"))
        };
        let size = |value| parse("x-quorum-initial-group-size", value);
        assert_eq!(size(1.into()).unwrap().initial_group_size, Some(1));
        assert_eq!(size(FieldValue::I64(1 << 40)).unwrap().initial_group_size, Some(u32::MAX));
        let refused = |value, reason: &str| {
            let expected = format!("invalid arg 'x-quorum-initial-group-size' for queue 'q' in vhost '/': {reason}");
            assert_eq!(size(value).unwrap_err().text, expected);
        };
        refused(0.into(), "{value_zero,0}");
        refused((-1).into(), "{value_negative,-1}");
        refused("3".into(), "\"expected integer, got longstr\"");
        for (name, locator) in [
            ("client-local", LeaderLocator::ClientLocal),
            ("balanced", LeaderLocator::Balanced),
            ("least-leaders", LeaderLocator::Balanced),
            ("random", LeaderLocator::Balanced),
        ] {
            assert_eq!(parse("x-queue-leader-locator", name.into()).unwrap().locators.leader, Some(locator));
        }
    }

    #[test]
    fn an_alternate_exchange_is_text() {
        let what = Named::exchange(b"e", b"/");
        let parse = |value: FieldValue| {
            let arguments = FieldTable::new().with("alternate-exchange", value);
            ExchangeArguments::parse(ExchangeKind::Direct, &arguments, &what)
        };
        assert_eq!(parse("ae".into()).unwrap().alternate_exchange, Some("ae".into()));
        let error = parse(5.into()).unwrap_err();
        assert_eq!(error.text, "invalid type 'signedint' for arg 'alternate-exchange' in exchange 'e' in vhost '/'");
    }
}
