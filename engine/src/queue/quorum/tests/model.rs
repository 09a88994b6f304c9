//! The queue against a model of it that is written from the documents, as plainly as can be: lists that are searched.
//!
//! Random programs run on both. The model does not say which of several equal consumers is next (the documents say: in turn), but
//! whether the one that got a message might have got it, that no other ought to have, and that nothing is left that somebody wants.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec;
use alloc::vec::Vec;

use super::super::{
    Actions, Answer, Boot, Checkout, Command, ConsumerId, CreditMode, DeadLetters, DeathNumber, DelayedRetry, Delivery,
    DeliveryNumber, Enqueue, LogIndex, Meta, NodeId, Notice, NumberRange, Payload, QuorumQueue, ReturnKind, Rules,
    SessionId, SessionOp, SessionSeqno, Settings,
};
use super::Rng;
use crate::queue::LeaveReason;

/// A message. Its name is the entry that it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    name: u64,
    priority: u8,
    size: u64,
    expires_at: Option<u64>,
    failed: u16,
    acquired: u16,
}

#[derive(Debug)]
struct Taker {
    /// In which order consumers came; `None` for `basic.get` and those that were cancelled.
    consuming: Option<u64>,
    prefetch: Option<u32>,
    credit: u32,
    delivery_count: u32,
    priority: i64,
    timeout_ms: Option<u64>,
    next: u64,
    has: BTreeMap<u64, (Message, u64)>,
    timed_out: BTreeSet<u64>,
    is_exclusive: bool,
}

impl Taker {
    fn is_willing(&self) -> bool {
        let has_room = match self.prefetch {
            Some(prefetch) => self.has.len() < prefetch as usize,
            None => self.credit > 0,
        };
        self.consuming.is_some() && self.timed_out.is_empty() && has_room
    }
}

#[derive(Default)]
struct Model {
    settings: Settings,
    now: u64,
    ready: Vec<Message>,
    returned: VecDeque<Message>,
    delayed: Vec<(u64, Message)>,
    dead: Vec<(u64, Message, LeaveReason)>,
    deaths: u64,
    takers: BTreeMap<ConsumerId, Taker>,
    arrivals: u64,
    active: Option<ConsumerId>,
    suspected: BTreeMap<u64, u64>,
    is_full: bool,
    is_paused: bool,
    /// What left with this command: its name, why, and whether it goes to the dead-letter exchange.
    left: Vec<(u64, LeaveReason, bool)>,
    notices: Vec<Notice>,
    answers: Vec<Answer>,
}

impl Model {
    fn is_suspected(&self, consumer: ConsumerId) -> bool {
        self.suspected.contains_key(&consumer.session.node.0)
    }

    fn apply(&mut self, name: u64, wall: u64, command: &Command, deliveries: &[Delivery]) {
        self.now = self.now.max(wall);
        let mut deliveries = deliveries.iter().copied().collect::<VecDeque<_>>();
        let mut fresh = None;
        match command {
            Command::Session { session, op, .. } => self.session(name, *session, op, &mut fresh, &mut deliveries),
            Command::NodeSuspected { node } => {
                let known = self.takers.keys().any(|it| it.session.node == *node);
                if known {
                    self.suspected.entry(node.0).or_insert(self.now);
                }
            }
            Command::NodeUp { node, .. } => {
                self.suspected.remove(&node.0);
            }
            Command::Tick => self.tick(),
            Command::Update(settings) => {
                self.settings = Settings {
                    rules: if name == 1 { settings.rules } else { self.settings.rules },
                    single_active_consumer: self.settings.single_active_consumer
                        || name == 1 && settings.single_active_consumer,
                    ..(**settings).clone()
                };
                if self.settings.dead_letters != DeadLetters::AtLeastOnce {
                    let dead = core::mem::take(&mut self.dead);
                    self.left.extend(dead.into_iter().map(|(_, message, reason)| (message.name, reason, false)));
                }
            }
            Command::DeadLettered { deaths } => {
                let arrived = |number| deaths.iter().any(|range| range.first <= number && number <= range.last);
                self.dead.retain(|(number, ..)| !arrived(*number));
            }
            Command::Purge => {
                let count = self.ready.len() + self.returned.len() + self.delayed.len();
                self.ready.clear();
                self.returned.clear();
                self.delayed.clear();
                self.answers.push(Answer::Purged(count as u64));
            }
            Command::Pause { is_paused } => self.is_paused = *is_paused,
            Command::NodeDown { .. }
            | Command::Carry { .. }
            | Command::Bring { .. }
            | Command::Adopt { .. }
            | Command::Forsake { .. }
            | Command::DeletePrepare { .. } => {
                unreachable!("not in these programs")
            }
        }
        self.elect();
        self.settle_down(fresh, &mut deliveries);
        assert!(deliveries.is_empty(), "nobody ought to get {deliveries:?}");
        self.takers.retain(|_, taker| taker.consuming.is_some() || !taker.has.is_empty());
    }

