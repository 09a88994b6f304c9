//! What nodes ask each other for operators, in frames of the lane for queues ([`super::queues`]), version 1.
//!
//! A byte with the kind, then the fields. Numbers take seven bits a byte, flags one.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use super::listings;
use crate::amqp::ShortStr;
use crate::ids::{NodeId, QueueId};
use crate::management::{AdminErrorKind, ChannelInfo, ConnectionInfo, ConnectionRequest, ConsumerInfo, Selection};
use crate::storage::codec::{Reader, put_varint};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inquiry {
    /// The leader of a queue is to change its members, or to give the lead to another. Answered when that is so.
    Wish { queue: QueueId, wish: Wish },
    /// How the receiver's replica of a queue is.
    Member { queue: QueueId },
    /// What is in the queues that are on the receiver, or led by it.
    Queues,
    /// The node of a queue, or its leader, is to do something with what is in it.
    Operate { queue: QueueId, operation: Operation },
    /// The receiver is to tell of its connections, or to close some; asked since [`version::LISTINGS`](super::version::LISTINGS).
    Connections(ConnectionRequest),
}

/// What is done with what is in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Drops what waits, or so many of the oldest.
    Purge { count: Option<u64> },
    /// Shows some of what waits.
    Peek(Selection),
    /// Drops some of what waits.
    Delete(Selection),
    /// Gives nothing out from here on, or does again.
    Pause { is_paused: bool },
    /// Nothing: what it holds is asked.
    Count,
}

/// What is wanted of the members of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// This node is to be one.
    Add(NodeId),
    /// This node is to be none.
    Remove(NodeId),
    /// This one is to lead.
    Lead(NodeId),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Report {
    /// The receiver does not lead that queue, or has no replica of it; who leads, as far as it knows, or node 0.
    NotHere { leader: NodeId },
    /// It is so.
    Done,
    /// It cannot be so.
    Refused(Refusal),
    /// How the replica is.
    Member(Member),
    /// What is in queues.
    Queues(Vec<Counts>),
    /// What came of something that was done.
    Outcome(Outcome),
    /// It was not done, for this reason.
    Failed(AdminErrorKind, String),
    /// The connections that there are.
    Connections(Vec<ConnectionInfo>),
    /// The channels that there are.
    Channels(Vec<ChannelInfo>),
    /// The consumers that there are.
    Consumers(Vec<ConsumerInfo>),
}

/// What came of something that was done with a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// No more than that it is done.
    Done,
    /// It was done to so many messages.
    Count(u64),
    /// These are the messages.
    Messages(Vec<Shown>),
    /// So many messages wait, and so many consumers are there.
    Holds { ready: u64, consumers: u64 },
}

/// A message that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Its place in the queue.
    pub(crate) seq: u64,
    /// Whether a consumer may have seen it.
    pub(crate) is_redelivered: bool,
    /// The message as it is in the log.
    pub(crate) payload: Bytes,
}

/// Why the members of a queue cannot be as was wished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The last member that has a vote would go.
    LastMember,
    /// Who is to lead has no vote.
    NoMember,
    /// There would be more than there may be.
    TooMany,
}

/// A replica as its node sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// Who leads, or node 0.
    pub(crate) leader: NodeId,
    /// Whether the group counts it for a majority, as far as it knows.
    pub(crate) has_vote: bool,
    pub(crate) term: u64,
    pub(crate) last: u64,
    pub(crate) written: u64,
    pub(crate) applied: u64,
    pub(crate) committed: u64,
    pub(crate) snapshot: u64,
}

/// What is in one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) queue: QueueId,
    pub(crate) is_paused: bool,
    pub(crate) ready: u64,
    pub(crate) unacked: u64,
    pub(crate) ready_bytes: u64,
    pub(crate) unacked_bytes: u64,
    /// What came back and waits for its time, and bytes of that; told since [`version::COUNTS`](super::version::COUNTS).
    pub(crate) delayed: u64,
    pub(crate) delayed_bytes: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) consumers: u64,
    /// Members that have no vote yet, since they have not caught up; told since [`version::VOTES`](super::version::VOTES).
    pub(crate) learners: Vec<NodeId>,
}

/// Bits beside that of a queue that is paused.
const HAS_DELAYED: u8 = 2;
const HAS_LEARNERS: u8 = 4;

const WISH: u8 = 1;
const MEMBER: u8 = 2;
const QUEUES: u8 = 3;
const OPERATE: u8 = 4;
const CONNECTIONS: u8 = 5;

