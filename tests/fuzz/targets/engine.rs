//! Clients that say anything to a node: no panic, no broken invariant, and what the node answers is well-formed.
#![no_main]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use arbitrary::Arbitrary;
use bytes::{Bytes, BytesMut};
use leveret_engine::amqp::method::{basic, channel, confirm, connection, exchange, queue, tx};
use leveret_engine::amqp::{FrameDecoder, Method, RawProperties, Routing, ShortStr, encode};
use leveret_engine::config::Config;
use leveret_engine::effect::{ClientControl, DiskOp, Effects, Stop};
use leveret_engine::engine::Engine;
use leveret_engine::ids::{ConnectionId, SegmentId};
use leveret_engine::input::{DiskOutcome, Input};
use leveret_engine::time::{Instant, Now, Timestamp};
use libfuzzer_sys::fuzz_target;

/// One move of one client; most are likely to succeed, so that runs get somewhere.
#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Connect,
    OpenChannel,
    CloseChannel,
    DeclareQueue { name: u8, durable: bool, exclusive: bool, auto_delete: bool, no_wait: bool },
    DeleteQueue { name: u8, if_unused: bool, if_empty: bool },
    Bind { queue: u8, exchange: u8, key: u8 },
    BindExchange { destination: u8, source: u8, key: u8 },
    DeclareExchange { name: u8, kind: u8, auto_delete: bool },
    DeleteExchange { name: u8, if_unused: bool },
    Consume { queue: u8, tag: u8, no_ack: bool, exclusive: bool },
    Cancel { tag: u8 },
    Get { queue: u8, no_ack: bool },
    Publish { exchange: u8, key: u8, mandatory: bool, persistent: bool, body: &'a [u8] },
    Ack { tag: u8, multiple: bool },
    Nack { tag: u8, multiple: bool, requeue: bool },
    Qos { count: u8, global: bool },
    Recover,
    Confirm,
    Tx { kind: u8 },
    Say(Method),
    SayRaw(&'a [u8]),
    Wait(u8),
    Disconnect,
}

struct World {
    engine: Engine,
    effects: Effects,
    now: Now,
    segments: BTreeMap<SegmentId, (u64, Vec<u8>)>,
    answers: BTreeMap<ConnectionId, FrameDecoder>,
    /// Which connection each of the two clients has.
    clients: [Option<ConnectionId>; 2],
    next_connection: u64,
}

impl World {
    fn new() -> Self {
        let now = Now { mono: Instant::ZERO, wall: Timestamp::from_millis(1_700_000_000_000) };
        let mut world = Self {
            engine: Engine::new(Config::default(), [7; 32]),
            effects: Effects::default(),
            now,
            segments: BTreeMap::new(),
            answers: BTreeMap::new(),
            clients: [None, None],
            next_connection: 1,
        };
        world.settle();
        assert!(world.engine.is_ready());
        world
    }

    fn input(&mut self, input: Input) {
        self.engine.handle(self.now, input, &mut self.effects);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            self.engine.flush(self.now, &mut self.effects);
            if self.effects.is_empty() {
                break;
            }
            let Effects { sends, controls, peers, peer_controls, disk, events: _, admin: _, stop } =
                std::mem::take(&mut self.effects);
            assert!(peers.is_empty() && peer_controls.is_empty(), "a node alone knows no others");
            assert!(!matches!(stop, Some(Stop::Fatal(_))), "{stop:?}");
            for send in sends {
                let len = send.bytes.len();
                if let Some(decoder) = self.answers.get_mut(&send.connection) {
                    if !send.bytes.starts_with(b"AMQP") {
                        decoder.feed(send.bytes);
                        while let Some(frame) = decoder.next_frame().expect("the node sends whole frames") {
                            if frame.kind == leveret_engine::amqp::FrameKind::Method {
                                Method::decode(frame.payload).expect("the node sends whole methods");
                            }
                        }
                    }
                }
                let written = Input::ClientWritten { connection: send.connection, bytes: len };
                self.engine.handle(self.now, written, &mut self.effects);
            }
            for control in controls {
                if let ClientControl::Close(connection) = control {
                    self.close(connection);
                }
            }
            for request in disk {
                let outcome = self.disk(request.op);
                self.engine.handle(self.now, Input::DiskDone { op: request.id, outcome }, &mut self.effects);
            }
        }
        self.engine.check_invariants();
    }

    fn close(&mut self, connection: ConnectionId) {
        if self.answers.remove(&connection).is_some() {
            for client in &mut self.clients {
                client.take_if(|id| *id == connection);
            }
            self.engine.handle(self.now, Input::ClientClosed { connection }, &mut self.effects);
        }
    }

    fn disk(&mut self, op: DiskOp) -> DiskOutcome {
        match op {
            DiskOp::List => {
                return DiskOutcome::Segments(self.segments.iter().map(|(id, (size, _))| (*id, *size)).collect());
            }
            DiskOp::Create { segment, size, recycle } => {
                let old = recycle.and_then(|id| self.segments.remove(&id)).map(|(_, data)| data);
                self.segments.insert(segment, (size, old.unwrap_or_default()));
            }
            DiskOp::Append { segment, offset, data, sync: _ } => {
                let (_, bytes) = self.segments.get_mut(&segment).expect("appends go to segments that exist");
                let mut at = usize::try_from(offset).expect("offsets are small");
                for part in data {
                    if bytes.len() < at + part.len() {
                        bytes.resize(at + part.len(), 0);
                    }
                    bytes[at..at + part.len()].copy_from_slice(&part);
                    at += part.len();
                }
            }
            DiskOp::Read { segment, offset, len } => {
                let (size, bytes) = &self.segments[&segment];
                let end = size.min(&(offset + u64::from(len))) - offset;
                let start = usize::try_from(offset).expect("offsets are small");
                let mut data = bytes.get(start..).unwrap_or_default().to_vec();
                data.resize(usize::try_from(end).expect("reads are small"), 0);
                return DiskOutcome::Data(data.into());
            }
            DiskOp::Delete { segment } => {
                self.segments.remove(&segment);
            }
        }
        DiskOutcome::Done
    }

    fn hear(&mut self, client: usize, bytes: impl Into<Bytes>) {
        if let Some(connection) = self.clients[client] {
            self.input(Input::ClientReceived { connection, bytes: bytes.into() });
        }
    }

    fn say(&mut self, client: usize, channel: u16, method: impl Into<Method>) {
        let mut out = BytesMut::new();
        encode::encode_method_frame(&mut out, channel, &method.into());
        self.hear(client, out);
    }

    fn connect(&mut self, client: usize) {
        if self.clients[client].is_some() {
            return;
        }
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.clients[client] = Some(connection);
        self.answers.insert(connection, FrameDecoder::new(0));
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000));
        self.input(Input::ClientOpened { connection, peer, local: peer });
        self.hear(client, &b"AMQP\0\0\x09\x01"[..]);
        let start_ok = connection::StartOk {
            mechanism: ShortStr::from_static("PLAIN"),
            response: "\0guest\0guest".into(),
            locale: ShortStr::from_static("en_US"),
            ..Default::default()
        };
        self.say(client, 0, start_ok);
        self.say(client, 0, connection::TuneOk { channel_max: 10, frame_max: 4096, heartbeat: 60 });
        self.say(client, 0, connection::Open { virtual_host: ShortStr::from_static("/") });
    }

    fn step(&mut self, client: usize, number: u16, step: Step<'_>) {
        let name = |prefix: &str, index: u8| ShortStr::truncated(&format!("{prefix}{}", index % 3));
        let exchange_name = |index: u8| match index % 6 {
            0 => ShortStr::new(),
            1 => ShortStr::from_static("amq.topic"),
            2 => ShortStr::from_static("amq.fanout"),
            index => name("x", index),
        };
        match step {
            Step::Connect => self.connect(client),
            Step::OpenChannel => self.say(client, number, channel::Open::default()),
            Step::CloseChannel => self.say(client, number, channel::Close::default()),
            Step::DeclareQueue { name: index, durable, exclusive, auto_delete, no_wait } => {
                let queue = name("q", index);
                let declare = queue::Declare { queue, durable, exclusive, auto_delete, no_wait, ..Default::default() };
                self.say(client, number, declare);
            }
            Step::DeleteQueue { name: index, if_unused, if_empty } => {
                let queue = name("q", index);
                self.say(client, number, queue::Delete { queue, if_unused, if_empty, no_wait: false });
            }
            Step::Bind { queue, exchange, key } => {
                let (queue, exchange, routing_key) = (name("q", queue), exchange_name(exchange), name("k", key));
                self.say(client, number, queue::Bind { queue, exchange, routing_key, ..Default::default() });
            }
            Step::BindExchange { destination, source, key } => {
                let (destination, source) = (exchange_name(destination), exchange_name(source));
                let routing_key = name("k", key);
                self.say(client, number, exchange::Bind { destination, source, routing_key, ..Default::default() });
            }
            Step::DeclareExchange { name: index, kind, auto_delete } => {
                let kinds = ["direct", "fanout", "topic", "headers"];
                let exchange_type = ShortStr::from_static(kinds[usize::from(kind) % kinds.len()]);
                let exchange = exchange_name(index);
                let declare = exchange::Declare { exchange, exchange_type, auto_delete, ..Default::default() };
                self.say(client, number, declare);
            }
            Step::DeleteExchange { name: index, if_unused } => {
                let exchange = exchange_name(index);
                self.say(client, number, exchange::Delete { exchange, if_unused, no_wait: false });
            }
            Step::Consume { queue, tag, no_ack, exclusive } => {
                let (queue, consumer_tag) = (name("q", queue), name("t", tag));
                let consume = basic::Consume { queue, consumer_tag, no_ack, exclusive, ..Default::default() };
                self.say(client, number, consume);
            }
            Step::Cancel { tag } => {
                self.say(client, number, basic::Cancel { consumer_tag: name("t", tag), no_wait: false });
            }
            Step::Get { queue, no_ack } => {
                self.say(client, number, basic::Get { queue: name("q", queue), no_ack });
            }
            Step::Publish { exchange, key, mandatory, persistent, body } => {
                let exchange = exchange_name(exchange);
                let key = if exchange.is_empty() { name("q", key) } else { name("k", key) };
                let routing = Routing::new(&exchange, &key);
                let properties = if persistent { &[0x10, 0, 2][..] } else { &[0, 0][..] };
                let properties = RawProperties::parse(Bytes::copy_from_slice(properties)).expect("they are right");
                let mut out = BytesMut::new();
                let (routing, properties) = (routing.as_bytes(), properties.as_bytes());
                let body = encode::Body::Whole(body);
                encode::encode_publish(&mut out, number, 4096, routing, mandatory, properties, body);
                self.hear(client, out);
            }
            Step::Ack { tag, multiple } => {
                self.say(client, number, basic::Ack { delivery_tag: u64::from(tag % 16), multiple });
            }
            Step::Nack { tag, multiple, requeue } => {
                self.say(client, number, basic::Nack { delivery_tag: u64::from(tag % 16), multiple, requeue });
            }
            Step::Qos { count, global } => {
                let prefetch_count = u16::from(count % 5);
                self.say(client, number, basic::Qos { prefetch_size: 0, prefetch_count, global });
            }
            Step::Recover => self.say(client, number, basic::Recover { requeue: true }),
            Step::Confirm => self.say(client, number, confirm::Select::default()),
            Step::Tx { kind } => match kind % 3 {
                0 => self.say(client, number, tx::Select::default()),
                1 => self.say(client, number, tx::Commit::default()),
                _ => self.say(client, number, tx::Rollback::default()),
            },
            Step::Say(method) => self.say(client, number, method),
            Step::SayRaw(bytes) => self.hear(client, Bytes::copy_from_slice(bytes)),
            Step::Wait(seconds) => {
                let micros = u64::from(seconds) * 1_000_000;
                self.now.mono = Instant::from_micros(self.now.mono.as_micros() + micros);
                self.now.wall = Timestamp::from_millis(self.now.wall.as_millis() + micros / 1000);
                self.input(Input::Timeout);
            }
            Step::Disconnect => {
                if let Some(connection) = self.clients[client] {
                    self.close(connection);
                    self.settle();
                }
            }
        }
    }
}

fuzz_target!(|steps: Vec<(u8, Step<'_>)>| {
    let mut world = World::new();
    for client in 0..2 {
        world.connect(client);
        world.say(client, 1, channel::Open::default());
        assert!(world.clients[client].is_some());
    }
    for (who, step) in steps {
        // Mostly channel 1 of either client, sometimes another channel or the connection itself.
        let number = match who >> 4 {
            0 => 0,
            1..=3 => 2,
            _ => 1,
        };
        world.step(usize::from(who & 1), number, step);
    }
    for client in 0..2 {
        world.step(client, 0, Step::Disconnect);
    }
});
