//! What ends without an answer: channels, connections, queues that go with them, and changes that nobody is told of.

use super::session::{Channel, Pending};
use super::{Model, SessionState};
use crate::history::{Change, Departure, Fact, Presence, QueueIndex, Session};
use crate::message::MessageNumber;
use crate::nodes::At;

impl Model {
    /// The node was told that a connection is over.
    pub(crate) fn disconnected(&mut self, connection: u32) {
        let node = self.node_of(connection);
        // It closed them just before, and what the node said to them has had no time to go out.
        let leaving = std::mem::take(&mut self.leaving);
        let (own, others) = leaving.into_iter().partition::<Vec<_>, _>(|(its, ..)| *its == connection);
        self.leaving = others;
        for (.., mut channel) in own {
            self.doubt_unseen(node, &channel);
            self.doubt_touched(channel.touched_step, std::mem::take(&mut channel.touched));
        }
        // It may have done wrong before in this step, and what the node said of it has had no time to go out either.
        let held = self.connections.get(connection);
        let channels: Vec<u16> = held.map_or_else(Vec::new, |held| held.channels.keys().collect());
        for channel in channels {
            self.doubt_step(connection, channel);
        }
        if let Some(ended) = self.connections.remove(connection) {
            for (_, mut channel) in ended.channels {
                self.doubt_unseen(node, &channel);
                self.end_channel(node, &mut channel);
            }
            self.drop_exclusive(connection);
            self.facts.push(Fact::Disconnected { connection });
        }
    }

    /// The node closes a connection, with or without a word.
    pub(crate) fn closing(&mut self, connection: u32) {
        for at in 0..self.leaving.len() {
            let (its, _, channel) = &mut self.leaving[at];
            if *its == connection {
                let (step, touched) = (channel.touched_step, std::mem::take(&mut channel.touched));
                self.doubt_touched(step, touched);
            }
        }
        let Some(held) = self.connections.get_mut(connection) else { return };
        held.is_closing = true;
        let sessions: Vec<Session> = held.channels.values().map(|channel| channel.session).collect();
        for session in sessions {
            self.sessions[session.0 as usize] = SessionState::Dying;
        }
        let channels: Vec<u16> = held.channels.keys().collect();
        for channel in channels {
            self.doubt_step(connection, channel);
            self.doubt_consumed(connection, channel);
        }
        for index in 0..self.contents.queues.len() {
            if self.contents.queues[index].owner == Some(connection) {
                self.doubt_existence(u32::try_from(index).expect("few queues"));
            }
        }
    }

    /// Whether no change of the topology is under way.
    pub(super) fn is_settled(&self) -> bool {
        self.sites.iter().all(|site| site.untold_changes.is_empty())
            && self.connections.values().all(|held| {
                held.channels.values().all(|channel| !channel.pending.as_ref().is_some_and(Pending::is_change))
            })
    }

    /// Routes floating publishes again. Once no change is under way, it is known where they went.
    pub(super) fn sink(&mut self) {
        let is_settled = self.is_settled();
        let mut floating = std::mem::take(&mut self.floating);
        for one in &mut floating {
            let route = self.route(&one.routing, one.message);
            one.certain.retain(|queue| route.certain.contains(queue));
            for &queue in route.certain.iter().chain(&route.possible) {
                if self.contents.find(one.message, queue).is_none() {
                    self.contents.enter(one.message, queue, false);
                }
            }
            if !is_settled {
                continue;
            }
            self.contents.position += 1;
            self.contents.settle_place(one.message, &one.certain);
        }
        if !is_settled {
            self.floating = floating;
        }
    }

