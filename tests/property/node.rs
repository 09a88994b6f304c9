//! The engine in this process with its clients: a disk that answers at once, a clock that moves only when told, and a restart that
//! keeps the disk.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use leveret_engine::amqp::method::channel;
use leveret_engine::amqp::{Method, Properties, RawProperties, Routing, ShortStr};
use leveret_engine::client::{Client, ClientConfig, ClientEvent, CloseReason};
use leveret_engine::config::Config;
use leveret_engine::effect::{ClientControl, Effects, Stop};
use leveret_engine::engine::Engine;
use leveret_engine::ids::ConnectionId;
use leveret_engine::input::Input;
use leveret_engine::time::{Instant, Now, Timestamp};

use super::program::{CONNECTIONS, Lane};
use crate::harness::memory_disk::MemoryDisk;

/// Wall-clock milliseconds at virtual time zero.
pub(super) const EPOCH_MS: u64 = 1_700_000_000_000;

/// One node and the clients that talk to it.
pub(super) struct Node {
    engine: Engine,
    effects: Effects,
    now_ms: u64,
    disk: MemoryDisk,
    next_id: u64,
    clients: [Option<Peer>; CONNECTIONS],
    stopped: Option<Stop>,
}

/// A client and its socket.
struct Peer {
    id: ConnectionId,
    client: Client,
    events: Vec<ClientEvent>,
    /// Bytes the engine does not want to read yet.
    paused: Option<VecDeque<Bytes>>,
}

impl Node {
    pub(super) fn start() -> Self {
        let mut node = Self {
            engine: Engine::new(config(), [7; 32]),
            effects: Effects::default(),
            now_ms: 1_000,
            disk: MemoryDisk::default(),
            next_id: 1,
            clients: [const { None }; CONNECTIONS],
            stopped: None,
        };
        node.settle(VecDeque::new());
        assert!(node.engine.is_ready(), "an empty disk that answers at once is recovered at once");
        node
    }

    /// Milliseconds since the clock began.
    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Whether the client of this connection is connected.
    pub(super) fn is_connected(&self, connection: usize) -> bool {
        self.clients[connection].as_ref().is_some_and(|peer| peer.client.is_open())
    }

    /// Whether the channel of this lane is open.
    pub(super) fn is_open(&self, lane: Lane) -> bool {
        let peer = self.clients[lane.connection()].as_ref();
        peer.is_some_and(|peer| peer.client.is_open() && peer.client.is_channel_open(lane.channel()))
    }

    /// Connects the client, which must not be connected.
    pub(super) fn connect(&mut self, connection: usize) {
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        let mut config = ClientConfig::default();
        config.limits.heartbeat_s = 0;
        let client = Client::new(config);
        self.clients[connection] = Some(Peer { id, client, events: Vec::new(), paused: None });
        let peer = SocketAddr::from(([127, 0, 0, 1], 40_000));
        let local = SocketAddr::from(([127, 0, 0, 1], 5672));
        self.settle(VecDeque::from([Input::ClientOpened { connection: id, peer, local }]));
        assert!(self.is_connected(connection), "the handshake is over at once");
        self.take_events(connection);
    }

    /// Opens the channel of a lane whose client is connected.
    pub(super) fn open(&mut self, lane: Lane) {
        let peer = self.clients[lane.connection()].as_mut().expect("it is connected");
        peer.client.open_channel(lane.channel()).expect("the channel is closed");
        self.settle(VecDeque::new());
        assert!(self.is_open(lane), "channel.open is answered at once");
        self.take_events(lane.connection());
    }

    /// Says a method without content on an open channel.
    pub(super) fn say(&mut self, lane: Lane, method: impl Into<Method>) {
        let peer = self.clients[lane.connection()].as_mut().expect("it is connected");
        peer.client.send(lane.channel(), method).expect("the channel is open");
        self.settle(VecDeque::new());
    }

    /// Publishes on an open channel.
    pub(super) fn publish(
        &mut self,
        lane: Lane,
        exchange: &str,
        key: &str,
        mandatory: bool,
        properties: &Properties,
        body: &str,
    ) {
        let mut encoded = bytes::BytesMut::new();
        properties.encode(&mut encoded);
        let properties = RawProperties::parse(encoded.freeze()).expect("what was encoded can be decoded");
        let routing = Routing::new(&ShortStr::truncated(exchange), &ShortStr::truncated(key));
        let peer = self.clients[lane.connection()].as_mut().expect("it is connected");
        let published = peer.client.publish(lane.channel(), &routing, mandatory, &properties, body.as_bytes());
        published.expect("the channel is open");
        self.settle(VecDeque::new());
    }

    /// Closes a channel in the proper way.
    pub(super) fn close_channel(&mut self, lane: Lane) {
        let CloseReason { reply_code, reply_text, class_id, method_id } = CloseReason::normal();
        self.say(lane, channel::Close { reply_code, reply_text, class_id, method_id });
    }

