//! Accepts connections and looks after their tasks.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::inbox::{FromStream, Outlet};
use crate::net::{Accepted, Net};
use crate::stream;

/// How long to wait before accepting again when the system has no descriptors or memory for a connection.
const RETRY: Duration = Duration::from_millis(100);

/// Whether somebody may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// It is listened.
    Open,
    /// It is not, for now; connections that there are go on.
    Shut,
    /// It never will be again.
    Closed,
}

/// Accepts while the door is open, until it is closed or its sender is gone; then waits for the connections to end. `welcome` gives each
/// its number and says what is known of the other side.
pub(crate) async fn run<N: Net, Id, Who>(
    net: N,
    mut listener: N::Listener,
    welcome: impl Fn(&Accepted<N::Stream>) -> (Id, Who),
    node: Outlet<Id, Who>,
    mut door: watch::Receiver<Door>,
) where
    Id: Copy + Send + 'static,
    Who: Send + 'static,
{
    let mut connections = JoinSet::new();
    let address = net.local_addr(&listener);
    loop {
        let seen = *door.borrow_and_update();
        match seen {
            Door::Open => {}
            Door::Shut => {
                drop(listener);
                match listen_again(&net, address.as_ref(), &mut door, &mut connections).await {
                    Some(again) => listener = again,
                    None => break,
                }
            }
            Door::Closed => {
                drop(listener);
                break;
            }
        }
        // Ended tasks come before new connections, so that a flood of the latter does not pile up the former.
        tokio::select! {
            biased;
            changed = door.changed() => if changed.is_err() {
                // Its sender is gone, which says that it is closed.
                drop(listener);
                break;
            },
            Some(ended) = connections.join_next() => pass_panic_on(ended),
            accepted = net.accept(&mut listener) => match accepted {
                Ok(accepted) => {
                    let (id, who) = welcome(&accepted);
                    let (handle, task) = stream::join(id, node.clone());
                    if node.tell(FromStream::Opened { id, who, handle }).await.is_err() {
                        drop(listener);
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
    while let Some(ended) = connections.join_next().await {
        pass_panic_on(ended);
    }
}

/// Listens where it was listened before, once the door is open again. `None` if it never is.
async fn listen_again<N: Net>(
    net: &N,
    address: Result<&SocketAddr, &io::Error>,
    door: &mut watch::Receiver<Door>,
    connections: &mut JoinSet<()>,
) -> Option<N::Listener> {
    let address = *address.ok()?;
    loop {
        let seen = *door.borrow_and_update();
        if seen == Door::Closed {
            return None;
        }
        let is_open = seen == Door::Open;
        if is_open {
            match net.bind(address).await {
                Ok(listener) => return Some(listener),
                Err(error) => tracing::warn!(%error, %address, "cannot listen again; trying again"),
            }
        }
        tokio::select! {
            biased;
            changed = door.changed() => if changed.is_err() {
                return None;
            },
            () = tokio::time::sleep(RETRY), if is_open => {}
            Some(ended) = connections.join_next() => pass_panic_on(ended),
        }
    }
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
