//! Every publish in confirm mode gets one answer, and a mandatory one that reaches no queue comes back before it (RabbitMQ docs:
//! Publisher Confirms).

use crate::history::Fact;
use crate::oracle::{Oracle, Verdict};

/// See the module.
pub(super) struct Confirm;

impl Oracle for Confirm {
    fn name(&self) -> &'static str {
        "one answer per publish"
    }

    fn judge(&mut self, fact: &Fact) -> Verdict {
        match *fact {
            Fact::Answered { session, seqno, message: None, .. } => {
                Verdict::Broken(format!("s{} gets an answer for publish {seqno}, which waits for none", session.0))
            }
            Fact::Answered { session, message: Some(message), is_ack: false, .. } => {
                Verdict::Broken(format!("{message} is refused on s{} although no queue has a limit", session.0))
            }
            Fact::Answered { message: Some(message), lacks_return: true, .. } => Verdict::Broken(format!(
                "{message} is confirmed; it was mandatory, reached no queue and did not come back"
            )),
            Fact::Returned { message, certain, .. } if certain > 0 => {
                Verdict::Broken(format!("{message} comes back although it reached {certain} queues"))
            }
            Fact::Answered { .. } | Fact::Returned { .. } => Verdict::Kept,
            _ => Verdict::NotMine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Session;
    use crate::message::MessageNumber;
    use crate::oracle::tests::answered;

    #[test]
    fn a_second_answer_is_objected_to() {
        let mut fact = answered();
        assert!(Confirm.judge(&fact).is_kept());
        if let Fact::Answered { message, .. } = &mut fact {
            *message = None;
        }
        assert!(Confirm.judge(&fact).is_broken());
    }

    #[test]
    fn returns_are_for_what_reached_no_queue() {
        let fact = Fact::Returned { session: Session(1), message: MessageNumber(1), certain: 1, is_mandatory: true };
        assert!(Confirm.judge(&fact).is_broken());
        let mut fact = answered();
        if let Fact::Answered { lacks_return, .. } = &mut fact {
            *lacks_return = true;
        }
        assert!(Confirm.judge(&fact).is_broken());
    }
}
