//! What channels of other nodes do with the classic queues of this one. The other end is [`super::remote`].
//!
//! A [`Guest`] is one session of another node. Its commands are taken once and in order, and told to be applied when what they did is
//! durable. Its deliveries are numbered; what was lost on a link that broke goes back to the queue and is given out again, under other
//! numbers. Nothing is given out while the session has not said, on the present link, what it has.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

use super::early::Early;
use super::remote::cost;
use super::{Broker, Published};
use crate::cluster::queues::{Answer, Delivery, Frame, Malformed, Question, encode_delivery};
use crate::cluster::version;
use crate::ids::{Boot, Lsn, NodeId, QueueId, QueueSeq};
use crate::limits;
use crate::message::Message;
use crate::mutants::{Mutant, is_planted};
use crate::queue::quorum::{
    AdoptedConsumer, AdoptedDelivery, AdoptedSession, Applied, Checkout, Command, ConsumerId, ConsumerSync, CreditMode,
    DeliveryNumber, Enqueue, Notice, NumberRange, Numbers, ReturnKind, SessionId, SessionOp, SessionSeqno, Sync,
    SyncAnswer, decode_entry,
};
use crate::queue::{Consumer, ConsumerKey, Get, Return, Subscriber, Taken};
use crate::routing::QueueKey;
use crate::storage::{Log, Until};
use crate::window::Window;

/// All sessions of other nodes with queues of this one.
#[derive(Debug, Default)]
pub(crate) struct Guests {
    by_id: BTreeMap<SessionId, Guest>,
    nodes: BTreeMap<NodeId, GuestNode>,
    /// What came for queues of which this node has not heard yet that they are there, or here.
    early: BTreeMap<QueueId, Early>,
    /// Sessions that may have to be told that commands are applied.
    untold: Vec<SessionId>,
    /// Sessions with consumers that wait for room.
    waiting: Vec<SessionId>,
    commands: Vec<Command>,
}

/// What is kept of a node.
#[derive(Clone, Copy, Debug, Default)]
struct GuestNode {
    boot: Boot,
    /// Sessions of this life up to this one have begun, or never will.
    highest: u64,
}

/// A session of another node.
#[derive(Debug)]
struct Guest {
    queue: QueueKey,
    /// The command that is next.
    next: SessionSeqno,
    /// The last one that was told to be applied.
    told: SessionSeqno,
    /// Whether what it wants counts as applied only once it survives a loss of power.
    needs_sync: bool,
    /// Commands that are applied once the log is so far, in order.
    pending: VecDeque<(Lsn, SessionSeqno)>,
    /// The command that asked for one message, and is not answered.
    open_get: Option<(SessionSeqno, u32)>,
    /// Who got none. The session may not know; when it wants something else it does.
    empty_get: Option<u32>,
    consumers: BTreeMap<u32, GuestConsumer>,
    /// Consumers that wait for room.
    paused: Vec<ConsumerKey>,
    /// Whether it has said on the present link what it has.
    is_synced: bool,
    /// Bytes of deliveries since then, and how much of that its channel has.
    sent_bytes: u64,
    taken_bytes: u64,
}

/// A consumer of a session, or somebody who asked for one message.
#[derive(Debug)]
struct GuestConsumer {
    /// `None` once it is cancelled, or if it asked for one message.
    key: Option<ConsumerKey>,
    /// What became of the one message it asked for.
    get: Option<GetState>,
    next: DeliveryNumber,
    /// What it has, by delivery number.
    unacked: Window<QueueSeq>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GetState {
    Waiting,
    Delivered,
    Empty,
}

impl Guest {
    fn new(queue: QueueKey, needs_sync: bool) -> Self {
        Self {
            queue,
            needs_sync,
            next: SessionSeqno(1),
            told: SessionSeqno(0),
            pending: VecDeque::new(),
            open_get: None,
            empty_get: None,
            consumers: BTreeMap::new(),
            paused: Vec::new(),
            // It begins on the present link, with nothing.
            is_synced: true,
            sent_bytes: 0,
            taken_bytes: 0,
        }
    }

    /// The last command up to which all are applied.
    fn applied(&mut self, log: &Log) -> SessionSeqno {
        while self.pending.front().is_some_and(|(end, _)| log.has(self.until(*end))) {
            self.pending.pop_front();
        }
        let waiting = self.pending.front().map(|(_, seqno)| *seqno);
        let first = [waiting, self.open_get.map(|(seqno, _)| seqno)].into_iter().flatten().min().unwrap_or(self.next);
        SessionSeqno(first.0 - 1)
    }

