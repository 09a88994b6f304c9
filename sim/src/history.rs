//! What happened, in the words of the promise: the facts that the model derives from what crosses the engine's boundary, and that
//! the oracles judge.

use std::collections::VecDeque;
use std::fmt;

use crate::clock::Micros;
use crate::message::MessageNumber;
use crate::nodes::At;
use crate::plan::Ending;
use crate::story::StoryFact;

/// A queue's name as a number; see [`crate::model::Model::queue_names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueueIndex(pub(crate) u32);

/// One life of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Session(pub(crate) u32);

/// What the model holds to be true of a message in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It is not there and never was.
    Never,
    /// It is there and waits for a consumer.
    Ready,
    /// It may or may not be there: nothing is promised.
    Maybe,
    /// It is with a consumer that has not answered.
    Unacked(Session),
    /// It left for good.
    Gone(Departure),
}

/// How a message left a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// Acked.
    Acked,
    /// Delivered where that counts as acked.
    AutoAcked,
    /// Rejected without requeue.
    Rejected,
    /// Purged.
    Purged,
    /// It was not to survive a restart.
    Restarted,
    /// Its queue was deleted.
    Deleted,
    /// It came as a dead letter elsewhere.
    Died,
    /// It never came in: its publisher was told so.
    Refused,
}

/// What happens to a queue as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A client asks for it to be there.
    DeclareAsked,
    /// It is there.
    Declared,
    /// A client asks for it to be deleted.
    DeleteAsked,
    /// A client asks for it to be emptied.
    PurgeAsked,
    /// The request was refused.
    Refused,
    /// It is gone.
    Gone,
}

/// A kind of what can be declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declared {
    Queues,
    Exchanges,
    Bindings,
}

impl Declared {
    /// Its name, of several.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Queues => "queues",
            Self::Exchanges => "exchanges",
            Self::Bindings => "bindings",
        }
    }
}

/// One node of several, or the only one.
fn one_of(node: Option<At>) -> String {
    node.map_or_else(|| "node".to_owned(), |at| format!("node {}", at.letter()))
}

/// A part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The payload.
    Body,
    /// The properties, headers among them.
    Properties,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Body => "body",
            Self::Properties => "properties",
        })
    }
}

