//! What some exchanges keep beside their bindings: messages that wait for their time, those of late, and which were there already.

mod hold;

pub(crate) use hold::{DueMessage, Hold, Next};
