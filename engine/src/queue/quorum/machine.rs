//! The replicated state of one quorum queue, and what each command does to it.

use super::action::{Actions, Answer, Applied, Notice, Reply};
use super::command::{Checkout, Command, CreditMode, Enqueue, Numbers, ReturnKind, SessionOp};
use super::dead::Dead;
use super::delayed::Delayed;
use super::ids::{ConsumerId, DeliveryNumber, LogIndex, NodeId, SessionId, SessionSeqno};
use super::live::Live;
use super::read::Sync;
use super::roster::{Admission, Roster};
use super::settings::{Rules, Settings};
use super::slot::{BodyPlace, Slot};
use super::taker::Taker;
use crate::collections::Directory;
use crate::ids::QueueSeq;
use crate::limits::QUORUM_PREFETCH_MAX;
use crate::mutants::{Mutant, is_planted};
use crate::queue::consumers::{Consumer, Consumers};
use crate::queue::ready::Ready;

/// One quorum queue, as every member of its group has it.
///
/// A message is in one of these places:
///
/// ```text
///            enqueue            deliver                     settle
///  publisher -------> ready -------------> with a taker -------------> gone
///                      ^ ^                    |    |
///                      | +--- delayed <-------+    | discard, too many failures
///                      +---- returned <-------+    |
///                      | expired, too many         v
///                      +-----------------------> dead -------> gone
/// ```
#[derive(Debug)]
pub struct QuorumQueue {
    pub(super) settings: Settings,
    /// The latest time of any entry, in milliseconds of the wall clock: it never goes back.
    pub(super) now: u64,
    /// The last entry that was applied.
    pub(super) applied: LogIndex,
    pub(super) next_seq: QueueSeq,
    pub(super) ready: Ready<Slot>,
    /// How many of the ready ones expire.
    pub(super) expiring: u64,
    pub(super) delayed: Delayed,
    pub(super) dead: Dead,
    pub(super) consumers: Consumers<ConsumerId>,
    pub(super) takers: Directory<ConsumerId, Taker>,
    /// Messages that takers have.
    pub(super) unacked: u64,
    /// Bytes of their bodies.
    pub(super) unacked_bytes: u64,
    pub(super) roster: Roster,
    pub(super) live: Live,
    /// Persistent messages.
    pub(super) persistent: u64,
    /// Whether settings ever came.
    pub(super) is_configured: bool,
    /// Whether publishers were told that it is full.
    pub(super) is_full: bool,
    pub(super) is_paused: bool,
    /// Whether it is about to be deleted.
    pub(super) is_deleting: bool,
    /// When somebody last consumed or got, in milliseconds of the wall clock.
    pub(super) used_at: u64,
    /// A planted bug of this queue alone.
    pub(super) planted: Option<Mutant>,
}

/// What an entry of the log says besides its commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Its place.
    pub index: LogIndex,
    /// The leader's wall clock when it took the entry, in milliseconds.
    pub wall_ms: u64,
}

impl Default for QuorumQueue {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            now: 0,
            applied: LogIndex(0),
            next_seq: QueueSeq(1),
            ready: Rules::default().ready(),
            expiring: 0,
            delayed: Delayed::default(),
            dead: Dead::default(),
            consumers: Consumers::default(),
            takers: Directory::default(),
            unacked: 0,
            unacked_bytes: 0,
            roster: Roster::default(),
            live: Live::default(),
            persistent: 0,
            is_configured: false,
            is_full: false,
            is_paused: false,
            is_deleting: false,
            used_at: 0,
            planted: None,
        }
    }
}

impl QuorumQueue {
    /// Applies one entry of the log: its commands in order, each as if it stood alone.
    ///
    /// # Panics
    /// If entries do not come in order.
    pub fn apply(&mut self, meta: Meta, commands: &[Command], actions: &mut Actions) {
        assert!(meta.index > self.applied, "entry {} was applied before {}", self.applied, meta.index);
        self.applied = meta.index;
        self.now = self.now.max(meta.wall_ms);
        let told_before = actions.applied.len();
        for (at, command) in commands.iter().enumerate() {
            let came_before = self.next_seq;
            self.apply_command(at, command, actions);
            self.settle_down(came_before, actions);
        }
        for applied in &mut actions.applied[told_before..] {
            applied.is_full = self.is_full;
        }
    }

    /// Whether it was told what it is like. Nothing else is to be applied before that.
    pub fn is_configured(&self) -> bool {
        self.is_configured
    }

