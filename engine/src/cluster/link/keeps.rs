//! Which of two links stays, when two nodes have dialed each other at the same moment.

use super::who::Who;

/// Whether a link stays, of two between the same nodes of which each has dialed one: the one that the node with the lesser name has
/// dialed. Both nodes come to the same conclusion about both links, whichever they see first. If the names are the same, which nothing
/// else in a cluster allows, disk and boot decide; a link of a node to itself never stays.
///
/// It is for links that are both fresh. Where one of them has been open for longer than a handshake takes, the other node has lost it
/// without this one's knowledge, or it would not have dialed: then the younger stays. And so it is among links that the same node dialed,
/// and where the boot of the other node is another one.
pub fn keeps(ours: &Who, theirs: &Who, dialed_by_us: bool) -> bool {
    let rank = |who: &Who| (who.disk, who.boot);
    match ours.name.cmp(&theirs.name).then_with(|| rank(ours).cmp(&rank(theirs))) {
        core::cmp::Ordering::Less => dialed_by_us,
        core::cmp::Ordering::Greater => !dialed_by_us,
        core::cmp::Ordering::Equal => false,
    }
}
