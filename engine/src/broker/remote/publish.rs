//! Publishing to queues of other nodes, and publishes of which several queues have a part.

use alloc::sync::Arc;
use bytes::{BufMut, Bytes, BytesMut};

use super::super::{Broker, ChannelRef, Durable, Notice, Published};
use super::User;
use crate::ids::PublishSeqno;
use crate::limits;
use crate::message::Message;
use crate::metadata::{Overflow, QueueRecord};
use crate::queue::quorum::Enqueue;
use crate::routing::QueueKey;
use crate::storage::Until;

/// A publish or a transaction that is over once all who have a part of it say so.
#[derive(Debug)]
pub(super) struct Shared {
    channel: ChannelRef,
    what: Durable,
    /// How many have not said so.
    pub(super) parts: u32,
    /// Whether one of them refused it.
    is_refused: bool,
}

impl Broker {
    /// Sets aside the queues just found that are on other nodes.
    pub(in super::super) fn set_remote_aside(&mut self) {
        self.remote.routed.clear();
        let (metadata, remote) = (&self.metadata, &mut self.remote.routed);
        self.routed.retain(|key| {
            let Some(record) = metadata.queue_by_key(*key) else { return false };
            let is_here = metadata.is_here(record);
            if !is_here {
                remote.push(*key);
            }
            is_here
        });
    }

    /// Gives a message to the queues that were set aside. What became of it, if `published` is what became of it here.
    pub(in super::super) fn enqueue_remote(
        &mut self,
        message: &Arc<Message>,
        persistent: bool,
        publisher: Option<ChannelRef>,
        seqno: Option<PublishSeqno>,
        published: Published,
    ) -> Published {
        let routed = core::mem::take(&mut self.remote.routed);
        let parts = u32::try_from(routed.len()).unwrap_or(u32::MAX);
        let token = match (publisher, seqno, self.remote.committing) {
            (Some(channel), Some(seqno), _) => self.share(channel, Durable::Publish(seqno), parts),
            (_, None, Some(token)) => {
                if let Some(shared) = self.remote.shared.get_mut(&token) {
                    shared.parts += parts;
                }
                token
            }
            _ => 0,
        };
        let user = publisher.map_or(User::Broker, User::Channel);
        let facts = Enqueue {
            size: message.size(),
            priority: message.priority(),
            ttl_ms: message.expiration_ms(),
            is_persistent: persistent,
            is_internal: publisher.is_none(),
            ..Enqueue::default()
        };
        let (head, body) = message.payload();
        let mut payload = BytesMut::with_capacity(head.len() + body.len());
        payload.put_slice(head);
        payload.put_slice(body);
        let payload = payload.freeze();
        for key in &routed {
            self.refuse_if_full(user, *key, message);
            self.send_message(user, *key, facts, payload.clone(), token);
        }
        self.remote.routed = routed;
        if seqno.is_none() {
            return if published == Published::Unroutable { Published::Kept } else { published };
        }
        // If it is over already, somebody has refused it, which is all that counts.
        if let Some(shared) = self.remote.shared.get_mut(&token) {
            match published {
                Published::KeptAt(until) => {
                    shared.parts += 1;
                    let channel = shared.channel;
                    self.wait_for_log(until, channel, Durable::Part(token));
                }
                Published::Refused => shared.is_refused = true,
                Published::Unroutable | Published::Kept | Published::Awaited => {}
            }
        }
        Published::Awaited
    }

    /// If a queue with replicas refuses a message, as its session knows before it asks, the message may be wanted elsewhere.
    fn refuse_if_full(&mut self, user: User, key: QueueKey, message: &Arc<Message>) {
        let wants_dead =
            |record: &QueueRecord| record.is_replicated() && record.settings.overflow == Overflow::RejectPublishDlx;
        if self.metadata.queue_by_key(key).is_some_and(wants_dead)
            && self.remote.session_of(user, key).is_some_and(|(_, session)| session.session.is_full())
        {
            self.refuse(key, message);
        }
    }

