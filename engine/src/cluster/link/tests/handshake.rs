//! Who gets in, and who does not.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};

use super::super::greeting::{self, Greetings, HEADER_BYTES, Kind, MAGIC};
use super::super::hello::Hello;
use super::super::proof::{PROOF_BYTES, Said};
use super::super::{
    Error, Event, Lane, Link, Peer, Reason, Refusal, Secret, Side, Stranger, Versions, Who, Why, is_node_name,
};
use super::pair::{Pair, Rng, events, feed, setup, speaking, who, written};
use crate::ids::NodeId;
use crate::limits;
use crate::time::Instant;

fn link(side: Side, nonce: u8) -> Link {
    let name = if side == Side::Dialer { "rabbit@a" } else { "rabbit@b" };
    Link::new(side, setup(name, "secret", nonce), Instant::ZERO)
}

fn failed(peer: Option<&str>, why: Why) -> [Event; 1] {
    [Event::Failed(Error { peer: peer.map(String::from), why })]
}

fn refused(peer: Option<&str>, reason: Reason, text: &str) -> [Event; 1] {
    let (peer, text) = (peer.map(String::from), String::from(text));
    [Event::Refused(Refusal { peer, is_proven: false, reason, text })]
}

fn greeting(kind: Kind, content: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    greeting::put(&mut out, kind, content);
    out.to_vec()
}

/// The greetings in a stream that has nothing else.
fn greetings(bytes: &[u8]) -> Vec<(Option<Kind>, Bytes)> {
    let (mut decoder, mut input) = (Greetings::default(), Bytes::copy_from_slice(bytes));
    let next = || decoder.next(&mut input).unwrap().map(|greeting| (greeting.kind, greeting.content));
    core::iter::from_fn(next).collect()
}

#[test]
fn two_nodes_meet_however_the_bytes_are_cut() {
    for seed in 0..200 {
        let mut rng = Rng(seed);
        let most = 1 + rng.below(200);
        let mut pair = Pair::new(setup("rabbit@a", "secret", 1), setup("rabbit@b", "secret", 2));
        while pair.step(&mut |_| rng.below(most + 1)) {}
        let expect = |name| [Event::Established(Peer { who: who(name), version: 2 })];
        assert_eq!(events(&mut pair.dialer), expect("rabbit@b"), "seed {seed}");
        assert_eq!(events(&mut pair.acceptor), expect("rabbit@a"), "seed {seed}");
        assert_eq!((pair.dialer.next_timeout(), pair.acceptor.next_timeout()), (None, None));
        assert_eq!(pair.dialer.peer().map(|peer| &peer.who), Some(&who("rabbit@b")));
    }
}

#[test]
fn a_node_may_belong_to_no_cluster_yet() {
    let newcomer = Who { cluster: None, node: None, ..who("rabbit@a") };
    let dialer = super::super::Setup { who: newcomer.clone(), ..setup("rabbit@a", "secret", 1) };
    let mut pair = Pair::new(dialer, setup("rabbit@b", "secret", 2));
    pair.run();
    assert_eq!(events(&mut pair.acceptor), [Event::Established(Peer { who: newcomer, version: 2 })]);
}

#[test]
fn another_secret_is_found_out_by_both() {
    let mut pair = Pair::new(setup("rabbit@a", "secret", 1), setup("rabbit@b", "Secret", 2));
    pair.run();
    let error = Error { peer: Some("rabbit@b".into()), why: Why::Proof };
    let text =
        "node rabbit@b uses another cluster secret, or what it said was altered on the way: give both the same secret";
    assert_eq!(error.to_string(), text);
    assert_eq!(events(&mut pair.dialer), [Event::Failed(error)]);
    // The acceptor hears that it is about the proof, and nothing else.
    let refusal = events(&mut pair.acceptor);
    assert_eq!(refusal, refused(Some("rabbit@a"), Reason::Proof, ""));
    let [Event::Refused(refusal)] = &refusal[..] else { unreachable!() };
    assert!(
        refusal.to_string().starts_with("node rabbit@a refuses this one, since they use different cluster secrets")
    );
    assert!(pair.dialer.is_finished() && pair.acceptor.is_finished());
}

