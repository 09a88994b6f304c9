//! What clients and nodes say to each other, put down in the ledger.

use std::collections::BTreeMap;

use super::deliver::Given;
use super::{Entry, FIRST_SESSION, Ledger, Queue, Request, Stay, Trip};
use crate::history::{Departure, Fact, Presence, Session};
use crate::message::{MessageNumber, is_persistent};
use crate::tap::{Said, split_routing};

/// One life of one channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) session: Session,
    /// The number of the last publish in confirm mode; `None` before that.
    last_seqno: Option<u64>,
    /// Publishes without an answer, each with its queue if it has one.
    unconfirmed: BTreeMap<u64, (MessageNumber, Option<u32>)>,
    /// Published in the transaction that is open, each with whether it is persistent; `None` if the channel has none.
    transaction: Option<Vec<(Stay, bool)>>,
    /// Published by the commit whose answer is awaited.
    committing: Vec<Stay>,
    pub(super) consumers: Vec<Consumer>,
    prefetch: u32,
    pub(super) unacked: BTreeMap<u64, Out>,
    /// A request waits for its answer: what is said behind it waits with it.
    waits: bool,
    /// It asked for all that it has not settled: whatever comes before the answer to that may be back at once.
    pub(super) is_recovering: bool,
    /// It settled what it does not have.
    has_strayed: bool,
    /// What was settled behind such a request, or a get.
    behind: Vec<Out>,
    /// A change of a queue whose answer is awaited.
    pub(super) request: Option<Request>,
    get: Option<Get>,
}

/// One consumer.
#[derive(Debug)]
pub(super) struct Consumer {
    /// Its number among all of the run.
    pub(super) number: u32,
    tag: Box<[u8]>,
    queue: u32,
    pub(super) no_ack: bool,
    pub(super) priority: i64,
    pub(super) prefetch: u32,
    pub(super) unacked: u32,
    /// The life of the queue in which it began.
    life: u32,
    /// Of a queue on one node: how it reached that.
    trip: Option<Trip>,
    pub(super) is_gone: bool,
}

/// A `basic.get` under way.
#[derive(Clone, Copy, Debug)]
struct Get {
    queue: u32,
    /// Whether what it gets counts as settled.
    no_ack: bool,
    /// The life of the queue in which it was asked for.
    life: u32,
    /// Of a queue on one node: how that was reached.
    trip: Option<Trip>,
}

/// A message out with a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    pub(super) stay: Stay,
    /// The place of the consumer in its channel; `None` for a get.
    pub(super) consumer: Option<usize>,
    /// How often it had been given to somebody by then.
    pub(super) turn: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ack,
    Requeue,
    Reject,
}

impl Channel {
    fn new(session: Session) -> Self {
        Self {
            session,
            last_seqno: None,
            unconfirmed: BTreeMap::new(),
            transaction: None,
            committing: Vec::new(),
            consumers: Vec::new(),
            prefetch: 0,
            unacked: BTreeMap::new(),
            waits: false,
            is_recovering: false,
            has_strayed: false,
            behind: Vec::new(),
            request: None,
            get: None,
        }
    }

    fn consumer_at(&self, tag: &[u8]) -> Option<usize> {
        self.consumers.iter().rposition(|known| *known.tag == *tag)
    }

    /// Whether what is said now waits: as behind other requests, so behind a get, whose answer may come from another node.
    fn is_waiting(&self) -> bool {
        self.waits || self.get.is_some()
    }

    /// What it has of a queue is the queue's again, and none of its consumers counts it.
    pub(super) fn give_up(&mut self, queue: u32) -> Vec<Out> {
        let its = self.unacked.values_mut().filter(|out| out.stay.0 == queue);
        let given_up = its.map(|out| {
            if let Some(at) = out.consumer.take() {
                self.consumers[at].unacked -= 1;
            }
            *out
        });
        given_up.collect()
    }

    /// Takes the deliveries that an answer is about: one, or all up to it (0: all).
    fn take_unacked(&mut self, tag: u64, multiple: bool) -> Vec<Out> {
        let outs: Vec<Out> = if multiple {
            let rest = if tag == 0 { BTreeMap::new() } else { self.unacked.split_off(&(tag + 1)) };
            std::mem::replace(&mut self.unacked, rest).into_values().collect()
        } else {
            self.unacked.remove(&tag).into_iter().collect()
        };
        for at in outs.iter().filter_map(|out| out.consumer) {
            self.consumers[at].unacked -= 1;
        }
        outs
    }
}

