//! Random conversations, held with the engine and then, word for word, with RabbitMQ: both must answer the same.
//!
//! After each step both sides are quiet before the next, so what RabbitMQ's processes do side by side cannot show. Each queue is
//! consumed on one channel only, since the order of two queues' deliveries on one channel is nobody's promise, and by one consumer:
//! what two have unacked RabbitMQ gives back in two goes, and delivers the first before the second, where we restore the order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::broker::Broker;
use super::runner::Run;
use super::transcript::{Address, Item};
use super::value::Value;

/// Steps of one conversation.
const STEPS: usize = 80;
/// Queues, and the channel that consumes from each.
const QUEUES: [(&str, &str, u16); 4] = [("q0", "a", 1), ("q1", "a", 2), ("q2", "b", 1), ("q3", "b", 2)];
const EXCHANGES: [&str; 6] = ["x0", "x1", "x2", "amq.direct", "amq.fanout", "amq.topic"];
const KEYS: [&str; 7] = ["q0", "q1", "q2", "a", "a.b", "a.*", "#"];

/// What the client does in one step.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Say(Address, Item),
    Drop(String),
}

/// Holds a conversation that `seed` decides with a broker; what was said, and what was answered after each step.
pub(super) fn converse(broker: &dyn Broker, seed: u64) -> Result<(Vec<Step>, Vec<String>), String> {
    let mut talk = Talk::new(broker);
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut steps, mut answers) = (Vec::new(), Vec::new());
    for number in 0..STEPS {
        let step = match number {
            0..7 => declare(&mut dice, number),
            _ => talk.choose(&mut dice, number),
        };
        answers.push(talk.step(&step)?);
        steps.push(step);
    }
    talk.run.clean_up();
    Ok((steps, answers))
}

/// Repeats a conversation; what was answered after each step.
pub(super) fn repeat(broker: &dyn Broker, steps: &[Step]) -> Result<Vec<String>, String> {
    let mut talk = Talk::new(broker);
    let answers = steps.iter().map(|step| talk.step(step)).collect::<Result<_, _>>();
    talk.run.clean_up();
    answers
}

/// The steps as a transcript has them.
pub(super) fn told(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        let line = match step {
            Step::Say(address, item) => format!("{address} > {item}"),
            Step::Drop(connection) => format!("{connection} drop"),
        };
        let _infallible = writeln!(text, "{line}");
    }
    text
}

struct Talk<'a> {
    run: Run<'a>,
    open: BTreeSet<Address>,
    connected: BTreeSet<String>,
    /// Delivery tags seen on a channel since it was opened, and not acked one by one.
    tags: BTreeMap<Address, Vec<i128>>,
    /// Channels that consume.
    consuming: BTreeSet<Address>,
    /// Channels with transactions.
    transactional: BTreeSet<Address>,
    /// Publishes on a channel that are not confirmed.
    unconfirmed: BTreeMap<Address, BTreeSet<i128>>,
    /// Publishes on a channel since it began to confirm.
    published: BTreeMap<Address, i128>,
}

impl<'a> Talk<'a> {
    fn new(broker: &'a dyn Broker) -> Self {
        Self {
            run: Run::new(broker),
            open: BTreeSet::new(),
            connected: BTreeSet::new(),
            tags: BTreeMap::new(),
            consuming: BTreeSet::new(),
            transactional: BTreeSet::new(),
            unconfirmed: BTreeMap::new(),
            published: BTreeMap::new(),
        }
    }

    /// Carries out a step; what came of it, as text that two brokers can be compared by.
    fn step(&mut self, step: &Step) -> Result<String, String> {
        match step {
            Step::Drop(name) => {
                self.connected.remove(name);
                self.open.retain(|address| address.connection != *name);
                self.run.drop_connection(name);
            }
            Step::Say(address, item) => {
                if self.connected.insert(address.connection.clone()) {
                    self.run.connect(&address.connection, &method("connect", []))?;
                }
                if self.open.insert(address.clone()) {
                    self.run.send(address, &method("channel.open", []))?;
                    self.tags.remove(address);
                    self.transactional.remove(address);
                    self.consuming.remove(address);
                    self.unconfirmed.remove(address);
                    self.published.remove(address);
                }
                if item.name == "basic.cancel" {
                    self.consuming.remove(address);
                }
                if ["basic.ack", "basic.nack"].contains(&item.name.as_str()) {
                    let tag = item.field("delivery_tag").and_then(Value::as_int).unwrap_or_default();
                    self.tags.entry(address.clone()).or_default().retain(|other| *other != tag);
                }
                if item.name == "basic.publish"
                    && let Some(count) = self.published.get_mut(address)
                {
                    *count += 1;
                    self.unconfirmed.entry(address.clone()).or_default().insert(*count);
                }
                self.run.send(address, item)?;
            }
        }
        let mut all = Vec::new();
        loop {
            let mut got = Vec::new();
            for address in self.open.clone() {
                let closes = |step: &Step| match step {
                    Step::Say(at, item) => *at == address && item.name == "channel.close",
                    Step::Drop(_) => false,
                };
                got.append(&mut self.run.answers(&address, closes(step))?);
            }
            got.append(&mut self.run.drain()?);
            if got.is_empty() {
                break;
            }
            for (address, item) in &got {
                self.note(address, item)?;
            }
            all.append(&mut got);
        }
        // By channel, and there in the order of arrival; a cancel and what brought it about come in either order.
        all.sort_by_key(|(address, item)| (address.clone(), item.name == "basic.cancel"));
        let mut answers = String::new();
        for (address, item) in
            all.iter().filter(|(_, item)| !["basic.ack", "channel.open-ok"].contains(&item.name.as_str()))
        {
            let _infallible = writeln!(answers, "    {address} < {item}");
        }
        for (address, unconfirmed) in &self.unconfirmed {
            if !unconfirmed.is_empty() {
                let _infallible = writeln!(answers, "    {address}: {unconfirmed:?} are not confirmed");
            }
        }
        Ok(answers)
    }

