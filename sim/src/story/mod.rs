//! Stories: what became of each message, for queues with rules.
//!
//! Where messages expire, overflow and go round through dead-letter exchanges, no model outside of the node can know what is in a
//! queue at each moment. So nothing is predicted here. The story listens at the engine's boundary, like the model, and keeps for
//! each message what was seen of it: accepted, answered, delivered where and with which headers, acked or rejected. From that it
//! derives [`StoryFact`]s that are right or wrong in themselves: seen alive long after its time, delivered after a refusal, a count
//! in `x-death` that nothing accounts for, confirmed and never seen again.

mod death;
mod fact;
mod listen;
pub(crate) mod make;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) use self::death::Deaths;
pub(crate) use self::fact::{Reason, Short, StoryFact};
use self::listen::{Channel, Given};
use crate::clock::{ClockError, MILLISECOND, Micros, SECOND};
use crate::history::{Fact, QueueIndex};
use crate::message::{MessageInfo, MessageNumber, Messages};
use crate::plan::{Ending, Plan, QueueRules};

/// See the module.
#[derive(Debug)]
pub(crate) struct Story {
    queues: Vec<Held>,
    by_name: BTreeMap<Box<[u8]>, u32>,
    tales: Vec<Tale>,
    /// What is known of each stay of a message in a queue: the message, the queue, and how often it had died before.
    stays: BTreeMap<(MessageNumber, u32, u32), Stay>,
    channels: BTreeMap<(u32, u16), Channel>,
    /// The queues' names by the engine's numbers, and the messages by their places in them, as far as the engine says.
    ids: BTreeMap<u64, u32>,
    entries: BTreeMap<(u64, u64), MessageNumber>,
    /// What limits drove out in this step: the queue, the place and the message.
    driven_out: Vec<(u32, u64, MessageNumber)>,
    /// Places that messages left in this step, with the reason.
    left: BTreeMap<(u64, u64), Option<Reason>>,
    /// Deliveries of the current step. They are looked at when it is over, since within a step there is no order between connections.
    given: Vec<Given>,
    /// Connections told to wait, with the step of that.
    blocked: BTreeMap<u32, u64>,
    short: Short,
    /// Whether something was short at some time of this step, and whether nothing was.
    was_short: bool,
    was_enough: bool,
    /// The disk was full for other reasons, or may have been.
    maybe_full: bool,
    /// How far the node's wall clock was ever off.
    clock_error: ClockError,
    time: Micros,
    step: u64,
    crashes: u32,
    /// Ends of the node, in order or not.
    ends: u32,
    /// Consumers so far.
    consumers: u64,
    /// By consumer: the last message it got that a limit had driven out of a queue before anybody had it, with its place there.
    dropped: BTreeMap<u64, (u64, MessageNumber)>,
    /// The policy's limit, whether that is sure, and how many changes of it have no answer yet.
    policy_length_max: Option<u32>,
    is_policy_sure: bool,
    policies_asked: u32,
    /// Whether the run changes the policy at all.
    has_policies: bool,
    facts: Vec<Fact>,
}

/// A queue with its rules.
#[derive(Debug)]
struct Held {
    name: String,
    rules: QueueRules,
    /// Where its dead letters go, if they go anywhere.
    dead_target: Option<u32>,
    /// For a single active consumer: who got messages last.
    active: Option<(u32, u16, u64)>,
    /// Published, never delivered, and certainly there, if nothing but a delivery can take messages out: by priority, with the step
    /// they came in.
    waiting: BTreeSet<(u8, MessageNumber, u64)>,
    /// The message furthest back that the limit drove out, with its place.
    driven_out: Option<(u64, MessageNumber)>,
    /// Messages came back into the queue, or may have, since its length was looked at.
    is_stirred: bool,
    /// The step in which a consumer last went with its channel: what it had got in that step has been in other hands.
    stirred_in: Option<u64>,
    /// The steps of the last times when something may have come back that nobody saw, as many as its delivery limit.
    came_back_in: VecDeque<u64>,
    /// Whether a policy may limit it.
    may_be_limited: bool,
    /// Its length at the last look, and whether it had consumers.
    ready: u64,
    had_consumers: bool,
}