    /// Gives a message to one queue of another node.
    pub(super) fn send_message(&mut self, user: User, key: QueueKey, facts: Enqueue, payload: Bytes, token: u64) {
        // It came back here meanwhile.
        if !self.is_remote(key) {
            return self.keep_here(key, facts, payload, token);
        }
        // What the broker publishes waits for the queue's node, but not without end.
        let is_possible = match user {
            User::Channel(_) => self.check_home(key).is_ok(),
            User::Broker => self
                .remote
                .session_of(user, key)
                .is_none_or(|(_, session)| session.session.outstanding_bytes() <= limits::REMOTE_PENDING_HIGH_BYTES),
        };
        let number = if is_possible { self.session_with(user, key) } else { None };
        let Some(number) = number else { return self.part_done(token, true) };
        self.with_session(number, |session, events| session.session.enqueue(facts, payload, token, events));
        self.remote.note_outstanding(number);
    }

    fn keep_here(&mut self, key: QueueKey, facts: Enqueue, payload: Bytes, token: u64) {
        let Some(message) = Message::from_payload(payload) else { return self.part_done(token, true) };
        self.route_to_queue(key);
        match self.enqueue_routed(&Arc::new(message), facts.is_persistent, None, None) {
            Published::KeptAt(until) => self.wait_for_log(until, ChannelRef::OF_GUEST, Durable::Part(token)),
            Published::Kept | Published::Awaited => self.part_done(token, false),
            Published::Refused | Published::Unroutable => self.part_done(token, true),
        }
    }

    /// Begins to count who has a part of something. Its token.
    fn share(&mut self, channel: ChannelRef, what: Durable, parts: u32) -> u64 {
        self.remote.last_shared += 1;
        let token = self.remote.last_shared;
        self.remote.shared.insert(token, Shared { channel, what, parts, is_refused: false });
        token
    }

    /// One who had a part says that it is safe there, or refused.
    pub(in super::super) fn part_done(&mut self, token: u64, is_refused: bool) {
        let Some(shared) = self.remote.shared.get_mut(&token) else { return };
        shared.parts -= 1;
        shared.is_refused |= is_refused;
        if shared.parts > 0 {
            return;
        }
        let Some(Shared { channel, what, is_refused, .. }) = self.remote.shared.remove(&token) else { return };
        match what {
            _ if !is_refused => self.on_durable(channel, what),
            Durable::DeadLetter { queue, number } => self.dead_letter_done(queue, number, true),
            Durable::Publish(_) | Durable::Commit | Durable::Part(_) => {
                self.notices.push_back(Notice::Refused { channel, what });
            }
        }
    }

    /// Something begins of which all that is published until [`Broker::end_parts`] is a part. Its token; the first part is its own.
    pub(in super::super) fn begin_parts(&mut self, channel: ChannelRef, what: Durable) -> u64 {
        let token = self.share(channel, what, 1);
        self.remote.committing = Some(token);
        token
    }

    /// No other parts come.
    pub(in super::super) fn end_parts(&mut self) {
        self.remote.committing = None;
    }

    /// A transaction is about to be committed, which may have parts on other nodes.
    pub(crate) fn begin_commit(&mut self, channel: ChannelRef) {
        // Counts as a part itself, until all others are known.
        self.remote.committing = self.peers.is_some().then(|| self.share(channel, Durable::Commit, 1));
    }

    /// All parts of a transaction are known: those of this node are safe once the log is as far as `until`. Whether the channel has to
    /// wait for others too, and will be told.
    pub(crate) fn end_commit(&mut self, until: Until) -> bool {
        let Some(token) = self.remote.committing.take() else { return false };
        let Some(shared) = self.remote.shared.get(&token) else { return false };
        if shared.parts == 1 && !shared.is_refused {
            self.remote.shared.remove(&token);
            return false;
        }
        let channel = shared.channel;
        self.wait_for_log(until, channel, Durable::Part(token));
        true
    }
}
