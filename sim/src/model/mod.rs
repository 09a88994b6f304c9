//! The reference model: what the promise says about every message, kept beside the real engine.
//!
//! It hears both directions at the engine's boundary, in the order in which the engine is told and tells, so no network lies between
//! the two. It is written from the documents, holds everything in plain maps, and acts at once. Where it cannot know (a request that
//! a crash cut short), it says [`Presence::Maybe`](crate::history::Presence::Maybe) and lets itself be taught by what comes out. It judges nothing: it derives
//! [`Fact`]s, and the oracles judge those.

mod client;
mod content;
mod delivery;
mod doubt;
mod node;
mod session;
mod table;
mod topology;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub(crate) use self::content::Survival;
use self::content::{Contents, Queue};
use self::session::{Channel, Connection};
use self::table::Table;
use self::topology::{BindingKey, Destination, Route, Topology};
use crate::history::{Fact, QueueIndex, Session};
use crate::message::MessageNumber;
use crate::nodes::At;
use crate::plan::Ending;

/// See the module.
#[derive(Debug)]
pub(crate) struct Model {
    contents: Contents,
    by_name: BTreeMap<Box<[u8]>, u32>,
    topology: Topology,
    connections: Table<u32, Connection>,
    /// Whether each session may still hold messages.
    sessions: Vec<SessionState>,
    changes: u64,
    /// What concerns one node alone.
    sites: Vec<Site>,
    /// Publishes taken while changes were under way: the node may route them before or after those.
    floating: Vec<Floating>,
    deliveries: Vec<Delivery>,
    /// Gets answered with "empty" in the current step: the queue and when they were asked.
    empties: Vec<(u32, u64)>,
    /// Purges answered in the current step: the queue and when they were asked.
    purges: Vec<(u32, u64)>,
    /// Channels that their clients closed in the current step: the node may have spoken on them before it heard of that.
    leaving: Vec<(u32, u16, Channel)>,
    /// Exclusive queues that another connection declared in this step, with the one whose they were.
    successions: Vec<(u32, u32)>,
    /// Queues that operators let rest, as far as they asked; those that rest since this step; those that go on since it.
    resting: BTreeSet<u32>,
    rested: Vec<u32>,
    woken: Vec<u32>,
    facts: Vec<Fact>,
}

/// Things of one kind by their names, and whether each is certainly there.
pub(crate) type Known = BTreeMap<Vec<String>, bool>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionState {
    Alive,
    /// The node has begun to end it: its messages may go to others at any moment.
    Dying,
}

/// What the model knows of one node.
#[derive(Debug, Default)]
struct Site {
    /// Changes of the topology that nobody will be told of when they happen.
    untold_changes: Untold,
    /// Inputs since its last flush.
    inputs: u64,
}

/// See [`Site::untold_changes`].
#[derive(Clone, Copy, Debug, Default)]
struct Untold {
    /// Whether some were asked for in this step.
    are_new: bool,
    /// All others have happened once the log is durable up to here.
    end: Option<u64>,
}

impl Untold {
    fn is_empty(&self) -> bool {
        !self.are_new && self.end.is_none()
    }

    /// The step is over: `end` is how far the log goes, and it was carried out up to `durable`.
    fn end_step(&mut self, end: u64, durable: u64) {
        if std::mem::take(&mut self.are_new) {
            self.end = Some(end);
        }
        self.end = self.end.filter(|end| *end > durable);
    }
}

/// See [`Model::floating`].
#[derive(Debug)]
struct Floating {
    message: MessageNumber,
    /// The node that it was published to.
    node: At,
    routing: Box<[u8]>,
    /// Queues that were certain at every look so far.
    certain: topology::QueueSet,
}

/// A delivery seen in the current step. All are looked at when the step is over, since within a step there is no order between
/// connections.
#[derive(Clone, Copy, Debug)]
struct Delivery {
    connection: u32,
    channel: u16,
    session: Session,
    tag: u64,
    redelivered: bool,
    message: Option<MessageNumber>,
    queue: Option<u32>,
    consumer: Option<usize>,
    no_ack: bool,
    /// The step in which it was asked for, if it was.
    asked: Option<u64>,
    /// The channel's basic.recover was answered after it, in the same step: it went back at once.
    is_recovered: bool,
}

