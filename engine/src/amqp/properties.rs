//! The 14 properties of a message: as a struct, and as the bytes they came in.

use core::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::field_table::{self, MalformedTable};
use super::wire::{self, Field, Reader, Writer};
use super::{FieldTable, FieldValue, ShortStr};

/// Delivery mode of a message that survives a restart in a durable queue.
pub const PERSISTENT: u8 = 2;

/// How a property is encoded.
#[derive(Clone, Copy)]
enum Kind {
    Short,
    Table,
    Octet,
    Timestamp,
}

macro_rules! properties {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $index:literal $kind:ident,)*) => {
        /// The properties of class `basic` (AMQP 0-9-1 §1.8), decoded.
        ///
        /// `None` is a property that is not there. Short strings are any bytes; RabbitMQ checks none.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Properties {
            $($(#[$doc])* pub $name: Option<$type>,)*
        }

        impl Properties {
            /// Reads flags and properties; nothing may follow them.
            ///
            /// # Errors
            /// [`MalformedProperties`]; whoever knows the channel makes the reply of it.
            pub fn decode(encoded: Bytes) -> Result<Self, MalformedProperties> {
                let mut reader = Reader::new(&encoded);
                let flags = u16::read(&mut reader)?;
                if flags & CONTINUATION != 0 {
                    return Err(MalformedProperties);
                }
                let properties = Self {
                    $($name: if flags & flag($index) == 0 {
                        None
                    } else {
                        Some(Property::read_property(&mut reader)?)
                    },)*
                };
                reader.finish()?;
                Ok(properties)
            }

            /// Appends flags and properties.
            pub fn encode(&self, out: &mut BytesMut) {
                let mut flags = 0;
                $(if self.$name.is_some() {
                    flags |= flag($index);
                })*
                out.put_u16(flags);
                let mut writer = Writer::new(out);
                $(if let Some(value) = &self.$name {
                    value.write(&mut writer);
                })*
                writer.finish();
            }
        }

        #[cfg(any(test, feature = "arbitrary"))]
        impl<'a> arbitrary::Arbitrary<'a> for Properties {
            fn arbitrary(u: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
                Ok(Self { $($name: u.arbitrary()?,)* })
            }
        }

        const KINDS: [Kind; 14] = [$(Kind::$kind,)*];
    };
}

/// The flag of the property with this index: the first has the highest bit (§4.2.6.1).
const fn flag(index: u32) -> u16 {
    0x8000 >> index
}

/// Further flags would follow. There are only 14 properties, so RabbitMQ refuses it.
const CONTINUATION: u16 = 1;

properties! {
    /// MIME type of the body.
    content_type: ShortStr = 0 Short,
    /// MIME encoding of the body.
    content_encoding: ShortStr = 1 Short,
    /// Headers of the application and of RabbitMQ.
    headers: FieldTable = 2 Table,
    /// 1 for transient, [`PERSISTENT`] for persistent.
    delivery_mode: u8 = 3 Octet,
    /// The higher the sooner.
    priority: u8 = 4 Octet,
    /// Which request this answers.
    correlation_id: ShortStr = 5 Short,
    /// Where an answer goes.
    reply_to: ShortStr = 6 Short,
    /// Time to live: milliseconds in decimal digits.
    expiration: ShortStr = 7 Short,
    /// The application's name for the message.
    message_id: ShortStr = 8 Short,
    /// Seconds since 1970.
    timestamp: u64 = 9 Timestamp,
    /// The application's type of the message; `type` on the wire.
    message_type: ShortStr = 10 Short,
    /// The publishing user, which the broker checks.
    user_id: ShortStr = 11 Short,
    /// The publishing application.
    app_id: ShortStr = 12 Short,
    /// Deprecated; passed through.
    cluster_id: ShortStr = 13 Short,
}

