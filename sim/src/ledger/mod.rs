//! The ledger: what the broker owes to the clients of queues that all nodes share.
//!
//! Such a queue has replicas on several nodes, and clients of any node use it. Between what a client says and what becomes of it lie
//! other nodes, so no model can know at each moment what is in the queue. But little is needed for that: the ledger listens at each
//! engine's boundary, and keeps for each message what was said of it. A message that was confirmed, or delivered, is in the queue for
//! certain, whatever happens to a minority of the nodes, until a consumer settles it; and an ack that a node was told is carried out,
//! unless this very node ends before it could pass it on. Only where that may have happened nothing is promised.
//!
//! Facts are the model's, so that the same oracles judge them.

mod listen;
mod rest;

use std::collections::{BTreeMap, BTreeSet};

use self::listen::{Channel, Out};
use crate::history::{Departure, Fact, Presence, QueueIndex, Session};
use crate::message::MessageNumber;
use crate::model::Model;
use crate::nodes::At;
use crate::plan::{ClientPlan, Plan, QueueRules, Role};

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    queues: Vec<Queue>,
    by_name: BTreeMap<Box<[u8]>, u32>,
    entries: BTreeMap<MessageNumber, Entry>,
    connections: BTreeMap<u32, At>,
    channels: BTreeMap<(u32, u16), Channel>,
    sites: Vec<Site>,
    /// Publishes, channels and consumers so far.
    published: u64,
    sessions: u32,
    consumers: u32,
    facts: Vec<Fact>,
}

/// One queue that all nodes share.
#[derive(Debug)]
struct Queue {
    /// Its number in facts.
    index: QueueIndex,
    name: String,
    rules: QueueRules,
    /// Some client was told that it is there.
    is_declared: bool,
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
    queue: u32,
    /// The channel that published it.
    by: Session,
    /// Its place among all publishes.
    position: u64,
    /// The node that took it, and that node's life; `None` if it may not have been taken.
    taken: Option<(At, u32)>,
    presence: Presence,
    is_promised: bool,
    deliveries: u32,
    /// How often it came back from one who had it.
    returns: u64,
    /// It may have gone to one who was never seen to get it.
    is_doubtful: bool,
    /// [`Queue::over`] when it came.
    endings: u64,
}

/// What concerns one node.
#[derive(Debug, Default)]
struct Site {
    /// Its lives so far.
    life: u32,
    /// Messages of which it was told what became of them, and may not have passed that on.
    untold: Vec<MessageNumber>,
    /// Messages that clients published or settled since it last put out something, each with the channel.
    fresh: Vec<((u32, u16), MessageNumber)>,
    /// Queues of which consumers and gets ended here, of which the same holds.
    endings: Vec<u32>,
    /// How often another node was out of its reach, or it out of theirs.
    breaks: u64,
}

/// The numbers of channels begin here, behind those of the model.
const FIRST_SESSION: u32 = 1_000_000;

/// How often a message may come back to a quorum queue that says nothing about it (RabbitMQ docs: Quorum Queues / poison messages).
const DELIVERY_LIMIT: u32 = 20;

