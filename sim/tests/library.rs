//! The simulator as a library for other people's tests: what `examples/` shows is so.

#[path = "../examples/idempotent_consumer.rs"]
mod idempotent_consumer;

use idempotent_consumer::{Mistake, search};

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
