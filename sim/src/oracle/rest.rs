//! What was used is given back: when all is drained and all clients are gone, memory and disk are as at the start.

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};

/// Segments that an idle log may keep: the one it writes, one made ahead, one to use again.
const SEGMENTS_MAX: u64 = 3;

/// See the module.
pub(super) struct Rest;

impl Oracle for Rest {
    fn name(&self) -> &'static str {
        "memory and disk return"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let Fact::Rest { body_bytes, outbox_bytes, connections, segments } = *fact else {
            return Verdict::NotMine;
        };
        for (what, found, most) in [
            ("bytes of bodies", body_bytes, 0),
            ("bytes for clients", outbox_bytes, 0),
            ("connections", connections, 0),
            ("segments of the log", segments, SEGMENTS_MAX),
        ] {
            if found > most {
                return Verdict::Broken(format!("{found} {what} are kept at rest, at most {most} are needed"));
            }
        }
        Verdict::Kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_nothing_is_objected_to() {
        let rest = |body_bytes, segments| Fact::Rest { body_bytes, outbox_bytes: 0, connections: 0, segments };
        assert!(Rest.judge(&rest(0, 3)).is_kept());
        assert!(Rest.judge(&rest(1, 3)).is_broken());
        assert!(Rest.judge(&rest(0, 4)).is_broken());
    }
}
