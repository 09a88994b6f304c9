//! The reference model: what a broker has to do, slowly and in plain words.
//!
//! Written from RabbitMQ's documentation and observed behaviour, not from the engine. After each step of a program the model is told
//! what the clients saw and has to explain all of it: each answer, confirm, return, delivery and close it expects it takes; what is
//! left over, or does not come, is a difference. What RabbitMQ promises is exact. Left free, and decided by what was seen:
//!
//! - which of several consumers of the same priority gets a message;
//! - in which order the deliveries from different queues come on one channel, and which of them fill a shared prefetch limit;
//! - when confirms come among other answers (but not before the return of the same message), and whether several in one;
//! - whether a message whose time is up this very millisecond still goes to a consumer that is free;
//! - the order of headers.
//!
//! Deliveries from one queue to one channel are in the queue's order, and delivery tags count up by one.

mod dead_letter;
mod declare;
mod deliver;
mod message;
mod publish;
mod queue;
mod seen;
mod settle;
mod topology;

use std::collections::BTreeMap;

use leveret_engine::amqp::method::{basic, confirm, tx};

use self::message::{Entry, Message};
use self::queue::Queue;
use self::seen::Seen;
use self::topology::Topology;
use super::node::Node;
use super::program::{CONNECTIONS, Lane, Op};

/// Everything a broker knows, and what was seen of the step that is being explained.
#[derive(Debug)]
pub(super) struct Model {
    now: u64,
    topology: Topology,
    queues: Vec<Queue>,
    channels: BTreeMap<Lane, Channel>,
    connected: [bool; CONNECTIONS],
    seen: Seen,
    /// Last deliveries of this step, by queue and channel: what comes later from the same queue has to have a higher tag.
    last_tags: BTreeMap<(u64, Lane), u64>,
    /// Dead letters that are not published yet.
    dead: Vec<dead_letter::Dead>,
    next: u64,
    messages: u64,
}

/// An open channel.
#[derive(Debug)]
struct Channel {
    next_tag: u64,
    prefetch: usize,
    /// Shared by all consumers of the channel; 0 for none.
    prefetch_shared: usize,
    /// The number of the last publish, in confirm mode.
    seqno: Option<u64>,
    /// Publishes that are to be confirmed in this step: good or not, and the place of the return before it.
    confirms: BTreeMap<u64, (bool, Option<usize>)>,
    transaction: Option<Transaction>,
    unacked: Vec<Unacked>,
}

#[derive(Debug, Default)]
struct Transaction {
    publishes: Vec<(Message, bool, Vec<String>)>,
    settlements: Vec<(Vec<Unacked>, settle::Outcome)>,
}

/// A message that was delivered and not acknowledged.
#[derive(Clone, Debug)]
struct Unacked {
    tag: u64,
    queue: u64,
    /// `None` for a message that was got.
    consumer: Option<u64>,
    entry: Entry,
}

impl Channel {
    /// What was delivered and is not settled for good.
    fn held(&self) -> impl Iterator<Item = &Unacked> {
        let in_doubt = self.transaction.iter().flat_map(|transaction| &transaction.settlements);
        self.unacked.iter().chain(in_doubt.flat_map(|(settled, _)| settled))
    }
}

impl Model {
    pub(super) fn new(node: &Node) -> Self {
        Self {
            now: node.now_ms(),
            topology: Topology::new(),
            queues: Vec::new(),
            channels: BTreeMap::new(),
            connected: [false; CONNECTIONS],
            seen: Seen::default(),
            last_tags: BTreeMap::new(),
            dead: Vec::new(),
            next: 0,
            messages: 0,
        }
    }

    /// Lets the node do one step, and explains what came of it.
    ///
    /// # Errors
    /// What cannot be explained.
    pub(super) fn step(&mut self, node: &mut Node, op: &Op) -> Result<(), String> {
        if let Some(lane) = op.lane() {
            self.prepare(node, lane);
        }
        match op {
            Op::Wait(millis) => self.wait(node, u64::from(*millis)),
            Op::Restart => {
                node.restart();
                self.restart(node)
            }
            Op::CloseConnection { connection, properly } => {
                let connection = usize::from(*connection);
                if !node.is_connected(connection) {
                    return Ok(());
                }
                node.close_connection(connection, *properly);
                self.look(node);
                if *properly {
                    self.seen.take_connection_close(connection, 200)?;
                }
                self.close_connection(connection);
                self.conclude(node)
            }
            _ => {
                let lane = op.lane().expect("all other steps are made on a channel");
                self.act(node, lane, op)?;
                self.conclude(node)
            }
        }
    }

