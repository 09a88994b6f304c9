//! Arguments of queues, exchanges and bindings as JSON, and back, as RabbitMQ turns one into the other.

use alloc::string::String;

use serde_json::{Map, Number, Value};

use crate::amqp::{FieldTable, FieldValue, LongStr, ShortStr};

/// As JSON. What JSON does not tell apart (widths of numbers, text and bytes) becomes the same.
pub(super) fn to_json(table: &FieldTable) -> Value {
    Value::Object(
        table.iter().map(|(name, value)| (name.to_string_lossy().into_owned(), value_to_json(value))).collect(),
    )
}

fn value_to_json(value: &FieldValue) -> Value {
    match value {
        FieldValue::Void => Value::Null,
        FieldValue::Bool(value) => Value::Bool(*value),
        FieldValue::F32(bits) => float(f64::from(f32::from_bits(*bits))),
        FieldValue::F64(bits) => float(f64::from_bits(*bits)),
        FieldValue::LongStr(text) | FieldValue::Bytes(text) => Value::String(text.to_string_lossy().into_owned()),
        FieldValue::Timestamp(seconds) => Value::from(*seconds),
        FieldValue::Array(values) => Value::Array(values.iter().map(value_to_json).collect()),
        FieldValue::Table(table) => to_json(table),
        other => other.as_integer().map_or(Value::Null, Value::from),
    }
}

fn float(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// From JSON: every integer is 64 bits wide.
///
/// # Errors
/// The name or number that AMQP cannot carry.
pub(super) fn from_json(map: &Map<String, Value>) -> Result<FieldTable, String> {
    let mut table = FieldTable::new();
    for (name, value) in map {
        let name = ShortStr::try_from(name.as_str()).map_err(|_| name.clone())?;
        table.push(name, value_from_json(value)?);
    }
    Ok(table)
}

fn value_from_json(value: &Value) -> Result<FieldValue, String> {
    Ok(match value {
        Value::Null => FieldValue::Void,
        Value::Bool(value) => FieldValue::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => FieldValue::I64(integer),
            (None, Some(float)) if number.is_f64() => FieldValue::F64(float.to_bits()),
            _ => return Err(alloc::format!("{number}")),
        },
        Value::String(text) => FieldValue::LongStr(LongStr::from(text.as_bytes().to_vec())),
        Value::Array(values) => FieldValue::Array(values.iter().map(value_from_json).collect::<Result<_, _>>()?),
        Value::Object(map) => FieldValue::Table(from_json(map)?),
    })
}
