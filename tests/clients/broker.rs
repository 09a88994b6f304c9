//! The broker that client libraries are tried on.

use std::net::SocketAddr;

use tempfile::TempDir;

use crate::harness::leveret::Leveret;

/// A `leveret` process of the test's own. `LEVERET_CLIENTS_BROKER=127.0.0.1:5672` names another broker, to see what the tests
/// themselves are worth.
#[derive(Debug)]
pub(super) enum Broker {
    Own { process: Leveret, _directory: TempDir },
    Other(SocketAddr),
}

impl Broker {
    pub(super) fn start() -> Self {
        if let Ok(address) = std::env::var("LEVERET_CLIENTS_BROKER") {
            return Self::Other(address.parse().expect("LEVERET_CLIENTS_BROKER is an address"));
        }
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        Self::Own { process: Leveret::start(directory.path()), _directory: directory }
    }

    pub(super) fn uri(&self) -> String {
        let address = match self {
            Self::Own { process, .. } => process.address,
            Self::Other(address) => *address,
        };
        format!("amqp://guest:guest@{address}/%2f")
    }
}
