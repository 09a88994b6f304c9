//! One channel's use of one queue that is not this node's alone, as the channel's node keeps it: what is sent and not yet applied, and
//! what is still to come. The queue is a quorum queue, or a classic queue of another node; "the leader" is who speaks for it.
//!
//! It does no I/O. Its owner gives it what the queue's leader says, sends what it [writes](Session::write) and [asks](Session::take_sync),
//! tells it when the leader changed or was out of reach ([`Session::on_leader`]), and from time to time that nothing came
//! ([`Session::on_timeout`]).

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

use super::action::{Applied, Delivery, Notice};
use super::command::{Checkout, Enqueue, NumberRange, ReturnKind, SessionOp, split_numbers};
use super::encoding::EntryWriter;
use super::ids::{DeliveryNumber, SessionId, SessionSeqno};
use super::read::{Sync, SyncAnswer};
use crate::limits::QUORUM_NUMBERS_MAX;
use crate::mutants::{Mutant, is_planted};

/// A session.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    /// The number of the first command that is not known to be applied.
    first: SessionSeqno,
    /// That one and all after it.
    outstanding: VecDeque<Outstanding>,
    /// How many of them were sent, since something may have been lost.
    sent: usize,
    /// The last command that was ever sent. What was sent never changes.
    last_sent: SessionSeqno,
    /// Bytes of messages among them.
    outstanding_bytes: usize,
    consumers: BTreeMap<u32, Subscription>,
    next_tag: u32,
    /// Whether the queue refuses what comes.
    is_full: bool,
    state: State,
    wants_sync: bool,
    /// Where it last began to send again because the queue missed something. All that was under way then is answered like that.
    resent_from: SessionSeqno,
    /// A planted bug of this session alone.
    planted: Option<Mutant>,
}

/// What a session is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It takes commands.
    Open,
    /// Its end is on the way.
    Ending,
    /// It takes nothing any more.
    Over,
}

/// A command that is not known to be applied.
#[derive(Debug)]
struct Outstanding {
    op: SessionOp,
    /// The bytes of an enqueued message.
    payload: Bytes,
    /// What the owner calls it.
    token: u64,
    /// Whether the queue has refused it.
    is_refused: bool,
}

/// A message that a session had when that was over.
#[derive(Debug)]
pub struct Unconfirmed {
    /// What the queue is to know of it.
    pub facts: Enqueue,
    /// Its bytes.
    pub payload: Bytes,
    /// What the owner calls it.
    pub token: u64,
    /// Whether it was ever sent, so that nobody can tell whether the queue has it.
    pub was_sent: bool,
}

/// A consumer, or somebody who asked for one message.
#[derive(Debug)]
struct Subscription {
    /// The delivery that is next.
    next: DeliveryNumber,
    /// Whether deliveries are settled as they come.
    no_ack: bool,
    /// The command that asked, if one message was asked for.
    get: Option<SessionSeqno>,
}

/// What the owner learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// The message that was given this token is in the queue.
    Confirmed(u64),
    /// It is not, and will not be.
    Rejected(u64),
    /// The queue has a consumer, which gets messages from here on.
    Subscribed {
        /// Its tag.
        tag: u32,
    },
    /// The queue does not take a consumer, as another one has it for itself, or this one wanted that and others are there.
    InUse {
        /// Its tag.
        tag: u32,
    },
    /// The queue has let a consumer go.
    Cancelled {
        /// Its tag.
        tag: u32,
    },
    /// A message came for a consumer, in order and once.
    Delivered(Delivery),
    /// There was nothing for who asked for one message.
    GetEmpty {
        /// Its tag.
        tag: u32,
    },
    /// A consumer took too long; what it had has gone back. It gets nothing before it has settled that.
    TimedOut {
        /// Its tag.
        tag: u32,
    },
    /// A consumer's credit has lapsed (AMQP 1.0 §2.6.7).
    Drained {
        /// Its tag.
        tag: u32,
        /// Deliveries, with those that the lapsed credit was for.
        delivery_count: u32,
    },
    /// The queue is deleted. Nothing else follows.
    Gone,
    /// The session's number cannot be used any more, as a later one came first: [`Session::restart`] gives it another.
    NeedsNumber,
    /// The queue has given the session up. Nothing else follows; [`Session::take_messages`] has what is not known to be in it.
    Fenced,
    /// The session has ended. Nothing else follows.
    Ended,
}