const NOT_HERE: u8 = 1;
const DONE: u8 = 2;
const REFUSED: u8 = 3;
const OF_MEMBER: u8 = 4;
const OF_QUEUES: u8 = 5;
const OUTCOME: u8 = 6;
const FAILED: u8 = 7;
const OF_CONNECTIONS: u8 = 8;
const OF_CHANNELS: u8 = 9;
const OF_CONSUMERS: u8 = 10;

impl Inquiry {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Wish { queue, wish } => {
                let (kind, node) = match wish {
                    Wish::Add(node) => (1, node),
                    Wish::Remove(node) => (2, node),
                    Wish::Lead(node) => (3, node),
                };
                out.extend([WISH, kind]);
                put_varint(out, queue.0);
                put_varint(out, node.0);
            }
            Self::Member { queue } => {
                out.push(MEMBER);
                put_varint(out, queue.0);
            }
            Self::Queues => out.push(QUEUES),
            Self::Operate { queue, operation } => {
                out.push(OPERATE);
                put_varint(out, queue.0);
                put_operation(out, operation);
            }
            Self::Connections(request) => {
                out.push(CONNECTIONS);
                listings::put_request(out, request);
            }
        }
    }

    /// Whether asking twice is as good as once.
    pub(crate) fn is_repeatable(&self) -> bool {
        match self {
            Self::Wish { .. } | Self::Member { .. } | Self::Queues => true,
            Self::Operate { operation, .. } => match operation {
                Operation::Purge { count } => count.is_none(),
                Operation::Peek(_) | Operation::Pause { .. } | Operation::Count => true,
                Operation::Delete(_) => false,
            },
            // Who is closed is counted once.
            Self::Connections(request) => !matches!(request, ConnectionRequest::Close { .. }),
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(match reader.u8()? {
            WISH => {
                let kind = reader.u8()?;
                let (queue, node) = (QueueId(reader.varint()?), NodeId(reader.varint()?));
                let wish = match kind {
                    1 => Wish::Add(node),
                    2 => Wish::Remove(node),
                    3 => Wish::Lead(node),
                    _ => return None,
                };
                Self::Wish { queue, wish }
            }
            MEMBER => Self::Member { queue: QueueId(reader.varint()?) },
            QUEUES => Self::Queues,
            OPERATE => Self::Operate { queue: QueueId(reader.varint()?), operation: read_operation(reader)? },
            CONNECTIONS => Self::Connections(listings::read_request(reader)?),
            _ => return None,
        })
    }
}