#[test]
fn a_dialer_without_the_secret_is_refused() {
    let mut acceptor = link(Side::Acceptor, 2);
    let hello = Hello { versions: Versions { lowest: 1, highest: 2 }, who: who("rabbit@a"), nonce: [9; 32] };
    feed(&mut acceptor, &greeting(Kind::Hello, &hello.encode()));
    feed(&mut acceptor, &greeting(Kind::Proof, &[0; PROOF_BYTES]));
    // What comes behind is not looked at.
    feed(&mut acceptor, &[0; 100]);
    assert_eq!(events(&mut acceptor), failed(Some("rabbit@a"), Why::Proof));
    let said = greetings(&written(&mut acceptor));
    let kinds: Vec<_> = said.iter().map(|(kind, _)| kind.unwrap()).collect();
    assert_eq!(kinds, [Kind::Hello, Kind::Proof, Kind::Refusal]);
    assert_eq!(said[2].1[..], [2]);
    assert!(acceptor.is_finished());
}

#[test]
fn proofs_of_any_other_length_are_refused() {
    for length in [0, 1, 31, 33, 64] {
        let mut acceptor = link(Side::Acceptor, 2);
        feed(&mut acceptor, &written(&mut link(Side::Dialer, 1)));
        feed(&mut acceptor, &greeting(Kind::Proof, &[7; 64][..length]));
        assert_eq!(events(&mut acceptor), failed(Some("rabbit@a"), Why::Proof), "{length} bytes");
    }
}

#[test]
fn a_handshake_that_was_heard_before_opens_nothing() {
    let (mut dialer, mut acceptor) = (link(Side::Dialer, 1), link(Side::Acceptor, 2));
    let mut heard = written(&mut dialer);
    feed(&mut acceptor, &heard);
    feed(&mut dialer, &written(&mut acceptor));
    dialer.send(Lane::Control, Bytes::from_static(b"let me in")).unwrap();
    heard.extend(written(&mut dialer));
    // It is as good as it can be for whom it is for.
    let mut again = link(Side::Acceptor, 2);
    feed(&mut again, &heard);
    assert_eq!(events(&mut again)[1..], [Event::Message(Lane::Control, Bytes::from_static(b"let me in"))]);
    let mut later = link(Side::Acceptor, 3);
    feed(&mut later, &heard);
    assert_eq!(events(&mut later), failed(Some("rabbit@a"), Why::Proof));
}

#[test]
fn what_an_acceptor_proves_does_not_prove_a_dialer() {
    let mut acceptor = link(Side::Acceptor, 2);
    feed(&mut acceptor, &written(&mut link(Side::Dialer, 1)));
    let answer = greetings(&written(&mut acceptor));
    assert_eq!(answer[1].0, Some(Kind::Proof));
    feed(&mut acceptor, &greeting(Kind::Proof, &answer[1].1));
    assert_eq!(events(&mut acceptor), failed(Some("rabbit@a"), Why::Proof));
}

#[test]
fn a_dialer_that_hears_itself_ends_it_at_once() {
    let mut dialer = link(Side::Dialer, 1);
    let said = written(&mut dialer);
    feed(&mut dialer, &said);
    assert_eq!(events(&mut dialer), failed(None, Why::Echo));
    assert!(dialer.is_finished());
}

/// Changes one byte of what the dialer or the acceptor says first, or both, and looks what becomes of it.
fn altered(at: usize, by_dialer: bool, by_acceptor: bool) -> (Vec<Event>, Vec<Event>) {
    let (mut dialer, mut acceptor) = (link(Side::Dialer, 1), link(Side::Acceptor, 2));
    let mut hello = written(&mut dialer);
    hello[at] ^= if by_dialer { 3 } else { 0 };
    feed(&mut acceptor, &hello);
    let mut answer = written(&mut acceptor);
    // There is none for somebody who begins as no node does.
    if let Some(byte) = answer.get_mut(at) {
        *byte ^= if by_acceptor { 3 } else { 0 };
    }
    feed(&mut dialer, &answer);
    feed(&mut acceptor, &written(&mut dialer));
    (events(&mut dialer), events(&mut acceptor))
}