    pub(super) fn lose_consumer(&mut self, index: u32, is_answered: bool) {
        let step = self.contents.step;
        let queue = &mut self.contents.queues[index as usize];
        queue.disturbed = step;
        if !is_answered && queue.is_auto_delete {
            // Whether it ever had this consumer is not known.
            queue.consumers = queue.consumers.saturating_sub(1);
            self.doubt_existence(index);
            self.contents.doubt_queue(index);
            self.unfloat(index);
            return;
        }
        if queue.consumers > 0 {
            queue.consumers -= 1;
            let (left, is_auto_delete) = (queue.consumers, queue.is_auto_delete);
            if is_auto_delete && left > 0 && left == self.dying_consumers(index) {
                self.doubt_existence(index);
                self.contents.doubt_queue(index);
                self.unfloat(index);
                return;
            }
            let queue = &mut self.contents.queues[index as usize];
            if queue.consumers == 0 && queue.is_auto_delete && queue.existence.is_some() && !queue.is_forsaken {
                let is_durable = queue.is_durable;
                if is_durable || self.is_cluster() {
                    // Nobody waits for the log to have it, so a crash may bring the queue back with what was in it.
                    self.forsake(index);
                } else {
                    self.remove_queue(index);
                }
            }
        }
    }

    /// Consumers of a queue on connections and channels that the node has closed although they are not over: it may have let them go.
    fn dying_consumers(&self, queue: u32) -> u32 {
        let channels = self
            .connections
            .values()
            .flat_map(|held| held.channels.values().filter(|channel| held.is_closing || channel.is_closing));
        let consumers = channels.flat_map(|channel| &channel.consumers);
        let dying = consumers.filter(|consumer| consumer.queue == queue && !consumer.is_cancelled);
        u32::try_from(dying.count()).expect("few consumers")
    }

    /// What the channel asked for in this step may not have been heeded.
    pub(super) fn doubt_step(&mut self, connection: u32, number: u16) {
        let channel = self.channel_mut(connection, number);
        let (step, touched) = (channel.touched_step, std::mem::take(&mut channel.touched));
        self.doubt_touched(step, touched);
    }

    fn doubt_touched(&mut self, step: u64, touched: Vec<(MessageNumber, u32)>) {
        if step != self.contents.step {
            return;
        }
        for (message, queue) in touched {
            for floating in self.floating.iter_mut().rev().filter(|floating| floating.message == message) {
                floating.certain.clear();
            }
            if let Some(at) = self.contents.find(message, queue)
                && let Presence::Ready | Presence::Gone(Departure::Acked | Departure::Rejected) =
                    self.contents.messages[message.index()].copies[at].presence
            {
                self.contents.set(message, at, Presence::Maybe);
            }
        }
    }

    /// What the node sent to a connection that ended in the same step is never seen. If that counted as acked, it is gone.
    pub(super) fn doubt_unseen(&mut self, node: At, channel: &Channel) {
        if self.sites[node.number()].inputs == 0 {
            return;
        }
        let consumed = channel.consumers.iter().filter(|consumer| consumer.no_ack).map(|consumer| consumer.queue);
        let asked =
            if let Some(Pending::Get { queue, no_ack: true, .. }) = channel.pending { Some(queue) } else { None };
        let queues: Vec<u32> = consumed.chain(asked).collect();
        for queue in queues {
            self.contents.doubt_queue(queue);
            self.unfloat(queue);
        }
    }

    /// Answers behind a request that was never answered itself may have been dropped with the channel.
    pub(super) fn doubt_behind(&mut self, channel: &Channel) {
        for &(message, queue, _) in &channel.behind {
            if let Some(at) = self.contents.find(message, queue)
                && let Presence::Gone(Departure::Acked | Departure::Rejected) =
                    self.contents.messages[message.index()].copies[at].presence
            {
                self.contents.set(message, at, Presence::Maybe);
            }
        }
    }

    /// A purge is about to be carried out: what is ready may be gone.
    pub(super) fn doubt_ready(&mut self, queue: u32) {
        self.contents.doubt_ready(queue);
        self.doubt_put_back(queue);
    }

    /// What channels had that the node has closed is back in its queue, although they are not over.
    pub(super) fn doubt_put_back(&mut self, queue: u32) {
        let closing = self
            .connections
            .values()
            .flat_map(|held| held.channels.values().filter(|channel| held.is_closing || channel.is_closing));
        for channel in closing {
            for unacked in channel.unacked.values().filter(|unacked| unacked.queue == queue) {
                if let Some(at) = self.contents.find_unacked(unacked.message, queue, channel.session) {
                    self.contents.set(unacked.message, at, Presence::Maybe);
                }
            }
        }
    }

