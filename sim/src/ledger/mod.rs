//! The ledger: what the broker owes to the clients of queues that all nodes share.
//!
//! Such a queue has replicas on several nodes, and clients of any node use it. Between what a client says and what becomes of it lie
//! other nodes, so no model can know at each moment what is in the queue. But little is needed for that: the ledger listens at each
//! engine's boundary, and keeps for each message what was said of it. A message that was confirmed, or delivered, is in the queue for
//! certain, whatever happens to a minority of the nodes, until a consumer settles it; and an ack that a node was told is carried out,
//! unless this very node ends before it could pass it on. Only where that may have happened nothing is promised.
//!
//! Where queues have rules, a message may be gone without anybody's word: it expires, a limit drives it out, it came back too often. Then
//! it is to be where dead letters go, if they go anywhere, and the ledger follows it there (`dead`). And where somebody empties, deletes
//! and declares queues, what they held before is gone, and what comes while that is under way may be (`change`).
//!
//! A classic queue may be used from all nodes as well, though it is on one. That one has to be there, and the links to it; whatever is
//! under way when they are not is as uncertain as what a single node has not confirmed when it ends (`remote`).
//!
//! Facts are the model's and the story's, so that the same oracles judge them.

mod alarm;
mod change;
mod dead;
mod deliver;
mod listen;
mod remote;
mod rest;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use self::alarm::Level;
use self::change::{Changes, Existence, Request};
use self::listen::{Channel, Out};
use self::remote::{FormerHome, Reach, Trip, Turn};
use crate::clock::{MILLISECOND, Micros};
use crate::history::{Departure, Fact, Presence, QueueIndex, Session};
use crate::message::MessageNumber;
use crate::model::Model;
use crate::nodes::At;
use crate::plan::{ClientPlan, FaultKind, Plan, QueueRules, Role, TopologyOp};

/// A message in a queue: a dead letter is the same message in another one.
type Stay = (u32, MessageNumber);

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    queues: Vec<Queue>,
    by_name: BTreeMap<Box<[u8]>, u32>,
    entries: BTreeMap<Stay, Entry>,
    connections: BTreeMap<u32, At>,
    /// Connections told to wait, and when.
    blocked: BTreeMap<u32, Micros>,
    channels: BTreeMap<(u32, u16), Channel>,
    sites: Vec<Site>,
    /// By the clients' node and the queue's: how the one reaches the other.
    reaches: Vec<Reach>,
    /// Publishes, channels and consumers so far.
    published: u64,
    sessions: u32,
    consumers: u32,
    /// The time.
    time: Micros,
    /// By how much messages may seem to expire too early, since clocks of nodes differ; `None` if nobody can tell.
    clocks_apart: Option<Micros>,
    /// A node ended, two could not hear each other, or a queue had another leader: since then what is published by one node to another
    /// may be lost, or come twice.
    is_disturbed: bool,
    /// A disk was full for other reasons than that it seemed so, or may have been.
    maybe_full: bool,
    /// Queues of a node that were about to get replicas, or have got them. What the node had given out before it said so is seen behind
    /// that, but at the same time.
    turns: Vec<Turn>,
    facts: Vec<Fact>,
}

/// One queue that all nodes share.
#[derive(Debug)]
struct Queue {
    /// Its number in facts.
    index: QueueIndex,
    name: String,
    rules: QueueRules,
    /// The node that it is on; `None` if it has replicas on several.
    home: Option<At>,
    /// The node that it was on before it got replicas, for what was under way by then.
    former_home: Option<FormerHome>,
    /// The life of its node in which it last was about to get replicas.
    turning_in: Option<u32>,
    /// Where its dead letters go.
    dead_target: Option<u32>,
    /// Dead letters of others come to it.
    is_dead_target: bool,
    existence: Existence,
    changes: Changes,
    /// Consumers and gets that ended so far: what was on its way to one of them comes back without having been seen.
    endings: u64,
    /// Those of them to whom nothing can be on its way any more.
    over: u64,
    /// [`Queue::endings`] when one of them had to settle nothing.
    doubt: u64,
    /// Of a single active consumer: who gets messages.
    active: Option<Active>,
    /// Consumers that were active until their node was out of reach. What they had stays theirs.
    replaced: BTreeSet<u32>,
}

/// The single active consumer of a queue.
#[derive(Clone, Copy, Debug)]
struct Active {
    connection: u32,
    channel: u16,
    consumer: u32,
    priority: i64,
    /// How often its node had been out of reach when it became active.
    breaks: u64,
}