    fn session(
        &mut self,
        name: u64,
        session: SessionId,
        op: &SessionOp,
        fresh: &mut Option<u64>,
        deliveries: &mut VecDeque<Delivery>,
    ) {
        match op {
            SessionOp::Enqueue(enqueue) => {
                let ttl = [enqueue.ttl_ms, self.settings.message_ttl_ms].into_iter().flatten().min();
                *fresh = Some(name);
                self.ready.push(Message {
                    name,
                    priority: match self.settings.rules {
                        Rules::Quorum => enqueue.priority.unwrap_or(4).min(31),
                        Rules::Classic { priority_max, .. } => enqueue.priority.unwrap_or(0).min(priority_max),
                    },
                    size: enqueue.size.into(),
                    expires_at: ttl.map(|ttl| self.now + ttl),
                    failed: 0,
                    acquired: 0,
                });
            }
            SessionOp::Checkout(checkout) => {
                let mut others = self.takers.values().filter(|taker| taker.consuming.is_some());
                let wants_it_alone = checkout.is_exclusive && self.is_classic();
                let is_shared = self.settings.single_active_consumer || others.clone().next().is_some();
                if others.any(|taker| taker.is_exclusive) || wants_it_alone && is_shared {
                    let consumer = session.consumer(checkout.tag);
                    return self.notices.push(Notice::InUse { consumer });
                }
                self.arrivals += 1;
                let prefetch = match checkout.credit {
                    CreditMode::Prefetch(0) => Some(2000),
                    CreditMode::Prefetch(prefetch) => Some(prefetch),
                    CreditMode::Granted => None,
                };
                let taker = Taker {
                    consuming: Some(self.arrivals),
                    prefetch,
                    credit: 0,
                    delivery_count: 0,
                    priority: checkout.priority,
                    timeout_ms: checkout.timeout_ms,
                    next: 1,
                    has: BTreeMap::new(),
                    timed_out: BTreeSet::new(),
                    is_exclusive: wants_it_alone,
                };
                self.takers.insert(session.consumer(checkout.tag), taker);
            }
            SessionOp::Get { tag } => self.get(session.consumer(*tag), deliveries),
            SessionOp::Credit { tag, credit, delivery_count, is_drain } => {
                let consumer = session.consumer(*tag);
                let Some(taker) = self.takers.get_mut(&consumer) else { return };
                if taker.prefetch.is_some() || taker.consuming.is_none() {
                    return;
                }
                taker.credit = (delivery_count + credit).saturating_sub(taker.delivery_count);
                if *is_drain {
                    self.elect();
                    self.deliver(None, deliveries);
                    let taker = self.takers.get_mut(&consumer).unwrap();
                    taker.delivery_count += core::mem::take(&mut taker.credit);
                    let delivery_count = taker.delivery_count;
                    self.notices.push(Notice::Drained { consumer, delivery_count });
                }
            }
            SessionOp::Settle { tag, numbers } => {
                self.take_out(session.consumer(*tag), numbers);
            }
            SessionOp::Return { tag, numbers, how } => {
                for message in self.take_out(session.consumer(*tag), numbers) {
                    self.come_back(message, *how);
                }
            }
            SessionOp::Discard { tag, numbers } => {
                for message in self.take_out(session.consumer(*tag), numbers) {
                    self.die(message, LeaveReason::Rejected);
                }
            }
            SessionOp::Cancel { tag, seen } => {
                let consumer = session.consumer(*tag);
                let Some(taker) = self.takers.get_mut(&consumer).filter(|it| it.consuming.is_some()) else { return };
                taker.consuming = None;
                taker.timed_out.clear();
                let unseen = NumberRange { first: seen.0 + 1, last: u64::MAX - 1 };
                for message in self.take_out(consumer, &[unseen]) {
                    self.come_back(message, ReturnKind::Requeued);
                }
            }
            SessionOp::End => {
                let consumers: Vec<ConsumerId> =
                    self.takers.keys().copied().filter(|it| it.session == session).collect();
                for consumer in consumers {
                    for message in self.take_out(consumer, &[NumberRange { first: 0, last: u64::MAX - 1 }]) {
                        self.come_back(message, ReturnKind::Failed);
                    }
                    self.takers.remove(&consumer);
                }
            }
        }
    }