    /// When something is safe that lies there in the log.
    fn until(&self, end: Lsn) -> Until {
        Until { end, is_durable: self.needs_sync }
    }

    fn has_room(&self) -> bool {
        self.is_synced && self.sent_bytes.saturating_sub(self.taken_bytes) < limits::REMOTE_WINDOW_BYTES
    }
}

impl Broker {
    /// Sessions of another node want something of a queue.
    ///
    /// # Errors
    /// If that is nothing that a node may say.
    pub(super) fn on_guest_commands(&mut self, from: NodeId, queue: QueueId, entry: Bytes) -> Result<(), Malformed> {
        if self.metadata.is_turning(queue) {
            // They are said again to whoever leads the replicas.
            return self.early_in_doubt(queue).map_or(Ok(()), |early| early.keep_commands(from, entry));
        }
        if self.replicas.has(queue) {
            self.on_replica_commands(from, queue, &entry);
            return Ok(());
        }
        if self.is_replicated(queue) {
            self.send_elsewhere(from, queue);
            return Ok(());
        }
        let Some(key) = self.queue_for_guest(queue) else {
            if self.is_to_hear_of(queue) {
                return self.early(queue).keep_commands(from, entry);
            }
            return self.turn_away(from, &entry);
        };
        let mut commands = core::mem::take(&mut self.guests.commands);
        let read = decode_entry(&entry, &mut commands).map_err(|_| Malformed);
        for command in commands.drain(..) {
            match command {
                Command::Session { session, seqno, op } if session.node == from => {
                    self.on_guest_command(key, session, seqno, op, &entry);
                }
                Command::Session { .. }
                | Command::NodeSuspected { .. }
                | Command::NodeUp { .. }
                | Command::NodeDown { .. }
                | Command::Tick
                | Command::Update(_)
                | Command::DeadLettered { .. }
                | Command::Carry { .. }
                | Command::Bring { .. }
                | Command::Adopt { .. }
                | Command::Forsake { .. }
                | Command::Purge
                | Command::Pause { .. }
                | Command::DeletePrepare { .. } => {}
            }
        }
        self.guests.commands = commands;
        self.trim_returned();
        read
    }

    /// What is kept of what was said to a queue, if it is not known where that is.
    fn early_in_doubt(&mut self, queue: QueueId) -> Option<&mut Early> {
        self.is_in_doubt(queue).then(|| self.early(queue))
    }

    /// Whether this node has not heard yet that a queue is there, or that it is not on another node alone any more, as somebody has who
    /// says something to it here.
    fn is_to_hear_of(&self, queue: QueueId) -> bool {
        match self.metadata.queue_by_id(queue) {
            Some((_, record)) => !self.metadata.is_led(record) && !self.metadata.is_here(record),
            None => queue >= self.metadata.next_queue_id(),
        }
    }

    /// What is kept of what was said to a queue until this node has heard of it.
    fn early(&mut self, queue: QueueId) -> &mut Early {
        self.guests.early.entry(queue).or_default()
    }

    fn is_replicated(&self, queue: QueueId) -> bool {
        self.metadata.queue_by_id(queue).is_some_and(|(_, record)| record.is_replicated())
    }

    /// The queue of this node with this id.
    fn queue_for_guest(&self, id: QueueId) -> Option<QueueKey> {
        let (key, record) = self.metadata.queue_by_id(id)?;
        self.metadata.is_here(record).then_some(key)
    }

    /// The queue is gone.
    fn turn_away(&mut self, from: NodeId, entry: &Bytes) -> Result<(), Malformed> {
        let mut commands = Vec::new();
        decode_entry(entry, &mut commands).map_err(|_| Malformed)?;
        let mut last = None;
        for command in commands {
            if let Command::Session { session, .. } = command
                && session.node == from
                && last.replace(session) != Some(session)
            {
                self.tell_guest(&Notice::Gone { session });
            }
        }
        Ok(())
    }

