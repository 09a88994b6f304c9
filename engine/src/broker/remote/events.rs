//! What comes of sessions with queues of other nodes: from the queue's node, or because that is lost.

use alloc::vec::Vec;
use bytes::Bytes;

use super::super::{Broker, Notice};
use super::{Arrived, NodeLink, RemoteSession, User};
use crate::cluster::queues::{Delivery, Frame, Malformed};
use crate::ids::NodeId;
use crate::message::Message;
use crate::queue::quorum::{self, BodyPlace, SessionEvent, SessionId, SyncAnswer, Unconfirmed};
use crate::routing::QueueKey;

impl Broker {
    /// Takes what other nodes say to queues and sessions of this one.
    pub(crate) fn on_queue_messages(&mut self) {
        self.watch_links();
        while let Some((node, bytes)) = self.next_queue_message() {
            let understood = Frame::decode(&bytes).and_then(|frame| self.on_frame(node, frame));
            if let Err(malformed) = understood
                && let Some(peers) = &mut self.peers
            {
                peers.refuse_node(self.now.mono, node, &alloc::format!("{malformed}"));
            }
        }
    }

    /// What another node says, or this one to itself.
    fn next_queue_message(&mut self) -> Option<(NodeId, Bytes)> {
        let peers = self.peers.as_mut()?;
        peers.next_for_queues().or_else(|| Some((peers.own()?.0, self.remote.looped.pop_front()?)))
    }

    /// Whether this node has said something to itself.
    pub(crate) fn has_looped(&self) -> bool {
        !self.remote.looped.is_empty()
    }

    fn on_frame(&mut self, node: NodeId, frame: Frame) -> Result<(), Malformed> {
        match frame {
            Frame::Commands { queue, entry } => return self.on_guest_commands(node, queue, entry),
            Frame::Sync { queue, sync } => self.on_guest_sync(node, queue, &sync),
            Frame::Taken { session, bytes } => self.on_guest_taken(node, session, bytes),
            Frame::Forget { up_to } => self.forget_guests(node, up_to),
            Frame::Ask { number, queue, question } => self.on_question(node, number, queue, question),
            Frame::Answer { number, answer } => self.on_answer(node, number, answer),
            Frame::Elsewhere { queue, leader } => self.on_elsewhere(node, queue, leader),
            Frame::Health { shortage, is_drained } => self.on_health(node, shortage, is_drained),
            Frame::Inquire { number, inquiry } => self.on_inquiry(node, number, inquiry),
            Frame::Report { number, report } => self.on_report(node, number, report),
            Frame::Deliver { delivery, message } => return self.on_delivery(node, &delivery, message),
            Frame::Applied(applied) => {
                self.with_own(node, applied.session, |session, events| session.session.on_applied(&applied, events));
                self.remote.note_outstanding(applied.session.number);
            }
            Frame::Synced(answer) => {
                self.on_forsaken_synced(node, &answer);
                if self.is_not_adopted(node, &answer) {
                    self.lose_session(answer.session.number);
                }
                self.with_own(node, answer.session, |session, events| {
                    session.follows = None;
                    session.drop_gone(&answer);
                    session.session.on_sync(&answer, events);
                });
            }
            Frame::Notice(notice) => {
                if let Some(id) = notice.session() {
                    self.with_own(node, id, |session, events| session.session.on_notice(&notice, events));
                }
            }
        }
        Ok(())
    }

    /// As [`Broker::with_session`], if it is one of this life of the node, with a queue of that node.
    fn with_own(&mut self, node: NodeId, id: SessionId, act: impl FnOnce(&mut RemoteSession, &mut Vec<SessionEvent>)) {
        if self.own_session(node, id).is_some() {
            self.with_session(id.number, act);
        }
    }

    fn own_session(&self, node: NodeId, id: SessionId) -> Option<&RemoteSession> {
        // A leader that was is not wrong in what it says, only late; the session copes with that.
        let is_meant = |session: &&RemoteSession| session.home == node || session.is_replicated;
        self.remote.sessions.get(&id.number).filter(is_meant).filter(|session| session.session.id() == id)
    }

    /// Whether the replicas of a queue that was on one node know nothing of a session, and nobody can tell what that node knew of it: it may
    /// have been in another life when it gave them what it had.
    fn is_not_adopted(&self, node: NodeId, answer: &SyncAnswer) -> bool {
        let Some(session) = self.own_session(node, answer.session) else { return false };
        let Some(followed) = session.follows.filter(|_| answer.next.is_none() && !answer.is_gone) else { return false };
        let boot = self.remote.nodes.get(&node).map(NodeLink::boot).unwrap_or_default();
        // In the same life: what was on its way to that node has come to nothing.
        let is_unheard = session.session.progress() == 1 && followed == (node, boot);
        session.session.has_begun() && !is_unheard
    }

    fn on_delivery(&mut self, node: NodeId, delivery: &Delivery, bytes: Bytes) -> Result<(), Malformed> {
        let message = Message::from_payload(bytes).ok_or(Malformed)?;
        let id = delivery.consumer.session;
        let Delivery { consumer, number, failed, acquired, .. } = *delivery;
        let numbered = quorum::Delivery { consumer, number, body: BodyPlace::default(), failed, acquired };
        self.with_own(node, id, |session, events| session.session.on_delivery(&numbered, events));
        // Its number may have come before.
        if let Some(session) = self.remote.sessions.get_mut(&id.number).filter(|session| session.session.id() == id) {
            session.fill(delivery, message);
            self.remote.active.insert(id.number);
        }
        Ok(())
    }

