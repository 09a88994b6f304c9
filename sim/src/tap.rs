//! What is said on a connection, read off the bytes that cross the engine's boundary.
//!
//! A reader of its own, written from the specification (AMQP 0-9-1 §4.2, §1), so that model and oracles depend neither on the
//! engine's codec nor on what clients believe they said. It knows just what the model needs and skips the rest; bytes that are no
//! frames make it deaf, since what a broker makes of those is not its business.

use crate::field::{Value, find, table};
use crate::message::{MessageNumber, number_of};

/// One thing said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    /// channel.open
    ChannelOpen,
    /// channel.close, by whichever side; the code and the method at fault
    ChannelClose { code: u16, class: u16, method: u16 },
    /// channel.close-ok
    ChannelCloseOk,
    /// connection.close
    ConnectionClose { code: u16 },
    /// connection.blocked
    Blocked,
    /// connection.unblocked
    Unblocked,
    /// connection.close-ok
    ConnectionCloseOk,
    /// exchange.declare
    ExchangeDeclare { name: &'a [u8], kind: &'a [u8], passive: bool, durable: bool },
    /// exchange.delete
    ExchangeDelete { name: &'a [u8] },
    /// exchange.bind
    ExchangeBind { destination: &'a [u8], source: &'a [u8], key: &'a [u8], arguments: &'a [u8] },
    /// exchange.unbind
    ExchangeUnbind { destination: &'a [u8], source: &'a [u8], key: &'a [u8], arguments: &'a [u8] },
    /// queue.declare
    QueueDeclare { name: &'a [u8], passive: bool, durable: bool, exclusive: bool, auto_delete: bool },
    /// queue.declare-ok
    QueueDeclareOk { name: &'a [u8], messages: u32, consumers: u32 },
    /// queue.bind
    QueueBind { queue: &'a [u8], source: &'a [u8], key: &'a [u8], arguments: &'a [u8] },
    /// queue.unbind
    QueueUnbind { queue: &'a [u8], source: &'a [u8], key: &'a [u8], arguments: &'a [u8] },
    /// queue.purge
    QueuePurge { queue: &'a [u8] },
    /// queue.purge-ok
    QueuePurgeOk { messages: u32 },
    /// queue.delete
    QueueDelete { queue: &'a [u8] },
    /// queue.delete-ok
    QueueDeleteOk { messages: u32 },
    /// basic.qos
    Qos { count: u16, global: bool },
    /// basic.consume
    Consume { queue: &'a [u8], tag: &'a [u8], no_ack: bool, priority: i64 },
    /// basic.cancel, by whichever side
    Cancel { tag: &'a [u8] },
    /// basic.publish with all of its content
    Publish { routing: &'a [u8], mandatory: bool, message: Option<MessageNumber>, properties: &'a [u8] },
    /// basic.return
    Return { message: Option<MessageNumber> },
    /// basic.deliver
    Deliver { consumer: &'a [u8], tag: u64, redelivered: bool, message: Option<MessageNumber>, properties: &'a [u8] },
    /// basic.get
    Get { queue: &'a [u8], no_ack: bool },
    /// basic.get-ok
    GetOk { tag: u64, redelivered: bool, messages: u32, message: Option<MessageNumber>, properties: &'a [u8] },
    /// basic.get-empty
    GetEmpty,
    /// basic.ack, by whichever side
    Ack { tag: u64, multiple: bool },
    /// basic.nack, by whichever side, or basic.reject
    Nack { tag: u64, multiple: bool, requeue: bool },
    /// basic.recover or basic.recover-async
    Recover,
    /// confirm.select
    ConfirmSelect,
    /// tx.select
    TxSelect,
    /// tx.commit
    TxCommit,
    /// tx.rollback
    TxRollback,
    /// An answer that tells no more than that it was done.
    Done { class: u16, method: u16 },
}

/// One direction of one connection.
#[derive(Debug)]
pub(crate) struct Tap {
    partial: Vec<u8>,
    skip: usize,
    /// Channel of the body frame that is being skipped, and its bytes of body.
    skipping: Option<(u16, u64)>,
    /// Contents under way, and places of former ones, whose memory is used again.
    contents: Vec<Content>,
    deaf: bool,
}

/// A method that waits for its content.
#[derive(Debug, Default)]
struct Content {
    /// `None` for a place that is free.
    channel: Option<u16>,
    method: Vec<u8>,
    message: Option<MessageNumber>,
    properties: Vec<u8>,
    has_header: bool,
    missing: u64,
}

impl Tap {
    /// A tap on what the client says, which begins with the protocol header.
    pub(crate) fn of_client() -> Self {
        Self { skip: 8, ..Self::of_node() }
    }

    /// A tap on what the node says.
    pub(crate) fn of_node() -> Self {
        Self { partial: Vec::new(), skip: 0, skipping: None, contents: Vec::new(), deaf: false }
    }

    /// Takes the next bytes and reports what is complete, with its channel.
    pub(crate) fn hear(&mut self, mut bytes: &[u8], mut report: impl FnMut(u16, Said<'_>)) {
        while !bytes.is_empty() && !self.deaf {
            if self.skip > 0 {
                let step = self.skip.min(bytes.len());
                self.skip -= step;
                bytes = &bytes[step..];
                if self.skip == 0
                    && let Some((channel, len)) = self.skipping.take()
                {
                    self.body(channel, len, &mut report);
                }
                continue;
            }
            if self.partial.is_empty()
                && let Some(Whole { channel, method, properties, rest }) = Whole::at_front_of(bytes)
                && self.content_mut(channel).is_none()
            {
                if let Some(said) = said(method, number_of(properties), properties) {
                    report(channel, said);
                }
                bytes = rest;
                continue;
            }
            if self.partial.is_empty()
                && let Some(wanted) = wanted(bytes)
                && bytes.len() >= wanted
            {
                self.frame(&bytes[..wanted], &mut report);
                bytes = &bytes[wanted..];
                continue;
            }
            let wanted = wanted(&self.partial).unwrap_or(FRAME_HEADER);
            let step = (wanted - self.partial.len()).min(bytes.len());
            self.partial.extend_from_slice(&bytes[..step]);
            bytes = &bytes[step..];
            if let Some(wanted) = self::wanted(&self.partial)
                && self.partial.len() == wanted
            {
                let frame = std::mem::take(&mut self.partial);
                self.frame(&frame, &mut report);
                self.partial = frame;
                self.partial.clear();
            }
        }
    }

    /// Takes a whole frame, or only the header of a body frame.
    fn frame(&mut self, frame: &[u8], report: &mut impl FnMut(u16, Said<'_>)) {
        let channel = u16::from_be_bytes([frame[1], frame[2]]);
        let size = frame_size(frame);
        if size > SIZE_MAX {
            self.deaf = true;
            return;
        }
        match frame[0] {
            1 => self.method(channel, &frame[FRAME_HEADER..frame.len() - 1], report),
            2 => self.header(channel, &frame[FRAME_HEADER..frame.len() - 1], report),
            3 => {
                self.skip = size + 1;
                self.skipping = Some((channel, size as u64));
            }
            8 => {}
            _ => self.deaf = true,
        }
        if frame[0] != 3 && frame[frame.len() - 1] != FRAME_END {
            self.deaf = true;
        }
    }

    fn method(&mut self, channel: u16, payload: &[u8], report: &mut impl FnMut(u16, Said<'_>)) {
        if has_content(payload) {
            let is_free = |content: &Content| content.channel.is_none() || content.channel == Some(channel);
            let at = self.contents.iter().position(is_free).unwrap_or_else(|| {
                self.contents.push(Content::default());
                self.contents.len() - 1
            });
            self.contents[at].begin(channel, payload);
        } else if let Some(said) = said(payload, None, &[]) {
            report(channel, said);
        }
    }

    fn header(&mut self, channel: u16, payload: &[u8], report: &mut impl FnMut(u16, Said<'_>)) {
        let Some(content) = self.content_mut(channel) else { return };
        let Some(size) = payload.get(4..12) else { return };
        content.missing = u64::from_be_bytes(size.try_into().expect("eight bytes"));
        content.has_header = true;
        content.message = number_of(&payload[12..]);
        content.properties.clear();
        content.properties.extend_from_slice(&payload[12..]);
        if content.missing == 0 {
            self.complete(channel, report);
        }
    }

    fn body(&mut self, channel: u16, len: u64, report: &mut impl FnMut(u16, Said<'_>)) {
        let Some(content) = self.content_mut(channel) else { return };
        content.missing = content.missing.saturating_sub(len);
        if content.has_header && content.missing == 0 {
            self.complete(channel, report);
        }
    }

    fn complete(&mut self, channel: u16, report: &mut impl FnMut(u16, Said<'_>)) {
        let Some(content) = self.content_mut(channel) else { return };
        content.channel = None;
        if let Some(said) = said(&content.method, content.message, &content.properties) {
            report(channel, said);
        }
    }

    fn content_mut(&mut self, channel: u16) -> Option<&mut Content> {
        self.contents.iter_mut().find(|content| content.channel == Some(channel))
    }
}

impl Content {
    fn begin(&mut self, channel: u16, method: &[u8]) {
        self.channel = Some(channel);
        self.method.clear();
        self.method.extend_from_slice(method);
        self.message = None;
        self.properties.clear();
        self.has_header = false;
        self.missing = 0;
    }
}

/// A method with all of its content in one piece, as nearly all come.
struct Whole<'a> {
    channel: u16,
    method: &'a [u8],
    properties: &'a [u8],
    /// What follows it.
    rest: &'a [u8],
}

impl<'a> Whole<'a> {
    /// The one that `bytes` begin with. Whatever else they begin with is taken frame by frame.
    fn at_front_of(bytes: &'a [u8]) -> Option<Self> {
        let (kind, channel, method, rest) = whole_frame(bytes)?;
        if kind != 1 || !has_content(method) {
            return None;
        }
        let next = |bytes, wanted| {
            let (kind, its, payload, rest) = whole_frame(bytes)?;
            (kind == wanted && its == channel).then_some((payload, rest))
        };
        let (header, mut rest) = next(rest, 2)?;
        let (fixed, properties) = header.split_first_chunk::<12>()?;
        let mut missing = u64::from_be_bytes(*fixed.last_chunk()?);
        while missing > 0 {
            let (body, after) = next(rest, 3)?;
            missing = missing.checked_sub(body.len() as u64)?;
            rest = after;
        }
        Some(Self { channel, method, properties, rest })
    }
}

/// The type, channel and payload of the frame that `bytes` begin with, and what follows it. `None` if it is not complete, or none.
fn whole_frame(bytes: &[u8]) -> Option<(u8, u16, &[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<FRAME_HEADER>()?;
    let (payload, rest) = rest.split_at_checked(frame_size(header))?;
    let (end, rest) = rest.split_first()?;
    (*end == FRAME_END && payload.len() <= SIZE_MAX).then_some((
        header[0],
        u16::from_be_bytes([header[1], header[2]]),
        payload,
        rest,
    ))
}

/// Whether a content follows a method.
fn has_content(method: &[u8]) -> bool {
    matches!(method, [0, 60, 0, 40 | 50 | 60 | 71, ..])
}

const FRAME_HEADER: usize = 7;
const FRAME_END: u8 = 0xce;
/// Bytes of a payload beyond every agreed limit.
const SIZE_MAX: usize = 1 << 20;

/// Bytes to collect before the frame that begins here can be looked at, once its header is there.
fn wanted(bytes: &[u8]) -> Option<usize> {
    let header = bytes.get(..FRAME_HEADER)?;
    // A size beyond every agreed limit is left to the engine to complain about; the tap does not collect it.
    Some(if header[0] == 3 || frame_size(header) > SIZE_MAX {
        FRAME_HEADER
    } else {
        FRAME_HEADER + frame_size(header) + 1
    })
}

fn frame_size(header: &[u8]) -> usize {
    let size = u32::from_be_bytes([header[3], header[4], header[5], header[6]]);
    usize::try_from(size).expect("32 bits fit")
}

/// Reads one method's arguments. `None` for what the model has no use for and for what is malformed.
fn said<'a>(payload: &'a [u8], message: Option<MessageNumber>, properties: &'a [u8]) -> Option<Said<'a>> {
    let mut reader = Reader(payload);
    let class = reader.u16()?;
    let method = reader.u16()?;
    Some(match (class, method) {
        (10, 50) => Said::ConnectionClose { code: reader.u16()? },
        (10, 51) => Said::ConnectionCloseOk,
        (10, 60) => Said::Blocked,
        (10, 61) => Said::Unblocked,
        (20, 10) => Said::ChannelOpen,
        (20, 40) => {
            let code = reader.u16()?;
            reader.short()?;
            Said::ChannelClose { code, class: reader.u16()?, method: reader.u16()? }
        }
        (20, 41) => Said::ChannelCloseOk,
        (40, 10) => {
            reader.u16()?;
            let (name, kind, bits) = (reader.short()?, reader.short()?, reader.u8()?);
            Said::ExchangeDeclare { name, kind, passive: bits & 1 != 0, durable: bits & 2 != 0 }
        }
        (40, 20) => {
            reader.u16()?;
            Said::ExchangeDelete { name: reader.short()? }
        }
        (40, 30) | (40, 40) => {
            reader.u16()?;
            let (destination, source, key) = (reader.short()?, reader.short()?, reader.short()?);
            reader.u8()?;
            let arguments = reader.0;
            if method == 30 {
                Said::ExchangeBind { destination, source, key, arguments }
            } else {
                Said::ExchangeUnbind { destination, source, key, arguments }
            }
        }
        (50, 10) => {
            reader.u16()?;
            let (name, bits) = (reader.short()?, reader.u8()?);
            Said::QueueDeclare {
                name,
                passive: bits & 1 != 0,
                durable: bits & 2 != 0,
                exclusive: bits & 4 != 0,
                auto_delete: bits & 8 != 0,
            }
        }
        (50, 11) => Said::QueueDeclareOk { name: reader.short()?, messages: reader.u32()?, consumers: reader.u32()? },
        (50, 20) => {
            reader.u16()?;
            let (queue, source, key) = (reader.short()?, reader.short()?, reader.short()?);
            reader.u8()?;
            Said::QueueBind { queue, source, key, arguments: reader.0 }
        }
        (50, 50) => {
            reader.u16()?;
            let (queue, source, key) = (reader.short()?, reader.short()?, reader.short()?);
            Said::QueueUnbind { queue, source, key, arguments: reader.0 }
        }
        (50, 30) => {
            reader.u16()?;
            Said::QueuePurge { queue: reader.short()? }
        }
        (50, 31) => Said::QueuePurgeOk { messages: reader.u32()? },
        (50, 40) => {
            reader.u16()?;
            Said::QueueDelete { queue: reader.short()? }
        }
        (50, 41) => Said::QueueDeleteOk { messages: reader.u32()? },
        (60, 10) => {
            reader.u32()?;
            Said::Qos { count: reader.u16()?, global: reader.u8()? & 1 != 0 }
        }
        (60, 20) => {
            reader.u16()?;
            let (queue, tag, bits) = (reader.short()?, reader.short()?, reader.u8()?);
            let len = usize::try_from(reader.u32()?).ok()?;
            let arguments = table(reader.take(len)?)?;
            let priority = find(&arguments, "x-priority").and_then(Value::as_number).unwrap_or(0);
            Said::Consume { queue, tag, no_ack: bits & 2 != 0, priority }
        }
        (60, 30) => Said::Cancel { tag: reader.short()? },
        (60, 40) => {
            reader.u16()?;
            let start = reader.0;
            reader.short()?;
            reader.short()?;
            let routing = &start[..start.len() - reader.0.len()];
            Said::Publish { routing, mandatory: reader.u8()? & 1 != 0, message, properties }
        }
        (60, 50) => Said::Return { message },
        (60, 60) => {
            let (consumer, tag) = (reader.short()?, reader.u64()?);
            Said::Deliver { consumer, tag, redelivered: reader.u8()? & 1 != 0, message, properties }
        }
        (60, 70) => {
            reader.u16()?;
            Said::Get { queue: reader.short()?, no_ack: reader.u8()? & 1 != 0 }
        }
        (60, 71) => {
            let (tag, redelivered) = (reader.u64()?, reader.u8()? & 1 != 0);
            reader.short()?;
            reader.short()?;
            Said::GetOk { tag, redelivered, messages: reader.u32()?, message, properties }
        }
        (60, 72) => Said::GetEmpty,
        (60, 80) => Said::Ack { tag: reader.u64()?, multiple: reader.u8()? & 1 != 0 },
        (60, 90) => Said::Nack { tag: reader.u64()?, multiple: false, requeue: reader.u8()? & 1 != 0 },
        (60, 120) => {
            let (tag, bits) = (reader.u64()?, reader.u8()?);
            Said::Nack { tag, multiple: bits & 1 != 0, requeue: bits & 2 != 0 }
        }
        (60, 100 | 110) => Said::Recover,
        (85, 10) => Said::ConfirmSelect,
        (90, 10) => Said::TxSelect,
        (90, 20) => Said::TxCommit,
        (90, 30) => Said::TxRollback,
        _ => Said::Done { class, method },
    })
}

/// Splits a routing, as [`Said::Publish`] has it, into exchange and routing key.
pub(crate) fn split_routing(routing: &[u8]) -> (&[u8], &[u8]) {
    let mut reader = Reader(routing);
    let exchange = reader.short().unwrap_or_default();
    (exchange, reader.short().unwrap_or_default())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    fn short(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(usize::from(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Extras, MessageInfo, properties};

    fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![kind];
        out.extend_from_slice(&channel.to_be_bytes());
        out.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        out.extend_from_slice(payload);
        out.push(FRAME_END);
        out
    }

    fn publish(number: u32, body: &[u8]) -> Vec<u8> {
        let info =
            MessageInfo { publisher: 0, sequence: 0, attempt: 0, size: 0, persistent: true, extras: Extras::default() };
        let mut header = vec![0, 60, 0, 0];
        header.extend_from_slice(&(body.len() as u64).to_be_bytes());
        header.extend_from_slice(&properties(MessageNumber(number), &info));
        let mut out = frame(1, 3, &[0, 60, 0, 40, 0, 0, 1, b'x', 2, b'k', b'y', 1]);
        out.extend(frame(2, 3, &header));
        for part in body.chunks(5) {
            out.extend(frame(3, 3, part));
        }
        out
    }

    #[test]
    fn the_same_is_heard_however_the_bytes_are_cut() {
        let mut stream = b"AMQP\0\0\x09\x01".to_vec();
        stream.extend(publish(7, b"hello world"));
        stream.extend(frame(8, 0, b""));
        stream.extend(publish(8, b""));
        stream.extend(frame(1, 3, &[0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 9, 1]));
        for cut in 1..stream.len() {
            let mut tap = Tap::of_client();
            let mut heard = Vec::new();
            for part in stream.chunks(cut) {
                tap.hear(part, |channel, said| heard.push(format!("{channel} {said:?}")));
            }
            assert_eq!(heard.len(), 3, "cut every {cut}: {heard:?}");
            assert!(heard[0].contains("MessageNumber(7)") && heard[0].contains("mandatory: true"), "{heard:?}");
            assert!(heard[1].contains("MessageNumber(8)"), "{heard:?}");
            assert_eq!(heard[2], "3 Ack { tag: 9, multiple: true }");
        }
    }

    #[test]
    fn bytes_that_are_no_frames_make_it_deaf() {
        let mut tap = Tap::of_node();
        tap.hear(b"HTTP/1.1 400 Bad Request\r\n\r\n", |_, said| panic!("{said:?}"));
        tap.hear(&frame(1, 1, &[0, 60, 0, 72, 0]), |_, said| panic!("{said:?}"));
    }
}
