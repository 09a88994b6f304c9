//! Carries out a transcript on a broker.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::broker::{Broker, Received, Wire};
use super::spec;
use super::transcript::{Action, Address, Awaited, Item, Outcome, Step, Transcript, raises_alarms};
use super::value::{Bindings, Value};
use super::wire;

/// How long the broker has for each answer. RabbitMQ holds back some refusals for three seconds.
const PATIENCE: Duration = Duration::from_secs(8);

/// How much later than written a step may come before a transcript that sleeps says nothing about the broker.
const PUNCTUAL: Duration = Duration::from_millis(20);

/// Runs `transcript` and deletes what it declared. A shared broker's time goes on while a busy machine holds a step up: a
/// transcript that sleeps and was held up is tried again before it counts as failed. On the engine, where steps take no
/// time, there is one try.
///
/// # Errors
/// The first step that did not go as written: its line, what was expected and what came.
pub(crate) fn run(broker: &dyn Broker, transcript: &Transcript) -> Result<(), String> {
    let tries = if broker.is_shared() && transcript.sleeps() > Duration::ZERO { 5 } else { 1 };
    for _ in 1..tries {
        let start = Instant::now();
        let outcome = attempt(broker, transcript);
        if outcome.is_ok() || start.elapsed() < transcript.sleeps() + PUNCTUAL {
            return outcome;
        }
    }
    attempt(broker, transcript)
}

fn attempt(broker: &dyn Broker, transcript: &Transcript) -> Result<(), String> {
    let mut run = Run::new(broker);
    let outcome = run.steps(&transcript.steps).and_then(|()| run.finish());
    run.clean_up();
    outcome
}

/// A conversation with a broker.
pub(super) struct Run<'a> {
    broker: &'a dyn Broker,
    connections: BTreeMap<String, Connection>,
    bindings: Bindings,
    queues: BTreeSet<Vec<u8>>,
    exchanges: BTreeSet<Vec<u8>>,
    /// The commands that take back what others have set.
    undo: Vec<Vec<String>>,
}

struct Connection {
    wire: Box<dyn Wire>,
    /// Bytes received and not looked at.
    buffer: Vec<u8>,
    /// The broker closed the socket.
    closed: bool,
    /// Between the two handshakes.
    open: bool,
    frame_max: usize,
    heartbeats: usize,
    channels: BTreeMap<u16, Channel>,
}

#[derive(Default)]
struct Channel {
    open: bool,
    received: VecDeque<Item>,
    /// A method whose content is not complete, with the bytes that are missing once its header has come.
    partial: Option<(Item, Option<u64>, Vec<u8>)>,
}

impl<'a> Run<'a> {
    pub(super) fn new(broker: &'a dyn Broker) -> Self {
        Self {
            broker,
            connections: BTreeMap::new(),
            bindings: Bindings::new(),
            queues: BTreeSet::new(),
            exchanges: BTreeSet::new(),
            undo: Vec::new(),
        }
    }

    fn steps(&mut self, steps: &[Step]) -> Result<(), String> {
        let side = self.broker.side();
        for step in steps.iter().filter(|step| step.only.is_none_or(|only| only == side)) {
            self.step(&step.action).map_err(|reason| format!("line {}: {}\n    {reason}", step.line, step.text))?;
        }
        Ok(())
    }

