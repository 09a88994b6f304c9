//! The node's loop: inputs to the engine, effects to the world.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leveret_engine::config::Config;
use leveret_engine::effect::{ClientControl, ClientSend, Effects, Stop};
use leveret_engine::engine::Engine;
use leveret_engine::ids::{AdminId, ConnectionId};
use leveret_engine::input::Input;
use leveret_engine::management::{AdminAnswer, AdminError, AdminReply, DefinitionsRequest};
use leveret_engine::time::Instant;
use rustc_hash::FxHashMap;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Sleep, sleep};

use crate::admin::{AdminCall, AdminCalls};
use crate::clock::Clock;
use crate::disk::{Disk, DiskAnswer, DiskAnswers};
use crate::gauge::Gauge;
use crate::inbox::{self, FromStream, Inbox, Outlet};
use crate::listener::{self, Door, pass_panic_on};
use crate::logging;
use crate::net::{Accepted, Net};
use crate::peers::{PeerAddresses, Peers};
use crate::stream::StreamHandle;

/// Messages from connections that wait for the node. Each holds at most one read, so this bounds the bytes as well: little over 32 MiB.
const INBOX: usize = 512;
/// Inputs handled before their effects are carried out: what one write per socket and one append to the log is made of.
const BATCH_INPUTS: usize = 256;
/// Bytes received in one batch, for the sake of the others' latency.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// The longest wait for the engine's timer; being woken early does no harm.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// The world that a node lives in.
pub struct Env<N, D, C> {
    /// Its network.
    pub net: N,
    /// Its disk.
    pub disk: D,
    /// Where the disk answers.
    pub answers: DiskAnswers,
    /// Its clocks.
    pub clock: C,
    /// Where other nodes find it, and it them. `None` if it is to have nothing to do with others.
    pub peers: Option<PeerAddresses>,
    /// What is left of its memory and disk.
    pub gauge: Gauge,
    /// Its operators.
    pub admin: AdminCalls,
    /// Definitions to import before clients are let in, as JSON.
    pub definitions: Option<String>,
    /// Chance, for names that nobody may guess and hash maps that nobody may flood.
    pub entropy: [u8; 32],
}

impl<N, D, C> fmt::Debug for Env<N, D, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").finish_non_exhaustive()
    }
}

/// Why a node could not start or go on.
#[derive(Debug)]
pub enum ServeError {
    /// An address could not be listened on.
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The same of the address that is for other nodes.
    ListenForPeers {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The definitions to import at the start make no sense, or not here.
    Definitions(String),
    /// The disk does not hold what was written to it, and the engine has what is on it given up.
    Damaged(String),
    /// The engine stopped the node, because going on would break a promise.
    Fatal(String),
    /// The disk went away without an answer.
    DiskGone,
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, source } => {
                write!(f, "cannot listen on {address}: {source}")?;
                f.write_str(match source.kind() {
                    io::ErrorKind::AddrInUse => "; stop what uses that port, or choose another with --listen",
                    io::ErrorKind::PermissionDenied => "; ports below 1024 are for root: choose another with --listen",
                    _ => "; choose an address of this machine with --listen",
                })
            }
            Self::ListenForPeers { address, source } => {
                write!(
                    f,
                    "cannot listen for other nodes on {address}: {source}; choose another address with cluster.listen"
                )
            }
            Self::Definitions(reason) => write!(f, "cannot import the definitions: {reason}"),
            Self::Damaged(reason) | Self::Fatal(reason) => f.write_str(reason),
            Self::DiskGone => f.write_str("the disk's threads have ended"),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { source, .. } | Self::ListenForPeers { source, .. } => Some(source),
            Self::Definitions(_) | Self::Damaged(_) | Self::Fatal(_) | Self::DiskGone => None,
        }
    }
}

