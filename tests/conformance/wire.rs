//! AMQP 0-9-1 on the wire, written from the specification and not from the engine: a second opinion.

use super::spec::{self, Kind};
use super::transcript::Fields;
use super::value::Value;

/// Frame types (AMQP 0-9-1 §2.3.5).
pub(crate) const METHOD: u8 = 1;
pub(crate) const HEADER: u8 = 2;
pub(crate) const BODY: u8 = 3;
pub(crate) const HEARTBEAT: u8 = 8;
const END: u8 = 0xce;

/// One frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) channel: u16,
    pub(crate) payload: Vec<u8>,
}

/// The bytes of one frame.
pub(crate) fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(channel.to_be_bytes());
    out.extend(u32::try_from(payload.len()).expect("a payload fits its length").to_be_bytes());
    out.extend(payload);
    out.push(END);
    out
}

/// Takes the first frame off `buffer` if it is all there.
pub(crate) fn take_frame(buffer: &mut Vec<u8>) -> Result<Option<Frame>, String> {
    if buffer.len() < 8 {
        return Ok(None);
    }
    let size = u32::from_be_bytes([buffer[3], buffer[4], buffer[5], buffer[6]]) as usize;
    if size > 1 << 20 {
        return Err(format!("frame of {size} bytes from the broker: {:02x?}", &buffer[..8]));
    }
    if buffer.len() < size + 8 {
        return Ok(None);
    }
    let rest = buffer.split_off(size + 8);
    let whole = std::mem::replace(buffer, rest);
    if whole[size + 7] != END {
        return Err(format!("frame end is {:02x}", whole[size + 7]));
    }
    let channel = u16::from_be_bytes([whole[1], whole[2]]);
    Ok(Some(Frame { kind: whole[0], channel, payload: whole[7..size + 7].to_vec() }))
}

/// A method's payload; fields not given are zero, empty or false.
pub(crate) fn encode_method(method: &spec::Method, fields: &[(String, Value)]) -> Result<Vec<u8>, String> {
    let mut out = method.class.to_be_bytes().to_vec();
    out.extend(method.id.to_be_bytes());
    let mut bits: Option<u32> = None;
    for (name, kind) in &method.fields {
        let value = fields.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        if *kind == Kind::Bit {
            let at = bits.map_or(0, |count| count % 8);
            if at == 0 {
                out.push(0);
            }
            bits = Some(at + 1);
            match value {
                None | Some(Value::Bool(false)) => {}
                Some(Value::Bool(true)) => *out.last_mut().expect("pushed above") |= 1 << at,
                Some(other) => return Err(format!("{name} is a bit, not {other}")),
            }
        } else {
            bits = None;
            encode_field(&mut out, name, *kind, value)?;
        }
    }
    Ok(out)
}

/// A method's name and fields.
pub(crate) fn decode_method(payload: &[u8]) -> Result<(&'static spec::Method, Fields), String> {
    let mut input = Reader(payload);
    let (class, id) = (input.short()?, input.short()?);
    let method = spec::by_id(class, id).ok_or_else(|| format!("unknown method {class}.{id}"))?;
    let mut fields = Vec::new();
    let mut bits: Option<(u8, u32)> = None;
    for (name, kind) in &method.fields {
        let value = if *kind == Kind::Bit {
            let (byte, at) = match bits {
                Some((byte, at)) if at < 8 => (byte, at),
                _ => (input.octet()?, 0),
            };
            bits = Some((byte, at + 1));
            Value::Bool(byte >> at & 1 == 1)
        } else {
            bits = None;
            input.field(*kind)?
        };
        fields.push(((*name).to_owned(), value));
    }
    input.end()?;
    Ok((method, fields))
}

/// A content header's payload: class basic unless `class` is given, flags from the properties given unless `property_flags` is.
pub(crate) fn encode_header(size: u64, fields: &[(String, Value)]) -> Result<Vec<u8>, String> {
    let number = |name: &str, default| match fields.iter().find(|(key, _)| key == name) {
        None => Ok(default),
        Some((_, value)) => value.as_int().ok_or_else(|| format!("{name} is not a number")),
    };
    let mut flags = 0_u16;
    let mut properties = Vec::new();
    for (bit, (name, kind)) in spec::PROPERTIES.iter().enumerate() {
        if let Some((_, value)) = fields.iter().find(|(key, _)| key == name) {
            flags |= 0x8000 >> bit;
            encode_field(&mut properties, name, *kind, Some(value))?;
        }
    }
    let mut out = Vec::new();
    push_int(&mut out, number("class", 60)?, 2)?;
    push_int(&mut out, number("weight", 0)?, 2)?;
    push_int(&mut out, number("size", i128::from(size))?, 8)?;
    push_int(&mut out, number("property_flags", i128::from(flags))?, 2)?;
    out.extend(properties);
    Ok(out)
}

