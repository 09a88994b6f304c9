//! A small world for one experiment: the real engine with its disk, and clients that do one thing at a time.
//!
//! Nothing here is left to chance: whoever runs an experiment says what happens next, and [`Lab::run`] lets the world come to rest.
//! Time passes only as far as the disk takes it, or by [`Lab::wait`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use leveret_engine::amqp::method::basic;
use leveret_engine::amqp::{Method, Properties, RawProperties, Routing, ShortStr};
use leveret_engine::client::{Client, ClientConfig, ClientEvent, Limits};
use leveret_engine::config::{Config, LogConfig};
use leveret_engine::effect::{ClientControl, Effects, Stop};
use leveret_engine::engine::{Engine, QueueStatus};
use leveret_engine::event::Event;
use leveret_engine::ids::{AdminId, ConnectionId};
use leveret_engine::input::Input;
use leveret_engine::management::{AdminReply, AdminRequest};
use leveret_engine::time::Instant;

use crate::clock::{MILLISECOND, Micros, NodeClock, SECOND};
use crate::disk::{Lane, SimDisk};
use crate::plan::{DiskPlan, Ending};
use crate::rng::{Ratio, key};

/// Every experiment has the same disk fates: its course is in its steps.
const SEED: u64 = 1;
/// Inputs without progress of time that mean the engine spins.
const INPUTS_AT_ONCE_MAX: u32 = 1_000_000;
/// Bytes of a segment of the log.
const SEGMENT_BYTES: u64 = 1024 * 1024;
/// The user that all clients are; it may do everything.
pub(super) const USER: &str = "leveret-topology";
/// The one channel of a client.
const CHANNEL: u16 = 1;

/// The world.
#[derive(Debug)]
pub(super) struct Lab {
    engine: Option<Box<Engine>>,
    disk: SimDisk,
    clock: NodeClock,
    time: Micros,
    boot: u64,
    /// Disk operations under way, by when they are done.
    due: BTreeMap<(Micros, u64), Lane>,
    order: u64,
    parties: Vec<Party>,
    answers: Vec<(AdminId, Result<AdminReply, String>)>,
    asked: u64,
    events: Vec<Event>,
    is_stopped: bool,
}

/// A client, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PartyId(usize);

#[derive(Debug)]
struct Party {
    machine: Client,
    events: Vec<ClientEvent>,
    is_connected: bool,
    is_paused: bool,
}

/// A message that came to a consumer.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// The number to acknowledge it by.
    pub(super) tag: u64,
    /// Its `message-id`.
    pub(super) message: String,
}

impl Lab {
    /// A node that has just been started on an empty disk.
    pub(super) fn new() -> Self {
        let disk = DiskPlan { tail: Ratio::NEVER, ..DiskPlan::default() };
        let mut lab = Self {
            engine: None,
            disk: SimDisk::new(SEED, disk),
            clock: NodeClock::new(0, 0),
            time: 0,
            boot: 0,
            due: BTreeMap::new(),
            order: 0,
            parties: Vec::new(),
            answers: Vec::new(),
            asked: 0,
            events: Vec::new(),
            is_stopped: false,
        };
        lab.boot();
        lab
    }

    /// Microseconds since the experiment began.
    pub(super) fn time(&self) -> Micros {
        self.time
    }

    /// Starts the node on what its disk holds, and waits until it is ready.
    pub(super) fn boot(&mut self) {
        self.clock = NodeClock::new(self.time, 0);
        let config = Config {
            default_user: USER.to_owned(),
            default_pass: USER.to_owned(),
            loopback_users: Vec::new(),
            heartbeat: Duration::ZERO,
            fine_events: true,
            message_size_max: 256 * 1024,
            // A lab lives for a few messages: what would be allocated for more takes longer than the experiment.
            log: LogConfig { segment_bytes: SEGMENT_BYTES, ..LogConfig::default() },
            ..Config::default()
        };
        self.engine = Some(Box::new(Engine::new(config, key(SEED, "engine", self.boot))));
        self.is_stopped = false;
        self.flush();
        self.run();
        let is_ready = self.engine.as_ref().is_some_and(|engine| engine.is_ready());
        assert!(is_ready, "a node recovers from a disk that only lost what was not synced");
    }

    /// Ends the node in the given way, with all connections to it.
    pub(super) fn end(&mut self, how: Ending) {
        if how == Ending::Shutdown {
            self.input(Input::Shutdown);
            self.run();
            assert!(self.is_stopped, "a node that is asked to stop does");
        }
        self.engine = None;
        self.boot += 1;
        self.due.clear();
        match how {
            Ending::PowerLoss => self.disk.power_loss(),
            Ending::Kill | Ending::Shutdown => self.disk.kill(),
        }
        for party in &mut self.parties {
            party.is_connected = false;
        }
    }