impl Session {
    /// A session that the queue does not know yet.
    pub fn new(id: SessionId) -> Self {
        Self {
            id,
            first: SessionSeqno(1),
            outstanding: VecDeque::new(),
            sent: 0,
            last_sent: SessionSeqno(0),
            outstanding_bytes: 0,
            consumers: BTreeMap::new(),
            next_tag: 1,
            is_full: false,
            state: State::Open,
            wants_sync: false,
            resent_from: SessionSeqno(0),
            planted: None,
        }
    }

    /// Its name.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Commands that are not known to be applied.
    pub fn outstanding_len(&self) -> usize {
        self.outstanding.len()
    }

    /// Bytes of the messages among them.
    pub fn outstanding_bytes(&self) -> usize {
        self.outstanding_bytes
    }

    /// How far it is: the number of the first command that is not known to be applied.
    pub fn progress(&self) -> u64 {
        self.first.0
    }

    /// Whether anything of it was ever sent.
    pub fn has_begun(&self) -> bool {
        self.last_sent > SessionSeqno(0)
    }

    /// Whether it waits for the queue: its owner then calls [`Session::on_timeout`] from time to time.
    pub fn is_waiting(&self) -> bool {
        !self.outstanding.is_empty() || self.is_full || self.consumers.values().any(|it| it.get.is_some())
    }

    /// Whether the queue refuses what comes, as far as it has said.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Publishes a message. A [`SessionEvent::Confirmed`] or [`SessionEvent::Rejected`] with this token follows.
    pub fn enqueue(&mut self, facts: Enqueue, payload: Bytes, token: u64, events: &mut Vec<SessionEvent>) {
        if self.is_full || self.state != State::Open {
            return events.push(SessionEvent::Rejected(token));
        }
        self.outstanding_bytes += payload.len();
        self.outstanding.push_back(Outstanding { op: SessionOp::Enqueue(facts), payload, token, is_refused: false });
    }

    /// Adds a consumer, whatever tag it names. Its tag.
    pub fn consume(&mut self, checkout: Checkout, no_ack: bool) -> u32 {
        let tag = self.subscribe(no_ack, None);
        self.push(SessionOp::Checkout(Checkout { tag, ..checkout }));
        tag
    }

    /// Asks for one message: a delivery for this tag follows, or [`SessionEvent::GetEmpty`].
    pub fn get(&mut self, no_ack: bool) -> u32 {
        let tag = self.subscribe(no_ack, Some(self.next_seqno()));
        self.push(SessionOp::Get { tag });
        tag
    }

    /// Grants a consumer credit.
    pub fn credit(&mut self, tag: u32, credit: u32, delivery_count: u32, is_drain: bool) {
        self.push(SessionOp::Credit { tag, credit, delivery_count, is_drain });
    }

    /// Deliveries were processed.
    pub fn settle(&mut self, tag: u32, numbers: &[NumberRange]) {
        // What follows the last settlement that was not sent yet joins it.
        if self.last_sent.next() < self.next_seqno()
            && let Some(SessionOp::Settle { tag: last_tag, numbers: last }) =
                self.outstanding.back_mut().map(|last| &mut last.op)
            && *last_tag == tag
            && let [only] = numbers
            && let Some(range) = last.last_mut()
            && range.last + 1 == only.first
            && only.last - range.first < QUORUM_NUMBERS_MAX
        {
            range.last = only.last;
            return;
        }
        split_numbers(numbers).for_each(|numbers| self.push(SessionOp::Settle { tag, numbers }));
    }

    /// Deliveries go back.
    pub fn give_back(&mut self, tag: u32, numbers: &[NumberRange], how: ReturnKind) {
        split_numbers(numbers).for_each(|numbers| self.push(SessionOp::Return { tag, numbers, how }));
    }

    /// Deliveries are rejected for good.
    pub fn discard(&mut self, tag: u32, numbers: &[NumberRange]) {
        split_numbers(numbers).for_each(|numbers| self.push(SessionOp::Discard { tag, numbers }));
    }

    /// Ends a consumer. What came until now can still be settled; nothing comes any more.
    pub fn cancel(&mut self, tag: u32) {
        if let Some(subscription) = self.consumers.remove(&tag) {
            self.push(SessionOp::Cancel { tag, seen: DeliveryNumber(subscription.next.0 - 1) });
        }
    }

