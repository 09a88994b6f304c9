//! The reference model: what the promise says about every message, kept beside the real engine.
//!
//! It hears both directions at the engine's boundary, in the order in which the engine is told and tells, so no network lies between
//! the two. It is written from the documents, holds everything in plain maps, and acts at once. Where it cannot know (a request that
//! a crash cut short), it says [`Presence::Maybe`] and lets itself be taught by what comes out. It judges nothing: it derives
//! [`Fact`]s, and the oracles judge those.

mod content;
mod session;
mod topology;

use std::collections::BTreeMap;

use self::content::{Contents, Queue};
use self::session::{Channel, Connection, Consumer, Held, Mode, Pending, Transaction, Unacked, Unconfirmed, Verdict};
use self::topology::{BindingKey, Destination, Existence, Route, Topology};
use crate::history::{Change, Departure, Fact, Presence, QueueIndex, Session};
use crate::message::{MessageNumber, Messages};
use crate::plan::Ending;
use crate::tap::Said;

/// See the module.
#[derive(Debug)]
pub(crate) struct Model {
    contents: Contents,
    by_name: BTreeMap<Box<[u8]>, u32>,
    topology: Topology,
    connections: BTreeMap<u32, Connection>,
    /// Whether each session may still hold messages.
    sessions: Vec<SessionState>,
    changes: u64,
    /// Changes of the topology that nobody will be told of when they happen.
    untold_changes: Vec<Untold>,
    last_durable: u64,
    /// The last position in the log that the engine has told.
    last_lsn: u64,
    /// Publishes taken while changes were under way: the node may route them before or after those.
    floating: Vec<Floating>,
    deliveries: Vec<Delivery>,
    /// Gets answered with "empty" in the current step: the queue and when they were asked.
    empties: Vec<(u32, u64)>,
    /// Purges answered in the current step: the queue and when they were asked.
    purges: Vec<(u32, u64)>,
    /// Channels that their clients closed in the current step: the node may have spoken on them before it heard of that.
    leaving: Vec<(u32, u16, Channel)>,
    /// Inputs of the current step.
    inputs: u64,
    facts: Vec<Fact>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionState {
    Alive,
    /// The node has begun to end it: its messages may go to others at any moment.
    Dying,
}

/// See [`Model::untold_changes`].
#[derive(Clone, Copy, Debug)]
struct Untold {
    /// The last position known when it was asked for: it stands soon after.
    after: u64,
    /// How often the log has still to become durable, beyond that position, until it surely is.
    syncs: u32,
}

/// See [`Model::floating`].
#[derive(Debug)]
struct Floating {
    message: MessageNumber,
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
    /// An empty node.
    pub(crate) fn new() -> Self {
        Self {
            contents: Contents::default(),
            by_name: BTreeMap::new(),
            topology: Topology::new(),
            connections: BTreeMap::new(),
            sessions: Vec::new(),
            changes: 0,
            untold_changes: Vec::new(),
            last_durable: 0,
            last_lsn: 0,
            floating: Vec::new(),
            deliveries: Vec::new(),
            empties: Vec::new(),
            purges: Vec::new(),
            leaving: Vec::new(),
            inputs: 0,
            facts: Vec::new(),
        }
    }

    /// The queues' names by their numbers in facts, for people.
    pub(crate) fn queue_names(&self) -> String {
        let names = self.contents.queues.iter().enumerate();
        let names = names.map(|(index, queue)| format!("q{index}={}", String::from_utf8_lossy(&queue.name)));
        names.collect::<Vec<_>>().join(" ")
    }

    /// Takes the facts derived since the last call.
    pub(crate) fn take_facts(&mut self, into: &mut Vec<Fact>) {
        into.append(&mut self.facts);
    }

    /// A client's connection was accepted.
    pub(crate) fn connected(&mut self, client: u32, connection: u32) {
        self.connections.insert(connection, Connection::default());
        self.facts.push(Fact::Connected { client, connection });
    }

    /// The node was told that a connection is over.
    pub(crate) fn disconnected(&mut self, connection: u32) {
        if let Some(ended) = self.connections.remove(&connection) {
            for channel in ended.channels.into_values() {
                self.doubt_unseen(&channel);
                self.end_channel(&channel);
            }
            self.drop_exclusive(connection);
            self.facts.push(Fact::Disconnected { connection });
        }
    }

    /// The node closes a connection, with or without a word.
    pub(crate) fn closing(&mut self, connection: u32) {
        let Some(held) = self.connections.get_mut(&connection) else { return };
        held.is_closing = true;
        let sessions: Vec<Session> = held.channels.values().map(|channel| channel.session).collect();
        for session in sessions {
            self.sessions[session.0 as usize] = SessionState::Dying;
        }
        let channels: Vec<u16> = self.connections[&connection].channels.keys().copied().collect();
        for channel in channels {
            self.doubt_step(connection, channel);
            self.doubt_consumed(connection, channel);
        }
        for index in 0..self.contents.queues.len() {
            if self.contents.queues[index].owner == Some(connection) {
                self.doubt_existence(u32::try_from(index).expect("few queues"));
            }
        }
    }