    /// Lets everything happen that needs no more time than the disk's.
    pub(super) fn run(&mut self) {
        while self.step(None) {}
    }

    /// Lets time pass, with all that happens meanwhile.
    pub(super) fn wait(&mut self, for_us: Micros) {
        let until = self.time + for_us;
        while self.step(Some(until)) {}
        self.time = self.time.max(until);
        self.run();
    }

    /// The next thing that happens, if there is any: a disk operation is done, or, before `until`, a timer is due.
    fn step(&mut self, until: Option<Micros>) -> bool {
        let disk = self.due.first_key_value().map(|(&(at, _), _)| at);
        let timer = self.engine.as_ref().and_then(|engine| engine.next_timeout());
        let timer = timer.map(|(at, _)| self.clock.world_time(at).max(self.time));
        let timer = timer.filter(|at| until.map_or(*at <= self.time, |until| *at <= until));
        match (disk, timer) {
            (Some(at), timer) if timer.is_none_or(|timer| at <= timer) => {
                if until.is_some_and(|until| at > until) {
                    return false;
                }
                self.time = self.time.max(at);
                let (_, lane) = self.due.pop_first().expect("just looked at");
                match self.disk.complete(self.time, lane) {
                    Ok(Some(input)) => self.input(input),
                    Ok(None) => {}
                    Err(until) => {
                        self.order += 1;
                        self.due.insert((until, self.order), lane);
                    }
                }
                true
            }
            (_, Some(at)) => {
                self.time = at;
                self.input(Input::Timeout);
                true
            }
            (_, None) => false,
        }
    }

    // --- administration

    /// Asks the node for something.
    ///
    /// # Errors
    /// With the node's words if the answer is no.
    pub(super) fn ask(&mut self, request: impl Into<AdminRequest>) -> Result<AdminReply, String> {
        self.asked += 1;
        let id = AdminId(self.asked);
        self.input(Input::Admin { id, request: Box::new(request.into()) });
        self.run();
        let at = self.answers.iter().position(|(answered, _)| *answered == id);
        self.answers.swap_remove(at.expect("every request is answered once the log has what it changes")).1
    }

    /// All queues as they are.
    pub(super) fn queues(&self) -> Vec<QueueStatus> {
        self.engine.as_ref().map(|engine| engine.queues()).unwrap_or_default()
    }

    /// What the engine reported since this was called last.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    // --- clients

    /// Connects a client to a vhost and opens its channel.
    ///
    /// # Errors
    /// If the node does not let it in.
    pub(super) fn connect(&mut self, vhost: &str) -> Result<PartyId, String> {
        let config = ClientConfig {
            user: USER.to_owned(),
            password: USER.to_owned(),
            virtual_host: short(vhost),
            limits: Limits { heartbeat_s: 0, ..Limits::default() },
            ..ClientConfig::default()
        };
        let id = PartyId(self.parties.len());
        let machine = Client::new(config);
        self.parties.push(Party { machine, events: Vec::new(), is_connected: true, is_paused: false });
        let peer = SocketAddr::from(([127, 0, 0, 1], 40_000));
        let local = SocketAddr::from(([127, 0, 0, 1], 5672));
        self.input(Input::ClientOpened { connection: connection(id), peer, local });
        self.speak(id);
        let party = &mut self.parties[id.0];
        if party.machine.open_channel(CHANNEL).is_err() {
            return Err(format!("the node refuses a connection to vhost '{vhost}': {:?}", party.events));
        }
        self.speak(id);
        self.parties[id.0].events.clear();
        Ok(id)
    }

    /// Ends a client's connection without a word, as a crash does.
    pub(super) fn crash(&mut self, id: PartyId) {
        self.parties[id.0].is_connected = false;
        self.input(Input::ClientClosed { connection: connection(id) });
        self.run();
    }

    /// Sends a method and lets the world come to rest.
    pub(super) fn send(&mut self, id: PartyId, method: impl Into<Method>) {
        let _ = self.parties[id.0].machine.send(CHANNEL, method);
        self.speak(id);
    }

    /// Says a publish, without waiting for anything.
    pub(super) fn publish(
        &mut self,
        id: PartyId,
        (exchange, routing_key): (&str, &str),
        mandatory: bool,
        properties: &Properties,
        body: &[u8],
    ) -> Option<u64> {
        let routing = Routing::new(&short(exchange), &short(routing_key));
        let properties = RawProperties::from(properties);
        let party = &mut self.parties[id.0];
        let seqno = party.machine.publish(CHANNEL, &routing, mandatory, &properties, body).ok()?;
        self.pump(id);
        seqno
    }

