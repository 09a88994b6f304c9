//! Accepts connections and looks after their tasks.

use std::io;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use crate::net::{Accepted, Net};
use crate::stream::{self, FromStream};

/// How long to wait before accepting again when the system has no descriptors or memory for a connection.
const RETRY: Duration = Duration::from_millis(100);

/// Accepts until `open` turns false or its sender is gone, then stops listening and waits for the connections to end. `welcome` gives each
/// its number and says what is known of the other side.
pub(crate) async fn run<N: Net, Id, Who>(
    net: N,
    mut listener: N::Listener,
    welcome: impl Fn(&Accepted<N::Stream>) -> (Id, Who),
    node: mpsc::Sender<FromStream<Id, Who>>,
    mut open: watch::Receiver<bool>,
) where
    Id: Copy + Send + 'static,
    Who: Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        // Ended tasks come before new connections, so that a flood of the latter does not pile up the former.
        tokio::select! {
            biased;
            () = closed(&mut open) => break,
            Some(ended) = connections.join_next() => pass_panic_on(ended),
            accepted = net.accept(&mut listener) => match accepted {
                Ok(accepted) => {
                    let (id, who) = welcome(&accepted);
                    let (handle, task) = stream::join(id, node.clone());
                    if node.send(FromStream::Opened { id, who, handle }).await.is_err() {
                        break;
                    }
                    connections.spawn(stream::run::<N, _, _>(accepted.stream, task));
                }
                Err(error) if is_clients_doing(&error) => tracing::debug!(%error, "a client left before it was accepted"),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            },
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        pass_panic_on(ended);
    }
}

async fn closed(open: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which says the same.
    let _ = open.wait_for(|open| !open).await;
}

/// Panics if the task did: a panic anywhere ends the process.
pub(crate) fn pass_panic_on(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

/// Whether accepting failed only for the one connection.
fn is_clients_doing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}
