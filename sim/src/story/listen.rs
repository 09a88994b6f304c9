//! What clients and node say to each other, as far as it belongs to a message's story.

use std::collections::BTreeMap;

use super::{Deaths, Story};
use crate::history::QueueIndex;
use crate::message::{MessageNumber, Messages};
use crate::story::StoryFact;
use crate::tap::{Said, split_routing};

/// One life of one channel.
#[derive(Debug, Default)]
pub(super) struct Channel {
    /// The number of the last publish in confirm mode; `None` before that.
    last_seqno: Option<u64>,
    /// Publishes without an answer.
    pub(super) unconfirmed: BTreeMap<u64, MessageNumber>,
    consumers: Vec<Consumer>,
    /// Deliveries without an answer.
    unacked: BTreeMap<u64, Out>,
    /// A request waits for its answer: what is said behind it may wait with it.
    waits: bool,
    /// What was answered in this step: it counts once the step is over, since the channel may turn out to be closed already.
    answered: Vec<(Out, bool)>,
    is_closing: bool,
    /// The queue of a `basic.get` under way.
    get: Option<(u32, bool)>,
}

#[derive(Debug)]
struct Consumer {
    /// Its number among all consumers of the run.
    number: u64,
    tag: Box<[u8]>,
    queue: u32,
    no_ack: bool,
    priority: i64,
    /// The step in which the node said that it is there.
    since: Option<u64>,
    is_gone: bool,
}

/// A message out with a consumer.
#[derive(Clone, Copy, Debug)]
struct Out {
    message: MessageNumber,
    queue: u32,
    deaths: u32,
    /// The consumer's number; 0 for a `basic.get`.
    consumer: u64,
}

/// A delivery.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) connection: u32,
    pub(super) channel: u16,
    /// The consumer's number among all.
    pub(super) consumer: u64,
    pub(super) message: MessageNumber,
    pub(super) queue: u32,
    pub(super) redelivered: bool,
    pub(super) no_ack: bool,
    pub(super) is_get: bool,
    pub(super) deaths: Deaths,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ack,
    Requeue,
    Reject,
}

impl Story {
    /// The client says something.
    pub(crate) fn client_says(&mut self, connection: u32, number: u16, said: Said<'_>, messages: &Messages) {
        let key = (connection, number);
        match said {
            Said::ConnectionClose { .. } | Said::ConnectionCloseOk => return self.disconnected(connection),
            Said::ChannelOpen => {
                self.channels.entry(key).or_default();
                return;
            }
            Said::ChannelClose { .. } | Said::ChannelCloseOk => return self.end_channel(key),
            _ => {}
        }
        let Some(channel) = self.channels.get_mut(&key).filter(|channel| !channel.is_closing) else { return };
        match said {
            Said::ConfirmSelect => {
                channel.waits = true;
                channel.last_seqno = Some(0);
            }
            Said::Publish { routing, message, .. } => {
                let seqno = channel.last_seqno.as_mut().map(|seqno| {
                    *seqno += 1;
                    *seqno
                });
                let Some(message) = message else { return };
                if let Some(seqno) = seqno {
                    channel.unconfirmed.insert(seqno, message);
                }
                let (_, routing_key) = split_routing(routing);
                if self.blocked.get(&connection).is_some_and(|since| *since < self.step) {
                    self.tell(StoryFact::TakenWhileBlocked { connection, message });
                }
                if let Some(&queue) = self.by_name.get(routing_key) {
                    self.accept(message, queue, messages);
                }
            }
            Said::Consume { queue, tag, no_ack, priority } => {
                channel.waits = true;
                if let Some(&queue) = self.by_name.get(queue) {
                    self.consumers += 1;
                    let number = self.consumers;
                    let (tag, since, is_gone) = (tag.into(), None, false);
                    channel.consumers.push(Consumer { number, tag, queue, no_ack, priority, since, is_gone });
                }
            }
            Said::Get { queue, no_ack } => channel.get = self.by_name.get(queue).map(|&queue| (queue, no_ack)),
            Said::Cancel { tag } => {
                channel.waits = true;
                if let Some(queue) = channel.forget_consumer(tag) {
                    self.queues[queue as usize].is_stirred = true;
                }
            }
            Said::Ack { tag, multiple } => self.answer(key, tag, multiple, Verdict::Ack),
            Said::Nack { tag, multiple, requeue } => {
                self.answer(key, tag, multiple, if requeue { Verdict::Requeue } else { Verdict::Reject });
            }
            Said::Recover => {
                channel.waits = true;
                self.answer(key, 0, true, Verdict::Requeue);
            }
            Said::QueueDeclare { .. }
            | Said::QueueBind { .. }
            | Said::QueueDelete { .. }
            | Said::QueuePurge { .. }
            | Said::ExchangeDeclare { .. }
            | Said::Qos { .. } => channel.waits = true,
            _ => {}
        }
    }

