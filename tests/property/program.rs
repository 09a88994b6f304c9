//! What a random program is made of, and how one is drawn.
//!
//! Names, keys and numbers are few and small, so that operations meet each other. Whoever does something has to be connected and to
//! have a channel first; that goes without saying.

use proptest::collection::vec;
use proptest::prelude::*;

/// How many clients there are.
pub(super) const CONNECTIONS: usize = 3;
/// How many channels each of them uses.
pub(super) const CHANNELS: usize = 2;

/// A channel of a client, counted from 0 over all clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Lane(pub(super) u8);

impl Lane {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..u8::try_from(CONNECTIONS * CHANNELS).expect("few")).map(Lane)
    }

    pub(super) fn connection(self) -> usize {
        usize::from(self.0) / CHANNELS
    }

    /// The channel's number, from 1.
    pub(super) fn channel(self) -> u16 {
        u16::from(self.0) % u16::try_from(CHANNELS).expect("few") + 1
    }
}

/// One step of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    DeclareQueue {
        on: Lane,
        queue: u8,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
        args: QueueArgs,
    },
    /// Asks whether the queue is there.
    DeclareQueuePassive {
        on: Lane,
        queue: u8,
    },
    DeleteQueue {
        on: Lane,
        queue: u8,
        if_unused: bool,
        if_empty: bool,
    },
    Purge {
        on: Lane,
        queue: u8,
    },
    DeclareExchange {
        on: Lane,
        exchange: u8,
        kind: Kind,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        alternate: Option<u8>,
    },
    DeleteExchange {
        on: Lane,
        exchange: u8,
        if_unused: bool,
    },
    BindQueue {
        on: Lane,
        queue: u8,
        exchange: u8,
        key: u8,
    },
    UnbindQueue {
        on: Lane,
        queue: u8,
        exchange: u8,
        key: u8,
    },
    BindExchange {
        on: Lane,
        destination: u8,
        source: u8,
        key: u8,
    },
    UnbindExchange {
        on: Lane,
        destination: u8,
        source: u8,
        key: u8,
    },
    Publish {
        on: Lane,
        exchange: u8,
        key: u8,
        mandatory: bool,
        message: MessageArgs,
    },
    /// To a queue by its name, over the default exchange.
    Send {
        on: Lane,
        queue: u8,
        message: MessageArgs,
    },
    Consume {
        on: Lane,
        queue: u8,
        tag: u8,
        no_ack: bool,
        exclusive: bool,
        priority: Option<i8>,
    },
    Cancel {
        on: Lane,
        tag: u8,
    },
    Get {
        on: Lane,
        queue: u8,
        no_ack: bool,
    },
    Ack {
        on: Lane,
        tag: Tag,
        multiple: bool,
    },
    Nack {
        on: Lane,
        tag: Tag,
        multiple: bool,
        requeue: bool,
    },
    Reject {
        on: Lane,
        tag: Tag,
        requeue: bool,
    },
    Recover {
        on: Lane,
    },
    Qos {
        on: Lane,
        count: u8,
        global: bool,
    },
    ConfirmSelect {
        on: Lane,
    },
    TxSelect {
        on: Lane,
    },
    TxCommit {
        on: Lane,
    },
    TxRollback {
        on: Lane,
    },
    CloseChannel {
        on: Lane,
    },
    CloseConnection {
        connection: u8,
        properly: bool,
    },
    /// Time passes, in milliseconds.
    Wait(u16),
    /// The node is stopped properly and started again.
    Restart,
}

impl Op {
    /// The channel it happens on, if it happens on one.
    pub(super) fn lane(&self) -> Option<Lane> {
        match self {
            Self::DeclareQueue { on, .. }
            | Self::DeclareQueuePassive { on, .. }
            | Self::DeleteQueue { on, .. }
            | Self::Purge { on, .. }
            | Self::DeclareExchange { on, .. }
            | Self::DeleteExchange { on, .. }
            | Self::BindQueue { on, .. }
            | Self::UnbindQueue { on, .. }
            | Self::BindExchange { on, .. }
            | Self::UnbindExchange { on, .. }
            | Self::Publish { on, .. }
            | Self::Send { on, .. }
            | Self::Consume { on, .. }
            | Self::Cancel { on, .. }
            | Self::Get { on, .. }
            | Self::Ack { on, .. }
            | Self::Nack { on, .. }
            | Self::Reject { on, .. }
            | Self::Recover { on }
            | Self::Qos { on, .. }
            | Self::ConfirmSelect { on }
            | Self::TxSelect { on }
            | Self::TxCommit { on }
            | Self::TxRollback { on }
            | Self::CloseChannel { on } => Some(*on),
            Self::CloseConnection { .. } | Self::Wait(_) | Self::Restart => None,
        }
    }
}

