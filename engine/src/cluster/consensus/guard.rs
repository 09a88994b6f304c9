//! What must hold of a message before `raft` may see it, beyond what [`super::wire`] checks of each by itself.
//!
//! `raft` ends the process where a message contradicts what this member knows: for it that is a bug. For us it may as well be a
//! member that lost its disk, or bytes that passed by chance.

use raft::eraftpb::{Message, MessageType};
use raft::{Raft, StateRole};

use super::store::Store;

/// Whether `raft` can take it.
pub(super) fn is_acceptable(message: &Message, raft: &Raft<Store>) -> bool {
    let last = raft.raft_log.last_index();
    match message.get_msg_type() {
        // The leader says that this much of our own log is committed. If we do not have it, we have lost it.
        MessageType::MsgHeartbeat => message.term < raft.term || message.commit <= last,
        // A member says that it has what this leader has not.
        MessageType::MsgAppendResponse => {
            message.term != raft.term || raft.state != StateRole::Leader || message.reject || message.index <= last
        }
        _ => true,
    }
}
