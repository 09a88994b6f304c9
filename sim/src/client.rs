//! One simulated client program: its connection's life, around what it does (`workload`).

use std::sync::Arc;

use bytes::Bytes;
use leveret_engine::amqp::{RawProperties, Routing, ShortStr};
use leveret_engine::client::{Client, ClientConfig, ClientEvent, Limits};
use leveret_engine::time::Instant;

use crate::availability::Hunger;
use crate::clock::{MILLISECOND, Micros};
use crate::history::Fact;
use crate::lab;
use crate::message::{self, MessageInfo, MessageNumber, Messages, Room};
use crate::nodes::At;
use crate::plan::{ClientPlan, Topology};
use crate::rng::{Fate, scale};
use crate::workload::{self, Workload};

/// A client program, with or without a connection at the moment.
#[derive(Debug)]
pub(crate) struct Actor {
    /// Its number.
    pub(crate) index: u32,
    /// Its plan.
    pub(crate) plan: ClientPlan,
    /// Whether it uses queues that all nodes share.
    pub(crate) is_sharing: bool,
    /// Its connection, as the world numbers them.
    pub(crate) link: Option<u32>,
    machine: Option<Client>,
    workload: Box<dyn Workload>,
    events: Vec<ClientEvent>,
    fates: Fate,
    connections: u64,
    /// When its workload wants to be woken.
    wake: Option<Micros>,
    /// The event scheduled for it, so that older ones are known as such.
    pub(crate) scheduled: Option<Micros>,
    is_stopping: bool,
    is_leaving: bool,
}

/// What a client wants of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To go on.
    Stay,
    /// To close the socket after what it has said.
    Close,
    /// To vanish: the connection is reset.
    Crash,
}

/// What a workload may touch.
pub(crate) struct Scope<'a> {
    /// The client's number.
    pub(crate) client: u32,
    /// The time.
    pub(crate) now: Micros,
    /// The protocol machine.
    pub(crate) machine: &'a mut Client,
    /// All messages of the run.
    pub(crate) messages: &'a mut Messages,
    /// Where findings go.
    pub(crate) facts: &'a mut Vec<Fact>,
    /// What the topology is meant to be.
    pub(crate) topology: &'a Topology,
    /// The client's own chances.
    pub(crate) fates: Fate,
    /// Whether its system takes more bytes.
    pub(crate) has_room: bool,
    /// Whether nothing more is to be begun.
    pub(crate) is_stopping: bool,
    wake: &'a mut Option<Micros>,
    wish: Wish,
}

impl Actor {
    /// A client before its first connection.
    pub(crate) fn new(seed: u64, index: u32, plan: ClientPlan, topology: &Topology) -> Self {
        let workload = workload::make(&plan.role, topology);
        Self::with_workload(seed, index, plan, workload)
    }

    /// A client that does what the caller wants.
    pub(crate) fn with_workload(seed: u64, index: u32, plan: ClientPlan, workload: Box<dyn Workload>) -> Self {
        Self {
            index,
            wake: Some(plan.start_us),
            plan,
            is_sharing: false,
            link: None,
            machine: None,
            workload,
            events: Vec::new(),
            fates: Fate::new(seed ^ (u64::from(index) << 32), "client"),
            connections: 0,
            scheduled: None,
            is_stopping: false,
            is_leaving: false,
        }
    }

    /// The node that it connects to.
    pub(crate) fn node(&self) -> At {
        At::new(self.plan.node)
    }

    /// When it wants to be woken next.
    pub(crate) fn next_wake(&self) -> Option<Micros> {
        let heartbeat = self.machine.as_ref().and_then(Client::next_timeout).map(Instant::as_micros);
        match (self.wake, heartbeat) {
            (Some(wake), Some(heartbeat)) => Some(wake.min(heartbeat)),
            (wake, heartbeat) => wake.or(heartbeat),
        }
    }

    /// Whether it wants a connection now.
    pub(crate) fn wants_connection(&self, now: Micros) -> bool {
        self.link.is_none()
            && !self.is_leaving
            && self.wake.is_some_and(|wake| wake <= now)
            && self.workload.wants_connection()
    }

