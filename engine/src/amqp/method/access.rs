//! Class `access`, which 0-9-1 dropped and RabbitMQ still answers.

use crate::amqp::ShortStr;

class! { 30;
    /// Asks for a ticket to a realm.
    Request = 10 "access.request" {
        /// The realm's name; ignored.
        realm: ShortStr,
        /// Ignored.
        exclusive: bool,
        /// Ignored.
        passive: bool,
        /// Ignored.
        active: bool,
        /// Ignored.
        write: bool,
        /// Ignored.
        read: bool,
    }
    /// The ticket, which other methods repeat and nobody reads.
    RequestOk = 11 "access.request-ok" {
        /// RabbitMQ says 1.
        ticket: u16,
    }
}
