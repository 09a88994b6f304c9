//! A paused queue delivers nothing until an operator resumes it or the node starts anew.

use std::collections::BTreeSet;

use crate::history::{Change, Fact};
use crate::oracle::{Oracle, Verdict};

/// See the module.
#[derive(Default)]
pub(super) struct Resting {
    paused: BTreeSet<u32>,
}

impl Oracle for Resting {
    fn name(&self) -> &'static str {
        "paused queues rest"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        match *fact {
            Fact::Paused { queue } => {
                self.paused.insert(queue.0);
                Verdict::Kept
            }
            Fact::Resumed { queue } | Fact::Changed { queue, what: Change::DeleteAsked | Change::Gone } => {
                // A queue that goes and comes back is another one.
                self.paused.remove(&queue.0);
                Verdict::NotMine
            }
            Fact::Ended { .. } => {
                self.paused.clear();
                Verdict::NotMine
            }
            Fact::Delivered { queue: Some(queue), .. } if self.paused.contains(&queue.0) => {
                Verdict::Broken(format!("queue {} delivers although it is paused", queue.0))
            }
            _ => Verdict::NotMine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::QueueIndex;
    use crate::oracle::tests::right_delivery;

    #[test]
    fn a_delivery_of_a_paused_queue_is_objected_to() {
        let mut oracle = Resting::default();
        let queue = QueueIndex(0);
        assert_eq!(oracle.judge(&right_delivery()), Verdict::NotMine);
        oracle.judge(&Fact::Paused { queue });
        assert!(oracle.judge(&right_delivery()).is_broken());
        oracle.judge(&Fact::Resumed { queue });
        assert_eq!(oracle.judge(&right_delivery()), Verdict::NotMine);
    }
}
