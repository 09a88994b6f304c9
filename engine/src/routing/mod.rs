//! From an exchange and a routing key to destinations: one table of bindings per exchange, indexed for its type.
//!
//! A table knows only keys of queues and exchanges. Following exchange-to-exchange bindings, alternate exchanges and the default
//! exchange is [`crate::metadata::Metadata::route`]'s part, which holds all tables.

mod choice;
mod consistent_hash;
mod direct;
mod fanout;
mod hash;
mod headers;
mod targets;
mod topic;
mod value;

use core::fmt;

use slotmap::{SecondaryMap, new_key_type};

use crate::amqp::{AmqpError, FieldTable, RawProperties, ReplyCode, ShortStr};

use choice::Choice;
use consistent_hash::ConsistentHash;
pub use consistent_hash::HashOn;
use direct::Direct;
use fanout::Fanout;
use headers::{Headers, SortedHeaders};
use targets::Targets;
use topic::Topic;
pub use topic::TopicScratch;

pub(crate) use hash::Random;
pub(crate) use value::{ErlangTerm, is_equal};

new_key_type! {
    /// An exchange, as long as it exists: the key of a deleted exchange never reaches a younger one.
    pub struct ExchangeKey;
    /// A queue, as long as it exists: the key of a deleted queue never reaches a younger one.
    pub struct QueueKey;
}

/// What a binding leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// A queue.
    Queue(QueueKey),
    /// Another exchange (RabbitMQ docs: Exchange to Exchange Bindings).
    Exchange(ExchangeKey),
}

/// How an exchange compares messages with its bindings (AMQP 0-9-1 §3.1.3; the types that begin with `x-` are RabbitMQ's).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExchangeKind {
    /// The routing key equals the binding key.
    Direct,
    /// Every binding matches.
    Fanout,
    /// Words with `*` and `#`.
    Topic,
    /// The message's headers against the binding's arguments.
    Headers,
    /// One binding by a hash of the message, weighted by the binding keys.
    ConsistentHash,
    /// One binding by a hash of the routing key.
    ModulusHash,
    /// Any one binding.
    Random,
    /// Any one queue of this node.
    LocalRandom,
    /// Every binding matches, and a new one gets the last messages too.
    RecentHistory,
    /// Messages may ask to be held back; then another type decides, which the arguments name.
    Delayed,
}

impl ExchangeKind {
    /// All types there are.
    pub const ALL: [Self; 10] = [
        Self::Direct,
        Self::Fanout,
        Self::Topic,
        Self::Headers,
        Self::ConsistentHash,
        Self::ModulusHash,
        Self::Random,
        Self::LocalRandom,
        Self::RecentHistory,
        Self::Delayed,
    ];

    /// The type's name in `exchange.declare`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
            Self::ConsistentHash => "x-consistent-hash",
            Self::ModulusHash => "x-modulus-hash",
            Self::Random => "x-random",
            Self::LocalRandom => "x-local-random",
            Self::RecentHistory => "x-recent-history",
            Self::Delayed => "x-delayed-message",
        }
    }

    /// The type with this name; the comparison heeds case, as RabbitMQ's does.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().as_bytes() == name)
    }

    /// Looks at a binding from an exchange of this type.
    ///
    /// # Errors
    /// Channel error 406 PRECONDITION_FAILED with RabbitMQ's texts.
    pub(crate) fn check_binding(
        self,
        destination: Destination,
        routing_key: &ShortStr,
        arguments: &FieldTable,
    ) -> Result<(), AmqpError> {
        match self {
            Self::Headers => headers::check_headers_binding(arguments),
            Self::ConsistentHash => consistent_hash::check_weight(routing_key.as_bytes()).map(drop),
            Self::LocalRandom => {
                let refused = |text| Err(AmqpError::channel(ReplyCode::PreconditionFailed, text));
                match destination {
                    _ if !routing_key.is_empty() => {
                        refused(alloc::format!("Non empty binding '{routing_key}' key not permitted"))
                    }
                    Destination::Exchange(_) => refused("Destination not found".into()),
                    Destination::Queue(_) => Ok(()),
                }
            }
            Self::Direct
            | Self::Fanout
            | Self::Topic
            | Self::ModulusHash
            | Self::Random
            | Self::RecentHistory
            | Self::Delayed => Ok(()),
        }
    }

    /// Whether a message goes to one binding only, so that its first routing key alone counts.
    pub(crate) const fn chooses_one(self) -> bool {
        matches!(self, Self::ConsistentHash | Self::ModulusHash | Self::Random | Self::LocalRandom)
    }
}

impl fmt::Display for ExchangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The bindings of one exchange, indexed for its type.
///
/// A table counts what it is told: `bind` and `unbind` must come in pairs with the same values, and it is for the owner to leave
/// out duplicates.
#[derive(Clone, Debug)]
pub(crate) enum Table {
    Direct(Direct),
    Fanout(Fanout),
    Topic(Topic),
    Headers(Headers),
    ConsistentHash(ConsistentHash),
    ModulusHash(Choice),
    Random(Choice),
}

