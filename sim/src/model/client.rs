//! What clients say, carried out at once as far as that is certain.

use std::rc::Rc;

use super::session::{Channel, Consumer, Held, Mode, Pending, Transaction, Unacked, Unconfirmed, Verdict};
use super::topology::{BindingKey, Destination, Existence, QueueSet, Route};
use super::{Floating, Model, SessionState, exchange_binding};
use crate::history::{Change, Departure, Fact, Presence, QueueIndex, Session};
use crate::message::{MessageNumber, Messages};
use crate::tap::Said;

impl Model {
    /// The client says something.
    pub(crate) fn client_says(&mut self, connection: u32, number: u16, said: Said<'_>, messages: &Messages) {
        let Some(held) = self.connections.get_mut(connection) else { return };
        let node = held.node;
        match said {
            Said::ConnectionClose { .. } | Said::ConnectionCloseOk => {
                let channels = std::mem::take(&mut held.channels);
                held.is_closing = true;
                for (number, mut channel) in channels {
                    self.end_channel(node, &mut channel);
                    self.leaving.push((connection, number, channel));
                }
                self.drop_exclusive(connection);
                return;
            }
            _ if held.is_closing => return,
            Said::ChannelOpen => {
                let session = Session(u32::try_from(self.sessions.len()).expect("few channels"));
                if !held.channels.contains(number) {
                    self.sessions.push(SessionState::Alive);
                    held.channels.insert(number, Channel::new(session));
                }
                return;
            }
            _ => {}
        }
        let Some(channel) = held.channels.get_mut(number) else { return };
        if matches!(said, Said::ChannelClose { .. }) || (channel.is_closing && said == Said::ChannelCloseOk) {
            let mut channel = held.channels.remove(number).expect("just found");
            self.end_channel(node, &mut channel);
            self.leaving.push((connection, number, channel));
            return;
        }
        if channel.is_closing {
            return;
        }
        self.changes += 1;
        let change = self.changes;
        match said {
            Said::Publish { routing, mandatory, message: Some(message), .. } => {
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
            Said::Consume { queue, tag, no_ack, .. } => {
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
                    let node = self.node_of(connection);
                    let queue = &mut self.contents.queues[index as usize];
                    if queue.existence.is_none() {
                        queue.home = node;
                    }
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
                    self.unfloat(queue);
                }
                self.set_pending(connection, number, Pending::DeleteQueue { queue, change });
            }
            Said::QueuePurge { queue } => {
                let queue = self.queue_or_last(connection, number, queue);
                self.facts.push(Fact::Changed { queue: QueueIndex(queue), what: Change::PurgeAsked });
                self.doubt_ready(queue);
                self.contents.queues[queue as usize].purges += 1;
                self.unfloat(queue);
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

    pub(super) fn publish(
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
        let step = self.contents.step;
        let channel = self.channel_mut(connection, number);
        let session = channel.session;
        let mut seqno = None;
        match channel.mode {
            Mode::Tx => {
                let lives = route.certain.iter().map(|&queue| self.contents.queues[queue as usize].lives).collect();
                let held = Held { message, routing: routing.into(), route: Rc::clone(&route), lives };
                self.channel_mut(connection, number).transaction.publishes.push(held);
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
                self.publish_into(connection, message, routing, &route);
            }
        }
        let count = |set: &QueueSet| u32::try_from(set.len()).expect("few queues");
        let (certain, possible) = (count(&route.certain), count(&route.possible));
        self.facts.push(Fact::Published { session, message, seqno, certain, possible, mandatory });
    }

    /// Puts a message into its queues, or, while changes are under way, into those where it may go.
    pub(super) fn publish_into(&mut self, connection: u32, message: MessageNumber, routing: &[u8], route: &Route) {
        if self.is_settled() {
            self.enter(message, route);
            return;
        }
        let node = self.node_of(connection);
        let possible = route.certain.iter().chain(&route.possible).copied().collect();
        self.enter(message, &Route { certain: QueueSet::new(), possible });
        self.floating.push(Floating { message, node, routing: routing.into(), certain: route.certain.clone() });
    }

    pub(super) fn enter(&mut self, message: MessageNumber, route: &Route) {
        self.contents.position += 1;
        for &queue in &route.certain {
            self.contents.enter(message, queue, true);
        }
        for &queue in &route.possible {
            self.contents.enter(message, queue, false);
        }
    }

    pub(super) fn commit(&mut self, connection: u32, number: u16) {
        let channel = self.channel_mut(connection, number);
        let Transaction { publishes, answers, .. } = std::mem::take(&mut channel.transaction);
        channel.transaction.committing = publishes.iter().map(|held| held.message).collect();
        let session = channel.session;
        for Held { message, routing, route, lives } in publishes {
            let mut before = Rc::unwrap_or_clone(route);
            let mut lives = lives.into_iter();
            let queues = &self.contents.queues;
            before.certain.retain(|queue| {
                let held = &queues[*queue as usize];
                let is_same = lives.next() == Some(held.lives);
                if !is_same && held.existence.is_some() {
                    // The name counts: a queue that came since gets it, whether or not anything leads there now.
                    before.possible.push(*queue);
                }
                is_same
            });
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
            self.publish_into(connection, message, &routing, &route);
        }
        for (unacked, verdict, _) in answers {
            self.settle(connection, number, session, &unacked, verdict);
        }
        self.set_pending(connection, number, Pending::Commit);
    }

    pub(super) fn answer(&mut self, connection: u32, number: u16, tag: u64, multiple: bool, verdict: Verdict) {
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

    pub(super) fn settle(
        &mut self,
        connection: u32,
        number: u16,
        session: Session,
        unacked: &Unacked,
        verdict: Verdict,
    ) {
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

    pub(super) fn consume(&mut self, connection: u32, number: u16, queue: &[u8], tag: &[u8], no_ack: bool) {
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

    pub(super) fn cancel(&mut self, connection: u32, number: u16, tag: &[u8]) {
        let channel = self.channel_mut(connection, number);
        let found = channel.consumers.iter_mut().rev().find(|consumer| *consumer.tag == *tag && !consumer.is_cancelled);
        if let Some(consumer) = found {
            consumer.is_cancelled = true;
            let (queue, is_answered) = (consumer.queue, consumer.is_answered);
            self.lose_consumer(queue, is_answered);
        }
    }

    pub(super) fn queue_binding(
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

    /// AMQP 0-9-1 §1.7.2: an empty name is the queue last declared on the channel.
    pub(super) fn queue_or_last(&mut self, connection: u32, number: u16, name: &[u8]) -> u32 {
        match self.channel_mut(connection, number).last_queue {
            Some(last) if name.is_empty() => last,
            _ => self.queue_index(name),
        }
    }

    pub(super) fn set_pending(&mut self, connection: u32, number: u16, pending: Pending) {
        self.channel_mut(connection, number).pending = Some(pending);
    }
}
