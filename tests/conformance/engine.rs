//! The engine in this process: bytes in, bytes out, a disk that answers at once, and a clock that only moves when told.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use leveret_engine::alarm::ResourceLevel;
use leveret_engine::config::Config;
use leveret_engine::effect::{ClientControl, Effects};
use leveret_engine::engine::Engine;
use leveret_engine::ids::{AdminId, ConnectionId};
use leveret_engine::input::Input;
use leveret_engine::management::{AdminAnswer, AdminError, AdminReply, AdminRequest};
use leveret_engine::time::{Instant, Now, Timestamp};

use leveret_server::ctl::{self, NeededInput, Plan};

use super::broker::{Broker, Received, Wire, rows};
use super::transcript::Side;
use crate::harness::memory_disk::MemoryDisk;

/// One node, made for one transcript.
pub(crate) struct EngineBroker {
    world: Rc<RefCell<World>>,
}

struct World {
    engine: Engine,
    effects: Effects,
    now: Instant,
    /// How many bytes the engine is given at once.
    piece: usize,
    sockets: BTreeMap<ConnectionId, Socket>,
    next_id: u64,
    disk: MemoryDisk,
    /// What administrators were answered and have not looked at.
    answers: Vec<AdminAnswer>,
}

#[derive(Default)]
struct Socket {
    /// What the engine sent and the client has not read.
    sent: Vec<u8>,
    closed: bool,
    /// Reads are paused, and this is what the client wrote meanwhile.
    paused: bool,
    unread: Vec<u8>,
}

impl EngineBroker {
    /// A node that is ready. It gets what clients send in pieces of `piece` bytes.
    pub(crate) fn start(piece: usize) -> Self {
        let config = Config::default();
        let mut world = World {
            engine: Engine::new(config, [7; 32]),
            effects: Effects::default(),
            now: Instant::from_micros(1_000_000),
            piece,
            sockets: BTreeMap::new(),
            next_id: 1,
            disk: MemoryDisk::default(),
            answers: Vec::new(),
        };
        world.settle(VecDeque::new());
        assert!(world.engine.is_ready(), "an empty disk that answers at once is recovered at once");
        world.input(Input::ResourceLevel(ResourceLevel { memory_bytes: 50 << 20, disk_free_bytes: 100 << 30 }));
        Self { world: Rc::new(RefCell::new(world)) }
    }
}

impl Broker for EngineBroker {
    fn side(&self) -> Side {
        Side::Leveret
    }

    fn connect(&self) -> Result<Box<dyn Wire>, String> {
        let mut world = self.world.borrow_mut();
        let id = ConnectionId(world.next_id);
        world.next_id += 1;
        world.sockets.insert(id, Socket::default());
        let peer = SocketAddr::from(([127, 0, 0, 1], 40_000));
        let local = SocketAddr::from(([127, 0, 0, 1], 5672));
        world.input(Input::ClientOpened { connection: id, peer, local });
        Ok(Box::new(EngineWire { world: Rc::clone(&self.world), id }))
    }

    fn sleep(&self, time: Duration) {
        let mut world = self.world.borrow_mut();
        let until = world.now + time;
        while world.run_timer(until) {}
        world.now = until;
    }

    fn restart(&self) -> Result<(), String> {
        let mut world = self.world.borrow_mut();
        world.sockets.clear();
        world.effects = Effects::default();
        world.engine = Engine::new(Config::default(), [8; 32]);
        world.settle(VecDeque::new());
        if world.engine.is_ready() { Ok(()) } else { Err("the node does not recover".to_owned()) }
    }

    fn settle(&self) {}

    fn admin(&self, words: &[String]) -> Result<Vec<String>, String> {
        let words = ["--silent"].into_iter().chain(words.iter().map(String::as_str));
        let invocation = ctl::parse(words).map_err(|outcome| outcome.error)?;
        let input = match invocation.input() {
            NeededInput::File(path) => Some(std::fs::read_to_string(path).map_err(|error| error.to_string())?),
            _ => None,
        };
        let outcome = match invocation.plan(input.as_deref()) {
            Plan::Done(outcome) => outcome,
            Plan::Ask(request) => invocation.outcome(self.world.borrow_mut().ask(*request)),
        };
        rows(outcome.code == 0, &outcome.output, &outcome.error)
    }

    fn is_shared(&self) -> bool {
        false
    }
}

struct EngineWire {
    world: Rc<RefCell<World>>,
    id: ConnectionId,
}