/// What was seen of one message.
#[derive(Clone, Debug, Default)]
struct Tale {
    /// When the node took it, and for which queue.
    accepted: Option<(Micros, u32)>,
    info: Option<MessageInfo>,
    /// Its place in that queue, as far as the engine says.
    place: Option<u64>,
    /// Its publisher's answer: whether it was positive.
    answer: Option<bool>,
    /// Some consumer acked it.
    is_acked: bool,
    /// The engine said that it left the queue it was published to for a reason of its own.
    has_left: bool,
    /// How often a consumer rejected it in each queue.
    rejects: BTreeMap<u32, u32>,
    /// A reject may not have been carried out.
    is_unsure: bool,
    /// Crashes, and ends of any kind, before it was accepted.
    crashes: u32,
    ends: u32,
    /// How it died first, by its headers.
    first_death: Option<(Vec<u8>, Vec<u8>)>,
}

/// See [`Story::stays`].
#[derive(Clone, Copy, Debug, Default)]
struct Stay {
    fresh: u32,
    is_settled: bool,
    crashes: u32,
}

/// How often a message may come back to a quorum queue that says nothing about it (RabbitMQ docs: Quorum Queues / poison messages).
const QUORUM_DELIVERY_LIMIT: u32 = 20;

/// How late a message may be seen alive after its time. What is offered to a consumer is looked at once more, so that only batches
/// and late timers lie between.
const LATE: Micros = 100 * MILLISECOND;
/// The longest that an exchange goes without comparing what it holds back with the wall clock, which may have been set.
const HOLD_LOOK: Micros = 10 * SECOND;

impl Story {
    /// The story of a run.
    pub(crate) fn new(plan: &Plan) -> Self {
        let topology = &plan.topology;
        let maybe_full = plan.faults.iter().any(|fault| fault.kind.takes_space());
        let index = |name: &str| {
            let at = topology.queues.iter().position(|queue| queue.name == name)?;
            u32::try_from(at).ok()
        };
        let may_be_limited = !plan.policies.is_empty();
        let queues = topology.queues.iter().map(|queue| {
            let rules = queue.rules.clone();
            let key = rules.dead_letter_key.as_deref().unwrap_or(&queue.name);
            let dead_target = rules.dead_letter_exchange.as_deref().and_then(|exchange| {
                if exchange.is_empty() {
                    return index(key);
                }
                let mut bound = topology.bindings.iter().filter(|it| it.source == exchange && it.key == key);
                let target = index(&bound.next()?.destination);
                // Where there are several ways, none is known.
                target.filter(|_| bound.next().is_none())
            });
            let name = queue.name.clone();
            Held {
                name,
                rules,
                dead_target,
                active: None,
                waiting: BTreeSet::new(),
                driven_out: None,
                is_stirred: false,
                stirred_in: None,
                came_back_in: VecDeque::new(),
                may_be_limited,
                ready: 0,
                had_consumers: false,
            }
        });
        let names = (0..).zip(&topology.queues).map(|(index, queue)| (queue.name.as_bytes().into(), index));
        Self {
            queues: queues.collect(),
            by_name: names.collect(),
            tales: Vec::new(),
            stays: BTreeMap::new(),
            channels: BTreeMap::new(),
            ids: BTreeMap::new(),
            entries: BTreeMap::new(),
            driven_out: Vec::new(),
            left: BTreeMap::new(),
            given: Vec::new(),
            blocked: BTreeMap::new(),
            short: Short::default(),
            was_short: false,
            was_enough: true,
            maybe_full,
            clock_error: ClockError::default(),
            time: 0,
            step: 0,
            crashes: 0,
            ends: 0,
            consumers: 0,
            dropped: BTreeMap::new(),
            policy_length_max: None,
            is_policy_sure: true,
            policies_asked: 0,
            has_policies: !plan.policies.is_empty(),
            facts: Vec::new(),
        }
    }

