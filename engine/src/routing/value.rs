//! Values of field tables as Erlang compares and prints them: clients meet both, in what matches and in reply texts.

use alloc::format;
use core::fmt;

use crate::amqp::{ErlangText, FieldValue};

/// Whether two values are equal as Erlang's `==` sees them once they are decoded: numbers by value whatever their type, timestamps
/// among them; text and bytes alike; arrays and tables with the same types inside, in the same order.
pub(crate) fn is_equal(left: &FieldValue, right: &FieldValue) -> bool {
    use FieldValue::{Array, Bool, Bytes, Decimal, LongStr, Table, Void};
    match (left, right) {
        (Bool(left), Bool(right)) => left == right,
        (LongStr(left) | Bytes(left), LongStr(right) | Bytes(right)) => left == right,
        (Decimal { scale, value }, Decimal { scale: other_scale, value: other_value }) => {
            (scale, value) == (other_scale, other_value)
        }
        (Array(left), Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_same_type_and_equal(left, right))
        }
        (Table(left), Table(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|((left_name, left), (right_name, right))| {
                    left_name == right_name && is_same_type_and_equal(left, right)
                })
        }
        (Void, Void) => true,
        _ => match (Number::of(left), Number::of(right)) {
            (Some(left), Some(right)) => left.is_equal(right),
            _ => false,
        },
    }
}

fn is_same_type_and_equal(left: &FieldValue, right: &FieldValue) -> bool {
    left.type_name() == right.type_name() && is_equal(left, right)
}

#[derive(Clone, Copy)]
enum Number {
    Integer(i128),
    Float(f64),
}

impl Number {
    fn of(value: &FieldValue) -> Option<Self> {
        match *value {
            FieldValue::Timestamp(seconds) => Some(Self::Integer(i128::from(seconds))),
            FieldValue::F32(bits) => Some(Self::Float(f64::from(f32::from_bits(bits)))),
            FieldValue::F64(bits) => Some(Self::Float(f64::from_bits(bits))),
            _ => value.as_integer().map(|integer| Self::Integer(i128::from(integer))),
        }
    }

    /// Exact: an integer that no float can hold equals none.
    #[expect(clippy::cast_possible_truncation, reason = "a float with a fraction is found unequal by the cast back")]
    fn is_equal(self, other: Self) -> bool {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => left == right,
            (Self::Float(left), Self::Float(right)) => left == right,
            (Self::Integer(integer), Self::Float(float)) | (Self::Float(float), Self::Integer(integer)) => {
                integer as f64 == float && float as i128 == integer
            }
        }
    }
}

/// A value as Erlang's `~p` prints it, without its line breaks.
pub(crate) struct ErlangTerm<'a>(pub(crate) &'a FieldValue);

impl fmt::Display for ErlangTerm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            FieldValue::Bool(value) => write!(f, "{value}"),
            FieldValue::LongStr(text) | FieldValue::Bytes(text) => write!(f, "{}", ErlangText(text.as_bytes())),
            FieldValue::F32(bits) => write_float(f, f64::from(f32::from_bits(*bits))),
            FieldValue::F64(bits) => write_float(f, f64::from_bits(*bits)),
            FieldValue::Decimal { scale, value } => write!(f, "{{{scale},{value}}}"),
            FieldValue::Timestamp(seconds) => write!(f, "{seconds}"),
            FieldValue::Void => f.write_str("undefined"),
            FieldValue::Array(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{{{},{}}}", value.type_name(), ErlangTerm(value))?;
                }
                f.write_str("]")
            }
            FieldValue::Table(table) => {
                f.write_str("[")?;
                for (index, (name, value)) in table.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    let name = ErlangText(name.as_bytes());
                    write!(f, "{comma}{{{name},{},{}}}", value.type_name(), ErlangTerm(value))?;
                }
                f.write_str("]")
            }
            integer => write!(f, "{}", integer.as_integer().unwrap_or_default()),
        }
    }
}

/// Both languages print the shortest digits that give the float back; Erlang wants a point before the exponent.
fn write_float(f: &mut fmt::Formatter<'_>, float: f64) -> fmt::Result {
    let text = format!("{float:?}");
    match text.split_once('e') {
        Some((digits, exponent)) if !digits.contains('.') => write!(f, "{digits}.0e{exponent}"),
        _ => f.write_str(&text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::FieldTable;

    /// Texts as RabbitMQ 3.10.8 gives them.
    #[test]
    fn values_are_printed_as_erlang_terms() {
        let check = |value: FieldValue, expected: &str| assert_eq!(format!("{}", ErlangTerm(&value)), expected);
        check(5.into(), "5");
        check(FieldValue::I64(-1 << 40), "-1099511627776");
        check(true.into(), "true");
        check("a b".into(), "<<\"a b\">>");
        check("".into(), "<<>>");
        check(FieldValue::Array([1.into(), "a".into()].into()), "[{signedint,1},{longstr,<<\"a\">>}]");
        check(FieldValue::Table(FieldTable::new().with("a", 1)), "[{<<\"a\">>,signedint,1}]");
        check(FieldValue::Void, "undefined");
        check(FieldValue::F64(5.5_f64.to_bits()), "5.5");
        check(FieldValue::F64(1e16_f64.to_bits()), "1.0e16");
        check(FieldValue::Decimal { scale: 1, value: 15 }, "{1,15}");
    }
}
