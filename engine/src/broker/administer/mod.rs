//! Administrative requests: each is answered once, at once or when what it changes is durable.

mod connections;
mod in_turn;
mod listing;
mod queues;
mod scan;

mod errands;
mod operate;
mod replicas;

use super::Broker;
use crate::amqp::ShortStr;
use crate::cluster::inquiries::{Operation, Outcome};
use crate::ids::{AdminId, Lsn};
use crate::management::{AdminAnswer, AdminError, AdminReply, ExchangeRequest, QueueName, QueueRequest};
use crate::routing::ExchangeKey;
pub(super) use errands::Errands;
pub(super) use operate::{Asker, is_replicated, shown};
pub(super) use scan::Scans;

/// An answer that waits for the log.
#[derive(Debug)]
pub(super) struct LateAnswer {
    /// Up to where the log has to be durable.
    pub(super) end: Lsn,
    pub(super) asker: Asker,
    pub(super) outcome: Outcome,
}

pub(crate) use in_turn::Administration;

/// When a queue may be deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Condition {
    /// Only if it holds no ready messages.
    if_empty: bool,
    /// Only if it has no consumers.
    if_unused: bool,
}

impl Broker {
    /// Answers a request once all that the log was told so far is durable.
    fn answer_when_durable(&mut self, asker: Asker, outcome: Outcome) {
        let end = self.log.end();
        if end <= self.log.durable() {
            return self.tell_asker(asker, Ok(outcome));
        }
        self.log.request_sync();
        self.late_answers.push_back(LateAnswer { end, asker, outcome });
    }

    /// Answers a request.
    pub(crate) fn answer(&mut self, id: AdminId, reply: Result<AdminReply, AdminError>) {
        self.answers.push(AdminAnswer { id, reply });
    }

    /// Carries out a request about queues, or begins to.
    pub(crate) fn administer_queues(&mut self, id: AdminId, request: QueueRequest) {
        match request {
            QueueRequest::List { vhost } => self.list_queues(id, vhost.as_ref()),
            QueueRequest::Delete { queue, if_empty, if_unused } => {
                self.delete_queue(id, &queue, Condition { if_empty, if_unused });
            }
            QueueRequest::Purge { queue, count } => self.operate(id, &queue, Operation::Purge { count }),
            QueueRequest::Peek { queue, selection } => self.operate(id, &queue, Operation::Peek(selection)),
            QueueRequest::Move { queue, destination, selection } => {
                let destination = QueueName { vhost: queue.vhost.clone(), name: destination };
                let asker = Asker::Operator(id);
                self.begin_scan(asker, |broker| broker.move_messages(asker, &queue, &destination, selection));
            }
            QueueRequest::DeleteMessages { queue, selection } => {
                self.operate(id, &queue, Operation::Delete(selection));
            }
            QueueRequest::Pause(queue) => self.operate(id, &queue, Operation::Pause { is_paused: true }),
            QueueRequest::Resume(queue) => self.operate(id, &queue, Operation::Pause { is_paused: false }),
        }
    }

    /// Carries out a request about exchanges and bindings.
    pub(crate) fn administer_exchanges(&mut self, id: AdminId, request: &ExchangeRequest) {
        let reply = match request {
            ExchangeRequest::List { vhost } => self.list_exchanges(vhost.as_ref()).map(AdminReply::Exchanges),
            ExchangeRequest::ListBindings { vhost } => self.list_bindings(vhost.as_ref()).map(AdminReply::Bindings),
            ExchangeRequest::ListDelayed { vhost, exchange, count } => self
                .find_exchange(vhost, exchange)
                .and_then(|key| self.list_delayed(key, *count))
                .map(AdminReply::Delayed),
            ExchangeRequest::CancelDelayed { vhost, exchange, sequence } => self
                .find_exchange(vhost, exchange)
                .and_then(|key| self.cancel_delayed(key, *sequence))
                .map(AdminReply::Count),
            ExchangeRequest::CancelDelayedById { vhost, exchange, message_id } => {
                let key = self.find_exchange(vhost, exchange);
                match key.and_then(|key| self.cancel_delayed_by_id(id, key, message_id)) {
                    // The answer follows when all ids are known.
                    Ok(()) => return,
                    Err(error) => Err(error),
                }
            }
        };
        self.answer(id, reply);
    }

    fn find_exchange(&self, vhost: &ShortStr, name: &ShortStr) -> Result<ExchangeKey, AdminError> {
        let vhost_key = self.metadata.vhost(vhost.as_bytes());
        let found = vhost_key.and_then(|key| self.metadata.exchange(key, name.as_bytes()));
        found
            .map(|(key, _)| key)
            .ok_or_else(|| AdminError::not_found(alloc::format!("no exchange '{name}' in vhost '{vhost}'")))
    }
}
