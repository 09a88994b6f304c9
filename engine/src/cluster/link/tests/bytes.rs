//! Bytes: what they are, that they stay so, and that none of them does harm.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::super::assembly::{Arrived, Assembly};
use super::super::chunk::{Part, Target, put_header};
use super::super::{BadChunk, Error, Event, Lane, Link, Side, Versions, Who, Why};
use super::pair::{Pair, Rng, events, feed, setup, speaking, who, written};
use crate::limits;
use crate::time::Instant;

/// Format 1 as it was first written: other nodes of this version have to read it, and later ones as well.
const FORMAT_1: &str = include_str!("format_1.txt");

fn put(out: &mut BytesMut, target: Target, part: Part, content: &[u8]) {
    put_header(out, target, part, content);
    out.put_slice(content);
}

fn chunk(lane: Lane, part: Part, content: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    put(&mut out, Target::Lane(lane), part, content);
    out.to_vec()
}

/// One of everything: what each side writes at each step.
fn everything() -> Vec<(&'static str, Vec<u8>)> {
    let dialer = super::super::Setup {
        who: Who { cluster: None, node: None, ..who("rabbit@a") },
        ..speaking(1, 1, setup("rabbit@a", "secret", 1))
    };
    let acceptor = speaking(1, 2, setup("rabbit@b", "secret", 2));
    let mut dialer = Link::new(Side::Dialer, dialer, Instant::ZERO);
    let mut acceptor = Link::new(Side::Acceptor, acceptor, Instant::ZERO);
    let mut said = vec![("hello", written(&mut dialer))];
    feed(&mut acceptor, &said[0].1);
    said.push(("hello-and-proof", written(&mut acceptor)));
    feed(&mut dialer, &said[1].1);
    said.push(("proof", written(&mut dialer)));
    feed(&mut acceptor, &said[2].1);
    for lane in Lane::ALL {
        dialer.send(lane, Bytes::from(format!("for {lane}"))).unwrap();
    }
    dialer.send(Lane::Control, Bytes::new()).unwrap();
    said.push(("whole-messages", written(&mut dialer)));
    let parts = [
        chunk(Lane::Bulk, Part::Beginning(6), b"abc"),
        chunk(Lane::Queues, Part::Whole, b"between"),
        chunk(Lane::Bulk, Part::More, b"def"),
    ];
    said.push(("message-in-parts", parts.concat()));
    acceptor.refuse(Instant::ZERO, "go away");
    said.push(("refusal", written(&mut acceptor)));
    let mut stopping = Link::new(Side::Dialer, speaking(1, 1, setup("rabbit@a", "secret", 1)), Instant::ZERO);
    written(&mut stopping);
    stopping.refuse(Instant::ZERO, "go away");
    said.push(("early-refusal", written(&mut stopping)));
    said
}

#[test]
fn format_1_stays_what_it_is() {
    let line = |(what, bytes): (&str, Vec<u8>)| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{what} {hex}\n")
    };
    assert_eq!(everything().into_iter().map(line).collect::<String>(), FORMAT_1);
}

#[test]
fn format_1_is_understood() {
    let bytes = |what: &str| {
        let (_, hex) =
            FORMAT_1.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == what).unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(byte).collect::<Vec<_>>()
    };
    let mut acceptor = Link::new(Side::Acceptor, speaking(1, 2, setup("rabbit@b", "secret", 2)), Instant::ZERO);
    for what in ["hello", "proof", "whole-messages", "message-in-parts"] {
        feed(&mut acceptor, &bytes(what));
    }
    let newcomer = Who { cluster: None, node: None, ..who("rabbit@a") };
    let mut expected = vec![Event::Established(super::super::Peer { who: newcomer, version: 1 })];
    let message = |lane, content: &'static str| Event::Message(lane, Bytes::from_static(content.as_bytes()));
    expected.extend([
        message(Lane::Control, "for control"),
        message(Lane::Control, ""),
        message(Lane::Consensus, "for consensus"),
        message(Lane::Queues, "for queues"),
        message(Lane::Bulk, "for bulk"),
        message(Lane::Queues, "between"),
        message(Lane::Bulk, "abcdef"),
    ]);
    assert_eq!(events(&mut acceptor), expected);
    let texts = |early: bool| {
        let mut pair = Pair::open();
        let mut dialer = if early {
            Link::new(Side::Dialer, setup("rabbit@a", "secret", 1), Instant::ZERO)
        } else {
            core::mem::replace(&mut pair.acceptor, Link::new(Side::Dialer, setup("rabbit@c", "x", 1), Instant::ZERO))
        };
        feed(&mut dialer, &bytes(if early { "early-refusal" } else { "refusal" }));
        let [Event::Refused(refusal)] = &events(&mut dialer)[..] else { panic!("no refusal") };
        refusal.text.clone()
    };
    assert_eq!([texts(true), texts(false)], ["go away", "go away"]);
}

