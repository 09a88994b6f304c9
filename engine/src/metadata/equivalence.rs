//! Declaring again what exists: allowed if everything that matters is the same (RabbitMQ docs: Queues / Declaration and Property
//! Equivalence).
//!
//! Rules and texts as RabbitMQ 3.10 has them.

use alloc::format;
use core::fmt;

use super::arguments::{Plain, QUEUE_TYPE};
use super::name::Named;
use crate::amqp::{AmqpError, FieldTable, FieldValue, ReplyCode};
use crate::routing::is_equal;

/// Compares one property.
///
/// # Errors
/// Channel error 406 PRECONDITION_FAILED if they differ.
pub(super) fn check_property<T: Copy + PartialEq + fmt::Display>(
    property: &str,
    what: &Named<'_>,
    received: T,
    current: T,
) -> Result<(), AmqpError> {
    if received == current {
        return Ok(());
    }
    Err(inequivalent(property, what, format_args!("'{received}'"), format_args!("'{current}'")))
}

/// Compares the arguments that matter.
///
/// # Errors
/// Channel error 406 PRECONDITION_FAILED for the first that differs.
pub(super) fn check_arguments(
    names: &[&str],
    what: &Named<'_>,
    received: &FieldTable,
    current: &FieldTable,
) -> Result<(), AmqpError> {
    names.iter().try_for_each(|name| check_argument(name, what, received.get(name), current.get(name)))
}

fn check_argument(
    name: &str,
    what: &Named<'_>,
    received: Option<&FieldValue>,
    current: Option<&FieldValue>,
) -> Result<(), AmqpError> {
    match (received, current) {
        (None, None) => Ok(()),
        (Some(received), Some(current)) if is_equivalent(received, current) => Ok(()),
        (Some(received), Some(current)) => {
            Err(inequivalent(name, what, format_args!("{}", Value(received)), format_args!("{}", Value(current))))
        }
        // A queue is classic whether or not it says so.
        (Some(only), None) | (None, Some(only)) if name == QUEUE_TYPE && only.as_bytes() == Some(b"classic") => Ok(()),
        (Some(received), None) => {
            Err(inequivalent(name, what, format_args!("{}", Typed(received)), format_args!("none")))
        }
        (None, Some(current)) => {
            Err(inequivalent(name, what, format_args!("none"), format_args!("{}", Typed(current))))
        }
    }
}

/// Integers of any width are compared by value, floats too, but an integer is no float.
fn is_equivalent(left: &FieldValue, right: &FieldValue) -> bool {
    let is_float = |value: &FieldValue| matches!(value, FieldValue::F32(_) | FieldValue::F64(_));
    is_float(left) == is_float(right) && is_equal(left, right)
}

fn inequivalent(name: &str, what: &Named<'_>, received: fmt::Arguments<'_>, current: fmt::Arguments<'_>) -> AmqpError {
    let text = format!("inequivalent arg '{name}' for {what}: received {received} but current is {current}");
    AmqpError::channel(ReplyCode::PreconditionFailed, text)
}

/// A value where the other side has one too.
struct Value<'a>(&'a FieldValue);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            FieldValue::Void => f.write_str("none"),
            other => write!(f, "'{}'", Plain(other)),
        }
    }
}

/// A value where the other side has none.
struct Typed<'a>(&'a FieldValue);

impl fmt::Display for Typed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the value '{}' of type '{}'", Plain(self.0), self.0.type_name())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    fn compare(received: Option<&FieldValue>, current: Option<&FieldValue>) -> Result<(), String> {
        check_argument("x-a", &Named::queue(b"q", b"/"), received, current).map_err(|error| {
            let prefix = "inequivalent arg 'x-a' for queue 'q' in vhost '/': ";
            String::from(error.text.strip_prefix(prefix).expect("the prefix is always the same"))
        })
    }

    /// Texts as RabbitMQ 3.10.8 gives them.
    #[test]
    fn differences_are_told_apart() {
        let check = |received: Option<FieldValue>, current: Option<FieldValue>, expected: &str| {
            assert_eq!(compare(received.as_ref(), current.as_ref()).unwrap_err(), expected);
        };
        let number = || Some(FieldValue::from(5));
        check(None, number(), "received none but current is the value '5' of type 'signedint'");
        check(number(), None, "received the value '5' of type 'signedint' but current is none");
        check(Some(6.into()), number(), "received '6' but current is '5'");
        check(Some("5".into()), number(), "received '5' but current is '5'");
        check(Some(FieldValue::Void), number(), "received none but current is '5'");
        check(Some(false.into()), Some(true.into()), "received 'false' but current is 'true'");
        check(
            Some(FieldValue::Array([1.into(), "a".into()].into())),
            number(),
            "received '[{signedint,1},{longstr,<<\"a\">>}]' but current is '5'",
        );
        check(Some("x".into()), None, "received the value 'x' of type 'longstr' but current is none");
    }

    #[test]
    fn integers_of_any_width_are_the_same() {
        let five = FieldValue::from(5);
        assert_eq!(compare(Some(&FieldValue::I64(5)), Some(&five)), Ok(()));
        assert_eq!(compare(Some(&FieldValue::U8(5)), Some(&FieldValue::I16(5))), Ok(()));
        assert!(compare(Some(&FieldValue::F64(5.0_f64.to_bits())), Some(&five)).is_err());
        assert_eq!(compare(None, None), Ok(()));
    }
}