    fn get(&mut self, consumer: ConsumerId, deliveries: &mut VecDeque<Delivery>) {
        self.expire(None);
        let is_possible = !self.is_paused && !self.settings.single_active_consumer;
        let Some(message) = is_possible.then(|| self.head()).flatten() else {
            return self.notices.push(Notice::GetEmpty { consumer });
        };
        let delivery = deliveries.pop_front().expect("who asks gets what is there");
        assert_eq!((delivery.consumer, delivery.body.index.0), (consumer, message.name));
        assert_eq!((delivery.number.0, delivery.failed, delivery.acquired), (1, message.failed, message.acquired));
        self.remove(message.name);
        let has = BTreeMap::from([(1, (message, self.now))]);
        let taker = Taker {
            consuming: None,
            prefetch: None,
            credit: 0,
            delivery_count: 1,
            priority: 0,
            timeout_ms: None,
            next: 2,
            has,
            timed_out: BTreeSet::new(),
            is_exclusive: false,
        };
        self.takers.insert(consumer, taker);
    }

    fn tick(&mut self) {
        let consumers: Vec<ConsumerId> = self.takers.keys().copied().collect();
        for &consumer in &consumers {
            let taker = self.takers.get_mut(&consumer).unwrap();
            let Some(timeout) = taker.timeout_ms.filter(|_| taker.consuming.is_some()) else { continue };
            let late: Vec<u64> = taker
                .has
                .iter()
                .filter(|(_, (_, since))| since + timeout <= self.now)
                .map(|(number, _)| *number)
                .collect();
            if late.is_empty() {
                continue;
            }
            self.notices.push(Notice::TimedOut { consumer });
            for number in late {
                let taker = self.takers.get_mut(&consumer).unwrap();
                let (message, _) = taker.has.remove(&number).unwrap();
                taker.timed_out.insert(number);
                self.come_back(message, ReturnKind::Requeued);
            }
        }
        for consumer in consumers {
            let since = self.suspected.get(&consumer.session.node.0);
            if since.is_some_and(|since| since + self.settings.disconnected_timeout_ms <= self.now) {
                for message in self.take_out_only(consumer) {
                    self.come_back(message, ReturnKind::Requeued);
                }
            }
        }
    }

    /// Everything that a taker has; what it had for too long it still has to settle.
    fn take_out_only(&mut self, consumer: ConsumerId) -> Vec<Message> {
        let taker = self.takers.get_mut(&consumer).unwrap();
        core::mem::take(&mut taker.has).into_values().map(|(message, _)| message).collect()
    }

    fn take_out(&mut self, consumer: ConsumerId, numbers: &[NumberRange]) -> Vec<Message> {
        let Some(taker) = self.takers.get_mut(&consumer) else { return Vec::new() };
        let is_named = |number: &u64| numbers.iter().any(|range| range.first <= *number && *number <= range.last);
        taker.timed_out.retain(|number| !is_named(number));
        let named: Vec<u64> = taker.has.keys().copied().filter(is_named).collect();
        named.into_iter().map(|number| taker.has.remove(&number).unwrap().0).collect()
    }

    fn come_back(&mut self, mut message: Message, how: ReturnKind) {
        message.acquired += 1;
        let is_failure = how == ReturnKind::Failed && (!self.is_classic() || self.settings.delivery_limit.is_some());
        message.failed += u16::from(is_failure);
        if self.settings.delivery_limit.is_some_and(|limit| message.failed > limit) {
            return self.die(message, LeaveReason::DeliveryLimit);
        }
        let DelayedRetry { failed, returned, min_ms, max_ms } = self.settings.delayed_retry;
        let delay = max_ms.min(min_ms * u64::from(message.failed.max(1)));
        if (is_failure && failed || !is_failure && returned) && delay > 0 {
            self.delayed.push((self.now + delay, message));
        } else {
            self.wait_again(message);
        }
    }