impl Ledger {
    /// The client says something.
    pub(crate) fn client_says(&mut self, connection: u32, number: u16, said: Said<'_>) {
        let key = (connection, number);
        match said {
            Said::ConnectionClose { .. } | Said::ConnectionCloseOk => return self.disconnected(connection),
            Said::ChannelOpen if self.connections.contains_key(&connection) => {
                let session = Session(FIRST_SESSION + self.sessions);
                self.sessions += 1;
                self.channels.entry(key).or_insert_with(|| Channel::new(session));
                return;
            }
            Said::ChannelClose { .. } | Said::ChannelCloseOk => return self.end_channel(key),
            _ => {}
        }
        let Some(channel) = self.channels.get_mut(&key) else { return };
        match said {
            Said::ConfirmSelect => {
                channel.waits = true;
                channel.last_seqno = Some(0);
            }
            Said::TxSelect => {
                channel.waits = true;
                channel.transaction = Some(Vec::new());
            }
            Said::TxCommit => self.commit(key),
            Said::TxRollback => {
                channel.waits = true;
                channel.transaction = Some(Vec::new());
            }
            Said::Publish { routing, mandatory, message: Some(message), properties } => {
                self.judge_taken(connection, message);
                self.publish(key, routing, mandatory, message, is_persistent(properties));
            }
            Said::Qos { count, global: false } => {
                channel.waits = true;
                channel.prefetch = count.into();
            }
            Said::Consume { queue, tag, no_ack, priority } => {
                channel.waits = true;
                let Some(&queue) = self.by_name.get(queue) else { return };
                self.consumers += 1;
                let trip = self.connections.get(&connection).and_then(|at| self.trip(queue, *at));
                let Some(channel) = self.channels.get_mut(&key) else { return };
                let (number, tag, prefetch) = (self.consumers, tag.into(), channel.prefetch);
                let (unacked, life, is_gone) = (0, self.queues[queue as usize].life(), false);
                let consumer =
                    Consumer { number, tag, queue, no_ack, priority, prefetch, unacked, life, trip, is_gone };
                channel.consumers.push(consumer);
            }
            Said::Cancel { tag } => {
                channel.waits = true;
                self.cancel(key, tag);
            }
            Said::Get { queue, no_ack } => {
                let queue = self.by_name.get(queue).copied();
                let at = self.connections.get(&connection).copied();
                let trip = queue.zip(at).and_then(|(queue, at)| self.trip(queue, at));
                let Some(channel) = self.channels.get_mut(&key) else { return };
                channel.get = queue.map(|queue| Get { queue, no_ack, life: self.queues[queue as usize].life(), trip });
            }
            Said::Ack { tag, multiple } => self.answer(key, tag, multiple, Verdict::Ack),
            Said::Nack { tag, multiple, requeue } => {
                self.answer(key, tag, multiple, if requeue { Verdict::Requeue } else { Verdict::Reject });
            }
            Said::Recover => {
                (channel.waits, channel.is_recovering) = (true, true);
                self.answer(key, 0, true, Verdict::Requeue);
            }
            Said::QueueDeclare { name, passive: false, .. } => {
                channel.waits = true;
                self.asks_to_declare(key, name);
            }
            Said::QueueDelete { queue } => {
                channel.waits = true;
                self.asks_to_delete(key, queue);
            }
            Said::QueuePurge { queue } => {
                channel.waits = true;
                self.asks_to_purge(key, queue);
            }
            Said::QueueDeclare { .. } | Said::QueueBind { .. } | Said::ExchangeDeclare { .. } | Said::Qos { .. } => {
                channel.waits = true;
            }
            _ => {}
        }
    }

