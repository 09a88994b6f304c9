//! The arguments of exchanges and queues that drop what they have seen before (LavinMQ docs: Message Deduplication).

use alloc::boxed::Box;
use alloc::format;

use crate::amqp::{AmqpError, FieldTable, FieldValue, LongStr, ReplyCode};

/// How an exchange or a queue recognises duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deduplication {
    /// `x-cache-size`: how many messages it remembers.
    pub size: u32,
    /// `x-cache-ttl`: how long, in milliseconds. `None`: until newer ones need the place.
    pub ttl_ms: Option<u64>,
    /// `x-deduplication-header`: the header that says which message it is.
    pub header: LongStr,
}

impl Deduplication {
    /// What the arguments say. `None` without `x-message-deduplication=true`.
    ///
    /// # Errors
    /// Channel error 406 PRECONDITION_FAILED for a value of another type than LavinMQ takes, or a number that makes no sense.
    pub(super) fn parse(arguments: &FieldTable) -> Result<Option<Box<Self>>, AmqpError> {
        /// LavinMQ's.
        const SIZE: u32 = 128;
        if arguments.get("x-message-deduplication").and_then(FieldValue::as_bool) != Some(true) {
            return Ok(None);
        }
        let refused = |name: &str, what: &str| {
            AmqpError::channel(ReplyCode::PreconditionFailed, format!("{name} header not a {what}"))
        };
        let number = |name: &str| match arguments.get(name) {
            None => Ok(None),
            Some(value) => {
                let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
                number.map(Some).ok_or_else(|| refused(name, "Int"))
            }
        };
        let size = number("x-cache-size")?.map_or(SIZE, |size| u32::try_from(size).unwrap_or(u32::MAX));
        let ttl_ms = number("x-cache-ttl")?;
        let header = match arguments.get("x-deduplication-header") {
            None => LongStr::from_static("x-deduplication-header"),
            Some(FieldValue::LongStr(name)) => name.clone(),
            Some(_) => return Err(refused("x-deduplication-header", "String")),
        };
        Ok(Some(Box::new(Self { size, ttl_ms, header })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_lavinmqs() {
        let on = || FieldTable::new().with("x-message-deduplication", true);
        let parse = |arguments: FieldTable| Deduplication::parse(&arguments).map_err(|error| error.text.into_owned());
        assert_eq!(parse(FieldTable::new().with("x-cache-size", 5)), Ok(None));
        let header: LongStr = "x-deduplication-header".into();
        let default = Deduplication { size: 128, ttl_ms: None, header };
        assert_eq!(parse(on()), Ok(Some(Box::new(default))));
        let all = on().with("x-cache-size", 5).with("x-cache-ttl", 1000).with("x-deduplication-header", "id");
        let expected = Deduplication { size: 5, ttl_ms: Some(1000), header: "id".into() };
        assert_eq!(parse(all), Ok(Some(Box::new(expected))));
        assert_eq!(parse(on().with("x-cache-size", "5")), Err("x-cache-size header not a Int".into()));
        assert_eq!(parse(on().with("x-cache-ttl", -1)), Err("x-cache-ttl header not a Int".into()));
        assert_eq!(
            parse(on().with("x-deduplication-header", 1)),
            Err("x-deduplication-header header not a String".into())
        );
    }
}
