//! Administrative requests: each is answered once, at once or when what it changes is durable.

mod listing;
mod queues;

use super::Broker;
use crate::ids::AdminId;
use crate::management::{AdminAnswer, AdminError, AdminReply, ExchangeRequest, QueueRequest};

impl Broker {
    /// Answers a request.
    pub(crate) fn answer(&mut self, id: AdminId, reply: Result<AdminReply, AdminError>) {
        self.answers.push(AdminAnswer { id, reply });
    }

    /// Carries out a request about queues, or begins to.
    pub(crate) fn administer_queues(&mut self, id: AdminId, request: QueueRequest) {
        match request {
            QueueRequest::List { vhost } => {
                let reply = self.list_queues(vhost.as_ref()).map(AdminReply::Queues);
                self.answer(id, reply);
            }
            QueueRequest::Delete { queue, if_empty, if_unused } => self.delete_queue(id, &queue, if_empty, if_unused),
            QueueRequest::Purge { queue, count } => {
                let reply = self.purge_queue(&queue, count).map(AdminReply::Count);
                self.answer(id, reply);
            }
        }
    }

    /// Carries out a request about exchanges and bindings.
    pub(crate) fn administer_exchanges(&mut self, id: AdminId, request: &ExchangeRequest) {
        let reply = match request {
            ExchangeRequest::List { vhost } => self.list_exchanges(vhost.as_ref()).map(AdminReply::Exchanges),
            ExchangeRequest::ListBindings { vhost } => self.list_bindings(vhost.as_ref()).map(AdminReply::Bindings),
        };
        self.answer(id, reply);
    }
}