    /// Queues that go with their last consumer may be gone with this channel's.
    pub(super) fn doubt_consumed(&mut self, connection: u32, number: u16) {
        let channel = self.channel_mut(connection, number);
        let queues: Vec<u32> =
            channel.consumers.iter().filter(|consumer| !consumer.is_cancelled).map(|consumer| consumer.queue).collect();
        for queue in queues {
            let step = self.contents.step;
            self.contents.queues[queue as usize].disturbed = step;
            if self.contents.queues[queue as usize].is_auto_delete {
                self.doubt_existence(queue);
                self.contents.doubt_arrivals(queue);
                self.unfloat(queue);
            }
        }
    }

    pub(super) fn doubt_existence(&mut self, queue: u32) {
        if let Some(existence) = &mut self.contents.queues[queue as usize].existence {
            existence.is_certain = false;
            self.topology.doubt_queue(queue);
        }
    }

    pub(super) fn end_channel(&mut self, node: At, channel: &mut Channel) {
        self.sessions[channel.session.0 as usize] = SessionState::Dying;
        self.doubt_behind(channel);
        if channel.pending.as_ref().is_some_and(Pending::is_change) {
            self.sites[node.number()].untold_changes.are_new = true;
        }
        let answered = channel.transaction.answers.iter().map(|(unacked, ..)| *unacked);
        for unacked in channel.unacked.values().copied().chain(answered) {
            if let Some(at) = self.contents.find_unacked(unacked.message, unacked.queue, channel.session) {
                self.contents.requeue(unacked.message, at, &mut self.facts);
            }
            let step = self.contents.step;
            self.contents.queues[unacked.queue as usize].disturbed = step;
        }
        if let Some(Pending::Purge { queue, .. }) = channel.pending {
            // It may have been carried out, or forgotten.
            channel.pending = None;
            // Of a queue that is nowhere, another node's end may have forgotten it.
            let purges = &mut self.contents.queues[queue as usize].purges;
            *purges = purges.saturating_sub(1);
            self.doubt_ready(queue);
        }
        if let Some(Pending::Get { queue, .. }) = channel.pending {
            let step = self.contents.step;
            self.contents.queues[queue as usize].disturbed = step;
        }
        for consumer in channel.consumers.iter().filter(|consumer| !consumer.is_cancelled) {
            self.lose_consumer(consumer.queue, consumer.is_answered);
        }
    }

    pub(super) fn drop_exclusive(&mut self, connection: u32) {
        for index in 0..self.contents.queues.len() {
            if self.contents.queues[index].owner != Some(connection) {
                continue;
            }
            let queue = u32::try_from(index).expect("few queues");
            if self.is_cluster() {
                self.forsake(queue);
            } else {
                self.remove_queue(queue);
            }
        }
    }

    /// A queue goes when the log has it, or the cluster has decided it, of which nobody is told.
    fn forsake(&mut self, queue: u32) {
        if self.contents.queues[queue as usize].existence.is_none() || self.contents.queues[queue as usize].is_forsaken
        {
            return;
        }
        self.contents.doubt_queue(queue);
        self.unfloat(queue);
        self.topology.doubt_queue(queue);
        self.contents.queues[queue as usize].forsake(self.changes);
        let home = self.contents.queues[queue as usize].home;
        self.sites[home.number()].untold_changes.are_new = true;
        self.facts.push(Fact::Changed { queue: QueueIndex(queue), what: Change::Gone });
    }

    pub(super) fn remove_queue(&mut self, queue: u32) {
        self.facts.push(Fact::Changed { queue: QueueIndex(queue), what: Change::Gone });
        self.contents.remove_queue(queue);
        self.topology.remove_queue(queue);
    }

    /// Floating publishes may be gone from a queue before it is known that they went there.
    pub(super) fn unfloat(&mut self, queue: u32) {
        for floating in &mut self.floating {
            floating.certain.retain(|certain| *certain != queue);
        }
    }
}
