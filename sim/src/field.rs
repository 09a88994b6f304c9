//! Field tables as they are on the wire (AMQP 0-9-1 §4.2.5.5, with RabbitMQ's types), read by hand: the engine's codec is under test.

/// A value of a table, as far as anybody here looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A number of any width, or a point in time.
    Number(i64),
    /// A string.
    Text(Vec<u8>),
    /// An array.
    List(Vec<Self>),
    /// A table.
    Table(Vec<(Vec<u8>, Self)>),
    /// Anything else: its type and its bytes.
    Other(u8, Vec<u8>),
}

impl Value {
    /// The string, if it is one.
    pub(crate) fn as_text(&self) -> Option<&[u8]> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The number, if it is one.
    pub(crate) fn as_number(&self) -> Option<i64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// The value under a name, if it is a table that has it.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        let Self::Table(fields) = self else { return None };
        find(fields, name)
    }
}

/// The value under a name.
pub(crate) fn find<'a>(fields: &'a [(Vec<u8>, Value)], name: &str) -> Option<&'a Value> {
    fields.iter().find(|(field, _)| field == name.as_bytes()).map(|(_, value)| value)
}

/// The fields of a table, without its length.
pub(crate) fn table(mut bytes: &[u8]) -> Option<Vec<(Vec<u8>, Value)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let name = take(&mut bytes, 1)?[0];
        let name = take(&mut bytes, usize::from(name))?.to_vec();
        fields.push((name, value(&mut bytes)?));
    }
    Some(fields)
}

fn value(bytes: &mut &[u8]) -> Option<Value> {
    let kind = take(bytes, 1)?[0];
    Some(match kind {
        b't' | b'b' => Value::Number(i64::from(i8::from_be_bytes([take(bytes, 1)?[0]]))),
        b'B' => Value::Number(i64::from(take(bytes, 1)?[0])),
        b's' => Value::Number(i64::from(i16::from_be_bytes(take(bytes, 2)?.try_into().ok()?))),
        b'u' => Value::Number(i64::from(u16::from_be_bytes(take(bytes, 2)?.try_into().ok()?))),
        b'I' => Value::Number(i64::from(i32::from_be_bytes(take(bytes, 4)?.try_into().ok()?))),
        b'i' => Value::Number(i64::from(u32::from_be_bytes(take(bytes, 4)?.try_into().ok()?))),
        b'l' | b'L' | b'T' => Value::Number(i64::from_be_bytes(take(bytes, 8)?.try_into().ok()?)),
        b'S' => Value::Text(long(bytes)?.to_vec()),
        b'F' => Value::Table(table(long(bytes)?)?),
        b'A' => {
            let mut items = long(bytes)?;
            let mut list = Vec::new();
            while !items.is_empty() {
                list.push(value(&mut items)?);
            }
            Value::List(list)
        }
        b'x' => Value::Other(kind, long(bytes)?.to_vec()),
        b'f' => Value::Other(kind, take(bytes, 4)?.to_vec()),
        b'd' => Value::Other(kind, take(bytes, 8)?.to_vec()),
        b'D' => Value::Other(kind, take(bytes, 5)?.to_vec()),
        b'V' => Value::Other(kind, Vec::new()),
        _ => return None,
    })
}

fn long<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = u32::from_be_bytes(take(bytes, 4)?.try_into().ok()?);
    take(bytes, usize::try_from(len).ok()?)
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_within_lists_are_read_and_torn_ones_are_not() {
        let bytes = b"\x01aA\0\0\0\x0fF\0\0\0\x0a\x01bS\0\0\0\x03xyz\x01cI\xff\xff\xff\xff";
        let fields = table(bytes).unwrap();
        let Some(Value::List(list)) = find(&fields, "a") else { panic!("{fields:?}") };
        assert_eq!(list[0].field("b").and_then(Value::as_text), Some(&b"xyz"[..]));
        assert_eq!(find(&fields, "c").and_then(Value::as_number), Some(-1));
        assert!(table(&bytes[..bytes.len() - 1]).is_none());
    }
}
