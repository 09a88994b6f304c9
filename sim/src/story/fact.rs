//! What a story tells the oracles.

use std::fmt;

use leveret_engine::event::LeaveReason;

use crate::clock::Micros;
use crate::history::QueueIndex;
use crate::message::MessageNumber;

/// Why a message left a queue without an ack (RabbitMQ docs: Dead Letter Exchanges).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// Its time was over.
    Expired,
    /// The queue was full.
    MaxLength,
    /// A consumer did not want it.
    Rejected,
    /// It came back too often.
    DeliveryLimit,
    /// An operator or a client emptied or removed the queue.
    Removed,
    /// A word that no broker should write.
    Unknown,
}

impl From<LeaveReason> for Reason {
    fn from(reason: LeaveReason) -> Self {
        match reason {
            LeaveReason::Expired => Self::Expired,
            LeaveReason::Rejected => Self::Rejected,
            LeaveReason::MaxLength => Self::MaxLength,
            LeaveReason::DeliveryLimit => Self::DeliveryLimit,
            LeaveReason::Purged | LeaveReason::Deleted | LeaveReason::Removed => Self::Removed,
        }
    }
}

impl Reason {
    /// The reason as `x-death` spells it.
    pub(crate) fn parse(text: &[u8]) -> Self {
        match text {
            b"expired" => Self::Expired,
            b"maxlen" => Self::MaxLength,
            b"rejected" => Self::Rejected,
            b"delivery_limit" => Self::DeliveryLimit,
            _ => Self::Unknown,
        }
    }
}

/// What is short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Short {
    /// Memory.
    pub(crate) memory: bool,
    /// Free disk space.
    pub(crate) disk: bool,
}

impl Short {
    /// Whether anything is.
    pub(crate) fn is_any(self) -> bool {
        self.memory || self.disk
    }
}