/// What is known of one message.
#[derive(Debug)]
struct Entry {
    /// The channel that published it.
    by: Session,
    /// Its place among all publishes.
    position: u64,
    /// The node that took it, and that node's life; `None` if it may not have been taken.
    taken: Option<(At, u32)>,
    presence: Presence,
    is_promised: bool,
    deliveries: u32,
    /// When it came, at the earliest.
    since: Micros,
    /// Publishes that there had been by the time its publisher was told that it is safe: it was there before all later ones.
    promised_by: Option<u64>,
    /// It came as a dead letter.
    is_dead_letter: bool,
    /// Some consumer said that it is done with it, or did not want it.
    was_acked: bool,
    was_rejected: bool,
    /// How often it came back from one who had it.
    returns: u64,
    /// It may have gone to one who was never seen to get it.
    is_doubtful: bool,
    /// [`Queue::over`] when it came.
    endings: u64,
    is_persistent: bool,
    /// Of a queue on one node: how it was published to it, and how it was last given to a client.
    sent: Option<Trip>,
    out: Option<Trip>,
    /// Of such a queue: it was settled, and is so for good.
    is_done: bool,
    /// Of such a queue: it was in it and not to survive the end of its node. The life that came after that.
    died_with: Option<u32>,
}

/// What concerns one node.
#[derive(Debug, Default)]
struct Site {
    /// Its lives so far.
    life: u32,
    /// Messages of which it was told what became of them, and may not have passed that on.
    untold: Vec<Out>,
    /// Messages that clients published or settled since it last put out something, each with the channel.
    fresh: Vec<((u32, u16), Stay)>,
    /// Queues of which consumers and gets ended here, of which the same holds.
    endings: Vec<u32>,
    /// How often another node was out of its reach, or it out of theirs.
    breaks: u64,
    /// The last change of what is declared that it has carried out.
    applied: u64,
    /// What it has left.
    level: Level,
    /// How far its log goes, and up to where what was settled in its own queues has to be on the disk.
    log_end: u64,
    unwritten: VecDeque<(u64, Out)>,
}

/// The numbers of channels begin here, behind those of the model.
const FIRST_SESSION: u32 = 1_000_000;

/// How often a message may come back to a quorum queue that says nothing about it (RabbitMQ docs: Quorum Queues / poison messages).
const DELIVERY_LIMIT: u32 = 20;

impl Ledger {
    /// The ledger of a run; `None` if nothing is shared.
    pub(crate) fn new(plan: &Plan, model: &mut Model) -> Option<Self> {
        let shared = plan.topology.shared(plan.node_count()).queues;
        let names: Vec<String> = shared.iter().map(|queue| queue.name.clone()).collect();
        let target_of = |rules: &QueueRules| {
            let key = rules.dead_letter_exchange.as_deref().and(rules.dead_letter_key.as_deref())?;
            (0..).zip(&names).find(|(_, name)| *name == key).map(|(at, _)| at)
        };
        let targets: BTreeSet<u32> = shared.iter().filter_map(|queue| target_of(&queue.rules)).collect();
        let queues: Vec<Queue> = (0..)
            .zip(shared)
            .map(|(at, queue)| Queue {
                index: model.queue_number(&queue.name),
                home: queue.is_remote(plan.node_count()).then(|| At::new(queue.node)),
                former_home: None,
                turning_in: None,
                name: queue.name,
                dead_target: target_of(&queue.rules),
                is_dead_target: targets.contains(&at),
                rules: queue.rules,
                existence: Existence::No,
                changes: Changes::default(),
                endings: 0,
                over: 0,
                doubt: 0,
                active: None,
                replaced: BTreeSet::new(),
            })
            .collect();
        if queues.is_empty() {
            return None;
        }
        let has_true_clocks = !plan.faults.iter().any(|fault| {
            let kind = &fault.kind;
            matches!(kind, FaultKind::WallJump { .. } | FaultKind::ClockDrift { .. } | FaultKind::ClockReset { .. })
        });
        let ahead = plan.cluster.iter().flat_map(|cluster| &cluster.clocks_ahead_ms).copied();
        let (least, most) = ahead.fold((0, 0), |(least, most), it| (it.min(least), it.max(most)));
        let apart = u64::try_from(most - least).expect("the most is not less") * MILLISECOND;
        let nodes = 0..plan.node_count();
        let by_name = (0..).zip(&queues).map(|(at, queue)| (queue.name.as_bytes().into(), at)).collect();
        Some(Self {
            queues,
            by_name,
            entries: BTreeMap::new(),
            connections: BTreeMap::new(),
            blocked: BTreeMap::new(),
            channels: BTreeMap::new(),
            sites: nodes.clone().map(|_| Site::default()).collect(),
            reaches: nodes.clone().flat_map(|one| nodes.clone().map(move |other| Reach::new(one != other))).collect(),
            published: 0,
            sessions: 0,
            consumers: 0,
            time: 0,
            clocks_apart: has_true_clocks.then_some(apart),
            is_disturbed: false,
            maybe_full: plan.faults.iter().any(|fault| fault.kind.takes_space()),
            turns: Vec::new(),
            facts: Vec::new(),
        })
    }

