//! Reading and writing the elementary types (AMQP 0-9-1 §4.2.5).

use bytes::{BufMut, Bytes, BytesMut};

use super::{FieldTable, LongStr, Routing, ShortStr};

/// Why a sequence of arguments cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// The bytes end too early, or go on after the last argument.
    Length,
    /// A short string is not UTF-8.
    Utf8,
    /// A field table of a right length has wrong contents.
    Table,
}

/// Reads arguments one after the other; what it takes are slices of the payload.
pub(super) struct Reader<'a> {
    payload: &'a Bytes,
    at: usize,
    /// The octet of a run of bits, and how many of it are left: `bit` fields share octets.
    bits: u8,
    bits_left: u8,
}

impl<'a> Reader<'a> {
    pub(super) fn new(payload: &'a Bytes) -> Self {
        Self { payload, at: 0, bits: 0, bits_left: 0 }
    }

    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.at == self.payload.len() { Ok(()) } else { Err(DecodeError::Length) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.bits_left = 0;
        let rest = self.payload.get(self.at..).unwrap_or_default();
        let array = rest.first_chunk::<N>().ok_or(DecodeError::Length)?;
        self.at += N;
        Ok(*array)
    }

    pub(super) fn take(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        self.bits_left = 0;
        if len > self.payload.len() - self.at {
            return Err(DecodeError::Length);
        }
        let start = self.at;
        self.at += len;
        Ok(self.payload.slice(start..self.at))
    }

    pub(super) fn take_long(&mut self) -> Result<Bytes, DecodeError> {
        let len = u32::read(self)?;
        self.take(usize::try_from(len).map_err(|_| DecodeError::Length)?)
    }

    /// A short string of any bytes.
    pub(super) fn take_short(&mut self) -> Result<ShortStr, DecodeError> {
        let len = u8::read(self)?;
        Ok(ShortStr::from_counted(self.take(usize::from(len))?))
    }
}

/// Appends arguments to a buffer.
pub(super) struct Writer<'a> {
    out: &'a mut BytesMut,
    bits: u8,
    bit_count: u8,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut BytesMut) -> Self {
        Self { out, bits: 0, bit_count: 0 }
    }

    pub(super) fn finish(mut self) {
        self.flush_bits();
    }

    fn flush_bits(&mut self) {
        if self.bit_count > 0 {
            self.out.put_u8(self.bits);
            self.bits = 0;
            self.bit_count = 0;
        }
    }

    fn out(&mut self) -> &mut BytesMut {
        self.flush_bits();
        self.out
    }
}

/// A type that can be an argument of a method.
pub(super) trait Field: Sized {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
    fn write(&self, writer: &mut Writer<'_>);
}

macro_rules! integer_fields {
    ($($type:ty, $put:ident;)*) => {$(
        impl Field for $type {
            fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.array().map(Self::from_be_bytes)
            }

            fn write(&self, writer: &mut Writer<'_>) {
                writer.out().$put(*self);
            }
        }
    )*};
}

integer_fields! {
    u8, put_u8;
    u16, put_u16;
    u32, put_u32;
    u64, put_u64;
}

/// Consecutive bits share an octet, from the lowest bit upwards (§4.2.5.2). Bits without a meaning are
/// ignored.
impl Field for bool {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.bits_left == 0 {
            reader.bits = u8::read(reader)?;
            reader.bits_left = 8;
        }
        let bit = reader.bits & 1 != 0;
        reader.bits >>= 1;
        reader.bits_left -= 1;
        Ok(bit)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        if writer.bit_count == 8 {
            writer.flush_bits();
        }
        writer.bits |= u8::from(*self) << writer.bit_count;
        writer.bit_count += 1;
    }
}

/// RabbitMQ refuses short strings that are not UTF-8 in all methods without content.
impl Field for ShortStr {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let text = reader.take_short()?;
        if text.as_str().is_some() { Ok(text) } else { Err(DecodeError::Utf8) }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        put_short(writer.out(), self.as_bytes());
    }
}

impl Field for LongStr {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.take_long().map(Self::from)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        put_long(writer.out(), self.as_bytes());
    }
}

impl Field for Routing {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let rest = reader.payload.get(reader.at..).unwrap_or_default();
        let len = Self::encoded_len(rest).ok_or(DecodeError::Length)?;
        Self::from_encoded(reader.take(len)?).ok_or(DecodeError::Length)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        self.put(writer.out());
    }
}

impl Field for FieldTable {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let encoded = reader.take_long()?;
        Self::decode_entries(encoded).map_err(|_| DecodeError::Table)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        self.encode(writer.out());
    }
}

/// Appends a short string; more than 255 bytes, which no caller has, are cut off.
pub(super) fn put_short(out: &mut BytesMut, bytes: &[u8]) {
    let len = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    out.put_u8(len);
    out.put_slice(bytes.get(..usize::from(len)).unwrap_or_default());
}

/// Appends a long string; one of more than 4 GiB, which no caller has, is written as empty.
pub(super) fn put_long(out: &mut BytesMut, bytes: &[u8]) {
    let (len, bytes) = match u32::try_from(bytes.len()) {
        Ok(len) => (len, bytes),
        Err(_) => (0, &[][..]),
    };
    out.put_u32(len);
    out.put_slice(bytes);
}

/// Appends what `encode` writes behind its length in four octets.
pub(super) fn put_counted(out: &mut BytesMut, encode: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    encode(out);
    let len = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    if let Some(slot) = out.get_mut(start..start + 4) {
        slot.copy_from_slice(&len.to_be_bytes());
    }
}