    /// The time of what is told next, by the node's own clock: that is what times to live are measured by.
    pub(crate) fn at(&mut self, time: Micros) {
        self.time = time;
    }

    /// The queues' names by their numbers in facts, for people.
    pub(crate) fn queue_names(&self) -> String {
        let names = self.queues.iter().enumerate();
        names.map(|(index, queue)| format!("q{index}={}", queue.name)).collect::<Vec<_>>().join(" ")
    }

    /// The name of one queue.
    pub(crate) fn queue_name(&self, queue: u32) -> String {
        self.queues.get(queue as usize).map_or_else(String::new, |queue| queue.name.clone())
    }

    /// Takes the facts derived since the last call.
    pub(crate) fn take_facts(&mut self, into: &mut Vec<Fact>) {
        into.append(&mut self.facts);
    }

    /// When every message that is held back or may still expire has come out, at the latest, if nothing happens from now on.
    pub(crate) fn patience(&self) -> Micros {
        let delays = self.tales.iter().filter_map(|tale| tale.info?.extras.delay_ms);
        let times = self.queues.iter().filter_map(|queue| queue.rules.message_ttl_ms);
        let longest = delays.max().max(times.max()).unwrap_or(0);
        let is_off = self.clock_error != ClockError::default();
        let delay = if is_off { self.clock_error.behind + HOLD_LOOK } else { 0 };
        4 * u64::from(longest) * MILLISECOND + 200 * MILLISECOND + delay
    }

    /// The node's wall clock was set. What it measures by that clock, which is what has to outlive a restart and what an exchange holds
    /// back, may be early or late by as much.
    pub(crate) fn clock_is_off_by(&mut self, error: ClockError) {
        self.clock_error = error;
    }

    /// The node is about to be told what it has left.
    pub(crate) fn shortages(&mut self, short: Short) {
        let before = std::mem::replace(&mut self.short, short);
        self.was_short |= short.is_any();
        self.was_enough |= !short.is_any();
        let blocked = self.blocked.len();
        self.tell(StoryFact::Measured { before, short, blocked });
    }

    /// An operator asks for another policy: until the answer nobody knows which one applies.
    pub(crate) fn policy_asked(&mut self) {
        self.is_policy_sure = false;
        self.policies_asked += 1;
    }

    /// An operator was told that the policy is this.
    pub(crate) fn policy_is(&mut self, length_max: Option<u32>) {
        self.policies_asked -= 1;
        self.policy_length_max = length_max;
        self.is_policy_sure = self.policies_asked == 0;
        // What is there stays there; the limit is for what comes.
        for queue in &mut self.queues {
            queue.is_stirred = true;
        }
    }

