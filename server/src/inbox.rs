//! What connections tell the node, and where that waits.
//!
//! Most of it the node is woken for. That bytes were written is mostly not worth it: a node that has answered a client would run once
//! more to hear that the answer went out, which changes nothing that it would do. It finds that when it runs for something else.

use bytes::Bytes;
use leveret_engine::limits;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::stream::StreamHandle;

/// Written bytes of one connection for which the node is woken: it may have stopped giving it more, of which much less is waiting by now.
const WAKE_BYTES: usize = 64 * 1024;
const _: () = assert!(WAKE_BYTES <= limits::OUTBOX_LOW_BYTES && WAKE_BYTES < limits::LINK_WINDOW_BYTES);

/// What connections tell the node.
#[derive(Debug)]
pub(crate) enum FromStream<Id, Who> {
    /// A connection was accepted. Everything else with its id comes after this.
    Opened {
        /// Its number.
        id: Id,
        /// What is known of the other side.
        who: Who,
        /// The node's end of it.
        handle: StreamHandle,
    },
    /// Bytes arrived. The connection reads on once the permit is dropped.
    Received(Id, Bytes, OwnedSemaphorePermit),
    /// The operating system took this many bytes.
    Written(Id, usize),
    /// The connection is gone. More than one of these may come; the first one counts.
    Closed(Id),
}

/// The node's end.
#[derive(Debug)]
pub(crate) struct Inbox<Id, Who> {
    /// What it is woken for.
    pub(crate) messages: mpsc::Receiver<FromStream<Id, Who>>,
    /// What it is not woken for. This needs no bound of its own: each comes of a write, and those of something that the node sent.
    written: mpsc::UnboundedReceiver<(Id, usize)>,
}

/// A connection's end.
#[derive(Debug)]
pub(crate) struct Outlet<Id, Who> {
    messages: mpsc::Sender<FromStream<Id, Who>>,
    written: mpsc::UnboundedSender<(Id, usize)>,
}

/// Both ends, with room for so many messages.
pub(crate) fn new<Id, Who>(capacity: usize) -> (Outlet<Id, Who>, Inbox<Id, Who>) {
    let (messages_in, messages) = mpsc::channel(capacity);
    let (written_in, written) = mpsc::unbounded_channel();
    (Outlet { messages: messages_in, written: written_in }, Inbox { messages, written })
}

impl<Id, Who> Clone for Outlet<Id, Who> {
    fn clone(&self) -> Self {
        Self { messages: self.messages.clone(), written: self.written.clone() }
    }
}

/// The node has gone.
#[derive(Debug)]
pub(crate) struct NodeGone;

impl<Id, Who> Outlet<Id, Who> {
    /// Tells the node something, as soon as there is room.
    ///
    /// # Errors
    /// If it has gone.
    pub(crate) async fn tell(&self, message: FromStream<Id, Who>) -> Result<(), NodeGone> {
        self.messages.send(message).await.map_err(|_| NodeGone)
    }

    /// How many messages wait for the node.
    pub(crate) fn waiting(&self) -> usize {
        self.messages.max_capacity() - self.messages.capacity()
    }

    /// Tells it that bytes were written. `untold` counts those that it was not woken for.
    pub(crate) async fn tell_written(&self, id: Id, count: usize, is_all: bool, untold: &mut usize) {
        *untold += count;
        if is_all && *untold < WAKE_BYTES {
            // The node may have gone.
            let _ = self.written.send((id, count));
        } else {
            *untold = 0;
            let _ = self.tell(FromStream::Written(id, count)).await;
        }
    }
}

impl<Id, Who> Inbox<Id, Who> {
    /// Bytes that were written without waking the node, if there are any.
    pub(crate) fn try_written(&mut self) -> Option<(Id, usize)> {
        self.written.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_is_woken_for_what_changes_something() {
        let (outlet, mut inbox) = new::<u64, ()>(4);
        let mut untold = 0;
        for _ in 0..2 {
            outlet.tell_written(7, WAKE_BYTES / 2 - 1, true, &mut untold).await;
        }
        assert!(inbox.messages.is_empty());
        outlet.tell_written(7, 2, true, &mut untold).await;
        assert!(matches!(inbox.messages.try_recv(), Ok(FromStream::Written(7, 2))));
        // The rest of it waits for a slow reader, and the node for that.
        outlet.tell_written(7, 1, false, &mut untold).await;
        assert!(matches!(inbox.messages.try_recv(), Ok(FromStream::Written(7, 1))));
        outlet.tell_written(7, 5, true, &mut untold).await;
        assert!(inbox.messages.is_empty());
        let written: Vec<_> = std::iter::from_fn(|| inbox.try_written()).collect();
        assert_eq!(written, [(7, WAKE_BYTES / 2 - 1), (7, WAKE_BYTES / 2 - 1), (7, 5)]);
    }
}