    fn step(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Connect { connection, options } => self.connect(connection, options),
            Action::Socket { connection } => self.socket(connection),
            Action::Open(address) => {
                self.send(address, &Item { name: "channel.open".to_owned(), fields: Vec::new() })?;
                self.expect_named(address, "channel.open-ok")
            }
            Action::Send(address, item) => self.send(address, item),
            Action::Expect(address, item) => self.expect(address, item),
            Action::Do(address, item) => {
                self.send(address, item)?;
                self.expect_named(address, &format!("{}-ok", item.name))
            }
            Action::SendBytes(connection, bytes) => {
                self.connection(connection)?.wire.send(bytes);
                Ok(())
            }
            Action::ExpectBytes(connection, bytes) => self.expect_bytes(connection, bytes),
            Action::ExpectClosed(connection) => self.expect_closed(connection),
            Action::Fails { address, code, text, method } => self.fails(address, code, text, method),
            Action::Idle(address) => {
                self.broker.settle();
                self.idle(address)
            }
            Action::Confirmed { address, first, last } => self.confirmed(address, *first, *last),
            Action::Await(address, item) => self.await_queue(address, item),
            Action::AnyOrder(items) => self.any_order(items),
            Action::Close(address) => self.close(address),
            Action::Drop(connection) => {
                self.drop_connection(connection);
                Ok(())
            }
            Action::Restart => {
                self.connections.clear();
                self.broker.restart()
            }
            Action::Sleep(time) => {
                self.broker.sleep(*time);
                Ok(())
            }
            Action::Admin { words, outcome } => self.admin(words, outcome),
        }
    }

    fn connection(&mut self, name: &str) -> Result<&mut Connection, String> {
        self.connections.get_mut(name).ok_or_else(|| format!("there is no connection {name}"))
    }

    fn socket(&mut self, name: &str) -> Result<(), String> {
        let connection = Connection {
            wire: self.broker.connect()?,
            buffer: Vec::new(),
            closed: false,
            open: false,
            frame_max: 4096,
            heartbeats: 0,
            channels: BTreeMap::new(),
        };
        match self.connections.insert(name.to_owned(), connection) {
            None => Ok(()),
            Some(old) if !old.open || old.closed => Ok(()),
            Some(_) => Err(format!("there is a connection {name} already")),
        }
    }

    /// The opening handshake as a modern client does it.
    pub(super) fn connect(&mut self, name: &str, options: &Item) -> Result<(), String> {
        let known = ["user", "password", "vhost", "channel_max", "frame_max", "heartbeat", "capabilities"];
        if let Some((key, _)) = options.fields.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            return Err(format!("connect knows no {key}"));
        }
        let option = |name: &str, default: Value| options.field(name).cloned().unwrap_or(default);
        let bytes = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        let text = |name: &str, default: &str| option(name, bytes(default)).as_text().unwrap_or_default();
        self.socket(name)?;
        let address = Address { connection: name.to_owned(), channel: 0 };
        self.connection(name)?.wire.send(b"AMQP\x00\x00\x09\x01");
        self.expect_named(&address, "connection.start")?;
        let yes = |key: &str| (key.to_owned(), Value::Bool(true));
        let capabilities = Value::Table {
            entries: [
                "publisher_confirms",
                "exchange_exchange_bindings",
                "basic.nack",
                "consumer_cancel_notify",
                "connection.blocked",
                "authentication_failure_close",
            ]
            .map(yes)
            .to_vec(),
            open: false,
        };
        let properties = Value::Table {
            entries: vec![
                ("product".to_owned(), bytes("transcript")),
                ("capabilities".to_owned(), option("capabilities", capabilities)),
            ],
            open: false,
        };
        let response = format!("\0{}\0{}", text("user", "guest"), text("password", "guest"));
        let fields = [
            ("client_properties", properties),
            ("mechanism", bytes("PLAIN")),
            ("response", bytes(&response)),
            ("locale", bytes("en_US")),
        ];
        self.send(&address, &item("connection.start-ok", fields))?;
        let tune = self.next(&address)?;
        if tune.name != "connection.tune" {
            return Err(format!("expected: {address} < connection.tune\n    got:      {address} < {tune}"));
        }
        let offered = |name: &str| tune.field(name).and_then(Value::as_int).unwrap_or_default();
        let fields = [
            ("channel_max", option("channel_max", Value::Int(offered("channel_max")))),
            ("frame_max", option("frame_max", Value::Int(offered("frame_max")))),
            ("heartbeat", option("heartbeat", Value::Int(0))),
        ];
        self.send(&address, &item("connection.tune-ok", fields))?;
        let fields = [("virtual_host", option("vhost", bytes("/")))];
        self.send(&address, &item("connection.open", fields))?;
        self.expect_named(&address, "connection.open-ok")
    }

    pub(super) fn send(&mut self, address: &Address, item: &Item) -> Result<(), String> {
        let fields = item
            .fields
            .iter()
            .map(|(key, value)| Ok((key.clone(), value.resolve(&self.bindings)?)))
            .collect::<Result<Vec<_>, String>>()?;
        let item = Item { name: item.name.clone(), fields };
        let body = match item.field("body") {
            None => None,
            Some(Value::Bytes(bytes)) => Some(bytes.clone()),
            Some(other) => return Err(format!("the body is {other}")),
        };
        let connection = self.connection(&address.connection)?;
        let bytes = match item.name.as_str() {
            "header" => wire::frame(wire::HEADER, address.channel, &wire::encode_header(0, &item.fields)?),
            "body" => wire::frame(wire::BODY, address.channel, &body.ok_or("a body frame needs body=")?),
            "heartbeat" => wire::frame(wire::HEARTBEAT, address.channel, &[]),
            "frame" => {
                let kind = item.field("type").and_then(Value::as_int).ok_or("a frame needs type=")?;
                let kind = u8::try_from(kind).map_err(|_| "a frame's type is one byte")?;
                wire::frame(kind, address.channel, &body.unwrap_or_default())
            }
            name => {
                let method = spec::by_name(name).ok_or_else(|| format!("there is no method {name}"))?;
                check_fields(method, &item)?;
                let mut bytes = wire::frame(wire::METHOD, address.channel, &wire::encode_method(method, &item.fields)?);
                if let Some(body) = body {
                    // A property may have the name of a method's field only in basic.publish, where none does.
                    let header = wire::encode_header(body.len() as u64, &item.fields)?;
                    bytes.extend(wire::frame(wire::HEADER, address.channel, &header));
                    for part in body.chunks(connection.frame_max - 8) {
                        bytes.extend(wire::frame(wire::BODY, address.channel, part));
                    }
                }
                bytes
            }
        };
        connection.wire.send(&bytes);
        connection.note(address.channel, &item);
        self.note_declared(&item);
        Ok(())
    }

    /// Remembers what has to be deleted at the end.
    fn note_declared(&mut self, item: &Item) {
        let name = |field: &str| match item.field(field) {
            Some(Value::Bytes(name)) if !name.is_empty() => Some(name.clone()),
            _ => None,
        };
        match item.name.as_str() {
            "queue.declare" | "queue.declare-ok" => self.queues.extend(name("queue")),
            "exchange.declare" => self.exchanges.extend(name("exchange").filter(|name| !name.starts_with(b"amq."))),
            _ => {}
        }
    }

    /// What comes next on this channel.
    fn next(&mut self, address: &Address) -> Result<Item, String> {
        let connection = self.connection(&address.connection)?;
        loop {
            connection.parse()?;
            if let Some(item) = connection.channel(address.channel).received.pop_front() {
                self.note_declared(&item);
                return Ok(item);
            }
            let close = connection.channel(0).received.front().filter(|item| item.name == "connection.close");
            if let Some(close) = close {
                return Err(format!("got:      {} < {close}", address.connection));
            }
            if connection.closed {
                return Err("got:      the socket is closed".to_owned());
            }
            if !connection.receive(PATIENCE) {
                return Err("got:      nothing".to_owned());
            }
        }
    }

    /// Closes a socket without a word, if there is one.
    pub(super) fn drop_connection(&mut self, name: &str) {
        self.connections.remove(name);
    }

    /// What comes on a channel until the answer to a further method, or until the channel or its connection closes. Nothing
    /// further can be asked on one that `is_closing`.
    pub(super) fn answers(&mut self, address: &Address, is_closing: bool) -> Result<Vec<(Address, Item)>, String> {
        if !is_closing {
            self.send(address, &item::<0>("access.request", []))?;
        }
        let mut all = Vec::new();
        while let Ok(item) = self.next(address) {
            if item.name == "access.request-ok" {
                break;
            }
            let is_last = ["channel.close", "channel.close-ok"].contains(&item.name.as_str());
            all.push((address.clone(), item));
            if is_last {
                break;
            }
        }
        Ok(all)
    }

    /// Everything that comes until nothing comes any more, by connection and channel.
    pub(super) fn drain(&mut self) -> Result<Vec<(Address, Item)>, String> {
        self.broker.settle();
        let mut all = Vec::new();
        for (name, connection) in &mut self.connections {
            while !connection.closed && connection.receive(Duration::from_millis(1)) {}
            connection.parse()?;
            for (number, channel) in &mut connection.channels {
                let address = || Address { connection: name.clone(), channel: *number };
                all.extend(channel.received.drain(..).map(|item| (address(), item)));
            }
        }
        for (_, item) in &all {
            self.note_declared(item);
        }
        Ok(all)
    }

    fn expect(&mut self, address: &Address, want: &Item) -> Result<(), String> {
        let wanted = || format!("expected: {address} < {}\n    ", want);
        match want.name.as_str() {
            "heartbeat" => return self.expect_heartbeat(address).map_err(|reason| wanted() + &reason),
            name => {
                let method = spec::by_name(name).ok_or_else(|| format!("there is no method {name}"))?;
                check_fields(method, want)?;
            }
        }
        let got = self.next(address).map_err(|reason| wanted() + &reason)?;
        if matches(want, &got, &mut self.bindings) {
            Ok(())
        } else {
            Err(wanted() + &format!("got:      {address} < {got}{}", self.bound()))
        }
    }

    fn bound(&self) -> String {
        self.bindings.iter().map(|(name, value)| format!("\n    ${name} = {value}")).collect()
    }

    fn expect_named(&mut self, address: &Address, name: &str) -> Result<(), String> {
        self.expect(address, &Item { name: name.to_owned(), fields: Vec::new() })
    }

    fn expect_heartbeat(&mut self, address: &Address) -> Result<(), String> {
        let connection = self.connection(&address.connection)?;
        loop {
            connection.parse()?;
            if connection.heartbeats > 0 {
                connection.heartbeats -= 1;
                return Ok(());
            }
            if connection.closed || !connection.receive(PATIENCE) {
                return Err("got:      nothing".to_owned());
            }
        }
    }

    fn expect_bytes(&mut self, name: &str, want: &[u8]) -> Result<(), String> {
        let connection = self.connection(name)?;
        while connection.buffer.len() < want.len() && !connection.closed && connection.receive(PATIENCE) {}
        let got: Vec<u8> = connection.buffer.iter().take(want.len()).copied().collect();
        if got != want {
            return Err(format!("expected: {want:02x?}\n    got:      {got:02x?}"));
        }
        connection.buffer.drain(..want.len());
        Ok(())
    }

    /// The socket is closed, and nothing was said before.
    fn expect_closed(&mut self, name: &str) -> Result<(), String> {
        let connection = self.connection(name)?;
        while !connection.closed && connection.receive(PATIENCE) {}
        connection.parse()?;
        for (number, channel) in &connection.channels {
            if let Some(item) = channel.received.front() {
                return Err(format!("got:      {name}/{number} < {item}"));
            }
        }
        if !connection.buffer.is_empty() {
            return Err(format!("got:      {:02x?}", connection.buffer));
        }
        if connection.closed { Ok(()) } else { Err("got:      nothing".to_owned()) }
    }

    fn fails(&mut self, address: &Address, code: &Value, text: &Value, method: &str) -> Result<(), String> {
        let (class, id) = match method {
            "none" => (0, 0),
            "_" => (-1, -1),
            name => {
                let method = spec::by_name(name).ok_or_else(|| format!("there is no method {name}"))?;
                (method.class.into(), method.id.into())
            }
        };
        let number = |id: i32| if id < 0 { Value::Any } else { Value::Int(id.into()) };
        let fields = [
            ("reply_code", code.clone()),
            ("reply_text", text.clone()),
            ("class_id", number(class)),
            ("method_id", number(id)),
        ];
        let whole = address.channel == 0;
        let name = if whole { "connection.close" } else { "channel.close" };
        self.expect(address, &item(name, fields))?;
        self.send(address, &item::<0>(&format!("{name}-ok"), []))?;
        if whole { self.expect_closed(&address.connection) } else { Ok(()) }
    }

    /// Proves by a round trip that nothing else is to come on this channel.
    fn idle(&mut self, address: &Address) -> Result<(), String> {
        self.send(address, &item::<0>("access.request", []))?;
        self.expect_named(address, "access.request-ok")
    }

    fn confirmed(&mut self, address: &Address, first: u64, last: u64) -> Result<(), String> {
        let mut open: BTreeSet<u64> = (first..=last).collect();
        while !open.is_empty() {
            let wanted = || format!("expected: {address} < basic.ack of {open:?}\n    ");
            let got = self.next(address).map_err(|reason| wanted() + &reason)?;
            let tag = got.field("delivery_tag").and_then(Value::as_int).and_then(|tag| u64::try_from(tag).ok());
            let multiple = got.field("multiple") == Some(&Value::Bool(true));
            let settled = match tag {
                Some(tag) if got.name == "basic.ack" && open.contains(&tag) => tag,
                _ => return Err(wanted() + &format!("got:      {address} < {got}")),
            };
            open.retain(|tag| if multiple { *tag > settled } else { *tag != settled });
        }
        Ok(())
    }

    fn await_queue(&mut self, address: &Address, want: &Item) -> Result<(), String> {
        let queue = want.field("queue").cloned().ok_or("await needs queue=")?;
        let want = Item { name: "queue.declare-ok".to_owned(), fields: want.fields.clone() };
        let mut tries = 200;
        loop {
            self.send(address, &item("queue.declare", [("queue", queue.clone()), ("passive", Value::Bool(true))]))?;
            // Deliveries may come in between; they stay for the lines that expect them.
            let mut others = VecDeque::new();
            let got = loop {
                let got = self.next(address)?;
                if got.name == "queue.declare-ok" {
                    break got;
                }
                others.push_back(got);
            };
            let received = &mut self.connection(&address.connection)?.channel(address.channel).received;
            others.append(received);
            *received = others;
            if matches(&want, &got, &mut self.bindings) {
                return Ok(());
            }
            tries -= 1;
            if tries == 0 {
                return Err(format!("expected: {address} < {}\n    got:      {address} < {got}", want));
            }
            self.broker.sleep(Duration::from_millis(20));
        }
    }

    fn any_order(&mut self, items: &[Awaited]) -> Result<(), String> {
        let mut open: Vec<&Awaited> = items.iter().collect();
        while let Some((_, address, _)) = open.first() {
            let wanted = || {
                open.iter()
                    .map(|(line, at, want)| format!("\n    expected: (line {line}) {at} < {want}"))
                    .collect::<String>()
            };
            let got = self.next(address).map_err(|reason| format!("{}\n    {reason}", wanted()))?;
            let mut bindings = self.bindings.clone();
            let found = open.iter().position(|(_, at, want)| {
                bindings.clone_from(&self.bindings);
                at == address && matches(want, &got, &mut bindings)
            });
            let Some(found) = found else { return Err(format!("{}\n    got:      {address} < {got}", wanted())) };
            self.bindings = bindings;
            open.remove(found);
        }
        Ok(())
    }

    fn close(&mut self, address: &Address) -> Result<(), String> {
        let name = if address.channel == 0 { "connection.close" } else { "channel.close" };
        let code = ("reply_code", Value::Int(200));
        self.send(address, &item(name, [code]))?;
        self.expect_named(address, &format!("{name}-ok"))
    }

    /// Whatever the transcript did not mention must not have happened: every open channel is idle, every connection can be closed.
    fn finish(&mut self) -> Result<(), String> {
        let at_end = |reason: String| format!("at the end:\n    {reason}");
        self.broker.settle();
        let names: Vec<String> = self.connections.keys().cloned().collect();
        for name in names {
            let connection = self.connection(&name)?;
            if !connection.open || connection.closed {
                continue;
            }
            let open: Vec<u16> =
                connection.channels.iter().filter(|(_, channel)| channel.open).map(|(number, _)| *number).collect();
            for channel in open {
                self.idle(&Address { connection: name.clone(), channel }).map_err(at_end)?;
            }
            self.close(&Address { connection: name.clone(), channel: 0 }).map_err(at_end)?;
        }
        Ok(())
    }

    fn admin(&mut self, words: &[String], outcome: &Outcome) -> Result<(), String> {
        let got = self.broker.admin(words);
        self.undo.extend(undoing(words));
        if self.broker.is_shared() && words.first().is_some_and(|verb| raises_alarms(verb)) {
            // In RabbitMQ each connection hears of alarms by itself, a little after the command is done.
            self.broker.sleep(Duration::from_millis(200));
        }
        match (outcome, got) {
            (Outcome::Done, Ok(_)) => Ok(()),
            (Outcome::Gives(want), Ok(mut got)) => {
                let all = format!("{got:?}");
                for want in want {
                    let row = |row: &String| Value::Bytes(row.clone().into_bytes());
                    let found = got.iter().position(|got| want.matches(&row(got), &mut self.bindings));
                    got.remove(found.ok_or_else(|| format!("expected: {want}\n    got:      {all}"))?);
                }
                if got.is_empty() { Ok(()) } else { Err(format!("got:      {all}, also {got:?}")) }
            }
            (Outcome::Fails(want), Err(got)) => {
                if want.matches(&Value::Bytes(got.clone().into_bytes()), &mut self.bindings) {
                    Ok(())
                } else {
                    Err(format!("expected: {want}\n    got:      {got:?}"))
                }
            }
            (Outcome::Fails(_), Ok(rows)) => Err(format!("got:      {rows:?}")),
            (_, Err(reason)) => Err(format!("got:      {reason:?}")),
        }
    }

    /// Deletes what was declared, and takes back what was set; what is gone already answers like the rest.
    pub(super) fn clean_up(&mut self) {
        self.connections.clear();
        while let Some(words) = self.undo.pop().filter(|_| self.broker.is_shared()) {
            let _is_undone_already = self.broker.admin(&words);
        }
        if !self.broker.is_shared() || self.queues.is_empty() && self.exchanges.is_empty() {
            return;
        }
        let name = "clean-up";
        if self.connect(name, &item::<0>("connect", [])).is_err() {
            return;
        }
        let queues = std::mem::take(&mut self.queues).into_iter().map(|name| ("queue", name));
        let exchanges = std::mem::take(&mut self.exchanges).into_iter().map(|name| ("exchange", name));
        let address = Address { connection: name.to_owned(), channel: 1 };
        for (kind, object) in queues.chain(exchanges) {
            let _refused = self
                .send(&address, &item::<0>("channel.open", []))
                .and_then(|()| self.send(&address, &item(&format!("{kind}.delete"), [(kind, Value::Bytes(object))])))
                .and_then(|()| self.expect_named(&address, "channel.open-ok"))
                .and_then(|()| self.expect_named(&address, &format!("{kind}.delete-ok")))
                .and_then(|()| self.close(&address));
        }
        let _closed = self.close(&Address { connection: name.to_owned(), channel: 0 });
        self.connections.clear();
    }
}