    /// Whether these settings hold, but for what the first ones say for good.
    pub fn has_settings(&self, wanted: &Settings) -> bool {
        let (single_active_consumer, rules) = (self.settings.single_active_consumer, self.settings.rules);
        self.is_configured && self.settings == Settings { single_active_consumer, rules, ..wanted.clone() }
    }

    /// Switches on a bug in this queue alone.
    #[cfg(test)]
    pub(super) fn plant(&mut self, mutant: Option<Mutant>) {
        self.planted = mutant;
    }

    /// Whether this bug is switched on.
    pub(super) fn is_planted(&self, mutant: Mutant) -> bool {
        cfg!(feature = "mutants") && (self.planted == Some(mutant) || is_planted(mutant))
    }

    fn apply_command(&mut self, at: usize, command: &Command, actions: &mut Actions) {
        match command {
            Command::Session { session, seqno, op } => self.apply_session(*session, *seqno, op, actions),
            Command::NodeSuspected { node } => self.suspect(*node),
            Command::NodeUp { node, boot } => self.node_up(*node, *boot, actions),
            Command::NodeDown { node, boot } => self.node_down(*node, *boot, actions),
            Command::Tick => self.time_out(actions),
            Command::Update(settings) => self.update(settings, actions),
            Command::DeadLettered { deaths } => self.dead_lettered(deaths),
            Command::Carry { bodies } => self.carry(bodies),
            Command::Bring { messages } => self.bring(messages),
            Command::Adopt { sessions, consumers } => self.adopt(sessions, consumers, actions),
            Command::Forsake { session } => self.end_session(*session, ReturnKind::Requeued, actions),
            Command::Purge => {
                let answer = Answer::Purged(self.purge());
                actions.replies.push(Reply { command: at, answer });
            }
            Command::Pause { is_paused } => self.is_paused = *is_paused,
            Command::DeletePrepare { if_unused, if_empty } => {
                let answer = self.prepare_delete(*if_unused, *if_empty, actions);
                actions.replies.push(Reply { command: at, answer });
            }
        }
    }

    fn apply_session(&mut self, session: SessionId, seqno: SessionSeqno, op: &SessionOp, actions: &mut Actions) {
        if self.is_deleting {
            return actions.notify(Notice::Gone { session });
        }
        let session =
            if self.is_planted(Mutant::QuorumBootIgnored) { self.roster.name_today(session) } else { session };
        if self.roster.ends_former_life(session) {
            for former in self.roster.of_node(session.node, session.boot) {
                self.end_session(former, ReturnKind::Requeued, actions);
            }
            self.trust(session.node);
        }
        match self.roster.admit(session, seqno) {
            Admission::Next => {}
            Admission::Duplicate(next) => {
                if let SessionOp::Checkout(checkout) = op
                    && self.has_turned_away(session, checkout.tag)
                {
                    actions.notify(Notice::InUse { consumer: session.consumer(checkout.tag) });
                }
                return self.tell_applied(session, SessionSeqno(next.0 - 1), actions);
            }
            Admission::Gap(seqno) => return actions.notify(Notice::ResendFrom { session, seqno }),
            Admission::Unknown => return actions.notify(Notice::Unknown { session }),
        }
        match op {
            SessionOp::Enqueue(enqueue) => self.enqueue(enqueue),
            SessionOp::Checkout(checkout) => self.checkout(session, checkout, actions),
            SessionOp::Get { tag } => self.get(session, *tag, actions),
            SessionOp::Credit { tag, credit, delivery_count, is_drain } => {
                self.credit(session.consumer(*tag), *credit, *delivery_count, *is_drain, actions);
            }
            SessionOp::Settle { tag, numbers } => self.settle(session.consumer(*tag), numbers),
            SessionOp::Return { tag, numbers, how } => {
                self.give_back(session.consumer(*tag), numbers, *how, actions);
            }
            SessionOp::Discard { tag, numbers } => self.discard(session.consumer(*tag), numbers, actions),
            SessionOp::Cancel { tag, seen } => self.cancel(session.consumer(*tag), *seen, actions),
            SessionOp::End => self.end_session(session, ReturnKind::Failed, actions),
        }
        self.tell_applied(session, seqno, actions);
    }

    pub(super) fn tell_applied(&self, session: SessionId, up_to: SessionSeqno, actions: &mut Actions) {
        actions.apply(Applied { session, up_to, is_full: self.is_full });
    }