    /// Ends the session behind all that was asked before. All deliveries that are not settled go back.
    pub fn end(&mut self, events: &mut Vec<SessionEvent>) {
        if self.state != State::Open {
            return;
        }
        if self.next_seqno() == SessionSeqno(1) {
            return self.finish(SessionEvent::Ended, events);
        }
        self.push(SessionOp::End);
        self.consumers.clear();
        self.state = State::Ending;
    }

    /// Whether its end is on the way.
    pub fn is_ending(&self) -> bool {
        self.state == State::Ending
    }

    /// Takes out the messages that are not known to be in the queue, in order. The session is over.
    pub fn take_messages(&mut self) -> Vec<Unconfirmed> {
        self.state = State::Over;
        let (first, last_sent) = (self.first, self.last_sent);
        let left = self.outstanding.drain(..).enumerate().filter_map(|(at, left)| match left.op {
            SessionOp::Enqueue(facts) => {
                let was_sent = SessionSeqno(first.0 + at as u64) <= last_sent;
                Some(Unconfirmed { facts, payload: left.payload, token: left.token, was_sent })
            }
            SessionOp::Checkout(_)
            | SessionOp::Get { .. }
            | SessionOp::Credit { .. }
            | SessionOp::Settle { .. }
            | SessionOp::Return { .. }
            | SessionOp::Discard { .. }
            | SessionOp::Cancel { .. }
            | SessionOp::End => None,
        });
        let left = left.collect();
        (self.sent, self.outstanding_bytes, self.is_full, self.wants_sync) = (0, 0, false, false);
        self.consumers.clear();
        left
    }

    /// The same session under another name, of which the queue knows nothing.
    ///
    /// # Panics
    /// If the queue has applied anything of it.
    pub fn restart(&mut self, id: SessionId) {
        assert_eq!(self.first, SessionSeqno(1), "only a session of which nothing is known can get another number");
        self.id = id;
        self.sent = 0;
        self.resent_from = SessionSeqno(0);
    }

    /// Writes commands that are to be sent, up to about so many bytes. Whether there were any.
    pub fn write(&mut self, writer: &mut EntryWriter, bytes_max: usize) -> bool {
        let before = self.sent;
        while let Some(next) = self.outstanding.get(self.sent).filter(|_| writer.len() < bytes_max) {
            let seqno = SessionSeqno(self.first.0 + self.sent as u64);
            // A session that never began and one that has ended look the same to the queue: it ends when it is known to have begun.
            if next.op == SessionOp::End && self.first == SessionSeqno(1) {
                break;
            }
            writer.session(self.id, seqno, &next.op, &next.payload);
            self.sent += 1;
            self.last_sent = self.last_sent.max(seqno);
        }
        self.sent > before
    }

    /// What it wants to know from the leader, if anything; it is asked once.
    pub fn take_sync(&mut self) -> Option<Sync> {
        if !core::mem::take(&mut self.wants_sync) {
            return None;
        }
        let consumers = self.consumers.iter().map(|(tag, subscription)| (*tag, subscription.next)).collect();
        Some(Sync { session: self.id, consumers })
    }

    /// The queue has another leader, or the one it has was out of reach: whatever was under way may be lost.
    pub fn on_leader(&mut self) {
        if self.state != State::Over {
            self.resend_from(0);
            self.resent_from = SessionSeqno(0);
            self.wants_sync = true;
        }
    }

    /// Nothing came for some time.
    pub fn on_timeout(&mut self) {
        if self.is_waiting() {
            self.on_leader();
        }
    }

    /// Commands are applied.
    pub fn on_applied(&mut self, applied: &Applied, events: &mut Vec<SessionEvent>) {
        if applied.session != self.id {
            return;
        }
        self.is_full = applied.is_full;
        self.applied_up_to(applied.up_to, events);
    }

    /// A message comes.
    pub fn on_delivery(&mut self, delivery: &Delivery, events: &mut Vec<SessionEvent>) {
        if delivery.consumer.session != self.id {
            return;
        }
        let Some(subscription) = self.consumers.get(&delivery.consumer.tag) else { return };
        if delivery.number > subscription.next {
            // What is missing comes with the answer, and this one too.
            self.wants_sync = true;
        } else if delivery.number == subscription.next || self.is_planted(Mutant::QuorumDeliveredTwice) {
            self.accept(delivery, events);
        }
    }