    /// The client says something.
    pub(crate) fn client_says(&mut self, connection: u32, number: u16, said: Said<'_>, messages: &Messages) {
        let Some(held) = self.connections.get_mut(&connection) else { return };
        match said {
            Said::ConnectionClose { .. } | Said::ConnectionCloseOk => {
                let channels = std::mem::take(&mut held.channels);
                held.is_closing = true;
                for (number, channel) in channels {
                    self.end_channel(&channel);
                    self.leaving.push((connection, number, channel));
                }
                self.drop_exclusive(connection);
                return;
            }
            _ if held.is_closing => return,
            Said::ChannelOpen => {
                let session = Session(u32::try_from(self.sessions.len()).expect("few channels"));
                if let std::collections::btree_map::Entry::Vacant(place) = held.channels.entry(number) {
                    self.sessions.push(SessionState::Alive);
                    place.insert(Channel::new(session));
                }
                return;
            }
            _ => {}
        }
        let Some(channel) = held.channels.get_mut(&number) else { return };
        if matches!(said, Said::ChannelClose { .. }) || (channel.is_closing && said == Said::ChannelCloseOk) {
            let channel = held.channels.remove(&number).expect("just found");
            self.end_channel(&channel);
            self.leaving.push((connection, number, channel));
            return;
        }
        if channel.is_closing {
            return;
        }
        self.changes += 1;
        let change = self.changes;
        match said {
            Said::Publish { routing, mandatory, message: Some(message) } => {
                self.publish(connection, number, routing, mandatory, message, messages);
            }
            Said::Ack { tag, multiple } => self.answer(connection, number, tag, multiple, Verdict::Ack),
            Said::Nack { tag, multiple, requeue } => {
                let verdict = if requeue { Verdict::Requeue } else { Verdict::Drop };
                self.answer(connection, number, tag, multiple, verdict);
            }
            Said::Recover => self.answer(connection, number, 0, true, Verdict::Requeue),
            Said::Qos { count, global } => {
                channel.pending = Some(Pending::Other);
                if global {
                    channel.prefetch_all = u32::from(count);
                } else {
                    channel.prefetch_each = u32::from(count);
                }
            }
            Said::ConfirmSelect => channel.mode = Mode::Confirm,
            Said::TxSelect => channel.mode = Mode::Tx,
            Said::TxCommit => self.commit(connection, number),
            Said::TxRollback => {
                let Transaction { answers, .. } = std::mem::take(&mut channel.transaction);
                for (unacked, _, tag) in answers {
                    channel.debit(&unacked);
                    channel.unacked.insert(tag, unacked);
                }
            }
            Said::Consume { queue, tag, no_ack } => {
                channel.pending = Some(Pending::Other);
                self.consume(connection, number, queue, tag, no_ack);
            }
            Said::Cancel { tag } => {
                channel.pending = Some(Pending::Other);
                self.cancel(connection, number, tag);
            }
            Said::Get { queue, no_ack } => {
                let queue = self.queue_or_last(connection, number, queue);
                let step = self.contents.step;
                self.set_pending(connection, number, Pending::Get { queue, no_ack, step });
            }
            Said::QueueDeclare { name, passive, durable, exclusive, auto_delete } => {
                let was = (!name.is_empty() && !passive).then(|| {
                    let index = self.queue_index(name);
                    self.facts.push(Fact::Changed { queue: QueueIndex(index), what: Change::DeclareAsked });
                    let queue = &mut self.contents.queues[index as usize];
                    let was = queue.existence.map(|existence| existence.is_certain);
                    match &mut queue.existence {
                        Some(existence) => existence.last_change = change,
                        None => {
                            queue.existence = Some(Existence { is_certain: false, last_change: change });
                            queue.is_durable = durable && !exclusive;
                            queue.is_auto_delete = auto_delete;
                            queue.owner = exclusive.then_some(connection);
                        }
                    }
                    was == Some(true)
                });
                self.topology.touch();
                let pending = Pending::DeclareQueue { change, durable, exclusive, auto_delete, passive, was };
                self.set_pending(connection, number, pending);
            }
            Said::QueueDelete { queue } => {
                let queue = self.queue_or_last(connection, number, queue);
                self.facts.push(Fact::Changed { queue: QueueIndex(queue), what: Change::DeleteAsked });
                if let Some(existence) = &mut self.contents.queues[queue as usize].existence {
                    *existence = Existence { is_certain: false, last_change: change };
                    self.topology.doubt_queue(queue);
                    self.contents.doubt_queue(queue);
                }
                self.set_pending(connection, number, Pending::DeleteQueue { queue, change });
            }
            Said::QueuePurge { queue } => {
                let queue = self.queue_or_last(connection, number, queue);
                self.facts.push(Fact::Changed { queue: QueueIndex(queue), what: Change::PurgeAsked });
                self.contents.doubt_ready(queue);
                let step = self.contents.step;
                self.set_pending(connection, number, Pending::Purge { queue, step });
            }
            Said::QueueBind { queue, source, key, arguments } => {
                let key = self.queue_binding(connection, number, queue, source, key, arguments);
                self.topology.bind(key.clone(), change);
                self.set_pending(connection, number, Pending::Bind { key, change });
            }
            Said::QueueUnbind { queue, source, key, arguments } => {
                let key = self.queue_binding(connection, number, queue, source, key, arguments);
                self.topology.unbind(&key, change);
                self.set_pending(connection, number, Pending::Unbind { key, change });
            }
            Said::ExchangeBind { destination, source, key, arguments } => {
                let key = exchange_binding(destination, source, key, arguments);
                self.topology.bind(key.clone(), change);
                self.set_pending(connection, number, Pending::Bind { key, change });
            }
            Said::ExchangeUnbind { destination, source, key, arguments } => {
                let key = exchange_binding(destination, source, key, arguments);
                self.topology.unbind(&key, change);
                self.set_pending(connection, number, Pending::Unbind { key, change });
            }
            Said::ExchangeDeclare { name, kind, passive, durable } => {
                if !passive {
                    self.topology.declare_exchange(name, kind, durable, change);
                }
                let pending = Pending::DeclareExchange { name: name.into(), change, passive };
                self.set_pending(connection, number, pending);
            }
            Said::ExchangeDelete { name } => {
                self.topology.delete_exchange(name, change);
                self.set_pending(connection, number, Pending::DeleteExchange { name: name.into(), change });
            }
            _ => {}
        }
    }