/// One fact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fact {
    /// A fact of a run whose queues have rules.
    Story(StoryFact),
    /// An operator looked at a message.
    Peeked {
        /// In this queue.
        queue: QueueIndex,
        /// Which; `None` for one that nobody published.
        message: Option<MessageNumber>,
        /// What of it is not as it was published.
        wrong: Option<Part>,
        /// He got more than he asked for.
        too_many: bool,
    },
    /// The node has said that a queue delivers nothing from now on.
    Paused {
        /// Which.
        queue: QueueIndex,
    },
    /// An operator asks for its deliveries again.
    Resumed {
        /// Which.
        queue: QueueIndex,
    },
    /// What became of all that operators asked, when all has come to rest.
    Operated {
        /// Answers that were due.
        answers: u64,
        /// Others.
        undue: u64,
        /// Requests without an answer, although the node did not end since.
        open: u64,
    },
    /// A client's connection came up.
    Connected {
        /// The client.
        client: u32,
        /// The connection.
        connection: u32,
    },
    /// A connection is over for the node.
    Disconnected {
        /// The connection.
        connection: u32,
    },
    /// The node closed a channel or, without a channel, a connection.
    Closed {
        /// The connection.
        connection: u32,
        /// The channel.
        channel: u16,
        /// The reply code.
        code: u16,
    },
    /// The node took a publish.
    Published {
        /// The channel's life.
        session: Session,
        /// The message.
        message: MessageNumber,
        /// Its number, in confirm mode.
        seqno: Option<u64>,
        /// Queues it must reach.
        certain: u32,
        /// Queues it may reach besides.
        possible: u32,
        /// Whether it is to be returned if it reaches none.
        mandatory: bool,
    },
    /// A mandatory message came back.
    Returned {
        /// The channel's life.
        session: Session,
        /// The message.
        message: MessageNumber,
        /// Queues it had to reach.
        certain: u32,
        /// Whether it was published as mandatory on this channel.
        is_mandatory: bool,
    },
    /// A publish was answered.
    Answered {
        /// The channel's life.
        session: Session,
        /// The number of the publish.
        seqno: u64,
        /// The message; `None` if nothing was published under that number, or it was answered before.
        message: Option<MessageNumber>,
        /// Ack rather than nack.
        is_ack: bool,
        /// Whether it had to be returned before and was not.
        lacks_return: bool,
        /// Whether it is a persistent message that still is in a durable queue, so that the log has to have it.
        must_be_durable: bool,
        /// Where the log has it.
        lsn: Option<u64>,
        /// Up to where the log is as safe as confirms promise at this moment.
        safe: u64,
    },
    /// A message was delivered, or given to a get.
    Delivered {
        /// The channel's life.
        session: Session,
        /// The delivery tag.
        tag: u64,
        /// The queue; `None` if the consumer is unknown.
        queue: Option<QueueIndex>,
        /// The message; `None` if it is none of the run's.
        message: Option<MessageNumber>,
        /// What the model had of it.
        before: Presence,
        /// The flag.
        redelivered: bool,
        /// How often it had been delivered from this queue before.
        deliveries: u32,
        /// Whether it may have been on its way to a consumer whose connection then ended, unseen by the simulator.
        maybe_unseen: bool,
        /// Whether the node ended other than in order since it was delivered before (or, if it never was, since it was published).
        crashed_since: bool,
        /// Its place in the queue; grows with each publish.
        position: u64,
        /// The consumer and the publishing channel whose order counts; `None` if all messages of the queue have one.
        of: Option<(u32, Session)>,
        /// Unacked messages of this consumer, with this one.
        unacked: u32,
        /// The consumer's limit; 0 is none.
        prefetch: u32,
        /// Unacked messages of all consumers of the channel, with this one.
        channel_unacked: u32,
        /// The channel's limit; 0 is none.
        channel_prefetch: u32,
        /// Whether it was the answer to a get.
        is_get: bool,
        /// The connection and the channel's number, for people.
        connection: u32,
        /// See `connection`.
        channel: u16,
    },
    /// A message says how often a delivery of it failed.
    Failed {
        /// The queue.
        queue: QueueIndex,
        /// The message.
        message: MessageNumber,
        /// How often, by its header.
        count: u64,
        /// How often it can have been, and still be there.
        most: u64,
    },
    /// The node closed a channel, or cancelled a consumer, of a client that uses a queue of all nodes.
    Dismissed {
        /// The connection.
        connection: u32,
        /// The channel.
        channel: u16,
        /// The reply code; 0 for a consumer.
        code: u16,
        /// Whether it may.
        has_reason: bool,
    },
    /// A message was delivered although an older one was there.
    Skipped {
        /// The queue.
        queue: QueueIndex,
        /// The older one.
        message: MessageNumber,
        /// Whether the older one had been delivered and put back.
        was_requeued: bool,
        /// The one delivered.
        delivered: MessageNumber,
    },
    /// A get was answered with "empty" although a message was there all the time.
    MissedByGet {
        /// The queue.
        queue: QueueIndex,
        /// The message.
        message: MessageNumber,
    },
    /// A message left a queue for good.
    Departed {
        /// The queue.
        queue: QueueIndex,
        /// The message.
        message: MessageNumber,
        /// How.
        how: Departure,
    },
    /// A message was put back.
    Requeued {
        /// The queue.
        queue: QueueIndex,
        /// The message.
        message: MessageNumber,
    },
    /// Something happened to a queue as a whole.
    Changed {
        /// The queue.
        queue: QueueIndex,
        /// What.
        what: Change,
    },
    /// A node ended.
    Ended {
        /// Which of several.
        node: Option<At>,
        /// How.
        how: Ending,
        /// By itself, because it could not go on.
        by_itself: bool,
    },
    /// A node is ready after a start.
    Ready {
        /// Which of several.
        node: Option<At>,
    },
    /// A node has carried out changes that its cluster has decided.
    Applied {
        /// Which.
        node: At,
        /// The number of the last of them.
        applied: u64,
        /// The node that came to something else after the same change, if one did.
        differs_from: Option<At>,
    },
    /// A replica of a queue has applied what was decided.
    Carried {
        /// The queue.
        queue: QueueIndex,
        /// The replica's node.
        node: At,
        /// The last entry.
        applied: u64,
        /// Replicas whose disks have that entry for good.
        holders: u64,
        /// The replicas of which a majority decides.
        voters: u64,
        /// The node whose replica came to something else after the same entry, if one did.
        differs_from: Option<At>,
    },
    /// A node leads, the cluster or a queue.
    Led {
        /// Which node.
        node: At,
        /// Since which term.
        term: u64,
        /// A queue.
        is_of_queue: bool,
        /// Who else led in that term, if somebody did.
        rival: Option<At>,
    },
    /// A node was started, and has read what it had carried out before.
    Reread {
        /// Which.
        node: At,
        /// The number of the last change that it remembers.
        applied: u64,
        /// The number of the last one that was in what its disk kept.
        least: u64,
    },
    /// At rest, what a node knows of what was declared.
    Known {
        /// Which node.
        node: At,
        /// Queues, exchanges or bindings.
        what: Declared,
        /// How many of them are certain and not known to it.
        missing: u32,
        /// How many of them it knows and should not.
        undue: u32,
    },
    /// At rest, a queue's count.
    Counted {
        /// The queue.
        queue: QueueIndex,
        /// What the node says is ready and unacked.
        found: u64,
        /// The least it may be.
        least: u64,
        /// The most it may be.
        most: u64,
    },
    /// A queue that had been one connection's alone was declared by another.
    Succeeded {
        /// The queue.
        queue: QueueIndex,
        /// The connection whose it was.
        owner: u32,
        /// Whether that is there, and stays.
        is_owner_there: bool,
    },
    /// A queue exists or does not, against what the model is certain of.
    Existence {
        /// The queue.
        queue: QueueIndex,
        /// Whether the node has it.
        found: bool,
    },
    /// All that had to come out of a queue came.
    Emptied {
        /// The queue.
        queue: QueueIndex,
    },
    /// After a queue was drained, a message that had to come out of it.
    NeverCame {
        /// The queue.
        queue: QueueIndex,
        /// The message.
        message: MessageNumber,
        /// Whether its publisher had been told that it is safe.
        was_confirmed: bool,
    },
    /// A client compared a message with what was published.
    Read {
        /// The client.
        client: u32,
        /// The message it claims to be; `None` if it is none of the run's.
        message: Option<MessageNumber>,
        /// What is not as it was published.
        wrong: Option<Part>,
    },
    /// What the node still holds when everything is drained and all clients are gone.
    Rest {
        /// Bytes of bodies in memory.
        body_bytes: u64,
        /// Bytes for clients.
        outbox_bytes: u64,
        /// Connections.
        connections: u64,
        /// Segments of the log.
        segments: u64,
    },
}