    /// Something came of a session.
    pub(super) fn on_session_event(&mut self, number: u64, event: SessionEvent) {
        match event {
            SessionEvent::Confirmed(token) => self.part_done(token, false),
            SessionEvent::Rejected(token) => self.part_done(token, true),
            SessionEvent::Delivered(delivery) => {
                let Some(session) = self.remote.sessions.get_mut(&number) else { return };
                let delivery = Delivery {
                    consumer: delivery.consumer,
                    number: delivery.number,
                    failed: delivery.failed,
                    is_redelivered: delivery.acquired > 0,
                    acquired: delivery.acquired,
                    ready_left: 0,
                };
                session.inbox.push_back(Arrived { delivery, message: None });
            }
            SessionEvent::Subscribed { tag } => self.on_subscribed(number, tag),
            SessionEvent::InUse { tag } => self.on_in_use(number, tag),
            SessionEvent::Cancelled { tag } => self.on_cancelled(number, tag),
            SessionEvent::GetEmpty { tag } => {
                let Some(session) = self.remote.sessions.get_mut(&number) else { return };
                session.gets.remove(&tag);
                if let User::Channel(channel) = session.user {
                    self.notices
                        .push_back(Notice::GetGone { connection: channel.connection, channel: channel.channel });
                }
            }
            SessionEvent::Gone | SessionEvent::Ended => self.end_session(number),
            SessionEvent::Fenced => self.lose_session(number),
            SessionEvent::NeedsNumber => self.restart_session(number),
            // The channel itself watches how long consumers take, and nobody grants credit.
            SessionEvent::TimedOut { .. } | SessionEvent::Drained { .. } => {}
        }
    }

    /// A session's number cannot be used any more, though nothing of it is known.
    fn restart_session(&mut self, number: u64) {
        let Some(mut session) = self.remote.sessions.remove(&number) else { return };
        self.remote.last_number += 1;
        let next = self.remote.last_number;
        session.session.restart(SessionId { number: next, ..session.session.id() });
        for key in session.consumers.values() {
            if let Some(consumer) = self.remote.consumers.get_mut(*key) {
                consumer.session = next;
            }
        }
        if let User::Channel(channel) = session.user {
            self.remote.congested.remove(&(channel.connection, number));
        }
        self.remote.dirty.remove(&number);
        self.remote.active.remove(&number);
        if self.remote.by_user.get(&(session.user, session.queue)) == Some(&number) {
            self.remote.by_user.insert((session.user, session.queue), next);
        }
        self.remote.sessions.insert(next, session);
        self.remote.dirty.insert(next);
        self.remote.note_outstanding(next);
    }

    /// What a session had with its queue is lost: the queue's node is in another life, or was away for too long. What was never sent is
    /// said in another session if the queue can be used; while its node counts as lost it cannot.
    pub(super) fn lose_session(&mut self, number: u64) {
        let Some(session) = self.remote.sessions.get_mut(&number) else { return };
        let (user, queue) = (session.user, session.queue);
        let forsaken = Some(session.session.id()).filter(|_| !session.is_replicated || session.follows.is_some());
        // Nobody would end another session of its channel.
        let is_ending = session.session.is_ending();
        let messages = session.session.take_messages();
        self.end_session(number);
        forsaken.into_iter().for_each(|id| self.note_forsaken(queue, id));
        for Unconfirmed { facts, payload, token, was_sent } in messages {
            match user {
                User::Channel(_) if was_sent || is_ending => self.part_done(token, true),
                // What the broker publishes nobody else would send again.
                User::Channel(_) | User::Broker => self.send_message(user, queue, facts, payload, token),
            }
        }
    }

    /// Nothing comes of a session any more: its consumers are gone, and those who asked for a message get none.
    fn end_session(&mut self, number: u64) {
        let Some(session) = self.remote.sessions.get(&number) else { return };
        if let User::Channel(channel) = session.user {
            for key in session.consumers.values() {
                let Some(consumer) = self.remote.consumers.get(*key) else { continue };
                self.notices.push_back(if consumer.is_subscribed {
                    let index = consumer.index;
                    Notice::ConsumerGone { connection: channel.connection, channel: channel.channel, index, key: *key }
                } else {
                    let error = self.home_down(session.queue, &session.names);
                    Notice::Subscribed { channel, key: *key, result: Err(error) }
                });
            }
            if !session.cancels.is_empty() {
                self.notices.push_back(Notice::Cancelled { channel });
            }
            for _ in session.gets.keys() {
                let error = self.home_down(session.queue, &session.names);
                self.notices.push_back(Notice::GetFailed { channel, error });
            }
        }
        self.remote.remove(number);
    }

    /// A queue of another node was deleted.
    pub(in super::super) fn drop_remote(&mut self, key: QueueKey) {
        let sessions = self.remote.sessions.iter().filter(|(_, session)| session.queue == key);
        let sessions: Vec<u64> = sessions.map(|(number, _)| *number).collect();
        for number in sessions {
            self.with_session(number, |session, events| {
                let id = session.session.id();
                session.session.on_notice(&quorum::Notice::Gone { session: id }, events);
            });
        }
        self.drop_asks_about(key);
    }
}
