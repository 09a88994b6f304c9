//! The simulated messages: content and properties are functions of a message's number, so that whoever gets one can tell from the
//! number alone what it must look like.

use std::collections::BTreeMap;

use bytes::Bytes;
use leveret_engine::amqp::RawProperties;

use crate::field::{Value, table};
use crate::history::Part;
use crate::plan::BurstExtras;
use crate::rng::{Fate, mix, scale};

/// One publish of the run: each attempt has a number of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MessageNumber(pub(crate) u32);

impl MessageNumber {
    /// As an index.
    pub(crate) fn index(self) -> usize {
        usize::try_from(self.0).expect("32 bits fit")
    }
}

impl std::fmt::Display for MessageNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// What a publisher decided about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageInfo {
    /// The publishing client.
    pub(crate) publisher: u32,
    /// Its number among this publisher's messages; attempts share it.
    pub(crate) sequence: u32,
    /// 0, or how often it had been published before.
    pub(crate) attempt: u32,
    /// Bytes of the body.
    pub(crate) size: u32,
    /// Delivery mode 2.
    pub(crate) persistent: bool,
    /// What else it says.
    pub(crate) extras: Extras,
}

/// Optional properties and headers of one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extras {
    /// `expiration`, in milliseconds.
    pub(crate) expiration_ms: Option<u32>,
    /// `priority`.
    pub(crate) priority: Option<u8>,
    /// Header `x-delay`, in milliseconds.
    pub(crate) delay_ms: Option<u32>,
    /// Its body looks like what a log may hold between its records.
    pub(crate) is_hostile: bool,
}

impl Extras {
    /// The extras of the publish number `ordinal` of a client, as its burst has them.
    pub(crate) fn draw(plan: &BurstExtras, fates: Fate, ordinal: u64) -> Self {
        let within = |kind, (low, high): (u32, u32)| {
            let drawn = scale(fates.of(kind, ordinal), u64::from(low), u64::from(high));
            u32::try_from(drawn).expect("between two 32-bit numbers")
        };
        Self {
            expiration_ms: plan.expiration_ms.map(|span| within(30, span)),
            priority: plan.priority.map(|(low, high)| {
                u8::try_from(within(31, (low.into(), high.into()))).expect("between two 8-bit numbers")
            }),
            delay_ms: plan.delay_ms.map(|span| within(32, span)),
            is_hostile: plan.hostile_bodies,
        }
    }
}

/// Every message published so far.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    infos: Vec<MessageInfo>,
    /// Those whose content is not a function of their number.
    own: BTreeMap<MessageNumber, Own>,
    /// Used again for each message.
    pub(crate) room: Room,
}

/// Room for a message as it is written.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Exchange and routing key, as they are on the wire.
    pub(crate) routing: Vec<u8>,
    /// The properties, as they are on the wire.
    pub(crate) properties: Vec<u8>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// The content of a message that somebody's own program made.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    /// The properties as they are on the wire.
    pub(crate) properties: Bytes,
    /// The body.
    pub(crate) body: Bytes,
}

impl Messages {
    /// Numbers a new message.
    pub(crate) fn add(&mut self, info: MessageInfo) -> MessageNumber {
        self.infos.push(info);
        MessageNumber(u32::try_from(self.infos.len() - 1).expect("a run has fewer than 2^32 messages"))
    }

    /// Numbers a new message with a content of its own.
    pub(crate) fn add_own(&mut self, info: MessageInfo, make: impl FnOnce(MessageNumber) -> Own) -> MessageNumber {
        let number = self.add(info);
        self.own.insert(number, make(number));
        number
    }

    /// The content of a message that has one of its own.
    pub(crate) fn own(&self, number: MessageNumber) -> Option<&Own> {
        self.own.get(&number)
    }

    /// What is known of a message; `None` for one that was never published.
    pub(crate) fn get(&self, number: MessageNumber) -> Option<&MessageInfo> {
        self.infos.get(number.index())
    }