/// A property's reader; it differs from that of a method's argument in that strings are any bytes.
trait Property: Sized {
    fn read_property(reader: &mut Reader<'_>) -> Result<Self, MalformedProperties>;
}

impl Property for ShortStr {
    fn read_property(reader: &mut Reader<'_>) -> Result<Self, MalformedProperties> {
        Ok(reader.take_short()?)
    }
}

impl Property for u8 {
    fn read_property(reader: &mut Reader<'_>) -> Result<Self, MalformedProperties> {
        Ok(Self::read(reader)?)
    }
}

impl Property for u64 {
    fn read_property(reader: &mut Reader<'_>) -> Result<Self, MalformedProperties> {
        Ok(Self::read(reader)?)
    }
}

impl Property for FieldTable {
    fn read_property(reader: &mut Reader<'_>) -> Result<Self, MalformedProperties> {
        Ok(Self::read(reader)?)
    }
}

/// The encoded properties of a message, as they came.
///
/// They are checked once, when they are received, and passed through untouched. Single properties are
/// found by walking over those before them; that costs a few instructions each and no allocation.
///
/// They are held by a `Bytes`, or only looked at where they lie, by a slice.
///
/// Invariant: [`Properties::decode`] succeeds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RawProperties<B = Bytes>(B);

impl RawProperties {
    /// No properties at all.
    pub const fn empty() -> Self {
        Self(Bytes::from_static(&[0, 0]))
    }

    /// Flags and properties as they are on the wire, without a copy.
    pub fn encoded(&self) -> &Bytes {
        &self.0
    }

    /// A copy with memory of its own, for what is kept longer than the buffer it came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// The `message-id` in what [`RawProperties::parse`] has accepted before.
    pub(crate) fn message_id_in(encoded: &[u8]) -> Option<&[u8]> {
        find(encoded, 8)
    }
}

impl<B: AsRef<[u8]>> RawProperties<B> {
    /// Checks flags and properties, after which nothing may follow.
    ///
    /// # Errors
    /// [`MalformedProperties`].
    pub fn parse(encoded: B) -> Result<Self, MalformedProperties> {
        let (flags, mut rest) = encoded.as_ref().split_first_chunk::<2>().ok_or(MalformedProperties)?;
        let flags = u16::from_be_bytes(*flags);
        if flags & CONTINUATION != 0 {
            return Err(MalformedProperties);
        }
        for kind in present(flags).map(|(_, kind)| kind) {
            let (value, after) = split_property(kind, rest).ok_or(MalformedProperties)?;
            if matches!(kind, Kind::Table) {
                field_table::validate_entries(value)?;
            }
            rest = after;
        }
        if rest.is_empty() { Ok(Self(encoded)) } else { Err(MalformedProperties) }
    }

    /// What [`RawProperties::parse`] has accepted before.
    pub(crate) const fn from_checked(encoded: B) -> Self {
        Self(encoded)
    }

    /// The same, to be looked at.
    pub fn borrowed(&self) -> RawProperties<&[u8]> {
        RawProperties(self.as_bytes())
    }

    /// Flags and properties as they are on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// All properties, decoded.
    pub fn decode(&self) -> Properties {
        // The invariant makes the default unreachable; it spares this module a panic.
        Properties::decode(Bytes::copy_from_slice(self.as_bytes())).unwrap_or_default()
    }

    /// Whether the message is persistent: only delivery mode 2 is.
    pub fn is_persistent(&self) -> bool {
        self.delivery_mode() == Some(PERSISTENT)
    }

    /// See [`Properties::content_type`].
    pub fn content_type(&self) -> Option<&[u8]> {
        self.find(0)
    }

    /// See [`Properties::content_encoding`].
    pub fn content_encoding(&self) -> Option<&[u8]> {
        self.find(1)
    }

    /// The headers, decoded.
    pub fn headers(&self) -> Option<FieldTable> {
        FieldTable::decode_entries(Bytes::copy_from_slice(self.find(2)?)).ok()
    }

    /// The first header with this name, without decoding the others.
    pub fn header(&self, name: &str) -> Option<FieldValue> {
        let value = field_table::find_value(self.find(2)?, name.as_bytes())?;
        FieldValue::decode_one(Bytes::copy_from_slice(value)).ok()
    }

    /// Whether there are headers at all.
    pub fn has_headers(&self) -> bool {
        self.flags() & flag(2) != 0
    }

