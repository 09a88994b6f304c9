//! The end of a step: deliveries are looked at, and what they passed over.

use leveret_engine::engine::LogReach;

use super::session::{Pending, Unacked};
use super::{Delivery, Model, SessionState};
use crate::history::{Departure, Fact, Presence, QueueIndex};
use crate::message::MessageNumber;
use crate::nodes::At;

impl Model {
    /// The engine was flushed: what it was told before and what it said are one step. `durable` as in [`Self::node_says`]; `reach` is
    /// what the engine says of its log.
    pub(crate) fn end_step(&mut self, at: At, durable: u64, reach: LogReach) {
        if !self.deliveries.is_empty() {
            let mut deliveries = std::mem::take(&mut self.deliveries);
            // What went to a channel that is closed or recovers in this same step went there first. Of several such, the first had it
            // for the first time, and one that need not ack had it last.
            deliveries.sort_by_key(|delivery| {
                let Delivery { redelivered, no_ack, is_recovered, .. } = *delivery;
                let stays = self.sessions[delivery.session.0 as usize] == SessionState::Alive && !is_recovered;
                (stays, !stays && redelivered, !stays && no_ack)
            });
            for delivery in &deliveries {
                self.deliver(delivery);
            }
            self.find_skipped(&deliveries);
            self.deliveries = deliveries;
            self.deliveries.clear();
        }
        if !(self.empties.is_empty() && self.purges.is_empty() && self.successions.is_empty()) {
            self.end_requests();
        }
        self.contents.forget_settled(at, durable);
        if !self.sites[at.number()].untold_changes.is_empty() {
            self.end_untold_changes(at, reach);
        }
        if !self.floating.is_empty() {
            self.sink();
        }
        if !(self.rested.is_empty() && self.woken.is_empty()) {
            self.end_pauses();
        }
        self.end_inputs(at);
        let connections = &self.connections;
        self.leaving.retain(|(its, ..)| connections.get(*its).is_some_and(|held| held.node != at));
    }

    /// Looks at what was answered in this step with "empty" or "purged", and at who succeeded whom.
    fn end_requests(&mut self) {
        for (queue, asked) in std::mem::take(&mut self.empties) {
            // What went to a connection that ended since may have come back after the get.
            let is_disturbed = self.contents.queues[queue as usize].disturbed >= asked;
            if is_disturbed || self.resting.contains(&queue) {
                continue;
            }
            // A message that is being read for another get is no longer to be had.
            let others = self
                .connections
                .values()
                .flat_map(|held| held.channels.values())
                .filter(|channel| matches!(channel.pending, Some(Pending::Get { queue: its, .. }) if its == queue));
            let mut ready = self.contents.queues[queue as usize].ready.keys().filter(|(_, message)| {
                let at = self.contents.find(*message, queue).expect("ready messages are in their queue");
                self.contents.messages[message.index()].copies[at].changed < asked
            });
            let missed = ready.nth(others.count());
            if let Some((_, message)) = missed {
                self.facts.push(Fact::MissedByGet { queue: QueueIndex(queue), message });
            }
        }
        for (queue, asked) in std::mem::take(&mut self.purges) {
            // What is to come back behind a request that the node has yet to answer was not there to be purged.
            let channels = self.connections.values().flat_map(|held| held.channels.values());
            let out: Vec<MessageNumber> = channels
                .flat_map(|channel| &channel.behind)
                .filter(|(_, its, _)| *its == queue)
                .map(|(message, ..)| *message)
                .collect();
            self.contents.purged(queue, asked, &out, &mut self.facts);
            self.doubt_put_back(queue);
            self.unfloat(queue);
        }
        for (queue, owner) in std::mem::take(&mut self.successions) {
            let is_owner_there = self.connections.get(owner).is_some_and(|held| !held.is_closing);
            self.facts.push(Fact::Succeeded { queue: QueueIndex(queue), owner, is_owner_there });
        }
    }

    /// Queues rest, or no longer, from the next step on.
    fn end_pauses(&mut self) {
        for queue in std::mem::take(&mut self.rested) {
            self.facts.push(Fact::Paused { queue: QueueIndex(queue) });
        }
        for queue in std::mem::take(&mut self.woken) {
            self.resting.remove(&queue);
        }
    }

    /// Looks whether the changes have happened that nobody is told of.
    fn end_untold_changes(&mut self, at: At, reach: LogReach) {
        let untold = &mut self.sites[at.number()].untold_changes;
        untold.end_step(reach.end.0, reach.durable.0);
        if !untold.is_empty() {
            return;
        }
        for index in 0..self.contents.queues.len() {
            let queue = &mut self.contents.queues[index];
            if queue.home != at {
                continue;
            }
            if queue.existence.is_some_and(|existence| existence.last_change > queue.forsaken_at) {
                // Somebody asked for it since; it may be there again.
                queue.is_forsaken = false;
            }
            if queue.is_forsaken {
                self.contents.remove_queue(u32::try_from(index).expect("few queues"));
                self.topology.touch();
            }
        }
    }

