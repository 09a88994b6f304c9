//! Declaring and deleting, binding, consuming and getting.

use leveret_engine::amqp::method::{basic, exchange, queue};
use leveret_engine::amqp::{FieldTable, FieldValue, ShortStr};

use super::super::node::Node;
use super::super::program::{DeadLettering, EXCHANGES, KEYS, Kind, Lane, Op, Overflow, QUEUES, QueueArgs, QueueType};
use super::deliver::expected;
use super::queue::{Consumer, Queue};
use super::topology::{Binding, Exchange, Target};
use super::{Model, Unacked};

impl Model {
    pub(super) fn declare_or_consume(&mut self, node: &mut Node, lane: Lane, op: &Op) -> Result<(), String> {
        match op {
            Op::DeclareQueue { queue, durable, exclusive, auto_delete, args, .. } => {
                let declare = queue::Declare {
                    queue: queue_name(*queue),
                    durable: *durable,
                    exclusive: *exclusive,
                    auto_delete: *auto_delete,
                    arguments: arguments(args),
                    ..queue::Declare::default()
                };
                node.say(lane, declare);
                self.look(node);
                // An exclusive queue goes with its connection, so it is not durable whatever it says.
                let durable = *durable && !*exclusive;
                self.declare_queue(lane, QUEUES[usize::from(*queue)], durable, *exclusive, *auto_delete, args)
            }
            Op::DeclareQueuePassive { queue, .. } => {
                node.say(
                    lane,
                    queue::Declare { queue: queue_name(*queue), passive: true, ..queue::Declare::default() },
                );
                self.look(node);
                self.answer_declare(lane, QUEUES[usize::from(*queue)])
            }
            Op::DeleteQueue { queue, if_unused, if_empty, .. } => {
                let delete = queue::Delete {
                    queue: queue_name(*queue),
                    if_unused: *if_unused,
                    if_empty: *if_empty,
                    no_wait: false,
                };
                node.say(lane, delete);
                self.look(node);
                self.delete_named_queue(lane, QUEUES[usize::from(*queue)], *if_unused, *if_empty)
            }
            Op::Purge { queue, .. } => {
                node.say(lane, queue::Purge { queue: queue_name(*queue), no_wait: false });
                self.look(node);
                let Some(id) = self.usable_queue(lane, QUEUES[usize::from(*queue)])? else { return Ok(()) };
                let queue = self.queue_by_id(id).expect("it was found");
                let message_count = count(std::mem::take(&mut queue.ready).len());
                self.seen.take_reply(lane, queue::PurgeOk { message_count }).map(drop)
            }
            Op::DeclareExchange { exchange, kind, durable, auto_delete, internal, alternate, .. } => {
                let name = EXCHANGES[usize::from(*exchange)];
                let alternate = alternate.map(|alternate| EXCHANGES[usize::from(alternate)].to_owned());
                let mut arguments = FieldTable::new();
                if let Some(alternate) = &alternate {
                    arguments = arguments.with("alternate-exchange", FieldValue::text(alternate));
                }
                let declare = exchange::Declare {
                    exchange: ShortStr::truncated(name),
                    exchange_type: ShortStr::truncated(kind_name(*kind)),
                    durable: *durable,
                    auto_delete: *auto_delete,
                    internal: *internal,
                    arguments,
                    ..exchange::Declare::default()
                };
                node.say(lane, declare);
                self.look(node);
                let declared = Exchange {
                    name: name.to_owned(),
                    kind: *kind,
                    durable: *durable,
                    auto_delete: *auto_delete,
                    internal: *internal,
                    alternate,
                };
                match self.topology.exchange(name) {
                    Some(there) if *there != declared => return self.fail(lane, 406),
                    Some(_) => {}
                    None => self.topology.exchanges.push(declared),
                }
                self.seen.take_reply(lane, exchange::DeclareOk {}).map(drop)
            }
            Op::DeleteExchange { exchange, if_unused, .. } => {
                let name = EXCHANGES[usize::from(*exchange)];
                let delete =
                    exchange::Delete { exchange: ShortStr::truncated(name), if_unused: *if_unused, no_wait: false };
                node.say(lane, delete);
                self.look(node);
                if name.is_empty() || name.starts_with("amq.") {
                    return self.fail(lane, 403);
                }
                if *if_unused && self.topology.bindings.iter().any(|binding| binding.source == name) {
                    return self.fail(lane, 406);
                }
                self.topology.delete_exchange(name);
                self.seen.take_reply(lane, exchange::DeleteOk {}).map(drop)
            }
            Op::BindQueue { queue, exchange, key, .. } => {
                let bind = queue::Bind {
                    queue: queue_name(*queue),
                    exchange: ShortStr::truncated(EXCHANGES[usize::from(*exchange)]),
                    routing_key: ShortStr::truncated(KEYS[usize::from(*key)]),
                    no_wait: false,
                    arguments: Self::binding_arguments(*key),
                };
                node.say(lane, bind);
                self.look(node);
                let target = Target::Queue(QUEUES[usize::from(*queue)].to_owned());
                if self.bind(lane, *exchange, target, *key)? {
                    self.seen.take_reply(lane, queue::BindOk {})?;
                }
                Ok(())
            }
            Op::UnbindQueue { queue, exchange, key, .. } => {
                let unbind = queue::Unbind {
                    queue: queue_name(*queue),
                    exchange: ShortStr::truncated(EXCHANGES[usize::from(*exchange)]),
                    routing_key: ShortStr::truncated(KEYS[usize::from(*key)]),
                    arguments: Self::binding_arguments(*key),
                };
                node.say(lane, unbind);
                self.look(node);
                let target = Target::Queue(QUEUES[usize::from(*queue)].to_owned());
                if self.unbind(lane, *exchange, target, *key)? {
                    self.seen.take_reply(lane, queue::UnbindOk {})?;
                }
                Ok(())
            }
            Op::BindExchange { destination, source, key, .. } => {
                let bind = exchange::Bind {
                    destination: ShortStr::truncated(EXCHANGES[usize::from(*destination)]),
                    source: ShortStr::truncated(EXCHANGES[usize::from(*source)]),
                    routing_key: ShortStr::truncated(KEYS[usize::from(*key)]),
                    no_wait: false,
                    arguments: Self::binding_arguments(*key),
                };
                node.say(lane, bind);
                self.look(node);
                let target = Target::Exchange(EXCHANGES[usize::from(*destination)].to_owned());
                if self.bind(lane, *source, target, *key)? {
                    self.seen.take_reply(lane, exchange::BindOk {})?;
                }
                Ok(())
            }
            Op::UnbindExchange { destination, source, key, .. } => {
                let unbind = exchange::Unbind {
                    destination: ShortStr::truncated(EXCHANGES[usize::from(*destination)]),
                    source: ShortStr::truncated(EXCHANGES[usize::from(*source)]),
                    routing_key: ShortStr::truncated(KEYS[usize::from(*key)]),
                    no_wait: false,
                    arguments: Self::binding_arguments(*key),
                };
                node.say(lane, unbind);
                self.look(node);
                let target = Target::Exchange(EXCHANGES[usize::from(*destination)].to_owned());
                if self.unbind(lane, *source, target, *key)? {
                    self.seen.take_reply(lane, exchange::UnbindOk {})?;
                }
                Ok(())
            }
            Op::Consume { queue, tag, no_ack, exclusive, priority, .. } => {
                let tag = format!("c{tag}");
                let mut arguments = FieldTable::new();
                if let Some(priority) = priority {
                    arguments = arguments.with("x-priority", i32::from(*priority));
                }
                let consume = basic::Consume {
                    queue: queue_name(*queue),
                    consumer_tag: ShortStr::truncated(&tag),
                    no_local: false,
                    no_ack: *no_ack,
                    exclusive: *exclusive,
                    no_wait: false,
                    arguments,
                };
                node.say(lane, consume);
                self.look(node);
                let priority = i32::from(priority.unwrap_or(0));
                self.consume(lane, QUEUES[usize::from(*queue)], tag, *no_ack, *exclusive, priority)
            }
            Op::Cancel { tag, .. } => {
                let tag = format!("c{tag}");
                node.say(lane, basic::Cancel { consumer_tag: ShortStr::truncated(&tag), no_wait: false });
                self.look(node);
                self.remove_consumers(|consumer| consumer.lane == lane && consumer.tag == tag);
                self.seen.take_reply(lane, basic::CancelOk { consumer_tag: ShortStr::truncated(&tag) }).map(drop)
            }
            Op::Get { queue, no_ack, .. } => {
                node.say(lane, basic::Get { queue: queue_name(*queue), no_ack: *no_ack });
                self.look(node);
                self.get(lane, QUEUES[usize::from(*queue)], *no_ack)
            }
            _ => Err(format!("{op:?} is done elsewhere")),
        }
    }

