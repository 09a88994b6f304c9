//! The server's network on turmoil's sockets, with reads and writes cut at random.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use leveret_server::net::{Accepted, Net};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use turmoil::net::{TcpListener, TcpStream};

/// A host's network. The seed decides where streams are cut.
#[derive(Clone, Debug)]
pub(super) struct SimNet {
    seed: u64,
    connections: Arc<AtomicU64>,
}

impl SimNet {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, connections: Arc::default() }
    }

    /// Decides where the next connection is cut.
    fn chance(&self) -> Chance {
        let ordinal = self.connections.fetch_add(1, Ordering::Relaxed);
        Chance::new(self.seed ^ ordinal.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

impl Net for SimNet {
    type Listener = TcpListener;
    type Stream = (TcpStream, Chance);
    type Read = Chunky<OwnedReadHalf>;
    type Write = Chunky<OwnedWriteHalf>;

    async fn bind(&self, address: SocketAddr) -> io::Result<TcpListener> {
        TcpListener::bind(address).await
    }

    fn local_addr(&self, listener: &TcpListener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    async fn accept(&self, listener: &mut TcpListener) -> io::Result<Accepted<Self::Stream>> {
        let (stream, peer) = listener.accept().await?;
        let local = stream.local_addr()?;
        Ok(Accepted { stream: (stream, self.chance()), peer, local })
    }

    async fn connect(&self, address: &str) -> io::Result<Self::Stream> {
        let stream = TcpStream::connect(address).await?;
        Ok((stream, self.chance()))
    }

    fn watch(_stream: &Self::Stream) -> io::Result<()> {
        Ok(())
    }

    fn split((stream, mut chance): Self::Stream) -> (Self::Read, Self::Write) {
        let (read, write) = stream.into_split();
        let other = Chance::new(chance.next());
        (Chunky { stream: read, chance }, Chunky { stream: write, chance: other })
    }
}

/// A stream that moves fewer bytes at a time than it could. turmoil's own never cut a write.
#[derive(Debug)]
pub(super) struct Chunky<S> {
    stream: S,
    chance: Chance,
}

impl<S: AsyncRead + Unpin> AsyncRead for Chunky<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let count = this.chance.chunk(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(count));
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
        let count = part.filled().len();
        buf.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Chunky<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let count = this.chance.chunk(data.len());
        Pin::new(&mut this.stream).poll_write(cx, &data[..count])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A sequence of numbers that follows from its seed (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `start` to `end`, without `end`.
    pub(super) fn between(&mut self, start: u64, end: u64) -> u64 {
        start + self.next() % (end - start)
    }

    /// How many of `available` bytes to move: mostly all, often a part, sometimes one.
    fn chunk(&mut self, available: usize) -> usize {
        let part = match self.next() % 8 {
            0 => 1,
            1..4 => usize::try_from(self.between(1, 200)).unwrap_or(1),
            _ => available,
        };
        part.min(available)
    }
}