    /// This node has heard of a queue, or where it is, or that it is gone: what came for it before is for it now.
    pub(super) fn on_queue_known(&mut self, id: QueueId) {
        for (from, frame) in self.guests.early.remove(&id).unwrap_or_default().into_frames(id) {
            // It was understood when it came, as far as that could be told.
            let _ = match frame {
                Frame::Commands { queue, entry } => self.on_guest_commands(from, queue, entry),
                Frame::Sync { queue, sync } => {
                    self.on_guest_sync(from, queue, &sync);
                    Ok(())
                }
                Frame::Ask { number, queue, question } => {
                    self.on_question(from, number, queue, question);
                    Ok(())
                }
                Frame::Taken { .. }
                | Frame::Forget { .. }
                | Frame::Applied(_)
                | Frame::Deliver { .. }
                | Frame::Notice(_)
                | Frame::Synced(_)
                | Frame::Elsewhere { .. }
                | Frame::Answer { .. }
                | Frame::Health { .. }
                | Frame::Inquire { .. }
                | Frame::Report { .. } => Ok(()),
            };
        }
    }

    fn on_guest_command(
        &mut self,
        queue: QueueKey,
        session: SessionId,
        seqno: SessionSeqno,
        op: SessionOp,
        entry: &Bytes,
    ) {
        let guest = match self.guests.by_id.get_mut(&session) {
            Some(guest) => guest,
            None => {
                let node = self.guests.nodes.entry(session.node).or_default();
                if session.boot != node.boot || session.number <= node.highest {
                    return self.tell_guest(&Notice::Unknown { session });
                }
                if seqno.0 != 1 {
                    return self.tell_guest(&Notice::ResendFrom { session, seqno: SessionSeqno(1) });
                }
                node.highest = session.number;
                let needs_sync = self.needs_sync(queue);
                self.guests.by_id.entry(session).or_insert_with(|| Guest::new(queue, needs_sync))
            }
        };
        self.guests.untold.push(session);
        if seqno > guest.next {
            let seqno = guest.next;
            return self.tell_guest(&Notice::ResendFrom { session, seqno });
        }
        if seqno < guest.next {
            // It asks, as it were, how far this one is.
            guest.told = SessionSeqno(0);
            if let (SessionOp::Enqueue(facts), true) = (&op, is_planted(Mutant::RemotePublishTwice)) {
                self.guest_enqueues(queue, session, seqno, facts, entry);
            }
            return;
        }
        guest.next = seqno.next();
        if let Some(tag) = guest.empty_get.take() {
            guest.consumers.remove(&tag);
        }
        // Nobody waits for what was settled, but for what comes behind it.
        let is_awaited = !matches!(op, SessionOp::Settle { .. });
        let end = match op {
            SessionOp::Enqueue(facts) => self.guest_enqueues(queue, session, seqno, &facts, entry),
            SessionOp::Checkout(checkout) => {
                self.guest_consumes(queue, session, &checkout);
                Lsn(0)
            }
            SessionOp::Get { tag } => {
                self.guest_gets(queue, session, seqno, tag);
                Lsn(0)
            }
            // Credit is for protocols that classic queues do not speak between nodes yet.
            SessionOp::Credit { .. } => Lsn(0),
            SessionOp::Settle { tag, numbers } => {
                self.guest_decides(session, tag, &numbers, |broker, seq| broker.settle_here(queue, seq))
            }
            SessionOp::Discard { tag, numbers } => {
                self.guest_decides(session, tag, &numbers, |broker, seq| broker.discard_here(queue, seq))
            }
            SessionOp::Return { tag, numbers, how } => {
                let how = match how {
                    ReturnKind::Requeued => Return::Requeued,
                    ReturnKind::Failed => Return::Failed,
                };
                self.guest_decides(session, tag, &numbers, |broker, seq| broker.give_back_here(queue, seq, how))
            }
            SessionOp::Cancel { tag, seen } => {
                self.guest_cancels(session, tag, seen);
                Lsn(0)
            }
            SessionOp::End => {
                let up_to = seqno;
                self.end_guest(session, Return::Failed);
                let applied = Applied { session, up_to, is_full: false };
                return self.say(session.node, &Frame::Applied(applied));
            }
        };
        let Some(guest) = self.guests.by_id.get_mut(&session) else { return };
        if !self.log.has(guest.until(end)) && !is_planted(Mutant::RemoteConfirmBeforeFsync) {
            guest.pending.push_back((end, seqno));
        }
        if is_awaited && !guest.pending.is_empty() {
            match guest.needs_sync {
                true => self.log.request_sync(),
                false => self.log.request_write(),
            }
        }
    }

