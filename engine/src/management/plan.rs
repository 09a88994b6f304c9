//! What a request comes to: an answer, or changes that are answered once they are durable.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use super::AdminReply;
use crate::amqp::ShortStr;
use crate::ids::QueueId;
use crate::metadata::{AdminError, Administration, Command, Pattern};

/// What a request comes to.
#[derive(Debug)]
pub(crate) enum Plan {
    /// It can be answered at once.
    Reply(AdminReply),
    /// This has to be carried out.
    Change(Command),
    /// These have to be carried out in this order, each with whether it outlives a restart. They have been tried already.
    Import {
        /// What has to be carried out.
        commands: Vec<(Command, bool)>,
        /// Greater than the ids of all queues that this makes.
        next_queue_id: QueueId,
    },
}

impl Plan {
    /// One change.
    pub(super) fn change(administration: Administration) -> Self {
        Self::Change(Command::Administer(Box::new(administration)))
    }
}

/// A name that AMQP can carry.
pub(super) fn name(text: &str, what: &str) -> Result<ShortStr, AdminError> {
    if text.is_empty() {
        return Err(AdminError::bad_request(format!("{what} name cannot be empty")));
    }
    short(text, what)
}

/// A text that AMQP can carry in a short string.
pub(super) fn short(text: &str, what: &str) -> Result<ShortStr, AdminError> {
    ShortStr::try_from(text).map_err(|error| AdminError::bad_request(format!("{what} name is too long: {error}")))
}

/// A permission.
pub(super) fn permission(text: &str) -> Result<Pattern, AdminError> {
    Pattern::of_permission(text).map_err(|reason| invalid_pattern(text, &reason))
}

pub(super) fn invalid_pattern(text: &str, reason: &str) -> AdminError {
    AdminError::bad_request(format!("invalid regular expression '{text}': {reason}"))
}
