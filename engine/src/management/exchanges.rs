//! Exchanges and bindings, listed.

use crate::amqp::{FieldTable, ShortStr};

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