    /// Closes a connection in the proper way, or drops its socket.
    pub(super) fn close_connection(&mut self, connection: usize, properly: bool) {
        let peer = self.clients[connection].as_mut().expect("it is connected");
        if properly {
            peer.client.close();
            self.settle(VecDeque::new());
        } else {
            let id = peer.id;
            self.clients[connection] = None;
            self.settle(VecDeque::from([Input::ClientClosed { connection: id }]));
        }
    }

    /// When the engine wants to be woken, in milliseconds, rounded up.
    pub(super) fn next_timer_ms(&self) -> Option<u64> {
        self.engine.next_timeout().map(|(at, _)| at.as_micros().div_ceil(1000))
    }

    /// Lets time pass up to `until_ms`, firing what is due meanwhile.
    pub(super) fn advance(&mut self, until_ms: u64) {
        while let Some(at) = self.next_timer_ms().filter(|at| *at <= until_ms) {
            self.now_ms = self.now_ms.max(at);
            self.settle(VecDeque::from([Input::Timeout]));
            let again = self.next_timer_ms();
            assert!(again.is_none_or(|next| next > self.now_ms), "a timer is due again at {again:?}");
        }
        self.now_ms = until_ms;
    }

    /// Stops the node in the proper way and starts another one on its disk.
    pub(super) fn restart(&mut self) {
        self.settle(VecDeque::from([Input::Shutdown]));
        // Clients that do not answer in time are dropped.
        while self.stopped.is_none() {
            let at = self.next_timer_ms().expect("a node that stops waits for clients at most");
            self.now_ms = self.now_ms.max(at);
            self.settle(VecDeque::from([Input::Timeout]));
        }
        assert_eq!(self.stopped.take(), Some(Stop::Clean), "how the node ended");
        self.engine = Engine::new(config(), [8; 32]);
        self.settle(VecDeque::new());
        assert!(self.engine.is_ready(), "recovery from a disk that answers at once is over at once");
    }

    /// What the server said on a connection since the last call.
    pub(super) fn take_events(&mut self, connection: usize) -> Vec<ClientEvent> {
        let Some(peer) = &mut self.clients[connection] else { return Vec::new() };
        let events = std::mem::take(&mut peer.events);
        if peer.client.is_closed() {
            self.clients[connection] = None;
        }
        events
    }

    /// Handles inputs and all that follows from them, between engine, disk and clients.
    fn settle(&mut self, mut inputs: VecDeque<Input>) {
        let wall = Timestamp::from_millis(EPOCH_MS + self.now_ms);
        let now = Now { mono: Instant::from_micros(self.now_ms * 1000), wall };
        loop {
            for peer in self.clients.iter_mut().flatten() {
                let bytes = peer.client.take_output();
                if bytes.is_empty() {
                    continue;
                }
                match &mut peer.paused {
                    Some(unread) => unread.push_back(bytes),
                    None => inputs.push_back(Input::ClientReceived { connection: peer.id, bytes }),
                }
            }
            while let Some(input) = inputs.pop_front() {
                self.engine.handle(now, input, &mut self.effects);
            }
            self.engine.flush(now, &mut self.effects);
            self.engine.check_invariants();
            if self.effects.is_empty() {
                return;
            }
            self.perform(now, &mut inputs);
        }
    }

    fn perform(&mut self, now: Now, inputs: &mut VecDeque<Input>) {
        let Effects { sends, controls, peers, peer_controls, disk, events, admin: _, stop } =
            std::mem::take(&mut self.effects);
        assert!(peers.is_empty() && peer_controls.is_empty(), "a node alone knows no others");
        drop(events);
        if stop.is_some() {
            self.stopped = stop;
        }
        for send in sends {
            let bytes = send.bytes.len();
            if let Some(peer) = self.peer(send.connection) {
                let heard = peer.client.handle_bytes(now.mono, send.bytes, &mut peer.events);
                heard.expect("the server keeps to the protocol");
                inputs.push_back(Input::ClientWritten { connection: send.connection, bytes });
            }
        }
        for control in controls {
            match control {
                ClientControl::PauseReads(id) => {
                    if let Some(peer) = self.peer(id) {
                        peer.paused.get_or_insert_default();
                    }
                }
                ClientControl::ResumeReads(id) => {
                    let unread = self.peer(id).and_then(|peer| peer.paused.take()).unwrap_or_default();
                    inputs.extend(unread.into_iter().map(|bytes| Input::ClientReceived { connection: id, bytes }));
                }
                ClientControl::Close(id) => inputs.push_back(Input::ClientClosed { connection: id }),
            }
        }
        for request in disk {
            let outcome = self.disk.perform(request.op);
            inputs.push_back(Input::DiskDone { op: request.id, outcome });
        }
    }

    fn peer(&mut self, id: ConnectionId) -> Option<&mut Peer> {
        self.clients.iter_mut().flatten().find(|peer| peer.id == id)
    }
}

/// Segments are small, so that cleaning and recovery have something to do.
fn config() -> Config {
    let mut config = Config::default();
    config.log.segment_bytes = 16 * 1024;
    config.log.slack_bytes = 16 * 1024;
    config.log.append_bytes = 4 * 1024;
    config.message_size_max = 1024;
    config.queue_cache_bytes = 64;
    config
}
