//! All methods: one struct each, one file per class, and the enum of them all.
//!
//! Reserved arguments (tickets, `insist`…) are read past and written as zero, as RabbitMQ does.

use alloc::boxed::Box;
use alloc::format;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::error::ErlangBytes;
use super::wire::{DecodeError, Reader, Writer};
use super::{AmqpError, ReplyCode};

/// The arguments of one method.
pub(super) trait Arguments: Sized {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
    fn write(&self, writer: &mut Writer<'_>);
}

/// Defines the methods of a class.
///
/// Types in brackets before the fields or in parentheses after them are reserved arguments: they are on the wire, read
/// without a look and written as their default.
macro_rules! class {
    ($class_id:literal;
     $($(#[$doc:meta])* $name:ident = $method_id:literal $wire_name:literal $($content:ident)? {
        $([$($before:ty),*])?
        $($(#[$field_doc:meta])* $field:ident: $field_type:ty,)*
        $(($($after:ty),*))?
     })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Default, PartialEq, Eq)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $field_type,)*
            }

            impl $name {
                /// The class on the wire.
                pub const CLASS_ID: u16 = $class_id;
                /// The method within its class on the wire.
                pub const METHOD_ID: u16 = $method_id;
                /// The name as the specification and RabbitMQ write it.
                pub const NAME: &'static str = $wire_name;
                /// Whether a content follows the method.
                pub const HAS_CONTENT: bool = class!(@has_content $($content)?);
            }

            #[cfg(any(test, feature = "arbitrary"))]
            impl<'a> arbitrary::Arbitrary<'a> for $name {
                fn arbitrary(_u: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
                    Ok(Self { $($field: _u.arbitrary()?,)* })
                }
            }

            impl crate::amqp::method::Arguments for $name {
                fn read(
                    _reader: &mut crate::amqp::wire::Reader<'_>,
                ) -> Result<Self, crate::amqp::wire::DecodeError> {
                    $($(<$before as crate::amqp::wire::Field>::read(_reader)?;)*)?
                    $(let $field = <$field_type as crate::amqp::wire::Field>::read(_reader)?;)*
                    $($(<$after as crate::amqp::wire::Field>::read(_reader)?;)*)?
                    Ok(Self { $($field),* })
                }

                fn write(&self, _writer: &mut crate::amqp::wire::Writer<'_>) {
                    $($(crate::amqp::wire::Field::write(&<$before>::default(), _writer);)*)?
                    $(crate::amqp::wire::Field::write(&self.$field, _writer);)*
                    $($(crate::amqp::wire::Field::write(&<$after>::default(), _writer);)*)?
                }
            }
        )*
    };
    (@has_content) => { false };
    (@has_content content) => { true };
}

pub mod access;
pub mod basic;
pub mod channel;
pub mod confirm;
pub mod connection;
pub mod exchange;
pub mod queue;
pub mod tx;

/// Defines the enum of all methods. Of those that are `boxed` a method holds a pointer to the arguments.
macro_rules! methods {
    ($($variant:ident($module:ident::$name:ident) $($boxed:ident)?,)*) => {
        /// A method with its arguments.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each variant is documented at its struct")]
        pub enum Method {
            $($variant(methods!(@held $module::$name $($boxed)?)),)*
        }

        impl Method {
            fn read(class_id: u16, method_id: u16, reader: &mut Reader<'_>) -> Option<Result<Self, DecodeError>> {
                Some(match (class_id, method_id) {
                    $(($module::$name::CLASS_ID, $module::$name::METHOD_ID) => {
                        $module::$name::read(reader).map(Self::from)
                    })*
                    _ => return None,
                })
            }

            fn write(&self, writer: &mut Writer<'_>) {
                match self {
                    $(Self::$variant(arguments) => arguments.write(writer),)*
                }
            }

            /// The class on the wire.
            pub const fn class_id(&self) -> u16 {
                match self {
                    $(Self::$variant(_) => $module::$name::CLASS_ID,)*
                }
            }

            /// The method within its class on the wire.
            pub const fn method_id(&self) -> u16 {
                match self {
                    $(Self::$variant(_) => $module::$name::METHOD_ID,)*
                }
            }

            /// The name as the specification and RabbitMQ write it, such as `queue.declare`.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $module::$name::NAME,)*
                }
            }

            /// Whether a content follows the method.
            pub const fn has_content(&self) -> bool {
                match self {
                    $(Self::$variant(_) => $module::$name::HAS_CONTENT,)*
                }
            }
        }

        $(
            impl From<$module::$name> for Method {
                fn from(arguments: $module::$name) -> Self {
                    Self::$variant(arguments.into())
                }
            }
        )*

        #[cfg(any(test, feature = "arbitrary"))]
        impl<'a> arbitrary::Arbitrary<'a> for Method {
            fn arbitrary(u: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
                type Generator<'a> = fn(&mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Method>;
                let generators: &[Generator<'a>] = &[$(|u| Ok(u.arbitrary::<$module::$name>()?.into()),)*];
                u.choose(generators)?(u)
            }
        }

        /// Class id, method id and name of every method.
        pub const METHODS: &[(u16, u16, &str)] = &[
            $(($module::$name::CLASS_ID, $module::$name::METHOD_ID, $module::$name::NAME),)*
        ];
    };
    (@held $module:ident::$name:ident) => { $module::$name };
    (@held $module:ident::$name:ident boxed) => { Box<$module::$name> };
}

// Boxed is what is large and does not come with every message that the broker takes: commands are moved from hand to hand.

