//! The AMQP 0-9-1 wire format with RabbitMQ's extensions.
//!
//! Bytes become frames ([`FrameDecoder`]), frames become commands with content ([`ContentAssembler`]),
//! and the answers are appended to a write buffer ([`encode`]). Nothing here can panic on what a peer
//! sends: every byte string gives a value or an [`AmqpError`], and no allocation is larger than a
//! small multiple of the bytes that have arrived. Strings and bodies are slices of the received
//! buffer; what outlives the buffer for long should be detached from it
//! ([`ShortStr::detached`], [`FieldTable::detached`]).
//!
//! Where the specification and RabbitMQ differ we follow RabbitMQ; its answers quoted here are those
//! of a running RabbitMQ 3.10.8 unless a comment says otherwise.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

pub mod content;
pub mod encode;
mod error;
pub mod field_table;
pub mod frame;
mod long_str;
pub mod method;
pub mod properties;
mod publish;
mod reply_code;
mod routing;
mod short_str;
mod wire;

pub use content::{Command, Content, ContentAssembler, ContentHeader};
pub(crate) use error::ErlangText;
pub use error::{AmqpError, Scope};
pub use field_table::{FieldTable, FieldValue};
pub use frame::{Frame, FrameDecoder, FrameKind, ProtocolHeader, ProtocolHeaderDecoder};
pub use long_str::LongStr;
pub use method::Method;
pub use properties::{Properties, RawProperties};
pub use publish::{PublishHead, WholePublish};
pub use reply_code::ReplyCode;
pub use routing::Routing;
pub use short_str::{ShortStr, ShortStrTooLong};

#[cfg(test)]
mod tests;