    /// There is no connection to be had.
    pub(crate) fn refused(&mut self, now: Micros) {
        self.lost(now);
    }

    /// Its connection is there.
    pub(crate) fn connected(&mut self, link: u32) {
        self.link = Some(link);
        self.wake = None;
        let limits = Limits { channel_max: 0, frame_max: self.plan.frame_max, heartbeat_s: self.plan.heartbeat_s };
        self.machine = Some(Client::new(ClientConfig { limits, ..ClientConfig::default() }));
    }

    /// Its connection is gone.
    pub(crate) fn lost(&mut self, now: Micros) {
        self.link = None;
        self.machine = None;
        self.events.clear();
        self.workload.lost(now);
        self.connections += 1;
        let (low, high) = self.plan.reconnect_us;
        let delay = scale(self.fates.of(1, self.connections), low, high);
        self.wake = (!self.is_leaving).then(|| now + delay.max(MILLISECOND));
    }

    /// Nothing more is to be begun.
    pub(crate) fn stop(&mut self, now: Micros) {
        self.is_stopping = true;
        self.wake = Some(now);
    }

    /// It is to close its connection and not come back.
    pub(crate) fn leave(&mut self, now: Micros) {
        self.is_leaving = true;
        self.wake = Some(now);
    }

    /// Whether the run ends only once it has come to an end.
    pub(crate) fn is_awaited(&self) -> bool {
        self.link.is_some() || self.workload.is_awaited()
    }

    /// What it still waits for, in words; `None` when it has come to an end.
    pub(crate) fn waiting_for(&self) -> Option<String> {
        self.workload.waiting_for().map(|what| format!("client {} waits for {what}", self.index))
    }

    /// If it is to be answered: how many answers it had so far, and whether it waits for one or has something to say that takes one.
    pub(crate) fn answers(&self, now: Micros) -> Option<(u64, bool)> {
        let (answers, wants) = self.workload.answers(now)?;
        Some((answers, wants && now >= self.plan.start_us))
    }

    /// If it consumes: what it has had, and whether it could take more.
    pub(crate) fn hunger(&self, now: Micros) -> Option<Hunger<'_>> {
        self.workload.hunger().filter(|_| now >= self.plan.start_us)
    }

    /// Takes bytes from its connection.
    pub(crate) fn receive(&mut self, now: Micros, bytes: Bytes, world: Surroundings<'_>) -> Wish {
        let Some(machine) = &mut self.machine else { return Wish::Stay };
        let mut events = std::mem::take(&mut self.events);
        let result = machine.handle_bytes(Instant::from_micros(now), bytes, &mut events);
        let mut wish = Wish::Stay;
        if !events.is_empty() {
            let mut scope = scope(self.index, now, machine, self.fates, self.is_stopping, &mut self.wake, world);
            for event in events.drain(..) {
                if let ClientEvent::ConnectionClosed { .. } = event {
                    scope.wish = Wish::Close;
                    break;
                }
                if self.is_leaving {
                    continue;
                }
                match event {
                    ClientEvent::Connected { .. } => self.workload.connected(&mut scope),
                    event => self.workload.event(&mut scope, event),
                }
            }
            wish = scope.wish;
        }
        events.clear();
        self.events = events;
        if result.is_err() { Wish::Crash } else { wish }
    }

    /// Its time has come.
    pub(crate) fn wake(&mut self, now: Micros, world: Surroundings<'_>) -> Wish {
        let Some(machine) = &mut self.machine else { return Wish::Stay };
        if machine.handle_timeout(Instant::from_micros(now)).is_err() {
            return Wish::Crash;
        }
        let is_woken = self.wake.is_some_and(|wake| wake <= now);
        if is_woken {
            self.wake = None;
        }
        if self.is_leaving {
            if machine.is_open() {
                machine.close();
            } else if is_woken && !machine.is_closed() {
                // Not open yet, or already closing: a socket may just be closed.
                self.wake = Some(now + 5000 * MILLISECOND);
            }
            return Wish::Stay;
        }
        if !is_woken || !machine.is_open() {
            return Wish::Stay;
        }
        let mut scope = scope(self.index, now, machine, self.fates, self.is_stopping, &mut self.wake, world);
        self.workload.wake(&mut scope);
        scope.wish
    }

    /// There is room again for what it wants to send.
    pub(crate) fn has_room(&mut self, now: Micros) {
        if self.workload.wants_room() {
            self.wake = Some(self.wake.map_or(now, |wake| wake.min(now)));
        }
    }

    /// What it says, and forgets.
    pub(crate) fn take_output(&mut self) -> Bytes {
        self.machine.as_mut().map(Client::take_output).unwrap_or_default()
    }
}

