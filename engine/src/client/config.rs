//! Who the client is and what it wishes for.

use core::time::Duration;

use alloc::string::String;
use alloc::vec::Vec;

use crate::amqp::method::connection;
use crate::amqp::{FieldTable, ShortStr};
use crate::limits;

/// Credentials, virtual host, limits, and what the client says of itself.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: String,
    /// The virtual host.
    pub virtual_host: ShortStr,
    /// The limits wished for; the server may lower them.
    pub limits: Limits,
    /// What the server is told of the client, with its capabilities.
    pub client_properties: FieldTable,
}

/// The limits of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The highest channel number; 0 for no limit.
    pub channel_max: u16,
    /// The greatest frame in bytes; 0 for no limit.
    pub frame_max: u32,
    /// Seconds between heartbeats; 0 for none.
    pub heartbeat_s: u16,
}

impl ClientConfig {
    /// The answer to the server's start, with mechanism PLAIN.
    pub(super) fn start_ok(&self) -> connection::StartOk {
        let mut response = Vec::with_capacity(2 + self.user.len() + self.password.len());
        response.push(0);
        response.extend_from_slice(self.user.as_bytes());
        response.push(0);
        response.extend_from_slice(self.password.as_bytes());
        connection::StartOk {
            client_properties: self.client_properties.clone(),
            mechanism: ShortStr::from_static("PLAIN"),
            response: response.into(),
            locale: ShortStr::from_static("en_US"),
        }
    }
}

impl Default for ClientConfig {
    /// RabbitMQ's default user on the default virtual host, with all capabilities a client can have.
    fn default() -> Self {
        let capabilities = FieldTable::new()
            .with("publisher_confirms", true)
            .with("exchange_exchange_bindings", true)
            .with("basic.nack", true)
            .with("consumer_cancel_notify", true)
            .with("connection.blocked", true)
            .with("authentication_failure_close", true);
        Self {
            user: String::from("guest"),
            password: String::from("guest"),
            virtual_host: ShortStr::from_static("/"),
            limits: Limits::default(),
            client_properties: FieldTable::new().with("product", "Leveret client").with("capabilities", capabilities),
        }
    }
}

impl Limits {
    /// These limits, lowered to what the server proposes. A client that wants no heartbeats gets none.
    pub(super) fn tuned(self, tune: &connection::Tune) -> Self {
        // Of two limits the lower counts, and no limit is the highest of all.
        fn lower<T: Ord + Default>(wish: T, proposal: T) -> T {
            if wish == T::default() || proposal == T::default() { wish.max(proposal) } else { wish.min(proposal) }
        }
        Self {
            channel_max: lower(self.channel_max, tune.channel_max),
            frame_max: lower(self.frame_max, tune.frame_max),
            heartbeat_s: if self.heartbeat_s == 0 { 0 } else { lower(self.heartbeat_s, tune.heartbeat) },
        }
    }

    /// The time between heartbeats; zero for none.
    pub fn heartbeat(self) -> Duration {
        Duration::from_secs(self.heartbeat_s.into())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { channel_max: limits::CHANNEL_MAX, frame_max: limits::FRAME_MAX, heartbeat_s: 60 }
    }
}
