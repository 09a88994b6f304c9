//! Three members and the sessions of some nodes in a world where leaders change, what they say is lost, late or comes twice, nodes
//! restart, and members are replaced from snapshots. All of it follows from a seed.
//!
//! One more member, the truth, applies every entry as it is committed and is never lost. It shows what should have happened.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use super::super::{
    Actions, Applied, BodyPlace, Boot, Carried, Checkout, Command, CreditMode, DeadLetters, DeathNumber, Delivery,
    Enqueue, EntryWriter, LogIndex, Meta, NodeId, Notice, NumberRange, Payload, QuorumQueue, ReturnKind, Session,
    SessionEvent, SessionId, Settings, Sync, SyncAnswer, deaths, decode_entry,
};
use super::Rng;
use crate::mutants::Mutant;

const MEMBERS: usize = 3;
const NODES: u64 = 3;
/// Steps with faults.
const STEPS: u64 = 400;
/// Rounds without, after which everything has come to rest at the latest.
const QUIET_ROUNDS: u64 = 5000;

/// Something on its way.
#[derive(Clone)]
enum Packet {
    /// To whoever leads.
    Commands(Vec<u8>),
    Sync(Sync),
    /// To a session.
    Applied(Applied),
    Delivery(Delivery),
    Notice(Notice),
    Answer(SyncAnswer),
}

/// A channel on some node.
struct Client {
    session: Session,
    /// Who publishes, whatever the session is called.
    publisher: u64,
    published: u64,
    tags: Vec<u32>,
    /// What it has not settled.
    holds: Vec<(u32, u64)>,
    is_ending: bool,
}

#[derive(Default)]
struct World {
    rng: Rng,
    now: u64,
    log: Vec<Vec<u8>>,
    walls: Vec<u64>,
    members: Vec<QuorumQueue>,
    truth: QuorumQueue,
    leader: usize,
    boots: BTreeMap<u64, u64>,
    /// The next session of each node's life.
    numbers: BTreeMap<(u64, u64), u64>,
    clients: Vec<Client>,
    publishers: u64,
    /// What is under way, with the step in which it arrives.
    packets: Vec<(u64, Packet)>,
    step: u64,
    is_quiet: bool,
    mutant: Option<Mutant>,
    settings: Settings,
    /// What publishers were told is safe.
    confirmed: BTreeSet<(u64, u64)>,
    /// What publishers were told was refused.
    rejected: BTreeSet<(u64, u64)>,
    /// What died: of these it is not said that anybody got them.
    died: BTreeSet<(u64, u64)>,
    /// Where each message is, as first delivered.
    places: BTreeMap<(u64, u64), BodyPlace>,
    /// Where a body was at first that is in the log again.
    first_places: BTreeMap<BodyPlace, BodyPlace>,
    /// What clients got, with the number of times that it had come back before.
    seen: BTreeMap<BodyPlace, u16>,
    /// Deliveries that clients got.
    got: BTreeSet<(super::super::ConsumerId, u64)>,
    /// What each publisher published last of what was delivered for the first time.
    order: BTreeMap<u64, u64>,
    violations: Vec<String>,
}

impl Default for Rng {
    fn default() -> Self {
        Self::new(0)
    }
}

