//! What a transcript runs against: anything that takes bytes and gives bytes.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::transcript::Side;

/// A broker under test.
pub(crate) trait Broker {
    /// Whose marked lines hold for it.
    fn side(&self) -> Side;

    /// Opens a socket to it.
    fn connect(&self) -> Result<Box<dyn Wire>, String>;

    /// Lets time pass.
    fn sleep(&self, time: Duration);

    /// Stops the node without a word and starts it again with the same disk.
    ///
    /// # Errors
    /// If this broker cannot be restarted by a transcript.
    fn restart(&self) -> Result<(), String> {
        Err("only the engine is restarted".to_owned())
    }

    /// Gives what is under way inside the broker, between its processes or sockets, the time to come out.
    fn settle(&self);

    /// Does what `rabbitmqctl` would do for these words, and gives the rows that it lists.
    ///
    /// # Errors
    /// Why it is refused.
    fn admin(&self, words: &[String]) -> Result<Vec<String>, String>;

    /// Whether it lives on after the transcript, so that what was declared has to be deleted.
    fn is_shared(&self) -> bool;
}

/// One socket.
pub(crate) trait Wire {
    /// Sends bytes. That the broker has closed already is found out by receiving.
    fn send(&mut self, bytes: &[u8]);

    /// Waits for bytes, up to `wait`.
    fn receive(&mut self, wait: Duration) -> Received;
}

/// What came of waiting.
pub(crate) enum Received {
    Bytes(Vec<u8>),
    /// The broker has closed the socket.
    Closed,
    /// Nothing came in time.
    Nothing,
}

/// A broker behind a TCP port.
pub(crate) struct TcpBroker<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) side: Side,
    /// How long what is under way in it may take to come out.
    pub(crate) settle_time: Duration,
    /// Its command line tool.
    pub(crate) admin: &'a Admin<'a>,
}

/// Carries out one command.
pub(crate) type Admin<'a> = dyn Fn(&[String]) -> Result<Vec<String>, String> + Sync + 'a;

/// What our own tool gave: the rows that it lists, or why it is refused.
pub(crate) fn rows(is_done: bool, output: &str, error: &str) -> Result<Vec<String>, String> {
    if is_done { Ok(output.lines().map(str::to_owned).collect()) } else { Err(error.trim_end().to_owned()) }
}

impl<'a> TcpBroker<'a> {
    pub(crate) fn new(address: SocketAddr, side: Side, admin: &'a Admin<'a>) -> Self {
        Self { address, side, settle_time: Duration::from_millis(30), admin }
    }
}

impl Broker for TcpBroker<'_> {
    fn side(&self) -> Side {
        self.side
    }

    fn connect(&self) -> Result<Box<dyn Wire>, String> {
        let socket = TcpStream::connect(self.address).map_err(|error| format!("{}: {error}", self.address))?;
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(Box::new(TcpWire { socket, wait: Duration::ZERO }))
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn settle(&self) {
        std::thread::sleep(self.settle_time);
    }

    fn admin(&self, words: &[String]) -> Result<Vec<String>, String> {
        (self.admin)(words)
    }

    fn is_shared(&self) -> bool {
        true
    }
}

struct TcpWire {
    socket: TcpStream,
    /// The read timeout that the socket has.
    wait: Duration,
}

impl Wire for TcpWire {
    fn send(&mut self, bytes: &[u8]) {
        let _closed_is_seen_by_receive = self.socket.write_all(bytes);
    }

    fn receive(&mut self, wait: Duration) -> Received {
        let wait = wait.max(Duration::from_millis(1));
        if self.wait != wait && self.socket.set_read_timeout(Some(wait)).is_ok() {
            self.wait = wait;
        }
        let mut bytes = vec![0; 64 * 1024];
        match self.socket.read(&mut bytes) {
            Ok(0) => Received::Closed,
            Ok(count) => {
                bytes.truncate(count);
                Received::Bytes(bytes)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Received::Nothing,
            Err(_) => Received::Closed,
        }
    }
}