    fn enqueue(&mut self, enqueue: &Enqueue) {
        let Enqueue { size, priority, ttl_ms, is_persistent, is_internal: _, payload } = *enqueue;
        let ttl = match (ttl_ms, self.settings.message_ttl_ms) {
            (Some(own), Some(queue)) => Some(own.min(queue)),
            (own, queue) => own.or(queue),
        };
        let slot = Slot {
            body: BodyPlace { index: self.applied, at: payload.at, len: payload.len },
            seq: self.next_seq,
            expires_at: ttl.map_or(0, |ttl| self.now.saturating_add(ttl).max(1)),
            size,
            failed: 0,
            acquired: 0,
            priority: self.settings.rules.priority(priority),
            is_persistent,
        };
        self.keep(slot);
    }

    /// Puts a message behind all that are there.
    pub(super) fn keep(&mut self, slot: Slot) {
        self.next_seq = self.next_seq.next();
        self.live.hold(self.applied);
        self.persistent += u64::from(slot.is_persistent);
        self.expiring += u64::from(slot.expires_at != 0);
        self.ready.push(slot);
    }

    pub(super) fn checkout(&mut self, session: SessionId, checkout: &Checkout, actions: &mut Actions) {
        let Checkout { tag, credit, priority, timeout_ms, is_exclusive } = *checkout;
        if !self.claim_tag(session, tag) {
            return;
        }
        let id = session.consumer(tag);
        let is_exclusive = is_exclusive && self.settings.rules.is_classic();
        let is_shared = self.consumers.len() > 0 || self.consumers.is_single_active();
        if self.consumers.has_exclusive() || (is_exclusive && is_shared) {
            return actions.notify(Notice::InUse { consumer: id });
        }
        let prefetch = match credit {
            CreditMode::Prefetch(0) => QUORUM_PREFETCH_MAX,
            CreditMode::Prefetch(prefetch) => prefetch.min(QUORUM_PREFETCH_MAX),
            CreditMode::Granted => 0,
        };
        let mut consumer = Consumer::new(id, false, is_exclusive, prefetch).with_priority(priority);
        if credit == CreditMode::Granted {
            consumer = consumer.with_credit(0);
        }
        let key = self.consumers.add(consumer);
        self.takers.insert(id, Taker::new(Some(key), timeout_ms));
        if self.roster.is_suspected(session.node) {
            self.consumers.set_suspected(&[key], true);
        }
        self.used_at = self.now;
    }

    fn get(&mut self, session: SessionId, tag: u32, actions: &mut Actions) {
        self.used_at = self.now;
        let consumer = session.consumer(tag);
        let is_possible = self.claim_tag(session, tag) && !self.is_paused && !self.consumers.is_single_active();
        self.expire(self.next_seq, actions);
        let Some(slot) = is_possible.then(|| self.pop_ready()).flatten() else {
            return actions.notify(Notice::GetEmpty { consumer });
        };
        self.takers.insert(consumer, Taker::new(None, None));
        self.hand_out(consumer, slot, actions);
    }

    /// Whether a consumer came and was not taken. The session hears of that before it hears that the command is applied; what it may have
    /// missed it is told again.
    fn has_turned_away(&self, session: SessionId, tag: u32) -> bool {
        let is_known = self.roster.sessions.get(&session).is_some_and(|state| tag < state.next_tag);
        is_known && self.settings.rules.is_classic() && self.takers.get(&session.consumer(tag)).is_none()
    }

    /// Of the consumers that a session asks about, those that were not taken, and messages that were asked for and are settled.
    pub fn turned_away(&self, sync: &Sync) -> impl Iterator<Item = ConsumerId> {
        let tags = sync.consumers.iter().map(|(tag, _)| *tag);
        tags.filter(|tag| self.has_turned_away(sync.session, *tag)).map(|tag| sync.session.consumer(tag))
    }

    /// A session's consumers come in the order of their tags, so that none comes twice.
    pub(super) fn claim_tag(&mut self, session: SessionId, tag: u32) -> bool {
        match self.roster.sessions.get_mut(&session) {
            Some(state) if tag >= state.next_tag && tag < u32::MAX => {
                state.next_tag = tag + 1;
                true
            }
            _ => false,
        }
    }

    fn credit(
        &mut self,
        consumer: ConsumerId,
        credit: u32,
        delivery_count: u32,
        is_drain: bool,
        actions: &mut Actions,
    ) {
        let Some((taker, key)) = self.takers.get(&consumer).and_then(|taker| Some((taker, taker.key?))) else { return };
        if self.consumers.get(key).is_none_or(|consumer| consumer.credit().is_none()) {
            return;
        }
        // AMQP 1.0 §2.6.7: what was on its way when the client spoke has used its credit already. Counts wrap.
        let limit = delivery_count.wrapping_add(credit);
        let left = limit.wrapping_sub(taker.delivery_count);
        self.consumers.set_credit(key, if left > i32::MAX.cast_unsigned() { 0 } else { left });
        if !is_drain {
            return;
        }
        self.deliver(self.next_seq, actions);
        let lapsed = self.consumers.get(key).and_then(Consumer::credit).unwrap_or(0);
        self.consumers.set_credit(key, 0);
        if let Some(taker) = self.takers.get_mut(&consumer) {
            taker.delivery_count = taker.delivery_count.wrapping_add(lapsed);
            let delivery_count = taker.delivery_count;
            actions.notify(Notice::Drained { consumer, delivery_count });
        }
    }