    /// Acks a delivery.
    pub(super) fn ack(&mut self, id: PartyId, tag: u64) {
        let _ = self.parties[id.0].machine.ack(CHANNEL, tag, false);
        self.speak(id);
    }

    /// Refuses a delivery by `basic.reject`, which counts for the delivery limit in every version of RabbitMQ.
    pub(super) fn reject(&mut self, id: PartyId, tag: u64, requeue: bool) {
        self.send(id, basic::Reject { delivery_tag: tag, requeue });
    }

    /// Begins to consume.
    pub(super) fn consume(&mut self, id: PartyId, queue: &str, auto_ack: bool, prefetch: u16) {
        if prefetch > 0 {
            self.send(id, basic::Qos { prefetch_size: 0, prefetch_count: prefetch, global: false });
        }
        let (queue, consumer_tag) = (short(queue), ShortStr::from_static("consumer"));
        self.send(id, basic::Consume { queue, consumer_tag, no_ack: auto_ack, ..basic::Consume::default() });
    }

    /// Takes one message out with `basic.get`, to be answered.
    pub(super) fn get(&mut self, id: PartyId, queue: &str) -> Option<Delivery> {
        self.send(id, basic::Get { queue: short(queue), no_ack: false });
        self.take_said(id).into_iter().find_map(|event| match event {
            ClientEvent::GetOk { delivery_tag, properties, .. } => {
                Some(Delivery { tag: delivery_tag, message: message_id(&properties) })
            }
            _ => None,
        })
    }

    /// What the node said to a client since this was called last.
    pub(super) fn take_said(&mut self, id: PartyId) -> Vec<ClientEvent> {
        std::mem::take(&mut self.parties[id.0].events)
    }

    /// What came to a consumer since this or [`Self::take_said`] was called last.
    pub(super) fn deliveries(&mut self, id: PartyId) -> Vec<Delivery> {
        let delivery = |event| match event {
            ClientEvent::Delivery { delivery_tag, properties, .. } => {
                Some(Delivery { tag: delivery_tag, message: message_id(&properties) })
            }
            _ => None,
        };
        self.take_said(id).into_iter().filter_map(delivery).collect()
    }

    /// Whether the client's channel is still open.
    pub(super) fn is_open(&self, id: PartyId) -> bool {
        let party = &self.parties[id.0];
        party.is_connected && party.machine.is_channel_open(CHANNEL)
    }

    fn speak(&mut self, id: PartyId) {
        self.pump(id);
        self.run();
    }

    /// Carries what a client has said to the node.
    fn pump(&mut self, id: PartyId) {
        let party = &mut self.parties[id.0];
        if !party.is_connected || party.is_paused {
            return;
        }
        let bytes = party.machine.take_output();
        if !bytes.is_empty() {
            self.input(Input::ClientReceived { connection: connection(id), bytes });
        }
    }

    // --- the node's driver

    fn input(&mut self, input: Input) {
        let mut inputs = std::collections::VecDeque::from([input]);
        let mut count = 0;
        while let Some(input) = inputs.pop_front() {
            count += 1;
            assert!(count < INPUTS_AT_ONCE_MAX, "the engine and its clients talk without end");
            let now = self.clock.now(self.time);
            let Some(engine) = &mut self.engine else { return };
            let mut effects = Effects::default();
            engine.handle(now, input, &mut effects);
            engine.flush(now, &mut effects);
            self.carry_out(effects, &mut inputs);
        }
    }

    fn flush(&mut self) {
        let now = self.clock.now(self.time);
        let Some(engine) = &mut self.engine else { return };
        let mut effects = Effects::default();
        engine.flush(now, &mut effects);
        let mut inputs = std::collections::VecDeque::new();
        self.carry_out(effects, &mut inputs);
        assert!(inputs.is_empty(), "nobody is connected before the node is ready");
    }

