//! Connections with other nodes: listened for, dialed, and carried as clients' are. Whom to dial and what to say is the engine's affair.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use leveret_engine::effect::{PeerControl, PeerSend};
use leveret_engine::ids::LinkId;
use leveret_engine::input::Input;
use rustc_hash::FxHashMap;
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use crate::inbox::{self, FromStream, Inbox, Outlet};
use crate::listener::{self, Door, pass_panic_on};
use crate::net::{Accepted, Net};
use crate::stream::{self, StreamHandle};
use crate::tls::{PeerNet, PeerStream, PeerTls};

/// The port on which nodes are expected: that of RabbitMQ's nodes.
pub const PORT: u16 = 25672;
/// Messages from links that wait for the node. Each holds at most one read, so this bounds the bytes as well: 16 MiB.
const INBOX: usize = 256;

/// Where the nodes of a cluster are.
#[derive(Clone, Debug)]
pub struct PeerAddresses {
    /// Where this node listens for the others.
    pub listen: SocketAddr,
    /// Nodes that are not where their names say, each with its host and port.
    pub nodes: BTreeMap<String, String>,
    /// With what links are encrypted; `None`: they are not.
    pub tls: Option<PeerTls>,
}

impl PeerAddresses {
    /// Where the node of this name is, as `HOST:PORT`. `None` if nothing says so.
    pub fn of(&self, name: &str) -> Option<String> {
        let by_name = || {
            let (_, host) = name.split_once('@')?;
            // An IPv6 address stands in brackets before a port.
            let is_bare = host.contains(':') && !host.starts_with('[');
            Some(if is_bare { format!("[{host}]:{PORT}") } else { format!("{host}:{PORT}") })
        };
        self.nodes.get(name).cloned().or_else(by_name)
    }
}

/// What links tell the node.
type FromPeer = FromStream<LinkId, ()>;
/// The node that was dialed, and what came of it.
type Dialed<N> = (String, io::Result<PeerStream<N>>);

/// The connections with other nodes.
pub(crate) struct Peers<N: Net> {
    net: PeerNet<N>,
    /// `None` if the node is to have nothing to do with others.
    addresses: Option<PeerAddresses>,
    ids: Arc<AtomicU64>,
    /// Connections that the engine knows; `None` for those it has ordered to be closed.
    links: FxHashMap<LinkId, Option<StreamHandle>>,
    /// Attempts to reach a node, each with the number of the node's last.
    dialing: BTreeMap<String, AbortHandle>,
    dials: JoinSet<Dialed<N>>,
    /// Why nodes could not be reached when that was last said.
    complaints: BTreeMap<String, String>,
    /// What accepts connections, and what serves those that were dialed.
    tasks: JoinSet<()>,
    door: watch::Sender<Door>,
    inbox_in: Outlet<LinkId, ()>,
    inbox: Inbox<LinkId, ()>,
}

impl<N: Net> Peers<N> {
    pub(crate) fn new(net: N, addresses: Option<PeerAddresses>) -> Self {
        let (inbox_in, inbox) = inbox::new(INBOX);
        let tls = addresses.as_ref().and_then(|addresses| addresses.tls.clone());
        Self {
            net: PeerNet::new(net, tls),
            addresses,
            ids: Arc::new(AtomicU64::new(1)),
            links: FxHashMap::default(),
            dialing: BTreeMap::new(),
            dials: JoinSet::new(),
            complaints: BTreeMap::new(),
            tasks: JoinSet::new(),
            door: watch::Sender::new(Door::Open),
            inbox_in,
            inbox,
        }
    }

