//! Dead letters that are to arrive at least once (RabbitMQ docs: Quorum Queues / Dead Lettering): a leader publishes some at a time, and
//! says which arrived. Those that no queue took, or that a queue refused, stay and are published again after a while.

use alloc::vec::Vec;

use super::super::{Broker, ChannelRef, Durable, Published};
use super::deliver::Outgoing;
use crate::ids::QueueId;
use crate::limits;
use crate::message::Message;
use crate::queue::LeftTo;
use crate::queue::quorum::{DeadLetter, DeathNumber};
use crate::time::Timestamp;

impl Broker {
    /// Begins with the next ones, as many as may be under way.
    pub(super) fn send_dead(&mut self, queue: QueueId) {
        let Some(replica) = self.replicas.by_queue.get_mut(&queue) else { return };
        let room = limits::DEAD_LETTER_WINDOW.saturating_sub(replica.dead_out.len());
        let sent: Vec<DeadLetter> = replica.machine.dead_letters(replica.dead_sent).take(room).collect();
        if let Some(last) = sent.last() {
            replica.dead_sent = last.number;
            replica.dead_out.extend(sent.iter().map(|letter| letter.number));
            replica.outgoing.extend(sent.into_iter().map(Outgoing::DeadLetter));
            self.replicas.active.insert(queue);
        }
    }

    /// Publishes one. It has arrived when all its queues have it for good, wherever they are.
    pub(super) fn send_dead_letter(&mut self, queue: QueueId, dead: &DeadLetter, message: &Message) {
        let Some(key) = self.replicas.by_queue.get(&queue).map(|replica| replica.key) else { return };
        let number = dead.number;
        let at = Timestamp::from_millis(dead.at_ms);
        let Some((letter, reason)) = self.dead_letter_of(key, message, dead.reason, at) else {
            // Nobody wants dead letters any more.
            return self.dead_letter_done(queue, number, false);
        };
        let LeftTo::Queues(_) = self.route_dead_letter(key, &letter, reason) else {
            return self.dead_letter_done(queue, number, true);
        };
        let token = self.begin_parts(ChannelRef::OF_GUEST, Durable::DeadLetter { queue, number });
        let persistent = letter.raw_properties().is_persistent();
        match self.enqueue(&letter, persistent, None, None) {
            Published::KeptAt(until) => self.wait_for_log(until, ChannelRef::OF_GUEST, Durable::Part(token)),
            Published::Kept | Published::Awaited => self.part_done(token, false),
            Published::Refused | Published::Unroutable => self.part_done(token, true),
        }
        self.end_parts();
    }

    /// One has arrived, or did not.
    pub(in super::super) fn dead_letter_done(&mut self, queue: QueueId, number: DeathNumber, is_refused: bool) {
        let again_at = self.now.mono + limits::DEAD_LETTER_RETRY;
        let replica = self.replicas.by_queue.get_mut(&queue).filter(|replica| replica.leads);
        let Some(replica) = replica.filter(|replica| replica.dead_out.contains(&number)) else { return };
        if is_refused {
            replica.dead_again.push(number);
            replica.dead_again_at.get_or_insert(again_at);
        } else {
            replica.dead_out.remove(&number);
            replica.arrived.push(number);
        }
        self.see_to(queue);
    }

    /// Those that did not arrive are tried again.
    pub(super) fn send_dead_again(&mut self, queue: QueueId) {
        let now = self.now.mono;
        let Some(replica) = self.replicas.by_queue.get_mut(&queue) else { return };
        if replica.dead_again_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        for number in core::mem::take(&mut replica.dead_again) {
            match replica
                .machine
                .dead_letters(DeathNumber(number.0 - 1))
                .next()
                .filter(|letter| letter.number == number)
            {
                Some(letter) => replica.outgoing.push_back(Outgoing::DeadLetter(letter)),
                None => {
                    replica.dead_out.remove(&number);
                }
            }
        }
        self.replicas.active.insert(queue);
    }
}
