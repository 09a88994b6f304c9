//! A consumer: one channel, one queue, one or more consumers, and many ways to answer.

use leveret_engine::amqp::Method;
use leveret_engine::amqp::method::basic;
use leveret_engine::client::ClientEvent;

use super::Workload;
use super::script::{Script, bind, consume, declare_exchange, declare_queue, qos};
use crate::availability::Hunger;
use crate::client::{CHANNEL, Scope, Wish, short};
use crate::clock::{MILLISECOND, Micros};
use crate::plan::{AnswerPlan, ConsumerDeed, ConsumerPlan};
use crate::rng::{hits, scale};
use crate::sorted::Sorted;

/// See the module.
#[derive(Debug)]
pub(super) struct Consumer {
    plan: ConsumerPlan,
    script: Script,
    phase: Phase,
    answers: Answers,
    /// It asked for all that it has not answered; what comes before the answer comes again after it.
    is_recovering: bool,
    /// Deliveries in all.
    received: u64,
    /// Deliveries on this connection, and which act comes next.
    deliveries: u32,
    act: usize,
    acts_done: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Declaring,
    Binding,
    Consuming,
    Cancelling,
    Closing,
}

/// Deliveries that wait until the consumer has thought about them.
#[derive(Debug)]
pub(super) struct Answers {
    plan: AnswerPlan,
    /// Deliveries over the client's whole life: the ordinal of its chances.
    total: u64,
    thinking: Sorted<(Micros, u64, Verdict)>,
    /// Acks held back for a multiple one.
    held: u32,
    held_tag: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Ack,
    Requeue,
    Drop,
}

impl Answers {
    pub(super) fn new(plan: AnswerPlan) -> Self {
        Self { plan, total: 0, thinking: Sorted::default(), held: 0, held_tag: 0 }
    }

    /// A delivery came.
    pub(super) fn add(&mut self, scope: &mut Scope<'_>, tag: u64) {
        self.total += 1;
        let chance = |kind, ratio| hits(scope.fates.of(kind, self.total), ratio);
        if chance(10, self.plan.forget) {
            return;
        }
        // When all comes to an end everything is acked, or nothing ever would.
        let verdict = if scope.is_stopping {
            Verdict::Ack
        } else if chance(11, self.plan.requeue) {
            Verdict::Requeue
        } else if chance(12, self.plan.drop) {
            Verdict::Drop
        } else {
            Verdict::Ack
        };
        // And everybody is fast, since one that is slower than its timeout never gets done.
        let slowest = if scope.is_stopping { 0 } else { self.plan.think_us.1 };
        let think = scale(scope.fates.of(13, self.total), self.plan.think_us.0.min(slowest), slowest);
        if think == 0 {
            self.answer(scope, tag, verdict);
        } else {
            self.thinking.insert((scope.now + think, tag, verdict), ());
            scope.wake_after(think);
        }
    }

    /// Time has passed.
    pub(super) fn wake(&mut self, scope: &mut Scope<'_>) {
        while let Some((due, tag, verdict)) = self.thinking.first() {
            if due > scope.now {
                scope.wake_after(due - scope.now);
                return;
            }
            self.thinking.pop_first();
            self.answer(scope, tag, verdict);
        }
        if self.held > 0 {
            self.ack_held(scope);
        }
    }

    pub(super) fn clear(&mut self) {
        self.thinking.clear();
        self.held = 0;
        self.held_tag = 0;
    }

    fn answer(&mut self, scope: &mut Scope<'_>, tag: u64, verdict: Verdict) {
        match verdict {
            Verdict::Ack if self.plan.multiple > 1 => {
                self.held += 1;
                self.held_tag = self.held_tag.max(tag);
                if self.held >= self.plan.multiple {
                    self.ack_held(scope);
                } else {
                    scope.wake_after(3 * MILLISECOND);
                }
            }
            Verdict::Ack => {
                let _ = scope.machine.ack(CHANNEL, tag, false);
            }
            Verdict::Requeue | Verdict::Drop => {
                let requeue = verdict == Verdict::Requeue;
                if self.plan.nack {
                    let _ = scope.machine.nack(CHANNEL, tag, false, requeue);
                } else {
                    let _ = scope.machine.send(CHANNEL, basic::Reject { delivery_tag: tag, requeue });
                }
            }
        }
    }

    /// Acks all up to the last one held back, and with it whatever else is older: those need no answer any more.
    fn ack_held(&mut self, scope: &mut Scope<'_>) {
        let upto = self.held_tag;
        self.thinking.retain(|(_, tag, _)| tag > upto);
        let _ = scope.machine.ack(CHANNEL, upto, true);
        self.held = 0;
    }
}

impl Consumer {
    pub(super) fn new(plan: ConsumerPlan) -> Self {
        Self {
            answers: Answers::new(plan.answer),
            plan,
            script: Script::default(),
            phase: Phase::Declaring,
            is_recovering: false,
            received: 0,
            deliveries: 0,
            act: 0,
            acts_done: 0,
        }
    }

