//! In each term at most one node leads (Raft thesis §3.2: election safety).

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct OneLeader;

impl Oracle for OneLeader {
    fn name(&self) -> &'static str {
        "one leader a term"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Led { node, term, rival, .. } = *fact else { return Verdict::NotMine };
        let Some(rival) = rival else { return Verdict::Kept };
        Verdict::Broken(format!("node {} leads in term {term}, and so does node {}", node.letter(), rival.letter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::At;

    #[test]
    fn a_second_leader_is_objected_to() {
        let fact = |rival| Fact::Led { node: At::FIRST, term: 3, is_of_queue: true, rival };
        assert!(OneLeader.judge(&fact(None)).is_kept());
        assert!(OneLeader.judge(&fact(Some(At::new(1)))).is_broken());
    }
}