    /// Whether it, and not the model, listens to this client.
    pub(crate) fn is_for(plan: &Plan, client: &ClientPlan) -> bool {
        let nodes = plan.node_count();
        let is_shared = |name: &str| {
            let mut queues = plan.topology.queues.iter();
            queues.any(|queue| queue.name == name && queue.is_shared(nodes))
        };
        match &client.role {
            Role::Publisher(publisher) => {
                publisher.bursts.iter().any(|burst| burst.exchange.is_empty() && is_shared(&burst.key))
            }
            Role::Consumer(consumer) => is_shared(&consumer.queue.name),
            Role::Getter(getter) => is_shared(&getter.queue),
            Role::Churner(churner) => churner.steps.iter().any(|step| match &step.op {
                TopologyOp::DeclareQueue(queue) => is_shared(&queue.name),
                TopologyOp::DeleteQueue { queue, .. } | TopologyOp::Purge(queue) => is_shared(queue),
                _ => false,
            }),
            Role::Rogue(_) => false,
        }
    }

    /// The time of what comes next.
    pub(crate) fn at(&mut self, time: Micros) {
        if time > self.time {
            self.turn_queues();
        }
        self.time = time;
    }

    /// Takes the facts derived since the last call.
    pub(crate) fn take_facts(&mut self, into: &mut Vec<Fact>) {
        into.append(&mut self.facts);
    }

    /// A client's connection was accepted.
    pub(crate) fn connected(&mut self, client: u32, at: At, connection: u32) {
        self.connections.insert(connection, at);
        self.facts.push(Fact::Connected { client, connection });
    }