    /// The node says something.
    pub(crate) fn node_says(&mut self, connection: u32, number: u16, said: Said<'_>) {
        let key = (connection, number);
        if let Said::ConnectionClose { code } = said {
            self.facts.push(Fact::Closed { connection, channel: 0, code });
            self.ignore_fresh(connection, |_| true);
            return self.disconnected(connection);
        }
        if let Said::Blocked | Said::Unblocked = said {
            return self.blocked(connection, said == Said::Blocked);
        }
        if let Said::ChannelClose { code, .. } = said {
            return self.node_closes(key, code);
        }
        if let Said::Cancel { tag } = said {
            return self.node_cancels(key, tag);
        }
        let Some(channel) = self.channels.get_mut(&key) else { return };
        match said {
            Said::Ack { tag, multiple } => self.answered(key, tag, multiple, true),
            Said::Nack { tag, multiple, .. } => self.answered(key, tag, multiple, false),
            Said::Return { message: Some(message) } => {
                let session = channel.session;
                let certain = !self.queues.iter().any(Queue::has_changed)
                    && (0..).zip(&self.queues).any(|(queue, _)| self.entries.contains_key(&(queue, message)));
                let certain = u32::from(certain);
                self.facts.push(Fact::Returned { session, message, certain, is_mandatory: true });
            }
            Said::Deliver { consumer, tag, redelivered, message, properties } => {
                let Some(at) = channel.consumer_at(consumer) else { return };
                let (&Consumer { queue, no_ack, life, trip, .. }, consumer) = (&channel.consumers[at], Some(at));
                self.deliver(&Given {
                    key,
                    tag,
                    queue,
                    message,
                    redelivered,
                    no_ack,
                    life,
                    trip,
                    consumer,
                    properties,
                });
            }
            Said::GetOk { tag, redelivered, message, properties, .. } => {
                let Some(Get { queue, no_ack, life, trip }) = channel.get.take() else { return };
                let consumer = None;
                self.has_gone_on(key);
                self.deliver(&Given {
                    key,
                    tag,
                    queue,
                    message,
                    redelivered,
                    no_ack,
                    life,
                    trip,
                    consumer,
                    properties,
                });
            }
            Said::GetEmpty => {
                channel.get = None;
                self.has_gone_on(key);
            }
            Said::Done { class: 60, method: 111 } => {
                channel.is_recovering = false;
                self.done(key);
            }
            Said::Done { .. }
            | Said::QueueDeclareOk { .. }
            | Said::QueuePurgeOk { .. }
            | Said::QueueDeleteOk { .. } => self.done(key),
            _ => {}
        }
    }

    /// A node closes a channel.
    fn node_closes(&mut self, key: (u32, u16), code: u16) {
        let Some(channel) = self.channels.get(&key) else { return };
        let (connection, number) = key;
        let may_refuse = |stay: &Stay| {
            let sent = self.entries.get(stay).and_then(|entry| entry.sent);
            self.queues[stay.0 as usize].may_refuse() || self.may_be_lost(stay.0, sent)
        };
        let at = self.connections.get(&connection).copied();
        let may_be_away = |queue: u32| at.is_some_and(|at| self.may_be_away(queue, at));
        // RabbitMQ: 541 is what a declaration gets that no majority can be asked for.
        // And 406 is what a transaction gets of which a full queue refused something.
        let has_reason = match code {
            541 => true,
            404 => (0..).zip(&self.queues).any(|(queue, held)| held.has_changed() || may_be_away(queue)),
            // Or who settles what a recover has taken back.
            406 => channel.has_strayed || channel.committing.iter().any(may_refuse),
            _ => false,
        };
        self.facts.push(Fact::Closed { connection, channel: number, code });
        self.facts.push(Fact::Dismissed { connection, channel: number, code, has_reason });
        if code == 404 {
            self.in_vain(key);
        }
        self.ignore_fresh(connection, |channel| channel == number);
        self.end_channel(key);
    }

    /// A node lets a consumer go.
    fn node_cancels(&mut self, key: (u32, u16), tag: &[u8]) {
        let Some(channel) = self.channels.get(&key) else { return };
        let at = channel.consumer_at(tag);
        let node = self.connections.get(&key.0).copied();
        let has_reason = at.is_some_and(|at| {
            let Consumer { queue, trip, .. } = channel.consumers[at];
            let held = &self.queues[queue as usize];
            let may_be_away = node.is_some_and(|node| self.may_be_away(queue, node));
            held.may_time_out() || held.has_changed() || may_be_away || self.may_be_lost(queue, trip)
        });
        self.facts.push(Fact::Dismissed { connection: key.0, channel: key.1, code: 0, has_reason });
        self.cancel(key, tag);
        self.lose(key, at);
    }

    /// Something was answered: if nothing waits any more, what was said behind it is the node's to pass on.
    fn has_gone_on(&mut self, key: (u32, u16)) {
        let Some(channel) = self.channels.get_mut(&key).filter(|channel| !channel.is_waiting()) else { return };
        if let Some(at) = self.connections.get(&key.0) {
            self.sites[at.number()].untold.append(&mut channel.behind);
        }
    }

    /// A request was answered, and with it all that was said behind it.
    fn done(&mut self, key: (u32, u16)) {
        let Some(channel) = self.channels.get_mut(&key) else { return };
        channel.waits = false;
        let (request, committed) = (channel.request.take(), std::mem::take(&mut channel.committing));
        self.has_gone_on(key);
        for stay in committed {
            self.promise(stay);
        }
        if let Some(request) = request {
            self.carried_out(key, request);
        }
    }

