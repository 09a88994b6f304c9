//! A broker's engine in this thread, with clients in front of it and a disk behind it that takes everything at once.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use leveret_engine::amqp::Method;
use leveret_engine::client::{Client, ClientConfig, ClientEvent, Limits};
use leveret_engine::config::Config;
use leveret_engine::effect::{DiskOp, Effects};
use leveret_engine::engine::Engine;
use leveret_engine::ids::ConnectionId;
use leveret_engine::input::{DiskOutcome, Input};
use leveret_engine::time::{Instant, Now, Timestamp};

use super::super::link::CHANNEL;

/// How far the clocks go with each input.
const STEP: Duration = Duration::from_micros(100);
/// Any moment will do.
const WALL_MS: u64 = 1_700_000_000_000;

pub(super) struct Rig {
    engine: Engine,
    effects: Effects,
    now: Now,
    connections: u64,
    /// Bytes for clients that are still being set up.
    setting_up: Option<(ConnectionId, Vec<Bytes>)>,
    /// Bytes sent to each client that is set up.
    sent: BTreeMap<ConnectionId, u64>,
}

impl Rig {
    /// A broker that is ready.
    pub(super) fn start() -> Result<Self, String> {
        let now = Now { mono: Instant::ZERO, wall: Timestamp::from_millis(WALL_MS) };
        let mut rig = Self {
            engine: Engine::new(Config::default(), [1; 32]),
            effects: Effects::default(),
            now,
            connections: 0,
            setting_up: None,
            sent: BTreeMap::new(),
        };
        rig.settle()?;
        if rig.engine.is_ready() { Ok(rig) } else { Err("the broker is not ready".to_owned()) }
    }

    /// A connection with [`CHANNEL`] on which these methods have been answered.
    pub(super) fn connect(&mut self, methods: Vec<Method>) -> Result<ConnectionId, String> {
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 5672));
        self.setting_up = Some((connection, Vec::new()));
        self.input(Input::ClientOpened { connection, peer: address, local: address })?;
        let limits = Limits { heartbeat_s: 0, ..Limits::default() };
        let mut client = Client::new(ClientConfig { limits, ..ClientConfig::default() });
        self.talk(&mut client, connection)?;
        client.open_channel(CHANNEL).map_err(|error| error.to_string())?;
        self.talk(&mut client, connection)?;
        for method in methods {
            client.send(CHANNEL, method).map_err(|error| error.to_string())?;
            self.talk(&mut client, connection)?;
        }
        self.setting_up = None;
        self.sent.insert(connection, 0);
        Ok(connection)
    }

    /// Carries bytes to and fro until neither side has any.
    fn talk(&mut self, client: &mut Client, connection: ConnectionId) -> Result<(), String> {
        loop {
            let bytes = client.take_output();
            if !bytes.is_empty() {
                self.feed(connection, bytes)?;
            }
            let answers = self.setting_up.as_mut().map(|(_, answers)| std::mem::take(answers)).unwrap_or_default();
            if answers.is_empty() {
                return Ok(());
            }
            let mut events = Vec::new();
            for bytes in answers {
                client.handle_bytes(self.now.mono, bytes, &mut events).map_err(|error| error.to_string())?;
            }
            for event in events {
                if let ClientEvent::ConnectionClosed { reason, .. } | ClientEvent::ChannelClosed { reason, .. } = event
                {
                    return Err(format!("the broker closed: {} {}", reason.reply_code, reason.reply_text));
                }
            }
        }
    }

    /// Bytes come from a client, and all that follows from it is done.
    pub(super) fn feed(&mut self, connection: ConnectionId, bytes: Bytes) -> Result<(), String> {
        self.input(Input::ClientReceived { connection, bytes })
    }

    /// Bytes sent to a client since it was set up.
    pub(super) fn sent(&self, connection: ConnectionId) -> u64 {
        self.sent.get(&connection).copied().unwrap_or_default()
    }

    fn input(&mut self, input: Input) -> Result<(), String> {
        self.now.mono = self.now.mono + STEP;
        if self.engine.next_timeout().is_some_and(|(due, _)| due <= self.now.mono) {
            self.engine.handle(self.now, Input::Timeout, &mut self.effects);
        }
        self.engine.handle(self.now, input, &mut self.effects);
        self.settle()
    }

    /// Does what the engine wants until it wants nothing more.
    fn settle(&mut self) -> Result<(), String> {
        loop {
            self.engine.flush(self.now, &mut self.effects);
            let Effects { sends, controls, peers: _, peer_controls: _, disk, events, admin: _, stop } =
                &mut self.effects;
            if let Some(stop) = stop {
                return Err(format!("the broker stopped: {stop:?}"));
            }
            controls.clear();
            events.clear();
            if sends.is_empty() && disk.is_empty() {
                return Ok(());
            }
            let (mut sends, mut disk) = (std::mem::take(sends), std::mem::take(disk));
            for send in sends.drain(..) {
                let (connection, bytes) = (send.connection, send.bytes.len());
                match &mut self.setting_up {
                    Some((new, answers)) if *new == connection => answers.push(send.bytes),
                    _ => *self.sent.entry(connection).or_default() += u64::try_from(bytes).unwrap_or(u64::MAX),
                }
                self.engine.handle(self.now, Input::ClientWritten { connection, bytes }, &mut self.effects);
            }
            for request in disk.drain(..) {
                let outcome = match request.op {
                    DiskOp::List => DiskOutcome::Segments(Vec::new()),
                    DiskOp::Create { .. } | DiskOp::Append { .. } | DiskOp::Delete { .. } => DiskOutcome::Done,
                    DiskOp::Read { .. } => return Err("the broker reads what this disk does not keep".to_owned()),
                };
                self.engine.handle(self.now, Input::DiskDone { op: request.id, outcome }, &mut self.effects);
            }
            if self.effects.sends.is_empty() {
                self.effects.sends = sends;
            }
            if self.effects.disk.is_empty() {
                self.effects.disk = disk;
            }
        }
    }
}
