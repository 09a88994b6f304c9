//! What channels of one node and queues of another say to each other, over the link's lane for queues, version 1.
//!
//! A byte with the version, a byte with the kind, then the fields. Numbers take seven bits a byte. What a session wants is written as
//! in the log of a quorum queue ([`decode_entry`](crate::queue::quorum::decode_entry)).

use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

use super::inquiries::{Inquiry, Report};
use crate::alarm::Shortage;
use crate::ids::{NodeId, QueueId};
use crate::message::Message;
use crate::queue::quorum::{
    self as numbered, Applied, BodyPlace, ConsumerId, ConsumerSync, DeliveryNumber, Notice, NumberRange, SessionId,
    SessionSeqno, Sync, SyncAnswer, put_session, read_session,
};
use crate::storage::codec::{Reader, put_varint};

const VERSION: u8 = 1;

/// One message on the lane.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    /// What sessions want of a queue.
    Commands { queue: QueueId, entry: Bytes },
    /// A session may have missed something.
    Sync { queue: QueueId, sync: Sync },
    /// A session has passed on to its channel so many bytes of deliveries since the link came up.
    Taken { session: SessionId, bytes: u64 },
    /// The sender has given up all of its sessions up to this number.
    Forget { up_to: u64 },
    /// A question about a queue.
    Ask { number: u64, queue: QueueId, question: Question },
    /// Commands are applied.
    Applied(Applied),
    /// A message for a consumer.
    Deliver { delivery: Delivery, message: Bytes },
    /// Something else.
    Notice(Notice),
    /// The answer to [`Frame::Sync`]; what deliveries hold comes on its own.
    Synced(SyncAnswer),
    /// The answer to [`Frame::Ask`].
    Answer { number: u64, answer: Answer },
    /// The sender does not lead that queue; who does, as far as it knows, or node 0. If it names itself, it leads from now on.
    Elsewhere { queue: QueueId, leader: NodeId },
    /// How the sender is: what is short on it, so that publishers everywhere are to stop, and whether it is to have no part in anything
    /// that another node can do (maintenance).
    Health { shortage: Shortage, is_drained: bool },
    /// Something that an operator asks.
    Inquire { number: u64, inquiry: Inquiry },
    /// The answer to [`Frame::Inquire`].
    Report { number: u64, report: Report },
}

/// What is asked about a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// What it holds. To declare it again renews its lease (RabbitMQ docs: Time-To-Live / Queue TTL).
    Counts { is_declare: bool },
    /// To drop all that waits for a consumer.
    Purge,
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// So many messages wait for a consumer, and so many consumers are there.
    Counts { ready: u64, consumers: u64 },
    /// So many messages went.
    Purged(u64),
    /// The queue is not there.
    Gone,
}

/// A message's way to a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) consumer: ConsumerId,
    pub(crate) number: DeliveryNumber,
    /// How many of its deliveries failed before.
    pub(crate) failed: u16,
    /// Whether a consumer may have seen it.
    pub(crate) is_redelivered: bool,
    /// How many came back before, for whatever reason. Only what a quorum queue says counts.
    pub(crate) acquired: u16,
    /// Messages that wait behind it.
    pub(crate) ready_left: u32,
}

mod kind {
    pub(super) const COMMANDS: u8 = 1;
    pub(super) const SYNC: u8 = 2;
    pub(super) const TAKEN: u8 = 3;
    pub(super) const FORGET: u8 = 4;
    pub(super) const ASK: u8 = 5;
    pub(super) const APPLIED: u8 = 16;
    pub(super) const DELIVER: u8 = 17;
    /// Since [`version::COUNTS`](crate::cluster::version::COUNTS).
    pub(super) const DELIVER_AGAIN: u8 = 27;
    pub(super) const SYNCED: u8 = 18;
    pub(super) const ANSWER: u8 = 19;
    pub(super) const ELSEWHERE: u8 = 20;
    pub(super) const INQUIRE: u8 = 24;
    pub(super) const REPORT: u8 = 25;
    pub(super) const HEALTH: u8 = 26;
    pub(super) const RESEND: u8 = 32;
    pub(super) const UNKNOWN: u8 = 33;
    pub(super) const REFUSED: u8 = 34;
    pub(super) const IN_USE: u8 = 35;
    pub(super) const FULL: u8 = 36;
    pub(super) const GONE: u8 = 37;
    pub(super) const GET_EMPTY: u8 = 38;
    pub(super) const TIMED_OUT: u8 = 39;
    pub(super) const DRAINED: u8 = 40;
    pub(super) const DEAD_LETTERS_WAIT: u8 = 41;
}