/// Runs one node: recovers from the disk, listens on `addresses`, calls `ready` with the addresses as they turned out, and serves
/// until `shutdown` ends and the engine has stopped cleanly.
///
/// # Errors
/// If an address is not to be had, or the node cannot go on. Connections are then cut.
///
/// # Panics
/// If one of its tasks does.
pub async fn serve<N: Net, D: Disk, C: Clock>(
    env: Env<N, D, C>,
    config: Config,
    addresses: &[SocketAddr],
    ready: impl FnOnce(&[SocketAddr]),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let Env { net, disk, mut answers, clock, peers, mut gauge, mut admin, mut definitions, entropy } = env;
    let engine = Engine::new(config, entropy);
    let mut node = Node {
        engine,
        disk,
        clock,
        peers: Peers::new(net.clone(), peers),
        clients: FxHashMap::default(),
        ended: Vec::new(),
        asked: FxHashMap::default(),
        next_admin: AdminId(1),
        effects: Effects::default(),
    };
    let (inbox_in, mut inbox) = inbox::new(INBOX);
    let mut batch = Vec::with_capacity(BATCH_INPUTS);
    let mut listeners = Listeners { net, tasks: JoinSet::new(), door: watch::Sender::new(Door::Open), node: inbox_in };
    let mut ready = Some(ready);
    let mut shutdown = pin!(shutdown);
    let mut stopping = false;
    let mut alarm = Alarm::new();
    let mut sampling = pin!(sleep(Duration::ZERO));
    let mut is_sampling = true;
    // Where the answer to the import comes in, while it is under way.
    let mut imported = None;

    let failed = |(address, source)| ServeError::ListenForPeers { address, source };
    node.peers.listen().await.map_err(failed)?;
    // The engine asks for its first disk operation before there is any input.
    let mut flow = node.flush();
    loop {
        if let ControlFlow::Break(stop) = flow {
            return node.end(stop, listeners, inbox).await;
        }
        if !stopping
            && node.engine.is_ready()
            && let Some(json) = definitions.take()
        {
            imported = Some(node.import(json));
            flow = node.flush();
            continue;
        }
        match imported.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Ok(Ok(_))) => imported = None,
            Some(Ok(Err(error))) => return Err(ServeError::Definitions(error.text)),
            Some(Err(_)) | None => {}
        }
        if !stopping
            && node.engine.is_ready()
            && imported.is_none()
            && let Some(ready) = ready.take()
        {
            ready(&listeners.start(addresses).await?);
        }
        if ready.is_none() {
            listeners.set_open(stopping || node.engine.is_serving());
        }
        alarm.set(node.engine.next_timeout().map(|(at, _)| at), &node.clock);
        // Disk answers and the engine's own timer are few and bounded by what the engine asked for; they cannot starve the clients,
        // while a flood of clients' bytes must not hold back the confirms that a finished sync allows. Other nodes come before clients
        // for the same reason, and cannot starve them since each batch takes from both.
        tokio::select! {
            biased;
            () = &mut shutdown, if !stopping => {
                stopping = true;
                listeners.close();
                node.handle(Input::Shutdown);
            }
            Some(ended) = listeners.tasks.join_next() => pass_panic_on(ended),
            answer = answers.recv() => match answer {
                Some(answer) => node.handle_answer(answer),
                None => return Err(ServeError::DiskGone),
            },
            () = alarm.wait() => {
                // Whether something still waits decides what is done at that time.
                node.handle_written(&mut inbox);
                node.handle(Input::Timeout);
            }
            Some(call) = admin.recv() => {
                // An operator may ask what waits.
                node.handle_written(&mut inbox);
                node.handle_call(call);
            }
            () = &mut sampling, if is_sampling => match gauge() {
                Some(level) => {
                    node.handle(Input::ResourceLevel(level));
                    sampling.as_mut().reset(tokio::time::Instant::now() + node.engine.resource_sample_interval());
                }
                None => is_sampling = false,
            },
            input = node.peers.next() => node.handle(input),
            _ = inbox.messages.recv_many(&mut batch, BATCH_INPUTS) => {}
        }
        // Whatever else has come meanwhile belongs to the same batch.
        while let Ok(answer) = answers.try_recv() {
            node.handle_answer(answer);
        }
        node.handle_peers();
        let mut room = BATCH_BYTES;
        let mut count = batch.len();
        for message in batch.drain(..) {
            room = room.saturating_sub(node.handle_client(message));
        }
        while count < BATCH_INPUTS
            && room > 0
            && let Ok(message) = inbox.messages.try_recv()
        {
            room = room.saturating_sub(node.handle_client(message));
            count += 1;
        }
        // Behind those that it was woken for, so that all that was written until then is told.
        node.handle_written(&mut inbox);
        flow = node.flush();
        if flow.is_continue() && node.handle_ended() {
            flow = node.flush();
        }
        if !inbox.messages.is_empty() || node.peers.has_more() {
            // Connections get a turn to write before the next batch is taken, however much is waiting.
            yield_now().await;
        }
    }
}

/// What clients' connections tell the node.
type FromClient = FromStream<ConnectionId, Ends>;

/// The two ends of a client's connection.
#[derive(Debug)]
struct Ends {
    /// The client's address.
    peer: SocketAddr,
    /// The address it connected to.
    local: SocketAddr,
}