fn failure(bytes: &[u8]) -> Option<BadChunk> {
    let mut assembly = Assembly::default();
    let mut input = Bytes::copy_from_slice(bytes);
    loop {
        match assembly.next(&mut input) {
            Ok(None) => return None,
            Ok(Some(_)) => {}
            Err(bad) => return Some(bad),
        }
    }
}

#[test]
fn chunks_that_make_no_sense_are_refused() {
    let full = vec![0; limits::LINK_CHUNK_BYTES];
    let one_more = vec![0; limits::LINK_CHUNK_BYTES + 1];
    let of = |lane, part, content: &[u8]| chunk(lane, part, content);
    let control = Lane::Control;
    assert_eq!(failure(&of(control, Part::Whole, &full)), None);
    assert_eq!(failure(&of(control, Part::Whole, &one_more)[..8]), Some(BadChunk::Length));
    let longest = limits::LINK_CONTROL_BYTES_MAX;
    assert_eq!(failure(&of(control, Part::Beginning(longest), &full)), None);
    let too_large = BadChunk::TooLarge { lane: control, bytes: longest + 1 };
    assert_eq!(failure(&of(control, Part::Beginning(longest + 1), &full)[..12]), Some(too_large));
    // A beginning that is all, or nothing.
    assert_eq!(failure(&of(control, Part::Beginning(3), b"abc")), Some(BadChunk::Length));
    assert_eq!(failure(&of(control, Part::Beginning(3), b"")), Some(BadChunk::Length));
    let begun = of(control, Part::Beginning(5), b"abc");
    let then = |next: Vec<u8>| failure(&[&begun[..], &next].concat());
    assert_eq!(then(of(control, Part::More, b"de")), None);
    assert_eq!(then(of(control, Part::More, b"def")), Some(BadChunk::Length));
    assert_eq!(then(of(control, Part::More, b"")), Some(BadChunk::Length));
    assert_eq!(then(of(control, Part::Whole, b"d")), Some(BadChunk::Order));
    assert_eq!(then(of(control, Part::Beginning(2), b"d")), Some(BadChunk::Order));
    assert_eq!(then(of(Lane::Bulk, Part::More, b"de")), Some(BadChunk::Order));
    assert_eq!(then(of(Lane::Bulk, Part::Whole, b"de")), None);
    // Kinds and lanes that there are not.
    for first in [0x04, 0x0e, 0x14, 0x30, 0xf0, 0x1f, 0x2f] {
        let bytes = [&[first], &[0; 11][..]].concat();
        assert_eq!(failure(&bytes), Some(BadChunk::Kind), "{first:x}");
    }
    let mut refusal = BytesMut::new();
    put(&mut refusal, Target::Refusal, Part::Whole, &[5; limits::LINK_REFUSAL_BYTES_MAX + 1]);
    assert_eq!(failure(&refusal), None);
    let mut refusal = BytesMut::new();
    put(&mut refusal, Target::Refusal, Part::Whole, &[5; limits::LINK_REFUSAL_BYTES_MAX + 2]);
    assert_eq!(failure(&refusal), Some(BadChunk::Length));
}

#[test]
fn no_flipped_bit_gets_through() {
    let messages = [(Lane::Bulk, &b"abcdef"[..]), (Lane::Queues, b"between"), (Lane::Control, b"")];
    let bytes = [
        chunk(Lane::Bulk, Part::Beginning(6), b"abc"),
        chunk(Lane::Queues, Part::Whole, b"between"),
        chunk(Lane::Bulk, Part::More, b"def"),
        chunk(Lane::Control, Part::Whole, b""),
    ]
    .concat();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (mut assembly, mut input) = (Assembly::default(), Bytes::from(flipped));
        let arrived: Vec<_> = core::iter::from_fn(|| assembly.next(&mut input).ok().flatten()).collect();
        assert!(arrived.len() < messages.len(), "bit {bit}");
        for message in arrived {
            let Arrived::Message(lane, content) = message else { panic!("bit {bit}: {message:?}") };
            assert!(messages.contains(&(lane, &content[..])), "bit {bit}");
        }
    }
}

#[test]
fn what_is_announced_takes_no_memory_before_it_comes() {
    let mut assembly = Assembly::default();
    for lane in Lane::ALL {
        let mut input = Bytes::from(chunk(lane, Part::Beginning(lane.message_bytes_max()), b"abc"));
        assert_eq!(assembly.next(&mut input), Ok(None));
    }
    assert_eq!(assembly.buffered_len(), 12);
    assert!(assembly.capacity() <= 4 * limits::LINK_RESERVE_BYTES, "{}", assembly.capacity());
}