    /// Answers closes, and keeps what later steps are made of.
    fn note(&mut self, address: &Address, item: &Item) -> Result<(), String> {
        match item.name.as_str() {
            "channel.close" => {
                self.open.remove(address);
                self.run.send(address, &method("channel.close-ok", []))?;
            }
            "channel.close-ok" => {
                self.open.remove(address);
            }
            "connection.close" => {
                self.run.send(address, &method("connection.close-ok", []))?;
                self.connected.remove(&address.connection);
                self.open.retain(|other| other.connection != address.connection);
                self.run.drop_connection(&address.connection);
            }
            "basic.deliver" | "basic.get-ok" => {
                let tag = item.field("delivery_tag").and_then(Value::as_int).unwrap_or_default();
                self.tags.entry(address.clone()).or_default().push(tag);
            }
            "basic.consume-ok" => {
                self.consuming.insert(address.clone());
            }
            "basic.cancel" => {
                self.consuming.remove(address);
            }
            "tx.select-ok" => {
                self.transactional.insert(address.clone());
            }
            "confirm.select-ok" => {
                self.published.entry(address.clone()).or_default();
            }
            "basic.ack" => {
                let tag = item.field("delivery_tag").and_then(Value::as_int).unwrap_or_default();
                let multiple = item.field("multiple") == Some(&Value::Bool(true));
                let unconfirmed = self.unconfirmed.entry(address.clone()).or_default();
                if !unconfirmed.contains(&tag) {
                    return Err(format!("{address} < {item}, but {unconfirmed:?} are unconfirmed"));
                }
                unconfirmed.retain(|other| if multiple { *other > tag } else { *other != tag });
            }
            _ => {}
        }
        Ok(())
    }

