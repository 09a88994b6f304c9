//! What operators do with what is in a replicated queue: its leader looks, or has it decided.

use alloc::vec::Vec;

use super::super::Broker;
use super::super::administer::{Asker, is_replicated, shown};
use super::deliver::Outgoing;
use super::lead;
use crate::cluster::inquiries::{Operation, Outcome, Report, Shown};
use crate::ids::{NodeId, QueueId};
use crate::limits;
use crate::management::{AdminError, QueueName, Selection};
use crate::message::Message;
use crate::queue::quorum::Command;

/// A look into a queue that is under way: the messages come one by one, since their bodies may have to be read.
#[derive(Debug)]
pub(super) struct Show {
    asker: Asker,
    selection: Selection,
    found: Vec<Shown>,
    found_bytes: usize,
    /// How many are still to come.
    left: usize,
}

/// A message that is to be shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToShow {
    show: u64,
    /// Its place among those that wait.
    seq: u64,
    is_redelivered: bool,
}

impl Broker {
    /// Does something with a queue of which there may be a replica here, if it leads.
    pub(in super::super) fn operate_replica(
        &mut self,
        from: NodeId,
        number: u64,
        queue: QueueId,
        name: &QueueName,
        operation: Operation,
    ) {
        let asker = Asker::Node(from, number);
        let leader = self.replicas.leader(queue).flatten().unwrap_or_default();
        if self.replicas.by_queue.get(&queue).is_none_or(|replica| !replica.leads) {
            return self.report(from, number, Report::NotHere { leader });
        }
        let command = match operation {
            Operation::Peek(selection) => return self.show(asker, queue, selection),
            Operation::Purge { count: Some(_) } | Operation::Delete(_) => {
                return self.tell_asker(asker, Err(AdminError::refused(is_replicated(name))));
            }
            Operation::Count => {
                let stat = self.replicas.machine(queue).map(|machine| machine.stat()).unwrap_or_default();
                let outcome = Outcome::Holds { ready: stat.ready, consumers: stat.consumers };
                return self.tell_asker(asker, Ok(outcome));
            }
            Operation::Purge { count: None } => Command::Purge,
            Operation::Pause { is_paused } => Command::Pause { is_paused },
        };
        match (self.propose_own(queue, &[command]), self.replicas.by_queue.get_mut(&queue)) {
            (Some(id), Some(replica)) => {
                replica.asked.insert(id.index, lead::Asker { node: from, number, is_operator: true });
            }
            (_, _) => self.report(from, number, Report::NotHere { leader: NodeId(0) }),
        }
    }

    /// Begins to show what waits.
    fn show(&mut self, asker: Asker, queue: QueueId, selection: Selection) {
        let Some(replica) = self.replicas.by_queue.get_mut(&queue) else { return };
        if replica.shows.len() >= limits::SCANS_MAX {
            let text = "too many operators look into the queue at the moment; try again later";
            return self.tell_asker(asker, Err(AdminError::refused(text)));
        }
        let count = selection.count.unwrap_or(limits::PEEK_COUNT_MAX);
        let selection = Selection { count: Some(count), ..selection };
        // By its id a message is known only when it has been read.
        let (skip, most) = match selection.message_id {
            Some(_) => (0, usize::MAX),
            None => {
                let skip = usize::try_from(selection.offset).unwrap_or(usize::MAX);
                (skip, usize::try_from(count).unwrap_or(usize::MAX))
            }
        };
        replica.last_show += 1;
        let show = replica.last_show;
        let wanted = (1..).zip(replica.machine.peek()).skip(skip).take(most);
        let wanted: Vec<Outgoing> = wanted
            .map(|(seq, peeked)| {
                let to_show = ToShow { show, seq, is_redelivered: peeked.acquired > 0 };
                Outgoing::Show(to_show, peeked.body)
            })
            .collect();
        if wanted.is_empty() {
            return self.tell_asker(asker, Ok(Outcome::Messages(Vec::new())));
        }
        let offset = if selection.message_id.is_some() { selection.offset } else { 0 };
        let selection = Selection { offset, ..selection };
        let begun = Show { asker, selection, found: Vec::new(), found_bytes: 0, left: wanted.len() };
        replica.shows.insert(show, begun);
        replica.outgoing.extend(wanted);
        self.replicas.active.insert(queue);
    }

    /// Shows one message, or none if it is gone by now.
    pub(super) fn show_next(&mut self, queue: QueueId, to_show: ToShow, message: Option<&Message>) {
        let Some(replica) = self.replicas.by_queue.get_mut(&queue) else { return };
        let Some(show) = replica.shows.get_mut(&to_show.show) else { return };
        show.left -= 1;
        if let Some(message) = message
            && show.is_selected(message)
        {
            show.found_bytes += message.memory_bytes();
            show.found.push(shown(to_show.seq, to_show.is_redelivered, message));
        }
        let is_enough = show.selection.count == Some(0) || show.found_bytes > limits::PEEK_BYTES_MAX;
        if (show.left == 0 || is_enough)
            && let Some(Show { asker, found, .. }) = replica.shows.remove(&to_show.show)
        {
            self.tell_asker(asker, Ok(Outcome::Messages(found)));
        }
    }

    /// This node does not lead a queue any more, or does so anew: operators ask whoever does.
    pub(super) fn turn_operators_away(&mut self, queue: QueueId) {
        let Some(replica) = self.replicas.by_queue.get_mut(&queue) else { return };
        let leader = replica.leader.unwrap_or_default();
        let shows = core::mem::take(&mut replica.shows).into_values().map(|show| show.asker);
        let asked = core::mem::take(&mut replica.asked).into_values();
        let asked = asked.filter(|asker| asker.is_operator).map(|asker| Asker::Node(asker.node, asker.number));
        let askers: Vec<Asker> = shows.chain(asked).collect();
        for asker in askers {
            if let Asker::Node(node, number) = asker {
                self.report(node, number, Report::NotHere { leader });
            }
        }
    }
}

impl Show {
    /// Whether a message is one of those wanted; then it is counted.
    fn is_selected(&mut self, message: &Message) -> bool {
        let Selection { offset, count, message_id } = &mut self.selection;
        if let Some(wanted) = message_id
            && message.raw_properties().message_id().is_none_or(|id| id[..] != *wanted.as_bytes())
        {
            return false;
        }
        if *offset > 0 {
            *offset -= 1;
            return false;
        }
        if let Some(count) = count {
            *count -= 1;
        }
        true
    }
}
