//! Field tables in RabbitMQ's dialect: headers, queue arguments, capabilities.
//!
//! The dialect differs from the specification's table of types (§4.2.1) in what `s`, `S`, `l` and `L`
//! mean; <https://www.rabbitmq.com/amqp-0-9-1-errata.html> §3 has the list.

use alloc::vec::Vec;
use core::{fmt, slice};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{LongStr, ShortStr, wire};

/// How deep tables and arrays may nest. RabbitMQ has no limit; nobody needs one this high, and
/// decoding recurses.
pub const DEPTH_MAX: usize = 64;

/// Names with typed values, in the order of the wire.
///
/// A name may occur twice; look-ups find the first, as in RabbitMQ. Decoded names and strings are
/// slices of the received buffer; see [`FieldTable::detached`]. An entry takes at most about 40 times
/// its encoded size, so a table is bounded by the frame that brought it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldTable(Vec<(ShortStr, FieldValue)>);

/// A value of a field table, with RabbitMQ's type letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldValue {
    /// `t`: any octet but zero is true.
    Bool(bool),
    /// `b`: signed octet.
    I8(i8),
    /// `B`: unsigned octet.
    U8(u8),
    /// `s`: signed 16 bits.
    I16(i16),
    /// `u`: unsigned 16 bits.
    U16(u16),
    /// `I`: signed 32 bits.
    I32(i32),
    /// `i`: unsigned 32 bits.
    U32(u32),
    /// `l`, and `L` when decoding: signed 64 bits.
    I64(i64),
    /// `f`: the bits of a 32-bit float. Bits, because a broker passes floats on and never computes.
    F32(u32),
    /// `d`: the bits of a 64-bit float.
    F64(u64),
    /// `D`: `value / 10^scale`. RabbitMQ reads the value as unsigned.
    Decimal {
        /// Decimal places.
        scale: u8,
        /// The digits.
        value: u32,
    },
    /// `S`: text, or any bytes.
    LongStr(LongStr),
    /// `A`: values without names.
    Array(Vec<Self>),
    /// `T`: seconds since 1970.
    Timestamp(u64),
    /// `F`: a table inside.
    Table(FieldTable),
    /// `V`: no value.
    Void,
    /// `x`: bytes that are not text.
    Bytes(LongStr),
}

/// The contents of a table do not follow the format, or nest deeper than [`DEPTH_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedTable;

impl FieldTable {
    /// A table without entries.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The first value with this name.
    pub fn get(&self, name: &str) -> Option<&FieldValue> {
        self.get_bytes(name.as_bytes())
    }

    /// The first value with this name, which need not be UTF-8.
    pub fn get_bytes(&self, name: &[u8]) -> Option<&FieldValue> {
        self.0.iter().find(|(key, _)| key.as_bytes() == name).map(|(_, value)| value)
    }

    /// Adds an entry at the end, whether or not the name is there already.
    pub fn push(&mut self, name: ShortStr, value: impl Into<FieldValue>) {
        self.0.push((name, value.into()));
    }