    /// The node says something.
    pub(crate) fn node_says(&mut self, connection: u32, number: u16, said: Said<'_>) {
        let key = (connection, number);
        match said {
            Said::ConnectionClose { .. } => return self.disconnected(connection),
            Said::Blocked | Said::Unblocked => return self.blocked(connection, said == Said::Blocked),
            _ => {}
        }
        let Some(channel) = self.channels.get_mut(&key) else { return };
        let given = |message, queue, redelivered, no_ack, properties, consumer, is_get| Given {
            connection,
            channel: number,
            consumer,
            message,
            queue,
            redelivered,
            no_ack,
            is_get,
            deaths: Deaths::of(properties),
        };
        match said {
            Said::ChannelClose { code, .. } => {
                channel.is_closing = true;
                self.tell(StoryFact::Shut { connection, channel: number, code });
                self.end_channel(key);
            }
            Said::Ack { tag, multiple } => self.outcome(key, tag, multiple, true),
            Said::Nack { tag, multiple, .. } => self.outcome(key, tag, multiple, false),
            Said::Deliver { consumer, tag, redelivered, message, properties } => {
                let known = channel.consumers.iter().rev().find(|known| *known.tag == *consumer);
                let (Some(known), Some(message)) = (known, message) else { return };
                let given = given(message, known.queue, redelivered, known.no_ack, properties, known.number, false);
                if !given.no_ack {
                    let (consumer, deaths) = (given.consumer, given.deaths.total());
                    let out = Out { message, queue: given.queue, deaths, consumer };
                    channel.unacked.insert(tag, out);
                }
                self.given.push(given);
            }
            Said::GetOk { tag, redelivered, message, properties, .. } => {
                let (Some((queue, no_ack)), Some(message)) = (channel.get.take(), message) else { return };
                let given = given(message, queue, redelivered, no_ack, properties, 0, true);
                if !given.no_ack {
                    channel.unacked.insert(tag, Out { message, queue, deaths: given.deaths.total(), consumer: 0 });
                }
                self.given.push(given);
            }
            Said::GetEmpty => channel.get = None,
            Said::Cancel { tag } => {
                // It may have held something for too long: then all that it had goes back.
                let queue = channel.consumers.iter().rev().find(|known| *known.tag == *tag).map(|known| known.queue);
                let unsure = channel.take_back(tag);
                if let Some(queue) = queue {
                    self.queues[queue as usize].may_come_back(self.step);
                    self.tell(StoryFact::Dismissed { connection, queue: QueueIndex(queue) });
                }
                for out in unsure {
                    self.tale_mut(out.message).is_unsure = true;
                    self.queues[out.queue as usize].is_stirred = true;
                }
            }
            Said::Done { .. } | Said::QueueDeclareOk { .. } => {
                channel.waits = false;
                // Each request waits for the answer to the one before.
                for consumer in &mut channel.consumers {
                    consumer.since.get_or_insert(self.step);
                }
            }
            _ => {}
        }
    }

    fn blocked(&mut self, connection: u32, is_blocked: bool) {
        if is_blocked {
            self.blocked.insert(connection, self.step);
        } else {
            self.blocked.remove(&connection);
        }
        let (short, was_short, was_enough) = (self.short, self.was_short, self.was_enough);
        let maybe_full = self.maybe_full;
        self.tell(StoryFact::Blocked { connection, is_blocked, short, was_short, was_enough, maybe_full });
    }

    /// A connection is over for the node.
    pub(crate) fn disconnected(&mut self, connection: u32) {
        self.blocked.remove(&connection);
        let keys: Vec<(u32, u16)> =
            self.channels.range((connection, 0)..=(connection, u16::MAX)).map(|(key, _)| *key).collect();
        for key in keys {
            self.end_channel(key);
        }
    }

