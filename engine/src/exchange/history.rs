//! The last messages of an exchange, for who binds to it later (RabbitMQ's plugin `x-recent-history`).
//!
//! They are in memory only: a restart forgets them, as the plugin does.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use crate::amqp::FieldValue;
use crate::limits;
use crate::message::Message;

/// The last messages of one exchange.
#[derive(Debug)]
pub(crate) struct History {
    length_max: u32,
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
}

impl History {
    pub(crate) fn new(length_max: u32) -> Self {
        Self { length_max, messages: VecDeque::new(), bytes: 0 }
    }

    /// Keeps a message, unless it asks not to be (`x-recent-history-no-store`). The oldest make room.
    pub(crate) fn keep(&mut self, message: &Arc<Message>) {
        let no_store = message.raw_properties().header("x-recent-history-no-store");
        if no_store.as_ref().and_then(FieldValue::as_bool) == Some(true) {
            return;
        }
        self.messages.push_back(Arc::clone(message));
        self.bytes += message.memory_bytes();
        while self.messages.len() > self.length_max as usize || self.bytes > limits::HISTORY_BYTES_MAX {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes -= oldest.memory_bytes();
        }
    }

    /// What is kept, oldest first.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.messages.iter()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use bytes::Bytes;

    use super::*;
    use crate::amqp::{FieldTable, Properties, RawProperties, Routing};

    fn message(body: Bytes, headers: FieldTable) -> Arc<Message> {
        let properties = RawProperties::from(&Properties { headers: Some(headers), ..Properties::default() });
        Arc::new(Message::new(&Routing::default(), &properties, body))
    }

    fn bodies(history: &History) -> Vec<u8> {
        history.messages().map(|message| message.body()[0]).collect()
    }

    #[test]
    fn the_last_ones_are_kept() {
        let mut history = History::new(2);
        for body in [&b"a"[..], b"b", b"c"] {
            history.keep(&message(Bytes::from_static(body), FieldTable::new()));
        }
        assert_eq!(bodies(&history), b"bc");
        let no_store = FieldTable::new().with("x-recent-history-no-store", true);
        history.keep(&message(Bytes::from_static(b"d"), no_store));
        assert_eq!(bodies(&history), b"bc");
    }

    #[test]
    fn their_bytes_are_bounded() {
        let mut history = History::new(u32::MAX);
        for body in 0..10_u8 {
            history.keep(&message(Bytes::from(alloc::vec![body; limits::HISTORY_BYTES_MAX / 4]), FieldTable::new()));
        }
        assert_eq!(bodies(&history), [7, 8, 9]);
    }
}
