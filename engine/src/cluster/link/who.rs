//! Who is at the other end.

use alloc::string::String;
use core::fmt;

use crate::ids::NodeId;
use crate::limits;

/// What a node says of itself to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its name, as in `rabbit@host`; see [`is_node_name`].
    pub name: String,
    /// The cluster that it belongs to. `None` before it has founded or joined one.
    pub cluster: Option<u64>,
    /// Its number in that cluster. `None` before it has one.
    pub node: Option<NodeId>,
    /// A number drawn when its disk was first used: a node that lost its disk has another one under the same name.
    pub disk: u64,
    /// Counts its starts from this disk.
    pub boot: u64,
}

/// A node that has proven to know the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it says it is: as true as all nodes with the secret are honest.
    pub who: Who,
    /// The version of the protocol that both use.
    pub version: u16,
}

/// The versions of the protocol that a node speaks, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The lowest.
    pub lowest: u16,
    /// The highest; not below the lowest.
    pub highest: u16,
}

impl Versions {
    /// Those that this code speaks.
    pub const SPOKEN: Self = Self { lowest: 1, highest: 5 };

    /// The highest that both speak.
    pub fn common(self, other: Self) -> Option<u16> {
        let highest = self.highest.min(other.highest);
        (highest >= self.lowest.max(other.lowest)).then_some(highest)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lowest == self.highest {
            write!(f, "link version {}", self.lowest)
        } else {
            write!(f, "link versions {} to {}", self.lowest, self.highest)
        }
    }
}

/// Whether a node may be called so: 1 to [`limits::NODE_NAME_BYTES_MAX`] bytes without white space and control characters, so that a
/// name can stand in a log whoever sent it.
pub fn is_node_name(name: &str) -> bool {
    let is_plain = |char: char| !char.is_whitespace() && !char.is_control();
    !name.is_empty() && name.len() <= limits::NODE_NAME_BYTES_MAX && name.chars().all(is_plain)
}
