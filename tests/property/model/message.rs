//! Messages as they were published, and as they lie in a queue.

use std::rc::Rc;

use leveret_engine::amqp::{FieldTable, FieldValue, Properties, ShortStr};

/// A message on its way: what a consumer will see of it, and its routing keys.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) exchange: String,
    /// The routing key of the publish, then those of `CC`.
    pub(super) keys: Vec<String>,
    /// Those of `BCC`, which nobody sees.
    pub(super) hidden_keys: Vec<String>,
    pub(super) properties: Properties,
    pub(super) body: String,
}

/// A message in one queue.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) message: Rc<Message>,
    /// Its place: the lower the earlier. It keeps it when it is requeued.
    pub(super) position: u64,
    /// It was delivered before.
    pub(super) redelivered: bool,
    /// Capped at what the queue knows; 0 where there are no priorities.
    pub(super) priority: u8,
    /// When it expires; `None` for never.
    pub(super) expires_at: Option<u64>,
    /// Delivery attempts that failed.
    pub(super) failures: u64,
    /// Delivery attempts after which it came back, in a quorum queue.
    pub(super) acquired: u64,
    /// In a quorum queue, when it came back among all that did; such messages are first whatever their priority.
    pub(super) returned: Option<u64>,
}

impl Message {
    pub(super) fn is_persistent(&self) -> bool {
        self.properties.delivery_mode == Some(2)
    }

    pub(super) fn header(&self, name: &str) -> Option<&FieldValue> {
        self.properties.headers.as_ref().and_then(|headers| headers.get(name))
    }

    /// All keys it goes by.
    pub(super) fn all_keys(&self) -> Vec<String> {
        [self.keys.as_slice(), &self.hidden_keys].concat()
    }

    /// The texts in a header that holds a list of them.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let values = self.header(name).and_then(FieldValue::as_array).unwrap_or_default();
        values.iter().filter_map(FieldValue::as_str).map(ToOwned::to_owned).collect()
    }
}

/// Whether the headers, and all else, are the same; the order of headers is nobody's promise.
pub(super) fn is_same(one: &Properties, other: &Properties) -> bool {
    let sorted = |properties: &Properties| {
        let mut properties = properties.clone();
        properties.headers = properties.headers.as_ref().map(sorted_table);
        properties
    };
    sorted(one) == sorted(other)
}

fn sorted_table(table: &FieldTable) -> FieldTable {
    let mut entries: Vec<(ShortStr, FieldValue)> =
        table.iter().map(|(name, value)| (name.clone(), sorted_value(value))).collect();
    entries.sort_by(|(one, _), (other, _)| one.as_bytes().cmp(other.as_bytes()));
    let mut sorted = FieldTable::new();
    for (name, value) in entries {
        sorted.push(name, value);
    }
    sorted
}

fn sorted_value(value: &FieldValue) -> FieldValue {
    match value {
        FieldValue::Table(table) => FieldValue::Table(sorted_table(table)),
        FieldValue::Array(values) => FieldValue::Array(values.iter().map(sorted_value).collect()),
        other => other.clone(),
    }
}
