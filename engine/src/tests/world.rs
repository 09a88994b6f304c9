//! A world for tests of the whole engine: clients that speak real bytes, a disk that answers when told, a clock that tests move.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::net::SocketAddr;
use core::time::Duration;

use crate::amqp::method::{basic, queue};
use crate::amqp::{FieldTable, Method, Properties, RawProperties, Routing, ShortStr};
use crate::client::{Client, ClientConfig, ClientEvent, Limits};
use crate::config::Config;
use crate::effect::{ClientControl, DiskOp, DiskRequest, Effects};
use crate::engine::Engine;
use crate::ids::{ConnectionId, SegmentId};
use crate::input::{DiskOutcome, Input};
use crate::time::{Instant, Now, Timestamp};

/// The channel all clients of these tests use unless they say otherwise.
pub(super) const CHANNEL: u16 = 1;

/// See the module.
pub(super) struct World {
    pub(super) engine: Engine,
    effects: Effects,
    now: Instant,
    /// Milliseconds by which the wall clock is ahead of what it should show.
    pub(super) wall_ahead_ms: u64,
    clients: BTreeMap<ConnectionId, (Client, Vec<ClientEvent>)>,
    next_id: u64,
    disk: BTreeMap<SegmentId, Vec<u8>>,
    /// While set, the disk answers nothing; what it was asked waits.
    pub(super) is_disk_held: bool,
    /// While set, it does not answer writes that are to be synced.
    pub(super) are_syncs_held: bool,
    waiting: VecDeque<DiskRequest>,
}

impl World {
    pub(super) fn new(config: Config) -> Self {
        let mut world = Self {
            engine: Engine::new(config, [7; 32]),
            effects: Effects::default(),
            now: Instant::from_micros(1_000_000),
            wall_ahead_ms: 0,
            clients: BTreeMap::new(),
            next_id: 1,
            disk: BTreeMap::new(),
            is_disk_held: false,
            are_syncs_held: false,
            waiting: VecDeque::new(),
        };
        world.settle(VecDeque::new());
        assert!(world.engine.is_ready());
        world
    }

    /// A client with one open channel.
    pub(super) fn client(&mut self) -> ConnectionId {
        let client = self.connect(without_heartbeats());
        assert_eq!(self.events(client).len(), 1, "the client is connected");
        self.with(client, |client| client.open_channel(CHANNEL).unwrap());
        assert_eq!(self.events(client), [ClientEvent::ChannelOpened { channel: CHANNEL }]);
        client
    }

    /// A client as far as it gets.
    pub(super) fn connect(&mut self, config: ClientConfig) -> ConnectionId {
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        self.clients.insert(id, (Client::new(config), Vec::new()));
        let peer = SocketAddr::from(([127, 0, 0, 1], 40_000));
        let local = SocketAddr::from(([127, 0, 0, 1], 5672));
        self.input(Input::ClientOpened { connection: id, peer, local });
        self.talk();
        id
    }

    /// Lets a client act, and carries out what it says.
    pub(super) fn with<R>(&mut self, id: ConnectionId, act: impl FnOnce(&mut Client) -> R) -> R {
        let result = act(&mut self.clients.get_mut(&id).unwrap().0);
        self.talk();
        result
    }

    pub(super) fn send(&mut self, id: ConnectionId, method: impl Into<Method>) {
        self.with(id, |client| client.send(CHANNEL, method).unwrap());
    }

    /// The socket breaks.
    pub(super) fn reset(&mut self, id: ConnectionId) {
        self.clients.remove(&id);
        self.input(Input::ClientClosed { connection: id });
        self.talk();
    }

    pub(super) fn declare(&mut self, id: ConnectionId, name: &str, durable: bool, arguments: FieldTable) {
        let queue = ShortStr::truncated(name);
        self.send(id, queue::Declare { queue, durable, arguments, ..queue::Declare::default() });
    }

    /// Publishes to a queue.
    pub(super) fn publish(&mut self, id: ConnectionId, queue: &str, body: &str, persistent: bool) {
        let routing = Routing::new(&ShortStr::new(), &ShortStr::truncated(queue));
        let delivery_mode = persistent.then_some(2);
        let properties = RawProperties::from(&Properties { delivery_mode, ..Properties::default() });
        self.with(id, |client| client.publish(CHANNEL, &routing, false, &properties, body.as_bytes()).unwrap());
    }

    pub(super) fn consume(&mut self, id: ConnectionId, queue: &str, tag: &str, arguments: FieldTable) {
        let (queue, consumer_tag) = (ShortStr::truncated(queue), ShortStr::truncated(tag));
        self.send(id, basic::Consume { queue, consumer_tag, arguments, ..basic::Consume::default() });
    }

    pub(super) fn cancel(&mut self, id: ConnectionId, tag: &str) {
        self.send(id, basic::Cancel { consumer_tag: ShortStr::truncated(tag), no_wait: false });
    }

    pub(super) fn prefetch(&mut self, id: ConnectionId, prefetch_count: u16) {
        self.send(id, basic::Qos { prefetch_size: 0, prefetch_count, global: false });
    }

    pub(super) fn ack(&mut self, id: ConnectionId, tag: u64) {
        self.with(id, |client| client.ack(CHANNEL, tag, false).unwrap());
    }

    pub(super) fn nack(&mut self, id: ConnectionId, tag: u64, requeue: bool) {
        self.with(id, |client| client.nack(CHANNEL, tag, false, requeue).unwrap());
    }

    /// What the server said to a client since the last look.
    pub(super) fn events(&mut self, id: ConnectionId) -> Vec<ClientEvent> {
        core::mem::take(&mut self.clients.get_mut(&id).unwrap().1)
    }

