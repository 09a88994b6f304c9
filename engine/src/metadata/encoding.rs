//! Reading and writing what is stored: big-endian numbers, short strings and tables as AMQP has them.

use alloc::format;
use alloc::string::String;
use core::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::amqp::{FieldTable, ShortStr};

/// Stored bytes that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// A later program wrote them.
    UnknownVersion(u8),
    /// They follow no version of the format.
    Malformed(String),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVersion(version) => {
                write!(f, "metadata is of version {version}, which this program does not know")
            }
            Self::Malformed(what) => write!(f, "metadata is damaged: {what}"),
        }
    }
}

impl core::error::Error for DecodeError {}

pub(super) fn put_short(out: &mut BytesMut, text: &ShortStr) {
    out.put_u8(u8::try_from(text.len()).expect("a short string has at most 255 bytes"));
    out.put_slice(text.as_bytes());
}

pub(super) fn put_long(out: &mut BytesMut, text: &str) {
    put_count(out, text.len());
    out.put_slice(text.as_bytes());
}

pub(super) fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u32(u32::try_from(count).expect("memory ends before four billion of anything"));
}

/// Takes values from the front of stored bytes.
pub(super) struct Reader(Bytes);

impl Reader {
    pub(super) fn new(encoded: Bytes) -> Self {
        Self(encoded)
    }

    /// The version, from 1 up to the latest known.
    pub(super) fn version(&mut self, latest: u8) -> Result<u8, DecodeError> {
        let version = self.u8()?;
        if (1..=latest).contains(&version) { Ok(version) } else { Err(DecodeError::UnknownVersion(version)) }
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.0.try_get_u8().map_err(|_| ends_early())
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.0.try_get_u32().map_err(|_| ends_early())
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.0.try_get_u64().map_err(|_| ends_early())
    }

    pub(super) fn i64(&mut self) -> Result<i64, DecodeError> {
        self.0.try_get_i64().map_err(|_| ends_early())
    }

    /// Bytes after their count.
    pub(super) fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let len = usize::try_from(self.u32()?).map_err(|_| ends_early())?;
        self.take(len)
    }

    /// Text that may be longer than a short string.
    pub(super) fn long(&mut self) -> Result<String, DecodeError> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|error| DecodeError::Malformed(format!("{error}")))
    }

    /// A byte of `N` flags, the first the lowest.
    pub(super) fn flags<const N: usize>(&mut self) -> Result<[bool; N], DecodeError> {
        let byte = self.u8()?;
        if u32::from(byte) >> N != 0 {
            return Err(DecodeError::Malformed(format!("flags {byte:#b}")));
        }
        Ok(core::array::from_fn(|bit| byte >> bit & 1 == 1))
    }

    pub(super) fn short(&mut self) -> Result<ShortStr, DecodeError> {
        let len = usize::from(self.u8()?);
        ShortStr::try_from(self.take(len)?).map_err(|error| DecodeError::Malformed(format!("{error}")))
    }

    pub(super) fn table(&mut self) -> Result<FieldTable, DecodeError> {
        let entries_len = self.0.first_chunk().map(|len| u32::from_be_bytes(*len)).ok_or_else(ends_early)?;
        let len = usize::try_from(entries_len).ok().and_then(|len| len.checked_add(4)).ok_or_else(ends_early)?;
        FieldTable::decode(self.take(len)?).map_err(|error| DecodeError::Malformed(format!("{error}")))
    }

    /// All that is left.
    pub(super) fn rest(self) -> Bytes {
        self.0
    }

    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Malformed(format!("{} bytes too many", self.0.len()))) }
    }

    fn take(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        if len <= self.0.len() { Ok(self.0.split_to(len)) } else { Err(ends_early()) }
    }
}

fn ends_early() -> DecodeError {
    DecodeError::Malformed(String::from("it ends early"))
}