methods! {
    ConnectionStart(connection::Start) boxed,
    ConnectionStartOk(connection::StartOk) boxed,
    ConnectionSecure(connection::Secure),
    ConnectionSecureOk(connection::SecureOk),
    ConnectionTune(connection::Tune),
    ConnectionTuneOk(connection::TuneOk),
    ConnectionOpen(connection::Open),
    ConnectionOpenOk(connection::OpenOk),
    ConnectionClose(connection::Close),
    ConnectionCloseOk(connection::CloseOk),
    ConnectionBlocked(connection::Blocked),
    ConnectionUnblocked(connection::Unblocked),
    ConnectionUpdateSecret(connection::UpdateSecret) boxed,
    ConnectionUpdateSecretOk(connection::UpdateSecretOk),
    ChannelOpen(channel::Open),
    ChannelOpenOk(channel::OpenOk),
    ChannelFlow(channel::Flow),
    ChannelFlowOk(channel::FlowOk),
    ChannelClose(channel::Close),
    ChannelCloseOk(channel::CloseOk),
    AccessRequest(access::Request),
    AccessRequestOk(access::RequestOk),
    ExchangeDeclare(exchange::Declare) boxed,
    ExchangeDeclareOk(exchange::DeclareOk),
    ExchangeDelete(exchange::Delete),
    ExchangeDeleteOk(exchange::DeleteOk),
    ExchangeBind(exchange::Bind) boxed,
    ExchangeBindOk(exchange::BindOk),
    ExchangeUnbind(exchange::Unbind) boxed,
    ExchangeUnbindOk(exchange::UnbindOk),
    QueueDeclare(queue::Declare) boxed,
    QueueDeclareOk(queue::DeclareOk),
    QueueBind(queue::Bind) boxed,
    QueueBindOk(queue::BindOk),
    QueuePurge(queue::Purge),
    QueuePurgeOk(queue::PurgeOk),
    QueueDelete(queue::Delete),
    QueueDeleteOk(queue::DeleteOk),
    QueueUnbind(queue::Unbind) boxed,
    QueueUnbindOk(queue::UnbindOk),
    BasicQos(basic::Qos),
    BasicQosOk(basic::QosOk),
    BasicConsume(basic::Consume) boxed,
    BasicConsumeOk(basic::ConsumeOk),
    BasicCancel(basic::Cancel),
    BasicCancelOk(basic::CancelOk),
    BasicPublish(basic::Publish),
    BasicReturn(basic::Return) boxed,
    BasicDeliver(basic::Deliver) boxed,
    BasicGet(basic::Get),
    BasicGetOk(basic::GetOk),
    BasicGetEmpty(basic::GetEmpty),
    BasicAck(basic::Ack),
    BasicReject(basic::Reject),
    BasicRecoverAsync(basic::RecoverAsync),
    BasicRecover(basic::Recover),
    BasicRecoverOk(basic::RecoverOk),
    BasicNack(basic::Nack),
    ConfirmSelect(confirm::Select),
    ConfirmSelectOk(confirm::SelectOk),
    TxSelect(tx::Select),
    TxSelectOk(tx::SelectOk),
    TxCommit(tx::Commit),
    TxCommitOk(tx::CommitOk),
    TxRollback(tx::Rollback),
    TxRollbackOk(tx::RollbackOk),
}

impl Method {
    /// Reads the payload of a method frame: class id, method id, arguments, and nothing after them.
    ///
    /// # Errors
    /// Errors of the connection. 501 FRAME_ERROR `cannot decode …` for arguments that end early or are
    /// followed by more, and `Malformed UTF-8 in shortstr`, both in RabbitMQ's words. 503
    /// COMMAND_INVALID for an unknown method and 502 SYNTAX_ERROR for a malformed field table, where
    /// RabbitMQ drops the socket without a word: telling the peer what was wrong can break no client.
    pub fn decode(mut payload: Bytes) -> Result<Self, AmqpError> {
        let Some(&[c0, c1, m0, m1]) = payload.first_chunk() else {
            return Err(AmqpError::connection(ReplyCode::FrameError, "method frame without class and method"));
        };
        payload.advance(4);
        let (class_id, method_id) = (u16::from_be_bytes([c0, c1]), u16::from_be_bytes([m0, m1]));
        let taken = match (class_id, method_id) {
            (basic::Publish::CLASS_ID, basic::Publish::METHOD_ID) => {
                basic::Publish::take_from(&mut payload).map(Self::from)
            }
            (basic::Deliver::CLASS_ID, basic::Deliver::METHOD_ID) => {
                basic::Deliver::take_from(&mut payload).map(Self::from)
            }
            _ => None,
        };
        if let Some(method) = taken {
            return Ok(method);
        }
        let mut reader = Reader::new(&payload);
        let Some(read) = Self::read(class_id, method_id, &mut reader) else {
            let text = format!("unknown method {{{class_id},{method_id}}}");
            return Err(AmqpError::connection(ReplyCode::CommandInvalid, text).with_method(class_id, method_id));
        };
        read.and_then(|method| reader.finish().map(|()| method)).map_err(|error| match error {
            // RabbitMQ: "FRAME_ERROR - cannot decode <<0,0,5,97,98>>" with class and method.
            DecodeError::Length => {
                AmqpError::connection(ReplyCode::FrameError, format!("cannot decode {}", ErlangBytes(&payload)))
                    .with_method(class_id, method_id)
            }
            // RabbitMQ blames no method for this one.
            DecodeError::Utf8 => AmqpError::connection(ReplyCode::FrameError, "Malformed UTF-8 in shortstr"),
            DecodeError::Table => {
                AmqpError::connection(ReplyCode::SyntaxError, "malformed field table").with_method(class_id, method_id)
            }
        })
    }

    /// Appends the payload of a method frame.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u16(self.class_id());
        out.put_u16(self.method_id());
        let mut writer = Writer::new(out);
        self.write(&mut writer);
        writer.finish();
    }
}