    /// Compares what arrived with what was published: which message it is, if it is one, and what of it is wrong. Where messages are
    /// `rewritten` on their way, as dead letters are, their properties may have changed in the ways that are allowed.
    pub(crate) fn compare(
        &mut self,
        properties: &RawProperties,
        body: &[u8],
        rewritten: bool,
    ) -> (Option<MessageNumber>, Option<Part>) {
        let found = properties.as_bytes();
        let number = number_of(found);
        let Some((message, info)) = number.and_then(|number| Some((number, *self.get(number)?))) else {
            return (None, None);
        };
        let mut published = std::mem::take(&mut self.room.properties);
        let own = self.own(message);
        let right = match own {
            Some(own) => &own.properties[..],
            None => {
                write_properties(&mut published, message, &info);
                &published
            }
        };
        let is_right = found == right || (rewritten && is_rewritten(found, right));
        let is_body = own.map_or_else(|| is_body(body, message, &info), |own| own.body == body);
        self.room.properties = published;
        (Some(message), if !is_body { Some(Part::Body) } else { (!is_right).then_some(Part::Properties) })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.infos.len()
    }
}

/// The value of header `shape`.
pub(crate) fn shape(number: MessageNumber) -> u8 {
    u8::try_from(number.0 % 2).expect("below two")
}

/// The value of header `colour`.
pub(crate) fn colour(number: MessageNumber) -> u8 {
    u8::try_from(number.0 % 3).expect("below three")
}

/// Writes exchange and routing key over what `out` held: two short strings, as they are on the wire.
pub(crate) fn write_routing(out: &mut Vec<u8>, exchange: &str, key: &str) {
    out.clear();
    short(out, exchange.as_bytes());
    short(out, key.as_bytes());
}

/// Writes the body over what `out` held.
pub(crate) fn write_body(out: &mut Vec<u8>, number: MessageNumber, info: &MessageInfo) {
    let size = usize::try_from(info.size).expect("32 bits fit");
    out.resize(size.next_multiple_of(8), 0);
    if info.extras.is_hostile {
        write_words(out, number, hostile);
    } else {
        write_words(out, number, plain);
    }
    out.truncate(size);
}

fn write_words(out: &mut [u8], number: MessageNumber, shown: impl Fn(u64) -> [u8; 8]) {
    let mut word = first_word(number);
    for place in out.as_chunks_mut().0 {
        *place = shown(word);
        word = next_word(word);
    }
}

/// Whether `found` is the body of that message.
pub(crate) fn is_body(found: &[u8], number: MessageNumber, info: &MessageInfo) -> bool {
    found.len() as u64 == u64::from(info.size)
        && if info.extras.is_hostile { are_words(found, number, hostile) } else { are_words(found, number, plain) }
}

fn are_words(found: &[u8], number: MessageNumber, shown: impl Fn(u64) -> [u8; 8]) -> bool {
    let mut word = first_word(number);
    let (chunks, rest) = found.as_chunks();
    for chunk in chunks {
        if *chunk != shown(word) {
            return false;
        }
        word = next_word(word);
    }
    *rest == shown(word)[..rest.len()]
}

/// The bytes of a body that stand for a word.
fn plain(word: u64) -> [u8; 8] {
    word.to_le_bytes()
}

/// The same in a hostile body: often what looks like unused space or a length.
fn hostile(word: u64) -> [u8; 8] {
    let shown = match word >> 61 {
        0 => word,
        1..=3 => u64::MAX,
        4 | 5 => 0,
        _ => word >> 8 & 0xff,
    };
    shown.to_le_bytes()
}

fn first_word(number: MessageNumber) -> u64 {
    mix(u64::from(number.0) + 1)
}

fn next_word(word: u64) -> u64 {
    word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f)
}

/// The properties as they are on the wire (AMQP 0-9-1 §4.2.6.1): flags, then the fields that are there.
///
/// They are written here by hand rather than with the engine's codec, which is under test.
#[cfg(test)]
pub(crate) fn properties(number: MessageNumber, info: &MessageInfo) -> Vec<u8> {
    let mut out = Vec::new();
    write_properties(&mut out, number, info);
    out
}