    /// Whether there is a header with one of these names.
    pub(crate) fn has_any_header(&self, names: &[&str]) -> bool {
        self.find(2).is_some_and(|entries| field_table::has_any(entries, names))
    }

    /// See [`Properties::delivery_mode`].
    pub fn delivery_mode(&self) -> Option<u8> {
        self.octet(3)
    }

    /// See [`Properties::priority`].
    pub fn priority(&self) -> Option<u8> {
        self.octet(4)
    }

    /// See [`Properties::correlation_id`].
    pub fn correlation_id(&self) -> Option<&[u8]> {
        self.find(5)
    }

    /// See [`Properties::reply_to`].
    pub fn reply_to(&self) -> Option<&[u8]> {
        self.find(6)
    }

    /// See [`Properties::expiration`].
    pub fn expiration(&self) -> Option<&[u8]> {
        self.find(7)
    }

    /// See [`Properties::message_id`].
    pub fn message_id(&self) -> Option<&[u8]> {
        self.find(8)
    }

    /// See [`Properties::timestamp`].
    pub fn timestamp(&self) -> Option<u64> {
        Some(u64::from_be_bytes(self.find(9)?.try_into().ok()?))
    }

    /// See [`Properties::message_type`].
    pub fn message_type(&self) -> Option<&[u8]> {
        self.find(10)
    }

    /// See [`Properties::user_id`].
    pub fn user_id(&self) -> Option<&[u8]> {
        self.find(11)
    }

    /// See [`Properties::app_id`].
    pub fn app_id(&self) -> Option<&[u8]> {
        self.find(12)
    }

    /// See [`Properties::cluster_id`].
    pub fn cluster_id(&self) -> Option<&[u8]> {
        self.find(13)
    }

    fn flags(&self) -> u16 {
        flags(self.as_bytes())
    }

    fn octet(&self, wanted: u32) -> Option<u8> {
        self.find(wanted)?.first().copied()
    }

    /// The bytes of one property, without its length.
    fn find(&self, wanted: u32) -> Option<&[u8]> {
        find(self.as_bytes(), wanted)
    }
}

fn flags(encoded: &[u8]) -> u16 {
    encoded.first_chunk::<2>().map_or(0, |flags| u16::from_be_bytes(*flags))
}

/// The property with this index, as it is encoded behind its length.
fn find(encoded: &[u8], wanted: u32) -> Option<&[u8]> {
    let flags = flags(encoded);
    if flags & flag(wanted) == 0 {
        return None;
    }
    let mut rest = encoded.get(2..)?;
    for (index, kind) in present(flags) {
        let (value, after) = split_property(kind, rest)?;
        if index == wanted {
            return Some(value);
        }
        rest = after;
    }
    None
}

/// The properties whose flags are set, in order.
fn present(mut flags: u16) -> impl Iterator<Item = (u32, Kind)> {
    core::iter::from_fn(move || {
        let index = flags.leading_zeros();
        let kind = KINDS.get(usize::try_from(index).ok()?)?;
        flags &= !flag(index);
        Some((index, *kind))
    })
}

fn split_property(kind: Kind, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match kind {
        Kind::Short => {
            let (&len, rest) = bytes.split_first()?;
            rest.split_at_checked(usize::from(len))
        }
        Kind::Table => field_table::split_counted(bytes),
        Kind::Octet => bytes.split_at_checked(1),
        Kind::Timestamp => bytes.split_at_checked(8),
    }
}

impl From<&Properties> for RawProperties {
    fn from(properties: &Properties) -> Self {
        let mut encoded = BytesMut::new();
        properties.encode(&mut encoded);
        Self(encoded.freeze())
    }
}

impl Default for RawProperties {
    fn default() -> Self {
        Self::empty()
    }
}

impl<B: AsRef<[u8]>> fmt::Debug for RawProperties<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.decode().fmt(f)
    }
}

/// The properties of a content header do not follow the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedProperties;

impl From<MalformedTable> for MalformedProperties {
    fn from(_: MalformedTable) -> Self {
        Self
    }
}