    /// Lets other nodes in.
    ///
    /// # Errors
    /// The address that is not to be had, and why.
    pub(crate) async fn listen(&mut self) -> Result<(), (SocketAddr, io::Error)> {
        let Some(address) = self.addresses.as_ref().map(|addresses| addresses.listen) else { return Ok(()) };
        let failed = |error| (address, error);
        let listener = self.net.bind(address).await.map_err(failed)?;
        let bound = self.net.local_addr(&listener).map_err(failed)?;
        let is_encrypted = self.addresses.as_ref().is_some_and(|addresses| addresses.tls.is_some());
        tracing::info!(address = %bound, tls = is_encrypted, "listening for other nodes");
        let ids = Arc::clone(&self.ids);
        let welcome = move |accepted: &Accepted<PeerStream<N>>| {
            watch_over::<N>(&accepted.stream);
            (LinkId(ids.fetch_add(1, Ordering::Relaxed)), ())
        };
        let task = listener::run(self.net.clone(), listener, welcome, self.inbox_in.clone(), self.door.subscribe());
        self.tasks.spawn(task);
        Ok(())
    }

    /// Waits for what the engine has to be told next. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Input {
        loop {
            let input = tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next() => {
                    pass_panic_on(ended);
                    None
                }
                Some(ended) = self.dials.join_next_with_id() => self.on_dialed(ended),
                Some(message) = self.inbox.messages.recv() => self.on_message(message),
            };
            if let Some(input) = input {
                return input;
            }
        }
    }

    /// What the engine has to be told next, if that has come already.
    pub(crate) fn try_next(&mut self) -> Option<Input> {
        while let Ok(message) = self.inbox.messages.try_recv() {
            if let Some(input) = self.on_message(message) {
                return Some(input);
            }
        }
        None
    }

    /// What was written without waking the node.
    pub(crate) fn try_written(&mut self) -> Option<Input> {
        loop {
            let (link, bytes) = self.inbox.try_written()?;
            if self.links.contains_key(&link) {
                return Some(Input::PeerWritten { link, bytes });
            }
        }
    }

    /// Whether there is more to tell the engine.
    pub(crate) fn has_more(&self) -> bool {
        !self.inbox.messages.is_empty()
    }

    /// Nothing follows a connection's end, and nothing is received from one that is being closed.
    fn on_message(&mut self, message: FromPeer) -> Option<Input> {
        match message {
            FromStream::Opened { id, who: (), handle } => {
                self.links.insert(id, Some(handle));
                Some(Input::PeerOpened { link: id, dialed: None })
            }
            FromStream::Received(link, bytes, _permit) => {
                let is_open = self.links.get(&link).is_some_and(Option::is_some);
                is_open.then_some(Input::PeerReceived { link, bytes })
            }
            FromStream::Written(link, bytes) => {
                self.links.contains_key(&link).then_some(Input::PeerWritten { link, bytes })
            }
            FromStream::Closed(link) => self.links.remove(&link).map(|_| Input::PeerClosed { link }),
        }
    }

    fn on_dialed(&mut self, ended: Result<(Id, Dialed<N>), JoinError>) -> Option<Input> {
        let (task, (name, result)) = match ended {
            Ok(ended) => ended,
            // It was abandoned.
            Err(error) => {
                pass_panic_on(Err(error));
                return None;
            }
        };
        // One that was abandoned may have come through all the same; its connection is dropped here.
        if self.dialing.get(&name).is_none_or(|last| last.id() != task) {
            return None;
        }
        self.dialing.remove(&name);
        match result {
            Ok(stream) => {
                watch_over::<N>(&stream);
                self.complaints.remove(&name);
                let link = LinkId(self.ids.fetch_add(1, Ordering::Relaxed));
                let (handle, task) = stream::join(link, self.inbox_in.clone());
                self.tasks.spawn(stream::run::<PeerNet<N>, _, _>(stream, task));
                self.links.insert(link, Some(handle));
                Some(Input::PeerOpened { link, dialed: Some(name) })
            }
            Err(error) => {
                self.complain(&name, &error);
                Some(Input::PeerUnreachable { name })
            }
        }
    }

    /// Says why a node cannot be reached, once for each reason.
    fn complain(&mut self, name: &str, error: &io::Error) {
        let text = error.to_string();
        let address = self.addresses.as_ref().and_then(|addresses| addresses.of(name)).unwrap_or_default();
        if self.complaints.get(name) == Some(&text) {
            tracing::debug!(name, address, %error, "cannot reach a node; trying again");
        } else {
            tracing::warn!(name, address, %error, "cannot reach a node; trying again");
            self.complaints.insert(name.to_owned(), text);
        }
    }

    /// Carries out what the engine asks for.
    pub(crate) fn carry_out(&mut self, sends: &mut Vec<PeerSend>, controls: &mut Vec<PeerControl>) {
        for PeerSend { link, bytes } in sends.drain(..) {
            self.send(link, bytes);
        }
        for control in controls.drain(..) {
            match control {
                PeerControl::Dial(name) => self.dial(name),
                PeerControl::Abandon(name) => {
                    if let Some(attempt) = self.dialing.remove(&name) {
                        attempt.abort();
                    }
                }
                PeerControl::Close(link) => {
                    if let Some(handle) = self.links.get_mut(&link) {
                        drop(handle.take());
                    }
                }
            }
        }
    }

    fn send(&self, link: LinkId, bytes: Bytes) {
        if let Some(Some(handle)) = self.links.get(&link) {
            handle.send(bytes);
        }
    }

    fn dial(&mut self, name: String) {
        let address = self.addresses.as_ref().and_then(|addresses| addresses.of(&name));
        let (net, called) = (self.net.clone(), name.clone());
        let attempt = self.dials.spawn(async move {
            let unknown = || {
                let text =
                    "its address is unknown: a name should be such as rabbit@host, or cluster.addresses should say";
                io::Error::new(io::ErrorKind::NotFound, text)
            };
            let result = match address {
                Some(address) => net.connect(&address).await,
                None => Err(unknown()),
            };
            (called, result)
        });
        if let Some(older) = self.dialing.insert(name, attempt) {
            older.abort();
        }
    }

    /// Lets no more nodes in and dials none. Links that there are go on.
    pub(crate) fn close(&mut self) {
        self.door.send_replace(Door::Closed);
        self.dialing.clear();
        self.dials.abort_all();
    }

    /// Ends all links: what was sent still goes out, or not, if there is no time for that.
    pub(crate) async fn end(mut self, is_orderly: bool) {
        self.close();
        // Links neither wait for the node nor it for them: they flush, and end.
        let Self { links, inbox_in, inbox, mut tasks, .. } = self;
        drop((links, inbox_in, inbox));
        if !is_orderly {
            tasks.abort_all();
        }
        while let Some(ended) = tasks.join_next().await {
            pass_panic_on(ended);
        }
    }
}