impl Fact {
    /// The queue it is about.
    pub(crate) fn queue(&self) -> Option<QueueIndex> {
        match *self {
            Self::Delivered { queue, .. } => queue,
            Self::Story(fact) => fact.queue(),
            Self::Skipped { queue, .. }
            | Self::MissedByGet { queue, .. }
            | Self::Departed { queue, .. }
            | Self::Requeued { queue, .. }
            | Self::Counted { queue, .. }
            | Self::Existence { queue, .. }
            | Self::Changed { queue, .. }
            | Self::Emptied { queue }
            | Self::Peeked { queue, .. }
            | Self::Failed { queue, .. }
            | Self::Carried { queue, .. }
            | Self::Paused { queue }
            | Self::Resumed { queue }
            | Self::Succeeded { queue, .. }
            | Self::NeverCame { queue, .. } => Some(queue),
            _ => None,
        }
    }

    /// The message it is about.
    pub(crate) fn message(&self) -> Option<MessageNumber> {
        match *self {
            Self::Delivered { message, .. }
            | Self::Answered { message, .. }
            | Self::Read { message, .. }
            | Self::Peeked { message, .. } => message,
            Self::Story(fact) => fact.message(),
            Self::Published { message, .. }
            | Self::Returned { message, .. }
            | Self::Skipped { message, .. }
            | Self::MissedByGet { message, .. }
            | Self::Departed { message, .. }
            | Self::Requeued { message, .. }
            | Self::Failed { message, .. }
            | Self::NeverCame { message, .. } => Some(message),
            _ => None,
        }
    }

    /// The channel it is about.
    pub(crate) fn session(&self) -> Option<Session> {
        match *self {
            Self::Published { session, .. }
            | Self::Returned { session, .. }
            | Self::Answered { session, .. }
            | Self::Delivered { session, .. } => Some(session),
            _ => None,
        }
    }