    /// The node says something. `durable` is the position up to which the log is durable.
    pub(crate) fn node_says(&mut self, connection: u32, number: u16, said: Said<'_>, durable: u64) {
        let Some(held) = self.connections.get_mut(&connection) else { return };
        if let Said::ConnectionClose { code } = said {
            self.facts.push(Fact::Closed { connection, channel: 0, code });
            self.closing(connection);
            return;
        }
        let left = self.leaving.iter_mut().find(|(its, channel, _)| (*its, *channel) == (connection, number));
        let left = left.map(|(.., channel)| channel);
        let Some(channel) = held.channels.get_mut(&number).or(left) else { return };
        let is_answer = !matches!(
            said,
            Said::ChannelClose { .. }
                | Said::Ack { .. }
                | Said::Nack { .. }
                | Said::Return { .. }
                | Said::Deliver { .. }
                | Said::Cancel { .. }
        );
        if is_answer && !channel.behind.is_empty() {
            for (message, queue, verdict) in std::mem::take(&mut channel.behind) {
                let Some(at) = self.contents.find(message, queue) else { continue };
                let presence = self.contents.messages[message.index()].copies[at].presence;
                match (verdict, presence) {
                    (Verdict::Requeue, Presence::Maybe) => self.contents.requeue(message, at, &mut self.facts),
                    (Verdict::Ack | Verdict::Drop, Presence::Gone(_)) => self.contents.await_log(message, at),
                    _ => {}
                }
            }
        }
        match said {
            Said::ChannelClose { code, .. } => {
                channel.is_closing = true;
                self.sessions[channel.session.0 as usize] = SessionState::Dying;
                self.facts.push(Fact::Closed { connection, channel: number, code });
                self.doubt_step(connection, number);
                self.doubt_consumed(connection, number);
                self.retract(connection, number);
            }
            Said::Ack { tag, multiple } => self.answered(connection, number, tag, multiple, true, durable),
            Said::Nack { tag, multiple, .. } => self.answered(connection, number, tag, multiple, false, durable),
            Said::Return { message: Some(message) } => self.returned(connection, number, message),
            Said::Deliver { consumer, tag, redelivered, message } => {
                let at = channel.consumers.iter().rposition(|known| *known.tag == *consumer);
                let delivery = Delivery {
                    connection,
                    channel: number,
                    session: channel.session,
                    tag,
                    redelivered,
                    message,
                    queue: at.map(|at| channel.consumers[at].queue),
                    consumer: at,
                    no_ack: at.is_some_and(|at| channel.consumers[at].no_ack),
                    asked: None,
                    is_recovered: false,
                };
                self.deliveries.push(delivery);
            }
            Said::GetOk { tag, redelivered, message, .. } => {
                let (queue, no_ack, asked) = match channel.pending.take() {
                    Some(Pending::Get { queue, no_ack, step }) => (Some(queue), no_ack, Some(step)),
                    _ => (None, false, None),
                };
                let delivery = Delivery {
                    connection,
                    channel: number,
                    session: channel.session,
                    tag,
                    redelivered,
                    message,
                    queue,
                    consumer: None,
                    no_ack,
                    asked,
                    is_recovered: false,
                };
                self.deliveries.push(delivery);
            }
            Said::GetEmpty => {
                if let Some(Pending::Get { queue, step, .. }) = channel.pending.take() {
                    self.empties.push((queue, step));
                }
            }
            Said::Cancel { tag } => self.cancel(connection, number, tag),
            Said::QueueDeclareOk { name, .. } => self.queue_declared(connection, number, name),
            Said::QueueDeleteOk { .. } => {
                if let Some(Pending::DeleteQueue { queue, change }) = channel.pending.take()
                    && self.contents.queues[queue as usize].existence.is_none_or(|it| it.last_change == change)
                {
                    self.remove_queue(queue);
                }
            }
            Said::QueuePurgeOk { .. } => {
                if let Some(Pending::Purge { queue, step }) = channel.pending.take() {
                    self.purges.push((queue, step));
                }
            }
            Said::Done { class: 60, method: 21 } => {
                channel.pending = None;
                if let Some(consumer) = channel.consumers.iter_mut().find(|consumer| !consumer.is_answered) {
                    consumer.is_answered = true;
                }
            }
            Said::Done { class: 60, method: 111 } => {
                channel.pending = None;
                let session = channel.session;
                for delivery in self.deliveries.iter_mut().filter(|delivery| delivery.session == session) {
                    delivery.is_recovered = true;
                }
            }
            Said::Done { .. } => self.done(connection, number),
            _ => {}
        }
    }

    /// A message went to the log at `lsn` (reported by the engine).
    pub(crate) fn logged(&mut self, connection: u32, number: u16, seqno: Option<u64>, lsn: u64) {
        self.last_lsn = self.last_lsn.max(lsn);
        let Some(seqno) = seqno else { return };
        let channel = self.connections.get_mut(&connection).and_then(|held| held.channels.get_mut(&number));
        if let Some(unconfirmed) = channel.and_then(|channel| channel.unconfirmed_mut(seqno)) {
            unconfirmed.lsn = unconfirmed.lsn.max(Some(lsn));
        }
    }

    /// Settlements of this step and before are in the log up to `lsn` (reported by the engine).
    pub(crate) fn settled(&mut self, lsn: u64) {
        self.last_lsn = self.last_lsn.max(lsn);
        self.contents.settled_at(lsn);
    }

