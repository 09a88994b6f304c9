//! After the same change all nodes are the same: what is declared is one state, carried out in one order.

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct Agreement;

impl Oracle for Agreement {
    fn name(&self) -> &'static str {
        "nodes agree"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Applied { node, applied, differs_from } = *fact else { return Verdict::NotMine };
        let Some(other) = differs_from else { return Verdict::Kept };
        let (node, other) = (node.letter(), other.letter());
        Verdict::Broken(format!("after change {applied} node {node} is not what node {other} was after it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::At;

    #[test]
    fn another_state_after_the_same_change_is_objected_to() {
        let fact = |differs_from| Fact::Applied { node: At::FIRST, applied: 7, differs_from };
        assert!(Agreement.judge(&fact(None)).is_kept());
        assert!(Agreement.judge(&fact(Some(At::new(1)))).is_broken());
    }
}