    /// Whether one who looks into `cause` wants to see this.
    fn is_relevant_to(&self, cause: &Self) -> bool {
        if matches!(self, Self::Ended { .. } | Self::Ready { .. }) {
            return true;
        }
        if cause.message().is_some() {
            let other = if let Self::Skipped { delivered, .. } = cause { Some(*delivered) } else { None };
            return self.message().is_some() && (self.message() == cause.message() || self.message() == other);
        }
        if matches!(cause, Self::Existence { .. }) {
            return matches!(self, Self::Changed { .. }) && self.queue() == cause.queue();
        }
        match (cause.session(), cause.queue()) {
            (Some(session), _) => self.session() == Some(session),
            (None, Some(queue)) => self.queue() == Some(queue),
            (None, None) => true,
        }
    }
}

/// The facts of a run, the latest of them if there are very many.
#[derive(Debug)]
pub(crate) struct History {
    facts: VecDeque<(Micros, Fact)>,
    total: u64,
}

/// Facts kept; a run of the built-in scenarios has fewer.
const KEPT: usize = 400_000;

/// Facts that there is room for from the beginning, so that what is kept need not move: few runs have more. Room that stays empty is
/// never touched.
const EXPECTED: usize = 1 << 16;

impl History {
    /// Nothing has happened.
    pub(crate) fn new() -> Self {
        Self { facts: VecDeque::with_capacity(EXPECTED), total: 0 }
    }

    /// Adds a fact.
    pub(crate) fn push(&mut self, time: Micros, fact: &Fact) {
        if self.facts.len() == KEPT {
            self.facts.pop_front();
        }
        self.total += 1;
        self.facts.push_back((time, *fact));
    }

    /// How many facts there were.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The last `count` facts that matter to `cause`, oldest first.
    pub(crate) fn relevant(&self, cause: &Fact, count: usize) -> Vec<(Micros, Fact)> {
        let mut out: Vec<_> =
            self.facts.iter().rev().filter(|(_, fact)| fact.is_relevant_to(cause)).take(count).copied().collect();
        out.reverse();
        out
    }

