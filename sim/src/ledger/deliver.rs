//! What clients get, compared with what is known.

use super::listen::{Consumer, Out};
use super::{Active, Ledger, Stay, Trip};
use crate::field::{Value, find};
use crate::history::{Departure, Fact, Presence};
use crate::message::{MessageNumber, headers};
use crate::story::{Deaths, StoryFact};

/// A delivery, or what a get got.
pub(super) struct Given<'a> {
    pub(super) key: (u32, u16),
    pub(super) tag: u64,
    pub(super) queue: u32,
    pub(super) message: Option<MessageNumber>,
    pub(super) redelivered: bool,
    pub(super) no_ack: bool,
    /// The life of the queue in which it was asked for.
    pub(super) life: u32,
    /// Of a queue on one node: how that was reached.
    pub(super) trip: Option<Trip>,
    /// The consumer's place in its channel; `None` for a get.
    pub(super) consumer: Option<usize>,
    pub(super) properties: &'a [u8],
}

impl Ledger {
    /// A message comes to a client.
    pub(super) fn deliver(&mut self, given: &Given<'_>) {
        let Given { key, tag, queue, message, redelivered, no_ack, life, trip, consumer, properties } = *given;
        let deaths = Deaths::of(properties);
        if let Some(message) = message {
            self.arrive((queue, message), &deaths);
        }
        // It was on its way when the queue's node ended, which has it back: what is said of it is said to nobody.
        let is_late = self.has_home_ended(queue, trip) && !no_ack;
        let known = message.and_then(|it| self.entries.get(&(queue, it))).filter(|_| !is_late);
        let turn = known.map_or(0, |entry| entry.deliveries + 1);
        let Some(channel) = self.channels.get_mut(&key) else { return };
        let session = channel.session;
        let comes_back = channel.is_recovering && !no_ack;
        if let (Some(message), false) = (message, no_ack || comes_back) {
            channel.unacked.insert(tag, Out { stay: (queue, message), consumer, turn });
            if let Some(at) = consumer {
                channel.consumers[at].unacked += 1;
            }
        }
        let its = consumer.map(|at| &channel.consumers[at]);
        let (unacked, prefetch) = its.map_or((0, 0), |it| (it.unacked, if it.no_ack { 0 } else { it.prefetch }));
        let number = its.map(|it| it.number);
        let held = &self.queues[queue as usize];
        let index = held.index;
        let entry = message.and_then(|it| self.entries.get(&(queue, it)));
        let may_be_another = entry.is_some_and(|entry| self.may_be_twice(queue, entry));
        let may_be_lost = entry.is_some_and(|entry| !entry.is_done && self.may_be_lost(queue, entry.out));
        let died_before =
            entry.and_then(|entry| entry.died_with).is_some_and(|life| trip.is_some_and(|it| it.is_in(life)));
        let came_back = entry.is_some_and(|entry| self.may_have_come_back(queue, entry.since));
        let has_home_ended = entry.is_some_and(|entry| self.has_home_ended(queue, entry.out.or(entry.sent)));
        self.facts.push(Fact::Delivered {
            session,
            tag,
            queue: Some(index),
            message,
            before: match entry.map(|entry| entry.presence) {
                // It was out for too long, and is back, whatever its client says.
                Some(Presence::Unacked(_)) if held.may_time_out() => Presence::Maybe,
                // It was on its way already.
                Some(Presence::Gone(Departure::Deleted)) if life < held.life() => Presence::Maybe,
                Some(Presence::Unacked(_) | Presence::Gone(_)) if is_late => Presence::Maybe,
                // A dead letter may have come twice.
                Some(Presence::Unacked(_) | Presence::Gone(_)) if may_be_another => Presence::Maybe,
                // The node of its queue gave up the one of its client, or ended.
                Some(Presence::Unacked(_)) if may_be_lost => Presence::Maybe,
                Some(Presence::Gone(Departure::Acked | Departure::AutoAcked | Departure::Rejected)) if may_be_lost => {
                    Presence::Maybe
                }
                Some(Presence::Maybe) if died_before => Presence::Gone(Departure::Restarted),
                presence => presence.unwrap_or(Presence::Never),
            },
            redelivered,
            deliveries: entry.map_or(0, |entry| entry.deliveries),
            maybe_unseen: came_back || entry.is_some_and(|entry| held.endings > entry.endings),
            crashed_since: may_be_another || has_home_ended || is_late,
            position: entry.map_or(0, |entry| entry.position),
            of: entry.map(|entry| (number.unwrap_or(0), entry.by)),
            unacked,
            prefetch,
            channel_unacked: 0,
            channel_prefetch: 0,
            is_get: consumer.is_none(),
            connection: key.0,
            channel: key.1,
        });
        let Some(message) = message.filter(|_| entry.is_some()) else { return };
        let stay = (queue, message);
        self.judge_failures(stay, properties);
        self.judge_deaths(stay, &deaths);
        self.judge_active(key, queue, consumer);
        let at = self.connections.get(&key.0).copied();
        if is_late {
            return;
        }
        // What a consumer gets comes out of the life of the queue's node in which it began, however late.
        let out = at.and_then(|at| self.trip(queue, at)).map(|out| out.of_life_of(trip));
        let Some(entry) = self.entries.get_mut(&stay) else { return };
        entry.deliveries += 1;
        entry.presence = Presence::Unacked(session);
        (entry.out, entry.is_done) = (out, false);
        entry.was_acked |= no_ack;
        if comes_back {
            self.come_back(stay, session);
        }
        if let (true, Some(at)) = (no_ack, at) {
            self.depart(Out { stay, consumer, turn }, Departure::AutoAcked, at);
        }
    }