    /// The same table with one more entry.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<FieldValue>) -> Self {
        self.push(ShortStr::truncated(name), value);
        self
    }

    /// Replaces the first value with this name and removes the others, or adds an entry at the end.
    pub fn set(&mut self, name: &ShortStr, value: impl Into<FieldValue>) {
        let mut value = Some(value.into());
        self.0.retain_mut(|(key, old)| {
            if key != name {
                return true;
            }
            match value.take() {
                Some(new) => {
                    *old = new;
                    true
                }
                None => false,
            }
        });
        if let Some(value) = value {
            self.0.push((name.clone(), value));
        }
    }

    /// Removes all entries with this name and returns the first of their values.
    pub fn remove(&mut self, name: &str) -> Option<FieldValue> {
        let mut removed = None;
        self.0.retain_mut(|(key, value)| {
            let keep = key.as_bytes() != name.as_bytes();
            if !keep && removed.is_none() {
                removed = Some(core::mem::replace(value, FieldValue::Void));
            }
            keep
        });
        removed
    }

    /// The entries in order.
    pub fn iter(&self) -> slice::Iter<'_, (ShortStr, FieldValue)> {
        self.0.iter()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends the table with its length.
    pub fn encode(&self, out: &mut BytesMut) {
        wire::put_counted(out, |out| self.encode_entries(out));
    }

    /// Appends the entries without a length, as AMQPLAIN's response has them.
    pub fn encode_entries(&self, out: &mut BytesMut) {
        for (name, value) in &self.0 {
            wire::put_short(out, name.as_bytes());
            value.encode(out);
        }
    }

    /// Reads a table with its length; nothing may follow it.
    ///
    /// # Errors
    /// [`MalformedTable`]; whoever knows the method or header makes the reply of it.
    pub fn decode(mut encoded: Bytes) -> Result<Self, MalformedTable> {
        let entries = take_counted(&mut encoded)?;
        if encoded.is_empty() { Self::decode_entries(entries) } else { Err(MalformedTable) }
    }

    /// Reads the entries of a table whose length is known otherwise, as in AMQPLAIN's response.
    ///
    /// # Errors
    /// [`MalformedTable`]; whoever knows the method or header makes the reply of it.
    pub fn decode_entries(entries: Bytes) -> Result<Self, MalformedTable> {
        Self::decode_nested(entries, DEPTH_MAX)
    }

    fn decode_nested(mut entries: Bytes, depth: usize) -> Result<Self, MalformedTable> {
        let depth = depth.checked_sub(1).ok_or(MalformedTable)?;
        let mut table = Vec::new();
        while !entries.is_empty() {
            let name_len = usize::from(take_u8(&mut entries)?);
            let name = ShortStr::from_counted(take(&mut entries, name_len)?);
            table.push((name, FieldValue::decode(&mut entries, depth)?));
        }
        Ok(Self(table))
    }

    /// A copy with memory of its own, for what is kept longer than the buffer it came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(self.0.iter().map(|(name, value)| (name.detached(), value.detached())).collect())
    }

    /// Whether both have the same names with equivalent values, in any order.
    ///
    /// Of names that occur twice only the first counts. See [`FieldValue::is_equivalent`].
    pub fn is_equivalent(&self, other: &Self) -> bool {
        let covers = |left: &Self, right: &Self| {
            left.0.iter().all(|(name, _)| {
                let name = name.as_bytes();
                match (left.get_bytes(name), right.get_bytes(name)) {
                    (Some(left), Some(right)) => left.is_equivalent(right),
                    _ => false,
                }
            })
        };
        covers(self, other) && covers(other, self)
    }
}

impl FieldValue {
    /// A text value.
    pub fn text(text: &str) -> Self {
        Self::LongStr(LongStr::from(text))
    }

    /// The number, if this is an integer of any width.
    pub fn as_integer(&self) -> Option<i64> {
        match *self {
            Self::I8(value) => Some(i64::from(value)),
            Self::U8(value) => Some(i64::from(value)),
            Self::I16(value) => Some(i64::from(value)),
            Self::U16(value) => Some(i64::from(value)),
            Self::I32(value) => Some(i64::from(value)),
            Self::U32(value) => Some(i64::from(value)),
            Self::I64(value) => Some(value),
            _ => None,
        }
    }

