//! The last word of a node that wants nothing to do with another.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

use crate::limits;

/// Why a node refuses another, for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no version of the protocol that both speak.
    Version,
    /// The other has not proven to know the secret.
    Proof,
    /// What the other said makes no sense.
    Nonsense,
    /// The other took too long.
    Slow,
    /// The node does not want this one: its embedder called [`Link::refuse`](super::Link::refuse).
    Unwelcome,
    /// One that a later version may know.
    Other(u8),
}

impl Reason {
    fn code(self) -> u8 {
        match self {
            Self::Version => 1,
            Self::Proof => 2,
            Self::Nonsense => 3,
            Self::Slow => 4,
            Self::Unwelcome => 5,
            Self::Other(code) => code,
        }
    }

    fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Version,
            2 => Self::Proof,
            3 => Self::Nonsense,
            4 => Self::Slow,
            5 => Self::Unwelcome,
            code => Self::Other(code),
        }
    }
}

/// The other side refuses this node, and closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who says so. `None` before it said its name.
    pub peer: Option<String>,
    /// Whether it has proven to be a node. If not, anybody may have said this.
    pub is_proven: bool,
    /// Why.
    pub reason: Reason,
    /// Why in its words: what [`limits::LINK_REFUSAL_BYTES_MAX`] bytes say, without control characters.
    pub text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.peer {
            Some(name) => write!(f, "node {name} refuses this one")?,
            None => f.write_str("the other side refuses this node")?,
        }
        match self.reason {
            Reason::Proof => f.write_str(
                ", since they use different cluster secrets, or what was said was altered on the way: give both the same secret",
            ),
            Reason::Slow if self.text.is_empty() => f.write_str(", since it took too long over the handshake"),
            _ if self.text.is_empty() => f.write_str(", since it makes no sense of what it hears: compare the releases"),
            _ => write!(f, ": {}", self.text),
        }
    }
}

/// The content of a refusal. A text that is too long is cut.
pub(super) fn encode(reason: Reason, text: &str) -> Bytes {
    let mut out = Vec::from([reason.code()]);
    let longest = text.len().min(limits::LINK_REFUSAL_BYTES_MAX);
    let end = (0..=longest).rfind(|at| text.is_char_boundary(*at)).unwrap_or(0);
    out.extend_from_slice(&text.as_bytes()[..end]);
    Bytes::from(out)
}

/// Reads the content of a refusal, from whomever it is.
pub(super) fn decode(content: &[u8], peer: Option<String>, is_proven: bool) -> Refusal {
    let (code, text) = content.split_first().map_or((0, content), |(code, text)| (*code, text));
    let text = &text[..text.len().min(limits::LINK_REFUSAL_BYTES_MAX)];
    let text = String::from_utf8_lossy(text).chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    Refusal { peer, is_proven, reason: Reason::from_code(code), text }
}
