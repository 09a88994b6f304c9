//! A declared exchange with its bindings.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;

use super::arguments::ExchangeArguments;
use super::binding::{Binding, Inbound};
use super::{AppliedPolicies, VhostKey};
use crate::amqp::{FieldTable, LongStr, ShortStr};
use crate::ids::QueueId;
use crate::routing::{ExchangeKind, HashOn, Table};

/// The record of an exchange.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Its vhost.
    pub vhost: VhostKey,
    /// Its name; empty for the default exchange.
    pub name: ShortStr,
    /// Its type.
    pub kind: ExchangeKind,
    /// Whether it survives a restart.
    pub durable: bool,
    /// Whether it goes with its last binding as a source.
    pub auto_delete: bool,
    /// Whether only other exchanges may send to it.
    pub internal: bool,
    /// The arguments that the broker knows.
    pub arguments: ExchangeArguments,
    /// The arguments that a policy may give too, merged with those that one gives.
    pub settings: ExchangeSettings,
    /// The policies that apply to it; `None` if none does.
    pub policies: Option<Box<AppliedPolicies>>,
    /// All arguments, as they were declared.
    pub raw_arguments: FieldTable,
    /// What messages that it delays wait in; `None` if it delays none.
    pub hold: Option<QueueId>,
    /// Bindings of which it is the source.
    pub(super) bindings: BTreeSet<Binding>,
    /// The same bindings, indexed for its type.
    pub(super) table: Table,
    /// Exchanges with bindings to it.
    pub(super) inbound: Inbound,
}

/// The settings of an exchange that a policy may give too. They may change while the exchange exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExchangeSettings {
    /// Who gets messages that no binding matches. `None`: nobody.
    pub alternate_exchange: Option<LongStr>,
}

impl Exchange {
    /// A transient exchange without bindings.
    pub(super) fn new(vhost: VhostKey, name: ShortStr, kind: ExchangeKind, hash_seed: u64) -> Self {
        Self {
            vhost,
            name,
            kind,
            durable: false,
            auto_delete: false,
            internal: false,
            arguments: ExchangeArguments::of_kind(kind),
            settings: ExchangeSettings::default(),
            policies: None,
            raw_arguments: FieldTable::new(),
            hold: None,
            bindings: BTreeSet::new(),
            table: Table::new(kind, hash_seed, &HashOn::default()),
            inbound: Inbound::default(),
        }
    }

    pub(super) fn predeclared(
        vhost: VhostKey,
        name: ShortStr,
        kind: ExchangeKind,
        internal: bool,
        hash_seed: u64,
    ) -> Self {
        Self { durable: true, internal, ..Self::new(vhost, name, kind, hash_seed) }
    }

    /// Whether this is the default exchange, to which every queue is bound by its name.
    pub fn is_default(&self) -> bool {
        self.name.is_empty()
    }

    /// Whether it is the source of any binding.
    pub fn is_in_use(&self) -> bool {
        !self.bindings.is_empty()
    }
}