    /// What to say next.
    fn choose(&self, dice: &mut Dice, number: usize) -> Step {
        let (queue, owner, owner_channel) = *dice.pick(&QUEUES);
        let consuming = Address { connection: owner.to_owned(), channel: owner_channel };
        let (_, name, channel) = *dice.pick(&QUEUES);
        let anywhere = Address { connection: name.to_owned(), channel };
        let exchange = *dice.pick(&EXCHANGES);
        let own_exchange = *dice.pick(&["x0", "x1", "x2"]);
        let kind = *dice.pick(&["direct", "fanout", "topic"]);
        let key = *dice.pick(&KEYS);
        let text = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        let tag_on = |address: &Address, dice: &mut Dice| {
            let seen = self.tags.get(address).map_or(&[][..], Vec::as_slice);
            let recent = &seen[seen.len().saturating_sub(4)..];
            let tag = if recent.is_empty() || dice.one_in(12) { dice.below(6).into() } else { *dice.pick(recent) };
            Value::Int(tag)
        };
        let ack_at = if dice.one_in(2) { consuming.clone() } else { anywhere.clone() };
        let ack_tag = tag_on(&ack_at, dice);
        let roll = match dice.below(100) {
            // Mostly there is something to ack or commit.
            79..89 if self.tags.get(&ack_at).is_none_or(Vec::is_empty) && !dice.one_in(8) => 40,
            67..77 if self.consuming.contains(&consuming) => 40,
            77..79 if !self.consuming.contains(&consuming) => 40,
            95..97 if !self.transactional.contains(&anywhere) && !dice.one_in(8) => 40,
            roll => roll,
        };
        let (address, item) = match roll {
            0..2 => {
                let flag = |name, dice: &mut Dice, of| (name, Value::Bool(dice.one_in(of)));
                let fields = [
                    ("queue", text(queue)),
                    flag("durable", dice, 3),
                    flag("auto_delete", dice, 6),
                    flag("exclusive", dice, 12),
                    ("passive", Value::Bool(!dice.one_in(4))),
                ];
                (anywhere, method("queue.declare", fields))
            }
            11..12 => {
                let flags = [("if_unused", Value::Bool(dice.one_in(3))), ("if_empty", Value::Bool(dice.one_in(3)))];
                let [if_unused, if_empty] = flags;
                (anywhere, method("queue.delete", [("queue", text(queue)), if_unused, if_empty]))
            }
            12..13 => (anywhere, method("queue.purge", [("queue", text(queue))])),
            13..17 => {
                let fields = [("queue", text(queue)), ("exchange", text(exchange)), ("routing_key", text(key))];
                (anywhere, method("queue.bind", fields))
            }
            17..19 => {
                let fields = [("queue", text(queue)), ("exchange", text(exchange)), ("routing_key", text(key))];
                (anywhere, method("queue.unbind", fields))
            }
            19..20 => {
                let fields = [
                    ("exchange", text(own_exchange)),
                    ("type", text(kind)),
                    ("auto_delete", Value::Bool(dice.one_in(5))),
                    ("passive", Value::Bool(dice.one_in(8))),
                ];
                (anywhere, method("exchange.declare", fields))
            }
            20..21 => {
                let fields = [("exchange", text(own_exchange)), ("if_unused", Value::Bool(dice.one_in(2)))];
                (anywhere, method("exchange.delete", fields))
            }
            21..23 => {
                let name = if dice.one_in(4) { "exchange.unbind" } else { "exchange.bind" };
                let fields =
                    [("destination", text(own_exchange)), ("source", text(exchange)), ("routing_key", text(key))];
                (anywhere, method(name, fields))
            }
            2..11 | 23..60 => {
                let to_queue = !dice.one_in(3);
                let fields = [
                    ("exchange", text(if to_queue { "" } else { exchange })),
                    ("routing_key", text(if to_queue { queue } else { key })),
                    ("mandatory", Value::Bool(dice.one_in(4))),
                    ("delivery_mode", Value::Int(i128::from(dice.below(2)) + 1)),
                    ("body", text(&format!("message {number}"))),
                ];
                (anywhere, method("basic.publish", fields))
            }
            60..67 => {
                // Not where the limit is shared: RabbitMQ counts what was got before it was set.
                let address = Address { connection: anywhere.connection, channel: 2 };
                let fields = [("queue", text(queue)), ("no_ack", Value::Bool(dice.one_in(3)))];
                (address, method("basic.get", fields))
            }
            67..77 => {
                let fields = [
                    ("queue", text(queue)),
                    ("consumer_tag", text(&format!("{queue}-c"))),
                    ("no_ack", Value::Bool(dice.one_in(6))),
                    ("exclusive", Value::Bool(dice.one_in(10))),
                ];
                (consuming, method("basic.consume", fields))
            }
            77..79 => {
                let tag = text(&format!("{queue}-c"));
                (consuming, method("basic.cancel", [("consumer_tag", tag)]))
            }
            79..85 => {
                let multiple = Value::Bool(dice.one_in(3));
                (ack_at, method("basic.ack", [("delivery_tag", ack_tag), ("multiple", multiple)]))
            }
            85..89 => {
                let (multiple, requeue) = (Value::Bool(dice.one_in(3)), Value::Bool(!dice.one_in(3)));
                let fields = [("delivery_tag", ack_tag), ("multiple", multiple), ("requeue", requeue)];
                (ack_at, method("basic.nack", fields))
            }
            89..90 => (anywhere, method("basic.recover", [("requeue", Value::Bool(true))])),
            90..93 => {
                let count = Value::Int(dice.below(4).into());
                // One kind for each channel: RabbitMQ forgets the shared limit when a consumers' limit is set after it.
                let global = Value::Bool(anywhere.channel == 1);
                (anywhere, method("basic.qos", [("prefetch_count", count), ("global", global)]))
            }
            93..94 => (anywhere, method("confirm.select", [])),
            94..95 => (anywhere, method("tx.select", [])),
            95..97 => (anywhere, method(if dice.one_in(3) { "tx.rollback" } else { "tx.commit" }, [])),
            97..99 => (anywhere, method("channel.close", [("reply_code", Value::Int(200))])),
            _ => return Step::Drop(anywhere.connection),
        };
        Step::Say(address, item)
    }
}

/// What every conversation begins with, so that there is something to talk about.
fn declare(dice: &mut Dice, number: usize) -> Step {
    let text = |text: &str| Value::Bytes(text.as_bytes().to_vec());
    let durable = ("durable", Value::Bool(dice.one_in(3)));
    let item = match number {
        0..4 => method("queue.declare", [("queue", text(QUEUES[number].0)), durable]),
        4 => method("exchange.declare", [("exchange", text("x0")), ("type", text("direct")), durable]),
        5 => method("exchange.declare", [("exchange", text("x1")), ("type", text("fanout")), durable]),
        _ => method("exchange.declare", [("exchange", text("x2")), ("type", text("topic")), durable]),
    };
    Step::Say(Address { connection: "a".to_owned(), channel: 1 }, item)
}

fn method<const N: usize>(name: &str, fields: [(&str, Value); N]) -> Item {
    Item { name: name.to_owned(), fields: fields.map(|(key, value)| (key.to_owned(), value)).to_vec() }
}

/// Chance that a seed decides (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        u32::try_from(mixed % u64::from(limit)).expect("it is below a u32")
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.below(count) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = self.below(u32::try_from(from.len()).expect("a short list"));
        &from[at as usize]
    }
}
