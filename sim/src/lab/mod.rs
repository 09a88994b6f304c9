//! A simulated world for your own tests: your topology, your client programs, the real engine between them, and faults.
//!
//! What it is for: logic around a broker that has to hold when things go wrong. Is a consumer really idempotent? Does the outbox lose
//! an order when the process dies between its database and the broker? Such questions are answered by a program that is written as a
//! state machine (a [`Program`]: events in, wishes out) and a [`Lab`] for it. Time is virtual and a seed decides everything, so that
//! thousands of crashes, redeliveries and reconnects take seconds, and a failure comes again with its seed.
//!
//! Three things find fault with a run: the simulator's own promises (nothing confirmed is lost, order, prefetch, the redelivered flag
//! and so on, see the list that `leveret-sim run` prints), the programs' own assertions, and what is asked at the end with
//! [`Lab::check`].
//!
//! ```
//! use std::time::Duration;
//! use leveret_sim::lab::{Event, Lab, Program, Publisher, Session, Store, explore};
//!
//! /// Counts messages. It forgets what it has counted when its process crashes, unless that is in its store.
//! struct Counter {
//!     seen: Store<Vec<String>>,
//! }
//!
//! impl Program for Counter {
//!     fn on_event(&mut self, session: &mut Session, event: Event) {
//!         match event {
//!             Event::Connected => session.consume("orders", 10),
//!             Event::Delivered(delivery) => {
//!                 // First the store, then the ack: a crash in between brings the message back.
//!                 self.seen.write(|seen| seen.push(delivery.message.text()));
//!                 session.ack(delivery.tag);
//!             }
//!             _ => {}
//!         }
//!     }
//! }
//!
//! let exploration = explore(0..5, |seed| {
//!     let mut lab = Lab::new("counting", seed);
//!     lab.queue("orders");
//!     lab.publisher(Publisher::to_queue("orders").messages(50));
//!     let seen = lab.store(Vec::new());
//!     let kept = seen.clone();
//!     let counter = lab.program("counter", move || Counter { seen: seen.clone() });
//!     lab.crashes(counter, 1..=3);
//!     lab.check("each order is counted", move |_| match kept.read().len() {
//!         50.. => Ok(()),
//!         fewer => Err(format!("only {fewer} of 50 were counted")),
//!     });
//!     lab
//! });
//! exploration.assert_sound();
//! assert!(exploration.crashes > 0);
//! ```
//!
//! `sim/examples/idempotent_consumer.rs` is a larger one: an outbox, an idempotent consumer, and two mistakes that are found.

mod clients;
mod explore;
mod process;
mod program;
mod session;
mod store;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

pub use self::clients::{Consumer, Publisher};
pub use self::explore::{Exploration, explore};
use self::process::{Process, Start};
pub use self::program::{Delivery, Event, Message, Program};
pub use self::session::Session;
use self::store::Lifeline;
pub use self::store::Store;
use crate::clock::{MILLISECOND, Micros, SECOND};
use crate::options::generate;
use crate::plan::{BindingPlan, ClientPlan, ExchangePlan, Fault, Plan, QueuePlan, Topology};
pub use crate::plan::{Ending, FaultKind, QueueRules};
use crate::report::{Failure, Report};
use crate::rng::{Fate, Stream};
use crate::run::{RunOptions, run_world};
pub use crate::scenario::FaultSpec;
use crate::scenario::{Scenario, Span};
use crate::workload::Workload;
use crate::world::World;

/// One world, to be built and then run. See the module.
pub struct Lab {
    name: String,
    seed: u64,
    topology: Topology,
    clients: Vec<ClientPlan>,
    programs: BTreeMap<usize, (String, Start)>,
    crashes: BTreeMap<usize, RangeInclusive<u64>>,
    faults: Vec<Fault>,
    random_faults: FaultSpec,
    chaos_us: Micros,
    lifeline: Rc<Lifeline>,
    checks: Vec<(&'static str, Check)>,
}

type Check = Box<dyn FnOnce(&End) -> Result<(), String>>;

/// Which exchange it is (AMQP 0-9-1 §3.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeKind {
    /// By equal keys.
    Direct,
    /// To all.
    Fanout,
    /// By words, `*` and `#`.
    Topic,
}