impl Report {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let put = |out: &mut Vec<u8>, numbers: &[u64]| numbers.iter().for_each(|number| put_varint(out, *number));
        match self {
            Self::NotHere { leader } => {
                out.push(NOT_HERE);
                put_varint(out, leader.0);
            }
            Self::Done => out.push(DONE),
            Self::Refused(refusal) => out.extend([
                REFUSED,
                match refusal {
                    Refusal::LastMember => 1,
                    Refusal::NoMember => 2,
                    Refusal::TooMany => 3,
                },
            ]),
            Self::Member(member) => {
                let Member { leader, has_vote, term, last, written, applied, committed, snapshot } = *member;
                out.extend([OF_MEMBER, has_vote.into()]);
                put(out, &[leader.0, term, last, written, applied, committed, snapshot]);
            }
            Self::Queues(queues) => {
                out.push(OF_QUEUES);
                listings::put_list(out, queues, |out, counts| {
                    let Counts {
                        queue,
                        is_paused,
                        ready,
                        unacked,
                        ready_bytes,
                        unacked_bytes,
                        delayed,
                        delayed_bytes,
                        memory_bytes,
                        consumers,
                        ref learners,
                    } = *counts;
                    put_varint(out, queue.0);
                    let has = |bit: u8, is: bool| if is { bit } else { 0 };
                    out.push(
                        has(1, is_paused) | has(HAS_DELAYED, delayed > 0) | has(HAS_LEARNERS, !learners.is_empty()),
                    );
                    put(out, &[ready, unacked, ready_bytes, unacked_bytes, memory_bytes, consumers]);
                    if delayed > 0 {
                        put(out, &[delayed, delayed_bytes]);
                    }
                    if !learners.is_empty() {
                        listings::put_list(out, learners, |out, node| put_varint(out, node.0));
                    }
                });
            }
            Self::Outcome(outcome) => {
                out.push(OUTCOME);
                match outcome {
                    Outcome::Done => out.push(1),
                    Outcome::Count(count) => {
                        out.push(2);
                        put_varint(out, *count);
                    }
                    Outcome::Messages(shown) => {
                        out.push(3);
                        listings::put_list(out, shown, |out, Shown { seq, is_redelivered, payload }| {
                            put_varint(out, *seq);
                            out.push((*is_redelivered).into());
                            put_bytes(out, payload);
                        });
                    }
                    Outcome::Holds { ready, consumers } => {
                        out.push(4);
                        put(out, &[*ready, *consumers]);
                    }
                }
            }
            Self::Failed(kind, text) => {
                let kind = match kind {
                    AdminErrorKind::NotFound => 1,
                    AdminErrorKind::BadRequest => 2,
                    AdminErrorKind::Conflict => 3,
                    AdminErrorKind::Refused => 4,
                };
                out.extend([FAILED, kind]);
                put_bytes(out, text.as_bytes());
            }
            Self::Connections(list) => {
                out.push(OF_CONNECTIONS);
                listings::put_list(out, list, listings::put_connection);
            }
            Self::Channels(list) => {
                out.push(OF_CHANNELS);
                listings::put_list(out, list, listings::put_channel);
            }
            Self::Consumers(list) => {
                out.push(OF_CONSUMERS);
                listings::put_list(out, list, listings::put_consumer);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(match reader.u8()? {
            NOT_HERE => Self::NotHere { leader: NodeId(reader.varint()?) },
            DONE => Self::Done,
            REFUSED => Self::Refused(match reader.u8()? {
                1 => Refusal::LastMember,
                2 => Refusal::NoMember,
                3 => Refusal::TooMany,
                _ => return None,
            }),
            OF_MEMBER => {
                let has_vote = read_flag(reader)?;
                Self::Member(Member {
                    leader: NodeId(reader.varint()?),
                    has_vote,
                    term: reader.varint()?,
                    last: reader.varint()?,
                    written: reader.varint()?,
                    applied: reader.varint()?,
                    committed: reader.varint()?,
                    snapshot: reader.varint()?,
                })
            }
            OF_QUEUES => Self::Queues(listings::read_list(reader, read_counts)?),
            OUTCOME => Self::Outcome(match reader.u8()? {
                1 => Outcome::Done,
                2 => Outcome::Count(reader.varint()?),
                3 => {
                    let shown = |reader: &mut Reader<'_>| {
                        let (seq, is_redelivered) = (reader.varint()?, read_flag(reader)?);
                        Some(Shown { seq, is_redelivered, payload: Bytes::copy_from_slice(read_bytes(reader)?) })
                    };
                    Outcome::Messages(listings::read_list(reader, shown)?)
                }
                4 => Outcome::Holds { ready: reader.varint()?, consumers: reader.varint()? },
                _ => return None,
            }),
            FAILED => {
                let kind = match reader.u8()? {
                    1 => AdminErrorKind::NotFound,
                    2 => AdminErrorKind::BadRequest,
                    3 => AdminErrorKind::Conflict,
                    4 => AdminErrorKind::Refused,
                    _ => return None,
                };
                Self::Failed(kind, listings::read_text(reader)?)
            }
            OF_CONNECTIONS => Self::Connections(listings::read_list(reader, listings::read_connection)?),
            OF_CHANNELS => Self::Channels(listings::read_list(reader, listings::read_channel)?),
            OF_CONSUMERS => Self::Consumers(listings::read_list(reader, listings::read_consumer)?),
            _ => return None,
        })
    }
}

fn put_operation(out: &mut Vec<u8>, operation: &Operation) {
    match operation {
        Operation::Purge { count } => {
            out.push(1);
            put_option(out, *count);
        }
        Operation::Peek(selection) => {
            out.push(2);
            put_selection(out, selection);
        }
        Operation::Delete(selection) => {
            out.push(3);
            put_selection(out, selection);
        }
        Operation::Pause { is_paused } => out.extend([4, u8::from(*is_paused)]),
        Operation::Count => out.push(5),
    }
}

fn read_operation(reader: &mut Reader<'_>) -> Option<Operation> {
    Some(match reader.u8()? {
        1 => Operation::Purge { count: read_option(reader)? },
        2 => Operation::Peek(read_selection(reader)?),
        3 => Operation::Delete(read_selection(reader)?),
        4 => Operation::Pause { is_paused: read_flag(reader)? },
        5 => Operation::Count,
        _ => return None,
    })
}