/// Arguments of a queue; `None` is one that is not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueArgs {
    pub(super) queue_type: Option<QueueType>,
    pub(super) message_ttl: Option<u16>,
    pub(super) expires: Option<u16>,
    pub(super) max_length: Option<u8>,
    pub(super) max_length_bytes: Option<u8>,
    pub(super) overflow: Option<Overflow>,
    /// An exchange.
    pub(super) dead_letter_exchange: Option<u8>,
    /// A key.
    pub(super) dead_letter_key: Option<u8>,
    pub(super) dead_letter_strategy: Option<DeadLettering>,
    pub(super) max_priority: Option<u8>,
    pub(super) single_active_consumer: Option<bool>,
    pub(super) delivery_limit: Option<i8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueType {
    Classic,
    Quorum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overflow {
    DropHead,
    RejectPublish,
    RejectPublishDlx,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeadLettering {
    AtMostOnce,
    AtLeastOnce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Direct,
    Fanout,
    Topic,
    Headers,
}

/// What a message has beside its place to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MessageArgs {
    pub(super) persistent: bool,
    pub(super) priority: Option<u8>,
    pub(super) expiration: Option<u16>,
    /// Further routing keys in the `CC` header.
    pub(super) cc: Vec<u8>,
    /// Further routing keys in the `BCC` header.
    pub(super) bcc: Vec<u8>,
    /// The header `h`, for headers exchanges: a key.
    pub(super) header: Option<u8>,
    /// Octets beyond the message's name.
    pub(super) padding: u8,
}

/// A delivery tag to be found when it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// One of those that are unacknowledged, counted from the oldest and round again.
    Unacked(u8),
    /// This number, whatever it is.
    Number(u8),
}

/// Queues that programs name.
pub(super) const QUEUES: [&str; 4] = ["q0", "q1", "q2", "q3"];
/// Exchanges that programs name. Those with a prefix are there from the beginning.
pub(super) const EXCHANGES: [&str; 8] = ["x0", "x1", "x2", "", "amq.direct", "amq.fanout", "amq.topic", "amq.headers"];
/// Exchanges that programs may declare: the first of them.
pub(super) const OWN_EXCHANGES: u8 = 3;
/// Routing and binding keys. The first ones are names of queues too.
pub(super) const KEYS: [&str; 9] = ["q0", "q1", "q2", "a", "a.b", "a.*", "#", "*.b", ""];

fn lane() -> impl Strategy<Value = Lane> {
    (0..u8::try_from(CONNECTIONS * CHANNELS).expect("few")).prop_map(Lane)
}

fn queue() -> impl Strategy<Value = u8> {
    prop_oneof![4 => 0..2_u8, 2 => 2..4_u8]
}

fn exchange() -> impl Strategy<Value = u8> {
    prop_oneof![6 => 0..OWN_EXCHANGES, 1 => 3..4_u8, 2 => 4..8_u8]
}

fn key() -> impl Strategy<Value = u8> {
    0..9_u8
}

fn rarely(one_in: u32) -> impl Strategy<Value = bool> {
    (0..one_in).prop_map(move |number| number == one_in - 1)
}

fn often(all_but_one_in: u32) -> impl Strategy<Value = bool> {
    (0..all_but_one_in).prop_map(move |number| number != all_but_one_in - 1)
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Direct), Just(Kind::Fanout), Just(Kind::Topic), Just(Kind::Headers)]
}

/// A value in one of `one_in` cases, or never if what it asks for is not there.
fn maybe<S: Strategy>(is_there: bool, one_in: u32, strategy: S) -> impl Strategy<Value = Option<S::Value>> {
    (rarely(one_in), strategy).prop_map(move |(is_it, value)| (is_there && is_it).then_some(value))
}

/// What the engine has of what programs can ask for.
struct Features {
    alternate_exchange: bool,
    quorum: bool,
    ttl: bool,
    expires: bool,
    limits: bool,
    dead_letters: bool,
    at_least_once: bool,
    priorities: bool,
    single_active_consumer: bool,
    delivery_limit: bool,
    carbon_copies: bool,
}

