//! Who dials when, and which link stays.

use alloc::vec::Vec;
use core::time::Duration;

use super::super::{Attempt, Dialer, Who, keeps};
use super::pair::who;
use crate::limits;
use crate::time::Instant;

/// The pauses of a dialer whose attempts all fail at once.
fn pauses(seed: u64, count: usize) -> Vec<Duration> {
    let mut now = Instant::from_micros(5_000_000);
    let mut dialer = Dialer::new(seed, now);
    (0..count)
        .map(|_| {
            let at = dialer.next_timeout().unwrap();
            let pause = at.saturating_since(now);
            now = at;
            assert_eq!(dialer.on_timeout(now), Some(Attempt::Begin));
            dialer.on_lost(now);
            pause
        })
        .collect()
}

#[test]
fn pauses_grow_up_to_a_bound() {
    for seed in 0..50 {
        let pauses = pauses(seed, 100);
        for (at, pause) in pauses.iter().enumerate() {
            let longest = limits::DIAL_PAUSE_MIN.saturating_mul(1 << at.min(20)).min(limits::DIAL_PAUSE_MAX);
            assert!((longest / 2..=longest).contains(pause), "pause {at} of seed {seed}: {pause:?}");
        }
        assert!(pauses[50..].iter().any(|pause| *pause > limits::DIAL_PAUSE_MAX * 3 / 4));
    }
}

#[test]
fn two_that_lost_each_other_do_not_keep_step() {
    assert_eq!(pauses(1, 20), pauses(1, 20));
    let (left, right) = (pauses(1, 20), pauses(2, 20));
    assert!(left.iter().zip(&right).all(|(left, right)| left != right));
}

/// A dialer that has failed a few times, and has an attempt under way.
fn tired() -> (Dialer, Instant) {
    let mut now = Instant::ZERO;
    let mut dialer = Dialer::new(3, now);
    for _ in 0..6 {
        now = dialer.next_timeout().unwrap();
        dialer.on_timeout(now);
        dialer.on_lost(now);
    }
    now = dialer.next_timeout().unwrap();
    assert_eq!(dialer.on_timeout(now), Some(Attempt::Begin));
    (dialer, now)
}

#[test]
fn pauses_begin_anew_after_a_link_that_lasted() {
    let (mut dialer, now) = tired();
    dialer.on_linked(now);
    assert_eq!(dialer.next_timeout(), None);
    assert_eq!(dialer.on_timeout(now), None);
    let later = now + limits::DIAL_STEADY_AFTER;
    dialer.on_lost(later);
    assert_eq!(dialer.failures(), 0);
    assert!(dialer.next_timeout().unwrap() <= later + limits::DIAL_PAUSE_MIN);
}

#[test]
fn a_link_that_is_refused_at_once_is_no_success() {
    let (mut dialer, now) = tired();
    dialer.on_linked(now);
    let soon = Instant::from_micros((now + limits::DIAL_STEADY_AFTER).as_micros() - 1);
    dialer.on_lost(soon);
    assert_eq!(dialer.failures(), 7);
    assert!(dialer.next_timeout().unwrap() >= soon + limits::DIAL_PAUSE_MAX / 2);
}

#[test]
fn an_attempt_that_hears_nothing_is_abandoned() {
    let (mut dialer, now) = tired();
    let until = now + limits::DIAL_TIMEOUT;
    assert_eq!(dialer.next_timeout(), Some(until));
    assert_eq!(dialer.on_timeout(Instant::from_micros(until.as_micros() - 1)), None);
    assert_eq!(dialer.on_timeout(until), Some(Attempt::Abandon));
    let next = dialer.next_timeout();
    assert!(next.unwrap() > until);
    // That it failed as well changes nothing.
    dialer.on_lost(until);
    assert_eq!((dialer.next_timeout(), dialer.failures()), (next, 7));
}

#[test]
fn a_node_that_was_dialed_meanwhile_need_not_dial() {
    let mut dialer = Dialer::new(3, Instant::ZERO);
    dialer.on_linked(Instant::ZERO);
    assert_eq!(dialer.next_timeout(), None);
    dialer.on_lost(Instant::ZERO);
    assert_eq!(dialer.failures(), 1);
    assert!(dialer.next_timeout().is_some());
}

#[test]
fn of_two_links_dialed_at_once_both_nodes_keep_the_same() {
    let again = Who { boot: 4, ..who("rabbit@a") };
    let wiped = Who { disk: 5, ..who("rabbit@a") };
    let longer = who("rabbit@aa");
    let nodes = [who("rabbit@a"), who("rabbit@b"), who("hare@z"), again, wiped, longer];
    for (at, left) in nodes.iter().enumerate() {
        for (other, right) in nodes.iter().enumerate() {
            // The link that left dialed, and the one that right dialed, as each of them sees it.
            let by_left = (keeps(left, right, true), keeps(right, left, false));
            let by_right = (keeps(left, right, false), keeps(right, left, true));
            assert_eq!(by_left.0, by_left.1, "{left:?} and {right:?}");
            assert_eq!(by_right.0, by_right.1, "{left:?} and {right:?}");
            let kept = usize::from(by_left.0) + usize::from(by_right.0);
            assert_eq!(kept, usize::from(at != other), "{left:?} and {right:?}");
        }
    }
    assert!(keeps(&who("rabbit@a"), &who("rabbit@b"), true));
}