    /// In front of all others, or where it was.
    fn wait_again(&mut self, message: Message) {
        if self.is_classic() {
            self.ready.push(message);
            self.ready.sort_by_key(|message| message.name);
        } else {
            self.returned.push_back(message);
        }
    }

    fn is_classic(&self) -> bool {
        self.settings.rules != Rules::Quorum
    }

    /// What its priority counts for where one consumer is active at a time.
    fn rank(&self, taker: &Taker) -> i64 {
        if self.is_classic() { 0 } else { taker.priority }
    }

    fn die(&mut self, message: Message, reason: LeaveReason) {
        match self.settings.dead_letters {
            DeadLetters::Drop => self.left.push((message.name, reason, false)),
            DeadLetters::AtMostOnce => self.left.push((message.name, reason, true)),
            DeadLetters::AtLeastOnce => {
                self.deaths += 1;
                self.dead.push((self.deaths, message, reason));
            }
        }
    }

    fn head(&self) -> Option<Message> {
        let highest = self.ready.iter().map(|message| message.priority).max();
        let first = || self.ready.iter().find(|message| Some(message.priority) == highest);
        self.returned.front().or_else(first).cloned()
    }

    /// What could be next if all others were away: what came back first, or the first of each priority.
    fn heads(&self) -> Vec<Message> {
        let mut heads: Vec<Message> = self.returned.front().cloned().into_iter().collect();
        for priority in (0..=255).rev() {
            heads.extend(self.ready.iter().find(|message| message.priority == priority).cloned());
        }
        heads
    }

    fn remove(&mut self, name: u64) {
        self.returned.retain(|message| message.name != name);
        self.ready.retain(|message| message.name != name);
    }

    /// One that has just come with no time to live still has its chance.
    fn expire(&mut self, fresh: Option<u64>) {
        let is_over = |message: &Message, now| {
            let last = if Some(message.name) == fresh { now - 1 } else { now };
            message.expires_at.is_some_and(|at| at <= last)
        };
        while let Some(message) = self.heads().into_iter().find(|message| is_over(message, self.now)) {
            self.remove(message.name);
            self.die(message, LeaveReason::Expired);
        }
    }

    fn elect(&mut self) {
        if !self.settings.single_active_consumer {
            return;
        }
        let may = |consumer: &ConsumerId, taker: &Taker| {
            taker.consuming.is_some() && taker.timed_out.is_empty() && !self.is_suspected(*consumer)
        };
        let best = self
            .takers
            .iter()
            .filter(|(consumer, taker)| may(consumer, taker))
            .max_by_key(|(_, taker)| (self.rank(taker), core::cmp::Reverse(taker.consuming)))
            .map(|(consumer, taker)| (*consumer, self.rank(taker)));
        let active = self.active.and_then(|consumer| Some((consumer, self.takers.get(&consumer)?)));
        let active = active.filter(|(_, taker)| taker.consuming.is_some() && taker.timed_out.is_empty());
        self.active = match (active, best) {
            (Some((consumer, taker)), _) if self.is_suspected(consumer) && !taker.has.is_empty() => Some(consumer),
            (Some((consumer, taker)), Some((other, priority))) if !self.is_suspected(consumer) => {
                Some(if priority > self.rank(taker) && taker.has.is_empty() { other } else { consumer })
            }
            (_, best) => best.map(|(consumer, _)| consumer),
        };
    }

    /// The consumers of which one is to get the next message.
    fn candidates(&self) -> Vec<ConsumerId> {
        let may = |(consumer, taker): &(&ConsumerId, &Taker)| taker.is_willing() && !self.is_suspected(**consumer);
        if self.settings.single_active_consumer {
            let waits = |priority| {
                self.takers.iter().any(|(consumer, taker)| {
                    self.rank(taker) > priority
                        && taker.consuming.is_some()
                        && taker.timed_out.is_empty()
                        && !self.is_suspected(*consumer)
                })
            };
            let active = self.active.filter(|consumer| !waits(self.rank(&self.takers[consumer])));
            return active.into_iter().filter(|it| may(&(it, &self.takers[it]))).collect();
        }
        let highest = self.takers.iter().filter(may).map(|(_, taker)| taker.priority).max();
        let is_first = |(_, taker): &(&ConsumerId, &Taker)| Some(taker.priority) == highest;
        self.takers.iter().filter(may).filter(is_first).map(|(consumer, _)| *consumer).collect()
    }