impl Model {
    /// So many empty nodes.
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            contents: Contents::new(nodes),
            by_name: BTreeMap::new(),
            topology: Topology::new(),
            connections: Table::default(),
            sessions: Vec::new(),
            changes: 0,
            sites: (0..nodes).map(|_| Site::default()).collect(),
            floating: Vec::new(),
            deliveries: Vec::new(),
            empties: Vec::new(),
            purges: Vec::new(),
            leaving: Vec::new(),
            successions: Vec::new(),
            resting: BTreeSet::new(),
            rested: Vec::new(),
            woken: Vec::new(),
            facts: Vec::new(),
        }
    }

    /// The queues' names by their numbers in facts, for people.
    pub(crate) fn queue_names(&self) -> String {
        let names = self.contents.queues.iter().enumerate();
        let names = names.map(|(index, queue)| format!("q{index}={}", String::from_utf8_lossy(&queue.name)));
        names.collect::<Vec<_>>().join(" ")
    }

    /// The name of one queue.
    pub(crate) fn queue_name(&self, queue: u32) -> String {
        let queue = self.contents.queues.get(queue as usize);
        queue.map_or_else(String::new, |queue| String::from_utf8_lossy(&queue.name).into_owned())
    }

    /// Takes the facts derived since the last call.
    pub(crate) fn take_facts(&mut self, into: &mut Vec<Fact>) {
        if self.facts.is_empty() {
            return;
        }
        if into.is_empty() {
            std::mem::swap(into, &mut self.facts);
        } else {
            into.append(&mut self.facts);
        }
    }

    /// A client's connection was accepted.
    pub(crate) fn connected(&mut self, client: u32, at: At, connection: u32) {
        self.connections.insert(connection, Connection::new(at));
        self.facts.push(Fact::Connected { client, connection });
    }

    /// A message went to the log at `lsn` (reported by the engine).
    pub(crate) fn logged(&mut self, connection: u32, number: u16, seqno: Option<u64>, lsn: u64) {
        let Some(seqno) = seqno else { return };
        let channel = self.connections.get_mut(connection).and_then(|held| held.channels.get_mut(number));
        if let Some(unconfirmed) = channel.and_then(|channel| channel.unconfirmed_mut(seqno)) {
            unconfirmed.lsn = unconfirmed.lsn.max(Some(lsn));
        }
    }

    /// Settlements of this step and before are in a node's log up to `lsn` (reported by the engine).
    pub(crate) fn settled(&mut self, at: At, lsn: u64) {
        self.contents.settled_at(at, lsn);
    }

    /// An engine is about to be told something.
    pub(crate) fn input(&mut self, at: At) {
        self.sites[at.number()].inputs += 1;
    }

    /// What comes next is another step, unless a batch of another node is open: what overlaps is one step.
    fn end_inputs(&mut self, at: At) {
        self.sites[at.number()].inputs = 0;
        if self.sites.iter().all(|site| site.inputs == 0) {
            self.contents.step += 1;
        }
    }

    /// Whether the nodes are several, and what is declared is all of them's.
    fn is_cluster(&self) -> bool {
        self.sites.len() > 1
    }

    /// A node ended.
    pub(crate) fn ended(&mut self, at: At, how: Ending, by_itself: bool, survival: Survival) {
        let node = self.is_cluster().then_some(at);
        self.facts.push(Fact::Ended { node, how, by_itself });
        let its: Vec<u32> = self.connections.iter().filter(|(_, held)| held.node == at).map(|(its, _)| its).collect();
        for connection in its {
            let Some(held) = self.connections.remove(connection) else { continue };
            for channel in held.channels.values() {
                self.doubt_behind(channel);
                self.sessions[channel.session.0 as usize] = SessionState::Dying;
            }
        }
        self.deliveries.clear();
        self.empties.clear();
        self.purges.clear();
        self.successions.clear();
        let connections = &self.connections;
        self.leaving.retain(|(its, ..)| connections.contains(*its));
        let queues = &self.contents.queues;
        let is_elsewhere = |queue: &u32| queues[*queue as usize].home != at;
        self.resting.retain(is_elsewhere);
        self.rested.retain(is_elsewhere);
        self.woken.retain(is_elsewhere);
        self.sites[at.number()].untold_changes = Untold::default();
        self.floating.retain(|floating| floating.node != at);
        let is_alone = !self.is_cluster();
        self.contents.restart(at, how == Ending::Shutdown && !by_itself, is_alone, survival);
        let queues = &self.contents.queues;
        self.topology.restart(is_alone, |queue| queues[queue as usize].existence.is_some());
        if !self.floating.is_empty() {
            // What was under way may have been that of this node alone: what comes next is not to overtake them.
            self.sink();
        }
        self.end_inputs(at);
    }

    /// An operator asks that a queue delivers nothing. From now on nothing may come of it.
    pub(crate) fn may_rest(&mut self, name: &str) {
        let queue = self.queue_index(name.as_bytes());
        self.resting.insert(queue);
        self.woken.retain(|woken| *woken != queue);
    }

    /// And the node has said that it is so.
    pub(crate) fn rests(&mut self, name: &str) {
        let queue = self.queue_index(name.as_bytes());
        self.rested.push(queue);
    }

    /// An operator asks that it goes on.
    pub(crate) fn rests_no_more(&mut self, name: &str) {
        let queue = self.queue_index(name.as_bytes());
        self.woken.push(queue);
        self.rested.retain(|rested| *rested != queue);
        self.facts.push(Fact::Resumed { queue: QueueIndex(queue) });
    }

    /// A queue's number in facts.
    pub(crate) fn queue_number(&mut self, name: &str) -> QueueIndex {
        QueueIndex(self.queue_index(name.as_bytes()))
    }

    /// A node recovered.
    pub(crate) fn ready(&mut self, at: At) {
        let node = self.is_cluster().then_some(at);
        self.facts.push(Fact::Ready { node });
    }

    /// What is declared: queues, exchanges and bindings.
    pub(crate) fn known(&self) -> [Known; 3] {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let queues = &self.contents.queues;
        let there = queues.iter().filter_map(|queue| Some((vec![text(&queue.name)], queue.existence?.is_certain)));
        let exchanges = self.topology.exchanges().map(|(name, is_certain)| (vec![text(name)], is_certain));
        let bindings = self.topology.bindings().map(|(key, is_certain)| {
            let (kind, name) = match &key.destination {
                Destination::Queue(queue) => ("queue", &*queues[*queue as usize].name),
                Destination::Exchange(name) => ("exchange", &**name),
            };
            (vec![text(&key.source), kind.to_owned(), text(name), text(&key.key)], is_certain)
        });
        [there.collect(), exchanges.collect(), bindings.collect()]
    }

    /// At rest: compares the node's queues with the model's.
    pub(crate) fn count<'a>(&mut self, found: impl IntoIterator<Item = (&'a str, u64, u64)>) {
        let mut missing: Vec<bool> = self
            .contents
            .queues
            .iter()
            .map(|queue| queue.existence.is_some_and(|existence| existence.is_certain))
            .collect();
        for (name, ready, unacked) in found {
            let index = self.queue_index(name.as_bytes());
            let queue = QueueIndex(index);
            if let Some(missing) = missing.get_mut(index as usize) {
                *missing = false;
            }
            let held = &self.contents.queues[index as usize];
            if held.existence.is_none() {
                self.facts.push(Fact::Existence { queue, found: true });
                continue;
            }
            let least = held.ready.len() as u64 + held.unacked;
            self.facts.push(Fact::Counted { queue, found: ready + unacked, least, most: least + held.maybe });
        }
        for (index, _) in missing.iter().enumerate().filter(|(_, is_missing)| **is_missing) {
            let queue = QueueIndex(u32::try_from(index).expect("few queues"));
            self.facts.push(Fact::Existence { queue, found: false });
        }
    }

    /// All queues were drained: whatever is certainly there should have come.
    pub(crate) fn drained(&mut self) {
        for (index, queue) in self.contents.queues.iter().enumerate() {
            if queue.existence.is_none_or(|existence| !existence.is_certain) {
                continue;
            }
            let held = QueueIndex(u32::try_from(index).expect("few queues"));
            if queue.ready.is_empty() {
                self.facts.push(Fact::Emptied { queue: held });
            }
            for (_, message) in queue.ready.keys() {
                let was_confirmed = self.contents.messages[message.index()].promised_at.is_some();
                self.facts.push(Fact::NeverCame { queue: held, message, was_confirmed });
            }
        }
    }

    /// The node that a connection leads to.
    pub(super) fn node_of(&self, connection: u32) -> At {
        self.connections.get(connection).map_or(At::FIRST, |held| held.node)
    }

    pub(super) fn route(&mut self, routing: &[u8], message: MessageNumber) -> Rc<Route> {
        let (queues, by_name) = (&self.contents.queues, &self.by_name);
        let certainty = |index: u32| queues[index as usize].existence.map(|existence| existence.is_certain);
        let named = |name: &[u8]| by_name.get(name).and_then(|&index| Some((index, certainty(index)?)));
        self.topology.route(routing, message, named, certainty, |index| &queues[index as usize].name)
    }

    pub(super) fn queue_index(&mut self, name: &[u8]) -> u32 {
        if let Some(&index) = self.by_name.get(name) {
            return index;
        }
        let index = u32::try_from(self.contents.queues.len()).expect("few queues");
        self.contents.queues.push(Queue::new(name));
        self.by_name.insert(name.into(), index);
        index
    }

    pub(super) fn channel_mut(&mut self, connection: u32, number: u16) -> &mut Channel {
        let held = self.connections.get_mut(connection).and_then(|held| held.channels.get_mut(number));
        let left = self.leaving.iter_mut().find(|(its, channel, _)| (*its, *channel) == (connection, number));
        held.or_else(|| left.map(|(.., channel)| channel)).expect("the caller looked it up")
    }
}

impl Default for Model {
    fn default() -> Self {
        Self::new(1)
    }
}

fn exchange_binding(destination: &[u8], source: &[u8], key: &[u8], arguments: &[u8]) -> BindingKey {
    let destination = Destination::Exchange(destination.into());
    BindingKey { source: source.into(), destination, key: key.into(), arguments: arguments.into() }
}