/// The engine and what it reaches directly.
struct Node<N: Net, D, C> {
    engine: Engine,
    disk: D,
    clock: C,
    peers: Peers<N>,
    /// Connections that the engine knows; `None` for those it has ordered to be closed.
    clients: FxHashMap<ConnectionId, Option<StreamHandle>>,
    /// Connections that ended during the batch. The engine hears of it after the flush, so that a client which ends its stream
    /// behind its last request is still answered.
    ended: Vec<ConnectionId>,
    /// Operators who wait for an answer.
    asked: FxHashMap<AdminId, oneshot::Sender<Result<AdminReply, AdminError>>>,
    next_admin: AdminId,
    effects: Effects,
}

impl<N: Net, D: Disk, C: Clock> Node<N, D, C> {
    fn handle(&mut self, input: Input) {
        self.engine.handle(self.clock.now(), input, &mut self.effects);
    }

    fn handle_answer(&mut self, answer: DiskAnswer) {
        let DiskAnswer { op, result } = answer;
        self.handle(match result {
            Ok(outcome) => Input::DiskDone { op, outcome },
            Err(error) => Input::DiskFailed { op, error },
        });
    }

    /// Asks for definitions to be imported, and returns where the answer comes in.
    fn import(&mut self, json: String) -> oneshot::Receiver<Result<AdminReply, AdminError>> {
        let (answer, imported) = oneshot::channel();
        let request = DefinitionsRequest::Import { json, vhost: None }.into();
        self.handle_call(AdminCall { request, answer });
        imported
    }

    fn handle_call(&mut self, call: AdminCall) {
        let AdminCall { request, answer } = call;
        let id = self.next_admin;
        self.next_admin = AdminId(id.0 + 1);
        self.asked.insert(id, answer);
        self.handle(Input::Admin { id, request: Box::new(request) });
    }

    /// Passes on what has come of other nodes, up to a batch of it.
    fn handle_peers(&mut self) {
        let mut room = BATCH_BYTES;
        let mut count = 0;
        while count < BATCH_INPUTS
            && room > 0
            && let Some(input) = self.peers.try_next()
        {
            if let Input::PeerReceived { bytes, .. } = &input {
                room = room.saturating_sub(bytes.len());
            }
            self.handle(input);
            count += 1;
        }
    }

    /// Passes a connection's message on, and tells how many bytes it held. Nothing follows a connection's end, and nothing is
    /// received from one that is being closed.
    fn handle_client(&mut self, message: FromClient) -> usize {
        match message {
            FromStream::Opened { id, who: Ends { peer, local }, handle } => {
                self.clients.insert(id, Some(handle));
                self.handle(Input::ClientOpened { connection: id, peer, local });
            }
            FromStream::Received(id, bytes, _permit) => {
                let count = bytes.len();
                if let Some(Some(_)) = self.clients.get(&id) {
                    self.handle(Input::ClientReceived { connection: id, bytes });
                }
                return count;
            }
            FromStream::Written(id, bytes) => self.handle_written_bytes(id, bytes),
            FromStream::Closed(id) => self.ended.push(id),
        }
        0
    }

    /// Passes on what was written without waking the node.
    fn handle_written(&mut self, inbox: &mut Inbox<ConnectionId, Ends>) {
        while let Some((id, bytes)) = inbox.try_written() {
            self.handle_written_bytes(id, bytes);
        }
        while let Some(input) = self.peers.try_written() {
            self.handle(input);
        }
    }

    fn handle_written_bytes(&mut self, connection: ConnectionId, bytes: usize) {
        if self.clients.contains_key(&connection) {
            self.handle(Input::ClientWritten { connection, bytes });
        }
    }

    /// Tells the engine which connections ended during the batch, each once. Returns whether there were any.
    fn handle_ended(&mut self) -> bool {
        let mut any = false;
        while let Some(id) = self.ended.pop() {
            if self.clients.remove(&id).is_some() {
                self.handle(Input::ClientClosed { connection: id });
                any = true;
            }
        }
        any
    }

