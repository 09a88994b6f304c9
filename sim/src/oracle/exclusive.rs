//! An exclusive queue is another connection's only once its own has gone (AMQP 0-9-1 queue.declare, exclusive).

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct Exclusive;

impl Oracle for Exclusive {
    fn name(&self) -> &'static str {
        "exclusive to one"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Succeeded { queue, owner, is_owner_there } = *fact else { return Verdict::NotMine };
        Verdict::broken_if(is_owner_there, || {
            format!("queue {} is declared while connection {owner}, whose alone it is, is there", queue.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::QueueIndex;

    #[test]
    fn taking_a_living_connections_queue_is_objected_to() {
        for (is_owner_there, is_right) in [(false, true), (true, false)] {
            let fact = Fact::Succeeded { queue: QueueIndex(0), owner: 1, is_owner_there };
            assert_eq!(Exclusive.judge(&fact).is_kept(), is_right);
        }
    }
}
