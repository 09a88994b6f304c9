//! Sessions with queues on one node that were given up, since that was out of reach or in another life. If the queue had got replicas by
//! then, of which this node had not heard, those have adopted them: they are to end there.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::super::Broker;
use crate::cluster::queues::Frame;
use crate::ids::{NodeId, QueueId};
use crate::limits;
use crate::queue::quorum::{Command, EntryWriter, SessionId, Sync, SyncAnswer};
use crate::routing::QueueKey;

/// Such sessions, by queue.
#[derive(Debug, Default)]
pub(super) struct Forsaken {
    by_queue: BTreeMap<QueueId, OfQueue>,
    len: usize,
}

/// Those of one.
#[derive(Debug, Default)]
struct OfQueue {
    sessions: BTreeSet<SessionId>,
    /// Who was last asked about them.
    asked: NodeId,
}

impl Forsaken {
    /// Notes one. Of too many the first are forgotten: their queues have long been where they are.
    fn add(&mut self, queue: QueueId, session: SessionId) {
        self.len += usize::from(self.by_queue.entry(queue).or_default().sessions.insert(session));
        if self.len > limits::REMOTE_FORSAKEN_MAX
            && let Some((_, first)) = self.by_queue.pop_first()
        {
            self.len -= first.sessions.len();
        }
    }

    fn remove(&mut self, session: SessionId) {
        for of_queue in self.by_queue.values_mut() {
            self.len -= usize::from(of_queue.sessions.remove(&session));
        }
        self.by_queue.retain(|_, of_queue| !of_queue.sessions.is_empty());
    }
}

impl Broker {
    /// A session with a queue on one node is given up.
    pub(super) fn note_forsaken(&mut self, queue: QueueKey, session: SessionId) {
        if let Some(record) = self.metadata.queue_by_key(queue).filter(|record| record.can_be_replicated()) {
            let id = record.id;
            self.remote.forsaken.add(id, session);
        }
    }

    /// Whether there are any of a queue.
    pub(super) fn has_forsaken(&self, queue: QueueKey) -> bool {
        let id = self.metadata.queue_by_key(queue).map(|record| record.id);
        id.is_some_and(|id| self.remote.forsaken.by_queue.contains_key(&id))
    }

    /// Asks whoever may lead these queues whether sessions that were given up are known there. Whether there are any.
    pub(super) fn ask_for_forsaken(&mut self) -> bool {
        let mut asked: Vec<(QueueId, NodeId, SessionId)> = Vec::new();
        let mut gone: Vec<SessionId> = Vec::new();
        for (queue, OfQueue { sessions, asked: before }) in &self.remote.forsaken.by_queue {
            match self.metadata.queue_by_id(*queue) {
                Some((key, record)) if record.is_replicated() => {
                    // Whoever was asked before and is asked again did not lead it.
                    let leader = self.guess_leader(key, *before);
                    asked.extend(sessions.iter().map(|session| (*queue, leader, *session)));
                }
                Some(_) => {}
                None => gone.extend(sessions),
            }
        }
        gone.into_iter().for_each(|session| self.remote.forsaken.remove(session));
        for (queue, leader, session) in &asked {
            if let Some(of_queue) = self.remote.forsaken.by_queue.get_mut(queue) {
                of_queue.asked = *leader;
            }
            if self.can_reach(*leader) {
                let sync = Sync { session: *session, consumers: Vec::new() };
                self.say(*leader, &Frame::Sync { queue: *queue, sync });
            }
        }
        !asked.is_empty()
    }

    /// Somebody who leads a queue says whether he knows such a session.
    pub(super) fn on_forsaken_synced(&mut self, from: NodeId, answer: &SyncAnswer) {
        let is_it = |(_, of_queue): &(&QueueId, &OfQueue)| of_queue.sessions.contains(&answer.session);
        let Some((queue, _)) = self.remote.forsaken.by_queue.iter().find(is_it) else { return };
        let queue = *queue;
        if answer.next.is_none() {
            return self.remote.forsaken.remove(answer.session);
        }
        let mut writer = EntryWriter::default();
        writer.push(&Command::Forsake { session: answer.session }, &[]);
        self.say(from, &Frame::Commands { queue, entry: writer.take().into() });
    }
}
