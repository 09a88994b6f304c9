//! At rest, the node's queues and their counts are the model's.

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct Counts;

impl Oracle for Counts {
    fn name(&self) -> &'static str {
        "queues and counts"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        match *fact {
            Fact::Counted { queue, found, least, most } if !(least..=most).contains(&found) => {
                Verdict::Broken(format!("queue {} holds {found} messages and should hold {least} to {most}", queue.0))
            }
            Fact::Existence { queue, found: true } => {
                Verdict::Broken(format!("queue {} exists and should not", queue.0))
            }
            Fact::Existence { queue, found: false } => {
                Verdict::Broken(format!("queue {} does not exist and should", queue.0))
            }
            Fact::Counted { .. } => Verdict::Kept,
            _ => Verdict::NotMine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::QueueIndex;

    #[test]
    fn a_count_outside_what_is_possible_is_objected_to() {
        for (found, is_right) in [(1, false), (2, true), (3, true), (4, false)] {
            let fact = Fact::Counted { queue: QueueIndex(0), found, least: 2, most: 3 };
            assert_eq!(Counts.judge(&fact).is_kept(), is_right, "{found}");
        }
        assert!(Counts.judge(&Fact::Existence { queue: QueueIndex(0), found: false }).is_broken());
    }
}