    fn deliver(&mut self, fresh: Option<u64>, deliveries: &mut VecDeque<Delivery>) {
        while !self.is_paused {
            self.expire(fresh);
            let candidates = self.candidates();
            let Some(message) = self.head().filter(|_| !candidates.is_empty()) else { return };
            let delivery = deliveries.pop_front().expect("somebody wants what is there");
            assert!(candidates.contains(&delivery.consumer), "{} got it instead of {candidates:?}", delivery.consumer);
            self.remove(message.name);
            let taker = self.takers.get_mut(&delivery.consumer).unwrap();
            let expected = (taker.next, message.name, message.failed, message.acquired);
            assert_eq!((delivery.number.0, delivery.body.index.0, delivery.failed, delivery.acquired), expected);
            taker.has.insert(taker.next, (message, self.now));
            taker.next += 1;
            taker.delivery_count += 1;
            taker.credit = taker.credit.saturating_sub(1);
        }
    }

    fn settle_down(&mut self, fresh: Option<u64>, deliveries: &mut VecDeque<Delivery>) {
        // A stable sort keeps those of the same time in order.
        self.delayed.sort_by_key(|(due, _)| *due);
        while self.delayed.first().is_some_and(|(due, _)| *due <= self.now) {
            let (_, message) = self.delayed.remove(0);
            self.wait_again(message);
        }
        self.deliver(fresh, deliveries);
        self.expire(None);
        while !self.settings.rejects_publish && self.is_over() {
            let message = self.head().unwrap();
            self.remove(message.name);
            self.die(message, LeaveReason::MaxLength);
            self.expire(None);
        }
        let dead = self.dead.iter().map(|(_, message, _)| message.size);
        let delayed = self.delayed.iter().map(|(_, message)| message.size);
        let held: Vec<u64> = self.waiting().map(|message| message.size).chain(dead).chain(delayed).collect();
        let held = [(self.settings.length_max, held.len() as u64), (self.settings.length_max_bytes, held.iter().sum())];
        self.is_full = self.settings.rejects_publish
            && held.iter().any(|(max, held)| {
                let line = |max: u64| if self.is_full && !self.is_classic() { max * 4 / 5 + 1 } else { max };
                max.is_some_and(|max| *held >= line(max))
            });
    }

    fn waiting(&self) -> impl Iterator<Item = &Message> {
        self.returned.iter().chain(&self.ready)
    }

    fn is_over(&self) -> bool {
        let (len, bytes) = (self.waiting().count() as u64, self.waiting().map(|message| message.size).sum::<u64>());
        self.settings.length_max.is_some_and(|max| len > max)
            || self.settings.length_max_bytes.is_some_and(|max| bytes > max)
    }
}

/// A random program and both who run it.
struct Program {
    rng: Rng,
    queue: QuorumQueue,
    model: Model,
    index: u64,
    now: u64,
    /// Each session with its next command and tag.
    sessions: Vec<(SessionId, u64, u32)>,
    names: u64,
}

impl Program {
    fn new(seed: u64, rules: Rules) -> Self {
        let (queue, model) = (QuorumQueue::default(), Model::default());
        let mut program = Self { rng: Rng::new(seed), queue, model, index: 0, now: 1000, sessions: vec![], names: 0 };
        let mut settings = program.settings();
        settings.single_active_consumer = program.rng.percent(40);
        settings.rules = rules;
        program.step(&Command::Update(settings.into()));
        (0..4).for_each(|_| program.open());
        program
    }

    fn settings(&mut self) -> Settings {
        let rng = &mut self.rng;
        Settings {
            length_max: rng.percent(40).then(|| 1 + rng.below(12)),
            length_max_bytes: rng.percent(20).then(|| 10 + rng.below(100)),
            rejects_publish: rng.percent(50),
            message_ttl_ms: rng.percent(20).then(|| rng.below(300)),
            delivery_limit: rng.percent(50).then(|| u16::try_from(rng.below(4)).unwrap()),
            dead_letters: [DeadLetters::Drop, DeadLetters::AtMostOnce, DeadLetters::AtLeastOnce][rng.index(3).unwrap()],
            single_active_consumer: false,
            expires_ms: None,
            disconnected_timeout_ms: 50 + rng.below(300),
            delayed_retry: DelayedRetry {
                failed: rng.percent(30),
                returned: rng.percent(20),
                min_ms: rng.below(60),
                max_ms: rng.below(150),
            },
            rules: Rules::Quorum,
        }
    }

