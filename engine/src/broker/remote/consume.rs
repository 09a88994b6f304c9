//! Consuming from queues of other nodes: what arrived is handed to channels as they take it, and what they say of it goes back.

use alloc::sync::Arc;
use alloc::vec::Vec;
use smallvec::SmallVec;

use super::super::{Broker, ChannelRef, Notice};
use super::{Arrived, RemoteConsumer, RemoteSession, User, cost};
use crate::amqp::{AmqpError, ReplyCode};
use crate::cluster::queues::Delivery;
use crate::ids::{Lsn, QueueSeq};
use crate::limits;
use crate::message::Message;
use crate::queue::quorum::{Checkout, ConsumerSync, CreditMode, DeliveryNumber, NumberRange, ReturnKind, SyncAnswer};
use crate::queue::{ConsumerKey, Get, QueueKind, Return, Subscriber, Subscription, Taken};
use crate::routing::QueueKey;

/// A consumer that a channel asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Which of the channel's consumers it is.
    pub(crate) index: u32,
    /// Whether deliveries count as acked once sent.
    pub(crate) no_ack: bool,
    /// Whether nobody else may consume beside it.
    pub(crate) exclusive: bool,
    /// How many deliveries may be unacked; 0 is any number.
    pub(crate) prefetch: u32,
    /// Whoever has a higher one gets all messages it is willing to take.
    pub(crate) priority: i64,
    /// Whether it gets nothing before [`Broker::admit`].
    pub(crate) is_barred: bool,
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Fate {
    Settled,
    Discarded,
    Returned(Return),
}

impl Broker {
    /// Asks a queue of another node to take a consumer. [`Notice::Subscribed`] follows.
    ///
    /// # Errors
    /// 404 NOT_FOUND on the channel if that node cannot be reached.
    pub(crate) fn consume_remote(
        &mut self,
        channel: ChannelRef,
        queue: QueueKey,
        wanted: Wanted,
    ) -> Result<ConsumerKey, AmqpError> {
        self.check_home(queue)?;
        let no_queue = || AmqpError::channel(ReplyCode::NotFound, "the queue is gone");
        let number = self.session_with(User::Channel(channel), queue).ok_or_else(no_queue)?;
        let Wanted { index, no_ack, exclusive, prefetch, priority, is_barred } = wanted;
        let key = self.remote.consumers.insert(RemoteConsumer {
            session: number,
            tag: 0,
            index,
            no_ack,
            exclusive,
            prefetch,
            is_subscribed: false,
            is_paused: false,
            is_barred,
        });
        // What a consumer counts as acked once sent is settled when it is sent, so that nothing is lost on the way there.
        let credit = CreditMode::Prefetch(if no_ack { 0 } else { prefetch });
        let checkout = Checkout { credit, priority, is_exclusive: exclusive, ..Checkout::default() };
        let mut tag = 0;
        self.with_session(number, |session, _| {
            tag = session.session.consume(checkout, false);
            session.consumers.insert(tag, key);
        });
        if let Some(consumer) = self.remote.consumers.get_mut(key) {
            consumer.tag = tag;
        }
        Ok(key)
    }

    /// Asks a queue of another node for one message. A delivery follows, or [`Notice::GetGone`] or [`Notice::GetFailed`].
    ///
    /// # Errors
    /// 404 NOT_FOUND on the channel if that node cannot be reached.
    pub(crate) fn get_remote(&mut self, channel: ChannelRef, queue: QueueKey, no_ack: bool) -> Result<(), AmqpError> {
        self.check_home(queue)?;
        let no_queue = || AmqpError::channel(ReplyCode::NotFound, "the queue is gone");
        let number = self.session_with(User::Channel(channel), queue).ok_or_else(no_queue)?;
        self.with_session(number, |session, _| {
            let tag = session.session.get(false);
            session.gets.insert(tag, no_ack);
        });
        Ok(())
    }

    /// The queue has a consumer.
    pub(super) fn on_subscribed(&mut self, number: u64, tag: u32) {
        let Some(session) = self.remote.sessions.get(&number) else { return };
        let (Some(key), User::Channel(channel)) = (session.consumers.get(&tag).copied(), session.user) else { return };
        let Some(consumer) = self.remote.consumers.get_mut(key) else { return };
        if !core::mem::replace(&mut consumer.is_subscribed, true) {
            self.remote.active.insert(number);
            self.notices.push_back(Notice::Subscribed { channel, key, result: Ok(()) });
        }
    }

    /// The queue does not take a consumer, because of one that is to be the only one.
    pub(super) fn on_in_use(&mut self, number: u64, tag: u32) {
        let Some(session) = self.remote.sessions.get_mut(&number) else { return };
        let (Some(key), User::Channel(channel)) = (session.consumers.remove(&tag), session.user) else { return };
        let names = &session.names;
        let text = alloc::format!("queue '{}' in vhost '{}' in exclusive use", names.name, names.vhost);
        self.remote.consumers.remove(key);
        let result = Err(AmqpError::channel(ReplyCode::AccessRefused, text));
        self.notices.push_back(Notice::Subscribed { channel, key, result });
    }

