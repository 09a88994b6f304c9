//! At rest, the node's queues and their counts are the model's.

use crate::history::Fact;
use crate::oracle::Oracle;

/// See the module.
pub(super) struct Counts;

impl Oracle for Counts {
    fn name(&self) -> &'static str {
        "queues and counts"
    }

    fn judge(&mut self, fact: &Fact) -> Option<String> {
        match *fact {
            Fact::Counted { queue, found, least, most } if !(least..=most).contains(&found) => {
                Some(format!("queue {} holds {found} messages and should hold {least} to {most}", queue.0))
            }
            Fact::Existence { queue, found: true } => Some(format!("queue {} exists and should not", queue.0)),
            Fact::Existence { queue, found: false } => Some(format!("queue {} does not exist and should", queue.0)),
            _ => None,
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
            assert_eq!(Counts.judge(&fact).is_none(), is_right, "{found}");
        }
        assert!(Counts.judge(&Fact::Existence { queue: QueueIndex(0), found: false }).is_some());
    }
}
