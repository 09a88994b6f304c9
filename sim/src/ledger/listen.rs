//! What clients and nodes say to each other, put down in the ledger.

use std::collections::BTreeMap;

use super::{Active, Entry, FIRST_SESSION, Ledger};
use crate::field::{Value, find};
use crate::history::{Departure, Fact, Presence, Session};
use crate::message::{MessageNumber, headers};
use crate::story::StoryFact;
use crate::tap::{Said, split_routing};

/// One life of one channel.
#[derive(Debug)]
pub(super) struct Channel {
    session: Session,
    /// The number of the last publish in confirm mode; `None` before that.
    last_seqno: Option<u64>,
    unconfirmed: BTreeMap<u64, MessageNumber>,
    /// Published in the transaction that is open, each with its queue; `None` if the channel has none.
    transaction: Option<Vec<(MessageNumber, u32)>>,
    /// Published by the commit whose answer is awaited.
    committing: Vec<MessageNumber>,
    consumers: Vec<Consumer>,
    prefetch: u32,
    unacked: BTreeMap<u64, Out>,
    /// A request waits for its answer: what is said behind it waits with it.
    waits: bool,
    /// It asked for all that it has not settled: whatever comes before the answer to that may be back at once.
    is_recovering: bool,
    /// What was settled behind such a request.
    behind: Vec<MessageNumber>,
    /// The queue of a `basic.get` under way, and whether what it gets counts as settled.
    get: Option<(u32, bool)>,
}

/// One consumer.
#[derive(Debug)]
struct Consumer {
    /// Its number among all of the run.
    number: u32,
    tag: Box<[u8]>,
    queue: u32,
    no_ack: bool,
    priority: i64,
    prefetch: u32,
    unacked: u32,
    is_gone: bool,
}

