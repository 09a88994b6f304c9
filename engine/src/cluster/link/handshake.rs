//! Who are you, and do you know the secret?

use alloc::string::String;
use bytes::{Bytes, BytesMut};

use super::error::Why;
use super::greeting::{self, Greeting, Kind};
use super::hello::Hello;
use super::proof::{Said, Secret, Side};
use super::refusal::{self, Refusal};
use super::who::{Peer, Versions};

/// One handshake, seen from one side. Both sides say hello and then prove themselves, the acceptor in one breath.
#[derive(Debug)]
pub(super) struct Handshake {
    side: Side,
    secret: Secret,
    versions: Versions,
    /// What this node says first.
    hello: Bytes,
    /// The other's name, as soon as it was said.
    peer_name: Option<String>,
    /// What the other said, once it was answered.
    other: Option<Other>,
}

#[derive(Debug)]
struct Other {
    hello: Bytes,
    peer: Peer,
}

/// What came of a greeting.
#[derive(Debug)]
pub(super) enum Step {
    /// Another one is awaited.
    More,
    /// The other side has proven itself. This side has said all that it has to say.
    Proven(Peer),
    /// The other side wants nothing to do with this one.
    Refused(Refusal),
}

impl Handshake {
    /// A handshake. The dialer's hello goes to `out`; the acceptor waits for it, and tells nothing to anybody who does not begin well.
    pub(super) fn new(side: Side, secret: Secret, hello: &Hello, out: &mut BytesMut) -> Self {
        let versions = hello.versions;
        let hello = hello.encode();
        if side == Side::Dialer {
            greeting::put(out, Kind::Hello, &hello);
        }
        Self { side, secret, versions, hello, peer_name: None, other: None }
    }

    /// The other side's name, which it may not have proven.
    pub(super) fn peer_name(&self) -> Option<&String> {
        self.peer_name.as_ref()
    }

    /// Takes a greeting; what there is to answer goes to `out`.
    pub(super) fn take(&mut self, greeting: Greeting, out: &mut BytesMut) -> Result<Step, Why> {
        match (greeting.kind, self.other.take()) {
            (Some(Kind::Hello), None) => self.take_hello(greeting.content, out).map(|()| Step::More),
            (Some(Kind::Proof), Some(other)) => self.take_proof(other, &greeting.content, out).map(Step::Proven),
            (Some(Kind::Refusal), _) => {
                Ok(Step::Refused(refusal::decode(&greeting.content, self.peer_name.clone(), false)))
            }
            _ => Err(Why::Order),
        }
    }

    fn take_hello(&mut self, bytes: Bytes, out: &mut BytesMut) -> Result<(), Why> {
        if bytes == self.hello {
            return Err(Why::Echo);
        }
        let hello = Hello::decode(&bytes).ok_or(Why::Hello)?;
        self.peer_name = Some(hello.who.name.clone());
        let version = hello.versions.common(self.versions);
        // Also to a node of another age: it is told by whom it is refused, and what that one speaks.
        if self.side == Side::Acceptor {
            greeting::put(out, Kind::Hello, &self.hello);
        }
        let Some(version) = version else {
            return Err(Why::Versions { theirs: hello.versions, ours: self.versions });
        };
        let other = Other { hello: bytes, peer: Peer { who: hello.who, version } };
        if self.side == Side::Acceptor {
            greeting::put(out, Kind::Proof, &self.said(&other).proof(&self.secret, self.side));
        }
        self.other = Some(other);
        Ok(())
    }

    fn take_proof(&self, other: Other, proof: &[u8], out: &mut BytesMut) -> Result<Peer, Why> {
        let said = self.said(&other);
        if !said.is_proven(&self.secret, self.side.other(), proof) {
            return Err(Why::Proof);
        }
        if self.side == Side::Dialer {
            greeting::put(out, Kind::Proof, &said.proof(&self.secret, self.side));
        }
        Ok(other.peer)
    }

    fn said<'a>(&'a self, other: &'a Other) -> Said<'a> {
        let (ours, theirs) = (&self.hello[..], &other.hello[..]);
        let (dialer, acceptor) = match self.side {
            Side::Dialer => (ours, theirs),
            Side::Acceptor => (theirs, ours),
        };
        Said { version: other.peer.version, dialer, acceptor }
    }
}
