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
        let (who, message, wrong) = match *fact {
            Fact::Read { client, message, wrong } => (format!("client {client} got"), message, wrong),
            Fact::Peeked { queue, message, wrong, .. } => {
                (format!("who looks into queue {} sees", queue.0), message, wrong)
            }
            _ => return Verdict::NotMine,
        };
        let Some(message) = message else {
            return Verdict::Broken(format!("{who} a message that nobody published"));
        };
        match wrong {
            Some(part) => Verdict::Broken(format!("{who} {message} with the wrong {part}")),
            None => Verdict::Kept,
        }
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