fn put_selection(out: &mut Vec<u8>, selection: &Selection) {
    let Selection { offset, count, message_id } = selection;
    put_varint(out, *offset);
    put_option(out, *count);
    out.push(message_id.is_some().into());
    if let Some(id) = message_id {
        put_bytes(out, id.as_bytes());
    }
}

fn read_selection(reader: &mut Reader<'_>) -> Option<Selection> {
    let (offset, count) = (reader.varint()?, read_option(reader)?);
    let message_id = if read_flag(reader)? { Some(ShortStr::try_from(read_bytes(reader)?).ok()?) } else { None };
    Some(Selection { offset, count, message_id })
}

/// A flag, and the number if there is one.
fn put_option(out: &mut Vec<u8>, number: Option<u64>) {
    out.push(number.is_some().into());
    if let Some(number) = number {
        put_varint(out, number);
    }
}

fn read_option(reader: &mut Reader<'_>) -> Option<Option<u64>> {
    if read_flag(reader)? { reader.varint().map(Some) } else { Some(None) }
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn read_bytes<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let len = usize::try_from(reader.varint()?).ok()?;
    reader.take(len)
}

fn read_counts(reader: &mut Reader<'_>) -> Option<Counts> {
    let queue = QueueId(reader.varint()?);
    let flags = reader.u8()?;
    if flags & !(HAS_LEARNERS | HAS_DELAYED | 1) != 0 {
        return None;
    }
    let mut counts = Counts {
        queue,
        is_paused: flags & 1 != 0,
        ready: reader.varint()?,
        unacked: reader.varint()?,
        ready_bytes: reader.varint()?,
        unacked_bytes: reader.varint()?,
        memory_bytes: reader.varint()?,
        consumers: reader.varint()?,
        ..Counts::default()
    };
    if flags & HAS_DELAYED != 0 {
        (counts.delayed, counts.delayed_bytes) = (reader.varint()?, reader.varint()?);
    }
    if flags & HAS_LEARNERS != 0 {
        counts.learners = listings::read_list(reader, |reader| reader.varint().map(NodeId))?;
    }
    Some(counts)
}

pub(super) fn read_flag(reader: &mut Reader<'_>) -> Option<bool> {
    match reader.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
pub(super) fn inquiries() -> Vec<Inquiry> {
    let (queue, node) = (QueueId(130), NodeId(3));
    let wishes = [Wish::Add(node), Wish::Remove(node), Wish::Lead(node)];
    let others = [Inquiry::Member { queue }, Inquiry::Queues];
    let selection = Selection { offset: 2, count: Some(300), message_id: Some(ShortStr::from_static("id")) };
    let operations = [
        Operation::Purge { count: None },
        Operation::Purge { count: Some(300) },
        Operation::Peek(selection),
        Operation::Delete(Selection::default()),
        Operation::Pause { is_paused: true },
    ];
    let operations = operations.map(|operation| Inquiry::Operate { queue, operation });
    wishes.map(|wish| Inquiry::Wish { queue, wish }).into_iter().chain(others).chain(operations).collect()
}

#[cfg(test)]
pub(super) fn reports() -> Vec<Report> {
    let refusals = [Refusal::LastMember, Refusal::NoMember, Refusal::TooMany];
    let member = Member {
        leader: NodeId(2),
        has_vote: true,
        term: 4,
        last: 300,
        written: 299,
        applied: 298,
        committed: 297,
        snapshot: 5,
    };
    let counts = Counts {
        queue: QueueId(130),
        is_paused: true,
        ready: 1,
        unacked: 2,
        ready_bytes: 3,
        unacked_bytes: 4,
        delayed: 0,
        delayed_bytes: 0,
        memory_bytes: 5,
        consumers: 6,
        learners: Vec::new(),
    };
    let others = [
        Report::NotHere { leader: NodeId(2) },
        Report::Done,
        Report::Member(member),
        Report::Queues([counts.clone(), Counts { is_paused: false, ..counts }].into()),
        Report::Outcome(Outcome::Done),
        Report::Outcome(Outcome::Count(300)),
        Report::Outcome(Outcome::Messages(
            [Shown { seq: 300, is_redelivered: true, payload: Bytes::from_static(b"payload") }].into(),
        )),
        Report::Failed(AdminErrorKind::Refused, String::from("no")),
    ];
    refusals.map(Report::Refused).into_iter().chain(others).collect()
}