    /// The truth value, if this is one.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The bytes, if this is a long string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::LongStr(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// The text, if this is a long string of UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        core::str::from_utf8(self.as_bytes()?).ok()
    }

    /// The table, if this is one.
    pub fn as_table(&self) -> Option<&FieldTable> {
        match self {
            Self::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The values, if this is an array.
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }

    /// RabbitMQ's word for the type, as it appears in reply texts (`longstr`, `signedint`…).
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::I8(_) => "byte",
            Self::U8(_) => "unsignedbyte",
            Self::I16(_) => "short",
            Self::U16(_) => "unsignedshort",
            Self::I32(_) => "signedint",
            Self::U32(_) => "unsignedint",
            Self::I64(_) => "long",
            Self::F32(_) => "float",
            Self::F64(_) => "double",
            Self::Decimal { .. } => "decimal",
            Self::LongStr(_) => "longstr",
            Self::Array(_) => "array",
            Self::Timestamp(_) => "timestamp",
            Self::Table(_) => "table",
            Self::Void => "void",
            Self::Bytes(_) => "binary",
        }
    }

    /// Whether two arguments mean the same when an object is declared again.
    ///
    /// Integers are compared by value whatever their width, and so are floats (widening is exact, so
    /// no rounding enters); everything else must be equal in type and value.
    pub fn is_equivalent(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::F32(narrow), Self::F64(wide)) | (Self::F64(wide), Self::F32(narrow)) => {
                f64::from(f32::from_bits(*narrow)).to_bits() == *wide
            }
            (Self::Table(left), Self::Table(right)) => left.is_equivalent(right),
            (Self::Array(left), Self::Array(right)) => {
                left.len() == right.len() && left.iter().zip(right).all(|(left, right)| left.is_equivalent(right))
            }
            _ => match (self.as_integer(), other.as_integer()) {
                (Some(left), Some(right)) => left == right,
                (None, None) => self == other,
                _ => false,
            },
        }
    }

    /// A copy with memory of its own.
    #[must_use]
    pub fn detached(&self) -> Self {
        let copy = |text: &LongStr| LongStr::from(Bytes::copy_from_slice(text.as_bytes()));
        match self {
            Self::LongStr(text) => Self::LongStr(copy(text)),
            Self::Bytes(bytes) => Self::Bytes(copy(bytes)),
            Self::Array(values) => Self::Array(values.iter().map(Self::detached).collect()),
            Self::Table(table) => Self::Table(table.detached()),
            Self::Bool(_)
            | Self::I8(_)
            | Self::U8(_)
            | Self::I16(_)
            | Self::U16(_)
            | Self::I32(_)
            | Self::U32(_)
            | Self::I64(_)
            | Self::F32(_)
            | Self::F64(_)
            | Self::Decimal { .. }
            | Self::Timestamp(_)
            | Self::Void => self.clone(),
        }
    }

    /// Appends type letter and value.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Bool(value) => out.put_slice(&[b't', u8::from(*value)]),
            Self::I8(value) => {
                out.put_u8(b'b');
                out.put_i8(*value);
            }
            Self::U8(value) => out.put_slice(&[b'B', *value]),
            Self::I16(value) => {
                out.put_u8(b's');
                out.put_i16(*value);
            }
            Self::U16(value) => {
                out.put_u8(b'u');
                out.put_u16(*value);
            }
            Self::I32(value) => {
                out.put_u8(b'I');
                out.put_i32(*value);
            }
            Self::U32(value) => {
                out.put_u8(b'i');
                out.put_u32(*value);
            }
            Self::I64(value) => {
                out.put_u8(b'l');
                out.put_i64(*value);
            }
            Self::F32(bits) => {
                out.put_u8(b'f');
                out.put_u32(*bits);
            }
            Self::F64(bits) => {
                out.put_u8(b'd');
                out.put_u64(*bits);
            }
            Self::Decimal { scale, value } => {
                out.put_slice(&[b'D', *scale]);
                out.put_u32(*value);
            }
            Self::LongStr(text) => {
                out.put_u8(b'S');
                wire::put_long(out, text.as_bytes());
            }
            Self::Array(values) => {
                out.put_u8(b'A');
                wire::put_counted(out, |out| values.iter().for_each(|value| value.encode(out)));
            }
            Self::Timestamp(seconds) => {
                out.put_u8(b'T');
                out.put_u64(*seconds);
            }
            Self::Table(table) => {
                out.put_u8(b'F');
                table.encode(out);
            }
            Self::Void => out.put_u8(b'V'),
            Self::Bytes(bytes) => {
                out.put_u8(b'x');
                wire::put_long(out, bytes.as_bytes());
            }
        }
    }

    /// Reads the value at the front of `encoded`.
    pub(super) fn decode_one(mut encoded: Bytes) -> Result<Self, MalformedTable> {
        Self::decode(&mut encoded, DEPTH_MAX)
    }

    fn decode(rest: &mut Bytes, depth: usize) -> Result<Self, MalformedTable> {
        let short = |_| MalformedTable;
        Ok(match take_u8(rest)? {
            b't' => Self::Bool(take_u8(rest)? != 0),
            b'b' => Self::I8(rest.try_get_i8().map_err(short)?),
            b'B' => Self::U8(take_u8(rest)?),
            b's' => Self::I16(rest.try_get_i16().map_err(short)?),
            b'u' => Self::U16(rest.try_get_u16().map_err(short)?),
            b'I' => Self::I32(rest.try_get_i32().map_err(short)?),
            b'i' => Self::U32(rest.try_get_u32().map_err(short)?),
            b'l' | b'L' => Self::I64(rest.try_get_i64().map_err(short)?),
            b'f' => Self::F32(rest.try_get_u32().map_err(short)?),
            b'd' => Self::F64(rest.try_get_u64().map_err(short)?),
            b'D' => Self::Decimal { scale: take_u8(rest)?, value: rest.try_get_u32().map_err(short)? },
            b'S' => Self::LongStr(take_counted(rest)?.into()),
            b'A' => {
                let depth = depth.checked_sub(1).ok_or(MalformedTable)?;
                let mut elements = take_counted(rest)?;
                let mut values = Vec::new();
                while !elements.is_empty() {
                    values.push(Self::decode(&mut elements, depth)?);
                }
                Self::Array(values)
            }
            b'T' => Self::Timestamp(rest.try_get_u64().map_err(short)?),
            b'F' => Self::Table(FieldTable::decode_nested(take_counted(rest)?, depth)?),
            b'V' => Self::Void,
            b'x' => Self::Bytes(take_counted(rest)?.into()),
            _ => return Err(MalformedTable),
        })
    }
}

