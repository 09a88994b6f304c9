//! Why a link ends, in words that say what to do.

use alloc::string::String;
use core::fmt;

use super::chunk::BadChunk;
use super::refusal::Reason;
use super::who::Versions;
use crate::limits;

/// What this node found wrong with the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The other side's name, which it may not have proven. `None` before it said one.
    pub peer: Option<String>,
    /// What is wrong.
    pub why: Why,
}

/// What is wrong with the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is no node.
    Stranger(Stranger),
    /// There is no version of the protocol that both speak.
    Versions {
        /// What the other speaks.
        theirs: Versions,
        /// What this node speaks.
        ours: Versions,
    },
    /// It has not proven to know the secret.
    Proof,
    /// It says what this node said: nobody is there but an echo.
    Echo,
    /// It announces a greeting of so many bytes, which are too many.
    Oversize {
        /// How many.
        bytes: usize,
    },
    /// It says what is not for it to say at this point of the handshake.
    Order,
    /// Its hello makes no sense.
    Hello,
    /// It took too long over the handshake.
    Slow,
    /// It closed the connection in the middle of the handshake.
    Closed,
    /// It closed the connection.
    Gone,
    /// It sent what is no chunk.
    Chunk(BadChunk),
}

/// What else connects to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// An AMQP client, or a port for them.
    Amqp,
    /// Something that speaks TLS.
    Tls,
    /// Something that speaks HTTP.
    Http,
    /// Something else.
    Unknown,
}

impl Stranger {
    /// Who begins like this.
    pub(super) fn of(bytes: &[u8]) -> Self {
        // A TLS record of an alert or of a handshake, version 3.x (RFC 8446 §5.1).
        const TLS: [&[u8]; 2] = [&[0x15, 3], &[0x16, 3]];
        const HTTP: [&[u8]; 6] = [b"GET ", b"PUT ", b"POST ", b"HEAD ", b"OPTIONS ", b"HTTP/"];
        let begins = |with: &[&[u8]]| with.iter().any(|with| bytes.starts_with(with));
        if begins(&[b"AMQP"]) {
            Self::Amqp
        } else if begins(&TLS) {
            Self::Tls
        } else if begins(&HTTP) {
            Self::Http
        } else {
            Self::Unknown
        }
    }
}

impl Why {
    /// What the other side is told, if it is told anything. Nothing that helps somebody to guess or to look around.
    pub(super) fn refusal(self) -> Option<Reason> {
        match self {
            // A stranger would not understand it, and the others do not listen any more.
            Self::Stranger(_) | Self::Echo | Self::Closed | Self::Gone => None,
            Self::Versions { .. } => Some(Reason::Version),
            Self::Proof => Some(Reason::Proof),
            Self::Oversize { .. } | Self::Order | Self::Hello | Self::Chunk(_) => Some(Reason::Nonsense),
            Self::Slow => Some(Reason::Slow),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Name(self.peer.as_deref());
        match self.why {
            Why::Stranger(stranger) => write!(f, "{stranger}"),
            Why::Versions { theirs, ours } if theirs.lowest > ours.highest => write!(
                f,
                "{name} speaks {theirs}, this one {ours}: upgrade this node to a release that speaks at least version {}",
                theirs.lowest
            ),
            Why::Versions { theirs, ours } => write!(
                f,
                "{name} speaks {theirs}, this one {ours}: upgrade the other to a release that speaks at least version {}",
                ours.lowest
            ),
            Why::Proof => write!(
                f,
                "{name} uses another cluster secret, or what it said was altered on the way: give both the same secret"
            ),
            Why::Echo => f.write_str("the other side repeats what this node says: check the address, no node is there"),
            Why::Oversize { bytes } => write!(
                f,
                "{name} greets with {bytes} bytes where {} are allowed: check that it is a node, of a compatible release",
                limits::LINK_GREETING_BYTES_MAX
            ),
            Why::Order => write!(f, "{name} does not keep to the handshake: check that it is of a compatible release"),
            Why::Hello => {
                write!(
                    f,
                    "{name} introduces itself in a way that makes no sense: check that it is of a compatible release"
                )
            }
            Why::Slow => write!(
                f,
                "{name} did not finish its handshake within {} s: check the network, and whether it is overloaded",
                limits::LINK_HANDSHAKE_TIMEOUT.as_secs()
            ),
            Why::Closed => write!(f, "{name} closed the connection during the handshake: its log may say why"),
            Why::Gone => write!(f, "{name} closed the connection"),
            Why::Chunk(bad) => write!(f, "{name} sent what cannot be used: {bad}"),
        }
    }
}

impl core::error::Error for Error {}

/// A name as the beginning of a sentence.
struct Name<'a>(Option<&'a str>);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "node {name}"),
            None => f.write_str("the other side"),
        }
    }
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amqp => {
                "the other side speaks AMQP, as clients do: nodes have a port of their own, check which one is set"
            }
            Self::Tls => "the other side speaks TLS and this node does not: set it on both or on none",
            Self::Http => "the other side speaks HTTP: check the port, this one is for nodes",
            Self::Unknown => "the other side is no node of Leveret: check the address and the port",
        })
    }
}