/// One fact about a message, or about a queue with rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoryFact {
    /// A publish reached the node.
    Accepted {
        /// The message.
        message: MessageNumber,
        /// The queue it is for.
        queue: QueueIndex,
    },
    /// A publish was answered.
    Outcome {
        /// The message; `None` if nothing waits for that answer.
        message: Option<MessageNumber>,
        /// Ack rather than nack.
        is_ack: bool,
        /// Whether its queue may refuse.
        may_refuse: bool,
    },
    /// A message was delivered.
    Given {
        /// The message.
        message: MessageNumber,
        /// From where.
        queue: QueueIndex,
        /// The flag.
        redelivered: bool,
        /// Dead-letter events in its past, by its own headers.
        deaths: u32,
        /// Deliveries without the flag in this queue since it came there, before this one.
        fresh: u32,
        /// Whether it was settled for good before.
        was_settled: bool,
        /// Whether the node refused it when it was published.
        was_refused: bool,
        /// Whether the node ended other than in order since it came, or was last delivered.
        crashed_since: bool,
        /// Whether `x-death` names this queue.
        has_died_here: bool,
        /// Whether `x-death` has a `rejected`.
        has_rejected: bool,
    },
    /// A message was seen before or after the time at which its time was over.
    Timed {
        /// The message.
        message: MessageNumber,
        /// The queue whose rule it is about.
        queue: QueueIndex,
        /// Whether it was seen alive; else it was seen as expired.
        is_alive: bool,
        /// When its time is over.
        due: Micros,
        /// When it was seen.
        seen: Micros,
        /// Whether the node ended other than in order since it came.
        crashed_since: bool,
    },
    /// The engine says that a message left a queue, or was put down as settled.
    Left {
        /// The message.
        message: MessageNumber,
        /// The queue.
        queue: QueueIndex,
        /// Why, if it says.
        reason: Option<Reason>,
        /// Whether a consumer acked or rejected it, or a purge or deletion was asked for.
        was_answered: bool,
    },
    /// A delayed message was delivered.
    Delayed {
        /// The message.
        message: MessageNumber,
        /// When it was due.
        due: Micros,
        /// When it was seen.
        seen: Micros,
        /// Whether the node ended other than in order since it came.
        crashed_since: bool,
    },
    /// A message came with an entry in `x-death`.
    Died {
        /// The message.
        message: MessageNumber,
        /// Where it died; `None` if the entry names no queue of the run.
        queue: Option<QueueIndex>,
        /// Why.
        reason: Reason,
        /// How often, by the header.
        count: u32,
        /// How often it must have been, at least.
        least: u32,
        /// How often it can have been.
        most: u32,
        /// Whether the queue's rules know that reason.
        is_possible: bool,
    },
    /// A message came for the first time, from its queue or driven out of it by a limit, after another one had been driven out.
    Dropped {
        /// The message.
        message: MessageNumber,
        /// The queue they were in.
        queue: QueueIndex,
        /// The one that was driven out before.
        before: MessageNumber,
        /// Whether that one stood in front of it.
        is_in_order: bool,
    },
    /// The other dead-letter headers of a message.
    Marked {
        /// The message.
        message: MessageNumber,
        /// `x-last-death-*` is the newest entry of `x-death`.
        last_agrees: bool,
        /// `x-first-death-*` is one of its entries, and the same as ever.
        first_agrees: bool,
        /// No queue and reason appear twice, and no expiration is left.
        is_tidy: bool,
        /// Deaths in the queue that messages are published to, and in the one behind it.
        front: u32,
        /// See `front`.
        behind: u32,
        /// Whether that is the way from where it was published to to where it was seen.
        is_on_its_way: bool,
    },
    /// A message was delivered while others waited, for the first time, in the same queue.
    Chosen {
        /// The queue.
        queue: QueueIndex,
        /// The most urgent one that waited.
        message: MessageNumber,
        /// Its priority.
        priority: u8,
        /// The message that was delivered.
        by: MessageNumber,
        /// Its priority.
        by_priority: u8,
    },
    /// A queue with a single active consumer delivered to another one.
    Activated {
        /// The queue.
        queue: QueueIndex,
        /// The connection of the one who got messages before.
        before: u32,
        /// The connection of the one who gets them.
        after: u32,
        /// Whether the one before is still subscribed.
        is_before_there: bool,
        /// Whether the one after has a higher priority and the one before has answered all that it got.
        gave_way: bool,
    },
    /// A queue with a single active consumer delivered.
    ActiveGiven {
        /// The queue.
        queue: QueueIndex,
        /// The connection that got it.
        connection: u32,
        /// Its consumer's priority.
        priority: i64,
        /// The highest priority of a consumer that was there before this step.
        highest: i64,
    },
    /// The node cancelled a consumer, which had held something for too long.
    Dismissed {
        /// The connection.
        connection: u32,
        /// The queue.
        queue: QueueIndex,
    },
    /// The node closed a channel.
    Shut {
        /// The connection.
        connection: u32,
        /// The channel.
        channel: u16,
        /// The reply code.
        code: u16,
    },
    /// A publisher was told to wait, or that it may go on.
    Blocked {
        /// The connection.
        connection: u32,
        /// Whether it is to wait.
        is_blocked: bool,
        /// What is short.
        short: Short,
        /// Whether something was short at some time of this step: what the node says of a moment goes out at the step's end.
        was_short: bool,
        /// Whether nothing was at some time of this step.
        was_enough: bool,
        /// Whether the disk may be full for other reasons.
        maybe_full: bool,
    },
    /// The node was told what it has left.
    Measured {
        /// What was short before.
        before: Short,
        /// What is short.
        short: Short,
        /// Connections that are told to wait.
        blocked: usize,
    },
    /// The node took a publish from one whom it had told to wait.
    TakenWhileBlocked {
        /// The connection.
        connection: u32,
        /// The message.
        message: MessageNumber,
    },
    /// A queue with a limit was looked at, and nothing excuses more than that.
    Length {
        /// The queue.
        queue: QueueIndex,
        /// Messages ready.
        ready: u64,
        /// The limit.
        limit: u64,
        /// Whether it comes from the policy.
        is_by_policy: bool,
    },
    /// All queues were drained, and of a message that was promised it is known what had to become of it.
    Accounted {
        /// The message.
        message: MessageNumber,
        /// Where it was published to.
        queue: QueueIndex,
        /// That did not happen.
        is_missing: bool,
    },
    /// How many messages are in a queue that was drained before the last restart.
    LeftOver {
        /// The queue.
        queue: QueueIndex,
        /// How many.
        count: u64,
    },
}

impl StoryFact {
    /// The message it is about.
    pub(crate) fn message(&self) -> Option<MessageNumber> {
        match *self {
            Self::Accepted { message, .. }
            | Self::Given { message, .. }
            | Self::Timed { message, .. }
            | Self::Left { message, .. }
            | Self::Delayed { message, .. }
            | Self::Died { message, .. }
            | Self::Dropped { message, .. }
            | Self::Marked { message, .. }
            | Self::Chosen { message, .. }
            | Self::TakenWhileBlocked { message, .. }
            | Self::Accounted { message, .. } => Some(message),
            Self::Outcome { message, .. } => message,
            Self::Activated { .. }
            | Self::ActiveGiven { .. }
            | Self::Shut { .. }
            | Self::Blocked { .. }
            | Self::Length { .. }
            | Self::Dismissed { .. }
            | Self::Measured { .. }
            | Self::LeftOver { .. } => None,
        }
    }

