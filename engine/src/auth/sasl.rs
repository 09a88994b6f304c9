//! SASL mechanisms: what a client's response says (RFC 4616 for PLAIN; AMQPLAIN is RabbitMQ's, from AMQP 0-8).

use alloc::vec::Vec;
use bytes::Bytes;

use crate::amqp::FieldTable;

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    /// Authorization id, user and password, each before or after a zero byte.
    Plain,
    /// A field table without its length, holding `LOGIN` and `PASSWORD`.
    AmqPlain,
}

/// What a client says who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: Vec<u8>,
    pub(crate) password: Vec<u8>,
}

impl Mechanism {
    /// All mechanisms' names as `connection.start` lists them.
    pub(crate) const NAMES: &'static str = "PLAIN AMQPLAIN";

    /// The mechanism of this name.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"PLAIN" => Some(Self::Plain),
            b"AMQPLAIN" => Some(Self::AmqPlain),
            _ => None,
        }
    }

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::AmqPlain => "AMQPLAIN",
        }
    }

    /// Reads a response; `None` if it is not one of this mechanism.
    pub(crate) fn credentials(self, response: &Bytes) -> Option<Credentials> {
        match self {
            Self::Plain => plain(response),
            Self::AmqPlain => amq_plain(response),
        }
    }
}

fn plain(response: &[u8]) -> Option<Credentials> {
    let mut parts = response.splitn(3, |byte| *byte == 0);
    let _authorization_id = parts.next()?;
    let user = parts.next()?.to_vec();
    let password = parts.next()?.to_vec();
    Some(Credentials { user, password })
}

fn amq_plain(response: &Bytes) -> Option<Credentials> {
    let table = FieldTable::decode_entries(response.clone()).ok()?;
    let text = |name| table.get(name).and_then(|value| value.as_bytes()).map(<[u8]>::to_vec);
    Some(Credentials { user: text("LOGIN")?, password: text("PASSWORD")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_reads_user_and_password_and_lets_the_password_hold_anything() {
        let read = |response: &'static [u8]| Mechanism::Plain.credentials(&Bytes::from_static(response));
        let credentials =
            |user: &[u8], password: &[u8]| Some(Credentials { user: user.to_vec(), password: password.to_vec() });
        assert_eq!(read(b"\0guest\0secret"), credentials(b"guest", b"secret"));
        assert_eq!(read(b"other\0guest\0"), credentials(b"guest", b""));
        assert_eq!(read(b"\0guest\0a\0b"), credentials(b"guest", b"a\0b"));
        assert_eq!(read(b"guest"), None);
        assert_eq!(read(b"\0guest"), None);
    }

    #[test]
    fn amqplain_reads_a_table() {
        let mut response = bytes::BytesMut::new();
        FieldTable::new()
            .with("LOGIN", crate::amqp::FieldValue::text("guest"))
            .with("PASSWORD", crate::amqp::FieldValue::text("secret"))
            .encode_entries(&mut response);
        let credentials = Mechanism::AmqPlain.credentials(&response.freeze()).unwrap();
        assert_eq!((&credentials.user[..], &credentials.password[..]), (&b"guest"[..], &b"secret"[..]));
        assert_eq!(Mechanism::AmqPlain.credentials(&Bytes::from_static(b"nonsense")), None);
    }
}