/// Bytes that no node of this version sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message for queues cannot be read")
    }
}

/// A message's way to a consumer with the message, as [`Frame::Deliver`].
pub(crate) fn encode_delivery(delivery: &Delivery, message: &Message) -> Bytes {
    let (head, body) = message.payload();
    let mut out = Vec::with_capacity(64 + head.len() + body.len());
    put_delivery(&mut out, delivery);
    out.extend_from_slice(head);
    out.extend_from_slice(body);
    out.into()
}

fn put_delivery(out: &mut Vec<u8>, delivery: &Delivery) {
    let Delivery { consumer, number, failed, is_redelivered, acquired, ready_left } = *delivery;
    let is_implied = acquired == implied(failed, is_redelivered);
    out.extend([VERSION, if is_implied { kind::DELIVER } else { kind::DELIVER_AGAIN }]);
    put_consumer(out, consumer);
    put_varint(out, number.0);
    put_varint(out, failed.into());
    out.push(is_redelivered.into());
    put_varint(out, ready_left.into());
    if !is_implied {
        put_varint(out, acquired.into());
    }
}

/// How many deliveries of a message came back at least.
fn implied(failed: u16, is_redelivered: bool) -> u16 {
    failed.max(is_redelivered.into())
}

impl Delivery {
    /// The same for nodes that are told no more than that.
    pub(crate) fn without_counts(self) -> Self {
        Self { acquired: implied(self.failed, self.is_redelivered), ..self }
    }
}