impl From<wire::DecodeError> for MalformedProperties {
    fn from(_: wire::DecodeError) -> Self {
        Self
    }
}

impl fmt::Display for MalformedProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed basic properties")
    }
}

impl core::error::Error for MalformedProperties {}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_property() -> Properties {
        let text = |text: &'static str| Some(ShortStr::from_static(text));
        Properties {
            content_type: text("text/plain"),
            content_encoding: text("gzip"),
            headers: Some(FieldTable::new().with("x", 1_i32).with("y", "z")),
            delivery_mode: Some(PERSISTENT),
            priority: Some(9),
            correlation_id: text("correlation"),
            reply_to: text("reply"),
            expiration: text("60000"),
            message_id: text("id"),
            timestamp: Some(1_700_000_000),
            message_type: text("type"),
            user_id: text("guest"),
            app_id: text("app"),
            cluster_id: text("cluster"),
        }
    }

    #[test]
    fn every_property_is_found_in_the_raw_bytes() {
        let properties = every_property();
        let encoded = RawProperties::from(&properties);
        let raw = RawProperties::parse(encoded.encoded().clone()).unwrap();
        assert_eq!(raw.decode(), properties);
        assert_eq!(raw.content_type(), Some(&b"text/plain"[..]));
        assert_eq!(raw.content_encoding(), Some(&b"gzip"[..]));
        assert_eq!(raw.headers(), properties.headers);
        assert_eq!(raw.header("y"), Some(FieldValue::text("z")));
        assert_eq!(raw.header("n"), None);
        assert!(raw.is_persistent());
        assert_eq!(raw.priority(), Some(9));
        assert_eq!(raw.correlation_id(), Some(&b"correlation"[..]));
        assert_eq!(raw.reply_to(), Some(&b"reply"[..]));
        assert_eq!(raw.expiration(), Some(&b"60000"[..]));
        assert_eq!(raw.message_id(), Some(&b"id"[..]));
        assert_eq!(raw.timestamp(), Some(1_700_000_000));
        assert_eq!(raw.message_type(), Some(&b"type"[..]));
        assert_eq!(raw.user_id(), Some(&b"guest"[..]));
        assert_eq!(raw.app_id(), Some(&b"app"[..]));
        assert_eq!(raw.cluster_id(), Some(&b"cluster"[..]));
    }

    #[test]
    fn absent_properties_are_none() {
        let raw = RawProperties::empty();
        assert_eq!(raw.decode(), Properties::default());
        assert_eq!((raw.delivery_mode(), raw.headers(), raw.timestamp()), (None, None, None));
        assert!(!raw.is_persistent());
        let transient = Properties { delivery_mode: Some(1), ..Properties::default() };
        assert!(!RawProperties::from(&transient).is_persistent());
    }

    #[test]
    fn both_readers_refuse_the_same_bytes() {
        let whole = RawProperties::from(&every_property());
        for cut in 0..whole.as_bytes().len() {
            let part = whole.encoded().slice(..cut);
            assert_eq!(Properties::decode(part.clone()), Err(MalformedProperties), "at {cut}");
            assert_eq!(RawProperties::parse(part), Err(MalformedProperties), "at {cut}");
        }
        // RabbitMQ accepts the unused flag bit 1, and neither bytes after the last property nor the
        // continuation bit.
        for (bytes, is_good) in [
            (&b"\x00\x00"[..], true),
            (b"\x00\x02", true),
            (b"\x00\x01", false),
            (b"\x00\x01\x00\x00", false),
            (b"\x80\x00\x02abz", false),
            (b"\x80\x00\x02\xff\xfe", true),
            (b"\x20\x00\x00\x00\x00\x03\x01aZ", false),
            (b"\x20\x00\xff\xff\xff\xff\x01aV", false),
        ] {
            let bytes = Bytes::from_static(bytes);
            assert_eq!(Properties::decode(bytes.clone()).is_ok(), is_good, "{bytes:?}");
            assert_eq!(RawProperties::parse(bytes.clone()).is_ok(), is_good, "{bytes:?}");
        }
    }
}