    /// Looks at the queues' lengths.
    pub(crate) fn look<'a>(&mut self, found: impl IntoIterator<Item = (&'a str, u64, u64)>) {
        for (name, ready, consumers) in found {
            let Some(&index) = self.by_name.get(name.as_bytes()) else { continue };
            let queue = &mut self.queues[index as usize];
            let was = std::mem::replace(&mut queue.ready, ready);
            let is_stirred = std::mem::take(&mut queue.is_stirred);
            let own = queue.rules.length_max;
            // The policy is for the queues that are published to; the smaller limit counts.
            let by_policy = self.policy_length_max.filter(|_| self.is_policy_sure && queue.name.starts_with('w'));
            let Some(limit) = own.into_iter().chain(by_policy).min() else { continue };
            let is_by_policy = own != Some(limit);
            // What comes back is not refused; only what is published is, and not for the sake of a consumer who could take it.
            let had_consumers = std::mem::replace(&mut queue.had_consumers, consumers > 0);
            let is_excused =
                queue.rules.rejects_publish && (is_stirred || had_consumers || consumers > 0 || ready <= was);
            if !is_excused {
                let (queue, limit) = (QueueIndex(index), u64::from(limit));
                self.tell(StoryFact::Length { queue, ready, limit, is_by_policy });
            }
        }
    }

    /// All queues were drained: what was promised should have come.
    pub(crate) fn drained(&mut self) {
        for (number, tale) in self.tales.iter().enumerate() {
            let Some((_, queue)) = tale.accepted else { continue };
            let Some(info) = tale.info.filter(|info| tale.answer == Some(true) && info.persistent) else { continue };
            let is_missing = !tale.is_acked
                && if self.may_vanish(tale, queue, &mut Vec::new()) {
                    // What a rule took leaves a record, which a crash may have come before.
                    if tale.crashes != self.crashes || info.extras.delay_ms.is_some() {
                        continue;
                    }
                    !tale.has_left
                } else {
                    true
                };
            let (message, queue) = (MessageNumber(u32::try_from(number).expect("numbers fit")), QueueIndex(queue));
            self.facts.push(Fact::Story(StoryFact::Accounted { message, queue, is_missing }));
        }
    }

    /// The node was restarted after all queues had been drained.
    pub(crate) fn restarted<'a>(&mut self, found: impl IntoIterator<Item = (&'a str, u64)>) {
        for (name, count) in found {
            if let Some(&queue) = self.by_name.get(name.as_bytes()) {
                self.tell(StoryFact::LeftOver { queue: QueueIndex(queue), count });
            }
        }
    }

    /// The node ended.
    pub(crate) fn ended(&mut self, how: Ending, by_itself: bool) {
        self.blocked.clear();
        // A change that was under way may or may not have been made.
        self.policies_asked = 0;
        let keys: Vec<(u32, u16)> = self.channels.keys().copied().collect();
        for key in keys {
            self.end_channel(key);
        }
        self.given.clear();
        self.left.clear();
        self.driven_out.clear();
        self.ends += 1;
        if how != Ending::Shutdown || by_itself {
            self.crashes += 1;
        }
        for queue in &mut self.queues {
            queue.is_stirred = true;
            queue.driven_out = None;
            let tales = &self.tales;
            // What nobody was promised may be gone.
            queue.waiting.retain(|(_, message, _)| {
                let tale = &tales[message.index()];
                tale.answer == Some(true) && tale.info.is_some_and(|info| info.persistent)
            });
        }
        self.step += 1;
    }

    /// Whether the rules allow that a message that is in this queue is never seen again.
    fn may_vanish(&self, tale: &Tale, queue: u32, seen: &mut Vec<u32>) -> bool {
        let held = &self.queues[queue as usize];
        let rules = &held.rules;
        if rules.expires_ms.is_some() {
            return true;
        }
        let is_first = seen.is_empty() || seen.first() == Some(&queue);
        let is_held_back = tale.info.is_some_and(|info| info.extras.delay_ms.is_some());
        if is_first && is_held_back && held.may_refuse() {
            // It was confirmed when it was held back. If its queue is full when it is due there is nobody left to tell, as in RabbitMQ.
            return true;
        }
        let has_expiration = is_first && tale.info.is_some_and(|info| info.extras.expiration_ms.is_some());
        let dies_by_itself = rules.message_ttl_ms.is_some()
            || has_expiration
            || ((rules.length_max.is_some() || self.has_policies) && !rules.rejects_publish)
            || rules.delivery_limit.is_some()
            || rules.is_quorum;
        if !dies_by_itself && !tale.rejects.contains_key(&queue) {
            return false;
        }
        let Some(target) = held.dead_target else { return true };
        if seen.contains(&queue) {
            // Round and round; it ends only where nobody need reject for that (RabbitMQ docs: Dead Letter Exchanges / cycles).
            return dies_by_itself;
        }
        let is_full = self.has_policies || self.queues[target as usize].rules.length_max.is_some();
        if !rules.at_least_once && is_full {
            return true;
        }
        seen.push(queue);
        self.may_vanish(tale, target, seen)
    }

    fn tale_mut(&mut self, message: MessageNumber) -> &mut Tale {
        if self.tales.len() <= message.index() {
            self.tales.resize_with(message.index() + 1, Tale::default);
        }
        &mut self.tales[message.index()]
    }

    fn tell(&mut self, fact: StoryFact) {
        self.facts.push(Fact::Story(fact));
    }

    /// When a message's time in the queue it was published to is over.
    fn due(&self, tale: &Tale) -> Option<Micros> {
        let (accepted, queue) = tale.accepted?;
        let extras = tale.info?.extras;
        if extras.delay_ms.is_some() {
            return None;
        }
        let own = self.queues[queue as usize].rules.message_ttl_ms;
        let ttl = match (own, extras.expiration_ms) {
            (Some(own), Some(its)) => own.min(its),
            (own, its) => own.or(its)?,
        };
        Some(accepted + u64::from(ttl) * MILLISECOND)
    }

    /// When a message that is due at `due` may be dead for that at the earliest: a wall clock that was set may have shortened its time
    /// since a restart.
    fn earliest_end(&self, tale: &Tale, due: Micros) -> Micros {
        if tale.ends == self.ends { due } else { due.saturating_sub(self.clock_error.forward) }
    }

    /// A delivery, at the end of its step.
    fn judge_given(&mut self, given: &Given) {
        let Given { message, queue, redelivered, ref deaths, no_ack, .. } = *given;
        if self.tales.get(message.index()).is_none_or(|tale| tale.accepted.is_none()) {
            return;
        }
        let key = (message, queue, deaths.total());
        let crashes = self.crashes;
        let stay = self.stays.entry(key).or_insert_with(|| Stay { crashes, ..Stay::default() });
        let before = *stay;
        stay.fresh += u32::from(!redelivered);
        stay.crashes = crashes;
        stay.is_settled = no_ack;
        let at = QueueIndex(queue);
        let tale = &self.tales[message.index()];
        let held = &self.queues[queue as usize];
        let (was_refused, tale_crashes, tale_ends) = (tale.answer == Some(false), tale.crashes, tale.ends);
        let has_died_here = deaths.entries.iter().any(|death| death.queue == held.name.as_bytes());
        let has_rejected = deaths.entries.iter().any(|death| death.reason == Reason::Rejected);
        let (due, accepted) = (self.due(tale), tale.accepted);
        let delay = tale.info.and_then(|info| info.extras.delay_ms);
        // The headers first: what is wrong with them is to be called so.
        if !deaths.entries.is_empty() {
            self.judge_deaths(given, due);
            self.judge_drop(given);
        }
        self.tell(StoryFact::Given {
            message,
            queue: at,
            redelivered,
            deaths: deaths.total(),
            fresh: before.fresh,
            was_settled: before.is_settled,
            was_refused,
            crashed_since: before.crashes != crashes || tale_crashes != crashes,
            has_died_here,
            has_rejected,
        });
        if deaths.entries.is_empty() {
            if !redelivered && before.fresh == 0 {
                self.judge_kept(message, queue);
            }
            let (seen, crashed_since) = (self.time, tale_crashes != crashes);
            let has_ended = tale_ends != self.ends;
            if let Some(due) = due {
                let due = due + LATE + if has_ended { self.clock_error.back } else { 0 };
                self.tell(StoryFact::Timed { message, queue: at, is_alive: true, due, seen, crashed_since });
            }
            if let Some((accepted, delay)) = accepted.map(|(accepted, _)| accepted).zip(delay) {
                let due = accepted + (u64::from(delay) * MILLISECOND).saturating_sub(self.clock_error.forward);
                self.tell(StoryFact::Delayed { message, due, seen, crashed_since });
            }
        }
        let tale = self.tale_mut(message);
        tale.is_acked |= no_ack;
    }

    fn judge_deaths(&mut self, given: &Given, due: Option<Micros>) {
        let Given { message, queue, ref deaths, .. } = *given;
        let tale = self.tales[message.index()].clone();
        let Some((_, front)) = tale.accepted else { return };
        let is_sure = tale.crashes == self.crashes && !tale.is_unsure;
        let mut sums = (0, 0);
        let mut seen = BTreeSet::new();
        let mut is_tidy = !deaths.has_expiration;
        for death in &deaths.entries {
            let index = self.by_name.get(&*death.queue).copied();
            is_tidy &= seen.insert((death.queue.clone(), death.reason));
            let rules = index.map(|index| &self.queues[index as usize].rules);
            let is_possible = index.zip(rules).is_some_and(|(index, rules)| {
                rules.dead_letter_exchange.is_some()
                    && match death.reason {
                        Reason::Expired => {
                            let expiration = tale.info.and_then(|info| info.extras.expiration_ms);
                            rules.message_ttl_ms.is_some() || (index == front && expiration.is_some())
                        }
                        Reason::MaxLength => rules.length_max.is_some() || self.has_policies,
                        Reason::Rejected => tale.rejects.contains_key(&index),
                        Reason::DeliveryLimit => rules.delivery_limit.is_some() || rules.is_quorum,
                        Reason::Removed | Reason::Unknown => false,
                    }
            });
            let known = index.and_then(|index| tale.rejects.get(&index)).copied().unwrap_or(0);
            let (least, most) = match death.reason {
                Reason::Rejected if is_sure => (known, known),
                Reason::Rejected => (1, known),
                _ => (1, u32::MAX),
            };
            match index {
                Some(index) if index == front => sums.0 += death.count,
                _ => sums.1 += death.count,
            }
            let fact = StoryFact::Died {
                message,
                queue: index.map(QueueIndex),
                reason: death.reason,
                count: death.count,
                least,
                most,
                is_possible,
            };
            self.tell(fact);
        }
        let first = deaths.first.clone();
        let is_same = tale.first_death.is_none() || tale.first_death == first || tale.crashes != self.crashes;
        let is_entry = first.as_ref().is_some_and(|(queue, reason)| {
            deaths.entries.iter().any(|death| death.queue == *queue && death.reason == Reason::parse(reason))
        });
        let newest = &deaths.entries[0];
        let last_agrees = deaths
            .last
            .as_ref()
            .is_some_and(|(queue, reason)| *queue == newest.queue && Reason::parse(reason) == newest.reason);
        self.tell(StoryFact::Marked {
            message,
            last_agrees,
            first_agrees: is_same && is_entry,
            is_tidy,
            front: sums.0,
            behind: sums.1,
            is_on_its_way: self.is_on_way(front, queue, deaths),
        });
        if let ([only], Some(due)) = (&deaths.entries[..], due)
            && only.reason == Reason::Expired
            && only.count == 1
        {
            let (queue, seen) = (QueueIndex(front), self.time);
            let crashed_since = tale.crashes != self.crashes;
            let due = self.earliest_end(&tale, due);
            self.tell(StoryFact::Timed { message, queue, is_alive: false, due, seen, crashed_since });
        }
        self.tale_mut(message).first_death = first;
    }

    /// Whether a message's deaths are those of the way from the queue it was published to to the one it is in: each queue's dead
    /// letters have one target, so that their number tells where it is and how often it died in each.
    fn is_on_way(&self, front: u32, queue: u32, deaths: &Deaths) -> bool {
        // More than a run can do.
        const DEATHS_MAX: u32 = 1_000_000;
        if deaths.total() > DEATHS_MAX {
            return false;
        }
        let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
        let mut at = front;
        for _ in 0..deaths.total() {
            *counts.entry(at).or_default() += 1;
            let held = &self.queues[at as usize];
            let Some(target) = held.dead_target else { return held.rules.dead_letter_exchange.is_some() };
            at = target;
        }
        for death in &deaths.entries {
            let Some(index) = self.by_name.get(&*death.queue) else { return false };
            let left = counts.get_mut(index).filter(|left| **left >= death.count);
            let Some(left) = left else { return false };
            *left -= death.count;
        }
        at == queue
    }

    /// Whether what a limit drove out of a queue comes in the order it was there. What a consumer had before may have come back later.
    fn judge_drop(&mut self, given: &Given) {
        let Given { message, redelivered: false, is_get: false, ref deaths, .. } = *given else { return };
        let [death] = &deaths.entries[..] else { return };
        let tale = &self.tales[message.index()];
        let (Some((_, front)), Some(place), Some(info)) = (tale.accepted, tale.place, tale.info) else { return };
        let held = &self.queues[front as usize];
        let is_plain = death.reason == Reason::MaxLength
            && death.count == 1
            && death.queue == held.name.as_bytes()
            // Places of messages that left may be given again after a restart.
            && tale.ends == self.ends
            && held.priority_of(&info).is_none()
            && !held.rules.at_least_once
            && !self.stays.contains_key(&(message, front, 0));
        if !is_plain {
            return;
        }
        if let Some((before_place, before)) = self.dropped.insert(given.consumer, (place, message)) {
            let queue = QueueIndex(front);
            self.tell(StoryFact::Dropped { message, queue, before, is_in_order: before_place < place });
        }
    }

    /// Whether what nobody had before stood in front of something that a limit drove out.
    fn judge_kept(&mut self, message: MessageNumber, queue: u32) {
        let (held, tale) = (&self.queues[queue as usize], &self.tales[message.index()]);
        let is_plain = tale.info.is_some_and(|info| held.priority_of(&info).is_none())
            && tale.accepted.is_some_and(|(_, front)| front == queue)
            && tale.crashes == self.crashes;
        let Some((place, (dropped_place, before))) = tale.place.zip(held.driven_out).filter(|_| is_plain) else {
            return;
        };
        let queue = QueueIndex(queue);
        self.tell(StoryFact::Dropped { message, queue, before, is_in_order: dropped_place < place });
    }

    /// Whether a message of lower priority went before one that waited.
    fn judge_order(&mut self, given: &[Given]) {
        for given in given {
            let queue = &self.queues[given.queue as usize];
            let is_disturbed = queue.stirred_in == Some(self.step);
            if given.redelivered || is_disturbed || !given.deaths.entries.is_empty() || !queue.has_stable_order() {
                continue;
            }
            let Some(info) = self.tales.get(given.message.index()).and_then(|tale| tale.info) else { continue };
            let Some(by_priority) = queue.priority_of(&info) else { continue };
            let waiting = queue.waiting.iter().rev().find(|(_, _, since)| *since < self.step);
            if let Some(&(priority, message, _)) = waiting {
                let queue = QueueIndex(given.queue);
                self.tell(StoryFact::Chosen { queue, message, priority, by: given.message, by_priority });
            }
        }
    }

    /// A queue has this number (reported by the engine).
    pub(crate) fn queue_is(&mut self, id: u64, name: &str) {
        if let Some(&queue) = self.by_name.get(name.as_bytes()) {
            self.ids.insert(id, queue);
        }
    }

    /// A message left a queue without an ack (reported by the engine).
    pub(crate) fn left(&mut self, place: (u64, u64), reason: Reason) {
        self.left.insert(place, Some(reason));
    }

    /// A message is settled (reported by the engine).
    pub(crate) fn settled(&mut self, place: (u64, u64)) {
        self.left.entry(place).or_insert(None);
    }

    /// What left its queue in this step.
    fn judge_left(&mut self) {
        for (place, reason) in std::mem::take(&mut self.left) {
            let Some(message) = self.entries.remove(&place) else { continue };
            let Some(&queue) = self.ids.get(&place.0) else { continue };
            let tale = &self.tales[message.index()];
            let was_answered = tale.is_acked || tale.rejects.contains_key(&queue);
            let (due, crashed_since) = (self.due(tale), tale.crashes != self.crashes);
            let earliest = due.map_or(0, |due| self.earliest_end(tale, due));
            self.tale_mut(message).has_left |= reason.is_some();
            if reason == Some(Reason::MaxLength) {
                self.driven_out.push((queue, place.1, message));
            }
            let queue = QueueIndex(queue);
            self.tell(StoryFact::Left { message, queue, reason, was_answered });
            if reason == Some(Reason::Expired) && due.is_some() {
                let (seen, due) = (self.time, earliest);
                self.tell(StoryFact::Timed { message, queue, is_alive: false, due, seen, crashed_since });
            }
        }
    }

    /// Something of which nobody can tell what it is took a place in a queue (reported by the engine). A crash may have freed it.
    pub(crate) fn occupied(&mut self, place: (u64, u64)) {
        self.entries.remove(&place);
    }

    /// A publish went into a queue (reported by the engine).
    pub(crate) fn enqueued(&mut self, (connection, number): (u32, u16), seqno: u64, place: (u64, u64)) {
        self.entries.remove(&place);
        let Some(channel) = self.channels.get(&(connection, number)) else { return };
        let Some(&message) = channel.unconfirmed.get(&seqno) else { return };
        self.entries.insert(place, message);
        let Some(tale) = self.tales.get_mut(message.index()) else { return };
        tale.place = Some(place.1);
        let (Some((_, queue)), Some(info)) = (tale.accepted, tale.info) else { return };
        let step = self.step;
        let held = &mut self.queues[queue as usize];
        if let Some(priority) = held.priority_of(&info)
            && info.extras.expiration_ms.is_none()
            && held.has_stable_order()
        {
            held.waiting.insert((priority, message, step));
        }
    }

    fn stay_mut(&mut self, message: MessageNumber, queue: u32, deaths: u32) -> &mut Stay {
        let crashes = self.crashes;
        self.stays.entry((message, queue, deaths)).or_insert_with(|| Stay { crashes, ..Stay::default() })
    }

    fn accept(&mut self, message: MessageNumber, queue: u32, messages: &Messages) {
        let (time, crashes, ends) = (self.time, self.crashes, self.ends);
        let info = messages.get(message).copied();
        let tale = self.tale_mut(message);
        *tale = Tale { accepted: Some((time, queue)), info, crashes, ends, ..Tale::default() };
        self.tell(StoryFact::Accepted { message, queue: QueueIndex(queue) });
    }
}

