//! Reply codes: what a close or a return says about its reason.

use core::fmt;

use super::Scope;

macro_rules! reply_codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $name:literal $scope:ident,)*) => {
        /// A reply code of AMQP 0-9-1 §1.2 (constants), named as RabbitMQ names it in reply texts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum ReplyCode {
            $($(#[$doc])* $variant = $number,)*
        }

        impl ReplyCode {
            /// Every code, in ascending groups as the specification lists them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The number on the wire.
            pub const fn number(self) -> u16 {
                match self {
                    $(Self::$variant => $number,)*
                }
            }

            /// The code with this number, if there is one.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The name as it begins RabbitMQ's reply texts, such as `NOT_FOUND`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What an error with this code closes: soft errors the channel, hard ones the connection.
            pub const fn scope(self) -> Scope {
                match self {
                    $(Self::$variant => Scope::$scope,)*
                }
            }
        }
    };
}

reply_codes! {
    /// The close is not an error.
    Success = 200 "SUCCESS" Connection,
    /// The content is larger than the peer can take at the moment.
    ContentTooLarge = 311 "CONTENT_TOO_LARGE" Channel,
    /// A mandatory message reached no queue.
    NoRoute = 312 "NO_ROUTE" Channel,
    /// An immediate message found no consumer; RabbitMQ refuses such publishes.
    NoConsumers = 313 "NO_CONSUMERS" Channel,
    /// An operator closed the connection.
    ConnectionForced = 320 "CONNECTION_FORCED" Connection,
    /// The client asked for an unknown virtual host.
    InvalidPath = 402 "INVALID_PATH" Connection,
    /// The user may not do this.
    AccessRefused = 403 "ACCESS_REFUSED" Channel,
    /// The named object does not exist.
    NotFound = 404 "NOT_FOUND" Channel,
    /// Another connection has exclusive use of the object.
    ResourceLocked = 405 "RESOURCE_LOCKED" Channel,
    /// A condition of the method does not hold.
    PreconditionFailed = 406 "PRECONDITION_FAILED" Channel,
    /// A frame cannot be decoded.
    FrameError = 501 "FRAME_ERROR" Connection,
    /// A field holds an illegal value.
    SyntaxError = 502 "SYNTAX_ERROR" Connection,
    /// A method came that makes no sense here.
    CommandInvalid = 503 "COMMAND_INVALID" Connection,
    /// A method came on a channel that is not open for it.
    ChannelError = 504 "CHANNEL_ERROR" Connection,
    /// A frame came that was not expected in this state.
    UnexpectedFrame = 505 "UNEXPECTED_FRAME" Connection,
    /// The server lacks the resources.
    ResourceError = 506 "RESOURCE_ERROR" Connection,
    /// The entity is used in a way that settings forbid.
    NotAllowed = 530 "NOT_ALLOWED" Connection,
    /// The server does not implement this.
    NotImplemented = 540 "NOT_IMPLEMENTED" Connection,
    /// The server failed.
    InternalError = 541 "INTERNAL_ERROR" Connection,
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_hard_codes_close_the_connection() {
        for &code in ReplyCode::ALL {
            assert_eq!(ReplyCode::from_number(code.number()), Some(code));
        }
        assert_eq!(ReplyCode::from_number(0), None);
        assert_eq!(ReplyCode::NotFound.scope(), Scope::Channel);
        assert_eq!(ReplyCode::NotAllowed.scope(), Scope::Connection);
        assert_eq!(alloc::format!("{}", ReplyCode::NotFound), "NOT_FOUND");
    }
}
