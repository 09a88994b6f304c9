//! Class `channel` (AMQP 0-9-1 §1.5).

use crate::amqp::{LongStr, ShortStr};

class! { 20;
    /// Opens a channel.
    Open = 10 "channel.open" {
        (ShortStr)
    }
    /// The channel is open.
    OpenOk = 11 "channel.open-ok" {
        (LongStr)
    }
    /// Asks the peer to stop or to resume sending contents.
    Flow = 20 "channel.flow" {
        /// Whether the peer may send.
        active: bool,
    }
    /// The answer to a flow.
    FlowOk = 21 "channel.flow-ok" {
        /// Whether the peer will send.
        active: bool,
    }
    /// Ends the channel.
    Close = 40 "channel.close" {
        /// See [`ReplyCode`](crate::amqp::ReplyCode).
        reply_code: u16,
        /// The reason in words.
        reply_text: ShortStr,
        /// Class of the method that failed, or 0.
        class_id: u16,
        /// The method that failed, or 0.
        method_id: u16,
    }
    /// The other side agrees to the end.
    CloseOk = 41 "channel.close-ok" {}
}
