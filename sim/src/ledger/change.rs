//! Queues that are declared, emptied and deleted while others use them.
//!
//! From the request on nobody can tell what is in the queue, until it is answered: then what was there for certain when it was made is
//! gone for good. A request that is never answered may be carried out at any time.

use super::{Ledger, Queue, Stay, stays_of};
use crate::history::{Change, Departure, Fact, Presence};
use crate::message::MessageNumber;
use crate::nodes::At;

/// Whether a queue is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existence {
    No,
    Maybe,
    Yes,
}

/// What a client asks for, and has no answer to.
#[derive(Debug)]
pub(super) enum Request {
    Declare {
        queue: u32,
        /// How often it was known to have been deleted.
        life: u32,
    },
    Delete {
        queue: u32,
        /// What was in it for certain.
        before: Vec<MessageNumber>,
    },
    Purge {
        queue: u32,
        /// What was in it for certain, and with nobody.
        before: Vec<MessageNumber>,
    },
}

/// What became of a queue as a whole.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// How often it is known to have been deleted.
    life: u32,
    /// Deletions and purges that were ever asked for, and those without an answer.
    asked: u32,
    open: u32,
    /// Declarations without an answer.
    declaring: u32,
    /// It was declared while a deletion had no answer.
    is_declared_meanwhile: bool,
    /// The node that said in this step that it is there, or that it is gone.
    declared_by: Option<At>,
    deleted_by: Option<At>,
    /// The change of what is declared from which on a node knows that it is there, and that from which on it knew that it was gone.
    known_since: u64,
    gone_since: u64,
}

impl Queue {
    /// Whether somebody ever asked for something that takes messages away.
    pub(super) fn has_changed(&self) -> bool {
        self.changes.asked > 0
    }

    /// How often it is known to have been deleted.
    pub(super) fn life(&self) -> u32 {
        self.changes.life
    }

    /// Whether it is there, and stays, for a node that has come to that change.
    pub(super) fn is_known_at(&self, applied: u64) -> bool {
        self.existence == Existence::Yes && self.changes.open == 0 && applied >= self.changes.known_since
    }

    /// A node has put out all of a step, in which it had come to that change of what is declared.
    pub(super) fn end_step(&mut self, at: At, applied: u64) {
        let changes = &mut self.changes;
        if changes.deleted_by.take_if(|by| *by == at).is_some() {
            changes.gone_since = changes.gone_since.max(applied);
        }
        // One that has not heard of the deletion speaks of the queue that was.
        if changes.declared_by.take_if(|by| *by == at).is_some() && applied >= changes.gone_since {
            changes.known_since = changes.known_since.max(applied);
            changes.is_declared_meanwhile |= changes.open > 0;
            if changes.open == 0 {
                self.existence = Existence::Yes;
            }
        }
    }
}

impl Ledger {
    /// The names of those of its queues that are there for certain.
    pub(crate) fn declared(&self) -> impl Iterator<Item = &str> {
        self.queues.iter().filter(|queue| queue.existence == Existence::Yes).map(|queue| &*queue.name)
    }

    /// The names of those that are there, or may be although somebody deleted them.
    pub(crate) fn possible(&self) -> impl Iterator<Item = &str> {
        let may_be_there = |queue: &&Queue| match queue.existence {
            Existence::Yes => true,
            Existence::Maybe => queue.has_changed(),
            Existence::No => false,
        };
        self.queues.iter().filter(may_be_there).map(|queue| &*queue.name)
    }

    /// The names of those, each with whether it is there for certain.
    pub(crate) fn known(&self) -> impl Iterator<Item = (&str, bool)> {
        let there = self.queues.iter().filter(|queue| queue.existence != Existence::No);
        there.map(|queue| (&*queue.name, queue.existence == Existence::Yes))
    }

    /// A client declares a queue.
    pub(super) fn asks_to_declare(&mut self, key: (u32, u16), name: &[u8]) {
        let Some(&queue) = self.by_name.get(name) else { return };
        let held = &mut self.queues[queue as usize];
        held.changes.declaring += 1;
        if held.existence == Existence::No {
            held.existence = Existence::Maybe;
        }
        let life = held.life();
        self.asks(key, Request::Declare { queue, life });
    }

