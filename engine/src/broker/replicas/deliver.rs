//! What a leader hands out: messages, whose bodies may have to be read first.

use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

use super::super::Broker;
use super::super::internal::Internal;
use super::Replica;
use super::operate::ToShow;
use crate::cluster::queues::{Delivery as Sent, Frame, encode_delivery};
use crate::cluster::version;
use crate::effect::DiskRequest;
use crate::ids::{NodeId, QueueId};
use crate::message::Message;
use crate::queue::LeaveReason;
use crate::queue::quorum::{BodyPlace, DeadLetter, Delivery, Left, LogIndex};

/// Something that a leader has to hand out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outgoing {
    /// To a consumer.
    Deliver(Delivery),
    /// To the dead-letter exchange.
    Bury(Left),
    /// The same, of one that is kept until it arrived.
    DeadLetter(DeadLetter),
    /// To an operator who looks.
    Show(ToShow, BodyPlace),
    /// Back into the log.
    Carry(BodyPlace),
}

impl Outgoing {
    pub(super) fn body(&self) -> BodyPlace {
        match self {
            Self::Carry(body) | Self::Show(_, body) => *body,
            Self::Deliver(delivery) => delivery.body,
            Self::Bury(left) => left.body,
            Self::DeadLetter(letter) => letter.body,
        }
    }
}

impl Replica {
    /// The bytes of a message, if they are in memory.
    fn body(&self, body: BodyPlace) -> Option<Bytes> {
        let at = self.recent.binary_search_by_key(&body.index.0, |(index, _)| *index).ok()?;
        let entry = &self.recent[at].1;
        let (from, len) = (body.at as usize, body.len as usize);
        entry.get(from..from + len).map(|bytes| entry.slice_ref(bytes))
    }
}

impl Broker {
    /// Hands out what leaders of this node have, as far as bodies are there and links take it. Whether there was a replica to look at.
    pub(crate) fn pump_next_replica(&mut self, disk: &mut Vec<DiskRequest>) -> bool {
        let Some(queue) = self.replicas.active.pop_first() else { return false };
        while let Some(replica) = self.replicas.by_queue.get(&queue)
            && let Some(next) = replica.outgoing.front().copied()
        {
            if let Outgoing::Deliver(delivery) = next
                && self.is_replica_link_full(delivery.consumer.session.node)
            {
                self.replicas.waiting.insert(queue);
                break;
            }
            let Some(body) = replica.body(next.body()) else {
                if let Outgoing::Show(to_show, body) = next
                    && !replica.machine.needed(LogIndex(body.index.0))
                {
                    // It was settled meanwhile, or carried on, and the log need not have it there.
                    if let Some(replica) = self.replicas.by_queue.get_mut(&queue) {
                        replica.outgoing.pop_front();
                    }
                    self.show_next(queue, to_show, None);
                    continue;
                }
                self.read_body(queue, next.body().index.0, disk);
                break;
            };
            let ready_left = replica.machine.stat().ready;
            if let Some(replica) = self.replicas.by_queue.get_mut(&queue) {
                replica.outgoing.pop_front();
            }
            self.hand_out(queue, next, body, ready_left);
        }
        true
    }

    fn hand_out(&mut self, queue: QueueId, what: Outgoing, body: Bytes, ready_left: u64) {
        if let Outgoing::Carry(place) = what {
            return self.carry(queue, place, &body);
        }
        let Some(message) = Message::from_payload(body) else { return };
        match what {
            Outgoing::Deliver(delivery) => self.send_delivery(&delivery, &message, ready_left),
            Outgoing::Show(to_show, _) => self.show_next(queue, to_show, Some(&message)),
            Outgoing::Bury(left) => self.publish_dead(queue, left.reason, &message),
            Outgoing::DeadLetter(letter) => self.send_dead_letter(queue, &letter, &message),
            Outgoing::Carry(_) => unreachable!("it is no message to anybody"),
        }
    }