#[test]
fn the_memory_of_a_large_message_is_no_larger() {
    let content = vec![3; 5_000_000];
    let mut assembly = Assembly::default();
    let mut wire = Vec::new();
    for (at, piece) in content.chunks(limits::LINK_CHUNK_BYTES).enumerate() {
        let part = if at == 0 { Part::Beginning(content.len()) } else { Part::More };
        wire.extend(chunk(Lane::Bulk, part, piece));
    }
    let mut largest = 0;
    for piece in wire.chunks(1460) {
        let mut input = Bytes::copy_from_slice(piece);
        let arrived = assembly.next(&mut input).unwrap();
        largest = largest.max(assembly.capacity());
        assert!(assembly.capacity() <= limits::LINK_RESERVE_BYTES.max(2 * assembly.buffered_len()));
        if let Some(arrived) = arrived {
            assert_eq!(arrived, Arrived::Message(Lane::Bulk, Bytes::from(content)));
            assert_eq!(largest, 5_000_000);
            return;
        }
    }
    panic!("it never came");
}

/// Bytes that are mostly what a node would send.
fn garbled(seed: u64, mut bytes: Vec<u8>) -> Vec<u8> {
    let mut rng = Rng(seed);
    for _ in 0..1 + rng.below(3) {
        let at = rng.below(bytes.len());
        match rng.below(3) {
            0 => bytes[at] = rng.next() as u8,
            1 => bytes.truncate(at + 1),
            _ => bytes.insert(at, rng.below(4) as u8),
        }
    }
    bytes
}

/// Gives bytes in pieces, and looks at the link after each.
fn feed_pieces(link: &mut Link, bytes: &[u8], piece: usize) {
    for piece in bytes.chunks(piece) {
        feed(link, piece);
        assert!(link.buffered_bytes() <= bytes.len());
    }
}

proptest! {
    #[test]
    fn any_bytes_before_the_handshake_do_no_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..3000), is_greeting in any::<bool>(), piece in 1..300usize,
    ) {
        for side in [Side::Dialer, Side::Acceptor] {
            let mut link = Link::new(side, setup("rabbit@b", "secret", 2), Instant::ZERO);
            let bytes = if is_greeting { [b"lvlink", &bytes[..]].concat() } else { bytes.clone() };
            feed_pieces(&mut link, &bytes, piece);
            let is_alone = events(&mut link).iter().all(|event| !matches!(event, Event::Established(_) | Event::Message(..)));
            prop_assert!(is_alone);
            prop_assert!(link.buffered_bytes() <= limits::LINK_GREETING_BYTES_MAX + 9);
        }
    }

    #[test]
    fn a_garbled_handshake_is_none(seed in any::<u64>(), piece in 1..300usize) {
        let versions = Versions { lowest: 1, highest: 2 };
        let mut dialer = Link::new(Side::Dialer, speaking(1, 2, setup("rabbit@a", "secret", 1)), Instant::ZERO);
        let hello = written(&mut dialer);
        let bytes = garbled(seed, hello.clone());
        let mut acceptor = Link::new(Side::Acceptor, setup("rabbit@b", "secret", 2), Instant::ZERO);
        feed_pieces(&mut acceptor, &bytes, piece);
        let answer = written(&mut acceptor);
        if bytes.starts_with(&hello) {
            return Ok(());
        }
        feed_pieces(&mut dialer, &answer, piece);
        prop_assert!(!dialer.is_open() && !acceptor.is_open());
        for event in events(&mut dialer) {
            if let Event::Failed(Error { why: Why::Versions { ours, .. }, .. }) = event {
                prop_assert_eq!(ours, versions);
            }
        }
    }

    #[test]
    fn any_bytes_after_the_handshake_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..3000), piece in 1..300usize) {
        let mut pair = Pair::open();
        feed_pieces(&mut pair.acceptor, &bytes, piece);
        events(&mut pair.acceptor);
    }

    #[test]
    fn garbled_chunks_do_no_harm(seed in any::<u64>(), piece in 1..300usize) {
        let mut pair = Pair::open();
        for lane in Lane::ALL {
            pair.dialer.send(lane, Bytes::from(vec![1; 70_000])).unwrap();
            pair.dialer.send(lane, Bytes::from(vec![2; 30])).unwrap();
        }
        let bytes = garbled(seed, written(&mut pair.dialer));
        feed_pieces(&mut pair.acceptor, &bytes, piece * 100);
        for event in events(&mut pair.acceptor) {
            let is_true = match event {
                Event::Message(_, message) => message == vec![1; 70_000] || message == vec![2; 30],
                Event::Failed(Error { why: Why::Chunk(_), .. }) => true,
                _ => false,
            };
            prop_assert!(is_true);
        }
    }
}
