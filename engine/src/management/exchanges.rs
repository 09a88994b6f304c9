//! Exchanges and bindings, listed.

use crate::amqp::{FieldTable, LongStr, ShortStr};
use crate::time::Timestamp;

/// What is asked about exchanges and bindings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExchangeRequest {
    /// All exchanges, of one vhost or of all. Answered by [`super::AdminReply::Exchanges`].
    List {
        /// The vhost; `None` is all.
        vhost: Option<ShortStr>,
    },
    /// All bindings, of one vhost or of all, with those of the default exchange, which every queue has. Answered by
    /// [`super::AdminReply::Bindings`].
    ListBindings {
        /// The vhost; `None` is all.
        vhost: Option<ShortStr>,
    },
    /// What a delayed exchange holds back, first due first. Answered by [`super::AdminReply::Delayed`].
    ListDelayed {
        /// The exchange's vhost.
        vhost: ShortStr,
        /// Its name.
        exchange: ShortStr,
        /// At most so many.
        count: usize,
    },
    /// Takes a message back that a delayed exchange holds. Answered by [`super::AdminReply::Count`].
    CancelDelayed {
        /// The exchange's vhost.
        vhost: ShortStr,
        /// Its name.
        exchange: ShortStr,
        /// Its [`DelayedMessage::sequence`].
        sequence: u64,
    },
    /// Takes all messages with one `message-id` back that a delayed exchange holds. Answered by [`super::AdminReply::Count`].
    CancelDelayedById {
        /// The exchange's vhost.
        vhost: ShortStr,
        /// Its name.
        exchange: ShortStr,
        /// Their `message-id`.
        message_id: ShortStr,
    },
}

/// A message that a delayed exchange holds back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayedMessage {
    /// Its number in the exchange's hold.
    pub sequence: u64,
    /// When it is due.
    pub due: Timestamp,
    /// Bytes of its body.
    pub bytes: u32,
    /// Its routing key. `None` if it is only on disk.
    pub routing_key: Option<ShortStr>,
    /// Its `message-id`. `None` if it has none or is only on disk.
    pub message_id: Option<ShortStr>,
}

/// One exchange as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeInfo {
    /// Its vhost.
    pub vhost: ShortStr,
    /// Its name; empty for the default exchange.
    pub name: ShortStr,
    /// Its type, as it was declared.
    pub kind: &'static str,
    /// Whether it survives a restart.
    pub durable: bool,
    /// Whether it goes with its last binding as a source.
    pub auto_delete: bool,
    /// Whether only other exchanges may send to it.
    pub internal: bool,
    /// Its arguments, as they were declared.
    pub arguments: FieldTable,
    /// Messages that it holds back.
    pub messages_delayed: u64,
    /// Bytes of their bodies.
    pub bytes_delayed: u64,
    /// The name of the policy that applies to it.
    pub policy: Option<ShortStr>,
    /// Who gets messages that no binding matches, as the arguments or else the policy name it; `None`: nobody.
    pub alternate_exchange: Option<LongStr>,
}

/// One binding.
#[derive(Clone, Debug, PartialEq)]
pub struct BindingInfo {
    /// Its vhost.
    pub vhost: ShortStr,
    /// The exchange that messages come from; empty for the default exchange.
    pub source: ShortStr,
    /// Where they go.
    pub destination: ShortStr,
    /// Whether that is a queue. Otherwise it is an exchange.
    pub leads_to_queue: bool,
    /// The binding key.
    pub routing_key: ShortStr,
    /// Its arguments, sorted by name.
    pub arguments: FieldTable,
}