    fn declare_queue(
        &mut self,
        lane: Lane,
        name: &str,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
        args: &QueueArgs,
    ) -> Result<(), String> {
        if let Some(queue) = self.queue(name) {
            if queue.owner.is_some_and(|owner| owner != lane.connection()) {
                return self.fail(lane, 405);
            }
            // Asked first: an exclusive queue is locked to whoever does not declare it as such, and the other way round.
            if queue.owner.is_some() != exclusive {
                return self.fail(lane, 405);
            }
            let is_same =
                (queue.durable, queue.auto_delete) == (durable, auto_delete) && is_same_args(&queue.args, args);
            if !is_same {
                return self.fail(lane, 406);
            }
            return self.answer_declare(lane, name);
        }
        let is_quorum = args.queue_type == Some(QueueType::Quorum);
        let is_beyond_quorum = !durable || exclusive || auto_delete || args.max_priority.is_some();
        if is_quorum && is_beyond_quorum || args.dead_letter_key.is_some() && args.dead_letter_exchange.is_none() {
            return self.fail(lane, 406);
        }
        let (id, used_at) = (self.number(), self.now);
        self.queues.push(Queue {
            id,
            name: name.to_owned(),
            durable,
            owner: exclusive.then_some(lane.connection()),
            auto_delete,
            args: args.clone(),
            ready: Vec::new(),
            consumers: Vec::new(),
            active: None,
            used_at,
        });
        self.answer_declare(lane, name)
    }