/// A link over which nothing comes back is one that is gone.
fn watch_over<N: Net>(stream: &PeerStream<N>) {
    if let Err(error) = PeerNet::watch(stream) {
        tracing::debug!(%error, "a link is not watched: that its other end is gone shows late");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::TcpNet;
    use std::net::Ipv4Addr;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::time::timeout;

    fn addresses(nodes: &[(&str, String)]) -> PeerAddresses {
        let nodes = nodes.iter().map(|(name, address)| ((*name).to_owned(), address.clone())).collect();
        PeerAddresses { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), nodes, tls: None }
    }

    fn order(peers: &mut Peers<TcpNet>, control: PeerControl) {
        peers.carry_out(&mut Vec::new(), &mut vec![control]);
    }

    fn send(peers: &mut Peers<TcpNet>, link: LinkId, bytes: &'static [u8]) {
        peers.carry_out(&mut vec![PeerSend { link, bytes: Bytes::from_static(bytes) }], &mut Vec::new());
    }

    async fn next(peers: &mut Peers<TcpNet>) -> Input {
        timeout(Duration::from_secs(30), peers.next()).await.unwrap()
    }

    /// A node, and what it listens at, with the one link that it has dialed.
    async fn dialed() -> (Peers<TcpNet>, TcpStream, LinkId) {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nodes = addresses(&[("b@x", other.local_addr().unwrap().to_string())]);
        let mut peers = Peers::new(TcpNet, Some(nodes));
        order(&mut peers, PeerControl::Dial("b@x".to_owned()));
        let Input::PeerOpened { link, dialed } = next(&mut peers).await else { panic!("it is not open") };
        assert_eq!(dialed.as_deref(), Some("b@x"));
        (peers, other.accept().await.unwrap().0, link)
    }

    #[test]
    fn a_node_is_where_its_name_says_unless_something_else_does() {
        let known = addresses(&[("a@x", "10.0.0.1:7".to_owned())]);
        assert_eq!(known.of("a@x").as_deref(), Some("10.0.0.1:7"));
        assert_eq!(known.of("b@x").as_deref(), Some("x:25672"));
        assert_eq!(known.of("b@::1").as_deref(), Some("[::1]:25672"));
        assert_eq!(known.of("b"), None);
    }

    #[tokio::test]
    async fn bytes_go_both_ways_until_the_other_side_ends() {
        let (mut peers, mut other, link) = dialed().await;
        send(&mut peers, link, b"there");
        let mut heard = [0; 5];
        other.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"there");
        assert!(matches!(peers.try_written(), Some(Input::PeerWritten { bytes: 5, .. })));
        other.write_all(b"back").await.unwrap();
        let Input::PeerReceived { bytes, .. } = next(&mut peers).await else { panic!("nothing came") };
        assert_eq!(bytes, "back");
        drop(other);
        let Input::PeerClosed { link: closed } = next(&mut peers).await else { panic!("it is still open") };
        assert_eq!(closed, link);
        peers.end(true).await;
    }

    #[tokio::test]
    async fn a_link_that_is_closed_still_sends_and_is_heard_no_more() {
        let (mut peers, mut other, link) = dialed().await;
        send(&mut peers, link, b"last words");
        order(&mut peers, PeerControl::Close(link));
        other.write_all(b"unheard").await.unwrap();
        let mut heard = String::new();
        other.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "last words");
        drop(other);
        loop {
            match next(&mut peers).await {
                Input::PeerWritten { .. } => {}
                Input::PeerClosed { .. } => break,
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn what_cannot_be_reached_is_told_and_what_is_abandoned_is_not() {
        let mut peers = Peers::new(TcpNet, Some(addresses(&[("gone@x", "127.0.0.1:1".to_owned())])));
        for name in ["gone@x", "nameless"] {
            order(&mut peers, PeerControl::Dial(name.to_owned()));
            let Input::PeerUnreachable { name: told } = next(&mut peers).await else { panic!("it is reached") };
            assert_eq!(told, name);
        }
        order(&mut peers, PeerControl::Dial("gone@x".to_owned()));
        order(&mut peers, PeerControl::Abandon("gone@x".to_owned()));
        assert!(timeout(Duration::from_millis(100), peers.next()).await.is_err());
    }

    #[tokio::test]
    async fn who_comes_is_let_in_until_the_end() {
        let mut peers = Peers::new(TcpNet, Some(addresses(&[])));
        // A port that is not listened on yet, and that nobody else is given.
        let port = TcpSocket::new_v4().unwrap();
        port.set_reuseaddr(true).unwrap();
        port.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let listen = port.local_addr().unwrap();
        peers.addresses = Some(PeerAddresses { listen, nodes: BTreeMap::new(), tls: None });
        peers.listen().await.unwrap();
        let mut other = TcpStream::connect(listen).await.unwrap();
        let Input::PeerOpened { dialed: None, .. } = next(&mut peers).await else { panic!("it is not open") };
        assert_eq!(peers.listen().await.unwrap_err().1.kind(), io::ErrorKind::AddrInUse);
        let ended = tokio::spawn(peers.end(true));
        assert_eq!(other.read(&mut [0]).await.unwrap(), 0);
        drop(other);
        ended.await.unwrap();
        assert!(TcpStream::connect(listen).await.is_err());
    }
}
