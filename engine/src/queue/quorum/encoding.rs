//! Entries of a quorum queue's log as bytes, version 1.
//!
//! A byte with the version, then one command after the other: a byte with its kind, and its fields. Numbers take seven bits a byte.
//! The highest bit of the kind says that the command is the next of the session that the last one was of, so that a batch of one
//! publisher names it once.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use smallvec::SmallVec;

use super::command::{
    AdoptedConsumer, AdoptedDelivery, AdoptedSession, Brought, Carried, Checkout, Command, CreditMode, Enqueue,
    NumberRange, Numbers, Payload, ReturnKind, SessionOp,
};
use super::ids::{Boot, DeliveryNumber, LogIndex, NodeId, SessionId, SessionSeqno};
use super::settings::{DeadLetters, DelayedRetry, Rules, Settings};
use super::slot::BodyPlace;
use crate::ids::QueueSeq;
use crate::limits::{QUORUM_NUMBERS_MAX, QUORUM_SEQNO_MAX};
use crate::storage::codec::{Reader, put_varint};

/// The version that is written.
pub(super) const VERSION: u8 = 1;
/// Marks a command that follows the last one of its session.
const FOLLOWS: u8 = 0x80;

/// The kinds of commands, as version 1 has them.
mod kind {
    pub(super) const ENQUEUE: u8 = 1;
    pub(super) const CHECKOUT: u8 = 2;
    pub(super) const GET: u8 = 3;
    pub(super) const CREDIT: u8 = 4;
    pub(super) const SETTLE: u8 = 5;
    pub(super) const RETURN: u8 = 6;
    pub(super) const DISCARD: u8 = 7;
    pub(super) const CANCEL: u8 = 8;
    pub(super) const END: u8 = 9;
    pub(super) const NODE_SUSPECTED: u8 = 32;
    pub(super) const NODE_UP: u8 = 33;
    pub(super) const NODE_DOWN: u8 = 34;
    pub(super) const TICK: u8 = 35;
    pub(super) const UPDATE: u8 = 36;
    pub(super) const DEAD_LETTERED: u8 = 37;
    pub(super) const PURGE: u8 = 38;
    pub(super) const PAUSE: u8 = 39;
    pub(super) const DELETE_PREPARE: u8 = 40;
    pub(super) const CARRY: u8 = 41;
    pub(super) const BRING: u8 = 42;
    pub(super) const ADOPT: u8 = 43;
    pub(super) const FORSAKE: u8 = 44;
}

/// Bytes that are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// A later program wrote them.
    UnknownVersion(u8),
    /// They follow no version of the format.
    Malformed,
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVersion(version) => {
                write!(f, "a queue's log is of version {version}, which this program does not know")
            }
            Self::Malformed => f.write_str("an entry of a queue's log is damaged"),
        }
    }
}

impl core::error::Error for EntryError {}

/// Writes one entry.
#[derive(Debug, Default)]
pub struct EntryWriter {
    bytes: Vec<u8>,
    /// The last command of a session.
    last: Option<(SessionId, SessionSeqno)>,
}

impl EntryWriter {
    /// Adds a command. `payload` are the bytes of an enqueued message, or of all that are carried or brought in a row, else there are none.
    ///
    /// # Panics
    /// If there are bytes for a command that has none, or others than it says.
    pub fn push(&mut self, command: &Command, payload: &[u8]) {
        self.begin();
        match command {
            Command::Session { session, seqno, op } => self.session(*session, *seqno, op, payload),
            Command::NodeSuspected { node } => {
                self.bytes.push(kind::NODE_SUSPECTED);
                self.number(node.0);
            }
            Command::NodeUp { node, boot } => self.node(kind::NODE_UP, *node, *boot),
            Command::NodeDown { node, boot } => self.node(kind::NODE_DOWN, *node, *boot),
            Command::Tick => self.bytes.push(kind::TICK),
            Command::Update(settings) => {
                self.bytes.push(kind::UPDATE);
                put_settings(&mut self.bytes, settings);
            }
            Command::DeadLettered { deaths } => {
                self.bytes.push(kind::DEAD_LETTERED);
                self.numbers(deaths);
            }
            Command::Carry { bodies } => self.carry(bodies, payload),
            Command::Bring { messages } => self.bring(messages, payload),
            Command::Adopt { sessions, consumers } => self.adopt(sessions, consumers),
            Command::Forsake { session } => {
                self.bytes.push(kind::FORSAKE);
                put_session(&mut self.bytes, *session);
            }
            Command::Purge => self.bytes.push(kind::PURGE),
            Command::Pause { is_paused } => self.bytes.extend([kind::PAUSE, (*is_paused).into()]),
            Command::DeletePrepare { if_unused, if_empty } => {
                self.bytes.extend([kind::DELETE_PREPARE, flags([*if_unused, *if_empty])]);
            }
        }
    }

