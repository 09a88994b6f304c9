//! After the same entry of its log all replicas of a queue are the same.

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct ReplicasAgree;

impl Oracle for ReplicasAgree {
    fn name(&self) -> &'static str {
        "replicas agree"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Carried { queue, node, applied, differs_from, .. } = *fact else { return Verdict::NotMine };
        let Some(other) = differs_from else { return Verdict::Kept };
        let (queue, node, other) = (queue.0, node.letter(), other.letter());
        Verdict::Broken(format!(
            "after entry {applied} of queue {queue}, node {node} is not what node {other} was after it"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::QueueIndex;
    use crate::nodes::At;

    #[test]
    fn another_state_after_the_same_entry_is_objected_to() {
        let fact = |differs_from| Fact::Carried {
            queue: QueueIndex(0),
            node: At::FIRST,
            applied: 7,
            holders: 2,
            voters: 3,
            differs_from,
        };
        assert!(ReplicasAgree.judge(&fact(None)).is_kept());
        assert!(ReplicasAgree.judge(&fact(Some(At::new(1)))).is_broken());
    }
}
