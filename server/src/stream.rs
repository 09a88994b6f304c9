//! One connection, with a client or with another node: bytes in, bytes out, and exactly one end.
//!
//! ```text
//!   open ──(the other side ends its)─────▶ half closed ──(what was sent went out)──▶ gone
//!     │──(the node drops its handle)─────▶ flushing ──(all went out)──▶ lingering ──▶ gone
//!     └──(a read or a write fails)───────────────────────────────────────────────────▶ gone
//! ```

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::io::{self, IoSlice};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::inbox::{FromStream, Outlet};
use crate::net::Net;

/// How long the other side may take to read what was sent to it before the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for the other side's end of the stream after ours. Closing with unread bytes would reset the connection, and a
/// reset can overtake the last frames on their way.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of the smallest read.
const READ_MIN_BYTES: usize = 4 * 1024;
/// Bytes of the largest read. The more is read at once, the less often is the other side woken to send more, and whoever gets what was
/// read; on a virtual machine that is what costs most. Beyond it, what is read leaves the processor's cache before it is handled.
const READ_MAX_BYTES: usize = 256 * 1024;
/// Bytes of the largest read where the node has others' to do as well: together they are as much then.
const READ_SHARED_BYTES: usize = 64 * 1024;
/// Reads of one connection that may wait for the node. One is handled while the next is made; more would let a fast publisher fill the
/// node's batches with its own messages, and consumers would get theirs late.
const READS_AHEAD: usize = 2;
/// Pieces gathered into one write. More than this seldom fits into a socket's buffer.
const WRITE_PIECES: usize = 64;

/// What joins the node and one of its connections. All that waits on it is one task, so one waker is enough.
#[derive(Debug, Default)]
struct Joint {
    /// What the node has sent and the connection has not taken.
    sends: VecDeque<Bytes>,
    /// Nothing is to be read.
    is_paused: bool,
    /// The node has let go.
    is_released: bool,
    /// The connection is gone, and nobody takes what is sent.
    is_gone: bool,
    /// Something to write is waited for; while the socket takes nothing, it is not.
    awaits_sends: bool,
    waker: Option<Waker>,
}

/// A joint as both ends hold it.
type Shared = Arc<Mutex<Joint>>;

/// Changes a joint. Nobody panics while holding one.
fn locked(joint: &Shared) -> MutexGuard<'_, Joint> {
    joint.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The node's end of a connection. Dropping it means: write out what was sent, then close.
#[derive(Debug)]
pub(crate) struct StreamHandle(Shared);

impl StreamHandle {
    /// Queues bytes after all others. The engine bounds how many are waiting: it counts what was not reported as written.
    pub(crate) fn send(&self, bytes: Bytes) {
        let mut joint = locked(&self.0);
        // If it is gone, the node is about to hear of that.
        if joint.is_gone {
            return;
        }
        joint.sends.push_back(bytes);
        if mem::take(&mut joint.awaits_sends) {
            joint.wake();
        }
    }

    /// Stops or resumes reading.
    pub(crate) fn set_paused(&self, paused: bool) {
        let mut joint = locked(&self.0);
        joint.is_paused = paused;
        joint.wake();
    }
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        let mut joint = locked(&self.0);
        joint.is_released = true;
        joint.wake();
    }
}

impl Joint {
    /// Wakes the connection's task, which then looks at all it waits for.
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn wake_later(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }
}

/// The connection's end of a [`StreamHandle`].
#[derive(Debug)]
struct Sent(Shared);

impl Sent {
    /// Waits until there is something to write and takes all of it into `waiting`, which is empty. False once the node has let go.
    async fn take(&self, waiting: &mut VecDeque<Bytes>) -> bool {
        poll_fn(|cx| {
            let mut joint = locked(&self.0);
            if !joint.sends.is_empty() {
                mem::swap(&mut joint.sends, waiting);
                return Poll::Ready(true);
            }
            if joint.is_released {
                return Poll::Ready(false);
            }
            // An idle connection holds no lists.
            (joint.sends, *waiting) = (VecDeque::new(), VecDeque::new());
            joint.awaits_sends = true;
            joint.wake_later(cx);
            Poll::Pending
        })
        .await
    }

    /// Takes what there is besides.
    fn take_more(&self, waiting: &mut VecDeque<Bytes>) {
        waiting.append(&mut locked(&self.0).sends);
    }

    /// Waits until something may be read; forever if the node lets go before that: there is nobody to read for, and the writer decides
    /// the end.
    async fn resumed(&self) {
        self.until(|joint| !joint.is_paused).await;
    }

    /// Waits until the node has let go.
    async fn released(&self) {
        self.until(|joint| joint.is_released).await;
    }

