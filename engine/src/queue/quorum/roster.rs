//! Which sessions a quorum queue knows, and how far each has come.
//!
//! Of each node it keeps which life it is in and the highest session number of that life, so that whatever is left over from a session
//! that has ended, or from a former life of the node, is known for what it is, without keeping the names of all that ever were.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::ids::{Boot, NodeId, SessionId, SessionSeqno};
use crate::collections::Directory;

/// The sessions of a queue.
#[derive(Debug, Default)]
pub(super) struct Roster {
    pub(super) sessions: Directory<SessionId, SessionState>,
    pub(super) nodes: BTreeMap<NodeId, NodeState>,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionState {
    /// The next command it is to send.
    pub(super) next: SessionSeqno,
    /// Its next consumer has at least this tag.
    pub(super) next_tag: u32,
}

/// What is kept of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeState {
    /// The life it is in.
    pub(super) boot: Boot,
    /// Sessions of this life up to this one have begun, or never will.
    pub(super) highest: u64,
    /// Since when nobody can reach it, in milliseconds; `None` if it can be reached.
    pub(super) suspected_at: Option<u64>,
}

/// What becomes of a session's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is the next one.
    Next,
    /// It was applied before, as all before this one were.
    Duplicate(SessionSeqno),
    /// It came too early: this one is to be next.
    Gap(SessionSeqno),
    /// The session is over, or can never begin.
    Unknown,
}

impl Roster {
    /// Decides on a command and counts it if it is the next one. A session begins with its first.
    pub(super) fn admit(&mut self, session: SessionId, seqno: SessionSeqno) -> Admission {
        let Some(state) = self.sessions.get_mut(&session) else { return self.begin(session, seqno) };
        if seqno > state.next {
            return Admission::Gap(state.next);
        }
        if seqno < state.next {
            return Admission::Duplicate(state.next);
        }
        state.next = seqno.next();
        Admission::Next
    }

    fn begin(&mut self, session: SessionId, seqno: SessionSeqno) -> Admission {
        let node = self.nodes.get(&session.node);
        if node.is_some_and(|node| (session.boot, session.number) <= (node.boot, node.highest)) {
            return Admission::Unknown;
        }
        if seqno.0 != 1 {
            return Admission::Gap(SessionSeqno(1));
        }
        let suspected_at = node.and_then(|node| node.suspected_at);
        self.nodes.insert(session.node, NodeState { boot: session.boot, highest: session.number, suspected_at });
        self.sessions.insert(session, SessionState { next: seqno.next(), next_tag: 0 });
        Admission::Next
    }

    /// A session goes on that has come so far elsewhere. Nothing if it, or a younger one of its node, is known.
    pub(super) fn adopt(&mut self, session: SessionId, next: SessionSeqno) {
        let node = self.nodes.get(&session.node);
        if node.is_some_and(|node| (session.boot, session.number) <= (node.boot, node.highest)) {
            return;
        }
        let suspected_at = node.and_then(|node| node.suspected_at);
        self.nodes.insert(session.node, NodeState { boot: session.boot, highest: session.number, suspected_at });
        self.sessions.insert(session, SessionState { next, next_tag: 0 });
    }

    /// What a session would be called if its node were still in the life that it was in then: a planted bug.
    pub(super) fn name_today(&self, session: SessionId) -> SessionId {
        match self.nodes.get(&session.node) {
            Some(node) if node.boot > session.boot => SessionId { boot: node.boot, ..session },
            _ => session,
        }
    }

    /// Whether a session's node is in a life before that one, which has therefore ended.
    pub(super) fn ends_former_life(&self, session: SessionId) -> bool {
        self.nodes.get(&session.node).is_some_and(|node| node.boot < session.boot)
    }

    /// The sessions of a node up to a life of it.
    pub(super) fn of_node(&self, node: NodeId, boot: Boot) -> Vec<SessionId> {
        let first = SessionId { node, boot: Boot(0), number: 0 };
        let last = SessionId { node, boot, number: u64::MAX };
        self.sessions.keys_within(first, last).collect()
    }

    /// Whether a node can be reached, as far as the queue knows.
    pub(super) fn is_suspected(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.suspected_at.is_some())
    }
}