impl Frame {
    /// As bytes.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(32);
        let start = |out: &mut Vec<u8>, kind: u8| out.extend([VERSION, kind]);
        match self {
            Self::Commands { queue, entry } => {
                start(&mut out, kind::COMMANDS);
                put_varint(&mut out, queue.0);
                out.extend_from_slice(entry);
            }
            Self::Sync { queue, sync } => {
                start(&mut out, kind::SYNC);
                put_varint(&mut out, queue.0);
                put_session(&mut out, sync.session);
                put_varint(&mut out, sync.consumers.len() as u64);
                for (tag, next) in &sync.consumers {
                    put_varint(&mut out, (*tag).into());
                    put_varint(&mut out, next.0);
                }
            }
            Self::Taken { session, bytes } => {
                start(&mut out, kind::TAKEN);
                put_session(&mut out, *session);
                put_varint(&mut out, *bytes);
            }
            Self::Forget { up_to } => {
                start(&mut out, kind::FORGET);
                put_varint(&mut out, *up_to);
            }
            Self::Ask { number, queue, question } => {
                start(&mut out, kind::ASK);
                put_varint(&mut out, *number);
                put_varint(&mut out, queue.0);
                out.push(match question {
                    Question::Counts { is_declare: false } => 0,
                    Question::Counts { is_declare: true } => 1,
                    Question::Purge => 2,
                });
            }
            Self::Applied(Applied { session, up_to, is_full }) => {
                start(&mut out, kind::APPLIED);
                put_session(&mut out, *session);
                put_varint(&mut out, up_to.0);
                out.push((*is_full).into());
            }
            Self::Deliver { delivery, message } => {
                put_delivery(&mut out, delivery);
                out.extend_from_slice(message);
            }
            Self::Notice(notice) => put_notice(&mut out, notice),
            Self::Synced(answer) => {
                let SyncAnswer { session, next, is_full, is_gone, consumers } = answer;
                start(&mut out, kind::SYNCED);
                put_session(&mut out, *session);
                put_varint(&mut out, next.map_or(0, |next| next.0));
                out.extend([u8::from(*is_full), u8::from(*is_gone)]);
                put_varint(&mut out, consumers.len() as u64);
                for consumer in consumers {
                    put_varint(&mut out, consumer.tag.into());
                    put_varint(&mut out, consumer.next.0);
                    put_varint(&mut out, consumer.deliveries.len() as u64);
                    for delivery in &consumer.deliveries {
                        let (failed, acquired) = (u64::from(delivery.failed), u64::from(delivery.acquired));
                        [delivery.number.0, failed, acquired]
                            .into_iter()
                            .for_each(|number| put_varint(&mut out, number));
                    }
                    put_varint(&mut out, consumer.timed_out.len() as u64);
                    for range in &consumer.timed_out {
                        [range.first, range.last].into_iter().for_each(|number| put_varint(&mut out, number));
                    }
                }
            }
            Self::Answer { number, answer } => {
                start(&mut out, kind::ANSWER);
                put_varint(&mut out, *number);
                let (which, numbers) = match *answer {
                    Answer::Gone => (0, [0, 0]),
                    Answer::Counts { ready, consumers } => (1, [ready, consumers]),
                    Answer::Purged(count) => (2, [count, 0]),
                };
                out.push(which);
                numbers.into_iter().for_each(|number| put_varint(&mut out, number));
            }
            Self::Elsewhere { queue, leader } => {
                start(&mut out, kind::ELSEWHERE);
                put_varint(&mut out, queue.0);
                put_varint(&mut out, leader.0);
            }
            Self::Health { shortage: Shortage { is_memory_short, is_disk_short }, is_drained } => {
                start(&mut out, kind::HEALTH);
                out.extend([is_memory_short, is_disk_short, is_drained].map(|flag| u8::from(*flag)));
            }
            Self::Inquire { number, inquiry } => {
                start(&mut out, kind::INQUIRE);
                put_varint(&mut out, *number);
                inquiry.encode(&mut out);
            }
            Self::Report { number, report } => {
                start(&mut out, kind::REPORT);
                put_varint(&mut out, *number);
                report.encode(&mut out);
            }
        }
        out.into()
    }

    /// What the bytes say.
    ///
    /// # Errors
    /// If no node of this version sends them.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        read(bytes, &mut reader).ok_or(Malformed)
    }
}

fn put_notice(out: &mut Vec<u8>, notice: &Notice) {
    let mut session = |kind, session, number: Option<u64>| {
        out.extend([VERSION, kind]);
        put_session(out, session);
        if let Some(number) = number {
            put_varint(out, number);
        }
    };
    match *notice {
        Notice::ResendFrom { session: of, seqno } => session(kind::RESEND, of, Some(seqno.0)),
        Notice::Unknown { session: of } => session(kind::UNKNOWN, of, None),
        Notice::Refused { session: of, seqno } => session(kind::REFUSED, of, Some(seqno.0)),
        Notice::Full { session: of, is_full } => session(kind::FULL, of, Some(is_full.into())),
        Notice::Gone { session: of } => session(kind::GONE, of, None),
        Notice::InUse { consumer } => session(kind::IN_USE, consumer.session, Some(consumer.tag.into())),
        Notice::GetEmpty { consumer } => session(kind::GET_EMPTY, consumer.session, Some(consumer.tag.into())),
        Notice::TimedOut { consumer } => session(kind::TIMED_OUT, consumer.session, Some(consumer.tag.into())),
        Notice::Drained { consumer, delivery_count } => {
            session(kind::DRAINED, consumer.session, Some(consumer.tag.into()));
            put_varint(out, delivery_count.into());
        }
        Notice::DeadLettersWait => out.extend([VERSION, kind::DEAD_LETTERS_WAIT]),
    }
}

fn put_consumer(out: &mut Vec<u8>, consumer: ConsumerId) {
    put_session(out, consumer.session);
    put_varint(out, consumer.tag.into());
}

