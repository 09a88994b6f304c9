//! Queues as operators change them.

use super::replicas::Task;
use super::{Broker, Condition};
use crate::broker::Requester;
use crate::cluster::inquiries::Operation;
use crate::ids::AdminId;
use crate::management::{AdminError, AdminReply, QueueName};
use crate::metadata::Command;
use crate::routing::QueueKey;

impl Broker {
    /// The queue with this name, whoever it is exclusive to: operators may do with it what they like.
    pub(super) fn expect_queue(&self, name: &QueueName) -> Result<QueueKey, AdminError> {
        let vhost = self.expect_vhost(&name.vhost)?;
        let queue = self.metadata.queue(vhost, name.name.as_bytes());
        queue.map(|(key, _)| key).ok_or_else(|| AdminError::not_found(alloc::format!("{} not found", name.quoted())))
    }

    /// The same of a queue that is on this node.
    pub(super) fn expect_queue_here(&self, name: &QueueName) -> Result<QueueKey, AdminError> {
        let key = self.expect_queue(name)?;
        match self.queues.get(key) {
            Some(_) => Ok(key),
            None => Err(self.not_here(key, name)),
        }
    }

    /// Only where a queue is can be told what is in it.
    fn not_here(&self, key: QueueKey, name: &QueueName) -> AdminError {
        let record = self.metadata.queue_by_key(key);
        let home = record.and_then(|record| self.peers.as_ref()?.cluster().name_of(record.home));
        AdminError::refused(match home {
            Some(home) => alloc::format!("{} is on node {home}: ask there", name.quoted()),
            None => super::is_replicated(name),
        })
    }

    /// Messages that wait and consumers of a queue that is here, or has a replica here.
    fn counts_here(&self, key: QueueKey) -> Option<(u64, u64)> {
        if let Some(queue) = self.queues.get(key) {
            return Some((queue.ready_len() as u64, queue.consumers().len() as u64));
        }
        let stat = self.replicas.machine(self.metadata.queue_by_key(key)?.id)?.stat();
        Some((stat.ready, stat.consumers))
    }

    /// Deletes a queue, and answers with the messages that were ready in it once that is durable.
    pub(super) fn delete_queue(&mut self, id: AdminId, name: &QueueName, condition: Condition) {
        let key = match self.expect_queue(name) {
            Ok(key) => key,
            Err(error) => return self.answer(id, Err(error)),
        };
        // Only the queue's node, or its leader, knows whether it may go.
        if condition != Condition::default() && self.queues.get(key).is_none() {
            let task = Task::Delete(name.clone(), condition);
            return self.operate_elsewhere(id, key, task, Operation::Count);
        }
        let counts = self.counts_here(key).unwrap_or_default();
        self.delete_queue_with(id, name, condition, counts);
    }

    /// The same, of a queue that holds so many ready messages and has so many consumers.
    pub(super) fn delete_queue_with(
        &mut self,
        id: AdminId,
        name: &QueueName,
        condition: Condition,
        counts: (u64, u64),
    ) {
        match self.begin_delete_queue(id, name, condition, counts) {
            Ok(Some(reply)) => self.answer(id, Ok(reply)),
            Ok(None) => {}
            Err(error) => self.answer(id, Err(error)),
        }
    }

    /// The answer, if the deletion need not become durable first.
    fn begin_delete_queue(
        &mut self,
        id: AdminId,
        name: &QueueName,
        Condition { if_empty, if_unused }: Condition,
        (ready, consumers): (u64, u64),
    ) -> Result<Option<AdminReply>, AdminError> {
        let key = self.expect_queue(name)?;
        let refuse = |why: &str| Err(AdminError::refused(alloc::format!("{} {why}", name.quoted())));
        if if_empty && ready > 0 {
            return refuse("is not empty");
        }
        if if_unused && consumers > 0 {
            return refuse("is in use");
        }
        let command = Command::DeleteQueue {
            vhost: name.vhost.clone(),
            name: name.name.clone(),
            id: self.metadata.queue_by_key(key).map(|record| record.id).unwrap_or_default(),
        };
        let reply = AdminReply::Count(ready);
        let requester = Requester::Admin { id, reply: reply.clone() };
        let waits = self.propose(command, Some(requester)).map_err(AdminError::from)?;
        Ok((!waits).then_some(reply))
    }

    /// Removes ready messages of a queue that is here, the oldest first. How many.
    pub(super) fn purge_some(&mut self, key: QueueKey, count: Option<u64>) -> u64 {
        let most = count.unwrap_or(u64::MAX);
        let mut gone = 0;
        while gone < most && self.purge_one(key) {
            gone += 1;
        }
        // A basic.get may have waited for one of them.
        self.activate(key);
        gone
    }
}