    fn answer_declare(&mut self, lane: Lane, name: &str) -> Result<(), String> {
        let Some(id) = self.usable_queue(lane, name)? else { return Ok(()) };
        let now = self.now;
        let queue = self.queue_by_id(id).expect("it was found");
        // RabbitMQ docs: Time-To-Live / Queue TTL: declaring a quorum queue again does not renew its lease.
        if !queue.is_quorum() {
            queue.used_at = now;
        }
        let message_count = count(queue.ready.len());
        let consumer_count = count(queue.consumers.len());
        let ok = queue::DeclareOk { queue: ShortStr::truncated(name), message_count, consumer_count };
        self.seen.take_reply(lane, ok).map(drop)
    }

    /// A queue by its name. If it is not there, or belongs to another connection, the channel closes and the answer is `None`.
    fn usable_queue(&mut self, lane: Lane, name: &str) -> Result<Option<u64>, String> {
        match self.queue(name) {
            None => self.fail(lane, 404).map(|()| None),
            Some(queue) if queue.owner.is_some_and(|owner| owner != lane.connection()) => {
                self.fail(lane, 405).map(|()| None)
            }
            Some(queue) => Ok(Some(queue.id)),
        }
    }

    fn delete_named_queue(&mut self, lane: Lane, name: &str, if_unused: bool, if_empty: bool) -> Result<(), String> {
        let mut message_count = 0;
        if self.queue(name).is_some() {
            let Some(id) = self.usable_queue(lane, name)? else { return Ok(()) };
            let queue = self.queue_by_id(id).expect("it was found");
            if (if_unused && !queue.consumers.is_empty()) || (if_empty && !queue.ready.is_empty()) {
                return self.fail(lane, 406);
            }
            message_count = count(queue.ready.len());
            let consumers = std::mem::take(&mut queue.consumers);
            self.delete_queue(id);
            for consumer in consumers {
                self.seen.take_cancel(consumer.lane, &consumer.tag)?;
            }
        }
        self.seen.take_reply(lane, queue::DeleteOk { message_count }).map(drop)
    }

    /// Removes a queue with its bindings. Its messages are gone; deliveries may still be acknowledged.
    pub(super) fn delete_queue(&mut self, id: u64) {
        let Some(index) = self.queues.iter().position(|queue| queue.id == id) else { return };
        let queue = self.queues.remove(index);
        self.topology.remove_bindings(|binding| binding.target == Target::Queue(queue.name.clone()));
    }