const THERE: Features = Features {
    alternate_exchange: true,
    quorum: true,
    ttl: true,
    expires: true,
    limits: true,
    dead_letters: true,
    at_least_once: false,
    priorities: true,
    single_active_consumer: true,
    delivery_limit: true,
    carbon_copies: true,
};

fn queue_type() -> impl Strategy<Value = Option<QueueType>> {
    prop_oneof![
        6 => Just(None),
        1 => Just(Some(QueueType::Classic)),
        2 => Just(THERE.quorum.then_some(QueueType::Quorum)),
    ]
}

fn overflow() -> impl Strategy<Value = Overflow> {
    prop_oneof![Just(Overflow::DropHead), Just(Overflow::RejectPublish), Just(Overflow::RejectPublishDlx)]
}

fn queue_args() -> impl Strategy<Value = QueueArgs> {
    let times = (
        maybe(THERE.ttl, 4, prop_oneof![Just(0), Just(100), Just(200), Just(500)]),
        maybe(THERE.expires, 12, prop_oneof![Just(200), Just(1000)]),
    );
    let limits = (
        maybe(THERE.limits, 4, 0..4_u8),
        maybe(THERE.limits, 8, 0..10_u8),
        maybe(THERE.limits, 3, overflow()),
        maybe(THERE.delivery_limit, 5, -1..3_i8),
    );
    let dead_letters = (
        maybe(THERE.dead_letters, 2, exchange()),
        maybe(THERE.dead_letters, 4, key()),
        maybe(THERE.at_least_once, 4, prop_oneof![Just(DeadLettering::AtMostOnce), Just(DeadLettering::AtLeastOnce)]),
    );
    let order = (
        maybe(THERE.priorities, 4, prop_oneof![0..4_u8, Just(255)]),
        maybe(THERE.single_active_consumer, 6, any::<bool>()),
    );
    (queue_type(), times, limits, dead_letters, order).prop_map(|(queue_type, times, limits, dead_letters, order)| {
        let (message_ttl, expires) = times;
        let (max_length, max_length_bytes, overflow, delivery_limit) = limits;
        let (dead_letter_exchange, dead_letter_key, dead_letter_strategy) = dead_letters;
        let (max_priority, single_active_consumer) = order;
        QueueArgs {
            queue_type,
            message_ttl,
            expires,
            max_length,
            max_length_bytes,
            overflow,
            dead_letter_exchange,
            // Alone it is a mistake, which one test of its own is enough for.
            dead_letter_key: dead_letter_key.filter(|_| dead_letter_exchange.is_some()),
            dead_letter_strategy,
            max_priority,
            single_active_consumer,
            delivery_limit,
        }
    })
}

fn message() -> impl Strategy<Value = MessageArgs> {
    let copies = || vec(key(), if THERE.carbon_copies { 0..3 } else { 0..1 });
    (
        any::<bool>(),
        maybe(true, 3, 0..5_u8),
        maybe(THERE.ttl, 6, prop_oneof![Just(0), Just(100), Just(300)]),
        prop_oneof![8 => Just(Vec::new()), 1 => copies()],
        prop_oneof![12 => Just(Vec::new()), 1 => copies()],
        maybe(true, 4, key()),
        0..4_u8,
    )
        .prop_map(|(persistent, priority, expiration, cc, bcc, header, padding)| MessageArgs {
            persistent,
            priority,
            expiration,
            cc,
            bcc,
            header,
            padding,
        })
}

fn tag() -> impl Strategy<Value = Tag> {
    prop_oneof![20 => (0..5_u8).prop_map(Tag::Unacked), 1 => (0..6_u8).prop_map(Tag::Number)]
}

fn declare_queue() -> impl Strategy<Value = Op> {
    (lane(), queue(), often(3), rarely(12), rarely(8), queue_args()).prop_map(
        |(on, queue, durable, exclusive, auto_delete, args)| Op::DeclareQueue {
            on,
            queue,
            durable,
            exclusive,
            auto_delete,
            args,
        },
    )
}

fn declare_exchange() -> impl Strategy<Value = Op> {
    (
        lane(),
        0..OWN_EXCHANGES,
        kind(),
        any::<bool>(),
        rarely(6),
        rarely(12),
        maybe(THERE.alternate_exchange, 6, exchange()),
    )
        .prop_map(|(on, exchange, kind, durable, auto_delete, internal, alternate)| Op::DeclareExchange {
            on,
            exchange,
            kind,
            durable,
            auto_delete,
            internal,
            alternate,
        })
}

