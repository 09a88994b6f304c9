//! Class `exchange` (AMQP 0-9-1 §1.6) with RabbitMQ's bindings between exchanges.

use crate::amqp::{FieldTable, ShortStr};

class! { 40;
    /// Creates an exchange, or checks that it is there.
    Declare = 10 "exchange.declare" {
        [u16]
        /// The exchange's name.
        exchange: ShortStr,
        /// Its type, such as `topic`.
        exchange_type: ShortStr,
        /// Only ask whether it exists.
        passive: bool,
        /// It survives a restart.
        durable: bool,
        /// It goes with its last binding (RabbitMQ extension; reserved in 0-9-1).
        auto_delete: bool,
        /// Clients cannot publish to it (RabbitMQ extension; reserved in 0-9-1).
        internal: bool,
        /// No answer is wanted.
        no_wait: bool,
        /// Arguments of its type, and `alternate-exchange`.
        arguments: FieldTable,
    }
    /// The exchange exists.
    DeclareOk = 11 "exchange.declare-ok" {}
    /// Deletes an exchange.
    Delete = 20 "exchange.delete" {
        [u16]
        /// The exchange's name.
        exchange: ShortStr,
        /// Only if nothing is bound to it.
        if_unused: bool,
        /// No answer is wanted.
        no_wait: bool,
    }
    /// The exchange is gone.
    DeleteOk = 21 "exchange.delete-ok" {}
    /// Binds an exchange to another (RabbitMQ docs: Exchange to Exchange Bindings).
    Bind = 30 "exchange.bind" {
        [u16]
        /// Where messages go.
        destination: ShortStr,
        /// Where they come from.
        source: ShortStr,
        /// The binding key.
        routing_key: ShortStr,
        /// No answer is wanted.
        no_wait: bool,
        /// Arguments of the source's type.
        arguments: FieldTable,
    }
    /// The binding exists.
    BindOk = 31 "exchange.bind-ok" {}
    /// Removes a binding between exchanges.
    Unbind = 40 "exchange.unbind" {
        [u16]
        /// Where messages went.
        destination: ShortStr,
        /// Where they came from.
        source: ShortStr,
        /// The binding key.
        routing_key: ShortStr,
        /// No answer is wanted.
        no_wait: bool,
        /// The arguments that the binding was made with.
        arguments: FieldTable,
    }
    /// The binding is gone. Its id is 51, not 41: an old slip that became the protocol.
    UnbindOk = 51 "exchange.unbind-ok" {}
}