    /// The queue it is about.
    pub(crate) fn queue(&self) -> Option<QueueIndex> {
        match *self {
            Self::Accepted { queue, .. }
            | Self::Given { queue, .. }
            | Self::Timed { queue, .. }
            | Self::Left { queue, .. }
            | Self::Dropped { queue, .. }
            | Self::Chosen { queue, .. }
            | Self::Activated { queue, .. }
            | Self::ActiveGiven { queue, .. }
            | Self::Length { queue, .. }
            | Self::Dismissed { queue, .. }
            | Self::Accounted { queue, .. }
            | Self::LeftOver { queue, .. } => Some(queue),
            Self::Died { queue, .. } => queue,
            Self::Outcome { .. }
            | Self::Delayed { .. }
            | Self::Marked { .. }
            | Self::Shut { .. }
            | Self::Blocked { .. }
            | Self::Measured { .. }
            | Self::TakenWhileBlocked { .. } => None,
        }
    }
}

impl fmt::Display for StoryFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Accepted { message, queue } => write!(f, "publish {message} to q{}", queue.0),
            Self::Outcome { message: None, is_ack, .. } => write!(f, "an answer ({is_ack}) to no publish"),
            Self::Outcome { message: Some(message), is_ack, .. } => {
                write!(f, "{} {message}", if is_ack { "confirm" } else { "refuse" })
            }
            Self::Given { message, queue, redelivered, deaths, .. } => {
                let flag = if redelivered { ", redelivered" } else { "" };
                write!(f, "deliver {message} of q{} after {deaths} deaths{flag}", queue.0)
            }
            Self::Timed { message, queue, is_alive, due, seen, .. } => {
                let how = if is_alive { "alive" } else { "expired" };
                write!(f, "{message} of q{} is seen {how} at {seen} µs; its time is over at {due} µs", queue.0)
            }
            Self::Left { message, queue, reason, .. } => write!(f, "{message} leaves q{}: {reason:?}", queue.0),
            Self::Delayed { message, due, seen, .. } => write!(f, "{message} is due at {due} µs and seen at {seen} µs"),
            Self::Died { message, queue, reason, count, least, most, .. } => {
                let queue = queue.map_or(-1, |queue| i64::from(queue.0));
                write!(f, "{message} says: died {count} times in q{queue} ({reason:?}); {least} to {most} known")
            }
            Self::Dropped { message, queue, before, .. } => {
                write!(f, "{message} comes after {before} was driven out of q{}", queue.0)
            }
            Self::Marked { message, front, behind, .. } => {
                write!(f, "{message} says: {front} deaths in front, {behind} behind")
            }
            Self::Chosen { queue, message, priority, by, by_priority } => write!(
                f,
                "{by} of priority {by_priority} is delivered from q{} while {message} of priority {priority} waits",
                queue.0
            ),
            Self::ActiveGiven { queue, connection, priority, highest } => write!(
                f,
                "q{} delivers to connection {connection}, its active consumer, of priority {priority} of {highest}",
                queue.0
            ),
            Self::Activated { queue, before, after, is_before_there, gave_way } => {
                let there = match (is_before_there, gave_way) {
                    (true, true) => "gives way",
                    (true, false) => "is still there",
                    (false, _) => "is gone",
                };
                write!(f, "q{} delivers to connection {after}; {before}, who had it before, {there}", queue.0)
            }
            Self::Blocked { connection, is_blocked, short, .. } => {
                let what = if is_blocked { "blocked" } else { "unblocked" };
                let state = |is_short| if is_short { "short" } else { "enough" };
                let (memory, disk) = (state(short.memory), state(short.disk));
                write!(f, "connection {connection} is {what}; memory {memory}, disk {disk}")
            }
            Self::Shut { connection, channel, code } => {
                write!(f, "node closes channel {connection}/{channel} with {code}")
            }
            Self::TakenWhileBlocked { connection, message } => {
                write!(f, "the node takes {message} from connection {connection}, which is blocked")
            }
            Self::Length { queue, ready, limit, .. } => {
                write!(f, "q{} has {ready} messages ready; limit {limit}", queue.0)
            }
            Self::Accounted { message, queue, is_missing } => {
                let what = if is_missing { "never came" } else { "is accounted for" };
                write!(f, "{message}, confirmed and meant for q{}, {what}", queue.0)
            }
            Self::Dismissed { connection, queue } => {
                write!(f, "node cancels a consumer of q{} on connection {connection}", queue.0)
            }
            Self::Measured { short: Short { memory, disk }, blocked, .. } => {
                write!(f, "memory short {memory}, disk short {disk}; {blocked} connections wait")
            }
            Self::LeftOver { queue, count } => write!(f, "q{} has {count} messages after the last restart", queue.0),
        }
    }
}
