//! What queues do by themselves: deliver, expire, overflow, dead-letter, and go when nobody uses them.

use std::cmp::Reverse;
use std::rc::Rc;

use leveret_engine::amqp::{FieldValue, Properties, ShortStr};

use super::super::program::{Lane, Overflow};
use super::dead_letter::Reason;
use super::message::{Entry, Message};
use super::queue::{Consumer, Queue};
use super::seen::{Delivered, Expected};
use super::{Model, Unacked};

impl Model {
    /// Puts a message into a queue. Whether it took it; it may be gone again at once.
    pub(super) fn enqueue(&mut self, id: u64, message: &Rc<Message>) -> Result<bool, String> {
        let (position, now) = (self.number(), self.now);
        let queue = self.queue_by_id(id).expect("it was found");
        let expiration = message.properties.expiration.as_ref().and_then(|text| text.as_str()?.parse().ok());
        let ttl = [expiration, queue.args.message_ttl.map(u64::from)].into_iter().flatten().min();
        let entry = Entry {
            message: Rc::clone(message),
            position,
            redelivered: false,
            priority: queue.priority_of(message.properties.priority),
            expires_at: ttl.map(|ttl| now + ttl),
            failures: 0,
            acquired: 0,
            returned: None,
        };
        let overflow = queue.overflow();
        let is_too_much = queue.is_too_long(queue.ready.len() + 1, queue.ready_bytes() + message.body.len());
        if is_too_much && overflow != Overflow::DropHead {
            if overflow == Overflow::RejectPublishDlx {
                self.bury(id, &entry, Reason::MaxLength);
            }
            return Ok(false);
        }
        let queue = self.queue_by_id(id).expect("it was found");
        queue.ready.push(entry);
        self.deliver(id)?;
        Ok(true)
    }

    /// RabbitMQ docs: Queue Length Limit: messages go from the head, which with priorities is where the highest are. Whether any went.
    pub(super) fn drop_what_is_too_much(&mut self, id: u64) -> bool {
        let mut has_moved = false;
        while let Some(queue) = self.queue_by_id(id)
            && queue.overflow() == Overflow::DropHead
            && queue.is_too_long(queue.ready.len(), queue.ready_bytes())
        {
            let head = queue.head().expect("something is too much");
            let entry = queue.ready.remove(head);
            self.bury(id, &entry, Reason::MaxLength);
            has_moved = true;
        }
        has_moved
    }

