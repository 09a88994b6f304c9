//! A node that starts remembers what its disk kept of the changes it had carried out.

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct Reread;

impl Oracle for Reread {
    fn name(&self) -> &'static str {
        "changes stay carried out"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Reread { node, applied, least } = *fact else { return Verdict::NotMine };
        Verdict::broken_if(applied < least, || {
            format!("node {} remembers change {applied}, and its disk kept change {least}", node.letter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::At;

    #[test]
    fn a_node_that_goes_back_is_objected_to() {
        let fact = |applied| Fact::Reread { node: At::FIRST, applied, least: 7 };
        assert!(Reread.judge(&fact(7)).is_kept() && Reread.judge(&fact(9)).is_kept());
        assert!(Reread.judge(&fact(6)).is_broken());
    }
}