impl World {
    fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut rng = Rng::new(seed);
        let settings = Settings {
            single_active_consumer: rng.percent(40),
            disconnected_timeout_ms: 200 + rng.below(2000),
            delivery_limit: rng.percent(30).then(|| u16::try_from(rng.below(3)).unwrap()),
            dead_letters: if rng.percent(30) { DeadLetters::AtLeastOnce } else { DeadLetters::AtMostOnce },
            length_max: rng.percent(30).then(|| 5 + rng.below(40)),
            rejects_publish: true,
            ..Settings::default()
        };
        let mut world = Self { rng, now: 1_000_000, mutant, settings, ..Self::default() };
        world.members = (0..MEMBERS).map(|_| world.member()).collect();
        world.truth = world.member();
        world.boots = (1..=NODES).map(|node| (node, 1)).collect();
        let settings = Command::Update(world.settings.clone().into());
        world.commit_command(&settings);
        (1..=NODES).for_each(|node| world.open(node));
        world
    }

    fn member(&self) -> QuorumQueue {
        let mut member = QuorumQueue::default();
        member.plant(self.mutant);
        member
    }

    fn run(&mut self) {
        while self.step < STEPS && self.violations.is_empty() {
            self.act();
            self.pump();
        }
        if self.violations.is_empty() {
            self.come_to_rest();
        }
    }

    fn act(&mut self) {
        let client = self.rng.index(self.clients.len());
        match self.rng.below(100) {
            0..30 => client.into_iter().for_each(|at| self.publish(at)),
            30..36 => client.into_iter().for_each(|at| self.consume(at)),
            36..40 => client.into_iter().for_each(|at| self.cancel(at)),
            40..43 => {
                if let Some(at) = client.filter(|at| !self.clients[*at].is_ending) {
                    let no_ack = self.rng.percent(30);
                    self.clients[at].session.get(no_ack);
                }
            }
            43..60 => client.into_iter().for_each(|at| self.settle(at)),
            60..65 => client.into_iter().for_each(|at| self.give_back(at)),
            65 => self.dead_letter(),
            66..69 => client.into_iter().for_each(|at| self.end(at)),
            69..72 => {
                let node = self.some_node();
                self.open(node);
            }
            72..74 => self.restart(),
            74..79 => self.change_leader(),
            79..83 => self.suspect(),
            83..86 => self.replace(),
            86..96 => self.pass_time(),
            _ => client.into_iter().for_each(|at| self.clients[at].session.on_timeout()),
        }
    }

    fn some_node(&mut self) -> u64 {
        1 + self.rng.below(NODES)
    }

    fn open(&mut self, node: u64) {
        let id = self.next_id(node);
        let mut session = Session::new(id);
        session.plant(self.mutant);
        self.publishers += 1;
        let publisher = self.publishers;
        self.clients.push(Client {
            session,
            publisher,
            published: 0,
            tags: Vec::new(),
            holds: Vec::new(),
            is_ending: false,
        });
    }

    fn next_id(&mut self, node: u64) -> SessionId {
        let boot = self.boots[&node];
        let number = self.numbers.entry((node, boot)).or_default();
        *number += 1;
        SessionId { node: NodeId(node), boot: Boot(boot), number: *number }
    }

    fn publish(&mut self, at: usize) {
        let count = 1 + self.rng.below(4);
        for _ in 0..count {
            let client = &mut self.clients[at];
            if client.is_ending {
                return;
            }
            client.published += 1;
            let mut payload = client.publisher.to_le_bytes().to_vec();
            payload.extend(client.published.to_le_bytes());
            let facts = Enqueue { size: 16, is_persistent: true, ..Enqueue::default() };
            let mut events = Vec::new();
            client.session.enqueue(facts, Bytes::from(payload), client.published, &mut events);
            self.note(at, &events);
        }
    }

    fn consume(&mut self, at: usize) {
        let checkout = Checkout {
            credit: CreditMode::Prefetch(u32::try_from(1 + self.rng.below(8)).unwrap()),
            priority: i64::from(self.rng.percent(30)),
            timeout_ms: self.rng.percent(60).then(|| 100 + self.rng.below(500)),
            ..Checkout::default()
        };
        let no_ack = self.rng.percent(20);
        let client = &mut self.clients[at];
        if client.tags.len() < 2 && !client.is_ending {
            client.tags.push(client.session.consume(checkout, no_ack));
        }
    }

    fn cancel(&mut self, at: usize) {
        let Some(tag) = self.rng.index(self.clients[at].tags.len()) else { return };
        let client = &mut self.clients[at];
        let tag = client.tags.remove(tag);
        client.session.cancel(tag);
    }

    fn settle(&mut self, at: usize) {
        let count = 1 + self.rng.below(6);
        for _ in 0..count {
            let Some(which) = self.rng.index(self.clients[at].holds.len()) else { return };
            let which = if self.rng.percent(70) { 0 } else { which };
            let client = &mut self.clients[at];
            let (tag, number) = client.holds.remove(which);
            client.session.settle(tag, &[NumberRange::one(number)]);
        }
    }

    fn give_back(&mut self, at: usize) {
        let Some(which) = self.rng.index(self.clients[at].holds.len()) else { return };
        let how = [None, Some(ReturnKind::Failed), Some(ReturnKind::Requeued)][self.rng.index(3).unwrap()];
        let client = &mut self.clients[at];
        let (tag, number) = client.holds.remove(which);
        match how {
            Some(how) => client.session.give_back(tag, &[NumberRange::one(number)], how),
            None => client.session.discard(tag, &[NumberRange::one(number)]),
        }
    }

    /// The leader publishes some dead letters, and says so if that is not lost.
    fn dead_letter(&mut self) {
        let some: Vec<_> = self.members[self.leader].dead_letters(DeathNumber(0)).take(4).collect();
        for dead in &some {
            let message = self.message_at(dead.body);
            self.died.insert(message);
        }
        if !some.is_empty() && (self.is_quiet || self.rng.percent(70)) {
            self.commit_command(&Command::DeadLettered { deaths: deaths(some.iter().map(|dead| dead.number)) });
        }
    }

    fn end(&mut self, at: usize) {
        let mut events = Vec::new();
        let client = &mut self.clients[at];
        client.is_ending = true;
        client.holds.clear();
        client.tags.clear();
        client.session.end(&mut events);
        self.note(at, &events);
    }

    /// A node dies, with all its channels, and comes back. The cluster may say so; what it had sent may still arrive.
    fn restart(&mut self) {
        let node = self.some_node();
        self.clients.retain(|client| client.session.id().node.0 != node);
        let boot = self.boots.get_mut(&node).unwrap();
        *boot += 1;
        let boot = Boot(*boot);
        match self.rng.below(3) {
            0 => self.commit_command(&Command::NodeDown { node: NodeId(node), boot: Boot(boot.0 - 1) }),
            1 => self.commit_command(&Command::NodeUp { node: NodeId(node), boot }),
            _ => {}
        }
        self.open(node);
    }

    /// Another member leads. It may know less than the one before, whose words may have gone nowhere.
    fn change_leader(&mut self) {
        self.leader = self.rng.index(MEMBERS).unwrap();
        let missed = self.rng.below(self.log.len() as u64 + 1);
        self.catch_up(self.leader, missed, false);
        for at in 0..self.clients.len() {
            if self.rng.percent(80) {
                self.clients[at].session.on_leader();
            }
        }
    }

    fn suspect(&mut self) {
        let node = self.some_node();
        let command = if self.truth.suspected_nodes().any(|it| it.0 == node) {
            Command::NodeUp { node: NodeId(node), boot: Boot(self.boots[&node]) }
        } else {
            Command::NodeSuspected { node: NodeId(node) }
        };
        self.commit_command(&command);
    }

    /// A member is replaced by one from a snapshot of another.
    fn replace(&mut self) {
        let (of, at) = (self.rng.index(MEMBERS).unwrap(), self.rng.index(MEMBERS).unwrap());
        let mut restored = QuorumQueue::restore(&self.members[of].snapshot()).expect("a snapshot can be restored");
        restored.plant(self.mutant);
        self.check_invariants(&restored);
        self.expect_equal(restored.state_hash(), self.members[of].state_hash(), "a restored member differs");
        self.members[at] = restored;
    }

    /// The leader, which may be behind, proposes some bodies again.
    fn carry(&mut self) {
        let places = self.members[self.leader].to_carry(4, 4, 1000);
        let bodies = places.iter().map(|from| Carried { from: *from, to: Payload::default() }).collect();
        let bytes: Vec<u8> = places.iter().flat_map(|place| self.bytes_at(*place)).copied().collect();
        if places.is_empty() {
            return;
        }
        let mut writer = EntryWriter::default();
        writer.push(&Command::Carry { bodies }, &bytes);
        let (entry, index) = (writer.take(), LogIndex(self.log.len() as u64 + 1));
        let mut commands = Vec::new();
        decode_entry(&entry, &mut commands).expect("an entry that was written can be read");
        let [Command::Carry { bodies }] = &commands[..] else { panic!("{commands:?}") };
        for Carried { from, to } in bodies {
            let first = self.first_place(*from);
            self.first_places.insert(BodyPlace { index, at: to.at, len: to.len }, first);
        }
        self.commit(entry);
    }

    /// Where a body was at first.
    fn first_place(&self, body: BodyPlace) -> BodyPlace {
        self.first_places.get(&body).copied().unwrap_or(body)
    }

    fn pass_time(&mut self) {
        self.now += self.rng.below(400);
        if self.truth.next_due().is_some_and(|at| at <= self.now) {
            self.commit_command(&Command::Tick);
        }
        self.carry();
    }

    /// What everybody has to say is sent, and what is under way arrives.
    fn pump(&mut self) {
        self.step += 1;
        for at in 0..self.clients.len() {
            let mut writer = EntryWriter::default();
            let session = &mut self.clients[at].session;
            let wrote = session.write(&mut writer, 400);
            let sync = session.take_sync();
            if wrote {
                self.send(Packet::Commands(writer.take()));
            }
            if let Some(sync) = sync {
                self.send(Packet::Sync(sync));
            }
        }
        let step = self.step;
        let mut due: Vec<Packet> =
            self.packets.extract_if(.., |(at, _)| *at <= step).map(|(_, packet)| packet).collect();
        while let Some(at) = if self.is_quiet { (!due.is_empty()).then_some(0) } else { self.rng.index(due.len()) } {
            let packet = due.remove(at);
            self.arrive(&packet);
        }
        for member in 0..MEMBERS {
            let some = self.rng.below(self.log.len() as u64 + 1);
            self.catch_up(member, some, member == self.leader);
        }
        if self.is_quiet || self.rng.percent(70) {
            self.catch_up(self.leader, u64::MAX, true);
        }
    }

    fn send(&mut self, packet: Packet) {
        if self.is_quiet {
            return self.packets.push((self.step, packet));
        }
        if self.rng.percent(10) {
            return;
        }
        if self.rng.percent(8) {
            let late = if self.rng.percent(20) { 150 } else { 8 };
            let at = self.step + self.rng.below(late);
            self.packets.push((at, packet.clone()));
        }
        let at = self.step + self.rng.below(3);
        self.packets.push((at, packet));
    }

    fn arrive(&mut self, packet: &Packet) {
        let session = match packet {
            Packet::Commands(entry) => return self.commit(entry.clone()),
            Packet::Sync(sync) => {
                let answer = self.members[self.leader].answer(sync);
                return self.send(Packet::Answer(answer));
            }
            Packet::Applied(applied) => applied.session,
            Packet::Delivery(delivery) => delivery.consumer.session,
            Packet::Answer(answer) => answer.session,
            Packet::Notice(notice) => match session_of(notice) {
                Some(session) => session,
                None => return,
            },
        };
        let Some(at) = self.clients.iter().position(|client| client.session.id() == session) else { return };
        let mut events = Vec::new();
        let client = &mut self.clients[at];
        match packet {
            Packet::Applied(applied) => client.session.on_applied(applied, &mut events),
            Packet::Delivery(delivery) => client.session.on_delivery(delivery, &mut events),
            Packet::Answer(answer) => client.session.on_sync(answer, &mut events),
            Packet::Notice(notice) => client.session.on_notice(notice, &mut events),
            Packet::Commands(_) | Packet::Sync(_) => {}
        }
        self.note(at, &events);
    }

    /// What a client learns.
    fn note(&mut self, at: usize, events: &[SessionEvent]) {
        let mut is_over = false;
        for event in events {
            let client = &mut self.clients[at];
            match event {
                SessionEvent::Confirmed(serial) => {
                    self.confirmed.insert((client.publisher, *serial));
                }
                SessionEvent::Rejected(serial) => {
                    self.rejected.insert((client.publisher, *serial));
                }
                SessionEvent::Delivered(delivery) => {
                    client.holds.push((delivery.consumer.tag, delivery.number.0));
                    self.note_delivery(delivery);
                }
                SessionEvent::NeedsNumber => {
                    let node = self.clients[at].session.id().node.0;
                    let id = self.next_id(node);
                    self.clients[at].session.restart(id);
                }
                SessionEvent::Ended | SessionEvent::Fenced | SessionEvent::Gone => is_over = true,
                SessionEvent::Subscribed { .. }
                | SessionEvent::Cancelled { .. }
                | SessionEvent::InUse { .. }
                | SessionEvent::GetEmpty { .. }
                | SessionEvent::TimedOut { .. }
                | SessionEvent::Drained { .. } => {}
            }
        }
        if is_over {
            self.clients.remove(at);
        }
    }

    fn note_delivery(&mut self, delivery: &Delivery) {
        let Delivery { consumer, number, acquired, .. } = *delivery;
        let body = self.first_place(delivery.body);
        if !self.got.insert((consumer, number.0)) {
            self.violations.push(format!("{consumer} got delivery {number} twice"));
        }
        // Nobody has what somebody else has: a message that comes again came back in between. One may also come late, after the other.
        let before = self.seen.get(&body).copied();
        if before == Some(acquired) {
            self.violations.push(format!("{consumer} got {body:?} that somebody else has, back {acquired} times"));
        }
        self.seen.insert(body, acquired.max(before.unwrap_or(0)));
    }

    fn commit_command(&mut self, command: &Command) {
        let mut writer = EntryWriter::default();
        writer.push(command, &[]);
        self.commit(writer.take());
    }

    /// The leader takes an entry and a majority has it.
    fn commit(&mut self, entry: Vec<u8>) {
        self.log.push(entry);
        self.walls.push(self.now + self.leader as u64 * 7);
        let mut actions = Actions::default();
        apply(&mut self.truth, &self.log, &self.walls, &mut actions);
        self.check_invariants(&self.truth);
        for left in &actions.left {
            let message = self.message_at(left.body);
            self.died.insert(message);
        }
        for delivery in &actions.deliveries {
            let message = self.message_at(delivery.body);
            let found = self.first_place(delivery.body);
            let place = *self.places.entry(message).or_insert(found);
            if place != found {
                self.violations.push(format!("{message:?} is in the queue at {place:?} and {:?}", delivery.body));
            }
            let last = self.order.entry(message.0).or_default();
            if delivery.acquired == 0 {
                if *last >= message.1 {
                    self.violations.push(format!("{message:?} came after {last}"));
                }
                *last = message.1;
            }
        }
    }

    fn bytes_at(&self, body: BodyPlace) -> &[u8] {
        let entry = &self.log[usize::try_from(body.index.0).unwrap() - 1];
        &entry[body.at as usize..][..body.len as usize]
    }

    fn message_at(&self, body: BodyPlace) -> (u64, u64) {
        let bytes = self.bytes_at(body);
        let (publisher, serial) = bytes.split_at(8);
        (u64::from_le_bytes(publisher.try_into().unwrap()), u64::from_le_bytes(serial.try_into().unwrap()))
    }

    /// A member applies some more. Only a leader's actions go anywhere.
    fn catch_up(&mut self, member: usize, up_to: u64, leads: bool) {
        let mut actions = Actions::default();
        while self.members[member].applied().0 < up_to.min(self.log.len() as u64) {
            apply(&mut self.members[member], &self.log, &self.walls, &mut actions);
        }
        if !leads {
            return;
        }
        actions.deliveries.drain(..).for_each(|it| self.send(Packet::Delivery(it)));
        actions.applied.drain(..).for_each(|it| self.send(Packet::Applied(it)));
        actions.notices.drain(..).for_each(|it| self.send(Packet::Notice(it)));
    }

    /// Planted bugs are to be seen from outside.
    fn check_invariants(&self, member: &QuorumQueue) {
        if self.mutant.is_none() {
            member.check_invariants();
        }
    }

    fn expect_equal(&mut self, left: u64, right: u64, what: &str) {
        if left != right {
            self.violations.push(what.into());
        }
    }

    /// Everything works again: all that was published arrives, and all is settled.
    fn come_to_rest(&mut self) {
        self.is_quiet = true;
        let nodes: Vec<NodeId> = self.truth.suspected_nodes().collect();
        for node in nodes {
            self.commit_command(&Command::NodeUp { node, boot: Boot(self.boots[&node.0]) });
        }
        // Lives that have ended, and whose successors have nothing to do with the queue, are reported.
        for (node, boot) in self.boots.clone() {
            self.commit_command(&Command::NodeUp { node: NodeId(node), boot: Boot(boot) });
        }
        // Who consumes already has to be enough.
        if self.clients.iter().all(|client| client.tags.is_empty()) {
            self.open(1);
            let last = self.clients.len() - 1;
            self.consume_all(last);
        }
        for round in 0..QUIET_ROUNDS {
            self.now += 50;
            if self.truth.next_due().is_some_and(|at| at <= self.now) {
                self.commit_command(&Command::Tick);
            }
            for at in 0..self.clients.len() {
                if round % 10 == 0 {
                    self.clients[at].session.on_leader();
                }
                for (tag, number) in core::mem::take(&mut self.clients[at].holds) {
                    self.clients[at].session.settle(tag, &[NumberRange::one(number)]);
                }
            }
            self.pump();
            self.dead_letter();
            let is_waiting = self.clients.iter().any(|client| client.session.outstanding_len() > 0);
            let stat = self.truth.stat();
            if !self.violations.is_empty() || stat.ready + stat.unacked + stat.dead == 0 && !is_waiting && round > 20 {
                break;
            }
        }
        self.check_rest();
    }

    fn consume_all(&mut self, at: usize) {
        let tag = self.clients[at].session.consume(Checkout::default(), false);
        self.clients[at].tags.push(tag);
    }

    fn check_rest(&mut self) {
        let stat = self.truth.stat();
        if (stat.ready, stat.unacked, stat.dead) != (0, 0, 0) {
            let takers = self.truth.takers.iter().map(|(id, taker)| {
                let unacked: Vec<u64> = taker.unacked.iter().map(|(number, _)| number).collect();
                format!("{id}: next {}, unacked {unacked:?}, timed out {:?}", taker.next, taker.timed_out)
            });
            let takers: Vec<String> = takers.collect();
            self.violations.push(format!("messages are left: {stat:?} {takers:?}"));
            let clients = self.clients.iter().map(|client| format!("{:?} {:?}", client.session, client.holds));
            self.violations.extend(clients);
        }
        let waiting: usize = self.clients.iter().map(|client| client.session.outstanding_len()).sum();
        if waiting > 0 {
            self.violations.push(format!("{waiting} commands were never applied"));
        }
        let delivered: BTreeSet<(u64, u64)> = self.seen.keys().map(|body| self.message_at(*body)).collect();
        for message in self.confirmed.difference(&delivered).filter(|it| !self.died.contains(*it)) {
            self.violations.push(format!("{message:?} was confirmed and never delivered"));
        }
        for message in self.rejected.iter().filter(|it| self.places.contains_key(*it) || self.confirmed.contains(*it)) {
            self.violations.push(format!("{message:?} was refused and is in the queue"));
        }
        if self.truth.first_needed().is_some() {
            self.violations.push("an empty queue needs bodies".into());
        }
        for member in 0..MEMBERS {
            self.catch_up(member, u64::MAX, false);
            self.expect_equal(self.members[member].state_hash(), self.truth.state_hash(), "members differ");
        }
    }
}

