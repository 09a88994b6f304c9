//! Why an administrator's request is refused.

use alloc::string::String;
use core::fmt;

use crate::amqp::{AmqpError, ReplyCode};

/// A refusal: what kind it is, for a program, and why, for a person. The texts are RabbitMQ's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminError {
    /// What kind of refusal it is.
    pub kind: AdminErrorKind,
    /// Why, in words.
    pub text: String,
}

/// The kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminErrorKind {
    /// What the request is about does not exist.
    NotFound,
    /// The request makes no sense, whatever exists.
    BadRequest,
    /// It does not agree with what exists.
    Conflict,
    /// It is not allowed.
    Refused,
}

impl AdminError {
    /// A refusal of this kind.
    pub fn new(kind: AdminErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// What the request is about does not exist.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self { kind: AdminErrorKind::NotFound, text: text.into() }
    }

    /// The request makes no sense.
    pub fn bad_request(text: impl Into<String>) -> Self {
        Self { kind: AdminErrorKind::BadRequest, text: text.into() }
    }

    /// It does not agree with what exists.
    pub fn conflict(text: impl Into<String>) -> Self {
        Self { kind: AdminErrorKind::Conflict, text: text.into() }
    }

    /// It is not allowed.
    pub fn refused(text: impl Into<String>) -> Self {
        Self { kind: AdminErrorKind::Refused, text: text.into() }
    }
}

impl From<AmqpError> for AdminError {
    /// What a client would have been told.
    fn from(error: AmqpError) -> Self {
        let kind = match error.code {
            ReplyCode::NotFound => AdminErrorKind::NotFound,
            ReplyCode::PreconditionFailed => AdminErrorKind::Conflict,
            _ => AdminErrorKind::Refused,
        };
        Self::new(kind, error.reply_text().to_string_lossy())
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl core::error::Error for AdminError {}