fn read(bytes: &Bytes, reader: &mut Reader<'_>) -> Option<Frame> {
    if reader.u8()? != VERSION {
        return None;
    }
    let kind = reader.u8()?;
    let frame = match kind {
        kind::COMMANDS => {
            let queue = QueueId(reader.varint()?);
            return Some(Frame::Commands { queue, entry: bytes.slice_ref(reader.0) });
        }
        kind::SYNC => {
            let queue = QueueId(reader.varint()?);
            let session = read_session(reader)?;
            let consumers = read_list(reader, |reader| Some((reader.varint_u32()?, DeliveryNumber(reader.varint()?))))?;
            Frame::Sync { queue, sync: Sync { session, consumers } }
        }
        kind::TAKEN => Frame::Taken { session: read_session(reader)?, bytes: reader.varint()? },
        kind::FORGET => Frame::Forget { up_to: reader.varint()? },
        kind::ASK => {
            let (number, queue) = (reader.varint()?, QueueId(reader.varint()?));
            let question = match reader.u8()? {
                0 => Question::Counts { is_declare: false },
                1 => Question::Counts { is_declare: true },
                2 => Question::Purge,
                _ => return None,
            };
            Frame::Ask { number, queue, question }
        }
        kind::APPLIED => Frame::Applied(Applied {
            session: read_session(reader)?,
            up_to: SessionSeqno(reader.varint()?),
            is_full: read_flag(reader)?,
        }),
        kind::DELIVER | kind::DELIVER_AGAIN => {
            let mut delivery = Delivery {
                consumer: read_consumer(reader)?,
                number: DeliveryNumber(reader.varint()?),
                failed: u16::try_from(reader.varint()?).ok()?,
                is_redelivered: read_flag(reader)?,
                acquired: 0,
                ready_left: reader.varint_u32()?,
            }
            .without_counts();
            if kind == kind::DELIVER_AGAIN {
                delivery.acquired = u16::try_from(reader.varint()?).ok()?;
            }
            return Some(Frame::Deliver { delivery, message: bytes.slice_ref(reader.0) });
        }
        kind::SYNCED => {
            let session = read_session(reader)?;
            let next = Some(SessionSeqno(reader.varint()?)).filter(|next| next.0 > 0);
            let (is_full, is_gone) = (read_flag(reader)?, read_flag(reader)?);
            let consumers = read_list(reader, |reader| {
                let (tag, next) = (reader.varint_u32()?, DeliveryNumber(reader.varint()?));
                let deliveries = read_list(reader, |reader| {
                    let number = DeliveryNumber(reader.varint()?);
                    let (failed, acquired) =
                        (u16::try_from(reader.varint()?).ok()?, u16::try_from(reader.varint()?).ok()?);
                    let (consumer, body) = (session.consumer(tag), BodyPlace::default());
                    Some(numbered::Delivery { consumer, number, body, failed, acquired })
                })?;
                let timed_out =
                    read_list(reader, |reader| Some(NumberRange { first: reader.varint()?, last: reader.varint()? }))?;
                Some(ConsumerSync { tag, next, deliveries, timed_out: timed_out.into_iter().collect() })
            })?;
            Frame::Synced(SyncAnswer { session, next, is_full, is_gone, consumers })
        }
        kind::ANSWER => {
            let number = reader.varint()?;
            let (which, one, other) = (reader.u8()?, reader.varint()?, reader.varint()?);
            let answer = match which {
                0 => Answer::Gone,
                1 => Answer::Counts { ready: one, consumers: other },
                2 => Answer::Purged(one),
                _ => return None,
            };
            Frame::Answer { number, answer }
        }
        kind::ELSEWHERE => Frame::Elsewhere { queue: QueueId(reader.varint()?), leader: NodeId(reader.varint()?) },
        kind::HEALTH => {
            let shortage = Shortage { is_memory_short: read_flag(reader)?, is_disk_short: read_flag(reader)? };
            Frame::Health { shortage, is_drained: read_flag(reader)? }
        }
        kind::INQUIRE => Frame::Inquire { number: reader.varint()?, inquiry: Inquiry::decode(reader)? },
        kind::REPORT => Frame::Report { number: reader.varint()?, report: Report::decode(reader)? },
        _ => Frame::Notice(read_notice(reader, kind)?),
    };
    reader.is_empty().then_some(frame)
}