impl Ledger {
    /// The ledger of a run; `None` if nothing is shared.
    pub(crate) fn new(plan: &Plan, model: &mut Model) -> Option<Self> {
        let shared = plan.topology.shared(plan.node_count()).queues;
        let queues: Vec<Queue> = shared
            .into_iter()
            .map(|queue| Queue {
                index: model.queue_number(&queue.name),
                name: queue.name,
                rules: queue.rules,
                is_declared: false,
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
        let by_name = (0..).zip(&queues).map(|(at, queue)| (queue.name.as_bytes().into(), at)).collect();
        Some(Self {
            queues,
            by_name,
            entries: BTreeMap::new(),
            connections: BTreeMap::new(),
            channels: BTreeMap::new(),
            sites: (0..plan.node_count()).map(|_| Site::default()).collect(),
            published: 0,
            sessions: 0,
            consumers: 0,
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
            Role::Churner(_) | Role::Rogue(_) => false,
        }
    }

    /// The names of those of its queues that are there for certain.
    pub(crate) fn declared(&self) -> impl Iterator<Item = &str> {
        self.queues.iter().filter(|queue| queue.is_declared).map(|queue| &*queue.name)
    }

    /// The names of all its queues, each with whether it is there for certain.
    pub(crate) fn known(&self) -> impl Iterator<Item = (&str, bool)> {
        self.queues.iter().map(|queue| (&*queue.name, queue.is_declared))
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
        // When others notice, nobody can tell from outside: of these something may be on its way for ever.
        site.endings.clear();
        for number in std::mem::take(&mut site.untold) {
            self.doubt(number);
        }
        self.breaks(at);
    }

    /// A node is out of reach of another, or the other of it.
    pub(crate) fn breaks(&mut self, at: At) {
        self.sites[at.number()].breaks += 1;
    }

    /// A node has put out what came of all that it was given.
    pub(crate) fn end_step(&mut self, at: At) {
        self.sites[at.number()].fresh.clear();
    }

    /// A node closes channels. What it was given since it last put out something may have come behind that decision: then it was ignored.
    fn ignore_fresh(&mut self, connection: u32, is_closed: impl Fn(u16) -> bool) {
        let Some(at) = self.connections.get(&connection) else { return };
        let fresh = &mut self.sites[at.number()].fresh;
        let ignored = fresh.extract_if(.., |((its, channel), _)| *its == connection && is_closed(*channel));
        for (_, number) in ignored.collect::<Vec<_>>() {
            self.doubt(number);
            if let Some(entry) = self.entries.get_mut(&number) {
                entry.taken = None;
            }
        }
    }

    /// All that a node was told is carried out.
    pub(crate) fn has_told(&mut self, at: At) {
        let site = &mut self.sites[at.number()];
        site.untold.clear();
        for queue in std::mem::take(&mut site.endings) {
            self.queues[queue as usize].over += 1;
        }
    }

    /// Whether a node may have something to pass on.
    pub(crate) fn has_untold(&self, at: At) -> bool {
        let site = &self.sites[at.number()];
        !(site.untold.is_empty() && site.endings.is_empty())
    }

    /// A message that is gone may be there all the same.
    fn doubt(&mut self, number: MessageNumber) {
        if let Some(entry) = self.entries.get_mut(&number)
            && let Presence::Gone(_) = entry.presence
        {
            entry.presence = Presence::Maybe;
        }
    }

    /// A message comes back from one who had it.
    fn come_back(&mut self, number: MessageNumber, session: Session) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        if entry.presence == Presence::Unacked(session) {
            entry.presence = Presence::Ready;
            entry.returns += 1;
            let queue = self.queues[entry.queue as usize].index;
            self.facts.push(Fact::Requeued { queue, message: number });
        }
    }

    /// A message is settled by one who had it: for certain once the node has passed that on.
    fn depart(&mut self, out: Out, how: Departure, at: At) {
        let Some(entry) = self.entries.get_mut(&out.message) else { return };
        entry.presence = Presence::Gone(how);
        let queue = self.queues[entry.queue as usize].index;
        self.facts.push(Fact::Departed { queue, message: out.message, how });
        self.sites[at.number()].untold.push(out.message);
    }

    /// What is there may have gone to one who was never seen to get it, and counts as settled; so may what comes until that is over.
    fn doubt_all(&mut self, queue: u32) {
        let held = &mut self.queues[queue as usize];
        held.doubt = held.doubt.max(held.endings);
        for entry in self.entries.values_mut().filter(|entry| entry.queue == queue) {
            entry.is_doubtful |= matches!(entry.presence, Presence::Ready | Presence::Maybe);
        }
    }

    /// How often the delivery of a message can have failed.
    fn failures_max(&self, entry: &Entry) -> u64 {
        entry.returns + (self.queues[entry.queue as usize].endings - entry.endings)
    }

    /// Whether it may have gone unseen, or come back too often.
    fn may_be_gone(&self, entry: &Entry) -> bool {
        entry.is_doubtful || self.failures_max(entry) > self.queues[entry.queue as usize].limit()
    }
}

impl Queue {
    fn limit(&self) -> u64 {
        u64::from(self.rules.delivery_limit.unwrap_or(DELIVERY_LIMIT))
    }

    /// Whether it takes back what consumers have for too long.
    fn may_time_out(&self) -> bool {
        self.rules.consumer_timeout_ms.is_some()
    }
}
