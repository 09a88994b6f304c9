//! What the log of a quorum queue's group says: the only ways in which its state changes.

use alloc::boxed::Box;
use alloc::vec::Vec;
use smallvec::SmallVec;

use super::ids::{Boot, DeathNumber, DeliveryNumber, NodeId, SessionId, SessionSeqno};
use super::settings::Settings;
use super::slot::BodyPlace;
use crate::cluster::version;
use crate::ids::QueueSeq;
use crate::limits::QUORUM_NUMBERS_MAX;

/// One change of the queue. An entry of the log holds one or several, which are applied in order as if each had its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A session wants something.
    Session {
        /// Which.
        session: SessionId,
        /// Which of its commands this is. The queue takes each exactly once and in order.
        seqno: SessionSeqno,
        /// What it wants.
        op: SessionOp,
    },
    /// Nobody can reach a node: its consumers get nothing, and what they have stays theirs for a time.
    NodeSuspected {
        /// Which.
        node: NodeId,
    },
    /// A node can be reached again. Sessions of its former lives are over.
    NodeUp {
        /// Which.
        node: NodeId,
        /// In which life it is.
        boot: Boot,
    },
    /// A node's life has ended, and its sessions with it.
    NodeDown {
        /// Which.
        node: NodeId,
        /// The life that ended, and all before it.
        boot: Boot,
    },
    /// Time has passed. Every entry carries the time; this is for when there is nothing else to say.
    Tick,
    /// The queue's arguments or policies are these from here on.
    Update(Box<Settings>),
    /// Dead letters arrived where they were to go.
    DeadLettered {
        /// Which.
        deaths: SmallVec<[NumberRange; 1]>,
    },
    /// Bodies of messages that stay for long are in the log again, so that what stands before them there may go.
    Carry {
        /// Which, in ascending order of where they were.
        bodies: Vec<Carried>,
    },
    /// Messages of the classic queue that was here before come behind all that are there.
    Bring {
        /// In their order.
        messages: Vec<Brought>,
    },
    /// Sessions that other nodes had with that classic queue go on.
    Adopt {
        /// In ascending order.
        sessions: Vec<AdoptedSession>,
        /// Their consumers, each behind those of its session with smaller tags. What they have has come before.
        consumers: Vec<AdoptedConsumer>,
    },
    /// The node of a session had given it up before it heard that the queue has replicas: it ends, if it is known.
    Forsake {
        /// Which.
        session: SessionId,
    },
    /// All that waits goes. Answered by how many went.
    Purge,
    /// An operator stops the queue from delivering, or lets it go on.
    Pause {
        /// Whether it stops.
        is_paused: bool,
    },
    /// The queue is about to be deleted: nothing is taken from here on. Answered by how many messages it holds, or why not.
    DeletePrepare {
        /// Only if nobody consumes.
        if_unused: bool,
        /// Only if nothing waits.
        if_empty: bool,
    },
}

impl Command {
    /// From which [`version`] of their cluster on nodes know it.
    pub(crate) fn since(&self) -> u16 {
        match self {
            Self::Carry { .. } => version::CARRY,
            Self::Bring { .. } | Self::Adopt { .. } | Self::Forsake { .. } => version::TURN,
            Self::Update(settings) if settings.rules.is_classic() => version::MIRRORS,
            Self::Session { .. }
            | Self::NodeSuspected { .. }
            | Self::NodeUp { .. }
            | Self::NodeDown { .. }
            | Self::Tick
            | Self::Update(_)
            | Self::DeadLettered { .. }
            | Self::Purge
            | Self::Pause { .. }
            | Self::DeletePrepare { .. } => version::FIRST,
        }
    }
}

/// What a session wants of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionOp {
    /// A message comes.
    Enqueue(Enqueue),
    /// A consumer comes.
    Checkout(Checkout),
    /// One message is asked for. It is given out to a consumer of its own. A queue with a single active consumer gives none: the
    /// channel refuses with 405 before it comes to that.
    Get {
        /// That consumer.
        tag: u32,
    },
    /// A consumer may get so many more messages than it had been given when its client counted `delivery_count` (AMQP 1.0 §2.6.7).
    Credit {
        /// Which.
        tag: u32,
        /// How many.
        credit: u32,
        /// How many deliveries the client had seen.
        delivery_count: u32,
        /// Whether credit that cannot be used at once lapses.
        is_drain: bool,
    },
    /// Deliveries were processed: the messages go.
    Settle {
        /// To which consumer.
        tag: u32,
        /// Which.
        numbers: Numbers,
    },
    /// Messages come back.
    Return {
        /// From which consumer.
        tag: u32,
        /// Which.
        numbers: Numbers,
        /// What for.
        how: ReturnKind,
    },
    /// Messages are rejected: they die.
    Discard {
        /// By which consumer.
        tag: u32,
        /// Which.
        numbers: Numbers,
    },
    /// A consumer goes. What it has seen of deliveries stays out until it is settled; what it has not comes back.
    Cancel {
        /// Which.
        tag: u32,
        /// The last delivery that it has seen; 0 if none.
        seen: DeliveryNumber,
    },
    /// The session ends, with its channel or connection. All that its consumers have comes back, as failed deliveries.
    End,
}