/// The dialer's, the acceptor's, or both.
const WHOSE: [(bool, bool); 3] = [(true, false), (false, true), (true, true)];

#[test]
fn nobody_talks_two_nodes_into_an_older_version() {
    // Where the highest version stands: 2 becomes 1.
    for (by_dialer, by_acceptor) in WHOSE {
        let (dialer, acceptor) = altered(HEADER_BYTES + 2, by_dialer, by_acceptor);
        assert_eq!(dialer, failed(Some("rabbit@b"), Why::Proof));
        assert_eq!(acceptor, refused(Some("rabbit@a"), Reason::Proof, ""));
    }
}

#[test]
fn no_byte_of_a_hello_can_be_altered() {
    let hello = written(&mut link(Side::Dialer, 1));
    for at in 0..hello.len() {
        for (by_dialer, by_acceptor) in WHOSE {
            let (dialer, acceptor) = altered(at, by_dialer, by_acceptor);
            for event in dialer.iter().chain(&acceptor) {
                assert!(!matches!(event, Event::Established(_)), "byte {at}, {by_dialer} and {by_acceptor}: {event:?}");
            }
        }
    }
}

#[test]
fn nodes_without_a_common_version_say_which_one_is_to_be_upgraded() {
    let dialer = speaking(3, 4, setup("rabbit@a", "secret", 1));
    let mut pair = Pair::new(dialer, setup("rabbit@b", "secret", 2));
    pair.run();
    let text = |link: &mut Link| match &events(link)[..] {
        [Event::Failed(error)] => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        text(&mut pair.dialer),
        "node rabbit@b speaks link versions 1 to 2, this one link versions 3 to 4: upgrade the other to a release that \
         speaks at least version 3"
    );
    assert_eq!(
        text(&mut pair.acceptor),
        "node rabbit@a speaks link versions 3 to 4, this one link versions 1 to 2: upgrade this node to a release that \
         speaks at least version 3"
    );
}

#[test]
fn a_node_is_told_what_versions_it_should_speak() {
    let mut acceptor = link(Side::Acceptor, 2);
    let mut dialer = Link::new(Side::Dialer, speaking(3, 3, setup("rabbit@a", "secret", 1)), Instant::ZERO);
    feed(&mut acceptor, &written(&mut dialer));
    let said = greetings(&written(&mut acceptor));
    // Its hello tells who refuses; there is no proof for somebody with whom there is nothing to talk about.
    assert_eq!(said.iter().map(|(kind, _)| kind.unwrap()).collect::<Vec<_>>(), [Kind::Hello, Kind::Refusal]);
    assert_eq!(said[1].1[..], *b"\x01it speaks link versions 1 to 2, the other one link version 3");
}

#[test]
fn versions_overlap_or_do_not() {
    let common = |ours: (u16, u16), theirs: (u16, u16)| {
        let versions = |(lowest, highest)| Versions { lowest, highest };
        let common = versions(ours).common(versions(theirs));
        assert_eq!(common, versions(theirs).common(versions(ours)));
        common
    };
    assert_eq!(common((1, 1), (1, 1)), Some(1));
    assert_eq!(common((1, 3), (2, 5)), Some(3));
    assert_eq!(common((1, 9), (4, 5)), Some(5));
    assert_eq!(common((1, 2), (3, 4)), None);
    assert_eq!(Versions::SPOKEN.common(Versions { lowest: 1, highest: u16::MAX }), Some(Versions::SPOKEN.highest));
}

#[test]
fn what_later_versions_append_to_a_hello_is_proven_and_otherwise_left_alone() {
    let versions = Versions { lowest: 2, highest: 9 };
    let mut hello = Hello { versions, who: who("rabbit@a"), nonce: [9; 32] }.encode().to_vec();
    hello.resize(limits::LINK_GREETING_BYTES_MAX, 0xee);
    let secret = Secret::new(&b"secret"[..]).unwrap();
    for (altered, is_welcome) in [(0xee, true), (0xef, false)] {
        let mut acceptor = link(Side::Acceptor, 2);
        feed(&mut acceptor, &greeting(Kind::Hello, &hello));
        let answer = greetings(&written(&mut acceptor));
        let mut proven = hello.clone();
        *proven.last_mut().unwrap() = altered;
        let said = Said { version: 2, dialer: &proven, acceptor: &answer[0].1 };
        feed(&mut acceptor, &greeting(Kind::Proof, &said.proof(&secret, Side::Dialer)));
        assert_eq!(matches!(events(&mut acceptor)[0], Event::Established(_)), is_welcome);
    }
}