    /// Where the log will know of it; 0 if it need not.
    fn guest_enqueues(
        &mut self,
        queue: QueueKey,
        session: SessionId,
        seqno: SessionSeqno,
        facts: &Enqueue,
        entry: &Bytes,
    ) -> Lsn {
        let at = facts.payload.at as usize;
        let payload = entry.slice(at..at + facts.payload.len as usize);
        // A message that stays is not to keep all that came with it.
        let payload = if payload.len() * 2 > entry.len() { payload } else { Bytes::copy_from_slice(&payload) };
        let Some(message) = Message::from_payload(payload) else { return Lsn(0) };
        self.route_to_queue(queue);
        let publisher = (!facts.is_internal).then_some(super::ChannelRef::OF_GUEST);
        match self.enqueue(&Arc::new(message), facts.is_persistent, publisher, None) {
            Published::KeptAt(until) => until.end,
            Published::Refused => {
                self.tell_guest(&Notice::Refused { session, seqno });
                Lsn(0)
            }
            Published::Kept | Published::Unroutable | Published::Awaited => Lsn(0),
        }
    }

    fn guest_consumes(&mut self, queue: QueueKey, session: SessionId, checkout: &Checkout) {
        let Checkout { tag, credit, priority, is_exclusive, timeout_ms: _ } = *checkout;
        let id = session.consumer(tag);
        let Some(machine) = self.queues.get_mut(queue) else { return };
        let others = machine.consumers();
        let is_shared = others.len() > 0 || others.is_single_active();
        if others.has_exclusive() || (is_exclusive && is_shared) {
            return self.tell_guest(&Notice::InUse { consumer: id });
        }
        let prefetch = match credit {
            CreditMode::Prefetch(prefetch) => prefetch,
            CreditMode::Granted => 0,
        };
        let consumer = Consumer::new(Subscriber::Guest(id), false, is_exclusive, prefetch).with_priority(priority);
        let key = machine.subscribe(consumer);
        if let Some(guest) = self.guests.by_id.get_mut(&session) {
            let next = DeliveryNumber(1);
            guest.consumers.insert(tag, GuestConsumer { key: Some(key), get: None, next, unacked: Window::default() });
        }
        self.activate(queue);
    }

    fn guest_gets(&mut self, queue: QueueKey, session: SessionId, seqno: SessionSeqno, tag: u32) {
        if let Some(guest) = self.guests.by_id.get_mut(&session) {
            let get = Some(GetState::Waiting);
            let next = DeliveryNumber(1);
            guest.consumers.insert(tag, GuestConsumer { key: None, get, next, unacked: Window::default() });
            guest.open_get = Some((seqno, tag));
        }
        self.touch(queue);
        self.ask_for_one(queue, session.consumer(tag));
    }

    /// Asks the queue for one message for somebody who waits for it.
    fn ask_for_one(&mut self, queue: QueueKey, who: ConsumerId) {
        self.expire(queue, true);
        let get = Get { who: Subscriber::Guest(who), no_ack: false };
        if self.queues.get_mut(queue).is_some_and(|machine| machine.get(get)) {
            self.activate(queue);
        } else {
            self.on_guest_get_gone(who);
        }
    }

    /// There is nothing for somebody who asked for one message.
    pub(super) fn on_guest_get_gone(&mut self, who: ConsumerId) {
        let Some(guest) = self.guests.by_id.get_mut(&who.session) else { return };
        if let Some(consumer) = guest.consumers.get_mut(&who.tag) {
            consumer.get = Some(GetState::Empty);
            guest.empty_get = Some(who.tag);
        }
        if guest.open_get.is_some_and(|(_, tag)| tag == who.tag) {
            guest.open_get = None;
            self.guests.untold.push(who.session);
        }
        self.tell_guest(&Notice::GetEmpty { consumer: who });
    }

    /// Carries out what a consumer decided about deliveries. Where the log will know of it.
    fn guest_decides(
        &mut self,
        session: SessionId,
        tag: u32,
        numbers: &[NumberRange],
        decide: impl Fn(&mut Self, QueueSeq) -> Lsn,
    ) -> Lsn {
        let mut end = Lsn(0);
        for number in numbers.iter().flat_map(|range| range.first..=range.last) {
            let Some(consumer) = self.guest_consumer(session, tag) else { return end };
            if let Some(seq) = consumer.unacked.remove(number) {
                end = end.max(decide(self, seq));
            }
        }
        if let Some(guest) = self.guests.by_id.get_mut(&session)
            && guest.consumers.get(&tag).is_some_and(GuestConsumer::is_over)
        {
            guest.consumers.remove(&tag);
        }
        end
    }

