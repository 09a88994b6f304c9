//! What was declared and answered is known to all nodes when all is at rest, and what was deleted to none.

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct DeclaredStays;

impl Oracle for DeclaredStays {
    fn name(&self) -> &'static str {
        "declared on all nodes"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Known { node, what, missing, undue } = *fact else { return Verdict::NotMine };
        Verdict::broken_if(missing + undue > 0, || {
            let (node, what) = (node.letter(), what.name());
            format!("node {node} lacks {missing} {what} that are declared, and knows {undue} that are not")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Declared;
    use crate::nodes::At;

    #[test]
    fn what_a_node_lacks_or_has_too_much_is_objected_to() {
        let fact = |missing, undue| Fact::Known { node: At::FIRST, what: Declared::Queues, missing, undue };
        assert!(DeclaredStays.judge(&fact(0, 0)).is_kept());
        assert!(DeclaredStays.judge(&fact(1, 0)).is_broken() && DeclaredStays.judge(&fact(0, 1)).is_broken());
    }
}
