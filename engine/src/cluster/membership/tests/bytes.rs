//! What is stored and sent, byte by byte: other versions have to read it.

use alloc::vec::Vec;
use bytes::Bytes;
use proptest::prelude::*;

use super::super::command::{Command, What, Word};
use super::super::identity::{Identity, Place};
use super::super::roster::{Change, Node, Roster};
use super::super::state::State;
use crate::cluster::consensus::EntryId;
use crate::ids::NodeId;
use crate::storage::codec::Reader;

fn hex(bytes: &[u8]) -> alloc::string::String {
    bytes.iter().map(|byte| alloc::format!("{byte:02x}")).collect()
}

fn node(name: &str) -> Node {
    Node { name: name.into(), disk: 300 }
}

fn roster() -> Roster {
    let mut roster = Roster::default();
    roster.apply(Change::Admit(node("a@x")));
    roster.apply(Change::Admit(node("b@x")));
    roster.apply(Change::Forget(NodeId(1)));
    assert!(roster.is_next(NodeId(2), 5, 1) && roster.is_next(NodeId(2), 5, 2));
    roster
}

#[test]
fn who_a_node_is_has_format_1() {
    let identity =
        Identity { disk: 300, boot: 7, place: Some(Place { cluster: 9, node: NodeId(2) }), is_founder: true };
    assert_eq!(hex(&identity.encode()), "01ac0207090201");
    let outside = Identity { place: None, is_founder: false, ..identity };
    assert_eq!(hex(&outside.encode()), "01ac0207000000");
    for one in [identity, outside] {
        let bytes = one.encode();
        assert_eq!(Identity::decode(&bytes), Some(one));
        for len in 0..bytes.len() {
            assert_eq!(Identity::decode(&bytes.slice(..len)), None);
        }
    }
}

#[test]
fn commands_have_format_1() {
    let command = |what| Command { node: NodeId(2), boot: 5, number: 300, what };
    for (what, expected) in [
        (What::Roster(Change::Admit(node("a@x"))), "01010205ac02ac0203614078"),
        (What::Roster(Change::Forget(NodeId(3))), "01020205ac0203"),
        (What::Other(Bytes::from_static(b"xyz")), "01030205ac0278797a"),
        (What::Roster(Change::Raise { to: 2, next: 300 }), "01040205ac0202ac02"),
    ] {
        let command = command(what);
        let bytes = command.encode();
        assert_eq!(hex(&bytes), expected);
        assert_eq!(Command::decode(&bytes), Some(command));
    }
}

#[test]
fn words_have_format_1() {
    let place = Place { cluster: 9, node: NodeId(2) };
    for (word, expected) in [
        (Word::Join, "0101"),
        (Word::Admitted(place), "01020902"),
        (Word::Here(place), "01030902"),
        (Word::Ask(Bytes::from_static(b"xyz")), "010478797a"),
        (Word::NotNow, "0105"),
        (Word::Alive, "0106"),
    ] {
        let bytes = word.encode();
        assert_eq!(hex(&bytes), expected);
        assert_eq!(Word::decode(&bytes), Some(word));
    }
    assert_eq!(Word::decode(&Bytes::from_static(&[1, 2, 0, 2])), None, "no cluster has the number 0");
}

#[test]
fn the_state_has_format_1() {
    let id = EntryId { term: 3, index: 300 };
    let bytes = State::encode(id, &roster(), b"other");
    assert_eq!(hex(&bytes), "0103ac02010301 02ac0203624078 01020502 6f74686572".replace(' ', ""));
    let state = State::decode(&bytes).unwrap();
    assert_eq!(state, State { id, roster: roster(), other: Bytes::from_static(b"other") });
}

#[test]
fn a_roster_with_a_node_that_came_back_has_format_2() {
    let mut roster = roster();
    roster.apply(Change::Admit(Node { disk: 301, ..node("b@x") }));
    assert_eq!((roster.successor(NodeId(2)), roster.successor(NodeId(1))), (Some(NodeId(3)), None));
    let mut bytes = Vec::new();
    roster.encode(&mut bytes);
    assert_eq!(hex(&bytes), "0204 01 03ad0203624078 00 010203".replace(' ', ""));
    assert_eq!(Roster::decode(&mut Reader(&bytes)), Some(roster.clone()));
    roster.apply(Change::Admit(Node { disk: 302, ..node("b@x") }));
    assert_eq!(roster.successor(NodeId(2)), Some(NodeId(4)), "who came was lost as well");
    roster.apply(Change::Forget(NodeId(4)));
    assert_eq!(roster.successor(NodeId(2)), None);
}

#[test]
fn a_roster_of_a_later_version_has_format_3() {
    let mut roster = roster();
    roster.apply(Change::Raise { to: 300, next: 2 });
    assert_eq!(roster.version(), 1, "a node has come in since that was seen");
    roster.apply(Change::Raise { to: 300, next: 3 });
    roster.apply(Change::Raise { to: 2, next: 3 });
    assert_eq!(roster.version(), 300, "it never falls");
    let mut bytes = Vec::new();
    roster.encode(&mut bytes);
    assert_eq!(hex(&bytes), "0303 01 02ac0203624078 01 020502 00 ac02".replace(' ', ""));
    assert_eq!(Roster::decode(&mut Reader(&bytes)), Some(roster));
}

proptest! {
    /// Bytes from outside either make sense, and then they are what would be written, or are refused.
    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..40), version in any::<bool>()) {
        let mut bytes: Vec<u8> = bytes;
        if version && let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        let bytes = Bytes::from(bytes);
        if let Some(word) = Word::decode(&bytes) {
            prop_assert_eq!(Word::decode(&word.encode()), Some(word));
        }
        if let Some(command) = Command::decode(&bytes) {
            prop_assert_eq!(Command::decode(&command.encode()), Some(command));
        }
        if let Some(identity) = Identity::decode(&bytes) {
            prop_assert_eq!(Identity::decode(&identity.encode()), Some(identity));
        }
        drop(State::decode(&bytes));
    }
}