fn read_notice(reader: &mut Reader<'_>, kind: u8) -> Option<Notice> {
    Some(match kind {
        kind::RESEND => Notice::ResendFrom { session: read_session(reader)?, seqno: SessionSeqno(reader.varint()?) },
        kind::UNKNOWN => Notice::Unknown { session: read_session(reader)? },
        kind::REFUSED => Notice::Refused { session: read_session(reader)?, seqno: SessionSeqno(reader.varint()?) },
        kind::FULL => Notice::Full { session: read_session(reader)?, is_full: read_flag(reader)? },
        kind::GONE => Notice::Gone { session: read_session(reader)? },
        kind::IN_USE => Notice::InUse { consumer: read_consumer(reader)? },
        kind::GET_EMPTY => Notice::GetEmpty { consumer: read_consumer(reader)? },
        kind::TIMED_OUT => Notice::TimedOut { consumer: read_consumer(reader)? },
        kind::DRAINED => Notice::Drained { consumer: read_consumer(reader)?, delivery_count: reader.varint_u32()? },
        kind::DEAD_LETTERS_WAIT => Notice::DeadLettersWait,
        _ => return None,
    })
}

fn read_consumer(reader: &mut Reader<'_>) -> Option<ConsumerId> {
    let session = read_session(reader)?;
    Some(session.consumer(reader.varint_u32()?))
}