    /// Does all that is due by itself, until nothing is.
    pub(super) fn run(&mut self) -> Result<(), String> {
        loop {
            self.delete_unused();
            let ids: Vec<u64> = self.queues.iter().map(|queue| queue.id).collect();
            let mut has_moved = false;
            for id in &ids {
                has_moved |= self.drop_expired(*id, false);
                has_moved |= self.deliver(*id)?;
                has_moved |= self.drop_expired(*id, true);
                has_moved |= self.drop_what_is_too_much(*id);
            }
            has_moved |= !self.dead.is_empty();
            for dead in std::mem::take(&mut self.dead) {
                self.publish_dead(dead)?;
            }
            if !has_moved {
                break;
            }
        }
        self.check_nothing_waits()
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Option<u64> {
        let of_queue = |queue: &Queue| {
            let heads = queue.heads().into_iter().filter_map(|head| queue.ready[head].expires_at);
            heads.chain(queue.expires_at()).min()
        };
        self.queues.iter().filter_map(of_queue).min()
    }

    /// Messages expire at the head of their priority (RabbitMQ docs: Time-To-Live / Caveats; RabbitMQ 4.3). Whether any did. One whose
    /// time is up this moment is first `offered` to consumers.
    pub(super) fn drop_expired(&mut self, id: u64, is_offered: bool) -> bool {
        let mut has_moved = false;
        let now = self.now;
        let is_over = |entry: &Entry| entry.expires_at.is_some_and(|at| at < now || is_offered && at == now);
        while let Some(queue) = self.queue_by_id(id)
            && let Some(head) = queue.heads().into_iter().find(|head| is_over(&queue.ready[*head]))
        {
            let entry = queue.ready.remove(head);
            self.bury(id, &entry, Reason::Expired);
            has_moved = true;
        }
        has_moved
    }

    fn delete_unused(&mut self) {
        let now = self.now;
        let unused: Vec<u64> = self
            .queues
            .iter()
            .filter(|queue| queue.expires_at().is_some_and(|at| at <= now))
            .map(|queue| queue.id)
            .collect();
        for id in unused {
            self.delete_queue(id);
        }
    }

    /// Hands out what was seen to be handed out. Whether anything was.
    fn deliver(&mut self, id: u64) -> Result<bool, String> {
        let mut has_moved = false;
        loop {
            let now = self.now;
            let Some(queue) = self.queue_by_id(id) else { return Ok(has_moved) };
            let Some(head) = queue.head() else { return Ok(has_moved) };
            if queue.ready[head].expires_at.is_some_and(|at| at < now) {
                return Ok(has_moved);
            }
            let entry = queue.ready[head].clone();
            let Some((consumer, delivered)) = self.find_delivery(id, &entry) else { return Ok(has_moved) };
            let queue = self.queue_by_id(id).expect("it was found");
            queue.ready.remove(head);
            if delivered.place < consumer.answered_at {
                return Err(format!("{} came to {} before its consume was answered", entry.message.body, consumer.tag));
            }
            self.note_delivery(id, consumer.lane, &delivered)?;
            if !consumer.no_ack {
                let tag = delivered.delivery_tag;
                self.channel(consumer.lane).unacked.push(Unacked {
                    tag,
                    queue: id,
                    consumer: Some(consumer.id),
                    entry,
                });
            }
            has_moved = true;
        }
    }

    /// Who was seen to get this message, of those who may.
    fn find_delivery(&mut self, id: u64, entry: &Entry) -> Option<(Consumer, Delivered)> {
        let properties = Self::properties_of(entry);
        for consumer in self.candidates(id) {
            let expected = expected(entry, &properties);
            if let Some(delivered) = self.seen.take_delivery(consumer.lane, &consumer.tag, &expected) {
                return Some((consumer, delivered));
            }
        }
        None
    }

    /// The consumers that may get the queue's next message: those of the highest priority that have room for it.
    fn candidates(&mut self, id: u64) -> Vec<Consumer> {
        let single = self.elect(id);
        let Some(queue) = self.queues.iter().find(|queue| queue.id == id) else { return Vec::new() };
        let free: Vec<&Consumer> = queue
            .consumers
            .iter()
            .filter(|consumer| !queue.is_sac() || single == Some(consumer.id))
            .filter(|consumer| self.has_room(consumer))
            .collect();
        let priority = free.iter().map(|consumer| consumer.priority).max();
        free.into_iter().filter(|consumer| Some(consumer.priority) == priority).cloned().collect()
    }

    /// Finds the single active consumer: the first, whatever its priority; in a quorum queue the first of those with the highest
    /// priority. There a later one with a higher priority takes over when all is settled that the active one has, and until then nobody
    /// gets anything (RabbitMQ docs: Consumers / Single Active Consumer; Quorum Queues / Single Active Consumer).
    fn elect(&mut self, id: u64) -> Option<u64> {
        let queue = self.queues.iter().find(|queue| queue.id == id)?;
        let rank = |consumer: &Consumer| if queue.is_quorum() { consumer.priority } else { 0 };
        let best = queue.consumers.iter().max_by_key(|consumer| (rank(consumer), Reverse(consumer.id)))?;
        let active = queue.consumers.iter().find(|consumer| Some(consumer.id) == queue.active);
        if active.is_some_and(|active| rank(active) >= rank(best)) {
            return queue.active;
        }
        if active.is_some_and(|active| self.held(active) > 0) {
            return None;
        }
        let best = best.id;
        self.queue_by_id(id)?.active = Some(best);
        Some(best)
    }

    /// How many messages a consumer has and has not settled; until a commit, acks count as not given.
    fn held(&self, consumer: &Consumer) -> usize {
        let Some(channel) = self.channels.get(&consumer.lane) else { return 0 };
        channel.held().filter(|unacked| unacked.consumer == Some(consumer.id)).count()
    }

    /// RabbitMQ docs: Consumer Prefetch. Limits hold for what has to be acknowledged. The shared limit holds back consumers without
    /// acks too, though what they get does not count.
    fn has_room(&self, consumer: &Consumer) -> bool {
        let Some(channel) = self.channels.get(&consumer.lane) else { return false };
        let all = channel.held().filter(|unacked| unacked.consumer.is_some()).count();
        let has_own = consumer.no_ack || consumer.prefetch == 0 || self.held(consumer) < consumer.prefetch;
        has_own && (channel.prefetch_shared == 0 || all < channel.prefetch_shared)
    }

    fn check_nothing_waits(&mut self) -> Result<(), String> {
        for index in 0..self.queues.len() {
            let candidates = self.candidates(self.queues[index].id);
            let queue = &self.queues[index];
            if let Some(head) = queue.head()
                && let Some(consumer) = candidates.first()
            {
                let entry = &queue.ready[head];
                return Err(format!(
                    "{} waits in {} although {} on {:?} could have it: {entry:?}; left over is {:?}",
                    entry.message.body,
                    queue.name,
                    consumer.tag,
                    consumer.lane,
                    self.seen.check_nothing_left()
                ));
            }
        }
        Ok(())
    }

    pub(super) fn note_delivery(&mut self, id: u64, lane: Lane, delivered: &Delivered) -> Result<(), String> {
        let tag = delivered.delivery_tag;
        match self.last_tags.insert((id, lane), tag) {
            Some(last) if last > tag => Err(format!("deliveries {tag} and {last} on {lane:?} are in the wrong order")),
            _ => Ok(()),
        }
    }

    /// What a consumer sees of a message beside its body.
    pub(super) fn properties_of(entry: &Entry) -> Properties {
        let mut properties = entry.message.properties.clone();
        if entry.failures > 0 || entry.acquired > 0 {
            let headers = properties.headers.get_or_insert_default();
            let mut tell = |name, count| {
                let count = i64::try_from(count).expect("programs are short");
                headers.set(&ShortStr::from_static(name), FieldValue::I64(count));
            };
            tell("x-delivery-count", entry.failures);
            if entry.acquired > 0 {
                tell("x-acquired-count", entry.acquired);
            }
        }
        properties
    }
}

/// What a client is to see of a message.
pub(super) fn expected<'a>(entry: &'a Entry, properties: &'a Properties) -> Expected<'a> {
    Expected {
        redelivered: entry.redelivered,
        exchange: &entry.message.exchange,
        key: &entry.message.keys[0],
        properties,
        body: &entry.message.body,
    }
}