    fn cancel(&mut self, consumer: ConsumerId, seen: DeliveryNumber, actions: &mut Actions) {
        let Some(taker) = self.takers.get_mut(&consumer) else { return };
        let Some(key) = taker.key.take() else { return };
        taker.timed_out.clear();
        self.consumers.remove(key);
        self.take_back_after(consumer, seen, ReturnKind::Requeued, actions);
        self.used_at = self.now;
    }

    /// Forgets a session; what it has comes back.
    pub(super) fn end_session(&mut self, session: SessionId, how: ReturnKind, actions: &mut Actions) {
        self.roster.sessions.remove(&session);
        let (first, last) = session.consumers();
        let consumers: alloc::vec::Vec<ConsumerId> = self.takers.keys_within(first, last).collect();
        for consumer in consumers {
            let Some(taker) = self.takers.get_mut(&consumer) else { continue };
            match taker.key.take() {
                Some(key) => {
                    self.consumers.remove(key);
                    self.used_at = self.now;
                }
                None if self.is_planted(Mutant::QuorumUnackedOrphaned) => continue,
                None => {}
            }
            self.take_back_after(consumer, DeliveryNumber(0), how, actions);
        }
    }

    /// A node's name stands for one that can be reached.
    pub(super) fn trust(&mut self, node: NodeId) {
        if let Some(state) = self.roster.nodes.get_mut(&node) {
            state.suspected_at = None;
        }
    }

    fn update(&mut self, settings: &Settings, actions: &mut Actions) {
        if !self.is_configured {
            // It begins here: before that nobody can have used it.
            self.used_at = self.now;
            if self.next_seq == QueueSeq(1) {
                (self.settings.rules, self.ready) = (settings.rules, settings.rules.ready());
            }
            if settings.single_active_consumer {
                self.consumers.make_single_active(!self.settings.rules.is_classic());
            }
        }
        let (single_active_consumer, rules) = (self.consumers.is_single_active(), self.settings.rules);
        self.settings = Settings { single_active_consumer, rules, ..settings.clone() };
        self.is_configured = true;
        self.drop_unkept_dead(actions);
    }

    fn purge(&mut self) -> u64 {
        let mut count = 0;
        while let Some(slot) = self.pop_ready() {
            self.forget(&slot);
            count += 1;
        }
        while let Some(slot) = self.delayed.pop_due(u64::MAX) {
            self.forget(&slot);
            count += 1;
        }
        count
    }

    fn prepare_delete(&mut self, if_unused: bool, if_empty: bool, actions: &mut Actions) -> Answer {
        if if_unused && self.consumers.len() > 0 {
            return Answer::InUse;
        }
        if if_empty && self.ready.len() > 0 {
            return Answer::NotEmpty;
        }
        self.is_deleting = true;
        for session in self.roster.sessions.keys() {
            actions.notify(Notice::Gone { session });
        }
        Answer::DeletePrepared(self.ready.len() as u64)
    }

    /// A message is gone: nothing has to be kept of it.
    pub(super) fn forget(&mut self, slot: &Slot) {
        self.live.release(slot.body.index);
        self.persistent -= u64::from(slot.is_persistent);
    }

    /// Takes out the next message.
    pub(super) fn pop_ready(&mut self) -> Option<Slot> {
        let head = self.ready.head()?;
        let slot = self.ready.pop(head)?;
        self.expiring -= u64::from(slot.expires_at != 0);
        Some(slot)
    }

    /// A session's deliveries were processed.
    fn settle(&mut self, consumer: ConsumerId, numbers: &Numbers) {
        let Some(taker) = self.takers.get_mut(&consumer) else { return };
        let mut settled = 0;
        for number in numbers.iter().flat_map(|range| range.iter()) {
            let Some(out) = taker.unacked.remove(number) else {
                taker.timed_out.remove(&number);
                continue;
            };
            settled += 1;
            self.unacked -= 1;
            self.unacked_bytes -= u64::from(out.slot.size);
            self.live.release(out.slot.body.index);
            self.persistent -= u64::from(out.slot.is_persistent);
        }
        self.on_settled(consumer, settled);
    }
}