/// A run that is over, for [`Lab::check`].
#[derive(Clone, Debug, Default)]
pub struct End {
    /// What was still in the queues once all programs had come to their end and left: the queue and the message, in their order.
    pub left: Vec<(String, Message)>,
}

impl End {
    /// What was left in a queue, its oldest first.
    pub fn left_in(&self, queue: &str) -> impl Iterator<Item = &Message> {
        self.left.iter().filter(move |(name, _)| name == queue).map(|(_, message)| message)
    }
}

/// What came of one run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the simulator says of it.
    pub report: Report,
    /// How often a program's process crashed.
    pub crashes: u64,
}

impl Lab {
    /// An empty world. The seed decides what is left open: delays, how bytes are cut, the disk's temper, when things fail.
    pub fn new(name: &str, seed: u64) -> Self {
        Self {
            name: name.to_owned(),
            seed,
            topology: Topology::default(),
            clients: Vec::new(),
            programs: BTreeMap::new(),
            crashes: BTreeMap::new(),
            faults: Vec::new(),
            random_faults: FaultSpec::default(),
            chaos_us: 3 * SECOND,
            lifeline: Rc::new(Lifeline::default()),
            checks: Vec::new(),
        }
    }

    /// How long there may be faults; three seconds if nobody says. After that all is mended and comes to its end.
    pub fn run_for(&mut self, time: Duration) -> &mut Self {
        self.chaos_us = micros(time);
        self
    }

    /// Adds a durable queue.
    pub fn queue(&mut self, name: &str) -> &mut Self {
        self.queue_with(name, QueueRules::default())
    }

    /// Adds a durable queue with arguments.
    ///
    /// Where a queue has some, no model can say what is in which queue at each moment, and each message is judged by where and when it
    /// was seen. Publish to such queues by the default exchange then.
    pub fn queue_with(&mut self, name: &str, rules: QueueRules) -> &mut Self {
        let name = name.to_owned();
        self.topology.queues.push(QueuePlan {
            name,
            durable: true,
            auto_delete: false,
            exclusive: false,
            rules,
            node: 0,
        });
        self
    }

    /// Adds a durable exchange.
    pub fn exchange(&mut self, name: &str, kind: ExchangeKind) -> &mut Self {
        let kind = match kind {
            ExchangeKind::Direct => "direct",
            ExchangeKind::Fanout => "fanout",
            ExchangeKind::Topic => "topic",
        };
        self.topology.exchanges.push(ExchangePlan {
            name: name.to_owned(),
            kind: kind.to_owned(),
            durable: true,
            node: 0,
        });
        self
    }

    /// Binds a queue to an exchange.
    pub fn bind(&mut self, exchange: &str, queue: &str, key: &str) -> &mut Self {
        let (source, destination, key) = (exchange.to_owned(), queue.to_owned(), key.to_owned());
        self.topology.bindings.push(BindingPlan { source, destination, to_exchange: false, key, headers: None });
        self
    }

    /// Adds a publisher of the simulator's own. Its number, for faults.
    pub fn publisher(&mut self, publisher: Publisher) -> usize {
        let plan = publisher.plan(self.seed, self.clients.len(), self.chaos_us);
        self.add(plan)
    }

    /// Adds a consumer of the simulator's own. Its number, for faults.
    ///
    /// # Panics
    /// If its queue was not added before.
    pub fn consumer(&mut self, consumer: Consumer) -> usize {
        let plan = consumer.plan(self.seed, self.clients.len(), &self.topology);
        self.add(plan)
    }

    /// Something that a program keeps when its process crashes. [`Lab::check`] can look at it, too.
    pub fn store<T>(&self, content: T) -> Store<T> {
        Store::new(content, Rc::clone(&self.lifeline))
    }