/// The facts of a message that comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Enqueue {
    /// Bytes of its body.
    pub size: u32,
    /// Its priority, if it names one.
    pub priority: Option<u8>,
    /// How long it lives, in milliseconds, if it says so.
    pub ttl_ms: Option<u64>,
    /// Whether it was published as persistent.
    pub is_persistent: bool,
    /// Whether the broker itself published it, as a dead letter say.
    pub is_internal: bool,
    /// Where its bytes are in the entry.
    pub payload: Payload,
}

/// Where in an entry a message's bytes are. Found when the entry is decoded; who encodes leaves it empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// Bytes before it.
    pub at: u32,
    /// Bytes of it.
    pub len: u32,
}

/// A body that is in the log again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Where it was.
    pub from: BodyPlace,
    /// Where it is in this entry: as many bytes.
    pub to: Payload,
}

/// A message that the queue had before it had replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// Bytes of its body.
    pub size: u32,
    /// Its priority.
    pub priority: u8,
    /// When it expires, in milliseconds of the wall clock; 0 if it does not.
    pub expires_at: u64,
    /// How many of its deliveries failed.
    pub failed: u16,
    /// Whether a consumer may have seen it.
    pub is_redelivered: bool,
    /// Whether it was published as persistent.
    pub is_persistent: bool,
    /// Where its bytes are in the entry.
    pub payload: Payload,
}

/// A session that the queue had before it had replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdoptedSession {
    /// Which.
    pub session: SessionId,
    /// Its next command: all before were carried out.
    pub next: SessionSeqno,
}

/// A consumer of such a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptedConsumer {
    /// Whose.
    pub session: SessionId,
    /// What it had asked for.
    pub checkout: Checkout,
    /// Whether it gets nothing any more, and has yet to settle what it has.
    pub is_over: bool,
    /// Its next delivery.
    pub next: DeliveryNumber,
    /// What it has, in ascending order.
    pub unacked: Vec<AdoptedDelivery>,
}

/// A message that a consumer has of the queue that was here before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdoptedDelivery {
    /// Which of its deliveries.
    pub number: DeliveryNumber,
    /// Its place among all messages that came.
    pub seq: QueueSeq,
    /// When it expires, in milliseconds of the wall clock; 0 if it does not. While it is out it does not.
    pub expires_at: u64,
}

/// A consumer that comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkout {
    /// Which.
    pub tag: u32,
    /// How it is given messages.
    pub credit: CreditMode,
    /// Whoever has a higher one gets all messages it is willing to take.
    pub priority: i64,
    /// How long its deliveries may stay unacked, in milliseconds. `None`: for ever.
    pub timeout_ms: Option<u64>,
    /// Whether nobody else may consume beside it. Quorum queues do not know that (RabbitMQ docs: Quorum Queues / Feature Matrix).
    pub is_exclusive: bool,
}

/// How a consumer is given messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreditMode {
    /// As long as fewer than so many deliveries are unacked. 0 stands for as many as the queue allows.
    Prefetch(u32),
    /// As long as it has credit, of which it has none at first.
    Granted,
}

impl Default for CreditMode {
    fn default() -> Self {
        Self::Prefetch(0)
    }
}

/// Deliveries of one consumer, in ascending ranges that do not touch.
pub type Numbers = SmallVec<[NumberRange; 1]>;

/// The numbers from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberRange {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// What a message comes back for (RabbitMQ 4.3: which of it counts towards the delivery limit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnKind {
    /// `basic.nack`, `basic.recover`, AMQP 1.0 released: that is nobody's failure.
    Requeued,
    /// `basic.reject`, AMQP 1.0 rejected or modified as failed.
    Failed,
}

impl NumberRange {
    /// Only this one.
    pub const fn one(number: u64) -> Self {
        Self { first: number, last: number }
    }

    /// All of them.
    pub(super) const fn iter(self) -> core::ops::RangeInclusive<u64> {
        self.first..=self.last
    }
}

/// Adds a number behind all others.
pub(super) fn push_number(numbers: &mut Numbers, number: u64) {
    match numbers.last_mut() {
        Some(range) if range.last.checked_add(1) == Some(number) => range.last = number,
        _ => numbers.push(NumberRange::one(number)),
    }
}

/// The same numbers in as many commands as they need.
pub(super) fn split_numbers(numbers: &[NumberRange]) -> impl Iterator<Item = Numbers> {
    let mut rest: SmallVec<[NumberRange; 2]> = numbers.iter().rev().copied().collect();
    core::iter::from_fn(move || {
        let (mut part, mut room) = (Numbers::new(), QUORUM_NUMBERS_MAX);
        while room > 0
            && let Some(mut range) = rest.pop()
        {
            let last = range.last.min(range.first.saturating_add(room - 1));
            room -= last - range.first + 1;
            part.push(NumberRange { first: range.first, last });
            if last < range.last {
                range.first = last + 1;
                rest.push(range);
            }
        }
        (!part.is_empty()).then_some(part)
    })
}

/// A range that holds exactly these deaths.
pub fn deaths(numbers: impl IntoIterator<Item = DeathNumber>) -> SmallVec<[NumberRange; 1]> {
    let mut ranges = SmallVec::new();
    numbers.into_iter().for_each(|number| push_number(&mut ranges, number.0));
    ranges
}
