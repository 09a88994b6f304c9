//! Operators get one answer to each request, and no more than they asked for.

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct Operated;

impl Oracle for Operated {
    fn name(&self) -> &'static str {
        "operators answered"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        match *fact {
            Fact::Peeked { queue, too_many, .. } => Verdict::broken_if(too_many, || {
                format!("who looks into queue {} sees more than was asked for", queue.0)
            }),
            Fact::Operated { undue, open, .. } => Verdict::broken_if(undue > 0 || open > 0, || {
                format!("{open} requests of operators have no answer, and {undue} answers are to no request")
            }),
            _ => Verdict::NotMine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_answered_or_answered_twice_is_objected_to() {
        let of = |undue, open| Operated.judge(&Fact::Operated { answers: 3, undue, open });
        assert!(of(0, 0).is_kept() && of(1, 0).is_broken() && of(0, 1).is_broken());
    }
}