/// The same, written over what `out` held.
pub(crate) fn write_properties(out: &mut Vec<u8>, number: MessageNumber, info: &MessageInfo) {
    let variety = mix(u64::from(number.0) ^ 0x70_726f_7073);
    let mut flags: u16 = HEADERS | DELIVERY_MODE | MESSAGE_ID;
    for (bit, flag) in
        [CONTENT_TYPE, CONTENT_ENCODING, CORRELATION_ID, REPLY_TO, TIMESTAMP, TYPE, APP_ID].into_iter().enumerate()
    {
        if variety >> (bit * 2) & 3 == 0 {
            flags |= flag;
        }
    }
    if info.extras.priority.is_some() {
        flags |= PRIORITY;
    }
    if info.extras.expiration_ms.is_some() {
        flags |= EXPIRATION;
    }
    out.clear();
    out.reserve(96);
    out.extend_from_slice(&flags.to_be_bytes());
    if flags & CONTENT_TYPE != 0 {
        short(out, b"text/plain");
    }
    if flags & CONTENT_ENCODING != 0 {
        short(out, b"identity");
    }
    let table = out.len();
    let mut headers = *OWN_HEADERS;
    for (at, value) in
        [(SHAPE_AT, u32::from(shape(number))), (COLOUR_AT, u32::from(colour(number))), (ATTEMPT_AT, info.attempt)]
    {
        headers[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    out.extend_from_slice(&headers);
    if let Some(delay) = info.extras.delay_ms {
        short(out, b"x-delay");
        out.push(b'I');
        out.extend_from_slice(&delay.to_be_bytes());
    }
    let len = u32::try_from(out.len() - table - 4).expect("a small table");
    out[table..table + 4].copy_from_slice(&len.to_be_bytes());
    out.push(if info.persistent { 2 } else { 1 });
    if let Some(priority) = info.extras.priority {
        out.push(priority);
    }
    if flags & CORRELATION_ID != 0 {
        short(out, &variety.to_be_bytes());
    }
    if flags & REPLY_TO != 0 {
        short(out, b"");
    }
    if let Some(expiration) = info.extras.expiration_ms {
        short_number(out, expiration);
    }
    short(out, &message_id(number));
    if flags & TIMESTAMP != 0 {
        out.extend_from_slice(&(variety >> 30).to_be_bytes());
    }
    if flags & TYPE != 0 {
        short(out, b"simulated");
    }
    if flags & APP_ID != 0 {
        short_number(out, info.publisher);
    }
}

/// Whether `found` are properties that were published, as a broker may pass them on that rewrites some: headers that begin with `x-`
/// are its own affair, and the expiration may be gone.
pub(crate) fn is_rewritten(found: &[u8], published: &[u8]) -> bool {
    let (Some(found), Some(published)) = (split(found), split(published)) else { return false };
    let missing = published.flags & !found.flags;
    if found.flags & !published.flags != 0 || missing & !EXPIRATION != 0 {
        return false;
    }
    let mut rest = published.rest.iter().filter(|(flag, _)| *flag & missing == 0);
    found.rest.iter().all(|field| rest.next() == Some(field)) && own_headers(&found) == own_headers(&published)
}

/// The headers of properties as they are on the wire; empty if there are none.
pub(crate) fn headers(properties: &[u8]) -> Vec<(Vec<u8>, Value)> {
    split(properties).and_then(|parts| parts.headers).unwrap_or_default()
}

/// Whether properties as they are on the wire have an expiration.
pub(crate) fn has_expiration(properties: &[u8]) -> bool {
    split(properties).is_some_and(|parts| parts.flags & EXPIRATION != 0)
}

/// Whether properties as they are on the wire want the message on the disk.
pub(crate) fn is_persistent(properties: &[u8]) -> bool {
    let parts = split(properties);
    parts.is_some_and(|parts| parts.rest.iter().any(|(flag, field)| *flag == DELIVERY_MODE && **field == [2]))
}

/// Properties, taken apart.
struct Parts<'a> {
    flags: u16,
    headers: Option<Vec<(Vec<u8>, Value)>>,
    /// All other fields, each with its flag.
    rest: Vec<(u16, &'a [u8])>,
}

fn split(properties: &[u8]) -> Option<Parts<'_>> {
    let flags = u16::from_be_bytes(properties.get(..2)?.try_into().ok()?);
    let mut parts = Parts { flags, headers: None, rest: Vec::new() };
    let mut bytes = &properties[2..];
    for bit in (0..16).rev() {
        let flag = 1 << bit;
        if flags & flag == 0 {
            continue;
        }
        let after = match flag {
            HEADERS => skip_table(bytes)?,
            DELIVERY_MODE | PRIORITY => bytes.get(1..)?,
            TIMESTAMP => bytes.get(8..)?,
            _ => skip_short(bytes)?,
        };
        let field = &bytes[..bytes.len() - after.len()];
        if flag == HEADERS {
            parts.headers = Some(table(&field[4..])?);
        } else {
            parts.rest.push((flag, field));
        }
        bytes = after;
    }
    bytes.is_empty().then_some(parts)
}

fn own_headers<'a>(parts: &'a Parts<'_>) -> Vec<&'a (Vec<u8>, Value)> {
    let mut own: Vec<_> = parts.headers.iter().flatten().filter(|(name, _)| !name.starts_with(b"x-")).collect();
    // A broker that rewrites headers may sort them.
    own.sort_by_key(|(name, _)| name);
    own
}

/// Reads the number out of properties as they are on the wire; `None` if it is not one of the run's messages.
pub(crate) fn number_of(properties: &[u8]) -> Option<MessageNumber> {
    let flags = u16::from_be_bytes(properties.get(..2)?.try_into().ok()?);
    if flags & MESSAGE_ID == 0 {
        return None;
    }
    let mut rest = &properties[2..];
    for (flag, is_short) in [(CONTENT_TYPE, true), (CONTENT_ENCODING, true), (HEADERS, false)] {
        if flags & flag != 0 {
            rest = if is_short { skip_short(rest)? } else { skip_table(rest)? };
        }
    }
    for flag in [DELIVERY_MODE, PRIORITY] {
        if flags & flag != 0 {
            rest = rest.get(1..)?;
        }
    }
    for flag in [CORRELATION_ID, REPLY_TO, EXPIRATION] {
        if flags & flag != 0 {
            rest = skip_short(rest)?;
        }
    }
    let (id, _) = rest.split_first_chunk::<{ 1 + MESSAGE_ID_BYTES }>()?;
    if usize::from(id[0]) != MESSAGE_ID_BYTES || id[1] != b'm' {
        return None;
    }
    let mut number = 0;
    let mut unknown = 0;
    for digit in &id[2..] {
        let value = DIGIT_VALUES[usize::from(*digit)];
        number = number << 4 | u32::from(value & 15);
        unknown |= value;
    }
    (unknown < 16).then_some(MessageNumber(number))
}

/// The value of each octet as a hexadecimal digit in lower case; 16 for those that are none.
const DIGIT_VALUES: [u8; 256] = {
    let mut values = [16; 256];
    let mut value: u8 = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// The `message-id` of a message.
pub(crate) fn message_id(number: MessageNumber) -> [u8; MESSAGE_ID_BYTES] {
    let mut id = [b'm'; MESSAGE_ID_BYTES];
    for (place, digit) in id[1..].iter_mut().rev().enumerate() {
        let nibble = number.0 >> (4 * place) & 15;
        *digit = b"0123456789abcdef"[usize::try_from(nibble).expect("four bits")];
    }
    id
}

fn short(out: &mut Vec<u8>, text: &[u8]) {
    out.push(u8::try_from(text.len()).expect("a short string"));
    out.extend_from_slice(text);
}

/// A number in decimal digits.
fn short_number(out: &mut Vec<u8>, number: u32) {
    let digits = number.checked_ilog10().map_or(1, |last| last + 1);
    out.push(u8::try_from(digits).expect("at most ten"));
    out.extend((0..digits).rev().map(|place| b'0' + (number / 10_u32.pow(place) % 10).to_le_bytes()[0]));
}

fn skip_short(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(1 + usize::from(*bytes.first()?)..)
}

fn skip_table(bytes: &[u8]) -> Option<&[u8]> {
    let len = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
    bytes.get(4 + usize::try_from(len).ok()?..)
}

/// The table of headers that every message has, with its length and values still to be set.
const OWN_HEADERS: &[u8; 40] = b"\0\0\0\0\x05shapeI\0\0\0\0\x06colourI\0\0\0\0\x07attemptI\0\0\0\0";
const SHAPE_AT: usize = 11;
const COLOUR_AT: usize = 23;
const ATTEMPT_AT: usize = 36;

const MESSAGE_ID_BYTES: usize = 9;

const CONTENT_TYPE: u16 = 1 << 15;
const CONTENT_ENCODING: u16 = 1 << 14;
const HEADERS: u16 = 1 << 13;
const DELIVERY_MODE: u16 = 1 << 12;
const PRIORITY: u16 = 1 << 11;
const CORRELATION_ID: u16 = 1 << 10;
const REPLY_TO: u16 = 1 << 9;
const EXPIRATION: u16 = 1 << 8;
const MESSAGE_ID: u16 = 1 << 7;
const TIMESTAMP: u16 = 1 << 6;
const TYPE: u16 = 1 << 5;
const APP_ID: u16 = 1 << 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_carry_the_number() {
        for number in (0..500).chain([u32::MAX]) {
            let number = MessageNumber(number);
            let info = MessageInfo {
                publisher: 3,
                sequence: 1,
                attempt: 2,
                size: 0,
                persistent: true,
                extras: Extras::default(),
            };
            assert_eq!(number_of(&properties(number, &info)), Some(number));
        }
        assert_eq!(number_of(&[0, 0]), None);
        assert_eq!(number_of(b""), None);
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 99, 100, 12_345, u32::MAX] {
            let mut out = Vec::new();
            short_number(&mut out, number);
            let text = number.to_string();
            assert_eq!(out, [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat());
        }
    }

    #[test]
    fn rewriting_may_take_the_expiration_and_nothing_else() {
        let extras = Extras { expiration_ms: Some(5), priority: Some(3), delay_ms: Some(1), is_hostile: false };
        let plain = MessageInfo { publisher: 3, sequence: 1, attempt: 2, size: 0, persistent: true, extras };
        let number = MessageNumber(9);
        let without = MessageInfo { extras: Extras { expiration_ms: None, delay_ms: None, ..extras }, ..plain };
        let of = |info: &MessageInfo| properties(number, info);
        assert!(is_rewritten(&of(&plain), &of(&plain)));
        assert!(is_rewritten(&of(&without), &of(&plain)));
        assert!(!is_rewritten(&of(&plain), &of(&without)));
        let other = MessageInfo { attempt: 3, ..plain };
        assert!(!is_rewritten(&of(&other), &of(&plain)));
    }

    #[test]
    fn a_body_is_told_from_every_other() {
        for is_hostile in [false, true] {
            let extras = Extras { is_hostile, ..Extras::default() };
            let info = MessageInfo { publisher: 3, sequence: 1, attempt: 2, size: 100, persistent: true, extras };
            let mut right = Vec::new();
            write_body(&mut right, MessageNumber(7), &info);
            assert!(is_body(&right, MessageNumber(7), &info));
            assert!(!is_body(&right, MessageNumber(8), &info));
            assert!(!is_body(&right[..99], MessageNumber(7), &info));
            let mut wrong = right.clone();
            wrong[99] ^= 1;
            assert!(!is_body(&wrong, MessageNumber(7), &info));
            assert!(is_body(b"", MessageNumber(1), &MessageInfo { size: 0, ..info }));
        }
    }
}