    /// Whether a binding was made, or was there. If not, the channel is closed.
    fn bind(&mut self, lane: Lane, source: u8, target: Target, key: u8) -> Result<bool, String> {
        let source = EXCHANGES[usize::from(source)];
        if source.is_empty() || target == Target::Exchange(String::new()) {
            return self.fail(lane, 403).map(|()| false);
        }
        let is_missing = match &target {
            Target::Queue(name) => self.queue(name).is_none(),
            Target::Exchange(name) => self.topology.exchange(name).is_none(),
        };
        if is_missing || self.topology.exchange(source).is_none() {
            return self.fail(lane, 404).map(|()| false);
        }
        if let Target::Queue(name) = &target
            && self.usable_queue(lane, name)?.is_none()
        {
            return Ok(false);
        }
        self.topology.bind(Binding { source: source.to_owned(), target, key: KEYS[usize::from(key)].to_owned() });
        Ok(true)
    }

    /// Whether there is no such binding any more. If it must not be removed, the channel is closed.
    fn unbind(&mut self, lane: Lane, source: u8, target: Target, key: u8) -> Result<bool, String> {
        let source = EXCHANGES[usize::from(source)];
        if source.is_empty() || target == Target::Exchange(String::new()) {
            return self.fail(lane, 403).map(|()| false);
        }
        let binding = Binding { source: source.to_owned(), target, key: KEYS[usize::from(key)].to_owned() };
        if !self.topology.bindings.contains(&binding) {
            return Ok(true);
        }
        if let Target::Queue(name) = &binding.target
            && self.usable_queue(lane, name)?.is_none()
        {
            return Ok(false);
        }
        self.topology.unbind(&binding);
        Ok(true)
    }

    /// Arguments of a binding: headers exchanges look for the header `h`; to others they mean nothing.
    fn binding_arguments(key: u8) -> FieldTable {
        FieldTable::new().with("h", FieldValue::text(KEYS[usize::from(key)]))
    }

    fn consume(
        &mut self,
        lane: Lane,
        name: &str,
        tag: String,
        no_ack: bool,
        exclusive: bool,
        priority: i32,
    ) -> Result<(), String> {
        let is_used = self.queues.iter().flat_map(|queue| &queue.consumers);
        if is_used.into_iter().any(|consumer| consumer.lane == lane && consumer.tag == tag) {
            return self.fail_connection(lane.connection(), 530);
        }
        let Some(id) = self.usable_queue(lane, name)? else { return Ok(()) };
        let consumer_id = self.number();
        let prefetch = self.channel(lane).prefetch;
        let queue = self.queue_by_id(id).expect("it was found");
        // Quorum queues do not know exclusive consumers.
        let exclusive = exclusive && !queue.is_quorum();
        let is_taken = queue.consumers.iter().any(|consumer| consumer.exclusive);
        if is_taken || (exclusive && !queue.consumers.is_empty()) {
            return self.fail(lane, 403);
        }
        if exclusive && queue.is_sac() {
            return self.fail(lane, 403);
        }
        let answer = basic::ConsumeOk { consumer_tag: ShortStr::truncated(&tag) };
        let answered_at = self.seen.take_reply(lane, answer)?;
        let queue = self.queue_by_id(id).expect("it was found");
        queue.consumers.push(Consumer {
            id: consumer_id,
            lane,
            tag,
            no_ack,
            exclusive,
            priority,
            prefetch,
            answered_at,
        });
        Ok(())
    }

    /// Removes consumers; an auto-delete queue goes with its last one.
    pub(super) fn remove_consumers(&mut self, is_gone: impl Fn(&Consumer) -> bool) {
        let now = self.now;
        let mut deserted = Vec::new();
        for queue in &mut self.queues {
            let before = queue.consumers.len();
            queue.consumers.retain(|consumer| !is_gone(consumer));
            if queue.consumers.len() == before {
                continue;
            }
            if queue.consumers.is_empty() {
                queue.used_at = now;
                if queue.auto_delete {
                    deserted.push(queue.id);
                }
            }
        }
        for id in deserted {
            self.delete_queue(id);
        }
    }

    fn get(&mut self, lane: Lane, name: &str, no_ack: bool) -> Result<(), String> {
        let Some(id) = self.usable_queue(lane, name)? else { return Ok(()) };
        let now = self.now;
        let queue = self.queue_by_id(id).expect("it was found");
        if queue.is_sac() {
            return self.fail(lane, 405);
        }
        queue.used_at = now;
        let Some(head) = queue.head() else {
            return self.seen.take_reply(lane, basic::GetEmpty {}).map(drop);
        };
        let entry = queue.ready.remove(head);
        self.drop_expired(id, true);
        let left = count(self.queue_by_id(id).expect("it was found").ready.len());
        let properties = Self::properties_of(&entry);
        let delivered = self.seen.take_got(lane, &expected(&entry, &properties), left)?;
        self.note_delivery(id, lane, &delivered)?;
        if !no_ack {
            let tag = delivered.delivery_tag;
            self.channel(lane).unacked.push(Unacked { tag, queue: id, consumer: None, entry });
        }
        Ok(())
    }

