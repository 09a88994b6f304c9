//! The network, as far as the server needs it: small enough that a simulated one fits behind it.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections that the operating system holds ready until they are accepted.
const BACKLOG: u32 = 4096;
/// How long a watched connection may be silent before the system asks whether the other end is there, and how long an answer may take;
/// together half of what RabbitMQ's nodes wait (`net_ticktime`).
const WATCH_AFTER: Duration = Duration::from_secs(10);
const WATCH_TIMEOUT: Duration = Duration::from_secs(20);
/// Questions within [`WATCH_TIMEOUT`].
const WATCH_QUESTIONS: u32 = 4;

/// A stream transport. Socket options are the implementation's affair.
pub trait Net: Clone + Send + Sync + 'static {
    /// Accepts connections at one address.
    type Listener: Send + 'static;
    /// One connection.
    type Stream: Send + 'static;
    /// Its receiving half.
    type Read: AsyncRead + Unpin + Send + 'static;
    /// Its sending half.
    type Write: AsyncWrite + Unpin + Send + 'static;

    /// Starts to listen at `address`; port 0 lets the system choose.
    fn bind(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Where `listener` listens, with the port that the system chose.
    ///
    /// # Errors
    /// If the system does not know.
    fn local_addr(&self, listener: &Self::Listener) -> io::Result<SocketAddr>;

    /// Waits for the next connection. Dropping the future loses none.
    fn accept(&self, listener: &mut Self::Listener) -> impl Future<Output = io::Result<Accepted<Self::Stream>>> + Send;

    /// Opens a connection to `address`, a host and a port such as `node1.example.com:25672`.
    fn connect(&self, address: &str) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Has the connection fail if its other end is gone without a word: half a minute after nothing comes back any more.
    ///
    /// # Errors
    /// If the system does not do that.
    fn watch(stream: &Self::Stream) -> io::Result<()>;

    /// Takes a connection apart, so that both directions can wait independently.
    fn split(stream: Self::Stream) -> (Self::Read, Self::Write);
}

/// A connection that the other side has opened.
#[derive(Debug)]
pub struct Accepted<S> {
    /// The connection.
    pub stream: S,
    /// The other side's address. An IPv4 address is one, even if it came in through an IPv6 socket.
    pub peer: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
}

/// The operating system's TCP, through tokio.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNet;

impl Net for TcpNet {
    type Listener = TcpListener;
    type Stream = TcpStream;
    type Read = OwnedReadHalf;
    type Write = OwnedWriteHalf;

    async fn bind(&self, address: SocketAddr) -> io::Result<TcpListener> {
        // All of IPv6 includes all of IPv4, on Linux by default. Where there is no IPv6, all of IPv4 is what is left.
        match listen(address) {
            Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && has_no_ipv6(&error) => {
                listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
            }
            listener => listener,
        }
    }

    fn local_addr(&self, listener: &TcpListener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    async fn accept(&self, listener: &mut TcpListener) -> io::Result<Accepted<TcpStream>> {
        let (stream, peer) = listener.accept().await?;
        // Writes are gathered above, so a small one is the last for the moment and has nothing to wait for.
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        Ok(Accepted { stream, peer: canonical(peer), local: canonical(local) })
    }

    async fn connect(&self, address: &str) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn watch(stream: &TcpStream) -> io::Result<()> {
        sockopt::set_tcp_keepidle(stream, WATCH_AFTER)?;
        sockopt::set_tcp_keepintvl(stream, WATCH_TIMEOUT / WATCH_QUESTIONS)?;
        sockopt::set_tcp_keepcnt(stream, WATCH_QUESTIONS)?;
        sockopt::set_socket_keepalive(stream, true)?;
        // Questions are asked of silent connections only: this one is for bytes that nobody acknowledges.
        sockopt::set_tcp_user_timeout(stream, u32::try_from(WATCH_TIMEOUT.as_millis()).unwrap_or(u32::MAX))?;
        Ok(())
    }

    fn split(stream: TcpStream) -> (OwnedReadHalf, OwnedWriteHalf) {
        stream.into_split()
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted broker must not wait for its predecessor's connections to leave TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn has_no_ipv6(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

/// Writes an IPv4 address that was mapped into IPv6 as what it is: `::ffff:127.0.0.1` is loopback too.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_loopback_is_loopback() {
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:5672".parse().unwrap();
        assert!(!mapped.ip().is_loopback());
        assert!(canonical(mapped).ip().is_loopback());
        assert_eq!(canonical(mapped).port(), 5672);
    }

    #[tokio::test]
    async fn both_ends_of_a_connection_can_be_watched() {
        let mut listener = TcpNet.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = TcpNet.local_addr(&listener).unwrap().to_string();
        let (dialed, accepted) = tokio::join!(TcpNet.connect(&address), TcpNet.accept(&mut listener));
        for stream in [dialed.unwrap(), accepted.unwrap().stream] {
            TcpNet::watch(&stream).unwrap();
            assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), 20_000);
            assert!(sockopt::socket_keepalive(&stream).unwrap());
        }
    }
}
