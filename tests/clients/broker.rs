//! The broker that client libraries are tried on.

use std::net::SocketAddr;

use tempfile::TempDir;

use crate::harness::leveret::Leveret;

/// A `leveret` process of the test's own. `LEVERET_CLIENTS_BROKER=127.0.0.1:5672` names another broker, to see what the tests
/// themselves are worth.
#[derive(Debug)]
pub(super) enum Broker {
    Own { process: Option<Leveret>, address: SocketAddr, directory: TempDir },
    Other(SocketAddr),
}

impl Broker {
    pub(super) fn start() -> Self {
        if let Ok(address) = std::env::var("LEVERET_CLIENTS_BROKER") {
            return Self::Other(address.parse().expect("LEVERET_CLIENTS_BROKER is an address"));
        }
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let process = Leveret::start(directory.path());
        Self::Own { address: process.address, process: Some(process), directory }
    }

    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Own { address, .. } | Self::Other(address) => *address,
        }
    }

    pub(super) fn uri(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.address())
    }

    /// Kills the broker (SIGKILL) and starts it again with the same data, where clients look for it.
    pub(super) fn restart(&mut self) {
        match self {
            Self::Own { process, address, directory } => {
                process.take().expect("it runs").kill();
                *process = Some(Leveret::start_at(directory.path(), *address));
            }
            Self::Other(_) => panic!("only a broker of the test's own can be restarted"),
        }
    }
}