    /// The engine was flushed: what it was told before and what it said are one step. `durable` as in [`Self::node_says`].
    pub(crate) fn end_step(&mut self, durable: u64) {
        if !self.deliveries.is_empty() {
            let mut deliveries = std::mem::take(&mut self.deliveries);
            // What went to a channel that is closed or recovers in this same step went there first.
            deliveries.sort_by_key(|delivery| {
                self.sessions[delivery.session.0 as usize] == SessionState::Alive && !delivery.is_recovered
            });
            for delivery in &deliveries {
                self.deliver(delivery);
            }
            self.find_skipped(&deliveries);
            self.deliveries = deliveries;
            self.deliveries.clear();
        }
        for (queue, asked) in std::mem::take(&mut self.empties) {
            // A message that is being read for another get is no longer to be had.
            let others = self
                .connections
                .values()
                .flat_map(|held| held.channels.values())
                .filter(|channel| matches!(channel.pending, Some(Pending::Get { queue: its, .. }) if its == queue));
            let mut ready = self.contents.queues[queue as usize].ready.iter().filter(|(_, message)| {
                let at = self.contents.find(*message, queue).expect("ready messages are in their queue");
                self.contents.messages[message.index()].copies[at].changed < asked
            });
            let missed = ready.nth(others.count());
            if let Some(&(_, message)) = missed {
                self.facts.push(Fact::MissedByGet { queue: QueueIndex(queue), message });
            }
        }
        for (queue, asked) in std::mem::take(&mut self.purges) {
            self.contents.purged(queue, asked, &mut self.facts);
        }
        self.contents.forget_settled(durable);
        if durable > self.last_durable {
            self.last_durable = durable;
            for change in self.untold_changes.iter_mut().filter(|change| change.after < durable) {
                change.syncs -= 1;
            }
            self.untold_changes.retain(|change| change.syncs > 0);
            if self.untold_changes.is_empty() {
                for index in 0..self.contents.queues.len() {
                    let queue = &mut self.contents.queues[index];
                    if queue.existence.is_some_and(|existence| existence.last_change > queue.forsaken_at) {
                        // Somebody asked for it since; it may be there again.
                        queue.is_forsaken = false;
                    }
                    if queue.is_forsaken {
                        self.contents.remove_queue(u32::try_from(index).expect("few queues"));
                        self.topology.touch();
                    }
                }
            }
        }
        if !self.floating.is_empty() {
            self.sink();
        }
        self.contents.step += 1;
        self.inputs = 0;
        self.leaving.clear();
    }

    /// The engine is about to be told something.
    pub(crate) fn input(&mut self) {
        self.inputs += 1;
    }

    /// The node ended. `kept` is the position up to which the log survives, `durable` that up to which it survives a further ending.
    pub(crate) fn ended(&mut self, how: Ending, by_itself: bool, kept: u64, durable: u64) {
        self.facts.push(Fact::Ended { how, by_itself });
        for channel in std::mem::take(&mut self.connections).values().flat_map(|held| held.channels.values()) {
            self.doubt_behind(channel);
        }
        self.deliveries.clear();
        self.empties.clear();
        self.purges.clear();
        self.leaving.clear();
        self.inputs = 0;
        self.connections.clear();
        for state in &mut self.sessions {
            *state = SessionState::Dying;
        }
        self.untold_changes.clear();
        self.floating.clear();
        self.contents.restart(how == Ending::Shutdown && !by_itself, kept, durable);
        let queues = &self.contents.queues;
        self.topology.restart(|queue| queues[queue as usize].existence.is_some());
        self.contents.step += 1;
    }

    /// The node recovered.
    pub(crate) fn ready(&mut self) {
        self.facts.push(Fact::Ready);
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
            for &(_, message) in &queue.ready {
                let was_confirmed = self.contents.messages[message.index()].is_promised;
                let queue = QueueIndex(u32::try_from(index).expect("few queues"));
                self.facts.push(Fact::NeverCame { queue, message, was_confirmed });
            }
        }
    }

    fn publish(
        &mut self,
        connection: u32,
        number: u16,
        routing: &[u8],
        mandatory: bool,
        message: MessageNumber,
        messages: &Messages,
    ) {
        let Some(info) = messages.get(message) else { return };
        self.contents.message_mut(message).is_persistent = info.persistent;
        let route = self.route(routing, message);
        let lives = route.certain.iter().map(|&queue| self.contents.queues[queue as usize].lives).collect();
        let step = self.contents.step;
        let channel = self.channel_mut(connection, number);
        let session = channel.session;
        let mut seqno = None;
        match channel.mode {
            Mode::Tx => {
                channel.transaction.publishes.push(Held {
                    message,
                    routing: routing.into(),
                    route: route.clone(),
                    lives,
                });
            }
            Mode::Plain | Mode::Confirm => {
                for &queue in route.certain.iter().chain(&route.possible) {
                    channel.touch(step, message, queue);
                }
                if channel.mode == Mode::Confirm {
                    channel.last_seqno += 1;
                    seqno = Some(channel.last_seqno);
                    channel.unconfirmed.push_back(Unconfirmed {
                        message,
                        is_answered: false,
                        must_return: mandatory && route.certain.is_empty() && route.possible.is_empty(),
                        was_returned: false,
                        lsn: None,
                    });
                }
                self.publish_into(message, routing, &route);
            }
        }
        let count = |set: &topology::QueueSet| u32::try_from(set.len()).expect("few queues");
        let (certain, possible) = (count(&route.certain), count(&route.possible));
        self.facts.push(Fact::Published { session, message, seqno, certain, possible, mandatory });
    }

    /// Puts a message into its queues, or, while changes are under way, into those where it may go.
    fn publish_into(&mut self, message: MessageNumber, routing: &[u8], route: &Route) {
        if self.is_settled() {
            self.enter(message, route);
            return;
        }
        let possible = route.certain.iter().chain(&route.possible).copied().collect();
        self.enter(message, &Route { certain: topology::QueueSet::new(), possible });
        self.floating.push(Floating { message, routing: routing.into(), certain: route.certain.clone() });
    }

    /// Whether no change of the topology is under way.
    fn is_settled(&self) -> bool {
        self.untold_changes.is_empty()
            && self.connections.values().all(|held| {
                held.channels.values().all(|channel| !channel.pending.as_ref().is_some_and(Pending::is_change))
            })
    }