    /// Removes a consumer from a queue of another node. What it has not acked stays unacked.
    pub(in super::super) fn cancel_remote(&mut self, key: ConsumerKey) {
        let Some(consumer) = self.remote.consumers.remove(key) else { return };
        let tag = consumer.tag;
        self.with_session(consumer.session, |session, _| {
            session.consumers.remove(&tag);
            session.return_unseen(|other| other == tag);
            session.session.cancel(tag);
        });
    }

    /// A channel lets a consumer at a queue of another node go, and waits until it is gone: [`Notice::Cancelled`] follows. False if
    /// there is nothing to wait for.
    pub(crate) fn await_cancel(&mut self, key: ConsumerKey) -> bool {
        let Some((number, tag)) = self.remote.consumers.get(key).map(|consumer| (consumer.session, consumer.tag))
        else {
            return false;
        };
        self.cancel_remote(key);
        let Some(session) = self.remote.sessions.get_mut(&number) else { return false };
        session.cancels.insert(tag)
    }

    /// The queue has let a consumer go.
    pub(super) fn on_cancelled(&mut self, number: u64, tag: u32) {
        let Some(session) = self.remote.sessions.get_mut(&number) else { return };
        if session.cancels.remove(&tag)
            && let User::Channel(channel) = session.user
        {
            self.notices.push_back(Notice::Cancelled { channel });
        }
    }

    /// A consumer takes messages again: its channel or connection has room.
    pub(in super::super) fn resume_remote(&mut self, key: ConsumerKey) {
        if let Some(consumer) = self.remote.consumers.get_mut(key) {
            consumer.is_paused = false;
            self.remote.active.insert(consumer.session);
        }
    }

    /// A consumer's channel or connection cannot take more, until [`Broker::resume`].
    pub(crate) fn pause_remote(&mut self, key: ConsumerKey) {
        if let Some(consumer) = self.remote.consumers.get_mut(key) {
            consumer.is_paused = true;
        }
    }

    /// A consumer has settled what one of its tag had for too long.
    pub(in super::super) fn admit_remote(&mut self, key: ConsumerKey) {
        if let Some(consumer) = self.remote.consumers.get_mut(key) {
            consumer.is_barred = false;
            self.remote.active.insert(consumer.session);
        }
    }

    /// Whether a consumer's deliveries count as acked once sent, whether it is exclusive, and its prefetch; for listings.
    pub(crate) fn remote_consumer(&self, key: ConsumerKey) -> Option<(bool, bool, u32)> {
        let consumer = self.remote.consumers.get(key)?;
        Some((consumer.no_ack, consumer.exclusive, consumer.prefetch))
    }

    /// A session whose channel may be given something.
    pub(crate) fn next_active_session(&mut self) -> Option<u64> {
        self.remote.active.pop_first()
    }

    /// The first message that waits in a session for somebody who takes it, and for whom.
    pub(crate) fn next_arrived(&self, number: u64) -> Option<(QueueKey, usize, Subscription)> {
        let session = self.remote.sessions.get(&number)?;
        let User::Channel(ChannelRef { connection, channel, .. }) = session.user else { return None };
        // Whose next message is not there yet.
        let mut behind: SmallVec<[u32; 4]> = SmallVec::new();
        session.inbox.iter().enumerate().find_map(|(at, arrived)| {
            let tag = arrived.delivery.consumer.tag;
            if arrived.message.is_none() {
                behind.push(tag);
            }
            if behind.contains(&tag) {
                return None;
            }
            if let Some(no_ack) = session.gets.get(&tag) {
                let who = Subscriber::asker(connection, channel);
                return Some((session.queue, at, Subscription::Get(Get { who, no_ack: *no_ack })));
            }
            let key = *session.consumers.get(&tag)?;
            let consumer = self.remote.consumers.get(key)?;
            let is_willing = consumer.is_subscribed && !consumer.is_paused && !consumer.is_barred;
            let who = Subscriber::Channel { connection, channel, index: consumer.index };
            let subscription = Subscription::Consumer { key, who, no_ack: consumer.no_ack };
            is_willing.then_some((session.queue, at, subscription))
        })
    }

    /// Takes out what [`Broker::next_arrived`] found.
    ///
    /// # Panics
    /// If it is not there.
    pub(crate) fn take_arrived(&mut self, number: u64, at: usize) -> Taken {
        let session = self.remote.sessions.get_mut(&number).expect("a message was found in it");
        let record = self.metadata.queue_by_key(session.queue);
        let is_quorum = record.is_some_and(|record| record.arguments.kind == QueueKind::Quorum);
        let arrived = session.inbox.remove(at).expect("a message was found there");
        let message = arrived.message.expect("only what is there is handed on");
        let (tag, delivered) = (arrived.delivery.consumer.tag, arrived.delivery.number);
        let get = session.gets.remove(&tag);
        let consumer = session.consumers.get(&tag).and_then(|key| self.remote.consumers.get(*key));
        let no_ack = get.or_else(|| consumer.map(|consumer| consumer.no_ack)).unwrap_or(false);
        session.last_out += 1;
        let seq = session.last_out;
        if no_ack {
            session.session.settle(tag, &[NumberRange::one(delivered.0)]);
        } else {
            session.out.insert(seq, (tag, delivered));
        }
        if session.count_taken(&message) || no_ack {
            self.remote.dirty.insert(number);
        }
        Taken {
            seq: QueueSeq(seq),
            message,
            redelivered: arrived.delivery.is_redelivered,
            deliveries: arrived.delivery.failed,
            acquired: if is_quorum { arrived.delivery.acquired } else { 0 },
            place: None,
            recoverable: false,
            ready_left: arrived.delivery.ready_left as usize,
        }
    }