/// Checks the entries of a table without building it, by the same rules as [`FieldTable::decode`].
pub(super) fn validate_entries(entries: &[u8]) -> Result<(), MalformedTable> {
    validate_nested(entries, DEPTH_MAX)
}

fn validate_nested(mut entries: &[u8], depth: usize) -> Result<(), MalformedTable> {
    let depth = depth.checked_sub(1).ok_or(MalformedTable)?;
    while let Some((&name_len, rest)) = entries.split_first() {
        let (_, rest) = rest.split_at_checked(usize::from(name_len)).ok_or(MalformedTable)?;
        entries = skip_value(rest, depth)?;
    }
    Ok(())
}

fn skip_value(value: &[u8], depth: usize) -> Result<&[u8], MalformedTable> {
    let (&letter, rest) = value.split_first().ok_or(MalformedTable)?;
    let width = match letter {
        b'V' => 0,
        b't' | b'b' | b'B' => 1,
        b's' | b'u' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'l' | b'L' | b'd' | b'T' => 8,
        b'S' | b'x' | b'F' | b'A' => {
            let (counted, rest) = split_counted(rest).ok_or(MalformedTable)?;
            match letter {
                b'F' => validate_nested(counted, depth)?,
                b'A' => {
                    let depth = depth.checked_sub(1).ok_or(MalformedTable)?;
                    let mut elements = counted;
                    while !elements.is_empty() {
                        elements = skip_value(elements, depth)?;
                    }
                }
                _ => {}
            }
            return Ok(rest);
        }
        _ => return Err(MalformedTable),
    };
    rest.get(width..).ok_or(MalformedTable)
}

/// The encoded value behind the first entry with this name, and everything after it.
pub(super) fn find_value<'a>(mut entries: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    while let Some((&name_len, rest)) = entries.split_first() {
        let (key, value) = rest.split_at_checked(usize::from(name_len))?;
        if key == name {
            return Some(value);
        }
        entries = skip_value(value, DEPTH_MAX).ok()?;
    }
    None
}

/// Whether there is an entry with one of these names.
pub(super) fn has_any(mut entries: &[u8], names: &[&str]) -> bool {
    while let Some((&name_len, rest)) = entries.split_first() {
        let Some((key, value)) = rest.split_at_checked(usize::from(name_len)) else { return false };
        if names.iter().any(|name| name.as_bytes() == key) {
            return true;
        }
        let Ok(after) = skip_value(value, DEPTH_MAX) else { return false };
        entries = after;
    }
    false
}

/// Splits off what stands behind a length of four octets.
pub(super) fn split_counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)
}

fn take_u8(rest: &mut Bytes) -> Result<u8, MalformedTable> {
    rest.try_get_u8().map_err(|_| MalformedTable)
}

fn take(rest: &mut Bytes, len: usize) -> Result<Bytes, MalformedTable> {
    if len > rest.len() { Err(MalformedTable) } else { Ok(rest.split_to(len)) }
}

fn take_counted(rest: &mut Bytes) -> Result<Bytes, MalformedTable> {
    let len = rest.try_get_u32().map_err(|_| MalformedTable)?;
    take(rest, usize::try_from(len).map_err(|_| MalformedTable)?)
}