impl Connection {
    fn channel(&mut self, number: u16) -> &mut Channel {
        self.channels.entry(number).or_default()
    }

    /// Waits for bytes; whether anything happened.
    fn receive(&mut self, wait: Duration) -> bool {
        match self.wire.receive(wait) {
            Received::Bytes(bytes) => self.buffer.extend(bytes),
            Received::Closed => self.closed = true,
            Received::Nothing => return false,
        }
        true
    }

    /// Takes the buffer apart into what each channel received.
    fn parse(&mut self) -> Result<(), String> {
        while let Some(frame) = wire::take_frame(&mut self.buffer)? {
            if frame.payload.len() + 8 > self.frame_max.max(4096) {
                return Err(format!("a frame of {} bytes is larger than negotiated", frame.payload.len() + 8));
            }
            match frame.kind {
                wire::HEARTBEAT => self.heartbeats += 1,
                wire::METHOD => {
                    let (method, fields) = wire::decode_method(&frame.payload)?;
                    let item = Item { name: method.name.to_owned(), fields };
                    let channel = self.channel(frame.channel);
                    if channel.partial.is_some() {
                        return Err(format!("{item} in the middle of a content"));
                    }
                    if method.has_content() {
                        channel.partial = Some((item, None, Vec::new()));
                    } else {
                        self.arrived(frame.channel, item);
                    }
                }
                _ => self.content(frame)?,
            }
        }
        Ok(())
    }