    fn publish(
        &mut self,
        key: (u32, u16),
        routing: &[u8],
        mandatory: bool,
        message: MessageNumber,
        is_persistent: bool,
    ) {
        let Some(channel) = self.channels.get_mut(&key) else { return };
        let (_, routing_key) = split_routing(routing);
        let seqno = channel.last_seqno.as_mut().map(|seqno| {
            *seqno += 1;
            *seqno
        });
        let session = channel.session;
        let queue = self.by_name.get(routing_key).copied();
        channel.unconfirmed.extend(seqno.map(|seqno| (seqno, (message, queue))));
        let certain = u32::from(queue.is_some());
        match (queue, &mut channel.transaction) {
            (Some(queue), Some(transaction)) => transaction.push(((queue, message), is_persistent)),
            (Some(queue), None) => self.enter(key, (queue, message), is_persistent),
            (None, _) => {}
        }
        self.facts.push(Fact::Published { session, message, seqno, certain, possible: 0, mandatory });
    }

    fn commit(&mut self, key: (u32, u16)) {
        let Some(channel) = self.channels.get_mut(&key) else { return };
        channel.waits = true;
        let publishes = channel.transaction.replace(Vec::new()).unwrap_or_default();
        channel.committing = publishes.iter().map(|(stay, _)| *stay).collect();
        for (stay, is_persistent) in publishes {
            self.enter(key, stay, is_persistent);
        }
    }

    /// A message is on its way to a queue.
    fn enter(&mut self, key: (u32, u16), stay: Stay, is_persistent: bool) {
        let Some(channel) = self.channels.get(&key) else { return };
        let node = self.connections.get(&key.0).copied();
        let at = node.filter(|_| !channel.is_waiting());
        self.published += 1;
        let held = &self.queues[stay.0 as usize];
        let is_known = node.is_some_and(|node| held.is_known_at(self.sites[node.number()].applied));
        let entry = Entry {
            by: channel.session,
            position: self.published,
            taken: at.map(|at| (at, self.sites[at.number()].life)),
            presence: Presence::Maybe,
            is_promised: false,
            deliveries: 0,
            since: self.time,
            promised_by: None,
            is_dead_letter: false,
            was_acked: false,
            was_rejected: false,
            returns: 0,
            is_doubtful: held.doubt > held.over || (held.has_changed() && !is_known),
            endings: held.over,
            is_persistent,
            sent: node.and_then(|node| self.trip(stay.0, node)),
            out: None,
            is_done: false,
            died_with: None,
        };
        self.entries.insert(stay, entry);
        if let Some(at) = node {
            self.sites[at.number()].fresh.push((key, stay));
        }
    }

    /// The publisher is told that a message is safe.
    fn promise(&mut self, stay: Stay) {
        let sent = self.entries.get(&stay).and_then(|entry| entry.sent);
        let has_home_ended = self.has_home_ended(stay.0, sent);
        let Some(entry) = self.entries.get_mut(&stay) else { return };
        entry.is_promised = true;
        entry.promised_by = Some(self.published);
        let may_be_gone = !entry.is_persistent && has_home_ended;
        if entry.presence == Presence::Maybe && entry.deliveries == 0 && !may_be_gone {
            entry.presence = Presence::Ready;
        }
    }

    fn answered(&mut self, key: (u32, u16), tag: u64, multiple: bool, is_ack: bool) {
        let Some(channel) = self.channels.get_mut(&key) else { return };
        let session = channel.session;
        let mut answered = BTreeMap::new();
        if multiple {
            let rest = channel.unconfirmed.split_off(&(tag + 1));
            answered = std::mem::replace(&mut channel.unconfirmed, rest);
        } else {
            answered.extend(channel.unconfirmed.remove(&tag).map(|message| (tag, message)));
        }
        let nobody = answered.is_empty().then_some((tag, None));
        let answers = answered.into_iter().map(|(seqno, sent)| (seqno, Some(sent)));
        for (seqno, sent) in answers.chain(nobody) {
            let message = sent.map(|(message, _)| message);
            let stay = sent.and_then(|(message, queue)| Some((queue?, message)));
            match stay {
                Some(stay) if is_ack => self.promise(stay),
                Some(stay) if self.refused(stay) => continue,
                _ => {}
            }
            self.facts.push(Fact::Answered {
                session,
                seqno,
                message,
                is_ack,
                lacks_return: false,
                // It is durable on several nodes, which their logs are looked at for.
                must_be_durable: false,
                lsn: None,
                safe: 0,
            });
        }
    }