    /// Routes floating publishes again. Once no change is under way, it is known where they went.
    fn sink(&mut self) {
        let is_settled = self.is_settled();
        let mut floating = std::mem::take(&mut self.floating);
        for one in &mut floating {
            let route = self.route(&one.routing, one.message);
            one.certain.retain(|queue| route.certain.contains(queue));
            for &queue in route.certain.iter().chain(&route.possible) {
                if self.contents.find(one.message, queue).is_none() {
                    self.contents.enter(one.message, queue, false);
                }
            }
            if !is_settled {
                continue;
            }
            self.contents.position += 1;
            self.contents.settle_place(one.message, &one.certain);
        }
        if !is_settled {
            self.floating = floating;
        }
    }

    fn enter(&mut self, message: MessageNumber, route: &Route) {
        self.contents.position += 1;
        for &queue in &route.certain {
            self.contents.enter(message, queue, true);
        }
        for &queue in &route.possible {
            self.contents.enter(message, queue, false);
        }
    }

    fn route(&mut self, routing: &[u8], message: MessageNumber) -> Route {
        let (queues, by_name) = (&self.contents.queues, &self.by_name);
        let certainty = |index: u32| queues[index as usize].existence.map(|existence| existence.is_certain);
        let named = |name: &[u8]| by_name.get(name).and_then(|&index| Some((index, certainty(index)?)));
        self.topology.route(routing, message, named, certainty)
    }

    fn commit(&mut self, connection: u32, number: u16) {
        let channel = self.channel_mut(connection, number);
        let Transaction { publishes, answers, .. } = std::mem::take(&mut channel.transaction);
        channel.transaction.committing = publishes.iter().map(|held| held.message).collect();
        let session = channel.session;
        for Held { message, routing, route: mut before, lives } in publishes {
            let mut lives = lives.into_iter();
            before.certain.retain(|queue| lives.next() == Some(self.contents.queues[*queue as usize].lives));
            // The queues are those of the publish or those of the commit: what is certain is certain at both times.
            let after = self.route(&routing, message);
            let mut route = Route::default();
            for &queue in before.certain.iter().chain(&before.possible).chain(&after.certain).chain(&after.possible) {
                let is_certain = before.certain.contains(&queue) && after.certain.contains(&queue);
                let into = if is_certain { &mut route.certain } else { &mut route.possible };
                if !into.contains(&queue) {
                    into.push(queue);
                }
            }
            let step = self.contents.step;
            let channel = self.channel_mut(connection, number);
            for &queue in route.certain.iter().chain(&route.possible) {
                channel.touch(step, message, queue);
            }
            self.publish_into(message, &routing, &route);
        }
        for (unacked, verdict, _) in answers {
            self.settle(connection, number, session, &unacked, verdict);
        }
        self.set_pending(connection, number, Pending::Commit);
    }

    fn answer(&mut self, connection: u32, number: u16, tag: u64, multiple: bool, verdict: Verdict) {
        let channel = self.channel_mut(connection, number);
        let session = channel.session;
        let waits = channel.pending.is_some();
        let is_recover = tag == 0 && multiple && verdict == Verdict::Requeue;
        for (tag, unacked) in channel.take_unacked(tag, multiple) {
            let channel = self.channel_mut(connection, number);
            channel.credit(&unacked);
            if waits {
                channel.behind.push((unacked.message, unacked.queue, verdict));
            }
            if channel.mode == Mode::Tx && !is_recover {
                channel.transaction.answers.push((unacked, verdict, tag));
            } else {
                self.settle(connection, number, session, &unacked, verdict);
            }
        }
    }

    fn settle(&mut self, connection: u32, number: u16, session: Session, unacked: &Unacked, verdict: Verdict) {
        let Some(at) = self.contents.find_unacked(unacked.message, unacked.queue, session) else { return };
        let step = self.contents.step;
        let channel = self.channel_mut(connection, number);
        channel.touch(step, unacked.message, unacked.queue);
        let waits = channel.pending.is_some();
        match verdict {
            Verdict::Ack if waits => {
                self.contents.depart_later(unacked.message, at, Departure::Acked, &mut self.facts);
            }
            Verdict::Drop if waits => {
                self.contents.depart_later(unacked.message, at, Departure::Rejected, &mut self.facts);
            }
            Verdict::Requeue if waits => self.contents.set(unacked.message, at, Presence::Maybe),
            Verdict::Ack => self.contents.depart(unacked.message, at, Departure::Acked, &mut self.facts),
            Verdict::Drop => self.contents.depart(unacked.message, at, Departure::Rejected, &mut self.facts),
            Verdict::Requeue => self.contents.requeue(unacked.message, at, &mut self.facts),
        }
    }

    fn consume(&mut self, connection: u32, number: u16, queue: &[u8], tag: &[u8], no_ack: bool) {
        let queue = self.queue_or_last(connection, number, queue);
        self.contents.queues[queue as usize].consumers += 1;
        let channel = self.channel_mut(connection, number);
        let prefetch = channel.prefetch_each;
        channel.consumers.push(Consumer {
            tag: tag.into(),
            queue,
            no_ack,
            prefetch,
            unacked: 0,
            is_cancelled: false,
            is_answered: false,
        });
    }

    fn cancel(&mut self, connection: u32, number: u16, tag: &[u8]) {
        let channel = self.channel_mut(connection, number);
        let found = channel.consumers.iter_mut().rev().find(|consumer| *consumer.tag == *tag && !consumer.is_cancelled);
        if let Some(consumer) = found {
            consumer.is_cancelled = true;
            let (queue, is_answered) = (consumer.queue, consumer.is_answered);
            self.lose_consumer(queue, is_answered);
        }
    }