impl Wire for EngineWire {
    fn send(&mut self, bytes: &[u8]) {
        let mut world = self.world.borrow_mut();
        if let Some(socket) = world.sockets.get_mut(&self.id) {
            socket.unread.extend(bytes);
            world.read(self.id);
            world.engine.check_invariants();
        }
    }

    fn receive(&mut self, wait: Duration) -> Received {
        let mut world = self.world.borrow_mut();
        let until = world.now + wait;
        loop {
            let Some(socket) = world.sockets.get_mut(&self.id) else { return Received::Closed };
            if !socket.sent.is_empty() {
                let bytes = std::mem::take(&mut socket.sent);
                return Received::Bytes(bytes);
            }
            if socket.closed {
                return Received::Closed;
            }
            if !world.run_timer(until) {
                return Received::Nothing;
            }
        }
    }
}

impl Drop for EngineWire {
    fn drop(&mut self) {
        let mut world = self.world.borrow_mut();
        if world.sockets.remove(&self.id).is_some_and(|socket| !socket.closed) {
            world.input(Input::ClientClosed { connection: self.id });
        }
    }
}

impl World {
    /// Gives the engine what a client has written, unless it does not want to read.
    fn read(&mut self, id: ConnectionId) {
        while let Some(socket) = self.sockets.get_mut(&id) {
            if socket.paused || socket.closed || socket.unread.is_empty() {
                return;
            }
            let rest = socket.unread.split_off(self.piece.min(socket.unread.len()));
            let piece = std::mem::replace(&mut socket.unread, rest);
            self.input(Input::ClientReceived { connection: id, bytes: Bytes::from(piece) });
        }
    }

    /// Asks as an administrator.
    fn ask(&mut self, request: AdminRequest) -> Result<AdminReply, AdminError> {
        let id = AdminId(self.next_id);
        self.next_id += 1;
        self.input(Input::Admin { id, request: Box::new(request) });
        let at =
            self.answers.iter().position(|answer| answer.id == id).expect("a disk that answers at once delays nothing");
        self.answers.swap_remove(at).reply
    }

    fn input(&mut self, input: Input) {
        self.settle(VecDeque::from([input]));
    }

    /// Lets the engine's next timer fire if it is due by `until`.
    fn run_timer(&mut self, until: Instant) -> bool {
        match self.engine.next_timeout() {
            Some((at, _)) if at <= until => {
                self.now = self.now.max(at);
                self.input(Input::Timeout);
                let again = self.engine.next_timeout();
                assert!(again.is_none_or(|(next, _)| next > self.now), "{again:?} is due again at {}", self.now);
                true
            }
            _ => false,
        }
    }

    /// Handles inputs and all that follows from them.
    fn settle(&mut self, mut inputs: VecDeque<Input>) {
        let now = Now { mono: self.now, wall: Timestamp::from_millis(1_700_000_000_000 + self.now.as_micros() / 1000) };
        let mut resumed = Vec::new();
        loop {
            while let Some(input) = inputs.pop_front() {
                self.engine.handle(now, input, &mut self.effects);
            }
            self.engine.flush(now, &mut self.effects);
            if self.effects.is_empty() {
                break;
            }
            let Effects { sends, controls, peers, peer_controls, disk, events, admin, stop } =
                std::mem::take(&mut self.effects);
            assert!(peers.is_empty() && peer_controls.is_empty(), "a node alone knows no others");
            drop(events);
            self.answers.extend(admin);
            assert_eq!(stop, None, "the node stopped");
            for send in sends {
                if let Some(socket) = self.sockets.get_mut(&send.connection) {
                    let bytes = send.bytes.len();
                    socket.sent.extend(send.bytes);
                    inputs.push_back(Input::ClientWritten { connection: send.connection, bytes });
                }
            }
            for control in controls {
                match control {
                    ClientControl::PauseReads(id) => self.with_socket(id, |socket| socket.paused = true),
                    ClientControl::ResumeReads(id) => {
                        self.with_socket(id, |socket| socket.paused = false);
                        resumed.push(id);
                    }
                    ClientControl::Close(id) => {
                        self.with_socket(id, |socket| socket.closed = true);
                        inputs.push_back(Input::ClientClosed { connection: id });
                    }
                }
            }
            for request in disk {
                let outcome = self.disk.perform(request.op);
                inputs.push_back(Input::DiskDone { op: request.id, outcome });
            }
        }
        for id in resumed {
            self.read(id);
        }
    }

    fn with_socket(&mut self, id: ConnectionId, change: impl FnOnce(&mut Socket)) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            change(socket);
        }
    }
}
