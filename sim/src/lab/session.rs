//! What a program wants done.

use std::rc::Rc;
use std::time::Duration;

use leveret_engine::amqp::Method;
use leveret_engine::amqp::method::basic;

use super::program::Message;
use super::store::Lifeline;
use crate::client::short;
use crate::clock::Micros;
use crate::rng::{Fate, scale};
use crate::workload::script::{consume, qos};

/// A program's say: what it calls here is done once it has dealt with its event, in order, over its connection. Without a connection
/// nothing is.
#[derive(Debug)]
pub struct Session {
    pub(super) now: Micros,
    pub(super) is_stopping: bool,
    /// The number of the last publish.
    pub(super) last_seqno: u64,
    pub(super) wishes: Vec<Wish>,
    pub(super) wake: Option<Micros>,
    lifeline: Rc<Lifeline>,
    fates: Fate,
    drawn: u64,
}

/// One thing to be done.
#[derive(Debug)]
pub(super) enum Wish {
    Publish {
        exchange: String,
        key: String,
        is_mandatory: bool,
        message: Message,
    },
    Ack {
        tag: u64,
        multiple: bool,
    },
    Nack {
        tag: u64,
        requeue: bool,
    },
    /// Something that is answered.
    Request(Method),
    Close,
}

impl Session {
    pub(super) fn new(lifeline: Rc<Lifeline>, fates: Fate) -> Self {
        let (wishes, wake) = (Vec::new(), None);
        Self { now: 0, is_stopping: false, last_seqno: 0, wishes, wake, lifeline, fates, drawn: 0 }
    }

    /// The time since the run began.
    pub fn now(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    /// Whether nothing is to be begun any more; see [`super::Event::Stopping`].
    pub fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// A number from `low` to `high`, both included, that the seed decides.
    ///
    /// # Panics
    /// If there is none.
    pub fn random(&mut self, low: u64, high: u64) -> u64 {
        self.drawn += 1;
        scale(self.fates.of(0, self.drawn), low, high)
    }

    /// Publishes a message; its number, by which [`super::Event::Confirmed`] or [`super::Event::Refused`] will speak of it on this
    /// connection.
    pub fn publish(&mut self, exchange: &str, routing_key: &str, message: Message) -> u64 {
        self.put(exchange, routing_key, false, message)
    }

    /// The same, and the message comes back if there is no queue for it.
    pub fn publish_mandatory(&mut self, exchange: &str, routing_key: &str, message: Message) -> u64 {
        self.put(exchange, routing_key, true, message)
    }

    /// Starts to consume a queue, with at most `prefetch` deliveries out at a time; 0 is any number.
    pub fn consume(&mut self, queue: &str, prefetch: u16) {
        self.wish(Wish::Request(qos(prefetch, false)));
        self.wish(Wish::Request(consume(queue, queue, false, false, 0)));
    }

    /// Stops to consume a queue. What was delivered is still to be answered.
    pub fn cancel(&mut self, queue: &str) {
        self.wish(Wish::Request(basic::Cancel { consumer_tag: short(queue), no_wait: false }.into()));
    }

    /// A delivery is done with.
    pub fn ack(&mut self, tag: u64) {
        self.wish(Wish::Ack { tag, multiple: false });
    }

    /// This delivery and all before it are done with.
    pub fn ack_up_to(&mut self, tag: u64) {
        self.wish(Wish::Ack { tag, multiple: true });
    }

    /// A delivery is to come again.
    pub fn requeue(&mut self, tag: u64) {
        self.wish(Wish::Nack { tag, requeue: true });
    }

    /// A delivery is not wanted: it goes to the dead-letter exchange, or away.
    pub fn reject(&mut self, tag: u64) {
        self.wish(Wish::Nack { tag, requeue: false });
    }

    /// Closes the connection in order; another one will come.
    pub fn close(&mut self) {
        self.wish(Wish::Close);
    }

    /// Asks for [`super::Event::Woken`]. Of several times asked for, the earliest counts; those behind it are to be asked for again.
    /// Without a connection at that time it comes with the next one.
    pub fn wake_after(&mut self, delay: Duration) {
        let delay = Micros::try_from(delay.as_micros()).unwrap_or(Micros::MAX);
        let at = self.now.saturating_add(delay);
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    fn put(&mut self, exchange: &str, key: &str, is_mandatory: bool, message: Message) -> u64 {
        self.last_seqno += 1;
        let (exchange, key) = (exchange.to_owned(), key.to_owned());
        self.wish(Wish::Publish { exchange, key, is_mandatory, message });
        self.last_seqno
    }

    fn wish(&mut self, wish: Wish) {
        if self.lifeline.step() {
            self.wishes.push(wish);
        }
    }
}
