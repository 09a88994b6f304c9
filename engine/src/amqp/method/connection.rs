//! Class `connection` (AMQP 0-9-1 §1.4): the handshake, the close, and RabbitMQ's extensions.

use crate::amqp::{FieldTable, LongStr, ShortStr};

class! { 10;
    /// The server's opening words.
    Start = 10 "connection.start" {
        /// 0 for AMQP 0-9-1.
        version_major: u8,
        /// 9 for AMQP 0-9-1.
        version_minor: u8,
        /// Product, version, capabilities.
        server_properties: FieldTable,
        /// SASL mechanisms, separated by spaces.
        mechanisms: LongStr,
        /// Locales of reply texts, separated by spaces.
        locales: LongStr,
    }
    /// The client's choice of mechanism, with its first response.
    StartOk = 11 "connection.start-ok" {
        /// Product, version, capabilities, `connection_name`.
        client_properties: FieldTable,
        /// The chosen SASL mechanism.
        mechanism: ShortStr,
        /// What the mechanism says first.
        response: LongStr,
        /// The chosen locale.
        locale: ShortStr,
    }
    /// A further SASL challenge.
    Secure = 20 "connection.secure" {
        /// The challenge.
        challenge: LongStr,
    }
    /// The answer to a SASL challenge.
    SecureOk = 21 "connection.secure-ok" {
        /// The answer.
        response: LongStr,
    }
    /// The limits that the server proposes.
    Tune = 30 "connection.tune" {
        /// The highest channel number; 0 sets no limit.
        channel_max: u16,
        /// The greatest frame in bytes; 0 sets no limit.
        frame_max: u32,
        /// Seconds between heartbeats; 0 asks for none.
        heartbeat: u16,
    }
    /// The limits that the client settles on.
    TuneOk = 31 "connection.tune-ok" {
        /// The highest channel number; 0 sets no limit.
        channel_max: u16,
        /// The greatest frame in bytes; 0 sets no limit.
        frame_max: u32,
        /// Seconds between heartbeats; 0 asks for none.
        heartbeat: u16,
    }
    /// Asks for a virtual host.
    Open = 40 "connection.open" {
        /// The virtual host's name.
        virtual_host: ShortStr,
        (ShortStr, bool)
    }
    /// The connection is ready.
    OpenOk = 41 "connection.open-ok" {
        (ShortStr)
    }
    /// Ends the connection.
    Close = 50 "connection.close" {
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
    CloseOk = 51 "connection.close-ok" {}
    /// The broker reads no more publishes for now (RabbitMQ docs: Blocked Connections).
    Blocked = 60 "connection.blocked" {
        /// Why, such as `low on memory`.
        reason: ShortStr,
    }
    /// The broker reads again (RabbitMQ docs: Blocked Connections).
    Unblocked = 61 "connection.unblocked" {}
    /// Replaces the credentials, such as a token that expires (RabbitMQ extension).
    UpdateSecret = 70 "connection.update-secret" {
        /// The new secret.
        new_secret: LongStr,
        /// Why, for the log.
        reason: ShortStr,
    }
    /// The new secret is accepted (RabbitMQ extension).
    UpdateSecretOk = 71 "connection.update-secret-ok" {}
}