    fn guest_consumer(&mut self, session: SessionId, tag: u32) -> Option<&mut GuestConsumer> {
        self.guests.by_id.get_mut(&session)?.consumers.get_mut(&tag)
    }

    fn guest_cancels(&mut self, session: SessionId, tag: u32, seen: DeliveryNumber) {
        let Some(guest) = self.guests.by_id.get_mut(&session) else { return };
        let queue = guest.queue;
        let Some(consumer) = guest.consumers.get_mut(&tag) else { return };
        let key = consumer.key.take();
        if let Some(key) = key {
            guest.paused.retain(|other| *other != key);
        }
        self.take_back_after(session, tag, seen, Return::Requeued);
        if let Some(key) = key {
            self.unsubscribe(queue, key);
        }
        if let Some(guest) = self.guests.by_id.get_mut(&session)
            && guest.consumers.get(&tag).is_some_and(GuestConsumer::is_over)
        {
            guest.consumers.remove(&tag);
        }
    }

    /// What a consumer has beyond a delivery goes back.
    fn take_back_after(&mut self, session: SessionId, tag: u32, seen: DeliveryNumber, how: Return) {
        let Some(guest) = self.guests.by_id.get_mut(&session) else { return };
        let queue = guest.queue;
        let Some(consumer) = guest.consumers.get_mut(&tag) else { return };
        let lost: Vec<u64> =
            consumer.unacked.iter().map(|(number, _)| number).filter(|number| *number > seen.0).collect();
        let lost: Vec<QueueSeq> = lost.into_iter().filter_map(|number| consumer.unacked.remove(number)).collect();
        for seq in lost {
            self.give_back_here(queue, seq, how);
        }
    }

    /// Forgets a session; what it has goes back.
    fn end_guest(&mut self, session: SessionId, how: Return) {
        let Some(guest) = self.guests.by_id.get_mut(&session) else { return };
        let queue = guest.queue;
        let consumers: Vec<(u32, Option<ConsumerKey>)> =
            guest.consumers.iter().map(|(tag, consumer)| (*tag, consumer.key)).collect();
        for (tag, key) in consumers {
            if let Some(machine) = self.queues.get_mut(queue) {
                machine.forget_gets(Subscriber::Guest(session.consumer(tag)));
            }
            if let Some(key) = key {
                self.unsubscribe(queue, key);
            }
            self.take_back_after(session, tag, DeliveryNumber(0), how);
        }
        self.guests.by_id.remove(&session);
        self.trim_returned();
    }

    /// A queue of this node was deleted: nothing comes of its sessions any more.
    pub(super) fn on_guests_queue_gone(&mut self, queue: QueueKey) {
        let gone: Vec<SessionId> =
            self.guests.by_id.iter().filter(|(_, guest)| guest.queue == queue).map(|(id, _)| *id).collect();
        for session in gone {
            self.guests.by_id.remove(&session);
            self.tell_guest(&Notice::Gone { session });
        }
    }

    /// The sessions with a queue of this node.
    pub(super) fn guests_of(&self, queue: QueueKey) -> impl Iterator<Item = SessionId> {
        self.guests.by_id.iter().filter(move |(_, guest)| guest.queue == queue).map(|(id, _)| *id)
    }