    async fn until(&self, is_so: impl Fn(&Joint) -> bool) {
        poll_fn(|cx| {
            let mut joint = locked(&self.0);
            if is_so(&joint) {
                return Poll::Ready(());
            }
            joint.wake_later(cx);
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let mut joint = locked(&self.0);
        joint.is_gone = true;
        joint.sends = VecDeque::new();
    }
}

/// A connection that is to be carried.
#[derive(Debug)]
pub(crate) struct StreamTask<Id, Who> {
    id: Id,
    node: Outlet<Id, Who>,
    sent: Sent,
}

/// Both ends of what joins the node and the connection `id`.
pub(crate) fn join<Id, Who>(id: Id, node: Outlet<Id, Who>) -> (StreamHandle, StreamTask<Id, Who>) {
    let joint = Shared::default();
    (StreamHandle(Arc::clone(&joint)), StreamTask { id, node, sent: Sent(joint) })
}

/// Why the two halves stopped.
enum End {
    /// The node dropped its handle, and everything sent has gone out.
    Flushed,
    /// The other side ended its stream in good order.
    HalfClosed,
    /// Reset, or the other side did not read in time.
    Failed,
}

/// Carries bytes until the connection is over. The future ends within [`FLUSH_TIMEOUT`] + [`LINGER_TIMEOUT`] of the handle's drop.
pub(crate) async fn run<N: Net, Id: Copy, Who>(stream: N::Stream, task: StreamTask<Id, Who>) {
    let StreamTask { id, node, sent } = task;
    let (mut read, mut write) = N::split(stream);
    let end = {
        let mut writing = pin!(pump_out(&mut write, &sent, id, &node));
        let overdue = pin!(give_up(&sent));
        let reading = pin!(pump_in(&mut read, &sent, id, &node));
        // Writing comes first: it ends when all that the node has sent is written, and only then can the node send more, so it cannot
        // starve the others.
        let end = tokio::select! {
            biased;
            result = &mut writing => result.map_or(End::Failed, |()| End::Flushed),
            () = overdue => End::Failed,
            result = reading => result.map_or(End::Failed, |()| End::HalfClosed),
        };
        if matches!(end, End::HalfClosed) {
            // 1. The node handles what was read before, then this. 2. It drops its handle. 3. What it answered until then goes out.
            let _ = node.tell(FromStream::Closed(id)).await;
            let _ = timeout(FLUSH_TIMEOUT, writing).await;
        }
        end
    };
    match end {
        End::Flushed => {
            let _ = timeout(LINGER_TIMEOUT, linger(&mut read, &mut write)).await;
        }
        End::HalfClosed => {
            let _ = timeout(LINGER_TIMEOUT, write.shutdown()).await;
        }
        End::Failed => {}
    }
    drop((read, write));
    let _ = node.tell(FromStream::Closed(id)).await;
}

/// Reads until the other side ends its stream (`Ok`) or the connection fails. When the node is slow, the full channel holds the reader
/// back, and the reader the other side.
async fn pump_in<Id: Copy, Who>(
    read: &mut (impl AsyncRead + Unpin),
    sent: &Sent,
    id: Id,
    node: &Outlet<Id, Who>,
) -> io::Result<()> {
    let reads_ahead = Arc::new(Semaphore::new(READS_AHEAD));
    let mut size = READ_MIN_BYTES;
    let mut buffer = BytesMut::new();
    loop {
        sent.resumed().await;
        let permit = Arc::clone(&reads_ahead).acquire_owned().await.expect("the semaphore is never closed");
        let most = if node.waiting() <= READS_AHEAD { READ_MAX_BYTES } else { READ_SHARED_BYTES };
        let space = poll_fn(|cx| poll_read(read, cx, &mut buffer, size.min(most))).await?;
        let count = buffer.len();
        if count == 0 {
            return Ok(());
        }
        // Grows with a busy connection and shrinks again with one that says little.
        if count == space {
            size = (size * 2).min(READ_MAX_BYTES);
        } else if count < size / 8 {
            size = (size / 2).max(READ_MIN_BYTES);
        }
        // The engine may keep any part of it for long, which is not to hold on to more than twice of what was read.
        let bytes = if count < space / 2 {
            let bytes = Bytes::copy_from_slice(&buffer);
            buffer.clear();
            bytes
        } else {
            buffer.split().freeze()
        };
        if node.tell(FromStream::Received(id, bytes, permit)).await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Reads once into the buffer, which is empty, and tells for how much there was room. An idle connection holds no buffer: where nothing is
/// to be read, the buffer is given back.
fn poll_read(
    read: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    buffer: &mut BytesMut,
    size: usize,
) -> Poll<io::Result<usize>> {
    // What is left of a buffer is used up before the next; a buffer that the engine has let go of is used again, if its size is
    // still about right.
    if buffer.capacity() < size / 8 && !(buffer.try_reclaim(size) && buffer.capacity() <= size * 4) {
        *buffer = BytesMut::with_capacity(size);
    }
    let space = buffer.capacity();
    let polled = pin!(read.read_buf(buffer)).poll(cx);
    if polled.is_pending() {
        *buffer = BytesMut::new();
    }
    polled.map_ok(|_| space)
}

/// Writes what the node sends until it has dropped its handle and all is written (`Ok`), or the connection fails.
async fn pump_out<Id: Copy, Who>(
    write: &mut (impl AsyncWrite + Unpin),
    sent: &Sent,
    id: Id,
    node: &Outlet<Id, Who>,
) -> io::Result<()> {
    let mut waiting: VecDeque<Bytes> = VecDeque::new();
    let mut untold = 0;
    loop {
        if !waiting.is_empty() {
            sent.take_more(&mut waiting);
        } else if !sent.take(&mut waiting).await {
            return Ok(());
        }
        let count = write_some(write, &waiting).await?;
        advance(&mut waiting, count);
        if waiting.is_empty() {
            write.flush().await?;
        }
        node.tell_written(id, count, waiting.is_empty(), &mut untold).await;
    }
}

/// Writes as much of `waiting` as the stream takes at once, in one gathered write where it can do that.
async fn write_some(write: &mut (impl AsyncWrite + Unpin), waiting: &VecDeque<Bytes>) -> io::Result<usize> {
    // The list of pieces is made anew each time, so that it is no part of the future of an idle connection.
    let count = poll_fn(|cx| {
        let mut slices = [IoSlice::new(&[]); WRITE_PIECES];
        let mut pieces = 0;
        for (slice, bytes) in slices.iter_mut().zip(waiting) {
            *slice = IoSlice::new(bytes);
            pieces += 1;
        }
        Pin::new(&mut *write).poll_write_vectored(cx, &slices[..pieces])
    })
    .await?;
    let is_stuck = count == 0 && waiting.iter().any(|bytes| !bytes.is_empty());
    if is_stuck { Err(io::ErrorKind::WriteZero.into()) } else { Ok(count) }
}

/// Takes `count` written bytes off the front of `waiting`, and empty pieces with them.
fn advance(waiting: &mut VecDeque<Bytes>, mut count: usize) {
    while let Some(front) = waiting.front_mut() {
        if count < front.len() {
            front.advance(count);
            return;
        }
        count -= front.len();
        waiting.pop_front();
    }
    assert_eq!(count, 0, "a stream says it wrote more than it was given");
}

/// Ends when the node has dropped its handle and the other side's time to read the rest is over.
async fn give_up(sent: &Sent) {
    sent.released().await;
    sleep(FLUSH_TIMEOUT).await;
}

/// Ends our stream, then reads away what the other side still sends, until it ends its own.
async fn linger(read: &mut (impl AsyncRead + Unpin), write: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    write.shutdown().await?;
    let mut sink = BytesMut::with_capacity(READ_MIN_BYTES);
    while read.read_buf(&mut sink).await? > 0 {
        sink.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::{self, Inbox};
    use crate::net::Accepted;
    use std::net::SocketAddr;
    use tokio::io::{DuplexStream, ReadHalf, WriteHalf, duplex, split};
    use tokio::task::JoinHandle;

    /// Connections within the process; nobody listens.
    #[derive(Clone)]
    struct PipeNet;

    impl Net for PipeNet {
        type Listener = ();
        type Stream = DuplexStream;
        type Read = ReadHalf<DuplexStream>;
        type Write = WriteHalf<DuplexStream>;

        async fn bind(&self, _address: SocketAddr) -> io::Result<()> {
            Ok(())
        }

        fn local_addr(&self, _listener: &()) -> io::Result<SocketAddr> {
            Err(io::ErrorKind::Unsupported.into())
        }

        async fn accept(&self, _listener: &mut ()) -> io::Result<Accepted<DuplexStream>> {
            std::future::pending().await
        }

        async fn connect(&self, _address: &str) -> io::Result<DuplexStream> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn watch(_stream: &DuplexStream) -> io::Result<()> {
            Ok(())
        }

        fn split(stream: DuplexStream) -> (Self::Read, Self::Write) {
            split(stream)
        }
    }

    struct Fixture {
        handle: StreamHandle,
        inbox: Inbox<u64, ()>,
        client: DuplexStream,
        task: JoinHandle<()>,
    }

    fn connect(buffer: usize) -> Fixture {
        let (node, inbox) = inbox::new(16);
        let (handle, task) = join(1, node);
        let (client, stream) = duplex(buffer);
        Fixture { handle, inbox, client, task: tokio::spawn(run::<PipeNet, _, _>(stream, task)) }
    }

    /// What the node heard until the connection's task ended: bytes received, bytes written, ends.
    async fn rest(mut inbox: Inbox<u64, ()>) -> (usize, usize, usize) {
        let (mut received, mut written, mut closed) = (0, 0, 0);
        while let Some(message) = inbox.messages.recv().await {
            match message {
                FromStream::Opened { .. } => panic!("opened twice"),
                FromStream::Received(_, bytes, _) => received += bytes.len(),
                FromStream::Written(_, bytes) => written += bytes,
                FromStream::Closed(_) => closed += 1,
            }
        }
        while let Some((_, bytes)) = inbox.try_written() {
            written += bytes;
        }
        (received, written, closed)
    }

    #[tokio::test(start_paused = true)]
    async fn closing_writes_out_what_was_sent_and_waits_for_the_client() {
        let Fixture { handle, inbox, mut client, task } = connect(10);
        let heard = tokio::spawn(rest(inbox));
        for _ in 0..100 {
            handle.send(Bytes::from_static(b"whole frames"));
        }
        drop(handle);
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"whole frames".repeat(100));
        assert!(!task.is_finished());
        drop(client);
        task.await.unwrap();
        assert_eq!(heard.await.unwrap(), (0, 1200, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn closing_gives_up_on_a_client_that_does_not_read() {
        let Fixture { handle, inbox, client, task } = connect(10);
        handle.send(Bytes::from_static(b"more than ten bytes"));
        drop(handle);
        let start = tokio::time::Instant::now();
        task.await.unwrap();
        assert_eq!(start.elapsed(), FLUSH_TIMEOUT);
        assert_eq!(rest(inbox).await, (0, 10, 1));
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_ends_its_stream_still_gets_its_answers() {
        let Fixture { handle, mut inbox, mut client, task } = connect(1000);
        client.write_all(b"request").await.unwrap();
        client.shutdown().await.unwrap();
        let received = inbox.messages.recv().await.unwrap();
        assert!(matches!(received, FromStream::Received(_, bytes, _) if bytes == "request"));
        assert!(matches!(inbox.messages.recv().await.unwrap(), FromStream::Closed(_)));
        handle.send(Bytes::from_static(b"answer"));
        drop(handle);
        let mut read = String::new();
        client.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "answer");
        task.await.unwrap();
    }

    #[tokio::test]
    async fn an_idle_connection_holds_no_buffer() {
        let (mut client, mut stream) = duplex(10);
        let mut buffer = BytesMut::new();
        let mut once = async || {
            let polled = poll_fn(|cx| Poll::Ready(poll_read(&mut stream, cx, &mut buffer, READ_MIN_BYTES))).await;
            (polled.map(Result::unwrap), buffer.capacity(), buffer.split())
        };
        assert_eq!(once().await, (Poll::Pending, 0, BytesMut::new()));
        client.write_all(b"bytes").await.unwrap();
        let (space, _, read) = once().await;
        assert_eq!((space, &read[..]), (Poll::Ready(READ_MIN_BYTES), &b"bytes"[..]));
        assert_eq!(once().await.1, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_connection_is_not_read() {
        let Fixture { handle, mut inbox, mut client, task } = connect(100_000);
        sleep(Duration::from_secs(1)).await;
        handle.set_paused(true);
        // The read that was waiting before the pause still brings something; nothing after it does.
        client.write_all(b"first").await.unwrap();
        assert!(matches!(inbox.messages.recv().await.unwrap(), FromStream::Received(_, bytes, _) if bytes == "first"));
        client.write_all(b"second").await.unwrap();
        sleep(Duration::from_secs(60)).await;
        assert!(inbox.messages.try_recv().is_err());
        handle.set_paused(false);
        assert!(matches!(inbox.messages.recv().await.unwrap(), FromStream::Received(_, bytes, _) if bytes == "second"));
        drop((handle, client));
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_node_holds_the_client_back() {
        let Fixture { handle, inbox, mut client, task } = connect(1000);
        // Sixteen messages of 1,000 bytes fit the inbox, one is in the task's hands, one in the pipe.
        let flood = timeout(Duration::from_secs(60), client.write_all(&[0; 100_000])).await;
        assert!(flood.is_err());
        drop((handle, client));
        let heard = rest(inbox).await;
        assert!(heard.0 < 20_000, "{heard:?}");
        assert_eq!(heard.2, 1);
        task.await.unwrap();
    }

    #[test]
    fn advance_cuts_within_and_across_pieces() {
        let mut waiting = VecDeque::from([Bytes::from_static(b"abc"), Bytes::new(), Bytes::from_static(b"defg")]);
        advance(&mut waiting, 1);
        assert_eq!(waiting[0], "bc");
        advance(&mut waiting, 4);
        assert_eq!(waiting, [Bytes::from_static(b"fg")]);
        advance(&mut waiting, 2);
        assert!(waiting.is_empty());
    }
}
