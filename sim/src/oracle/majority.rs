//! Nothing is applied, and so nobody is told that it is safe, before the disks of a majority of replicas have it for good (Raft thesis
//! §3.6.2).

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct Majority;

impl Oracle for Majority {
    fn name(&self) -> &'static str {
        "applied means on a majority"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Carried { queue, node, applied, holders, voters, .. } = *fact else { return Verdict::NotMine };
        Verdict::broken_if(2 * holders <= voters, || {
            let (queue, node) = (queue.0, node.letter());
            format!(
                "node {node} applies entry {applied} of queue {queue}, which the disks of {holders} of {voters} have"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::QueueIndex;
    use crate::nodes::At;

    #[test]
    fn what_half_of_the_replicas_could_lose_is_objected_to() {
        for (holders, voters, is_right) in [(2, 3, true), (1, 3, false), (2, 4, false), (1, 1, true)] {
            let fact = Fact::Carried {
                queue: QueueIndex(0),
                node: At::FIRST,
                applied: 7,
                holders,
                voters,
                differs_from: None,
            };
            assert_eq!(Majority.judge(&fact).is_kept(), is_right, "{holders} of {voters}");
        }
    }
}
