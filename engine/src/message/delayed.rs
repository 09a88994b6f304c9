//! The `x-delay` header of messages to delayed exchanges (RabbitMQ's plugin `x-delayed-message`).

use super::{FLAG_DEATHS, Message};
use crate::amqp::{FieldValue, RawProperties, ShortStr};

const X_DELAY: &str = "x-delay";

/// For how many milliseconds a message asks to be held back. `None` if it does not: the header is missing, no integer, or not
/// positive, as it is once it was waited for.
///
/// The plugin delivers at once what asks for more than 2^32 - 1 ms; here any time is kept.
pub(crate) fn delay_ms(properties: &RawProperties<&[u8]>) -> Option<u64> {
    let delay = properties.header(X_DELAY)?.as_integer()?;
    u64::try_from(delay).ok().filter(|delay| *delay > 0)
}

impl Message {
    /// The message once its time has come: `x-delay` is negative, as in the plugin, so that consumers see what was waited for and no
    /// delayed exchange waits for it again.
    pub(crate) fn after_delay(&self) -> Self {
        let mut properties = self.raw_properties().decode();
        if let Some(headers) = &mut properties.headers
            && let Some(delay) = headers.get(X_DELAY)
        {
            let waited = match *delay {
                FieldValue::I8(delay) => FieldValue::I8(delay.saturating_neg()),
                FieldValue::I16(delay) => FieldValue::I16(delay.saturating_neg()),
                FieldValue::I32(delay) => FieldValue::I32(delay.saturating_neg()),
                // What has no sign becomes wide enough for one.
                _ => FieldValue::I64(delay.as_integer().unwrap_or_default().saturating_neg()),
            };
            headers.set(&ShortStr::from_static(X_DELAY), waited);
        }
        let flags = self.flags() & FLAG_DEATHS;
        self.with_properties(&properties, flags)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::amqp::{FieldTable, Properties, Routing};

    fn properties(delay: impl Into<FieldValue>) -> RawProperties {
        let headers = FieldTable::new().with("a", 1).with(X_DELAY, delay);
        RawProperties::from(&Properties { headers: Some(headers), priority: Some(3), ..Properties::default() })
    }

    #[test]
    fn only_positive_integers_delay() {
        assert_eq!(delay_ms(&properties(5).borrowed()), Some(5));
        assert_eq!(delay_ms(&properties(FieldValue::U8(200)).borrowed()), Some(200));
        assert_eq!(delay_ms(&properties(FieldValue::I64(1 << 40)).borrowed()), Some(1 << 40));
        assert_eq!(delay_ms(&properties(0).borrowed()), None);
        assert_eq!(delay_ms(&properties(-5).borrowed()), None);
        assert_eq!(delay_ms(&properties("5").borrowed()), None);
        assert_eq!(delay_ms(&RawProperties::empty().borrowed()), None);
    }

    #[test]
    fn what_was_waited_for_is_negative() {
        for delay in [FieldValue::I32(5), FieldValue::U32(5), FieldValue::I64(5)] {
            let routing = Routing::new(&ShortStr::from_static("e"), &ShortStr::from_static("k"));
            let message = Message::new(&routing, &properties(delay), Bytes::from_static(b"body")).after_delay();
            let properties = message.raw_properties();
            assert_eq!(properties.header(X_DELAY).and_then(|delay| delay.as_integer()), Some(-5));
            assert_eq!(delay_ms(&properties.borrowed()), None);
            assert_eq!((properties.priority(), message.body()), (Some(3), &b"body"[..]));
            assert_eq!(message.routing_names(), routing);
        }
    }
}