    fn content(&mut self, frame: wire::Frame) -> Result<(), String> {
        let channel = self.channel(frame.channel);
        let (item, missing, body) = channel.partial.as_mut().ok_or("content without a method")?;
        match (frame.kind, &missing) {
            (wire::HEADER, None) => {
                let (size, properties) = wire::decode_header(&frame.payload)?;
                item.fields.extend(properties);
                *missing = Some(size);
            }
            (wire::BODY, Some(size)) => {
                let left = size.checked_sub(frame.payload.len() as u64).ok_or("a body longer than its header says")?;
                *missing = Some(left);
                body.extend(frame.payload);
            }
            (kind, _) => return Err(format!("frame of type {kind} where content was due")),
        }
        if *missing == Some(0) {
            let (mut item, _, body) = channel.partial.take().expect("looked at above");
            item.fields.push(("body".to_owned(), Value::Bytes(body)));
            self.arrived(frame.channel, item);
        }
        Ok(())
    }

    fn arrived(&mut self, number: u16, item: Item) {
        self.note(number, &item);
        self.channel(number).received.push_back(item);
    }

    /// Keeps track of what is open, from what either side says.
    fn note(&mut self, number: u16, item: &Item) {
        match item.name.as_str() {
            "channel.open-ok" => self.channel(number).open = true,
            "channel.close" | "channel.close-ok" => self.channel(number).open = false,
            "connection.open-ok" => self.open = true,
            "connection.close-ok" => self.open = false,
            "connection.tune-ok" => {
                let frame_max = item.field("frame_max").and_then(Value::as_int).unwrap_or_default();
                self.frame_max = match usize::try_from(frame_max) {
                    Ok(0) | Err(_) => 131_072,
                    Ok(frame_max) => frame_max.clamp(64, 131_072),
                };
            }
            _ => {}
        }
    }
}