    fn lose_consumer(&mut self, index: u32, is_answered: bool) {
        let step = self.contents.step;
        let queue = &mut self.contents.queues[index as usize];
        queue.disturbed = step;
        if !is_answered && queue.is_auto_delete {
            // Whether it ever had this consumer is not known.
            queue.consumers = queue.consumers.saturating_sub(1);
            self.doubt_existence(index);
            self.contents.doubt_queue(index);
            return;
        }
        if queue.consumers > 0 {
            queue.consumers -= 1;
            if queue.consumers == 0 && queue.is_auto_delete && queue.existence.is_some() && !queue.is_forsaken {
                let is_durable = queue.is_durable;
                if is_durable {
                    // Nobody waits for the log to have it, so a crash may bring the queue back with what was in it.
                    self.contents.doubt_queue(index);
                    self.topology.doubt_queue(index);
                    self.contents.queues[index as usize].forsake(self.changes);
                    self.untold_changes.push(Untold { after: self.last_lsn, syncs: UNTOLD_SYNCS });
                    self.facts.push(Fact::Changed { queue: QueueIndex(index), what: Change::Gone });
                } else {
                    self.remove_queue(index);
                }
            }
        }
    }

    fn queue_declared(&mut self, connection: u32, number: u16, name: &[u8]) {
        let index = self.queue_index(name);
        self.topology.touch();
        let channel = self.channel_mut(connection, number);
        channel.last_queue = Some(index);
        let Some(Pending::DeclareQueue { change, durable, exclusive, auto_delete, passive, was }) =
            channel.pending.take()
        else {
            return;
        };
        if passive {
            return;
        }
        self.facts.push(Fact::Changed { queue: QueueIndex(index), what: Change::Declared });
        if self.contents.queues[index as usize].is_forsaken {
            // The node lets a declaration wait until the queue that is going is gone.
            let existence = self.contents.queues[index as usize].existence;
            self.contents.remove_queue(index);
            self.contents.queues[index as usize].existence = existence;
        }
        let queue = &mut self.contents.queues[index as usize];
        // Whatever was there before: had it other properties, it would have been refused.
        queue.is_durable = durable && !exclusive;
        queue.is_auto_delete = auto_delete;
        queue.owner = exclusive.then_some(connection);
        match (&mut queue.existence, was) {
            (Some(existence), Some(_)) => {
                if existence.last_change == change {
                    existence.is_certain = true;
                }
            }
            (existence, _) => *existence = Some(Existence { is_certain: true, last_change: change }),
        }
    }

    fn done(&mut self, connection: u32, number: u16) {
        let channel = self.channel_mut(connection, number);
        match channel.pending.take() {
            Some(Pending::DeclareExchange { name, change, passive: false }) => {
                self.topology.exchange_declared(&name, change);
            }
            Some(Pending::DeleteExchange { name, change }) => self.topology.exchange_deleted(&name, change),
            Some(Pending::Bind { key, change }) => self.topology.bound(&key, change),
            Some(Pending::Unbind { key, change }) => self.topology.unbound(&key, change),
            Some(Pending::Commit) => {
                for message in std::mem::take(&mut channel.transaction.committing) {
                    self.contents.message_mut(message).is_promised = true;
                }
            }
            Some(Pending::Other) | None => {}
            other => channel.pending = other,
        }
    }

    /// A request was refused: what it was about is as before, unless somebody else changed it since.
    fn retract(&mut self, connection: u32, number: u16) {
        let pending = self.channel_mut(connection, number).pending.take();
        if let Some(Pending::DeleteQueue { queue, change }) = pending {
            self.facts.push(Fact::Changed { queue: QueueIndex(queue), what: Change::Refused });
            if let Some(existence) = &mut self.contents.queues[queue as usize].existence
                && existence.last_change == change
            {
                existence.is_certain = true;
            }
        } else if let Some(Pending::DeclareQueue { change, was: Some(true), .. }) = pending {
            for queue in &mut self.contents.queues {
                if let Some(existence) = &mut queue.existence
                    && existence.last_change == change
                {
                    existence.is_certain = true;
                }
            }
        }
        self.topology.touch();
    }

    fn answered(&mut self, connection: u32, number: u16, tag: u64, multiple: bool, is_ack: bool, durable: u64) {
        let channel = self.channel_mut(connection, number);
        let session = channel.session;
        let first = channel.last_seqno + 1 - channel.unconfirmed.len() as u64;
        let from = if multiple { first.min(tag) } else { tag };
        for seqno in from..=tag {
            let channel = self.channel_mut(connection, number);
            let Some(unconfirmed) = channel.unconfirmed_mut(seqno).filter(|unconfirmed| !unconfirmed.is_answered)
            else {
                if !multiple || seqno == tag {
                    self.facts.push(Fact::Answered {
                        session,
                        seqno,
                        message: None,
                        is_ack,
                        lacks_return: false,
                        must_be_durable: false,
                        lsn: None,
                        durable,
                    });
                }
                continue;
            };
            unconfirmed.is_answered = true;
            let Unconfirmed { message, must_return, was_returned, lsn, .. } = *unconfirmed;
            let held = &self.contents.messages[message.index()];
            let must_be_durable = is_ack
                && held.is_persistent
                && held.copies.iter().any(|copy| {
                    let queue = &self.contents.queues[copy.queue as usize];
                    queue.is_durable
                        && queue.existence.is_some_and(|existence| existence.is_certain)
                        && copy.generation == queue.generation
                        && matches!(copy.presence, Presence::Ready | Presence::Unacked(_))
                });
            if is_ack {
                self.contents.message_mut(message).is_promised = true;
            }
            self.facts.push(Fact::Answered {
                session,
                seqno,
                message: Some(message),
                is_ack,
                lacks_return: must_return && !was_returned,
                must_be_durable,
                lsn,
                durable,
            });
        }
        let channel = self.channel_mut(connection, number);
        while channel.unconfirmed.front().is_some_and(|unconfirmed| unconfirmed.is_answered) {
            channel.unconfirmed.pop_front();
        }
    }

