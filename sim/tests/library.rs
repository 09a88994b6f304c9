//! The simulator as a library for other people's tests: what `examples/` shows is so.

#[path = "../examples/idempotent_consumer.rs"]
mod idempotent_consumer;

use std::time::Duration;

use idempotent_consumer::{Mistake, search};
use leveret_sim::lab::{
    Ending, Event, ExchangeKind, FaultKind, Lab, Message, Outcome, Program, QueueRules, Session, explore,
};
use leveret_sim::report::FailureKind;

/// The sound consumer stands through crashes of both programs and of the broker.
#[test]
fn a_sound_consumer_survives_every_seed() {
    let exploration = search(Mistake::None, 200);
    exploration.assert_sound();
    assert_eq!(exploration.runs, 200);
    assert!(exploration.crashes > 200 && exploration.boots > 300, "{exploration:?}");
}

#[test]
fn a_consumer_that_acks_before_it_stores_loses_an_order() {
    found(Mistake::AcksFirst, "is booked 0 times");
}

#[test]
fn a_consumer_that_does_not_look_books_an_order_twice() {
    found(Mistake::ForgetsOrders, "is booked 2 times");
}

/// Within a few seeds, and with the same seed again.
fn found(mistake: Mistake, text: &str) {
    let first = search(mistake, 20);
    let report = first.failed.as_ref().expect("a mistake is found");
    let failure = report.failure.as_ref().expect("it failed");
    assert_eq!(failure.oracle, "each order is booked once");
    assert!(failure.text.contains(text), "{}", failure.text);
    let again = search(mistake, 20);
    assert_eq!((again.runs, again.failed.map(|report| report.trace)), (first.runs, Some(report.trace)));
}

/// Publishes numbers, a few at a time, to an exchange of the lab's; none of them twice.
struct Counting {
    exchange: &'static str,
    next: u32,
}

impl Program for Counting {
    fn on_event(&mut self, session: &mut Session, event: Event) {
        if matches!(event, Event::Connected | Event::Woken) && self.next < 40 {
            let message =
                Message::new(self.next.to_string()).with_header("parity", ["even", "odd"][self.next as usize % 2]);
            session.publish_mandatory(self.exchange, "numbers", message);
            self.next += 1;
            session.wake_after(Duration::from_millis(20));
        }
    }

    fn waiting_for(&self) -> Option<String> {
        (self.next < 40).then(|| "numbers to be published".to_owned())
    }
}

/// Takes even numbers and rejects odd ones.
struct Even;

impl Program for Even {
    fn on_event(&mut self, session: &mut Session, event: Event) {
        match event {
            Event::Connected => session.consume("numbers", 3),
            Event::Delivered(delivery) if delivery.message.header("parity") == Some("even") => {
                session.ack(delivery.tag);
            }
            Event::Delivered(delivery) => session.reject(delivery.tag),
            _ => {}
        }
    }
}

/// Messages of programs go through dead lettering with their headers, and what is left at the end is there to be looked at.
#[test]
fn what_a_program_rejects_is_a_dead_letter_at_the_end() {
    let exploration = explore(0..20, |seed| {
        let mut lab = Lab::new("dead-letters", seed);
        let rules = QueueRules {
            dead_letter_exchange: Some(String::new()),
            dead_letter_key: Some("odd".to_owned()),
            ..QueueRules::default()
        };
        lab.queue_with("numbers", rules).queue("odd");
        lab.program("counting", || Counting { exchange: "", next: 0 });
        lab.program("even", || Even);
        lab.check("odd numbers are dead letters", |end| {
            let odd: Vec<String> = end.left_in("odd").map(Message::text).collect();
            let expected: Vec<String> = (0..20).map(|number| (2 * number + 1).to_string()).collect();
            if odd == expected { Ok(()) } else { Err(format!("{odd:?}")) }
        });
        lab
    });
    exploration.assert_sound();
    assert_eq!((exploration.runs, exploration.messages), (20, 20 * 40));
}

/// A fault at a time of one's own, another kind of exchange, and consumers that nobody wrote.
#[test]
fn the_broker_fails_when_it_is_told_to() {
    let lab = |seed| {
        let mut lab = Lab::new("told", seed);
        lab.queue("numbers").queue("copies").exchange("all", ExchangeKind::Fanout);
        lab.bind("all", "numbers", "").bind("all", "copies", "");
        lab.program("counting", || Counting { exchange: "all", next: 0 });
        lab.consumer(leveret_sim::lab::Consumer::of_queue("numbers"));
        let (at, away) = (Duration::from_millis(300), Duration::from_millis(50));
        lab.fault(at, away, FaultKind::End { how: Ending::Kill, busy: false, again: 0 });
        lab.check("copies stay", |end| {
            let (copies, numbers) = (end.left_in("copies").count(), end.left_in("numbers").count());
            // What was under way when the broker was killed nobody was promised.
            if copies >= 35 && numbers == 0 { Ok(()) } else { Err(format!("{copies} and {numbers} are left")) }
        });
        lab
    };
    let exploration = explore(0..10, lab);
    exploration.assert_sound();
    assert!(exploration.boots >= 20, "each broker starts twice at least: {exploration:?}");
    let Outcome { report, .. } = lab(3).run();
    assert_eq!(report.trace, lab(3).run().report.trace, "the same seed gives the same run");
}

/// A program's own assertion.
#[test]
fn an_assertion_of_a_program_ends_the_run() {
    struct Suspicious;
    impl Program for Suspicious {
        fn on_event(&mut self, session: &mut Session, event: Event) {
            match event {
                Event::Connected => session.consume("numbers", 3),
                Event::Delivered(delivery) => assert_ne!(delivery.message.text(), "7", "seven comes"),
                _ => {}
            }
        }
    }
    let exploration = explore(0..3, |seed| {
        let mut lab = Lab::new("suspicious", seed);
        lab.queue("numbers");
        lab.program("counting", || Counting { exchange: "", next: 5 });
        lab.program("suspicious", || Suspicious);
        lab
    });
    let failure = exploration.failed.and_then(|report| report.failure).expect("it failed");
    assert_eq!(failure.kind, FailureKind::Crash);
    assert!(failure.text.contains("seven comes"), "{}", failure.text);
}