#[test]
fn a_greeting_that_is_too_long_is_refused_before_it_comes() {
    let longest = limits::LINK_GREETING_BYTES_MAX;
    let announced = |length: usize| [&MAGIC[..], &[1], &(length as u16).to_le_bytes()].concat();
    let mut acceptor = link(Side::Acceptor, 2);
    feed(&mut acceptor, &announced(longest));
    feed(&mut acceptor, &[0; 1023]);
    assert_eq!(acceptor.buffered_bytes(), HEADER_BYTES + longest - 1);
    assert_eq!(events(&mut acceptor), []);
    for length in [longest + 1, usize::from(u16::MAX)] {
        let mut acceptor = link(Side::Acceptor, 2);
        feed(&mut acceptor, &announced(length));
        assert_eq!(events(&mut acceptor), failed(None, Why::Oversize { bytes: length }));
        assert_eq!(greetings(&written(&mut acceptor)), [(Some(Kind::Refusal), Bytes::from_static(&[3]))]);
        feed(&mut acceptor, &[0; 1000]);
        assert_eq!(acceptor.buffered_bytes(), 0);
    }
}

#[test]
fn a_slow_handshake_ends_in_time() {
    for side in [Side::Dialer, Side::Acceptor] {
        let mut slow = link(side, 1);
        let until = Instant::ZERO + limits::LINK_HANDSHAKE_TIMEOUT;
        let hello = written(&mut link(side.other(), 2));
        // A byte now and then does not help.
        feed(&mut slow, hello.get(..5).unwrap_or(&[]));
        assert_eq!(slow.next_timeout(), Some(until));
        slow.on_timeout(Instant::from_micros(until.as_micros() - 1));
        assert!(!slow.is_over());
        slow.on_timeout(until);
        assert_eq!(events(&mut slow), failed(None, Why::Slow));
        // Then it has as long to get rid of what it has to say.
        assert_eq!(slow.next_timeout(), Some(until + limits::LINK_CLOSE_TIMEOUT));
        let said = written(&mut slow);
        assert_eq!(greetings(&said).last(), Some(&(Some(Kind::Refusal), Bytes::from_static(&[4]))));
        assert!(slow.is_finished());
        assert_eq!(slow.next_timeout(), None);
    }
}

#[test]
fn everything_has_its_place_in_the_handshake() {
    let hello = |side, nonce| {
        let hello = written(&mut link(side, nonce));
        if hello.is_empty() { written(&mut link(Side::Dialer, nonce)) } else { hello }
    };
    let check = |side, bytes: &[u8], peer| {
        let mut link = link(side, 1);
        feed(&mut link, bytes);
        assert_eq!(events(&mut link), failed(peer, Why::Order));
    };
    for side in [Side::Dialer, Side::Acceptor] {
        check(side, &greeting(Kind::Proof, &[0; PROOF_BYTES]), None);
        check(side, &[&MAGIC[..], &[9, 0, 0]].concat(), None);
        let twice = [hello(Side::Dialer, 4), hello(Side::Dialer, 5)].concat();
        check(side, &twice, Some("rabbit@a"));
    }
}

#[test]
fn strangers_are_told_apart_by_how_they_begin() {
    let check = |bytes: &[u8], stranger| {
        let mut acceptor = link(Side::Acceptor, 2);
        feed(&mut acceptor, bytes);
        assert_eq!(events(&mut acceptor), failed(None, Why::Stranger(stranger)));
        // They are told nothing.
        assert!(!acceptor.has_output() && acceptor.is_finished());
    };
    check(b"AMQP\0\0\x09\x01", Stranger::Amqp);
    check(b"GET / HTTP/1.1\r\n", Stranger::Http);
    check(b"HTTP/1.1 400 Bad Request\r\n", Stranger::Http);
    check(b"\x16\x03\x01\x02\x00\x01", Stranger::Tls);
    check(b"lvlinj", Stranger::Unknown);
    check(b"x", Stranger::Unknown);
}