    /// The engine was flushed: what it was told before and what it said are one step.
    pub(crate) fn end_step(&mut self) {
        if !self.left.is_empty() {
            self.judge_left();
        }
        if !self.given.is_empty() {
            let mut given = std::mem::take(&mut self.given);
            for given in &given {
                if let Some(info) = self.tales.get(given.message.index()).and_then(|tale| tale.info) {
                    let held = &mut self.queues[given.queue as usize];
                    let priority = held.priority_of(&info).unwrap_or(0);
                    let range = (priority, given.message, 0)..=(priority, given.message, u64::MAX);
                    if let Some(&waiting) = held.waiting.range(range).next() {
                        held.waiting.remove(&waiting);
                    }
                }
            }
            self.judge_order(&given);
            self.judge_active(&given);
            for given in &given {
                self.judge_given(given);
            }
            given.clear();
            self.given = given;
        }
        for (queue, place, message) in self.driven_out.drain(..) {
            let furthest = &mut self.queues[queue as usize].driven_out;
            *furthest = (*furthest).max(Some((place, message)));
        }
        let mut answered = Vec::new();
        for channel in self.channels.values_mut() {
            answered.append(&mut channel.answered);
        }
        for (out, is_settled) in answered {
            let may_be_late = self.queues[out.queue as usize].rules.consumer_timeout_ms.is_some();
            let is_settled = is_settled && !may_be_late;
            self.stay_mut(out.message, out.queue, out.deaths).is_settled |= is_settled;
        }
        self.was_short = self.short.is_any();
        self.was_enough = !self.was_short;
        self.step += 1;
    }

    pub(super) fn end_channel(&mut self, key: (u32, u16)) {
        let Some(channel) = self.channels.remove(&key) else { return };
        for out in channel.unacked.values() {
            self.queues[out.queue as usize].is_stirred = true;
        }
        for consumer in channel.consumers.iter().filter(|consumer| !consumer.is_gone) {
            // What was being read for it, or given to it in this step, comes back without having been seen.
            let queue = &mut self.queues[consumer.queue as usize];
            queue.is_stirred = true;
            queue.stirred_in = Some(self.step);
        }
        // So may what a consumer got that was cancelled since, and what is the answer to a get.
        let unseen = channel.consumers.iter().map(|consumer| consumer.queue).chain(channel.get.map(|(queue, _)| queue));
        for queue in unseen {
            self.queues[queue as usize].may_come_back(self.step);
        }
        for (out, _) in channel.answered {
            self.tale_mut(out.message).is_unsure = true;
        }
    }

    fn answer(&mut self, key: (u32, u16), tag: u64, multiple: bool, verdict: Verdict) {
        let Some(channel) = self.channels.get_mut(&key) else { return };
        let waits = channel.waits;
        let outs = channel.take_unacked(tag, multiple);
        let is_settled = verdict != Verdict::Requeue && !waits;
        channel.answered.extend(outs.iter().map(|out| (*out, is_settled)));
        for out in outs {
            // A message that was out for too long has gone back already, and nobody is told where the consumer had been cancelled.
            let may_be_late = self.queues[out.queue as usize].rules.consumer_timeout_ms.is_some();
            let tale = self.tale_mut(out.message);
            tale.is_unsure |= waits || may_be_late;
            match verdict {
                Verdict::Ack => tale.is_acked = true,
                Verdict::Reject => *tale.rejects.entry(out.queue).or_default() += 1,
                Verdict::Requeue => {}
            }
            if verdict == Verdict::Requeue {
                self.queues[out.queue as usize].is_stirred = true;
            }
        }
    }

    fn outcome(&mut self, key: (u32, u16), tag: u64, multiple: bool, is_ack: bool) {
        let Some(channel) = self.channels.get_mut(&key) else { return };
        let mut answered = Vec::new();
        if multiple {
            let rest = channel.unconfirmed.split_off(&(tag + 1));
            answered.extend(std::mem::replace(&mut channel.unconfirmed, rest).into_values());
        } else {
            answered.extend(channel.unconfirmed.remove(&tag));
        }
        if answered.is_empty() {
            self.tell(StoryFact::Outcome { message: None, is_ack, may_refuse: false });
        }
        for message in answered {
            let tale = self.tale_mut(message);
            tale.answer = Some(is_ack);
            let queue = tale.accepted.map(|(_, queue)| queue);
            let may_refuse = queue.is_some_and(|queue| self.queues[queue as usize].may_refuse());
            self.tell(StoryFact::Outcome { message: Some(message), is_ack, may_refuse });
        }
    }