impl Table {
    pub(crate) fn new(kind: ExchangeKind, hash_seed: u64, hash_on: &HashOn) -> Self {
        match kind {
            // A delayed exchange has the table of the type behind it.
            ExchangeKind::Direct | ExchangeKind::Delayed => Self::Direct(Direct::new(hash_seed)),
            ExchangeKind::Fanout | ExchangeKind::RecentHistory => Self::Fanout(Fanout::default()),
            ExchangeKind::Topic => Self::Topic(Topic::new(hash_seed)),
            ExchangeKind::Headers => Self::Headers(Headers::default()),
            ExchangeKind::ConsistentHash => Self::ConsistentHash(ConsistentHash::new(hash_on.clone())),
            ExchangeKind::ModulusHash => Self::ModulusHash(Choice::default()),
            ExchangeKind::Random | ExchangeKind::LocalRandom => Self::Random(Choice::default()),
        }
    }

    /// Adds a binding. `name` is its destination's. Only a headers exchange asks for its arguments.
    pub(crate) fn bind(
        &mut self,
        destination: Destination,
        name: &ShortStr,
        routing_key: &[u8],
        arguments: impl FnOnce() -> FieldTable,
    ) {
        match self {
            Self::Direct(table) => table.bind(destination, routing_key),
            Self::Fanout(table) => table.bind(destination),
            Self::Topic(table) => table.bind(destination, routing_key),
            Self::Headers(table) => table.bind(destination, &arguments()),
            Self::ConsistentHash(table) => table.bind(destination, routing_key, name),
            Self::ModulusHash(table) | Self::Random(table) => table.bind(destination, name.clone()),
        }
    }

    /// Takes back one `bind` with the same values.
    pub(crate) fn unbind(
        &mut self,
        destination: Destination,
        routing_key: &[u8],
        arguments: impl FnOnce() -> FieldTable,
    ) {
        match self {
            Self::Direct(table) => table.unbind(destination, routing_key),
            Self::Fanout(table) => table.unbind(destination),
            Self::Topic(table) => table.unbind(destination, routing_key),
            Self::Headers(table) => table.unbind(destination, &arguments()),
            Self::ConsistentHash(table) => table.unbind(destination, routing_key),
            Self::ModulusHash(table) | Self::Random(table) => table.unbind(destination),
        }
    }

    /// Calls `found` for each destination that the message goes to, in an order that depends only on the history of the table. One
    /// destination may be reported several times.
    pub(crate) fn matches(
        &self,
        routing_key: &[u8],
        message: &mut MessageHeaders<'_>,
        scratch: &mut TopicScratch,
        random: &mut Random,
        found: &mut impl FnMut(Destination),
    ) {
        match self {
            Self::Direct(table) => table.matches(routing_key, found),
            Self::Fanout(table) => table.matches(found),
            Self::Topic(table) => table.matches(routing_key, scratch, found),
            Self::Headers(table) => table.matches(message.sorted(), found),
            Self::ConsistentHash(table) => {
                table.choose(routing_key, message.properties).into_iter().for_each(found);
            }
            Self::ModulusHash(table) => table.by_key(routing_key).into_iter().for_each(found),
            Self::Random(table) => table.at_random(random).into_iter().for_each(found),
        }
    }
}

/// A message's headers, decoded and sorted when the first headers exchange asks for them.
#[derive(Debug)]
pub(crate) struct MessageHeaders<'a> {
    properties: &'a RawProperties<&'a [u8]>,
    sorted: Option<SortedHeaders>,
}

impl<'a> MessageHeaders<'a> {
    pub(crate) fn new(properties: &'a RawProperties<&'a [u8]>) -> Self {
        Self { properties, sorted: None }
    }

    /// Whether the message asks a delayed exchange to hold it back.
    pub(crate) fn is_to_wait(&self) -> bool {
        crate::message::delay_ms(self.properties).is_some()
    }

    fn sorted(&mut self) -> &SortedHeaders {
        self.sorted.get_or_insert_with(|| SortedHeaders::new(self.properties.headers().unwrap_or_default()))
    }
}

/// What is to be done with a message beside passing it on, because exchanges on its way ask for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Aside {
    /// Delayed exchanges that hold the message back.
    pub(crate) holds: alloc::vec::Vec<ExchangeKey>,
    /// Exchanges that keep it for later bindings.
    pub(crate) histories: alloc::vec::Vec<ExchangeKey>,
    /// The exchange that may have seen it.
    pub(crate) deduper: Option<ExchangeKey>,
}

impl Aside {
    pub(crate) fn is_empty(&self) -> bool {
        self.holds.is_empty() && self.histories.is_empty() && self.deduper.is_none()
    }

    pub(crate) fn clear(&mut self) {
        self.holds.clear();
        self.histories.clear();
        self.deduper = None;
    }
}

/// Memory for routing, kept between messages so that the hot path allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct RouteScratch {
    /// Which message is being routed; marks of earlier messages do not count.
    pub(crate) round: u64,
    /// The round in which each queue was last found.
    pub(crate) queues: SecondaryMap<QueueKey, u64>,
    /// The round in which each exchange was last entered.
    pub(crate) exchanges: SecondaryMap<ExchangeKey, u64>,
    /// Exchanges still to be asked.
    pub(crate) work: alloc::vec::Vec<ExchangeKey>,
    /// What is to be done with the message beside passing it on.
    pub(crate) aside: Aside,
    pub(crate) topic: TopicScratch,
    /// What exchanges that choose at random draw from.
    pub(crate) random: Random,
}

impl RouteScratch {
    /// Empty memory. `seed` decides what is chosen at random.
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), ..Self::default() }
    }
}