/// The body size and the properties of a content header. A property that is not there is [`Value::Absent`].
pub(crate) fn decode_header(payload: &[u8]) -> Result<(u64, Fields), String> {
    let mut input = Reader(payload);
    let (class, weight) = (input.short()?, input.short()?);
    if (class, weight) != (60, 0) {
        return Err(format!("content header of class {class}, weight {weight}"));
    }
    let size = input.long_long()?;
    let flags = input.short()?;
    let mut fields = vec![("property_flags".to_owned(), Value::Int(flags.into()))];
    for (bit, (name, kind)) in spec::PROPERTIES.iter().enumerate() {
        let value = if flags & (0x8000 >> bit) == 0 { Value::Absent } else { input.field(*kind)? };
        fields.push(((*name).to_owned(), value));
    }
    input.end()?;
    Ok((size, fields))
}

fn push_int(out: &mut Vec<u8>, number: i128, bytes: usize) -> Result<(), String> {
    let limit = 1_i128 << (8 * bytes);
    if number < -(limit / 2) || number >= limit {
        return Err(format!("{number} does not fit {bytes} bytes"));
    }
    out.extend(&number.to_be_bytes()[16 - bytes..]);
    Ok(())
}

fn encode_field(out: &mut Vec<u8>, name: &str, kind: Kind, value: Option<&Value>) -> Result<(), String> {
    let zero = Value::Int(0);
    let bytes = match kind {
        Kind::Octet => 1,
        Kind::Short => 2,
        Kind::Long => 4,
        Kind::LongLong => 8,
        Kind::ShortStr => {
            let Value::Bytes(text) = value.unwrap_or(&Value::Bytes(Vec::new())).clone() else {
                return Err(format!("{name} is not a string"));
            };
            out.push(u8::try_from(text.len()).map_err(|_| format!("{name} is too long"))?);
            out.extend(text);
            return Ok(());
        }
        Kind::LongStr => {
            return encode_value(out, value.unwrap_or(&Value::Bytes(Vec::new())), 'S');
        }
        Kind::Table => {
            return encode_value(out, value.unwrap_or(&Value::Table { entries: Vec::new(), open: false }), 'F');
        }
        Kind::Bit => return Err(format!("{name} is a bit")),
    };
    let number = value.unwrap_or(&zero).as_int().ok_or_else(|| format!("{name} is not a number"))?;
    push_int(out, number, bytes)
}

fn encode_length(out: &mut Vec<u8>, inner: &[u8]) {
    out.extend(u32::try_from(inner.len()).expect("a transcript's value is small").to_be_bytes());
    out.extend(inner);
}

/// A table entry: its type, then its value.
fn encode_typed(out: &mut Vec<u8>, value: &Value) -> Result<(), String> {
    let (kind, value) = match value {
        Value::Typed(kind, inner) => (*kind, &**inner),
        Value::Int(_) => ('I', value),
        Value::Bool(_) => ('t', value),
        Value::Bytes(_) => ('S', value),
        Value::Float(_) => ('d', value),
        Value::Decimal(..) => ('D', value),
        Value::Void => ('V', value),
        Value::Table { .. } => ('F', value),
        Value::Array(_) => ('A', value),
        other => return Err(format!("{other} cannot be sent")),
    };
    out.push(u8::try_from(kind).map_err(|_| "type is not ASCII".to_owned())?);
    encode_value(out, value, kind)
}

