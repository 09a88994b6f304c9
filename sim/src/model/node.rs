//! What the node says: answers make certain what was asked, refusals take it back, confirms make promises.

use super::session::{Pending, Unconfirmed, Verdict};
use super::topology::Existence;
use super::{Delivery, Model, SessionState};
use crate::history::{Change, Fact, Presence, QueueIndex};
use crate::message::MessageNumber;
use crate::tap::Said;

impl Model {
    /// The node says something. `safe` is the position up to which the log is as safe as confirms promise.
    pub(crate) fn node_says(&mut self, connection: u32, number: u16, said: Said<'_>, safe: u64) {
        let Some(held) = self.connections.get_mut(connection) else { return };
        if let Said::ConnectionClose { code } = said {
            self.facts.push(Fact::Closed { connection, channel: 0, code });
            self.closing(connection);
            return;
        }
        let left = self.leaving.iter_mut().find(|(its, channel, _)| (*its, *channel) == (connection, number));
        let left = left.map(|(.., channel)| channel);
        let Some(channel) = held.channels.get_mut(number).or(left) else { return };
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
            Said::Ack { tag, multiple } => self.answered(connection, number, tag, multiple, true, safe),
            Said::Nack { tag, multiple, .. } => self.answered(connection, number, tag, multiple, false, safe),
            Said::Return { message: Some(message) } => self.returned(connection, number, message),
            Said::Deliver { consumer, tag, redelivered, message, .. } => {
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
                    self.contents.queues[queue as usize].purges -= 1;
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
            Said::Done { .. } => self.done(connection, number, safe),
            _ => {}
        }
    }

    pub(super) fn queue_declared(&mut self, connection: u32, number: u16, name: &[u8]) {
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
        if let Some(before) = self.contents.queues[index as usize].owner
            && before != connection
        {
            // Its owner ended, or ends in this very step, and the queue with it; or else the node is wrong, which the step's end tells.
            self.remove_queue(index);
        }
        let last_owner = &mut self.contents.queues[index as usize].last_owner;
        let before = std::mem::replace(last_owner, exclusive.then_some(connection));
        if let Some(before) = before.filter(|before| *before != connection) {
            self.successions.push((index, before));
        }
        self.facts.push(Fact::Changed { queue: QueueIndex(index), what: Change::Declared });
        if self.contents.queues[index as usize].is_forsaken {
            // The node lets a declaration wait until the queue that is going is gone.
            let existence = self.contents.queues[index as usize].existence;
            self.contents.remove_queue(index);
            self.contents.queues[index as usize].existence = existence;
        }
        let home = self.node_of(connection);
        let queue = &mut self.contents.queues[index as usize];
        // Whatever was there before: had it other properties, it would have been refused.
        queue.is_durable = durable && !exclusive;
        queue.is_auto_delete = auto_delete;
        queue.owner = exclusive.then_some(connection);
        if queue.existence.is_none() {
            queue.home = home;
        }
        match (&mut queue.existence, was) {
            (Some(existence), Some(_)) => {
                if existence.last_change == change {
                    existence.is_certain = true;
                }
            }
            (existence, _) => *existence = Some(Existence { is_certain: true, last_change: change }),
        }
    }

    pub(super) fn done(&mut self, connection: u32, number: u16, safe: u64) {
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
                    self.contents.message_mut(message).promised_at = Some(safe);
                }
            }
            Some(Pending::Other) | None => {}
            other => channel.pending = other,
        }
    }

    /// A request was refused: what it was about is as before, unless somebody else changed it since.
    pub(super) fn retract(&mut self, connection: u32, number: u16) {
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

    pub(super) fn answered(&mut self, connection: u32, number: u16, tag: u64, multiple: bool, is_ack: bool, safe: u64) {
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
                        safe,
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
                self.contents.message_mut(message).promised_at = Some(lsn.map_or(safe, |lsn| lsn + 1));
            }
            self.facts.push(Fact::Answered {
                session,
                seqno,
                message: Some(message),
                is_ack,
                lacks_return: must_return && !was_returned,
                must_be_durable,
                lsn,
                safe,
            });
        }
        let channel = self.channel_mut(connection, number);
        while channel.unconfirmed.front().is_some_and(|unconfirmed| unconfirmed.is_answered) {
            channel.unconfirmed.pop_front();
        }
    }

    pub(super) fn returned(&mut self, connection: u32, number: u16, message: MessageNumber) {
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
}