/// A message out with a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    pub(super) message: MessageNumber,
    /// The place of the consumer in its channel; `None` for a get.
    consumer: Option<usize>,
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
            behind: Vec::new(),
            get: None,
        }
    }

    fn consumer_at(&self, tag: &[u8]) -> Option<usize> {
        self.consumers.iter().rposition(|known| *known.tag == *tag)
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

/// A delivery, or what a get got.
struct Given<'a> {
    key: (u32, u16),
    tag: u64,
    queue: u32,
    message: Option<MessageNumber>,
    redelivered: bool,
    no_ack: bool,
    /// The consumer's place in its channel; `None` for a get.
    consumer: Option<usize>,
    properties: &'a [u8],
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
            Said::Publish { routing, mandatory, message: Some(message), .. } => {
                self.publish(key, routing, mandatory, message);
            }
            Said::Qos { count, global: false } => {
                channel.waits = true;
                channel.prefetch = count.into();
            }
            Said::Consume { queue, tag, no_ack, priority } => {
                channel.waits = true;
                let Some(&queue) = self.by_name.get(queue) else { return };
                self.consumers += 1;
                let (number, tag, prefetch) = (self.consumers, tag.into(), channel.prefetch);
                let consumer = Consumer { number, tag, queue, no_ack, priority, prefetch, unacked: 0, is_gone: false };
                channel.consumers.push(consumer);
            }
            Said::Cancel { tag } => {
                channel.waits = true;
                self.cancel(key, tag);
            }
            Said::Get { queue, no_ack } => channel.get = self.by_name.get(queue).map(|&queue| (queue, no_ack)),
            Said::Ack { tag, multiple } => self.answer(key, tag, multiple, Verdict::Ack),
            Said::Nack { tag, multiple, requeue } => {
                self.answer(key, tag, multiple, if requeue { Verdict::Requeue } else { Verdict::Reject });
            }
            Said::Recover => {
                (channel.waits, channel.is_recovering) = (true, true);
                self.answer(key, 0, true, Verdict::Requeue);
            }
            Said::QueueDeclare { .. }
            | Said::QueueBind { .. }
            | Said::QueueDelete { .. }
            | Said::QueuePurge { .. }
            | Said::ExchangeDeclare { .. }
            | Said::Qos { .. } => channel.waits = true,
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
        let Some(channel) = self.channels.get_mut(&key) else { return };
        match said {
            Said::ChannelClose { code, .. } => {
                self.facts.push(Fact::Closed { connection, channel: number, code });
                // RabbitMQ: 541 is what a declaration gets that no majority can be asked for.
                self.facts.push(Fact::Dismissed { connection, channel: number, code, has_reason: code == 541 });
                self.ignore_fresh(connection, |channel| channel == number);
                self.end_channel(key);
            }
            Said::Cancel { tag } => {
                let at = channel.consumer_at(tag);
                let has_reason = at.is_some_and(|at| self.queues[channel.consumers[at].queue as usize].may_time_out());
                self.facts.push(Fact::Dismissed { connection, channel: number, code: 0, has_reason });
                self.cancel(key, tag);
            }
            Said::Ack { tag, multiple } => self.answered(key, tag, multiple, true),
            Said::Nack { tag, multiple, .. } => self.answered(key, tag, multiple, false),
            Said::Return { message: Some(message) } => {
                let session = channel.session;
                let certain = u32::from(self.entries.contains_key(&message));
                self.facts.push(Fact::Returned { session, message, certain, is_mandatory: true });
            }
            Said::Deliver { consumer, tag, redelivered, message, properties } => {
                let Some(at) = channel.consumer_at(consumer) else { return };
                let Consumer { queue, no_ack, .. } = channel.consumers[at];
                self.deliver(&Given { key, tag, queue, message, redelivered, no_ack, consumer: Some(at), properties });
            }
            Said::GetOk { tag, redelivered, message, properties, .. } => {
                let Some((queue, no_ack)) = channel.get.take() else { return };
                self.deliver(&Given { key, tag, queue, message, redelivered, no_ack, consumer: None, properties });
            }
            Said::GetEmpty => channel.get = None,
            Said::QueueDeclareOk { name, .. } => {
                if let Some(&queue) = self.by_name.get(name) {
                    self.queues[queue as usize].is_declared = true;
                }
                self.done(key);
            }
            Said::Done { class: 60, method: 111 } => {
                channel.is_recovering = false;
                self.done(key);
            }
            Said::Done { .. } | Said::QueuePurgeOk { .. } | Said::QueueDeleteOk { .. } => self.done(key),
            _ => {}
        }
    }

    /// A request was answered, and with it all that was said behind it.
    fn done(&mut self, key: (u32, u16)) {
        let Some(channel) = self.channels.get_mut(&key) else { return };
        channel.waits = false;
        let (behind, committed) = (std::mem::take(&mut channel.behind), std::mem::take(&mut channel.committing));
        if let Some(at) = self.connections.get(&key.0) {
            self.sites[at.number()].untold.extend(behind);
        }
        for number in committed {
            self.promise(number);
        }
    }

    fn publish(&mut self, key: (u32, u16), routing: &[u8], mandatory: bool, message: MessageNumber) {
        let Some(channel) = self.channels.get_mut(&key) else { return };
        let (_, routing_key) = split_routing(routing);
        let seqno = channel.last_seqno.as_mut().map(|seqno| {
            *seqno += 1;
            *seqno
        });
        channel.unconfirmed.extend(seqno.map(|seqno| (seqno, message)));
        let session = channel.session;
        let queue = self.by_name.get(routing_key).copied();
        let certain = u32::from(queue.is_some());
        match (queue, &mut channel.transaction) {
            (Some(queue), Some(transaction)) => transaction.push((message, queue)),
            (Some(queue), None) => self.enter(key, message, queue),
            (None, _) => {}
        }
        self.facts.push(Fact::Published { session, message, seqno, certain, possible: 0, mandatory });
    }

    fn commit(&mut self, key: (u32, u16)) {
        let Some(channel) = self.channels.get_mut(&key) else { return };
        channel.waits = true;
        let publishes = channel.transaction.replace(Vec::new()).unwrap_or_default();
        channel.committing = publishes.iter().map(|(message, _)| *message).collect();
        for (message, queue) in publishes {
            self.enter(key, message, queue);
        }
    }

    /// A message is on its way to a queue.
    fn enter(&mut self, key: (u32, u16), message: MessageNumber, queue: u32) {
        let Some(channel) = self.channels.get(&key) else { return };
        let at = self.connections.get(&key.0).filter(|_| !channel.waits);
        self.published += 1;
        let held = &self.queues[queue as usize];
        let entry = Entry {
            queue,
            by: channel.session,
            position: self.published,
            taken: at.map(|at| (*at, self.sites[at.number()].life)),
            presence: Presence::Maybe,
            is_promised: false,
            deliveries: 0,
            returns: 0,
            is_doubtful: held.doubt > held.over,
            endings: held.over,
        };
        self.entries.insert(message, entry);
        if let Some(at) = self.connections.get(&key.0) {
            self.sites[at.number()].fresh.push((key, message));
        }
    }

    /// The publisher is told that a message is safe.
    fn promise(&mut self, number: MessageNumber) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        entry.is_promised = true;
        if entry.presence == Presence::Maybe && entry.deliveries == 0 {
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
        let answers = answered.into_iter().map(|(seqno, message)| (seqno, Some(message)));
        for (seqno, message) in answers.chain(nobody) {
            if let Some(message) = message.filter(|_| is_ack) {
                self.promise(message);
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
                durable: 0,
            });
        }
    }

    fn deliver(&mut self, given: &Given<'_>) {
        let Given { key, tag, queue, message, redelivered, no_ack, consumer, properties } = *given;
        let Some(channel) = self.channels.get_mut(&key) else { return };
        let session = channel.session;
        let comes_back = channel.is_recovering && !no_ack;
        if let (Some(message), false) = (message, no_ack || comes_back) {
            channel.unacked.insert(tag, Out { message, consumer });
            if let Some(at) = consumer {
                channel.consumers[at].unacked += 1;
            }
        }
        let its = consumer.map(|at| &channel.consumers[at]);
        let (unacked, prefetch) = its.map_or((0, 0), |it| (it.unacked, if it.no_ack { 0 } else { it.prefetch }));
        let number = its.map(|it| it.number);
        let held = &self.queues[queue as usize];
        let index = held.index;
        let entry = message.and_then(|it| self.entries.get(&it)).filter(|entry| entry.queue == queue);
        self.facts.push(Fact::Delivered {
            session,
            tag,
            queue: Some(index),
            message,
            before: match entry.map(|entry| entry.presence) {
                // It was out for too long, and is back, whatever its client says.
                Some(Presence::Unacked(_)) if held.may_time_out() => Presence::Maybe,
                presence => presence.unwrap_or(Presence::Never),
            },
            redelivered,
            deliveries: entry.map_or(0, |entry| entry.deliveries),
            maybe_unseen: entry.is_some_and(|entry| held.endings > entry.endings),
            crashed_since: false,
            position: entry.map_or(0, |entry| entry.position),
            of: entry.map(|entry| (number.unwrap_or(0), entry.by)),
            unacked,
            prefetch,
            channel_unacked: 0,
            channel_prefetch: 0,
            is_get: consumer.is_none(),
            connection: key.0,
            channel: key.1,
        });
        let Some(message) = message.filter(|_| entry.is_some()) else { return };
        self.judge_failures(message, properties);
        self.judge_active(key, queue, consumer);
        let Some(entry) = self.entries.get_mut(&message) else { return };
        entry.deliveries += 1;
        entry.presence = Presence::Unacked(session);
        if comes_back {
            self.come_back(message, session);
        }
        if no_ack && let Some(&at) = self.connections.get(&key.0) {
            self.depart(Out { message, consumer }, Departure::AutoAcked, at);
        }
    }

    /// What a message says of deliveries that failed.
    fn judge_failures(&mut self, message: MessageNumber, properties: &[u8]) {
        let Some(entry) = self.entries.get(&message) else { return };
        let fields = headers(properties);
        let count = find(&fields, "x-delivery-count").and_then(Value::as_number).unwrap_or(0);
        let held = &self.queues[entry.queue as usize];
        self.facts.push(Fact::Failed {
            queue: held.index,
            message,
            count: u64::try_from(count).unwrap_or(u64::MAX),
            most: self.failures_max(entry).min(held.limit()),
        });
    }

    /// Whether a queue with a single active consumer delivers to a second one.
    fn judge_active(&mut self, key: (u32, u16), queue: u32, consumer: Option<usize>) {
        let held = &self.queues[queue as usize];
        let (true, Some(at)) = (held.rules.single_active, consumer) else { return };
        let (Some(channel), Some(node)) = (self.channels.get(&key), self.connections.get(&key.0)) else { return };
        let Consumer { number, priority, .. } = channel.consumers[at];
        let breaks = self.sites[node.number()].breaks;
        let after = Active { connection: key.0, channel: key.1, consumer: number, priority, breaks };
        let before = held.active.filter(|before| before.consumer != number);
        let is_there = before.is_some_and(|before| self.is_there(&before));
        let is_out_of_reach = before.is_some_and(|before| {
            let node = self.connections.get(&before.connection);
            node.is_some_and(|node| self.sites[node.number()].breaks > before.breaks)
        });
        let held = &mut self.queues[queue as usize];
        if is_there && held.replaced.contains(&number) {
            // It gets what it had when it was replaced.
            return;
        }
        let Some(before) = before else {
            held.active.get_or_insert(after);
            return;
        };
        if is_there && is_out_of_reach {
            held.replaced.insert(before.consumer);
        } else {
            let gave_way = is_there && after.priority > before.priority;
            let fact = StoryFact::Activated {
                queue: held.index,
                before: before.connection,
                after: after.connection,
                is_before_there: is_there,
                gave_way,
            };
            self.facts.push(Fact::Story(fact));
        }
        held.replaced.remove(&number);
        held.active = Some(after);
    }

    fn is_there(&self, active: &Active) -> bool {
        let channel = self.channels.get(&(active.connection, active.channel));
        channel.is_some_and(|channel| channel.consumers.iter().any(|it| it.number == active.consumer && !it.is_gone))
    }

    fn answer(&mut self, key: (u32, u16), tag: u64, multiple: bool, verdict: Verdict) {
        let (Some(channel), Some(&at)) = (self.channels.get_mut(&key), self.connections.get(&key.0)) else { return };
        let (session, waits) = (channel.session, channel.waits);
        let outs = channel.take_unacked(tag, multiple);
        for out in outs {
            let is_its = self.entries.get(&out.message).is_some_and(|it| it.presence == Presence::Unacked(session));
            match verdict {
                _ if !is_its => {}
                Verdict::Requeue => self.come_back(out.message, session),
                Verdict::Ack => self.depart(out, Departure::Acked, at),
                Verdict::Reject => self.depart(out, Departure::Rejected, at),
            }
            self.sites[at.number()].fresh.push((key, out.message));
            if waits && verdict != Verdict::Requeue && is_its {
                self.sites[at.number()].untold.pop();
                self.channels.get_mut(&key).expect("just found").behind.push(out.message);
            }
            let may_be_late = |entry: &Entry| self.queues[entry.queue as usize].may_time_out();
            if self.entries.get(&out.message).is_some_and(may_be_late) {
                self.doubt(out.message);
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
        for (queue, no_ack) in takers.chain(channel.get) {
            self.end_taker(key, queue, no_ack);
        }
        for out in channel.unacked.into_values() {
            self.come_back(out.message, channel.session);
        }
        for number in channel.behind {
            self.doubt(number);
        }
    }
}