/// What the world lends a client.
pub(crate) struct Surroundings<'a> {
    /// All messages of the run.
    pub(crate) messages: &'a mut Messages,
    /// Where findings go.
    pub(crate) facts: &'a mut Vec<Fact>,
    /// What the topology is meant to be.
    pub(crate) topology: &'a Arc<Topology>,
    /// Whether the client's system takes more bytes.
    pub(crate) has_room: bool,
}

fn scope<'a>(
    client: u32,
    now: Micros,
    machine: &'a mut Client,
    fates: Fate,
    is_stopping: bool,
    wake: &'a mut Option<Micros>,
    world: Surroundings<'a>,
) -> Scope<'a> {
    let Surroundings { messages, facts, topology, has_room } = world;
    Scope { client, now, machine, messages, facts, topology, fates, has_room, is_stopping, wake, wish: Wish::Stay }
}

impl Scope<'_> {
    /// Asks to be woken.
    pub(crate) fn wake_after(&mut self, delay: Micros) {
        let time = self.now + delay;
        *self.wake = Some(self.wake.map_or(time, |wake| wake.min(time)));
    }

    /// Says what is to become of the connection.
    pub(crate) fn wish(&mut self, wish: Wish) {
        self.wish = wish;
    }

    /// Publishes a message; returns its number and, in confirm mode, its seqno.
    pub(crate) fn publish(
        &mut self,
        exchange: &str,
        key: &str,
        mandatory: bool,
        info: MessageInfo,
    ) -> (MessageNumber, Option<u64>) {
        let number = self.messages.add(info);
        let Room { routing, properties, body } = &mut self.messages.room;
        message::write_routing(routing, exchange, key);
        message::write_properties(properties, number, &info);
        message::write_body(body, number, &info);
        let seqno = self
            .machine
            .publish_encoded(CHANNEL, routing, mandatory, properties, body)
            .expect("workloads publish only on an open channel");
        (number, seqno)
    }

    /// Publishes a message with a content of its own; returns its seqno. Nothing is done if the channel is not open.
    pub(crate) fn publish_own(
        &mut self,
        exchange: &str,
        key: &str,
        mandatory: bool,
        message: &lab::Message,
    ) -> Option<u64> {
        if !self.machine.is_open() || !self.machine.is_channel_open(CHANNEL) {
            return None;
        }
        let number = self.messages.add_own(message.info(self.client), |number| message.content(number));
        let own = self.messages.own(number)?;
        let properties = RawProperties::parse(own.properties.clone()).expect("they were just encoded");
        let routing = Routing::new(&short(exchange), &short(key));
        self.machine.publish(CHANNEL, &routing, mandatory, &properties, &own.body).ok().flatten()
    }

    /// Compares what arrived with what was published.
    pub(crate) fn verify(&mut self, properties: &RawProperties, body: &[u8]) {
        let (message, wrong) = self.messages.compare(properties, body, self.topology.rewrites);
        self.facts.push(Fact::Read { client: self.client, message, wrong });
    }
}

/// The one channel that a workload uses.
pub(crate) const CHANNEL: u16 = 1;

/// A short string of a name in the plan.
pub(crate) fn short(text: &str) -> ShortStr {
    ShortStr::try_from(text).expect("names in plans are short")
}