    /// A client deletes a queue.
    pub(super) fn asks_to_delete(&mut self, key: (u32, u16), name: &[u8]) {
        let Some(&queue) = self.by_name.get(name) else { return };
        let its = self.entries.range(stays_of(queue)).filter(|(_, entry)| entry.is_promised);
        let before = its.map(|((_, message), _)| *message).collect();
        self.queues[queue as usize].existence = Existence::Maybe;
        self.asks_to_remove(queue, Change::DeleteAsked);
        self.asks(key, Request::Delete { queue, before });
    }

    /// A client empties a queue.
    pub(super) fn asks_to_purge(&mut self, key: (u32, u16), name: &[u8]) {
        let Some(&queue) = self.by_name.get(name) else { return };
        // What is on its way to somebody may come.
        let is_resting = !self.has_takers(queue);
        let its = self.entries.range(stays_of(queue));
        let is_there = |entry: &super::Entry| is_resting && entry.is_promised && entry.presence == Presence::Ready;
        let before = its.filter(|(_, entry)| is_there(entry)).map(|((_, message), _)| *message).collect();
        self.asks_to_remove(queue, Change::PurgeAsked);
        self.asks(key, Request::Purge { queue, before });
    }

    fn asks_to_remove(&mut self, queue: u32, what: Change) {
        let held = &mut self.queues[queue as usize];
        held.changes.asked += 1;
        held.changes.open += 1;
        self.facts.push(Fact::Changed { queue: held.index, what });
        self.entries.range_mut(stays_of(queue)).for_each(|(_, entry)| entry.is_doubtful = true);
    }

    fn asks(&mut self, key: (u32, u16), request: Request) {
        if let Some(channel) = self.channels.get_mut(&key) {
            channel.request = Some(request);
        }
    }

    /// A request was answered.
    pub(super) fn carried_out(&mut self, key: (u32, u16), request: Request) {
        let at = self.connections.get(&key.0).copied();
        match request {
            Request::Declare { queue, life } => {
                let held = &mut self.queues[queue as usize];
                held.changes.declaring -= 1;
                // It may have found the queue that was deleted meanwhile.
                if life == held.life() {
                    held.changes.declared_by = at;
                }
            }
            Request::Delete { queue, before } => {
                let held = &mut self.queues[queue as usize];
                let changes = &mut held.changes;
                changes.open -= 1;
                changes.life += 1;
                changes.deleted_by = at;
                let is_declared = std::mem::take(&mut changes.is_declared_meanwhile) || changes.declaring > 0;
                held.existence = if is_declared || changes.open > 0 { Existence::Maybe } else { Existence::No };
                held.active = None;
                held.replaced.clear();
                self.facts.push(Fact::Changed { queue: held.index, what: Change::Gone });
                self.are_gone(queue, before, Departure::Deleted);
            }
            Request::Purge { queue, mut before } => {
                self.queues[queue as usize].changes.open -= 1;
                before.retain(|message| {
                    let entry = self.entries.get(&(queue, *message));
                    entry.is_some_and(|entry| entry.presence == Presence::Ready && entry.deliveries == 0)
                });
                self.are_gone(queue, before, Departure::Purged);
            }
        }
    }

    /// A request was about something that is not there.
    pub(super) fn in_vain(&mut self, key: (u32, u16)) {
        let request = self.channels.get_mut(&key).and_then(|channel| channel.request.take());
        match request {
            Some(Request::Declare { queue, .. }) => self.queues[queue as usize].changes.declaring -= 1,
            Some(Request::Delete { queue, .. } | Request::Purge { queue, .. }) => {
                self.queues[queue as usize].changes.open -= 1;
            }
            None => {}
        }
    }

    fn are_gone(&mut self, queue: u32, messages: Vec<MessageNumber>, how: Departure) {
        for message in messages {
            let stay: Stay = (queue, message);
            if let Some(entry) = self.entries.get_mut(&stay)
                && !matches!(entry.presence, Presence::Gone(_))
            {
                entry.presence = Presence::Gone(how);
                let queue = self.queues[queue as usize].index;
                self.facts.push(Fact::Departed { queue, message, how });
            }
        }
    }
}