    /// Connects and opens the channel, if that is needed.
    fn prepare(&mut self, node: &mut Node, lane: Lane) {
        if !self.connected[lane.connection()] {
            node.connect(lane.connection());
            self.connected[lane.connection()] = true;
        }
        self.channels.entry(lane).or_insert_with(|| {
            node.open(lane);
            Channel {
                next_tag: 1,
                prefetch: 0,
                prefetch_shared: 0,
                seqno: None,
                confirms: BTreeMap::new(),
                transaction: None,
                unacked: Vec::new(),
            }
        });
    }

    fn act(&mut self, node: &mut Node, lane: Lane, op: &Op) -> Result<(), String> {
        match op {
            Op::Publish { .. } | Op::Send { .. } => self.publish(node, lane, op),
            Op::Ack { tag, multiple, .. } => {
                let delivery_tag = self.resolve(lane, *tag);
                node.say(lane, basic::Ack { delivery_tag, multiple: *multiple });
                self.look(node);
                self.settle(lane, delivery_tag, *multiple, settle::Outcome::Ack)
            }
            Op::Nack { tag, multiple, requeue, .. } => {
                let delivery_tag = self.resolve(lane, *tag);
                node.say(lane, basic::Nack { delivery_tag, multiple: *multiple, requeue: *requeue });
                self.look(node);
                let outcome = if *requeue { settle::Outcome::Return } else { settle::Outcome::Refuse };
                self.settle(lane, delivery_tag, *multiple, outcome)
            }
            Op::Reject { tag, requeue, .. } => {
                let delivery_tag = self.resolve(lane, *tag);
                node.say(lane, basic::Reject { delivery_tag, requeue: *requeue });
                self.look(node);
                let outcome = if *requeue { settle::Outcome::RejectBack } else { settle::Outcome::Refuse };
                self.settle(lane, delivery_tag, false, outcome)
            }
            Op::Recover { .. } => {
                node.say(lane, basic::Recover { requeue: true });
                self.look(node);
                self.recover(lane)?;
                self.seen.take_reply(lane, basic::RecoverOk {}).map(drop)
            }
            Op::Qos { count, global, .. } => {
                let qos = basic::Qos { prefetch_size: 0, prefetch_count: u16::from(*count), global: *global };
                node.say(lane, qos);
                self.look(node);
                let channel = self.channel(lane);
                if *global {
                    channel.prefetch_shared = usize::from(*count);
                } else {
                    channel.prefetch = usize::from(*count);
                }
                self.seen.take_reply(lane, basic::QosOk {}).map(drop)
            }
            Op::ConfirmSelect { .. } => {
                node.say(lane, confirm::Select { no_wait: false });
                self.look(node);
                if self.channel(lane).transaction.is_some() {
                    return self.fail(lane, 406);
                }
                self.channel(lane).seqno.get_or_insert(0);
                self.seen.take_reply(lane, confirm::SelectOk {}).map(drop)
            }
            Op::TxSelect { .. } => {
                node.say(lane, tx::Select {});
                self.look(node);
                if self.channel(lane).seqno.is_some() {
                    return self.fail(lane, 406);
                }
                self.channel(lane).transaction.get_or_insert_default();
                self.seen.take_reply(lane, tx::SelectOk {}).map(drop)
            }
            Op::TxCommit { .. } => {
                node.say(lane, tx::Commit {});
                self.look(node);
                self.commit(lane)
            }
            Op::TxRollback { .. } => {
                node.say(lane, tx::Rollback {});
                self.look(node);
                self.roll_back(lane)
            }
            Op::CloseChannel { .. } => {
                node.close_channel(lane);
                self.look(node);
                self.seen.take_channel_close(lane, 200)?;
                self.close_channel(lane);
                Ok(())
            }
            _ => self.declare_or_consume(node, lane, op),
        }
    }

    /// Takes up what the clients saw.
    fn look(&mut self, node: &mut Node) {
        self.now = node.now_ms();
        self.seen = Seen::take_from(node);
        self.last_tags.clear();
        for consumer in self.queues.iter_mut().flat_map(|queue| &mut queue.consumers) {
            consumer.answered_at = 0;
        }
    }