    /// Takes all sessions with a queue of this node from it, as those that its replicas are to adopt, with the places that what they have
    /// has here; `None` if there are none.
    pub(super) fn take_guests(&mut self, queue: QueueKey) -> Option<Command> {
        let ids: Vec<SessionId> = self.guests_of(queue).collect();
        let taken = ids.into_iter().filter_map(|id| Some((id, self.guests.by_id.remove(&id)?)));
        let taken: Vec<(SessionId, Guest)> = taken.collect();
        let machine = self.queues.get(queue).filter(|_| !taken.is_empty())?;
        let mut consumers: Vec<(AdoptedConsumer, bool)> = Vec::new();
        let delivery = |number: u64, seq: QueueSeq| {
            let state = machine.entry(seq).map(|entry| machine.state_of(entry, self.now)).unwrap_or_default();
            AdoptedDelivery { number: DeliveryNumber(number), seq, expires_at: state.expires_at }
        };
        for (session, guest) in &taken {
            for (tag, consumer) in &guest.consumers {
                let known = consumer.key.and_then(|key| machine.consumers().get(key));
                let mut checkout = Checkout { tag: *tag, ..Checkout::default() };
                if let Some(known) = known {
                    checkout.credit = CreditMode::Prefetch(known.prefetch);
                    (checkout.priority, checkout.is_exclusive) = (known.priority(), known.exclusive);
                }
                let adopted = AdoptedConsumer {
                    session: *session,
                    checkout,
                    is_over: known.is_none(),
                    next: consumer.next,
                    unacked: consumer.unacked.iter().map(|(number, seq)| delivery(number, *seq)).collect(),
                };
                let is_active = consumer.key.is_some_and(|key| machine.consumers().is_active(key));
                consumers.push((adopted, is_active));
            }
        }
        // The single active one stays that.
        consumers.sort_by_key(|(_, is_active)| !is_active);
        let sessions = taken.iter().map(|(session, guest)| AdoptedSession { session: *session, next: guest.next });
        let consumers = consumers.into_iter().map(|(adopted, _)| adopted);
        Some(Command::Adopt { sessions: sessions.collect(), consumers: consumers.collect() })
    }

    /// There is no link to a node for now: its sessions get nothing, and keep what they have.
    pub(super) fn on_guests_cut_off(&mut self, node: NodeId) {
        for (_, guest) in self.guests.by_id.range_mut(all_of(node)) {
            guest.is_synced = false;
        }
    }

    /// There is another link to a node.
    pub(super) fn on_guests_reached(&mut self, node: NodeId, boot: Boot) {
        if self.guests.nodes.get(&node).is_none_or(|known| known.boot != boot) {
            self.on_guests_lost(node);
            self.guests.nodes.insert(node, GuestNode { boot, highest: 0 });
        }
        self.on_guests_cut_off(node);
        self.guests.early.retain(|_, early| {
            early.forget(node);
            !early.is_empty()
        });
    }

    /// A node was out of reach for too long, or is in another life: what its sessions have goes back.
    pub(super) fn on_guests_lost(&mut self, node: NodeId) {
        let lost: Vec<SessionId> = self.guests.by_id.range(all_of(node)).map(|(id, _)| *id).collect();
        for session in lost {
            self.end_guest(session, Return::Requeued);
        }
    }

    /// A node has given up its sessions up to a number.
    pub(super) fn forget_guests(&mut self, node: NodeId, up_to: u64) {
        let known = self.guests.nodes.entry(node).or_default();
        known.highest = known.highest.max(up_to);
        let sessions = self.guests.by_id.range(all_of(node)).map(|(id, _)| *id);
        let forgotten: Vec<SessionId> = sessions.filter(|id| id.number <= up_to).collect();
        for session in forgotten {
            self.end_guest(session, Return::Requeued);
        }
    }

    /// A session says what it has. What it should have and has not was lost with the link before, and goes back.
    pub(super) fn on_guest_sync(&mut self, from: NodeId, queue: QueueId, sync: &Sync) {
        let session = sync.session;
        if session.node != from {
            return;
        }
        if self.metadata.is_turning(queue) {
            return self.early_in_doubt(queue).into_iter().for_each(|early| early.keep_sync(sync.clone()));
        }
        if self.is_replicated(queue) {
            return self.on_replica_sync(from, queue, sync);
        }
        if self.is_to_hear_of(queue) {
            return self.early(queue).keep_sync(sync.clone());
        }
        if !self.guests.by_id.contains_key(&session) {
            let notice = match self.queue_for_guest(queue) {
                None => Notice::Gone { session },
                // One that has not begun has nothing to miss.
                Some(_) if self.is_to_come(session) => return,
                Some(_) => Notice::Unknown { session },
            };
            return self.tell_guest(&notice);
        }
        for (tag, expected) in &sync.consumers {
            self.take_back_after(session, *tag, DeliveryNumber(expected.0.saturating_sub(1)), Return::Requeued);
            self.sync_get(session, *tag, *expected);
        }
        self.trim_returned();
        let Some(guest) = self.guests.by_id.get_mut(&session) else { return };
        (guest.is_synced, guest.sent_bytes, guest.taken_bytes) = (true, 0, 0);
        guest.told = guest.applied(&self.log);
        let next = |tag: u32| guest.consumers.get(&tag).map_or(DeliveryNumber(1), |consumer| consumer.next);
        let consumers = sync.consumers.iter().map(|(tag, _)| ConsumerSync {
            tag: *tag,
            next: next(*tag),
            deliveries: Vec::new(),
            timed_out: Numbers::new(),
        });
        let consumers = consumers.collect();
        let answer = SyncAnswer { session, next: Some(guest.told.next()), is_full: false, is_gone: false, consumers };
        self.say(from, &Frame::Synced(answer));
        self.resume_guest(session);
    }

