//! What arguments and policies say together (RabbitMQ docs: Policies / precedence).
//!
//! Of two limits the stricter holds. For everything else an argument wins over a policy, except the overflow of quorum queues, where
//! the policy wins.

use serde_json::Value;

use super::policy::{JsonMap, PolicyTarget, stricter};
use super::settings::{DeadLetterStrategy, QueueSettings, RetryArguments, RetryKind};
use super::{Exchange, Mirroring, Overflow, QueueRecord};
use crate::amqp::LongStr;

impl QueueRecord {
    /// Which policies are for it.
    pub(super) fn policy_target(&self) -> PolicyTarget {
        let kind = self.raw_arguments.get("x-queue-type").and_then(|kind| kind.as_bytes());
        if kind == Some(b"quorum") { PolicyTarget::QuorumQueue } else { PolicyTarget::ClassicQueue }
    }

    /// Finds its settings again. Whether they are others than before.
    pub(super) fn merge_settings(&mut self) -> bool {
        let own = QueueSettings::from_arguments(&self.arguments);
        let settings = match &self.policies {
            None => own,
            Some(policies) => {
                let has_overflow = self.raw_arguments.get("x-overflow").is_some();
                let is_quorum = self.policy_target() == PolicyTarget::QuorumQueue;
                let has_strategy = self.raw_arguments.get("x-dead-letter-strategy").is_some();
                let has_limit = self.raw_arguments.get("x-delivery-limit").is_some();
                let policy = &policies.definition;
                let mut merged = QueueSettings {
                    message_ttl_ms: least(own.message_ttl_ms, policy, "message-ttl"),
                    expires_ms: least(own.expires_ms, policy, "expires"),
                    length_max: least(own.length_max, policy, "max-length"),
                    length_max_bytes: least(own.length_max_bytes, policy, "max-length-bytes"),
                    consumer_timeout_ms: least(own.consumer_timeout_ms, policy, "consumer-timeout"),
                    disconnected_timeout_ms: least(
                        own.disconnected_timeout_ms,
                        policy,
                        "consumer-disconnected-timeout",
                    ),
                    // Of two the greater, as of a policy and an operator policy.
                    target_group_size: if is_quorum {
                        let theirs = policy.get("target-group-size").and_then(Value::as_u64);
                        own.target_group_size.max(theirs.map(|size| u32::try_from(size).unwrap_or(u32::MAX)))
                    } else {
                        None
                    },
                    delayed_retry: if is_quorum {
                        self.arguments.delayed_retry.with_policy(policy).settle()
                    } else {
                        own.delayed_retry
                    },
                    dead_letter_exchange: text(own.dead_letter_exchange, policy, "dead-letter-exchange"),
                    dead_letter_routing_key: text(own.dead_letter_routing_key, policy, "dead-letter-routing-key"),
                    ..own
                };
                if let Some(overflow) = policy.get("overflow").and_then(overflow)
                    && (!has_overflow || is_quorum)
                {
                    merged.overflow = if is_quorum { overflow.of_quorum_queue() } else { overflow };
                }
                if !is_quorum {
                    merged.mirroring = Mirroring::of(policy);
                }
                if let Some(strategy) = policy.get("dead-letter-strategy").and_then(Value::as_str)
                    && !has_strategy
                {
                    merged.dead_letter_strategy = match strategy {
                        "at-least-once" => DeadLetterStrategy::AtLeastOnce,
                        _ => DeadLetterStrategy::AtMostOnce,
                    };
                }
                if let Some(limit) = policy.get("delivery-limit").and_then(Value::as_i64) {
                    let own = has_limit.then_some(merged.delivery_limit.map_or(-1, i64::from));
                    let limit = own.map_or(limit, |own| stricter(own, limit));
                    // More deliveries than can be counted are no limit.
                    merged.delivery_limit = u16::try_from(limit).ok();
                }
                merged
            }
        };
        let is_changed = settings != self.settings;
        self.settings = settings;
        is_changed
    }
}

impl Exchange {
    /// Finds its settings again.
    pub(super) fn merge_settings(&mut self) {
        let own = self.arguments.alternate_exchange.clone();
        self.settings.alternate_exchange = match &self.policies {
            None => own,
            Some(policies) => text(own, &policies.definition, "alternate-exchange"),
        };
    }
}

impl RetryArguments {
    /// The same with what a policy adds. Of two times the one holds that leaves less to choose: the longer of the shortest, the shorter
    /// of the longest, as with operator policies.
    fn with_policy(self, policy: &JsonMap) -> Self {
        let kind = policy.get("delayed-retry-type").and_then(Value::as_str);
        let min_ms = policy.get("delayed-retry-min").and_then(Value::as_u64);
        Self {
            kind: self.kind.or_else(|| RetryKind::parse(kind?.as_bytes())),
            min_ms: self.min_ms.max(min_ms),
            max_ms: least(self.max_ms, policy, "delayed-retry-max"),
        }
    }
}

fn least(own: Option<u64>, policy: &JsonMap, key: &str) -> Option<u64> {
    let theirs = policy.get(key).and_then(Value::as_u64);
    match (own, theirs) {
        (Some(own), Some(theirs)) => Some(own.min(theirs)),
        (one, other) => one.or(other),
    }
}

fn text(own: Option<LongStr>, policy: &JsonMap, key: &str) -> Option<LongStr> {
    own.or_else(|| policy.get(key).and_then(Value::as_str).map(|text| LongStr::from(text.as_bytes().to_vec())))
}

fn overflow(value: &Value) -> Option<Overflow> {
    match value.as_str()? {
        "drop-head" => Some(Overflow::DropHead),
        "reject-publish" => Some(Overflow::RejectPublish),
        "reject-publish-dlx" => Some(Overflow::RejectPublishDlx),
        _ => None,
    }
}