    /// What a message says of deliveries that failed.
    fn judge_failures(&mut self, stay: Stay, properties: &[u8]) {
        let (queue, message) = stay;
        let Some(entry) = self.entries.get(&stay) else { return };
        let fields = headers(properties);
        let count = find(&fields, "x-delivery-count").and_then(Value::as_number).unwrap_or(0);
        let held = &self.queues[queue as usize];
        self.facts.push(Fact::Failed {
            queue: held.index,
            message,
            count: u64::try_from(count).unwrap_or(u64::MAX),
            most: if held.counts_failures() { self.failures_max(queue, entry).min(held.limit()) } else { 0 },
        });
    }

    /// Whether a queue with a single active consumer delivers to a second one.
    fn judge_active(&mut self, key: (u32, u16), queue: u32, consumer: Option<usize>) {
        let held = &self.queues[queue as usize];
        let (true, Some(at)) = (held.rules.single_active, consumer) else { return };
        let (Some(channel), Some(node)) = (self.channels.get(&key), self.connections.get(&key.0)) else { return };
        let Consumer { number, priority, .. } = channel.consumers[at];
        let breaks = self.sites[node.number()].breaks;
        let after = Active { connection: key.0, channel: key.1, consumer: number, priority, breaks };
        let before = held.active.filter(|before| before.consumer != number);
        let is_there = before.is_some_and(|before| self.is_there(&before));
        let is_out_of_reach = before.is_some_and(|before| {
            let node = self.connections.get(&before.connection);
            node.is_some_and(|node| self.sites[node.number()].breaks > before.breaks)
        });
        let held = &mut self.queues[queue as usize];
        if is_there && held.replaced.contains(&number) {
            // It gets what it had when it was replaced.
            return;
        }
        let Some(before) = before else {
            held.active.get_or_insert(after);
            return;
        };
        if is_there && is_out_of_reach {
            held.replaced.insert(before.consumer);
        } else {
            let heeds_priority = held.rules.mirrors.is_none();
            let gave_way = heeds_priority && is_there && after.priority > before.priority;
            let fact = StoryFact::Activated {
                queue: held.index,
                before: before.connection,
                after: after.connection,
                is_before_there: is_there,
                gave_way,
            };
            self.facts.push(Fact::Story(fact));
        }
        held.replaced.remove(&number);
        held.active = Some(after);
    }

    fn is_there(&self, active: &Active) -> bool {
        let channel = self.channels.get(&(active.connection, active.channel));
        channel.is_some_and(|channel| channel.consumers.iter().any(|it| it.number == active.consumer && !it.is_gone))
    }
}
