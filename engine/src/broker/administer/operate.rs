//! What operators do with what is in a queue: where the queue is, or is led, whoever was asked.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

use super::Broker;
use super::errands::{Answer, Next, To};
use super::replicas::Task;
use crate::cluster::inquiries::{Inquiry, Operation, Outcome, Report, Shown};
use crate::ids::{AdminId, NodeId, QueueId, QueueSeq};
use crate::management::{AdminError, AdminReply, PeekedMessage, QueueName};
use crate::message::Message;
use crate::routing::QueueKey;

/// Who waits for what comes of something that is done with a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Asker {
    /// An operator of this node.
    Operator(AdminId),
    /// A node, for an operator there, by the number of its question.
    Node(NodeId, u64),
}

impl Broker {
    /// Does something with what is in a queue, wherever that is.
    pub(super) fn operate(&mut self, id: AdminId, name: &QueueName, operation: Operation) {
        let key = match self.expect_queue(name) {
            Ok(key) => key,
            Err(error) => return self.answer(id, Err(error)),
        };
        if self.queues.get(key).is_some() {
            return self.operate_here(Asker::Operator(id), key, name, operation);
        }
        self.operate_elsewhere(id, key, Task::Operate(name.clone()), operation);
    }

    /// The same of a queue that is not here.
    pub(super) fn operate_elsewhere(&mut self, id: AdminId, key: QueueKey, task: Task, operation: Operation) {
        let Some(record) = self.metadata.queue_by_key(key) else { return };
        let to = if self.metadata.is_led(record) { To::Leader(key) } else { To::Node(record.home) };
        let inquiry = Inquiry::Operate { queue: record.id, operation };
        self.go_on_with(id, Next::Ask(task, vec![(to, inquiry)]));
    }

    /// Another node asks for it.
    pub(super) fn on_operation(&mut self, from: NodeId, number: u64, queue: QueueId, operation: Operation) {
        let leader = self.replicas.leader(queue).flatten().unwrap_or_default();
        let known = self.metadata.queue_by_id(queue).filter(|_| !self.metadata.is_turning(queue));
        let Some((key, record)) = known else {
            return self.report(from, number, Report::NotHere { leader });
        };
        let name = QueueName { vhost: self.vhost_name(record.vhost), name: record.name.clone() };
        if self.queues.get(key).is_some() {
            self.operate_here(Asker::Node(from, number), key, &name, operation);
        } else {
            self.operate_replica(from, number, queue, &name, operation);
        }
    }

    /// Does it with a queue of this node.
    fn operate_here(&mut self, asker: Asker, key: QueueKey, name: &QueueName, operation: Operation) {
        match operation {
            Operation::Purge { count } => {
                let outcome = Outcome::Count(self.purge_some(key, count));
                self.answer_when_durable(asker, outcome);
            }
            Operation::Peek(selection) => self.begin_scan(asker, |broker| broker.peek(asker, name, selection)),
            Operation::Delete(selection) => {
                self.begin_scan(asker, |broker| broker.delete_messages(asker, name, selection));
            }
            Operation::Count => {
                let queue = self.queues.get(key).expect("the queue is here");
                let (ready, consumers) = (queue.ready_len() as u64, queue.consumers().len() as u64);
                self.tell_asker(asker, Ok(Outcome::Holds { ready, consumers }));
            }
            Operation::Pause { is_paused } => {
                self.queues.get_mut(key).expect("the queue is here").set_paused(is_paused);
                self.activate(key);
                self.tell_asker(asker, Ok(Outcome::Done));
            }
        }
    }

    /// One that could begin is answered when it ends.
    pub(super) fn begin_scan(&mut self, asker: Asker, begin: impl FnOnce(&mut Self) -> Result<(), AdminError>) {
        if let Err(error) = begin(self) {
            self.tell_asker(asker, Err(error));
        }
    }

    /// Tells whoever waits what came of it.
    pub(in super::super) fn tell_asker(&mut self, asker: Asker, result: Result<Outcome, AdminError>) {
        match asker {
            Asker::Operator(id) => self.answer(id, result.map(reply)),
            Asker::Node(node, number) => {
                let report = match result {
                    Ok(outcome) => Report::Outcome(outcome),
                    Err(AdminError { kind, text }) => Report::Failed(kind, text),
                };
                self.report(node, number, report);
            }
        }
    }

    /// What the node where a queue is has answered, or that it has not.
    pub(super) fn operated(&self, name: &QueueName, answer: Option<(To, Answer)>) -> Result<Outcome, AdminError> {
        match answer {
            Some((_, Answer::Said(_, Report::Outcome(outcome)))) => Ok(outcome),
            Some((_, Answer::Said(_, Report::Failed(kind, text)))) => Err(AdminError::new(kind, text)),
            Some((To::Node(home), Answer::Unreachable)) => Err(AdminError::refused(format!(
                "home node '{}' of durable queue '{}' in vhost '{}' is down or inaccessible",
                self.node_name(home),
                name.name,
                name.vhost
            ))),
            Some((_, Answer::Gone)) => Err(AdminError::not_found(format!("{} not found", name.quoted()))),
            Some((To::Leader(_), Answer::Late | Answer::Unreachable)) => {
                Err(AdminError::refused(format!("{}: no replica that leads has answered in time", name.quoted())))
            }
            Some((_, Answer::Late)) => {
                Err(AdminError::refused(format!("{}: its node has not answered in time", name.quoted())))
            }
            Some((_, Answer::Said(..))) | None => {
                Err(AdminError::refused(format!("{}: its node has answered something else", name.quoted())))
            }
        }
    }
}

/// What an operator is answered.
pub(super) fn reply(outcome: Outcome) -> AdminReply {
    match outcome {
        Outcome::Done => AdminReply::Done,
        Outcome::Count(count) | Outcome::Holds { ready: count, .. } => AdminReply::Count(count),
        Outcome::Messages(shown) => AdminReply::Messages(shown.into_iter().filter_map(peeked).collect()),
    }
}

/// A message as it is shown.
pub(in super::super) fn shown(seq: u64, is_redelivered: bool, message: &Message) -> Shown {
    let (head, body) = message.payload();
    let mut payload = Vec::with_capacity(head.len() + body.len());
    payload.extend_from_slice(head);
    payload.extend_from_slice(body);
    Shown { seq, is_redelivered, payload: payload.into() }
}

fn peeked(shown: Shown) -> Option<PeekedMessage> {
    let Shown { seq, is_redelivered, payload } = shown;
    let message = Message::from_payload(payload)?;
    let routing = message.routing_names();
    Some(PeekedMessage {
        seq: QueueSeq(seq),
        redelivered: is_redelivered,
        exchange: routing.exchange_str().detached(),
        routing_key: routing.routing_key_str().detached(),
        properties: alloc::sync::Arc::new(message.raw_properties().decode()),
        body: Bytes::copy_from_slice(message.body()),
    })
}

/// Why something cannot be done with a queue that has replicas.
pub(in super::super) fn is_replicated(name: &QueueName) -> String {
    format!(
        "{} is replicated: its messages cannot be chosen from, only looked at and purged all at once",
        name.quoted()
    )
}
