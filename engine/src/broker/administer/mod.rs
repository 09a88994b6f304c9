//! Administrative requests: each is answered once, at once or when what it changes is durable.

mod in_turn;
mod listing;
mod queues;
mod scan;

mod errands;
mod replicas;

use super::Broker;
use crate::amqp::ShortStr;
use crate::ids::{AdminId, Lsn};
use crate::management::{AdminAnswer, AdminError, AdminReply, ExchangeRequest, QueueName, QueueRequest};
use crate::routing::ExchangeKey;
pub(super) use errands::Errands;
pub(super) use scan::Scans;

/// An answer that waits for the log.
#[derive(Debug)]
pub(super) struct LateAnswer {
    /// Up to where the log has to be durable.
    pub(super) end: Lsn,
    pub(super) id: AdminId,
    pub(super) reply: AdminReply,
}

pub(crate) use in_turn::Administration;

impl Broker {
    /// Answers a request once all that the log was told so far is durable.
    fn answer_when_durable(&mut self, id: AdminId, reply: AdminReply) {
        let end = self.log.end();
        if end <= self.log.durable() {
            return self.answer(id, Ok(reply));
        }
        self.log.request_sync();
        self.late_answers.push_back(LateAnswer { end, id, reply });
    }

    /// Answers a request.
    pub(crate) fn answer(&mut self, id: AdminId, reply: Result<AdminReply, AdminError>) {
        self.answers.push(AdminAnswer { id, reply });
    }

    /// Answers a request that could not begin; one that could is answered when it ends.
    fn answer_failure(&mut self, id: AdminId, begun: Result<(), AdminError>) {
        if let Err(error) = begun {
            self.answer(id, Err(error));
        }
    }

    /// Carries out a request about queues, or begins to.
    pub(crate) fn administer_queues(&mut self, id: AdminId, request: QueueRequest) {
        match request {
            QueueRequest::List { vhost } => {
                let reply = self.list_queues(vhost.as_ref()).map(AdminReply::Queues);
                self.answer(id, reply);
            }
            QueueRequest::Delete { queue, if_empty, if_unused } => self.delete_queue(id, &queue, if_empty, if_unused),
            QueueRequest::Purge { queue, count } => match self.purge_queue(&queue, count) {
                Ok(count) => self.answer_when_durable(id, AdminReply::Count(count)),
                Err(error) => self.answer(id, Err(error)),
            },
            QueueRequest::Peek { queue, selection } => {
                let begun = self.peek(id, &queue, selection);
                self.answer_failure(id, begun);
            }
            QueueRequest::Move { queue, destination, selection } => {
                let destination = QueueName { vhost: queue.vhost.clone(), name: destination };
                let begun = self.move_messages(id, &queue, &destination, selection);
                self.answer_failure(id, begun);
            }
            QueueRequest::DeleteMessages { queue, selection } => {
                let begun = self.delete_messages(id, &queue, selection);
                self.answer_failure(id, begun);
            }
            QueueRequest::Pause(queue) => self.pause_queue(id, &queue, true),
            QueueRequest::Resume(queue) => self.pause_queue(id, &queue, false),
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
