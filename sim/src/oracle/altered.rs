//! Payload and properties arrive as they were published.

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct Altered;

impl Oracle for Altered {
    fn name(&self) -> &'static str {
        "content intact"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        let (Fact::Read { message, wrong, .. } | Fact::Peeked { message, wrong, .. }) = *fact else {
            return Verdict::NotMine;
        };
        let what = match (message, wrong) {
            (Some(_), None) => return Verdict::Kept,
            (Some(message), Some(part)) => format!("{message} with the wrong {part}"),
            (None, _) => "a message that nobody published".to_owned(),
        };
        Verdict::Broken(match *fact {
            Fact::Peeked { queue, .. } => format!("who looks into queue {} sees {what}", queue.0),
            Fact::Read { client, .. } => format!("client {client} got {what}"),
            _ => what,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Part;
    use crate::message::MessageNumber;

    #[test]
    fn a_changed_body_is_objected_to() {
        let read = |wrong| Altered.judge(&Fact::Read { client: 1, message: Some(MessageNumber(3)), wrong });
        assert_eq!(read(None), Verdict::Kept);
        assert_eq!(read(Some(Part::Body)), Verdict::Broken("client 1 got #3 with the wrong body".to_owned()));
    }
}