    /// The leader says something else.
    pub fn on_notice(&mut self, notice: &Notice, events: &mut Vec<SessionEvent>) {
        match *notice {
            Notice::ResendFrom { session, seqno } if session == self.id => {
                if seqno == self.resent_from {
                    return;
                }
                self.resent_from = seqno;
                if let Some(at) = seqno.0.checked_sub(self.first.0).and_then(|at| usize::try_from(at).ok()) {
                    self.resend_from(at);
                }
            }
            Notice::Unknown { session } if session == self.id => self.on_unknown(events),
            Notice::Refused { session, seqno } if session == self.id => {
                let at = seqno.0.checked_sub(self.first.0).and_then(|at| usize::try_from(at).ok());
                if let Some(refused) = at.and_then(|at| self.outstanding.get_mut(at)) {
                    refused.is_refused = true;
                }
            }
            Notice::InUse { consumer } if consumer.session == self.id => {
                // Who asked for one message is answered in another way.
                if self.consumers.get(&consumer.tag).is_some_and(|it| it.get.is_none()) {
                    self.consumers.remove(&consumer.tag);
                    events.push(SessionEvent::InUse { tag: consumer.tag });
                }
            }
            Notice::Full { session, is_full } if session == self.id => self.is_full = is_full,
            Notice::Gone { session } if session == self.id => self.on_gone(events),
            Notice::GetEmpty { consumer } if consumer.session == self.id => self.get_empty(consumer.tag, events),
            Notice::TimedOut { consumer } if consumer.session == self.id => {
                if self.consumers.contains_key(&consumer.tag) {
                    events.push(SessionEvent::TimedOut { tag: consumer.tag });
                }
            }
            Notice::Drained { consumer, delivery_count } if consumer.session == self.id => {
                events.push(SessionEvent::Drained { tag: consumer.tag, delivery_count });
            }
            Notice::ResendFrom { .. }
            | Notice::Unknown { .. }
            | Notice::Refused { .. }
            | Notice::InUse { .. }
            | Notice::Full { .. }
            | Notice::Gone { .. }
            | Notice::GetEmpty { .. }
            | Notice::TimedOut { .. }
            | Notice::Drained { .. }
            | Notice::DeadLettersWait => {}
        }
    }

    /// The leader answers [`Session::take_sync`]. The answer may be of an earlier leader and say less than is known.
    pub fn on_sync(&mut self, answer: &SyncAnswer, events: &mut Vec<SessionEvent>) {
        if answer.session != self.id {
            return;
        }
        if answer.is_gone {
            return self.on_gone(events);
        }
        let next = answer.next.unwrap_or(SessionSeqno(1));
        if next < self.first {
            return;
        }
        self.is_full = answer.is_full;
        self.applied_up_to(SessionSeqno(next.0 - 1), events);
        for consumer in &answer.consumers {
            let Some(expected) = self.consumers.get(&consumer.tag).map(|it| it.next) else { continue };
            for delivery in consumer.deliveries.iter().filter(|delivery| delivery.number >= expected) {
                self.accept(delivery, events);
            }
            if let Some(subscription) = self.consumers.get_mut(&consumer.tag) {
                subscription.next = expected.max(consumer.next);
            }
            // What never came and was out for too long: nobody else would settle it.
            for range in consumer.timed_out.iter().filter(|range| range.last >= expected.0) {
                let first = range.first.max(expected.0);
                self.settle(consumer.tag, &[NumberRange { first, last: range.last }]);
            }
        }
        // Whoever had asked for one message when the queue answered, and has none, got none.
        for consumer in &answer.consumers {
            let asked = self.consumers.get(&consumer.tag).and_then(|it| it.get);
            if asked.is_some_and(|seqno| seqno < next) {
                self.get_empty(consumer.tag, events);
            }
        }
    }

    /// A link is lost to a queue that refuses messages one by one, and says so once: of what it may have seen and has not answered it may
    /// have refused any, and its word may be lost. What is published again may come twice; what is taken for safe would be gone.
    pub fn distrust(&mut self) {
        let seen = self.last_sent.next().0.saturating_sub(self.first.0);
        for (_, publish) in (0..seen).zip(&mut self.outstanding) {
            publish.is_refused = true;
        }
    }

    /// Switches on a bug in this session alone.
    #[cfg(test)]
    pub(super) fn plant(&mut self, mutant: Option<Mutant>) {
        self.planted = mutant;
    }

    fn is_planted(&self, mutant: Mutant) -> bool {
        cfg!(feature = "mutants") && (self.planted == Some(mutant) || is_planted(mutant))
    }

