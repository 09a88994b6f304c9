//! A link that was open, and its end.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

use super::super::{BadChunk, Error, Event, Lane, Link, Reason, Side, Unsent, Why};
use super::pair::{Pair, events, feed, setup, written};
use crate::limits;
use crate::time::Instant;

fn message() -> Bytes {
    Bytes::from_static(b"message")
}

#[test]
fn nothing_is_sent_before_both_have_proven_themselves() {
    let mut dialer = Link::new(Side::Dialer, setup("rabbit@a", "secret", 1), Instant::ZERO);
    assert_eq!(dialer.send(Lane::Control, message()), Err(Unsent::NotOpen));
    assert_eq!(dialer.peer(), None);
    dialer.refuse(Instant::ZERO, "the node stops");
    assert_eq!(dialer.send(Lane::Control, message()), Err(Unsent::NotOpen));
}

#[test]
fn an_acceptor_acts_on_nothing_that_comes_instead_of_a_proof() {
    let mut honest = Pair::open();
    honest.dialer.send(Lane::Control, message()).unwrap();
    let chunk = written(&mut honest.dialer);
    let mut dialer = Link::new(Side::Dialer, setup("rabbit@a", "secret", 1), Instant::ZERO);
    let mut acceptor = Link::new(Side::Acceptor, setup("rabbit@b", "secret", 2), Instant::ZERO);
    feed(&mut acceptor, &written(&mut dialer));
    feed(&mut acceptor, &chunk);
    let why = Why::Stranger(super::super::Stranger::Unknown);
    assert_eq!(events(&mut acceptor), [Event::Failed(Error { peer: Some("rabbit@a".into()), why })]);
}

#[test]
fn a_dialer_need_not_wait_for_the_acceptor_to_check_its_proof() {
    let mut dialer = Link::new(Side::Dialer, setup("rabbit@a", "secret", 1), Instant::ZERO);
    let mut acceptor = Link::new(Side::Acceptor, setup("rabbit@b", "secret", 2), Instant::ZERO);
    feed(&mut acceptor, &written(&mut dialer));
    feed(&mut dialer, &written(&mut acceptor));
    dialer.send(Lane::Control, message()).unwrap();
    // Proof and message in one piece.
    feed(&mut acceptor, &written(&mut dialer));
    let events = events(&mut acceptor);
    assert!(matches!(events[0], Event::Established(_)));
    assert_eq!(events[1..], [Event::Message(Lane::Control, message())]);
}

#[test]
fn an_unwelcome_node_is_told_why_and_nothing_of_it_counts() {
    let mut dialer = Link::new(Side::Dialer, setup("rabbit@a", "secret", 1), Instant::ZERO);
    let mut acceptor = Link::new(Side::Acceptor, setup("rabbit@b", "secret", 2), Instant::ZERO);
    feed(&mut acceptor, &written(&mut dialer));
    feed(&mut dialer, &written(&mut acceptor));
    dialer.send(Lane::Control, message()).unwrap();
    feed(&mut acceptor, &written(&mut dialer));
    assert!(matches!(acceptor.next_event(), Some(Event::Established(_))));
    acceptor.send(Lane::Bulk, Bytes::from(vec![0; 1_000_000])).unwrap();
    acceptor.refuse(Instant::ZERO, "it belongs to cluster 7, this node to 8: reset it first");
    acceptor.refuse(Instant::ZERO, "once more");
    // What the dialer sent behind its proof is not handed out, and what waited for it is not sent.
    assert_eq!(events(&mut acceptor), []);
    assert!(acceptor.is_over() && !acceptor.is_finished());
    feed(&mut dialer, &written(&mut acceptor));
    assert!(acceptor.is_finished());
    let events = events(&mut dialer);
    let [Event::Established(_), Event::Refused(refusal)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((refusal.is_proven, refusal.reason), (true, Reason::Unwelcome));
    let text = "node rabbit@b refuses this one: it belongs to cluster 7, this node to 8: reset it first";
    assert_eq!(refusal.to_string(), text);
    assert!(dialer.is_finished());
}

#[test]
fn a_refusal_goes_behind_the_chunk_that_is_on_its_way() {
    let mut pair = Pair::open();
    pair.dialer.send(Lane::Bulk, Bytes::from(vec![0; 1_000_000])).unwrap();
    let mut parts = Vec::new();
    pair.dialer.take_output(1, &mut parts);
    // Longer than fits, and cut within a letter.
    pair.dialer.refuse(Instant::ZERO, &"é".repeat(limits::LINK_REFUSAL_BYTES_MAX));
    pair.dialer.take_output(1, &mut parts);
    feed(&mut pair.acceptor, &parts.concat());
    let [Event::Refused(refusal)] = &events(&mut pair.acceptor)[..] else { panic!("no refusal") };
    assert_eq!(refusal.text, "é".repeat(limits::LINK_REFUSAL_BYTES_MAX / 2));
    pair.dialer.on_written(parts.iter().map(Bytes::len).sum());
    assert!(pair.dialer.is_finished());
}

#[test]
fn a_refusal_that_nobody_takes_is_given_up() {
    let mut pair = Pair::open();
    pair.dialer.refuse(Instant::ZERO, "away");
    let until = Instant::ZERO + limits::LINK_CLOSE_TIMEOUT;
    assert_eq!(pair.dialer.next_timeout(), Some(until));
    pair.dialer.on_timeout(Instant::from_micros(until.as_micros() - 1));
    assert!(!pair.dialer.is_finished());
    pair.dialer.on_timeout(until);
    assert!(pair.dialer.is_finished() && !pair.dialer.has_output());
}

#[test]
fn damage_ends_the_link_on_both_sides() {
    let mut pair = Pair::open();
    pair.dialer.send(Lane::Queues, message()).unwrap();
    pair.dialer.send(Lane::Queues, message()).unwrap();
    let mut bytes = written(&mut pair.dialer);
    *bytes.last_mut().unwrap() ^= 1;
    feed(&mut pair.acceptor, &bytes);
    // What was sound before it counts.
    let failed = Event::Failed(Error { peer: Some("rabbit@a".into()), why: Why::Chunk(BadChunk::Checksum) });
    assert_eq!(events(&mut pair.acceptor), [Event::Message(Lane::Queues, message()), failed]);
    feed(&mut pair.dialer, &written(&mut pair.acceptor));
    let [Event::Refused(refusal)] = &events(&mut pair.dialer)[..] else { panic!("no refusal") };
    assert_eq!(refusal.reason, Reason::Nonsense);
    assert!(refusal.to_string().contains("it got a chunk damaged on its way"), "{refusal}");
}

#[test]
fn an_open_link_is_silent_and_says_when_it_is_gone() {
    let mut pair = Pair::open();
    assert_eq!(pair.dialer.next_timeout(), None);
    pair.dialer.on_timeout(Instant::from_micros(u64::MAX));
    assert!(pair.dialer.is_open() && !pair.dialer.has_output());
    pair.dialer.send(Lane::Queues, message()).unwrap();
    pair.dialer.on_closed();
    let failed = Event::Failed(Error { peer: Some("rabbit@b".into()), why: Why::Gone });
    assert_eq!(events(&mut pair.dialer), [failed]);
    assert!(pair.dialer.is_finished());
    assert_eq!(pair.dialer.waiting_bytes(), 0);
}