impl Held {
    /// Whether it may refuse a publish.
    pub(super) fn may_refuse(&self) -> bool {
        self.rules.rejects_publish && (self.rules.length_max.is_some() || self.may_be_limited)
    }

    /// The priority of a message in this queue, if it has priorities (RabbitMQ docs: Classic Queues Support Priorities; Quorum Queues).
    pub(super) fn priority_of(&self, info: &MessageInfo) -> Option<u8> {
        let asked = info.extras.priority;
        if self.rules.is_quorum {
            return Some(asked.unwrap_or(4).min(31));
        }
        self.rules.priority_max.map(|most| asked.unwrap_or(0).min(most))
    }

    /// Messages that were given unseen may come back in this step. One that did so more often than the delivery limit allows is dead, and
    /// may wait for its dead letter's confirm: only what came in since can still be sure to wait.
    fn may_come_back(&mut self, step: u64) {
        let default = self.rules.is_quorum.then_some(QUORUM_DELIVERY_LIMIT);
        let Some(limit) = self.rules.delivery_limit.or(default) else { return };
        self.came_back_in.push_back(step);
        if self.came_back_in.len() > limit as usize
            && let Some(first) = self.came_back_in.pop_front()
        {
            self.waiting.retain(|(.., since)| *since > first);
        }
    }

    /// Whether nothing but a delivery takes messages out.
    fn has_stable_order(&self) -> bool {
        let rules = &self.rules;
        rules.message_ttl_ms.is_none()
            && rules.length_max.is_none()
            && !self.may_be_limited
            && rules.expires_ms.is_none()
    }
}
