//! What other nodes say to a queue before this node can answer for it: it has not heard yet that the queue is there, or here, or what
//! became of it; or it is to lead the queue's replicas and has not applied all that was decided before.
//!
//! Whoever waits for an answer says everything again from time to time, so what is said again takes the place of what was said before:
//! of sessions is kept what their nodes hold on to as well, and no more. Questions have a limit, since nobody says that a client who asked
//! one has gone.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;

use super::guests::all_of;
use crate::cluster::queues::{Frame, Malformed, Question};
use crate::ids::{NodeId, QueueId};
use crate::limits;
use crate::queue::quorum::{Command, SessionId, SessionSeqno, Sync, decode_entry};

/// What was said to one queue.
#[derive(Debug, Default)]
pub(super) struct Early {
    sessions: BTreeMap<SessionId, Vec<Said>>,
    /// By who asks and the number of the question.
    questions: BTreeMap<(NodeId, u64), Question>,
}

/// What a session says.
#[derive(Debug)]
enum Said {
    /// What it has.
    Sync(Sync),
    /// What it wants: the number of the first command, and all of them.
    Commands(SessionSeqno, Bytes),
}

impl Early {
    pub(super) fn keep_sync(&mut self, sync: Sync) {
        let said = self.sessions.entry(sync.session).or_default();
        said.retain(|it| matches!(it, Said::Commands(..)));
        said.push(Said::Sync(sync));
    }

    /// # Errors
    /// If that is nothing that a session may say.
    pub(super) fn keep_commands(&mut self, from: NodeId, entry: Bytes) -> Result<(), Malformed> {
        let mut commands = Vec::new();
        decode_entry(&entry, &mut commands).map_err(|_| Malformed)?;
        // Each entry is of one session. Whoever gives up another one asks about that again.
        let Some(Command::Session { session, seqno, .. }) = commands.first() else { return Ok(()) };
        if session.node == from {
            let said = self.sessions.entry(*session).or_default();
            // In nearly all cases they are new, and follow the ones before.
            let is_again = said.iter().rev().find_map(Said::first).is_some_and(|last| last >= *seqno);
            if is_again {
                said.retain(|it| it.first().is_none_or(|first| first < *seqno));
            }
            said.push(Said::Commands(*seqno, entry));
        }
        Ok(())
    }

    pub(super) fn keep_question(&mut self, from: NodeId, number: u64, question: Question) {
        self.questions.insert((from, number), question);
        let of_node = (from, 0)..=(from, u64::MAX);
        if self.questions.range(of_node.clone()).count() > limits::EARLY_QUESTIONS_MAX
            && let Some(oldest) = self.questions.range(of_node).next().map(|(which, _)| *which)
        {
            self.questions.remove(&oldest);
        }
    }

    /// Forgets what a node said: it says it again.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.sessions.retain(|session, _| !all_of(node).contains(session));
        self.questions.retain(|(from, _), _| *from != node);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.questions.is_empty()
    }

    /// All of it, with who said it: of each session in order, and those in the order of their numbers.
    pub(super) fn into_frames(self, queue: QueueId) -> impl Iterator<Item = (NodeId, Frame)> {
        let frame = move |said| match said {
            Said::Sync(sync) => Frame::Sync { queue, sync },
            Said::Commands(_, entry) => Frame::Commands { queue, entry },
        };
        let said =
            self.sessions.into_iter().flat_map(|(session, said)| said.into_iter().map(move |it| (session.node, it)));
        let questions = self.questions.into_iter();
        said.map(move |(from, said)| (from, frame(said)))
            .chain(questions.map(move |((from, number), question)| (from, Frame::Ask { number, queue, question })))
    }
}

impl Said {
    fn first(&self) -> Option<SessionSeqno> {
        match self {
            Self::Commands(first, _) => Some(*first),
            Self::Sync(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Boot;
    use crate::queue::quorum::{EntryWriter, SessionOp};

    const QUEUE: QueueId = QueueId(9);
    const NODE: NodeId = NodeId(2);

    fn session(number: u64) -> SessionId {
        SessionId { node: NODE, boot: Boot(3), number }
    }

    fn gets(session: SessionId, seqnos: core::ops::RangeInclusive<u64>) -> Bytes {
        let mut writer = EntryWriter::default();
        seqnos.for_each(|seqno| writer.session(session, SessionSeqno(seqno), &SessionOp::Get { tag: 1 }, &[]));
        writer.take().into()
    }

    fn sync(session: SessionId) -> Sync {
        Sync { session, consumers: Vec::new() }
    }

    #[test]
    fn what_is_said_again_takes_the_place_of_what_was_said_before() {
        let mut early = Early::default();
        for round in 1..100 {
            early.keep_sync(sync(session(1)));
            early.keep_commands(NODE, gets(session(1), 1..=3)).unwrap();
            early.keep_commands(NODE, gets(session(1), 4..=3 + round)).unwrap();
            early.keep_question(NODE, 7, Question::Purge);
        }
        early.keep_commands(NODE, gets(session(1), 103..=104)).unwrap();
        let frames: Vec<_> = early.into_frames(QUEUE).collect();
        let commands = |entry| (NODE, Frame::Commands { queue: QUEUE, entry });
        let expected = [
            (NODE, Frame::Sync { queue: QUEUE, sync: sync(session(1)) }),
            commands(gets(session(1), 1..=3)),
            commands(gets(session(1), 4..=102)),
            commands(gets(session(1), 103..=104)),
            (NODE, Frame::Ask { number: 7, queue: QUEUE, question: Question::Purge }),
        ];
        assert_eq!(frames, expected);
    }

    #[test]
    fn sessions_stay_apart_and_speak_for_themselves() {
        let mut early = Early::default();
        early.keep_commands(NODE, gets(session(2), 1..=1)).unwrap();
        early.keep_commands(NODE, gets(session(1), 1..=1)).unwrap();
        early.keep_commands(NodeId(3), gets(session(4), 1..=1)).unwrap();
        assert!(early.keep_commands(NODE, Bytes::from_static(&[1, 255])).is_err());
        early.keep_question(NodeId(3), 7, Question::Purge);
        early.forget(NodeId(3));
        let frames: Vec<_> = early.into_frames(QUEUE).collect();
        let commands = |number| (NODE, Frame::Commands { queue: QUEUE, entry: gets(session(number), 1..=1) });
        assert_eq!(frames, [commands(1), commands(2)]);
    }

    #[test]
    fn of_too_many_questions_the_oldest_go() {
        let mut early = Early::default();
        let count = limits::EARLY_QUESTIONS_MAX as u64;
        (0..count + 2).for_each(|number| early.keep_question(NODE, number, Question::Purge));
        early.keep_question(NodeId(3), 0, Question::Purge);
        let kept: Vec<_> = early.questions.keys().copied().collect();
        let expected: Vec<_> = (2..count + 2).map(|number| (NODE, number)).chain([(NodeId(3), 0)]).collect();
        assert_eq!(kept, expected);
    }

    #[test]
    fn nothing_is_left_of_a_node_that_is_forgotten() {
        let mut early = Early::default();
        early.keep_sync(sync(session(1)));
        early.keep_question(NODE, 7, Question::Purge);
        assert!(!early.is_empty());
        early.forget(NODE);
        assert!(early.is_empty());
    }
}