    fn returned(&mut self, connection: u32, number: u16, message: MessageNumber) {
        let channel = self.channel_mut(connection, number);
        let session = channel.session;
        if let Some(unconfirmed) = channel.unconfirmed.iter_mut().find(|unconfirmed| unconfirmed.message == message) {
            unconfirmed.was_returned = true;
        }
        let certain = self
            .contents
            .messages
            .get(message.index())
            .map_or(0, |held| held.copies.iter().filter(|copy| copy.presence != Presence::Maybe).count());
        let certain = u32::try_from(certain).expect("few copies");
        self.facts.push(Fact::Returned { session, message, certain, is_mandatory: true });
    }

    fn deliver(&mut self, delivery: &Delivery) {
        let Delivery { connection, channel, session, tag, redelivered, message, queue, consumer, no_ack, .. } =
            *delivery;
        let found =
            message.zip(queue).and_then(|(message, queue)| Some((message, queue, self.contents.find(message, queue)?)));
        let held = self.connections.get(&connection).and_then(|held| held.channels.get(&channel));
        let is_over = held.is_none_or(|held| held.session != session);
        let has_gone = queue.is_some_and(|queue| self.contents.queues[queue as usize].removed == self.contents.step);
        if found.is_none() && (is_over || has_gone) {
            // The channel was closed or its consumer cancelled after this, and its queue went with it.
            return;
        }
        let mut fact = Fact::Delivered {
            session,
            tag,
            queue: queue.map(QueueIndex),
            message,
            before: Presence::Never,
            redelivered,
            deliveries: 0,
            maybe_unseen: false,
            crashed_since: false,
            position: 0,
            unacked: 0,
            prefetch: 0,
            channel_unacked: 0,
            channel_prefetch: 0,
            is_get: consumer.is_none(),
            connection,
            channel,
        };
        if let Some((message, queue, at)) = found {
            let copy = self.contents.messages[message.index()].copies[at];
            let held = &self.contents.queues[queue as usize];
            if let Fact::Delivered { before, deliveries, maybe_unseen, crashed_since, position, .. } = &mut fact {
                *before = match copy.presence {
                    Presence::Unacked(other) if self.sessions[other.0 as usize] == SessionState::Dying => {
                        Presence::Maybe
                    }
                    presence => presence,
                };
                *deliveries = copy.deliveries;
                *maybe_unseen = copy.restarts != self.contents.restarts || held.disturbed >= copy.entered;
                *crashed_since = copy.crashes != self.contents.crashes;
                *position = copy.position;
            }
            let (restarts, crashes) = (self.contents.restarts, self.contents.crashes);
            let copy = &mut self.contents.messages[message.index()].copies[at];
            copy.deliveries += 1;
            copy.restarts = restarts;
            copy.crashes = crashes;
            if no_ack {
                self.contents.depart(message, at, Departure::AutoAcked, &mut self.facts);
            } else {
                self.contents.set(message, at, Presence::Unacked(session));
            }
        }
        let channel = self.connections.get_mut(&connection).and_then(|held| held.channels.get_mut(&channel));
        match channel.filter(|channel| channel.session == session && !delivery.is_recovered) {
            Some(channel) => {
                if let (Some(message), Some(queue), false) = (message, queue, no_ack) {
                    let unacked = Unacked { message, queue, consumer };
                    channel.debit(&unacked);
                    channel.unacked.insert(tag, unacked);
                    if let (Some(at), Fact::Delivered { unacked, prefetch, channel_unacked, channel_prefetch, .. }) =
                        (consumer, &mut fact)
                    {
                        *unacked = channel.consumers[at].unacked;
                        *prefetch = channel.consumers[at].prefetch;
                        *channel_unacked = channel.consumed;
                        *channel_prefetch = channel.prefetch_all;
                    }
                }
            }
            None => {
                // The channel ended or recovered in this same step: the message is back already.
                if let Some((message, queue, at)) = found
                    && !no_ack
                {
                    let is_there = self.contents.queues[queue as usize].existence.is_some();
                    self.contents.set(message, at, if is_there { Presence::Ready } else { Presence::Maybe });
                }
            }
        }
        self.facts.push(fact);
    }

    /// Looks for messages that were there before this step began, certainly, and that this step's deliveries passed over.
    fn find_skipped(&mut self, deliveries: &[Delivery]) {
        for delivery in deliveries {
            let (Some(message), Some(queue)) = (delivery.message, delivery.queue) else { continue };
            if self.contents.queues[queue as usize].disturbed == self.contents.step {
                // Older ones may have gone to a connection that ended in this same step, and come back.
                continue;
            }
            let Some(at) = self.contents.find(message, queue) else { continue };
            let position = self.contents.messages[message.index()].copies[at].position;
            // A get may have been decided as soon as it was asked.
            let step = delivery.asked.unwrap_or(self.contents.step);
            let older =
                self.contents.queues[queue as usize].ready.range(..(position, MessageNumber(0))).find(|(_, older)| {
                    let at = self.contents.find(*older, queue).expect("ready messages are in their queue");
                    self.contents.messages[older.index()].copies[at].changed < step
                });
            if let Some(&(_, older)) = older {
                let at = self.contents.find(older, queue).expect("just found");
                let was_requeued = self.contents.messages[older.index()].copies[at].deliveries > 0;
                let queue = QueueIndex(queue);
                self.facts.push(Fact::Skipped { queue, message: older, was_requeued, delivered: message });
                return;
            }
        }
    }

    /// What the channel asked for in this step may not have been heeded.
    fn doubt_step(&mut self, connection: u32, number: u16) {
        let step = self.contents.step;
        let channel = self.channel_mut(connection, number);
        if channel.touched_step != step {
            return;
        }
        for (message, queue) in std::mem::take(&mut channel.touched) {
            for floating in self.floating.iter_mut().rev().filter(|floating| floating.message == message) {
                floating.certain.clear();
            }
            if let Some(at) = self.contents.find(message, queue)
                && let Presence::Ready | Presence::Gone(Departure::Acked | Departure::Rejected) =
                    self.contents.messages[message.index()].copies[at].presence
            {
                self.contents.set(message, at, Presence::Maybe);
            }
        }
    }