/// The command that takes back what a command has set, if it is known.
fn undoing(words: &[String]) -> Option<Vec<String>> {
    let mut plain = Vec::new();
    let mut vhost = Vec::new();
    let mut rest = words.iter().map(String::as_str);
    while let Some(word) = rest.next() {
        match word {
            "-p" | "--vhost" => vhost = ["-p", rest.next()?].to_vec(),
            "--priority" | "--apply-to" => drop(rest.next()),
            word => plain.push(word),
        }
    }
    let undo: &[&str] = match plain.as_slice() {
        ["add_vhost", name, ..] => &["delete_vhost", name],
        ["add_user", name, ..] => &["delete_user", name],
        ["set_policy", name, ..] => &["clear_policy", name],
        ["set_operator_policy", name, ..] => &["clear_operator_policy", name],
        ["set_parameter", component, name, ..] => &["clear_parameter", component, name],
        ["set_global_parameter", name, ..] => &["clear_global_parameter", name],
        ["set_permissions", "guest", ..] => &["set_permissions", "guest", ".*", ".*", ".*"],
        ["clear_permissions", "guest"] => &["set_permissions", "guest", ".*", ".*", ".*"],
        ["set_topic_permissions", user, ..] => &["clear_topic_permissions", user],
        ["set_user_tags", "guest", ..] => &["set_user_tags", "guest", "administrator"],
        ["set_vhost_limits", ..] => &["clear_vhost_limits"],
        ["set_user_limits", user, ..] => &["clear_user_limits", user, "all"],
        ["trace_on"] => &["trace_off"],
        ["set_vm_memory_high_watermark", ..] => &["set_vm_memory_high_watermark", "0.4"],
        ["set_disk_free_limit", ..] => &["set_disk_free_limit", "50MB"],
        _ => return None,
    };
    let (verb, rest) = undo.split_first()?;
    Some([*verb].into_iter().chain(vhost).chain(rest.iter().copied()).map(str::to_owned).collect())
}

fn item<const N: usize>(name: &str, fields: [(&str, Value); N]) -> Item {
    Item { name: name.to_owned(), fields: fields.map(|(key, value)| (key.to_owned(), value)).to_vec() }
}

/// A misspelt field would be sent as nothing, or compared with nothing.
fn check_fields(method: &spec::Method, item: &Item) -> Result<(), String> {
    for (key, _) in &item.fields {
        let own = method.fields.iter().any(|(name, _)| name == key);
        let content = method.has_content()
            && (spec::PROPERTIES.iter().any(|(name, _)| name == key)
                || ["body", "property_flags", "class", "weight", "size"].contains(&key.as_str()));
        if !own && !content {
            return Err(format!("{} has no {key}", method.name));
        }
    }
    Ok(())
}

fn matches(want: &Item, got: &Item, bindings: &mut Bindings) -> bool {
    want.name == got.name
        && want.fields.iter().all(|(key, want)| match got.field(key) {
            Some(got) => want.matches(got, bindings),
            None => false,
        })
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.connection)?;
        if self.channel == 0 { Ok(()) } else { write!(f, "/{}", self.channel) }
    }
}