    pub(super) fn deliver(&mut self, delivery: &Delivery) {
        let Delivery { connection, channel, session, tag, redelivered, message, queue, consumer, no_ack, .. } =
            *delivery;
        let found =
            message.zip(queue).and_then(|(message, queue)| Some((message, queue, self.contents.find(message, queue)?)));
        let held = self.connections.get(connection).and_then(|held| held.channels.get(channel));
        let is_over = held.is_none_or(|held| held.session != session);
        let has_gone = queue.is_some_and(|queue| self.contents.queues[queue as usize].removed == self.contents.step);
        if found.is_none() && (is_over || has_gone) {
            // The channel was closed or its consumer cancelled after this, and its queue went with it.
            return;
        }
        let mut fact = Fact::Delivered {
            session,
            tag,
            queue: queue.map(QueueIndex),
            message,
            before: Presence::Never,
            redelivered,
            deliveries: 0,
            maybe_unseen: false,
            crashed_since: false,
            position: 0,
            of: None,
            unacked: 0,
            prefetch: 0,
            channel_unacked: 0,
            channel_prefetch: 0,
            is_get: consumer.is_none(),
            connection,
            channel,
        };
        if let Some((message, queue, at)) = found {
            let copy = self.contents.messages[message.index()].copies[at];
            let held = &self.contents.queues[queue as usize];
            let site = &self.contents.sites[held.home.number()];
            if let Fact::Delivered { before, deliveries, maybe_unseen, crashed_since, position, .. } = &mut fact {
                *before = match copy.presence {
                    Presence::Unacked(other) if self.sessions[other.0 as usize] == SessionState::Dying => {
                        Presence::Maybe
                    }
                    presence => presence,
                };
                *deliveries = copy.deliveries;
                *maybe_unseen = copy.restarts != site.restarts || held.disturbed >= copy.entered;
                *crashed_since = copy.crashes != site.crashes;
                *position = copy.position;
            }
            let (restarts, crashes) = (site.restarts, site.crashes);
            let copy = &mut self.contents.messages[message.index()].copies[at];
            copy.deliveries += 1;
            copy.restarts = restarts;
            copy.crashes = crashes;
            if no_ack {
                self.contents.depart(message, at, Departure::AutoAcked, &mut self.facts);
            } else {
                self.contents.set(message, at, Presence::Unacked(session));
            }
        }
        let channel = self.connections.get_mut(connection).and_then(|held| held.channels.get_mut(channel));
        match channel.filter(|channel| channel.session == session && !delivery.is_recovered) {
            Some(channel) => {
                if let (Some(message), Some(queue), false) = (message, queue, no_ack) {
                    let unacked = Unacked { message, queue, consumer };
                    channel.debit(&unacked);
                    channel.unacked.insert(tag, unacked);
                    if let (Some(at), Fact::Delivered { unacked, prefetch, channel_unacked, channel_prefetch, .. }) =
                        (consumer, &mut fact)
                    {
                        *unacked = channel.consumers[at].unacked;
                        *prefetch = channel.consumers[at].prefetch;
                        *channel_unacked = channel.consumed;
                        *channel_prefetch = channel.prefetch_all;
                    }
                }
            }
            None => {
                // The channel ended or recovered in this same step: the message is back already.
                if let Some((message, queue, at)) = found
                    && !no_ack
                {
                    let held = &self.contents.queues[queue as usize];
                    let is_there = held.existence.is_some() && !held.is_forsaken;
                    self.contents.set(message, at, if is_there { Presence::Ready } else { Presence::Maybe });
                }
            }
        }
        self.facts.push(fact);
    }

    /// Looks for messages that were there before this step began, certainly, and that this step's deliveries passed over.
    pub(super) fn find_skipped(&mut self, deliveries: &[Delivery]) {
        for delivery in deliveries {
            let (Some(message), Some(queue)) = (delivery.message, delivery.queue) else { continue };
            if self.contents.queues[queue as usize].disturbed == self.contents.step {
                // Older ones may have gone to a connection that ended in this same step, and come back.
                continue;
            }
            let Some(at) = self.contents.find(message, queue) else { continue };
            let position = self.contents.messages[message.index()].copies[at].position;
            // A get may have been decided as soon as it was asked.
            let step = delivery.asked.unwrap_or(self.contents.step);
            let ready = self.contents.queues[queue as usize].ready.keys();
            let older = ready.take_while(|(its, _)| *its < position).find(|(_, older)| {
                let at = self.contents.find(*older, queue).expect("ready messages are in their queue");
                self.contents.messages[older.index()].copies[at].changed < step
            });
            if let Some((_, older)) = older {
                let at = self.contents.find(older, queue).expect("just found");
                let was_requeued = self.contents.messages[older.index()].copies[at].deliveries > 0;
                let queue = QueueIndex(queue);
                self.facts.push(Fact::Skipped { queue, message: older, was_requeued, delivered: message });
                return;
            }
        }
    }
}
