//! Payload and properties arrive as they were published.

use crate::history::Fact;
use crate::oracle::Oracle;

/// See the module.
pub(super) struct Altered;

impl Oracle for Altered {
    fn name(&self) -> &'static str {
        "content intact"
    }

    fn judge(&mut self, fact: &Fact) -> Option<String> {
        match *fact {
            Fact::Altered { client, message: None, .. } => {
                Some(format!("client {client} got a message that nobody published"))
            }
            Fact::Altered { client, message: Some(message), is_body } => {
                let part = if is_body { "body" } else { "properties" };
                Some(format!("client {client} got {message} with the wrong {part}"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageNumber;

    #[test]
    fn a_changed_body_is_objected_to() {
        let fact = Fact::Altered { client: 1, message: Some(MessageNumber(3)), is_body: true };
        assert!(Altered.judge(&fact).is_some_and(|text| text.contains("#3 with the wrong body")));
    }
}
