//! What some exchanges keep beside their bindings: messages that wait for their time, those of late, and which were there already.

mod dedup;
mod history;
mod hold;

pub(crate) use dedup::{Deduper, MessageIdentity};
pub(crate) use history::History;
pub(crate) use hold::{DueMessage, Hold, Next};