    /// Whether a queue with a single active consumer delivered to two at a time, or to one that had to give way to a higher priority.
    fn judge_active(&mut self, given: &[Given]) {
        for index in 0..self.queues.len() {
            let number = u32::try_from(index).expect("few queues");
            let held = &self.queues[index];
            // One that did not ack in time is passed over although it is there.
            if !held.rules.single_active || held.rules.consumer_timeout_ms.is_some() {
                continue;
            }
            // RabbitMQ docs: Consumers / single active consumer: elsewhere priorities do not count.
            let heeds_priority = held.rules.is_quorum;
            let mut active = held.active;
            let mut facts = Vec::new();
            for given in given.iter().filter(|given| given.queue == number && !given.is_get) {
                let its = (given.connection, given.channel, given.consumer);
                if !self.is_subscribed(its, number) {
                    continue;
                }
                let queue = QueueIndex(number);
                let rank = |its| if heeds_priority { self.priority_of(its) } else { 0 };
                let priority = rank(its);
                let highest = if heeds_priority { self.highest_priority(number).max(priority) } else { priority };
                facts.push(StoryFact::ActiveGiven { queue, connection: its.0, priority, highest });
                match active {
                    Some(before) if before != its => {
                        // Once it holds nothing more it gives way to a higher priority.
                        let gave_way = priority > rank(before) && !self.holds_any(before);
                        facts.push(StoryFact::Activated {
                            queue,
                            before: before.0,
                            after: its.0,
                            is_before_there: self.is_subscribed(before, number),
                            gave_way,
                        });
                        active = Some(its);
                    }
                    Some(_) => {}
                    None => active = Some(its),
                }
            }
            self.queues[index].active = active;
            for fact in facts {
                self.tell(fact);
            }
        }
    }

    fn is_subscribed(&self, its: (u32, u16, u64), queue: u32) -> bool {
        self.consumer(its).is_some_and(|known| known.queue == queue && !known.is_gone)
    }

    fn priority_of(&self, its: (u32, u16, u64)) -> i64 {
        self.consumer(its).map_or(0, |known| known.priority)
    }

    fn consumer(&self, its: (u32, u16, u64)) -> Option<&Consumer> {
        self.channels.get(&(its.0, its.1))?.consumers.iter().find(|known| known.number == its.2)
    }

    fn holds_any(&self, its: (u32, u16, u64)) -> bool {
        let channel = self.channels.get(&(its.0, its.1));
        channel.is_some_and(|channel| channel.unacked.values().any(|out| out.consumer == its.2))
    }

    /// The highest priority among a queue's consumers that are there for longer than this step.
    fn highest_priority(&self, queue: u32) -> i64 {
        let consumers = self.channels.values().flat_map(|channel| &channel.consumers);
        let there = consumers.filter(|known| {
            known.queue == queue && !known.is_gone && known.since.is_some_and(|since| since < self.step)
        });
        there.map(|known| known.priority).max().unwrap_or(i64::MIN)
    }
}

impl Channel {
    /// The node cancels a consumer: what it has goes back, and an answer given meanwhile may come too late.
    fn take_back(&mut self, tag: &[u8]) -> Vec<Out> {
        let known = self.consumers.iter().rev().find(|known| *known.tag == *tag);
        let Some(number) = known.map(|known| known.number) else { return Vec::new() };
        self.forget_consumer(tag);
        self.unacked.retain(|_, out| out.consumer != number);
        let late = |(out, _): &mut (Out, bool)| out.consumer == number;
        self.answered.extract_if(.., late).map(|(out, _)| out).collect()
    }

    /// Takes the deliveries that an answer is about (AMQP 0-9-1 basic.ack: tag 0 with multiple is all).
    fn take_unacked(&mut self, tag: u64, multiple: bool) -> Vec<Out> {
        if !multiple {
            return self.unacked.remove(&tag).into_iter().collect();
        }
        let rest = if tag == 0 { BTreeMap::new() } else { self.unacked.split_off(&(tag + 1)) };
        std::mem::replace(&mut self.unacked, rest).into_values().collect()
    }

    /// Marks a consumer as gone; tells its queue.
    fn forget_consumer(&mut self, tag: &[u8]) -> Option<u32> {
        let consumer = self.consumers.iter_mut().rev().find(|consumer| *consumer.tag == *tag)?;
        consumer.is_gone = true;
        Some(consumer.queue)
    }
}