    /// What a restart leaves: durable queues with their persistent messages, durable exchanges, and bindings between those. An
    /// auto-delete exchange that loses its last binding so stays: nobody unbound it.
    pub(super) fn keep_what_is_durable(&mut self) {
        let now = self.now;
        self.queues.retain(|queue| queue.durable);
        self.topology.exchanges.retain(|exchange| exchange.durable);
        let (queues, exchanges) = (&self.queues, &self.topology.exchanges);
        self.topology.bindings.retain(|binding| {
            exchanges.iter().any(|exchange| exchange.name == binding.source)
                && match &binding.target {
                    Target::Queue(name) => queues.iter().any(|queue| queue.name == *name),
                    Target::Exchange(name) => exchanges.iter().any(|exchange| exchange.name == *name),
                }
        });
        for queue in &mut self.queues {
            let is_quorum = queue.is_quorum();
            queue.ready.retain(|entry| is_quorum || entry.message.is_persistent());
            // Only failures are kept, so what was merely put back stands in its own place again.
            for entry in &mut queue.ready {
                entry.returned = (is_quorum && entry.failures > 0).then_some(0);
                entry.acquired = if is_quorum { entry.failures.max(entry.redelivered.into()) } else { 0 };
            }
            queue.used_at = now;
        }
    }
}

/// Whether the arguments are equivalent: classic is what a queue is that does not say.
fn is_same_args(one: &QueueArgs, other: &QueueArgs) -> bool {
    let full =
        |args: &QueueArgs| QueueArgs { queue_type: args.queue_type.or(Some(QueueType::Classic)), ..args.clone() };
    full(one) == full(other)
}

fn queue_name(queue: u8) -> ShortStr {
    ShortStr::truncated(QUEUES[usize::from(queue)])
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Direct => "direct",
        Kind::Fanout => "fanout",
        Kind::Topic => "topic",
        Kind::Headers => "headers",
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).expect("programs are short")
}

fn arguments(args: &QueueArgs) -> FieldTable {
    let mut table = FieldTable::new();
    let mut text = |name: &'static str, value: Option<&str>| {
        if let Some(value) = value {
            table.push(ShortStr::from_static(name), FieldValue::text(value));
        }
    };
    text(
        "x-queue-type",
        args.queue_type.map(|queue_type| match queue_type {
            QueueType::Classic => "classic",
            QueueType::Quorum => "quorum",
        }),
    );
    text(
        "x-overflow",
        args.overflow.map(|overflow| match overflow {
            Overflow::DropHead => "drop-head",
            Overflow::RejectPublish => "reject-publish",
            Overflow::RejectPublishDlx => "reject-publish-dlx",
        }),
    );
    text("x-dead-letter-exchange", args.dead_letter_exchange.map(|exchange| EXCHANGES[usize::from(exchange)]));
    text("x-dead-letter-routing-key", args.dead_letter_key.map(|key| KEYS[usize::from(key)]));
    text(
        "x-dead-letter-strategy",
        args.dead_letter_strategy.map(|strategy| match strategy {
            DeadLettering::AtMostOnce => "at-most-once",
            DeadLettering::AtLeastOnce => "at-least-once",
        }),
    );
    let mut number = |name: &'static str, value: Option<i32>| {
        if let Some(value) = value {
            table.push(ShortStr::from_static(name), value);
        }
    };
    number("x-message-ttl", args.message_ttl.map(i32::from));
    number("x-expires", args.expires.map(i32::from));
    number("x-max-length", args.max_length.map(i32::from));
    number("x-max-length-bytes", args.max_length_bytes.map(i32::from));
    number("x-max-priority", args.max_priority.map(i32::from));
    number("x-delivery-limit", args.delivery_limit.map(i32::from));
    if let Some(single) = args.single_active_consumer {
        table.push(ShortStr::from_static("x-single-active-consumer"), single);
    }
    table
}