    fn open(&mut self) {
        self.names += 1;
        let node = NodeId(self.names % 3);
        self.sessions.push((SessionId { node, boot: Boot(1), number: self.names }, 1, 1));
        // It is known from here on.
        self.op(self.sessions.len() - 1, SessionOp::Settle { tag: 0, numbers: Vec::new().into() });
    }

    fn act(&mut self) {
        self.now += self.rng.below(20);
        let which = self.rng.index(self.sessions.len()).unwrap();
        match self.rng.below(100) {
            0..35 => {
                let rng = &mut self.rng;
                let enqueue = Enqueue {
                    size: u32::try_from(1 + rng.below(20)).unwrap(),
                    priority: rng.percent(40).then(|| u8::try_from(rng.below(40)).unwrap()),
                    ttl_ms: rng.percent(25).then(|| rng.below(100)),
                    is_persistent: rng.percent(50),
                    is_internal: false,
                    payload: Payload { at: 1, len: 1 },
                };
                self.op(which, SessionOp::Enqueue(enqueue));
            }
            35..43 => {
                let rng = &mut self.rng;
                let credit = match rng.below(4) {
                    0 => CreditMode::Granted,
                    _ => CreditMode::Prefetch(u32::try_from(1 + rng.below(4)).unwrap()),
                };
                let (priority, timeout_ms) =
                    (i64::try_from(rng.below(3)).unwrap(), rng.percent(40).then(|| 20 + rng.below(200)));
                let is_exclusive = self.model.settings.rules != Rules::Quorum && rng.percent(20);
                let tag = self.next_tag(which);
                self.op(which, SessionOp::Checkout(Checkout { tag, credit, priority, timeout_ms, is_exclusive }));
            }
            43..46 => {
                let tag = self.next_tag(which);
                self.op(which, SessionOp::Get { tag });
            }
            46..51 => {
                let (tag, _) = self.some_taker(which);
                let rng = &mut self.rng;
                let (credit, delivery_count) =
                    (u32::try_from(rng.below(6)).unwrap(), u32::try_from(rng.below(10)).unwrap());
                let is_drain = rng.percent(30);
                self.op(which, SessionOp::Credit { tag, credit, delivery_count, is_drain });
            }
            51..79 => {
                let (tag, next) = self.some_taker(which);
                let first = 1 + self.rng.below(next);
                let last = first + if self.rng.percent(60) { 0 } else { self.rng.below(5) };
                let numbers = [NumberRange { first, last }].into_iter().collect();
                let op = match self.rng.below(6) {
                    0 => SessionOp::Discard { tag, numbers },
                    1 => SessionOp::Return { tag, numbers, how: ReturnKind::Failed },
                    2 => SessionOp::Return { tag, numbers, how: ReturnKind::Requeued },
                    _ => SessionOp::Settle { tag, numbers },
                };
                self.op(which, op);
            }
            79..83 => {
                let (tag, next) = self.some_taker(which);
                let seen = DeliveryNumber(self.rng.below(next));
                self.op(which, SessionOp::Cancel { tag, seen });
            }
            83..85 => {
                self.op(which, SessionOp::End);
                self.sessions.remove(which);
                self.open();
            }
            85..87 => {
                let node = NodeId(self.rng.below(3));
                // The model knows nodes by their consumers.
                if self.model.takers.keys().any(|it| it.session.node == node) {
                    self.step(&Command::NodeSuspected { node });
                }
            }
            87..90 => {
                let node = NodeId(self.rng.below(3));
                self.step(&Command::NodeUp { node, boot: Boot(1) });
            }
            90..95 => {
                self.now += self.rng.below(100);
                self.step(&Command::Tick);
            }
            95 => {
                let settings = self.settings();
                self.step(&Command::Update(settings.into()));
            }
            96..98 => {
                let first = self.model.dead.first().map_or(1, |(number, ..)| *number);
                let last = first + self.rng.below(3);
                self.step(&Command::DeadLettered { deaths: [NumberRange { first, last }].into_iter().collect() });
            }
            98 => {
                let is_paused = self.rng.percent(40);
                self.step(&Command::Pause { is_paused });
            }
            _ => {
                if self.rng.percent(20) {
                    self.step(&Command::Purge);
                }
            }
        }
    }