    /// Adds what a session wants, as [`EntryWriter::push`] does.
    ///
    /// # Panics
    /// If there are bytes for a command that is no message.
    pub fn session(&mut self, session: SessionId, seqno: SessionSeqno, op: &SessionOp, payload: &[u8]) {
        self.begin();
        let follows = self.last.is_some_and(|(last, before)| last == session && before.next() == seqno);
        self.last = Some((session, seqno));
        self.bytes.push(kind_of(op) | if follows { FOLLOWS } else { 0 });
        if !follows {
            put_session(&mut self.bytes, session);
            self.number(seqno.0);
        }
        match op {
            SessionOp::Enqueue(enqueue) => return self.enqueue(enqueue, payload),
            SessionOp::Checkout(checkout) => self.checkout(checkout),
            SessionOp::Get { tag } => self.number((*tag).into()),
            SessionOp::Credit { tag, credit, delivery_count, is_drain } => {
                self.number((*tag).into());
                self.number((*credit).into());
                self.number((*delivery_count).into());
                self.bytes.push((*is_drain).into());
            }
            SessionOp::Settle { tag, numbers } | SessionOp::Discard { tag, numbers } => {
                self.number((*tag).into());
                self.numbers(numbers);
            }
            SessionOp::Return { tag, numbers, how } => {
                self.number((*tag).into());
                self.numbers(numbers);
                self.bytes.push((*how == ReturnKind::Failed).into());
            }
            SessionOp::Cancel { tag, seen } => {
                self.number((*tag).into());
                self.number(seen.0);
            }
            SessionOp::End => {}
        }
        assert!(payload.is_empty(), "only an enqueued message has bytes");
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The entry. The writer begins another one.
    pub fn take(&mut self) -> Vec<u8> {
        self.last = None;
        core::mem::take(&mut self.bytes)
    }

    fn begin(&mut self) {
        if self.bytes.is_empty() {
            self.bytes.push(VERSION);
        }
    }

    fn enqueue(&mut self, enqueue: &Enqueue, payload: &[u8]) {
        let Enqueue { size, priority, ttl_ms, is_persistent, is_internal, payload: _ } = enqueue;
        self.bytes.push(flags([priority.is_some(), ttl_ms.is_some(), *is_persistent, *is_internal]));
        self.number((*size).into());
        self.bytes.extend(priority);
        if let Some(ttl) = ttl_ms {
            self.number(*ttl);
        }
        self.number(payload.len() as u64);
        self.bytes.extend_from_slice(payload);
    }

    fn carry(&mut self, bodies: &[Carried], mut payload: &[u8]) {
        self.bytes.push(kind::CARRY);
        self.number(bodies.len() as u64);
        for Carried { from: BodyPlace { index, at, len }, to: _ } in bodies {
            self.number(index.0);
            self.number((*at).into());
            self.number((*len).into());
            let (body, rest) = payload.split_at(*len as usize);
            self.bytes.extend_from_slice(body);
            payload = rest;
        }
        assert!(payload.is_empty(), "bodies are as long as where they were");
    }

    fn bring(&mut self, messages: &[Brought], mut payload: &[u8]) {
        self.bytes.push(kind::BRING);
        self.number(messages.len() as u64);
        for message in messages {
            let Brought {
                size,
                priority,
                expires_at,
                failed,
                is_redelivered,
                is_persistent,
                payload: Payload { len, .. },
            } = message;
            self.bytes.push(flags([*is_redelivered, *is_persistent]));
            self.number((*size).into());
            self.bytes.push(*priority);
            self.number(*expires_at);
            self.number((*failed).into());
            self.number((*len).into());
            let (body, rest) = payload.split_at(*len as usize);
            self.bytes.extend_from_slice(body);
            payload = rest;
        }
        assert!(payload.is_empty(), "messages are as long as they say");
    }

    fn adopt(&mut self, sessions: &[AdoptedSession], consumers: &[AdoptedConsumer]) {
        self.bytes.push(kind::ADOPT);
        self.number(sessions.len() as u64);
        for AdoptedSession { session, next } in sessions {
            put_session(&mut self.bytes, *session);
            self.number(next.0);
        }
        self.number(consumers.len() as u64);
        for AdoptedConsumer { session, checkout, is_over, next, unacked } in consumers {
            put_session(&mut self.bytes, *session);
            self.checkout(checkout);
            self.bytes.push((*is_over).into());
            self.number(next.0);
            self.number(unacked.len() as u64);
            for AdoptedDelivery { number, seq, expires_at } in unacked {
                self.number(number.0);
                self.number(seq.0);
                self.number(*expires_at);
            }
        }
    }

    fn checkout(&mut self, checkout: &Checkout) {
        let Checkout { tag, credit, priority, timeout_ms, is_exclusive } = checkout;
        let granted = *credit == CreditMode::Granted;
        self.number((*tag).into());
        self.bytes.push(flags([granted, timeout_ms.is_some(), *is_exclusive]));
        if let CreditMode::Prefetch(prefetch) = credit {
            self.number((*prefetch).into());
        }
        self.bytes.extend(priority.to_le_bytes());
        if let Some(timeout) = timeout_ms {
            self.number(*timeout);
        }
    }

    fn node(&mut self, kind: u8, node: NodeId, boot: Boot) {
        self.bytes.push(kind);
        self.number(node.0);
        self.number(boot.0);
    }

    fn numbers(&mut self, numbers: &[NumberRange]) {
        self.number(numbers.len() as u64);
        let mut before = 0;
        for range in numbers {
            self.number(range.first - before);
            self.number(range.last - range.first);
            before = range.last;
        }
    }

    fn number(&mut self, number: u64) {
        put_varint(&mut self.bytes, number);
    }
}

/// Reads the commands of an entry, behind those that are there. An error leaves none of its own.
///
/// # Errors
/// If the bytes are no entry, or one of a later version.
pub fn decode_entry(entry: &[u8], commands: &mut Vec<Command>) -> Result<(), EntryError> {
    let before = commands.len();
    let mut reader = Reader(entry);
    match reader.u8() {
        Some(VERSION) => {}
        Some(version) if version > VERSION => return Err(EntryError::UnknownVersion(version)),
        _ => return Err(EntryError::Malformed),
    }
    let mut last = None;
    while !reader.is_empty() {
        let Some(command) = read_command(&mut reader, entry.len(), &mut last) else {
            commands.truncate(before);
            return Err(EntryError::Malformed);
        };
        commands.push(command);
    }
    Ok(())
}

/// Whether an entry settles something and does nothing else.
pub fn only_settles(entry: &[u8]) -> bool {
    let mut reader = Reader(entry);
    if reader.u8() != Some(VERSION) || reader.is_empty() {
        return false;
    }
    let mut last = None;
    // What begins otherwise may be long; only its first byte is looked at.
    while reader.0.first().is_some_and(|kind| kind & !FOLLOWS == kind::SETTLE) {
        if read_command(&mut reader, entry.len(), &mut last).is_none() {
            return false;
        }
    }
    reader.is_empty()
}

/// Puts the commands of an entry behind those of another. Whether that could be done: only with entries of the version that is
/// written.
pub fn join_entries(first: &mut Vec<u8>, second: &[u8]) -> bool {
    match second.split_first() {
        // The first of its commands names its session, and all others follow one of their own entry.
        Some((&VERSION, commands)) if first.first() == Some(&VERSION) => {
            first.extend_from_slice(commands);
            true
        }
        _ => false,
    }
}

fn read_command(
    reader: &mut Reader<'_>,
    entry_len: usize,
    last: &mut Option<(SessionId, SessionSeqno)>,
) -> Option<Command> {
    let kind = reader.u8()?;
    if kind & !FOLLOWS < kind::NODE_SUSPECTED {
        let (session, seqno) = if kind & FOLLOWS == 0 {
            (read_session(reader)?, SessionSeqno(reader.varint()?))
        } else {
            last.map(|(session, seqno)| (session, seqno.next()))?
        };
        if seqno.0 == 0 || seqno.0 > QUORUM_SEQNO_MAX {
            return None;
        }
        *last = Some((session, seqno));
        let op = read_op(reader, kind & !FOLLOWS, entry_len)?;
        return Some(Command::Session { session, seqno, op });
    }
    Some(match kind {
        kind::NODE_SUSPECTED => Command::NodeSuspected { node: NodeId(reader.varint()?) },
        kind::NODE_UP => Command::NodeUp { node: NodeId(reader.varint()?), boot: Boot(reader.varint()?) },
        kind::NODE_DOWN => Command::NodeDown { node: NodeId(reader.varint()?), boot: Boot(reader.varint()?) },
        kind::TICK => Command::Tick,
        kind::UPDATE => Command::Update(Box::new(read_settings(reader)?)),
        kind::DEAD_LETTERED => Command::DeadLettered { deaths: read_numbers(reader)? },
        kind::CARRY => Command::Carry { bodies: read_carried(reader, entry_len)? },
        kind::BRING => Command::Bring { messages: read_brought(reader, entry_len)? },
        kind::ADOPT => read_adopted(reader)?,
        kind::FORSAKE => Command::Forsake { session: read_session(reader)? },
        kind::PURGE => Command::Purge,
        kind::PAUSE => {
            let [is_paused] = read_flags(reader)?;
            Command::Pause { is_paused }
        }
        kind::DELETE_PREPARE => {
            let [if_unused, if_empty] = read_flags(reader)?;
            Command::DeletePrepare { if_unused, if_empty }
        }
        _ => return None,
    })
}

fn read_op(reader: &mut Reader<'_>, kind: u8, entry_len: usize) -> Option<SessionOp> {
    Some(match kind {
        kind::ENQUEUE => {
            let [has_priority, has_ttl, is_persistent, is_internal] = read_flags(reader)?;
            let size = reader.varint_u32()?;
            let priority = if has_priority { Some(reader.u8()?) } else { None };
            let ttl_ms = if has_ttl { Some(reader.varint()?) } else { None };
            let len = reader.varint_u32()?;
            let at = u32::try_from(entry_len - reader.0.len()).ok()?;
            reader.take(usize::try_from(len).ok()?)?;
            let payload = Payload { at, len };
            SessionOp::Enqueue(Enqueue { size, priority, ttl_ms, is_persistent, is_internal, payload })
        }
        kind::CHECKOUT => SessionOp::Checkout(read_checkout(reader)?),
        kind::GET => SessionOp::Get { tag: reader.varint_u32()? },
        kind::CREDIT => {
            let (tag, credit, delivery_count) = (reader.varint_u32()?, reader.varint_u32()?, reader.varint_u32()?);
            let [is_drain] = read_flags(reader)?;
            SessionOp::Credit { tag, credit, delivery_count, is_drain }
        }
        kind::SETTLE => SessionOp::Settle { tag: reader.varint_u32()?, numbers: read_numbers(reader)? },
        kind::RETURN => {
            let (tag, numbers) = (reader.varint_u32()?, read_numbers(reader)?);
            let [is_failure] = read_flags(reader)?;
            let how = if is_failure { ReturnKind::Failed } else { ReturnKind::Requeued };
            SessionOp::Return { tag, numbers, how }
        }
        kind::DISCARD => SessionOp::Discard { tag: reader.varint_u32()?, numbers: read_numbers(reader)? },
        kind::CANCEL => SessionOp::Cancel { tag: reader.varint_u32()?, seen: DeliveryNumber(reader.varint()?) },
        kind::END => SessionOp::End,
        _ => return None,
    })
}

fn read_checkout(reader: &mut Reader<'_>) -> Option<Checkout> {
    let tag = reader.varint_u32()?;
    let [granted, has_timeout, is_exclusive] = read_flags(reader)?;
    let credit = if granted { CreditMode::Granted } else { CreditMode::Prefetch(reader.varint_u32()?) };
    let priority = i64::from_le_bytes(reader.take(8)?.try_into().ok()?);
    let timeout_ms = if has_timeout { Some(reader.varint()?) } else { None };
    Some(Checkout { tag, credit, priority, timeout_ms, is_exclusive })
}

fn read_carried(reader: &mut Reader<'_>, entry_len: usize) -> Option<Vec<Carried>> {
    let mut bodies: Vec<Carried> = Vec::new();
    for _ in 0..reader.varint()? {
        let from = BodyPlace { index: LogIndex(reader.varint()?), at: reader.varint_u32()?, len: reader.varint_u32()? };
        if bodies.last().is_some_and(|last| last.from >= from) {
            return None;
        }
        let at = u32::try_from(entry_len - reader.0.len()).ok()?;
        reader.take(usize::try_from(from.len).ok()?)?;
        bodies.push(Carried { from, to: Payload { at, len: from.len } });
    }
    Some(bodies)
}

fn read_brought(reader: &mut Reader<'_>, entry_len: usize) -> Option<Vec<Brought>> {
    let mut messages = Vec::new();
    for _ in 0..reader.varint()? {
        let [is_redelivered, is_persistent] = read_flags(reader)?;
        let (size, priority, expires_at) = (reader.varint_u32()?, reader.u8()?, reader.varint()?);
        let failed = u16::try_from(reader.varint()?).ok()?;
        let len = reader.varint_u32()?;
        let at = u32::try_from(entry_len - reader.0.len()).ok()?;
        reader.take(usize::try_from(len).ok()?)?;
        let payload = Payload { at, len };
        messages.push(Brought { size, priority, expires_at, failed, is_redelivered, is_persistent, payload });
    }
    Some(messages)
}

fn read_adopted(reader: &mut Reader<'_>) -> Option<Command> {
    let (mut sessions, mut consumers): (Vec<AdoptedSession>, Vec<AdoptedConsumer>) = (Vec::new(), Vec::new());
    let is_sound = |next: u64| next > 0 && next <= QUORUM_SEQNO_MAX;
    for _ in 0..reader.varint()? {
        let session = read_session(reader)?;
        let next = SessionSeqno(reader.varint().filter(|next| is_sound(*next))?);
        if sessions.last().is_some_and(|last| last.session >= session) {
            return None;
        }
        sessions.push(AdoptedSession { session, next });
    }
    for _ in 0..reader.varint()? {
        let (session, checkout) = (read_session(reader)?, read_checkout(reader)?);
        let [is_over] = read_flags(reader)?;
        let next = DeliveryNumber(reader.varint().filter(|next| is_sound(*next))?);
        let mut unacked: Vec<AdoptedDelivery> = Vec::new();
        for _ in 0..reader.varint()? {
            let number = DeliveryNumber(reader.varint()?);
            let (seq, expires_at) = (QueueSeq(reader.varint()?), reader.varint()?);
            if number >= next || unacked.last().is_some_and(|last| last.number >= number) {
                return None;
            }
            unacked.push(AdoptedDelivery { number, seq, expires_at });
        }
        consumers.push(AdoptedConsumer { session, checkout, is_over, next, unacked });
    }
    Some(Command::Adopt { sessions, consumers })
}

/// Ranges that ascend and hold no more numbers than one command may name.
fn read_numbers(reader: &mut Reader<'_>) -> Option<Numbers> {
    let count = reader.varint().filter(|count| *count <= QUORUM_NUMBERS_MAX)?;
    let (mut numbers, mut before, mut named) = (SmallVec::new(), 0u64, 0u64);
    for at in 0..count {
        let gap = reader.varint()?;
        let more = reader.varint()?;
        let first = before.checked_add(gap)?;
        let last = first.checked_add(more)?;
        named = named.checked_add(more)?.checked_add(1)?;
        if named > QUORUM_NUMBERS_MAX || at > 0 && gap < 2 || last == u64::MAX {
            return None;
        }
        numbers.push(NumberRange { first, last });
        before = last;
    }
    Some(numbers)
}

/// A session's name.
pub(crate) fn put_session(out: &mut Vec<u8>, session: SessionId) {
    put_varint(out, session.node.0);
    put_varint(out, session.boot.0);
    put_varint(out, session.number);
}

/// The name that [`put_session`] wrote.
pub(crate) fn read_session(reader: &mut Reader<'_>) -> Option<SessionId> {
    let (node, boot) = (NodeId(reader.varint()?), Boot(reader.varint()?));
    Some(SessionId { node, boot, number: reader.varint().filter(|number| *number < u64::MAX)? })
}

/// All settings.
pub(super) fn put_settings(out: &mut Vec<u8>, settings: &Settings) {
    let Settings {
        length_max,
        length_max_bytes,
        rejects_publish,
        message_ttl_ms,
        delivery_limit,
        dead_letters,
        single_active_consumer,
        expires_ms,
        disconnected_timeout_ms,
        delayed_retry: DelayedRetry { failed, returned, min_ms, max_ms },
        rules,
    } = settings;
    let classic = match rules {
        Rules::Quorum => None,
        Rules::Classic { priority_max, auto_delete } => Some((*priority_max, *auto_delete)),
    };
    let is_auto_delete = classic.is_some_and(|(_, auto_delete)| auto_delete);
    let limit = delivery_limit.map(u64::from);
    let options = [*length_max, *length_max_bytes, *message_ttl_ms, limit, *expires_ms];
    out.push(flags(options.map(|option| option.is_some())));
    out.push(flags([*rejects_publish, *single_active_consumer, *failed, *returned, classic.is_some(), is_auto_delete]));
    out.push(match dead_letters {
        DeadLetters::Drop => 0,
        DeadLetters::AtMostOnce => 1,
        DeadLetters::AtLeastOnce => 2,
    });
    let numbers = [*disconnected_timeout_ms, *min_ms, *max_ms];
    options.into_iter().flatten().chain(numbers).for_each(|number| put_varint(out, number));
    out.extend(classic.map(|(priority_max, _)| priority_max));
}

/// The settings that [`put_settings`] wrote.
pub(super) fn read_settings(reader: &mut Reader<'_>) -> Option<Settings> {
    let given: [bool; 5] = read_flags(reader)?;
    let [rejects_publish, single_active_consumer, failed, returned, is_classic, auto_delete] = read_flags(reader)?;
    let dead_letters = match reader.u8()? {
        0 => DeadLetters::Drop,
        1 => DeadLetters::AtMostOnce,
        2 => DeadLetters::AtLeastOnce,
        _ => return None,
    };
    let mut options = [None; 5];
    for (option, is_given) in options.iter_mut().zip(given) {
        if is_given {
            *option = Some(reader.varint()?);
        }
    }
    let [length_max, length_max_bytes, message_ttl_ms, limit, expires_ms] = options;
    let delivery_limit = match limit {
        Some(limit) => Some(u16::try_from(limit).ok()?),
        None => None,
    };
    let disconnected_timeout_ms = reader.varint()?;
    let delayed_retry = DelayedRetry { failed, returned, min_ms: reader.varint()?, max_ms: reader.varint()? };
    let rules = match (is_classic, auto_delete) {
        (true, auto_delete) => Rules::Classic { priority_max: reader.u8()?, auto_delete },
        (false, false) => Rules::Quorum,
        (false, true) => return None,
    };
    Some(Settings {
        length_max,
        length_max_bytes,
        rejects_publish,
        message_ttl_ms,
        delivery_limit,
        dead_letters,
        single_active_consumer,
        expires_ms,
        disconnected_timeout_ms,
        delayed_retry,
        rules,
    })
}

/// Flags in a byte, the first the lowest bit.
pub(super) fn flags<const N: usize>(flags: [bool; N]) -> u8 {
    flags.into_iter().rev().fold(0, |byte, flag| byte << 1 | u8::from(flag))
}

/// The flags that [`flags`] wrote; none if there are others.
pub(super) fn read_flags<const N: usize>(reader: &mut Reader<'_>) -> Option<[bool; N]> {
    let byte = reader.u8()?;
    (u32::from(byte) >> N == 0).then(|| core::array::from_fn(|bit| byte >> bit & 1 == 1))
}

fn kind_of(op: &SessionOp) -> u8 {
    match op {
        SessionOp::Enqueue(_) => kind::ENQUEUE,
        SessionOp::Checkout(_) => kind::CHECKOUT,
        SessionOp::Get { .. } => kind::GET,
        SessionOp::Credit { .. } => kind::CREDIT,
        SessionOp::Settle { .. } => kind::SETTLE,
        SessionOp::Return { .. } => kind::RETURN,
        SessionOp::Discard { .. } => kind::DISCARD,
        SessionOp::Cancel { .. } => kind::CANCEL,
        SessionOp::End => kind::END,
    }
}