    /// A connection is over for its node.
    pub(crate) fn disconnected(&mut self, connection: u32) {
        let keys = self.channels.range((connection, 0)..=(connection, u16::MAX));
        let keys: Vec<(u32, u16)> = keys.map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.end_channel(key));
        self.blocked.remove(&connection);
        if self.connections.remove(&connection).is_some() {
            self.facts.push(Fact::Disconnected { connection });
        }
    }

    /// A node ended.
    pub(crate) fn ended(&mut self, at: At) {
        let its = self.connections.iter().filter(|(_, node)| **node == at).map(|(connection, _)| *connection);
        let its: Vec<u32> = its.collect();
        its.into_iter().for_each(|connection| self.disconnected(connection));
        let site = &mut self.sites[at.number()];
        site.life += 1;
        // It knows nothing until it is told.
        site.level = Level::default();
        // When others notice, nobody can tell from outside: of these something may be on its way for ever.
        site.endings.clear();
        site.unwritten.clear();
        for out in std::mem::take(&mut site.untold) {
            self.doubt(out.stay);
        }
        self.home_ended(at);
        self.breaks(at);
    }

    /// A node is out of reach of another, or the other of it.
    pub(crate) fn breaks(&mut self, at: At) {
        self.sites[at.number()].breaks += 1;
        self.is_disturbed = true;
    }

    /// A queue has another leader.
    pub(crate) fn led_by_another(&mut self) {
        self.is_disturbed = true;
    }

    /// A node has put out what came of all that it was given. `applied` is the last change of what is declared that it has carried out.
    pub(crate) fn end_step(&mut self, at: At, applied: u64) {
        let site = &mut self.sites[at.number()];
        site.fresh.clear();
        site.applied = applied;
        self.queues.iter_mut().for_each(|queue| queue.end_step(at, applied));
    }

    /// A node closes channels. What it was given since it last put out something may have come behind that decision: then it was ignored.
    fn ignore_fresh(&mut self, connection: u32, is_closed: impl Fn(u16) -> bool) {
        let Some(at) = self.connections.get(&connection) else { return };
        let fresh = &mut self.sites[at.number()].fresh;
        let ignored = fresh.extract_if(.., |((its, channel), _)| *its == connection && is_closed(*channel));
        for (_, stay) in ignored.collect::<Vec<_>>() {
            self.doubt(stay);
            if let Some(entry) = self.entries.get_mut(&stay) {
                entry.taken = None;
            }
        }
    }

    /// All that a node was told is carried out.
    pub(crate) fn has_told(&mut self, at: At) {
        for out in std::mem::take(&mut self.sites[at.number()].untold) {
            self.has_passed_on(at, out);
        }
        for queue in std::mem::take(&mut self.sites[at.number()].endings) {
            self.queues[queue as usize].over += 1;
        }
    }

    /// Whether a node may have something to pass on.
    pub(crate) fn has_untold(&self, at: At) -> bool {
        let site = &self.sites[at.number()];
        !(site.untold.is_empty() && site.endings.is_empty())
    }

    /// A message that is gone may be there all the same.
    fn doubt(&mut self, stay: Stay) {
        if let Some(entry) = self.entries.get_mut(&stay)
            && let Presence::Gone(Departure::Acked | Departure::AutoAcked | Departure::Rejected) = entry.presence
        {
            entry.presence = Presence::Maybe;
        }
    }

    /// Messages come back from one who had them, if he still has.
    fn all_come_back(&mut self, outs: impl IntoIterator<Item = Out>, session: Session) {
        for out in outs {
            if self.is_its(&out, session) {
                self.come_back(out.stay, session);
            }
        }
    }

    /// Whether one who was given a message has it, and it was not given to him again since.
    fn is_its(&self, out: &Out, session: Session) -> bool {
        let entry = self.entries.get(&out.stay);
        entry.is_some_and(|entry| entry.presence == Presence::Unacked(session)) && self.is_latest(out)
    }

    /// Whether a message was given to nobody since.
    fn is_latest(&self, out: &Out) -> bool {
        let entry = self.entries.get(&out.stay);
        let has_no_past = self.queues[out.stay.0 as usize].past_home().is_none();
        has_no_past || entry.is_some_and(|entry| entry.deliveries == out.turn)
    }

    /// A message comes back from one who had it.
    fn come_back(&mut self, stay: Stay, session: Session) {
        let Some(entry) = self.entries.get_mut(&stay) else { return };
        if entry.presence == Presence::Unacked(session) {
            entry.presence = Presence::Ready;
            entry.returns += 1;
            let queue = self.queues[stay.0 as usize].index;
            self.facts.push(Fact::Requeued { queue, message: stay.1 });
        }
    }

    /// A message is settled by one who had it: for certain once the node has passed that on.
    fn depart(&mut self, out: Out, how: Departure, at: At) {
        let Some(entry) = self.entries.get_mut(&out.stay) else { return };
        entry.presence = Presence::Gone(how);
        let (queue, message) = (self.queues[out.stay.0 as usize].index, out.stay.1);
        self.facts.push(Fact::Departed { queue, message, how });
        self.sites[at.number()].untold.push(out);
    }

    /// What is there may have gone to one who was never seen to get it, and counts as settled; so may what comes until that is over.
    fn doubt_all(&mut self, queue: u32) {
        let held = &mut self.queues[queue as usize];
        held.doubt = held.doubt.max(held.endings);
        for (_, entry) in self.entries.range_mut(stays_of(queue)) {
            entry.is_doubtful |= matches!(entry.presence, Presence::Ready | Presence::Maybe);
        }
    }

    /// How often the delivery of a message can have failed.
    fn failures_max(&self, queue: u32, entry: &Entry) -> u64 {
        entry.returns + (self.queues[queue as usize].endings - entry.endings)
    }
}

/// All messages of a queue.
fn stays_of(queue: u32) -> std::ops::RangeInclusive<Stay> {
    (queue, MessageNumber(0))..=(queue, MessageNumber(u32::MAX))
}

impl Queue {
    fn limit(&self) -> u64 {
        if !self.counts_failures() {
            return u64::MAX;
        }
        u64::from(self.rules.delivery_limit.unwrap_or(DELIVERY_LIMIT))
    }

    /// Whether its messages say how often their delivery failed.
    fn counts_failures(&self) -> bool {
        self.rules.is_quorum || self.rules.delivery_limit.is_some()
    }

    /// Whether it takes back what consumers have for too long.
    fn may_time_out(&self) -> bool {
        self.rules.consumer_timeout_ms.is_some()
    }
}
