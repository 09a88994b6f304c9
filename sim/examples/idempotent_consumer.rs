//! Orders that are to be booked once each, through crashes of everybody: an outbox, a broker and an idempotent consumer.
//!
//! ```text
//! cargo run -p leveret-sim --example idempotent_consumer                  the sound one, 200 seeds
//! cargo run -p leveret-sim --example idempotent_consumer acks-first       finds the seed at which an order is lost
//! cargo run -p leveret-sim --example idempotent_consumer forgets-orders   finds the seed at which one is booked twice
//! ```
//!
//! The shop writes an order to its database and publishes it until it is confirmed; so an order may be published twice. Billing takes
//! its time for each order, books it in its own database, and acks; so an order may be delivered twice. What makes that right is that
//! billing's database knows which orders it has.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::process::ExitCode;
use std::time::Duration;

use leveret_sim::lab::{Delivery, Event, Exploration, FaultSpec, Lab, Message, Program, Session, Store, explore};
use leveret_sim::scenario::Span;

/// What billing does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// Nothing.
    None,
    /// It acks before the order is in its database.
    AcksFirst,
    /// It does not look whether it has the order.
    ForgetsOrders,
}

const ORDERS: u32 = 60;
const QUEUE: &str = "orders";

/// The shop's database.
#[derive(Debug, Default)]
struct Outbox {
    taken: u32,
    /// Orders whose publish is not confirmed.
    unsent: BTreeSet<u32>,
}

/// Takes orders, and publishes each until it is confirmed.
struct Shop {
    outbox: Store<Outbox>,
    /// Orders under way on this connection, by the number of their publish.
    under_way: BTreeMap<u64, u32>,
}

impl Shop {
    fn publish(&mut self, session: &mut Session, order: u32) {
        let seqno = session.publish("", QUEUE, Message::new(order.to_string()));
        self.under_way.insert(seqno, order);
    }

    fn take_order(&mut self, session: &mut Session) {
        let order = self.outbox.read().taken;
        if order == ORDERS || session.is_stopping() {
            return;
        }
        // First the database: an order that is taken is not lost any more.
        self.outbox.write(|outbox| {
            outbox.taken += 1;
            outbox.unsent.insert(order);
        });
        self.publish(session, order);
        let pause = session.random(1, 60);
        session.wake_after(Duration::from_millis(pause));
    }
}

impl Program for Shop {
    fn on_event(&mut self, session: &mut Session, event: Event) {
        match event {
            Event::Connected => {
                self.under_way.clear();
                let unsent: Vec<u32> = self.outbox.read().unsent.iter().copied().collect();
                for order in unsent {
                    self.publish(session, order);
                }
                session.wake_after(Duration::from_millis(1));
            }
            Event::Woken => self.take_order(session),
            Event::Confirmed(seqno) => {
                if let Some(order) = self.under_way.remove(&seqno) {
                    self.outbox.write(|outbox| {
                        outbox.unsent.remove(&order);
                    });
                }
            }
            _ => {}
        }
    }

    fn waiting_for(&self) -> Option<String> {
        let unsent = self.outbox.read().unsent.len();
        (unsent > 0).then(|| format!("{unsent} orders to be sent"))
    }
}

/// Billing's database: how often each order was booked.
type Books = BTreeMap<u32, u32>;

/// Books orders, one after the other, a few milliseconds each.
struct Billing {
    books: Store<Books>,
    mistake: Mistake,
    /// Delivered on this connection and not booked.
    work: VecDeque<(u64, u32)>,
}

impl Billing {
    fn book(&self, order: u32) {
        let has_it = self.books.read().contains_key(&order);
        if !has_it || self.mistake == Mistake::ForgetsOrders {
            self.books.write(|books| *books.entry(order).or_default() += 1);
        }
    }

    fn delivered(&mut self, session: &mut Session, delivery: &Delivery) {
        let order = delivery.message.text().parse().expect("the shop publishes numbers");
        if self.mistake == Mistake::AcksFirst {
            session.ack(delivery.tag);
        }
        self.work.push_back((delivery.tag, order));
        session.wake_after(Duration::from_millis(3));
    }
}

impl Program for Billing {
    fn on_event(&mut self, session: &mut Session, event: Event) {
        match event {
            Event::Connected => session.consume(QUEUE, 5),
            Event::Delivered(delivery) => self.delivered(session, &delivery),
            Event::Woken => {
                if let Some((tag, order)) = self.work.pop_front() {
                    self.book(order);
                    if self.mistake != Mistake::AcksFirst {
                        session.ack(tag);
                    }
                }
                if !self.work.is_empty() {
                    session.wake_after(Duration::from_millis(3));
                }
            }
            // What was delivered is delivered again, to whoever has the next channel.
            Event::ChannelClosed(..) => self.on_lost(),
            _ => {}
        }
    }

    fn on_lost(&mut self) {
        if self.mistake != Mistake::AcksFirst {
            self.work.clear();
        }
    }

    fn waiting_for(&self) -> Option<String> {
        (!self.work.is_empty()).then(|| format!("{} orders to be booked", self.work.len()))
    }
}

/// The world: both programs crash, and so does the broker.
fn lab(seed: u64, mistake: Mistake) -> Lab {
    let mut lab = Lab::new("idempotent-consumer", seed);
    lab.queue(QUEUE);
    let (outbox, books) = (lab.store(Outbox::default()), lab.store(Books::new()));
    let (taken, booked) = (outbox.clone(), books.clone());
    let shop = lab.program("shop", move || Shop { outbox: outbox.clone(), under_way: BTreeMap::new() });
    let billing = lab.program("billing", move || Billing { books: books.clone(), mistake, work: VecDeque::new() });
    lab.crashes(shop, 0..=3).crashes(billing, 0..=3);
    lab.faults(FaultSpec {
        kill: Span(0, 2),
        power_loss: Span(0, 1),
        reset: Span(0, 3),
        half_open: Span(0, 1),
        ..FaultSpec::default()
    });
    lab.check("each order is booked once", move |_| {
        let (taken, booked) = (taken.read().taken, booked.read());
        let wrong = (0..taken).find_map(|order| {
            let times = booked.get(&order).copied().unwrap_or(0);
            (times != 1).then(|| format!("order {order} of {taken} is booked {times} times"))
        });
        wrong.map_or(Ok(()), Err)
    });
    lab
}

/// Looks for a seed at which an order is not booked once.
pub(crate) fn search(mistake: Mistake, seeds: u64) -> Exploration {
    explore(0..seeds, |seed| lab(seed, mistake))
}

#[expect(clippy::print_stdout, reason = "an example that tells what it found")]
#[cfg_attr(test, expect(dead_code, reason = "the test calls what is above"))]
fn main() -> ExitCode {
    let mistake = match std::env::args().nth(1).as_deref() {
        None => Mistake::None,
        Some("acks-first") => Mistake::AcksFirst,
        Some("forgets-orders") => Mistake::ForgetsOrders,
        Some(other) => {
            println!("no mistake is called {other}: say acks-first, forgets-orders, or nothing");
            return ExitCode::from(1);
        }
    };
    let exploration = search(mistake, 200);
    let Exploration { runs, messages, boots, crashes, .. } = exploration;
    println!("{runs} runs: {messages} messages, {boots} starts of the broker, {crashes} crashes of the programs");
    match exploration.story() {
        None => ExitCode::SUCCESS,
        Some(story) => {
            println!("{story}");
            ExitCode::from(2)
        }
    }
}
