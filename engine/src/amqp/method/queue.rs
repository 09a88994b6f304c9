//! Class `queue` (AMQP 0-9-1 §1.7).

use crate::amqp::{FieldTable, ShortStr};

class! { 50;
    /// Creates a queue, or checks that it is there.
    Declare = 10 "queue.declare" {
        [u16]
        /// The queue's name; empty to have one made.
        queue: ShortStr,
        /// Only ask whether it exists.
        passive: bool,
        /// It survives a restart.
        durable: bool,
        /// Only this connection may use it, and it goes with the connection.
        exclusive: bool,
        /// It goes with its last consumer.
        auto_delete: bool,
        /// No answer is wanted.
        no_wait: bool,
        /// Type, limits and the like.
        arguments: FieldTable,
    }
    /// The queue exists.
    DeclareOk = 11 "queue.declare-ok" {
        /// The queue's name.
        queue: ShortStr,
        /// Ready messages.
        message_count: u32,
        /// Active consumers.
        consumer_count: u32,
    }
    /// Binds a queue to an exchange.
    Bind = 20 "queue.bind" {
        [u16]
        /// The queue's name; empty for the last declared on this channel.
        queue: ShortStr,
        /// The exchange's name.
        exchange: ShortStr,
        /// The binding key.
        routing_key: ShortStr,
        /// No answer is wanted.
        no_wait: bool,
        /// Arguments of the exchange's type.
        arguments: FieldTable,
    }
    /// The binding exists.
    BindOk = 21 "queue.bind-ok" {}
    /// Drops the ready messages.
    Purge = 30 "queue.purge" {
        [u16]
        /// The queue's name; empty for the last declared on this channel.
        queue: ShortStr,
        /// No answer is wanted.
        no_wait: bool,
    }
    /// The messages are gone.
    PurgeOk = 31 "queue.purge-ok" {
        /// How many there were.
        message_count: u32,
    }
    /// Deletes a queue.
    Delete = 40 "queue.delete" {
        [u16]
        /// The queue's name; empty for the last declared on this channel.
        queue: ShortStr,
        /// Only if it has no consumers.
        if_unused: bool,
        /// Only if it has no messages.
        if_empty: bool,
        /// No answer is wanted.
        no_wait: bool,
    }
    /// The queue is gone.
    DeleteOk = 41 "queue.delete-ok" {
        /// How many messages went with it.
        message_count: u32,
    }
    /// Removes a binding.
    Unbind = 50 "queue.unbind" {
        [u16]
        /// The queue's name; empty for the last declared on this channel.
        queue: ShortStr,
        /// The exchange's name.
        exchange: ShortStr,
        /// The binding key.
        routing_key: ShortStr,
        /// The arguments that the binding was made with.
        arguments: FieldTable,
    }
    /// The binding is gone.
    UnbindOk = 51 "queue.unbind-ok" {}
}