fn bind_queue() -> impl Strategy<Value = Op> {
    (lane(), queue(), exchange(), key()).prop_map(|(on, queue, exchange, key)| Op::BindQueue {
        on,
        queue,
        exchange,
        key,
    })
}

fn op() -> impl Strategy<Value = Op> {
    let topology = prop_oneof![
        3 => declare_queue(),
        2 => (lane(), queue()).prop_map(|(on, queue)| Op::DeclareQueuePassive { on, queue }),
        1 => (lane(), queue(), rarely(3), rarely(3))
            .prop_map(|(on, queue, if_unused, if_empty)| Op::DeleteQueue { on, queue, if_unused, if_empty }),
        1 => (lane(), queue()).prop_map(|(on, queue)| Op::Purge { on, queue }),
        1 => declare_exchange(),
        1 => (lane(), 0..5_u8, any::<bool>())
            .prop_map(|(on, exchange, if_unused)| Op::DeleteExchange { on, exchange, if_unused }),
        4 => bind_queue(),
        1 => (lane(), queue(), exchange(), key())
            .prop_map(|(on, queue, exchange, key)| Op::UnbindQueue { on, queue, exchange, key }),
        2 => (lane(), exchange(), exchange(), key())
            .prop_map(|(on, destination, source, key)| Op::BindExchange { on, destination, source, key }),
        1 => (lane(), exchange(), exchange(), key())
            .prop_map(|(on, destination, source, key)| Op::UnbindExchange { on, destination, source, key }),
    ];
    let publishing = prop_oneof![
        3 => (lane(), exchange(), key(), rarely(3), message()).prop_map(
            |(on, exchange, key, mandatory, message)| Op::Publish { on, exchange, key, mandatory, message }
        ),
        5 => (lane(), queue(), message()).prop_map(|(on, queue, message)| Op::Send { on, queue, message }),
    ];
    let consuming = prop_oneof![
        5 => (lane(), queue(), 0..3_u8, rarely(5), rarely(20), maybe(true, 4, -1..3_i8)).prop_map(
            |(on, queue, tag, no_ack, exclusive, priority)| Op::Consume { on, queue, tag, no_ack, exclusive, priority }
        ),
        1 => (lane(), 0..3_u8).prop_map(|(on, tag)| Op::Cancel { on, tag }),
        3 => (lane(), queue(), rarely(4)).prop_map(|(on, queue, no_ack)| Op::Get { on, queue, no_ack }),
        2 => (lane(), 0..4_u8, rarely(3)).prop_map(|(on, count, global)| Op::Qos { on, count, global }),
    ];
    let settling = prop_oneof![
        5 => (lane(), tag(), rarely(3)).prop_map(|(on, tag, multiple)| Op::Ack { on, tag, multiple }),
        3 => (lane(), tag(), rarely(4), often(3))
            .prop_map(|(on, tag, multiple, requeue)| Op::Nack { on, tag, multiple, requeue }),
        3 => (lane(), tag(), often(3)).prop_map(|(on, tag, requeue)| Op::Reject { on, tag, requeue }),
        1 => lane().prop_map(|on| Op::Recover { on }),
    ];
    let modes = prop_oneof![
        3 => lane().prop_map(|on| Op::ConfirmSelect { on }),
        2 => lane().prop_map(|on| Op::TxSelect { on }),
        3 => lane().prop_map(|on| Op::TxCommit { on }),
        1 => lane().prop_map(|on| Op::TxRollback { on }),
    ];
    let ends = prop_oneof![
        3 => lane().prop_map(|on| Op::CloseChannel { on }),
        1 => (0..u8::try_from(CONNECTIONS).expect("few"), any::<bool>())
            .prop_map(|(connection, properly)| Op::CloseConnection { connection, properly }),
        2 => Just(Op::Restart),
    ];
    prop_oneof![
        18 => topology,
        34 => publishing,
        16 => consuming,
        22 => settling,
        5 => modes,
        3 => ends,
        8 => (1..6_u16).prop_map(|tenths| Op::Wait(tenths * 100)),
    ]
}

/// Programs: what there is to begin with, then anything.
pub(super) fn program() -> impl Strategy<Value = Vec<Op>> {
    let declares = vec(declare_queue(), 1..4);
    let exchanges = vec(declare_exchange(), 0..3);
    let binds = vec(bind_queue(), 0..4);
    (declares, exchanges, binds, vec(op(), 1..50)).prop_map(|(mut program, exchanges, binds, ops)| {
        program.extend(exchanges);
        program.extend(binds);
        program.extend(ops);
        program
    })
}