    /// Links may have room again.
    pub(in super::super) fn resume_replicas(&mut self) {
        let mut waiting = core::mem::take(&mut self.replicas.waiting);
        self.replicas.active.append(&mut waiting);
    }

    fn is_replica_link_full(&self, node: NodeId) -> bool {
        let peers = self.peers.as_ref();
        let is_own = peers.and_then(|peers| peers.own()).is_some_and(|(own, _)| own == node);
        // Without a link there is nothing to be full: what is said is lost, and asked for again.
        !is_own && peers.is_some_and(|peers| peers.cluster().is_linked(node) && peers.is_congested(node))
    }

    fn send_delivery(&mut self, delivery: &Delivery, message: &Message, ready_left: u64) {
        let sent = Sent {
            consumer: delivery.consumer,
            number: delivery.number,
            failed: delivery.failed,
            is_redelivered: delivery.acquired > 0,
            acquired: delivery.acquired,
            ready_left: u32::try_from(ready_left).unwrap_or(u32::MAX),
        };
        let sent = if self.is_known_to_all(version::COUNTS) { sent } else { sent.without_counts() };
        self.say_bytes(delivery.consumer.session.node, encode_delivery(&sent, message));
    }

    /// Begins to read an entry with a body that is wanted.
    fn read_body(&mut self, queue: QueueId, index: u64, disk: &mut Vec<DiskRequest>) {
        let Some(replica) = self.replicas.by_queue.get_mut(&queue) else { return };
        if replica.reading == Some(index) {
            return;
        }
        let Some(peers) = &mut self.peers else { return };
        if peers.cluster_mut().read_entry(&mut self.log, queue, index, disk) {
            replica.reading = Some(index);
        } else {
            // The log has it and has not written it.
            self.replicas.waiting.insert(queue);
        }
    }

    /// Entries were read.
    pub(crate) fn on_bodies(&mut self) {
        let Some(peers) = &mut self.peers else { return };
        for (queue, index, entry) in peers.cluster_mut().take_entries() {
            let Some(replica) = self.replicas.by_queue.get_mut(&queue) else { continue };
            replica.reading = None;
            // Who was moved to another place while it was read is read there.
            self.replicas.active.insert(queue);
            let Some((_, entry)) = entry.as_ref().and_then(super::apply::split_command) else { continue };
            // Until it is handed out it is the youngest that counts.
            if replica.recent.iter().all(|(other, _)| *other != index) {
                replica.recent_bytes += entry.len();
                let at = replica.recent.partition_point(|(other, _)| *other < index);
                replica.recent.insert(at, (index, entry));
            }
        }
    }

    /// Publishes a message that died to the dead-letter exchange of its queue.
    fn publish_dead(&mut self, queue: QueueId, reason: LeaveReason, message: &Message) {
        let Some(key) = self.replicas.by_queue.get(&queue).map(|replica| replica.key) else { return };
        let at = self.now.wall;
        let Some((letter, _)) = self.dead_letter_of(key, message, reason, at) else { return };
        let Some(vhost) = self.metadata.queue_by_key(key).map(|record| record.vhost) else { return };
        let names = letter.routing_names();
        let routing_keys =
            letter.routing_keys().iter().filter_map(|key| crate::amqp::ShortStr::try_from(&key[..]).ok()).collect();
        let persistent = letter.raw_properties().is_persistent();
        let exchange = names.exchange_str();
        self.publish_internally(Internal { vhost, exchange, routing_keys, message: Arc::clone(&letter), persistent });
    }

    /// Says something to the sessions of a node, which may be this one.
    pub(in super::super) fn say_bytes(&mut self, node: NodeId, bytes: Bytes) {
        let Some(peers) = &mut self.peers else { return };
        if peers.own().is_some_and(|(own, _)| own == node) {
            self.remote.looped.push_back(bytes);
        } else {
            peers.send_to_queues(self.now.mono, node, bytes);
        }
    }

    /// The same of a frame.
    pub(in super::super) fn say(&mut self, node: NodeId, frame: &Frame) {
        self.say_bytes(node, frame.encode());
    }
}
