//! The simulator's own clients, by what matters in a test.

use std::time::Duration;

use super::micros;
use crate::clock::{MILLISECOND, Micros};
use crate::plan::{
    AnswerPlan, Burst, BurstExtras, ClientPlan, ConsumerPlan, LinkPlan, PublishMode, PublisherPlan, Role, Topology,
};
use crate::rng::{Ratio, Stream};

/// A publisher with confirms. What it does not know the outcome of it publishes again, as a message of its own.
#[derive(Clone, Debug)]
pub struct Publisher {
    exchange: String,
    key: String,
    messages: u32,
    size: (u32, u32),
    is_persistent: bool,
    window: u32,
}

impl Publisher {
    /// One that publishes 100 persistent messages of up to a kilobyte, spread over the time with faults, ten of them unconfirmed at most.
    pub fn new(exchange: &str, routing_key: &str) -> Self {
        let (exchange, key) = (exchange.to_owned(), routing_key.to_owned());
        Self { exchange, key, messages: 100, size: (0, 1024), is_persistent: true, window: 10 }
    }

    /// The same by the default exchange.
    pub fn to_queue(queue: &str) -> Self {
        Self::new("", queue)
    }

    /// So many messages.
    #[must_use]
    pub fn messages(mut self, count: u32) -> Self {
        self.messages = count;
        self
    }

    /// Bytes of the bodies, smallest and largest.
    #[must_use]
    pub fn body_bytes(mut self, smallest: u32, largest: u32) -> Self {
        self.size = (smallest, largest);
        self
    }

    /// Its messages need not survive a restart.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.is_persistent = false;
        self
    }

    /// So many messages may be unconfirmed at a time.
    #[must_use]
    pub fn window(mut self, messages: u32) -> Self {
        self.window = messages.max(1);
        self
    }

    pub(super) fn plan(self, seed: u64, number: usize, chaos_us: Micros) -> ClientPlan {
        let burst = Burst {
            wait_us: 0,
            gap_us: chaos_us / u64::from(self.messages.max(1)) * 9 / 10,
            count: self.messages,
            exchange: self.exchange,
            key: self.key,
            persistent: self.is_persistent,
            mandatory: false,
            size: self.size,
            extras: BurstExtras::default(),
        };
        let mode = PublishMode::Confirm { window: self.window };
        let bursts = if self.messages > 0 { vec![burst] } else { Vec::new() };
        client(seed, number, Role::Publisher(PublisherPlan { mode, republish: true, bursts }))
    }
}

/// A consumer that acks, or does not want, what it gets.
#[derive(Clone, Debug)]
pub struct Consumer {
    queue: String,
    prefetch: u16,
    think: (Duration, Duration),
    requeue: Ratio,
    reject: Ratio,
}

impl Consumer {
    /// One that acks everything at once, with a prefetch of ten.
    pub fn of_queue(queue: &str) -> Self {
        let none = Duration::ZERO;
        let (requeue, reject) = (Ratio::NEVER, Ratio::NEVER);
        Self { queue: queue.to_owned(), prefetch: 10, think: (none, none), requeue, reject }
    }

    /// So many messages may be out at a time; 0 is any number.
    #[must_use]
    pub fn prefetch(mut self, messages: u16) -> Self {
        self.prefetch = messages;
        self
    }

    /// It takes its time for each, at least and at most.
    #[must_use]
    pub fn thinks(mut self, least: Duration, most: Duration) -> Self {
        self.think = (least, most.max(least));
        self
    }

    /// It puts this share back.
    #[must_use]
    pub fn requeues(mut self, share: Ratio) -> Self {
        self.requeue = share;
        self
    }

    /// It does not want this share.
    #[must_use]
    pub fn rejects(mut self, share: Ratio) -> Self {
        self.reject = share;
        self
    }

    pub(super) fn plan(self, seed: u64, number: usize, topology: &Topology) -> ClientPlan {
        let queue = topology.queues.iter().find(|queue| queue.name == self.queue);
        let queue = queue.unwrap_or_else(|| panic!("no queue {} was added to the lab before its consumer", self.queue));
        let answer = AnswerPlan {
            think_us: (micros(self.think.0), micros(self.think.1)),
            forget: Ratio::NEVER,
            requeue: self.requeue,
            drop: self.reject,
            nack: true,
            multiple: 1,
        };
        let plan = ConsumerPlan {
            queue: queue.clone(),
            bindings: Vec::new(),
            consumers: 1,
            prefetch: self.prefetch,
            global: false,
            no_ack: false,
            exclusive: false,
            priority: 0,
            answer,
            acts: Vec::new(),
        };
        client(seed, number, Role::Consumer(plan))
    }
}

/// The client in whose place a program stands.
pub(super) fn of_program(seed: u64, number: usize) -> ClientPlan {
    let idle = PublisherPlan { mode: PublishMode::Plain, republish: false, bursts: Vec::new() };
    client(seed, number, Role::Publisher(idle))
}

/// A client whose connection has habits that the seed decides.
fn client(seed: u64, number: usize, role: Role) -> ClientPlan {
    let mut stream = Stream::new(seed, "lab client", number as u64);
    let link = LinkPlan {
        latency_us: (stream.range(1, 50), stream.range(51, 2050)),
        segment_bytes: *stream.pick(&[0, 0, 0, 1460, 97]),
        cut: *stream.pick(&[Ratio::NEVER, Ratio(1, 10), Ratio(1, 2)]),
        window_bytes: 1024 * *stream.pick(&[4, 64, 256]),
    };
    ClientPlan {
        start_us: stream.range(0, 50 * MILLISECOND),
        heartbeat_s: *stream.pick(&[0, 1, 2, 60]),
        frame_max: *stream.pick(&[4096, 16_384, 131_072]),
        link,
        reconnect_us: (MILLISECOND, stream.range(2, 300) * MILLISECOND),
        node: 0,
        role,
    }
}