    fn answer(&mut self, key: (u32, u16), tag: u64, multiple: bool, verdict: Verdict) {
        let (Some(channel), Some(&at)) = (self.channels.get_mut(&key), self.connections.get(&key.0)) else { return };
        let (session, waits) = (channel.session, channel.is_waiting());
        channel.has_strayed |= tag != 0 && !channel.unacked.contains_key(&tag);
        let outs = channel.take_unacked(tag, multiple);
        for out in outs {
            let (stay, held) = (out.stay, &self.queues[out.stay.0 as usize]);
            let trip = self.entries.get(&stay).and_then(|entry| entry.out);
            let may_be_late = held.may_time_out() || self.may_be_lost(stay.0, trip);
            let is_its = self.is_its(&out, session);
            let Some(entry) = self.entries.get_mut(&stay) else { continue };
            entry.was_acked |= verdict == Verdict::Ack;
            entry.was_rejected |= verdict == Verdict::Reject;
            // The queue's node had ended by the time at which it came. If that was giving replicas what it had, they may know who has it.
            if out.turn == 0 && held.turning_in.is_some() && entry.presence == Presence::Ready {
                entry.presence = Presence::Maybe;
            }
            match verdict {
                _ if !is_its => {}
                Verdict::Requeue => self.come_back(stay, session),
                Verdict::Ack => self.depart(out, Departure::Acked, at),
                Verdict::Reject => self.depart(out, Departure::Rejected, at),
            }
            self.sites[at.number()].fresh.push((key, stay));
            if waits && verdict != Verdict::Requeue && is_its {
                self.sites[at.number()].untold.pop();
                self.channels.get_mut(&key).expect("just found").behind.push(out);
            }
            if may_be_late {
                self.doubt(stay);
            }
        }
    }

    /// A consumer goes; what it has stays with its channel.
    fn cancel(&mut self, key: (u32, u16), tag: &[u8]) {
        let Some(channel) = self.channels.get_mut(&key) else { return };
        let Some(consumer) = channel.consumer_at(tag).map(|at| &mut channel.consumers[at]) else { return };
        if !std::mem::replace(&mut consumer.is_gone, true) {
            let (queue, no_ack) = (consumer.queue, consumer.no_ack);
            self.end_taker(key, queue, no_ack);
        }
    }

    /// A queue that is on one node has let a consumer go: what that has is the queue's again, whatever it says of it.
    fn lose(&mut self, key: (u32, u16), consumer: Option<usize>) {
        let Some(channel) = self.channels.get(&key) else { return };
        let is_of_one = |out: &&Out| self.queues[out.stay.0 as usize].home.is_some();
        let its = channel.unacked.values().filter(|out| consumer.is_some() && out.consumer == consumer);
        let (its, session) = (its.filter(is_of_one).copied().collect::<Vec<Out>>(), channel.session);
        self.all_come_back(its, session);
    }

    /// One who took messages from a queue ends.
    fn end_taker(&mut self, key: (u32, u16), queue: u32, no_ack: bool) {
        self.queues[queue as usize].endings += 1;
        if let Some(at) = self.connections.get(&key.0) {
            self.sites[at.number()].endings.push(queue);
        }
        if no_ack {
            self.doubt_all(queue);
        }
    }

    /// A channel is over: what it had comes back.
    pub(super) fn end_channel(&mut self, key: (u32, u16)) {
        let Some(channel) = self.channels.remove(&key) else { return };
        let takers = channel.consumers.iter().filter(|it| !it.is_gone).map(|it| (it.queue, it.no_ack));
        for (queue, no_ack) in takers.chain(channel.get.map(|get| (get.queue, get.no_ack))) {
            self.end_taker(key, queue, no_ack);
        }
        self.all_come_back(channel.unacked.into_values(), channel.session);
        for out in channel.behind {
            self.doubt(out.stay);
        }
        // Whether it will be carried out, and when, nobody can tell any more: it stays open for ever.
        drop(channel.request);
    }

    /// Whether somebody takes messages out of a queue, or may be about to.
    pub(super) fn has_takers(&self, queue: u32) -> bool {
        let held = &self.queues[queue as usize];
        let takes = |channel: &Channel| {
            channel.consumers.iter().any(|it| it.queue == queue && !it.is_gone)
                || channel.get.is_some_and(|get| get.queue == queue)
                || channel.unacked.values().any(|out| out.stay.0 == queue)
        };
        held.endings > held.over || self.channels.values().any(takes)
    }
}
