//! Sender-selected distribution: further routing keys in a message's `CC` and `BCC` headers.

use alloc::vec::Vec;

use crate::amqp::{FieldValue, LongStr, RawProperties};

/// Routing keys that everybody may see.
pub(super) const CC: &str = "CC";
/// Routing keys that are taken out before anybody sees the message.
const BCC: &str = "BCC";

/// What the `CC` and `BCC` headers of a publish ask for (RabbitMQ docs: Sender-Selected Distribution).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SelectedKeys {
    /// Keys of `CC`.
    pub(crate) cc: Vec<LongStr>,
    /// Keys of `BCC`.
    pub(crate) bcc: Vec<LongStr>,
    /// The properties without `BCC`; `None` if it was not there.
    pub(crate) stripped: Option<RawProperties>,
}

/// A `CC` or `BCC` header that is no array: which, and RabbitMQ's word for what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnacceptableType {
    /// The header's name.
    pub(crate) header: &'static str,
    /// The type's.
    pub(crate) type_name: &'static str,
}

impl SelectedKeys {
    /// Looks for the two headers; `None` if there is neither.
    ///
    /// # Errors
    /// [`UnacceptableType`] if one of them is no array. What is no long string in an array counts for nothing, as in RabbitMQ.
    pub(crate) fn find(properties: &RawProperties<&[u8]>) -> Result<Option<Self>, UnacceptableType> {
        if !properties.has_any_header(&[CC, BCC]) {
            return Ok(None);
        }
        let cc = array(properties, CC)?;
        let bcc = array(properties, BCC)?;
        let stripped = bcc.is_some().then(|| {
            let mut properties = properties.decode();
            if let Some(headers) = &mut properties.headers {
                headers.remove(BCC);
            }
            RawProperties::from(&properties)
        });
        Ok(Some(Self { cc: cc.unwrap_or_default(), bcc: bcc.unwrap_or_default(), stripped }))
    }

    /// All keys that the message is routed by, its own first.
    pub(crate) fn with_own<'a>(&'a self, own: &'a [u8]) -> Vec<&'a [u8]> {
        let mut keys = alloc::vec![own];
        keys.extend(self.cc.iter().chain(&self.bcc).map(LongStr::as_bytes));
        keys
    }
}

/// The keys in one of the two headers of a message that was accepted.
pub(super) fn keys_of(properties: &RawProperties<&[u8]>, header: &'static str) -> Vec<LongStr> {
    array(properties, header).ok().flatten().unwrap_or_default()
}

fn array(properties: &RawProperties<&[u8]>, header: &'static str) -> Result<Option<Vec<LongStr>>, UnacceptableType> {
    match properties.header(header) {
        None => Ok(None),
        Some(FieldValue::Array(values)) => Ok(Some(
            values
                .into_iter()
                .filter_map(|value| match value {
                    FieldValue::LongStr(key) => Some(key),
                    _ => None,
                })
                .collect(),
        )),
        Some(other) => Err(UnacceptableType { header, type_name: other.type_name() }),
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::amqp::{FieldTable, Properties};

    fn properties(headers: FieldTable) -> RawProperties {
        RawProperties::from(&Properties { headers: Some(headers), ..Properties::default() })
    }

    fn keys(keys: &[&str]) -> FieldValue {
        FieldValue::Array(keys.iter().map(|key| FieldValue::text(key)).collect())
    }

    #[test]
    fn messages_without_the_headers_are_left_alone() {
        assert_eq!(SelectedKeys::find(&RawProperties::empty().borrowed()), Ok(None));
        assert_eq!(SelectedKeys::find(&properties(FieldTable::new().with("cc", keys(&["a"]))).borrowed()), Ok(None));
    }

    #[test]
    fn bcc_is_taken_out_and_the_other_headers_stay() {
        let headers = FieldTable::new().with("BCC", keys(&["b"])).with("x", 1_i32).with("CC", keys(&["c", "d"]));
        let found = SelectedKeys::find(&properties(headers).borrowed()).unwrap().unwrap();
        assert_eq!(found.with_own(b"own"), [&b"own"[..], b"c", b"d", b"b"]);
        let rest = FieldTable::new().with("x", 1_i32).with("CC", keys(&["c", "d"]));
        assert_eq!(found.stripped.unwrap().headers(), Some(rest));
    }

    #[test]
    fn only_long_strings_in_the_arrays_count() {
        let mixed = FieldValue::Array(vec![FieldValue::I32(5), FieldValue::text("x"), FieldValue::Void]);
        let found = SelectedKeys::find(&properties(FieldTable::new().with("CC", mixed)).borrowed()).unwrap().unwrap();
        assert_eq!(found.with_own(b""), [&b""[..], b"x"]);
        assert_eq!(found.stripped, None);
    }

    #[test]
    fn any_other_type_is_refused_by_name() {
        for (header, value, type_name) in
            [("CC", FieldValue::text("a"), "longstr"), ("BCC", FieldValue::I32(5), "signedint")]
        {
            let headers = FieldTable::new().with(header, value);
            assert_eq!(
                SelectedKeys::find(&properties(headers).borrowed()),
                Err(UnacceptableType { header, type_name })
            );
        }
    }
}
