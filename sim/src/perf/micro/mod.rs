//! Micro-benchmarks: parts of a message's way through the engine, without sockets, disks or other threads.
//!
//! What they do is the same in every run, so that a tool which counts instructions, run with one number of messages and with another,
//! tells what one message takes to a tenth of a percent, whatever else the machine does.

mod rig;

use bytes::{Bytes, BytesMut};
use leveret_engine::amqp::method::{basic, confirm, exchange, queue};
use leveret_engine::amqp::{
    ContentAssembler, FrameDecoder, Method, Properties, RawProperties, Routing, ShortStr, encode, properties,
};
use leveret_engine::ids::ConnectionId;
use leveret_engine::limits;

use self::rig::Rig;
use super::clock::Clock;
use super::link::CHANNEL;
use super::options::MicroOptions;
use super::report::{group, say, say_json};

/// About how many bytes come from a client at once, as from a socket.
const CHUNK_BYTES: usize = 64 * 1024;
/// The queue's name, and the routing key.
const QUEUE: &str = "leveret-perf-micro";
/// Bindings of the topic exchange.
const BINDINGS: u32 = 1000;
/// Routing keys that are published with to it in turn.
const KEYS: u32 = 500;

/// A part of the way.
struct Case {
    name: &'static str,
    about: &'static str,
    /// Makes ready; what it returns does the work for as many messages as it says, again and again.
    prepare: fn() -> Result<Work, String>,
}

/// What is done again and again.
struct Work {
    messages: u64,
    act: Box<dyn FnMut() -> Result<(), String>>,
}

/// What one took.
#[derive(Debug, serde::Serialize)]
struct Timed {
    case: &'static str,
    about: &'static str,
    messages: u64,
    ns_each: f64,
}

/// From the least to the whole.
const CASES: [Case; 7] = [
    Case { name: "decode", about: "frames and commands out of bytes, 1 KiB", prepare: decode },
    Case { name: "route", about: "the same, then no queue of that name", prepare: || publish(Target::Nowhere) },
    Case {
        name: "topic",
        about: "a topic exchange with 1,000 bindings, none of which fits",
        prepare: || publish(Target::Topic),
    },
    Case { name: "deliver-16", about: "publish, queue, consumer with auto-ack, 16 B", prepare: || through(16, false) },
    Case {
        name: "deliver-1k",
        about: "publish, queue, consumer with auto-ack, 1 KiB",
        prepare: || through(1024, false),
    },
    Case {
        name: "enqueue",
        about: "publish to a queue without consumers, 1 KiB, purged now and then",
        prepare: || publish(Target::Queue),
    },
    Case { name: "durable", about: "publish, log, confirm, deliver and ack, 1 KiB", prepare: || through(1024, true) },
];

/// Runs cases; true, as there is nothing that could be wrong but errors.
pub(super) fn main(options: &MicroOptions) -> Result<bool, String> {
    let unknown = options.cases.iter().find(|name| CASES.iter().all(|case| case.name != **name));
    if let Some(name) = unknown {
        let known: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        return Err(format!("there is no case {name}; there are {}", known.join(", ")));
    }
    let clock = Clock::start();
    let mut all = Vec::new();
    for case in &CASES {
        if !options.cases.is_empty() && !options.cases.iter().any(|name| name == case.name) {
            continue;
        }
        let mut work = (case.prepare)()?;
        let rounds = options.count.div_ceil(work.messages);
        let begin = clock.now();
        for _ in 0..rounds {
            (work.act)()?;
        }
        let messages = rounds * work.messages;
        let ns_each = (clock.now() - begin) as f64 / messages as f64;
        all.push(Timed { case: case.name, about: case.about, messages, ns_each });
    }
    if options.json {
        say_json(&all)?;
        return Ok(true);
    }
    for Timed { case, about, messages, ns_each } in all {
        say(&format!("{case:<12}{ns_each:>9.1} ns each of {:>11}   {about}\n", group(messages)));
    }
    Ok(true)
}

/// Publishes as they come from a client, as many as about a chunk takes and at least one for each key; their number too.
fn publishes<'a>(routings: impl Iterator<Item = &'a Routing>, body_len: usize, is_persistent: bool) -> (Bytes, u64) {
    let delivery_mode = is_persistent.then_some(properties::PERSISTENT);
    let properties = RawProperties::from(&Properties { delivery_mode, ..Properties::default() });
    let body = vec![7; body_len];
    let mut out = BytesMut::new();
    let mut count = 0;
    for routing in routings {
        let whole = encode::Body::Whole(&body);
        let key = routing.as_bytes();
        encode::encode_publish(&mut out, CHANNEL, limits::FRAME_MAX, key, false, properties.as_bytes(), whole);
        count += 1;
        if out.len() >= CHUNK_BYTES {
            break;
        }
    }
    (out.freeze(), count)
}