    fn carry_out(&mut self, effects: Effects, inputs: &mut std::collections::VecDeque<Input>) {
        let Effects { sends, controls, peers, peer_controls, disk, mut events, admin, stop } = effects;
        assert!(peers.is_empty() && peer_controls.is_empty(), "a node alone knows no others");
        self.events.append(&mut events);
        for request in disk {
            let (due, lane) = self.disk.submit(self.time, request);
            self.order += 1;
            self.due.insert((due, self.order), lane);
        }
        for answer in admin {
            self.answers.push((answer.id, answer.reply.map_err(|error| error.text)));
        }
        for send in sends {
            let id = party(send.connection);
            let party = &mut self.parties[id.0];
            if !party.is_connected {
                continue;
            }
            inputs.push_back(Input::ClientWritten { connection: send.connection, bytes: send.bytes.len() });
            let now = Instant::from_micros(self.time);
            party.machine.handle_bytes(now, send.bytes, &mut party.events).expect("the node speaks the protocol");
            let bytes = party.machine.take_output();
            if !bytes.is_empty() {
                inputs.push_back(Input::ClientReceived { connection: send.connection, bytes });
            }
        }
        for control in controls {
            match control {
                ClientControl::PauseReads(connection) => self.parties[party(connection).0].is_paused = true,
                ClientControl::ResumeReads(connection) => {
                    let party = &mut self.parties[party(connection).0];
                    party.is_paused = false;
                    let bytes = party.machine.take_output();
                    if !bytes.is_empty() && party.is_connected {
                        inputs.push_back(Input::ClientReceived { connection, bytes });
                    }
                }
                ClientControl::Close(connection) => {
                    self.parties[party(connection).0].is_connected = false;
                    inputs.push_back(Input::ClientClosed { connection });
                }
            }
        }
        match stop {
            Some(Stop::Clean) => self.is_stopped = true,
            Some(Stop::Damaged(text) | Stop::Fatal(text)) => {
                panic!("the node stops by itself on a disk that does its work: {text}")
            }
            None => {}
        }
    }
}

/// The `message-id` of a message; all that are published here have one.
fn message_id(properties: &RawProperties) -> String {
    String::from_utf8_lossy(properties.message_id().unwrap_or_default()).into_owned()
}

fn connection(id: PartyId) -> ConnectionId {
    ConnectionId(id.0 as u64 + 1)
}

fn party(connection: ConnectionId) -> PartyId {
    PartyId(usize::try_from(connection.0 - 1).expect("numbered by the lab"))
}

/// A name that AMQP can carry; those of definitions have been accepted by the engine.
pub(super) fn short(text: &str) -> ShortStr {
    ShortStr::truncated(text)
}

/// A time for people: as much of it as matters.
pub(super) fn shown(time: Micros) -> String {
    const MINUTE: Micros = 60 * SECOND;
    match time {
        0..SECOND => format!("{} ms", time / MILLISECOND),
        SECOND..MINUTE if time % SECOND < 100 * MILLISECOND => format!("{} s", time / SECOND),
        SECOND..MINUTE => format!("{}.{} s", time / SECOND, time % SECOND / (100 * MILLISECOND)),
        _ => {
            let (days, hours, minutes) = (time / (1440 * MINUTE), time / (60 * MINUTE) % 24, time / MINUTE % 60);
            let parts = [(days, "d"), (hours, "h"), (minutes, "min"), (time / SECOND % 60, "s")];
            let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or_default();
            // Two units say enough; the smaller is left out where it is none.
            let shown = parts[first..].iter().take(2).filter(|(count, _)| *count > 0);
            shown.map(|(count, unit)| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_people_say_them() {
        for (time, text) in [
            (0, "0 ms"),
            (1_499, "1 ms"),
            (31 * SECOND, "31 s"),
            (31 * SECOND + 250 * MILLISECOND, "31.2 s"),
            (300 * SECOND, "5 min"),
            (1801 * SECOND, "30 min 1 s"),
            (86_400 * SECOND, "1 d"),
            (90_061 * SECOND, "1 d 1 h"),
        ] {
            assert_eq!(shown(time), text);
        }
    }

    #[test]
    fn what_is_confirmed_survives_the_power_and_what_is_not_may_not() {
        use leveret_engine::amqp::method::{confirm, queue};
        for (confirmed, survivors) in [(true, 1), (false, 0)] {
            let mut lab = Lab::new();
            let client = lab.connect("/").unwrap();
            lab.send(client, confirm::Select { no_wait: false });
            let queue = short("q");
            lab.send(client, queue::Declare { queue, durable: true, ..queue::Declare::default() });
            let properties = Properties { delivery_mode: Some(2), ..Properties::default() };
            lab.publish(client, ("", "q"), false, &properties, b"x");
            if confirmed {
                lab.run();
                assert!(lab.take_said(client).iter().any(|said| matches!(said, ClientEvent::Acked { .. })));
            }
            lab.end(Ending::PowerLoss);
            assert!(!lab.is_open(client) && lab.queues().is_empty());
            lab.boot();
            assert_eq!(lab.queues()[0].ready, survivors);
        }
    }
}