    /// What the node sent to a connection that ended in the same step is never seen. If that counted as acked, it is gone.
    fn doubt_unseen(&mut self, channel: &Channel) {
        if self.inputs == 0 {
            return;
        }
        let consumed = channel.consumers.iter().filter(|consumer| consumer.no_ack).map(|consumer| consumer.queue);
        let asked =
            if let Some(Pending::Get { queue, no_ack: true, .. }) = channel.pending { Some(queue) } else { None };
        let queues: Vec<u32> = consumed.chain(asked).collect();
        for queue in queues {
            self.contents.doubt_queue(queue);
        }
    }

    /// Answers behind a request that was never answered itself may have been dropped with the channel.
    fn doubt_behind(&mut self, channel: &Channel) {
        for &(message, queue, _) in &channel.behind {
            if let Some(at) = self.contents.find(message, queue)
                && let Presence::Gone(Departure::Acked | Departure::Rejected) =
                    self.contents.messages[message.index()].copies[at].presence
            {
                self.contents.set(message, at, Presence::Maybe);
            }
        }
    }

    /// Queues that go with their last consumer may be gone with this channel's.
    fn doubt_consumed(&mut self, connection: u32, number: u16) {
        let channel = self.channel_mut(connection, number);
        let queues: Vec<u32> =
            channel.consumers.iter().filter(|consumer| !consumer.is_cancelled).map(|consumer| consumer.queue).collect();
        for queue in queues {
            let step = self.contents.step;
            self.contents.queues[queue as usize].disturbed = step;
            if self.contents.queues[queue as usize].is_auto_delete {
                self.doubt_existence(queue);
            }
        }
    }

    fn doubt_existence(&mut self, queue: u32) {
        if let Some(existence) = &mut self.contents.queues[queue as usize].existence {
            existence.is_certain = false;
            self.topology.doubt_queue(queue);
        }
    }

    fn end_channel(&mut self, channel: &Channel) {
        self.sessions[channel.session.0 as usize] = SessionState::Dying;
        self.doubt_behind(channel);
        if channel.pending.as_ref().is_some_and(Pending::is_change) {
            self.untold_changes.push(Untold { after: self.last_lsn, syncs: UNTOLD_SYNCS });
        }
        let answered = channel.transaction.answers.iter().map(|(unacked, ..)| *unacked);
        for unacked in channel.unacked.values().copied().chain(answered) {
            if let Some(at) = self.contents.find_unacked(unacked.message, unacked.queue, channel.session) {
                self.contents.requeue(unacked.message, at, &mut self.facts);
            }
            let step = self.contents.step;
            self.contents.queues[unacked.queue as usize].disturbed = step;
        }
        if let Some(Pending::Get { queue, .. }) = channel.pending {
            let step = self.contents.step;
            self.contents.queues[queue as usize].disturbed = step;
        }
        for consumer in channel.consumers.iter().filter(|consumer| !consumer.is_cancelled) {
            self.lose_consumer(consumer.queue, consumer.is_answered);
        }
    }

    fn drop_exclusive(&mut self, connection: u32) {
        for index in 0..self.contents.queues.len() {
            if self.contents.queues[index].owner == Some(connection) {
                self.remove_queue(u32::try_from(index).expect("few queues"));
            }
        }
    }

    fn remove_queue(&mut self, queue: u32) {
        self.facts.push(Fact::Changed { queue: QueueIndex(queue), what: Change::Gone });
        self.contents.remove_queue(queue);
        self.topology.remove_queue(queue);
    }

    fn queue_binding(
        &mut self,
        connection: u32,
        number: u16,
        queue: &[u8],
        source: &[u8],
        key: &[u8],
        arguments: &[u8],
    ) -> BindingKey {
        let queue = self.queue_or_last(connection, number, queue);
        BindingKey {
            source: source.into(),
            destination: Destination::Queue(queue),
            key: key.into(),
            arguments: arguments.into(),
        }
    }

    fn queue_index(&mut self, name: &[u8]) -> u32 {
        if let Some(&index) = self.by_name.get(name) {
            return index;
        }
        let index = u32::try_from(self.contents.queues.len()).expect("few queues");
        self.contents.queues.push(Queue::new(name));
        self.by_name.insert(name.into(), index);
        index
    }

    /// AMQP 0-9-1 §1.7.2: an empty name is the queue last declared on the channel.
    fn queue_or_last(&mut self, connection: u32, number: u16, name: &[u8]) -> u32 {
        match self.channel_mut(connection, number).last_queue {
            Some(last) if name.is_empty() => last,
            _ => self.queue_index(name),
        }
    }

    fn set_pending(&mut self, connection: u32, number: u16, pending: Pending) {
        self.channel_mut(connection, number).pending = Some(pending);
    }

    fn channel_mut(&mut self, connection: u32, number: u16) -> &mut Channel {
        let held = self.connections.get_mut(&connection).and_then(|held| held.channels.get_mut(&number));
        let left = self.leaving.iter_mut().find(|(its, channel, _)| (*its, *channel) == (connection, number));
        held.or_else(|| left.map(|(.., channel)| channel)).expect("the caller looked it up")
    }
}

/// How often the log has to become durable until a change under way surely is: once for what is being written, once for what waits,
/// and once more for what waits behind that.
const UNTOLD_SYNCS: u32 = 3;

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

fn exchange_binding(destination: &[u8], source: &[u8], key: &[u8], arguments: &[u8]) -> BindingKey {
    let destination = Destination::Exchange(destination.into());
    BindingKey { source: source.into(), destination, key: key.into(), arguments: arguments.into() }
}
