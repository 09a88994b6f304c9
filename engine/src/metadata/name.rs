//! Names: how they are cleaned, chosen and shown.

use alloc::format;
use alloc::string::String;
use core::fmt;

use bytes::Bytes;

use crate::amqp::{AmqpError, ReplyCode, ShortStr};

/// A name without carriage returns and line feeds, which RabbitMQ takes out of the names of exchanges and queues wherever they are
/// declared, deleted, bound or unbound.
#[must_use]
pub fn stripped(name: &ShortStr) -> ShortStr {
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    if !name.as_bytes().iter().any(is_break) {
        return name.clone();
    }
    let kept: Bytes = name.as_bytes().iter().copied().filter(|byte| !is_break(byte)).collect();
    // A part of a short string is short.
    ShortStr::try_from(kept).unwrap_or_default()
}

/// Checks the name that a client gives in `queue.declare`, whether or not such a queue exists.
///
/// # Errors
/// Channel error 403 ACCESS_REFUSED for a name that begins with `amq.`: those are the server's.
pub fn check_queue_name(name: &[u8]) -> Result<(), AmqpError> {
    check_not_reserved("queue", name)
}

/// Checks the name of an exchange that does not exist yet.
pub(super) fn check_exchange_name(name: &[u8]) -> Result<(), AmqpError> {
    check_not_reserved("exchange", name)
}

fn check_not_reserved(kind: &str, name: &[u8]) -> Result<(), AmqpError> {
    if !is_reserved(name) {
        return Ok(());
    }
    let name = String::from_utf8_lossy(name);
    Err(AmqpError::channel(ReplyCode::AccessRefused, format!("{kind} name '{name}' contains reserved prefix 'amq.*'")))
}

pub(super) fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(b"amq.")
}

/// A name that the client leaves to the server, from 16 random bytes: `amq.gen-…` for a queue (RabbitMQ docs: Queues / Server-named
/// Queues), `amq.ctag-…` for a consumer.
#[must_use]
pub fn server_name(prefix: &str, random: [u8; 16]) -> ShortStr {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut name = String::from(prefix);
    // Base64 without padding: 128 bits are 21 digits of 6 bits and one of 2, filled up with zeroes.
    let bits = u128::from_be_bytes(random);
    for digit in 0..22_u32 {
        let shifted = if digit == 21 { bits << 4 } else { bits >> (122 - 6 * digit) };
        let index = (shifted & 63) as usize;
        name.push(char::from(DIGITS[index]));
    }
    ShortStr::truncated(&name)
}

/// A queue or exchange as reply texts name it.
pub(super) struct Named<'a> {
    kind: &'static str,
    name: &'a [u8],
    vhost: &'a [u8],
}

impl<'a> Named<'a> {
    pub(super) fn exchange(name: &'a [u8], vhost: &'a [u8]) -> Self {
        Self { kind: "exchange", name, vhost }
    }

    pub(super) fn queue(name: &'a [u8], vhost: &'a [u8]) -> Self {
        Self { kind: "queue", name, vhost }
    }
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, vhost) = (String::from_utf8_lossy(self.name), String::from_utf8_lossy(self.vhost));
        write!(f, "{} '{name}' in vhost '{vhost}'", self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_are_taken_out() {
        let strip = |name: &'static str| stripped(&ShortStr::from_static(name));
        assert_eq!(strip("a\r\nb\n"), "ab");
        assert_eq!(strip("\r\n"), "");
        assert_eq!(strip("a b\tc"), "a b\tc");
    }

    /// Base64 as RFC 4648 §5 has it, compared with known encodings.
    #[test]
    fn server_names_are_base64_without_padding() {
        assert_eq!(server_name("amq.gen-", [0; 16]), "amq.gen-AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(server_name("amq.gen-", [0xff; 16]), "amq.gen-_____________________w");
        let counting = core::array::from_fn(|index| u8::try_from(index).unwrap());
        assert_eq!(server_name("amq.gen-", counting), "amq.gen-AAECAwQFBgcICQoLDA0ODw");
    }

    #[test]
    fn reserved_names_are_refused() {
        let error = check_queue_name(b"amq.foo").unwrap_err();
        assert_eq!(error.reply_text(), "ACCESS_REFUSED - queue name 'amq.foo' contains reserved prefix 'amq.*'");
        assert!(check_queue_name(b"amqfoo").is_ok());
    }
}
