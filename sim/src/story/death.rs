//! What a message's headers say of its deaths (RabbitMQ docs: Dead Letter Exchanges / effects on messages).

use super::fact::Reason;
use crate::field::{Value, find};
use crate::message::{has_expiration, headers};

/// All dead-letter headers of one delivery.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deaths {
    /// `x-death`, newest first.
    pub(crate) entries: Vec<Death>,
    /// `x-first-death-queue` and `-reason`.
    pub(crate) first: Option<(Vec<u8>, Vec<u8>)>,
    /// `x-last-death-queue` and `-reason`.
    pub(crate) last: Option<(Vec<u8>, Vec<u8>)>,
    /// Whether the properties have an expiration.
    pub(crate) has_expiration: bool,
}

/// One entry of `x-death`.
#[derive(Clone, Debug)]
pub(crate) struct Death {
    pub(crate) queue: Vec<u8>,
    pub(crate) reason: Reason,
    pub(crate) count: u32,
}

impl Deaths {
    /// Reads them from properties as they are on the wire.
    pub(crate) fn of(properties: &[u8]) -> Self {
        let fields = headers(properties);
        let text = |name: &str| find(&fields, name).and_then(Value::as_text).map(<[u8]>::to_vec);
        let Some(Value::List(list)) = find(&fields, "x-death") else { return Self::default() };
        let entries = list.iter().map(|entry| {
            let text = |name: &str| entry.field(name).and_then(Value::as_text).unwrap_or_default();
            let count = entry.field("count").and_then(Value::as_number).unwrap_or(0);
            Death {
                queue: text("queue").to_vec(),
                reason: Reason::parse(text("reason")),
                count: u32::try_from(count).unwrap_or(u32::MAX),
            }
        });
        Self {
            entries: entries.collect(),
            first: text("x-first-death-queue").zip(text("x-first-death-reason")),
            last: text("x-last-death-queue").zip(text("x-last-death-reason")),
            has_expiration: has_expiration(properties),
        }
    }

    /// How often it died in all.
    pub(crate) fn total(&self) -> u32 {
        self.entries.iter().fold(0, |sum, death| sum.saturating_add(death.count))
    }
}
