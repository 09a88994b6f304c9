//! What clients and node say to each other, as far as it belongs to a message's story.

use std::collections::BTreeMap;

use super::{Deaths, Story};
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
    /// What was answered in this step, for the case that the channel turns out to be closed already.
    answered: Vec<MessageNumber>,
    is_closing: bool,
    /// The queue of a `basic.get` under way.
    get: Option<(u32, bool)>,
}

#[derive(Debug)]
struct Consumer {
    tag: Box<[u8]>,
    queue: u32,
    no_ack: bool,
    is_gone: bool,
}

/// A message out with a consumer.
#[derive(Clone, Copy, Debug)]
struct Out {
    message: MessageNumber,
    queue: u32,
    deaths: u32,
}

/// A delivery.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) connection: u32,
    pub(super) channel: u16,
    pub(super) consumer: Box<[u8]>,
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
            Said::Consume { queue, tag, no_ack } => {
                channel.waits = true;
                if let Some(&queue) = self.by_name.get(queue) {
                    channel.consumers.push(Consumer { tag: tag.into(), queue, no_ack, is_gone: false });
                }
            }
            Said::Get { queue, no_ack } => channel.get = self.by_name.get(queue).map(|&queue| (queue, no_ack)),
            Said::Cancel { tag } => {
                channel.waits = true;
                channel.forget_consumer(tag);
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
        let given = |message, queue, redelivered, no_ack, properties, consumer: &[u8], is_get| Given {
            connection,
            channel: number,
            consumer: consumer.into(),
            message,
            queue,
            redelivered,
            no_ack,
            is_get,
            deaths: Deaths::of(properties),
        };
        match said {
            Said::ChannelClose { .. } => {
                channel.is_closing = true;
                let unsure = std::mem::take(&mut channel.answered);
                self.end_channel(key);
                for message in unsure {
                    self.tale_mut(message).is_unsure = true;
                }
            }
            Said::Ack { tag, multiple } => self.outcome(key, tag, multiple, true),
            Said::Nack { tag, multiple, .. } => self.outcome(key, tag, multiple, false),
            Said::Deliver { consumer, tag, redelivered, message, properties } => {
                let known = channel.consumers.iter().rev().find(|known| *known.tag == *consumer);
                let (Some(known), Some(message)) = (known, message) else { return };
                let given = given(message, known.queue, redelivered, known.no_ack, properties, consumer, false);
                if !given.no_ack {
                    let out = Out { message, queue: given.queue, deaths: given.deaths.total() };
                    channel.unacked.insert(tag, out);
                }
                self.given.push(given);
            }
            Said::GetOk { tag, redelivered, message, properties, .. } => {
                let (Some((queue, no_ack)), Some(message)) = (channel.get.take(), message) else { return };
                let given = given(message, queue, redelivered, no_ack, properties, b"", true);
                if !given.no_ack {
                    channel.unacked.insert(tag, Out { message, queue, deaths: given.deaths.total() });
                }
                self.given.push(given);
            }
            Said::GetEmpty => channel.get = None,
            Said::Cancel { tag } => channel.forget_consumer(tag),
            Said::Done { .. } | Said::QueueDeclareOk { .. } => channel.waits = false,
            _ => {}
        }
    }

    fn blocked(&mut self, connection: u32, is_blocked: bool) {
        if is_blocked {
            self.blocked.insert(connection, self.step);
        } else {
            self.blocked.remove(&connection);
        }
        let (is_memory_short, is_disk_short, maybe_full) = (self.is_memory_short, self.is_disk_short, self.maybe_full);
        self.tell(StoryFact::Blocked { connection, is_blocked, is_memory_short, is_disk_short, maybe_full });
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
        if !self.given.is_empty() {
            let mut given = std::mem::take(&mut self.given);
            for given in &given {
                if let Some(info) = self.tales.get(given.message.index()).and_then(|tale| tale.info) {
                    let held = &mut self.queues[given.queue as usize];
                    let most = held.rules.priority_max.unwrap_or(0);
                    let priority = info.extras.priority.unwrap_or(0).min(most);
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
        for channel in self.channels.values_mut() {
            channel.answered.clear();
        }
        self.step += 1;
    }

    pub(super) fn end_channel(&mut self, key: (u32, u16)) {
        let Some(channel) = self.channels.remove(&key) else { return };
        for out in channel.unacked.values() {
            self.queues[out.queue as usize].is_stirred = true;
        }
        for message in channel.answered {
            self.tale_mut(message).is_unsure = true;
        }
    }

    fn answer(&mut self, key: (u32, u16), tag: u64, multiple: bool, verdict: Verdict) {
        let Some(channel) = self.channels.get_mut(&key) else { return };
        let waits = channel.waits;
        let outs = channel.take_unacked(tag, multiple);
        channel.answered.extend(outs.iter().map(|out| out.message));
        for out in outs {
            let tale = self.tale_mut(out.message);
            tale.is_unsure |= waits;
            match verdict {
                Verdict::Ack => tale.is_acked = true,
                Verdict::Reject => *tale.rejects.entry(out.queue).or_default() += 1,
                Verdict::Requeue => {}
            }
            if verdict == Verdict::Requeue {
                self.queues[out.queue as usize].is_stirred = true;
            } else if !waits {
                self.stay_mut(out.message, out.queue, out.deaths).is_settled = true;
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

    /// Whether a queue with a single active consumer delivered to two at a time.
    fn judge_active(&mut self, given: &[Given]) {
        for index in 0..self.queues.len() {
            let number = u32::try_from(index).expect("few queues");
            let held = &self.queues[index];
            if !held.rules.single_active {
                continue;
            }
            let mut active = held.active.clone();
            let mut facts = Vec::new();
            for given in given.iter().filter(|given| given.queue == number && !given.is_get) {
                let its = (given.connection, given.channel, given.consumer.clone());
                if !self.is_subscribed(&its, number) {
                    continue;
                }
                match &active {
                    Some(before) if *before != its => {
                        let is_before_there = self.is_subscribed(before, number);
                        facts.push(StoryFact::Activated {
                            queue: crate::history::QueueIndex(number),
                            before: before.0,
                            after: its.0,
                            is_before_there,
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

    fn is_subscribed(&self, its: &(u32, u16, Box<[u8]>), queue: u32) -> bool {
        self.channels.get(&(its.0, its.1)).is_some_and(|channel| {
            let known = channel.consumers.iter().rev().find(|known| known.tag == its.2);
            known.is_some_and(|known| known.queue == queue && !known.is_gone)
        })
    }
}

impl Channel {
    /// Takes the deliveries that an answer is about (AMQP 0-9-1 basic.ack: tag 0 with multiple is all).
    fn take_unacked(&mut self, tag: u64, multiple: bool) -> Vec<Out> {
        if !multiple {
            return self.unacked.remove(&tag).into_iter().collect();
        }
        let rest = if tag == 0 { BTreeMap::new() } else { self.unacked.split_off(&(tag + 1)) };
        std::mem::replace(&mut self.unacked, rest).into_values().collect()
    }

    fn forget_consumer(&mut self, tag: &[u8]) {
        if let Some(consumer) = self.consumers.iter_mut().rev().find(|consumer| *consumer.tag == *tag) {
            consumer.is_gone = true;
        }
    }
}