    /// The last `count` facts, oldest first.
    pub(crate) fn last(&self, count: usize) -> Vec<(Micros, Fact)> {
        self.facts.iter().skip(self.facts.len().saturating_sub(count)).copied().collect()
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text =
            |message: Option<MessageNumber>| message.map_or_else(|| "a stranger".to_owned(), |it| it.to_string());
        match *self {
            Self::Story(fact) => fact.fmt(f),
            Self::Connected { client, connection } => write!(f, "client {client} connects as connection {connection}"),
            Self::Peeked { queue, message, .. } => write!(f, "an operator sees {} in q{}", text(message), queue.0),
            Self::Paused { queue } => write!(f, "q{} rests", queue.0),
            Self::Resumed { queue } => write!(f, "an operator resumes q{}", queue.0),
            Self::Operated { answers, undue, open } => {
                write!(f, "operators have {answers} answers, {open} requests are open; {undue} answers to nothing")
            }
            Self::Disconnected { connection } => write!(f, "connection {connection} is over"),
            Self::Closed { connection, channel: 0, code } => {
                write!(f, "node closes connection {connection} with {code}")
            }
            Self::Closed { connection, channel, code } => {
                write!(f, "node closes channel {connection}/{channel} with {code}")
            }
            Self::Published { session, message, seqno, certain, possible, mandatory } => {
                write!(f, "s{} publish {message}", session.0)?;
                if let Some(seqno) = seqno {
                    write!(f, " as {seqno}")?;
                }
                write!(f, " to {certain} queues")?;
                if possible > 0 {
                    write!(f, " and perhaps {possible} more")?;
                }
                if mandatory { f.write_str(", mandatory") } else { Ok(()) }
            }
            Self::Returned { session, message, .. } => write!(f, "s{} return {message}", session.0),
            Self::Answered { session, seqno, message, is_ack, lsn, safe, .. } => {
                let verb = if is_ack { "confirm" } else { "refuse" };
                write!(f, "s{} {verb} {seqno} ({}); at {lsn:?} in the log, safe up to {safe}", session.0, text(message))
            }
            Self::Delivered {
                session, tag, queue, message, before, redelivered, connection, channel, is_get, ..
            } => {
                let verb = if is_get { "get" } else { "deliver" };
                let flag = if redelivered { " redelivered" } else { "" };
                let queue = queue.map_or(-1, |queue| i64::from(queue.0));
                write!(
                    f,
                    "s{} {verb} {} of q{queue} on {connection}/{channel} as {tag}{flag}; it was {before:?}",
                    session.0,
                    text(message)
                )
            }
            Self::Failed { queue, message, count, most } => {
                write!(f, "{message} of q{} says that {count} deliveries failed, of {most} at most", queue.0)
            }
            Self::Dismissed { connection, channel, code: 0, .. } => {
                write!(f, "node cancels a consumer on {connection}/{channel}")
            }
            Self::Dismissed { connection, channel, code, .. } => {
                write!(f, "node closes channel {connection}/{channel} of a queue of all nodes with {code}")
            }
            Self::Skipped { queue, message, was_requeued, delivered } => {
                let how = if was_requeued { "put back" } else { "never delivered" };
                write!(f, "{delivered} of q{} is delivered while the older {message}, {how}, waits", queue.0)
            }
            Self::MissedByGet { queue, message } => write!(f, "a get finds q{} empty while {message} waits", queue.0),
            Self::Departed { queue, message, how } => write!(f, "{message} leaves q{}: {how:?}", queue.0),
            Self::Requeued { queue, message } => write!(f, "{message} back into q{}", queue.0),
            Self::Changed { queue, what } => write!(f, "q{}: {what:?}", queue.0),
            Self::Ended { node, how, by_itself: false } => write!(f, "{} ends: {how:?}", one_of(node)),
            Self::Ended { node, by_itself: true, .. } => write!(f, "{} stops by itself", one_of(node)),
            Self::Ready { node } => write!(f, "{} is ready", one_of(node)),
            Self::Applied { node, applied, differs_from: None } => {
                write!(f, "node {} has carried out change {applied}", node.letter())
            }
            Self::Applied { node, applied, differs_from: Some(other) } => {
                let (node, other) = (node.letter(), other.letter());
                write!(f, "node {node} has carried out change {applied} and is not what node {other} was then")
            }
            Self::Carried { queue, node, applied, holders, voters, differs_from } => {
                let differs = if differs_from.is_some() { ", and is not what another was then" } else { "" };
                let (queue, node) = (queue.0, node.letter());
                write!(
                    f,
                    "q{queue} on node {node} has applied entry {applied}, which {holders} of {voters} have{differs}"
                )
            }
            Self::Led { node, term, is_of_queue, .. } => {
                let what = if is_of_queue { "a queue" } else { "the cluster" };
                write!(f, "node {} leads {what} in term {term}", node.letter())
            }
            Self::Reread { node, applied, least } => {
                write!(f, "node {} remembers change {applied}, and its disk kept {least}", node.letter())
            }
            Self::Known { node, what, missing, undue } => {
                let what = what.name();
                write!(f, "node {} lacks {missing} {what}, and knows {undue} that should be gone", node.letter())
            }
            Self::Counted { queue, found, least, most } => {
                write!(f, "q{} holds {found}; the model has {least} to {most}", queue.0)
            }
            Self::Existence { queue, found } => {
                write!(
                    f,
                    "q{} is {}",
                    queue.0,
                    if found { "there, against the model" } else { "missing, against the model" }
                )
            }
            Self::Succeeded { queue, owner, is_owner_there } => {
                let there = if is_owner_there { "is there" } else { "is gone" };
                write!(f, "q{} is another connection's now; {owner}, whose it was, {there}", queue.0)
            }
            Self::Emptied { queue } => write!(f, "q{} is empty", queue.0),
            Self::NeverCame { queue, message, was_confirmed } => {
                let confirmed =
                    if was_confirmed { "confirmed" } else { "never confirmed, but taken and no crash since" };
                write!(f, "{message} never came out of q{} ({confirmed})", queue.0)
            }
            Self::Read { client, message, wrong: None } => write!(f, "client {client} reads {}", text(message)),
            Self::Read { client, message, wrong: Some(part) } => {
                write!(f, "client {client} reads {} with the wrong {part}", text(message))
            }
            Self::Rest { body_bytes, outbox_bytes, connections, segments } => write!(
                f,
                "at rest: {body_bytes} bytes of bodies, {outbox_bytes} bytes for clients, {connections} connections, {segments} segments"
            ),
        }
    }
}
