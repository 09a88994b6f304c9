//! Two links that are each other's other side, and the pipes between them.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use super::super::{Event, Link, Peer, Secret, Setup, Side, Versions, Who};
use crate::ids::NodeId;
use crate::storage::codec::mix;
use crate::time::Instant;

/// Numbers from a seed.
#[derive(Debug)]
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = mix(self.0);
        self.0
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { (self.next() % limit as u64) as usize }
    }
}

pub(super) fn who(name: &str) -> Who {
    let number = u64::from(name.as_bytes()[name.len() - 1]);
    let node = Some(NodeId(number));
    Who { name: String::from(name), cluster: Some(7), node, disk: 1000 + number, boot: 3 }
}

pub(super) fn setup(name: &str, secret: &str, nonce: u8) -> Setup {
    let secret = Secret::new(Bytes::copy_from_slice(secret.as_bytes())).unwrap();
    Setup { who: who(name), secret, nonce: [nonce; 32], versions: Versions { lowest: 1, highest: 2 } }
}

pub(super) fn speaking(lowest: u16, highest: u16, setup: Setup) -> Setup {
    Setup { versions: Versions { lowest, highest }, ..setup }
}

/// Everything that a link wants to write.
pub(super) fn written(link: &mut Link) -> Vec<u8> {
    let mut out = Vec::new();
    while link.has_output() {
        let mut parts = Vec::new();
        link.take_output(100_000, &mut parts);
        let bytes = parts.concat();
        assert!(!bytes.is_empty(), "it said that it had something");
        out.extend_from_slice(&bytes);
        link.on_written(bytes.len());
        link.check_invariants();
    }
    out
}

pub(super) fn events(link: &mut Link) -> Vec<Event> {
    core::iter::from_fn(|| link.next_event()).collect()
}

pub(super) fn feed(link: &mut Link, bytes: &[u8]) {
    link.receive(Instant::ZERO, Bytes::copy_from_slice(bytes));
    link.check_invariants();
}

/// A dialer, an acceptor, and what is on its way to each.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) dialer: Link,
    pub(super) acceptor: Link,
    to_dialer: Vec<u8>,
    to_acceptor: Vec<u8>,
}

impl Pair {
    pub(super) fn new(dialer: Setup, acceptor: Setup) -> Self {
        let dialer = Link::new(Side::Dialer, dialer, Instant::ZERO);
        let acceptor = Link::new(Side::Acceptor, acceptor, Instant::ZERO);
        Self { dialer, acceptor, to_dialer: Vec::new(), to_acceptor: Vec::new() }
    }

    /// Two that know each other.
    pub(super) fn open() -> Self {
        let mut pair = Self::new(setup("rabbit@a", "secret", 1), setup("rabbit@b", "secret", 2));
        pair.run();
        let established = |name| [Event::Established(Peer { who: who(name), version: 2 })];
        assert_eq!(events(&mut pair.dialer), established("rabbit@b"));
        assert_eq!(events(&mut pair.acceptor), established("rabbit@a"));
        pair
    }

    /// Moves bytes until none are left.
    pub(super) fn run(&mut self) {
        while self.step(&mut |length| length) {}
    }

    /// Moves some bytes each way, as many as `cut` says of those that there are. False if there were none.
    pub(super) fn step(&mut self, cut: &mut impl FnMut(usize) -> usize) -> bool {
        self.to_acceptor.extend(written(&mut self.dialer));
        self.to_dialer.extend(written(&mut self.acceptor));
        if self.to_acceptor.is_empty() && self.to_dialer.is_empty() {
            return false;
        }
        for (link, bytes) in [(&mut self.acceptor, &mut self.to_acceptor), (&mut self.dialer, &mut self.to_dialer)] {
            let rest = bytes.split_off(cut(bytes.len()).min(bytes.len()));
            feed(link, bytes);
            *bytes = rest;
        }
        true
    }
}