    fn next_seqno(&self) -> SessionSeqno {
        SessionSeqno(self.first.0 + self.outstanding.len() as u64)
    }

    fn subscribe(&mut self, no_ack: bool, get: Option<SessionSeqno>) -> u32 {
        let tag = self.next_tag;
        self.next_tag += 1;
        if self.state == State::Open {
            self.consumers.insert(tag, Subscription { next: DeliveryNumber(1), no_ack, get });
        }
        tag
    }

    fn push(&mut self, op: SessionOp) {
        if self.state == State::Open {
            self.outstanding.push_back(Outstanding { op, payload: Bytes::new(), token: 0, is_refused: false });
        }
    }

    /// Sends everything again from a position on.
    fn resend_from(&mut self, at: usize) {
        if self.is_planted(Mutant::QuorumLostResend) {
            return;
        }
        let at = if self.is_planted(Mutant::QuorumGapStall) { at + 1 } else { at };
        self.sent = self.sent.min(at);
    }

    fn applied_up_to(&mut self, up_to: SessionSeqno, events: &mut Vec<SessionEvent>) {
        while self.first <= up_to
            && let Some(done) = self.outstanding.pop_front()
        {
            self.first = self.first.next();
            self.sent = self.sent.saturating_sub(1);
            self.outstanding_bytes -= done.payload.len();
            match done.op {
                SessionOp::Enqueue(_) if done.is_refused => events.push(SessionEvent::Rejected(done.token)),
                SessionOp::Enqueue(_) => events.push(SessionEvent::Confirmed(done.token)),
                SessionOp::Checkout(checkout) if self.consumers.contains_key(&checkout.tag) => {
                    events.push(SessionEvent::Subscribed { tag: checkout.tag });
                }
                SessionOp::Cancel { tag, .. } => events.push(SessionEvent::Cancelled { tag }),
                SessionOp::Get { tag } => self.wants_sync |= self.consumers.contains_key(&tag),
                SessionOp::End => self.finish(SessionEvent::Ended, events),
                SessionOp::Checkout(_)
                | SessionOp::Credit { .. }
                | SessionOp::Settle { .. }
                | SessionOp::Return { .. }
                | SessionOp::Discard { .. } => {}
            }
        }
    }

    fn accept(&mut self, delivery: &Delivery, events: &mut Vec<SessionEvent>) {
        let tag = delivery.consumer.tag;
        let Some(subscription) = self.consumers.get_mut(&tag) else { return };
        subscription.next = subscription.next.max(delivery.number.next());
        let no_ack = subscription.no_ack;
        if subscription.get.is_some() {
            self.consumers.remove(&tag);
        }
        events.push(SessionEvent::Delivered(*delivery));
        if no_ack {
            self.settle(tag, &[NumberRange::one(delivery.number.0)]);
        }
    }

    fn get_empty(&mut self, tag: u32, events: &mut Vec<SessionEvent>) {
        if self.consumers.get(&tag).is_some_and(|it| it.get.is_some()) {
            self.consumers.remove(&tag);
            events.push(SessionEvent::GetEmpty { tag });
        }
    }

    fn on_unknown(&mut self, events: &mut Vec<SessionEvent>) {
        match self.state {
            // Nothing was applied, or its end would not have been sent: a later session of the node came first.
            State::Open | State::Ending if self.first == SessionSeqno(1) => events.push(SessionEvent::NeedsNumber),
            State::Open => {
                self.state = State::Over;
                events.push(SessionEvent::Fenced);
            }
            State::Ending => self.finish(SessionEvent::Ended, events),
            State::Over => {}
        }
    }

    fn on_gone(&mut self, events: &mut Vec<SessionEvent>) {
        if self.state != State::Over {
            self.finish(SessionEvent::Gone, events);
        }
    }

    /// Nothing follows. Of what was published last nobody can tell, unless the queue is gone.
    fn finish(&mut self, event: SessionEvent, events: &mut Vec<SessionEvent>) {
        self.state = State::Over;
        for left in self.outstanding.drain(..) {
            if matches!((&left.op, event), (SessionOp::Enqueue(_), SessionEvent::Gone)) {
                events.push(SessionEvent::Rejected(left.token));
            }
        }
        (self.sent, self.outstanding_bytes, self.is_full, self.wants_sync) = (0, 0, false, false);
        self.consumers.clear();
        events.push(event);
    }
}