    /// A channel has decided about a delivery from a queue of another node. This node's log knows nothing of it.
    pub(in super::super) fn decide_remote(
        &mut self,
        channel: ChannelRef,
        key: QueueKey,
        seq: QueueSeq,
        fate: Fate,
    ) -> Lsn {
        let Some((number, session)) = self.remote.session_of(User::Channel(channel), key) else { return Lsn(0) };
        let Some((tag, delivered)) = session.out.remove(seq.0) else { return Lsn(0) };
        let numbers = [NumberRange::one(delivered.0)];
        match fate {
            Fate::Settled => session.session.settle(tag, &numbers),
            Fate::Discarded => session.session.discard(tag, &numbers),
            Fate::Returned(Return::Requeued) => session.session.give_back(tag, &numbers, ReturnKind::Requeued),
            Fate::Returned(Return::Failed) => session.session.give_back(tag, &numbers, ReturnKind::Failed),
        }
        self.remote.dirty.insert(number);
        Lsn(0)
    }

    /// A channel is over: what it has of queues of other nodes goes back, and it consumes no more.
    pub(crate) fn end_sessions(&mut self, channel: ChannelRef) {
        if self.remote.sessions.is_empty() {
            return;
        }
        let user = User::Channel(channel);
        let least = slotmap::KeyData::from_ffi(0).into();
        let own = self.remote.by_user.range((user, least)..).take_while(|((other, _), _)| *other == user);
        let own: Vec<(QueueKey, u64)> = own.map(|((_, queue), number)| (*queue, *number)).collect();
        for (queue, number) in own {
            // The number of the channel may be used again before the queue has heard of this.
            self.remote.by_user.remove(&(user, queue));
            self.with_session(number, |session, events| {
                session.return_unseen(|_| true);
                session.gets.clear();
                session.session.end(events);
            });
            if let Some(session) = self.remote.sessions.get_mut(&number) {
                for key in core::mem::take(&mut session.consumers).into_values() {
                    self.remote.consumers.remove(key);
                }
            }
        }
        self.remote.asks.retain(|_, ask| ask.channel != channel);
    }
}

impl RemoteSession {
    /// What a delivery holds has come.
    pub(super) fn fill(&mut self, delivery: &Delivery, message: Message) {
        let is_it = |arrived: &Arrived| {
            let known = arrived.delivery;
            (known.consumer, known.number) == (delivery.consumer, delivery.number) && arrived.message.is_none()
        };
        // Mostly the last.
        if let Some(arrived) = self.inbox.iter_mut().rev().find(|arrived| is_it(arrived)) {
            *arrived = Arrived { delivery: *delivery, message: Some(Arc::new(message)) };
        }
    }

    /// The first delivery to a consumer of which only the number is known.
    pub(super) fn first_without_content(&self, tag: u32) -> Option<DeliveryNumber> {
        let of_tag = self.inbox.iter().filter(|arrived| arrived.delivery.consumer.tag == tag);
        of_tag.filter(|arrived| arrived.message.is_none()).map(|arrived| arrived.delivery.number).next()
    }

    /// Forgets deliveries whose content will not come: they have gone back.
    pub(super) fn drop_gone(&mut self, answer: &SyncAnswer) {
        self.inbox.retain(|arrived| {
            let of_consumer = answer.consumers.iter().find(|it| it.tag == arrived.delivery.consumer.tag);
            let is_known =
                |it: &ConsumerSync| it.deliveries.iter().any(|known| known.number == arrived.delivery.number);
            arrived.message.is_some() || of_consumer.is_none_or(is_known)
        });
    }

    /// Gives back what arrived for these tags and was not handed to the channel.
    fn return_unseen(&mut self, is_meant: impl Fn(u32) -> bool) {
        let mut kept = alloc::collections::VecDeque::new();
        for arrived in self.inbox.drain(..) {
            let tag = arrived.delivery.consumer.tag;
            if !is_meant(tag) {
                kept.push_back(arrived);
                continue;
            }
            self.taken_bytes += arrived.message.as_deref().map_or(0, cost);
            let DeliveryNumber(number) = arrived.delivery.number;
            self.session.give_back(tag, &[NumberRange::one(number)], ReturnKind::Requeued);
        }
        self.inbox = kept;
    }

    /// Notes that so much was handed on. Whether the queue's node should hear of it.
    fn count_taken(&mut self, message: &Message) -> bool {
        self.taken_bytes += cost(message);
        self.taken_bytes - self.told_bytes >= limits::REMOTE_WINDOW_BYTES / 4
    }
}