fn encode_value(out: &mut Vec<u8>, value: &Value, kind: char) -> Result<(), String> {
    match (kind, value) {
        ('t', Value::Bool(yes)) => out.push(u8::from(*yes)),
        ('b' | 'B', Value::Int(number)) => push_int(out, *number, 1)?,
        ('s' | 'u', Value::Int(number)) => push_int(out, *number, 2)?,
        ('I' | 'i', Value::Int(number)) => push_int(out, *number, 4)?,
        ('l' | 'L' | 'T', Value::Int(number)) => push_int(out, *number, 8)?,
        #[expect(clippy::cast_possible_truncation, reason = "a transcript writes a number that a float holds")]
        ('f', Value::Float(number)) => out.extend((*number as f32).to_be_bytes()),
        ('d', Value::Float(number)) => out.extend(number.to_be_bytes()),
        ('D', Value::Decimal(scale, number)) => {
            out.push(*scale);
            out.extend(number.to_be_bytes());
        }
        ('S' | 'x', Value::Bytes(bytes)) => encode_length(out, bytes),
        ('A', Value::Array(items)) => {
            let mut inner = Vec::new();
            items.iter().try_for_each(|item| encode_typed(&mut inner, item))?;
            encode_length(out, &inner);
        }
        ('F', Value::Table { entries, .. }) => {
            let mut inner = Vec::new();
            for (key, value) in entries {
                inner.push(u8::try_from(key.len()).map_err(|_| "table key is too long".to_owned())?);
                inner.extend(key.as_bytes());
                encode_typed(&mut inner, value)?;
            }
            encode_length(out, &inner);
        }
        ('V', Value::Void) => {}
        // Types that do not exist are for malformed tables; what follows them is raw.
        (_, Value::Bytes(bytes)) => out.extend(bytes),
        (kind, value) => return Err(format!("{value} cannot be sent as type {kind}")),
    }
    Ok(())
}

/// A cursor over received bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.0.split_at_checked(count).ok_or_else(|| format!("{count} bytes missing"))?;
        self.0 = rest;
        Ok(head)
    }

    fn end(&self) -> Result<(), String> {
        if self.0.is_empty() { Ok(()) } else { Err(format!("{} bytes too many", self.0.len())) }
    }

    fn octet(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn short(&mut self) -> Result<u16, String> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn long(&mut self) -> Result<u32, String> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn long_long(&mut self) -> Result<u64, String> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (head, rest) = self.0.split_first_chunk().ok_or_else(|| format!("{N} bytes missing"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn long_str(&mut self) -> Result<&'a [u8], String> {
        let length = self.long()?;
        self.take(length as usize)
    }

    fn short_str(&mut self) -> Result<&'a [u8], String> {
        let length = self.octet()?;
        self.take(length.into())
    }

    fn field(&mut self, kind: Kind) -> Result<Value, String> {
        Ok(match kind {
            Kind::Octet => Value::Int(self.octet()?.into()),
            Kind::Short => Value::Int(self.short()?.into()),
            Kind::Long => Value::Int(self.long()?.into()),
            Kind::LongLong => Value::Int(self.long_long()?.into()),
            Kind::ShortStr => Value::Bytes(self.short_str()?.to_vec()),
            Kind::LongStr => Value::Bytes(self.long_str()?.to_vec()),
            Kind::Table => self.table()?,
            Kind::Bit => return Err("a bit stands alone".to_owned()),
        })
    }

    fn table(&mut self) -> Result<Value, String> {
        let mut inner = Reader(self.long_str()?);
        let mut entries = Vec::new();
        while !inner.0.is_empty() {
            let key = String::from_utf8_lossy(inner.short_str()?).into_owned();
            entries.push((key, inner.typed()?));
        }
        Ok(Value::Table { entries, open: false })
    }

    fn typed(&mut self) -> Result<Value, String> {
        let kind = char::from(self.octet()?);
        let value = match kind {
            't' => Value::Bool(self.octet()? != 0),
            'b' => Value::Int(i8::from_be_bytes(self.array()?).into()),
            'B' => Value::Int(self.octet()?.into()),
            's' => Value::Int(i16::from_be_bytes(self.array()?).into()),
            'u' => Value::Int(self.short()?.into()),
            'I' => Value::Int(i32::from_be_bytes(self.array()?).into()),
            'i' => Value::Int(self.long()?.into()),
            'l' | 'L' => Value::Int(i64::from_be_bytes(self.array()?).into()),
            'T' => Value::Int(self.long_long()?.into()),
            'f' => Value::Float(f32::from_be_bytes(self.array()?).into()),
            'd' => Value::Float(f64::from_be_bytes(self.array()?)),
            'D' => Value::Decimal(self.octet()?, i32::from_be_bytes(self.array()?)),
            'S' | 'x' => Value::Bytes(self.long_str()?.to_vec()),
            'F' => self.table()?,
            'A' => {
                let mut inner = Reader(self.long_str()?);
                let mut items = Vec::new();
                while !inner.0.is_empty() {
                    items.push(inner.typed()?);
                }
                Value::Array(items)
            }
            'V' => Value::Void,
            other => return Err(format!("unknown field type {other:?}")),
        };
        Ok(Value::Typed(kind, Box::new(value)))
    }
}