impl FromIterator<(ShortStr, FieldValue)> for FieldTable {
    fn from_iter<I: IntoIterator<Item = (ShortStr, FieldValue)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl IntoIterator for FieldTable {
    type Item = (ShortStr, FieldValue);
    type IntoIter = alloc::vec::IntoIter<(ShortStr, FieldValue)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a FieldTable {
    type Item = &'a (ShortStr, FieldValue);
    type IntoIter = slice::Iter<'a, (ShortStr, FieldValue)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

macro_rules! value_from {
    ($($variant:ident($type:ty),)*) => {$(
        impl From<$type> for FieldValue {
            fn from(value: $type) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}

value_from! {
    Bool(bool), I8(i8), U8(u8), I16(i16), U16(u16), I32(i32), U32(u32), I64(i64),
    LongStr(LongStr), Array(Vec<FieldValue>), Table(FieldTable),
}

impl From<&str> for FieldValue {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

/// A short string becomes a long one: names appear in headers as `longstr`.
impl From<ShortStr> for FieldValue {
    fn from(text: ShortStr) -> Self {
        Self::LongStr(text.into_bytes().into())
    }
}

impl fmt::Display for MalformedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed field table")
    }
}

impl core::error::Error for MalformedTable {}

#[cfg(any(test, feature = "arbitrary"))]
mod generate {
    use alloc::vec::Vec;

    use arbitrary::{Arbitrary, Result, Unstructured};

    use super::{FieldTable, FieldValue};

    /// Generated tables stay well below the limit of nesting, so that they can be decoded again.
    const DEPTH: usize = 4;

    impl<'a> Arbitrary<'a> for FieldTable {
        fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
            table(u, DEPTH)
        }
    }

    impl<'a> Arbitrary<'a> for FieldValue {
        fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
            value(u, DEPTH)
        }
    }

    fn table(u: &mut Unstructured<'_>, depth: usize) -> Result<FieldTable> {
        let mut entries = Vec::new();
        while entries.len() < 8 && u.ratio(2, 3)? {
            entries.push((u.arbitrary()?, value(u, depth)?));
        }
        Ok(FieldTable(entries))
    }

    fn value(u: &mut Unstructured<'_>, depth: usize) -> Result<FieldValue> {
        let kinds = if depth == 0 { 14 } else { 16 };
        Ok(match u.int_in_range(0..=kinds)? {
            0 => FieldValue::Bool(u.arbitrary()?),
            1 => FieldValue::I8(u.arbitrary()?),
            2 => FieldValue::U8(u.arbitrary()?),
            3 => FieldValue::I16(u.arbitrary()?),
            4 => FieldValue::U16(u.arbitrary()?),
            5 => FieldValue::I32(u.arbitrary()?),
            6 => FieldValue::U32(u.arbitrary()?),
            7 => FieldValue::I64(u.arbitrary()?),
            8 => FieldValue::F32(u.arbitrary()?),
            9 => FieldValue::F64(u.arbitrary()?),
            10 => FieldValue::Decimal { scale: u.arbitrary()?, value: u.arbitrary()? },
            11 => FieldValue::LongStr(u.arbitrary()?),
            12 => FieldValue::Timestamp(u.arbitrary()?),
            13 => FieldValue::Void,
            14 => FieldValue::Bytes(u.arbitrary()?),
            15 => FieldValue::Table(table(u, depth - 1)?),
            _ => {
                let mut values = Vec::new();
                while values.len() < 8 && u.ratio(2, 3)? {
                    values.push(value(u, depth - 1)?);
                }
                FieldValue::Array(values)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn encoded(table: &FieldTable) -> Bytes {
        let mut out = BytesMut::new();
        table.encode(&mut out);
        out.freeze()
    }

    fn every_type() -> FieldTable {
        let inner = FieldTable::new().with("deep", true);
        FieldTable::new()
            .with("t", true)
            .with("b", -1_i8)
            .with("B", 255_u8)
            .with("s", -2_i16)
            .with("u", 65_535_u16)
            .with("I", -3_i32)
            .with("i", u32::MAX)
            .with("l", i64::MIN)
            .with("f", FieldValue::F32(1.5_f32.to_bits()))
            .with("d", FieldValue::F64(2.5_f64.to_bits()))
            .with("D", FieldValue::Decimal { scale: 2, value: 314 })
            .with("S", "text")
            .with("A", vec![FieldValue::Void, FieldValue::I32(7)])
            .with("T", FieldValue::Timestamp(1_700_000_000))
            .with("F", inner)
            .with("V", FieldValue::Void)
            .with("x", FieldValue::Bytes(Bytes::from_static(&[0, 1, 255]).into()))
    }

    #[test]
    fn every_type_round_trips_with_its_letter() {
        let table = every_type();
        let bytes = encoded(&table);
        for (name, value) in &table {
            let mut out = BytesMut::new();
            value.encode(&mut out);
            assert_eq!(out.first(), name.as_bytes().first(), "{name}");
        }
        assert_eq!(FieldTable::decode(bytes.clone()), Ok(table.clone()));
        assert_eq!(table.detached(), table);
        assert_eq!(validate_entries(&bytes[4..]), Ok(()));
    }

    #[test]
    fn capital_l_is_read_as_signed_64_bits() {
        let bytes = Bytes::from_static(b"\0\0\0\x0b\x01nL\xff\xff\xff\xff\xff\xff\xff\xfe");
        let table = FieldTable::decode(bytes).unwrap();
        assert_eq!(table.get("n"), Some(&FieldValue::I64(-2)));
    }

    #[test]
    fn every_truncation_is_refused_by_both_readers() {
        let bytes = encoded(&every_type());
        for cut in 4..bytes.len() {
            let part = bytes.slice(4..cut);
            let decoded = FieldTable::decode_entries(part.clone());
            assert_eq!(validate_entries(&part).is_ok(), decoded.is_ok(), "at {cut}");
            assert!(FieldTable::decode(bytes.slice(..cut)).is_err(), "at {cut}");
        }
        let mut longer = BytesMut::from(&bytes[..]);
        longer.put_u8(0);
        assert_eq!(FieldTable::decode(longer.freeze()), Err(MalformedTable));
    }

    #[test]
    fn nesting_is_limited_exactly() {
        // The outermost table is the first level; arrays and tables count alike.
        let nested = |levels: usize| {
            let mut value = FieldValue::Array(Vec::new());
            for level in 2..levels {
                value = if level % 2 == 0 {
                    FieldValue::Table(FieldTable::new().with("n", value))
                } else {
                    FieldValue::Array(vec![value])
                };
            }
            encoded(&FieldTable::new().with("n", value))
        };
        let deepest = nested(DEPTH_MAX);
        assert!(FieldTable::decode(deepest.clone()).is_ok());
        assert_eq!(validate_entries(&deepest[4..]), Ok(()));
        let too_deep = nested(DEPTH_MAX + 1);
        assert_eq!(FieldTable::decode(too_deep.clone()), Err(MalformedTable));
        assert_eq!(validate_entries(&too_deep[4..]), Err(MalformedTable));
    }

    #[test]
    fn the_first_of_equal_names_is_found_and_all_are_kept() {
        let table = FieldTable::new().with("a", 1_i32).with("a", 2_i32);
        assert_eq!(table.get("a"), Some(&FieldValue::I32(1)));
        assert_eq!(FieldTable::decode(encoded(&table)).unwrap().len(), 2);
        let mut changed = table.clone();
        changed.set(&ShortStr::from_static("a"), 3_i32);
        assert_eq!(changed, FieldTable::new().with("a", 3_i32));
        changed.set(&ShortStr::from_static("b"), true);
        assert_eq!(changed.len(), 2);
        let mut table = table;
        assert_eq!(table.remove("a"), Some(FieldValue::I32(1)));
        assert!(table.is_empty());
    }

    #[test]
    fn numbers_are_equivalent_whatever_their_width() {
        let same = |left: FieldValue, right: FieldValue| left.is_equivalent(&right);
        assert!(same(FieldValue::I8(5), FieldValue::U32(5)));
        assert!(!same(FieldValue::I8(-1), FieldValue::U8(255)));
        assert!(same(FieldValue::F32(1.5_f32.to_bits()), FieldValue::F64(1.5_f64.to_bits())));
        assert!(!same(FieldValue::I32(1), FieldValue::Bool(true)));
        assert!(!same(FieldValue::I32(1), FieldValue::text("1")));
        assert!(!same(FieldValue::text("a"), FieldValue::Bytes(LongStr::from("a"))));

        let table = FieldTable::new().with("n", 1_i32).with("s", "x");
        let other_order = FieldTable::new().with("s", "x").with("n", 1_i64);
        assert!(table.is_equivalent(&other_order));
        assert!(!table.is_equivalent(&FieldTable::new().with("n", 1_i32)));
        assert!(!FieldTable::new().is_equivalent(&table));
    }
}