    /// Adds a program. `start` makes it each time its process starts. Its number, for faults and [`Lab::crashes`].
    pub fn program<P: Program + 'static>(&mut self, name: &str, mut start: impl FnMut() -> P + 'static) -> usize {
        let number = self.clients.len();
        let start: Start = Box::new(move || Box::new(start()));
        self.programs.insert(number, (name.to_owned(), start));
        let plan = clients::of_program(self.seed, number);
        self.add(plan)
    }

    /// The process of this program crashes so many times, within an event or between two.
    ///
    /// # Panics
    /// If there is no program of that number.
    pub fn crashes(&mut self, program: usize, times: RangeInclusive<u64>) -> &mut Self {
        assert!(self.programs.contains_key(&program), "client {program} is none of the lab's programs");
        self.crashes.insert(program, times);
        self
    }

    /// Something goes wrong at a time, for a while.
    pub fn fault(&mut self, at: Duration, lasting: Duration, kind: FaultKind) -> &mut Self {
        self.faults.push(Fault {
            at_us: micros(at),
            for_us: micros(lasting),
            kind,
            node: 0,
            of_leader: false,
            of_queue: None,
            on: None,
        });
        self
    }

    /// Things go wrong at times that the seed decides, so often each.
    pub fn faults(&mut self, spec: FaultSpec) -> &mut Self {
        self.random_faults = spec;
        self
    }

    /// Asks something once the run is over and kept all promises. An error ends up in the report under this name.
    pub fn check(&mut self, name: &'static str, check: impl FnOnce(&End) -> Result<(), String> + 'static) -> &mut Self {
        self.checks.push((name, Box::new(check)));
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Outcome {
        self.run_with(RunOptions::default())
    }

    /// The same with options.
    pub fn run_with(mut self, options: RunOptions) -> Outcome {
        let plan = self.plan();
        let left = Rc::new(RefCell::new(Vec::new()));
        let workloads = self.processes(&plan);
        let lifeline = Rc::clone(&self.lifeline);
        let world = World::with_workloads(plan, options, workloads, Some(Rc::clone(&left)));
        let mut report = run_world(world);
        if report.failure.is_none() {
            let end = End { left: left.take() };
            report.failure = self.checks.into_iter().find_map(|(name, check)| {
                let text = check(&end).err()?;
                Some(Failure::safety(name, text, &[]))
            });
        }
        Outcome { report, crashes: lifeline.crashes() }
    }

    fn add(&mut self, plan: ClientPlan) -> usize {
        self.clients.push(plan);
        self.clients.len() - 1
    }

    /// The plan: what a scenario of as many clients would get, with what was said here in its place.
    fn plan(&mut self) -> Plan {
        let mut scenario = Scenario::parse(SCENARIO).expect("it is well formed");
        let clients = self.clients.len() as u64;
        scenario.name.clone_from(&self.name);
        scenario.clients.confirming = Span(clients, clients);
        scenario.run.chaos_ms = Span(self.chaos_us / MILLISECOND, self.chaos_us / MILLISECOND);
        scenario.faults = self.random_faults.clone();
        let is_story = self.topology.queues.iter().any(|queue| queue.rules != QueueRules::default());
        self.topology.rewrites = is_story;
        let mut plan = generate(&scenario, self.seed);
        plan.topology = std::mem::take(&mut self.topology);
        plan.clients = std::mem::take(&mut self.clients);
        plan.is_story = is_story;
        plan.faults.append(&mut self.faults);
        plan.faults.sort_by_key(|fault| fault.at_us);
        plan
    }

    fn processes(&mut self, plan: &Plan) -> BTreeMap<usize, Box<dyn Workload>> {
        let mut workloads: BTreeMap<usize, Box<dyn Workload>> = BTreeMap::new();
        for (number, (name, start)) in std::mem::take(&mut self.programs) {
            let mut stream = Stream::new(self.seed, "crashes", number as u64);
            let times = self.crashes.remove(&number).unwrap_or(0..=0);
            let count = Span(*times.start(), *times.end()).draw(&mut stream);
            let mut crashes: Vec<Micros> =
                (0..count).map(|_| stream.range(plan.chaos_us / 20, plan.chaos_us)).collect();
            crashes.sort_unstable();
            let fates = Fate::new(self.seed ^ ((number as u64) << 32), "program");
            let process = Process::new(name, start, crashes, Rc::clone(&self.lifeline), fates);
            workloads.insert(number, Box::new(process));
        }
        workloads
    }
}

impl std::fmt::Debug for Lab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lab").field("name", &self.name).field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// What plans are made from before the lab fills in its own.
const SCENARIO: &str = "name = \"lab\"\nabout = \"A lab.\"\n[clients]\nconfirming = [1, 1]\n";

fn micros(time: Duration) -> Micros {
    Micros::try_from(time.as_micros()).unwrap_or(Micros::MAX)
}