fn read_flag(reader: &mut Reader<'_>) -> Option<bool> {
    match reader.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// As many as it says, each of which takes a byte at least.
fn read_list<T>(reader: &mut Reader<'_>, item: impl Fn(&mut Reader<'_>) -> Option<T>) -> Option<Vec<T>> {
    let count = usize::try_from(reader.varint()?).ok().filter(|count| *count <= reader.0.len())?;
    (0..count).map(|_| item(reader)).collect()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::super::inquiries::Counts;
    use super::*;
    use crate::ids::Boot;
    use crate::queue::quorum::Numbers;

    fn session() -> SessionId {
        SessionId { node: NodeId(2), boot: Boot(3), number: 300 }
    }

    fn frames() -> Vec<Frame> {
        let (session, consumer, seqno) = (session(), session().consumer(7), SessionSeqno(9));
        let queue = QueueId(130);
        let delivery = Delivery {
            consumer,
            number: DeliveryNumber(5),
            failed: 1,
            is_redelivered: true,
            acquired: 1,
            ready_left: 1000,
        };
        let (body, number) = (BodyPlace::default(), DeliveryNumber(5));
        let listed = numbered::Delivery { consumer, number, body, failed: 1, acquired: 2 };
        let timed_out: Numbers = [NumberRange { first: 2, last: 3 }].into_iter().collect();
        let synced = ConsumerSync { tag: 7, next: DeliveryNumber(6), deliveries: vec![listed], timed_out };
        let mut frames = vec![
            Frame::Commands { queue, entry: Bytes::from_static(b"entry") },
            Frame::Sync { queue, sync: Sync { session, consumers: vec![(7, DeliveryNumber(5))] } },
            Frame::Taken { session, bytes: 4096 },
            Frame::Forget { up_to: 12 },
            Frame::Applied(Applied { session, up_to: seqno, is_full: true }),
            Frame::Deliver { delivery, message: Bytes::from_static(b"message") },
            Frame::Synced(SyncAnswer {
                session,
                next: Some(seqno),
                is_full: false,
                is_gone: true,
                consumers: vec![synced],
            }),
            Frame::Synced(SyncAnswer { session, next: None, is_full: true, is_gone: false, consumers: vec![] }),
        ];
        let questions =
            [Question::Counts { is_declare: false }, Question::Counts { is_declare: true }, Question::Purge];
        frames.extend(questions.map(|question| Frame::Ask { number: 1, queue, question }));
        let answers = [Answer::Gone, Answer::Counts { ready: 3, consumers: 200 }, Answer::Purged(4)];
        frames.extend(answers.map(|answer| Frame::Answer { number: 128, answer }));
        let notices = [
            Notice::ResendFrom { session, seqno },
            Notice::Unknown { session },
            Notice::Refused { session, seqno },
            Notice::InUse { consumer },
            Notice::Full { session, is_full: true },
            Notice::Gone { session },
            Notice::GetEmpty { consumer },
            Notice::TimedOut { consumer },
            Notice::Drained { consumer, delivery_count: 8 },
            Notice::DeadLettersWait,
        ];
        frames.extend(notices.map(Frame::Notice));
        frames.push(Frame::Elsewhere { queue, leader: NodeId(3) });
        frames.extend(
            super::super::inquiries::inquiries().into_iter().map(|inquiry| Frame::Inquire { number: 1, inquiry }),
        );
        frames
            .extend(super::super::inquiries::reports().into_iter().map(|report| Frame::Report { number: 128, report }));
        let shortage = Shortage { is_memory_short: true, is_disk_short: false };
        frames.push(Frame::Health { shortage, is_drained: true });
        let operation = super::super::inquiries::Operation::Count;
        frames.push(Frame::Inquire { number: 1, inquiry: Inquiry::Operate { queue, operation } });
        let holds = super::super::inquiries::Outcome::Holds { ready: 300, consumers: 2 };
        frames.push(Frame::Report { number: 1, report: Report::Outcome(holds) });
        let waiting = Counts { queue, ready: 1, unacked: 2, delayed: 300, delayed_bytes: 7, ..Counts::default() };
        frames.push(Frame::Report { number: 1, report: Report::Queues([waiting].into()) });
        let delivery = Delivery { acquired: 300, ..delivery };
        frames.push(Frame::Deliver { delivery, message: Bytes::from_static(b"again") });
        let (requests, reports) = super::super::listings::samples();
        let requests = requests.into_iter().map(Inquiry::Connections);
        frames.extend(requests.map(|inquiry| Frame::Inquire { number: 1, inquiry }));
        frames.extend(reports.into_iter().map(|report| Frame::Report { number: 1, report }));
        let learning = Counts { queue, learners: [NodeId(3), NodeId(300)].into(), ..Counts::default() };
        frames.push(Frame::Report { number: 1, report: Report::Queues([learning].into()) });
        frames
    }

    #[test]
    fn what_is_said_is_understood() {
        for frame in frames() {
            assert_eq!(Frame::decode(&frame.encode()), Ok(frame));
        }
    }

    #[test]
    fn what_is_cut_or_longer_is_refused() {
        for frame in frames() {
            let bytes = frame.encode();
            let is_open = matches!(frame, Frame::Commands { .. } | Frame::Deliver { .. });
            for len in 0..bytes.len() {
                let cut = Frame::decode(&bytes.slice(..len));
                assert!(cut.is_err() || (is_open && cut.as_ref() != Ok(&frame)), "{frame:?} cut to {len}: {cut:?}");
            }
            let longer = Bytes::from([&bytes[..], &[0]].concat());
            assert!(Frame::decode(&longer).is_err() || is_open, "{frame:?}");
        }
        assert_eq!(Frame::decode(&Bytes::from_static(&[2, 4, 0])), Err(Malformed), "another version");
        assert_eq!(Frame::decode(&Bytes::from_static(&[1, 99, 0])), Err(Malformed), "another kind");
    }

    /// The bytes of version 1.
    #[test]
    fn the_format_is_as_it_was() {
        let bytes: Vec<u8> = frames().iter().flat_map(|frame| frame.encode().to_vec()).collect();
        assert_eq!(bytes, FIXTURE);
    }

    #[rustfmt::skip]
    const FIXTURE: &[u8] = &[1, 1, 130, 1, 101, 110, 116, 114, 121, 1, 2, 130, 1, 2, 3, 172, 2, 1, 7, 5, 1, 3, 2, 3, 172, 2, 128, 32, 1, 4, 12,
        1, 16, 2, 3, 172, 2, 9, 1, 1, 17, 2, 3, 172, 2, 7, 5, 1, 1, 232, 7, 109, 101, 115, 115, 97, 103, 101,
        1, 18, 2, 3, 172, 2, 9, 0, 1, 1, 7, 6, 1, 5, 1, 2, 1, 2, 3,
        1, 18, 2, 3, 172, 2, 0, 1, 0, 0,
        1, 5, 1, 130, 1, 0, 1, 5, 1, 130, 1, 1, 1, 5, 1, 130, 1, 2, 1, 19, 128, 1, 0, 0, 0, 1, 19, 128, 1, 1, 3, 200, 1, 1, 19, 128, 1, 2, 4, 0,
        1, 32, 2, 3, 172, 2, 9, 1, 33, 2, 3, 172, 2, 1, 34, 2, 3, 172, 2, 9, 1, 35, 2, 3, 172, 2, 7,
        1, 36, 2, 3, 172, 2, 1, 1, 37, 2, 3, 172, 2, 1, 38, 2, 3, 172, 2, 7, 1, 39, 2, 3, 172, 2, 7, 1, 40, 2, 3, 172, 2, 7, 8, 1, 41, 1, 20, 130, 1, 3,
        1, 24, 1, 1, 1, 130, 1, 3, 1, 24, 1, 1, 2, 130, 1, 3, 1, 24, 1, 1, 3, 130, 1, 3, 1, 24, 1, 2, 130, 1, 1, 24, 1, 3, 1,
        24, 1, 4, 130, 1, 1, 0, 1, 24, 1, 4, 130, 1, 1, 1, 172, 2, 1, 24, 1, 4, 130, 1, 2, 2, 1, 172, 2, 1, 2, 105, 100, 1, 24,
        1, 4, 130, 1, 3, 0, 0, 0, 1, 24, 1, 4, 130, 1, 4, 1, 1, 25, 128, 1, 3, 1, 1, 25, 128, 1, 3, 2, 1, 25, 128, 1, 3, 3, 1,
        25, 128, 1, 1, 2, 1, 25, 128, 1, 2, 1, 25, 128, 1, 4, 1, 2, 4, 172, 2, 171, 2, 170, 2, 169, 2, 5, 1, 25, 128, 1, 5, 2,
        130, 1, 1, 1, 2, 3, 4, 5, 6, 130, 1, 0, 1, 2, 3, 4, 5, 6, 1, 25, 128, 1, 6, 1, 1, 25, 128, 1, 6, 2, 172, 2, 1, 25, 128,
        1, 6, 3, 1, 172, 2, 1, 7, 112, 97, 121, 108, 111, 97, 100, 1, 25, 128, 1, 7, 4, 2, 110, 111, 1, 26, 1, 0, 1,
        1, 24, 1, 4, 130, 1, 5, 1, 25, 1, 6, 4, 172, 2, 2,
        1, 25, 1, 5, 1, 130, 1, 2, 1, 2, 0, 0, 0, 0, 172, 2, 7,
        1, 27, 2, 3, 172, 2, 7, 5, 1, 1, 232, 7, 172, 2, 97, 103, 97, 105, 110,
        1, 24, 1, 5, 1, 1, 24, 1, 5, 2, 1, 24, 1, 5, 3, 0, 1, 24, 1, 5, 3, 1, 1, 118, 1, 24, 1, 5, 4, 1, 3, 97, 64, 98, 172, 2, 3, 119, 104, 121, 1,
        24, 1, 5, 4, 2, 4, 110, 97, 109, 101, 3, 119, 104, 121, 1, 24, 1, 5, 4, 3, 1, 118, 3, 119, 104, 121, 1, 24, 1, 5, 4, 4, 4, 117, 115, 101, 114,
        3, 119, 104, 121, 1, 24, 1, 5, 4, 5, 3, 119, 104, 121, 1, 25, 1, 8, 6, 3, 97, 64, 98, 172, 2, 15, 49, 50, 55, 46, 48, 46, 48, 46, 49, 58, 52,
        48, 48, 48, 48, 10, 91, 58, 58, 49, 93, 58, 53, 54, 55, 50, 5, 103, 117, 101, 115, 116, 1, 118, 0, 1, 255, 15, 128, 128, 8, 60, 5, 80, 76, 65,
        73, 78, 14, 7, 112, 114, 111, 100, 117, 99, 116, 83, 0, 0, 0, 1, 120, 128, 208, 149, 255, 188, 49, 200, 1, 0, 3, 97, 64, 98, 172, 2, 15, 49,
        50, 55, 46, 48, 46, 48, 46, 49, 58, 52, 48, 48, 48, 48, 10, 91, 58, 58, 49, 93, 58, 53, 54, 55, 50, 5, 103, 117, 101, 115, 116, 1, 118, 1, 1,
        255, 15, 128, 128, 8, 60, 5, 80, 76, 65, 73, 78, 14, 7, 112, 114, 111, 100, 117, 99, 116, 83, 0, 0, 0, 1, 120, 128, 208, 149, 255, 188, 49,
        200, 1, 0, 3, 97, 64, 98, 172, 2, 15, 49, 50, 55, 46, 48, 46, 48, 46, 49, 58, 52, 48, 48, 48, 48, 10, 91, 58, 58, 49, 93, 58, 53, 54, 55, 50,
        5, 103, 117, 101, 115, 116, 1, 118, 2, 1, 255, 15, 128, 128, 8, 60, 5, 80, 76, 65, 73, 78, 14, 7, 112, 114, 111, 100, 117, 99, 116, 83, 0, 0,
        0, 1, 120, 128, 208, 149, 255, 188, 49, 200, 1, 0, 3, 97, 64, 98, 172, 2, 15, 49, 50, 55, 46, 48, 46, 48, 46, 49, 58, 52, 48, 48, 48, 48, 10,
        91, 58, 58, 49, 93, 58, 53, 54, 55, 50, 5, 103, 117, 101, 115, 116, 1, 118, 3, 1, 255, 15, 128, 128, 8, 60, 5, 80, 76, 65, 73, 78, 14, 7, 112,
        114, 111, 100, 117, 99, 116, 83, 0, 0, 0, 1, 120, 128, 208, 149, 255, 188, 49, 200, 1, 0, 3, 97, 64, 98, 172, 2, 15, 49, 50, 55, 46, 48, 46,
        48, 46, 49, 58, 52, 48, 48, 48, 48, 10, 91, 58, 58, 49, 93, 58, 53, 54, 55, 50, 5, 103, 117, 101, 115, 116, 1, 118, 4, 1, 255, 15, 128, 128,
        8, 60, 5, 80, 76, 65, 73, 78, 14, 7, 112, 114, 111, 100, 117, 99, 116, 83, 0, 0, 0, 1, 120, 128, 208, 149, 255, 188, 49, 200, 1, 0, 3, 97, 64,
        98, 172, 2, 15, 49, 50, 55, 46, 48, 46, 48, 46, 49, 58, 52, 48, 48, 48, 48, 10, 91, 58, 58, 49, 93, 58, 53, 54, 55, 50, 5, 103, 117, 101, 115,
        116, 1, 118, 5, 1, 255, 15, 128, 128, 8, 60, 5, 80, 76, 65, 73, 78, 14, 7, 112, 114, 111, 100, 117, 99, 116, 83, 0, 0, 0, 1, 120, 128, 208,
        149, 255, 188, 49, 200, 1, 0, 1, 25, 1, 9, 2, 3, 97, 64, 98, 172, 2, 1, 6, 120, 32, 45, 62, 32, 121, 5, 103, 117, 101, 115, 116, 1, 118, 1, 2,
        3, 4, 5, 1, 0, 128, 2, 0, 3, 97, 64, 98, 172, 2, 1, 6, 120, 32, 45, 62, 32, 121, 5, 103, 117, 101, 115, 116, 1, 118, 1, 2, 3, 4, 5, 1, 0, 128,
        2, 0, 1, 25, 1, 10, 1, 3, 97, 64, 98, 1, 118, 1, 113, 172, 2, 1, 3, 116, 97, 103, 1, 0, 1, 0, 128, 2, 16, 10, 120, 45, 112, 114, 105, 111,
        114, 105, 116, 121, 73, 0, 0, 0, 3,
        1, 25, 1, 5, 1, 130, 1, 4, 0, 0, 0, 0, 0, 0, 2, 3, 172, 2];
}