    /// Does what follows by itself, and then there must be nothing left to explain.
    fn conclude(&mut self, node: &Node) -> Result<(), String> {
        self.run()?;
        self.check_confirms()?;
        self.seen.check_nothing_left()?;
        for connection in 0..CONNECTIONS {
            if self.connected[connection] != node.is_connected(connection) {
                return Err(format!("connection {connection} is open: {} here", self.connected[connection]));
            }
        }
        for lane in Lane::all() {
            let Some(channel) = self.channels.get_mut(&lane) else {
                if node.is_open(lane) {
                    return Err(format!("{lane:?} was to be closed"));
                }
                continue;
            };
            for tag in self.seen.delivery_tags(lane) {
                if tag != channel.next_tag {
                    return Err(format!("delivery tag {tag} on {lane:?}, after {}", channel.next_tag - 1));
                }
                channel.next_tag += 1;
            }
        }
        Ok(())
    }

    fn check_confirms(&mut self) -> Result<(), String> {
        for (lane, channel) in &mut self.channels {
            for (place, seqno, is_multiple, is_good) in self.seen.take_confirms(*lane) {
                if !is_multiple && !channel.confirms.contains_key(&seqno) {
                    return Err(format!("publish {seqno} on {lane:?} is not waiting to be confirmed"));
                }
                let covered: Vec<u64> = if is_multiple {
                    channel.confirms.range(..=seqno).map(|(seqno, _)| *seqno).collect()
                } else {
                    vec![seqno]
                };
                for seqno in covered {
                    let (expected, returned) = channel.confirms.remove(&seqno).expect("it was found");
                    if expected != is_good {
                        return Err(format!("publish {seqno} on {lane:?} was to be accepted: {expected}"));
                    }
                    if returned.is_some_and(|returned| returned > place) {
                        return Err(format!("publish {seqno} on {lane:?} was confirmed before it was returned"));
                    }
                }
            }
            if let Some((seqno, _)) = channel.confirms.first_key_value() {
                return Err(format!("publish {seqno} on {lane:?} is not confirmed"));
            }
        }
        Ok(())
    }

    /// Lets time pass, from one thing that is due to the next.
    fn wait(&mut self, node: &mut Node, millis: u64) -> Result<(), String> {
        let until = self.now + millis;
        while self.now < until {
            let due = self.next_due().filter(|due| *due > self.now).unwrap_or(until);
            node.advance(due.min(until));
            self.look(node);
            self.conclude(node)?;
        }
        Ok(())
    }

    /// The broker closes the channel for a mistake.
    fn fail(&mut self, lane: Lane, code: u16) -> Result<(), String> {
        self.seen.take_channel_close(lane, code)?;
        self.close_channel(lane);
        Ok(())
    }

    /// The broker closes the connection for a mistake.
    fn fail_connection(&mut self, connection: usize, code: u16) -> Result<(), String> {
        self.seen.take_connection_close(connection, code)?;
        self.close_connection(connection);
        Ok(())
    }

    fn close_channel(&mut self, lane: Lane) {
        let Some(channel) = self.channels.remove(&lane) else { return };
        let mut left: Vec<Unacked> = channel.unacked;
        for (settled, _) in channel.transaction.unwrap_or_default().settlements {
            left.extend(settled);
        }
        self.remove_consumers(|consumer| consumer.lane == lane);
        self.give_back(left, true);
    }

    fn close_connection(&mut self, connection: usize) {
        self.connected[connection] = false;
        let lanes: Vec<Lane> = self.channels.keys().copied().filter(|lane| lane.connection() == connection).collect();
        // All of it ends at once: nothing is delivered from one channel to another meanwhile.
        self.remove_consumers(|consumer| consumer.lane.connection() == connection);
        for lane in lanes {
            self.close_channel(lane);
        }
        let owned: Vec<u64> =
            self.queues.iter().filter(|queue| queue.owner == Some(connection)).map(|queue| queue.id).collect();
        for id in owned {
            self.delete_queue(id);
        }
    }

    /// All connections close; what is durable comes back.
    fn restart(&mut self, node: &mut Node) -> Result<(), String> {
        self.look(node);
        for connection in 0..CONNECTIONS {
            if self.connected[connection] {
                self.seen.take_connection_close(connection, 320)?;
                self.close_connection(connection);
            }
        }
        self.run()?;
        self.keep_what_is_durable();
        self.conclude(node)
    }

    fn channel(&mut self, lane: Lane) -> &mut Channel {
        self.channels.get_mut(&lane).expect("the channel is open")
    }

    /// A number that was not given before.
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn queue(&self, name: &str) -> Option<&Queue> {
        self.queues.iter().find(|queue| queue.name == name)
    }

    fn queue_by_id(&mut self, id: u64) -> Option<&mut Queue> {
        self.queues.iter_mut().find(|queue| queue.id == id)
    }
}