    /// Whether a session has not begun, and may still.
    fn is_to_come(&self, session: SessionId) -> bool {
        let node = self.guests.nodes.get(&session.node);
        node.is_none_or(|node| session.boot == node.boot && session.number > node.highest)
    }

    /// Somebody who asked for one message may have missed the answer.
    fn sync_get(&mut self, session: SessionId, tag: u32, expected: DeliveryNumber) {
        let Some(guest) = self.guests.by_id.get_mut(&session) else { return };
        let queue = guest.queue;
        let Some(consumer) = guest.consumers.get_mut(&tag) else { return };
        match consumer.get {
            Some(GetState::Empty) => self.tell_guest(&Notice::GetEmpty { consumer: session.consumer(tag) }),
            Some(GetState::Delivered) if consumer.next > expected => {
                consumer.get = Some(GetState::Waiting);
                // It counts as answered already, so that nothing waits for it.
                self.ask_for_one(queue, session.consumer(tag));
            }
            Some(GetState::Delivered | GetState::Waiting) | None => {}
        }
    }

    /// A session's channel has more of what it was sent.
    pub(super) fn on_guest_taken(&mut self, from: NodeId, session: SessionId, bytes: u64) {
        if let Some(guest) = self.guests.by_id.get_mut(&session).filter(|_| session.node == from) {
            guest.taken_bytes = guest.taken_bytes.max(bytes);
            self.resume_guest(session);
        }
    }

    /// Whether a session can be sent a delivery. If not, the consumer is kept until it can.
    pub(crate) fn guest_accepts(&mut self, who: ConsumerId, consumer: Option<ConsumerKey>) -> bool {
        let is_congested = self.peers.as_ref().is_none_or(|peers| peers.is_congested(who.session.node));
        let Some(guest) = self.guests.by_id.get_mut(&who.session) else { return true };
        // Who asked for one message is not kept waiting: it comes at once or, after a break, again.
        let Some(key) = consumer else { return true };
        if guest.has_room() && !is_congested {
            return true;
        }
        guest.paused.push(key);
        if is_congested && guest.is_synced && !self.guests.waiting.contains(&who.session) {
            self.guests.waiting.push(who.session);
        }
        false
    }

    fn resume_guest(&mut self, session: SessionId) {
        let Some(guest) = self.guests.by_id.get_mut(&session) else { return };
        if !guest.has_room() {
            return;
        }
        let (queue, paused) = (guest.queue, core::mem::take(&mut guest.paused));
        for key in paused {
            if let Some(machine) = self.queues.get_mut(queue) {
                machine.resume(key);
            }
        }
        self.activate(queue);
    }

    /// Links may have room again, and the log may have been written.
    pub(crate) fn resume_remote_waiters(&mut self) {
        if self.peers.is_some() {
            self.resume_waiting_guests();
            self.resume_replicas();
        }
    }

    fn resume_waiting_guests(&mut self) {
        if self.guests.waiting.is_empty() {
            return;
        }
        for session in core::mem::take(&mut self.guests.waiting) {
            if self.peers.as_ref().is_some_and(|peers| peers.is_congested(session.node)) {
                self.guests.waiting.push(session);
            } else {
                self.resume_guest(session);
            }
        }
    }