    fn next_tag(&mut self, which: usize) -> u32 {
        self.sessions[which].2 += 1;
        self.sessions[which].2
    }

    /// One of a session's consumers, and its next delivery.
    fn some_taker(&mut self, which: usize) -> (u32, u64) {
        let session = self.sessions[which].0;
        let takers: Vec<(u32, u64)> = self
            .model
            .takers
            .iter()
            .filter(|(id, _)| id.session == session)
            .map(|(id, it)| (id.tag, it.next))
            .collect();
        self.rng.index(takers.len()).map_or((0, 1), |at| takers[at])
    }

    fn op(&mut self, which: usize, op: SessionOp) {
        let (session, seqno, _) = &mut self.sessions[which];
        let command = Command::Session { session: *session, seqno: SessionSeqno(*seqno), op };
        *seqno += 1;
        self.step(&command);
    }

    /// Lets both apply a command and compares.
    fn step(&mut self, command: &Command) {
        self.index += 1;
        let meta = Meta { index: LogIndex(self.index), wall_ms: self.now };
        let mut actions = Actions::default();
        self.queue.apply(meta, core::slice::from_ref(command), &mut actions);
        self.queue.check_invariants();
        self.model.apply(self.index, self.now, command, &actions.deliveries);
        let model = &mut self.model;
        let left: Vec<_> = actions.left.iter().map(|it| (it.body.index.0, it.reason, it.is_dead_letter)).collect();
        assert_eq!(left, core::mem::take(&mut model.left), "what left");
        let is_told = |it: &Notice| {
            matches!(
                it,
                Notice::GetEmpty { .. } | Notice::TimedOut { .. } | Notice::Drained { .. } | Notice::InUse { .. }
            )
        };
        let notices: Vec<Notice> = actions.notices.iter().copied().filter(is_told).collect();
        assert_eq!(notices, core::mem::take(&mut model.notices), "what is told");
        let answers: Vec<Answer> = actions.replies.iter().map(|reply| reply.answer).collect();
        assert_eq!(answers, core::mem::take(&mut model.answers), "what is answered");
        let dead: Vec<_> =
            self.queue.dead_letters(DeathNumber(0)).map(|it| (it.number.0, it.body.index.0, it.reason)).collect();
        let expected: Vec<_> =
            model.dead.iter().map(|(number, message, reason)| (*number, message.name, *reason)).collect();
        assert_eq!(dead, expected, "the dead");
        let stat = self.queue.stat();
        let held: Vec<_> = model.takers.values().flat_map(|taker| taker.has.values()).collect();
        let numbers = (model.waiting().count() as u64, model.delayed.len() as u64, held.len() as u64);
        assert_eq!((stat.ready, stat.delayed, stat.unacked), numbers, "ready, delayed, unacked");
        assert_eq!(stat.unacked_bytes, held.iter().map(|(message, _)| message.size).sum::<u64>());
        assert_eq!(stat.is_full, model.is_full, "full");
        let consuming = model.takers.values().filter(|taker| taker.consuming.is_some()).count();
        assert_eq!((stat.consumers, stat.active), (consuming as u64, model.active), "consumers and the active one");
        let is_abandoned = matches!(model.settings.rules, Rules::Classic { auto_delete: true, .. });
        assert_eq!(self.queue.is_abandoned(), is_abandoned && consuming == 0 && model.arrivals > 0, "abandoned");
        let live: BTreeSet<u64> = model.waiting().map(|it| it.name).collect();
        assert!(live.iter().all(|name| self.queue.needed(LogIndex(*name))), "bodies that wait are needed");
    }
}

fn check(rules: impl Fn(u64) -> Rules) {
    for seed in 0..200 {
        let mut program = Program::new(seed, rules(seed));
        let run = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| (0..300).for_each(|_| program.act())));
        assert!(run.is_ok(), "seed {seed} fails at command {}", program.index);
    }
}

#[test]
fn random_programs_agree_with_the_model() {
    check(|_| Rules::Quorum);
}

#[test]
fn random_programs_of_classic_queues_agree_with_the_model() {
    check(|seed| {
        let priority_max = [0, 9, 255][usize::try_from(seed % 3).unwrap()];
        Rules::Classic { priority_max, auto_delete: seed % 2 == 0 }
    });
}