/// Applies the next entry of a log.
fn apply(member: &mut QuorumQueue, log: &[Vec<u8>], walls: &[u64], actions: &mut Actions) {
    let at = usize::try_from(member.applied().0).unwrap();
    let mut commands = Vec::new();
    decode_entry(&log[at], &mut commands).expect("an entry that was written can be read");
    member.apply(Meta { index: LogIndex(at as u64 + 1), wall_ms: walls[at] }, &commands, actions);
}

fn session_of(notice: &Notice) -> Option<SessionId> {
    match notice {
        Notice::ResendFrom { session, .. }
        | Notice::Unknown { session }
        | Notice::Full { session, .. }
        | Notice::Refused { session, .. }
        | Notice::Gone { session } => Some(*session),
        Notice::InUse { consumer }
        | Notice::GetEmpty { consumer }
        | Notice::TimedOut { consumer }
        | Notice::Drained { consumer, .. } => Some(consumer.session),
        Notice::DeadLettersWait => None,
    }
}

/// How many seeds are tried: so many, or more where somebody wants to know better.
fn seeds(few: u64) -> u64 {
    option_env!("LEVERET_QUORUM_SEEDS").and_then(|seeds| seeds.parse().ok()).unwrap_or(few)
}

/// What went wrong with this seed.
fn violations(seed: u64, mutant: Option<Mutant>) -> Vec<String> {
    let mut world = World::new(seed, mutant);
    world.run();
    world.violations
}

#[test]
fn nothing_is_lost_doubled_or_stuck_whatever_happens_between() {
    for seed in 0..seeds(100) {
        let violations = violations(seed, None);
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
    }
}

/// Each planted bug breaks a promise within some seeds.
#[cfg(feature = "mutants")]
#[test]
fn planted_bugs_are_found() {
    for mutant in Mutant::QUORUM {
        let is_found = (0..100).any(|seed| !violations(seed, Some(mutant)).is_empty());
        assert!(is_found, "{mutant:?} was not found");
    }
}