    /// Sends a message that a queue gave out.
    pub(crate) fn deliver_to_guest(&mut self, who: ConsumerId, taken: &Taken) {
        // Classic queues do not count.
        let is_counted = taken.acquired > 0 && self.is_known_to_all(version::COUNTS);
        let Some(guest) = self.guests.by_id.get_mut(&who.session) else { return };
        let Some(consumer) = guest.consumers.get_mut(&who.tag) else { return };
        let number = consumer.next;
        consumer.next = number.next();
        consumer.unacked.insert(number.0, taken.seq);
        if consumer.get.is_some() {
            consumer.get = Some(GetState::Delivered);
        }
        if guest.open_get.is_some_and(|(_, tag)| tag == who.tag) {
            guest.open_get = None;
            self.guests.untold.push(who.session);
        }
        guest.sent_bytes += cost(&taken.message);
        let delivery = Delivery {
            consumer: who,
            number,
            failed: taken.deliveries,
            is_redelivered: taken.redelivered,
            acquired: taken.acquired,
            ready_left: u32::try_from(taken.ready_left).unwrap_or(u32::MAX),
        };
        let delivery = if is_counted { delivery } else { delivery.without_counts() };
        if guest.is_synced
            && let Some(peers) = &mut self.peers
        {
            peers.send_to_queues(self.now.mono, who.session.node, encode_delivery(&delivery, &taken.message));
        }
    }

    /// Somebody asks about a queue.
    pub(super) fn on_question(&mut self, from: NodeId, number: u64, queue: QueueId, question: Question) {
        if self.metadata.is_turning(queue) {
            let early = self.early_in_doubt(queue).into_iter();
            return early.for_each(|early| early.keep_question(from, number, question));
        }
        if self.is_replicated(queue) {
            return self.on_replica_question(from, number, queue, question);
        }
        let answer = match self.queue_for_guest(queue) {
            None if self.is_to_hear_of(queue) => {
                return self.early(queue).keep_question(from, number, question);
            }
            None => Answer::Gone,
            Some(key) => match question {
                Question::Counts { is_declare } => {
                    self.renew_lease(key, is_declare);
                    let counts = self.queues.get(key).map(|queue| (queue.ready_len(), queue.consumers().len()));
                    let (ready, consumers) = counts.unwrap_or_default();
                    Answer::Counts { ready: ready as u64, consumers: consumers as u64 }
                }
                Question::Purge => Answer::Purged(self.purge(key) as u64),
            },
        };
        self.say(from, &Frame::Answer { number, answer });
    }

    /// Tells sessions how far what they wanted is applied.
    pub(super) fn tell_guests(&mut self) {
        let mut untold = core::mem::take(&mut self.guests.untold);
        let mut told = Vec::new();
        untold.sort_unstable();
        untold.dedup();
        untold.retain(|session| {
            let Some(guest) = self.guests.by_id.get_mut(session) else { return false };
            let up_to = guest.applied(&self.log);
            let is_all = up_to.next() == guest.next;
            if up_to > guest.told || (guest.told.0 == 0 && up_to.0 > 0) {
                guest.told = up_to;
                let applied = Applied { session: *session, up_to, is_full: false };
                told.push(applied);
            }
            !is_all
        });
        self.guests.untold.append(&mut untold);
        for applied in told {
            self.say(applied.session.node, &Frame::Applied(applied));
        }
    }

    fn tell_guest(&mut self, notice: &Notice) {
        if let Some(session) = notice.session() {
            self.say(session.node, &Frame::Notice(*notice));
        }
    }

    /// Checks what must hold between inputs.
    pub(super) fn check_guest_invariants(&self) {
        for (id, guest) in &self.guests.by_id {
            let queue = self.queues.get(guest.queue).expect("a session's queue is there");
            assert!(guest.told < guest.next, "session {id} was told of what it did not say");
            for (tag, consumer) in &guest.consumers {
                for (number, seq) in consumer.unacked.iter() {
                    assert!(number < consumer.next.0, "delivery {number} of {tag} was given out");
                    assert!(queue.is_unacked(*seq), "what session {id} has is out: {seq}");
                }
                if let Some(key) = consumer.key {
                    let who = queue.consumers().get(key).map(|consumer| consumer.who);
                    assert_eq!(who, Some(Subscriber::Guest(id.consumer(*tag))), "the queue has the session's consumer");
                }
            }
        }
    }
}

impl GuestConsumer {
    /// Whether nothing can come of it any more.
    fn is_over(&self) -> bool {
        let is_done = self.key.is_none() && self.get.is_none_or(|get| get == GetState::Delivered);
        is_done && self.unacked.len() == 0
    }
}

/// All sessions of a node.
pub(super) fn all_of(node: NodeId) -> core::ops::RangeInclusive<SessionId> {
    let first = SessionId { node, boot: Boot(0), number: 0 };
    first..=SessionId { node, boot: Boot(u64::MAX), number: u64::MAX }
}