    /// The deliveries a client got since the last look: consumer, tag, body, and `!` if redelivered. All else is dropped.
    pub(super) fn deliveries(&mut self, id: ConnectionId) -> Vec<String> {
        let events = self.events(id).into_iter();
        let deliveries = events.filter_map(|event| match event {
            ClientEvent::Delivery { consumer_tag, delivery_tag, redelivered, body, .. } => {
                let (mark, body) = (if redelivered { "!" } else { "" }, String::from_utf8_lossy(&body));
                Some(alloc::format!("{consumer_tag} {delivery_tag} {body}{mark}"))
            }
            _ => None,
        });
        deliveries.collect()
    }

    /// Ready and unacked messages and consumers of a queue.
    pub(super) fn counts(&self, name: &str) -> (u64, u64, u64) {
        let queues = self.engine.queues();
        let queue = queues.iter().find(|queue| queue.name == name).unwrap_or_else(|| panic!("no queue {name}"));
        (queue.ready, queue.unacked, queue.consumers)
    }

    /// Time passes, with all timers that are due in it.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some((at, _)) = self.engine.next_timeout().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            self.input(Input::Timeout);
            self.talk();
        }
        self.now = until;
    }

    /// The node ends without a word and starts again with what is on the disk.
    pub(super) fn restart(&mut self, config: Config) {
        self.clients.clear();
        self.waiting.clear();
        self.effects = Effects::default();
        self.engine = Engine::new(config, [8; 32]);
        self.settle(VecDeque::new());
        assert!(self.engine.is_ready());
    }

    /// The disk answers again.
    pub(super) fn release_disk(&mut self) {
        (self.is_disk_held, self.are_syncs_held) = (false, false);
        let waiting = core::mem::take(&mut self.waiting);
        let inputs = waiting.into_iter().map(|request| self.perform(request)).collect();
        self.settle(inputs);
        self.talk();
    }

    fn input(&mut self, input: Input) {
        self.settle([input].into());
    }

    /// Carries what clients say to the engine until all are silent.
    fn talk(&mut self) {
        loop {
            let mut inputs = VecDeque::new();
            for (id, (client, _)) in &mut self.clients {
                if client.output_len() > 0 {
                    inputs.push_back(Input::ClientReceived { connection: *id, bytes: client.take_output() });
                }
            }
            if inputs.is_empty() {
                return;
            }
            self.settle(inputs);
        }
    }

    fn settle(&mut self, mut inputs: VecDeque<Input>) {
        let wall_ms = 1_700_000_000_000 + self.wall_ahead_ms + self.now.as_micros() / 1000;
        let now = Now { mono: self.now, wall: Timestamp::from_millis(wall_ms) };
        loop {
            while let Some(input) = inputs.pop_front() {
                self.engine.handle(now, input, &mut self.effects);
            }
            self.engine.flush(now, &mut self.effects);
            self.engine.check_invariants();
            if self.effects.is_empty() {
                return;
            }
            let effects = core::mem::take(&mut self.effects);
            assert_eq!(effects.stop, None, "the node stopped");
            for send in effects.sends {
                let bytes = send.bytes.len();
                inputs.push_back(Input::ClientWritten { connection: send.connection, bytes });
                if let Some((client, events)) = self.clients.get_mut(&send.connection) {
                    client.handle_bytes(self.now, send.bytes, events).expect("the engine speaks AMQP");
                }
            }
            for control in effects.controls {
                if let ClientControl::Close(connection) = control {
                    inputs.push_back(Input::ClientClosed { connection });
                }
            }
            for request in effects.disk {
                let is_sync = matches!(request.op, DiskOp::Append { sync: true, .. });
                if self.is_disk_held || (is_sync && self.are_syncs_held) {
                    self.waiting.push_back(request);
                } else {
                    let done = self.perform(request);
                    inputs.push_back(done);
                }
            }
        }
    }

    fn perform(&mut self, DiskRequest { id: op, op: work }: DiskRequest) -> Input {
        let size = |bytes: u64| usize::try_from(bytes).unwrap();
        let outcome = match work {
            DiskOp::List => {
                DiskOutcome::Segments(self.disk.iter().map(|(id, bytes)| (*id, bytes.len() as u64)).collect())
            }
            DiskOp::Create { segment, size: bytes, recycle } => {
                let mut file = recycle.and_then(|old| self.disk.remove(&old)).unwrap_or_default();
                file.resize(size(bytes), 0);
                self.disk.insert(segment, file);
                DiskOutcome::Done
            }
            DiskOp::Append { segment, offset, data, sync: _ } => {
                let file = self.disk.get_mut(&segment).unwrap();
                let mut at = size(offset);
                for part in data {
                    file[at..at + part.len()].copy_from_slice(&part);
                    at += part.len();
                }
                DiskOutcome::Done
            }
            DiskOp::Read { segment, offset, len } => {
                let file = &self.disk[&segment];
                let start = size(offset).min(file.len());
                let end = (start + len as usize).min(file.len());
                DiskOutcome::Data(Bytes::copy_from_slice(&file[start..end]))
            }
            DiskOp::Delete { segment } => {
                self.disk.remove(&segment);
                DiskOutcome::Done
            }
        };
        Input::DiskDone { op, outcome }
    }
}

/// A client that stays silent as long as the test does.
pub(super) fn without_heartbeats() -> ClientConfig {
    ClientConfig { limits: Limits { heartbeat_s: 0, ..Limits::default() }, ..ClientConfig::default() }
}