fn to_queue() -> Routing {
    Routing::new(&ShortStr::new(), &ShortStr::from_static(QUEUE))
}

fn decode() -> Result<Work, String> {
    let (chunk, messages) = publishes(std::iter::repeat(&to_queue()), 1024, false);
    let mut decoder = FrameDecoder::new(limits::FRAME_MAX);
    let mut assembler = ContentAssembler::new(limits::MESSAGE_SIZE_MAX);
    let act = move || {
        decoder.feed(chunk.clone());
        let mut commands = 0;
        while let Some(frame) = decoder.next_frame().map_err(|error| error.to_string())? {
            let command = assembler.feed(frame).map_err(|error| error.to_string())?;
            commands += u64::from(std::hint::black_box(command).is_some());
        }
        if commands == messages { Ok(()) } else { Err(format!("{commands} commands of {messages}")) }
    };
    Ok(Work { messages, act: Box::new(act) })
}

/// Where messages go that nobody consumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Nowhere,
    Topic,
    Queue,
}

fn publish(target: Target) -> Result<Work, String> {
    let name = ShortStr::from_static(QUEUE);
    let mut rig = Rig::start()?;
    let mut methods: Vec<Method> = Vec::new();
    let mut routings = vec![to_queue()];
    if target != Target::Nowhere {
        methods.push(queue::Declare { queue: name.clone(), ..queue::Declare::default() }.into());
    }
    if target == Target::Topic {
        let exchange_type = ShortStr::from_static("topic");
        methods
            .push(exchange::Declare { exchange: name.clone(), exchange_type, ..exchange::Declare::default() }.into());
        for number in 0..BINDINGS {
            let key = if number % 2 == 0 { format!("micro.{number}.*") } else { format!("*.{number}.#") };
            let routing_key = ShortStr::try_from(key).map_err(|error| error.to_string())?;
            let (queue, exchange) = (name.clone(), name.clone());
            methods.push(queue::Bind { queue, exchange, routing_key, ..queue::Bind::default() }.into());
        }
        routings.clear();
        for number in 0..KEYS {
            let key = ShortStr::try_from(format!("micro.message.{number}")).map_err(|error| error.to_string())?;
            routings.push(Routing::new(&name, &key));
        }
    }
    let connection = rig.connect(methods)?;
    let body_len = if target == Target::Topic { 16 } else { 1024 };
    let keys = if target == Target::Topic { routings.len() } else { usize::MAX };
    let (chunk, messages) = publishes(routings.iter().cycle().take(keys), body_len, false);
    let mut purge = BytesMut::new();
    let emptying = queue::Purge { queue: name, ..queue::Purge::default() };
    encode::encode_method_frame(&mut purge, CHANNEL, &emptying.into());
    let purge = purge.freeze();
    let mut rounds = 0_u32;
    let act = move || {
        rig.feed(connection, chunk.clone())?;
        rounds += 1;
        if target == Target::Queue && rounds.is_multiple_of(16) {
            rig.feed(connection, purge.clone())?;
        }
        Ok(())
    };
    Ok(Work { messages, act: Box::new(act) })
}

/// From a publisher to a consumer, and back where there are confirms.
fn through(body_len: usize, is_durable: bool) -> Result<Work, String> {
    let name = ShortStr::from_static(QUEUE);
    let mut rig = Rig::start()?;
    let declare = queue::Declare { queue: name.clone(), durable: is_durable, ..queue::Declare::default() };
    let consume = basic::Consume { queue: name, no_ack: !is_durable, ..basic::Consume::default() };
    let consumer = rig.connect(vec![declare.into(), consume.into()])?;
    let publisher = rig.connect(if is_durable { vec![confirm::Select::default().into()] } else { Vec::new() })?;
    let (chunk, messages) = publishes(std::iter::repeat(&to_queue()), body_len, is_durable);
    let mut delivered = 0;
    let mut acks = BytesMut::new();
    let act = move || {
        let before = rig.sent(consumer);
        rig.feed(publisher, chunk.clone())?;
        check(&rig, consumer, before, messages, body_len)?;
        if is_durable {
            for tag in delivered + 1..=delivered + messages {
                encode::encode_ack(&mut acks, CHANNEL, tag, false);
            }
            delivered += messages;
            rig.feed(consumer, acks.split().freeze())?;
        }
        Ok(())
    };
    Ok(Work { messages, act: Box::new(act) })
}

/// That a consumer got so many bodies.
fn check(rig: &Rig, consumer: ConnectionId, before: u64, messages: u64, body_len: usize) -> Result<(), String> {
    let (got, least) = (rig.sent(consumer) - before, messages * u64::try_from(body_len).unwrap_or(u64::MAX));
    if got >= least { Ok(()) } else { Err(format!("the consumer got {got} bytes of {least} and more")) }
}
