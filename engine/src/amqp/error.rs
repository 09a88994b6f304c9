//! A client's mistake, as the close method will tell it.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

use super::method::{channel, connection};
use super::short_str::prefix;
use super::{Method, ReplyCode, ShortStr};

/// What an error closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The channel on which the mistake was made.
    Channel,
    /// The whole connection.
    Connection,
}

/// An error that closes a channel or a connection with a reply code (AMQP 0-9-1 §1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmqpError {
    /// What it closes.
    pub scope: Scope,
    /// The code of the close method.
    pub code: ReplyCode,
    /// The explanation after the code's name; empty when there is none.
    pub text: Cow<'static, str>,
    /// Class of the offending method; 0 when no method is to blame.
    pub class_id: u16,
    /// Id of the offending method; 0 when no method is to blame.
    pub method_id: u16,
}

impl AmqpError {
    /// An error that closes the channel.
    pub fn channel(code: ReplyCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { scope: Scope::Channel, code, text: text.into(), class_id: 0, method_id: 0 }
    }

    /// An error that closes the connection.
    pub fn connection(code: ReplyCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { scope: Scope::Connection, code, text: text.into(), class_id: 0, method_id: 0 }
    }

    /// The same error, blamed on a method.
    #[must_use]
    pub fn with_method(self, class_id: u16, method_id: u16) -> Self {
        Self { class_id, method_id, ..self }
    }

    /// The same error, blamed on this method.
    #[must_use]
    pub fn blamed_on(self, method: &Method) -> Self {
        self.with_method(method.class_id(), method.method_id())
    }

    /// The reply text as RabbitMQ writes it: `NAME - text`, or the name alone if the text is empty.
    ///
    /// RabbitMQ cuts a text of more than 255 bytes to 252 and adds three dots. Its cut may fall
    /// inside a character, ours falls before it.
    pub fn reply_text(&self) -> ShortStr {
        let name = self.code.name();
        if self.text.is_empty() {
            return ShortStr::truncated(name);
        }
        let mut full = String::with_capacity(name.len() + 3 + self.text.len().min(ShortStr::MAX_LEN));
        full.push_str(name);
        full.push_str(" - ");
        full.push_str(&self.text);
        if full.len() > ShortStr::MAX_LEN {
            const DOTS: &str = "...";
            full.truncate(prefix(&full, ShortStr::MAX_LEN - DOTS.len()).len());
            full.push_str(DOTS);
        }
        ShortStr::truncated(&full)
    }

    /// The `connection.close` that tells of this error.
    pub fn to_connection_close(&self) -> connection::Close {
        connection::Close {
            reply_code: self.code.number(),
            reply_text: self.reply_text(),
            class_id: self.class_id,
            method_id: self.method_id,
        }
    }

    /// The `channel.close` that tells of this error.
    pub fn to_channel_close(&self) -> channel::Close {
        channel::Close {
            reply_code: self.code.number(),
            reply_text: self.reply_text(),
            class_id: self.class_id,
            method_id: self.method_id,
        }
    }
}

impl fmt::Display for AmqpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code.number(), self.code)?;
        if !self.text.is_empty() {
            write!(f, " - {}", self.text)?;
        }
        Ok(())
    }
}

impl core::error::Error for AmqpError {}

/// A byte string as Erlang's `~w` prints it: `<<0,50,255>>`.
///
/// Only the first bytes are written: a reply text holds 255 characters, and each byte takes two.
pub(super) struct ErlangBytes<'a>(pub(super) &'a [u8]);

impl fmt::Display for ErlangBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<<")?;
        for (index, byte) in self.0.iter().take(ShortStr::MAX_LEN / 2 + 1).enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{byte}")?;
        }
        f.write_str(">>")
    }
}

/// A byte string as Erlang's `~p` prints it: quoted if it is plain text, as numbers otherwise.
///
/// `~p` also breaks lines after 80 columns; that much faith to the original would help nobody.
pub(crate) struct ErlangText<'a>(pub(crate) &'a [u8]);

impl fmt::Display for ErlangText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |byte: &u8| (0x20..0x7f).contains(byte) && !matches!(byte, b'"' | b'\\');
        match core::str::from_utf8(self.0) {
            Ok(text) if !text.is_empty() && self.0.iter().all(is_plain) => write!(f, "<<\"{text}\">>"),
            _ => ErlangBytes(self.0).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_text_begins_with_the_name_and_is_cut_before_a_character() {
        let error = AmqpError::channel(ReplyCode::NotFound, "no queue 'x' in vhost '/'");
        assert_eq!(error.reply_text(), "NOT_FOUND - no queue 'x' in vhost '/'");
        assert_eq!(AmqpError::connection(ReplyCode::InternalError, "").reply_text(), "INTERNAL_ERROR");

        let long = AmqpError::channel(ReplyCode::NotFound, "é".repeat(200));
        let text = long.reply_text();
        let text = text.as_str().unwrap();
        assert_eq!(text.len(), 255);
        assert!(text.ends_with("é..."), "{text}");
        let odd = AmqpError::channel(ReplyCode::NotFound, alloc::format!("x{}", "é".repeat(200)));
        assert_eq!(odd.reply_text().len(), 254);
    }

    #[test]
    fn a_close_carries_the_blamed_method() {
        let close = AmqpError::channel(ReplyCode::NotFound, "x").with_method(50, 10).to_channel_close();
        assert_eq!((close.reply_code, close.class_id, close.method_id), (404, 50, 10));
    }
}