    fn start(&mut self, scope: &mut Scope<'_>) {
        self.phase = Phase::Declaring;
        let exchanges = scope.topology.exchanges.iter();
        let sources =
            exchanges.filter(|exchange| self.plan.bindings.iter().any(|binding| binding.source == exchange.name));
        let requests: Vec<Method> = sources.map(declare_exchange).chain([declare_queue(&self.plan.queue)]).collect();
        self.script.start(scope, requests);
    }

    fn answered(&mut self, scope: &mut Scope<'_>, method: &Method) {
        if let (Phase::Declaring, Method::QueueDeclareOk(declared)) = (self.phase, method) {
            let name = declared.queue.to_string_lossy().into_owned();
            self.phase = Phase::Binding;
            let mut requests: Vec<Method> = self.plan.bindings.iter().map(|binding| bind(binding, &name)).collect();
            if self.plan.prefetch > 0 {
                requests.push(qos(self.plan.prefetch, self.plan.global));
            }
            for consumer in 0..self.plan.consumers {
                let ConsumerPlan { no_ack, exclusive, priority, .. } = self.plan;
                requests.push(consume(&name, &format!("t{consumer}"), no_ack, exclusive, priority));
            }
            self.script.start(scope, requests);
            return;
        }
        if self.script.next(scope) {
            match self.phase {
                Phase::Declaring | Phase::Binding => self.phase = Phase::Consuming,
                Phase::Cancelling => self.start(scope),
                Phase::Consuming | Phase::Closing => {}
            }
        }
    }

    fn act(&mut self, scope: &mut Scope<'_>) {
        if self.phase != Phase::Consuming || scope.is_stopping {
            return;
        }
        let Some(act) = self.plan.acts.get(self.act).filter(|act| act.after <= self.deliveries) else { return };
        self.act += 1;
        self.acts_done = self.acts_done.max(self.act);
        match act.what {
            ConsumerDeed::Cancel => {
                self.phase = Phase::Cancelling;
                let cancel = |consumer: u16| {
                    basic::Cancel { consumer_tag: short(&format!("t{consumer}")), no_wait: false }.into()
                };
                let requests: Vec<Method> = (0..self.plan.consumers).map(cancel).collect();
                self.script.start(scope, requests);
            }
            ConsumerDeed::Recover => {
                self.answers.clear();
                self.is_recovering = true;
                let _ = scope.machine.send(CHANNEL, basic::Recover { requeue: true });
            }
            ConsumerDeed::CloseChannel => {
                self.phase = Phase::Closing;
                let _ = scope.machine.close_channel(CHANNEL);
            }
            ConsumerDeed::CloseConnection => scope.machine.close(),
            ConsumerDeed::Crash => scope.wish(Wish::Crash),
        }
    }
}

impl Workload for Consumer {
    fn connected(&mut self, scope: &mut Scope<'_>) {
        self.deliveries = 0;
        // What was done on an earlier connection is not done again, or a crash by plan would repeat for ever.
        self.act = self.acts_done;
        // The machine is ahead of the events: the connection may be over already.
        let _ = scope.machine.open_channel(CHANNEL);
    }

    fn event(&mut self, scope: &mut Scope<'_>, event: ClientEvent) {
        match event {
            ClientEvent::ChannelOpened { .. } => self.start(scope),
            ClientEvent::Method { method: Method::BasicRecoverOk(_), .. } => self.is_recovering = false,
            ClientEvent::Method { method, .. } => self.answered(scope, &method),
            ClientEvent::Delivery { delivery_tag, properties, body, .. } => {
                scope.verify(&properties, &body);
                self.deliveries += 1;
                self.received += 1;
                if !self.plan.no_ack && !self.is_recovering {
                    self.answers.add(scope, delivery_tag);
                }
                self.act(scope);
            }
            ClientEvent::ConsumerCancelled { .. } if self.phase == Phase::Consuming => self.start(scope),
            ClientEvent::ChannelClosed { is_by_server, .. } => {
                self.script.clear();
                self.answers.clear();
                self.is_recovering = false;
                self.phase = Phase::Closing;
                if is_by_server {
                    scope.wake_after(20 * MILLISECOND);
                } else if scope.machine.open_channel(CHANNEL).is_err() {
                    scope.wish(Wish::Crash);
                }
            }
            _ => {}
        }
    }

    fn wake(&mut self, scope: &mut Scope<'_>) {
        if !scope.machine.is_channel_open(CHANNEL) {
            let _ = scope.machine.open_channel(CHANNEL);
            return;
        }
        self.answers.wake(scope);
    }

    fn lost(&mut self, _now: Micros) {
        self.script.clear();
        self.answers.clear();
        self.is_recovering = false;
        self.phase = Phase::Declaring;
    }

    fn hunger(&self) -> Option<Hunger<'_>> {
        let ConsumerPlan { queue, acts, .. } = &self.plan;
        // One that forgets to answer, or goes on purpose, has itself to blame.
        let is_steady = acts.is_empty() && !self.answers.plan.forget.is_possible();
        let is_idle = self.answers.thinking.is_empty() && self.answers.held == 0;
        is_steady.then_some(Hunger { queue: &queue.name, received: self.received, is_idle })
    }
}