#[test]
fn hellos_that_make_no_sense_are_refused() {
    let sound = Hello { versions: Versions { lowest: 1, highest: 2 }, who: who("rabbit@a"), nonce: [9; 32] };
    let bytes = sound.encode().to_vec();
    assert_eq!(Hello::decode(&bytes), Some(sound));
    for length in 0..bytes.len() {
        assert_eq!(Hello::decode(&bytes[..length]), None, "{length} bytes");
    }
    let check = |at: usize, with: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..][..with.len()].copy_from_slice(with);
        assert_eq!(Hello::decode(&bytes), None, "{with:?} at {at}");
        let mut acceptor = link(Side::Acceptor, 2);
        feed(&mut acceptor, &greeting(Kind::Hello, &bytes));
        assert_eq!(events(&mut acceptor), failed(None, Why::Hello));
        assert_eq!(greetings(&written(&mut acceptor)), [(Some(Kind::Refusal), Bytes::from_static(&[3]))]);
    };
    let flags = 5 + "rabbit@a".len();
    check(0, &[3, 0]); // The lowest version is above the highest.
    check(5, b" "); // No name has a space,
    check(5, b"\n"); // a line feed,
    check(5, &[0xff]); // or what is no UTF-8.
    check(flags, &[7]); // There is no third flag.
    check(flags, &[1]); // A number without its flag.
    check(flags + 9, &[0; 8]); // Node 0.
    assert!(!is_node_name(""));
    assert!(is_node_name(&"x".repeat(limits::NODE_NAME_BYTES_MAX)));
    assert!(!is_node_name(&"x".repeat(limits::NODE_NAME_BYTES_MAX + 1)));
}

#[test]
fn a_refusal_from_somebody_unproven_is_taken_for_what_it_is() {
    let mut dialer = link(Side::Dialer, 1);
    let text = format!("two\nlines{}", "é".repeat(limits::LINK_REFUSAL_BYTES_MAX));
    feed(&mut dialer, &greeting(Kind::Refusal, &[&[200], &text.as_bytes()[..800]].concat()));
    let [Event::Refused(refusal)] = &events(&mut dialer)[..] else { panic!("no refusal") };
    assert_eq!((refusal.peer.as_deref(), refusal.is_proven, refusal.reason), (None, false, Reason::Other(200)));
    assert!(refusal.text.starts_with("two lineséé"));
    assert!(refusal.text.len() <= limits::LINK_REFUSAL_BYTES_MAX + 3);
    feed(&mut link(Side::Dialer, 1), &greeting(Kind::Refusal, &[]));
}

#[test]
fn a_connection_that_ends_early_is_reported() {
    let mut acceptor = link(Side::Acceptor, 2);
    feed(&mut acceptor, &written(&mut link(Side::Dialer, 1)));
    acceptor.on_closed();
    acceptor.on_closed();
    assert_eq!(events(&mut acceptor), failed(Some("rabbit@a"), Why::Closed));
    assert!(acceptor.is_finished() && !acceptor.has_output());
}

#[test]
fn nothing_of_a_secret_is_printed_and_none_is_empty() {
    assert!(Secret::new(&b""[..]).is_none());
    let setup = setup("rabbit@a", "swordfish", 1);
    assert!(!format!("{setup:?}").contains("swordfish"));
    let link = Link::new(Side::Dialer, setup, Instant::ZERO);
    assert!(!format!("{link:?}").contains("swordfish"));
}

#[test]
#[should_panic(expected = "counted from 1")]
fn node_0_is_nobody() {
    let who = Who { node: Some(NodeId(0)), ..who("rabbit@a") };
    let _ = Link::new(Side::Dialer, super::super::Setup { who, ..setup("rabbit@a", "secret", 1) }, Instant::ZERO);
}