    /// Ends the batch and carries out what the engine asks for.
    fn flush(&mut self) -> ControlFlow<Stop> {
        self.engine.flush(self.clock.now(), &mut self.effects);
        let Effects { sends, controls, peers, peer_controls, disk, events, admin, stop } = &mut self.effects;
        for AdminAnswer { id, reply } in admin.drain(..) {
            if let Some(asked) = self.asked.remove(&id) {
                // Who asked may have gone.
                let _ = asked.send(reply);
            }
        }
        // The disk first: it works while the rest is done.
        for request in disk.drain(..) {
            self.disk.submit(request);
        }
        self.peers.carry_out(peers, peer_controls);
        for ClientSend { connection, bytes } in sends.drain(..) {
            if let Some(Some(client)) = self.clients.get(&connection) {
                client.send(bytes);
            }
        }
        for control in controls.drain(..) {
            let (ClientControl::PauseReads(id) | ClientControl::ResumeReads(id) | ClientControl::Close(id)) = control;
            let Some(client) = self.clients.get_mut(&id) else { continue };
            match control {
                ClientControl::PauseReads(_) => client.iter().for_each(|client| client.set_paused(true)),
                ClientControl::ResumeReads(_) => client.iter().for_each(|client| client.set_paused(false)),
                ClientControl::Close(_) => drop(client.take()),
            }
        }
        for event in events.drain(..) {
            logging::report(&event);
        }
        stop.take().map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }

    /// Takes the node down after the engine's last word.
    async fn end(
        self,
        stop: Stop,
        mut listeners: Listeners<N>,
        inbox: Inbox<ConnectionId, Ends>,
    ) -> Result<(), ServeError> {
        // Connections neither wait for the node nor it for them: they flush, and end.
        drop(inbox);
        listeners.close();
        let Self { peers, clients, asked, .. } = self;
        drop((clients, asked));
        peers.end(stop == Stop::Clean).await;
        match stop {
            Stop::Clean => {
                while let Some(ended) = listeners.tasks.join_next().await {
                    pass_panic_on(ended);
                }
                Ok(())
            }
            Stop::Damaged(reason) => {
                listeners.tasks.shutdown().await;
                Err(ServeError::Damaged(reason))
            }
            Stop::Fatal(reason) => {
                listeners.tasks.shutdown().await;
                Err(ServeError::Fatal(reason))
            }
        }
    }
}

/// The tasks that accept connections, which own those that serve them.
struct Listeners<N> {
    net: N,
    tasks: JoinSet<()>,
    door: watch::Sender<Door>,
    node: Outlet<ConnectionId, Ends>,
}

impl<N: Net> Listeners<N> {
    /// Listens on all of `addresses`, or on none.
    async fn start(&mut self, addresses: &[SocketAddr]) -> Result<Vec<SocketAddr>, ServeError> {
        let mut bound = Vec::with_capacity(addresses.len());
        let mut listeners = Vec::with_capacity(addresses.len());
        for &address in addresses {
            let failed = |source| ServeError::Listen { address, source };
            let listener = self.net.bind(address).await.map_err(failed)?;
            bound.push(self.net.local_addr(&listener).map_err(failed)?);
            listeners.push(listener);
        }
        let ids = Arc::new(AtomicU64::new(1));
        for listener in listeners {
            let ids = Arc::clone(&ids);
            let welcome = move |accepted: &Accepted<N::Stream>| {
                let id = ConnectionId(ids.fetch_add(1, Ordering::Relaxed));
                (id, Ends { peer: accepted.peer, local: accepted.local })
            };
            let (net, node) = (self.net.clone(), self.node.clone());
            self.tasks.spawn(listener::run(net, listener, welcome, node, self.door.subscribe()));
        }
        Ok(bound)
    }

    /// Accepts no more connections. Those that there are go on.
    fn close(&self) {
        self.door.send_replace(Door::Closed);
    }

    /// Lets clients in as long as the engine does.
    fn set_open(&self, is_open: bool) {
        let wanted = if is_open { Door::Open } else { Door::Shut };
        self.door.send_if_modified(|door| {
            let is_other = *door != Door::Closed && *door != wanted;
            if is_other {
                *door = wanted;
            }
            is_other
        });
    }
}

/// The engine's one timer.
struct Alarm {
    at: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    fn new() -> Self {
        Self { at: None, sleep: Box::pin(sleep(Duration::ZERO)) }
    }

    /// Makes it go off at `at`, or never.
    fn set(&mut self, at: Option<Instant>, clock: &impl Clock) {
        if at == self.at {
            return;
        }
        self.at = at;
        if let Some(at) = at {
            let wait = at.saturating_since(clock.now().mono);
            // Far beyond any timeout of the engine, and no sum overflows.
            self.sleep.as_mut().reset(tokio::time::Instant::now() + wait.min(WAIT_MAX));
        }
    }

    /// Ends when the time set has come, again and again until another is set.
    async fn wait(&mut self) {
        match self.at {
            Some(_) => self.sleep.as_mut().await,
            None => std::future::pending().await,
        }
    }
}
